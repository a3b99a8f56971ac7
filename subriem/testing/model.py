"""A model under test: a structure and what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from subriem.errors import InputError, InputTypeError
from subriem.structure import Structure, Truth

__all__ = ["Model", "read_model"]


class Model:
    """A structure to check, with the growth vectors that are known of it.

    Parameters
    ----------
    structure : Structure, or callable without arguments that makes one
        A callable is called when the structure is first needed.
    truths : iterable of Truth, optional
        Their ``arguments`` are not used: the structure is made already.
    name : str, optional
        By default that of the structure.

    Raises
    ------
    InputTypeError
        If an argument is of a wrong kind.
    InputError
        If a callable is given without a name.

    Examples
    --------
    >>> from subriem.models import heisenberg
    >>> Model(heisenberg(), [Truth((0, 0, 0), (2, 3))])
    Model heisenberg, 1 truth
    """

    def __init__(
        self,
        structure: Structure | Callable[[], Structure],
        truths: Iterable[Truth] = (),
        name: str | None = None,
    ) -> None:
        if not isinstance(structure, Structure) and not callable(structure):
            raise InputTypeError(
                f"structure: expected a Structure or a callable, got {type(structure).__name__}"
            )
        self.truths = tuple(truths)
        for truth in self.truths:
            if not isinstance(truth, Truth):
                raise InputTypeError(f"truths: expected Truth, got {type(truth).__name__}")
        if name is None and not isinstance(structure, Structure):
            raise InputError("name: expected one, as the structure is not made yet")
        self.name = structure.name if isinstance(structure, Structure) else str(name)
        if name is not None:
            self.name = name
        self._source = structure

    def __repr__(self) -> str:
        count = len(self.truths)
        return f"Model {self.name}, {count} truth{'s' * (count != 1)}"

    @cached_property
    def structure(self) -> Structure:
        """The structure, made on first use."""
        made = self._source if isinstance(self._source, Structure) else self._source()
        if not isinstance(made, Structure):
            raise InputTypeError(
                f"{self.name}: expected a Structure, got {type(made).__name__}; only structures "
                "have checks"
            )
        return made


def read_model(value: Any) -> Model:
    """A model from a model or a structure.

    Parameters
    ----------
    value : Model or Structure

    Returns
    -------
    Model

    Raises
    ------
    InputTypeError
        If it is something else.

    Examples
    --------
    >>> read_model("heisenberg")
    Traceback (most recent call last):
    subriem.errors.InputTypeError: expected a Model or a Structure, got str
    """
    if isinstance(value, Model):
        return value
    if isinstance(value, Structure):
        return Model(value)
    raise InputTypeError(f"expected a Model or a Structure, got {type(value).__name__}")
