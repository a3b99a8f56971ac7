"""Pictures of wave fronts in three dimensions."""

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

__all__ = ["draw_wavefronts", "plot_wavefront"]

_BEFORE, _PAST, _CUT = "#0072B2", "#E69F00", "#D55E00"


def plot_wavefront(front: xr.Dataset, axes: Any = None) -> Axes:
    """Draw a wave front of `wavefront`, or a sphere of `sphere`, as a surface.

    Blue, see-through: no conjugate point was seen before the end; of a sphere, the part whose
    geodesics are shortest, as far as was found. Orange: surely not on the sphere. Red dots: the
    cut points on a sphere.

    Parameters
    ----------
    front : Dataset
        In dimension three, with several angles and several vertical momenta.
    axes : matplotlib.axes.Axes, optional
        In three dimensions.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the front is not a surface in dimension three.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import subriem as sr
    >>> structure = sr.models.heisenberg()
    >>> front = sr.wavefront(structure, [0, 0, 0], 1.0, vertical=[-8, -4, 0, 4, 8], angles=6)
    >>> axes = plot_wavefront(front)
    >>> axes.get_xlabel(), axes.get_zlabel()
    ('x', 'z')
    """
    pyplot = require_pyplot()
    if front.sizes["coordinate"] != 3 or min(front.sizes["direction"], front.sizes["vertical"]) < 2:
        raise InputError(
            f"a picture needs a surface in dimension 3, got a front of sizes {dict(front.sizes)}"
        )
    if axes is None:
        figure = pyplot.figure(figsize=(4.6, 4.6), layout="constrained")
        axes = figure.add_subplot(projection="3d")
    state = front["state"].transpose("direction", "vertical", "coordinate").values
    if "minimizing" in front:
        past = ~front["minimizing"].transpose("direction", "vertical").values.astype(bool)
    else:
        past = front["past_conjugate"].transpose("direction", "vertical").values.astype(bool)
    # once around: the last direction meets the first
    closed = np.concatenate([state, state[:1]])
    marked = np.concatenate([past, past[:1]])
    from matplotlib.colors import to_rgba

    corners = marked[:-1, :-1] | marked[1:, :-1] | marked[:-1, 1:] | marked[1:, 1:]
    colours = np.where(corners[..., None], to_rgba(_PAST, 0.35), to_rgba(_BEFORE, 0.16))
    x, y, z = np.moveaxis(closed, -1, 0)
    axes.plot_surface(
        x, y, z, facecolors=colours, rstride=1, cstride=1, linewidth=0.0, antialiased=False
    )
    if "cut_state" in front:
        # in front of the surface, which would hide them
        axes.computed_zorder = False
        points = front["cut_state"].transpose("coordinate", "cut").values
        axes.scatter(*points, s=16, color=_CUT, zorder=10, depthshade=False, label="cut points")
    names = [str(name) for name in front["coordinate"].values]
    axes.set(xlabel=names[0], ylabel=names[1], zlabel=names[2])
    axes.locator_params(nbins=4)
    return axes


def draw_wavefronts(path: Path, fronts: Mapping[str, xr.Dataset]) -> Path:
    """Draw several wave fronts side by side into a file.

    Parameters
    ----------
    path : Path
        Its ending says the format.
    fronts : mapping of str to Dataset
        By title.

    Returns
    -------
    Path

    Raises
    ------
    InputError, MissingDependencyError
        As `plot_wavefront`.

    Examples
    --------
    >>> import tempfile
    >>> import subriem as sr
    >>> structure = sr.models.heisenberg()
    >>> front = sr.wavefront(structure, [0, 0, 0], 1.0, vertical=[-8, -4, 0, 4, 8], angles=6)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_wavefronts(Path(folder, "fronts.png"), {"Heisenberg": front}).name
    'fronts.png'
    """
    pyplot = require_pyplot()
    figure = pyplot.figure(figsize=(4.4 * len(fronts), 4.6), layout="constrained")
    for number, (title, front) in enumerate(fronts.items(), start=1):
        axes = figure.add_subplot(1, len(fronts), number, projection="3d")
        plot_wavefront(front, axes).set_title(title)
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.3)
    pyplot.close(figure)
    return path
