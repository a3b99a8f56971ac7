"""The adapted flow where D lacks full row rank: theta' = -D+ grad_x C, x' = -P grad_x C.

The output path is not known in advance, because the projector P = D D+ turns with theta. The
flow is integrated in its own time by an embedded Runge-Kutta pair. It approaches equilibria with
C > 0 exponentially, at rates near 1/N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from subriem.factorization import SpectralFactor
from subriem.flows.losses import Loss
from subriem.flows.path_following import PathPoint
from subriem.flows.path_lift import PathLift
from subriem.flows.runge_kutta import tableau_for, try_step
from subriem.network import Linearization

__all__ = ["LOST_BELOW", "ProjectedFlow"]

#: A singular value that falls to this part of what it was counts as on its way to zero.
LOST_BELOW = 1e-4


class ProjectedFlow:
    """Iterate over the steps of the projected flow.

    Parameters
    ----------
    lift : PathLift
        With ``deficient=True``; its ``cutoff`` decides which directions count as lost.
    start : Linearization
    loss : Loss
    targets : Tensor, shape (NQ,)
    start_time, horizon : float
        In the flow's own time s.
    rtol : float
        Local error of the parameters allowed a step, relative to the length of the step: the sum
        of the errors is then at most rtol times the path length.
    times : sequence of float
        Times at which points are wanted besides the steps' own.
    stationarity : float
        Stop when |P grad_x C| falls below this part of |grad_x C| at the start.
    max_steps : int

    Attributes
    ----------
    outcome : str
        ``"running"``, ``"end"`` (the horizon), ``"equilibrium"``, ``"rank_loss"`` (the smallest
        singular value kept fell to 1e-4 of what it was at the start, or came near the cutoff),
        or ``"collapsed"`` (the steps went to zero or their budget was spent).
    residual : float
        |P grad_x C| over |grad_x C|_start at the last point.
    steps, rejected_steps : int
    """

    def __init__(
        self,
        lift: PathLift,
        start: Linearization,
        loss: Loss,
        targets: torch.Tensor,
        *,
        start_time: float,
        horizon: float,
        rtol: float,
        times: Sequence[float] = (),
        stationarity: float = 1e-8,
        max_steps: int = 2000,
    ) -> None:
        self.lift = lift
        self.loss = loss
        self.targets = targets
        self.start_time = start_time
        self.horizon = horizon
        self.rtol = rtol
        self.times = sorted(t for t in times if start_time < t < horizon)
        self.stationarity = stationarity
        self.max_steps = max_steps
        self.outcome = "running"
        self.residual = math.inf
        self.steps = 0
        self.rejected_steps = 0
        self._start = start
        self._tableau = tableau_for(rtol)
        self._eps = torch.finfo(start.outputs.dtype).eps

    def _gradient(self, at: Linearization) -> torch.Tensor:
        return self.loss.gradient(at.value, self.targets)

    def _velocity(self, at: Linearization, _: float = 0.0) -> torch.Tensor | None:
        velocity = -self.lift.velocity(at, self._gradient(at), 0.1 * self.rtol)
        return velocity if bool(torch.isfinite(velocity).all()) else None

    def _smallest(self, at: Linearization) -> float:
        """The smallest singular value kept, or infinity where there is none."""
        factor = self.lift.factor(at)
        if not isinstance(factor, SpectralFactor) or factor.rank == 0:
            return math.inf
        return float(factor.values[-1])

    def __iter__(self) -> Iterator[PathPoint]:
        """Yield the start, then every accepted step."""
        at, t = self._start, self.start_time
        length = error = 0.0
        scale = float(torch.linalg.vector_norm(self._gradient(at)))
        yield PathPoint(t, at, math.nan, error, length)
        order = self._tableau.order
        # Rates at the equilibrium are at most near 1/N, and the pairs stable up to h rate = 2.5.
        longest = float(self.loss.samples)
        step = 0.1 * longest
        slope = self._velocity(at)
        targets = [*self.times, self.horizon]
        level = self.loss.value(at.value, self.targets)
        # Before a value crosses the cutoff, in either direction, where the field would jump.
        smallest = self._smallest(at)
        lowest = max(LOST_BELOW * smallest, min(3.0 * (self.lift.cutoff or 0.0), 0.5 * smallest))
        while t < self.horizon:
            if self._smallest(at) < lowest:
                self.outcome = "rank_loss"
                return
            projected = self.lift.factor(at).project(self._gradient(at))
            self.residual = float(torch.linalg.vector_norm(projected)) / scale if scale else 0.0
            if self.residual <= self.stationarity:
                self.outcome = "equilibrium"
                return
            shortest = 1e-12 * max(longest, t)
            if slope is None or self.steps >= self.max_steps or step < shortest:
                self.outcome = "collapsed"
                return
            step = min(step, longest)
            target = next(time for time in targets if time > t)
            clipped = target - t <= step * (1 + 1e-9)
            h = target - t if clipped else step
            attempt = try_step(self._tableau, self._velocity, at, slope, h)
            if attempt is None:
                self.rejected_steps += 1
                step = h / 4
                continue
            rounding = 10 * self._eps * float(torch.linalg.vector_norm(at.parameters))
            ratio = attempt.error / max(self.rtol * attempt.length, rounding)
            growth = min(5.0, max(0.2, 0.9 * (ratio + 1e-12) ** (-1 / order)))
            value = self.loss.value(attempt.at.value, self.targets)
            # dC/ds = -|P g|^2 / N < 0: a step on which the loss rises is wrong, whatever the
            # estimate of its error says (it is one of the parameters).
            if ratio > 1.0 or value > level + 1e3 * self._eps * abs(level):
                self.rejected_steps += 1
                step = h * min(growth, 0.5)
                continue
            level = value
            self.steps += 1
            t = target if clipped else t + h
            at = attempt.at
            length += attempt.length
            error += attempt.error
            yield PathPoint(t, at, math.nan, error, length)
            step = max(h * growth, step if clipped else 0.0)
            slope = self._velocity(at)
        self.outcome = "end"
