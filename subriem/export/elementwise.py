"""Operators that work entry by entry."""

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
    gather,
    indices,
)

__all__ = ["ELEMENTWISE"]


def _choose(condition: Any, one: Any, other: Any) -> Any:
    # What the branch not taken overflows to reaches neither the value nor a derivative.
    return ca.if_else(condition, one, other)


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda x: -x,
    "exp": ca.exp,
    "expm1": ca.expm1,
    "log": ca.log,
    "log1p": ca.log1p,
    "log2": lambda x: ca.log(x) / math.log(2.0),
    "log10": ca.log10,
    "sqrt": ca.sqrt,
    "rsqrt": lambda x: 1 / ca.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "sin": ca.sin,
    "cos": ca.cos,
    "tan": ca.tan,
    "asin": ca.asin,
    "acos": ca.acos,
    "atan": ca.atan,
    "sinh": ca.sinh,
    "cosh": ca.cosh,
    "tanh": ca.tanh,
    "asinh": ca.asinh,
    "acosh": ca.acosh,
    "atanh": ca.atanh,
    "erf": ca.erf,
    "abs": ca.fabs,
    "sign": ca.sign,
    "floor": ca.floor,
    "ceil": ca.ceil,
    "sigmoid": lambda x: 1 / (1 + ca.exp(-x)),
    # Not fmax, which passes over NaN and whose derivative at 0 is 1/2: torch's is 0.
    "relu": lambda x: _choose(x <= 0, 0, x),
    "logical_not": ca.logic_not,
    # Of truth values only: a quantity that depends on the parameters is never a whole number.
    "bitwise_not": ca.logic_not,
}

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "mul": lambda x, y: x * y,
    "atan2": ca.atan2,
    "maximum": ca.fmax,
    "minimum": ca.fmin,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "logical_and": ca.logic_and,
    "logical_or": ca.logic_or,
    "bitwise_and": ca.logic_and,
    "bitwise_or": ca.logic_or,
}


def _elementwise(function: Callable[..., Any], arity: int) -> Operator:
    def operator(shape: Sequence[int], *arguments: Value) -> Array:
        values = [broadcast(argument, shape) for argument in arguments[:arity]]
        return Array.of(function(*values), shape)

    return operator


def _add(shape: Sequence[int], x: Value, y: Value, *, alpha: float = 1) -> Array:
    y = broadcast(y, shape)
    return Array.of(broadcast(x, shape) + (y if alpha == 1 else alpha * y), shape)


def _sub(shape: Sequence[int], x: Value, y: Value, *, alpha: float = 1) -> Array:
    return _add(shape, x, y, alpha=-alpha)


def _div(shape: Sequence[int], x: Value, y: Value, *, rounding_mode: str | None = None) -> Array:
    if rounding_mode is not None:
        raise NotImplementedError(f"rounding_mode={rounding_mode!r}")
    return Array.of(broadcast(x, shape) / broadcast(y, shape), shape)


def _pow(shape: Sequence[int], x: Value, exponent: Value) -> Array:
    # A number as the exponent keeps the derivative free of the logarithm of the base.
    if isinstance(exponent, torch.Tensor) and exponent.numel() == 1:
        exponent = exponent.item()
    if not isinstance(exponent, Array | torch.Tensor):
        return Array.of(broadcast(x, shape) ** float(exponent), shape)
    return Array.of(broadcast(x, shape) ** broadcast(exponent, shape), shape)


def _clamp(shape: Sequence[int], x: Value, low: Value = None, high: Value = None) -> Array:
    # Nested choices: NaN stays, and the derivative at a bound is 1, as torch has it.
    out = broadcast(x, shape)
    if low is not None:
        low = broadcast(low, shape)
        out = _choose(out < low, low, out)
    if high is not None:
        high = broadcast(high, shape)
        out = _choose(out > high, high, out)
    return Array.of(out, shape)


def _hardtanh(shape: Sequence[int], x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    # At a bound the derivative of torch's hardtanh is 0.
    v = x.entries
    return Array.of(_choose(v <= low, low, _choose(v >= high, high, v)), shape)


def _leaky_relu(shape: Sequence[int], x: Array, slope: float = 0.01) -> Array:
    return Array.of(_choose(x.entries > 0, x.entries, slope * x.entries), shape)


def _elu(
    shape: Sequence[int], x: Array, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0
) -> Array:
    v = x.entries
    return Array.of(_choose(v <= 0, scale * alpha * ca.expm1(inner * v), scale * v), shape)


def _gelu(shape: Sequence[int], x: Array, approximate: str = "none") -> Array:
    v = x.entries
    if approximate == "tanh":
        bend = ca.tanh(math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3))
    else:
        bend = ca.erf(math.sqrt(0.5) * v)
    return Array.of(0.5 * v * (1 + bend), shape)


def _where(shape: Sequence[int], condition: Value, x: Value, y: Value) -> Array:
    if isinstance(condition, torch.Tensor):
        # Known now: no expression chooses, and what is not chosen is not there.
        index = torch.where(condition, indices(shape), indices(shape, math.prod(shape)))
        return gather(ca.vertcat(broadcast(x, shape), broadcast(y, shape)), index)
    chosen = broadcast(condition, shape)
    return Array.of(_choose(chosen, broadcast(x, shape), broadcast(y, shape)), shape)


def _to_copy(shape: Sequence[int], x: Array, dtype: Any = None, **_: Any) -> Array:
    if dtype is not None and not dtype.is_floating_point:
        raise NotImplementedError(f"a conversion to {dtype}")
    return x


#: Elementwise operators, by ATen name.
ELEMENTWISE: dict[str, Operator] = {
    **{name: _elementwise(function, 1) for name, function in _UNARY.items()},
    **{name: _elementwise(function, 2) for name, function in _BINARY.items()},
    "add": _add,
    "sub": _sub,
    "div": _div,
    "pow": _pow,
    "clamp": _clamp,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "where": _where,
    "_to_copy": _to_copy,
}
