"""A jaxpr with its calls and scans opened, and its evaluation with inner values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
from jax.extend import core

from swr_optax.planning.degrees import INNER

Operand = int | core.Literal
"""A value by its number, or a constant."""

DERIVATIVES = ("custom_jvp_call", "custom_vjp_call")
"""Calls that have derivatives of their own, so that only the whole may be run."""


RECOMPUTED = ("checkpoint", "remat2")
"""Calls of which a derivative computes the values once more, to save memory."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One equation, of values that are numbered through the whole program.

    Attributes:
        eqn: the equation.
        operands: what it takes.
        results: what it gives.
        inner: the steps of a call, or of one round of a scan; None for any other
            equation.
        round: what a round of a scan is given and gives; None for any other equation.
    """

    eqn: core.JaxprEqn
    operands: tuple[Operand, ...]
    results: tuple[int, ...]
    inner: tuple[Step, ...] | None = None
    round: Round | None = None


class Round(NamedTuple):
    """One round of a scan, which stands for all of them.

    Attributes:
        given: the state and the slices that it is given.
        returned: the state and the slices that it returns.
        carried: how many of either are the state.
    """

    given: tuple[int, ...]
    returned: tuple[Operand, ...]
    carried: int


class Link(NamedTuple):
    """A value that goes into a round of a scan, or out of it.

    Attributes:
        loop: the scan, by its place among the program's.
        operands: where the value comes from: the state at the start and that which
            a round returns, or one value.
        results: the value itself, one number.
        inwards: whether it goes in.
        moved: how much higher the number of an axis is in the value: -1 in a slice
            of what was given, 1 in the stack of what is returned, and 0 in a state.
    """

    loop: int
    operands: tuple[Operand, ...]
    results: tuple[int, ...]
    inwards: bool
    moved: int


class Program:
    """A jaxpr with each of its calls and scans opened, if only to look inside.

    Attributes:
        steps: the equations, in order.
        inputs: numbers of the arguments.
        outputs: what it returns.
        constants: values of the constants, by number.
        avals: shape and type of each value, by number; inside a scan, in one round.
        same: for each result of a call, the same value inside of it.
        rounds: those of each scan in their order; one scan that is around another
            comes first.
        loops: for each value the scans that are around it, by their places in
            ``rounds``, the outermost first.
        links: what goes into rounds and out of them.
    """

    def __init__(self, jaxpr: core.ClosedJaxpr) -> None:
        self.constants: dict[int, Any] = {}
        self.avals: list[Any] = []
        self.same: dict[int, Operand] = {}
        self.rounds: list[range] = []
        self.loops: list[tuple[int, ...]] = []
        self.links: list[Link] = []
        self._around: tuple[int, ...] = ()
        self.inputs = tuple(self._number(var) for var in jaxpr.jaxpr.invars)
        self.steps, self.outputs = self._opened(jaxpr, self.inputs)

    def _number(self, atom: Any) -> int:
        self.avals.append(atom.aval)
        self.loops.append(self._around)
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
            inner = once = None
            if eqn.primitive.name in INNER:
                body = eqn.params[INNER[eqn.primitive.name]]
                inner, returned = self._opened(body, operands)
                self.same.update(zip(results, returned, strict=True))
            elif eqn.primitive.name == "scan" and eqn.params["length"]:
                inner, once = self._round(eqn, operands, results)
            steps.append(Step(eqn, operands, results, inner, once))
        return tuple(steps), tuple(read(atom) for atom in jaxpr.outvars)

    def _round(
        self, eqn: core.JaxprEqn, operands: Sequence[Operand], results: Sequence[int]
    ) -> tuple[tuple[Step, ...], Round]:
        """One round of a scan; its links are noted."""
        loop, body = len(self.rounds), eqn.params["jaxpr"]
        consts, carried = eqn.params["num_consts"], eqn.params["num_carry"]
        rounds = range(eqn.params["length"])
        self.rounds.append(rounds[::-1] if eqn.params["reverse"] else rounds)
        around, self._around = self._around, (*self._around, loop)
        given = tuple(self._number(var) for var in body.jaxpr.invars[consts:])
        inner, returned = self._opened(body, [*operands[:consts], *given])
        self._around = around
        for k, (start, value) in enumerate(zip(operands[consts:], given, strict=True)):
            sources, by = ((start, returned[k]), 0) if k < carried else ((start,), -1)
            self.links.append(Link(loop, sources, (value,), True, by))
        for k, (last, value) in enumerate(zip(returned, results, strict=True)):
            by = 0 if k < carried else 1
            self.links.append(Link(loop, (last,), (value,), False, by))
        return inner, Round(given, returned, carried)

    def equations(self) -> Iterator[Step]:
        """The equations inside and outside of calls and scans, without these."""
        return _equations(self.steps)

    def visible(self) -> set[int]:
        """The values that :meth:`evaluate` can return."""
        return {*self.inputs, *self.constants, *_visible(self.steps)}

    def evaluate(
        self, args: Sequence[Any], wanted: Collection[int]
    ) -> tuple[list[Any], dict[int, Any]]:
        """The outputs for these arguments, and the wanted values by number.

        Calls that hold a wanted value are run equation by equation, all others as
        they are, so that derivatives are those of the jaxpr and compute again what
        those do.  A value from inside of scans has their rounds along its leading
        axes, in the order of ``loops``.
        """
        values = {**self.constants, **dict(zip(self.inputs, args, strict=True))}

        def read(operand: Operand) -> Any:
            return operand.val if isinstance(operand, core.Literal) else values[operand]

        def run(steps: Sequence[Step]) -> None:
            for step in steps:
                if step.inner is None or not wanted_in(step):
                    call(step)
                elif step.round is not None:
                    scan(step, step.inner, step.round)
                elif step.eqn.primitive.name in RECOMPUTED:
                    recomputed(step, step.inner)
                else:
                    run(step.inner)
                    for result in step.results:
                        values[result] = read(self.same[result])

        def wanted_in(step: Step) -> set[int]:
            return _visible_in(step).intersection(wanted)

        def recomputed(step: Step, inner: Sequence[Step]) -> None:
            inside = wanted_in(step)

            def body() -> tuple[list[Any], dict[int, Any]]:
                run(inner)
                results = [read(self.same[result]) for result in step.results]
                return results, {number: values[number] for number in inside}

            options = {
                name: step.eqn.params[name] for name in ("policy", "prevent_cse")
            }
            results, seen = jax.checkpoint(body, **options)()
            values.update(zip(step.results, results, strict=True))
            values.update(seen)

        def scan(step: Step, inner: Sequence[Step], once: Round) -> None:
            inside, carried = wanted_in(step), once.carried

            def body(state: list[Any], slices: list[Any]) -> tuple[list[Any], Any]:
                values.update(zip(once.given, [*state, *slices], strict=True))
                run(inner)
                returned = [read(operand) for operand in once.returned]
                seen = {number: values[number] for number in inside}
                return returned[:carried], (returned[carried:], seen)

            consts = len(step.operands) - len(once.given)
            given = [*map(read, step.operands[consts:])]
            names = ("length", "reverse", "unroll")
            options = {name: step.eqn.params[name] for name in names}
            with step.eqn.ctx.manager:
                state, (stacks, seen) = jax.lax.scan(
                    body, given[:carried], given[carried:], **options
                )
            values.update(zip(step.results, [*state, *stacks], strict=True))
            values.update(seen)

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
        found |= _visible_in(step)
    return found


def _visible_in(step: Step) -> set[int]:
    """What can be returned from inside of a call or a scan."""
    if step.inner is None or step.eqn.primitive.name in DERIVATIVES:
        return set()
    return _visible(step.inner).union(step.round.given if step.round else ())
