"""The page on agents: its code runs, and prints its plan."""

from pathlib import Path
import re

PAGE = (Path(__file__).parents[3] / "experiments" / "guide" / "agents.md").read_text(
    encoding="utf-8"
)


def test_its_code_prints_its_plan(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (plan,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "agents.md", "exec"), {})
    assert capsys.readouterr().out == plan
