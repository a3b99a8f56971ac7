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

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.results.json_text import decode_json, encode_json
from subriem.results.schema import index_coordinate

__all__ = ["combine_tasks", "find_conflicts", "select_task"]

_COMBINATION = "combination"
_LAYOUT = "task_layout"
# what a study adds to the combined dataset
_OF_THE_STUDY = frozenset({_LAYOUT, "task_status", "task_message", "task_seconds"})

# kinds of attributes that differ -> type of the variable that holds them; others are JSON text
_COLUMNS: Mapping[frozenset[str], type] = {
    frozenset({"bool"}): np.bool_,
    frozenset({"int"}): np.int64,
    frozenset({"float"}): np.float64,
    frozenset({"int", "float"}): np.float64,
    frozenset({"str"}): np.str_,
}
_PYTHON_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
}

_Index = tuple[int, ...]


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
    shape = tuple(len(values) for values in grid.values())
    if len(datasets) != math.prod(shape):
        raise InputError(
            f"expected {math.prod(shape)} datasets for a grid of shape {shape}, got {len(datasets)}"
        )
    indices = list(np.ndindex(*shape))
    for number, problem in find_conflicts(datasets, grid).items():
        point = {n: values[i] for (n, values), i in zip(grid.items(), indices[number], strict=True)}
        raise InputError(f"the dataset of {point} {problem}")
    tasks = {
        index: dataset
        for index, dataset in zip(indices, datasets, strict=True)
        if dataset is not None
    }
    combined = xr.Dataset(
        coords={
            name: xr.Variable(name, np.asarray(list(values)), _described(name.replace("_", " ")))
            for name, values in grid.items()
        },
        attrs=dict(attributes or {}),
    )
    names = tuple(grid)
    renamed = _add_dimensions(combined, tasks, names)
    _add_variables(combined, tasks, names, renamed)
    placed = _add_attributes(combined, tasks, names)
    layouts, numbers = _layouts(tasks, shape)
    combined[_LAYOUT] = xr.Variable(
        names, numbers, _described("number of the layout in 'combination', -1: no dataset")
    )
    combined.attrs[_COMBINATION] = {
        "grid": list(grid),
        "renamed": renamed,
        "attributes": placed,
        "layouts": layouts,
    }
    return combined


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
    present = {number: dataset for number, dataset in enumerate(datasets) if dataset is not None}
    forms: dict[str, Counter[tuple[str, tuple[Any, ...]]]] = {}
    for dataset in present.values():
        for name, variable in dataset.variables.items():
            forms.setdefault(str(name), Counter())[_kind(variable), variable.dims] += 1
    usual = {name: counter.most_common(1)[0][0] for name, counter in forms.items()}
    taken = {*grid, *_OF_THE_STUDY}
    for dimension, _, renamed, lengths in _dimensions(list(present.values())):
        taken |= {f"{dimension}_index"} if renamed else set()
        taken |= {f"{dimension}_length"} if lengths else set()
    problems: dict[int, str] = {}
    for number, dataset in present.items():
        for name in sorted(taken.intersection([*map(str, dataset.variables), *dataset.sizes])):
            problems[number] = f"has a variable or dimension {name!r}, and that name is taken"
        for name, variable in dataset.variables.items():
            kind, dims = usual[str(name)]
            if (_kind(variable), variable.dims) != (kind, dims):
                problems[number] = (
                    f"has {name!r} as {_kind(variable)} over {variable.dims}, the others as {kind} "
                    f"over {dims}"
                )
            elif kind == "objects":
                problems[number] = f"has {name!r} as objects, not as numbers, text or times"
    return problems


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
    if _COMBINATION not in combined.attrs:
        raise InputError("expected a dataset made by combine_tasks: it has no 'combination'")
    combination = combined.attrs[_COMBINATION]
    cell = combined.isel(_locate(combined, combination["grid"], point))
    number = int(cell[_LAYOUT])
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


def _dimensions(
    datasets: Sequence[xr.Dataset],
) -> Iterator[tuple[str, xr.Variable, bool, bool]]:
    """Each dimension: name, combined coordinate, whether renamed, whether lengths differ."""
    names = dict.fromkeys(str(name) for dataset in datasets for name in dataset.sizes)
    for name in names:
        having = [dataset for dataset in datasets if name in dataset.sizes]
        sizes = {dataset.sizes[name] for dataset in having}
        coordinates = [dataset.variables[name] for dataset in having if name in dataset.coords]
        longest = _longest(coordinates) if len(coordinates) == len(having) else None
        unlabelled = not any(name in dataset.variables for dataset in datasets)
        if longest is None or longest.dims != (name,):
            stored = name if unlabelled else f"{name}_index"
            longest = index_coordinate(stored, max(sizes))
        yield name, longest, longest.dims != (name,), len(sizes) > 1


def _longest(variables: Sequence[xr.Variable]) -> xr.Variable | None:
    """The variable of which all others are the first part, if there is one."""
    longest = max(variables, key=lambda variable: variable.size, default=None)
    if longest is None:
        return None
    values = _values(longest)
    for variable in variables:
        part = _values(variable)
        same_type = part.dtype == values.dtype or part.dtype.kind == values.dtype.kind == "U"
        if variable.dims != longest.dims or not same_type:
            return None
        corner = values[tuple(slice(size) for size in part.shape)]
        if not np.array_equal(part, corner, equal_nan=part.dtype.kind in "fcmM"):
            return None
    return longest


def _add_dimensions(
    combined: xr.Dataset, tasks: Mapping[_Index, xr.Dataset], grid: tuple[str, ...]
) -> dict[str, str]:
    """Add coordinates and lengths; return the new name of each renamed dimension."""
    new_names: dict[str, str] = {}
    for name, coordinate, renamed, lengths_differ in _dimensions(list(tasks.values())):
        stored = str(coordinate.dims[0])
        combined.coords[stored] = coordinate.copy()
        if renamed:
            new_names[name] = stored
        if lengths_differ:
            lengths = np.zeros([combined.sizes[one] for one in grid], np.int64)
            for index, dataset in tasks.items():
                lengths[index] = dataset.sizes.get(name, 0)
            combined[f"{name}_length"] = xr.Variable(
                grid, lengths, _described(f"number of entries along {name}")
            )
    return new_names


def _add_variables(
    combined: xr.Dataset,
    tasks: Mapping[_Index, xr.Dataset],
    grid: tuple[str, ...],
    renamed: Mapping[str, str],
) -> None:
    for name in dict.fromkeys(name for dataset in tasks.values() for name in dataset.variables):
        having = {i: dataset for i, dataset in tasks.items() if name in dataset.variables}
        blocks = {index: dataset.variables[name] for index, dataset in having.items()}
        first = next(iter(blocks.values()))
        dims = tuple(renamed.get(str(dim), str(dim)) for dim in first.dims)
        sizes = tuple(combined.sizes[dim] for dim in dims)
        if all(name in dataset.coords for dataset in having.values()) and dims == first.dims:
            longest = _longest(list(blocks.values()))
            if longest is not None and longest.shape == sizes:
                combined.coords[name] = longest.copy()
                continue
        shape = tuple(combined.sizes[one] for one in grid)
        values = {index: _values(block) for index, block in blocks.items()}
        dtype = np.result_type(*{block.dtype for block in values.values()})
        padded, padding = _padded(shape + sizes, dtype)
        for index, block in values.items():
            corner: tuple[Any, ...] = tuple(slice(size) for size in block.shape)
            padded[index + corner] = block
        attrs = dict(first.attrs)
        full = len(values) == np.prod(shape) and all(v.shape == sizes for v in values.values())
        if dtype.kind in "iu" and not full:
            attrs["padding_value"] = padding
        combined[name] = xr.Variable(grid + dims, padded, attrs)


def _add_attributes(
    combined: xr.Dataset, tasks: Mapping[_Index, xr.Dataset], grid: tuple[str, ...]
) -> dict[str, list[str]]:
    """Place the attributes of the tasks; return where each one is and under which name."""
    own = set(combined.attrs) | {_COMBINATION}
    placed: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for dataset in tasks.values() for name in dataset.attrs):
        values = {i: data.attrs[name] for i, data in tasks.items() if name in data.attrs}
        texts = {encode_json(value, f"attribute {name!r}") for value in values.values()}
        first = next(iter(values.values()))
        agree = len(texts) == 1
        stored = name
        if not (agree and name in own and encode_json(combined.attrs.get(name)) in texts):
            while stored in {*combined.attrs, *combined.variables, *_OF_THE_STUDY, _COMBINATION}:
                stored = f"task_{stored}"
        if agree:
            combined.attrs[stored] = first
            placed[name] = ["attribute", stored]
            continue
        shape = tuple(combined.sizes[one] for one in grid)
        where, array, attrs = _attribute_array(values, shape)
        attrs |= _described(f"attribute {name!r} of the task" + " as JSON" * (where == "json"))
        combined[stored] = xr.Variable(grid, array, attrs)
        placed[name] = [where, stored]
    return placed


def _attribute_array(
    values: Mapping[_Index, Any], shape: _Index
) -> tuple[str, np.ndarray, dict[str, Any]]:
    kinds = {_attribute_kind(value) for value in values.values()} - {"none"}
    column = _COLUMNS.get(frozenset(kinds))
    if column is None:
        values = {index: encode_json(value) for index, value in values.items()}
    if column in (None, np.str_):
        array = np.full(shape, "", object)
        for index, value in values.items():
            array[index] = "" if value is None else value
        return "json" if column is None else "variable", array.astype(str), {}
    array, padding = _padded(shape, np.dtype(column))
    full = len(values) == array.size
    for index, value in values.items():
        if value is None:
            full = False
        else:
            array[index] = value
    return "variable", array, {"padding_value": padding} if column is np.int64 and not full else {}


def _attribute_kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and abs(value) <= 2**53:
        return "int"
    if isinstance(value, float):
        return "float"
    return "str" if isinstance(value, str) and value.isprintable() else "json"


def _layouts(
    tasks: Mapping[_Index, xr.Dataset], shape: _Index
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The distinct layouts of the tasks, and the number of each task's own."""
    numbers = np.full(shape, -1, np.int32)
    layouts: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for index, dataset in tasks.items():
        layout = {
            "variables": {
                name: {
                    "dims": list(variable.dims),
                    "dtype": _values(variable).dtype.str,
                    "coordinate": name in dataset.coords,
                    "attrs": dict(variable.attrs),
                }
                for name, variable in dataset.variables.items()
            },
            "attributes": {name: _attribute_kind(value) for name, value in dataset.attrs.items()},
        }
        key = encode_json(layout)
        numbers[index] = places.setdefault(key, len(places))
        if len(places) > len(layouts):
            layouts.append(layout)
    return layouts, numbers


def _kind(variable: xr.Variable) -> str:
    kind = variable.dtype.kind
    if kind == "O" and all(isinstance(item, str) for item in variable.values.ravel()):
        kind = "U"
    kinds = {"b": "truth values", "U": "text", "T": "text", "M": "times", "m": "durations"}
    return "numbers" if kind in "iufc" else kinds.get(kind, "objects")


def _values(variable: xr.Variable) -> np.ndarray:
    values = variable.values
    return values.astype(str) if values.dtype.kind in "OT" else values


def _padded(shape: _Index, dtype: np.dtype) -> tuple[np.ndarray, Any]:
    """An array of nothing but padding, and the padding."""
    padding: Any
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        padding = info.min if dtype.kind == "i" else info.max
    else:
        padding = {"f": np.nan, "c": complex(np.nan, np.nan), "b": False, "U": ""}.get(dtype.kind)
    if dtype.kind in "mM":
        padding = np.array("NaT", dtype)
    return np.full(shape, padding, dtype), padding


def _described(long_name: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1"}
