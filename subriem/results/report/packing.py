"""Variables as JSON for the script of the page, and no more of them than a page bears.

Numbers are float64 or int32, little-endian, in base64. What is left out is said in notes.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import xarray as xr

from subriem.results.labels import axis_label

__all__ = ["missing_as_nan", "pack", "thin"]

#: Along one dimension so many points are drawn: more are no more to the eye, and slow.
_MOST_ALONG = 5_000
#: No dimension is thinned below so many points; then the largest variables are left out.
_FEWEST = 32
#: A text variable is drawn, and chosen from, up to so many different texts.
_MOST_TEXTS = 40
_LONGEST_TEXT = 80


def missing_as_nan(variable: xr.DataArray) -> xr.DataArray:
    """Integers that are padded, as float64 with NaN where they are; anything else as it is.

    Parameters
    ----------
    variable : DataArray

    Returns
    -------
    DataArray

    Examples
    --------
    >>> missing_as_nan(xr.DataArray([3, -9], attrs={"padding_value": -9})).values
    array([ 3., nan])
    """
    padding = variable.attrs.get("padding_value")
    return variable if padding is None else variable.astype(float).where(variable != padding)


def thin(dataset: xr.Dataset, budget: int) -> tuple[xr.Dataset, list[str]]:
    """Fewer points along the longest dimensions, until so many values are left at most.

    Along one dimension there are 5,000 at most in any case.
    Points are kept evenly spaced, the first and the last among them. A variable that is too large
    with all its dimensions at 32 points is left out.

    Parameters
    ----------
    dataset : Dataset
    budget : int
        Number of values, of all variables together.

    Returns
    -------
    dataset : Dataset
    notes : list of str
        What was thinned and left out, a sentence each.

    Examples
    --------
    >>> orbit = xr.Dataset({"loss": ("time", np.ones(1000))}, {"time": np.arange(1000)})
    >>> fewer, notes = thin(orbit, 300)
    >>> fewer.sizes["time"], notes[0][:38]
    (125, 'time: 125 of 1,000 points are drawn, e')
    """
    sizes = {str(name): size for name, size in dataset.sizes.items()}
    kept = {name: min(size, _MOST_ALONG) for name, size in sizes.items()}
    dims = {str(name): tuple(map(str, v.dims)) for name, v in dataset.variables.items()}
    left_out: list[str] = []
    while True:
        cells = {name: math.prod(kept[dim] for dim in over) for name, over in dims.items()}
        if sum(cells.values()) <= budget:
            break
        largest = max(cells, key=lambda name: cells[name])
        longest = max(dims[largest], key=lambda dim: kept[dim], default=None)
        if longest is None:
            break
        if kept[longest] <= _FEWEST:
            left_out.append(largest)
            del dims[largest]
        else:
            kept[longest] = max(_FEWEST, kept[longest] // 2)
    there = {dim for over in dims.values() for dim in over}
    thinned = {name: n for name, n in kept.items() if n < sizes[name] and name in there}
    notes = [
        f"{name}: {count:,} of {sizes[name]:,} points are drawn, evenly spaced, the first and the "
        "last among them; what happens between two of them does not show."
        for name, count in thinned.items()
    ]
    if left_out:
        notes.append(f"Not drawn, as too large for a page: {', '.join(left_out)}.")
    places = {
        name: np.linspace(0, sizes[name] - 1, count).round().astype(int)
        for name, count in thinned.items()
    }
    return dataset.drop_vars(left_out).isel(places), notes


def pack(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """All variables that can be drawn or label what is drawn, as JSON.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict
        Name to ``dims``, ``shape``, ``label``, ``kind`` and ``data``. Complex numbers become two
        variables, times text in ISO form, durations seconds, truth values 0 and 1.

    Examples
    --------
    >>> pack(xr.Dataset({"rank": ("time", [3, 2], {"long_name": "rank of D"})}))["rank"]
    {'dims': ['time'], 'shape': [2], 'label': 'rank of D', 'kind': 'i4', 'data': 'AwAAAAIAAAA='}
    """
    packed: dict[str, dict[str, Any]] = {}
    for key in dataset.variables:
        name = str(key)
        variable = missing_as_nan(dataset[name])
        if variable.dtype.kind == "c":
            for part, values in (("real", variable.real), ("imaginary", variable.imag)):
                named = values.assign_attrs(
                    variable.attrs, long_name=f"{axis_label(variable)}, {part} part", units="1"
                )
                packed[f"{name} ({part} part)"] = _packed(named)
        elif variable.dtype.kind in "biufmM" or _is_label(dataset, name):
            packed[name] = _packed(variable)
    return packed


def _is_label(dataset: xr.Dataset, name: str) -> bool:
    variable = dataset[name]
    if variable.dtype.kind not in "UO":
        return False
    return name in dataset.dims or np.unique(variable.values.astype(str)).size <= _MOST_TEXTS


def _packed(variable: xr.DataArray) -> dict[str, Any]:
    values = np.asarray(variable.values)
    label = axis_label(variable)
    kind, data = "text", []
    match values.dtype.kind:
        case "M":
            kind, data = "date", np.datetime_as_string(values.ravel(), unit="ms").tolist()
        case "U" | "O":
            texts = [str(value) for value in values.ravel().tolist()]
            data = [t if len(t) <= _LONGEST_TEXT else f"{t[:_LONGEST_TEXT]} ..." for t in texts]
        case "m":
            seconds = values / np.timedelta64(1, "s")
            return _numbers(variable, seconds, f"{label} (s)" if "(" not in label else label)
        case _:
            return _numbers(variable, values, label)
    return {**_shape(variable, label), "kind": kind, "data": data}


def _numbers(variable: xr.DataArray, values: np.ndarray, label: str) -> dict[str, Any]:
    whole = values.dtype.kind in "iu" and (
        not values.size or (values.min() >= -(2**31) and values.max() < 2**31)
    )
    kind, dtype = ("i4", "<i4") if whole else ("f8", "<f8")
    data = base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
    shown: dict[str, Any] = {**_shape(variable, label), "kind": kind, "data": data}
    if values.dtype.kind == "b" or variable.attrs.get("truth_value"):
        shown["truth"] = True
    return shown


def _shape(variable: xr.DataArray, label: str) -> dict[str, Any]:
    return {"dims": [str(dim) for dim in variable.dims], "shape": list(variable.shape),
            "label": label}  # fmt: skip
