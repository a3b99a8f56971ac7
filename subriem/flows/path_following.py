"""Horizontal path following: the lift of a known curve in output space.

The lift theta' = D+ c'(t) is integrated by an embedded Runge-Kutta pair, and after every step the
outputs are brought back onto the curve by a damped Newton iteration along the lift. The error in
output space is therefore measured, not estimated; the error along the fibre (of the parameters
over given outputs) is estimated by the embedded pair, controls the step, and is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from subriem.errors import NumericalError
from subriem.factorization import SpectralFactor, TriangularFactor
from subriem.flows.curves import Curve
from subriem.flows.path_lift import PathLift
from subriem.flows.runge_kutta import Attempt, tableau_for, try_step
from subriem.network import Linearization

__all__ = ["PathFollower", "PathPoint"]

# A component of the curve's velocity outside range D larger than this (relative) is a failure
# of the lift; below it, it is corrected like every other error of the step.
_OUTSIDE_RANGE = 1e-6
_CORRECTIONS = 8
_SMALLEST_STEP = 1e-11
# A step with an error estimate so far above what is allowed is not worth correcting, unless the
# step budget makes it final.
_HOPELESS = 50.0


@dataclass(frozen=True)
class PathPoint:
    """A point of the lifted path.

    Attributes
    ----------
    time : float
        The curve's own parameter t.
    at : Linearization
        The map at the point; ``at.parameters`` and ``at.value`` are theta and x.
    tracking_error : float
        |x - c(t)|, measured.
    parameter_error : float
        Sum of the local error estimates of theta so far.
    path_length : float
        Euclidean length of the path of parameters so far.
    """

    time: float
    at: Linearization
    tracking_error: float
    parameter_error: float
    path_length: float


@dataclass(frozen=True)
class _Step:
    """A step, its error over what is allowed, and the point after the correction."""

    attempt: Attempt
    ratio: float
    at: Linearization
    distance: float = math.inf


class PathFollower:
    """Iterate over the points of the horizontal lift of a curve.

    Parameters
    ----------
    lift : PathLift
    start : Linearization
        Where the path begins; its outputs should lie at ``curve.position(0)``.
    curve : Curve
    end : float
        Where to stop, in the curve's parameter.
    rtol : float
        Local error of the parameters allowed a step, relative to the path length so far.
    times : sequence of float, optional
        Where points are wanted besides the steps' own.
    max_steps : int
        Step budget. Where ``rtol`` would need more (a vector field with kinks), steps of an even
        share of what remains are accepted on their tracking error alone.
    toward : Tensor, shape (NQ,), optional
        For a segment under a rank-deficient D: the point y whose projected direction P (y - x)
        must stay the direction of the segment's end, as it does while P does not turn.

    Attributes
    ----------
    outcome : str
        ``"running"``, ``"end"``, ``"left_range"`` (at a point of the path the curve's velocity is
        not in range D), or ``"collapsed"`` (no step, however small, stays on the curve).
    loose_steps : int
        Steps accepted with a local error above ``rtol``.
    rejected_steps : int
    """

    def __init__(
        self,
        lift: PathLift,
        start: Linearization,
        curve: Curve,
        end: float,
        *,
        rtol: float,
        times: Sequence[float] = (),
        max_steps: int = 200,
        toward: torch.Tensor | None = None,
    ) -> None:
        self.lift = lift
        self.curve = curve
        self.end = end
        self.rtol = rtol
        self.times = sorted(t for t in times if 0.0 < t < end)
        self.max_steps = max_steps
        self.toward = toward
        self.outcome = "running"
        self.steps = 0
        self.loose_steps = 0
        self.rejected_steps = 0
        self._turned = False
        self._start = start
        self._tableau = tableau_for(rtol)
        self._eps = torch.finfo(start.outputs.dtype).eps

    def __iter__(self) -> Iterator[PathPoint]:
        """Yield the start, then every accepted step."""
        at, t = self._start, 0.0
        length = error = 0.0
        yield PathPoint(t, at, self._distance(at, t), error, length)
        order = self._tableau.order
        step = 0.5 * self.rtol ** (1 / order) * self.end
        targets = [*self.times, self.end]
        slope = self._velocity(at, t)
        failed = False
        while t < self.end:
            target = next(time for time in targets if time > t)
            share = self._share(t)
            step = min(step if failed else max(step, share), self.curve.longest_step(t))
            clipped = target - t <= step * (1 + 1e-9)
            h = target - t if clipped else step
            new_t = target if clipped else t + h
            tried = None if slope is None else self._try(at, t, h, new_t, slope, length)
            if tried is None:
                if slope is None or self._turned or h <= _SMALLEST_STEP * self.end:
                    left = slope is None or self._turned
                    self.outcome = "left_range" if left else "collapsed"
                    return
                self.rejected_steps += 1
                step, failed = h / 4, True
                continue
            growth = min(5.0, max(0.2, 0.9 * (tried.ratio + 1e-12) ** (-1 / order)))
            if tried.ratio > 1.0 and h > share:
                self.rejected_steps += 1
                step = max(h * growth, 0.9 * share)
                continue
            self.loose_steps += tried.ratio > 1.0
            self.steps += 1
            failed = False
            # Where the field has kinks the quadrature may fall short of the chord.
            chord = float(torch.linalg.vector_norm(tried.at.parameters - at.parameters))
            at.forget()
            at, t = tried.at, new_t
            length += max(tried.attempt.length, chord)
            error += tried.attempt.error
            yield PathPoint(t, at, tried.distance, error, length)
            step = max(h * growth, step if clipped else 0.0)
            if t < self.end:
                slope = self._velocity(at, t)
        self.outcome = "end"

    def _share(self, t: float) -> float:
        """An even share of what remains of the curve, by what remains of the step budget."""
        return (self.end - t) / max(1, self.max_steps - self.steps)

    def _distance(self, at: Linearization, t: float) -> float:
        return float(torch.linalg.vector_norm(self.curve.position(t) - at.value))

    def _velocity(self, at: Linearization, t: float) -> torch.Tensor | None:
        """D+ c'(t), or None where c'(t) is not in range D."""
        v = self.curve.velocity(t)
        velocity = self.lift.velocity(at, v, 0.1 * self.rtol)
        factor = at.__dict__.get("factor")
        if isinstance(factor, SpectralFactor):
            outside = torch.linalg.vector_norm(v - factor.project(v))
            if float(outside) > _OUTSIDE_RANGE * float(torch.linalg.vector_norm(v)):
                return None
            if self.toward is not None:
                left = self.toward - at.value
                turned = factor.project(left) - (self.curve.position(1.0) - at.value)
                limit = _OUTSIDE_RANGE * float(torch.linalg.vector_norm(left))
                if float(torch.linalg.vector_norm(turned)) > limit:
                    self._turned = True
                    return None
        return velocity if bool(torch.isfinite(velocity).all()) else None

    def _try(
        self,
        at: Linearization,
        t: float,
        h: float,
        new_t: float,
        slope: torch.Tensor,
        length: float,
    ) -> _Step | None:
        """One step from t to new_t, or None where the lift fails on the way."""

        def field(point: Linearization, node: float) -> torch.Tensor | None:
            return self._velocity(point, new_t if node == 1.0 else t + node * h)

        attempt = try_step(self._tableau, field, at, slope, h)
        if attempt is None:
            return None
        # What is asked of the parameters cannot be finer than their own rounding.
        rounding = 10 * self._eps * float(torch.linalg.vector_norm(at.parameters))
        allowed = max(self.rtol * (length + attempt.length), rounding)
        ratio = attempt.error / allowed
        if ratio > _HOPELESS and h > self._share(t):
            return _Step(attempt, ratio, attempt.at)
        corrected, distance = self._correct(
            attempt.at, new_t, max(allowed, attempt.error, 1e-4 * attempt.length)
        )
        if not self._on_curve(corrected, new_t, distance):
            return None
        return _Step(attempt, ratio, corrected, distance)

    def _on_curve(self, at: Linearization, t: float, distance: float) -> bool:
        """Whether the loss along the curve is right to 2e-8, and the point near enough."""
        scale = self.curve.scale(t)
        rounding = 1e3 * self._eps * float(torch.linalg.vector_norm(at.value))
        if distance <= 1e-8 * scale + rounding:
            return True
        v = self.curve.velocity(t)
        speed = float(torch.linalg.vector_norm(v))
        if not speed:
            return False
        along = abs(float(torch.dot(self.curve.position(t) - at.value, v))) / speed
        return along <= 1e-8 * scale and distance <= 1e-4 * scale

    def _correct(self, at: Linearization, t: float, reach: float) -> tuple[Linearization, float]:
        """Newton along the lift back onto the curve, factorizations reused while they contract.

        A correction much larger than the step's own error is not a correction: directions that
        D hardly moves (singular values near zero) would throw the parameters far away to mend an
        error of second order. Such corrections are damped.
        """
        outputs = at.outputs
        goal = self.curve.position(t)
        base = at
        residual = goal - at.value
        distance = float(torch.linalg.vector_norm(residual))
        floor = 20 * self._eps * float(torch.linalg.vector_norm(goal))
        target = max(floor, 1e-11 * self.curve.scale(t))
        reach = 10 * reach
        for _ in range(_CORRECTIONS):
            if distance <= target:
                break
            move = self._correction(base, residual, reach)
            if move is None:
                break
            trial = outputs.linearize(at.parameters + move)
            left = goal - trial.value
            left_distance = float(torch.linalg.vector_norm(left))
            if not left_distance < distance:
                if base is at:
                    break
                base = at
                continue
            if left_distance > 0.1 * distance:
                # The old factorization no longer contracts (a kink between): a new one does.
                base = trial
            at, residual, distance = trial, left, left_distance
        return at, distance

    def _correction(
        self, base: Linearization, residual: torch.Tensor, reach: float
    ) -> torch.Tensor | None:
        move = self.lift.velocity(base, residual, 1e-2)
        if float(torch.linalg.vector_norm(move)) <= reach:
            return move
        if not base.gram_fits or base.outputs.dimension < base.outputs.size:
            return move * (reach / float(torch.linalg.vector_norm(move)))
        for damping in (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2):
            try:
                factor: TriangularFactor = base.damped(damping)
            except NumericalError:
                continue
            move = base.vjp(factor.solve(residual))
            if float(torch.linalg.vector_norm(move)) <= reach:
                return move
        return None
