"""The published list of networks, and what is known of them."""

import itertools

import numpy as np


def linear_list() -> list[list[int]]:
    """The 50 linear networks of the notebook of arXiv 2307.00144."""
    state = np.random.RandomState(0)
    found = []
    for _ in range(50):
        depth = state.randint(2, 5)
        found.append([int(state.randint(2, 6)) for _ in range(depth + 1)])
    return found


def relu_list() -> list[tuple[list[int], bool]]:
    """Its 50 ReLU networks, with or without bias."""
    state = np.random.RandomState(0)
    found = []
    for _ in range(50):
        depth = state.randint(2, 5)
        dims = [int(state.randint(2, 10)) for _ in range(depth + 1)]
        found.append((dims, bool(state.random_sample() < 0.5)))
    return found


def balancedness_rank(dims: list[int]) -> int:
    """Independent entries of U_l' U_l - U_{l+1} U_{l+1}' at a random point, in floats."""
    generator = np.random.default_rng(1)
    matrices = [generator.standard_normal(shape) for shape in itertools.pairwise(dims)]
    rows = []
    for layer in range(len(matrices) - 1):
        width = dims[layer + 1]
        for i, j in itertools.combinations_with_replacement(range(width), 2):
            change = [np.zeros_like(matrix) for matrix in matrices]
            change[layer][:, i] += matrices[layer][:, j]
            change[layer][:, j] += matrices[layer][:, i]
            change[layer + 1][i] -= matrices[layer + 1][j]
            change[layer + 1][j] -= matrices[layer + 1][i]
            rows.append(np.concatenate([part.ravel() for part in change]))
    return int(np.linalg.matrix_rank(np.array(rows)))
