"""A run's folder: one process at a time, and nothing run twice."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from experiments.commands import folder
from experiments.commands.folder import alone_in, finished_rows, has_another
from experiments.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from experiments.commands.folder import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    out = tmp_path / "runs" / "one"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError) as error, alone_in(out):
            pass
        assert str(error.value) == (
            f"{out} is in use by process {first.pid} on {socket.gethostname()}: wait"
            " for it or stop it, or choose another --out"
        )
        first.kill()
    assert (out / ".lock").exists()
    with alone_in(out):
        (out / "config.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["config.json"]


def test_a_lock_that_its_holder_removes_is_no_lock(tmp_path):
    """Opened while it was held, and locked when the holder was gone."""
    with (tmp_path / ".lock").open("a+") as old:
        (tmp_path / ".lock").unlink()
        assert not folder._is_still(tmp_path / ".lock", old)
        with alone_in(tmp_path):
            assert not folder._is_still(tmp_path / ".lock", old)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with alone_in(tmp_path / "run"):
        pass
    assert capsys.readouterr().err == (
        f"{tmp_path}/run has no locks here: see to it that no other process writes to"
        " it\n"
    )


def test_nothing_is_left_of_what_was_refused(tmp_path):
    with pytest.raises(UserError), alone_in(tmp_path / "a" / "b"):
        raise UserError("no data")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*/b: Not a directory"):  # noqa: SIM117
        with alone_in(tmp_path / "file" / "b"):
            pass


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    left = tmp_path / ".unfinished-abc"
    left.mkdir()
    (left / "metrics.csv").write_text("half")
    with alone_in(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "protocol", ["warm-start", "random-labels", "proportionality", "balancedness"]
)
def test_a_finished_run_is_known(protocol, write_folder, tmp_path, capsys):
    out = write_folder(tmp_path / "run", protocol=protocol, seeds=2)
    text = (out / "config.json").read_text()
    found = finished_rows(out, text)
    assert set(found["method"]) == {"vanilla", "swr"}
    assert capsys.readouterr().err == (
        f"{out} has this run already: --restart runs it again\n"
    )
    finished_rows(out, text, tensorboard=True)
    assert capsys.readouterr().err == (
        f"{out} has this run already: --restart runs it again, and writes event files,"
        " which needs training\n"
    )
    for field, value in (
        ("data", None),
        ("data", "of any other data, since none are read"),
        ("profile", "as an earlier version called it"),
    ):
        again = json.dumps({**json.loads(text), field: value})
        assert finished_rows(out, again) is not None
    capsys.readouterr()
    lines = (out / "metrics.csv").read_text().splitlines()
    rows = [line for line in lines[1:] if re.search(r",swr,1,", line)]
    assert len(rows) > 1
    short = [line for line in lines if line not in rows]
    (out / "metrics.csv").write_text("\n".join(short) + "\n")
    assert finished_rows(out, text) is None  # A seed is not there.
    (out / "metrics.csv").write_text("\n".join([*lines[:2], "x"]) + "\n")
    assert finished_rows(out, text) is None
    assert capsys.readouterr().err == ""


def test_one_that_has_begun_again_is_not_finished(write_folder, tmp_path):
    out = write_folder(tmp_path / "run")
    (out / "checkpoint").mkdir()
    assert finished_rows(out, (out / "config.json").read_text()) is None


def test_another_is_refused_and_named(write_folder, tmp_path):
    """It may be the work of hours."""
    out = write_folder(tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    config["epochs"], config["versions"]["jax"] = 9, "1.0"
    words = (
        f"{out} has another run (epochs 4 → 9, versions.jax 0.0.0-test → 1.0):"
        " choose another --out, or replace it with --restart"
    )
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        finished_rows(out, json.dumps(config))
    assert has_another(out, json.dumps(config))
    assert not has_another(out, (out / "config.json").read_text())
    (out / "checkpoint").mkdir()  # Now it is that which is running.
    assert finished_rows(out, json.dumps(config)) is None
    assert not has_another(out, json.dumps(config))
    shutil.rmtree(out)
    assert finished_rows(out, "{}") is None
