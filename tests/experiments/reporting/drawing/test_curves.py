"""Lines over training, and how they are told apart."""

import numpy as np
import pandas as pd
import pytest

from experiments.methods import METHODS
from experiments.reporting.collection import collect
from experiments.reporting.drawing.curves import (
    COLORS,
    OTHER_COLORS,
    changes,
    curve,
    entries,
    on_dark,
    retention,
    styles,
    thinned,
)
from experiments.reporting.naming import ENTRY


def rows_of(folder, method):
    rows = collect([folder]).rows
    return rows[rows["method"] == method]


def rewrite(folder, change):
    """Applies a function to the table's lines behind the header."""
    path = folder / "metrics.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *change(rows)]) + "\n")


def test_a_curve_is_the_mean_over_seeds(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="random-labels", tasks=6)
    rows = rows_of(folder, "swr")
    line = curve(rows, "online_accuracy")
    values = rows.pivot(index="task", columns="seed", values="online_accuracy")
    assert line.index.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(line["mean"], values.to_numpy().mean(axis=1))
    np.testing.assert_allclose(line["deviation"], values.to_numpy().std(axis=1, ddof=1))


def test_smoothing_is_of_each_seed(write_folder, tmp_path):
    rows = rows_of(
        write_folder(tmp_path / "run", protocol="random-labels", tasks=6), "swr"
    )
    line = curve(rows, "online_accuracy", window=3)
    values = rows.pivot(index="task", columns="seed", values="online_accuracy")
    smooth = [values.to_numpy()[max(0, i - 2) : i + 1].mean(axis=0) for i in range(6)]
    np.testing.assert_allclose(line["mean"], np.mean(smooth, axis=1))
    np.testing.assert_allclose(line["deviation"], np.std(smooth, axis=1, ddof=1))


def test_stages_follow_each_other(write_folder, tmp_path):
    fields = {"protocol": "warm-start", "methods": ["scratch", "swr"]}
    folder = write_folder(tmp_path / "run", **fields)
    line = curve(rows_of(folder, "swr"), "test_accuracy")
    assert line.index.tolist() == [1, 2, 3, 4, 4, 5, 6, 7, 8]
    line = curve(rows_of(folder, "scratch"), "test_accuracy")
    assert line.index.tolist() == [5, 6, 7, 8]
    assert changes(rows_of(folder, "swr")) == [4]


def test_curves_keep_to_what_all_seeds_have(write_folder, tmp_path):
    """A row that one seed lacks must not shift its later ones."""
    fields = {"protocol": "warm-start", "seeds": 2, "epochs": 3, "methods": ["swr"]}
    folder = write_folder(tmp_path / "run", **fields)
    whole = curve(rows_of(folder, "swr"), "test_accuracy")
    rewrite(folder, lambda rows: [row for row in rows if ",swr,1,2,0," not in row])
    line = curve(rows_of(folder, "swr"), "test_accuracy")
    assert whole.index.tolist() == [1, 2, 3, 3, 4, 5, 6]
    assert line.index.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(line["mean"], np.delete(whole["mean"], 3))


def test_what_was_not_measured_has_no_curve(write_folder, tmp_path):
    rows = rows_of(write_folder(tmp_path / "run"), "swr")
    assert curve(rows, "sharpness").empty
    assert curve(rows.assign(dead_units=np.nan), "dead_units").empty


def test_finished_seeds_are_drawn_or_else_all(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", seeds=3, methods=["swr"])
    rewrite(folder, lambda rows: rows[:-1])
    ((_, drawn),) = entries(collect([folder]).rows)
    assert set(drawn["seed"]) == {0, 1}
    folder = write_folder(tmp_path / "begun", seeds=3, methods=["swr"], finished=2)
    ((_, drawn),) = entries(collect([folder]).rows)
    assert set(drawn["seed"]) == {0, 1, 2}


def test_tasks_that_are_not_scored_are_not_drawn(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="five-plus-one", tasks=6)
    (_, drawn), _ = entries(collect([folder]).rows)
    assert set(drawn["task"]) == {1, 3, 5}


def test_retention_compares_both_sides_of_a_change(write_folder, tmp_path):
    fields = {"protocol": "warm-start", "seeds": 1, "epochs": 2, "methods": ["swr"]}
    folder = write_folder(tmp_path / "run", **fields)
    accuracy = iter([0.5, 0.8, 0.3, 0.6, 0.9])

    def numbered(row):
        cells = row.split(",")
        cells[9] = str(next(accuracy))
        return ",".join(cells)

    rewrite(folder, lambda rows: [numbered(row) for row in rows])
    found = retention(rows_of(folder, "swr"))
    assert found.to_dict("list") == {"before": [0.8], "at": [0.3], "after": [0.6]}


def test_retention_is_of_every_change(write_folder, tmp_path):
    fields = {"protocol": "continual-full", "methods": ["swr", "scratch"], "seeds": 2}
    rows = rows_of(write_folder(tmp_path / "run", **fields), "swr")
    found = retention(rows)
    accuracy = rows.set_index(["seed", "stage", "epoch"])["test_accuracy"]
    assert len(found) == 2 * 9
    for (seed, stage), row in found.iterrows():
        assert row["before"] == accuracy[seed, stage - 1, 4]
        assert row["at"] == accuracy[seed, stage, 0]
        assert row["after"] == accuracy[seed, stage, 1]


def test_thinning_keeps_ends_and_changes():
    places = [*range(100), 99, *range(100, 200)]
    line = pd.DataFrame({"mean": np.arange(201.0)}, index=places)
    kept = thinned(line, 20)
    assert len(kept) <= 23
    assert {0.0, 99.0, 100.0, 200.0} <= set(kept["mean"])
    assert len(thinned(line, 300)) == 201


def entries_of(methods):
    return pd.DataFrame([(m, "", "") for m in methods], columns=ENTRY)


def test_methods_are_told_apart():
    # Scratch is never beside a fresh network for each task.
    methods = [*METHODS.keys() - {"scratch"}, "unknown"]
    found = styles(entries_of(methods))
    assert len({(style.color, style.dash) for style in found}) == len(methods)


def test_a_method_has_one_color_everywhere():
    some, all_ = ["swr_follow", "vanilla"], [*METHODS]
    every = dict(zip(all_, styles(entries_of(all_)), strict=True))
    assert styles(entries_of(some)) == [every[name] for name in some]
    fresh, vanilla = styles(entries_of(["fresh", "vanilla"]))
    assert (fresh.color, fresh.dash) == ("#000000", "dash")
    assert vanilla.dash == "solid"


def test_coefficients_are_told_apart_by_dashes():
    one, two = styles(entries_of(["swr", "swr"]))
    assert one.color == two.color
    assert one.dash != two.dash


def test_no_entry_looks_like_another_s():
    """Whatever dashes the methods of one colour have."""
    methods = ["spectral", "spectral", "redo", *["l2"] * 7, "redo"]
    found = styles(entries_of(methods))
    assert len({*found}) == len(methods)
    assert found[2] == styles(entries_of(["redo"]))[0]


@pytest.mark.parametrize("color", sorted({*COLORS.values(), *OTHER_COLORS}))
def test_every_color_is_seen_on_both_pages(color):
    def luminance(text):
        parts = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return np.array([0.2126, 0.7152, 0.0722]) @ linear

    def contrast(one, other):
        dark, light = sorted([luminance(one), luminance(other)])
        return (light + 0.05) / (dark + 0.05)

    assert contrast(color, "#ffffff") > 2  # Okabe and Ito's lightest has 2.2.
    assert contrast(on_dark(color), "#16181b") > 3
