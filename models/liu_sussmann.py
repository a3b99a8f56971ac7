"""The example of Liu and Sussmann: a strictly abnormal minimizer.

    f_1 = d_x,   f_2 = (1 - x) d_y + x^2 d_z.

On the planes x = 0 and x = 2, where det(f_1, f_2, [f_1, f_2]) = x (2 - x) vanishes, the growth
vector is (2, 2, 3), elsewhere (2, 3). The line x = z = 0 is abnormal and not normal, and its short
pieces are the only shortest paths between their ends.

Source: Liu, Sussmann, *Shortest paths for sub-Riemannian metrics on rank-two distributions*,
Memoirs of the AMS 564 (1995).
"""

from __future__ import annotations

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0), (2, 2, 3), source="Liu, Sussmann 1995"),
    Truth((1, 0, 0), (2, 3), source="det(f_1, f_2, [f_1, f_2]) = x (2 - x)"),
    Truth((2, 0, 0), (2, 2, 3), source="the determinant x (2 - x) has a simple zero"),
)


def liu_sussmann() -> Structure:
    """Liu-Sussmann example: a line that is the shortest path and not a normal geodesic.

    Returns
    -------
    Structure
        Coordinates ``x y z``.

    Examples
    --------
    >>> liu_sussmann()
    Structure liu_sussmann: 3 coordinates (x, y, z), 2 fields
    """
    return Structure.define("liu_sussmann", "x y z", lambda q: [(1, 0, 0), (0, 1 - q.x, q.x**2)])
