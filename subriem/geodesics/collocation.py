"""Shortest horizontal paths by direct collocation: a nonlinear program, solved by IPOPT.

The energy 1/2 int u' G u dt over [0, 1] is minimized over piecewise polynomials that satisfy
q' = F u at the Legendre-Gauss points of each interval; a minimizer has constant speed, hence
least length. Inequalities (obstacles, bounds, the chart) hold at the collocation points and the
ends of the intervals, which are halved where a solution breaks them in between. What the mesh
leaves of the endpoint error is removed by a change of the controls of least norm. Source:
L. Biegler, *Nonlinear Programming* (2010), chapter 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import casadi as ca
import numpy as np

from subriem.geodesics.endpoint_map import RungeKuttaSteps
from subriem.structure import Structure

__all__ = ["DirectPath", "collocate"]

_DEGREE = 4
#: Intervals of the mesh on which starts compete, and of those for the best of them.
_COARSE, _FINE = 16, (64, 128, 256)
#: Newton steps for the end, and the error that must be left, relative to the displacement.
_NEWTON, _EXACT = 6, 1e-9
#: Share of an inequality's range by which it may fail between the points of the mesh.
_VIOLATION = 1e-3
_OPTIONS: Any = {
    "ipopt.print_level": 0,
    "ipopt.sb": "yes",
    "print_time": False,
    "ipopt.max_iter": 400,
    "ipopt.tol": 1e-10,
    "ipopt.constr_viol_tol": 1e-12,
    "error_on_fail": False,
}
#: Besides, on finer meshes: the barrier does not drive away from a guess that is nearly solved.
_NEARLY: Any = {
    "ipopt.mu_init": 1e-3,
    "ipopt.slack_bound_push": 1e-5,
    "ipopt.slack_bound_frac": 1e-5,
}


@dataclass(frozen=True)
class DirectPath:
    """A path of the direct method on [0, 1].

    Attributes
    ----------
    nodes : ndarray, shape (N + 1, n)
        States at the ends of the N equal intervals.
    states : ndarray, shape (N, d, n)
        States at the Gauss points of each interval.
    controls : ndarray, shape (N, d, m)
    length : float
        Of the polynomial path, by Gauss quadrature.
    covectors : ndarray, shape (N + 1, n)
        Multipliers of the conditions that join the intervals: where no inequality is active, the
        covectors at the nodes.
    endpoint_error : float
        Distance in coordinates, at the end, from the solution of q' = F u for its controls; NaN
        where it was not integrated.
    starts, feasible : int
        How many initial guesses were tried, and how many led to a solution.
    """

    nodes: np.ndarray
    states: np.ndarray
    controls: np.ndarray
    length: float
    covectors: np.ndarray
    endpoint_error: float
    starts: int
    feasible: int

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States and controls at times in [0, 1].

        Parameters
        ----------
        times : ndarray, shape (T,)

        Returns
        -------
        states : ndarray, shape (T, n)
        controls : ndarray, shape (T, m)
        """
        count = len(self.states)
        interval = np.minimum((times * count).astype(int), count - 1)
        inside = times * count - interval
        points = _gauss_points()
        corners = np.concatenate([self.nodes[:-1, None], self.states], axis=1)
        along = _lagrange(np.concatenate([[0.0], points]), inside)
        within = _lagrange(points, inside)
        return (
            np.einsum("tk,tkn->tn", along, corners[interval]),
            np.einsum("tk,tkm->tm", within, self.controls[interval]),
        )


def collocate(
    structure: Structure,
    start: np.ndarray,
    ends: np.ndarray,
    *,
    inequalities: Callable[[ca.SX], ca.SX] | None = None,
    starts: int = 8,
    seed: int = 0,
    guesses: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
) -> DirectPath | None:
    """The shortest path that the direct method finds from several initial guesses.

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    ends : ndarray, shape (L, n)
        Targets that stand for one point (angles and what a period adds).
    inequalities : callable, optional
        The state to expressions that must not be negative, besides the margins of the chart.
    starts : int
        Straight guesses bent at random, for the first target; half as many for each other. The
        first guess is not bent.
    seed : int
        Of the random bends.
    guesses : sequence of callable
        Further guesses, which come first: times in [0, 1] to states, from the start to one of the
        ends.

    Returns
    -------
    DirectPath or None
        None where IPOPT solved the program from no guess.
    """
    coarse = _Program(structure, _COARSE, inequalities)
    generator = np.random.default_rng(seed)
    candidates: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]] = []
    tried = 0
    for k, end in enumerate(ends):
        count = starts if k == 0 else (starts + 1) // 2
        curves = [_bent(start, end, j, generator) for j in range(count)]
        for curve in [*(own for own in guesses if _leads_to(own, ends) == k), *curves]:
            tried += 1
            found = coarse.solve(start, end, coarse.guess(curve))
            if found is not None:
                candidates.append((*found, end))
    candidates.sort(key=lambda candidate: candidate[0])
    finer: list[_Program] = []
    for _, variables, multipliers, end in candidates[:3]:
        rough = coarse.path(variables, multipliers, tried, len(candidates))
        for k, count in enumerate(_FINE):
            if k == len(finer):
                finer.append(_Program(structure, count, inequalities, _NEARLY))
            found = finer[k].solve(start, end, finer[k].refined(rough))
            if found is None:
                break
            rough = finer[k].path(found[1], found[2], tried, len(candidates))
            path = _corrected(structure, rough, end)
            if finer[k].keeps_clear(path):
                return path
    return None


def _leads_to(curve: Callable[[np.ndarray], np.ndarray], ends: np.ndarray) -> int:
    """The end that is nearest to the curve's."""
    return int(np.abs(ends - curve(np.ones(1))).max(axis=1).argmin())


def _bent(
    start: np.ndarray, end: np.ndarray, number: int, rng: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
    """A straight line in coordinates, bent sideways at random unless it is the first."""
    size = np.linalg.norm(end - start) or 1.0
    bends = rng.standard_normal((2, len(start))) * size * (0.0 if number == 0 else 0.5)

    def curve(times: np.ndarray) -> np.ndarray:
        waves = np.sin(np.pi * np.outer(times, [1, 2]))
        return start + times[:, None] * (end - start) + waves @ bends

    return curve


def _corrected(structure: Structure, path: DirectPath, end: np.ndarray) -> DirectPath:
    """The path whose controls lead to the end, and whose states are where they lead.

    Newton's method, each step of least norm in L2; only the error is new where it does not get
    there.
    """
    count, degree, m = path.controls.shape
    start = path.nodes[0]
    n, points = len(start), _gauss_points()
    # steps end at the Gauss points and at the nodes
    cuts = np.diff(np.concatenate([[0.0], points, [1.0]]))
    through = RungeKuttaSteps(structure, np.tile(cuts, count) / count)
    local = through.times[: degree + 1] * count
    basis = _lagrange(points, local.ravel()).reshape(degree + 1, 12, degree)
    roots = np.sqrt(_gauss_weights() / count)[:, None]
    best, reached, least = path.controls, np.empty(0), np.inf
    trial, first = best, np.inf
    for number in range(_NEWTON + 1):
        stages = np.einsum("jsk,ikm->ijsm", basis, trial).reshape(-1, 12, m)
        states = through.states(start, stages)
        missed = states[-1] - end
        error = float(np.linalg.norm(missed))
        first = error if number == 0 else first
        if not error < least:
            break
        best, reached, least = trial, states, error
        by_state, by_control = through.slopes(states, stages)
        carried = np.eye(n)
        for k in reversed(range(len(by_state))):
            by_control[k] = np.einsum("ab,bsm->asm", carried, by_control[k])
            carried = carried @ by_state[k]
        driven = by_control.reshape(count, degree + 1, n, 12, m)
        derivative = np.einsum("ijnsm,jsk->nikm", driven, basis) / roots
        step = np.linalg.lstsq(derivative.reshape(n, -1), missed, rcond=1e-12)[0]
        trial = trial - step.reshape(trial.shape) / roots
    if not least <= _EXACT * np.abs(end - start).max():
        return replace(path, endpoint_error=first)
    by_interval = reached[1:].reshape(count, degree + 1, n)
    states = by_interval[:, :degree]
    return replace(
        path,
        nodes=np.concatenate([start[None], by_interval[:, degree]]),
        states=states,
        controls=best,
        length=_length(structure, states, best),
        endpoint_error=least,
    )


def _length(structure: Structure, states: np.ndarray, controls: np.ndarray) -> float:
    """By Gauss quadrature, of states and controls at the Gauss points."""
    count, degree, m = controls.shape
    metric = np.broadcast_to(
        structure.metric_at(states.reshape(count * degree, -1)), (count * degree, m, m)
    ).reshape(count, degree, m, m)
    speed = np.sqrt(np.einsum("kda,kdab,kdb->kd", controls, metric, controls))
    return float((speed @ _gauss_weights()).sum() / count)


class _Program:
    """The nonlinear program on a mesh, compiled once for all ends and guesses."""

    def __init__(
        self,
        structure: Structure,
        count: int,
        inequalities: Callable[[ca.SX], ca.SX] | None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.structure, self.count = structure, count
        n, m, d = structure.dimension, structure.rank, _DEGREE
        points = _gauss_points()
        corners = np.concatenate([[0.0], points])
        slopes = _lagrange_slopes(corners, points)
        at_end = _lagrange(corners, np.ones(1))[0]
        weights = _gauss_weights()
        q, u = structure.state, ca.SX.sym("u", m)
        signs = structure.margins
        if inequalities is not None:
            signs = ca.vertcat(signs, inequalities(q))
        self.signs = structure.function(signs)
        dynamics = ca.Function(
            "dynamics",
            [q, u, structure.parameter_symbols],
            [structure.frame @ u, 0.5 * (u.T @ structure.metric @ u), ca.densify(signs)],
            {"cse": True},
        )
        # one interval, then mapped over the mesh
        first, inner, control = ca.SX.sym("q0", n), ca.SX.sym("q", n, d), ca.SX.sym("u", m, d)
        values = structure.parameter_symbols
        stacked = ca.horzcat(first, inner)
        defects, held, cost = [], [], ca.SX(0)
        for j in range(d):
            velocity, energy, sign = dynamics(inner[:, j], control[:, j], values)
            defects.append(stacked @ slopes[j] - velocity / count)
            cost += weights[j] * energy / count
            held.append(sign)
        held.append(dynamics(first, control[:, 0], values)[2])
        interval = ca.Function(
            "interval",
            [first, inner, control, values],
            [ca.vertcat(*defects), stacked @ at_end, cost, ca.vertcat(*held)],
        )
        nodes, Q = ca.MX.sym("nodes", n, count + 1), ca.MX.sym("Q", n, d * count)
        U = ca.MX.sym("U", m, d * count)
        edge = ca.MX.sym("edge", n, 2)
        fixed = ca.DM(structure.parameter_values)
        equations, ends, energies, signed = interval.map(count)(
            nodes[:, :count], Q, U, ca.repmat(fixed, 1, count)
        )
        constraints = [
            nodes[:, 0] - edge[:, 0],
            nodes[:, count] - edge[:, 1],
            ca.vec(equations),
            ca.vec(nodes[:, 1:] - ends),
        ]
        equal = 2 * n + d * n * count + n * count
        constraints.append(ca.vec(signed))
        total = ca.vertcat(*constraints)
        problem: Any = {
            "x": ca.vertcat(ca.vec(nodes), ca.vec(Q), ca.vec(U)),
            "p": ca.vec(edge),
            "f": ca.sum2(energies),
            "g": total,
        }
        self.solver = ca.nlpsol("direct", "ipopt", problem, {**_OPTIONS, **(options or {})})
        self.upper = np.zeros(int(total.shape[0]))
        self.upper[equal:] = np.inf

    def solve(
        self, start: np.ndarray, end: np.ndarray, guess: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray] | None:
        """Energy, variables and covectors at the nodes."""
        found = self.solver(x0=guess, p=np.concatenate([start, end]), lbg=0.0, ubg=self.upper)
        violated = np.asarray(found["g"]).ravel()
        outside = np.maximum(-violated, np.where(self.upper == 0, violated, 0.0)).max()
        # against the displacement: staying at the start is no path to a point close by
        scale = np.abs(end - start).max()
        if not self.solver.stats()["success"] or not outside < 1e-7 * scale:
            return None
        n = self.structure.dimension
        multipliers = np.asarray(found["lam_g"]).ravel()
        joints = 2 * n + _DEGREE * n * self.count
        covectors = np.concatenate(
            [multipliers[:n], multipliers[joints : joints + n * self.count]]
        ).reshape(-1, n)
        return float(found["f"]), np.asarray(found["x"]).ravel(), covectors

    def keeps_clear(self, path: DirectPath) -> bool:
        """Whether the inequalities hold between the points of the mesh, where it is not jumped."""
        states = path.at(np.linspace(0, 1, 40 * self.count + 1))[0]
        values = np.asarray(self.signs(states.T, self.structure.parameter_values))
        if not values.size:
            return True
        return bool((values.min(axis=1) >= -_VIOLATION * np.ptp(values, axis=1)).all())

    def guess(self, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Variables for a curve, whose controls fit its velocity as well as they can."""
        gauss = self._gauss_times()
        states, nodes = curve(gauss), curve(np.linspace(0, 1, self.count + 1))
        step = 1e-4 / self.count
        velocity = (curve(gauss + step) - curve(gauss - step)) / (2 * step)
        frames = self.structure.frame_at(states)
        controls = np.einsum("bmn,bn->bm", np.linalg.pinv(frames), velocity)
        return np.concatenate([nodes.ravel(), states.ravel(), controls.ravel()])

    def refined(self, rough: DirectPath) -> np.ndarray:
        """Variables of a path on another mesh."""
        states, controls = rough.at(self._gauss_times())
        nodes = rough.at(np.linspace(0, 1, self.count + 1))[0]
        return np.concatenate([nodes.ravel(), states.ravel(), controls.ravel()])

    def path(
        self, variables: np.ndarray, covectors: np.ndarray, starts: int, solved: int
    ) -> DirectPath:
        """The path of a solution, its endpoint error left open."""
        n, m, count = self.structure.dimension, self.structure.rank, self.count
        edges = np.cumsum([n * (count + 1), n * _DEGREE * count])
        nodes, states, controls = np.split(variables, edges)
        states = states.reshape(count, _DEGREE, n)
        controls = controls.reshape(count, _DEGREE, m)
        length = _length(self.structure, states, controls)
        nodes = nodes.reshape(count + 1, n)
        return DirectPath(nodes, states, controls, length, covectors, np.nan, starts, solved)

    def _gauss_times(self) -> np.ndarray:
        return ((np.arange(self.count)[:, None] + _gauss_points()) / self.count).ravel()


def _gauss_points() -> np.ndarray:
    return (np.polynomial.legendre.leggauss(_DEGREE)[0] + 1) / 2


def _gauss_weights() -> np.ndarray:
    return np.polynomial.legendre.leggauss(_DEGREE)[1] / 2


def _lagrange(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of the Lagrange polynomials of some points, shape (len(at), len(points))."""
    values = np.ones((len(at), len(points)))
    for j, own in enumerate(points):
        for k, other in enumerate(points):
            if k != j:
                values[:, j] *= (at - other) / (own - other)
    return values


def _lagrange_slopes(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Their derivatives."""
    slopes = np.zeros((len(at), len(points)))
    for j in range(len(points)):
        roots = np.delete(points, j)
        basis = np.polynomial.Polynomial.fromroots(roots) / np.prod(points[j] - roots)
        slopes[:, j] = basis.deriv()(at)
    return slopes
