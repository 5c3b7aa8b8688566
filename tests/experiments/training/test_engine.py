"""Lanes are spread over the devices of this machine."""

import dataclasses
import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from experiments.training.checkpoint import Checkpoints
from experiments.training.engine import run_in_turns
from experiments.training.lanes import Job, Member
from real_loops import configured, digits, run, stream

STAGES = configured(methods=("head_reset",), seeds=12, epochs=1, batch_size=32)
STREAM = stream(methods=("fresh",), seeds=8, tasks=2, epochs=1)
PAIRS = stream(methods=("l2_init",), coefficients={"l2_init": 0.05}, seeds=5, tasks=2)

SCRIPT = """
import collections, dataclasses, json, sys
from pathlib import Path
import jax
from experiments.training.training import Training
from real_loops import configured, digits, run

fields, folder, backend, count = sys.argv[1:]
assert jax.local_device_count() == 8
# Nothing goes from one device to another, unless it is put there by name.
jax.config.update("jax_transfer_guard_device_to_device", "disallow")
devices = jax.devices()[:int(count)]
jax.local_devices, jax.local_device_count = lambda: devices, lambda: len(devices)
jax.default_backend = lambda: backend

used = {}
def watch(name):
    real = getattr(Training, name)
    def watched(training, state, *others):
        leaves = jax.tree.leaves((state, others))
        arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
        assert all(array.committed for array in arrays)
        (device,) = {array.device for array in arrays}
        found = real(training, state, *others)
        outputs = [x for x in jax.tree.leaves(found) if isinstance(x, jax.Array)]
        assert {array.device for array in outputs} <= {device}
        used.setdefault(name, set()).add(device.id)
        return found
    setattr(Training, name, watched)
for name in ("run", "accuracy", "observe", "change_data"):
    watch(name)

programs = collections.Counter()
def note(event, seconds, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        programs[about["fun_name"]] += 1
jax.monitoring.register_event_duration_secs_listener(note)

records = run(configured(**json.loads(fields)), digits(64), Path(folder))
print(json.dumps({
    "records": [dataclasses.asdict(record) for record in records],
    "used": {name: sorted(ids) for name, ids in used.items()},
    "programs": programs,
    "lanes": len(list(Path(folder).glob("*.msgpack"))),
}))
"""


def on_devices(config, folder, backend="cpu", devices=8):
    """What a run measures in a process with eight devices."""
    fields = json.dumps(dataclasses.asdict(config))
    # Each device's programs are compiled for it: quickly rather than well.
    flags = (
        "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, fields, folder, backend, str(devices)],
        env={
            **os.environ,
            "XLA_FLAGS": flags,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_same(config, found, folder, rtol=1e-5, atol=1e-6):
    """Whether a process with one device measures the same."""
    records = [dataclasses.asdict(r) for r in run(config, digits(64), folder)]
    assert len(found["records"]) == len(records)
    for one, other in zip(found["records"], records, strict=True):
        growth, expected = one.pop("growth"), other.pop("growth")
        assert growth == pytest.approx(expected, rel=rtol)
        for name, value in other.items():
            if isinstance(value, float):
                if name != "seconds":
                    np.testing.assert_allclose(one[name], value, rtol, atol, name)
            else:
                assert one[name] == value


def test_eight_devices_measure_what_one_does_in_stages(tmp_path):
    found = on_devices(STAGES, tmp_path / "eight")
    check_same(STAGES, found, tmp_path / "one")
    everywhere = list(range(8))
    calls = ("run", "accuracy", "observe", "change_data")
    assert found["used"] == dict.fromkeys(calls, everywhere)
    # Twelve lanes: what is compiled for a device is not compiled again.
    assert found["lanes"] == 12
    programs = ("_all_steps", "lane", "observe", "change")
    compiled = {name: found["programs"][f"jit({name})"] for name in programs}
    assert compiled == dict.fromkeys(programs, 8)


def test_and_in_a_stream(tmp_path):
    """Of fresh networks, each of which has to be made where it is trained."""
    found = on_devices(STREAM, tmp_path / "eight")
    check_same(STREAM, found, tmp_path / "one")
    assert found["used"] == {key: list(range(8)) for key in found["used"]}


def test_as_accelerators_they_share_a_method_s_members(tmp_path):
    """To rounding, since products of matrices are batched then."""
    found = on_devices(PAIRS, tmp_path / "two", backend="gpu", devices=2)
    check_same(PAIRS, found, tmp_path / "one", rtol=1e-3, atol=0.02)
    assert found["lanes"] == 2
    assert found["used"] == {key: [0, 1] for key in found["used"]}


class Told:
    """A run whose lanes say who they are."""

    def __init__(self):
        self.order = []

    def run_lane(self, job, device, saved, tick):
        del device, saved, tick
        self.order.append((job.method, job.members[0].seed))
        return [(job.method, member.seed) for member in job.members]


def test_methods_take_turns_seed_by_seed(tmp_path):
    seeds = [Member(seed, 0.0, 1e-3) for seed in range(3)]
    jobs = [Job("vanilla", tuple(seeds)), Job("swr", tuple(seeds[:2]))]

    def one_after_the_other(run, rounds, tick, checkpoints):
        del checkpoints
        return [run.run_lane(job, None, None, tick) for jobs in rounds for job in jobs]

    run = Told()
    checkpoints = Checkpoints(tmp_path / "checkpoint", "test")
    found = run_in_turns(run, jobs, print, checkpoints, one_after_the_other)
    assert run.order == [
        *(("vanilla", 0), ("swr", 0), ("vanilla", 1), ("swr", 1), ("vanilla", 2))
    ]
    assert found == [[("vanilla", s) for s in range(3)], [("swr", s) for s in range(2)]]
