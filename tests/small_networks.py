"""Networks of a few numbers, one for each way in which parameters can be laid out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import swr_optax

HEADS = ("query", "key", "value")
"""The kernels of attention that split what they put out among heads."""


class Small(NamedTuple):
    """A network, its random parameters and inputs, and its plan."""

    forward: Any
    params: dict
    inputs: jax.Array
    plan: swr_optax.RescalingPlan

    def gradients(self, params):
        """Of a sum of squares of the outputs' distance from one."""

        def loss(params):
            return jnp.sum((self.forward(params, self.inputs) - 1) ** 2)

        return jax.grad(loss)(params)


def normal(shapes, seed=0, size=0.5):
    """Random normal numbers of these shapes."""
    leaves, structure = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return structure.unflatten(
        [
            size * jax.random.normal(key, shape)
            for key, shape in zip(keys, leaves, strict=True)
        ]
    )


def small(forward, shapes, inputs, seed=0, **options):
    params = normal(shapes, seed)
    inputs = normal(inputs, 1)
    plan = swr_optax.plan_rescaling(forward, params, inputs, **options)
    return Small(forward, params, inputs, plan)


def mlp(seed=0, **options):
    """Two dense layers."""

    def forward(p, x):
        x = jax.nn.relu(x @ p["first"]["w"] + p["first"]["b"])
        return x @ p["second"]["w"] + p["second"]["b"]

    shapes = {"first": {"w": (5, 4), "b": (4,)}, "second": {"w": (4, 3), "b": (3,)}}
    return small(forward, shapes, (6, 5), seed, **options)


def convolutional(seed=0, **options):
    """A convolution with a batch normalisation behind it, and a dense layer."""

    def forward(p, x):
        x = jax.lax.conv_general_dilated(
            x,
            p["conv"]["w"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = x - x.mean((0, 1, 2))
        x = x * jax.lax.rsqrt(jnp.mean(x**2, (0, 1, 2)) + 1e-5)
        x = jax.nn.relu(x * p["norm"]["scale"] + p["norm"]["shift"])
        return x.mean((1, 2)) @ p["dense"]["w"] + p["dense"]["b"]

    shapes = {
        "conv": {"w": (3, 3, 2, 4)},
        "norm": {"scale": (4,), "shift": (4,)},
        "dense": {"w": (4, 3), "b": (3,)},
    }
    return small(forward, shapes, (6, 5, 5, 2), seed, **options)


def stacked(seed=0, **options):
    """Three dense layers in one array, and a last one."""

    def forward(p, x):
        def block(x, p):
            return jax.nn.relu(x @ p["w"] + p["b"]), None

        x, _ = jax.lax.scan(block, x, p["blocks"])
        return x @ p["last"]["w"]

    shapes = {
        "blocks": {"w": (3, 4, 4), "b": (3, 4)},
        "last": {"w": (4, 2)},
    }
    return small(forward, shapes, (6, 4), seed, **options)


def attention(seed=0, **options):
    """Two heads, with kernels of three axes."""

    def forward(p, x):
        query, key, value = (
            jnp.einsum("btd,dhk->bthk", x, p[name])
            for name in ("query", "key", "value")
        )
        weights = jax.nn.softmax(jnp.einsum("bthk,bshk->bhts", query, key))
        mixed = jnp.einsum("bhts,bshk->bthk", weights, value)
        return jnp.einsum("bthk,hkd->btd", mixed, p["out"])

    shapes = {
        **dict.fromkeys(HEADS, (6, 2, 3)),
        "out": (2, 3, 6),
    }
    return small(forward, shapes, (2, 4, 6), seed, **options)


NETWORKS = {
    "mlp": mlp,
    "convolutional": convolutional,
    "stacked": stacked,
    "attention": attention,
}


def weights_of(network, params):
    """Each weight as float64 outputs × inputs, by name; scales as vectors.

    Read by hand, without the plan.
    """
    arrays = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    match network:
        case "mlp":
            return {name: arrays[name]["w"].T for name in ("first", "second")}
        case "convolutional":
            return {
                "conv": arrays["conv"]["w"].reshape(18, 4).T,
                "norm": arrays["norm"]["scale"],
                "dense": arrays["dense"]["w"].T,
            }
        case "stacked":
            return {
                **{f"block{k}": w.T for k, w in enumerate(arrays["blocks"]["w"])},
                "last": arrays["last"]["w"].T,
            }
        case "attention":
            return {
                **{name: arrays[name].reshape(6, 6).T for name in HEADS},
                "out": arrays["out"].reshape(6, 6).T,
            }
    raise ValueError(network)


def shifts_of(network, params):
    """Each bias or shift in float64, by the name of its layer."""
    arrays = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    match network:
        case "mlp":
            return {name: arrays[name]["b"] for name in ("first", "second")}
        case "convolutional":
            return {"norm": arrays["norm"]["shift"], "dense": arrays["dense"]["b"]}
        case "stacked":
            return {f"block{k}": b for k, b in enumerate(arrays["blocks"]["b"])}
    return {}
