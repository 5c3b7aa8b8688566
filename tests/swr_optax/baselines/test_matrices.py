"""Weights read as matrices and written back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from small_networks import NETWORKS, small, weights_of
from swr_optax.baselines._matrices import matrices_of


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_that_mixes_inputs_is_a_matrix(name):
    network = NETWORKS[name]()
    arrays = jax.tree.leaves(network.params)
    expected = [w for w in weights_of(name, network.params).values() if w.ndim == 2]
    found = []
    for block in matrices_of(network.plan, network.params):
        array = arrays[block.position]
        matrices = block.read(array)
        found += [*np.asarray(matrices, np.float64)]
        np.testing.assert_array_equal(block.write(array, matrices), array)
        np.testing.assert_array_equal(
            block.read(block.write(array, 2 * matrices)), 2 * matrices
        )
    assert len(found) == len(expected)
    for w in expected:
        assert any(w.shape == m.shape and np.allclose(w, m) for m in found)


def test_each_position_of_a_kernel_may_have_a_matrix_of_its_own():
    network = NETWORKS["convolutional"]()
    kernel = network.params["conv"]["w"]
    block = matrices_of(network.plan, network.params)[0]
    apart = block.read(kernel, apart=(0, 1))
    np.testing.assert_array_equal(apart, kernel.reshape(9, 2, 4).transpose(0, 2, 1))
    np.testing.assert_array_equal(block.write(kernel, apart, apart=(0, 1)), kernel)


def test_slices_that_are_no_weights_are_passed_over():
    def forward(p, x):
        # The last slice scales and the others mix, in one array.
        x = jax.nn.relu(x @ p["all"][0]) @ p["all"][1]
        return x[:, None] * p["all"][2]

    network = small(forward, {"all": (3, 4, 4)}, (2, 4))
    (block,) = matrices_of(network.plan, network.params)
    array = network.params["all"]
    assert block.slices == (0, 1)
    matrices = block.read(array)
    np.testing.assert_array_equal(matrices, array[:2].transpose(0, 2, 1))
    written = block.write(array, jnp.zeros_like(matrices))
    np.testing.assert_array_equal(written[:2], 0)
    np.testing.assert_array_equal(written[2], array[2])


def test_slices_that_differ_in_their_axes_are_read_apart():
    def forward(p, x):
        return jax.nn.relu(x @ p["all"][0]) @ p["all"][1].T

    network = small(forward, {"all": (2, 4, 4)}, (2, 4))
    first, second = matrices_of(network.plan, network.params)
    array = network.params["all"]
    np.testing.assert_array_equal(first.read(array)[0], array[0].T)
    np.testing.assert_array_equal(second.read(array)[0], array[1])
    np.testing.assert_array_equal(second.write(array, second.read(array)), array)


def test_what_is_not_chosen_has_no_matrix():
    network = NETWORKS["stacked"]()
    (block,) = matrices_of(
        network.plan, network.params, lambda leaf: leaf.index in (0, 2)
    )
    assert block.slices == (0, 2)
