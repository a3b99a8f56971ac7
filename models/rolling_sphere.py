"""A sphere that rolls on a plane without slipping or spinning, its attitude by a Gibbs vector.

    x' = u_1,   y' = u_2,   g' = (w - g x w + (g.w) g) / 2,   w = (-u_2, u_1, 0) / radius.

(x, y) is the point of contact, and R(g) the attitude of the sphere as in `so3`, with R' = hat(w) R:
w is the angular velocity in space, and the point of contact is at rest, w x radius e_3 = (u, 0).
The length is that of the path of contact; shortest motions roll along Euler's elasticae. The chart
is R^5, all attitudes but the half-turns; `ball_plate` has the same system in other coordinates.

Source: Jurdjevic, *Arch. Rational Mech. Anal.* 124 (1993) 305; Arthurs, Walsh, *J. London Math.
Soc.* 33 (1986).
"""

from __future__ import annotations

import math
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0, 0), (2, 3, 5), source="Jurdjevic 1993"),
    Truth((1, 2, "1/2", "-1/3", "1/5"), (2, 3, 5), source="Jurdjevic 1993"),
)


def rolling_sphere(radius: float = 1.0) -> Structure:
    """Sphere that rolls on a plane without slipping or spinning.

    Parameters
    ----------
    radius : float
        In the unit of x and y; a parameter.

    Returns
    -------
    Structure
        Coordinates ``x y g1 g2 g3``.

    Raises
    ------
    InputError
        If the radius is not positive and finite.

    Examples
    --------
    >>> rolling_sphere()
    Structure rolling_sphere: 5 coordinates (x, y, g1, g2, g3), 2 fields; radius=1
    """
    if not 0 < radius < math.inf:
        raise InputError(f"rolling_sphere: expected a positive radius, got {radius!r}")

    def frame(q: Any, p: Any) -> list[tuple[Any, ...]]:
        a, b, c, twice = q.g1, q.g2, q.g3, 2 * p.radius
        return [
            (1, 0, (a * b + c) / twice, (1 + b * b) / twice, (b * c - a) / twice),
            (0, 1, -(1 + a * a) / twice, (c - a * b) / twice, -(a * c + b) / twice),
        ]

    return Structure.define("rolling_sphere", "x y g1 g2 g3", frame, parameters={"radius": radius})
