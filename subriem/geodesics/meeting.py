"""Two geodesics of one length that end in one point: the equations of a Maxwell point.

With covectors for time 1, c(z) of a given family of geodesics and c' of another one,

    Exp(c') - Exp(c(z)) = periods,   H(c') = H(c(z)),

n + 1 equations for c' and z. Where z is the time along one geodesic, c(z) = z p, a solution is its
Maxwell point; where c(z) moves over geodesics of one length, a cut point on the sphere. c' = c(z)
is always a solution, and not what is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subriem.brackets import lie_flag
from subriem.geodesics.flow_map import flow_map
from subriem.structure import Structure

__all__ = ["Meeting", "Scales", "meet"]

_RTOL = 1e-14
_ITERATIONS = 400
#: Residual in the units of `Scales` that counts as a solution.
_SOLVED = 1e-9
#: Differences of covectors, in the units of `Scales`, up to which geodesics count as the same.
_DISTINCT = 1e-4
_THIRD = 1e-6


@dataclass(frozen=True)
class Scales:
    """Units about a point: along brackets of weight w, displacements in d^w, covectors in d^{2-w}.

    Parameters
    ----------
    frame : ndarray, shape (n, n)
        Adapted to the flag.
    weights : ndarray of int, shape (n,)

    Examples
    --------
    >>> scales = Scales(np.eye(2), np.array([1, 2]))
    >>> scales.apart(np.array([2.0, 1.0]), np.array([2.0, 4.0]), 2.0)
    0.75
    """

    frame: np.ndarray
    weights: np.ndarray

    @classmethod
    def at(cls, structure: Structure, point: np.ndarray) -> Scales:
        """Those of a structure at a point where its brackets span the space."""
        flag = lie_flag(structure, point)
        return cls(flag.adapted_frame.values, flag.weight.values)

    def apart(self, one: np.ndarray, other: np.ndarray, length: float) -> float:
        """How much two covectors for time 1 differ, relative to the larger one.

        Parameters
        ----------
        one, other : ndarray, shape (n,)
        length : float

        Returns
        -------
        float
        """
        first, second = ((self.frame.T @ p) * length ** (self.weights - 2.0) for p in (one, other))
        size = max(np.abs(first).max(), np.abs(second).max())
        return float(np.abs(first - second).max() / size)

    def distinct(self, one: np.ndarray, other: np.ndarray, length: float) -> bool:
        """Whether two covectors for time 1 count as two geodesics."""
        return self.apart(one, other, length) > _DISTINCT


@dataclass(frozen=True)
class Meeting:
    """Two geodesics of one length that end in one point.

    Attributes
    ----------
    place : float
        z.
    covector : ndarray, shape (n,)
        c', for time 1.
    endpoint_error : float
        Largest difference of the two ends in a coordinate, up to periods.
    uncertainty : float
        The next step of z.
    """

    place: float
    covector: np.ndarray
    endpoint_error: float
    uncertainty: float


def meet(
    structure: Structure,
    start: np.ndarray,
    scales: Scales,
    family: tuple[np.ndarray, np.ndarray],
    place: float,
    covector: np.ndarray,
    shift: np.ndarray,
) -> Meeting | None:
    """Solve for a meeting by Levenberg-Marquardt.

    The damping is the square of the residual, with which convergence is quadratic also where the
    solutions c' form a continuous family (Yamashita, Fukushima, 2001).

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    scales : Scales
        At the start.
    family : tuple of ndarray, each of shape (n,)
        c(z) = family[0] + z family[1].
    place : float
        A guess of z.
    covector : ndarray, shape (n,)
        A guess of c'.
    shift : ndarray, shape (n,)
        Exp(c') - Exp(c): zero, or whole periods of angles.

    Returns
    -------
    Meeting or None
        None where the iteration does not converge, or to c' = c(z).

    Examples
    --------
    >>> from casadi import cos, sin
    >>> unicycle = Structure.define(
    ...     "unicycle", "x y theta", lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)]
    ... )
    >>> start, turn = np.zeros(3), np.array([0, 0, 1.0])
    >>> back, round_once = np.array([0, 0, -3.0]), np.array([0, 0, -2 * np.pi])
    >>> scales = Scales.at(unicycle, start)
    >>> found = meet(unicycle, start, scales, (0 * turn, turn), 3.0, back, round_once)
    >>> bool(abs(found.place - np.pi) < 1e-12)
    True
    """
    n = structure.dimension
    frame, metric = structure.frame_at(start), structure.metric_at(start)
    cometric = frame @ np.linalg.solve(metric, frame.T)
    guess = family[0] + place * family[1]
    energy = float(guess @ cometric @ guess)
    length = np.sqrt(energy)
    units = length**scales.weights
    # columns: c' in the dual frame, in its units; z relative to its size
    columns = np.zeros((n + 1, n + 1))
    columns[:n, :n] = np.linalg.solve(scales.frame.T, np.diag(length ** (2.0 - scales.weights)))
    columns[n, n] = max(abs(place), 1e-3)

    def look(unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
        other, z = unknown[:n], unknown[n]
        own = family[0] + z * family[1]
        flow = flow_map(structure, start, np.stack([own, other]), [1.0], _RTOL)
        apart = flow.state[1, 0] - flow.state[0, 0] - shift
        residual = np.append(
            np.linalg.solve(scales.frame, apart) / units,
            (other @ cometric @ other - own @ cometric @ own) / (2 * energy),
        )
        slopes = np.zeros((n + 1, n + 1))
        ends = np.column_stack([flow.state_jacobian[1, 0], -flow.state_jacobian[0, 0] @ family[1]])
        slopes[:n] = np.linalg.solve(scales.frame, ends) / units[:, None]
        slopes[n, :n] = cometric @ other / energy
        slopes[n, n] = -(own @ cometric @ family[1]) / energy
        # deflation: divided by the squared difference of c' and c(z), whose zeros are not wanted
        differ = np.linalg.solve(columns[:n, :n], other - own)
        size = max(float(np.linalg.norm(differ)), 1e-300)
        away = np.zeros(n + 1)
        away[:n] = differ / size
        away[n] = -columns[n, n] * away[:n] @ np.linalg.solve(columns[:n, :n], family[1])
        pushed = (slopes @ columns - 2 * np.outer(residual, away / size)) / size**2
        return residual / size**2, pushed, float(np.abs(apart).max()), size

    unknown = np.append(covector, place)
    residual, slopes, apart, size = look(unknown)
    error, raised = float(np.linalg.norm(residual)), 1.0
    for _ in range(_ITERATIONS):
        if not np.isfinite(error) or error < 1e-15 or raised > 1e12:
            break
        left, values, right = np.linalg.svd(slopes)
        along = (left.T @ residual) * values / (values**2 + raised * error**2 + 1e-300)
        step = right.T @ along
        step *= min(1.0, 0.5 * np.sqrt(n + 1) / max(np.linalg.norm(step), 1e-300))
        trial = unknown - columns @ step
        new, new_slopes, new_apart, new_size = look(trial)
        new_error = float(np.linalg.norm(new))
        if not new_error < error:
            if error * size**2 < 1e-12:
                break
            raised *= 3
            continue
        stalled = new_error > 0.5 * error and new_error * new_size**2 < 1e-12
        unknown, residual, slopes, apart, size = trial, new, new_slopes, new_apart, new_size
        error = new_error
        raised = max(1.0, raised / 2)
        if stalled:
            break
    own = family[0] + unknown[n] * family[1]
    differ = scales.apart(own, unknown[:n], length)
    # about a conjugate point the residual is of third order in the difference
    if not error * size**2 < min(_SOLVED, _THIRD * differ**3) or not differ > _DISTINCT:
        return None
    left, values, right = np.linalg.svd(slopes)
    along = (left.T @ residual) * values / (values**2 + error**2 + 1e-300)
    next_step = abs(float((columns @ (right.T @ along))[n]))
    return Meeting(float(unknown[n]), unknown[:n], apart, next_step)
