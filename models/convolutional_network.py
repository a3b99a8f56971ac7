"""A small convolutional network for square grey images, as a torch module.

convolution 3 x 3, stride 2 -> tanh -> convolution 3 x 3, stride 2 -> tanh -> linear.
"""

from __future__ import annotations

import torch
from subriem.models.multilayer_perceptron import draw_uniform
from torch import nn

from subriem.errors import InputError


def convolutional_network(
    side: int = 8,
    channels: int = 16,
    outputs: int = 10,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> nn.Sequential:
    """Small convolutional network (torch module) on square grey images.

    Parameters
    ----------
    side : int
        Images are side x side, given flat or not.
    channels : int
        Of the first convolution; the second has twice as many.
    outputs : int
    generator : torch.Generator, optional
        Draws the initial parameters; by default one seeded with 0.
    dtype : torch.dtype

    Returns
    -------
    torch.nn.Sequential

    Raises
    ------
    InputError
        If a number is not positive.

    Examples
    --------
    >>> convolutional_network()(torch.zeros(5, 64, dtype=torch.float64)).shape
    torch.Size([5, 10])
    """
    if min(side, channels, outputs) < 1:
        raise InputError(
            f"side, channels and outputs must be positive, got {side}, {channels}, {outputs}"
        )
    halved = (side + 1) // 2
    quartered = (halved + 1) // 2
    network = nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, channels, 3, stride=2, padding=1, dtype=dtype),
        nn.Tanh(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, dtype=dtype),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(2 * channels * quartered**2, outputs, dtype=dtype),
    )
    draw_uniform(network, generator or torch.Generator().manual_seed(0))
    return network
