"""Curves in output space as they are given: way points, a function of time, or a curve object.

Each is read as a list of smooth pieces, one after the other, so that a path over them can start
afresh at every kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from subriem.errors import InputError, InputTypeError
from subriem.flows.curves import Curve
from subriem.network import OutputMap
from subriem.network.reading import as_tensor

__all__ = ["Edge", "Piece", "TimedCurve", "quadrature_nodes", "read_curve"]

# A given velocity that differs from differences of the positions by this part is a wrong one.
_WRONG_VELOCITY = 1e-4
# Differences: the degree of the polynomial, its widest window, and where to stop halving that.
_DEGREE = 8
_WINDOW = 1 / 8
_HALVINGS = 12
_DIFFERENCES_RTOL = 1e-11
# Gauss-Legendre nodes for integrals along a smooth piece.
_PANELS, _NODES = 32, 8


class Edge:
    """The straight edge from one way point to the next, over t in [0, 1].

    Parameters
    ----------
    start, end : Tensor, shape (NQ,)
    scale : float
        The distance that errors are measured against.
    """

    def __init__(self, start: torch.Tensor, end: torch.Tensor, scale: float) -> None:
        self.start = start
        self.end = end
        self._velocity = end - start
        self._scale = scale

    def position(self, t: float) -> torch.Tensor:
        """(1 - t) start + t end, exact at both ends."""
        return self.end if t == 1.0 else self.start + t * self._velocity

    def velocity(self, t: float) -> torch.Tensor:
        """The constant end - start."""
        return self._velocity

    def scale(self, t: float) -> float:
        """The constant scale given."""
        return self._scale

    def longest_step(self, t: float) -> float:
        """No limit."""
        return math.inf


class TimedCurve:
    """A smooth curve t -> c(t) on [0, 1] given by a function, with its velocity.

    Parameters
    ----------
    curve : callable
        float -> array_like with NQ numbers.
    velocity : callable or None
        The derivative, of the same form; by differences of high order where there is none.
    outputs : OutputMap
        Gives size, dtype and device.

    Attributes
    ----------
    velocity_error : float
        Largest estimated error of a velocity found by differences, relative to the largest
        velocity; zero where the derivative is given.

    Raises
    ------
    InputError
        If a value has not NQ numbers or is not finite, or the derivative given is not that of
        the curve.
    """

    def __init__(
        self,
        curve: Callable[[float], Any],
        velocity: Callable[[float], Any] | None,
        outputs: OutputMap,
    ) -> None:
        self._curve = curve
        self._given = velocity
        self._outputs = outputs
        self.velocity_error = 0.0
        points = torch.stack([self.position(k / 32) for k in range(33)])
        chords = torch.linalg.vector_norm(points.diff(dim=0), dim=1)
        self._length = float(chords.sum())
        if velocity is not None:
            self._compare()

    def position(self, t: float) -> torch.Tensor:
        """c(t)."""
        return _read(self._curve(t), self._outputs, f"curve({t:.6g})")

    def velocity(self, t: float) -> torch.Tensor:
        """dc/dt, as given or by differences."""
        if self._given is not None:
            return _read(self._given(t), self._outputs, f"velocity({t:.6g})")
        found, error = self._differences(t)
        size = max(float(torch.linalg.vector_norm(found)), self._length)
        if size:
            self.velocity_error = max(self.velocity_error, error / size)
        return found

    def scale(self, t: float) -> float:
        """The length of the curve."""
        return self._length

    def longest_step(self, t: float) -> float:
        """A quarter, so that no turn of the curve is stepped over unseen."""
        return 0.25

    def _differences(self, t: float) -> tuple[torch.Tensor, float]:
        """The slope of an interpolating polynomial, and its change when the window is halved.

        Around t; on one side of t where that is no good, as next to a kink.
        """
        best, error = self._halved(t, 0.5)
        if error > self._fine(best):
            for part in (1.0, 0.0):
                slope, change = self._halved(t, part)
                if change < error:
                    best, error = slope, change
        return best, error

    def _fine(self, slope: torch.Tensor) -> float:
        return _DIFFERENCES_RTOL * max(float(torch.linalg.vector_norm(slope)), self._length)

    def _halved(self, t: float, part: float) -> tuple[torch.Tensor, float]:
        """Slope and its change for windows with this part of them before t."""
        width = _WINDOW
        slope = best = self._slope(t, width, part)
        error = math.inf
        for _ in range(_HALVINGS):
            width /= 2
            before, slope = slope, self._slope(t, width, part)
            change = float(torch.linalg.vector_norm(slope - before))
            if change < error:
                best, error = slope, change
            if error <= self._fine(best):
                break
        return best, error

    def _slope(self, t: float, width: float, part: float) -> torch.Tensor:
        # The window does not leave [0, 1], where the function may not exist.
        first = min(max(t - part * width, 0.0), 1.0 - width)
        nodes = np.cos(np.pi * np.arange(_DEGREE + 1) / _DEGREE)
        at = 2 * (t - first) / width - 1
        basis = np.polynomial.chebyshev.chebvander(nodes, _DEGREE)
        identity = np.eye(_DEGREE + 1)
        slopes = np.polynomial.chebyshev.chebval(at, np.polynomial.chebyshev.chebder(identity))
        weights = np.linalg.solve(basis.T, slopes) * 2 / width
        times = np.clip(first + width * (nodes + 1) / 2, 0.0, 1.0)
        values = torch.stack([self.position(float(time)) for time in times])
        # Differences to one value, so that a large constant does not cost digits.
        return torch.as_tensor(weights).to(values) @ (values - values[0])

    def _compare(self) -> None:
        for t in (0.0, 0.37, 1.0):
            found, error = self._differences(t)
            given = self.velocity(t)
            apart = float(torch.linalg.vector_norm(found - given))
            size = max(float(torch.linalg.vector_norm(found)), self._length)
            if apart > _WRONG_VELOCITY * size + 1e2 * error:
                raise InputError(
                    f"velocity({t:g}) differs from the derivative of the curve by {apart:.3g}, "
                    f"where that is {size:.3g}; expected dc/dt"
                )


@dataclass(frozen=True)
class Piece:
    """A smooth piece of a curve.

    Attributes
    ----------
    curve : Curve
    span : float
        Its own parameter runs over [0, span].
    begin, end : float
        The time of the whole curve at its two ends.
    """

    curve: Curve
    span: float
    begin: float
    end: float

    def time(self, t: float) -> float:
        """The time of the whole curve at the piece's own parameter t."""
        if t == self.span:
            return self.end
        return self.begin + (self.end - self.begin) * t / self.span

    def parameter(self, time: float) -> float:
        """The piece's own parameter at a time of the whole curve."""
        return self.span * (time - self.begin) / (self.end - self.begin)


def read_curve(
    curve: Any, outputs: OutputMap, start: torch.Tensor, velocity: Any = None
) -> list[Piece]:
    """Read a curve in output space as smooth pieces, and check that it starts where it should.

    Parameters
    ----------
    curve : array_like, callable or Curve
        Way points of shape (M, NQ) or (M, N, Q), met at the times k/(M-1) and joined by straight
        edges; or a smooth function t -> c(t) on [0, 1]; or an object with ``position`` and
        ``velocity`` (`subriem.flows.curves.Curve`) over [0, 1], or over [0, horizon] where it
        has a ``horizon``.
    outputs : OutputMap
    start : Tensor, shape (NQ,)
        x(theta_0), where the curve must begin.
    velocity : callable, optional
        Derivative of a function.

    Returns
    -------
    list of Piece

    Raises
    ------
    InputError
        If shapes do not fit, numbers are not finite, or the curve begins elsewhere.
    InputTypeError
        If the curve is none of the three.
    """
    if velocity is not None and not callable(velocity):
        raise InputTypeError(f"velocity must be callable, got {type(velocity).__name__}")
    known = all(hasattr(curve, name) for name in ("position", "velocity", "scale", "longest_step"))
    if velocity is not None and (known or not callable(curve)):
        raise InputError("velocity goes with a curve given as a function, and only there")
    pieces: list[Piece]
    if known:
        span = float(getattr(curve, "horizon", 1.0))
        pieces = [Piece(curve, span, 0.0, span)]
    elif callable(curve):
        pieces = [Piece(TimedCurve(curve, velocity, outputs), 1.0, 0.0, 1.0)]
    else:
        return _edges(curve, outputs, start)
    first = pieces[0].curve
    _require_start(first.position(0.0), start, first.scale(0.0))
    return pieces


def _edges(curve: Any, outputs: OutputMap, start: torch.Tensor) -> list[Piece]:
    points = as_tensor(curve, "curve", outputs.dtype, outputs.device)
    if points.ndim < 2 or len(points) < 2 or points[0].numel() != outputs.size:
        raise InputError(
            f"curve: expected two or more way points, of shape (M, {outputs.size}) or "
            f"(M, {outputs.samples}, {outputs.width}), got {tuple(points.shape)}"
        )
    points = points.reshape(len(points), -1)
    wrong = ~torch.isfinite(points).all(1)
    if bool(wrong.any()):
        raise InputError(f"curve: way point {int(wrong.nonzero()[0])} has NaN or Inf")
    length = float(torch.linalg.vector_norm(points.diff(dim=0), dim=1).sum())
    _require_start(points[0], start, length)
    points = torch.cat([start[None], points[1:]])
    count = len(points) - 1
    return [
        Piece(Edge(points[k], points[k + 1], length), 1.0, k / count, (k + 1) / count)
        for k in range(count)
    ]


def _require_start(first: torch.Tensor, start: torch.Tensor, length: float) -> None:
    distance = float(torch.linalg.vector_norm(first - start))
    rounding = 1e3 * torch.finfo(start.dtype).eps * float(torch.linalg.vector_norm(start))
    if not distance <= 1e-8 * length + rounding:
        raise InputError(
            f"the curve starts at a distance of {distance:.3g} from the outputs x(theta_0); "
            "expected it to start there (the map's outputs are outputs(start))"
        )


def _read(value: Any, outputs: OutputMap, name: str) -> torch.Tensor:
    vector = as_tensor(value, name, outputs.dtype, outputs.device)
    if vector.numel() != outputs.size:
        raise InputError(
            f"{name}: expected {outputs.size} numbers, shape ({outputs.size},) or "
            f"({outputs.samples}, {outputs.width}), got shape {tuple(vector.shape)}"
        )
    if not bool(torch.isfinite(vector).all()):
        raise InputError(f"{name}: NaN or Inf; expected finite numbers")
    return vector.reshape(-1)


def quadrature_nodes(pieces: list[Piece]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Positions c and weighted velocities w c' for integrals along a curve.

    The integral of <a, c'> for any a(c) is the sum of <a(c), w c'>: by the midpoint rule on
    straight edges, which is exact for linear a, and by Gauss-Legendre panels elsewhere.

    Parameters
    ----------
    pieces : list of Piece

    Yields
    ------
    Tensor, Tensor
        Each of shape (NQ,).
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    for piece in pieces:
        curve = piece.curve
        if isinstance(curve, Edge):
            yield curve.position(0.5), curve.velocity(0.5)
            continue
        panel = piece.span / _PANELS
        for number in range(_PANELS):
            for node, weight in zip(nodes, weights, strict=True):
                t = (number + (float(node) + 1) / 2) * panel
                yield curve.position(t), curve.velocity(t) * (float(weight) * panel / 2)
