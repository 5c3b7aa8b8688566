"""Hidden units: against lists written by hand, and by what may be done to them."""

import functools

import jax
import numpy as np
import pytest

from architectures import ARCHITECTURES
import swr_optax
from unit_changes import permuted, set_slices


@functools.cache
def planned(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    return case, plan


def outputs_of(case, params, stats):
    fn = case.evaluate or case.train
    if case.stats is None:
        return jax.tree.leaves(fn(params, *case.inputs))
    return jax.tree.leaves(fn(params, stats, *case.inputs)[0])


def distance(found, expected):
    """Largest difference, as a share of the largest output."""
    return max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(found, expected, strict=True)
    )


WITHOUT = ("rnn", "gru", "lstm", "mixture of experts", "scanned blocks")
"""Networks whose units are in loops or stacks."""


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n not in WITHOUT])
def test_units_may_be_reordered_and_cut_off(name):
    case, plan = planned(name)
    assert plan.units
    run = jax.jit(functools.partial(outputs_of, case))
    with jax.enable_x64(False):
        expected = run(case.params, case.stats)
        for k, units in enumerate(plan.units):
            if k not in (0, len(plan.units) // 2, len(plan.units) - 1):
                continue
            order = np.random.default_rng(k).permutation(units.count)
            found = run(*permuted(case.params, case.stats, plan, units, order))
            assert distance(found, expected) < 1e-3, units
            cut = functools.partial(
                set_slices, plan=plan, count=units.count, unit=units.count - 1
            )
            changed = cut(
                case.params,
                case.stats,
                places=units.incoming,
                value=lambda w: 2 - 3 * w,
            )
            assert distance(run(*changed), expected) > 1e-3, units
            if units.mixed:
                continue
            off = cut(
                case.params, case.stats, places=units.outgoing, value=np.zeros_like
            )
            on_and_off = cut(*off, places=units.incoming, value=lambda w: 2 - 3 * w)
            assert distance(run(*on_and_off), run(*off)) < 1e-5, units
