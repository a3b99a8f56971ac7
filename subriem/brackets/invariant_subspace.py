"""The smallest affine subspace through a point to which all fields are tangent.

Brackets of fields tangent to a submanifold are tangent to it, and are the brackets of the fields
restricted to it. So a flag at a point may be computed in any such subspace. That shows flags to be
closed at points of symmetry, where weights of a network are equal or zero: there are always
more brackets, but none leads out of the subspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.point_values import exact_constant
from subriem.arithmetic.program import Program

__all__ = ["restrict_to_invariant_subspace"]


def restrict_to_invariant_subspace(
    program: Program, parameters: Sequence[float], point: Sequence[Any], work_limit: int
) -> tuple[DifferentialRing, list[list[Any]]] | None:
    """Fields on an affine subspace to which they are tangent, as coordinates from the point.

    The subspace has rational directions. From the point alone it grows by the values that the
    fields take on it, read as vectors of rational coefficients of the ring's monomials, until all
    of these lie in it; then the fields are tangent to it identically.

    Parameters
    ----------
    program : Program
        (state, parameters) to the frame, n x m.
    parameters : sequence of float
    point : sequence of int, float, Fraction or str
    work_limit : int
        As of `DifferentialRing`.

    Returns
    -------
    (DifferentialRing, list of lists of elements), or None
        The ring of the subspace, whose coordinates are zero at the point, and each field there;
        None if the subspace is the whole space.

    Examples
    --------
    >>> import casadi as ca
    >>> x = ca.SX.sym("x", 2)
    >>> frame = ca.Function("frame", [x, ca.SX(0, 1)], [ca.vertcat(x[0] ** 2, x[1] ** 2)])
    >>> ring, fields = restrict_to_invariant_subspace(Program(frame), [], [1, 1], 10**6)
    >>> ring.dimension, fields
    (1, [[x0^2 + 2*x0 + 1]])
    """
    n = len(point)
    basis: list[list[Any]] = []  # in reduced echelon form
    while len(basis) < n:
        ring = DifferentialRing(len(basis), work_limit)
        state = [exact_constant(ring, entry) for entry in point]
        for j, direction in enumerate(basis):
            y = ring.element(j)
            state = [
                ring.add(p, step * ring.lift(y)) for p, step in zip(state, direction, strict=True)
            ]
        constants = [ring.constant(value) for value in parameters]
        (entries,) = program.run(ring, state, constants)
        entries = [ring.reduce(ring.lift(p)) for p in entries]
        fields = [entries[start : start + n] for start in range(0, len(entries), n)]
        found = [
            [p[monomial] for p in field]
            for field in fields
            for monomial in sorted({m for p in field for m in p.monoms()})
        ]
        larger = _echelon(ring, basis + found)
        if len(larger) == len(basis):
            pivots = [next(k for k, entry in enumerate(row) if entry) for row in basis]
            return ring, [[field[k] for k in pivots] for field in fields]
        basis = larger
    return None


def _echelon(ring: DifferentialRing, rows: list[list[Any]]) -> list[list[Any]]:
    if not rows:
        return []
    reduced, rank = ring.flint.fmpq_mat(rows).rref()
    return reduced.tolist()[:rank]
