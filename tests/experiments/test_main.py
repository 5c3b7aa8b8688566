"""The command as a user types it."""

import io
import json
import locale
import os
from pathlib import Path
import subprocess
import sys

import pytest

from experiments.__main__ import main
from experiments.data import load_dataset
from real_loops import without_seconds


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
    first, *lines = done.stderr.splitlines()
    assert first.startswith("the paper has no coefficients for warm-start of digits")
    assert lines == ["scratch …", "SWR …"]

    again = swr_experiments("warm-start", *options, "--out", "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr

    again, first = tmp_path / "again" / "metrics.csv", out / "metrics.csv"
    assert without_seconds(again) == without_seconds(first)


SWEEP = ("sweep", "swr")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mnits"], "unknown data set 'mnits': choose from digits, mnist"),
        (["--methods", "swr", "sgd"], "unknown method 'sgd': choose from scratch, "),
        (["--model", "rnn"], "unknown model 'rnn': choose from mlp, "),
        (["--model", "rnn", "--profile", "quick"], "unknown model 'rnn'"),
        (["--model", "cnn"], "model 'cnn' does not fit 'digits': "),
        (["--seeds", "0"], "seeds must be at least 1, not 0"),
        (["--epochs", "0"], "epochs must be at least 1, not 0"),
        (["--train-images", "0"], "train_images must be at least 1, not 0"),
        (["--seeds", "many"], "Invalid value for --seeds: 'many' is no whole number"),
        (
            ["--profile", "slow"],
            'Invalid value "slow" for --profile. Choose from',
        ),
        (
            ["--profile", "quick", "--epochs", "3"],
            "--epochs 3 contradicts --profile quick, which has 400: leave one of them",
        ),
        (
            ["--profile", "paper", "--train-images", "9"],
            "--train-images 9 contradicts --profile paper, which has all",
        ),
        (["--coefficient", "swr"], "--coefficient swr: write METHOD=VALUE"),
        (["--coefficient", "swr=much"], "--coefficient swr=much: 'much' is no coef"),
        (["--coefficient", "swr=a:b:c"], "'a:b:c' is no coefficient"),
        (["--coefficient", "swr=2"], "coefficient of 'swr' must be from 0 to 1, not 2"),
        (["--coefficient", "swr=nan"], "'swr' must be from 0 to 1, not nan"),
        (["--coefficient", "sgd=1"], "coefficient for 'sgd', which is not among"),
        (["--coefficient", "vanilla=1"], "method 'vanilla' has no coefficient"),
        (["--coefficient", "swr=1", "swr=0.1"], "swr=0.1: swr has one already"),
        (["--out", "/proc/run"], "cannot write to /proc/run: "),
        (["--out", "x" * 300], "File name too long"),
        (["--access", "full"], "Unknown option: --access"),
    ],
)
def test_mistakes_get_one_line(arguments, message, check_mistake):
    check_mistake(["warm-start", *arguments], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "vanilla"], "method 'vanilla' has no coefficient to find"),
        (["sweep", "sgd"], "unknown method 'sgd'"),
        ([*SWEEP, "--protocol", "cold"], "unknown protocol to sweep 'cold'"),
        ([*SWEEP, "--protocol", "proportionality"], "unknown protocol to sweep"),
        (
            [*SWEEP, "--protocol", "foo"],
            "unknown protocol to sweep 'foo': choose from warm-start, continual-full,"
            " continual-limited, single-task, single-task-decay, balancedness,"
            " random-labels, permuted-inputs, five-plus-one, class-pairs,"
            " class-incremental, slowly-changing-regression, agent",
        ),
        (
            ["proportionality", "--methods", "hare_and_tortoise"],
            "method 'hare_and_tortoise' evaluates other parameters than it trains,"
            " which proportionality does not look at",
        ),
        ([*SWEEP, "--grid", "1", "x"], "--grid: 'x' is no coefficient"),
        ([*SWEEP, "--grid", "1", "3"], "coefficient of 'swr' must be from 0 to 1"),
        ([*SWEEP, "--methods", "l2"], "a sweep is of one method, the first word"),
        (
            ["sweep", "shrink_and_perturb", "--protocol", "single-task"],
            "acts at changes of data, and single-task has none",
        ),
        (
            ["proportionality", "--methods", "vanilla", "swr"],
            "proportionality scales one network: name one method",
        ),
        (
            ["proportionality", "--tensorboard"],
            "proportionality writes no event files: leave --tensorboard out",
        ),
        (["balancedness", "--model", "vit"], "use --model mlp, not vit"),
        (["single-task", "--methods", "head_reset"], "single-task has none"),
        (["continual", "--train-images", "9"], "fewer than the 10 stages"),
        (
            ["continual", "--access", "some"],
            '"some" for --access. Choose from',
        ),
        (["benchmark", "--rounds", "0"], "rounds must be at least 1, not 0"),
        (["benchmark", "--largest", "9"], "--largest must be at least 30000, not 9"),
        (["report"], "runs has no config.json: make a run first, or name its folder"),
        (["fly"], "unknown command 'fly': choose from stream, warm-start"),
        (["sweep"], "requires an argument"),
        (
            ["stream", "--task", "cold"],
            "unknown task 'cold': choose from random-labels",
        ),
        (["stream", "--dataset", "cifar100"], "unknown data set for random-labels"),
        (["--tasks", "0"], "tasks must be at least 1, not 0"),
        (["--test-images", "9"], "Unknown option: --test-images"),
        (
            ["--learning-rate", "fast"],
            "--learning-rate fast: write a number, or METHOD=VALUE",
        ),
        (["--learning-rate", "swr=0"], "learning_rate must be positive, not 0.0"),
        (["--learning-rate", "sgd=1e-3"], "learning rate for 'sgd', which is not am"),
        (
            ["stream", "--task", "class-incremental", "--tasks", "21"],
            "tasks must be at most 20, not 21: cifar100 has 100 classes",
        ),
        (
            ["stream", "--task", "class-pairs", "--train-images", "500"],
            "class-pairs takes all images of its classes: leave train_images out",
        ),
        (
            [*SWEEP, "--protocol", "random-labels", "--rates", "fast"],
            "--rates must be numbers, not fast",
        ),
        (
            [*SWEEP, "--protocol", "random-labels", "--test-images", "9"],
            "random-labels has tests of its own: leave test_images out",
        ),
        (["--train-images", "9"], "train_images 9 are fewer than the batch of 16"),
        (["--methods", "scratch"], "belongs to warm-start"),
        (["--out", ""], "--out must name a folder of its own"),
        (["warm-start", "--methods", "fresh"], "belongs to streams"),
        (
            ["--cluster", "127.0.0.1:9"],
            "--cluster 127.0.0.1:9 does not answer ([Errno 111] Connection refused):",
        ),
        (
            [*SWEEP, "--cluster", "here"],
            "--cluster 'here' is no address: write auto",
        ),
        (["--cluster", "ray://host:10001"], "has to start on a machine of the cluster"),
        (["warm-start", "--lane-gpus", "0.5"], "--lane-gpus belongs to a cluster: add"),
        (
            ["proportionality", "--cluster", "local", "--lane-cpus", "1.5"],
            "--lane-cpus must be from 0 to 1 or a whole number, not 1.5",
        ),
        (["--cluster", "local", "--lane-cpus", "-1"], "or a whole number, not -1"),
    ],
)
def test_so_do_other_commands(arguments, message, check_mistake):
    check_mistake(arguments, message)


@pytest.mark.parametrize("command", [("warm-start",), SWEEP])
def test_event_files_need_their_package(command, monkeypatch, check_mistake):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    message = "--tensorboard needs tensorboardX: pip install tensorboardX"
    arguments = [*command, "--tensorboard"]
    check_mistake(arguments, message)


@pytest.mark.parametrize("command", [("warm-start",), SWEEP, ("proportionality",)])
def test_a_cluster_needs_its_package(command, monkeypatch, check_mistake):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "experiments.training.cluster", raising=False)
    message = "--cluster needs Ray: pip install 'swr-optax[cluster]'"
    arguments = [*command, "--cluster", "auto"]
    check_mistake(arguments, message)


def test_a_mistake_is_one_line_in_a_process_of_its_own(tmp_path):
    """It is found before Matplotlib comes, which would fill a cache."""
    done = swr_experiments("warm-start", "--methods", "sgd", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_without_a_cluster_ray_is_not_imported(tmp_path):
    code = "import sys; from experiments.__main__ import main; main(sys.argv[1:]);"
    code += "print('ray' in sys.modules)"
    small = ("--tasks", "1", "--epochs", "1", "--seeds", "1", "--methods", "vanilla")
    done = subprocess.run(
        [sys.executable, "-c", code, *small],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_stopped_it_says_whether_it_goes_on(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    for module, arguments, promise in (
        ("experiments.commands.stages", ["warm-start"], True),
        ("experiments.commands.streams", [], True),
        ("experiments.commands.proportionality", ["proportionality"], True),
        ("experiments.commands.benchmark", ["benchmark"], False),
    ):
        monkeypatch.setattr(f"{module}.run", stopped)
        assert main(arguments) == 130
        err = capsys.readouterr().err
        assert "stopped" in err
        assert ("the same command goes on" in err) == promise


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


@pytest.mark.parametrize("extra", [[], ["--decay"]])
def test_single_task_has_its_two_forms(extra, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = ("--seeds", "1", "--epochs", "2", "--train-images", "50")
    assert main(["single-task", *extra, *small, "--methods", "vanilla"]) == 0
    folder = "single-task-decay-digits-mlp" if extra else "single-task-digits-mlp"
    assert (tmp_path / "runs" / folder / "figure.png").is_file()
    assert folder in capsys.readouterr().out


@pytest.mark.parametrize("command", [("single-task",), (), ("proportionality",), SWEEP])
def test_what_is_finished_is_shown_and_not_run_again(
    command, tmp_path, monkeypatch, capsys
):
    """Until that is wanted, or another is."""
    monkeypatch.chdir(tmp_path)
    small = ["--seeds", "1", "--epochs", "1", "--train-images", "64", "--out", "out"]
    words = [*command, *small]
    if command == SWEEP:
        words += ["--grid", "1e-2", "1e-3", "--protocol", "single-task"]
    else:
        words += ["--methods", "vanilla"]
    words += [] if command else ["--tasks", "2"]
    assert main(words) == 0
    first = capsys.readouterr().out
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.csv")}
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "out has this " in shown.err
    assert " already: --restart runs it again\n" in shown.err
    # The same table, without what was written.
    table = [line for line in first.splitlines() if "wrote" not in line]
    assert [line for line in shown.out.splitlines() if "wrote" not in line] == table
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert main([*words, "--restart"]) == 0
    assert " already: " not in capsys.readouterr().err
    assert all(path.stat().st_mtime_ns > written for path, written in files.items())
    files = {path: path.stat().st_mtime_ns for path in files}
    other = [*words, "--learning-rate", "1e-4"]
    assert main(other) == 2  # It may be the work of hours.
    told = capsys.readouterr().err
    assert "out has another " in told
    assert "(learning_rate 0.001 → 0.0001" in told
    assert told.endswith("): choose another --out, or replace it with --restart\n")
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert main([*other, "--restart"]) == 0
    assert all(path.stat().st_mtime_ns > written for path, written in files.items())
    assert not list(tmp_path.rglob("checkpoint"))
    assert not list(tmp_path.rglob(".*"))


TINY = ("--seeds", "1", "--epochs", "1", "--train-images", "16", "--tasks", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The words of a command whose run is there, and its folder."""
    words = [*TINY, "--methods", "vanilla", "swr", "--out"]
    words.append(str(tmp_path_factory.mktemp("finished") / "out"))
    assert main(words) == 0
    return words


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
@pytest.mark.parametrize("report", [False, True])
def test_output_that_cannot_be_written_is_named(
    report, finished, tmp_path, monkeypatch, capsys
):
    words = ["report", finished[-1], "--out", str(tmp_path / "report")]
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(words if report else finished) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "swr-experiments: cannot write to standard output: No space left on device"
    )


@pytest.mark.parametrize("report", [False, True])
def test_a_reader_who_has_enough_gets_no_more(
    report, finished, tmp_path, monkeypatch, capsys
):
    words = ["report", finished[-1], "--out", str(tmp_path / "report")]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        try:
            status = main(words if report else finished)
        except SystemExit as end:  # Rich's.
            status = end.code
    assert status == 1
    assert len(capsys.readouterr().err.splitlines()) <= 1
    assert report == (tmp_path / "report" / "report.html").exists()


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_an_encoding_without_greek_will_do(errors, finished, monkeypatch):
    """The second is how Python opens it in the C locale."""
    printed = io.BytesIO()
    with io.TextIOWrapper(printed, encoding="ascii", errors=errors) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(finished) == 0
        stdout.flush()
        text = printed.getvalue().decode("ascii")
    assert "SWR" in text
    assert "verage ?" in text


@pytest.mark.parametrize(
    ("variables", "width"),
    [
        ({"COLUMNS": "40", "NO_COLOR": "1", "TERM": "xterm-256color"}, 40),
        ({"COLUMNS": "200", "TERM": "dumb"}, 200),
        ({"COLUMNS": "0"}, 80),
    ],
)
def test_a_pipe_gets_plain_lines_as_wide_as_is_wanted(
    variables, width, finished, monkeypatch, capsys
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(finished) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "nothing can be told apart" in " ".join(printed.split())
    lines = printed.splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("name", ["de_DE.UTF-8", "tr_TR.UTF-8"])
def test_numbers_have_points_wherever_it_runs(name, finished, tmp_path):
    """And names stay names, where i and I are two letters."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        pytest.skip(f"needs the locale {name}")
    try:
        assert main([*finished[:-1], str(tmp_path / "out"), "--restart"]) == 0
        assert (
            main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "r")]) == 0
        )
    finally:
        locale.setlocale(locale.LC_ALL, before)
    here, there = tmp_path / "out", Path(finished[-1])
    assert without_seconds(here / "metrics.csv") == without_seconds(
        there / "metrics.csv"
    )


@pytest.mark.parametrize("out", ["", ".", "a\0b"])
@pytest.mark.parametrize(
    "command", [[], ["proportionality"], SWEEP, ["report"], ["guide"], ["benchmark"]]
)
def test_a_folder_needs_a_name(command, out, check_mistake):
    message = "--out must name a folder of its own, such as runs/mine"
    if command == ["report"]:
        command = ["report", "run"]
    words = [*command, "--out", out]
    check_mistake(words, message)


@pytest.mark.parametrize("command", [["warm-start"], ["single-task"], SWEEP])
def test_more_images_than_there_are_are_refused(command, check_mistake):
    words = [*command, "--train-images", "9999"]
    message = (
        "train_images 9999 are more than the 1437 that there are: give a smaller"
        " --train-images"
    )
    check_mistake(words, message)


def test_a_checkpoint_that_is_no_folder_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint").write_text("mine")
    assert main([*TINY, "--out", "out"]) == 2
    assert capsys.readouterr().err == (
        "swr-experiments: cannot use out/checkpoint: Not a directory\n"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint"]


def test_another_s_unfinished_run_is_refused(tmp_path, monkeypatch, capsys):
    """In one line that says what differs; with --restart it makes room."""
    monkeypatch.chdir(tmp_path)

    def stopped(*_):
        raise KeyboardInterrupt

    words = [*TINY, "--methods", "vanilla", "--out", "out"]
    with monkeypatch.context() as patch:
        patch.setattr("experiments.commands.streams.write_run", stopped)
        assert main(words) == 130
    capsys.readouterr()
    assert main([*words, "--decay"]) == 2
    assert capsys.readouterr().err == (
        "swr-experiments: out/checkpoint holds an unfinished run of another"
        " configuration (decay False → True): give its own options again to go on,"
        " choose another --out, or throw it away with --restart\n"
    )
    assert main(words) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["data"] == load_dataset("digits").digest
    told = "resumed: out/checkpoint has 1 part of the run"
    assert told in capsys.readouterr().err.splitlines()
    with monkeypatch.context() as patch:
        patch.setattr("experiments.commands.streams.write_run", stopped)
        assert main([*words, "--restart"]) == 130
    assert main([*words, "--decay", "--restart"]) == 0


def test_without_a_home_it_runs_and_says_nothing_of_it(tmp_path):
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    kept = {k: v for k, v in os.environ.items() if k[:4] not in ("XDG_", "MPLC")}
    done = subprocess.run(
        [sys.executable, "-m", "experiments", *TINY, "--methods", "vanilla"],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": path, "HOME": "/proc/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("vanilla: online accuracy ")
