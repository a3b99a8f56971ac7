"""Functions as exact polynomials in coordinates and adjoined generators, with their derivatives.

A number system for `Program`: each number is a polynomial with rational coefficients in the
coordinates and in *generators*, functions adjoined as they occur: sin a and cos a, exp a, log a,
tanh a, 1/a, the q-th root of a, ... A generator knows the relation that it satisfies
(sin^2 = 1 - cos^2, root^q = a) and its derivative by its argument as a polynomial in generators, so
that vector fields differentiate without leaving the ring. Equal arguments share a generator; an
argument that is an integer combination of earlier ones is expanded by the addition theorems.

What is zero in the ring is zero as a function; that direction alone is used for proofs. The ring
without coordinates (``DifferentialRing(0)``) holds constants: sqrt 2, pi, sin 1, ...

Source: M. Bronstein, *Symbolic Integration I* (2005), ch. 3, for rings with a derivation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from subriem.arithmetic.generated_ring import GeneratedRing
from subriem.errors import InputError

__all__ = ["DifferentialRing"]

#: Integer combinations of angles or exponents with coefficients up to this sum are expanded.
_LARGEST_COMBINATION = 8
#: Powers with a denominator up to this are roots, others exponentials of logarithms.
_LARGEST_ROOT = 64
#: Integers below this are factored where a root is taken of them.
_LARGEST_FACTORED = 10**18


class DifferentialRing(GeneratedRing):
    """Elementary functions of coordinates as exact polynomials in generators.

    Every operation is a method of CasADi's name for it and takes elements of the ring, also those
    made before the last generator was adjoined. Comparisons, absolute values and the like are not
    analytic and have no method.

    Parameters
    ----------
    dimension : int
        Number of coordinates.
    work_limit : int
        How many products of terms may be formed.
    largest : int
        How many generators may be adjoined.

    Raises
    ------
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> ring = DifferentialRing(1)
    >>> x = ring.element(0)
    >>> f = ring.mul(x, ring.sin(x))
    >>> d_dx = ring.derivation([ring.constant(1)])
    >>> second = ring.apply(d_dx, ring.apply(d_dx, f))
    >>> ring.is_zero(ring.sub(ring.add(second, f), ring.twice(ring.cos(x))))
    True
    """

    # ------------------------------------------------------------------ powers and exponentials

    def pow(self, p: Any, exponent: Any) -> Any:
        """P to a power; a fraction's denominator gives a root."""
        if not exponent.is_constant():
            return self.exp(self.mul(exponent, self.log(p)))
        value = exponent.leading_coefficient()
        if value.q > _LARGEST_ROOT:
            return self.exp(self.mul(exponent, self.log(p)))
        return self.power(p if value.q == 1 else self.root(p, int(value.q)), int(value.p))

    constpow = pow

    def root(self, p: Any, degree: int) -> Any:
        """The positive root of a degree of what is positive at the point of interest."""
        p = self.lift(p)
        if p.is_constant():
            return self._constant_root(p.leading_coefficient(), degree)
        return self._adjoined_root(p, degree)

    def _constant_root(self, value: Any, degree: int) -> Any:
        """A product of roots of primes, so that sqrt 6 = sqrt 2 sqrt 3."""
        if value <= 0:
            if value < 0:
                raise InputError(f"root of the negative number {value}")
            return self.rational(Fraction(0))
        whole, root = Fraction(1), self.rational(Fraction(1))
        for part, sign in ((value.p, 1), (value.q, -1)):
            for prime, exponent in _factors(part):
                # 1 / root(p) = root(p)^(degree - 1) / p
                times, left = divmod(sign * exponent, degree)
                whole *= Fraction(int(prime)) ** times
                if left:
                    radicand = self.context.constant(prime)
                    root = self.mul(root, self.power(self._adjoined_root(radicand, degree), left))
        return self.mul(self.rational(whole), root)

    def _adjoined_root(self, p: Any, degree: int) -> Any:
        p = self.lift(p)
        k = self._find("root", [p], degree)
        if k is None:
            k = self._adjoin("root", [p], degree)
            if self.dimension:
                rate = self.mul(self.element(k), self.inv(p)) / degree
                self.generators[k - self.dimension].partials = [self.lift(rate)]
        return self.element(k)

    def sqrt(self, p: Any) -> Any:
        """Square root."""
        return self.root(p, 2)

    def hypot(self, p: Any, q: Any) -> Any:
        """sqrt(p^2 + q^2)."""
        return self.sqrt(self.add(self.sq(p), self.sq(q)))

    def exp(self, p: Any) -> Any:
        """Exponential; a sum of known exponents is a product."""
        p = self.lift(p)
        if p.is_zero():
            return self.rational(Fraction(1))
        known = [k for k in range(self.size) if self._is(k, "exp")]
        combination = self._combination(p, known)
        if combination is None:
            count = _content(p)
            return self.power(self._function("exp", [p / count], lambda e: [e]), count)
        result = self.rational(Fraction(1))
        for k, count in zip(known, combination, strict=True):
            if count:
                result = self.mul(result, self.power(self.element(k), count))
        return result

    def expm1(self, p: Any) -> Any:
        """Exp p - 1."""
        return self.exp(p) - 1

    def log(self, p: Any) -> Any:
        """Logarithm."""
        if p.is_one():
            return self.rational(Fraction(0))
        return self._function("log", [p], lambda _: [self.inv(p)])

    def log1p(self, p: Any) -> Any:
        """log(1 + p)."""
        return self.log(p + 1)

    def sinh(self, p: Any) -> Any:
        """Hyperbolic sine."""
        e = self.exp(p)
        return self.sub(e, self.inv(e)) / 2

    def cosh(self, p: Any) -> Any:
        """Hyperbolic cosine."""
        e = self.exp(p)
        return self.add(e, self.inv(e)) / 2

    def tanh(self, p: Any) -> Any:
        """Hyperbolic tangent."""
        return self._odd("tanh", p, lambda t: 1 - self.sq(t))

    # ------------------------------------------------------------------ angles

    def sin(self, p: Any) -> Any:
        """Sine."""
        return self._sine_cosine(p)[0]

    def cos(self, p: Any) -> Any:
        """Cosine."""
        return self._sine_cosine(p)[1]

    def tan(self, p: Any) -> Any:
        """Tangent, as sine over cosine."""
        s, c = self._sine_cosine(p)
        return self.mul(s, self.inv(c))

    def pi(self) -> Any:
        """The number pi, a generator."""
        return self._function("pi", [], lambda _: [])

    def _sine_cosine(self, p: Any) -> tuple[Any, Any]:
        p = self.lift(p)
        s, c = self.rational(Fraction(0)), self.rational(Fraction(1))
        k = self._find("pi", [])
        if k is not None:
            exponents = [0] * self.size
            exponents[self.size - 1 - k] = 1
            twelfths = 12 * p[tuple(exponents)]
            if twelfths.q == 1 and twelfths != 0:
                p = p - self.element(k) * twelfths / 12
                s, c = self._twelfths(int(twelfths.p) % 24)
        if p.is_zero():
            return s, c
        known = [k for k in range(self.size) if self._is(k, "sin")]
        combination = self._combination(p, known)
        if combination is None:
            count = _content(p)
            return self._turn((s, c), self._adjoin_angle(p / count), count)
        for k, count in zip(known, combination, strict=True):
            s, c = self._turn((s, c), (self.element(k), self.element(k - 1)), count)
        return s, c

    def _adjoin_angle(self, p: Any) -> tuple[Any, Any]:
        cosine = self._adjoin("cos", [p])
        sine = self._adjoin("sin", [p])
        s, c = self.element(sine), self.element(cosine)
        self.generators[sine - self.dimension].partials = [c]
        self.generators[cosine - self.dimension].partials = [-s]
        return s, c

    def _turn(self, start: tuple[Any, Any], by: tuple[Any, Any], count: int) -> tuple[Any, Any]:
        """Sine and cosine of an angle plus an integer multiple of another."""
        s, c = start
        for _ in range(abs(count)):
            t, d = (by[0] if count > 0 else -by[0]), by[1]
            s, c = (
                self.add(self.mul(s, d), self.mul(c, t)),
                self.sub(self.mul(c, d), self.mul(s, t)),
            )
        return s, c

    def _twelfths(self, k: int) -> tuple[Any, Any]:
        """Sine and cosine of k pi / 12, with sqrt 2 and sqrt 3."""
        one, zero = self.rational(Fraction(1)), self.rational(Fraction(0))
        s, c = zero, one
        if k % 2:
            half = self.sqrt(self.rational(Fraction(2))) / 2
            s, c, k = half, half, k - 3
        if k % 6:
            sixths = (k // 2) % 3
            root = self.sqrt(self.rational(Fraction(3))) / 2
            half = self.rational(Fraction(1, 2))
            s, c = self._turn((s, c), (half, root) if sixths == 1 else (root, half), 1)
            k -= 2 * sixths
        return self._turn((s, c), (one, zero), (k // 6) % 4)

    # ------------------------------------------------------------------ inverse functions

    def _odd(self, operation: str, p: Any, derivative: Callable[[Any], Any]) -> Any:
        if p.is_zero():
            return self.rational(Fraction(0))
        return self._function(operation, [p], lambda g: [derivative(g)])

    def asin(self, p: Any) -> Any:
        """Inverse sine."""
        return self._odd("asin", p, lambda _: self.inv(self.sqrt(1 - self.sq(p))))

    def acos(self, p: Any) -> Any:
        """Inverse cosine."""
        return self._function("acos", [p], lambda _: [-self.inv(self.sqrt(1 - self.sq(p)))])

    def atan(self, p: Any) -> Any:
        """Inverse tangent."""
        return self._odd("atan", p, lambda _: self.inv(1 + self.sq(p)))

    def atan2(self, y: Any, x: Any) -> Any:
        """Angle of (x, y)."""

        def partials(_: Any) -> list[Any]:
            inverse = self.inv(self.add(self.sq(x), self.sq(y)))
            return [self.mul(x, inverse), -self.mul(y, inverse)]

        return self._function("atan2", [y, x], partials)

    def asinh(self, p: Any) -> Any:
        """Inverse hyperbolic sine."""
        return self._odd("asinh", p, lambda _: self.inv(self.sqrt(1 + self.sq(p))))

    def acosh(self, p: Any) -> Any:
        """Inverse hyperbolic cosine."""
        return self._function("acosh", [p], lambda _: [self.inv(self.sqrt(self.sq(p) - 1))])

    def atanh(self, p: Any) -> Any:
        """Inverse hyperbolic tangent."""
        return self._odd("atanh", p, lambda _: self.inv(1 - self.sq(p)))

    def erf(self, p: Any) -> Any:
        """Error function."""

        def derivative(_: Any) -> Any:
            gauss = self.exp(-self.sq(p))
            return 2 * self.mul(gauss, self.inv(self.sqrt(self.pi())))

        return self._odd("erf", p, derivative)

    # ------------------------------------------------------------------ sharing

    def _combination(self, p: Any, known: Sequence[int]) -> list[int] | None:
        """Integers n with p = sum of n_k times the argument of generator k, if there are."""
        if not known:
            return None
        columns = [self.generators[k - self.dimension].arguments[0] for k in known]
        monomials = sorted({m for q in (*columns, p) for m in q.monoms()})
        table = [[q[m] for q in (*columns, p)] for m in monomials]
        echelon, rank = self.flint.fmpq_mat(table).rref()
        counts = [0] * len(known)
        for row in range(rank):
            entries = [echelon[row, column] for column in range(len(known) + 1)]
            lead = next(column for column, entry in enumerate(entries) if entry != 0)
            if lead == len(known) or entries[-1].q != 1:
                return None
            counts[lead] = int(entries[-1].p)
        return counts if sum(map(abs, counts)) <= _LARGEST_COMBINATION else None


def _factors(value: Any) -> list[tuple[Any, int]]:
    """Primes and exponents of a positive integer; of a large one, only itself."""
    if value < _LARGEST_FACTORED:
        return [(prime, int(exponent)) for prime, exponent in value.factor()]
    return [(value, 1)]


def _content(p: Any) -> int:
    """The greatest common divisor of integer coefficients, if small, else 1.

    So that sin 3x is made of sin x, whether or not sin x has occurred before.
    """
    coefficients = [coefficient for _, coefficient in p.terms()]
    if any(coefficient.q != 1 for coefficient in coefficients):
        return 1
    content = math.gcd(*(int(coefficient.p) for coefficient in coefficients))
    return content if content <= _LARGEST_COMBINATION else 1
