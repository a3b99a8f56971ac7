"""Mechanical models against what defines them: axles that do not slip, rolling, momentum."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import subriem as sr

STEP = 1e-6


def velocity_of(function, q, velocity):
    """Derivative of a function of the state along a velocity, by central differences."""
    return (function(q + STEP * velocity) - function(q - STEP * velocity)) / (2 * STEP)


def moving(structure, count=5):
    """Random points of the chart, each with a random horizontal velocity."""
    generator = np.random.default_rng(3)
    for q in structure.sample(count, generator):
        control = generator.standard_normal(structure.rank)
        yield q, control, structure.velocity(q, control)


def heading(angle):
    return np.array([np.cos(angle), np.sin(angle)])


def sideways(angle):
    return np.array([np.sin(angle), -np.cos(angle)])


@pytest.mark.parametrize("lengths", [None, [0.5, 2.0, 1.3]])
def test_no_axle_of_the_trailers_slips(lengths):
    structure = sr.models.trailers(3, lengths)

    def axles(q):
        points = [q[:2]]
        for i, length in enumerate(lengths or [1, 1, 1], start=1):
            points.append(points[-1] - length * heading(q[2 + i]))
        return np.array(points)

    for q, control, velocity in moving(structure):
        for i, speed in enumerate(velocity_of(axles, q, velocity)):
            assert abs(sideways(q[2 + i]) @ speed) < 1e-8
        assert velocity[:2] @ heading(q[2]) == pytest.approx(control[0], abs=1e-12)
        assert velocity[2] == control[1]


def test_no_axle_of_the_car_slips():
    structure = sr.models.car(2.5)
    for q, control, velocity in moving(structure):
        front = velocity_of(lambda q: q[:2] + 2.5 * heading(q[2]), q, velocity)
        assert abs(sideways(q[2]) @ velocity[:2]) < 1e-12
        assert abs(sideways(q[2] + q[3]) @ front) < 1e-7 * (1 + np.abs(velocity).max())
        assert velocity[:2] @ heading(q[2]) == pytest.approx(control[0], abs=1e-12)
        assert velocity[3] == control[1]


def test_no_axle_of_the_car_with_trailers_slips():
    structure = sr.models.car_with_trailers(2, 0.8, [1.5, 0.7])

    def axles(q):
        rear = q[:2]
        first = rear - 1.5 * heading(q[4])
        return np.array([rear + 0.8 * heading(q[2]), rear, first, first - 0.7 * heading(q[5])])

    for q, control, velocity in moving(structure):
        directions = [q[2] + q[3], q[2], q[4], q[5]]
        tolerance = 1e-7 * (1 + np.abs(velocity).max())
        speeds = velocity_of(axles, q, velocity)
        for angle, speed in zip(directions, speeds, strict=True):
            assert abs(sideways(angle) @ speed) < tolerance
        assert speeds[1] @ heading(q[2]) == pytest.approx(control[0], abs=1e-7)


def gibbs(g):
    """Rotation about g by 2 arctan |g|, from the quaternion (g, 1)."""
    return Rotation.from_quat([*g, 1.0]).as_matrix()


def axial(matrix):
    """The vector of an antisymmetric matrix; also that it is one."""
    np.testing.assert_allclose(matrix, -matrix.T, atol=1e-7)
    return np.array([matrix[2, 1], matrix[0, 2], matrix[1, 0]])


@pytest.mark.parametrize("controls", [("w1", "w2"), ("w3", "w1"), ("w1", "w2", "w3")])
def test_so3_turns_at_its_body_rates(controls):
    structure = sr.models.so3(controls)
    for q, control, velocity in moving(structure):
        body = axial(gibbs(q).T @ velocity_of(gibbs, q, velocity))
        expected = np.zeros(3)
        expected[[int(name[1]) - 1 for name in controls]] = control
        np.testing.assert_allclose(body, expected, atol=1e-7)


def test_se3_moves_at_its_body_velocities():
    names = ("w1", "w2", "w3", "v1", "v2", "v3")
    structure = sr.models.se3(names)
    for q, control, velocity in moving(structure):
        attitude = gibbs(q[3:])
        rates = axial(attitude.T @ velocity_of(lambda q: gibbs(q[3:]), q, velocity))
        np.testing.assert_allclose(rates, control[:3], atol=1e-7)
        np.testing.assert_allclose(attitude.T @ velocity[:3], control[3:], atol=1e-12)


def contact_attitude(q):
    """Attitude of the ball of `ball_plate` from where and how its surface touches the plate."""
    _, _, u, v, psi = q

    def surface(u, v):
        return np.array([np.cos(u) * np.cos(v), -np.cos(u) * np.sin(v), np.sin(u)])

    outward = surface(u, v)
    along_u = surface(u + np.pi / 2, v)  # d/du of cos and sin is a quarter turn
    body = np.column_stack([along_u, np.cross(outward, along_u), outward])
    forward = np.array([np.cos(psi), -np.sin(psi), 0])
    down = np.array([0, 0, -1.0])
    return np.column_stack([forward, np.cross(down, forward), down]) @ body.T


@pytest.mark.parametrize(
    ("name", "attitude"),
    [("rolling_sphere", lambda q: gibbs(q[2:])), ("ball_plate", contact_attitude)],
)
def test_rolling_bodies_neither_slip_nor_spin(name, attitude):
    radius = 1.7
    structure = getattr(sr.models, name)(radius)
    for q, control, velocity in moving(structure):
        rotation = attitude(q)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
        rate = velocity_of(attitude, q, velocity) @ rotation.T
        scale = 1 + np.abs(velocity).max()
        omega = axial(rate / scale) * scale
        at_contact = np.array([*velocity[:2], 0]) + np.cross(omega, [0, 0, -radius])
        np.testing.assert_allclose(at_contact / scale, 0, atol=1e-7)
        assert abs(omega[2]) / scale < 1e-7
        np.testing.assert_allclose(velocity[:2], control, atol=1e-14)


def driven(structure, q, steps=400):
    """The state after unit time under one fixed control, by Runge and Kutta's method."""

    def slope(q, time):
        return structure.velocity(q, [np.cos(3 * time), 0.5 + time])

    size = 1 / steps
    for time in np.arange(steps) * size:
        first = slope(q, time)
        second = slope(q + size / 2 * first, time + size / 2)
        third = slope(q + size / 2 * second, time + size / 2)
        fourth = slope(q + size * third, time + size)
        q = q + size / 6 * (first + 2 * second + 2 * third + fourth)
    return q


def test_ball_plate_and_rolling_sphere_are_one_system():
    start = np.array([0, 0, 0.3, 0.2, 0.5])
    ball = driven(sr.models.ball_plate(), start)
    sphere = driven(sr.models.rolling_sphere(), np.zeros(5))
    np.testing.assert_allclose(ball[:2], sphere[:2], atol=1e-12)
    turned = gibbs(sphere[2:])
    assert np.abs(turned - np.eye(3)).max() > 0.3
    np.testing.assert_allclose(contact_attitude(ball), turned @ contact_attitude(start), atol=1e-8)


def test_planar_skater_has_no_angular_momentum():
    """Rods as point masses: a sixth at either end, two thirds in the middle (Simpson's rule)."""
    weights = np.tile([1 / 6, 2 / 3, 1 / 6], 3)

    def masses(q):
        phi1, phi2, theta = q
        middle, first, second = heading(theta), heading(theta + phi1), heading(theta + phi2)
        rods = [
            (-middle / 2, middle / 2),
            (-middle / 2 - first, -middle / 2),
            (middle / 2, middle / 2 + second),
        ]
        points = np.concatenate([[a, (a + b) / 2, b] for a, b in rods])
        return points - weights @ points / 3

    structure = sr.models.planar_skater()
    for q, control, velocity in moving(structure, 8):
        points, speeds = masses(q), velocity_of(masses, q, velocity)
        momentum = weights @ (points[:, 0] * speeds[:, 1] - points[:, 1] * speeds[:, 0])
        assert abs(momentum) < 1e-9
        np.testing.assert_array_equal(velocity[:2], control)
    # not because nothing turns: the joints alone carry momentum
    speeds = velocity_of(masses, np.zeros(3), np.array([1.0, 1.0, 0]))
    points = masses(np.zeros(3))
    alone = weights @ (points[:, 0] * speeds[:, 1] - points[:, 1] * speeds[:, 0])
    assert alone == pytest.approx(14 / 12)
