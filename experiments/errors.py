"""What a user did wrong, said in one line."""

from __future__ import annotations

from collections.abc import Iterable


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
