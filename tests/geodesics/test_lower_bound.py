"""Proved lower bounds of distances: never above exact ones, and equal to them on straight lines."""

import json
import math
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import subriem as sr
from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.geodesics.lifts import lifted_ends
from subriem.geodesics.lower_bound import lower_bound
from subriem.geodesics.waves import waves

EXACT = json.loads((Path(__file__).parents[1] / "data" / "distances.json").read_text())
MODELS = [
    sr.models.unicycle(),
    sr.models.car(),
    sr.models.trailers(1),
    sr.models.trailers(2, [0.5, 2.0]),
    sr.models.ball_plate(),
    sr.models.engel(),
    sr.models.heisenberg(2),
    sr.models.rolling_sphere(),
    sr.models.car_with_trailers(1),
]


def bound(structure, displacement):
    return lower_bound(structure, np.atleast_2d(np.asarray(displacement, dtype=float)))


@pytest.mark.parametrize(
    ("structure", "displacement", "expected", "words"),
    [
        (sr.models.heisenberg(), [3, 4, 100], 5, "projection to (x, y)"),
        (sr.models.unicycle(), [1, 2, 2], 3, "projection to (x, y, theta)"),
        (sr.models.car(), [1, 2, 5, 2], 3, "projection to (x, y, phi)"),
        (sr.models.trailers(2), [2, 3, 6, 0, 0], 7, "projection to (x, y, th0)"),
        (sr.models.trailers(1, [0.5]), [0, 0, 0, 3], 1.5, "projection to (0.5 th1)"),
        (sr.models.engel(), [3, 4, 9, 9], 5, "projection to (x, y)"),
        (sr.models.grushin(), [-2, 5], 2, "projection to (x)"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_known_projections(structure, displacement, expected, words):
    found = bound(structure, displacement)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.value <= expected
    assert found.reason == words


@pytest.mark.parametrize("entries", ["heisenberg", "se2", "grushin_origin"])
def test_never_above_exact_distances(entries):
    models = {"heisenberg": "heisenberg", "se2": "unicycle", "grushin_origin": "grushin"}
    structure = getattr(sr.models, models[entries])()
    start = np.zeros(structure.dimension)
    for case in EXACT[entries]:
        end = np.array([math.pi if text == "pi" else float(text) for text in case["q"]])
        found = lower_bound(structure, lifted_ends(structure, start, end) - start)
        assert not found.value > float(case["d"])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(MODELS),
    st.integers(0, 10**6),
    st.floats(0.05, 3),
)
def test_no_horizontal_path_is_shorter(structure, seed, size):
    """Random controls from a random start, by Runge-Kutta."""
    generator = np.random.default_rng(seed)
    q = structure.sample(1, generator)[0] * 0.5
    start, length, steps = q.copy(), 0.0, 100
    waving = generator.standard_normal((3, structure.rank)) * size
    for k in range(steps):

        def velocity(at, t):
            u = waving[0] + waving[1] * math.sin(5 * t) + waving[2] * math.cos(9 * t)
            return structure.velocity(at, u), math.sqrt(u @ u)

        h, t = 1 / steps, k / steps
        a, one = velocity(q, t)
        b, two = velocity(q + h / 2 * a, t + h / 2)
        c, _ = velocity(q + h / 2 * b, t + h / 2)
        d, four = velocity(q + h * c, t + h)
        q = q + h / 6 * (a + 2 * b + 2 * c + d)
        length += h / 6 * (one + 4 * two + four)
        if not structure.inside(q) or np.abs(q).max() > 1e3:
            return
    assert not bound(structure, q - start).value > length * (1 + 1e-5)


@pytest.mark.parametrize(
    ("structure", "start", "end"),
    [
        (sr.models.heisenberg(), [0, 0, 0], [3, 4, 0]),
        (sr.models.unicycle(), [0, 0, math.pi / 4], [1, 1, math.pi / 4]),
        (sr.models.unicycle(), [1, 2, 0.5], [1, 2, 2.0]),
        (sr.models.car(), [0, 0, 0, 0], [1.5, 0, 0, 0]),
        (sr.models.trailers(2), [0] * 5, [-1, 0, 0, 0, 0]),
        (sr.models.engel(), [0] * 4, [0, 2, 0, 0]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_straight_lines_are_proved_to_be_shortest(structure, start, end):
    path = sr.connect(structure, start, end)
    assert float(path.lower_bound) == pytest.approx(float(path.length), rel=1e-9)
    assert "proved to be shortest" in path.attrs["optimality"]
    assert "NOT a minimizer" not in path.attrs["optimality"]


def test_what_is_not_proved_is_not_claimed():
    path = sr.connect(sr.models.heisenberg(), [0, 0, 0], [1, 0, 1])
    assert float(path.lower_bound) == pytest.approx(1)
    assert "nothing is shorter than 1" in path.attrs["optimality"].replace("0.9999999999", "1")
    assert "proved to be shortest" not in path.attrs["optimality"]
    path = sr.connect(sr.models.so3(), [0, 0, 0], [0.1, 0.2, 0.3])
    assert np.isnan(path.lower_bound)
    assert "no proof that nothing is shorter" in path.attrs["optimality"]


def test_reasons_why_there_is_none():
    assert np.isnan(bound(sr.models.heisenberg(), [0, 0, 1]).value)
    assert "take both points to one" in bound(sr.models.heisenberg(), [0, 0, 1]).reason
    kinked = sr.Structure.define("kinked", "x y", lambda q: [(1, ca.fabs(q.x)), (0, 1)])
    assert "not read exactly" in bound(kinked, [1, 1]).reason
    assert bound(sr.models.unicycle(), [0, 0, 0]).value == 0
    many = sr.Structure.define("many", [f"x{k}" for k in range(9)], lambda q: np.eye(9).tolist())
    assert "not searched" in bound(many, np.ones(9)).reason


def test_the_metric_counts():
    heavy = sr.Structure.define(
        "heavy",
        "x y z",
        lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)],
        inner_product=lambda q: [[9, 0], [0, 4]],
    )
    assert bound(heavy, [1, 0, 5]).value == pytest.approx(3)
    assert bound(heavy, [3, 4, 5]).value == pytest.approx(math.hypot(9, 8))
    # the plane with orthonormal fields (1, 0) and (1, 1), in which (1, 0) is at distance 1
    skew = sr.Structure.define("skew", "x y", lambda q: [(1, 0), (1, 1)])
    assert 0.4 < bound(skew, [1, 0]).value <= 1


def test_angles_take_the_shorter_way():
    unicycle = sr.models.unicycle()
    start, end = np.zeros(3), np.array([0.3, 0.0, 6.0])
    found = lower_bound(unicycle, lifted_ends(unicycle, start, end) - start)
    assert found.value == pytest.approx(math.hypot(0.3, 2 * math.pi - 6))


def test_distances_carry_their_bounds():
    planes = sr.Structure.define("planes", "x y z", lambda q: [(1, 0, 0), (0, 1, 0)])
    found = sr.distance(planes, [0, 0, 7], [[3, 4, 7], [3, 4, 8]])
    np.testing.assert_allclose(found.lower_bound, [5, math.inf], rtol=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=3), st.integers(0, 999))
def test_waves_are_what_they_are_made_of(exponents, seed):
    """Products of sines and cosines of two angles, summed as waves, by values."""
    ring = DifferentialRing(2)
    letters = [f(ring.element(k)) for k in range(2) for f in (ring.sin, ring.cos)]
    a, b = np.random.default_rng(seed).uniform(-4, 4, 2)
    numbers = [math.sin(a), math.cos(a), math.sin(b), math.cos(b)]
    total, expected = ring.constant(0), 0.0
    for k, powers in enumerate(exponents, start=1):
        term, value = ring.constant(k), float(k)
        for letter, number, power in zip(letters, numbers, powers, strict=True):
            term = ring.mul(term, ring.power(letter, power))
            value *= number**power
        total, expected = ring.add(total, term), expected + value
    found = 0.0
    for wave, size in waves(ring, total).items():
        # the ring numbers the coordinates 0 and 1, then cos a, sin a, cos b, sin b
        phase = sum(factor * {2: a, 4: b}[angle] for angle, factor in wave.frequency)
        found += float(size) * (math.sin(phase) if wave.sine else math.cos(phase))
    assert found == pytest.approx(expected, abs=1e-12)
