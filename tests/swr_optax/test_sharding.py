"""Weights spread over devices: the same numbers, and no weight gathered."""

import os
import socket
import subprocess
import sys

import pytest

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


LAYOUTS = """
import itertools, re
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import swr_optax


def apply(p, x):
    for name in ("in", "up", "down", "small", "other", "out"):
        x = jax.nn.relu(x @ p[name]["w"] + p[name]["b"])
    return x


SHAPES = {
    "in": (32, 512), "up": (512, 512), "down": (512, 512),
    "small": (512, 32), "other": (32, 512), "out": (512, 8),
}
params = {
    name: {
        "w": jax.random.normal(jax.random.key(i), shape) / shape[0] ** 0.5,
        "b": jax.random.normal(jax.random.key(i), shape[1:]),
    }
    for i, (name, shape) in enumerate(SHAPES.items())
}
moves = jax.tree.map(lambda p: 0.1 * jnp.cos(10 * p), params)
plan = swr_optax.plan_rescaling(apply, params, jnp.ones((8, 32)))


def transformation(**options):
    return optax.chain(
        optax.adam(0.1),
        swr_optax.soft_weight_rescaling(0.25, plan, reset_steps=[1], **options),
    )


def steps(tx, params, moves):
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(moves, state, params)
        params = optax.apply_updates(params, updates)
    return params, state[1]


def assert_close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
        found,
        expected,
    )


expected = jax.jit(lambda p, m: steps(transformation(), p, m))(params, moves)
"""

JIT = """
# Each layout is one that people use; of two weights of one shape with other specs.
COLUMN, ROW = {"w": P(None, "m"), "b": P("m")}, {"w": P("m", None), "b": P()}
LAYOUTS = {
    "data": {name: {"w": P(), "b": P()} for name in SHAPES},
    "fsdp": {name: {"w": P(("d", "m")), "b": P(("d", "m"))} for name in SHAPES},
    "tensor": dict(zip(SHAPES, [COLUMN, ROW, COLUMN, ROW, ROW, ROW])),
    "both": {
        name: {"w": P("d", "m") if i % 2 else P("m", "d"), "b": P("d")}
        for i, name in enumerate(SHAPES)
    },
}
tx = transformation()
KINDS = [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit]
for kind, (name, layout) in itertools.product(KINDS, LAYOUTS.items()):
    mesh = jax.make_mesh((2, 4), ("d", "m"), axis_types=(kind, kind))
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), layout)
    sharded, changes = jax.device_put((params, moves), (shardings, shardings))
    step = jax.jit(lambda p, m: steps(tx, p, m))
    text = step.lower(sharded, changes).compile().as_text()
    assert_close(step(sharded, changes), expected)
    # Nothing goes from device to device but sums of as many numbers as layers.
    moved = r" (all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\\("
    assert not re.search(moved, text), (name, re.search(moved, text)[0])
    sums = re.findall(r"= (.+?) all-reduce(?:-start)?\\(", text)
    assert bool(sums) == (name != "data"), name
    for shape in re.findall(r"f32\\[([\\d,]*)\\]", " ".join(sums)):
        assert int(shape or 1) <= len(SHAPES), (name, shape)
"""

SHARD_MAP = """
AUTO = (jax.sharding.AxisType.Auto,) * 3
mesh = jax.make_mesh((2, 2, 2), ("d", "m", "n"), axis_types=AUTO)
SPECS = dict(zip(SHAPES, [
    {"w": P(None, "m"), "b": P("m")},
    {"w": P("m", "n"), "b": P("n")},
    {"w": P("n"), "b": P()},
    {"w": P(("m", "n")), "b": P()},
    {"w": P(), "b": P()},
    {"w": P("m"), "b": P()},
]))


def in_parts(check_vma=True, **options):
    return jax.jit(jax.shard_map(
        lambda p, m: steps(transformation(**options), p, m),
        mesh=mesh, in_specs=(SPECS, SPECS), out_specs=(SPECS, P()),
        check_vma=check_vma,
    ))(params, moves)


assert_close(in_parts(axis_name=("m", "n")), expected)
assert_close(in_parts(axis_name=("d", "m", "n")), expected)


# What is known of the weights is known of their parts.
def norms_and_reset(p):
    tx = transformation(axis_name=("m", "n"))
    doubled = jax.tree.map(lambda x: 2 * x, p)
    state = swr_optax.reset_reference_norms(
        tx.init(p), doubled, plan, axis_name=("m", "n")
    )
    norms = swr_optax.metrics.weight_norms(p, plan, axis_name=("m", "n"))
    return norms, state[1].reference_norms


norms, references = jax.jit(
    jax.shard_map(norms_and_reset, mesh=mesh, in_specs=(SPECS,), out_specs=P())
)(params)
assert_close(norms, swr_optax.metrics.weight_norms(params, plan))
assert_close(references, 2 * norms)


def refusal(**options):
    try:
        in_parts(**options)
    except ValueError as error:
        return str(error)


assert "down/w has shape (256, 512), not (512, 512)" in refusal()
# Which of two axes of one size is not to be seen from shapes alone.
assert "axis_name=('m', 'n')" in refusal(axis_name=("m", "n"), check_vma=False)
assert "axis_name='m'" in refusal(axis_name="m")

# With one axis there is no doubt.
for name in SPECS:
    SPECS[name] = {"w": P("m"), "b": P()}
assert_close(in_parts(axis_name="m", check_vma=False), expected)
assert_close(in_parts(axis_name="m"), expected)

# Slices of a stack are layers, so that a stack is not split between them.
stack = {"w": jnp.ones((4, 8, 8)), "b": jnp.ones((4, 8))}
tower = swr_optax.plan_rescaling(
    lambda p, x: jax.lax.scan(
        lambda x, p: (jax.nn.relu(x @ p["w"] + p["b"]), None), x, p
    )[0],
    stack,
    jnp.ones((2, 8)),
)
tx = swr_optax.soft_weight_rescaling(0.25, tower, axis_name="m")
for spec, message in ((P(None, "m"), None), (P("m"), "b has shape (2, 8), not (4, 8)")):
    specs = {"w": spec, "b": spec}
    update = jax.shard_map(
        lambda p: tx.update(p, tx.init(p), p)[0],
        mesh=mesh, in_specs=(specs,), out_specs=specs,
    )
    try:
        whole = swr_optax.soft_weight_rescaling(0.25, tower)
        assert_close(update(stack), whole.update(stack, whole.init(stack), stack)[0])
        assert message is None
    except ValueError as error:
        assert message is not None and message in str(error), error
"""


MEETING = """
import sys
import jax

jax.distributed.initialize(
    coordinator_address=sys.argv[1], num_processes=2, process_id=int(sys.argv[2])
)
"""

HOSTS = """
assert jax.process_count() == 2 and jax.device_count() == 4
mesh = jax.make_mesh((4,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
sharding = NamedSharding(mesh, P("fsdp"))


def spread(array):
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])


found, state = jax.jit(lambda p, m: steps(transformation(), p, m))(
    *jax.tree.map(spread, (params, moves))
)
expected = jax.tree.map(np.asarray, expected)
assert_close(jax.tree.map(np.asarray, state), expected[1])
for array, whole in zip(jax.tree.leaves(found), jax.tree.leaves(expected[0])):
    assert not array.is_fully_addressable
    for shard in array.addressable_shards:
        assert_close(np.asarray(shard.data), whole[shard.index])
"""


def test_weights_spread_over_two_processes_as_over_hosts():
    """With two devices each, through ``jax.distributed``."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    script = MEETING + LAYOUTS + HOSTS
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", script, address, str(process)],
            env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    for host in hosts:
        _, said = host.communicate(timeout=240)
        assert host.returncode == 0, said


@pytest.mark.parametrize(
    "script",
    [SCRIPT, LAYOUTS + JIT, LAYOUTS + SHARD_MAP],
    ids=["stacked", "layouts", "shard_map"],
)
def test_sharded_weights_stay_where_they_are(script):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
