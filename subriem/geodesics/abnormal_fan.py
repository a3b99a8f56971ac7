"""Abnormal extremals of two fields that reach a point, from all covectors that annihilate D^2.

Where these covectors have d > 1 dimensions at the start, the extremals through it form a family
over the sphere of dimension d - 1, and what they reach within some time has dimension d at most:
few points. A fan of them is followed coarsely, and where one passes near the point, Gauss-Newton
steps in the covector and the time decide whether another passes through it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import least_squares

from subriem.geodesics.abnormal import abnormal_arc
from subriem.geodesics.goh import characteristic_matrices, characteristic_motion
from subriem.structure import Structure

__all__ = ["AbnormalFan"]

#: Rays for two dimensions of covectors, and for more.
_RAYS, _MORE_RAYS = 96, 384
_STEPS = 120
#: How near a ray has to come for a closer look, relative to the extent of the fan.
_NEAR = 0.12
_LOOKS = 4
#: How near the arc has to come, relative to the same: it is integrated to about 1e-11.
_MEETS = 1e-8
#: Relative size of the characteristic direction below which a covector is left out.
_VANISHES = 1e-6


class AbnormalFan:
    """Abnormal extremals from a point, one a covector.

    Parameters
    ----------
    structure : Structure
        With two fields and without drift.
    start : ndarray, shape (n,)
    basis : ndarray, shape (n, d)
        Of the covectors that annihilate D^2 there.
    horizon : float
        Length to which they are followed.

    Attributes
    ----------
    rays : int
        How many are followed: not those whose characteristic direction vanishes.

    Examples
    --------
    >>> cartan = Structure.define(
    ...     "cartan", "a b c d e",
    ...     lambda q: [(1, 0, 0, 0, 0), (0, 1, q.a, q.a**2 / 2, q.a * q.b)],
    ... )
    >>> fan = AbnormalFan(cartan, np.zeros(5), np.eye(5)[:, 3:], 2.0)
    >>> line = fan.reaching(np.array([0.6, 0.8, 0.24, 0.048, 0.128]))
    >>> round(float(line.t[-1]), 9)
    1.0
    """

    def __init__(
        self, structure: Structure, start: np.ndarray, basis: np.ndarray, horizon: float
    ) -> None:
        self.structure, self.start, self.basis = structure, start, basis
        d = basis.shape[1]
        if d == 2:
            angles = 2 * np.pi * (np.arange(_RAYS) + 0.5) / _RAYS
            weights = np.column_stack([np.cos(angles), np.sin(angles)])
        else:
            weights = np.random.default_rng(0).standard_normal((_MORE_RAYS, d))
            weights /= np.linalg.norm(weights, axis=1)[:, None]
        self._units = self._balanced(weights)
        self._weights = weights
        self._times = np.linspace(0, horizon, _STEPS + 1)
        covectors = self._covectors(weights)
        self._states = self._followed(covectors)
        kept = np.isfinite(self._states[1]).all(axis=1)
        self._weights, self._states = weights[kept], self._states[:, kept]

    def __repr__(self) -> str:
        return f"AbnormalFan of {self.rays} extremals of {self.structure.name}"

    @property
    def rays(self) -> int:
        """How many extremals there are."""
        return len(self._weights)

    def _balanced(self, weights: np.ndarray) -> np.ndarray:
        """Factors of the basis for which its covectors turn the direction about equally."""
        d = self.basis.shape[1]
        starts = np.repeat(self.start[None], d, axis=0)
        sizes = np.linalg.norm(
            characteristic_matrices(self.structure, starts, self.basis.T)[:, 0], axis=1
        )
        return np.where(sizes > _VANISHES * sizes.max(), 1.0 / np.where(sizes > 0, sizes, 1.0), 1.0)

    def _covectors(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray((weights * self._units) @ self.basis.T)

    def _followed(self, covectors: np.ndarray) -> np.ndarray:
        """States at the coarse times by Runge-Kutta steps of order 4, NaN from where they end."""
        n = self.structure.dimension
        motion = characteristic_motion(self.structure)
        h = self._times[1]

        def field(y: np.ndarray) -> np.ndarray:
            moved, carried, _ = motion(y[:n], y[n:])
            return np.concatenate([np.asarray(moved), np.asarray(carried)])

        y = np.concatenate([np.repeat(self.start[:, None], len(covectors), axis=1), covectors.T])
        states = [y[:n].T]
        with np.errstate(all="ignore"):
            for _ in range(_STEPS):
                a = field(y)
                b = field(y + h / 2 * a)
                c = field(y + h / 2 * b)
                y = y + h / 6 * (a + 2 * b + 2 * c + field(y + h * c))
                good = np.isfinite(y).all(axis=0)
                good[good] = self.structure.inside(y[:n, good].T)
                y = np.where(good, y, np.nan)
                states.append(y[:n].T)
        return np.array(states)

    def reaching(self, target: np.ndarray, longest: float = np.inf) -> Any | None:
        """The shortest extremal found that ends at a point, with dense output.

        Parameters
        ----------
        target : ndarray, shape (n,)
        longest : float

        Returns
        -------
        scipy's solution of the initial-value problem, or None
        """
        steps = int(np.searchsorted(self._times, longest)) + 1
        states = self._states[:steps]
        extent = np.nanmax(np.abs(states - self.start), axis=(0, 1))
        extent = np.maximum(extent, np.abs(target - self.start))
        units = np.where(extent > 0, extent, 1.0)
        far = np.linalg.norm((states - target) / units, axis=2)
        far = np.where(np.isnan(far), np.inf, far)
        nearest = far.argmin(axis=0)
        best = far[nearest, np.arange(self.rays)]
        found: list[Any] = []
        for ray in np.argsort(best, kind="stable")[:_LOOKS]:
            time = float(self._times[nearest[ray]])
            if best[ray] > _NEAR or time == 0:
                break
            solution = self._closer(self._weights[ray], time, target, units)
            if solution is not None and solution.t[-1] < longest:
                found.append(solution)
        return min(found, key=lambda solution: float(solution.t[-1]), default=None)

    def _closer(
        self, weights: np.ndarray, time: float, target: np.ndarray, units: np.ndarray
    ) -> Any | None:
        n = self.structure.dimension
        # directions on the sphere at the weights, and the logarithm of time
        tangent = np.linalg.svd(weights[None])[2][1:].T

        def arc(unknown: np.ndarray) -> Any | None:
            turned = weights + tangent @ unknown[:-1]
            covector = self._covectors((turned / np.linalg.norm(turned))[None])[0]
            return abnormal_arc(
                self.structure, self.start, covector, time * float(np.exp(unknown[-1]))
            )

        def gap(unknown: np.ndarray) -> np.ndarray:
            solution = arc(unknown)
            if solution is None or solution.status != 0:
                return np.full(n, 10.0)
            return np.asarray((solution.y[:n, -1] - target) / units)

        guess = np.zeros(len(weights))
        bounds = (np.full(len(guess), -1.0), np.full(len(guess), 1.0))
        solved = least_squares(
            gap, guess, bounds=bounds, x_scale=0.1, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=30
        )
        if np.linalg.norm(solved.fun) > _MEETS:
            return None
        return arc(solved.x)
