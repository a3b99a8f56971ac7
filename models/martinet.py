"""The Martinet distribution, flat or with a perturbed metric.

    f_1 = d_x,   f_2 = (1 + beta x) (d_y + x^2/2 d_z).

The kernel of dz - x^2/2 dy. On the plane x = 0 the growth vector is (2, 2, 3), off it (2, 3), and
the lines x = 0, z = const are abnormal. In the flat metric, beta = 0, they are normal geodesics as
well; for every other beta, which leaves the distribution as it is, they are strictly abnormal.

Source: Montgomery, *SIAM J. Control Optim.* 32 (1994) 1605; Agrachev, Bonnard, Chyba, Kupka,
*ESAIM COCV* 2 (1997) 377.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0), (2, 2, 3), source="classical"),
    Truth((0, -3, "7/2"), (2, 2, 3), source="classical"),
    Truth(("1/100000000", 0, 0), (2, 3), source="det(f_1, f_2, [f_1, f_2]) = x"),
    Truth((0, 0, 0), (2, 2, 3), arguments={"perturbation": 1}, source="as in the flat metric"),
)


def martinet(perturbation: float = 0.0) -> Structure:
    """Martinet distribution, where abnormal geodesics appear; flat or perturbed metric.

    Parameters
    ----------
    perturbation : float
        beta; where it is not zero, it is also a parameter of the structure.

    Returns
    -------
    Structure
        Coordinates ``x y z``; the chart of a perturbed metric is 1 + beta x > 0.

    Raises
    ------
    InputError
        If the perturbation is not finite.

    Examples
    --------
    >>> martinet()
    Structure martinet: 3 coordinates (x, y, z), 2 fields
    >>> martinet(perturbation=1).velocity([2, 0, 0], [0, 1])
    array([0., 3., 6.])
    """
    if not math.isfinite(perturbation):
        raise InputError(f"martinet: expected a finite perturbation, got {perturbation!r}")
    symmetries: dict[str, Callable[..., Any]] = {
        "mirror y": lambda q: (q.x, -q.y, -q.z),
        "shift y": lambda q, s: (q.x, q.y + s, q.z),
        "shift z": lambda q, s: (q.x, q.y, q.z + s),
    }
    if perturbation == 0:
        return Structure.define(
            "martinet",
            "x y z",
            lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)],
            symmetries={**symmetries, "mirror x": lambda q: (-q.x, q.y, q.z)},
        )

    def frame(q: Any, p: Any) -> list[tuple[Any, ...]]:
        factor = 1 + p.perturbation * q.x
        return [(1, 0, 0), (0, factor, factor * q.x**2 / 2)]

    return Structure.define(
        "martinet, perturbed",
        "x y z",
        frame,
        parameters={"perturbation": perturbation},
        domain=lambda q, p: 1 + p.perturbation * q.x,
        symmetries=symmetries,
    )
