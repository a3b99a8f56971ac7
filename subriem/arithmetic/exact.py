"""Numbers given exactly: integers, fractions, and texts such as ``"1/3"`` or ``"3*pi/4"``."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from subriem.errors import InputError, InputTypeError

__all__ = ["evaluate_exact", "simplest_fraction", "to_float"]

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
#: The names that a text may use, here for floats.
_FLOAT_NAMES: dict[str, Any] = {
    "pi": math.pi,
    **{name: getattr(math, name) for name in ("sqrt", "sin", "cos", "tan", "atan", "exp", "log")},
}


def evaluate_exact(value: Any, number: Callable[[Fraction], Any], names: Mapping[str, Any]) -> Any:
    """Evaluate an exactly given number in some number system.

    Parameters
    ----------
    value : int, float, Fraction or str
        A float counts as the dyadic fraction that it is. A text may use + - * / ** with integers,
        decimals and the names given.
    number : callable
        Takes a `fractions.Fraction` into the number system.
    names : mapping
        ``pi``, ``sqrt``, ... in the number system; what is missing is refused.

    Returns
    -------
    object
        A number of the system.

    Raises
    ------
    InputError
        If the text is not such an expression, or the value is not finite.
    InputTypeError
        If the value is of another kind.

    Examples
    --------
    >>> evaluate_exact("2/3 - 1/6", lambda fraction: fraction, {})
    Fraction(1, 2)
    """
    if isinstance(value, str):
        try:
            tree = ast.parse(value.strip(), mode="eval").body
        except SyntaxError as error:
            raise InputError(f"expected a number such as '1/3' or 'pi/2', got {value!r}") from error
        return _evaluate(tree, value, number, names)
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise InputTypeError(f"expected a number, got {value!r} ({type(value).__name__})")
    if isinstance(value, Fraction | int):
        return number(Fraction(value))
    plain = float(value)
    if not math.isfinite(plain):
        raise InputError(f"expected a finite number, got {value!r}")
    return number(Fraction(plain))


def _evaluate(
    node: ast.expr, text: str, number: Callable[[Fraction], Any], names: Mapping[str, Any]
) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        # The decimal as written, not the double next to it.
        return number(Fraction(ast.unparse(node)))
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _evaluate(node.operand, text, number, names)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left = _evaluate(node.left, text, number, names)
        if isinstance(node.op, ast.Pow):
            exponent = _evaluate(node.right, text, lambda fraction: fraction, {})
            if exponent.denominator != 1:
                raise InputError(f"{text!r}: an exponent is expected to be an integer")
            return left ** int(exponent)
        right = _evaluate(node.right, text, number, names)
        try:
            return _BINARY[type(node.op)](left, right)
        except ZeroDivisionError as error:
            raise InputError(f"{text!r} divides by zero") from error
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in names
        and len(node.args) == 1
        and not node.keywords
    ):
        return names[node.func.id](_evaluate(node.args[0], text, number, names))
    raise InputError(
        f"{text!r}: expected integers, decimals, + - * / **, and of names "
        f"{', '.join(sorted(names)) or 'none'}"
    )


def to_float(value: Any) -> float:
    """The double nearest to an exactly given number, to a few roundings.

    Parameters
    ----------
    value : int, float, Fraction or str

    Returns
    -------
    float

    Raises
    ------
    InputError, InputTypeError
        As `evaluate_exact`.

    Examples
    --------
    >>> to_float("3*pi/4"), to_float("1/4")
    (2.356194490192345, 0.25)
    """
    if isinstance(value, str):
        return float(evaluate_exact(value, float, _FLOAT_NAMES))
    return float(evaluate_exact(value, float, {}))


def simplest_fraction(value: float) -> Fraction:
    """The fraction of smallest denominator (up to a million) that rounds to a double.

    A model that writes ``x / 12`` holds the double next to 1/12; exact arithmetic needs the
    fraction that was meant. A double that no such fraction rounds to is taken as it is.

    Parameters
    ----------
    value : float

    Returns
    -------
    Fraction

    Raises
    ------
    InputError
        If the value is not finite.

    Examples
    --------
    >>> simplest_fraction(1 / 12), simplest_fraction(0.1 + 0.2)
    (Fraction(1, 12), Fraction(1351079888211149, 4503599627370496))
    """
    if not math.isfinite(value):
        raise InputError(f"expected a finite constant, got {value}")
    exact = Fraction(value)
    simple = exact.limit_denominator(1_000_000)
    return simple if float(simple) == value else exact
