"""What a plan promises of a program, checked by arithmetic alone.

A plan says how all leaves of a network follow the scalers of its weights, and by
what its outputs are multiplied then.  That is checked here by multiplying the
leaves by hand, in float64, and running the network before and after; nothing of the
package takes part but the plan itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import math
import re
from typing import Any
import warnings

import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

import random_programs
from random_programs import BATCHED, LONG, SILENT, UNROLLED, WITHOUT_EPSILON, Program
import swr_optax

ROUNDING = 1e-7
"""Larger deviations than this, in float64, are none of rounding."""

NUDGE = 1e-13
"""A program is ill-conditioned if inputs that change by this, relatively, ..."""

NUDGED = 1e-8
"""... change its outputs by more than this."""

EXTREME = 1e30
"""Larger numbers, or smaller than its inverse, are too near to overflow."""

APPROXIMATE = 0.1
"""But larger deviations than this are not called approximate."""

LARGEST_LOG_SCALER = 0.3

ABSURD = 1e4
"""No program has so many products."""

EPSILONS = 30.0
"""An approximation may matter by this many times what its small numbers matter."""


@dataclasses.dataclass(frozen=True)
class Broken:
    """A promise that a plan does not keep.

    Attributes:
        promise: which one, in short.
        details: what the plan says and what was found.
        size: how far it is off.
    """

    promise: str
    details: str
    size: float = math.nan


@dataclasses.dataclass
class Verdict:
    """What was found out about one program.

    Attributes:
        skipped: why it was not looked into, or empty.
        broken: the promises that its plans break.
        named: by priority, whether the plan names anything as unmet or approximate.
        freedom: by priority, the rank of the exponents over the number of layers.
        deviations: of plans that name approximations only, the deviation, and what
            leaving out the small numbers changes.
    """

    skipped: str = ""
    broken: list[Broken] = dataclasses.field(default_factory=list)
    named: dict[str, bool] = dataclasses.field(default_factory=dict)
    freedom: dict[str, float] = dataclasses.field(default_factory=dict)
    deviations: list[tuple[float, float]] = dataclasses.field(default_factory=list)


# Running a network.


class Network:
    """A function that is traced once and then run one primitive at a time."""

    def __init__(self, fn: Callable[..., Any], *arrays: Any) -> None:
        self.jaxpr, shapes = jax.make_jaxpr(fn, return_shape=True)(*arrays)
        self.run = core.jaxpr_as_fun(self.jaxpr)
        self.structure = jax.tree.structure(shapes)

    def __call__(self, *arrays: Any) -> Any:
        """Outputs, as NumPy arrays."""
        results = self.run(*jax.tree.leaves(arrays))
        return self.structure.unflatten([np.asarray(result) for result in results])


def relative(new: Any, expected: Any) -> float:
    """Largest difference over the largest entry; infinite if that is undefined."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(expected), strict=True):
        difference, size = np.abs(a - b).max(), np.abs(b).max()
        if difference == 0:
            continue
        ratio = float(difference / size) if size > 0 else math.inf
        worst = math.inf if math.isnan(ratio) else max(worst, ratio)
    return worst


def scaled(tree: Mapping[str, Any], factors: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves times their factors: numbers, or one for each slice of a stack."""
    return {
        path: leaf * factors[path].reshape(factors[path].shape + (1,) * (leaf.ndim - 1))
        if factors[path].ndim
        else leaf * factors[path]
        for path, leaf in tree.items()
    }


def leaf_factors(plan: Any, log_scalers: np.ndarray) -> dict[str, np.ndarray]:
    """What each leaf is multiplied by; one number for each slice of a stack."""
    factors: dict[str, list[float]] = {}
    stacked = set()
    for leaf, row in zip(plan.leaves, plan.exponents, strict=True):
        factors.setdefault(leaf.path, []).append(math.exp(row @ log_scalers))
        if leaf.index is not None:
            stacked.add(leaf.path)
    return {
        path: np.asarray(found if path in stacked else found[0])
        for path, found in factors.items()
    }


def deviation(
    plan: Any, network: Network, arrays: Sequence[Any], old: Any, seed: int
) -> tuple[float, str]:
    """How far outputs are from the plan's constants times the old; and which."""
    rng = np.random.default_rng([seed, 7])
    worst, which = 0.0, ""
    for _ in range(2):
        log_scalers = rng.uniform(-1, 1, len(plan.weights)) * LARGEST_LOG_SCALER
        factors = leaf_factors(plan, log_scalers)
        *trees, inputs = arrays
        new = network(*(scaled(tree, factors) for tree in trees), inputs)
        outputs = (new, old) if len(trees) == 1 else (new[0], old[0])
        pairs = list(zip(*map(jax.tree.leaves, outputs), strict=True))
        constants = np.exp(plan.output_exponents @ log_scalers)
        found = [
            (relative(after, constant * before), f"output {name}")
            for (after, before), constant, name in zip(
                pairs, constants, plan.outputs, strict=True
            )
        ]
        if len(trees) == 2:
            found += [
                (relative(new[1][path], factors[path] * before), f"statistic {path}")
                for path, before in old[1].items()
            ]
        worst, which = max((worst, which), *found)
    return worst, which


# What a plan says.


def facts(plan: Any, idle: Collection[str] = ()) -> dict[str, Any]:
    """What must not change when a network is written in another way.

    Args:
        plan: a plan, or why there is none.
        idle: leaves on which no output depends: whatever a plan says of them.
    """
    if isinstance(plan, str):
        return {"no plan": plan}
    layers = [layer.name for layer in plan.layers]
    rows = [k for k, leaf in enumerate(plan.leaves) if leaf.path not in idle]
    leaves = [plan.leaves[k] for k in rows]
    names = [leaf.name for leaf in leaves]
    alone = ("unused", "frozen")  # Stacked or not.
    return {
        "roles": {leaf.name: leaf.role for leaf in leaves if leaf.role not in alone},
        "exponents": _table(names, layers, plan.exponents[rows]),
        "output exponents": _table(plan.outputs, layers, plan.output_exponents),
        "unmet": bool(plan.unmet),
        "approximate": bool(plan.approximations),
    }


def _table(rows: Sequence[str], columns: Sequence[str], matrix: Any) -> Any:
    return {
        (row, column): round(float(value), 6) + 0.0
        for row, values in zip(rows, matrix, strict=True)
        for column, value in zip(columns, values, strict=True)
        if abs(value) > 1e-6
    }


def difference(one: Any, other: Any) -> str:
    """The first thing in which two plans differ, in words."""
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if a != b and isinstance(a, dict) and isinstance(b, dict):
            keys = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
            return f"{key} of {keys[0]}: {a.get(keys[0])} and {b.get(keys[0])}"
        if a != b:
            return f"{key}: {a} and {b}"
    return ""


def mentions(sentences: Sequence[str], path: str) -> bool:
    """Whether a leaf is named."""
    return any(re.search(rf"\b{re.escape(path)}\b", text) for text in sentences)


# The promises.

NOTHING = "fn multiplies its inputs by none of the parameters"
EXCLUDED = "exclude leaves no weight to rescale"


@dataclasses.dataclass
class Trial:
    """One program, how it is planned, and what comes out of it.

    Attributes:
        program: the network.
        exclude: leaves that are frozen.
        keep: outputs to be kept.
    """

    program: Program
    exclude: frozenset[str] = frozenset()
    keep: tuple[int, ...] = ()

    def plan(
        self,
        fn: Callable[..., Any],
        arrays: Sequence[Any],
        priority: str,
    ) -> Any:
        """The plan, or the reason in words why there is none."""
        *trees, inputs = arrays
        stats = trees[1] if len(trees) == 2 else None
        outputs = self.program.outputs
        keep = [f"y{k}" if len(outputs) > 1 else "output" for k in self.keep]
        if stats is not None and len(outputs) > 1:
            keep = [f"0/{name}" for name in keep]
        try:
            return swr_optax.plan_rescaling(
                fn,
                trees[0],
                inputs,
                stats=stats,
                priority=priority,  # type: ignore[arg-type]
                exclude=self.exclude.__contains__ if self.exclude else None,
                keep_outputs=keep if len(outputs) > 1 or self.keep else (),
            )
        except ValueError as error:
            if NOTHING in str(error) or (self.exclude and EXCLUDED in str(error)):
                return NOTHING
            raise


def random_trial(program: Program) -> Trial:
    """The program, now and then with leaves excluded and outputs kept."""
    rng = np.random.default_rng([*program.seed, 1])
    exclude, keep = frozenset[str](), ()
    if rng.random() < 0.15:
        exclude = frozenset(n.text for n in program.params if rng.random() < 0.4)
    if rng.random() < 0.15:
        keep = (int(rng.integers(len(program.outputs))),)
    return Trial(program, exclude, keep)


def judge(program: Program, variations: int = 2) -> Verdict:
    """All promises for one program, in float64.

    Args:
        program: any.
        variations: of how many other ways to write it the plans are compared.
    """
    trial = random_trial(program)
    with jax.enable_x64(True), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return _judge(trial, variations)


def _judge(trial: Trial, variations: int) -> Verdict:
    program = trial.program
    arrays = program.arrays()
    fn = program.function()
    verdict = Verdict()
    network = Network(program.function({**LONG, **SILENT}), *arrays)
    old = network(*arrays)
    verdict.skipped = ill_conditioned(network, arrays, old, program.seed)
    if verdict.skipped:
        return verdict
    plans = {}
    for priority in ("norms", "function"):
        try:
            plans[priority] = trial.plan(fn, arrays, priority)
        except Exception as error:
            verdict.broken.append(
                Broken("plans are made", f"{type(error).__name__}: {error}")
            )
            return verdict
    if NOTHING in plans.values():
        verdict.skipped = "nothing to rescale"
        return verdict
    for priority, plan in plans.items():
        weights = plan.exponents[list(plan.weights)]
        verdict.named[priority] = bool(plan.unmet or plan.approximations)
        sound = weights.size and np.isfinite(weights).all()
        rank = np.linalg.matrix_rank(weights) if sound else 0
        verdict.freedom[priority] = float(rank) / len(plan.weights)
        verdict.broken += broken_by_plan(plan, network, arrays, old, program.seed[-1])
        verdict.broken += _broken_options(trial, plan)
        if plan.approximations and not plan.unmet:
            _check_approximation(trial, plan, arrays, verdict)
    verdict.broken += leaves_without_role(plans["norms"], network, arrays, old)
    if _depends_on_data(network, arrays, old):
        idle = [
            path for path in arrays[0] if not _matters(path, ..., network, arrays, old)
        ]
        _check_variations(trial, plans, arrays, variations, idle, verdict)
    return verdict


def _depends_on_data(network: Network, arrays: Sequence[Any], old: Any) -> bool:
    """Whether all outputs do; what else they may be is nobody's network."""
    *trees, inputs = arrays
    other = {
        path: leaf * 0.7 + 0.1 if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf
        for path, leaf in inputs.items()
    }
    new = network(*trees, other)
    pairs = zip(*map(jax.tree.leaves, (new, old)), strict=True)
    return all(relative(a, b) > ROUNDING for a, b in pairs)


def ill_conditioned(
    network: Network, arrays: Sequence[Any], old: Any, seed: Sequence[int]
) -> str:
    """Why numbers say nothing about this program, or nothing."""
    sizes = [np.abs(leaf) for leaf in jax.tree.leaves(old)]
    if not all(np.isfinite(size).all() for size in sizes):
        return "not finite"
    if any(s.max() > EXTREME or 0 < s.max() < 1 / EXTREME for s in sizes):
        return "extreme"
    rng = np.random.default_rng([*seed, 2])
    for _ in range(2):
        nudged = jax.tree.map(
            lambda leaf: (
                leaf * (1 + NUDGE * rng.uniform(-1, 1, leaf.shape))
                if jnp.issubdtype(leaf.dtype, jnp.inexact)
                else leaf
            ),
            tuple(arrays),
        )
        if not relative(network(*nudged), old) < NUDGED:
            return "unstable"
    return ""


def broken_by_plan(
    plan: Any, network: Network, arrays: Sequence[Any], old: Any, seed: int = 0
) -> list[Broken]:
    """Promises on scalers and outputs that a plan does not keep.

    Args:
        plan: of the network.
        network: any.
        arrays: parameters, perhaps running statistics, and inputs.
        old: what the network makes of them.
        seed: determines the scalers.
    """
    priority = plan.priority
    weights = plan.exponents[list(plan.weights)]
    if not (np.abs(plan.exponents) < ABSURD).all():
        largest = np.abs(plan.exponents).max()
        return [Broken(f"{priority}: exponents of good size", f"{largest:.2g}")]
    if priority == "norms" and not np.array_equal(weights, np.eye(len(weights))):
        return [Broken("norms: a scaler for each weight", f"{weights}")]
    if plan.unmet or plan.approximations:
        return []
    found, which = deviation(plan, network, arrays, old, seed)
    if found < ROUNDING:
        return []
    return [Broken(f"{priority}: exact or named", which, found)]


def _broken_options(trial: Trial, plan: Any) -> list[Broken]:
    """What is excluded must not move, nor outputs that are to be kept."""
    broken = []
    for leaf, row in zip(plan.leaves, plan.exponents, strict=True):
        if leaf.path in trial.exclude and (leaf.role != "frozen" or row.any()):
            words = f"{leaf.name}, {leaf.role}, moves by {row}"
            broken.append(Broken(f"{plan.priority}: excluded", words))
    for k in trial.keep:
        if plan.output_exponents[k].any() and not plan.unmet:
            words = f"y{k} × {plan.output_exponents[k]}"
            broken.append(Broken(f"{plan.priority}: kept output", words))
    return broken


def _check_approximation(
    trial: Trial, plan: Any, arrays: Sequence[Any], verdict: Verdict
) -> None:
    """Without epsilons in normalisation, what is called approximate is nearly exact.

    Where there is still a small number, it may matter by little and rescaling by no
    more than a few times that.
    """
    program = trial.program
    names = {**LONG, **SILENT, **WITHOUT_EPSILON}
    network = Network(program.function(names), *arrays)
    old = network(*arrays)
    if ill_conditioned(network, arrays, old, program.seed):
        return
    found, which = deviation(plan, network, arrays, old, program.seed[-1])
    changed = random_programs.with_templates(program, _without_small_numbers)
    other = Network(changed.function(names), *arrays)
    matters = relative(other(*arrays), old)
    verdict.deviations.append((found, matters))
    if not found < ROUNDING + min(EPSILONS * matters, APPROXIMATE):
        words = f"{which}; small numbers matter by {matters:.1e}"
        verdict.broken.append(Broken(f"{plan.priority}: approximate", words, found))


def _without_small_numbers(template: str) -> str:
    return re.sub(
        r"(?<![\w.])(\d+\.?\d*(?:e-?\d+)?)(?![\w.])",
        lambda m: "0.0" if 0 < float(m[0]) <= 0.01 else m[0],
        template,
    )


def leaves_without_role(
    plan: Any, network: Network, arrays: Sequence[Any], old: Any
) -> list[Broken]:
    """Leaves that matter to an output, have no role and are not named."""
    told = (*plan.unmet, *getattr(plan, "left_alone", ()))
    broken = []
    for leaf in plan.leaves:
        if leaf.role != "unused" or mentions(told, leaf.path):
            continue
        part = ... if leaf.index is None else leaf.index
        if _matters(leaf.path, part, network, arrays, old):
            words = f"{leaf.name} is unused"
            broken.append(Broken("a leaf that matters has a role", words))
    return broken


def _matters(
    path: str, part: Any, network: Network, arrays: Sequence[Any], old: Any
) -> bool:
    """Whether outputs change with a leaf, or with a part of it."""
    params, *rest = arrays
    array = np.array(params[path])
    offset = np.random.default_rng(3).uniform(0.02, 0.1, array[part].shape)
    array[part] = array[part] * 1.3 + offset
    new = network({**params, path: jnp.asarray(array)}, *rest)
    return relative(new, old) > ROUNDING


def _check_variations(
    trial: Trial,
    plans: Mapping[str, Any],
    arrays: Sequence[Any],
    count: int,
    idle: Collection[str],
    verdict: Verdict,
) -> None:
    """Other ways to write the program have the same plan."""
    program = trial.program
    rng = np.random.default_rng([*program.seed, 4])
    ways = {"jit": jax.jit, "remat": jax.checkpoint}
    versions: dict[str, Callable[..., Any]] = {
        name: way(program.function()) for name, way in ways.items()
    }
    text = str(program)
    if ("scan(" in text or "fori(" in text) and random_programs.reads_states(program):
        versions["unrolled"] = program.function(UNROLLED)
    if "show" in text:
        versions["silent"] = program.function(SILENT)
    axes = {n.text: 0 if n.kind in BATCHED else None for n in program.inputs}
    if program.rows and 0 in axes.values():
        versions["vmap"] = jax.vmap(program.function(), (None, axes))
    versions["reordered"] = random_programs.reordered(program, rng).function()
    versions["float32"] = program.function()
    rare = [name for name in versions if name in ("unrolled", "silent", "vmap")]
    common = [name for name in versions if name not in rare]
    rng.shuffle(common)
    for name in [*rare, *common][:count] if count < len(versions) else versions:
        priority = str(rng.choice(["norms", "function"]))
        expected = facts(plans[priority], idle)
        try:
            if name == "float32":
                with jax.enable_x64(False):
                    short = jax.tree.map(_shorter, tuple(arrays))
                    found = trial.plan(versions[name], short, priority)
            else:
                found = trial.plan(versions[name], arrays, priority)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            verdict.broken.append(Broken(f"same plan: {name}", words))
            continue
        words = difference(expected, facts(found, idle))
        if words:
            words = f"priority {priority}: {words}"
            verdict.broken.append(Broken(f"same plan: {name}", words))


def _shorter(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    """The shape of an array when numbers have 32 bits."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))


def shrunk(program: Program, promise: str, tries: int = 400) -> Program:
    """The smallest program found that breaks the same promise."""
    found = True
    while found and tries > 0:
        found = False
        for candidate in random_programs.smaller(program):
            if _size(candidate) >= _size(program):
                continue
            tries -= 1
            try:
                verdict = judge(candidate, variations=99)
            except Exception:  # Not every cut leaves a program that runs.
                continue
            if any(broken.promise == promise for broken in verdict.broken):
                program, found = candidate, True
                break
            if tries <= 0:
                break
    return program


def _size(program: Program) -> tuple[int, int]:
    leaves = len(program.params) + len(program.inputs) + len(program.outputs)
    return len(str(program).splitlines()) * 3 + leaves, len(str(program))


def _size_of(broken: Broken) -> str:
    return "" if math.isnan(broken.size) else f"({broken.size:.2g})"


def describe(program: Program, broken: Broken, tries: int) -> str:
    """A broken promise, a small program that breaks it, and its plan."""
    name = ":".join(map(str, program.seed))
    lines = [f"{name}  BROKEN {broken.promise}: {broken.details} {_size_of(broken)}"]
    if not tries:
        return lines[0]
    program = shrunk(program, broken.promise, tries)
    for found in judge(program, 99).broken:
        if found.promise == broken.promise:
            lines.append(f"shrunk: {found.details} {_size_of(found)}")
            break
    lines.append(str(program))
    trial = random_trial(program)
    if trial.exclude or trial.keep:
        lines.append(f"# exclude {sorted(trial.exclude)}, keep outputs {trial.keep}")
    priority = "function" if "function" in broken.promise + broken.details else "norms"
    try:
        with jax.enable_x64(True):
            plan = trial.plan(program.function(), program.arrays(), priority)
        lines.append(str(plan))
    except Exception as error:
        lines.append(f"no plan: {type(error).__name__}: {error}")
    return "\n".join(lines) + "\n"
