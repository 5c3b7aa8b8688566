"""The guide to plans, ``guide.md``: its tables, sources and pictures.

The page's prose is its own; between ``<!-- plan mlp norms -->`` and
``<!-- end -->`` stands what the code says now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import inspect
from pathlib import Path
import re
from typing import Any

from matplotlib.figure import Figure

from experiments.errors import UserError
from experiments.guide.gallery import EXAMPLES, GALLERY, VECTORS
from experiments.guide.plan_figures import plans_figure, walk_figure
import swr_optax
from swr_optax.planning.degrees import _rules
from swr_optax.planning.degrees._primitives import IDENTITIES, PRIMITIVES
from swr_optax.planning.degrees._traversal import CALLS

PAGE = Path(__file__).parent / "guide.md"

BLOCK = re.compile(
    r"<!-- (?P<kind>\w+)(?P<names>[ \w-]*) -->\n.*?<!-- end -->", re.DOTALL
)


def write_guide(folder: Path) -> list[Path]:
    """Writes the page and its pictures, replacing earlier ones.

    Args:
        folder: is made if need be; the pictures go to ``figures`` in it.

    Returns:
        The paths of the page and of the pictures.

    Raises:
        UserError: if the folder cannot be written.
    """
    page, figures = folder / PAGE.name, folder / "figures"
    paths = [page]
    try:
        figures.mkdir(parents=True, exist_ok=True)
        text = with_blocks(PAGE.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8")
        for name, figure in _pictures():
            paths.append(figures / f"plan-{name}.png")
            figure.savefig(paths[-1], dpi=100, pil_kwargs={"optimize": True})
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    return paths


def _pictures() -> Iterator[tuple[str, Figure]]:
    yield "walk", walk_figure(*EXAMPLES["residual_mlp"], VECTORS)
    for name, network in GALLERY.items():
        yield name, plans_figure(network.plan("norms"), network.plan("function"))


def with_blocks(page: str) -> str:
    """The page with what its blocks should hold."""

    def block(found: re.Match[str]) -> str:
        text = BLOCKS[found["kind"]](*found["names"].split())
        return f"<!-- {found['kind']}{found['names']} -->\n\n{text}\n\n<!-- end -->"

    return BLOCK.sub(block, page)


def _rule_table() -> str:
    """The library's own rules, in the words of their docstrings."""
    primitives: dict[str, list[str]] = {}
    for primitive, entry in PRIMITIVES.items():
        # A rule with a parameter is made by the function that has the words.
        maker = getattr(_rules, entry.degree.__qualname__.partition(".")[0])
        words = "Random bits: a constant, and not data." if entry.noise else None
        primitives.setdefault(words or _first_line(maker), []).append(primitive)
    primitives["Each result is its operand."] = sorted(IDENTITIES)
    primitives["What they contain is walked through in their place."] = list(CALLS)
    rows = [
        f"| {', '.join(f'`{name}`' for name in names)} | {words} |"
        for words, names in primitives.items()
    ]
    other = f"| any other | {_first_line(_rules.unknown)} |"
    return "\n".join(["| primitives | rule |", "|---|---|", *rows, other])


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _source(name: str) -> str:
    fn, _ = EXAMPLES[name]
    return f"```python\n{inspect.getsource(fn)}```"


def _plan(name: str, priority: Any) -> str:
    if name in GALLERY:
        plan = GALLERY[name].plan(priority)
    else:
        fn, params = EXAMPLES[name]
        plan = swr_optax.plan_rescaling(fn, params, VECTORS, priority=priority)
    return f"```text\n{plan}\n```"


BLOCKS: dict[str, Callable[..., str]] = {
    "plan": _plan,
    "rules": _rule_table,
    "source": _source,
}
"""What the page's blocks hold, by the first word of their comment."""
