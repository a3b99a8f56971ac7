"""Real balls of Arb: a midpoint with a radius that is proved to hold the true value.

A `Program` run in this number system encloses the exact result at an exact point, at any precision.
What has no finite enclosure (the square root of a ball that reaches below zero, a quotient by one
that holds zero) is NaN; a comparison that the balls leave open raises.

Source: F. Johansson, *Arb: efficient arbitrary-precision midpoint-radius interval arithmetic*,
IEEE Trans. Computers 66 (2017) 1281.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from subriem.arithmetic.exact import evaluate_exact, simplest_fraction
from subriem.arithmetic.flint_library import load_flint
from subriem.errors import InputError, NumericalError

__all__ = ["Balls"]


def _at_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method that works at the precision of its number system, not at flint's own."""

    @functools.wraps(function)
    def method(self: Balls, *operands: Any) -> Any:
        with self.flint.ctx.workprec(self.precision):
            return function(self, *operands)

    return method


class Balls:
    """Real balls as a number system.

    Knows every operation of CasADi's scalar functions but ``fmod`` and ``remainder``; each is a
    method of that name.

    Parameters
    ----------
    precision : int
        In bits.

    Raises
    ------
    InputError
        If the precision is below 2.
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> balls = Balls(53)
    >>> balls.sin(balls.number("pi/6")).contains(balls.number("1/2"))
    True
    >>> balls.lt(balls.number("1/3"), balls.number("0.34")) == 1
    True
    """

    def __init__(self, precision: int = 128) -> None:
        self.flint = load_flint()
        if precision < 2:
            raise InputError(f"precision: expected at least 2 bits, got {precision}")
        self.precision = precision

    def __repr__(self) -> str:
        return f"Balls of {self.precision} bits"

    # ------------------------------------------------------------------ numbers

    @_at_precision
    def number(self, value: int | float | str | Fraction) -> Any:
        """The ball of a number given exactly.

        Parameters
        ----------
        value : int, float, Fraction or str
            As `evaluate_exact` takes it; a text may use pi, sqrt, sin, cos, tan, atan, exp, log.

        Returns
        -------
        flint.arb

        Raises
        ------
        InputError, InputTypeError
            As `evaluate_exact`.

        Examples
        --------
        >>> float(Balls(64).number("sqrt(2)/2"))
        0.7071067811865476
        """
        names: dict[str, Any] = {"pi": self.flint.arb.pi()}
        for name in ("sqrt", "sin", "cos", "tan", "atan", "exp", "log"):
            names[name] = getattr(self, name)
        return evaluate_exact(value, self._fraction, names)

    def constant(self, value: float) -> Any:
        """The ball of a model's constant, read as the simplest fraction that rounds to it.

        Parameters
        ----------
        value : float

        Returns
        -------
        flint.arb

        Raises
        ------
        InputError
            If the constant is not finite.

        Examples
        --------
        >>> balls = Balls(100)
        >>> balls.constant(1 / 3).contains(balls.number("1/3"))
        True
        """
        return self.number(simplest_fraction(value))

    def _fraction(self, value: Fraction) -> Any:
        return self.flint.arb(self.flint.fmpq(value.numerator, value.denominator))

    def _decided(self, holds: bool, fails: bool, question: str, *balls: Any) -> Any:
        if not (holds or fails):
            shown = ", ".join(str(ball) for ball in balls)
            raise NumericalError(f"{question} is not decided at {self.precision} bits: {shown}")
        return self.flint.arb(int(holds))

    # ------------------------------------------------------------------ smooth operations

    add = _at_precision(lambda self, x, y: x + y)
    sub = _at_precision(lambda self, x, y: x - y)
    mul = _at_precision(lambda self, x, y: x * y)
    div = _at_precision(lambda self, x, y: x / y)
    neg = _at_precision(lambda self, x: -x)
    sq = _at_precision(lambda self, x: x**2)
    twice = _at_precision(lambda self, x: 2 * x)
    inv = _at_precision(lambda self, x: 1 / x)
    pow = _at_precision(lambda self, x, y: x**y)
    constpow = pow
    sqrt = _at_precision(lambda self, x: x.sqrt())
    root = _at_precision(lambda self, x, degree: x.root(degree))
    hypot = _at_precision(lambda self, x, y: (x**2 + y**2).sqrt())
    exp = _at_precision(lambda self, x: x.exp())
    expm1 = _at_precision(lambda self, x: x.expm1())
    log = _at_precision(lambda self, x: x.log())
    log1p = _at_precision(lambda self, x: x.log1p())
    sin = _at_precision(lambda self, x: x.sin())
    cos = _at_precision(lambda self, x: x.cos())
    tan = _at_precision(lambda self, x: x.tan())
    asin = _at_precision(lambda self, x: x.asin())
    acos = _at_precision(lambda self, x: x.acos())
    atan = _at_precision(lambda self, x: x.atan())
    atan2 = _at_precision(lambda self, y, x: type(y).atan2(y, x))
    sinh = _at_precision(lambda self, x: x.sinh())
    cosh = _at_precision(lambda self, x: x.cosh())
    tanh = _at_precision(lambda self, x: x.tanh())
    asinh = _at_precision(lambda self, x: x.asinh())
    acosh = _at_precision(lambda self, x: x.acosh())
    atanh = _at_precision(lambda self, x: x.atanh())
    erf = _at_precision(lambda self, x: x.erf())
    pi = _at_precision(lambda self: self.flint.arb.pi())

    # ------------------------------------------------------------------ pieces and comparisons

    fabs = _at_precision(lambda self, x: abs(x))
    fmin = _at_precision(lambda self, x, y: x.min(y))
    fmax = _at_precision(lambda self, x, y: x.max(y))
    floor = _at_precision(lambda self, x: x.floor())
    ceil = _at_precision(lambda self, x: x.ceil())
    lt = _at_precision(lambda self, x, y: self._decided(x < y, x >= y, "x < y", x, y))
    le = _at_precision(lambda self, x, y: self._decided(x <= y, x > y, "x <= y", x, y))
    # flint's == and != hold only where they are proved
    eq = _at_precision(lambda self, x, y: self._decided(x == y, x != y, "x == y", x, y))
    ne = _at_precision(lambda self, x, y: self._decided(x != y, x == y, "x != y", x, y))

    @_at_precision
    def sign(self, x: Any) -> Any:
        """-1, 0 or 1; raises NumericalError where that is open."""
        self._decided(x == 0, x != 0, "sign of x", x)
        return x.sgn()

    @_at_precision
    def copysign(self, x: Any, y: Any) -> Any:
        """|x| with the sign of y, counting 0 as positive."""
        return abs(x) if self._decided(y >= 0, y < 0, "y >= 0", y) == 1 else -abs(x)

    def if_else_zero(self, condition: Any, x: Any) -> Any:
        """X where the condition holds, else exactly 0, even where x is NaN."""
        return self.flint.arb(0) if self._truth(condition) == 0 else x

    def _truth(self, x: Any) -> Any:
        return self._decided(x != 0, x == 0, "x != 0", x)

    def _not(self, x: Any) -> Any:
        return 1 - self._truth(x)

    def _and(self, x: Any, y: Any) -> Any:
        return self._truth(x) * self._truth(y)

    def _or(self, x: Any, y: Any) -> Any:
        return self._truth(self._truth(x) + self._truth(y))


# names that Python's grammar keeps to itself
for _name in ("not", "and", "or"):
    setattr(Balls, _name, getattr(Balls, f"_{_name}"))
