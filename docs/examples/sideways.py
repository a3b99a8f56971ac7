"""The length of the way of a unicycle to a place beside it."""

from __future__ import annotations

import xarray as xr

import subriem as sr

study = sr.Study(
    "sideways",
    {"distance": [0.01, 0.1, 1.0], "seed": [0, 1]},
    question="How much longer than the distance is the way to a place beside a unicycle?",
)


@study.task
def task(distance: float, seed: int) -> xr.Dataset:
    """The shortest way to (0, distance), in the direction of the start."""
    path = sr.connect(sr.models.unicycle(), [0, 0, 0], [0, distance, 0], seed=seed)
    return path[["length", "lower_bound", "agreeing", "seeds"]]


if __name__ == "__main__":
    study.main()
