"""Changes of coordinates and of the frame under which a flag does not change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

from subriem.structure import Structure

__all__ = ["Diffeomorphism", "random_diffeomorphism", "scaled_coordinates", "scaled_fields"]

# Quadratic terms and shears of a random change of coordinates, each at most so many.
_TERMS = 4


@dataclass(frozen=True)
class Diffeomorphism:
    """A change of coordinates and its inverse, for numbers and expressions alike.

    Attributes
    ----------
    forward, inverse : callable
        From a sequence of n numbers or expressions to a list.
    """

    forward: Callable[[Any], list[Any]]
    inverse: Callable[[Any], list[Any]]

    def applied(self, structure: Structure) -> Structure:
        """A structure in the new coordinates.

        Parameters
        ----------
        structure : Structure

        Returns
        -------
        Structure
        """
        names = [f"new_{name}" for name in structure.coordinates]
        changed = structure.change_coordinates(names, self.forward, self.inverse)
        return _with_samples_of(structure, changed, self.points)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points in the new coordinates.

        Parameters
        ----------
        points : ndarray, shape (B, n)

        Returns
        -------
        ndarray, shape (B, n)
        """
        return np.array([self.forward(point) for point in points], dtype=np.float64)


def random_diffeomorphism(dimension: int, generator: np.random.Generator) -> Diffeomorphism:
    """A random polynomial change of coordinates: triangular, then affine.

    Some coordinates are moved by quadratic polynomials of others; shears and a translation
    follow. Few coefficients, so that expressions stay small, and all of them multiples of 1/4, so
    that CasADi's arithmetic on constants is exact.

    Parameters
    ----------
    dimension : int
    generator : numpy.random.Generator

    Returns
    -------
    Diffeomorphism

    Examples
    --------
    >>> change = random_diffeomorphism(3, np.random.default_rng(0))
    >>> change.inverse(change.forward([1.0, 2.0, 3.0]))
    [1.0, 2.0, 3.0]
    """
    order = [int(k) for k in generator.permutation(dimension)]
    moved, still = order[: dimension // 2], order[dimension // 2 :]
    quadratic = []
    for k in moved[:_TERMS]:
        i, j = (int(index) for index in generator.choice(still, 2))
        linear, square = generator.choice([-0.5, -0.25, 0.25, 0.5], 2).tolist()
        quadratic.append((k, i, j, linear, square))
    shears = [
        (i, j, float(generator.choice([-1, 1])))
        for i, j in itertools.pairwise([int(k) for k in generator.permutation(dimension)][:_TERMS])
    ]
    shift = generator.choice([-0.5, 0.25, 0.75, 1.0], dimension).tolist()

    def forward(q: Any) -> list[Any]:
        z = [q[k] for k in range(dimension)]
        for k, i, j, linear, square in quadratic:
            z[k] = z[k] + linear * z[i] + square * z[i] * z[j]
        for i, j, factor in shears:
            z[i] = z[i] + factor * z[j]
        return [z[k] + shift[k] for k in range(dimension)]

    def inverse(w: Any) -> list[Any]:
        z = [w[k] - shift[k] for k in range(dimension)]
        for i, j, factor in reversed(shears):
            z[i] = z[i] - factor * z[j]
        for k, i, j, linear, square in quadratic:
            z[k] = z[k] - linear * z[i] - square * z[i] * z[j]
        return z

    return Diffeomorphism(forward, inverse)


def scaled_coordinates(structure: Structure, factors: np.ndarray) -> Structure:
    """The same structure with each coordinate in another unit: z = factors * q.

    Parameters
    ----------
    structure : Structure
    factors : ndarray, shape (n,)
        Positive.

    Returns
    -------
    Structure
        With its periods and bounds in the new units.
    """
    units = dict(zip(structure.coordinates, factors.tolist(), strict=True))
    scale = factors.tolist()
    changed = structure.change_coordinates(
        structure.coordinates,
        lambda q: [scale[k] * q[k] for k in range(len(scale))],
        lambda z: [z[k] / scale[k] for k in range(len(scale))],
        name=f"{structure.name} in other units",
        periodic={name: units[name] * period for name, period in structure.periods.items()},
        domain={
            name: (units[name] * low, units[name] * high)
            for name, (low, high) in structure.bounds.items()
        }
        or None,
    )
    return _with_samples_of(structure, changed, lambda points: points * factors)


class _Image(Structure):
    """A structure in other coordinates, whose random points are images of those of the original.

    Its chart has no bounds of its own to draw from: a thin one would hardly ever be hit.
    """

    _original: Structure
    _image: Callable[[np.ndarray], np.ndarray]

    def sample(self, count: int, generator: np.random.Generator | None = None) -> np.ndarray:
        """Images of random points of the original's chart, shape (count, n)."""
        return self._image(self._original.sample(count, generator))


def _with_samples_of(
    structure: Structure, changed: Structure, image: Callable[[np.ndarray], np.ndarray]
) -> Structure:
    made = _Image.__new__(_Image)
    made.__setstate__({**changed.__getstate__(), "_original": structure, "_image": image})
    return made


def scaled_fields(structure: Structure, factors: np.ndarray) -> Structure:
    """The same distribution and inner product, spanned by multiples of the fields.

    Parameters
    ----------
    structure : Structure
    factors : ndarray, shape (m,)

    Returns
    -------
    Structure
    """
    scale = ca.diag(ca.DM(factors))
    outputs = [
        structure.frame @ scale,
        scale @ structure.metric @ scale,
        structure.drift,
        structure.margins,
    ]
    return Structure(
        f"{structure.name} with scaled fields",
        structure.coordinates,
        ca.Function("model", [structure.state, structure.parameter_symbols], outputs),
        parameters=structure.parameters,
        periods=structure.periods,
        bounds=structure.bounds,
        field_names=structure.field_names,
        has_drift=structure.has_drift,
    )
