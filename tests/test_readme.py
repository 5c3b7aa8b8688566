"""The README's code runs, and says what it prints."""

from pathlib import Path
import re

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_quick_start_runs_and_prints_its_table(capsys):
    names = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
        # Chained behind Adam it has taken a step.
        assert names["opt_state"][1].count == 1
        assert names["opt_state"][1].log_scalers.any()
    (table,) = blocks("text")
    assert capsys.readouterr().out == table


def test_it_has_one_command_for_the_main_job_and_one_for_the_tests():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m")]
    assert [command.split("/bin/")[-1] for command in commands] == [
        "swr-experiments",
        "pytest",
    ]


def test_its_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    for picture in pictures:
        assert (Path(__file__).parents[1] / picture).is_file()
