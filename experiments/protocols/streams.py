"""Streams of tasks, on which networks that train for long stop learning.

A network and its optimiser go from task to task and are told nothing. What counts is
the accuracy on each batch before it is learnt, averaged over all tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from experiments.protocols import tasks
from experiments.protocols.records import TaskRecord
from experiments.protocols.tasks import Draw, Size

L2_INIT = "Kumar et al., arXiv 2308.11958"
NATURE = "Dohare et al., Nature 632:768, 2024"


class Length(NamedTuple):
    """How long a stream is on one data set, and the network that learns it.

    Attributes:
        size: of a task.
        tasks: how many.
        model: name in :data:`experiments.models.MODELS`.
    """

    size: Size
    tasks: int
    model: str


class Stream(NamedTuple):
    """An entry of :data:`STREAMS`.

    Attributes:
        title: its name in reports.
        help: what changes, in a line.
        source: where it was published.
        draw: makes its tasks.
        published: by data set, the published length or, where there is none, one at
            which plain training loses plasticity; the first is the default set.
        quick: the same in minutes on two cores.
        metric: the column of ``metrics.csv`` whose mean over tasks is a method's score.
        outputs: of the network; None for as many as there are classes.
        regression: whether it is numbers that are learnt.
        sized: whether the number of a task's images is free.
    """

    title: str
    help: str
    source: str
    draw: Draw
    published: Mapping[str, Length]
    quick: Mapping[str, Length]
    metric: str = "online_accuracy"
    outputs: int | None = None
    regression: bool = False
    sized: bool = True

    def length(self, profile: str, dataset: str) -> Length:
        """Of a profile, on a data set."""
        return (self.quick if profile == "quick" else self.published)[dataset]

    def score(self, record: TaskRecord) -> float:
        """What one task is worth, the higher the better but for a loss."""
        return getattr(record, self.metric)


def _lengths(
    model: str, images: int | None, batch: int, epochs: int, count: int, *names: str
) -> dict[str, Length]:
    length = Length(Size(images, batch, epochs), count, model)
    return dict.fromkeys(names, length)


_MNISTS = ("mnist", "fashion_mnist")

STREAMS: dict[str, Stream] = {
    "random-labels": Stream(
        title="Random labels",
        help="learn the same images with labels that are shuffled for each task",
        source=L2_INIT,
        draw=tasks.random_labels,
        published={
            **_lengths("mlp", 400, 16, 40, 30, "digits"),
            **_lengths("mlp", 1200, 16, 400, 50, *_MNISTS),
            **_lengths("cnn_deep", 1200, 16, 400, 50, "cifar10"),
        },
        quick={
            **_lengths("mlp", 400, 16, 40, 30, "digits"),
            **_lengths("mlp", 400, 16, 40, 30, *_MNISTS),
            **_lengths("cnn_deep", 160, 16, 20, 10, "cifar10"),
        },
    ),
    "permuted-inputs": Stream(
        title="Permuted inputs",
        help="learn images whose pixels change places for each task",
        source=L2_INIT,
        draw=tasks.permuted_inputs,
        published={
            **_lengths("mlp", 1200, 16, 5, 60, "digits"),
            **_lengths("mlp", 10_000, 16, 1, 500, *_MNISTS, "cifar10"),
        },
        quick={
            **_lengths("mlp", 1200, 16, 5, 60, "digits"),
            **_lengths("mlp", 2000, 16, 1, 100, *_MNISTS, "cifar10"),
        },
    ),
    "five-plus-one": Stream(
        title="5+1 classes",
        help="learn five new classes, then one, in turn",
        source=L2_INIT,
        draw=tasks.five_plus_one,
        published=_lengths("cnn_deep", None, 32, 10, 30, "cifar100"),
        quick=_lengths("cnn_deep", None, 32, 2, 10, "cifar100"),
        sized=False,
    ),
    "class-pairs": Stream(
        title="Pairs of classes",
        help="tell two classes apart, others for each task (continual ImageNet)",
        source=NATURE,
        draw=tasks.class_pairs,
        published=_lengths("cnn_deep", None, 100, 10, 500, "tiny_imagenet"),
        quick=_lengths("cnn_deep", None, 20, 5, 20, "tiny_imagenet"),
        outputs=2,
        sized=False,
    ),
    "class-incremental": Stream(
        title="Class-incremental",
        help="learn five more classes for each task, with all data so far",
        source=NATURE,
        draw=tasks.class_incremental,
        published=_lengths("resnet18", None, 90, 200, 20, "cifar100"),
        quick=_lengths("cnn_deep", None, 50, 2, 5, "cifar100"),
        metric="test_accuracy",
        sized=False,
    ),
    "slowly-changing-regression": Stream(
        title="Slowly changing regression",
        help="predict a number from bits of which one flips for each task",
        source=NATURE,
        draw=tasks.slowly_changing_regression,
        published=_lengths("mlp_five", 10_000, 1, 1, 300, "bits"),
        quick=_lengths("mlp_five", 2000, 1, 1, 20, "bits"),
        metric="train_loss",
        outputs=1,
        regression=True,
    ),
}
"""By name; a new stream is one entry."""

METHODS_COMPARED = (
    *("fresh", "vanilla", "l2", "l2_init", "shrink_and_perturb"),
    *("swr", "swr_two", "swr_directions"),
)
"""On a stream, by default."""
