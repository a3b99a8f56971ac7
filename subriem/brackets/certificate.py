"""What is proved about a Lie flag, beside what a tolerance decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from subriem.brackets.exact import CertifiedFlag, certified_flag
from subriem.structure import Structure

__all__ = ["add_certificate", "exact_entries"]


def exact_entries(structure: Structure, at: Any) -> list[list[Any]]:
    """The points' entries as they were given, so that texts and fractions stay exact.

    Parameters
    ----------
    structure : Structure
    at : points

    Returns
    -------
    list of lists
        One list of n entries a point.

    Examples
    --------
    >>> s = Structure.define("s", "x y", lambda q: [(1, 0)])
    >>> exact_entries(s, {"y": "pi/2", "x": 0})
    [[0, 'pi/2']]
    """
    rows: Any = at
    if isinstance(at, Mapping):
        columns = [np.asarray(at[name], dtype=object) for name in structure.coordinates]
        rows = np.stack(np.broadcast_arrays(*columns), axis=-1)
    elif isinstance(at, xr.DataArray) or hasattr(at, "detach"):
        rows = structure.points(at)
    array = np.atleast_2d(np.asarray(rows, dtype=object))
    return [
        [entry.item() if isinstance(entry, np.generic) else entry for entry in row] for row in array
    ]


def add_certificate(
    dataset: xr.Dataset, structure: Structure, at: Any, max_step: int
) -> xr.Dataset:
    """Add proved bounds to the dataset of `lie_flag`.

    Parameters
    ----------
    dataset : xarray.Dataset
    structure : Structure
    at : points
        As the user gave them.
    max_step : int

    Returns
    -------
    xarray.Dataset
        With ``lower_bound`` and ``upper_bound`` over ``step``, ``certified`` (the whole growth
        vector, and that it goes no further, is proved and is the one reported) and
        ``certificate``, the words that go with it. Brackets found in the proof name the
        directions that have no name yet, and a flag that it closes is ``"closed"``.

    Raises
    ------
    MissingDependencyError
        If python-flint is not installed.
    """
    single = "point" not in dataset.growth_vector.dims
    vectors = np.atleast_2d(dataset.growth_vector.values)
    points, steps = vectors.shape
    proofs = [
        certified_flag(structure, entries, max_step=max_step)
        for entries in exact_entries(structure, at)
    ]
    lower, upper = np.zeros((points, steps), int), np.full((points, steps), structure.dimension)
    certified, texts = np.zeros(points, bool), []
    status = np.atleast_1d(dataset["status"].values).astype(object)
    degree = np.atleast_1d(dataset["degree_of_nonholonomy"].values).copy()
    names = np.atleast_2d(dataset["bracket"].values).astype(object)
    weights = np.atleast_2d(dataset["weight"].values)
    for k, (proof, vector) in enumerate(zip(proofs, vectors, strict=True)):
        lower[k], upper[k] = _bounds(proof, steps, structure.dimension)
        agrees = bool((lower[k] == vector).all() and (upper[k] == vector).all())
        certified[k] = proof.closed and agrees
        if certified[k] and degree[k] == 0:
            # at a singular point only the proof may know that nothing is to come
            status[k], degree[k] = "closed", len(proof.lower)
        texts.append(_words(proof, agrees, lower[k], upper[k], vector))
        if [step for _, step in proof.words] == [w for w in weights[k] if w]:
            for j, (name, _) in enumerate(proof.words):
                names[k, j] = names[k, j] or name
    dims = ("step",) if single else ("point", "step")
    where = () if single else ("point",)

    def over(dimensions: tuple[str, ...], values: Any, long_name: str) -> tuple[Any, Any, Any]:
        array = np.asarray(values)
        return (dimensions, array[0] if single else array, {"long_name": long_name, "units": "1"})

    added = dataset.assign(
        lower_bound=over(dims, lower, "proved lower bound of dim D^step"),
        upper_bound=over(dims, upper, "proved upper bound of dim D^step"),
        certified=over(where, certified, "whether the growth vector is proved"),
        status=(where, (status[0] if single else status.astype(str)), dataset["status"].attrs),
        degree_of_nonholonomy=(
            where,
            degree[0] if single else degree,
            dataset["degree_of_nonholonomy"].attrs,
        ),
        certificate=over(where, np.array(texts), "what is proved, and how"),
        bracket=(
            dataset["bracket"].dims,
            (names[0] if single else names).astype(str),
            dataset["bracket"].attrs,
        ),
    )
    if single:
        added.attrs["status"] = str(status[0])
    if certified.all():
        added.attrs["regime"] = "certified"
    return added


def _bounds(proof: CertifiedFlag, steps: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds for ``steps`` steps; a closed flag goes on as it ended."""
    last = proof.lower[-1] if proof.lower else 0
    lower = np.array([*proof.lower, *[last] * steps])[:steps]
    ends = proof.upper[-1] if proof.upper and proof.closed else None
    given = [*proof.upper, *[ends] * steps][:steps]
    upper = np.array([dimension if bound is None else bound for bound in given])
    return lower, upper


def _words(
    proof: CertifiedFlag, agrees: bool, lower: np.ndarray, upper: np.ndarray, vector: np.ndarray
) -> str:
    notes = "; ".join(proof.notes)
    if proof.closed and agrees:
        text = f"proved ({proof.method})"
    elif proof.growth_vector is not None and proof.closed and not agrees:
        # a float next to pi/2 is not pi/2
        text = (
            f"at exactly these numbers the growth vector is {list(proof.growth_vector)}, proved "
            f"({proof.method}); the tolerance takes them for a nearby point"
        )
    elif (lower > vector).any() or (upper < vector).any():
        text = f"proved bounds exclude the growth vector found by tolerance ({proof.method})"
    elif (lower == vector).all():
        text = f"proved from below ({proof.method}); from above: not proved"
    else:
        text = f"not proved ({proof.method})"
    return "; ".join(part for part in (text, proof.reason, notes) if part)
