"""Pictures of conservation laws: how many there are, and how training drifts off them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.results.plots import COLOURS, require_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_law_drift", "plot_law_counts", "plot_law_drift"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def plot_law_counts(results: Mapping[tuple[str, int], xr.Dataset], axes: Any = None) -> Axes:
    """Draw the number of independent conservation laws over the depth of networks.

    Filled: proved to be all. Open: at least so many.

    Parameters
    ----------
    results : mapping of (str, int) to Dataset
        By architecture and depth; each with ``laws`` and ``certified``.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no result.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> one = xr.Dataset({"laws": 6, "certified": True})
    >>> plot_law_counts({("linear", 2): one}).get_xlabel()
    'depth'
    """
    axes = _axes(results, axes)
    for number, name in enumerate(_names(results)):
        depths = sorted(depth for other, depth in results if other == name)
        found = [results[name, depth] for depth in depths]
        counts = [int(result["laws"]) for result in found]
        colour, marker = _style(number)
        axes.plot(depths, counts, color=colour, lw=1.0)
        for depth, count, result in zip(depths, counts, found, strict=True):
            face = colour if bool(result["certified"]) else "white"
            axes.plot(depth, count, marker=marker, ms=8, color=colour, mfc=face, ls="")
            # architectures of equal number would hide one another
            axes.annotate(
                str(count), (depth, count), (0, 8), textcoords="offset points", ha="center"
            )
        axes.plot([], [], color=colour, marker=marker, ms=8, lw=1.0, label=name)
    axes.set_xticks(sorted({depth for _, depth in results}))
    axes.set_xlabel("depth")
    axes.set_ylabel("independent conservation laws")
    axes.set_ylim(0, 1.15 * max(1, *(int(result["laws"]) for result in results.values())))
    axes.legend(frameon=False, fontsize=9, title="filled: proved to be all", title_fontsize=9)
    return axes


def plot_law_drift(results: Mapping[tuple[str, int], xr.Dataset], axes: Any = None) -> Axes:
    """Draw the drift of the laws against the step size of gradient descent, both logarithmic.

    Filled: full gradients; open: stochastic ones. Black, dashed: a drift proportional to the step
    size, as a guide. One depth, the greatest, is shown for each architecture.

    Parameters
    ----------
    results : mapping of (str, int) to Dataset
        By architecture and depth; each with ``drift`` over ``method`` and ``step_size``.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no result.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> drift = (("method", "step_size"), [[0.2, 0.02], [0.3, 0.03]])
    >>> names = {"method": ["gradient descent", "stochastic"], "step_size": [0.1, 0.01]}
    >>> plot_law_drift({("linear", 2): xr.Dataset({"drift": drift}, names)}).get_xscale()
    'log'
    """
    axes = _axes(results, axes)
    least: list[tuple[float, float]] = []
    for number, name in enumerate(_names(results)):
        depth = max(depth for other, depth in results if other == name)
        drift = results[name, depth]["drift"].transpose("method", "step_size")
        sizes = drift["step_size"].values
        colour, marker = _style(number)
        for row, method in enumerate(drift["method"].values):
            axes.plot(
                sizes,
                drift.values[row],
                color=colour,
                marker=marker,
                ms=6,
                mfc="white" if row else colour,
                lw=1.0,
                ls=":" if row else "-",
                label=f"{name}, depth {depth}, {method}",
            )
        smallest = int(np.argmin(sizes))
        least.append((float(drift.values[:, smallest].min()), float(sizes[smallest])))
    bottom, size = min(least)
    reach = np.array([size, max(float(r["step_size"].max()) for r in results.values())])
    axes.plot(reach, 0.4 * bottom * reach / size, color="black", lw=1.0, ls="--", label="slope 1")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step size")
    axes.set_ylabel("drift / greatest law at the start")
    axes.legend(frameon=False, fontsize=8)
    return axes


def draw_law_drift(path: str | Path, results: Mapping[tuple[str, int], xr.Dataset]) -> Path:
    """Draw the number of laws and their drift side by side into a file.

    Parameters
    ----------
    path : str or Path
        Its ending says the format.
    results : mapping of (str, int) to Dataset
        By architecture and depth.

    Returns
    -------
    Path

    Raises
    ------
    InputError, MissingDependencyError
        As `plot_law_counts`.

    Examples
    --------
    >>> import tempfile
    >>> drift = (("method", "step_size"), [[0.2, 0.02], [0.3, 0.03]])
    >>> names = {"method": ["gradient descent", "stochastic"], "step_size": [0.1, 0.01]}
    >>> one = xr.Dataset({"laws": 6, "certified": True, "drift": drift}, names)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_law_drift(Path(folder, "laws.png"), {("linear", 2): one}).name
    'laws.png'
    """
    pyplot = require_pyplot()
    figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    plot_law_counts(results, axes[0]).set_title("what gradient flows conserve")
    plot_law_drift(results, axes[1]).set_title("what descent by steps makes of it")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return Path(path)


def _axes(results: Mapping[tuple[str, int], xr.Dataset], axes: Any) -> Axes:
    if not results:
        raise InputError("a picture of conservation laws needs at least one result, got none")
    if axes is not None:
        return axes
    return require_pyplot().subplots(figsize=(5.0, 4.0), layout="constrained")[1]


def _names(results: Mapping[tuple[str, int], xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(name for name, _ in results))


def _style(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
