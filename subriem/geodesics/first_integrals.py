"""Evidence that a point is not in the orbit of another: a first integral on which they differ.

A function g is a first integral of the distribution if its derivatives along all fields vanish.
They are sought among polynomials of low degree in the coordinates and in the sines and cosines that
the model uses, by exact linear algebra: what is found is proved. Models that are not read exactly
(other functions, or no python-flint) are searched by sampling: polynomials of degree two at most
whose derivatives vanish at more random points of the chart than there are unknowns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import casadi as ca
import numpy as np

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.arithmetic.program import Program
from subriem.errors import InputError, MissingDependencyError
from subriem.geodesics.ansatz import combination, expression, kernel, products, text
from subriem.structure import Structure

__all__ = ["Integral", "exact_integrals", "letters", "separating_integral"]

#: Products in an ansatz: of fewer the degree is raised up to the largest.
_UNKNOWNS, _LARGEST_DEGREE = 150, 4
_WORK = 2_000_000


@dataclass(frozen=True)
class Integral:
    """A function that is constant along the distribution, proved to be.

    Attributes
    ----------
    text : str
    terms : tuple of casadi.SX
        In the state; their sum is the function.
    """

    text: str
    terms: tuple[ca.SX, ...]


def letters(structure: Structure, ring: DifferentialRing) -> list[int]:
    """What an ansatz is made of: coordinates that are no angles, sines and cosines in the ring.

    Parameters
    ----------
    structure : Structure
    ring : DifferentialRing
        Into which the model was read. Sines and cosines of periodic coordinates are adjoined.

    Returns
    -------
    list of int
    """
    n = structure.dimension
    for name, period in structure.periods.items():
        if period == 2 * math.pi:
            ring.sin(ring.element(structure.coordinates.index(name)))
    found = [k for k, name in enumerate(structure.coordinates) if name not in structure.periods]
    for k, generator in enumerate(ring.generators):
        if generator.operation in ("sin", "cos"):
            # of the state alone, not of a covector that the ring may hold, and of nothing nested
            within = ring.occurring([generator.arguments[0]])
            if all(number < n for number in within):
                found.append(ring.dimension + k)
    return found


def exact_integrals(structure: Structure, degree: int) -> list[Integral] | None:
    """Independent combinations of products up to a degree that are constant along all fields.

    Parameters
    ----------
    structure : Structure
    degree : int

    Returns
    -------
    list of Integral, or None
        None where the model is not read exactly or the ansatz is too large.

    Examples
    --------
    >>> from casadi import cos, sin
    >>> pendant = Structure.define(
    ...     "pendant", "x t", lambda q: [(cos(q.t), 1)], periodic=("t",)
    ... )
    >>> [integral.text for integral in exact_integrals(pendant, 1)]
    ['x - sin(t)']
    """
    return structure.cached(
        ("exact integrals", degree), lambda: _exact_integrals(structure, degree)
    )


def _exact_integrals(structure: Structure, degree: int) -> list[Integral] | None:
    n = structure.dimension
    try:
        ring = DifferentialRing(n, _WORK)
        symbols = [ring.element(k) for k in range(n)]
        values = [ring.constant(value) for value in structure.parameter_values]
        (frame,) = Program(structure.function(structure.frame)).run(ring, symbols, values)
        chosen = letters(structure, ring)
        if math.comb(len(chosen) + degree, degree) > _UNKNOWNS:
            return None
        functions = products(ring, chosen, degree)
        fields = [ring.derivation(frame[k : k + n]) for k in range(0, len(frame), n)]
        conditions = [[ring.apply(field, phi) for field in fields] for phi in functions]
        found = []
        for row in kernel(ring, conditions):
            element = combination(ring, functions, row)
            terms = [
                expression(ring, combination(ring, [phi], [size]), ca.vertsplit(structure.state))
                for phi, size in zip(functions, row, strict=True)
                if size
            ]
            found.append(Integral(text(ring, element, structure.coordinates), tuple(terms)))
        return found
    except (InputError, MissingDependencyError, WorkLimitReached):
        return None


def separating_integral(
    structure: Structure, start: np.ndarray, end: np.ndarray
) -> tuple[str, float, float] | None:
    """A first integral of low degree with different values at two points.

    Parameters
    ----------
    structure : Structure
    start, end : ndarray, shape (n,)

    Returns
    -------
    tuple of str, float, float, or None
        The integral as text and its values at the start and the end; None where no such integral
        tells the two apart.

    Examples
    --------
    >>> sphere = Structure.define(
    ...     "rotations", "x y z", lambda q: [(q.y, -q.x, 0), (0, q.z, -q.y)]
    ... )
    >>> separating_integral(sphere, np.array([1.0, 0, 0]), np.array([2.0, 0, 0]))
    ('x*x + y*y + z*z', 1.0, 4.0)
    """
    for degree in range(1, _LARGEST_DEGREE + 1):
        integrals = exact_integrals(structure, degree)
        if integrals is None:
            return None if degree > 2 else _sampled(structure, start, end)
        for integral in integrals:
            values = _at(structure, integral.terms, start), _at(structure, integral.terms, end)
            difference = float((values[1] - values[0]).sum())
            scale = float(np.abs(values[1]).sum() + np.abs(values[0]).sum())
            if abs(difference) > 1e-9 * scale > 0:
                return integral.text, float(values[0].sum()), float(values[1].sum())
    return None


def _at(structure: Structure, terms: Sequence[ca.SX], at: np.ndarray) -> np.ndarray:
    values = structure.function(ca.vertcat(*terms))(at, structure.parameter_values)
    return np.asarray(values).ravel()


# ------------------------------------------------------------------ by sampling


def _sampled(
    structure: Structure, start: np.ndarray, end: np.ndarray
) -> tuple[str, float, float] | None:
    """The same among polynomials of degree two, by values at random points."""
    kept = [k for k, name in enumerate(structure.coordinates) if name not in structure.periods]
    for degree in (1, 2):
        monomials = [
            term
            for size in range(1, degree + 1)
            for term in itertools.combinations_with_replacement(kept, size)
        ]
        if not monomials:
            continue
        generator = np.random.default_rng(0)
        samples = structure.sample(3 * len(monomials) // max(1, structure.rank) + 8, generator)
        slopes = _gradients(monomials, samples)
        rows = np.einsum("tbn,bnm->bmt", slopes, structure.frame_at(samples))
        matrix = rows.reshape(-1, len(monomials))
        sizes = np.abs(matrix).max(axis=0)
        sizes[sizes == 0] = 1.0
        left = np.linalg.svd(matrix / sizes, full_matrices=True)
        kernel = left[2][int((left[1] > 1e-10 * left[1].max()).sum()) :] / sizes
        jump = _values(monomials, end) - _values(monomials, start)
        for coefficients in _simple(kernel):
            difference = float(coefficients @ jump)
            scale = float(np.abs(coefficients) @ np.abs(jump))
            if abs(difference) > 1e-9 * scale > 0:
                text = _text(structure, monomials, coefficients)
                values = [float(coefficients @ _values(monomials, at)) for at in (start, end)]
                return text, values[0], values[1]
    return None


def _values(monomials: list[tuple[int, ...]], at: np.ndarray) -> np.ndarray:
    return np.array([np.prod(at[list(term)]) for term in monomials])


def _gradients(monomials: list[tuple[int, ...]], points: np.ndarray) -> np.ndarray:
    """Shape (number of monomials, B, n)."""
    slopes = np.zeros((len(monomials), *points.shape))
    for k, term in enumerate(monomials):
        for j in range(len(term)):
            others = [*term[:j], *term[j + 1 :]]
            slopes[k, :, term[j]] += np.prod(points[:, others], axis=1)
    return slopes


def _simple(kernel: np.ndarray) -> np.ndarray:
    """A basis of the same space in reduced row echelon form."""
    rows = kernel.copy()
    done = 0
    for column in range(rows.shape[1]):
        if done == len(rows):
            break
        pivot = done + int(np.abs(rows[done:, column]).argmax())
        if abs(rows[pivot, column]) < 1e-8:
            continue
        rows[[done, pivot]] = rows[[pivot, done]]
        rows[done] /= rows[done, column]
        others = np.arange(len(rows)) != done
        rows[others] -= np.outer(rows[others, column], rows[done])
        done += 1
    rows[np.abs(rows) < 1e-10] = 0.0
    return rows[:done]


def _text(structure: Structure, monomials: list[tuple[int, ...]], coefficients: np.ndarray) -> str:
    parts: list[str] = []
    for term, value in zip(monomials, coefficients, strict=True):
        if value:
            name = "*".join(structure.coordinates[k] for k in term)
            size = f"{abs(value):.6g}*" if abs(abs(value) - 1) > 1e-9 else ""
            sign = "-" if value < 0 else "+"
            first = f"-{size}{name}" if value < 0 else f"{size}{name}"
            parts.append(f" {sign} {size}{name}" if parts else first)
    return "".join(parts)
