"""Weights spread over devices: the same numbers, and no weight gathered."""

import os
import subprocess
import sys

SCRIPT = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import swr_optax

assert jax.device_count() == 4
mesh = jax.make_mesh((2, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
params = {"w": jax.random.normal(jax.random.key(0), (64, 32)), "b": jnp.ones(32)}
plan = swr_optax.plan_rescaling(
    lambda p, x: x @ p["w"] + p["b"], params, jnp.ones((8, 64))
)
tx = swr_optax.soft_weight_rescaling(0.25, plan)
moves = jax.tree.map(jnp.cos, params)
expected = tx.update(moves, tx.init(params), params)

shardings = {"w": NamedSharding(mesh, P("x", "y")), "b": NamedSharding(mesh, P("y"))}
sharded = jax.device_put(params, shardings)
step = jax.jit(tx.update)
arguments = (jax.device_put(moves, shardings), tx.init(sharded), sharded)
found = step(*arguments)
jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected
)
assert found[0]["w"].sharding == shardings["w"]
text = step.lower(*arguments).compile().as_text()
assert "all-reduce" in text
assert not re.search(r"all-gather\\(|f32\\[64,32\\]", text), text
"""


def test_sharded_weights_stay_where_they_are():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
