"""Piecewise linear operations with their switches left free."""

from __future__ import annotations

import operator
from typing import Any

import casadi as ca

__all__ = ["FreeSwitches"]


class FreeSwitches:
    """The number system of CasADi expressions in which every comparison is a new symbol.

    A ReLU becomes s x with a symbol s, for 0 or 1; a maximum s a + (1 - s) b. What holds for all
    values of the symbols holds in every region in which a network is smooth.

    Attributes
    ----------
    switches : list of casadi.SX
        The symbols made so far.

    Examples
    --------
    >>> from subriem.arithmetic.program import Program
    >>> x = ca.SX.sym("x")
    >>> system = FreeSwitches()
    >>> Program(ca.Function("relu", [x], [ca.fmax(x, 0)])).run(system, [x])
    [[SX((switch1*x))]]
    >>> system.switches
    [SX(switch1)]
    """

    def __init__(self) -> None:
        self.switches: list[ca.SX] = []

    def constant(self, value: float) -> ca.SX:
        """A constant."""
        return ca.SX(value)

    add = staticmethod(operator.add)
    sub = staticmethod(operator.sub)
    mul = staticmethod(operator.mul)
    div = staticmethod(operator.truediv)
    neg = staticmethod(operator.neg)

    def twice(self, a: ca.SX) -> ca.SX:
        """2 a."""
        return 2 * a

    def inv(self, a: ca.SX) -> ca.SX:
        """1 / a."""
        return 1 / a

    def sq(self, a: ca.SX) -> ca.SX:
        """The square."""
        return a * a

    def switch(self, *_: Any) -> ca.SX:
        """A comparison: a new symbol."""
        symbol = ca.SX.sym(f"switch{len(self.switches) + 1}")
        self.switches.append(symbol)
        return symbol

    lt = le = eq = ne = switch

    def if_else_zero(self, condition: ca.SX, a: ca.SX) -> ca.SX:
        """The second operand where the first is 1, and 0 where it is 0."""
        return condition * a

    def fmax(self, a: ca.SX, b: ca.SX) -> ca.SX:
        """One of both."""
        symbol = self.switch()
        return symbol * a + (1 - symbol) * b

    fmin = fmax

    def fabs(self, a: ca.SX) -> ca.SX:
        """The operand with a free sign."""
        return (2 * self.switch() - 1) * a


def _not(self: FreeSwitches, a: ca.SX) -> ca.SX:
    """1 - a."""
    return 1 - a


setattr(FreeSwitches, "not", _not)
