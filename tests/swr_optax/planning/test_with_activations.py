"""Activations of hidden units: which, and at what cost to derivatives (none)."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from architectures import ARCHITECTURES
from networks import images, network
import swr_optax
from two_layers import forward, two_layers


def test_are_what_enters_the_outgoing_product():
    params, plan = two_layers()
    x = jax.random.normal(jax.random.key(3), (4, 5))
    outputs, (hidden,) = swr_optax.with_activations(forward, plan)(params, x)
    np.testing.assert_array_equal(outputs, forward(params, x))
    first = params["first"]
    np.testing.assert_array_equal(hidden, jax.nn.relu(x @ first["w"] + first["b"]))


def test_of_a_convolution_are_pooled_and_not_flattened():
    net = network("cnn")
    run = jax.jit(swr_optax.with_activations(net.train, net.plan()))
    _, activations = run(net.params, net.stats, images(3))
    assert [a.shape for a in activations] == [(3, 15, 15, 16), (3, 6, 6, 16), (3, 100)]
    assert all(float(a.min()) >= 0 for a in activations)


CASES = [
    "vgg-16",
    "resnet-18",
    "vit",
    "gpt",
    "nnx transformer",
    "haiku cnn-bn",
    "equinox cnn-bn",
    "equinox transformer",
    "lstm",
    "scanned blocks",
]


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_the_network(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    rest = case.inputs if case.stats is None else (case.stats, *case.inputs)

    def loss(returned):
        floating = [x for x in jax.tree.leaves(returned) if x.dtype == jnp.float32]
        return sum(jnp.sum(jnp.sin(x)) for x in floating)

    def plain(params):
        returned = case.train(params, *rest)
        return loss(returned), returned

    def activated(params):
        run = swr_optax.with_activations(case.train, plan)
        returned, activations = run(params, *rest)
        return loss(returned), (returned, activations)

    # As users have it: the code generator of the other tests adds up otherwise in a
    # program that returns more.
    compiled = functools.partial(
        jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True}
    )
    expected, outputs = compiled(jax.grad(plain, has_aux=True))(case.params)
    found, (again, activations) = compiled(jax.grad(activated, has_aux=True))(
        case.params
    )
    chex.assert_trees_all_equal(again, outputs)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)
    assert [a.shape[-1] for a in activations] == [u.count for u in plan.units]


def test_of_a_trunk_hold_all_that_is_read_from_it():
    case = ARCHITECTURES["resnet-18"]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    run = jax.jit(swr_optax.with_activations(case.train, plan))
    _, activations = run(case.params, case.stats, *case.inputs)
    trunk = activations[0]  # The stem, and what comes out of two blocks.
    assert trunk.shape == (3 * 8 * 16 * 16, 8)


def test_custom_derivatives_are_kept():
    @jax.custom_vjp
    def odd(x):
        return jnp.maximum(x, 0)

    odd.defvjp(lambda x: (odd(x), None), lambda _, g: (3 * g,))

    @jax.custom_jvp
    def even(x):
        return jnp.abs(x)

    even.defjvp(lambda primals, tangents: (even(primals[0]), 5 * tangents[0]))

    @jax.jit
    def dense(x, w):
        return jnp.dot(x, w)

    def fn(params, x):
        x = odd(dense(x, params[0]))
        x = jax.checkpoint(lambda x, w: even(dense(x, w)))(x, params[1])
        return dense(jax.nn.relu(dense(x, params[2])), params[3])

    keys = jax.random.split(jax.random.key(0), 4)
    params = [jax.random.normal(key, (4, 4)) for key in keys]
    x = jnp.ones((2, 4))
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert len(plan.units) == 3
    run = swr_optax.with_activations(fn, plan)
    found = jax.grad(lambda p: run(p, x)[0].sum())(params)
    chex.assert_trees_all_equal(found, jax.grad(lambda p: fn(p, x).sum())(params))
    chex.assert_trees_all_equal(run(params, x)[1][0], odd(x @ params[0]))


def times(primitive, jaxpr):
    """How often a primitive is in a jaxpr, with what is inside of its equations."""
    inner = [
        times(primitive, getattr(each, "jaxpr", each))
        for eqn in jaxpr.eqns
        for value in eqn.params.values()
        for each in (value if isinstance(value, (tuple, list)) else [value])
        if hasattr(getattr(each, "jaxpr", each), "eqns")
    ]
    return sum(inner) + sum(eqn.primitive.name == primitive for eqn in jaxpr.eqns)


@pytest.mark.parametrize("scanned", [False, True])
def test_what_is_computed_again_for_derivatives_still_is(scanned):
    @jax.checkpoint
    def layer(h, own):
        return h + jnp.sin(jax.nn.relu(h @ own["a"])) @ own["b"]

    def layers(params, x):
        return jax.lax.scan(lambda h, own: (layer(h, own), None), x, params)[0]

    front = (3,) if scanned else ()
    params = {"a": jnp.ones((*front, 4, 8)), "b": jnp.ones((*front, 8, 4))}
    fn = layers if scanned else lambda params, x: layer(x, params)
    x = jnp.ones((2, 4))
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert plan.units
    run = swr_optax.with_activations(fn, plan)
    plain = jax.make_jaxpr(jax.grad(lambda p: fn(p, x).sum()))(params)
    found = jax.make_jaxpr(jax.grad(lambda p: run(p, x)[0].sum()))(params)
    assert times("sin", plain.jaxpr) == 2
    assert times("sin", found.jaxpr) == 2


def test_vmaps_over_networks_and_in_evaluation_mode():
    net = network("cnn_bn")
    plan = net.plan()
    other = network("cnn_bn", 1)
    params, stats = jax.tree.map(
        lambda a, b: jnp.stack([a, b]),
        (net.params, net.stats),
        (other.params, other.stats),
    )
    run = swr_optax.with_activations(net.evaluate, plan)
    _, together = jax.vmap(run, (0, 0, None))(params, stats, images(3))
    _, alone = run(other.params, other.stats, images(3))
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-5)


def test_another_network_is_refused():
    params, plan = two_layers()
    linear = lambda p, x: x @ p["first"]["w"] @ p["second"]["w"]  # noqa: E731
    run = swr_optax.with_activations(linear, plan)
    with pytest.raises(ValueError, match="fn does not have the plan's units that"):
        run(params, jnp.ones((2, 5)))


def test_a_module_that_shares_traced_calls():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(3):  # Of one shape, so that jit has one jaxpr for all.
                x = jax.jit(nn.relu)(nn.Dense(4)(x))
            return nn.Dense(2)(x)

    net = Net()
    x = jax.random.normal(jax.random.key(0), (5, 4))
    params = net.init(jax.random.key(1), x)
    plan = swr_optax.plan_rescaling(net.apply, params, x)
    _, activations = swr_optax.with_activations(net.apply, plan)(params, x)
    inside = functools.partial(net.apply, capture_intermediates=True, mutable=True)
    captured = inside(params, x)[1]["intermediates"]
    for k, activation in enumerate(activations):
        expected = nn.relu(captured[f"Dense_{k}"]["__call__"][0])
        np.testing.assert_allclose(activation, expected, rtol=1e-6)
