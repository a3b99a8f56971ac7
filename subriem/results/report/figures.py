"""What the page draws of a dataset: which pictures, and the numbers for them.

A study shows what varies over its grid, and the pictures of one task, which the reader chooses.
Every dataset has one picture at least in which any variable is drawn over any of its dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from subriem.results.labels import axis_label
from subriem.results.plots import COLOURS
from subriem.results.ragged import select_task
from subriem.results.report.packing import missing_as_nan, pack, thin
from subriem.results.report.tables import one_a_task

__all__ = ["figure_data"]

#: Values on one page, of all figures together: some 2 MB.
BUDGET = 200_000
#: So many tasks of a study have figures of their own.
MOST_TASKS = 200
#: Of so many tasks that failed the message is shown where they are chosen.
_MOST_MESSAGES = 300


def figure_data(dataset: xr.Dataset, budget: int = BUDGET) -> dict[str, Any]:
    """Everything that the script of the page draws, as JSON.

    Parameters
    ----------
    dataset : Dataset
        Of a study or of any function.
    budget : int
        Greatest number of values.

    Returns
    -------
    dict
        ``palette``; ``results``: of each its ``variables`` (`packing.pack`), ``views`` and
        ``notes`` on what was left out; of a study also ``grid``, ``cells`` (the place in
        ``results`` of each task, -1 without), ``states``, ``messages`` and ``across``, the result
        over the grid.

    Examples
    --------
    >>> orbit = xr.Dataset({"loss": ("time", [1.0, 0.1])}, {"time": [0.0, 2.3]})
    >>> [view["kind"] for view in figure_data(orbit)["results"][0]["views"]]
    ['explore']
    """
    if "task_status" in dataset and "combination" in dataset.attrs:
        return {"palette": COLOURS, **_study(dataset, budget)}
    return {"palette": COLOURS, "results": [_result(dataset, budget)]}


# ------------------------------------------------------------------ one result


def _result(dataset: xr.Dataset, budget: int) -> dict[str, Any]:
    dataset = _with_growth_vectors(dataset)
    fewer, notes = thin(dataset, budget)
    variables = pack(fewer)
    return {"variables": variables, "views": _views(fewer, variables), "notes": notes}


def _with_growth_vectors(flag: xr.Dataset) -> xr.Dataset:
    """With the growth vectors as text, which is how they are read."""
    if not {"growth_vector", "degree_of_nonholonomy"} <= set(flag.data_vars):
        return flag
    vectors, degrees = flag["growth_vector"], flag["degree_of_nonholonomy"]
    points = [dim for dim in vectors.dims if dim != "step"]
    if "step" not in vectors.dims or set(points) != set(degrees.dims) or not points:
        return flag
    rows = vectors.transpose(*points, "step").values.reshape(-1, flag.sizes["step"])
    texts = [
        f"({', '.join(f'{value:.0f}' for value in row[: int(degree)])})"
        if degree > 0
        else "not decided"
        for row, degree in zip(rows, degrees.transpose(*points).values.ravel(), strict=True)
    ]
    shape = [flag.sizes[dim] for dim in points]
    text = xr.DataArray(np.array(texts, dtype=str).reshape(shape), dims=points)
    text.attrs = {"long_name": "growth vector", "units": "1"}
    return flag.assign({"growth vector": text})


def _views(dataset: xr.Dataset, variables: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures that fit, each with a title and what its part of the script needs."""
    views: list[dict[str, Any]] = []

    def over(name: str, *dims: str) -> bool:
        return name in variables and variables[name]["dims"] == list(dims)

    orbit = _orbit_attributes(dataset)
    if over("loss", "time") and over("predicted_loss", "time"):
        views.append({"kind": "loss", "title": "Loss and its prediction", **orbit})
    ends = ("smallest_singular_value", "largest_singular_value", "rank_tolerance")
    if all(over(name, "time") for name in ends) and np.isfinite(dataset["rank_tolerance"]).any():
        views.append({"kind": "spectrum", "title": "Singular values of D and its rank"})
    if "outputs" in variables and set(variables["outputs"]["dims"]) == {"time", "sample", "output"}:
        views.append({"kind": "outputs", "title": "Outputs of a sample"})
    for name, axis in (("state", "coordinate"), ("pose", "component")):
        if name in variables and axis in variables[name]["dims"]:
            views += _paths(dataset, name, axis)
    if "growth vector" in variables and len(variables["growth vector"]["dims"]) == 2:
        views.append({"kind": "map", "title": "Growth vectors", "variable": "growth vector"})
    if any(math.prod(variable["shape"]) > 1 for variable in variables.values()):
        views.append({"kind": "explore", "title": "Any variable over any other"})
    return views


def _orbit_attributes(dataset: xr.Dataset) -> dict[str, Any]:
    """Of an orbit: the flow, its stopping time, tolerance and least loss; None where not known."""
    found: dict[str, Any] = {"flow": str(dataset.attrs.get("kind", "loss"))}
    for name in ("stopping_time", "tolerance", "minimum_loss"):
        value = dataset.attrs.get(name)
        number = float(value) if isinstance(value, int | float) else math.nan
        found[name] = number if math.isfinite(number) else None
    return found


def _paths(dataset: xr.Dataset, name: str, axis: str) -> list[dict[str, Any]]:
    others = [str(dim) for dim in dataset[name].dims if dim != axis]
    along = next((dim for dim in ("time", "shell", "vertical") if dim in others), None)
    if along is None or dataset.sizes[axis] < 1:
        return []
    front = set(others) == {"direction", "vertical"}
    deep = front and dataset.sizes[axis] > 2 and min(dataset.sizes[dim] for dim in others) > 1
    title = {"time": "Paths", "shell": "Points of the ball", "vertical": "Where geodesics end"}
    return [
        {
            "kind": "paths",
            "title": title[along] if along != "vertical" or front else "Paths",
            "variable": name,
            "axis": axis,
            "along": along,
            "surface": deep,
        }
    ]


# ------------------------------------------------------------------ a study


def _study(dataset: xr.Dataset, budget: int) -> dict[str, Any]:
    status = dataset["task_status"]
    grid = [str(name) for name in status.dims]
    done = np.flatnonzero(status.values.ravel() == "ok")
    shown = done
    notes = []
    if len(done) > MOST_TASKS:
        shown = done[np.linspace(0, len(done) - 1, MOST_TASKS).round().astype(int)]
        notes.append(
            f"{MOST_TASKS} of {len(done):,} tasks that are done have figures here, evenly spread "
            "over the grid; the file has all."
        )
    across = _across(dataset, grid, budget // 4)
    share = (budget - budget // 4) // max(1, len(shown))
    cells = np.full(status.size, -1)
    cells[shown] = np.arange(len(shown))
    results = []
    for number in shown:
        place = dict(zip(grid, np.unravel_index(number, status.shape), strict=True))
        point = {name: dataset[name].values[index].item() for name, index in place.items()}
        results.append(_result(select_task(dataset, **point), share))
    messages = dataset["task_message"].values.ravel()
    failed = np.flatnonzero(status.values.ravel() != "ok")[:_MOST_MESSAGES]
    return {
        "results": results,
        "across": across,
        "notes": notes,
        "cells": cells.tolist(),
        "states": [str(value) for value in status.values.ravel()],
        "messages": {str(number): str(messages[number])[:500] for number in failed},
        "grid": [
            {
                "name": name,
                "label": axis_label(dataset[name]),
                "values": [str(value) for value in dataset[name].values.tolist()],
            }
            for name in grid
        ],
    }


def _across(dataset: xr.Dataset, grid: list[str], budget: int) -> dict[str, Any] | None:
    """What has one value a task, over the grid; nothing where the task failed."""
    done = dataset["task_status"] == "ok"
    kept: dict[str, xr.DataArray] = {}
    for name in one_a_task(dataset):
        known = missing_as_nan(dataset[name])
        if known.dtype.kind == "b":
            known = known.astype(float).assign_attrs(known.attrs, truth_value=True)
        # a task that failed has a status, and took its time
        own = name in ("task_status", "task_seconds")
        kept[name] = known if own or known.dtype.kind not in "fiu" else known.where(done)
    result = _result(xr.Dataset(kept, {name: dataset[name] for name in grid}), budget)
    return result if result["views"] and kept else None
