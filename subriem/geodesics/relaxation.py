"""Guesses for shooting from paths that are pulled tight: controls of least energy, roughly.

Single shooting loses its way on long geodesics. Here a path with piecewise constant controls, drawn
at random, is led to the target by steps of least norm and shortened meanwhile, by the part of the
controls that the end does not need (projected gradients of the energy). At controls u of least
energy u = DE' lambda for the derivative DE of the end (Agrachev, Barilari, Boscain, *A
Comprehensive Introduction to Sub-Riemannian Geometry*, 2019, section 8.4: Lagrange multipliers),
and the multiplier, carried to the start, is the covector of a geodesic.
"""

from __future__ import annotations

import casadi as ca
import numpy as np

from subriem.structure import Structure

__all__ = ["relaxed_guesses"]

_PIECES = 24
_ITERATIONS = 30
#: Waves of the controls that are drawn.
_WAVES = 4
#: Distance from the target, in the units given, from which paths are pulled tight.
_CLOSE = 0.3
_FLOOR = 1e-3


def relaxed_guesses(
    structure: Structure,
    start: np.ndarray,
    targets: np.ndarray,
    units: np.ndarray,
    lengths: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Covectors at the start, near those of short geodesics to targets.

    Parameters
    ----------
    structure : Structure
    start : ndarray, shape (n,)
    targets : ndarray, shape (B, n)
    units : ndarray, shape (B, n, n)
        Rows that measure a difference from the target.
    lengths : ndarray, shape (B,)
        About how long the paths are to begin with.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray, shape (B, n)
        For time 1; NaN where a path left the chart.

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    >>> draw = np.random.default_rng(0)
    >>> goal = np.array([[3.0, 4.0]])
    >>> relaxed_guesses(plane, np.zeros(2), goal, np.eye(2)[None], np.ones(1), draw).round(4)
    array([[3., 4.]])
    """
    count, m = len(targets), structure.rank
    times = (np.arange(_PIECES) + 0.5) / _PIECES
    phase = np.pi * np.outer(np.arange(_WAVES), times)
    sizes = generator.standard_normal((count, m, _WAVES))
    controls = np.einsum("bmk,kt->btm", sizes, np.cos(phase))
    # at a constant speed: turns, not stops
    controls *= lengths[:, None, None] / np.linalg.norm(controls, axis=2, keepdims=True)
    path = _drive(structure, start, controls)
    radius, share = np.full(count, 1.0), np.full(count, 1.0)
    for _ in range(_ITERATIONS):
        end, slope, _ = path
        gap = np.einsum("bij,bj->bi", units, targets - end)
        away = np.linalg.norm(gap, axis=1)
        flat = controls.reshape(count, -1) / np.sqrt(_PIECES)
        length = np.linalg.norm(flat, axis=1)
        left, right, inverse = _factors(units @ slope)
        normal = np.einsum("bki,bk->bi", right, inverse * np.einsum("bik,bi->bk", left, gap))
        size = np.linalg.norm(normal, axis=1)
        normal *= np.minimum(1, radius * length / np.maximum(size, 1e-300))[:, None]
        along = np.einsum("bki,bi->bk", right, flat)
        surplus = flat - np.einsum("bki,bk->bi", right, along)
        # first to the target, then shorter
        pull = np.where(away < _CLOSE, share, 0.0)
        step = normal - pull[:, None] * surplus
        trial = controls + (np.sqrt(_PIECES) * step).reshape(controls.shape)
        new = _drive(structure, start, trial)
        gap = np.einsum("bij,bj->bi", units, targets - new[0])
        new_away = np.linalg.norm(gap, axis=1)
        new_length = np.linalg.norm(trial.reshape(count, -1), axis=1) / np.sqrt(_PIECES)
        # the exact penalty of the distance from the target
        weight = 2 * np.linalg.norm(inverse * along, axis=1)
        gain = (length**2 - new_length**2) / 2 + weight * (away - new_away)
        with np.errstate(invalid="ignore"):
            better = np.where(away < _CLOSE, gain > 0, new_away < away)
        controls[better] = trial[better]
        for old, fresh in zip(path, new, strict=True):
            old[better] = fresh[better]
        radius = np.where(better, np.minimum(1.0, 2 * radius), radius / 3)
        share = np.where(better, np.minimum(1.0, 1.5 * share), share / 3)
    flat = controls.reshape(count, -1) / np.sqrt(_PIECES)
    end, slope, carried = path
    left, right, inverse = _factors(units @ slope)
    multiplier = np.einsum("bik,bk->bi", left, inverse * np.einsum("bki,bi->bk", right, flat))
    return np.einsum("bji,bj->bi", units @ carried, multiplier)


def _factors(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular vectors, and the inverses of the singular values, damped."""
    left, values, right = np.linalg.svd(np.nan_to_num(matrices), full_matrices=False)
    inverse = values / (values**2 + (_FLOOR * values[:, :1]) ** 2 + 1e-300)
    return left, right, inverse


def _drive(
    structure: Structure, start: np.ndarray, controls: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends, their derivatives by the controls (in an orthonormal frame) and by the start."""
    count, pieces, m = controls.shape
    n = structure.dimension
    step = structure.cached("relaxation step", lambda: _step(structure))
    states = np.repeat(start[None], count, axis=0)
    parameters = np.repeat(structure.parameter_values[:, None], count, axis=1)
    carried, driven = [], []
    for k in range(pieces):
        after, by_state, by_control = step(states.T, controls[:, k].T, parameters)
        states = np.asarray(after).T
        carried.append(np.asarray(by_state).reshape(n, count, n).swapaxes(0, 1))
        driven.append(np.asarray(by_control).reshape(n, count, m).swapaxes(0, 1))
    slope = np.zeros((count, n, pieces, m))
    to_end = np.repeat(np.eye(n)[None], count, axis=0)
    for k in range(pieces - 1, -1, -1):
        slope[:, :, k] = to_end @ driven[k]
        to_end = to_end @ carried[k]
    # controls as functions: a piece counts by its length
    return states, slope.reshape(count, n, -1) * np.sqrt(pieces), to_end


def _step(structure: Structure) -> ca.Function:
    """A Runge-Kutta step over one piece, with its derivatives."""
    n, m = structure.dimension, structure.rank
    q, u, values = ca.SX.sym("q", n), ca.SX.sym("u", m), structure.parameter_symbols
    frame = ca.Function("frame", [structure.state, values], [structure.frame])
    metric = ca.Function("metric", [structure.state, values], [structure.metric])

    def velocity(at: ca.SX) -> ca.SX:
        if structure.orthonormal:
            return frame(at, values) @ u
        return frame(at, values) @ ca.solve(ca.chol(metric(at, values)), u)

    width = 1.0 / _PIECES
    k1 = velocity(q)
    k2 = velocity(q + width / 2 * k1)
    k3 = velocity(q + width / 2 * k2)
    k4 = velocity(q + width * k3)
    after = q + width / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    outputs = [after, ca.densify(ca.jacobian(after, q)), ca.densify(ca.jacobian(after, u))]
    return ca.Function("relaxation_step", [q, u, values], outputs, {"cse": True})
