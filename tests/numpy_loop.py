"""The experiments' loop for the paper's MLP, written out in NumPy and float64."""

import numpy as np

LAYERS = [f"Dense_{i}" for i in range(3)]


def forward(params, images):
    """Logits and the hidden layers, input first."""
    hidden = [images.reshape(len(images), -1)]
    for layer in LAYERS[:-1]:
        x = hidden[-1] @ params[layer, "kernel"] + params[layer, "bias"]
        hidden.append(np.maximum(x, 0))
    logits = hidden[-1] @ params[LAYERS[-1], "kernel"] + params[LAYERS[-1], "bias"]
    return logits, hidden


def cross_entropies(logits, labels):
    highest = logits.max(axis=1)
    total = np.exp(logits - highest[:, None]).sum(axis=1)
    return np.log(total) + highest - logits[np.arange(len(labels)), labels]


def gradient(params, images, labels):
    """Of the mean cross-entropy."""
    logits, hidden = forward(params, images)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    back = shares / shares.sum(axis=1, keepdims=True)
    back[np.arange(len(labels)), labels] -= 1
    back /= len(labels)
    grads = {}
    for layer, x in reversed(list(zip(LAYERS, hidden, strict=True))):
        grads[layer, "kernel"], grads[layer, "bias"] = x.T @ back, back.sum(axis=0)
        back = (back @ params[layer, "kernel"].T) * (x > 0)
    return grads


def norm(params, layer):
    return np.sqrt((params[layer, "kernel"] ** 2).sum())


def measured(params, initial, dataset):
    """What an evaluation records of the parameters."""
    logits, hidden = forward(params, pixels(dataset, dataset.test_images))
    growth = [norm(params, layer) / norm(initial, layer) for layer in LAYERS]
    units = np.concatenate([x[:500].max(axis=0) for x in hidden[1:]])
    values = np.linalg.svd(hidden[-1][:500], compute_uv=False)
    shares = values[values > 0] / values.sum()
    return {
        "test_accuracy": (logits.argmax(axis=1) == dataset.test_labels).mean(),
        "weight_growth": np.mean(growth),
        "growth": dict(
            zip([f"{layer}/kernel" for layer in LAYERS], growth, strict=True)
        ),
        "dead_units": (units == 0).mean(),
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
    }


def pixels(dataset, images):
    source = dataset.source
    return (images / source.white - source.mean[0]) / source.std[0]


def run(dataset, initial, stages, method, value, rate, drops=()):
    """Trains as the paper says; yields a mapping for every evaluation.

    Args:
        dataset: images and labels.
        initial: parameters by (layer, kernel or bias).
        stages: of each stage, by its number, the batches of every epoch.
        method: its name.
        value: its λ; of SWR, for features and classifier.
        rate: the initial learning rate.
        drops: steps before which the learning rate falls to a tenth.
    """
    initial = {name: np.float64(leaf) for name, leaf in initial.items()}
    params = dict(initial)
    first = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    second = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    references = {layer: norm(initial, layer) for layer in LAYERS}
    step, accuracies = 0, []

    def evaluation(stage, epoch, loss):
        found = measured(params, initial, dataset)
        if epoch:
            accuracies.append(found["test_accuracy"])
        return {
            "stage": stage,
            "epoch": epoch,
            "step": step,
            "train_loss": loss,
            "stream_accuracy": np.mean(accuracies),
            **found,
        }

    for stage, epochs in stages.items():
        if stage > min(stages):
            for name in params:
                if method == "shrink_and_perturb":
                    params[name] = (1 - value) * params[name] + value * initial[name]
                if method == "full_reset" or (
                    method == "head_reset" and name[0] == LAYERS[-1]
                ):
                    params[name] = initial[name]
            yield evaluation(stage, 0, None)
        for epoch, batches in enumerate(epochs, 1):
            losses = []
            for rows in batches:
                images = pixels(dataset, dataset.train_images[rows])
                labels = dataset.train_labels[rows]
                losses += list(cross_entropies(forward(params, images)[0], labels))
                grads = gradient(params, images, labels)
                if step in drops and method == "swr_reinit":
                    references = {layer: norm(params, layer) for layer in LAYERS}
                fallen = 0.1 ** sum(drop <= step for drop in drops)
                step += 1
                for name, g in grads.items():
                    if method == "l2":
                        g = g + value * params[name]
                    if method == "l2_init":
                        g = g + value * (params[name] - initial[name])
                    first[name] = 0.9 * first[name] + 0.1 * g
                    second[name] = 0.999 * second[name] + 0.001 * g**2
                    direction = (first[name] / (1 - 0.9**step)) / (
                        np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
                    )
                    params[name] = params[name] - rate * fallen * direction
                if method.startswith("swr") or method == "hard_projection":
                    λ = {"swr_follow": fallen * np.array(value)}.get(method, value)
                    rescale(params, references, λ)
            yield evaluation(stage, epoch, np.mean(losses))


def rescale(params, references, coefficients):
    """The paper's algorithm; two coefficients, for features and classifier."""
    feature, classifier = np.broadcast_to(coefficients, 2)
    so_far = 1.0
    for layer in LAYERS:
        λ = classifier if layer == LAYERS[-1] else feature
        now = norm(params, layer)
        scaler = (λ * references[layer] + (1 - λ) * now) / now
        so_far *= scaler
        params[layer, "kernel"] = params[layer, "kernel"] * scaler
        params[layer, "bias"] = params[layer, "bias"] * so_far
