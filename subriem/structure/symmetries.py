"""Declared symmetries of a structure: isometries of the state space, checked and not believed.

A diffeomorphism g is an isometry of the sub-Riemannian structure where it carries the distribution
and its inner product to themselves: with J = dg/dq, the cometric C(q) = F G^-1 F' satisfies
J C(q) J' = C(g(q)).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import casadi as ca
import numpy as np

from subriem.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from subriem.structure.structure import Structure

__all__ = ["Symmetry", "read_symmetries"]

_SAMPLES = 8
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Symmetry:
    """An isometry, or a one-parameter family of isometries.

    Attributes
    ----------
    name : str
    map : casadi.Function
        (q, s) to g_s(q) and its derivative by q; s is not used by a single isometry.
    family : bool
        Whether it depends on s; g_0 is the identity then.

    Examples
    --------
    >>> from subriem.structure import Structure
    >>> plane = Structure.define(
    ...     "plane", "x y", lambda q: [(1, 0), (0, 1)],
    ...     symmetries={"mirror": lambda q: (-q.x, q.y), "shift": lambda q, s: (q.x + s, q.y)},
    ... )
    >>> mirror, shift = plane.symmetries
    >>> mirror.map([2, 3], 0)[0], shift.map([2, 3], 5)[0]
    (DM([-2, 3]), DM([7, 3]))
    """

    name: str
    map: ca.Function
    family: bool


def read_symmetries(
    structure: Structure, symbols: Any, symmetries: Mapping[str, Callable[..., Any]]
) -> tuple[Symmetry, ...]:
    """Read and check the symmetries that a structure declares.

    Checked at sample points, for several values of s and of the structure's parameters, to 1e-9.

    Parameters
    ----------
    structure : Structure
    symbols : Symbols
        Of the coordinates.
    symmetries : mapping of str to callable
        q to g(q), or (q, s) to g_s(q), as tuples of expressions.

    Returns
    -------
    tuple of Symmetry

    Raises
    ------
    InputError
        If a map has a wrong length, is not an isometry, or g_0 is not the identity.
    InputTypeError
        If a symmetry is not a callable, or fails on symbols.
    """
    if not isinstance(symmetries, Mapping):
        raise InputTypeError(
            f"{structure.name}, symmetries: expected a mapping of names to functions, "
            f"got {type(symmetries).__name__}"
        )
    read = tuple(_read(structure, symbols, *item) for item in symmetries.items())
    for symmetry in read:
        _check(structure, symmetry)
    return read


def _read(structure: Structure, symbols: Any, name: str, function: Callable[..., Any]) -> Symmetry:
    from subriem.structure.definition import row

    what = f"{structure.name}, symmetry {name}"
    if not callable(function):
        raise InputTypeError(f"{what}: expected a function of q or of q and s, got {function!r}")
    given_by = inspect.signature(function).parameters.values()
    count = sum(parameter.default is parameter.empty for parameter in given_by)
    if count not in (1, 2):
        raise InputTypeError(f"{what}: expected a function of q or of q and s, got {count}")
    amount = ca.SX.sym("s")
    try:
        given = function(*(symbols, amount)[:count])
    except (TypeError, NotImplementedError) as error:
        raise InputTypeError(f"{what}: the function failed on CasADi symbols ({error})") from error
    moved = row(given, structure.dimension, what)
    arguments = [symbols.vector, amount]
    if ca.Function("known", arguments, [moved], {"allow_free": True}).has_free():
        raise InputError(f"{what}: expected an expression in the coordinates and s only")
    slopes = ca.densify(ca.jacobian(moved, symbols.vector))
    return Symmetry(name, ca.Function("symmetry", arguments, [moved, slopes]), count == 2)


def _check(structure: Structure, symmetry: Symmetry) -> None:
    what = f"{structure.name}, symmetry {symmetry.name}"
    generator = np.random.default_rng(0)
    points = structure.sample(_SAMPLES, generator)
    if symmetry.family:
        for point in points:
            still = np.asarray(symmetry.map(point, 0.0)[0])[:, 0]
            if np.abs(still - point).max() > _TOLERANCE * (1 + np.abs(point).max()):
                raise InputError(f"{what}: expected the identity at s = 0, got {still.tolist()}")
    compared = 0
    for turn, point in enumerate(points):
        # the first with the parameters as they are
        varied = structure if turn == 0 else _varied(structure, generator)
        amount = generator.uniform(-1.5, 1.5) if symmetry.family else 0.0
        image, slopes = (np.asarray(value) for value in symmetry.map(point, amount))
        inside = varied.inside(point) and np.isfinite(image).all() and varied.inside(image[:, 0])
        if not inside:
            continue
        compared += 1
        pushed = slopes @ _cometric(varied, point) @ slopes.T
        there = _cometric(varied, image[:, 0])
        size = max(np.abs(pushed).max(), np.abs(there).max())
        lost = np.linalg.matrix_rank(slopes) < structure.dimension
        if lost or np.abs(pushed - there).max() > _TOLERANCE * size:
            raise InputError(
                f"{what}: not an isometry at {point.tolist()}"
                + (f", s = {amount:.6g}" if symmetry.family else "")
                + f": expected the cometric {there.tolist()}, got {pushed.tolist()}"
            )
    if not compared:
        raise InputError(f"{what}: takes every sample point out of the chart")


def _varied(structure: Structure, generator: np.random.Generator) -> Structure:
    if not structure.parameters:
        return structure
    values = {
        name: value * generator.uniform(0.6, 1.4) + (value == 0) * generator.uniform(-0.2, 0.2)
        for name, value in structure.parameters.items()
    }
    return structure.with_parameters(**values)


def _cometric(structure: Structure, point: np.ndarray) -> np.ndarray:
    frame = structure.frame_at(point)
    return np.asarray(frame @ np.linalg.solve(structure.metric_at(point), frame.T))
