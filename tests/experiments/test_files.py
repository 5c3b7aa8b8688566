"""Where files are written."""

import os
import pwd
import threading

import jax
import pytest

from experiments.errors import UserError
from experiments.files import cache_folder, write_files
from experiments.training.compiled import keep_compiled_programs


def test_a_user_without_a_name_has_no_cache(monkeypatch):
    """As in containers that take any number for a user."""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert cache_folder() is None
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before


def test_a_cache_that_cannot_be_written_is_not_used(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before


def test_files_come_together_or_not_at_all(tmp_path):
    """What is written later finds the earlier ones beside it; old ones stay."""
    (tmp_path / "a.txt").write_text("old")

    def copy(path):
        path.write_text((path.parent / "a.txt").read_text() + "!")

    def fail(path):
        path.write_text("half")
        raise OSError(28, os.strerror(28))

    files = {"a.txt": lambda path: path.write_text("new"), "b.txt": copy}
    with pytest.raises(UserError, match=r"cannot write to .*: No space left on"):
        write_files(tmp_path, {**files, "c.txt": fail})
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.txt": "old"}
    threads = [
        threading.Thread(target=write_files, args=(tmp_path, files)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "a.txt": "new",
        "b.txt": "new!",
    }


def test_what_is_no_path_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot write to .*: embedded null byte"):
        write_files(tmp_path / "a\0b", {})
