"""The attitude of a rigid body that turns about some of its axes: SO(3) by Gibbs vectors.

    g' = (w + g x w + (g.w) g) / 2,   that is R' = R hat(w),

with w the angular velocity in the body, of which some components are controls, and R(g) the
rotation about g by the angle 2 arctan |g|. The chart is R^3, all rotations but the half-turns.

Source: Shuster, *J. Astronautical Sciences* 41 (1993) 439, for the attitude kinematics; Agrachev,
Barilari, Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry* (2020), chapter 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0, 0), (2, 3), source="classical"),
    Truth(("1/2", "-1/3", "1/5"), (2, 3), source="classical"),
    Truth((0, 0, 0), (3,), arguments={"controls": ("w1", "w2", "w3")}, source="all directions"),
    Truth((0, 0, 0), (1,), False, {"controls": ("w3",)}, "a single field"),
)


def body_rates(g: Sequence[Any]) -> dict[str, tuple[Any, Any, Any]]:
    """The fields of Gibbs vectors that turn at unit rate about one axis of the body.

    Parameters
    ----------
    g : sequence of three numbers or expressions

    Returns
    -------
    dict
        ``w1``, ``w2``, ``w3`` to g'.

    Examples
    --------
    >>> body_rates((0, 0, 0))["w2"]
    (0.0, 0.5, 0.0)
    """
    a, b, c = g
    return {
        "w1": ((1 + a * a) / 2, (a * b + c) / 2, (a * c - b) / 2),
        "w2": ((a * b - c) / 2, (1 + b * b) / 2, (b * c + a) / 2),
        "w3": ((a * c + b) / 2, (b * c - a) / 2, (1 + c * c) / 2),
    }


def so3(controls: Sequence[str] = ("w1", "w2")) -> Structure:
    """Rigid body that turns about some of its axes, on SO(3).

    Parameters
    ----------
    controls : sequence of str
        Which of the angular velocities ``w1``, ``w2``, ``w3`` in the body are controls.

    Returns
    -------
    Structure
        Coordinates ``g1 g2 g3``, the Gibbs vector; fields named as the controls.

    Raises
    ------
    InputError
        If there is no control, one is unknown, or one is named twice.

    Examples
    --------
    >>> so3()
    Structure so3(w1, w2): 3 coordinates (g1, g2, g3), 2 fields
    """
    chosen = list(controls)
    if not chosen or len(set(chosen)) != len(chosen) or set(chosen) - {"w1", "w2", "w3"}:
        raise InputError(f"so3: expected different controls among w1, w2, w3, got {controls!r}")

    def frame(q: Any) -> list[tuple[Any, ...]]:
        rates = body_rates(tuple(q))
        return [rates[name] for name in chosen]

    return Structure.define(f"so3({', '.join(chosen)})", "g1 g2 g3", frame, field_names=chosen)
