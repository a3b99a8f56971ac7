"""The tables of the page: what a dataset says of itself, its variables, its values, its tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from subriem.results.labels import axis_label
from subriem.results.report.packing import missing_as_nan
from subriem.results.summary import value_range

__all__ = [
    "Table",
    "attribute_rows",
    "failures",
    "one_a_task",
    "task_table",
    "value_tables",
    "variable_table",
]

#: So many rows and columns of a table are shown.
MOST_ROWS, MOST_COLUMNS = 200, 16
_PROVENANCE = (
    "function",
    "study",
    "task_function",
    "structure",
    "arguments",
    "seed",
    "created_at",
    "creation_library",
    "creation_library_version",
    "creation_library_language",
)
_HIDDEN = ("combination", "study_manifest", "question")
# what `combine_tasks` and a study add, which is no result
_BOOKKEEPING = ("task_layout", "task_message", "task_created_at", "task_arguments")
#: Longer texts make a table unreadable.
_LONGEST_CELL = 60


@dataclass(frozen=True)
class Table:
    """A table as text.

    Parameters
    ----------
    title : str
    columns : list of str
    rows : list of list of str
    note : str
        What is left out; "" where nothing is.
    meanings : list of str
        What the columns mean; empty where they are words already.

    Examples
    --------
    >>> Table("values", ["x"], [["1"]]).note
    ''
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    meanings: list[str] = field(default_factory=list)


def attribute_rows(dataset: xr.Dataset) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Where a dataset comes from, and what else it says of itself.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    tuple of two lists of (str, str)
        Names and texts; arguments, and other mappings, are a row each.

    Examples
    --------
    >>> attributes = {"seed": 7, "arguments": {"kind": "adapted"}, "status": "converged"}
    >>> attribute_rows(xr.Dataset(attrs=attributes))
    ([('argument kind', 'adapted'), ('seed', '7')], [('status', 'converged')])
    """
    attributes = {str(name): value for name, value in dataset.attrs.items()}
    versions = sorted(
        name for name in attributes if name.endswith("_version") and name not in _PROVENANCE
    )
    known = [name for name in (*_PROVENANCE, *versions) if name in attributes]
    others = [name for name in attributes if name not in {*known, *_HIDDEN}]
    return _rows(attributes, known), _rows(attributes, others)


def _rows(attributes: dict[str, Any], names: list[str]) -> list[tuple[str, str]]:
    rows = []
    for name in names:
        value = attributes[name]
        if isinstance(value, dict):
            label = "argument" if name == "arguments" else name.replace("_", " ")
            rows += [(f"{label} {key}", _text(item)) for key, item in value.items()]
        else:
            rows.append((name.replace("_", " "), _text(value)))
    return rows


def variable_table(dataset: xr.Dataset) -> Table:
    """What variables there are, over what, from where to where, in which unit, and their meaning.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    Table

    Examples
    --------
    >>> variable_table(xr.Dataset({"loss": ("time", [2.0, 1.0])})).rows
    [['loss', 'time 2', '1', '2', '', '']]
    """
    rows = []
    for key, variable in {**dataset.data_vars, **dataset.coords}.items():
        over = ", ".join(f"{name} {size}" for name, size in variable.sizes.items())
        units, meaning = (str(variable.attrs.get(name, "")) for name in ("units", "long_name"))
        rows.append([str(key), over, *value_range(variable), units, meaning])
    return Table("Variables", ["variable", "over", "least", "greatest", "units", "meaning"], rows)


def value_tables(dataset: xr.Dataset) -> list[Table]:
    """The values of what is one number, and of what runs over one dimension.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Table
        One of all single values, and one a dimension.

    Examples
    --------
    >>> found = xr.Dataset({"rank": 2, "loss": ("time", [2.0, 1.0])}, {"time": [0.0, 0.5]})
    >>> [table.rows for table in value_tables(found)]
    [[['rank', '2']], [['0', '2'], ['0.5', '1']]]
    """
    tables = []
    single = [name for name, variable in dataset.variables.items() if not variable.dims]
    if single:
        rows = [[axis_label(dataset[name]), _cells(dataset[name])[0]] for name in single]
        tables.append(Table("Single values", ["what", "value"], rows))
    for dim, size in dataset.sizes.items():
        names = [name for name, v in dataset.variables.items() if v.dims == (dim,) and name != dim]
        if not names or not size:
            continue
        shown = [*([dim] if dim in dataset.coords else []), *names][:MOST_COLUMNS]
        places = _places(size)
        columns = [_cells(dataset[name].isel({dim: places})) for name in shown]
        note = _note(size, "rows", len(places))
        note += _note(len(names) + 1, "columns", MOST_COLUMNS)
        rows = [list(row) for row in zip(*columns, strict=True)]
        meanings = [str(dataset[name].attrs.get("long_name", "")) for name in shown]
        heads = [_head(dataset[name]) for name in shown]
        tables.append(Table(f"Values over {dim}", heads, rows, note.strip(), meanings))
    return tables


def task_table(study: xr.Dataset) -> Table:
    """The tasks of a study: where on the grid, how they ended, how long they took, their numbers.

    Parameters
    ----------
    study : Dataset

    Returns
    -------
    Table
        Tasks that failed first.

    Examples
    --------
    >>> status = {"task_status": ("seed", ["ok", "failed"]), "task_seconds": ("seed", [1.5, 0.1])}
    >>> task_table(xr.Dataset(status, {"seed": [7, 8]})).rows
    [['8', 'failed', '0.1'], ['7', 'ok', '1.5']]
    """
    status = study["task_status"]
    failed = status.values.ravel() != "ok"
    lost, done = np.flatnonzero(failed)[:MOST_ROWS], np.flatnonzero(~failed)
    places = np.concatenate([lost, done[_places(len(done), MOST_ROWS - len(lost))]])
    index = np.unravel_index(places, status.shape)
    at = {
        name: xr.DataArray(where, dims="task")
        for name, where in zip(status.dims, index, strict=True)
    }
    own = [name for name in ("task_status", "task_seconds") if name in study]
    names = [*status.dims, *own, *(name for name in one_a_task(study) if name not in own)]
    columns, shown = [], []
    for name in names[: MOST_COLUMNS + len(status.dims)]:
        variable = study[name]
        texts = _cells(variable.isel({dim: at[dim] for dim in variable.dims}))
        if name not in own and name not in status.dims:
            # a task that failed has no values
            texts = ["" if gone else text for text, gone in zip(texts, failed[places], strict=True)]
        if max(map(len, texts), default=0) <= _LONGEST_CELL or name in status.dims:
            columns.append(texts)
            shown.append(name)
    note = _note(status.size, "tasks", len(places)) + _note(
        len(names), "columns (others hold long texts, or too many)", len(shown)
    )
    meanings = [str(study[name].attrs.get("long_name", "")) for name in shown]
    heads = [_head(study[name]).removeprefix("task_") for name in shown]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table("Tasks", heads, rows, note.strip(), meanings)


def one_a_task(study: xr.Dataset) -> list[str]:
    """The variables of a study that have one value a task, numbers first.

    Parameters
    ----------
    study : Dataset

    Returns
    -------
    list of str

    Examples
    --------
    >>> columns = {"task_status": ("seed", ["ok"]), "rank": ("seed", [2]), "rows": ("row", [1, 2])}
    >>> one_a_task(xr.Dataset(columns))
    ['rank', 'task_status']
    """
    grid = set(study["task_status"].dims)
    lengths = {f"{str(dim).removesuffix('_index')}_length" for dim in study.dims}
    found = [
        str(name)
        for name, variable in study.data_vars.items()
        if set(variable.dims) == grid and name not in lengths and name not in _BOOKKEEPING
    ]
    return sorted(found, key=lambda name: study[name].dtype.kind in "UO")


def failures(study: xr.Dataset) -> tuple[list[tuple[str, str]], int]:
    """The tasks that failed, with their messages.

    Parameters
    ----------
    study : Dataset

    Returns
    -------
    rows : list of (str, str)
        The point of the grid and the message, of the first 200.
    count : int
        How many failed.

    Examples
    --------
    >>> ended = {"task_status": ("seed", ["ok", "failed"]), "task_message": ("seed", ["", "no"])}
    >>> failures(xr.Dataset(ended, {"seed": [7, 8]}))
    ([('seed = 8', 'failed: no')], 1)
    """
    status = study["task_status"]
    places = np.argwhere(np.asarray(status.values != "ok"))
    rows = []
    for place in places[:MOST_ROWS]:
        cell = study.isel(dict(zip(status.dims, place.tolist(), strict=True)))
        point = ", ".join(f"{name} = {cell[name].item()}" for name in status.dims)
        message = cell["task_message"].item() if "task_message" in cell else ""
        rows.append((point, f"{cell['task_status'].item()}: {message}".removesuffix(": ")))
    return rows, len(places)


def _places(size: int, most: int = MOST_ROWS) -> np.ndarray:
    return np.linspace(0, size - 1, min(size, most)).round().astype(int)


def _note(count: int, what: str, most: int) -> str:
    return f"{most} of {count:,} {what} are shown. " if count > most else ""


def _head(variable: xr.DataArray) -> str:
    units = str(variable.attrs.get("units", "1"))
    return str(variable.name) if units in ("", "1") else f"{variable.name} ({units})"


def _cells(variable: xr.DataArray) -> list[str]:
    values = missing_as_nan(variable).values.ravel()
    kind = values.dtype.kind
    if kind == "b" or variable.attrs.get("truth_value"):
        return ["yes" if value else "no" for value in values]
    if kind == "M":
        return [str(value)[:19] for value in values]
    if kind in "fc":
        whole = "padding_value" in variable.attrs
        return [
            "" if whole and np.isnan(value) else f"{value:.6g}" for value in values.tolist()
        ]  # fmt: skip
    return [str(value) for value in values.tolist()]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
