"""Results in and out: the NetCDF files, and which kind of file a name is.

NetCDF4 files are written by h5py: it comes as a wheel everywhere, and no second copy of the HDF5
library enters the process beside it, as the netCDF4 package would bring. What NetCDF cannot hold
is written as something that it can, and read back as what it was (`subriem.results.marks`). Files
of other tools are read by xarray.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import CachingFileManager

from subriem.errors import InputTypeError, ResultsError
from subriem.results.files import replacing, write_whole
from subriem.results.guarded_file import GuardedFile
from subriem.results.hdf5 import Hdf5Writer, chunk_shape, create_guarded, write_image
from subriem.results.hdf5_reader import is_ours, open_image, read_from_file, read_stored
from subriem.results.marked_attributes import (
    MARK,
    encode_attributes,
    is_json_attribute,
    is_vector_attribute,
)
from subriem.results.marks import encode_forms, encode_values, plain_values, stored_shape
from subriem.results.stored import Contents, StoredVariable, assemble

__all__ = [
    "Block",
    "check_output",
    "decode_results",
    "encode_results",
    "open_results",
    "save",
    "save_blocks",
]

#: Bytes of a dataset up to which its file is made in memory.
LARGEST_IMAGE = 1 << 26
_BLOCK = 1 << 24

#: Name of a variable, index of the first value of a block of it, and the block.
Block = tuple[str, tuple[int, ...], np.ndarray]

# TypeError: an attribute that is not what its mark says
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError)


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset to a NetCDF file or a Zarr store, whole or not at all.

    It is written to a temporary name in the same folder, synced to the disk and renamed, so that
    a reader never sees half of it and an older file survives a failure.

    Parameters
    ----------
    dataset
        Any dataset of numbers (also complex), truth values, text and times. Attributes may be
        anything that JSON can carry, with NumPy arrays and complex numbers; see Notes.
    path
        Where to; the folder must exist. A name that ends in ``.zarr`` becomes a Zarr store, for
        which the package ``zarr`` must be installed, anything else a NetCDF4 file.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    InputError, InputTypeError
        If a variable, a name or an attribute cannot be written; the message names it.
    ResultsError
        If the file cannot be written, or zarr is not installed.

    Notes
    -----
    Read back by `open_results`, attributes are what they were, except that a tuple is a list,
    a NumPy integer or float of 64 bits the Python number, and a NumPy truth value a bool. Text
    comes back in the width that it had (``<U5``).

    A file of up to 64 MiB is made in memory and written at once; a larger one is written piece by
    piece.

    Examples
    --------
    >>> import tempfile, xarray as xr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(xr.Dataset(attrs={"strict": True, "radius": None}), folder + "/a.nc")
    ...     open_results(path).attrs
    {'strict': True, 'radius': None}
    """
    path = Path(path)
    if not isinstance(dataset, xr.Dataset):
        raise InputTypeError(f"expected an xarray.Dataset to save, got {type(dataset).__name__}")
    if _is_store(path):
        from subriem.results.zarr_store import write_store

        write_store(dataset, path, _cut(dataset, dataset.variables), dataset.variables)
    elif dataset.nbytes <= LARGEST_IMAGE:
        write_whole(path, _image(dataset))
    else:
        save_blocks(dataset, path, _cut(dataset, dataset.variables), dataset.variables)
    return path


def save_blocks(
    dataset: xr.Dataset, path: Path, blocks: Iterable[Block], streamed: Iterable[Any]
) -> None:
    """Write a dataset whose larger variables come block by block.

    Parameters
    ----------
    dataset
        The dataset; of the variables that come in blocks only the form counts.
    path
        As for `save`.
    blocks
        The blocks. They are written best along `subriem.results.hdf5.chunk_shape`.
    streamed
        Names of the variables that come in blocks.

    Raises
    ------
    InputError, InputTypeError, ResultsError
        As for `save`.

    Examples
    --------
    >>> import tempfile
    >>> empty = np.broadcast_to(0.0, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.nc")
    ...     blocks = [("v", (0,), np.ones(2)), ("v", (2,), np.ones(2))]
    ...     save_blocks(xr.Dataset({"v": ("x", empty)}), path, blocks, ["v"])
    ...     open_results(path).v.values
    array([1., 1., 1., 1.])
    """
    streamed = {*streamed}
    if _is_store(path):
        from subriem.results.zarr_store import write_store

        write_store(dataset, path, blocks, streamed)
        return
    forms = encode_forms(dataset)
    attrs = encode_attributes(dataset.attrs, "the dataset", always_marked=True)
    shapes = {name: stored_shape(dataset.variables[name]) for name in forms}
    coordinates = {str(name) for name in dataset.coords}
    with replacing(path) as temporary, open(temporary, "w+b", buffering=0) as raw:
        guarded = GuardedFile(raw)
        with create_guarded(guarded) as file:
            writer = Hdf5Writer(file, shapes, forms, coordinates)
            for name in forms:
                writer.add(name, compress=True)
                if name not in streamed:
                    values = plain_values(name, dataset.variables[name])
                    writer.put(name, encode_values(name, values))
            for name, corner, values in blocks:
                writer.put(name, encode_values(name, values), corner)
                guarded.check()
            writer.finish(attrs)
        guarded.check()


def encode_results(dataset: xr.Dataset) -> bytes:
    """Give the bytes of a NetCDF file of a dataset; nothing is written to a disk.

    Parameters
    ----------
    dataset
        As for `save`.

    Returns
    -------
    bytes
        A NetCDF4 file that is made and read quickly: it is not compressed, and all attributes are
        in one JSON text, from which `decode_results` and `open_results` give them back.

    Raises
    ------
    InputError, InputTypeError
        If a variable, a name or an attribute cannot be written; the message names it.

    Examples
    --------
    >>> import xarray as xr
    >>> decode_results(encode_results(xr.Dataset(attrs={"strict": True}))).attrs
    {'strict': True}
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputTypeError(f"expected an xarray.Dataset to save, got {type(dataset).__name__}")
    return _image(dataset, compact=True)


def decode_results(content: bytes) -> xr.Dataset:
    """Read a dataset from the bytes that `encode_results` gave, or of a file that `save` wrote.

    Parameters
    ----------
    content
        The bytes.

    Returns
    -------
    xarray.Dataset
        The dataset as it was, in memory.

    Raises
    ------
    ResultsError
        If they are not the bytes of a whole NetCDF4 file.

    Examples
    --------
    >>> decode_results(b"")
    Traceback (most recent call last):
    subriem.errors.ResultsError: cannot read 0 bytes: they are no NetCDF4 file...
    """
    return decode_contents(content).to_dataset()


def decode_contents(content: bytes) -> Contents:
    """Read what `decode_results` makes a dataset of.

    Parameters
    ----------
    content
        The bytes.

    Returns
    -------
    Contents
        What the dataset is made of.

    Raises
    ------
    ResultsError
        As `decode_results`.

    Examples
    --------
    >>> decode_contents(encode_results(xr.Dataset(attrs={"strict": True}))).attrs
    {'strict': True}
    """
    try:
        with open_image(content) as file:
            if is_ours(file):
                return assemble(*read_stored(file))
        return Contents.of(_open_foreign(io.BytesIO(content), lazy=False))
    except _UNREADABLE as error:
        raise ResultsError(
            f"cannot read {len(content)} bytes: they are no NetCDF4 file, or cut off ({error})"
        ) from error


def open_results(path: str | os.PathLike[str], *, lazy: bool = False) -> xr.Dataset:
    """Read a NetCDF file or a Zarr store.

    Parameters
    ----------
    path
        A file that `save` wrote. Any other NetCDF4 file is read as xarray reads it.
    lazy
        Whether larger variables are read when their values are asked for, each time anew. The file
        then stays open until the dataset is closed: use it in a ``with`` statement, or call its
        ``close``. Without it everything is read into memory, and the file is closed.

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
    if _is_store(path):
        from subriem.results.zarr_store import open_store

        return open_store(path, lazy=lazy)
    if not path.is_file():
        raise ResultsError(f"there is no file {path}")
    try:
        with h5py.File(path) as file:
            ours = is_ours(file)
            if ours and not lazy:
                return assemble(*read_stored(file)).to_dataset()
        return _open_lazily(path) if ours else _open_foreign(path, lazy=lazy)
    except _UNREADABLE as error:
        raise ResultsError(
            f"cannot read {path}: {error}; it is not a NetCDF4 file or it is cut off: "
            "compute it again, or copy it again from where it came"
        ) from error


def check_output(path: Path) -> None:
    """Say before hours of computing what `save` would say of a name after them.

    Parameters
    ----------
    path
        The file that is to be written.

    Raises
    ------
    ResultsError
        If it is a folder and no Zarr store, or a Zarr store and zarr is not installed.

    Examples
    --------
    >>> check_output(Path("."))
    Traceback (most recent call last):
    subriem.errors.ResultsError: cannot write .: it is a folder; name a file that ends in .nc...
    """
    if _is_store(path):
        from subriem.results.zarr_store import check_store

        check_store(path)
    elif path.is_dir():
        raise ResultsError(
            f"cannot write {path}: it is a folder; name a file that ends in .nc, or a Zarr store "
            "that ends in .zarr"
        )


def _is_store(path: Path) -> bool:
    return path.suffix == ".zarr"


def _image(dataset: xr.Dataset, *, compact: bool = False) -> bytes:
    is_native = is_json_attribute if compact else is_vector_attribute
    forms = encode_forms(dataset, is_native)
    variables = dataset.variables
    values = {name: encode_values(name, plain_values(name, variables[name])) for name in forms}
    attrs = encode_attributes(dataset.attrs, "the dataset", is_native, always_marked=True)
    coordinates = {str(name) for name in dataset.coords}
    return write_image(forms, values, attrs, coordinates, compress=not compact, compact=compact)


def _cut(dataset: xr.Dataset, names: Iterable[Any]) -> Iterator[Block]:
    """The values of variables in pieces along their chunks."""
    for name in names:
        variable = dataset.variables[name]
        if not variable.ndim or variable.nbytes <= _BLOCK or variable.dtype.kind in "OT":
            yield str(name), (0,) * variable.ndim, plain_values(str(name), variable)
            continue
        rows = chunk_shape(variable.shape, variable.dtype.itemsize)[0]
        row_bytes = max(1, variable.nbytes // variable.shape[0])
        rows *= max(1, _BLOCK // (rows * row_bytes))
        for start in range(0, variable.shape[0], rows):
            corner = (start, *(0,) * (variable.ndim - 1))
            yield str(name), corner, variable[start : start + rows].values


def _open_lazily(path: Path) -> xr.Dataset:
    manager = CachingFileManager(h5py.File, path, mode="r")
    try:
        stored, attrs, coordinates = read_stored(manager.acquire())
        later = [
            one._replace(read=partial(read_from_file, manager, one.label, one.dtype))
            for one in stored
        ]
        dataset = assemble(later, attrs, coordinates, lazy=True).to_dataset()
    except BaseException:
        manager.close()
        raise
    dataset.set_close(manager.close)
    return dataset


def _open_foreign(path: Path | io.BytesIO, *, lazy: bool) -> xr.Dataset:
    """Read what another library wrote, or an earlier version of this one through xarray."""
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as raw:
        marked = MARK in raw.attrs
    if not marked:
        read = xr.open_dataset if lazy else xr.load_dataset
        return read(path, engine="h5netcdf")
    # the values as they lie there: the marks say what they were
    raw = xr.load_dataset(path, engine="h5netcdf", mask_and_scale=False, decode_times=False)
    stored = []
    for name, variable in raw.variables.items():
        values = plain_values(str(name), variable)
        dims = tuple(map(str, variable.dims))
        attrs, dtype = dict(variable.attrs), values.dtype
        if dtype.kind == "U":
            dtype = np.dtype(str)
        one = StoredVariable(str(name), dims, attrs, values.shape, dtype, partial(_all_of, values))
        stored.append(one)
    return assemble(stored, raw.attrs, map(str, raw.coords)).to_dataset()


def _all_of(values: np.ndarray) -> np.ndarray:
    return values
