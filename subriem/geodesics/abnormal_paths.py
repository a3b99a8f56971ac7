"""Abnormal extremals as candidates for the shortest path, and where none has to be looked for.

A strictly abnormal minimizer has no covector that shooting could find (R. Montgomery, *Abnormal
minimizers*, SIAM J. Control Optim. 32 (1994); Liu, Sussmann, Memoirs AMS 564 (1995)), but one that
annihilates D^2 along it (Agrachev, Sarychev, Ann. Inst. H. Poincare 13 (1996)). Where D^2 is the
whole tangent space at an end of the path, no such minimizer exists. Where the annihilator of D^2 at
the start is a line, it has two arcs to follow; where it is larger, for two fields, a fan of them is
searched (`subriem.geodesics.abnormal_fan`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from subriem.brackets.flag import lie_flag
from subriem.brackets.growth import generic_rank
from subriem.geodesics.abnormal import abnormal_arc, abnormal_velocity
from subriem.geodesics.abnormal_fan import AbnormalFan
from subriem.geodesics.ball_box import BallBox
from subriem.geodesics.goh import AFFORDABLE, abnormal_covectors, characteristic_control
from subriem.structure import Structure

__all__ = ["AbnormalArc", "AbnormalClaim", "AbnormalSearch"]

_SAMPLES = 400
# How near an arc has to come, relative to its size: it is integrated to about 1e-11.
_MEETS = 1e-8
_TOLERANCE = 1e-11


@dataclass(frozen=True)
class AbnormalClaim:
    """What is known about strictly abnormal minimizers between two points.

    Attributes
    ----------
    verdict : str
        ``"excluded"`` by a theorem, ``"considered"`` or ``"not considered"``.
    text : str
        By which theorem, how, or why not.
    """

    verdict: str
    text: str


@dataclass(frozen=True)
class AbnormalArc:
    """An abnormal extremal of unit speed from a point.

    Attributes
    ----------
    structure : Structure
    solution : OdeSolution
        Time to state and covector.
    end : float
        How far it is known.
    """

    structure: Structure
    solution: Any
    end: float

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States and abnormal covectors, shape (T, n) each."""
        n = self.structure.dimension
        both = self.solution(times).T
        return both[:, :n], both[:, n:]

    def velocity(self, times: np.ndarray) -> np.ndarray:
        """Velocities, shape (T, n)."""
        velocity = abnormal_velocity(self.structure, *self.at(times))
        if self.structure.rank == 2:
            return velocity
        # the kernel gives them up to the sign, a difference quotient that
        step = 1e-6 * self.end
        later = self.at(np.minimum(times + step, self.end))[0]
        ahead = later - self.at(np.maximum(times - step, 0.0))[0]
        return velocity * np.sign((velocity * ahead).sum(axis=1))[:, None]

    def _closest(self, time: float, target: np.ndarray, units: np.ndarray) -> float:
        """Newton's method for the foot of the perpendicular from the target."""
        for _ in range(4):
            at = np.array([time])
            velocity = self.velocity(at)[0] / units
            ahead = (target - self.at(at)[0][0]) / units
            time = min(max(time + float(velocity @ ahead / (velocity @ velocity)), 0.0), self.end)
        return time

    def meets(self, target: np.ndarray) -> float | None:
        """The first time at which it passes through a point, or None.

        Parameters
        ----------
        target : ndarray, shape (n,)

        Returns
        -------
        float or None
        """
        times = np.linspace(0, self.end, _SAMPLES)
        states = self.at(times)[0]
        # each coordinate in the units of its own extent
        extent = np.abs(np.vstack([states, target]) - states[0]).max(axis=0)
        units = np.where(extent > 0, extent, 1.0)

        def distance(time: float) -> float:
            return float(np.linalg.norm((self.at(np.array([time]))[0][0] - target) / units))

        far = np.linalg.norm((states - target) / units, axis=1)
        for k in range(1, _SAMPLES):
            if far[k] > far[k - 1] or (k + 1 < _SAMPLES and far[k] > far[k + 1]):
                continue
            low, high = times[k - 1], times[min(k + 1, _SAMPLES - 1)]
            options = {"xatol": 1e-15 * self.end + 1e-300}
            found = minimize_scalar(distance, bounds=(low, high), method="bounded", options=options)
            for near in (float(found.x), float(times[k])):
                time = self._closest(near, target, units)
                if time > 0 and distance(time) <= _MEETS:
                    return time
        return None


class AbnormalSearch:
    """The abnormal extremals from a point that may be strictly abnormal minimizers.

    Parameters
    ----------
    structure : Structure
        Without drift.
    box : BallBox
        About the start: it knows the flag there.
    start : ndarray, shape (n,)
    horizon : float
        How far they are followed.

    Attributes
    ----------
    claim : AbnormalClaim
        For every end; `for_end` may know more of one.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> start = np.zeros(3)
    >>> search = AbnormalSearch(martinet, BallBox(martinet, start), start, 2.0)
    >>> [round(arc.end, 9) for arc in search.meeting(np.array([[0.0, 1.5, 0.0]]))]
    [1.5]
    >>> search.claim.verdict, search.for_end(np.array([0.5, 1.0, 0.0])).verdict
    ('considered', 'excluded')
    """

    def __init__(
        self, structure: Structure, box: BallBox, start: np.ndarray, horizon: float
    ) -> None:
        self.structure = structure
        self.arcs: list[AbnormalArc] = []
        self.fan: AbnormalFan | None = None
        self.claim = self._prepare(box, start, horizon)

    def __repr__(self) -> str:
        return f"AbnormalSearch of {self.structure.name}: {self.claim.text}"

    def _prepare(self, box: BallBox, start: np.ndarray, horizon: float) -> AbnormalClaim:
        structure = self.structure
        m, n = structure.rank, structure.dimension
        if box.step in (1, 2):
            return _excluded("start", box.filled)
        if not box.filled:
            return AbnormalClaim(
                "not considered",
                "abnormal extremals were not considered, as the brackets do not span the space",
            )
        if m < 2 or m * m * (m - 1) // 2 * n > AFFORDABLE:
            return AbnormalClaim(
                "not considered",
                f"abnormal extremals were not considered for {m} fields in dimension {n}",
            )
        basis = abnormal_covectors(structure, start)
        if not basis.shape[1]:
            return _excluded("start", True)
        if basis.shape[1] > 1:
            return self._fan(start, basis, horizon)
        control, kernel = characteristic_control(structure, start, basis[:, 0])
        if not kernel:
            return AbnormalClaim(
                "excluded",
                "no strictly abnormal minimizer exists: along it a covector would annihilate D^2, "
                "and at the start no control keeps the only one that does (Goh condition)",
            )
        if control is None:
            return AbnormalClaim(
                "not considered",
                "abnormal extremals were not considered: at the start the covector that "
                f"annihilates D^2 leaves {kernel} dimensions of controls free",
            )
        for sign in (1.0, -1.0):
            covector = sign * basis[:, 0] if m == 2 else basis[:, 0]
            solution = abnormal_arc(structure, start, covector, horizon, sign)
            if solution is not None:
                self.arcs.append(AbnormalArc(structure, solution.sol, float(solution.t[-1])))
        return AbnormalClaim(
            "considered",
            "the two abnormal extremals from the start were followed: the covectors that "
            "annihilate D^2 there are a line",
        )

    def _fan(self, start: np.ndarray, basis: np.ndarray, horizon: float) -> AbnormalClaim:
        count = basis.shape[1]
        if self.structure.rank != 2:
            return AbnormalClaim(
                "not considered",
                "abnormal extremals were not considered: the covectors that annihilate D^2 at the "
                f"start have {count} dimensions, for {self.structure.rank} fields",
            )
        self.fan = AbnormalFan(self.structure, start, basis, horizon)
        if not self.fan.rays:
            self.fan = None
            return AbnormalClaim(
                "not considered",
                "abnormal extremals were not considered: the characteristic direction vanishes "
                "for all covectors that annihilate D^2 at the start",
            )
        return AbnormalClaim(
            "considered",
            f"abnormal extremals were searched for from {self.fan.rays} of the covectors that "
            f"annihilate D^2 at the start, which have {count} dimensions; not those along which "
            "the characteristic direction vanishes",
        )

    def for_end(self, end: np.ndarray) -> AbnormalClaim:
        """The claim for paths to a point: D^2 may be the whole tangent space there.

        Parameters
        ----------
        end : ndarray, shape (n,)

        Returns
        -------
        AbnormalClaim
        """
        if self.claim.verdict == "excluded":
            return self.claim
        generic = generic_rank(self.structure, _TOLERANCE).growth
        if generic[min(1, len(generic) - 1)] < self.structure.dimension:
            return self.claim
        flag = lie_flag(self.structure, end)
        filled = bool(flag["bracket_generating"]) and int(flag["degree_of_nonholonomy"]) <= 2
        return _excluded("end", True) if filled else self.claim

    def meeting(self, targets: np.ndarray, longest: float = np.inf) -> list[AbnormalArc]:
        """The abnormal extremals that end at one of the points, shortest first.

        Parameters
        ----------
        targets : ndarray, shape (L, n)
        longest : float
            Longer ones are not looked for.

        Returns
        -------
        list of AbnormalArc
            Each ends at the point.
        """
        found = []
        for target in targets:
            for arc in self.arcs:
                time = arc.meets(target)
                if time is not None and time < longest:
                    found.append(AbnormalArc(self.structure, arc.solution, time))
            if self.fan is not None:
                solution = self.fan.reaching(target, longest)
                if solution is not None:
                    end = float(solution.t[-1])
                    found.append(AbnormalArc(self.structure, solution.sol, end))
        return sorted(found, key=lambda arc: arc.end)


def _excluded(where: str, filled: bool) -> AbnormalClaim:
    whole = "the whole tangent space" if filled else "tangent to all of the orbit"
    return AbnormalClaim(
        "excluded",
        f"no strictly abnormal minimizer exists: D^2 is {whole} at the {where}, by the ranks of "
        "the flag (Goh condition)",
    )
