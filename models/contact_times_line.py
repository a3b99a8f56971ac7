"""The Heisenberg group times a line along which nothing moves.

    f_1 = d_x - y/2 d_z,   f_2 = d_y + x/2 d_z;   w' = 0.

The flag closes at dimension 3 of 4: each orbit is a Heisenberg group w = const.

Source: the orbit theorem, as in Agrachev, Sachkov, *Control Theory from the Geometric Viewpoint*
(2004), chapter 5.
"""

from __future__ import annotations

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0), (2, 3), False, source="[f_1, f_2] = d_z, which commutes with both"),
    Truth((1, -2, 3, "1/2"), (2, 3), False, source="invariant under translations of its orbit"),
)


def contact_times_line() -> Structure:
    """Heisenberg group times a line at rest: not bracket-generating, orbits of dimension 3.

    Returns
    -------
    Structure
        Coordinates ``x y z w``.

    Examples
    --------
    >>> contact_times_line()
    Structure contact_times_line: 4 coordinates (x, y, z, w), 2 fields
    """
    return Structure.define(
        "contact_times_line",
        "x y z w",
        lambda q: [(1, 0, -q.y / 2, 0), (0, 1, q.x / 2, 0)],
    )
