"""A unit whose outgoing slices are zero is cut off, or its layer is called mixed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swr_optax

X = jax.random.normal(jax.random.key(1), (7, 5))
UNITS = 6

CUT_OFF = {
    "as it is": lambda o, _: o,
    "half precision": lambda o, _: o.astype(jnp.bfloat16).astype(jnp.float32),
    "rounded": lambda o, _: jax.lax.reduce_precision(o, 8, 7),
    "turned": lambda o, _: (-o.T / 3).T,
    "scaled by another": lambda o, p: o * jnp.exp(p["more"]),
    "two of them": lambda o, p: o + jnp.tanh(p["more"]) * 0.1,
    "bounded": lambda o, _: jnp.tanh(o) * jnp.arcsinh(jax.lax.square(o)),
    "power": lambda o, _: jnp.abs(o) ** 1.5,
    "odd": lambda o, _: jnp.sin(o) + o**3 - jnp.expm1(o),
    "constant mask": lambda o, _: o * np.arange(3),
    "sparse": lambda o, _: jnp.where(jnp.abs(o) > 0.1, o, 0.0),
    "clipped": lambda o, _: jnp.maximum(o, 0),
    "low rank": lambda o, p: o @ p["more"].T @ p["more"],
    "as large as all": lambda o, _: o / jnp.linalg.norm(o),
    "of about norm one": lambda o, _: (
        o * jax.lax.rsqrt(1e-3 + (o * o).sum(1, keepdims=True))
    ),
    "each output of norm one": lambda o, _: o / jnp.linalg.norm(o, axis=0),
    "dropped": lambda o, _: o * jax.random.bernoulli(jax.random.key(2), 0.5, o.shape),
    "padded": lambda o, _: jnp.pad(o, ((0, 0), (1, 1))),
    "in a call": lambda o, _: jax.checkpoint(jax.jit(jnp.tanh))(o),
    "in a loop": lambda o, _: jax.lax.fori_loop(0, 3, lambda _, w: jnp.tanh(w), o),
    "looked up": lambda o, _: o[:, jnp.array([2, 0, 0])],
}
MIXED = {
    "softplus": lambda o, _: jax.nn.softplus(o),
    "exponential": lambda o, _: jnp.exp(o),
    "softmax": lambda o, _: jax.nn.softmax(o, 0),
    "cosine": lambda o, _: jnp.cos(o),
    "one over one more": lambda o, _: 1 / (2 + o),
    "one more": lambda o, _: 1 + o,
    "a constant in places": lambda o, _: jnp.where(jnp.abs(o) > 0.1, o, 0.1),
    "another leaf in places": lambda o, p: jnp.where(
        jnp.abs(o) > 0.1, o, jnp.zeros(3) + p["last"]
    ),
    "padded with ones": lambda o, _: jnp.pad(o, ((0, 0), (1, 1)), constant_values=1.0),
    "standardised": lambda o, _: (o - o.mean(0)) / o.std(0),
    "a part stays": lambda o, _: jnp.concatenate([o, jnp.ones((UNITS, 1))], 1),
    "added in a loop": lambda o, _: jax.lax.fori_loop(0, 3, lambda _, w: w + 1, o),
}

NOT_A_NUMBER = {
    "inverse": lambda o, _: 1 / o,
    "inverse power": lambda o, _: o**-2,
    "root": lambda o, _: jnp.sqrt(jnp.abs(o)),
    "power": lambda o, _: jnp.abs(o) ** 0.5,
    "of norm one": lambda o, _: o / norms(o),
    "of norm one, in a product": lambda o, _: (
        o * jax.lax.rsqrt((o * o).sum(1))[:, None]
    ),
    "with an epsilon behind the root": lambda o, _: o / (norms(o) + 1e-3),
    "of bounded norm": lambda o, _: o / jnp.maximum(norms(o), 1e-3),
    "guarded": lambda o, _: o / jnp.where(norms(o) == 0, 1, norms(o)),
    "in a loop": lambda o, _: jax.lax.fori_loop(0, 3, lambda _, w: w / norms(w), o),
}


def norms(o):
    return jnp.linalg.norm(o, axis=1, keepdims=True)


def network(weight):
    def fn(params, x):
        made = jax.nn.relu(x @ params["w"]) @ weight(params["o"], params)
        return made * 2

    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "w": jax.random.normal(keys[0], (5, UNITS)),
        "o": jax.random.normal(keys[1], (UNITS, 3)),
        "more": jax.random.normal(keys[2], (UNITS, 3)),
        "last": jnp.ones(3),
    }
    return fn, params


@pytest.mark.parametrize("name", [*CUT_OFF, *MIXED])
def test_outputs_depend_on_what_is_cut_off_only_if_units_are_mixed(name):
    fn, params = network((CUT_OFF | MIXED)[name])
    (units,) = swr_optax.plan_rescaling(fn, params, X).units
    leaves = sorted(params)
    off = dict(params)
    for place in units.outgoing:
        assert place.axis == 0
        off[leaves[place.leaf]] = off[leaves[place.leaf]].at[2].set(0)
    (incoming,) = units.incoming
    assert leaves[incoming.leaf] == "w"
    kicked = {**off, "w": off["w"].at[:, 2].set(9.0)}
    grads = jax.grad(lambda params: jnp.square(fn(params, X)).sum())(off)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    independent = np.allclose(fn(off, X), fn(kicked, X), rtol=1e-4, atol=1e-4)
    assert independent == (name in CUT_OFF)
    assert units.mixed == (name in MIXED)


@pytest.mark.parametrize("name", NOT_A_NUMBER)
def test_no_units_whose_zeros_would_be_no_numbers(name):
    """Or a reset would end the training."""
    fn, params = network(NOT_A_NUMBER[name])
    off = {**params, "o": params["o"].at[2].set(0)}
    grads = jax.grad(lambda params: jnp.square(fn(params, X)).sum())(off)
    assert not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert swr_optax.plan_rescaling(fn, params, X).units == ()


def test_one_norm_of_all_that_makes_units_mixes_them():
    """Whether it is a sum or, as of a spectral norm, a product."""

    def fn(size):
        return lambda params, x: (
            jax.nn.relu(x @ (params["w"] / size(params))) @ params["o"]
        )

    _, params = network(CUT_OFF["as it is"])
    for size in (
        lambda params: jnp.abs(params["w"]).sum(),
        lambda params: (params["w"] @ params["w"].T).max(),
    ):
        (units,) = swr_optax.plan_rescaling(fn(size), params, X).units
        assert units.mixed
