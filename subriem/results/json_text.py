"""JSON text for values that a NetCDF attribute cannot hold, read back as what they were.

JSON itself has no complex numbers, no NaN, no arrays and only text as keys. Those are written as
an object with one marked key (``{"__complex__": [1.0, 2.0]}``); a dictionary that happens to look
like such an object is written as pairs, so that nothing is mistaken for a mark.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from subriem.errors import InputError, InputTypeError

__all__ = ["decode_json", "encode_json"]

_ARRAY_KINDS = "biufcU"
# made once: `json.dumps` makes one for each call that has an option
_ENCODER = json.JSONEncoder(allow_nan=False)


def encode_json(value: Any, where: str = "value") -> str:
    """Write a value as JSON text.

    Parameters
    ----------
    value
        None, bool, int, float, complex, str, NumPy numbers and arrays of numbers or text, and
        lists, tuples and dictionaries of those. A tuple comes back as a list, a NumPy number as
        the Python number.
    where
        How to call the value in an error message.

    Returns
    -------
    str
        ASCII text; the same for equal values whose dictionaries have the same order.

    Raises
    ------
    InputTypeError
        If the value, or something inside it, is of another type.

    Examples
    --------
    >>> encode_json({"rtol": 1e-10, "field": 1 + 2j, "strict": False})
    '{"rtol": 1e-10, "field": {"__complex__": [1.0, 2.0]}, "strict": false}'
    """
    return _ENCODER.encode(_mark(value, where))


def decode_json(text: str) -> Any:
    """Read what `encode_json` wrote.

    Parameters
    ----------
    text
        The JSON text.

    Returns
    -------
    Any
        The value, with tuples as lists.

    Raises
    ------
    InputError
        If the text is not JSON.

    Examples
    --------
    >>> decode_json('{"__complex__": [1.0, 2.0]}')
    (1+2j)
    """
    try:
        return _unmark(json.loads(text))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"expected text written by encode_json, got {text[:60]!r} ({error})"
        ) from error


def _mark(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"__float__": repr(float(value))}
    if isinstance(value, complex):
        return {"__complex__": [_mark(value.real, where), _mark(value.imag, where)]}
    if isinstance(value, np.ndarray) and value.dtype.kind in _ARRAY_KINDS:
        values = [_mark(item, where) for item in value.ravel().tolist()]
        return {"__array__": [value.dtype.newbyteorder("=").str, list(value.shape), values]}
    if isinstance(value, list | tuple):
        return [_mark(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {str(key): _mark(item, f"{where}[{key!r}]") for key, item in value.items()}
        pairs = [
            [_mark(key, f"a key of {where}"), _mark(item, f"{where}[{key!r}]")]
            for key, item in value.items()
        ]
        return {"__pairs__": pairs}
    raise InputTypeError(
        f"{where} cannot be written: expected None, bool, int, float, complex, str, a NumPy array "
        f"of numbers or text, or lists and dictionaries of those, got {type(value).__name__}"
    )


def _unmark(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmark(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"__float__": text}:
            return float(text)
        case {"__complex__": [real, imag]}:
            return complex(_unmark(real), _unmark(imag))
        case {"__array__": [dtype, shape, items]}:
            return np.array([_unmark(item) for item in items], dtype=dtype).reshape(shape)
        case {"__pairs__": pairs}:
            # a list is no dictionary key; a key that is one was a tuple
            unmarked = ((_unmark(key), _unmark(item)) for key, item in pairs)
            return {tuple(k) if isinstance(k, list) else k: item for k, item in unmarked}
    return {key: _unmark(item) for key, item in value.items()}
