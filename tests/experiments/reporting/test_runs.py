"""Folders of runs: what is read from them, and what is said of broken ones."""

import csv
import gzip
import json
import math
import shutil

from hypothesis import given, strategies as st
import numpy as np
import pandas as pd
import pytest

from experiments.errors import UserError
from experiments.reporting.gathering import write_report
from experiments.reporting.naming import KNOWN, metric
from experiments.reporting.runs import find_runs, read_run
from experiments.training.checkpoint import Checkpoints
import mutations


@pytest.mark.parametrize("protocol", KNOWN)
def test_every_protocol_is_read(write_folder, tmp_path, protocol):
    run = read_run(write_folder(tmp_path / "run", protocol=protocol, seeds=2))
    assert run.protocol == protocol
    assert run.methods == ["vanilla", "swr"]
    setting = run.setting
    assert [setting[name] for name in ("epochs", "profile", "train_images")] == [
        *("4", "quick", "" if protocol == "agent" else "all")
    ]
    assert run.rows["finished"].all()
    assert set(run.rows["seed"]) == {0, 1}
    assert run.metrics[metric(protocol)].dtype == np.float64
    assert set(run.metrics["method"]) == {"vanilla", "swr"}


def test_empty_cells_are_not_measured(write_folder, tmp_path):
    run = read_run(write_folder(tmp_path / "run", protocol="warm-start"))
    at_change = run.metrics["epoch"] == 0
    assert at_change.any()
    assert (np.isnan(run.metrics["train_loss"]) == at_change).all()


def test_a_history_is_in_the_order_of_training(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="warm-start", epochs=3)
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join([header, *rows[::-1]]))
    rows = read_run(folder).rows
    history = rows[(rows["method"] == "swr") & (rows["seed"] == 2)]
    assert history["stage"].tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert history["epoch"].tolist() == [1, 2, 3, 0, 1, 2, 3]
    assert history["finished"].all()


def test_old_runs_lack_columns_and_fields(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", epochs=1, seeds=1, methods=["swr"])
    columns = "protocol,dataset,model,method,seed,stage,epoch,test_accuracy"
    (folder / "metrics.csv").write_text(
        f"{columns}\nsingle-task,mnist,mlp,swr,0,1,1,0.9\n"
    )
    config = json.loads((folder / "config.json").read_text())
    for name in ("profile", "train_images", "coefficients", "device"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    run = read_run(folder)
    assert run.setting["profile"] == run.setting["train_images"] == "not recorded"
    assert run.entry("swr") == ("swr", "", "")


def test_what_is_null_does_not_apply(write_folder, tmp_path):
    fields = {"tasks": None, "train_images": None, "test_images": None}
    setting = read_run(write_folder(tmp_path / "run", **fields)).setting
    assert [setting[name] for name in fields] == ["", "all", "all"]


def test_coefficients_are_told_in_words(write_folder, tmp_path):
    groups = {"feature": 1e-4, "classifier": 0.1}
    run = read_run(
        write_folder(tmp_path / "run", coefficients={"l2": 1e-5, "swr": groups})
    )
    assert run.entry("l2")[1] == "1e-05"
    assert run.entry("swr")[1] == "feature 0.0001, classifier 0.1"
    assert run.entry("vanilla")[1] == ""


def test_a_method_may_have_a_learning_rate_of_its_own(write_folder, tmp_path):
    rates = {"learning_rate": 1e-3, "learning_rates": {"swr": 1e-4}}
    fields = {"protocol": "random-labels", **rates}
    rows = read_run(write_folder(tmp_path / "run", **fields)).rows
    found = rows.groupby("method")["rate"].unique()
    assert {name: list(rate) for name, rate in found.items()} == {
        "vanilla": ["0.001"],
        "swr": ["0.0001"],
    }


def test_a_method_s_own_rate_is_told_though_a_run_did_not_note_it(
    write_folder, tmp_path
):
    fields = {"protocol": "random-labels", "methods": ["upgd", "swr"]}
    run = read_run(write_folder(tmp_path / "old", **fields))
    assert (run.entry("upgd")[2], run.entry("swr")[2]) == ("0.01", "0.001")
    noted = {"learning_rates": {"upgd": 1e-4}}
    run = read_run(write_folder(tmp_path / "new", **fields, **noted))
    assert run.entry("upgd")[2] == "0.0001"


def rewrite(folder, change):
    """Applies a function to the table's lines behind the header."""
    path = folder / "metrics.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *change(rows)]) + "\n")
    return read_run(folder)


@pytest.mark.parametrize(
    "protocol", ["single-task", "random-labels", "proportionality"]
)
def test_a_seed_without_its_last_row_has_not_finished(write_folder, tmp_path, protocol):
    folder = write_folder(tmp_path / "run", protocol=protocol, seeds=3, methods=["swr"])
    run = rewrite(folder, lambda rows: rows[:-1])
    assert set(run.rows["seed"][run.rows["finished"]]) == {0, 1}
    done, wanted = run.progress.loc[("swr", 2)]
    assert done == wanted - 1


def test_scratch_has_the_last_stage_alone(write_folder, tmp_path):
    fields = {"protocol": "warm-start", "methods": ["scratch"]}
    run = read_run(write_folder(tmp_path / "run", **fields))
    assert run.rows["finished"].all()
    assert set(run.progress["wanted"]) == {4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "cold-start"}, "protocol must be one of random-labels, permuted"),
        ({"protocol": ["warm-start"]}, "protocol must be one of "),
        ({"dataset": ""}, "dataset must be a name, not ''"),
        ({"model": "a\nb"}, r"model must be a name, not 'a\nb'"),
        ({"methods": "swr"}, "methods must be a list of names, not 'swr'"),
        ({"epochs": 10**400}, "epochs must be a whole number from 1, not 1000"),
        ({"learning_rate": 10**400}, "learning_rate must be a number, not 1000"),
        ({"seeds": 0}, "seeds must be a whole number from 1, not 0"),
        ({"first_seed": -1}, "first_seed must be a whole number from 0, not -1"),
        ({"epochs": True}, "epochs must be a whole number from 1, not True"),
        ({"stages": "10"}, "stages must be a whole number from 1, not '10'"),
        ({"train_images": 0.5}, "train_images must be a whole number or null"),
        ({"profile": 3}, "profile must be a name, not 3"),
        ({"coefficients": {"swr": "much"}}, "coefficients must be an object of"),
        ({"protocol": "random-labels", "tasks": None}, "tasks must be a whole number"),
        ({"learning_rates": {"swr": "low"}}, "learning_rates must be an object of"),
    ],
)
def test_a_broken_config_is_named(write_folder, tmp_path, fields, message):
    folder = write_folder(tmp_path / "run", seeds=1)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        read_run(folder)
    assert str(error.value).startswith(f"{folder / 'config.json'}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mlp,swr,0,1,2,", "mlp,swr,0,1,x,", "line 7: epoch must be a number, not 'x'"),
        ("mlp,swr,0,1,2,", "mlp,swr,0,1,1,", "line 7: a second row of the same eval"),
        ("mlp,swr,0,1,2,", "mlp,swr,0,1,", "line 7: 17 values for 18 columns"),
        (
            "mlp,swr,0,1,2,",
            "cnn,swr,0,1,2,",
            "line 7: model is not 'mlp', as in config.json, but 'cnn'",
        ),
        ("mlp,swr,0,1,2,", "mlp,swr,,1,2,", "line 7: seed must be a number, not ''"),
        ("mlp,swr,0,1,2,", "mlp,swr,0,inf,2,", "7: stage must be a number, not 'inf'"),
        ("mlp,swr,0,1,2,", "mlp,,0,1,2,", "line 7: method must be a name, not ''"),
        ("mlp,swr,0,1,2,", "mlp,swr,0,1,nan,", "7: epoch must be a number, not 'nan'"),
        ("mlp,swr,0,1,2,", "mlp,swr,0,1,1.5,", "epoch must be a whole number from 0,"),
        ("mlp,swr,0,1,2,", "mlp,swr,-1,1,2,", "7: seed must be a whole number from 0,"),
        ("test_accuracy,", "accuracy,", "metrics.csv has no column 'test_accuracy'"),
        ("seconds,", "step,", "the names of columns must be printable and unique"),
    ],
)
def test_a_broken_table_is_named(write_folder, tmp_path, old, new, message):
    path = write_folder(tmp_path / "run", seeds=1) / "metrics.csv"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        read_run(path.parent)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["2", "-inf", "inf", "-0.1", "1.0001"])
@pytest.mark.parametrize(
    ("protocol", "column"),
    [
        ("single-task", "test_accuracy"),
        ("single-task", "dead_units"),
        ("random-labels", "online_accuracy"),
        ("random-labels", "end_accuracy"),
        ("proportionality", "test_accuracy"),
    ],
)
def test_no_fraction_is_named(write_folder, tmp_path, protocol, column, value):
    folder = write_folder(tmp_path / "run", seeds=1, protocol=protocol)
    place = (folder / "metrics.csv").read_text().split("\n")[0].split(",").index(column)

    def broken(rows):
        cells = rows[1].split(",")
        return [rows[0], ",".join([*cells[:place], value, *cells[place + 1 :]])]

    with pytest.raises(UserError) as error:
        rewrite(folder, broken)
    assert str(error.value) == (
        f"{folder}/metrics.csv, line 3: {column} must be from 0 to 1, not {value!r}"
    )


def test_what_is_no_text_is_named(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"metrics.csv is no table of numbers"):
        read_run(folder)
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"config.json is no JSON: "):
        read_run(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json is no JSON: Expecting"):
        read_run(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config.json holds no object"):
        read_run(folder)


def test_missing_files_are_named(write_folder, tmp_path):
    with pytest.raises(UserError, match=r"none has no config.json: make a run"):
        read_run(tmp_path / "none")
    folder = write_folder(tmp_path / "run")
    (folder / "metrics.csv").unlink()
    with pytest.raises(UserError, match=r"run has no metrics.csv: name a run's"):
        read_run(folder)


def test_metrics_may_be_packed(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="warm-start")
    plain = read_run(folder).metrics
    content = (folder / "metrics.csv").read_bytes()
    (folder / "metrics.csv").unlink()
    packed = gzip.compress(content)
    (folder / "metrics.csv.gz").write_bytes(packed)
    pd.testing.assert_frame_equal(read_run(folder).metrics, plain)
    for damaged, reason in (
        (packed[: len(packed) // 2], "is not whole: copy it again"),
        (content, "is no table of numbers: Not a gzipped file"),
        (packed[:40] + bytes(40) + packed[80:], "is no table of numbers"),
    ):
        (folder / "metrics.csv.gz").write_bytes(damaged)
        with pytest.raises(UserError, match=rf"metrics\.csv\.gz {reason}"):
            read_run(folder)


def test_runs_are_found(write_folder, tmp_path):
    assert find_runs([tmp_path]) == [tmp_path]  # To be told what it lacks.
    folders = [write_folder(tmp_path / "b"), write_folder(tmp_path / "a" / "deep")]
    (tmp_path / "report").mkdir()
    unfinished = tmp_path / "c" / ".unfinished-abc"
    write_folder(unfinished)
    empty = tmp_path / "empty"
    found = find_runs([tmp_path / "b", empty, tmp_path])
    assert found == [folders[0], empty, *sorted(folders)]


def test_an_unfinished_one_is_found_and_named(tmp_path):
    Checkpoints(tmp_path / "run" / "checkpoint", "a run")
    (folder,) = find_runs([tmp_path])
    with pytest.raises(UserError) as error:
        read_run(folder)
    assert str(error.value) == (
        f"{tmp_path}/run is not finished: give its command again, and it goes on"
    )


FEW = [*KNOWN[:1], *KNOWN[5:]]  # Of streams, that of accuracy and that of errors.


@pytest.fixture(scope="module")
def runs(write_folder, tmp_path_factory):
    """Small runs of all protocols; where one of them is mutated."""
    root = tmp_path_factory.mktemp("mutated")
    fields = {"seeds": 3, "epochs": 2, "tasks": 3, "learning_rates": {"swr": 1e-4}}
    for protocol in FEW:
        write_folder(root / protocol, protocol=protocol, **fields)
    return root


def refused_or_right(folder, out):
    """A run is shown as its files have it, or one line says which of them is wrong."""
    try:
        run = read_run(folder)
    except UserError as error:
        said = str(error)
        assert said.isprintable()
        assert len(said) < 1000
        assert str(folder) in said
        return
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    metrics = run.metrics.drop(columns="diverged")
    assert list(metrics) == header
    assert len(metrics) == len(rows)
    found = metrics.sort_index().itertuples(index=False)  # By lines.
    for row, cells in zip(rows, found, strict=True):
        for cell, value in zip(row, cells, strict=True):
            if isinstance(value, str):
                assert cell == value
            elif math.isnan(value):
                assert cell.strip().lower() in ("", "nan", "-nan", "+nan")
            else:
                assert float(cell) == value
    write_report(out, [folder])


@given(data=st.data())
@mutations.tries(12)
def test_a_mutated_run_is_refused_or_shown_as_it_is(runs, data):
    protocol = data.draw(st.sampled_from(FEW))
    source, folder = runs / protocol, runs / "mutant"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    name = data.draw(st.sampled_from(["config.json", "metrics.csv"]))
    text = (source / name).read_text()
    change = mutations.content(text.encode())
    if name == "config.json":
        change |= mutations.document(json.loads(text))
    else:
        change |= mutations.table(text)
    (folder / name).write_bytes(data.draw(change))
    refused_or_right(folder, runs / "report")
