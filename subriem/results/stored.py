"""From what stands in a file to a dataset: at once, or when values are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from subriem.results.marked_attributes import decode_attributes
from subriem.results.marks import decode_values

__all__ = ["Contents", "StoredVariable", "assemble"]

#: Bytes up to which a variable is read at once also where the others are not.
_SMALL = 1 << 16


class StoredVariable(NamedTuple):
    """A variable as it stands in the file.

    Parameters
    ----------
    name, dims, attrs, shape
        What it is in the file.
    dtype
        Type of what is read.
    read
        Gives the values at an index, or all of them without one.
    label
        What it is called in the file.

    Examples
    --------
    >>> StoredVariable("a", (), {}, (), np.dtype(float), lambda key=None: np.array(1.0)).read()
    array(1.)
    """

    name: str
    dims: tuple[str, ...]
    attrs: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[..., np.ndarray]
    label: str = ""


class LazyValues(BackendArray):
    """Values that are read from the file, and decoded, when they are asked for.

    Parameters
    ----------
    read
        Gives what stands in the file at an index.
    shape, dtype
        Of the decoded values.

    Examples
    --------
    >>> LazyValues(lambda key: np.array([[1.0, 2.0]]), (1,), np.dtype(complex)).shape
    (1,)
    """

    def __init__(
        self, read: Callable[[Any], np.ndarray], shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self._read = read
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        # HDF5 takes one list of indices at a time
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._decoded)

    def _decoded(self, key: tuple[Any, ...]) -> np.ndarray:
        if self.dtype.kind == "c":
            key = (*key, slice(None))
        return decode_values(self._read(key), self.dtype)


class Contents(NamedTuple):
    """What a dataset is made of; quicker to make than the dataset and its indexes.

    Parameters
    ----------
    variables
        Name to variable.
    coordinates
        Names of those that are coordinates.
    attrs
        Attributes.

    Examples
    --------
    >>> Contents.of(xr.Dataset({"v": ("x", [1.0])}, {"x": [0]})).coordinates
    {'x'}
    """

    variables: dict[str, xr.Variable]
    coordinates: set[str]
    attrs: dict[str, Any]

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Contents:
        """The contents of a dataset.

        Parameters
        ----------
        dataset
            The dataset.

        Returns
        -------
        Contents
            Its variables themselves.
        """
        variables = {str(name): variable for name, variable in dataset.variables.items()}
        return cls(variables, {str(name) for name in dataset.coords}, dict(dataset.attrs))

    def to_dataset(self) -> xr.Dataset:
        """The dataset.

        Returns
        -------
        xarray.Dataset
        """
        groups: tuple[dict[str, xr.Variable], dict[str, xr.Variable]] = ({}, {})
        for name, variable in self.variables.items():
            groups[name in self.coordinates][name] = variable
        return xr.Dataset(*groups, attrs=self.attrs)

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(variable.nbytes for variable in self.variables.values())


def assemble(
    variables: Iterable[StoredVariable],
    attrs: Mapping[str, Any],
    coordinates: Iterable[str],
    *,
    lazy: bool = False,
) -> Contents:
    """Decode what stands in a file.

    Parameters
    ----------
    variables
        The variables.
    attrs
        Attributes of the file.
    coordinates
        Names of the variables that are coordinates.
    lazy
        Whether larger variables are read when their values are asked for.

    Returns
    -------
    Contents
        The dataset as it was saved.

    Examples
    --------
    >>> one = StoredVariable("a", (), {}, (), np.dtype(float), lambda key=None: np.array(1.0))
    >>> assemble([one], {"strict": 1}, []).variables["a"].item()
    1.0
    """
    decoded: dict[str, xr.Variable] = {}
    for stored in variables:
        own, mark = decode_attributes(stored.attrs)
        dtype = np.dtype(mark["dtype"]) if "dtype" in mark else stored.dtype
        dims, shape = stored.dims, stored.shape
        if dtype.kind == "c":
            dims, shape = dims[:-1], shape[:-1]
        # how wide a text is may be known from the text alone
        known = dtype.itemsize > 0
        size = int(np.prod(shape)) * dtype.itemsize
        if lazy and known and size > _SMALL and dims != (stored.name,):
            values: Any = LazyValues(stored.read, shape, dtype)
            values = indexing.LazilyIndexedArray(values)
        else:
            values = stored.read()
            values = decode_values(values, dtype if known else values.dtype)
        decoded[stored.name] = xr.Variable(dims, values, own)
    return Contents(decoded, {*coordinates}, decode_attributes(attrs)[0])
