"""The command is killed and stopped as it runs, and goes on when it is given again.

``KILLS=40 pytest tests/experiments/test_killed.py`` kills it so many times.
"""

import csv
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

KILLS = int(os.environ.get("KILLS", "5"))

OFTEN = """
import sys
from experiments.training import checkpoint
checkpoint.SECONDS_BETWEEN = -1.0
from experiments.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, but it saves whenever it can."""

SMALL = ("--epochs", "1", "--train-images", "16", "--methods", "vanilla", "swr")
STREAM = ("stream", "--tasks", "30", "--seeds", "2", *SMALL)
STAGES = ("warm-start", "--seeds", "1", *SMALL)
AGENT = (
    *("agent", "--levels", "3", "--iterations", "20", "--seeds", "1"),
    *("--model", "actor_critic_small", "--methods", "vanilla", "swr"),
)


class Command:
    """Processes in one folder, which share what is compiled."""

    def __init__(self, folder, compiled):
        self.folder = folder
        path = os.pathsep.join(os.path.abspath(part) for part in sys.path)
        self._environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(compiled),
            "PYTHONPATH": path,
        }
        self.errors = ""

    def start(self, *arguments, often=False):
        how = ["-c", OFTEN] if often else ["-m", "experiments"]
        return subprocess.Popen(
            [sys.executable, *how, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **options):
        """Its status and what it says of itself."""
        with self.start(*arguments, **options) as process:
            _, self.errors = process.communicate(timeout=300)
        return process.returncode

    def numbers(self, out):
        """The table of a run, but for the clock."""
        with (self.folder / out / "metrics.csv").open(newline="") as file:
            return [{**row, "seconds": None} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def begins(out, process):
    """Waits for the end of what a process imports, which is not what is tested."""
    appears(out, ".lock", process)
    mine = f"process {process.pid} "
    while process.poll() is None and not (out / ".lock").read_text().startswith(mine):
        time.sleep(0.01)


def appears(folder, pattern, process):
    end = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("words", "place", "count", "kills"),
    [
        pytest.param(STREAM, ("task",), 120, KILLS, id="stream"),
        pytest.param(STAGES, ("stage", "epoch"), 6, KILLS // 2, id="stages"),
        pytest.param(AGENT, ("task",), 6, KILLS // 2, id="agent"),
    ],
)
def test_killed_at_any_moment_it_gives_the_same_table(
    words, place, count, kills, compiled, tmp_path
):
    """While it compiles, trains, saves and writes its results."""
    command = Command(tmp_path, compiled)
    assert command.run(*words, "--out", "whole", often=True) == 0, command.errors
    rows = command.numbers("whole")
    identities = {tuple(row[k] for k in ("method", "seed", *place)) for row in rows}
    assert len(identities) == len(rows) == count
    seed = random.randrange(10**6)
    generator, seconds, killed = random.Random(seed), 3.0, 0
    while killed <= kills:
        with command.start(*words, "--out", "out", often=True) as process:
            begins(tmp_path / "out", process)
            start = time.monotonic()
            try:  # The last time it may come to its end.
                process.wait(generator.uniform(0, seconds) if killed < kills else 300)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
                process.communicate()
                continue
            errors = process.stderr.read()
        killed += killed == kills
        seconds = time.monotonic() - start
        assert process.returncode == 0, f"seed {seed}: {errors}"
        assert command.numbers("out") == rows, f"seed {seed}"
        left = {path.name for path in (tmp_path / "out").iterdir()}
        assert left == {"config.json", "metrics.csv", "figure.png"}
        shutil.rmtree(tmp_path / "out")


LONG = ("stream", "--tasks", "3000", "--seeds", "2", *SMALL)


def test_stopped_it_saves_first(compiled, tmp_path):
    """Another process is refused meanwhile, and given again it goes on."""
    pytest.importorskip("tensorboardX")
    command, out = Command(tmp_path, compiled), tmp_path / "out"
    first = (*LONG, "--out", "out", "--tensorboard")
    parts = 0
    for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        with command.start(*first) as process:
            appears(out, "tensorboard/*/*/events*", process)
            if not parts:
                assert command.run(*LONG, "--decay", "--out", "out") == 2
                assert command.errors == (
                    f"swr-experiments: out is in use by process {process.pid} on"
                    f" {socket.gethostname()}: wait for it or stop it, or choose"
                    " another --out\n"
                )
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == status, errors
        resumed, *_, last = errors.splitlines()
        assert last == "swr-experiments: stopped; given again, the same command goes on"
        assert "Traceback" not in errors
        if parts:
            many = f"{parts} part" + "s" * (parts > 1)
            assert resumed == f"resumed: out/checkpoint has {many} of the run"
        # Long before the first save would have been due.
        parts = len(list((out / "checkpoint").glob("*.msgpack")))
        assert parts
        assert not list(out.glob(".*"))
        shutil.rmtree(out / "tensorboard")


def test_a_signal_while_it_compiles_is_not_lost(tmp_path):
    """Nothing is compiled yet, so that this takes seconds; nor does it crash."""
    command = Command(tmp_path, tmp_path / "cache")
    with command.start(*LONG, "--out", "out") as process:
        appears(tmp_path, "out/checkpoint/run.json", process)
        time.sleep(random.uniform(0, 2))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors.splitlines()[-1]
    assert "Traceback" not in errors
