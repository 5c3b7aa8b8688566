"""FIRE, against the authors' rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from small_networks import NETWORKS, small, weights_of
import swr_optax


def polar_factor(w, iterations=10):
    x = w.T if w.shape[1] > w.shape[0] else w
    x = x / np.linalg.norm(x)
    for _ in range(iterations):
        x = 1.5 * x - 0.5 * x @ (x.T @ x)
    return x.T if w.shape[1] > w.shape[0] else x


def fired(w):
    return np.sqrt(w.shape[0] / w.shape[1]) * polar_factor(w)


@pytest.mark.parametrize("name", ["mlp", "stacked", "attention"])
def test_linear_maps_become_scaled_polar_factors(name):
    network = NETWORKS[name]()
    found = weights_of(name, swr_optax.fire(network.params, network.plan))
    for layer, w in weights_of(name, network.params).items():
        np.testing.assert_allclose(found[layer], fired(w), rtol=1e-4, atol=1e-6)


def test_convolutions_do_so_at_each_position_of_the_kernel():
    network = NETWORKS["convolutional"]()
    found = swr_optax.fire(network.params, network.plan)
    kernel = np.float64(network.params["conv"]["w"])
    for i, j in np.ndindex(3, 3):
        np.testing.assert_allclose(
            found["conv"]["w"][i, j].T, fired(kernel[i, j].T) / 9, rtol=1e-4, atol=1e-6
        )
    dense = weights_of("convolutional", network.params)["dense"]
    np.testing.assert_allclose(found["dense"]["w"].T, fired(dense), rtol=1e-4)
    for path in (("norm", "scale"), ("norm", "shift"), ("dense", "b")):
        before, after = network.params, found
        for key in path:
            before, after = before[key], after[key]
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("layout", "shape"), [("HWIO", (3, 3, 2, 4)), ("OIHW", (4, 2, 3, 3))]
)
def test_the_channels_are_found_in_either_layout(layout, shape):
    def forward(p, x):
        dims = ("NHWC", layout, "NHWC")
        return jax.lax.conv_general_dilated(
            x, p["w"], (1, 1), "SAME", dimension_numbers=dims
        )

    network = small(forward, {"w": shape}, (1, 5, 5, 2))
    found = swr_optax.fire(network.params, network.plan)["w"]
    kernel = np.float64(network.params["w"])
    if layout == "HWIO":
        found, kernel = found.transpose(3, 2, 0, 1), kernel.transpose(3, 2, 0, 1)
    for i, j in np.ndindex(3, 3):
        np.testing.assert_allclose(
            found[:, :, i, j], fired(kernel[:, :, i, j]) / 9, rtol=1e-4, atol=1e-6
        )


def test_a_convolution_in_one_dimension_can_be_named():
    def forward(p, x):
        return jax.lax.conv_general_dilated(
            x, p["w"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )

    network = small(forward, {"w": (3, 2, 4)}, (1, 5, 2))
    kernel = np.float64(network.params["w"])
    whole = swr_optax.fire(network.params, network.plan)["w"]
    np.testing.assert_allclose(
        whole.reshape(6, 4).T, fired(kernel.reshape(6, 4).T), rtol=1e-4, atol=1e-6
    )
    found = swr_optax.fire(network.params, network.plan, kernel_axes=lambda _: (0,))
    for k in range(3):
        np.testing.assert_allclose(
            found["w"][k].T, fired(kernel[k].T) / 3, rtol=1e-4, atol=1e-6
        )


def test_leaves_say_which():
    network = NETWORKS["attention"]()
    found = swr_optax.fire(
        network.params, network.plan, leaves=lambda leaf: leaf.path in ("query", "key")
    )
    for name, w in network.params.items():
        changed = name in ("query", "key")
        assert bool((found[name] != w).any()) is changed


def test_slices_of_a_stack_are_told_apart():
    network = NETWORKS["stacked"]()
    found = swr_optax.fire(
        network.params, network.plan, leaves=lambda leaf: leaf.index == 1
    )
    changed = (found["blocks"]["w"] != network.params["blocks"]["w"]).any((1, 2))
    assert changed.tolist() == [False, True, False]
    np.testing.assert_allclose(
        found["blocks"]["w"][1],
        fired(np.float64(network.params["blocks"]["w"][1])),
        rtol=1e-4,
        atol=1e-6,
    )


def test_makes_well_conditioned_weights_orthogonal():
    network = NETWORKS["mlp"]()
    found = weights_of("mlp", swr_optax.fire(network.params, network.plan))
    for w in found.values():
        small_side = w if w.shape[0] < w.shape[1] else w.T
        gram = small_side @ small_side.T
        np.testing.assert_allclose(
            gram, np.eye(len(gram)) * w.shape[0] / w.shape[1], atol=1e-2
        )


def test_keeps_types_and_zeros_and_goes_under_jit():
    network = NETWORKS["mlp"]()
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), network.params)
    params["first"]["w"] = jnp.zeros((5, 4), jnp.bfloat16)
    found = jax.jit(lambda p: swr_optax.fire(p, network.plan))(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("bfloat16")}
    np.testing.assert_array_equal(found["first"]["w"], 0)


@pytest.mark.parametrize(("iterations", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_wrong_number_of_iterations_is_named(iterations, error):
    network = NETWORKS["mlp"]()
    with pytest.raises(error, match="iterations must be"):
        swr_optax.fire(network.params, network.plan, iterations=iterations)


def test_complex_weights_become_unitary():
    start = {"w": jnp.diag(jnp.array([1, 2j, -1 - 1j]))}
    plan = swr_optax.plan_rescaling(
        lambda p, x: jnp.abs(x @ p["w"]), start, jnp.ones((2, 3))
    )
    found = np.asarray(swr_optax.fire(start, plan, iterations=30)["w"])
    left, _, right = np.linalg.svd(np.asarray(start["w"]))
    np.testing.assert_allclose(found, left @ right, atol=1e-5)
