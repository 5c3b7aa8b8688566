"""Soft Weight Rescaling as an Optax gradient transformation.

From top to bottom: the mathematics, the state, the transformation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._arguments import (
    check_axis_name,
    has_shapes,
    is_placeholder,
    whole_steps,
)
from swr_optax._coefficients import (
    Coefficient,
    coefficients_of_groups,
    coefficients_of_layers,
    is_zero,
)
from swr_optax._debts import Debts
from swr_optax._for_xla import after, entries
from swr_optax._norms import AxisName, norms_of_weights, widened
from swr_optax._turns import for_turns, in_order, turns_of
from swr_optax._updates import changes_of
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import array_leaves, check_plan
from swr_optax.planning._rescale import leaf_log_scalers
from swr_optax.planning.plan import Place, rows_of
from swr_optax.planning.plan._paths import is_masked

# The mathematics.


def log_scalers_of(
    norms: jax.Array, references: jax.Array, coefficients: jax.typing.ArrayLike
) -> jax.Array:
    """Log c of each layer; zero where a norm is zero or not finite."""
    ratio = references / norms
    # Before anything is made of it, or a gradient by the coefficients would be NaN.
    ratio = jnp.where((ratio > 0) & jnp.isfinite(ratio), ratio, 1.0)
    less_one = coefficients * (ratio - 1)
    mean = coefficients * ratio + (1 - coefficients)
    # log1p is exact near one, the mean far below it.
    return jnp.where(less_one > -0.5, jnp.log1p(less_one), jnp.log(mean))


def _moving(projection: np.ndarray, still: Sequence[bool]) -> np.ndarray:
    """Whether a layer's scaler can move any weight; shape (layers,).

    Args:
        projection: the exponents of the weights.
        still: whether each layer's coefficient is zero for good.
    """
    tied = projection != 0
    for _ in range(len(tied).bit_length()):  # Each time chains of twice the length.
        tied |= (tied.astype(float) @ tied) > 0
    return (tied & ~np.array(still, bool)).any(axis=1)


def new_references(norms: jax.Array, references: jax.Array) -> jax.Array:
    """The present norms, or the old references where these are not finite."""
    return jnp.where(jnp.isfinite(norms), norms, references).astype(references.dtype)


def _factors(
    exponents: np.ndarray,
    places: Sequence[Place],
    log_scalers: jax.Array,
    own: Mapping[int, jax.Array],
) -> list[Any]:
    """The factor less one of each array, or None where it is zero for good.

    Args:
        exponents: of the plan's leaves.
        places: where the plan has the arrays.
        log_scalers: of all layers.
        own: factors less one that are known already, by the array's position.
    """

    # With the factor less one, a scaling near the precision of the weight still
    # reaches the sum with the update before that is rounded.
    def of_rows(rows: Any) -> jax.Array:
        return jnp.expm1(leaf_log_scalers(exponents[rows], log_scalers))

    moving = [
        i
        for i, place in enumerate(places)
        if place is not None and exponents[place].any()
    ]
    factors: list[Any] = [None] * len(places)
    single = [i for i in moving if isinstance(places[i], int) and i not in own]
    if single:
        found = entries(of_rows([places[i] for i in single]))
        for i, factor in zip(single, found, strict=True):
            factors[i] = factor
    for i in moving:
        if i in own:
            factors[i] = own[i]
        elif isinstance(places[i], slice):
            factors[i] = of_rows(places[i])
    return factors


# The state.


class SoftWeightRescalingState(NamedTuple):
    """State of :func:`soft_weight_rescaling`.

    All but ``count`` are float32, or float64 if a weight is.

    Attributes:
        count: steps taken; int32, scalar.
        reference_norms: Frobenius norm to which each layer's weight is drawn,
            its norm at ``init``; shape (layers,).
        log_scalers: log c that the last step applied; shape (layers,).
        owed_log_scalers: log c that was wanted and not yet applied, since
            parameters of 16 bits or fewer would have swallowed it; zero for
            layers of float32 and float64; shape (layers,).
    """

    count: jax.Array  # type: ignore[assignment]
    reference_norms: jax.Array
    log_scalers: jax.Array
    owed_log_scalers: jax.Array = 0.0  # type: ignore[assignment]


# The transformation.


def soft_weight_rescaling(
    coefficient: Coefficient | Mapping[str, Coefficient],
    plan: RescalingPlan,
    *,
    reset_steps: Sequence[int] = (),
    axis_name: AxisName = (),
) -> optax.GradientTransformationExtraArgs:
    r"""Draws each weight's norm back towards its initial norm at every step.

    With :math:`W_l` the weights after the step that the updates would make,
    :math:`n_l` their Frobenius norms at initialisation and :math:`\lambda` the
    coefficient,

    .. math::
        c_l &= \frac{\lambda n_l + (1 - \lambda) \|W_l\|}{\|W_l\|} \\
        W_l &\leftarrow c_l W_l \\
        b_l &\leftarrow C_l b_l, \qquad C_l = c_1 c_2 \cdots c_l

    so that a norm goes a fraction :math:`\lambda` of its way back, and the
    biases follow so that the network's outputs change by a constant only.  The
    rule for :math:`b_l` is the paper's for a chain of layers; in general the
    logarithms of all leaves' scalers are ``plan.exponents @ log(c)``.

    If a step changes a squared norm by at most B, then the norm never exceeds
    its initial value by more than :math:`\sqrt{B} / \lambda`.

    Chain it last, behind the optimiser: what it rescales is ``params +
    updates``.  Inside :func:`optax.MultiSteps` and other wrappers that decide
    when to step it may stand with the optimiser; but it belongs behind
    :func:`optax.contrib.mechanize`, which makes other updates of what it wraps.
    Inside :func:`optax.contrib.schedule_free`, :func:`optax.lookahead` and
    :func:`optax.contrib.sam` it must stand: behind them, the averages, iterates or
    earlier parameters that they keep would not know of the rescaling.  Nor does
    :func:`optax.contrib.cocob`, which makes its parameters anew from the first ones
    and undoes any rescaling.

    Parameters of 16 bits or fewer would swallow small factors, so a layer with
    such leaves owes its scaler, one number in the state, until that is large
    enough to survive rounding (two epsilons of the type).

    Example:
        >>> import jax, jax.numpy as jnp, optax, swr_optax
        >>> def apply(params, x):
        ...     x = jax.nn.relu(x @ params["w1"] + params["b1"])
        ...     return x @ params["w2"] + params["b2"]
        >>> params = {"w1": jnp.ones((4, 8)), "b1": jnp.ones(8),
        ...           "w2": jnp.ones((8, 2)), "b2": jnp.ones(2)}
        >>> plan = swr_optax.plan_rescaling(apply, params, jnp.ones((16, 4)))
        >>> tx = optax.chain(
        ...     optax.adam(1e-3), swr_optax.soft_weight_rescaling(1e-3, plan))
        >>> opt_state = tx.init(params)
        >>> grads = jax.grad(lambda p: apply(p, jnp.ones((16, 4))).sum())(params)
        >>> updates, opt_state = tx.update(grads, opt_state, params)
        >>> params = optax.apply_updates(params, updates)

    Args:
        coefficient: :math:`\lambda` from 0 (no rescaling) to 1 (norms are held);
            a number, a traced scalar, a schedule (the step counts from 0), or a
            mapping from each of the plan's groups to one of these, such as
            ``{"feature": 1e-4, "classifier": 1e-1}``.  Where it is the Python
            or NumPy number 0, the updates pass unchanged to the bit.  A schedule
            or traced scalar is clipped to [0, 1], and NaN counts as 0.
        plan: of the network whose parameters these are.
        reset_steps: before these steps (counted from 0) the norms of the time
            become the reference norms, and nothing is owed any more: the paper's
            "SWR + re-init", for the steps at which the learning rate drops.  Norms
            that are not finite leave the reference as it is.
        axis_name: inside :func:`jax.shard_map` the name, or a tuple of names, of
            the mesh's axes over which weights are split; norms are then summed
            over the axes that each weight is split over, by its shape.  Arrays
            that are sharded under :func:`jax.jit` need none.

    Returns:
        A transformation whose ``update`` needs ``params``.  Its state is a
        :class:`SoftWeightRescalingState`; where shapes stand for the parameters,
        ``init`` returns that of shapes, as a checkpoint is restored into.  A weight
        whose norm or reference norm is zero, or not finite, has a scaler of one, and
        so has one that has grown or shrunk by more than 1e19 times; it is left alone,
        or with priority ``"function"`` follows those that it is tied to.  Norms are
        taken in float32, or in float64 for float64 parameters.  Under
        :func:`optax.masked` and :func:`optax.partition`, a weight that is masked out
        counts as one that does not change.

    Raises:
        ValueError: for a coefficient outside [0, 1], for a mapping whose groups
            are not the plan's, for a negative reset step; in ``init`` and
            ``update`` for parameters that the plan is not for; in ``init`` if a
            leaf is masked out that has to follow a weight which is not; in
            ``update`` without ``params``, for updates of other shapes, and for a
            state of another plan.
        TypeError: for a plan, coefficient, reset step or axis that is none; in
            ``update`` for parameters or updates that are no arrays, for updates
            that are no floating-point numbers, and for a state that is none of
            this transformation's.

    References:
        Oh, Park, Han and Kim, `Recovering Plasticity of Neural Networks via
        Soft Weight Rescaling <https://arxiv.org/abs/2507.04683>`_, 2025.  The
        last normalisation layer of its Algorithm 1 has an erratum; see the
        README.
    """
    check_plan(plan)
    check_axis_name(axis_name)
    by_group = coefficients_of_groups(coefficient, plan)
    still = [is_zero(by_group[layer.group]) for layer in plan.layers]
    moving = _moving(plan.exponents[[*plan.weights]], still)
    exponents = np.where(moving, plan.exponents, 0.0)
    # The weights' rows P are diagonal under "norms" and a projection under "function":
    # E @ P is E.  So p = P @ log(c), without what cancels among layers that are tied,
    # says all that log(c) says, and each weight takes its own entry of p.
    projection = exponents[[*plan.weights]]
    diagonal = projection.diagonal()
    separate = np.array_equal(projection, np.diag(diagonal))
    of_projected = exponents.copy()
    of_projected[[*plan.weights]] = np.diag(moving.astype(float))
    resets = whole_steps(reset_steps)
    weights = {*plan.weights}
    norms_of = functools.partial(norms_of_weights, plan=plan, axis_name=axis_name)

    def init_fn(params: optax.Params) -> SoftWeightRescalingState:
        if has_shapes(params):
            return jax.eval_shape(init_fn, params)
        if is_placeholder(params):
            norms = jnp.zeros(len(plan.layers))
        else:
            places = plan.match_params(params, split=bool(axis_name))
            _check_masked(plan, exponents, places)
            norms = norms_of(array_leaves(params, "params"), places)
        return SoftWeightRescalingState(
            count=jnp.zeros([], jnp.int32),
            reference_norms=norms,
            log_scalers=jnp.zeros_like(norms),
            owed_log_scalers=jnp.zeros_like(norms),
        )

    def update_fn(
        updates: optax.Updates,
        state: SoftWeightRescalingState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SoftWeightRescalingState]:
        del extra_args
        if params is None:
            raise ValueError(
                "soft_weight_rescaling needs the parameters: call"
                " update(updates, state, params)"
            )
        _check_state(state, plan)
        places = _places_now(params, plan, split=bool(axis_name))
        leaves = array_leaves(params, "params")
        structure: Any = jax.tree.structure(params, is_leaf=is_masked)
        changes = changes_of(updates, params, leaves, places)
        references = state.reference_norms
        owed = jnp.broadcast_to(
            jnp.asarray(state.owed_log_scalers, references.dtype), references.shape
        )
        if resets.size:
            references, owed = jax.lax.cond(
                (state.count == resets).any(),
                lambda: (
                    new_references(
                        norms_of(leaves, places, near=references), references
                    ),
                    0 * owed,
                ),
                lambda: (references, owed),
            )
        # The weights after the step that the updates would make.
        moved: list[Any] = [
            None if place is None or change is None else widened(leaf) + change
            for place, leaf, change in zip(places, leaves, changes, strict=True)
        ]
        # Their norms and what these make of the scalers.
        debts = Debts(of_projected, leaves, places)
        coefficients = coefficients_of_layers(
            by_group, plan, state.count, references.dtype
        )
        turns = turns_of(moved, places, plan, separate)
        settled: list[tuple[jax.Array, jax.Array]] = []
        own: dict[int, jax.Array] = {}
        last: jax.Array | None = None
        for (i, layers), reference, rate, debt, alone in zip(
            turns,
            for_turns(references, turns),
            for_turns(coefficients, turns),
            for_turns(owed, turns),
            for_turns(diagonal.astype(references.dtype), turns),
            strict=True,
        ):
            if i is None:
                norms = norms_of(moved, places, layers=layers, near=reference)
            else:
                if last is not None:
                    moved[i] = widened(leaves[i]) + after(changes[i], last)
                norms = norms_of([moved[i]], [places[i]], layers=layers, near=reference)
            norms = norms.astype(references.dtype)
            unheld = debts.unheld(norms, debt, layers)
            log_scalers = log_scalers_of(unheld, reference, rate)
            if separate:
                log_scalers = alone * log_scalers
            else:
                log_scalers = leaf_log_scalers(projection, log_scalers)
            settled.append(debts.settle(log_scalers, debt, layers))
            if i is not None:
                factor = jnp.expm1(settled[-1][0])
                last = factor[0]
                own[i] = factor if isinstance(places[i], slice) else last
        log_scalers, owed = (
            in_order(parts, turns) for parts in zip(*settled, strict=True)
        )
        # And all that follows them.
        factors = _factors(of_projected, places, log_scalers, own)

        def rescaled(i: int) -> Any:
            leaf, change, factor = leaves[i], changes[i], factors[i]
            if change is None or factor is None:
                return change
            if not weights.isdisjoint(rows_of(places[i])):
                # The sum is at hand, for its norm, and the change may not be.
                change = moved[i] - widened(leaf)
            if factor.ndim:  # One for each slice.
                factor = factor.reshape(-1, *(1,) * (leaf.ndim - 1))
            return (change + factor * moved[i]).astype(changes[i].dtype)

        new_updates = [rescaled(i) for i in range(len(leaves))]
        return structure.unflatten(new_updates), SoftWeightRescalingState(
            count=optax.safe_increment(state.count),
            reference_norms=references,
            log_scalers=log_scalers,
            # None is owed by parameters of full precision.
            owed_log_scalers=owed if debts.thresholds.any() else state.owed_log_scalers,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


# What it refuses.


def _places_now(
    params: optax.Params, plan: RescalingPlan, *, split: bool
) -> list[Place]:
    """Where the plan has the parameters, which may have changed since ``init``."""
    try:
        return plan.match_params(params, split=split)
    except ValueError as error:
        raise ValueError(
            f"{error}; if the network has changed since init, make a new state as well,"
            " and carry_reference_norms takes the layers that stayed into it"
        ) from None


def _check_state(state: Any, plan: RescalingPlan) -> None:
    """Refuses what is no state of this transformation, or one for another plan."""
    if not isinstance(state, SoftWeightRescalingState):
        raise TypeError(
            "state must be the SoftWeightRescalingState that init returned, not"
            f" {type(state).__name__}: if it was saved, restore it into the structure"
            " of tx.init(params)"
        )
    check_layers(state, plan, "state", "plan")


def check_layers(
    state: SoftWeightRescalingState, plan: RescalingPlan, of: str, its: str
) -> None:
    """Refuses a state that is not for a plan.

    Args:
        state: of one transformation.
        plan: perhaps its plan.
        of: name of the state in the message.
        its: name of the plan in the message.

    Raises:
        ValueError: if it has another number of layers.
    """
    shape = jnp.shape(state.reference_norms)
    if shape != (len(plan.layers),):
        several = ", or of several networks, which jax.vmap takes one by one"
        several = several if len(shape) > 1 else ""
        raise ValueError(
            f"{of} has reference norms of shape {shape}, and {its} has"
            f" {len(plan.layers)} layers: it is the state of another plan{several}; if"
            " the network has changed since init, carry_reference_norms takes the"
            " layers that stayed into a new state"
        )


def _check_masked(
    plan: RescalingPlan, exponents: np.ndarray, places: Sequence[Place]
) -> None:
    """Refuses to scale a weight if what has to follow it is masked out."""
    present = {row for place in places for row in rows_of(place)}
    for row, leaf in enumerate(plan.leaves[: plan.parameters]):
        followed = () if row in present else np.flatnonzero(exponents[row])
        for weight in (plan.weights[layer] for layer in followed):
            if weight in present:
                raise ValueError(
                    f"parameter {leaf.name} is masked out and so cannot follow"
                    f" {plan.leaves[weight].name}: chain soft_weight_rescaling behind"
                    " optax.partition or optax.masked instead of inside, or plan with"
                    " exclude=..."
                )
