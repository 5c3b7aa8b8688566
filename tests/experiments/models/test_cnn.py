"""The small convolutional networks against their layers, one after the other."""

import chex
from jax import lax, random
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import CNN


def convolution(x, kernel):
    """Of (batch, height, width, channels), with a padding of 1."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers
    )


def pooled(x):
    return np.stack(
        [
            [
                x[:, i : i + 2, j : j + 2].max((1, 2))
                for j in range(0, x.shape[2] - 1, 2)
            ]
            for i in range(0, x.shape[1] - 1, 2)
        ]
    ).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("side", [14, 15])
def test_it_is_the_papers_network(batch_norm, side):
    network = CNN(classes=7, batch_norm=batch_norm)
    images = random.normal(random.key(0), (4, side, side, 3))
    variables = network.init(random.key(1), images)
    params = variables["params"]
    assert [params[f"Conv_{i}"]["kernel"].shape for i in range(2)] == [
        (5, 5, 3, 16),
        (5, 5, 16, 16),
    ]
    x = images
    for i in range(2):
        x = convolution(x, params[f"Conv_{i}"]["kernel"])
        # BatchNorm starts with the statistics of a unit normal.
        bias = 0 if batch_norm else params[f"Conv_{i}"]["bias"]
        x = x / np.sqrt(1 + 1e-5 * batch_norm) + bias
        x = pooled(np.maximum(x, 0))
    x = x.reshape(len(x), -1)
    x = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
    expected = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    assert params["Dense_0"]["kernel"].shape[1] == 100
    found = network.apply(variables, images)
    chex.assert_trees_all_close(found, jnp.asarray(expected), atol=1e-5)
