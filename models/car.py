"""The kinematic car with rear-wheel drive and a steering angle.

    x' = v cos theta,   y' = v sin theta,   theta' = v tan(phi) / length,   phi' = w.

(x, y) is the midpoint of the rear axle, theta the heading, phi the angle of the front wheels to it;
neither axle slips sideways. The chart is |phi| < pi/2, where the rear wheels can drive the car.

Source: Murray, Li, Sastry, *A Mathematical Introduction to Robotic Manipulation* (1994), chapter
7; Laumond (ed.), *Robot Motion Planning and Control* (1998), chapter 1.
"""

from __future__ import annotations

import math

from casadi import cos, sin, tan

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0), (2, 3, 4), source="classical"),
    Truth((1, -2, "pi/3", "pi/4"), (2, 3, 4), source="classical; exact brackets"),
    Truth((0, 0, 0, "pi/6"), (2, 3, 4), arguments={"length": 2}, source="exact brackets"),
)


def car(length: float = 1.0) -> Structure:
    """Car with rear-wheel drive and steering.

    Parameters
    ----------
    length : float
        From the rear axle to the front axle, in the unit of x and y; a parameter.

    Returns
    -------
    Structure
        Coordinates ``x y theta phi``, periodic in theta; fields ``drive`` and ``steer``.

    Raises
    ------
    InputError
        If the length is not positive and finite.

    Examples
    --------
    >>> car()
    Structure car: 4 coordinates (x, y, theta, phi), 2 fields; length=1
    """
    if not 0 < length < math.inf:
        raise InputError(f"car: expected a positive length, got {length!r}")
    return Structure.define(
        "car",
        "x y theta phi",
        lambda q, p: [
            (cos(q.theta), sin(q.theta), tan(q.phi) / p.length, 0),
            (0, 0, 0, 1),
        ],
        parameters={"length": length},
        periodic=("theta",),
        domain={"phi": ("-pi/2", "pi/2")},
        field_names=("drive", "steer"),
    )
