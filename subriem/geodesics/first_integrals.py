"""Evidence that a point is not in the orbit of another: a first integral on which they differ.

A polynomial g of degree at most two is a first integral of the distribution if its derivatives
along all fields vanish. They are looked for as the kernel of a matrix, whose rows are these
derivatives at random points of the chart: what vanishes at more points than there are unknowns
vanishes, for all that can be seen, everywhere.
"""

from __future__ import annotations

import itertools

import numpy as np

from subriem.structure import Structure

__all__ = ["separating_integral"]


def separating_integral(
    structure: Structure, start: np.ndarray, end: np.ndarray
) -> tuple[str, float, float] | None:
    """A first integral of degree one or two with different values at two points.

    Parameters
    ----------
    structure : Structure
    start, end : ndarray, shape (n,)

    Returns
    -------
    tuple of str, float, float, or None
        The integral as text and its values at the start and the end; None where no such integral
        tells the two apart. Periodic coordinates take no part.

    Examples
    --------
    >>> sphere = Structure.define(
    ...     "rotations", "x y z", lambda q: [(q.y, -q.x, 0), (0, q.z, -q.y)]
    ... )
    >>> separating_integral(sphere, np.array([1.0, 0, 0]), np.array([2.0, 0, 0]))
    ('x*x + y*y + z*z', 1.0, 4.0)
    """
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
