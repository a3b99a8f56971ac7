"""Wave fronts of three classical structures: where their geodesics of one length end.

The Heisenberg group, the flat Martinet structure and the unicycle on SE(2), from the origin. The
sphere is part of the front; past the first conjugate time a geodesic's end is not on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

import subriem as sr
from subriem.results import draw_wavefronts, finished_orbits

# How far the vertical momenta go, in units of 1 / radius; Martinet's, of weight 3, of its square.
SYSTEMS = {"heisenberg": 11.0, "martinet": 60.0, "unicycle": 9.0}

study = sr.Study(
    "wavefronts",
    {"system": list(SYSTEMS), "radius": [1.0, 2.0]},
    question="Where do geodesics of one length end, and which have passed a conjugate point?",
)


@study.task
def task(system: str, radius: float) -> xr.Dataset:
    """The wave front of one radius."""
    structure = getattr(sr.models, system)()
    reach = SYSTEMS[system] / radius ** (2 if system == "martinet" else 1)
    vertical = np.linspace(-reach, reach, 161)
    return sr.wavefront(structure, [0, 0, 0], radius, vertical=vertical, angles=120)


@study.after
def show(dataset: xr.Dataset, path: Path) -> None:
    """Print how much of each front is past a conjugate point, draw those of the first radius."""
    console = Console(width=100)
    table = Table(title="wave fronts from the origin")
    for column in ("system", "radius", "geodesics", "past a conjugate point", "height reached"):
        table.add_column(column)
    pictures = {}
    for point, front in finished_orbits(dataset):
        past = front["past_conjugate"].values.astype(bool)
        height = float(np.abs(front["state"].isel(coordinate=2)).max())
        table.add_row(
            point["system"],
            f"{point['radius']:g}",
            str(past.size),
            f"{past.mean():.0%}",
            f"{height:.4g}",
        )
        if point["radius"] == 1.0:
            pictures[point["system"]] = front
    console.print(table)
    console.print(f"picture: {draw_wavefronts(path.with_suffix('.png'), pictures)}")


if __name__ == "__main__":
    study.main()
