"""The Engel group.

    f_1 = d_x,   f_2 = d_y + x d_z + x^2/2 d_w,
    [f_1, f_2] = d_z + x d_w,   [f_1, [f_1, f_2]] = d_w.

The Carnot group of step 3 in dimension 4. The integral curves of f_2 are abnormal.

Source: Ardentov, Sachkov, *Sbornik: Mathematics* 202 (2011) 1593, in another gauge.
"""

from __future__ import annotations

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0), (2, 3, 4), source="classical"),
    Truth((1, -2, 3, "1/2"), (2, 3, 4), source="left-invariant: as at the origin"),
)


def engel() -> Structure:
    """Engel group: the smallest Carnot group of step 3.

    Returns
    -------
    Structure
        Coordinates ``x y z w``.

    Examples
    --------
    >>> engel()
    Structure engel: 4 coordinates (x, y, z, w), 2 fields
    """
    return Structure.define(
        "engel",
        "x y z w",
        lambda q: [(1, 0, 0, 0), (0, 1, q.x, q.x**2 / 2)],
        symmetries={
            "mirror x": lambda q: (-q.x, q.y, -q.z, q.w),
            "mirror y": lambda q: (q.x, -q.y, -q.z, -q.w),
            "shift x": lambda q, s: (
                q.x + s,
                q.y,
                q.z + s * q.y,
                q.w + s * q.z + s**2 * q.y / 2,
            ),
            "shift y": lambda q, s: (q.x, q.y + s, q.z, q.w),
            "shift z": lambda q, s: (q.x, q.y, q.z + s, q.w),
            "shift w": lambda q, s: (q.x, q.y, q.z, q.w + s),
        },
    )
