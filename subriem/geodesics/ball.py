"""Balls: all that can be reached within a length, swept by shortest geodesics."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.geodesics.cut_time import cut_time
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.wavefront import wavefront
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure

__all__ = ["ball"]

_RTOL = 1e-12


def ball(
    structure: Structure,
    at: Any,
    radius: float,
    *,
    vertical: Any = None,
    angles: int = 64,
    shells: int = 10,
    search: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Ball: the set that can be reached within a length, by geodesics while they are shortest.

    Each unit-speed geodesic is followed up to its cut time or the radius, whichever comes first.
    These geodesics, with all covectors, cover the ball (where no abnormal path is needed); their
    ends are its sphere, and its cut locus inside.

    Parameters
    ----------
    structure : Structure
        Whose distribution has rank 1 or 2 at the point.
    at : point
    radius : float
    vertical, angles
        As in `wavefront`.
    shells : int
        At how many equal parts of its way each geodesic is given.
    search : bool
        As in `cut_time`.
    seed : int
        Of the search.

    Returns
    -------
    xarray.Dataset
        Over ``direction``, ``vertical`` and ``shell``:

        ``state``
            The points; NaN from where a geodesic ended, and for geodesics of unknown cut time.
        ``distance``
            Of each from the centre: the length up to it.

        and over ``direction`` and ``vertical``: ``covector``, ``reach`` (where the geodesic stops:
        the radius or its cut time; NaN where it is unknown), ``kind`` and ``status`` of
        `cut_time`. Attribute ``optimality``: what is claimed.

    Raises
    ------
    InputError
        As `wavefront` and `cut_time`, or if ``shells`` is not a positive integer.
    InputTypeError
        If the first argument is not a structure.

    Examples
    --------
    >>> grushin = Structure.define("grushin", "x y", lambda q: [(1, 0), (0, q.x)])
    >>> within = ball(grushin, [0, 0], 1.0, vertical=[0, 2 * np.pi], shells=2)
    >>> within.reach.values[0], [str(kind) for kind in within.kind.values[0]]
    (array([1. , 0.5]), ['none', 'Maxwell'])
    >>> within.state.values[0, :, -1].round(8) + 0.0
    array([[1.        , 0.        ],
           [0.        , 0.03978874]])
    """
    if isinstance(shells, bool) or not isinstance(shells, int | np.integer) or shells < 1:
        raise InputError(f"shells: expected an integer >= 1, got {shells!r}")
    front = wavefront(structure, at, radius, vertical=vertical, angles=angles)
    n = structure.dimension
    shape = front["past_conjugate"].shape
    covectors = front["covector"].values.reshape(-1, n)
    cut = cut_time(structure, at, covectors, radius, search=search, seed=seed)
    reach = np.fmin(cut["cut_time"].values, radius)
    # a geodesic that is abnormal too may be shortest all the same: nothing is known
    reach[np.isin(cut["status"].values, ("abnormal", "constant"))] = np.nan
    parts = np.arange(1, shells + 1) / shells
    known = np.flatnonzero(np.isfinite(reach))
    states = np.full((len(covectors), shells, n), np.nan)
    if len(known):
        ends = reach[known, None] * covectors[known]
        start = structure.points(at)
        states[known] = flow_map(structure, start, ends, parts, _RTOL, jacobian=False).state
    distances = np.where(np.isfinite(states).all(axis=2), reach[:, None] * parts, np.nan)
    over = ("direction", "vertical")
    return build_dataset(
        {
            "state": (
                (*over, "shell", "coordinate"),
                states.reshape(*shape, shells, n),
                "point of the ball",
                "1",
            ),
            "distance": (
                (*over, "shell"),
                distances.reshape(*shape, shells),
                "distance from the centre",
                "1",
            ),
            "covector": ((*over, "coordinate"), front["covector"].values, "initial covector", "1"),
            "reach": (over, reach.reshape(shape), "length up to which it is shortest", "1"),
            "kind": (over, cut["kind"].values.reshape(shape), "why it stops there", "1"),
            "status": (over, cut["status"].values.reshape(shape), "how far that is known", "1"),
            "momentum": (
                ("vertical", "bracket"),
                front["momentum"].values,
                "covector on the brackets",
                "1",
            ),
        },
        {
            "coordinate": coordinate_axis(structure.coordinates),
            "angle": (
                "direction",
                front["angle"].values,
                "angle of the initial direction",
                "radian",
            ),
            "vertical": (
                "vertical",
                front["vertical"].values,
                "choice of vertical momenta",
                "1",
            ),
        },
        function="ball",
        arguments={
            "at": at,
            "radius": radius,
            "vertical": vertical,
            "angles": angles,
            "shells": shells,
            "search": search,
        },
        structure=repr(structure),
        seed=seed,
        attributes={"radius": float(radius), "optimality": cut.attrs["optimality"]},
    )
