"""Points of a chart: random ones inside it, angles brought to one period."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from subriem.errors import InputError

__all__ = ["sample_chart", "wrap"]


def wrap(
    coordinates: tuple[str, ...], periods: Mapping[str, float], points: np.ndarray
) -> np.ndarray:
    """Bring periodic coordinates to the half-open period around 0.

    Parameters
    ----------
    coordinates : tuple of str
    periods : mapping
        Of the periodic coordinates.
    points : ndarray, shape (..., n)

    Returns
    -------
    ndarray, shape (..., n)

    Examples
    --------
    >>> wrap(("x", "t"), {"t": 1.0}, np.array([5.0, 5.75]))
    array([ 5.  , -0.25])
    """
    wrapped = points.copy()
    for name, period in periods.items():
        k = coordinates.index(name)
        wrapped[..., k] -= period * np.round(wrapped[..., k] / period)
    return wrapped


def sample_chart(
    coordinates: tuple[str, ...],
    periods: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    inside: Callable[[np.ndarray], np.ndarray],
    count: int,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Random points inside a chart.

    Uniform over the period of a periodic coordinate and over finite bounds (a twentieth away from
    them), otherwise normal about 0 or about a point next to the bound.

    Parameters
    ----------
    coordinates : tuple of str
    periods, bounds : mapping
    inside : callable
        Points, shape (B, n), to whether they are inside, shape (B,).
    count : int
    generator : numpy.random.Generator, optional
        By default seeded with 0.

    Returns
    -------
    ndarray, shape (count, n)

    Raises
    ------
    InputError
        If a thousand draws a point do not fall inside the chart.

    Examples
    --------
    >>> def right(points):
    ...     return points[:, 0] > 0
    >>> bool((sample_chart(("x",), {}, {}, right, 4) > 0).all())
    True
    """
    generator = generator or np.random.default_rng(0)
    found: list[np.ndarray] = []
    for _ in range(1000):
        columns = [
            _draw(name, periods.get(name), bounds.get(name), count, generator)
            for name in coordinates
        ]
        drawn = np.column_stack(columns)
        found.extend(drawn[inside(drawn)])
        if len(found) >= count:
            return np.array(found[:count]).reshape(count, len(coordinates))
    raise InputError(f"no points found inside the chart {dict(bounds) or ''}")


def _draw(
    name: str,
    period: float | None,
    bound: tuple[float, float] | None,
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    low, high = bound or (-math.inf, math.inf)
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * (0.05 + 0.9 * generator.random(count))
    if period is not None:
        return (generator.random(count) - 0.5) * period
    drawn = generator.standard_normal(count)
    if math.isfinite(low):
        return low + np.abs(drawn) + 0.05
    return high - np.abs(drawn) - 0.05 if math.isfinite(high) else drawn
