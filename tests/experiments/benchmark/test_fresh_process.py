"""What is measured in a process of its own comes back, mistakes too."""

import os

import pytest

from experiments.benchmark.fresh_process import in_fresh_process
from experiments.errors import UserError, check_name


def test_it_is_another_process_without_what_was_compiled():
    assert in_fresh_process(False, os.getpid) != os.getpid()
    variable = "JAX_ENABLE_COMPILATION_CACHE"
    assert in_fresh_process(True, os.getenv, variable) == "false"


def test_a_users_mistake_comes_back():
    with pytest.raises(UserError, match="unknown fruit 'kiwi'"):
        in_fresh_process(False, check_name, "kiwi", ["fig"], "fruit")


def test_a_process_that_dies_is_reported():
    with pytest.raises(UserError, match="try a smaller --largest"):
        in_fresh_process(False, os._exit, 9)
