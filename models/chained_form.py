"""The chained form: the Goursat normal form at a regular point.

    x_1' = u_1,   x_2' = u_2,   x_{i+1}' = x_i u_1  for i = 2, ..., n - 1.

Left-invariant on a Carnot group of step n - 1. A car with trailers is locally equivalent to it
near its regular configurations.

Source: Murray, Sastry, *IEEE Trans. Automat. Control* 38 (1993) 700.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0,) * 3, (2, 3), arguments={"n": 3}, source="classical"),
    Truth((0,) * 5, (2, 3, 4, 5), arguments={"n": 5}, source="classical"),
    Truth((1, -2, 3, "1/2", 4), (2, 3, 4, 5), arguments={"n": 5}, source="left-invariant"),
    Truth((0,) * 7, (2, 3, 4, 5, 6, 7), arguments={"n": 7}, source="classical"),
)


def chained_form(n: int) -> Structure:
    """Chained form with two controls: x_{i+1}' = x_i u_1.

    Parameters
    ----------
    n : int
        Dimension of the state space.

    Returns
    -------
    Structure
        Coordinates ``x1 ... xn``.

    Raises
    ------
    InputError
        If n is not an integer of at least 3.

    Examples
    --------
    >>> chained_form(4).velocity([0, 2, 3, 0], [1, 0])
    array([1., 0., 2., 3.])
    """
    if not isinstance(n, Integral) or n < 3:
        raise InputError(f"chained_form: expected an integer n >= 3, got {n!r}")

    def frame(q: Any) -> list[list[Any]]:
        drive = [1, 0, *(q[i] for i in range(1, n - 1))]
        return [drive, [0, 1, *[0] * (n - 2)]]

    return Structure.define(f"chained_form({n})", [f"x{i}" for i in range(1, n + 1)], frame)
