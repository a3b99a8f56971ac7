"""Attributes that a file cannot hold, as ones that it can.

One attribute, ``_subriem``, says in JSON what was done to a variable or to the dataset: which
attributes are JSON text, which are held in it because NetCDF or xarray give their names a meaning
of their own, and which type a variable had. An attribute that is not named there is left alone,
so that a plain text which looks like JSON stays a plain text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from subriem.errors import InputTypeError
from subriem.results.json_text import decode_json, encode_json

__all__ = [
    "MARK",
    "decode_attributes",
    "encode_attributes",
    "is_json_attribute",
    "is_unicode",
    "is_vector_attribute",
]

MARK = "_subriem"
# of numbers in an attribute of NetCDF; HDF5 takes 64 kB for all of them
_LONGEST_VECTOR = 256

# names with a meaning for HDF5, the NetCDF conventions, Zarr or xarray's decoding
_TAKEN = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_NCProperties", "_NCCoordinates"}
    | {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_FillValue", "missing_value"}
    | {"scale_factor", "add_offset", "_Unsigned", "_Encoding", "dtype", "calendar", "coordinates"}
    | {"bounds", "grid_mapping", "ancillary_variables", "cell_measures", "formula_terms", MARK}
    | {"_ARRAY_DIMENSIONS"}
)


def is_vector_attribute(value: Any) -> bool:
    """Whether NetCDF can hold an attribute that JSON cannot: a vector, a number of 32 bits.

    Parameters
    ----------
    value
        Value of the attribute.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_vector_attribute(np.array([1.0, 2.0])), is_vector_attribute(np.zeros((2, 2)))
    (True, False)
    """
    if isinstance(value, np.ndarray):
        # NetCDF has only vectors, and one of length 0 or 1 comes back as something else
        short = 1 < value.size <= _LONGEST_VECTOR
        return value.ndim == 1 and short and _is_netcdf_number(value.dtype)
    if isinstance(value, np.integer | np.floating):
        return _is_netcdf_number(value.dtype)
    return isinstance(value, float)


def is_json_attribute(value: Any) -> bool:
    """Whether JSON can hold the value of an attribute, and give it back as it was.

    Parameters
    ----------
    value
        Value of the attribute; texts and whole numbers are not asked for.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_json_attribute(0.5), is_json_attribute(float("nan"))
    (True, False)
    """
    return isinstance(value, float) and not isinstance(value, np.generic) and math.isfinite(value)


def encode_attributes(
    attrs: Mapping[Any, Any],
    where: str,
    is_native: Callable[[Any], bool] = is_vector_attribute,
    *,
    extra: Mapping[str, Any] | None = None,
    held: Mapping[str, Any] | None = None,
    always_marked: bool = False,
) -> dict[str, Any]:
    """Give the attributes that are written for attributes.

    Parameters
    ----------
    attrs
        Attributes by name.
    where
        Whose they are, for error messages.
    is_native
        Which values the file can hold besides texts and whole numbers.
    extra
        What the mark says besides.
    held
        Further attributes whose names have another meaning in the file.
    always_marked
        Whether there is a mark also where nothing was done.

    Returns
    -------
    dict
        Attributes that the file can hold.

    Raises
    ------
    InputTypeError
        If an attribute cannot be written; the message names it.

    Examples
    --------
    >>> encode_attributes({"radius": None}, "the dataset")
    {'radius': 'null', '_subriem': '{"json": ["radius"]}'}
    """
    encoded: dict[str, Any] = {}
    texts: list[str] = []
    scalars: list[str] = []
    held = dict(held or {})
    for name, value in attrs.items():
        place = f"attribute {name!r} of {where}"
        if not isinstance(name, str):
            raise InputTypeError(f"cannot write {place}: expected a text as its name")
        if name in _TAKEN or not name or "\0" in name or "/" in name or not is_unicode(name):
            held[name] = value
        elif _is_plain(value) or (not isinstance(value, bool | np.bool_) and is_native(value)):
            encoded[name] = value
        elif is_vector_attribute(value) and not isinstance(value, np.ndarray | float):
            encoded[name] = encode_json(np.array(value), place)
            scalars.append(name)
        else:
            encoded[name] = encode_json(value, place)
            texts.append(name)
    mark: dict[str, Any] = dict(extra or {})
    if texts:
        mark["json"] = texts
    if scalars:
        mark["scalars"] = scalars
    if held:
        # pairs, because a name may be anything
        mark["held"] = [
            [name, json.loads(encode_json(value, f"attribute {name!r} of {where}"))]
            for name, value in held.items()
        ]
    if mark or always_marked:
        encoded[MARK] = json.dumps(mark)
    return encoded


def decode_attributes(stored: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give attributes back from what `encode_attributes` or `encode_form` gave.

    Parameters
    ----------
    stored
        Attributes in the file.

    Returns
    -------
    tuple
        The attributes, and what the mark says.

    Examples
    --------
    >>> decode_attributes({"radius": "null", "_subriem": '{"json": ["radius"]}'})
    ({'radius': None}, {'json': ['radius']})
    """
    attrs = {name: _python_number(value) for name, value in stored.items()}
    mark = json.loads(attrs.pop(MARK, "{}"))
    for name in mark.get("json", []):
        attrs[name] = decode_json(attrs[name])
    for name in mark.get("scalars", []):
        attrs[name] = _python_number(decode_json(attrs[name])[()])
    if "dtype" in mark and np.dtype(mark["dtype"]).kind in "mM":
        for key in ("units", "calendar"):
            attrs.pop(key, None)
    for name, value in mark.get("held", []):
        attrs[name] = decode_json(json.dumps(value))
    return attrs, mark


def is_unicode(text: str) -> bool:
    r"""Whether a text can be written as UTF-8: it holds no half of a surrogate pair.

    Parameters
    ----------
    text
        The text.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_unicode("\ud800")
    False
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: Any) -> bool:
    """Whether any file can hold the value of an attribute."""
    if isinstance(value, str):
        return "\0" not in value and is_unicode(value)
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_netcdf_number(dtype: np.dtype) -> bool:
    return dtype.kind in "iuf" and dtype.itemsize <= 8 and dtype != np.float16


def _python_number(value: Any) -> Any:
    return value.item() if isinstance(value, np.int64 | np.float64) else value
