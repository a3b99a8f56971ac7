"""python-flint, which exact and certified numbers need; loaded when they are first made."""

from __future__ import annotations

from typing import Any

from subriem.errors import MissingDependencyError

__all__ = ["load_flint"]


def load_flint() -> Any:
    """Import python-flint.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        If it is not installed.

    Examples
    --------
    >>> flint = load_flint()
    >>> flint.fmpq(1, 3) + flint.fmpq(1, 6)
    1/2
    """
    try:
        import flint
    except ImportError as error:
        raise MissingDependencyError(
            "exact and certified numbers need python-flint: pip install 'subriem[certify]'"
        ) from error
    return flint
