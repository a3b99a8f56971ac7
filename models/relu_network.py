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

import itertools
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

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
    between = "_" if max(dims) > 9 else ""
    names = []
    for layer, (rows, columns) in enumerate(itertools.pairwise(dims), start=1):
        for i, j in itertools.product(range(rows), range(columns)):
            names.append(f"u{layer}_{i + 1}{between}{j + 1}")
        if bias and layer < len(dims) - 1:
            names += [f"b{layer}_{j + 1}" for j in range(columns)]
    position = {name: k for k, name in enumerate(names)}

    def path(start: int, units: Sequence[int]) -> list[int]:
        """The coordinates along a path through units of the layers from `start` on."""
        return [
            position[f"u{layer}_{i + 1}{between}{j + 1}"]
            for layer, (i, j) in enumerate(itertools.pairwise(units), start=start + 1)
        ]

    paths = [path(0, units) for units in itertools.product(*map(range, dims))]
    for layer in range(1, len(dims) - 1) if bias else ():
        for units in itertools.product(*map(range, dims[layer:])):
            paths.append([position[f"b{layer}_{units[0] + 1}"], *path(layer, units)])

    def frame(q: Any) -> list[list[Any]]:
        fields = []
        for coordinates in paths:
            field: list[Any] = [0] * len(names)
            for k in coordinates:
                field[k] = 1
                for other in coordinates:
                    field[k] = field[k] * q[other] if other != k else field[k]
            fields.append(field)
        return fields

    suffix = ", bias" if bias else ""
    return Structure.define(f"relu_network({', '.join(map(str, dims))}{suffix})", names, frame)
