"""What the methods beside ours are given in `geodesics.py`, each as its users would write it.

Imports nothing of subriem: a peer's environment need not have it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

COUNT = 20_000
TOLERANCES = [10.0**-k for k in np.arange(7.5, 14.0, 0.5)]
Run = Callable[[], np.ndarray]
#: A method's settings, loosest first, and what makes a run of one (timed as its preparation).
Method = tuple[list[Any], Callable[[Any], Run]]


def covectors() -> np.ndarray:
    """Covectors of unit speed at the origin: p_x = cos a, p_theta = sin a, p_y in [-5, 5]."""
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, 2 * np.pi, COUNT)
    return np.stack([np.cos(angle), generator.uniform(-5, 5, COUNT), np.sin(angle)], axis=1)


def starts() -> np.ndarray:
    """The covectors as initial states (q, p)."""
    return np.concatenate([np.zeros((COUNT, 3)), covectors()], axis=1)


# ------------------------------------------------------------------ geodesics


def heyoka() -> Method:
    """Heyoka's batch integrator, one to four SIMD vectors a batch."""
    import heyoka as hy

    x, y, angle, px, py, turn = hy.make_vars("x", "y", "angle", "px", "py", "turn")
    c, s = hy.cos(angle), hy.sin(angle)
    drive = px * c + py * s
    equations = [(x, drive * c), (y, drive * s), (angle, turn)]
    equations += [(px, 0.0 * px), (py, 0.0 * py), (turn, -drive * (py * c - px * s))]
    initial = np.ascontiguousarray(starts().T)

    def make(setting: tuple[int, float]) -> Run:
        size, tolerance = setting
        method = hy.taylor_adaptive_batch(equations, np.zeros((6, size)), tol=tolerance)

        def run() -> np.ndarray:
            ends, state = np.empty_like(initial), method.state
            for first in range(0, COUNT, size):
                method.set_time(0.0)
                state[:] = initial[:, first : first + size]
                method.propagate_until(1.0)
                ends[:, first : first + size] = state
            return ends.T

        return run

    simd = hy.recommended_simd_size()
    sizes = [size for size in (simd, 2 * simd, 4 * simd) if COUNT % size == 0]
    return [(size, tolerance) for tolerance in TOLERANCES for size in sizes], make


def diffrax(solver: str) -> Method:
    """Diffrax under jit, mapped over all at once or over blocks of 200."""
    # one thread, also where XLA sees more
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    initial = jnp.asarray(starts())

    def rates(t: Any, state: Any, momentum: Any) -> Any:
        (_, _, angle, turn), (px, py) = state, momentum
        c, s = jnp.cos(angle), jnp.sin(angle)
        drive = px * c + py * s
        return jnp.stack([drive * c, drive * s, turn, -drive * (py * c - px * s)])

    def make(setting: tuple[int, float]) -> Run:
        block, tolerance = setting

        def one(start: Any) -> Any:
            state, momentum = start[jnp.array([0, 1, 2, 5])], (start[3], start[4])
            end = diffrax.diffeqsolve(
                diffrax.ODETerm(rates),
                getattr(diffrax, solver)(),
                *(0.0, 1.0, None, state),
                args=momentum,
                stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
                saveat=diffrax.SaveAt(t1=True),
                adjoint=diffrax.ForwardMode(),
                max_steps=100_000,
                throw=False,
            ).ys[0]
            return jnp.concatenate([end[:3], start[3:5], end[3:]])

        every = (lambda y: jax.lax.map(one, y, batch_size=block)) if block else jax.vmap(one)
        compiled = jax.jit(every).lower(initial).compile()
        return lambda: np.asarray(compiled(initial))

    return [(block, tolerance) for tolerance in TOLERANCES for block in (200, 0)], make


def scipy() -> Method:
    """SciPy's DOP853 on stacks of 500 geodesics."""
    from scipy.integrate import solve_ivp

    initial = starts()

    def rates(t: float, flat: np.ndarray) -> np.ndarray:
        _, _, angle, px, py, turn = state = flat.reshape(6, -1)
        c, s = np.cos(angle), np.sin(angle)
        drive = px * c + py * s
        out = np.zeros_like(state)
        out[0], out[1], out[2], out[5] = drive * c, drive * s, turn, -drive * (py * c - px * s)
        return out.ravel()

    def make(tolerance: float) -> Run:
        def run() -> np.ndarray:
            ends = []
            for first in range(0, COUNT, 500):
                start = initial[first : first + 500].T.ravel()
                found = solve_ivp(
                    rates, (0, 1), start, "DOP853", t_eval=[1.0], rtol=tolerance, atol=tolerance
                )
                ends.append(found.y[:, -1].reshape(6, -1).T)
            return np.concatenate(ends)

        return run

    return TOLERANCES, make


def geomstats() -> Method:
    """Geomstats' exponential map for a frame: symplectic Euler, a fixed number of steps."""
    os.environ["GEOMSTATS_BACKEND"] = "autograd"
    import geomstats.backend as gs
    from geomstats.geometry.euclidean import Euclidean
    from geomstats.geometry.sub_riemannian_metric import SubRiemannianMetric

    def frame(q: Any) -> Any:
        angle = q[..., 2]
        zero, one = gs.zeros_like(angle), gs.ones_like(angle)
        rows = [(gs.cos(angle), zero), (gs.sin(angle), zero), (zero, one)]
        return gs.stack([gs.stack(row, -1) for row in rows], -2)

    metric = SubRiemannianMetric(Euclidean(3, equip=False), frame=frame)
    initial = gs.array(starts())

    def make(steps: int) -> Run:
        def run() -> np.ndarray:
            state = gs.stack([initial[:, :3], initial[:, 3:]])
            ends = metric.symp_flow(metric.hamiltonian, 1.0, steps)(state)[-1]
            return np.concatenate(list(ends), axis=1)

        return run

    return [100], make


# ------------------------------------------------------------------ distances


def points(name: str, count: int) -> np.ndarray:
    """Ends in a box around the origin, of angles up to pi."""
    generator = np.random.default_rng(1)
    if name == "unicycle":
        return generator.uniform(-1, 1, (count, 3)) * [2, 2, np.pi]
    if name == "heisenberg":
        return generator.uniform(-2, 2, (count, 3))
    return generator.uniform(-0.8, 0.8, (count, 5))


def opti(intervals: int) -> dict[str, Any]:
    """Direct collocation on Gauss points of degree 4, the energy minimized, built once.

    Five guesses a point, each solved for itself: the straight line in coordinates; and to turn
    towards the point (or away from it), drive there (or back), and turn to the angle wanted or
    to the other one a period off.
    """
    import casadi as ca

    ends, degree = points("unicycle", 50), 4
    start = time.perf_counter()
    tau = ca.collocation_points(degree, "legendre")
    slopes, last, weights = ca.collocation_coeff(tau)
    problem, width = ca.Opti(), degree + 1
    state = problem.variable(3, intervals * width + 1)
    control, goal = problem.variable(2, intervals * degree), problem.parameter(3)
    problem.subject_to(state[:, 0] == 0)
    energy = 0
    for k in range(intervals):
        block, u = state[:, k * width : (k + 1) * width], control[:, k * degree : (k + 1) * degree]
        angle = block[2, 1:]
        velocity = ca.vertcat(u[0, :] * ca.cos(angle), u[0, :] * ca.sin(angle), u[1, :])
        problem.subject_to(ca.vec(block @ slopes) == ca.vec(velocity / intervals))
        problem.subject_to(state[:, (k + 1) * width] == block @ last)
        energy += ca.sum1(u**2) @ weights / intervals
    problem.subject_to(state[:, -1] == goal)
    problem.minimize(energy)
    quiet = {"print_level": 0, "sb": "yes", "tol": 1e-10, "max_iter": 500}
    problem.solver("ipopt", {"print_time": False, "expand": True}, quiet)
    prepared = time.perf_counter() - start
    inner = (np.arange(intervals)[:, None] + tau).ravel() / intervals
    grid = np.append((np.arange(intervals)[:, None] + [0, *tau]).ravel() / intervals, 1.0)

    def guess(end: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        if not side:
            return np.outer(end, grid), np.zeros((2, len(inner)))
        heading = np.arctan2(side * end[1], side * end[0])
        legs = [0, 0.25, 0.75, 1]
        along = np.interp(grid, legs, [0, 0, 1, 1])
        angle = np.interp(grid, legs, [0, heading, heading, end[2]])
        drive = np.where(abs(inner - 0.5) < 0.25, 2 * side * np.hypot(end[0], end[1]), 0.0)
        turn = np.select([inner < 0.25, inner > 0.75], [4 * heading, 4 * (end[2] - heading)], 0.0)
        return np.stack([along * end[0], along * end[1], angle]), np.stack([drive, turn])

    def solve(end: np.ndarray, side: int) -> float:
        states, controls = guess(end, side)
        problem.set_initial(state, states)
        problem.set_initial(control, controls)
        problem.set_value(goal, end)
        try:
            return float(np.sqrt(problem.solve().value(energy)))
        except RuntimeError:
            return float("nan")

    lengths, spent = [], []
    for end in ends:
        other = end - [0, 0, 2 * np.pi * np.sign(end[2])]
        for goal_angle, side in ((end, 0), (end, 1), (end, -1), (other, 1), (other, -1)):
            start = time.process_time()
            lengths.append(solve(goal_angle, side))
            spent.append(time.process_time() - start)
    return {
        "prepared": prepared,
        "seconds": np.reshape(spent, (-1, 5)).sum(axis=0).tolist(),
        "lengths": np.reshape(lengths, (-1, 5)).tolist(),
    }
