"""Many runs as one table."""

import json

import pytest

from experiments.errors import UserError
from experiments.reporting.collection import collect
from experiments.reporting.missing import missing


def shown(collection):
    rows = collection.rows[["name", "run"]].drop_duplicates()
    return list(rows.itertuples(index=False, name=None))


def test_the_newer_of_two_runs_is_shown(write_folder, tmp_path):
    new = write_folder(tmp_path / "new", written=2e9, methods=["swr", "l2"])
    old = write_folder(tmp_path / "old", written=1e9)
    other = write_folder(tmp_path / "other", written=1e9, epochs=5)
    for folders in ([new, old, other], [other, old, new]):
        found = collect(folders)
        assert shown(found) == [
            ("vanilla", str(old)),
            ("L2", str(new)),
            ("SWR", str(new)),
            ("vanilla", str(other)),
            ("SWR", str(other)),
        ]
        ((run, method, newer),) = found.replaced
        assert (run.folder, method, newer.folder) == (old, "swr", new)
        assert [setting["epochs"] for setting, _ in found.settings()] == ["4", "5"]


def test_seeds_of_their_own_are_added(write_folder, tmp_path):
    fields = {"methods": ["swr"], "seeds": 2}
    first = write_folder(tmp_path / "first", written=1e9, **fields)
    more = write_folder(tmp_path / "more", written=2e9, first_seed=2, **fields)
    found = collect([first, more])
    assert set(found.rows["seed"]) == {0, 1, 2, 3}
    assert not found.replaced
    # One that shares a seed with the newer stands for none of its own any more.
    newest = write_folder(tmp_path / "newest", written=3e9, first_seed=1, **fields)
    found = collect([newest, first, more])
    assert shown(found) == [("SWR", str(newest))]
    gave_way = [(old.folder, method, new.folder) for old, method, new in found.replaced]
    assert gave_way == [(first, "swr", newest), (more, "swr", newest)]
    # Nor is it counted how many seeds a configuration asks for.
    config = json.loads((newest / "config.json").read_text()) | {"seeds": 10**9}
    (newest / "config.json").write_text(json.dumps(config))
    assert shown(collect([newest, first, more])) == [("SWR", str(newest))]
    # What gave way takes nobody else's place.
    apart = write_folder(tmp_path / "apart", written=4e9, first_seed=3, **fields)
    found = collect([first, more, apart])
    assert set(found.rows["run"]) == {str(first), str(apart)}


@pytest.mark.parametrize(
    "fields",
    [
        {"profile": "paper"},
        {"train_images": 9},
        {"batch_size": 7},
        {"optimizer": "sgd"},
    ],
)
def test_what_differs_is_another_setting(write_folder, tmp_path, fields):
    one = write_folder(tmp_path / "one", methods=["swr"])
    two = write_folder(tmp_path / "two", methods=["swr"], **fields)
    found = collect([one, two])
    assert len(list(found.settings())) == 2
    assert not found.replaced


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"coefficients": {"swr": 1e-2}}, "SWR (λ 0.01)"),
        ({"learning_rates": {"swr": 1e-4}}, "SWR (rate 0.0001)"),
    ],
)
def test_entries_of_one_setting_stand_side_by_side(
    write_folder, tmp_path, fields, name
):
    stream = {"protocol": "random-labels", "methods": ["swr"]}
    one = write_folder(tmp_path / "one", **stream)
    two = write_folder(tmp_path / "two", **stream, **fields)
    ((_, rows),) = collect([one, two]).settings()
    assert name in rows["name"].unique()
    assert rows["name"].nunique() == 2


def test_protocols_come_in_their_order(write_folder, tmp_path):
    protocols = ["proportionality", "warm-start", "permuted-inputs", "random-labels"]
    folders = [write_folder(tmp_path / name, protocol=name) for name in protocols]
    found = [setting["protocol"] for setting, _ in collect(folders).settings()]
    assert found == [*protocols[::-1][:2], "warm-start", "proportionality"]


def test_what_cannot_be_read_stops_nothing(write_folder, tmp_path):
    run, broken = write_folder(tmp_path / "run"), tmp_path / "broken"
    found = collect([run, broken, run])
    assert len(found.runs) == 1
    (line,) = found.unreadable
    assert line == f"{broken} has no config.json: make a run first, or name its folder"
    with pytest.raises(UserError, match="broken has no config"):
        collect([broken])
    with pytest.raises(UserError, match="no runs: name at least one folder"):
        collect([])


def test_what_was_cut_short_replaces_nothing(write_folder, tmp_path):
    whole = write_folder(tmp_path / "whole", methods=["swr"], written=1e9)
    cut = write_folder(tmp_path / "cut", methods=["swr"], finished=2, written=2e9)
    found = collect([cut, whole])
    ((old, _, new),) = found.replaced
    assert (old.folder, new.folder) == (cut, whole)
    assert found.rows["finished"].all()
    (line,) = missing(found)["Run twice"]
    assert line.endswith(
        "whole (written 2001-09-09 01:46 UTC), which has finished seeds."
    )


def test_a_run_without_a_row_is_a_run(write_folder, tmp_path):
    empty = write_folder(tmp_path / "empty", finished=0)
    assert collect([empty]).rows.empty
    whole = write_folder(tmp_path / "whole", dataset="digits")
    assert len(collect([empty, whole]).runs) == 2
