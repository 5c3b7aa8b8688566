"""One network in two ways: layers stacked under a scan, or one behind the other."""

from collections.abc import Callable
import re
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

LAYERS, FEATURES, WIDTH, HIDDEN, OUTPUTS = 3, 5, 6, 8, 4


class Block(NamedTuple):
    """A part of a layer.

    Attributes:
        run: what it makes of its own parameters, the shared ones and the trunk.
        own: shapes of its parameters, of which each layer has its own.
        shared: shapes of those that all layers share.
    """

    run: Callable
    own: dict
    shared: dict


def residual(own, _, h):
    return h + jax.nn.relu(h @ own["a"] + own["bias"]) @ own["b"]


def plain(own, _, h):
    return jax.nn.relu(h @ own["w"] + own["bias"])


def gated(own, _, h):
    return h + (jax.nn.sigmoid(h @ own["gate"]) * (h @ own["up"])) @ own["down"]


def normed(own, _, h):
    h = jax.nn.standardize(h) * own["scale"]
    return h + jnp.tanh(h @ own["a"]) @ own["b"]


def shared(_, shared, h):
    return h + jax.nn.relu(h @ shared["a"]) @ shared["b"]


def shared_bias(own, shared, h):
    return h + jax.nn.relu(h @ own["a"] + shared["bias"]) @ own["b"]


def recurrent(own, _, h):
    def step(state, now):
        state = jnp.tanh(now @ own["a"] + state @ own["u"])
        return state, state

    start = jnp.zeros((h.shape[0], HIDDEN), h.dtype)
    _, states = lax.scan(step, start, h.swapaxes(0, 1))
    return h + states.swapaxes(0, 1) @ own["b"]


def convolved(own, _, h):
    """Over time, and once each unit over its own past and future."""

    def along_time(h, kernel):
        groups = h.shape[-1] // kernel.shape[1]
        shapes = ("NTC", "TIO", "NTC")
        return lax.conv_general_dilated(
            h, kernel, (1,), "SAME", None, None, shapes, groups
        )

    units = jax.nn.relu(along_time(h, own["a"]) + own["bias"])
    return h + along_time(jnp.tanh(along_time(units, own["each"])), own["b"])


UP, DOWN = (WIDTH, HIDDEN), (HIDDEN, WIDTH)
BLOCKS = {
    "residual": Block(residual, {"a": UP, "bias": (HIDDEN,), "b": DOWN}, {}),
    "plain": Block(plain, {"w": (WIDTH, WIDTH), "bias": (WIDTH,)}, {}),
    "gated": Block(gated, {"gate": UP, "up": UP, "down": DOWN}, {}),
    "normed": Block(normed, {"scale": (WIDTH,), "a": UP, "b": DOWN}, {}),
    "shared": Block(shared, {}, {"a": UP, "b": DOWN}),
    "shared bias": Block(shared_bias, {"a": UP, "b": DOWN}, {"bias": (HIDDEN,)}),
    "convolved": Block(
        convolved,
        {"a": (3, *UP), "bias": (HIDDEN,), "each": (3, 1, HIDDEN), "b": (3, *DOWN)},
        {},
    ),
    "recurrent": Block(recurrent, {"a": UP, "u": (HIDDEN, HIDDEN), "b": DOWN}, {}),
}

X = jax.random.normal(jax.random.key(9), (4, 3, FEATURES))
"""Batch, time, features."""


def parameters(blocks, key):
    """With the layers stacked; what they share is apart."""

    def drawn(shape, front=()):
        nonlocal key
        key, now = jax.random.split(key)
        return jax.random.normal(now, (*front, *shape)) / 2

    return {
        "in": drawn((FEATURES, WIDTH)),
        "stack": {
            str(k): {n: drawn(s, (LAYERS,)) for n, s in BLOCKS[name].own.items()}
            for k, name in enumerate(blocks)
        },
        "shared": {
            str(k): {n: drawn(s) for n, s in BLOCKS[name].shared.items()}
            for k, name in enumerate(blocks)
        },
        "out": drawn((WIDTH, OUTPUTS)),
    }


def apart(params):
    """The parameters with a tree for each layer."""

    def layer(i):
        return jax.tree.map(lambda leaf: leaf[i], params["stack"])

    together = {name: params[name] for name in ("in", "shared", "out")}
    return together | {"layers": [layer(i) for i in range(LAYERS)]}


def name_in_stack(name):
    """Of a parameter that :func:`apart` has given a name of its own."""
    return re.sub(r"layers/(\d)/(\d/\w+)", r"stack/\2[\1]", name)


def _layer(blocks, own, shared, h):
    for k, name in enumerate(blocks):
        h = BLOCKS[name].run(own[str(k)], shared[str(k)], h)
    return h


def scanned(blocks, reverse=False, wrap=lambda f: f, prepared=lambda stack: stack):
    """The network with a scan over its layers."""

    def fn(params, x):
        def layer(h, own):
            return wrap(lambda own, h: _layer(blocks, own, params["shared"], h))(
                own, h
            ), None

        start = x @ params["in"]
        h, _ = lax.scan(
            layer, start, prepared(params["stack"]), LAYERS, reverse=reverse
        )
        return h @ params["out"]

    return fn


def unrolled(blocks, reverse=False):
    """The same without, on parameters that are :func:`apart`."""

    def fn(params, x):
        h = x @ params["in"]
        for own in reversed(params["layers"]) if reverse else params["layers"]:
            h = _layer(blocks, own, params["shared"], h)
        return h @ params["out"]

    return fn
