"""Networks of many families in a few lines each, with what their plans must say.

What is demanded of the scalers stands in each docstring, worked out by hand from the
network's mathematics.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from small_networks import normal

relu = jax.nn.relu


class Family(NamedTuple):
    """A network and what is true of it.

    Attributes:
        forward: the network.
        shapes: of the parameters.
        inputs: shapes of random inputs, or arrays.
        free: in how many directions its weights can scale without a change to the
            function: the number of weights less that of the demands.
        still: what cannot scale at all.
    """

    forward: Callable
    shapes: dict[str, tuple[int, ...]]
    inputs: tuple[Any, ...]
    free: int
    still: tuple[str, ...] = ()

    def arguments(self):
        """Random parameters, and the inputs."""
        inputs = [
            normal(x, 1 + k, size=1.0) if isinstance(x, tuple) else x
            for k, x in enumerate(self.inputs)
        ]
        return normal(self.shapes), *inputs


def rms_norm(x, scale):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


def llama(p, tokens):
    """Rotary attention and a gated MLP behind RMSNorms, on a trunk.

    What is added to the trunk has the embedding's scale: g1 + v + o and g2 + w1 + w3
    + w2.  Scores must stay, 2 g1 + q + k = 0, and so must the gate, g2 + w1 = 0.
    """

    def rotated(x):
        angles = jnp.arange(x.shape[1])[:, None] / 9.0 ** jnp.arange(x.shape[-1] // 2)
        sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    x = p["embed"][tokens]
    y = rms_norm(x, p["g1"])
    q, k, v = ((y @ p[name]).reshape(*y.shape[:2], 2, 4) for name in ("q", "k", "v"))
    y = jax.nn.dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
    x = x + y.reshape(x.shape) @ p["o"]
    y = rms_norm(x, p["g2"])
    x = x + (jax.nn.silu(y @ p["w1"]) * (y @ p["w3"])) @ p["w2"]
    return rms_norm(x, p["g3"]) @ p["out"]


def mamba(p, x):
    """A selective state space.

    The step must stay, dt = 0, and so must what the two gates see: in + conv = 0 and
    gate = 0.  State and shortcut are added: B + C = D.
    """
    u = x @ p["in"]
    taps = [jnp.pad(u, ((0, 0), (i, 0), (0, 0)))[:, : u.shape[1]] for i in range(3)]
    u = jax.nn.silu(sum(tap * p["conv"][i] for i, tap in enumerate(taps)))
    step = jax.nn.softplus(u @ p["dt"] + p["dt_bias"])[..., None]
    decay = jnp.exp(-step * jnp.exp(p["A"]))
    enters = step * u[..., None] * (u @ p["B"])[:, :, None]
    _, state = jax.lax.associative_scan(
        lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (decay, enters), axis=1
    )
    y = jnp.einsum("btdn,btn->btd", state, u @ p["C"]) + p["D"] * u
    return y * jax.nn.silu(x @ p["gate"]) @ p["out"]


def linear_attention(p, x):
    """Attention without a softmax: sum and normaliser scale alike, so all is free."""
    q, k, v = relu(x @ p["q"]), relu(x @ p["k"]), x @ p["v"]
    mixed = jnp.einsum("btd,bsd,bse->bte", q, k, v)
    return mixed / jnp.einsum("btd,bsd->bt", q, k)[..., None] @ p["out"]


SENDERS, RECEIVERS = np.array([0, 1, 2, 3, 3, 1]), np.array([1, 2, 3, 0, 1, 0])


def message_passing(p, x):
    """Means of messages beside the node's own: both must have one scale."""
    messages = jax.ops.segment_sum((x @ p["message"])[SENDERS], RECEIVERS, 4)
    degrees = jax.ops.segment_sum(jnp.ones(len(SENDERS)), RECEIVERS, 4)
    own = x @ p["own"] + p["bias"]
    return relu(messages / jnp.maximum(degrees, 1)[:, None] + own) @ p["out"]


def graph_attention(p, x):
    """Scores of sender and receiver are added and must stay: w + a1 = w + a2 = 0."""
    h = x @ p["w"]
    scores = jax.nn.leaky_relu((h @ p["a1"])[SENDERS] + (h @ p["a2"])[RECEIVERS], 0.2)
    weights = jnp.exp(scores - jax.ops.segment_max(scores, RECEIVERS, 4)[RECEIVERS])
    total = jax.ops.segment_sum(weights, RECEIVERS, 4)
    shares = (weights / total[RECEIVERS])[:, None]
    return relu(jax.ops.segment_sum(shares * h[SENDERS], RECEIVERS, 4)) @ p["out"]


def fourier_operator(p, x):
    """Products of frequencies beside a product of points: both have one scale."""
    h = x @ p["lift"]
    low = jnp.fft.rfft(h, axis=1)[:, :3]
    low = jnp.einsum("bkc,cdk->bkd", low, p["modes"].astype(jnp.complex64))
    padded = jnp.pad(low, ((0, 0), (0, x.shape[1] // 2 - 2), (0, 0)))
    spread = jnp.fft.irfft(padded, n=x.shape[1], axis=1)
    return relu(spread + h @ p["points"] + p["bias"]) @ p["out"]


def hypernetwork(p, x, task):
    """The weight of the first layer is what a layer puts out: all is free."""
    w = (task @ p["hyper"] + p["hyper_bias"]).reshape(3, 6)
    return relu(x @ w + p["bias"]) @ p["out"]


def film(p, x, task):
    """Features times 1 + γ plus β: γ must stay, and β has the features' scale."""
    h = x @ p["w"] + p["bias"]
    h = h * (1 + task @ p["gamma"] + p["gamma_bias"]) + task @ p["beta"]
    return relu(h) @ p["out"]


def low_rank_adapter(p, x):
    """A product is added to a weight: a + b = w."""
    return relu(x @ (p["w"] + 2.0 * p["a"] @ p["b"]) + p["bias"]) @ p["out"]


def highway(p, x):
    """Gates that add up to one: first + gate = 0, and the layer between must stay."""
    x = x @ p["first"]
    gate = jax.nn.sigmoid(x @ p["gate"] + p["gate_bias"])
    return (gate * relu(x @ p["w"] + p["bias"]) + (1 - gate) * x) @ p["out"]


def radiance_field(p, x):
    """The input again beside the second layer: w1 + w2 = 0.  Colour: w3 + rgb = 0."""
    waves = [f(x * 2.0**i) for i in range(2) for f in (jnp.sin, jnp.cos)]
    e = jnp.concatenate(waves, -1)
    h = relu(relu(e @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"])
    h = relu(jnp.concatenate([h, e], -1) @ p["w3"] + p["b3"])
    colour = jax.nn.sigmoid(h @ p["rgb"] + p["rgb_bias"])
    return relu(h @ p["density"] + p["density_bias"]), colour


def cosine_classifier(p, x):
    """Directions only, so all is free, and the outputs do not scale."""
    h = relu(x @ p["w"] + p["bias"]) @ p["features"]
    h, classes = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (h, p["cls"]))
    return h @ classes.T


def prototypes(p, x):
    """Distances from points of the output space, which follow it: all is free."""
    h = relu(x @ p["w"] + p["bias"]) @ p["features"]
    return -jnp.square(h[:, None] - p["points"]).sum(-1)


def vector_quantised(p, x):
    """Nearest entries of a code, which follow the encoder: all is free."""
    z = relu(x @ p["encoder"] + p["bias"])
    nearest = jnp.square(z[:, None] - p["code"]).sum(-1).argmin(-1)
    z = z + jax.lax.stop_gradient(p["code"][nearest] - z)
    return z @ p["decoder"] + p["decoder_bias"]


def implicit_layer(p, x):
    """A fixed point: its own weight must stay."""
    enters = x @ p["enters"] + p["bias"]
    state = jax.lax.fori_loop(
        0, 6, lambda _, z: relu(0.2 * z @ p["again"] + enters), jnp.zeros_like(enters)
    )
    return state @ p["out"]


def neural_ode(p, x):
    """The data move: w1 + w2 = 0, and the second bias must stay."""

    def step(x, _):
        return x + 0.1 * (relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]), None

    return jax.lax.scan(step, x, None, length=4)[0] @ p["out"]


def noisy_layer(p, x, key):
    """A weight of its noise beside a weight: both have one scale."""
    noise = jax.random.normal(key, p["w"].shape)
    return relu(x @ (p["w"] + p["sigma"] * noise) + p["bias"]) @ p["out"]


def winners_take_all(p, x):
    """The greatest of each row alone: all is free."""
    h = x @ p["w"] + p["bias"]
    values, places = jax.lax.top_k(h, 3)
    rows = jnp.arange(len(x))[:, None]
    return jnp.zeros_like(h).at[rows, places].set(values) @ p["out"]


FAMILIES = {
    "llama": Family(
        llama,
        {
            **dict.fromkeys(("g1", "g2", "g3"), (8,)),
            **dict.fromkeys(("q", "k", "v", "o"), (8, 8)),
            **{"embed": (11, 8), "w1": (8, 12), "w3": (8, 12), "w2": (12, 8)},
            "out": (8, 11),
        },
        (np.arange(10).reshape(2, 5),),
        free=12 - 4,
    ),
    "mamba": Family(
        mamba,
        {
            **{"in": (4, 6), "gate": (4, 6), "conv": (3, 6), "D": (6,), "out": (6, 2)},
            **{"dt": (6, 6), "dt_bias": (6,)},
            **dict.fromkeys(("A", "B", "C"), (6, 3)),
        },
        ((2, 7, 4),),
        free=8 - 4,
        still=("A", "dt", "dt_bias", "gate"),
    ),
    "linear attention": Family(
        linear_attention,
        {**dict.fromkeys(("q", "k", "v"), (4, 6)), "out": (6, 3)},
        ((2, 5, 4),),
        free=4,
    ),
    "message passing": Family(
        message_passing,
        {"message": (3, 6), "own": (3, 6), "bias": (6,), "out": (6, 2)},
        ((4, 3),),
        free=3 - 1,
    ),
    "graph attention": Family(
        graph_attention,
        {"w": (3, 6), "a1": (6,), "a2": (6,), "out": (6, 2)},
        ((4, 3),),
        free=4 - 2,
    ),
    "Fourier operator": Family(
        fourier_operator,
        {
            **{"lift": (2, 5), "modes": (5, 5, 3), "points": (5, 5)},
            **{"bias": (5,), "out": (5, 1)},
        },
        ((2, 12, 2),),
        free=4 - 1,
    ),
    "hypernetwork": Family(
        hypernetwork,
        {"hyper": (4, 18), "hyper_bias": (18,), "bias": (6,), "out": (6, 2)},
        ((5, 3), (4,)),
        free=2,
    ),
    "FiLM": Family(
        film,
        {
            **{"w": (3, 6), "bias": (6,), "gamma": (4, 6), "gamma_bias": (6,)},
            **{"beta": (4, 6), "out": (6, 2)},
        },
        ((5, 3), (4,)),
        free=4 - 2,
        still=("gamma", "gamma_bias"),
    ),
    "low-rank adapter": Family(
        low_rank_adapter,
        {"w": (3, 6), "a": (3, 2), "b": (2, 6), "bias": (6,), "out": (6, 2)},
        ((5, 3),),
        free=4 - 1,
    ),
    "highway": Family(
        highway,
        {
            **{"first": (3, 6), "gate": (6, 6), "gate_bias": (6,)},
            **{"w": (6, 6), "bias": (6,), "out": (6, 2)},
        },
        ((5, 3),),
        free=4 - 2,
        still=("gate_bias", "w"),
    ),
    "radiance field": Family(
        radiance_field,
        {
            **{"w1": (12, 6), "b1": (6,), "w2": (6, 6), "b2": (6,)},
            **{"w3": (18, 6), "b3": (6,), "density": (6, 1), "density_bias": (1,)},
            **{"rgb": (6, 3), "rgb_bias": (3,)},
        },
        ((5, 3),),
        free=5 - 2,
        still=("b2", "rgb_bias"),
    ),
    "cosine classifier": Family(
        cosine_classifier,
        {"w": (3, 6), "bias": (6,), "features": (6, 4), "cls": (5, 4)},
        ((5, 3),),
        free=3,
    ),
    "prototypes": Family(
        prototypes,
        {"w": (3, 6), "bias": (6,), "features": (6, 4), "points": (5, 4)},
        ((5, 3),),
        free=2,
    ),
    "vector-quantised": Family(
        vector_quantised,
        {
            **{"encoder": (3, 6), "bias": (6,), "code": (9, 6)},
            **{"decoder": (6, 3), "decoder_bias": (3,)},
        },
        ((5, 3),),
        free=2,
    ),
    "implicit layer": Family(
        implicit_layer,
        {"enters": (3, 6), "bias": (6,), "again": (6, 6), "out": (6, 2)},
        ((5, 3),),
        free=3 - 1,
        still=("again",),
    ),
    "neural ODE": Family(
        neural_ode,
        {"w1": (3, 6), "b1": (6,), "w2": (6, 3), "b2": (3,), "out": (3, 2)},
        ((5, 3),),
        free=3 - 1,
        still=("b2",),
    ),
    "noisy layer": Family(
        noisy_layer,
        {"w": (3, 6), "sigma": (3, 6), "bias": (6,), "out": (6, 2)},
        ((5, 3), jax.random.key(3)),
        free=3 - 1,
    ),
    "winners take all": Family(
        winners_take_all,
        {"w": (3, 6), "bias": (6,), "out": (6, 2)},
        ((5, 3),),
        free=2,
    ),
}
