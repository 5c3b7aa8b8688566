"""Soft Weight Rescaling as an Optax gradient transformation.

From top to bottom: the mathematics, the state, the transformation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._for_xla import after, entries
from swr_optax._norms import AxisName, Place, norms_of_weights, rows_of, widened
from swr_optax._updates import changes_of
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import array_leaves, check_plan
from swr_optax.planning._rescale import leaf_log_scalers
from swr_optax.planning.plan._paths import is_masked

Coefficient: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number from 0 to 1, or a schedule: a function from step to such a number."""

SURVIVING_EPSILONS = 2
"""A factor that is off one by so many epsilons of a type survives rounding.

Fewer are rounded to none or to too many.  With more, norms lag further behind:
in bfloat16 an epsilon is 0.8 per cent.
"""

FULL_PRECISION = float(jnp.finfo(jnp.float32).eps)
"""Types with a larger epsilon have 16 bits or fewer."""


# The mathematics.


def log_scalers_of(
    norms: jax.Array, references: jax.Array, coefficients: jax.typing.ArrayLike
) -> jax.Array:
    """Log c of each layer; zero where a norm is zero or not finite."""
    ratio = references / norms
    usable = (ratio > 0) & jnp.isfinite(ratio)
    less_one = jnp.where(usable, coefficients * (ratio - 1), 0)
    mean = jnp.where(usable, coefficients * ratio + (1 - coefficients), 1)
    # log1p is exact near one, the mean far below it.
    return jnp.where(less_one > -0.5, jnp.log1p(less_one), jnp.log(mean))


def new_references(norms: jax.Array, references: jax.Array) -> jax.Array:
    """The present norms, or the old references where these are not finite."""
    return jnp.where(jnp.isfinite(norms), norms, references).astype(references.dtype)


class _Debts:
    """What each layer may owe, given the types of the leaves that follow it.

    With ``s = E @ log(c)`` for all leaves and P the rows of E that are weights,
    ``P @ owed`` is what the logarithms of the weights' norms will change by once
    all is paid.  Plans of priority ``"norms"`` have the identity for P.  Those of
    priority ``"function"`` have a projection: ``E @ P`` is E, so that ``P @
    log(c)`` says the same as ``log(c)`` without what cancels, and layers that
    are tied to each other pay together.
    """

    def __init__(
        self,
        exponents: np.ndarray,
        leaves: Sequence[Any],
        places: Sequence[Place],
        plan: RescalingPlan,
    ) -> None:
        self.on_weights = exponents[[*plan.weights]]
        self.thresholds = np.zeros(len(plan.layers))
        for leaf, place in zip(leaves, places, strict=True):
            epsilon = 0.0 if place is None else float(jnp.finfo(leaf.dtype).eps)
            if epsilon > FULL_PRECISION:
                follows = exponents[[*rows_of(place)]].any(axis=0)
                survives = np.where(follows, SURVIVING_EPSILONS * epsilon, 0.0)
                self.thresholds = np.maximum(self.thresholds, survives)
        self.separate = np.array_equal(
            self.on_weights, np.diag(self.on_weights.diagonal())
        )
        self.projects = not self.separate and np.allclose(
            exponents @ self.on_weights, exponents
        )
        if self.projects:
            self.tied = _connected(self.on_weights != 0)
            self.thresholds = np.max(self.tied * self.thresholds, axis=1)

    def settle(
        self,
        norms: jax.Array,
        references: jax.Array,
        coefficients: jax.typing.ArrayLike,
        owed: jax.Array,
        layers: np.ndarray,
    ) -> tuple[jax.Array, jax.Array]:
        """Logarithms of the scalers to apply now, and of those still owed.

        Args:
            norms: of the weights of some layers.
            references: of the same layers, as are the coefficients and what is owed.
            coefficients: λ, of each layer or one for all.
            owed: before this step.
            layers: which; all, unless the debts are separate.
        """
        thresholds = self.thresholds[layers]
        if not thresholds.any():
            return log_scalers_of(norms, references, coefficients), owed
        # The norms that the weights would have, had no rounding held them up.
        unpaid = owed if self.separate else leaf_log_scalers(self.on_weights, owed)
        log_scalers = log_scalers_of(norms * jnp.exp(unpaid), references, coefficients)
        if self.projects:
            log_scalers = leaf_log_scalers(self.on_weights, log_scalers)
        wanted = owed + log_scalers
        due = jnp.abs(wanted) >= thresholds.astype(wanted.dtype)
        if self.projects:
            due = jnp.any(self.tied & due, axis=1)
        return jnp.where(due, wanted, 0.0), jnp.where(due, 0.0, wanted)


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
    when to step it may stand with the optimiser; but it belongs behind those
    that make other updates of what they wrap (:func:`optax.lookahead`,
    :func:`optax.contrib.mechanize`).  Inside :func:`optax.contrib.schedule_free` it
    must stand: behind it, the average and the iterates that it keeps would not
    know of the rescaling, and the iterates grow without bound.

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
        whose norm or reference norm is zero, or not finite, is left alone, and so
        is one that has grown or shrunk by more than 1e19 times.  Norms are taken in
        float32, or in float64 for float64 parameters.  Under :func:`optax.masked` and
        :func:`optax.partition`, a weight that is masked out counts as one that
        does not change.

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
    _check_axis_name(axis_name)
    by_group = _coefficients(coefficient, plan)
    still = [_is_zero(by_group[layer.group]) for layer in plan.layers]
    exponents = np.where(still, 0.0, plan.exponents)
    resets = _steps(reset_steps)
    weights = {*plan.weights}
    norms_of = functools.partial(norms_of_weights, plan=plan, axis_name=axis_name)

    def init_fn(params: optax.Params) -> SoftWeightRescalingState:
        if _has_shapes(params):
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
        references, owed = state.reference_norms, state.owed_log_scalers
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
        moved: list[Any] = [
            None if place is None or change is None else widened(leaf) + change
            for place, leaf, change in zip(places, leaves, changes, strict=True)
        ]
        debts = _Debts(exponents, leaves, places, plan)
        coefficients = _of_layers(by_group, plan, state.count, references.dtype)
        turns = _turns(moved, places, plan, debts.separate)
        settled: list[tuple[jax.Array, jax.Array]] = []
        own: dict[int, jax.Array] = {}
        last: jax.Array | None = None
        for (i, layers), reference, rate, debt in zip(
            turns,
            _for_turns(references, turns),
            _for_turns(coefficients, turns),
            _for_turns(owed, turns),
            strict=True,
        ):
            if i is None:
                norms = norms_of(moved, places, layers=layers, near=reference)
            else:
                if last is not None:
                    moved[i] = widened(leaves[i]) + after(changes[i], last)
                norms = norms_of([moved[i]], [places[i]], layers=layers, near=reference)
            norms = norms.astype(references.dtype)
            settled.append(debts.settle(norms, reference, rate, debt, layers))
            if i is not None:
                factor = jnp.expm1(settled[-1][0])
                last = factor[0]
                own[i] = factor if isinstance(places[i], slice) else last
        log_scalers, owed = (
            _in_order(parts, turns) for parts in zip(*settled, strict=True)
        )
        factors = _factors(exponents, places, log_scalers, own)

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
            owed_log_scalers=owed,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


# Who goes when.

ALONE_FROM = 2**17
"""Entries of a weight from which on it is dealt with before the next one begins."""

Turns = list[tuple[int | None, np.ndarray]]
"""A leaf's position and its layers; or None, and all other layers."""


def _turns(
    leaves: Sequence[Any],
    places: Sequence[Place],
    plan: RescalingPlan,
    separate: bool,
) -> Turns:
    """Which layers' scalers are found together: those of small weights.

    Args:
        leaves: the parameters after the step.
        places: where the plan has them.
        plan: says which of them are weights.
        separate: whether a weight's factor depends on its own norm alone.
    """
    layer_of = {row: layer for layer, row in enumerate(plan.weights)}
    turns: Turns = []
    rest = {*layer_of.values()}
    for i, (leaf, place) in enumerate(zip(leaves, places, strict=True)):
        layers = [layer_of.get(row) for row in rows_of(place)]
        large = leaf is not None and leaf.size >= ALONE_FROM
        if separate and large and layers and None not in layers:
            turns.append((i, np.array(layers)))
            rest -= {*layers}
    if rest or not turns:
        turns.append((None, np.array(sorted(rest), int)))
    return turns


def _for_turns(vector: Any, turns: Turns) -> list[Any]:
    """Those entries of a vector that each turn needs; one for all layers is all."""
    if len(turns) == 1 or np.size(vector) == 1:
        return [vector] * len(turns)
    if isinstance(vector, np.ndarray):
        return [vector[layers] for _, layers in turns]
    each = entries(vector)
    return [
        each[layers[0]].reshape(1) if len(layers) == 1 else vector[layers]
        for _, layers in turns
    ]


def _in_order(parts: Sequence[jax.Array], turns: Turns) -> jax.Array:
    """What was found in turns, in the order of the plan's layers."""
    if len(turns) == 1:
        return parts[0]
    layers = np.concatenate([layers for _, layers in turns])
    together = jnp.concatenate(parts)
    in_order = (layers[1:] > layers[:-1]).all()
    return together if in_order else together[np.argsort(layers)]


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


# Its arguments.


def _check_axis_name(axis_name: Any) -> None:
    names = (axis_name,) if isinstance(axis_name, str) else axis_name
    if not isinstance(names, (tuple, list)) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(
            f"axis_name must be a name or a tuple of names, not {axis_name!r}"
        )


def _coefficients(
    coefficient: Coefficient | Mapping[str, Coefficient], plan: RescalingPlan
) -> dict[str, Coefficient]:
    """The coefficient of each group."""
    if not isinstance(coefficient, Mapping):
        _check_coefficient(coefficient, "coefficient")
        return dict.fromkeys(plan.groups, coefficient)
    unknown = [group for group in coefficient if group not in plan.groups]
    missing = [group for group in plan.groups if group not in coefficient]
    if unknown or missing:
        raise ValueError(
            f"coefficient must name the plan's groups {list(plan.groups)}:"
            f" unknown {unknown}, missing {missing}"
        )
    for group, value in coefficient.items():
        _check_coefficient(value, f"coefficient[{group!r}]")
    return dict(coefficient)


def _check_coefficient(value: Any, name: str) -> None:
    if callable(value):
        return
    allowed = "a number from 0 to 1, a schedule, or a mapping from groups to these"
    check_scalar(value, name, allowed)
    if not isinstance(value, jax.core.Tracer) and not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {float(value):g}")


def check_scalar(value: Any, name: str, allowed: str) -> None:
    """Refuses what is no real number, traced or not.

    Raises:
        TypeError: for another type.
        ValueError: for an array with a shape.
    """
    kind = str(getattr(value, "dtype", type(value).__name__))
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain and not (
        isinstance(value, (np.generic, np.ndarray, jax.Array))
        and kind.startswith(("int", "uint", "float", "bfloat"))
    ):
        raise TypeError(f"{name} must be {allowed}, not {kind}")
    if np.shape(value) != ():
        raise ValueError(
            f"{name} must be a scalar, not of shape {np.shape(value)}: use vmap for"
            " many coefficients"
        )


def _is_zero(value: Coefficient) -> bool:
    """Whether a coefficient is zero for good."""
    return isinstance(value, (int, float, np.number, np.ndarray)) and value == 0


def _of_layers(
    by_group: Mapping[str, Coefficient],
    plan: RescalingPlan,
    count: jax.Array,
    dtype: Any,
) -> jax.typing.ArrayLike:
    """The coefficient of each layer at a step; each schedule is called once."""
    values = [
        value(count) if callable(value) else value
        for value in (by_group[group] for group in plan.groups)
    ]
    for value in values:
        if np.shape(value) != ():
            raise ValueError(
                "coefficient's schedule must return a scalar, not shape"
                f" {np.shape(value)}"
            )
        check_scalar(value, "what coefficient's schedule returns", "a number")
    group_of = np.array([plan.groups.index(layer.group) for layer in plan.layers])
    if not any(isinstance(value, jax.Array) for value in values):
        together = np.array(values, dtype)
        return np.where(np.isnan(together), 0, np.clip(together, 0, 1))[group_of]
    coefficients = jnp.stack([jnp.asarray(value, dtype) for value in values])
    coefficients = jnp.clip(coefficients, 0, 1)
    coefficients = jnp.where(jnp.isnan(coefficients), 0, coefficients)
    return coefficients[group_of] if len(values) > 1 else coefficients


def _steps(reset_steps: Any) -> np.ndarray:
    """Steps as an int32 array."""
    if isinstance(reset_steps, jax.core.Tracer):
        raise TypeError(
            "reset_steps must be known numbers, not traced: close over them instead of"
            " passing them to a transformed function"
        )
    other = (str, bytes, Mapping)
    if isinstance(reset_steps, other) or not np.iterable(reset_steps):
        raise TypeError(
            f"reset_steps must be a list of steps, not {type(reset_steps).__name__}"
        )
    steps = list(reset_steps)
    for step in steps:
        whole = isinstance(step, (int, np.ndarray, np.generic, jax.Array))
        if (
            not whole
            or isinstance(step, bool)
            or not jnp.issubdtype(jnp.result_type(step), jnp.integer)
            or np.shape(step) != ()
        ):
            raise TypeError(f"reset_steps must be whole numbers, not {step!r}")
    if any(step < 0 for step in steps):
        raise ValueError(f"reset_steps must not be negative: {steps}")
    if any(step > np.iinfo(np.int32).max for step in steps):
        raise ValueError(f"reset_steps must be below 2**31: {steps}")
    return np.array(steps, np.int32)


# Its parameters and its state.


def _has_shapes(params: optax.Params) -> bool:
    """Whether shapes stand for some of the parameters."""
    return any(
        isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)
    )


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
        raise ValueError(
            f"{of} has reference norms of shape {shape}, and {its} has"
            f" {len(plan.layers)} layers: it is the state of another plan; if the"
            " network has changed since init, carry_reference_norms takes the layers"
            " that stayed into a new state"
        )


def _connected(edges: np.ndarray) -> np.ndarray:
    """Whether a path of edges leads from one layer to another."""
    reached = edges | np.eye(len(edges), dtype=bool)
    for _ in range(len(edges).bit_length()):  # Each round doubles the paths' length.
        reached = (reached.astype(float) @ reached) > 0
    return reached


def is_placeholder(params: optax.Params) -> bool:
    """Whether :func:`optax.tree.map_params` asks what in the state is parameters."""
    containers = (dict, list, tuple, type(None))
    return not jax.tree.leaves(params) and not isinstance(params, containers)


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
