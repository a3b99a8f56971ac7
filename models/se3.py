"""A rigid body that moves along and turns about some of its axes: SE(3) by Gibbs vectors.

    p' = R(g) v,   g' = (w + g x w + (g.w) g) / 2,

with p the position, g the Gibbs vector of the attitude R(g) as in `so3`, and v and w the velocity
and angular velocity in the body, of which some components are controls. An underwater vehicle that
surges (v1), pitches (w2) and yaws (w3) reaches every position and attitude. Left-invariant, so that
the growth vector is the same everywhere. The length weighs one unit of way as one radian.

Source: Leonard, Krishnaprasad, *IEEE Trans. Automat. Control* 40 (1995) 1539.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subriem.models.so3 import body_rates

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0,) * 6, (3, 6), source="exact brackets in the Lie algebra se(3)"),
    Truth(
        (1, 2, 3, "1/2", "-1/3", "1/5"),
        (3, 5, 6),
        arguments={"controls": ("w1", "w2", "v1")},
        source="exact brackets in the Lie algebra se(3)",
    ),
    Truth(
        (0,) * 6,
        (2, 3),
        False,
        {"controls": ("w2", "v1")},
        "pitch and surge stay in a plane: SE(2) inside SE(3)",
    ),
)

CONTROLS = ("w1", "w2", "w3", "v1", "v2", "v3")


def rotation(g: Sequence[Any]) -> list[list[Any]]:
    """The rotation matrix of a Gibbs vector.

    Parameters
    ----------
    g : sequence of three numbers or expressions

    Returns
    -------
    list of three rows

    Examples
    --------
    >>> rotation((0, 0, 1))
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    a, b, c = g
    scale = 1 + a * a + b * b + c * c
    rows = [
        [1 + a * a - b * b - c * c, 2 * (a * b - c), 2 * (a * c + b)],
        [2 * (a * b + c), 1 - a * a + b * b - c * c, 2 * (b * c - a)],
        [2 * (a * c - b), 2 * (b * c + a), 1 - a * a - b * b + c * c],
    ]
    return [[entry / scale for entry in row] for row in rows]


def se3(controls: Sequence[str] = ("w2", "w3", "v1")) -> Structure:
    """Rigid body in space that turns about and moves along some of its axes, on SE(3).

    Parameters
    ----------
    controls : sequence of str
        Which of the angular velocities ``w1``, ``w2``, ``w3`` and velocities ``v1``, ``v2``,
        ``v3`` in the body are controls.

    Returns
    -------
    Structure
        Coordinates ``px py pz`` (position) and ``g1 g2 g3`` (Gibbs vector); fields named as the
        controls.

    Raises
    ------
    InputError
        If there is no control, one is unknown, or one is named twice.

    Examples
    --------
    >>> se3().velocity([0, 0, 0, 0, 0, 1], [0, 0, 1])
    array([0., 1., 0., 0., 0., 0.])
    """
    chosen = list(controls)
    if not chosen or len(set(chosen)) != len(chosen) or set(chosen) - set(CONTROLS):
        raise InputError(
            f"se3: expected different controls among {', '.join(CONTROLS)}, got {controls!r}"
        )

    def frame(q: Any) -> list[tuple[Any, ...]]:
        g = (q.g1, q.g2, q.g3)
        fields = {name: (0, 0, 0, *rate) for name, rate in body_rates(g).items()}
        for k, axis in enumerate(zip(*rotation(g), strict=True), start=1):
            fields[f"v{k}"] = (*axis, 0, 0, 0)
        return [fields[name] for name in chosen]

    return Structure.define(
        f"se3({', '.join(chosen)})", "px py pz g1 g2 g3", frame, field_names=chosen
    )
