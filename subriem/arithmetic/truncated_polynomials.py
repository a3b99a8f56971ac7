"""Polynomials in several variables, truncated by weighted degree, as a number system.

A `Program` run on them gives the Taylor polynomials of its outputs. A variable of weight w counts w
times for the degree; as degrees add in products, truncation commutes with all operations. The
functions of one variable follow from their Taylor coefficients (`TaylorRun`) by Horner's rule.
Coefficients come in the perturbed copies of `PerturbedFloats`, which tell what each is worth.

Source: Griewank, Walther, *Evaluating Derivatives*, 2nd ed. (2008), chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.arithmetic.taylor import TaylorRun
from subriem.errors import InputError

__all__ = ["TruncatedPolynomials", "count_monomials"]

#: A full product of two polynomials may form this many products of coefficients.
LARGEST_PRODUCT = 1_000_000
# A comparison counts as decided where its sides differ by this many times their perturbations.
_DECIDED = 100.0
_LARGEST_POWER = 64


class TruncatedPolynomials:
    """Polynomials up to a weighted degree; a number is an array of coefficients.

    Its shape is (..., 1 + copies, size): the last axis runs over the monomials in `exponents`, the
    one before over the perturbed copies, number 0 being unperturbed. Where a function has no Taylor
    coefficients, all of them are NaN.

    Parameters
    ----------
    weights : sequence of int
        Positive, one a variable.
    degree : int
        Monomials of a higher weighted degree are dropped.
    floats : PerturbedFloats
        Says how every operation is perturbed.

    Attributes
    ----------
    exponents : ndarray of int, shape (size, n)
        Of the monomials, by increasing degree.
    degrees : ndarray of int, shape (size,)
        Their weighted degrees.

    Raises
    ------
    InputError
        If a weight is not positive, the degree is negative, or a product of two polynomials
        takes more than a million multiplications.

    Examples
    --------
    >>> ring = TruncatedPolynomials([1, 2], 3, PerturbedFloats(0.0, copies=0))
    >>> ring.exponents.tolist()
    [[0, 0], [1, 0], [2, 0], [0, 1], [3, 0], [1, 1]]
    >>> x, y = ring.variable(0), ring.variable(1)
    >>> ring.sin(ring.add(x, y))[0].round(3) + 0.0
    array([ 0.   ,  1.   ,  0.   ,  1.   , -0.167,  0.   ])
    """

    def __init__(self, weights: Sequence[int], degree: int, floats: PerturbedFloats) -> None:
        self.weights = tuple(int(weight) for weight in weights)
        self.degree = int(degree)
        self.floats = floats
        self._generator = np.random.default_rng(0)
        if min(self.weights, default=0) < 1 or degree < 0:
            raise InputError(
                f"expected positive weights and a degree >= 0, got {list(weights)} and {degree}"
            )
        # pairs of monomials whose product is kept: monomials in twice as many variables
        products = count_monomials(self.weights * 2, self.degree)
        if products > LARGEST_PRODUCT:
            raise InputError(
                f"polynomials of degree {degree} in {len(self.weights)} variables are too large: "
                f"a product takes {products} multiplications, the limit is {LARGEST_PRODUCT}"
            )
        monomials = sorted(
            _monomials(self.weights, self.degree), key=lambda m: (self._degree(m), m[::-1])
        )
        self.exponents = np.array(monomials, dtype=int).reshape(len(monomials), -1)
        self.degrees = self.exponents @ np.array(self.weights)
        self._place = {monomial: k for k, monomial in enumerate(monomials)}
        self._shifts = self._tabulate(monomials)

    def __repr__(self) -> str:
        return f"TruncatedPolynomials of degree {self.degree} with weights {self.weights}"

    def _degree(self, monomial: tuple[int, ...]) -> int:
        return sum(w * e for w, e in zip(self.weights, monomial, strict=True))

    def _tabulate(self, monomials: list[tuple[int, ...]]) -> list[np.ndarray]:
        """For each monomial, the places of its products with those that it may multiply.

        These come first, as monomials are sorted by degree.
        """
        steps = np.full((len(monomials), len(self.weights)), -1)
        for k, monomial in enumerate(monomials):
            for i in range(len(monomial)):
                raised = (*monomial[:i], monomial[i] + 1, *monomial[i + 1 :])
                steps[k, i] = self._place.get(raised, -1)
        self._raised = steps
        shifts = [np.arange(len(monomials))]
        for monomial in monomials[1:]:
            i = next(i for i, exponent in enumerate(monomial) if exponent)
            lowered = (*monomial[:i], monomial[i] - 1, *monomial[i + 1 :])
            kept = int((self.degrees <= self.degree - self._degree(monomial)).sum())
            shifts.append(steps[shifts[self._place[lowered]][:kept], i])
        return shifts

    # ------------------------------------------------------------------ numbers

    @property
    def size(self) -> int:
        """Number of monomials."""
        return len(self.exponents)

    def place(self, monomial: Sequence[int]) -> int:
        """Where the coefficient of a monomial stands.

        Parameters
        ----------
        monomial : sequence of int
            Its exponents.

        Returns
        -------
        int

        Raises
        ------
        KeyError
            If it is truncated.
        """
        return self._place[tuple(monomial)]

    def constant(self, value: float) -> np.ndarray:
        """A constant of the program, taken as exact."""
        number = np.zeros((self.floats.copies + 1, self.size))
        number[:, 0] = value
        return number

    def read(self, value: float) -> np.ndarray:
        """A constant that is known up to a perturbation."""
        number = self.constant(0.0)
        number[:, 0] = self.floats.read(np.array([value]))[:, 0]
        return number

    def variable(self, k: int) -> np.ndarray:
        """The k-th variable; zero if its weight is more than the degree."""
        number = self.constant(0.0)
        if self.weights[k] <= self.degree:
            number[:, self._raised[0, k]] = 1.0
        return number

    def rounded(self, a: np.ndarray) -> np.ndarray:
        """A number with each coefficient perturbed, as after an operation."""
        # each its own: equal perturbations would go unseen where coefficients cancel
        noise = self._generator.uniform(-1.0, 1.0, a.shape)
        noise[..., 0, :] = 0.0
        return a * (1.0 + self.floats.tolerance * noise)

    def truncated(self, a: np.ndarray, degree: int) -> np.ndarray:
        """A number without its terms above a degree."""
        return np.where(self.degrees <= degree, a, 0.0)

    def derivative(self, a: np.ndarray, k: int) -> np.ndarray:
        """The partial derivative by the k-th variable.

        Parameters
        ----------
        a : ndarray, shape (..., 1 + copies, size)
        k : int

        Returns
        -------
        ndarray of that shape
            Its terms of degree over ``degree - weights[k]`` are not known, and left zero.
        """
        result = np.zeros_like(a)
        kept = np.flatnonzero(self._raised[:, k] >= 0)
        result[..., kept] = (self.exponents[kept, k] + 1) * a[..., self._raised[kept, k]]
        return result

    # ------------------------------------------------------------------ operations

    def _product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        terms = [np.flatnonzero(_occurs(factor)) for factor in (a, b)]
        if len(terms[0]) < len(terms[1]):
            a, b, terms = b, a, terms[::-1]
        result = np.zeros(np.broadcast_shapes(a.shape, b.shape))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            # also times zero, which may be a number whose terms were all truncated
            return np.full_like(result, np.nan)
        for j in terms[1]:
            shift = self._shifts[j]
            result[..., shift] += a[..., : len(shift)] * b[..., j, None]
        return result

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The sum."""
        return self.rounded(a + b)

    def sub(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The difference."""
        return self.rounded(a - b)

    def mul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The product."""
        return self.rounded(self._product(a, b))

    def sq(self, a: np.ndarray) -> np.ndarray:
        """The square."""
        return self.mul(a, a)

    def neg(self, a: np.ndarray) -> np.ndarray:
        """The negative."""
        return -a

    def twice(self, a: np.ndarray) -> np.ndarray:
        """Twice a number."""
        return 2.0 * a

    def div(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The quotient."""
        return self.mul(a, self._function("inv", b))

    def pow(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """A to the power b."""
        if _occurs(b)[1:].any():
            return self._function("exp", self.mul(b, self._function("log", a)))
        exponent = float(b[0, 0])
        if 0 <= exponent <= _LARGEST_POWER and (b[:, 0] == int(exponent)).all():
            result = self.constant(1.0)
            for _ in range(int(exponent)):
                result = self.mul(result, a)
            return result
        return self._function("pow", a, b[:, 0])

    constpow = pow

    def hypot(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """sqrt(a^2 + b^2)."""
        return self._function("sqrt", self.add(self.sq(a), self.sq(b)))

    def atan2(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The angle of (x, y): that of the constant terms, and the turn from there."""
        y0, x0 = self.constant(0.0), self.constant(0.0)
        y0[:, 0], x0[:, 0] = y[:, 0], x[:, 0]
        across = self.sub(self.mul(x0, y), self.mul(y0, x))
        along = self.add(self.mul(x0, x), self.mul(y0, y))
        turn = self._function("atan", self.div(across, along))
        turn[:, 0] += np.arctan2(y[:, 0], x[:, 0])
        return turn

    def _function(self, name: str, a: np.ndarray, *more: np.ndarray) -> np.ndarray:
        """A function of one variable, further arguments being constants."""
        count = self.degree // min(self.weights) + 1
        run = TaylorRun(_one_operation(name), count, a.shape[:1], self.floats)
        series = []
        for order in range(count):
            given = a[:, 0] if order == 0 else np.full(a.shape[0], float(order == 1))
            rest = [[extra if order == 0 else np.zeros_like(extra)] for extra in more]
            series.append(run.advance([[given], *rest])[0][0])
        if not np.isfinite(series).all():
            # whatever the argument: terms of it may have been truncated
            return np.full_like(a, np.nan)
        small = a.copy()
        small[:, 0] = 0.0
        result = self.constant(0.0)
        for coefficient in reversed(series):
            result = self._product(result, small)
            result[:, 0] += coefficient
        return self.rounded(result)

    # ------------------------------------------------------------------ pieces

    def _side(self, a: np.ndarray) -> float:
        """The sign that a number has near the point; refused where it may change there."""
        value, spread = a[0, 0], np.abs(a[:, 0] - a[0, 0]).max()
        # NaN is not decided either
        if not abs(value) > _DECIDED * spread:
            raise InputError("no Taylor polynomial: a comparison or a kink lies at the point")
        return float(np.sign(value))

    def lt(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether a < b, as 1 or 0; constant near the point."""
        return self.constant(float(self._side(self.sub(a, b)) < 0))

    # with sides that differ, < and <= are the same
    le = lt

    def eq(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether a = b, as 1 or 0: constants are compared, others must differ at the point."""
        if not (_occurs(a)[1:].any() or _occurs(b)[1:].any()):
            return self.constant(float(a[0, 0] == b[0, 0]))
        return self.constant(float(self._side(self.sub(a, b)) == 0))

    def ne(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The contrary of `eq`."""
        return self.constant(1.0 - self.eq(a, b)[0, 0])

    def sign(self, a: np.ndarray) -> np.ndarray:
        """-1 or 1."""
        return self.constant(self._side(a))

    def fabs(self, a: np.ndarray) -> np.ndarray:
        """The absolute value."""
        return self._side(a) * a

    def fmin(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The smaller of the two."""
        return a if self._side(self.sub(a, b)) < 0 else b

    def fmax(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The larger of the two."""
        return b if self._side(self.sub(a, b)) < 0 else a

    def if_else_zero(self, condition: np.ndarray, a: np.ndarray) -> np.ndarray:
        """``a`` where the condition holds, 0 elsewhere."""
        return a if condition[0, 0] != 0 else self.constant(0.0)


def _known_function(name: str) -> Callable[[TruncatedPolynomials, np.ndarray], np.ndarray]:
    def method(self: TruncatedPolynomials, a: np.ndarray) -> np.ndarray:
        return self._function(name, a)

    method.__doc__ = f"CasADi's ``{name}``."
    return method


def _known_logic(combine: Callable[..., bool]) -> Callable[..., np.ndarray]:
    def method(self: TruncatedPolynomials, *operands: np.ndarray) -> np.ndarray:
        return self.constant(float(combine(*(bool(a[0, 0] != 0) for a in operands))))

    return method


for _name in (
    *("inv", "sqrt", "exp", "log", "expm1", "log1p", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf"),
):
    setattr(TruncatedPolynomials, _name, _known_function(_name))
# names that Python's grammar keeps to itself
setattr(TruncatedPolynomials, "not", _known_logic(lambda a: not a))
setattr(TruncatedPolynomials, "and", _known_logic(lambda a, b: a and b))
setattr(TruncatedPolynomials, "or", _known_logic(lambda a, b: a or b))


@lru_cache(maxsize=64)
def _one_operation(name: str) -> Program:
    x, b = ca.SX.sym("x"), ca.SX.sym("b")
    if name == "pow":
        return Program(ca.Function("pow", [x, b], [x**b]))
    value = 1 / x if name == "inv" else getattr(ca, name)(x)
    return Program(ca.Function(name, [x], [value]))


def _occurs(a: np.ndarray) -> np.ndarray:
    """Which monomials have a coefficient; a NaN is one."""
    return (a != 0).any(axis=tuple(range(a.ndim - 1)))


def _monomials(weights: Sequence[int], degree: int) -> Iterator[tuple[int, ...]]:
    if not weights:
        yield ()
        return
    for exponent in range(degree // weights[-1] + 1):
        for rest in _monomials(weights[:-1], degree - exponent * weights[-1]):
            yield (*rest, exponent)


def count_monomials(weights: Sequence[int], degree: int) -> int:
    """Number of monomials up to a weighted degree.

    Parameters
    ----------
    weights : sequence of int
    degree : int

    Returns
    -------
    int

    Examples
    --------
    >>> count_monomials([1, 2], 3)
    6
    """
    of_degree: list[Any] = [1] + [0] * degree
    for weight in weights:
        for total in range(weight, degree + 1):
            of_degree[total] += of_degree[total - weight]
    return sum(of_degree)
