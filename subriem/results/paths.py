"""Pictures of paths in state space: geodesics, shortest paths, plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.results.labels import axis_label, made_by, picture_title, structure_name
from subriem.results.plots import COLOURS, require_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_paths"]

_STYLES = ("-", "--", ":", "-.")
#: Below so many stored times the points are marked, as the lines between them are chords.
_FEW = 20


def plot_paths(
    paths: xr.Dataset, x: str = "x", y: str = "y", z: str | None = None, axes: Any = None
) -> Axes:
    """Draw paths of a state, two or three of its coordinates against each other.

    A line a geodesic. White circle: the state at time 0; grey: at the first stored time, where 0
    is not among them. Black square: the last state. Cross: the last state of a path that ended
    before the last time. Stored points are joined by straight lines; where they are few they are
    marked, and the legend says so. Paths without a finite state are left out, and counted in the
    title.

    Parameters
    ----------
    paths : Dataset
        With ``state`` over time, coordinate and, for several, geodesic.
    x, y : str
        Names of coordinates.
    z : str, optional
        A third one, for a picture in three dimensions.
    axes : matplotlib.axes.Axes, optional
        With ``projection="3d"`` where ``z`` is given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If ``state`` does not run over time and coordinate, a name is not one of a coordinate or
        comes twice, or the axes are not of the right dimension.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> turn = np.linspace(0, np.pi, 50)
    >>> state = np.stack([np.cos(turn), np.sin(turn), turn], axis=-1)
    >>> names = {"time": turn, "coordinate": ["x", "y", "theta"]}
    >>> path = xr.Dataset({"state": (("time", "coordinate"), state)}, names)
    >>> axes = plot_paths(path, "x", "theta")
    >>> axes.get_ylabel(), len(axes.lines)
    ('theta', 1)
    """
    shown = [x, y] if z is None else [x, y, z]
    states, times = _read(paths, shown)
    axes = _axes(axes, flat=z is None)
    few = len(times) < _FEW
    marks: dict[str, list[np.ndarray]] = {}
    for number, path in enumerate(states):
        there = np.flatnonzero(np.isfinite(path).all(axis=1))
        if not len(there):
            continue
        axes.plot(
            *path.T,
            color=COLOURS[number % len(COLOURS)],
            ls=_STYLES[number // len(COLOURS) % len(_STYLES)],
            lw=1.4 if len(states) <= len(COLOURS) else 0.8,
            marker="." if few else "",
            ms=4,
        )
        first, last = there[0], there[-1]
        marks.setdefault("start" if times[first] == 0 else "first point", []).append(path[first])
        whole = last == len(times) - 1
        marks.setdefault("end" if whole else "ended early", []).append(path[last])
    _draw_marks(axes, marks)
    unit = paths["state"]
    axes.set_xlabel(axis_label(unit, x))
    axes.set_ylabel(axis_label(unit, y))
    if z is None:
        if (x, y) == ("x", "y"):
            # the plane in which bodies move: a circle looks like one
            axes.set_aspect("equal", adjustable="datalim")
    else:
        axes.set_zlabel(axis_label(unit, z))
        axes.locator_params(nbins=5)
    found = sum(np.isfinite(path).all(axis=1).any() for path in states)
    missing = "" if found == len(states) else f"; {len(states) - found} without points"
    count = "" if len(states) == 1 else f": {len(states)} paths"
    status = str(paths.attrs.get("status", ""))
    axes.set_title(
        picture_title(
            f"{made_by(paths) or 'paths'}{count}, {structure_name(paths)}".rstrip(", "),
            f"{status}{missing}".removeprefix("; "),
        ),
        fontsize=10,
    )
    if marks:
        note = f"straight between {len(times)} stored points" if few else None
        axes.legend(frameon=False, fontsize=8, title=note, title_fontsize=8)
    return axes


def _read(paths: xr.Dataset, shown: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """States (geodesic, time, shown coordinate) and times."""
    state = paths["state"]
    if set(state.dims) - {"geodesic"} != {"time", "coordinate"}:
        raise InputError(
            "a picture of paths needs 'state' over time and coordinate, and geodesic for several, "
            f"got {state.dims}; select what to show with isel or sel"
        )
    names = [str(name) for name in paths["coordinate"].values]
    for name in shown:
        if name not in names:
            raise InputError(
                f"the state has no coordinate {name!r}: expected one of {', '.join(names)}"
            )
    if len(set(shown)) < len(shown):
        raise InputError(f"expected different coordinates, got {', '.join(shown)}")
    if "geodesic" not in state.dims:
        state = state.expand_dims("geodesic")
    values = state.transpose("geodesic", "time", "coordinate").values
    return values[..., [names.index(name) for name in shown]], paths["time"].values


def _axes(axes: Any, *, flat: bool) -> Axes:
    pyplot = require_pyplot()
    if axes is None:
        figure = pyplot.figure(figsize=(5.0, 4.4), layout="constrained")
        return figure.add_subplot(projection=None if flat else "3d")
    if (axes.name == "3d") == flat:
        need = "axes in two dimensions" if flat else "axes with projection='3d', as z is given"
        raise InputError(f"expected {need}, got axes of projection {axes.name!r}")
    return axes


def _draw_marks(axes: Any, marks: dict[str, list[np.ndarray]]) -> None:
    styles: dict[str, dict[str, Any]] = {
        "start": {"marker": "o", "s": 36, "facecolor": "white", "edgecolor": "black"},
        "first point": {"marker": "o", "s": 36, "facecolor": "0.75", "edgecolor": "black"},
        "end": {"marker": "s", "s": 20, "facecolor": "black", "edgecolor": "black"},
        "ended early": {"marker": "x", "s": 36, "color": "black"},
    }
    # in three dimensions, as black behind as before
    solid = {"depthshade": False} if axes.name == "3d" else {}
    for label, points in marks.items():
        axes.scatter(
            *np.array(points).T, **styles[label], **solid, linewidths=1.0, zorder=4, label=label
        )
