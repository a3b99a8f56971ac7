"""A steered car that pulls n trailers, each hooked to the middle of the axle before it.

    x' = v cos th0,   y' = v sin th0,   th0' = v tan(phi) / L0,   phi' = w,
    th_i' = v_{i-1} sin(th_{i-1} - th_i) / L_i,   v_i = v_{i-1} cos(th_{i-1} - th_i),   v_0 = v.

(x, y) is the midpoint of the car's rear axle. With its front wheels as a tractor, the car is the
first of n + 1 trailers: on the chart |phi| < pi/2 the distribution is that of `trailers` (n + 1),
and a right angle between car and first trailer is singular for n >= 2.

Source: Samson, *IEEE Trans. Automat. Control* 40 (1995) 64; Jean, *ESAIM COCV* 1 (1996) 241.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from casadi import cos, sin, tan

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0,) * 6, (2, 3, 4, 5, 6), arguments={"n": 2}, source="regular: Jean 1996"),
    Truth(
        (0, 0, "pi/2", 0, 0, 0),
        (2, 3, 4, 5, 5, 6),
        arguments={"n": 2},
        source="class RVR of Jean 1996: the front axle is straight ahead, the trailer at pi/2",
    ),
)


def car_with_trailers(
    n: int, length: float = 1.0, lengths: Sequence[float] | None = None
) -> Structure:
    """Steered car with n trailers hooked at the middle of their axles.

    Parameters
    ----------
    n : int
        Number of trailers.
    length : float
        L0, from the car's rear axle to its front axle, in the unit of x and y.
    lengths : sequence of float, optional
        L1, ..., Ln; all 1 by default. L0, ..., Ln are parameters of the structure.

    Returns
    -------
    Structure
        Coordinates ``x y th0 phi th1 ... thn``, periodic in the headings; fields ``drive`` and
        ``steer``.

    Raises
    ------
    InputError
        If n is not a positive integer, or there are not n + 1 positive lengths.

    Examples
    --------
    >>> car_with_trailers(1)
    Structure car_with_trailers(1): 5 coordinates (x, y, th0, phi, th1), 2 fields; L0=1, L1=1
    """
    if not isinstance(n, Integral) or n < 1:
        raise InputError(f"car_with_trailers: expected an integer n >= 1, got {n!r}")
    every = [length, *([1.0] * n if lengths is None else lengths)]
    if len(every) != n + 1 or not all(0 < value < math.inf for value in every):
        raise InputError(
            f"car_with_trailers: expected a positive length and {n} positive lengths, got "
            f"{length!r} and {lengths}"
        )
    headings = [f"th{i}" for i in range(n + 1)]

    def frame(q: Any, p: Any) -> list[list[Any]]:
        speed: Any = 1
        turns = []
        for i in range(1, n + 1):
            angle = q[f"th{i - 1}"] - q[f"th{i}"]
            turns.append(speed * sin(angle) / p[f"L{i}"])
            speed = speed * cos(angle)
        drive = [cos(q.th0), sin(q.th0), tan(q.phi) / p.L0, 0, *turns]
        return [drive, [0, 0, 0, 1, *[0] * n]]

    return Structure.define(
        f"car_with_trailers({n})",
        ["x", "y", "th0", "phi", *headings[1:]],
        frame,
        parameters={f"L{i}": value for i, value in enumerate(every)},
        periodic=headings,
        domain={"phi": ("-pi/2", "pi/2")},
        field_names=("drive", "steer"),
    )
