"""What README and guide say was measured is what the committed results hold."""

import functools
import json
from pathlib import Path
import re

import numpy as np
import pandas as pd
import pytest

from experiments.methods import METHODS
from experiments.methods.coefficients import STREAM_COEFFICIENTS
from experiments.reporting.collection import collect
from experiments.reporting.published import PUBLISHED
from experiments.reporting.ranking import ranking
from experiments.training.network import build_network

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"

TABLES = {
    "README.md": ("random-labels-digits", "agent-cartpole", "single-task-cifar10"),
    "experiments/guide/agents.md": (
        *("agent-cartpole", "agent-acrobot", "agent-cartpole-shared"),
    ),
    "experiments/guide/guide.md": (
        *("warm-start-resnet18-narrow", "warm-start-vit-narrow"),
    ),
    "experiments/guide/paper.md": (
        *("warm-start-mnist", "warm-start-cifar10"),
        *("continual-full-mnist", "continual-limited-mnist"),
        *("continual-limited-cifar10", "continual-limited-cifar10-first-seed"),
        *("single-task-mnist", "single-task-decay-mnist"),
        *("single-task-decay-cifar10", "balancedness-cifar10"),
    ),
    "experiments/guide/remedies.md": (
        *("random-labels-digits-ten", "permuted-inputs-digits-ten"),
        "permuted-inputs-mnist",
        *("random-labels-mnist", "random-labels-mnist-long"),
        *("random-labels-mnist-long-slow", "random-labels-mnist-layer-norm"),
        *("random-labels-cifar10", "random-labels-cifar10-slow"),
    ),
}
"""The results that each page's tables of methods are of, in their order."""

COLUMNS = {
    "average": "score",
    "average return": "score",
    "averaged over the stream": "score",
    "balancedness": "balancedness",
    "dead units": "dead_units",
    "final test accuracy": "test",
    "first fifth": "first",
    "growth": "weight_growth",
    "in the paper": "paper",
    "last fifth": "last",
    "mean of last ten epochs": "score",
    "seeds": "seeds",
    "weight growth": "weight_growth",
}
"""Of a ranking, by what the pages call them, up to some words behind."""

DEVIATIONS = {
    "paper": "paper_deviation",
    "score": "half",
    "test": "test_deviation",
    "weight_growth": "weight_growth_deviation",
}
"""What stands behind ±."""

SENTENCES = {
    "README.md": [
        (
            r"50 tasks of 400 epochs, it goes on learning \(([.\d]+) with one λ\)",
            lambda: of("random-labels-mnist-long-slow", "score", "swr"),
        ),
        (
            r"directions it has ([.\d]+), L2 Init ([.\d]+) and a f.* ([.\d]+)\. At",
            lambda: of(
                *("random-labels-mnist-long-slow", "score"),
                *("swr_directions", "l2_init", "fresh"),
            ),
        ),
        (
            r"a fresh network has ([.\d]+) there, and spect.* ([.\d]+) \(one seed\)",
            lambda: of("random-labels-mnist-long", "score", "fresh", "spectral"),
        ),
        (
            r"Tortoise, is above all of this table there \(([.\d]+)\),",
            lambda: of("random-labels-digits-ten", "score", "hare_and_tortoise"),
        ),
        (
            r"comes first \(([.\d]+)\), before L2 \(([.\d]+)\), L2 Init \(([.\d]+)\)",
            lambda: of("permuted-inputs-mnist", "score", "swr_two", "l2", "l2_init"),
        ),
        (
            r"fresh network \(([.\d]+)\) and plain Adam \(([.\d]+)\)\.",
            lambda: of("permuted-inputs-mnist", "score", "fresh", "vanilla"),
        ),
        (
            r"comes to ([.\d]+) within thirty epochs",
            lambda: [curve("vanilla").head(30).test_accuracy.max()],
        ),
        (
            r"training loss goes to ([.\d]+), with SWR to ([.\d]+)\)",
            lambda: [curve(m).train_loss.iloc[-1] for m in ("vanilla", "swr")],
        ),
        (
            r"loses ([.\d]+) from its best ten epochs .* SWR loses ([.\d]+)\.",
            lambda: [lost_by_ten(m) for m in ("vanilla", "swr")],
        ),
        (
            r"The gap of ([.\d]+) is near the paper's (\.\d+)",
            lambda: [gap("test"), gap("paper")],
        ),
        (
            r"with the first seed L2 gains ([.\d]+) when its λ is halved",
            lambda: [
                np.subtract(
                    *(
                        measured(f"single-task-cifar10-l2{part}")["test"].item()
                        for part in ("-half", "")
                    )
                )
            ],
        ),
        (
            r"half of the images SWR has ([.\d]+), L2 ([.\d]+), L2 Init ([.\d]+),",
            lambda: [warm(method, λ) for method, λ in GIVEN.items()],
        ),
        (
            r"L2 Init [.\d]+, S&P ([.\d]+) and plain",
            lambda: [warm("shrink_and_perturb", 0.8)],
        ),
        (
            r"and plain Adam ([.\d]+), which from scratch has ([.\d]+)",
            lambda: [warm("vanilla"), from_scratch()],
        ),
        (
            r"With λ tuned on held-out images, L2 has ([.\d]+) and SWR ([.\d]+) there,",
            lambda: [warm("l2", 1e-2), warm("swr", 2e-3)],
        ),
        (
            r"change, averages ([.\d]+), SWR ([.\d]+), L2 ([.\d]+), L2 Init",
            lambda: [limited(m) for m in ("shrink_and_perturb", "swr", "l2")],
        ),
        (
            r"L2 Init ([.\d]+) and plain Adam ([.\d]+), which falls by ([.\d]+) in",
            lambda: [*map(limited, ("l2_init", "vanilla")), falls("vanilla").mean()],
        ),
        (
            r"On average SWR has what it had, within ([.\d]+)\.",
            lambda: [abs(falls("swr").mean())],
        ),
        (
            r"falls twice, SWR has ([.\d]+) if .* reference norms, and ([.\d]+) if not",
            lambda: [falling("swr_reinit", 1e-3), falling("swr", 1e-3)],
        ),
        (
            r"if not; L2 has ([.\d]+), plain Adam ([.\d]+)\.",
            lambda: [falling("l2", 2e-2), falling("vanilla")],
        ),
        (
            r"SWR with new reference norms has ([.\d]+) and L2 ([.\d]+); over",
            lambda: [falling("swr_reinit", 2e-3), falling("l2", 1e-2)],
        ),
        (
            r"the former varies by ([.\d]+) on those images, and L2 by ([.\d]+)\.",
            lambda: [varies("swr_reinit-decay"), varies("l2-decay")],
        ),
    ],
    "experiments/guide/agents.md": [
        (
            r"on CartPole with (\d+), (\d+), (\d+) and (\d+) against its (\d+)",
            lambda: of("agent-cartpole", "score", "l2_init", "l2", *SCALED, "vanilla"),
        ),
        (
            r"each level falls from (\d+) to (\d+) of 400",
            lambda: list(measured("agent-cartpole").loc["vanilla", ["first", "last"]]),
        ),
        (
            r"where a fresh network for each level has (\d+)",
            lambda: of("agent-cartpole", "last", "fresh"),
        ),
        (
            r"SWR does nothing for the agent: (\d+), where plain PPO has (\d+)",
            lambda: of("agent-cartpole", "score", "swr_kept", "vanilla"),
        ),
        (
            r"it has (\d+), scaling both (\d+); on Acrobot (−\d+) and (−\d+)",
            lambda: (
                of("agent-cartpole", "score", *SCALED)
                + of("agent-acrobot", "score", *SCALED)
            ),
        ),
        (
            r"the policy: (\d+), where scaling both has (\d+) and plain PPO (\d+)",
            lambda: of("agent-cartpole-shared", "score", *SCALED, "vanilla"),
        ),
        (
            r"a fresh network \((\d+)\); L2 Init is first \((\d+)\)",
            lambda: of("agent-cartpole", "score", "fresh", "l2_init"),
        ),
        (
            r"L2 is first \((−\d+)\), SWR .* \((−\d+)\), .* networks \((−\d+)\)",
            lambda: of("agent-acrobot", "score", "l2", "swr_function", "fresh"),
        ),
        (
            r"averages (\d+) of 500, plain PPO (\d+), .* they have (\d+) and (\d+)\.",
            lambda: (
                of("agent-cartpole-plain", "score", "swr", "vanilla")
                + of("agent-cartpole-plain", "end", "swr", "vanilla")
            ),
        ),
        (
            r"averages are (−\d+) and (−\d+), .* the last tenths (−\d+) and (−\d+)",
            lambda: (
                of("agent-acrobot-plain", "score", "swr", "vanilla")
                + of("agent-acrobot-plain", "end", "swr", "vanilla")
            ),
        ),
    ],
    "experiments/guide/guide.md": [
        (
            r"leaves (\d+) places unmet under .* `vit_narrow` leaves (\d+),",
            lambda: [unmet("resnet18_narrow"), unmet("vit_narrow")],
        ),
        (
            r"4000 images has a standard error of ([.\d]+),",
            lambda: [standard_error(0.4, 4000)],
        ),
        (
            r"LayerNorm grows to ([.\d]+) times its norm, while",
            lambda: largest_growths("swr_function")[:1],
        ),
        (
            r"the head grows to ([.\d]+) and no other weight beyond ([.\d]+)\.",
            lambda: largest_growths("swr_two"),
        ),
    ],
    "experiments/guide/paper.md": [
        (
            r"it is ([.\d]+) above the plain warm start",
            lambda: [warm("swr", 1e-3) - warm("vanilla")],
        ),
        (
            r"of the single task has ([.\d]+)\.",
            lambda: [from_scratch()],
        ),
        (
            r"within the standard error of ([.\d]+);",
            lambda: [standard_error(held_out("swr-warm-start").max(), 5000)],
        ),
        (
            r"L2 is ([.\d]+) ahead of SWR, and SWR ([.\d]+) of itself with the paper's",
            lambda: [
                warm("l2", 1e-2) - warm("swr", 2e-3),
                ahead_of_the_paper_s(),
            ],
        ),
        (
            r"seeds, with ([.\d]+) and ([.\d]+) where SWR has ([.\d]+) and ([.\d]+),",
            lambda: np.transpose([tuned(0), tuned(1)]).ravel(),
        ),
        (
            r"standard error of a test accuracy \(([.\d]+)\)",
            lambda: [standard_error(warm("l2", 1e-2), 10000)],
        ),
        (
            r"here too: over a tenfold range it varies by ([.\d]+), L2 by ([.\d]+)\.",
            lambda: [varies("swr-warm-start"), varies("l2-warm-start")],
        ),
        (
            r"S&P rises to ([.\d]+) behind the change and falls to ([.\d]+) \(epochs",
            lambda: [
                (rises := warm_started("shrink_and_perturb", stage=2)).max(),
                rises.loc[41:50].mean(),
            ],
        ),
        (
            r"on half of the images \(([.\d]+) and ([.\d]+)\)",
            lambda: [
                warm_started(method, stage=1).tail(10).mean()
                for method in ("l2", "swr")  # With the paper's λ.
            ],
        ),
        (
            r"the head reset is ([.\d]+) above SWR",
            lambda: [gap("score", "continual-limited-mnist", "head_reset", "swr")],
        ),
        (
            r"S&P falls from ([.\d]+) to ([.\d]+), where SWR dips by ([.\d]+) in",
            lambda: [
                *around_the_last_change("shrink_and_perturb")[:2],
                -np.diff(around_the_last_change("swr")[::2])[0],
            ],
        ),
        (
            r"falls by ([.\d]+) \(mean of nine .*\), as far as ([.\d]+)\. L2 Init",
            lambda: [falls("vanilla").mean(), stages("vanilla").loc[2:, 1].min()],
        ),
        (
            r"L2 Init falls by ([.\d]+), L2 by ([.\d]+) and S&P by ([.\d]+);",
            lambda: [
                falls(method).mean()
                for method in ("l2_init", "l2", "shrink_and_perturb")
            ],
        ),
        (
            r"had before, within ([.\d]+), and from ([.\d]+) less to ([.\d]+) more",
            lambda: [
                abs(falls("swr").mean()),
                max(each := [f for s in (0, 1) for f in falls("swr", seed=s).dropna()]),
                -min(each),
            ],
        ),
        (
            r"\.01 of what it had, after (\d+) epochs at the first two changes and"
            r" after (\d+) to (\d+) at the last five",
            lambda: [
                *{back_after("vanilla", stage) for stage in (2, 3)},
                min(late := [back_after("vanilla", stage) for stage in range(6, 11)]),
                max(late),
            ],
        ),
        (
            r"is back after (\d) epochs at every change,",
            lambda: {back_after("l2", stage) for stage in range(2, 11)},
        ),
        (
            r"training loss of ([.\d]+) to ([.\d]+) at the end of every stage from the",
            lambda: ends_of_stages("train_loss", "l2").loc[2:].agg(["min", "max"]),
        ),
        (
            r"at its end SWR is ([.\d]+) and L2 ([.\d]+) below its best in that stage",
            lambda: [below_the_best(method) for method in ("swr", "l2")],
        ),
        (
            r"\(its training loss is at most ([.\d]+) at the end of a stage",
            lambda: [ends_of_stages("train_loss", "shrink_and_perturb").loc[2:].max()],
        ),
        (
            r"averages ([.\d]+) over the first .* ([.\d]+) over the last, SWR"
            r" ([.\d]+) and ([.\d]+)\.",
            lambda: [
                stages(method).loc[stage, 1:].mean()
                for method in ("shrink_and_perturb", "swr")
                for stage in (1, 10)
            ],
        ),
        (
            r"With 5e-2 L2 falls by ([.\d]+) at a change",
            lambda: [falls("l2", 5e-2).mean()],
        ),
        (
            r"a tenth of the paper's it falls by ([.\d]+)\.",
            lambda: [falls("swr", 1e-2).mean()],
        ),
        (
            r"training loss never comes below ([.\d]+)\.",
            lambda: [stages("swr", "train_loss").min().min()],
        ),
        (
            r"stage rises from ([.\d]+) in the second to ([.\d]+) in the tenth",
            lambda: [ends_of_stages("train_loss")[stage] for stage in (2, 10)],
        ),
        (
            r"and its dead units from ([.\d]+) to ([.\d]+)\.",
            lambda: [ends_of_stages("dead_units")[stage] for stage in (2, 10)],
        ),
        (
            r"then on SWR averages ([.\d]+), L2 ([.\d]+) and plain Adam ([.\d]+)\.",
            lambda: [
                stages(method).loc[2:, 1:].to_numpy().mean()
                for method in ("swr", "l2", "vanilla")
            ],
        ),
        (
            r"it is ([.\d]+) with SWR and ([.\d]+) without, and SWR falls to ([.\d]+)",
            lambda: balancedness_at_first_and_least(),
        ),
        (
            r"comes to ([.\d]+) right after the first fall, and then loses ([.\d]+)",
            lambda: lost_behind_the_fall(),
        ),
        (
            r"back to a growth of ([.\d]+); with",
            lambda: of("single-task-decay-cifar10", "weight_growth", "swr"),
        ),
        (
            r"SWR \+ re-init, level in the paper, are ([.\d]+) apart, since L2 is",
            lambda: [falling("swr_reinit", 1e-3) - falling("l2", 2e-2)],
        ),
        (
            r"since L2 is ([.\d]+) below the paper's figure and SWR",
            lambda: [
                PUBLISHED["single-task-decay", "cifar10", "cnn", "l2"].mean
                - falling("l2", 2e-2, "test")
            ],
        ),
        (
            r"on which such an accuracy has a standard error of ([.\d]+):",
            lambda: [standard_error(held_out("l2-decay").max(), 5000)],
        ),
        (
            r"as sweeps go now, 5e-3 is ahead of 1e-2 by ([.\d]+)\.",
            lambda: [np.subtract(*held_out("l2-decay", 10)[[5e-3, 1e-2]])],
        ),
        (
            r"on the test images, L2 is ([.\d]+) ahead of SWR \+ re-init",
            lambda: [falling("l2", 1e-2) - falling("swr_reinit", 2e-3)],
        ),
        (
            r"tenfold ranges of λ it varies by ([.\d]+), L2 by ([.\d]+)\.",
            lambda: [varies("swr_reinit-decay"), varies("l2-decay")],
        ),
        (
            r"no accuracy changes: ([.\d]+) for every ratio",
            lambda: {*scaled_once("rescaled", "at once")},
        ),
        (
            r"With kept biases it falls, to ([.\d]+) for half",
            lambda: [scaled_once("kept", "at once")[0.5]],
        ),
        (
            r"to ([.\d]+), as it is to ([.\d]+), at twice its norms to ([.\d]+)\.",
            lambda: scaled_once("rescaled", "best of 50")[[0.5, 1, 2]],
        ),
        (
            r"at no ratio are they below rescaled ones by more than ([.\d]+)\.",
            lambda: [max(np.subtract(*trained_on()))],
        ),
        (
            r"from a growth of ([.\d]+) to ([.\d]+),",
            lambda: [
                *of("single-task-mnist", "weight_growth", "swr"),
                *of("single-task-decay-mnist", "weight_growth", "swr"),
            ],
        ),
    ],
    "experiments/guide/remedies.md": [
        (
            r"fifth of the tasks it has ([.\d]+) with one λ, and plain Adam ([.\d]+)\.",
            lambda: of("random-labels-mnist-long", "first", "swr", "vanilla"),
        ),
        (
            r"a lower learning rate: ([.\d]+) → ([.\d]+) for SWR in long tasks",
            lambda: [
                *of("random-labels-mnist-long", "dead_units", "swr"),
                *of("random-labels-mnist-long-slow", "dead_units", "swr"),
            ],
        ),
        (
            r"with one λ keeps its units \(([.\d]+) are dead, where all were\)",
            lambda: of("random-labels-mnist-long-slow", "dead_units", "swr"),
        ),
        (
            r"It takes ([.\d]+) to ([.\d]+) times Adam's step",
            lambda: large_layers("spectral + Adam"),
        ),
        (
            r"where SWR takes ([.\d]+) to ([.\d]+) times",
            lambda: large_layers("Adam + SWR"),
        ),
        (
            r"where ([.\d]+) of its units die",
            lambda: of("random-labels-mnist", "dead_units", "swr_two"),
        ),
        (
            r"`l2_directions` beside SWR: ([.\d]+) → ([.\d]+) there",
            lambda: of(
                "random-labels-mnist", "dead_units", "swr_two", "swr_directions"
            ),
        ),
        (
            r"plain Adam does, ([.\d]+) to ([.\d]+) over the last fifth\. Hard pr",
            lambda: [
                min(ends := of("random-labels-mnist", "last", *HELD, "vanilla")),
                max(ends),
            ],
        ),
        (
            r"Hard projection, which is SWR with λ = 1, has ([.\d]+) and is above",
            lambda: of("random-labels-mnist", "score", "hard_projection"),
        ),
        (
            r"plain Adam ([.\d]+), SWR ([.\d]+), SWR with two λ ([.\d]+)\.",
            lambda: of(
                "random-labels-mnist", "dead_units", "vanilla", "swr", "swr_two"
            ),
        ),
        (
            r"network and is ([.\d]+) below it over the last fifth of the tasks",
            lambda: [gap("last", "permuted-inputs-mnist", "fresh", "vanilla")],
        ),
        (
            r"with weights (\d+) times as large as at first",
            lambda: of("permuted-inputs-mnist", "weight_growth", "vanilla"),
        ),
        (
            r"told apart from all the rest, by ([.\d]+):",
            lambda: [gap("score", "permuted-inputs-mnist", "swr_two", "l2")],
        ),
        (
            r"end at chance, with ([.\d]+) and ([.\d]+) of their units dead",
            lambda: of("random-labels-cifar10", "dead_units", "vanilla", "swr_two"),
        ),
        (
            r"keeps its units now \(([.\d]+) are dead\)",
            lambda: of("random-labels-cifar10-slow", "dead_units", "swr_two"),
        ),
        (
            r"rank falls from (\d+) in the first fifth of the tasks to (\d+) in the"
            r" last\. Plain Adam's falls from (\d+) to (\d+); with the pull on"
            r" directions it goes from (\d+) to (\d+)\.",
            lambda: [
                rank
                for method in ("swr_two", "vanilla", "swr_directions")
                for rank in effective_ranks(method)
            ],
        ),
        (
            r"it has ([.\d]+) at 1e-4, level with L2 Init",
            lambda: of("random-labels-mnist-long-slow", "score", "swr_directions"),
        ),
        (
            r"a fresh network has ([.\d]+) at its own better rate",
            lambda: of("random-labels-mnist-long", "score", "fresh"),
        ),
        (
            r"run at 3e-4 \(([.\d]+)\), not .* and AdamO has ([.\d]+) at 1e-3\.",
            lambda: (
                of("random-labels-cifar10-slow", "score", "swr_directions")
                + of("random-labels-cifar10", "score", "orthogonal_decay")
            ),
        ),
        (
            r"the tables' 1e-2 / 1e-4 has ([.\d]+)\.",
            lambda: [tried_on_digits(1e-2, 1e-4)],
        ),
    ],
}
"""What pages say in words, and what it must be."""

HELD = ("swr", "swr_two", "project_norms", "weight_clipping")
"""What holds norms or entries alone."""

SCALED = ("swr_function", "swr")
"""SWR with the value kept, and with both scaled."""

SCALED_ONCE = "proportionality-cifar10"
"""It compares no methods."""

SPREADS = (("test", "test_deviation"), ("score", "deviation"), ("score", "half"))

OTHERWISE = {
    "a fresh network for each level": "fresh",
    "a fresh network for each task": "fresh",
    "plain Adam": "vanilla",
    "plain PPO": "vanilla",
    "L2 Init, half of the paper's λ": "l2_init",
    "L2, half of the paper's λ": "l2",
    "L2, tuned": "l2",
    "S&P, told when the task changes": "shrink_and_perturb",
    "SWR + re-init, tuned": "swr_reinit",
    "SWR, one λ": "swr",
    "SWR, tuned": "swr",
    "SWR, the value kept": "swr_function",
    "SWR, value and logits kept": "swr_kept",
    "SWR, two λ, and L2 Init's pull on the directions": "swr_directions",
}
"""Methods that a page calls otherwise than tables do."""


def tables(page, first="method"):
    """Heading and rows of each of a page's tables whose first column is called so."""
    for found in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heading, _, *rows = (
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in found.splitlines()
        )
        if heading[0].startswith(first):
            yield heading, rows


PENALTIES = (
    *("warm-start-mnist", "continual-limited-mnist"),
    *("single-task-mnist", "single-task-decay-mnist"),
)
"""Of which L2 and L2 Init were run again, with the paper's λ."""

PARTS = {
    **{
        name: (name, f"{name}-more")
        for name in ("random-labels-cifar10", "random-labels-cifar10-slow")
    },
    **{
        f"{name}-ten": (name, f"{name}-more")
        for name in ("random-labels-digits", "permuted-inputs-digits")
    },
    "permuted-inputs-mnist": (
        *("permuted-inputs-mnist", "permuted-inputs-mnist-others"),
    ),
    "continual-limited-cifar10": tuple(
        f"continual-limited-cifar10{part}"
        for part in (
            *("", "-l2", "-l2-strong", "-l2-stronger", "-l2-init"),
            *("-shrink-and-perturb", "-swr-weaker", "-seed-1", "-seed-1-l2"),
        )
    ),
    "continual-limited-cifar10-first-seed": tuple(
        f"continual-limited-cifar10{part}"
        for part in ("", "-l2", "-l2-strong", "-l2-stronger", "-swr-weaker")
    ),
    "single-task-cifar10": tuple(
        f"single-task-cifar10{part}"
        for part in (
            *("", "-l2", "-l2-half"),
            *("-seed-1-swr", "-seed-1-vanilla", "-seed-1-l2"),
            *("-seed-2-swr", "-seed-2-vanilla", "-seed-2-l2"),
            *("-l2-init", "-seed-1-l2-init", "-seed-2-l2-init"),
        )
    ),
    "single-task-decay-cifar10": tuple(
        f"single-task-decay-cifar10{part}"
        for part in ("", "-swr", "-l2-tuned", "-swr-reinit-tuned")
    ),
    "warm-start-cifar10": tuple(
        f"warm-start-cifar10{part}"
        for part in (
            *("", "-others", "-seed-1-swr", "-seed-1-l2"),
            *("-seed-1-vanilla", "-seed-1-shrink-and-perturb"),
            *("-seed-2-swr", "-seed-2-l2"),
            *("-seed-2-vanilla", "-seed-2-shrink-and-perturb"),
            *("-l2-init", "-seed-1-l2-init", "-seed-2-l2-init"),
            *("-l2-tuned", "-swr-tuned", "-l2-tuned-1", "-swr-tuned-1"),
        )
    ),
    "random-labels-mnist-long": tuple(
        f"random-labels-mnist-long{part}" for part in ("", "-seeds", "-others")
    ),
    "random-labels-mnist-long-slow": tuple(
        f"random-labels-mnist-long-slow{part}" for part in ("", "-1", "-2")
    ),
    **{name: (name, f"{name}-l2") for name in PENALTIES},
}
"""Results that were run one after the other and are one table."""


@functools.cache  # Of all results, for each page.
def measured(name):
    """The ranking that metrics give."""
    parts = PARTS.get(name, (name,))
    found = collect([RESULTS / part for part in parts])
    assert not found.unreadable
    table = ranking(found.rows)
    config = json.loads((RESULTS / parts[0] / "config.json").read_text())
    cell = (config["protocol"], config["dataset"], config["model"])
    rows = [PUBLISHED.get((*cell, method)) for method in table["method"]]
    return table.assign(
        half=(table["high"] - table["low"]) / 2,
        paper=[row.mean if row else None for row in rows],
        paper_deviation=[row.deviation if row else None for row in rows],
    ).set_index("method")


def of(result, column, *methods):
    """One column of a ranking, for some methods."""
    return list(measured(result).loc[list(methods), column])


def lambdas(text):
    """The numbers in what a table says of λ; what all layers have is said once."""
    numbers = re.findall(r"(?:\d|\.\d)[-.\de]*", str(text))
    return [*dict.fromkeys(map(float, numbers))]


GIVEN = {"swr": 1e-3, "l2": 2e-2, "l2_init": 2e-2}
"""The paper's λ for the warm start on CIFAR-10."""


def row_of(result, method, λ=None):
    """The one row of a ranking that a method has, or has with this λ."""
    found = measured(result).loc[[method]]
    if λ is not None:
        found = found[[lambdas(tried) == lambdas(λ) for tried in found["coefficient"]]]
    assert len(found) == 1, (result, method, λ)
    return found.iloc[0]


def falling(method, λ=None, column="score"):
    """One number of a method with one λ, of the falling rate on CIFAR-10."""
    return row_of("single-task-decay-cifar10", method, λ)[column]


def warm(method, λ=None):
    """Mean over the last ten epochs of a method with one λ, warm start on CIFAR-10."""
    return row_of("warm-start-cifar10", method, λ)["score"]


def tuned(seed):
    """The same of L2 and SWR, each tuned, with one of their two seeds."""
    part = "-1" if seed else ""
    return [
        measured(f"warm-start-cifar10-{method}-tuned{part}")["score"].item()
        for method in ("l2", "swr")
    ]


def ahead_of_the_paper_s():
    """By how much SWR's tuned λ is ahead of the paper's there, in the two seeds."""
    gains = []
    for seed, part in enumerate(["", "-seed-1-swr"]):
        rows = epochs_of(f"warm-start-cifar10{part}")
        rows = rows[(rows["method"] == "swr") & (rows["stage"] == 2)]
        given = rows.sort_values("epoch")["test_accuracy"].tail(10).mean()
        gains.append(tuned(seed)[1] - given)
    return np.mean(gains)


STREAM = ("random-labels", "digits", "mlp")
TWO_RATES = ("l2", "l2_init", "shrink_and_perturb", "swr", "swr_directions")
SWEPT = (
    *(*TWO_RATES, "spectral", "redo", "weight_clipping"),
    *("continual_backprop", "self_normalized_resets"),
)
"""On the digits' random labels, each by itself."""

SWEEPS = (("l2-warm-start", "swr-warm-start"), ("l2-decay", "swr_reinit-decay"))
"""On CIFAR-10's held-out images, in the order of their tables."""


def held_out(name, epochs=None):
    """Accuracies by λ: of the last epoch where the rate falls, else of the last ten."""
    if epochs is None:
        epochs = 1 if name.endswith("decay") else 10
    folder = f"sweep-{name.replace('_', '-')}-cifar10"
    found = pd.read_csv(RESULTS / folder / "sweep.csv.gz")
    found = found[found["stage"] == found["stage"].max()]
    last = found[found["epoch"] > found["epoch"].max() - epochs]
    return last.groupby("coefficient")["validation_accuracy"].mean()


def standard_error(accuracy, images):
    """Of an accuracy on so many images."""
    return (accuracy * (1 - accuracy) / images) ** 0.5


def varies(name):
    """By how much λ moves such an accuracy."""
    tried = held_out(name)
    return tried.max() - tried.min()


def gap(column, result="single-task-cifar10", above="swr", below="vanilla"):
    """By how much the first method is above the second."""
    first, second = of(result, column, above, below)
    return first - second


@functools.cache
def epochs_of(name):
    """A run's metrics."""
    return pd.read_csv(RESULTS / name / "metrics.csv.gz")


def means_of(parts, method):
    """Means over the seeds of a method by stage and epoch, in their order."""
    rows = pd.concat(map(epochs_of, parts))
    rows = rows[rows["method"] == method]
    return rows.groupby(["stage", "epoch"]).mean(numeric_only=True)


def curve(method):
    """All epochs of a method on CIFAR-10, with the paper's λ."""
    parts = [p for p in PARTS["single-task-cifar10"] if not p.endswith("half")]
    return means_of(parts, method).loc[1]


def lost_by_ten(method):
    """What is lost from its best ten epochs to its last ten."""
    means = curve(method)["test_accuracy"].rolling(10).mean()
    return means.max() - means.iloc[-1]


def from_scratch():
    """Plain training's mean over the last ten of as many epochs as a phase has."""
    return curve("vanilla").head(100).test_accuracy.tail(10).mean()


def warm_started(method, stage):
    """Test accuracy over the epochs of a phase on CIFAR-10, with the paper's λ."""
    parts = [p for p in PARTS["warm-start-cifar10"] if "tuned" not in p]
    return means_of(parts, method).loc[stage, "test_accuracy"].loc[1:]


def lost_behind_the_fall():
    """The best of SWR with unchanged norms on CIFAR-10, and what is lost then."""
    rows = epochs_of("single-task-decay-cifar10-swr")
    rows = rows[rows["method"] == "swr"].set_index("epoch")["test_accuracy"]
    assert rows.idxmax() == 101  # The first epoch with the lower rate.
    return [rows.max(), rows.max() - rows.sort_index().tail(10).mean()]


def largest_growths(method):
    """Of the ViT's weights at the end of its warm start, the two that grew most."""
    rows = epochs_of("warm-start-vit-narrow")
    last = rows[rows["method"] == method].iloc[-1]
    return sorted(last.filter(like="growth/").astype(float), reverse=True)[:2]


def unmet(model):
    """How many places of a network for CIFAR-10 a plan for the norms leaves."""
    return len(build_network(model, 10, (2, 32, 32, 3)).plan.unmet)


def balancedness_at_first_and_least():
    """Means after the first epoch, with SWR and without, and the least with SWR."""
    rows = epochs_of("balancedness-cifar10")
    means = rows.groupby(["method", "epoch"])["balancedness"].mean()
    return [means["swr", 1], means["vanilla", 1], means["swr"].min()]


def around_the_last_change(method):
    """Mean accuracies with full access on MNIST around the change to the last tenth.

    Before it, right at it, and the least from there to the third epoch behind it.
    """
    rows = epochs_of("continual-full-mnist")
    rows = rows[rows["method"] == method]
    means = rows.groupby(["stage", "epoch"])["test_accuracy"].mean()
    return [means[9, 100], means[10, 0], means[10].loc[:3].min()]


LIMITED = {"l2": 2e-2, "swr": 0.1}
"""The paper's λ with limited access on CIFAR-10, where there are others."""


@functools.cache
def stages(method, column="test_accuracy", λ=None, seed=None):
    """Of limited access on CIFAR-10, means over seeds or one: stages by epochs."""
    λ = λ or LIMITED.get(method)
    found = []
    for part in PARTS["continual-limited-cifar10"]:
        config = json.loads((RESULTS / part / "config.json").read_text())
        tried = config["coefficients"].get(method)
        if method in config["methods"] and λ in (None, tried):
            found.append(epochs_of(part))
    rows = pd.concat(found)
    rows = rows[rows["method"] == method]
    if seed is not None:
        rows = rows[rows["seed"] == seed]
    return rows.pivot_table(column, index="stage", columns="epoch")


def limited(method, λ=None):
    """What a method averages over that stream, with the paper's λ or another."""
    λ = λ or LIMITED.get(method)
    return row_of("continual-limited-cifar10", method, λ)["score"]


def falls(method, λ=None, seed=None):
    """What is lost there in the first epoch behind each change."""
    found = stages(method, λ=λ, seed=seed)
    return found[100].shift() - found[1]


def back_after(method, stage):
    """Epochs after which a method is within .01 of what it had before a change."""
    found = stages(method)
    line = found.loc[stage].loc[1:]
    return line.index[line >= found.loc[stage - 1, 100] - 0.01][0]


def below_the_best(method):
    """What is lost from the best epoch of a stage to its last, from the second on."""
    found = stages(method).loc[2:, 1:]
    return (found.max(axis=1) - found[100]).mean()


def ends_of_stages(column, method="vanilla"):
    """What a method has at the end of each stage there."""
    return stages(method, column)[100]


def effective_ranks(method):
    """Of random labels on CIFAR-10 at the lower rate, in the first and last fifth."""
    rows = pd.concat(map(epochs_of, PARTS["random-labels-cifar10-slow"]))
    rows = rows[rows["method"] == method].sort_values("task")
    fifth = rows["task"].max() // 5
    parts = rows["task"] <= fifth, rows["task"] > rows["task"].max() - fifth
    return [rows.loc[part, "effective_rank"].mean() for part in parts]


def large_layers(way):
    """Least and greatest cost of a step with few layers of 1e6 parameters or more."""
    rows = pd.read_csv(RESULTS / "benchmark" / "benchmark.csv")
    rows = rows[(rows["piece"] == "optimizer") & (rows["way"] == way)]
    ratios = rows[(rows["layers"] == 3) & (rows["parameters"] > 1e6)]["ratio"]
    return [ratios.min(), ratios.max()]


def tried_on_digits(feature, classifier):
    """What a pair of coefficients has in the sweep on the digits."""
    rows = pd.read_csv(RESULTS / "sweep-swr-two-digits" / "sweep.csv.gz")
    pair = (rows["coefficient/feature"] == feature) & (
        rows["coefficient/classifier"] == classifier
    )
    rows = rows[pair & (rows["learning_rate"] == 1e-3)]
    return rows["online_accuracy"].mean()


def column(name):
    name = re.split(r" of | ± | at ", name)[0] if "epochs" not in name else name
    return COLUMNS.get(name)


def same(text, value):
    """Whether a number in a table is a value, rounded."""
    text = text.replace("−", "-")
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_results(name):
    found = list(tables((ROOT / name).read_text(encoding="utf-8")))
    assert len(found) == len(TABLES[name])
    for (heading, rows), result in zip(found, TABLES[name], strict=True):
        methods = {METHODS[name].label: name for name in measured(result).index}
        for label, *cells in ([cell.strip("*") for cell in row] for row in rows):
            method = OTHERWISE.get(label) or methods[label]
            row = row_of(result, method, cells[heading[1:].index("λ")])
            for title, cell in zip(heading[1:], cells, strict=True):
                if title == "letters":
                    assert cell == row["letters"], (result, label)
                if column(title) is None or not cell:
                    continue
                number, _, deviation = cell.partition(" ± ")
                value = row[column(title)]
                assert same(number, value), (result, label, title, cell, value)
                if deviation:
                    spread = row[DEVIATIONS[column(title)]]
                    assert same(deviation, spread), (result, label, title, cell)


@pytest.mark.parametrize("name", TABLES)
def test_deviations_in_the_text_are_a_result_s(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```|^\|[^\n]*$", "", page, flags=re.DOTALL | re.MULTILINE)
    results = {path.parent.name for path in RESULTS.glob("*/config.json")}
    known = pd.concat([measured(result) for result in results - {SCALED_ONCE}])
    for number, deviation in re.findall(r"([−.\d]*\d) ± ([.\d]*\d)", text):
        assert any(
            same(number, row[value]) and same(deviation, row[spread])
            for _, row in known.iterrows()
            for value, spread in SPREADS
        ), f"{name}: no result has {number} ± {deviation}"


@pytest.mark.parametrize(
    ("name", "pattern", "values"),
    [(name, *said) for name, all_said in SENTENCES.items() for said in all_said],
)
def test_numbers_in_sentences_are_those_of_the_results(name, pattern, values):
    page = (ROOT / name).read_text(encoding="utf-8")
    found = re.search(pattern, re.sub(r"\s+", " ", page))
    assert found, f"{name} no longer says {pattern}"
    for number, value in zip(found.groups(), values(), strict=True):
        assert same(number, value), (name, found[0], value)


def test_costs_are_the_benchmark_s():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    found = pd.read_csv(RESULTS / "benchmark" / "benchmark.csv")
    found = found[found["way"] == "Adam + SWR"].set_index("case")
    steps = found[found["piece"] == "optimizer"]
    rows = re.findall(r"^\| (\d+ layers, .*?) \|(.*)\|$", page, re.MULTILINE)
    assert [case for case, _ in rows] == list(steps.index)
    for case, cells in rows:
        columns = ("ratio", "memory_ratio", "compile_ratio")
        for cell, name in zip(cells.split("|"), columns, strict=True):
            assert same(cell.strip(), steps.loc[case, name]), (case, name)
    (sentence,) = re.findall(r"A training step with SWR takes [^,]*,[^,]*\.", page)
    ratios = found[found["piece"] == "training"]["ratio"]
    numbers = re.findall(r"\b\d\.\d\d\b", sentence)
    for number, (case, ratio) in zip(numbers, ratios.items(), strict=True):
        assert same(number, ratio), case


@pytest.mark.parametrize(("number", "names"), list(enumerate(SWEEPS)))
def test_held_out_accuracies_are_the_sweeps(number, names):
    page = (ROOT / "experiments/guide/paper.md").read_text(encoding="utf-8")
    found = list(tables(page, "λ of "))
    assert len(found) == len(SWEEPS)
    heading, rows = found[number]
    for place, name in zip((0, 2), names, strict=True):
        method = METHODS[name.split("-")[0]].label
        assert heading[place] == f"λ of {method}"
        tried = held_out(name)
        cells = [row[place : place + 2] for row in rows]
        assert {float(λ) for λ, _ in cells} == set(tried.index)
        for λ, accuracy in cells:
            assert same(accuracy.strip("*"), tried[float(λ)]), (name, λ)
            assert ("*" in accuracy) == (tried[float(λ)] == tried.max())


def scaled_once(biases, when):
    """Accuracies by ratio of a network that was scaled once."""
    rows = epochs_of(SCALED_ONCE)
    rows = rows[(rows["biases"] == biases) & (rows["when"] == when)]
    return rows.set_index("ratio")["test_accuracy"]


def trained_on():
    """The best of later epochs, with biases rescaled and kept."""
    return [scaled_once(biases, "best of 50") for biases in ("rescaled", "kept")]


def test_accuracies_of_a_network_that_was_scaled_are_the_results():
    page = (ROOT / "experiments/guide/paper.md").read_text(encoding="utf-8")
    ((heading, rows),) = tables(page, "ratio")
    columns = [scaled_once(*words.split(", ")) for words in heading[1:]]
    assert [float(ratio) for ratio, *_ in rows] == list(columns[0].index)
    for ratio, *cells in rows:
        for cell, accuracies in zip(cells, columns, strict=True):
            assert same(cell, accuracies[float(ratio)]), (ratio, cell)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swr-two-digits", "the best pair of this sweep, 1 / 1e-4, has .644"),
        ("swr-two-mnist", "the best pair of this sweep, .1 / .1, has .307"),
        ("swr-directions-mnist", "the best of its sweep, 1e-3 / 1e-3 / 1e-2,"),
        ("l2-init-mnist", "| L2 Init | .01 |"),
        ("swr-two-permuted-mnist", "| SWR, two λ | 1e-1 / 1e-4 | .893 |"),
        ("l2-permuted-mnist", "| L2 | .003 | .890 |"),
        ("l2-init-permuted-mnist", "| L2 Init | .003 | .890 |"),
        ("swr-permuted-mnist", "| SWR | .001 | .889 |"),
        (
            "swr-directions-permuted-mnist",
            "| SWR + directions | 1e-3 / 1e-4 / 1e-3 | .890 |",
        ),
    ],
)
def test_the_best_of_a_sweep_is_what_the_guide_says(name, said):
    page = (ROOT / "experiments/guide/remedies.md").read_text(encoding="utf-8")
    assert said in page.replace("\n", " ")
    folder = RESULTS / f"sweep-{name}"
    told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    rows = pd.read_csv(folder / "sweep.csv.gz")
    tried = [x for x in rows if x.startswith("coefficient")]
    means = rows.groupby(["learning_rate", *tried])["online_accuracy"].mean()
    scores = [sum(of_seeds) / len(of_seeds) for of_seeds in told["scores"]]
    assert max(scores) == pytest.approx(means.max(), abs=1e-6)
    numbers = [float(x) for x in re.findall(r"(?<![\w.])(?:\d|\.\d)[-.\de]*", said)]
    coefficients = numbers[: len(tried)]
    assert dict(zip(means.index.names, means.idxmax(), strict=True)) == {
        "learning_rate": 1e-3,
        **dict(zip(tried, coefficients, strict=True)),
    }
    if " has " in said:
        assert same(said.rpartition(" ")[2], means.max())


@pytest.mark.parametrize("method", SWEPT)
def test_coefficients_of_streams_are_the_best_of_their_sweeps(method):
    """Of those whose pair was third, or is another method's, there is no such test."""
    page = (ROOT / "experiments/guide/remedies.md").read_text(encoding="utf-8")
    assert "whose pair was third in its sweep; the" in page
    folder = RESULTS / f"sweep-{method.replace('_', '-')}-digits"
    told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["run"]
    assert (told["protocol"], told["dataset"], told["model"]) == STREAM
    rows = pd.read_csv(folder / "sweep.csv.gz")
    assert set(rows["seed"]) == {1000, 1001, 1002}
    assert set(rows["learning_rate"]) == (
        {1e-3, 1e-4} if method in TWO_RATES else {1e-3}
    )
    tried = [x for x in rows if x.startswith("coefficient")]
    means = rows.groupby(["learning_rate", *tried])["online_accuracy"].mean()
    rate, *best = means.idxmax()
    chosen = STREAM_COEFFICIENTS[method]
    assert rate == 1e-3
    assert best == list(chosen.values() if isinstance(chosen, dict) else [chosen])


def test_two_coefficients_on_streams_were_third_in_their_sweep():
    rows = pd.read_csv(RESULTS / "sweep-swr-two-digits" / "sweep.csv.gz")
    tried = ["coefficient/feature", "coefficient/classifier"]
    means = rows.groupby(["learning_rate", *tried])["online_accuracy"].mean()
    third = means.sort_values(ascending=False).index[2]
    assert third == (1e-3, *STREAM_COEFFICIENTS["swr_two"].values())


@pytest.mark.parametrize(
    ("name", "swr_and_plain"),
    [("agent-cartpole-plain", False), ("agent-acrobot-plain", True)],
)
def test_who_is_told_apart_where_nothing_changes_is_what_the_guide_says(
    name, swr_and_plain
):
    page = (ROOT / "experiments/guide/agents.md").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", page)
    assert "plain PPO 474, which are told apart; in" in text
    assert "the averages are −102 and −100, not told apart" in text
    one, other = (set(of(name, "letters", m)[0]) for m in ("swr", "vanilla"))
    assert bool(one & other) == swr_and_plain


def test_who_is_above_plain_ppo_on_acrobot_is_what_the_guide_says():
    page = (ROOT / "experiments/guide/agents.md").read_text(encoding="utf-8")
    said = "of these four, only L2 and SWR with the value kept are told apart from it."
    assert said in re.sub(r"\s+", " ", page)
    letters = measured("agent-acrobot")["letters"]
    apart = {
        method
        for method in ("l2_init", "l2", "swr_function", "swr")
        if set(letters[method]).isdisjoint(letters["vanilla"])
    }
    assert apart == {"l2", "swr_function"}


@pytest.mark.parametrize("name", ["single-task-cifar10", "warm-start-cifar10"])
def test_all_seeds_of_the_cnn_have_one_order(name):
    """With the paper's λ for each; S&P has none in the single task."""
    names = ("swr", "l2", "shrink_and_perturb", "vanilla")  # L2 Init is beside L2.
    parts = [p for p in PARTS[name] if "tuned" not in p and "half" not in p]
    rows = pd.concat(map(epochs_of, parts))
    assert set(rows["seed"]) == {0, 1, 2}
    last = rows[rows["stage"] == rows["stage"].max()].sort_values("epoch")
    scores = last.groupby(["seed", "method"])["test_accuracy"].apply(
        lambda found: found.tail(10).mean()
    )
    for seed in (0, 1, 2):
        order = list(scores[seed].sort_values(ascending=False).index)
        assert order.index("l2_init") in (1, 2)
        order.remove("l2_init")
        assert order == [method for method in names if method in order]
    if name == "warm-start-cifar10":
        assert all(l2 > swr for l2, swr in (tuned(0), tuned(1)))


def test_both_seeds_of_limited_access_have_one_order():
    page = (ROOT / "experiments/guide/paper.md").read_text(encoding="utf-8")
    assert "Both seeds have this order." in page
    parts = PARTS["continual-limited-cifar10"]
    found = collect([RESULTS / part for part in parts]).rows
    paper_s = ["", *(str(λ) for λ in (0.4, 0.1, 0.02))]
    found = found[found["coefficient"].isin(paper_s) & (found["name"] != "L2 (λ 0.1)")]
    last = found[found["epoch"] == 100].groupby(["seed", "method", "stage"]).last()
    scores = last["stream_accuracy"].groupby(level=["seed", "method"]).last()
    orders = [list(scores[seed].sort_values(ascending=False).index) for seed in (0, 1)]
    assert orders == 2 * [["shrink_and_perturb", "swr", "l2", "l2_init", "vanilla"]]
