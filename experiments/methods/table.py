"""Methods against the loss of plasticity, each an entry of one table.

A method may act on the loss, on the optimiser's update, on the parameters after
the update (both in the transformation that it chains), on running statistics,
and when the data change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.methods.method import Method, Setting
import swr_optax


def _l2(params: Any, setting: Setting) -> jax.Array:
    squares = (jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
    return setting.coefficient / 2 * sum(squares)


def _rescaling(
    coefficient: Callable[[Setting, Any], Callable[[Any], Any]],
    at_drops: bool = False,
) -> dict[str, Any]:
    """Entries of the variants of SWR, which differ in their λ over time."""

    def optimizer(
        optimizer: optax.GradientTransformation, setting: Setting
    ) -> optax.GradientTransformation:
        given = setting.coefficient
        rescale = swr_optax.soft_weight_rescaling(
            {group: coefficient(setting, value) for group, value in given.items()}
            if isinstance(given, Mapping)
            else coefficient(setting, given),
            setting.plan,
            reset_steps=setting.drops if at_drops else (),
        )
        return optax.chain(optimizer, rescale)

    return {
        "optimizer": optimizer,
        "statistics": lambda stats, opt_state, setting: swr_optax.rescale_statistics(
            stats, opt_state, setting.plan
        ),
    }


def _constant(setting: Setting, value: Any) -> Callable[[Any], Any]:
    del setting
    return optax.constant_schedule(value)


def _following(setting: Setting, value: Any) -> Callable[[Any], Any]:
    return lambda step: value * setting.decay(step)


def _one(setting: Setting, value: Any) -> Callable[[Any], Any]:
    del setting, value
    return optax.constant_schedule(1.0)


METHODS: dict[str, Method] = {
    "scratch": Method(
        label="scratch",
        source="trains on all data from the start",
        last_stage_only=True,
    ),
    "fresh": Method(
        label="fresh network",
        source="the control: a new network and optimiser for each task",
        fresh=True,
    ),
    "vanilla": Method(
        label="vanilla",
        source="goes on training, with nothing done",
    ),
    "l2": Method(
        label="L2",
        source="Krogh and Hertz, NeurIPS 1991",
        penalty=_l2,
    ),
    "l2_init": Method(
        label="L2 Init",
        source="Kumar et al., arXiv 2308.11958",
        optimizer=lambda optimizer, setting: optax.chain(
            swr_optax.l2_init(setting.coefficient), optimizer
        ),
    ),
    "shrink_and_perturb": Method(
        label="S&P",
        source="Ash and Adams, arXiv 1910.08475",
        at_change=lambda params, initial, setting: swr_optax.shrink_and_perturb(
            params, initial, setting.coefficient
        ),
    ),
    "head_reset": Method(
        label="head reset",
        source="Nikishin et al., arXiv 2205.07802",
        at_change=lambda params, initial, setting: swr_optax.reset_head(
            params, initial, setting.plan
        ),
    ),
    "full_reset": Method(
        label="full reset",
        source="returns to the initial parameters and keeps the optimiser's state",
        at_change=lambda params, initial, _: swr_optax.reset_all(params, initial),
    ),
    "swr": Method(
        label="SWR",
        source="Oh et al., arXiv 2507.04683",
        **_rescaling(_constant),
    ),
    "swr_two": Method(
        label="SWR, two λ",
        source="Oh et al., arXiv 2507.04683: one for features, one for the classifier",
        **_rescaling(_constant),
    ),
    "swr_reinit": Method(
        label="SWR + re-init",
        source="Oh et al., arXiv 2507.04683: norms at each drop of the learning rate"
        " become the reference",
        **_rescaling(_constant, at_drops=True),
    ),
    "swr_follow": Method(
        label="SWR, λ follows",
        source="λ in proportion to the learning rate, which keeps their balance",
        **_rescaling(_following),
    ),
    "hard_projection": Method(
        label="hard projection",
        source="Oh et al., arXiv 2507.04683, with λ = 1: norms never change",
        **_rescaling(_one),
    ),
}
"""By name; a new method is one entry."""
