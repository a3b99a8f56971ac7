"""A dataset for reading at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_failures", "print_summary", "value_range"]

_FAILURES_SHOWN = 10
_FIRST = ("question", "study", "function", "structure", "arguments", "seed", "created_at")
_HIDDEN = ("combination", "study_manifest")


def print_summary(dataset: xr.Dataset, console: Console) -> None:
    """Print what a dataset holds: where it comes from, its variables, and tasks that failed.

    Parameters
    ----------
    dataset
        Any dataset; long names, units and provenance are shown where it has them.
    console
        Where to.

    Examples
    --------
    >>> import sys, rich.console, xarray as xr
    >>> console = rich.console.Console(file=sys.stdout, width=60)
    >>> print_summary(xr.Dataset(attrs={"question": "Is it?"}), console)  # doctest: +ELLIPSIS
    question  Is it?
    ...
    """
    attributes = Table.grid(padding=(0, 2))
    shown = {str(name): value for name, value in dataset.attrs.items() if name not in _HIDDEN}
    for name in sorted(
        shown, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)
    ):
        attributes.add_row(f"[bold]{escape(name)}[/]", escape(_text(shown[name])))
    console.print(attributes)
    sizes = ", ".join(f"{name} {size}" for name, size in dataset.sizes.items())
    console.print(f"[bold]dimensions[/]  {escape(sizes) or 'none'}")
    variables = Table(
        Column("variable", no_wrap=True), "over", "least", "greatest", "units", "meaning", box=None
    )
    for key, variable in {**dataset.coords, **dataset.data_vars}.items():
        least, greatest = value_range(variable)
        units, meaning = (str(variable.attrs.get(k, "")) for k in ("units", "long_name"))
        dims = ", ".join(map(str, variable.dims))
        variables.add_row(*map(escape, (str(key), dims, least, greatest, units, meaning)))
    console.print(variables)
    if "task_status" in dataset:
        print_failures(dataset, console)


def print_failures(dataset: xr.Dataset, console: Console) -> None:
    """Print how many tasks of a study failed, and why the first of them did.

    Parameters
    ----------
    dataset
        The combined dataset of a study.
    console
        Where to.

    Examples
    --------
    >>> import sys, rich.console, xarray as xr
    >>> dataset = xr.Dataset(
    ...     {
    ...         "task_status": ("seed", ["ok", "failed"]),
    ...         "task_message": ("seed", ["", "ValueError: no"]),
    ...     },
    ...     {"seed": [0, 1]},
    ... )
    >>> print_failures(dataset, rich.console.Console(file=sys.stdout, color_system=None))
    tasks  2, of which 1 failed
      seed=1: ValueError: no
    """
    status = dataset["task_status"]
    failed = np.argwhere(np.asarray(status.values != "ok"))
    console.print(f"[bold]tasks[/]  {status.size}, of which {len(failed)} failed")
    for place in failed[:_FAILURES_SHOWN]:
        cell = dataset.isel(dict(zip(status.dims, place.tolist(), strict=True)))
        point = ", ".join(f"{name}={cell[name].item()}" for name in status.dims)
        console.print(f"  {escape(point)}: {escape(cell['task_message'].item())}", soft_wrap=True)
    if len(failed) > _FAILURES_SHOWN:
        console.print(f"  and {len(failed) - _FAILURES_SHOWN} more")


def value_range(variable: xr.DataArray) -> tuple[str, str]:
    """Least and greatest value as text; padding and NaN do not count.

    Parameters
    ----------
    variable : DataArray

    Returns
    -------
    tuple of str
        Twice "" where there is none: text, complex numbers, nothing but NaN.

    Examples
    --------
    >>> value_range(xr.DataArray([2.0, np.nan, 0.25]))
    ('0.25', '2')
    """
    values = variable.values
    if "padding_value" in variable.attrs:
        values = values[values != variable.attrs["padding_value"]]
    if values.dtype.kind in "fmM":
        values = values[~np.isnan(values)]
    if values.dtype.kind not in "biufmM" or values.size == 0:
        return ("", "")
    least, greatest = values.min(), values.max()
    return _number(least), _number(greatest)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={item!r}" for name, item in value.items())
    return str(value)
