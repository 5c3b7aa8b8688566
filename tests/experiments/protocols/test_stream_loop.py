"""The real loop of streams on real digits, against one in NumPy."""

import dataclasses
import functools

import numpy as np
import numpy_loop
import pytest

from experiments.data import load_dataset
from experiments.protocols import streams
from experiments.protocols.stream_loop import Job, run_jobs, stream_training
from experiments.protocols.streams import STREAMS
from experiments.protocols.tasks import Size
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoints
from experiments.training.training import Training
from real_loops import digits, numbers, run, stream

TWO = {"feature": 0.02, "classifier": 0.3}
STRONG = {
    "l2": 0.05,
    "l2_init": 0.05,
    "shrink_and_perturb": 0.3,
    "swr": 0.05,
    "swr_two": TWO,
}
"""Coefficients whose effect is far above rounding."""

METHODS = ("fresh", "vanilla", *STRONG)


@pytest.fixture(autouse=True)
def digits_everywhere(monkeypatch):
    """Streams of classes are published for larger sets: here digits learn them too."""
    for name in ("five-plus-one", "class-pairs", "class-incremental"):
        length = streams.Length(Size(None, 16, 1), 2, "mlp")
        published = {**STREAMS[name].published, "digits": length}
        quick = {**STREAMS[name].quick, "digits": length}
        entry = STREAMS[name]._replace(published=published, quick=quick)
        monkeypatch.setitem(STREAMS, name, entry)


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        ("random-labels", {}),
        ("class-incremental", {"train_images": None, "tasks": 2}),
    ],
)
def test_the_rate_falls_at_a_half_and_three_quarters_of_all_steps(protocol, fields):
    """Also where tasks grow."""
    config, dataset = stream(protocol, decay=True, **fields), digits()
    draw = STREAMS[protocol].draw
    tasks = [draw(dataset, config.size, 0, t + 1) for t in range(config.tasks)]
    steps = [int((task.order >= 0).any(axis=1).sum()) for task in tasks]
    assert (len(set(steps)) > 1) == (protocol != "random-labels")
    drops = stream_training(config, dataset, "vanilla").drops
    assert drops == (int(sum(steps) * 0.5), int(sum(steps) * 0.75))


CASES = {
    **{method: ("random-labels", method, {}) for method in METHODS},
    "two seeds": ("random-labels", "swr", {"seeds": 2}),
    "sgd": ("random-labels", "swr", {"optimizer": "sgd", "learning_rate": 0.1}),
    "permuted": ("permuted-inputs", "l2_init", {}),
    "5+1": ("five-plus-one", "vanilla", {"train_images": None, "tasks": 2}),
    "pairs": ("class-pairs", "swr", {"train_images": None, "tasks": 2}),
    # So slow that outputs of classes not seen yet are among the largest.
    "increments": (
        "class-incremental",
        "swr_two",
        {"train_images": None, "tasks": 2, "learning_rate": 3e-4, "seeds": 2},
    ),
    "regression": (
        "slowly-changing-regression",
        "swr",
        {"dataset": "bits", "model": "mlp_five"},
    ),
}


def configuration(case):
    protocol, method, fields = CASES[case]
    given = {method: STRONG[method]} if method in STRONG else {}
    fields = {"learning_rate": 2e-3, **fields}
    return stream(protocol, methods=(method,), coefficients=given, **fields)


@functools.cache
def dataset_of(name="digits"):
    """Of digits as many of each, so that all tasks have one shape."""
    if name == "bits":
        return load_dataset("bits")
    whole = digits()
    chosen, tested = (
        np.sort(np.concatenate([np.flatnonzero(labels == k)[:n] for k in range(10)]))
        for labels, n in ((whole.train_labels, 24), (whole.test_labels, 20))
    )
    return dataclasses.replace(
        whole,
        train_images=whole.train_images[chosen],
        train_labels=whole.train_labels[chosen],
        test_images=whole.test_images[tested],
        test_labels=whole.test_labels[tested],
    )


def predicted(config, dataset, seed):
    """What a seed of the one method should record, by NumPy."""
    (method,) = config.methods
    member = config.members(method)[seed]
    training = stream_training(config, dataset, method)

    def initial(task):
        start = config.fresh_seed(seed, task) if task > 1 else seed
        state = training.initialize([member], [start])
        return {
            (layer, name): np.asarray(leaf[0])
            for layer, leaves in state.params.items()
            for name, leaf in leaves.items()
        }

    def normalize(inputs):
        regression = STREAMS[config.protocol].regression
        return inputs if regression else numpy_loop.pixels(dataset, inputs)

    draw = STREAMS[config.protocol].draw
    value = config.coefficient(method)
    if isinstance(value, dict):
        value = (value["feature"], value["classifier"])
    return list(
        numpy_loop.run_stream(
            [draw(dataset, config.size, seed, k + 1) for k in range(config.tasks)],
            normalize,
            initial,
            method,
            value,
            config.learning_rate,
            config.optimizer,
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_one_in_numpy(case, tmp_path):
    """Tasks, changes, methods, order and each thing that is measured."""
    config = configuration(case)
    dataset = dataset_of(config.dataset)
    records = run(config, dataset, tmp_path)
    expected = [
        e for seed in range(config.seeds) for e in predicted(config, dataset, seed)
    ]
    names = ("task", "step", "scored")
    assert [[getattr(r, name) for name in names] for r in records] == [
        [e[name] for name in names] for e in expected
    ]
    for record, e in zip(records, expected, strict=True):
        for name in ("train_loss", "gradient_norm", "effective_rank"):
            np.testing.assert_allclose(getattr(record, name), e[name], rtol=2e-3)
        assert record.growth == pytest.approx(e["growth"], rel=5e-4)
        np.testing.assert_allclose(record.weight_growth, e["weight_growth"], rtol=5e-4)
        # Of 64 or more examples or 200 units, one may be decided by rounding.
        for name in ("online_accuracy", "end_accuracy", "test_accuracy", "dead_units"):
            found, wanted = getattr(record, name), e[name]
            assert (found is None) == (wanted is None)
            if found is not None:
                np.testing.assert_allclose(found, wanted, atol=0.02)


def spoilt(dataset, rows, part="train"):
    """The data set with some images inverted."""
    images = getattr(dataset, f"{part}_images").copy()
    images[rows] = 16 - images[rows]
    return dataclasses.replace(dataset, **{f"{part}_images": images})


def foreign(protocol, config, dataset):
    """The training images that the first task does not have."""
    task = STREAMS[protocol].draw(dataset, config.size, 0, 1)
    own = {image.tobytes() for image in task.inputs[: task.examples]}
    return [i for i, x in enumerate(dataset.train_images) if x.tobytes() not in own]


@pytest.mark.parametrize(
    ("protocol", "later"),
    [
        ("random-labels", True),  # No task has any of them.
        ("permuted-inputs", False),
        ("five-plus-one", False),
        ("class-pairs", False),
        ("class-incremental", False),
    ],
)
def test_no_task_reads_what_is_not_its_own(protocol, later, tmp_path):
    fields = {} if STREAMS[protocol].sized else {"train_images": None}
    config = stream(protocol, tasks=2, **fields)
    dataset = dataset_of()
    changed = spoilt(dataset, foreign(protocol, config, dataset))
    whole, other = (
        numbers(run(config, data, tmp_path / name))
        for name, data in (("whole", dataset), ("spoilt", changed))
    )
    assert whole[0] == other[0]
    assert (whole[1] == other[1]) == later


@pytest.mark.parametrize("protocol", ["class-pairs", "class-incremental"])
def test_test_images_are_for_testing_alone(protocol, tmp_path):
    config = stream(protocol, tasks=2, train_images=None, learning_rate=5e-3)
    dataset = dataset_of()
    whole, other = (
        numbers(run(config, data, tmp_path / name))
        for name, data in (
            ("whole", dataset),
            ("spoilt", spoilt(dataset, slice(None), "test")),
        )
    )
    for one, changed in zip(whole, other, strict=True):
        assert one.test_accuracy > changed.test_accuracy + 0.1
        assert changed == dataclasses.replace(one, test_accuracy=changed.test_accuracy)


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    config = stream(methods=("fresh", "swr"), coefficients={"swr": 0.05}, seeds=2)
    ticks = []
    folder = tmp_path_factory.mktemp("checkpoint")
    records = run(config, dataset_of(), folder, ticks.append)
    return config, records, ticks


def test_records_are_in_the_order_of_methods_and_seeds(two_seeds):
    config, records, ticks = two_seeds
    assert [(r.method, r.seed, r.task) for r in records] == [
        (method, seed, task)
        for method in config.methods
        for seed in range(2)
        for task in (1, 2, 3)
    ]
    assert {(r.protocol, r.dataset, r.model) for r in records} == {
        ("random-labels", "digits", "mlp")
    }
    ticked = [record for records in ticks for record in records]
    assert sorted(map(repr, ticked)) == sorted(map(repr, records))
    for seed in range(2):
        seconds = [r.seconds for r in records if (r.method, r.seed) == ("swr", seed)]
        assert seconds == sorted(seconds)


def test_a_run_is_determined_by_its_configuration(two_seeds, tmp_path):
    """The same again; one seed alone or of several, in a thread each."""
    config, records, _ = two_seeds
    again = run(config, dataset_of(), tmp_path / "again")
    assert numbers(again) == numbers(records)
    alone = dataclasses.replace(config, seeds=1, methods=("swr",))
    alone = run(alone, dataset_of(), tmp_path / "alone")
    assert numbers(alone) == numbers(records, method="swr", seed=0)
    job = Job("swr", config.members("swr")[1:])
    checkpoints = Checkpoints(tmp_path / "second", "")
    ((second,),) = run_jobs(config, dataset_of(), [job], lambda _: None, checkpoints)
    assert numbers(second) == numbers(records, method="swr", seed=1)


def test_seeds_differ(two_seeds):
    _, records, _ = two_seeds
    first, second = (numbers(records, method="swr", seed=seed) for seed in (0, 1))
    assert first[0].train_loss != second[0].train_loss


def test_a_fresh_network_is_another_one_in_each_task(two_seeds):
    """Which no seed of the run starts from."""
    config, _, _ = two_seeds
    seeds = [config.fresh_seed(seed, task) for seed in range(9) for task in range(2, 9)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) > 100_000


def test_jobs_take_turns_seed_by_seed(two_seeds, monkeypatch, tmp_path):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    config, records, _ = two_seeds
    seen = []
    jobs = [Job(method, config.members(method)) for method in config.methods]
    checkpoints = Checkpoints(tmp_path, "")
    found = run_jobs(config, dataset_of(), jobs, seen.extend, checkpoints)
    assert list(dict.fromkeys((r.seed, r.method) for r in seen)) == [
        (0, "fresh"),
        (0, "swr"),
        (1, "fresh"),
        (1, "swr"),
    ]
    together = [r for histories in found for history in histories for r in history]
    assert numbers(together) == numbers(records)


def test_lanes_of_many_are_as_each_alone(two_seeds, monkeypatch, tmp_path):
    """As on an accelerator; to rounding, since products of matrices are batched."""
    config, records, _ = two_seeds
    monkeypatch.setattr(
        "experiments.training.engine.lanes", lambda members: [tuple(members)]
    )
    config = dataclasses.replace(config, methods=("swr",))
    together = run(config, dataset_of(), tmp_path)
    assert len(list(tmp_path.glob("*.msgpack"))) == 1
    for one, alone in zip(together, numbers(records, method="swr"), strict=True):
        for name in ("method", "seed", "task", "step", "scored"):
            assert getattr(one, name) == getattr(alone, name)
        assert one.growth == pytest.approx(alone.growth, rel=1e-4)
        for name in ("train_loss", "gradient_norm", "effective_rank"):
            np.testing.assert_allclose(
                getattr(one, name), getattr(alone, name), rtol=1e-3
            )
        for name in ("online_accuracy", "end_accuracy", "dead_units"):
            np.testing.assert_allclose(
                getattr(one, name), getattr(alone, name), atol=0.02
            )


class PulledPlugError(Exception):
    pass


@pytest.mark.parametrize("method", ["fresh", "shrink_and_perturb", "swr"])
def test_it_goes_on_as_if_nothing_had_been(method, monkeypatch, tmp_path):
    """Initial parameters, reference norms and the optimiser's state go on too."""
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)
    given = {method: STRONG[method]} if method in STRONG else {}
    config = stream(methods=(method,), coefficients=given, learning_rate=5e-3)
    whole = numbers(run(config, dataset_of(), tmp_path / "whole"))
    parted = tmp_path / "parted"
    for last in (2, 3):

        def pull(records, last=last):
            if records[-1].task == last:
                raise PulledPlugError

        with pytest.raises(PulledPlugError):
            run(config, dataset_of(), parted, pull)
    seen = []
    records = run(config, dataset_of(), parted, lambda some: seen.append(len(some)))
    assert seen == [2, 1]  # What was saved is told at once.
    assert numbers(records) == whole
    assert [r.seconds for r in records] == sorted(r.seconds for r in records)
    again = run(config, dataset_of(), parted, lambda some: seen.append(len(some)))
    assert again == records  # Seconds and all: nothing was run.
    assert seen == [2, 1, 3]


def test_the_least_rate_learns_nothing_and_the_tasks_are_the_same_for_all(tmp_path):
    """Each network stays as it began: whatever the method, it meets the same batches.

    The one whose rate is not the least shows that each method has a rate of its own.
    """
    names = ("vanilla", "l2_init", "swr_two")
    config = stream(
        methods=names, learning_rate=1e-30, learning_rates={"l2_init": 1e-2}
    )
    records = numbers(run(config, dataset_of(), tmp_path))
    of = {name: [r for r in records if r.method == name] for name in names}
    for name in ("vanilla", "swr_two"):
        for record, other in zip(of[name], of["vanilla"], strict=True):
            assert record.weight_growth == pytest.approx(1, abs=1e-5)
            assert record.train_loss == pytest.approx(other.train_loss, rel=1e-5)
            assert record.online_accuracy == pytest.approx(other.online_accuracy)
    # Other labels, another loss, though the network is the same.
    assert len({record.train_loss for record in of["vanilla"]}) == 3
    assert of["l2_init"][0].end_accuracy > of["vanilla"][0].end_accuracy + 0.1
    assert of["l2_init"][0].weight_growth > 1.05


@pytest.mark.parametrize(
    ("protocol", "passes"),
    [
        ("random-labels", [4, 4]),
        # One class, of which a task has several passes for each over five.
        ("five-plus-one", [1]),
    ],
)
def test_at_a_change_a_method_may_take_one_pass(
    protocol, passes, monkeypatch, tmp_path
):
    seen, real = [], Training.change_data

    def watched(training, state, initial, members, data, passed):
        seen.append(passed.shape[1])
        assert (passed >= 0).all()
        assert len(set(passed.ravel())) == passed.size
        return real(training, state, initial, members, data, passed)

    monkeypatch.setattr(Training, "change_data", watched)
    fields = {} if STREAMS[protocol].sized else {"train_images": None}
    run(
        stream(protocol, tasks=len(passes) + 1, methods=("swr",), **fields),
        dataset_of(),
        tmp_path,
    )
    assert seen == passes


def test_a_network_that_goes_on_learning_forgets_its_labels(tmp_path):
    """It learns each labelling; a new one starts at chance, before its updates."""
    config = stream(epochs=60, tasks=2, learning_rate=3e-3)
    first, second = run(config, dataset_of(), tmp_path)
    for record in (first, second):
        assert record.end_accuracy > 0.9
        assert record.online_accuracy < record.end_accuracy
    assert second.step == 2 * first.step == 2 * 60 * 4
