"""What files can hold of a variable, and how everything else comes back as it was.

A file of either kind (NetCDF, Zarr) holds arrays of numbers, truth values and text, whose `Form`
is decided here; their attributes are those of `subriem.results.marked_attributes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError, InputTypeError, ResultsError
from subriem.results.marked_attributes import (
    encode_attributes,
    is_unicode,
    is_vector_attribute,
)

__all__ = [
    "Form",
    "coordinate_attributes",
    "decode_values",
    "encode_form",
    "encode_forms",
    "encode_values",
    "plain_values",
    "stored_dtype",
    "stored_shape",
]

COMPLEX_DIMENSION = "complex_part"
_TIME_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@dataclass(frozen=True)
class Form:
    """What a variable is, and what is written for it.

    Parameters
    ----------
    dims
        Dimensions in the file: those of the variable, and one more for complex numbers.
    dtype
        Type of the variable.
    attrs
        Attributes in the file.

    Examples
    --------
    >>> encode_form("z", ("time",), np.dtype(complex), {"units": "1"})
    Form(dims=('time', 'complex_part'), dtype=dtype('complex128'), attrs={'units': '1', ...})
    """

    dims: tuple[str, ...]
    dtype: np.dtype
    attrs: dict[str, Any]


def encode_form(
    name: str,
    dims: tuple[Any, ...],
    dtype: np.dtype,
    attrs: Mapping[Any, Any],
    is_native: Callable[[Any], bool] = is_vector_attribute,
) -> Form:
    """Say how a variable is written; its values follow by `encode_values`.

    Parameters
    ----------
    name
        Name of the variable.
    dims, dtype, attrs
        What it is; text is of a fixed width (``<U5``).
    is_native
        Which attributes the file can hold besides texts and whole numbers.

    Returns
    -------
    Form
        What stands in the file.

    Raises
    ------
    InputError, InputTypeError
        If the name, the type or an attribute cannot be written; the message names it.

    Examples
    --------
    >>> encode_form("good", ("time",), np.dtype(bool), {"strict": True}).attrs
    {'strict': 'true', '_subriem': '{"json": ["strict"]}'}
    """
    for text in (name, *dims):
        if not isinstance(text, str) or not _is_netcdf_name(text):
            raise InputError(
                f"cannot write the name {text!r}: expected a text without '/' or space"
            )
    if COMPLEX_DIMENSION in dims:
        raise InputError(f"cannot write a dimension {COMPLEX_DIMENSION!r}: the name is taken")
    own = dict(attrs)
    extra: dict[str, Any] = {}
    held: dict[str, Any] = {}
    units: dict[str, Any] = {}
    kind = dtype.kind
    if kind == "c" and dtype.itemsize <= 16:
        dims = (*dims, COMPLEX_DIMENSION)
        extra["dtype"] = dtype.newbyteorder("=").str
    elif kind in "mM":
        resolution, count = np.datetime_data(dtype)
        if resolution not in _TIME_UNITS or count != 1:
            raise InputTypeError(
                f"cannot write variable {name!r} of type {dtype}: expected one of "
                f"{', '.join(_TIME_UNITS)} as the resolution"
            )
        extra["dtype"] = dtype.newbyteorder("=").str
        if "units" in own:
            held["units"] = own.pop("units")
        units["units"] = _TIME_UNITS[resolution]
        if kind == "M":
            units = {
                "units": f"{_TIME_UNITS[resolution]} since 1970-01-01",
                "calendar": "proleptic_gregorian",
            }
    elif kind == "U" or dtype == np.float16:
        extra["dtype"] = dtype.newbyteorder("=").str
    elif not (kind in "biu" or (kind == "f" and dtype.itemsize <= 8)):
        raise InputTypeError(f"cannot write variable {name!r} of type {dtype}")
    written = encode_attributes(own, f"variable {name!r}", is_native, extra=extra, held=held)
    return Form(tuple(dims), dtype.newbyteorder("="), {**written, **units})


def encode_forms(
    dataset: xr.Dataset, is_native: Callable[[Any], bool] = is_vector_attribute
) -> dict[str, Form]:
    """Say how each variable of a dataset is written.

    Parameters
    ----------
    dataset
        The dataset.
    is_native
        As for `encode_form`.

    Returns
    -------
    dict
        Name to form.

    Raises
    ------
    InputError, InputTypeError
        As `encode_form`.

    Examples
    --------
    >>> encode_forms(xr.Dataset({"v": ("x", [1.0])}))["v"].dims
    ('x',)
    """
    forms: dict[str, Form] = {}
    for name, variable in dataset.variables.items():
        dtype = variable.dtype
        if dtype.kind in "OT":
            dtype = plain_values(str(name), variable).dtype
        forms[name] = encode_form(name, variable.dims, dtype, variable.attrs, is_native)  # type: ignore[index, arg-type]
    return forms


def stored_shape(variable: xr.Variable) -> tuple[int, ...]:
    """Shape of the numbers that are written for a variable.

    Parameters
    ----------
    variable
        The variable.

    Returns
    -------
    tuple of int
        One axis more for complex numbers.

    Examples
    --------
    >>> stored_shape(xr.Variable("x", [1j, 2j, 3j]))
    (3, 2)
    """
    return (*variable.shape, 2) if variable.dtype.kind == "c" else variable.shape


def coordinate_attributes(
    forms: Mapping[str, Form], coordinates: set[str]
) -> dict[str | None, dict[str, str]]:
    """The attributes by which the CF conventions say which variables are coordinates.

    Parameters
    ----------
    forms
        Name to form.
    coordinates
        Names of the coordinates; those that are their own dimension need no attribute.

    Returns
    -------
    dict
        Name of a variable to attributes that it has besides, with None for the dataset.

    Examples
    --------
    >>> forms = {n: encode_form(n, ("x",), np.dtype(float), {}) for n in ("value", "label")}
    >>> coordinate_attributes(forms, {"label"})
    {'value': {'coordinates': 'label'}}
    """
    extra = {name for name in coordinates if forms[name].dims != (name,)}
    found: dict[str | None, dict[str, str]] = {}
    used: set[str] = set()
    if not extra:
        return found
    for name, form in forms.items():
        along = {c for c in extra if set(forms[c].dims) <= set(form.dims)}
        if along and name not in coordinates:
            found[name] = {"coordinates": " ".join(sorted(along))}
            used |= along
    if extra - used:
        found[None] = {"coordinates": " ".join(sorted(extra - used))}
    return found


def stored_dtype(dtype: np.dtype) -> np.dtype:
    """Type of the numbers that are written for a type.

    Parameters
    ----------
    dtype
        Type of the variable.

    Returns
    -------
    numpy.dtype
        Truth values and text are themselves: each kind of file has its own way for them.

    Examples
    --------
    >>> stored_dtype(np.dtype("complex64")), stored_dtype(np.dtype("datetime64[s]"))
    (dtype('float32'), dtype('int64'))
    """
    if dtype.kind == "c":
        return np.dtype(f"f{dtype.itemsize // 2}")
    if dtype.kind in "mM":
        return np.dtype(np.int64)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def encode_values(name: str, values: np.ndarray) -> np.ndarray:
    """Give the numbers that are written for values.

    Parameters
    ----------
    name
        Name of the variable, for error messages.
    values
        Its values, or a block of them.

    Returns
    -------
    numpy.ndarray
        Of `stored_dtype`, with one axis more for complex numbers.

    Raises
    ------
    InputError
        If a text cannot be written.

    Examples
    --------
    >>> encode_values("z", np.array([1 + 2j]))
    array([[1., 2.]])
    """
    kind = values.dtype.kind
    if kind == "U":
        for item in values.ravel().tolist():
            if "\0" in item or not is_unicode(item):
                raise InputError(
                    f"cannot write variable {name!r}: the text {item!r} holds a NUL or half a "
                    "surrogate pair"
                )
        return values
    if kind == "c":
        values = np.stack([values.real, values.imag], axis=-1)
    elif kind in "mM":
        values = values.astype(np.int64)
    elif values.dtype == np.float16:
        values = values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def plain_values(name: str, variable: xr.Variable) -> np.ndarray:
    """Values of a variable, with text that pandas or NumPy hold as objects in a fixed width.

    Parameters
    ----------
    name
        Name of the variable, for error messages.
    variable
        The variable.

    Returns
    -------
    numpy.ndarray
        Its values.

    Raises
    ------
    InputTypeError
        If it holds objects that are no text.

    Examples
    --------
    >>> plain_values("kind", xr.Variable("x", np.array(["a", "bc"], object))).dtype
    dtype('<U2')
    """
    values = variable.values
    if values.dtype.kind not in "OT":
        return values
    # an index of pandas gives text as objects
    if not all(isinstance(item, str) for item in values.ravel()):
        raise InputTypeError(f"cannot write variable {name!r}: it holds objects, not only text")
    return values.astype(str)


def decode_values(stored: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Give values back from what `encode_values` gave, or from a block of it.

    Parameters
    ----------
    stored
        What stands in the file.
    dtype
        Type of the variable.

    Returns
    -------
    numpy.ndarray
        The values.

    Raises
    ------
    ResultsError
        If a text is longer than it was when the file was written.

    Examples
    --------
    >>> decode_values(np.array([[1.0, 2.0]]), np.dtype(complex))
    array([1.+2.j])
    """
    if dtype.kind == "c":
        values = np.empty(stored.shape[:-1], dtype)
        values.real, values.imag = stored[..., 0], stored[..., 1]
        return values
    if dtype.kind == "U":
        text = stored.astype(str)
        if text.dtype.itemsize > max(dtype.itemsize, 4):
            raise ResultsError(f"a text is longer than the {dtype.itemsize // 4} that are said")
        return text.astype(dtype)
    return stored.astype(dtype, copy=False)


@lru_cache(1024)
def _is_netcdf_name(name: str) -> bool:
    clean = not any(character in "/\0" or character.isspace() for character in name)
    return bool(name) and clean and is_unicode(name)
