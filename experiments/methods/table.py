"""Methods against the loss of plasticity, each an entry of one table.

A method may act on the loss, on the optimiser's update, on the parameters after
the update (both in the transformation that it chains), on running statistics,
and when the data change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.methods.method import Method, Optimizer, Setting
import swr_optax
from swr_optax import RescalingPlan

GROUPS = ("feature", "classifier")
"""Of a network's layers, each with a λ of its own."""

POWERS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
SMALL_POWERS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

RETURN_STEPS = 1000
"""After which Hare and Tortoise send the one back to the other."""


def _l2(params: Any, setting: Setting) -> jax.Array:
    squares = (jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
    return setting.coefficient / 2 * sum(squares)


def _rescaling(
    coefficient: Callable[[Setting, Any], Callable[[Any], Any]],
    at_drops: bool = False,
    plan: Callable[[Setting], RescalingPlan] = lambda setting: setting.plan,
    before: Optimizer = lambda optimizer, _: optimizer,
) -> dict[str, Any]:
    """Entries of the variants of SWR.

    Args:
        coefficient: λ over time, from the setting and the number that was given.
        at_drops: whether norms become the reference when the learning rate falls.
        plan: which of the network's plans it goes by.
        before: the optimiser behind which it is chained, from the plain one.
    """

    def optimizer(
        optimizer: optax.GradientTransformation, setting: Setting
    ) -> optax.GradientTransformation:
        given = setting.coefficient
        if isinstance(given, Mapping):
            groups = {group: given[group] for group in GROUPS}
            value: Any = {g: coefficient(setting, v) for g, v in groups.items()}
        else:
            value = coefficient(setting, given)
        rescale = swr_optax.soft_weight_rescaling(
            value, plan(setting), reset_steps=setting.drops if at_drops else ()
        )
        return optax.chain(before(optimizer, setting), rescale)

    return {
        "optimizer": optimizer,
        "statistics": lambda stats, opt_state, setting: swr_optax.rescale_statistics(
            stats, opt_state, plan(setting)
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


def _before(transformation: Callable[[Any, Setting], Any]) -> Optimizer:
    """Chains what acts on gradients in front of the optimiser."""
    return lambda optimizer, setting: optax.chain(
        transformation(setting.coefficient, setting), optimizer
    )


def _after(transformation: Callable[[Any, Setting], Any]) -> Optimizer:
    """Chains what acts on updates behind the optimiser."""
    return lambda optimizer, setting: optax.chain(
        optimizer, transformation(setting.coefficient, setting)
    )


def _resetting(wrap: Callable[..., Any], argument: str) -> dict[str, Any]:
    """Entries of what resets units around the optimiser, by the name of its λ."""
    return {
        "optimizer": lambda optimizer, setting: wrap(
            optimizer,
            setting.plan,
            setting.init,
            **{argument: setting.coefficient},
            key=_key(setting),
        ),
        "observes_units": True,
    }


def _key(setting: Setting) -> jax.Array:
    """Of the numbers that a method draws, apart from the network's."""
    return jax.random.fold_in(jax.random.key(setting.seed), 1)


def _rate(setting: Setting) -> Callable[[Any], Any]:
    return lambda step: setting.learning_rate * setting.decay(step)


def _two(features: Iterable[float], classifiers: Iterable[float]) -> tuple[Any, ...]:
    """Coefficients of the two groups, each with each."""
    return tuple(
        dict(zip(GROUPS, pair, strict=True))
        for pair in itertools.product(features, classifiers)
    )


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
        default=1e-4,
        grid=SMALL_POWERS,
        largest=math.inf,
    ),
    "l2_init": Method(
        label="L2 Init",
        source="Kumar et al., arXiv 2308.11958",
        optimizer=_before(lambda value, _: swr_optax.l2_init(value)),
        default=1e-4,
        grid=SMALL_POWERS,
        largest=math.inf,
    ),
    "shrink_and_perturb": Method(
        label="S&P",
        source="Ash and Adams, arXiv 1910.08475, at changes of data",
        at_change=lambda params, initial, setting, _: swr_optax.shrink_and_perturb(
            params, initial, setting.coefficient
        ),
        default=0.8,
        grid=(0.2, 0.4, 0.6, 0.8),
    ),
    "head_reset": Method(
        label="head reset",
        source="Nikishin et al., arXiv 2205.07802",
        at_change=lambda params, initial, setting, _: swr_optax.reset_head(
            params, initial, setting.plan
        ),
    ),
    "full_reset": Method(
        label="full reset",
        source="returns to the initial parameters and keeps the optimiser's state",
        at_change=lambda params, initial, *_: swr_optax.reset_all(params, initial),
    ),
    "swr": Method(
        label="SWR",
        source="Oh et al., arXiv 2507.04683",
        **_rescaling(_constant),
        default=1e-3,
        grid=POWERS,
    ),
    "swr_two": Method(
        label="SWR, two λ",
        source="Oh et al., arXiv 2507.04683: one for features, one for the classifier",
        **_rescaling(_constant),
        coefficients=GROUPS,
        default={"feature": 1e-4, "classifier": 1e-1},
        grid=_two(POWERS, POWERS),
    ),
    "swr_function": Method(
        label="SWR, function kept",
        source='two λ and priority="function", which differs where branches meet',
        **_rescaling(_constant, plan=lambda setting: setting.function_plan()),
        coefficients=GROUPS,
        default={"feature": 1e-4, "classifier": 1e-1},
        grid=_two(POWERS, POWERS),
    ),
    "swr_kept": Method(
        label="SWR, outputs kept",
        source="the same, and no output is scaled: layers only against each other",
        **_rescaling(_constant, plan=lambda setting: setting.kept_plan()),
        coefficients=GROUPS,
        default={"feature": 1e-4, "classifier": 1e-1},
        grid=_two(POWERS, POWERS),
    ),
    "swr_reinit": Method(
        label="SWR + re-init",
        source="Oh et al., arXiv 2507.04683: norms at each drop of the learning rate"
        " become the reference",
        **_rescaling(_constant, at_drops=True),
        default=1e-3,
        grid=POWERS,
        at_falls=True,
    ),
    "swr_follow": Method(
        label="SWR, λ follows",
        source="λ in proportion to the learning rate, which keeps their balance",
        **_rescaling(_following),
        default=1e-3,
        grid=POWERS,
        at_falls=True,
    ),
    "swr_directions": Method(
        label="SWR + directions",
        source="two λ for the norms, and L2 Init's pull on the directions alone",
        **_rescaling(
            _constant,
            before=lambda optimizer, setting: optax.chain(
                swr_optax.l2_directions(setting.coefficient["direction"], setting.plan),
                optimizer,
            ),
        ),
        coefficients=(*GROUPS, "direction"),
        default={"feature": 1e-3, "classifier": 1e-4, "direction": 1e-2},
        grid=tuple(
            {**pair, "direction": direction}
            for pair in _two((1e-3,), (1e-3, 1e-4))
            for direction in SMALL_POWERS
        ),
    ),
    "hard_projection": Method(
        label="hard projection",
        source="Oh et al., arXiv 2507.04683, with λ = 1: norms never change",
        **_rescaling(_one),
    ),
    "layer_norm": Method(
        label="LayerNorm",
        source="Lyle et al., arXiv 2303.01486: plain training of a network with it",
        layer_norm=True,
    ),
    "weight_clipping": Method(
        label="weight clipping",
        source="Elsayed et al., arXiv 2407.01704",
        optimizer=_after(
            lambda value, setting: swr_optax.weight_clipping(setting.plan, value)
        ),
        default=1.0,
        grid=(1.0, 2.0, 3.0, 4.0, 5.0),
        largest=math.inf,
    ),
    "project_norms": Method(
        label="norm projection",
        source="Lyle et al., arXiv 2407.01800; with a network that normalises",
        optimizer=_after(lambda _, setting: swr_optax.project_norms(setting.plan)),
    ),
    "spectral": Method(
        label="spectral",
        source="Lewandowski et al., arXiv 2406.06811",
        optimizer=_before(
            lambda value, setting: swr_optax.spectral_regularization(
                value, setting.plan, key=_key(setting)
            )
        ),
        default=1e-4,
        grid=SMALL_POWERS,
        largest=math.inf,
    ),
    "wasserstein_l2": Method(
        label="Wasserstein L2",
        source="Lewandowski et al., arXiv 2312.00246",
        optimizer=_before(
            lambda value, setting: swr_optax.wasserstein_l2(value, setting.plan)
        ),
        default=1e-3,
        grid=SMALL_POWERS,
        largest=math.inf,
    ),
    "shrink_and_perturb_steps": Method(
        label="S&P each step",
        source="Ash and Adams, as Kumar et al., arXiv 2308.11958, apply it",
        optimizer=_after(
            lambda value, setting: swr_optax.shrink_and_perturb_each_step(
                value["shrink"], value["perturb"], setting.init, key=_key(setting)
            )
        ),
        coefficients=("shrink", "perturb"),
        default={"shrink": 1e-4, "perturb": 1e-2},
        grid=tuple(
            {"shrink": shrink, "perturb": perturb}
            for shrink, perturb in itertools.product(SMALL_POWERS[1:], repeat=2)
        ),
    ),
    "hare_and_tortoise": Method(
        label="Hare & Tortoise",
        source="Lee et al., arXiv 2406.02596; back every 1000 steps",
        optimizer=_after(
            lambda value, _: swr_optax.hare_and_tortoise(RETURN_STEPS, value)
        ),
        evaluated=lambda _, opt_state: swr_optax.tortoise_params(opt_state),
        default=0.999,
        grid=(0.9, 0.99, 0.999, 0.9999),
    ),
    "upgd": Method(
        label="UPGD",
        source="Elsayed and Mahmood, arXiv 2404.00781; an optimiser of its own",
        optimizer=lambda _, setting: swr_optax.upgd(
            _rate(setting),
            sigma=setting.coefficient["sigma"],
            weight_decay=setting.coefficient["decay"],
            key=_key(setting),
        ),
        coefficients=("sigma", "decay"),
        default={"sigma": 1e-1, "decay": 1e-2},
        grid=tuple(
            {"sigma": sigma, "decay": decay}
            for sigma, decay in itertools.product((1e-1, 1e-2, 1e-3), repeat=2)
        ),
        largest=math.inf,
        rate=0.01,
    ),
    "orthogonal_decay": Method(
        label="AdamO",
        source="arXiv 2606.09762: Adam and a decoupled pull to orthogonal weights",
        optimizer=_after(
            lambda value, setting: swr_optax.orthogonal_decay(
                _rate(setting), value, setting.plan
            )
        ),
        default=1e-1,
        grid=(1.0, 1e-1, 1e-2, 1e-3),
        largest=math.inf,
    ),
    "fire": Method(
        label="FIRE",
        source="arXiv 2602.08040, at changes of data; the optimiser's state is kept",
        at_change=lambda params, _, setting, __: swr_optax.fire(params, setting.plan),
    ),
    "dash": Method(
        label="DASH",
        source="Shin et al., arXiv 2410.23495, at changes of data",
        at_change=lambda params, _, setting, descent: swr_optax.dash(
            params, descent(), setting.plan, smallest=setting.coefficient
        ),
        passes=True,
        default=0.3,
        grid=(0.1, 0.3, 0.5, 0.7),
    ),
    "redo": Method(
        label="ReDo",
        source="Sokar et al., arXiv 2302.12902",
        **_resetting(swr_optax.redo, "threshold"),
        default=0.1,
        grid=(0.0, 0.01, 0.1),
    ),
    "continual_backprop": Method(
        label="continual backprop",
        source="Dohare et al., Nature 632:768, 2024",
        **_resetting(swr_optax.continual_backprop, "replacement_rate"),
        default=1e-4,
        grid=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    ),
    "self_normalized_resets": Method(
        label="SNR",
        source="Farias and Jozefiak, arXiv 2410.20098",
        **_resetting(swr_optax.self_normalized_resets, "eta"),
        default=0.02,
        grid=(0.08, 0.04, 0.02, 0.01, 0.005, 0.0025, 0.00125),
    ),
}
"""By name; a new method is one entry."""
