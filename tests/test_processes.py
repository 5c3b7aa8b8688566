"""A user's script whose processes are started anew, as some systems always do."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import multiprocessing
import sys

import jax.numpy as jnp
import optax

import swr_optax
from experiments.__main__ import main


def network(params, x):
    return x @ params["w"]


def work(size):
    params, x = {"w": jnp.ones((2, 2)) * size}, jnp.ones((1, 2))
    plan = swr_optax.plan_rescaling(network, params, x)
    tx = optax.chain(optax.sgd(0.1), swr_optax.soft_weight_rescaling(0.5, plan))
    updates, _ = tx.update(params, tx.init(params), params)
    return plan.to_json(), updates["w"].sum().item(), main(["--methods", "none"])


if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        (there,) = pool.map(work, [3.0])
    assert there == work(3.0), there
    print("the same")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_started_process_plans_and_trains_the_same(method, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", method],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the same\n"
    assert done.stderr.count("unknown method 'none'") == 2
    assert len(done.stderr.splitlines()) == 2
