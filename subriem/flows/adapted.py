"""The adapted and the straight flow through all regimes of rank.

Full row rank: the output path is known in advance and followed. Rank-deficient with a projector
P = D D+ that stays put (duplicated inputs): the same, towards x_0 + P (y - x_0). Otherwise, and
after rank is lost on the way: the projected flow, integrated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
import torch

from subriem.factorization import TriangularFactor
from subriem.flows.curves import Curve, EuclideanFlow, Segment
from subriem.flows.losses import Loss, SquaredLoss
from subriem.flows.orbit import RankLoss, Stage, regime_of
from subriem.flows.path_following import PathFollower, PathPoint
from subriem.flows.path_lift import PathLift
from subriem.flows.projected import LOST_BELOW, ProjectedFlow
from subriem.network import Linearization

__all__ = ["AdaptedFlow"]

_STATIONARITY = 1e-8
# The projected flow is given this many of its own time constants N to settle.
_PATIENCE = 200.0
_EVENTS = 20
# Singular values further apart than this may be what is kept and what is lost.
_GAP = 3.0
# Lost are values below this part of the largest, or near the cutoff that there is.
_SMALL = 1e-5
# An equilibrium is where |D'g| is at most this part of |D| |g|.
_VANISHED = 1e-3


def _same(time: float) -> float:
    return float(time)


@dataclass
class AdaptedFlow:
    """Iterate over the stages of the adapted or the straight flow.

    Parameters
    ----------
    start : Linearization
    loss : Loss
    targets : Tensor, shape (NQ,)
    straight : bool
        Time runs over [0, 1] on the segment to the minimizer.
    tolerance : float
        Loss above its minimum at which to stop.
    horizon : float or None
        Of the flow's own time.
    times : ndarray or None
        The flow's own times that are wanted; all steps otherwise.
    rtol : float
    on_rank_loss : {"project", "stop"}
    max_steps : int

    Attributes
    ----------
    regime : str
        ``"full row rank"``, ``"rank-deficient"`` or ``"under-parametrized"``, at the start.
    stopping_time : float
        A priori, in the flow's own time; NaN where it is not known.
    status, message : str
    events : list of RankLoss
    lift : PathLift
        The lift in use, with its counts.
    before : PathPoint
        What the stretches before the present one added up to.
    """

    start: Linearization
    loss: Loss
    targets: torch.Tensor
    straight: bool
    tolerance: float
    horizon: float | None
    times: np.ndarray | None
    rtol: float
    on_rank_loss: str
    max_steps: int
    status: str = "running"
    message: str = ""
    stopping_time: float = math.nan
    events: list[RankLoss] = field(default_factory=list)
    steps: int = 0
    loose_steps: int = 0
    rejected_steps: int = 0
    projector: str = "identity"
    stationarity: float = math.nan

    def __post_init__(self) -> None:
        """Decide the regime at the start."""
        outputs = self.start.outputs
        self.samples = outputs.samples
        self.lift = PathLift(outputs)
        self.before = PathPoint(0.0, self.start, math.nan, 0.0, 0.0)
        self.full = False
        if outputs.dimension >= outputs.size:
            factor = self.lift.factor(self.start)
            self.full = isinstance(factor, TriangularFactor)
        self.regime = regime_of(outputs, self.full)

    # ------------------------------------------------------------------ clocks

    def _own(self, t: float) -> float:
        """The flow's own time of a segment parameter t, where 1 - t = e^{-s/N}."""
        return t if self.straight else -self.samples * math.log1p(-t)

    def _parameter(self, own: float) -> float:
        return own if self.straight else -math.expm1(-own / self.samples)

    # ------------------------------------------------------------------ the stages

    def __iter__(self) -> Generator[Stage, None, None]:
        """Yield the start, then every point of the flow until it ends."""
        x, y = self.start.value, self.targets
        if self.loss.excess(x, y) <= self.tolerance:
            self.status = "converged"
            self.message = "the loss is within the tolerance at the start"
            self.stopping_time = 0.0
            point = PathPoint(0.0, self.start, 0.0, 0.0, 0.0)
            yield Stage(point, 0.0, self.loss.value(x, y), True)
        elif self.full and (self.straight or isinstance(self.loss, SquaredLoss)):
            end = self.loss.minimizer(x, y)
            yield from self._along_segment(end, deficient=False)
        elif self.full:
            yield from self._along_euclidean_flow()
        else:
            yield from self._deficient()

    def _deficient(self) -> Generator[Stage, None, None]:
        """D lacks full row rank from the start."""
        outputs = self.start.outputs
        self.lift = PathLift(outputs, deficient=True)
        factor = self.start.spectrum()
        self.start.factor = factor
        decision = factor.decision
        if outputs.dimension >= outputs.size:
            values = decision.singular_values
            self.events.append(
                RankLoss(
                    time=0.0,
                    kind="initial",
                    rank=int(decision),
                    tolerance=decision.tolerance,
                    smallest_kept=float(values[int(decision) - 1]) if decision else 0.0,
                    largest_lost=float(values[int(decision)]) if not decision.full else 0.0,
                    lost=factor.lost,
                )
            )
        # Truncate at the middle of the gap, so that rounding moves no value across the cut.
        if 0 < int(decision) < len(decision.singular_values):
            self.lift.cutoff = math.sqrt(
                decision.tolerance * float(decision.singular_values[int(decision) - 1])
            )
        x = self.start.value
        if isinstance(self.loss, SquaredLoss):
            end = x + factor.project(self.targets - x)
            away = float(torch.linalg.vector_norm(end - x))
            if away > 10 * _STATIONARITY * float(torch.linalg.vector_norm(self.targets - x)):
                self.projector = "constant"
                yield from self._along_segment(end, deficient=True)
                return
        self.projector = "turning"
        beginning = PathPoint(0.0, self.start, math.nan, 0.0, 0.0)
        yield from self._projected(beginning, 0.0, first=True)

    def _along_segment(self, end: torch.Tensor, *, deficient: bool) -> Generator[Stage, None, None]:
        x, y = self.start.value, self.targets
        curve = Segment(x, end)
        out_of_reach = self.loss.excess(end, y)
        within_reach = self.loss.excess(x, y) - out_of_reach
        squared = isinstance(self.loss, SquaredLoss)

        def predicted(t: float) -> float:
            if squared:
                return out_of_reach + (1.0 - t) ** 2 * within_reach
            return self.loss.value(curve.position(t), y)

        remaining = self._remaining(curve, out_of_reach, within_reach, deficient)
        stop = 1.0 - max(remaining, curve.nearest)
        if not deficient and self.tolerance > 0:
            # From 1 - t itself, which 1 - (1 - t) would round.
            self.stopping_time = (
                1.0 - remaining if self.straight else -self.samples * math.log(remaining)
            )
        clipped = remaining < curve.nearest
        if self.horizon is not None:
            asked = self._parameter(self.horizon)
            if self.straight and self.tolerance == 0.0:
                # Time one is the end itself, which has a place on this clock.
                stop, clipped = asked, False
            else:
                clipped = clipped and asked > stop
                stop = min(stop, asked)
        last, outcome = yield from self._follow(
            curve, stop, self._own, self._parameter, predicted, toward=y if deficient else None
        )
        if outcome == "end":
            self._arrived(last, deficient=deficient, clipped=clipped)
            return
        s = -self.samples * math.log1p(-last.time)
        if deficient and outcome == "left_range":
            # The projector turned: the segment is no longer the path.
            self.projector = "turning"
            yield from self._projected(last, s)
        else:
            yield from self._rank_lost(last, outcome, self._own(last.time), s)

    def _follow(
        self,
        curve: Curve,
        stop: float,
        own: Callable[[float], float],
        parameter: Callable[[float], float],
        predicted: Callable[[float], float],
        toward: torch.Tensor | None = None,
    ) -> Generator[Stage, None, tuple[PathPoint, str]]:
        """Follow a known path; return its last point and how it ended.

        ``own`` and ``parameter`` take the curve's parameter to the flow's own time and back.
        """
        # The times wanted come out as they went in, not by way of two roundings.
        wanted = {} if self.times is None else {parameter(t): float(t) for t in self.times}
        follower = PathFollower(
            self.lift,
            self.start,
            curve,
            stop,
            rtol=self.rtol,
            times=list(wanted),
            max_steps=self.max_steps,
            toward=toward,
        )
        last = None
        try:
            for last in follower:
                time = wanted[last.time] if last.time in wanted else own(last.time)
                store = self.times is None or last.time in wanted or last.time == stop
                yield Stage(last, time, predicted(last.time), store)
        finally:
            self._count(follower)
        assert last is not None
        return last, follower.outcome

    def _remaining(
        self, curve: Segment, out_of_reach: float, within_reach: float, deficient: bool
    ) -> float:
        """1 - t at which the loss reaches the tolerance, or the flow an equilibrium."""
        if isinstance(self.loss, SquaredLoss):
            left = self.tolerance - out_of_reach
            if left > 0:
                return min(1.0, math.sqrt(left / within_reach))
            return _STATIONARITY if deficient else 0.0
        # The loss is convex along the segment.
        low, high = 0.0, 1.0
        while high - low > 1e-15 * high and high > 1e-300:
            middle = 0.5 * (low + high)
            x = curve.end - middle * curve.velocity(0.0)
            if self.loss.excess(x, self.targets) > self.tolerance:
                high = middle
            else:
                low = middle
            if high < curve.nearest:
                return 0.0
        return low

    def _along_euclidean_flow(self) -> Generator[Stage, None, None]:
        x, y = self.start.value, self.targets
        horizon = 40.0 * self.loss.time_constant if self.horizon is None else self.horizon
        curve = EuclideanFlow(self.loss, x, y, horizon, self.tolerance or None)
        if curve.stopped:
            self.stopping_time = curve.horizon
        last, outcome = yield from self._follow(curve, curve.horizon, _same, _same, curve.loss)
        if outcome == "end":
            self._arrived(last, deficient=False, clipped=False)
        else:
            yield from self._rank_lost(last, outcome, last.time, last.time)

    # ------------------------------------------------------------------ endings

    def _count(self, follower: PathFollower | ProjectedFlow) -> None:
        self.steps += follower.steps
        self.rejected_steps += follower.rejected_steps
        if isinstance(follower, PathFollower):
            self.loose_steps += follower.loose_steps

    def _arrived(self, last: PathPoint, *, deficient: bool, clipped: bool) -> None:
        excess = self.loss.excess(last.at.value, self.targets)
        # The loss is quadratic in the distance, which is met up to the tracking error.
        end = self.loss.minimizer(last.at.value, self.targets)
        distance = float(torch.linalg.vector_norm(last.at.value - end))
        slack = min(0.1, 3.0 * last.tracking_error / distance) if distance else 0.0
        if excess <= self.tolerance * (1 + 1e-6 + slack):
            self.status = "converged"
            self.message = f"loss within {self.tolerance:.3g} of its minimum, as predicted"
        elif deficient and last.time >= 1.0 - 2 * _STATIONARITY:
            self.status = "equilibrium"
            self.stationarity = self._stationarity(last.at)
            self.message = (
                f"equilibrium with loss {excess:.6g} above the minimum: D has not full row rank "
                f"({self.regime}), and its range did not turn"
            )
        elif clipped:
            self.status = "rounding"
            self.message = "the end of the path is reached to rounding; the loss goes no lower"
        else:
            self.status = "horizon"
            self.message = "the time asked for is reached"

    def _stationarity(self, at: Linearization) -> float:
        """|D' grad_x C| over |D| |grad_x C|, with the larger |D| of the start and of the point."""
        gradient = self.loss.gradient(at.value, self.targets)
        pulled = float(torch.linalg.vector_norm(at.vjp(gradient)))
        size = float(torch.linalg.vector_norm(gradient))
        largest = max(float(point.rank().singular_values[0]) for point in (at, self.start))
        return pulled / (size * largest) if size and largest else 0.0

    def _rank_lost(
        self, last: PathPoint, outcome: str, own: float, s: float
    ) -> Generator[Stage, None, None]:
        """No step from here stays on the path: tell whether D lost rank, and go on or stop."""
        decision = last.at.rank()
        values = decision.singular_values
        before = self.start.rank(absolute=self.lift.cutoff)
        reference = float(before.singular_values[int(before) - 1])
        kept = int((values > max(decision.tolerance, LOST_BELOW * reference)).sum())
        if kept >= int(before) and self.lift.deficient:
            # Rank is kept: the segment was the path only if the projector stayed.
            self.projector = "turning"
            yield from self._projected(last, s)
        elif kept >= int(before):
            self.status = "collapsed"
            self.message = (
                f"no step from time {own:.6g} stays on the output path, though the smallest "
                f"singular value is {values[-1]:.3g} (largest {values[0]:.3g})"
            )
        elif self._note_loss(last.at, kept, outcome, own):
            self.projector = "turning"
            yield from self._projected(last, s)

    def _at_largest_gap(self, at: Linearization) -> int | None:
        """Rank at the largest gap of the singular values at which more is dropped than now."""
        values = np.maximum(at.rank().singular_values, np.finfo(float).tiny)
        ratios = values[:-1] / values[1:]
        usable = np.sqrt(values[:-1] * values[1:]) > 2.0 * (self.lift.cutoff or 0.0)
        usable &= values[1:] <= max(_SMALL * values[0], 30.0 * (self.lift.cutoff or 0.0))
        ratios = np.where(usable, ratios, 0.0)
        return int(np.argmax(ratios)) + 1 if len(ratios) and ratios.max() > _GAP else None

    def _note_loss(self, at: Linearization, kept: int, kind: str, own: float) -> bool:
        """Record an event, and prepare to go on without the lost directions, unless to stop."""
        values = at.rank().singular_values
        # Inside the gap, so that neither rounding nor a little growth moves a value across, but
        # not so high that a direction still on its way down is cut off early.
        above = float(values[kept - 1]) if kept else float(self.start.rank().singular_values[0])
        below = max(float(values[kept]), 1e-16 * above)
        cutoff = min(math.sqrt(above * below), 30.0 * below)
        self.events.append(
            RankLoss(
                time=own,
                kind=kind,
                rank=kept,
                tolerance=cutoff,
                smallest_kept=float(values[kept - 1]) if kept else 0.0,
                largest_lost=float(values[kept]),
                lost=at.spectrum(absolute=cutoff).lost,
            )
        )
        told = f"{len(values) - kept} singular values fell to {values[kept]:.3g} or below"
        if self.on_rank_loss == "stop" or len(self.events) > _EVENTS:
            self.status = "rank_lost"
            self.message = f"D lost rank at time {own:.6g}: {told}"
            return False
        count = self.lift.count
        self.lift = PathLift(at.outputs, deficient=True, cutoff=cutoff)
        self.lift.count = count
        return True

    def _projected(
        self, last: PathPoint, time: float, *, first: bool = False
    ) -> Generator[Stage, None, None]:
        """Go on as the projected flow, from the last point of a stretch and its time s."""

        def clock(s: float) -> float:
            return -math.expm1(-s / self.samples) if self.straight else s

        def unclock(own: float) -> float:
            if not self.straight:
                return own
            return -self.samples * math.log1p(-min(own, 1.0 - 1e-15))

        if not first:
            error = self.before.parameter_error + last.parameter_error
            length = self.before.path_length + last.path_length
            self.before = PathPoint(last.time, last.at, math.nan, error, length)
        # Afresh, as the factorization kept at the point may be of another cutoff.
        start = last.at.outputs.linearize(last.at.parameters)
        horizon = time + _PATIENCE * self.loss.time_constant
        if self.horizon is not None:
            horizon = unclock(self.horizon)
        wanted = {} if self.times is None else {unclock(float(t)): float(t) for t in self.times}
        flow = ProjectedFlow(
            self.lift,
            start,
            self.loss,
            self.targets,
            start_time=time,
            horizon=max(horizon, time),
            rtol=self.rtol,
            times=list(wanted),
            stationarity=_STATIONARITY,
        )
        reached = False
        try:
            for number, point in enumerate(flow):
                last = point
                if number == 0 and not first:
                    continue
                own = wanted.get(point.time, clock(point.time))
                reached = self.loss.excess(point.at.value, self.targets) <= self.tolerance
                store = self.times is None or point.time in wanted or reached
                yield Stage(point, own, math.nan, store)
                if reached:
                    break
        finally:
            self._count(flow)
        if flow.outcome in ("rank_loss", "collapsed") and not reached:
            kept = self._at_largest_gap(last.at)
            if kept is None and flow.outcome == "rank_loss":
                kept = self.lift.factor(last.at).rank - 1
            if kept is not None:
                if self._note_loss(last.at, kept, "collapsed", clock(last.time)):
                    yield from self._projected(last, last.time)
                return
        self.stationarity = self._stationarity(last.at)
        excess = self.loss.excess(last.at.value, self.targets)
        if reached:
            self.status, self.message = "converged", "the loss is within the tolerance"
        elif flow.outcome == "equilibrium":
            self.status = "equilibrium"
            self.message = (
                f"equilibrium with loss {excess:.6g} above the minimum; the projected gradient "
                f"fell to {flow.residual:.1e} of the gradient at the start"
            )
            if self.stationarity > _VANISHED:
                self.status = "rank_lost"
                self.message = (
                    f"the flow settled in the {self.lift.factor(last.at).rank} directions kept, "
                    f"with loss {excess:.6g} above the minimum; along those lost the gradient has "
                    f"not vanished: |D'g| = {self.stationarity:.1e} |D| |g|"
                )
        elif flow.outcome == "end":
            self.status, self.message = "horizon", "the time asked for is reached"
            if self.horizon is None:
                self.message = f"no equilibrium within {_PATIENCE:g} time constants"
        else:
            self.status = "collapsed"
            self.message = (
                f"the projected flow stopped at time {clock(last.time):.6g}: its steps went to "
                "zero or their budget was spent"
            )
