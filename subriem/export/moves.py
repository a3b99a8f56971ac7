"""Operators that only move entries: torch moves indices, and the entries follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import casadi as ca
import torch

from subriem.export.arrays import (
    Array,
    Operator,
    Value,
    entries,
    gather,
    indices,
    shape_of,
)

__all__ = ["MOVES", "PLACEMENTS", "move"]

#: Operators that only move entries, and which of their arguments hold entries.
MOVES: dict[str, tuple[int, ...]] = {
    "alias": (0,),
    "cat": (0,),
    "clone": (0,),
    "copy": (0, 1),
    "diagonal": (0,),
    "expand": (0,),
    "flip": (0,),
    "gather": (0,),
    "index": (0,),
    "index_select": (0,),
    "permute": (0,),
    "repeat": (0,),
    "select": (0,),
    "slice": (0,),
    "slice_scatter": (0, 1),
    "split_with_sizes": (0,),
    "squeeze": (0,),
    "unfold": (0,),
    "unsqueeze": (0,),
    "upsample_nearest2d": (0,),
    "view.default": (0,),
}


def move(
    target: Callable[..., Any], data: Sequence[int], arguments: Sequence[Any], **options: Any
) -> Any:
    """Run an operator of torch on indices, and take the entries that it chose.

    Parameters
    ----------
    target : callable
        The operator.
    data : sequence of int
        Which arguments hold entries.
    arguments : sequence
    **options
        Of the operator.

    Returns
    -------
    Array or list of Array
    """
    pool: list[Any] = []
    size = 0

    def index_of(value: Value) -> torch.Tensor:
        nonlocal size
        pool.append(entries(value))
        index = indices(shape_of(value), size)
        size += index.numel()
        return index

    on_indices = list(arguments)
    for place in data:
        held = arguments[place]
        many = isinstance(held, list | tuple)
        on_indices[place] = [index_of(v) for v in held] if many else index_of(held)
    chosen = target(*on_indices, **options)
    column = ca.vertcat(*pool)
    if isinstance(chosen, torch.Tensor):
        return gather(column, chosen)
    return [gather(column, one) for one in chosen]


def _index_put(
    shape: Sequence[int], x: Value, index: Any, value: Value, accumulate: bool = False
) -> Array:
    if accumulate:
        raise NotImplementedError("accumulate=True")
    return move(torch.ops.aten.index_put.default, (0, 2), (x, index, value))


def _embedding(
    shape: Sequence[int],
    weight: Array,
    chosen: torch.Tensor,
    padding: int = -1,
    scaled: bool = False,
    sparse: bool = False,
) -> Array:
    if scaled or bool((chosen == padding).any()):
        raise NotImplementedError("padding_idx among the inputs, whose row has no derivative")
    return gather(weight.entries, indices(weight.shape)[chosen])


def _constant_pad(shape: Sequence[int], x: Array, pad: Sequence[int], value: float = 0.0) -> Array:
    size = math.prod(x.shape)
    index = torch.nn.functional.pad(indices(x.shape), list(pad), value=float(size))
    return gather(ca.vertcat(x.entries, ca.DM(float(value))), index)


#: Placements that torch cannot make on indices as they are, by ATen name.
PLACEMENTS: dict[str, Operator] = {
    "index_put": _index_put,
    "embedding": _embedding,
    "constant_pad_nd": _constant_pad,
}
