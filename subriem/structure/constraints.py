"""Definition of a structure by Pfaffian constraints: a smooth basis of the kernel of A(q).

Where k columns of A have a constant determinant (``dz - y dx``: the column of z), the other
coordinates' velocities are free and the basis is found by elimination; it is as simple as A, and
holds on the whole chart. Otherwise A' is triangularized by Householder reflections onto the
coordinates that the forms use least, and the columns of the product of reflections that are
left over are an orthonormal basis. Each reflection is smooth except where its form is a negative
multiple of the coordinate it is reflected onto; onto a coordinate that the form does not contain,
it is smooth everywhere (Golub, Van Loan, *Matrix Computations*, section 5.1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import casadi as ca
import numpy as np

from subriem.errors import InputError, InputTypeError
from subriem.structure.definition import Chart, Domain, Periodic, row, square, structure_from
from subriem.structure.structure import Structure

__all__ = ["from_constraints", "kernel"]

# How many choices of columns are tried for a constant determinant.
_CHOICES = 200


def from_constraints(
    name: str,
    coordinates: str | Sequence[str],
    forms: Callable[..., Any],
    *,
    inner_product: Callable[..., Any] | None = None,
    parameters: Mapping[str, float] | None = None,
    periodic: Periodic = (),
    domain: Domain = None,
) -> Structure:
    """Define a structure by Pfaffian constraints: see `Structure.from_constraints`."""
    chart = Chart(name, coordinates, parameters, periodic, domain)
    n = len(chart.coordinates)
    given = chart.call(forms, "forms")
    if not isinstance(given, Sequence) or not len(given):
        raise InputTypeError(f"{name}, forms: expected a list of tuples, got {given!r}")
    rows = ca.horzcat(*(row(form, n, f"{name}, form {k + 1}") for k, form in enumerate(given))).T
    if rows.shape[0] >= n:
        raise InputError(f"{name}: {rows.shape[0]} constraints leave no motion in dimension {n}")
    chart.known_symbols(rows, "forms")
    samples = _samples(chart, rows)
    rank = np.linalg.matrix_rank(samples).min() if np.isfinite(samples).all() else -1
    if rank < rows.shape[0]:
        found = "not finite" if rank < 0 else f"of rank {rank}"
        raise InputError(
            f"{name}: expected {rows.shape[0]} independent forms, got forms that are {found} at a "
            "sample point"
        )
    frame, orthonormal = kernel(rows, samples)
    ambient = None
    if inner_product is not None:
        ambient = square(chart.call(inner_product, "inner product"), n, f"{name}, inner product")
    if ambient is not None:
        metric = frame.T @ ambient @ frame
    else:
        metric = ca.SX.eye(frame.shape[1]) if orthonormal else frame.T @ frame
    return structure_from(chart, frame, ca.densify(metric))


def _samples(chart: Chart, rows: ca.SX) -> np.ndarray:
    """A(q) at points of the chart, shape (points, k, n)."""
    model = ca.Function(
        "model",
        [chart.q.vector, chart.p.vector],
        [rows.T, ca.SX.eye(rows.shape[0]), ca.SX.zeros(rows.shape[1], 1), chart.margins],
    )
    forms = Structure(
        chart.name,
        chart.coordinates,
        model,
        parameters=chart.parameters,
        periods=chart.periods,
        bounds=chart.bounds,
        field_names=tuple(f"a{k + 1}" for k in range(rows.shape[0])),
    )
    return np.swapaxes(forms.frame_at(forms.sample(5)), -1, -2)


def kernel(rows: ca.SX, samples: np.ndarray) -> tuple[ca.SX, bool]:
    """Smooth basis of the kernel of A.

    Parameters
    ----------
    rows : casadi.SX, shape (k, n)
        A(q).
    samples : ndarray, shape (points, k, n)
        Its values at some points, which choose the columns.

    Returns
    -------
    basis : casadi.SX, shape (n, n - k)
    orthonormal : bool
        Whether it is orthonormal in the coordinates' inner product.

    Examples
    --------
    >>> y = ca.SX.sym("y")
    >>> basis, orthonormal = kernel(ca.horzcat(-y, 0, 1), np.array([[[-2.0, 0.0, 1.0]]]))
    >>> [basis[k, 0] for k in range(3)], orthonormal
    ([SX(1), SX(00), SX(y)], False)
    """
    k, n = rows.shape
    for columns in itertools.islice(itertools.combinations(range(n), k), _CHOICES):
        chosen = list(reversed([n - 1 - column for column in columns]))
        determinant = ca.simplify(ca.det(rows[:, chosen]))
        if determinant.is_constant() and abs(float(determinant)) > 0:
            free = [column for column in range(n) if column not in chosen]
            solved = ca.inv_minor(ca.densify(rows[:, chosen])) @ rows[:, free]
            basis = ca.SX(n, n - k)
            basis[free, :] = ca.SX.eye(n - k)
            basis[chosen, :] = -ca.simplify(solved)
            return basis, False
    return _householder(rows, samples), True


def _householder(rows: ca.SX, samples: np.ndarray) -> ca.SX:
    k, n = rows.shape
    transposed = ca.densify(rows.T)
    numbers = np.swapaxes(samples, -1, -2).copy()
    product = ca.SX.eye(n)
    used: list[int] = []
    for j in range(k):
        column, values = transposed[:, j], numbers[:, :, j].copy()
        for pivot in used:
            column[pivot] = 0
            values[:, pivot] = 0.0
        share = np.abs(values).max(axis=0)
        share[used] = np.inf
        pivot = int(np.argmin(share))
        sign = -1.0 if values[:, pivot].mean() < 0 else 1.0
        used.append(pivot)
        axis = ca.SX.zeros(n, 1)
        axis[pivot] = sign
        direction = column + ca.sqrt(ca.sumsqr(column)) * axis
        half = ca.sumsqr(direction) / 2
        transposed = transposed - (direction / half) @ (direction.T @ transposed)
        product = product - (product @ direction) @ (direction.T / half)
        normal = values.copy()
        normal[:, pivot] += sign * np.linalg.norm(values, axis=1)
        twice = 2 * np.einsum("bn,bnk->bk", normal, numbers) / (normal**2).sum(1)[:, None]
        numbers -= normal[:, :, None] * twice[:, None, :]
    return product[:, [column for column in range(n) if column not in used]]
