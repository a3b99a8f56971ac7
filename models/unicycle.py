"""The unicycle: the contact structure of SE(2).

    x' = v cos theta,   y' = v sin theta,   theta' = w.

A wheel that rolls and turns and does not slip sideways: sin(theta) x' - cos(theta) y' = 0. The
length weighs one unit of way as one radian.

Source: Sachkov, *ESAIM COCV* 17 (2011) 293, for its shortest paths.
"""

from __future__ import annotations

from casadi import cos, pi, sin

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0), (2, 3), source="classical"),
    Truth((1, -2, "pi/3"), (2, 3), source="left-invariant: as at the origin"),
)


def unicycle() -> Structure:
    """Unicycle: roll and turn in the plane, the contact structure of SE(2).

    Returns
    -------
    Structure
        Coordinates ``x y theta``, periodic in theta; fields ``drive`` and ``turn``.

    Examples
    --------
    >>> unicycle().velocity([0, 0, 0], [2, 1])
    array([2., 0., 1.])
    """
    return Structure.define(
        "unicycle",
        "x y theta",
        lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)],
        periodic=("theta",),
        field_names=("drive", "turn"),
        symmetries={
            "turn": lambda q, s: (
                cos(s) * q.x - sin(s) * q.y,
                sin(s) * q.x + cos(s) * q.y,
                q.theta + s,
            ),
            "shift x": lambda q, s: (q.x + s, q.y, q.theta),
            "shift y": lambda q, s: (q.x, q.y + s, q.theta),
            "mirror": lambda q: (q.x, -q.y, -q.theta),
            # the way it faces: driving forward becomes driving backward
            "about-face": lambda q: (q.x, q.y, q.theta + pi),
        },
    )
