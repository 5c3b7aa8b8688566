"""Each method does what its source says, when it says; and all of them run."""

import chex
import jax
import numpy as np
import optax
import pytest

from experiments.data import load_dataset
from experiments.errors import UserError
from experiments.methods import METHODS, Setting
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import run_protocol
from experiments.protocols.stages import PROTOCOLS
from experiments.training.checkpoint import Checkpoints
from networks import network
import paper_rules

DROPS = (2, 4)
DECAY = optax.piecewise_constant_schedule(1.0, dict.fromkeys(DROPS, 0.1))


def setting(net, coefficient):
    return Setting(
        coefficient=coefficient,
        learning_rate=1e-3,
        seed=0,
        plan=net.plan(),
        function_plan=lambda: net.plan(priority="function"),
        kept_plan=lambda: net.plan(priority="function", keep_outputs=["output"]),
        init=lambda _: net.params,
        decay=DECAY,
        drops=DROPS,
    )


def changed(name, coefficient=0.25):
    """Parameters before, after a change of data, and initially, as NumPy arrays."""
    net = network("mlp")
    initial = network("mlp", seed=1).params
    after = METHODS[name].at_change(
        net.params, initial, setting(net, coefficient), None
    )
    return map(paper_rules.flat, (net.params, after, initial))


def test_only_some_act_at_a_change_of_data():
    acting = [name for name, method in METHODS.items() if method.at_change is not None]
    assert acting == [
        *("shrink_and_perturb", "head_reset", "full_reset", "fire", "dash")
    ]


def test_shrink_and_perturb_goes_a_part_of_the_way_back():
    before, after, initial = changed("shrink_and_perturb")
    for path, value in after.items():
        expected = 0.75 * before[path] + 0.25 * initial[path]
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-8)


def test_head_reset_returns_the_last_layer_alone():
    before, after, initial = changed("head_reset")
    for path, value in after.items():
        source = initial if path.startswith("Dense_2/") else before
        np.testing.assert_array_equal(value, source[path])


def test_head_reset_of_a_convolutional_network_returns_all_dense_layers():
    net, initial = network("cnn"), network("cnn", seed=1).params
    after = METHODS["head_reset"].at_change(
        net.params, initial, setting(net, 0.0), None
    )
    for path, value in paper_rules.flat(after).items():
        source = initial if path.startswith("Dense_") else net.params
        np.testing.assert_array_equal(value, paper_rules.flat(source)[path])


def test_full_reset_returns_everything():
    _, after, initial = changed("full_reset")
    chex.assert_trees_all_equal(after, initial)


def test_the_penalty_of_l2_has_the_parameters_as_its_gradient():
    net = network("mlp")
    value, pull = jax.value_and_grad(METHODS["l2"].penalty)(
        net.params, setting(net, 0.3)
    )
    params = paper_rules.flat(net.params)
    squares = sum(np.sum(leaf**2) for leaf in params.values())
    np.testing.assert_allclose(value, 0.3 / 2 * squares, rtol=1e-5)
    for path, leaf in paper_rules.flat(pull).items():
        np.testing.assert_allclose(leaf, 0.3 * params[path], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"l2"}))
def test_no_other_method_has_a_penalty(name):
    net = network("mlp")
    assert METHODS[name].penalty(net.params, setting(net, 0.3)) == 0


def test_l2_init_pulls_back_before_the_optimizer():
    """Adam's first step is a sign, so a pull behind it would look different."""
    net, initial = network("mlp"), network("mlp", seed=1).params
    tx = METHODS["l2_init"].optimizer(optax.adam(1e-3), setting(net, 0.3))
    grads = jax.tree.map(lambda p: 0.01 * jax.numpy.cos(100 * p), net.params)
    updates, _ = tx.update(grads, tx.init(initial), net.params)
    params, initial, grads = map(paper_rules.flat, (net.params, initial, grads))
    for path, update in paper_rules.flat(updates).items():
        total = grads[path] + 0.3 * (params[path] - initial[path])
        expected = -1e-3 * total / (np.abs(total) + 1e-8)
        np.testing.assert_allclose(update, expected, rtol=1e-3, atol=1e-7)


def walk(name, coefficient, model="mlp", steps=6):
    """A made-up training with SGD; parameters before it and after each step."""
    net = network(model)
    rate = optax.scale_by_schedule(lambda step: -0.1 * DECAY(step))
    tx = METHODS[name].optimizer(rate, setting(net, coefficient))
    params, state = net.params, tx.init(net.params)
    seen = [paper_rules.flat(params)]
    for step in range(steps):
        updates, state = tx.update(_grads(params, step), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(paper_rules.flat(params))
    return net, seen


def _grads(params, step):
    return jax.tree.map(lambda p: -p + 0.1 * jax.numpy.sin(50 * p + step), params)


def by_the_paper(net, coefficients, *, resets=(), follows=False, steps=6):
    """The same in NumPy, layer after layer."""
    params = net.params
    references = paper_rules.norms(paper_rules.flat(params), net.layers)
    seen = [paper_rules.flat(params)]
    for step in range(steps):
        fraction = float(np.prod([0.1 for drop in DROPS if step >= drop]))
        arrays = paper_rules.flat(params)
        if step in resets:
            references = paper_rules.norms(arrays, net.layers)
        grads = paper_rules.flat(_grads(params, step))
        arrays = {path: arrays[path] - 0.1 * fraction * grads[path] for path in arrays}
        now = [c * fraction if follows else c for c in coefficients]
        c = paper_rules.scalers(arrays, net.layers, references, now)
        arrays, _ = paper_rules.scale(arrays, net.layers, c)
        seen.append(arrays)
        leaves = [arrays[path] for path in sorted(arrays)]  # As JAX has them.
        params = jax.tree.unflatten(
            jax.tree.structure(params), [np.float32(leaf) for leaf in leaves]
        )
    return seen


@pytest.mark.parametrize(
    ("name", "coefficient", "model", "rules"),
    [
        ("swr", 0.3, "mlp", {"coefficients": [0.3] * 3}),
        ("swr", 0.3, "cnn", {"coefficients": [0.3] * 4}),
        (
            "swr_two",
            {"feature": 0.1, "classifier": 0.5},
            "mlp",
            {"coefficients": [0.1, 0.1, 0.5]},
        ),
        (
            "swr_two",
            {"feature": 0.1, "classifier": 0.5},
            "cnn",
            {"coefficients": [0.1, 0.1, 0.5, 0.5]},
        ),
        ("swr_reinit", 0.3, "mlp", {"coefficients": [0.3] * 3, "resets": DROPS}),
        ("swr_follow", 0.3, "mlp", {"coefficients": [0.3] * 3, "follows": True}),
        ("hard_projection", 0.0, "mlp", {"coefficients": [1.0] * 3}),
    ],
)
def test_swr_and_its_variants_walk_as_the_paper_says(name, coefficient, model, rules):
    net, seen = walk(name, coefficient, model)
    for found, expected in zip(seen, by_the_paper(net, **rules), strict=True):
        for path, leaf in expected.items():
            np.testing.assert_allclose(found[path], leaf, rtol=2e-4, atol=2e-6)


def test_hard_projection_keeps_every_norm():
    net, seen = walk("hard_projection", 0.0)
    start = paper_rules.norms(seen[0], net.layers)
    for arrays in seen[1:]:
        norms = paper_rules.norms(arrays, net.layers)
        np.testing.assert_allclose(norms, start, rtol=1e-5)
    free = paper_rules.norms(walk("vanilla", 0.0)[1][-1], net.layers)
    assert (np.abs(np.array(free) / start - 1) > 0.1).all()


BLIND = [name for name, method in METHODS.items() if not method.observes_units]


@pytest.mark.parametrize("name", BLIND)
def test_running_statistics_follow_whatever_rescales(name):
    net = network("cnn_bn")
    several = METHODS[name].coefficients
    given = setting(net, dict.fromkeys(several, 0.5) if several else 0.5)
    tx = METHODS[name].optimizer(optax.sgd(1.0), given)
    grads = jax.tree.map(lambda p: -p, net.params)
    _, state = tx.update(grads, tx.init(net.params), net.params)
    stats = jax.tree.map(lambda leaf: leaf + 1, net.stats)
    found = METHODS[name].statistics(stats, state, given)
    factors = jax.tree.map(lambda new, old: float((new / old).mean()), found, stats)
    # The step doubled each norm: λ = 0.5 takes it to three quarters of that.
    c = 1.0
    if name.startswith("swr") or name == "hard_projection":
        c = 0.5 if name == "hard_projection" else 0.75
    # In front of the second are its convolution and the first's γ.
    for module, front in (("BatchNorm_0", c), ("BatchNorm_1", c**2)):
        np.testing.assert_allclose(factors[module]["mean"], front, rtol=1e-5)
        np.testing.assert_allclose(factors[module]["var"], front**2, rtol=1e-5)


def fitting(protocol):
    """Methods that a configuration of the protocol accepts."""

    def fits(method):
        try:
            Config(protocol=protocol, methods=(method,))
        except UserError:
            return False
        return True

    return tuple(filter(fits, METHODS))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_methods_fit_where_there_is_something_for_them_to_do(protocol):
    expected = set(METHODS) - {"fresh"}  # Which is for streams.
    if protocol != "warm-start":
        expected -= {"scratch"}
    if PROTOCOLS[protocol].stages == 1:
        expected -= set(AT_CHANGES)
    if protocol in ("proportionality", "balancedness"):  # Of what is trained.
        expected -= {"hare_and_tortoise"}
    if protocol == "balancedness":  # Of dense layers alone.
        expected -= {"layer_norm"}
    if protocol != "single-task-decay":
        expected -= set(AT_FALLS)
    assert set(fitting(protocol)) == expected


# All that fit where protocols differ for a method: one change of data, many, and drops
# of the learning rate; elsewhere enough to know that the protocol runs. The library's
# other remedies run in test_remedies.py.
AT_CHANGES = ("shrink_and_perturb", "head_reset", "full_reset", "fire", "dash")
PENALISED = ("vanilla", "l2", "l2_init", "swr", "swr_two")
AT_FALLS = ("swr_reinit", "swr_follow")
RUN = {
    "warm-start": (*PENALISED, "scratch", *AT_CHANGES, "hard_projection"),
    "continual-full": ("head_reset", "swr"),
    "continual-limited": ("vanilla", "swr", "head_reset", "full_reset"),
    "single-task-decay": (*PENALISED, *AT_FALLS, "hard_projection"),
    "balancedness": ("vanilla", "swr"),
}


COEFFICIENTS = {
    "l2": 0.01,
    "l2_init": 0.01,
    "shrink_and_perturb": 0.5,
    "swr": 0.3,
    "swr_two": {"feature": 0.1, "classifier": 0.5},
    "swr_reinit": 0.3,
    "swr_follow": 0.3,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Records of real runs on a few digits, by protocol and method."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = load_dataset("digits").subset(120, 60)
    found = {}
    for protocol, methods in RUN.items():
        config = Config(
            protocol=protocol,
            methods=methods,
            coefficients={m: COEFFICIENTS[m] for m in methods if m in COEFFICIENTS},
            epochs=4 if PROTOCOLS[protocol].stages == 1 else 1,
            seeds=1,
            batch_size=32,
            learning_rate=3e-3,
        )
        checkpoints = Checkpoints(folder / protocol, "")
        records = run_protocol(config, dataset, lambda *_: None, checkpoints)
        for method in methods:
            found[protocol, method] = [r for r in records if r.method == method]
    return found


def growths(records):
    return np.array([list(record.growth.values()) for record in records])


def test_every_method_trains_in_every_stage(results):
    for (protocol, method), records in results.items():
        stages = sorted({record.stage for record in records})
        last = PROTOCOLS[protocol].stages
        first = last if METHODS[method].last_stage_only else 1
        assert stages == list(range(first, last + 1)), (protocol, method)
        assert np.isfinite([r.train_loss for r in records if r.epoch]).all()


@pytest.mark.parametrize("protocol", ["warm-start", "single-task-decay"])
def test_what_penalises_or_rescales_holds_norms_down(results, protocol):
    free = growths(results[protocol, "vanilla"])[-1].mean()
    falls = AT_FALLS if protocol == "single-task-decay" else ()
    for method in (*PENALISED[1:], *falls):
        assert growths(results[protocol, method])[-1].mean() < free, method


@pytest.mark.parametrize("protocol", ["warm-start", "single-task-decay"])
def test_hard_projection_keeps_norms_through_a_run(results, protocol):
    found = growths(results[protocol, "hard_projection"])
    np.testing.assert_allclose(found, 1.0, rtol=1e-5)


@pytest.mark.parametrize("protocol", ["warm-start", "continual-limited"])
def test_resets_act_at_changes_of_data(results, protocol):
    """Epoch 0 of a stage is measured after the reset and before any training."""
    for record in results[protocol, "full_reset"]:
        assert (growths([record]) == 1).all() == (record.epoch == 0)
    for record in results[protocol, "head_reset"]:
        *rest, head = growths([record])[0]
        assert (head == 1) == (record.epoch == 0)
        assert 1 not in rest
    before = None
    for record in results[protocol, "vanilla"]:
        if record.epoch == 0:
            assert record.growth == before.growth
            assert record.test_accuracy == before.test_accuracy
        before = record


def test_variants_differ_where_the_learning_rate_falls_and_only_there(results):
    def losses(name, epochs=4):
        records = results["single-task-decay", name]
        return [r.train_loss for r in records if r.epoch <= epochs]

    for name in AT_FALLS:
        # Of four epochs the second is the last before the first drop.
        assert losses(name, 2) == losses("swr", 2)
        assert losses(name) != losses("swr")
