"""A table of wrong calls, each with the words that it must give, in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from two_layers import forward, two_layers

PARAMS, PLAN = two_layers()
OTHER, _ = two_layers(hidden=9)
X = jnp.ones((2, 5))
SHAPES = jax.eval_shape(lambda: PARAMS)
MATRIX = {"w": jnp.ones((5, 2))}
MATRIX_PLAN = swr_optax.plan_rescaling(lambda p, x: x @ p["w"], MATRIX, X)
TEXT = PLAN.to_json()
ADAM = optax.adam(1e-3)
NAN = float("nan")
NO_PLAN = "must be a RescalingPlan, not"
NOT_LIKE = "first/b has shape (9,), not (7,)"


def swr(coefficient=0.1, plan=PLAN, **options):
    return swr_optax.soft_weight_rescaling(coefficient, plan, **options)


STATE = swr().init(PARAMS)


def update(updates=PARAMS, state=STATE, params=PARAMS, tx=None):
    return (tx or swr()).update(updates, state, params)


def each(change, tree=PARAMS):
    return jax.tree.map(change, tree)


def planned(fn=forward, params=PARAMS, inputs=(X,), **options):
    return swr_optax.plan_rescaling(fn, params, *inputs, **options)


def checked(plan=PLAN, fn=forward, params=PARAMS, **options):
    return swr_optax.check(plan, fn, params, X, **options)


def by_hand(layers, **options):
    return swr_optax.sequential_plan(PARAMS, layers, **options)


def recycled(activations):
    tx = swr_optax.redo(ADAM, PLAN, lambda _: PARAMS)
    return tx.update(PARAMS, tx.init(PARAMS), PARAMS, activations=activations)


def traced_steps():
    return jax.jit(lambda steps: swr(reset_steps=steps).init(PARAMS))(jnp.arange(2))


s = swr_optax
WRONG = {
    # What is no plan.
    "a plan of None": (lambda: swr(plan=None), f"{NO_PLAN} NoneType: make one"),
    "a plan's text": (lambda: swr(plan=TEXT), f"{NO_PLAN} str: read its text with"),
    "parameters": (lambda: swr(plan=PARAMS), f"{NO_PLAN} dict: make one"),
    "the wrong way round": (lambda: swr(PLAN, 0.1), f"{NO_PLAN} float"),
    "check None": (lambda: checked(None), f"plan {NO_PLAN} NoneType"),
    "rescale by None": (lambda: s.rescale(PARAMS, jnp.zeros(2), None), NO_PLAN),
    "plan last": (lambda: s.rescale(PARAMS, PLAN, jnp.zeros(2)), NO_PLAN),
    "norms of None": (lambda: s.metrics.weight_norms(PARAMS, None), NO_PLAN),
    "growth of None": (lambda: s.metrics.weight_growth(PARAMS, PARAMS, None), NO_PLAN),
    "reset by None": (
        lambda: s.reset_reference_norms(STATE, PARAMS, None),
        f"plan {NO_PLAN}",
    ),
    "statistics by None": (lambda: s.rescale_statistics({}, STATE, None), NO_PLAN),
    "carry from None": (
        lambda: s.carry_reference_norms(STATE, None, STATE, PLAN),
        f"old_plan {NO_PLAN} NoneType",
    ),
    "carry to text": (
        lambda: s.carry_reference_norms(STATE, PLAN, STATE, TEXT),
        f"new_plan {NO_PLAN} str: read its text",
    ),
    "activations by None": (lambda: s.with_activations(forward, None), NO_PLAN),
    "a function as plan": (lambda: s.with_activations(PLAN, forward), "fn must be the"),
    "spectral": (lambda: s.spectral_regularization(0.1, None), NO_PLAN),
    "clipping": (lambda: s.weight_clipping(TEXT), NO_PLAN),
    "wasserstein": (lambda: s.wasserstein_l2(0.1, None), NO_PLAN),
    "directions": (lambda: s.l2_directions(0.1, None), NO_PLAN),
    "projection": (lambda: s.project_norms(None), NO_PLAN),
    "orthogonal": (lambda: s.orthogonal_decay(0.1, 0.1, None), NO_PLAN),
    "resets": (lambda: s.self_normalized_resets(ADAM, None, forward), NO_PLAN),
    "redo": (lambda: s.redo(ADAM, None, forward), NO_PLAN),
    "backprop": (lambda: s.continual_backprop(ADAM, TEXT, forward), NO_PLAN),
    "fire": (lambda: s.fire(PARAMS, None), NO_PLAN),
    "head": (lambda: s.reset_head(PARAMS, PARAMS, None), NO_PLAN),
    "dash": (lambda: s.dash(PARAMS, PARAMS, None), NO_PLAN),
    # Making a plan.
    "fn of None": (lambda: planned(None), "fn must be the network's function, not No"),
    "outputs for fn": (lambda: planned(X), "fn must be the network's function, not Ar"),
    "no parameters": (lambda: planned(lambda _, x: x, {}), "params has 0 leaves"),
    "text in params": (
        lambda: planned(params={"a": "b"}),
        "parameter a must be an array, not str",
    ),
    "a type's name": (
        lambda: planned(params={"a": "float32"}),
        "parameter a must be an array, not str",
    ),
    "an object in params": (
        lambda: planned(params={"a": object()}),
        "parameter a must be an array, not object",
    ),
    "whole numbers": (
        lambda: planned(params={"a": jnp.arange(3)}),
        "parameter a has dtype int32, which cannot be rescaled",
    ),
    "text for inputs": (
        lambda: planned(inputs=("x",)),
        "inputs/0 must be an array, not str",
    ),
    "text in stats": (
        lambda: planned(stats={"mean": "x"}),
        "stats/mean must be an array, not str",
    ),
    "a new priority": (
        lambda: planned(priority="speed"),
        "priority must be one of ('norms', 'function'), not 'speed'",
    ),
    "paths for exclude": (
        lambda: planned(exclude=["first/w"]),
        "exclude must be a function of a leaf's path, not list",
    ),
    "a group for group_fn": (
        lambda: planned(group_fn="head"),
        "group_fn must be a function of a leaf's path, not str",
    ),
    "a group of None": (
        lambda: planned(group_fn=lambda _: None),
        "group_fn must return a group's name, not NoneType, which it does for first/w",
    ),
    "a role for role_fn": (
        lambda: planned(role_fn="weight"),
        "role_fn must be a function of a leaf's path, not str",
    ),
    "an unknown role": (
        lambda: planned(role_fn=lambda _: "king"),
        "role_fn gives first/b the role 'king': it must be 'weight', 'shift' or None",
    ),
    "one kept output": (
        lambda: planned(keep_outputs="output"),
        "keep_outputs must be a list of names, not str: put a single name in a list",
    ),
    "kept None": (
        lambda: planned(keep_outputs=None),
        "keep_outputs must be a list of names, not NoneType",
    ),
    "an unknown output": (
        lambda: planned(keep_outputs=["a"]),
        "keep_outputs names 'a', but fn returns output",
    ),
    "all weights excluded": (
        lambda: planned(exclude=lambda path: path.endswith("w")),
        "exclude leaves no weight to rescale: it holds for first/w, second/w",
    ),
    "weight and bias swapped": (
        lambda: by_hand([("first/b", "first/w")]),
        "layers[0] names 'first/b' of 1 dimensions as its weight and 'first/w' of 2 as"
        " its bias: the weight comes first",
    ),
    "a weight in stats": (
        lambda: by_hand(["m"], stats={"m": jnp.ones(7)}),
        "layers[0] names 'm' as its weight, which is in stats: name a parameter",
    ),
    "a bias in stats": (
        lambda: by_hand([("first/w", "m")], stats={"m": jnp.ones(7)}),
        "layers[0] names 'm' as its bias, which is in stats: name a parameter",
    ),
    "a path that is not there": (
        lambda: by_hand(["a"]),
        "layers[0] names 'a', which is not a leaf: there are first/b, first/w, second/",
    ),
    "group_fn by hand": (
        lambda: by_hand(["first/w"], group_fn="a"),
        "group_fn must be a function of a leaf's path, not str",
    ),
    "a numbered group": (
        lambda: by_hand(["first/w"], group_fn=len),
        "group_fn must return a group's name, not int, which it does for first/w",
    ),
    "no text": (lambda: s.RescalingPlan.from_json(None), "it is a NoneType, not text"),
    "an empty text": (lambda: s.RescalingPlan.from_json(""), "not a plan that to_json"),
    # Checking a plan.
    "no trials": (lambda: checked(trials=0), "trials must be at least 1, not 0"),
    "fewer": (lambda: checked(trials=-1), "trials must be at least 1, not -1"),
    "half": (lambda: checked(trials=1.5), "trials must be a whole number, not 1.5"),
    "text": (lambda: checked(trials="3"), "trials must be a whole number, not '3'"),
    "a seed": (lambda: checked(seed="a"), "seed must be a whole number, not 'a'"),
    "NaN": (
        lambda: checked(largest_log_scaler=NAN),
        "largest_log_scaler must be above 0, not nan",
    ),
    "below zero": (
        lambda: checked(largest_log_scaler=-1),
        "largest_log_scaler must be above 0, not -1",
    ),
    "text for a number": (
        lambda: checked(largest_log_scaler="a"),
        "largest_log_scaler must be a number, not 'a'",
    ),
    "check fn of None": (lambda: checked(fn=None), "fn must be the network's function"),
    "other sizes": (
        lambda: checked(params=OTHER),
        f"params do not fit the plan: {NOT_LIKE}: make a plan",
    ),
    "other parameters": (
        lambda: checked(params={"a": jnp.ones(2)}),
        "missing first/b, first/w, second/b, second/w; surplus a: make a plan",
    ),
    "statistics of none": (
        lambda: checked(stats={"a": jnp.ones(2)}),
        "stats do not fit the plan: missing none; surplus a",
    ),
    "checked shapes": (
        lambda: checked(params=SHAPES),
        "params must hold arrays, but first/b is a ShapeDtypeStruct",
    ),
    "activations of another fn": (
        lambda: s.with_activations(lambda p, x: x @ p["first"]["w"], PLAN)(PARAMS, X),
        "fn does not have the plan's units that first/b, first/w make",
    ),
    "scalers of text": (
        lambda: s.rescale(PARAMS, "ab", PLAN),
        "log_scalers must have shape (2,), one for each of the plan's layers, not ()",
    ),
    "complex scalers": (
        lambda: s.rescale(PARAMS, jnp.zeros(2) + 0j, PLAN),
        "log_scalers must be real numbers, not complex64",
    ),
    "rescaled shapes": (
        lambda: s.rescale(SHAPES, jnp.zeros(2), PLAN),
        "must hold arrays, but first/b is a ShapeDtypeStruct",
    ),
    # The transformation.
    "text for λ": (lambda: swr("0.1"), "coefficient must be a number from 0 to 1, a"),
    "λ above one": (lambda: swr(1.5), "coefficient must be from 0 to 1, not 1.5"),
    "λ of NaN": (lambda: swr(NAN), "coefficient must be from 0 to 1, not nan"),
    "no groups": (lambda: swr({}), "missing ['feature', 'classifier']"),
    "half of the groups": (lambda: swr({"feature": 0.1}), "missing ['classifier']"),
    "a schedule of text": (
        lambda: update(tx=swr(lambda _: "a")),
        "what coefficient's schedule returns must be a number, not str",
    ),
    "a schedule of None": (
        lambda: update(tx=swr(lambda _: None)),
        "what coefficient's schedule returns must be a number, not NoneType",
    ),
    "a complex schedule": (
        lambda: update(tx=swr(lambda _: 0.1j)),
        "what coefficient's schedule returns must be a number, not complex",
    ),
    "a text of steps": (
        lambda: swr(reset_steps="12"),
        "reset_steps must be a list of steps, not str",
    ),
    "bytes of steps": (
        lambda: swr(reset_steps=b"12"),
        "reset_steps must be a list of steps, not bytes",
    ),
    "a mapping of steps": (
        lambda: swr(reset_steps={1: 2}),
        "reset_steps must be a list of steps, not dict",
    ),
    "one step": (
        lambda: swr(reset_steps=np.array(3)),
        "reset_steps must be a list of steps, not ndarray",
    ),
    "a step and a part": (
        lambda: swr(reset_steps=[1.7]),
        "reset_steps must be whole numbers, not 1.7",
    ),
    "steps in steps": (
        lambda: swr(reset_steps=[[1]]),
        "reset_steps must be whole numbers, not [1]",
    ),
    "a matrix of steps": (
        lambda: swr(reset_steps=np.array([[1]])),
        "reset_steps must be whole numbers, not array([1])",
    ),
    "a step below zero": (
        lambda: swr(reset_steps=[-1]),
        "reset_steps must not be negative: [-1]",
    ),
    "a step too far": (
        lambda: swr(reset_steps=[2**40]),
        "reset_steps must be below 2**31: [1099511627776]",
    ),
    "traced steps": (
        traced_steps,
        "reset_steps must be known numbers, not traced: close over them",
    ),
    "a numbered axis": (
        lambda: swr(axis_name=3),
        "axis_name must be a name or a tuple of names, not 3",
    ),
    "init of None": (lambda: swr().init(None), "missing first/b, first/w, second/b"),
    "init of text": (
        lambda: swr().init("a"),
        "the only parameter must be an array, not str",
    ),
    "init of numbers": (
        lambda: swr().init(each(lambda _: 1.0)),
        "first/b has shape (), not (7,)",
    ),
    "init of lists": (
        lambda: swr().init(each(lambda p: p.tolist())),
        "surplus first/b/0, first/b/1, first/b/2, first/b/3, first/b/4, first/b/5, and"
        " 60 more",
    ),
    "no params": (
        lambda: update(params=None),
        "soft_weight_rescaling needs the parameters: call update(updates, state, p",
    ),
    "update of shapes": (
        lambda: update(SHAPES, params=SHAPES),
        "params must hold arrays, but first/b is a ShapeDtypeStruct",
    ),
    "shapes for updates": (
        lambda: update(SHAPES),
        "the update of first/b must be an array, not ShapeDtypeStruct",
    ),
    "a number for a matrix": (
        lambda: update(each(lambda _: 1.0)),
        "the update of first/b must be an array, not float",
    ),
    "a scalar for a matrix": (
        lambda: update(each(lambda _: jnp.float32(1))),
        "the update of first/b must have its shape (7,), not ()",
    ),
    "a row for a matrix": (
        lambda: update(each(lambda p: p[..., :1, :] if p.ndim > 1 else p)),
        "the update of first/w must have its shape (5, 7), not (1, 7)",
    ),
    "a batch of updates": (
        lambda: update(each(lambda p: p[None])),
        "the update of first/b must have its shape (7,), not (1, 7)",
    ),
    "text for updates": (
        lambda: update(each(lambda _: "a")),
        "the update of first/b must be an array, not str",
    ),
    "whole updates": (
        lambda: update(each(lambda p: p.astype(int))),
        "the update of first/b is of type int32, which cannot be added to its float32",
    ),
    "true updates": (
        lambda: update(each(lambda p: p > 0)),
        "the update of first/b is of type bool, which cannot be added to its float32",
    ),
    "complex updates": (
        lambda: update(each(lambda p: p + 0j)),
        "the update of first/b is of type complex64, which cannot be added to its fl",
    ),
    "no updates": (
        lambda: update(None),
        "updates must be like params: missing first/b, first/w, second/b, second/w",
    ),
    "half of the updates": (
        lambda: update({"first": PARAMS["first"]}),
        "updates must be like params: missing second/b, second/w; surplus none",
    ),
    "a list of updates": (
        lambda: update([X, X]),
        "missing first/b, first/w, second/b, second/w; surplus 0, 1",
    ),
    # States.
    "no state": (lambda: update(state=None), "state must be the SoftWeightRescalingSt"),
    "another optimiser's state": (
        lambda: update(state=ADAM.init(PARAMS)),
        "state must be the SoftWeightRescalingState that init returned, not tuple: if"
        " it was saved, restore it into the structure of tx.init(params)",
    ),
    "a state without its type": (
        lambda: update(state=STATE._asdict()),
        "state must be the SoftWeightRescalingState that init returned, not dict",
    ),
    "another plan's state": (
        lambda: update(state=swr(plan=MATRIX_PLAN).init(MATRIX)),
        "state has reference norms of shape (1,), and plan has 2 layers: it is the"
        " state of another plan",
    ),
    "parameters that changed": (
        lambda: update(OTHER, params=OTHER),
        f"{NOT_LIKE}: make a plan for this network; if the network has changed since"
        " init, make a new state as well, and carry_reference_norms takes the layers"
        " that stayed into it",
    ),
    "reset of parameters": (
        lambda: s.reset_reference_norms(PARAMS, STATE, PLAN),
        "opt_state holds no SoftWeightRescalingState: chain soft_weight_rescaling",
    ),
    "reset of another network": (
        lambda: s.reset_reference_norms(STATE, {"a": X}, PLAN),
        "params do not fit the plan: missing first/b",
    ),
    "reset of another plan": (
        lambda: s.reset_reference_norms(STATE, MATRIX, MATRIX_PLAN),
        "opt_state has reference norms of shape (2,), and plan has 1 layers",
    ),
    "statistics of another": (
        lambda: s.rescale_statistics({"a": X}, STATE, PLAN),
        "stats do not fit the plan: missing none; surplus a",
    ),
    "statistics without a state": (
        lambda: s.rescale_statistics({}, None, PLAN),
        "opt_state holds no SoftWeightRescalingState",
    ),
    "a previous of parameters": (
        lambda: s.rescale_statistics({}, STATE, PLAN, previous=PARAMS),
        "previous holds no SoftWeightRescalingState",
    ),
    "carry from nothing": (
        lambda: s.carry_reference_norms((), PLAN, STATE, PLAN),
        "old_state holds no SoftWeightRescalingState",
    ),
    "carry with swapped plans": (
        lambda: s.carry_reference_norms(
            STATE, MATRIX_PLAN, swr(plan=MATRIX_PLAN).init(MATRIX), PLAN
        ),
        "old_state has reference norms of shape (2,), and old_plan has 1 layers",
    ),
    "carry to another network": (
        lambda: s.carry_reference_norms(
            STATE, PLAN, swr(plan=MATRIX_PLAN).init(MATRIX), MATRIX_PLAN
        ),
        "no layer of new_plan has the path and shape of one of old_plan",
    ),
    "carry from two to one": (
        lambda: s.carry_reference_norms((STATE, STATE), PLAN, STATE, PLAN),
        "old_state holds 2 states of soft_weight_rescaling and new_state 1",
    ),
    # Other remedies, and metrics.
    "an optimiser of None": (
        lambda: s.redo(None, PLAN, forward),
        "inner must be an optimiser such as optax.adam(1e-3), not NoneType",
    ),
    "parameters for init_fn": (
        lambda: s.self_normalized_resets(ADAM, PLAN, PARAMS),
        "init_fn must be a function that makes parameters of a key, not dict",
    ),
    "beginnings of a member": (
        lambda: s.redo(ADAM, PLAN, lambda _: jax.tree.map(jnp.sum, PARAMS)).init(
            PARAMS
        ),
        "what init_fn makes must be like params: first/b has shape (), not (7,)",
    ),
    **{
        f"variables of {name}": (
            lambda make=make: make(lambda _: {"params": PARAMS}).init(PARAMS),
            "what init_fn makes must be like params: missing first/b, first/w, second/",
        )
        for name, make in {
            "redo": lambda init: s.redo(ADAM, PLAN, init),
            "continual_backprop": lambda init: s.continual_backprop(ADAM, PLAN, init),
            "self_normalized_resets": lambda init: s.self_normalized_resets(
                ADAM, PLAN, init
            ),
            "shrink_and_perturb_each_step": lambda init: s.shrink_and_perturb_each_step(
                0.1, 0.1, init
            ),
        }.items()
    },
    "parameters for a fresh start": (
        lambda: s.shrink_and_perturb_each_step(0.1, 0.1, PARAMS),
        "init_fn must be a function that makes parameters of a key, not dict",
    ),
    "no period": (lambda: s.redo(ADAM, PLAN, forward, period=0), "period must be at l"),
    "text for a key": (
        lambda: s.redo(ADAM, PLAN, lambda _: PARAMS, key="a").init(PARAMS),
        "key must be a seed or a key, not str",
    ),
    "no activations": (lambda: recycled(None), "redo needs the activations"),
    "a number of them": (lambda: recycled(3), "activations must be a tuple of arrays"),
    "other activations": (
        lambda: recycled((jnp.zeros((2, 9)),)),
        "activations must be arrays with [7] units along their last axes, not [9]",
    ),
    "other beginnings": (
        lambda: s.shrink_and_perturb(PARAMS, OTHER, 0.1),
        f"initial_params must be like params: {NOT_LIKE}",
    ),
    "no beginnings": (
        lambda: s.shrink_and_perturb(PARAMS, {"a": X}, 0.1),
        "initial_params must be like params: missing first/b, first/w, second/b,",
    ),
    "another head": (lambda: s.reset_head(PARAMS, OTHER, PLAN), NOT_LIKE),
    "all others": (lambda: s.reset_all(PARAMS, OTHER), NOT_LIKE),
    "other containers": (
        lambda: s.reset_all([X], (X,)),
        "initial_params must be like params, and their containers are of other types",
    ),
    "another descent": (lambda: s.dash(PARAMS, OTHER, PLAN), "descent must be like p"),
    "other gradients": (lambda: s.accumulate_descent(PARAMS, OTHER), NOT_LIKE),
    "no chain": (lambda: s.metrics.balancedness([]), "weights have shapes []"),
    "shapes for norms": (
        lambda: s.metrics.weight_norms(SHAPES, PLAN),
        "params must hold arrays, but first/b is a ShapeDtypeStruct",
    ),
    "features of one axis": (
        lambda: s.metrics.effective_rank(jnp.ones(3)),
        "features must be of shape (examples, dims), not (3,)",
    ),
    "activations of none": (
        lambda: s.metrics.dormant_fraction(1.0),
        "activations must be of shape (examples, ..., units), not ()",
    ),
    "a threshold below zero": (
        lambda: s.metrics.dormant_fraction(X, -1),
        "threshold must not be negative, not -1",
    ),
    "outputs of two shapes": (
        lambda: s.metrics.proportionality_error(X, X[0]),
        "outputs and rescaled must have one shape, not (2, 5) and (5,)",
    ),
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_named_in_one_line(call):
    wrong, words = WRONG[call]
    with pytest.raises((TypeError, ValueError)) as error:
        wrong()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
