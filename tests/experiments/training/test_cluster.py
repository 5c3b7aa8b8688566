"""Lanes on a real cluster of two machines, with one core each."""

import dataclasses
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest

from experiments.errors import UserError
from experiments.protocols.proportionality import run_proportionality
from experiments.protocols.records import write_rows
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoints, File
from experiments.training.cluster import Cluster
from experiments.training.lanes import Job
from real_loops import configured, digits, run, stream, without_seconds

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="workers are looked for in /proc"
)


MACHINES = """
from ray.cluster_utils import Cluster

machine = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 << 20}
head = {**machine, "include_dashboard": False}
machines = Cluster(initialize_head=True, head_node_args=head)
machines.add_node(**machine)
print("address", machines.address, flush=True)
input()
machines.shutdown()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of processes of their own, which find what was compiled here."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "swr-optax").mkdir()
    (cache / "swr-optax" / "xla").symlink_to(jax.config.jax_compilation_cache_dir)
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": path}


@pytest.fixture(scope="module")
def address(environment):
    """Of a cluster that has its own processes, since JAX's may not be forked."""
    with subprocess.Popen(
        [sys.executable, "-c", MACHINES],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as machines:
        lines = iter(machines.stdout.readline, "")
        yield next(x.split()[1] for x in lines if x.startswith("address"))
        machines.communicate("\n")


@pytest.fixture(scope="module")
def cluster(address):
    with Cluster(address) as cluster:
        yield cluster


@pytest.fixture
def saving_often(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)


def workers():
    """Processes below this one that work on a lane, by its number."""
    parents, found = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            stat = (folder / "stat").read_text()
        except OSError:  # It has just ended.
            continue
        pid = int(folder.name)
        parents[pid] = int(stat.rpartition(")")[2].split()[1])
        if title.startswith(b"ray::lane "):
            found[int(title.split()[1])] = pid

    def is_ours(pid):
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return {lane: pid for lane, pid in found.items() if is_ours(pid)}


def csv_of(records, path):
    rows = [record.row() if hasattr(record, "row") else record for record in records]
    write_rows(path, [{**row, "seconds": None} for row in rows])
    return path.read_bytes()


def is_of_lane(record, other):
    return (record.method, record.seed) == (other.method, other.seed)


LONG = configured(
    methods=("full_reset", "vanilla"), seeds=2, epochs=15, learning_rate=3e-3
)


@pytest.mark.usefixtures("saving_often")
def test_a_lost_worker_s_lane_goes_on_elsewhere(cluster, tmp_path):
    here = run(LONG, digits(200), tmp_path / "here")
    shown, before = [], []

    def tick(records):
        """Kills the worker of the first lane that is in its second stage."""
        shown.extend(records)
        lane = 2 * LONG.methods.index(records[0].method) + records[0].seed
        if not before and records[-1].stage == 2:
            at_work = workers()
            assert len(at_work) == 2
            os.kill(at_work[lane], signal.SIGKILL)
            before.extend(r for r in shown if is_of_lane(r, records[0]))

    records = run(LONG, digits(200), tmp_path / "cluster", tick, engine=cluster)
    assert csv_of(records, tmp_path / "a.csv") == csv_of(here, tmp_path / "b.csv")
    # Every record was shown once, and what was saved was not measured again.
    assert len(shown) == len(records)
    assert {(r.method, r.seed, r.stage, r.epoch) for r in shown} == {
        (r.method, r.seed, r.stage, r.epoch) for r in records
    }
    assert 15 < len(before) < 31
    assert [record for record in before[:-5] if record not in records] == []


@pytest.mark.usefixtures("saving_often")
def test_a_run_that_was_stopped_goes_on_here(cluster, tmp_path):
    config = dataclasses.replace(LONG, methods=("vanilla",))

    def stop(records):
        if records[-1].epoch > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, digits(200), tmp_path / "parted", stop, engine=cluster)
    end = time.monotonic() + 20
    while workers() and time.monotonic() < end:
        time.sleep(0.1)
    assert not workers()
    seen = []
    records = run(config, digits(200), tmp_path / "parted", seen.append)
    assert max(map(len, seen)) > 2  # What was saved is told at once.
    whole = run(config, digits(200), tmp_path / "whole")
    assert csv_of(records, tmp_path / "a.csv") == csv_of(whole, tmp_path / "b.csv")


def test_streams_and_scaled_networks_go_there_too(cluster, tmp_path):
    config = stream(methods=("fresh",), seeds=2, tasks=2)
    here = run(config, digits(), tmp_path / "here")
    records = run(config, digits(), tmp_path / "cluster", engine=cluster)
    assert csv_of(records, tmp_path / "a.csv") == csv_of(here, tmp_path / "b.csv")

    config = configured(protocol="proportionality", epochs=1)
    found = []
    for name, engine in (("scaled here", {}), ("scaled", {"engine": cluster})):
        checkpoints = Checkpoints(tmp_path / name, "a run")
        tick = lambda _: None  # noqa: E731
        rows = run_proportionality(config, digits(200), tick, checkpoints, **engine)
        found.append(csv_of(rows, tmp_path / f"{name}.csv"))
    assert found[0] == found[1]


def test_a_user_s_error_comes_back_as_it_is(cluster, tmp_path):
    config = configured(seeds=2)
    checkpoints = Checkpoints(tmp_path, "a run")
    file = checkpoints.file(Job("vanilla", config.members("vanilla")[1:])).path
    File(file).write(b"no network")
    with pytest.raises(UserError) as error:
        run(config, digits(200), tmp_path, engine=cluster)
    assert type(error.value) is UserError
    assert str(error.value) == (
        f"{file} does not fit this run: choose another --out, or throw it away with"
        " --restart"
    )


def swr_experiments(*arguments, cwd, environment):
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_sweep_as_a_user_types_it(address, environment, tmp_path):
    """What it compares and the best one's run; a log has no line of Ray's."""
    command = ["sweep", "swr", "--protocol", "single-task", "--grid", "1e-2", "1e-3"]
    command += ["--seeds", "1", "--epochs", "2", "--train-images", "200"]
    where = {"cwd": tmp_path, "environment": environment}
    here = swr_experiments(*command, "--out", "here", **where)
    there = ("--cluster", address, "--out", "there")
    done = swr_experiments(*command, *there, **where)
    assert done.returncode == 0, done.stderr
    assert [x for x in done.stderr.splitlines() if "no coefficients" not in x] == [
        "SWR …"
    ] * 2

    for name in ("sweep.csv", "best/metrics.csv", "best/config.json"):
        files = [tmp_path / folder / name for folder in ("here", "there")]
        if name.endswith(".json"):
            assert files[0].read_text() == files[1].read_text()
        else:
            assert without_seconds(files[0]) == without_seconds(files[1])
    assert here.stdout.splitlines()[:-1][1:] == done.stdout.splitlines()[:-1][1:]
    assert not (tmp_path / "there" / "checkpoint").exists()


def test_killed_and_stopped_it_goes_on(address, environment, tmp_path):
    """Here at last, with the table that it would have had."""
    pytest.importorskip("tensorboardX")  # Its files tell that something is done.
    words = ["stream", "--tasks", "150", "--epochs", "1", "--train-images", "64"]
    words += ["--methods", "swr", "--seeds", "2"]
    there = ("--cluster", address, "--out", "there", "--tensorboard")
    where = {"cwd": tmp_path, "env": environment}

    def waits(for_what, process=None):
        end = time.monotonic() + 120
        while not for_what():
            assert process is None or process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.05)

    for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        waits(lambda: not workers())  # Of the one before.
        shutil.rmtree(tmp_path / "there" / "tensorboard", ignore_errors=True)
        with subprocess.Popen(
            [sys.executable, "-m", "experiments", *words, *there],
            **where,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            waits(lambda: any(tmp_path.glob("there/tensorboard/*/*/events*")), process)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == status, errors
        assert "Traceback" not in errors
    # It was saved long before that would have been due.
    assert list(tmp_path.glob("there/checkpoint/*.msgpack")), errors
    tables = []
    for out in ("there", "whole"):
        options = ("--out", out)
        done = swr_experiments(*words, *options, cwd=tmp_path, environment=environment)
        assert done.returncode == 0, done.stderr
        assert ("resumed" in done.stderr) == (out == "there")
        tables.append(without_seconds(tmp_path / out / "metrics.csv"))
    assert len(tables[0]) == 300
    assert tables[0] == tables[1]


def test_a_share_that_no_machine_has_is_refused(address, environment, tmp_path):
    share = ("--cluster", address, "--lane-gpus", "0.5")
    done = swr_experiments(*share, cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert done.stderr == (
        "swr-experiments: no machine of the cluster has 1 cores and 0.5 accelerators"
        " for a lane: lower --lane-cpus or --lane-gpus\n"
    )
    assert not done.stdout
