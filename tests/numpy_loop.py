"""The experiments' loops for MLPs, written out in NumPy and float64."""

import numpy as np

LAYERS = [f"Dense_{i}" for i in range(3)]
"""Of the paper's MLP."""


def layers_of(params):
    return sorted({layer for layer, _ in params})


def forward(params, images):
    """Outputs and the hidden layers, input first."""
    hidden = [images.reshape(len(images), -1)]
    *inner, last = layers_of(params)
    for layer in inner:
        x = hidden[-1] @ params[layer, "kernel"] + params[layer, "bias"]
        hidden.append(np.maximum(x, 0))
    return hidden[-1] @ params[last, "kernel"] + params[last, "bias"], hidden


def cross_entropies(logits, labels):
    highest = logits.max(axis=1)
    total = np.exp(logits - highest[:, None]).sum(axis=1)
    return np.log(total) + highest - logits[np.arange(len(labels)), labels]


def gradient(params, images, labels, classes=None):
    """Of the mean cross-entropy, among some classes or all."""
    logits, hidden = forward(params, images)
    if classes is not None:
        logits[:, ~classes] = -np.inf
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    back = shares / shares.sum(axis=1, keepdims=True)
    back[np.arange(len(labels)), labels] -= 1
    return backwards(params, hidden, back / len(labels))


def backwards(params, hidden, back):
    """Of a loss whose gradient by the outputs is given."""
    grads = {}
    for layer, x in reversed(list(zip(layers_of(params), hidden, strict=True))):
        grads[layer, "kernel"], grads[layer, "bias"] = x.T @ back, back.sum(axis=0)
        back = (back @ params[layer, "kernel"].T) * (x > 0)
    return grads


def norm(params, layer):
    return np.sqrt((params[layer, "kernel"] ** 2).sum())


def measured(params, initial, dataset):
    """What an evaluation records of the parameters."""
    logits, hidden = forward(params, pixels(dataset, dataset.test_images))
    return {
        "test_accuracy": (logits.argmax(axis=1) == dataset.test_labels).mean(),
        **observed(params, initial, [x[:500] for x in hidden]),
    }


def observed(params, initial, hidden):
    """What weights and hidden units look like."""
    layers = layers_of(params)
    growth = [norm(params, layer) / norm(initial, layer) for layer in layers]
    units = np.concatenate([x.max(axis=0) for x in hidden[1:]])
    values = np.linalg.svd(hidden[-1], compute_uv=False)
    shares = values[values > 0] / values.sum()
    return {
        "weight_growth": np.mean(growth),
        "growth": dict(
            zip([f"{layer}/kernel" for layer in layers], growth, strict=True)
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
    adam = Adam(params)
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
                    direction = adam.direction(name, g, step)
                    params[name] = params[name] - rate * fallen * direction
                if method.startswith("swr") or method == "hard_projection":
                    λ = {"swr_follow": fallen * np.array(value)}.get(method, value)
                    rescale(params, references, λ)
            yield evaluation(stage, epoch, np.mean(losses))


class Adam:
    """Both moments of every parameter."""

    def __init__(self, params):
        self.first = {name: np.zeros_like(leaf) for name, leaf in params.items()}
        self.second = {name: np.zeros_like(leaf) for name, leaf in params.items()}

    def direction(self, name, g, step):
        """Along which a parameter goes down in a step, counted from 1."""
        first = self.first[name] = 0.9 * self.first[name] + 0.1 * g
        second = self.second[name] = 0.999 * self.second[name] + 0.001 * g**2
        return (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)


def rescale(params, references, coefficients):
    """The paper's algorithm; two coefficients, for features and classifier."""
    feature, classifier = np.broadcast_to(coefficients, 2)
    layers, so_far = layers_of(params), 1.0
    for layer in layers:
        λ = classifier if layer == layers[-1] else feature
        now = norm(params, layer)
        scaler = (λ * references[layer] + (1 - λ) * now) / now
        so_far *= scaler
        params[layer, "kernel"] = params[layer, "kernel"] * scaler
        params[layer, "bias"] = params[layer, "bias"] * so_far


def run_stream(tasks, normalize, initial, method, value, rate, optimizer="adam"):
    """Learns task after task, told of nothing; yields a mapping for every task.

    Args:
        tasks: with inputs, targets and an order of batches; targets that are no
            integers are numbers to predict.
        normalize: stored inputs → the network's.
        initial: task → parameters, of which only a fresh network has those behind
            the first.
        method: its name.
        value: its λ; of SWR, for features and classifier.
        rate: the learning rate.
        optimizer: ``"adam"`` or ``"sgd"``.
    """
    steps = 0
    for number, task in enumerate(tasks, 1):
        if number == 1 or method == "fresh":
            start = {name: np.float64(leaf) for name, leaf in initial(number).items()}
            params, adam, age = dict(start), Adam(start), 0
            references = {layer: norm(start, layer) for layer in layers_of(start)}
        elif method == "shrink_and_perturb":
            params = {
                name: (1 - value) * leaf + value * start[name]
                for name, leaf in params.items()
            }
        regression = task.targets.dtype != np.int32
        losses, correct, norms = [], [], []
        for rows in task.order:
            if (rows < 0).all():
                continue
            inputs, targets = normalize(task.inputs[rows]), task.targets[rows]
            outputs, hidden = forward(params, inputs)
            if regression:
                losses += list(((outputs - targets) ** 2).mean(axis=1))
                back = 2 * (outputs - targets) / outputs.size
                grads = backwards(params, hidden, back)
            else:
                if task.classes is not None:
                    outputs[:, ~task.classes] = -np.inf
                losses += list(cross_entropies(outputs, targets))
                correct += list(outputs.argmax(axis=1) == targets)
                grads = gradient(params, inputs, targets, task.classes)
            if method == "l2":
                grads = {name: g + value * params[name] for name, g in grads.items()}
            # L2 Init is chained in front of the optimiser, behind this measurement.
            norms.append(np.sqrt(sum((g**2).sum() for g in grads.values())))
            steps, age = steps + 1, age + 1
            for name, g in grads.items():
                if method == "l2_init":
                    g = g + value * (params[name] - start[name])
                if optimizer == "adam":
                    g = adam.direction(name, g, age)
                params[name] = params[name] - rate * g
            if method.startswith("swr"):
                rescale(params, references, value)
        own = task.inputs
        if task.classes is not None:
            own = own[task.classes[task.targets]]
        yield {
            "task": number,
            "step": steps,
            "scored": int(task.scored),
            "train_loss": np.mean(losses),
            "gradient_norm": np.mean(norms),
            "online_accuracy": None if regression else np.mean(correct),
            "end_accuracy": (
                None
                if regression or task.classes is not None
                else right(params, normalize(task.inputs), task.targets)
            ),
            "test_accuracy": (
                None
                if task.test_inputs is None
                else right(
                    params,
                    normalize(task.test_inputs),
                    task.test_targets,
                    task.classes,
                )
            ),
            **observed(params, start, forward(params, normalize(own[:500]))[1]),
        }


def right(params, inputs, targets, classes=None):
    """The fraction that is classified correctly."""
    outputs = forward(params, inputs)[0]
    if classes is not None:
        outputs[:, ~classes] = -np.inf
    return (outputs.argmax(axis=1) == targets).mean()
