"""A Flax network as pure functions, with its plan."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models import MODELS
import swr_optax
from swr_optax import RescalingPlan, metrics


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """What training asks of a network.

    Attributes:
        model: takes ``(inputs, train, present)``.
        inputs: shape of a batch of its inputs, float32.
        convolutional: whether it convolves.
        heads: names of the layers that make the group ``"classifier"``; empty for the
            plan's own choice.
        kept: names of outputs that ``function_plan`` does not scale.
    """

    model: nn.Module
    inputs: jax.ShapeDtypeStruct
    convolutional: bool = False
    heads: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def init(self, key: jax.Array) -> tuple[Any, Any]:
        """Parameters and running statistics, which are empty without BatchNorm."""
        variables = self.model.init(key, jnp.zeros(self.inputs.shape))
        return variables["params"], variables.get("batch_stats", {})

    def forward(
        self, params: Any, stats: Any, inputs: jax.Array, present: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Outputs in training, (batch, outputs), and the updated statistics.

        Args:
            params: parameters.
            stats: running statistics.
            inputs: (batch, ...).
            present: bool, (batch,); which examples count for the statistics.
        """
        outputs, updated = self.model.apply(
            {"params": params, "batch_stats": stats},
            inputs,
            train=True,
            present=present,
            mutable=["batch_stats"],
        )
        return outputs, updated.get("batch_stats", {})

    def forward_observed(
        self, params: Any, stats: Any, inputs: jax.Array, present: jax.Array
    ) -> tuple[jax.Array, Any, tuple[jax.Array, ...]]:
        """The same, with the activations of each of the plan's layers of units."""
        forward = swr_optax.with_activations(self.forward, self.plan)
        (outputs, stats), activations = forward(params, stats, inputs, present)
        return outputs, stats, activations

    def predict(self, params: Any, stats: Any, inputs: jax.Array) -> jax.Array:
        """Outputs in evaluation, (batch, outputs)."""
        outputs: Any = self.model.apply(
            {"params": params, "batch_stats": stats}, inputs
        )
        return outputs

    def hidden(self, params: Any, stats: Any, inputs: jax.Array) -> dict[str, Any]:
        """What hidden units do in evaluation.

        Returns:
            ``dead_units``, the fraction of ReLU units that are never active, or None
            without any; ``effective_rank`` of what the last layer is given, the mean
            over last layers.
        """
        _, found = self.model.apply(
            {"params": params, "batch_stats": stats},
            inputs,
            mutable=["activations", "features"],
        )
        units = jax.tree.leaves(found.get("activations", {}))
        dead = sum(x.shape[-1] * metrics.dormant_fraction(x) for x in units)
        ranks = [metrics.effective_rank(x) for x in jax.tree.leaves(found["features"])]
        return {
            "dead_units": dead / sum(x.shape[-1] for x in units) if units else None,
            "effective_rank": sum(ranks) / len(ranks),
        }

    @functools.cached_property
    def plan(self) -> RescalingPlan:
        """Which of its parameters scale with which."""
        return self._plan("norms")

    @functools.cached_property
    def function_plan(self) -> RescalingPlan:
        """The same with the other priority; :attr:`kept` outputs stay as they are."""
        names = self.plan.outputs
        kept = [name for name in names if name.split("/")[-1] in self.kept]
        return self._plan("function", kept)

    @functools.cached_property
    def kept_plan(self) -> RescalingPlan:
        """The same again; all outputs stay as they are."""
        return self._plan("function", self.plan.outputs)

    def _plan(
        self, priority: Literal["norms", "function"], kept: Sequence[str] = ()
    ) -> RescalingPlan:
        def group(path: str) -> str:
            return "classifier" if path.split("/")[0] in self.heads else "feature"

        params, stats = jax.eval_shape(self.init, jax.random.key(0))
        present = jax.ShapeDtypeStruct(self.inputs.shape[:1], jnp.bool)
        return swr_optax.plan_rescaling(
            self.forward,
            params,
            self.inputs,
            present,
            stats=stats,
            priority=priority,
            group_fn=group if self.heads else None,
            keep_outputs=kept,
        )


@functools.cache
def build_network(model: str, outputs: int, shape: tuple[int, ...]) -> Network:
    """A network by its name; one object for all methods, so that its plan is made once.

    Args:
        model: name in :data:`experiments.models.MODELS`.
        outputs: how many it has.
        shape: of a batch of its inputs.
    """
    entry = MODELS[model]
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
    return Network(entry.build(outputs), inputs, entry.convolutional)
