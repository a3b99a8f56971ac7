"""The Hopf distribution on the spheres S^3, written in the ambient space of quaternions.

    f_1 = q i / 2,   f_2 = q j / 2,   [f_1, f_2] = q k / 2,   q = a + b i + c j + d k.

Orthogonal to the fibres of the Hopf map and to the radius: |q| is conserved, and each sphere is an
orbit. On |q| = 1, q is the attitude of a rigid body that turns about two of its axes, as in `so3`.

Source: Boscain, Rossi, *SIAM J. Control Optim.* 47 (2008) 1851.
"""

from __future__ import annotations

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((1, 0, 0, 0), (2, 3), False, source="rank 3 of 4: |q|^2 is conserved"),
    Truth((1, -2, 0, "1/2"), (2, 3), False, source="left-invariant: as at 1"),
    Truth((0, 0, 0, 0), (0,), False, source="all fields vanish"),
)


def hopf() -> Structure:
    """Hopf distribution on the spheres of R^4: not bracket-generating, |q| is conserved.

    Returns
    -------
    Structure
        Coordinates ``a b c d`` of a quaternion.

    Examples
    --------
    >>> hopf().velocity([1, 0, 0, 0], [2, 4])
    array([0., 1., 2., 0.])
    """
    return Structure.define(
        "hopf",
        "a b c d",
        lambda q: [
            (-q.b / 2, q.a / 2, q.d / 2, -q.c / 2),
            (-q.c / 2, -q.d / 2, q.a / 2, q.b / 2),
        ],
    )
