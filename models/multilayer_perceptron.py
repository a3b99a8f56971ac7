"""A multilayer perceptron as a torch module.

    a_0 = input,   z_l = W_l a_{l-1} + b_l,   a_l = activation(z_l) for l < L,   output z_L.

Weights and biases are drawn uniformly in +-1/sqrt(fan-in) from a generator of one's own, so that
a seed gives the same network whatever else was drawn before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from subriem.errors import InputError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "linear": nn.Identity,
}


def multilayer_perceptron(
    widths: Sequence[int],
    activation: str = "tanh",
    *,
    bias: bool = True,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> nn.Sequential:
    """Multilayer perceptron (torch module) with tanh, relu, gelu or linear activation.

    Parameters
    ----------
    widths : sequence of int
        Input width, hidden widths, output width.
    activation : {"tanh", "relu", "gelu", "linear"}
    bias : bool
    generator : torch.Generator, optional
        Draws the initial parameters; by default one seeded with 0.
    dtype : torch.dtype

    Returns
    -------
    torch.nn.Sequential

    Raises
    ------
    InputError
        If there are fewer than two widths, one is not positive, or the activation is unknown.

    Examples
    --------
    >>> multilayer_perceptron([2, 3, 1])(torch.zeros(1, 2, dtype=torch.float64)).shape
    torch.Size([1, 1])
    """
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(f"widths must be two or more positive numbers, got {list(widths)}")
    if activation not in ACTIVATIONS:
        raise InputError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        if layers:
            layers.append(ACTIVATIONS[activation]())
        layers.append(nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype))
    network = nn.Sequential(*layers)
    draw_uniform(network, generator or torch.Generator().manual_seed(0))
    return network


def draw_uniform(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights and biases of linear and convolutional layers in +-1/sqrt(fan-in), in place.

    Parameters
    ----------
    network : torch.nn.Module
    generator : torch.Generator
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1.0 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters(recurse=False):
                with torch.no_grad():
                    parameter.uniform_(-bound, bound, generator=generator)
