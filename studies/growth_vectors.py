"""Growth vectors of a tractor with trailers, mapped over the angles between its axles.

Generic configurations of n trailers have the growth vector (2, 3, ..., n + 3); where an axle but
the last is at a right angle to the one before, brackets degenerate and the degree of
nonholonomy grows, up to a Fibonacci number (F. Jean, *The car with n trailers: characterization of
the singular configurations*, ESAIM: COCV 1 (1996)).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

import subriem as sr
from subriem.results import draw_flag_maps, finished_orbits

# How many points an axis; one more than a multiple of four, so that right angles are among them.
SYSTEMS = {
    "2 trailers": (2, 61, ()),
    "3 trailers": (3, 61, ()),
    "4 trailers, the third at a right angle": (4, 17, (np.pi / 2, 0.0)),
}
KEPT = ["growth_vector", "degree_of_nonholonomy", "regular", "status", "accepted", "rejected"]

study = sr.Study(
    "growth_vectors",
    {"system": list(SYSTEMS)},
    question="Where are trailers hard to steer, and how many brackets does it take there?",
)


@study.task
def task(system: str) -> xr.Dataset:
    """Map the growth vector of one system over its first two angles."""
    trailers, count, others = SYSTEMS[system]
    angle = np.linspace(-np.pi, np.pi, count)
    first, second = (grid.ravel() for grid in np.meshgrid(angle, angle, indexing="ij"))
    between: list[Any] = [first, second, *others, *[0.0] * trailers][:trailers]
    heading = np.zeros((len(first), trailers + 1))
    for k, turn in enumerate(between):
        heading[:, k + 1] = heading[:, k] - turn
    points = np.column_stack([np.zeros((len(first), 2)), heading])
    flag = sr.lie_flag(sr.models.trailers(trailers), points)[KEPT].reset_coords(drop=True)
    flag = flag.drop_vars("point").assign_coords(first=("point", first), second=("point", second))
    flag = flag.set_index(point=["first", "second"]).unstack("point")
    for name, what in (("first", "tractor and first trailer"), ("second", "the next two axles")):
        flag[name].attrs = {"long_name": f"angle between {what}", "units": "rad"}
    return flag


@study.after
def show(dataset: xr.Dataset, path: Path) -> None:
    """Print how many configurations have which growth vector, draw the maps."""
    console = Console(width=120)
    table = Table(title="growth vectors over the first two angles")
    for column in ("system", "growth vector", "degree", "configurations", "clearest to faintest"):
        table.add_column(column)
    maps = {point["system"]: flag for point, flag in finished_orbits(dataset)}
    for system, flag in maps.items():
        points = flag.stack(point=("first", "second"))
        vectors = points["growth_vector"].transpose("point", "step").values
        degrees = points["degree_of_nonholonomy"].values
        for degree in np.unique(degrees):
            here = degrees == degree
            vector = [int(k) for k in vectors[here][0][: int(degree) or None]]
            faintest = float(points["accepted"].values.T[here].min())
            table.add_row(
                system, str(vector), str(int(degree)), str(int(here.sum())), f"{faintest:.0e}"
            )
    console.print(table)
    console.print(f"picture: {draw_flag_maps(path.with_suffix('.png'), maps)}")


if __name__ == "__main__":
    study.main()
