"""Abnormal extremals: which curves they are, and whether they are normal as well.

An abnormal extremal has a covector p(t) != 0 with p' = -(d(F u)/dq)' p and p'F = 0 along the curve:
the derivative of the end-point map by the control is not onto there, and p spans what it misses.
Along it Omega u = 0 with Omega_ij = <p, [f_i, f_j]> (the Goh matrix). For two fields Omega = 0, so
that p annihilates D^2, and the control is found from the next derivative,

    u_1 <p, [f_1, [f_1, f_2]]> + u_2 <p, [f_2, [f_1, f_2]]> = 0

(Agrachev, Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry*, 2019,
sections 4.3 and 12.2; Montgomery, *A Tour of Subriemannian Geometries*, 2002, chapter 3). For more
fields those are followed that annihilate D^2 as well, as strictly abnormal minimizers do (the Goh
condition): their control is in the kernel of the matrix of <p, [f_k, [f_i, f_j]]>. An abnormal
extremal is strictly abnormal if no normal extremal runs along the same curve at constant speed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from subriem.errors import InputError
from subriem.geodesics.extremal_lifts import (
    ZERO,
    curve_coordinates,
    lift_variables,
    rates_along,
)
from subriem.geodesics.goh import (
    abnormal_covectors,
    characteristic_control,
    characteristic_matrices,
    characteristic_motion,
    second_flag,
)
from subriem.results.schema import build_dataset
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import read_points

__all__ = ["abnormal", "abnormal_arc", "abnormal_velocity"]

_RTOL = 1e-12
_NODES = 41
#: Relative size of <p, D^2> up to which a covector annihilates D^2 along a curve.
_KEPT = 1e-7


def abnormal(
    structure: Structure,
    at: Any,
    time: float = 1.0,
    *,
    covector: Any = None,
    control: Any = None,
) -> xr.Dataset:
    """Abnormal extremals that start at a point and satisfy the Goh condition.

    Parameters
    ----------
    structure : Structure
        With two fields or more and without drift. For two fields the condition holds of itself.
    at : point
    time : float
        How far to follow them, at unit speed.
    covector : array_like, shape (n,), optional
        Where to start among the covectors that annihilate D^2, if these are more than a line.
    control : array_like, shape (m,), optional
        In place of it the direction in which to start.

    Returns
    -------
    xarray.Dataset
        Over ``time``: ``state``, ``covector``, ``control``, ``annihilation`` (the largest of
        <p, f_i>, <p, [f_i, f_j]>, relative: how far it can be trusted). Besides ``status``:
        ``"found"``, ``"none"`` (D^2 fills the tangent space at the point, or no control keeps
        the covector in its annihilator), ``"degenerate"`` (that does not determine the control),
        ``"not kept"`` (the covector does not annihilate D^2 later on), or how far it came; and
        all that `extremal_lifts` says.

    Raises
    ------
    InputError
        If the structure has fewer than two fields or a drift, a covector does not annihilate D^2,
        or one of covector and control is needed and not given.
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
    if structure.rank < 2 or structure.has_drift:
        raise InputError(
            f"{structure.name}: abnormal extremals are followed for two fields or more without "
            "drift; for others see extremal_lifts, which judges a given control"
        )
    start = structure.points(at)
    if start.ndim != 1:
        raise InputError(f"at: expected one point, got {len(start)}")
    if not 0 < time < np.inf:
        raise InputError(f"time: expected a positive number, got {time!r}")
    n, m = structure.dimension, structure.rank
    basis = abnormal_covectors(structure, start)
    times = np.linspace(0.0, time, _NODES)
    status = "none"
    states, covectors = np.full((_NODES, n), np.nan), np.full((_NODES, n), np.nan)
    controls = np.full((_NODES, m), np.nan)
    if basis.shape[1]:
        p0, u0, kernel = _initial(structure, start, basis, covector, control)
        if u0 is None:
            status = "degenerate" if kernel else "none"
        else:
            solution = _follow(structure, start, p0, u0, time, times)
            reached = solution.y.shape[1]
            states[:reached], covectors[:reached] = solution.y[:n].T, solution.y[n:].T
            controls[:reached] = _controls(structure, states[:reached], covectors[:reached], u0)
            status = "found"
            if reached < _NODES:
                status = f"left the chart or degenerate at {float(solution.t[-1]):.6g}"
    annihilation = _annihilation(structure, states, covectors)
    if status == "found" and annihilation.max() > _KEPT:
        status = "not kept"
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


# ------------------------------------------------------------------ the start


def _initial(
    structure: Structure, start: np.ndarray, basis: np.ndarray, covector: Any, control: Any
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The first covector, the first control (None if it is not determined), and how many are."""
    wanted = None
    if control is not None:
        wanted = np.asarray(control, dtype=np.float64)
        if wanted.shape != (structure.rank,) or not wanted.any():
            raise InputError(
                f"control: expected {structure.rank} numbers, not all zero, got {control!r}"
            )
    if covector is not None:
        p0 = read_points(structure.coordinates, covector, "covector")
        outside = p0 - basis @ (basis.T @ p0)
        if np.abs(outside).max() > ZERO * np.abs(p0).max() or not p0.any():
            raise InputError("covector: expected one that is not zero and annihilates D^2")
    elif basis.shape[1] == 1:
        p0 = basis[:, 0]
    elif wanted is None:
        raise InputError(
            f"{basis.shape[1]} independent covectors annihilate D^2 at {start.tolist()}: give "
            "covector= or control="
        )
    else:
        p0 = _covector_for(structure, start, basis, wanted)
    u0, kernel = characteristic_control(structure, start, p0)
    if u0 is None or (covector is not None and structure.rank == 2):
        return p0, u0, kernel
    # the sign is open: towards the control, or the one that makes the last nonzero entry positive
    toward = u0[np.flatnonzero(np.abs(u0) > ZERO * np.abs(u0).max())[-1]]
    if wanted is not None:
        toward = u0 @ structure.metric_at(start) @ wanted
    if toward < 0:
        return (-p0 if covector is None else p0), -u0, kernel
    return p0, u0, kernel


def _covector_for(
    structure: Structure, start: np.ndarray, basis: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The covector whose characteristic direction is the one wanted."""
    tables = characteristic_matrices(structure, np.repeat(start[None], basis.shape[1], 0), basis.T)
    if structure.rank == 2:
        rotated = np.column_stack([-tables[:, 0, 1], tables[:, 0, 0]]).T
        found = np.linalg.lstsq(rotated, wanted, rcond=None)[0]
        if np.abs(rotated @ found - wanted).max() <= ZERO * np.abs(wanted).max():
            return np.asarray(basis @ found)
    else:
        conditions = (tables @ wanted).T
        _, values, right = np.linalg.svd(conditions)
        kernel = len(right) - int((values > ZERO * np.abs(tables).max()).sum())
        if kernel == 1:
            return np.asarray(basis @ right[-1])
        if kernel > 1:
            raise InputError(
                f"{kernel} independent covectors allow the direction {wanted.tolist()}: give "
                "covector="
            )
    raise InputError(f"no abnormal extremal starts in the direction {wanted.tolist()}")


# ------------------------------------------------------------------ along the curve


def abnormal_arc(
    structure: Structure, start: np.ndarray, p0: np.ndarray, time: float, sign: float = 1.0
) -> Any | None:
    """The characteristic curve from a point and an abnormal covector, with dense output.

    Parameters
    ----------
    structure : Structure
    start, p0 : ndarray, shape (n,)
    time : float
    sign : float
        For more than two fields: 1 or -1, of the first control.

    Returns
    -------
    scipy's solution of the initial-value problem, or None where the direction is not determined
    """
    u0, _ = characteristic_control(structure, start, p0)
    if u0 is None:
        return None
    return _follow(structure, start, p0, u0 if structure.rank == 2 else sign * u0, time, None)


def abnormal_velocity(
    structure: Structure, states: np.ndarray, covectors: np.ndarray
) -> np.ndarray:
    """Unit-speed velocities along the characteristic direction.

    Parameters
    ----------
    structure : Structure
    states, covectors : ndarray, shape (T, n)

    Returns
    -------
    ndarray, shape (T, n)
        For more than two fields up to the sign.
    """
    controls = _controls(structure, states, covectors, np.ones(structure.rank))
    return structure.velocity(states, controls)


def _follow(
    structure: Structure,
    start: np.ndarray,
    p0: np.ndarray,
    u0: np.ndarray,
    time: float,
    times: np.ndarray | None,
) -> Any:
    n = structure.dimension
    if structure.rank == 2:
        motion = characteristic_motion(structure)

        def field(_: float, y: np.ndarray) -> np.ndarray:
            moved, carried, _u = motion(y[:n], y[n:])
            return np.concatenate([np.asarray(moved).ravel(), np.asarray(carried).ravel()])
    else:
        rates = rates_along(structure)
        last = u0

        def field(_: float, y: np.ndarray) -> np.ndarray:
            nonlocal last
            u, _kernel = _nearest(structure, y[:n], y[n:], last)
            last = u
            moved, carried = rates(y[:n], y[n:], u)
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


def _nearest(
    structure: Structure, q: np.ndarray, p: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, float]:
    """For more than two fields: the unit control nearest to the kernel of M(p), as before."""
    (matrix,) = characteristic_matrices(structure, q[None], p[None])
    _, values, right = np.linalg.svd(matrix)
    u = right[-1] if right[-1] @ last >= 0 else -right[-1]
    return u / np.sqrt(u @ structure.metric_at(q) @ u), float(values[-1])


def _controls(
    structure: Structure, states: np.ndarray, covectors: np.ndarray, u0: np.ndarray
) -> np.ndarray:
    if structure.rank == 2:
        return np.asarray(characteristic_motion(structure)(states.T, covectors.T)[2]).T
    found = []
    for q, p in zip(states, covectors, strict=True):
        u0, _ = _nearest(structure, q, p, u0)
        found.append(u0)
    return np.array(found)


def _annihilation(structure: Structure, states: np.ndarray, covectors: np.ndarray) -> np.ndarray:
    vectors = second_flag(structure, np.nan_to_num(states))
    sizes = np.linalg.norm(vectors, axis=1) * np.linalg.norm(covectors, axis=1)[:, None]
    products = np.abs(np.einsum("tn,tnk->tk", covectors, vectors))
    return np.asarray((products / np.where(sizes > 0, sizes, 1.0)).max(axis=1))


def _interpolated(times: np.ndarray, controls: np.ndarray) -> Callable[[float], np.ndarray]:
    from scipy.interpolate import make_interp_spline

    spline = make_interp_spline(times, controls, k=7)
    return lambda t: spline(t)
