"""The one shape of a result: how every producer builds its dataset, and what is checked.

- Dimensions are singular nouns; those in `DIMENSIONS` have one meaning everywhere.
- Every dimension has a coordinate, and a variable has a dimension's name only if it is that
  coordinate.
- Every variable and coordinate has ``long_name`` and ``units`` (``"1"`` where dimensionless).
- The attributes of the dataset say where it comes from (`subriem.results.provenance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError, InputTypeError
from subriem.results.provenance import REQUIRED_KEYS, provenance

__all__ = ["DIMENSIONS", "VariableSpec", "build_dataset", "validate"]

#: Reserved dimension names and what an index along each counts. Other names are free for the
#: grid of a study.
DIMENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "complex_part": "real and imaginary part",
        "coordinate": "coordinate of the state space",
        "direction": "direction in a subspace",
        "event": "event along an orbit",
        "field": "vector field of the frame",
        "geodesic": "geodesic",
        "layer": "layer of the network",
        "output": "output of the network",
        "parameter": "parameter of the network",
        "point": "point",
        "sample": "sample of the training set",
        "singular_value": "index of the singular value, largest first",
        "step": "step of the Lie flag",
        "time": "time",
    }
)

#: ``(dimensions, values, long_name, units)``; dimensions is a name or a sequence of names.
VariableSpec = tuple[Any, Any, str, str]


def build_dataset(
    variables: Mapping[str, VariableSpec],
    coordinates: Mapping[str, VariableSpec] | None = None,
    *,
    function: str,
    arguments: Mapping[str, Any] | None = None,
    structure: str | None = None,
    seed: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Build a dataset of the one shape, stamped with where it comes from.

    Parameters
    ----------
    variables
        Name to ``(dimensions, values, long_name, units)``; ``units`` is ``"1"`` where
        dimensionless. Values are anything that NumPy takes (a tensor: detached and on the CPU).
    coordinates
        The same for coordinates. A dimension that is given none gets its index 0, 1, 2, ...
    function, arguments, structure, seed
        Where the dataset comes from: see `subriem.results.provenance`.
    attributes
        Further attributes of the dataset (``regime``, ``status``, ...).

    Returns
    -------
    xarray.Dataset
        The dataset, validated.

    Raises
    ------
    InputError
        If something of the shape is missing or does not fit; the message names the variable.
    InputTypeError
        If a variable is not given as ``(dimensions, values, long_name, units)``.

    Examples
    --------
    >>> orbit = build_dataset(
    ...     {"loss": ("time", [1.0, 0.5, 0.25], "loss along the orbit", "1")},
    ...     {"time": ("time", [0.0, 0.7, 1.4], "time of the flow", "1")},
    ...     function="flow",
    ...     arguments={"kind": "adapted"},
    ...     attributes={"status": "reached"},
    ... )
    >>> orbit.loss.dims, orbit.loss.attrs["units"], orbit.attrs["status"]
    (('time',), '1', 'reached')
    """
    data_vars = {name: _variable(name, spec) for name, spec in variables.items()}
    coords = {name: _variable(name, spec) for name, spec in (coordinates or {}).items()}
    for name in set(data_vars) & set(coords):
        raise InputError(f"{name!r} is given both as a variable and as a coordinate")
    for variable in [*data_vars.values(), *coords.values()]:
        for dimension, size in variable.sizes.items():
            if dimension not in coords and dimension not in data_vars:
                coords[str(dimension)] = index_coordinate(str(dimension), size)
    stamped = {
        **provenance(function, arguments, structure=structure, seed=seed),
        **(attributes or {}),
    }
    try:
        dataset = xr.Dataset(data_vars, coords, stamped)
    except ValueError as error:
        raise InputError(f"the variables of {function} do not fit together: {error}") from error
    validate(dataset)
    return dataset


def validate(dataset: xr.Dataset) -> None:
    """Check that a dataset has the one shape.

    Parameters
    ----------
    dataset
        What a producer made.

    Raises
    ------
    InputTypeError
        If it is not a dataset.
    InputError
        If a dimension has no coordinate, a variable takes a dimension's name, ``long_name`` or
        ``units`` is missing, or the dataset does not say where it comes from.

    Examples
    --------
    >>> import xarray as xr
    >>> validate(xr.Dataset({"loss": ("time", [1.0, 0.5])}))
    Traceback (most recent call last):
    subriem.errors.InputError: dimension 'time' has no coordinate; give one of length 2
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputTypeError(f"expected an xarray.Dataset, got {type(dataset).__name__}")
    for dimension, size in dataset.sizes.items():
        if dimension not in dataset.variables:
            raise InputError(
                f"dimension {dimension!r} has no coordinate; give one of length {size}"
            )
        dims = dataset.variables[dimension].dims
        if dims != (dimension,) or dimension not in dataset.coords:
            raise InputError(
                f"variable {dimension!r} over {dims} has the name of a dimension and is not its "
                "coordinate; rename one of the two"
            )
    for name, variable in dataset.variables.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"variable {name!r}: expected a name of letters, digits and '_'")
        for key in ("long_name", "units"):
            value = variable.attrs.get(key)
            if not isinstance(value, str) or not value:
                hint = " ('1' where dimensionless)" if key == "units" else ""
                raise InputError(f"variable {name!r} has no {key!r}: expected a text{hint}")
    for key in REQUIRED_KEYS:
        if not isinstance(dataset.attrs.get(key), str):
            raise InputError(f"attribute {key!r} of the dataset is missing; see provenance()")
    try:
        offset = datetime.fromisoformat(dataset.attrs["created_at"]).utcoffset()
    except ValueError:
        offset = None
    if offset is None or offset.total_seconds() != 0:
        raise InputError(
            f"attribute 'created_at': expected UTC in ISO form, got {dataset.attrs['created_at']!r}"
        )


def coordinate_axis(names: Sequence[str]) -> VariableSpec:
    """The axis of a state space's coordinates, labelled by their names.

    Parameters
    ----------
    names
        In order.

    Returns
    -------
    tuple
        ``(dimensions, values, long_name, units)`` for `build_dataset`.

    Examples
    --------
    >>> coordinate_axis(["x", "y"])[1]
    array(['x', 'y'], dtype='<U1')
    """
    return ("coordinate", np.array(names), DIMENSIONS["coordinate"], "1")


def index_coordinate(dimension: str, size: int) -> xr.Variable:
    """Coordinate 0, 1, 2, ... of a dimension that has no labels of its own.

    Parameters
    ----------
    dimension
        Name of the dimension.
    size
        Its length.

    Returns
    -------
    xarray.Variable
        The coordinate, with ``long_name`` and ``units``.

    Examples
    --------
    >>> index_coordinate("sample", 3).values
    array([0, 1, 2])
    """
    long_name = DIMENSIONS.get(dimension, f"{dimension.replace('_', ' ')}, counted from 0")
    return xr.Variable(dimension, np.arange(size), {"long_name": long_name, "units": "1"})


def _variable(name: str, spec: VariableSpec) -> xr.Variable:
    if not isinstance(spec, tuple) or len(spec) != 4:
        raise InputTypeError(
            f"variable {name!r}: expected (dimensions, values, long_name, units), got {spec!r}"
        )
    dims, values, long_name, units = spec
    array = np.asarray(values)
    if array.dtype.kind == "O":
        raise InputTypeError(
            f"variable {name!r}: expected numbers, truth values, times or text of one kind, got "
            "values that NumPy holds as objects"
        )
    dims = (dims,) if isinstance(dims, str) else tuple(dims)
    if len(dims) != array.ndim:
        raise InputError(
            f"variable {name!r}: dimensions {dims} do not fit values of shape {array.shape}"
        )
    return xr.Variable(dims, array, {"long_name": long_name, "units": units})
