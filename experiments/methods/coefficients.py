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
    # The authors' code adds λ‖θ‖² to the loss where ours adds λ/2 ‖θ‖², whose gradient
    # is λθ, as it is of every weight decay; and so it is with L2 Init.
    found: dict[str, Coefficient] = {"l2": 2 * l2, "l2_init": 2 * l2_init}
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
"""The best that the paper found: (data set, model) → protocol → method.

Of L2 and L2 Init these are twice the paper's numbers, which is the same penalty: see
the authors' code, https://github.com/CILAB-RL-TEAM/soft-weight-rescaling. That
code gives λ_f to the fully connected layers of the CNNs and λ_c to all others, against
the paper's text, which is followed here.
"""

STREAM_COEFFICIENTS: dict[str, Coefficient] = {
    "l2": 3e-3,
    "l2_init": 1e-2,
    "shrink_and_perturb": 0.2,
    **dict.fromkeys(("swr", "swr_reinit", "swr_follow"), 1e-3),
    **dict.fromkeys(("swr_two", "swr_function", "swr_kept"), _two(1e-2, 1e-4)),
    "swr_directions": {**_two(1e-3, 1e-4), "direction": 3e-2},
    "continual_backprop": 1e-3,
    "redo": 0.0,
    "self_normalized_resets": 0.08,
    "spectral": 1e-2,
    "weight_clipping": 2.0,
}
"""On streams: chosen by sweeps on the digits' random labels, on seeds of their own."""

# Digits, which the paper does not have, are to it what MNIST is.
_LIKE: dict[tuple[str, str], tuple[str, str]] = {("digits", "mlp"): ("mnist", "mlp")}

_SAME_AS = dict.fromkeys(("swr_reinit", "swr_follow"), ("swr_two", "swr"))
"""Methods that take SWR's coefficients: the two of it where the paper has two."""


class Choice(NamedTuple):
    """A method's coefficient and where it comes from.

    Attributes:
        value: the coefficient.
        published: whether it is the paper's best for this very cell, or on streams
            that of a sweep on the digits' random labels, with agents on CartPole.
    """

    value: Coefficient
    published: bool


def published_coefficient(
    method: str, protocol: str, dataset: str, model: str
) -> Choice | None:
    """The paper's coefficient for a method, or that for a cell like it.

    None where it has none: then the method's own default is taken.
    """
    names = _SAME_AS.get(method, (method,))
    tabled = protocol in PAPER["mnist", "mlp"]
    if not tabled:  # The paper's other protocols are single tasks as well.
        protocol = "single-task"
    cell = PAPER.get((dataset, model), {}).get(protocol, {})
    for name in names:
        if name in cell:
            return Choice(cell[name], published=tabled)
    alike = PAPER.get(_LIKE.get((dataset, model), ("", "")), {}).get(protocol, {})
    if names[-1] in alike:
        return Choice(alike[names[-1]], published=False)
    return None
