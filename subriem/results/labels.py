"""What the attributes of a dataset say, as short text for axes, titles and summaries."""

from __future__ import annotations

import textwrap

import xarray as xr

__all__ = ["axis_label", "made_by", "picture_title", "structure_name"]


def axis_label(variable: xr.DataArray, name: str | None = None) -> str:
    """Label of an axis: the long name of a variable and, unless it is "1", its unit.

    Parameters
    ----------
    variable : DataArray
    name : str, optional
        Shown in place of ``long_name``.

    Returns
    -------
    str

    Examples
    --------
    >>> axis_label(xr.DataArray(0.0, attrs={"long_name": "time of the flow", "units": "s"}))
    'time of the flow (s)'
    """
    if name is None:
        name = str(variable.attrs.get("long_name", variable.name))
    unit = str(variable.attrs.get("units", "1"))
    return name if unit == "1" else f"{name} ({unit})"


def made_by(dataset: xr.Dataset) -> str:
    """Name of the function that made a dataset, without its package; "" where it does not say.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    str

    Examples
    --------
    >>> made_by(xr.Dataset(attrs={"function": "subriem.flow"}))
    'flow'
    """
    return str(dataset.attrs.get("function", "")).removeprefix("subriem.")


def structure_name(dataset: xr.Dataset) -> str:
    """Name of the structure that a dataset is about, or what a network is; "" where not known.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    str

    Examples
    --------
    >>> text = "Structure heisenberg: 3 coordinates (x, y, z), 2 fields"
    >>> structure_name(xr.Dataset(attrs={"structure": text}))
    'heisenberg'
    >>> text = "OutputMap(Sequential: 4 samples x 1 outputs, 129 parameters, float64, cpu)"
    >>> structure_name(xr.Dataset(attrs={"structure": text}))
    'Sequential: 4 samples x 1 outputs, 129 parameters'
    """
    text = str(dataset.attrs.get("structure", ""))
    if text.startswith("Structure "):
        return text.removeprefix("Structure ").split(": ")[0]
    if text.startswith("OutputMap(") and text.endswith(")"):
        # without type and device
        return text.removeprefix("OutputMap(")[:-1].rsplit(", ", 2)[0]
    return text


def picture_title(*parts: str) -> str:
    r"""A title, one line or more for each part that is not empty, narrow enough for print.

    Parameters
    ----------
    *parts : str

    Returns
    -------
    str

    Examples
    --------
    >>> picture_title("adapted flow", "", "converged")
    'adapted flow\nconverged'
    """
    return "\n".join(textwrap.fill(part, 52) for part in parts if part)
