"""Sub-Riemannian distance from a point to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError, NumericalError
from subriem.geodesics.hamiltonian import hamiltonian
from subriem.geodesics.lifts import lifted_ends
from subriem.geodesics.shortest import shortest_paths
from subriem.results.schema import build_dataset
from subriem.structure import Structure, require_structure

__all__ = ["distance", "read_inside"]


def distance(
    structure: Structure, start: Any, points: Any, *, seed: int = 0, strict: bool = False
) -> xr.DataArray:
    """Sub-Riemannian distance d(start, q) for points q, searched for globally.

    Each is the length of the shortest normal geodesic that a search from many seeds finds; see
    `connect`, which also gives the path. Abnormal extremals take part as in `connect`; the
    coordinate ``abnormal`` says where they are excluded. Nothing but ``lower_bound`` proves that
    there is no shorter path.

    Parameters
    ----------
    structure : Structure
        Without a drift.
    start : point
    points : points
        One or a batch. Coordinates that the structure calls periodic are angles: the distance is
        that on the quotient. Define the structure without ``periodic`` for its cover.
    seed : int
        Of the random fans of geodesics.
    strict : bool
        Raise where no path was found.

    Returns
    -------
    xarray.DataArray
        Over ``point`` (not for one point): infinite where a first integral shows that the point
        is not in the orbit of the start, NaN where nothing was found. Coordinates: ``status``
        (as of `connect`), ``seeds``, ``agreeing``, ``minimizers``, ``lower_bound`` and
        ``abnormal`` (strictly abnormal minimizers: ``"excluded"``, ``"considered"`` or
        ``"not considered"``).

    Raises
    ------
    InputError
        If a point does not fit or lies outside the chart, or the structure has a drift.
    InputTypeError
        If the first argument is not a structure.
    NumericalError
        With ``strict``, where no path was found.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> d = distance(heisenberg, [0, 0, 0], [[3, 4, 0], [0, 0, 1]])
    >>> bool(abs(d[0] - 5) < 1e-9), bool(abs(d[1] - 2 * np.pi**0.5) < 1e-9)
    (True, True)
    """
    require_structure(structure)
    hamiltonian(structure)
    origin = read_inside(structure, start, "start")
    if origin.ndim != 1:
        raise InputError(f"start: expected one point, got {len(origin)}")
    ends = read_inside(structure, points, "points")
    lifts = [lifted_ends(structure, origin, end) for end in np.atleast_2d(ends)]
    solutions = shortest_paths(structure, origin, lifts, seed=seed)
    single = ends.ndim == 1
    dims = () if single else ("point",)

    def over(values: list[Any]) -> Any:
        return values[0] if single else np.array(values)

    columns: dict[str, tuple[list[Any], str]] = {
        "status": ([s.status for s in solutions], "how the distance was found"),
        "seeds": ([s.seeds for s in solutions], "guesses that were shot"),
        "agreeing": ([s.agreeing for s in solutions], "guesses that led to the shortest"),
        "minimizers": ([s.minimizers for s in solutions], "shortest geodesics found"),
        "lower_bound": (
            [s.bound.value for s in solutions],
            "proved lower bound of the distance",
        ),
        "abnormal": (
            [s.abnormal.verdict for s in solutions],
            "strictly abnormal minimizers: excluded, considered or not considered",
        ),
    }
    missing = [k for k, s in enumerate(solutions) if s.status == "not found"]
    if strict and missing:
        raise NumericalError(
            f"{structure.name}: no path found from {origin.tolist()} to "
            f"{np.atleast_2d(ends)[missing[0]].tolist()}; {solutions[missing[0]].note}"
        )
    dataset = build_dataset(
        {
            "distance": (
                dims,
                over([s.length for s in solutions]),
                "length of the shortest path found",
                "1",
            )
        },
        {
            **{name: (dims, over(values), text, "1") for name, (values, text) in columns.items()},
            **{
                f"end_{name}": (dims, ends[..., k], f"coordinate {name} of the point", "1")
                for k, name in enumerate(structure.coordinates)
            },
        },
        function="distance",
        arguments={"start": start, "points": points},
        structure=repr(structure),
        seed=seed,
    )
    found = dataset["distance"]
    found.attrs.update(dataset.attrs)
    return found


def read_inside(structure: Structure, at: Any, what: str) -> np.ndarray:
    """Points that lie inside the chart, where the frame is finite.

    Parameters
    ----------
    structure : Structure
    at : points
    what : str
        What they are, for the messages.

    Returns
    -------
    ndarray, shape (n,) or (B, n)

    Raises
    ------
    InputError
    """
    points = structure.points(at, what)
    batch = np.atleast_2d(points)
    if not len(batch):
        raise InputError(f"{what}: expected at least one point, got none")
    inside = structure.inside(batch) & np.isfinite(structure.frame_at(batch)).all(axis=(1, 2))
    bad = np.flatnonzero(~inside)
    if len(bad):
        raise InputError(
            f"{what}: point {batch[bad[0]].tolist()} (number {bad[0]}) is outside the chart of "
            f"{structure.name}"
        )
    return points
