"""The paper's networks on real images, as the tests use them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from experiments.models import MODELS
from paper_rules import PaperLayer
import swr_optax


class Network(NamedTuple):
    """A model with its variables and what the paper says its layers are."""

    model: Any
    params: dict
    stats: dict
    layers: list[PaperLayer]

    def train(self, params, stats, images):
        """Logits and updated statistics, in training mode."""
        logits, updated = self.model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return logits, updated.get("batch_stats", {})

    def evaluate(self, params, stats, images):
        """Logits in evaluation mode."""
        return self.model.apply({"params": params, "batch_stats": stats}, images)

    def plan(self, **options):
        return swr_optax.plan_rescaling(
            self.train, self.params, images(256), stats=self.stats, **options
        )


@functools.cache
def digits():
    """Scanned digits, enlarged to 32×32 pixels in [0, 1], and their labels."""
    data = load_digits()
    enlarged = np.kron(data.images / 16, np.ones((4, 4)))
    return enlarged[..., None].astype(np.float32), data.target.astype(np.int32)


def images(count):
    return jnp.asarray(digits()[0][:count])


def convolutions(count):
    """Convolutions without bias, each with a BatchNorm behind it."""
    return [
        layer
        for k in range(count)
        for layer in (
            PaperLayer(f"Conv_{k}/kernel"),
            PaperLayer(
                f"BatchNorm_{k}/scale",
                f"BatchNorm_{k}/bias",
                normalizes=True,
                mean=f"BatchNorm_{k}/mean",
                variance=f"BatchNorm_{k}/var",
            ),
        )
    ]


PLAIN = [PaperLayer(f"Dense_{k}/kernel", f"Dense_{k}/bias") for k in range(3)]
LAYERS = {
    "mlp": PLAIN,
    "cnn": [
        *(PaperLayer(f"Conv_{k}/kernel", f"Conv_{k}/bias") for k in range(2)),
        *PLAIN[:2],
    ],
    "cnn_bn": [*convolutions(2), *PLAIN[:2]],
}


def network(name, seed=0):
    """A paper's network with PyTorch's initialisation."""
    model = MODELS[name].build(10)
    variables = model.init(jax.random.key(seed), images(1))
    return Network(
        model, variables["params"], variables.get("batch_stats", {}), LAYERS[name]
    )


def random_network(name, seed=0, size=1.0):
    """The same with random normal numbers in every leaf, biases included."""
    built = network(name, seed)
    leaves, structure = jax.tree.flatten((built.params, built.stats))
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    drawn = [
        size * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    params, stats = structure.unflatten(drawn)
    stats = {
        module: {"mean": leaf["mean"], "var": 1 + jnp.abs(leaf["var"])}
        for module, leaf in stats.items()
    }
    return built._replace(params=params, stats=stats)
