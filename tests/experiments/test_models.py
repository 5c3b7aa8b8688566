"""The paper's networks and PyTorch's initialisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import MODELS, max_pool
from networks import LAYERS, images, network
import paper_rules


@pytest.mark.parametrize(
    ("name", "side", "channels", "classes", "count"),
    [
        # 784·100+100 + 100·100+100 + 100·10+10
        ("mlp", 28, 1, 10, 89_610),
        # 75·16+16 + 400·16+16 + 576·100+100 + 100·10+10
        ("cnn", 32, 3, 10, 66_342),
        # the same without those 32 biases, with 2·2·16 scales and shifts
        ("cnn_bn", 32, 3, 100, 66_374 + 90 * 101),
    ],
)
def test_layers_have_the_papers_sizes(name, side, channels, classes, count):
    model = MODELS[name].build(classes)
    variables = jax.eval_shape(
        model.init, jax.random.key(0), jnp.ones((1, side, side, channels))
    )
    sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
    assert sum(sizes) == count


@pytest.mark.parametrize("name", MODELS)
def test_initialisation_is_pytorchs(name):
    """Weight and bias are uniform in ±1/√fan_in, with that of the weight."""
    arrays = paper_rules.flat(network(name).params)
    for layer in LAYERS[name]:
        if layer.normalizes:
            np.testing.assert_array_equal(arrays[layer.weight], 1)
            np.testing.assert_array_equal(arrays[layer.bias], 0)
            continue
        weight = arrays[layer.weight]
        limit = np.prod(weight.shape[:-1]) ** -0.5
        for path in filter(None, (layer.weight, layer.bias)):
            assert np.abs(arrays[path]).max() <= limit * (1 + 1e-6)
        assert np.abs(weight).max() > 0.97 * limit
        np.testing.assert_allclose(weight.std(), limit / 3**0.5, rtol=0.08)


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_image_leaves_one_pixel(name):
    model = MODELS[name].build(10)
    side = MODELS[name].smallest
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, side, side, 1)))
    assert shapes["params"]["Dense_0"]["kernel"].shape[0] in (1, 16)


@pytest.mark.parametrize("side", [8, 9])
def test_pooling_is_flaxs(side):
    x = jax.random.normal(jax.random.key(0), (3, side, side, 2))
    np.testing.assert_array_equal(max_pool(x), nn.max_pool(x, (2, 2), (2, 2)))


def test_absent_images_do_not_count_for_batch_norm():
    net = network("cnn_bn")
    variables = {"params": net.params, "batch_stats": net.stats}
    padded = images(8).at[5:].set(100.0)
    present = jnp.arange(8) < 5
    found, stats = net.model.apply(
        variables, padded, train=True, present=present, mutable=["batch_stats"]
    )
    expected, expected_stats = net.model.apply(
        variables, images(5), train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(found[:5], expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        stats,
        expected_stats,
    )
