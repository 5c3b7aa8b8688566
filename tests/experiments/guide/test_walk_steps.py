"""The walk in steps is the planner's walk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.guide.gallery import EXAMPLES, VECTORS, shape
from experiments.guide.walk_steps import walk_steps
import swr_optax
from swr_optax.planning._constraints import solve_exponents


@pytest.mark.parametrize("name", ["residual_mlp", "gelu_mlp"])
@pytest.mark.parametrize("priority", ["norms", "function"])
def test_its_constraints_give_the_plan(name, priority):
    fn, params = EXAMPLES[name]
    plan = swr_optax.plan_rescaling(fn, params, VECTORS, priority=priority)
    walk, steps = walk_steps(fn, params, VECTORS)
    rows = [row.row for step in steps for row in step.requirements]
    assert tuple(walk.weights) == plan.weights
    found = solve_exponents(np.array(rows), walk.weights, priority)
    np.testing.assert_allclose(found, plan.exponents, atol=1e-12)
    np.testing.assert_allclose(
        steps[-1].degree @ found, plan.output_exponents[0], atol=1e-12
    )


def test_each_equation_has_its_text_degree_and_demands():
    def fn(params, x):
        return jax.nn.relu(x @ params["w"] + params["b"]) ** 2 / 8

    params = {"b": shape(3), "w": shape(20, 3)}
    _, steps = walk_steps(fn, params, VECTORS)
    assert [(step.equation, step.degree.tolist()) for step in steps] == [
        ("a = dot_general x w", [0, 1]),
        ("b = broadcast_in_dim b", [1, 0]),
        ("c = add a b", [0, 1]),
        ("d = max c 0", [0, 1]),
        ("e = integer_pow[2] d", [0, 2]),
        ("f = div e 8", [0, 2]),
    ]
    demands = [(step.result, len(step.requirements)) for step in steps]
    assert [result for result, count in demands if count] == ["c"]
    (requirement,) = steps[2].requirements
    assert requirement.row.tolist() == [-1, 1]


def test_degrees_say_how_values_scale():
    """Scaled by any s that meets the constraints, the output follows its degree."""
    fn, shapes = EXAMPLES["residual_mlp"]
    _, steps = walk_steps(fn, shapes, VECTORS)
    rows = np.array([row.row for step in steps for row in step.requirements])
    s = np.random.default_rng(1).normal(size=rows.shape[1])
    s -= np.linalg.pinv(rows) @ rows @ s
    keys = jax.random.split(jax.random.key(0), 7)
    params = type(shapes)(
        *(jax.random.normal(k, w.shape) for k, w in zip(keys, shapes, strict=False))
    )
    scaled = type(shapes)(*(w * jnp.exp(a) for w, a in zip(params, s, strict=True)))
    x = jax.random.normal(keys[-1], VECTORS.shape)
    constant = np.exp(steps[-1].degree @ s)
    np.testing.assert_allclose(fn(scaled, x), constant * fn(params, x), rtol=1e-4)
    assert abs(np.log(constant)) > 0.1
