"""A table that fills in a terminal, a line for each method in a log."""

import io
import threading

import pytest
from rich.console import Console

from experiments.commands import streams
from experiments.commands.live_table import LiveTable
from experiments.methods import METHODS
from experiments.protocols.records import TaskRecord
from real_loops import stream


def record(method, seed, task, online, **fields):
    return TaskRecord(
        **{
            "protocol": "random-labels",
            "dataset": "digits",
            "model": "mlp",
            "method": method,
            "seed": seed,
            "task": task,
            "step": 4 * task,
            "scored": 1,
            "online_accuracy": online,
            "end_accuracy": 0.9,
            "test_accuracy": None,
            "train_loss": 2.5,
            "gradient_norm": 1.0,
            "weight_growth": 1.0,
            "dead_units": 0.0,
            "effective_rank": 9.0,
            "seconds": 1.0,
            **fields,
        }
    )


def shown(config, records, terminal=False):
    """All that was printed, and the table at the end."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with LiveTable(console, streams.shown(config)) as table:
        threads = [threading.Thread(target=table.add, args=([r],)) for r in records]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        drawn = io.StringIO()
        Console(file=drawn, width=100).print(table._table())
    return file.getvalue(), drawn.getvalue()


CONFIG = stream(methods=("vanilla", "swr"), seeds=2, tasks=10)


def everything():
    """Plain training falls from .5 to .05, SWR stays at .3."""
    return [
        record(method, seed, task, 0.55 - 0.05 * task if method == "vanilla" else 0.3)
        for method in CONFIG.methods
        for seed in range(2)
        for task in range(1, 11)
    ]


def test_a_log_gets_a_line_for_each_method_when_it_is_through():
    printed, _ = shown(CONFIG, everything())
    assert sorted(printed.splitlines()) == [
        "SWR: online accuracy 0.300",
        "vanilla: online accuracy 0.275",
    ]
    unfinished, _ = shown(CONFIG, everything()[:-1])
    assert unfinished.splitlines() == ["vanilla: online accuracy 0.275"]


def test_the_table_compares_the_first_fifth_of_tasks_with_the_latest():
    _, table = shown(CONFIG, everything())
    assert "Random labels, digits, mlp: 10 tasks, 2 seeds" in table
    (vanilla,) = [line for line in table.splitlines() if "vanilla" in line]
    # Tasks 1 and 2, and 9 and 10.
    assert "━" * 10 in vanilla
    assert [word for word in vanilla.split() if word[0] == "0"] == ["0.475", "0.075"]


def test_while_it_runs_the_latest_are_the_last_seen():
    begun = [r for r in everything() if r.task <= 5]
    _, table = shown(CONFIG, begun)
    (vanilla,) = [line for line in table.splitlines() if "vanilla" in line]
    assert "━" * 5 + "╌" * 5 in vanilla
    # Tasks 4 and 5.
    assert [word for word in vanilla.split() if word[0] == "0"] == ["0.475", "0.325"]
    _, table = shown(CONFIG, [r for r in everything() if r.task == 1])
    (vanilla,) = [line for line in table.splitlines() if "vanilla" in line]
    assert [word for word in vanilla.split() if word[0] == "0"] == ["0.500"]


def test_before_anything_is_measured_there_is_a_table():
    _, table = shown(CONFIG, [])
    for method in CONFIG.methods:
        assert METHODS[method].label in table
    assert "╌" * 10 in table


def test_what_is_not_scored_does_not_count():
    config = stream(tasks=2, seeds=1)
    records = [record("vanilla", 0, 1, 0.2), record("vanilla", 0, 2, 1.0, scored=0)]
    printed, _ = shown(config, records)
    assert printed == "vanilla: online accuracy 0.200\n"


def test_a_regression_is_compared_by_its_loss():
    config = stream(
        "slowly-changing-regression", dataset="bits", model="mlp_five", tasks=1
    )
    printed, table = shown(config, [record("vanilla", 0, 1, None)])
    assert printed == "vanilla: loss 2.500\n"
    assert "mlp_five: 1 task, 1 seed " in table
    assert "loss, first fifth" in table


def test_a_narrow_one_fits():
    methods = ("shrink_and_perturb_steps", "swr_directions", "vanilla")
    config = stream(methods=methods, seeds=2, tasks=10)
    file = io.StringIO()
    console = Console(file=file, width=40)
    table = LiveTable(console, streams.shown(config))
    table.add([record(m, s, 1, 0.25) for m in methods for s in range(2)])
    console.print(table._table())
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert "…" not in file.getvalue()
    (vanilla,) = [line for line in lines if "vanilla" in line]
    assert [*vanilla.split()] == ["vanilla", "10%", "0.250"]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_terminal_s_table_leaves_nothing_behind(stopped):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    try:
        with LiveTable(console, streams.shown(CONFIG)) as table:
            table.add(everything())
            if stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert stopped
    text = file.getvalue()
    assert "vanilla" in text
    assert "vanilla: online" not in text
    assert text.endswith("\x1b[1A\x1b[2K") or text.endswith("\x1b[2K")
