"""Shortest paths: what they satisfy, what is said about them, obstacles and bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from casadi import cos, sin
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

import subriem as sr
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.geodesics.connect import connect
from subriem.results.schema import validate

EXACT = json.loads((Path(__file__).parents[1] / "data" / "distances.json").read_text())
PLANE = sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
PLANES = sr.Structure.define("planes", "x y z", lambda q: [(1, 0, 0), (0, 1, 0)])
COVER = sr.Structure.define(
    "cover", "x y theta", lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)]
)
HEISENBERG, UNICYCLE = sr.models.heisenberg(), sr.models.unicycle()


def integrated(structure, path):
    """End and length of q' = F u for the path's controls, by another integrator."""

    control = CubicSpline(path.time, path.control)

    def velocity(t, y):
        u = control(t)
        speed = math.sqrt(u @ structure.metric_at(y[:-1]) @ u)
        return np.append(structure.frame_at(y[:-1]) @ u, speed)

    start = np.append(path.state.values[0], 0.0)
    y = solve_ivp(velocity, (0, 1), start, rtol=1e-9, atol=1e-10, max_step=0.01).y[:, -1]
    return y[:-1], y[-1]


@pytest.mark.parametrize(
    ("structure", "start", "end"),
    [
        (HEISENBERG, [0, 0, 0], [1, 0, 1]),
        (UNICYCLE, [1, 2, 0.5], [0.5, 3, 2.5]),
        (sr.models.martinet(), [0, 0, 0], [0, 1, 0.7]),
        (sr.models.engel(), [0, 0, 0, 0], [0.5, 0.2, -0.4, 0.3]),
        (sr.models.grushin(), [-0.5, 0], [0.8, 2]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_path_is_horizontal_and_arrives(structure, start, end):
    path = connect(structure, start, end, times=2001)
    validate(path)
    np.testing.assert_allclose(path.state[0], start, atol=1e-12)
    arrived, length = integrated(structure, path)
    np.testing.assert_allclose(arrived, path.state[-1], atol=1e-6)
    np.testing.assert_allclose(structure.wrap(arrived - end), 0, atol=1e-6)
    np.testing.assert_allclose(length, path.length, rtol=1e-6)
    assert path.endpoint_error < 1e-10
    assert path.hamiltonian_drift < 1e-12
    speed = np.linalg.norm(path.control, axis=1)
    np.testing.assert_allclose(speed, path.length, rtol=1e-11)


@pytest.mark.parametrize(
    "case",
    [case for case in EXACT["grushin_pairs"] if case["other_lengths"]],
    ids=lambda case: str(case["q0"][0]),
)
def test_every_competing_geodesic_is_found(case):
    start, end = ([float(text) for text in case[key]] for key in ("q0", "q1"))
    found = connect(sr.models.grushin(), start, end, every=True)
    # the reference lists those with |p_y| < 3 pi
    listed = found.length.values[np.abs(found.covector.values[:, 0, 1]) < 3 * math.pi]
    expected = [float(case["d"]), *map(float, case["other_lengths"])]
    np.testing.assert_allclose(listed, expected, rtol=1e-12)
    np.testing.assert_allclose(found.endpoint_error, 0, atol=1e-10)


def test_covectors_of_heisenberg():
    for case in EXACT["heisenberg"]:
        if case["minimizers"] != "unique":
            continue
        path = connect(HEISENBERG, [0, 0, 0], [float(text) for text in case["q"]], times=[0, 1])
        expected = [float(text) for text in case["p0_T1"]]
        assert path.minimizers == 1
        # next to the cut locus the covector is worse known than the length
        np.testing.assert_allclose(path.covector[0], expected, atol=1e-8)


def test_a_cut_point_with_two_minimizers_says_so():
    found = connect(UNICYCLE, [0, 0, 0], [0, 1, 0], every=True)
    assert found.minimizers == 2
    assert "cut point" in found.attrs["optimality"]
    assert "family" not in found.attrs["optimality"]
    np.testing.assert_allclose(found.length[:2], 3.34038301923058758969889, rtol=1e-12)
    assert np.abs(found.state[0] - found.state[1]).max() > 0.1


def test_the_vertical_axis_of_heisenberg_has_a_family_of_minimizers():
    path = connect(HEISENBERG, [0, 0, 0], [0, 0, 1])
    assert path.degenerate
    assert path.minimizers > 10
    assert "continuous family" in path.attrs["optimality"]
    assert "conjugate to the start" in path.attrs["optimality"]
    np.testing.assert_allclose(path.conjugate_time, 1, rtol=1e-9)
    np.testing.assert_allclose(path.length, 2 * math.sqrt(math.pi), rtol=1e-12)


def test_an_abnormal_geodesic_is_named():
    path = connect(sr.models.martinet(), [0, 0, 0], [0, 2, 0])
    np.testing.assert_allclose(path.length, 2, rtol=1e-12)
    assert path.minimizers == 1
    assert "abnormal" in path.attrs["optimality"]


def test_a_path_too_long_for_single_shooting():
    """SE(2) far to the side: errors in the covector grow like e^30."""
    path = connect(COVER, [0, 0, 0], [6, 30, 0.5], times=2001)
    assert path.attrs["method"] == "multiple shooting"
    assert path.attrs["status"] == "shortest found"
    assert path.endpoint_error < 1e-9
    assert path.hamiltonian_drift < 1e-10
    # between the Euclidean distance and: turn, drive straight, turn back
    toward = math.atan2(30, 6)
    low, high = math.hypot(6, 30), math.hypot(6, 30) + 2 * toward - 0.5
    assert low < float(path.length) < high
    arrived, length = integrated(COVER, path)
    np.testing.assert_allclose(arrived, [6, 30, 0.5], atol=1e-6)
    np.testing.assert_allclose(length, path.length, rtol=1e-7)


def test_start_and_end_may_be_one():
    path = connect(UNICYCLE, [1, 2, 3], [1, 2, 3 - 4 * math.pi + 4 * math.pi])
    assert path.length == 0
    assert path.attrs["status"] == "same point"
    np.testing.assert_array_equal(path.state, np.tile([1, 2, 3], (101, 1)))
    assert not np.isnan(path.control).any()


def test_an_end_off_the_orbit_is_said_with_the_first_integral():
    path = connect(PLANES, [0, 0, 7], [3, 4, 8])
    assert path.attrs["status"] == "unreachable"
    assert np.isinf(path.length)
    assert "first integral z: 7 at the start, 8" in path.attrs["optimality"]
    with pytest.raises(NumericalError, match="unreachable"):
        connect(PLANES, [0, 0, 7], [3, 4, 8], strict=True)
    sphere = sr.Structure.define("sphere", "x y z", lambda q: [(q.y, -q.x, 0), (0, q.z, -q.y)])
    path = connect(sphere, [1, 0, 0], [0, 0, 2])
    assert "x*x + y*y + z*z" in path.attrs["note"]


def test_an_end_on_the_orbit_is_reached_though_brackets_do_not_span():
    path = connect(PLANES, [0, 0, 7], [3, 4, 7])
    np.testing.assert_allclose(path.length, 5, rtol=1e-12)
    assert path.minimizers == 1


def test_times_are_those_asked_for():
    path = connect(HEISENBERG, [0, 0, 0], [1, 0, 1], times=[0.25, 0.5])
    whole = connect(HEISENBERG, [0, 0, 0], [1, 0, 1])
    np.testing.assert_allclose(path.state, whole.state.sel(time=[0.25, 0.5]), atol=1e-12)
    np.testing.assert_allclose(path.length, whole.length, rtol=1e-14)


def test_a_disc_in_the_way():
    """Tangent, arc, tangent: 2 sqrt(a^2 - 1) + pi - 2 arccos(1/a) for points at -a and a."""
    path = connect(PLANE, [-2, 0], [2, 0], obstacles=lambda q: q.x**2 + q.y**2 - 1)
    exact = 2 * math.sqrt(3) + math.pi - 2 * math.acos(1 / 2)
    assert path.attrs["status"] == "direct"
    np.testing.assert_allclose(path.length, exact, rtol=1e-6)
    assert -2e-5 < path.clearance < 1e-3
    assert path.endpoint_error < 1e-9
    assert np.isnan(path.covector).all()


def test_discs_leave_the_shorter_side():
    """A second disc bars one side, so that the other side is the answer."""
    path = connect(
        PLANE,
        [-2, 0],
        [2, 0],
        obstacles=lambda q: [q.x**2 + q.y**2 - 1, q.x**2 + (q.y - 1.5) ** 2 - 1],
    )
    exact = 2 * math.sqrt(3) + math.pi - 2 * math.acos(1 / 2)
    np.testing.assert_allclose(path.length, exact, rtol=1e-6)
    assert path.state.sel(time=0.5, coordinate="y") < 0


def test_obstacles_out_of_the_way_change_nothing():
    path = connect(PLANE, [0, 0], [3, 4], obstacles=lambda q: (q.x + 5) ** 2 + q.y**2 - 1)
    assert path.attrs["status"] == "shortest found"
    np.testing.assert_allclose(path.length, 5, rtol=1e-12)


def test_the_free_one_of_two_minimizers_is_taken():
    """Straight sideways the unicycle has two shortest paths, mirror images of each other."""
    free = connect(UNICYCLE, [0, 0, 0], [0, 1, 0], every=True)
    theta = free.state[:2, 50, 2].values
    assert theta[0] * theta[1] < 0
    for side in ((-0.01, None), (None, 0.01)):
        kept = connect(UNICYCLE, [0, 0, 0], [0, 1, 0], bounds={"theta": side})
        assert kept.attrs["status"] == "shortest found"
        np.testing.assert_allclose(kept.length, free.length[0], rtol=1e-12)


def test_bounds_are_kept():
    free = connect(UNICYCLE, [0, 0, 0], [0, 1, 0])
    path = connect(UNICYCLE, [0, 0, 0], [0, 1, 0], bounds={"x": (-0.1, 0.1)})
    assert path.attrs["status"] == "direct"
    assert np.abs(path.state.sel(coordinate="x")).max() < 0.1001
    assert path.length > free.length
    arrived, length = integrated(UNICYCLE, path)
    np.testing.assert_allclose(UNICYCLE.wrap(arrived - [0, 1, 0]), 0, atol=5e-3)
    np.testing.assert_allclose(length, path.length, rtol=1e-3)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="not finite"):
        connect(HEISENBERG, [0, 0, math.nan], [1, 0, 0])
    with pytest.raises(InputError, match="one point"):
        connect(HEISENBERG, [0, 0, 0], [[1, 0, 0]])
    with pytest.raises(InputError, match="shape"):
        connect(HEISENBERG, [0, 0], [1, 0, 0])
    with pytest.raises(InputTypeError):
        connect(3, [0, 0, 0], [1, 0, 0])
    with pytest.raises(InputError, match="no coordinate w"):
        connect(PLANE, [0, 0], [1, 1], bounds={"w": (0, 1)})
    with pytest.raises(InputTypeError, match="callable"):
        connect(PLANE, [0, 0], [1, 1], obstacles=3)
    with pytest.raises(InputError, match="obstacle"):
        connect(PLANE, [0, 0], [2, 0], obstacles=lambda q: q.x**2 + q.y**2 - 1)
    with pytest.raises(InputError, match="increasing"):
        connect(PLANE, [0, 0], [1, 1], times=[0.5, 0.2])
    with pytest.raises(InputError, match="at least 2"):
        connect(PLANE, [0, 0], [1, 1], times=1)
    half = sr.Structure.define(
        "half plane", "x y", lambda q: [(q.y, 0), (0, q.y)], domain={"y": (0, None)}
    )
    with pytest.raises(InputError, match="outside the chart"):
        connect(half, [0, 1], [0, -1])


def test_chart_margins_hold_along_the_path():
    """A wall with a gap in it as the chart: the path goes round the end of the wall."""
    walled = sr.Structure.define(
        "walled", "x y", lambda q: [(1, 0), (0, 1)], domain=lambda q: [q.x**2 + q.y**2 - 1]
    )
    path = connect(walled, [-2, 0], [2, 0])
    exact = 2 * math.sqrt(3) + math.pi - 2 * math.acos(1 / 2)
    assert path.attrs["status"] == "direct"
    np.testing.assert_allclose(path.length, exact, rtol=1e-6)


def test_no_path_is_said():
    split = sr.Structure.define(
        "split plane", "x y", lambda q: [(1, 0), (0, 1)], domain=lambda q: [q.x**2 - 1]
    )
    path = connect(split, [-2, 0], [2, 0])
    assert path.attrs["status"] == "not found"
    assert np.isnan(path.length)
    assert np.isnan(path.state).all()
    empty = connect(split, [-2, 0], [2, 0], every=True)
    assert empty.sizes["geodesic"] == 0


def test_the_angle_of_a_path_is_not_wrapped():
    path = connect(UNICYCLE, [0, 0, 3.0], [0.5, 0.2, -3.0])
    np.testing.assert_allclose(path.state[-1], [0.5, 0.2, 2 * math.pi - 3], atol=1e-10)
