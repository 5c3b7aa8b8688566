"""Networks of many kinds: rescaling preserves their function, or their norms."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from architectures import ARCHITECTURES
from families import FAMILIES
import swr_optax


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_function_is_preserved(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats, priority="function"
    )
    assert not plan.unmet
    for fn in filter(None, (case.train, case.evaluate)):
        result = swr_optax.check(
            plan, jax.jit(fn), case.params, *case.inputs, stats=case.stats
        )
        assert result.deviation < 2e-5
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

    def growth(params):
        updates, _ = tx.update(params, tx.init(params), params)  # Doubles each weight.
        moved = optax.apply_updates(params, updates)
        return swr_optax.metrics.weight_growth(moved, params, plan)

    np.testing.assert_allclose(jax.jit(growth)(case.params), 1.75, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_can_scale_scales_and_nothing_else(name):
    family = FAMILIES[name]
    arguments = family.arguments()
    plans = {
        priority: swr_optax.plan_rescaling(
            family.forward, *arguments, priority=priority
        )
        for priority in ("norms", "function")
    }
    kept = plans["function"]
    assert not kept.unmet
    assert np.linalg.matrix_rank(kept.exponents) == family.free
    assert (
        tuple(
            leaf.path
            for leaf, row in zip(kept.leaves, kept.exponents, strict=True)
            if not row.any()
        )
        == family.still
    )
    assert bool(plans["norms"].unmet) == (len(kept.layers) > family.free)
    forward = jax.jit(family.forward)
    for plan in plans.values():
        result = swr_optax.check(plan, forward, *arguments)
        if plan.unmet:
            assert result.deviation > 1e-3
        else:
            assert result.deviation < 2e-5
            assert result.agreement == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_members_of_an_ensemble_scale_each_as_if_alone(name):
    family = FAMILIES[name]
    params, *inputs = family.arguments()
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf[::-1]]), params)

    def ensemble(params, *inputs):
        axes = (0, *[None] * len(inputs))
        outputs = jax.vmap(family.forward, axes)(params, *inputs)
        return [[output[0], output[1]] for output in jax.tree.leaves(outputs)]

    plan = swr_optax.plan_rescaling(ensemble, both, *inputs, priority="function")
    assert np.linalg.matrix_rank(plan.exponents) == 2 * family.free
    result = swr_optax.check(plan, jax.jit(ensemble), both, *inputs, trials=1)
    assert result.deviation < 2e-5


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


OF_EACH_KIND = (
    "resnet-18",
    "gpt",
    "gru",
    "mixture of experts",
    "actor-critic",
    "scanned blocks",
    "nnx cnn-bn",
    "haiku transformer",
    "equinox resnet",
)


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_theorem_2_holds_over_a_thousand_random_steps(name):
    """However updates add to the weights, no norm passes n + √B/λ."""
    case = ARCHITECTURES[name]()
    coefficient = 0.05
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    weight_norms = swr_optax.metrics.weight_norms

    rng = np.random.default_rng(0)
    leaves, structure = jax.tree.flatten(case.params)
    patterns = [jnp.asarray(rng.uniform(size=x.shape), jnp.float32) for x in leaves]
    sizes = jnp.asarray(rng.uniform(size=(1000, len(leaves))), jnp.float32)

    def step(carry, sizes):
        params, state = carry
        moves = structure.unflatten(
            0.4 * size * jnp.sign(leaf) * pattern
            for size, leaf, pattern in zip(
                sizes, jax.tree.leaves(params), patterns, strict=True
            )
        )
        moved = optax.apply_updates(params, moves)
        added = weight_norms(moved, plan) ** 2 - weight_norms(params, plan) ** 2
        updates, state = tx.update(moves, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (added, weight_norms(params, plan))

    start = (case.params, tx.init(case.params))
    _, (added, norms) = jax.jit(lambda c, xs: jax.lax.scan(step, c, xs))(start, sizes)
    limits = weight_norms(case.params, plan) + jnp.sqrt(added.max(0)) / coefficient
    assert (norms <= limits * (1 + 1e-5)).all()
    # Outward as all moves are, norms would else grow on and on.
    assert (norms[-1] > weight_norms(case.params, plan)).all()
    assert (norms[500:].max(0) < 1.3 * norms[:500].max(0)).all()


@pytest.mark.parametrize("name", ["equinox resnet", "gpt"])
def test_training_learns_and_keeps_its_norms(name):
    """Adam on a fixed batch, with SWR behind it and without."""
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    (x,) = case.inputs
    targets = jnp.roll(x, -1, axis=1) if name == "gpt" else jnp.arange(len(x))
    adam = optax.adam(1e-2)
    with_swr = optax.chain(adam, swr_optax.soft_weight_rescaling(0.01, plan))

    def train(tx):
        def step(carry, _):
            params, stats, state = carry

            def loss(params):
                if stats is None:
                    logits, new_stats = case.train(params, x), None
                else:
                    logits, new_stats = case.train(params, stats, x)
                losses = optax.softmax_cross_entropy_with_integer_labels(
                    logits, targets
                )
                return losses.mean(), new_stats

            (value, new_stats), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), new_stats, state), value

        run = jax.jit(step)
        carry, losses = (case.params, case.stats, tx.init(case.params)), []
        for _ in range(60):
            carry, value = run(carry, None)
            losses.append(float(value))
        growth = swr_optax.metrics.weight_growth(carry[0], case.params, plan)
        return losses, growth

    losses, growth = train(with_swr)
    _, plain_growth = train(adam)
    assert losses[-1] < 0.2 * losses[0]
    assert growth.max() < plain_growth.max()
    assert growth.mean() < plain_growth.mean()
    assert growth.max() < 1.5


# Outputs that are not finite, zero or empty.

W = {"w": jax.random.normal(jax.random.key(0), (4, 3))}
X = jax.random.normal(jax.random.key(1), (6, 4))
W_PLAN = swr_optax.plan_rescaling(lambda p, x: x @ p["w"], W, X)


def checked(fn, params=W):
    return swr_optax.check(W_PLAN, fn, params, X)


def test_a_nan_does_not_hide_what_else_deviates():
    bad = checked(lambda p, x: (jnp.tanh(x @ p["w"])).at[0, 0].set(jnp.nan))
    assert bad.deviation > 1e-2
    good = checked(lambda p, x: (x @ p["w"]).at[0, 0].set(jnp.nan))
    assert good.deviation < 1e-5
    assert good.agreement == 1


@pytest.mark.parametrize("number", [jnp.nan, jnp.inf, -jnp.inf])
def test_entries_that_stop_being_finite_deviate_infinitely(number):
    def fn(p, x):
        changed = jnp.linalg.norm(p["w"]) != jnp.linalg.norm(W["w"])
        return (x @ p["w"]).at[1, 2].set(jnp.where(changed, number, 1.0))

    assert checked(fn).deviation == jnp.inf


def test_infinities_of_other_signs_deviate():
    def fn(p, x):
        changed = jnp.linalg.norm(p["w"]) != jnp.linalg.norm(W["w"])
        return (x @ p["w"]).at[1, 2].set(jnp.where(changed, -jnp.inf, jnp.inf))

    assert checked(fn).deviation == jnp.inf
    masked = checked(lambda p, x: jnp.where(x[:, :3] > 0, x @ p["w"], -jnp.inf))
    assert masked.deviation < 1e-5


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_sixteen_bits_deviate_by_their_rounding_or_overflow(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), W)

    def fn(p, x):
        return x.astype(dtype) @ p["w"]

    assert checked(fn, params).deviation < 4 * jnp.finfo(dtype).eps
    if dtype == jnp.float16:
        largest = jnp.abs(fn(params, X)).max()
        near = jax.tree.map(lambda p: p * (60_000 / largest).astype(dtype), params)
        assert jnp.isfinite(fn(near, X)).all()
        assert checked(fn, near).deviation == jnp.inf


def test_an_output_that_was_never_finite_is_refused():
    with pytest.raises(ValueError, match="fn returns no finite entry in output"):
        checked(lambda p, x: x @ p["w"] * jnp.nan)


def test_outputs_of_zeros_or_nothing():
    assert checked(lambda p, x: x @ p["w"] * 0) == (0.0, 1.0)
    assert checked(lambda p, x: (x @ p["w"])[:0]) == (0.0, 1.0)
    assert checked(lambda p, x: (x @ p["w"])[:, :0]) == (0.0, 1.0)

    def grows(p, x):
        return x @ (p["w"] - W["w"])

    assert checked(grows).deviation == jnp.inf


def test_random_keys_among_the_outputs_are_compared():
    def fn(p, x, key):
        key, noise = jax.random.split(key)
        kept = jax.random.bernoulli(noise, 0.5, x.shape)
        return (x * kept) @ p["w"], key

    key = jax.random.key(3)
    plan = swr_optax.plan_rescaling(fn, W, X, key)
    found = swr_optax.check(plan, fn, W, X, key)
    assert found.deviation < 1e-5
    assert found.agreement == 1


def test_an_object_that_changes_as_it_runs_is_run_on_a_copy():
    """In nnx dropout counts its calls and BatchNorm moves, in what it is given."""

    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.hidden = nnx.Linear(4, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            x = self.dropout(nnx.relu(self.norm(self.hidden(x))))
            return self.out(x)

    graph, params, rest = nnx.split(Net(), nnx.Param, ...)

    def fn(params, rest, x):
        net = nnx.merge(graph, params, rest)
        return net(x), nnx.state(net, nnx.Not(nnx.Param))

    before = jax.tree.map(jnp.copy, rest)
    plan = swr_optax.plan_rescaling(fn, params, X, stats=rest)
    assert swr_optax.check(plan, fn, params, X, stats=rest).deviation < 1e-4
    for found, kept in zip(*map(jax.tree.leaves, (rest, before)), strict=True):
        assert (found == kept).all()


def test_trials_must_be_positive():
    with pytest.raises(ValueError, match="trials must be at least 1, not 0"):
        swr_optax.check(W_PLAN, lambda p, x: x @ p["w"], W, X, trials=0)
