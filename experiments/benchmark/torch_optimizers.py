"""The same optimisers' steps in PyTorch, as its users write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import functools
import importlib
from typing import Any

import numpy as np

from experiments.benchmark.in_turn import Steps
from experiments.errors import UserError


def import_torch() -> Any:
    """PyTorch.

    Raises:
        UserError: if it is missing.
    """
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise UserError("--torch needs PyTorch: pip install torch") from None


def torch_optimizers(
    params: Mapping[str, Mapping[str, Any]],
    grads: Mapping[str, Mapping[str, Any]],
    rate: float,
    strength: float,
) -> dict[str, Callable[[int], Steps]]:
    """Ways by name, each of which gives so many steps on parameters of its own.

    Adam is there as it is by default, and fused, which is the fastest on most sizes;
    what SWR and others add stands behind the fused one.

    Args:
        params: of a chain of dense layers in network order: ``kernel`` and ``bias``.
        grads: fixed gradients.
        rate: the learning rate.
        strength: of each method.

    Raises:
        UserError: if PyTorch is missing.
    """
    torch = import_torch()

    def way(
        adam: Callable[[list[Any]], Any],
        after: Callable[[list[Any]], Callable[[], None]],
        count: int,
    ) -> Steps:
        arrays = [torch.nn.Parameter(array) for array in _arrays(torch, params)]
        for array, grad in zip(arrays, _arrays(torch, grads), strict=True):
            array.grad = grad
        optimizer, finish = adam(arrays), after(arrays)

        def steps() -> None:
            for _ in range(count):
                optimizer.step()
                with torch.no_grad():
                    finish()

        return steps

    unfused = functools.partial(torch.optim.Adam, lr=rate)
    adam = functools.partial(unfused, fused=True)
    adamw = functools.partial(torch.optim.AdamW, lr=rate, fused=True)
    swr = functools.partial(swr_after, strength)
    return {
        "PyTorch: Adam": functools.partial(way, unfused, nothing_after),
        "PyTorch: fused Adam": functools.partial(way, adam, nothing_after),
        "PyTorch: fused Adam + SWR": functools.partial(way, adam, swr),
        "PyTorch: fused AdamW": functools.partial(way, adamw, nothing_after),
        "PyTorch: fused Adam + clipping": functools.partial(way, adam, clipping_after),
    }


def nothing_after(arrays: list[Any]) -> Callable[[], None]:
    """What Adam alone does after its step."""
    del arrays
    return lambda: None


def swr_after(strength: float, arrays: list[Any]) -> Callable[[], None]:
    """What rescales weights and biases, one after the other, in place.

    Args:
        strength: λ.
        arrays: as they are at initialisation.
    """
    references = [weight.detach().norm() for weight in arrays[::2]]

    def rescale() -> None:
        cumulative = 1.0
        layers = zip(arrays[::2], arrays[1::2], references, strict=True)
        for weight, bias, reference in layers:
            norm = weight.norm()
            scaler = (strength * reference + (1 - strength) * norm) / norm
            cumulative = cumulative * scaler
            weight.mul_(scaler)
            bias.mul_(cumulative)

    return rescale


def clipping_after(arrays: list[Any]) -> Callable[[], None]:
    """What clips weights and biases, one after the other, in place."""
    bounds = [len(weight) ** -0.5 for weight in arrays[::2] for _ in range(2)]

    def clip() -> None:
        for array, bound in zip(arrays, bounds, strict=True):
            array.clamp_(-bound, bound)

    return clip


def _arrays(torch: Any, layers: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Copies of weights and biases, one after the other."""
    return [
        torch.from_numpy(np.array(layer[name]))
        for layer in layers.values()
        for name in ("kernel", "bias")
    ]
