"""Where a result comes from: who computed it, with what, from which arguments, when."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

__all__ = ["REQUIRED_KEYS", "library_version", "provenance", "summarize_arguments"]

#: The provenance keys that every dataset has.
REQUIRED_KEYS = (
    "created_at",
    "creation_library",
    "creation_library_version",
    "creation_library_language",
    "function",
)

_OTHER_LIBRARIES = ("numpy", "scipy", "torch", "casadi", "xarray")
_LONGEST_TEXT = 200


def provenance(
    function: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    structure: str | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Attributes that say where a dataset comes from.

    The keys ``created_at``, ``creation_library`` and its version are those that ArviZ and other
    tools read. The versions of NumPy, SciPy, torch, CasADi and xarray are given where they are
    already imported; nothing is imported for it.

    Parameters
    ----------
    function
        The function that made the dataset, as a user calls it.
    arguments
        Its arguments by name; arrays, modules and other large things are summarized.
    structure
        Which model or map it was called on, in words.
    seed
        The seed of everything random in it.

    Returns
    -------
    dict
        Attributes for a dataset.

    Examples
    --------
    >>> attributes = provenance("flow", {"kind": "adapted", "tolerance": 1e-12}, seed=7)
    >>> attributes["creation_library"], attributes["function"], attributes["seed"]
    ('subriem', 'flow', 7)
    """
    attributes: dict[str, Any] = {
        "created_at": datetime.now(UTC).isoformat(),
        "creation_library": "subriem",
        "creation_library_version": library_version(),
        "creation_library_language": "Python",
        "function": function,
        "arguments": summarize_arguments(arguments or {}),
    }
    if structure is not None:
        attributes["structure"] = structure
    if seed is not None:
        attributes["seed"] = int(seed)
    for library in _OTHER_LIBRARIES:
        module = sys.modules.get(library)
        if module is not None and hasattr(module, "__version__"):
            attributes[f"{library}_version"] = str(module.__version__)
    return attributes


@cache
def library_version() -> str:
    """Version of subriem that is installed.

    Returns
    -------
    str
        The version, or ``"unknown"`` where the package runs without being installed.

    Examples
    --------
    >>> isinstance(library_version(), str)
    True
    """
    try:
        return version("subriem")
    except PackageNotFoundError:
        return "unknown"


def summarize_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten arguments to what fits in an attribute.

    Parameters
    ----------
    arguments
        Arguments by name.

    Returns
    -------
    dict
        The same names; numbers, texts and small collections of them as they are, an array or
        tensor as its type, dtype and shape, anything else as the first line of its repr.

    Examples
    --------
    >>> import numpy as np
    >>> summarize_arguments({"kind": "adapted", "start": np.zeros((3, 2)), "path": [0.0, 1.0]})
    {'kind': 'adapted', 'start': 'ndarray float64 (3, 2)', 'path': [0.0, 1.0]}
    """
    return {str(name): _summarize(value) for name, value in arguments.items()}


def _summarize(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex):
        return value
    if isinstance(value, str):
        return _shorten(value)
    if isinstance(value, Mapping) and len(value) <= 20:
        return summarize_arguments(value)
    if isinstance(value, list | tuple) and len(value) <= 20:
        return [_summarize(item) for item in value]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{type(value).__name__} {dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping | list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    lines = repr(value).splitlines()
    return _shorten(lines[0] if lines else type(value).__name__)


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
