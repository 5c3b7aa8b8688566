"""What README and guide say was measured is what the committed results hold."""

import functools
import json
from pathlib import Path
import re

import pandas as pd
import pytest

from experiments.methods import METHODS
from experiments.reporting.collection import collect
from experiments.reporting.published import PUBLISHED
from experiments.reporting.ranking import ranking

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
TABLES = {
    "README.md": ("random-labels-digits", "agent-cartpole", "single-task-cifar10"),
    "experiments/guide/agents.md": (
        *("agent-cartpole", "agent-acrobot", "agent-cartpole-shared"),
    ),
    "experiments/guide/paper.md": (
        *("warm-start-mnist", "continual-limited-mnist"),
        *("single-task-mnist", "single-task-decay-mnist"),
    ),
    "experiments/guide/remedies.md": (
        *("random-labels-digits", "permuted-inputs-digits"),
        *("random-labels-mnist", "random-labels-mnist-layer-norm"),
    ),
}
"""The results that each page's tables with deviations are of, in their order."""

COLUMNS = {
    "average": "score",
    "average return": "score",
    "averaged over the stream": "score",
    "dead units": "dead_units",
    "final test accuracy": "test",
    "first fifth": "first",
    "growth": "weight_growth",
    "in the paper": "paper",
    "last fifth": "last",
    "mean of last ten epochs": "score",
    "weight growth": "weight_growth",
}
"""Of a ranking, by what the pages call them, up to some words behind."""

DEVIATIONS = {
    "paper": "paper_deviation",
    "score": "half",
    "test": "test_deviation",
    "weight_growth": "weight_growth_deviation",
}
"""What stands behind ±."""

SPREADS = (("test", "test_deviation"), ("score", "deviation"), ("score", "half"))

OTHERWISE = {
    "a fresh network for each level": "fresh",
    "a fresh network for each task": "fresh",
    "plain Adam": "vanilla",
    "plain PPO": "vanilla",
    "S&P, told when the task changes": "shrink_and_perturb",
    "SWR, one λ": "swr",
    "SWR, the value kept": "swr_function",
    "SWR, value and logits kept": "swr_kept",
    "SWR, two λ, and L2 Init's pull on the directions": "swr_directions",
}
"""Methods that a page calls otherwise than tables do."""


def tables(page):
    """Heading and rows of each of a page's tables that has deviations."""
    for found in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heading, _, *rows = (
            [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]
            for line in found.splitlines()
        )
        if any(" ± " in cell for row in rows for cell in row):
            yield heading, rows


@functools.cache  # Of all results, for each page.
def measured(name):
    """A ranking: what was kept of a run, or what its metrics give."""
    kept = RESULTS / name / "ranking.csv"
    if kept.exists():
        table = pd.read_csv(kept)
    else:
        table = ranking(collect([RESULTS / name]).rows)
    config = json.loads((RESULTS / name / "config.json").read_text())
    cell = (config["protocol"], config["dataset"], config["model"])
    rows = [PUBLISHED.get((*cell, method)) for method in table["method"]]
    return table.assign(
        half=(table["high"] - table["low"]) / 2,
        paper=[row.mean if row else None for row in rows],
        paper_deviation=[row.deviation if row else None for row in rows],
    ).set_index("method")


def column(name):
    name = re.split(r" of | ± | at ", name)[0] if "epochs" not in name else name
    return COLUMNS.get(name)


def same(text, value):
    """Whether a number in a table is a value, rounded."""
    text = text.replace("−", "-")
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_results(name):
    found = list(tables((ROOT / name).read_text(encoding="utf-8")))
    assert len(found) == len(TABLES[name])
    for (heading, rows), result in zip(found, TABLES[name], strict=True):
        table = measured(result)
        methods = {method: METHODS[method].label for method in table.index}
        of_label = {label: method for method, label in methods.items()}
        for label, *cells in rows:
            row = table.loc[OTHERWISE.get(label) or of_label[label]]
            for title, cell in zip(heading[1:], cells, strict=True):
                if column(title) is None or not cell:
                    continue
                number, _, deviation = cell.strip("*").partition(" ± ")
                value = row[column(title)]
                assert same(number, value), (result, label, title, cell, value)
                if deviation:
                    spread = row[DEVIATIONS[column(title)]]
                    assert same(deviation, spread), (result, label, title, cell)


@pytest.mark.parametrize("name", TABLES)
def test_deviations_in_the_text_are_a_result_s(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```|^\|[^\n]*$", "", page, flags=re.DOTALL | re.MULTILINE)
    known = pd.concat(
        [measured(path.parent.name) for path in RESULTS.glob("*/config.json")]
    )
    for number, deviation in re.findall(r"([−.\d]*\d) ± ([.\d]*\d)", text):
        assert any(
            same(number, row[value]) and same(deviation, row[spread])
            for _, row in known.iterrows()
            for value, spread in SPREADS
        ), f"{name}: no result has {number} ± {deviation}"


def test_costs_are_the_benchmark_s():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    found = pd.read_csv(RESULTS / "benchmark" / "benchmark.csv")
    found = found[found["way"] == "Adam + SWR"].set_index("case")
    steps = found[found["piece"] == "optimizer"]
    rows = re.findall(r"^\| (\d+ layers, .*?) \|(.*)\|$", page, re.MULTILINE)
    assert [case for case, _ in rows] == list(steps.index)
    for case, cells in rows:
        columns = ("ratio", "memory_ratio", "compile_ratio")
        for cell, name in zip(cells.split("|"), columns, strict=True):
            assert same(cell.strip(), steps.loc[case, name]), (case, name)
    (sentence,) = re.findall(r"A training step with SWR takes [^,]*,[^,]*\.", page)
    ratios = found[found["piece"] == "training"]["ratio"]
    numbers = re.findall(r"\b\d\.\d\d\b", sentence)
    for number, (case, ratio) in zip(numbers, ratios.items(), strict=True):
        assert same(number, ratio), case


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swr-two-digits", "the best pair of this sweep, 1 / 1e-4, has .644"),
        ("swr-two-mnist", "the best pair of this sweep, .1 / .1, has .307"),
        ("swr-directions-mnist", "the best of its sweep, 1e-3 / 1e-3 / 1e-2,"),
        ("l2-init-mnist", "| L2 Init | .01 |"),
    ],
)
def test_the_best_of_a_sweep_is_what_the_guide_says(name, said):
    page = (ROOT / "experiments/guide/remedies.md").read_text(encoding="utf-8")
    assert said in page.replace("\n", " ")
    folder = RESULTS / f"sweep-{name}"
    told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    rows = pd.read_csv(folder / "sweep.csv.gz")
    tried = [x for x in rows if x.startswith("coefficient")]
    means = rows.groupby(["learning_rate", *tried])["online_accuracy"].mean()
    scores = [sum(of_seeds) / len(of_seeds) for of_seeds in told["scores"]]
    assert max(scores) == pytest.approx(means.max(), abs=1e-6)
    numbers = [float(x) for x in re.findall(r"(?<![\w.])(?:\d|\.\d)[-.\de]*", said)]
    coefficients = numbers[: len(tried)]
    assert dict(zip(means.index.names, means.idxmax(), strict=True)) == {
        "learning_rate": 1e-3,
        **dict(zip(tried, coefficients, strict=True)),
    }
    if " has " in said:
        assert same(said.rpartition(" ")[2], means.max())
