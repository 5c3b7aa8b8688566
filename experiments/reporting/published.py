"""What the paper's tables report, to be set beside our numbers.

Oh, Park, Han and Kim, *Recovering Plasticity of Neural Networks via Soft Weight
Rescaling*, arXiv 2507.04683, tables 1 and 5. The paper's other results are
curves, of which there are no numbers to cite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from experiments.methods.coefficients import in_words, published_coefficient


class Published(NamedTuple):
    """Final test accuracy over the paper's seeds (5, and 3 for VGG-16).

    Attributes:
        mean: fraction of test images classified correctly.
        deviation: its standard deviation over seeds.
        source: the paper's table.
    """

    mean: float
    deviation: float
    source: str


_NETWORKS = (
    ("mnist", "mlp"),
    ("cifar10", "cnn"),
    ("cifar100", "cnn"),
    ("cifar100", "cnn_bn"),
    ("tiny_imagenet", "vgg16"),
)

# Mean and deviation in units of 1e-4, in the order of the networks above.
_TABLES: dict[tuple[str, str], dict[str, tuple[tuple[int, int], ...]]] = {
    ("single-task", "table 1"): {
        "vanilla": ((9789, 9), (6500, 83), (3283, 67), (3234, 53), (3912, 142)),
        "l2": ((9795, 19), (7119, 37), (3882, 64), (4222, 43), (3915, 108)),
        "l2_init": ((9793, 16), (7041, 125), (3881, 50), (4030, 105), (3870, 143)),
        "swr": ((9822, 24), (7158, 63), (3914, 70), (4129, 105), (4348, 25)),
    },
    ("single-task-decay", "table 5"): {
        "vanilla": ((9798, 5), (6571, 57), (3490, 21), (3483, 43), (4126, 236)),
        "l2": ((9811, 7), (7304, 39), (3949, 91), (4532, 40), (4080, 124)),
        "l2_init": ((9811, 7), (7286, 23), (4048, 19), (4341, 19), (4199, 48)),
        "swr": ((9796, 9), (6925, 78), (3599, 54), (4240, 15), (5221, 123)),
        "swr_reinit": ((9829, 2), (7269, 27), (4133, 58), (4451, 28), (5165, 70)),
    },
}

PUBLISHED: dict[tuple[str, str, str, str], Published] = {
    (protocol, dataset, model, method): Published(
        mean=values[column][0] / 1e4, deviation=values[column][1] / 1e4, source=source
    )
    for (protocol, source), methods in _TABLES.items()
    for column, (dataset, model) in enumerate(_NETWORKS)
    for method, values in methods.items()
}
"""By protocol, data set, model and method."""


def trained_as_published(optimizer: str, batch_size: str, rate: str) -> bool:
    """Whether a run trains as the paper's do: Adam at 1e-3 on batches of 256.

    Args:
        optimizer: its name; all three as a run's setting has them, in words, and
            empty where an old run did not note them.
        batch_size: images in a step.
        rate: the learning rate.

    Example:
        >>> trained_as_published("adam", "256", "0.001")
        True
        >>> trained_as_published("sgd", "256", "0.001")
        False
    """
    usual = ("adam", "256", "0.001")
    found = zip((optimizer, batch_size, rate), usual, strict=True)
    return all(value in ("", paper) for value, paper in found)


def published_as(model: str, method: str) -> str | None:
    """The name under which the paper tables a method; None if it has it otherwise.

    On networks with normalisation layers the paper's SWR has one coefficient for
    each group of layers, which is what ``swr_two`` is.

    Example:
        >>> published_as("cnn_bn", "swr_two"), published_as("cnn", "swr_two")
        ('swr', 'swr_two')
    """
    if model in ("cnn_bn", "vgg16"):
        return {"swr_two": "swr", "swr": None}.get(method, method)
    return method


def published_result(
    setting: Mapping[str, str], method: str, coefficient: str, rate: str
) -> Published | None:
    """What the paper has for a run that trains as its own do, with its λ.

    Args:
        setting: of the run, in words: see
            :data:`experiments.reporting.runs.SETTING`.
        method: its name here.
        coefficient: in words.
        rate: the learning rate, in words.

    Returns:
        None if the paper has no such run.
    """
    protocol, dataset, model = (setting[n] for n in ("protocol", "dataset", "model"))
    choice = published_coefficient(method, protocol, dataset, model)
    trained = trained_as_published(setting["optimizer"], setting["batch_size"], rate)
    if not trained or coefficient != in_words(choice and choice.value):
        return None
    name = published_as(model, method)
    return None if name is None else PUBLISHED.get((protocol, dataset, model, name))
