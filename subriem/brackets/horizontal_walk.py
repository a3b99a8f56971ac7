"""Walks along gradient fields of a network, with the covectors they carry.

A walk is made of legs; on each, theta' = grad f(theta) for one weighted sum f of outputs. The flow
phi of a leg acts on covectors by p' = -(d^2 f) p, so that <p(t), h(theta(t))> = <p(0), phi^* h>:
the pull-back of a field is read off without forming d phi^-1.

Steps are taken by extrapolating the explicit midpoint rule (Gragg, Bulirsch, Stoer), of order 12.
Their sizes are chosen for theta alone, which costs little beside the covectors, and serve both.

Source: Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, II.9.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from subriem.network.potential import OutputPotential

__all__ = ["Leg", "carry", "plan_leg"]

_SUBSTEPS = (2, 4, 6, 8, 10, 12)
# A fast motion is not followed to its end.
_MOST_STEPS = 3
# A step this much shorter than one before it means that the field is not smooth there.
_COLLAPSED = 1e-3
_SHORTENED = 12
# What <p, grad f> may vary by, relatively: far above the errors, far below what a kink does.
_CONSTANT = 1e-8


@dataclass(frozen=True)
class Leg:
    """A leg and the steps that keep theta within tolerance on it.

    Attributes
    ----------
    potential : OutputPotential
    steps : tuple of float
        Sizes, in the leg's time.
    kink : bool
        Whether it was shortened, as the field ceased to be smooth further on.
    """

    potential: OutputPotential
    steps: tuple[float, ...]
    kink: bool


def _extrapolate(table: list[torch.Tensor], value: torch.Tensor) -> list[torch.Tensor]:
    """The next row of a table of values at smaller and smaller steps, even in the steps."""
    row = [value]
    level = len(table)
    for back in range(level):
        ratio = (_SUBSTEPS[level] / _SUBSTEPS[level - 1 - back]) ** 2 - 1
        row.append(row[back] + (row[back] - table[back]) / ratio)
    return row


def _step(
    potential: OutputPotential, theta: torch.Tensor, size: float
) -> tuple[torch.Tensor, float]:
    """One step of theta alone, and an estimate of its error."""
    start = potential.gradient(theta)
    moved: list[torch.Tensor] = []
    for count in _SUBSTEPS:
        h = size / count
        before, now = torch.zeros_like(theta), h * start
        for _ in range(count - 1):
            before, now = now, before + 2 * h * potential.gradient(theta + now)
        last = moved
        moved = _extrapolate(moved, now)
    return theta + moved[-1], float(torch.linalg.vector_norm(moved[-1] - last[-1]))


def _carry_step(
    potential: OutputPotential, theta: torch.Tensor, covectors: torch.Tensor, size: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same step of theta, with covectors."""
    start, rows = potential.gradient_and_hessian_rows(theta, covectors)
    # Increments are extrapolated, not states: rounding is then relative to the increment.
    moved: list[torch.Tensor] = []
    carried: list[torch.Tensor] = []
    for count in _SUBSTEPS:
        h = size / count
        before, now = torch.zeros_like(theta), h * start
        old, new = torch.zeros_like(covectors), -h * rows
        for _ in range(count - 1):
            slope, push = potential.gradient_and_hessian_rows(theta + now, covectors + new)
            before, now = now, before + 2 * h * slope
            old, new = new, old - 2 * h * push
        moved = _extrapolate(moved, now)
        carried = _extrapolate(carried, new)
    return theta + moved[-1], covectors + carried[-1]


def plan_leg(
    potential: OutputPotential,
    theta: torch.Tensor,
    covectors: torch.Tensor,
    duration: float,
    tolerance: float,
) -> tuple[Leg, torch.Tensor, torch.Tensor]:
    """Choose the steps of a leg, shortened where the field has a kink on the way, and try it.

    The flow of a field maps the field to itself, so that <p, grad f> is constant. Across a kink it
    jumps unless the covector is corrected there, which no Hessian tells: so kinks are found.

    Parameters
    ----------
    potential : OutputPotential
    theta : Tensor, shape (K,)
    covectors : Tensor, shape (R, K)
        A few, to try with.
    duration : float
        Asked for; fast motions are left before.
    tolerance : float
        Error of theta allowed on the leg, relative to its norm.

    Returns
    -------
    leg : Leg
        Without steps, where even a short one has a kink.
    theta, covectors : Tensor
        At its end, by other steps than `carry` takes: what comes out differently is the error.
    """
    kink = False
    for _ in range(_SHORTENED):
        steps, smooth = _steps(potential, theta, duration, tolerance)
        if smooth:
            leg = Leg(potential, steps, kink)
            shifted = [(a + b) / 2 for a, b in itertools.pairwise((0.0, *steps, 0.0))]
            start = potential.gradient(theta)
            end, carried = carry(Leg(potential, (*shifted,), kink), theta, covectors)
            stop = potential.gradient(end)
            size = torch.linalg.vector_norm(carried, dim=1).max() * torch.linalg.vector_norm(stop)
            if bool((carried @ stop - covectors @ start).abs().max() <= _CONSTANT * size):
                return leg, end, carried
        kink = True
        duration = 0.5 * sum(steps)
        if not duration > 0:
            break
    return Leg(potential, (), True), theta, covectors


def _steps(
    potential: OutputPotential, theta: torch.Tensor, duration: float, tolerance: float
) -> tuple[tuple[float, ...], bool]:
    """Steps that keep theta within tolerance, and whether they met no kink."""
    allowed = tolerance * (float(torch.linalg.vector_norm(theta)) or 1.0)
    order = 2 * len(_SUBSTEPS) - 1
    done, size = 0.0, duration / 2
    steps: list[float] = []
    while duration - done > 1e-12 * duration and len(steps) < _MOST_STEPS:
        size = min(size, duration - done)
        trial, error = _step(potential, theta, size)
        ratio = error / (allowed * size / duration)
        if ratio <= 1:
            theta, done = trial, done + size
            steps.append(size)
        factor = 0.85 * max(ratio, 1e-12) ** (-1 / order) if math.isfinite(ratio) else 0.1
        size *= min(3.0, max(0.1, factor))
        if size < _COLLAPSED * (max(steps) if steps else _COLLAPSED * duration):
            return tuple(steps), False
    return tuple(steps), True


def carry(
    leg: Leg, theta: torch.Tensor, covectors: torch.Tensor, chunk: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    """Follow a leg with covectors.

    Parameters
    ----------
    leg : Leg
    theta : Tensor, shape (K,)
    covectors : Tensor, shape (R, K)
    chunk : int
        How many covectors are in work at a time.

    Returns
    -------
    theta : Tensor, shape (K,)
    covectors : Tensor, shape (R, K)
    """
    carried = []
    end = theta
    for part in torch.split(covectors, chunk):
        end = theta
        for size in leg.steps:
            end, part = _carry_step(leg.potential, end, part, size)
        carried.append(part)
    return end, torch.cat(carried)
