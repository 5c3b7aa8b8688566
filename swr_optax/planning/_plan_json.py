"""A plan as JSON text, and the reader that trusts no text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
import math
from typing import Any, TypeVar, get_args

import numpy as np

from swr_optax.planning._constraints import Priority
from swr_optax.planning._leaf import Leaf
from swr_optax.planning.degrees import Role
from swr_optax.planning.units._units import Units, UnitSlices

T = TypeVar("T")

LATER_FIELDS = ("left_alone",)
"""Fields that older text does not have; empty there."""


def to_text(fields: Mapping[str, Any]) -> str:
    """JSON of a plan's fields, as :func:`dataclasses.asdict` gives them."""
    matrices = {
        name: fields[name].tolist() for name in ("exponents", "output_exponents")
    }
    return json.dumps({**fields, **matrices}, indent=1, allow_nan=False)


def fields_of(text: str) -> dict[str, Any]:
    """The fields of the plan that a text holds.

    Raises:
        ValueError: if the text is not that of a plan, in one line that says
            which field is wrong and what it should be.
    """
    try:
        return _checked(json.loads(text))
    except RecursionError:
        problem = "it is nested too deeply"
    except (TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
    raise ValueError(f"text is not a plan that to_json wrote: {problem}")


def _checked(read: Any) -> dict[str, Any]:
    """The fields, each of the right type and fitting the others."""
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
    }
    fields = dict.fromkeys(LATER_FIELDS, ())
    fields.update(_object(read, "the plan", known, known - {*LATER_FIELDS}))

    leaves = tuple(_each(fields["leaves"], "leaves", _leaf))
    parameters = _whole(fields["parameters"], "parameters", len(leaves))
    _check_names(leaves[:parameters])
    _check_names(leaves[parameters:])
    weights = tuple(_each(fields["weights"], "weights", _position(parameters)))
    if not weights:
        raise ValueError("weights is empty, so there is no layer")
    if len({*weights}) < len(weights):
        raise ValueError("weights names a leaf twice")
    for position in weights:
        if leaves[position].role != "weight":
            raise ValueError(
                f"weights names leaf {position}, whose role is"
                f" {leaves[position].role!r}"
            )
    for row, leaf in enumerate(leaves):
        own = weights.index(row) if row in weights else None
        _check_axes(leaf, own, len(weights))
    outputs = tuple(_each(fields["outputs"], "outputs", _string))
    if len({*outputs}) < len(outputs):
        raise ValueError("outputs has a name twice")
    return {
        "leaves": leaves,
        "weights": weights,
        "parameters": parameters,
        "exponents": _matrix(fields, "exponents", (len(leaves), len(weights))),
        "outputs": outputs,
        "output_exponents": _matrix(
            fields, "output_exponents", (len(outputs), len(weights))
        ),
        "priority": _one_of(fields["priority"], "priority", get_args(Priority)),
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
        sides = {}
        for side in ("incoming", "outgoing", "statistics"):
            sides[side] = tuple(_each(fields[side], f"{name}.{side}", slices))
            for place in sides[side]:
                _check_slices(place, count, leaves, f"{name}.{side}")
        return Units(count=count, mixed=fields["mixed"], **sides)

    return units


def _check_slices(
    place: UnitSlices, count: int, leaves: Sequence[Leaf], name: str
) -> None:
    shape = leaves[place.leaf].shape if place.leaf < len(leaves) else ()
    end = shape[place.axis] if place.axis < len(shape) else 0
    length = place.stop - place.start
    if (
        not (length > 0 and place.stop <= end)
        or place.inner < 1
        or length % (count * place.inner)
    ):
        raise ValueError(f"{name} holds slices that its leaf does not have")


def _check_axes(leaf: Leaf, own: int | None, layers: int) -> None:
    """A leaf's layer is one of the plan's, and its axes are its own, each once."""
    if leaf.layer >= layers or own not in (None, leaf.layer):
        raise ValueError(
            f"leaf {_shown(leaf.name)} has layer {leaf.layer}, which must be"
            f" {f'less than {layers}' if own is None else own}"
        )
    axes = (*leaf.input_axes, *leaf.output_axes)
    if len({*axes}) < len(axes) or any(axis >= len(leaf.shape) for axis in axes):
        raise ValueError(
            f"leaf {_shown(leaf.name)} of {len(leaf.shape)} dimensions has axes"
            f" {_shown(str(axes))}, of which one is twice or not there"
        )


def _check_names(leaves: Sequence[Leaf]) -> None:
    """A path is that of one leaf, or of slices counted from zero."""
    seen: set[str] = set()
    before: Leaf | None = None
    for leaf in leaves:
        follows = (
            before is not None
            and leaf.index is not None
            and before.index == leaf.index - 1
            and (before.path, before.shape) == (leaf.path, leaf.shape)
        )
        if not follows and (leaf.path in seen or leaf.index):
            raise ValueError(
                f"leaf {leaf.name} is there twice, or its slices are not in order"
            )
        seen.add(leaf.path)
        before = leaf


def _matrix(fields: Mapping[str, Any], name: str, shape: tuple[int, int]) -> np.ndarray:
    rows = list(_each(fields[name], name, _row))
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise ValueError(f"{name} must have {shape[0]} rows of {shape[1]} numbers")
    return np.reshape(np.array(rows, np.float64), shape)


def _row(value: Any, name: str) -> list[float]:
    return list(_each(value, name, _number))


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{name} must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, not {_shown(value)}")
    return number


def _object(value: Any, name: str, known: set[str], needed: set[str]) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError(f"{name} must be an object, not {_shown(value)}")
    missing, unknown = sorted(needed - {*value}), sorted({*value} - known)
    if missing or unknown:
        raise ValueError(f"{name} lacks {missing} and has unknown {unknown}")
    return value


def _each(value: Any, name: str, read: Callable[[Any, str], T]) -> Iterator[T]:
    if type(value) not in (list, tuple):
        raise ValueError(f"{name} must be a list, not {_shown(value)}")
    return (read(item, f"{name}[{i}]") for i, item in enumerate(value))


def _position(end: int) -> Callable[[Any, str], int]:
    return lambda value, name: _whole(value, name, end - 1)


def _whole(value: Any, name: str, largest: int | None = None, smallest: int = 0) -> int:
    if type(value) is not int or value < smallest:
        raise ValueError(
            f"{name} must be a whole number from {smallest} up, not {_shown(value)}"
        )
    if largest is not None and value > largest:
        raise ValueError(f"{name} must be at most {largest}, not {_shown(value)}")
    return value


def _string(value: Any, name: str) -> str:
    if type(value) is not str:
        raise ValueError(f"{name} must be a string, not {_shown(value)}")
    return value


def _one_of(value: Any, name: str, allowed: Sequence[Any]) -> Any:
    if type(value) is not str or value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value in so few characters that the message stays one line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    try:
        text = repr(value)
    except ValueError:  # An integer of more digits than Python converts.
        text = "a very long number"
    return text if len(text) <= 40 else text[:37] + "..."
