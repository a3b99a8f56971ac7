"""Windows that slide over the last axes: convolution and pooling."""

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
    broadcast,
    by_channel,
    columns,
    entries,
    gather,
    indices,
    product,
    shape_of,
)
from subriem.export.reductions import extreme

__all__ = ["LINEAR", "WINDOWS", "apply_linear"]


def _windows(
    index: torch.Tensor,
    outside: float,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Indices under a window that slides over the last axes: (..., *positions, *size)."""
    axes = len(size)
    pad = [p for amount in reversed(padding) for p in (amount, amount)]
    index = torch.nn.functional.pad(index, pad, value=outside)
    first = index.ndim - axes
    for k in range(axes):
        index = index.unfold(first + k, dilation[k] * (size[k] - 1) + 1, stride[k])
        index = index[..., :: dilation[k]]
    return index


def _filled(values: Sequence[int], axes: int) -> list[int]:
    """One number an axis; torch lets one stand for all."""
    return list(values) * axes if len(values) == 1 else list(values)


def _convolution(
    shape: Sequence[int],
    x: Value,
    weight: Value,
    bias: Value,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Array:
    size = shape_of(weight)[2:]
    axes = len(size)
    stride, padding, dilation, extra = (
        _filled(v, axes) for v in (stride, padding, dilation, output_padding)
    )
    outside = float(math.prod(shape_of(x)))
    pixels, kernel = indices(shape_of(x)), indices(shape_of(weight))
    if transposed:
        # The convolution of the inputs spread apart by zeros with the turned-about kernel.
        inner = shape_of(x)[2:]
        spread = [(n - 1) * s + 1 + e for n, s, e in zip(inner, stride, extra, strict=True)]
        spaced = torch.full((*pixels.shape[:2], *spread), outside, dtype=torch.float64)
        steps = (slice(0, (n - 1) * s + 1, s) for n, s in zip(inner, stride, strict=True))
        spaced[(slice(None), slice(None), *steps)] = pixels
        pixels = spaced
        padding = [d * (n - 1) - p for d, n, p in zip(dilation, size, padding, strict=True)]
        stride = [1] * axes
        kernel = kernel.flip(tuple(range(2, 2 + axes)))
        kernel = torch.cat([block.transpose(0, 1) for block in kernel.chunk(groups)])
    seen = _windows(pixels, outside, size, stride, padding, dilation)
    # Rows: channel and place in the window; columns: sample and position.
    last = list(range(2 + axes, 2 + 2 * axes))
    seen = seen.permute(1, *last, 0, *range(2, 2 + axes))
    pool, weights = ca.vertcat(entries(x), ca.DM(0.0)), entries(weight)
    channels = shape[1] // groups
    blocks = []
    for under, filters in zip(seen.chunk(groups), kernel.chunk(groups), strict=True):
        inner_size = filters[0].numel()
        positions = under.numel() // inner_size
        blocks.append(
            product(
                gather(weights, filters).entries,
                gather(pool, under).entries,
                channels,
                inner_size,
                positions,
            )
        )
    order = indices((shape[1], shape[0], *shape[2:])).transpose(0, 1)
    out = gather(ca.densify(ca.vertcat(*blocks)), order)
    if bias is None:
        return out
    return Array.of(out.entries + broadcast(by_channel(bias, len(shape)), shape), shape)


def _max_pool(
    shape: Sequence[int],
    x: Array,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Any, ...]:
    if ceil_mode:
        raise NotImplementedError("ceil_mode=True")
    size = _filled(size, 2)
    stride, padding, dilation = (_filled(v or size, 2) for v in (stride, padding, dilation))
    pool = ca.vertcat(x.entries, ca.DM(-math.inf))
    outside = float(math.prod(x.shape))
    seen = gather(pool, _windows(indices(x.shape), outside, size, stride, padding, dilation))
    return Array.of(extreme(ca.fmax)(columns(seen, (-2, -1))), shape), None


#: Linear operators with constant coefficients, and the number of last axes on which they act.
LINEAR: dict[str, int] = {
    "_adaptive_avg_pool2d": 2,
    "_adaptive_avg_pool3d": 3,
    "avg_pool2d": 2,
    "avg_pool3d": 3,
}


def apply_linear(target: Callable[..., Any], axes: int, arguments: Sequence[Any]) -> Array:
    """Apply the matrix of a linear operator, which torch tells for the unit vectors.

    Parameters
    ----------
    target : callable
        The operator.
    axes : int
        It acts on that many last axes, whatever the others.
    arguments : sequence
        Of the operator; the first is an Array.

    Returns
    -------
    Array
    """
    x = arguments[0]
    outer, inner = x.shape[: len(x.shape) - axes], x.shape[len(x.shape) - axes :]
    size = math.prod(inner)
    units = torch.eye(size, dtype=torch.float64).reshape(size, 1, *inner)
    images = target(units, *arguments[1:])
    matrix = ca.sparsify(ca.DM(images.reshape(size, -1).numpy())).T
    out = ca.mtimes(matrix, ca.reshape(x.entries, size, -1))
    return Array.of(out, (*outer, *images.shape[2:]))


#: Convolution and pooling, by ATen name.
WINDOWS: dict[str, Operator] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
}
