"""Many orbits at a glance: a table that a person can read, and one picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Column, Table

from subriem.results.plots import plot_loss, plot_outputs, plot_spectrum, require_pyplot
from subriem.results.ragged import select_task

__all__ = ["draw_orbits", "finished_orbits", "print_orbits"]


def print_orbits(orbits: Iterable[tuple[str, xr.Dataset]], console: Console) -> None:
    """Print a line an orbit: regime, rate, stopping time, rank, accuracy.

    Parameters
    ----------
    orbits : iterable of (str, Dataset)
        A label and an orbit of `subriem.flow`; ``test_accuracy`` is shown where it is there.
    console : rich.console.Console

    Examples
    --------
    >>> print_orbits([], Console(width=200))  # doctest: +ELLIPSIS
     orbit ...
    """
    table = Table(
        "orbit",
        "regime",
        "status",
        Column("rate N/2", justify="right"),
        Column("stop predicted", justify="right"),
        Column("stop measured", justify="right"),
        Column("loss/C0", justify="right"),
        Column("off prediction", justify="right"),
        Column("rank", justify="right"),
        Column("least sigma", justify="right"),
        Column("test accuracy", justify="right"),
        box=None,
        header_style="bold",
    )
    for label, orbit in orbits:
        table.add_row(label, *_row(orbit))
    console.print(table)


def _row(orbit: xr.Dataset) -> list[str]:
    attributes = orbit.attrs
    loss = orbit["loss"].values
    predicted = orbit["predicted_loss"].values
    known = np.isfinite(predicted) & (predicted > 0)
    off = float(np.abs(loss[known] / predicted[known] - 1).max()) if known.any() else math.nan
    # The measured rate in units of 2/N: one where the paper's statement holds.
    unit = attributes.get("predicted_rate", math.nan)
    rate = attributes.get("measured_rate", math.nan) / unit
    rank = orbit["rank"].values
    seen = rank[rank >= 0]
    least = orbit["smallest_singular_value"].values
    accuracy = float(orbit["test_accuracy"]) if "test_accuracy" in orbit else math.nan
    reached = float(orbit["time"][-1]) if attributes.get("status") == "converged" else math.nan
    return [
        str(attributes.get("regime", "")),
        str(attributes.get("status", "")),
        _number(rate, "{:.9f}"),
        _number(attributes.get("stopping_time", math.nan), "{:.6g}"),
        _number(reached, "{:.6g}"),
        _number(loss[-1] / loss[0], "{:.1e}"),
        _number(off, "{:.0e}"),
        f"{seen.min()}..{seen.max()}"
        if len(seen) and seen.min() < seen.max()
        else f"{seen[0]}"
        if len(seen)
        else "-",
        _number(np.nanmin(least) if np.isfinite(least).any() else math.nan, "{:.1e}"),
        _number(accuracy, "{:.3f}"),
    ]


def _number(value: Any, form: str) -> str:
    return form.format(float(value)) if math.isfinite(float(value)) else "-"


def finished_orbits(dataset: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Take a study of flows apart again: the grid points that succeeded, with their orbits.

    Parameters
    ----------
    dataset : Dataset
        What `subriem.Study.run` returns.

    Yields
    ------
    dict, Dataset

    Raises
    ------
    InputError
        If the dataset is not that of a study.

    Examples
    --------
    >>> from subriem.results import combine_tasks
    >>> done = combine_tasks([xr.Dataset({"loss": 1.0}), None], {"seed": [0, 1]})
    >>> done["task_status"] = ("seed", ["ok", "failed"])
    >>> [(point, float(orbit.loss)) for point, orbit in finished_orbits(done)]
    [({'seed': 0}, 1.0)]
    """
    status = dataset["task_status"]
    for place in np.argwhere(status.values == "ok"):
        point = {
            str(name): status[name].values[index].item()
            for name, index in zip(status.dims, place, strict=True)
        }
        yield point, select_task(dataset, **point)


def draw_orbits(
    path: str | Path,
    *,
    losses: Mapping[str, xr.Dataset],
    spectrum: tuple[str, xr.Dataset],
    outputs: tuple[str, Mapping[str, xr.Dataset]],
) -> Path:
    """Draw three panels: losses against their prediction, a spectrum of D, output paths.

    Parameters
    ----------
    path : str or Path
        The picture's file.
    losses : mapping of str to Dataset
        Orbits by label, on one clock.
    spectrum : (str, Dataset)
        A label and the orbit whose singular values are shown.
    outputs : (str, mapping of str to Dataset)
        A label and the orbits, by label, whose output paths are compared.

    Returns
    -------
    Path

    Raises
    ------
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import tempfile
    >>> import subriem as sr
    >>> outputs = sr.OutputMap(sr.models.multilayer_perceptron([1, 4, 2]), [[-1.0], [1.0]])
    >>> orbit = sr.flow(outputs, sr.SquaredLoss([[0.0, 1.0], [1.0, 0.0]]), rtol=1e-2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_orbits(
    ...         Path(folder, "orbits.png"),
    ...         losses={"adapted": orbit},
    ...         spectrum=("adapted", orbit),
    ...         outputs=("adapted", {"adapted": orbit}),
    ...     ).name
    'orbits.png'
    """
    plt = require_pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    plot_loss(losses, axes[0]).set_title("loss against its prediction")
    plot_spectrum(spectrum[1], axes[1]).set_title(f"spectrum of D: {spectrum[0]}")
    plot_outputs(outputs[1], axes[2]).set_title(f"outputs of one sample: {outputs[0]}")
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return Path(path)
