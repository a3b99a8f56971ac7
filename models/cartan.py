"""The Cartan group: the flat distribution with growth vector (2, 3, 5).

    f_1 = d_1,   f_2 = d_2 + x_1 d_3 + x_1^2/2 d_4 + x_1 x_2 d_5.

Free nilpotent of rank 2 and step 3, in polynomial coordinates; its symmetry algebra is the split
real form of G_2.

Source: Cartan, *Ann. Sci. ENS* 27 (1910) 109; Sachkov, *Sbornik: Mathematics* 194 (2003) 1331.
"""

from __future__ import annotations

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0, 0, 0), (2, 3, 5), source="Cartan 1910"),
    Truth((1, -2, 3, "1/2", 4), (2, 3, 5), source="left-invariant: as at the origin"),
)


def cartan() -> Structure:
    """Cartan group: the flat (2, 3, 5) distribution.

    Returns
    -------
    Structure
        Coordinates ``x1 ... x5``.

    Examples
    --------
    >>> cartan()
    Structure cartan: 5 coordinates (x1, x2, x3, x4, x5), 2 fields
    """
    return Structure.define(
        "cartan",
        "x1 x2 x3 x4 x5",
        lambda q: [(1, 0, 0, 0, 0), (0, 1, q.x1, q.x1**2 / 2, q.x1 * q.x2)],
        symmetries={
            "mirror x1": lambda q: (-q.x1, q.x2, -q.x3, q.x4, -q.x5),
            "mirror x2": lambda q: (q.x1, -q.x2, -q.x3, -q.x4, q.x5),
            "shift x1": lambda q, s: (
                q.x1 + s,
                q.x2,
                q.x3 + s * q.x2,
                q.x4 + s * q.x3 + s**2 * q.x2 / 2,
                q.x5 + s * q.x2**2 / 2,
            ),
            "shift x2": lambda q, s: (q.x1, q.x2 + s, q.x3, q.x4, q.x5 + s * q.x3),
            "shift x3": lambda q, s: (q.x1, q.x2, q.x3 + s, q.x4, q.x5),
            "shift x4": lambda q, s: (q.x1, q.x2, q.x3, q.x4 + s, q.x5),
            "shift x5": lambda q, s: (q.x1, q.x2, q.x3, q.x4, q.x5 + s),
        },
    )
