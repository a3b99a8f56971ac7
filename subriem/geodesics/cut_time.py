"""Cut times of normal geodesics: until when they are shortest, as far as can be found.

A normal geodesic without abnormal pieces stops being shortest at its first conjugate time or where
it meets another geodesic of the same length, a Maxwell point, whichever comes first (Agrachev,
Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry*, 2019, section 8.8).
Conjugate times come from the exponential map's Jacobian; Maxwell points from the symmetries that
the structure declares, and from a global search for other geodesics to the same end: what is
found there is made a Maxwell point by Newton's method, and the search is repeated at that point,
until nothing shorter is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.geodesics.conjugate import conjugate_time
from subriem.geodesics.distance import read_inside
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.maxwell import symmetric_maxwell
from subriem.geodesics.meeting import Scales
from subriem.geodesics.rivals import Contest, Rivals, first_meetings, meeting_at_conjugate
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import read_points

__all__ = ["cut_time"]

_RTOL = 1e-14
#: Relative difference up to which a conjugate and a Maxwell time are the same.
_SAME_TIME = 1e-8

_CLAIM = (
    "an estimate: past the cut time the geodesic is not shortest, as a conjugate point or another "
    "geodesic of the same length was found there (to rounding); that it is shortest before, or up "
    "to the horizon where nothing was found, rests on {searched}, which proves nothing; strictly "
    "abnormal paths were not compared"
)


def cut_time(
    structure: Structure,
    at: Any,
    covector: Any,
    horizon: float,
    *,
    search: bool = True,
    rtol: float = 1e-12,
    seed: int = 0,
) -> xr.Dataset:
    """Cut time of normal geodesics from a point: how long they are shortest, an estimate.

    Parameters
    ----------
    structure : Structure
        Bracket-generating at the point.
    at : point
    covector : array_like, shape (n,) or (B, n)
    horizon : float
        Where to stop looking.
    search : bool
        Search globally for other geodesics to the same end. Otherwise the first of the conjugate
        time and the Maxwell times by declared symmetries is returned, an upper bound.
    rtol : float
        Of the integration for conjugate times.
    seed : int
        Of the search.

    Returns
    -------
    xarray.Dataset
        Over ``geodesic`` (not for one covector):

        ``cut_time``
            NaN where there is none up to the horizon. In the time of `exponential`, where the
            speed is sqrt(2 H).
        ``cut_error``
            The width to which it was located: the next step of Newton's method, or a bracket.
        ``kind``
            ``"conjugate"``, ``"Maxwell"``, ``"conjugate and Maxwell"`` (the times agree to 1e-8)
            or ``"none"``.
        ``conjugate_time``, ``maxwell_time``
            Each the first found up to the horizon, or NaN. After the cut time Maxwell points are
            not looked for.
        ``other_covector``
            Of another geodesic with the same H that ends in the Maxwell point at the same time.
        ``endpoint_error``
            Largest difference of the two ends in a coordinate.
        ``symmetry``
            By which symmetry the Maxwell point was found; empty where by the search.
        ``confirmed``
            Whether the search to the cut point (or next to it, or to the point at the horizon)
            found a geodesic of this length and none shorter.
        ``status``
            ``"estimate"``, ``"none up to the horizon"``, ``"abnormal"`` (the geodesic is
            abnormal as well, and nothing is claimed), ``"constant"`` (H = 0), or
            ``"ended at ..."`` (the geodesic left the chart or blew up; no cut point was found
            before).

        Attribute ``optimality``: what is claimed, and what is not.

    Raises
    ------
    InputError
        If the structure is not bracket-generating at the point, or an argument does not fit.
    InputTypeError
        If the first argument is not a structure.

    Notes
    -----
    A missed shorter path makes a cut time too large, never too small. Without a symmetry that
    gives it, a Maxwell time within about 1e-5 of a conjugate time, relative, may be missed, and
    the conjugate time returned. Distances are those of the
    quotient where coordinates are periodic.

    Examples
    --------
    >>> grushin = Structure.define("grushin", "x y", lambda q: [(1, 0), (0, q.x)])
    >>> cut = cut_time(grushin, [0, 0], [1, 2], horizon=3.0)
    >>> bool(abs(cut.cut_time - np.pi / 2) < 1e-12), str(cut.kind.values)
    (True, 'Maxwell')
    >>> cut.other_covector.values.round(8)
    array([-1.,  2.])
    """
    require_structure(structure)
    point = read_inside(structure, at, "at")
    if point.ndim != 1:
        raise InputError(f"at: expected one point, got {len(point)}")
    covectors = read_points(structure.coordinates, covector, "covector")
    if not covectors.size:
        raise InputError("covector: expected at least one covector, got none")
    conjugate = conjugate_time(structure, point, covectors, horizon, rtol=rtol)
    first, width, status = (
        np.atleast_1d(conjugate[name].values)
        for name in ("conjugate_time", "conjugate_error", "status")
    )
    contests = [
        _begin(structure, point, *each)
        for each in zip(
            np.atleast_2d(covectors),
            np.full(len(first), horizon),
            first,
            width,
            status,
            strict=True,
        )
    ]
    symmetries = _by_symmetry(structure, point, contests)
    by_symmetry = [contest.place for contest in contests]
    if search:
        rivals, scales = Rivals(structure, point, seed), Scales.at(structure, point)
        first_meetings(rivals, scales, contests)
        for contest, time in zip(contests, first, strict=True):
            if np.isfinite(time) and np.isnan(contest.place):
                meeting_at_conjugate(rivals, scales, contest, time)
        first_meetings(rivals, scales, contests)
    rows = [
        {
            **_row(contest, float(time), str(why)),
            "symmetry": name if contest.place == place else "",
        }
        for contest, time, why, name, place in zip(
            contests, first, status, symmetries, by_symmetry, strict=True
        )
    ]
    single = covectors.ndim == 1
    dims: tuple[str, ...] = () if single else ("geodesic",)

    def over(name: str) -> Any:
        values = np.array([row[name] for row in rows])
        return values[0] if single else values

    texts = {
        "cut_time": "until when the geodesic is shortest, an estimate",
        "cut_error": "width to which it was located",
        "kind": "why the geodesic is not shortest after",
        "conjugate_time": "first conjugate time",
        "maxwell_time": "first Maxwell time found",
        "endpoint_error": "difference of the ends at the Maxwell time",
        "symmetry": "symmetry by which it was found",
        "confirmed": "whether the search found none shorter up to there",
        "status": "how far the cut time is known",
    }
    variables = {name: (dims, over(name), text, "1") for name, text in texts.items()}
    variables["other_covector"] = (
        (*dims, "coordinate"),
        over("other_covector"),
        "covector of another geodesic to the Maxwell point",
        "1",
    )
    variables["covector"] = ((*dims, "coordinate"), covectors, "initial covector", "1")
    return build_dataset(
        variables,
        {"coordinate": coordinate_axis(structure.coordinates)},
        function="cut_time",
        arguments={"at": at, "covector": covector, "horizon": horizon, "search": search},
        structure=repr(structure),
        seed=seed,
        attributes={
            "optimality": _CLAIM.format(
                searched="declared symmetries and a search from many seeds"
                if search
                else "declared symmetries only, without a search"
            )
        },
    )


def _begin(
    structure: Structure,
    point: np.ndarray,
    covector: np.ndarray,
    horizon: float,
    conjugate: float,
    width: float,
    status: str,
) -> Contest:
    high = conjugate if np.isfinite(conjugate) else horizon
    settled = status in ("constant", "abnormal")
    if not settled and not np.isfinite(conjugate):
        flow = flow_map(structure, point, covector, [horizon], _RTOL, jacobian=False)
        if np.isfinite(flow.event_time[0]):
            # just before the end, where the state is still known
            high = float(flow.event_time[0]) * (1 - 1e-6)
    return Contest(np.zeros_like(covector), covector, 0.0, high, error=width, settled=settled)


def _by_symmetry(structure: Structure, point: np.ndarray, contests: Sequence[Contest]) -> list[str]:
    """The first meeting by symmetry of each contest, and by which."""
    names = [""] * len(contests)
    todo = [k for k, contest in enumerate(contests) if not contest.settled]
    if not todo or not structure.symmetries:
        return names
    covectors = np.array([contests[k].slope for k in todo])
    limits = np.array([contests[k].high for k in todo])
    found = symmetric_maxwell(structure, point, covectors, limits)
    for k, meetings in zip(todo, found, strict=True):
        for first in meetings[:1]:
            time, names[k] = first.time, first.symmetry
            contests[k].meets(time, time * first.covector, first.endpoint_error, first.uncertainty)
    return names


def _row(contest: Contest, conjugate: float, status: str) -> dict[str, Any]:
    maxwell = contest.place
    first = float(np.nanmin([conjugate, maxwell, np.inf]))
    kind = "none"
    if np.isfinite(first):
        near = first * (1 + _SAME_TIME)
        named = (("conjugate", conjugate), ("Maxwell", maxwell))
        kind = " and ".join(name for name, time in named if time <= near)
        status = "estimate"
    return {
        "cut_time": first if np.isfinite(first) else np.nan,
        "cut_error": contest.error if np.isfinite(first) else np.nan,
        "kind": kind,
        "conjugate_time": conjugate,
        "maxwell_time": maxwell,
        "endpoint_error": contest.endpoint_error,
        "confirmed": contest.confirmed,
        "status": status,
        "other_covector": contest.other / maxwell,
    }
