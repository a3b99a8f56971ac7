"""The shortest path between two points by all methods: shooting, then the direct method.

Shooting from many seeds comes first. Where it finds nothing, or so few seeds agree that the
shortest geodesic may have been missed, direct collocation gives a second opinion, and its path is
made a geodesic by multiple shooting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import casadi as ca
import numpy as np

from subriem.geodesics.abnormal_paths import AbnormalArc, abnormal_arcs
from subriem.geodesics.ball_box import BallBox
from subriem.geodesics.collocation import DirectPath, collocate
from subriem.geodesics.first_integrals import separating_integral
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.multiple_shooting import JoinedGeodesic, join
from subriem.geodesics.search import Found, find_geodesics
from subriem.structure import Structure

__all__ = ["Path", "Solutions", "constrained_path", "shortest_paths", "trace"]

#: Share of the seeds below which agreement on the shortest geodesic is not enough: of those for one
#: target, and of all of them where the search is to be thorough.
_SHARE, _THOROUGH_SHARE = 0.05, 0.25
_RTOL = 1e-14
# How many box sizes an abnormal extremal is followed where shooting found no length.
_REACH = 4.0


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
    """

    paths: list[Path]
    status: str
    note: str = ""
    seeds: int = 0
    agreeing: int = 0
    minimizers: int = 0

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
            solutions[k] = Solutions([still], "same point", minimizers=1)
            continue
        apart = None
        if not box.filled:
            apart = separating_integral(structure, start, targets[0])
        if apart is None:
            searched.append(k)
        else:
            note = f"first integral {apart[0]}: {apart[1]:.10g} at the start, {apart[2]:.10g} there"
            solutions[k] = Solutions([], "unreachable", note)
    found = find_geodesics(
        structure,
        box,
        start,
        [lifts[k] for k in searched],
        every=every,
        thorough=thorough,
        seed=seed,
    )
    lengths = [float(geodesics.length.min()) for geodesics in found if len(geodesics.length)]
    missed = [
        lifts[k] for k, geodesics in zip(searched, found, strict=True) if not len(geodesics.length)
    ]
    lengths += [_REACH * float(box.measure(targets - start)[0].size.min()) for targets in missed]
    arcs = abnormal_arcs(structure, start, max(lengths)) if lengths and box.filled else []
    for k, geodesics in zip(searched, found, strict=True):
        solutions[k] = _completed(structure, box, start, lifts[k], geodesics, thorough, seed, arcs)
    return [solution for solution in solutions if solution is not None]


def _abnormal_path(arcs: Sequence[AbnormalArc], targets: np.ndarray) -> Path | None:
    """The shortest way along an abnormal extremal, if one leads there."""
    met = [
        Path(time, "abnormal", target, None, arc)
        for arc in arcs
        for target in targets
        if (time := arc.meets(target)) is not None
    ]
    return min(met, key=lambda path: path.length, default=None)


def _completed(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    targets: np.ndarray,
    found: Found,
    thorough: bool,
    seed: int,
    arcs: Sequence[AbnormalArc],
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
    )
    line = _abnormal_path(arcs, targets)
    # one of the same length is the same curve, which is normal as well
    if line is not None and (not paths or line.length < paths[0].length * (1 - 1e-9)):
        return replace(
            known, paths=[line, *paths], status="shortest found", agreeing=0, minimizers=1
        )
    least = _THOROUGH_SHARE * found.seeds if thorough else _SHARE * found.seeds / len(targets)
    if paths and found.agreeing >= least:
        return known
    direct = _second_opinion(structure, start, targets, seed)
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
    return Solutions([direct, *paths], status, "", found.seeds, 0, 1)


def _second_opinion(
    structure: Structure, start: np.ndarray, targets: np.ndarray, seed: int
) -> Path | None:
    found = collocate(structure, start, targets[:3], seed=seed)
    if found is None:
        return None
    target = found.nodes[-1]
    target = targets[np.abs(targets - target).max(axis=1).argmin()]
    joined = join(structure, found.nodes[:-1:4], found.covectors[:-1:4], target)
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
        return Solutions([], "not found", "no path that keeps clear was found", free.seeds)
    target = targets[np.abs(targets - found.nodes[-1]).max(axis=1).argmin()]
    return Solutions([Path(found.length, "direct", target, None, found)], "direct", "", free.seeds)


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
