"""Networks of common kinds, small, and what their plans are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import swr_optax


class MLP(nn.Module):
    """Dense layers with ReLU: the chain that the paper starts from."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits, (batch, 10), of vectors."""
        x = nn.relu(nn.Dense(32, name="hidden_0")(x))
        x = nn.relu(nn.Dense(32, name="hidden_1")(x))
        return nn.Dense(10, name="logits")(x)


class ResidualBlock(nn.Module):
    """Two convolutions, each with BatchNorm, beside a path that skips them."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """As many channels as came in."""
        channels = x.shape[-1]
        y = nn.Conv(channels, (3, 3), use_bias=False, name="conv_0")(x)
        y = nn.BatchNorm(use_running_average=not train, name="norm_0")(y)
        y = nn.Conv(channels, (3, 3), use_bias=False, name="conv_1")(nn.relu(y))
        y = nn.BatchNorm(use_running_average=not train, name="norm_1")(y)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem, two residual blocks and a linear head."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits, (batch, 10), of images (batch, height, width, channels)."""
        x = nn.Conv(8, (3, 3), use_bias=False, name="stem")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.relu(x)
        for i in range(2):
            x = ResidualBlock(name=f"block_{i}")(x, train)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a LayerNorm."""

    causal: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """As many dimensions as came in: (batch, tokens, dims)."""
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        y = nn.LayerNorm(name="norm_0")(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, name="attn")(y, mask=mask)
        y = nn.LayerNorm(name="norm_1")(x)
        y = nn.gelu(nn.Dense(4 * x.shape[-1], name="up")(y))
        return x + nn.Dense(x.shape[-1], name="down")(y)


class ViT(nn.Module):
    """Patches, a class token and one transformer block."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits, (batch, 10), of images (batch, height, width, channels)."""
        x = nn.Conv(16, (4, 4), (4, 4), name="patches")(x)
        x = x.reshape(x.shape[0], -1, 16)
        init = nn.initializers.normal(0.02)
        token = self.param("class_token", init, (1, 1, 16))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], axis=1)
        x = x + self.param("position", init, (1, *x.shape[1:]))
        x = TransformerBlock(name="block")(x)
        return nn.Dense(10, name="head")(nn.LayerNorm(name="norm")(x)[:, 0])


class GPT(nn.Module):
    """A decoder that predicts tokens with the table that embeds them."""

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Logits, (batch, tokens, 64), of the next token at each place."""
        embed = nn.Embed(64, 16, name="embed")
        places = jnp.arange(tokens.shape[1])[None]
        x = embed(tokens) + nn.Embed(32, 16, name="position")(places)
        x = TransformerBlock(causal=True, name="block")(x)
        return embed.attend(nn.LayerNorm(name="norm")(x))


class ActorCritic(nn.Module):
    """A policy over four actions and a value, on two shared layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """``"policy"``, logits (batch, 4), and ``"value"``, (batch, 1)."""
        x = nn.relu(nn.Dense(64, name="torso_0")(x))
        x = nn.relu(nn.Dense(64, name="torso_1")(x))
        return {
            "policy": nn.Dense(4, name="actor")(x),
            "value": nn.Dense(1, name="critic")(x),
        }


class Network(NamedTuple):
    """An entry of :data:`GALLERY`.

    Attributes:
        title: what such networks are called.
        model: the network.
        inputs: shape and dtype of its inputs.
        keep_outputs: outputs that a plan must leave as they are.
    """

    title: str
    model: nn.Module
    inputs: jax.ShapeDtypeStruct
    keep_outputs: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[Any, Any]:
        """Shapes of the parameters and of the running statistics, or None."""
        shapes = dict(jax.eval_shape(self.model.init, jax.random.key(0), self.inputs))
        return shapes.pop("params"), shapes or None

    def train(self, params: Any, *stats_and_inputs: Any) -> Any:
        """The outputs in training, with the updated statistics if it has any."""
        *stats, x = stats_and_inputs
        if not stats:
            return self.model.apply({"params": params}, x)
        variables = {"params": params, **stats[0]}
        return self.model.apply(variables, x, train=True, mutable=["batch_stats"])

    def plan(self, priority: Literal["norms", "function"]) -> swr_optax.RescalingPlan:
        """Its plan, from shapes alone."""
        params, stats = self.variables
        return swr_optax.plan_rescaling(
            self.train,
            params,
            self.inputs,
            stats=stats,
            priority=priority,
            keep_outputs=self.keep_outputs,
        )


# In plain JAX, for what the guide explains before the gallery.


class ResidualParams(NamedTuple):
    """Parameters of :func:`residual_mlp`."""

    w1: Any
    b1: Any
    w2: Any
    b2: Any
    w3: Any
    b3: Any


def residual_mlp(params: ResidualParams, x: jax.Array) -> jax.Array:
    """A layer, a residual layer, a normalisation and a layer."""
    h = jax.nn.relu(x @ params.w1 + params.b1)
    h = h + jax.nn.relu(h @ params.w2 + params.b2)
    h = h * jax.lax.rsqrt(jnp.mean(h**2, axis=-1, keepdims=True))
    return h @ params.w3 + params.b3


def stacked_mlp(params: dict[str, Any], x: jax.Array) -> jax.Array:
    """Three hidden layers under a scan, their parameters stacked, and a head."""

    def layer(x: jax.Array, block: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        return jax.nn.relu(x @ block["kernel"] + block["bias"]), None

    x, _ = jax.lax.scan(layer, x, params["blocks"])
    return x @ params["head"]


def gelu_mlp(params: dict[str, Any], x: jax.Array) -> jax.Array:
    """Two layers with a GELU between them."""
    h = jax.nn.gelu(x @ params["w1"] + params["b1"])
    return h @ params["w2"] + params["b2"]


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    """A float32 array that is never made."""
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


VECTORS = shape(8, 20)
IMAGES = shape(8, 16, 16, 3)
TOKENS = jax.ShapeDtypeStruct((8, 12), jnp.int32)

EXAMPLES: dict[str, tuple[Callable[..., jax.Array], Any]] = {
    "residual_mlp": (
        residual_mlp,
        ResidualParams(
            w1=shape(20, 8),
            b1=shape(8),
            w2=shape(8, 8),
            b2=shape(8),
            w3=shape(8, 3),
            b3=shape(3),
        ),
    ),
    "stacked_mlp": (
        stacked_mlp,
        {
            "blocks": {"kernel": shape(3, 20, 20), "bias": shape(3, 20)},
            "head": shape(20, 4),
        },
    ),
    "gelu_mlp": (
        gelu_mlp,
        {"w1": shape(20, 8), "b1": shape(8), "w2": shape(8, 3), "b2": shape(3)},
    ),
}
"""By name, with the shapes of their parameters; they act on :data:`VECTORS`."""

GALLERY: dict[str, Network] = {
    "mlp": Network("MLP", MLP(), VECTORS),
    "resnet": Network("ResNet", ResNet(), IMAGES),
    "vit": Network("ViT", ViT(), IMAGES),
    "gpt": Network("GPT", GPT(), TOKENS),
    "actor-critic": Network(
        "PPO actor-critic", ActorCritic(), VECTORS, keep_outputs=("value",)
    ),
}
"""By name; each is small enough for its plan to be drawn."""
