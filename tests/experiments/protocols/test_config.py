"""Configurations: checked at once, and enough to repeat a run."""

import dataclasses
import json
import math

import jax
import pytest

from experiments.data import SOURCES
from experiments.errors import UserError
from experiments.models import MODELS
from experiments.protocols.config import Config, profile_options
from experiments.protocols.stages import PROTOCOLS

TWO = {"feature": 1e-4, "classifier": 1e-1}
STREAM = {"protocol": "random-labels", "tasks": 2, "batch_size": 16}
PAIRS = {"protocol": "class-pairs", "dataset": "tiny_imagenet", "model": "cnn_deep"}
MORE = {"dataset": "cifar100", "model": "cnn_deep"}
BITS = {"protocol": "slowly-changing-regression", "dataset": "bits", "tasks": 2}


def of(method, value, **fields):
    return {"methods": (method,), "coefficients": {method: value}, **fields}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "warm"}, "unknown protocol 'warm': choose from warm-start, "),
        ({"dataset": "mnits"}, "unknown data set 'mnits': choose from digits, mnist"),
        ({"model": "rnn"}, "unknown model 'rnn': choose from mlp, cnn, cnn_bn, "),
        ({"model": "cnn"}, "model 'cnn' does not fit 'digits': pooling leaves nothing"),
        ({"methods": ("swr", "sgd")}, "unknown method 'sgd': choose from scratch, "),
        ({"methods": ("swr", "swr")}, "method 'swr' is named twice"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"first_seed": -1}, "first_seed must be at least 0, not -1"),
        (
            {"first_seed": 998, "seeds": 3},
            "first_seed and seeds must keep to seeds below 1000, where those of sweeps"
            " begin, not end with 1000",
        ),
        ({"epochs": -1}, "epochs must be at least 1, not -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"train_images": 0}, "train_images must be at least 1, not 0"),
        ({"test_images": 0}, "test_images must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, not 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be positive, not nan"),
        ({"learning_rate": math.inf}, "learning_rate must be positive, not inf"),
        (
            {"protocol": "continual-full", "train_images": 9},
            "train_images 9 are fewer than the 10 stages of continual-full",
        ),
        (
            {"protocol": "balancedness", "model": "vit"},
            "balancedness is for a chain of dense layers: use --model mlp, not vit",
        ),
        (
            {"protocol": "single-task", "methods": ("head_reset",)},
            "method 'head_reset' acts at changes of data, and single-task has none",
        ),
        (
            {"protocol": "single-task", "methods": ("swr_reinit",)},
            "method 'swr_reinit' is swr where the learning rate never falls: use swr,"
            " or add --decay",
        ),
        (
            {"protocol": "warm-start", "methods": ("swr_follow",)},
            "method 'swr_follow' is swr where the learning rate never falls: use swr",
        ),
        (
            {"protocol": "continual-full", "methods": ("scratch",)},
            "method 'scratch' belongs to warm-start: use vanilla or full_reset",
        ),
        (
            {"protocol": "single-task", "methods": ("scratch",)},
            "method 'scratch' belongs to warm-start: use vanilla",
        ),
        (
            {"protocol": "single-task", "methods": ("fresh",)},
            "method 'fresh' belongs to streams: use vanilla",
        ),
        (
            {"protocol": "continual-full", "methods": ("fresh",)},
            "method 'fresh' belongs to streams: use vanilla or full_reset",
        ),
        (
            {"protocol": "balancedness", "methods": ("vanilla", "layer_norm")},
            "balancedness is for a chain of dense layers: leave 'layer_norm' out",
        ),
        (
            {"protocol": "balancedness", "methods": ("hare_and_tortoise",)},
            "method 'hare_and_tortoise' evaluates other parameters than it trains,"
            " which balancedness does not look at",
        ),
        (
            {"methods": ("vanilla", "l2"), "coefficients": {"swr": 0.1}},
            "coefficient for 'swr', which is not among the methods: vanilla l2",
        ),
        (of("vanilla", 0.1), "method 'vanilla' has no coefficient"),
        (of("hard_projection", 0.1), "method 'hard_projection' has no coefficient"),
        (of("l2", TWO), "method 'l2' has one coefficient, not several"),
        (
            of("swr_two", 0.1),
            "method 'swr_two' has 2 coefficients, such as feature:0.0001,",
        ),
        (
            of("swr", {"feature": 0.1}),
            "coefficients of 'swr' must be for feature and classifier, not feature",
        ),
        (
            of("swr", {**TWO, "head": 0.1}),
            "coefficients of 'swr' must be for feature and classifier, not feature, ",
        ),
        (of("swr", 1.5), "coefficient of 'swr' must be from 0 to 1, not 1.5"),
        (of("swr", math.nan), "coefficient of 'swr' must be from 0 to 1, not nan"),
        (
            of("swr_two", {**TWO, "feature": -1}),
            "coefficient of 'swr_two' must be from 0 to 1, not -1",
        ),
        (
            of("shrink_and_perturb", 2),
            "coefficient of 'shrink_and_perturb' must be from 0 to 1, not 2",
        ),
        (of("l2", -0.1), "coefficient of 'l2' must be 0 or a positive float32, not -0"),
        (
            of("l2_init", math.inf),
            "coefficient of 'l2_init' must be 0 or a positive float32, not inf",
        ),
        # Streams.
        (
            {"protocol": "random-labels"},
            "random-labels is a stream: say how many tasks",
        ),
        ({**STREAM, "tasks": 0}, "tasks must be at least 1, not 0"),
        ({"tasks": 2}, "warm-start has stages and no tasks: leave tasks out"),
        (
            {**STREAM, "dataset": "cifar100"},
            "random-labels is not for 'cifar100': choose from digits, mnist, ",
        ),
        (
            {**PAIRS, "dataset": "digits", "model": "mlp", "tasks": 2},
            "class-pairs is not for 'digits': choose from tiny_imagenet",
        ),
        (
            {**PAIRS, "tasks": 2, "train_images": 500},
            "class-pairs takes all images of its classes: leave train_images out",
        ),
        (
            {**PAIRS, "tasks": 2, "test_images": 500},
            "class-pairs has tests of its own: leave test_images out",
        ),
        (
            {**STREAM, "test_images": 9},
            "random-labels has tests of its own: leave test_images out",
        ),
        (
            {**STREAM, "train_images": 15},
            "train_images 15 are fewer than the batch of 16",
        ),
        (
            {**MORE, "protocol": "five-plus-one", "tasks": 34},
            "tasks must be at most 32, not 34: cifar100 has 100 classes",
        ),
        (
            {**MORE, "protocol": "class-incremental", "tasks": 21},
            "tasks must be at most 20, not 21: cifar100 has 100 classes",
        ),
        ({**BITS}, "slowly-changing-regression draws its examples: say how many"),
        (
            {**BITS, "model": "cnn_deep", "train_images": 500},
            "model 'cnn_deep' does not fit 'bits': pooling leaves nothing of 20×1",
        ),
        ({"dataset": "bits"}, "'bits' has no classes: choose another data set"),
        (
            {"methods": ("fresh",)},
            "method 'fresh' belongs to streams: use scratch or full_reset",
        ),
        ({**STREAM, "methods": ("scratch",)}, "method 'scratch' belongs to warm-start"),
        ({"decay": True}, "warm-start has its own learning rates: leave decay out"),
        (
            {"protocol": "single-task", "decay": True},
            "single-task has its own learning rates: leave decay out, or use the"
            " protocol single-task-decay",
        ),
        ({**STREAM, "optimizer": "adamw"}, "unknown optimizer 'adamw': choose from"),
        (
            {**STREAM, "learning_rates": {"vanilla": 0.0}},
            "learning_rate must be positive, not 0.0",
        ),
        (
            {"methods": ("l2",), "learning_rates": {"swr": 0.1}},
            "learning rate for 'swr', which is not among the methods: l2",
        ),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(UserError) as error:
        Config(**fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [of("l2", 3.0), of("swr", 0), of("swr", 1), of("swr", TWO), of("swr_two", TWO)],
)
def test_what_is_in_range_is_taken(fields):
    config = Config(**fields)
    assert config.coefficient(*config.methods) == fields["coefficients"].popitem()[1]


def test_images_that_do_not_divide_into_patches_are_named(monkeypatch):
    source = dataclasses.replace(SOURCES["digits"], shape=(10, 8, 1))
    monkeypatch.setitem(SOURCES, "digits", source)
    with pytest.raises(UserError) as error:
        Config(model="vit")
    assert str(error.value) == (
        "model 'vit' does not fit 'digits': 10×8 images do not divide into squares of"
        " 4×4"
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", ["mlp", "cnn_bn", "vgg16"])
@pytest.mark.parametrize("profile", ["paper", "quick"])
def test_a_profile_is_recognised(protocol, model, profile):
    if protocol == "balancedness" and model != "mlp":
        pytest.skip("the protocol is for the MLP")
    lengths = profile_options(profile, protocol, model, "tiny_imagenet")
    config = Config(protocol, "tiny_imagenet", model, **lengths)
    assert config.profile == profile
    assert dataclasses.replace(config, epochs=lengths["epochs"] + 1).profile == "custom"
    assert dataclasses.replace(config, seeds=lengths["seeds"] + 1).profile == profile
    for name in ("train_images", "test_images"):
        assert dataclasses.replace(config, **{name: 100}).profile == "custom"


def test_the_paper_s_seeds():
    for model, seeds in (("cnn_bn", 5), ("vgg16", 3)):
        lengths = profile_options("paper", "single-task", model, "tiny_imagenet")
        assert lengths["seeds"] == seeds


def test_a_bundled_set_is_small_as_it_is():
    assert (
        profile_options("quick", "warm-start", "mlp", "digits")["train_images"] is None
    )
    assert (
        profile_options("quick", "warm-start", "mlp", "mnist")["train_images"] == 2500
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("protocol", ["warm-start", "single-task-decay"])
def test_networks_with_normalisation_get_two_coefficients(protocol, model):
    config = Config(protocol, "tiny_imagenet", model)
    normalises = MODELS[model].normalises
    assert normalises == any(x in model for x in ("bn", "vgg", "res", "vit", "norm"))
    assert ("swr_two" in config.methods) == normalises
    assert ("swr" in config.methods) != normalises
    others = tuple("swr" if m == "swr_two" else m for m in config.methods)
    assert others == PROTOCOLS[protocol].methods


def test_coefficients_of_no_paper_are_told_apart():
    config = Config(dataset="mnist", coefficients={"l2": 0.5})
    assert config.unpublished() == []
    digits = Config(dataset="digits", coefficients={"l2": 0.5})
    assert digits.unpublished() == ["l2_init", "shrink_and_perturb", "swr"]


def test_json_has_what_a_repetition_needs():
    config = Config(
        methods=("l2", "swr", "vanilla"),
        coefficients={"swr": TWO},
        train_images=50,
        first_seed=2,
    )
    described = json.loads(config.to_json())
    fields = {field.name for field in dataclasses.fields(Config)}
    again = Config(
        **{
            **{name: described[name] for name in fields},
            "methods": tuple(described["methods"]),
        }
    )
    assert again.to_json() == config.to_json()
    assert described["coefficients"] == {"l2": 2e-5, "swr": TWO}
    assert described["versions"]["jax"] == jax.__version__
    assert described["device"]["platform"] == jax.default_backend()
    assert described["profile"] == "custom"


def test_a_stream_has_as_many_tasks_as_there_are_classes_for():
    for protocol, most in (("five-plus-one", 32), ("class-incremental", 20)):
        assert Config(protocol, **MORE, tasks=most).protocol_stages == most
    assert Config(**PAIRS, tasks=5000).protocol_stages == 5000


def test_a_method_s_members_are_its_seeds_at_its_rate():
    config = Config(
        **STREAM, methods=("swr", "vanilla"), seeds=3, learning_rates={"swr": 0.5}
    )
    for method, coefficient, rate in (
        ("swr", config.coefficient("swr"), 0.5),
        ("vanilla", 0.0, 1e-3),
    ):
        assert config.rate(method) == rate
        assert config.members(method) == tuple(
            (seed, coefficient, rate) for seed in range(3)
        )


def test_a_stream_of_one_task_has_nothing_for_methods_that_wait_for_a_change():
    config = Config(**{**STREAM, "tasks": 1, "methods": ("shrink_and_perturb",)})
    assert config.stream_tasks == 1
