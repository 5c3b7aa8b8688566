"""Two small networks with hidden units, and what tests of resets do with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import swr_optax


def mlp(params, x):
    x = jax.nn.relu(x @ params["w1"] + params["b1"])
    x = jax.nn.relu(x @ params["w2"] + params["b2"])
    return x @ params["w3"]


def cnn(params, x):
    """A convolution, flattened into a dense layer; channels are units."""
    x = jax.lax.conv_general_dilated(
        x, params["w1"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = jax.nn.relu(x + params["b1"])
    x = jax.nn.relu(x.reshape(x.shape[0], -1) @ params["w2"] + params["b2"])
    return x @ params["w3"]


SHAPES = {
    mlp: {"w1": (5, 6), "b1": (6,), "w2": (6, 4), "b2": (4,), "w3": (4, 3)},
    cnn: {"w1": (3, 3, 2, 6), "b1": (6,), "w2": (54, 4), "b2": (4,), "w3": (4, 3)},
}
POSITIONS = {mlp: 1, cnn: 9}
"""How many rows of w2 each unit of the first layer has."""


def fresh(fn):
    """A function of a key that makes parameters, biases that are not zero too."""

    def init(key):
        keys = jax.random.split(key, len(SHAPES[fn]))
        return {
            name: jax.random.normal(k, shape) / 2
            for k, (name, shape) in zip(keys, SHAPES[fn].items(), strict=True)
        }

    return init


def inputs(fn, seed=7):
    shape = (8, 5) if fn is mlp else (8, 3, 3, 2)
    return jax.random.normal(jax.random.key(seed), shape)


def planned(fn):
    params = fresh(fn)(jax.random.key(0))
    return params, swr_optax.plan_rescaling(fn, params, inputs(fn))


def gradients(fn, plan, params, x):
    """Gradients of a loss, and the activations."""

    def loss(params):
        outputs, activations = swr_optax.with_activations(fn, plan)(params, x)
        return jnp.sum(jnp.sin(outputs)), activations

    return jax.grad(loss, has_aux=True)(params)


def forward_in_numpy(fn, params, x):
    """Activations of both layers, (batch, positions, units) each."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    x = np.asarray(x, np.float64)
    if fn is mlp:
        first = np.maximum(x @ p["w1"] + p["b1"], 0)[:, None]
    else:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        first = np.zeros((len(x), 3, 3, 6))
        for i in range(3):
            for j in range(3):
                first += padded[:, i : i + 3, j : j + 3] @ p["w1"][i, j]
        first = np.maximum(first + p["b1"], 0).reshape(len(x), 9, 6)
    flat = first.reshape(len(x), -1)
    second = np.maximum(flat @ p["w2"] + p["b2"], 0)[:, None]
    return first, second


def reset_in_numpy(fn, params, masks, new):
    """The rule all three share: draw incoming weights, zero biases, then outgoing."""
    p = {name: np.array(leaf, np.float64) for name, leaf in params.items()}
    for k, mask in enumerate(masks, 1):
        p[f"w{k}"][..., mask] = np.asarray(new[f"w{k}"])[..., mask]
        p[f"b{k}"][mask] = 0
    rows = np.tile(masks[0], POSITIONS[fn])
    p["w2"][rows] = 0
    p["w3"][masks[1]] = 0
    return p


def moments_in_numpy(fn, moments, masks):
    """Adam's moments with those of all that was reset at zero."""
    m = {name: np.array(leaf, np.float64) for name, leaf in moments.items()}
    for k, mask in enumerate(masks, 1):
        m[f"w{k}"][..., mask] = 0
        m[f"b{k}"][mask] = 0
    m["w2"][np.tile(masks[0], POSITIONS[fn])] = 0
    m["w3"][masks[1]] = 0
    return m


def adam_step(params, grads, state):
    """Parameters and state after Adam alone."""
    updates, state = optax.adam(0.1).update(grads, state, params)
    return optax.apply_updates(params, updates), state


def drawn_from(fn, state):
    """What a remedy draws in the step from a state."""
    return fresh(fn)(jax.random.split(state.key)[1])
