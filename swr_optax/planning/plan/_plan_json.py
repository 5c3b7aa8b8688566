"""A plan as JSON text, and the reader that trusts no text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
import math
from typing import Any, TypeVar, get_args

import numpy as np

from swr_optax.planning.degrees import Role
from swr_optax.planning.plan._consistency import (
    LARGEST_EXPONENT,
    check_exponents,
    check_leaves,
    check_units,
)
from swr_optax.planning.plan._leaf import Leaf
from swr_optax.planning.plan._priority import Priority
from swr_optax.planning.plan._shown import listed, shown
from swr_optax.planning.plan._units import Units, UnitSlices

T = TypeVar("T")

FORMAT = 2
"""What :func:`to_text` writes. Format 1 did not say so, and is read as well."""

LATER_FIELDS = ("left_alone",)
"""Fields that text of format 1 need not have; empty there."""


def to_text(fields: Mapping[str, Any]) -> str:
    """JSON of a plan's fields, as :func:`dataclasses.asdict` gives them.

    Beside them stands the format.  One that is to be read by older versions no
    more gets the next number.
    """
    matrices = {
        name: fields[name].tolist() for name in ("exponents", "output_exponents")
    }
    described = {"format": FORMAT, **fields, **matrices}
    return json.dumps(described, indent=1, allow_nan=False)


def fields_of(text: str) -> dict[str, Any]:
    """The fields of the plan that a text holds.

    Raises:
        ValueError: if the text is not that of a plan, in one line that says
            which field is wrong and what it should be.
    """
    try:
        if not isinstance(text, (str, bytes)):
            raise ValueError(f"it is a {type(text).__name__}, not text")
        return _checked(json.loads(text, object_pairs_hook=_without_repeats))
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = " ".join(str(error).split())
    raise ValueError(f"text is not a plan that to_json wrote: {problem}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which each name stands once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {shown(twice)} twice")
    return found


def _format_of(read: Any) -> int:
    """The format of what was read: the first one, if it does not say."""
    if type(read) is not dict or "format" not in read:
        return 1
    number = _whole(read["format"], "format", smallest=1)
    if number > FORMAT:
        raise ValueError(
            f"it has format {shown(number)}, and this swr_optax reads formats up to"
            f" {FORMAT}: install a newer one"
        )
    return number


def _checked(read: Any) -> dict[str, Any]:
    """The fields, each of the right type and fitting the others."""
    first = _format_of(read) == 1
    later = {*LATER_FIELDS} if first else set()
    known = {
        "leaves",
        "weights",
        "parameters",
        "exponents",
        "outputs",
        "output_exponents",
        "priority",
        "unmet",
        "approximations",
        "units",
        *LATER_FIELDS,
        *([] if first else ["format"]),
    }
    fields: dict[str, Any] = dict.fromkeys(later, ())
    fields.update(_object(read, "the plan", known, known - later))

    leaves = tuple(_each(fields["leaves"], "leaves", _leaf))
    parameters = _whole(fields["parameters"], "parameters", len(leaves))
    weights = tuple(_each(fields["weights"], "weights", _position(parameters)))
    check_leaves(leaves, parameters, weights)
    outputs = tuple(_each(fields["outputs"], "outputs", _string))
    if len({*outputs}) < len(outputs):
        raise ValueError("outputs has a name twice")
    exponents = _matrix(fields, "exponents", (len(leaves), len(weights)))
    priority = _one_of(fields["priority"], "priority", get_args(Priority))
    check_exponents(exponents, leaves, weights, priority)
    return {
        "leaves": leaves,
        "weights": weights,
        "parameters": parameters,
        "exponents": exponents,
        "outputs": outputs,
        "output_exponents": _matrix(
            fields, "output_exponents", (len(outputs), len(weights))
        ),
        "priority": priority,
        "units": tuple(_each(fields["units"], "units", _units(leaves))),
        **{
            name: tuple(_each(fields[name], name, _string))
            for name in ("unmet", "approximations", *LATER_FIELDS)
        },
    }


def _leaf(value: Any, name: str) -> Leaf:
    known = {field.name for field in dataclasses.fields(Leaf)}
    fields = _object(value, name, known, known)
    index = fields["index"]
    return Leaf(
        path=_string(fields["path"], f"{name}.path"),
        shape=tuple(_each(fields["shape"], f"{name}.shape", _whole)),
        role=_one_of(fields["role"], f"{name}.role", get_args(Role)),
        group=_string(fields["group"], f"{name}.group"),
        index=None if index is None else _whole(index, f"{name}.index"),
        layer=_whole(fields["layer"], f"{name}.layer", smallest=-1),
        input_axes=tuple(_each(fields["input_axes"], f"{name}.input_axes", _whole)),
        output_axes=tuple(_each(fields["output_axes"], f"{name}.output_axes", _whole)),
    )


def _units(leaves: Sequence[Leaf]) -> Callable[[Any, str], Units]:
    """Reads units, whose slices must be there."""

    def slices(value: Any, name: str) -> UnitSlices:
        known = {field.name for field in dataclasses.fields(UnitSlices)}
        given = _object(value, name, known, known)
        return UnitSlices(**{k: _whole(given[k], f"{name}.{k}") for k in given})

    def units(value: Any, name: str) -> Units:
        known = {field.name for field in dataclasses.fields(Units)}
        fields = _object(value, name, known, known)
        count = _whole(fields["count"], f"{name}.count", smallest=2)
        if type(fields["mixed"]) is not bool:
            raise ValueError(f"{name}.mixed must be true or false")
        sides = {
            side: tuple(_each(fields[side], f"{name}.{side}", slices))
            for side in ("incoming", "outgoing", "statistics")
        }
        found = Units(count=count, mixed=fields["mixed"], **sides)
        check_units(found, leaves, name)
        return found

    return units


def _matrix(fields: Mapping[str, Any], name: str, shape: tuple[int, int]) -> np.ndarray:
    rows = list(_each(fields[name], name, _row))
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise ValueError(f"{name} must have {shape[0]} rows of {shape[1]} numbers")
    return np.reshape(np.array(rows, np.float64), shape)


def _row(value: Any, name: str) -> list[float]:
    return list(_each(value, name, _number))


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{name} must be a number, not {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, not {shown(value)}")
    if abs(number) > LARGEST_EXPONENT:
        raise ValueError(
            f"{name} must be at most {LARGEST_EXPONENT:g} in size, not {shown(value)}"
        )
    return number


def _object(value: Any, name: str, known: set[str], needed: set[str]) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError(f"{name} must be an object, not {shown(value)}")
    missing, unknown = sorted(needed - {*value}), sorted({*value} - known)
    if missing or unknown:
        raise ValueError(
            f"{name} lacks {listed(missing)} and has unknown"
            f" {listed(map(shown, unknown))}"
        )
    return value


def _each(value: Any, name: str, read: Callable[[Any, str], T]) -> Iterator[T]:
    if type(value) not in (list, tuple):
        raise ValueError(f"{name} must be a list, not {shown(value)}")
    return (read(item, f"{name}[{i}]") for i, item in enumerate(value))


def _position(end: int) -> Callable[[Any, str], int]:
    return lambda value, name: _whole(value, name, end - 1)


def _whole(value: Any, name: str, largest: int | None = None, smallest: int = 0) -> int:
    if type(value) is not int or value < smallest:
        raise ValueError(
            f"{name} must be a whole number from {smallest} up, not {shown(value)}"
        )
    if largest is not None and value > largest:
        raise ValueError(f"{name} must be at most {largest}, not {shown(value)}")
    return value


def _string(value: Any, name: str) -> str:
    if type(value) is not str:
        raise ValueError(f"{name} must be a string, not {shown(value)}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{name} must be whole Unicode, not {shown(value)}")
    return value


def _one_of(value: Any, name: str, allowed: Sequence[Any]) -> Any:
    if type(value) is not str or value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, not {shown(value)}")
    return value
