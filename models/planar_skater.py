"""The planar skater: three equal rods in free fall, with zero angular momentum.

Rods of one length and mass, hinged in a row, move in the plane; no force acts from outside. theta
is the direction of the middle rod, theta + phi1 and theta + phi2 those of its neighbours. About the
centre of mass, in the unit mass length^2 / 12, the angular momentum is

    J theta' + N(phi1, phi2) phi1' + N(phi2, phi1) phi2',
    N(a, b) = 3 + 3 cos a + cos(a - b),
    J = 13 + 6 cos phi1 + 6 cos phi2 + 2 cos(phi1 - phi2),

from 7 w_0 + 3 (w_1 + w_2) + 3 cos(phi1) (w_0 + w_1) + 3 cos(phi2) (w_0 + w_2)
+ cos(phi1 - phi2) (w_1 + w_2) with w_0 = theta', w_i = theta' + phi_i'. That it is zero is a
connection: turning the joints, the controls, turns the whole, and a loop in the shape (phi1, phi2)
changes the direction, as a falling cat does. The curvature changes sign with the order of the
joints and with that of the angles; it vanishes at phi1 = phi2 and where phi1 and phi2 are 0 or pi.
The length is that of the path of (phi1, phi2).

Source: Marsden, Montgomery, Ratiu, *Reduction, Symmetry, and Phases in Mechanics*, Memoirs AMS 436
(1990); Montgomery, *Fields Institute Communications* 1 (1993) 193, on the falling cat.
"""

from __future__ import annotations

from typing import Any

from casadi import cos

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth(("pi/2", 0, 0), (2, 3), source="exact brackets"),
    Truth((0, 0, 0), (2, 2, 3), source="the curvature vanishes to first order; exact brackets"),
    Truth(("pi/2", "pi/2", 1), (2, 2, 3), source="on phi1 = phi2; exact brackets"),
)


def planar_skater() -> Structure:
    """Planar skater: three hinged rods in free fall, with zero angular momentum.

    Returns
    -------
    Structure
        Coordinates ``phi1 phi2 theta``, all periodic; the controls turn the joints.

    Examples
    --------
    >>> planar_skater().velocity([0, 0, 0], [1, 1])
    array([ 1.        ,  1.        , -0.51851852])
    """

    def frame(q: Any) -> list[tuple[Any, ...]]:
        between = cos(q.phi1 - q.phi2)
        first = 3 + 3 * cos(q.phi1) + between
        second = 3 + 3 * cos(q.phi2) + between
        inertia = 1 + 2 * (first + second - between)
        return [(1, 0, -first / inertia), (0, 1, -second / inertia)]

    return Structure.define(
        "planar_skater", "phi1 phi2 theta", frame, periodic=("phi1", "phi2", "theta")
    )
