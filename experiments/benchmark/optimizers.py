"""The optimiser's step alone, on a chain of square dense layers with fixed gradients.

Nothing hides the cost of a method there: no forward pass, no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark.in_turn import Row, Steps, compare, time_in_turn
from experiments.benchmark.torch_optimizers import torch_optimizers
import swr_optax
from swr_optax import RescalingPlan

ROUND_SECONDS = 0.02
"""That Adam's steps of a round take at least."""

COMPILATIONS = 3
"""Of each program at most."""

COMPILE_SECONDS = 40.0
"""After which no program is compiled once more; each is at least once."""

MANY_LAYERS = 500
"""With more, only Adam and SWR are measured: the others take minutes to compile."""

RATE = 1e-3
STRENGTH = 1e-3
"""Of each method; how strong it is costs nothing."""


class Size(NamedTuple):
    """Of the parameters.

    Attributes:
        layers: how many, each of a square weight and a bias.
        parameters: how many numbers in all, about.
    """

    layers: int
    parameters: int

    @property
    def width(self) -> int:
        """Of a layer."""
        return max(1, round(math.sqrt(self.parameters / self.layers)))

    def __str__(self) -> str:
        """In words."""
        parameters = f"{self.parameters:.0e}".replace("e+0", "e")
        return f"{self.layers} layers, {parameters} parameters"


FEW_LAYERS = tuple(Size(3, parameters) for parameters in (30_000, 10**6, 10**7, 10**8))
MORE_LAYERS = tuple(Size(layers, 10**6) for layers in (30, 300, 1000))

ADAM, SWR = "Adam", "Adam + SWR"

WAYS: Mapping[str, Callable[[RescalingPlan], optax.GradientTransformation]] = {
    ADAM: lambda _: optax.adam(RATE),
    SWR: lambda plan: optax.chain(
        optax.adam(RATE), swr_optax.soft_weight_rescaling(STRENGTH, plan)
    ),
    "AdamW": lambda _: optax.adamw(RATE),
    "L2 Init + Adam": lambda _: optax.chain(
        swr_optax.l2_init(STRENGTH), optax.adam(RATE)
    ),
    "Adam + weight clipping": lambda plan: optax.chain(
        optax.adam(RATE), swr_optax.weight_clipping(plan)
    ),
    "spectral + Adam": lambda plan: optax.chain(
        swr_optax.spectral_regularization(STRENGTH, plan), optax.adam(RATE)
    ),
}
"""By name, from the plan; Adam, with which the others are compared, is the first."""


def measure(size: Size, rounds: int, torch: bool) -> list[Row]:
    """Times each way in turn with Adam.

    Only Adam and one other way hold parameters and state at a time: at 1e8 parameters
    an array of each is 400 MB.

    Args:
        size: of the parameters.
        rounds: of each pair.
        torch: whether PyTorch's ways are among them.

    Raises:
        UserError: if PyTorch is asked for and missing.
    """
    params, grads = chain(size, seed=0), chain(size, seed=1)
    # PyTorch's first, to fail at once where it is missing.
    others = torch_optimizers(params, grads, RATE, STRENGTH) if torch else {}
    layers = [(f"{name}/kernel", f"{name}/bias") for name in params]
    plan = swr_optax.sequential_plan(params, layers)
    optimizers = {
        name: make(plan)
        for name, make in WAYS.items()
        if size.layers <= MANY_LAYERS or name in (ADAM, SWR)
    }
    programs, compiling = _compile_in_turn(optimizers, params, grads)

    def steps_of(name: str, count: int) -> Steps:
        if name in others:
            return others[name](count)
        return _steps(programs[name], optimizers[name], params, grads, count)

    leaves = jax.tree.leaves(params)
    count = math.ceil(ROUND_SECONDS / _seconds(steps_of(ADAM, 1)))
    adam = steps_of(ADAM, count)
    rows = []
    for name in [*optimizers, *others]:
        steps = adam if name == ADAM else steps_of(name, count)
        compiled = {}
        if name in programs:
            seconds = compiling[name]
            compiled = {
                "compile_seconds": float(np.median(seconds)),
                "compile_ratio": float(np.median(seconds / compiling[ADAM])),
                "memory_ratio": _memory(programs[name]) / _memory(programs[ADAM]),
            }
        rows.append(
            Row(
                piece="optimizer",
                case=str(size),
                layers=size.layers,
                leaves=len(leaves),
                parameters=sum(leaf.size for leaf in leaves),
                way=name,
                rounds=rounds,
                **compare(steps, adam, count, rounds),
                **compiled,
            )
        )
    return rows


def chain(size: Size, seed: int) -> dict[str, dict[str, jax.Array]]:
    """Normal numbers in the shape of the parameters, in network order."""
    width = size.width
    key = jax.random.key(seed)

    def layer(position: int) -> dict[str, jax.Array]:
        weight, bias = jax.random.split(jax.random.fold_in(key, position))
        return {
            "kernel": jax.random.normal(weight, (width, width)) / math.sqrt(width),
            "bias": jax.random.normal(bias, (width,)),
        }

    return {f"layer_{position:04}": layer(position) for position in range(size.layers)}


def _compile_in_turn(
    optimizers: Mapping[str, optax.GradientTransformation], params: Any, grads: Any
) -> tuple[dict[str, jax.stages.Compiled], dict[str, np.ndarray]]:
    """The programs that update parameters and state, and seconds to make each."""
    programs: dict[str, jax.stages.Compiled] = {}
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    start = time.perf_counter()
    for _ in range(COMPILATIONS):
        for name, optimizer in optimizers.items():
            state = jax.eval_shape(optimizer.init, params)
            began = time.perf_counter()
            programs[name] = _compile(optimizer, params, state, grads)
            seconds[name].append(time.perf_counter() - began)
        if time.perf_counter() - start > COMPILE_SECONDS:
            break
    return programs, {name: np.array(each) for name, each in seconds.items()}


def _compile(
    optimizer: optax.GradientTransformation, params: Any, state: Any, grads: Any
) -> jax.stages.Compiled:
    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    # A function of its own each time, of which nothing is in a cache.
    return jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads).compile()


def _memory(program: jax.stages.Compiled) -> int:
    """Bytes that it needs at most: what comes in, what goes out, and its scratch."""
    needs: Any = program.memory_analysis()
    total = needs.argument_size_in_bytes + needs.output_size_in_bytes
    return total - needs.alias_size_in_bytes + needs.temp_size_in_bytes


def _steps(
    program: jax.stages.Compiled,
    optimizer: optax.GradientTransformation,
    params: Any,
    grads: Any,
    count: int,
) -> Steps:
    # Copies, since each step consumes what it is given.
    state: tuple[Any, Any] = (jax.tree.map(jnp.copy, params), optimizer.init(params))

    def steps() -> None:
        nonlocal state
        for _ in range(count):
            state = program(*state, grads)
        jax.block_until_ready(state)

    return steps


def _seconds(steps: Steps) -> float:
    return float(time_in_turn([steps], 3).min())
