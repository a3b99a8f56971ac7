"""Size of a displacement by the ball-box theorem, and the frame in which it is measured.

For brackets Y_1, ..., Y_n of lengths w_1, ..., w_n that span the space at q, the box of size d
about q holds the points q + sum_j z_j Y_j(q) with |z_j| <= d^{w_j}. About q the ball of radius d
contains a box of size d / C and is contained in one of size C d, if the n brackets are those,
among all, whose volume d^{w_1 + ... + w_n} |det Y(q)| is (nearly) the largest: the brackets
depend on d, and C does not degenerate next to singular points. From step 3 on the z_j must be
privileged coordinates; without their corrections they say too little for small displacements.
Source: F. Jean, *Uniform estimation of sub-Riemannian balls*, J. Dynamical and Control Systems 7
(2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
from scipy.linalg import qr

from subriem.brackets.bracket_family import bracket_family
from subriem.brackets.flag import lie_flag
from subriem.brackets.privileged import PrivilegedCoordinates, privileged_coordinates
from subriem.errors import InputError, NumericalError
from subriem.structure import Structure

__all__ = ["BallBox", "Boxes"]

#: Brackets beyond this number are left out: the adapted frame of the flag stays in.
_MOST_BRACKETS = 100


@dataclass(frozen=True)
class Boxes:
    """The boxes that displacements just fill.

    Attributes
    ----------
    size : ndarray, shape (M,)
        d, in units of length.
    family : ndarray of int, shape (M,)
        Which brackets, as a number.
    weights : ndarray, shape (M, n)
    frames : ndarray, shape (M, n, n)
        Columns Y_j(q).
    """

    size: np.ndarray
    family: np.ndarray
    weights: np.ndarray
    frames: np.ndarray

    def take(self, rows: np.ndarray) -> Boxes:
        """Some of them."""
        return Boxes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class BallBox:
    """Boxes about a point.

    Parameters
    ----------
    structure : Structure
    point : ndarray, shape (n,)
        Inside the chart.

    Attributes
    ----------
    filled : bool
        Whether the brackets span the space (`lie_flag`).
    status : str
        Of the flag.
    orbit_dimension : int
        Rank of the brackets.
    step : int
        Degree of nonholonomy; 0 where it is not decided.

    Examples
    --------
    >>> grushin = Structure.define("grushin", "x y", lambda q: [(1, 0), (0, q.x)])
    >>> near = BallBox(grushin, np.array([0.01, 0.0]))
    >>> near.measure(np.array([[0.0, 1e-6], [0.0, 1.0]]))[0].size
    array([1.e-04, 1.e+02, 1.e+00])
    """

    def __init__(self, structure: Structure, point: np.ndarray) -> None:
        n = structure.dimension
        flag = lie_flag(structure, point)
        self.filled = bool(flag["bracket_generating"])
        self.status = str(flag["status"].item())
        self.step = int(flag["degree_of_nonholonomy"])
        self.orbit_dimension = int(flag["growth_vector"].values[-1])
        adapted = flag["adapted_frame"].values.copy()
        weights = flag["weight"].values.copy()
        missing = weights == 0
        if missing.any():
            # directions out of reach: orthogonal to the others, of a weight that bars none
            left = np.linalg.svd(adapted)[0]
            adapted[:, missing] = left[:, n - missing.sum() :]
            weights[missing] = 1
        families = [(adapted, weights)]
        self._coordinates = None
        if self.filled and self.step > 2:
            self._coordinates = _privileged(structure, point)
        if self._coordinates is not None:
            own = np.array(self._coordinates.weights)
            families.insert(0, (self._coordinates.frame, own))
        if self.filled:
            families += _families(structure, point, max(self.step, 1) + 1)
        self.frames = np.stack([frame for frame, _ in families])
        self.weights = np.stack([weight for _, weight in families])
        self._point = point
        self._inverses = np.linalg.inv(self.frames)

    def measure(self, displacements: np.ndarray) -> tuple[Boxes, np.ndarray]:
        """The box of the flag's brackets for each displacement, and others where there is doubt.

        Next to singular points longer brackets give the size; far from the start they may
        mislead. Where they halve the size, both boxes are given; from step 3 on, that of linear
        coordinates as well.

        Parameters
        ----------
        displacements : ndarray, shape (M, n)

        Returns
        -------
        boxes : Boxes
        rows : ndarray of int
            The displacement of each box.
        """
        z = np.einsum("fij,mj->mfi", self._inverses, displacements)
        if self._coordinates is not None:
            z[:, 0] = self._coordinates.to_privileged(self._point + displacements)
        sizes = (np.abs(z) ** (1.0 / self.weights)).max(axis=2)
        best = sizes.argmin(axis=1)
        everything = np.arange(len(best))
        much = np.flatnonzero(sizes[everything, best] < 0.5 * sizes[:, 0])
        displaced, families = [everything, much], [np.zeros_like(best), best[much]]
        if self._coordinates is not None:
            # polynomials may mislead far from the start as well
            displaced.append(np.flatnonzero((best != 1) | (sizes[:, 1] >= 0.5 * sizes[:, 0])))
            families.append(np.ones_like(displaced[-1]))
        rows, family = np.concatenate(displaced), np.concatenate(families)
        boxes = Boxes(sizes[rows, family], family, self.weights[family], self.frames[family])
        return boxes, rows

    def coordinates(self, boxes: Boxes, states: np.ndarray) -> np.ndarray:
        """The z of states, each in the brackets of its box.

        Parameters
        ----------
        boxes : Boxes
            Of length B.
        states : ndarray, shape (B, n)
            May be NaN.

        Returns
        -------
        ndarray, shape (B, n)
        """
        z = np.einsum("bij,bj->bi", self._inverses[boxes.family], states - self._point)
        bent = self._bent(boxes)
        if len(bent):
            assert self._coordinates is not None
            z[bent] = np.asarray(self._coordinates.forward(states[bent].T)).T
        return z

    def slopes(self, boxes: Boxes, states: np.ndarray) -> np.ndarray:
        """Derivatives of `coordinates` by the states, shape (B, n, n)."""
        matrices = self._inverses[boxes.family]
        bent = self._bent(boxes)
        if len(bent):
            n = len(self._point)
            # CasADi puts the matrices of all states side by side
            found = np.asarray(self._slope(states[bent].T)).reshape(n, len(bent), n)
            matrices[bent] = found.swapaxes(0, 1)
        return matrices

    def linear_units(self, boxes: Boxes) -> np.ndarray:
        """Matrices, shape (B, n, n), to linear coordinates in which a box has size 1."""
        scales = boxes.size[:, None] ** boxes.weights
        return np.asarray(self._inverses[boxes.family] / scales[..., None])

    def _bent(self, boxes: Boxes) -> np.ndarray:
        """The boxes whose coordinates are privileged ones, not linear."""
        if self._coordinates is None:
            return np.zeros(0, dtype=int)
        return np.flatnonzero(boxes.family == 0)

    @cached_property
    def _slope(self) -> ca.Function:
        assert self._coordinates is not None
        q = ca.SX.sym("q", len(self._point))
        derivative = ca.jacobian(self._coordinates.forward(q), q)
        return ca.Function("slope", [q], [ca.densify(derivative)])


def _privileged(structure: Structure, point: np.ndarray) -> PrivilegedCoordinates | None:
    """Privileged coordinates; none where linear ones are privileged already."""
    try:
        found = privileged_coordinates(structure, point)
    except (InputError, NumericalError):
        return None
    q = ca.SX.sym("q", structure.dimension)
    return found if ca.depends_on(ca.jacobian(found.forward(q), q), q) else None


def _families(
    structure: Structure, point: np.ndarray, length: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Brackets of nearly the largest volume, for sizes over many orders of magnitude."""
    n = structure.dimension
    family = bracket_family(structure)
    brackets = family.of_length(1)
    for k in range(2, length + 1):
        if not family.affordable(k) or len(brackets) + len(family.of_length(k)) > _MOST_BRACKETS:
            break
        brackets = [*brackets, *family.of_length(k)]
    values = family.values(brackets, point[None], 1e-12)[0, 0]
    weights = np.array([bracket.length for bracket in brackets])
    if not np.isfinite(values).all():
        return []
    found: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    for size in 2.0 ** np.arange(-30, 31):
        scaled = values * size**weights
        rows = np.abs(scaled).max(axis=1, keepdims=True)
        if not rows.all():
            continue
        triangle, chosen = qr(scaled / rows, mode="r", pivoting=True)
        diagonal = np.abs(np.diag(triangle[:, :n]))
        key = tuple(sorted(chosen[:n].tolist()))
        if len(chosen) >= n and diagonal.min() > 1e-9 and key not in found:
            picked = list(key)
            found[key] = (values[:, picked], weights[picked])
    return list(found.values())
