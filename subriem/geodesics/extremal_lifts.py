"""Which extremals run along a given curve: abnormal, normal, or both.

Covectors are carried along a horizontal curve by p' = -(d(F u)/dq)' p. Those with p'F = 0 all along
are its abnormal lifts, those with F'p = G u its normal ones: linear conditions on p(0) (Agrachev,
Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry*, 2019, section 4.3).
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
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure

__all__ = ["ZERO", "curve_coordinates", "extremal_lifts", "lift_variables", "rates_along"]

_RTOL = 1e-12
_NODES = 41
#: Relative size under which a singular value is taken for zero; paths are known to about 1e-11.
ZERO = 1e-8


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
    rates = rates_along(structure)

    def curve(t: float, q: np.ndarray) -> np.ndarray:
        return np.asarray(rates(q, q, u(t))[0]).ravel()

    solution = solve_ivp(curve, (0, time), start, "DOP853", times, rtol=_RTOL, atol=1e-13)
    if not solution.success or not structure.inside(solution.y.T).all():
        raise InputError(f"the curve of the control leaves the chart of {structure.name}")
    lifts = lift_variables(structure, start, solution.y.T, u, times)
    return build_dataset(
        lifts,
        {key: value for key, value in curve_coordinates(structure, times).items() if key != "time"},
        function="extremal_lifts",
        arguments={"at": at, "control": control, "time": time},
        structure=repr(structure),
        attributes={"regime": "decided by a tolerance", "tolerance": ZERO},
    )


def rates_along(structure: Structure) -> ca.Function:
    """(q, p, u) to q' = F u and p' = -(d(F u)/dq)' p, compiled once."""

    def build() -> ca.Function:
        p, u = ca.SX.sym("p", structure.dimension), ca.SX.sym("u", structure.rank)
        velocity = structure.frame @ u
        carried = -ca.jacobian(velocity, structure.state).T @ p
        inputs = [structure.state, p, u, structure.parameter_symbols]
        full = ca.Function("full", inputs, [velocity, carried])
        outputs = full(*inputs[:3], structure.parameter_values)
        return ca.Function("rates", inputs[:3], list(outputs), {"cse": True})

    return structure.cached("rates along a control", build)


def _read_control(structure: Structure, control: Any) -> Callable[[float], np.ndarray]:
    given = control if callable(control) else None
    constant = None if given is not None else np.asarray(control, dtype=np.float64)

    def u(t: float) -> np.ndarray:
        return np.asarray(given(t), dtype=np.float64) if given is not None else constant  # type: ignore[return-value]

    first = u(0.0)
    if first.shape != (structure.rank,) or not np.isfinite(first).all():
        raise InputError(f"control: expected {structure.rank} finite numbers, got {first}")
    return u


def lift_variables(
    structure: Structure,
    start: np.ndarray,
    states: np.ndarray,
    u: Callable[[float], np.ndarray],
    times: np.ndarray,
) -> dict[str, Any]:
    """What `extremal_lifts` says, from the states at the times, as variables of a dataset."""
    n, m = structure.dimension, structure.rank
    rates = rates_along(structure)

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
    rank = int((values > ZERO * values[0]).sum()) if values[0] > 0 else 0
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


def curve_coordinates(structure: Structure, times: np.ndarray) -> dict[str, Any]:
    """Coordinates of a dataset along a curve of unit speed."""
    return {
        "time": ("time", times, "time at unit speed", "1"),
        "coordinate": coordinate_axis(structure.coordinates),
    }
