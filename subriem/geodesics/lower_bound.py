"""Proved lower bounds of the distance, from projections that do not increase length.

Let w >= 0 weigh the coordinates, and let F_w be the rows of the frame times sqrt(w). If

    F_w(q)' F_w(q) <= G(q)   at every q,

then a horizontal path with q' = F u has sqrt(sum_i w_i q_i'^2) <= sqrt(u' G u): the map from the
state space to Euclidean space with coordinates sqrt(w_i) q_i is 1-Lipschitz, and

    d(q, r) >= sqrt(sum_i w_i (r_i - q_i)^2).

Entries of G - F_w' F_w are read as exact trigonometric polynomials, whose terms other than
constants lie in [-c, c] for the coefficient c; diagonal dominance for these intervals proves the
inequality (Gershgorin). Among the weights so proved the best for a displacement solve a linear
program; its solution is rounded to fractions and proved anew.
Sources: Montgomery, *A Tour of Subriemannian Geometries* (2002), chapter 1, for projections that
keep length; Gershgorin, *Izv. Akad. Nauk SSSR* 7 (1931) 749.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.arithmetic.program import Program
from subriem.errors import InputError, MissingDependencyError
from subriem.geodesics.waves import Wave, waves
from subriem.structure import Structure

__all__ = ["LowerBound", "lower_bound"]

#: Frames of more entries than this are not read.
_LARGEST = 64
_WORK = 200_000
#: The weights of the linear program, rounded to such a denominator and shrunk by what that costs.
_DENOMINATOR = 10**6
_SHRINK = (Fraction(1), 1 - Fraction(1, 10**5), 1 - Fraction(1, 10**4), Fraction(9, 10))


@dataclass(frozen=True)
class LowerBound:
    """A lower bound of a distance.

    Attributes
    ----------
    value : float
        NaN where none is known.
    reason : str
        The projection that proves it, or why there is none.
    """

    value: float
    reason: str


#: For each pair a <= b of fields: term of a wave sum to its coefficient.
_Table = dict[tuple[int, int], dict[Wave, Fraction]]


@dataclass(frozen=True)
class _Products:
    """Of each coordinate the products F_ia F_ib, and G_ab, as exact wave sums."""

    rows: list[_Table]
    metric: _Table
    fields: int


def lower_bound(structure: Structure, displacements: np.ndarray) -> LowerBound:
    """A proved lower bound of the distance between points with given differences.

    Parameters
    ----------
    structure : Structure
    displacements : ndarray, shape (L, n)
        Of the end from the start; several where angles are known up to periods. The bound holds
        for all, and for all their other lifts, if the nearest is among them.

    Returns
    -------
    LowerBound

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> found = lower_bound(heisenberg, np.array([[3.0, 4.0, 7.0]]))
    >>> round(found.value, 12), found.reason
    (5.0, 'projection to (x, y)')
    """
    products = structure.cached("products of rows", lambda: _read(structure))
    if isinstance(products, str):
        return LowerBound(math.nan, products)
    # the nearest lift: weights are diagonal, so that it is the nearest for all of them
    squares = np.square(displacements).min(axis=0)
    if not squares.any():
        return LowerBound(0.0, "the points are the same")
    weights = _best_weights(products, squares)
    if weights is None:
        return LowerBound(
            math.nan,
            "no projection to coordinates of the structure is proved not to increase length",
        )
    value = math.sqrt(math.fsum(float(w) * s for w, s in zip(weights, squares, strict=True)))
    if value == 0:
        return LowerBound(
            math.nan, "the projections proved not to increase length take both points to one"
        )
    # the roundings of the sum and the root
    return LowerBound(value * (1 - 4e-16), f"projection to {_shown(structure, weights)}")


def _shown(structure: Structure, weights: Sequence[Fraction]) -> str:
    parts = []
    for name, weight in zip(structure.coordinates, weights, strict=True):
        if weight == 1:
            parts.append(name)
        elif weight:
            parts.append(f"{math.sqrt(weight):.6g} {name}")
    return f"({', '.join(parts)})"


# ------------------------------------------------------------------ reading


def _read(structure: Structure) -> _Products | str:
    """The products of rows, or why they are not known."""
    n, m = structure.dimension, structure.rank
    if n * m > _LARGEST:
        return f"a frame of {n * m} entries is not searched for projections"
    try:
        ring = DifferentialRing(n, _WORK)
        coordinates = [ring.element(k) for k in range(n)]
        values = [ring.constant(value) for value in structure.parameter_values]
        program = Program(structure.function(structure.frame))
        frame = program.run(ring, coordinates, values)[0]
        program = Program(structure.function(structure.metric))
        coordinates = [ring.lift(p) for p in coordinates]
        metric = program.run(ring, coordinates, values)[0]
        rows: list[_Table] = []
        for i in range(n):
            products = {
                (a, b): ring.mul(frame[a * n + i], frame[b * n + i])
                for a in range(m)
                for b in range(a, m)
            }
            rows.append({key: waves(ring, p) for key, p in products.items()})
        pairs = {(a, b): ring.lift(metric[b * m + a]) for a in range(m) for b in range(a, m)}
        return _Products(rows, {key: waves(ring, p) for key, p in pairs.items()}, m)
    except MissingDependencyError:
        return "proofs of lower bounds need python-flint"
    except (InputError, WorkLimitReached) as error:
        return f"the frame is not read exactly: {error}"


# ------------------------------------------------------------------ weights


def _best_weights(products: _Products, squares: np.ndarray) -> list[Fraction] | None:
    """Proved weights with (nearly) the largest sum of weight times square."""
    n, m = len(products.rows), products.fields
    keys = [
        (pair, wave)
        for pair in products.metric
        for wave in sorted(
            {wave for table in (*products.rows, products.metric) for wave in table.get(pair, {})},
            key=repr,
        )
    ]
    bounded = [key for key in keys if key[1].bounded]
    # unknowns: the weights, and a bound of each bounded term of G - F_w' F_w
    size = n + len(bounded)
    columns = np.array(
        [[float(table[pair].get(wave, 0)) for table in products.rows] for pair, wave in keys]
    ).reshape(len(keys), n)
    given = np.array([float(products.metric[pair].get(wave, 0)) for pair, wave in keys])
    at_most, limits, equal, values = [], [], [], []
    sums = np.zeros((m, size))
    rest = np.zeros(m)
    for k, (pair, wave) in enumerate(keys):
        if not wave.bounded:
            equal.append(np.concatenate([columns[k], np.zeros(len(bounded))]))
            values.append(given[k])
            continue
        bound = np.zeros(len(bounded))
        bound[bounded.index((pair, wave))] = 1.0
        if pair[0] == pair[1] and wave.constant:
            sums[pair[0], :n] += columns[k]
            rest[pair[0]] += given[k]
            continue
        for sign in (1.0, -1.0):
            at_most.append(np.concatenate([-sign * columns[k], -bound]))
            limits.append(-sign * given[k])
        for a in set(pair):
            sums[a, n:] += bound
    found = linprog(
        np.concatenate([-squares / squares.max(), np.zeros(len(bounded))]),
        A_ub=np.array([*at_most, *sums]),
        b_ub=np.array([*limits, *rest]),
        A_eq=np.array(equal) if equal else None,
        b_eq=np.array(values) if equal else None,
        # a coordinate that never moves proves nothing here
        bounds=[(0, None if any(table.values()) else 0) for table in products.rows]
        + [(0, None)] * len(bounded),
    )
    if found.status != 0:
        return None
    rounded = [Fraction(max(w, 0.0)).limit_denominator(_DENOMINATOR) for w in found.x[:n]]
    for shrink in _SHRINK:
        weights = [shrink * weight for weight in rounded]
        if _proved(products, weights):
            return weights
    return None


def _proved(products: _Products, weights: Sequence[Fraction]) -> bool:
    """Whether G - F_w' F_w is positive semidefinite at every state, by exact arithmetic."""
    off = [Fraction(0)] * products.fields
    diagonal = [Fraction(0)] * products.fields
    for pair, metric in products.metric.items():
        total: dict[Wave, Fraction] = dict(metric)
        for table, weight in zip(products.rows, weights, strict=True):
            _subtract(total, table[pair], weight)
        for wave, coefficient in total.items():
            if not coefficient:
                continue
            if not wave.bounded:
                return False
            if pair[0] == pair[1] and wave.constant:
                diagonal[pair[0]] += coefficient
            else:
                for a in set(pair):
                    off[a] += abs(coefficient)
    return all(d >= o for d, o in zip(diagonal, off, strict=True))


def _subtract(
    total: dict[Wave, Fraction], other: Mapping[Wave, Fraction], weight: Fraction
) -> None:
    for wave, coefficient in other.items():
        total[wave] = total.get(wave, Fraction(0)) - weight * coefficient
