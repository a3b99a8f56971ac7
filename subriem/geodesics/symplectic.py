"""Gauss collocation with a fixed step: a symplectic method, for geodesics over long times.

The collocation method at the s Gauss-Legendre points has order 2 s, is symplectic and symmetric,
and keeps first integrals that are quadratic in (q, p) (Hairer, Lubich, Wanner, *Geometric
Numerical Integration*, 2nd ed., 2006, II.1.3, IV.2.1, VI.4). H is not kept exactly, but its error
stays bounded over very long times. The stages are found by fixed-point iteration, and sums are
compensated, so that rounding grows no faster than at random.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.native_library import load_library
from subriem.arithmetic.program import Program
from subriem.arithmetic.recurrences import Recurrences
from subriem.arithmetic.taylor_method import Solutions
from subriem.arithmetic.taylor_source import taylor_source
from subriem.errors import InputError, MissingDependencyError
from subriem.geodesics.hamiltonian import hamilton_equations
from subriem.structure import Structure

__all__ = ["STAGES", "GaussCollocation", "collocation_method"]

#: Gauss points in a step; the order is twice that.
STAGES = 4
_ITERATIONS = 100


@cache
def _coefficients() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrix A and weights b of the method on [0, 1]; slopes of a step to a guess for the next."""
    legendre = np.polynomial.legendre
    nodes, weights = legendre.leggauss(STAGES)
    basis = legendre.legvander(nodes, STAGES - 1)
    integrals = np.column_stack(
        [legendre.legval(nodes, legendre.legint(row, lbnd=-1)) / 2 for row in np.eye(STAGES)]
    )
    ahead = legendre.legvander(nodes + 2, STAGES - 1)
    inverse = np.linalg.inv(basis)
    return integrals @ inverse, weights / 2, ahead @ inverse


def collocation_method(structure: Structure, engine: str | None = None) -> GaussCollocation:
    """The symplectic method for a structure's geodesics, made once.

    Parameters
    ----------
    structure : Structure
    engine : {"compiled", "batch"}, optional

    Returns
    -------
    GaussCollocation
    """
    return structure.cached(
        ("collocation method", engine), lambda: GaussCollocation(structure, engine)
    )


class GaussCollocation:
    """Geodesics of a structure by Gauss collocation of order 8 with a fixed step.

    Parameters
    ----------
    structure : Structure
    engine : {"compiled", "batch"}, optional
        C code, or CasADi's functions on all geodesics at once; by default the first where a C
        compiler is found.

    Raises
    ------
    InputError
        If the engine is not known or the structure has a drift.
    MissingDependencyError
        If compiled code is asked for and there is no C compiler.

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    >>> method = collocation_method(plane)
    >>> found = method.solve(np.zeros((1, 2)), np.array([[3.0, 4.0]]), np.array([1.0]), 0.25)
    >>> np.round(found.states, 12)
    array([[[3., 4., 3., 4.]]])
    """

    def __init__(self, structure: Structure, engine: str | None = None) -> None:
        if engine not in (None, "compiled", "batch"):
            raise InputError(f"engine: expected 'compiled' or 'batch', got {engine!r}")
        self.structure = structure
        equations = hamilton_equations(structure)
        arguments = equations.sx_in()[:2]
        parts = equations.call([*arguments, ca.SX.zeros(2 * structure.dimension)])[:2]
        self.function = ca.Function("geodesic_equations", arguments, parts, {"cse": True})
        recurrences = Recurrences(Program(self.function))
        groups = [range(2 * structure.dimension)]
        self._native: Any = None
        if engine != "batch":
            try:
                source = taylor_source(recurrences, groups, driver="gauss_driver.c")
                self._native = load_library(source).integrate
            except MissingDependencyError:
                if engine == "compiled":
                    raise
        self.engine = "compiled" if self._native else "batch"

    def solve(self, q: np.ndarray, p: np.ndarray, times: np.ndarray, step: float) -> Solutions:
        """Geodesics at given times.

        Parameters
        ----------
        q, p : ndarray, shape (B, n)
        times : ndarray, shape (T,)
            From 0 away, of one sign. A time between two steps is reached by a shorter step that
            the others do not see.
        step : float

        Returns
        -------
        Solutions
            Without rates. Events are looked for at the ends of the steps, so that a geodesic that
            leaves the chart and comes back within one step is not seen; their time is found by
            bisection. The status is ``"step too long"`` where the stages are not found.
        """
        initial = np.ascontiguousarray(np.concatenate([q, p], axis=1))
        backward = times[-1] < 0
        wanted = np.ascontiguousarray(np.abs(times))
        count = len(initial)
        found = Solutions(
            np.full((count, len(wanted), initial.shape[1]), np.nan),
            None,
            np.zeros(count, dtype=np.int32),
            np.full(count, -1, dtype=np.int32),
            np.full(count, np.nan),
            np.zeros(count, dtype=np.int64),
        )
        direction = -1.0 if backward else 1.0
        if self._native is None:
            self._solve_batch(initial, wanted, step, direction, found)
            return found
        matrix, weights, ahead = (np.ascontiguousarray(part) for part in _coefficients())
        fixed = self.structure.parameter_values
        arrays = [matrix, weights, ahead, initial, fixed, wanted, found.states]
        arrays += [found.status, found.event, found.event_time, found.steps]
        failed = self._native(
            *(ctypes.c_int64(count), ctypes.c_int64(len(wanted))),
            *(ctypes.c_double(step), ctypes.c_double(direction)),
            *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays),
        )
        if failed:
            raise MemoryError("no memory for the stages of a collocation method")
        return found

    # ------------------------------------------------------------------ without a compiler

    def _velocity(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Velocity and the least margin of the chart at states of shape (..., 2 n)."""
        flat = states.reshape(-1, states.shape[-1])
        values = np.repeat(self.structure.parameter_values[:, None], len(flat), axis=1)
        velocity, margins = (np.asarray(part).T for part in self.function(flat.T, values))
        least = margins.min(axis=1, initial=np.inf) if margins.size else np.full(len(flat), np.inf)
        return velocity.reshape(states.shape), least.reshape(states.shape[:-1])

    def _step(
        self, y: np.ndarray, h: np.ndarray | float, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Increment, slopes (stages, B, 2 n) and whether the stages were found."""
        matrix, weights, _ = _coefficients()
        length = np.reshape(h, (-1, 1))
        scale = np.abs(y).sum(axis=1)
        before = np.full(len(y), np.inf)
        for _ in range(_ITERATIONS):
            stages = y + length * np.einsum("sj,jbn->sbn", matrix, slopes)
            new, _ = self._velocity(stages)
            change = (np.abs(length) * np.abs(new - slopes)).sum(axis=(0, 2))
            slopes = new
            still = (change == 0) | ((change >= before) & (change <= 1e-13 * scale))
            before = change
            if (still | ~np.isfinite(change)).all():
                break
        return length * np.einsum("s,sbn->bn", weights, slopes), slopes, before <= 1e-12 * scale

    def _solve_batch(
        self,
        initial: np.ndarray,
        wanted: np.ndarray,
        length: float,
        direction: float,
        found: Solutions,
    ) -> None:
        _, _, ahead = _coefficients()
        lanes, y = np.arange(len(initial)), initial.copy()
        rest = np.zeros_like(y)
        slopes = np.repeat(self._velocity(y)[0][None], STAGES, axis=0)
        end, taken = wanted[-1], 0
        while len(lanes):
            t = taken * length
            due = np.flatnonzero((wanted >= t) & (wanted < t + length))
            for j in due:
                aside, _, _ = self._step(y, direction * (wanted[j] - t), slopes)
                found.states[lanes, j] = y + aside if wanted[j] > t else y
            found.steps[lanes] = taken
            if t >= end:
                return
            increment, new, converged = self._step(y, direction * length, slopes)
            reached = y + increment
            finite = np.isfinite(reached).all(axis=1)
            outside = finite & converged & (self._velocity(reached)[1] <= 0)
            moment = np.where(outside, t + self._leaving(y, length, direction, slopes), t)
            outside &= moment < end
            ended = ~finite | ~converged | outside
            status = np.where(outside, 1, np.where(finite, 5, 2))
            found.status[lanes[ended]] = status[ended]
            found.event_time[lanes[ended]] = moment[ended]
            found.event[lanes[outside]] = 0
            for j in due:
                found.states[lanes[ended & (wanted[j] >= moment)], j] = np.nan
            add = increment + rest
            total = y + add
            rest = add - (total - y)
            slopes = np.einsum("sj,jbn->sbn", ahead, new)
            y, rest, slopes = total[~ended], rest[~ended], slopes[:, ~ended]
            lanes = lanes[~ended]
            taken += 1

    def _leaving(
        self, y: np.ndarray, length: float, direction: float, slopes: np.ndarray
    ) -> np.ndarray:
        """Bisection of the step at whose end the chart is left."""
        low, high = np.zeros(len(y)), np.full(len(y), length)
        if not self.structure.margins.shape[0]:
            return high
        for _ in range(50):
            middle = low + (high - low) / 2
            increment, _, _ = self._step(y, direction * middle, slopes)
            out = self._velocity(y + increment)[1] <= 0
            high, low = np.where(out, middle, high), np.where(out, low, middle)
        return high
