"""The numbers that a report gives."""

import numpy as np
import pytest

from experiments.reporting import tables
from experiments.reporting.collection import collect
from experiments.reporting.drawing.curves import retention
from experiments.reporting.ranking import ranking
from experiments.reporting.runs import read_run

SMALL = "actor_critic_small"


def rows_of(*folders):
    return collect(folders).rows


def as_dicts(table):
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


@pytest.fixture
def known(write_folder, tmp_path):
    """Final accuracies of vanilla .96 .97 .98, in a table with the paper's."""
    folder = write_folder(tmp_path / "run", seeds=3, profile="paper")
    lines = (folder / "metrics.csv").read_text().splitlines()
    for i, line in enumerate(lines):
        cells = line.split(",")
        if cells[3] == "vanilla" and cells[6] == "4":
            cells[9] = f"{0.96 + 0.01 * int(cells[4]):.2f}"
            cells[11] = f"{1 + int(cells[4])}"
            lines[i] = ",".join(cells)
    (folder / "metrics.csv").write_text("\n".join(lines))
    return folder


def test_the_runs_say_their_seeds(write_folder, tmp_path):
    first = write_folder(tmp_path / "first", seeds=3)
    more = write_folder(tmp_path / "more", seeds=2, first_seed=3)
    table = tables.runs(collect([first, more]))
    place = table.header.index("seeds")
    assert [row[place] for row in table.rows] == ["3", "2, from 3"]


def ends(folder):
    run = read_run(folder)
    return as_dicts(tables.ends(ranking(rows_of(folder)), run.setting))


def test_final_values_stand_beside_the_papers(known):
    row = ends(known)["vanilla"]
    assert row["test accuracy"] == "0.9700 ± 0.0100"
    assert row["paper"] == "0.9789 ± 0.0009"
    assert row["difference"] == "−0.0089"
    assert row["weight growth"] == "2.00 ± 1.00"
    assert row["λ"] == "–"
    assert row["dead units"] == "0.05"
    assert row["effective rank"] == "40.5"
    assert row["seeds"] == "3"


@pytest.mark.parametrize(("λ", "tabled"), [(2e-5, True), (1e-5, False)])
def test_the_paper_s_figure_is_that_of_its_coefficient(
    write_folder, tmp_path, λ, tabled
):
    """Of which L2's is twice as large here as there."""
    fields = {"methods": ["l2", "swr"], "coefficients": {"l2": λ, "swr": 1e-4}}
    found = ends(write_folder(tmp_path / "run", seeds=3, profile="paper", **fields))
    assert found["SWR"]["paper"] == "0.9822 ± 0.0024"
    assert found["L2"]["paper"] == ("0.9795 ± 0.0019" if tabled else "–")
    assert (found["L2"]["difference"] == "–") != tabled


def test_one_seed_has_neither_deviation_nor_interval(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", seeds=1, dataset="digits")
    row = ends(folder)["SWR"]
    assert "±" not in row["test accuracy"]
    # Columns that nobody filled are left out.
    assert not {"paper", "difference", "balancedness"} & set(row)
    table = tables.ranked(ranking(rows_of(folder)), "single-task")
    header = ["method", "λ", "score", "final test accuracy", "seeds"]
    assert table.header == header


def test_a_stream_says_what_is_lost(write_folder, tmp_path):
    fields = {"protocol": "random-labels", "tasks": 10}
    table = ranking(rows_of(write_folder(tmp_path / "run", **fields)))
    shown = tables.ranked(table, "random-labels")
    assert "the lowest first" not in shown.caption
    row = as_dicts(shown)["vanilla"]
    (vanilla,) = table[table["method"] == "vanilla"].itertuples()
    assert row["first fifth"] == f"{vanilla.first:.4f}"
    assert row["last fifth"] == f"{vanilla.last:.4f}"
    assert row["change"] == f"−{vanilla.first - vanilla.last:.4f}"
    assert row["95 % interval"] == f"{vanilla.low:.4f} to {vanilla.high:.4f}"
    assert row["letters"] == vanilla.letters


def test_what_changes_lose_is_in_points(write_folder, tmp_path):
    folder = write_folder(
        tmp_path / "run",
        protocol="continual-limited",
        methods=["scratch", "vanilla", "full_reset"],
        seeds=2,
    )
    rows = rows_of(folder)
    found = retention(rows[rows["method"] == "full_reset"])
    lost = 100 * np.mean(found["at"] - found["before"])
    assert lost < -60
    shown = as_dicts(tables.retention(rows))
    assert shown["full reset"]["right at the change"] == f"−{-lost:.2f}"
    assert float(shown["vanilla"]["last before"]) > 0.8


def test_only_protocols_with_changes_have_their_table(write_folder, tmp_path):
    assert not tables.retention(rows_of(write_folder(tmp_path / "one"))).rows
    stream = write_folder(tmp_path / "two", protocol="random-labels")
    assert not tables.retention(rows_of(stream)).rows


def scaled(write_folder, folder, seeds):
    return write_folder(
        folder, protocol="proportionality", seeds=seeds, methods=["vanilla"]
    )


def test_one_seed_is_no_plural(write_folder, tmp_path):
    table = tables.proportionality(rows_of(scaled(write_folder, tmp_path / "run", 1)))
    assert "(1 seed)" in table.caption


def test_proportionality_has_a_row_for_each_ratio(write_folder, tmp_path):
    folder = scaled(write_folder, tmp_path / "run", 2)
    table = tables.proportionality(rows_of(folder))
    rows = as_dicts(table)
    assert "(2 seeds)" in table.caption
    assert list(rows) == ["0.01", "0.1", "0.5", "1", "2", "10"]
    assert rows["0.1"]["kept, at once"] == "0.5510 ± 0.0014"
    assert rows["10"]["rescaled, best of 50"] == "0.6610 ± 0.0014"


def test_runs_are_listed(write_folder, tmp_path):
    images = {"train_images": 1000, "test_images": 50}
    folder = write_folder(tmp_path / "run", written=1e9, **images)
    (row,) = tables.runs(collect([folder])).rows
    assert row == [
        str(folder),
        "Single task",
        "mnist, mlp",
        *("2", "5", "1", "4", "quick", "1000", "50", "test data"),
        "2001-09-09 01:46 UTC",
    ]


def test_nothing_is_set_beside_the_paper_that_trains_otherwise(write_folder, tmp_path):
    fields = {"profile": "paper", "batch_size": 256, "learning_rate": 1e-3}
    for name, other, shown in (
        ("same", {"optimizer": "adam"}, True),
        ("optimizer", {"optimizer": "sgd"}, False),
        ("rate", {"learning_rate": 1e-4}, False),
        ("batch", {"batch_size": 64}, False),
    ):
        folder = write_folder(tmp_path / name, **fields | other)
        assert ("paper" in ends(folder)["vanilla"]) == shown


def test_agents_are_set_side_by_side_over_environments(write_folder, tmp_path):
    def agents(dataset, **fields):
        told = "-".join([dataset, *map(str, fields.values())])
        fields = {"model": SMALL, "methods": ["fresh", "vanilla", "swr"]} | fields
        folder = tmp_path / str(abs(hash(told)))
        return write_folder(folder, protocol="agent", dataset=dataset, **fields)

    folders = [
        agents("cartpole"),
        agents("acrobot", methods=["fresh", "swr"]),
        # Another network, which plays one alone, is no third environment; and a
        # shorter run of one is not a fourth.
        agents("cartpole", model="actor_critic_small_shared"),
        agents("cartpole", iterations=10, methods=["fresh", "swr", "l2"]),
        agents("cartpole", iterations=None, methods=["fresh", "swr", "l2_init"]),
    ]
    rows = rows_of(*folders)
    (found,) = tables.across_environments(rows)
    assert "actor_critic_small over acrobot and cartpole" in found.caption
    table = as_dicts(found)
    assert list(table) == ["fresh network", "SWR"]  # The others were in one alone.
    assert table["SWR"]["runs"] == "10"
    relative = []
    for dataset, random in (("cartpole", 22.9), ("acrobot", -399.6)):
        of = rows[(rows["dataset"] == dataset) & (rows["model"] == SMALL)]
        of = of[of["iterations"] == "60"]
        means = of.groupby(["method", "seed"])["average_return"].mean()
        control = means["fresh"].mean()
        relative += [(x - random) / (control - random) for x in means["swr"]]
    middle = np.sort(relative)[2:8].mean()
    assert float(table["SWR"]["score"]) == pytest.approx(middle, abs=6e-4)
    assert not tables.across_environments(rows_of(folders[0]))
    # Nor are environments that do not change among them.
    plain = agents("acrobot_plain", methods=["fresh", "swr"])
    assert not tables.across_environments(rows_of(folders[0], plain))


def test_agents_of_two_rates_are_two_methods(write_folder, tmp_path):
    """And the fresh networks of the better one are the control of both."""
    folders = []
    for dataset in ("cartpole", "acrobot"):
        for rate in (1e-3, 1e-4):
            folders.append(
                write_folder(
                    tmp_path / f"{dataset}-{rate}",
                    protocol="agent",
                    dataset=dataset,
                    model=SMALL,
                    learning_rate=rate,
                    # Whose numbers are invented by their places.
                    methods=["fresh", "swr"] if rate == 1e-3 else ["swr", "fresh"],
                )
            )
    rows = rows_of(*folders)
    (found,) = tables.across_environments(rows)
    table = as_dicts(found)
    assert len(table) == 4
    assert {row["runs"] for row in table.values()} == {"10"}
    assert "SWR (rate 0.0001)" in table
    relative = []
    for dataset, random in (("cartpole", 22.9), ("acrobot", -399.6)):
        of = rows[(rows["dataset"] == dataset) & (rows["method"] == "fresh")]
        means = of.groupby(["rate", "seed"])["average_return"].mean()
        control = means.groupby("rate").mean().max()
        relative += [(x - random) / (control - random) for x in means["0.001"]]
    middle = np.sort(relative)[2:8].mean()
    score = float(table["fresh network (rate 0.001)"]["score"])
    assert score == pytest.approx(middle, abs=6e-4)


def test_an_agent_s_ends_have_entropy_and_explained_variance(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="agent", dataset="cartpole")
    row = ends(folder)["SWR"]
    assert row["explained variance"] == "0.9"
    assert float(row["entropy"]) == pytest.approx(0.56, abs=0.01)
