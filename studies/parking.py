"""Parking: a horizontal path by nilpotent steering, then a short one among obstacles.

A unicycle, a car, a tractor with two trailers and a car with two trailers park between two cars at
the kerb, from beside the one before, and turn round in a street. `plan_motion` knows nothing of
the obstacles; its path is the start of direct collocation, which does, and which keeps the
steering angle of the cars and the angles at the hooks within bounds. Lengths are those of the
orthonormal frames of the models: of the way and the turning of the unicycle and the tractor, of
the way of the rear axle and the steering of the cars.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

import subriem as sr
from subriem.geodesics.collocation import collocate
from subriem.geodesics.planning import find_plan
from subriem.results import build_dataset, finished_orbits
from subriem.results.parking import body_corners, draw_parking

# How far the first body reaches behind and before its axle; the trailers' are all alike.
VEHICLES: dict[str, tuple[Any, tuple[float, float]]] = {
    "unicycle": (sr.models.unicycle, (0.4, 0.4)),
    "car": (sr.models.car, (0.3, 1.3)),
    "2 trailers": (lambda: sr.models.trailers(2), (0.35, 0.45)),
    "car with 2 trailers": (lambda: sr.models.car_with_trailers(2), (0.3, 1.3)),
}
TRAILER, HALF_WIDTH = (0.35, 0.35), 0.25
# Room between the parked cars before and behind, half their length, and where the kerbs are.
ROOM, PARKED, KERB, STREET = 0.6, 0.8, -0.45, 1.9
# Two bodies that are hooked together do not fold: least cosine of the angle between them.
FOLD = 0.3
# Largest angle of the front wheels of a car.
STEERING = 1.0
# Kept from all obstacles and from that angle, as direct collocation looks only now and then.
MARGIN = 0.02
COMPONENTS = ["x", "y", "heading"]

study = sr.Study(
    "parking",
    {"vehicle": list(VEHICLES), "manoeuvre": ["parallel", "turn round"]},
    question="Can it park, and how short is the way among obstacles?",
)


def axles(structure: sr.Structure, state: ca.SX) -> list[tuple[ca.SX, ca.SX, ca.SX]]:
    """The pose (x, y, heading) of each axle: the first, and those that it pulls."""
    named = dict(zip(structure.coordinates, ca.vertsplit(state), strict=True))
    headings = [named[key] for key in ("theta", "th0", "th1", "th2") if key in named]
    poses = [(named["x"], named["y"], headings[0])]
    for heading in headings[1:]:
        x, y, _ = poses[-1]
        poses.append((x - ca.cos(heading), y - ca.sin(heading), heading))
    return poses


def clear(
    structure: sr.Structure, state: ca.SX, extent: np.ndarray, parked: np.ndarray, kerb: list[float]
) -> ca.SX:
    """What is not negative where no body touches an obstacle: discs cover the bodies."""
    poses = axles(structure, state)
    kept = [ca.cos(a[2] - b[2]) - FOLD for a, b in itertools.pairwise(poses)]
    if "phi" in structure.coordinates:
        angle = state[structure.coordinates.index("phi")]
        kept.append((STEERING - MARGIN) ** 2 - angle**2)
    for (x, y, heading), (back, front, side) in zip(poses, extent, strict=True):
        cos, sin = ca.cos(heading), ca.sin(heading)
        count = int(np.ceil((back + front) / (2 * side) - 0.5))
        half = (back + front) / (2 * count)
        radius = np.hypot(half, side) + MARGIN
        for k in range(count):
            along = -back + (2 * k + 1) * half
            for place_x, place_y, length, width in parked:
                # a superellipse about the rectangle, larger by the radius
                u = (x + along * cos - place_x) / (2**0.25 * length + radius)
                v = (y + along * sin - place_y) / (2**0.25 * width + radius)
                kept.append((u**4 + v**4) ** 0.25 - 1)
        for along in (-back, front):
            for across in (-side, side):
                height = y + along * sin + across * cos
                kept.append(height - kerb[0] - MARGIN)
                kept += [edge - height - MARGIN for edge in kerb[1:]]
    return ca.vertcat(*kept)


def clearance(corners: np.ndarray, parked: np.ndarray, kerb: list[float]) -> float:
    """Least gap along the axes of two rectangles, or to a kerb: positive where none touch.

    Corners are of shape (time, body, 4, 2).
    """
    gaps = [corners[..., 1].min() - kerb[0], *(edge - corners[..., 1].max() for edge in kerb[1:])]
    sides = np.stack(
        [corners[..., 1, :] - corners[..., 0, :], corners[..., 3, :] - corners[..., 0, :]]
    )
    sides /= np.linalg.norm(sides, axis=-1, keepdims=True)
    for x, y, length, width in parked:
        box = np.array([[-length, -width], [length, -width], [length, width], [-length, width]])
        box += [x, y]
        apart = []
        for axis in (*sides, *(np.broadcast_to(e, sides[0].shape) for e in np.eye(2))):
            own = np.einsum("tbkc,tbc->tbk", corners, axis)
            other = np.einsum("kc,tbc->tbk", box, axis)
            apart += [own.min(-1) - other.max(-1), other.min(-1) - own.max(-1)]
        gaps.append(np.max(apart, axis=0).min())
    return float(min(gaps))


@study.task
def task(vehicle: str, manoeuvre: str) -> xr.Dataset:
    """Plan one manoeuvre of one vehicle, and the direct method's from there."""
    build, first = VEHICLES[vehicle]
    structure = build()
    start, end = np.zeros(structure.dimension), np.zeros(structure.dimension)
    count = len(axles(structure, structure.state))
    extent = np.array([(*reach, HALF_WIDTH) for reach in [first, *[TRAILER] * (count - 1)]])
    if manoeuvre == "parallel":
        ahead = extent[0, 1] + ROOM + PARKED
        behind = 1 - count - extent[-1, 0] - ROOM - PARKED
        start[:2] = ahead, 1.0
        parked = np.array([[ahead, 0, PARKED, HALF_WIDTH], [behind, 0, PARKED, HALF_WIDTH]])
        kerb = [KERB]
    else:
        start[:2], end[:2] = (0, 0.8), (0, -0.8)
        turned = [k for k, name in enumerate(structure.coordinates) if name.startswith("th")]
        start[turned] = np.pi
        parked, kerb = np.zeros((0, 4)), [-STREET, STREET]
    times = np.linspace(0, 1, 401)
    plan, status, note, _ = find_plan(structure, start, end)
    poses = structure.function(
        ca.vertcat(*(ca.horzcat(*pose) for pose in axles(structure, structure.state)))
    )
    pose = np.full((2, len(times), count, 3), np.nan)
    length, error, gap, steering = (np.full(2, np.nan) for _ in range(4))
    paths: list[Any] = [plan, None]
    if plan is not None:
        paths[1] = collocate(
            structure,
            start,
            plan.target[None],
            inequalities=lambda q: clear(structure, q, extent, parked, kerb),
            starts=0,
            guesses=[plan.curve()],
        )
    for k, path in enumerate(paths):
        if path is not None:
            states = path.at(times)[0]
            for j, state in enumerate(states):
                pose[k, j] = np.asarray(poses(state, structure.parameter_values))
            length[k], error[k] = path.length, path.endpoint_error
            gap[k] = clearance(body_corners(pose[k], extent), parked, kerb)
            if "phi" in structure.coordinates:
                steering[k] = np.abs(states[:, structure.coordinates.index("phi")]).max()
    return build_dataset(
        {
            "pose": (("path", "time", "body", "component"), pose, "pose of an axle", "1"),
            "extent": (("body", "component"), extent, "reach behind, before, sideways", "1"),
            "parked": (("obstacle", "side"), parked, "x, y, half the length and width", "1"),
            "kerb": ("edge", kerb, "height of a kerb: lower, upper", "1"),
            "length": ("path", length, "length of the path", "1"),
            "endpoint_error": ("path", error, "distance from the end, in coordinates", "1"),
            "clearance": ("path", gap, "least gap to an obstacle, negative in collision", "1"),
            "steering": ("path", steering, "largest angle of the front wheels", "rad"),
            "pieces": ((), 0 if plan is None else len(plan.pieces), "pieces of the plan", "1"),
        },
        {
            "path": ("path", ["plan", "direct"], "by which method", "1"),
            "time": ("time", times, "time along the path", "1"),
            "component": ("component", COMPONENTS, "component of a pose", "1"),
        },
        function="parking",
        arguments={"start": start, "end": end},
        structure=repr(structure),
        seed=0,
        attributes={"status": status, "note": note},
    )


@study.after
def show(dataset: xr.Dataset, path: Path) -> None:
    """Print lengths, errors and gaps, draw all manoeuvres."""
    console = Console(width=120)
    table = Table(title="plans, and what the direct method makes of them among obstacles")
    for column in (
        "vehicle",
        "manoeuvre",
        "status",
        "pieces",
        "length",
        "error",
        "clearance",
        "steering",
    ):
        table.add_column(column)
    pictures = {}
    for point, parking in finished_orbits(dataset):
        table.add_row(
            point["vehicle"],
            point["manoeuvre"],
            str(parking.attrs["status"]),
            str(int(parking["pieces"])),
            *(
                ", ".join(form.format(value) for value in parking[name].values)
                for name, form in (
                    ("length", "{:.4g}"),
                    ("endpoint_error", "{:.0e}"),
                    ("clearance", "{:.3f}"),
                    ("steering", "{:.3f}"),
                )
            ),
        )
        if np.isfinite(parking["length"]).any():
            pictures[point["vehicle"], point["manoeuvre"]] = parking
    console.print(table)
    if pictures:
        console.print(f"picture: {draw_parking(path.with_suffix('.png'), pictures)}")


if __name__ == "__main__":
    study.main()
