"""Coordinates by name: their symbols in a model, and points read from what users hold."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import casadi as ca
import numpy as np
import xarray as xr

from subriem.arithmetic.exact import to_float
from subriem.errors import InputError, InputTypeError

__all__ = ["Symbols", "read_names", "read_points"]


def read_names(names: str | Sequence[str], what: str = "coordinate") -> tuple[str, ...]:
    """Read names from ``"x y theta"`` or from a sequence.

    Parameters
    ----------
    names : str or sequence of str
    what : str
        What they name, for the messages.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        If there is none, one occurs twice, or one is not an identifier.

    Examples
    --------
    >>> read_names("x y theta")
    ('x', 'y', 'theta')
    """
    listed = tuple(names.split() if isinstance(names, str) else names)
    if not listed:
        raise InputError(f"expected at least one {what}, got none")
    for name in listed:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise InputError(f"expected the name of a {what}, got {name!r}")
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise InputError(f"{what} {', '.join(twice)} is named more than once")
    return listed


class Symbols:
    """CasADi symbols by name: ``q.x``, ``q["x"]`` or ``q[0]``.

    Parameters
    ----------
    names : tuple of str
    what : str
        What they are, for the messages.
    values : casadi.SX, shape (n, 1), optional
        Expressions in place of fresh symbols.

    Examples
    --------
    >>> q = Symbols(("x", "y"))
    >>> q.x * q["y"]
    SX((x*y))
    """

    def __init__(
        self, names: tuple[str, ...], what: str = "coordinate", values: ca.SX | None = None
    ) -> None:
        self._names = names
        self._what = what
        if values is None:
            values = ca.vertcat(*(ca.SX.sym(name) for name in names)) if names else ca.SX(0, 1)
        self._values = values

    @property
    def vector(self) -> ca.SX:
        """All of them, shape (n, 1)."""
        return self._values

    def __getattr__(self, name: str) -> ca.SX:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | int) -> ca.SX:
        if isinstance(key, str):
            if key not in self._names:
                known = ", ".join(self._names) or "none"
                raise InputError(f"no {self._what} {key!r}; there are {known}")
            return self._values[self._names.index(key)]
        if not -len(self._names) <= key < len(self._names):
            raise InputError(f"no {self._what} number {key}; there are {len(self._names)}")
        return self._values[range(len(self._names))[key]]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[ca.SX]:
        return (self[k] for k in range(len(self)))


def read_points(names: tuple[str, ...], at: Any, what: str = "point") -> np.ndarray:
    """Read one point or a batch of points.

    Parameters
    ----------
    names : tuple of str
        The coordinates.
    at : array_like, mapping by coordinate name, or DataArray with a dimension ``coordinate``
        Entries may be numbers or texts such as ``"pi/2"``. A leading axis is a batch; in a
        mapping, arrays of one length are.
    what : str
        What is read, for the messages.

    Returns
    -------
    ndarray, shape (n,) or (B, n)

    Raises
    ------
    InputError
        If the shape or a name does not fit, or an entry is not finite.
    InputTypeError
        If an entry is not a number.

    Examples
    --------
    >>> read_points(("x", "theta"), {"theta": "pi/2", "x": 1})
    array([1.        , 1.57079633])
    """
    n = len(names)
    if isinstance(at, xr.DataArray) and "coordinate" in at.dims:
        if "coordinate" in at.coords:
            labels = [str(label) for label in at["coordinate"].values]
            if set(labels) == set(names):
                at = at.sel(coordinate=list(names))
            elif at["coordinate"].dtype.kind in "UO":
                raise InputError(f"{what}: expected the coordinates {names}, got {labels}")
        at = at.transpose(..., "coordinate").values
    if isinstance(at, Mapping):
        missing, unknown = sorted(set(names) - set(at)), sorted(set(map(str, at)) - set(names))
        if missing or unknown:
            raise InputError(
                f"{what}: expected the coordinates {', '.join(names)}; "
                f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
            )
        columns = [_floats(at[name], f"{what}, {name}") for name in names]
        try:
            array = np.stack(np.broadcast_arrays(*columns), axis=-1)
        except ValueError as error:
            shapes = [column.shape for column in columns]
            raise InputError(f"{what}: coordinates of different shapes {shapes}") from error
    else:
        array = _floats(at, what)
    if array.ndim not in (1, 2) or array.shape[-1] != n:
        raise InputError(
            f"{what}: expected shape ({n},) or (B, {n}) for {', '.join(names)}, got {array.shape}"
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(int(k) for k in bad[0])
        raise InputError(f"{what}: {array[where]} at {where} is not finite")
    return array


def _floats(values: Any, what: str) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what}: expected rows of one length, got {values!r}") from error
    if array.dtype.kind in "fiu":
        return array.astype(np.float64)
    if array.dtype.kind not in "OUS":
        raise InputTypeError(f"{what}: expected numbers, got {array.dtype}")
    # A mixture of numbers and texts would become texts in NumPy.
    array = np.asarray(values, dtype=object)
    exact = [to_float(value) for value in array.ravel()]
    return np.array(exact, dtype=np.float64).reshape(array.shape)
