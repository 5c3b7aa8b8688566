"""One sentence, from one run's rows alone."""

import numpy as np
import pandas as pd
import pytest

from experiments.reporting.runs import read_run
from experiments.reporting.verdict import verdict

STREAM = {"protocol": "random-labels", "tasks": 20}


def metrics(folder):
    """As the command has them: the table, and nothing of the configuration."""
    return pd.read_csv(folder / "metrics.csv")


def test_it_names_the_best_and_what_plain_training_loses(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "l2", "swr_two"]
    folder = write_folder(tmp_path / "run", methods=methods, seeds=5, **STREAM)
    frame = metrics(folder)
    text = verdict(frame)
    found = frame.groupby(["method", "seed"])["online_accuracy"].mean()
    means = found.groupby("method").mean()
    assert text.startswith(
        f"Random labels (mnist, mlp): SWR, two λ comes first, with online accuracy"
        f" {means['swr_two']:.4f} (95 % interval 0."
    )
    assert "over 5 seeds; it is told apart from L2 and vanilla (paired t tests" in text
    fresh = (
        f"a fresh network for each task has {means['fresh']:.4f}, which is told apart"
    )
    assert fresh in text
    plain = frame[frame["method"] == "vanilla"]
    first = plain[plain["task"] <= 4]["online_accuracy"].mean()
    last = plain[plain["task"] > 16]["online_accuracy"].mean()
    assert "plain training loses plasticity: its online accuracy goes from" in text
    assert f"from {first:.4f} in the first fifth of tasks to {last:.4f} in the" in text
    assert text.endswith(".")
    assert "\n" not in text


def test_what_diverged_is_never_the_best(write_folder, tmp_path):
    methods = ["vanilla", "swr", "l2"]
    fields = {"protocol": "slowly-changing-regression", "tasks": 3, "seeds": 4}
    folder = write_folder(tmp_path / "run", methods=methods, **fields)
    frame = metrics(folder)
    frame.loc[frame["method"] == "swr", "train_loss"] = 1e-9
    assert "SWR comes first" in verdict(frame)
    one = (frame["method"] == "swr") & (frame["seed"] == 2) & (frame["task"] == 3)
    lost = frame.assign(train_loss=frame["train_loss"].mask(one))
    assert "SWR comes first" not in verdict(lost)
    assert verdict(lost).endswith("; SWR diverged in 1 of 4 seeds.")
    alone = verdict(lost[lost["method"] == "swr"])
    assert alone.endswith("SWR diverged in 1 of 4 seeds; nothing has a score.")


def test_many_are_counted(write_folder, tmp_path):
    methods = ["swr_two", "vanilla", *(f"remedy_{i}" for i in range(6))]
    frame = metrics(write_folder(tmp_path / "run", methods=methods, **STREAM))
    assert "it is told apart from all 7 others (paired" in verdict(frame)
    best = frame[frame["method"] == "swr_two"]
    noise = 0.01 * (best["seed"] % 2 - 0.5)
    alike = best.assign(method="swr", online_accuracy=best["online_accuracy"] + noise)
    text = verdict(pd.concat([frame, alike]))
    assert "told apart from the 7 others, but not from SWR" in text
    text = verdict(pd.concat([best, alike]))
    assert "it is not told apart from SWR" in text


def test_a_control_is_never_the_best_of_the_methods(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "l2"]
    folder = write_folder(tmp_path / "run", methods=methods, seeds=3, **STREAM)
    assert ": L2 comes first" in verdict(metrics(folder))
    frame = metrics(folder)
    assert ": fresh network has online" in verdict(frame[frame["method"] == "fresh"])


def test_what_does_not_fall_is_not_said_to(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", methods=["vanilla", "l2"], **STREAM)
    frame = metrics(folder)
    frame.loc[frame["method"] == "vanilla", "online_accuracy"] = 0.5
    assert "plain training is not shown to lose plasticity" in verdict(frame)
    rising = frame.assign(online_accuracy=frame["task"] / 20 + 0.001 * frame["seed"])
    assert "plain training is not shown to lose plasticity" in verdict(rising)


def test_a_fall_that_a_fresh_network_shares_is_none_of_plasticity(
    write_folder, tmp_path
):
    folder = write_folder(tmp_path / "run", methods=["fresh", "vanilla"], **STREAM)
    frame = metrics(folder)
    frame["online_accuracy"] = 0.9 - frame["task"] / 40 + 0.001 * frame["seed"]
    assert "plain training is not shown to lose plasticity" in verdict(frame)
    # Nor is a fall from which it stays above the fresh network.
    noise = np.random.default_rng(0).normal(0, 1e-3, len(frame))
    frame["online_accuracy"] += noise - 0.1 * (frame["method"] == "fresh")
    assert "plain training is not shown to lose plasticity" in verdict(frame)


def test_of_an_error_the_lowest_is_best(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "swr_two"]
    fields = {"protocol": "slowly-changing-regression", "tasks": 10}
    text = verdict(metrics(write_folder(tmp_path / "run", methods=methods, **fields)))
    assert "SWR, two λ comes first, with mean squared error 0." in text
    assert "plain training loses plasticity: its mean squared error goes" in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_tell_nothing_apart(write_folder, tmp_path, seeds):
    methods = ["fresh", "vanilla", "l2"]
    folder = write_folder(tmp_path / "run", methods=methods, seeds=seeds, **STREAM)
    text = verdict(metrics(folder))
    assert "with fewer than 3 seeds in common nothing can be told apart" in text
    assert "so few seeds cannot tell whether plain training loses plasticity" in text
    assert "interval" not in text
    assert "fresh network" in text
    assert "told apart; so few" not in text


def test_methods_with_few_seeds_are_told_apart_from_none(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "l2", "swr_two"]
    folder = write_folder(tmp_path / "run", methods=methods, seeds=5, **STREAM)
    frame = metrics(folder)
    few = frame["seed"] < 2
    text = verdict(frame[few | (frame["method"] != "l2")])
    assert "told apart from vanilla (paired t tests, Holm, 5 %); there are too" in text
    assert "too few seeds in common to tell it from L2;" in text
    text = verdict(frame[few | (frame["method"] != "swr_two")])
    assert "with fewer than 3 seeds in common it can be told apart from none" in text
    assert "not told apart" not in text
    text = verdict(frame[few | (frame["method"] != "fresh")])
    fresh = text.partition("a fresh network for each task has ")[2].partition(";")[0]
    assert "told apart" not in fresh


def test_each_learning_rate_has_a_fresh_network_of_its_own(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "swr_two"]
    rows = metrics(write_folder(tmp_path / "run", methods=methods, seeds=5, **STREAM))
    slow = rows.assign(rate="0.0001")
    slow.loc[slow["method"] == "fresh", "online_accuracy"] = 0.01
    text = verdict(pd.concat([rows.assign(rate="0.001"), slow], ignore_index=True))
    assert "a fresh network for each task (rate 0.001) has 0.4" in text
    assert "a fresh network for each task (rate 0.0001) has 0.0100, which is" in text
    assert "plain training (rate 0.001) loses plasticity: its online" in text
    _, _, said = text.partition("plain training (rate 0.0001) is not shown to lose")
    assert said.endswith("in the last, where a fresh network has 0.0100.")


def test_a_name_with_a_comma_is_one_name(write_folder, tmp_path):
    methods = ["vanilla", "l2", "swr", "swr_two"]
    folder = write_folder(tmp_path / "run", methods=methods, seeds=5, **STREAM)
    frame = metrics(folder)
    frame.loc[frame["method"] == "l2", "online_accuracy"] = 0.99
    text = verdict(frame)
    assert "told apart from “SWR, two λ”, SWR and vanilla (" in text, text


def test_plain_training_that_comes_first_is_told_once(write_folder, tmp_path):
    """Also where training from scratch, which is no remedy, is above it."""
    methods = ["scratch", "vanilla", "swr"]
    folder = write_folder(tmp_path / "run", protocol="warm-start", methods=methods)
    frame = metrics(folder)
    for name, accuracy in (("scratch", 0.9), ("vanilla", 0.8), ("swr", 0.7)):
        frame.loc[frame["method"] == name, "test_accuracy"] = accuracy
    text = verdict(frame)
    assert "vanilla comes first, with test accuracy 0.8000" in text
    assert "training from scratch has 0.9000" in text
    assert "plain training has" not in text


def test_stages_have_a_sentence_as_well(write_folder, tmp_path):
    methods = ["scratch", "vanilla", "swr"]
    folder = write_folder(tmp_path / "run", protocol="warm-start", methods=methods)
    text = verdict(metrics(folder))
    assert text.startswith(
        "Warm start (mnist, mlp): SWR comes first, with test accuracy"
    )
    assert "it is told apart from vanilla" in text
    assert "training from scratch has 0." in text


def test_proportionality_says_what_the_rule_for_biases_is_worth(write_folder, tmp_path):
    fields = {"protocol": "proportionality", "seeds": 2}
    one = write_folder(tmp_path / "one", methods=["vanilla"], **fields)
    moves = (
        "by at most 0.00 points with its biases rescaled and 20.00 points with its"
        " biases kept"
    )
    beginning = (
        "Proportionality (mnist, mlp): scaling a trained network by 0.01 to 10 moves"
        " its test accuracy at once"
    )
    assert verdict(metrics(one)) == f"{beginning} {moves}."
    two = write_folder(tmp_path / "two", methods=["vanilla", "swr"], **fields)
    assert verdict(metrics(two)) == (
        f"{beginning} with vanilla {moves}; with SWR {moves}."
    )


def test_nothing_has_a_sentence(write_folder, tmp_path):
    rows = read_run(write_folder(tmp_path / "run", finished=1)).rows
    assert verdict(rows) == "Single task (mnist, mlp): no seed has finished."
    assert verdict(rows.iloc[:0]) == "Nothing was measured."
