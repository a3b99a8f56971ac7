"""Writing NetCDF4 files by the low-level functions of HDF5.

A NetCDF4 file is an HDF5 file with dimension scales: a dataset for each dimension, to which the
variables are attached. Writing that directly takes a tenth of the time that the general libraries
take, which counts where ten thousand tasks leave a small file each; and it never lets HDF5 meet a
full disk, on which it can crash the process: a file is made in memory, or through `GuardedFile`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5ds, h5f, h5fd, h5o, h5p, h5s, h5t

from subriem.results.guarded_file import GuardedFile
from subriem.results.marks import Form, coordinate_attributes, stored_dtype
from subriem.results.provenance import library_version

__all__ = ["Hdf5Writer", "chunk_shape", "create_guarded", "write_image"]

#: Bytes of a chunk, at most: what HDF5 keeps of a dataset in its cache.
CHUNK_BYTES = 1 << 20
_COMPRESSED_FROM = 1 << 14  # bytes; below it a compressed chunk costs more than it saves

NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
NOT_A_COORDINATE = "_nc4_non_coord_"  # before a variable with the name of a dimension
CONTENTS = "_subriem_contents"  # everything but the values, in a compact file
_ORDERED = h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED
# attributes and links kept in the header of their object: quicker to write and to read than trees
_IN_HEADER = 64
BYTES = h5py.string_dtype()
_STRING = h5t.py_create(BYTES, logical=True)
_SCALAR = h5s.create(h5s.SCALAR)


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Shape of the chunks of an array: pieces that follow each other as its values do.

    Parameters
    ----------
    shape
        Shape of the array.
    itemsize
        Bytes of a value.

    Returns
    -------
    tuple of int
        The last axes whole, a part of one axis, and single indices before it.

    Examples
    --------
    >>> chunk_shape((10, 20, 1000, 8), 8)
    (1, 16, 1000, 8)
    """
    room = max(1, CHUNK_BYTES // itemsize)
    chunk: list[int] = []
    for size in reversed(shape):
        chunk.insert(0, max(1, min(size, room)))
        room = max(1, room // max(1, size))
    return tuple(chunk)


def write_image(
    forms: Mapping[str, Form],
    values: Mapping[str, np.ndarray],
    attrs: Mapping[str, Any],
    coordinates: set[str],
    *,
    compress: bool,
    compact: bool = False,
) -> bytes:
    """Give the bytes of a NetCDF4 file.

    Parameters
    ----------
    forms
        Name to what is written of each variable.
    values
        Name to the numbers that are written (`subriem.results.marks.encode_values`).
    attrs
        Attributes of the file.
    coordinates
        Names of the variables that are coordinates.
    compress
        Whether larger arrays are compressed.
    compact
        Whether all attributes are in one JSON text, which is quicker to write and to read.

    Returns
    -------
    bytes
        The file.

    Examples
    --------
    >>> write_image({}, {}, {"strict": 1}, set(), compress=True)[1:4]
    b'HDF'
    """
    access = _access()
    access.set_fapl_core(1 << 16, False)
    file = h5f.create(b"image", h5f.ACC_TRUNC, _creation(h5p.FILE_CREATE), access)
    try:
        writer = Hdf5Writer(file, {name: v.shape for name, v in values.items()}, forms, coordinates)
        for name, stored in values.items():
            writer.add(name, compress=compress)
            writer.put(name, stored)
        writer.finish(attrs, compact=compact)
        h5f.flush(file)
        return bytes(file.get_file_image())
    finally:
        file.close()


class Hdf5Writer:
    """Writes the variables of a NetCDF4 file, whole or block by block.

    Parameters
    ----------
    file
        The open file.
    shapes
        Name to the shape in the file, of every variable.
    forms
        Name to what is written.
    coordinates
        Names of the variables that are coordinates.

    Examples
    --------
    See `write_image`.
    """

    def __init__(
        self,
        file: h5f.FileID,
        shapes: Mapping[str, tuple[int, ...]],
        forms: Mapping[str, Form],
        coordinates: set[str],
    ) -> None:
        self._file = file
        self._shapes = shapes
        self._forms = forms
        self._coordinates = coordinates
        self._datasets: dict[str, h5d.DatasetID] = {}
        self._root = h5o.open(file, b"/")
        self._sizes: dict[str, int] = {}
        for name, form in forms.items():
            self._sizes |= dict(zip(form.dims, shapes[name], strict=True))

    def add(self, name: str, *, compress: bool) -> None:
        """Make the dataset of a variable.

        Parameters
        ----------
        name
            Its name.
        compress
            Whether it is compressed, if it is large enough to gain by it.
        """
        form, shape = self._forms[name], self._shapes[name]
        dtype = stored_dtype(form.dtype)
        creation = _plain_dataset()
        if dtype.kind == "b":
            dtype = np.dtype(np.int8)
        size = int(np.prod(shape)) * dtype.itemsize
        # a text lies elsewhere in the file, and is not compressed
        if shape and compress and size >= _COMPRESSED_FROM and dtype.kind != "U":
            creation = _creation(h5p.DATASET_CREATE)
            creation.set_chunk(chunk_shape(shape, dtype.itemsize))
            creation.set_shuffle()
            creation.set_deflate(4)
        stored = _STRING if dtype.kind == "U" else h5t.py_create(dtype)
        space = h5s.create_simple(shape) if shape else _SCALAR
        label = f"{NOT_A_COORDINATE}{name}" if self._clashes(name) else name
        self._datasets[name] = h5d.create(self._root, label.encode(), stored, space, creation)

    def put(self, name: str, stored: np.ndarray, corner: tuple[int, ...] | None = None) -> None:
        """Write the values of a variable, or a block of them.

        Parameters
        ----------
        name
            Its name.
        stored
            The numbers.
        corner
            Index of the first one; None where they are all.
        """
        if not stored.size:
            return
        if stored.dtype.kind == "b":
            stored = stored.view(np.int8)
        elif stored.dtype.kind == "U":
            stored = stored.astype(object).astype(BYTES)
        # of its own layout: a broadcast or a transposed array is none that HDF5 reads
        stored = np.require(stored, requirements="C")
        dataset = self._datasets[name]
        if corner is None or not stored.shape:
            dataset.write(h5s.ALL, h5s.ALL, stored)
            return
        space = dataset.get_space()
        # complex numbers have an axis more in the file
        start = corner + (0,) * (stored.ndim - len(corner))
        space.select_hyperslab(start, stored.shape)
        dataset.write(h5s.create_simple(stored.shape), space, stored)

    def finish(self, attrs: Mapping[str, Any], *, compact: bool = False) -> None:
        """Write the dimensions and all attributes.

        Parameters
        ----------
        attrs
            Attributes of the file.
        compact
            Whether all attributes, which must be such as JSON can hold, are in one text.
        """
        scales = [self._make_scale(i, *item) for i, item in enumerate(self._sizes.items())]
        by_name = dict(zip(self._sizes, scales, strict=True))
        for name, dataset in self._datasets.items():
            if not self._is_scale(name):
                for axis, dim in enumerate(self._forms[name].dims):
                    h5ds.attach_scale(dataset, by_name[dim], axis)
        if compact:
            own = {
                f"{NOT_A_COORDINATE}{name}" if self._clashes(name) else name: [
                    name,
                    form.dims,
                    form.attrs,
                    form.dtype.kind == "b",
                ]
                for name, form in self._forms.items()
            }
            text = json.dumps([own, dict(attrs), sorted(self._coordinates)])
            _write_attribute(self._root, CONTENTS, text)
        else:
            self._write_attributes(attrs)
        versions = f"version=2,subriem={library_version()},h5py={h5py.__version__}"
        _write_attribute(self._root, "_NCProperties", np.bytes_(versions))

    def _write_attributes(self, attrs: Mapping[str, Any]) -> None:
        along = coordinate_attributes(self._forms, self._coordinates)
        for name, dataset in self._datasets.items():
            form = self._forms[name]
            boolean = {"dtype": "bool"} if form.dtype.kind == "b" else {}
            for key, value in {**form.attrs, **boolean, **along.get(name, {})}.items():
                _write_attribute(dataset, key, value)
        for key, value in {**attrs, **along.get(None, {})}.items():
            _write_attribute(self._root, key, value)

    def _make_scale(self, number: int, dim: str, size: int) -> h5d.DatasetID:
        if self._is_scale(dim):
            scale, label = self._datasets[dim], dim
        else:
            label = f"{NOT_A_VARIABLE}{size:10}"
            space = h5s.create_simple((size,))
            scale = h5d.create(self._root, dim.encode(), h5t.IEEE_F32BE, space, _plain_dataset())
        h5ds.set_scale(scale, label.encode())
        _write_attribute(scale, "_Netcdf4Dimid", np.int32(number))
        return scale

    def _is_scale(self, name: str) -> bool:
        form = self._forms.get(name)
        return form is not None and form.dims == (name,)

    def _clashes(self, name: str) -> bool:
        return name in self._sizes and not self._is_scale(name)


@contextmanager
def create_guarded(guarded: GuardedFile) -> Iterator[h5f.FileID]:
    """Make an HDF5 file in a guarded file and close it.

    Parameters
    ----------
    guarded
        Where to write.

    Yields
    ------
    h5py.h5f.FileID

    Examples
    --------
    See `subriem.results.netcdf.save`.
    """
    file = _create(guarded)
    try:
        yield file
    finally:
        file.close()


def _write_attribute(owner: Any, name: str, value: Any) -> None:
    if isinstance(value, str):
        array = np.array(value.encode(), BYTES)
        space, kind = _SCALAR, _STRING
    elif isinstance(value, np.bytes_):
        array = np.array(value)
        space, kind = _SCALAR, h5t.py_create(array.dtype)
    else:
        array = np.atleast_1d(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        space, kind = h5s.create_simple(array.shape), h5t.py_create(array.dtype)
    h5a.create(owner, name.encode(), kind, space).write(array)


def _create(guarded: GuardedFile) -> h5f.FileID:
    # the list refers to the Python file: it must not outlive this, least of all the interpreter
    access = _access()
    access.set_fileobj_driver(h5fd.fileobj_driver, guarded)
    return h5f.create(b"guarded", h5f.ACC_TRUNC, _creation(h5p.FILE_CREATE), access)


def _access() -> Any:
    access = h5p.create(h5p.FILE_ACCESS)
    # closed means closed, whatever of it is still open
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return access


@cache
def _plain_dataset() -> Any:
    return _creation(h5p.DATASET_CREATE)


def _creation(kind: Any) -> Any:
    creation = h5p.create(kind)
    creation.set_attr_creation_order(_ORDERED)
    creation.set_attr_phase_change(_IN_HEADER, _IN_HEADER - 2)
    if isinstance(creation, h5p.PropFCID):
        creation.set_link_creation_order(_ORDERED)
    return creation
