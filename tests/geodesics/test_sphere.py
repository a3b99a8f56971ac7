"""Spheres and balls: points at their distance, and cut points."""

import numpy as np
import pytest

import subriem as sr
from subriem.errors import InputError
from subriem.geodesics.ball import ball
from subriem.geodesics.sphere import sphere
from subriem.results.schema import validate


def test_the_sphere_of_the_heisenberg_group():
    radius = 1.3
    vertical = np.array([-6.0, -4.0, 0.0, 3.0, 4.8, 4.9, 12.0])
    front = sphere(sr.models.heisenberg(), [0, 0, 0], radius, vertical=vertical, angles=6)
    validate(front)
    # the cut time is 2 pi / |w|
    expected = np.broadcast_to(np.abs(vertical) * radius < 2 * np.pi, (6, 7))
    np.testing.assert_array_equal(front.minimizing, expected)
    assert front.attrs["unresolved"] == 0
    assert front.sizes["cut"] == 12
    # the poles: all the area of a circle of length r
    poles = np.abs(front.cut_state.values - np.array([0, 0, 1]) * front.cut_state.values)
    assert poles.max() < 1e-9
    np.testing.assert_allclose(np.abs(front.cut_state[:, 2]), radius**2 / (4 * np.pi), rtol=1e-9)
    np.testing.assert_allclose(np.abs(front.cut_covector[:, 2]), 2 * np.pi / radius, rtol=1e-9)


def test_points_of_a_sphere_have_its_radius_for_distance():
    structure = sr.models.unicycle()
    front = sphere(structure, [0, 0, 0], 3.5, vertical=[-1.5, 0.5, 2.0], angles=5)
    on = front.minimizing.values
    assert on.any()
    assert not on.all()
    distances = sr.distance(structure, [0, 0, 0], front.state.values.reshape(-1, 3), seed=5).values
    np.testing.assert_allclose(distances[on.ravel()], 3.5, rtol=1e-9)
    assert (distances[~on.ravel()] < 3.5 * (1 - 1e-9)).all()
    cuts = sr.distance(structure, [0, 0, 0], front.cut_state.values, seed=6)
    np.testing.assert_allclose(cuts, 3.5, rtol=1e-9)


def test_the_cut_points_of_the_martinet_sphere_lie_in_the_martinet_plane():
    """Geodesics are shortest until they are back in the plane (Agrachev, Bonnard, Chyba, Kupka,
    ESAIM: COCV 2 (1997) 377): one cut point wherever that time passes the radius."""
    structure = sr.models.martinet()
    front = sphere(structure, [0, 0, 0], 1.0, vertical=[2.0, 10.0, 20.0], angles=5)
    covectors = front.covector.values.reshape(-1, 3)
    fan = sr.exponential(structure, [0, 0, 0], covectors, time=np.linspace(0, 1, 1001))
    x = fan.state.values[:, 1:, 0]
    returned = (x[:, 1:] * x[:, :-1] <= 0).any(axis=1).reshape(5, 3)
    np.testing.assert_array_equal(front.minimizing, ~returned)
    assert front.sizes["cut"] == (returned[:, 1:] != returned[:, :-1]).sum()
    assert front.attrs["unresolved"] == 0
    assert np.abs(front.cut_state[:, 0]).max() < 1e-9
    assert (front.cut_endpoint_error < 1e-10).all()


@pytest.mark.parametrize("radius", [1.0, 2.0])
def test_labels_on_the_spheres_of_the_unicycle_agree_with_distances(radius):
    structure = sr.models.unicycle()
    vertical = np.linspace(-8, 8, 9)
    front = sphere(structure, [0, 0, 0], radius, vertical=vertical, angles=6)
    on = front.minimizing.values.ravel()
    states = front.state.values.reshape(-1, 3)
    distances = sr.distance(structure, [0, 0, 0], states, seed=11).values
    np.testing.assert_allclose(distances[on], radius, rtol=1e-8)
    assert (distances[~on] < radius * (1 - 1e-8)).all()
    cuts = front.sizes["cut"]
    changes = (front.minimizing.values[:, 1:] != front.minimizing.values[:, :-1]).sum()
    assert cuts + front.attrs["unresolved"] == changes
    at_cuts = sr.distance(structure, [0, 0, 0], front.cut_state.values, seed=12).values
    np.testing.assert_allclose(at_cuts, radius, rtol=1e-8)
    # on SE(2) a cut point is the end of two geodesics, but for conjugate points on the edge of
    # the cut locus (Sachkov, ESAIM: COCV 17 (2011) 293)
    assert (front.cut_kind == "Maxwell").all()


def test_the_grushin_ball():
    structure = sr.models.grushin()
    vertical = np.array([0.0, 2.0, 5.0, -9.0])
    within = ball(structure, [0, 0], 1.0, vertical=vertical, shells=3)
    validate(within)
    # cut time pi / |p_y| from the singular line
    reach = np.minimum(1, np.pi / np.maximum(np.abs(vertical), 1e-9))
    np.testing.assert_allclose(within.reach, np.broadcast_to(reach, (2, 4)), rtol=1e-10)
    np.testing.assert_allclose(within.distance[..., -1], within.reach)
    points = within.state.values.reshape(-1, 2)
    distances = sr.distance(structure, [0, 0], points).values
    np.testing.assert_allclose(distances, within.distance.values.ravel(), rtol=1e-8)


def test_a_flat_disc():
    plane = sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    front = sphere(plane, [1, 2], 3.0, angles=8)
    assert front.minimizing.all()
    assert front.sizes["cut"] == 0
    disc = ball(plane, [1, 2], 3.0, angles=8, shells=4)
    away = np.linalg.norm(disc.state.values - [1, 2], axis=-1)
    np.testing.assert_allclose(away, disc.distance, rtol=1e-12)
    assert (disc.kind == "none").all()


def test_bad_input():
    structure = sr.models.heisenberg()
    with pytest.raises(InputError, match="radius"):
        sphere(structure, [0, 0, 0], 0.0, vertical=[1.0])
    with pytest.raises(InputError, match="shells: expected an integer >= 1"):
        ball(structure, [0, 0, 0], 1.0, vertical=[1.0], shells=0)
    with pytest.raises(InputError, match="rank 1 or 2, got 4"):
        sphere(sr.models.heisenberg(2), np.zeros(5), 1.0, vertical=[1.0])
