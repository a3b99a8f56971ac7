"""Motion planning for driftless structures: horizontal paths that join two points.

The structure is approximated about the end by its nilpotent approximation; that is steered
exactly, and its controls are applied to the structure itself, where they miss the end by a higher
order of the distance. Levenberg-Marquardt steps on the endpoint map remove the rest. Where the end
is too far for that, subgoals on the straight line to it take its place: halved where a steering
fails, doubled where one succeeds. Paths need not be short; `connect` looks for shortest ones.

Sources: Lafferriere, Sussmann, ICRA 1991, for steering by the nilpotent approximation; Chitour,
Jean, Long, *A global steering method for nonholonomic systems*, J. Differential Equations 254
(2013), and F. Jean, *Control of Nonholonomic Systems* (2014), chapter 3, for its continuation by
subgoals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import simpson
from scipy.interpolate import CubicHermiteSpline

from subriem.brackets.flag import lie_flag
from subriem.brackets.nilpotent import nilpotent_approximation
from subriem.brackets.privileged import privileged_coordinates
from subriem.errors import InputError, NumericalError
from subriem.geodesics.distance import read_inside
from subriem.geodesics.endpoint_map import EndpointMap, sinusoids
from subriem.geodesics.first_integrals import separating_integral
from subriem.geodesics.hamiltonian import hamiltonian
from subriem.geodesics.lifts import lifted_ends
from subriem.geodesics.steering import (
    Aim,
    Steered,
    nilpotent_controls,
    shortened,
    solve_controls,
)
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure

__all__ = ["Plan", "find_plan", "plan_motion"]

#: Least part of the way to the end that a subgoal is ahead, and steerings tried for one end.
_LEAST, _ATTEMPTS = 1 / 64, 48
#: Ends over the same point (angles and what periods add) that are tried.
_LIFTS = 3
#: Solutions of one nilpotent system that are tried.
_CANDIDATES = 4
#: Error at the end that counts as reached, relative to the way from start to end.
_REACHED = 1e-9
#: Points at which a piece is sampled for its length and for its curve.
_SAMPLES = 256


@dataclass(frozen=True)
class Piece:
    """Sinusoidal controls from one subgoal to the next.

    Attributes
    ----------
    start, end : ndarray, shape (n,)
        The end by an integration with adaptive steps.
    coefficients : ndarray, shape (m, modes)
        Of the controls on a time from 0 to 1.
    length : float
    left : float
        Of a distance 1, how much the controls of the nilpotent approximation had left before
        they were corrected, in the weights of privileged coordinates.
    steps : int
        Of the correction.
    """

    start: np.ndarray
    end: np.ndarray
    coefficients: np.ndarray
    length: float
    left: float
    steps: int


@dataclass(frozen=True)
class Plan:
    """A horizontal path on [0, 1] in pieces, each as long in time as in space.

    Attributes
    ----------
    endpoint : EndpointMap
        By which the pieces are integrated.
    pieces : tuple of Piece
    target : ndarray, shape (n,)
        Where the last one ought to end.
    """

    endpoint: EndpointMap
    pieces: tuple[Piece, ...]
    target: np.ndarray

    @property
    def endpoint_error(self) -> float:
        """Distance of the end from the target, in coordinates."""
        return float(np.linalg.norm(self.pieces[-1].end - self.target))

    @property
    def length(self) -> float:
        """Of the path."""
        return sum(piece.length for piece in self.pieces)

    @property
    def knots(self) -> np.ndarray:
        """Times at which the pieces begin, and 1."""
        lengths = np.array([piece.length for piece in self.pieces])
        return np.concatenate([[0.0], np.cumsum(lengths[:-1]) / lengths.sum(), [1.0]])

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States and controls at times in [0, 1].

        Parameters
        ----------
        times : ndarray, shape (T,)
            Increasing.

        Returns
        -------
        states : ndarray, shape (T, n)
        controls : ndarray, shape (T, m)
        """
        knots = self.knots
        owner = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(self.pieces) - 1)
        states = np.empty((len(times), len(self.target)))
        controls = np.empty((len(times), self.endpoint.structure.rank))
        for k, piece in enumerate(self.pieces):
            rows = np.flatnonzero(owner == k)
            if not len(rows):
                continue
            duration = knots[k + 1] - knots[k]
            own = np.clip((times[rows] - knots[k]) / duration, 0.0, 1.0)
            states[rows] = self.endpoint.integrate(piece.start, piece.coefficients, own)
            waves = sinusoids(own, self.endpoint.modes)
            controls[rows] = waves @ piece.coefficients.T / duration
        return states, controls

    def curve(self) -> CubicHermiteSpline:
        """The states as a function of times in [0, 1], interpolated: a start for collocation."""
        times = np.linspace(0.0, 1.0, _SAMPLES * len(self.pieces))
        states, controls = self.at(times)
        frames = self.endpoint.structure.frame_at(states)
        return CubicHermiteSpline(times, states, np.einsum("tnm,tm->tn", frames, controls))


def plan_motion(
    structure: Structure,
    start: Any,
    end: Any,
    *,
    times: int = 101,
    seed: int = 0,
    strict: bool = False,
) -> xr.Dataset:
    """A horizontal path between two points: motion planning by nilpotent approximations.

    Parameters
    ----------
    structure : Structure
        Without a drift, bracket-generating at the end; both ends may be singular points.
    start, end : point
        Of periodic coordinates the end is known up to periods; the nearest is tried first.
    times : int
        How many equal times in [0, 1] the path is given at.
    seed : int
        Of the draws of controls.
    strict : bool
        Raise where no path is found.

    Returns
    -------
    xarray.Dataset
        Over ``time`` and ``piece``:

        ``state``, ``control``
            Angles are not brought back to one period. Controls jump between pieces, and ``control``
            there is that of the later one.
        ``coefficient``
            c_ik of each piece: on its time from ``piece_start`` to ``piece_end`` the controls are
            u_i(t) = sum_k c_ik phi_k(s), where s goes from 0 to 1 and phi is 1, sqrt2 cos 2 pi s,
            sqrt2 sin 2 pi s, sqrt2 cos 4 pi s, ....
        ``nilpotent_residual``
            Of each piece: how far from its subgoal the controls of the nilpotent approximation led
            before they were corrected, relative to the distance at its beginning, in scaled
            privileged coordinates; NaN where they left the chart.
        ``length``
            Of the path, which need not be short; NaN where none was found.
        ``endpoint_error``
            Distance in coordinates from the end, of an integration at tolerance 1e-13.
        ``steps``
            Levenberg-Marquardt steps of all pieces.
        ``steerings``
            How many subgoals were aimed at, reached or not.

        Attributes: ``status`` (``"reached"``, ``"same point"``, ``"not found"``,
        ``"not bracket-generating"``, ``"unreachable"``) and ``note``, why nothing was found.

    Raises
    ------
    InputError
        If a point or an argument does not fit, a point lies outside the chart, or the structure has
        a drift.
    InputTypeError
        If the first argument is not a structure.
    NumericalError
        With ``strict``, where no path is found.

    Examples
    --------
    >>> from casadi import cos, sin
    >>> unicycle = Structure.define(
    ...     "unicycle", "x y theta", lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)]
    ... )
    >>> sideways = plan_motion(unicycle, [0, 1, 0], [0, 0, 0])
    >>> sideways.attrs["status"], bool(sideways.endpoint_error < 1e-10)
    ('reached', True)
    """
    require_structure(structure)
    hamiltonian(structure)
    origin, goal = (
        _one(structure, point, what) for point, what in ((start, "start"), (end, "end"))
    )
    if isinstance(times, bool) or not isinstance(times, int) or times < 2:
        raise InputError(f"times: expected an integer of at least 2, got {times!r}")
    wanted = np.linspace(0.0, 1.0, times)
    plan, status, note, steerings = find_plan(structure, origin, goal, seed)
    if strict and status not in ("reached", "same point"):
        raise NumericalError(
            f"{structure.name}: no path from {origin.tolist()} to {goal.tolist()} ({status}); "
            f"{note}"
        )
    n, m = structure.dimension, structure.rank
    pieces = () if plan is None else plan.pieces
    modes = EndpointMap.default_modes(structure)
    states, controls = np.full((times, n), np.nan), np.full((times, m), np.nan)
    length = error = math.nan
    knots = np.zeros(1)
    if status == "same point":
        states, controls = np.repeat(origin[None], times, axis=0), np.zeros((times, m))
        length = error = 0.0
    elif plan is not None:
        states, controls = plan.at(wanted)
        length, error, knots = plan.length, plan.endpoint_error, plan.knots
    durations = np.diff(knots)
    scaled = [piece.coefficients / own for piece, own in zip(pieces, durations, strict=True)]
    return build_dataset(
        {
            "state": (("time", "coordinate"), states, "point of the path", "1"),
            "control": (("time", "field"), controls, "control u: q' = F u", "1"),
            "coefficient": (
                ("piece", "field", "mode"),
                np.array(scaled).reshape(len(pieces), m, modes),
                "coefficient of the controls",
                "1",
            ),
            "piece_start": ("piece", knots[:-1], "time at which the piece begins", "1"),
            "piece_end": ("piece", knots[1:], "time at which the piece ends", "1"),
            "nilpotent_residual": (
                "piece",
                np.array([piece.left for piece in pieces]),
                "distance left by the nilpotent controls, relative",
                "1",
            ),
            "length": ((), length, "length of the path", "1"),
            "endpoint_error": ((), error, "distance from the end, in coordinates", "1"),
            "steps": ((), sum(p.steps for p in pieces), "Levenberg-Marquardt steps", "1"),
            "steerings": ((), steerings, "subgoals aimed at", "1"),
        },
        {
            "time": ("time", wanted, "time along the path", "1"),
            "coordinate": coordinate_axis(structure.coordinates),
            "field": ("field", np.array(structure.field_names), "vector field of the frame", "1"),
            "piece": ("piece", np.arange(len(pieces)), "piece of the path", "1"),
            "mode": ("mode", np.arange(modes), "sinusoid of the controls", "1"),
        },
        function="plan_motion",
        arguments={"start": start, "end": end, "times": times},
        structure=repr(structure),
        seed=seed,
        attributes={"status": status, "note": note},
    )


def find_plan(
    structure: Structure, start: np.ndarray, end: np.ndarray, seed: int = 0
) -> tuple[Plan | None, str, str, int]:
    """A plan, its status, a note and the number of steerings; see `plan_motion`.

    Parameters
    ----------
    structure : Structure
    start, end : ndarray, shape (n,)
    seed : int

    Returns
    -------
    plan : Plan or None
    status, note : str
    steerings : int
    """
    targets = lifted_ends(structure, start, end)
    if (targets == start).all(axis=1).any():
        return None, "same point", "", 0
    flag = lie_flag(structure, end)
    if not bool(flag["bracket_generating"]):
        apart = separating_integral(structure, start, end)
        if apart is not None:
            note = f"first integral {apart[0]}: {apart[1]:.10g} at the start, {apart[2]:.10g} there"
            return None, "unreachable", note, 0
        grown = flag["growth_vector"].values.tolist()
        note = f"the growth vector at the end is {grown} in dimension {structure.dimension}"
        return None, "not bracket-generating", note, 0
    endpoint = EndpointMap(structure, ends=np.stack([start, end]))
    generator = np.random.default_rng(seed)
    notes, tried = [], 0
    for target in targets[:_LIFTS]:
        plan, steerings, note = _continued(endpoint, start, target, generator)
        tried += steerings
        if plan is not None:
            return plan, "reached", "", tried
        notes.append(note)
    return None, "not found", "; ".join(dict.fromkeys(notes)), tried


def _one(structure: Structure, at: Any, what: str) -> np.ndarray:
    point = read_inside(structure, at, what)
    if point.ndim != 1:
        raise InputError(f"{what}: expected one point, got {len(point)}")
    return point


def _continued(
    endpoint: EndpointMap, start: np.ndarray, target: np.ndarray, generator: np.random.Generator
) -> tuple[Plan | None, int, str]:
    """Pieces from subgoal to subgoal."""
    pieces: list[Piece] = []
    state, done, ahead = start, 0.0, 1.0
    for attempt in range(1, _ATTEMPTS + 1):
        reach = min(1.0, done + ahead)
        subgoal = target if reach == 1.0 else start + reach * (target - start)
        piece = None
        if endpoint.structure.inside(subgoal):
            piece = _steered(endpoint, state, subgoal, generator, last=reach == 1.0)
        if piece is None:
            ahead /= 2
            if ahead < _LEAST:
                return None, attempt, f"steering stopped at {done:.3g} of the way to the end"
            continue
        pieces.append(piece)
        state = piece.end
        done, ahead = reach, 2 * ahead
        if done == 1.0:
            plan = Plan(endpoint, tuple(pieces), target)
            error = plan.endpoint_error
            if error <= _REACHED * np.linalg.norm(target - start):
                return plan, attempt, ""
            return None, attempt, f"the end was missed by {error:.3g}"
    return None, _ATTEMPTS, f"{_ATTEMPTS} steerings led to {done:.3g} of the way to the end"


def _steered(
    endpoint: EndpointMap,
    state: np.ndarray,
    subgoal: np.ndarray,
    generator: np.random.Generator,
    last: bool,
) -> Piece | None:
    """Controls from a state to a subgoal, or None."""
    structure = endpoint.structure
    try:
        about = privileged_coordinates(structure, subgoal)
        tangent = nilpotent_approximation(structure, subgoal)
    except (InputError, NumericalError):
        # no approximation here: a growth vector that could not be decided
        return None
    weights = np.array(about.weights)
    z = about.to_privileged(state)
    size = float((np.abs(z) ** (1.0 / weights)).max())
    if not 0 < size < np.inf:
        return None
    scales = size**weights
    aim = Aim(about.forward, scales)
    nilpotent = nilpotent_controls(EndpointMap(tangent, endpoint.modes), z / scales, generator)

    def arrived(steered: Steered) -> bool:
        states = steered.reached.states
        rounding = 1e-14 * np.abs(states).max(axis=0)
        near = (np.abs(steered.reached.end - subgoal) <= rounding).all()
        return steered.residual <= 1e-10 or bool(near)

    before = float(np.linalg.norm(z / scales))
    found: list[tuple[Steered, float]] = []
    for coefficients in nilpotent[:_CANDIDATES]:
        guess = size * coefficients
        steered = solve_controls(endpoint, state, aim, guess, done=arrived)
        if steered is not None:
            ends = endpoint.states(state, guess)
            missed = float(np.linalg.norm(aim.residual(ends[-1]))) / before
            found.append((steered, missed if endpoint.keeps_inside(ends) else math.nan))
    if not found:
        return None
    best, missed = min(found, key=lambda one: one[0].effort)
    best = shortened(endpoint, state, aim, best, done=arrived)
    coefficients = best.coefficients
    if last:
        coefficients = _polished(endpoint, state, aim, best)
    end = endpoint.integrate(state, coefficients)
    if not np.isfinite(end).all():
        return None
    length = _length(endpoint, state, coefficients)
    return Piece(state, end, coefficients, length, missed, best.steps)


def _polished(
    endpoint: EndpointMap, start: np.ndarray, aim: Aim, steered: Steered, rounds: int = 6
) -> np.ndarray:
    """Newton's method for the end that adaptive steps give, as long as it improves."""
    best, least = steered.coefficients, np.inf
    trial = best
    for _ in range(rounds):
        end = endpoint.integrate(start, trial)
        residual = aim.residual(end)
        if not np.linalg.norm(residual) < least:
            break
        best, least = trial, float(np.linalg.norm(residual))
        if least <= 1e-13:
            break
        derivative = aim.slope(end) @ endpoint.reach(start, trial).derivative
        step = np.linalg.lstsq(derivative, residual, rcond=1e-12)[0]
        trial = trial - step.reshape(trial.shape)
    return best


def _length(endpoint: EndpointMap, start: np.ndarray, coefficients: np.ndarray) -> float:
    """Integral of the speed, which has corners where the controls vanish."""
    structure = endpoint.structure
    times = np.linspace(0.0, 1.0, 16 * _SAMPLES + 1)
    controls = sinusoids(times, endpoint.modes) @ coefficients.T
    if structure.orthonormal:
        speeds = np.linalg.norm(controls, axis=1)
    else:
        metric = np.broadcast_to(
            structure.metric_at(endpoint.integrate(start, coefficients, times)),
            (len(times), structure.rank, structure.rank),
        )
        speeds = np.sqrt(np.einsum("tm,tmk,tk->t", controls, metric, controls))
    return float(simpson(speeds, x=times))
