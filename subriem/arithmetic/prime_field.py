"""Arithmetic modulo a prime: whether an expression of rational functions vanishes, and ranks.

At a random point a rational function that is not zero is zero modulo p with probability at most
its degree over p (Schwartz, J. ACM 27 (1980)), here below 1e-15. No units and no rounding matter.
"""

from __future__ import annotations

import numpy as np

from subriem.arithmetic.exact import simplest_fraction
from subriem.errors import InputError

__all__ = ["PrimeField"]

#: The largest prime below 2^61, a Mersenne prime.
MERSENNE_61 = 2**61 - 1
#: The operations of rational functions.
RATIONAL = frozenset(("add", "sub", "mul", "div", "neg", "inv", "twice", "sq"))


class PrimeField:
    """The number system of integers modulo a prime.

    Parameters
    ----------
    prime : int

    Examples
    --------
    >>> field = PrimeField(7)
    >>> field.div(1, 3), field.constant(0.5)
    (5, 4)
    """

    def __init__(self, prime: int = MERSENNE_61) -> None:
        self.prime = prime

    def constant(self, value: float) -> int:
        """A constant of a program, read as the simplest fraction that rounds to it.

        Raises
        ------
        InputError
            If the prime divides its denominator.
        """
        fraction = simplest_fraction(value)
        return self.div(fraction.numerator % self.prime, fraction.denominator)

    def random(self, count: int, generator: np.random.Generator) -> list[int]:
        """Random elements.

        Parameters
        ----------
        count : int
        generator : numpy.random.Generator

        Returns
        -------
        list of int
        """
        return [int(value) for value in generator.integers(1, self.prime, count)]

    def add(self, a: int, b: int) -> int:
        """The sum a + b."""
        return (a + b) % self.prime

    def sub(self, a: int, b: int) -> int:
        """The difference a - b."""
        return (a - b) % self.prime

    def mul(self, a: int, b: int) -> int:
        """The product a b."""
        return a * b % self.prime

    def div(self, a: int, b: int) -> int:
        """The quotient a / b.

        Raises
        ------
        InputError
            If b is zero modulo the prime.
        """
        if b % self.prime == 0:
            raise InputError(f"division by zero modulo {self.prime}")
        return a * pow(b, -1, self.prime) % self.prime

    def neg(self, a: int) -> int:
        """-a."""
        return -a % self.prime

    def inv(self, a: int) -> int:
        """1 / a."""
        return self.div(1, a)

    def twice(self, a: int) -> int:
        """2 a."""
        return 2 * a % self.prime

    def sq(self, a: int) -> int:
        """The square."""
        return a * a % self.prime

    def rank(self, rows: list[list[int]]) -> int:
        """Rank of a matrix.

        Parameters
        ----------
        rows : list of lists of int

        Returns
        -------
        int

        Examples
        --------
        >>> PrimeField().rank([[1, 2], [2, 4], [0, 1]])
        2
        """
        left = [list(row) for row in rows]
        rank = 0
        for column in range(len(left[0]) if left else 0):
            pivot = next((k for k in range(rank, len(left)) if left[k][column]), None)
            if pivot is None:
                continue
            left[rank], left[pivot] = left[pivot], left[rank]
            inverse = self.inv(left[rank][column])
            for k in range(rank + 1, len(left)):
                factor = left[k][column] * inverse % self.prime
                if factor:
                    left[k] = [
                        (a - factor * b) % self.prime
                        for a, b in zip(left[k], left[rank], strict=True)
                    ]
            rank += 1
        return rank
