"""Rooms import only from those before them, and nobody else's files are opened."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = ("swr_optax", "experiments")

ORDERS = {
    "swr_optax": (
        *("_tree", "_for_xla", "_arguments", "planning", "_coefficients"),
        *("_norms", "_updates", "_debts", "_turns", "metrics"),
        *("_soft_weight_rescaling", "_optimizer_state", "baselines"),
    ),
    "swr_optax/planning": (
        *("degrees", "plan", "units"),
        *("_arguments", "_network", "_constraints", "_plan_rescaling"),
        *("_sequential_plan", "_with_activations", "_rescale", "_check"),
    ),
    "experiments": (
        *("errors", "files", "data", "backend", "models", "methods"),
        *("training", "protocols", "agents", "reporting"),
        *("guide", "benchmark", "commands", "__main__"),
    ),
}
"""Arrows go from later to earlier; what stands alone may be anywhere."""

FILES = [
    path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
]

EXAMPLES = [path for path in FILES if "examples" in path.parts]


def dotted(path):
    """A file's module as a tuple; that of an ``__init__.py`` is its folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path):
    """Modules of ours that a file imports when it runs, wherever in it."""
    todo = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        todo += ast.iter_child_nodes(node)
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] in PACKAGES:
                yield tuple(name.split("."))


def below(root):
    """The files of a folder that have a place in its order."""
    top = len(Path(root).parts)
    return [
        path
        for path in FILES
        if path not in EXAMPLES
        and path.is_relative_to(ROOT / root)
        and len(dotted(path)) > top
    ]


@pytest.mark.parametrize(
    ("root", "path"),
    [
        pytest.param(root, path, id=f"{root}: {path.relative_to(ROOT / root)}")
        for root in ORDERS
        for path in below(root)
    ],
)
def test_arrows_go_one_way(root, path):
    order, prefix = ORDERS[root], Path(root).parts
    room = order.index(dotted(path)[len(prefix)])
    for module in imported(path):
        if module[: len(prefix)] == prefix:
            assert order.index(module[len(prefix)]) <= room, module


def test_the_library_is_there_without_the_experiments():
    for path in FILES:
        if path.is_relative_to(ROOT / "swr_optax"):
            assert all(module[0] == "swr_optax" for module in imported(path)), path


@pytest.mark.parametrize("package", PACKAGES)
def test_files_form_no_circle(package):
    files = {dotted(path): path for path in FILES if dotted(path)[0] == package}
    arrows = {
        # What is imported is a module, or a name in one.
        file: {m if m in files else m[:-1] for m in imported(path)} & set(files)
        for file, path in files.items()
    }
    while arrows:
        free = {file for file, others in arrows.items() if not others & set(arrows)}
        assert free, f"a circle among {sorted(arrows)}"
        arrows = {file: others for file, others in arrows.items() if file not in free}


def test_rooms_are_of_about_ten_files():
    for folder in {path.parent for path in FILES}:
        files = [p for p in FILES if p.parent == folder and p.name != "__init__.py"]
        assert len(files) <= 12, folder


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_stand_alone(path):
    assert not [module for module in imported(path) if module[0] == "experiments"]
