"""`flow`: training followed as a controlled, horizontal flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.flows.adapted import AdaptedFlow
from subriem.flows.arguments import check_callback, check_loss, check_map
from subriem.flows.losses import Loss, SquaredLoss
from subriem.flows.orbit import LARGE_VARIABLES, OrbitPoint, OrbitRecorder, Stage, regime_of
from subriem.flows.path_following import PathPoint
from subriem.flows.path_lift import PathLift
from subriem.flows.progress import watch_flow
from subriem.flows.stiff import StiffFlow
from subriem.flows.stopping import default_tolerance, stopping_time
from subriem.network import OutputMap

__all__ = ["flow"]

_KINDS = ("adapted", "straight", "gradient", "interpolated")
# A flow without a step of its own is stored at this many times.
_STORED = 25
#: Steps of a flow along a known output path, by default.
STEP_BUDGET = 200


def flow(
    outputs: OutputMap,
    loss: Loss,
    kind: Literal["adapted", "straight", "gradient", "interpolated"] = "adapted",
    *,
    tau: float | None = None,
    tolerance: float | None = None,
    time: float | Sequence[float] | np.ndarray | None = None,
    start: Any = None,
    rtol: float = 1e-6,
    on_rank_loss: Literal["project", "stop"] = "project",
    max_steps: int = STEP_BUDGET,
    keep: Sequence[str] = LARGE_VARIABLES,
    callback: Callable[[OrbitPoint], bool | None] | None = None,
    progress: bool | None = None,
    strict: bool = False,
) -> xr.Dataset:
    """Follow a flow of the parameters of a network, and verify it on the way.

    With g = grad_x C and D the Jacobian of the outputs:

    - ``"adapted"``: theta' = -D+ g. With full row rank x' = -g exactly; for the squared loss
      C(s) = e^{-2s/N} C_0, and the loss eps is reached at s = (N/2) ln(C_0/eps), known in advance.
    - ``"straight"``: the same curve on the clock t in [0, 1] with x(t) = (1-t) x_0 + t y (for the
      cross-entropy: the straight segment to the minimizer). Where D lacks full row rank it is the
      projected flow on the clock t = 1 - e^{-s/N}.
    - ``"gradient"``: theta' = -D' g.
    - ``"interpolated"``: theta' = -(tau D+ + (1-tau) D') g, same equilibria.

    Where the output path is known it is followed: the tracking error is measured at every step.
    Where D lacks full row rank the flow is the projected one, x' = -D D+ g, and ends in an
    equilibrium with C > 0; rank lost on the way is an event.

    Parameters
    ----------
    outputs : OutputMap
        The network on its training inputs.
    loss : SquaredLoss or CrossEntropyLoss
    kind : {"adapted", "straight", "gradient", "interpolated"}
    tau : float, optional
        In [0, 1], for ``"interpolated"`` only.
    tolerance : float, optional
        The loss eps to reach, absolute (for the cross-entropy, above its minimum). By default
        1e-12 of the initial loss, or what the dtype resolves; none where ``time`` is given.
    time : float or array_like, optional
        A horizon, or the times wanted (increasing, from 0 on), in the flow's own time.
    start : array_like or mapping, shape (K,), optional
        Initial parameters; the module's own by default.
    rtol : float
        Local error allowed to the parameters, relative to the path length. The outputs are held
        on their path far more closely in any case. Networks with kinks (ReLU) meet tight values
        only with many steps; see ``max_steps``.
    on_rank_loss : {"project", "stop"}
        Go on as the projected flow, or stop, where an adapted or straight flow loses rank.
    max_steps : int
        Step budget on a known output path, of an adapted or straight flow. Where ``rtol`` would
        need more, steps of an even share are taken, and ``parameter_error`` says what accuracy
        that gave.
    keep : sequence of str
        Which of the large variables ``outputs``, ``parameters``, ``singular_values`` to store.
        ``final_parameters`` is stored in any case.
    callback : callable, optional
        Called with an `OrbitPoint` at every stored time; returning True stops the flow.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.
    strict : bool
        Raise `NumericalError` where the status is neither "converged" nor "horizon".

    Returns
    -------
    xarray.Dataset
        Over ``time``: ``loss``, ``predicted_loss``, ``tracking_error`` (distance in output
        space from the known path), ``parameter_error`` (estimate, of the parameters along the
        fibre), ``path_length``, ``rank``, ``rank_tolerance``, ``smallest_singular_value``,
        ``largest_singular_value``, and what ``keep`` names. Attributes: ``regime``, ``status``
        (``"converged"``, ``"equilibrium"``, ``"horizon"``, ``"rank_lost"``, ``"rounding"``,
        ``"collapsed"``, ``"stopped"``, ``"interrupted"``), ``message``, ``stopping_time`` (a
        priori; NaN where none is known), ``events``, ``factorizations``, ``measured_rate``.

    Raises
    ------
    InputError
        If sizes do not fit, a number is out of range, or a name is unknown.
    InputTypeError
        If ``outputs`` is not an `OutputMap` or ``loss`` not a loss.
    NumericalError
        With ``strict=True``, see above.

    Examples
    --------
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
    ... ).double()
    >>> outputs = OutputMap(network, [[-1.0], [0.0], [1.0]])
    >>> orbit = flow(outputs, SquaredLoss([1.0, 0.0, 2.0]), tolerance=1e-12)
    >>> orbit.regime, orbit.status
    ('full row rank', 'converged')
    >>> bool(abs(orbit.loss / orbit.predicted_loss - 1).max() < 1e-6)
    True
    >>> bool(abs(orbit.time[-1] - orbit.stopping_time) < 1e-6)
    True

    References
    ----------
    T. Chen, arXiv:2311.15487; T. Chen, P. Munoz Ewald, arXiv:2408.01517.
    """
    check_callback(callback)
    _check(outputs, loss, kind, tau, tolerance, rtol, on_rank_loss, max_steps, keep)
    theta = outputs.as_parameters(start)
    at = outputs.linearize(theta)
    if not bool(torch.isfinite(at.value).all()):
        raise InputError("the outputs have NaN or Inf at the initial parameters")
    targets = loss.fit(outputs.samples, outputs.width, at.value)
    horizon, times = _read_times(time, kind)
    initial = loss.excess(at.value, targets)
    if tolerance is None:
        tolerance = 0.0 if time is not None else default_tolerance(initial, at.value, targets)
    elif not (tolerance > 0 and math.isfinite(tolerance)):
        raise InputError(f"tolerance must be a positive number, got {tolerance}")

    run: AdaptedFlow | _StiffRun
    if kind in ("adapted", "straight"):
        run = AdaptedFlow(
            start=at,
            loss=loss,
            targets=targets,
            straight=kind == "straight",
            tolerance=tolerance,
            horizon=horizon,
            times=times,
            rtol=rtol,
            on_rank_loss=on_rank_loss,
            max_steps=max_steps,
        )
    else:
        weight = 0.0 if tau is None else float(tau)
        run = _StiffRun(at, loss, targets, weight, tolerance, horizon, times, rtol)

    recorder = OrbitRecorder(loss, targets, tuple(keep))
    _record(run, recorder, kind, callback, progress, initial, tolerance)
    recorder.events = run.events
    arguments = {
        "loss": loss,
        "kind": kind,
        "tau": tau,
        "tolerance": tolerance,
        "time": time,
        "start": start,
        "rtol": rtol,
        "on_rank_loss": on_rank_loss,
        "max_steps": max_steps,
    }
    dataset = recorder.dataset(
        time_name="time t of the straight flow" if kind == "straight" else "time s of the flow",
        arguments=arguments,
        attributes=_attributes(run, recorder, kind, tau, tolerance, loss, initial),
    )
    if strict and run.status not in ("converged", "horizon"):
        raise NumericalError(f"{kind} flow: status {run.status!r}: {run.message}")
    return dataset


class _StiffRun:
    """The gradient and interpolated flows, in the shape of `AdaptedFlow`."""

    def __init__(
        self,
        at: Any,
        loss: Loss,
        targets: torch.Tensor,
        tau: float,
        tolerance: float,
        horizon: float | None,
        times: np.ndarray | None,
        rtol: float,
    ) -> None:
        outputs = at.outputs
        self.loss = loss
        self.targets = targets
        self.lift = PathLift(outputs)
        self.before = PathPoint(0.0, at, math.nan, 0.0, 0.0)
        self.events: list[Any] = []
        self.status, self.message = "running", ""
        self.stopping_time = math.nan
        self.tolerance = tolerance
        self.steps = self.loose_steps = self.rejected_steps = 0
        self.projector = "none"
        self.stationarity = math.nan
        self.regime = regime_of(outputs, at.rank().full)
        excess = loss.excess(at.value, targets)
        if times is None:
            if horizon is None:
                # The adapted flow's stopping time, so that the two are compared over one span.
                horizon = 0.0
                if excess > tolerance:
                    horizon = stopping_time(excess, tolerance, samples=outputs.samples)
            times = np.linspace(0.0, horizon, _STORED) if horizon > 0 else np.zeros(1)
        self._wanted = {float(t) for t in times}
        grid = times if times[0] == 0.0 else np.concatenate([[0.0], times])
        self._flow = StiffFlow(
            self.lift, at, loss, targets, tau=tau, times=grid.tolist(), rtol=rtol, stop_at=tolerance
        )

    def __iter__(self) -> Generator[Stage, None, None]:
        last = None
        try:
            for point in self._flow:
                last = point
                excess = self.loss.excess(point.at.value, self.targets)
                stop = excess <= self.tolerance * (1 + 1e-6)
                yield Stage(point, point.time, math.nan, point.time in self._wanted or stop)
                if stop:
                    self._flow.outcome = "target"
                    break
        finally:
            self.steps = self._flow.evaluations
        if self._flow.outcome == "target":
            self.status, self.message = "converged", "the loss is within the tolerance"
        elif self._flow.outcome == "collapsed":
            assert last is not None
            self.status = "collapsed"
            self.message = f"CVODE stopped after time {last.time:.6g}: {self._flow.message}"
        else:
            self.status, self.message = "horizon", "the end of the time span is reached"


def _check(
    outputs: Any,
    loss: Any,
    kind: str,
    tau: float | None,
    tolerance: float | None,
    rtol: float,
    on_rank_loss: str,
    max_steps: int,
    keep: Sequence[str],
) -> None:
    check_map(outputs)
    check_loss(loss)
    if kind not in _KINDS:
        raise InputError(f"kind must be one of {_KINDS}, got {kind!r}")
    if (kind == "interpolated") != (tau is not None):
        raise InputError(f"tau goes with kind='interpolated' and only there; got {kind!r}, {tau}")
    for name, value in (("tau", tau), ("rtol", rtol), ("tolerance", tolerance)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise InputTypeError(f"{name} must be a number, got {value!r}")
    if tau is not None and not 0.0 <= tau <= 1.0:
        raise InputError(f"tau must be in [0, 1], got {tau}")
    if not 0.0 < rtol < 1.0:
        raise InputError(f"rtol must be in (0, 1), got {rtol}")
    if on_rank_loss not in ("project", "stop"):
        raise InputError(f"on_rank_loss must be 'project' or 'stop', got {on_rank_loss!r}")
    if isinstance(max_steps, bool) or not isinstance(max_steps, Integral):
        raise InputTypeError(f"max_steps must be a whole number, got {max_steps!r}")
    if max_steps < 1:
        raise InputError(f"max_steps must be at least 1, got {max_steps}")
    if kind in ("gradient", "interpolated") and (on_rank_loss, max_steps) != (
        "project",
        STEP_BUDGET,
    ):
        raise InputError(
            f"on_rank_loss and max_steps go with kind='adapted' and 'straight'; got {kind!r}, "
            "whose integrator has no path to follow"
        )
    unknown = set(keep) - set(LARGE_VARIABLES)
    if isinstance(keep, str) or unknown:
        raise InputError(f"keep must be a sequence out of {LARGE_VARIABLES}, got {keep!r}")


def _read_times(time: Any, kind: str) -> tuple[float | None, np.ndarray | None]:
    if time is None:
        return None, None
    try:
        values = np.asarray(getattr(time, "values", time), dtype=float)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"time must be a number or numbers, got {time!r}") from error
    if values.ndim > 1 or values.size == 0 or not np.isfinite(values).all():
        raise InputError(f"time must be a number or a sequence of finite numbers, got {time!r}")
    last = float(values.reshape(-1)[-1])
    if kind == "straight" and last > 1.0:
        raise InputError(f"the straight flow runs over [0, 1], got time {last}")
    if values.ndim == 0:
        if last <= 0:
            raise InputError(f"time must be positive, got {last}")
        return last, None
    if values[0] < 0 or (np.diff(values) <= 0).any() or last <= 0:
        raise InputError("the times wanted must increase from 0 or later, and end after 0")
    return last, values


def _record(
    run: AdaptedFlow | _StiffRun,
    recorder: OrbitRecorder,
    kind: str,
    callback: Callable[[OrbitPoint], bool | None] | None,
    progress: bool | None,
    initial: float,
    tolerance: float,
) -> None:
    span = math.log(initial / tolerance) if initial > tolerance > 0 else math.inf
    with watch_flow(f"{kind} flow", progress) as update:
        stages = iter(run)
        try:
            for stage in stages:
                if not stage.wanted:
                    continue
                seen = recorder.add(
                    stage.point, stage.time, stage.predicted, run.lift, before=run.before
                )
                excess = max(recorder.excess[-1], 1e-300)
                done = math.log(initial / excess) / span if initial > 0 else 1.0
                update(min(max(done, 0.0), 1.0), f"loss {seen.loss:.3e} at {seen.time:.3g}")
                if callback is not None and callback(seen):
                    run.status, run.message = "stopped", "the callback asked to stop"
                    break
        except KeyboardInterrupt:
            if recorder.last is None:
                raise
            run.status = "interrupted"
            run.message = "interrupted; this is what was computed until then"
        finally:
            stages.close()
    if recorder.last is None:
        raise NumericalError(f"no point of the flow could be stored: {run.status}: {run.message}")


def _attributes(
    run: AdaptedFlow | _StiffRun,
    recorder: OrbitRecorder,
    kind: str,
    tau: float | None,
    tolerance: float,
    loss: Loss,
    initial: float,
) -> dict[str, Any]:
    times = recorder.rows["time"]
    losses = recorder.excess
    rate = math.nan
    if len(times) > 1 and times[-1] > times[0] and min(losses[0], losses[-1]) > 0:
        rate = float(math.log(losses[0] / losses[-1]) / (times[-1] - times[0]))
    known = kind == "adapted" and run.regime == "full row rank" and isinstance(loss, SquaredLoss)
    count = run.lift.count
    return {
        "kind": kind,
        "tau": tau,
        "loss_function": repr(loss),
        "regime": run.regime,
        "status": run.status,
        "message": run.message,
        "tolerance": tolerance,
        "initial_loss": initial + loss.minimum,
        "minimum_loss": loss.minimum,
        "stopping_time": run.stopping_time,
        "predicted_rate": 2.0 / loss.samples if known else math.nan,
        "measured_rate": rate,
        "projector": run.projector,
        "stationarity": run.stationarity,
        "steps": run.steps,
        "rejected_steps": run.rejected_steps,
        "loose_steps": run.loose_steps,
        "lifts": count.lifts,
        "factorizations": dict(count.factorizations),
        "krylov_iterations": count.iterations,
    }
