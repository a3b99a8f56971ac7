"""Embedded explicit Runge-Kutta pairs, and one step of one on parameter space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from subriem.network import Linearization

__all__ = ["BOGACKI_SHAMPINE", "DORMAND_PRINCE", "Attempt", "Tableau", "tableau_for", "try_step"]


@dataclass(frozen=True)
class Tableau:
    """An embedded pair whose last stage sits at the new point (first same as last).

    Parameters
    ----------
    name : str
    order : int
        Of the solution that is carried on.
    nodes : tuple of float
        c_i of the stages.
    stages : tuple of tuple of float
        a_ij; the last row holds the weights of the solution.
    error : tuple of float
        Weights of the error estimate.
    """

    name: str
    order: int
    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]


#: Bogacki, Shampine, Appl. Math. Lett. 2 (1989) 321-325.
BOGACKI_SHAMPINE = Tableau(
    name="Bogacki-Shampine 3(2)",
    order=3,
    nodes=(0.0, 1 / 2, 3 / 4, 1.0),
    stages=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    error=(-5 / 72, 1 / 12, 1 / 9, -1 / 8),
)

#: Dormand, Prince, J. Comput. Appl. Math. 6 (1980) 19-26.
DORMAND_PRINCE = Tableau(
    name="Dormand-Prince 5(4)",
    order=5,
    nodes=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    stages=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)


def tableau_for(rtol: float) -> Tableau:
    """The pair that needs fewer stages in all for a relative tolerance.

    Parameters
    ----------
    rtol : float

    Returns
    -------
    Tableau
    """
    return BOGACKI_SHAMPINE if rtol > 1e-4 else DORMAND_PRINCE


@dataclass(frozen=True)
class Attempt:
    """What the stages of one step gave.

    Attributes
    ----------
    at : Linearization
        The new point.
    error : float
        Estimate of the local error of the parameters, |.| in R^K.
    length : float
        Euclidean length of the step, by the pair's own quadrature.
    """

    at: Linearization
    error: float
    length: float


def try_step(
    table: Tableau,
    field: Callable[[Linearization, float], torch.Tensor | None],
    at: Linearization,
    slope: torch.Tensor,
    h: float,
) -> Attempt | None:
    """Evaluate the stages of one step of theta' = field(theta, c).

    Parameters
    ----------
    table : Tableau
    field : callable
        (point, node c in [0, 1]) -> velocity of shape (K,), or None where there is none.
    at : Linearization
        The point to step from.
    slope : Tensor, shape (K,)
        The velocity there.
    h : float

    Returns
    -------
    Attempt or None
        None where the outputs are not finite or a stage has no velocity.
    """
    slopes = [slope]
    point = at
    for node, row in zip(table.nodes[1:], table.stages[1:], strict=True):
        moved = torch.stack([a * k for a, k in zip(row, slopes, strict=True) if a]).sum(0)
        point = at.outputs.linearize(at.parameters + h * moved)
        if not bool(torch.isfinite(point.value).all()):
            return None
        following = field(point, node)
        if following is None:
            return None
        slopes.append(following)
    speeds = [float(torch.linalg.vector_norm(k)) for k in slopes]
    length = h * sum(b * s for b, s in zip(table.stages[-1], speeds, strict=False))
    estimate = torch.stack([e * k for e, k in zip(table.error, slopes, strict=True)]).sum(0)
    return Attempt(point, h * float(torch.linalg.vector_norm(estimate)), length)
