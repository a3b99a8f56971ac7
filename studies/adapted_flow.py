"""The main study: does training by the adapted gradient flow do what Chen's theorem says.

Networks are trained on scans of handwritten digits (scikit-learn) by the adapted, the straight and
the Euclidean gradient flow from the same start; every orbit is held against C(s) = e^{-2s/N} C_0
and its a-priori stopping time (T. Chen, arXiv:2311.15487).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from sklearn.datasets import load_digits

import subriem as sr
from subriem.results import draw_orbits, finished_orbits, print_orbits

Kind = Literal["adapted", "straight", "gradient"]
ARCHITECTURES = {
    "tanh wide": ("tanh", [64, 128, 10]),
    "tanh deep": ("tanh", [64, 64, 64, 10]),
    "tanh narrow": ("tanh", [64, 24, 10]),
    "relu wide": ("relu", [64, 128, 10]),
    "gelu wide": ("gelu", [64, 128, 10]),
    "convolutional": (None, []),
    "tanh 512": ("tanh", [64, 512, 10]),
}

KEEP = ("outputs", "singular_values")

study = sr.Study(
    "adapted_flow",
    {
        "architecture": [name for name in ARCHITECTURES if name != "tanh 512"],
        "kind": ["adapted", "straight", "gradient"],
        "seed": [0, 1],
    },
    question="Does the loss fall as exp(-2s/N) down to a stopping time known in advance?",
)


@study.variant("full", help="all 1,797 images, by the adapted flow only")
def full() -> dict[str, list]:
    """All images, one wide network."""
    return {"architecture": ["tanh 512"], "kind": ["adapted"], "seed": [0]}


@study.task
def task(architecture: str, kind: Kind, seed: int, variant: str | None) -> xr.Dataset:
    """Train one network by one flow, and test it on the images it has not seen."""
    if variant == "full":
        # One task that wants the whole machine; the small ones share it.
        torch.set_num_threads(os.cpu_count() or 1)
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = (digits.data - digits.data.mean(0)) / (digits.data.std(0) + 1e-9)
    count = len(order) if variant == "full" else 64
    train, test = order[:count], order[count:]
    labels = np.eye(10)[digits.target[train]]

    generator = torch.Generator().manual_seed(seed)
    activation, widths = ARCHITECTURES[architecture]
    if activation is None:
        network = sr.models.convolutional_network(generator=generator)
    else:
        network = sr.models.multilayer_perceptron(widths, activation, generator=generator)
    outputs = sr.OutputMap(network, images[train])
    # Where kinks are crossed, a stiff integrator asked for more takes thousands of small steps.
    rtol = 1e-1 if (activation, kind) == ("relu", "gradient") else 1e-2
    laws = sr.balancedness(outputs)
    before = laws(outputs.parameters)
    orbit = sr.flow(outputs, sr.SquaredLoss(labels), kind, rtol=rtol, keep=KEEP)
    drift = np.abs(laws(orbit.final_parameters.values) - before).max() if len(laws) else np.nan
    orbit["laws"] = ((), len(laws))
    orbit["laws"].attrs = {"long_name": "verified conservation laws of all gradients", "units": "1"}
    orbit["law_drift"] = ((), drift)
    orbit["law_drift"].attrs = {"long_name": "largest change of a conservation law", "units": "1"}
    outputs.load(orbit.final_parameters)
    if len(test):
        with torch.no_grad():
            guessed = network(torch.from_numpy(images[test])).argmax(1).numpy()
        accuracy = float((guessed == digits.target[test]).mean())
        orbit["test_accuracy"] = ((), accuracy)
        orbit["test_accuracy"].attrs = {"long_name": "accuracy on unseen images", "units": "1"}
    return orbit


@study.after
def show(dataset: xr.Dataset, path: Path) -> None:
    """Print the table, draw the picture."""
    console = Console(width=170)
    orbits = {tuple(point.values()): orbit for point, orbit in finished_orbits(dataset)}
    print_orbits(((" / ".join(map(str, key)), orbit) for key, orbit in orbits.items()), console)
    first = {name: orbit for (name, kind, _), orbit in orbits.items() if kind == "adapted"}
    shown = "tanh narrow" if "tanh narrow" in first else next(iter(first))
    paths = {
        kind: orbit for (name, kind, seed), orbit in orbits.items() if (name, seed) == (shown, 0)
    }
    losses = {f"{name}, adapted": orbit for name, orbit in first.items()}
    if "gradient" in paths:
        losses[f"{shown}, gradient"] = paths["gradient"]
    picture = draw_orbits(
        path.with_suffix(".png"),
        losses=losses,
        spectrum=(f"{shown}, adapted", first[shown]),
        outputs=(shown, paths),
    )
    console.print(f"picture: {picture}")


if __name__ == "__main__":
    study.main()
