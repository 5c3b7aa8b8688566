"""Networks of many kinds, from four libraries, with random weights and biases."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import equinox as eqx
from flax import nnx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

# What follows is Flax linen.


class VGG(nn.Module):
    """VGG-16 with batch normalisation, a quarter as wide."""

    @nn.compact
    def __call__(self, x, train):
        for width, depth in ((16, 2), (32, 2), (64, 3), (128, 3), (128, 3)):
            for _ in range(depth):
                x = nn.Conv(width, (3, 3), use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(64)(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


class ResidualBlock(nn.Module):
    width: int
    stride: int
    preactivate: bool

    @nn.compact
    def __call__(self, x, train):
        norm = functools.partial(nn.BatchNorm, use_running_average=not train)
        conv = functools.partial(nn.Conv, self.width, use_bias=False)
        strides = (self.stride, self.stride)
        y = nn.relu(norm()(x)) if self.preactivate else x
        y = nn.relu(norm()(conv((3, 3), strides)(y)))
        y = conv((3, 3))(y)
        if not self.preactivate:
            y = norm()(y)
        if x.shape != y.shape:
            x = conv((1, 1), strides)(x)
            if not self.preactivate:
                x = norm()(x)
        return x + y if self.preactivate else nn.relu(x + y)


class ResNet18(nn.Module):
    """Four stages of two blocks, with the CIFAR stem, an eighth as wide."""

    preactivate: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), use_bias=False)(x)
        if not self.preactivate:
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        for stage, width in enumerate((8, 16, 32, 64)):
            for block in range(2):
                stride = 2 if stage and not block else 1
                x = ResidualBlock(width, stride, self.preactivate)(x, train)
        if self.preactivate:
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(10)(x.mean((1, 2)))


class DenseNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        for _ in range(3):
            y = nn.BatchNorm(use_running_average=not train)(x)
            x = jnp.concatenate([x, nn.Conv(8, (3, 3))(nn.relu(y))], axis=-1)
        return nn.Dense(10)(x.mean((1, 2)))


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        del train
        fine = nn.relu(nn.Conv(8, (3, 3))(x))
        coarse = nn.max_pool(fine, (2, 2), (2, 2))
        coarse = nn.relu(nn.Conv(16, (3, 3))(coarse))
        coarse = jax.image.resize(coarse, (*x.shape[:3], 16), "nearest")
        up = nn.relu(nn.ConvTranspose(8, (3, 3))(coarse))
        return nn.Conv(10, (1, 1))(jnp.concatenate([fine, up], axis=-1))


class Mixer(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        del train
        x = nn.Conv(16, (4, 4), (4, 4))(x).reshape(x.shape[0], -1, 16)
        for _ in range(2):
            y = nn.LayerNorm()(x).swapaxes(1, 2)
            y = nn.Dense(y.shape[-1])(nn.gelu(nn.Dense(32)(y)))
            x = x + y.swapaxes(1, 2)
            x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))
        return nn.Dense(10)(nn.LayerNorm()(x).mean(1))


class TransformerBlock(nn.Module):
    prenorm: bool = True
    activation: Callable = nn.gelu
    causal: bool = False

    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        attention = nn.MultiHeadDotProductAttention(num_heads=2)
        up, down = nn.Dense(32), nn.Dense(x.shape[-1])
        if self.prenorm:
            x = x + attention(nn.LayerNorm()(x), mask=mask)
            return x + down(self.activation(up(nn.LayerNorm()(x))))
        x = nn.LayerNorm()(x + attention(x, mask=mask))
        return nn.LayerNorm()(x + down(self.activation(up(x))))


class Encoder(nn.Module):
    prenorm: bool = True
    activation: Callable = nn.gelu

    @nn.compact
    def __call__(self, x, train):
        del train
        x = nn.Dense(16)(x.reshape(x.shape[0], -1, 16))
        for _ in range(2):
            x = TransformerBlock(self.prenorm, self.activation)(x)
        return nn.Dense(10)(nn.LayerNorm()(x) if self.prenorm else x)


class ViT(nn.Module):
    """With a class token and a positional embedding."""

    @nn.compact
    def __call__(self, x, train):
        del train
        x = nn.Conv(16, (4, 4), (4, 4))(x).reshape(x.shape[0], -1, 16)
        normal = nn.initializers.normal(1.0)
        token = self.param("token", normal, (1, 1, 16))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], axis=1)
        x = x + self.param("position", normal, (1, *x.shape[1:]))
        for _ in range(2):
            x = TransformerBlock()(x)
        return nn.Dense(10)(nn.LayerNorm()(x)[:, 0])


class GPT(nn.Module):
    """A decoder with a causal mask and tied embeddings."""

    @nn.compact
    def __call__(self, tokens, train):
        del train
        embed = nn.Embed(32, 16)
        x = embed(tokens) + nn.Embed(64, 16)(jnp.arange(tokens.shape[1])[None])
        for _ in range(2):
            x = TransformerBlock(causal=True)(x)
        return embed.attend(nn.LayerNorm()(x))


class SqueezeAndExcite(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        del train
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        gate = nn.Dense(8)(nn.relu(nn.Dense(4)(x.mean((1, 2)))))
        x = x * nn.sigmoid(gate)[:, None, None]
        return nn.Dense(10)(nn.relu(nn.Conv(8, (3, 3))(x)).mean((1, 2)))


class Recurrent(nn.Module):
    cell: Callable

    @nn.compact
    def __call__(self, x, train):
        del train
        states = nn.RNN(self.cell(16))(x.reshape(x.shape[0], -1, 16))
        return nn.Dense(10)(states[:, -1])


class MixtureOfExperts(nn.Module):
    """Two of four experts, chosen and weighted by a router."""

    @nn.compact
    def __call__(self, x, train):
        del train
        x = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        scores, chosen = jax.lax.top_k(nn.Dense(4)(x), 2)
        normal = nn.initializers.normal(1.0)
        up = self.param("up", normal, (4, 16, 32))
        down = self.param("down", normal, (4, 32, 16))
        y = nn.relu(jnp.einsum("bd,edf->bef", x, up))
        y = jnp.einsum("bef,efd->bed", y, down)
        y = jnp.take_along_axis(y, chosen[..., None], axis=1)
        return nn.Dense(10)(x + (y * nn.softmax(scores)[..., None]).sum(1))


class ActorCritic(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        del train
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(16)(x))
        return {"policy": nn.Dense(4)(x), "value": nn.Dense(1)(x)}


class Assorted(nn.Module):
    """Other norms, activations and ways of pooling."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.GroupNorm(4)(nn.Conv(8, (3, 3))(x)))
        x = nn.leaky_relu(nn.InstanceNorm()(nn.Conv(8, (3, 3))(x)))
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.silu(nn.RMSNorm()(nn.Conv(8, (3, 3), (2, 2))(x)))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        x = nn.WeightNorm(nn.Dense(16))(x.max((1, 2)))
        return nn.Dense(10)(nn.relu(nn.Dense(16)(nn.tanh(x))))


class Scanned(nn.Module):
    """Three blocks with stacked parameters."""

    @nn.compact
    def __call__(self, x, train):
        del train

        class Block(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return TransformerBlock()(x), None

        axes, split = {"params": 0}, {"params": True}
        scanned = nn.scan(Block, variable_axes=axes, split_rngs=split, length=3)()
        x, _ = scanned(nn.Dense(16)(x.reshape(x.shape[0], -1, 16)), None)
        return nn.Dense(10)(nn.LayerNorm()(x))


class Case(NamedTuple):
    """A network ready to plan and to run.

    Attributes:
        train: fn of a plan, in training mode.
        params: random, biases too.
        stats: running statistics, or None.
        inputs: what else ``train`` takes.
        evaluate: the same in evaluation mode, if that differs.
    """

    train: Callable
    params: Any
    stats: Any
    inputs: tuple
    evaluate: Callable | None = None


def images(side=16):
    return jax.random.normal(jax.random.key(5), (8, side, side, 3))


def randomize(tree, seed=2):
    """Normal numbers, weights of which keep what passes through near one.

    A little above, so that variances are large next to the norms' epsilons.
    """
    rng = np.random.default_rng(seed)  # Nothing is compiled for it.

    def draw(leaf):
        size = 3 / np.sqrt(leaf.size / leaf.shape[-1]) if leaf.ndim > 1 else 1.0
        return jnp.asarray(size * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(draw, tree)


def randomize_statistics(stats):
    """Means of any size and variances well above the norms' epsilons."""
    rng = np.random.default_rng(3)

    def draw(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        number = rng.normal(size=leaf.shape)
        variance = "var" in jax.tree_util.keystr(path)
        return jnp.asarray(5 + 5 * np.abs(number) if variance else number, leaf.dtype)

    return jax.tree.map_with_path(draw, stats)


def linen(model, inputs=None):
    inputs = images() if inputs is None else inputs
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    shapes = jax.eval_shape(lambda: model.init(rngs, inputs, True))
    shapes = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    params = randomize(shapes.pop("params"))
    if not shapes:

        def plain(params, x):
            return model.apply({"params": params}, x, True, rngs=rngs)

        return Case(plain, params, None, (inputs,))

    def train(params, stats, x):
        variables = {"params": params, **stats}
        return model.apply(variables, x, True, rngs=rngs, mutable=["batch_stats"])

    def evaluate(params, stats, x):
        return model.apply({"params": params, **stats}, x, False), stats

    return Case(train, params, randomize_statistics(shapes), (inputs,), evaluate)


LINEN = {
    "vgg-16": lambda: linen(VGG(), images(32)),
    "resnet-18": lambda: linen(ResNet18()),
    "pre-activation resnet": lambda: linen(ResNet18(preactivate=True)),
    "densenet": lambda: linen(DenseNet()),
    "u-net": lambda: linen(UNet()),
    "mixer": lambda: linen(Mixer()),
    "pre-norm encoder": lambda: linen(Encoder()),
    "post-norm encoder": lambda: linen(Encoder(prenorm=False)),
    "relu encoder": lambda: linen(Encoder(activation=nn.relu)),
    "silu encoder": lambda: linen(Encoder(activation=nn.silu)),
    "vit": lambda: linen(ViT()),
    "gpt": lambda: linen(GPT(), jax.random.randint(jax.random.key(1), (4, 12), 0, 32)),
    "squeeze and excite": lambda: linen(SqueezeAndExcite()),
    "rnn": lambda: linen(Recurrent(nn.SimpleCell)),
    "gru": lambda: linen(Recurrent(nn.GRUCell)),
    "lstm": lambda: linen(Recurrent(nn.OptimizedLSTMCell)),
    "mixture of experts": lambda: linen(MixtureOfExperts()),
    "actor-critic": lambda: linen(ActorCritic()),
    "assorted": lambda: linen(Assorted()),
    "scanned blocks": lambda: linen(Scanned()),
}

# The same four in the other libraries.


class NnxResidual(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(x + self.norm(self.conv(x)))


class NnxAttention(nnx.Module):
    def __init__(self, rngs):
        self.norms = nnx.List([nnx.LayerNorm(8, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = (
            nnx.Linear(*sizes, rngs=rngs) for sizes in ((8, 16), (16, 8))
        )

    def __call__(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.down(nnx.gelu(self.up(self.norms[1](x))))


def flat(x):
    return x.reshape(x.shape[0], -1)


def average(x):
    return x.mean((1, 2))


def tokens(x):
    return x.reshape(x.shape[0], -1, x.shape[-1])


def nnx_case(kind):
    rngs = nnx.Rngs(0)
    conv = functools.partial(nnx.Conv, kernel_size=(3, 3), rngs=rngs)
    linear = functools.partial(nnx.Linear, rngs=rngs)
    layers = {
        "mlp": lambda: [flat, linear(768, 16), nnx.relu, linear(16, 10)],
        "cnn-bn": lambda: [
            *(conv(3, 8, use_bias=False), nnx.BatchNorm(8, rngs=rngs), nnx.relu),
            *(flat, linear(2048, 16), nnx.relu, linear(16, 10)),
        ],
        "resnet": lambda: [
            *(conv(3, 8), NnxResidual(rngs), NnxResidual(rngs)),
            *(average, linear(8, 10)),
        ],
        "transformer": lambda: [
            *(conv(3, 8), tokens, NnxAttention(rngs), nnx.LayerNorm(8, rngs=rngs)),
            linear(8, 10),
        ],
    }[kind]()
    model = nnx.Sequential(*layers)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def run(train):
        def fn(params, stats, x):
            model = nnx.merge(graph, params, stats)
            model.train() if train else model.eval()
            return model(x), nnx.state(model, nnx.Not(nnx.Param))

        return fn

    if not jax.tree.leaves(rest):
        return Case(
            lambda p, x: run(True)(p, rest, x)[0], randomize(params), None, (images(),)
        )
    stats = randomize_statistics(rest)
    return Case(run(True), randomize(params), stats, (images(),), run(False))


class HaikuNet:
    """A function of Haiku modules, by kind."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, x, train):
        def norm(x):
            return hk.BatchNorm(True, True, 0.9)(x, train)

        if self.kind == "mlp":
            return hk.nets.MLP([16, 16, 10])(flat(x))
        if self.kind == "cnn-bn":
            x = jax.nn.relu(norm(hk.Conv2D(8, 3, with_bias=False)(x)))
            return hk.nets.MLP([16, 10])(flat(x))
        x = hk.Conv2D(8, 3)(x)
        if self.kind == "resnet":
            for _ in range(2):
                x = jax.nn.relu(x + norm(hk.Conv2D(8, 3)(x)))
            return hk.Linear(10)(average(x))
        x = tokens(x)
        normalize = lambda x: hk.LayerNorm(-1, True, True, 1e-6)(x)  # noqa: E731
        y = normalize(x)
        start = hk.initializers.VarianceScaling(1.0)
        x = x + hk.MultiHeadAttention(2, 4, w_init=start, model_size=8)(y, y, y)
        x = x + hk.Linear(8)(jax.nn.gelu(hk.Linear(16)(normalize(x))))
        return hk.Linear(10)(normalize(x))


def haiku_case(kind):
    net = hk.without_apply_rng(hk.transform_with_state(HaikuNet(kind)))
    params, stats = net.init(jax.random.key(0), images(), True)
    params = randomize(params)
    if not stats:
        return Case(
            lambda p, x: net.apply(p, {}, x, True)[0], params, None, (images(),)
        )

    def run(train):
        return lambda params, stats, x: net.apply(params, stats, x, train)

    return Case(run(True), params, randomize_statistics(stats), (images(),), run(False))


class EquinoxResidual(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.GroupNorm

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(8, 8, 3, padding=1, key=key)
        self.norm = eqx.nn.GroupNorm(4, 8)

    def __call__(self, x, key=None):
        del key
        return jax.nn.relu(x + self.norm(self.conv(x)))


class EquinoxTransformer(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    norms: list
    mlp: eqx.nn.MLP
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(
            2,
            8,
            use_query_bias=True,
            use_key_bias=True,
            use_value_bias=True,
            use_output_bias=True,
            key=keys[0],
        )
        self.norms = [eqx.nn.LayerNorm(8, eps=1e-6) for _ in range(3)]
        self.mlp = eqx.nn.MLP(8, 8, 16, 1, jax.nn.gelu, key=keys[1])
        self.head = eqx.nn.Linear(8, 10, key=keys[2])

    def __call__(self, x, key=None):
        del key
        x = x.reshape(8, -1).T
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y)
        x = x + jax.vmap(self.mlp)(jax.vmap(self.norms[1])(x))
        return jax.vmap(self.head)(jax.vmap(self.norms[2])(x))


def equinox_case(kind):
    keys = iter(jax.random.split(jax.random.key(0), 9))
    nn = eqx.nn

    def linear(inputs, outputs):
        return nn.Linear(inputs, outputs, key=next(keys))

    first = nn.Conv2d(3, 8, 3, padding=1, key=next(keys))
    layers = {
        "mlp": lambda: [jnp.ravel, nn.MLP(768, 10, 16, 2, key=next(keys))],
        "cnn-bn": lambda: [
            *(first, nn.BatchNorm(8, axis_name="batch", mode="batch"), jax.nn.relu),
            *(jnp.ravel, linear(2048, 16), jax.nn.relu, linear(16, 10)),
        ],
        "resnet": lambda: [
            *(first, EquinoxResidual(next(keys)), EquinoxResidual(next(keys))),
            *(lambda x: x.mean((1, 2)), linear(8, 10)),
        ],
        "transformer": lambda: [first, EquinoxTransformer(next(keys))],
    }[kind]()
    x = images().transpose(0, 3, 1, 2)

    def build():
        modules = (isinstance(layer, eqx.Module) for layer in layers)
        return nn.Sequential(
            [
                layer if is_module else nn.Lambda(layer)
                for layer, is_module in zip(layers, modules, strict=True)
            ]
        )

    model, state = nn.make_with_state(build)()
    if kind != "cnn-bn":
        params, static = eqx.partition(model, eqx.is_inexact_array)

        def plain(params, x):
            return jax.vmap(eqx.combine(params, static))(x)

        return Case(plain, randomize(params), None, (x,))

    params, static = eqx.partition(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(state)

    def run(train):
        def fn(params, stats, x):
            model = nn.inference_mode(eqx.combine(params, static), not train)
            out, new = jax.vmap(
                model, axis_name="batch", in_axes=(0, None), out_axes=(0, None)
            )(x, structure.unflatten(stats))
            return out, jax.tree.leaves(new)

        return fn

    return Case(run(True), randomize(params), leaves, (x,), run(False))


ARCHITECTURES = {
    name: functools.cache(make)  # Each is made, and its programs compiled, once.
    for name, make in (
        LINEN
        | {
            f"{library} {kind}": functools.partial(case, kind)
            for library, case in (
                ("nnx", nnx_case),
                ("haiku", haiku_case),
                ("equinox", equinox_case),
            )
            for kind in ("mlp", "cnn-bn", "resnet", "transformer")
        }
    ).items()
}
