"""Compiled programs are kept, so that a second run compiles nothing anew."""

from __future__ import annotations

from pathlib import Path
import tempfile

import jax

from experiments.files import cache_folder


def keep_compiled_programs() -> None:
    """Lets this process keep what it compiles, and find what others have.

    Where nothing can be kept it does nothing: JAX would say so for each program.
    """
    caches = cache_folder()
    if caches is None or not _can_be_written(caches / "xla"):
        return
    jax.config.update("jax_compilation_cache_dir", str(caches / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder).cleanup()
    except OSError:
        return False
    return True
