"""Equilibria with C > 0: the rank behind them, and the critical manifold they fill.

At a stationary point D' grad_x C = 0; where grad_x C is not zero D lacks full row rank. Chen
predicts that such points generically fill a manifold of dimension K - rank D. Here that number is
set beside the nullity of the Hessian of C, which bounds the dimension of the critical set from
above, and the manifold is walked: each point is verified to be stationary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from subriem.errors import InputError
from subriem.flows.losses import Loss
from subriem.network import Linearization, OutputMap
from subriem.results import build_dataset

__all__ = ["critical_manifold", "equilibrium"]

_STATIONARY = 1e-7
_NULL = 1e-6
# The Hessian is formed and diagonalized, K x K.
_LARGEST = 3000
_NEWTON = 20


@dataclass(frozen=True)
class _Critical:
    """A point with the Hessian of C there, diagonalized."""

    at: Linearization
    gradient: torch.Tensor
    eigenvalues: torch.Tensor
    vectors: torch.Tensor
    stationarity: float

    @property
    def null(self) -> torch.Tensor:
        """Which eigenvalues count as zero: below 1e-6 of the largest in magnitude."""
        size = self.eigenvalues.abs()
        return size <= _NULL * float(size.max())

    @property
    def gap(self) -> float:
        """Smallest eigenvalue counted over the largest not counted, in magnitude."""
        size = self.eigenvalues.abs()
        null = self.null
        if bool(null.all()) or not bool(null.any()):
            return math.inf
        largest_null = float(size[null].max())
        return float(size[~null].min()) / largest_null if largest_null > 0 else math.inf


def _examine(outputs: OutputMap, loss: Loss, targets: torch.Tensor, theta: Any) -> _Critical:
    at = outputs.linearize(theta)
    covector = loss.gradient(at.value, targets)
    basis = torch.eye(outputs.dimension, dtype=outputs.dtype, device=outputs.device)
    images = at.jvp(basis)
    bent = torch.stack([loss.curvature(at.value, image) for image in images])
    hessian = images @ bent.mT + at.bend(covector, basis)
    eigenvalues, vectors = torch.linalg.eigh((hessian + hessian.mT) / 2)
    gradient = images @ covector
    size = float(torch.linalg.matrix_norm(images)) * float(torch.linalg.vector_norm(covector))
    relative = float(torch.linalg.vector_norm(gradient)) / size if size > 0 else 0.0
    return _Critical(at, gradient, eigenvalues, vectors, relative)


def _prepare(outputs: OutputMap, loss: Loss) -> torch.Tensor:
    if outputs.dimension > _LARGEST:
        raise InputError(
            f"the Hessian is formed for at most {_LARGEST} parameters, got {outputs.dimension}"
        )
    return loss.fit(outputs.samples, outputs.width, outputs.parameters)


def equilibrium(outputs: OutputMap, loss: Loss, at: Any = None) -> xr.Dataset:
    """Describe a stationary point: rank, predicted and measured dimension of the critical set.

    Parameters
    ----------
    outputs : OutputMap
        With at most 3000 parameters.
    loss : SquaredLoss or CrossEntropyLoss
    at : array_like or mapping, shape (K,), optional
        The point, for instance ``orbit.final_parameters``; the map's own by default.

    Returns
    -------
    xarray.Dataset
        ``tangent_basis`` (direction, parameter): orthonormal basis of the kernel of the Hessian,
        the tangent space of the critical manifold; ``hessian_eigenvalues`` (parameter);
        ``singular_values``; scalars ``loss``, ``stationarity`` (|D'g| / (|D| |g|), Frobenius
        norm of D), ``rank``, ``predicted_dimension`` (K - rank), ``dimension`` (nullity of the
        Hessian, by a tolerance of 1e-6) and ``hessian_gap`` at that decision. Attribute
        ``status``: ``"stationary"`` or ``"not stationary"`` (above 1e-7), and whether the
        dimensions agree.

    Raises
    ------
    InputError
        If sizes do not fit or the network is too large.

    Examples
    --------
    >>> from subriem.flows import SquaredLoss
    >>> network = torch.nn.Linear(1, 1).double()
    >>> outputs = OutputMap(network, [[0.5], [0.5]])  # one input twice, two labels
    >>> found = equilibrium(outputs, SquaredLoss([1.0, 3.0]), at=[0.0, 2.0])
    >>> int(found["rank"]), int(found.predicted_dimension), int(found.dimension), float(found.loss)
    (1, 1, 1, 0.5)

    References
    ----------
    T. Chen, arXiv:2311.15487.
    """
    targets = _prepare(outputs, loss)
    found = _examine(outputs, loss, targets, outputs.as_parameters(at))
    decision = found.at.rank()
    predicted = outputs.dimension - int(decision)
    dimension = int(found.null.sum())
    tangent = found.vectors[:, found.null].mT
    return build_dataset(
        {
            "tangent_basis": (
                ("direction", "parameter"),
                tangent.cpu().numpy(),
                "orthonormal basis of the tangent space of the critical manifold",
                "1",
            ),
            "hessian_eigenvalues": (
                "parameter",
                found.eigenvalues.cpu().numpy(),
                "eigenvalues of the Hessian of C",
                "1",
            ),
            "singular_values": (
                "singular_value",
                decision.singular_values,
                "singular values of D",
                "1",
            ),
            "loss": ((), loss.value(found.at.value, targets), "loss C", "1"),
            "stationarity": ((), found.stationarity, "|D'g| over |D| |g|", "1"),
            "rank": ((), int(decision), "numerical rank of D", "1"),
            "rank_gap": ((), decision.gap, "gap of the singular values at the rank", "1"),
            "predicted_dimension": ((), predicted, "K - rank D", "1"),
            "dimension": ((), dimension, "nullity of the Hessian of C", "1"),
            "hessian_gap": ((), found.gap, "gap of the eigenvalues at the nullity", "1"),
        },
        function="subriem.equilibrium",
        arguments={"loss": loss, "at": at},
        structure=repr(outputs),
        attributes={
            "status": "stationary" if found.stationarity <= _STATIONARY else "not stationary",
            "agrees": predicted == dimension,
            "rank_tolerance": decision.tolerance,
        },
    )


def critical_manifold(
    outputs: OutputMap,
    loss: Loss,
    at: Any = None,
    *,
    points: int = 8,
    step: float = 0.1,
    generator: np.random.Generator | None = None,
) -> xr.Dataset:
    """Walk along the critical manifold through a stationary point, by continuation.

    From each point a step in a random direction of the kernel of the Hessian, then Newton's
    method (with the Hessian's pseudo-inverse) back to D' grad_x C = 0.

    Parameters
    ----------
    outputs : OutputMap
        With at most 3000 parameters.
    loss : SquaredLoss or CrossEntropyLoss
    at : array_like or mapping, shape (K,), optional
        A point near the manifold; it is polished first.
    points : int
        How many to find, beside the first.
    step : float
        Length of a step in parameter space.
    generator : numpy.random.Generator, optional
        By default seeded with 0.

    Returns
    -------
    xarray.Dataset
        Over ``point``: ``parameters``, ``loss``, ``stationarity``, ``verified`` (stationarity
        at most 1e-7), ``rank``, ``dimension`` (nullity of the Hessian) and ``moved`` (distance
        from the point before).

    Raises
    ------
    InputError
        If a number is out of range, sizes do not fit or the network is too large.

    Examples
    --------
    >>> from subriem.flows import SquaredLoss
    >>> outputs = OutputMap(torch.nn.Linear(1, 1).double(), [[0.5], [0.5]])
    >>> walk = critical_manifold(outputs, SquaredLoss([1.0, 3.0]), at=[0.0, 2.0], points=3)
    >>> bool(walk.verified.all()), bool(abs(walk.loss - 0.5).max() < 1e-12)
    (True, True)
    """
    if points < 0 or not step > 0:
        raise InputError(f"points must be >= 0 and step > 0, got {points}, {step}")
    targets = _prepare(outputs, loss)
    generator = generator or np.random.default_rng(0)
    here = _polish(outputs, loss, targets, outputs.as_parameters(at))
    walk = [here]
    for _ in range(points):
        if not bool(here.null.any()) or here.stationarity > _STATIONARY:
            break
        kernel = here.vectors[:, here.null]
        weights = torch.from_numpy(generator.standard_normal(kernel.shape[1])).to(kernel)
        direction = kernel @ (weights / torch.linalg.vector_norm(weights))
        here = _polish(outputs, loss, targets, here.at.parameters + step * direction)
        walk.append(here)
    thetas = torch.stack([point.at.parameters for point in walk])
    moved = torch.linalg.vector_norm(torch.diff(thetas, dim=0), dim=1)
    stationarity = np.array([point.stationarity for point in walk])
    return build_dataset(
        {
            "parameters": (
                ("point", "parameter"),
                thetas.cpu().numpy(),
                "parameters of the network theta",
                "1",
            ),
            "loss": ("point", [loss.value(p.at.value, targets) for p in walk], "loss C", "1"),
            "stationarity": ("point", stationarity, "|D'g| over |D| |g|", "1"),
            "verified": ("point", stationarity <= _STATIONARY, "whether it is stationary", "1"),
            "rank": ("point", [int(p.at.rank()) for p in walk], "numerical rank of D", "1"),
            "dimension": ("point", [int(p.null.sum()) for p in walk], "nullity of Hessian", "1"),
            "moved": (
                "point",
                np.concatenate([[0.0], moved.double().cpu().numpy()]),
                "distance in parameter space from the point before",
                "1",
            ),
        },
        function="subriem.critical_manifold",
        arguments={"loss": loss, "at": at, "points": points, "step": step},
        structure=repr(outputs),
        attributes={
            "status": "complete" if len(walk) == points + 1 else "stopped",
            "found": len(walk) - 1,
        },
    )


def _polish(outputs: OutputMap, loss: Loss, targets: torch.Tensor, theta: Any) -> _Critical:
    """Newton on D' grad_x C = 0, shortest steps, while it gains."""
    best = _examine(outputs, loss, targets, theta)
    for _ in range(_NEWTON):
        kept = ~best.null
        inverse = torch.where(kept, 1.0 / torch.where(kept, best.eigenvalues, 1.0), 0.0)
        move = best.vectors @ (inverse * (best.vectors.mT @ best.gradient))
        trial = _examine(outputs, loss, targets, best.at.parameters - move)
        if not trial.stationarity < 0.9 * best.stationarity:
            return trial if trial.stationarity < best.stationarity else best
        best = trial
    return best
