"""`horizontal_lift`: the horizontal path of parameters over a given curve of outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import xarray as xr

from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.factorization import TriangularFactor
from subriem.flows.arguments import check_map
from subriem.flows.orbit import LARGE_VARIABLES, measure_spectrum, regime_of
from subriem.flows.output_curves import Piece, TimedCurve, read_curve
from subriem.flows.path_following import PathFollower, PathPoint
from subriem.flows.path_lift import PathLift
from subriem.flows.projected import LOST_BELOW
from subriem.network import Linearization, OutputMap
from subriem.results import build_dataset

__all__ = ["horizontal_lift"]


def horizontal_lift(
    outputs: OutputMap,
    curve: Any,
    *,
    velocity: Callable[[float], Any] | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    start: Any = None,
    rtol: float = 1e-8,
    max_steps: int = 500,
    keep: Sequence[str] = ("outputs", "parameters"),
    strict: bool = False,
) -> xr.Dataset:
    """Lift a curve of outputs: theta' = D+ c'(t), from theta_0 with x(theta_0) = c(0).

    The lift is the path over the curve that moves in range D' only, the shortest motion of the
    parameters at every moment. In the output metric <v, w> = <Dv, Dw> it is as long as the curve,
    and over a straight segment it is a geodesic. It does not depend on how the curve is
    parametrized.

    The outputs are held on the curve at every step, so that the error in output space is
    measured; the error of the parameters over given outputs is estimated by the embedded
    Runge-Kutta pair. The path starts afresh at every way point, where the velocity jumps.

    Parameters
    ----------
    outputs : OutputMap
    curve : array_like, callable or Curve
        A curve in output space that starts at x(theta_0):

        - way points, shape (M, NQ) or (M, N, Q): met at the times k/(M-1), straight between;
        - a smooth function t -> c(t) of a float in [0, 1], of shape (NQ,) or (N, Q);
        - an object with ``position`` and ``velocity``, as those of `subriem.flows.curves`.
    velocity : callable, optional
        The derivative of a function. By differences of high order where it is not given; their
        estimated error is the attribute ``velocity_error``.
    times : array_like, optional
        The times wanted (increasing); all steps by default. The last time is stored in any case.
    start : array_like or mapping, shape (K,), optional
        theta_0; the module's own by default.
    rtol : float
        Local error allowed to the parameters, relative to the path length. Errors of the
        velocity by differences do not move the outputs off the curve.
    max_steps : int
        Step budget of every smooth piece. Where ``rtol`` would need more (networks with kinks),
        steps of an even share are taken, and ``parameter_error`` says what accuracy that gave.
    keep : sequence of str
        Which of the large variables ``outputs``, ``parameters``, ``singular_values`` to store.
        ``final_parameters`` is stored in any case.
    strict : bool
        Raise `NumericalError` where the status is not "converged".

    Returns
    -------
    xarray.Dataset
        Over ``time``: ``tracking_error`` (distance of the outputs from the curve),
        ``parameter_error`` (estimate), ``path_length`` (Euclidean, of the parameters), ``rank``,
        ``rank_tolerance``, ``smallest_singular_value``, ``largest_singular_value``, and what
        ``keep`` names. Attributes: ``regime``, ``status`` and ``message``. The status is
        ``"converged"`` (the end of the curve is reached), ``"left_range"`` (the curve's velocity
        is not in range D, which had lost no rank on the way), ``"rank_lost"`` (D lost rank on the
        way) or ``"collapsed"`` (no step, however small, stays on the curve, as at a kink of the
        network across which there is no lift); the path up to there is kept.

    Raises
    ------
    InputError
        If the curve does not start at x(theta_0), sizes do not fit, or numbers are out of range.
    InputTypeError
        If ``outputs`` is not an `OutputMap` or an argument is of the wrong kind.
    NumericalError
        With ``strict=True``, see above.

    Examples
    --------
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    ... ).double()
    >>> outputs = OutputMap(network, [[-1.0], [1.0]])
    >>> x = outputs().numpy()
    >>> path = horizontal_lift(outputs, [x, x + [0.1, 0.0], x + [0.1, 0.1]])
    >>> path.status, bool(np.allclose(outputs(path.final_parameters), x + 0.1, atol=1e-8))
    ('converged', True)

    References
    ----------
    R. Montgomery, A Tour of Subriemannian Geometries, Their Geodesics and Applications, AMS 2002
    (horizontal lifts).
    """
    _check(outputs, rtol, max_steps, keep)
    theta = outputs.as_parameters(start)
    at = outputs.linearize(theta)
    if not bool(torch.isfinite(at.value).all()):
        raise InputError("the outputs have NaN or Inf at the initial parameters")
    pieces = read_curve(curve, outputs, at.value, velocity)
    wanted = _read_times(times, pieces[-1].end)
    run = _Lift(at, pieces, wanted, float(rtol), int(max_steps))
    rows: dict[str, list[Any]] = {}
    last = None
    for time, point, store in run:
        last = point
        if store:
            _record(rows, time, point, run.lift, keep)
    assert last is not None
    if rows.get("time", [None])[-1] != run.time:
        _record(rows, run.time, last, run.lift, keep)
    dataset = _dataset(
        rows,
        last.at,
        arguments={
            "curve": curve,
            "velocity": velocity,
            "times": times,
            "start": start,
            "rtol": rtol,
            "max_steps": max_steps,
        },
        attributes=run.attributes(),
    )
    if strict and run.status != "converged":
        raise NumericalError(f"horizontal lift: status {run.status!r}: {run.message}")
    return dataset


class _Lift:
    """The path over the pieces of a curve, one after the other."""

    def __init__(
        self,
        start: Linearization,
        pieces: list[Piece],
        wanted: np.ndarray | None,
        rtol: float,
        max_steps: int,
    ) -> None:
        self.start = start
        self.pieces = pieces
        self.wanted = wanted
        self.rtol = rtol
        self.max_steps = max_steps
        self.status, self.message = "running", ""
        self.time = 0.0
        self.steps = self.loose_steps = self.rejected_steps = 0
        self._decide_regime()

    def _decide_regime(self) -> None:
        """Whether D has full row rank at the start, and where to truncate where it has not."""
        outputs = self.start.outputs
        self.lift = PathLift(outputs)
        stored = self.start.gram_fits or self.start.jacobian_fits
        full = outputs.dimension >= outputs.size
        if full and stored:
            full = isinstance(self.lift.factor(self.start), TriangularFactor)
        self.regime = regime_of(outputs, full)
        if full:
            return
        self.lift = PathLift(outputs, deficient=True)
        factor = self.start.spectrum()
        self.start.factor = factor
        decision = factor.decision
        rank = int(decision)
        if 0 < rank < len(decision.singular_values):
            # At the middle of the gap, so that rounding moves no value across the cut.
            smallest = float(decision.singular_values[rank - 1])
            self.lift.cutoff = math.sqrt(decision.tolerance * smallest)

    def __iter__(self) -> Generator[tuple[float, PathPoint, bool], None, None]:
        """Yield time, point and whether it is to be stored; length and error are those in all."""
        at = self.start
        length = error = 0.0
        for number, piece in enumerate(self.pieces):
            wanted = self._wanted(piece)
            follower = PathFollower(
                self.lift,
                at,
                piece.curve,
                piece.span,
                rtol=self.rtol,
                times=list(wanted),
                max_steps=self.max_steps,
            )
            point = None
            for step in follower:
                point = PathPoint(
                    step.time,
                    step.at,
                    step.tracking_error,
                    error + step.parameter_error,
                    length + step.path_length,
                )
                if step.time == 0.0 and number:
                    continue
                self.time = wanted.get(step.time, piece.time(step.time))
                ended = self.time == self.pieces[-1].end
                store = self.wanted is None or step.time in wanted or ended
                yield self.time, point, store
            assert point is not None
            self.steps += follower.steps
            self.loose_steps += follower.loose_steps
            self.rejected_steps += follower.rejected_steps
            if follower.outcome != "end":
                self._ended_early(point.at, follower.outcome)
                return
            at, length, error = point.at, point.path_length, point.parameter_error
        self.status, self.message = "converged", "the end of the curve is reached"

    def _wanted(self, piece: Piece) -> dict[float, float]:
        """The times wanted on a piece, by its own parameter; those at its ends exactly there."""
        if self.wanted is None:
            return {}
        near = 1e-12 * self.pieces[-1].end
        found = {}
        for time in self.wanted:
            if piece.begin - near <= time <= piece.end + near:
                t = piece.parameter(float(time))
                ends = (0.0, piece.begin), (piece.span, piece.end)
                t = next((end for end, edge in ends if abs(time - edge) <= near), t)
                found[t] = float(time)
        return found

    def _ended_early(self, at: Linearization, outcome: str) -> None:
        """Tell a loss of rank from a curve that leaves the range, or a kink."""
        self.status = outcome
        where = f"at time {self.time:.6g}"
        if not (at.gram_fits or at.jacobian_fits):
            self.message = f"{where} no step stays on the curve; the rank is not known"
            return
        decision = at.rank()
        values = decision.singular_values
        before = self.start.rank(absolute=self.lift.cutoff)
        reference = float(before.singular_values[int(before) - 1]) if before else 0.0
        kept = int((values > max(decision.tolerance, LOST_BELOW * reference)).sum())
        spectrum = f"singular values from {values[0]:.3g} to {values[-1]:.3g}"
        if kept < int(before):
            self.status = "rank_lost"
            self.message = f"D lost rank {where}: {kept} of {int(before)} is left, {spectrum}"
        elif outcome == "left_range":
            self.message = (
                f"{where} the velocity of the curve is not in range D, of rank {kept} in "
                f"R^{at.outputs.size}: no motion of the parameters follows it"
            )
        else:
            self.message = f"{where} no step stays on the curve, though D has {spectrum}"

    def attributes(self) -> dict[str, Any]:
        """The outcome, as attributes of the dataset."""
        curve = self.pieces[0].curve
        count = self.lift.count
        return {
            "regime": self.regime,
            "status": self.status,
            "message": self.message,
            "velocity_error": curve.velocity_error if isinstance(curve, TimedCurve) else 0.0,
            "pieces": len(self.pieces),
            "steps": self.steps,
            "rejected_steps": self.rejected_steps,
            "loose_steps": self.loose_steps,
            "lifts": count.lifts,
            "factorizations": dict(count.factorizations),
            "krylov_iterations": count.iterations,
        }


def _record(
    rows: dict[str, list[Any]], time: float, point: PathPoint, lift: PathLift, keep: Sequence[str]
) -> None:
    at = point.at
    row: dict[str, Any] = {
        "time": time,
        "tracking_error": point.tracking_error,
        "parameter_error": point.parameter_error,
        "path_length": point.path_length,
        **measure_spectrum(at, lift, every="singular_values" in keep),
    }
    if "outputs" in keep:
        outputs = at.outputs
        row["outputs"] = at.value.cpu().numpy().reshape(outputs.samples, outputs.width)
    if "parameters" in keep:
        row["parameters"] = at.parameters.cpu().numpy()
    for name, value in row.items():
        rows.setdefault(name, []).append(value)


_LONG_NAMES = {
    "tracking_error": "distance of the outputs from the curve",
    "parameter_error": "estimated error of the parameters along the fibre",
    "path_length": "Euclidean length of the path of parameters",
    "rank": "numerical rank of D (-1: not decided)",
    "smallest_singular_value": "smallest singular value of D (NaN: not computed)",
    "largest_singular_value": "largest singular value of D (NaN: not computed)",
    "rank_tolerance": "singular values at or below this count as zero",
    "outputs": "outputs of the network x",
    "parameters": "parameters of the network theta",
    "singular_values": "singular values of D",
}
_FURTHER_DIMENSIONS = {
    "outputs": ("sample", "output"),
    "parameters": ("parameter",),
    "singular_values": ("singular_value",),
}


def _dataset(
    rows: dict[str, list[Any]],
    last: Linearization,
    *,
    arguments: dict[str, Any],
    attributes: dict[str, Any],
) -> xr.Dataset:
    variables: dict[str, Any] = {
        name: (
            ("time", *_FURTHER_DIMENSIONS.get(name, ())),
            np.stack(values),
            _LONG_NAMES[name],
            "1",
        )
        for name, values in rows.items()
        if name != "time"
    }
    variables["final_parameters"] = (
        "parameter",
        last.parameters.cpu().numpy(),
        "parameters of the network at the last time",
        "1",
    )
    return build_dataset(
        variables,
        {"time": ("time", np.asarray(rows["time"]), "time t of the curve", "1")},
        function="subriem.horizontal_lift",
        arguments=arguments,
        structure=repr(last.outputs),
        attributes=attributes,
    )


def _check(outputs: Any, rtol: float, max_steps: int, keep: Sequence[str]) -> None:
    check_map(outputs)
    if isinstance(rtol, bool) or not isinstance(rtol, Real):
        raise InputTypeError(f"rtol must be a number, got {rtol!r}")
    if not 0.0 < rtol < 1.0:
        raise InputError(f"rtol must be in (0, 1), got {rtol}")
    if isinstance(max_steps, bool) or not isinstance(max_steps, Integral):
        raise InputTypeError(f"max_steps must be a whole number, got {max_steps!r}")
    if max_steps < 1:
        raise InputError(f"max_steps must be at least 1, got {max_steps}")
    if isinstance(keep, str) or set(keep) - set(LARGE_VARIABLES):
        raise InputError(f"keep must be a sequence out of {LARGE_VARIABLES}, got {keep!r}")


def _read_times(times: Any, end: float) -> np.ndarray | None:
    if times is None:
        return None
    try:
        values = np.asarray(getattr(times, "values", times), dtype=float)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"times must be numbers, got {times!r}") from error
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise InputError(f"times must be a sequence of finite numbers, got {times!r}")
    if values[0] < 0 or values[-1] > end or (np.diff(values) <= 0).any():
        raise InputError(f"the times wanted must increase within [0, {end:g}], got {times!r}")
    return values
