"""The Lie flag from random horizontal paths, to any length and without naming a bracket.

Along q' = e sum_i u_i(t) f_i(q) from q_0, the pull-back of a field f_j by the flow of the path is a
power series in e,

    (phi_t^* f_j)(q_0) = sum_l e^l sum_{|w| = l} I_w(t) (ad_w f_j)(q_0),

with I_w the iterated integrals of the controls: the coefficient of e^l lies in D^{l+1}(q_0), at
every t and for every control, and for generic polynomial controls these vectors span what the
brackets of length l + 1 span (the chronological calculus of Agrachev and Gamkrelidze; Agrachev,
Sachkov, *Control Theory from the Geometric Viewpoint*, 2004, chapter 2). Their number is of no
concern: length 21 of two fields has 99,858 Hall brackets.

The coefficients are polynomials in t, held by their values at Chebyshev nodes, enough of them for
the integrals to be exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import casadi as ca
import numpy as np

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.arithmetic.taylor import TaylorRun
from subriem.brackets.adapted_rank import SIGNIFICANT
from subriem.brackets.bracket_family import bracket_family
from subriem.brackets.lifted_fields import lifted_fields
from subriem.structure import Structure

__all__ = ["control_scales", "fields_program", "integration_matrix", "path_vectors"]

_PATHS = 2


@cache
def integration_matrix(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev nodes on [0, 1] and the integrals from 0 to each, exact for degree < nodes.

    Parameters
    ----------
    nodes : int

    Returns
    -------
    times : ndarray, shape (nodes,)
    matrix : ndarray, shape (nodes, nodes)

    Examples
    --------
    >>> t, integrate = integration_matrix(4)
    >>> bool(np.allclose(integrate @ t**3, t**4 / 4))
    True
    """
    x = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    chebyshev = np.polynomial.chebyshev
    vander = chebyshev.chebvander(x, nodes - 1)
    # columns: the integral from -1 of each Chebyshev polynomial at the nodes
    integrals = np.column_stack(
        [chebyshev.chebval(x, chebyshev.chebint(np.eye(nodes)[k], lbnd=-1)) for k in range(nodes)]
    )
    # discrete orthogonality: vander' vander is diagonal
    weights = (vander**2).sum(axis=0)
    return (x + 1) / 2, integrals @ (vander / weights).T / 2


def fields_program(
    structure: Structure, drift: bool
) -> tuple[Program, list[list[tuple[int, int]]]]:
    """The fields' components, and the nonzeros of their Jacobians, as one program."""
    lifted = lifted_fields(structure, drift)

    def build() -> tuple[Program, list[list[tuple[int, int]]]]:
        fields = lifted.fields
        slopes = [ca.jacobian(fields[:, k], lifted.state) for k in range(fields.shape[1])]
        places = [list(zip(*slope.sparsity().get_triplet(), strict=True)) for slope in slopes]
        outputs = [ca.densify(fields), *slopes]
        symbols = [lifted.state, lifted.parameters]
        return Program(ca.Function("fields", symbols, outputs, {"cse": True})), places

    return structure.cached(("fields", drift), build)


def control_scales(structure: Structure, points: np.ndarray, drift: bool = False) -> np.ndarray:
    """Sizes of the controls under which brackets of one length are about equally large.

    The size of a component of a bracket is fitted by a factor for the component times one for
    each letter, over the short brackets. Without it, words with many letters of a field written
    in small units would drown in those with few.

    Parameters
    ----------
    structure : Structure
    points : ndarray, shape (B, n)
    drift : bool

    Returns
    -------
    ndarray, shape (number of letters,)

    Examples
    --------
    >>> s = Structure.define("s", "x", lambda q: [(1,), (1e-6,)])
    >>> fast, slow = control_scales(s, s.sample(3))
    >>> round(slow / fast)
    1000000
    """
    family = bracket_family(structure, drift)
    letters = [bracket.name for bracket in family.of_length(1)]
    rows, targets = [], []
    for length in (1, 2, 3):
        brackets = family.of_length(length)
        if not brackets or not family.affordable(length):
            break
        values = family.values(brackets, points, 1e-11)
        # what perturbations explain has no size
        noise = np.abs(values[1:] - values[0]).max(axis=0)
        sizes = np.where(np.abs(values[0]) > SIGNIFICANT * noise, np.abs(values[0]), 0.0).max(
            axis=0
        )
        words = [re.findall(r"[^\[\],]+", bracket.name) for bracket in brackets]
        for component, which in np.argwhere((sizes > 0) & np.isfinite(sizes)):
            row = np.zeros(structure.dimension + len(letters))
            row[component] = 1.0
            for letter in words[which]:
                row[structure.dimension + letters.index(letter)] += 1.0
            rows.append(row)
            targets.append(np.log(sizes[component, which]))
    if not rows:
        return np.ones(len(letters))
    # the minimum-norm solution where the brackets leave a factor open
    fitted = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=1e-10)[0]
    return np.exp(-fitted[structure.dimension :])


def path_vectors(
    structure: Structure,
    points: np.ndarray,
    steps: int,
    *,
    tolerance: float,
    drift: bool = False,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Vectors that span D^1, then what length 2 adds, and so on, at each point.

    Parameters
    ----------
    structure : Structure
    points : ndarray, shape (B, n)
    steps : int
        Largest length.
    tolerance : float
        See `PerturbedFloats`.
    drift : bool
        Let the drift act too, as a control of its own.
    seed : int
        Of the controls.

    Yields
    ------
    ndarray, shape (1 + copies, B, n, S)
        In copies that show how far they can be trusted.
    """
    generator = np.random.default_rng(seed)
    program, places = fields_program(structure, drift)
    n, m = structure.dimension, structure.rank
    letters = m + drift
    degree = 2 if steps <= 6 else 3 if steps <= 12 else 4
    count = max(2, (steps - 1) * (degree + 1) + 1)
    times, integrate = integration_matrix(count)
    batch = len(points)
    floats = PerturbedFloats(tolerance, generator=generator)
    shape = (floats.copies + 1, batch, _PATHS, count)
    controls = np.einsum(
        "irk,kt->irt",
        generator.standard_normal((letters, _PATHS, degree + 1)),
        np.polynomial.chebyshev.chebvander(2 * times - 1, degree).T,
    )
    controls *= control_scales(structure, points, drift)[:, None, None]
    run = TaylorRun(program, steps, shape, floats)

    def jitter(values: np.ndarray) -> np.ndarray:
        """Every element perturbed by itself: sums of such show what they lose by cancellation."""
        noise = generator.uniform(-tolerance, tolerance, values.shape)
        noise[(slice(None),) * (values.ndim - len(shape)) + (0,)] = 0.0
        return values * (1.0 + noise)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(floats.read(values)[:, :, None, None], shape)

    states = [spread(column) for column in points.T]
    values = lifted_fields(structure, drift).values
    parameters = [spread(np.full(batch, value)) for value in values]
    # B = (d phi)^-1, row by row, one array an order
    inverse = np.zeros((steps, n, n, *shape))
    inverse[0] = np.eye(n).reshape(n, n, *(1,) * len(shape))
    fields = np.zeros((steps, letters, n, *shape))
    slope = np.zeros((steps, n, n, *shape))
    for order in range(steps):
        columns, *jacobians = run.advance([states, parameters])
        fields[order] = jitter(np.stack(columns).reshape(letters, n, *shape))
        for k, (entries, where) in enumerate(zip(jacobians, places, strict=True)):
            for entry, (row, column) in zip(entries, where, strict=True):
                slope[order, row, column] += jitter(controls[k] * entry)
        pulled = np.zeros((m, n, *shape))
        for j in range(order + 1):
            pulled += np.einsum("ab...,kb...->ka...", inverse[j], fields[order - j, :m])
        # (m, n, copies, batch, paths, nodes) to (copies, batch, n, everything else)
        moved = np.moveaxis(jitter(pulled), (2, 3, 1), (0, 1, 2))
        yield moved.reshape(floats.copies + 1, batch, n, -1)
        if order + 1 == steps:
            return
        velocity = np.einsum("irt,in...rt->n...rt", controls, fields[order])
        states = list(jitter(jitter(velocity) @ integrate.T))
        parameters = [np.zeros(shape)] * len(parameters)
        change = np.zeros((n, n, *shape))
        for j in range(order + 1):
            change += np.einsum("ab...,bc...->ac...", inverse[j], slope[order - j])
        inverse[order + 1] = jitter(-(jitter(change) @ integrate.T))
