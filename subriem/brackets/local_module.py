"""Vector fields as combinations of others, with constant coefficients or analytic ones.

A bracket that is a combination of those before it, over the rationals or over the functions that
are analytic near the point, brings nothing new, nor do the brackets made from it: for w = sum a_i
w_i, [f, w] = sum a_i [f, w_i] + sum f(a_i) w_i. So both tests prune the tree of brackets, and where
they leave nothing the Lie algebra is closed at the point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.generated_ring import WorkLimitReached

__all__ = ["LocalModule", "RationalCombinations"]

#: Elimination among functions stops at entries of more terms than this.
_LARGEST_ENTRY = 3000


class RationalCombinations:
    """The vector fields that are rational combinations of those taken.

    Parameters
    ----------
    ring : DifferentialRing

    Examples
    --------
    >>> ring = DifferentialRing(2)
    >>> x, y = ring.element(0), ring.element(1)
    >>> combinations = RationalCombinations(ring)
    >>> combinations.add([x, y]), combinations.add([x, x]), combinations.add([x - y, x * 0])
    (True, True, True)
    >>> combinations.add([5 * x - 2 * y, 3 * x])
    False
    """

    def __init__(self, ring: DifferentialRing) -> None:
        self.ring = ring
        self._rows: list[tuple[int, tuple[int, ...], list[Any]]] = []

    def add(self, field: Sequence[Any]) -> bool:
        """Take a field if it is independent over the rationals of those taken.

        Parameters
        ----------
        field : sequence of elements

        Returns
        -------
        bool
        """
        left = list(field)
        self.ring.spend(len(self._rows))
        # each row is free of the leading monomials of the rows before it: one pass does
        for entry, monomial, row in self._rows:
            factor = left[entry][monomial]
            if factor:
                self.ring.spend(20 + 4 * sum(map(len, row)) + sum(map(len, left)))
                left = [a - factor * b for a, b in zip(left, row, strict=True)]
        nonzero = [k for k, p in enumerate(left) if not p.is_zero()]
        if not nonzero:
            return False
        lead = left[nonzero[0]]
        row = [p / lead.leading_coefficient() for p in left]
        self._rows.append((nonzero[0], lead.monomial(0), row))
        return True


class LocalModule:
    """Combinations of fields, independent at a point, with coefficients analytic near it.

    Elimination is fraction-free with pivots that do not vanish at the point, so that a field of
    which nothing is left is such a combination.

    Parameters
    ----------
    ring : DifferentialRing
    is_unit : callable
        Whether an element of the ring is proved to differ from zero at the point.

    Examples
    --------
    >>> ring = DifferentialRing(2)
    >>> x, y = ring.element(0), ring.element(1)
    >>> module = LocalModule(ring, lambda p: p(0, 1) != 0)    # at x = 1, y = 0
    >>> module.add([x, y])
    >>> module.contains([x * y, y**2]), module.contains([y, x])
    (True, False)
    """

    def __init__(self, ring: DifferentialRing, is_unit: Callable[[Any], bool]) -> None:
        self.ring = ring
        self.is_unit = is_unit
        self._waiting: list[list[Any]] = []
        self._rows: list[tuple[int, list[Any]]] = []

    def add(self, field: Sequence[Any]) -> None:
        """Take a field that is independent at the point of those taken.

        Parameters
        ----------
        field : sequence of elements
        """
        self._waiting.append(list(field))

    def contains(self, field: Sequence[Any]) -> bool:
        """Whether a field is proved to be a combination; False may also mean too much work.

        Parameters
        ----------
        field : sequence of elements

        Returns
        -------
        bool
        """
        try:
            while self._waiting:
                left = self._left(self._waiting[0])
                pivots = sorted(range(len(left)), key=lambda k: len(left[k]))
                pivot = next((k for k in pivots if len(left[k]) and self.is_unit(left[k])), None)
                if pivot is None:
                    return False
                self._rows.append((pivot, left))
                self._waiting.pop(0)
            return all(p.is_zero() for p in self._left(field))
        except _TooLarge:
            return False

    def _left(self, field: Sequence[Any]) -> list[Any]:
        ring = self.ring
        left = self._primitive(field)
        for pivot, row in self._rows:
            factor, lead = left[pivot], row[pivot]
            if factor.is_zero():
                continue
            common = factor.gcd(lead)
            factor, lead = factor / common, lead / common
            left = ring.clear(
                [
                    ring.sub(ring.mul(lead, a), ring.mul(factor, b))
                    for a, b in zip(left, row, strict=True)
                ]
            )
            left = self._primitive(left)
            if max(map(len, left)) > _LARGEST_ENTRY:
                raise _TooLarge
        return left

    def _primitive(self, field: Sequence[Any]) -> list[Any]:
        """A field over the greatest common divisor of its entries.

        Of a field that has an entry that does not vanish at the point, neither does the divisor;
        of another one, only whether it is zero matters.
        """
        common = None
        for p in field:
            if not p.is_zero():
                common = p if common is None else common.gcd(p)
                if common.is_constant():
                    return list(field)
        return list(field) if common is None else [p / common for p in field]


class _TooLarge(WorkLimitReached):
    """An elimination that would take too much memory."""
