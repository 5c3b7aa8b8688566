"""The plan as an object: its table, JSON, and matching of parameters."""

import dataclasses
import re

import jax
import pytest

from architectures import ARCHITECTURES
from networks import network
from swr_optax import plan_rescaling

TABLE = """\
RescalingPlan: 6 layers, 14 leaves, priority 'norms'

layer              shape     group       who follows it
Conv_0/kernel      5×5×1×16  feature     BatchNorm_0/mean, BatchNorm_0/var^2
BatchNorm_0/scale  16        feature     BatchNorm_0/bias, BatchNorm_1/mean, \
BatchNorm_1/var^2
Conv_1/kernel      5×5×16×16 feature     BatchNorm_1/mean, BatchNorm_1/var^2
BatchNorm_1/scale  16        feature     BatchNorm_1/bias, Dense_0/bias, Dense_1/bias
Dense_0/kernel     576×100   classifier  Dense_0/bias, Dense_1/bias
Dense_1/kernel     100×10    classifier  Dense_1/bias

output × c(BatchNorm_1/scale)·c(Dense_0/kernel)·c(Dense_1/kernel)
approximate: Conv_0 and Conv_1 meet the constant 1e-05 in 'add': exact up to a share \
of about 1e-05 over the value, such as 0.001 where the value is 0.01"""


def test_prints_as_a_table():
    lines = str(network("cnn_bn").plan()).splitlines()
    columns = [line.split() for line in lines]
    assert columns == [line.split() for line in TABLE.splitlines()]
    table = lines[2:9]
    assert (
        len(
            {
                line.index(group)
                for line, group in zip(
                    table[1:], ["feature"] * 4 + ["classifier"] * 2, strict=True
                )
            }
        )
        == 1
    )


def test_names_the_strongest_followers_of_many():
    case = ARCHITECTURES["scanned blocks"]()
    plan = plan_rescaling(case.train, case.params, *case.inputs, priority="function")
    row = next(x for x in str(plan).splitlines() if "value/kernel[1] " in x)
    assert re.search(r"itself\^0\.606, .*, and \d+ more$", row)
    assert max(map(len, str(plan).splitlines())) < 800


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ("a", "a meets 1"),
        ("ab", "a and b meet 1"),
        ("abcdefghi", "a, b, c, d, e, f, g, h and i meet 1"),
        ("abcdefghij", "a, b, c, d, e, f, g, h and 2 more meet 1"),
    ],
)
def test_names_places_of_an_approximation_in_one_line(values, printed):
    sentences = ("x with y meets 2", *(f"{value} meets 1" for value in values))
    plan = dataclasses.replace(network("mlp").plan(), approximations=sentences)
    expected = ["approximate: x with y meets 2", f"approximate: {printed}"]
    assert str(plan).splitlines()[-2:] == expected


def test_says_which_parameters_it_leaves_alone_and_why():
    sentence = "Dense_0/bias: meets the sine, which has no scale"
    plan = dataclasses.replace(network("mlp").plan(), left_alone=(sentence,))
    assert str(plan).splitlines()[-1] == f"left alone: {sentence}"


def test_matches_in_tree_order():
    net = network("cnn_bn")
    plan = net.plan()
    assert plan.match_params(net.params) == list(range(10))
    assert plan.match_statistics(net.stats) == list(range(10, 14))
    assert plan.parameters == len(jax.tree.leaves(net.params))


def test_statistics_of_another_network_are_refused():
    plan = network("cnn_bn").plan()
    with pytest.raises(ValueError, match="stats do not fit the plan: missing Batch"):
        plan.match_statistics({})
