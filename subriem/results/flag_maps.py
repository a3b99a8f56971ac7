"""Maps of the degree of nonholonomy over a plane of configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.results.plots import require_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_flag_maps", "plot_flag_map"]


def plot_flag_map(flag: xr.Dataset, axes: Any = None) -> Axes:
    """Draw the degree of nonholonomy of a dataset of `subriem.lie_flag` over two dimensions.

    A colour a growth vector, named in the legend; generic points are light and small. White: not
    decided.

    Parameters
    ----------
    flag : Dataset
        With ``growth_vector`` over two dimensions and ``step``, and ``degree_of_nonholonomy``
        over the two.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there are not two dimensions.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import subriem as sr
    >>> points = [[x, y, 0] for x in (0, 1) for y in (0, 1)]
    >>> flag = sr.lie_flag(sr.models.martinet(), points).drop_vars(["x", "y", "z", "point"])
    >>> flag = flag.assign_coords(x=("point", [0, 0, 1, 1]), y=("point", [0, 1, 0, 1]))
    >>> flag = flag.set_index(point=["x", "y"]).unstack("point")
    >>> axes = plot_flag_map(flag)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['(2, 3)', '(2, 2, 3)']
    """
    pyplot = require_pyplot()
    degree = flag["degree_of_nonholonomy"]
    if degree.ndim != 2:
        raise InputError(f"a map needs two dimensions, got {degree.dims}")
    if axes is None:
        axes = pyplot.subplots(figsize=(4.6, 4.6), layout="constrained")[1]
    down, across = degree.dims
    shown = flag["growth_vector"].transpose(down, across, "step").values
    vectors = {
        (int(value), tuple(int(k) for k in vector[:value]))
        for value, vector in zip(
            degree.values.ravel(), shown.reshape(-1, shown.shape[2]), strict=True
        )
        if value > 0
    }
    colours = pyplot.get_cmap("viridis_r")(np.linspace(0.02, 0.95, max(2, len(vectors))))
    x, y = np.meshgrid(flag[across], flag[down])
    pitch = 230.0 / max(degree.shape)  # points of the page between two dots
    for number, ((value, vector), colour) in enumerate(zip(sorted(vectors), colours, strict=False)):
        here = (degree.values == value) & (shown[..., :value] == vector).all(axis=-1)
        size = (pitch * (0.55 if number == 0 else 0.95)) ** 2
        axes.scatter(x[here], y[here], s=size, marker="s", color=colour, linewidths=0)
        label = f"({', '.join(map(str, vector))})"
        axes.plot([], [], marker="s", linestyle="", color=colour, label=label)
    for dimension, set_label in ((across, axes.set_xlabel), (down, axes.set_ylabel)):
        attributes = flag[dimension].attrs
        unit = attributes.get("units", "1")
        name = attributes.get("long_name", str(dimension))
        set_label(name if unit == "1" else f"{name} ({unit})")
    axes.set_aspect("equal")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        fontsize="x-small",
        title="growth vector",
        title_fontsize="x-small",
    )
    return axes


def draw_flag_maps(path: Path, maps: Mapping[str, xr.Dataset]) -> Path:
    """Draw several maps side by side into a file.

    Parameters
    ----------
    path : Path
        Its ending says the format.
    maps : mapping of str to Dataset
        By title.

    Returns
    -------
    Path

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    InputError
        As `plot_flag_map`.

    Examples
    --------
    >>> import tempfile
    >>> import subriem as sr
    >>> points = [[x, y, 0] for x in (0, 1) for y in (0, 1)]
    >>> flag = sr.lie_flag(sr.models.martinet(), points).drop_vars(["x", "y", "z", "point"])
    >>> flag = flag.assign_coords(x=("point", [0, 0, 1, 1]), y=("point", [0, 1, 0, 1]))
    >>> flag = flag.set_index(point=["x", "y"]).unstack("point")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_flag_maps(Path(folder, "maps.png"), {"Martinet": flag}).name
    'maps.png'
    """
    pyplot = require_pyplot()
    figure, row = pyplot.subplots(
        1, len(maps), figsize=(4.4 * len(maps), 5.4), layout="constrained", squeeze=False
    )
    for (title, flag), axes in zip(maps.items(), row[0], strict=True):
        plot_flag_map(flag, axes).set_title(title)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)
    return path
