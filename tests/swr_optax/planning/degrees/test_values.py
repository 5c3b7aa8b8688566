"""Random computation graphs: predicted degrees are the measured ones."""

from hypothesis import assume, given, settings, strategies as st
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning._constraints import solve_exponents
from swr_optax.planning.degrees import Walk, walk_network

OPERATIONS = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "divide": jnp.divide,
    "matmul": jnp.matmul,
    "maximum": jnp.maximum,
    "where": lambda a, b: jnp.where(a > b, a, b),
    "stack and sum": lambda a, b: jnp.concatenate([a, b]).reshape(2, 3, 3).sum(0),
    "relu": lambda a, _: jax.nn.relu(a),
    "square": lambda a, _: a**2,
    "root": lambda a, _: jnp.sqrt(jnp.abs(a)),
    "transpose": lambda a, _: a.T,
    "normalize": lambda a, _: a / jnp.linalg.norm(a),
    "center": lambda a, _: a - a.mean(0),
    "sort": lambda a, _: jnp.sort(a),
    "tanh": lambda a, _: jnp.tanh(a),
    "softmax": lambda a, _: jax.nn.softmax(a),
    "gate": lambda a, b: jax.nn.sigmoid(a) * b,
    "one plus": lambda a, _: 1 + a,
    "branch": lambda a, b: lax.cond(
        a[0, 0] > 0, lambda a, b: a - b, lambda a, b: b + a, a, b
    ),
    "loop": lambda a, b: lax.scan(lambda c, _: (c @ b, None), a, None, length=2)[0],
}


@given(
    leaves=st.integers(1, 4),
    program=st.lists(
        st.tuples(
            st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99)
        ),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=150, deadline=None)
def test_random_graphs_scale_as_predicted(leaves, program, seed):
    def fn(params, x):
        values = [*params, x]
        for name, i, j in program:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(OPERATIONS[name](a, b))
        return values

    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        params = [jnp.asarray(rng.normal(size=(3, 3))) for _ in range(leaves)]
        x = jnp.asarray(rng.normal(size=(3, 3)))
        places = range(leaves)
        walk = Walk([f"w{i}" for i in places], {}, [True] * leaves)
        values = walk_network(walk, jax.make_jaxpr(fn)(params, x), places)

        rows = [r.row for r in walk.requirements if r.kind != "approximate"]
        allowed = solve_exponents(np.reshape(rows, (-1, leaves)), places, "function")
        s = 0.5 * allowed @ rng.normal(size=leaves)
        old = fn(params, x)
        scaled = [jnp.exp(s[i]) * w for i, w in enumerate(params)]
        assume(all(np.isfinite(value).all() for value in old))
        assume(all(1e-6 < np.abs(value).max() < 1e6 for value in old))
        for before, after, value in zip(old, fn(scaled, x), values, strict=True):
            expected = np.exp(value.degree @ s) * before
            error = np.abs(after - expected).max() / np.abs(expected).max()
            assert error < 1e-6
