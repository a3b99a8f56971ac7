"""Vector fields as Taylor polynomials at a point, and their brackets.

A bracket of length k of polynomials known to degree d is known to degree d - k + 1, so that values
at the point are right up to length d + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from subriem.arithmetic.truncated_polynomials import TruncatedPolynomials
from subriem.brackets.adapted_rank import SIGNIFICANT, AdaptedRank
from subriem.errors import InputError, NumericalError

__all__ = ["PolynomialFields", "adapted_names"]


class PolynomialFields:
    """Polynomial vector fields by name, with brackets as they are asked for.

    Parameters
    ----------
    ring : TruncatedPolynomials
        With all weights 1.
    letters : mapping of str to ndarray, shape (n, 1 + copies, size)

    Examples
    --------
    >>> from subriem.arithmetic.floats import PerturbedFloats
    >>> ring = TruncatedPolynomials([1, 1], 1, PerturbedFloats(0.0, copies=0))
    >>> zero, one = ring.constant(0), ring.constant(1)
    >>> grushin = {"f": np.stack([one, zero]), "g": np.stack([zero, ring.variable(0)])}
    >>> PolynomialFields(ring, grushin).named("[f,g]")[:, 0, 0]
    array([0., 1.])
    """

    def __init__(self, ring: TruncatedPolynomials, letters: Mapping[str, np.ndarray]) -> None:
        self.ring = ring
        self.letters = dict(letters)
        self._known = dict(letters)

    def __repr__(self) -> str:
        return f"PolynomialFields {', '.join(self.letters)} to degree {self.ring.degree}"

    def derive(self, field: np.ndarray, function: np.ndarray) -> np.ndarray:
        """Derivative of functions along a field.

        Parameters
        ----------
        field : ndarray, shape (n, 1 + copies, size)
        function : ndarray, shape (..., 1 + copies, size)

        Returns
        -------
        ndarray of the shape of ``function``
        """
        total = np.zeros_like(function)
        for k, entry in enumerate(field):
            if entry.any():
                slope = self.ring.derivative(function, k)
                total = self.ring.add(total, self.ring.mul(slope, entry))
        return total

    def bracket(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """[f, g] = (dg) f - (df) g.

        Parameters
        ----------
        f, g : ndarray, shape (n, 1 + copies, size)

        Returns
        -------
        ndarray of that shape
        """
        return self.ring.sub(self.derive(f, g), self.derive(g, f))

    def named(self, name: str) -> np.ndarray:
        """A bracket by its name.

        Parameters
        ----------
        name : str
            As ``"[f1,[f1,f2]]"``.

        Returns
        -------
        ndarray, shape (n, 1 + copies, size)

        Raises
        ------
        InputError
            If the name is not a bracket of these fields, or one longer than the degree allows.
        """
        if name not in self._known:
            left, right = _factors(name)
            known_degree = self.ring.degree - name.count(",")
            if known_degree < 0:
                raise InputError(f"{name} is not known from degree {self.ring.degree}")
            value = self.bracket(self.named(left), self.named(right))
            self._known[name] = self.ring.truncated(value, known_degree)
        return self._known[name]


def _factors(name: str) -> tuple[str, str]:
    """The two factors of a bracket's name.

    Examples
    --------
    >>> _factors("[[f1,f2],f1]")
    ('[f1,f2]', 'f1')
    """
    depth = 0
    for k, mark in enumerate(name):
        depth += (mark == "[") - (mark == "]")
        if mark == "," and depth == 1 and name.endswith("]"):
            return name[1:k], name[k + 1 : -1]
    raise InputError(f"{name!r}: expected a bracket of the fields, such as '[f1,[f1,f2]]'")


def adapted_names(fields: PolynomialFields, growth: Sequence[int] | np.ndarray) -> list[str]:
    """Names of brackets that are a frame adapted to the flag at the point.

    They are taken from a Hall basis, as in `BracketFamily`.

    Parameters
    ----------
    fields : PolynomialFields
        To a degree of at least the step less one.
    growth : sequence of int
        The growth vector, up to the dimension.

    Returns
    -------
    list of str

    Raises
    ------
    NumericalError
        If the brackets have other ranks at the point than the growth vector.
    """
    ring = fields.ring
    rank = AdaptedRank(ring.floats.copies + 1, 1, len(next(iter(fields.letters.values()))))
    basis = [(name, 1, -1) for name in fields.letters]
    of_length: list[list[str]] = []
    for length, expected in enumerate(growth, start=1):
        if length > 1:
            basis += _next_length(fields, basis, length)
        names = [name for name, size, _ in basis if size == length]
        of_length.append(names)
        values = [fields.named(name)[..., 0] for name in names]
        dimension = len(next(iter(fields.letters.values())))
        # (S, n, copies) to (copies, n, S)
        rank.add(
            np.stack(values).transpose(2, 1, 0)
            if values
            else np.zeros((ring.floats.copies + 1, dimension, 0))
        )
        if int(rank.rank[0]) != expected:
            raise NumericalError(
                f"the brackets up to length {length} have rank {int(rank.rank[0])} at the point, "
                f"the growth vector has {expected}"
            )
    return [
        of_length[level - 1][int(column[0])]
        for level, column in zip(rank.levels, rank.columns, strict=True)
    ]


def _next_length(
    fields: PolynomialFields, basis: list[tuple[str, int, int]], length: int
) -> list[tuple[str, int, int]]:
    """The Hall brackets of a length whose Taylor polynomial does not vanish."""
    found = []
    for i, (left, left_size, _) in enumerate(basis):
        for right, right_size, first in basis[i + 1 :]:
            if left_size + right_size != length or first > i:
                continue
            name = f"[{left},{right}]"
            value = fields.named(name)
            spread = np.abs(value - value[:, :1]).max(axis=1)
            if (np.abs(value[:, 0]) > SIGNIFICANT * spread).any():
                found.append((name, length, i))
    return found
