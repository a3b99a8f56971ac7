"""The shortest path between two points by all methods: shooting, then the direct method.

Shooting from many seeds comes first. Where it finds nothing, or so few seeds agree that the
shortest geodesic may have been missed, direct collocation gives a second opinion, and its path is
made a geodesic by multiple shooting. Where shooting finds nothing, motion planning gives
collocation one more path to start from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import casadi as ca
import numpy as np
from scipy.interpolate import CubicHermiteSpline

from subriem.geodesics.abnormal_paths import AbnormalArc, AbnormalClaim, AbnormalSearch
from subriem.geodesics.ball_box import BallBox
from subriem.geodesics.collocation import DirectPath, collocate
from subriem.geodesics.extremal_lifts import lift_variables
from subriem.geodesics.first_integrals import separating_integral
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.lower_bound import LowerBound, lower_bound
from subriem.geodesics.multiple_shooting import JoinedGeodesic, join
from subriem.geodesics.search import Found, find_geodesics
from subriem.structure import Structure

__all__ = ["Path", "Solutions", "constrained_path", "shortest_paths", "trace"]

#: Share of the seeds below which agreement on the shortest geodesic is not enough: of those for one
#: target, and of all of them where the search is to be thorough.
_SHARE, _THOROUGH_SHARE = 0.05, 0.25
_RTOL = 1e-14
# Up to this relative difference of lengths a normal geodesic may be one that only comes near an
# abnormal extremal: its end is known to about 1e-12, and its length to less.
_APPROACHED = 1e-6
_NODES = 21
# In which multiple shooting divides a path.
_PIECES = 16
# How many box sizes an abnormal extremal is followed where shooting found no length.
_REACH = 4.0


_NOT_ASKED = AbnormalClaim("not considered", "abnormal extremals were not considered")
_NO_BOUND = LowerBound(float("nan"), "no lower bound was looked for")


@dataclass(frozen=True)
class Path:
    """A path on [0, 1], by whichever method found it.

    Attributes
    ----------
    length : float
    method : str
        ``"shooting"``, ``"multiple shooting"``, ``"direct"`` or ``"abnormal"``.
    target : ndarray, shape (n,)
        The end, with what periods add to its angles.
    covector : ndarray, shape (n,), or None
        At the start, for time 1.
    pieces : JoinedGeodesic, DirectPath or AbnormalArc, or None
        What gives the path where the covector alone does not.
    condition : float
        Smallest over largest singular value of the exponential map's Jacobian at the end (NaN
        where it was not computed).
    """

    length: float
    method: str
    target: np.ndarray
    covector: np.ndarray | None = None
    pieces: JoinedGeodesic | DirectPath | AbnormalArc | None = None
    condition: float = float("nan")


@dataclass(frozen=True)
class Solutions:
    """What was found for one point.

    Attributes
    ----------
    paths : list of Path
        Shortest first.
    status : str
        ``"shortest found"``, ``"direct"``, ``"not found"``, ``"unreachable"`` or
        ``"same point"``.
    note : str
        Why nothing was found, where it is known.
    seeds, agreeing, minimizers : int
        See `subriem.geodesics.search.Found`.
    abnormal : AbnormalClaim
        Of strictly abnormal minimizers.
    bound : LowerBound
        Of the distance.
    """

    paths: list[Path]
    status: str
    note: str = ""
    seeds: int = 0
    agreeing: int = 0
    minimizers: int = 0
    abnormal: AbnormalClaim = _NOT_ASKED
    bound: LowerBound = _NO_BOUND

    @property
    def proved(self) -> bool:
        """Whether the shortest path found is as short as the lower bound, to 1e-9."""
        return bool(self.paths and self.length <= self.bound.value * (1 + 1e-9))

    @property
    def length(self) -> float:
        """Of the shortest path; NaN where none was found, infinite where there is none."""
        if self.paths:
            return self.paths[0].length
        return float("inf") if self.status == "unreachable" else float("nan")


def shortest_paths(
    structure: Structure,
    start: np.ndarray,
    lifts: Sequence[np.ndarray],
    *,
    every: bool = False,
    thorough: bool = False,
    seed: int = 0,
) -> list[Solutions]:
    """Shortest paths from a start to points.

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    lifts : sequence of ndarray, shape (number of lifts, n)
        See `subriem.geodesics.lifts.lifted_ends`.
    every : bool
        Keep longer geodesics too.
    thorough : bool
        Take more seeds, and the direct method's opinion sooner.
    seed : int

    Returns
    -------
    list of Solutions
    """
    solutions: list[Solutions | None] = [None] * len(lifts)
    box = BallBox(structure, start)
    searched = []
    for k, targets in enumerate(lifts):
        if (targets == start).all(axis=1).any():
            still = Path(0.0, "shooting", start, np.zeros(len(start)))
            solutions[k] = Solutions(
                [still], "same point", minimizers=1, bound=LowerBound(0.0, "the same point")
            )
            continue
        apart = None
        if not box.filled:
            apart = separating_integral(structure, start, targets[0])
        if apart is None:
            searched.append(k)
        else:
            note = f"first integral {apart[0]}: {apart[1]:.10g} at the start, {apart[2]:.10g} there"
            bound = LowerBound(float("inf"), f"the {note.split(':')[0]} differs")
            solutions[k] = Solutions([], "unreachable", note, bound=bound)
    # for each lift by itself
    bounds = {
        k: np.array([lower_bound(structure, row[None]).value for row in lifts[k] - start])
        for k in searched
    }
    found = find_geodesics(
        structure,
        box,
        start,
        [lifts[k] for k in searched],
        [bounds[k] for k in searched],
        every=every,
        thorough=thorough,
        seed=seed,
    )
    lengths = [float(geodesics.length.min()) for geodesics in found if len(geodesics.length)]
    missed = [
        lifts[k] for k, geodesics in zip(searched, found, strict=True) if not len(geodesics.length)
    ]
    lengths += [_REACH * float(box.measure(targets - start)[0].size.min()) for targets in missed]
    if not searched:
        return [solution for solution in solutions if solution is not None]
    search = AbnormalSearch(structure, box, start, max(lengths))
    for k, geodesics in zip(searched, found, strict=True):
        bound = lower_bound(structure, lifts[k] - start)
        done = _completed(structure, box, start, lifts[k], geodesics, thorough, seed, search, bound)
        solutions[k] = replace(done, abnormal=search.for_end(lifts[k][0]))
    return [solution for solution in solutions if solution is not None]


def _abnormal_path(search: AbnormalSearch, targets: np.ndarray, longest: float) -> Path | None:
    """The shortest way along an abnormal extremal, if one leads there."""
    met = search.meeting(targets, longest)
    if not met:
        return None
    end = met[0].at(np.array([met[0].end]))[0][0]
    target = targets[np.abs(targets - end).max(axis=1).argmin()]
    return Path(met[0].end, "abnormal", target, None, met[0])


def _strictly_abnormal(structure: Structure, start: np.ndarray, line: Path) -> bool:
    """Whether no normal extremal runs along an abnormal one."""
    arc = line.pieces
    assert isinstance(arc, AbnormalArc)
    times = line.length * (1 - np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)) / 2

    def control(time: float) -> np.ndarray:
        at = np.array([time])
        (frame,), (rate,) = structure.frame_at(arc.at(at)[0]), arc.velocity(at)
        return np.asarray(np.linalg.lstsq(frame, rate, rcond=None)[0])

    lifts = lift_variables(structure, start, arc.at(times)[0], control, times)
    return bool(lifts["strictly_abnormal"][1])


def _completed(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    targets: np.ndarray,
    found: Found,
    thorough: bool,
    seed: int,
    search: AbnormalSearch,
    bound: LowerBound,
) -> Solutions:
    """Shooting's geodesics, an abnormal extremal, the direct method's where these leave doubt."""
    paths = [
        Path(float(length), "shooting", targets[lift], covector, None, float(condition))
        for length, lift, covector, condition in zip(
            found.length, found.lift, found.covector, found.condition, strict=True
        )
    ]
    known = Solutions(
        paths,
        "shortest found" if paths else "not found",
        "",
        found.seeds,
        found.agreeing,
        found.minimizers if paths else 0,
        bound=bound,
    )
    if known.proved:
        return known
    longest = paths[0].length * (1 + _APPROACHED) if paths else np.inf
    line = _abnormal_path(search, targets, longest)
    if line is not None:
        if not paths or line.length < paths[0].length * (1 - 1e-9):
            return replace(
                known, paths=[line, *paths], status="shortest found", agreeing=0, minimizers=1
            )
        # one of about the same length is the same curve, which is normal as well; or what normal
        # geodesics whose covectors grow without bound come ever nearer to
        if _strictly_abnormal(structure, start, line):
            rest = [path for path in paths if path.length > line.length * (1 + _APPROACHED)]
            return replace(
                known, paths=[line, *rest], status="shortest found", agreeing=0, minimizers=1
            )
    least = _THOROUGH_SHARE * found.seeds if thorough else _SHARE * found.seeds / len(targets)
    if paths and found.agreeing >= least:
        return known
    guesses = [] if paths or not box.filled else _planned(structure, start, targets[0], seed)
    direct = _second_opinion(structure, start, targets, seed, guesses)
    if direct is None:
        note = (
            ""
            if box.filled
            else (
                f"the brackets span {box.orbit_dimension} of {structure.dimension} dimensions "
                f"({box.status}): the end may not be in the orbit"
            )
        )
        return replace(known, note=note)
    if paths and paths[0].length <= direct.length * (1 + 1e-7):
        return known
    status = "direct" if direct.method == "direct" else "shortest found"
    return Solutions([direct, *paths], status, "", found.seeds, 0, 1, bound=bound)


def _planned(
    structure: Structure, start: np.ndarray, end: np.ndarray, seed: int
) -> list[CubicHermiteSpline]:
    """The curve of a path to the end that need not be short, if motion planning finds one."""
    # here, as planning stands above the distance, which is above this
    from subriem.geodesics.planning import find_plan

    plan = find_plan(structure, start, end, seed)[0]
    return [] if plan is None else [plan.curve()]


def _second_opinion(
    structure: Structure,
    start: np.ndarray,
    targets: np.ndarray,
    seed: int,
    guesses: Sequence[CubicHermiteSpline],
) -> Path | None:
    found = collocate(structure, start, targets[:3], seed=seed, guesses=guesses)
    if found is None:
        return None
    target = found.nodes[-1]
    target = targets[np.abs(targets - target).max(axis=1).argmin()]
    stride = len(found.states) // _PIECES
    joined = join(structure, found.nodes[:-1:stride], found.covectors[:-1:stride], target)
    if joined is None:
        return Path(found.length, "direct", target, None, found)
    first = joined.covectors[0]
    length = float(np.sqrt(2 * structure.hamiltonian_at(start, first)))
    return Path(length, "multiple shooting", target, first, joined)


def constrained_path(
    structure: Structure,
    start: np.ndarray,
    targets: np.ndarray,
    inequalities: Callable[[ca.SX], ca.SX],
    seed: int = 0,
) -> Solutions:
    """The shortest path found that keeps expressions of the state from being negative.

    A shortest geodesic that keeps them anyway is the answer; else it is the direct method's.

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    targets : ndarray, shape (L, n)
    inequalities : callable
        The state to expressions.
    seed : int

    Returns
    -------
    Solutions
    """
    (free,) = shortest_paths(structure, start, [targets], thorough=True, seed=seed)
    if not free.paths:
        return free
    values = structure.function(inequalities(structure.state))
    times = np.linspace(0, 1, 1001)
    for k in range(free.minimizers):
        states = trace(structure, start, free.paths[k], times)[0]
        if np.asarray(values(states.T, structure.parameter_values)).min() >= 0:
            others = free.paths[:k] + free.paths[k + 1 :]
            return replace(free, paths=[free.paths[k], *others])
    found = collocate(structure, start, targets[:3], inequalities=inequalities, seed=seed)
    if found is None:
        found = collocate(
            structure,
            start,
            targets[:3],
            inequalities=inequalities,
            starts=0,
            guesses=_planned(structure, start, targets[0], seed),
        )
    if found is None:
        note = "no path that keeps clear was found"
        return Solutions([], "not found", note, free.seeds, bound=free.bound)
    target = targets[np.abs(targets - found.nodes[-1]).max(axis=1).argmin()]
    path = Path(found.length, "direct", target, None, found)
    return Solutions([path], "direct", "", free.seeds, bound=free.bound)


def trace(
    structure: Structure, start: np.ndarray, path: Path, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, covectors and controls of a path.

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    path : Path
    times : ndarray, shape (T,)
        In [0, 1], strictly increasing.

    Returns
    -------
    states, covectors : ndarray, shape (T, n)
        Covectors are NaN for the direct method.
    controls : ndarray, shape (T, m)
    """
    if isinstance(path.pieces, DirectPath):
        states, controls = path.pieces.at(times)
        return states, np.full_like(states, np.nan), controls
    if isinstance(path.pieces, AbnormalArc):
        states, covectors = path.pieces.at(path.length * times)
        frames = structure.frame_at(states)
        rates = path.pieces.velocity(path.length * times)
        solved = [np.linalg.lstsq(f, v, rcond=None)[0] for f, v in zip(frames, rates, strict=True)]
        return states, np.full_like(states, np.nan), path.length * np.array(solved)
    assert path.covector is not None
    if isinstance(path.pieces, JoinedGeodesic):
        states, covectors = path.pieces.at(structure, times)
    elif path.length == 0:
        states = np.repeat(start[None], len(times), axis=0)
        covectors = np.zeros_like(states)
    else:
        flow = flow_map(structure, start, path.covector, times, _RTOL, jacobian=False)
        states, covectors = flow.state[0], flow.covector[0]
    momenta = np.einsum("tnm,tn->tm", structure.frame_at(states), covectors)
    if structure.orthonormal:
        return states, covectors, momenta
    controls = np.linalg.solve(structure.metric_at(states), momenta[..., None])[..., 0]
    return states, covectors, controls
