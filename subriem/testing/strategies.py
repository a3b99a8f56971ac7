"""Hypothesis strategies: points of a chart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from subriem.errors import MissingDependencyError
from subriem.structure import Structure, require_structure

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["points"]

# Where singular points of models tend to be.
_SIMPLE = (0.0, 1.0, -1.0, math.pi / 2, -math.pi / 2, 2.0, 0.5)
_REACH = 10.0


def points(structure: Structure) -> SearchStrategy[np.ndarray]:
    """Hypothesis strategy for points inside the chart of a structure.

    Coordinates are simple numbers (0, 1, pi/2, ...) or any within the period, the bounds, or 10
    of them; a failing example shrinks towards 0, or towards the simplest number in the bounds.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of arrays of shape (n,).

    Raises
    ------
    InputTypeError
        If it is not a structure.
    MissingDependencyError
        If Hypothesis is not installed.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from subriem.models import car
    >>> @settings(max_examples=10, database=None, derandomize=True)
    ... @given(points(car()))
    ... def test_car(point):
    ...     assert car().inside(point)
    >>> test_car()
    """
    require_structure(structure)
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise MissingDependencyError(
            "points of subriem.testing needs Hypothesis: pip install hypothesis"
        ) from error

    def coordinate(name: str) -> Any:
        low, high = _range(structure, name)
        simple = [value for value in _SIMPLE if low <= value <= high]
        anywhere = strategies.floats(low, high, allow_subnormal=False)
        return strategies.one_of(strategies.sampled_from(simple), anywhere) if simple else anywhere

    drawn = strategies.tuples(*(coordinate(name) for name in structure.coordinates))
    found = drawn.map(np.array)
    return found.filter(structure.inside) if structure.margins.shape[0] else found


def _range(structure: Structure, name: str) -> tuple[float, float]:
    """Where a coordinate is drawn from, a little inside the bounds."""
    low, high = structure.bounds.get(name, (-math.inf, math.inf))
    if name in structure.periods and not (math.isfinite(low) or math.isfinite(high)):
        half = structure.periods[name] / 2
        return -half, half
    if not math.isfinite(low):
        low = min(-_REACH, high - _REACH)
    if not math.isfinite(high):
        high = max(_REACH, low + _REACH)
    inset = 1e-3 * (high - low) if name in structure.bounds else 0.0
    return low + inset, high - inset
