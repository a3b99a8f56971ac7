"""Losses as functions on output space R^{NQ}: value, gradient, minimizer.

The factor is 1/(2N) for the squared loss and 1/N for the cross-entropy (N samples, not NQ).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from subriem.errors import InputError, InputTypeError

__all__ = ["CrossEntropyLoss", "Loss", "SquaredLoss"]


def _as_numbers(values: Any, name: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    values = getattr(values, "values", values)
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise TypeError("they are complex")
        if array.dtype.kind not in "biuf":
            array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"{name} are not an array of numbers: {error}") from error
    if array.size == 0:
        raise InputError(f"{name} are empty, shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = int(np.argwhere(~np.isfinite(np.atleast_1d(array)))[0, 0])
        raise InputError(f"{name} have NaN or Inf, first in sample {first}")
    return array


class Loss(ABC):
    """A loss on output space; `SquaredLoss` and `CrossEntropyLoss` are the two there are.

    Parameters
    ----------
    targets : ndarray, shape (N, Q)

    Examples
    --------
    >>> isinstance(SquaredLoss([1.0, 2.0]), Loss)
    True
    """

    #: The least value the loss can take on output space.
    minimum: float = 0.0

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = targets

    @property
    def samples(self) -> int:
        """N, the number of samples."""
        return int(self.targets.shape[0])

    @property
    @abstractmethod
    def time_constant(self) -> float:
        """The slowest time constant of x' = -grad_x C near the minimum."""

    def fit(self, samples: int, width: int, like: torch.Tensor) -> torch.Tensor:
        """Bring the targets to the outputs' size, dtype and device, or say what does not fit.

        Parameters
        ----------
        samples, width : int
            N and Q of the outputs.
        like : Tensor
            Gives dtype and device.

        Returns
        -------
        Tensor, shape (NQ,)

        Raises
        ------
        InputError
            If the numbers differ.
        """
        if self.targets.size != samples * width or self.samples != samples:
            raise InputError(
                f"targets have shape {self.targets.shape}; the outputs are {samples} samples x "
                f"{width} outputs, so ({samples}, {width}) was expected"
            )
        return torch.as_tensor(self.targets.reshape(-1), dtype=like.dtype, device=like.device)

    @abstractmethod
    def value(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """C(x) for outputs x and fitted targets y.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        float
        """

    @abstractmethod
    def excess(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """C(x) minus the minimum over output space, free of cancellation.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        float
        """

    @abstractmethod
    def gradient(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The gradient of C by the outputs.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        Tensor, shape (NQ,)
        """

    @abstractmethod
    def curvature(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The Hessian of C in output space, applied to v.

        Parameters
        ----------
        x, v : Tensor, shape (NQ,)
            Outputs, and a velocity of them.

        Returns
        -------
        Tensor, shape (NQ,)
        """

    @abstractmethod
    def minimizer(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The point of output space at which the Euclidean gradient flow from x ends.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        Tensor, shape (NQ,)
        """


class SquaredLoss(Loss):
    """C = 1/(2N) sum_j |x_j - y_j|^2.

    Parameters
    ----------
    targets : array_like, shape (N, Q) or (N,)
        The labels y.

    Raises
    ------
    InputTypeError
        If the targets are not numbers.
    InputError
        If they are empty or not finite.

    Examples
    --------
    >>> loss = SquaredLoss([[1.0], [0.0]])
    >>> loss
    SquaredLoss(2 samples x 1 outputs)
    >>> loss.value(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 0.0]))
    1.0

    References
    ----------
    T. Chen, arXiv:2311.15487.
    """

    def __init__(self, targets: Any) -> None:
        array = _as_numbers(targets, "targets").astype(float)
        if array.ndim == 0:
            raise InputError("targets are a single number; expected shape (N, Q) or (N,)")
        super().__init__(array.reshape(array.shape[0], -1))

    def __repr__(self) -> str:
        return f"SquaredLoss({self.targets.shape[0]} samples x {self.targets.shape[1]} outputs)"

    def value(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """C(x), dimensionless.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        float
        """
        return float(((x - y) ** 2).sum(dtype=torch.float64)) / (2 * self.samples)

    @property
    def time_constant(self) -> float:
        """N: all rates are 1/N."""
        return float(self.samples)

    def excess(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """C(x), as the minimum is zero.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        float
        """
        return self.value(x, y)

    def gradient(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """grad_x C = (x - y)/N.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        return (x - y) / self.samples

    def curvature(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """v/N.

        Parameters
        ----------
        x, v : Tensor, shape (NQ,)
            Outputs, and a velocity of them.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        return v / self.samples

    def minimizer(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The targets themselves.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        return y


class CrossEntropyLoss(Loss):
    """C = -(1/N) sum_j sum_i y_ji log softmax(x_j)_i with positive labels.

    With positive labels the infimum over output space is attained: on the fibre of fixed
    component sums it is the single point x_ji = log y_ji + const, and its value is the labels'
    mean entropy (Chen, Munoz Ewald, arXiv:2408.01517).

    Parameters
    ----------
    targets : array_like of int, shape (N,), or of float, shape (N, Q)
        Class numbers, or label distributions whose rows sum to one.
    smoothing : float
        Label smoothing in [0, 1): labels become (1 - smoothing) y + smoothing / Q.
    classes : int, optional
        Q for class numbers; one more than the largest by default.

    Raises
    ------
    InputError
        If a label is not positive after smoothing, a row does not sum to one, a class number
        is out of range, or ``classes`` is given with label distributions.
    InputTypeError
        If the targets are not numbers.

    Examples
    --------
    >>> CrossEntropyLoss([0, 2, 1], smoothing=0.1)
    CrossEntropyLoss(3 samples x 3 classes, minimum 0.291)
    """

    def __init__(self, targets: Any, *, smoothing: float = 0.0, classes: int | None = None) -> None:
        array = _as_numbers(targets, "targets")
        if not 0.0 <= smoothing < 1.0:
            raise InputError(f"smoothing must be in [0, 1), got {smoothing}")
        if array.ndim == 1 and array.dtype.kind in "iu":
            count = int(array.max()) + 1 if classes is None else classes
            if array.min() < 0 or array.max() >= count:
                raise InputError(
                    f"class numbers must be in 0..{count - 1}, got {array.min()}..{array.max()}"
                )
            array = np.eye(count)[array]
        elif classes is not None:
            raise InputError(
                f"classes goes with class numbers; got it with labels of shape {array.shape}"
            )
        elif array.ndim != 2:
            raise InputError(
                f"targets have shape {array.shape} and dtype {array.dtype}; expected class numbers "
                "(integers, shape (N,)) or label distributions (shape (N, Q))"
            )
        labels = array.astype(float)
        sums = labels.sum(1)
        if np.abs(sums - 1.0).max() > 1e-6:
            raise InputError(
                f"label distributions must sum to one, sample {int(np.abs(sums - 1).argmax())} "
                f"sums to {sums[np.abs(sums - 1).argmax()]:.6g}"
            )
        labels = (1.0 - smoothing) * labels / sums[:, None] + smoothing / labels.shape[1]
        if labels.min() <= 0.0:
            raise InputError(
                "cross-entropy has a minimum only for positive labels; the smallest label is "
                f"{labels.min():.3g}: give smoothing > 0"
            )
        super().__init__(labels)
        self.minimum = float(-(labels * np.log(labels)).sum() / labels.shape[0])

    def __repr__(self) -> str:
        samples, classes = self.targets.shape
        return (
            f"CrossEntropyLoss({samples} samples x {classes} classes, minimum {self.minimum:.3g})"
        )

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(self.targets.shape)

    def value(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """C(x), in nats.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        float
        """
        logs = torch.log_softmax(self._rows(x), 1)
        return -float((self._rows(y) * logs).sum(dtype=torch.float64)) / self.samples

    @property
    def time_constant(self) -> float:
        """At most N over the smallest label."""
        return self.samples / float(self.targets.min())

    def excess(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """C(x) minus its minimum, as a mean Kullback-Leibler divergence (no cancellation).

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        float
        """
        labels = self._rows(y).double()
        ratio = torch.log_softmax(self._rows(x).double(), 1) - labels.log()
        # KL(y|p) = sum y (r - 1 + exp(-r) ... ) written with expm1 keeps digits near zero.
        return float((labels * (torch.expm1(ratio) - ratio)).sum()) / self.samples

    def gradient(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """grad_x C = (softmax(x) - y)/N.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        return ((torch.softmax(self._rows(x), 1) - self._rows(y)) / self.samples).reshape(-1)

    def curvature(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(diag p - p p') v / N, a sample at a time.

        Parameters
        ----------
        x, v : Tensor, shape (NQ,)
            Outputs, and a velocity of them.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        p = torch.softmax(self._rows(x), 1)
        rows = self._rows(v)
        product = p * rows - p * (p * rows).sum(1, keepdim=True)
        return (product / self.samples).reshape(-1)

    def minimizer(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Log y_ji shifted a sample at a time to the component sums of x, which the flow keeps.

        Parameters
        ----------
        x, y : Tensor, shape (NQ,)
            Outputs and fitted targets.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        logs = self._rows(y).log()
        shift = (self._rows(x) - logs).mean(1, keepdim=True)
        return (logs + shift).reshape(-1)
