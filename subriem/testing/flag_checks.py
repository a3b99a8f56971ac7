"""Checks of the Lie flag of a model: what is known of it, and what must not change it."""

from __future__ import annotations

import numpy as np

from subriem.brackets.flag import lie_flag
from subriem.structure import Structure
from subriem.testing.description import point_text, tuple_text
from subriem.testing.flags import assert_growth_vector
from subriem.testing.model import Model, read_model
from subriem.testing.transformations import (
    random_diffeomorphism,
    scaled_coordinates,
    scaled_fields,
)

__all__ = [
    "check_growth_under_diffeomorphism",
    "check_growth_under_scaling",
    "check_truths",
]

_SCALE = 1e6


def check_truths(model: Model | Structure) -> None:
    """Growth vectors are the declared ones at the declared points, and flags end as declared."""
    __tracebackhide__ = True
    model = read_model(model)
    structure = model.structure
    for truth in model.truths:
        if truth.generating != (truth.growth[-1] == structure.dimension):
            point = point_text(structure, structure.points(truth.at))
            declared = "generating" if truth.generating else "not generating"
            raise AssertionError(
                f"{structure.name}: the truth at {point} is declared {declared}, and its growth "
                f"vector {tuple_text(truth.growth)} ends at {truth.growth[-1]} of "
                f"{structure.dimension}"
            )
        try:
            assert_growth_vector(structure, truth.at, truth.growth)
        except AssertionError as error:
            source = f" (source: {truth.source})" if truth.source else ""
            raise AssertionError(f"{error}\n  as declared in TRUTHS{source}") from None


def check_growth_under_diffeomorphism(model: Model | Structure) -> None:
    """The growth vector does not change under a random polynomial change of coordinates."""
    __tracebackhide__ = True
    model = read_model(model)
    structure = model.structure
    change = random_diffeomorphism(structure.dimension, np.random.default_rng(30))
    points = _points(model)
    _compare(
        structure, change.applied(structure), points, change.points(points), "in other coordinates"
    )


def check_growth_under_scaling(model: Model | Structure) -> None:
    """The growth vector does not change if coordinates or fields are scaled by 1e6 or 1e-6."""
    __tracebackhide__ = True
    model = read_model(model)
    structure = model.structure
    points = _points(model)
    generator = np.random.default_rng(31)
    factors = _SCALE ** generator.choice([-1.0, 1.0], structure.dimension)
    _compare(
        structure,
        scaled_coordinates(structure, factors),
        points,
        points * factors,
        "in other units",
    )
    factors = _SCALE ** generator.choice([-1.0, 1.0], structure.rank)
    _compare(structure, scaled_fields(structure, factors), points, points, "with scaled fields")


def _points(model: Model) -> np.ndarray:
    """Where truths are declared, as singular points are among those; else one random point."""
    if model.truths:
        return np.array([model.structure.points(truth.at) for truth in model.truths])
    return model.structure.sample(1, np.random.default_rng(32))


def _compare(
    structure: Structure,
    changed: Structure,
    points: np.ndarray,
    images: np.ndarray,
    what: str,
) -> None:
    __tracebackhide__ = True
    before, after = _growth(structure, points), _growth(changed, images)
    for point, here, there in zip(points, before, after, strict=True):
        if here != there:
            raise AssertionError(
                f"{structure.name}: the growth vector at {point_text(structure, point)} is {here}, "
                f"and {there} {what}; one of the two is decided wrongly"
            )


def _growth(structure: Structure, points: np.ndarray) -> list[str]:
    """Growth vectors up to where they are final, with how the flags end."""
    flag = lie_flag(structure, points)
    final = flag["degree_of_nonholonomy"].values
    table = flag["growth_vector"].values
    status = flag["status"].values
    return [
        f"{tuple_text(row[:k] if k else row)}, {end}"
        for row, k, end in zip(table, final, status, strict=True)
    ]
