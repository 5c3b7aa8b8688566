"""Scores, intervals, tests and letters, beside plain statements of each."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.reporting.ranking import (
    comparisons,
    holm,
    letters,
    paired_test,
    ranking,
    scores,
)
from experiments.reporting.runs import read_run


def stream(accuracy, protocol="random-labels", column="online_accuracy", **columns):
    """Rows of a stream: accuracy by method, each (seeds, tasks)."""
    rows = [
        {
            "protocol": protocol,
            "dataset": "digits",
            "model": "mlp",
            "method": method,
            "seed": seed,
            "task": task + 1,
            column: value,
        }
        for method, values in accuracy.items()
        for seed, tasks in enumerate(values)
        for task, value in enumerate(tasks)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_a_stream_is_scored_over_all_tasks_and_its_fifths():
    accuracy = np.random.default_rng(0).uniform(size=(2, 11))
    frame = stream({"swr": accuracy}).sample(frac=1, random_state=0)
    frame["end_accuracy"] = 1 - frame["online_accuracy"]
    found = scores(frame).set_index("seed").sort_index()
    np.testing.assert_allclose(found["score"], accuracy.mean(axis=1))
    np.testing.assert_allclose(found["first"], accuracy[:, :2].mean(axis=1))
    np.testing.assert_allclose(found["last"], accuracy[:, -2:].mean(axis=1))
    np.testing.assert_allclose(found["end"], 1 - accuracy[:, -2:].mean(axis=1))


def test_agents_are_scored_by_their_returns(write_folder, tmp_path):
    agents = {"protocol": "agent", "dataset": "cartpole", "methods": ["fresh", "swr"]}
    rows = read_run(write_folder(tmp_path / "run", **agents)).rows
    swr = rows[rows["method"] == "swr"]
    by_seed = swr.groupby("seed")["average_return"].mean()
    found = ranking(rows).set_index("method").loc["swr"]
    assert found["score"] == pytest.approx(by_seed.mean())
    assert found["middle"] == pytest.approx(stats.trim_mean(by_seed, 0.25))
    assert found["middle_low"] <= found["middle"] <= found["middle_high"]
    late = swr[swr["task"] > 8]["final_return"].mean()
    assert found["end"] == pytest.approx(late)


def test_tasks_that_are_not_scored_do_not_count():
    accuracy = np.array([[0.5, 1.0, 0.3, 1.0, 0.1, 1.0]])
    frame = stream({"swr": accuracy}, "five-plus-one", scored=[1, 0, 1, 0, 1, 0])
    (row,) = scores(frame).itertuples()
    assert (row.score, row.first, row.last) == pytest.approx((0.3, 0.5, 0.1))


def test_stages_are_scored_by_their_last_ten_epochs(write_folder, tmp_path):
    rows = read_run(
        write_folder(tmp_path / "run", protocol="warm-start", epochs=15, seeds=2)
    ).rows
    found = scores(rows)
    for row in found.itertuples():
        mine = rows[(rows["method"] == row.method) & (rows["seed"] == row.seed)]
        last = mine[(mine["stage"] == 2) & (mine["epoch"] > 5)]["test_accuracy"]
        assert len(last) == 10
        assert row.score == pytest.approx(np.mean(last))
        assert row.test == last.iloc[-1]
    assert len(found) == 4


def test_fewer_epochs_never_reach_into_the_stage_before(write_folder, tmp_path):
    rows = read_run(
        write_folder(tmp_path / "run", protocol="warm-start", epochs=3, seeds=1)
    ).rows
    swr = rows[(rows["method"] == "swr") & (rows["stage"] == 2) & (rows["epoch"] >= 1)]
    found = scores(rows).set_index("method")["score"]
    assert found["swr"] == pytest.approx(swr["test_accuracy"].mean())


def test_continual_learning_is_scored_over_its_stream(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="continual-full", seeds=1)
    rows = read_run(folder).rows
    found = scores(rows).set_index("method")["score"]
    swr = rows[rows["method"] == "swr"]
    assert found["swr"] == swr["stream_accuracy"].iloc[-1]
    # Nothing takes the place of what an old run has not measured.
    assert scores(rows.drop(columns="stream_accuracy")).empty


def test_what_did_not_finish_does_not_count():
    frame = stream({"swr": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]})
    finished = frame.assign(finished=frame["seed"] == 0)
    assert scores(finished)["seed"].tolist() == [0]


def test_what_diverged_has_no_score_and_is_the_last():
    """Or its other seeds would speak for it."""
    good = np.array([[0.7, 0.8], [0.3, np.nan], [0.8, 0.9], [0.9, 0.9]])
    frame = stream({"swr": good, "vanilla": 0.1 * np.nan_to_num(good)})
    assert scores(frame)["diverged"].tolist() == [False, True, *[False] * 6]
    plain, swr = ranking(frame).itertuples()
    assert (plain.method, plain.seeds, plain.diverged) == ("vanilla", 4, 0)
    assert (swr.method, swr.seeds, swr.diverged) == ("swr", 4, 1)
    for column in ("score", "first", "last", "deviation", "low", "high"):
        assert np.isnan(getattr(swr, column))
    assert (plain.letters, swr.letters) == ("", "")


def test_a_loss_that_is_no_number_is_told_of_beside_a_score():
    """As of a classifier that diverged, which gets nothing right any more."""
    frame = stream({"swr": [[0.7, 0.0], [0.8, 0.9], [0.8, 0.9]]})
    frame["train_loss"] = np.where(frame["online_accuracy"] == 0, np.nan, 1.0)
    (row,) = ranking(frame).itertuples()
    assert row.diverged == 1
    assert row.score == pytest.approx(0.6833, abs=1e-4)


def test_several_settings_are_refused():
    frame = stream({"swr": [[0.1]]})
    other = frame.assign(dataset="mnist")
    with pytest.raises(ValueError, match="several values of dataset: rank each alone"):
        ranking(pd.concat([frame, other]))


def test_the_interval_is_students():
    accuracy = np.random.default_rng(1).normal(0.5, 0.1, size=(4, 6))
    (row,) = ranking(stream({"swr": accuracy})).itertuples()
    seeds = accuracy.mean(axis=1)
    # 3.1824 is the 97.5 % point of t with three degrees of freedom, from a table.
    half = 3.1824 * seeds.std(ddof=1) / 2
    assert (row.low, row.high) == pytest.approx(
        (seeds.mean() - half, seeds.mean() + half), rel=1e-4
    )
    assert row.deviation == pytest.approx(seeds.std(ddof=1))
    assert row.seeds == 4


def test_the_interval_holds_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        values = generator.normal(0.5, 0.1, size=(3, 1))
        (row,) = ranking(stream({"swr": values})).itertuples()
        held += row.low <= 0.5 <= row.high
    assert held / 100 == pytest.approx(0.95, abs=0.06)


def test_the_paired_test_is_students_on_differences():
    one = pd.Series([0.5, 0.7, 0.4, 0.9], index=[0, 1, 2, 7])
    other = pd.Series([0.3, 0.6, 0.3, 0.1], index=[0, 1, 2, 3])
    difference = np.array([0.2, 0.1, 0.1])  # Of the three seeds that both have.
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(3))
    assert paired_test(one, other) == pytest.approx(2 * stats.t.sf(abs(t), 2))
    assert np.isnan(paired_test(one[:2], other))
    assert paired_test(one, one) == 1.0
    assert paired_test(one, one - 0.3) == 1.0


@given(st.lists(st.sampled_from([0.0, 0.004, 0.01, 0.02, 0.03, 0.04, 0.2]), max_size=5))
def test_holm_by_its_definition(p_values):
    adjusted = holm(np.array(p_values))
    for level in (0.01, 0.05, 0.3):
        # Step down: the smallest against level / m, the next against level / (m - 1) …
        rejected = set()
        for left, i in zip(
            range(len(p_values), 0, -1),
            np.argsort(p_values, kind="stable"),
            strict=True,
        ):
            if p_values[i] * left > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(adjusted) if p <= level} == rejected


def test_all_pairs_are_corrected_for():
    generator = np.random.default_rng(3)
    by_seed = pd.DataFrame(generator.normal(size=(5, 3)), columns=["a", "b", "c"])
    found = comparisons(by_seed)
    pairs = [(0, 1), (0, 2), (1, 2)]
    plain = [stats.ttest_rel(by_seed.iloc[:, i], by_seed.iloc[:, j]) for i, j in pairs]
    expected = holm(np.array([test.pvalue for test in plain]))
    assert found == pytest.approx(dict(zip(pairs, expected, strict=True)))


@settings(deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sets(
                st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(
                    lambda pair: pair[0] < pair[1]
                )
            )
            if n > 1
            else st.just(set()),
        )
    )
)
def test_letters_are_shared_by_whom_is_not_told_apart(case):
    number, apart = case
    found = letters(number, sorted(apart))
    assert len(found) == number
    assert all(found)
    for i in range(number):
        for j in range(i + 1, number):
            assert bool({*found[i]} & {*found[j]}) == ((i, j) not in apart)


def test_letters_are_few():
    # A chain, of which neighbours are not told apart.
    assert letters(4, [(0, 2), (0, 3), (1, 3)]) == ["a", "ab", "bc", "c"]
    assert letters(3, []) == ["a", "a", "a"]
    every = [(i, j) for j in range(60) for i in range(j)]
    assert len({*letters(60, every)}) == len("".join(letters(60, every))) == 60


def test_the_best_comes_first_and_shares_letters_with_its_likes():
    generator = np.random.default_rng(4)
    tasks = generator.normal(0, 0.05, size=(5, 4))  # The same for every method.
    accuracy = {
        "vanilla": 0.2 + tasks + generator.normal(0, 1e-3, (5, 4)),
        "swr": 0.6 + tasks + generator.normal(0, 1e-3, (5, 4)),
        "l2": 0.6 + tasks + generator.normal(0, 1e-3, (5, 4)),
    }
    table = ranking(stream(accuracy))
    assert table["name"].tolist()[2] == "vanilla"
    assert table["letters"].tolist() == ["a", "a", "b"]
    assert table["score"].is_monotonic_decreasing
    error = stream(accuracy, "slowly-changing-regression", "train_loss")
    table = ranking(error)
    assert table["name"].tolist()[0] == "vanilla"
    assert table["letters"].tolist() == ["a", "b", "b"]


def test_what_has_few_seeds_has_no_letter():
    generator = np.random.default_rng(6)
    accuracy = {
        name: level + generator.normal(0, 1e-3, (5, 4))
        for name, level in (("vanilla", 0.2), ("l2", 0.4), ("swr", 0.6))
    }
    frame = stream(accuracy)
    table = ranking(frame[(frame["seed"] < 2) | (frame["method"] != "l2")])
    assert table["method"].tolist() == ["swr", "l2", "vanilla"]
    assert table["letters"].tolist() == ["a", "", "b"]


def test_what_shares_no_seeds_with_others_has_no_letter():
    """Or it would look as if it had been compared, and no difference been found."""
    generator = np.random.default_rng(7)
    frame = stream(
        {
            name: level + generator.normal(0, 1e-3, (6, 4))
            for name, level in (("vanilla", 0.2), ("l2", 0.4), ("swr", 0.6))
        }
    )
    early = frame["seed"] < 3
    table = ranking(frame[early == (frame["method"] != "swr")])
    assert table["seeds"].tolist() == [3, 3, 3]
    assert table[["method", "letters"]].to_numpy().tolist() == [
        *(["swr", ""], ["l2", "a"], ["vanilla", "b"])
    ]
    # Of two that share none, the better has the letter.
    table = ranking(frame[(early == (frame["method"] != "swr")) | ~early])
    assert table["letters"].tolist() == ["a", "b", "c"]
    two = frame[frame["method"] != "l2"]
    table = ranking(two[(two["seed"] < 3) == (two["method"] != "swr")])
    assert table["letters"].tolist() == ["", ""]


def test_pairing_sees_what_differs_less_than_seeds_do():
    generator = np.random.default_rng(5)
    seeds = np.array([0.1, 0.5, 0.9, 0.3])[:, None]
    accuracy = {
        "swr": seeds + generator.normal(0, 1e-3, (4, 3)),
        "l2": seeds - 0.02 + generator.normal(0, 1e-3, (4, 3)),
    }
    assert ranking(stream(accuracy))["letters"].tolist() == ["a", "b"]


def test_too_few_seeds_have_neither_interval_nor_letters():
    table = ranking(stream({"swr": [[0.5], [0.6]], "l2": [[0.1], [0.2]]}))
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["letters"].tolist() == ["", ""]


def test_entries_of_one_method_are_ranked_apart():
    frame = stream({"swr": [[0.5], [0.6], [0.7]]}, coefficient="0.1", rate="0.001")
    other = frame.assign(coefficient="0.2", online_accuracy=0.1)
    table = ranking(pd.concat([frame, other]))
    assert table["name"].tolist() == ["SWR (λ 0.1)", "SWR (λ 0.2)"]
