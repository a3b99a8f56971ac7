"""The methods behind `connect`, one by one and against each other."""

import math
from dataclasses import replace
from functools import partial

import casadi as ca
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import subriem as sr
from subriem.geodesics import shortest
from subriem.geodesics.ball_box import BallBox
from subriem.geodesics.collocation import collocate
from subriem.geodesics.connect import connect
from subriem.geodesics.first_integrals import separating_integral
from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.lifts import lifted_ends
from subriem.geodesics.multiple_shooting import _pieces, join
from subriem.geodesics.search import find_geodesics

HEISENBERG = sr.models.heisenberg()


@pytest.mark.parametrize(
    ("structure", "end"),
    [
        (HEISENBERG, [1, 0, 1]),
        (sr.models.unicycle(), [1, 1, 0]),
        (sr.models.martinet(), [0.3, 1, 0.7]),
        (sr.models.engel(), [0.5, 0.2, -0.4, 0.3]),
        (sr.models.trailers(1), [0.3, 0.4, 0.5, 0.2]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_direct_method_agrees_with_shooting(structure, end):
    start = np.zeros(structure.dimension)
    path = connect(structure, start, end)
    direct = collocate(structure, start, np.array([end], dtype=float))
    assert path.attrs["method"] == "shooting"
    assert direct.endpoint_error < 1e-7
    assert float(path.length) <= direct.length * (1 + 1e-9)
    np.testing.assert_allclose(direct.length, path.length, rtol=1e-8)


def test_multipliers_are_covectors():
    end = np.array([1.0, 0, 1])
    direct = collocate(HEISENBERG, np.zeros(3), end[None])
    times = np.linspace(0, 1, len(direct.nodes))
    flow = flow_map(HEISENBERG, np.zeros(3), direct.covectors[0], times[1:], jacobian=False)
    np.testing.assert_allclose(flow.state[0], direct.nodes[1:], atol=1e-6)
    np.testing.assert_allclose(flow.covector[0], direct.covectors[1:], atol=1e-5)


def test_controls_of_the_direct_method_lead_to_the_end():
    """An integration of another kind, from Gauss point to Gauss point, of its controls."""
    structure = sr.models.trailers(1)
    end = np.array([0.3, 0.4, 0.5, 0.2])
    direct = collocate(structure, np.zeros(4), end[None], starts=2)
    assert direct.endpoint_error < 1e-12
    points = (np.polynomial.legendre.leggauss(4)[0] + 1) / 2
    count, q = len(direct.states), np.zeros(4)
    for k, controls in enumerate(direct.controls):
        own = np.polynomial.polynomial.polyfit(points, controls, 3)
        found = solve_ivp(
            lambda t, q, own=own: (
                structure.frame_at(q) @ np.polynomial.polynomial.polyval(t, own) / count
            ),
            (0, 1),
            q,
            method="DOP853",
            t_eval=[*points, 1],
            rtol=1e-12,
            atol=1e-14,
        )
        np.testing.assert_allclose(found.y[:, :-1].T, direct.states[k], atol=1e-10)
        q = found.y[:, -1]
        np.testing.assert_allclose(q, direct.nodes[k + 1], atol=1e-10)
    np.testing.assert_allclose(q, end, atol=1e-10)


def test_a_plan_is_the_last_resort(monkeypatch):
    """Without geodesics and guesses of its own the direct method has the plan alone."""
    unicycle = sr.models.unicycle()
    start, end = np.array([0, 1.0, 0]), np.zeros(3)
    exact = connect(unicycle, start, end)
    assert exact.attrs["method"] == "shooting"

    def nothing(*args, **options):
        found = find_geodesics(*args, **options)
        return [
            replace(
                one,
                length=one.length[:0],
                lift=one.lift[:0],
                covector=one.covector[:0],
                condition=one.condition[:0],
            )
            for one in found
        ]

    monkeypatch.setattr(shortest, "find_geodesics", nothing)
    monkeypatch.setattr(shortest, "collocate", partial(collocate, starts=0))
    planned = connect(unicycle, start, end)
    assert planned.attrs["status"] == "shortest found"
    assert planned.attrs["method"] == "multiple shooting"
    assert float(planned.length) == pytest.approx(float(exact.length), rel=1e-9)
    monkeypatch.setattr(shortest, "_planned", lambda *_: [])
    assert connect(unicycle, start, end).attrs["status"] == "not found"


def test_multiple_shooting_joins_rough_pieces():
    """From nodes that are off by a hundredth to the exact distance."""
    exact = 2.68312977785984813204233002527
    direct = collocate(HEISENBERG, np.zeros(3), np.array([[1.0, 0, 1]]))
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, 16, 3))
    states = direct.nodes[:-1:4] + noise[0]
    states[0] = 0
    joined = join(HEISENBERG, states, direct.covectors[:-1:4] + noise[1], np.array([1.0, 0, 1]))
    assert joined.gap < 1e-13
    energy = HEISENBERG.hamiltonian_at(joined.states, joined.covectors)
    np.testing.assert_allclose(np.sqrt(2 * energy), exact, rtol=1e-12)
    ends, _ = joined.at(HEISENBERG, np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [[0, 0, 0], [1, 0, 1]], atol=1e-12)


def test_derivatives_of_the_pieces_are_difference_quotients():
    structure = sr.models.unicycle()
    node = np.array([[0.3, 0.2, 0.5, 4.0, 3.0, -2.0]])
    _, matrices = _pieces(structure, node, 0.1)
    step = 1e-6 * np.eye(6)
    quotients = [
        (_pieces(structure, node + h, 0.1)[0] - _pieces(structure, node - h, 0.1)[0])[0] / 2e-6
        for h in step
    ]
    np.testing.assert_allclose(matrices[0], np.array(quotients).T, atol=1e-8)


def test_guesses_from_which_nothing_joins():
    states = np.zeros((4, 3))
    assert join(HEISENBERG, states, np.full((4, 3), 1e3), np.array([1.0, 0, 1])) is None


def test_the_size_of_a_box_next_to_a_singular_line():
    """On the Grushin plane at x = e, d to (e, y) is |y| / e for small y and about sqrt(y)."""
    box = BallBox(sr.models.grushin(), np.array([1e-3, 0.0]))
    boxes, rows = box.measure(np.array([[0, 1e-8], [0, 1.0]]))
    assert boxes.size[rows == 0].min() == pytest.approx(1e-5)
    assert boxes.size[rows == 1].min() == pytest.approx(1.0)


def test_boxes_where_brackets_do_not_span():
    box = BallBox(
        sr.Structure.define("planes", "x y z", lambda q: [(1, 0, 0), (0, 1, 0)]), np.zeros(3)
    )
    assert not box.filled
    assert box.orbit_dimension == 2
    assert np.abs(np.linalg.det(box.frames[0])) == pytest.approx(1)


def test_privileged_coordinates_size_small_displacements():
    """At step 3 linear coordinates overlook what moving along f1 and f2 does to z4."""
    structure = sr.models.trailers(1)
    about = sr.privileged_coordinates(structure, [0.3, 0.2, 0.5, 0.4])
    z = np.array([[0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    ends = about.from_privileged(z * 1e-3 ** np.array(about.weights))
    boxes, rows = BallBox(structure, about.point).measure(ends - about.point)
    found = [boxes.size[(rows == k) & (boxes.family == 0)][0] for k in range(3)]
    np.testing.assert_allclose(found, [1e-3 * 0.5 ** (1 / 3), 1e-3, 1e-3], rtol=1e-5)


def test_lifts_of_two_angles():
    torus = sr.Structure.define(
        "torus", "a b", lambda q: [(1, 0), (0, 1)], periodic={"a": 2.0, "b": 1.0}
    )
    lifted = lifted_ends(torus, np.array([0.9, 0.0]), np.array([-0.9, 0.25]))
    assert len(lifted) == 9
    np.testing.assert_allclose(lifted[0], [1.1, 0.25])
    np.testing.assert_allclose(torus.wrap(lifted - lifted[0]), 0, atol=1e-12)


def test_first_integrals_tell_orbits_apart_only_where_they_differ():
    sphere = sr.Structure.define("sphere", "x y z", lambda q: [(q.y, -q.x, 0), (0, q.z, -q.y)])
    assert separating_integral(sphere, np.array([1.0, 0, 0]), np.array([0, 0, 1.0])) is None
    text, here, there = separating_integral(sphere, np.array([1.0, 0, 0]), np.array([0, 0, 3.0]))
    assert text == "x*x + y*y + z*z"
    assert (here, there) == pytest.approx((1, 9))
    skew = sr.Structure.define("skew", "x y z", lambda q: [(1, 1, 0), (0, 2, 1)])
    text, here, there = separating_integral(skew, np.zeros(3), np.array([1.0, 0, 0]))
    assert text == "x - y + 2*z"
    assert separating_integral(HEISENBERG, np.zeros(3), np.ones(3)) is None


def test_periods_do_not_tell_points_apart():
    cylinder = sr.Structure.define(
        "cylinder", "x t", lambda q: [(1, 1)], periodic={"t": 2 * math.pi}
    )
    assert separating_integral(cylinder, np.zeros(2), np.array([1.0, 0])) is None


def test_inequalities_are_kept_at_the_mesh():
    plane = sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    found = collocate(
        plane,
        np.array([-2.0, 0]),
        np.array([[2.0, 0]]),
        inequalities=lambda q: ca.sumsqr(q) - 1,
    )
    radii = np.linalg.norm(np.concatenate([found.nodes, found.states.reshape(-1, 2)]), axis=1)
    assert radii.min() > 1 - 1e-8
