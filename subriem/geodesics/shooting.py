"""Shooting: covectors p with q(1; p) = target, for many targets and guesses at once.

Levenberg-Marquardt with the exact Jacobian of the exponential map, in the scales of a box: a
displacement along a bracket of length w counts in d^w, a covector on it in d^{2-w}, so that the
problem looks the same at every size. With the damping |residual|^2 near a solution convergence is
quadratic also where solutions come in continuous families (N. Yamashita, M. Fukushima, *On the
rate of convergence of the Levenberg-Marquardt method*, Computing Suppl. 15 (2001)), as those to a
point conjugate to the start do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subriem.geodesics.ball_box import BallBox, Boxes
from subriem.geodesics.flow_map import FlowMap, flow_map
from subriem.structure import Structure

__all__ = ["Shot", "polish", "shoot"]

#: Relative tolerance of the flow while solutions are looked for, and when they are polished.
_COARSE, _FINE = 1e-9, 1e-14
#: Scaled residuals at which a guess is handed over to the polish.
_NEAR = 1e-5
#: Until residuals are so small the flow need not be known better than to this tolerance, a share
#: of the residuals.
_ROUGHLY, _ROUGHEST, _SLACK = 1e-3, 1e-5, 0.03
#: Iterations after which, and factor of the longest length at which, a guess is given up.
_PATIENCE, _TOO_LONG = 5, 2.0
#: Smallest share of the largest scale that a component of the covector has in the damping.
_LEAST = 1e-6
#: Errors that are too large for a solution, whatever the flow can resolve.
_RESOLVED = 1e-6
#: Times at which two solutions are compared.
_COMPARED = np.array([0.23, 0.5, 0.77, 1.0])


@dataclass(frozen=True)
class Shot:
    """Polished solutions.

    Attributes
    ----------
    covector : ndarray, shape (B, n)
        For time 1.
    path : ndarray, shape (B, T, n)
        States at a few times up to 1.
    error : ndarray, shape (B,)
        Norm of q(1) - target in the box's scales; infinite where the flow failed.
    allowed : ndarray, shape (B,)
        The error that counts as none: 1e-10, and what the flow cannot resolve.
    condition : ndarray, shape (B,)
        Smallest over largest singular value of the scaled Jacobian at time 1.
    """

    covector: np.ndarray
    path: np.ndarray
    error: np.ndarray
    allowed: np.ndarray
    condition: np.ndarray


class _Scales:
    """Residuals of states and scaled covectors, in the scales of each target's box."""

    def __init__(self, box: BallBox, boxes: Boxes, targets: np.ndarray) -> None:
        self.box, self.boxes, self.targets = box, boxes, targets
        self.units = boxes.size[:, None] ** boxes.weights
        self.ends = box.coordinates(boxes, targets)
        dual = np.linalg.inv(boxes.frames).swapaxes(1, 2)
        self.columns = dual * (boxes.size[:, None] ** (2.0 - boxes.weights))[:, None, :]

    def take(self, kept: np.ndarray) -> _Scales:
        return _Scales(self.box, self.boxes.take(kept), self.targets[kept])

    def residual(self, states: np.ndarray) -> np.ndarray:
        return (self.box.coordinates(self.boxes, states) - self.ends) / self.units

    def jacobian(self, states: np.ndarray, matrices: np.ndarray) -> np.ndarray:
        rows = self.box.slopes(self.boxes, states) / self.units[..., None]
        return rows @ matrices @ self.columns

    def amplification(self, coordinates: np.ndarray) -> np.ndarray:
        """Scaled size of an error of the size of the coordinates."""
        rows = self.box.slopes(self.boxes, self.targets) / self.units[..., None]
        return np.linalg.norm(np.einsum("bij,bj->bi", np.abs(rows), coordinates), axis=1)

    def scaled(self, covectors: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.columns, covectors[..., None])[..., 0]

    def covector(self, scaled: np.ndarray) -> np.ndarray:
        return np.einsum("bij,bj->bi", self.columns, scaled)


def shoot(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    targets: np.ndarray,
    boxes: Boxes,
    guesses: np.ndarray,
    longest: np.ndarray | None = None,
    *,
    iterations: int = 30,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring guesses near solutions.

    Parameters
    ----------
    structure : Structure
    box : BallBox
        About the start.
    start : ndarray, shape (n,)
    targets : ndarray, shape (B, n)
    boxes : Boxes
        Of length B.
    guesses : ndarray, shape (B, n)
        Covectors for time 1.
    longest : ndarray, shape (B,), optional
        Lengths of interest: a guess that has become much longer is given up.
    iterations : int

    Returns
    -------
    covectors : ndarray, shape (k, n)
    rows : ndarray of int, shape (k,)
        The guesses that came near a solution.
    """
    scales = _Scales(box, boxes, targets)
    # tolerances are relative to the state, which may be large against the box
    share = scales.amplification(np.maximum(np.abs(start), np.abs(targets))).max(initial=1.0)
    fine = float(np.clip(_SLACK * _NEAR / share, _FINE, _COARSE))
    rough = float(np.clip(_SLACK * _ROUGHLY / share, fine, _ROUGHEST))
    p, cost = _march(structure, start, scales, guesses, rough, _ROUGHLY, longest, iterations)
    near = np.flatnonzero(cost <= _ROUGHLY**2)
    found, cost = _march(
        structure,
        start,
        scales.take(near),
        p[near],
        fine,
        _NEAR,
        None if longest is None else longest[near],
        iterations,
    )
    good = cost <= _NEAR**2
    return found[good], near[good]


def _march(
    structure: Structure,
    start: np.ndarray,
    scales: _Scales,
    guesses: np.ndarray,
    rtol: float,
    wanted: float,
    longest: np.ndarray | None,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt until the residuals are as wanted; covectors and squared residuals."""
    p = guesses.copy()
    if not len(p):
        return p, np.zeros(0)
    n = structure.dimension
    flow = _flow(structure, start, p, rtol)
    residual = scales.residual(flow.state[:, -1])
    cost = _cost(residual)
    jacobian = scales.jacobian(flow.state[:, -1], flow.state_jacobian[:, -1])
    damping = np.full(len(p), 1e-2)
    raised = np.full(len(p), 2.0)
    active = np.flatnonzero(np.isfinite(cost))
    for turn in range(iterations):
        active = active[(cost[active] > wanted**2) & (damping[active] < 1e8)]
        if longest is not None and turn >= _PATIENCE:
            # those that have grown out of all proportion lead to longer geodesics, if to any
            points = np.broadcast_to(start, p[active].shape)
            energy = structure.hamiltonian_at(points, p[active])
            active = active[2 * energy <= (_TOO_LONG * longest[active]) ** 2]
        if not len(active):
            break
        J, r, own = jacobian[active], residual[active], scales.take(active)
        normal = np.einsum("bji,bjk->bik", J, J)
        gradient = np.einsum("bji,bj->bi", J, r)
        # each component of the covector in its own scale (Marquardt)
        diagonal = np.einsum("bii->bi", normal)
        spread = damping[active, None] * np.maximum(
            diagonal, _LEAST * diagonal.max(axis=1, keepdims=True) + 1e-300
        )
        matrix = normal + spread[:, :, None] * np.eye(n)
        step = _solved(matrix, -gradient)
        # no further than the guess is large: covectors out of all proportion are slow to follow
        limit = 0.5 * (1 + np.abs(own.scaled(p[active])))
        step *= np.minimum(1, (limit / np.maximum(np.abs(step), 1e-300)).min(axis=1))[:, None]
        trial = p[active] + own.covector(step)
        flow = _flow(structure, start, trial, rtol)
        new = own.residual(flow.state[:, -1])
        new_cost = _cost(new)
        decrease = np.einsum("bij,bj->bi", normal, step) + 2 * gradient
        predicted = -np.einsum("bi,bi->b", step, decrease)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = (cost[active] - new_cost) / predicted
        better = new_cost < cost[active]
        rows = active[better]
        p[rows], residual[rows], cost[rows] = trial[better], new[better], new_cost[better]
        jacobian[rows] = own.take(better).jacobian(
            flow.state[better, -1], flow.state_jacobian[better, -1]
        )
        # Nielsen's rule for the damping
        damping[rows] *= np.maximum(0.1, 1 - (2 * gain[better] - 1) ** 3)
        raised[rows] = 2.0
        worse = active[~better]
        damping[worse] *= raised[worse]
        raised[worse] *= 2
    return p, cost


def _solved(matrices: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Solutions, with a step of zero where a matrix is singular or not finite."""
    size = np.sqrt(np.einsum("bii->bi", matrices))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = matrices / size[:, :, None] / size[:, None, :]
    sound = np.isfinite(scaled).all(axis=(1, 2))
    found = np.zeros_like(sides)
    # the diagonal is one: what is added is below the rounding of the step
    scaled = scaled[sound] + 1e-13 * np.eye(sides.shape[1])
    found[sound] = np.linalg.solve(scaled, (sides / size)[sound][..., None])[..., 0] / size[sound]
    return found


def polish(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    targets: np.ndarray,
    boxes: Boxes,
    covectors: np.ndarray,
    *,
    iterations: int = 30,
) -> Shot:
    """Bring solutions to the rounding of the flow.

    Parameters
    ----------
    structure : Structure
    box : BallBox
        About the start.
    start : ndarray, shape (n,)
    targets : ndarray, shape (B, n)
    boxes : Boxes
        Of length B.
    covectors : ndarray, shape (B, n)
        For time 1, near solutions.
    iterations : int

    Returns
    -------
    Shot
    """
    scales = _Scales(box, boxes, targets)
    p = covectors.copy()
    flow = _flow(structure, start, p, _FINE, _COMPARED)
    residual = scales.residual(flow.state[:, -1])
    error = np.sqrt(_cost(residual))
    jacobian = scales.jacobian(flow.state[:, -1], flow.state_jacobian[:, -1])
    path = flow.state.copy()
    coordinates = np.maximum(np.abs(start), np.abs(targets)) + np.abs(path).max(axis=1)
    unresolved = 10 * _FINE * scales.amplification(np.nan_to_num(coordinates))
    allowed = np.minimum(1e-10 + unresolved, _RESOLVED)
    active = np.flatnonzero(np.isfinite(error) & (error > 1e-15))
    raised = np.ones(len(p))
    for _ in range(iterations):
        if not len(active):
            break
        own = scales.take(active)
        left, values, right = np.linalg.svd(jacobian[active])
        damping = raised[active, None] * error[active, None] ** 2
        along = np.einsum("bji,bj->bi", left, residual[active])
        along *= values / (values**2 + damping + 1e-300)
        trial = p[active] - own.covector(np.einsum("bji,bj->bi", right, along))
        flow = _flow(structure, start, trial, _FINE, _COMPARED)
        new = own.residual(flow.state[:, -1])
        new_error = np.sqrt(_cost(new))
        better = new_error < error[active]
        rows = active[better]
        # below the tolerance, progress by less than half is rounding
        slow = new_error > 0.5 * error[active]
        done = slow & (error[active] < 1e-11)
        done[better] |= new_error[better] < 1e-14
        p[rows], residual[rows], error[rows] = trial[better], new[better], new_error[better]
        jacobian[rows] = own.take(better).jacobian(
            flow.state[better, -1], flow.state_jacobian[better, -1]
        )
        path[rows] = flow.state[better]
        raised[active] = np.where(better, np.maximum(1.0, raised[active] / 10), raised[active] * 10)
        active = active[~done]
    condition = np.zeros(len(p))
    sound = np.flatnonzero(np.isfinite(error))
    if len(sound):
        values = np.linalg.svd(jacobian[sound], compute_uv=False)
        condition[sound] = values[:, -1] / np.maximum(values[:, 0], 1e-300)
    return Shot(p, path, error, allowed, condition)


def _flow(
    structure: Structure,
    start: np.ndarray,
    covectors: np.ndarray,
    rtol: float,
    times: np.ndarray | None = None,
) -> FlowMap:
    return flow_map(structure, start, covectors, [1.0] if times is None else times, rtol)


def _cost(residual: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        cost = np.einsum("bi,bi->b", residual, residual)
    return np.where(np.isfinite(cost), cost, np.inf)
