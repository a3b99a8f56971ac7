"""The lift D+ v along a path: factorizations made seldom, reused as preconditioners between."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from subriem.factorization import TriangularFactor
from subriem.krylov import KrylovResult, conjugate_gradient
from subriem.network import Factor, Linearization, OutputMap

__all__ = ["LiftCount", "PathLift"]

# From this size on a factorization costs more than some twenty actions of D and D'; an old factor
# that gets nowhere is given up sooner.
_REUSE_SIZE = 800
_REUSE_ITERATIONS = 25
_GIVE_UP = 6
# A factor of a matrix worse conditioned than this solves to fewer than four digits, and is
# refined by iterations on the actions, which know D D' to more digits than its entries do.
_TRUSTED_CONDITION = 1e11
_REFINEMENTS = 300
# From this size on (0.5 GB in float64) one triangle is kept at a time, and nothing beside it.
_LARGE_SIZE = 8000


@dataclass
class LiftCount:
    """What the lifts of one path cost.

    Attributes
    ----------
    factorizations : dict of str to int
        How many of each method.
    iterations : int
        Conjugate-gradient iterations on the actions, between factorizations.
    lifts : int
    """

    factorizations: dict[str, int] = field(default_factory=dict)
    iterations: int = 0
    lifts: int = 0


class PathLift:
    """D+ v at the successive points of a path.

    Small problems are factorized at every point. For larger ones the last well-conditioned
    Cholesky factor is the preconditioner of conjugate gradients on the actions of D and D' at
    the new point, stopped in the norm of the lifted velocity itself, and is made anew when that
    takes too many iterations.

    Parameters
    ----------
    outputs : OutputMap
    deficient : bool
        Whether the rank is known to be less than NQ, so that every factorization is spectral.
    cutoff : float, optional
        Truncate singular values below this (absolute) number.
    """

    def __init__(
        self, outputs: OutputMap, *, deficient: bool = False, cutoff: float | None = None
    ) -> None:
        self.outputs = outputs
        self.deficient = deficient
        self.cutoff = cutoff
        self.count = LiftCount()
        self._anchor: TriangularFactor | None = None

    def factor(self, at: Linearization) -> Factor:
        """Factorize at a point, and keep the factor as the preconditioner of what follows.

        Parameters
        ----------
        at : Linearization

        Returns
        -------
        TriangularFactor or SpectralFactor
        """
        fresh = "factor" not in at.__dict__
        if fresh and self.deficient:
            # In place of the point's own choice.
            at.factor = at.spectrum(absolute=self.cutoff, resolve=False)
        if fresh:
            # The old preconditioner goes first: the two would be the peak of the memory.
            self._anchor = None
        factor = at.factor
        if len(at.value) >= _LARGE_SIZE:
            at.__dict__.pop("gram", None)
        if fresh:
            tally = self.count.factorizations
            tally[factor.method] = tally.get(factor.method, 0) + 1
        # A damped factor is off in the weakest directions only, which a few iterations mend.
        plain = isinstance(factor, TriangularFactor) and factor.method in ("cholesky", "damped")
        self._anchor = factor if plain else None  # type: ignore[assignment]
        return factor

    def velocity(self, at: Linearization, v: torch.Tensor, rtol: float) -> torch.Tensor:
        """D+ v at a point.

        Parameters
        ----------
        at : Linearization
        v : Tensor, shape (NQ,)
        rtol : float
            Relative accuracy of the velocity that suffices (a factorization gives all there is).

        Returns
        -------
        Tensor, shape (K,)
        """
        self.count.lifts += 1
        anchor = self._anchor
        if "factor" not in at.__dict__ and anchor is not None and len(v) >= _REUSE_SIZE:
            found = self._iterate(at, v, anchor, rtol, _REUSE_ITERATIONS, _GIVE_UP)
            if found.converged:
                return at.vjp(found.solution)
        if not at.gram_fits and not at.jacobian_fits:
            return at.lift(v, rtol=rtol)
        factor = self.factor(at)
        blurred = factor.method == "damped" or factor.condition > _TRUSTED_CONDITION
        if isinstance(factor, TriangularFactor) and factor.method != "orthogonal" and blurred:
            return at.vjp(self._iterate(at, v, factor, rtol, _REFINEMENTS).solution)
        return at.vjp(factor.solve(v))

    def _iterate(
        self,
        at: Linearization,
        v: torch.Tensor,
        factor: TriangularFactor,
        rtol: float,
        max_iterations: int,
        give_up: int | None = None,
    ) -> KrylovResult:
        """Solve D D' w = v on the actions, with a factor as preconditioner."""
        found = conjugate_gradient(
            at.gram_action,
            v,
            preconditioner=factor.solve,
            rtol=rtol,
            max_iterations=max_iterations,
            norm="energy",
            give_up=give_up,
        )
        self.count.iterations += found.iterations
        return found
