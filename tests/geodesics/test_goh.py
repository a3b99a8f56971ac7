"""Strictly abnormal minimizers: excluded by the Goh condition, searched for, or said not to be."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

import subriem as sr
from subriem.geodesics.abnormal_fan import AbnormalFan
from subriem.geodesics.abnormal_paths import AbnormalSearch
from subriem.geodesics.ball_box import BallBox
from subriem.geodesics.goh import (
    abnormal_covectors,
    characteristic_control,
    characteristic_matrices,
    second_flag,
)


def three_fields(name, second, third):
    """Growth (3, 6, 7): f2 and f3 move z by the given multiples of a c and a b."""
    return sr.Structure.define(
        name,
        "a b c ab ca bc z",
        lambda q: [
            (1, 0, 0, 0, 0, 0, 0),
            (0, 1, 0, q.a, 0, 0, second * q.a * q.c),
            (0, 0, 1, 0, -q.a, q.b, third * q.a * q.b),
        ],
    )


def bent(q):
    """The Cartan distribution with another metric: the same abnormal curves, now strict."""
    w = 1 + q.a / 2
    return [(w, 0, 0, 0, 0), (0, w, w * q.a, w * q.a**2 / 2, w * q.a * q.b)]


BENT = sr.Structure.define("bent", "a b c d e", bent, domain={"a": (-1.9, None)})
TIMES_LINE = sr.Structure.define(
    "engel times line",
    "x y z w v",
    lambda q: [(1, 0, 0, 0, 0), (0, 1, q.x, q.x**2 / 2, 0), (0, 0, 0, 0, 1)],
)


def line(angle, time):
    """The integral curve of cos f1 + sin f2 in the Cartan group, and its length in BENT."""
    c, s = math.cos(angle), math.sin(angle)
    end = [
        c * time,
        s * time,
        c * s * time**2 / 2,
        c * c * s * time**3 / 6,
        c * s * s * time**3 / 3,
    ]
    return np.array(end), quad(lambda x: 1 / (1 + c * x / 2), 0, time)[0]


def search(structure, start, horizon=2.0):
    start = np.asarray(start, dtype=float)
    return AbnormalSearch(structure, BallBox(structure, start), start, horizon)


@pytest.mark.parametrize(
    ("structure", "start", "verdict", "words"),
    [
        (sr.models.heisenberg(2), [0] * 5, "excluded", "whole tangent space at the start"),
        (sr.models.unicycle(), [1, 2, 3], "excluded", "whole tangent space at the start"),
        (sr.models.grushin(), [0, 0], "excluded", "whole tangent space at the start"),
        (sr.models.hopf(), [1, 0, 0, 0], "excluded", "all of the orbit"),
        (sr.models.martinet(), [0, 0, 0], "considered", "two abnormal extremals"),
        (sr.models.martinet(), [0.5, 0, 0], "excluded", "whole tangent space at the start"),
        (sr.models.engel(), [0] * 4, "considered", "two abnormal extremals"),
        (sr.models.trailers(1), [0] * 4, "considered", "two abnormal extremals"),
        (sr.models.trailers(2), [0] * 5, "considered", "have 2 dimensions"),
        (sr.models.cartan(), [0] * 5, "considered", "have 2 dimensions"),
        (sr.models.ball_plate(), [0] * 5, "considered", "have 2 dimensions"),
        (three_fields("kernel 1", 0, 1), [0] * 7, "considered", "two abnormal extremals"),
        (three_fields("kernel 0", -2, -1), [0] * 7, "excluded", "no control keeps"),
        (TIMES_LINE, [0] * 5, "not considered", "leaves 2 dimensions of controls free"),
        (sr.models.free_nilpotent(3, 3), [0] * 14, "not considered", "8 dimensions, for 3 fields"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_is_claimed_from_a_start(structure, start, verdict, words):
    found = search(structure, start, 0.5)
    assert found.claim.verdict == verdict
    assert words in found.claim.text
    assert words in repr(found)


def test_an_end_off_the_martinet_surface_excludes_them():
    found = search(sr.models.martinet(), [0, 0, 0])
    assert found.for_end(np.array([0.0, 1.0, 0.0])).verdict == "considered"
    excluded = found.for_end(np.array([1e-3, 1.0, 0.0]))
    assert excluded.verdict == "excluded"
    assert "at the end" in excluded.text


def test_matrices_against_brackets_by_difference_quotients():
    """<p, [f_k, [f_i, f_j]]> of the trailer at a random point."""
    structure = sr.models.trailers(2)
    generator = np.random.default_rng(5)
    q, p = generator.standard_normal((2, 5))
    (matrix,) = characteristic_matrices(structure, q[None], p[None])
    step = 1e-5

    def bracket(at):
        return second_flag(structure, at)[:, 2]

    def slope(function):
        quotients = [(function(q + h) - function(q - h)) / (2 * step) for h in step * np.eye(5)]
        return np.stack(quotients, axis=-1)

    frame = structure.frame_at(q)
    along = slope(bracket) @ frame - np.column_stack(
        [slope(lambda at, k=k: structure.frame_at(at)[:, k]) @ bracket(q) for k in range(2)]
    )
    np.testing.assert_allclose(matrix[0], p @ along, atol=1e-8)


def test_covectors_annihilate_the_second_step():
    structure = sr.models.ball_plate()
    for q in structure.sample(5, np.random.default_rng(1)):
        basis = abnormal_covectors(structure, q)
        assert basis.shape == (5, 2)
        assert np.abs(basis.T @ second_flag(structure, q)).max() < 1e-13


def test_the_kernel_of_three_fields():
    start, covector = np.zeros(7), np.eye(7)[6]
    control, kernel = characteristic_control(three_fields("one", 0, 1), start, covector)
    assert kernel == 1
    np.testing.assert_allclose(control, [0, 0, 1], atol=1e-15)
    none = characteristic_control(three_fields("none", -2, -1), start, covector)
    assert none == (None, 0)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5, 4.0, -math.pi / 2])
def test_the_fan_reaches_points_of_abnormal_lines(angle):
    end, length = line(angle, 0.8)
    fan = AbnormalFan(BENT, np.zeros(5), np.eye(5)[:, 3:], 1.5)
    found = fan.reaching(end)
    np.testing.assert_allclose(found.t[-1], length, rtol=1e-9)
    np.testing.assert_allclose(found.y[:5, -1], end, atol=1e-8)
    assert fan.reaching(end, longest=0.99 * length) is None


def test_the_fan_does_not_reach_points_next_to_abnormal_lines():
    end, _ = line(1.0, 0.8)
    fan = AbnormalFan(BENT, np.zeros(5), np.eye(5)[:, 3:], 1.5)
    for k in (2, 3, 4):
        assert fan.reaching(end + 1e-4 * np.eye(5)[k]) is None


def test_all_abnormal_curves_of_two_trailers_from_a_point_are_two():
    """Goursat: the directions do not depend on the covector. Trailers stand, the tractor turns."""
    fan = AbnormalFan(
        sr.models.trailers(2),
        np.zeros(5),
        abnormal_covectors(sr.models.trailers(2), np.zeros(5)),
        1,
    )
    turned = fan._states[-1]
    np.testing.assert_allclose(np.abs(turned[:, 2]), 1, rtol=1e-9)
    np.testing.assert_allclose(turned[:, [0, 1, 3, 4]], 0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("angle", [1.0, 2.5])
def test_connect_takes_strictly_abnormal_lines_of_a_bent_cartan_group(angle):
    """Regular abnormal extremals minimize while short (Liu, Sussmann 1995, theorem 5)."""
    end, length = line(angle, 0.5)
    path = sr.connect(BENT, [0] * 5, end)
    assert path.attrs["method"] == "abnormal"
    assert float(path.length) == pytest.approx(length, rel=1e-10)
    assert float(path.endpoint_error) < 1e-12
    assert path.attrs["abnormal"].startswith("considered")


def test_connect_says_what_is_excluded():
    path = sr.connect(sr.models.heisenberg(), [0, 0, 0], [1, 0, 1])
    assert path.attrs["abnormal"].startswith("excluded")
    assert "Goh condition" in path.attrs["optimality"]
    found = sr.distance(sr.models.martinet(), [0, 0, 0], [[0.5, 1, 0], [0, 1, 0]])
    assert found.abnormal.values.tolist() == ["excluded", "considered"]
