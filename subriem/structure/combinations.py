"""New structures from old: products, direct sums, restriction, change of coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import casadi as ca
import numpy as np

from subriem.errors import InputError
from subriem.structure.coordinates import Symbols
from subriem.structure.definition import Chart, Domain, Periodic, row
from subriem.structure.require import require_structure
from subriem.structure.structure import Structure

__all__ = ["change_coordinates", "direct_sum", "product", "restrict"]


def product(first: Structure, second: Structure, *, name: str | None = None) -> Structure:
    """Product of two structures: both move at once, each in its own state space.

    Distances add in squares, and the growth vector at a point is the sum of both. Names that
    both use get the suffixes ``_1`` and ``_2``.

    Parameters
    ----------
    first, second : Structure
    name : str, optional

    Returns
    -------
    Structure

    Raises
    ------
    InputTypeError
        If one is not a structure.

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(1,)])
    >>> product(line, line)
    Structure line x line: 2 coordinates (x_1, x_2), 2 fields
    """
    factors = [require_structure(first, "first"), require_structure(second, "second")]
    rename = [_suffixes(factors, k) for k in range(2)]
    coordinates = tuple(
        rename[k].get(c, c) for k, factor in enumerate(factors) for c in factor.coordinates
    )
    parameters = {
        rename[k].get(key, key): value
        for k, factor in enumerate(factors)
        for key, value in factor.parameters.items()
    }
    fields = [field for factor in factors for field in factor.field_names]
    unique = len(set(fields)) == len(fields)
    state, values = Symbols(coordinates).vector, Symbols(tuple(parameters), "parameter").vector
    n, p = factors[0].dimension, len(factors[0].parameters)
    parts = [
        factors[0].model.call([state[:n], values[:p]]),
        factors[1].model.call([state[n:], values[p:]]),
    ]
    outputs = [
        ca.diagcat(parts[0][0], parts[1][0]),
        ca.diagcat(parts[0][1], parts[1][1]),
        ca.vertcat(parts[0][2], parts[1][2]),
        ca.vertcat(parts[0][3], parts[1][3]),
    ]
    return Structure(
        name or f"{factors[0].name} x {factors[1].name}",
        coordinates,
        ca.Function("model", [state, values], outputs),
        parameters=parameters,
        periods=_renamed(factors, rename, "periods"),
        bounds=_renamed(factors, rename, "bounds"),
        field_names=tuple(fields if unique else (f"f{k + 1}" for k in range(len(fields)))),
        has_drift=factors[0].has_drift or factors[1].has_drift,
    )


def _suffixes(factors: list[Structure], k: int) -> dict[str, str]:
    names = [[*factor.coordinates, *factor.parameters] for factor in factors]
    return {key: f"{key}_{k + 1}" for key in names[k] if key in names[1 - k]}


def _renamed(
    factors: list[Structure], rename: list[dict[str, str]], attribute: str
) -> dict[str, Any]:
    return {
        rename[k].get(key, key): value
        for k, factor in enumerate(factors)
        for key, value in getattr(factor, attribute).items()
    }


def direct_sum(first: Structure, second: Structure, *, name: str | None = None) -> Structure:
    """Direct sum of two distributions on one state space: the fields of both, orthogonal.

    Parameters
    ----------
    first, second : Structure
        With the same coordinates, periods and bounds; parameters of one name are one parameter.
    name : str, optional

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If coordinates, periods, bounds or values of shared parameters differ.
    InputTypeError
        If one is not a structure.

    Examples
    --------
    >>> east = Structure.define("east", "x y", lambda q: [(1, 0)])
    >>> north = Structure.define("north", "x y", lambda q: [(0, 1)])
    >>> direct_sum(east, north)
    Structure east + north: 2 coordinates (x, y), 2 fields
    """
    terms = [require_structure(first, "first"), require_structure(second, "second")]
    for what in ("coordinates", "periods", "bounds"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            raise InputError(f"direct sum: {what} differ, {one} and {other}")
    for key in set(first.parameters) & set(second.parameters):
        if first.parameters[key] != second.parameters[key]:
            raise InputError(
                f"direct sum: parameter {key} is {first.parameters[key]} in {first.name} and "
                f"{second.parameters[key]} in {second.name}"
            )
    parameters = {**first.parameters, **second.parameters}
    values = Symbols(tuple(parameters), "parameter")
    state = Symbols(first.coordinates).vector
    parts = []
    for term in terms:
        own = [values[key] for key in term.parameters]
        parts.append(term.model.call([state, ca.vertcat(*own) if own else ca.SX(0, 1)]))
    fields = [*first.field_names, *second.field_names]
    unique = len(set(fields)) == len(fields)
    outputs = [
        ca.horzcat(parts[0][0], parts[1][0]),
        ca.diagcat(parts[0][1], parts[1][1]),
        parts[0][2] + parts[1][2],
        ca.vertcat(parts[0][3], parts[1][3]),
    ]
    return Structure(
        name or f"{first.name} + {second.name}",
        first.coordinates,
        ca.Function("model", [state, values.vector], outputs),
        parameters=parameters,
        periods=first.periods,
        bounds=first.bounds,
        field_names=tuple(fields if unique else (f"f{k + 1}" for k in range(len(fields)))),
        has_drift=first.has_drift or second.has_drift,
    )


def restrict(structure: Structure, fields: Sequence[int | str]) -> Structure:
    """The structure spanned by some of the fields, with their inner products.

    Parameters
    ----------
    structure : Structure
    fields : sequence of int or str
        Numbers or names.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If there is none, one is unknown, or one is named twice.

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    >>> plane.restrict(["f2"]).frame_at([0, 0])
    array([[0.],
           [1.]])
    """
    kept = []
    for which in fields:
        structure.field(which)
        if which == "drift":
            raise InputError("restrict: the drift is not a field of the frame")
        number = structure.field_names.index(which) if isinstance(which, str) else which
        kept.append(range(structure.rank)[number])
    if not kept or len(set(kept)) != len(kept):
        raise InputError(f"restrict: expected one or more different fields, got {list(fields)}")
    state, values = structure.state, structure.parameter_symbols
    outputs = [
        structure.frame[:, kept],
        structure.metric[kept, kept],
        structure.drift,
        structure.margins,
    ]
    names = tuple(structure.field_names[k] for k in kept)
    return Structure(
        f"{structure.name}[{', '.join(names)}]",
        structure.coordinates,
        ca.Function("model", [state, values], outputs),
        parameters=structure.parameters,
        periods=structure.periods,
        bounds=structure.bounds,
        field_names=names,
        has_drift=structure.has_drift,
    )


def change_coordinates(
    structure: Structure,
    coordinates: str | Sequence[str],
    forward: Callable[..., Any],
    inverse: Callable[..., Any],
    *,
    name: str | None = None,
    periodic: Periodic = (),
    domain: Domain = None,
) -> Structure:
    """The same structure in other coordinates z = phi(q): fields (d phi) f at q = phi^-1(z).

    Parameters
    ----------
    structure : Structure
    coordinates : str or sequence of str
        Names of the new coordinates, as many as the old.
    forward, inverse : callable
        phi and its inverse, from coordinates (and parameters) to a tuple.
    name : str, optional
    periodic, domain
        Of the new coordinates; the old chart is carried over besides.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If the two are not inverse to each other at sample points of the chart, or a shape does
        not fit.
    InputTypeError
        If an argument is of a wrong kind.

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0)])
    >>> sheared = plane.change_coordinates(
    ...     "u v", lambda q: (q.x, q.y + q.x**2), lambda z: (z.u, z.v - z.u**2)
    ... )
    >>> sheared.frame_at([1, 5])
    array([[1.],
           [2.]])
    """
    require_structure(structure)
    label = name or f"{structure.name} in other coordinates"
    n = structure.dimension
    old = Chart(label, structure.coordinates, structure.parameters, (), None)
    new = Chart(label, coordinates, structure.parameters, periodic, domain)
    if len(new.coordinates) != n:
        raise InputError(f"{label}: expected {n} coordinates, got {', '.join(new.coordinates)}")
    phi = row(old.call(forward, "forward"), n, f"{label}, forward")
    back = row(new.call(inverse, "inverse"), n, f"{label}, inverse")
    old.known_symbols(phi, "forward")
    new.known_symbols(back, "inverse")
    pushed = ca.Function("pushed", [old.q.vector, old.p.vector], [ca.jacobian(phi, old.q.vector)])
    there = ca.Function("there", [old.q.vector, old.p.vector], [phi])
    again = ca.Function("again", [new.q.vector, new.p.vector], [back])
    points = structure.sample(5)
    values = structure.parameter_values
    for point in points:
        returned = np.asarray(again(there(point, values), values)).ravel()
        gap = structure.wrap(returned - point)
        if not np.abs(gap).max() <= 1e-9 * (1 + np.abs(point).max()):
            raise InputError(
                f"{label}: inverse(forward(q)) = {returned.tolist()} at q = {point.tolist()}; "
                "the two are expected to be inverse to each other"
            )
    frame, metric, drift, margins = structure.model.call([back, new.p.vector])
    slope = pushed(back, new.p.vector)
    outputs = [slope @ frame, metric, slope @ drift, ca.vertcat(margins, new.margins)]
    changed = Structure(
        label,
        new.coordinates,
        ca.Function("model", [new.q.vector, new.p.vector], outputs),
        parameters=structure.parameters,
        periods=new.periods,
        bounds=new.bounds,
        field_names=structure.field_names,
        has_drift=structure.has_drift,
    )
    image = np.array([np.asarray(there(point, values)).ravel() for point in points])
    if not all(math.isfinite(value) for value in changed.frame_at(image).ravel()):
        raise InputError(f"{label}: the frame is not finite at the image of a sample point")
    return changed
