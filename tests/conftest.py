"""Programs compile fast here, and none twice."""

import os

import jax
import pytest

# Tests compile thousands of small programs and run each a few times. The variable is
# for processes that tests start: what is compared is compiled alike.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session", autouse=True)
def one_cache(tmp_path_factory):
    """What one test has compiled, others and their processes take."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # One folder for all processes.
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture
def optimized():
    """Lets XLA optimise what this test compiles, as it does for users."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
