"""Values over a grid: what stands where there are none, and blocks that are filled cell by cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from subriem.results.hdf5 import chunk_shape
from subriem.results.json_text import encode_json

__all__ = ["GridBlock", "attribute_column", "attribute_kind", "described", "padding", "plain"]

# kinds of attributes that differ -> type of the variable that holds them; others are JSON text
_COLUMNS: Mapping[frozenset[str], type] = {
    frozenset({"bool"}): np.bool_,
    frozenset({"int"}): np.int64,
    frozenset({"float"}): np.float64,
    frozenset({"int", "float"}): np.float64,
    frozenset({"str"}): np.str_,
}

_Block = tuple[tuple[int, ...], np.ndarray]


class GridBlock:
    """A block of one variable, while it is filled: cells of the grid that follow each other.

    Parameters
    ----------
    skeleton
        The variable over the grid; only its shape and type count.
    grid
        Shape of the grid.

    Examples
    --------
    >>> block = GridBlock(xr.Variable(("seed", "time"), np.zeros((2, 3))), (2,))
    >>> block.put(0, np.array([1.0, 2.0]))
    >>> block.put(1, None)
    ((0, 0), array([[ 1.,  2., nan], [nan, nan, nan]]))
    """

    def __init__(self, skeleton: xr.Variable, grid: tuple[int, ...]) -> None:
        self._grid = grid
        self._skeleton = skeleton
        chunk = chunk_shape(skeleton.shape, max(1, skeleton.dtype.itemsize))[: len(grid)]
        # single indices, then a part of one axis, then whole axes
        self._axis = next((a for a, n in enumerate(chunk) if n > 1), len(grid) - 1)
        self._rows = chunk[self._axis]
        self._inner = math.prod(grid[self._axis + 1 :])
        self._block: np.ndarray | None = None

    def put(self, number: int, values: np.ndarray | None) -> _Block | None:
        """Put the values of one cell; cells come in order.

        Parameters
        ----------
        number
            Number of the cell.
        values
            Its values, or None where it has none.

        Returns
        -------
        tuple or None
            Index of the first value and the values of the block, if it is complete by this cell.
        """
        index = tuple(map(int, np.unravel_index(number, self._grid)))
        outer, row = index[: self._axis], index[self._axis] % self._rows
        start = index[self._axis] - row
        rows = min(self._rows, self._grid[self._axis] - start)
        if self._block is None:
            own = self._skeleton.shape[len(self._grid) :]
            dtype = self._skeleton.dtype
            self._block = np.full((rows * self._inner, *own), padding(dtype), dtype)
        place = row * self._inner + number % self._inner
        if values is not None:
            corner: tuple[Any, ...] = (place, *(slice(size) for size in values.shape))
            self._block[corner] = values
        if place < len(self._block) - 1:
            return None
        block, self._block = self._block, None
        inner = self._grid[self._axis + 1 :]
        shape = (*(1 for _ in outer), rows, *inner, *block.shape[1:])
        first = (*outer, start, *(0 for _ in shape[self._axis + 1 :]))
        return first, block.reshape(shape)


def attribute_column(
    values: Mapping[int, Any], shape: tuple[int, ...]
) -> tuple[str, np.ndarray, dict[str, Any]]:
    """The variable over a grid that holds an attribute in which tasks differ.

    Parameters
    ----------
    values
        Number of a task to the value of its attribute; a task may have none.
    shape
        Shape of the grid.

    Returns
    -------
    tuple
        ``"variable"``, or ``"json"`` where the values are JSON text; the values; and what the
        variable says of its padding.

    Examples
    --------
    >>> attribute_column({0: 1.5, 2: None}, (3,))
    ('variable', array([1.5, nan, nan]), {})
    """
    kinds = {attribute_kind(value) for value in values.values()} - {"none"}
    column = _COLUMNS.get(frozenset(kinds))
    if column is None:
        values = {number: encode_json(value) for number, value in values.items()}
    if column in (None, np.str_):
        array = np.full(shape, "", object)
        for number, value in values.items():
            array.flat[number] = "" if value is None else value
        return "json" if column is None else "variable", array.astype(str), {}
    nothing = padding(np.dtype(column))
    array = np.full(shape, nothing, column)
    full = len(values) == array.size
    for number, value in values.items():
        if value is None:
            full = False
        else:
            array.flat[number] = value
    says = column is np.int64 and not full
    return "variable", array, {"padding_value": nothing.item()} if says else {}


def attribute_kind(value: Any) -> str:
    """Name of the type of an attribute, as `select_task` gives it back.

    Parameters
    ----------
    value
        Its value.

    Returns
    -------
    str
        ``"json"`` for anything but a plain value.

    Examples
    --------
    >>> attribute_kind(True), attribute_kind(1), attribute_kind([1])
    ('bool', 'int', 'json')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and abs(value) <= 2**53:
        return "int"
    if isinstance(value, float):
        return "float"
    return "str" if isinstance(value, str) and value.isprintable() else "json"


def plain(variable: xr.Variable) -> np.ndarray:
    """Values of a variable, with text in a fixed width.

    Parameters
    ----------
    variable
        The variable.

    Returns
    -------
    numpy.ndarray
        Its values.

    Examples
    --------
    >>> plain(xr.Variable("x", np.array(["a", "bc"], object))).dtype
    dtype('<U2')
    """
    values = variable.values
    return values.astype(str) if values.dtype.kind in "OT" else values


def padding(dtype: np.dtype) -> np.ndarray:
    """What stands where a task has no value.

    Parameters
    ----------
    dtype
        Type of the variable.

    Returns
    -------
    numpy.ndarray
        One value of that type.

    Examples
    --------
    >>> padding(np.dtype("uint8")), padding(np.dtype("float64"))
    (array(255, dtype=uint8), array(nan))
    """
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array(info.min if dtype.kind == "i" else info.max, dtype)
    value = {"c": complex(np.nan, np.nan), "b": False, "U": ""}.get(dtype.kind, np.nan)
    return np.array("NaT" if dtype.kind in "mM" else value, dtype)


def described(long_name: str) -> dict[str, str]:
    """Attributes of a variable without a unit.

    Parameters
    ----------
    long_name
        What it is.

    Returns
    -------
    dict
        ``long_name`` and ``units``.

    Examples
    --------
    >>> described("rank")
    {'long_name': 'rank', 'units': '1'}
    """
    return {"long_name": long_name, "units": "1"}
