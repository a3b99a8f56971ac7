"""A ReLU network: the weights, and the gradients of the products along its paths.

    theta = (U_1, b_1, ..., b_{q-1}, U_q),   U_l of shape dims[l-1] x dims[l],   b_l of dims[l],
    phi(theta) = (u1_ij u2_jk ... uq_yz over all paths i j k ... y z from input to output,
                  bl_j u(l+1)_jk ... uq_yz over all paths from a hidden bias to output),

and one field for each entry of phi, its gradient in theta. Where no unit switches on or off, the
outputs of the network are linear in phi, so that a gradient flow of any loss on any data moves in
the span of the fields. What comes in at a hidden unit j of layer l balances what goes out: the sum
over i of ul_ij^2, plus bl_j^2, less the sum over k of u(l+1)_jk^2, is conserved.

Source: Marcotte, Gribonval, Peyre, arXiv 2307.00144; Du, Hu, Lee, arXiv 1806.00900, for the
conserved quantities.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from numbers import Integral

import casadi as ca

from subriem.errors import InputError
from subriem.structure import Block, GradientStructure, Structure, Truth

TRUTHS = (
    Truth((1, 2, 3), (2,), False, {"dims": (2, 1, 1)}, "involutive: |u|^2 - v^2 is conserved"),
    Truth(
        (1, 2, 3, 5, 7, 11, 13, 17),
        (6,),
        False,
        {"dims": (2, 2, 2)},
        "each hidden unit is a rank-one matrix u v': 2 (2 + 2 - 1) directions, involutive",
    ),
    Truth(
        (1, 2, 3, 5, 7, 11),
        (4,),
        False,
        {"dims": (1, 2, 1), "bias": True},
        "each hidden unit (u, b, v) is as (2, 1, 1) without bias",
    ),
)


def relu_network(dims: Sequence[int], bias: bool = False) -> Structure:
    """Weights of a ReLU network, with the gradients of the products along its paths.

    Parameters
    ----------
    dims : sequence of int
        Widths of the layers from input to output.
    bias : bool
        Whether the hidden layers have biases.

    Returns
    -------
    Structure
        Coordinates ``u1_11 u1_12 ...``, matrix by matrix and row by row, the biases ``b1_1 ...``
        of a layer after its matrix (underscores between all numbers where a width has two
        digits); one field a path.

    Raises
    ------
    InputError
        If there are fewer than two widths or one is not a positive integer.

    Examples
    --------
    >>> relu_network([2, 1, 1])
    Structure relu_network(2, 1, 1): 3 coordinates (u1_11, u1_21, u2_11), 2 fields
    >>> relu_network([1, 1, 1], bias=True).frame_at([2, 3, 5])
    array([[5., 0.],
           [0., 5.],
           [2., 3.]])
    """
    dims = list(dims)
    if len(dims) < 2 or not all(isinstance(width, Integral) and width > 0 for width in dims):
        raise InputError(f"relu_network: expected two or more positive widths, got {dims}")
    widths = [int(width) for width in dims]
    between = "_" if max(widths) > 9 else ""
    names, blocks = [], []
    for layer, (rows, columns) in enumerate(itertools.pairwise(widths), start=1):
        for i, j in itertools.product(range(rows), range(columns)):
            names.append(f"u{layer}_{i + 1}{between}{j + 1}")
        blocks.append(Block(f"U{layer}", (rows, columns)))
        if bias and layer < len(widths) - 1:
            names += [f"b{layer}_{j + 1}" for j in range(columns)]
            blocks.append(Block(f"b{layer}", (columns,)))
    starts = [0, *range(1, len(widths) - 1)] if bias else [0]
    suffix = ", bias" if bias else ""
    return GradientStructure(
        f"relu_network({', '.join(map(str, widths))}{suffix})",
        names,
        blocks,
        sum(math.prod(widths[start:]) for start in starts),
        functools.partial(_frame, widths, bias),
        functools.partial(_potential, widths, bias),
        functools.partial(_balancedness, widths, bias),
    )


def _layers(widths: list[int], bias: bool, state: ca.SX) -> tuple[list[ca.SX], list[ca.SX]]:
    """The matrices, and the biases of the hidden layers (none where there is no bias)."""
    matrices, biases, start = [], [], 0
    for layer, (rows, columns) in enumerate(itertools.pairwise(widths), start=1):
        matrices.append(ca.reshape(state[start : start + rows * columns], columns, rows).T)
        start += rows * columns
        if bias and layer < len(widths) - 1:
            biases.append(state[start : start + columns])
            start += columns
    return matrices, biases


def _frame(widths: list[int], bias: bool, state: ca.SX) -> ca.SX:
    """The gradient of the product along each path."""
    matrices, biases = _layers(widths, bias, state)

    def along(start: int, units: Sequence[int]) -> list[ca.SX]:
        hops = enumerate(itertools.pairwise(units), start=start)
        return [matrices[layer][i, j] for layer, (i, j) in hops]

    paths = [along(0, units) for units in itertools.product(*map(range, widths))]
    for layer, vector in enumerate(biases, start=1):
        for units in itertools.product(*map(range, widths[layer:])):
            paths.append([vector[units[0]], *along(layer, units)])
    products = [functools.reduce(operator.mul, path) for path in paths]
    return ca.jacobian(ca.vertcat(*products), state).T


def _potential(widths: list[int], bias: bool, state: ca.SX) -> tuple[ca.SX, ca.SX]:
    """All paths with weights that are products: one factor for each unit on the way."""
    matrices, biases = _layers(widths, bias, state)
    masks = [ca.SX.sym(f"d{layer}", width) for layer, width in enumerate(widths)]
    switches = [ca.SX.sym(f"c{layer}") for layer in range(1, len(biases) + 1)]
    row = masks[0].T
    for layer, matrix in enumerate(matrices):
        row = row @ matrix
        if layer < len(biases):
            row = row + switches[layer] * biases[layer].T
        row = row * masks[layer + 1].T
    return ca.vertcat(*masks, *switches), ca.sum2(row)


def _balancedness(widths: list[int], bias: bool, state: ca.SX) -> ca.SX:
    """What comes in at each hidden unit, squared, less what goes out."""
    matrices, biases = _layers(widths, bias, state)
    entries = []
    for layer, (before, after) in enumerate(itertools.pairwise(matrices)):
        for unit in range(widths[layer + 1]):
            balance = ca.sumsqr(before[:, unit]) - ca.sumsqr(after[unit, :])
            entries.append(balance + biases[layer][unit] ** 2 if bias else balance)
    return ca.vertcat(*entries) if entries else ca.SX(0, 1)
