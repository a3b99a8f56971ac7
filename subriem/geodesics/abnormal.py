"""Abnormal extremals: which curves they are, and whether they are normal as well.

An abnormal extremal has a covector p(t) != 0 with p' = -(d(F u)/dq)' p and p'F = 0 along the curve:
the derivative of the end-point map by the control is not onto there, and p spans what it misses.
Along it Omega u = 0 with Omega_ij = <p, [f_i, f_j]> (the Goh matrix). For two fields Omega = 0, so
that p annihilates D^2, and the control is found from the next derivative,

    u_1 <p, [f_1, [f_1, f_2]]> + u_2 <p, [f_2, [f_1, f_2]]> = 0

(Agrachev, Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry*, 2019,
sections 4.3 and 12.2; Montgomery, *A Tour of Subriemannian Geometries*, 2002, chapter 3). It is
strictly abnormal if no normal extremal runs along the same curve at constant speed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import casadi as ca
import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from subriem.brackets import lie_bracket
from subriem.errors import InputError
from subriem.geodesics.extremal_lifts import (
    ZERO,
    curve_coordinates,
    lift_variables,
    rates_along,
)
from subriem.results.schema import build_dataset
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import read_points

__all__ = ["abnormal", "abnormal_arc", "abnormal_covectors", "abnormal_velocity"]

_RTOL = 1e-12
_NODES = 41


def abnormal(
    structure: Structure,
    at: Any,
    time: float = 1.0,
    *,
    covector: Any = None,
    control: Any = None,
) -> xr.Dataset:
    """Abnormal extremals of a structure with two fields that start at a point.

    Parameters
    ----------
    structure : Structure
        With two fields and without drift.
    at : point
    time : float
        How far to follow them, at unit speed.
    covector : array_like, shape (n,), optional
        Where to start among the covectors that annihilate D^2, if these are more than a line.
    control : array_like, shape (2,), optional
        In place of it the direction in which to start.

    Returns
    -------
    xarray.Dataset
        Over ``time``: ``state``, ``covector``, ``control``, ``annihilation`` (the largest of
        <p, f_1>, <p, f_2>, <p, [f_1, f_2]>, relative: how far it can be trusted). Besides
        ``status``: ``"found"``, ``"none"`` (D^2 fills the tangent space at the point: only the
        constant extremal), ``"degenerate"`` (the characteristic direction vanishes there), or how
        far it came; and all that `extremal_lifts` says.

    Raises
    ------
    InputError
        If the structure has not two fields or has a drift, a covector does not annihilate D^2, or
        one of covector and control is needed and not given.
    InputTypeError
        If the first argument is not a structure.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> line = abnormal(martinet, [0, 0, 0])
    >>> line.status.item(), bool(line.strictly_abnormal)
    ('found', False)
    >>> np.round(line.state[-1].values, 10)
    array([0., 1., 0.])
    """
    require_structure(structure)
    if structure.rank != 2 or structure.has_drift:
        raise InputError(
            f"{structure.name}: abnormal extremals are followed for two fields without drift; for "
            "others see extremal_lifts, which judges a given control"
        )
    start = structure.points(at)
    if start.ndim != 1:
        raise InputError(f"at: expected one point, got {len(start)}")
    if not 0 < time < np.inf:
        raise InputError(f"time: expected a positive number, got {time!r}")
    n = structure.dimension
    basis = abnormal_covectors(structure, start)
    times = np.linspace(0.0, time, _NODES)
    status = "found"
    states, covectors = np.full((_NODES, n), np.nan), np.full((_NODES, n), np.nan)
    controls = np.full((_NODES, 2), np.nan)
    if not basis.shape[1]:
        status = "none"
    else:
        p0 = _initial(structure, start, basis, covector, control)
        if np.abs(_direction(structure, start, p0)).max() <= ZERO * _scale(structure, start, p0):
            status = "degenerate"
        else:
            solution = _follow(structure, start, p0, time, times)
            reached = solution.y.shape[1]
            states[:reached], covectors[:reached] = solution.y[:n].T, solution.y[n:].T
            controls[:reached] = [
                _unit(structure, q, _direction(structure, q, p))
                for q, p in zip(states[:reached], covectors[:reached], strict=True)
            ]
            if reached < _NODES:
                status = f"left the chart or degenerate at {float(solution.t[-1]):.6g}"
    annihilation = _annihilation(structure, states, covectors)
    lifts: dict[str, Any] = {}
    if status == "found":
        lifts = lift_variables(structure, start, states, _interpolated(times, controls), times)
    return build_dataset(
        {
            "state": (("time", "coordinate"), states, "state", "1"),
            "covector": (("time", "coordinate"), covectors, "abnormal covector", "1"),
            "control": (("time", "field"), controls, "control", "1"),
            "annihilation": ("time", annihilation, "largest of <p, D^2>, relative", "1"),
            "status": ((), status, "found, or why not", "1"),
            "annihilator_dimension": (
                (),
                basis.shape[1],
                "dimension of the covectors that annihilate D^2 at the start",
                "1",
            ),
            **lifts,
        },
        curve_coordinates(structure, times),
        function="abnormal",
        arguments={"at": at, "time": time, "covector": covector, "control": control},
        structure=repr(structure),
        attributes={"regime": "decided by a tolerance", "tolerance": ZERO},
    )


# ------------------------------------------------------------------ one point


def _fields(structure: Structure, at: np.ndarray, count: int) -> np.ndarray:
    """f_1, f_2, [f_1, f_2] (and [f_1, [f_1, f_2]], [f_2, [f_1, f_2]]) at a point, as columns."""

    def build() -> ca.SX:
        f, g, q = structure.frame[:, 0], structure.frame[:, 1], structure.state
        fg = lie_bracket(f, g, q)
        return ca.horzcat(f, g, fg, lie_bracket(f, fg, q), lie_bracket(g, fg, q))

    expression = structure.cached("characteristic fields", build)
    return structure.evaluate("characteristic fields", expression, at)[:, :count]


def _annihilator(fields: np.ndarray) -> np.ndarray:
    """Orthonormal covectors that annihilate the columns, decided in the columns' own units."""
    sizes = np.linalg.norm(fields, axis=0)
    left, values, _ = np.linalg.svd(fields / np.where(sizes > 0, sizes, 1.0))
    rank = int((values > ZERO * values[0]).sum())
    return left[:, rank:]


def _direction(structure: Structure, q: np.ndarray, p: np.ndarray) -> np.ndarray:
    first, second = p @ _fields(structure, q, 5)[:, 3:]
    return np.array([-second, first])


def _scale(structure: Structure, q: np.ndarray, p: np.ndarray) -> float:
    return float(np.abs(_fields(structure, q, 5)).max() * np.abs(p).max())


def _unit(structure: Structure, q: np.ndarray, u: np.ndarray) -> np.ndarray:
    return u / np.sqrt(u @ structure.metric_at(q) @ u)


def _initial(
    structure: Structure, start: np.ndarray, basis: np.ndarray, covector: Any, control: Any
) -> np.ndarray:
    if covector is not None:
        p0 = read_points(structure.coordinates, covector, "covector")
        outside = p0 - basis @ (basis.T @ p0)
        if np.abs(outside).max() > ZERO * np.abs(p0).max() or not p0.any():
            raise InputError("covector: expected one that is not zero and annihilates D^2")
        return p0
    if basis.shape[1] == 1:
        p0 = basis[:, 0]
        if control is not None:
            u = np.asarray(control, dtype=np.float64)
            return p0 if u @ _direction(structure, start, p0) >= 0 else -p0
        # the sign is open: the one that makes the last nonzero control positive
        u = _direction(structure, start, p0)
        last = u[np.flatnonzero(np.abs(u) > ZERO * np.abs(u).max())[-1]] if u.any() else 1.0
        return p0 if last >= 0 else -p0
    if control is None:
        raise InputError(
            f"{basis.shape[1]} independent covectors annihilate D^2 at {start.tolist()}: give "
            "covector= or control="
        )
    wanted = np.asarray(control, dtype=np.float64)
    if wanted.shape != (2,) or not wanted.any():
        raise InputError(f"control: expected two numbers, not both zero, got {control!r}")
    table = np.column_stack([_direction(structure, start, p) for p in basis.T])
    found = np.linalg.lstsq(table, wanted, rcond=None)[0]
    if np.abs(table @ found - wanted).max() > ZERO * np.abs(wanted).max():
        raise InputError(f"no abnormal extremal starts in the direction {wanted.tolist()}")
    return basis @ found


# ------------------------------------------------------------------ along the curve


def abnormal_covectors(structure: Structure, at: np.ndarray) -> np.ndarray:
    """Orthonormal covectors that annihilate D^2 at a point, for two fields.

    Parameters
    ----------
    structure : Structure
    at : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n, n - dim D^2)
    """
    return _annihilator(_fields(structure, at, 3))


def abnormal_velocity(
    structure: Structure, states: np.ndarray, covectors: np.ndarray
) -> np.ndarray:
    """Unit-speed velocities along the characteristic direction, shape (T, n).

    Parameters
    ----------
    structure : Structure
    states, covectors : ndarray, shape (T, n)

    Returns
    -------
    ndarray, shape (T, n)
    """
    controls = [
        _unit(structure, q, _direction(structure, q, p))
        for q, p in zip(states, covectors, strict=True)
    ]
    return structure.velocity(states, np.array(controls))


def abnormal_arc(
    structure: Structure, start: np.ndarray, p0: np.ndarray, time: float
) -> Any | None:
    """The characteristic curve from a point and an abnormal covector, with dense output.

    Parameters
    ----------
    structure : Structure
    start, p0 : ndarray, shape (n,)
    time : float

    Returns
    -------
    scipy's solution of the initial-value problem, or None where the direction vanishes
    """
    small = ZERO * _scale(structure, start, p0)
    if np.abs(_direction(structure, start, p0)).max() <= small:
        return None
    return _follow(structure, start, p0, time, None)


def _follow(
    structure: Structure,
    start: np.ndarray,
    p0: np.ndarray,
    time: float,
    times: np.ndarray | None,
) -> Any:
    n = structure.dimension
    rates = rates_along(structure)

    def field(_: float, y: np.ndarray) -> np.ndarray:
        q, p = y[:n], y[n:]
        moved, carried = rates(q, p, _unit(structure, q, _direction(structure, q, p)))
        return np.concatenate([np.asarray(moved).ravel(), np.asarray(carried).ravel()])

    def outside(_: float, y: np.ndarray) -> float:
        return 1.0 if bool(structure.inside(y[:n])) else -1.0

    outside.terminal = True  # type: ignore[attr-defined]
    both = np.concatenate([start, p0])
    with np.errstate(all="ignore"):
        return solve_ivp(
            field,
            (0, time),
            both,
            "DOP853",
            times,
            dense_output=times is None,
            rtol=_RTOL,
            atol=1e-13,
            events=outside,
        )


def _annihilation(structure: Structure, states: np.ndarray, covectors: np.ndarray) -> np.ndarray:
    found = np.full(len(states), np.nan)
    for k in np.flatnonzero(np.isfinite(states).all(axis=1)):
        fields = _fields(structure, states[k], 3)
        sizes = np.linalg.norm(fields, axis=0) * np.linalg.norm(covectors[k])
        found[k] = (np.abs(covectors[k] @ fields) / np.where(sizes > 0, sizes, 1.0)).max()
    return found


def _interpolated(times: np.ndarray, controls: np.ndarray) -> Callable[[float], np.ndarray]:
    from scipy.interpolate import make_interp_spline

    spline = make_interp_spline(times, controls, k=7)
    return lambda t: spline(t)
