"""A bar in a terminal, a line for each method in a log."""

import io
import re
import threading

from rich.console import Console

from experiments.commands.progress import Progress
from experiments.methods import METHODS


def shown(terminal, width=100):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width)
    with Progress(console, 200 * len(METHODS)) as progress:
        for method in METHODS:
            threads = [
                threading.Thread(
                    target=lambda method=method: [
                        progress.advance(method, 1) for _ in range(50)
                    ]
                )
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    return file.getvalue()


def test_a_log_gets_a_line_for_each_method():
    lines = [f"{method.label} …" for method in METHODS.values()]
    assert shown(terminal=False).splitlines() == lines


def test_a_terminal_gets_a_bar_that_arrives():
    text = shown(terminal=True)
    total = 200 * len(METHODS)
    assert f"{total}/{total}" in text
    assert list(METHODS.values())[-1].label in text
    assert " …\n" not in text


def test_in_a_narrow_one_it_fits():
    text = shown(terminal=True, width=40)
    assert "…" not in text
    lines = re.split(r"[\n\r]|\x1b\[[0-9?]*[A-Za-z]", text)
    assert max(map(len, lines)) <= 40
    assert "100%" in text
    assert list(METHODS.values())[-1].label in text
