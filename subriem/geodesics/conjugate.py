"""First conjugate times of normal geodesics, from the Jacobian of the exponential map.

t is conjugate to 0 along the extremal with covector p_0 where dq(t)/dp_0 is singular
(Agrachev, Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry*, 2019,
section 8.8). Past the first conjugate time no geodesic is shortest. Near 0 the Jacobian is
singular as well, like t^{w_j + w_k - 1} between directions of weights w_j and w_k of the flag: it
is looked at in those units, in which it has a limit. Divided by such powers of t, errors are large
at small t: a sign of the determinant counts only where the smallest singular value exceeds what
two integrations with different tolerances and the rounding may differ by (Weyl's inequality).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from subriem.brackets import lie_flag
from subriem.errors import InputError
from subriem.geodesics.flow_map import flow_map
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import read_points

__all__ = ["conjugate_time", "scaled_jacobian"]

_NODES = 400
_PARTS = 40
# A singular value that stays below this share of the largest one all along is zero.
_VANISHES = 1e-9
# How far below its neighbours a minimum of the smallest singular value is refined to be a zero.
_ZERO = 1e-7
# Ratio of the two tolerances whose difference measures the error; how far above it a singular value
# is known to be nonzero.
_FINER, _CLEAR = 30.0, 10.0
# A zero no farther beyond the horizon is at it.
_AT_END = 1e-9


def conjugate_time(
    structure: Structure,
    at: Any,
    covector: Any,
    horizon: float,
    *,
    rtol: float = 1e-12,
) -> xr.Dataset:
    """First conjugate time along normal geodesics from a point.

    Parameters
    ----------
    structure : Structure
        Bracket-generating at the point.
    at : point
    covector : array_like, shape (n,) or (B, n)
    horizon : float
        Where to stop looking.
    rtol : float
        Of the integration.

    Returns
    -------
    xarray.Dataset
        ``conjugate_time`` (NaN where there is none), ``conjugate_error`` (the width to which it
        was located), ``multiplicity`` and ``status``: ``"found"``, ``"none up to the horizon"``,
        ``"abnormal"`` (the Jacobian is singular all along: the extremal is abnormal as well, and
        its zeros say nothing), ``"constant"`` (H = 0: no geodesic), ``"undecided after ..."``
        (none up to that time; from then on the Jacobian cannot be told from a singular one), or
        how the geodesic ended.

    Raises
    ------
    InputError
        If the structure is not bracket-generating at the point, or an argument does not fit.
    InputTypeError
        If the first argument is not a structure.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> found = conjugate_time(heisenberg, [0, 0, 0], [1, 0, 1], horizon=10.0)
    >>> bool(abs(found.conjugate_time - 2 * np.pi) < 1e-9)
    True
    """
    require_structure(structure)
    point = structure.points(at)
    if point.ndim != 1:
        raise InputError(f"at: expected one point, got {len(point)}")
    covectors = read_points(structure.coordinates, covector, "covector")
    if not 0 < horizon < np.inf:
        raise InputError(f"horizon: expected a positive number, got {horizon!r}")
    flag = lie_flag(structure, point)
    if not flag.bracket_generating:
        raise InputError(
            f"{structure.name} is not bracket-generating at {point.tolist()} "
            f"({flag.status.item()}): the exponential map is singular at every time"
        )
    frame, weights = flag.adapted_frame.values, flag.weight.values
    rows = [
        _first(structure, point, p, horizon, rtol, frame, weights) for p in np.atleast_2d(covectors)
    ]
    single = covectors.ndim == 1
    dims = () if single else ("geodesic",)

    def over(position: int) -> Any:
        values = np.array([row[position] for row in rows])
        return values[0] if single else values

    return build_dataset(
        {
            "conjugate_time": (dims, over(0), "first conjugate time", "1"),
            "conjugate_error": (dims, over(1), "width to which it was located", "1"),
            "multiplicity": (dims, over(2), "dimension of the kernel there", "1"),
            "status": (dims, over(3), "found, or why not", "1"),
            "covector": ((*dims, "coordinate"), covectors, "initial covector", "1"),
        },
        {"coordinate": coordinate_axis(structure.coordinates)},
        function="conjugate_time",
        arguments={"at": at, "covector": covector, "horizon": horizon, "rtol": rtol},
        structure=repr(structure),
    )


def scaled_jacobian(
    jacobian: np.ndarray, times: np.ndarray, frame: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """dq/dp_0 in the units in which it has a limit at t = 0.

    Parameters
    ----------
    jacobian : ndarray, shape (T, n, n)
    times : ndarray, shape (T,)
    frame : ndarray, shape (n, n)
        Adapted to the flag at the start.
    weights : ndarray of int, shape (n,)

    Returns
    -------
    ndarray, shape (T, n, n)

    Examples
    --------
    >>> t = np.array([0.5, 1.0])
    >>> scaled_jacobian(t[:, None, None] * np.eye(2), t, np.eye(2), np.array([1, 1]))[0]
    array([[1., 0.],
           [0., 1.]])
    """
    moved = np.linalg.solve(frame, jacobian)
    # covectors in the dual frame: p = A^-T a
    moved = np.linalg.solve(frame, moved.swapaxes(-1, -2)).swapaxes(-1, -2)
    powers = weights[:, None] + weights[None, :] - 1
    return moved / np.abs(times)[:, None, None] ** powers


def _first(
    structure: Structure,
    point: np.ndarray,
    covector: np.ndarray,
    horizon: float,
    rtol: float,
    frame: np.ndarray,
    weights: np.ndarray,
) -> tuple[float, float, int, str]:
    missing = (np.nan, np.nan, 0)
    momenta = structure.frame_at(point).T @ covector
    scale = np.abs(structure.frame_at(point)).max() * np.abs(covector).max()
    if np.abs(momenta).max() <= 1e-14 * scale:
        return (*missing, "constant")

    def look(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
        """Sign of the determinant, relative singular values, how the geodesic ended."""
        flow = flow_map(structure, point, covector, times, rtol)
        assert flow.state_jacobian is not None
        reached = np.isfinite(flow.state_jacobian[0]).all(axis=(1, 2))
        matrices = scaled_jacobian(flow.state_jacobian[0][reached], times[reached], frame, weights)
        values = np.linalg.svd(matrices, compute_uv=False)
        signs = np.sign(np.linalg.slogdet(matrices)[0]) if len(matrices) else np.zeros(0)
        ended = "" if reached.all() else f"ended at {float(flow.event_time[0]):.6g}"
        return signs, values, ended

    # one beyond the horizon, as a zero at the horizon shows on both of its sides only
    times = horizon * np.arange(1, _NODES + 2) / _NODES
    signs, values, ended = look(times)
    times = times[: len(signs)]
    if len(times) >= _NODES:
        ended = ""
    if not len(times):
        return (*missing, ended)
    # in the units of its own rows and columns, as they may differ along the way
    smallest = values[:, -1] / values[:, 0]
    if (smallest < _VANISHES).all():
        return (*missing, "abnormal")
    known = _known(structure, point, covector, times, rtol, frame, weights)
    sure = np.flatnonzero(known)
    for k in range(1, len(times)):
        before = sure[sure < k]
        if not len(before):
            continue
        crossed = bool(known[k]) and signs[k] != signs[before[-1]]
        dip = (
            k + 1 < len(times)
            and bool(known[k - 1] and known[k + 1])
            and smallest[k] < smallest[k - 1]
            and smallest[k] <= smallest[k + 1]
        )
        if not crossed and not dip:
            continue
        low, high = (times[before[-1]], times[k]) if crossed else (times[k - 1], times[k + 1])
        found = _refine(look, low, high, crossed)
        if found is not None and found[0] <= horizon * (1 + _AT_END):
            return (*found, "found")
    if not ended and not known[-1]:
        last = times[sure[-1]] if len(sure) else 0.0
        return (*missing, f"undecided after {last:.6g}")
    return (*missing, ended or "none up to the horizon")


def _known(
    structure: Structure,
    point: np.ndarray,
    covector: np.ndarray,
    times: np.ndarray,
    rtol: float,
    frame: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Whether the Jacobian at each time is nonsingular beyond its error."""
    other = rtol / _FINER if rtol >= 1e-14 * _FINER else rtol * _FINER
    flows = [flow_map(structure, point, covector, times, each) for each in (rtol, other)]
    first, second = (flow.state_jacobian[0] for flow in flows)
    # errors accumulate, and may be small by chance
    error = np.maximum.accumulate(np.nan_to_num(np.abs(first - second)), axis=0)
    error = error + np.finfo(float).eps * np.abs(first)
    inverse = np.abs(np.linalg.solve(frame, np.eye(len(frame))))
    powers = np.abs(times)[:, None, None] ** (weights[:, None] + weights[None, :] - 1)
    error = inverse @ error @ inverse.T / powers
    matrices = scaled_jacobian(first, times, frame, weights)
    for axis in (2, 1):
        size = np.linalg.norm(matrices, axis=axis, keepdims=True) + np.finfo(float).tiny
        matrices, error = matrices / size, error / size
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(matrices).all(axis=(1, 2)) & np.isfinite(error).all(axis=(1, 2))
    known = np.zeros(len(times), dtype=bool)
    values = np.linalg.svd(matrices[finite], compute_uv=False)[:, -1]
    known[finite] = values > _CLEAR * np.linalg.norm(error[finite], axis=(1, 2))
    return known


def _refine(look: Any, low: float, high: float, crossed: bool) -> tuple[float, float, int] | None:
    """Close in on a zero: by the sign of the determinant, or by the smallest singular value."""
    start = high - low
    before = 0.0
    for _ in range(40):
        times = np.linspace(low, high, _PARTS + 1)
        signs, values, _ = look(times)
        smallest = values[:, -1] / values[:, 0]
        before = before or float(smallest.max())
        if crossed:
            change = np.flatnonzero(signs[1:] != signs[:-1])
            if not len(change):
                break
            low, high = times[change[0]], times[change[0] + 1]
        else:
            least = int(smallest.argmin())
            low, high = times[max(0, least - 1)], times[min(_PARTS, least + 1)]
        if high - low <= _PARTS * 1e-15 * high + 1e-13 * start:
            break
    middle = (low + high) / 2
    _, values, _ = look(np.array([middle]))
    relative = values[0] / values[0, 0]
    if not crossed and not relative[-1] < _ZERO * before:
        return None
    multiplicity = int((relative < max(1e-6, 10 * relative[-1])).sum())
    return middle, high - low, max(1, multiplicity)
