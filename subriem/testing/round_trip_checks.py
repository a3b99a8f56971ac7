"""Checks that a structure survives being written, moved and read: pickle, coordinates, points."""

from __future__ import annotations

import pickle

import casadi as ca
import numpy as np
import xarray as xr

from subriem.structure import Structure
from subriem.testing.description import point_text
from subriem.testing.model import Model, read_model
from subriem.testing.residual import residual
from subriem.testing.transformations import random_diffeomorphism

__all__ = ["check_coordinates_and_back", "check_pickle", "check_points"]

_POINTS = 5


def check_pickle(model: Model | Structure) -> None:
    """A structure read back from its pickle is the same to the last bit."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    again = pickle.loads(pickle.dumps(structure))
    for name in ("name", "coordinates", "parameters", "periods", "bounds", "field_names"):
        before, after = getattr(structure, name), getattr(again, name)
        if before != after:
            raise AssertionError(
                f"{structure.name}: {name} is {after!r} after a pickle, was {before!r}"
            )
    points = structure.sample(_POINTS, np.random.default_rng(40))
    for what in ("frame_at", "metric_at", "drift_at", "inside"):
        before, after = getattr(structure, what)(points), getattr(again, what)(points)
        if not np.array_equal(before, after):
            raise AssertionError(
                f"{structure.name}: {what} differs after a pickle by "
                f"{np.abs(1.0 * after - before).max():.3g}"
            )


def check_coordinates_and_back(model: Model | Structure) -> None:
    """A structure taken to other coordinates and back is the same up to rounding."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    change = random_diffeomorphism(structure.dimension, np.random.default_rng(41))
    back = change.applied(structure).change_coordinates(
        structure.coordinates, change.inverse, change.forward
    )
    points = structure.sample(_POINTS, np.random.default_rng(42))
    old = [back.state, back.parameter_symbols]
    new = [structure.state, structure.parameter_symbols]
    # the terms of (d phi)^-1 (d phi) f, most of which cancel: the scale of its rounding
    image = ca.vertcat(*change.forward(structure.state))
    there, again = ca.SX.sym("there", image.numel()), ca.SX.sym("again", image.numel())
    slopes = [
        ca.substitute(ca.jacobian(ca.vertcat(*change.inverse(there)), there), there, image),
        ca.substitute(
            ca.jacobian(ca.vertcat(*change.forward(again)), again), again, structure.state
        ),
    ]
    magnified = ca.fabs(slopes[0]) @ ca.fabs(slopes[1])
    pairs = {
        "frame": (back.frame, structure.frame, magnified @ ca.fabs(structure.frame)),
        "inner product": (back.metric, structure.metric, ca.fabs(structure.metric)),
        "drift": (back.drift, structure.drift, magnified @ ca.fabs(structure.drift)),
    }
    for what, (returned, here, scale) in pairs.items():
        moved = ca.substitute([returned], old, new)[0]
        found = residual(structure, [moved, -here, scale, -scale], points)
        if not found.vanishes.all():
            b, i, j = found.largest()
            raise AssertionError(
                f"{structure.name}: entry ({i}, {j}) of the {what} at "
                f"{point_text(structure, points[b])} is off by {found.values[b, i, j]:.3g} after a "
                "change of coordinates and back"
            )


def check_points(model: Model | Structure) -> None:
    """Points are the same as arrays, lists, dicts and DataArrays, one by one and in a batch."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    points = structure.sample(_POINTS, np.random.default_rng(43))
    names = list(structure.coordinates)
    labelled = xr.DataArray(points, dims=("point", "coordinate"), coords={"coordinate": names})
    ways = {
        "lists": points.tolist(),
        "a dict": dict(zip(names, points.T, strict=True)),
        "a DataArray": labelled,
        "a DataArray in another order": labelled[:, ::-1].T,
    }
    expected = structure.frame_at(points)
    for way, given in ways.items():
        if not np.array_equal(structure.frame_at(given), expected):
            raise AssertionError(f"{structure.name}: the frame differs for points given as {way}")
    for point, frame in zip(points, expected, strict=True):
        single = structure.frame_at(dict(zip(names, point.tolist(), strict=True)))
        if not np.array_equal(single, frame):
            raise AssertionError(
                f"{structure.name}: the frame at {point_text(structure, point)} differs between "
                "one point and a batch"
            )
