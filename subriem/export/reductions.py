"""Sums, extremes, softmax and normalisations: what works along some axes."""

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
    along,
    broadcast,
    by_channel,
    columns,
    entries,
    shape_of,
)

__all__ = ["REDUCTIONS", "extreme", "shares"]


def extreme(pick: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """The largest (or smallest) entry of every column, for the larger (smaller) of two.

    Parameters
    ----------
    pick : callable
        ``casadi.fmax`` or ``casadi.fmin``.

    Returns
    -------
    callable
        Of a matrix; returns a row.
    """

    def fold(matrix: Any) -> Any:
        rows = ca.vertsplit(matrix)
        while len(rows) > 1:
            pairs = [pick(a, b) for a, b in zip(rows[::2], rows[1::2], strict=False)]
            rows = pairs + rows[2 * len(pairs) :]
        return rows[0]

    return fold


def _centred(matrix: Any) -> Any:
    return matrix - ca.repmat(ca.sum1(matrix) / matrix.shape[0], matrix.shape[0], 1)


def _dims(dim: Any) -> Sequence[int]:
    return () if dim is None else (dim,) if isinstance(dim, int) else dim


def _sum_over(shape: Sequence[int], x: Array, dim: Any = None, *_: Any, **__: Any) -> Array:
    return Array.of(ca.sum1(columns(x, _dims(dim))), shape)


def _mean_over(shape: Sequence[int], x: Array, dim: Any = None, *_: Any, **__: Any) -> Array:
    matrix = columns(x, _dims(dim))
    return Array.of(ca.sum1(matrix) / matrix.shape[0], shape)


def _var(
    shape: Sequence[int],
    x: Array,
    dim: Any = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Array:
    matrix = columns(x, _dims(dim))
    count = matrix.shape[0] - (1 if correction is None else correction)
    return Array.of(ca.sum1(_centred(matrix) ** 2) / count, shape)


def _amax(shape: Sequence[int], x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    return Array.of(extreme(ca.fmax)(columns(x, _dims(dim))), shape)


def _amin(shape: Sequence[int], x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    return Array.of(extreme(ca.fmin)(columns(x, _dims(dim))), shape)


def _max_dim(shape: Sequence[int], x: Array, dim: int, keepdim: bool = False) -> tuple[Any, ...]:
    return _amax(shape, x, dim), None


def _min_dim(shape: Sequence[int], x: Array, dim: int, keepdim: bool = False) -> tuple[Any, ...]:
    return _amin(shape, x, dim), None


def _vector_norm(
    shape: Sequence[int], x: Array, order: float = 2, dim: Any = None, *_: Any, **__: Any
) -> Array:
    matrix = columns(x, _dims(dim))
    if order == 1:
        return Array.of(ca.sum1(ca.fabs(matrix)), shape)
    if order != 2:
        raise NotImplementedError(f"a norm of order {order}; 1 and 2 are there")
    return Array.of(ca.sqrt(ca.sum1(matrix**2)), shape)


def _logsumexp(shape: Sequence[int], x: Array, dim: Any, keepdim: bool = False) -> Array:
    return Array.of(ca.log(ca.sum1(ca.exp(columns(x, _dims(dim))))), shape)


def shares(matrix: Any) -> Any:
    """Softmax of every column, smooth: no maximum is subtracted.

    Parameters
    ----------
    matrix : casadi.MX

    Returns
    -------
    casadi.MX, of the same shape
    """
    weights = ca.exp(matrix)
    return weights / ca.repmat(ca.sum1(weights), matrix.shape[0], 1)


def _log_shares(matrix: Any) -> Any:
    return matrix - ca.repmat(ca.log(ca.sum1(ca.exp(matrix))), matrix.shape[0], 1)


def _softmax(shape: Sequence[int], x: Array, dim: int, half_to_float: bool = False) -> Array:
    return along(x, dim, shares)


def _log_softmax(shape: Sequence[int], x: Array, dim: int, half_to_float: bool = False) -> Array:
    return along(x, dim, _log_shares)


def _standardized(x: Value, inner: int, eps: float) -> Array:
    """Mean 0 and variance 1 over every run of ``inner`` successive entries."""
    centred = _centred(ca.reshape(entries(x), inner, -1))
    deviation = ca.sqrt(ca.sum1(centred**2) / inner + eps)
    return Array.of(centred / ca.repmat(deviation, inner, 1), shape_of(x))


def _affine(x: Array, weight: Value, bias: Value) -> Array:
    """Weight times x plus bias, in shapes that broadcast to that of x."""
    out = x.entries
    if weight is not None:
        out = broadcast(weight, x.shape) * out
    if bias is not None:
        out = out + broadcast(bias, x.shape)
    return Array.of(out, x.shape)


def _layer_norm(
    shape: Sequence[int],
    x: Array,
    normalized: Sequence[int],
    weight: Value,
    bias: Value,
    eps: float,
) -> tuple[Any, ...]:
    out = _standardized(x, math.prod(normalized), eps)
    return _affine(out, weight, bias), None, None


def _group_norm(
    shape: Sequence[int],
    x: Array,
    weight: Value,
    bias: Value,
    samples: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Any, ...]:
    out = _standardized(x, channels // groups * positions, eps)
    return _affine(out, by_channel(weight, len(shape)), by_channel(bias, len(shape))), None, None


def _batch_norm(
    shape: Sequence[int],
    x: Value,
    weight: Value,
    bias: Value,
    mean: torch.Tensor,
    variance: torch.Tensor,
    momentum: float,
    eps: float,
) -> tuple[Any, ...]:
    rank = len(shape)
    scale = by_channel((variance.double() + eps).rsqrt(), rank)
    centred = broadcast(x, shape) - broadcast(by_channel(mean, rank), shape)
    out = Array.of(centred * broadcast(scale, shape), shape)
    return _affine(out, by_channel(weight, rank), by_channel(bias, rank)), None, None


def _instance_norm(
    shape: Sequence[int],
    x: Array,
    weight: Value,
    bias: Value,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, ...]:
    if shape[0] != 1:
        raise NotImplementedError("normalisation over the batch: call module.eval()")
    out = _standardized(x, math.prod(shape[2:]), eps)
    return _affine(out, by_channel(weight, len(shape)), by_channel(bias, len(shape))), None, None


#: Operators along some axes, by ATen name.
REDUCTIONS: dict[str, Operator] = {
    "sum": _sum_over,
    "mean": _mean_over,
    "var": _var,
    "amax": _amax,
    "max": _amax,
    "amin": _amin,
    "min": _amin,
    "max.dim": _max_dim,
    "min.dim": _min_dim,
    "linalg_vector_norm": _vector_norm,
    "logsumexp": _logsumexp,
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_native_batch_norm_legit.no_stats": _instance_norm,
}
