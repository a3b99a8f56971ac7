"""Assertion that a function is conserved along all horizontal paths."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import casadi as ca
import numpy as np

from subriem.errors import InputError
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import Symbols
from subriem.structure.definition import entry
from subriem.testing.description import point_text
from subriem.testing.residual import residual

__all__ = ["assert_conserved"]

_POINTS = 10


def assert_conserved(
    function: Callable[..., Any] | ca.SX, structure: Structure, points: Any = None
) -> None:
    """Assert that a function is constant along every horizontal path: L_f function = 0.

    The derivative along each field of the frame, and along the drift where there is one, must
    vanish at the points up to what perturbations of the point and of every operation explain:
    about 1e-11 of the sum of the terms' absolute values, more where cancellation is worse.

    Parameters
    ----------
    function : callable, or casadi.SX in ``structure.state``
        q (or q and p) to a scalar expression, with q as in `Structure.define`.
    structure : Structure
    points : points, optional
        Where to test; by default ten random points of the chart.

    Raises
    ------
    AssertionError
        If a field changes it. The message says which, where and by how much.
    InputError
        If the function does not depend on the state (a constant is conserved by everything, so
        the assertion would say nothing), is not a scalar, contains foreign symbols, or is not
        finite at a point.
    InputTypeError
        If an argument is of a wrong kind.

    Examples
    --------
    >>> from subriem.models import linear_network
    >>> network = linear_network([2, 1, 1])
    >>> assert_conserved(lambda q: q.u1_11**2 + q.u1_21**2 - q.u2_11**2, network)
    >>> assert_conserved(lambda q: q.u1_11**2 - q.u2_11**2, network, points=[1, 2, 3])
    Traceback (most recent call last):
    AssertionError: linear_network(2, 1, 1): the function is not conserved: f2 changes it
      at u1_11=1, u1_21=2, u2_11=3 the derivative along f2 is -12, where its terms add up to 12
    """
    __tracebackhide__ = True
    require_structure(structure)
    expression = _read_function(function, structure)
    gradient = ca.gradient(expression, structure.state)
    _refuse_constant(structure, gradient)
    given = structure.sample(_POINTS, np.random.default_rng(5)) if points is None else points
    at = np.atleast_2d(structure.points(given))
    if not len(at):
        raise InputError("points: expected at least one, got none")
    letters = [*structure.field_names, *(["drift"] if structure.has_drift else [])]
    fields = ca.horzcat(*(structure.field(name) for name in letters))
    # one term a coordinate: their absolute values are the scale of what may cancel
    terms = [gradient[k] * fields[k, :] for k in range(structure.dimension)]
    found = residual(structure, terms, at)
    if not np.isfinite(found.values).all():
        bad = at[np.argwhere(~np.isfinite(found.values))[0][0]]
        raise InputError(f"the function's derivative is not finite at {point_text(structure, bad)}")
    if found.vanishes.all():
        return
    changing = [letters[k] for k in np.flatnonzero(~found.vanishes.all(axis=(0, 1)))]
    b, i, k = found.largest()
    raise AssertionError(
        f"{structure.name}: the function is not conserved: {', '.join(changing)} "
        f"change{'s' * (len(changing) == 1)} it\n"
        f"  at {point_text(structure, at[b])} the derivative along {letters[k]} is "
        f"{found.values[b, i, k]:.6g}, where its terms add up to {found.size[b, i, k]:.6g}"
    )


def _read_function(function: Callable[..., Any] | ca.SX, structure: Structure) -> ca.SX:
    value: Any = function
    if callable(function) and not isinstance(function, ca.SX):
        arguments = (
            Symbols(structure.coordinates, values=structure.state),
            Symbols(tuple(structure.parameters), "parameter", structure.parameter_symbols),
        )
        positional = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
        value = function(*arguments[: 2 if len(positional) >= 2 else 1])
    if isinstance(value, ca.SX) and value.shape != (1, 1):
        raise InputError(f"function: expected a scalar expression, got shape {value.shape}")
    expression = entry(value, "function")
    compiled = ca.Function(
        "known", [structure.state, structure.parameter_symbols], [expression], {"allow_free": True}
    )
    if compiled.has_free():
        free = ", ".join(map(str, compiled.free_sx()))
        raise InputError(
            f"function: {free} is not a symbol of {structure.name}; write it in q, or in "
            "structure.state"
        )
    return expression


def _refuse_constant(structure: Structure, gradient: ca.SX) -> None:
    generic = structure.sample(_POINTS, np.random.default_rng(6))
    if residual(structure, [gradient], generic).vanishes.all():
        raise InputError(
            f"the function does not depend on the coordinates of {structure.name}; a constant is "
            "conserved by everything"
        )
