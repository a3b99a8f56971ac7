"""Sums that should be zero, and how far they are from what rounding explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import casadi as ca
import numpy as np

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.brackets.adapted_rank import SIGNIFICANT
from subriem.structure import Structure

__all__ = ["Residual", "residual"]

#: Relative size of the perturbations: a thousand times the rounding of float64.
PERTURBATION = 1e-13


@dataclass(frozen=True)
class Residual:
    """A sum of expressions at points.

    Attributes
    ----------
    values : ndarray, shape (B, r, c)
    size : ndarray, shape (B, r, c)
        The sum of the terms' absolute values.
    significance : ndarray, shape (B, r, c)
        How many times what perturbations explain the value is; 0 where it is 0.
    """

    values: np.ndarray
    size: np.ndarray
    significance: np.ndarray

    @property
    def vanishes(self) -> np.ndarray:
        """Where the sum is zero as far as can be told, shape (B, r, c); not where it is NaN."""
        return self.significance <= SIGNIFICANT

    def largest(self) -> tuple[int, int, int]:
        """Point, row and column of the entry that is the least explained."""
        ranked = np.where(np.isnan(self.significance), np.inf, self.significance)
        b, i, j = np.unravel_index(int(ranked.argmax()), ranked.shape)
        return int(b), int(i), int(j)


def residual(structure: Structure, terms: Sequence[ca.SX], points: np.ndarray) -> Residual:
    """Evaluate a sum in floats and in perturbed copies.

    A value counts as zero where it is explained by perturbing the point, the parameters and every
    operation (`PerturbedFloats`), or each of the terms: what CasADi folded into constants when it
    built the expressions is not perturbed otherwise.

    Parameters
    ----------
    structure : Structure
    terms : sequence of casadi.SX of one shape (r, c)
        In the structure's ``state`` and ``parameter_symbols``.
    points : ndarray, shape (B, n)

    Returns
    -------
    Residual

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(1,)])
    >>> x = line.state
    >>> sums = [[ca.sin(x) ** 2, ca.cos(x) ** 2, ca.SX(-1)], [x, -(1 + 1e-9) * x]]
    >>> [bool(residual(line, terms, np.array([[0.3]])).vanishes.all()) for terms in sums]
    [True, False]
    """
    rows, columns = terms[0].shape
    stacked = ca.densify(ca.horzcat(*(ca.vec(term) for term in terms)))
    program = Program(
        ca.Function("terms", [structure.state, structure.parameter_symbols], [stacked])
    )
    floats = PerturbedFloats(PERTURBATION)
    table = floats.evaluate(program, points, structure.parameter_values)
    # CasADi stores a matrix column by column
    table = table.reshape(*table.shape[:2], len(terms), columns, rows).swapaxes(-1, -2)
    with np.errstate(all="ignore"):
        sums = table.sum(axis=2)
        size = np.abs(table[0]).sum(axis=1)
        explained = np.maximum(np.abs(sums[1:] - sums[0]).max(axis=0), PERTURBATION * size)
        significance = np.where(sums[0] == 0, 0.0, np.abs(sums[0]) / explained)
    return Residual(sums[0], size, significance)
