"""A layer of single-head self-attention, on fixed tokens, as a structure on its weights.

    x = softmax(X Q K' X' / sqrt(d)) X V

for tokens X of width d, weights Q, K of shape d x head and V of shape d x d. The gradients of
the outputs span the distribution. Every gradient flow conserves Q'Q - K'K (S. Marcotte, R.
Gribonval, G. Peyre, *Abide by the law and follow the flow: conservation laws for gradient flows*,
NeurIPS 2023; here as for two linear layers, since Q and K enter through Q K' only).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from subriem.models.multilayer_perceptron import draw_uniform
from torch import nn

from subriem.errors import InputError
from subriem.network import OutputMap
from subriem.structure import Structure, Truth

# One token: the weights of its attention are 1 whatever Q and K are.
TRUTHS = (
    Truth(
        at=(0, "1/2", "-1/3", 1, "1/5", 2, "-1/7", "3/4"),
        growth=(2,),
        generating=False,
        arguments={"tokens": ((0.5, -1.0),)},
        source="the output is X V, and constant fields commute",
    ),
)


class _Attention(nn.Module):
    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, head, bias=False, dtype=torch.float64)
        self.key = nn.Linear(width, head, bias=False, dtype=torch.float64)
        self.value = nn.Linear(width, width, bias=False, dtype=torch.float64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        width = tokens.shape[-1]
        scores = self.query(tokens) @ self.key(tokens).mT / math.sqrt(width)
        return (torch.softmax(scores, dim=-1) @ self.value(tokens)).flatten(1)


def attention_layer(
    tokens: Any = ((0.5, -1.0), (1.0, 0.25)),
    head: int = 1,
    metric: Literal["output", "euclidean", "rows"] = "rows",
) -> Structure:
    """Self-attention layer on fixed tokens: the gradients of its outputs span the distribution.

    Parameters
    ----------
    tokens : array_like, shape (T, d) or (N, T, d)
    head : int
        Width of queries and keys.
    metric : {"output", "euclidean", "rows"}

    Returns
    -------
    Structure
        Coordinates: the entries of Q', K' (head x d) and V' (d x d), row by row.

    Raises
    ------
    InputError
        If the tokens' shape or the head's width cannot be right.

    Examples
    --------
    >>> attention_layer()
    Structure attention_layer: 8 coordinates (theta1, ..., theta8), 4 fields
    """
    array = np.asarray(tokens, dtype=np.float64)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise InputError(f"tokens: expected shape (T, d) or (N, T, d), got {array.shape}")
    if head < 1:
        raise InputError(f"head: expected at least 1, got {head}")
    module = _Attention(array.shape[-1], head)
    draw_uniform(module, torch.Generator().manual_seed(0))
    structure = OutputMap(module, array).structure(metric)
    structure.name = "attention_layer"
    return structure
