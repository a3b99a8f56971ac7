"""Steering by Levenberg-Marquardt on the endpoint map, and exact steering of nilpotent systems.

In privileged coordinates about the aim a nilpotent approximation is homogeneous: a displacement of
size s is that of size 1 with the controls multiplied by s. So it is enough to steer points of size
1 to the origin. There the endpoint map of sinusoidal controls is a polynomial map; at controls
drawn at random it is a submersion for all but exceptional draws (Sontag's generic loops), and
Levenberg-Marquardt steps of least norm from several draws lead to the origin. What is found is
then shortened among the controls with the same end.

Sources: Lafferriere, Sussmann, *Motion planning for controllable systems without drift*, ICRA
1991, for steering the nilpotent approximation; Murray, Sastry, *IEEE Trans. Automat. Control* 38
(1993) 700, for sinusoids; Sontag, *Control of systems without drift via generic loops*, IEEE
Trans. Automat. Control 40 (1995) 1210, for the derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import casadi as ca
import numpy as np

from subriem.geodesics.endpoint_map import EndpointMap, Reached

__all__ = ["Aim", "Steered", "nilpotent_controls", "shortened", "solve_controls"]

#: Draws of controls for one nilpotent system, and how many solutions are enough.
_DRAWS, _ENOUGH = 18, 4
#: Smallest over largest singular value of the derivative below which controls are not shortened
#: on: shortest paths may be abnormal, and Newton's method does not like them.
_REGULAR = 1e-3
#: How often a guess that leaves the chart is halved.
_HALVINGS = 4


class Aim:
    """A point to steer to, with the coordinates in which the distance from it is measured.

    Parameters
    ----------
    forward : casadi.Function
        State to coordinates z about the point.
    scales : ndarray, shape (n,)
        What counts as 1 in each of the z.

    Examples
    --------
    >>> q = ca.SX.sym("q", 2)
    >>> aim = Aim(ca.Function("z", [q], [ca.vertcat(q[0], q[1] - q[0] ** 2)]), np.array([1, 0.1]))
    >>> aim.residual(np.array([1.0, 2.0]))
    array([ 1., 10.])
    >>> aim.slope(np.array([1.0, 2.0]))
    array([[  1.,   0.],
           [-20.,  10.]])
    """

    def __init__(self, forward: ca.Function, scales: np.ndarray) -> None:
        q = ca.SX.sym("q", len(scales))
        z = forward(q)
        self._scales = scales
        self._values = ca.Function("values", [q], [z])
        self._slope = ca.Function("slope", [q], [ca.densify(ca.jacobian(z, q))])

    def residual(self, state: np.ndarray) -> np.ndarray:
        """Scaled coordinates of a state, shape (n,)."""
        return np.asarray(self._values(state)).ravel() / self._scales

    def slope(self, state: np.ndarray) -> np.ndarray:
        """Their derivative, shape (n, n)."""
        return np.asarray(self._slope(state)) / self._scales[:, None]


@dataclass(frozen=True)
class Steered:
    """Controls found.

    Attributes
    ----------
    coefficients : ndarray, shape (m, modes)
    reached : Reached
        Where they lead.
    residual : float
        Norm of the scaled coordinates of the end about the aim.
    steps : int
        Of Levenberg-Marquardt.
    """

    coefficients: np.ndarray
    reached: Reached
    residual: float
    steps: int

    @property
    def effort(self) -> float:
        """|c|, the length of a path of constant speed in an orthonormal frame."""
        return float(np.linalg.norm(self.coefficients))


def solve_controls(
    endpoint: EndpointMap,
    start: np.ndarray,
    aim: Aim,
    guess: np.ndarray,
    *,
    done: Callable[[Steered], bool],
    most: int = 60,
) -> Steered | None:
    """Controls that lead to the aim, by Levenberg-Marquardt steps of least norm from a guess.

    Parameters
    ----------
    endpoint : EndpointMap
    start : ndarray, shape (n,)
    aim : Aim
    guess : ndarray, shape (m, modes)
        Halved until it stays in the chart.
    done : callable
        Whether what was found is good enough.
    most : int
        Steps.

    Returns
    -------
    Steered or None
        None where the steps lead nowhere.
    """
    now = _evaluated(endpoint, start, aim, guess, 0)
    for _ in range(_HALVINGS):
        if now is None:
            guess = guess / 2
            now = _evaluated(endpoint, start, aim, guess, 0)
    damping = 0.1
    while now is not None and not done(now):
        if now.steps >= most:
            return None
        left, sizes, right = _decomposed(aim, now)
        residual = aim.residual(now.reached.end)
        better = None
        # damping goes to zero with the residual: the last steps are Gauss-Newton's
        while better is None and damping < 1e6:
            shrunk = sizes / (sizes**2 + damping * now.residual)
            step = -(right.T * shrunk) @ (left.T @ residual)
            trial = _evaluated(
                endpoint, start, aim, now.coefficients + step.reshape(guess.shape), now.steps + 1
            )
            if trial is not None and trial.residual < now.residual:
                better = trial
            else:
                damping = 4 * damping + 1e-6
        if better is None or better.residual > (1 - 1e-4) * now.residual:
            return None
        damping *= 0.1 if better.residual < 0.5 * now.residual else 0.5
        now = better
    return now


def nilpotent_controls(
    endpoint: EndpointMap, start: np.ndarray, generator: np.random.Generator
) -> list[np.ndarray]:
    """Controls that steer a nilpotent system from a point of size about 1 to the origin.

    Parameters
    ----------
    endpoint : EndpointMap
        Of a nilpotent approximation.
    start : ndarray, shape (n,)
        In its coordinates.
    generator : numpy.random.Generator

    Returns
    -------
    list of ndarray, shape (m, modes)
        Shortest first; empty where no draw led to the origin.

    Examples
    --------
    >>> from subriem.structure import Structure
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> endpoint = EndpointMap(heisenberg)
    >>> start = np.array([0, 0, 1.0])
    >>> found = nilpotent_controls(endpoint, start, np.random.default_rng(0))
    >>> bool(np.abs(endpoint.integrate(start, found[0])).max() < 1e-10)
    True
    >>> bool(np.linalg.norm(found[0]) < 1.001 * 2 * np.pi**0.5)  # the length of a geodesic
    True
    """
    n, m = len(start), endpoint.structure.rank
    q = ca.SX.sym("z", n)
    aim = Aim(ca.Function("z", [q], [q]), np.ones(n))
    found: list[Steered] = []
    for number in range(_DRAWS):
        guess = generator.standard_normal((m, endpoint.modes))
        guess *= (1.0, 2.0, 4.0)[number % 3] / np.linalg.norm(guess)
        solved = solve_controls(endpoint, start, aim, guess, done=_exact)
        if solved is not None:
            found.append(solved)
        if len(found) == _ENOUGH:
            break
    shorter = [shortened(endpoint, start, aim, one, done=_exact) for one in found]
    candidates = sorted([*shorter, *found], key=lambda one: one.effort)
    chosen: list[Steered] = []
    for one in candidates:
        if all(_differ(one.coefficients, other.coefficients) for other in chosen):
            chosen.append(one)
    return [one.coefficients for one in chosen]


def shortened(
    endpoint: EndpointMap,
    start: np.ndarray,
    aim: Aim,
    steered: Steered,
    *,
    done: Callable[[Steered], bool],
    rounds: int = 30,
) -> Steered:
    """Shorter controls with the same end: descent of |c|^2, as long as the derivative is regular.

    Parameters
    ----------
    endpoint, start, aim, done
        As of `solve_controls`.
    steered : Steered
    rounds : int
        Steps at most.

    Returns
    -------
    Steered
    """
    share = 0.5
    for _ in range(rounds):
        _, sizes, right = _decomposed(aim, steered)
        if sizes[-1] < _REGULAR * sizes[0]:
            break
        own = steered.coefficients.ravel()
        free = own - right.T @ (right @ own)
        if np.linalg.norm(free) <= 1e-3 * steered.effort:
            break
        guess = (own - share * free).reshape(steered.coefficients.shape)
        trial = solve_controls(endpoint, start, aim, guess, done=done, most=8)
        if trial is not None and trial.effort < steered.effort:
            steered, share = trial, min(1.0, 1.5 * share)
        else:
            share *= 0.3
            if share < 1e-2:
                break
    return steered


def _exact(steered: Steered) -> bool:
    return steered.residual <= 1e-12 * max(1.0, steered.effort)


def _evaluated(
    endpoint: EndpointMap, start: np.ndarray, aim: Aim, coefficients: np.ndarray, steps: int
) -> Steered | None:
    """What controls do; None where they leave the chart."""
    reached = endpoint.reach(start, coefficients)
    if not (endpoint.keeps_inside(reached.states) and np.isfinite(reached.derivative).all()):
        return None
    residual = float(np.linalg.norm(aim.residual(reached.end)))
    return Steered(coefficients, reached, residual, steps) if np.isfinite(residual) else None


def _decomposed(aim: Aim, steered: Steered) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    derivative = aim.slope(steered.reached.end) @ steered.reached.derivative
    left, sizes, right = np.linalg.svd(derivative, full_matrices=False)
    return left, sizes, right


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.linalg.norm(one - other) > 1e-2 * np.linalg.norm(one))
