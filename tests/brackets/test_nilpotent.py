"""Nilpotent approximations against closed forms, their axioms, and the limit that they are."""

import itertools
import pickle
import sys
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from subriem import models
from subriem.brackets import BracketFamily, lie_bracket, lie_flag, named_bracket
from subriem.brackets.nilpotent import nilpotent_approximation
from subriem.brackets.privileged import privileged_coordinates
from subriem.errors import InputError
from subriem.structure import Structure

sys.path.insert(0, str(Path(__file__).parent))
from approximation_cases import ALL, CASES, coordinates_of, tangent_of

CARNOT = {
    "heisenberg": models.heisenberg(),
    "engel": models.engel(),
    "cartan": models.cartan(),
    "free_nilpotent(2, 4)": models.free_nilpotent(2, 4),
    "free_nilpotent(3, 2)": models.free_nilpotent(3, 2),
    "martinet": models.martinet(),
    "grushin": models.grushin(),
}
# of `CASES`: those in which f_i has no part of degree 0 or more about the point
HOMOGENEOUS = {
    "heisenberg",
    "engel",
    "martinet, singular",
    "grushin, singular",
    "grushin(3), singular",
}


def pushed(structure, coordinates, z):
    """(d z / d q) F(q) at q(z), straight from the two maps."""
    q = ca.SX.sym("q", structure.dimension)
    slope = ca.Function("slope", [q], [ca.jacobian(coordinates.forward(q), q)])
    points = coordinates.from_privileged(z)
    frames = structure.frame_at(points)
    return np.array([np.asarray(slope(p)) @ f for p, f in zip(points, frames, strict=True)])


def assert_frame(structure, z, expected):
    np.testing.assert_allclose(structure.frame_at(z), np.transpose(expected), atol=1e-12)


# ---------------------------------------------------------------------- closed forms


def test_heisenberg_is_its_own_approximation():
    tangent = nilpotent_approximation(models.heisenberg(), [0, 0, 0])
    assert_frame(tangent, [2, 3, 5], [(1, 0, -1.5), (0, 1, 1)])


def test_martinet_at_singular_and_at_regular_points():
    singular = nilpotent_approximation(models.martinet(), [0, 3, 4])
    assert_frame(singular, [2, 3, 5], [(1, 0, 0), (0, 1, 2)])
    # x [f_1, f_2] = d_z, hence z_3 = (z - y x_0^2 / 2) / x_0 and the part of degree 1 is z_1
    regular = nilpotent_approximation(models.martinet(), [1e-4, 3, 4])
    assert_frame(regular, [2, 3, 5], [(1, 0, 0), (0, 1, 2)])


@pytest.mark.parametrize("alpha", [1, 2, 3, 6])
def test_grushin_on_the_singular_line(alpha):
    # (ad f_1)^alpha f_2 = alpha! d_y
    tangent = nilpotent_approximation(models.grushin(alpha), [0, 7])
    assert_frame(tangent, [2, 5], [(1, 0), (0, 2**alpha / np.prod(range(1, alpha + 1)))])


@pytest.mark.parametrize("heading", [0, "pi/2", 1.1])
def test_unicycle(heading):
    # [drive, turn] = (sin, -cos, 0): at heading 0, z_3 = -y and drive z_3 = -sin theta ~ -z_2
    tangent = nilpotent_approximation(models.unicycle(), [3, 4, heading])
    assert_frame(tangent, [2, 3, 5], [(1, 0, -3), (0, 1, 0)])


def test_car_driving_straight():
    # z = (x, phi, -theta, y): drive = (1, 0, -tan phi, sin theta) ~ (1, 0, -z_2, -z_3)
    coordinates = privileged_coordinates(models.car(), [0, 0, 0, 0])
    assert coordinates.brackets[2:] == ("[drive,steer]", "[drive,[drive,steer]]")
    tangent = nilpotent_approximation(models.car(), [0, 0, 0, 0])
    assert_frame(tangent, [2, 3, 5, 7], [(1, 0, -3, -5), (0, 1, 0, 0)])


def test_euclidean_at_points_where_the_fields_span():
    tangent = nilpotent_approximation(models.grushin(), [0.5, 3])
    assert_frame(tangent, [2, 5], [(1, 0), (0, 1)])


@pytest.mark.parametrize("name", CARNOT)
def test_a_homogeneous_structure_is_its_own_approximation_at_the_origin(name):
    structure = CARNOT[name]
    origin = [0] * structure.dimension
    coordinates = privileged_coordinates(structure, origin)
    tangent = nilpotent_approximation(structure, origin)
    z = np.random.default_rng(5).uniform(-2, 2, (10, structure.dimension))
    np.testing.assert_allclose(
        tangent.frame_at(z), pushed(structure, coordinates, z), rtol=1e-12, atol=1e-12
    )


# ---------------------------------------------------------------------- axioms


@pytest.mark.parametrize("name", ALL)
def test_homogeneous_of_degree_minus_one(name):
    tangent = tangent_of(name)
    weights = np.array(coordinates_of(name).weights)
    z = np.random.default_rng(6).uniform(-1, 1, (10, tangent.dimension))
    here = tangent.frame_at(z)
    for scale in (0.3, 2.0):
        there = tangent.frame_at(scale**weights * z)
        expected = scale ** (weights[:, None] - 1.0) * here
        np.testing.assert_allclose(there, expected, rtol=1e-12, atol=1e-12 * np.abs(here).max())


@pytest.mark.parametrize("name", ALL)
def test_brackets_longer_than_the_step_vanish(name):
    tangent, growth = tangent_of(name), ALL[name][2]
    fields = [tangent.field(k) for k in range(tangent.rank)]
    brackets, step = list(fields), len(growth)
    points = np.random.default_rng(7).uniform(-1, 1, (5, tangent.dimension))
    largest = {}
    for length in range(1, step + 2):
        # right-normed brackets span
        values = ca.Function("values", [tangent.state], [ca.densify(ca.horzcat(*brackets))])
        largest[length] = max(np.abs(np.asarray(values(p))).max() for p in points)
        brackets = [
            lie_bracket(f, g, tangent.state) for f, g in itertools.product(fields, brackets)
        ]
    assert largest[step] > 0.5
    assert largest[step + 1] < 1e-9 * max(largest.values())


@pytest.mark.parametrize("name", ALL)
def test_same_growth_vector_at_the_origin(name):
    tangent, growth = tangent_of(name), ALL[name][2]
    flag = lie_flag(tangent, [0] * tangent.dimension)
    assert tuple(flag.growth_vector.values) == growth
    assert bool(flag.bracket_generating)


@pytest.mark.parametrize("name", ALL)
def test_the_adapted_brackets_are_the_axes_at_the_origin(name):
    tangent = tangent_of(name)
    origin = np.zeros(tangent.dimension)
    names = coordinates_of(name).brackets
    values = [tangent.evaluate(b, named_bracket(tangent, b), origin)[:, 0] for b in names]
    np.testing.assert_allclose(values, np.eye(tangent.dimension), atol=1e-9)


@pytest.mark.parametrize(
    ("structure", "at", "dimension"),
    [
        (models.unicycle(), (0, 0, 1), 3),
        (models.car(), (0, 0, 0.3, 0.4), 4),
        (models.rolling_sphere(), (1, 2, 0.5, -0.3, 0.2), 5),
        (models.ball_plate(), (1, 2, 0.5, -0.3, 0.2), 5),
        # the algebra is larger than the space where it does not act freely: Martinet's is Engel's
        (models.martinet(), (0, 0, 0), 4),
        (models.grushin(1), (0, 0), 3),
        (models.grushin(3), (0, 0), 5),
    ],
)
def test_dimension_of_the_lie_algebra(structure, at, dimension):
    tangent = nilpotent_approximation(structure, at)
    step = len(lie_flag(structure, at).growth_vector)
    family = BracketFamily(tangent)
    points = np.random.default_rng(8).uniform(-1, 1, (6, tangent.dimension))
    vectors = [
        family.values([bracket], points, 0.0)[0].ravel()
        for length in range(1, step + 1)
        for bracket in family.of_length(length)
    ]
    values = np.linalg.svd(np.array(vectors), compute_uv=False)
    assert (values > 1e-6).sum() == dimension
    assert (values[dimension:] < 1e-10).all()


# ---------------------------------------------------------------------- the limit


def errors_of_dilated_fields(name, scales):
    """Relative distances of s (delta_{1/s})_* f_i from the fields of the approximation."""
    structure = CASES[name][0]
    coordinates, tangent = coordinates_of(name), tangent_of(name)
    weights = np.array(coordinates.weights)
    z = np.random.default_rng(9).uniform(-1, 1, (8, structure.dimension))
    expected = tangent.frame_at(z)
    errors = []
    for scale in scales:
        near = pushed(structure, coordinates, scale**weights * z)
        blown_up = scale ** (1.0 - weights[:, None]) * near
        errors.append(np.abs(blown_up - expected).max() / np.abs(expected).max())
    return np.array(errors)


@pytest.mark.parametrize("name", sorted(set(CASES) - HOMOGENEOUS))
def test_dilated_fields_converge_at_order_one(name):
    errors = errors_of_dilated_fields(name, 2.0 ** -np.arange(2, 7))
    orders = np.log2(errors[:-1] / errors[1:])
    assert orders[-1] > 0.9
    assert errors[-1] < 0.2


@pytest.mark.parametrize("name", sorted(HOMOGENEOUS))
def test_dilated_fields_of_a_homogeneous_structure_stay(name):
    assert errors_of_dilated_fields(name, [0.5, 0.25]).max() < 1e-12


# ---------------------------------------------------------------------- what comes along


def test_inner_products_are_those_at_the_point():
    plane = Structure.define(
        "plane",
        "x y",
        lambda q: [(1, 0), (0, q.x)],
        inner_product=lambda q: [(2 + q.x, q.y), (q.y, 3)],
    )
    tangent = nilpotent_approximation(plane, [0, 1])
    np.testing.assert_array_equal(tangent.metric_at([[4, 5], [0, 0]]), 2 * [[[2, 1], [1, 3]]])
    assert nilpotent_approximation(models.heisenberg(), [0, 0, 0]).orthonormal


def test_redundant_and_vanishing_fields():
    structure = Structure.define(
        "five fields",
        "x y z",
        lambda q: [
            (1, 0, -q.y / 2),
            (0, 1, q.x / 2),
            (1, 1, (q.x - q.y) / 2),
            (q.x, 0, -q.x * q.y / 2),
            (0, 0, 0),
        ],
    )
    tangent = nilpotent_approximation(structure, [0, 0, 0])
    f1, f2 = (1, 0, -1.5), (0, 1, 1)
    # x f_1 has order 0
    assert_frame(tangent, [2, 3, 5], [f1, f2, (1, 1, -0.5), (0, 0, 0), (0, 0, 0)])


def test_parameters_are_those_of_the_structure():
    tangent = nilpotent_approximation(models.car(2.0), [0, 0, 0, 0])
    assert not tangent.parameters
    assert tangent.field_names == ("drive", "steer")
    # [drive, steer] = -d_theta / 2 and z_3 = -2 theta: the length cancels
    assert_frame(tangent, [2, 3, 5, 7], [(1, 0, -3, -5), (0, 1, 0, 0)])


def test_the_drift_takes_no_part():
    moved = Structure.define("moved", "x y", lambda q: [(1, 0), (0, q.x)], drift=lambda q: (q.y, 1))
    tangent = nilpotent_approximation(moved, [0, 0])
    assert not tangent.has_drift
    assert_frame(tangent, [2, 3], [(1, 0), (0, 2)])


def test_pickled():
    tangent = nilpotent_approximation(models.martinet(), [0, 0, 0])
    again = pickle.loads(pickle.dumps(tangent))
    assert repr(again).startswith("Structure nilpotent approximation of martinet: 3 coordinates")
    assert_frame(again, [2, 3, 5], [(1, 0, 0), (0, 1, 2)])


def test_refused_where_the_flag_does_not_fill_the_space():
    flat = Structure.define("flat", "x y z", lambda q: [(1, 0, 0), (0, 1, 0)])
    with pytest.raises(InputError, match="bracket-generating"):
        nilpotent_approximation(flat, [0, 0, 0])
