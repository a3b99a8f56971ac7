"""The check that an argument is a structure."""

from __future__ import annotations

from typing import Any

from subriem.errors import InputTypeError
from subriem.structure.structure import Structure

__all__ = ["require_structure"]


def require_structure(value: Any, what: str = "structure") -> Structure:
    """Check that an argument is a `Structure`.

    Parameters
    ----------
    value : object
    what : str

    Returns
    -------
    Structure

    Raises
    ------
    InputTypeError
        If it is something else.

    Examples
    --------
    >>> require_structure(3)
    Traceback (most recent call last):
    subriem.errors.InputTypeError: structure: expected a Structure, got int
    """
    if not isinstance(value, Structure):
        raise InputTypeError(f"{what}: expected a Structure, got {type(value).__name__}")
    return value
