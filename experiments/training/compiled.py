"""Compiled programs are kept, so that a second run compiles nothing anew."""

from __future__ import annotations

import jax

from experiments.files import cache_folder


def keep_compiled_programs() -> None:
    """Lets this process keep what it compiles, and find what others have."""
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
