"""A bar in a terminal, a line now and then in a log."""

import io
import re
import threading

import numpy as np
from rich.console import Console

from experiments.commands.progress import EVERY, Log, Progress
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


def logged(*ticks, total=1000):
    """What a log says if so many are done, each after so many seconds."""
    file = io.StringIO()
    clock = iter([0.0, *np.cumsum([seconds for seconds, _ in ticks])])
    log = Log(Console(file=file, width=100), total, "epochs", lambda: next(clock))
    for _, done in ticks:
        log.advance(done)
    return file.getvalue().splitlines()


def test_a_log_says_now_and_then_what_is_left():
    # Ten in 100 s: the 960 that are left after 400 s take 9600 s.
    lines = logged(*[(100, 10)] * 7)
    assert lines == [
        "40 of 1000 epochs, about 2 h 40 min left",
        "70 of 1000 epochs, about 2 h 35 min left",
    ]
    assert logged((EVERY / 2, 1), (EVERY / 3, 1)) == []
    assert logged((2 * EVERY, 0)) == []


def test_it_goes_by_the_latest_rate():
    lines = logged((1, 100), (EVERY, 1), (EVERY, 50))
    assert lines[1] == "151 of 1000 epochs, about 1 h 25 min left"


def test_what_a_checkpoint_has_says_nothing_of_the_rate():
    """It comes at once, and of several methods or lanes one after the other."""
    lines = logged((30, 200), (1, 200), (2, 50), (EVERY, 10))
    assert lines == ["460 of 1000 epochs, about 4 h 30 min left"]


def test_at_the_end_nothing_is_left_to_say():
    assert logged((2 * EVERY, 1000)) == []
    assert logged((1, 1), (2 * EVERY, 998)) == ["999 of 1000 epochs, about 1 min left"]
