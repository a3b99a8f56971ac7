"""Wave fronts and spheres of three classical structures: where geodesics of one length end.

The Heisenberg group, the flat Martinet structure and the unicycle on SE(2), from the origin. The
sphere is the part of the front whose geodesics are shortest; it closes at cut points.
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
    question="Where do geodesics of one length end, which are shortest, and where are cut points?",
)


@study.task
def task(system: str, radius: float) -> xr.Dataset:
    """The wave front of one radius, with cut points of the sphere."""
    structure = getattr(sr.models, system)()
    reach = SYSTEMS[system] / radius ** (2 if system == "martinet" else 1)
    vertical = np.linspace(-reach, reach, 161)
    front = sr.wavefront(structure, [0, 0, 0], radius, vertical=vertical, angles=120)
    # cut points are searched for between geodesics of a coarser grid
    coarse = sr.sphere(structure, [0, 0, 0], radius, vertical=vertical[::8], angles=8)
    cuts = {name: coarse[name] for name in coarse.data_vars if "cut" in coarse[name].dims}
    share = coarse["minimizing"].mean().assign_attrs(long_name="share of shortest geodesics")
    return front.assign({**cuts, "minimizing_share": share.assign_attrs(units="1")})


@study.after
def show(dataset: xr.Dataset, path: Path) -> None:
    """Print how much of each front is past a conjugate point, draw those of the first radius."""
    console = Console(width=100)
    table = Table(title="wave fronts from the origin")
    columns = ("system", "radius", "geodesics", "past a conjugate point", "shortest", "cut points")
    for column in columns:
        table.add_column(column)
    pictures = {}
    for point, front in finished_orbits(dataset):
        past = front["past_conjugate"].values.astype(bool)
        table.add_row(
            point["system"],
            f"{point['radius']:g}",
            str(past.size),
            f"{past.mean():.0%}",
            f"{float(front['minimizing_share']):.0%}",
            str(int(np.isfinite(front["cut_state"].values).all(axis=-1).sum())),
        )
        if point["radius"] == 1.0:
            pictures[point["system"]] = front
    console.print(table)
    console.print(f"picture: {draw_wavefronts(path.with_suffix('.png'), pictures)}")


if __name__ == "__main__":
    study.main()
