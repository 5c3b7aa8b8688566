"""What plans promise, on random programs and on programs that broke a promise once.

``python tests/promises.py`` runs the random ones in any number.
"""

import equinox as eqx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

import random_programs
import rescaling_oracle
from rescaling_oracle import Network
import swr_optax

SEED, RANGES, LENGTH = 9, 15, 20


@pytest.mark.parametrize("first", range(0, RANGES * LENGTH, LENGTH))
def test_random_programs_break_no_promise(first):
    broken, skipped = [], 0
    for number in range(first, first + LENGTH):
        program = random_programs.draw(SEED, number)
        verdict = rescaling_oracle.judge(program)
        skipped += bool(verdict.skipped)
        broken += [(program, found) for found in verdict.broken]
    tries = 100  # Of shrinking: only the first is shown small.
    shown = []
    for program, found in broken:
        shown.append(rescaling_oracle.describe(program, found, tries))
        tries = 0
    assert not broken, "\n" + "\n".join(shown)
    assert skipped <= LENGTH / 2


# Programs that broke a promise once.


def numbers(**shapes):
    """Random parameters or inputs of good size."""
    rng = np.random.default_rng(5)
    return {
        name: jnp.asarray(rng.uniform(0.3, 1.2, shape) * rng.choice([-1, 1], shape))
        for name, shape in shapes.items()
    }


@pytest.fixture(autouse=True)
def _long_numbers():
    with jax.enable_x64(True):
        yield


def kept(fn, params, *inputs):
    """Plans of both priorities, after all that they promise was found to hold."""
    flat = {
        "/".join(str(key.key) for key in path): leaf
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    structure = jax.tree.structure(params)

    def of_paths(leaves, inputs):
        return fn(structure.unflatten(leaves[path] for path in flat), *inputs)

    network = Network(of_paths, flat, inputs)
    old = network(flat, inputs)
    plans = [
        swr_optax.plan_rescaling(fn, params, *inputs, priority=priority)
        for priority in ("norms", "function")
    ]
    broken = [
        found
        for plan in plans
        for found in rescaling_oracle.broken_by_plan(plan, network, (flat, inputs), old)
    ]
    broken += rescaling_oracle.leaves_without_role(
        plans[0], network, (flat, inputs), old
    )
    assert not broken
    for plan in plans:  # What is called approximate is so by little.
        if plan.approximations and not plan.unmet:
            found, _ = rescaling_oracle.deviation(
                plan, network, (flat, inputs), old, seed=0
            )
            assert found < 0.02
    return plans


def exact(fn, params, *inputs):
    """The same, and that ``"function"`` leaves nothing unmet or approximate."""
    norms, function = kept(fn, params, *inputs)
    assert not function.unmet
    assert not function.approximations
    return norms, function


def roles(plan):
    return {leaf.name: leaf.role for leaf in plan.leaves}


with jax.enable_x64(True):
    X = numbers(x=(6, 4))["x"]
LAYERS = {"w": (4, 5), "b": (5,), "v": (5, 3)}


# 1. Complex numbers.


def test_real_and_imaginary_parts_share_a_scale():
    def fn(p, x):
        return jnp.abs(x @ p["re"] + 1j * (x @ p["im"])) @ p["v"]

    norms, function = exact(fn, numbers(re=(4, 5), im=(4, 5), v=(5, 3)), X)
    assert norms.unmet
    index = function.leaf_paths.index
    np.testing.assert_allclose(
        function.exponents[index("re")], function.exponents[index("im")]
    )


def test_adding_an_imaginary_number_is_adding_a_number():
    def fn(p, x):
        return jnp.abs(x @ p["w"] + 2j) @ p["v"]

    norms, function = exact(fn, numbers(w=(4, 5), v=(5, 3)), X)
    assert norms.unmet
    assert not function.exponents[function.leaf_paths.index("w")].any()


# 2. Parameters that data select.


def heads(p, x, t):
    return jax.nn.relu(x @ p["w"] + p["b"]) @ p["heads"][t] + p["hb"][t]


HEADS = {"w": (4, 5), "b": (5,), "heads": (2, 5, 3), "hb": (2, 3)}


def test_a_head_chosen_by_an_index_is_a_weight():
    norms, _ = exact(heads, numbers(**HEADS), X, jnp.asarray(1))
    found = roles(norms)
    assert found["w"] == found["heads"] == "weight"
    assert found["b"] == "shift"
    assert found["hb"] in ("shift", "weight")


def test_a_head_for_each_example_has_the_same_plan():
    def each(p, x, t):
        return jax.vmap(heads, (None, 0, 0))(p, x, t)

    params = numbers(**HEADS)
    one, _ = kept(heads, params, X, jnp.asarray(1))
    many, _ = kept(each, params, X, jnp.asarray([0, 1, 0, 1, 1, 0]))
    assert not rescaling_oracle.difference(
        rescaling_oracle.facts(one), rescaling_oracle.facts(many)
    )


def test_a_row_of_a_table_is_a_weight():
    def fn(p, t):
        return jax.nn.relu(p["table"][t]) @ p["v"]

    norms, _ = exact(fn, numbers(table=(6, 5), v=(5, 3)), jnp.asarray(2))
    assert roles(norms) == {"table": "weight", "v": "weight"}


def test_a_masked_weight_is_a_weight():
    def fn(p, mask, x):
        return jax.nn.relu(x @ jnp.where(mask, p["w"], 0) + p["b"]) @ p["v"]

    mask = jnp.asarray(np.random.default_rng(0).random((4, 5)) < 0.5)
    norms, _ = exact(fn, numbers(**LAYERS), mask, X)
    assert roles(norms) == {"w": "weight", "b": "shift", "v": "weight"}
    assert not norms.unmet


def test_one_of_two_weights_chosen_by_data():
    def fn(p, task, x):
        return x @ jnp.where(task == 0, p["w"], p["a"]) @ p["v"]

    params = numbers(w=(4, 5), a=(4, 5), v=(5, 3))
    norms, function = exact(fn, params, jnp.asarray(0), X)
    assert roles(norms) == {"w": "weight", "a": "weight", "v": "weight"}
    assert norms.unmet
    assert function.output_exponents.any()


def test_a_barrier_does_not_hide_a_weight():
    def fn(p, x):
        w, x = lax.optimization_barrier((p["w"], x))
        return jax.nn.relu(x @ w + p["b"]) @ p["v"]

    norms, _ = exact(fn, numbers(**LAYERS), X)
    assert roles(norms) == {"w": "weight", "b": "shift", "v": "weight"}
    assert not norms.unmet


# 3. Branches.


def test_a_branch_between_two_weights():
    def fn(p, flag, x):
        w = lax.cond(flag, lambda: p["w"], lambda: p["a"])
        return x @ w @ p["v"]

    params = numbers(w=(4, 5), a=(4, 5), v=(5, 3))
    norms, _ = exact(fn, params, jnp.asarray(True), X)
    assert roles(norms) == {"w": "weight", "a": "weight", "v": "weight"}
    assert norms.unmet


def test_a_switch_between_three_shifts():
    def fn(p, t, x):
        shifts = [lambda: p["b"], lambda: p["c"], lambda: p["d"]]
        return (x @ p["w"] + lax.switch(t, shifts)) @ p["v"]

    params = numbers(**LAYERS, c=(5,), d=(5,))
    norms, _ = exact(fn, params, jnp.asarray(1), X)
    assert roles(norms) == {
        "w": "weight",
        "v": "weight",
        "b": "shift",
        "c": "shift",
        "d": "shift",
    }


# 4. Constants, however they are made.

CONSTANTS = {
    "negated exponent": lambda h: jnp.abs(h) ** -jnp.asarray(1.5),
    "absolute exponent": lambda h: h ** jnp.abs(jnp.asarray(-2)),
    "summed exponents": lambda h: jnp.abs(h) ** jnp.cumsum(jnp.ones(5)),
    "imaginary part": lambda h: h + jnp.imag(2j),
    "sum of small numbers": lambda h: h + jnp.full(10000, 0.01).sum(),
    "sorted": lambda h: h + jnp.sort(jnp.arange(5.0)),
    "sorted with others": lambda h: lax.sort((jnp.zeros_like(h), h))[1] + 1,
    "put on a device": lambda h: jax.device_put((jnp.zeros(5), h))[1] + 1,
    "barrier": lambda h: lax.optimization_barrier((jnp.zeros(5), h))[1] + 1,
    "barrier, one": lambda h: h + lax.optimization_barrier((jnp.ones(5), h))[0],
    "product": lambda h: h + jnp.prod(jnp.full(3, 2.0)),
    "Fourier": lambda h: h + jnp.fft.fft(jnp.ones(5)).real,
    "updated": lambda h: h + jnp.zeros(5).at[2].set(1.0),
    "transposed reduction": lambda h: h + lax.rsqrt(jnp.asarray(1e8)) * 1e4,
    "in a loop": lambda h: h + lax.fori_loop(0, 3, lambda _, k: k + 1.0, 0.0),
    "in a branch": lambda h: h + lax.cond(h.sum() > 0, lambda: 1.0, lambda: 2.0),
    "exponent in a branch": lambda h: (
        jnp.abs(h) ** lax.cond(h.sum() > 0, lambda: 1.0, lambda: 2.0)
    ),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_have_a_scale(name):
    def fn(p, x):
        return CONSTANTS[name](x @ p["w"]) @ p["v"]

    exact(fn, numbers(w=(4, 5), v=(5, 3)), X)


@pytest.mark.parametrize("function", [jnp.tanh, jnp.square])
def test_a_function_applied_at_an_index(function):
    def fn(p, x):
        return (x @ p["w"]).at[1].apply(function) @ p["v"]

    kept(fn, numbers(w=(4, 5), v=(5, 3)), X)


# 5. Loops.


def test_a_delay_line_of_three():
    def fn(p, x):
        def body(state):
            k, a, b, c, _ = state
            return k + 1, a, a, b, c

        zero = jnp.zeros((6, 5))
        state = (0, x @ p["w"], zero, zero, zero + x @ p["u"])
        state = lax.while_loop(lambda s: s[0] < x.shape[0], body, state)
        return (state[4] + x @ p["u"]) @ p["v"]

    norms, _ = exact(fn, numbers(w=(4, 5), u=(4, 5), v=(5, 3)), X)
    assert norms.unmet


def test_a_delay_line_of_zeros():
    def fn(p, x):
        def body(state):
            k, a, b, c, _ = state
            return k + 1, a, a, b, c

        zero = jnp.zeros((6, 5))
        state = lax.while_loop(
            lambda s: s[0] < x.shape[0], body, (0, x @ p["w"], zero, zero, zero)
        )
        return (state[4] + 1.0) @ p["v"]

    norms, _ = exact(fn, numbers(w=(4, 5), v=(5, 3)), X)
    assert norms.unmet


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_counter_as_an_exponent(start):
    def fn(p, x):
        def body(state):
            k, h = state
            return k + 1.0, jnp.abs(h) ** k

        h = jnp.abs(x @ p["w"])
        return lax.while_loop(lambda s: s[0] < 3.0, body, (start, h))[1] @ p["v"]

    norms, _ = exact(fn, numbers(w=(4, 5), v=(5, 3)), X)
    assert norms.unmet


# 6. Looking up outside.


@pytest.mark.parametrize("fill", [0.0, 1.0, 3.0])
def test_what_is_looked_up_outside_is_filled(fill):
    def fn(p, i, x):
        h = x @ p["w"]
        return h.at[i].get(mode="fill", fill_value=fill) @ p["v"]

    norms, _ = exact(fn, numbers(w=(4, 5), v=(5, 3)), jnp.asarray([1, 9, 3]), X)
    assert bool(norms.unmet) == (fill != 0)


# 7. Small numbers.


def test_a_number_as_small_as_what_it_is_added_to_is_no_epsilon():
    def fn(p, x):
        h = x @ p["w"]
        return h / (jnp.abs(h) * 1e-3 + 0.01) @ p["v"]

    kept(fn, numbers(w=(4, 5), v=(5, 3)), X)


def test_a_threshold_is_no_epsilon():
    def fn(p, x):
        h = x @ p["w"]
        h = lax.while_loop(lambda h: jnp.abs(h).max() > 0.01, lambda h: h * 0.5, h)
        return h @ p["v"]

    kept(fn, numbers(w=(4, 5), v=(5, 3)), X)


def test_a_small_comparison_is_no_epsilon():
    def fn(p, x):
        h = x @ p["w"] * 0.01
        return jnp.where(h > 0.005, h, -h) @ p["v"]

    kept(fn, numbers(w=(4, 5), v=(5, 3)), X)


# 8. What is not a number.


def broken_plan():
    """A plan that is wrong for the function given with it, and arrays for both."""
    params, x = numbers(**LAYERS), X

    def right(p, x):
        return (x @ p["w"] + p["b"]) @ p["v"]

    def wrong(p, x):
        return (x @ p["w"] + p["b"] + 1.0) @ p["v"]

    return swr_optax.plan_rescaling(right, params, x), wrong, params, x


def test_check_sees_a_broken_plan_behind_a_missing_pixel():
    plan, wrong, params, x = broken_plan()
    assert swr_optax.check(plan, wrong, params, x).deviation > 1e-3
    result = swr_optax.check(plan, wrong, params, x.at[0, 0].set(jnp.nan))
    assert not result.deviation < 1e-3


def test_check_sees_an_overflow():
    """60 000 is the output, and float16 ends at 65 504."""
    params = {"w": jnp.full((4, 5), 50.0, jnp.float16)}
    params["v"] = jnp.full((5, 3), 60.0, jnp.float16)

    def fn(p, x):
        return x @ p["w"] @ p["v"]

    x = jnp.ones((6, 4), jnp.float16)
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert swr_optax.check(plan, fn, params, x).deviation == np.inf
    with pytest.raises(ValueError, match="no finite entry in output"):
        swr_optax.check(plan, fn, params, 2 * x)


# 9. Grouped convolutions.


def test_a_grouped_convolution_is_one_layer():
    conv = eqx.nn.Conv2d(4, 8, 3, groups=2, key=jax.random.key(0))
    weights, static = eqx.partition(conv, eqx.is_inexact_array)
    params = {"weight": weights.weight, "bias": weights.bias}

    def fn(p, images):
        layer = eqx.tree_at(
            lambda c: (c.weight, c.bias), weights, (p["weight"], p["bias"])
        )
        return jax.vmap(eqx.combine(layer, static))(images)

    images = numbers(x=(2, 4, 6, 6))["x"]
    norms, _ = exact(fn, params, images)
    assert [layer.name for layer in norms.layers] == ["weight"]
    assert not norms.unmet


# 10. Looking on.


@pytest.mark.parametrize("look", ["print", "callback"])
def test_looking_changes_nothing(look):
    def fn(p, x, looks):
        h = jax.nn.relu(x @ p["w"] + p["b"])
        if looks and look == "print":
            jax.debug.print("{}", h)
        elif looks:
            jax.debug.callback(lambda _: None, h)
        return h @ p["v"]

    params = numbers(**LAYERS)
    for priority in ("norms", "function"):
        seen, unseen = (
            swr_optax.plan_rescaling(
                lambda p, x, looks=looks: fn(p, x, looks), params, X, priority=priority
            )
            for looks in (True, False)
        )
        assert seen.to_json() == unseen.to_json()


# 11. Random numbers.


def test_a_noisy_weight_is_a_weight():
    def fn(p, key, x):
        noise = jax.random.normal(key, p["w"].shape)
        return x @ (p["w"] + p["sigma"] * noise) @ p["v"]

    params = numbers(w=(4, 5), sigma=(4, 5), v=(5, 3))
    norms, function = exact(fn, params, jax.random.key(0), X)
    assert roles(norms)["w"] == roles(norms)["v"] == "weight"
    assert function.output_exponents.any()


# Exponents are small numbers.


def test_a_frozen_shift_pins_its_weight():
    def fn(p, x):
        return (x @ p["w"] + p["b"]) @ jnp.full((5, 3), 0.5) + p["c"]

    params = numbers(w=(4, 5), b=(5,), c=(3,))
    plan = swr_optax.plan_rescaling(
        fn, params, X, priority="function", exclude=lambda path: path == "b"
    )
    np.testing.assert_array_equal(plan.exponents, np.zeros((3, 1)))
    assert not plan.unmet


# Rules that were missing.


def test_stacked_values_keep_their_scale():
    def fn(p, x):
        h = jax.nn.relu(x @ p["w"] + p["b"])
        return jnp.stack([h, 2 * h]).max(0) @ p["v"]

    norms, function = exact(fn, numbers(**LAYERS), X)
    assert not norms.unmet
    assert function.output_exponents.all()


def test_stacked_parameters_indexed_by_numbers_are_those_of_a_scan():
    def scanned(p, x):
        return lax.scan(lambda h, w: (jax.nn.relu(h @ w), None), x, p["ws"])[0]

    def unrolled(p, x):
        for i in range(3):
            x = jax.nn.relu(x @ p["ws"][i])
        return x

    params = numbers(ws=(3, 4, 4))
    found = [
        rescaling_oracle.facts(exact(f, params, X)[0]) for f in (scanned, unrolled)
    ]
    assert not rescaling_oracle.difference(*found)


# Networks that people train.


def linear_recurrent_unit(p, x):
    """An LRU layer (Orvieto et al., 2023) over (steps, features)."""
    decay = jnp.exp(-jnp.exp(p["nu"]) + 1j * jnp.exp(p["theta"]))
    gain = jnp.exp(p["log_gain"])
    inputs = x @ (p["b_re"] + 1j * p["b_im"]) * gain

    def step(state, now):
        state = decay * state + now
        return state, state

    _, states = lax.scan(step, jnp.zeros(5, complex), inputs)
    y = (states @ (p["c_re"] + 1j * p["c_im"])).real + x * p["d"]
    return jax.nn.relu(y) @ p["v"]


LRU = {
    "nu": (5,), "theta": (5,), "log_gain": (5,), "b_re": (4, 5), "b_im": (4, 5),
    "c_re": (5, 4), "c_im": (5, 4), "d": (4,), "v": (4, 3),
}  # fmt: skip


def state_space(p, x):
    """An S5 layer (Smith et al., 2023), by an associative scan."""
    rates = -jnp.exp(p["log_rate"]) + 1j * p["frequency"]
    steps = jnp.exp(p["log_step"])
    decay = jnp.exp(rates * steps)
    matrix = ((decay - 1) / rates)[:, None] * (p["b_re"] + 1j * p["b_im"])

    def join(left, right):
        return left[0] * right[0], right[0] * left[1] + right[1]

    decays = jnp.broadcast_to(decay, (x.shape[0], 5))
    _, states = lax.associative_scan(join, (decays, x @ matrix.T))
    return 2 * (states @ (p["c_re"] + 1j * p["c_im"])).real + p["d"] * x


S5 = {
    "log_rate": (5,), "frequency": (5,), "log_step": (5,), "b_re": (5, 4),
    "b_im": (5, 4), "c_re": (5, 4), "c_im": (5, 4), "d": (4,),
}  # fmt: skip


def fourier_operator(p, x):
    """A layer of an FNO (Li et al., 2021) over (grid, channels)."""
    modes = jnp.fft.rfft(x @ p["lift"], axis=0)
    filters = p["re"] + 1j * p["im"]
    low = jnp.einsum("kc,kcd->kd", modes[:2], filters)
    modes = jnp.zeros_like(modes).at[:2].set(low)
    h = jnp.fft.irfft(modes, x.shape[0], axis=0) + x @ p["lift"] @ p["skip"]
    return jax.nn.relu(h + p["b"]) @ p["project"]


FNO = {
    "lift": (4, 5), "re": (2, 5, 5), "im": (2, 5, 5), "skip": (5, 5), "b": (5,),
    "project": (5, 3),
}  # fmt: skip

NETWORKS = {
    "lru": (linear_recurrent_unit, LRU),
    "s5": (state_space, S5),
    "fno": (fourier_operator, FNO),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_complex_numbers(name):
    fn, shapes = NETWORKS[name]
    _, function = exact(fn, numbers(**shapes), X)
    assert function.output_exponents.any()


def multi_head(p, x, t):
    h = jax.nn.relu(x @ p["w1"] + p["b1"])
    h = jax.nn.relu(h @ p["w2"] + p["b2"])
    return jnp.einsum("...f,...fg->...g", h, p["heads"][t]) + p["hb"][t]


@pytest.mark.parametrize("tasks", [1, [0, 1, 0, 1, 1, 0]])
def test_a_continual_learner_with_a_head_for_each_task(tasks):
    shapes = {"w1": (4, 5), "b1": (5,), "w2": (5, 5), "b2": (5,)}
    shapes |= {"heads": (2, 5, 3), "hb": (2, 3)}
    norms, function = exact(multi_head, numbers(**shapes), X, jnp.asarray(tasks))
    assert [layer.name for layer in norms.layers][:3] == ["w1", "w2", "heads"]
    assert {"b1", "b2", "hb"} <= {*norms.leaf_paths}
    assert function.output_exponents.any()
