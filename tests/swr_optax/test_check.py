"""Networks of many kinds: rescaling preserves their function, or their norms."""

from architectures import ARCHITECTURES
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swr_optax


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_function_is_preserved(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats, priority="function"
    )
    assert not plan.unmet
    for fn in filter(None, (case.train, case.evaluate)):
        result = swr_optax.check(plan, fn, case.params, *case.inputs, stats=case.stats)
        assert result.deviation < 1e-5
        assert result.agreement == 1
    assert {leaf.role for leaf in plan.leaves} <= {"weight", "shift", "statistic"}
    # Not by leaving everything alone: the scalers do what they can.
    assert np.linalg.matrix_rank(plan.exponents) > 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_norms_move_by_exactly_the_papers_fraction(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    tx = swr_optax.soft_weight_rescaling(0.25, plan)
    state = tx.init(case.params)
    updates, _ = tx.update(case.params, state, case.params)  # Doubles every weight.
    found = swr_optax.metrics.weight_growth(
        jax.tree.map(jnp.add, case.params, updates), case.params, plan
    )
    np.testing.assert_allclose(found, 1.75, rtol=1e-5)


def test_what_is_unmet_deviates():
    case = ARCHITECTURES["mixer"]()
    plan = swr_optax.plan_rescaling(case.train, case.params, *case.inputs)
    assert plan.unmet
    result = swr_optax.check(plan, case.train, case.params, *case.inputs)
    assert result.deviation > 1e-3


def test_where_both_promises_can_be_kept_they_coincide():
    for name in ("vgg-16", "nnx cnn-bn", "haiku mlp", "equinox mlp", "actor-critic"):
        case = ARCHITECTURES[name]()
        norms, function = (
            swr_optax.plan_rescaling(
                case.train, case.params, *case.inputs, stats=case.stats, priority=p
            )
            for p in ("norms", "function")
        )
        np.testing.assert_allclose(norms.exponents, function.exponents, atol=1e-9)


def test_a_kept_output_stays_what_it_is():
    case = ARCHITECTURES["actor-critic"]()
    plan = swr_optax.plan_rescaling(
        case.train,
        case.params,
        *case.inputs,
        priority="function",
        keep_outputs=["value"],
    )
    assert plan.outputs == ("policy", "value")
    assert not plan.output_exponents[1].any()
    assert plan.output_exponents[0].any()
    assert "output value × 1: it stays" in str(plan)
    assert swr_optax.check(plan, case.train, case.params, *case.inputs).deviation < 1e-5


def test_an_unknown_output_is_named():
    case = ARCHITECTURES["actor-critic"]()
    with pytest.raises(ValueError, match="'reward', but fn returns policy, value"):
        swr_optax.plan_rescaling(
            case.train, case.params, *case.inputs, keep_outputs=["reward"]
        )


def test_another_fn_is_refused():
    case = ARCHITECTURES["actor-critic"]()
    plan = swr_optax.plan_rescaling(case.train, case.params, *case.inputs)
    with pytest.raises(ValueError, match="fn returns output, but the plan was"):
        swr_optax.check(
            plan, lambda p, x: case.train(p, x)["value"], case.params, *case.inputs
        )


def test_tied_weights_are_one_layer():
    case = ARCHITECTURES["gpt"]()
    plan = swr_optax.plan_rescaling(case.train, case.params, *case.inputs)
    assert plan.layers[0].path == "Embed_0/embedding"
    assert [layer.path for layer in plan.layers].count("Embed_0/embedding") == 1
    roles = {leaf.path: leaf.role for leaf in plan.leaves}
    assert roles["Embed_1/embedding"] == "shift"  # The positions, which are added.
