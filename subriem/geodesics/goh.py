"""Covectors and directions of abnormal extremals at a point, for any number of fields.

A strictly abnormal length minimizer has a covector p(t) != 0 that annihilates D^2 all along it (the
Goh condition); for two fields every abnormal extremal has. Differentiated along the curve,

    sum_k u_k <p, [f_k, [f_i, f_j]]> = 0    for all i < j,

so that the control lies in the kernel of the matrix M(p) of these numbers. Where D^2 is the whole
tangent space, at one point of the curve, there is no such covector, and every minimizer through
that point is normal.

Sources: Agrachev, Sarychev, *Abnormal sub-Riemannian geodesics: Morse index and rigidity*, Ann.
Inst. H. Poincare, Anal. Non Lineaire 13 (1996) 635; Agrachev, Barilari, Boscain, *A Comprehensive
Introduction to Sub-Riemannian Geometry* (2019), chapter 12; Liu, Sussmann, Memoirs AMS 564 (1995).
"""

from __future__ import annotations

from itertools import combinations

import casadi as ca
import numpy as np

from subriem.brackets import lie_bracket
from subriem.geodesics.extremal_lifts import ZERO
from subriem.structure import Structure

__all__ = [
    "AFFORDABLE",
    "abnormal_covectors",
    "characteristic_control",
    "characteristic_matrices",
    "characteristic_motion",
    "second_flag",
]

#: Brackets [f_k, [f_i, f_j]] beyond this number of entries are not written out.
AFFORDABLE = 5_000


def second_flag(structure: Structure, at: np.ndarray) -> np.ndarray:
    """Values of f_i and [f_i, f_j], i < j, which span D^2.

    Parameters
    ----------
    structure : Structure
    at : ndarray, shape (n,) or (B, n)

    Returns
    -------
    ndarray, shape (n, m + m (m - 1) / 2) or (B, ...)
    """

    def build() -> ca.SX:
        return ca.horzcat(structure.frame, *_brackets(structure))

    expression = structure.cached("second flag", build)
    return structure.evaluate("second flag", expression, at)


def _brackets(structure: Structure) -> list[ca.SX]:
    q = structure.state
    fields = ca.horzsplit(structure.frame)
    return [lie_bracket(f, g, q) for f, g in combinations(fields, 2)]


def abnormal_covectors(structure: Structure, at: np.ndarray) -> np.ndarray:
    """Orthonormal covectors that annihilate D^2 at a point.

    Parameters
    ----------
    structure : Structure
    at : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n, n - dim D^2)

    Examples
    --------
    >>> engel = Structure.define(
    ...     "engel", "x y z w", lambda q: [(1, 0, 0, 0), (0, 1, q.x, q.x**2 / 2)]
    ... )
    >>> np.abs(abnormal_covectors(engel, np.zeros(4)).T)
    array([[0., 0., 0., 1.]])
    """
    vectors = second_flag(structure, at)
    # decided in the vectors' own units
    sizes = np.linalg.norm(vectors, axis=0)
    left, values, _ = np.linalg.svd(vectors / np.where(sizes > 0, sizes, 1.0))
    rank = int((values > ZERO * values[0]).sum())
    return left[:, rank:]


def _characteristic(structure: Structure) -> ca.Function:
    """(q, p) to M(p), with a row for each i < j and a column for each k; for batches too."""

    def build() -> ca.Function:
        p = ca.SX.sym("p", structure.dimension)
        q = structure.state
        fields = ca.horzsplit(structure.frame)
        rows = [
            ca.horzcat(*(ca.dot(p, lie_bracket(f, bracket, q)) for f in fields))
            for bracket in _brackets(structure)
        ]
        inputs = [q, p, structure.parameter_symbols]
        table = ca.vertcat(*rows) if rows else ca.SX(0, structure.rank)
        full = ca.Function("full", inputs, [ca.densify(table)])
        values = full(*inputs[:2], structure.parameter_values)
        return ca.Function("characteristic", inputs[:2], [ca.densify(values)], {"cse": True})

    return structure.cached("characteristic matrices", build)


def characteristic_matrices(
    structure: Structure, at: np.ndarray, covectors: np.ndarray
) -> np.ndarray:
    """The matrices M(p) of <p, [f_k, [f_i, f_j]]> at points.

    Parameters
    ----------
    structure : Structure
    at, covectors : ndarray, shape (B, n)

    Returns
    -------
    ndarray, shape (B, m (m - 1) / 2, m)
    """
    table = np.asarray(_characteristic(structure)(at.T, covectors.T))
    return table.reshape(table.shape[0], len(at), -1).swapaxes(0, 1)


def characteristic_motion(structure: Structure) -> ca.Function:
    """For two fields: (q, p) to q', p' and u of the abnormal extremal, at unit speed.

    Parameters
    ----------
    structure : Structure
        With two fields.

    Returns
    -------
    casadi.Function
        NaN where the direction vanishes. Takes batches as columns.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> velocity, force, control = characteristic_motion(martinet)([0, 0, 0], [0, 0, 1])
    >>> velocity + 0, control + 0
    (DM([0, 1, 0]), DM([0, 1]))
    """

    def build() -> ca.Function:
        p, q = ca.SX.sym("p", structure.dimension), structure.state
        first, second = ca.vertsplit(_characteristic(structure)(q, p).T)
        direction = ca.vertcat(-second, first)
        u = direction / ca.sqrt(direction.T @ structure.metric @ direction)
        held = ca.SX.sym("u", 2)
        velocity = structure.frame @ held
        carried = -ca.jacobian(velocity, q).T @ p
        outputs = ca.substitute([velocity, carried], [held], [u])
        inputs = [q, p, structure.parameter_symbols]
        full = ca.Function("full", inputs, [*outputs, u])
        values = [ca.densify(value) for value in full(*inputs[:2], structure.parameter_values)]
        return ca.Function("characteristic_motion", inputs[:2], values, {"cse": True})

    return structure.cached("characteristic motion", build)


def characteristic_control(
    structure: Structure, at: np.ndarray, covector: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """The control of unit speed in the kernel of M(p), where that is a line.

    Parameters
    ----------
    structure : Structure
    at, covector : ndarray, shape (n,)

    Returns
    -------
    control : ndarray, shape (m,), or None
        None where the kernel is not a line. For two fields -p gives the opposite one; for more,
        the sign is that of the largest entry.
    kernel : int
        The dimension of the kernel, by a tolerance relative to the brackets' size.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> characteristic_control(martinet, np.zeros(3), np.array([0.0, 0.0, 1.0]))
    (array([0., 1.]), 1)
    """
    (matrix,) = characteristic_matrices(structure, at[None], covector[None])
    m = structure.rank
    _, values, right = np.linalg.svd(matrix)
    rank = int((values > ZERO * _size(structure, at, covector)).sum())
    if m - rank != 1:
        return None, m - rank
    control = right[-1]
    if m == 2:
        control = np.array([-matrix[0, 1], matrix[0, 0]])
    elif control[np.abs(control).argmax()] < 0:
        control = -control
    return control / np.sqrt(control @ structure.metric_at(at) @ control) + 0.0, 1


def _size(structure: Structure, at: np.ndarray, covector: np.ndarray) -> float:
    """What an entry of M(p) would be if no bracket were orthogonal to p."""
    n = structure.dimension
    basis = np.eye(n) * np.abs(covector).max()
    everything = characteristic_matrices(structure, np.repeat(at[None], n, axis=0), basis)
    largest = np.abs(everything).max() if everything.size else 0.0
    return float(max(largest, np.abs(covector).max() * np.abs(structure.frame_at(at)).max()))
