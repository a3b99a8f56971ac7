"""The Grushin plane and its higher relatives.

    f_1 = d_x,   f_2 = x^alpha d_y.

Riemannian off the line x = 0. On it f_2 vanishes, and alpha brackets with f_1 are needed to move
along it: the growth vector is (1, ..., 1, 2) with alpha ones.

Source: Grushin, *Math. USSR Sbornik* 12 (1970) 458; Agrachev, Boscain, Sigalotti, *Discrete
Contin. Dyn. Syst.* 20 (2008) 801.
"""

from __future__ import annotations

from numbers import Integral

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0), (1, 2), source="classical"),
    Truth(("1/2", 3), (2,), source="classical"),
    Truth((0, 5), (1, 1, 2), arguments={"alpha": 2}, source="classical"),
    Truth((0, 0), (1, 1, 1, 2), arguments={"alpha": 3}, source="(ad f_1)^3 f_2 = 6 d_y, by hand"),
    Truth((-1, 0), (2,), arguments={"alpha": 3}, source="f_1 and f_2 are independent off x = 0"),
)


def grushin(alpha: int = 1) -> Structure:
    """Grushin plane: f_2 = x^alpha d_y loses its rank on the line x = 0.

    Parameters
    ----------
    alpha : int
        Order of the zero of f_2.

    Returns
    -------
    Structure
        Coordinates ``x y``.

    Raises
    ------
    InputError
        If alpha is not a positive integer.

    Examples
    --------
    >>> grushin()
    Structure grushin: 2 coordinates (x, y), 2 fields
    >>> grushin(3).velocity([2, 0], [0, 1])
    array([0., 8.])
    """
    if not isinstance(alpha, Integral) or alpha < 1:
        raise InputError(f"grushin: expected an integer alpha >= 1, got {alpha!r}")
    name = "grushin" if alpha == 1 else f"grushin(alpha={alpha})"
    return Structure.define(
        name,
        "x y",
        lambda q: [(1, 0), (0, q.x ** int(alpha))],
        symmetries={
            "mirror x": lambda q: (-q.x, q.y),
            "mirror y": lambda q: (q.x, -q.y),
            "shift y": lambda q, s: (q.x, q.y + s),
        },
    )
