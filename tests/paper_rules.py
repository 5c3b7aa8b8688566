"""The paper's rules, transcribed for plain NumPy and apart from the library.

Everything here is float64 and a loop over layers in forward order; nothing is
shared with ``swr_optax``, so that agreement means something.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass
class PaperLayer:
    """Names of one layer's arrays in a flat dictionary."""

    weight: str
    bias: str | None = None
    normalizes: bool = False
    mean: str | None = None
    variance: str | None = None


def norms(arrays, layers):
    return [np.sqrt(np.sum(np.square(arrays[layer.weight]))) for layer in layers]


def scalers(arrays, layers, references, coefficients):
    """c_l = (λ n_l + (1 − λ) ‖W_l‖) / ‖W_l‖."""
    return [
        (coefficient * reference + (1 - coefficient) * norm) / norm
        for norm, reference, coefficient in zip(
            norms(arrays, layers), references, coefficients, strict=True
        )
    ]


def scale(arrays, layers, c, *, as_printed=False):
    """Scales a network, layer after layer.

    With ``as_printed`` the last normalisation layer's shift also takes the
    scaler of the layer in front of it, as Algorithm 1 has it in print.
    """
    scaled = dict(arrays)
    normalizing = [k for k, layer in enumerate(layers) if layer.normalizes]
    cumulative = 1.0
    for k, layer in enumerate(layers):
        if layer.mean is not None:
            scaled[layer.mean] = cumulative * arrays[layer.mean]
            scaled[layer.variance] = cumulative**2 * arrays[layer.variance]
        cumulative = c[k] if layer.normalizes else cumulative * c[k]
        scaled[layer.weight] = c[k] * arrays[layer.weight]
        if layer.bias is not None:
            shift = cumulative
            if as_printed and normalizing and k == normalizing[-1]:
                shift = c[k - 1] * cumulative
            scaled[layer.bias] = shift * arrays[layer.bias]
    return scaled, cumulative


def balanced(weights, p=2, q=2, rounds=100):
    """Saul's algorithm 1, unit by unit; W[i][j] is from unit j to unit i."""
    network = [np.array(weight, np.float64) for weight in weights]

    def incoming(layer, unit):
        return sum(abs(w) ** p for w in network[layer][unit]) ** (q / p)

    for _ in range(rounds):
        factors = []
        for layer in range(len(network) - 1):
            factors.append([])
            for j in range(len(network[layer])):
                outgoing = 0.0
                for i, row in enumerate(network[layer + 1]):
                    share = abs(row[j]) ** p / sum(abs(w) ** p for w in row)
                    outgoing += share * incoming(layer + 1, i)
                a = (outgoing / incoming(layer, j)) ** (1 / (4 * max(p, q)))
                factors[layer].append(a)
        for layer, of_units in enumerate(factors):
            for j, a in enumerate(of_units):
                network[layer][j] *= a
                network[layer + 1][:, j] /= a
        if max(abs(a - 1) for of_units in factors for a in of_units) < 1e-5:
            break
    return network


def pq_norm(weights, p=2, q=2):
    """(Σ_i (Σ_j |W_ij|^p)^{q/p})^{1/q} over all units i of a network."""
    rows = [row for weight in weights for row in np.array(weight, np.float64)]
    return sum(sum(abs(w) ** p for w in row) ** (q / p) for row in rows) ** (1 / q)


def exponents(layers, leaf_paths):
    """The rules as a matrix, by scaling one layer at a time."""
    ones = dict.fromkeys(leaf_paths, np.ones(()))
    columns = []
    for k in range(len(layers)):
        c = [np.e if j == k else 1.0 for j in range(len(layers))]
        scaled, _ = scale(ones, layers, c)
        columns.append([np.log(scaled[path]) for path in leaf_paths])
    return np.round(np.transpose(columns), 12)


def flat(*trees):
    """{"Dense_0/kernel": float64 array, ...} for nested dictionaries."""
    arrays = {}

    def visit(node, prefix):
        for name, child in node.items():
            if isinstance(child, dict):
                visit(child, f"{prefix}{name}/")
            else:
                arrays[prefix + name] = np.asarray(child, np.float64)

    for tree in trees:
        visit(tree, "")
    return arrays
