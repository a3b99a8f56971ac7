"""Conjugate times against closed forms and 60-digit values."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import subriem as sr
from subriem.errors import InputError
from subriem.geodesics.conjugate import conjugate_time

ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "conjugate.json").read_text())
SYSTEMS = {
    "heisenberg": sr.models.heisenberg(),
    "grushin": sr.models.grushin(),
    "martinet": sr.models.martinet(),
    "engel": sr.models.engel(),
    # angles are lifted in the reference
    "se2": sr.models.unicycle(),
}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['system']}-{entry['p0']}")
def test_published_conjugate_times(entry):
    at, covector = ([float(x) for x in entry[key]] for key in ("q0", "p0"))
    exact = None if entry["t_conj"] is None else float(entry["t_conj"])
    found = conjugate_time(
        SYSTEMS[entry["system"]], at, covector, 25.0 if exact is None else 1.4 * exact
    )
    if exact is None:
        assert found.status == "none up to the horizon"
        assert math.isnan(float(found.conjugate_time))
        return
    assert found.status == "found"
    assert float(found.conjugate_time) == pytest.approx(exact, rel=1e-11)
    assert float(found.conjugate_error) < 1e-11 * exact
    assert int(found.multiplicity) == 1


@pytest.mark.parametrize("speed", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_dilations_of_the_heisenberg_group(speed, scale):
    # delta_r multiplies the vertical covector by r^-2 at the same speed in r^-1 of the time
    covector = [speed / scale, 0.0, 2.0 * speed / scale**2]
    exact = math.pi * scale**2 / speed
    found = conjugate_time(SYSTEMS["heisenberg"], [0, 0, 0], covector, 1.7 * exact)
    assert float(found.conjugate_time) == pytest.approx(exact, rel=1e-11)


def sphere():
    """The round sphere S^3, stereographic: a Riemannian structure."""
    return sr.Structure.define(
        "sphere",
        "x y z",
        lambda q: [
            tuple((1 + q.x**2 + q.y**2 + q.z**2) / 2 * (i == k) for k in range(3)) for i in range(3)
        ],
    )


def test_a_zero_of_even_multiplicity_has_no_change_of_sign():
    start = [1.0, 0.0, 0.0]  # its antipode is at -1
    found = conjugate_time(sphere(), start, [0.6, 0.8, 0.0], 4.0)
    assert found.status == "found"
    # |F'p| = 1 at |x| = 1
    assert float(found.conjugate_time) == pytest.approx(math.pi, rel=1e-7)
    assert int(found.multiplicity) == 2


def test_the_five_dimensional_heisenberg_group():
    found = conjugate_time(sr.models.heisenberg(2), [0] * 5, [1, 0, 0.5, 0, 2], 4.0)
    assert float(found.conjugate_time) == pytest.approx(math.pi, rel=1e-9)
    assert int(found.multiplicity) == 3


def test_an_extremal_that_is_abnormal_as_well_has_no_conjugate_time_at_zero():
    for vertical in (0.0, 1.0, -3.0):
        found = conjugate_time(SYSTEMS["martinet"], [0, 0, 0], [0, 1, vertical], 10.0)
        assert found.status == "abnormal"
        assert math.isnan(float(found.conjugate_time))


def test_constant_extremals_are_not_geodesics():
    found = conjugate_time(SYSTEMS["grushin"], [0, 0], [0, 1], 5.0)
    assert found.status == "constant"


def test_a_batch_of_covectors():
    found = conjugate_time(SYSTEMS["heisenberg"], [0, 0, 0], [[1, 0, 1], [1, 0, 2], [1, 0, 0]], 7.0)
    assert found.conjugate_time.dims == ("geodesic",)
    np.testing.assert_allclose(found.conjugate_time[:2], [2 * np.pi, np.pi], rtol=1e-11)
    assert found.status.values.tolist() == ["found", "found", "none up to the horizon"]


def test_equivariance_under_a_change_of_coordinates():
    heisenberg = SYSTEMS["heisenberg"]
    bent = heisenberg.change_coordinates(
        "u v w",
        lambda q: (q.x, q.y, q.z + q.x * q.y / 2 + q.x**3),
        lambda s: (s.u, s.v, s.w - s.u * s.v / 2 - s.u**3),
    )
    at, covector = np.array([0.3, -0.5, 0.2]), np.array([0.7, 0.4, 1.3])
    x, y, z = at
    moved = [x, y, z + x * y / 2 + x**3]
    slope = np.array([[1, 0, 0], [0, 1, 0], [y / 2 + 3 * x**2, x / 2, 1]])
    pushed = np.linalg.solve(slope.T, covector)
    one = conjugate_time(heisenberg, at, covector, 8.0)
    other = conjugate_time(bent, moved, pushed, 8.0)
    assert float(one.conjugate_time) == pytest.approx(float(other.conjugate_time), rel=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0], [1, 0, 1], 5.0), r"expected shape \(3,\)"),
        (([[0, 0, 0]], [1, 0, 1], 5.0), "expected one point"),
        (([0, 0, 0], [1, 0], 5.0), "covector: expected shape"),
        (([0, 0, 0], [1, 0, np.nan], 5.0), "not finite"),
        (([0, 0, 0], [1, 0, 1], 0.0), "horizon"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        conjugate_time(SYSTEMS["heisenberg"], *arguments)


def test_a_structure_that_does_not_generate_is_refused():
    with pytest.raises(InputError, match="not bracket-generating"):
        conjugate_time(sr.models.integrable_saddle(), [0, 0, 0], [1, 0, 0], 5.0)


@pytest.mark.parametrize(
    ("structure", "horizon"),
    [
        (sr.models.trailers(1), 1.0),
        (sr.models.trailers(2), 1.0),
        (sr.models.trailers(2), 0.05),
        (sr.models.car(), 1.0),
        (sr.models.engel(), 1.0),
    ],
    ids=["one trailer", "two trailers", "two trailers, near 0", "car", "Engel"],
)
def test_straight_lines_have_no_conjugate_points(structure, horizon):
    """They are shortest: their length is that of their projection to a plane."""
    n = structure.dimension
    covectors = np.zeros((2, n))
    covectors[:, 0] = 0.3, 1.0
    found = conjugate_time(structure, np.zeros(n), covectors, horizon)
    assert np.isnan(found.conjugate_time).all()
    for status in found.status.values.tolist():
        # close to the start rounding may hide everything, which is said
        assert status == "none up to the horizon" or (
            horizon < 0.1 and status.startswith("undecided")
        )
    ends = np.zeros((1, n))
    ends[0, 0] = 0.3
    nearest = sr.distance(structure, np.zeros(n), ends)
    np.testing.assert_allclose(nearest, 0.3, rtol=1e-9)
    np.testing.assert_allclose(nearest.lower_bound, 0.3, rtol=1e-9)


def test_lines_of_the_cartan_group_are_abnormal():
    """Its abnormal extremals project to straight lines (Sachkov, Sbornik Math. 194 (2003))."""
    found = conjugate_time(sr.models.cartan(), np.zeros(5), [0.6, 0.8, 0, 0, 0], 5.0)
    assert found.status == "abnormal"
