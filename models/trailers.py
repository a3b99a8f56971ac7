"""A unicycle that pulls n trailers, each hooked to the middle of the axle before it.

    x' = v cos th0,   y' = v sin th0,   th0' = w,
    th_i' = v_{i-1} sin(th_{i-1} - th_i) / L_i,   v_i = v_{i-1} cos(th_{i-1} - th_i),   v_0 = v.

(x, y) is the tractor's axle; the axle of trailer i is L_i behind the one before it, in direction
th_i; no axle slips sideways. The structure generates everywhere. It is singular where
th_{i-1} - th_i = +-pi/2 for some i < n, a right angle between two bodies that is not the last; the
step lies between n + 2 and the Fibonacci number F_{n+3}.

Source: Laumond, *IEEE Trans. Robotics Automation* 9 (1993) 755; Jean, *ESAIM COCV* 1 (1996) 241.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from casadi import cos, sin

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0), (2, 3, 4), arguments={"n": 1}, source="Laumond; Jean 1996"),
    Truth((0,) * 5, (2, 3, 4, 5), arguments={"n": 2}, source="Jean 1996"),
    Truth(
        (0, 0, "pi/2", "pi/2", 0),
        (2, 3, 4, 5),
        arguments={"n": 2},
        source="Jean 1996: a right angle between the last two bodies is not singular",
    ),
    Truth(
        (0, 0, "pi/2", 0, 0),
        (2, 3, 4, 4, 5),
        arguments={"n": 2},
        source="Jean 1996: a right angle between tractor and first trailer, step F_5 = 5",
    ),
    Truth((0,) * 6, (2, 3, 4, 5, 6), arguments={"n": 3}, source="Jean 1996"),
    Truth(
        (0, 0, "pi/2", "pi/2", 0, 0),
        (2, 3, 4, 5, 5, 6),
        arguments={"n": 3},
        source="Jean 1996: class RVR",
    ),
    Truth(
        (0, 0, "3*pi/4", "pi/2", 0, 0),
        (2, 3, 4, 5, 5, 5, 6),
        arguments={"n": 3},
        source="Jean 1996: class RVT, for equal lengths",
    ),
    Truth(
        (0, 0, "pi/2", "pi/2", "pi/2", 0),
        (2, 3, 4, 5, 6),
        arguments={"n": 3},
        source="Jean 1996: only the last angle is right",
    ),
)


def trailers(n: int, lengths: Sequence[float] | None = None) -> Structure:
    """Unicycle with n trailers hooked at the middle of their axles.

    Parameters
    ----------
    n : int
        Number of trailers.
    lengths : sequence of float, optional
        L1, ..., Ln, in the unit of x and y; parameters of the structure. All 1 by default.

    Returns
    -------
    Structure
        Coordinates ``x y th0 ... thn``, periodic in the angles; fields ``drive`` and ``turn``.

    Raises
    ------
    InputError
        If n is negative or not an integer, or there are not n positive lengths.

    Examples
    --------
    >>> trailers(2)
    Structure trailers(2): 5 coordinates (x, y, th0, th1, th2), 2 fields; L1=1, L2=1
    """
    if not isinstance(n, Integral) or n < 0:
        raise InputError(f"trailers: expected an integer n >= 0, got {n!r}")
    lengths = [1.0] * n if lengths is None else list(lengths)
    if len(lengths) != n or not all(0 < length < math.inf for length in lengths):
        raise InputError(f"trailers: expected {n} positive lengths, got {lengths}")
    angles = [f"th{i}" for i in range(n + 1)]

    def frame(q: Any, p: Any) -> list[list[Any]]:
        speed: Any = 1
        turns = []
        for i in range(1, n + 1):
            turns.append(speed * sin(q[i + 1] - q[i + 2]) / p[f"L{i}"])
            speed = speed * cos(q[i + 1] - q[i + 2])
        return [[cos(q.th0), sin(q.th0), 0, *turns], [0, 0, 1, *[0] * n]]

    return Structure.define(
        f"trailers({n})",
        ["x", "y", *angles],
        frame,
        parameters={f"L{i}": length for i, length in enumerate(lengths, start=1)},
        periodic=angles,
        field_names=("drive", "turn"),
    )
