"""A jaxpr with its calls opened, and its evaluation with values from inside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
import dataclasses
from typing import Any

from jax.extend import core

from swr_optax.planning.degrees import INNER

Operand = int | core.Literal
"""A value by its number, or a constant."""

DERIVATIVES = ("custom_jvp_call", "custom_vjp_call")
"""Calls that have derivatives of their own, so that only the whole may be run."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One equation, of values that are numbered through the whole program.

    Attributes:
        eqn: the equation.
        operands: what it takes.
        results: what it gives.
        inner: the steps of a call; None for any other equation.
    """

    eqn: core.JaxprEqn
    operands: tuple[Operand, ...]
    results: tuple[int, ...]
    inner: tuple[Step, ...] | None = None


class Program:
    """A jaxpr with each of its calls opened, if only to look inside.

    Attributes:
        steps: the equations, in order.
        inputs: numbers of the arguments.
        outputs: what it returns.
        constants: values of the constants, by number.
        avals: shape and type of each value, by number.
        same: for each result of a call, the same value inside of it.
    """

    def __init__(self, jaxpr: core.ClosedJaxpr) -> None:
        self.constants: dict[int, Any] = {}
        self.avals: list[Any] = []
        self.same: dict[int, Operand] = {}
        self.inputs = tuple(self._number(var) for var in jaxpr.jaxpr.invars)
        self.steps, self.outputs = self._opened(jaxpr, self.inputs)

    def _number(self, atom: Any) -> int:
        self.avals.append(atom.aval)
        return len(self.avals) - 1

    def _opened(
        self, jaxpr: Any, args: Sequence[Operand]
    ) -> tuple[tuple[Step, ...], tuple[Operand, ...]]:
        consts: Sequence[Any] = getattr(jaxpr, "consts", ())
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        numbers: dict[core.Var, Operand] = dict(zip(jaxpr.invars, args, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            number = self._number(var)
            self.constants[number] = const
            numbers[var] = number

        def read(atom: Any) -> Operand:
            return atom if isinstance(atom, core.Literal) else numbers[atom]

        steps = []
        for eqn in jaxpr.eqns:
            operands = tuple(read(atom) for atom in eqn.invars)
            results = tuple(self._number(var) for var in eqn.outvars)
            numbers.update(zip(eqn.outvars, results, strict=True))
            inner = None
            if eqn.primitive.name in INNER:
                body = eqn.params[INNER[eqn.primitive.name]]
                inner, returned = self._opened(body, operands)
                self.same.update(zip(results, returned, strict=True))
            steps.append(Step(eqn, operands, results, inner))
        return tuple(steps), tuple(read(atom) for atom in jaxpr.outvars)

    def equations(self) -> Iterator[Step]:
        """The equations inside and outside of calls, without the calls."""
        return _equations(self.steps)

    def visible(self) -> set[int]:
        """The values that :meth:`evaluate` can return."""
        return {*self.inputs, *self.constants, *_visible(self.steps)}

    def evaluate(
        self, args: Sequence[Any], wanted: Collection[int]
    ) -> tuple[list[Any], dict[int, Any]]:
        """The outputs for these arguments, and the wanted values by number.

        Calls that hold a wanted value are run equation by equation, all others
        as they are, so that derivatives are those of the jaxpr.
        """
        values = {**self.constants, **dict(zip(self.inputs, args, strict=True))}

        def read(operand: Operand) -> Any:
            return operand.val if isinstance(operand, core.Literal) else values[operand]

        def run(steps: Sequence[Step]) -> None:
            for step in steps:
                if step.inner is not None and not wanted_in(step):
                    call(step)
                elif step.inner is not None:
                    run(step.inner)
                    for result in step.results:
                        values[result] = read(self.same[result])
                else:
                    call(step)

        def wanted_in(step: Step) -> bool:
            opens = step.eqn.primitive.name not in DERIVATIVES
            return opens and not _visible(step.inner or ()).isdisjoint(wanted)

        def call(step: Step) -> None:
            eqn = step.eqn
            params = eqn.primitive.get_bind_params(eqn.params)
            with eqn.ctx.manager:
                found = eqn.primitive.bind(*map(read, step.operands), **params)
            several = eqn.primitive.multiple_results
            values.update(zip(step.results, found if several else [found], strict=True))

        run(self.steps)
        return [read(output) for output in self.outputs], {
            number: values[number] for number in wanted
        }


def _equations(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if step.inner is None:
            yield step
        else:
            yield from _equations(step.inner)


def _visible(steps: Sequence[Step]) -> set[int]:
    found: set[int] = set()
    for step in steps:
        found.update(step.results)
        if step.inner is not None and step.eqn.primitive.name not in DERIVATIVES:
            found |= _visible(step.inner)
    return found
