"""What a user did wrong, said in one line."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 1_000_000
"""Of whatever a user counts: far above all runs, and below what fills a memory."""


class UserError(Exception):
    """A mistake of the user's or of the surroundings: one line, no traceback."""


def check_name(name: str, known: Iterable[str], what: str) -> None:
    """Refuses an unknown name.

    Raises:
        UserError: naming what there is.
    """
    names = list(known)
    if name not in names:
        raise UserError(f"unknown {what} {name!r}: choose from {', '.join(names)}")


def check_count(number: int, what: str) -> None:
    """Refuses a number of things that makes no sense.

    Raises:
        UserError: naming it, and its bound.
    """
    if number < 1:
        raise UserError(f"{what} must be at least 1, not {number}")
    if number > MOST:
        raise UserError(f"{what} must be at most {MOST}, not {number}")
