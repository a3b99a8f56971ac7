"""The fixed random vectors with which operators are compared and conditions estimated."""

from __future__ import annotations

import torch

__all__ = ["probe_vector"]


def probe_vector(size: int, like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Normal random numbers that depend on the seed alone, not on any global state.

    Parameters
    ----------
    size : int
    like : Tensor
        Gives dtype and device; the numbers are drawn in double precision on the CPU, so that
        they are the same on every device.
    seed : int

    Returns
    -------
    Tensor, shape (size,)

    Examples
    --------
    >>> like = torch.zeros(1, dtype=torch.float64)
    >>> bool((probe_vector(3, like) == probe_vector(3, like)).all())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64).to(like)
