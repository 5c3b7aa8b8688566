"""Where files are written: whole or not at all, and what is kept between runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import os
from pathlib import Path
import tempfile

from experiments.errors import UserError

UNFINISHED = ".unfinished-"
"""How a folder's name begins whose files are being written or thrown away."""


def write_files(out: Path, files: Mapping[str, Callable[[Path], object]]) -> list[Path]:
    """Writes files in their order, replacing earlier ones; returns their paths.

    Args:
        out: the folder, which is made if need be.
        files: name → what writes such a file to a path; files before it are beside it.

    Raises:
        UserError: if the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Whole or not at all, whatever happens on the way, and none without the rest.
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=out) as scratch:
            for name, write in files.items():
                write(Path(scratch) / name)
            for name in files:
                os.replace(Path(scratch) / name, out / name)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write to {out}: {reason(error)}") from error
    return [out / name for name in files]


def cache_folder() -> Path | None:
    """``swr-optax`` under ``XDG_CACHE_HOME``, or under ``~/.cache``.

    None if there is no home, as in containers whose user has no name.
    """
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if home.startswith("~") else Path(home) / "swr-optax"


def check_writable(out: Path) -> None:
    """Finds out before a long run whether its results can be written.

    Raises:
        UserError: if not.
    """
    try:
        existing = next(p for p in [out, *out.absolute().parents] if p.exists())
        tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=existing).cleanup()
    except OSError as error:
        raise UserError(f"cannot write to {out}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What a system says, without what Python adds."""
    return str(getattr(error, "strerror", None) or error)
