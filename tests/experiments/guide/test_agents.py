"""The page on agents: its code runs, and its table is what was measured."""

from pathlib import Path
import re

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[3] / "experiments"
PAGE = (ROOT / "guide" / "agents.md").read_text(encoding="utf-8")


def test_its_code_prints_its_plan(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (plan,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "agents.md", "exec"), {})
    assert capsys.readouterr().out == plan


def test_its_tables_are_those_of_the_results():
    numbers = []
    for line in PAGE.splitlines():
        if " ± " in line and line.startswith("|"):
            name, _, first, last, average, *_ = line.split("|")[1:-1]
            cells = (first, last, average.split("±")[0])
            values = [float(cell.replace("−", "-")) for cell in cells]
            numbers.append((name.strip().strip("*"), values))
    measured = [
        (row.name, [row.first, row.last, row.score])
        for run in ("cartpole", "acrobot", "cartpole-shared")
        for row in pd.read_csv(
            ROOT / "results" / f"agent-{run}" / "ranking.csv"
        ).itertuples()
    ]
    assert [name for name, _ in numbers] == [name for name, _ in measured]
    for (_, found), (_, wanted) in zip(numbers, measured, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.0501)
