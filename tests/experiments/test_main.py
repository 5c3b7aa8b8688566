"""The command as a user types it."""

import os
import subprocess
import sys

import pytest


def swr_experiments(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=cwd,
        env={**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_runs_writes_and_prints(tmp_path):
    options = ("--seeds", "1", "--epochs", "2", "--methods", "scratch", "swr")
    done = swr_experiments("warm-start", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "warm-start-digits-mlp"
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "metrics.csv",
        "figure.png",
    }
    assert "SWR" in done.stdout
    assert "test accuracy" in done.stdout
    # Outside a terminal progress is a line for each method, not a flood.
    assert done.stderr.splitlines() == ["scratch …", "SWR …"]

    again = swr_experiments("warm-start", *options, "--out", "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr

    def numbers(folder):
        rows = (folder / "metrics.csv").read_text().splitlines()
        return [row.rpartition(",")[0] for row in rows]  # All but the clock.

    assert numbers(tmp_path / "again") == numbers(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mnits"], "unknown data set 'mnits': choose from digits, mnist"),
        (["--methods", "swr", "sgd"], "unknown method 'sgd': choose from scratch, "),
        (["--seeds", "0"], "seeds must be at least 1, not 0"),
        (["--seeds", "many"], "argument --seeds: invalid int value: 'many'"),
        (["--model", "cnn"], "model 'cnn' does not fit 'digits': "),
        (["--out", "/proc/run"], "cannot write to /proc/run: "),
    ],
)
def test_mistakes_get_one_line(arguments, message, tmp_path):
    done = swr_experiments("warm-start", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("swr-experiments")
    assert message in done.stderr
    assert not done.stdout
    assert not (tmp_path / "runs").exists()


def test_absent_data_fail_in_seconds(tmp_path):
    """The proxy refuses everything, as a closed network does."""
    done = swr_experiments(
        "warm-start",
        "--dataset",
        "mnist",
        "--data-dir",
        "empty",
        cwd=tmp_path,
        https_proxy="http://127.0.0.1:9",
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "mnist is not prepared in empty and cannot be downloaded" in done.stderr


def test_benchmark_reports_swrs_share(tmp_path):
    done = swr_experiments("benchmark", "--rounds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SWR's share" in done.stdout


def test_without_a_command_it_says_what_to_do(tmp_path):
    done = swr_experiments(cwd=tmp_path)
    assert done.returncode == 2
    assert "--help" in done.stderr
