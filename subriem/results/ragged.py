"""Datasets of different lengths, one for each point of a grid, in one dataset and back.

Orbits have different numbers of steps. In the combined dataset every variable has the dimensions
of the grid in front of its own, and is padded at the end of each own dimension:

- with NaN (numbers with a point, complex numbers), NaT (times), ``""`` (text), ``False`` (truth
  values), and integers, which stay integers, with the value that their attribute
  ``padding_value`` names (the least of a signed type, the greatest of an unsigned one);
- where lengths differ, ``<dimension>_length`` over the grid says how many are real.

A dimension whose coordinates agree, up to their lengths, keeps its name and the longest of them.
Otherwise (the times of two orbits) it becomes ``<dimension>_index``, counted from 0, and the
coordinate becomes a variable over the grid. Attributes that agree stay attributes; others become
variables over the grid: numbers and short texts as they are, anything else as JSON text.

The attribute ``combination`` holds the rest that `select_task` needs to give one dataset back as
it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.results.combination import COMBINATION, LAYOUT, Survey
from subriem.results.json_text import decode_json

__all__ = ["combine_tasks", "find_conflicts", "select_task"]

_PYTHON_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
}


def combine_tasks(
    datasets: Sequence[xr.Dataset | None],
    grid: Mapping[str, Sequence[Any]],
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Combine the datasets of the points of a grid into one.

    Parameters
    ----------
    datasets
        One for each point of the grid, the last dimension of the grid running fastest; None where
        a point has none.
    grid
        Name to values, in the order of the dimensions.
    attributes
        Attributes of the combined dataset itself (its provenance). An attribute of the tasks that
        has the same name and another value is kept as ``task_<name>``.

    Returns
    -------
    xarray.Dataset
        The combined dataset.

    Raises
    ------
    InputError
        If the number of datasets is not that of the points, or datasets conflict (see
        `find_conflicts`); the message names the point and the variable.

    Examples
    --------
    >>> import xarray as xr
    >>> short = xr.Dataset({"loss": ("time", [4.0, 1.0])}, {"time": [0.0, 2.0]})
    >>> long = xr.Dataset({"loss": ("time", [4.0, 2.0, 1.0])}, {"time": [0.0, 1.0, 2.0]})
    >>> both = combine_tasks([short, long], {"kind": ["straight", "adapted"]})
    >>> both.loss.dims, both.time_length.values.tolist()
    (('kind', 'time_index'), [2, 3])
    >>> select_task(both, kind="straight").identical(short)
    True
    """
    count = math.prod(len(values) for values in grid.values())
    if len(datasets) != count:
        shape = tuple(len(values) for values in grid.values())
        raise InputError(
            f"expected {count} datasets for a grid of shape {shape}, got {len(datasets)}"
        )
    survey = _survey(datasets, grid)
    for number, problem in survey.conflicts().items():
        values = list(itertools.product(*grid.values()))[number]
        point = dict(zip(grid, values, strict=True))
        raise InputError(f"the dataset of {point} {problem}")
    return survey.combine(attributes or {}, datasets.__getitem__)


def find_conflicts(
    datasets: Sequence[xr.Dataset | None], grid: Mapping[str, Sequence[Any]]
) -> dict[int, str]:
    """Find the datasets that cannot be combined with the others.

    A variable must have the same dimensions in all of them, and be of one kind: numbers, text,
    truth values or times; where they differ the majority is right. No name of the grid, and none
    that the combined dataset needs, may be taken.

    Parameters
    ----------
    datasets
        One for each point of the grid, or None.
    grid
        Name to values.

    Returns
    -------
    dict
        Number of a dataset to what is wrong with it, in words.

    Examples
    --------
    >>> import xarray as xr
    >>> one = xr.Dataset({"loss": ("time", [4.0, 1.0])})
    >>> find_conflicts([one, one, xr.Dataset({"loss": 4.0})], {"seed": [0, 1, 2]})
    {2: "has 'loss' as numbers over (), the others as numbers over ('time',)"}
    """
    return _survey(datasets, grid).conflicts()


def _survey(datasets: Sequence[xr.Dataset | None], grid: Mapping[str, Sequence[Any]]) -> Survey:
    survey = Survey(grid)
    for number, dataset in enumerate(datasets):
        if dataset is not None:
            survey.add(number, dataset)
    return survey


def select_task(combined: xr.Dataset, **point: Any) -> xr.Dataset:
    """Give the dataset of one point of the grid back as it was before it was combined.

    Parameters
    ----------
    combined
        What `combine_tasks` made, or a selection of it along the grid.
    **point
        The value of every dimension of the grid that is not yet selected.

    Returns
    -------
    xarray.Dataset
        Same names, dimensions, coordinates, values, types and attributes.

    Raises
    ------
    InputError
        If the dataset is not a combined one, the point is not on the grid, or the task of that
        point gave no dataset (its message is repeated).

    Examples
    --------
    >>> import xarray as xr
    >>> both = combine_tasks([xr.Dataset({"loss": 1.0}), None], {"seed": [0, 1]})
    >>> float(select_task(both, seed=0).loss)
    1.0
    """
    if COMBINATION not in combined.attrs:
        raise InputError("expected a dataset made by combine_tasks: it has no 'combination'")
    combination = combined.attrs[COMBINATION]
    cell = combined.isel(_locate(combined, combination["grid"], point))
    number = int(cell[LAYOUT])
    if number < 0:
        message = f": {cell['task_message'].item()}" if "task_message" in cell else ""
        raise InputError(f"the task of {point} gave no dataset{message}")
    layout = combination["layouts"][number]
    variables: dict[str, xr.Variable] = {}
    for name, form in layout["variables"].items():
        dims = tuple(form["dims"])
        lengths = [cell.variables.get(f"{dim}_length") for dim in dims]
        corner = tuple(slice(None if one is None else int(one)) for one in lengths)
        values = cell.variables[name].values[corner].astype(form["dtype"])
        variables[name] = xr.Variable(dims, values, form["attrs"])
    attrs: dict[str, Any] = {}
    for name, kind in layout["attributes"].items():
        where, stored = combination["attributes"][name]
        if where == "attribute":
            attrs[name] = cell.attrs[stored]
        elif where == "json":
            attrs[name] = decode_json(cell[stored].item())
        else:
            attrs[name] = _PYTHON_TYPES[kind](cell[stored].item())
    coordinates = [name for name, form in layout["variables"].items() if form["coordinate"]]
    return xr.Dataset(variables, attrs=attrs).set_coords(coordinates)


def _locate(combined: xr.Dataset, grid: list[str], point: Mapping[str, Any]) -> dict[str, int]:
    open_names = [name for name in grid if name in combined.dims]
    if set(point) != set(open_names):
        raise InputError(
            f"expected a value for each of {', '.join(open_names) or 'no dimension'}, got "
            f"{', '.join(point) or 'none'}"
        )
    index: dict[str, int] = {}
    for name, value in point.items():
        places = np.flatnonzero(combined[name].values == value)
        if len(places) != 1:
            raise InputError(
                f"{name} = {value!r} is not on the grid; it has {combined[name].values.tolist()}"
            )
        index[name] = int(places[0])
    return index
