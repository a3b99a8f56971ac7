"""Spheres: the part of a wave front whose geodesics are shortest, and the cut points on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from subriem.geodesics.distance import read_inside
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.meeting import Scales
from subriem.geodesics.rivals import EQUAL, Contest, Rivals, first_meetings, meeting_at_conjugate
from subriem.geodesics.wavefront import wavefront
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure

__all__ = ["sphere"]

_PARTS = 40
# A cut point between two geodesics is not kept where there is but a bracket for it.
_WIDTH = 1e-2
_NOTHING, _SHORTER = "none shorter found", "shorter path found"
_CONJUGATE, _AGAIN = "past a conjugate point", "back at the start"
_MISSED = "not found by the search"


def sphere(
    structure: Structure,
    at: Any,
    radius: float,
    *,
    vertical: Any = None,
    angles: int = 64,
    seed: int = 0,
) -> xr.Dataset:
    """Sphere: the points of a wave front at the distance of its radius, as far as can be found.

    The end of each geodesic of the front that has not passed a conjugate point is searched for
    shorter paths. Between a geodesic that is shortest and the next one of the same direction that
    is not, the geodesic that ends in a cut point is solved for.

    Parameters
    ----------
    structure : Structure
        Whose distribution has rank 1 or 2 at the point.
    at : point
    radius : float
    vertical, angles
        As in `wavefront`: the momenta on brackets, in an order in which neighbours are close.
    seed : int
        Of the search.

    Returns
    -------
    xarray.Dataset
        What `wavefront` returns, over ``direction`` and ``vertical``, and

        ``minimizing``
            Whether the end is on the sphere: an estimate where True (nothing shorter was
            found), and known up to rounding where False.
        ``decided``
            ``"none shorter found"``, ``"shorter path found"``, ``"past a conjugate point"``,
            ``"back at the start"``, ``"not found by the search"`` (not counted as minimizing),
            or why the geodesic ended.
        ``distance``
            Length of the shortest path found to the end; NaN where it was not searched for.

        and over ``cut`` the cut points on the sphere: ``cut_state``, ``cut_covector``,
        ``cut_direction`` (position along ``direction``) and ``cut_kind``: ``"Maxwell"``, with
        ``other_covector`` of another geodesic to the point (which may be conjugate as well) and
        ``cut_endpoint_error``; or ``"conjugate"``. Attribute ``unresolved``: between how many
        geodesics a cut point was not solved for.

    Raises
    ------
    InputError
        As `wavefront`.
    InputTypeError
        If the first argument is not a structure.

    Examples
    --------
    >>> grushin = Structure.define("grushin", "x y", lambda q: [(1, 0), (0, q.x)])
    >>> front = sphere(grushin, [0, 0], 1.0, vertical=[0, 1, 2, 3, 4])
    >>> front.minimizing.values[0], front.cut_covector.values.round(8)[0]
    (array([ True,  True,  True,  True, False]), array([1.        , 3.14159265]))
    >>> front.cut_state.values[0].round(8) + 0.0
    array([0.        , 0.15915494])
    """
    front = wavefront(structure, at, radius, vertical=vertical, angles=angles)
    point = read_inside(structure, at, "at")
    n = structure.dimension
    shape = front["past_conjugate"].shape
    covectors = front["covector"].values.reshape(-1, n)
    decided = front["status"].values.reshape(-1).astype("U32")
    past = front["past_conjugate"].values.reshape(-1)
    asked = np.flatnonzero((decided == "ok") & ~past)
    decided[(decided == "ok") & past] = _CONJUGATE
    length = np.full(len(covectors), np.nan)
    rivals = Rivals(structure, point, seed)
    for k, found in zip(asked, rivals.to_ends(radius * covectors[asked])[2], strict=True):
        if found is None:
            length[k], decided[k] = 0.0, _AGAIN
            continue
        length[k] = found.shortest if np.isfinite(found.shortest) else np.nan
        near = found.shortest <= radius * (1 + EQUAL)
        shorter = found.shortest < radius * (1 - EQUAL)
        decided[k] = _SHORTER if shorter else _NOTHING if near else _MISSED
    minimizing = (decided == _NOTHING).reshape(shape)
    cuts = _cut_points(rivals, covectors.reshape(*shape, n), minimizing, radius)
    found_cuts = [
        (k, contest)
        for k, contest in cuts
        if contest.confirmed and (contest.conjugate or np.isfinite(contest.other).all())
    ]
    rows = [contest for _, contest in found_cuts]
    own = np.array([contest.covector(contest.place) for contest in rows]).reshape(-1, n)
    met = np.array([np.isfinite(contest.other).all() for contest in rows], dtype=bool)
    states = rivals.to_states(own)
    over = ("direction", "vertical")
    added = build_dataset(
        {
            "minimizing": (over, minimizing, "whether nothing shorter to the end was found", "1"),
            "decided": (over, decided.reshape(shape), "how that was decided", "1"),
            "distance": (over, length.reshape(shape), "shortest path found to the end", "1"),
            "cut_state": (("cut", "coordinate"), states, "cut point on the sphere", "1"),
            "cut_covector": (("cut", "coordinate"), own / radius, "covector at the start", "1"),
            "other_covector": (
                ("cut", "coordinate"),
                np.array([contest.other for contest in rows]).reshape(-1, n) / radius,
                "covector of another geodesic to the cut point",
                "1",
            ),
            "cut_kind": (
                "cut",
                np.where(met, "Maxwell", "conjugate"),
                "why the geodesic is not shortest after",
                "1",
            ),
            "cut_endpoint_error": (
                "cut",
                np.array([contest.endpoint_error for contest in rows]),
                "difference of the two ends",
                "1",
            ),
            "cut_direction": (
                "cut",
                np.array([k for k, _ in found_cuts], dtype=int),
                "position of the direction",
                "1",
            ),
        },
        {"coordinate": coordinate_axis(structure.coordinates)},
        function="sphere",
        arguments={"at": at, "radius": radius, "vertical": vertical, "angles": angles},
        structure=repr(structure),
        seed=seed,
        attributes={
            "radius": float(radius),
            "unresolved": len(cuts) - len(rows),
            "optimality": "an estimate: a search from many seeds found nothing shorter to the "
            "points called minimizing, which proves nothing; strictly abnormal paths were not "
            "compared",
        },
    )
    merged = front.drop_attrs(deep=False).assign(added.data_vars)
    return merged.assign_attrs(added.attrs)


def _cut_points(
    rivals: Rivals, covectors: np.ndarray, minimizing: np.ndarray, radius: float
) -> list[tuple[int, Contest]]:
    """Along each direction, cut points between geodesics that are shortest and that are not."""
    cuts = []
    for k, column in enumerate(minimizing):
        for j in np.flatnonzero(column[1:] != column[:-1]):
            inner, outer = (j, j + 1) if column[j] else (j + 1, j)
            base = radius * covectors[k, inner]
            slope = radius * covectors[k, outer] - base
            # places from 1 to 2, so that they can be compared relative to themselves
            cuts.append((k, Contest(base - slope, slope, 1.0, 2.0, width=_WIDTH)))
    if not cuts:
        return cuts
    scales = Scales.at(rivals.structure, rivals.point)
    contests = [contest for _, contest in cuts]
    first_meetings(rivals, scales, contests)
    for contest in contests:
        if np.isnan(contest.place):
            place = _conjugate(rivals, contest)
            if place is not None and not meeting_at_conjugate(rivals, scales, contest, place):
                contest.place, contest.conjugate = place, True
    first_meetings(rivals, scales, contests)
    return cuts


def _conjugate(rivals: Rivals, contest: Contest) -> float | None:
    """Where the end is conjugate, by the sign of det dq/dp_0."""
    low, high = contest.least, contest.high
    while high - low > _PARTS * 1e-15 * high:
        places = np.linspace(low, high, _PARTS + 1)
        covectors = np.array([contest.covector(place) for place in places])
        flow = flow_map(rivals.structure, rivals.point, covectors, [1.0], 1e-12)
        signs = np.linalg.slogdet(flow.state_jacobian[:, 0])[0]
        changed = np.flatnonzero((signs[1:] <= 0) & (signs[:-1] > 0))
        if not len(changed):
            return None
        low, high = places[changed[0]], places[changed[0] + 1]
    return float((low + high) / 2)
