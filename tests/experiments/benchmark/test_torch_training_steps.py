"""PyTorch's networks are ours: the same shapes, and logits from the same numbers."""

import jax
import numpy as np
import pytest

from experiments.benchmark.torch_training_steps import NETWORKS, torch_steps
from experiments.benchmark.training_steps import random_images
from experiments.models import MODELS

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("model", "dataset"), [("mlp", "mnist"), ("cnn", "cifar10")])
def test_they_compute_the_same(model, dataset):
    data = random_images(dataset, 4)
    shape = data.source.shape
    theirs = NETWORKS[model](torch.nn, *shape, 10)
    ours = MODELS[model].build(10)
    images = np.asarray(data.normalize(data.train_images))
    params = ours.init(jax.random.key(0), images)["params"]
    layers = iter(layer for layer in theirs if hasattr(layer, "weight"))
    flattened = None
    for name in sorted(params):  # Convolutions first.
        kernel = np.asarray(params[name]["kernel"])
        layer = next(layers)
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        else:
            if flattened is None:  # Ours has channels last here.
                channels = shape[2] if model == "mlp" else 16
                side = int((kernel.shape[0] // channels) ** 0.5)
                kernel = kernel.reshape(side, side, channels, -1)
                kernel = kernel.transpose(2, 0, 1, 3).reshape(-1, kernel.shape[-1])
                flattened = True
            kernel = kernel.T
        assert layer.weight.shape == kernel.shape
        layer.weight.data = torch.tensor(kernel.copy())
        layer.bias.data = torch.tensor(np.asarray(params[name]["bias"]).copy())
    with torch.no_grad():
        found = theirs(torch.tensor(images).movedim(-1, 1)).numpy()
    np.testing.assert_allclose(
        found, ours.apply({"params": params}, images), rtol=1e-3, atol=1e-4
    )


def test_steps_run():
    torch_steps("mlp", random_images("mnist", 8), 4)()
