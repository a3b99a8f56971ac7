"""`train`: to the targets on the shortest way for the clock, by damped lifts.

A flow follows its path and says so at every step. Whoever wants the end only may leave the path:
a Levenberg-Marquardt step is a lift D'(D D' + damping)^-1 (y - x) of a long piece of the straight
output path, damped where the path bends, and bent along with it (geodesic acceleration).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import xarray as xr

from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.flows.arguments import check_callback, check_loss, check_map
from subriem.flows.damped_lift import DampedLift, TrainingPoint
from subriem.flows.losses import Loss
from subriem.flows.progress import watch_flow
from subriem.flows.stopping import default_tolerance
from subriem.network import OutputMap
from subriem.results import build_dataset

__all__ = ["TrainingStep", "train"]

_FIRST_DAMPING = 1e-3
_GREATEST_DAMPING = 1e12
# An acceleration longer than this, relative to the velocity, is beyond the second order model.
_LARGEST_BEND = 0.75
_SMALLEST_GAIN = 1e-3
# |D'r| relative to |D| |r| at which nothing is left to gain.
_STATIONARITY = 1e-9


@dataclass(frozen=True)
class TrainingStep:
    """What a callback of `train` sees after every step that was taken.

    Attributes
    ----------
    step : int
    loss : float
    damping : float
        Relative to the mean of the diagonal of D D'.
    parameters : Tensor, shape (K,)

    Examples
    --------
    >>> TrainingStep(1, 0.5, 1e-3, torch.zeros(2)).loss
    0.5
    """

    step: int
    loss: float
    damping: float
    parameters: torch.Tensor


def train(
    outputs: OutputMap,
    loss: Loss,
    *,
    tolerance: float | None = None,
    start: Any = None,
    max_steps: int = 1000,
    callback: Callable[[TrainingStep], bool | None] | None = None,
    progress: bool | None = None,
    strict: bool = False,
) -> xr.Dataset:
    """Train a network to its targets as fast as may be, and say how far it came.

    The end is a point of the same fibre {x = y} that `flow` ends in, but another one: the steps
    are long, and their path is not followed. Use `flow` for the path, the predicted loss, the
    stopping time and the events on the way; use `train` for a network that fits.

    Parameters
    ----------
    outputs : OutputMap
        The network on its training inputs.
    loss : SquaredLoss or CrossEntropyLoss
        For the cross-entropy the target is the minimizer in output space.
    tolerance : float, optional
        The loss to reach, absolute (for the cross-entropy, above its minimum). By default 1e-12 of
        the initial loss, or what the dtype resolves.
    start : array_like or mapping, shape (K,), optional
        Initial parameters; the module's own by default.
    max_steps : int
        Steps tried, those rejected included.
    callback : callable, optional
        Called with a `TrainingStep` after every step taken; returning True stops.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.
    strict : bool
        Raise `NumericalError` where the status is not "converged".

    Returns
    -------
    xarray.Dataset
        Over ``step`` (0 is the start): ``loss``; ``damping``, relative to the mean of the diagonal
        of D D'; ``gain``, the decrease of |y - x|^2 over what the linear model promised;
        ``path_length``, of the polygon in parameter space; ``tried``, steps so far with those
        rejected; ``iterations``, of conjugate gradients so far. ``final_parameters``. Attributes:
        ``status`` (``"converged"``, ``"stationary"``: D'(y - x) vanished with the loss above the
        tolerance, ``"stalled"``: no step decreases the loss any more, ``"budget"``,
        ``"stopped"``, ``"interrupted"``), ``message``, ``method``
        (``"cholesky"`` or ``"iterative"``), ``traced``, ``stationarity``. The final loss is
        evaluated by the module itself.

    Raises
    ------
    InputError
        If sizes do not fit or a number is out of range.
    InputTypeError
        If ``outputs`` is not an `OutputMap` or ``loss`` not a loss.
    NumericalError
        With ``strict=True``, see above.

    Examples
    --------
    >>> from subriem.flows import SquaredLoss
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
    ... ).double()
    >>> outputs = OutputMap(network, [[-1.0], [0.0], [1.0]])
    >>> found = train(outputs, SquaredLoss([1.0, 0.0, 2.0]), tolerance=1e-20)
    >>> found.status, bool(found.loss[-1] <= 1e-20)
    ('converged', True)

    References
    ----------
    M. Transtrum, J. Sethna, arXiv:1201.5885 (geodesic acceleration).
    """
    _check(outputs, loss, tolerance, max_steps, callback)
    theta = outputs.as_parameters(start)
    value = outputs.linearize(theta).value
    if not bool(torch.isfinite(value).all()):
        raise InputError("the outputs have NaN or Inf at the initial parameters")
    targets = loss.fit(outputs.samples, outputs.width, value)
    initial = loss.excess(value, targets)
    goal = default_tolerance(initial, value, targets) if tolerance is None else float(tolerance)
    run = _Run(outputs, loss, targets, theta, goal, max_steps)
    span = math.log(initial / goal) if initial > goal > 0 else math.inf
    with watch_flow("training", progress) as update, torch.no_grad():
        try:
            for seen in run:
                done = math.log(initial / max(seen.loss - loss.minimum, 1e-300)) if initial else 1.0
                update(min(max(done / span, 0.0), 1.0), f"loss {seen.loss:.3e} at {seen.step}")
                if callback is not None and callback(seen):
                    run.status, run.message = "stopped", "the callback asked to stop"
                    break
        except KeyboardInterrupt:
            run.status = "interrupted"
            run.message = "interrupted; this is what was computed until then"
    dataset = _dataset(run, outputs, loss, targets, {"tolerance": goal, "max_steps": max_steps})
    if strict and run.status != "converged":
        raise NumericalError(f"training: status {run.status!r}: {run.message}")
    return dataset


class _Run:
    """The iteration; yields what the callback sees."""

    def __init__(
        self,
        outputs: OutputMap,
        loss: Loss,
        targets: torch.Tensor,
        theta: torch.Tensor,
        goal: float,
        max_steps: int,
    ) -> None:
        self.loss = loss
        self.targets = targets
        self.goal = goal
        self.max_steps = max_steps
        self.lift = DampedLift(outputs, theta)
        self.point = self.lift.at(theta)
        self.damping = _FIRST_DAMPING
        self.tried = 0
        self.length = 0.0
        self.stationarity = math.nan
        self.status, self.message = "running", ""
        self.rows: list[tuple[float, float, float, float, int, int]] = []

    def _residual(self, point: TrainingPoint) -> torch.Tensor:
        return self.loss.minimizer(point.value, self.targets) - point.value

    def _note(self, gain: float) -> TrainingStep:
        value = self.loss.value(self.point.value, self.targets)
        row = (value, self.damping, gain, self.length, self.tried, self.lift.iterations)
        self.rows.append(row)
        return TrainingStep(len(self.rows) - 1, value, self.damping, self.point.parameters.clone())

    def __iter__(self) -> Any:
        residual = self._residual(self.point)
        yield self._note(math.nan)
        while not self._reached(residual):
            self.lift.prepare(self.point)
            gain = self._step(residual)
            if gain is None:
                return
            residual = self._residual(self.point)
            yield self._note(gain)

    def _reached(self, residual: torch.Tensor) -> bool:
        excess = self.loss.excess(self.point.value, self.targets)
        if excess <= self.goal:
            self.status, self.message = "converged", "the loss is within the tolerance"
            return True
        return False

    def _step(self, residual: torch.Tensor) -> float | None:
        """Take one step that decreases the residual; its gain, or None where there is none."""
        lift, point = self.lift, self.point
        squared = float(torch.dot(residual, residual))
        pulled = float(torch.linalg.vector_norm(point.vjp(residual)))
        self.stationarity = pulled / math.sqrt(squared * lift.scale * len(residual))
        if self.stationarity <= _STATIONARITY:
            self.status = "stationary"
            self.message = "D'(y - x) vanished with the loss above the tolerance"
            return None
        while self.tried < self.max_steps:
            if self.damping > _GREATEST_DAMPING:
                self.status, self.message = "stalled", "no step decreases the loss any more"
                return None
            self.tried += 1
            proposal = self._propose(residual, self.damping * lift.scale)
            if proposal is not None:
                step, promised = proposal
                new = lift.at(point.parameters + step)
                left = self._residual(new)
                gain = (squared - float(torch.dot(left, left))) / promised
                # also where it is NaN
                if gain > _SMALLEST_GAIN:
                    self.point = new
                    self.length += float(torch.linalg.vector_norm(step))
                    # Nielsen's rule: a tenth where the model held, more where it did not
                    factor = max(0.1, 1.0 - (2.0 * gain - 1.0) ** 3) if gain < 1.9 else 1.0
                    self.damping *= factor
                    return gain
            # Far off until a first step is found; then the last damping was nearly right.
            self.damping *= 8.0 if len(self.rows) == 1 else 2.0
        self.status, self.message = "budget", f"{self.max_steps} steps were tried"
        return None

    def _propose(self, residual: torch.Tensor, damping: float) -> tuple[torch.Tensor, float] | None:
        """A step of the parameters, and the decrease of |r|^2 in the linear model."""
        lift, point = self.lift, self.point
        weights = lift.solve(residual, damping)
        if weights is None:
            return None
        step = point.vjp(weights)
        pushed = point.jvp(step)
        left = residual - pushed
        promised = float(torch.dot(residual, residual) - torch.dot(left, left))
        if not promised > 0.0:
            return None
        if lift.method == "cholesky":
            turning = lift.solve(point.bend(step, pushed).mul_(-0.5), damping)
            assert turning is not None
            bent = point.vjp(turning)
            ratio = 2.0 * torch.linalg.vector_norm(bent) / torch.linalg.vector_norm(step)
            if not float(ratio) <= _LARGEST_BEND:
                return None
            step = step + bent
        return step, promised


def _check(outputs: Any, loss: Any, tolerance: Any, max_steps: Any, callback: Any) -> None:
    check_map(outputs)
    check_loss(loss)
    check_callback(callback)
    if isinstance(max_steps, bool) or not isinstance(max_steps, Integral):
        raise InputTypeError(f"max_steps must be a whole number, got {max_steps!r}")
    if int(max_steps) < 1:
        raise InputError(f"max_steps must be at least 1, got {max_steps}")
    if tolerance is not None:
        if isinstance(tolerance, bool) or not isinstance(tolerance, Real):
            raise InputTypeError(f"tolerance must be a number, got {tolerance!r}")
        if not (float(tolerance) > 0 and math.isfinite(tolerance)):
            raise InputError(f"tolerance must be a positive number, got {tolerance}")


def _dataset(
    run: _Run,
    outputs: OutputMap,
    loss: Loss,
    targets: torch.Tensor,
    arguments: dict[str, Any],
) -> xr.Dataset:
    theta = run.point.parameters
    # by the module itself: what was traced only led here
    final = loss.value(outputs.linearize(theta).value, targets)
    values = np.array([row[:4] for row in run.rows])
    counts = np.array([row[4:] for row in run.rows], dtype=np.int64)
    values[-1, 0] = final
    names = ("loss", "damping", "gain", "path_length")
    long_names = (
        "loss C",
        "damping over the mean of the diagonal of D D'",
        "decrease of |y - x|^2 over that of the linear model (NaN: no step)",
        "Euclidean length of the polygon of parameters",
    )
    variables: dict[str, Any] = {
        name: ("step", values[:, number], long_name, "1")
        for number, (name, long_name) in enumerate(zip(names, long_names, strict=True))
    }
    variables["tried"] = ("step", counts[:, 0], "steps tried so far, with those rejected", "1")
    variables["iterations"] = ("step", counts[:, 1], "conjugate-gradient iterations so far", "1")
    name = "parameters of the network at the last step"
    variables["final_parameters"] = ("parameter", theta.cpu().numpy(), name, "1")
    steps = np.arange(len(run.rows))
    return build_dataset(
        variables,
        {"step": ("step", steps, "steps taken", "1")},
        function="subriem.train",
        arguments={"loss": loss, **arguments},
        structure=repr(outputs),
        attributes={
            "loss_function": repr(loss),
            "status": run.status,
            "message": run.message,
            "tolerance": run.goal,
            "initial_loss": float(values[0, 0]),
            "minimum_loss": loss.minimum,
            "method": run.lift.method,
            "traced": run.lift.traced,
            "factorizations": run.lift.factorizations,
            "stationarity": run.stationarity,
        },
    )
