"""Files that something has happened to: bytes, JSON and tables, in Hypothesis's hands.

``MUTATIONS=100000 pytest -k mutated`` tries so many of each.
"""

import copy
import csv
import io
import json
import os

from hypothesis import HealthCheck, settings, strategies as st

TRIED = os.environ.get("MUTATIONS")


def tries(usual):
    """As many examples as are wanted, or so many."""
    return settings(
        max_examples=int(TRIED or usual),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


NUMBERS = [0, 1, -1, 0.5, 2**31, 2**63, 10**9, 10**30, 10**400, -(10**400)]
NUMBERS += [1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
TEXTS = ["", " ", "swr", "0", "1e5", "nan", "a\nb", "\ud800", "λ", "\0", "x" * 5000]
TEXTS += ["random-labels", "agent", "proportionality", "continual-full", "cartpole"]


def deep(depth):
    found = 0
    for _ in range(depth):
        found = [found]
    return found


VALUES = st.sampled_from(
    [*NUMBERS, *TEXTS, None, True, False, [], {}, [1], ["swr"], {"swr": 1}, deep(90)]
).map(copy.deepcopy)  # Or one example would change the next one's.


@st.composite
def content(draw, whole):
    """Bytes with some flipped, cut out, doubled or put in."""
    found = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.integers(0, len(found))) for _ in range(2))
        end = draw(st.sampled_from([end, min(start + 1, len(found)), len(found)]))
        part = bytes(found[start:end])
        bit, other = draw(st.integers(0, 7)), draw(st.binary(max_size=8))
        how = draw(st.sampled_from(["cut", "double", "zero", "turn", "flip", "other"]))
        found[start:end] = {
            "cut": lambda _: b"",
            "double": lambda part: part * 2,
            "zero": lambda part: bytes(len(part)),
            "turn": lambda part: part[::-1],
            "flip": lambda part, bit=bit: bytes(byte ^ (1 << bit) for byte in part),
            "other": lambda _, other=other: other,
        }[how](part)
    return bytes(found)


def _places(value, place=()):
    yield place
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from _places(value[key], (*place, key))


@st.composite
def tree(draw, whole):
    """Objects in objects, with values replaced, left out, renamed or put in."""
    root = {"": copy.deepcopy(whole)}
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from([*_places(root)][1:]))
        parent = root
        for step in above:
            parent = parent[step]
        how = draw(
            st.sampled_from(["replace", "replace", "remove", "rename", "put in"])
        )
        value = draw(VALUES)
        if how == "replace" or isinstance(parent, list) or parent is root:
            parent[key] = value
        elif how == "put in":
            parent[draw(st.sampled_from(TEXTS))] = value
        else:
            moved = parent.pop(key)
            if how == "rename":
                parent[draw(st.sampled_from(TEXTS))] = moved
    return root[""]


def document(whole):
    """JSON's text of such a tree."""
    return tree(whole).map(lambda mutated: json.dumps(mutated).encode())


CELLS = st.sampled_from([*map(str, NUMBERS[:8]), "1" + 400 * "0", "1e308", "-1e308"])
CELLS |= st.sampled_from(["nan", "inf", "-inf", "1e-320", "1_0", "0x1", "٣", "1 "])
CELLS |= st.sampled_from(["", "x", '"', "a\nb", "\ud800", "swr", "True", "1,2"])


@st.composite
def table(draw, text):
    """A CSV's text with cells replaced and columns and rows doubled or left out."""
    rows = [list(row) for row in csv.reader(io.StringIO(text))]
    for _ in range(draw(st.integers(1, 3))):
        y = draw(st.integers(0, len(rows) - 1))
        x = draw(st.integers(0, max(0, len(rows[y]) - 1)))
        how = draw(st.sampled_from(["cell", "cell", "cell", "column", "row", "order"]))
        if how == "cell" and rows[y]:
            rows[y][x] = draw(CELLS)
        elif how == "column":
            times, name = draw(st.sampled_from([0, 2])), draw(CELLS)
            for row in rows:
                row[x : x + 1] = row[x : x + 1] * times
            if times and draw(st.booleans()) and len(rows[0]) > x:
                rows[0][x] = name
        elif how == "row":
            rows[y : y + 1] = rows[y : y + 1] * draw(st.sampled_from([0, 2]))
        else:
            rows = [rows[0], *draw(st.permutations(rows[1:]))]
        rows = rows or [[]]
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode("utf-8", "surrogatepass")
