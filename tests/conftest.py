"""Programs compile fast here, and those of experiments not twice."""

import os

import jax
import pytest

# Tests compile thousands of small programs and run each a few times. The older code
# generator of XLA for CPUs compiles them in half of the time. The variables are for
# processes that tests start, too: what is compared is compiled alike.
flags = ["--xla_cpu_use_fusion_emitters=false", os.environ.get("XLA_FLAGS", "")]
os.environ["XLA_FLAGS"] = " ".join(flags).strip()  # Of two, the last counts.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)

# The library's tests hardly compile a program twice, and to keep it costs a third of
# its compilation. Those of experiments do, and set this to zero.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)


@pytest.fixture(scope="session", autouse=True)
def one_cache(tmp_path_factory):
    """Where what one test has compiled is kept for others and their processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # One folder for all processes.
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))


@pytest.fixture
def optimized():
    """Lets XLA optimise what this test compiles, as it does for users."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
