"""Matrix-free solvers on the actions of D and D', for when no matrix is to be stored.

SciPy has these methods for NumPy arrays; here the vectors are Torch tensors that stay on their
device, and the iterations stop at a measured residual that they report.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

__all__ = [
    "KrylovResult",
    "NystromPreconditioner",
    "conjugate_gradient",
    "extreme_eigenvalues",
    "least_squares",
]

Action = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class KrylovResult:
    """Solution of a matrix-free solve and how far it can be trusted.

    Parameters
    ----------
    solution : Tensor
    residual : float
        Norm of the residual over the norm of the right-hand side.
    iterations : int
    converged : bool
        Whether the tolerance was met.
    """

    solution: torch.Tensor
    residual: float
    iterations: int
    converged: bool


def conjugate_gradient(
    apply: Action,
    rhs: torch.Tensor,
    *,
    preconditioner: Action | None = None,
    rtol: float = 1e-10,
    max_iterations: int = 500,
    norm: Literal["residual", "energy"] = "residual",
    give_up: int | None = None,
) -> KrylovResult:
    """Preconditioned conjugate gradients for a symmetric positive (semi)definite operator.

    Parameters
    ----------
    apply : callable
        v -> G v.
    rhs : Tensor, shape (n,)
    preconditioner : callable, optional
        v -> an approximation of G^-1 v, symmetric positive definite.
    rtol : float
        Stop when the residual of the recursion is below ``rtol`` times the norm of ``rhs``; the
        one returned is measured anew, and counts as converged up to ten times ``rtol``.
    max_iterations : int
    norm : {"residual", "energy"}
        Measure residuals r by |r|, or by sqrt(r'Mr) with M the preconditioner, which estimates
        the error in the norm of G (for G = D D', the error of the lift D'w itself).
    give_up : int, optional
        After so many iterations, stop as soon as twice the rate so far would not reach the
        tolerance within ``max_iterations``.

    Returns
    -------
    KrylovResult

    Examples
    --------
    >>> G = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    >>> found = conjugate_gradient(lambda v: G @ v, G @ torch.ones(2, dtype=torch.float64))
    >>> found.converged, found.iterations
    (True, 2)
    """
    solution = torch.zeros_like(rhs)
    if not bool(rhs.any()):
        return KrylovResult(solution, 0.0, 0, True)
    # Squares of tiny numbers underflow.
    scale = float(rhs.abs().max())
    rhs = rhs / scale
    residual = rhs.clone()
    z = residual if preconditioner is None else preconditioner(residual)
    direction = z.clone()
    product = torch.dot(residual, z)

    def size() -> float:
        squared = product if norm == "energy" else torch.dot(residual, residual)
        return math.sqrt(max(float(squared), 0.0))

    def result(at: torch.Tensor, relative: float, iteration: int) -> KrylovResult:
        if norm == "residual" and bool(at.any()):
            # That of the recursion drifts from the true one as the condition grows.
            true = torch.linalg.vector_norm(rhs - apply(at))
            relative = float(true / torch.linalg.vector_norm(rhs))
        return KrylovResult(scale * at, relative, iteration, relative <= 10 * rtol)

    start = size()
    best, best_residual = solution, 1.0
    for iteration in range(1, max_iterations + 1):
        image = apply(direction)
        curvature = torch.dot(direction, image)
        if not float(curvature) > 0.0:
            # The operator is singular to rounding along this direction: nothing more to gain.
            return result(best, best_residual, iteration)
        step = product / curvature
        solution = solution + step * direction
        residual = residual - step * image
        z = residual if preconditioner is None else preconditioner(residual)
        previous, product = product, torch.dot(residual, z)
        relative = size() / start
        if relative < best_residual:
            best, best_residual = solution, relative
        if relative <= rtol:
            return result(solution, relative, iteration)
        if give_up is not None and iteration >= give_up:
            reach = 2 * max_iterations / iteration
            if best_residual >= 1.0 or reach * math.log(best_residual) > math.log(rtol):
                return result(best, best_residual, iteration)
        direction = z + (product / previous) * direction
    return result(best, best_residual, max_iterations)


def least_squares(
    apply: Action,
    adjoint: Action,
    rhs: torch.Tensor,
    *,
    rtol: float = 1e-10,
    max_iterations: int = 500,
) -> KrylovResult:
    """Minimum-norm least-squares solution D+ rhs by conjugate gradients on D'D (CGLS).

    Started from zero the iterates stay in range D', so that the limit is the Moore-Penrose
    solution whatever the rank and the shape of D (Bjorck, *Numerical Methods for Least Squares
    Problems*, 1996, algorithm 7.4.1).

    Parameters
    ----------
    apply, adjoint : callable
        v -> D v and w -> D' w.
    rhs : Tensor, shape (NQ,)
    rtol : float
        Stop when |D'r| is below ``rtol |D'rhs|``, with the r of the recursion, or zero to rounding
        against |D| |r|; the ``residual`` returned is measured anew at the solution.
    max_iterations : int

    Returns
    -------
    KrylovResult
        The solution has shape (K,).

    Examples
    --------
    >>> D = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    >>> b = torch.tensor([2.0, 0.0], dtype=torch.float64)
    >>> least_squares(lambda v: D @ v, lambda w: D.mT @ w, b).solution
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    # Squares of tiny numbers underflow.
    scale = float(rhs.abs().max()) or 1.0
    rhs = rhs / scale
    residual = rhs.clone()
    gradient = adjoint(residual)
    direction = gradient.clone()
    solution = torch.zeros_like(gradient)
    product = torch.dot(gradient, gradient)
    start = float(product.sqrt())
    if start == 0.0:
        return KrylovResult(solution, 0.0, 0, True)

    def result(iteration: int, converged: bool) -> KrylovResult:
        true = torch.linalg.vector_norm(adjoint(rhs - apply(solution)))
        return KrylovResult(scale * solution, float(true) / start, iteration, converged)

    norm = 0.0
    rounding = max(len(rhs), len(gradient)) * torch.finfo(rhs.dtype).eps
    for iteration in range(1, max_iterations + 1):
        image = apply(direction)
        curvature = torch.dot(image, image)
        if float(curvature) == 0.0:
            return result(iteration, False)
        norm = max(norm, float(curvature.sqrt() / torch.linalg.vector_norm(direction)))
        if float(product.sqrt()) <= rounding * norm * float(torch.linalg.vector_norm(residual)):
            # D'r is zero to rounding: r is orthogonal to range D, and nothing is left to gain.
            return result(iteration, True)
        step = product / curvature
        solution = solution + step * direction
        residual = residual - step * image
        gradient = adjoint(residual)
        following = torch.dot(gradient, gradient)
        if float(following.sqrt()) <= rtol * start:
            return result(iteration, True)
        direction = gradient + (following / product) * direction
        product = following
    return result(max_iterations, False)


def extreme_eigenvalues(apply: Action, solve: Action, like: torch.Tensor) -> tuple[float, float]:
    """Largest and smallest eigenvalue of a positive definite G, by Lanczos on G and on G^-1.

    Parameters
    ----------
    apply, solve : callable
        v -> G v and v -> G^-1 v.
    like : Tensor, shape (n,), n >= 3
        Gives size, dtype and device.

    Returns
    -------
    largest, smallest : float

    Examples
    --------
    >>> g = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    >>> largest, smallest = extreme_eigenvalues(lambda v: g * v, lambda v: v / g, g)
    >>> round(largest, 9), round(smallest, 9)
    (4.0, 1.0)
    """

    def largest(action: Action) -> float:
        def matvec(v: np.ndarray) -> np.ndarray:
            tensor = torch.from_numpy(np.ascontiguousarray(v.reshape(-1))).to(like)
            return action(tensor).double().cpu().numpy()

        n = like.shape[0]
        operator = LinearOperator((n, n), matvec=matvec, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(n)
        return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-6)[0][0])

    return largest(apply), 1.0 / largest(solve)


class NystromPreconditioner:
    """Randomized low-rank preconditioner of G = D D' from a few of its actions.

    The sketch G W of a random orthonormal W (rank columns) gives the leading eigenpairs (U, L)
    of G; the preconditioner acts as l / L on range U, with l the smallest eigenvalue found, and as
    the identity on its complement (Frangella, Tropp, Udell,
    *Randomized Nystrom preconditioning*, SIAM J. Matrix Anal. Appl. 44 (2023), algorithm 2.1).

    Parameters
    ----------
    apply : callable
        v -> G v.
    like : Tensor, shape (n,)
        Gives size, dtype and device.
    rank : int
    generator : torch.Generator, optional
        By default seeded with 0.
    """

    def __init__(
        self,
        apply: Action,
        like: torch.Tensor,
        rank: int,
        generator: torch.Generator | None = None,
    ) -> None:
        generator = generator or torch.Generator().manual_seed(0)
        probe = torch.randn(like.shape[0], rank, generator=generator, dtype=torch.float64)
        probe = torch.linalg.qr(probe.to(like)).Q
        sketch = torch.stack([apply(column) for column in probe.T], dim=1)
        shift = torch.finfo(like.dtype).eps * torch.linalg.matrix_norm(sketch)
        sketch = sketch + shift * probe
        inner = probe.mT @ sketch
        lower, failed = torch.linalg.cholesky_ex((inner + inner.mT) / 2)
        if int(failed):
            # Too much rank for the spectrum: the symmetric square root tolerates it.
            values, vectors = torch.linalg.eigh((inner + inner.mT) / 2)
            keep = values > shift
            half = sketch @ (vectors[:, keep] / values[keep].sqrt())
        else:
            half = torch.linalg.solve_triangular(lower, sketch.mT, upper=False).mT
        vectors, singular, _ = torch.linalg.svd(half, full_matrices=False)
        # Eigenvalues within rounding of zero are left to the complement, where it is the identity.
        kept = singular**2 > 2 * shift
        self.vectors, self.values = vectors[:, kept], singular[kept] ** 2 - shift

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """Apply the preconditioner to a vector of shape (n,)."""
        if not len(self.values):
            return vector.clone()
        coefficients = self.vectors.mT @ vector
        floor = self.values[-1]
        scaled = coefficients * (floor / torch.clamp(self.values, min=floor))
        return vector + self.vectors @ (scaled - coefficients)
