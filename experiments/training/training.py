"""Lanes of networks that train and are measured by compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.backend.compiler_options import compiler_options
from experiments.backend.stepping import steps_in_a_loop
from experiments.methods import Method, Setting
from experiments.training.lanes import Member, stacked
from experiments.training.network import Network
from experiments.training.step import (
    CLASSIFICATION,
    Batch,
    Objective,
    TrainState,
    among,
    gradient,
    train_step,
)
import swr_optax
from swr_optax import RescalingPlan, metrics

EVALUATION_BATCH = 500
"""Examples that are classified at once."""

Sums = dict[str, jax.Array]
"""What the steps of a run measured, summed over them, by name; (members,)."""


class Data(NamedTuple):
    """Examples on the device; see :attr:`Training.data_axis`.

    Attributes:
        inputs: as they are stored: pixels, uint8, (examples, height, width,
            channels), or numbers.
        targets: labels, int32, (examples,), or numbers, (examples, outputs).
        classes: bool, (outputs,); which outputs count, or None for all.
    """

    inputs: jax.Array
    targets: jax.Array
    classes: jax.Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """One method's training of one kind of network, compiled once for all lanes.

    Each function takes and returns trees with a leading axis of a lane's members.

    Attributes:
        network: what is trained.
        method: what is done against the loss of plasticity.
        optimizer: the plain optimiser, from a schedule of the learning rate.
        normalize: stored inputs → the network's.
        objective: the loss.
        measures: what steps measure, of :class:`experiments.training.step.Measured`.
        drops: the steps at which the learning rate falls to a tenth.
        data_axis: 0 if each member has data of its own, along a leading axis of
            :class:`Data`; None if all share the same.
    """

    network: Network
    method: Method
    optimizer: Callable[[optax.Schedule], optax.GradientTransformation] = optax.adam
    normalize: Callable[[jax.Array], jax.Array] = jnp.asarray
    objective: Objective = CLASSIFICATION
    measures: tuple[str, ...] = ("loss",)
    drops: tuple[int, ...] = ()
    data_axis: int | None = None

    @property
    def plan(self) -> RescalingPlan:
        """Which of the network's parameters scale with which."""
        return self.network.plan

    def initialize(
        self,
        members: Sequence[Member],
        seeds: Sequence[int] | None = None,
        device: jax.Device | None = None,
    ) -> TrainState:
        """New networks and optimisers.

        Args:
            members: of the lane.
            seeds: of the parameters; the members' by default.
            device: where the state is to stay; None if that does not matter.
        """
        if seeds is None:
            seeds = [member.seed for member in members]
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        params, stats = self._init(jax.device_put(keys, device))
        opt_state = self._init_optimizer(params, stacked(members, device))
        # What does not depend on what is given, as zeros, is made anywhere.
        return jax.device_put(TrainState(params, stats, opt_state), device)

    def run(
        self, state: TrainState, members: Member, data: Data, order: np.ndarray
    ) -> tuple[TrainState, Sums]:
        """Takes the steps of an order.

        Args:
            state: before; its arrays are given away.
            members: of the lane, stacked.
            data: to learn.
            order: indices of examples, (members, steps, batch); -1 for none. Steps
                behind the last that has any are not taken.

        Returns:
            The state after the last step, and sums over steps.
        """
        steps = int((order[0] >= 0).any(axis=1).sum())
        if steps_in_a_loop(self.network.convolutional):
            return self._steps(state, members, data, order, steps)
        sums = dict.fromkeys(self.measures, jnp.zeros(len(order)))
        for i in range(steps):
            state, more = self._step(state, members, data, order[:, i])
            sums = {name: sums[name] + more[name] for name in sums}
        return state, sums

    def accuracy(self, state: TrainState, data: Data) -> np.ndarray:
        """Fraction of examples that are classified correctly, (members,)."""
        params = self.method.evaluated(state.params, state.opt_state)
        examples = data.targets.shape[0 if self.data_axis is None else 1]
        correct = sum(
            self._correct(
                min(EVALUATION_BATCH, examples - start),
                params,
                state.stats,
                data,
                start,
            )
            for start in range(0, examples, EVALUATION_BATCH)
        )
        return np.asarray(correct) / examples

    def observe(
        self, state: TrainState, initial: Any, inputs: jax.Array
    ) -> dict[str, Any]:
        """What hidden units and weights look like.

        Args:
            state: now.
            initial: parameters to compare with.
            inputs: some examples, as stored.

        Returns:
            ``growth``, each weight's norm over its initial one, (members, layers);
            ``dead_units`` and ``effective_rank`` of
            :meth:`experiments.training.network.Network.hidden`, (members,).
        """
        seen = self._observe(state.params, state.stats, initial, inputs)
        return jax.tree.map(np.asarray, seen)

    def change_data(
        self,
        state: TrainState,
        initial: Any,
        members: Member,
        data: Data | None = None,
        order: np.ndarray | None = None,
    ) -> TrainState:
        """The state when the data change, after what the method does then.

        Args:
            state: before.
            initial: the initial parameters.
            members: of the lane, stacked.
            data: what is to be learnt from now on; needed only by a method that
                takes a pass over it.
            order: of one pass over them, as :meth:`run` takes it.
        """
        if self.method.at_change is None:
            return state
        return self._change_data(state, initial, members, data, order)

    def setting(self, member: Member) -> Setting:
        """What the method is given for a member."""
        return Setting(
            coefficient=member.coefficient,
            learning_rate=member.learning_rate,
            seed=member.seed,
            plan=self.plan,
            function_plan=lambda: self.network.function_plan,
            kept_plan=lambda: self.network.kept_plan,
            init=lambda key: self.network.init(key)[0],
            decay=self._decay,
            drops=self.drops,
        )

    def transformation(self, setting: Setting) -> optax.GradientTransformationExtraArgs:
        """The optimiser with the method in it."""
        rate, decay = setting.learning_rate, setting.decay
        plain = self.optimizer(lambda step: rate * decay(step))
        return optax.with_extra_args_support(self.method.optimizer(plain, setting))

    # What is compiled. What methods have in common takes nothing of theirs, so that
    # it is the same program for all, which is compiled once and found in the cache.

    @functools.cached_property
    def _decay(self) -> optax.Schedule:
        return optax.piecewise_constant_schedule(1.0, dict.fromkeys(self.drops, 0.1))

    def _batch(self, data: Data, rows: jax.Array) -> Batch:
        return Batch(
            inputs=self.normalize(data.inputs[rows]),
            targets=data.targets[rows],
            present=rows >= 0,
            classes=data.classes,
        )

    def _one_step(
        self, state: TrainState, member: Member, data: Data, rows: jax.Array
    ) -> tuple[TrainState, Sums]:
        setting = self.setting(member)
        state, measured = train_step(
            self.network,
            self.method,
            setting,
            self.transformation(setting),
            self.objective,
            state,
            self._batch(data, rows),
        )
        return state, {name: getattr(measured, name) for name in self.measures}

    def _all_steps(
        self,
        state: TrainState,
        member: Member,
        data: Data,
        order: jax.Array,
        steps: jax.Array,
    ) -> tuple[TrainState, Sums]:
        def body(
            i: jax.Array, carry: tuple[TrainState, Sums]
        ) -> tuple[TrainState, Sums]:
            state, sums = carry
            state, more = self._one_step(state, member, data, order[i])
            return state, {name: sums[name] + more[name] for name in sums}

        nothing = dict.fromkeys(self.measures, jnp.float32(0))
        return jax.lax.fori_loop(0, steps, body, (state, nothing))

    @functools.cached_property
    def _step(self) -> Callable[..., tuple[TrainState, Sums]]:
        lane = jax.vmap(self._one_step, in_axes=(0, 0, self.data_axis, 0))
        return jitted(lane, donate_argnums=0)

    @functools.cached_property
    def _steps(self) -> Callable[..., tuple[TrainState, Sums]]:
        lane = jax.vmap(self._all_steps, in_axes=(0, 0, self.data_axis, 0, None))
        return jitted(lane, donate_argnums=0)

    @functools.cached_property
    def _correct(self) -> Callable[..., jax.Array]:
        def correct(
            size: int, params: Any, stats: Any, data: Data, start: jax.Array
        ) -> jax.Array:
            """How many of so many examples, from one on, are classified correctly."""
            inputs, targets = (
                jax.lax.dynamic_slice_in_dim(array, start, size)
                for array in (data.inputs, data.targets)
            )
            outputs = self.network.predict(params, stats, self.normalize(inputs))
            outputs = among(data.classes, outputs)
            return jnp.sum(self.objective.correct(outputs, targets))

        def lane(size: int, *args: Any) -> jax.Array:
            in_axes = (0, 0, self.data_axis, None)
            return jax.vmap(functools.partial(correct, size), in_axes)(*args)

        return jitted(lane, static_argnums=0)

    @functools.cached_property
    def _observe(self) -> Callable[..., dict[str, Any]]:
        def observe(
            params: Any, stats: Any, initial: Any, inputs: jax.Array
        ) -> dict[str, Any]:
            hidden = self.network.hidden(params, stats, self.normalize(inputs))
            growth = metrics.weight_growth(params, initial, self.plan)
            return {"growth": growth, **hidden}

        return jitted(jax.vmap(observe, in_axes=(0, 0, 0, self.data_axis)))

    @functools.cached_property
    def _init(self) -> Callable[[jax.Array], tuple[Any, Any]]:
        return jax.jit(jax.vmap(self.network.init))

    @functools.cached_property
    def _init_optimizer(self) -> Callable[[Any, Member], Any]:
        def init(params: Any, member: Member) -> Any:
            return self.transformation(self.setting(member)).init(params)

        return jax.jit(jax.vmap(init))

    @functools.cached_property
    def _change_data(self) -> Callable[..., Any]:
        def change(
            state: TrainState,
            initial: Any,
            member: Member,
            data: Data,
            order: jax.Array,
        ) -> TrainState:
            setting = self.setting(member)

            def descent() -> Any:
                def body(i: jax.Array, average: Any) -> Any:
                    grads, _ = gradient(
                        self.network,
                        self.method,
                        setting,
                        self.objective,
                        state,
                        self._batch(data, order[i]),
                    )
                    return swr_optax.accumulate_descent(average, grads)

                nothing = jax.tree.map(jnp.zeros_like, state.params)
                steps = jnp.sum((order >= 0).any(axis=1))
                return jax.lax.fori_loop(0, steps, body, nothing)

            at_change = self.method.at_change
            assert at_change is not None  # Else nobody asks.
            params = at_change(state.params, initial, setting, descent)
            return state._replace(params=params)

        return jax.jit(jax.vmap(change, in_axes=(0, 0, 0, self.data_axis, 0)))


def jitted(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """:func:`jax.jit`, with what this backend's compiler should be told."""
    return jax.jit(function, compiler_options=compiler_options(), **options)
