"""Factorizations behind the Moore-Penrose inverse of a Jacobian D, and its numerical rank.

Everything here is linear algebra on given tensors: a Gram matrix G = D D' (NQ x NQ) or a dense
Jacobian D (NQ x K). No inverse is formed. Which factorization serves is chosen by the measured
condition (`Linearization.factor`), and every rank comes with the singular values and the gap
behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from subriem.errors import InputError
from subriem.probe import probe_vector

__all__ = [
    "NumericalRank",
    "SpectralFactor",
    "TriangularFactor",
    "condition_estimate",
    "decide_rank",
    "gram_rank",
    "gram_spectrum",
    "jacobian_rank",
    "jacobian_spectrum",
    "orthogonal_triangle",
    "relative_resolution",
]


class NumericalRank(int):
    """A rank decided by a tolerance: an ``int`` that carries its evidence.

    Attributes
    ----------
    singular_values : ndarray, shape (min(NQ, K),)
        In descending order.
    tolerance : float
        Singular values at or below this (absolute) number were counted as zero.
    gap : float
        Ratio of the smallest value counted to the largest one not counted; ``inf`` where the
        latter is exactly zero or where none was discarded and nothing lies below.
    margin : float
        Smallest value counted over the tolerance (how far the decision is from another one).
    resolution : float
        Absolute size below which the method cannot tell a singular value from zero.
    method : str
        ``"svd"`` (of the Jacobian) or ``"gram"`` (square roots of the eigenvalues of D D').
    full : bool
        Whether the rank equals the number of rows asked for, min(NQ, K).

    Examples
    --------
    >>> rank = decide_rank(np.array([2.0, 1.0, 1e-17]), size=3, eps=2.2e-16)
    >>> rank, int(rank), rank.full
    (NumericalRank(2 of 3, gap 1e+17, tolerance 1.3e-15), 2, False)
    """

    singular_values: np.ndarray
    tolerance: float
    gap: float
    margin: float
    resolution: float
    method: str
    full: bool

    def __new__(cls, rank: int, **evidence: Any) -> NumericalRank:
        """Make the rank and attach what decided it."""
        self = super().__new__(cls, rank)
        self.__dict__.update(evidence)
        return self

    def __repr__(self) -> str:
        return (
            f"NumericalRank({int(self)} of {len(self.singular_values)}, gap {self.gap:.1g}, "
            f"tolerance {self.tolerance:.1e})"
        )


def relative_resolution(size: int, eps: float, method: str) -> float:
    """Size, relative to the largest, below which a singular value cannot be told from zero.

    Parameters
    ----------
    size : int
        The larger dimension of the matrix that was factorized.
    eps : float
        Unit roundoff.
    method : {"svd", "gram"}
        Whether the values come from D or, as square roots, from D D'.

    Returns
    -------
    float

    Examples
    --------
    >>> relative_resolution(100, 1e-16, "svd"), relative_resolution(100, 1e-16, "gram")
    (1e-14, 1e-07)
    """
    return size * eps if method == "svd" else math.sqrt(size * eps)


def decide_rank(
    singular_values: np.ndarray,
    *,
    size: int,
    eps: float,
    tolerance: float | None = None,
    absolute: float | None = None,
    method: str = "svd",
) -> NumericalRank:
    """Count the singular values above a tolerance relative to the largest.

    Parameters
    ----------
    singular_values : ndarray, shape (r,)
        In descending order.
    size : int
        The larger dimension of the matrix; the default tolerance grows with it.
    eps : float
        Unit roundoff of the arithmetic that produced the values.
    tolerance : float, optional
        Relative to the largest singular value. By default the rounding error of the method:
        ``size * eps`` for the SVD, ``sqrt(size * eps)`` for the Gram matrix.
    absolute : float, optional
        An absolute tolerance in place of the relative one.
    method : {"svd", "gram"}
        Where the values come from.

    Returns
    -------
    NumericalRank

    Examples
    --------
    >>> decide_rank(np.array([3.0, 1.0]), size=2, eps=2.2e-16).full
    True
    """
    values = np.asarray(singular_values, dtype=float)
    largest = float(values[0]) if len(values) else 0.0
    resolution = relative_resolution(size, eps, method) * largest
    if absolute is None:
        absolute = 0.0 if tolerance is None else tolerance * largest
    cut = max(absolute, resolution)
    rank = int(np.sum(values > cut))
    smallest_kept = float(values[rank - 1]) if rank else 0.0
    largest_dropped = float(values[rank]) if rank < len(values) else 0.0
    gap = smallest_kept / largest_dropped if largest_dropped > 0 else math.inf
    margin = smallest_kept / cut if cut > 0 else math.inf
    return NumericalRank(
        rank,
        singular_values=values,
        tolerance=cut,
        gap=gap,
        margin=margin,
        resolution=resolution,
        method=method,
        full=rank == len(values),
    )


@dataclass(frozen=True)
class TriangularFactor:
    """G = L L' with L lower triangular, for a Jacobian counted as of full row rank.

    Parameters
    ----------
    lower : Tensor, shape (NQ, NQ)
    condition : float
        Estimate, from below, of the condition number of G (the square of that of D).
    method : {"cholesky", "orthogonal", "damped"}
        Cholesky of G; the triangle of the QR factorization of D', which keeps the digits that
        forming G loses (semi-normal equations); or Cholesky of G + damping * 1.
    damping : float
        What was added to the diagonal of G, in units of G.
    """

    lower: torch.Tensor
    condition: float
    method: str = "cholesky"
    damping: float = 0.0

    @property
    def rank(self) -> int:
        """Number of rows of L, as none was counted as lost."""
        return int(self.lower.shape[0])

    def solve(self, rhs: torch.Tensor) -> torch.Tensor:
        """(G + damping)^-1 rhs for rhs of shape (..., NQ)."""
        columns = torch.atleast_2d(rhs).mT
        return cholesky_solve(self.lower, columns).mT.reshape(rhs.shape)

    def project(self, rhs: torch.Tensor) -> torch.Tensor:
        """P rhs with P = D D+: the identity, as D has full row rank."""
        return rhs


@dataclass(frozen=True)
class SpectralFactor:
    """Truncated spectral form of G = D D' = U S^2 U', from `eigh` of G or the SVD of D.

    Parameters
    ----------
    left : Tensor, shape (NQ, rank)
        Orthonormal basis U of the numerical range of D.
    values : Tensor, shape (rank,)
        The singular values S that were kept, descending.
    decision : NumericalRank
        What was kept and why.
    lost : Tensor, shape (NQ, min(NQ, K) - rank)
        Left singular vectors of the directions counted as lost.
    """

    left: torch.Tensor
    values: torch.Tensor
    decision: NumericalRank
    lost: torch.Tensor

    @property
    def method(self) -> str:
        """``"svd"`` or ``"eigendecomposition"``."""
        return "svd" if self.decision.method == "svd" else "eigendecomposition"

    @property
    def rank(self) -> int:
        """The number of singular values kept."""
        return int(self.decision)

    @property
    def condition(self) -> float:
        """Condition number of G on its numerical range."""
        if self.rank == 0:
            return math.inf
        return float((self.values[0] / self.values[-1]) ** 2)

    def solve(self, rhs: torch.Tensor) -> torch.Tensor:
        """G^+ rhs for rhs of shape (..., NQ), on the numerical range."""
        return ((rhs @ self.left) / self.values**2) @ self.left.mT

    def project(self, rhs: torch.Tensor) -> torch.Tensor:
        """P rhs with P = D D+ the orthogonal projector on the numerical range of D."""
        return (rhs @ self.left) @ self.left.mT


def cholesky_solve(lower: torch.Tensor, rhs: torch.Tensor) -> torch.Tensor:
    """(L L')^-1 rhs.

    Two triangular solves read L twice; `torch.cholesky_solve` copies it first, which for few
    right-hand sides costs fifteen times as much (measured at n = 12,000).

    Parameters
    ----------
    lower : Tensor, shape (..., n, n)
    rhs : Tensor, shape (..., n, k)

    Returns
    -------
    Tensor, shape (..., n, k)

    Examples
    --------
    >>> L = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    >>> cholesky_solve(L, L @ L.mT @ torch.ones(2, 1, dtype=torch.float64)).flatten().tolist()
    [1.0, 1.0]
    """
    forward = torch.linalg.solve_triangular(lower, rhs, upper=False)
    return torch.linalg.solve_triangular(lower.mT, forward, upper=True)


def condition_estimate(factor: torch.Tensor, iterations: int = 6) -> float:
    """Estimate the condition number of G = L L' by power and inverse iteration, from below.

    Parameters
    ----------
    factor : Tensor, shape (n, n)
        The lower triangle L.
    iterations : int
        Of each kind. Six leave the estimate within a small factor, which is what the choice of
        a factorization needs.

    Returns
    -------
    float

    Examples
    --------
    >>> round(condition_estimate(torch.diag(torch.tensor([10.0, 1.0], dtype=torch.float64))))
    100
    """
    high = low = probe_vector(factor.shape[0], factor)[:, None]
    largest = inverse_smallest = 0.0
    for _ in range(iterations):
        high = high / torch.linalg.vector_norm(high)
        low = low / torch.linalg.vector_norm(low)
        high = factor @ (factor.mT @ high)
        low = cholesky_solve(factor, low)
        largest = float(torch.linalg.vector_norm(high))
        inverse_smallest = float(torch.linalg.vector_norm(low))
    estimate = largest * inverse_smallest
    return estimate if math.isfinite(estimate) else math.inf


def gram_rank(
    gram: torch.Tensor, tolerance: float | None = None, absolute: float | None = None
) -> NumericalRank:
    """Numerical rank of D from the eigenvalues of D D'.

    Parameters
    ----------
    gram : Tensor, shape (NQ, NQ)
        Symmetric positive semidefinite.
    tolerance, absolute : float, optional
        Relative to the largest singular value of D, or absolute; see `decide_rank`.

    Returns
    -------
    NumericalRank

    Raises
    ------
    InputError
        If the matrix has entries that are not finite.

    Examples
    --------
    >>> gram_rank(torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)))
    NumericalRank(2 of 2, gap inf, tolerance 4.2e-08)
    """
    _refuse_infinite(gram, "the Gram matrix D D'")
    return _gram_decision(torch.linalg.eigvalsh(gram), tolerance, absolute)


def gram_spectrum(
    gram: torch.Tensor, tolerance: float | None = None, absolute: float | None = None
) -> SpectralFactor:
    """Truncated eigendecomposition of a Gram matrix.

    Parameters
    ----------
    gram : Tensor, shape (NQ, NQ)
        Symmetric positive semidefinite.
    tolerance, absolute : float, optional
        Relative to the largest singular value of D, or absolute; see `decide_rank`.

    Returns
    -------
    SpectralFactor

    Raises
    ------
    InputError
        If the matrix has entries that are not finite.

    Examples
    --------
    >>> D = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> gram_spectrum(D @ D.mT).rank
    2
    """
    _refuse_infinite(gram, "the Gram matrix D D'")
    eigenvalues, vectors = torch.linalg.eigh(gram)
    decision = _gram_decision(eigenvalues, tolerance, absolute)
    values = torch.as_tensor(decision.singular_values).to(gram)
    vectors = vectors.flip(1)
    rank = int(decision)
    return SpectralFactor(vectors[:, :rank], values[:rank], decision, vectors[:, rank:])


def _gram_decision(
    eigenvalues: torch.Tensor, tolerance: float | None, absolute: float | None
) -> NumericalRank:
    values = torch.clamp(eigenvalues.flip(0), min=0.0).sqrt()
    return _decision(values, len(values), tolerance, absolute, "gram")


def _decision(
    values: torch.Tensor,
    size: int,
    tolerance: float | None,
    absolute: float | None,
    method: str,
) -> NumericalRank:
    return decide_rank(
        values.cpu().double().numpy(),
        size=size,
        eps=torch.finfo(values.dtype).eps,
        tolerance=tolerance,
        absolute=absolute,
        method=method,
    )


def _refuse_infinite(matrix: torch.Tensor, name: str) -> None:
    if not bool(torch.isfinite(matrix).all()):
        raise InputError(f"{name} has entries that are not finite; expected numbers")


def orthogonal_triangle(jacobian: torch.Tensor) -> torch.Tensor:
    """The lower triangle L with D D' = L L', from the QR factorization of D'.

    Parameters
    ----------
    jacobian : Tensor, shape (NQ, K), K >= NQ

    Returns
    -------
    Tensor, shape (NQ, NQ)
        With a positive diagonal, as that of Cholesky.
    """
    _refuse_infinite(jacobian, "the Jacobian D")
    lower = torch.linalg.qr(jacobian.mT, mode="r").R.mT
    return lower * torch.where(lower.diagonal() < 0, -1.0, 1.0).to(lower)


def _compressed(jacobian: torch.Tensor) -> torch.Tensor:
    """A matrix with the singular values and left vectors of D, and no more columns than rows."""
    if jacobian.shape[1] > jacobian.shape[0]:
        return orthogonal_triangle(jacobian)
    _refuse_infinite(jacobian, "the Jacobian D")
    return jacobian


def jacobian_rank(
    jacobian: torch.Tensor, tolerance: float | None = None, absolute: float | None = None
) -> NumericalRank:
    """Numerical rank of a dense Jacobian from its singular values.

    Parameters
    ----------
    jacobian : Tensor, shape (NQ, K)
    tolerance, absolute : float, optional
        Relative to the largest singular value, or absolute; see `decide_rank`.

    Returns
    -------
    NumericalRank

    Raises
    ------
    InputError
        If the matrix has entries that are not finite.

    Examples
    --------
    >>> jacobian_rank(torch.tensor([[3.0, 0.0], [0.0, 1e-9]], dtype=torch.float64))
    NumericalRank(2 of 2, gap inf, tolerance 1.3e-15)
    """
    values = torch.linalg.svdvals(_compressed(jacobian))
    return _decision(values, max(jacobian.shape), tolerance, absolute, "svd")


def jacobian_spectrum(
    jacobian: torch.Tensor, tolerance: float | None = None, absolute: float | None = None
) -> SpectralFactor:
    """Truncated singular value decomposition of a dense Jacobian.

    Parameters
    ----------
    jacobian : Tensor, shape (NQ, K)
    tolerance, absolute : float, optional
        Relative to the largest singular value, or absolute; see `decide_rank`.

    Returns
    -------
    SpectralFactor

    Raises
    ------
    InputError
        If the matrix has entries that are not finite.

    Examples
    --------
    >>> D = torch.tensor([[3.0, 0.0], [0.0, 1e-9]], dtype=torch.float64)
    >>> jacobian_spectrum(D).rank
    2
    """
    left, values, _ = torch.linalg.svd(_compressed(jacobian), full_matrices=False)
    decision = _decision(values, max(jacobian.shape), tolerance, absolute, "svd")
    rank = int(decision)
    return SpectralFactor(left[:, :rank], values[:rank], decision, left[:, rank:])
