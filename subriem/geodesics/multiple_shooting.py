"""Multiple shooting: a geodesic that single shooting cannot hold, joined from pieces.

Along a long geodesic the end depends so strongly on the initial covector that its digits do not
suffice. Here states and covectors at several nodes are unknown and the flow of each piece must
meet the next node; Newton's method solves for all of them at once. Source: J. Stoer, R. Bulirsch,
*Introduction to Numerical Analysis*, section 7.3.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subriem.geodesics.flow_map import extremals, flow_map, taylor_method
from subriem.structure import Structure

__all__ = ["JoinedGeodesic", "join"]

_RTOL = 1e-14
_NEWTON = 12


@dataclass(frozen=True)
class JoinedGeodesic:
    """A normal geodesic on [0, 1] in pieces of equal time.

    Attributes
    ----------
    states, covectors : ndarray, shape (K, n)
        Where the pieces start.
    gap : float
        Largest difference of states where pieces meet, and at the end, in coordinates.
    covector_gap : float
        The same for covectors, relative to the largest.
    """

    states: np.ndarray
    covectors: np.ndarray
    gap: float
    covector_gap: float

    def at(self, structure: Structure, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States and covectors at times in [0, 1], each of shape (T, n)."""
        count = len(self.states)
        piece = np.minimum((times * count).astype(int), count - 1)
        states = np.empty((len(times), structure.dimension))
        covectors = np.empty_like(states)
        for k in np.unique(piece):
            own = np.flatnonzero(piece == k)
            flow = flow_map(
                structure,
                self.states[k],
                self.covectors[k],
                times[own] - k / count,
                _RTOL,
                jacobian=False,
            )
            states[own], covectors[own] = flow.state[0], flow.covector[0]
        return states, covectors


def join(
    structure: Structure, states: np.ndarray, covectors: np.ndarray, end: np.ndarray
) -> JoinedGeodesic | None:
    """Solve for the nodes of a geodesic.

    Parameters
    ----------
    structure : Structure
    states, covectors : ndarray, shape (K, n)
        Guesses at the times 0, 1/K, ...; the first state is kept.
    end : ndarray, shape (n,)

    Returns
    -------
    JoinedGeodesic or None
        None where Newton's method does not get the gaps below 1e-10 of the displacement.
    """
    count, n = states.shape
    scale = float(np.abs(end - states[0]).max())
    best = None
    nodes = np.concatenate([states, covectors], axis=1)
    for _ in range(_NEWTON):
        ends, matrices = _pieces(structure, nodes, 1 / count)
        if not np.isfinite(ends).all():
            break
        goals = np.concatenate([nodes[1:], np.concatenate([end, ends[-1, n:]])[None]])
        defect = ends - goals
        gap = float(np.abs(defect[:, :n]).max())
        steep = float(np.abs(defect[:, n:]).max() / max(np.abs(nodes[:, n:]).max(), 1e-300))
        if best is None or gap / scale + steep < best.gap / scale + best.covector_gap:
            best = JoinedGeodesic(nodes[:, :n].copy(), nodes[:, n:].copy(), gap, steep)
        elif best.gap < 1e-9 * scale:
            break
        nodes = nodes + _newton_step(matrices, defect)
    if best is None or best.gap > 1e-10 * scale or best.covector_gap > 1e-8:
        return None
    return best


def _newton_step(matrices: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """Of all nodes but for the first state; at the end only the state counts."""
    count, size = defect.shape
    n = size // 2
    whole = np.zeros((size * count, size * count))
    for k in range(count):
        rows = slice(size * k, size * (k + 1))
        whole[rows, rows] = matrices[k]
        if k + 1 < count:
            whole[rows, size * (k + 1) : size * (k + 2)] = -np.eye(size)
    # least squares, as along abnormal extremals the matrix is singular
    solution = np.linalg.lstsq(whole[:-n, n:], -defect.ravel()[:-n], rcond=1e-13)[0]
    return np.concatenate([np.zeros(n), solution]).reshape(count, size)


def _pieces(structure: Structure, nodes: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the pieces and their derivatives by (q, p), shapes (K, 2n) and (K, 2n, 2n)."""
    n = structure.dimension
    method = taylor_method(structure, jacobian=True)
    flow = extremals(method, structure, nodes[:, :n], nodes[:, n:], np.array([time]), _RTOL)
    by_covector = _blocks(flow.states[:, 0], n)
    initial = np.zeros((len(nodes), 2 * n + 2 * n * n))
    initial[:, : 2 * n] = nodes
    # tangent k starts as (e_k, 0)
    initial[:, 2 * n :: 2 * n + 1] = 1.0
    moved = method.solve(initial, structure.parameter_values, np.array([time]), _RTOL)
    matrices = np.concatenate([_blocks(moved.states[:, 0], n), by_covector], axis=2)
    return flow.states[:, 0, : 2 * n], matrices


def _blocks(states: np.ndarray, n: int) -> np.ndarray:
    """The tangents of the variational equations as columns, shape (K, 2n, n)."""
    return states[:, 2 * n :].reshape(-1, n, 2 * n).swapaxes(1, 2)
