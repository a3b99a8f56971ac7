"""Exact and enclosed values of ring elements at a point given exactly.

An element of a `DifferentialRing` takes at an exact point a value in a ring of constants: a
fraction where every generator is rational there (sin 0, exp 0, sqrt 4), else a polynomial in
constants such as sqrt 2, pi or sin 1. Such a value is proved to be zero by its relations, proved
not to be zero by a ball that excludes zero, or left undecided.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from subriem.arithmetic.balls import Balls
from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.exact import evaluate_exact
from subriem.errors import InputError

__all__ = ["PointValues", "exact_constant", "generic_values"]

#: Where a function is analytic: what must be positive, of its first argument.
_POSITIVE: dict[str, Callable[[DifferentialRing, Any], Any]] = {
    "root": lambda ring, p: p,
    "log": lambda ring, p: p,
    "acosh": lambda ring, p: p - 1,
    "asin": lambda ring, p: 1 - ring.sq(p),
    "acos": lambda ring, p: 1 - ring.sq(p),
    "atanh": lambda ring, p: 1 - ring.sq(p),
}


class _Constant:
    """A constant with Python's operators, for `evaluate_exact`."""

    def __init__(self, ring: DifferentialRing, value: Any) -> None:
        self.ring, self.value = ring, value

    def __add__(self, other: _Constant) -> _Constant:
        return _Constant(self.ring, self.ring.add(self.value, other.value))

    def __sub__(self, other: _Constant) -> _Constant:
        return _Constant(self.ring, self.ring.sub(self.value, other.value))

    def __mul__(self, other: _Constant) -> _Constant:
        return _Constant(self.ring, self.ring.mul(self.value, other.value))

    def __truediv__(self, other: _Constant) -> _Constant:
        return _Constant(self.ring, self.ring.div(self.value, other.value))

    def __neg__(self) -> _Constant:
        return _Constant(self.ring, -self.value)

    def __pow__(self, exponent: int) -> _Constant:
        return _Constant(self.ring, self.ring.power(self.value, exponent))


def exact_constant(ring: DifferentialRing, value: Any) -> Any:
    """A number given exactly, as a constant of a ring.

    Parameters
    ----------
    ring : DifferentialRing
    value : int, float, Fraction or str
        As `evaluate_exact` takes it; a text may use pi, sqrt, sin, cos, tan, atan, exp, log.

    Returns
    -------
    element

    Raises
    ------
    InputError, InputTypeError
        As `evaluate_exact`.

    Examples
    --------
    >>> ring = DifferentialRing(0)
    >>> ring.is_zero(ring.sub(exact_constant(ring, "sin(pi/3)"), exact_constant(ring, "sqrt(3)/2")))
    True
    """
    names: dict[str, Any] = {}
    if isinstance(value, str):
        if "pi" in value:
            names["pi"] = _Constant(ring, ring.pi())
        for name in ("sqrt", "sin", "cos", "tan", "atan", "exp", "log"):
            names[name] = lambda x, name=name: _Constant(ring, getattr(ring, name)(x.value))
    read = evaluate_exact(value, lambda x: _Constant(ring, ring.rational(x)), names)
    return ring.lift(read.value)


class PointValues:
    """Values of a ring's elements at a point.

    Make it after the last function was adjoined to the ring.

    Parameters
    ----------
    ring : DifferentialRing
    point : sequence of int, float, Fraction or str
        One a coordinate, read by `evaluate_exact`.
    precision : int
        Balls of up to this many bits are tried.

    Attributes
    ----------
    constants : DifferentialRing
        Of dimension 0; values are its elements.

    Raises
    ------
    InputError
        If an entry is no number, or a function of the ring is not proved to be analytic there.

    Examples
    --------
    >>> ring = DifferentialRing(1)
    >>> sine = ring.sin(ring.element(0))
    >>> at = PointValues(ring, ["pi/4"])
    >>> at.is_zero(at.value(2 * ring.sq(sine) - 1)), at.is_zero(at.value(2 * sine - 1))
    (True, False)
    """

    def __init__(self, ring: DifferentialRing, point: Sequence[Any], precision: int = 2048) -> None:
        self.ring = ring
        self.precision = precision
        self.constants = DifferentialRing(0, work_limit=ring.work_limit)
        self._balls: dict[int, list[Any]] = {}
        self._values = [self._read(entry) for entry in point]
        for generator in ring.generators:
            self._values.append(self._generator_value(generator))
        self._values = [self.constants.lift(value) for value in self._values]

    def __repr__(self) -> str:
        return f"PointValues of {self.ring}, with constants {self.constants}"

    def _read(self, entry: Any) -> Any:
        value = exact_constant(self.constants, entry)
        if not self.ball(value, self.precision).is_finite():
            raise InputError(f"expected a finite number, got {entry!r}")
        return value

    def _generator_value(self, generator: Any) -> Any:
        ring, operation = self.constants, generator.operation
        arguments = [self._compose(p) for p in generator.arguments]
        shown = f"{operation} of a function"
        if operation == "inv" and self.is_zero(arguments[0]) is not False:
            raise InputError(f"{shown} that is not proved to differ from zero at the point")
        if operation in _POSITIVE and not generator.arguments[0].is_constant():
            bound = self.constants.lift(_POSITIVE[operation](ring, arguments[0]))
            if self.is_positive(bound) is not True:
                raise InputError(f"{shown} at a point not proved to lie inside its domain")
        if operation == "atan2" and not (
            self.is_zero(arguments[0]) is False or self.is_positive(arguments[1])
        ):
            raise InputError(f"{shown} at a point not proved to lie off its branch cut")
        if operation == "root":
            return ring.root(arguments[0], generator.degree)
        return getattr(ring, operation)(*arguments)

    def _compose(self, p: Any) -> Any:
        """An element of a stage of the ring, at the values known so far."""
        count = len(p.context().names())
        values = [self.constants.lift(value) for value in self._values]
        values += [self.constants.rational(Fraction(0))] * (count - len(values))
        inner = p.compose(*reversed(values), ctx=self.constants.context)
        return self.constants.reduce(inner)

    def value(self, p: Any) -> Any:
        """The value of an element, in the ring of constants.

        Parameters
        ----------
        p : element of the ring

        Returns
        -------
        element of `constants`
        """
        p = self.ring.lift(p)
        self.constants.spend(20 + 10 * len(p))
        return self.constants.reduce(p.compose(*reversed(self._values), ctx=self.constants.context))

    def rational_values(self, elements: Sequence[Any]) -> list[Any] | None:
        """Values of coordinates and generators, if those that can occur are all rational.

        Parameters
        ----------
        elements : sequence of elements of the ring

        Returns
        -------
        list of flint.fmpq, or None
            Zero stands for what occurs in none of the elements nor in any of their derivatives.
        """
        occurring = self.ring.occurring(elements)
        if not all(self._values[k].is_constant() for k in occurring):
            return None
        zero = self.ring.flint.fmpq(0)
        return [
            value.leading_coefficient() if k in occurring else zero
            for k, value in enumerate(self._values)
        ]

    # ------------------------------------------------------------------ decisions

    def ball(self, value: Any, precision: int) -> Any:
        """A ball that holds a constant.

        Parameters
        ----------
        value : element of `constants`
        precision : int
            In bits.

        Returns
        -------
        flint.arb
        """
        balls = Balls(precision)
        arb, ctx = balls.flint.arb, balls.flint.ctx
        known = self._balls.setdefault(precision, [])
        # one generator after the other: the argument of each is made of those before it
        for generator in self.constants.generators[len(known) :]:
            arguments = [self._enclose(p, known, balls) for p in generator.arguments]
            if generator.operation == "root":
                arguments.append(generator.degree)
            known.append(getattr(balls, generator.operation)(*arguments))
        with ctx.workprec(precision):
            return arb(self._enclose(value, known, balls))

    def _enclose(self, value: Any, known: Sequence[Any], balls: Balls) -> Any:
        arb = balls.flint.arb
        with balls.flint.ctx.workprec(balls.precision):
            total = arb(0)
            for exponents, coefficient in value.to_dict().items():
                term = arb(coefficient)
                for ball, exponent in zip(known, reversed(exponents), strict=False):
                    if exponent:
                        term *= ball**exponent
                total += term
            return total

    def _precisions(self) -> list[int]:
        steps = [64]
        while steps[-1] < self.precision:
            steps.append(min(4 * steps[-1], self.precision))
        return steps

    def is_zero(self, value: Any) -> bool | None:
        """Whether a constant is zero; None where neither was proved.

        Parameters
        ----------
        value : element of `constants`

        Returns
        -------
        bool or None
        """
        value = self.constants.lift(value)
        if value.is_constant():
            return bool(value.is_zero())
        if self.constants.is_zero(value):
            return True
        for precision in self._precisions():
            if self.ball(value, precision) != 0:
                return False
        return None

    def is_positive(self, value: Any) -> bool | None:
        """Whether a constant is positive; None where neither was proved.

        Parameters
        ----------
        value : element of `constants`

        Returns
        -------
        bool or None
        """
        value = self.constants.lift(value)
        if self.is_zero(value):
            return False
        for precision in self._precisions():
            ball = self.ball(value, precision)
            if ball > 0 or ball < 0:
                return bool(ball > 0)
        return None


def generic_values(ring: DifferentialRing, seed: int = 0) -> list[Any] | None:
    """Random rational values of coordinates and generators that satisfy the ring's relations.

    Generators count as independent but for these relations, so that what vanishes in the ring
    vanishes at the values. They need not be those of any point.

    Parameters
    ----------
    ring : DifferentialRing
    seed : int

    Returns
    -------
    list of flint.fmpq, or None
        None if the ring has roots, which random rationals seldom have.

    Examples
    --------
    >>> ring = DifferentialRing(1)
    >>> c, s = ring.cos(ring.element(0)), ring.sin(ring.element(0))
    >>> values = generic_values(ring)
    >>> values[1] ** 2 + values[2] ** 2
    1
    """
    generator = random.Random(seed)
    fmpq = ring.flint.fmpq

    def draw() -> Any:
        return fmpq(generator.randint(2, 60), generator.randint(61, 97))

    values = [draw() for _ in range(ring.dimension)]
    for adjoined in ring.generators:
        if adjoined.operation == "root":
            return None
        if adjoined.operation == "cos":
            half = draw()
            values.append((1 - half**2) / (1 + half**2))
        elif adjoined.operation == "sin":
            values.append(2 * half / (1 + half**2))
        elif adjoined.operation == "inv":
            padded = values + [fmpq(0)] * (ring.size - len(values))
            denominator = adjoined.arguments[0](*reversed(padded))
            if denominator == 0:
                return None
            values.append(1 / denominator)
        else:
            values.append(draw())
    return values
