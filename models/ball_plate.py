"""The ball-plate problem: a ball rolls between two plates, in Montana's contact coordinates.

The lower plate is fixed, the upper one moves in parallel to it and drives the ball, which neither
slips nor spins: its centre goes half as far as the upper plate, and it rolls on the lower plate as
in `rolling_sphere`, which is the same system in other coordinates. Here they are the point of
contact (x, y) on the plate, latitude u and longitude v of the point of contact on the ball,

    c(u, v) = radius (cos u cos v, -cos u sin v, sin u),

and the contact angle psi from the x axis to c_u, clockwise seen from above. With (x', y') controls,

    radius u'   =  cos psi x' - sin psi y',
    radius v'   = -(sin psi x' + cos psi y') / cos u,
    radius psi' =  tan u (sin psi x' + cos psi y').

These are Montana's equations solved for rolling. The chart is |u| < pi/2; the length is that of the
path of the ball's centre.

Source: Montana, *Int. J. Robotics Research* 7 (1988) 17; Li, Canny, *IEEE Trans. Robotics
Automation* 6 (1990) 62; Jurdjevic, *Arch. Rational Mech. Anal.* 124 (1993) 305.
"""

from __future__ import annotations

import math
from typing import Any

from casadi import cos, sin, tan

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0, 0), (2, 3, 5), source="Li, Canny 1990; exact brackets"),
    Truth((1, 2, "pi/4", 0, "pi/3"), (2, 3, 5), source="exact brackets"),
)


def ball_plate(radius: float = 1.0) -> Structure:
    """Ball rolled between two plates, in contact coordinates.

    Parameters
    ----------
    radius : float
        In the unit of x and y; a parameter.

    Returns
    -------
    Structure
        Coordinates ``x y u v psi``, periodic in v and psi.

    Raises
    ------
    InputError
        If the radius is not positive and finite.

    Examples
    --------
    >>> ball_plate()
    Structure ball_plate: 5 coordinates (x, y, u, v, psi), 2 fields; radius=1
    """
    if not 0 < radius < math.inf:
        raise InputError(f"ball_plate: expected a positive radius, got {radius!r}")

    def frame(q: Any, p: Any) -> list[tuple[Any, ...]]:
        c, s = cos(q.psi) / p.radius, sin(q.psi) / p.radius
        return [
            (1, 0, c, -s / cos(q.u), s * tan(q.u)),
            (0, 1, -s, -c / cos(q.u), c * tan(q.u)),
        ]

    return Structure.define(
        "ball_plate",
        "x y u v psi",
        frame,
        parameters={"radius": radius},
        periodic=("v", "psi"),
        domain={"u": ("-pi/2", "pi/2")},
    )
