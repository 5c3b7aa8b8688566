"""What a network's hidden units put out, from the forward pass that trains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from swr_optax.planning._arguments import check_function, check_plan
from swr_optax.planning._network import Network, trace
from swr_optax.planning.plan import RescalingPlan, Units
from swr_optax.planning.units import FoundUnits, Program, Read, find_units


def with_activations(
    fn: Callable[..., Any], plan: RescalingPlan
) -> Callable[..., tuple[Any, tuple[jax.Array, ...]]]:
    """Lets a network return the activations of its hidden units too.

    Nothing is computed twice and the network's code stays as it is: ``fn`` is
    traced, and the values that the plan's units put out are returned beside its
    outputs.  The result may be jitted, differentiated and vmapped, and has the
    derivatives of ``fn``.  Jit it, or what calls it: every call traces ``fn``.

    Example:
        >>> import jax, jax.numpy as jnp, swr_optax
        >>> def fn(params, x):
        ...     return jax.nn.relu(x @ params["w1"]) @ params["w2"]
        >>> params = {"w1": jnp.ones((4, 8)), "w2": jnp.ones((8, 2))}
        >>> x = jnp.ones((3, 4))
        >>> plan = swr_optax.plan_rescaling(fn, params, x)
        >>> def loss(params, x):
        ...     outputs, activations = swr_optax.with_activations(fn, plan)(params, x)
        ...     return (outputs**2).mean(), activations
        >>> grads, (hidden,) = jax.jit(jax.grad(loss, has_aux=True))(params, x)
        >>> hidden.shape
        (3, 8)

    Args:
        fn: the network that the plan is for; it may be in evaluation mode.
        plan: made by :func:`swr_optax.plan_rescaling`.

    Returns:
        A function of what ``fn`` takes, which returns what ``fn`` does and a tuple
        with one array for each of ``plan.units``.  An activation is what enters
        the product with outgoing weights, after the nonlinearity and pooling, of
        shape (batch, ..., units).  Where different values of the same units enter
        products, as along the trunk of a residual network, all of them are
        there, one after the other in one array of shape (values, units).  Of a
        recurrent network, or any other scan of which one round is like the other,
        the values of all rounds are in it, along its first axis.

    Raises:
        ValueError: when it is called, if ``fn`` does not have the plan's units, or
            not these parameters or statistics.
        TypeError: if ``fn`` is no function or ``plan`` no plan.
    """
    check_function(fn, "fn", "the network's function")
    check_plan(plan)

    def with_units(params: Any, *rest: Any) -> tuple[Any, tuple[jax.Array, ...]]:
        measured = len(plan.leaves) > plan.parameters
        stats, inputs = (rest[0], rest[1:]) if measured else (None, rest)
        network = trace(fn, params, stats, inputs)
        rows = [*plan.match_params(params)]
        rows += plan.match_statistics(stats) if measured else []
        program = Program(network.jaxpr)
        found = _matching(plan, network, program, rows)
        args = [
            leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
            for leaf in jax.tree.leaves((params, *rest))
        ]
        wanted = {read.number for each in found for read in each.reads}
        outputs, values = program.evaluate(args, wanted)
        activations = tuple(
            _together([_units_last(values[read.number], read) for read in each.reads])
            for each in found
        )
        return jax.tree.unflatten(jax.tree.structure(network.returned), outputs), (
            activations
        )

    return with_units


def _matching(
    plan: RescalingPlan, network: Network, program: Program, rows: list[Any]
) -> list[FoundUnits]:
    """The units of the traced network that are those of the plan, in its order."""
    by_leaves = {
        (each.units.incoming, each.units.outgoing): each
        for each in find_units(
            program,
            plan.leaves,
            rows,
            network.parameters,
            [name is None for name in network.outputs],
        )
    }
    return [
        by_leaves.get((units.incoming, units.outgoing)) or _refuse(plan, units)
        for units in plan.units
    ]


def _refuse(plan: RescalingPlan, units: Units) -> FoundUnits:
    names = ", ".join(plan.leaves[place.leaf].name for place in units.incoming)
    raise ValueError(
        f"fn does not have the plan's units that {names} make: make a plan of this fn"
    )


def _units_last(value: jax.Array, read: Read) -> jax.Array:
    """The slices of an array with one entry for each unit along the last axis."""
    value = value[tuple(slice(None) if i is None else i for i in read.at)]
    (axis, length, inner), start, stop = read.spot
    rows = jnp.moveaxis(value, axis, -1)[..., start:stop]
    front = rows.shape[:-1]
    apart = jnp.moveaxis(rows.reshape(*front, -1, length, inner), -2, -1)
    repeats = (stop - start) // length
    return apart.reshape(*front, *([repeats] if repeats > 1 else []), length)


def _together(values: list[jax.Array]) -> jax.Array:
    if len(values) == 1:
        return values[0]
    return jnp.concatenate([value.reshape(-1, value.shape[-1]) for value in values])
