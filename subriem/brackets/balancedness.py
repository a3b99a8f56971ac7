"""The quadratic laws that pairs of layers are known to keep, each of them verified.

For two layers whose units meet, let V_1 have a row for what comes in at each unit (weights and
bias) and V_2 one for what goes out. Linear layers conserve V_1 V_1' - V_2 V_2', ReLUs its diagonal;
the query and the key of an attention head, or its values and output, are such pairs too. All pairs
of matrices of a module are candidates, and those entries are kept whose derivative vanishes along
gradients of random outputs at random parameters and inputs.

Source: Arora, Cohen, Hazan, arXiv 1802.06509; Du, Hu, Lee, arXiv 1806.00900; Marcotte, Gribonval,
Peyre, arXiv 2307.00144.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from subriem.network.potential import OutputPotential, in_double_precision, on_other_inputs

if TYPE_CHECKING:
    from subriem.network import OutputMap

__all__ = ["Balancedness", "balancedness"]

_TRIALS = 5
#: Relative to the two vectors whose product must vanish; float64 rounding is some 1e-15.
_TOLERANCE = 1e-11


@dataclass(frozen=True)
class _View:
    """What belongs to each unit of one side of a layer: indices into the parameters."""

    layer: str
    rows: torch.Tensor  # (units, entries)
    text: Callable[[int, int], str]


@dataclass(frozen=True)
class Balancedness:
    """Verified entries of V_1 V_1' - V_2 V_2', as functions of the parameters.

    Attributes
    ----------
    names : tuple of str
    first, second : list of (Tensor, Tensor)
        Of each law the two rows of V_1 whose product enters with +, and of V_2 with -.
    residual : float
        The largest relative derivative of a law kept, along the gradients tried.
    rejected : int
        How many candidates failed.
    """

    names: tuple[str, ...]
    first: list[tuple[torch.Tensor, torch.Tensor]]
    second: list[tuple[torch.Tensor, torch.Tensor]]
    residual: float
    rejected: int

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Balancedness: {len(self)} laws, {self.rejected} candidates rejected"

    def __call__(self, theta: Any) -> np.ndarray:
        """The laws' values.

        Parameters
        ----------
        theta : Tensor or array_like, shape (K,)

        Returns
        -------
        ndarray, shape (number of laws,)
        """
        at = torch.as_tensor(theta, dtype=torch.float64).detach().cpu()
        values = [
            (at[a] * at[b]).sum() - (at[c] * at[d]).sum()
            for (a, b), (c, d) in zip(self.first, self.second, strict=True)
        ]
        return torch.stack(values).numpy() if values else np.zeros(0)


def balancedness(outputs: OutputMap, *, seed: int = 0) -> Balancedness:
    """Quadratic conservation laws between pairs of layers of a module of any size.

    Parameters
    ----------
    outputs : OutputMap
        Of a module with parameters that are matrices or convolution kernels, and their biases.
        Its inputs only give the shape: the laws hold for all data.
    seed : int
        Of the parameters and inputs at which candidates are tried.

    Returns
    -------
    Balancedness
        Possibly without any law. `conservation_laws` finds all laws of a small network, and
        proves that there are no others; this finds known ones of a large one, by floating point.

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)
    ... ).double()
    >>> balancedness(OutputMap(module, [[1.0, 2.0]])).names[0]
    '0.weight[0,:]·0.weight[0,:] + 0.bias[0]^2 - 2.weight[:,0]·2.weight[:,0]'
    """
    double = in_double_precision(outputs)
    generator = torch.Generator().manual_seed(seed)
    sides = _views(double)
    tried = [_draw(double, generator) for _ in range(_TRIALS)]
    names, first, second, rejected, residual = [], [], [], 0, 0.0
    for one, two in itertools.combinations(sides, 2):
        if one.layer == two.layer or len(one.rows) != len(two.rows):
            continue
        slopes = _slopes(one.rows, two.rows, tried)
        upper = np.triu(np.ones_like(slopes, dtype=bool))
        kept = upper & (slopes <= _TOLERANCE)
        rejected += int(upper.sum() - kept.sum())
        residual = max(residual, float(slopes[kept].max(initial=0.0)))
        for i, j in np.argwhere(kept).tolist():
            names.append(_law(one, two, i, j))
            first.append((one.rows[i], one.rows[j]))
            second.append((two.rows[i], two.rows[j]))
    return Balancedness((*names,), first, second, residual, rejected)


def _law(one: _View, two: _View, i: int, j: int) -> str:
    return f"{one.text(i, j)} - {two.text(i, j).replace(' + ', ' - ')}"


def _draw(outputs: OutputMap, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random parameters, and the gradient there of a random sum of outputs on random inputs."""
    like = outputs.inputs
    inputs = torch.randn((4, *like.shape[1:]), generator=generator, dtype=torch.float64)
    other = on_other_inputs(outputs, inputs.to(like))
    theta = torch.randn(outputs.dimension, generator=generator, dtype=torch.float64)
    # of the size that keeps signals from growing with the width
    theta = (theta / outputs.dimension**0.25).to(outputs.parameters)
    weights = torch.randn(other.size, generator=generator, dtype=torch.float64)
    gradient = OutputPotential(other, weights.to(theta)).gradient(theta)
    return theta.cpu(), gradient.cpu()


def _views(outputs: OutputMap) -> list[_View]:
    """Both sides of every matrix and kernel: rows with the bias, and columns."""
    start, places = 0, {}
    for name, shape in outputs.shapes.items():
        places[name] = torch.arange(start, start + shape.numel()).reshape(shape)
        start += shape.numel()
    found = []
    for name, index in places.items():
        if index.ndim < 2:
            continue
        layer = name.removesuffix("weight")
        rest = ",:" * (index.ndim - 1)
        rows, text = index.flatten(1), _text(name, "{}" + rest)
        bias = places.get(f"{layer}bias")
        if name.endswith("weight") and bias is not None and bias.shape == index.shape[:1]:
            rows = torch.cat([rows, bias[:, None]], dim=1)
            text = _with_bias(text, f"{layer}bias")
        found.append(_View(name, rows, text))
        columns = index.transpose(0, 1).flatten(1)
        found.append(_View(name, columns, _text(name, ":,{}" + rest[2:])))
    return found


def _text(name: str, place: str) -> Callable[[int, int], str]:
    def text(i: int, j: int) -> str:
        return f"{name}[{place.format(i)}]·{name}[{place.format(j)}]"

    return text


def _with_bias(text: Callable[[int, int], str], bias: str) -> Callable[[int, int], str]:
    def longer(i: int, j: int) -> str:
        square = f"{bias}[{i}]^2" if i == j else f"{bias}[{i}]*{bias}[{j}]"
        return f"{text(i, j)} + {square}"

    return longer


def _slopes(
    one: torch.Tensor, two: torch.Tensor, tried: list[tuple[torch.Tensor, torch.Tensor]]
) -> np.ndarray:
    """The derivatives of V_1 V_1' - V_2 V_2', relative to what cancels in them; the largest."""
    worst = torch.full((len(one), len(one)), torch.nan, dtype=torch.float64)
    for theta, gradient in tried:
        change = torch.zeros_like(worst)
        size = torch.zeros_like(worst)
        for rows, sign in ((one, 1.0), (two, -1.0)):
            values, moved = theta[rows], gradient[rows]
            part = values @ moved.T
            change += sign * (part + part.T)
            norms = values.norm(dim=1)[:, None] * moved.norm(dim=1)
            size += norms + norms.T
        # a unit that nothing moves says nothing
        worst = torch.fmax(worst, torch.where(size > 0, change.abs() / size, torch.nan))
    return worst.numpy()
