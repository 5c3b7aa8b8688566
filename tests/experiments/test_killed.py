"""The command is killed and stopped as it runs, and goes on when it is given again.

``KILLS=20 pytest tests/experiments/test_killed.py`` kills each run so many times.
"""

import os
import random
import shutil
import signal
import socket
import time

import pytest

from killable import Command
from real_loops import without_seconds

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

KILLS = int(os.environ.get("KILLS", "2"))
SMALL = ("--epochs", "1", "--train-images", "16", "--methods", "vanilla", "swr")
STREAM = ("stream", "--tasks", "30", "--seeds", "2", *SMALL)
STAGES = ("warm-start", "--seeds", "1", *SMALL)
AGENT = (
    *("agent", "--levels", "3", "--iterations", "10", "--seeds", "1"),
    *("--model", "actor_critic_small", "--methods", "swr"),
)
SWEEP = (
    *("sweep", "swr", "--protocol", "random-labels", "--grid", "1e-3", "1e-2"),
    *("--rates", "1e-3", "--tasks", "10", "--seeds", "1", *SMALL[:4]),
)
SCALED = ("proportionality", "--seeds", "1", *SMALL[:4])
RUN = ("metrics.csv", "config.json", "figure.png")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def begins(command, out, process):
    """Waits until a process has the folder, before which nothing is tested."""
    command.appears(f"{out}/.lock", process)
    mine = f"process {process.pid} "
    lock = command.folder / out / ".lock"
    while process.is_alive() and not lock.read_text().startswith(mine):
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("words", "place", "count", "files"),
    [
        pytest.param(STREAM, ("task",), 120, RUN, id="stream"),
        pytest.param(STAGES, ("stage", "epoch"), 6, RUN, id="stages"),
        pytest.param(AGENT, ("task",), 3, RUN, id="agent"),
        pytest.param(
            SWEEP,
            ("coefficient", "task"),
            60,
            ("sweep.csv", "sweep.json", "best"),
            id="sweep",
        ),
        pytest.param(SCALED, ("ratio", "biases", "when"), 28, RUN, id="scaled"),
    ],
)
def test_killed_at_any_moment_it_gives_the_same_table(
    words, place, count, files, compiled, tmp_path
):
    """While it compiles, trains, saves and writes its results."""
    command = Command(tmp_path, compiled)
    assert command.run(*words, "--out", "whole", often=True) == 0, command.errors
    table = files[0]
    rows = without_seconds(tmp_path / "whole" / table)
    identities = {tuple(row[k] for k in ("method", "seed", *place)) for row in rows}
    assert len(identities) == len(rows) == count
    seed = random.randrange(10**6)
    generator, seconds, killed = random.Random(seed), 3.0, 0
    while killed <= KILLS:
        process = command.start(*words, "--out", "out", often=True)
        begins(command, "out", process)
        start = time.monotonic()
        # The last time it may come to its end.
        process.join(generator.uniform(0, seconds) if killed < KILLS else 300)
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
            continue
        killed += killed == KILLS
        seconds = time.monotonic() - start
        assert process.exitcode == 0, f"seed {seed}: {command.errors}"
        assert without_seconds(tmp_path / "out" / table) == rows, f"seed {seed}"
        if "best" in files:
            best = [
                without_seconds(tmp_path / f / "best" / RUN[0])
                for f in ("out", "whole")
            ]
            assert best[0] == best[1], f"seed {seed}"
        left = {path.name for path in (tmp_path / "out").iterdir()}
        assert left == {*files}
        shutil.rmtree(tmp_path / "out")


LONG = ("stream", "--tasks", "3000", "--seeds", "2", *SMALL)


def test_stopped_it_saves_first(compiled, tmp_path):
    """Another process is refused meanwhile, and given again it goes on."""
    pytest.importorskip("tensorboardX")
    command, out = Command(tmp_path, compiled), tmp_path / "out"
    first = (*LONG, "--out", "out", "--tensorboard")
    parts = 0
    for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = command.start(*first)
        command.appears("out/tensorboard/*/*/events*", process)
        if not parts:
            assert command.run(*LONG, "--decay", "--out", "out") == 2
            assert command.errors == (
                f"swr-experiments: out is in use by process {process.pid} on"
                f" {socket.gethostname()}: wait for it or stop it, or choose"
                " another --out\n"
            )
        os.kill(process.pid, number)
        assert command.end(process, 60) == status, command.errors
        if parts:
            many = f"{parts} part" + "s" * (parts > 1)
            resumed, *_, last = command.errors.splitlines()
            assert resumed == f"resumed: out/checkpoint has {many} of the run"
            assert last == (
                "swr-experiments: stopped; given again, the same command goes on"
            )
            assert "Traceback" not in command.errors
        # Long before the first save would have been due.
        parts = len(list((out / "checkpoint").glob("*.msgpack")))
        assert parts
        assert not list(out.glob(".*"))
        shutil.rmtree(out / "tensorboard")


def test_a_signal_while_it_compiles_is_not_lost(tmp_path):
    """Nothing is compiled yet, so that this takes seconds; nor does it crash."""
    command = Command(tmp_path, tmp_path / "cache")
    process = command.start(*LONG, "--out", "out")
    command.appears("out/checkpoint/run.json", process)
    time.sleep(random.uniform(0, 2))
    os.kill(process.pid, signal.SIGINT)
    assert command.end(process, 120) == 130, command.errors
    assert "the same command goes on" in command.errors.splitlines()[-1]
    assert "Traceback" not in command.errors
