"""Wave fronts against closed forms."""

import casadi as ca
import numpy as np
import pytest

import subriem as sr
from subriem.errors import InputError
from subriem.geodesics import unit_covectors, wavefront
from subriem.results.schema import validate


def test_the_front_of_the_heisenberg_group():
    radius = 1.3
    vertical = np.array([-4.0, 0.5, 2.0, 4.8, 4.9, 20.0])
    front = wavefront(sr.models.heisenberg(), [0, 0, 0], radius, vertical=vertical, angles=8)
    validate(front)
    angle = front.angle.values[:, None]
    w = vertical[None]
    x = (np.sin(angle + w * radius) - np.sin(angle)) / w
    y = (np.cos(angle) - np.cos(angle + w * radius)) / w
    z = (radius * w - np.sin(radius * w)) / (2 * w**2) + 0 * angle
    np.testing.assert_allclose(front.state, np.stack([x, y, z], axis=-1), atol=1e-9)
    # first conjugate time 2 pi / |w|
    expected = np.broadcast_to(2 * np.pi / np.abs(vertical) < radius, (8, 6))
    np.testing.assert_array_equal(front.past_conjugate, expected)


@pytest.mark.parametrize(
    ("make", "at", "vertical"),
    [
        (sr.models.unicycle, [1, 2, 0.5], [[0.0], [3.0]]),
        (sr.models.martinet, [0, 0, 0], [[2.0]]),
        (sr.models.engel, [1, -1, 2, 0.5], [[1.0, -2.0]]),
        (sr.models.grushin, [0, 0], [[-1.5], [0.0]]),
        (sr.models.grushin, [0.5, 0], np.zeros((1, 0))),
    ],
)
def test_unit_covectors_have_unit_speed(make, at, vertical):
    structure = make()
    front = wavefront(structure, at, 0.2, vertical=vertical, angles=5)
    covectors = front.covector.values.reshape(-1, structure.dimension)
    energy = structure.hamiltonian_at(np.broadcast_to(at, covectors.shape), covectors)
    np.testing.assert_allclose(energy, 0.5, rtol=1e-12)
    assert (front.status == "ok").all()


def test_unit_covectors_with_an_inner_product():
    structure = sr.Structure.define(
        "scaled",
        "x y z",
        lambda q: [(1, 0, -q.y), (0, 2, q.x)],
        inner_product=lambda q: [[4, 1], [1, 2 + ca.cos(q.z)]],
    )
    directions = np.array([[1.0, 0.0], [0.6, -0.8]])
    covectors = unit_covectors(structure, [0.2, 0.3, 0.4], directions, np.array([[1.0]]))[:, 0]
    energy = structure.hamiltonian_at(np.full((2, 3), [0.2, 0.3, 0.4]), covectors)
    np.testing.assert_allclose(energy, 0.5, rtol=1e-12)


def test_the_circle_of_a_plane():
    plane = sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    front = wavefront(plane, [1, 2], 3.0, angles=16)
    distance = np.linalg.norm(front.state.values[:, 0] - [1, 2], axis=1)
    np.testing.assert_allclose(distance, 3, rtol=1e-14)
    assert not front.past_conjugate.any()


def test_bad_input():
    structure = sr.models.heisenberg()
    with pytest.raises(InputError, match="not bounded; got none"):
        wavefront(structure, [0, 0, 0], 1.0)
    with pytest.raises(InputError, match="radius: expected a length > 0"):
        wavefront(structure, [0, 0, 0], -1.0, vertical=[1.0])
    with pytest.raises(InputError, match=r"vertical: expected shape \(V, 1\)"):
        wavefront(structure, [0, 0, 0], 1.0, vertical=[[1.0, 2.0]])
    with pytest.raises(InputError, match="rank 1 or 2, got 4"):
        wavefront(sr.models.heisenberg(2), np.zeros(5), 1.0, vertical=[1.0])
    flat = sr.Structure.define("flat", "x y", lambda q: [(1, 0)])
    with pytest.raises(InputError, match="not bracket-generating"):
        wavefront(flat, [0, 0], 1.0, vertical=[1.0])
