"""The Heisenberg group H_n, in the symmetric gauge.

    f_{2i-1} = d_{x_i} - y_i/2 d_z,   f_{2i} = d_{y_i} + x_i/2 d_z,   [f_{2i-1}, f_{2i}] = d_z.

A horizontal curve lifts a curve of R^{2n}; z gains the sum of the areas that its projections to
the planes (x_i, y_i) sweep about the origin. Left-invariant and contact, so that the growth vector
is the same at every point.

Source: Montgomery, *A Tour of Subriemannian Geometries* (2002), chapter 1.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from casadi import cos, sin

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0), (2, 3), source="classical"),
    Truth(("1/2", -2, 3), (2, 3), source="left-invariant: as at the origin"),
    Truth((0,) * 7, (6, 7), arguments={"n": 3}, source="classical"),
)


def heisenberg(n: int = 1) -> Structure:
    """Heisenberg group H_n: curves of R^(2n) with the area that they sweep.

    Parameters
    ----------
    n : int
        Number of planes; the state space is R^(2n+1).

    Returns
    -------
    Structure
        Coordinates ``x y z`` for n = 1, else ``x1 y1 ... xn yn z``.

    Raises
    ------
    InputError
        If n is not a positive integer.

    Examples
    --------
    >>> heisenberg()
    Structure heisenberg: 3 coordinates (x, y, z), 2 fields
    >>> heisenberg(2)
    Structure heisenberg(2): 5 coordinates (x1, y1, x2, y2, z), 4 fields
    """
    if not isinstance(n, Integral) or n < 1:
        raise InputError(f"heisenberg: expected an integer n >= 1, got {n!r}")
    suffixes = [""] if n == 1 else [str(i) for i in range(1, n + 1)]
    names = [axis + suffix for suffix in suffixes for axis in "xy"]

    def frame(q: Any) -> list[list[Any]]:
        fields = []
        for k in range(2 * n):
            field = [0] * (2 * n + 1)
            field[k] = 1
            field[-1] = -q[k + 1] / 2 if k % 2 == 0 else q[k - 1] / 2
            fields.append(field)
        return fields

    return Structure.define(
        "heisenberg" if n == 1 else f"heisenberg({n})",
        [*names, "z"],
        frame,
        symmetries=_symmetries(n),
    )


def _symmetries(n: int) -> dict[str, Callable[..., Any]]:
    """Turns of each plane, left translations, and a reflection."""
    found: dict[str, Callable[..., Any]] = {}
    for i in range(0, 2 * n, 2):

        def turn(q: Any, s: Any, i: int = i) -> list[Any]:
            image = list(q)
            image[i] = cos(s) * q[i] - sin(s) * q[i + 1]
            image[i + 1] = sin(s) * q[i] + cos(s) * q[i + 1]
            return image

        found[f"turn {i // 2 + 1}"] = turn
    for k in range(2 * n + 1):

        def shift(q: Any, s: Any, k: int = k) -> list[Any]:
            image = list(q)
            image[k] = q[k] + s
            if k < 2 * n:
                image[-1] = q[-1] + (s * q[k + 1] if k % 2 == 0 else -s * q[k - 1]) / 2
            return image

        found[f"shift {k + 1}"] = shift
    # each y_i, and the area with them
    found["mirror"] = lambda q: [
        -value if k % 2 or k == 2 * n else value for k, value in enumerate(q)
    ]
    return found
