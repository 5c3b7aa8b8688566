"""Signals: noted, obeyed when lanes are saved, and never lost."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments.training import stopping
from experiments.training.side_by_side import run_side_by_side
from experiments.training.stopping import (
    SIGNALS,
    Stopped,
    is_asked,
    raise_if_asked,
    saving_first,
    stopped_by_signals,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@contextlib.contextmanager
def ended():
    """A block that a signal ends."""
    with pytest.raises(Stopped), stopped_by_signals():
        yield


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_runs(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, stopped_by_signals():
        signal.raise_signal(number)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is before
    assert not is_asked()


def test_what_garbage_collection_swallows_is_not_lost(capsys):
    """As a KeyboardInterrupt in JAX's callback is; nor does it leave a traceback."""

    def interrupted(phase, _):
        if phase == "start":
            gc.callbacks.remove(interrupted)
            signal.raise_signal(signal.SIGINT)

    reached = []
    hook = sys.unraisablehook
    with ended():
        gc.callbacks.append(interrupted)
        gc.collect()
        reached.append("swallowed")
        raise_if_asked()
        reached.append("lost")
    assert sys.unraisablehook is hook
    assert reached == ["swallowed"]
    assert capsys.readouterr().err == ""


def test_a_signal_is_only_noted_where_lanes_save(capfd):
    reached = []
    with ended():
        with saving_first():
            signal.raise_signal(signal.SIGTERM)
            assert is_asked()
            reached.append("end of the block")
        reached.append("behind it")
    assert reached == ["end of the block"]
    assert "stopping as soon as what is done is saved" in capfd.readouterr().err


def test_a_signal_from_before_is_obeyed_at_once():
    reached = []
    with ended():
        with contextlib.suppress(Stopped):  # As a library might do it.
            signal.raise_signal(signal.SIGHUP)
        with saving_first():
            reached.append("begun")
    assert not reached


def test_what_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(), saving_first():
            signal.raise_signal(signal.SIGHUP)
            assert not is_asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_that_came_between_is_replaced():
    """Ray has one of its own; and what a shell starts behind & ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ended():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        with saving_first():
            signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGINT, before)


def test_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run():
        with stopped_by_signals(), saving_first():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_word_of_a_signal_counts_more_than_a_terminal_that_is_gone():
    with ended():
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGHUP)
        raise OSError(5, "Input/output error")


def test_a_second_signal_ends_the_process():
    code = (
        "import signal, time; from experiments.training import stopping as s\n"
        "with s.stopped_by_signals(), s.saving_first():\n"
        "    for _ in range(3): signal.raise_signal(signal.SIGTERM)\n"
        "    print('saving', flush=True)  # They came as one.\n"
        "    time.sleep(1.1)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('still here', flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 143
    assert done.stdout == "saving\n"
    assert done.stderr.splitlines()[-1] == "swr-experiments: stopped at once"


def test_each_lane_may_save_before_it_ends():
    """One that has no place to save at ends at its second tick; none begins anew."""
    began, saved, ticks = [], [], []
    both = threading.Barrier(2)

    def work(lane, tick):
        began.append(lane)
        both.wait(5)
        if lane == 0:
            # To this thread, so that nothing wakes up the main one, which hears it.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            for _ in range(500):
                if is_asked():
                    break
                time.sleep(0.01)
        both.wait(10)
        for _ in range(10):
            tick(lane)
            if lane == 0 and is_asked():
                saved.append(lane)
                raise_if_asked()

    with ended(), saving_first():
        run_side_by_side(work, range(2), ticks.append)
    assert saved == [0]
    assert sorted(ticks) == [0, 1, 1]
    with ended():
        stopping._Noted.number = signal.SIGTERM
        run_side_by_side(work, range(2), ticks.append)
    assert sorted(began) == [0, 1]
