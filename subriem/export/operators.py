"""Every operator that can be lowered, by its ATen name."""

from __future__ import annotations

from typing import Any

from subriem.export.arrays import Operator
from subriem.export.elementwise import ELEMENTWISE
from subriem.export.moves import MOVES, PLACEMENTS, move
from subriem.export.products import PRODUCTS
from subriem.export.reductions import REDUCTIONS
from subriem.export.windows import LINEAR, WINDOWS, apply_linear

__all__ = ["KEPT", "OPERATORS", "find_operator"]

_TABLE: dict[str, Operator] = {
    **ELEMENTWISE,
    **PLACEMENTS,
    **PRODUCTS,
    **REDUCTIONS,
    **WINDOWS,
}

#: Operators that are lowered whole: what torch decomposes them into subtracts a maximum, or is a
#: fused kernel.
KEPT: tuple[str, ...] = ("logsumexp", "scaled_dot_product_attention")

#: The ATen names of all operators that can be lowered.
OPERATORS: tuple[str, ...] = tuple(sorted({*_TABLE, *MOVES, *LINEAR}))


def find_operator(target: Any) -> Operator | None:
    """How an ATen operator is lowered, or None where it is not.

    Parameters
    ----------
    target : torch._ops.OpOverload

    Returns
    -------
    Operator or None

    Examples
    --------
    >>> import torch
    >>> find_operator(torch.ops.aten.tanh.default) is not None
    True
    >>> find_operator(torch.ops.aten.det.default) is None
    True
    """
    _, _, full = str(target).partition(".")
    for name in (full, full.partition(".")[0]):
        if name in MOVES:
            data = MOVES[name]
            return lambda shape, *arguments, **options: move(target, data, arguments, **options)
        if name in LINEAR:
            axes = LINEAR[name]
            return lambda shape, *arguments: apply_linear(target, axes, arguments)
        if name in _TABLE:
            return _TABLE[name]
    return None
