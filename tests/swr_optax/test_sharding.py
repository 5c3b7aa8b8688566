"""Weights spread over devices: the same numbers, and no weight gathered."""

import os
import subprocess
import sys

SCRIPT = """
import re
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import swr_optax

assert jax.device_count() == 8
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
LAYOUT = {
    "blocks": {"w": P(None, "x", "y"), "b": P(None, "y")},
    "head": {"w": P("x", "y"), "b": P()},
}
shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), LAYOUT)


def apply(p, x):
    def block(x, p):
        return jax.nn.relu(x @ p["w"] + p["b"]), None

    x = jax.lax.scan(block, x, p["blocks"])[0]
    return x @ p["head"]["w"] + p["head"]["b"]


for dtype in (jnp.float32, jnp.bfloat16):
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "blocks": {
            "w": jax.random.normal(keys[0], (3, 64, 64), dtype),
            "b": jnp.ones((3, 64), dtype),
        },
        "head": {
            "w": jax.random.normal(keys[1], (64, 32), dtype),
            "b": jnp.ones(32, dtype),
        },
    }
    plan = swr_optax.plan_rescaling(apply, params, jnp.ones((8, 64), dtype))
    assert len(plan.layers) == 4
    tx = optax.chain(
        optax.adam(0.1), swr_optax.soft_weight_rescaling(0.25, plan, reset_steps=[7])
    )
    moves = jax.tree.map(jnp.cos, params)
    expected = jax.jit(tx.update)(moves, tx.init(params), params)

    sharded = jax.device_put(params, shardings)
    step = jax.jit(tx.update, donate_argnums=1)
    # The state is laid out like the parameters.
    layout = optax.tree.map_params(
        tx,
        lambda _, sharding: sharding,
        tx.init(params),
        shardings,
        transform_non_params=lambda _: NamedSharding(mesh, P()),
    )
    state = jax.device_put(tx.init(params), layout)
    arguments = (jax.device_put(moves, shardings), state, sharded)
    text = step.lower(*arguments).compile().as_text()
    found = step(*arguments)
    rtol = 1e-5 if dtype == jnp.float32 else 1e-2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.float32(a), np.float32(b), rtol=rtol, atol=1e-6
        ),
        found,
        expected,
    )
    jax.tree.map(
        lambda update, sharding: update.sharding.is_equivalent_to(sharding, update.ndim)
        or 1 / 0,
        found[0],
        shardings,
    )
    assert "all-reduce" in text
    whole = re.findall(r"(?:f32|bf16)\\[(?:3,64,64|64,64|64,32)\\]", text)
    assert not whole and not re.search(r"all-gather(-start)?\\(", text), text
"""


def test_sharded_weights_stay_where_they_are():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
