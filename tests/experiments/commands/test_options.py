"""Options make the configuration that a user means."""

import json
from pathlib import Path

import pytest

from experiments.commands.options import (
    RunOptions,
    StageOptions,
    StreamOptions,
    SweepOptions,
    make_config,
    out_folder,
    parse_coefficient,
)
from experiments.errors import UserError
from experiments.protocols.streams import STREAMS
from experiments.protocols.tasks import Size


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("profile", [None, "paper", "quick"])
def test_a_stream_comes_with_its_own_set_network_and_lengths(name, profile):
    config = make_config(StreamOptions(profile=profile), name)
    stream = STREAMS[name]
    lengths = stream.quick if profile == "quick" else stream.published
    dataset = next(iter(stream.published))
    assert (config.protocol, config.dataset) == (name, dataset)
    assert (config.size, config.tasks, config.model) == lengths[dataset]
    assert config.seeds == (2 if profile == "quick" else 5)


def test_a_set_of_the_user_s_brings_its_lengths():
    config = make_config(StreamOptions(dataset="cifar10"), "random-labels")
    assert (config.size, config.tasks) == (Size(1200, 16, 400), 50)
    assert config.model == "cnn_deep"
    config = make_config(
        StreamOptions(dataset="mnist", model="mlp_layer_norm"), "random-labels"
    )
    assert config.model == "mlp_layer_norm"


@pytest.mark.parametrize(
    ("dataset", "protocol", "model"),
    [
        ("mnist", "warm-start", "mlp"),
        ("cifar10", "single-task", "cnn"),
        ("cifar10", "proportionality", "cnn"),
        ("cifar10", "balancedness", "mlp"),
        ("cifar100", "continual-limited", "cnn"),
        ("tiny_imagenet", "warm-start", "vgg16"),
        ("digits", "warm-start", "mlp"),  # Not the paper's.
    ],
)
def test_the_network_is_the_paper_s_for_the_data(dataset, protocol, model):
    assert make_config(StageOptions(dataset=dataset), protocol).model == model
    chosen = make_config(StageOptions(dataset=dataset, model="mlp"), protocol)
    assert chosen.model == "mlp"


def test_what_is_given_counts():
    options = StreamOptions(
        methods=("vanilla", "swr_two", "l2"),
        coefficient=("l2=1e-2", "swr_two=feature:1e-3,classifier:1e-4"),
        learning_rate=("2e-3", "l2=1e-4"),
        optimizer="sgd",
        seeds=3,
        epochs=7,
        train_images=100,
        tasks=9,
    )
    config = make_config(options, "random-labels")
    assert config.methods == ("vanilla", "swr_two", "l2")
    assert config.coefficient("l2") == 1e-2
    assert config.coefficient("swr_two") == {"feature": 1e-3, "classifier": 1e-4}
    assert [config.rate(m) for m in config.methods] == [2e-3, 2e-3, 1e-4]
    assert {m.learning_rate for m in config.members("l2")} == {1e-4}
    assert [m.seed for m in config.members("l2")] == [0, 1, 2]
    assert (config.optimizer, config.tasks) == ("sgd", 9)
    assert config.size == Size(100, 16, 7)
    assert config.profile == "custom"
    assert make_config(options, "random-labels", ["l2", "swr_two"]).methods == (
        "l2",
        "swr_two",
    )


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ((), [0.01, 1e-3]),
        (("1e-4",), [1e-4, 1e-4]),
        (("1e-4", "upgd=0.1"), [0.1, 1e-4]),
        (("swr=0.1",), [0.01, 0.1]),
    ],
)
def test_a_rate_for_all_is_for_those_with_a_rate_of_their_own(given, rates):
    options = StreamOptions(methods=("upgd", "swr"), learning_rate=given, tasks=2)
    config = make_config(options, "random-labels")
    assert [config.rate(method) for method in config.methods] == rates
    told = json.loads(config.to_json())
    assert told["learning_rates"].get("upgd") == rates[0]


def test_seeds_that_are_added():
    for options in (StageOptions(seeds=2, first_seed=5), StageOptions(seeds=2)):
        config = make_config(options, "single-task")
        first = options.first_seed
        assert [m.seed for m in config.members("swr")] == [first, first + 1]
        # What runs of before did not say, those from 0 do not say either.
        assert ("first_seed" in json.loads(config.to_json())) == (first > 0)
        assert config.profile == "paper"


def test_the_paper_s_protocols_are_as_they_were():
    config = make_config(StageOptions(test_images=50), "warm-start")
    assert (config.dataset, config.model, config.epochs) == ("digits", "mlp", 100)
    assert (config.batch_size, config.tasks, config.test_images) == (256, None, 50)


def test_lengths_may_be_said_twice_if_they_agree():
    options = StreamOptions(profile="quick", epochs=40, tasks=30)
    assert make_config(options, "random-labels").profile in ("quick", "paper")


def test_seeds_go_with_any_profile():
    for profile in ("quick", "paper"):
        options = StageOptions(profile=profile, dataset="mnist", seeds=1)
        config = make_config(options, "warm-start")
        assert (config.seeds, config.profile) == (1, profile)


@pytest.mark.parametrize(
    ("options", "protocol", "message"),
    [
        (RunOptions(), "cold", "unknown protocol 'cold': choose from warm-start, "),
        (
            StreamOptions(dataset="mnits"),
            "random-labels",
            "unknown data set 'mnits': choose from digits, ",
        ),
        (
            StreamOptions(dataset="digits"),
            "class-pairs",
            "unknown data set for class-pairs 'digits': choose from tiny_imagenet",
        ),
        (
            StreamOptions(profile="quick", tasks=3),
            "random-labels",
            "--tasks 3 contradicts --profile quick, which has 30: leave one of them",
        ),
        (
            StreamOptions(profile="paper", train_images=3),
            "five-plus-one",
            "--train-images 3 contradicts --profile paper, which has all",
        ),
        (SweepOptions(tasks=3), "warm-start", "warm-start has stages and no tasks"),
        (
            SweepOptions(test_images=3),
            "random-labels",
            "random-labels has tests of its own: leave test_images out",
        ),
        (
            StreamOptions(learning_rate=("1e-3", "1e-4")),
            "random-labels",
            "--learning-rate 1e-4: there is one already",
        ),
        (
            StreamOptions(learning_rate=("swr=1e-3", "swr=1e-4")),
            "random-labels",
            "--learning-rate swr=1e-4: there is one already",
        ),
        (
            StreamOptions(learning_rate=("swr=",)),
            "random-labels",
            "--learning-rate swr=: write a number, or METHOD=VALUE",
        ),
        (
            StreamOptions(learning_rate=("sgd=1e-3",)),
            "random-labels",
            "learning rate for 'sgd', which is not among the methods: fresh vanilla ",
        ),
        (
            StreamOptions(coefficient=("swr_two=feature:1,feature:2",)),
            "random-labels",
            "--coefficient swr_two=feature:1,feature:2: 'feature:1,feature:2' names a",
        ),
    ],
)
def test_mistakes_are_named(options, protocol, message):
    with pytest.raises(UserError) as error:
        make_config(options, protocol)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_coefficients_are_read():
    assert parse_coefficient("1e-3", "") == 1e-3
    assert parse_coefficient("feature:1,classifier:.5", "") == {
        "feature": 1.0,
        "classifier": 0.5,
    }


def test_results_have_a_folder_of_their_own():
    config = make_config(StreamOptions(), "permuted-inputs")
    name = "permuted-inputs-digits-mlp"
    assert out_folder(StreamOptions(), config) == Path("runs") / name
    added = make_config(StreamOptions(first_seed=5), "permuted-inputs")
    assert out_folder(StreamOptions(), added) == Path("runs") / f"{name}-from-5"
    folder = out_folder(StreamOptions(), config, "sweep-swr-")
    assert folder == Path("runs") / f"sweep-swr-{name}"
    mine = StreamOptions(out=Path("mine"))
    assert out_folder(mine, config, "sweep-swr-") == Path("mine")
    for text in ("", ".", "..", "/", "tests/.."):
        with pytest.raises(UserError, match="--out must name a folder of its own"):
            out_folder(StreamOptions(out=Path(text)), config)
