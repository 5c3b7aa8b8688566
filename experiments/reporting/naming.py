"""What protocols, methods and scores are called."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from experiments.agents.config import AGENT
from experiments.methods import METHODS
from experiments.protocols.stages import PROTOCOLS
from experiments.protocols.streams import STREAMS

KNOWN = (*STREAMS, *PROTOCOLS, AGENT)
"""Every protocol, in the order of a report."""

CONTROLS = {
    "fresh": "a fresh network for each {task}",
    "scratch": "training from scratch",
}
"""What remedies are measured against, and are not."""

ENTRY = ["method", "coefficient", "rate"]
"""What tells two lines of a figure, or rows of a ranking, apart."""


def has_tasks(protocol: str) -> bool:
    """Whether its rows are of tasks, as a stream's or an agent's levels are."""
    return protocol in STREAMS or protocol == AGENT


def task(protocol: str) -> str:
    """What a task, or a stage, is called."""
    if protocol == AGENT:
        return "level"
    return "task" if protocol in STREAMS else "stage"


def title(protocol: str) -> str:
    """A protocol's name in reports."""
    if protocol == AGENT:
        return "Agent"
    return (STREAMS if protocol in STREAMS else PROTOCOLS)[protocol].title


def heading(protocol: str, dataset: str, model: str) -> str:
    """What stands above all that was run of a protocol on the same data.

    Example:
        >>> heading("single-task", "cifar10", "cnn")
        'Single task: cifar10, cnn'
    """
    return f"{title(protocol)}: {dataset}, {model}"


def counted(count: int | str, name: str) -> str:
    """So many of something.

    Example:
        >>> counted(1, "seed"), counted(2, "seed")
        ('1 seed', '2 seeds')
    """
    return f"{count} {name}" if str(count) == "1" else f"{count} {name}s"


def label(method: str) -> str:
    """A method's name in tables and figures: its own if it is unknown."""
    return METHODS[method].label if method in METHODS else method


def length(setting: Mapping[str, str]) -> str:
    """How long each of a run's tasks or stages is, in words.

    Example:
        >>> length({"protocol": "permuted-inputs", "epochs": "1"})
        '1 epoch a task'
    """
    each = task(setting["protocol"])
    if setting["protocol"] == AGENT:
        return f"{counted(setting['iterations'], 'iteration')} a {each}"
    return f"{counted(setting['epochs'], 'epoch')} a {each}"


def metric(protocol: str) -> str:
    """The column that is looked at first."""
    if protocol == AGENT:
        return "average_return"
    return STREAMS[protocol].metric if protocol in STREAMS else "test_accuracy"


def end(protocol: str) -> str:
    """The column that says how a task ended."""
    return "final_return" if protocol == AGENT else "end_accuracy"


def digits(protocol: str, form: str) -> str:
    """How the numbers of its metric are printed, where accuracies are as given."""
    return ".1f" if protocol == AGENT else form


def lower_is_better(protocol: str) -> bool:
    """Whether the score is a loss."""
    return metric(protocol) == "train_loss"


def measure(protocol: str) -> str:
    """What that column is called."""
    error = lower_is_better(protocol)
    return "mean squared error" if error else metric(protocol).replace("_", " ")


def score_in_words(protocol: str) -> str:
    """What the score of a protocol is."""
    over = "the stream" if protocol.startswith("continual") else "the last ten epochs"
    if has_tasks(protocol):
        over = f"all {task(protocol)}s"
    return f"{measure(protocol)}, mean over {over}"


def names(entries: pd.DataFrame) -> list[str]:
    """A name for each entry: its method's, and what else it takes to be unique.

    Args:
        entries: the columns :data:`ENTRY`, no row twice.
    """
    found = []
    for entry in entries.itertuples():
        same = entries[entries["method"] == entry.method]
        parts = [
            f"{symbol} {value}"
            for symbol, column, value in (
                ("λ", "coefficient", entry.coefficient),
                ("rate", "rate", entry.rate),
            )
            if same[column].nunique() > 1
        ]
        name = label(entry.method)
        found.append(f"{name} ({', '.join(parts)})" if parts else name)
    return found
