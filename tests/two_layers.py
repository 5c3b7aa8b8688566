"""Two dense layers with a ReLU between them, and what tests do with them."""

import jax
import jax.numpy as jnp
import numpy as np

import swr_optax


def two_layers(seed=0, inputs=5, hidden=7, outputs=3):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "first": {
            "w": jax.random.normal(keys[0], (inputs, hidden)),
            "b": jax.random.normal(keys[1], (hidden,)),
        },
        "second": {
            "w": jax.random.normal(keys[2], (hidden, outputs)),
            "b": jax.random.normal(keys[3], (outputs,)),
        },
    }
    return params, make_plan(params)


def forward(params, x):
    x = jax.nn.relu(x @ params["first"]["w"] + params["first"]["b"])
    return x @ params["second"]["w"] + params["second"]["b"]


def make_plan(params, **options):
    x = jnp.ones((2, params["first"]["w"].shape[0]))
    return swr_optax.plan_rescaling(forward, params, x, **options)


def randomly(params, seed=1, size=0.1):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return structure.unflatten(
        [
            size * jax.random.normal(key, leaf.shape, leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
    )


def norms_of(params):
    return np.array(
        [np.linalg.norm(np.asarray(params[k]["w"])) for k in ("first", "second")]
    )
