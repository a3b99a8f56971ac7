"""The nilpotent approximation of a structure at a point: its metric tangent space there.

In privileged coordinates with weights w_j, the dilations are
delta_s(z) = (s^{w_1} z_1, ..., s^{w_n} z_n), and the fields expand into parts of weighted degree
-1, 0, 1, ...; entry j of the part of degree -1 is a polynomial of weighted degree w_j - 1. These
parts are the fields of the approximation, the limits of s (delta_{1/s})_* f_i as s tends to 0. They
generate a nilpotent Lie algebra of the same step, and have the same growth vector at 0.

Source: Bellaiche, *The tangent space in sub-Riemannian geometry* (1996), section 5; F. Jean,
*Control of Nonholonomic Systems* (2014), section 2.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subriem.arithmetic.truncated_polynomials import TruncatedPolynomials
from subriem.brackets.privileged import (
    Monomial,
    field_polynomials,
    polynomial,
    privileged_coordinates,
    significant,
    weighted_ring,
)
from subriem.structure import Structure

__all__ = ["nilpotent_approximation"]


def nilpotent_approximation(
    structure: Structure, at: Any, *, tolerance: float = 1e-11
) -> Structure:
    """Nilpotent approximation of a structure at a point, in privileged coordinates.

    Parameters
    ----------
    structure : Structure
        Its drift, if it has one, takes no part.
    at : point
        One point, at which the flag fills the space; it may be singular.
    tolerance : float
        As of `privileged_coordinates`.

    Returns
    -------
    Structure
        With coordinates ``z1``, ..., ``zn``, those of `privileged_coordinates`, and polynomial
        fields of the same names, homogeneous of degree -1. The inner products are those at the
        point. Coefficients that perturbations explain are zero; others are as computed.

    Raises
    ------
    InputError, InputTypeError, NumericalError
        As `privileged_coordinates`.

    Examples
    --------
    >>> from casadi import cos, sin
    >>> unicycle = Structure.define(
    ...     "unicycle", "x y theta", lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)]
    ... )
    >>> tangent = nilpotent_approximation(unicycle, [3, 4, 0])
    >>> tangent.frame
    SX(@1=1, @2=0,
    [[@1, @2],
     [@2, @1],
     [(-z2), @2]])
    """
    coordinates = privileged_coordinates(structure, at, tolerance=tolerance)
    ring = weighted_ring(structure, coordinates, tolerance)
    fields = field_polynomials(structure, coordinates, ring)
    homogeneous = [
        [
            _part(ring, entry, weight - 1)
            for entry, weight in zip(field, coordinates.weights, strict=True)
        ]
        for field in fields.letters.values()
    ]
    inner = None if structure.orthonormal else structure.metric_at(coordinates.point)
    return Structure.define(
        f"nilpotent approximation of {structure.name}",
        coordinates.names,
        lambda q: [[polynomial(terms, q.vector) for terms in field] for field in homogeneous],
        inner_product=None if inner is None else lambda q: inner,
        field_names=structure.field_names,
    )


def _part(ring: TruncatedPolynomials, copies: np.ndarray, degree: int) -> dict[Monomial, float]:
    """The part of a weighted degree, without coefficients that perturbations explain."""
    kept = np.flatnonzero(ring.degrees == degree)
    values = significant(copies[:, kept])
    return {
        tuple(ring.exponents[k].tolist()): float(value)
        for k, value in zip(kept, values, strict=True)
        if value
    }
