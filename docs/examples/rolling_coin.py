"""The rolling coin: a disc that rolls upright on the plane, without slipping.

    x' = v cos theta,   y' = v sin theta,   theta' = w,   phi' = v,

for a coin of radius one that has turned by phi. [f2, f1] is the slip sideways; rolling and slipping
commute, so that the fourth direction takes a bracket of length three.

Source: Bloch, *Nonholonomic Mechanics and Control* (2003), section 1.4.
"""

from __future__ import annotations

from casadi import cos, sin

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0), (2, 3, 4), source="brackets by hand"),
    Truth((1, -2, "pi/3", 5), (2, 3, 4), source="left-invariant: as at the origin"),
)


def rolling_coin() -> Structure:
    """Rolling coin: a disc that rolls upright and does not slip.

    Returns
    -------
    Structure
        Coordinates ``x y theta phi``, periodic in the two angles.

    Examples
    --------
    >>> rolling_coin().velocity([0, 0, 0, 0], [2, 1])
    array([2., 0., 1., 2.])
    """
    return Structure.define(
        "rolling_coin",
        "x y theta phi",
        lambda q: [(cos(q.theta), sin(q.theta), 0, 1), (0, 0, 1, 0)],
        periodic=("theta", "phi"),
        field_names=("roll", "turn"),
    )
