import subprocess
import sys

import casadi as ca
import numpy as np
import pytest
from hypothesis import find, given, settings

import subriem as sr
from subriem.errors import InputTypeError
from subriem.testing import points

FIXED = settings(derandomize=True, database=None, max_examples=200)


def disc():
    return sr.Structure.define(
        "disc",
        "x y theta",
        lambda q: [(ca.cos(q.theta), ca.sin(q.theta), 0), (0, 0, 1)],
        periodic=("theta",),
        domain=lambda q: [4 - q.x**2 - q.y**2],
    )


@FIXED
@given(points(disc()))
def test_points_lie_in_the_chart(point):
    assert point.shape == (3,)
    assert point.dtype == np.float64
    assert disc().inside(point)
    assert abs(point[2]) <= np.pi


@FIXED
@given(points(sr.models.car()))
def test_points_keep_off_the_bounds(point):
    assert np.isfinite(sr.models.car().frame_at(point)).all()
    assert abs(point[3]) < np.pi / 2


def test_one_sided_and_far_bounds_are_met():
    far = sr.Structure.define(
        "far", "x y", lambda q: [(1, 0), (0, 1)], domain={"x": (100, None), "y": (None, -50)}
    )

    @FIXED
    @given(points(far))
    def inside(point):
        assert point[0] > 100
        assert point[1] < -50

    inside()


def test_examples_shrink_to_simple_points():
    found = find(points(sr.models.heisenberg()), lambda point: point[0] > 0.3, settings=FIXED)
    assert found[1:].tolist() == [0.0, 0.0]
    assert found[0] in (0.5, 1.0)
    assert find(points(disc()), lambda point: True, settings=FIXED).tolist() == [0.0, 0.0, 0.0]


def test_singular_points_are_found():
    trailer = sr.models.trailers(1)
    # a right angle between tractor and trailer: velocity zero of the trailer
    found = find(
        points(trailer), lambda point: abs(np.cos(point[2] - point[3])) < 1e-9, settings=FIXED
    )
    assert abs(found[2] - found[3]) == pytest.approx(np.pi / 2)


def test_hypothesis_is_imported_when_it_is_used():
    code = (
        "import sys, subriem.testing.strategies as s\n"
        "assert 'hypothesis' not in sys.modules\n"
        "sys.modules['hypothesis'] = None\n"
        "import subriem as sr\n"
        "s.points(sr.models.unicycle())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "subriem.errors.MissingDependencyError: points of subriem.testing needs Hypothesis: "
        "pip install hypothesis"
    )


def test_only_structures_have_points():
    with pytest.raises(InputTypeError, match="expected a Structure"):
        points("car")
