"""Where decoded data and compiled programs are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``swr-optax`` under ``XDG_CACHE_HOME``, or under ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "swr-optax"
