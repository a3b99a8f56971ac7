"""The a-priori stopping time of the adapted gradient flow."""

from __future__ import annotations

import math

from subriem.errors import InputError

__all__ = ["stopping_time"]


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
