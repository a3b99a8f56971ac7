"""First integrals of the geodesic flow that are linear in the covector, found exactly.

<p, X(q)> is constant along all normal geodesics where {H, <p, X>} = 0, that is, where X is an
infinitesimal isometry; the momentum p_i of a coordinate on which nothing depends is the simplest.
X is sought among fields whose entries are polynomials of degree two at most in the coordinates and
in the sines and cosines that the model uses. Functions of q that are constant along the
distribution are first integrals as well (`subriem.geodesics.first_integrals`).
Source: Agrachev, Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry*
(2019), section 4.2 (Poisson brackets) and chapter 7 (left-invariant structures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.arithmetic.many_points import values_at
from subriem.arithmetic.program import Program
from subriem.errors import InputError, MissingDependencyError
from subriem.geodesics.ansatz import combination, expression, kernel, products, text
from subriem.geodesics.first_integrals import exact_integrals, letters
from subriem.geodesics.hamiltonian import conserved_momenta, covector_symbols, hamiltonian
from subriem.structure import Structure

__all__ = ["Integrals", "flow_integrals"]

#: Larger systems of equations are not solved: only momenta of coordinates are taken then.
_UNKNOWNS = 130
_WORK = 2_000_000
#: States at which the integrals are evaluated together.
_CHUNK = 65536


@dataclass(frozen=True)
class Integrals:
    """First integrals of the normal geodesics of a structure, linear in the covector or without it.

    Attributes
    ----------
    names : tuple of str
    values : casadi.Function
        ((q, p), parameters) to their values, and to the sums of the sizes of their terms.
    degree : int
        Of the ansatz, all of whose integrals were found; 0 where only momenta of coordinates are
        among them.
    """

    names: tuple[str, ...]
    values: ca.Function
    degree: int

    def drift(self, start: np.ndarray, states: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """The largest change of each along solutions, relative to the size of its terms.

        Parameters
        ----------
        start : ndarray, shape (B, 2 n)
        states : ndarray, shape (B, T, 2 n)
            States and covectors; NaN from where a solution ended.
        parameters : ndarray

        Returns
        -------
        ndarray, shape (B, number of integrals)
        """
        count = len(self.names)
        found = np.zeros((len(start), count))
        rows = max(1, _CHUNK // (states.shape[1] + 1))
        for first in range(0, len(start) if count else 0, rows):
            part = slice(first, first + rows)
            along = np.concatenate([start[part, None], states[part]], axis=1)
            flat = along.reshape(-1, along.shape[2])
            values, sizes = (
                out.reshape(*along.shape[:2], count)
                for out in values_at(self.values, flat, parameters)
            )
            change = np.nan_to_num(np.abs(values - values[:, :1])).max(axis=1)
            size = np.nan_to_num(sizes).max(axis=1)
            found[part] = change / np.where(size > 0, size, 1.0)
        return found


def flow_integrals(structure: Structure) -> Integrals:
    """First integrals of the normal geodesics, found once for a structure.

    Parameters
    ----------
    structure : Structure
        Without drift.

    Returns
    -------
    Integrals

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> flow_integrals(heisenberg).names
    ('p_x + 0.5*y*p_z', '-x*p_y + y*p_x', 'p_y - 0.5*x*p_z', 'p_z')
    """
    return structure.cached("integrals of the flow", lambda: _find(structure))


def _find(structure: Structure) -> Integrals:
    for degree in (2, 1):
        try:
            found = _solved(structure, degree)
        except (InputError, MissingDependencyError, WorkLimitReached):
            continue
        if found is not None:
            return found
    p = covector_symbols(structure)
    names = conserved_momenta(structure)
    chosen = [p[structure.coordinates.index(name)] for name in names]
    return _built(structure, tuple(f"p_{name}" for name in names), [[x] for x in chosen], 0)


def _solved(structure: Structure, degree: int) -> Integrals | None:
    n = structure.dimension
    ring = DifferentialRing(2 * n, _WORK)
    p = covector_symbols(structure)
    function = ca.Function(
        "h", [structure.state, p, structure.parameter_symbols], [ca.densify(hamiltonian(structure))]
    )
    symbols = [ring.element(k) for k in range(2 * n)]
    values = [ring.constant(value) for value in structure.parameter_values]
    ((energy,),) = Program(function).run(ring, symbols[:n], symbols[n:], values)
    chosen = letters(structure, ring)
    if n * math.comb(len(chosen) + degree, degree) > _UNKNOWNS:
        return None
    functions = [ring.constant(1), *products(ring, chosen, degree)]
    unit, zero = ring.constant(1), ring.constant(0)
    slopes = [
        ring.apply(ring.derivation([unit if j == k else zero for j in range(2 * n)]), energy)
        for k in range(2 * n)
    ]
    flow = ring.derivation([*slopes[n:], *[zero] * n])
    rates = [ring.apply(flow, phi) for phi in functions]
    unknown = [(i, j) for i in range(n) for j in range(len(functions))]
    momenta = [ring.element(n + i) for i in range(n)]
    conditions = [
        [ring.sub(ring.mul(momenta[i], rates[j]), ring.mul(functions[j], slopes[i]))]
        for i, j in unknown
    ]
    terms = [ring.mul(functions[j], momenta[i]) for i, j in unknown]
    elements = [combination(ring, terms, row) for row in kernel(ring, conditions)]
    names = [*structure.coordinates, *(f"p_{name}" for name in structure.coordinates)]
    shown = [text(ring, element, names) for element in elements]
    both = [*ca.vertsplit(structure.state), *ca.vertsplit(p)]
    parts = [
        [expression(ring, term, both) for term in _terms(ring, element)] for element in elements
    ]
    constant = exact_integrals(structure, degree) or []
    shown += [integral.text for integral in constant]
    parts += [list(integral.terms) for integral in constant]
    return _built(structure, tuple(shown), parts, degree)


def _terms(ring: DifferentialRing, element: Any) -> list[Any]:
    lifted = ring.lift(element)
    return [ring.context.from_dict({key: value}) for key, value in lifted.to_dict().items()]


def _built(
    structure: Structure, names: tuple[str, ...], parts: Sequence[Sequence[ca.SX]], degree: int
) -> Integrals:
    totals = ca.vertcat(*(sum(terms, ca.SX(0)) for terms in parts))
    sizes = ca.vertcat(*(sum((ca.fabs(t) for t in terms), ca.SX(0)) for terms in parts))
    inputs = [
        ca.vertcat(structure.state, covector_symbols(structure)),
        structure.parameter_symbols,
    ]
    outputs = [ca.densify(ca.SX(totals)), ca.densify(ca.SX(sizes))]
    return Integrals(names, ca.Function("integrals", inputs, outputs, {"cse": True}), degree)
