"""Structures and points whose nilpotent approximation is tested, singular points among them."""

from functools import lru_cache

from subriem import models
from subriem.brackets.nilpotent import nilpotent_approximation
from subriem.brackets.privileged import privileged_coordinates

# name: structure, point, growth vector with its source in the model's TRUTHS
CASES = {
    "heisenberg": (models.heisenberg(), (1, 2, 3), (2, 3)),
    "martinet, singular": (models.martinet(), (0, 2, 1), (2, 2, 3)),
    "martinet, regular": (models.martinet(), (1, 0, 0), (2, 3)),
    "engel": (models.engel(), (1, -2, 3, 0.5), (2, 3, 4)),
    "grushin, singular": (models.grushin(), (0, 1), (1, 2)),
    "grushin(3), singular": (models.grushin(3), (0, 0), (1, 1, 1, 2)),
    "grushin, regular": (models.grushin(), (0.5, 3), (2,)),
    "unicycle": (models.unicycle(), (3, 4, "pi/2"), (2, 3)),
    "car": (models.car(), (1, -2, "pi/3", "pi/4"), (2, 3, 4)),
    "rolling_sphere": (models.rolling_sphere(), (1, 2, "1/2", "-1/3", "1/5"), (2, 3, 5)),
    "ball_plate": (models.ball_plate(), (1, 2, "pi/4", 0, "pi/3"), (2, 3, 5)),
    "trailers(2), regular": (models.trailers(2), (0, 0, 0, 0.3, 0.7), (2, 3, 4, 5)),
    "trailers(2), singular": (models.trailers(2), (0, 0, "pi/2", 0, 0), (2, 3, 4, 4, 5)),
    "trailers(3), RVR": (
        models.trailers(3),
        (0, 0, "pi/2", "pi/2", 0, 0),
        (2, 3, 4, 5, 5, 6),
    ),
    "trailers(3), RVT": (
        models.trailers(3),
        (0, 0, "3*pi/4", "pi/2", 0, 0),
        (2, 3, 4, 5, 5, 5, 6),
    ),
    "trailers(2), unequal": (
        models.trailers(2, [0.5, 3.0]),
        (0, 0, "pi/2", 0, 0),
        (2, 3, 4, 4, 5),
    ),
}
# lengths so far apart that at a distance of 1 the coordinates are lost to rounding
EXTREME = {
    "trailers(2), far apart": (
        models.trailers(2, [0.01, 300.0]),
        (0, 0, "pi/2", 0, 0),
        (2, 3, 4, 4, 5),
    ),
}
ALL = {**CASES, **EXTREME}


@lru_cache
def coordinates_of(name):
    return privileged_coordinates(*ALL[name][:2])


@lru_cache
def tangent_of(name):
    return nilpotent_approximation(*ALL[name][:2])
