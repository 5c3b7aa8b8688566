"""What is installed from a built wheel runs, has its types and all its files."""

import json
import os
from pathlib import Path
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = (".py", ".typed", ".html", ".md", ".tsv")
"""Of files that a package is not whole without."""

PROGRAM = """
import jax.numpy as jnp, optax, swr_optax

params, x = {"w": jnp.ones((2, 2))}, jnp.ones((1, 2))
plan = swr_optax.plan_rescaling(lambda params, x: x @ params["w"], params, x)
tx = optax.chain(optax.sgd(0.1), swr_optax.soft_weight_rescaling(0.5, plan))
tx.update(params, tx.init(params), params)
print(swr_optax.__file__)
"""

TYPED = """
import swr_optax

plan = swr_optax.RescalingPlan.from_json("{}")
reveal_type(plan)
swr_optax.RescalingPlan.from_json(3)
tree = swr_optax.reset_all({"w": 1.0}, {"w": 2.0})
reveal_type(tree)
"""


def run(*words, **options):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the source distribution, built as an installer does it."""
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    finished = run("-m", "hatchling", "build", "-d", out, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The packages of an environment that has the wheel and nothing else."""
    environment = tmp_path_factory.mktemp("environment")
    assert run("-m", "venv", "--without-pip", environment).returncode == 0
    wheel, _ = built
    (folder,) = environment.glob("lib/python*/site-packages")
    words = ("install", "--quiet", "--no-deps", "--no-index", "--target", folder)
    finished = run("-m", "pip", *words, wheel)
    assert finished.returncode == 0, finished.stderr
    return folder


def test_the_wheel_has_all_files_and_no_tests(built):
    wheel, source = built
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("swr_optax", "experiments"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix in SUFFIXES:
                assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith("tests/")]
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    with tarfile.open(source) as archive:
        files = archive.getnames()
    assert [name for name in files if name.endswith("/swr_optax/py.typed")]


def test_what_is_installed_runs(installed, tmp_path):
    only = {**os.environ, "PYTHONPATH": str(installed)}
    finished = run("-c", PROGRAM, cwd=tmp_path, env=only)
    assert finished.returncode == 0, finished.stderr
    assert Path(finished.stdout.strip()).is_relative_to(installed)
    command = run("-m", "experiments", "--help", cwd=tmp_path, env=only)
    assert "random labels on scikit-learn's digits" in " ".join(command.stdout.split())


def test_pyright_sees_its_types_too(installed, tmp_path):
    pytest.importorskip("basedpyright")
    (tmp_path / "program.py").write_text(TYPED)
    settings = {
        "include": ["program.py"],
        "typeCheckingMode": "standard",
        "extraPaths": [str(installed)],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    output = run("-m", "basedpyright", "--outputjson", cwd=tmp_path).stdout
    found = json.loads(output)["generalDiagnostics"]
    said = [f"{d['severity']}: {d['message'].splitlines()[0]}" for d in found]
    assert said == [
        'information: Type of "plan" is "RescalingPlan"',
        'error: Argument of type "Literal[3]" cannot be assigned to parameter "text"'
        ' of type "str" in function "from_json"',
        'information: Type of "tree" is "dict[str, float]"',
    ]


def test_its_types_are_seen_from_outside(installed, tmp_path):
    (tmp_path / "program.py").write_text(TYPED)
    python = installed.parents[2] / "bin" / "python"
    words = ("--cache-dir", tmp_path / "cache", "--python-executable", python)
    output = run("-m", "mypy", *words, "program.py", cwd=tmp_path).stdout
    assert 'Revealed type is "swr_optax.planning.plan._plan.RescalingPlan"' in output
    assert 'has incompatible type "int"; expected "str"' in output
    assert 'Revealed type is "dict[str, float]"' in output.replace("builtins.", "")
    assert "Found 1 error" in output  # And none about a package without types.
