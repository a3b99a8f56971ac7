"""Matrix products, and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import casadi as ca
import torch

from subriem.export.arrays import (
    Array,
    Operator,
    Value,
    along,
    broadcast,
    entries,
    gather,
    indices,
    product,
    shape_of,
)
from subriem.export.reductions import shares

__all__ = ["PRODUCTS"]


def _matrix_product(shape: Sequence[int], x: Value, y: Value) -> Array:
    rows, inner = shape_of(x)[-2:]
    width = shape_of(y)[-1]
    count = math.prod(shape[:-2])
    ones, others = entries(x), entries(y)
    blocks = [
        product(
            ones[k * rows * inner : (k + 1) * rows * inner],
            others[k * inner * width : (k + 1) * inner * width],
            rows,
            inner,
            width,
        )
        for k in range(count)
    ]
    return Array.of(ca.vertcat(*blocks), shape)


def _addmm(
    shape: Sequence[int], x: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Array:
    outer = _matrix_product(shape, a, b).entries
    return Array.of(
        (outer if alpha == 1 else alpha * outer)
        + (broadcast(x, shape) if beta == 1 else beta * broadcast(x, shape)),
        shape,
    )


def _attention(
    shape: Sequence[int],
    query: Value,
    key: Value,
    value: Value,
    mask: Value = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    if enable_gqa:
        raise NotImplementedError("enable_gqa=True")
    batch = tuple(shape[:-2])
    (rows, inner), (across, width) = shape_of(query)[-2:], shape_of(value)[-2:]
    scores_shape = (*batch, rows, across)

    query = Array.of(ca.MX(broadcast(query, (*batch, rows, inner))), (*batch, rows, inner))
    key = Array.of(ca.MX(broadcast(key, (*batch, across, inner))), (*batch, across, inner))
    value = Array.of(ca.MX(broadcast(value, (*batch, across, width))), (*batch, across, width))
    key = gather(key.entries, indices(key.shape).mT)
    scores = _matrix_product(scores_shape, query, key).entries
    scores = (1 / math.sqrt(inner) if scale is None else scale) * scores

    seen = torch.ones(())
    if is_causal:
        mask = torch.ones(rows, across, dtype=torch.bool).tril()
    if isinstance(mask, torch.Tensor):
        if mask.dtype is torch.bool:
            mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -math.inf)
        # A query that sees no key gets zeros from torch, not 0/0.
        seen = (mask > -math.inf).any(-1, keepdim=True).double()
        mask = torch.where(seen > 0, mask, 0.0)
    if mask is not None:
        scores = scores + broadcast(mask, scores_shape)
    weights = along(Array.of(scores, scores_shape), -1, shares)
    if not bool(seen.all()):
        weights = Array(weights.entries * broadcast(seen, scores_shape), scores_shape)
    return _matrix_product(shape, weights, value)


#: Matrix products, by ATen name.
PRODUCTS: dict[str, Operator] = {
    "mm": _matrix_product,
    "bmm": _matrix_product,
    "addmm": _addmm,
    "scaled_dot_product_attention": _attention,
}
