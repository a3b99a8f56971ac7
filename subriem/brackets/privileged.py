"""Privileged coordinates: z_j of nonholonomic order exactly w_j at a point.

Let Y_1, ..., Y_n be iterated brackets adapted to the Lie flag at q_0, Y_j of length w_j. A function
has nonholonomic order >= s at q_0 if all its derivatives along fewer than s fields of the structure
vanish there; equivalently Y_1^{a_1} ... Y_n^{a_n} g (q_0) = 0 whenever
a_1 w_1 + ... + a_n w_n < s. With y = A^{-1} (q - q_0), where A has the columns Y_j(q_0),
Bellaiche's coordinates are

    z_j = y_j - sum_{k=2}^{w_j - 1} h_k(y_1, ..., y_{j-1}),
    h_k = sum_{|a| = k, w(a) < w_j} (y^a / a!) Y_1^{a_1} ... Y_n^{a_n} (y_j - sum_{l<k} h_l) (q_0).

The derivatives are those of Taylor polynomials; nothing is written out in symbols.

Source: Bellaiche, *The tangent space in sub-Riemannian geometry* (1996), section 4.3; F. Jean,
*Control of Nonholonomic Systems* (2014), section 2.1.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np
import xarray as xr

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.arithmetic.truncated_polynomials import TruncatedPolynomials
from subriem.brackets.adapted_rank import SIGNIFICANT
from subriem.brackets.flag import lie_flag
from subriem.brackets.polynomial_fields import PolynomialFields, adapted_names
from subriem.errors import InputError, NumericalError
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import read_points

__all__ = ["PrivilegedCoordinates", "privileged_coordinates"]

Monomial = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class PrivilegedCoordinates:
    """A polynomial change of coordinates q -> z about a point, with polynomial inverse.

    It is defined for all q and triangular, hence invertible exactly. Angles are not wrapped: q is
    near the point, not a period away.

    Attributes
    ----------
    structure : str
        The structure's name.
    coordinates : tuple of str
        Its coordinates.
    point : ndarray, shape (n,)
        q_0, where z = 0.
    brackets : tuple of str
        Y_1, ..., Y_n.
    weights : tuple of int
        w_1 <= ... <= w_n.
    frame : ndarray, shape (n, n)
        A, with the columns Y_j(q_0).
    corrections : tuple of dict
        For each z_j the polynomial y_j - z_j: coefficients by exponents of y_1, ..., y_n.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> z = privileged_coordinates(martinet, [0, 0, 0])
    >>> z.names, z.weights, z.brackets
    (('z1', 'z2', 'z3'), (1, 1, 3), ('f1', 'f2', '[f1,[f1,f2]]'))
    """

    structure: str
    coordinates: tuple[str, ...]
    point: np.ndarray
    brackets: tuple[str, ...]
    weights: tuple[int, ...]
    frame: np.ndarray
    corrections: tuple[Mapping[Monomial, float], ...]

    def __repr__(self) -> str:
        return (
            f"PrivilegedCoordinates of {self.structure} at {self.point.tolist()}, "
            f"weights {self.weights}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """``z1``, ..., ``zn``."""
        return tuple(f"z{j + 1}" for j in range(len(self.weights)))

    @cached_property
    def forward(self) -> ca.Function:
        """The CasADi function q -> z."""
        q = ca.vertcat(*(ca.SX.sym(name) for name in self.coordinates))
        y = ca.sparsify(ca.DM(np.linalg.inv(self.frame))) @ (q - ca.DM(self.point))
        return ca.Function("forward", [q], [ca.densify(self._bent(y))], ["q"], ["z"])

    @cached_property
    def inverse(self) -> ca.Function:
        """The CasADi function z -> q."""
        z = ca.vertcat(*(ca.SX.sym(name) for name in self.names))
        q = ca.DM(self.point) + ca.sparsify(ca.DM(self.frame)) @ self._straightened(z)
        return ca.Function("inverse", [z], [ca.densify(q)], ["z"], ["q"])

    def to_privileged(self, at: Any) -> np.ndarray:
        """Privileged coordinates of points.

        Parameters
        ----------
        at : points
            One or a batch, as everywhere.

        Returns
        -------
        ndarray, shape (n,) or (B, n)

        Raises
        ------
        InputError, InputTypeError
            If a point does not fit.
        """
        return _mapped(self.forward, read_points(self.coordinates, at))

    def from_privileged(self, z: Any) -> np.ndarray:
        """Points of privileged coordinates.

        Parameters
        ----------
        z : points
            By the names ``z1``, ..., ``zn`` or in that order; one or a batch.

        Returns
        -------
        ndarray, shape (n,) or (B, n)

        Raises
        ------
        InputError, InputTypeError
            If they do not fit.
        """
        return _mapped(self.inverse, read_points(self.names, z, "privileged coordinates"))

    def _bent(self, y: ca.SX) -> ca.SX:
        """Z from y."""
        return ca.vertcat(
            *(y[j] - polynomial(terms, y) for j, terms in enumerate(self.corrections))
        )

    def _straightened(self, z: ca.SX) -> ca.SX:
        """Y from z, from the first to the last, as each correction has earlier entries only."""
        y = ca.SX.zeros(z.shape[0], 1)
        for j, terms in enumerate(self.corrections):
            y[j] = z[j] + polynomial(terms, y)
        return y

    def pushed_frame(self, structure: Structure) -> ca.Function:
        """The frame in these coordinates.

        Parameters
        ----------
        structure : Structure

        Returns
        -------
        casadi.Function
            (z, parameters, A^{-1}) to (d z / d q) F(q) at q = q(z), shape (n, m).
        """
        y = ca.SX.sym("y", len(self.weights))
        slope = ca.Function("slope", [y], [ca.jacobian(self._bent(y), y)])
        z = ca.SX.sym("z", len(self.weights))
        values = structure.parameter_symbols
        frame = ca.Function("frame", [structure.state, values], [structure.frame])
        straight = ca.SX.sym("straight", *self.frame.shape)
        pushed = slope(self._straightened(z)) @ (straight @ frame(self.inverse(z), values))
        return ca.Function("pushed", [z, values, straight], [ca.densify(pushed)])


def privileged_coordinates(
    structure: Structure, at: Any, *, tolerance: float = 1e-11
) -> PrivilegedCoordinates:
    """Bellaiche's privileged coordinates of a structure about a point.

    Parameters
    ----------
    structure : Structure
        Its drift, if it has one, takes no part.
    at : point
        One point, at which the flag fills the space; it may be singular.
    tolerance : float
        As of `lie_flag`; besides, a coefficient that perturbations of that size explain is zero.

    Returns
    -------
    PrivilegedCoordinates

    Raises
    ------
    InputError
        If ``at`` is not one point, the structure is not found to be bracket-generating there, a
        field has no Taylor polynomial there, or step and dimension are out of reach.
    InputTypeError
        If the first argument is not a structure.
    NumericalError
        If a coordinate does not have the order that it should: the growth vector was decided
        wrongly, which next to a singular point can happen.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> about = privileged_coordinates(martinet, [1, 0, 0])
    >>> about.weights, about.brackets
    ((1, 1, 2), ('f1', 'f2', '[f1,f2]'))
    >>> about.to_privileged([2, 3, 4])
    array([1. , 3. , 2.5])
    >>> about.from_privileged([1, 3, 2.5])
    array([2., 3., 4.])
    """
    require_structure(structure)
    point = structure.points(at)
    if point.ndim != 1:
        raise InputError(f"at: expected one point, got {len(point)}")
    flag = lie_flag(structure, point, tolerance=tolerance)
    step = _filled(structure, point, flag)
    n = structure.dimension
    plain = PrivilegedCoordinates(
        structure=structure.name,
        coordinates=structure.coordinates,
        point=point,
        brackets=structure.coordinates,
        weights=(1,) * n,
        frame=np.eye(n),
        corrections=({},) * n,
    )
    floats = PerturbedFloats(tolerance)
    ring = _ring(structure, plain.weights, step, floats)
    fields = field_polynomials(structure, plain, ring)
    names = [str(name) for name in flag["bracket"].values]
    if not all(names):
        try:
            names = adapted_names(fields, flag["growth_vector"].values[:step])
        except NumericalError as error:
            raise NumericalError(f"{structure.name} at {point.tolist()}: {error}") from error
    columns = [fields.named(name)[..., 0] for name in names]
    adapted = replace(
        plain,
        brackets=tuple(names),
        weights=tuple(int(weight) for weight in flag["weight"].values),
        frame=significant(np.stack(columns).transpose(2, 1, 0)),
    )
    straight = field_polynomials(structure, adapted, ring)
    brackets = [straight.named(name) for name in names]
    corrections = tuple(_corrections(straight, brackets, adapted.weights, j) for j in range(n))
    found = replace(adapted, corrections=corrections)
    _check_orders(structure, found, tolerance)
    return found


def _mapped(function: ca.Function, points: np.ndarray) -> np.ndarray:
    # one point and a batch alike are columns for CasADi
    return np.asarray(function(points.T)).T.reshape(points.shape)


def _filled(structure: Structure, point: np.ndarray, flag: xr.Dataset) -> int:
    if not bool(flag["bracket_generating"]):
        raise InputError(
            f"{structure.name}: expected a point at which the structure is bracket-generating; at "
            f"{point.tolist()} the growth vector is {flag['growth_vector'].values.tolist()} in "
            f"dimension {structure.dimension} ({flag['status'].item()})"
        )
    return int(flag["degree_of_nonholonomy"])


def _ring(
    structure: Structure, weights: tuple[int, ...], step: int, floats: PerturbedFloats
) -> TruncatedPolynomials:
    try:
        return TruncatedPolynomials(weights, step - 1, floats)
    except InputError as error:
        raise InputError(
            f"{structure.name}: step {step} in dimension {len(weights)} is out of reach ({error})"
        ) from error


def weighted_ring(
    structure: Structure, coordinates: PrivilegedCoordinates, tolerance: float
) -> TruncatedPolynomials:
    """Polynomials in privileged coordinates, up to the weighted degree of the step less one."""
    weights = coordinates.weights
    return _ring(structure, weights, weights[-1], PerturbedFloats(tolerance))


def field_polynomials(
    structure: Structure, coordinates: PrivilegedCoordinates, ring: TruncatedPolynomials
) -> PolynomialFields:
    """Taylor polynomials of a structure's fields in coordinates about a point.

    Parameters
    ----------
    structure : Structure
    coordinates : PrivilegedCoordinates
    ring : TruncatedPolynomials

    Returns
    -------
    PolynomialFields

    Raises
    ------
    InputError
        If a field has none, or uses an operation that has none.
    """
    n = structure.dimension
    variables = [ring.variable(k) for k in range(n)]
    parameters = [ring.read(value) for value in structure.parameter_values]
    # in copies, as rounding leaves an inverse with entries that ought to be zero
    inverses = np.linalg.inv(ring.floats.read(coordinates.frame.ravel()).reshape(-1, n, n))
    straight = []
    for copies in inverses.transpose(2, 1, 0).reshape(n * n, -1):
        straight.append(ring.constant(0.0))
        straight[-1][:, 0] = copies
    try:
        with np.errstate(all="ignore"):
            program = Program(coordinates.pushed_frame(structure))
            (entries,) = program.run(ring, variables, parameters, straight)
    except InputError as error:
        raise InputError(f"{structure.name} at {coordinates.point.tolist()}: {error}") from error
    # CasADi stores a matrix column by column
    stacked = np.stack(entries).reshape(structure.rank, n, *variables[0].shape)
    for name, field in zip(structure.field_names, stacked, strict=True):
        if not np.isfinite(field).all():
            raise InputError(
                f"{structure.name}: field {name} has no Taylor polynomial of degree {ring.degree} "
                f"at {coordinates.point.tolist()}"
            )
    return PolynomialFields(ring, dict(zip(structure.field_names, stacked, strict=True)))


def significant(copies: np.ndarray) -> np.ndarray:
    """Numbers that perturbations do not explain; zero in place of the others.

    Parameters
    ----------
    copies : ndarray, shape (1 + copies, ...)

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> significant(np.array([[1.0, 6e-17], [1.0 + 1e-11, 4e-12]]))
    array([1., 0.])
    """
    spread = np.abs(copies[1:] - copies[0]).max(axis=0)
    return np.where(np.abs(copies[0]) > SIGNIFICANT * spread, copies[0], 0.0)


def polynomial(terms: Mapping[Monomial, float], at: ca.SX) -> ca.SX:
    """A polynomial as an expression, its powers written as products.

    Parameters
    ----------
    terms : mapping
        Coefficients by exponents.
    at : casadi.SX, shape (n, 1)

    Returns
    -------
    casadi.SX, scalar

    Examples
    --------
    >>> polynomial({(1, 2): 3.0}, ca.SX.sym("z", 2))
    SX((((3*z_0)*z_1)*z_1))
    """
    total = ca.SX(0)
    for monomial, coefficient in terms.items():
        term = ca.SX(coefficient)
        for k, exponent in enumerate(monomial):
            for _ in range(exponent):
                term = term * at[k]
        total = total + term
    return total


def _corrections(
    fields: PolynomialFields, brackets: list[np.ndarray], weights: tuple[int, ...], j: int
) -> dict[Monomial, float]:
    """The polynomials h_2 + h_3 + ... of the coordinate number j."""
    ring = fields.ring
    function = ring.variable(j)
    terms: dict[Monomial, float] = {}
    for length in range(2, weights[j]):
        found = {}
        # h_k is subtracted only when all of it is known
        for monomial, copies in _derivatives(
            fields, brackets, weights, function, length, weights[j] - 1, len(weights) - 1
        ):
            value = float(significant(copies))
            if value:
                found[monomial] = value / math.prod(map(math.factorial, monomial))
        for monomial, coefficient in found.items():
            function[:, ring.place(monomial)] -= coefficient
        terms.update(found)
    return terms


def _derivatives(
    fields: PolynomialFields,
    brackets: list[np.ndarray],
    weights: tuple[int, ...],
    function: np.ndarray,
    length: int,
    budget: int,
    last: int,
) -> Iterator[tuple[Monomial, np.ndarray]]:
    """Y_1^{a_1} ... Y_n^{a_n} g at the point, of all a with |a| = length, weight up to a budget."""
    if length == 0:
        yield (0,) * len(weights), function[:, 0]
        return
    # each field lowers degrees by 1 at most, and in the end the constant term is asked for
    function = fields.ring.truncated(function, length)
    if not function.any():
        return
    for k in range(last + 1):
        # those that come first in the product are applied last, and weigh at least 1 each
        if weights[k] + length - 1 > budget:
            break
        field = fields.ring.truncated(brackets[k], length - 1)
        derived = fields.derive(field, function)
        for monomial, value in _derivatives(
            fields, brackets, weights, derived, length - 1, budget - weights[k], k
        ):
            raised = (*monomial[:k], monomial[k] + 1, *monomial[k + 1 :])
            yield raised, value


def _check_orders(
    structure: Structure, coordinates: PrivilegedCoordinates, tolerance: float
) -> None:
    """Refuse coordinates in which a field has a term of weighted degree below -1."""
    ring = weighted_ring(structure, coordinates, tolerance)
    fields = field_polynomials(structure, coordinates, ring)
    for name, field in fields.letters.items():
        for j, weight in enumerate(coordinates.weights):
            low = ring.degrees < weight - 1
            left = np.abs(significant(field[j][:, low]))
            if left.any():
                raise NumericalError(
                    f"{structure.name} at {coordinates.point.tolist()}: coordinate {j + 1} has "
                    f"order below its weight {weight}: along {name} a term "
                    f"{ring.exponents[low][left.argmax()].tolist()} with coefficient "
                    f"{left.max():.3g} is left; the growth vector may be that of a singular point "
                    "close by"
                )
