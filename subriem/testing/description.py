"""How failures name points, tuples and amounts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from subriem.structure import Structure

__all__ = ["point_text", "tuple_text"]

_SHOWN = 12


def point_text(structure: Structure, point: np.ndarray) -> str:
    """A point by coordinate names.

    Parameters
    ----------
    structure : Structure
    point : ndarray, shape (n,)

    Returns
    -------
    str

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0)])
    >>> point_text(plane, np.array([0.5, -2.0]))
    'x=0.5, y=-2'
    """
    named = [
        f"{name}={value:.6g}" for name, value in zip(structure.coordinates, point, strict=True)
    ]
    return ", ".join(named[:_SHOWN]) + (", ..." if len(named) > _SHOWN else "")


def tuple_text(values: Iterable[int]) -> str:
    """A growth vector as it is written.

    Parameters
    ----------
    values : iterable of int

    Returns
    -------
    str

    Examples
    --------
    >>> tuple_text(np.array([2, 3]))
    '(2, 3)'
    """
    return f"({', '.join(str(int(value)) for value in values)})"
