"""The Lie bracket, and iterated brackets of a structure by name.

Sign: [f, g] = (dg) f - (df) g, so that for the Hamiltonian lifts H_f(q, p) = p'f(q) one has
{H_f, H_g} = H_[f,g] (Agrachev, Barilari, Boscain, *A Comprehensive Introduction to
Sub-Riemannian Geometry*, 2019, sections 2.1 and 4.1).
"""

from __future__ import annotations

from typing import Any

import casadi as ca

from subriem.errors import InputError, InputTypeError
from subriem.structure import Structure, require_structure

__all__ = ["lie_bracket", "named_bracket"]


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
    InputTypeError
        If the first argument is not a structure.

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
