"""Tensors of any rank in CasADi, whose own matrices have two axes.

An `Array` is its entries in row-major order, as one column, and a shape. Whatever only moves
entries (views, slices, permutations, padding, windows) is then a choice of indices, and torch
itself makes that choice: the operator is run on a tensor of indices instead of the entries.
Read column by column, the entries of a row-major matrix are those of its transpose; no
transposition is needed for products and reductions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import casadi as ca
import torch

__all__ = [
    "Array",
    "Operator",
    "Value",
    "along",
    "broadcast",
    "by_channel",
    "columns",
    "entries",
    "gather",
    "indices",
    "is_full_range",
    "product",
    "shape_of",
]

#: What an operator meets: an array, a constant tensor or a number.
Value = Any

#: ``operator(shape, *arguments)``: the arguments of the ATen operator, ``shape`` that of its
#: (first) output. Raises NotImplementedError with a reason for what it does not cover.
Operator = Callable[..., Any]


@dataclass(frozen=True)
class Array:
    """A tensor of CasADi expressions.

    Attributes
    ----------
    entries : casadi.MX, shape (size, 1)
        In row-major order, dense.
    shape : tuple of int
    """

    entries: Any
    shape: tuple[int, ...]

    @classmethod
    def of(cls, matrix: Any, shape: Sequence[int]) -> Array:
        """Take the entries of a CasADi matrix, column by column, as a tensor of a shape.

        Parameters
        ----------
        matrix : casadi.MX
        shape : sequence of int

        Returns
        -------
        Array
        """
        return cls(ca.densify(ca.vec(matrix)), tuple(shape))


def shape_of(value: Value) -> tuple[int, ...]:
    """Shape of an array, a tensor or a number.

    Parameters
    ----------
    value : Array, Tensor or number

    Returns
    -------
    tuple of int
    """
    return tuple(value.shape) if isinstance(value, Array | torch.Tensor) else ()


def entries(value: Value) -> Any:
    """Entries in row-major order, constants in float64.

    Parameters
    ----------
    value : Array, Tensor or number

    Returns
    -------
    casadi.MX or casadi.DM, shape (size, 1)

    Examples
    --------
    >>> entries(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    DM([1, 2, 3, 4])
    """
    if isinstance(value, Array):
        return value.entries
    if isinstance(value, torch.Tensor):
        return ca.DM(value.detach().to("cpu", torch.float64).reshape(-1).numpy())
    return ca.DM(float(value))


def broadcast(value: Value, shape: Sequence[int]) -> Any:
    """Entries of a value stretched to a shape, by the rules of NumPy.

    Parameters
    ----------
    value : Array, Tensor or number
    shape : sequence of int

    Returns
    -------
    casadi.MX or casadi.DM, shape (size, 1)

    Examples
    --------
    >>> broadcast(torch.tensor([1.0, 2.0]), (2, 2))
    DM([1, 2, 1, 2])
    """
    size = math.prod(shape)
    if math.prod(shape_of(value)) == size:
        return entries(value)
    if math.prod(shape_of(value)) == 1:
        return ca.repmat(entries(value), size, 1)
    if isinstance(value, torch.Tensor):
        return entries(value.expand(*shape))
    return gather(value.entries, indices(value.shape).expand(*shape)).entries


def by_channel(value: Value, rank: int) -> Array | None:
    """One number a channel, in a shape that broadcasts to (samples, channels, ...).

    Parameters
    ----------
    value : Array, Tensor or None, shape (channels,)
    rank : int
        Number of axes to broadcast to.

    Returns
    -------
    Array or None
    """
    if value is None:
        return None
    return Array(entries(value), (1, *shape_of(value), *(1,) * (rank - 2)))


def indices(shape: Sequence[int], start: int = 0) -> torch.Tensor:
    """The index of every entry of a row-major tensor.

    Parameters
    ----------
    shape : sequence of int
    start : int
        Index of the first entry.

    Returns
    -------
    Tensor, of this shape
        In float64, exact up to 2^53: some of torch's operators take no integers.
    """
    stop = start + math.prod(shape)
    return torch.arange(start, stop, dtype=torch.float64).reshape(tuple(shape))


def is_full_range(chosen: Sequence[int], size: int) -> bool:
    """Whether the indices are 0, 1, ..., size - 1, in this order.

    Parameters
    ----------
    chosen : sequence of int
    size : int

    Returns
    -------
    bool
    """
    return len(chosen) == size and all(i == k for k, i in enumerate(chosen))


def gather(pool: Any, index: torch.Tensor) -> Array:
    """The entries of a column at the given indices.

    Parameters
    ----------
    pool : casadi.MX, shape (size, 1)
    index : Tensor, of any shape
        Of whole numbers.

    Returns
    -------
    Array
        Of the shape of ``index``.
    """
    chosen = index.reshape(-1).long().tolist()
    if not is_full_range(chosen, pool.shape[0]):
        pool = pool[chosen]
    return Array.of(pool, index.shape)


def columns(value: Value, dims: Sequence[int]) -> Any:
    """A matrix whose columns run over some axes, one column for each index of the other axes.

    Parameters
    ----------
    value : Array or Tensor
    dims : sequence of int
        The axes inside a column, negative ones from the end; none for all.

    Returns
    -------
    casadi.MX or casadi.DM, shape (inner, outer)
    """
    shape = shape_of(value)
    if not shape:
        return entries(value)
    inner = sorted(d % len(shape) for d in dims) if dims else list(range(len(shape)))
    order = [d for d in range(len(shape)) if d not in inner] + inner
    rows = math.prod(shape[d] for d in inner)
    if isinstance(value, torch.Tensor):
        moved = entries(value.permute(order))
    else:
        moved = gather(value.entries, indices(shape).permute(order)).entries
    return ca.reshape(moved, rows, -1)


def along(value: Array, dim: int, function: Callable[[Any], Any]) -> Array:
    """Apply a function of columns along one axis; it keeps the shape.

    Parameters
    ----------
    value : Array
    dim : int
    function : callable
        Of a matrix, column by column.

    Returns
    -------
    Array
    """
    if not value.shape:
        return Array.of(function(value.entries), ())
    last = list(value.shape)
    last.append(last.pop(dim))
    back = indices(last).movedim(-1, dim)
    return gather(ca.densify(ca.vec(function(columns(value, [dim])))), back)


def product(one: Any, other: Any, rows: int, inner: int, width: int) -> Any:
    """Product of two row-major matrices given by their entries.

    Parameters
    ----------
    one : casadi.MX or casadi.DM, shape (rows * inner, 1)
    other : casadi.MX or casadi.DM, shape (inner * width, 1)
    rows, inner, width : int

    Returns
    -------
    casadi.MX, shape (rows * width, 1)
        Its entries, row-major.

    Examples
    --------
    >>> product(ca.DM([1, 2, 3, 4]), ca.DM([1, 0, 1, 1]), 2, 2, 2)
    DM([3, 2, 7, 4])
    """
    return ca.vec(ca.mtimes(ca.reshape(other, width, inner), ca.reshape(one, inner, rows)))
