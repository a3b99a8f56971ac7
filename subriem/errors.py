"""The errors that subriem raises, each also the built-in error that it refines.

Input that cannot be right raises one of these at once, with what was expected, what came and
where. A numerical outcome (rank lost, tolerance not met) is data: it comes back as a ``status``
in the result, and only ``strict=True`` turns it into a `NumericalError`.
"""

from __future__ import annotations

__all__ = [
    "InputError",
    "InputTypeError",
    "MissingDependencyError",
    "NumericalError",
    "ResultsError",
    "SubriemError",
]


class SubriemError(Exception):
    """Base class of every error that subriem raises on purpose."""


class InputError(SubriemError, ValueError):
    """An argument has a value that cannot be right (shape, sign, NaN, unknown name)."""


class InputTypeError(SubriemError, TypeError):
    """An argument is of a kind that cannot be right."""


class NumericalError(SubriemError, ArithmeticError):
    """A numerical outcome that ``strict=True`` was asked to treat as an error."""


class MissingDependencyError(SubriemError, ImportError):
    """A feature needs an optional package that is not installed."""


class ResultsError(SubriemError, OSError):
    """A results file or a run folder cannot be read or written."""
