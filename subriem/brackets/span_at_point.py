"""The span of vector fields at one point, with every independence and dependence proved.

Where all values are rational this is Gaussian elimination over the rationals. Otherwise a vector is
proved independent by elimination in balls (an entry of what is left of it excludes zero), and
dependent by fraction-free elimination among constants (all that is left is zero by the relations
among them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.arithmetic.point_values import PointValues

__all__ = ["CertifiedSpan", "RationalSpan", "Span"]

#: Constants of more terms than this are not eliminated with.
_LARGEST_CONSTANT = 2000


class Span(Protocol):
    """What decides whether vectors at a point are independent."""

    @property
    def rank(self) -> int:
        """Number of vectors taken."""
        ...

    def add(self, vector: Sequence[Any]) -> bool | None:
        """Take a vector if it is independent of those taken; None where that is undecided."""
        ...


class RationalSpan:
    """Span of vectors at a point where every element of the ring is rational.

    Parameters
    ----------
    values : sequence of flint.fmpq
        Of all coordinates and generators of a ring.

    Examples
    --------
    >>> from subriem.arithmetic.differential_ring import DifferentialRing
    >>> ring = DifferentialRing(2)
    >>> x, y = ring.element(0), ring.element(1)
    >>> span = RationalSpan([ring.flint.fmpq(1), ring.flint.fmpq(2)])
    >>> span.add([x, y]), span.add([2 * x, 2 * y]), span.add([y, x])
    (True, False, True)
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self._arguments = list(reversed(values))
        self._rows: list[tuple[int, list[Any]]] = []

    @property
    def rank(self) -> int:
        """Number of vectors taken."""
        return len(self._rows)

    def _left(self, vector: Sequence[Any]) -> list[Any]:
        left = [p(*self._arguments) for p in vector]
        for pivot, row in self._rows:
            factor = left[pivot]
            if factor:
                left = [a - factor * b for a, b in zip(left, row, strict=True)]
        return left

    def contains(self, vector: Sequence[Any]) -> bool:
        """Whether a vector is a combination of those taken."""
        return not any(self._left(vector))

    def add(self, vector: Sequence[Any]) -> bool:
        """Take a vector if it is independent of those taken.

        Parameters
        ----------
        vector : sequence of ring elements

        Returns
        -------
        bool
        """
        left = self._left(vector)
        pivot = next((k for k, entry in enumerate(left) if entry), None)
        if pivot is None:
            return False
        self._rows.append((pivot, [entry / left[pivot] for entry in left]))
        return True


class CertifiedSpan:
    """Span of vectors at a point with values that need not be rational.

    Parameters
    ----------
    at : PointValues

    Examples
    --------
    >>> from subriem.arithmetic.differential_ring import DifferentialRing
    >>> ring = DifferentialRing(1)
    >>> s, c = ring.sin(ring.element(0)), ring.cos(ring.element(0))
    >>> span = CertifiedSpan(PointValues(ring, ["pi/4"]))
    >>> span.add([s, c]), span.add([c, s]), span.add([s, -c])
    (True, False, True)
    """

    def __init__(self, at: PointValues) -> None:
        self.at = at
        self._taken: list[list[Any]] = []
        self._balls: dict[int, list[tuple[int, list[Any]]]] = {}
        self._rows: list[tuple[int, list[Any]]] = []

    @property
    def rank(self) -> int:
        """Number of vectors taken."""
        return len(self._taken)

    def add(self, vector: Sequence[Any]) -> bool | None:
        """Take a vector if it is proved independent of those taken.

        Parameters
        ----------
        vector : sequence of ring elements

        Returns
        -------
        bool or None
            None where neither was proved.
        """
        values = [self.at.value(p) for p in vector]
        for k, precision in enumerate((128, self.at.precision)):
            if self._independent(values, precision):
                self._taken.append(values)
                return True
            if k == 0 and self._dependent(values):
                return False
        return None

    def _independent(self, values: Sequence[Any], precision: int) -> bool:
        rows = self._balls.setdefault(precision, [])
        with self.at.ring.flint.ctx.workprec(precision):
            for known in self._taken[len(rows) :]:
                left = self._left_in_balls(known, rows, precision)
                pivot = _surest(left)
                if pivot is None:
                    return False
                rows.append((pivot, left))
            return _surest(self._left_in_balls(values, rows, precision)) is not None

    def _left_in_balls(
        self, values: Sequence[Any], rows: Sequence[tuple[int, list[Any]]], precision: int
    ) -> list[Any]:
        left = [self.at.ball(value, precision) for value in values]
        for pivot, row in rows:
            factor = left[pivot] / row[pivot]
            left = [a - factor * b for a, b in zip(left, row, strict=True)]
            left[pivot] = left[pivot] * 0
        return left

    def _dependent(self, values: Sequence[Any]) -> bool:
        zero = self.at.constants.is_zero
        if all(zero(value) for value in values):
            return True
        try:
            while len(self._rows) < len(self._taken):
                left = self._left_in_constants(self._taken[len(self._rows)])
                pivots = (k for k in _shortest_first(left) if self.at.is_zero(left[k]) is False)
                pivot = next(pivots, None)
                if pivot is None:
                    return False
                self._rows.append((pivot, left))
            return all(zero(value) for value in self._left_in_constants(values))
        except WorkLimitReached:
            return False

    def _left_in_constants(self, values: Sequence[Any]) -> list[Any]:
        ring = self.at.constants
        left = list(values)
        for pivot, row in self._rows:
            if ring.is_zero(left[pivot]):
                continue
            factor, lead = left[pivot], row[pivot]
            if lead.is_constant():
                factor, lead = factor / lead.leading_coefficient(), ring.context.constant(1)
            left = ring.clear(
                [
                    ring.sub(ring.mul(lead, a), ring.mul(factor, b))
                    for a, b in zip(left, row, strict=True)
                ]
            )
            if max(map(len, left)) > _LARGEST_CONSTANT:
                raise WorkLimitReached(f"constants of more than {_LARGEST_CONSTANT} terms")
        return left


def _surest(balls: Sequence[Any]) -> int | None:
    """The entry proved to be furthest from zero, if one is proved to differ from it."""
    best, place = None, None
    for k, ball in enumerate(balls):
        if ball != 0:
            size = ball.abs_lower()
            if best is None or size > best:
                best, place = size, k
    return place


def _shortest_first(values: Sequence[Any]) -> list[int]:
    return sorted(range(len(values)), key=lambda k: len(values[k]))
