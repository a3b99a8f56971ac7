"""Writing and reading NetCDF4 files by the low-level functions of HDF5.

A NetCDF4 file is an HDF5 file with dimension scales: a dataset for each dimension, to which the
variables are attached. Writing that directly takes a tenth of the time that the general libraries
take, which counts where ten thousand tasks leave a small file each; and it never lets HDF5 meet a
full disk, on which it can crash the process: a file is made in memory, or through `GuardedFile`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import h5py
import numpy as np
from h5py import h5, h5a, h5d, h5ds, h5f, h5fd, h5o, h5p, h5r, h5s, h5t

from subriem.results.guarded_file import GuardedFile
from subriem.results.marks import Form, coordinate_attributes, stored_dtype
from subriem.results.provenance import library_version
from subriem.results.stored import StoredVariable

__all__ = ["Hdf5Writer", "chunk_shape", "is_ours", "read_stored", "write_image"]

#: Bytes of a chunk, at most: what HDF5 keeps of a dataset in its cache.
CHUNK_BYTES = 1 << 20
_COMPRESSED_FROM = 1 << 14  # bytes; below it a compressed chunk costs more than it saves

_NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
_NOT_A_COORDINATE = "_nc4_non_coord_"  # before a variable with the name of a dimension
_HIDDEN = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}
    | {"_NCProperties", "coordinates"}
)
_ORDERED = h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED
# attributes and links kept in the header of their object: quicker to write and to read than trees
_IN_HEADER = 64
_BYTES = h5py.string_dtype()
_STRING = h5t.py_create(_BYTES, logical=True)
_TEXT_IN_MEMORY = h5t.py_create(_BYTES)
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
        writer.finish(attrs)
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
        label = f"{_NOT_A_COORDINATE}{name}" if self._clashes(name) else name
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
            stored = stored.astype(object).astype(_BYTES)
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

    def finish(self, attrs: Mapping[str, Any]) -> None:
        """Write the dimensions and all attributes.

        Parameters
        ----------
        attrs
            Attributes of the file.
        """
        scales = [self._make_scale(i, *item) for i, item in enumerate(self._sizes.items())]
        by_name = dict(zip(self._sizes, scales, strict=True))
        along = coordinate_attributes(self._forms, self._coordinates)
        for name, dataset in self._datasets.items():
            form = self._forms[name]
            if not self._is_scale(name):
                for axis, dim in enumerate(form.dims):
                    h5ds.attach_scale(dataset, by_name[dim], axis)
            boolean = {"dtype": "bool"} if form.dtype.kind == "b" else {}
            for key, value in {**form.attrs, **boolean, **along.get(name, {})}.items():
                _write_attribute(dataset, key, value)
        for key, value in {**attrs, **along.get(None, {})}.items():
            _write_attribute(self._root, key, value)
        versions = f"version=2,subriem={library_version()},h5py={h5py.__version__}"
        _write_attribute(self._root, "_NCProperties", np.bytes_(versions))

    def _make_scale(self, number: int, dim: str, size: int) -> h5d.DatasetID:
        if self._is_scale(dim):
            scale, label = self._datasets[dim], dim
        else:
            label = f"{_NOT_A_VARIABLE}{size:10}"
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
    names: list[bytes] = []
    file.id.links.iterate(names.append, idx_type=h5.INDEX_CRT_ORDER)
    datasets = [(name.decode(), h5o.open(file.id, name)) for name in names]
    labels = {h5o.get_info(dataset).addr: label for label, dataset in datasets}
    attrs, told = _read_attributes(file.id)
    coordinates = set(told.get("coordinates", "").split())
    variables: list[StoredVariable] = []
    for label, dataset in datasets:
        own, told = _read_attributes(dataset)
        if told.get("NAME", "").startswith(_NOT_A_VARIABLE):
            continue
        coordinates |= set(told.get("coordinates", "").split())
        name = label.removeprefix(_NOT_A_COORDINATE)
        dims: tuple[str, ...] = ()
        if "CLASS" in told:
            dims = (name,)
            coordinates.add(name)
        elif "DIMENSION_LIST" in told:
            dims = tuple(_label(one[0], file.id, labels) for one in told["DIMENSION_LIST"])
        dtype = dataset.dtype
        if own.get("dtype") == "bool":
            del own["dtype"]
            dtype = np.dtype(bool)
        elif dtype.kind == "O":
            dtype = np.dtype(str)
        read = partial(_read_values, dataset, dtype)
        variables.append(StoredVariable(name, dims, own, dataset.shape, dtype, read, label))
    return variables, attrs, coordinates


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
        stored = np.empty(dataset.shape, _BYTES)
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
        text = np.empty((), _BYTES)
        attribute.read(text, _TEXT_IN_MEMORY)
        return (text.item() or b"").decode()
    array = np.empty(attribute.shape, kind.dtype)
    attribute.read(array)
    if not array.shape:
        value = array[()]
        return value.decode() if isinstance(value, bytes) else value
    # NetCDF knows no scalar: a number is a vector of one
    return array[0] if array.size == 1 and array.dtype.kind != "O" else array


def _write_attribute(owner: Any, name: str, value: Any) -> None:
    if isinstance(value, str):
        array = np.array(value.encode(), _BYTES)
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
