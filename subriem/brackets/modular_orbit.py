"""The dimension of an orbit from below, modulo a prime.

Along a horizontal path theta' = h(theta, w(t)) from theta_0, whose weights are power series in t,
the pull-back of a field by the flow of the path,

    (phi_t^* h_j)(theta_0) = (d phi_t)^-1 h(phi_t(theta_0), w_j),

is a power series too. All its coefficients lie in the Lie algebra at theta_0, and for a generic
path they span it: the path's endpoint map has the orbit's dimension for its rank (Sussmann). Modulo
a prime, at a point of integers, series are exact and short, and a rank found there is at most the
rank over Q: a proof, from below, at that point and so at generic points.

The inverse (d phi_t)^-1 is never formed: covectors p are carried along by p' = -(dh)' p.

Source: Sussmann, *Trans. Amer. Math. Soc.* 180 (1973) 171; Sontag, *Finite-dimensional open-loop
control generators for nonlinear systems*, Int. J. Control 47 (1988) 537, for generic paths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.flint_library import load_flint
from subriem.arithmetic.modular_series import ModularSeries, SingularPointError, random_prime
from subriem.arithmetic.program import Program
from subriem.brackets.field_family import FieldFamily

__all__ = [
    "TRIALS",
    "ModularOrbit",
    "VerifiedLaws",
    "base_point",
    "degree_bound",
    "modular_orbit",
    "modular_rank",
    "verify_laws",
]

#: Orders of the series, one after the other.
_ORDERS = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64)
#: Random points at which an identity is tried, and primes that are tried in turn.
TRIALS = 8


@dataclass(frozen=True)
class ModularOrbit:
    """A proved lower bound of the dimension of an orbit, with all that is needed to recheck it.

    Attributes
    ----------
    dimension : int
        Rank found: at most the dimension of the Lie algebra at the point.
    orders, ranks : tuple of int
        The rank of all coefficients up to each number of orders tried.
    prime : int
    point : tuple of int
        The point modulo the prime.
    settled : bool
        Whether the last orders added nothing, or the bound aimed at was reached.
    """

    dimension: int
    orders: tuple[int, ...]
    ranks: tuple[int, ...]
    prime: int
    point: tuple[int, ...]
    settled: bool


@dataclass(frozen=True)
class VerifiedLaws:
    """Which candidates are first integrals, and how many of them are independent.

    Attributes
    ----------
    kept : tuple of int
        The candidates that passed.
    independent : int
        Rank of their gradients at the point: a lower bound of the generic one.
    error_probability : float
        That a false candidate passed; see `verify_laws`.
    """

    kept: tuple[int, ...] = ()
    independent: int = 0
    error_probability: float = field(default=0.0)


def modular_rank(matrix: np.ndarray, prime: int) -> int:
    """Rank of an integer matrix modulo a prime.

    Parameters
    ----------
    matrix : ndarray of integers
    prime : int

    Returns
    -------
    int

    Examples
    --------
    >>> modular_rank(np.array([[1, 2], [2, 11]]), 7)
    1
    """
    flint = load_flint()
    rows, columns = matrix.shape
    if not matrix.size:
        return 0
    entries = (matrix % prime).astype(np.int64).ravel().tolist()
    return int(flint.nmod_mat(rows, columns, entries, prime).rank())


def modular_orbit(
    family: FieldFamily,
    *,
    at: Sequence[Any] | None = None,
    aim: int | None = None,
    seed: int = 0,
    max_orders: int = 64,
) -> ModularOrbit:
    """Lower bound of the orbit's dimension at a generic or a given rational point.

    Parameters
    ----------
    family : FieldFamily
        Of rational fields.
    at : sequence of Fraction, optional
        Random integers by default.
    aim : int, optional
        An upper bound, if one is known: nothing is computed beyond it.
    seed : int
        Of prime, point and path.
    max_orders : int
        Longest series.

    Returns
    -------
    ModularOrbit

    Raises
    ------
    SingularPointError
        If the point is on the zeros of a denominator for every prime tried.
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> from subriem.brackets.field_family import field_family
    >>> from subriem.structure import Structure
    >>> heisenberg = Structure.define("h", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)])
    >>> orbit = modular_orbit(field_family(heisenberg))
    >>> orbit.dimension, orbit.orders
    (3, (2,))
    """
    for trial in range(TRIALS):
        try:
            return _attempt(family, at, aim, np.random.default_rng([seed, trial]), max_orders)
        except SingularPointError as error:
            last = error
    raise last


def base_point(
    family: FieldFamily, at: Sequence[Any] | None, seed: int
) -> tuple[int, tuple[int, ...]]:
    """The prime and the point at which `modular_orbit` begins.

    Parameters
    ----------
    family : FieldFamily
    at : sequence of Fraction, optional
    seed : int

    Returns
    -------
    prime : int
    point : tuple of int

    Raises
    ------
    SingularPointError
        If all primes tried divide a denominator of the point.
    """
    for trial in range(TRIALS):
        try:
            prime, point = _draw(family, at, np.random.default_rng([seed, trial]))
        except SingularPointError as error:
            last = error
        else:
            return prime, (*point.tolist(),)
    raise last


def _draw(
    family: FieldFamily, at: Sequence[Any] | None, generator: np.random.Generator
) -> tuple[int, np.ndarray]:
    n = family.dimension
    # products of matrices of this size are then exact in float64
    prime = random_prime(min(2**30, math.isqrt(2**53 // max(n, 1))), generator)
    if at is None:
        return prime, generator.integers(1, prime, n)
    return prime, np.array([_reduced(entry, prime) for entry in at])


def _attempt(
    family: FieldFamily,
    at: Sequence[Any] | None,
    aim: int | None,
    generator: np.random.Generator,
    max_orders: int,
) -> ModularOrbit:
    n = family.dimension
    prime, point = _draw(family, at, generator)
    upper = n if aim is None else min(aim, n)
    samples = n if family.count is None else min(n, family.count)
    # coefficients of all orders at random: a generic path
    weights = generator.integers(0, prime, (_ORDERS[-1], family.weights, 1))
    drawn = generator.integers(0, prime, (family.weights, samples))
    columns = min(n, upper + 8)
    covectors = np.eye(n, dtype=np.int64)
    if columns < n:
        covectors = generator.integers(0, prime, (n, columns))
    flow = ModularSeries(family.program, (False, False))
    sampled = ModularSeries(family.program, (False, True))
    carry = None
    tried: list[int] = []
    ranks: list[int] = []
    for orders in (k for k in _ORDERS if k <= max_orders):
        if orders * samples < upper and orders != max_orders:
            continue  # too few vectors to tell anything
        state = np.zeros((orders, n, 1), dtype=np.int64)
        state[0, :, 0] = point
        (state, _), _ = flow.solve(prime, [state, weights[:orders]], states=0)
        along = np.zeros((orders, family.weights, samples), dtype=np.int64)
        along[0] = drawn
        _, (fields,) = sampled.solve(prime, [state, along])
        momenta = np.zeros((orders, n, covectors.shape[1]), dtype=np.int64)
        momenta[0] = covectors
        if orders > 1:
            carry = carry or ModularSeries(family.adjoint_program, (False, False, True))
            arguments = [state, weights[:orders], momenta]
            (_, _, momenta), _ = carry.solve(prime, arguments, states=2, sign=-1)
        tried.append(orders)
        ranks.append(modular_rank(_pulled(momenta, fields, prime), prime))
        still = len(ranks) > 2 and ranks[-1] == ranks[-3]
        patient = at is None or orders >= 16
        if ranks[-1] >= upper or (still and patient):
            return ModularOrbit(ranks[-1], (*tried,), (*ranks,), prime, (*point.tolist(),), True)
    return ModularOrbit(ranks[-1], (*tried,), (*ranks,), prime, (*point.tolist(),), False)


def _reduced(entry: Any, prime: int) -> int:
    if entry.denominator % prime == 0:
        raise SingularPointError(f"{prime} divides the denominator of {entry}")
    return int(entry.numerator * pow(entry.denominator, -1, prime) % prime)


def _pulled(momenta: np.ndarray, fields: np.ndarray, prime: int) -> np.ndarray:
    """All coefficients of the products of two series of matrices, a row each."""
    orders = len(momenta)
    left, right = momenta.astype(np.float64), fields.astype(np.float64)
    rows = []
    for k in range(orders):
        total = np.zeros((right.shape[2], left.shape[2]))
        for j in range(k + 1):
            total += np.mod(right[j].T @ left[k - j], prime)
        rows.append(np.mod(total, prime))
    return np.concatenate(rows).astype(np.int64)


def verify_laws(
    family: FieldFamily, candidates: ca.Function, point: Sequence[int], prime: int, seed: int = 0
) -> VerifiedLaws:
    """Keep the candidates whose derivative along all fields vanishes identically.

    The identity is tried at random points modulo random primes of 30 bits. A rational function of
    degree d that is not zero vanishes at one of them with probability at most about d/p (Schwartz,
    J. ACM 27 (1980) 701), unless the prime divides all of its coefficients.

    Parameters
    ----------
    family : FieldFamily
    candidates : casadi.Function
        State to functions, a column; rational.
    point : sequence of int
        Where gradients are compared.
    prime : int
    seed : int

    Returns
    -------
    VerifiedLaws

    Raises
    ------
    InputError
        If the candidates are not rational.

    Examples
    --------
    >>> from subriem.brackets.field_family import field_family
    >>> from subriem.structure import Structure
    >>> circle = field_family(Structure.define("circle", "x y", lambda q: [(-q.y, q.x)]))
    >>> q = ca.SX.sym("q", 2)
    >>> laws = ca.Function("laws", [q], [ca.vertcat(q[0] ** 2 + q[1] ** 2, q[0])])
    >>> verify_laws(circle, laws, [3, 4], 7919).kept
    (0,)
    """
    generator = np.random.default_rng(seed)
    along, gradients = family.slopes(candidates)
    series = ModularSeries(along, (True, True))
    passed = np.ones(candidates.size1_out(0), dtype=bool)
    degree = max(degree_bound(along), 1)
    probability = 1.0
    done = 0
    while done < TRIALS:
        modulus = random_prime(2**30, generator)
        draw = [
            generator.integers(0, modulus, (1, size, 1))
            for size in (family.dimension, family.weights)
        ]
        try:
            _, (values,) = series.solve(modulus, draw)
        except SingularPointError:
            continue
        passed &= (values == 0).all(axis=(0, 2))
        probability *= min(1.0, degree / modulus)
        done += 1
    kept = np.flatnonzero(passed)
    state = np.array(point, dtype=np.int64).reshape(1, -1, 1)
    none = np.zeros((1, family.weights, 1), dtype=np.int64)
    _, (entries,) = ModularSeries(gradients, (False, False)).solve(prime, [state, none])
    matrix = np.zeros((len(passed), family.dimension), dtype=np.int64)
    rows, columns = gradients.function.sparsity_out(0).get_triplet()
    matrix[rows, columns] = entries[0, :, 0]
    return VerifiedLaws(
        tuple(kept.tolist()), modular_rank(matrix[kept], prime), probability * len(passed)
    )


class _Degrees:
    """Degrees of numerator and denominator, at most, as a number system."""

    def constant(self, value: float) -> tuple[int, int]:
        return (0, 0)

    def add(self, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        if a[1] == b[1] == 0:
            return (max(a[0], b[0]), 0)
        return (max(a[0] + b[1], b[0] + a[1]), a[1] + b[1])

    sub = add

    def mul(self, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        return (a[0] + b[0], a[1] + b[1])

    def div(self, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        return (a[0] + b[1], a[1] + b[0])

    def neg(self, a: tuple[int, int]) -> tuple[int, int]:
        return a

    twice = neg

    def inv(self, a: tuple[int, int]) -> tuple[int, int]:
        return (a[1], a[0])

    def sq(self, a: tuple[int, int]) -> tuple[int, int]:
        return (2 * a[0], 2 * a[1])


def degree_bound(program: Program) -> int:
    """A bound of the degrees of the numerators of a program's first output.

    Parameters
    ----------
    program : Program
        Of rational operations.

    Returns
    -------
    int

    Examples
    --------
    >>> x = ca.SX.sym("x")
    >>> degree_bound(Program(ca.Function("f", [x], [x**3 / (1 + x)])))
    3
    """
    sizes = [program.function.nnz_in(k) for k in range(program.function.n_in())]
    (values,) = program.run(_Degrees(), *[[(1, 0)] * size for size in sizes])
    return max([value[0] for value in values], default=0)
