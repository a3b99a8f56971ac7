"""Zarr stores in and out, with the same marks as NetCDF files.

Zarr's attributes are JSON, so that vectors and numbers of 32 bits are marked as well; what reads
and writes Zarr (xarray among others) finds dimension names and coordinates where it expects them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import ResultsError
from subriem.results.files import sync_folder
from subriem.results.hdf5 import chunk_shape
from subriem.results.marked_attributes import (
    MARK,
    decode_attributes,
    encode_attributes,
    is_json_attribute,
)
from subriem.results.marks import (
    coordinate_attributes,
    encode_forms,
    encode_values,
    plain_values,
    stored_dtype,
    stored_shape,
)
from subriem.results.stored import StoredVariable, assemble

if TYPE_CHECKING:
    from subriem.results.netcdf import Block

__all__ = ["check_store", "open_store", "write_store"]


def write_store(
    dataset: xr.Dataset, path: Path, blocks: Iterable[Block], streamed: Iterable[Any]
) -> None:
    """Write a Zarr store, whole or not at all; see `subriem.results.netcdf.save_blocks`.

    Parameters
    ----------
    dataset, path, blocks, streamed
        As there.

    Raises
    ------
    InputError, InputTypeError, ResultsError
        As there; also if zarr is not installed, or a folder that is no Zarr store is in the way.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_store(xr.Dataset({"v": 1.0}), Path(folder, "a.zarr"), [], [])
    ...     open_store(Path(folder, "a.zarr")).v.item()
    1.0
    """
    check_store(path)
    zarr = _zarr()
    streamed = {*streamed}
    forms = encode_forms(dataset, is_json_attribute)
    mark = {"variables": list(forms)}
    attrs = encode_attributes(dataset.attrs, "the dataset", is_json_attribute, extra=mark)
    along = coordinate_attributes(forms, {str(name) for name in dataset.coords})
    if not path.parent.is_dir():
        raise ResultsError(f"cannot write {path}: the folder {path.parent} does not exist")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        arrays = {}
        for name, form in forms.items():
            shape = stored_shape(dataset.variables[name])
            dtype = stored_dtype(form.dtype)
            arrays[name] = group.create_array(
                name,
                shape=shape,
                chunks=chunk_shape(shape, max(1, dtype.itemsize)),
                dtype=str if dtype.kind == "U" else dtype,
                dimension_names=form.dims,
                attributes={**form.attrs, **along.get(name, {})},
                # -0.0 equals the fill value, and is another number
                config={"write_empty_chunks": True},
            )
            if name not in streamed:
                _put(arrays[name], name, plain_values(name, dataset.variables[name]))
        for name, corner, values in blocks:
            _put(arrays[name], name, values, corner)
        group.attrs.update({**attrs, **along.get(None, {})})
        _sync_tree(temporary)
        _exchange(temporary, path)
    except (OSError, RuntimeError) as error:
        if isinstance(error, ResultsError):
            raise
        raise ResultsError(
            f"cannot write {path}: {error}; check the space and the rights"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_store(path: Path, *, lazy: bool = False) -> xr.Dataset:
    """Read a Zarr store; see `subriem.results.open_results`.

    Parameters
    ----------
    path
        The folder of the store.
    lazy
        Whether larger variables are read when their values are asked for.

    Returns
    -------
    xarray.Dataset
        The dataset as it was saved; of another tool as xarray reads it.

    Raises
    ------
    ResultsError
        If it is no Zarr store or is damaged, or zarr is not installed.

    Examples
    --------
    >>> open_store(Path("results/none.zarr"))
    Traceback (most recent call last):
    subriem.errors.ResultsError: there is no Zarr store results/none.zarr
    """
    if not path.is_dir():
        raise ResultsError(f"there is no Zarr store {path}")
    zarr = _zarr()
    try:
        group = zarr.open_group(path, mode="r")
        attrs = dict(group.attrs)
        if MARK not in attrs:
            dataset = xr.open_zarr(path, consolidated=False, chunks=None)
            return dataset if lazy else dataset.load()
        coordinates = {*attrs.pop("coordinates", "").split()}
        stored: list[StoredVariable] = []
        for name in decode_attributes(attrs)[1]["variables"]:
            array = group[name]
            own = dict(array.attrs)
            coordinates |= {*own.pop("coordinates", "").split()}
            dims = tuple(array.metadata.dimension_names or ())
            coordinates |= {name} if dims == (name,) else set()
            dtype = array.dtype if array.dtype.kind in "biuf" else np.dtype(str)
            read = partial(_read_values, array, dtype)
            stored.append(StoredVariable(name, dims, own, array.shape, dtype, read))
        return assemble(stored, attrs, coordinates, lazy=lazy).to_dataset()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ResultsError(
            f"cannot read {path}: {error}; it is not a Zarr store or a part of it is missing"
        ) from error


def check_store(path: Path) -> None:
    """See `subriem.results.netcdf.check_output`.

    Parameters
    ----------
    path
        The folder of the store.

    Raises
    ------
    ResultsError
        If zarr is not installed, or what is there is no Zarr store.

    Examples
    --------
    >>> check_store(Path("results/none.zarr"))
    """
    _zarr()
    if path.exists() and not (path / "zarr.json").exists():
        raise ResultsError(f"cannot write {path}: what is there is no Zarr store; move it away")


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ResultsError(
            "a name that ends in .zarr needs the package zarr: pip install 'subriem[zarr]', or "
            "name a file that ends in .nc"
        ) from error
    return zarr


def _put(array: Any, name: str, values: np.ndarray, corner: tuple[int, ...] | None = None) -> None:
    stored = encode_values(name, values)
    if stored.dtype.kind == "U":
        stored = stored.astype(object)
    if not stored.size:
        return
    if not stored.ndim:
        array[...] = stored[()]
        return
    start = corner or ()
    start += (0,) * (stored.ndim - len(start))
    # a chunk at a time: of several, zarr goes on with the others when one fails
    cuts = [
        [(max(i, a) - i, min(i + n, a + c) - i) for a in range(i - i % c, i + n, c)]
        for i, n, c in zip(start, stored.shape, array.chunks, strict=True)
    ]
    for piece in itertools.product(*cuts):
        source = tuple(slice(*ends) for ends in piece)
        target = tuple(slice(i + a, i + b) for i, (a, b) in zip(start, piece, strict=True))
        array[target] = stored[source]


def _read_values(array: Any, dtype: np.dtype, key: Any = None) -> np.ndarray:
    values = array[...] if key is None or not array.ndim else array.oindex[key]
    if dtype.kind == "U":
        # NumPy's text of any width becomes a fixed one by way of objects
        return np.asarray(values).astype(object).astype(str)
    return np.asarray(values).astype(dtype, copy=False)


def _exchange(new: Path, path: Path) -> None:
    """Put a folder in the place of another, which is removed."""
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.old.tmp")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            os.replace(old, path)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(place, name), "rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))
