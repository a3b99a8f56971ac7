"""Curves in output space that a horizontal path is to lie over."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from scipy.integrate import solve_ivp

from subriem.errors import NumericalError
from subriem.flows.losses import Loss

__all__ = ["Curve", "EuclideanFlow", "Segment"]


class Curve(Protocol):
    """A curve t -> c(t) in R^{NQ} with its velocity, and how closely it is to be held."""

    def position(self, t: float) -> torch.Tensor:
        """c(t), shape (NQ,)."""

    def velocity(self, t: float) -> torch.Tensor:
        """dc/dt, shape (NQ,)."""

    def scale(self, t: float) -> float:
        """The distance from c(t) that counts as large: errors are measured against it."""

    def longest_step(self, t: float) -> float:
        """The longest step that may be taken from t."""


class Segment:
    """The segment c(t) = (1 - t) x_0 + t z on [0, 1].

    The adapted flow of the squared loss runs on it with 1 - t = e^{-s/N}.

    Parameters
    ----------
    start, end : Tensor, shape (NQ,)
    """

    def __init__(self, start: torch.Tensor, end: torch.Tensor) -> None:
        self.start = start
        self.end = end
        self._velocity = end - start
        self.length = float(torch.linalg.vector_norm(self._velocity))
        size = float(torch.linalg.vector_norm(end)) / self.length if self.length else 1.0
        #: Nearer to the end than this 1 - t, positions are not told apart.
        self.nearest = 10 * torch.finfo(start.dtype).eps * max(1.0, size)

    def position(self, t: float) -> torch.Tensor:
        """c(t), written from the end so that 1 - t keeps its digits."""
        return self.end - (1.0 - t) * self._velocity

    def velocity(self, t: float) -> torch.Tensor:
        """The constant z - x_0."""
        return self._velocity

    def scale(self, t: float) -> float:
        """The distance that remains to the end."""
        return (1.0 - t) * self.length

    def longest_step(self, t: float) -> float:
        """Nine tenths of what remains, so that every decade of the approach is looked at."""
        remaining = 1.0 - t
        return remaining if remaining <= 20 * self.nearest else 0.9 * remaining


class EuclideanFlow:
    """The curve x' = -grad_x C in output space itself, solved to near rounding in advance.

    In output space the flow splits into samples and is cheap and smooth; it is integrated by
    DOP853 (SciPy) with dense output.

    Parameters
    ----------
    loss : Loss
    start : Tensor, shape (NQ,)
    targets : Tensor, shape (NQ,)
    horizon : float
        Time up to which it is wanted.
    stop_at : float, optional
        Excess loss (over the loss's minimum) at which to stop earlier.

    Attributes
    ----------
    horizon : float
        The time reached: the a-priori stopping time where ``stop_at`` was met.

    Raises
    ------
    NumericalError
        If the integration fails.
    """

    def __init__(
        self,
        loss: Loss,
        start: torch.Tensor,
        targets: torch.Tensor,
        horizon: float,
        stop_at: float | None = None,
    ) -> None:
        self._loss = loss
        self._like = start
        self._targets = targets.double().cpu()
        self.end = loss.minimizer(start, targets)

        def field(_: float, x: np.ndarray) -> np.ndarray:
            return -loss.gradient(torch.from_numpy(x.copy()), self._targets).numpy()

        def excess(_: float, x: np.ndarray) -> float:
            assert stop_at is not None
            return math.log(max(self._excess(torch.from_numpy(x.copy())), 1e-300) / stop_at)

        excess.terminal = True  # type: ignore[attr-defined]
        found = solve_ivp(
            field,
            (0.0, horizon),
            start.double().cpu().numpy(),
            method="DOP853",
            rtol=1e-13,
            atol=1e-14,
            dense_output=True,
            events=None if stop_at is None else excess,
        )
        if not found.success:
            raise NumericalError(f"the output-space flow could not be integrated: {found.message}")
        self._dense = found.sol
        self.horizon = float(found.t[-1])
        self.stopped = bool(stop_at is not None and len(found.t_events[0]))

    def _excess(self, x: torch.Tensor) -> float:
        return self._loss.excess(x, self._targets)

    def position(self, t: float) -> torch.Tensor:
        """x(t) of the dense output."""
        return torch.as_tensor(self._dense(t), dtype=self._like.dtype, device=self._like.device)

    def velocity(self, t: float) -> torch.Tensor:
        """-grad_x C at x(t)."""
        x = torch.from_numpy(np.asarray(self._dense(t)))
        return -self._loss.gradient(x, self._targets).to(self._like)

    def loss(self, t: float) -> float:
        """C(x(t)), the prediction of the loss."""
        return self._loss.value(torch.from_numpy(np.asarray(self._dense(t))), self._targets)

    def scale(self, t: float) -> float:
        """The distance that remains to the minimizer."""
        return float(torch.linalg.vector_norm(self.end - self.position(t)))

    def longest_step(self, t: float) -> float:
        """No limit but the horizon."""
        return self.horizon
