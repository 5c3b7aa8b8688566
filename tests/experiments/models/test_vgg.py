"""The paper's VGG-16 at full width, by shapes alone."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.models import VGG16
from networks import PLAIN, convolutions
import paper_rules
import swr_optax


def test_swr_scales_it_by_the_papers_rule():
    model = VGG16(200)
    sample = jax.ShapeDtypeStruct((256, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), sample)
    params, stats = variables["params"], variables["batch_stats"]

    def train(params, stats, x):
        variables = {"params": params, "batch_stats": stats}
        logits, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return logits, updated["batch_stats"]

    plan = swr_optax.plan_rescaling(train, params, sample, stats=stats)
    layers = [*convolutions(13), *PLAIN]
    assert [layer.path for layer in plan.layers] == [layer.weight for layer in layers]
    np.testing.assert_array_equal(
        plan.exponents, paper_rules.exponents(layers, plan.leaf_paths)
    )
    assert [layer.group for layer in plan.layers] == 26 * ["feature"] + 3 * [
        "classifier"
    ]
    assert not plan.unmet
