"""The damped lift D'(D D' + damping)^-1 r of an output velocity at the points of a training run.

Small problems factorize D D' + damping. Larger ones iterate on the actions of D and D', with the
factorized blocks of D D' along output directions as preconditioner (`OutputBlocks`): in a network
most of the condition of D D' comes from how alike the samples are, which the blocks know.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from subriem.factorization import cholesky_solve
from subriem.gram import assemble_gram, layer_terms
from subriem.krylov import conjugate_gradient
from subriem.network import Linearization, OutputMap
from subriem.network.output_blocks import OutputBlocks
from subriem.network.traced import TracedMap, TracedPoint, trace

__all__ = ["DampedLift", "TrainingPoint"]

# Up to this size a factorization costs less than the iterations that it saves.
_DENSE_SIZE = 1000
# Relative residual of the iterations: a damped step need not be more exact than its linear model.
_FORCING = 0.1
_ITERATIONS = 1000
# The step of the second difference, relative to the parameter step (Transtrum, Sethna).
_DIFFERENCE = 0.1


class TrainingPoint:
    """The map at one point: value and actions, traced where that is possible.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)
    traced : TracedMap or None
    """

    def __init__(self, outputs: OutputMap, theta: torch.Tensor, traced: TracedMap | None) -> None:
        self.outputs = outputs
        self.parameters = theta
        self._at: TracedPoint | Linearization
        self._at = outputs.linearize(theta) if traced is None else traced.at(theta)
        self.value = self._at.value
        self.jvp: Callable[[torch.Tensor], torch.Tensor] = self._at.jvp
        self.vjp: Callable[[torch.Tensor], torch.Tensor] = self._at.vjp
        self.gram_action = self._at.gram_action

    def bend(self, step: torch.Tensor, pushed: torch.Tensor) -> torch.Tensor:
        """Second derivative of the outputs along a step whose push-forward D step is known."""
        bend = self._at.bend if isinstance(self._at, TracedPoint) else None
        if bend is not None:
            return bend(step)
        h = _DIFFERENCE
        ahead = self.outputs.flat(self.parameters + h * step).detach()
        return (2.0 / h) * ((ahead - self.value) / h - pushed)


class DampedLift:
    """Solve (D D' + damping) w = r at successive points.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)
        The start, where the map is traced.

    Attributes
    ----------
    method : {"cholesky", "iterative"}
    iterations : int
        Of conjugate gradients, so far.
    factorizations : int
        Of D D' + damping, or of its blocks, so far.
    scale : float
        Mean of the diagonal of D D' at the last point.
    """

    def __init__(self, outputs: OutputMap, theta: torch.Tensor) -> None:
        self.outputs = outputs
        self.method = "cholesky" if outputs.size <= _DENSE_SIZE else "iterative"
        self.iterations = 0
        self.factorizations = 0
        self.scale = math.nan
        self._traced = trace(outputs, theta)
        # The layers' rules are checked against the actions once, at the start.
        self._by_layers = self.method == "iterative" or self._layers_agree(theta)
        self._point: TrainingPoint | None = None
        self._gram: torch.Tensor | None = None
        self._blocks: OutputBlocks | None = None
        self._damping = math.nan
        self._solve: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def traced(self) -> bool:
        """Whether the actions run as traced programs."""
        return self._traced is not None

    def at(self, theta: torch.Tensor) -> TrainingPoint:
        """The map at a point.

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        TrainingPoint
        """
        return TrainingPoint(self.outputs, theta, self._traced)

    def prepare(self, point: TrainingPoint) -> None:
        """Take a point as the one at which to solve.

        Parameters
        ----------
        point : TrainingPoint
        """
        self._point, self._solve = point, None
        if self.method == "cholesky":
            self._gram = self._assemble(point.parameters)
            self.scale = float(self._gram.diagonal().mean())
        else:
            self._blocks = OutputBlocks(self.outputs, point.parameters)
            self.scale = self._blocks.mean

    def solve(self, rhs: torch.Tensor, damping: float) -> torch.Tensor | None:
        """(D D' + damping)^-1 rhs, or nothing where the damping is below rounding.

        Parameters
        ----------
        rhs : Tensor, shape (NQ,)
        damping : float
            Absolute.

        Returns
        -------
        Tensor, shape (NQ,), or None
        """
        assert self._point is not None
        if self._solve is None or damping != self._damping:
            self._damping = damping
            self._solve = self._factorize(damping)
            self.factorizations += 1
        if self._solve is None:
            return None
        if self.method == "cholesky":
            return self._solve(rhs)
        action = self._point.gram_action
        found = conjugate_gradient(
            lambda w: action(w).add_(w, alpha=damping),
            rhs,
            preconditioner=self._solve,
            rtol=_FORCING,
            max_iterations=_ITERATIONS,
        )
        self.iterations += found.iterations
        return found.solution

    def _factorize(self, damping: float) -> Callable[[torch.Tensor], torch.Tensor] | None:
        if self.method == "iterative":
            assert self._blocks is not None
            return self._blocks.damped(damping)
        assert self._gram is not None
        matrix = self._gram.clone()
        matrix.diagonal().add_(damping)
        lower, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed):
            return None
        return lambda rhs: cholesky_solve(lower, rhs[:, None])[:, 0]

    def _assemble(self, theta: torch.Tensor) -> torch.Tensor:
        outputs = self.outputs
        by_layers = self._assemble_by_layers(theta) if self._by_layers else None
        return outputs.linearize(theta).gram if by_layers is None else by_layers

    def _assemble_by_layers(self, theta: torch.Tensor) -> torch.Tensor | None:
        """D D' by the layers' rules alone, unchecked; None where they leave a parameter over."""
        outputs = self.outputs
        try:
            terms, leftover = layer_terms(
                outputs.module, outputs.evaluate, outputs.unflatten(theta), outputs.inputs
            )
        except RuntimeError:
            return None
        if leftover:
            return None
        like = theta.new_empty(outputs.samples, outputs.width)
        return assemble_gram(terms, [], like, outputs.memory // 4)

    def _layers_agree(self, theta: torch.Tensor) -> bool:
        """Whether every parameter is in a layer with a rule, and the rules give D D'."""
        found = self._assemble_by_layers(theta)
        if found is None:
            return False
        exact = self.outputs.linearize(theta).gram
        error = torch.linalg.matrix_norm(found - exact)
        eps = torch.finfo(theta.dtype).eps
        return bool(error <= 1e3 * eps * torch.linalg.matrix_norm(exact))
