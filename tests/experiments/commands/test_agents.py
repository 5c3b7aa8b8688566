"""The command for agents, as a user types it."""

import csv
import json
import os
import subprocess
import sys

import pytest

from experiments.__main__ import main
from experiments.commands.options import AgentOptions, make_agent_config
from experiments.reporting.naming import score_in_words

SHORT = ("--levels", "2", "--iterations", "10", "--seeds", "1")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A short run in a fresh folder."""
    folder = tmp_path_factory.mktemp("fresh")
    methods = ("--methods", "fresh", "vanilla", "--model", "actor_critic_small")
    command = ("-m", "experiments", "agent", *SHORT, *methods, "--tensorboard")
    finished = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished, folder / "runs" / "agent-cartpole-actor_critic_small"


def test_it_writes_its_folder(done):
    _, out = done
    files = {"config.json", "metrics.csv", "figure.png"}
    assert files <= {path.name for path in out.iterdir()}
    assert not (out / "checkpoint").exists()
    assert len(list((out / "tensorboard" / "vanilla" / "seed-0").iterdir())) == 1
    config = json.loads((out / "config.json").read_text())
    assert config["protocol"], config["dataset"] == ("agent", "cartpole")
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["task"], row["step"]) for row in rows] == [
        ("fresh", "1", "8000"),
        ("fresh", "2", "16000"),
        ("vanilla", "1", "8000"),
        ("vanilla", "2", "16000"),
    ]
    for row in rows:
        assert 8 < float(row["average_return"]) <= 400
        assert 0 <= float(row["entropy"]) < 0.7
        assert float(row["explained_variance"]) <= 1


def test_it_says_who_keeps_learning_and_floods_no_log(done):
    finished, _ = done
    assert len(finished.stderr.splitlines()) == 2
    assert "Agent, cartpole, actor_critic_small: 2 levels, 1 seed" in finished.stdout
    words = " ".join(finished.stdout.split())
    assert "a fresh network for each level has" in words


def test_the_report_shows_it_like_everything_else(done, tmp_path, capsys):
    _, out = done
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    capsys.readouterr()
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for words in (
        "## Agent: cartpole, actor\\_critic\\_small",
        "10 iterations a level",
        score_in_words("agent"),
        "interquartile mean",
        "explained variance",
    ):
        assert words in text
    assert "training images:" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--environment", "pong"], "unknown environment 'pong'"),
        (["--model", "mlp"], "unknown model 'mlp'"),
        (["--iterations", "7"], "iterations must be a multiple of 10"),
        (["--profile", "quick", "--levels", "3"], "--levels 3 contradicts --profile"),
        (["--methods", "dash"], "takes a pass over new data"),
        (["--coefficient", "swr=x"], "'x' is no coefficient"),
        (["--dataset", "mnist"], "Unknown option: --dataset"),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys, tmp_path):
    assert main(["agent", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_options_make_the_configuration():
    options = AgentOptions(profile="quick", coefficient=("swr=1e-2",), methods=("swr",))
    config = make_agent_config(options)
    assert config.profile == "quick"
    assert config.coefficients == {"swr": 1e-2}
    assert config.model == "actor_critic_small"
    named = make_agent_config(AgentOptions(model="actor_critic_shared", levels=3))
    assert (named.model, named.tasks, named.profile) == (
        ("actor_critic_shared", 3, "custom")
    )


def test_a_sweep_compares_on_other_seeds_and_runs_the_best(tmp_path, capsys):
    out = tmp_path / "sweep"
    words = ["--protocol", "agent", "--model", "actor_critic_small", "--grid", "1e-3"]
    assert main(["sweep", "swr", *words, *SHORT, "--out", str(out)]) == 0
    with (out / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["seed"] for row in rows} == {"1000", "1001", "1002"}
    assert (out / "best" / "metrics.csv").exists()
    assert "average return" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "agent", "--epochs", "3"], "--epochs does not belong to agent"),
        (["--protocol", "agent", "--decay"], "--decay does not belong to agent"),
        (["--levels", "3"], "--levels does not belong to warm-start"),
    ],
)
def test_a_sweep_takes_the_options_of_its_protocol(words, message, capsys):
    assert main(["sweep", "swr", *words]) == 2
    assert message in capsys.readouterr().err
