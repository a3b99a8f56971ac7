"""Pictures of vehicles that park: their bodies along a path, among obstacles.

A body is a rectangle that goes with an axle: (x, y, heading), and how far it reaches behind the
axle, before it and to either side. Colours are those of Okabe and Ito; plans and what the direct
method makes of them differ in style as well.
"""

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

__all__ = ["body_corners", "draw_parking", "plot_parking"]

_BODIES = ("#0072B2", "#56B4E9", "#E69F00", "#CC79A7")
_PLANNED, _OBSTACLE = "#D55E00", "#999999"
#: Poses shown, with start and end, and how wide a pavement is drawn.
_SHOWN, _PAVEMENT = 9, 0.3


def body_corners(pose: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Corners of bodies, counterclockwise from the rear right one.

    Parameters
    ----------
    pose : ndarray, shape (..., 3)
        x, y and heading of an axle.
    extent : ndarray, shape (..., 3)
        How far the body reaches behind the axle, before it and to either side.

    Returns
    -------
    ndarray, shape (..., 4, 2)

    Examples
    --------
    >>> body_corners(np.array([1.0, 0.0, 0.0]), np.array([1.0, 2.0, 0.5]))
    array([[ 0. , -0.5],
           [ 3. , -0.5],
           [ 3. ,  0.5],
           [ 0. ,  0.5]])
    """
    back, front, side = np.moveaxis(extent, -1, 0)
    along = np.stack([-back, front, front, -back], axis=-1)
    across = np.stack([-side, -side, side, side], axis=-1)
    cos, sin = np.cos(pose[..., 2:]), np.sin(pose[..., 2:])
    x = pose[..., :1] + cos * along - sin * across
    y = pose[..., 1:2] + sin * along + cos * across
    return np.stack([x, y], axis=-1)


def plot_parking(parking: xr.Dataset, axes: Any = None) -> Axes:
    """Draw the bodies along the last path that was found, and the tracks of all of them.

    Parameters
    ----------
    parking : Dataset
        ``pose`` over (path, time, body, component), NaN for a path that was not found, ``extent``
        over (body, component), ``parked`` over (obstacle, side): x, y, half the length and
        half the width of a parked car, and ``kerb`` over edge, the heights y of the kerbs.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If no path was found.
    MissingDependencyError
        Without matplotlib.
    """
    pyplot = require_pyplot()
    from matplotlib.patches import Polygon, Rectangle

    if axes is None:
        axes = pyplot.subplots(figsize=(5.0, 3.6), layout="constrained")[1]
    paths = parking["pose"].transpose("path", "time", "body", "component").values
    extent = parking["extent"].transpose("body", "component").values
    found = [k for k, path in enumerate(paths) if np.isfinite(path).all()]
    if not found:
        raise InputError("a picture needs a path, and none was found")
    for x, y, length, width in parking["parked"].transpose("obstacle", "side").values:
        corner = (x - length, y - width)
        axes.add_patch(
            Rectangle(corner, 2 * length, 2 * width, fc=_OBSTACLE, ec="black", lw=0.6, hatch="///")
        )
    for number, height in enumerate(parking["kerb"].values):
        # the first is below the street, any other above it
        beyond = height - _PAVEMENT if number == 0 else height + _PAVEMENT
        axes.axhspan(
            *sorted((height, beyond)), fc="#DDDDDD", ec=_OBSTACLE, lw=0, hatch="///", zorder=0
        )
        axes.axhline(height, color="black", lw=1.6, zorder=1)
    shown = paths[found[-1]]
    # at equal times the speed is constant: equally far apart
    picked = np.linspace(0, len(shown) - 1, _SHOWN).round().astype(int)
    for number, k in enumerate(picked):
        ends = number in (0, len(picked) - 1)
        outline = body_corners(shown[k], extent)
        axes.plot(*shown[k, :, :2].T, color="black", lw=0.9 if ends else 0.4, zorder=4)
        for body, corners in enumerate(outline):
            colour = _BODIES[body % len(_BODIES)]
            face = (colour, (0.25 if number == 0 else 0.9) if ends else 0.12)
            axes.add_patch(
                Polygon(
                    corners,
                    fc=face,
                    ec="black" if ends else colour,
                    lw=1.0 if ends else 0.6,
                    ls="--" if number == 0 else "-",
                    zorder=3 if ends else 2,
                )
            )
    for k in found:
        last = k == found[-1] and len(found) > 1
        style = {"color": "black", "lw": 1.6} if last else {"color": _PLANNED, "lw": 1.1, "ls": ":"}
        axes.plot(*paths[k, :, 0, :2].T, **style, zorder=5)
    for k, colour in ((0, "white"), (-1, "black")):
        axes.plot(*shown[k, 0, :2], "o", ms=5, mfc=colour, mec="black", zorder=6)
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.set(xlabel="x", ylabel="y")
    return axes


def draw_parking(path: Path, parkings: Mapping[tuple[str, str], xr.Dataset]) -> Path:
    """Draw parking vehicles into a file, a row a vehicle and a column a manoeuvre.

    Parameters
    ----------
    path : Path
        Its ending says the format.
    parkings : mapping of (str, str) to Dataset
        By vehicle and manoeuvre, as `plot_parking` takes them.

    Returns
    -------
    Path

    Raises
    ------
    InputError, MissingDependencyError
        As `plot_parking`.
    """
    pyplot = require_pyplot()
    rows, columns = (list(dict.fromkeys(key[k] for key in parkings)) for k in (0, 1))
    style = {"font.size": 11, "hatch.linewidth": 0.5}
    with pyplot.rc_context(style):
        _draw(path, parkings, rows, columns)
    return path


def _draw(
    path: Path,
    parkings: Mapping[tuple[str, str], xr.Dataset],
    rows: list[str],
    columns: list[str],
) -> None:
    pyplot = require_pyplot()
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, grid = pyplot.subplots(
        len(rows),
        len(columns),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for (vehicle, manoeuvre), parking in parkings.items():
        axes = grid[rows.index(vehicle), columns.index(manoeuvre)]
        axes.set_axis_on()
        planned, direct = parking["length"].values
        then = (
            f"clear of obstacles {direct:.2f}"
            if np.isfinite(direct)
            else "direct method found none"
        )
        title = f"{vehicle}, {manoeuvre}: plan {planned:.2f}, {then}"
        plot_parking(parking, axes).set_title(title, fontsize=11)
    # one scale everywhere: limits shared in a column, whose width goes with its range
    ranges, highest = [], 0.0
    for column in grid.T:
        shown = [axes for axes in column if axes.axison]
        limits = np.array([[*axes.get_xlim(), *axes.get_ylim()] for axes in shown])
        left, bottom = limits[:, ::2].min(axis=0)
        right, top = limits[:, 1::2].max(axis=0)
        ranges.append(right - left)
        highest = max(highest, top - bottom)
        for axes in shown:
            axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="", ylabel="")
            axes.set_aspect("equal", adjustable="box")
        shown[-1].set_xlabel("x")
    grid[0, 0].get_gridspec().set_width_ratios(ranges)
    width = 6.4 * len(columns)
    # room for labels and titles besides
    inch = (width - 0.8) / sum(ranges)
    figure.set_size_inches(width, (highest * inch + 0.55) * len(rows) + 1.0)
    for axes in grid[:, 0]:
        axes.set_ylabel("y")
    figure.legend(
        handles=[
            Line2D([], [], color=_PLANNED, lw=1.1, ls=":", label="plan (nilpotent steering)"),
            Line2D(
                [],
                [],
                color="black",
                lw=1.6,
                label="direct method from the plan, among the obstacles",
            ),
            Patch(fc=(_BODIES[0], 0.25), ec="black", ls="--", label="start"),
            Patch(fc=(_BODIES[0], 0.9), ec="black", label="end"),
            Patch(fc=(_BODIES[0], 0.12), ec=_BODIES[0], label="on the way, equally far apart"),
            Patch(fc=_OBSTACLE, ec="black", hatch="///", label="obstacle"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
