"""Rivals: other geodesics to the end of a given one, and the first place where one is as short.

Along a family of geodesics c(z) (covectors for time 1) that are shortest for small z, the end of
c(z) at a large z is searched for other geodesics. What is found there is brought to a meeting of
equal lengths by Newton's method, and the search is repeated at that z, until nothing shorter is
found. Where Newton's method fails, the bracket is halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from subriem.geodesics.ball_box import BallBox
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.lifts import lifted_ends
from subriem.geodesics.meeting import Scales, meet
from subriem.geodesics.search import Found, find_geodesics
from subriem.structure import Structure

__all__ = ["EQUAL", "Contest", "Rivals", "first_meetings", "meeting_at_conjugate"]

_RTOL = 1e-14
#: Relative difference of lengths up to which they are equal.
EQUAL = 1e-9
_ROUNDS = 60
#: How many of the rivals are tried in Newton's method.
_TRIED = 3
#: Steps along the kernel at a conjugate point, relative to the covector.
_STEPS = (0.03, 0.1, 0.3, 1.0)


@dataclass
class Contest:
    """One family of geodesics while its first meeting is looked for.

    Attributes
    ----------
    base, slope : ndarray, shape (n,)
        c(z) = base + z slope, for time 1.
    low, high : float
        Shortest at ``low`` as far as found; not after ``high``, or nothing is asked after it.
    place : float
        z of the meeting, NaN where there is none up to ``high``.
    other : ndarray, shape (n,)
        The rival's covector for time 1 at the meeting; NaN where only a bracket is known.
    endpoint_error, error : float
        Difference of the ends in a coordinate; width to which the place is known.
    confirmed : bool
        Whether a search at the last place asked found a geodesic of this length and none shorter.
    conjugate : bool
        Whether the place is a conjugate point, without a rival.
    width : float
        Relative width at which the halving of a bracket ends.
    """

    base: np.ndarray
    slope: np.ndarray
    low: float
    high: float
    place: float = np.nan
    other: np.ndarray = field(default_factory=lambda: np.zeros(0))
    endpoint_error: float = np.nan
    error: float = np.nan
    confirmed: bool = False
    settled: bool = False
    conjugate: bool = False
    width: float = EQUAL

    def __post_init__(self) -> None:
        self.least, self.test, self.retried = self.low, self.high, False
        if not len(self.other):
            self.other = np.full_like(self.base, np.nan)

    def covector(self, place: float) -> np.ndarray:
        """c(z)."""
        return self.base + place * self.slope

    def meets(self, place: float, other: np.ndarray, endpoint_error: float, error: float) -> None:
        """A meeting is known: ask there next."""
        self.place = self.high = self.test = place
        self.other, self.endpoint_error, self.error = other, endpoint_error, error
        self.low = self.low if self.low < place else self.least
        self.retried = False

    def beaten(self) -> None:
        """A shorter path to the place asked is known, but no meeting: halve the bracket."""
        low = self.low if self.low < self.test else self.least
        unknown = np.full_like(self.base, np.nan)
        error, place = self.test - low, self.test
        self.meets(place, unknown, np.nan, error)
        self.test = (low + place) / 2
        self.settled = error <= self.width * place


class Rivals:
    """Searches from one start.

    Parameters
    ----------
    structure : Structure
    point : ndarray, shape (n,)
    seed : int
    """

    def __init__(self, structure: Structure, point: np.ndarray, seed: int) -> None:
        self.structure, self.point, self.seed = structure, point, seed
        self.box = BallBox(structure, point)

    def to_states(self, covectors: np.ndarray) -> np.ndarray:
        """Ends of geodesics, shape (B, n), for covectors for time 1."""
        if not len(covectors):
            return np.zeros((0, self.structure.dimension))
        flow = flow_map(self.structure, self.point, covectors, [1.0], _RTOL, jacobian=False)
        return np.asarray(flow.state[:, 0])

    def to_ends(
        self, covectors: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], list[Found | None]]:
        """Geodesics to the ends of others.

        Parameters
        ----------
        covectors : ndarray, shape (B, n)
            For time 1.

        Returns
        -------
        ends : ndarray, shape (B, n)
        targets : list of ndarray, shape (number of lifts, n)
            The ends up to periods.
        found : list of Found or None
            None where the end is the start.
        """
        point, ends = self.point, self.to_states(covectors)
        lifts = [lifted_ends(self.structure, point, end) for end in ends]
        size = 1 + np.abs(point).max()
        away = [np.abs(targets - point).max(axis=1).min() > EQUAL * size for targets in lifts]
        searched = [targets for targets, apart in zip(lifts, away, strict=True) if apart]
        unknown = [np.full(len(targets), np.nan) for targets in searched]
        found = iter(
            find_geodesics(self.structure, self.box, point, searched, unknown, seed=self.seed)
        )
        return ends, lifts, [next(found) if apart else None for apart in away]


def first_meetings(rivals: Rivals, scales: Scales, contests: Sequence[Contest]) -> None:
    """Settle contests, all together.

    Parameters
    ----------
    rivals : Rivals
    scales : Scales
        At the start.
    contests : sequence of Contest
        Those that are not settled are changed.
    """
    for _ in range(_ROUNDS):
        todo = [contest for contest in contests if not contest.settled]
        if not todo:
            return
        covectors = np.array([contest.covector(contest.test) for contest in todo])
        for contest, end, targets, found in zip(todo, *rivals.to_ends(covectors), strict=True):
            if found is None:
                # back at the start
                contest.beaten()
            else:
                _judge(rivals, scales, contest, end, targets, found)


def _judge(
    rivals: Rivals,
    scales: Scales,
    contest: Contest,
    end: np.ndarray,
    targets: np.ndarray,
    found: Found,
) -> None:
    """What the geodesics found to the end of c(test) say."""
    structure, point, place = rivals.structure, rivals.point, contest.test
    own = contest.covector(place)
    length = float(np.sqrt(2 * structure.hamiltonian_at(point, own)))
    others = [
        k
        for k in range(len(found.length))
        if found.length[k] <= length * (1 + EQUAL)
        and scales.distinct(own, found.covector[k], length)
    ]
    shorter = found.shortest < length * (1 - EQUAL)
    if not others and not shorter:
        contest.confirmed = found.shortest <= length * (1 + EQUAL)
        if not (contest.confirmed or contest.retried):
            # where the end is conjugate, solutions can be too degenerate to be found
            contest.retried = True
            contest.test = place - 1e-3 * (place - contest.least)
            return
        contest.settled = place == contest.high or contest.retried
        contest.low = place
        contest.test = (contest.low + contest.high) / 2
        return
    known = abs(contest.place - place) <= EQUAL * place
    best = None
    for k in others[:_TRIED]:
        shift = targets[found.lift[k]] - end
        family = (contest.base, contest.slope)
        met = meet(structure, point, scales, family, place, found.covector[k], shift)
        inside = met is not None and contest.least < met.place <= place * (1 + 1e-12)
        if inside and (best is None or met.place < best.place):  # type: ignore[union-attr]
            best = met
    if best is not None:
        same = abs(best.place - place) <= EQUAL * place
        # what is known, by a symmetry or from the round before, is as good
        if not (same and known):
            contest.meets(best.place, best.covector, best.endpoint_error, best.uncertainty)
        contest.settled = contest.confirmed = same and not shorter
    elif shorter:
        contest.beaten()
    else:
        if not known:
            k = others[0]
            flow = flow_map(structure, point, found.covector[k], [1.0], _RTOL, jacobian=False)
            apart = float(np.abs(flow.state[0, 0] - targets[found.lift[k]]).max())
            contest.meets(place, found.covector[k], apart, EQUAL * place)
        contest.settled = contest.confirmed = True


def meeting_at_conjugate(rivals: Rivals, scales: Scales, contest: Contest, place: float) -> bool:
    """Look for a meeting just before a conjugate point, where a search hardly tells lengths apart.

    The other geodesic then differs about in the direction of the kernel of dq/dp_0.

    Parameters
    ----------
    rivals : Rivals
    scales : Scales
        At the start.
    contest : Contest
        Changed, and open again, where a meeting is found.
    place : float
        Of the conjugate point.

    Returns
    -------
    bool
    """
    own = contest.covector(place)
    structure, point = rivals.structure, rivals.point
    length = float(np.sqrt(2 * structure.hamiltonian_at(point, own)))
    dual = np.linalg.solve(scales.frame.T, np.diag(length ** (2.0 - scales.weights)))
    flow = flow_map(structure, point, own, [1.0], _RTOL)
    rows = np.linalg.solve(scales.frame, flow.state_jacobian[0, 0])
    kernel = dual @ np.linalg.svd((rows / (length**scales.weights)[:, None]) @ dual)[2][-1]
    size = np.abs(np.linalg.solve(dual, own)).max()
    found = [
        meet(
            structure,
            point,
            scales,
            (contest.base, contest.slope),
            place,
            own + sign * step * size * kernel,
            np.zeros_like(own),
        )
        for step in _STEPS
        for sign in (1, -1)
    ]
    good = [
        met for met in found if met is not None and contest.least < met.place <= place * (1 + 1e-12)
    ]
    if not good:
        return False
    first = min(good, key=lambda met: met.place)
    contest.meets(first.place, first.covector, first.endpoint_error, first.uncertainty)
    contest.settled = False
    return True
