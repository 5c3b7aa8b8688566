"""Values as messages show them: in one line, and a short one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

LONGEST = 40
"""Characters of a value that a message shows."""

MOST = 6
"""Names that a message lists."""


def shown(value: Any) -> str:
    """A value of JSON in so few characters that the message stays one line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    try:
        text = repr(value)
    except ValueError:  # An integer of more digits than Python converts.
        text = "a very long number"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """The first few names of many."""
    given = list(names)
    more = f", and {len(given) - MOST} more" if len(given) > MOST else ""
    return ", ".join(given[:MOST]) + more or "none"
