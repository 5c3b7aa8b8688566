"""Every rule against numbers: scale the leaves, run, compare."""

import flax.linen as nn
import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
import numpy as np
import pytest

from swr_optax.planning._constraints import solve_exponents
from swr_optax.planning.degrees import INNER, Walk, walk_network
from swr_optax.planning.degrees._primitives import IDENTITIES, PRIMITIVES

A = np.array([[1.5, -2.0, 3.0, 0.5], [2.0, 1.0, -0.3, 4.0], [-1.0, 2.5, 0.2, 6.0]])
B = np.array([[0.7, 2.1, -1.2, 3.0], [-0.4, 5.0, 1.1, -2.0], [3.0, -0.9, 2.2, 0.8]])

MESH = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))


EVERYWHERE = jax.sharding.PartitionSpec()


def tracked(fn, check_vma=True):
    """The function as each device runs it, with what varies among them tracked."""
    return jax.shard_map(
        fn,
        mesh=MESH,
        in_specs=EVERYWHERE,
        out_specs=EVERYWHERE,
        check_vma=check_vma,
    )


def sharded(fn):
    """The function as each device runs it."""
    return tracked(fn, check_vma=False)


CASES = {
    # Degrees add or subtract.
    "mul": lambda a, b: a * b,
    "dot_general": lambda a, b: a @ b.T,
    "conv_general_dilated": lambda a, b: lax.conv(
        a[None, None], b[None, None], (1, 1), "SAME"
    ),
    "ragged_dot_general": lambda a, b: lax.ragged_dot(
        a, jnp.stack([b.T, 2 * b.T]), jnp.array([1, 2])
    ),
    "div": lambda a, b: a / b,
    # Degree times an exponent.
    "square": lambda a, b: lax.square(a) * b,
    "sqrt": lambda a, b: jnp.sqrt(a * a) * b,
    "rsqrt": lambda a, b: lax.rsqrt(a * a * a * a) * b,
    "cbrt": lambda a, b: lax.cbrt(a) * b,
    "integer_pow": lambda a, b: a**5 * b,
    "pow": lambda a, b: jnp.abs(a) ** 1.7 * b,
    "reduce_prod": lambda a, b: a.prod(0) * b,
    "cholesky": lambda a, b: lax.linalg.cholesky(a @ a.T, symmetrize_input=False) @ b,
    "triangular_solve": lambda a, b: lax.linalg.triangular_solve(
        a[:, :3], b, left_side=True
    ),
    # Degree passes through.
    "abs": lambda a, b: jnp.abs(a) * b,
    "neg": lambda a, b: -a * b,
    "copy": lambda a, b: jnp.copy(a) * b,
    "real": lambda a, b: jnp.real(lax.complex(a, a)) * b,
    "imag": lambda a, b: jnp.imag(lax.complex(a, a)) * b,
    "conj": lambda a, b: jnp.abs(jnp.conj(lax.complex(a, a))) * b,
    "stop_gradient": lambda a, b: jax.jit(lax.stop_gradient)(a) * b,
    "name": lambda a, b: checkpoint_name(a, "a") * b,
    "sharding_constraint": lambda a, b: (
        lax.with_sharding_constraint(
            a, jax.sharding.SingleDeviceSharding(jax.devices()[0])
        )
        * b
    ),
    "reduce_precision": lambda a, b: lax.reduce_precision(a, 11, 52) * b,
    "reshape": lambda a, b: a.reshape(4, 3) * b.reshape(4, 3),
    "broadcast_in_dim": lambda a, b: jnp.broadcast_to(a, (2, 3, 4)) * b,
    "tile": lambda a, b: jnp.tile(a, (2, 1)) * jnp.tile(b, (2, 1)),
    "transpose": lambda a, b: a.T * b.T,
    "squeeze": lambda a, b: lax.squeeze(a[None] * b, (0,)),
    "rev": lambda a, b: a[::-1] * b,
    "slice": lambda a, b: a[1:] * b[:-1],
    "unstack": lambda a, b: jnp.unstack(a)[1] * b[0],
    "split": lambda a, b: jnp.multiply(*jnp.split(a * b, 2, axis=1)),
    "dynamic_slice": lambda a, b: lax.dynamic_slice(a, (1, 0), (2, 4)) * b[1:],
    "sort": lambda a, b: jnp.sort(a) * b,
    "top_k": lambda a, b: lax.top_k(a, 2)[0] * b[:, :2],
    "psum": lambda a, b: jax.vmap(lambda a: lax.psum(a, "i"), axis_name="i")(a) * b,
    "pmax": lambda a, b: jax.vmap(lambda a: lax.pmax(a, "i"), axis_name="i")(a) * b,
    "pmin": lambda a, b: jax.vmap(lambda a: lax.pmin(a, "i"), axis_name="i")(a) * b,
    "all_gather": sharded(lambda a, b: lax.all_gather(a, "i")[0] * b),
    "all_to_all": sharded(lambda a, b: lax.all_to_all(a[:1], "i", 0, 0) * b),
    "ppermute": sharded(lambda a, b: lax.ppermute(a, "i", [(0, 0)]) * b),
    "pvary": tracked(lambda a, b: lax.psum(lax.pcast(a, "i", to="varying"), "i") * b),
    "psum_invariant": tracked(
        lambda a, b: lax.psum(lax.pcast(a * b, "i", to="varying"), "i")
    ),
    "reduce_scatter": sharded(lambda a, b: lax.psum_scatter(a[:1], "i") * b),
    "optimization_barrier": lambda a, b: jnp.multiply(
        *lax.optimization_barrier((a, a * b))
    ),
    "device_put": lambda a, b: jax.device_put(a) * b,
    "approx_top_k": lambda a, b: lax.approx_max_k(a, 2)[0] * b[:, :2],
    "fft": lambda a, b: jnp.abs(jnp.fft.fft(a)) * b,
    "reduce_sum": lambda a, b: a.sum() * b,
    "reduce_max": lambda a, b: a.max(0) * b,
    "reduce_min": lambda a, b: a.min(0) * b,
    "reduce_window_sum": lambda a, b: nn.avg_pool(a[..., None], (2,)) * b[:, :1, None],
    "reduce_window_max": lambda a, b: nn.max_pool(a[..., None], (2,)) * b[:, :1, None],
    "reduce_window_min": lambda a, b: (
        nn.pool(a[..., None], jnp.inf, lax.min, (2,), (1,), "VALID") * b[:, :1, None]
    ),
    "cumsum": lambda a, b: jnp.cumsum(a, 1) * b,
    "cummax": lambda a, b: lax.cummax(a) * b,
    "cummin": lambda a, b: lax.cummin(a) * b,
    "convert_element_type": lambda a, b: a.astype(jnp.complex128).real * b,
    "gather": lambda a, b: a[jnp.array([0, 2]), jnp.array([1, 1])] * b[0, :1],
    "complex": lambda a, b: jnp.abs(lax.complex(a, b)),
    # Operands must agree.
    "add": lambda a, b: a + b,
    "add_any": lambda a, b: jax.vjp(lambda a: (a * b, a * b), a)[1]((b, b))[0],
    "sub": lambda a, b: a - b,
    "max": lambda a, b: jnp.maximum(a, b),
    "min": lambda a, b: jnp.minimum(a, b),
    "clamp": lambda a, b: lax.clamp(-jnp.abs(b), a, jnp.abs(b)),
    "rem": lambda a, b: lax.rem(a, b),
    "stack": lambda a, b: jnp.stack([a, b]).sum(0),
    "scatter-sub": lambda a, b: a.at[jnp.array([1, 1])].subtract(b[:2]),
    "scatter-mul": lambda a, b: a.at[1].multiply(2.0) * b,
    "concatenate": lambda a, b: jnp.concatenate([a, b, jnp.zeros((3, 4))]),
    "pad": lambda a, b: jnp.pad(a, 1) * jnp.pad(b, 1),
    "select_n": lambda a, b: jnp.where(a > 0, a, b),
    "dynamic_update_slice": lambda a, b: lax.dynamic_update_slice(a, b[:1], (1, 0)),
    "scatter": lambda a, b: a.at[1].set(b[0]),
    "scatter-add": lambda a, b: a.at[jnp.array([1, 1])].add(b[:2]),
    "scatter-max": lambda a, b: a.at[jnp.array([1, 1])].max(b[:2]),
    "scatter-min": lambda a, b: a.at[jnp.array([1, 1])].min(b[:2]),
    # Operands must agree, and the result has no scale.
    "eq": lambda a, b: (a == b) * (a * b),
    "ne": lambda a, b: (a != b) * (a * b),
    "lt": lambda a, b: (a < b) * (a * b),
    "le": lambda a, b: (a <= b) * (a * b),
    "gt": lambda a, b: (a > b) * (a * b),
    "ge": lambda a, b: (a >= b) * (a * b),
    "atan2": lambda a, b: jnp.arctan2(a, b) * a * b,
    # No scale comes out, whatever goes in.
    "sign": lambda a, b: jnp.sign(a) * b,
    "is_finite": lambda a, b: jnp.isfinite(a) * b,
    "argmax": lambda a, b: jnp.argmax(a) * b,
    "argmin": lambda a, b: jnp.argmin(a) * b,
    # Operands must not scale.
    "exp": lambda a, b: jnp.exp(a) * b,
    "exp2": lambda a, b: jnp.exp2(a) * b,
    "expm1": lambda a, b: jnp.expm1(a) * b,
    "log": lambda a, b: jnp.log(jnp.abs(a)) * b,
    "log1p": lambda a, b: jnp.log1p(jnp.abs(a)) * b,
    "logistic": lambda a, b: jax.nn.sigmoid(a) * b,
    "tanh": lambda a, b: jnp.tanh(a) * b,
    "sin": lambda a, b: jnp.sin(a) * b,
    "cos": lambda a, b: jnp.cos(a) * b,
    "tan": lambda a, b: jnp.tan(a) * b,
    "asin": lambda a, b: jnp.arcsin(a / 10) * b,
    "acos": lambda a, b: jnp.arccos(a / 10) * b,
    "atan": lambda a, b: jnp.arctan(a) * b,
    "sinh": lambda a, b: jnp.sinh(a) * b,
    "cosh": lambda a, b: jnp.cosh(a) * b,
    "asinh": lambda a, b: jnp.arcsinh(a) * b,
    "acosh": lambda a, b: jnp.arccosh(1 + jnp.abs(a)) * b,
    "atanh": lambda a, b: jnp.arctanh(a / 10) * b,
    "lgamma": lambda a, b: lax.lgamma(jnp.abs(a)) * b,
    "digamma": lambda a, b: lax.digamma(jnp.abs(a)) * b,
    "cumlogsumexp": lambda a, b: lax.cumlogsumexp(a) * b,
    "erf": lambda a, b: lax.erf(a) * b,
    "erfc": lambda a, b: lax.erfc(a) * b,
    "erf_inv": lambda a, b: lax.erf_inv(a / 10) * b,
    "bessel_i0e": lambda a, b: lax.bessel_i0e(a) * b,
    "bessel_i1e": lambda a, b: lax.bessel_i1e(a) * b,
    "cumprod": lambda a, b: jnp.cumprod(a, 0) * b,
    "igamma": lambda a, b: lax.igamma(jnp.abs(a), jnp.abs(a)) * b,
    "igammac": lambda a, b: lax.igammac(jnp.abs(a), jnp.abs(a)) * b,
    "nextafter": lambda a, b: lax.nextafter(a, 2 * a) * b,
    "polygamma": lambda a, b: lax.polygamma(1.0, jnp.abs(a)) * b,
    "regularized_incomplete_beta": lambda a, b: (
        lax.betainc(jnp.abs(a), 1.0, 0.5 + 0 * a) * b
    ),
    "zeta": lambda a, b: lax.zeta(2.0, jnp.abs(a)) * b,
    "floor": lambda a, b: jnp.floor(a) * b,
    "ceil": lambda a, b: jnp.ceil(a) * b,
    "round": lambda a, b: jnp.round(a) * b,
}

MORE_CASES = {
    "unit triangular": lambda a, b: lax.linalg.triangular_solve(
        jnp.tril(a @ a.T), b, left_side=True, lower=True, unit_diagonal=True
    ),
    "relu": lambda a, b: jax.nn.relu(a) * b,
    "leaky relu": lambda a, b: jax.nn.leaky_relu(a @ b.T),
    "masked with -inf": lambda a, b: jnp.where(a > 0, a @ b.T @ a, -jnp.inf).max(),
    "gelu": lambda a, b: jax.nn.gelu(a) * b,
    "gelu of a ratio": lambda a, b: jax.nn.gelu(a / jnp.linalg.norm(a)) * b,
    "one plus": lambda a, b: (1 + a) * b,
    "to integer": lambda a, b: a.astype(jnp.int32) * b,
    "unknown power": lambda a, b: jnp.abs(a) ** b,
    "remat": lambda a, b: jax.checkpoint(lambda a: jnp.sin(a) * a)(a) * b,
    "closed over": lambda a, b: a * jnp.asarray(B) + b,
    "sorted by keys": lambda a, b: lax.sort((a, b), num_keys=1, dimension=0)[1] * a,
}


OF_INTEGERS = {
    "and",
    "axis_index",
    "bitcast_convert_type",
    "clz",
    "eq_to",
    "iota",
    "le_to",
    "lt_to",
    "not",
    "or",
    "population_count",
    "reduce_and",
    "reduce_or",
    "reduce_xor",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
    "xor",
}
"""Primitives that take no numbers with a scale, or none at all."""


def walk_of(fn):
    jaxpr = jax.make_jaxpr(fn)(A, B)
    walk = Walk(["a", "b"], {}, [True, True])
    return walk, walk_network(walk, jaxpr, [0, 1]), jaxpr


def allowed_scalings(walk):
    """A basis of all s that keep what the walk demands."""
    rows = np.reshape(
        [r.row for r in walk.requirements if r.kind != "approximate"], (-1, 2)
    )
    return solve_exponents(rows, [0, 1], "function").T


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", [*CASES, *MORE_CASES])
def test_predicted_degree_is_the_measured_one(name):
    fn = (CASES | MORE_CASES)[name]
    walk, values, _ = walk_of(fn)
    outputs = jax.tree.leaves(fn(jnp.asarray(A), jnp.asarray(B)))
    for scaling in allowed_scalings(walk):
        s = 0.4 * scaling
        scaled = jax.tree.leaves(fn(jnp.exp(s[0]) * A, jnp.exp(s[1]) * B))
        for old, new, value in zip(outputs, scaled, values, strict=True):
            np.testing.assert_allclose(new, np.exp(value.degree @ s) * old, rtol=1e-9)


def primitives(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        name = eqn.primitive.name
        if name in INNER or name == "shard_map":
            inner = eqn.params[INNER.get(name, "jaxpr")]
            yield from primitives(getattr(inner, "jaxpr", inner))


NEEDLESS = {"copy_p", "mesh_cast", "reshard"}
"""Names that a primitive has in other versions of JAX, and what other meshes need."""


def test_every_entry_is_exercised():
    noise = {name for name, entry in PRIMITIVES.items() if entry.noise}
    table = {*PRIMITIVES, *IDENTITIES} - noise - OF_INTEGERS - NEEDLESS
    assert table == {*CASES}


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_its_primitive(name):
    assert name in set(primitives(walk_of(CASES[name])[2].jaxpr))


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("mul", 2), ("add", 1), ("max", 1), ("concatenate", 1), ("select_n", 0)],
)
def test_demands_no_more_than_needed(name, dimensions):
    """``where(a > 0, a, b)``, for one, only asks that the two are alike."""
    walk, _, _ = walk_of(CASES[name])
    rank = np.linalg.matrix_rank(allowed_scalings(walk))
    assert rank == (dimensions or 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tanh", "a feeds 'tanh', which is not homogeneous: its scale must not change"),
        ("add", "a and b meet in 'add' and must share one scale"),
        ("one plus", "the number 1 and a meet in 'add' and must share one scale"),
    ],
)
def test_says_what_it_demands_and_where(name, words):
    walk, _, _ = walk_of((CASES | MORE_CASES)[name])
    assert [r.words for r in walk.requirements] == [words]


@pytest.mark.parametrize("name", ["gelu", "silu", "softmax"])
def test_names_the_function_around_a_primitive(name):
    walk, _, _ = walk_of(lambda a, b: getattr(jax.nn, name)(a) * b)
    assert walk.requirements
    assert all(r.words.endswith(f"(in {name})") for r in walk.requirements)


def test_an_unknown_primitive_is_treated_as_nonlinear():
    walk, _, _ = walk_of(lambda a, b: lax.linalg.qr(a)[1] * b)
    (requirement,) = walk.requirements
    assert requirement.kind == "unknown"
    assert requirement.words.startswith("a feeds 'qr', for which there is no rule")


def test_a_small_constant_is_an_approximation():
    walk, values, _ = walk_of(lambda a, b: a / (jnp.abs(b) + 1e-6))
    assert [r.kind for r in walk.requirements] == ["approximate"]
    assert "meets the constant 1e-06 in 'add'" in walk.requirements[0].words
    np.testing.assert_array_equal(values[0].degree, [1, -1])


@pytest.mark.parametrize(
    ("cast", "digits"),
    [
        (lambda a: a.astype(jnp.float16), None),
        (lambda a: a.astype(jnp.bfloat16), None),
        (lambda a: a.astype(jnp.float8_e4m3fn), 3),
        (lambda a: a.astype(jnp.float8_e5m2), 2),
        (lambda a: a.astype(jnp.float4_e2m1fn), 1),
        (lambda a: lax.reduce_precision(a, 5, 4), 4),
        (lambda a: lax.reduce_precision(a, 8, 7), None),
        (lambda a: (a / jnp.abs(a).max()).astype(jnp.float8_e4m3fn), None),
    ],
)
def test_few_digits_are_an_approximation(cast, digits):
    walk, values, _ = walk_of(lambda a, b: cast(a).astype(jnp.float64) * b)
    assert [r.kind for r in walk.requirements] == ["approximate"] * (digits is not None)
    for requirement in walk.requirements:
        assert f"a keeps {digits} binary digits in" in requirement.words
    assert values[0].degree[1] == 1


def test_roles_come_from_how_leaves_first_meet_the_data():
    def fn(leaves, x, indices):
        table = leaves["table"].T.reshape(3, 4)[indices]
        low_rank = leaves["low"] @ leaves["rank"]
        x = table * 0.5 * (x @ (2 * leaves["kernel"] + low_rank)) + leaves["shift"]
        x = x + leaves["by_class"][indices]
        x = x - x.mean(0, keepdims=True) + leaves["position"][np.arange(5)]
        standardised = leaves["standardised"] - leaves["standardised"].mean()
        x = (x * leaves["scale"]) @ (standardised * np.tri(4))
        return x * jnp.exp(leaves["log_scale"])

    leaves = {
        "by_class": np.ones((9, 4)),
        "kernel": np.ones((4, 4)),
        "log_scale": np.ones(4),
        "low": np.ones((4, 2)),
        "position": np.ones((9, 4)),
        "rank": np.ones((2, 4)),
        "scale": np.ones(4),
        "shift": np.ones(4),
        "standardised": np.ones((4, 4)),
        "table": np.ones((4, 3)),
        "unused": np.ones(2),
    }
    jaxpr = jax.make_jaxpr(fn)(leaves, np.ones((5, 4)), np.zeros(5, np.int32))
    count = len(leaves)
    walk = Walk(list(leaves), {}, [True] * count)
    walk_network(walk, jaxpr, range(count))
    roles = {name: walk.roles.get(i, "unused") for i, name in enumerate(leaves)}
    assert roles == {
        "by_class": "shift",
        "kernel": "weight",
        "log_scale": "unused",
        "low": "weight",
        "position": "shift",
        "rank": "weight",
        "scale": "weight",
        "shift": "shift",
        "standardised": "weight",
        "table": "weight",
        "unused": "unused",
    }
