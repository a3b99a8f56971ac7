"""The Lie bracket, and iterated brackets of a structure by name.

Sign: [f, g] = (dg) f - (df) g, so that for the Hamiltonian lifts H_f(q, p) = p'f(q) one has
{H_f, H_g} = H_[f,g] (Agrachev, Barilari, Boscain, *A Comprehensive Introduction to
Sub-Riemannian Geometry*, 2019, sections 2.1 and 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.errors import InputError, InputTypeError
from subriem.structure import Structure, require_structure

__all__ = ["Bracket", "BracketFamily", "bracket_family", "lie_bracket", "named_bracket"]

#: A structure's brackets are written out in CasADi as long as those of a step are expected to take
#: fewer instructions than this; beyond, the path series takes over.
INSTRUCTIONS = 5_000


def lie_bracket(f: ca.SX, g: ca.SX, state: ca.SX) -> ca.SX:
    """[f, g] = (dg) f - (df) g.

    Parameters
    ----------
    f, g : casadi.SX, shape (n, 1)
        Vector fields.
    state : casadi.SX, shape (n, 1)
        The symbols that they are functions of.

    Returns
    -------
    casadi.SX, shape (n, 1)

    Raises
    ------
    InputError
        If the shapes do not fit.
    InputTypeError
        If one is not a CasADi SX expression.

    Examples
    --------
    >>> q = ca.SX.sym("q", 3)
    >>> f, g = ca.vertcat(1, 0, -q[1] / 2), ca.vertcat(0, 1, q[0] / 2)
    >>> ca.evalf(lie_bracket(f, g, q))
    DM([0, 0, 1])
    """
    for what, value in (("f", f), ("g", g), ("state", state)):
        if not isinstance(value, ca.SX):
            raise InputTypeError(f"{what}: expected a CasADi SX, got {type(value).__name__}")
        if value.shape != (state.shape[0], 1):
            raise InputError(f"{what}: expected shape {(state.shape[0], 1)}, got {value.shape}")
    # jtimes is one forward sweep, not a full Jacobian
    return ca.densify(ca.simplify(ca.jtimes(g, state, f) - ca.jtimes(f, state, g)))


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
        letters = [*structure.field_names, *(["drift"] if drift else [])]
        self.brackets = [Bracket(name, 1, structure.field(name)) for name in letters]
        self.length = 1
        points = structure.sample(3, np.random.default_rng(1))
        self._points = points

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
        """Which brackets are zero at random points, up to what perturbations explain."""
        values = perturbed_values(self.structure, brackets, self._points, 1e-12)
        spread = np.abs(values[1:] - values[0]).max(axis=0)
        return (np.abs(values[0]) <= 10 * spread).all(axis=(0, 1))

    def affordable(self, length: int) -> bool:
        """Whether the brackets of a length are expected to take few enough instructions.

        From a length to the next their number grows about threefold.
        """
        shorter = self.of_length(length - 1) if length > 2 else []
        if not shorter:
            return True
        return 3 * len(_program(self.structure, shorter).instructions) <= INSTRUCTIONS


def _program(structure: Structure, brackets: list[Bracket]) -> Program:
    names = tuple(bracket.name for bracket in brackets)

    def build() -> Program:
        expression = ca.horzcat(*(bracket.expression for bracket in brackets))
        # without CasADi's own elimination of common subexpressions: the program has its own
        symbols = [structure.state, structure.parameter_symbols]
        return Program(ca.Function("brackets", symbols, [ca.densify(expression)]))

    return structure.cached(("brackets", names), build)


def perturbed_values(
    structure: Structure, brackets: list[Bracket], points: np.ndarray, tolerance: float
) -> np.ndarray:
    """Values of brackets at points, in copies that show how far they can be trusted.

    Parameters
    ----------
    structure : Structure
    brackets : list of Bracket
    points : ndarray, shape (B, n)
    tolerance : float
        See `PerturbedFloats`.

    Returns
    -------
    ndarray, shape (1 + copies, B, n, number of brackets)
    """
    program = _program(structure, brackets)
    floats = PerturbedFloats(tolerance)
    coordinates = [floats.read(column) for column in points.T]
    parameters = [floats.read(np.array([value])) for value in structure.parameter_values]
    with np.errstate(all="ignore"):
        (entries,) = program.run(floats, coordinates, parameters)
    shape = (floats.copies + 1, len(points))
    stacked = np.stack([np.broadcast_to(entry, shape) for entry in entries], axis=-1)
    # CasADi stores a matrix column by column.
    by_columns = stacked.reshape(*shape, len(brackets), structure.dimension)
    return np.swapaxes(by_columns, -1, -2)


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
    """
    require_structure(structure)
    return structure.cached(("family", drift), lambda: BracketFamily(structure, drift))


def named_bracket(structure: Structure, name: str) -> ca.SX:
    """An iterated bracket of a structure by its name, in the Hall basis or not.

    Parameters
    ----------
    structure : Structure
    name : str
        As ``"[f1,[f1,f2]]"``; letters are the structure's field names and ``drift``.

    Returns
    -------
    casadi.SX, shape (n, 1)

    Raises
    ------
    InputError
        If the name is not a bracket, or a letter is unknown.

    Examples
    --------
    >>> engel = Structure.define(
    ...     "engel", "x y z w", lambda q: [(1, 0, 0, 0), (0, 1, q.x, q.x**2 / 2)]
    ... )
    >>> ca.evalf(named_bracket(engel, "[f1,[f1,f2]]"))
    DM([0, 0, 0, 1])
    """
    require_structure(structure)
    compact = name.replace(" ", "")
    expression, rest = _parse(structure, compact, name)
    if rest:
        raise InputError(f"{name!r}: did not expect {rest!r} after the bracket")
    return expression


def _parse(structure: Structure, text: str, name: str) -> tuple[ca.SX, str]:
    if not text.startswith("["):
        stop = min((text.find(mark) for mark in ",]" if mark in text), default=len(text))
        return structure.field(text[:stop]), text[stop:]
    left, rest = _parse(structure, text[1:], name)
    if not rest.startswith(","):
        raise InputError(f"{name!r}: expected a bracket such as '[f1,[f1,f2]]'")
    right, rest = _parse(structure, rest[1:], name)
    if not rest.startswith("]"):
        raise InputError(f"{name!r}: a bracket is not closed")

    def build() -> Any:
        return lie_bracket(left, right, structure.state)

    key = text[: len(text) - len(rest) + 1]
    return structure.cached(("bracket", key), build), rest[1:]
