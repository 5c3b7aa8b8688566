"""What the values of a program are used for, and where they are made."""

from __future__ import annotations

from collections.abc import Sequence

from jax.extend import core

from swr_optax.planning.degrees import IDENTITIES, PRIMITIVES, UNKNOWN, shape_of
from swr_optax.planning.units._program import Link, Program, Step

WHOLE = IDENTITIES | {"convert_element_type"}
"""What keeps the layers of a stack in their places."""


class Uses:
    """A program with what its values are used for.

    A scan that takes a stack of the plan apart has layers, and its rounds are told
    apart.  One round of any other scan stands for all.

    Args:
        program: its first inputs are the leaves.
        rows: for each of them its place among the plan's leaves; a slice for a stack.
        parameters: how many of them are parameters.
        statistics_out: for each output whether it is an updated statistic.

    Attributes:
        program: the program.
        leaves: the place of each leaf, by the number of its value.
        parameters: how many leaves are parameters.
        inputs: the values that are given beside the leaves.
        data: the values that depend on these; random numbers do not depend on a key
            that is given, unless all outputs are made of them.
        made_of_data: those that are made of these, and not only chosen by them.
        uses: for each value the equations and links that take it, each with the
            place among its operands.
        made: for each value the equation or link that makes it, with the place
            among its results.
        visible: the values that the program can return from inside.
        outputs: the values that it returns, but for updated statistics.
        updates: for each updated statistic the values that it is an update of.
        aliases: for each value what calls give it for other numbers outside.
        stacks: the values that hold the layers of a stack, if nothing takes them but
            scans and what takes out single layers.
        layered: the scans with layers.
        whole_stacks: the leaves that are stacks, taken apart or not.
    """

    def __init__(
        self,
        program: Program,
        rows: Sequence[int | slice],
        parameters: int,
        statistics_out: Sequence[bool],
    ) -> None:
        self.program = program
        self.leaves = {
            number: k for k, number in enumerate(program.inputs[: len(rows)])
        }
        self.parameters = parameters
        self.inputs = frozenset(program.inputs[len(rows) :])
        self.uses: dict[int, list[tuple[Step | Link, int]]] = {}
        self.made: dict[int, tuple[Step | Link, int]] = {}
        self.visible = program.visible()
        self.outputs = frozenset(
            output
            for output, statistic in zip(program.outputs, statistics_out, strict=True)
            if isinstance(output, int) and not statistic
        )
        # Each updated statistic is for the statistic of its turn.
        updated = [
            output
            for output, statistic in zip(program.outputs, statistics_out, strict=True)
            if statistic
        ]
        self.updates: dict[int, list[int]] = {}
        for output, given in zip(updated, program.inputs[parameters:], strict=False):
            if isinstance(output, int):
                self.updates.setdefault(output, []).append(given)
        # What a call returns is the value inside, under another number.
        self.aliases: dict[int, list[int]] = {}
        for outside, inside in program.same.items():
            if isinstance(inside, int):
                self.aliases.setdefault(inside, []).append(outside)
        steps: list[Step | Link] = [*program.equations(), *program.links]
        for step in steps:
            for k, operand in enumerate(step.operands):
                if isinstance(operand, int):
                    self.uses.setdefault(operand, []).append((step, k))
            for k, result in enumerate(step.results):
                self.made[result] = step, k
        for noise in (False, True):
            self.data = self._reached(steps, noise)
            if any(self.source(output) in self.data for output in self.outputs):
                break
        self.made_of_data = self._reached(steps, noise, only_contents=True)

        self.whole_stacks = {
            number
            for number, row in zip(program.inputs, rows, strict=False)
            if isinstance(row, slice)
        }
        self.stacks: set[int] = set()
        for number in self.whole_stacks:
            self.stacks |= self._only_taken_apart(number)
        self.layered = {
            link.loop
            for link in program.links
            for start in link.operands
            if link.moved < 0 and isinstance(start, int) and self.is_stack(start)
        }
        # Updates of statistics that are stacked too.
        self.stacks |= {
            number
            for link in program.links
            for number in link.results
            if link.moved > 0 and link.loop in self.layered and self._is_update(number)
        }

    def _reached(
        self, steps: Sequence[Step | Link], noise: bool, only_contents: bool = False
    ) -> set[int]:
        """The values that the inputs go into, or only those that they are in."""
        reached = set(self.inputs)
        known = -1
        while known < len(reached):  # What a round returns goes into the next.
            known = len(reached)
            for step in steps:
                operands = step.operands
                if isinstance(step, Step):
                    primitive = PRIMITIVES.get(step.eqn.primitive.name, UNKNOWN)
                    if primitive.noise and not noise:
                        continue
                    operands = (
                        operands[primitive.contents] if only_contents else operands
                    )
                numbers = [n for n in operands if isinstance(n, int)]
                if any(self.source(number) in reached for number in numbers):
                    reached.update(step.results)
        return reached

    def is_stack(self, number: int) -> bool:
        """Whether a value holds the layers of a stack."""
        return self.source(number) in self.stacks

    def _only_taken_apart(self, stack: int) -> set[int]:
        """A stack and what it is cast to, if its layers stay apart; else nothing."""
        found = [stack]
        for number in found:
            for name in self.names(number):
                if name in self.outputs:
                    return set()
                for step, operand in self.uses.get(name, []):
                    if isinstance(step, Link):
                        if step.moved >= 0:
                            return set()
                    elif step.eqn.primitive.name in WHOLE:
                        found.append(step.results[operand])
                    elif layers_taken(step.eqn) is None:
                        return set()
        return set(found)

    def _is_update(self, number: int) -> bool:
        """Whether a value is nothing but an updated statistic."""
        names = self.names(number)
        return any(name in self.updates for name in names) and not any(
            name in self.uses or name in self.outputs for name in names
        )

    def layers_around(self, number: int) -> list[int]:
        """The scans with layers that are around a value."""
        return [loop for loop in self.program.loops[number] if loop in self.layered]

    def source(self, number: int) -> int:
        """The number of the same value where it is made."""
        while number in self.program.same:
            inside = self.program.same[number]
            if not isinstance(inside, int):
                return number
            number = inside
        return number

    def names(self, number: int) -> list[int]:
        """All numbers of a value, from where it is made outwards."""
        found = [number]
        for name in found:
            found += self.aliases.get(name, [])
        return found

    def is_data(self, number: int) -> bool:
        """Whether a value depends on what is given beside the leaves."""
        return number in self.data


def layers_taken(eqn: core.JaxprEqn) -> Sequence[int] | None:
    """Which layer of a stack each result is; None if it is no single, whole one."""
    params = eqn.params
    match eqn.primitive.name:
        case "slice":
            start, stop = params["start_indices"][0], params["limit_indices"][0]
            whole = shape_of(eqn.invars[0])[1:] == shape_of(eqn.outvars[0])[1:]
            return [start] if stop == start + 1 and whole else None
        case "split" if params["axis"] == 0 and set(params["sizes"]) == {1}:
            return range(len(eqn.outvars))
    return None
