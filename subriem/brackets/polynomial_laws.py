"""All polynomial first integrals of a family of fields up to a degree, by linear algebra mod p.

h = sum c_a theta^a is constant along all fields if sum c_a <grad theta^a, h(theta, w)> = 0 for all
theta and w: linear equations for c, one for each random point. They fall apart by the family's sign
symmetries into small systems. The kernel modulo a prime is lifted to the rationals and tried at
new points modulo new primes; where it fails, more primes are combined.

Source: von zur Gathen, Gerhard, *Modern Computer Algebra*, 3rd ed. (2013), section 5.10, for the
reconstruction of rational numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import casadi as ca
import numpy as np

from subriem.arithmetic.flint_library import load_flint
from subriem.arithmetic.modular_series import ModularSeries, SingularPointError, random_prime
from subriem.arithmetic.sign_symmetries import sign_characters
from subriem.brackets.field_family import FieldFamily
from subriem.brackets.modular_orbit import (
    TRIALS,
    VerifiedLaws,
    degree_bound,
    modular_rank,
)
from subriem.brackets.sparse_basis import new_generators, sparse_basis
from subriem.errors import InputError

__all__ = ["PolynomialLaw", "laws_function", "polynomial_laws", "verify_polynomials"]

#: Unknowns of one system; its elimination takes some 10 s.
_LARGEST = 4000
_PRIMES = 12


@dataclass(frozen=True)
class PolynomialLaw:
    """A polynomial with integer coefficients.

    Attributes
    ----------
    terms : tuple of ((tuple of int), int)
        The variables of each monomial, in order and with repetition, and its coefficient.

    Examples
    --------
    >>> PolynomialLaw((((0, 0), 1), ((1, 1), -1))).degree
    2
    """

    terms: tuple[tuple[tuple[int, ...], int], ...]

    @property
    def degree(self) -> int:
        """Total degree."""
        return max(len(monomial) for monomial, _ in self.terms)


def polynomial_laws(family: FieldFamily, degree: int, seed: int = 0) -> list[PolynomialLaw]:
    """Generators of all polynomial first integrals up to a degree.

    Parameters
    ----------
    family : FieldFamily
        Of rational fields.
    degree : int
    seed : int
        Of the points and primes.

    Returns
    -------
    list of PolynomialLaw
        By degree. Every polynomial law up to the degree is a polynomial in them, and none is a
        combination of products of those before it.

    Raises
    ------
    InputError
        If a system has more unknowns than can be treated.
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> from subriem.brackets.field_family import field_family
    >>> from subriem.structure import Structure
    >>> circle = field_family(Structure.define("circle", "x y", lambda q: [(-q.y, q.x)]))
    >>> polynomial_laws(circle, 2)
    [PolynomialLaw(terms=(((0, 0), 1), ((1, 1), 1)))]
    """
    generator = np.random.default_rng(seed)
    classes = _classes(family, degree)
    size = max(map(len, classes), default=0)
    if size > _LARGEST:
        raise InputError(
            f"conservation laws of degree {degree} in {family.dimension} coordinates: a system of "
            f"{size} unknowns, at most {_LARGEST} can be treated; lower the degree"
        )
    found = [law for some in _by_size(classes) for law in _class_laws(family, some, generator)]
    found.sort(key=lambda law: (law.degree, [monomial for monomial, _ in law.terms]))
    kept = new_generators([dict(law.terms) for law in found])
    return [found[number] for number in kept]


def laws_function(laws: Sequence[PolynomialLaw], dimension: int) -> ca.Function:
    """The laws in CasADi.

    Parameters
    ----------
    laws : sequence of PolynomialLaw
    dimension : int
        Number n of variables.

    Returns
    -------
    casadi.Function
        ``laws``: state (n, 1) to the values (number of laws, 1).

    Examples
    --------
    >>> laws_function([PolynomialLaw((((0, 0), 1), ((1,), -2)))], 2)([3, 1])
    DM(7)
    """
    state = ca.SX.sym("state", dimension)
    rows = []
    for law in laws:
        total = ca.SX(0)
        for monomial, coefficient in law.terms:
            product = ca.SX(coefficient)
            for k in monomial:
                product = product * state[k]
            total = total + product
        rows.append(total)
    values = ca.densify(ca.vertcat(*rows)) if rows else ca.SX(0, 1)
    return ca.Function("laws", [state], [values], ["state"], ["laws"])


def verify_polynomials(
    family: FieldFamily,
    laws: Sequence[PolynomialLaw],
    point: Sequence[int],
    prime: int,
    seed: int = 0,
) -> VerifiedLaws:
    """As `verify_laws`, for polynomials with integer coefficients of any size.

    Parameters
    ----------
    family : FieldFamily
    laws : sequence of PolynomialLaw
    point : sequence of int
        Where gradients are compared.
    prime : int
    seed : int

    Returns
    -------
    VerifiedLaws

    Examples
    --------
    >>> from subriem.brackets.field_family import field_family
    >>> from subriem.structure import Structure
    >>> circle = field_family(Structure.define("circle", "x y", lambda q: [(-q.y, q.x)]))
    >>> laws = [PolynomialLaw((((0, 0), 1), ((1, 1), 1))), PolynomialLaw((((0,), 1),))]
    >>> verify_polynomials(circle, laws, [3, 4], 7919).kept
    (0,)
    """
    generator = np.random.default_rng(seed)
    monomials = sorted({monomial for law in laws for monomial, _ in law.terms})
    passed = np.ones(len(laws), dtype=bool)
    probability = 1.0
    degree = max(degree_bound(family.program) + max(law.degree for law in laws) - 1, 1)
    for _ in range(TRIALS):
        modulus, points, fields = _sample(family, 1, generator)
        equations = _equations(monomials, points, fields, modulus)
        passed &= [_holds([_row(law, monomials)], equations, modulus) for law in laws]
        probability *= min(1.0, degree / modulus)
    kept = np.flatnonzero(passed)
    here = np.array(point, dtype=np.int64)[:, None] % prime
    gradients = np.zeros((len(laws), family.dimension), dtype=np.int64)
    table = np.array([_row(law, monomials) for law in laws], dtype=object) % prime
    for k in range(family.dimension):
        unit = np.zeros((family.dimension, 1), dtype=np.int64)
        unit[k] = 1
        slopes = _equations(monomials, here, unit, prime)[0]
        gradients[:, k] = (table.astype(np.int64) * slopes % prime).sum(axis=1) % prime
    return VerifiedLaws(
        (*kept.tolist(),), modular_rank(gradients[kept], prime), probability * len(laws)
    )


def _row(law: PolynomialLaw, monomials: Sequence[tuple[int, ...]]) -> list[int]:
    coefficients = dict(law.terms)
    return [coefficients.get(monomial, 0) for monomial in monomials]


def _classes(family: FieldFamily, degree: int) -> list[list[tuple[int, ...]]]:
    """The monomials of each character, by degree."""
    count = math.comb(family.dimension + degree, degree)
    if count > 3_000_000:
        raise InputError(
            f"conservation laws of degree {degree} in {family.dimension} coordinates: {count} "
            "monomials; lower the degree"
        )
    characters = sign_characters(family.program)
    found: dict[int, list[tuple[int, ...]]] = {}
    for order in range(1, degree + 1):
        for monomial in itertools.combinations_with_replacement(range(family.dimension), order):
            mark = 0
            for k in monomial:
                mark ^= characters[k]
            found.setdefault(mark, []).append(monomial)
    return list(found.values())


def _by_size(classes: list[list[tuple[int, ...]]]) -> list[list[list[tuple[int, ...]]]]:
    """Classes of like size together: they share their random points."""
    groups: dict[int, list[list[tuple[int, ...]]]] = {}
    for monomials in classes:
        groups.setdefault(len(monomials).bit_length(), []).append(monomials)
    return list(groups.values())


def _class_laws(
    family: FieldFamily, classes: list[list[tuple[int, ...]]], generator: np.random.Generator
) -> list[PolynomialLaw]:
    """The laws of classes of monomials of like size."""
    samples = max(map(len, classes)) + 8
    open_classes = list(range(len(classes)))
    sizes = [block.size for block in family.blocks]
    # for each class: modulus, kernel (rows of residues), after the primes so far
    known: dict[int, tuple[int, list[list[int]]]] = {}
    laws: list[PolynomialLaw] = []
    for _ in range(_PRIMES):
        prime, points, fields = _sample(family, samples, generator)
        check_prime, check_points, check_fields = _sample(family, 8, generator)
        remaining = []
        for which in open_classes:
            monomials = classes[which]
            rows = _equations(monomials, points, fields, prime)
            kernel = _kernel(rows[: len(monomials) + 8], prime)
            modulus, residues = _combine(known.get(which), prime, kernel)
            known[which] = (modulus, residues)
            lifted = _lift(residues, modulus)
            equations = _equations(monomials, check_points, check_fields, check_prime)
            if lifted is None or not _holds(lifted, equations, check_prime):
                remaining.append(which)
                continue
            for vector in sparse_basis(lifted, monomials, sizes):
                terms = [(m, c) for m, c in zip(monomials, vector, strict=True) if c]
                laws.append(PolynomialLaw(tuple(terms)))
        open_classes = remaining
        if not open_classes:
            return laws
    raise InputError(
        f"{family.name}: coefficients of conservation laws too large for {_PRIMES} primes"
    )


def _sample(
    family: FieldFamily, lanes: int, generator: np.random.Generator
) -> tuple[int, np.ndarray, np.ndarray]:
    """A prime, random points and the fields there, shapes (n, lanes)."""
    for _ in range(_PRIMES):
        prime = random_prime(2**30, generator)
        draw = [
            generator.integers(0, prime, (1, size, lanes))
            for size in (family.dimension, family.weights)
        ]
        try:
            _, (fields,) = ModularSeries(family.program, (True, True)).solve(prime, draw)
        except SingularPointError:
            continue
        return prime, draw[0][0], fields[0].astype(np.int64)
    raise InputError(f"{family.name}: its fields have a pole wherever they were tried")


def _equations(
    monomials: Sequence[tuple[int, ...]], points: np.ndarray, fields: np.ndarray, prime: int
) -> np.ndarray:
    """The derivative of each monomial along each field, shape (lanes, monomials)."""
    out = np.zeros((points.shape[1], len(monomials)), dtype=np.int64)
    degrees = np.array([len(monomial) for monomial in monomials])
    for degree in np.unique(degrees):
        columns = np.flatnonzero(degrees == degree)
        variables = np.array([monomials[int(k)] for k in columns])
        total = np.zeros((len(columns), points.shape[1]), dtype=np.int64)
        for place in range(degree):
            term = fields[variables[:, place]]
            for other in range(degree):
                if other != place:
                    term = term * points[variables[:, other]] % prime
            total = (total + term) % prime
        out[:, columns] = total.T
    return out


def _kernel(rows: np.ndarray, prime: int) -> list[list[int]]:
    """Vectors orthogonal to all rows modulo a prime, in reduced form."""
    flint = load_flint()
    count = rows.shape[1]
    reduced, rank = flint.nmod_mat(rows.shape[0], count, rows.ravel().tolist(), prime).rref()
    table = [[int(entry) for entry in row] for row in reduced.tolist()[:rank]]
    pivots = [next(k for k, entry in enumerate(row) if entry) for row in table]
    vectors = []
    for free in sorted(set(range(count)) - set(pivots)):
        vector = [0] * count
        vector[free] = 1
        for pivot, row in zip(pivots, table, strict=True):
            vector[pivot] = -row[free] % prime
        vectors.append(vector)
    return vectors


def _combine(
    known: tuple[int, list[list[int]]] | None, prime: int, kernel: list[list[int]]
) -> tuple[int, list[list[int]]]:
    """The kernel modulo a product of primes (Chinese remainders)."""
    if known is None or len(kernel) < len(known[1]):
        # a prime that divides a coefficient has a larger kernel: forget it
        return prime, kernel
    modulus, residues = known
    if len(kernel) > len(residues):
        return known
    factor = modulus * pow(modulus, -1, prime)
    joined = [
        [(a + (b - a) * factor) % (modulus * prime) for a, b in zip(old, new, strict=True)]
        for old, new in zip(residues, kernel, strict=True)
    ]
    return modulus * prime, joined


def _lift(residues: list[list[int]], modulus: int) -> list[list[int]] | None:
    """Integer vectors that agree with the residues up to a factor; None if one is too large."""
    lifted = []
    for vector in residues:
        fractions = [_rational(value, modulus) for value in vector]
        if any(fraction is None for fraction in fractions):
            return None
        numbers = [fraction for fraction in fractions if fraction is not None]
        scale = math.lcm(*(number.denominator for number in numbers))
        integers = [int(number * scale) for number in numbers]
        common = math.gcd(*integers)
        sign = next((1 if value > 0 else -1 for value in integers if value), 1)
        lifted.append([sign * value // common for value in integers])
    return lifted


def _rational(value: int, modulus: int) -> Fraction | None:
    """The fraction with both parts below sqrt(modulus / 2), if there is one."""
    bound = math.isqrt(modulus // 2)
    r0, r1, t0, t1 = modulus, value, 0, 1
    while r1 > bound:
        quotient = r0 // r1
        r0, r1, t0, t1 = r1, r0 - quotient * r1, t1, t0 - quotient * t1
    if t1 == 0 or abs(t1) > bound:
        return None
    return Fraction(r1, t1)


def _holds(vectors: list[list[int]], equations: np.ndarray, prime: int) -> bool:
    for vector in vectors:
        coefficients = np.array([value % prime for value in vector], dtype=np.int64)
        total = (equations * coefficients % prime).sum(axis=1) % prime
        if total.any():
            return False
    return True
