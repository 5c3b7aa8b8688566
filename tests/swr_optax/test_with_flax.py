"""In Flax's own training states and optimisers."""

import chex
from flax import nnx
import flax.serialization
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from swr_optax import metrics
from two_layers import forward, norms_of, randomly, two_layers


def test_state_is_arrays_and_goes_to_bytes_and_back():
    params, plan = two_layers()
    tx = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.5, plan))
    _, state = tx.update(randomly(params), tx.init(params), params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    text = flax.serialization.to_bytes(state)
    chex.assert_trees_all_equal(
        flax.serialization.from_bytes(tx.init(params), text), state
    )


def test_train_state_rescales_at_every_step():
    params, plan = two_layers()
    tx = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    state = train_state.TrainState.create(apply_fn=forward, params=params, tx=tx)
    grads = jax.tree.map(jnp.negative, params)
    state = jax.jit(lambda state: state.apply_gradients(grads=grads))(state)
    np.testing.assert_allclose(
        norms_of(state.params), 1.5 * norms_of(params), rtol=1e-6
    )
    new = swr_optax.reset_reference_norms(state.opt_state, state.params, plan)
    state = state.replace(opt_state=new)
    np.testing.assert_allclose(
        state.opt_state[1].reference_norms, norms_of(state.params), rtol=1e-6
    )


class Network(nnx.Module):
    """Of which the BatchNorm's statistics follow the layer in front."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.norm(self.first(x))))


def nnx_network():
    network = Network(nnx.Rngs(0))
    graph, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)

    def apply(params, stats, x):
        model = nnx.merge(graph, params, stats)
        return model(x), nnx.state(model, nnx.BatchStat)

    x = jax.random.normal(jax.random.key(1), (16, 4))
    return network, swr_optax.plan_rescaling(apply, params, x, stats=stats), x


def test_nnx_optimizer_rescales_and_statistics_follow():
    network, plan, x = nnx_network()
    tx = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    optimizer = nnx.Optimizer(network, tx, wrt=nnx.Param)

    @nnx.jit
    def step(network, optimizer):
        network(x)
        grads = jax.tree.map(jnp.negative, nnx.state(network, nnx.Param))
        optimizer.update(network, grads)
        stats = nnx.state(network, nnx.BatchStat)
        nnx.update(
            network, swr_optax.rescale_statistics(stats, optimizer.opt_state, plan)
        )

    before = nnx.state(nnx.clone(network), nnx.Param)
    twin = nnx.clone(network)
    twin(x)
    step(network, optimizer)
    growth = metrics.weight_growth(nnx.state(network, nnx.Param), before, plan)
    np.testing.assert_allclose(growth, 1.5, rtol=1e-6)
    np.testing.assert_allclose(network.norm.mean[...], 0.75 * twin.norm.mean[...], 1e-5)
    np.testing.assert_allclose(
        network.norm.var[...], 0.75**2 * twin.norm.var[...], 1e-5
    )


def test_nnx_optimizer_gets_new_reference_norms():
    network, plan, _ = nnx_network()
    tx = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    optimizer = nnx.Optimizer(network, tx, wrt=nnx.Param)
    doubled = jax.tree.map(lambda p: 2 * p, nnx.state(network, nnx.Param))
    nnx.update(network, doubled)
    old = optimizer.opt_state
    new = swr_optax.reset_reference_norms(old, doubled, plan)
    chex.assert_trees_all_equal_structs(new, old)
    nnx.update(optimizer.opt_state, nnx.state(new))
    nothing = jax.tree.map(jnp.zeros_like, doubled)
    optimizer.update(network, nothing)
    growth = metrics.weight_growth(nnx.state(network, nnx.Param), doubled, plan)
    np.testing.assert_allclose(growth, 1.0, rtol=1e-6)


def test_a_state_before_the_step_is_kept_as_arrays():
    """Nnx changes its optimiser in place, and ``previous`` must not change along."""
    network, plan, _ = nnx_network()
    inner = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    tx = optax.MultiSteps(inner, 2)
    optimizer = nnx.Optimizer(network, tx, wrt=nnx.Param)
    stats = nnx.state(network, nnx.BatchStat)
    grads = jax.tree.map(jnp.negative, nnx.state(network, nnx.Param))
    for factor in (1.0, 0.75**2):
        previous = nnx.as_pure(optimizer.opt_state)
        optimizer.update(network, grads)
        found = swr_optax.rescale_statistics(
            stats, optimizer.opt_state, plan, previous=previous
        )
        np.testing.assert_allclose(
            found["norm"]["var"][...], factor * stats["norm"]["var"][...], rtol=1e-6
        )


def test_the_bytes_of_another_networks_state_are_refused_in_the_step():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    part = {"second": params["second"]}
    other = swr_optax.sequential_plan(part, ["second/w"])
    saved = flax.serialization.to_bytes(
        swr_optax.soft_weight_rescaling(0.1, other).init(part)
    )
    restored = flax.serialization.from_bytes(tx.init(params), saved)
    with pytest.raises(
        ValueError, match=r"of shape \(1,\), and plan has 2 layers: it is"
    ):
        tx.update(params, restored, params)
