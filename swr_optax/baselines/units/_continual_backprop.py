"""Continual backpropagation: a trickle of the least useful units is replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax.baselines._arguments import (
    check_fresh,
    check_number,
    check_params,
    own_key,
)
from swr_optax.baselines.units._resetting import (
    Step,
    check_activations,
    check_given,
    mean_magnitude,
    reset_units,
)
from swr_optax.planning import RescalingPlan, Units
from swr_optax.planning.plan import rows_of
from swr_optax.planning.plan._paths import is_masked


class ContinualBackpropState(NamedTuple):
    """State of :func:`continual_backprop`, an array for each layer of units.

    Attributes:
        key: from which the next step draws.
        ages: steps since each unit was new; int32, shape (units,).
        utilities: moving average of each unit's utility; shape (units,).
        owed: how many units are still to be replaced, a fraction; scalar.
        inner_state: of the optimiser.
    """

    key: jax.Array
    ages: tuple[jax.Array, ...]
    utilities: tuple[jax.Array, ...]
    owed: tuple[jax.Array, ...]
    inner_state: optax.OptState


def continual_backprop(
    inner: optax.GradientTransformation,
    plan: RescalingPlan,
    init_fn: Callable[[jax.Array], optax.Params],
    *,
    replacement_rate: float | jax.Array = 1e-4,
    maturity: int | jax.Array = 100,
    decay: float | jax.Array = 0.99,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Replaces, step by step, a small fraction of each layer's least useful units.

    The utility of unit i is a moving average of its mean magnitude times that of
    its outgoing weights after the optimiser's step,

    .. math::
        u_i \leftarrow \eta \, u_i + (1 - \eta) \; \mathbb{E} |h_i| \sum_j |w_{ij}|,
        \qquad \hat{u}_i = u_i / (1 - \eta^{a_i}),

    with :math:`a_i` its age in steps.  Of the units above the age of maturity a
    fraction :math:`\rho` is to be replaced at each step; what is less than a unit
    adds up, and when it makes one, that of the lowest :math:`\hat{u}` goes: its
    incoming weights and scales are drawn anew, its shifts and outgoing weights
    become zero, the optimiser's moments of all these begin anew, and so do its
    utility and age.

    The authors' code does the same, with the outgoing weights' mean where this has
    the sum of the paper, which orders units alike, and differs in this: where a
    convolution is flattened, it multiplies magnitudes position by position; for
    dense layers it adds to the next bias what a replaced unit gave on average,
    which this does not; each weight has a step count of Adam of its own there; and
    a new unit takes the weights that it draws from units of the layer before that
    are replaced in the same step, where here they are zero.

    Example:
        >>> import optax, swr_optax
        >>> def optimiser(plan, fresh):  # As in `redo`.
        ...     return swr_optax.continual_backprop(optax.adam(1e-3), plan, fresh)

    Args:
        inner: the optimiser whose step comes first.
        plan: made by :func:`swr_optax.plan_rescaling`; see :func:`redo`.
        init_fn: makes fresh parameters of a key; jittable.
        replacement_rate: :math:`\rho`, from 0 to 1; may be traced.
        maturity: age in steps that a unit must be above; may be traced.
        decay: :math:`\eta`, from 0 to 1; may be traced.
        key: seed or key of what is drawn.

    Returns:
        A transformation whose ``update`` needs ``params`` and ``activations``, as
        :func:`swr_optax.with_activations` returns them for the batch of the step.
        Its state is a :class:`ContinualBackpropState`.

    Raises:
        ValueError: if a coefficient is out of its range; if the plan has
            no hidden units; in ``init`` if ``init_fn`` makes other parameters; in
            ``update`` without parameters or activations.
        TypeError: if a coefficient is no number.

    References:
        Dohare et al., `Loss of Plasticity in Deep Continual Learning
        <https://doi.org/10.1038/s41586-024-07711-7>`_, Nature 632, 2024.
    """
    inner = check_given(inner, plan, init_fn, "continual_backprop")
    check_number(replacement_rate, "replacement_rate", most=1)
    check_number(maturity, "maturity")
    check_number(decay, "decay", most=1)

    def start(params: optax.Params) -> ContinualBackpropState:
        check_fresh(init_fn, own_key(key), params)
        return ContinualBackpropState(
            key=own_key(key),
            ages=tuple(jnp.zeros(u.count, jnp.int32) for u in plan.units),
            utilities=tuple(jnp.zeros(u.count, jnp.float32) for u in plan.units),
            owed=tuple(jnp.zeros((), jnp.float32) for _ in plan.units),
            inner_state=inner.init(params),
        )

    def update_fn(
        updates: optax.Updates,
        state: ContinualBackpropState,
        params: optax.Params | None = None,
        *,
        activations: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ContinualBackpropState]:
        check_params(params, "continual_backprop")
        check_activations(activations, plan, "continual_backprop")
        extra_args["activations"] = activations
        step = Step(*inner.update(updates, state.inner_state, params, **extra_args))
        carried, drawn = jax.random.split(state.key)
        new_params = optax.apply_updates(params, step.updates)
        masks, ages, utilities, owed = [], [], [], []
        for k, units in enumerate(plan.units):
            age = state.ages[k] + 1
            contribution = mean_magnitude(activations[k]) * outgoing_magnitude(
                units, new_params, plan
            )
            utility = decay * state.utilities[k] + (1 - decay) * contribution
            mature = age > maturity
            wanted = state.owed[k] + replacement_rate * mature.sum()
            # Not more than there are, and none is owed for want of mature ones.
            whole = jnp.minimum(jnp.floor(wanted), mature.sum())
            corrected = jnp.where(mature, utility / (1 - decay**age), jnp.inf)
            rank = jnp.argsort(jnp.argsort(corrected))
            mask = mature & (rank < whole)
            masks.append(mask)
            ages.append(jnp.where(mask, 0, age))
            utilities.append(jnp.where(mask, 0.0, utility).astype(jnp.float32))
            owed.append((wanted - whole).astype(jnp.float32))
        step = reset_units(step, masks, params, plan, inner, init_fn, drawn)
        return step.updates, ContinualBackpropState(
            carried, tuple(ages), tuple(utilities), tuple(owed), step.state
        )

    return optax.GradientTransformationExtraArgs(start, update_fn)


def outgoing_magnitude(
    units: Units, params: optax.Params, plan: RescalingPlan
) -> jax.Array:
    """Sum of each unit's outgoing weights' magnitudes; shape (units,)."""
    places = plan.match_params(params)
    leaves = jax.tree.leaves(params, is_leaf=is_masked)
    position_of = {row: k for k, p in enumerate(places) for row in rows_of(p)}
    total = jnp.zeros(units.count)
    for place in units.outgoing:
        k, index = position_of.get(place.leaf), plan.leaves[place.leaf].index
        if k is None:
            continue  # It is masked out.
        array = leaves[k] if index is None else leaves[k][index]
        others = [axis for axis in range(array.ndim) if axis != place.axis]
        along = jnp.abs(array).astype(total.dtype).sum(others)
        unit = place.unit_of_entries(units.count, array.shape[place.axis])
        total = total.at[unit[unit >= 0]].add(along[unit >= 0])
    return total
