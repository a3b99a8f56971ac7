"""Polynomials with rational coefficients as a number system, up to a limit of work."""

from __future__ import annotations

from typing import Any

from subriem.arithmetic.exact import simplest_fraction
from subriem.arithmetic.flint_library import load_flint
from subriem.arithmetic.generated_ring import WorkLimitReached

__all__ = ["ExactPolynomials"]


class ExactPolynomials:
    """The polynomials over Q in some variables.

    Parameters
    ----------
    variables : int
    work_limit : int
        How many products of terms may be formed.

    Raises
    ------
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> ring = ExactPolynomials(2)
    >>> x, y = ring.variables
    >>> ring.sub(ring.sq(ring.add(x, y)), ring.sq(x))
    2*x0*x1 + x1^2
    """

    def __init__(self, variables: int, work_limit: int = 2_000_000) -> None:
        flint = load_flint()
        self._flint = flint
        self._context = flint.fmpq_mpoly_ctx.get(("x", variables), "deglex")
        self.variables = list(self._context.gens())
        self._left = work_limit

    def constant(self, value: float) -> Any:
        """A constant, read as the simplest fraction that rounds to it."""
        fraction = simplest_fraction(value)
        return self._context.constant(self._flint.fmpq(fraction.numerator, fraction.denominator))

    def mul(self, a: Any, b: Any) -> Any:
        """The product.

        Raises
        ------
        WorkLimitReached
            If it takes more work than is left.
        """
        self._left -= len(a) * len(b)
        if self._left < 0:
            raise WorkLimitReached("polynomials too large to be multiplied out")
        return a * b

    def add(self, a: Any, b: Any) -> Any:
        """The sum."""
        return a + b

    def sub(self, a: Any, b: Any) -> Any:
        """The difference."""
        return a - b

    def neg(self, a: Any) -> Any:
        """The negative."""
        return -a

    def twice(self, a: Any) -> Any:
        """2 a."""
        return 2 * a

    def sq(self, a: Any) -> Any:
        """The square."""
        return self.mul(a, a)
