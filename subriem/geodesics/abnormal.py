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
from subriem.results.schema import build_dataset
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import read_points

__all__ = ["abnormal", "extremal_lifts"]

_RTOL = 1e-12
_NODES = 41
# Relative size under which a singular value is taken for zero; paths are known to about 1e-11.
_ZERO = 1e-8


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
    basis = _annihilator(_fields(structure, start, 3))
    times = np.linspace(0.0, time, _NODES)
    status = "found"
    states, covectors = np.full((_NODES, n), np.nan), np.full((_NODES, n), np.nan)
    controls = np.full((_NODES, 2), np.nan)
    if not basis.shape[1]:
        status = "none"
    else:
        p0 = _initial(structure, start, basis, covector, control)
        if np.abs(_direction(structure, start, p0)).max() <= _ZERO * _scale(structure, start, p0):
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
        lifts = _lifts(structure, start, states, covectors, _interpolated(times, controls), times)
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
        _coordinates(structure, times),
        function="abnormal",
        arguments={"at": at, "time": time, "covector": covector, "control": control},
        structure=repr(structure),
        attributes={"regime": "decided by a tolerance", "tolerance": _ZERO},
    )


def extremal_lifts(
    structure: Structure, at: Any, control: Callable[[float], Any] | Any, time: float = 1.0
) -> xr.Dataset:
    """Which extremals run along the curve of a control: abnormal, normal, strictly abnormal.

    Covectors are carried along the curve by p' = -(d(F u)/dq)' p. Those with p'F = 0 all along are
    abnormal lifts; those with F'p = G u are normal ones. Both are linear conditions on p(0), taken
    at Chebyshev nodes.

    Parameters
    ----------
    structure : Structure
        With any number of fields.
    at : point
        Where the curve starts.
    control : array_like, shape (m,), or callable
        Constant, or t -> u(t) smooth; a normal lift needs constant speed.
    time : float

    Returns
    -------
    xarray.Dataset
        ``corank`` (the dimension of the abnormal lifts: n minus the rank of the derivative of the
        end-point map), ``abnormal_covectors`` (at t = 0, over ``direction``; zero past the
        corank), ``normal``, ``normal_covector`` (one of them, NaN if there is none),
        ``normal_residual``, ``strictly_abnormal``, ``goh`` (largest entry of <p, [f_i, f_j]> along
        the first abnormal lift, relative), ``singular_values`` behind the corank.

    Raises
    ------
    InputError
        If a shape does not fit, or the curve leaves the chart.
    InputTypeError
        If the first argument is not a structure.

    Examples
    --------
    >>> tilted = Structure.define(
    ...     "tilted", "x y z", lambda q: [(1, 0, 0), (0, 1 + q.x, (1 + q.x) * q.x**2 / 2)]
    ... )
    >>> found = extremal_lifts(tilted, [0, 0, 0], [0, 1])
    >>> int(found.corank), bool(found.strictly_abnormal)
    (1, True)
    """
    require_structure(structure)
    if structure.has_drift:
        raise InputError(f"{structure.name} has a drift, which extremal_lifts does not treat")
    start = structure.points(at)
    if start.ndim != 1:
        raise InputError(f"at: expected one point, got {len(start)}")
    u = _read_control(structure, control)
    times = time * (1 - np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)) / 2
    rates = _rates(structure)

    def curve(t: float, q: np.ndarray) -> np.ndarray:
        return np.asarray(rates(q, q, u(t))[0]).ravel()

    solution = solve_ivp(curve, (0, time), start, "DOP853", times, rtol=_RTOL, atol=1e-13)
    if not solution.success or not structure.inside(solution.y.T).all():
        raise InputError(f"the curve of the control leaves the chart of {structure.name}")
    lifts = _lifts(structure, start, solution.y.T, None, u, times)
    return build_dataset(
        lifts,
        {key: value for key, value in _coordinates(structure, times).items() if key != "time"},
        function="extremal_lifts",
        arguments={"at": at, "control": control, "time": time},
        structure=repr(structure),
        attributes={"regime": "decided by a tolerance", "tolerance": _ZERO},
    )


# ------------------------------------------------------------------ one point


def _rates(structure: Structure) -> ca.Function:
    """(q, p, u) to q' = F u and p' = -(d(F u)/dq)' p."""

    def build() -> ca.Function:
        p, u = ca.SX.sym("p", structure.dimension), ca.SX.sym("u", structure.rank)
        velocity = structure.frame @ u
        carried = -ca.jacobian(velocity, structure.state).T @ p
        inputs = [structure.state, p, u, structure.parameter_symbols]
        full = ca.Function("full", inputs, [velocity, carried])
        outputs = full(*inputs[:3], structure.parameter_values)
        return ca.Function("rates", inputs[:3], list(outputs), {"cse": True})

    return structure.cached("rates along a control", build)


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
    rank = int((values > _ZERO * values[0]).sum())
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
        if np.abs(outside).max() > _ZERO * np.abs(p0).max() or not p0.any():
            raise InputError("covector: expected one that is not zero and annihilates D^2")
        return p0
    if basis.shape[1] == 1:
        p0 = basis[:, 0]
        if control is not None:
            u = np.asarray(control, dtype=np.float64)
            return p0 if u @ _direction(structure, start, p0) >= 0 else -p0
        # the sign is open: the one that makes the last nonzero control positive
        u = _direction(structure, start, p0)
        last = u[np.flatnonzero(np.abs(u) > _ZERO * np.abs(u).max())[-1]] if u.any() else 1.0
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
    if np.abs(table @ found - wanted).max() > _ZERO * np.abs(wanted).max():
        raise InputError(f"no abnormal extremal starts in the direction {wanted.tolist()}")
    return basis @ found


# ------------------------------------------------------------------ along the curve


def _follow(
    structure: Structure, start: np.ndarray, p0: np.ndarray, time: float, times: np.ndarray
) -> Any:
    n = structure.dimension
    rates = _rates(structure)

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
            field, (0, time), both, "DOP853", times, rtol=_RTOL, atol=1e-13, events=outside
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


def _read_control(structure: Structure, control: Any) -> Callable[[float], np.ndarray]:
    given = control if callable(control) else None
    constant = None if given is not None else np.asarray(control, dtype=np.float64)

    def u(t: float) -> np.ndarray:
        return np.asarray(given(t), dtype=np.float64) if given is not None else constant  # type: ignore[return-value]

    first = u(0.0)
    if first.shape != (structure.rank,) or not np.isfinite(first).all():
        raise InputError(f"control: expected {structure.rank} finite numbers, got {first}")
    return u


def _lifts(
    structure: Structure,
    start: np.ndarray,
    states: np.ndarray,
    covectors: np.ndarray | None,
    u: Callable[[float], np.ndarray],
    times: np.ndarray,
) -> dict[str, Any]:
    """What `extremal_lifts` says, from the states at the times."""
    n, m = structure.dimension, structure.rank
    rates = _rates(structure)

    def field(t: float, y: np.ndarray) -> np.ndarray:
        q, columns = y[:n], y[n:].reshape(n, n)
        control = u(t)
        carried = [np.asarray(rates(q, column, control)[1]).ravel() for column in columns.T]
        return np.concatenate(
            [np.asarray(rates(q, q, control)[0]).ravel(), np.column_stack(carried).ravel()]
        )

    both = np.concatenate([start, np.eye(n).ravel()])
    solution = solve_ivp(field, (0, times[-1]), both, "DOP853", times, rtol=_RTOL, atol=1e-13)
    carried = solution.y[n:].T.reshape(-1, n, n)
    frames = structure.frame_at(states)
    metrics = np.broadcast_to(structure.metric_at(states), (len(states), m, m))
    controls = np.array([u(t) for t in times])
    rows = np.einsum("tnm,tnk->tmk", frames, carried).reshape(-1, n)
    wanted = np.einsum("tmk,tk->tm", metrics, controls).ravel()
    sizes = np.linalg.norm(rows, axis=0)
    sizes = np.where(sizes > 0, sizes, 1.0)
    left, values, right = np.linalg.svd(rows / sizes, full_matrices=False)
    rank = int((values > _ZERO * values[0]).sum()) if values[0] > 0 else 0
    kernel = np.zeros((n, n))
    kernel[:, : n - rank] = (right[rank:] / sizes).T
    kernel /= np.where(np.abs(kernel).max(axis=0) > 0, np.abs(kernel).max(axis=0), 1.0)
    normal = (right[:rank].T @ ((left[:, :rank].T @ wanted) / values[:rank])) / sizes
    residual = float(np.linalg.norm(rows @ normal - wanted) / np.linalg.norm(wanted))
    is_normal = residual < 1e-7
    goh = np.nan
    if rank < n:
        first = carried @ kernel[:, 0]
        goh = _goh(structure, states, first)
    return {
        "corank": ((), n - rank, "dimension of the abnormal lifts", "1"),
        "abnormal_covectors": (
            ("coordinate", "direction"),
            kernel,
            "abnormal covectors at time 0 (0 past the corank)",
            "1",
        ),
        "normal": ((), is_normal, "whether a normal extremal runs along the curve", "1"),
        "normal_covector": (
            "coordinate",
            normal if is_normal else np.full(n, np.nan),
            "a normal covector at time 0",
            "1",
        ),
        "normal_residual": ((), residual, "of the best normal covector, relative", "1"),
        "strictly_abnormal": (
            (),
            rank < n and not is_normal,
            "whether the curve is abnormal and not normal",
            "1",
        ),
        "goh": ((), goh, "largest <p, [f_i, f_j]> along the first abnormal lift, relative", "1"),
        "singular_values": ("singular_value", values, "behind the corank", "1"),
    }


def _goh(structure: Structure, states: np.ndarray, covectors: np.ndarray) -> float:
    largest = 0.0
    for i in range(structure.rank):
        for j in range(i):
            field = lie_bracket(structure.frame[:, i], structure.frame[:, j], structure.state)
            vectors = structure.evaluate(f"bracket {i} {j}", field, states)[..., 0]
            sizes = np.linalg.norm(vectors, axis=1) * np.linalg.norm(covectors, axis=1)
            products = np.abs(np.einsum("tn,tn->t", vectors, covectors))
            largest = max(largest, float((products / np.where(sizes > 0, sizes, 1.0)).max()))
    return largest


def _coordinates(structure: Structure, times: np.ndarray) -> dict[str, Any]:
    return {
        "time": ("time", times, "time at unit speed", "1"),
        "coordinate": (
            "coordinate",
            np.array(structure.coordinates),
            "coordinate of the state space",
            "1",
        ),
    }
