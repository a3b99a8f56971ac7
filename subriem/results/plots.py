"""Plots of orbits: the loss against its prediction, the spectrum of D, the outputs.

Matplotlib, on axes of one's own or new ones; each function returns the axes. Colours are those
of Okabe and Ito, which the colour-blind tell apart, and lines differ in style as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "plot_loss", "plot_outputs", "plot_spectrum", "require_pyplot"]

#: Told apart by colour-blind readers too (Okabe, Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def require_pyplot() -> Any:
    """Import matplotlib.pyplot, or say how to get it.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    """
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib: pip install 'subriem[plot]'"
        ) from error
    return matplotlib.pyplot


def _axes(axes: Any) -> Axes:
    if axes is not None:
        return axes
    return require_pyplot().subplots(figsize=(5.0, 3.6), layout="constrained")[1]


def plot_loss(orbits: Mapping[str, xr.Dataset], axes: Any = None) -> Axes:
    """Draw the loss of orbits over their time, with the prediction as a line.

    Parameters
    ----------
    orbits : mapping of str to Dataset
        Orbits of `subriem.flow` by the label to show; they should share a clock.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> time = np.linspace(0, 5, 6)
    >>> orbit = xr.Dataset(
    ...     {"loss": ("time", np.exp(-time)), "predicted_loss": ("time", np.exp(-time))},
    ...     {"time": time},
    ... )
    >>> plot_loss({"adapted": orbit}).get_yscale()
    'log'
    """
    axes = _axes(axes)
    predicted = False
    for index, (label, orbit) in enumerate(orbits.items()):
        colour = COLOURS[index % len(COLOURS)]
        least = float(orbit.attrs.get("minimum_loss", 0.0))
        time = orbit["time"].values
        prediction = orbit["predicted_loss"].values - least
        known = bool(np.isfinite(prediction).all() and (prediction > 0).all())
        if known:
            name = None if predicted else "predicted"
            axes.plot(time, prediction, color="black", lw=1.0, ls="--", label=name, zorder=1)
            predicted = True
        axes.plot(
            time,
            orbit["loss"].values - least,
            color=colour,
            marker=_MARKERS[index % len(_MARKERS)],
            ms=4,
            lw=0.0 if known else 1.0,
            label=label,
        )
        stop = orbit.attrs.get("stopping_time", np.nan)
        if np.isfinite(stop):
            axes.axvline(float(stop), color=colour, lw=0.8, ls=":")
    axes.set_yscale("log")
    axes.set_xlabel("time s")
    axes.set_ylabel("loss C")
    axes.legend(frameon=False, fontsize=8)
    return axes


def plot_spectrum(orbit: xr.Dataset, axes: Any = None) -> Axes:
    """Draw the singular values of D along an orbit, over the loss.

    Parameters
    ----------
    orbit : Dataset
        Of `subriem.flow`; with ``singular_values`` all are drawn, otherwise the extreme ones.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> orbit = xr.Dataset(
    ...     {
    ...         "loss": ("time", [1.0, 0.1]),
    ...         "rank_tolerance": ("time", [1e-9, 1e-9]),
    ...         "smallest_singular_value": ("time", [0.1, 0.2]),
    ...         "largest_singular_value": ("time", [2.0, 3.0]),
    ...     }
    ... )
    >>> plot_spectrum(orbit).get_xscale()
    'log'
    """
    axes = _axes(axes)
    start = float(orbit["loss"][0])
    progress = np.maximum(orbit["loss"].values / start, 1e-300)
    if "singular_values" in orbit:
        values = orbit["singular_values"].values
        chosen = np.unique(np.linspace(0, values.shape[1] - 1, 24).astype(int))
        axes.plot(progress, np.maximum(values[:, chosen], 1e-300), color=COLOURS[0], lw=0.7)
    for name, colour in (("largest", COLOURS[1]), ("smallest", COLOURS[2])):
        value = orbit[f"{name}_singular_value"].values
        axes.plot(progress, value, color=colour, lw=1.6, marker="o", ms=3, label=f"{name}")
    tolerance = orbit["rank_tolerance"].values
    axes.fill_between(
        progress, tolerance * 1e-3, tolerance, color="0.85", label="counted as zero", lw=0
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_ylim(bottom=max(float(np.nanmin(tolerance)) * 1e-1, 1e-300))
    axes.set_xlabel("loss C / C(0), training to the right")
    axes.set_ylabel("singular values of D")
    axes.legend(frameon=False, fontsize=8)
    return axes


def plot_outputs(
    orbits: Mapping[str, xr.Dataset],
    axes: Any = None,
    *,
    sample: int = 0,
    components: tuple[int, int] = (0, 1),
) -> Axes:
    """Draw the path of one sample's outputs, two components against each other.

    Parameters
    ----------
    orbits : mapping of str to Dataset
        Orbits of `subriem.flow` by label, with ``outputs``.
    axes : matplotlib.axes.Axes, optional
    sample : int
    components : tuple of int

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> orbit = xr.Dataset({"outputs": (("time", "sample", "output"), np.zeros((2, 1, 2)))})
    >>> plot_outputs({"adapted": orbit}).get_xlabel()
    'output 0'
    """
    axes = _axes(axes)
    first, second = components
    for index, (label, orbit) in enumerate(orbits.items()):
        path = orbit["outputs"].isel(sample=sample).values
        axes.plot(
            path[:, first],
            path[:, second],
            color=COLOURS[index % len(COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            ms=4 - index % 3,
            lw=1.0,
            ls=("-", "--", ":")[index % 3],
            label=label,
        )
    axes.set_xlabel(f"output {first}")
    axes.set_ylabel(f"output {second}")
    axes.legend(frameon=False, fontsize=8)
    return axes
