"""An involutive distribution: motion stays on a saddle.

    f_1 = d_x + y d_z,   f_2 = d_y + x d_z,   [f_1, f_2] = 0.

The leaves are the surfaces z - x y = const, and nothing outside one's own can be reached: the
counterpart to `heisenberg`, whose fields differ from these in one sign.

Source: Frobenius' theorem, as in Warner, *Foundations of Differentiable Manifolds and Lie Groups*
(1983), section 1.60.
"""

from __future__ import annotations

from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((1, 2, 3), (2,), False, source="[f_1, f_2] = 0"),
    Truth((0, 0, 0), (2,), False, source="[f_1, f_2] = 0"),
)


def integrable_saddle() -> Structure:
    """Involutive distribution with the leaves z - x y = const: not bracket-generating.

    Returns
    -------
    Structure
        Coordinates ``x y z``.

    Examples
    --------
    >>> integrable_saddle()
    Structure integrable_saddle: 3 coordinates (x, y, z), 2 fields
    """
    return Structure.define("integrable_saddle", "x y z", lambda q: [(1, 0, q.y), (0, 1, q.x)])
