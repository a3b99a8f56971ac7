"""Checks of the arguments that flows, lifts and training share."""

from __future__ import annotations

from typing import Any

from subriem.errors import InputTypeError
from subriem.flows.losses import Loss
from subriem.network import OutputMap

__all__ = ["check_callback", "check_loss", "check_map"]


def check_map(outputs: Any) -> None:
    """Refuse what is no `OutputMap`.

    Parameters
    ----------
    outputs : object

    Raises
    ------
    InputTypeError
        If it is none.
    """
    if not isinstance(outputs, OutputMap):
        raise InputTypeError(
            f"expected an OutputMap, got {type(outputs).__name__}; make one from a torch module "
            "and its inputs"
        )


def check_loss(loss: Any) -> None:
    """Refuse what is no `Loss`.

    Parameters
    ----------
    loss : object

    Raises
    ------
    InputTypeError
        If it is none.
    """
    if not isinstance(loss, Loss):
        raise InputTypeError(
            f"expected a SquaredLoss or CrossEntropyLoss, got {type(loss).__name__}"
        )


def check_callback(callback: Any) -> None:
    """Refuse what cannot be called.

    Parameters
    ----------
    callback : object
        None is none.

    Raises
    ------
    InputTypeError
        If it is neither.
    """
    if callback is not None and not callable(callback):
        raise InputTypeError(f"callback must be callable, got {type(callback).__name__}")
