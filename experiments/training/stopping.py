"""A user or a scheduler may stop a run: its lanes are saved, and then it ends.

An exception that a signal raises can be lost: what Python calls while it collects
garbage, as it does for JAX, swallows exceptions. So a signal is also noted here, and
lanes ask.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Not every system has all of them.
)

SECONDS_OF_ONE = 1.0
"""``timeout``, for one, signals a process and then its group: that is one signal."""


class Stopped(BaseException):
    """Ends what runs, as :class:`KeyboardInterrupt` does.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status by which shells know that signal."""
        return 128 + self.number


class _Noted:
    """What signals have said to this process."""

    number: int | None = None
    at: float = 0.0
    listening: bool = False
    saving_first: bool = False


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A block that signals end with :class:`Stopped`; a second one ends the process.

    A signal that is ignored, as under ``nohup``, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals go to the main thread alone.
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hook = sys.unraisablehook
    _Noted.number, _Noted.listening = None, True
    sys.unraisablehook = lambda told: (
        # What is swallowed is not lost, so nothing is to be said of it.
        None if isinstance(told.exc_value, Stopped) else hook(told)
    )
    _listen()
    try:
        yield
    except OSError:  # Its terminal may have gone with the signal.
        raise_if_asked()
        raise
    finally:
        _Noted.number, _Noted.listening = None, False
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def saving_first() -> Iterator[None]:
    """A block in which a signal is only noted, since lanes save and end themselves."""
    raise_if_asked()
    if _Noted.listening and threading.current_thread() is threading.main_thread():
        _listen()  # Ray, for one, has put its own in the place of ours.
    _Noted.saving_first = True
    try:
        yield
    finally:
        _Noted.saving_first = False
    raise_if_asked()


@contextlib.contextmanager
def stopped_when_asked() -> Iterator[None]:
    """A block in a process that is told by another one, with :func:`ask`."""
    _Noted.number = None
    try:
        yield
    finally:
        _Noted.number = None


def ask() -> None:
    """As if a signal had come here."""
    _Noted.number = signal.SIGTERM


def is_asked() -> bool:
    """Whether a signal has come."""
    return _Noted.number is not None


def raise_if_asked() -> None:
    """Ends what runs if a signal has come.

    Raises:
        Stopped: then.
    """
    if _Noted.number is not None:
        raise Stopped(_Noted.number)


def _listen() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    del frame
    if _Noted.number is not None:
        if time.monotonic() < _Noted.at + SECONDS_OF_ONE:
            return
        _say("stopped at once")
        os._exit(Stopped(number).status)
    _Noted.number, _Noted.at = number, time.monotonic()
    if not _Noted.saving_first:
        raise Stopped(number)
    _say("stopping as soon as what is done is saved; again, and it stops at once")


def _say(text: str) -> None:
    """Past Python's own buffers, in which the signal may have come."""
    show_cursor = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):  # The terminal may be gone.
        os.write(2, f"{show_cursor}\nswr-experiments: {text}\n".encode())
