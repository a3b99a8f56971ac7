"""The iterated brackets of a structure over a Hall basis, as CasADi expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import casadi as ca
import numpy as np

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.prime_field import PrimeField
from subriem.arithmetic.program import Program
from subriem.brackets.lie_bracket import lie_bracket
from subriem.brackets.lifted_fields import lifted_fields
from subriem.structure import Structure, require_structure

__all__ = ["Bracket", "BracketFamily", "bracket_family", "generic_points"]

#: A structure's brackets are written out in CasADi as long as those of a step are expected to take
#: fewer instructions than this; beyond, the path series takes over.
INSTRUCTIONS = 5_000


@dataclass(frozen=True)
class Bracket:
    """An iterated bracket.

    Attributes
    ----------
    name : str
        ``"[f1,[f1,f2]]"``.
    length : int
        Number of letters.
    expression : casadi.SX, shape (n, 1)
        In the symbols of the family's `LiftedFields`.
    left, right : int
        Positions of the two factors in the family; -1 for a letter.
    """

    name: str
    length: int
    expression: ca.SX
    left: int = -1
    right: int = -1


class BracketFamily:
    """The brackets of a structure's fields over a Hall basis, each built once.

    [a, b] is in the basis if a comes before b and, for b = [c, d], c does not come after a (M.
    Hall, *A basis for free Lie rings*, Proc. AMS 1 (1950)). A bracket that vanishes identically
    is recognised (structurally, or at random points of the chart) and not expanded further.

    Parameters
    ----------
    structure : Structure
    drift : bool
        Take the drift as a letter too.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> [bracket.name for bracket in BracketFamily(martinet).of_length(3)]
    ['[f1,[f1,f2]]']
    """

    def __init__(self, structure: Structure, drift: bool = False) -> None:
        self.structure = structure
        self.lifted = lifted_fields(structure, drift)
        self.brackets = [
            Bracket(name, 1, self.lifted.fields[:, k]) for k, name in enumerate(self.lifted.names)
        ]
        self.length = 1

    def of_length(self, length: int) -> list[Bracket]:
        """The basis brackets of a length that do not vanish identically.

        Parameters
        ----------
        length : int

        Returns
        -------
        list of Bracket
        """
        while self.length < length:
            self._extend()
        return [bracket for bracket in self.brackets if bracket.length == length]

    def _extend(self) -> None:
        length = self.length + 1
        new = []
        for (i, left), (j, right) in self._pairs(length):
            expression = lie_bracket(left.expression, right.expression, self.structure.state)
            if not expression.is_zero():
                name = f"[{left.name},{right.name}]"
                new.append(Bracket(name, length, expression, i, j))
        if new:
            vanishing = self._vanishing(new)
            self.brackets += [b for b, gone in zip(new, vanishing, strict=True) if not gone]
        self.length = length

    def _pairs(self, length: int) -> Iterator[tuple[tuple[int, Bracket], tuple[int, Bracket]]]:
        numbered = list(enumerate(self.brackets))
        for i, left in numbered:
            for j, right in numbered[i + 1 :]:
                if left.length + right.length == length and right.left <= i:
                    yield (i, left), (j, right)

    def _vanishing(self, brackets: list[Bracket]) -> np.ndarray:
        """Which brackets are zero at random points: modulo a prime, or as perturbations tell."""
        if self.lifted.rational:
            return ~np.array([any(column) for column in self._modular(brackets)])
        values = self.values(brackets, generic_points(self.structure), 1e-12)
        spread = np.abs(values[1:] - values[0]).max(axis=0)
        return (np.abs(values[0]) <= 10 * spread).all(axis=(0, 1))

    def _modular(self, brackets: list[Bracket]) -> list[list[int]]:
        """The brackets' components at a random point modulo a prime."""
        field = PrimeField()
        n = self.structure.dimension
        state = field.random(n, np.random.default_rng(1))
        parameters = [field.constant(float(value)) for value in self.lifted.values]
        (entries,) = self._program(brackets).run(field, state, parameters)
        return [entries[k * n : (k + 1) * n] for k in range(len(brackets))]

    def generic_rank(self, length: int) -> int:
        """Rank of the brackets up to a length at a random point modulo a prime.

        For rational fields, which alone have one, it is their generic rank but for a chance below
        1e-15.

        Parameters
        ----------
        length : int

        Returns
        -------
        int
        """
        self.of_length(length)
        counted = [
            bracket
            for bracket in self.brackets
            if bracket.length <= length and bracket.name != "drift"
        ]
        rows = [
            row
            for size in range(1, length + 1)
            if (some := [bracket for bracket in counted if bracket.length == size])
            for row in self._modular(some)
        ]
        return PrimeField().rank(rows)

    def _program(self, brackets: list[Bracket]) -> Program:
        names = tuple(bracket.name for bracket in brackets)

        def build() -> Program:
            expression = ca.densify(ca.horzcat(*(bracket.expression for bracket in brackets)))
            # without CasADi's own elimination of common subexpressions: the program has its own
            symbols = [self.lifted.state, self.lifted.parameters]
            return Program(ca.Function("brackets", symbols, [expression]))

        return self.structure.cached(("brackets", names), build)

    def values(self, brackets: list[Bracket], points: np.ndarray, tolerance: float) -> np.ndarray:
        """Values of brackets at points, in copies that show how far they can be trusted.

        Parameters
        ----------
        brackets : list of Bracket
        points : ndarray, shape (B, n)
        tolerance : float
            See `PerturbedFloats`.

        Returns
        -------
        ndarray, shape (1 + copies, B, n, number of brackets)
        """
        floats = PerturbedFloats(tolerance)
        shape = (floats.copies + 1, len(points))
        if not brackets:
            return np.zeros((*shape, self.structure.dimension, 0))
        stacked = floats.evaluate(self._program(brackets), points, self.lifted.values)
        # CasADi stores a matrix column by column.
        by_columns = stacked.reshape(*shape, len(brackets), self.structure.dimension)
        return np.swapaxes(by_columns, -1, -2)

    def affordable(self, length: int) -> bool:
        """Whether the brackets of a length are expected to take few enough instructions.

        From a length to the next their number grows about threefold.

        Parameters
        ----------
        length : int

        Returns
        -------
        bool
        """
        shorter = self.of_length(length - 1) if length > 2 else []
        if not shorter:
            return True
        return 3 * len(self._program(shorter).instructions) <= INSTRUCTIONS


def generic_points(structure: Structure) -> np.ndarray:
    """Random points of the chart on several scales, as nothing says which is that of the model.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    ndarray, shape (B, n)
    """
    points = structure.sample(2, np.random.default_rng(2))
    nearer = np.concatenate([scale * points for scale in (1e-2, 1e-4, 1e-6)])
    return np.concatenate([points, nearer[structure.inside(nearer)]])


def bracket_family(structure: Structure, drift: bool = False) -> BracketFamily:
    """The brackets of a structure, built once and kept with it.

    Parameters
    ----------
    structure : Structure
    drift : bool

    Returns
    -------
    BracketFamily

    Raises
    ------
    InputTypeError
        If it is not a structure.

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0), (0, q.x)])
    >>> bracket_family(plane) is bracket_family(plane)
    True
    """
    require_structure(structure)
    return structure.cached(("family", drift), lambda: BracketFamily(structure, drift))
