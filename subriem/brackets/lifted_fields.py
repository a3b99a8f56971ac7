"""The fields of a structure with their constants as symbols, so that CasADi folds none of them.

A derivative of 0.1 (3 x - y) along (0.1, 0.3) is zero, and CasADi folds it to 5.6e-17, a constant
like any other. With the constants as further parameters it remains an expression, and what
perturbations of the constants explain can be told from a direction. Integers and short dyadic
fractions stay: sums and products of them are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.exact import simplest_fraction
from subriem.arithmetic.prime_field import RATIONAL
from subriem.arithmetic.program import Program
from subriem.structure import Structure

__all__ = ["LiftedFields", "lifted_fields"]

_LARGEST_DENOMINATOR = 1_000_000


@dataclass(frozen=True)
class LiftedFields:
    """Fields with their constants as symbols.

    Attributes
    ----------
    names : tuple of str
        Of the letters: the frame's fields, then the drift if it is one.
    fields : casadi.SX, shape (n, letters)
    state : casadi.SX, shape (n, 1)
    parameters : casadi.SX
        The structure's parameters, then the constants.
    values : ndarray
        Theirs.
    operations : frozenset of str
    rational : bool
        Whether the fields are rational functions with simple fractions as constants.
    """

    names: tuple[str, ...]
    fields: ca.SX
    state: ca.SX
    parameters: ca.SX
    values: np.ndarray
    operations: frozenset[str]
    rational: bool


class _Symbolic:
    """CasADi expressions as a number system, with constants lifted where numbers are combined."""

    def __init__(self) -> None:
        self.lifted: dict[float, ca.SX] = {}

    def constant(self, value: float) -> ca.SX:
        return ca.SX(value)

    def lift(self, a: ca.SX) -> ca.SX:
        if not a.is_constant():
            return a
        value = float(a)
        if abs(value) <= 2**20 and (value * 2**20).is_integer():
            return a
        return self.lifted.setdefault(value, ca.SX.sym(f"constant{len(self.lifted) + 1}"))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        combine = {
            "add": lambda a, b: a + b,
            "sub": lambda a, b: a - b,
            "mul": lambda a, b: a * b,
            "div": lambda a, b: a / b,
        }.get(name)
        if combine is not None:
            return lambda a, b: combine(self.lift(a), self.lift(b))
        special: dict[str, Callable[..., Any]] = {
            "neg": lambda a: -a,
            "inv": lambda a: 1 / self.lift(a),
            "twice": lambda a: 2 * self.lift(a),
            "sq": lambda a: self.lift(a) ** 2,
            "pow": lambda a, b: a**b,
            "constpow": lambda a, b: a**b,
            "if_else_zero": lambda condition, a: ca.if_else(condition, a, 0),
            "and": ca.logic_and,
            "or": ca.logic_or,
            "not": ca.logic_not,
        }
        return special.get(name) or getattr(ca, name)


def lifted_fields(structure: Structure, drift: bool = False) -> LiftedFields:
    """The fields of a structure with their constants lifted, once for each structure.

    Parameters
    ----------
    structure : Structure
    drift : bool
        Take the drift as a last letter.

    Returns
    -------
    LiftedFields

    Examples
    --------
    >>> s = Structure.define("s", "x y", lambda q: [(0.1, 0.3), (0, 3 * q.x - q.y)])
    >>> lifted_fields(s).fields[:, 1], lifted_fields(s).values
    (SX([0, ((3*x)-y)]), array([0.1, 0.3]))
    """
    return structure.cached(("lifted", drift), lambda: _lift(structure, drift))


def _lift(structure: Structure, drift: bool) -> LiftedFields:
    plain = ca.horzcat(structure.frame, structure.drift) if drift else structure.frame
    program = Program(structure.function(plain))
    system = _Symbolic()
    given: list[Any] = [structure.state.elements(), structure.parameter_symbols.elements()]
    (entries,) = program.run(system, *given)
    fields = ca.reshape(ca.vertcat(*(system.lift(entry) for entry in entries)), *plain.shape)
    constants = list(system.lifted)
    values = np.concatenate([structure.parameter_values, constants])
    simple = all(
        simplest_fraction(float(value)).denominator <= _LARGEST_DENOMINATOR for value in values
    )
    return LiftedFields(
        (*structure.field_names, *(("drift",) if drift else ())),
        fields,
        structure.state,
        ca.vertcat(structure.parameter_symbols, *system.lifted.values()),
        values,
        program.operations,
        simple and program.operations <= RATIONAL,
    )
