"""What every model of the table must do; slim ones where width does not matter."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import CNN, MLP, MODELS, VGG16, ResNet18, ViT
from networks import images
import paper_rules
import swr_optax

SLIM = {
    "mlp": MLP(10),
    "cnn": CNN(10),
    "cnn_bn": CNN(10, batch_norm=True),
    "vgg16": VGG16(10, widths=(4, 8, 8, 16, 16), hidden=32),
    "resnet18": ResNet18(10, width=4),
    "vit": ViT(10, width=24, depth=2),
    "resnet18_narrow": ResNet18(10, width=4),
    "vit_narrow": ViT(10, patch=8, width=24, depth=2),
    **{
        name: MODELS[name].build(10)
        for name in MODELS
        if name.startswith(("mlp_", "cnn_")) and name != "cnn_bn"
    },
}
NORMALIZED = ["cnn_bn", "vgg16", "resnet18", "resnet18_narrow"]
PYTORCH = [name for name in MODELS if not name.startswith("vit")]


def slim(name):
    """A slim model's forward pass and its initial variables."""
    return compiled(SLIM[name])


@functools.cache  # By the model: what is the same by two names compiles once.
def compiled(model):
    @functools.partial(jax.jit, static_argnames="train")
    def apply(params, stats, x, present=None, *, train=True):
        logits, updated = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=train,
            present=present,
            mutable=["batch_stats"],
        )
        return logits, updated.get("batch_stats", {})

    # Such random bits compile in a tenth of the time.
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(model.init)(key, images(1))
    return apply, variables["params"], variables.get("batch_stats", {})


def count(model, side, channels):
    """Number of parameters."""
    sample = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), sample)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "side", "channels", "classes", "expected"),
    [
        # 784·100+100 + 100·100+100 + 100·10+10
        ("mlp", 28, 1, 10, 89_610),
        # 75·16+16 + 400·16+16 + 576·100+100 + 100·10+10
        ("cnn", 32, 3, 10, 66_342),
        # two tenths as many units each, of which half are negative parts
        ("mlp_crelu", 28, 1, 10, 784 * 50 + 50 + 100 * 50 + 50 + 1010),
        # L2 Init's: 5·5·16 are left of 32·32 pixels without padding
        ("cnn_deep", 32, 3, 10, 1216 + 6416 + 40_100 + 10_100 + 1010),
        ("mlp_five", 20, 1, 1, 400 * 5 + 5 + 6),
        # the same without those 32 biases, with 2·2·16 scales and shifts
        ("cnn_bn", 32, 3, 100, 66_374 + 90 * 101),
        # torchvision's vgg16_bn without the 4224 biases of its convolutions
        ("vgg16", 224, 3, 1000, 138_365_992 - 4_224),
        # the paper's: a quarter of 7·7 pixels, 200 classes
        ("vgg16", 64, 3, 200, 138_361_768 - 45 * 512 * 4096 - 800 * 4097),
        # torchvision's resnet18 with 27·64 instead of 147·64 in its stem
        ("resnet18", 224, 3, 1000, 11_689_512 - 120 * 64),
        # pytorch-cifar's
        ("resnet18", 32, 3, 10, 11_173_962),
        # 6 of the 12 blocks of DeiT-Ti, 64 patches of 4×4 instead of 196 of 16×16
        ("vit", 32, 3, 1000, 5_717_416 - 6 * 444_864 - 132 * 192 - 720 * 192),
        # convolutions between layers; the stem, BatchNorm and the head
        ("resnet18_narrow", 32, 3, 10, 2724 * 8**2 + (27 + 150 + 80) * 8 + 10),
        # blocks; patches, 17 positions, the token, LayerNorm and the head
        ("vit_narrow", 32, 3, 10, 6 * (12 * 64 + 13) * 64 + (193 + 18 + 12) * 64 + 10),
    ],
)
def test_layers_have_the_published_sizes(name, side, channels, classes, expected):
    assert count(MODELS[name].build(classes), side, channels) == expected


def test_a_vit_may_be_deits():
    assert count(ViT(1000, patch=16, depth=12), 224, 3) == 5_717_416


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_finite_and_one_for_each_class(name):
    apply, params, stats = slim(name)
    logits, same_stats = apply(params, stats, images(32), train=False)
    assert logits.shape == (32, 10)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    chex.assert_trees_all_equal(same_stats, stats)


@pytest.mark.parametrize("name", PYTORCH)
def test_initialisation_is_pytorchs(name):
    """Weight and bias are uniform in ±1/√fan_in, with that of the weight."""
    _, params, stats = slim(name)
    arrays = paper_rules.flat(params)
    for path, weight in arrays.items():
        layer, kind = path.rsplit("/", 1)
        if kind == "scale":
            np.testing.assert_array_equal(weight, 1)
            np.testing.assert_array_equal(arrays[f"{layer}/bias"], 0)
        elif kind == "kernel":
            drawn = [weight, arrays.get(f"{layer}/bias")]
            for numbers in (array for array in drawn if array is not None):
                uniform = numbers / np.prod(weight.shape[:-1]) ** -0.5
                assert np.abs(uniform).max() <= 1 + 1e-6
                # Six deviations of what a sample of this size has.
                slack = 3 / numbers.size**0.5
                np.testing.assert_allclose(uniform.std(), 3**-0.5, rtol=slack)
                assert abs(uniform.mean()) < 1.2 * slack
    for path, array in paper_rules.flat(stats).items():
        np.testing.assert_array_equal(array, float(path.endswith("var")))


def tried(model, side):
    """Shape of the logits of square images."""
    sample = jnp.zeros((2, side, side, 1))
    return jax.eval_shape(
        lambda key: model.init_with_output(key, sample)[0], jax.random.key(0)
    ).shape


@pytest.mark.parametrize("name", MODELS)
def test_what_fits_is_what_works(name):
    entry, model = MODELS[name], MODELS[name].build(10)
    fitting = [side for side in range(1, 41) if entry.misfit(side, side) is None]
    assert entry.misfit(fitting[0], fitting[0] + 1) is None or entry.patch > 1
    assert tried(model, fitting[0]) == tried(model, fitting[-1]) == (2, 10)
    for side in {*range(1, 41)} - {*fitting}:
        with pytest.raises((TypeError, ZeroDivisionError)):
            tried(SLIM[name], side)


def test_both_sides_must_fit():
    assert MODELS["cnn"].misfit(9, 40) == "pooling leaves nothing of 9×40 images"
    assert MODELS["cnn"].misfit(40, 9) == "pooling leaves nothing of 40×9 images"
    words = "30×28 images do not divide into squares of 4×4"
    assert MODELS["vit"].misfit(30, 28) == words
    assert MODELS["vit"].misfit(28, 30) is not None


@pytest.mark.parametrize("name", MODELS)
def test_the_table_says_which_convolve(name):
    jaxpr = jax.make_jaxpr(slim(name)[0])(*slim(name)[1:], images(1))
    assert MODELS[name].convolutional == ("conv_general_dilated" in str(jaxpr))


@pytest.mark.parametrize("name", MODELS)
def test_absent_images_change_nothing(name):
    apply, params, stats = slim(name)
    padded = images(32).at[20:].set(100.0)
    found, found_stats = apply(params, stats, padded, jnp.arange(32) < 20)
    expected, expected_stats = apply(params, stats, images(20))
    np.testing.assert_allclose(found[:20], expected, rtol=1e-4, atol=1e-5)
    assert bool(jax.tree.leaves(found_stats)) == (name in NORMALIZED)
    chex.assert_trees_all_close(found_stats, expected_stats, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_swr_can_keep_the_function(name):
    """With random numbers in all leaves, so large that no ε counts."""
    apply, params, stats = slim(name)
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    size = 10.0 if name in PYTORCH else 0.5  # Attention must not saturate.
    params = structure.unflatten(
        [jnp.float32(size * rng.normal(size=leaf.shape)) for leaf in leaves]
    )
    x = images(32)
    plan = swr_optax.plan_rescaling(apply, params, x, stats=stats, priority="function")
    assert not plan.unmet
    _, stats = apply(params, stats, x)
    for train in (True, False):
        mode = functools.partial(apply, train=train)
        found = swr_optax.check(plan, mode, params, x, stats=stats)
        assert found.deviation < 1e-5
        assert found.agreement == 1


def test_fully_connected_networks_take_little_scratch_memory():
    small = {name for name, entry in MODELS.items() if entry.small}
    assert small == {name for name in MODELS if name.startswith("mlp")}
