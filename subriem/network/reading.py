"""Numbers from outside as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from subriem.errors import InputTypeError

__all__ = ["as_tensor"]


def as_tensor(
    value: Any, name: str, dtype: torch.dtype | None, device: torch.device
) -> torch.Tensor:
    """Read real numbers from outside, at their own precision; what is not a tensor is copied."""
    if not isinstance(value, torch.Tensor):
        try:
            # By way of NumPy: torch would read a list of floats in single precision.
            array = np.asarray(getattr(value, "values", value))
            value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputTypeError(f"{name}: not an array of numbers: {error}") from error
    if value.is_complex():
        raise InputTypeError(f"{name}: complex numbers; expected real ones")
    return value.detach().to(device=device, dtype=dtype)
