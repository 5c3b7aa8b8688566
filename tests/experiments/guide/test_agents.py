"""The page on agents: its code runs, and its table is what was measured."""

from pathlib import Path
import re

import pandas as pd

ROOT = Path(__file__).parents[3] / "experiments"
PAGE = (ROOT / "guide" / "agents.md").read_text(encoding="utf-8")


def test_its_code_prints_its_plan(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (plan,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "agents.md", "exec"), {})
    assert capsys.readouterr().out == plan


def test_its_tables_are_those_of_the_results():
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if " ± " in line]
    found = {}
    for name, _, first, last, average, *_ in rows:
        name = name.strip().strip("*")
        cells = (first, last, average.split("±")[0])
        numbers = [float(cell.replace("−", "-")) for cell in cells]
        found.setdefault(name, []).append(numbers)
    for i, environment in enumerate(("cartpole", "acrobot")):
        path = ROOT / "results" / f"agent-{environment}" / "ranking.csv"
        measured = pd.read_csv(path)
        for row in measured.itertuples():
            wanted = [row.first, row.last, row.score]
            given = found[row.name][i]
            assert all(abs(a - b) <= 0.0501 for a, b in zip(wanted, given, strict=True))
