"""What training conserves: the laws of linear and ReLU networks, counted, proved, and watched.

Gradient flows keep every conservation law of the network, whatever data and loss; the list is
complete where its length and the proved dimension of the orbit add up to the number of parameters
(S. Marcotte, R. Gribonval, G. Peyre, *Abide by the law and follow the flow*, arXiv 2307.00144).
The laws Q found are quadratic forms and a gradient g satisfies <grad Q, g> = 0, so that one step
of descent changes them by exactly eta^2 Q(g): over a fixed time the drift is eta times the
integral of Q(g), to first order. Networks learn to tell scans of handwritten digits 0, 1 and 2
apart (scikit-learn) from their first principal components.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Column, Table
from sklearn.datasets import load_digits
from torch import nn

import subriem as sr
from subriem.results import build_dataset, draw_law_drift, finished_orbits

# Whether the hidden layers are rectified, and whether they have biases.
ARCHITECTURES = {"linear": (False, False), "relu": (True, False), "relu with bias": (True, True)}
COMPONENTS, HIDDEN, CLASSES, SAMPLES, BATCH = 4, 5, 3, 96, 16
# All descents cover the same time in these numbers of steps.
HORIZON, STEPS = 0.5, (5, 15, 50, 150, 500, 1500, 5000)
METHODS = ("gradient descent", "stochastic")
KINDS: tuple[Literal["gradient", "adapted"], ...] = ("gradient", "adapted")
# The flows themselves are followed on so many samples, and for linear networks only: at each kink
# of a ReLU their integrators stop short.
FEW, ACCURACY = 2, 1e-8

study = sr.Study(
    "conservation_laws",
    {"architecture": list(ARCHITECTURES), "depth": [2, 3, 4]},
    question="How many quantities does training conserve, are they all, and how do they drift?",
)


class Network(nn.Module):
    """x -> (...(x U_1 + b_1)...) U_q; its parameters run as the coordinates of the zoo's model do.

    A leading axis of the parameters is one of independent networks.
    """

    def __init__(self, parameters: list[torch.Tensor], rectified: bool, bias: bool) -> None:
        super().__init__()
        self.tensors = nn.ParameterList([nn.Parameter(tensor) for tensor in parameters])
        self.rectified, self.bias = rectified, bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (..., N, Q) on inputs (N, d)."""
        tensors = list(self.tensors)
        *hidden, last = tensors[::2] if self.bias else tensors
        shifts = tensors[1::2] if self.bias else []
        for layer, matrix in enumerate(hidden):
            inputs = inputs @ matrix
            if self.bias:
                inputs = inputs + shifts[layer].unsqueeze(-2)
            if self.rectified:
                inputs = inputs.relu()
        return inputs @ last

    def stacked(self, runs: int) -> Network:
        """So many copies, for independent runs from one start."""
        copies = [tensor.detach().expand(runs, *tensor.shape).clone() for tensor in self.tensors]
        return Network(copies, self.rectified, self.bias)

    def flat(self) -> torch.Tensor:
        """The parameters of each copy in a row, (runs, K)."""
        return joined([tensor.detach() for tensor in self.tensors])


def joined(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Tensors with a leading axis of copies, side by side in a row for each."""
    return torch.cat([tensor.flatten(start_dim=1) for tensor in tensors], dim=1)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Whitened principal components (N, d) of the images, and one-hot labels (N, Q)."""
    data = load_digits()
    chosen = np.flatnonzero(data.target < CLASSES)
    chosen = np.random.default_rng(0).permutation(chosen)[:SAMPLES]
    images = data.data[chosen] - data.data[chosen].mean(axis=0)
    left, _, _ = np.linalg.svd(images, full_matrices=False)
    inputs = math.sqrt(SAMPLES) * left[:, :COMPONENTS]
    return torch.from_numpy(inputs), torch.from_numpy(np.eye(CLASSES)[data.target[chosen]])


def initial(widths: list[int], rectified: bool, bias: bool) -> Network:
    """Normal weights that keep the size of what passes, and small normal biases."""
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for layer, (rows, columns) in enumerate(pairwise(widths), start=1):
        scale = math.sqrt((2 if rectified else 1) / rows)
        draw = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        tensors.append(scale * draw)
        if bias and layer < len(widths) - 1:
            shift = torch.randn(columns, generator=generator, dtype=torch.float64)
            tensors.append(0.1 * shift)
    return Network(tensors, rectified, bias)


def slopes(
    network: Network, inputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Loss of each copy, sum over samples of weight |x - y|^2 / 2, and the gradients."""
    squares = (network(inputs) - targets).square().sum(dim=-1)
    losses = (weights * squares).sum(dim=-1) / 2
    return losses.detach(), torch.autograd.grad(losses.sum(), list(network.tensors))


def descend(
    network: Network, inputs: torch.Tensor, targets: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """All runs at once, first by gradient descent, then stochastic; ended ones stand still.

    Yields the step, parameters, losses and gradients on all samples at steps 0 to 9, 10, 20, ...
    90, 100, 200, ... and at multiples of 50.
    """
    count = torch.tensor(STEPS).repeat(2)
    runs, generator = len(count), torch.Generator().manual_seed(1)
    network = network.stacked(runs)
    full = torch.full((runs, SAMPLES), 1 / SAMPLES, dtype=torch.float64)
    weights = full.clone()
    share = torch.full((runs // 2, BATCH), 1 / BATCH, dtype=torch.float64)
    for step in range(max(STEPS) + 1):
        if step % 10 ** (len(str(step)) - 1) == 0 or step % 50 == 0:
            losses, gradients = slopes(network, inputs, targets, full)
            yield step, network.flat(), losses, joined(gradients)
        drawn = torch.randint(SAMPLES, (runs // 2, BATCH), generator=generator)
        weights[runs // 2 :] = 0.0
        weights[runs // 2 :].scatter_add_(1, drawn, share)
        _, gradients = slopes(network, inputs, targets, weights)
        rate = torch.where(step < count, HORIZON / count, 0.0)
        with torch.no_grad():
            for tensor, gradient in zip(network.tensors, gradients, strict=True):
                tensor -= rate.reshape(-1, *[1] * (tensor.ndim - 1)) * gradient


@study.task
def task(architecture: str, depth: int) -> xr.Dataset:
    """Count the laws of one network with proof, train it, and watch them drift."""
    rectified, bias = ARCHITECTURES[architecture]
    widths = [COMPONENTS, *[HIDDEN] * (depth - 1), CLASSES]
    if rectified:
        structure = sr.models.relu_network(widths, bias)
    else:
        structure = sr.models.linear_network(widths)
    orbit = sr.orbit_dimension(structure)
    laws = sr.conservation_laws(structure, degree=2)

    inputs, targets = digits()
    network = initial(widths, rectified, bias)
    start = laws(network.stacked(1).flat().numpy())
    size = np.abs(start).max()

    def drift(points: np.ndarray) -> np.ndarray:
        values = laws(points.reshape(-1, points.shape[-1]))
        return np.abs(values - start).reshape(*points.shape[:-1], -1).max(axis=-1) / size

    history = list(descend(network, inputs, targets))
    drifts = np.max([drift(theta.numpy()) for _, theta, _, _ in history], axis=0)
    remaining = history[-1][2].numpy() / history[0][2].numpy()
    steps = HORIZON / np.array(STEPS)
    small = steps <= 1e-2
    shaped = drifts.reshape(len(METHODS), len(STEPS))
    exponents = [np.polyfit(np.log(steps[small]), np.log(row[small]), 1)[0] for row in shaped]

    # The finest gradient descent is the flow to first order.
    finest = int(np.argmax(STEPS))
    times = np.array([step for step, *_ in history]) * steps[finest]
    rates = laws(np.stack([gradients[finest].numpy() for *_, gradients in history]))
    pieces = (rates[1:] + rates[:-1]) / 2 * np.diff(times)[:, None]
    predicted = np.abs(pieces.cumsum(axis=0)).max() / size

    few = sr.OutputMap(network, inputs[:FEW])
    loss = sr.SquaredLoss(targets[:FEW].numpy())
    flows = {
        kind: sr.flow(
            few, loss, kind, time=HORIZON, rtol=ACCURACY, keep=("parameters",), progress=False
        )
        for kind in (() if rectified else KINDS)
    }
    kept = {kind: drift(flow["parameters"].values).max() for kind, flow in flows.items()}
    return build_dataset(
        {
            "expression": ("law", np.array(laws.expressions, dtype=str), "law", "1"),
            "parameters": ((), structure.dimension, "number of parameters", "1"),
            "orbit_dimension": ((), int(orbit["dimension"]), "dimension of the orbit", "1"),
            "laws": ((), laws.independent, "independent laws", "1"),
            "certified": (
                (),
                bool(orbit["certified"]) and laws.complete,
                "whether the laws are proved to be all",
                "1",
            ),
            "drift": (
                ("method", "step_size"),
                shaped,
                "greatest change of a law over the training, over the greatest law at the start",
                "1",
            ),
            "remaining_loss": (
                ("method", "step_size"),
                remaining.reshape(shaped.shape),
                "loss at the end over that at the start",
                "1",
            ),
            "exponent": (
                "method",
                np.array(exponents),
                "fitted power of the step size in the drift, at step sizes to 0.01",
                "1",
            ),
            "predicted_slope": (
                (),
                predicted,
                "drift over the step size to first order: the greatest integral of Q(gradient)",
                "1",
            ),
            "flow_drift": (
                "kind",
                np.array([kept.get(kind, np.nan) for kind in KINDS]),
                "drift of the flow itself; NaN where it is not followed",
                "1",
            ),
            "flow_tolerance": ((), ACCURACY, "relative tolerance of the flows", "1"),
            "flow_status": (
                "kind",
                np.array(
                    [
                        flows[kind].attrs["status"] if kind in flows else "not followed"
                        for kind in KINDS
                    ]
                ),
                "how the flow ended",
                "1",
            ),
        },
        {
            "method": ("method", np.array(METHODS), "method of training", "1"),
            "step_size": ("step_size", steps, "step size", "1"),
            "kind": ("kind", np.array(KINDS), "kind of flow", "1"),
        },
        function="studies/conservation_laws.py",
        arguments={"architecture": architecture, "depth": depth},
        structure=repr(structure),
        seed=0,
        attributes={"verification": laws.verification, "scope": laws.scope},
    )


@study.after
def show(dataset: xr.Dataset, path: Path) -> None:
    """Print the counts and the drifts, draw both."""
    console = Console(width=180)
    table = Table(
        "architecture",
        *(
            Column(name, justify="right")
            for name in (
                "depth",
                "parameters",
                "orbit",
                "laws",
                "all",
                "power GD",
                "power SGD",
                "slope/theory",
                "drift GD 1e-4",
                "drift SGD 1e-4",
                "gradient flow",
                "adapted flow",
            )
        ),
        title="conservation laws, and their drift over the greatest law at the start",
    )
    results = {tuple(point.values()): result for point, result in finished_orbits(dataset)}
    for (name, depth), result in results.items():
        least = result.isel(step_size=-1)
        slope = float(least["drift"][0] / least["step_size"])
        table.add_row(
            name,
            *(str(int(n)) for n in (depth, *(result[key] for key in _COUNTS))),
            "proved" if bool(result["certified"]) else "open",
            *(f"{float(power):.3f}" for power in result["exponent"]),
            f"{slope / float(result['predicted_slope']):.4f}",
            *(f"{float(value):.1e}" for value in least["drift"]),
            *("-" if np.isnan(value) else f"{value:.1e}" for value in result["flow_drift"].values),
        )
    console.print(table)
    console.print(f"picture: {draw_law_drift(path.with_suffix('.png'), results)}")


_COUNTS = ("parameters", "orbit_dimension", "laws")

if __name__ == "__main__":
    study.main()
