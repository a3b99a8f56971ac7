"""``dataset.subriem``: pictures and a summary of a result, where the result is.

Registered with xarray as soon as something of `subriem.results` is imported, and so before any
function of subriem returns a dataset. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from subriem.errors import InputError
from subriem.results.digest import digest
from subriem.results.flag_maps import plot_flag_map
from subriem.results.labels import axis_label, made_by, picture_title, structure_name
from subriem.results.law_drift import plot_law_drift
from subriem.results.orbits import finished_orbits
from subriem.results.paths import plot_paths
from subriem.results.plots import plot_loss, plot_outputs, plot_spectrum
from subriem.results.report import write_report
from subriem.results.wave_fronts import plot_wavefront

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ArrayAccessor", "DatasetAccessor", "Pictures"]


@xr.register_dataset_accessor("subriem")
class DatasetAccessor:
    """What subriem adds to a dataset, as ``dataset.subriem``.

    Parameters
    ----------
    dataset : Dataset

    Attributes
    ----------
    plot : Pictures
        ``.loss()``, ``.spectrum()``, ``.outputs()``, ``.paths()``, ``.wavefront()``,
        ``.flag_map()``, ``.laws()``.

    Examples
    --------
    >>> orbit = xr.Dataset(
    ...     {"loss": ("time", [1.0, 0.1]), "predicted_loss": ("time", [1.0, 0.1])},
    ...     {"time": ("time", [0.0, 2.3], {"long_name": "time s of the flow", "units": "1"})},
    ... )
    >>> orbit.subriem.plot.loss().get_xlabel()
    'time s of the flow'
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset
        self.plot = Pictures(dataset)

    def __repr__(self) -> str:
        origin = made_by(self._dataset) or "unknown origin"
        return f"subriem of a dataset of {origin}: plot, summary(), report(path)"

    def summary(self) -> str:
        """What a person wants to know of the dataset first, in at most ten lines.

        Returns
        -------
        str
            Who made it, how it ended, and the numbers asked for first; what is an estimate, a
            bound or proved is called so.

        Examples
        --------
        >>> print(xr.Dataset({"length": 2.5}, attrs={"function": "mine"}).subriem.summary())
        mine
        length  2.5
        """
        return digest(self._dataset)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML page that shows the dataset: `subriem.results.write_report`.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Path

        Raises
        ------
        ResultsError
            If the file cannot be written.
        MissingDependencyError
            Without plotly or Jinja2.

        Examples
        --------
        >>> xr.Dataset({"length": 2.5}).subriem.report("results/none/length.html")
        Traceback (most recent call last):
        subriem.errors.ResultsError: cannot write results/none/length.html: ...
        """
        return write_report(self._dataset, path)


@xr.register_dataarray_accessor("subriem")
class ArrayAccessor:
    """What subriem adds to an array (`subriem.distance` returns one), as ``array.subriem``.

    Parameters
    ----------
    array : DataArray

    Examples
    --------
    >>> array = xr.DataArray(2.5, name="length", attrs={"function": "mine"})
    >>> print(array.subriem.summary())
    mine
    length  2.5
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def __repr__(self) -> str:
        return f"subriem ({self._array.name or 'an array'}): summary(), report(path)"

    def summary(self) -> str:
        """What a person wants to know of the array first, in at most ten lines.

        Returns
        -------
        str

        Examples
        --------
        >>> xr.DataArray([1.0, 2.0], dims="point").subriem.summary().splitlines()[-1]
        'values      1 to 2'
        """
        return digest(self._as_dataset())

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML page that shows the array: `subriem.results.write_report`.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Path

        Raises
        ------
        ResultsError, MissingDependencyError
            As `DatasetAccessor.report`.
        """
        return write_report(self._as_dataset(), path)

    def _as_dataset(self) -> xr.Dataset:
        array = self._array
        dataset = array.to_dataset(name=str(array.name or "values"))
        return dataset.assign_attrs(array.attrs)


class Pictures:
    """Pictures of a dataset, as ``dataset.subriem.plot``; each returns the axes it drew on.

    Parameters
    ----------
    dataset : Dataset

    Examples
    --------
    >>> xr.Dataset(attrs={"function": "lie_flag"}).subriem.plot.loss()
    Traceback (most recent call last):
    subriem.errors.InputError: plot.loss() needs 'loss', 'predicted_loss', which this dataset of
    lie_flag lacks; subriem.flow makes them
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def __repr__(self) -> str:
        return "pictures: loss, spectrum, outputs, paths, wavefront, flag_map, laws"

    def loss(self, ax: Axes | None = None) -> Axes:
        """Draw the loss of an orbit and its prediction, log scale, the stopping time dotted.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            For several orbits on one see `subriem.results.plot_loss`.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset is not an orbit of `subriem.flow`.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> orbit = xr.Dataset(
        ...     {"loss": ("time", [1.0, 0.1]), "predicted_loss": ("time", [1.0, 0.1])},
        ...     {"time": [0.0, 2.3]},
        ... )
        >>> orbit.subriem.plot.loss().get_yscale()
        'log'
        """
        orbit = self._need("loss", ("loss", "predicted_loss"), "subriem.flow", over=("time",))
        attributes = orbit.attrs
        axes = plot_loss({str(attributes.get("kind", "loss")): orbit}, ax)
        stop = float(attributes.get("stopping_time", np.nan))
        for line in axes.lines:
            if np.isfinite(stop) and np.array_equal(line.get_xdata(), [stop, stop]):
                line.set(label=f"stopping time {stop:.4g}", linewidth=1.4)
        axes.legend(frameon=False, fontsize=8)
        least = attributes.get("minimum_loss", 0.0)
        above = f", above its minimum {least:.4g}" if least else ""
        axes.set_xlabel(axis_label(orbit["time"]))
        axes.set_ylabel(axis_label(orbit["loss"]) + above)
        return _titled(axes, f"{attributes.get('kind', '')} flow".strip(), orbit)

    def spectrum(self, ax: Axes | None = None) -> Axes:
        """Draw the singular values of D along an orbit; those counted as zero lie in the grey.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset is not an orbit of `subriem.flow`, or the singular values were not
            computed because the network is too large.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> names = ("loss", "rank_tolerance", "smallest_singular_value", "largest_singular_value")
        >>> orbit = xr.Dataset({name: ("time", [0.2, 0.1]) for name in names})
        >>> orbit.assign(rank=("time", [3, 2])).subriem.plot.spectrum().get_title()
        'rank of D: 2 to 3, decided by the tolerance in grey'
        """
        ends = ("smallest_singular_value", "largest_singular_value")
        names = ("loss", "rank", "rank_tolerance", *ends)
        orbit = self._need("spectrum", names, "subriem.flow", over=("time",))
        if not np.isfinite(orbit["rank_tolerance"]).any():
            raise InputError(
                "plot.spectrum() needs singular values, which were not computed along this orbit: "
                "the network is too large for it"
            )
        axes = plot_spectrum(orbit, ax)
        # a singular value of exactly zero has no place on the axis, and must not stretch it
        axes.set_ylim(top=3.0 * float(orbit["largest_singular_value"].max()))
        axes.tick_params(axis="x", which="minor", labelsize=7, labelrotation=45)
        rank = orbit["rank"].values[orbit["rank"].values >= 0]
        found = f"{rank.min()}" if rank.min() == rank.max() else f"{rank.min()} to {rank.max()}"
        if "singular_values" in orbit:
            axes.set_ylabel(axis_label(orbit["singular_values"]))
            found += f" of {orbit.sizes['singular_value']}"
        return _titled(axes, f"rank of D: {found}, decided by the tolerance in grey", orbit)

    def outputs(
        self, sample: int = 0, components: tuple[int, int] = (0, 1), ax: Axes | None = None
    ) -> Axes:
        """Draw the path of one sample's outputs, two components against each other.

        Parameters
        ----------
        sample : int
        components : tuple of int
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset has no outputs, or not this sample or these components.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> orbit = xr.Dataset({"outputs": (("time", "sample", "output"), np.zeros((2, 1, 2)))})
        >>> orbit.subriem.plot.outputs(components=(1, 0)).get_xlabel()
        'output 1'
        """
        producer = "subriem.flow and subriem.horizontal_lift, with keep=('outputs',),"
        orbit = self._need("outputs", ("outputs",), producer, over=("time", "sample", "output"))
        for name, wanted in (("sample", [sample]), ("output", list(components))):
            if not all(0 <= k < orbit.sizes[name] for k in wanted):
                raise InputError(
                    f"plot.outputs() got {name} {wanted}: expected at least 0 and less than "
                    f"{orbit.sizes[name]}"
                )
        path = orbit[["outputs"]].transpose("time", "sample", "output")
        label = str(orbit.attrs.get("kind", made_by(orbit) or "outputs"))
        axes = plot_outputs({label: path}, ax, sample=sample, components=components)
        axes.set_xlabel(axis_label(orbit["outputs"], f"output {components[0]}"))
        axes.set_ylabel(axis_label(orbit["outputs"], f"output {components[1]}"))
        return _titled(axes, f"outputs of sample {sample}", orbit)

    def paths(
        self, x: str = "x", y: str = "y", z: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Draw paths in state space, two or three coordinates; start and end are marked.

        Parameters
        ----------
        x, y : str
            Names of coordinates.
        z : str, optional
            A third one, for a picture in three dimensions.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset has no paths, or a name is not that of a coordinate.
        MissingDependencyError
            Without matplotlib.

        See Also
        --------
        subriem.results.plot_paths : what is drawn, and how it is marked.

        Examples
        --------
        >>> import subriem as sr
        >>> fan = sr.exponential(sr.models.heisenberg(), [0, 0, 0], [1, 0, 1], [0.0, 0.5, 1.0])
        >>> axes = fan.subriem.plot.paths("x", "z")
        >>> axes.get_xlabel(), axes.get_ylabel(), axes.get_title()
        ('x', 'z', 'exponential, heisenberg')
        """
        producer = "subriem.exponential, subriem.connect, subriem.plan_motion and subriem.abnormal"
        paths = self._need("paths", ("state",), producer, over=("time", "coordinate"))
        return plot_paths(paths, x, y, z, ax)

    def wavefront(self, ax: Axes | None = None) -> Axes:
        """Draw a wave front or a sphere as a surface: `subriem.results.plot_wavefront`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            With ``projection="3d"``.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset is no wave front, or not a surface in dimension three.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> import subriem as sr
        >>> heisenberg = sr.models.heisenberg()
        >>> front = sr.wavefront(heisenberg, [0, 0, 0], 1.0, vertical=[-1, 0, 1], angles=4)
        >>> front.subriem.plot.wavefront().get_zlabel()
        'z'
        """
        front = self._need(
            "wavefront",
            ("state", "past_conjugate"),
            "subriem.wavefront and subriem.sphere",
            over=("direction", "vertical"),
        )
        radius = front.attrs.get("radius")
        axes = plot_wavefront(front, ax)
        label = "sphere" if "minimizing" in front else "wave front"
        text = f"{label} of radius {radius:g}" if radius is not None else label
        return _titled(axes, text, front)

    def flag_map(self, ax: Axes | None = None) -> Axes:
        """Draw growth vectors over two dimensions of points: `subriem.results.plot_flag_map`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset is no flag, or its points do not run over two dimensions.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> plane = xr.Dataset(
        ...     {
        ...         "growth_vector": (("x", "y", "step"), [[[2, 3], [2, 3]]]),
        ...         "degree_of_nonholonomy": (("x", "y"), [[2, 2]]),
        ...     },
        ...     {"x": [0.0], "y": ("y", [0.0, 1.0], {"long_name": "height", "units": "m"})},
        ... )
        >>> plane.subriem.plot.flag_map().get_xlabel()
        'height (m)'
        """
        names = ("growth_vector", "degree_of_nonholonomy")
        flag = self._need("flag_map", names, "subriem.lie_flag", over=("step",))
        axes = plot_flag_map(flag, ax)
        return _titled(axes, "growth vectors", flag)

    def laws(self, ax: Axes | None = None) -> Axes:
        """Draw how training drifts off its laws: `subriem.results.plot_law_drift`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the dataset is not that of the study of conservation laws.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> xr.Dataset().subriem.plot.laws()
        Traceback (most recent call last):
        subriem.errors.InputError: plot.laws() needs 'drift', 'architecture', 'depth',
        'task_status', which this dataset lacks; studies/conservation_laws.py makes them
        """
        names = ("drift", "architecture", "depth", "task_status")
        study = self._need("laws", names, "studies/conservation_laws.py", over=("method",))
        results = {
            (str(point["architecture"]), int(point["depth"])): result
            for point, result in finished_orbits(study)
        }
        axes = plot_law_drift(results, ax)
        return _titled(axes, "drift of conservation laws", study)

    def _need(
        self, picture: str, names: tuple[str, ...], producer: str, *, over: tuple[str, ...]
    ) -> xr.Dataset:
        """The dataset, if it has these variables and the first of them runs over these."""
        dataset = self._dataset
        missing = [name for name in names if name not in dataset.variables]
        absent = [] if missing else [dim for dim in over if dim not in dataset[names[0]].dims]
        if not missing and not absent:
            return dataset
        made = f"this dataset{f' of {made_by(dataset)}' if made_by(dataset) else ''}"
        if missing:
            what = f"{', '.join(map(repr, missing))}, which {made} lacks"
        else:
            what = f"{names[0]!r} over {', '.join(over)}, got {made} over {dataset[names[0]].dims}"
        if made_by(dataset) == "Study.run":
            hint = "take one task with subriem.results.select_task(dataset, ...)"
        else:
            hint = f"{producer} makes {'it' if len(names) == 1 else 'them'}"
            if " and " in producer:
                hint = hint.replace(" makes ", " make ")
        raise InputError(f"plot.{picture}() needs {what}; {hint}")


def _titled(axes: Axes, what: str, dataset: xr.Dataset) -> Axes:
    ended = ", ".join(str(dataset.attrs[k]) for k in ("regime", "status") if k in dataset.attrs)
    axes.set_title(picture_title(what, structure_name(dataset), ended), fontsize=10)
    return axes
