"""Checks what plans promise on many random programs, and prints what is broken.

``python tests/promises.py --programs 20000 --seed 0 --processes 2``.  Each broken
promise is printed with the seed of its program, a shrunk version of the program
as text, and its plan.  The exit status is 1 if there is any.
"""

from __future__ import annotations

import argparse
from collections import Counter
import functools
import multiprocessing
import sys
import time

import random_programs
import rescaling_oracle
import swr_optax

CHUNK = 25
"""Programs that a process looks into between reports."""

CHUNKS_A_PROCESS = 40
"""A process is replaced after so many: what JAX compiled stays in memory."""

SHRINKING = 300
"""Smaller programs to try for each that is printed in full."""

PROGRESS = 30.0
"""Seconds between lines of progress."""


def run(
    seeds: list[tuple[int, ...]], variations: int
) -> list[tuple[tuple[int, ...], rescaling_oracle.Verdict]]:
    """Verdicts of some programs."""
    found = []
    for seed in seeds:
        program = random_programs.draw(*seed)
        try:
            verdict = rescaling_oracle.judge(program, variations)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            broken = rescaling_oracle.Broken("programs run", words)
            verdict = rescaling_oracle.Verdict(broken=[broken])
        found.append((seed, verdict))
    return found


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--variations", type=int, default=2, help="other ways to write each program"
    )
    parser.add_argument(
        "--shrink", type=int, default=3, help="how many of each kind to print in full"
    )
    options = parser.parse_args()
    seeds = [
        (options.seed, number)
        for number in range(options.first, options.first + options.programs)
    ]
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    started = told = time.monotonic()
    skipped: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    unnamed: Counter[str] = Counter()
    freedom: Counter[str] = Counter()
    rough = done = planned = bad = 0
    print(f"swr_optax from {swr_optax.__file__}", flush=True)
    context = multiprocessing.get_context("spawn")
    look = functools.partial(run, variations=options.variations)
    with context.Pool(options.processes, maxtasksperchild=CHUNKS_A_PROCESS) as pool:
        for verdicts in pool.imap_unordered(look, chunks):
            for seed, verdict in verdicts:
                done += 1
                if verdict.skipped:
                    skipped[verdict.skipped] += 1
                    continue
                planned += 1
                bad += bool(verdict.broken)
                for priority, named in verdict.named.items():
                    unnamed[priority] += not named
                    freedom[priority] += verdict.freedom[priority]
                rough += any(found > 0.1 for found, _ in verdict.deviations)
                for broken in verdict.broken:
                    kinds[broken.promise] += 1
                    full = kinds[broken.promise] <= options.shrink
                    program = random_programs.draw(*seed)
                    tries = SHRINKING if full else 0
                    text = rescaling_oracle.describe(program, broken, tries)
                    print(text, flush=True)
            if time.monotonic() - told > PROGRESS:
                told = time.monotonic()
                print(
                    f"{done} programs, {sum(kinds.values())} broken promises,"
                    f" {sum(skipped.values())} skipped,"
                    f" {done / (told - started):.1f} programs/s",
                    flush=True,
                )
    for kind, count in kinds.most_common():
        print(f"{count:6d}  {kind}")
    for reason, count in skipped.most_common():
        print(f"{count:6d}  skipped: {reason}")
    for priority in unnamed:
        print(
            f"{unnamed[priority] / max(planned, 1):6.0%}  of plans name nothing"
            f" ({priority!r}); {freedom[priority] / max(planned, 1):.0%} of layers free"
        )
    print(f"{rough:6d}  programs deviate by over 0.1 and are called approximate")
    ill = sum(skipped.values()) - skipped["nothing to rescale"]
    print(
        f"{done} programs, {sum(kinds.values())} broken promises in {bad} of them,"
        f" {ill} skipped as ill-conditioned, {skipped['nothing to rescale']} with"
        f" nothing to rescale, {time.monotonic() - started:.0f} s"
    )
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
