"""Checks of what a study is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subriem.errors import InputError, InputTypeError

__all__ = [
    "TAKEN_OPTIONS",
    "Grid",
    "Variant",
    "checked_grid",
    "checked_resources",
    "positive_seconds",
    "whole_number",
]

Grid = dict[str, list[Any]]

#: Flags that every run has, so that no variant can have their names.
TAKEN_OPTIONS = (
    *("out", "workers", "resume", "fresh", "accept-changes", "time-limit", "retries"),
    *("scheduler", "memory-limit", "exchange", "quiet", "debug", "help"),
)


@dataclass(frozen=True)
class Variant:
    """Another grid for the same task, chosen by a flag.

    Parameters
    ----------
    name
        Name of the flag, without dashes.
    make_grid
        Called without arguments, gives the grid.
    help
        What the flag does, for ``--help``.

    Examples
    --------
    >>> Variant("full", lambda: {"seed": [0, 1]}, "all seeds").name
    'full'
    """

    name: str
    make_grid: Callable[[], Mapping[str, Any]]
    help: str


def checked_grid(grid: Mapping[str, Sequence[Any]], where: str) -> Grid:
    """Check a grid and make its values plain Python values.

    Parameters
    ----------
    grid
        Name to values.
    where
        Whose grid it is, for error messages.

    Returns
    -------
    dict
        Name to list of texts, whole numbers, numbers or truth values.

    Raises
    ------
    InputTypeError
        If it is no mapping of names to sequences of plain values of one kind.
    InputError
        If it is empty, a name is reserved, or a value comes twice, is NaN or too large.

    Examples
    --------
    >>> checked_grid({"rate": [1, 0.5]}, "study 'demo'")
    {'rate': [1.0, 0.5]}
    """
    from subriem.results.schema import DIMENSIONS

    if not isinstance(grid, Mapping):
        raise InputTypeError(
            f"grid of {where}: expected a mapping of names to values, got {grid!r}"
        )
    if not grid:
        raise InputError(f"grid of {where}: expected at least one name, got an empty grid")
    for name in grid:
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"grid of {where}: {name!r} cannot be the name of a parameter")
        if name in DIMENSIONS or name == "variant" or name.startswith("task_"):
            raise InputError(f"grid of {where}: the name {name!r} is reserved; choose another")
    return {name: _checked_values(values, f"{name!r} of {where}") for name, values in grid.items()}


def _checked_values(values: Any, where: str) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise InputTypeError(f"{where}: expected a list of values, got {values!r}")
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    if not plain:
        raise InputError(f"{where}: expected at least one value, got none")
    kinds = {type(value) for value in plain}
    if kinds == {int, float}:
        plain, kinds = [float(value) for value in plain], {float}
    if len(kinds) > 1 or not kinds <= {str, int, float, bool}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InputTypeError(
            f"{where}: expected texts, whole numbers, numbers or truth values, all of one kind, "
            f"got {names}"
        )
    for number, value in enumerate(plain):
        if isinstance(value, float) and math.isnan(value):
            raise InputError(f"{where}: NaN cannot be a point of a grid")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"{where}: {value} does not fit in 64 bits")
        if value in plain[:number]:
            raise InputError(f"{where}: {value!r} comes twice")
    return plain


def whole_number(value: Any, name: str, *, least: int) -> int:
    """Check a whole number.

    Parameters
    ----------
    value
        What came.
    name
        Name of the argument, for the error message.
    least
        The least that it may be.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputTypeError
        If it is no whole number.
    InputError
        If it is too small.

    Examples
    --------
    >>> whole_number(2, "workers", least=1)
    2
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputTypeError(f"{name}: expected a whole number, got {value!r}")
    if value < least:
        raise InputError(f"{name}: expected at least {least}, got {value}")
    return int(value)


def positive_seconds(value: Any, name: str) -> float:
    """Check a duration.

    Parameters
    ----------
    value
        What came.
    name
        Name of the argument, for the error message.

    Returns
    -------
    float
        The duration in seconds.

    Raises
    ------
    InputTypeError
        If it is no number.
    InputError
        If it is not positive and finite.

    Examples
    --------
    >>> positive_seconds(2, "time_limit")
    2.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputTypeError(f"{name}: expected a number of seconds, got {value!r}")
    if not 0 < value < math.inf:
        raise InputError(f"{name}: expected a positive number of seconds, got {value}")
    return float(value)


def checked_resources(resources: Any, where: str) -> dict[str, float]:
    """Check what a task needs of a worker.

    Parameters
    ----------
    resources
        Name to amount.
    where
        What it is of, for the error message.

    Returns
    -------
    dict
        Name to amount.

    Raises
    ------
    InputTypeError
        If it is not a mapping of names to numbers.
    InputError
        If an amount is not positive and finite.

    Examples
    --------
    >>> checked_resources({"GPU": 1}, "study 'x'")
    {'GPU': 1}
    """
    if not isinstance(resources, Mapping):
        raise InputTypeError(f"{where}: expected resources as a mapping, got {resources!r}")
    for name, amount in resources.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise InputTypeError(f"{where}: resource {name!r}: expected a number, got {amount!r}")
        if not 0 < amount < math.inf:
            raise InputError(f"{where}: resource {name!r}: expected more than 0, got {amount}")
    return dict(resources)
