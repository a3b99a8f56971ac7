"""The endpoint map: where sinusoidal controls lead from a point, and its derivative.

On the time from 0 to 1 the controls are u_i(t) = sum_k c_ik phi_k(t) in the orthonormal basis
phi = 1, sqrt2 cos 2 pi t, sqrt2 sin 2 pi t, sqrt2 cos 4 pi t, ...; |c|^2 is twice the energy of
an orthonormal frame. States and their derivative by c come from the Runge-Kutta method of order 8
of Dormand and Prince with fixed steps, the derivative being that of the numerical solution;
`EndpointMap.integrate` is the same method with adaptive steps, for the answer that counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
from scipy.integrate import DOP853, solve_ivp

from subriem.structure import Structure

__all__ = ["EndpointMap", "Reached", "RungeKuttaSteps", "sinusoids"]

#: Relative tolerance of the adaptive steps; the absolute one is this of the states' size.
_RTOL = 1e-13
#: Share of the ends' distance from the edge of the chart that paths keep.
_CLEARANCE = 0.05


def sinusoids(times: np.ndarray, modes: int) -> np.ndarray:
    """The basis functions of the controls.

    Parameters
    ----------
    times : ndarray, shape (T,)
        In [0, 1].
    modes : int
        How many functions, an odd number.

    Returns
    -------
    ndarray, shape (T, modes)

    Examples
    --------
    >>> sinusoids(np.array([0.0, 0.25]), 3).round(6) + 0.0
    array([[1.      , 1.414214, 0.      ],
           [1.      , 0.      , 1.414214]])
    """
    phase = 2 * np.pi * np.outer(times, np.arange(1, (modes + 1) // 2))
    waves = np.sqrt(2) * np.stack([np.cos(phase), np.sin(phase)], axis=-1)
    return np.concatenate([np.ones((len(times), 1)), waves.reshape(len(times), -1)], axis=1)


@dataclass(frozen=True)
class Reached:
    """Where controls lead.

    Attributes
    ----------
    states : ndarray, shape (N + 1, n)
        At equal times from 0 to 1.
    derivative : ndarray, shape (n, m * modes)
        Of the end by the coefficients.
    """

    states: np.ndarray
    derivative: np.ndarray

    @property
    def end(self) -> np.ndarray:
        """The last state."""
        return np.asarray(self.states[-1])


class RungeKuttaSteps:
    """Steps of order 8 through q' = F u for controls given at the stages of each step.

    Parameters
    ----------
    structure : Structure
        Without a drift.
    durations : ndarray, shape (N,)
        Of the steps.

    Attributes
    ----------
    times : ndarray, shape (N, 12)
        Of the stages, the first step beginning at 0.

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(1,)])
    >>> steps = RungeKuttaSteps(line, np.array([0.25, 0.75]))
    >>> steps.states(np.array([2.0]), steps.times[:, :, None] ** 3).round(12)
    array([[2.        ],
           [2.00097656],
           [2.25      ]])
    """

    def __init__(self, structure: Structure, durations: np.ndarray) -> None:
        self._values = np.repeat(structure.parameter_values[:, None], len(durations), axis=1)
        self._durations = durations
        self.times = (np.cumsum(durations) - durations)[:, None] + durations[:, None] * DOP853.C
        values = structure.parameter_symbols
        frame = ca.Function("frame", [structure.state, values], [structure.frame])
        q, h = ca.SX.sym("q", structure.dimension), ca.SX.sym("h")
        u = ca.SX.sym("u", structure.rank, 12)
        stages: list[ca.SX] = []
        for k in range(12):
            at = q
            for weight, stage in zip(DOP853.A[k], stages, strict=False):
                if weight:
                    at = at + weight * h * stage
            stages.append(frame(at, values) @ u[:, k])
        moved = sum((weight * stage for weight, stage in zip(DOP853.B, stages, strict=True)), q * 0)
        after = q + h * moved
        inputs = [q, u, h, values]
        step = ca.Function("step", inputs, [after], {"cse": True})
        by_state, by_control = (ca.densify(ca.jacobian(after, one)) for one in (q, u))
        slopes = ca.Function("slopes", inputs, [by_state, by_control], {"cse": True})
        self._accumulated = step.mapaccum(len(durations))
        self._slopes = slopes.map(len(durations))

    def states(self, start: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """The start and the states after each step.

        Parameters
        ----------
        start : ndarray, shape (n,)
        controls : ndarray, shape (N, 12, m)
            At `times`.

        Returns
        -------
        ndarray, shape (N + 1, n)
        """
        found = self._accumulated(start, _columns(controls), self._durations, self._values)
        return np.concatenate([start[None], found.full().T])

    def slopes(self, states: np.ndarray, controls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of each step by the state that it begins at and by its controls.

        Parameters
        ----------
        states : ndarray, shape (N + 1, n)
        controls : ndarray, shape (N, 12, m)

        Returns
        -------
        by_state : ndarray, shape (N, n, n)
        by_control : ndarray, shape (N, n, 12, m)
        """
        count, _, m = controls.shape
        n = states.shape[1]
        by_state, by_control = self._slopes(
            states[:-1].T, _columns(controls), self._durations, self._values
        )
        return (
            by_state.full().reshape(n, count, n).swapaxes(0, 1),
            by_control.full().reshape(n, count, 12, m).swapaxes(0, 1),
        )


def _columns(controls: np.ndarray) -> np.ndarray:
    """Controls at all stages side by side, shape (m, 12 N)."""
    return controls.reshape(-1, controls.shape[2]).T


class EndpointMap:
    """Coefficients of sinusoidal controls to the end of the path that they drive.

    Parameters
    ----------
    structure : Structure
        Without a drift.
    modes : int, optional
        Basis functions for each control, an odd number. By default so many that there are at
        least two and a half coefficients for each dimension.
    ends : ndarray, shape (k, n), optional
        Points of which paths are to come no nearer to the edge of the chart than a twentieth.

    Attributes
    ----------
    modes : int

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> once_around = np.array([[0, 1, 0], [0, 0, 1]]) * np.sqrt(2) * np.pi
    >>> EndpointMap(heisenberg, modes=3).integrate(np.zeros(3), once_around).round(9) + 0.0
    array([0.        , 0.        , 3.14159265])
    """

    def __init__(
        self, structure: Structure, modes: int | None = None, ends: np.ndarray | None = None
    ) -> None:
        self.structure = structure
        self.modes = modes = self.default_modes(structure) if modes is None else modes
        self.steps = 16 + 6 * modes
        self._margins = structure.function(structure.margins)
        self._least = 0.0 if ends is None else _CLEARANCE * self.margins(ends).min(axis=0)
        self._frame = structure.function(structure.frame)
        self._through = RungeKuttaSteps(structure, np.full(self.steps, 1.0 / self.steps))
        self._basis = sinusoids(self._through.times.ravel(), modes).reshape(self.steps, 12, modes)

    @staticmethod
    def default_modes(structure: Structure) -> int:
        """The number of basis functions where none is given."""
        return max(5, int(np.ceil(2.5 * structure.dimension / structure.rank)) // 2 * 2 + 1)

    def margins(self, states: np.ndarray) -> np.ndarray:
        """What is positive inside the chart, shape (T, d)."""
        count = len(states)
        values = np.repeat(self.structure.parameter_values[:, None], count, axis=1)
        return np.asarray(self._margins(states.T, values).full().T.reshape(count, -1))

    def keeps_inside(self, states: np.ndarray) -> bool:
        """Whether states are finite and clear of the edge of the chart."""
        return bool(np.isfinite(states).all() and (self.margins(states) > self._least).all())

    def states(self, start: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """States at equal times from 0 to 1.

        Parameters
        ----------
        start : ndarray, shape (n,)
        coefficients : ndarray, shape (m, modes)

        Returns
        -------
        ndarray, shape (N + 1, n)
        """
        return self._through.states(start, self._controls(coefficients))

    def reach(self, start: np.ndarray, coefficients: np.ndarray) -> Reached:
        """States, and the derivative of the last.

        Parameters
        ----------
        start : ndarray, shape (n,)
        coefficients : ndarray, shape (m, modes)

        Returns
        -------
        Reached
        """
        controls = self._controls(coefficients)
        states = self._through.states(start, controls)
        by_state, by_control = self._through.slopes(states, controls)
        driven = np.einsum("snjm,sjk->snmk", by_control, self._basis)
        derivative = np.zeros((len(start), coefficients.size))
        for carried, added in zip(by_state, driven.reshape(*by_state.shape[:2], -1), strict=True):
            derivative = carried @ derivative + added
        return Reached(states, derivative)

    def integrate(
        self, start: np.ndarray, coefficients: np.ndarray, times: np.ndarray | None = None
    ) -> np.ndarray:
        """The end, or states at some times, with adaptive steps.

        Parameters
        ----------
        start : ndarray, shape (n,)
        coefficients : ndarray, shape (m, modes)
        times : ndarray, shape (T,), optional
            In [0, 1], increasing.

        Returns
        -------
        ndarray, shape (n,) or (T, n)
            NaN where the integration fails or leaves the chart.
        """
        values = self.structure.parameter_values

        def velocity(time: float, state: np.ndarray) -> np.ndarray:
            control = coefficients @ sinusoids(np.array([time]), self.modes)[0]
            return np.asarray(self._frame(state, values).full() @ control)

        def edge(_: float, state: np.ndarray) -> float:
            return float(self.margins(state[None]).min())

        edge.terminal = True  # type: ignore[attr-defined]
        size = max(np.abs(start).max(), np.linalg.norm(coefficients), np.finfo(float).tiny)
        asked = np.array([1.0]) if times is None else times
        found = solve_ivp(
            velocity,
            (0.0, 1.0),
            start,
            method="DOP853",
            rtol=_RTOL,
            atol=1e-2 * _RTOL * size,
            # steps not wider than the controls' shortest wave, which they might miss
            max_step=1.0 / self.modes,
            t_eval=asked,
            events=edge if self.structure.margins.shape[0] else None,
        )
        states = found.y.T if found.status == 0 else np.full((len(asked), len(start)), np.nan)
        return states[0] if times is None else states

    def _controls(self, coefficients: np.ndarray) -> np.ndarray:
        """At the stages, shape (N, 12, m)."""
        return np.einsum("sjk,mk->sjm", self._basis, coefficients)
