"""The first zero of a polynomial on an interval, none overlooked."""

from __future__ import annotations

import numpy as np

__all__ = ["first_zero"]


def first_zero(coefficients: np.ndarray, length: float) -> float | None:
    """The first zero on [0, length] of a polynomial that starts positive.

    Parameters
    ----------
    coefficients : ndarray, shape (degree + 1,)
        Constant term first. A polynomial that does not start positive has its zero at 0.
    length : float

    Returns
    -------
    float or None
        To a relative accuracy of 1e-15 of the length; None where there is none.

    Notes
    -----
    Where the second derivative is at most k in size, the polynomial lies above its chord over
    [a, b] less k (b - a)^2 / 8, which rules intervals out; the others are halved.

    Examples
    --------
    >>> round(first_zero(np.array([0.75, -2.0, 1.0]), 3.0), 12)
    0.5
    >>> first_zero(np.array([1.25, -2.0, 1.0]), 3.0) is None
    True
    """
    if coefficients[0] <= 0:
        return 0.0
    degree = np.arange(2, len(coefficients))
    sizes = np.abs(coefficients[2:]) * degree * (degree - 1)
    curvature = float(np.polynomial.polynomial.polyval(length, sizes)) if len(sizes) else 0.0

    def value(x: float) -> float:
        return float(np.polynomial.polynomial.polyval(x, coefficients))

    waiting = [(0.0, float(coefficients[0]), length, value(length))]
    while waiting:
        a, fa, b, fb = waiting.pop()
        width = b - a
        if fb > 0 and min(fa, fb) > curvature * width**2 / 8:
            continue
        if width < length * 2.0**-50:
            if fb > 0:
                continue
            return b
        middle = a + width / 2
        fm = value(middle)
        waiting += [(middle, fm, b, fb), (a, fa, middle, fm)]
    return None
