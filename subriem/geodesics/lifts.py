"""End points on the universal cover: what periods add to the angles of a point."""

from __future__ import annotations

import itertools

import numpy as np

from subriem.structure import Structure

__all__ = ["lifted_ends"]

#: With many angles only the lifts that turn least are kept.
_MOST = 27


def lifted_ends(structure: Structure, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The points over one end point that lie within one and a half periods of the start.

    Parameters
    ----------
    structure : Structure
    start, end : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (number of lifts, n)
        That of the least displacement first; without periodic coordinates the end itself.

    Examples
    --------
    >>> circle = Structure.define("circle", "t", lambda q: [(1,)], periodic={"t": 1})
    >>> lifted_ends(circle, np.array([0.0]), np.array([0.75]))
    array([[-0.25],
           [ 0.75],
           [-1.25]])
    """
    if not structure.periods:
        return end[None]
    nearest = start + structure.wrap(end - start)
    places = [structure.coordinates.index(name) for name in structure.periods]
    periods = np.array(list(structure.periods.values()))
    turns = np.array(list(itertools.product((0, 1, -1), repeat=len(periods))), dtype=float)
    lifted = np.repeat(nearest[None], len(turns), axis=0)
    lifted[:, places] += turns * periods
    away = np.abs((lifted - start)[:, places] / periods).sum(axis=1)
    return lifted[np.argsort(away, kind="stable")[:_MOST]]
