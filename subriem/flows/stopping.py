"""Where to stop: the loss to reach, and the a-priori stopping time of the adapted flow."""

from __future__ import annotations

import math

import torch

from subriem.errors import InputError

__all__ = ["default_tolerance", "stopping_time"]


def stopping_time(initial_loss: float, tolerance: float, *, samples: int) -> float:
    """Time at which the adapted flow with the squared loss reaches a loss, known in advance.

    With full row rank C(s) = e^{-2s/N} C_0, hence C(s) <= eps from s = (N/2) ln(C_0/eps) on.

    Parameters
    ----------
    initial_loss : float
        C_0.
    tolerance : float
        eps > 0, the loss to reach (absolute).
    samples : int
        N.

    Returns
    -------
    float
        In the flow's own time s; 0 where the loss is that small already.

    Raises
    ------
    InputError
        If an argument is not positive (``initial_loss`` may be zero).

    Examples
    --------
    >>> stopping_time(2.0, 2e-12, samples=10)
    138.15510557964274

    References
    ----------
    T. Chen, arXiv:2311.15487.
    """
    if not (tolerance > 0 and math.isfinite(tolerance)):
        raise InputError(f"tolerance must be a positive number, got {tolerance}")
    if not (initial_loss >= 0 and math.isfinite(initial_loss)):
        raise InputError(f"initial_loss must be a number >= 0, got {initial_loss}")
    if samples < 1:
        raise InputError(f"samples must be at least 1, got {samples}")
    if initial_loss <= tolerance:
        return 0.0
    return samples / 2 * math.log(initial_loss / tolerance)


def default_tolerance(initial: float, x: torch.Tensor, y: torch.Tensor) -> float:
    """1e-12 of the initial loss, unless the dtype cannot tell so small a loss from rounding.

    Parameters
    ----------
    initial : float
        The initial loss above its minimum.
    x, y : Tensor, shape (NQ,)
        Initial outputs and fitted targets.

    Returns
    -------
    float
        Absolute.

    Examples
    --------
    >>> x, y = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> default_tolerance(0.5, x, y)
    5e-13
    """
    eps = torch.finfo(x.dtype).eps
    distance = float(torch.linalg.vector_norm(x - y)) or 1.0
    rounding = 1e2 * eps * float(torch.linalg.vector_norm(x) + torch.linalg.vector_norm(y))
    return initial * max(1e-12, (rounding / distance) ** 2)
