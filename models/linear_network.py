"""A deep linear network: the weights, and the gradients of the entries of their product.

    theta = (U_1, ..., U_q),   U_l of shape dims[l-1] x dims[l],   phi(theta) = U_1 U_2 ... U_q,

and one field for each entry of phi, its gradient in theta. A gradient flow of any loss of phi on
any data moves in their span; what is constant along all of them is conserved in all such flows. So
are the entries of U_l' U_l - U_{l+1} U_{l+1}': the distribution is not bracket-generating for
q > 1, and the fields need not be independent.

Source: Marcotte, Gribonval, Peyre, arXiv 2307.00144; Arora, Cohen, Hazan, arXiv 1802.06509, for
the conserved entries.
"""

from __future__ import annotations

import functools
import itertools
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
        (4, 5),
        False,
        {"dims": (2, 2, 2)},
        "3 laws of 8 parameters: Marcotte, Gribonval, Peyre; the flag by exact brackets",
    ),
    Truth((1, 2, 3, 5, 7, 11, 13, 17), (1,), False, {"dims": (1, 2, 2, 1)}, "a single field"),
)


def linear_network(dims: Sequence[int]) -> Structure:
    """Weights of a deep linear network, with the gradients of the entries of their product.

    Parameters
    ----------
    dims : sequence of int
        Widths of the layers, from one end to the other.

    Returns
    -------
    Structure
        Coordinates ``u1_11 u1_12 ...``, matrix by matrix and row by row (``u1_1_1 ...`` where a
        width has two digits), and dims[0] dims[-1] fields in the order of the product's entries.

    Raises
    ------
    InputError
        If there are fewer than two widths or one is not a positive integer.

    Examples
    --------
    >>> linear_network([2, 1, 1])
    Structure linear_network(2, 1, 1): 3 coordinates (u1_11, u1_21, u2_11), 2 fields
    >>> linear_network([2, 1, 1]).frame_at([1, 2, 3])
    array([[3., 0.],
           [0., 3.],
           [1., 2.]])
    """
    dims = list(dims)
    if len(dims) < 2 or not all(isinstance(width, Integral) and width > 0 for width in dims):
        raise InputError(f"linear_network: expected two or more positive widths, got {dims}")
    shapes = list(itertools.pairwise(int(width) for width in dims))
    between = "_" if max(dims) > 9 else ""
    names = [
        f"u{layer}_{i}{between}{j}"
        for layer, (rows, columns) in enumerate(shapes, start=1)
        for i in range(1, rows + 1)
        for j in range(1, columns + 1)
    ]
    return GradientStructure(
        f"linear_network({', '.join(map(str, dims))})",
        names,
        [Block(f"U{layer}", shape) for layer, shape in enumerate(shapes, start=1)],
        int(dims[0]) * int(dims[-1]),
        functools.partial(_frame, shapes),
        functools.partial(_potential, shapes),
        functools.partial(_balancedness, shapes),
    )


def _matrices(shapes: list[tuple[int, int]], state: ca.SX) -> list[ca.SX]:
    ends = list(itertools.accumulate((rows * columns for rows, columns in shapes), initial=0))
    return [
        ca.reshape(state[start:end], columns, rows).T
        for (rows, columns), (start, end) in zip(shapes, itertools.pairwise(ends), strict=True)
    ]


def _frame(shapes: list[tuple[int, int]], state: ca.SX) -> ca.SX:
    product = functools.reduce(operator.matmul, _matrices(shapes, state))
    return ca.jacobian(ca.vec(product.T), state).T


def _potential(shapes: list[tuple[int, int]], state: ca.SX) -> tuple[ca.SX, ca.SX]:
    """One entry of the product in random bases: a' U_1 ... U_q b."""
    left, right = ca.SX.sym("a", shapes[0][0]), ca.SX.sym("b", shapes[-1][1])
    row = functools.reduce(operator.matmul, _matrices(shapes, state), left.T)
    return ca.vertcat(left, right), row @ right


def _balancedness(shapes: list[tuple[int, int]], state: ca.SX) -> ca.SX:
    """The entries of U_l' U_l - U_{l+1} U_{l+1}' on and above the diagonal."""
    entries = []
    for before, after in itertools.pairwise(_matrices(shapes, state)):
        difference = before.T @ before - after @ after.T
        width = difference.shape[0]
        entries += [difference[i, j] for i in range(width) for j in range(i, width)]
    return ca.vertcat(*entries) if entries else ca.SX(0, 1)
