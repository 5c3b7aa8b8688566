"""Rooms import only from those before them, and nobody else's files are opened."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "experiments"

ORDER = (
    *("errors", "files", "data", "backend", "models", "methods"),
    *("training", "protocols", "agents", "reporting"),
    *("guide", "benchmark", "commands", "__main__"),
)
"""Arrows go from later to earlier; what stands alone may be anywhere."""

FILES = sorted(ROOT.rglob("*.py"))


def room(path):
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(path):
    """Modules of ``experiments`` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("experiments."):
                yield name.split(".")[1:]


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if room(p) not in ("__init__", "examples")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_arrows_go_one_way(path):
    for module in imported(path):
        assert ORDER.index(module[0]) <= ORDER.index(room(path)), module


def test_files_of_a_room_form_no_circle():
    files = {tuple(p.relative_to(ROOT).with_suffix("").parts): p for p in FILES}
    arrows = {
        name: {tuple(module[:2]) for module in imported(path)} & set(files)
        for name, path in files.items()
    }
    while arrows:
        free = {name for name, others in arrows.items() if not others & set(arrows)}
        assert free, f"a circle among {sorted(arrows)}"
        arrows = {name: others for name, others in arrows.items() if name not in free}


def test_rooms_are_of_about_ten_files():
    for folder in {path.parent for path in FILES}:
        files = [p for p in FILES if p.parent == folder and p.name != "__init__.py"]
        assert len(files) <= 12, folder


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "examples"])
def test_examples_stand_alone(path):
    assert not list(imported(path))
