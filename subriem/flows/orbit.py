"""The record of a flow: what is measured at every stored time, and the dataset made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from subriem.factorization import TriangularFactor, relative_resolution
from subriem.flows.losses import Loss
from subriem.flows.path_following import PathPoint
from subriem.flows.path_lift import PathLift
from subriem.krylov import extreme_eigenvalues
from subriem.network import Linearization, OutputMap
from subriem.results import build_dataset

__all__ = [
    "LARGE_VARIABLES",
    "OrbitPoint",
    "OrbitRecorder",
    "RankLoss",
    "Stage",
    "measure_spectrum",
    "regime_of",
]

#: Variables of an orbit that grow with the network, and can be left out.
LARGE_VARIABLES = ("outputs", "parameters", "singular_values")

# Up to the first size all singular values are computed at every stored time; up to the second
# the two extreme ones, from a factorization made for it; beyond, where one exists anyway.
_FULL_SPECTRUM = 1024
_EXTREMES = 4096
_LOST_DIRECTIONS = 64


@dataclass(frozen=True)
class OrbitPoint:
    """What a callback of `flow` sees at every stored time.

    Attributes
    ----------
    time : float
        The flow's own time.
    loss, predicted_loss : float
    tracking_error, path_length : float
    parameters : Tensor, shape (K,)
    outputs : Tensor, shape (NQ,)

    Examples
    --------
    >>> from subriem.flows import SquaredLoss, flow
    >>> outputs = OutputMap(torch.nn.Linear(1, 1).double(), [[2.0]])
    >>> seen: list[OrbitPoint] = []
    >>> orbit = flow(outputs, SquaredLoss([1.0]), callback=seen.append)
    >>> len(seen) == orbit.sizes["time"], seen[0].time
    (True, 0.0)
    """

    time: float
    loss: float
    predicted_loss: float
    tracking_error: float
    path_length: float
    parameters: torch.Tensor
    outputs: torch.Tensor


@dataclass(frozen=True)
class RankLoss:
    """An event: D lost rank, or had lost it from the start.

    Attributes
    ----------
    time : float
        The flow's own time.
    kind : str
        ``"initial"``, ``"left_range"`` or ``"collapsed"``; what showed it.
    rank : int
        The rank that is left.
    tolerance : float
        Singular values at or below this (absolute) count as lost.
    smallest_kept, largest_lost : float
        The singular values on both sides of the decision.
    lost : Tensor, shape (NQ, k)
        Left singular vectors of the lost directions: which samples and outputs they mix.
    """

    time: float
    kind: str
    rank: int
    tolerance: float
    smallest_kept: float
    largest_lost: float
    lost: torch.Tensor

    def summary(self, width: int) -> dict[str, Any]:
        """The event as plain numbers, with the sample and output that weigh most in it."""
        weights = (self.lost**2).sum(1)
        top = int(weights.argmax()) if len(weights) and self.lost.shape[1] else -1
        return {
            "kind": self.kind,
            "time": self.time,
            "rank": self.rank,
            "lost_directions": int(self.lost.shape[1]),
            "tolerance": self.tolerance,
            "smallest_kept": self.smallest_kept,
            "largest_lost": self.largest_lost,
            "heaviest_sample": top // width if top >= 0 else None,
            "heaviest_output": top % width if top >= 0 else None,
        }


def regime_of(outputs: OutputMap, full: bool) -> str:
    """Name the regime of a map whose Jacobian was found of full rank, min(NQ, K), or not.

    Parameters
    ----------
    outputs : OutputMap
    full : bool

    Returns
    -------
    {"full row rank", "rank-deficient", "under-parametrized"}
    """
    if outputs.dimension < outputs.size:
        return "under-parametrized"
    return "full row rank" if full else "rank-deficient"


@dataclass(frozen=True)
class Stage:
    """A point of the flow on its way to the recorder.

    Attributes
    ----------
    point : PathPoint
    time : float
        The flow's own time.
    predicted : float
        Predicted loss, or NaN.
    wanted : bool
        Whether it is to be stored.
    """

    point: PathPoint
    time: float
    predicted: float
    wanted: bool


def measure_spectrum(at: Linearization, lift: PathLift, *, every: bool) -> dict[str, Any]:
    """Rank and extreme singular values of D at a point, as far as its size lets one afford.

    Parameters
    ----------
    at : Linearization
    lift : PathLift
        Gives the factorization that the extreme singular values may need.
    every : bool
        Whether to keep all singular values where they are computed.

    Returns
    -------
    dict
        ``rank`` (-1 where not decided), ``smallest_singular_value``,
        ``largest_singular_value``, ``rank_tolerance``, and ``singular_values``.
    """
    outputs = at.outputs
    short = min(outputs.size, outputs.dimension)
    if short <= _FULL_SPECTRUM and (at.gram_fits or at.jacobian_fits):
        decision = at.rank(absolute=lift.cutoff, resolve=not lift.deficient)
        values = decision.singular_values
        found: dict[str, Any] = {
            "rank": int(decision),
            "smallest_singular_value": float(values[-1]),
            "largest_singular_value": float(values[0]),
            "rank_tolerance": decision.tolerance,
        }
        if every:
            found["singular_values"] = values
        return found
    known = "factor" in at.__dict__
    if known or (outputs.size <= _EXTREMES and at.gram_fits):
        factor = lift.factor(at)
        if isinstance(factor, TriangularFactor) and factor.method != "damped":
            largest, smallest = extreme_eigenvalues(at.gram_action, factor.solve, at.value)
            eps = torch.finfo(outputs.dtype).eps
            relative = (
                relative_resolution(outputs.size, eps, "gram")
                if factor.method == "cholesky"
                else relative_resolution(outputs.dimension, eps, "svd")
            )
            return {
                "rank": factor.rank,
                "smallest_singular_value": math.sqrt(smallest),
                "largest_singular_value": math.sqrt(largest),
                "rank_tolerance": relative * math.sqrt(largest),
            }
    return {
        "rank": -1,
        "smallest_singular_value": math.nan,
        "largest_singular_value": math.nan,
        "rank_tolerance": math.nan,
    }


class OrbitRecorder:
    """Collect points of an orbit and make its dataset.

    Parameters
    ----------
    loss : Loss
    targets : Tensor, shape (NQ,)
    keep : sequence of str
        Which of `LARGE_VARIABLES` to store.
    """

    def __init__(self, loss: Loss, targets: torch.Tensor, keep: tuple[str, ...]) -> None:
        self.loss = loss
        self.targets = targets
        self.keep = keep
        self.rows: dict[str, list[Any]] = {}
        self.excess: list[float] = []
        self.events: list[RankLoss] = []
        self.last: Linearization | None = None

    def add(
        self, point: PathPoint, time: float, predicted: float, lift: PathLift, *, before: PathPoint
    ) -> OrbitPoint:
        """Measure a point and keep it.

        Parameters
        ----------
        point : PathPoint
        time : float
            The flow's own time.
        predicted : float
            Predicted loss, NaN where there is no prediction.
        lift : PathLift
            Gives the factorization that the extreme singular values may need.
        before : PathPoint
            Path length and parameter error that came before this stretch.

        Returns
        -------
        OrbitPoint
        """
        at = point.at
        loss = self.loss.value(at.value, self.targets)
        length = before.path_length + point.path_length
        row: dict[str, Any] = {
            "time": time,
            "loss": loss,
            "predicted_loss": predicted,
            "tracking_error": point.tracking_error,
            "parameter_error": before.parameter_error + point.parameter_error,
            "path_length": length,
            **measure_spectrum(at, lift, every="singular_values" in self.keep),
        }
        if "outputs" in self.keep:
            row["outputs"] = at.value.cpu().numpy()
        if "parameters" in self.keep:
            row["parameters"] = at.parameters.cpu().numpy()
        for name, value in row.items():
            self.rows.setdefault(name, []).append(value)
        self.excess.append(self.loss.excess(at.value, self.targets))
        self.last = at
        return OrbitPoint(
            time,
            loss,
            predicted,
            point.tracking_error,
            length,
            at.parameters.clone(),
            at.value.clone(),
        )

    def dataset(
        self,
        *,
        time_name: str,
        arguments: Mapping[str, Any],
        attributes: Mapping[str, Any],
    ) -> xr.Dataset:
        """Build the dataset of DESIGN section 4.

        Parameters
        ----------
        time_name : str
            Long name of the time of this kind of flow.
        arguments, attributes : mapping
            Of the call, and of the outcome.

        Returns
        -------
        xarray.Dataset
        """
        assert self.last is not None
        outputs = self.last.outputs
        count = len(self.rows["time"])
        names = {
            "loss": "loss C",
            "predicted_loss": "loss predicted in advance (NaN: no prediction)",
            "tracking_error": "distance of the outputs from their known path (NaN: none known)",
            "parameter_error": "estimated error of the parameters along the fibre (NaN: not known)",
            "path_length": "Euclidean length of the path of parameters",
            "smallest_singular_value": "smallest singular value of D (NaN: not computed)",
            "largest_singular_value": "largest singular value of D (NaN: not computed)",
            "rank_tolerance": "singular values at or below this count as zero",
        }
        variables: dict[str, Any] = {
            name: ("time", np.asarray(self.rows[name], dtype=float), long_name, "1")
            for name, long_name in names.items()
        }
        variables["rank"] = (
            "time",
            np.asarray(self.rows["rank"], dtype=np.int64),
            "numerical rank of D (-1: not decided)",
            "1",
        )
        if len(self.rows.get("singular_values", ())) == count:
            stacked = np.stack(self.rows["singular_values"])
            dims = ("time", "singular_value")
            variables["singular_values"] = (dims, stacked, "singular values of D", "1")
        if "outputs" in self.rows:
            values = np.stack(self.rows["outputs"])
            values = values.reshape(count, outputs.samples, outputs.width)
            dims3 = ("time", "sample", "output")
            variables["outputs"] = (dims3, values, "outputs of the network x", "1")
        if "parameters" in self.rows:
            values = np.stack(self.rows["parameters"])
            dims = ("time", "parameter")
            variables["parameters"] = (dims, values, "parameters of the network theta", "1")
        variables["final_parameters"] = (
            "parameter",
            self.last.parameters.cpu().numpy(),
            "parameters of the network at the last time",
            "1",
        )
        if self.events:
            lost = self.events[-1].lost[:, :_LOST_DIRECTIONS].T.cpu().numpy()
            values = lost.reshape(-1, outputs.samples, outputs.width)
            variables["lost_directions"] = (
                ("direction", "sample", "output"),
                values,
                "orthonormal basis of the output directions lost (last event)",
                "1",
            )
        return build_dataset(
            variables,
            {"time": ("time", np.asarray(self.rows["time"]), time_name, "1")},
            function="subriem.flow",
            arguments=arguments,
            structure=repr(outputs),
            attributes={
                **attributes,
                "events": [event.summary(outputs.width) for event in self.events],
            },
        )
