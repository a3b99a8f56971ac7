"""Reading the NetCDF4 files that `subriem.results.hdf5` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import h5py
import numpy as np
from h5py import h5, h5a, h5d, h5f, h5o, h5r, h5s, h5t

from subriem.results.hdf5 import BYTES, CONTENTS, NOT_A_COORDINATE, NOT_A_VARIABLE
from subriem.results.stored import StoredVariable

__all__ = ["is_ours", "open_image", "read_from_file", "read_stored"]

_HIDDEN = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}
    | {"_NCProperties", "coordinates"}
)
_TEXT_IN_MEMORY = h5t.py_create(BYTES)


def is_ours(file: h5py.File) -> bool:
    """Whether a file was written by `Hdf5Writer`, and by nothing since.

    Parameters
    ----------
    file
        The open file.

    Returns
    -------
    bool
        False for a file that another library wrote, or wrote again.
    """
    if not h5a.exists(file.id, b"_NCProperties"):
        return False
    return ",subriem=" in str(_read_attribute(h5a.open(file.id, b"_NCProperties")))


def read_stored(file: h5py.File) -> tuple[list[StoredVariable], dict[str, Any], set[str]]:
    """Read everything but the values of a file that is ours.

    Parameters
    ----------
    file
        The open file.

    Returns
    -------
    tuple
        The variables, the attributes, and the names of the coordinates.
    """
    if h5a.exists(file.id, CONTENTS.encode()):
        return _read_compact(file)
    names: list[bytes] = []
    file.id.links.iterate(names.append, idx_type=h5.INDEX_CRT_ORDER)
    datasets = [(name.decode(), h5o.open(file.id, name)) for name in names]
    labels = {h5o.get_info(dataset).addr: label for label, dataset in datasets}
    attrs, told = _read_attributes(file.id)
    coordinates = set(told.get("coordinates", "").split())
    variables: list[StoredVariable] = []
    for label, dataset in datasets:
        own, told = _read_attributes(dataset)
        if told.get("NAME", "").startswith(NOT_A_VARIABLE):
            continue
        coordinates |= set(told.get("coordinates", "").split())
        name = label.removeprefix(NOT_A_COORDINATE)
        dims: tuple[str, ...] = ()
        if "CLASS" in told:
            dims = (name,)
            coordinates.add(name)
        elif "DIMENSION_LIST" in told:
            dims = tuple(_label(one[0], file.id, labels) for one in told["DIMENSION_LIST"])
        is_boolean = own.pop("dtype", None) == "bool"
        variables.append(_stored(name, dims, own, dataset, is_boolean, label))
    return variables, attrs, coordinates


def _read_compact(file: h5py.File) -> tuple[list[StoredVariable], dict[str, Any], set[str]]:
    contents = json.loads(_read_attribute(h5a.open(file.id, CONTENTS.encode())))
    own, attrs, coordinates = contents
    variables = [
        _stored(name, tuple(dims), held, h5d.open(file.id, label.encode()), is_boolean, label)
        for label, (name, dims, held, is_boolean) in own.items()
    ]
    return variables, attrs, set(coordinates)


def _stored(
    name: str,
    dims: tuple[str, ...],
    attrs: dict[str, Any],
    dataset: h5d.DatasetID,
    is_boolean: bool,
    label: str,
) -> StoredVariable:
    dtype = np.dtype(bool) if is_boolean else dataset.dtype
    if dtype.kind == "O":
        dtype = np.dtype(str)
    read = partial(_read_values, dataset, dtype)
    return StoredVariable(name, dims, attrs, dataset.shape, dtype, read, label)


def read_from_file(manager: Any, label: str, dtype: np.dtype, key: Any = None) -> np.ndarray:
    """Read some values of a variable from a file that is opened when they are asked for.

    Parameters
    ----------
    manager
        An `xarray.backends.CachingFileManager`, which pickles.
    label
        Name of the HDF5 dataset.
    dtype
        Type of what is read.
    key
        Index of the values; None for all of them.

    Returns
    -------
    numpy.ndarray
        The values.
    """
    return _read_values(manager.acquire()[label].id, dtype, key)


def _read_values(dataset: h5d.DatasetID, dtype: np.dtype, key: Any = None) -> np.ndarray:
    if key is not None:
        whole = h5py.Dataset(dataset)
        values = np.asarray(whole.asstr()[key] if dtype.kind == "U" else whole[key])
    elif dtype.kind == "U":
        stored = np.empty(dataset.shape, BYTES)
        if stored.size:
            dataset.read(h5s.ALL, h5s.ALL, stored)
        values = np.array([(text or b"").decode() for text in stored.ravel()], str)
        values = values.reshape(dataset.shape)
    else:
        values = np.empty(dataset.shape, dataset.dtype)
        if values.size:
            dataset.read(h5s.ALL, h5s.ALL, values)
    return values.astype(dtype, copy=False)


def open_image(content: bytes) -> h5py.File:
    """Open the bytes of a file.

    Parameters
    ----------
    content
        The bytes.

    Returns
    -------
    h5py.File
        The file, to be closed.

    Raises
    ------
    OSError
        If they are not those of a whole HDF5 file.
    """
    return h5py.File(h5f.open_file_image(content))


def _label(reference: h5r.Reference, file: h5f.FileID, labels: Mapping[int, str]) -> str:
    return labels[h5o.get_info(h5r.dereference(reference, file)).addr]


def _read_attributes(owner: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes of a user, and those that are of the file's form."""
    names: list[bytes] = []
    h5a.iterate(owner, names.append, index_type=h5.INDEX_CRT_ORDER)
    attrs: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name in names:
        if name == b"REFERENCE_LIST":
            continue
        value = _read_attribute(h5a.open(owner, name))
        key = name.decode()
        (told if key in _HIDDEN else attrs)[key] = value
    return attrs, told


def _read_attribute(attribute: h5a.AttrID) -> Any:
    kind = attribute.get_type()
    if isinstance(kind, h5t.TypeStringID) and kind.is_variable_str() and not attribute.shape:
        text = np.empty((), BYTES)
        attribute.read(text, _TEXT_IN_MEMORY)
        return (text.item() or b"").decode()
    array = np.empty(attribute.shape, kind.dtype)
    attribute.read(array)
    if not array.shape:
        value = array[()]
        return value.decode() if isinstance(value, bytes) else value
    # NetCDF knows no scalar: a number is a vector of one
    return array[0] if array.size == 1 and array.dtype.kind != "O" else array
