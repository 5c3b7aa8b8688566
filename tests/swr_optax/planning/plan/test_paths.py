"""Names of leaves in the trees of several libraries."""

import dataclasses

import equinox as eqx
from flax import nnx
import jax
import jax.numpy as jnp
import pytest

import swr_optax
from swr_optax.planning.plan._paths import named_leaves


def paths(tree):
    return [path for path, _ in named_leaves(tree)]


class Attention(eqx.Module):
    query: jax.Array
    key: jax.Array
    value: jax.Array


class Holder(eqx.Module):
    value: jax.Array


def test_a_field_called_value_keeps_its_name_among_others():
    attention = Attention(jnp.ones((4, 4)), jnp.ones((4, 4)), jnp.ones((4, 4)))
    assert paths(attention) == ["query", "key", "value"]
    assert paths({"attention": attention}) == [
        "attention/query",
        "attention/key",
        "attention/value",
    ]


def test_a_sole_value_has_the_name_of_what_holds_it():
    assert paths({"kernel": Holder(jnp.ones(2))}) == ["kernel"]
    assert paths(nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))) == ["bias", "kernel"]


def test_no_path_is_empty_for_lack_of_a_holder_s_name():
    assert paths(Holder(jnp.ones(2))) == ["value"]


def test_a_plan_for_attention_names_all_three():
    model = Attention(*jax.random.normal(jax.random.key(0), (3, 4, 4)))

    def attend(model, x):
        scores = jax.nn.softmax((x @ model.query) @ (x @ model.key).T)
        return scores @ (x @ model.value)

    plan = swr_optax.plan_rescaling(attend, model, jnp.ones((5, 4)))
    assert plan.leaf_paths == ("query", "key", "value")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Slashed:
    pair: dict


def test_paths_that_collide_are_refused():
    tree = {"a/b": jnp.ones(2), "a": {"b": jnp.ones(2)}}
    with pytest.raises(ValueError, match="two leaves have the path 'a/b': rename one"):
        paths(tree)
    with pytest.raises(ValueError, match="two leaves have the path 'pair/a/b'"):
        paths(Slashed(tree))
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        swr_optax.plan_rescaling(lambda p, x: x * p["a/b"] * p["a"]["b"], tree, 1.0)
