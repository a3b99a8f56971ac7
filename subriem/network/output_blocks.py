"""The blocks of D D' along directions of output space, a cheap likeness of the whole.

In an orthonormal basis of the Q output directions D D' has Q x Q blocks, each N x N. The diagonal
ones are the Gram matrices of Q maps with one output each. They hold how the samples resemble each
other and cost Q N^2 numbers instead of (QN)^2, Q N^3 / 3 operations to factorize instead of
(QN)^3 / 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from subriem.factorization import cholesky_solve
from subriem.gram import LayerTerm, assemble_gram, layer_terms
from subriem.network.rows import column_blocks

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["OutputBlocks"]


class OutputBlocks:
    """The diagonal blocks of D D' in the eigenbasis of its mean over samples.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)

    Attributes
    ----------
    basis : Tensor, shape (Q, Q)
        Columns are the output directions.
    blocks : Tensor, shape (Q, N, N)
    mean : float
        Mean of the diagonal of D D'.

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> outputs = OutputMap(torch.nn.Linear(2, 3).double(), [[1.0, 0.0], [0.0, 1.0]])
    >>> found = OutputBlocks(outputs, outputs.parameters)
    >>> found.blocks.shape, found.mean
    (torch.Size([3, 2, 2]), 2.0)
    """

    def __init__(self, outputs: OutputMap, theta: torch.Tensor) -> None:
        self.samples, self.width = outputs.samples, outputs.width
        memory = outputs.memory // 4
        found, leftover = layer_terms(
            outputs.module, outputs.evaluate, outputs.unflatten(theta), outputs.inputs
        )
        terms = list(found)
        columns = [
            block.view(self.samples, self.width, -1)
            for block in column_blocks(outputs, theta, leftover, memory)
        ]
        like = theta.new_empty(self.samples, self.width)
        mixed = _mean_block(terms, columns, like)
        self.mean = float(mixed.diagonal().sum()) / (self.samples * self.width)
        self.basis = torch.linalg.eigh(mixed).eigenvectors
        self.blocks = like.new_empty(self.width, self.samples, self.samples)
        signals = [torch.einsum("nqto,qp->pnto", t.signal, self.basis) for t in terms]
        rows = [torch.einsum("nqk,qp->pnk", block, self.basis) for block in columns]
        for number in range(self.width):
            own = [
                replace(term, signal=signal[number, :, None])
                for term, signal in zip(terms, signals, strict=True)
            ]
            part = [block[number] for block in rows]
            self.blocks[number] = assemble_gram(own, part, like[:, :1], memory)

    def damped(self, damping: float) -> BlockFactor:
        """Factorize the blocks with a number added to their diagonals.

        Parameters
        ----------
        damping : float
            Raised to what rounding needs for the blocks to be positive definite.

        Returns
        -------
        BlockFactor
        """
        eps = torch.finfo(self.blocks.dtype).eps
        shift = max(damping, eps * self.samples * self.mean)
        while True:
            matrix = self.blocks.clone()
            matrix.diagonal(dim1=1, dim2=2).add_(shift)
            lower, failed = torch.linalg.cholesky_ex(matrix)
            if not bool(failed.any()):
                return BlockFactor(self.basis, lower)
            shift = 10.0 * shift + torch.finfo(self.blocks.dtype).tiny


class BlockFactor:
    """Cholesky factors of the damped blocks: a preconditioner of D D'.

    Parameters
    ----------
    basis : Tensor, shape (Q, Q)
    lower : Tensor, shape (Q, N, N)
    """

    def __init__(self, basis: torch.Tensor, lower: torch.Tensor) -> None:
        self.basis = basis
        self.lower = lower

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """Apply the preconditioner to a vector of shape (NQ,)."""
        turned = (vector.view(-1, len(self.basis)) @ self.basis).mT[..., None]
        solved = cholesky_solve(self.lower, turned)
        return (solved[..., 0].mT @ self.basis.mT).reshape(-1)


def _mean_block(
    terms: Sequence[LayerTerm], columns: Sequence[torch.Tensor], like: torch.Tensor
) -> torch.Tensor:
    """Sum over the samples of the Q x Q diagonal blocks of D D', positions not mixed."""
    width = like.shape[1]
    mixed = like.new_zeros(width, width)
    for term in terms:
        weight = term.signal.new_zeros(term.signal.shape[0], term.signal.shape[2])
        if term.activation is not None and not term.diagonal:
            weight = weight + (term.activation**2).sum(-1)
        signal = term.signal
        if term.diagonal and term.activation is not None:
            scaled = signal * term.activation[:, None]
            mixed += torch.einsum("nqto,nrto->qr", scaled, scaled)
        if term.bias:
            weight = weight + 1.0
        mixed += torch.einsum("nqto,nrto,nt->qr", signal, signal, weight)
    for block in columns:
        mixed += torch.einsum("nqk,nrk->qr", block, block)
    return mixed
