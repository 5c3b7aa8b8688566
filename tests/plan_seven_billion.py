"""Plans a transformer of 6.7 billion parameters, alone in its process.

``python plan_seven_billion.py PRIORITY`` prints, as JSON, how many parameters and
layers it has, the seconds that planning took and the largest resident memory in
gigabytes.
"""

import json
import math
import sys
import time

import jax
from jax import lax
import jax.numpy as jnp

from memory import largest_memory
import swr_optax

WIDTH, HIDDEN, BLOCKS, VOCABULARY, HEADS = 4096, 11008, 32, 32000, 32


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.bfloat16)


def parameters():
    block = {
        "norm_1": shape(WIDTH),
        "norm_2": shape(WIDTH),
        **dict.fromkeys(("query", "key", "value", "out"), shape(WIDTH, WIDTH)),
        **dict.fromkeys(("gate", "up"), shape(WIDTH, HIDDEN)),
        "down": shape(HIDDEN, WIDTH),
    }
    return {
        "embed": shape(VOCABULARY, WIDTH),
        "head": shape(WIDTH, VOCABULARY),
        "norm": shape(WIDTH),
        **{f"block_{i}": block for i in range(BLOCKS)},
    }


def normalized(x, scale):
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


def attended(x, block):
    def heads(weight):
        return (x @ weight).reshape(*x.shape[:2], HEADS, -1)

    queries, keys = heads(block["query"]), heads(block["key"])
    scores = jnp.einsum("bthd,bshd->bhts", queries, keys)
    mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    scores = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))
    values = jnp.einsum("bhts,bshd->bthd", scores, heads(block["value"]))
    return values.reshape(x.shape) @ block["out"]


def forward(params, tokens):
    x = params["embed"][tokens]
    for i in range(BLOCKS):
        block = params[f"block_{i}"]
        x = x + attended(normalized(x, block["norm_1"]), block)
        y = normalized(x, block["norm_2"])
        x = x + (jax.nn.silu(y @ block["gate"]) * (y @ block["up"])) @ block["down"]
    return normalized(x, params["norm"]) @ params["head"]


def main(priority):
    params = parameters()
    tokens = jax.ShapeDtypeStruct((8, 2048), jnp.int32)
    start = time.perf_counter()
    plan = swr_optax.plan_rescaling(forward, params, tokens, priority=priority)
    found = {
        "parameters": sum(math.prod(x.shape) for x in jax.tree.leaves(params)),
        "layers": len(plan.layers),
        "seconds": time.perf_counter() - start,
        "gigabytes": largest_memory() / 1e9,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
