"""Wave fronts: the ends of all geodesics of one length from a point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from subriem.arithmetic.taylor_method import STATUSES
from subriem.brackets.flag import lie_flag
from subriem.errors import InputError
from subriem.geodesics.flow_map import check_tolerance, flow_map
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure

__all__ = ["unit_covectors", "wavefront"]

#: Times at which the sign of det dq/dp_0 is looked at.
_SAMPLES = 48
_CHUNK = 2048


def unit_covectors(
    structure: Structure, at: Any, directions: np.ndarray, vertical: np.ndarray
) -> np.ndarray:
    """Covectors with H = 1/2 at a point, from a direction and what they are on brackets.

    Parameters
    ----------
    structure : Structure
        Bracket-generating at the point.
    at : point
    directions : ndarray, shape (A, r)
        Unit vectors, r = dim D^1: coordinates of q' in an orthonormal frame. For an orthonormal
        frame of r fields, in that frame.
    vertical : ndarray, shape (V, n - r)
        p on the brackets that complete the frame, those of `lie_flag` in order.

    Returns
    -------
    ndarray, shape (A, V, n)

    Raises
    ------
    InputError
        If the structure is not bracket-generating at the point, or a shape does not fit.
    InputTypeError
        If the first argument is not a structure.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> unit_covectors(heisenberg, [0, 0, 0], np.array([[0.6, 0.8]]), np.array([[5.0]]))
    array([[[0.6, 0.8, 5. ]]])
    """
    point = structure.points(at, "at")
    n = structure.dimension
    if point.ndim != 1:
        raise InputError(f"at: expected one point, got shape {point.shape}")
    flag = lie_flag(structure, point)
    if not bool(flag.bracket_generating):
        raise InputError(
            f"at: {structure.name} is not bracket-generating at {point.tolist()} "
            f"({flag.attrs['status']}), its covectors are not given by their values on brackets"
        )
    weights = flag.weight.values
    rank = int((weights == 1).sum())
    if directions.shape[1:] != (rank,) or vertical.shape[1:] != (n - rank,):
        raise InputError(
            f"{structure.name} at {point.tolist()}: expected directions of {rank} and vertical "
            f"momenta of {n - rank} numbers, got {directions.shape} and {vertical.shape}"
        )
    brackets = flag.adapted_frame.values[:, weights > 1]
    lower = np.linalg.cholesky(structure.metric_at(point))
    # columns of F G^-1/2, orthonormal where they are independent
    orthonormal = np.linalg.solve(lower, structure.frame_at(point).T).T
    if rank == structure.rank:
        horizontal = directions
    else:
        _, _, rows = np.linalg.svd(orthonormal)
        horizontal = directions @ rows[:rank]
    values = np.concatenate(
        [
            np.repeat(horizontal[:, None], len(vertical), axis=1),
            np.repeat(vertical[None], len(horizontal), axis=0),
        ],
        axis=2,
    )
    complete = np.concatenate([orthonormal, brackets], axis=1)
    return np.asarray(values @ np.linalg.pinv(complete))


def wavefront(
    structure: Structure,
    at: Any,
    radius: float,
    *,
    vertical: Any = None,
    angles: int = 64,
    rtol: float = 1e-10,
    engine: str | None = None,
) -> xr.Dataset:
    """Wave front: ends of the unit-speed geodesics of one length from a point.

    For distributions of rank 1 or 2 at the point. Unit covectors are then two points or a circle,
    times a vertical space: the values of p on the brackets that complete the frame.

    Parameters
    ----------
    structure : Structure
    at : point
    radius : float
        The length.
    vertical : array_like, shape (V,) or (V, n - r), optional
        p on the brackets that complete the frame (`lie_flag`: ``bracket``), one row a choice;
        needed unless r = dim D^1 is n.
    angles : int
        How many directions, evenly around the circle.
    rtol : float
    engine : {"compiled", "batch"}, optional

    Returns
    -------
    xarray.Dataset
        Over ``direction`` and ``vertical``: ``state`` (the front), ``covector`` (at the start),
        ``momentum`` (p on the brackets), ``determinant`` (of dq/dp_0 at the end), ``status``, and
        ``past_conjugate``: whether that determinant was negative at one of 48 times up to the
        end. The geodesic then passed a conjugate point and its end is not on the sphere. Where
        it is False, nothing is said: the geodesic may have lost optimality at a cut point, and
        two conjugate times between samples are not seen.

    Raises
    ------
    InputError
        If the rank is larger than 2, the structure is not bracket-generating at the point, or an
        argument does not fit.
    InputTypeError
        If the first argument is not a structure.

    Notes
    -----
    The sphere is part of the front. For small times det dq/dp_0 is positive, dq/dp_0 being the
    integral of a positive semidefinite matrix to leading order; it vanishes at conjugate times.
    Along abnormal geodesics it is zero throughout.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> front = wavefront(heisenberg, [0, 0, 0], 1.0, vertical=[0, 2 * math.pi, 8], angles=4)
    >>> front.state.values[0].round(6) + 0.0
    array([[1.      , 0.      , 0.      ],
           [0.      , 0.      , 0.079577],
           [0.12367 , 0.143188, 0.054771]])
    >>> front.past_conjugate.values[0]
    array([False, False,  True])
    """
    require_structure(structure)
    point = structure.points(at, "at")
    if not (isinstance(radius, int | float | np.number) and 0 < radius < math.inf):
        raise InputError(f"radius: expected a length > 0, got {radius!r}")
    if isinstance(angles, bool) or not isinstance(angles, int | np.integer) or angles < 1:
        raise InputError(f"angles: expected an integer >= 1, got {angles!r}")
    check_tolerance(rtol)
    if point.ndim != 1 or not bool(structure.inside(point)):
        raise InputError(f"at: expected one point inside the chart, got {point.tolist()}")
    n = structure.dimension
    rank = int(np.linalg.matrix_rank(structure.frame_at(point)))
    if rank > 2:
        raise InputError(f"wavefront: expected a distribution of rank 1 or 2, got {rank}")
    turn = 2 * np.pi * np.arange(angles if rank == 2 else 2) / (angles if rank == 2 else 2)
    directions = np.column_stack([np.cos(turn), np.sin(turn)])[:, :rank]
    momenta = _vertical(vertical, n - rank)
    covectors = unit_covectors(structure, point, directions, momenta)
    flat = covectors.reshape(-1, n)
    times = radius * np.arange(1, _SAMPLES + 1) / _SAMPLES
    state, determinant, past, status = [], [], [], []
    for first in range(0, len(flat), _CHUNK):
        rows = flat[first : first + _CHUNK]
        flow = flow_map(structure, point, rows, times, rtol, engine=engine)
        determinants = np.linalg.det(flow.state_jacobian)
        sizes = np.prod(np.linalg.norm(flow.state_jacobian, axis=-1), axis=-1)
        # below rounding a determinant has no sign
        negative = determinants < -1e-12 * sizes
        state.append(flow.state[:, -1])
        determinant.append(determinants[:, -1])
        past.append(negative.any(axis=1))
        status.append(np.array(STATUSES)[flow.status])
    shape = covectors.shape[:2]
    over = ("direction", "vertical")
    variables = {
        "state": (
            (*over, "coordinate"),
            np.concatenate(state).reshape(*shape, n),
            "end of the geodesic",
            "1",
        ),
        "covector": ((*over, "coordinate"), covectors, "covector at the start", "1"),
        "determinant": (
            over,
            np.concatenate(determinant).reshape(shape),
            "determinant of dq/dp_0 at the end",
            "1",
        ),
        "past_conjugate": (
            over,
            np.concatenate(past).reshape(shape),
            "whether a conjugate point was seen before the end",
            "1",
        ),
        "status": (over, np.concatenate(status).reshape(shape), "ok, or why it ended", "1"),
        "momentum": (("vertical", "bracket"), momenta, "covector on the brackets", "1"),
    }
    coordinates = {
        "coordinate": coordinate_axis(structure.coordinates),
        "angle": ("direction", turn, "angle of the initial direction", "radian"),
        "vertical": ("vertical", np.arange(len(momenta)), "choice of vertical momenta", "1"),
    }
    return build_dataset(
        variables,
        coordinates,
        function="wavefront",
        arguments={"at": at, "radius": radius, "vertical": vertical, "angles": angles},
        structure=repr(structure),
        attributes={"radius": float(radius)},
    )


def _vertical(vertical: Any, size: int) -> np.ndarray:
    if vertical is None:
        if size:
            raise InputError(
                f"vertical: expected the values of p on {size} brackets, as the unit covectors "
                "are not bounded; got none"
            )
        return np.zeros((1, 0))
    values = np.asarray(vertical, dtype=np.float64)
    if values.ndim == 1 and size == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != size or not len(values):
        raise InputError(f"vertical: expected shape (V, {size}), got {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("vertical: expected finite numbers")
    return values
