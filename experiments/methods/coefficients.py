"""Each method's coefficient: the paper's best where it has one, else a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Coefficient = float | Mapping[str, float]
"""A number, or one for each group of layers."""


def in_words(coefficient: Coefficient | None) -> str:
    """A coefficient, or several, as a user reads them."""
    if coefficient is None:
        return ""
    if isinstance(coefficient, Mapping):
        return ", ".join(f"{group} {value:g}" for group, value in coefficient.items())
    return f"{coefficient:g}"


def _two(feature: float, classifier: float) -> dict[str, float]:
    return {"feature": feature, "classifier": classifier}


def _best(
    shrink: float | None, l2: float, l2_init: float, swr: Coefficient
) -> dict[str, Coefficient]:
    found: dict[str, Coefficient] = {"l2": l2, "l2_init": l2_init}
    if shrink is not None:
        found["shrink_and_perturb"] = shrink
    found["swr_two" if isinstance(swr, Mapping) else "swr"] = swr
    return found


PAPER: dict[tuple[str, str], dict[str, dict[str, Coefficient]]] = {
    ("mnist", "mlp"): {
        "warm-start": _best(0.4, 1e-5, 1e-5, 1e-4),
        "continual-full": _best(0.6, 1e-4, 1e-4, 1e-4),
        "continual-limited": _best(0.2, 1e-5, 1e-5, 1e-4),
        "single-task": _best(None, 1e-5, 1e-5, 1e-4),
    },
    ("cifar10", "cnn"): {
        "warm-start": _best(0.8, 1e-2, 1e-2, 1e-3),
        "continual-full": _best(0.8, 1e-2, 1e-2, 1e-3),
        "continual-limited": _best(0.4, 1e-2, 1e-2, 1e-1),
        "single-task": _best(None, 1e-2, 1e-2, 1e-3),
    },
    ("cifar100", "cnn"): {
        "warm-start": _best(0.8, 1e-2, 1e-2, 1e-3),
        "continual-full": _best(0.8, 1e-2, 1e-2, 1e-3),
        "continual-limited": _best(0.6, 1e-2, 1e-2, 1e-1),
        "single-task": _best(None, 1e-2, 1e-2, 1e-3),
    },
    ("cifar100", "cnn_bn"): {
        "warm-start": _best(0.8, 1e-2, 1e-2, _two(1e-4, 1)),
        "continual-full": _best(0.8, 1e-2, 1e-2, _two(1e-4, 1e-1)),
        "continual-limited": _best(0.4, 1e-2, 1e-2, _two(1e-1, 1e-2)),
        "single-task": _best(None, 1e-2, 1e-2, _two(1e-4, 1e-1)),
    },
    ("tiny_imagenet", "vgg16"): {
        "warm-start": _best(0.8, 1e-5, 1e-5, _two(1e-2, 1e-1)),
        "continual-full": _best(0.8, 1e-4, 1e-4, _two(1e-2, 1e-2)),
        "continual-limited": _best(0.4, 1e-4, 1e-3, _two(1e-4, 1)),
        "single-task": _best(None, 1e-5, 1e-5, _two(1e-2, 1e-1)),
    },
}
"""The best that the paper found: (data set, model) → protocol → method."""

# Digits, which the paper does not have, are to it what MNIST is.
_LIKE: dict[tuple[str, str], tuple[str, str]] = {("digits", "mlp"): ("mnist", "mlp")}

_DEFAULTS: dict[str, Coefficient] = {
    "l2": 1e-4,
    "l2_init": 1e-4,
    "shrink_and_perturb": 0.8,
    "swr": 1e-3,
    "swr_two": _two(1e-4, 1e-1),
}
"""Where the paper has none: from the middle of what it found best elsewhere."""

_SAME_AS = dict.fromkeys(("swr_reinit", "swr_follow"), ("swr_two", "swr"))
"""Methods that take SWR's coefficients: the two of it where the paper has two."""


class Choice(NamedTuple):
    """A method's coefficient and where it comes from.

    Attributes:
        value: the coefficient.
        published: whether it is the paper's best for this very cell.
    """

    value: Coefficient
    published: bool


def default_coefficient(
    method: str, protocol: str, dataset: str, model: str
) -> Choice | None:
    """The coefficient that a method takes if none is named; None if it has none."""
    names = _SAME_AS.get(method, (method,))
    if names[-1] not in _DEFAULTS:
        return None
    tabled = protocol in PAPER["mnist", "mlp"]
    if not tabled:  # The paper's other protocols are single tasks as well.
        protocol = "single-task"
    cell = PAPER.get((dataset, model), {}).get(protocol, {})
    for name in names:
        if name in cell:
            return Choice(cell[name], published=tabled)
    alike = PAPER.get(_LIKE.get((dataset, model), ("", "")), {}).get(protocol, {})
    return Choice(alike.get(names[-1], _DEFAULTS[names[-1]]), published=False)
