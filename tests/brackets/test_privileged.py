"""Privileged coordinates against their definition: orders along the fields themselves."""

import itertools
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from subriem import models
from subriem.brackets.lie_bracket import named_bracket
from subriem.brackets.privileged import (
    _check_orders,
    privileged_coordinates,
)
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.structure import Structure

sys.path.insert(0, str(Path(__file__).parent))
from approximation_cases import ALL, CASES, coordinates_of


def weights_of(growth):
    steps = np.diff(growth, prepend=0)
    return tuple(int(w) for w in np.repeat(np.arange(1, len(growth) + 1), steps))


def derivatives_along_words(structure, coordinates, j, length):
    """All f_{i1} ... f_{ik} z_j at the point, by CasADi, with |f| for a scale."""
    q = structure.state
    values = [coordinates.forward(q)[j]]
    for _ in range(length):
        values = [
            ca.jtimes(value, q, structure.frame[:, k])
            for value, k in itertools.product(values, range(structure.rank))
        ]
    function = ca.Function("words", [q, structure.parameter_symbols], [ca.vertcat(*values)])
    return np.asarray(function(coordinates.point, structure.parameter_values)).ravel()


@pytest.mark.parametrize("name", ALL)
def test_each_coordinate_has_the_order_of_its_weight(name):
    structure, _, growth = ALL[name]
    coordinates = coordinates_of(name)
    assert coordinates.weights == weights_of(growth)
    for j, weight in enumerate(coordinates.weights):
        scale = np.abs(derivatives_along_words(structure, coordinates, j, weight)).max()
        # Y_j z_j = 1 is a sum of derivatives along words of length w_j
        assert scale > 1e-3
        for length in range(weight):
            lower = derivatives_along_words(structure, coordinates, j, length)
            assert np.abs(lower).max() < 1e-9 * scale, (j, length)


@pytest.mark.parametrize("name", ALL)
def test_the_frame_is_that_of_the_named_brackets(name):
    structure, at, _ = ALL[name]
    coordinates = coordinates_of(name)
    for bracket, column in zip(coordinates.brackets, coordinates.frame.T, strict=True):
        value = structure.evaluate(bracket, named_bracket(structure, bracket), at)[:, 0]
        np.testing.assert_allclose(column, value, rtol=1e-9, atol=1e-12 * np.abs(value).max())


@pytest.mark.parametrize("name", CASES)
def test_the_two_maps_are_inverse_to_each_other(name):
    structure, at, _ = ALL[name]
    coordinates = coordinates_of(name)
    z = np.random.default_rng(4).uniform(-0.5, 0.5, (20, structure.dimension))
    points = coordinates.from_privileged(z)
    back = coordinates.to_privileged(points)
    condition = np.linalg.cond(coordinates.frame)
    np.testing.assert_allclose(back, z, atol=1e-14 * condition)
    np.testing.assert_array_equal(coordinates.to_privileged(at), np.zeros(structure.dimension))
    np.testing.assert_array_equal(coordinates.from_privileged(z[0]), points[0])


@pytest.mark.parametrize("name", ALL)
def test_the_maps_are_triangular_polynomials_of_lower_weight(name):
    coordinates = coordinates_of(name)
    for j, terms in enumerate(coordinates.corrections):
        for monomial in terms:
            assert not any(monomial[j:])
            assert sum(monomial) >= 2
            assert np.dot(monomial, coordinates.weights) < coordinates.weights[j]


def test_without_its_corrections_the_map_is_refused():
    structure = CASES["trailers(2), singular"][0]
    coordinates = coordinates_of("trailers(2), singular")
    affine = replace(coordinates, corrections=({},) * 5)
    _check_orders(structure, coordinates, 1e-11)
    with pytest.raises(NumericalError, match="coordinate 5 has order below its weight 5"):
        _check_orders(structure, affine, 1e-11)


def test_the_trailer_at_a_right_angle_by_hand():
    # (x, y, th0, th1, th2) = (0, 0, pi/2, 0, 0): drive is (0, 1, 0, sin(pi/2), 0)
    coordinates = coordinates_of("trailers(2), singular")
    assert coordinates.brackets[:3] == ("drive", "turn", "[drive,turn]")
    assert coordinates.frame[:, 0].tolist() == [0, 1, 0, 1, 0]
    assert coordinates.frame[:, 1].tolist() == [0, 0, 1, 0, 0]


def test_unnamed_brackets_are_found():
    # of length 7, which lie_flag takes from path series
    bracket = coordinates_of("trailers(3), RVT").brackets[-1]
    assert bracket.count("drive") + bracket.count("turn") == 7


def test_points_by_name_in_batches_and_pickled():
    coordinates = privileged_coordinates(models.martinet(), [1, 0, 0])
    again = pickle.loads(pickle.dumps(coordinates))
    assert repr(again) == "PrivilegedCoordinates of martinet at [1.0, 0.0, 0.0], weights (1, 1, 2)"
    # f_2 = d_y + x^2/2 d_z at x = 1: z_3 = z - y/2, as [f_1, f_2] = d_z there
    np.testing.assert_allclose(again.to_privileged({"x": 2, "y": 3, "z": 4}), [1, 3, 2.5])
    np.testing.assert_allclose(again.from_privileged({"z1": 1, "z2": 3, "z3": 2.5}), [2, 3, 4])
    assert again.to_privileged([[2, 3, 4]]).shape == (1, 3)
    assert again.names == ("z1", "z2", "z3")
    with pytest.raises(InputError, match="z1, z2, z3"):
        again.from_privileged([1, 2])


def test_what_has_no_privileged_coordinates_is_refused():
    with pytest.raises(InputTypeError, match="expected a Structure"):
        privileged_coordinates(3, [0])
    with pytest.raises(InputError, match="expected one point, got 2"):
        privileged_coordinates(models.heisenberg(), [[0, 0, 0], [1, 0, 0]])
    flat = Structure.define("flat", "x y z", lambda q: [(1, 0, 0), (0, 1, 0)])
    with pytest.raises(InputError, match=r"bracket-generating; .* \[2\] in dimension 3 \(closed\)"):
        privileged_coordinates(flat, [0, 0, 0])
    bump = Structure.define(
        "bump", "x y", lambda q: [(1, 0), (0, ca.if_else(q.x > 0, ca.exp(-1 / q.x), 0))]
    )
    with pytest.raises(InputError, match="not decided"):
        privileged_coordinates(bump, [-1, 0])
    kink = Structure.define("kink", "x y", lambda q: [(1, 0), (ca.fabs(q.x), 1)])
    with pytest.raises(InputError, match="a kink lies at the point"):
        privileged_coordinates(kink, [0, 0])
    # four times differentiable, but without the series of a power of 0
    power = Structure.define(
        "power", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x + (q.y**2) ** 2.25)]
    )
    with pytest.raises(InputError, match="f2 has no Taylor polynomial of degree 1"):
        privileged_coordinates(power, [0, 0, 0])


def test_a_step_out_of_reach_is_named():
    heading = np.cumsum([0, 0, np.pi / 2, np.pi / 4, np.pi / 2])[::-1]
    with pytest.raises(InputError, match="step 12 in dimension 7 is out of reach"):
        privileged_coordinates(models.trailers(4), [0, 0, *heading])
