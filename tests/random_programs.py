"""Random networks as short Python programs: drawn, printed, varied and shrunk.

A program is a list of lines such as ``v3 = jax.nn.relu(v2 @ w1)``.  Each line comes
from a table of operations: a template of Python text with the types of what it
takes and gives.  A type is a shape in letters (``BF`` is a batch of features, ``FF``
a matrix, ``1`` a scalar) with a small letter for what is not real: ``c`` complex,
``m`` a mask, ``i`` the index of a head, ``v`` an index into a vocabulary.  Lines
that hold functions (loops, branches, ``jit``) have blocks of lines of their own.

The text is the program: it is what runs, and what a report prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import re
from typing import Any
import zlib

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

SIZES = {"B": 5, "F": 4, "H": 2, "K": 3, "T": 2, "V": 6, "E": 8}
"""Batch, features, half the features, steps, tasks, vocabulary, two times features."""


def shape_of(kind: str) -> tuple[int, ...]:
    """Shape of a type: ``(5, 4)`` for ``"BFc"``."""
    letters = kind.rstrip("cmivk")
    if letters == "1":
        return ()
    return tuple(SIZES.get(letter) or int(letter) for letter in letters)


# What programs are made of.


@dataclasses.dataclass(frozen=True)
class Name:
    """A value of a program: how it is called and its type."""

    text: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Block:
    """A function inside a line; it may use all names of the lines around it."""

    args: tuple[Name, ...]
    lines: tuple[Line, ...]
    results: tuple[Name, ...]


@dataclasses.dataclass(frozen=True)
class Line:
    """One statement: ``results = template`` with the arguments filled in.

    Attributes:
        template: Python text with ``{0}``, ``{1}`` for arguments and ``{f0}`` for
            the names of blocks.
        args: what it takes.
        results: what it gives; several are a tuple.
        blocks: the functions in it.
        swaps: whether its first two arguments may change places.
        rows: whether it means the same for one row as for a batch of rows.
    """

    template: str
    args: tuple[Name, ...]
    results: tuple[Name, ...]
    blocks: tuple[Block, ...] = ()
    swaps: bool = False
    rows: bool = False


@dataclasses.dataclass(frozen=True)
class Program:
    """A network: what it takes, its lines and what it returns.

    Attributes:
        seed: numbers of the leaves are drawn from it and their names.
        params: parameters.
        stats: running statistics, each with its updated value.
        inputs: data.
        lines: what it does.
        outputs: what it returns.
    """

    seed: tuple[int, ...]
    params: tuple[Name, ...]
    stats: tuple[tuple[Name, Name], ...]
    inputs: tuple[Name, ...]
    lines: tuple[Line, ...]
    outputs: tuple[Name, ...]

    @property
    def rows(self) -> bool:
        """Whether it may be written for one example and batched by ``vmap``."""
        whole = any(name.kind in BATCHED for name in self.params)
        return not self.stats and not whole and all(line.rows for line in self.lines)

    def __str__(self) -> str:
        def listed(names: Sequence[Name]) -> str:
            return ", ".join(f"{n.text}: {n.kind}" for n in names)

        heads = [f"def fn(params({listed(self.params)}), {listed(self.inputs)}):"]
        if self.stats:
            heads.append(f"    # statistics: {listed([n for n, _ in self.stats])}")
        return "\n".join([*heads, *self._body()])

    def _body(self) -> list[str]:
        outputs = ", ".join(name.text for name in self.outputs)
        return [*_text(self.lines, "    "), f"    return {outputs}"]

    def function(self, names: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """``fn(params, inputs)``, or ``fn(params, stats, inputs)`` with statistics.

        Args:
            names: what to use in place of the functions of :data:`NAMES`.
        """
        trees = ["params", "stats", "inputs"] if self.stats else ["params", "inputs"]
        leaves = {
            "params": self.params,
            "stats": [name for name, _ in self.stats],
            "inputs": self.inputs,
        }
        outputs = ", ".join(f"'y{i}': {n.text}" for i, n in enumerate(self.outputs))
        updates = ", ".join(f"'{n.text}': {new.text}" for n, new in self.stats)
        text = "\n".join(
            [
                f"def fn({', '.join(trees)}):",
                *(
                    f"    {name.text} = {tree}['{name.text}']"
                    for tree in trees
                    for name in leaves[tree]
                ),
                *_text(self.lines, "    "),
                f"    return {{{outputs}}}" + (f", {{{updates}}}" if updates else ""),
            ]
        )
        scope = {**NAMES, **(names or {})}
        exec(compile(text, "<program>", "exec"), scope)  # The text is our own.
        return scope["fn"]

    def arrays(self) -> tuple[dict[str, Any], ...]:
        """Numbers for parameters, statistics (if there are any) and inputs."""
        trees = [self.params, [name for name, _ in self.stats], self.inputs]
        params, stats, inputs = (
            {name.text: _numbers(self.seed, name) for name in names} for names in trees
        )
        return (params, stats, inputs) if self.stats else (params, inputs)


def _text(lines: Sequence[Line], margin: str) -> list[str]:
    text = []
    for line in lines:
        functions = {}
        for i, block in enumerate(line.blocks):
            name = f"f{i}_{line.results[0].text}"
            functions[f"f{i}"] = name
            args = ", ".join(arg.text for arg in block.args)
            results = "".join(f"{result.text}, " for result in block.results)
            text += [
                f"{margin}def {name}({args}):",
                *_text(block.lines, margin + "    "),
                f"{margin}    return ({results.strip()})",
            ]
        right = line.template.format(*(arg.text for arg in line.args), **functions)
        left = ", ".join(result.text for result in line.results)
        text.append(f"{margin}{left} = {right}")
    return text


def _numbers(seed: tuple[int, ...], name: Name) -> Any:
    """Random numbers of good size for a leaf, by its name and type alone."""
    rng = np.random.default_rng([*seed, zlib.crc32(name.text.encode())])
    shape = shape_of(name.kind)
    if name.kind == "k":
        return jax.random.key(int(rng.integers(1 << 30)))
    if name.kind.endswith("m"):
        return jnp.asarray(rng.random(shape) < 0.5)
    if name.kind.endswith("i"):
        return jnp.asarray(rng.integers(SIZES["T"], size=shape))
    if name.kind.endswith("v"):
        return jnp.asarray(rng.integers(SIZES["V"], size=shape))
    size = rng.uniform(0.3, 1.5, shape) * rng.choice([-1, 1], shape)
    if name.text.startswith("var"):
        size = np.abs(size)
    return jnp.asarray(size / (1.2 if len(shape) > 1 else 1))


# Functions that programs use.


def scan(f: Any, carry: Any, xs: Any, reverse: bool = False) -> Any:
    """``lax.scan`` of ``f(*carry, *xs) -> (*carry, *ys)``."""
    count = len(carry)

    def body(carry: Any, xs: Any) -> Any:
        results = f(*carry, *xs)
        return results[:count], results[count:]

    carry, ys = lax.scan(body, carry, xs, reverse=reverse)
    return *carry, *ys


def unrolled_scan(f: Any, carry: Any, xs: Any, reverse: bool = False) -> Any:
    """The same as a loop in Python, with stacks indexed by plain numbers."""
    count, steps = len(carry), range(SIZES["K"])
    rounds = []
    for i in reversed(steps) if reverse else steps:
        results = f(*carry, *(x[i] for x in xs))
        carry = results[:count]
        rounds.append(results[count:])
    if reverse:
        rounds.reverse()
    return *carry, *(jnp.stack(ys) for ys in zip(*rounds, strict=True))


def fori(steps: int, f: Any, carry: Any) -> Any:
    """``lax.fori_loop`` of ``f(i, *carry) -> carry``."""
    return lax.fori_loop(0, steps, lambda i, carry: f(i, *carry), carry)


def unrolled_fori(steps: int, f: Any, carry: Any) -> Any:
    """The same as a loop in Python."""
    for i in range(steps):
        carry = f(jnp.asarray(i), *carry)
    return carry


def loop(f: Any, carry: Any, start: float, end: float, above: float | None) -> Any:
    """``lax.while_loop`` of ``f(k, *carry) -> carry`` with k from start to end.

    It ends early when no entry of the first carry is larger than ``above``.
    """

    def goes_on(state: Any) -> Any:
        k, first, *_ = state
        counts = k < end
        return counts if above is None else counts & (jnp.abs(first).max() > above)

    start = jnp.asarray(start)
    carry = lax.while_loop(
        goes_on, lambda state: (state[0] + 1.0, *f(*state)), (start, *carry)
    )
    return carry[1:]


def own_gradient(f: Any) -> Any:
    """``f`` with a derivative given by hand."""
    wrapped = jax.custom_jvp(f)
    wrapped.defjvp(lambda values, tangents: jax.jvp(f, values, tangents))
    return wrapped


def own_pullback(f: Any) -> Any:
    """``f`` with a backward pass given by hand."""
    wrapped = jax.custom_vjp(f)
    wrapped.defvjp(lambda *values: jax.vjp(f, *values), lambda back, y: back(y))
    return wrapped


def half(value: Any, dtype: Any) -> Any:
    """To a shorter type and back."""
    return value.astype(dtype).astype(value.dtype)


def show(value: Any) -> Any:
    """Tells the value and gives it back."""
    jax.debug.callback(lambda _: None, value)
    return value


def show_print(value: Any) -> Any:
    """Prints the value and gives it back."""
    jax.debug.print("{}", value)
    return value


def layer_norm(h: Any, scale: Any, shift: Any, epsilon: float) -> Any:
    """Normalises the last axis."""
    centred = h - h.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return centred * lax.rsqrt(variance + epsilon) * scale + shift


def rms_norm(h: Any, scale: Any, epsilon: float) -> Any:
    """Divides by the root of the mean square."""
    return h / jnp.sqrt((h * h).mean(-1, keepdims=True) + epsilon) * scale


def batch_norm(
    h: Any, mean: Any, var: Any, scale: Any, shift: Any, epsilon: float, train: bool
) -> Any:
    """Batch normalisation and its updated statistics."""
    if train:
        now = h.mean(0), jnp.square(h - h.mean(0)).mean(0)
        new = 0.9 * mean + 0.1 * now[0], 0.9 * var + 0.1 * now[1]
    else:
        now = new = mean, var
    return (h - now[0]) / jnp.sqrt(now[1] + epsilon) * scale + shift, *new


def standardise(h: Any, epsilon: float) -> Any:
    """Zero mean and unit variance over the batch."""
    return (h - h.mean(0)) / jnp.sqrt(h.var(0) + epsilon)


def unit_size(h: Any, epsilon: float) -> Any:
    """Divides by the largest entry."""
    return h / (jnp.abs(h).max() + epsilon)


def unit_deviation(h: Any, epsilon: float) -> Any:
    """Divides by the standard deviation."""
    return h / (h.std() + epsilon)


def attend(q: Any, k: Any, v: Any) -> Any:
    """Rows attend to one another."""
    return jax.nn.softmax(q @ k.T / 2, axis=-1) @ v


def conv(h: Any, kernel: Any, groups: int = 1, spec: str = "WIO") -> Any:
    """A convolution over the steps of (batch, steps, features)."""
    return lax.conv_general_dilated(
        h, kernel, (1,), "SAME", None, None, ("NWC", spec, "NWC"), groups
    )


def without_batch_rows(h: Any, w: Any) -> Any:
    """``h @ w`` with a matrix for each row."""
    return jnp.einsum("...f,...fg->...g", h, w)


NAMES = {
    **{"jax": jax, "jnp": jnp, "np": np, "lax": lax, **SIZES},
    **{
        function.__name__: function
        for function in (
            scan,
            fori,
            loop,
            own_gradient,
            own_pullback,
            half,
            show,
            show_print,
            layer_norm,
            rms_norm,
            batch_norm,
            standardise,
            unit_size,
            unit_deviation,
            attend,
            conv,
            without_batch_rows,
        )
    },
}
"""What programs may use."""

UNROLLED = {"scan": unrolled_scan, "fori": unrolled_fori}
"""Loops in Python in place of loops in JAX."""

SILENT = {"show": lambda value: value, "show_print": lambda value: value}
"""Nothing is told or printed."""

LONG = {"half": lambda value, _: value}
"""Short types are as long as the others, so that rounding is none of a test's."""


WITHOUT_EPSILON = {
    "layer_norm": lambda h, scale, shift, _: layer_norm(h, scale, shift, 0.0),
    "rms_norm": lambda h, scale, _: rms_norm(h, scale, 0.0),
    "batch_norm": lambda h, mean, var, scale, shift, _, train: batch_norm(
        h, mean, var, scale, shift, 0.0, train
    ),
    "standardise": lambda h, _: standardise(h, 0.0),
    "unit_size": lambda h, _: unit_size(h, 0.0),
    "unit_deviation": lambda h, _: unit_deviation(h, 0.0),
}
"""Normalisation without the number that keeps it from dividing by zero."""


# The table of operations.


@dataclasses.dataclass(frozen=True)
class Operation:
    """A kind of line; see :func:`op`."""

    template: str
    args: tuple[str, ...]
    results: tuple[str, ...]
    blocks: tuple[str, ...]
    weight: float
    swaps: bool
    rows: bool


def op(
    template: str,
    args: str,
    results: str,
    weight: float = 1.0,
    *,
    blocks: Sequence[str] = (),
    swaps: bool = False,
    rows: bool = False,
) -> Operation:
    """A kind of line.

    Args:
        template: Python text.  ``«a|b»`` stands for one of the two at random.
        args: types, in words.  ``S`` is any real type, the same for all ``S`` of a
            line.  ``:p`` asks for a parameter rather than a value that is there, and
            ``:z`` for a constant, or a parameter, as the start of a loop.
        results: types.
        weight: how often to draw it.
        blocks: for each function the types that it takes and gives: ``"BF > BF"``.
        swaps: whether its first two arguments may change places.
        rows: whether it means the same for one row as for a batch of rows.
    """
    return Operation(
        template,
        tuple(args.split()),
        tuple(results.split()),
        tuple(blocks),
        weight,
        swaps,
        rows,
    )


NUMBERS = "«0.0|0.5|1.0|2.0|-1.0|3.0|0.3|0.01|1e-3|1e-5|1e-8»"
GUARDED = "«{}»".format(
    "|".join(
        guard.replace("size", size)
        for guard in (
            *("jnp.where(size == 0, 1.0, size)", "jnp.where(size != 0, size, 2.0)"),
            *("jnp.where(size > 0, size, 1.0)", "jnp.where(size <= 0, 1.0, size)"),
            *("jnp.where(size < 0, size, 1.0)", "jnp.where(size > 1, size, 1.0)"),
            "jnp.where(jnp.isfinite(size) & (size != 0), size, 1.0)",
        )
        for size in (
            *("jnp.linalg.norm({1}, axis=0)", "jnp.abs({1}).max(0)"),
            *("({1} * {1}).sum(0)", "{1}.sum(0)", "jnp.linalg.norm({0})"),
        )
    )
)
"""Something of a size, with a number in its place if it is zero, or another one."""

EPSILON = "«0.0|0.0|1e-12|1e-6|1e-5|1e-3|1e-2»"

OPERATIONS: tuple[Operation, ...] = (
    # Products with matrices.
    op("{0} @ {1}", "BF FF:p", "BF", 14, rows=True),
    op("{0} @ {1}.T", "BF FF:p", "BF", 1, rows=True),
    op("{0} @ {1} + {2}", "BF FF:p F:p", "BF", 6, rows=True),
    op("jax.nn.relu({0} @ {1} + {2})", "BF FF:p F:p", "BF", 6, rows=True),
    op("{0} @ ({1} + {2})", "BF FF:p FF:p", "BF", rows=True),
    op("{0} @ ({1} * {2})", "BF FF:p S:p".replace("S", "FF"), "BF", rows=True),
    op("{0} @ ({1} + {2} @ {3})", "BF FF:p FH:p HF:p", "BF", 1.5, rows=True),
    op("{0} @ {1} @ {2}", "BF FH:p HF:p", "BF", rows=True),
    op("{0} @ {1}[:F] + {2} @ {1}[F:]", "BF EF:p BF", "BF", rows=True),
    op(
        "jnp.split({0} @ {1}, 2, axis=-1)",
        "BF FE:p",
        "BF BF",
        rows=True,
    ),
    op("({0} @ {1} + {2})", "F FF:p F:p", "F"),
    op("{0} @ {1}", "FF:p FF:p", "FF"),
    op(
        "{0} @ ({1} / jnp.linalg.norm({1}, axis=0) * {2})",
        "BF FF:p F:p",
        "BF",
        rows=True,
    ),
    op("{0} @ ({1} / jnp.sqrt(jnp.square({1}).sum()))", "BF FF:p", "BF", rows=True),
    # Divided by a number that something guards, if it is one that is never there.
    op(f"{{0}} @ ({{1}} / {GUARDED})", "BF FF:p", "BF", 2),
    op(f"{{0}} * {GUARDED}", "BF FF:p", "BF", 0.5),
    op("conv({0}, {1})", "BKF 3FF:p", "BKF", 1),
    op("conv({0}, {1}, 2)", "BKF 3HF:p", "BKF", 1),
    op("conv({0}, {1}, 2, 'OIW')", "BKF FH3:p", "BKF", 1),
    op("conv({0}, {1}, F)", "BKF 31F:p", "BKF", 0.5),
    op("lax.ragged_dot({0}, {1}, jnp.array([2, 3]))", "BF TFF:p", "BF", 1),
    op("attend({0} @ {1}, {0} @ {2}, {0} @ {3})", "BF FF:p FF:p FF:p", "BF", 1),
    op("without_batch_rows({0}, jnp.stack([{1}] * B))", "BF FF:p", "BF", 0.5),
    op("jnp.einsum('bf,kfg->kbg', {0}, {1})", "BF KFF:p", "KBF", 1),
    op("jnp.einsum('kbf,kfg->kbg', {0}, {1})", "KBF KFF:p", "KBF", 1),
    op("jax.vmap(lambda w, b: {0} @ w + b)({1}, {2})", "BF KFF:p KF:p", "KBF", 1),
    # One argument; scales pass or take a power.
    op("jax.nn.relu({0})", "S", "S", 6, rows=True),
    op("jax.nn.leaky_relu({0}, 0.2)", "S", "S", rows=True),
    op("jnp.abs({0})", "S", "S", 2, rows=True),
    op("-{0}", "S", "S", rows=True),
    op("«2.0|0.5|-3.0» * {0}", "S", "S", rows=True),
    op("{0} / «2.0|3.0»", "S", "S", rows=True),
    op("«1.0|2.0» / {0}", "S", "S", rows=True),
    op("{0} ** «2|3|-1|-2»", "S", "S", 2, rows=True),
    op("jnp.abs({0}) ** «0.5|1.5|-0.5|2.0»", "S", "S", 2, rows=True),
    op(
        "jnp.abs({0}) ** («abs(-2)|jnp.abs(jnp.asarray(-2))|-jnp.asarray(1.5)"
        "|jnp.sqrt(4.0)|jnp.asarray(-0.5)|jnp.ones(8).sum() / 4»)",
        "S",
        "S",
        1.5,
        rows=True,
    ),
    op(
        "jnp.abs({0}) ** «jnp.cumsum(jnp.ones(F))|jnp.arange(4.0)"
        "|jnp.asarray([1.0, 2.0, 1.0, 2.0])|jnp.sort(jnp.ones(F))"
        "|-jnp.full(F, 0.5)»",
        "BF",
        "BF",
        1,
        rows=True,
    ),
    op("jnp.square({0})", "S", "S", rows=True),
    op("jnp.sqrt(jnp.abs({0}))", "S", "S", rows=True),
    op("lax.rsqrt(jnp.abs({0}))", "S", "S", rows=True),
    op("jnp.cbrt({0})", "S", "S", 0.7, rows=True),
    op("lax.stop_gradient({0})", "S", "S", 0.7, rows=True),
    op("jax.device_put({0})", "S", "S", 0.7, rows=True),
    op("lax.optimization_barrier(({0}, {1}))", "S S", "S S", 1.5, rows=True),
    op("lax.optimization_barrier(({0}, {1}))", "FF:p BF", "FF BF", rows=True),
    op("jax.device_put(({0}, {1}))", "S:z BF", "S BF", 0.7, rows=True),
    op("lax.optimization_barrier(({0}, {1}))", "S:z BF", "S BF", rows=True),
    op("half({0}, «jnp.float16|jnp.bfloat16»)", "S", "S", rows=True),
    op("show({0})", "S", "S", rows=True),
    op("show_print({0})", "S", "S", 0.5, rows=True),
    # Scales vanish.
    op("jnp.sign({0})", "S", "S", rows=True),
    op("{0}.astype(bool).astype(float)", "S", "S", 0.7, rows=True),
    op("({0} > 0).astype(float)", "S", "S", rows=True),
    op("jnp.isfinite({0}) * 1.0", "S", "S", 0.3, rows=True),
    op("{0} / jnp.abs({0}).max()", "S", "S", rows=True),
    op("{0} / jnp.linalg.norm({0}, axis=-1, keepdims=True)", "BF", "BF", rows=True),
    # Scales must not change.
    op("jnp.tanh({0})", "S", "S", 1.5, rows=True),
    op("jax.nn.gelu({0})", "S", "S", rows=True),
    op("jax.nn.sigmoid({0})", "S", "S", rows=True),
    op("jax.nn.softmax({0}, axis=-1)", "BF", "BF", 1, rows=True),
    op("jnp.exp(-jnp.abs({0}))", "S", "S", rows=True),
    op("jnp.log1p(jnp.abs({0}))", "S", "S", rows=True),
    op("jnp.log(jnp.abs({0}))", "S", "S", 0.5, rows=True),
    op("jnp.sin({0})", "S", "S", 0.5, rows=True),
    op("jnp.round({0} * 3) / 3", "S", "S", 0.5, rows=True),
    op("{0}.astype(int).astype(float)", "S", "S", 0.5, rows=True),
    op("jax.nn.elu({0})", "S", "S", 0.5, rows=True),
    op("jax.scipy.special.erf({0})", "S", "S", 0.3, rows=True),
    # Numbers in places good and bad.
    op(f"{{0}} + {NUMBERS}", "S", "S", 2, rows=True),
    op(f"jnp.«maximum|minimum»({{0}}, {NUMBERS})", "S", "S", 1, rows=True),
    op("jnp.abs({0}) * 1e-3 + «0.01|1e-3|1e-6»", "S", "S", 0.7, rows=True),
    op("jnp.clip({0}, «-1.0, 1.0|0.0, 6.0|0.0, jnp.inf»)", "S", "S", rows=True),
    op("{0} + jnp.«imag|real»(2j)", "S", "S", 0.7, rows=True),
    op("{0} + jnp.full(10000, 0.01).sum()", "S", "S", 0.7, rows=True),
    op("{0} + jnp.prod(jnp.full(3, 0.1))", "S", "S", 0.3, rows=True),
    op("{0} + jnp.sort(jnp.ones(F))", "BF", "BF", 0.5, rows=True),
    op("{0} + jnp.cumsum(jnp.full(F, 0.01))", "BF", "BF", 0.5, rows=True),
    op("{0} + lax.rsqrt(jnp.asarray(1e8))", "S", "S", 0.3, rows=True),
    op("{0} * jnp.max(jnp.arange(3.0))", "S", "S", 0.5, rows=True),
    op("{0} + jnp.zeros(F).at[1].set(«0.0|2.0»)", "BF", "BF", 0.5, rows=True),
    op("{0} + jnp.pad(jnp.zeros(2), 1, constant_values=1.0)", "BF", "BF", 0.5),
    op("{0} + jnp.concatenate([jnp.zeros(3), jnp.ones(1)])", "BF", "BF", 0.5),
    op("{0} + (jnp.arange(F) == 0)", "BF", "BF", 0.5, rows=True),
    op("jnp.where(jnp.arange(F) < 2, {0}, 0.0)", "BF", "BF", 0.7, rows=True),
    # Two arguments.
    op("{0} + {1}", "S S", "S", 6, swaps=True, rows=True),
    op("{0} - {1}", "S S", "S", 2, rows=True),
    op("{0} * {1}", "S S", "S", 4, swaps=True, rows=True),
    op("{0} / {1}", "S S", "S", 2, rows=True),
    op("{0} + {1}", "BF F:p", "BF", 4, swaps=True, rows=True),
    op("{0} * {1}", "BF F:p", "BF", 3, swaps=True, rows=True),
    op("{0} / {1}", "BF F:p", "BF", rows=True),
    op("{0} / {1}", "BF B1", "BF", rows=True),
    op("{0} * {1}", "BF B1", "BF", swaps=True, rows=True),
    op("{0} - {1}", "BF B1", "BF", rows=True),
    op("{0} «+|-» {1}", "BF 1:p", "BF", rows=True),
    op("{0} «*|/» {1}", "BF 1:p", "BF", 2, rows=True),
    op("jnp.«maximum|minimum»({0}, {1})", "S S", "S", 2, swaps=True, rows=True),
    op("jnp.maximum({0}, {1})", "BF F:p", "BF", swaps=True, rows=True),
    op("lax.rem({0}, {1})", "S S", "S", 0.5),
    op("jnp.mod({0}, {1})", "S S", "S", 0.3, rows=True),
    op("jnp.arctan2({0}, {1})", "S S", "S", 0.7, rows=True),
    op("lax.clamp(-jnp.abs({1}), {0}, jnp.abs({1}))", "S S", "S", 0.7, rows=True),
    op("jnp.hypot({0}, {1})", "S S", "S", 0.5, rows=True),
    op("jnp.logaddexp({0}, {1})", "S S", "S", 0.3, rows=True),
    op("jnp.abs({0}) ** {1}", "S 1:p", "S", 1, rows=True),
    op("lax.nextafter({0}, {1})", "S S", "S", 0.1),
    op("{0} @ {1} + {0}", "BF FF:p", "BF", 2, rows=True),
    op("jnp.copysign({0}, {1})", "S S", "S", 0.3, rows=True),
    # Sums, extremes and orders.
    op("{0}.«sum|mean|max|min»(0)", "BF", "F", 2),
    op("{0}.«sum|mean|max|min»(-1, keepdims=True)", "BF", "B1", 2, rows=True),
    op("{0}.«sum|mean|max»()", "BF", "1", 1.5),
    op("jnp.prod({0}, 0)", "BF", "F", 0.7),
    op("jnp.prod({0}, -1, keepdims=True)", "BF", "B1", 0.5, rows=True),
    op("{0}.«sum|mean|max»(0)", "KBF", "BF", 3),
    op("{0}[«0|-1»]", "KBF", "BF", 2),
    op("{0}.«mean|max»(1)", "BKF", "BF", 3),
    op("jnp.cumsum({0}, «0|1»)", "BF", "BF"),
    op("lax.«cummax|cummin»({0}, 1)", "BF", "BF", 0.7),
    op("jnp.cumprod({0}, 1)", "BF", "BF", 0.7),
    op("lax.cumlogsumexp({0}, 1)", "BF", "BF", 0.3),
    op("jnp.sort({0}, axis=-1)", "BF", "BF", rows=True),
    op("lax.sort(({0}, {1}), num_keys=1)", "BF BF", "BF BF", 1),
    op("lax.top_k({0}, F)[0]", "BF", "BF", rows=True),
    op("jnp.argmax({0}, -1)", "BF", "Bv", 0.7, rows=True),
    op("lax.top_k({0}, 1)[1][..., 0]", "BF", "Bv", 0.5, rows=True),
    op(
        "jnp.take_along_axis({0}, jnp.argsort({1}, axis=-1), -1)",
        "BF BF",
        "BF",
        rows=True,
    ),
    op("lax.reduce_window({0}, 0.0, lax.add, (1, 2), (1, 1), 'SAME')", "BF", "BF"),
    op("lax.reduce_window({0}, -jnp.inf, lax.max, (1, 2), (1, 1), 'SAME')", "BF", "BF"),
    op("jax.nn.logsumexp({0}, axis=-1, keepdims=True)", "BF", "B1", 0.5, rows=True),
    # Complex numbers.
    op("{0} + 1j * {1}", "BF BF", "BFc", 2.5, rows=True),
    op("lax.complex({0}, {1})", "BF BF", "BFc", rows=True),
    op("{0} + 1j * {1}", "F:p F:p", "Fc", 1, rows=True),
    op("jnp.exp(-jnp.exp({0}) + 1j * jnp.exp({1}))", "F:p F:p", "Fc", 1, rows=True),
    op("jnp.asarray([1j, 1.0, -1j, 1.0 + 1j])", "", "Fc", 0.3, rows=True),
    op("{0} * {1}", "BFc Fc", "BFc", 3, rows=True),
    op("{0} + {1}", "BFc Fc", "BFc", 1, rows=True),
    op("{0} «+|-|*» {1}", "BFc BFc", "BFc", 1.5, rows=True),
    op("{0} * 1j", "BFc", "BFc", 1, rows=True),
    op("{0} + 1j", "BFc", "BFc", 0.7, rows=True),
    op("{0} @ ({1} + 1j * {2})", "BFc FF:p FF:p", "BFc", 2, rows=True),
    op("{0} @ ({1} + 1j * {2})", "BF FF:p FF:p", "BFc", 2, rows=True),
    op("jnp.conj({0})", "BFc", "BFc", rows=True),
    op("jnp.«abs|real|imag»({0})", "BFc", "BF", 8, rows=True),
    op("jnp.fft.fft({0})", "BF", "BFc", 1, rows=True),
    op("jnp.fft.ifft({0})", "BFc", "BFc", 1, rows=True),
    op("jnp.fft.irfft(jnp.fft.rfft({0}) * {1}[:3], F)", "BF Fc", "BF", 1, rows=True),
    # Shapes.
    op("{0}.reshape(-1).reshape(B, F)", "BF", "BF", 0.5),
    op("{0}.T", "FF", "FF", 0.5, rows=True),
    op("{0}[..., ::-1]", "BF", "BF", 0.7, rows=True),
    op("jnp.roll({0}, 1, -1)", "BF", "BF", 0.7, rows=True),
    op(
        "jnp.concatenate([{0}[..., :2], {1}[..., 2:]], -1)", "BF BF", "BF", 2, rows=True
    ),
    op("jnp.concatenate([{0}[:2], {1}[2:]])", "S S".replace("S", "FF"), "FF", 0.7),
    op("jnp.stack([{0}, {1}])[«0|1»]", "S S", "S", 0.7, rows=True),
    op("jnp.stack([{0}, {1}]).sum(0)", "S S", "S", 0.7, rows=True),
    op("jnp.stack([{0}, {1}, {0}])", "BF BF", "KBF", 0.7),
    op("jnp.stack([{0}, {1}, {2}])", "FF:p FF:p FF:p", "KFF", 0.7),
    op("jnp.stack([{0}, {1}, {0}], 1)", "BF BF", "BKF", 0.7),
    op("jnp.tile({0}, (1, 2))[:, 2:6]", "BF", "BF", 0.5),
    op("jnp.pad({0}[:, 1:], ((0, 0), (0, 1)))", "BF", "BF", 0.7),
    op(
        "jnp.pad({0}[:, 1:], ((0, 0), (0, 1)), constant_values=«1.0|0.5»)",
        "BF",
        "BF",
        0.7,
    ),
    op("jnp.broadcast_to({0}, (B, F))", "F", "BF", 0.5),
    op("jnp.outer({0}, {1})", "F:p F:p", "FF", 0.7, rows=True),
    op("jnp.diag({0})", "F:p", "FF", 0.5, rows=True),
    op("jnp.tril({0})", "FF", "FF", 0.5, rows=True),
    op("{0}[..., :1]", "BF", "B1", 1, rows=True),
    op("jnp.broadcast_to({0}, (B, F))", "B1", "BF", 0.5),
    # By index.
    op("{0}[{1}]", "TFF:p i", "FF", 2, rows=True),
    op("{0}[{1}]", "TF:p i", "F", 2, rows=True),
    op("{0} @ {1}[{2}]", "BF TFF:p i", "BF", 2, rows=True),
    op("{0} @ {1}[{2}] + {3}[{2}]", "BF TFF:p i TF:p", "BF", 2, rows=True),
    op("without_batch_rows({0}, {1}[{2}])", "BF TFF:p Bi", "BF", 2, rows=True),
    op("{0} + {1}[{2}]", "BF TF:p Bi", "BF", 1.5, rows=True),
    op("{0} @ {1}[0] + {0} @ {1}[1]", "BF TFF:p", "BF", 1, rows=True),
    op("{0}[«0|1|-1»]", "KFF:p", "FF", 1, rows=True),
    op("{0}[{1}]", "VF:p Bv", "BF", 3, rows=True),
    op("{0}[{1}]", "VF:p v", "F", 1, rows=True),
    op("{0}.at[{1}].get(mode='«clip|promise_in_bounds»')", "VF:p Bv", "BF", rows=True),
    op(
        "{0}.at[{1} + 2].get(mode='fill', fill_value=«0.0|3.0|1.0|-jnp.inf»)",
        "VF:p Bv",
        "BF",
        1,
        rows=True,
    ),
    op("{0}.at[{1} + 2].get(mode='clip')", "VF:p Bv", "BF", 0.5, rows=True),
    op("{0}.at[{1}, :].get(mode='fill', fill_value=3.0)", "BF v", "F", 0.7),
    op("{0} @ {1}.T @ {1}", "BF VF:p", "BF", 1, rows=True),
    op("jax.nn.one_hot({0}, V) @ {1}", "Bv VF:p", "BF", 1, rows=True),
    op("jnp.take({0}, {1}, axis=0)", "VF:p Bv", "BF", 0.7, rows=True),
    op("lax.dynamic_index_in_dim({0}, {1}, 0, keepdims=False)", "TFF:p i", "FF", 1),
    op("lax.dynamic_slice({0}, ({1}, 0), (F, F))", "EF:p i", "FF", 1),
    op("lax.dynamic_update_slice({0}, {1}[:, :2], (0, {2}))", "BF BF i", "BF", 1),
    op("lax.dynamic_update_slice({0}, {1}[:2], (0, {2}))", "FF:p FF:p i", "FF", 0.7),
    op(
        "lax.dynamic_update_slice(jnp.«zeros|ones»((B, F)), {0}, ({1}, 0))",
        "BF i",
        "BF",
    ),
    op("{0}.at[{1}].«set|add|max|min|mul|divide»({2})", "VF:p v F", "VF", 1.5),
    op("{0}.at[{1}].«add|max|min|mul»({2})", "BF i F:p", "BF", 1),
    op("{0}.at[:, «0|1»].«set|add|mul»({1}[:, 1])", "BF BF", "BF", 1),
    op("{0}.at[1].apply(jnp.«abs|square|tanh»)", "BF", "BF", 0.7),
    op("jnp.«zeros|ones»((B, F)).at[{0}].«set|add|max»({1}[0])", "i BF", "BF", 1),
    op("{0}.at[:, 1].set(«0.0|1.0»)", "BF", "BF", 0.7),
    op("jax.ops.segment_sum({0}, {1}, T)", "BF Bi", "TF", 0.7),
    op("jax.ops.segment_max({0}, jnp.arange(B) % T, T)", "BF", "TF", 0.5),
    op("{0}[{1}]", "TF Bi", "BF", 0.7, rows=True),
    # Choices.
    op("jnp.where({0}, {1}, {2})", "BFm BF BF", "BF", 3, rows=True),
    op("jnp.where({0}, {1}, «0.0|0.0|1.0|-jnp.inf»)", "BFm BF", "BF", 2, rows=True),
    op("jnp.where({0}, {1}, {2})", "Fm F:p F:p", "F", 1, rows=True),
    op("jnp.where({0}, {1}, 0.0)", "FFm FF:p", "FF", 1.5, rows=True),
    op("jnp.where({0}, {1}, {2})", "FFm FF:p FF:p", "FF", 1, rows=True),
    op("jnp.where({0} == 0, {1}, {2})", "i S S:p", "S", 3, rows=True),
    op("{0} @ jnp.where({1} == 0, {2}, {3})", "BF i FF:p FF:p", "BF", 1.5, rows=True),
    op("jnp.where({0}, {1}, {2})", "m S S", "S", 2, rows=True),
    op("jnp.where({0} > {1}, {0}, {1})", "S S", "S", rows=True),
    op("jnp.where({0} > 0, {0}, {1} * {0})", "BF F:p", "BF", 1, rows=True),
    op("lax.select_n({0}, {1}, {2})", "m FF:p FF:p", "FF", 0.7, rows=True),
    op("jnp.where(jnp.arange(F) % 2 == 0, {0}, {1})", "BF BF", "BF", 1, rows=True),
    op("jnp.choose({0}, [{1}, {2}], mode='clip')", "i F:p F:p", "F", 0.3),
    op("{0} «>|<|>=» {1}", "BF BF", "BFm", 2, rows=True),
    op("{0} > «0.0|0.0|0.3|0.01»", "BF", "BFm", 1.5, rows=True),
    op("{0} > «0.0|0.2»", "FF:p", "FFm", 1, rows=True),
    op("{0} > {1}", "F F:p", "Fm", 0.7, rows=True),
    op("{0} «&|^» {1}", "BFm BFm", "BFm", 0.5, rows=True),
    op("~{0}", "BFm", "BFm", 0.3, rows=True),
    op("{0}.sum() > «0.0|0.3»", "BF", "m", 1),
    op("{0}.any()", "BFm", "m", 0.5),
    op("{0} > {1}", "1 1", "m", 0.7, rows=True),
    op("{0} * {1}", "BFm BF", "BF", 1, rows=True),
    # Normalisation.
    op(f"layer_norm({{0}}, {{1}}, {{2}}, {EPSILON})", "BF F:p F:p", "BF", 3, rows=True),
    op(f"rms_norm({{0}}, {{1}}, {EPSILON})", "BF F:p", "BF", 2, rows=True),
    op(f"standardise({{0}}, {EPSILON})", "BF", "BF", 1.5),
    op(f"unit_size({{0}}, {EPSILON})", "S", "S", 1, rows=True),
    op(f"unit_deviation({{0}}, {EPSILON})", "FF:p", "FF", 0.7, rows=True),
    op(
        f"batch_norm({{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {EPSILON}, «True|False»)",
        "BF F:mean F:var F:p F:p",
        "BF F F",
        1.5,
    ),
    # Random numbers.
    op("{1} + {2} * jax.random.normal({0}, (F, F))", "k FF:p FF:p", "FF", 1.5),
    op("{1} + 0.1 * jax.random.normal({0}, (F, F))", "k FF:p", "FF", 0.7),
    op("{1} + {2} * jax.random.normal({0}, (B, F))", "k BF 1:p", "BF", 0.7),
    op(
        "jnp.where(jax.random.bernoulli({0}, 0.5, {1}.shape), {1} / 0.5, 0.0)",
        "k BF",
        "BF",
        1.5,
    ),
    op("jax.random.uniform({0}, (F,))", "k", "F", 0.5),
    op("{0} * jax.random.normal(jax.random.key(1), (F,))", "BF", "BF", 0.7),
    op("jax.random.split({0})[0]", "k", "k", 0.3),
    # Functions inside.
    op("jax.jit({f0})({0})", "BF", "BF", 1, blocks=["BF > BF"]),
    op("jax.jit({f0})({0}, {1})", "BF FF:p", "BF BF", 1, blocks=["BF FF > BF BF"]),
    op("jax.checkpoint({f0})({0})", "BF", "BF", 1, blocks=["BF > BF"]),
    op("own_gradient({f0})({0})", "BF", "BF", 0.7, blocks=["BF > BF"]),
    op("own_pullback({f0})({0})", "BF", "BF", 0.5, blocks=["BF > BF"]),
    op("jax.vmap({f0})({0})", "BF", "BF", 1, blocks=["F > F"]),
    op("jax.vmap({f0})({0}, {1})", "BF BF", "BF", 0.7, blocks=["F F > F"]),
    op("jax.vmap({f0})({0}, {1})", "KBF KFF:p", "KBF", 0.7, blocks=["BF FF > BF"]),
    op("lax.cond({0}, {f0}, {f1})", "m", "BF", 2, blocks=["> BF", "> BF"]),
    op("lax.cond({0}, {f0}, {f1})", "m", "FF", 1, blocks=["> FF", "> FF"]),
    op("lax.cond({0}, lambda: {1}, lambda: {2})", "m FF:p FF:p", "FF", 2),
    op("lax.cond({0}, lambda: {1}, lambda: {2})", "m F:p F:p", "F", 1),
    op("lax.cond({0}, {f0}, {f1}, {1})", "m BF", "BF", 1, blocks=["BF > BF"] * 2),
    op(
        "lax.switch({0}, [{f0}, {f1}])",
        "i",
        "BF",
        1,
        blocks=["> BF", "> BF"],
    ),
    op(
        "lax.switch({0}, [lambda: {1}, lambda: {2}, lambda: {3}])",
        "i FF:p FF:p FF:p",
        "FF",
        1,
    ),
    *(
        op(
            f"scan({{f0}}, ({starts},), ({xs},){more})",
            f"{args} {inputs}",
            f"{kinds} {ys}",
            weight,
            blocks=[f"{kinds} {parts} > {kinds} {yparts}"],
        )
        for starts, args, kinds in (
            ("{0}", "BF", "BF"),
            ("{0}", "BF:z", "BF"),
            ("{0}, {1}", "BF BF:z", "BF BF"),
            ("{0}, {1}, {2}", "BF BF:z BF:z", "BF BF BF"),
            ("{0}, {1}", "F:z 1:z", "F 1"),
        )
        for xs, inputs, parts, ys, yparts, more, weight in (
            ("{A}", "KFF:p", "FF", "", "", "", 0.5),
            ("{A}, {B}", "KFF:p KF:p", "FF F", "KBF", "BF", "", 0.4),
            ("{A}", "KBF", "BF", "KBF", "BF", "", 0.4),
            ("{A}", "KBF", "BF", "", "", ", reverse=True", 0.3),
        )
        for count in [len(args.split())]
        for xs in [xs.replace("{A}", f"{{{count}}}").replace("{B}", f"{{{count + 1}}}")]
    ),
    op("fori(3, {f0}, ({0},))", "BF", "BF", 1, blocks=["i BF > BF"]),
    op("fori(2, {f0}, ({0}, {1},))", "BF BF:z", "BF BF", 1, blocks=["i BF BF > BF BF"]),
    op(
        "fori(6, {f0}, ({0}, {1}, {2}, {3},))",
        "BF BF:z BF:z BF:z",
        "BF BF BF BF",
        0.7,
        blocks=["i BF BF BF BF > BF BF BF BF"],
    ),
    *(
        op(
            f"loop({{f0}}, ({', '.join(f'{{{i}}}' for i in range(count))},),"
            " «0.0|1.0», «3.0|6.0», «None|None|0.5|0.01»)",
            " ".join(["BF", *["BF:z"] * (count - 1)]),
            " ".join(["BF"] * count),
            1.0,
            blocks=[f"1 {' '.join(['BF'] * count)} > {' '.join(['BF'] * count)}"],
        )
        for count in (1, 2, 3, 4)
    ),
)
"""All that programs do."""

REALS = ("BF", "BF", "BF", "BF", "F", "FF", "1")
"""What ``S`` may be, most likely a batch of features."""

PARAMETER_NAMES = {"FF": "w", "F": "b", "1": "a"}

MANY_NUMBERS = ("0.0", "1.0", "2.0", "-1.0", "0.5", "0.01", "1e-3", "1e-6")
CONSTANTS: dict[str, tuple[str, ...]] = {
    "1": (
        "jnp.asarray({number})",
        "jnp.imag(2j)",
        "jnp.abs(jnp.asarray(-2.0))",
        "jnp.full(10000, 0.01).sum()",
        "lax.optimization_barrier(jnp.asarray({number}))",
        "jnp.asarray(2).astype(float)",
    ),
    "F": (
        "jnp.full(F, {number})",
        "jnp.cumsum(jnp.ones(F))",
        "jnp.arange(F) + 1.0",
        "jnp.asarray([0.0, 1.0, 0.0, 2.0])",
        "jnp.asarray([0.3, -1.1, 0.7, 2.0])",
        "jnp.zeros(F)",
    ),
    "BF": ("jnp.full((B, F), {number})", "jnp.zeros((B, F))", "jnp.ones((B, F))"),
    "B1": ("jnp.full((B, 1), {number})", "jnp.arange(5.0)[:, None]"),
    "FF": (
        "jnp.eye(F)",
        "jnp.full((F, F), {number})",
        "jnp.arange(16.0).reshape(F, F) / 16",
    ),
    "FFm": ("jnp.tril(jnp.ones((F, F), bool))", "jnp.eye(F, dtype=bool)"),
    "Fm": ("jnp.arange(F) < 2",),
    "BFm": ("jnp.arange(B)[:, None] > jnp.arange(F)",),
    "i": ("jnp.asarray(1)",),
    "Bi": ("jnp.arange(B) % T",),
    "Bv": ("jnp.arange(B)", "jnp.asarray([3, 1, 4, 1, 5])"),
}
"""Arrays that depend on nothing."""

DATA = ("BF", "KBF", "BKF", "Bv", "BFm", "Fm", "FFm", "m", "i", "v", "Bi", "k")
"""Types of which the network gets inputs."""

OUTPUTS = ("BF", "F", "B1", "1", "KBF", "BKF", "TF")
"""Types that the network returns."""

BATCHED = ("BF", "BFm", "Bi", "Bv", "B1")
"""Types of inputs that have an example in each row."""


# Drawing programs.


class _Drawing:
    """A program while it is drawn."""

    def __init__(self, rng: np.random.Generator, rows: bool) -> None:
        self.rng = rng
        self.rows = rows
        self.params: list[Name] = []
        self.stats: list[tuple[Name, Name]] = []
        self.inputs: list[Name] = []
        self.count = 0
        # A few kinds of lines for each program: so each kind is frequent in some, and
        # in some nothing holds all scales fixed, which would hide what goes wrong.
        table = [o for o in OPERATIONS if o.rows or not rows]
        common = [o for o in table if o.weight >= 6]
        few = int(rng.choice([1, 2, 4, 8, 30]))
        chances = np.sqrt([o.weight for o in table])
        chosen = rng.choice(len(table), few, replace=False, p=chances / chances.sum())
        self.operations = [*common, *(table[i] for i in chosen)]
        weights = np.asarray([1.0] * len(common) + [12 / few + 1] * few)
        self.chances = weights / weights.sum()

    def name(self, letter: str, kind: str) -> Name:
        self.count += 1
        return Name(f"{letter}{self.count}", kind)

    def parameter(self, kind: str) -> Name:
        if self.rows and kind in BATCHED:
            return self.input(kind)  # A parameter has no examples.
        self.params.append(self.name(PARAMETER_NAMES.get(kind, "p"), kind))
        return self.params[-1]

    def leaf(self, kind: str) -> Name:
        """A new input where such are data, or else a new parameter."""
        chance = self.rng.random()
        if kind in DATA or (chance < 0.15 and kind in ("F", "1", "FF")):
            if kind in ("BF", "KBF", "BKF") and chance < 0.05 and not self.rows:
                return self.parameter(kind)
            return self.input(kind)
        return self.parameter(kind)

    def input(self, kind: str) -> Name:
        self.inputs.append(self.name("x", kind))
        return self.inputs[-1]

    def constant(self, kind: str, lines: list[Line]) -> Name | None:
        if kind not in CONSTANTS or (self.rows and kind in BATCHED):
            return None
        template = str(self.rng.choice(CONSTANTS[kind]))
        template = template.replace("{number}", str(self.rng.choice(MANY_NUMBERS)))
        result = self.name("k", kind)
        lines.append(Line(template, (), (result,), rows=kind not in BATCHED))
        ways = [o for o in OPERATIONS if o.args in ((kind,), ("S",)) and not o.blocks]
        ways = [o for o in ways if o.results in ((kind,), ("S",))]
        while ways and kind in REALS and self.rng.random() < 0.4:
            # Then by any primitive.
            way = ways[int(self.rng.integers(len(ways)))]
            before, result = result, self.name("k", kind)
            template = self.chosen(way.template)
            lines.append(Line(template, (before,), (result,), rows=way.rows))
        return result

    def chosen(self, template: str) -> str:
        """With one at random of each set of alternatives."""
        return re.sub(
            "«(.*?)»",
            lambda match: str(self.rng.choice(match[1].split("|"))),
            template,
        )

    def argument(
        self, kind: str, hint: str, scope: Sequence[Name], lines: list[Line]
    ) -> Name | None:
        rng = self.rng
        if hint in ("mean", "var"):
            return self.name(hint, kind)
        there = [name for name in scope if name.kind == kind]
        chances = {"p": (0.6, 0.75), "z": (0.15, 0.6), "": (0.0, 0.1)}[hint]
        chance = rng.random()
        if kind.endswith("c"):
            return there[int(rng.integers(len(there)))] if there else None
        if chance < chances[0] and hint:
            return self.parameter(kind)
        if kind == "BF" and hint != "z":
            chance *= 2  # Networks are rarely about constants.
        if chance < chances[1] or (not there and chance < 0.3):
            found = self.constant(kind, lines)
            if found is not None:
                return found
        if there:
            # Rather the latest.
            back = min(int(rng.exponential(1.2)), len(there) - 1)
            return there[-1 - back]
        return self.leaf(kind) if kind not in ("B1", "TF") or hint else None

    def line(self, scope: list[Name], depth: int) -> list[Line]:
        """A random line, with the constants that it needs; it adds to the scope."""
        rng = self.rng
        while True:
            choice = self.operations[int(rng.choice(len(self.chances), p=self.chances))]
            if choice.blocks and (depth == 0 or rng.random() < 0.3):
                continue
            real = str(rng.choice(REALS))
            if "S" in choice.args and rng.random() < 0.85:
                there = [n.kind for n in scope if n.kind in REALS]
                real = str(rng.choice(there)) if there else real
            if depth < 2 and any(
                arg.endswith((":mean", ":var")) for arg in choice.args
            ):
                continue
            before = len(self.params), len(self.inputs)
            lines: list[Line] = []
            args = []
            for arg in choice.args:
                kind, _, hint = arg.partition(":")
                kind = real if kind == "S" else kind
                found = self.argument(kind, hint, scope, lines)
                if found is None:
                    break
                args.append(found)
            else:
                break
            del self.params[before[0] :], self.inputs[before[1] :]
        blocks = []
        for types in choice.blocks:
            takes, _, gives = types.partition(">")
            blocks.append(self.block(takes.split(), gives.split(), scope, depth - 1))
        results = tuple(
            self.name("v", real if kind == "S" else kind) for kind in choice.results
        )
        template = self.chosen(choice.template)
        if choice.blocks and len(choice.results) == 1:
            template = f"({template})[0]"
        if args and args[-1] and "«True" in choice.template:  # Batch normalisation.
            self.stats += [(args[1], results[1]), (args[2], results[2])]
        lines.append(
            Line(
                template, tuple(args), results, tuple(blocks), choice.swaps, choice.rows
            )
        )
        scope += [result for line in lines for result in line.results]
        return lines

    def block(
        self, takes: Sequence[str], gives: Sequence[str], scope: list[Name], depth: int
    ) -> Block:
        args = tuple(self.name("c", kind) for kind in takes)
        inner = [*scope, *args]
        lines: list[Line] = []
        for _ in range(int(self.rng.integers(1, 4))):
            lines += self.line(inner, depth)
        results = []
        carries = [arg for arg in args if arg.kind == "BF"]
        delays = len(gives) > 1 and self.rng.random() < 0.5
        for i, kind in enumerate(gives):
            if delays and 0 < i <= len(carries) and kind == "BF":
                results.append(carries[i - 1])  # A delay line.
                continue
            found = self.argument(kind, "", inner, lines)
            if found is None or (i == 0 and found in scope):
                made = [n for n in inner[len(scope) :] if n.kind == kind]
                found = made[-1] if made else found or self.parameter(kind)
            results.append(found)
        return Block(args, tuple(lines), tuple(results))


def draw(*seed: int) -> Program:
    """The random program of a seed."""
    rng = np.random.default_rng(seed)
    while True:
        program = _drawn(seed, rng)
        data = [name for name in program.inputs if name.kind in DATA[:4]]
        if data and len(program.params) > int(rng.random() < 0.9):
            return program


def _drawn(seed: tuple[int, ...], rng: np.random.Generator) -> Program:
    drawing = _Drawing(rng, rows=rng.random() < 0.25)
    scope = [drawing.input("BF")]
    lines: list[Line] = []
    made: list[Name] = []
    count = int(rng.choice([3, 4, 5, 7, 10]))
    if rng.random() < 0.8:  # Most networks begin with a layer.
        first = drawing.name("v", "BF")
        args = (scope[0], drawing.parameter("FF"), drawing.parameter("F"))
        shift = " + {2}" if rng.random() < 0.5 else ""
        template = str(rng.choice(["{0} @ {1}", "jax.nn.relu({0} @ {1})"]))
        lines.append(Line(template + shift, args, (first,), rows=True))
        scope.append(first)
    while len(lines) < count or not made:
        new = drawing.line(scope, depth=2)
        lines += new
        if new[-1].args:  # More than a constant.
            made += [n for n in new[-1].results if n.kind in OUTPUTS]
    if rng.random() < 0.4 and made[-1].kind == "BF":  # And end with one.
        last = drawing.name("v", "BF")
        args = (made[-1], drawing.parameter("FF"))
        lines.append(Line("{0} @ {1}", args, (last,), rows=True))
        made.append(last)
    outputs = [made[-1]]
    for _ in range(int(rng.choice(3, p=[0.6, 0.25, 0.15]))):
        outputs.append(made[int(rng.integers(len(made)))])
    program = Program(
        seed,
        tuple(drawing.params),
        tuple(drawing.stats),
        tuple(drawing.inputs),
        tuple(lines),
        tuple(dict.fromkeys(outputs)),
    )
    return without_dead_lines(program)


# Looking through programs and changing them.


def _used(lines: Sequence[Line]) -> Iterator[Name]:
    for line in lines:
        yield from line.args
        for block in line.blocks:
            yield from _used(block.lines)
            yield from block.results


def _alive(lines: Sequence[Line], wanted: set[Name]) -> tuple[Line, ...]:
    """The lines that the wanted names need; adds to the wanted what they take."""
    kept = []
    for line in reversed(lines):
        if not wanted.intersection(line.results):
            continue
        blocks = []
        for block in line.blocks:
            inside = {*block.results}
            blocks.append(dataclasses.replace(block, lines=_alive(block.lines, inside)))
            wanted |= inside
        wanted |= {*line.args}
        kept.append(dataclasses.replace(line, blocks=tuple(blocks)))
    return tuple(reversed(kept))


def _trimmed(lines: Sequence[Line], wanted: set[Name]) -> tuple[Line, ...]:
    """Loops without what nobody uses: parts of the state, and what they gather."""
    wanted = {*wanted, *_used(lines)}
    return tuple(_trimmed_line(line, wanted) for line in lines)


def _trimmed_line(line: Line, wanted: set[Name]) -> Line:
    blocks = tuple(
        dataclasses.replace(block, lines=_trimmed(block.lines, {*block.results}))
        for block in line.blocks
    )
    line = dataclasses.replace(line, blocks=blocks)
    kind = line.template.lstrip("(").partition("(")[0]
    if kind not in ("scan", "fori", "loop") or line.template.startswith("("):
        return line
    (block,) = line.blocks
    counters = kind != "scan"  # The first argument is a counter.
    carries = line.template.partition(")")[0].count("{") - 1
    for k in reversed(range(len(line.args))):
        j = k + counters
        arg = block.args[j]
        is_state = k < carries
        if (kind == "loop" and k == 0) or (
            not is_state and len(line.args) == carries + 1
        ):
            continue  # The condition reads the first; and something must be scanned.
        uses = [*_used(block.lines), *block.results]
        if is_state:
            if line.results[k] in wanted or len(line.results) == 1:
                continue
            uses.remove(block.results[k]) if block.results[k] == arg else None
        if arg in uses:
            continue
        template = line.template.replace(f"{{{k}}}, ", "").replace(f"{{{k}}},", "")
        for after in range(k + 1, len(line.args)):
            template = template.replace(f"{{{after}}}", f"{{{after - 1}}}")
        results, inner = line.results, block.results
        if is_state:
            carries -= 1
            results = (*results[:k], *results[k + 1 :])
            inner = (*inner[:k], *inner[k + 1 :])
        block = Block((*block.args[:j], *block.args[j + 1 :]), block.lines, inner)
        args = (*line.args[:k], *line.args[k + 1 :])
        line = dataclasses.replace(line, template=template, args=args, results=results)
    gathered = [
        k
        for k in range(len(line.results))
        if k < carries or line.results[k] in wanted or len(line.results) == 1
    ]
    results = tuple(line.results[k] for k in gathered)
    inner = tuple(block.results[k] for k in gathered)
    block = dataclasses.replace(block, results=inner)
    template = line.template if len(results) > 1 else f"({line.template})[0]"
    return dataclasses.replace(
        line, template=template, results=results, blocks=(block,)
    )


def without_dead_lines(program: Program) -> Program:
    """Without the lines, leaves and statistics that no output needs."""
    lines = program.lines
    for _ in range(2):
        lines = _trimmed(_alive(lines, {*program.outputs}), {*program.outputs})
    made = {result for line in lines for result in line.results}
    used = {*_used(lines), *program.outputs}
    return dataclasses.replace(
        program,
        params=tuple(name for name in program.params if name in used),
        inputs=tuple(name for name in program.inputs if name in used),
        stats=tuple(
            (name, new) for name, new in program.stats if {name, new} & (used | made)
        ),
        lines=lines,
    )


def reordered(program: Program, rng: np.random.Generator) -> Program:
    """Independent lines in another order, and operands swapped where that is equal."""
    lines = _shuffled(program.lines, rng)
    return dataclasses.replace(program, lines=lines)


def _shuffled(lines: Sequence[Line], rng: np.random.Generator) -> tuple[Line, ...]:
    made = {result for line in lines for result in line.results}
    waiting = list(lines)
    done: set[Name] = set()
    order = []
    while waiting:
        ready = [line for line in waiting if not made & {*_used([line])} - done]
        line = ready[int(rng.integers(len(ready)))]
        waiting.remove(line)
        done |= {*line.results}
        args = line.args
        if line.swaps and rng.random() < 0.7:
            args = (args[1], args[0], *args[2:])
        blocks = tuple(
            dataclasses.replace(block, lines=_shuffled(block.lines, rng))
            for block in line.blocks
        )
        order.append(dataclasses.replace(line, args=args, blocks=blocks))
    return tuple(order)


def smaller(program: Program) -> Iterator[Program]:
    """Programs with a little less in them, the smallest first."""
    if len(program.outputs) > 1:
        for output in program.outputs:
            yield without_dead_lines(dataclasses.replace(program, outputs=(output,)))
    for line in program.lines:  # An earlier value as the output.
        for result in line.results:
            if result.kind in OUTPUTS and line.args:
                yield without_dead_lines(
                    dataclasses.replace(program, outputs=(result,))
                )
    leaves = [*program.inputs, *program.params]
    for line, scope in _with_scopes(program.lines, leaves):
        for result in line.results:
            others = [*line.args, *scope]
            for other in dict.fromkeys(others):
                if other.kind == result.kind:
                    yield _replaced(program, result, other)
            if result.kind in ("BF", "KBF", "BKF"):
                fresh = Name(f"x{result.text}", result.kind)
                if fresh not in program.inputs:
                    yield _replaced(
                        dataclasses.replace(program, inputs=(*program.inputs, fresh)),
                        result,
                        fresh,
                    )
        for k, block in enumerate(line.blocks):
            for j, result in enumerate(block.results):
                for other in block.args:
                    if other.kind == result.kind and other != result:
                        results = (*block.results[:j], other, *block.results[j + 1 :])
                        changed = dataclasses.replace(block, results=results)
                        blocks = (*line.blocks[:k], changed, *line.blocks[k + 1 :])
                        new = dataclasses.replace(line, blocks=blocks)
                        yield without_dead_lines(
                            dataclasses.replace(
                                program, lines=_exchanged(program.lines, line, new)
                            )
                        )
    for leaf in leaves:  # Fewer leaves.
        for other in leaves:
            if other is leaf:
                break
            if other.kind == leaf.kind and (leaf in program.inputs) == (
                other in program.inputs
            ):
                yield _replaced(program, leaf, other)


def _with_scopes(
    lines: Sequence[Line], scope: Sequence[Name]
) -> Iterator[tuple[Line, list[Name]]]:
    scope = list(scope)
    for line in lines:
        yield line, list(scope)
        for block in line.blocks:
            yield from _with_scopes(block.lines, [*scope, *block.args])
        scope += line.results


def _exchanged(lines: Sequence[Line], old: Line, new: Line) -> tuple[Line, ...]:
    return tuple(
        new
        if line == old
        else dataclasses.replace(
            line,
            blocks=tuple(
                dataclasses.replace(block, lines=_exchanged(block.lines, old, new))
                for block in line.blocks
            ),
        )
        for line in lines
    )


def _replaced(program: Program, old: Name, new: Name) -> Program:
    """With one name for another, wherever it is used."""

    def names(used: Sequence[Name]) -> tuple[Name, ...]:
        return tuple(new if name == old else name for name in used)

    def changed(lines: Sequence[Line]) -> tuple[Line, ...]:
        return tuple(
            dataclasses.replace(
                line,
                args=names(line.args),
                blocks=tuple(
                    dataclasses.replace(
                        block, lines=changed(block.lines), results=names(block.results)
                    )
                    for block in line.blocks
                ),
            )
            for line in lines
        )

    return without_dead_lines(
        dataclasses.replace(
            program,
            lines=changed(program.lines),
            outputs=tuple(dict.fromkeys(names(program.outputs))),
        )
    )


def with_templates(program: Program, change: Callable[[str], str]) -> Program:
    """With the text of each line changed."""

    def changed(lines: Sequence[Line]) -> tuple[Line, ...]:
        return tuple(
            dataclasses.replace(
                line,
                template=change(line.template),
                blocks=tuple(
                    dataclasses.replace(block, lines=changed(block.lines))
                    for block in line.blocks
                ),
            )
            for line in lines
        )

    return dataclasses.replace(program, lines=changed(program.lines))


def reads_states(program: Program) -> bool:
    """Whether all loops read the state that they are given."""
    return _reads_states(program.lines)


def _reads_states(lines: Sequence[Line]) -> bool:
    return all(
        _reads_states(block.lines)
        and {*block.args[: len(block.results)]} <= {*_used(block.lines), *block.results}
        for line in lines
        for block in line.blocks
        if "scan(" in line.template
    )
