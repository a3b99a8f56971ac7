"""Abnormal extremals as candidates for the shortest path.

A strictly abnormal minimizer has no covector that shooting could find (R. Montgomery, *Abnormal
minimizers*, SIAM J. Control Optim. 32 (1994); Liu, Sussmann, Memoirs AMS 564 (1995)). For two
fields, where the covectors that annihilate D^2 at the start are a line, the abnormal extremals
from it are two arcs, and whether they meet a point is seen by following them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from subriem.geodesics.abnormal import abnormal_arc, abnormal_covectors, abnormal_velocity
from subriem.structure import Structure

__all__ = ["AbnormalArc", "abnormal_arcs"]

_SAMPLES = 400
# How near an arc has to come, relative to its size: it is integrated to about 1e-11.
_MEETS = 1e-8


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
        return abnormal_velocity(self.structure, *self.at(times))

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


def abnormal_arcs(structure: Structure, start: np.ndarray, horizon: float) -> list[AbnormalArc]:
    """The abnormal extremals from a point, both ways, as far as they are known and no farther.

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    horizon : float

    Returns
    -------
    list of AbnormalArc
        None for other than two fields, and where the covectors that annihilate D^2 are not a
        line.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> there, back = abnormal_arcs(martinet, np.zeros(3), 2.0)
    >>> round(there.meets(np.array([0.0, 1.5, 0.0])) or back.meets(np.array([0.0, 1.5, 0.0])), 9)
    1.5
    """
    if structure.rank != 2 or structure.has_drift:
        return []
    basis = abnormal_covectors(structure, start)
    if basis.shape[1] != 1:
        return []
    arcs = []
    for sign in (1.0, -1.0):
        solution = abnormal_arc(structure, start, sign * basis[:, 0], horizon)
        if solution is not None:
            arcs.append(AbnormalArc(structure, solution.sol, float(solution.t[-1])))
    return arcs
