"""NetCDF in and out; the only place that knows of files of results.

The engine is h5netcdf: h5py comes as a wheel everywhere, it reads and writes file-like objects
(so fsspec's object stores), and no second copy of the HDF5 library enters the process beside
h5py's, as the netCDF4 package would bring.

What NetCDF cannot hold is written as something that it can, and read back as what it was. One
attribute, ``_subriem``, says in JSON what was done to a variable or to the dataset: which
attributes are JSON text, which are held in it because NetCDF or xarray give their names a meaning
of their own, and which type a variable had. An attribute that is not named there is left alone,
so that a plain text which looks like JSON stays a plain text.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from subriem.errors import InputError, InputTypeError, ResultsError
from subriem.results.json_text import decode_json, encode_json

__all__ = ["open_results", "save"]

_MARK = "_subriem"
_COMPLEX_DIMENSION = "complex_part"
_COMPRESSED_FROM = 1 << 14  # bytes; below it a compressed chunk costs more than it saves

# names with a meaning for HDF5, the NetCDF conventions or xarray's decoding
_TAKEN = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_NCProperties", "_NCCoordinates"}
    | {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_FillValue", "missing_value"}
    | {"scale_factor", "add_offset", "_Unsigned", "_Encoding", "dtype", "calendar", "coordinates"}
    | {"bounds", "grid_mapping", "ancillary_variables", "cell_measures", "formula_terms", _MARK}
)
_TIME_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset to a NetCDF file, whole or not at all.

    It is written to a temporary name in the same folder, synced to the disk and renamed, so that
    a reader never sees half a file and an older file survives a failure.

    Parameters
    ----------
    dataset
        Any dataset of numbers (also complex), truth values, text and times. Attributes may be
        anything that JSON can carry, with NumPy arrays and complex numbers; see Notes.
    path
        Where to; the folder must exist.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    InputError, InputTypeError
        If a variable, a name or an attribute cannot be written; the message names it.
    ResultsError
        If the file cannot be written.

    Notes
    -----
    Read back by `open_results`, attributes are what they were, except that a tuple is a list,
    a NumPy integer or float of 64 bits the Python number, and a NumPy truth value a bool. The
    width of text (``<U5``) is that of the longest one in the file.

    Examples
    --------
    >>> import tempfile, xarray as xr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(xr.Dataset(attrs={"strict": True, "radius": None}), folder + "/a.nc")
    ...     open_results(path).attrs
    {'strict': True, 'radius': None}
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ResultsError(f"cannot write {path}: the folder {path.parent} does not exist")
    encoded = _encode_dataset(dataset)
    encoding = {str(name): _storage(variable) for name, variable in encoded.variables.items()}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        encoded.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        raise ResultsError(
            f"cannot write {path}: {error}; check the space and the rights"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def open_results(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a NetCDF file into memory and close it.

    Parameters
    ----------
    path
        A file that `save` wrote. Any other NetCDF4 file is read as xarray reads it.

    Returns
    -------
    xarray.Dataset
        The dataset as it was saved.

    Raises
    ------
    ResultsError
        If there is no such file, or it is not a NetCDF4 file, or it is cut off.

    Examples
    --------
    >>> open_results("results/none.nc")
    Traceback (most recent call last):
    subriem.errors.ResultsError: there is no file results/none.nc
    """
    path = Path(path)
    if not path.is_file():
        raise ResultsError(f"there is no file {path}")
    try:
        # the values as they lie there: `_decode_dataset` knows what they were
        stored = xr.load_dataset(path, engine="h5netcdf", mask_and_scale=False, decode_times=False)
        if _MARK not in stored.attrs:
            return xr.load_dataset(path, engine="h5netcdf")
        return _decode_dataset(stored)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ResultsError(
            f"cannot read {path}: {error}; it is not a NetCDF4 file or it is cut off: "
            "compute it again, or copy it again from where it came"
        ) from error


def _encode_dataset(dataset: xr.Dataset) -> xr.Dataset:
    if not isinstance(dataset, xr.Dataset):
        raise InputTypeError(f"expected an xarray.Dataset to save, got {type(dataset).__name__}")
    for name in [*dataset.variables, *dataset.sizes]:
        if not isinstance(name, str) or not _is_netcdf_name(name):
            raise InputError(
                f"cannot write the name {name!r}: expected a text without '/' or space"
            )
    if _COMPLEX_DIMENSION in dataset.sizes:
        raise InputError(f"cannot write a dimension {_COMPLEX_DIMENSION!r}: the name is taken")
    variables = {str(n): _encode_variable(str(n), v) for n, v in dataset.variables.items()}
    attrs = _encode_attributes(dataset.attrs, "the dataset", always_marked=True)
    return xr.Dataset(variables, attrs=attrs).set_coords(list(dataset.coords))


def _encode_variable(name: str, variable: xr.Variable) -> xr.Variable:
    values = variable.values
    dims: tuple[Any, ...] = variable.dims
    attrs = dict(variable.attrs)
    extra: dict[str, Any] = {}
    held: dict[str, Any] = {}
    kind = values.dtype.kind
    if kind in "OT":
        # an index of pandas gives text as objects
        if not all(isinstance(item, str) for item in values.ravel()):
            raise InputTypeError(f"cannot write variable {name!r}: it holds objects, not only text")
        values, kind = values.astype(str), "U"
    if kind == "U":
        _check_text(name, values)
    elif kind == "c" and values.dtype.itemsize <= 16:
        extra["dtype"] = values.dtype.newbyteorder("=").str
        values = np.stack([values.real, values.imag], axis=-1)
        dims = (*dims, _COMPLEX_DIMENSION)
    elif kind in "mM":
        resolution, count = np.datetime_data(values.dtype)
        if resolution not in _TIME_UNITS or count != 1:
            raise InputTypeError(
                f"cannot write variable {name!r} of type {values.dtype}: expected one of "
                f"{', '.join(_TIME_UNITS)} as the resolution"
            )
        extra["dtype"] = values.dtype.newbyteorder("=").str
        values = values.astype(np.int64)
        if "units" in attrs:
            held["units"] = attrs.pop("units")
    elif values.dtype == np.float16:
        extra["dtype"] = "<f2"
        values = values.astype(np.float32)
    elif not (kind in "biu" or (kind == "f" and values.dtype.itemsize <= 8)):
        raise InputTypeError(f"cannot write variable {name!r} of type {values.dtype}")
    encoded = _encode_attributes(attrs, f"variable {name!r}", extra=extra, held=held)
    if kind in "mM":
        epoch = " since 1970-01-01" if kind == "M" else ""
        encoded["units"] = _TIME_UNITS[resolution] + epoch
        if kind == "M":
            encoded["calendar"] = "proleptic_gregorian"
    if values.dtype.kind in "iuf":
        values = values.astype(values.dtype.newbyteorder("="))
    return xr.Variable(dims, values, encoded)


def _is_netcdf_name(name: str) -> bool:
    clean = not any(character in "/\0" or character.isspace() for character in name)
    return bool(name) and clean and _is_unicode(name)


def _check_text(name: str, values: np.ndarray) -> None:
    for item in values.ravel():
        if "\0" in item or not _is_unicode(item):
            raise InputError(
                f"cannot write variable {name!r}: the text {item!r} holds a NUL or half a "
                "surrogate pair"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _encode_attributes(
    attrs: dict[Any, Any],
    where: str,
    *,
    extra: dict[str, Any] | None = None,
    held: dict[str, Any] | None = None,
    always_marked: bool = False,
) -> dict[str, Any]:
    encoded: dict[str, Any] = {}
    json_names: list[str] = []
    held = dict(held or {})
    for name, value in attrs.items():
        place = f"attribute {name!r} of {where}"
        if not isinstance(name, str):
            raise InputTypeError(f"cannot write {place}: expected a text as its name")
        if name in _TAKEN or not name or "\0" in name or "/" in name or not _is_unicode(name):
            held[name] = value
        elif _is_native(value):
            encoded[name] = value
        else:
            encoded[name] = encode_json(value, place)
            json_names.append(name)
    mark: dict[str, Any] = dict(extra or {})
    if json_names:
        mark["json"] = json_names
    if held:
        # pairs, because a name may be anything
        mark["held"] = [
            [name, json.loads(encode_json(value, f"attribute {name!r} of {where}"))]
            for name, value in held.items()
        ]
    if mark or always_marked:
        encoded[_MARK] = json.dumps(mark)
    return encoded


def _is_native(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    if isinstance(value, str):
        return "\0" not in value and _is_unicode(value)
    if isinstance(value, np.ndarray):
        # NetCDF has only vectors, and one of length 0 or 1 comes back as something else
        return value.ndim == 1 and value.size > 1 and _is_netcdf_number(value.dtype)
    if isinstance(value, np.integer | np.floating):
        return _is_netcdf_number(value.dtype)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float)


def _is_netcdf_number(dtype: np.dtype) -> bool:
    return dtype.kind in "iuf" and dtype.itemsize <= 8 and dtype != np.float16


def _storage(variable: xr.Variable) -> dict[str, Any]:
    if variable.dtype.kind not in "biuf":
        return {}
    storage: dict[str, Any] = {"_FillValue": None}
    if variable.ndim and variable.nbytes >= _COMPRESSED_FROM:
        storage |= {"zlib": True, "complevel": 4, "shuffle": True}
    return storage


def _sync_folder(folder: Path) -> None:
    # the rename itself is on the disk only when the folder is
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _decode_dataset(stored: xr.Dataset) -> xr.Dataset:
    variables = {str(n): _decode_variable(v) for n, v in stored.variables.items()}
    attrs, _ = _decode_attributes(stored.attrs)
    return xr.Dataset(variables, attrs=attrs).set_coords(list(stored.coords))


def _decode_variable(variable: xr.Variable) -> xr.Variable:
    attrs, mark = _decode_attributes(variable.attrs)
    values = variable.values
    dims = variable.dims
    if values.dtype.kind in "OT":
        values = values.astype(str)
    if "dtype" in mark:
        dtype = np.dtype(mark["dtype"])
        if dtype.kind == "c":
            values = np.empty(variable.shape[:-1], dtype)
            values.real, values.imag = variable.values[..., 0], variable.values[..., 1]
            dims = dims[:-1]
        else:
            values = values.astype(dtype)
            if dtype.kind in "mM":
                for key in {"units", "calendar"} - {name for name, _ in mark.get("held", [])}:
                    attrs.pop(key, None)
    return xr.Variable(dims, values, attrs)


def _decode_attributes(stored: dict[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    attrs = {name: _python_number(value) for name, value in stored.items()}
    mark = json.loads(attrs.pop(_MARK, "{}"))
    for name in mark.get("json", []):
        attrs[name] = decode_json(attrs[name])
    for name, value in mark.get("held", []):
        attrs[name] = decode_json(json.dumps(value))
    return attrs, mark


def _python_number(value: Any) -> Any:
    return value.item() if isinstance(value, np.int64 | np.float64) else value
