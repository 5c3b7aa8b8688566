"""Units as a plan has them, and changes of them in NumPy by where it says they are."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

import swr_optax


def listed(plan, named=lambda name: name):
    """Names of the leaves that hold slices, with the axes, and whether units mix."""
    return [
        (
            units.count,
            units.mixed,
            *(
                tuple(
                    sorted(f"{named(plan.leaves[p.leaf].name)} {p.axis}" for p in side)
                )
                for side in (units.incoming, units.outgoing)
            ),
        )
        for units in plan.units
    ]


def sorted_rows(activation):
    """The values of each unit in order: a trunk's come in another one."""
    return np.sort(np.asarray(activation).reshape(-1, activation.shape[-1]), axis=0)


def _change(params, stats, plan, places, count, change):
    """Params and stats with ``change(array, unit_of_entry)`` for each place's axis."""
    trees = [params, stats]
    flat = [jax.tree.flatten(tree) for tree in trees]
    arrays = [[np.array(leaf) for leaf in leaves] for leaves, _ in flat]
    positions = [(0, k) for k in range(len(arrays[0]))]
    positions += [(1, k) for k in range(len(arrays[1]))]
    rows = [*plan.match_params(params), *plan.match_statistics(stats)]
    where = {}
    for row, (tree, k) in zip(rows, positions, strict=True):
        if isinstance(row, int):
            where[row] = arrays[tree][k]
        else:  # Views of the layers of a stack.
            where |= zip(range(row.start, row.stop), arrays[tree][k], strict=True)
    for place in places:
        array = np.moveaxis(where[place.leaf], place.axis, 0)
        units = place.unit_of_entries(count, len(array))
        array[...] = change(array.copy(), units)
    return tuple(
        structure.unflatten(map(jnp.asarray, leaves))
        for leaves, (_, structure) in zip(arrays, flat, strict=True)
    )


def permuted(params, stats, plan, units, order):
    """The network with its units in another order."""

    def change(array, unit):
        inside = np.flatnonzero(unit >= 0)
        first, inner = (
            inside[0],
            next(
                (
                    i
                    for i in range(1, len(inside))
                    if unit[inside[i]] != unit[inside[0]]
                ),
                1,
            ),
        )
        offset = inside - first
        block, rest = np.divmod(offset, inner)
        group, position = np.divmod(block, units.count)
        source = first + ((group * units.count) + order[position]) * inner + rest
        array[inside] = array[source]
        return array

    places = [*units.incoming, *units.outgoing, *units.statistics]
    return _change(params, stats, plan, places, units.count, change)


def assert_statistics_of_each(net, x, norm, layers):
    """The statistics of a module's stacked BatchNorm are in the units of each layer."""
    plan = plan_of_any_order(net, x)
    assert [
        [plan.leaves[place.leaf].name for place in units.statistics]
        for units in plan.units
    ] == [
        [f"{norm}/{name}[{layer}]" for name in ("mean", "var")]
        for layer in range(layers)
    ]


def plan_of_any_order(net, x):
    """The plan of a module with BatchNorm.

    Whatever order its units are in, outputs and updated statistics are the same.
    """
    stats = net.init(jax.random.key(0), x)
    params = stats.pop("params")

    def apply(params, stats, x):
        return net.apply({"params": params, **stats}, x, mutable=["batch_stats"])

    plan = swr_optax.plan_rescaling(apply, params, x, stats=stats)
    outputs, updated = apply(params, stats, x)
    for units in plan.units:
        order = np.random.default_rng(0).permutation(units.count)
        moved, moved_stats = permuted(params, stats, plan, units, order)
        found, found_stats = apply(moved, moved_stats, x)
        np.testing.assert_allclose(found, outputs, rtol=1e-4, atol=1e-5)
        _, expected = permuted(params, updated, plan, units, order)
        chex.assert_trees_all_close(found_stats, expected, rtol=1e-4, atol=1e-5)
    return plan


def set_slices(params, stats, plan, places, count, unit, value):
    """The network with a function of one unit's slices in their place."""

    def change(array, units):
        array[units == unit] = value(array[units == unit])
        return array

    return _change(params, stats, plan, places, count, change)


RESETS = {
    "redo": functools.partial(swr_optax.redo, period=2, threshold=0.9),
    "continual_backprop": functools.partial(
        swr_optax.continual_backprop, replacement_rate=0.3, maturity=1
    ),
    "self_normalized_resets": functools.partial(
        swr_optax.self_normalized_resets, period=2, eta=0.5
    ),
}
"""So that units are reset within a few steps."""


def with_resets(name, fn, plan, params, fresh, x):
    """Parameters before and after each of six steps of Adam, and its last moments."""
    tx = RESETS[name](optax.adam(0.01), plan, fresh)
    state = tx.init(params)

    def loss(params):
        outputs, activations = swr_optax.with_activations(fn, plan)(params, x)
        return jnp.sin(outputs).sum(), activations

    @jax.jit
    def step(params, state):
        grads, activations = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(grads, state, params, activations=activations)
        return optax.apply_updates(params, updates), state

    seen = [params]
    for _ in range(6):
        params, state = step(params, state)
        seen.append(params)
    return seen, state.inner_state[0]
