"""Cut times against published and closed forms, with and without declared symmetries."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import subriem as sr
from subriem.errors import InputError
from subriem.geodesics.cut_time import cut_time
from subriem.results.schema import validate

CASES = json.loads((Path(__file__).parents[1] / "data" / "conjugate.json").read_text())
MAKE = {
    "heisenberg": sr.models.heisenberg,
    "grushin": sr.models.grushin,
    "se2": sr.models.unicycle,
    "martinet": sr.models.martinet,
}
KNOWN = [case for case in CASES if "t_cut" in case]


def name(case):
    return f"{case['system']} {case['p0']}"


@pytest.mark.parametrize("declared", [True, False], ids=["symmetries", "search only"])
@pytest.mark.parametrize("case", KNOWN, ids=name)
def test_cut_times_known_elsewhere(case, declared):
    structure = MAKE[case["system"]]()
    if not declared:
        structure.symmetries = ()
    found = cut_time(structure, np.array(case["q0"], float), np.array(case["p0"], float), 8.0)
    validate(found)
    if case["t_cut"] is None:
        assert np.isnan(found.cut_time)
        assert found.kind == "none"
        assert found.status == "none up to the horizon"
        return
    expected = float(case["t_cut"])
    assert float(found.cut_time) == pytest.approx(expected, rel=1e-11)
    assert found.status == "estimate"
    assert bool(found.confirmed)
    conjugate = float(case["t_conj"] or "inf")
    if expected < conjugate * (1 - 1e-6):
        assert found.kind == "Maxwell"
    else:
        assert "conjugate" in str(found.kind.item())
    if "Maxwell" in str(found.kind.item()):
        assert float(found.endpoint_error) < 1e-11
        assert (found.symmetry != "") == declared


def test_symmetries_alone_give_the_known_times():
    for case in KNOWN:
        if case["t_cut"] is None:
            continue
        found = cut_time(
            MAKE[case["system"]](),
            np.array(case["q0"], float),
            np.array(case["p0"], float),
            8.0,
            search=False,
        )
        assert float(found.cut_time) == pytest.approx(float(case["t_cut"]), rel=1e-11)
        assert not found.confirmed


def test_the_other_geodesic_meets_at_the_same_length():
    structure = sr.models.unicycle()
    covectors = np.array([[0.6, 1.2, 0.8], [0.28, -5.0, -0.96], [0.6, 0.0, 0.8]])
    found = cut_time(structure, [1, 2, 0.4], covectors, 8.0)
    for own, other, time in zip(
        covectors, found.other_covector.values, found.cut_time.values, strict=True
    ):
        ends = [sr.exponential(structure, [1, 2, 0.4], p, time, rtol=1e-13) for p in (own, other)]
        apart = structure.wrap(ends[0].state.values[-1] - ends[1].state.values[-1])
        np.testing.assert_allclose(apart, 0, atol=1e-11)
        assert float(ends[0].length[-1]) == pytest.approx(float(ends[1].length[-1]), rel=1e-12)
        assert np.abs(own - other).max() > 0.1


@settings(max_examples=8, deadline=None)
@given(
    angle=st.floats(0, 6.28),
    vertical=st.floats(0.7, 5),
    sign=st.sampled_from([1, -1]),
    speed=st.floats(0.5, 2),
    start=st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_heisenberg(angle, vertical, sign, speed, start):
    x, y, _ = start
    # momenta of the left-invariant fields: p_x - y/2 p_z, p_y + x/2 p_z
    p = [
        speed * np.cos(angle) + y / 2 * sign * vertical,
        speed * np.sin(angle) - x / 2 * sign * vertical,
        sign * vertical,
    ]
    found = cut_time(sr.models.heisenberg(), start, p, 10.0)
    assert float(found.cut_time) == pytest.approx(2 * np.pi / vertical, rel=1e-9)
    assert found.kind == "conjugate and Maxwell"


def test_left_translations_and_speed_change_nothing():
    structure = sr.models.unicycle()
    here = cut_time(structure, [0, 0, 0], [0.6, 1.2, 0.8], 8.0)
    turn = 0.7
    c, s = np.cos(turn), np.sin(turn)
    moved = [c * 0.6 - s * 1.2, s * 0.6 + c * 1.2, 0.8]
    x, y = 1.5, -0.5
    # the right-invariant momentum about the origin does not enter p_theta in these coordinates
    there = cut_time(structure, [x, y, turn], np.multiply(moved, 3), 8.0)
    assert float(there.cut_time) == pytest.approx(float(here.cut_time) / 3, rel=1e-11)


def test_dilations_of_the_martinet_structure():
    covector, scale = np.array([0.28, 0.96, 3.0]), 2.5
    structure = sr.models.martinet()
    here = cut_time(structure, [0, 0, 0], covector, 8.0)
    # (x, y, z) to (s x, s y, s^3 z): times grow by s, where the speed is kept
    there = cut_time(structure, [0, 0, 0], covector * [1, 1, scale**-2], 8.0)
    assert float(there.cut_time) == pytest.approx(scale * float(here.cut_time), rel=1e-10)


def test_angles_meet_on_the_quotient_and_not_on_the_cover():
    frame = sr.models.unicycle()
    found = cut_time(frame, [0, 0, 0], [0, 0, 1], 8.0)
    assert float(found.cut_time) == pytest.approx(np.pi, rel=1e-12)
    import casadi as ca

    cover = sr.Structure.define(
        "cover", "x y theta", lambda q: [(ca.cos(q.theta), ca.sin(q.theta), 0), (0, 0, 1)]
    )
    assert cut_time(cover, [0, 0, 0], [0, 0, 1], 4.0).kind == "none"


def test_no_cut_and_no_geodesic():
    plane = sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    found = cut_time(plane, [1, 2], [[3, 4], [0, 0]], 5.0)
    assert list(found.kind.values) == ["none", "none"]
    assert list(found.status.values) == ["none up to the horizon", "constant"]
    assert np.isnan(found.cut_time).all()
    assert np.isnan(found.other_covector).all()
    line = cut_time(sr.models.martinet(), [0, 0, 0], [0, 1, 2], 5.0)
    assert line.status == "abnormal"
    assert np.isnan(line.cut_time)


def test_a_chart_that_is_left():
    strip = sr.Structure.define(
        "strip", "x y", lambda q: [(1, 0), (0, 1)], domain={"x": (-1, 1), "y": (None, None)}
    )
    found = cut_time(strip, [0, 0], [1, 0], 5.0)
    assert str(found.status.item()).startswith("ended at 1")
    assert np.isnan(found.cut_time)


def test_bad_input():
    structure = sr.models.heisenberg()
    with pytest.raises(InputError, match="horizon"):
        cut_time(structure, [0, 0, 0], [1, 0, 1], -1.0)
    with pytest.raises(InputError, match="at least one covector, got none"):
        cut_time(structure, [0, 0, 0], np.zeros((0, 3)), 1.0)
    with pytest.raises(InputError, match="expected one point, got 2"):
        cut_time(structure, [[0, 0, 0], [1, 0, 0]], [1, 0, 1], 1.0)
    flat = sr.Structure.define("flat", "x y", lambda q: [(1, 0)])
    with pytest.raises(InputError, match="not bracket-generating"):
        cut_time(flat, [0, 0], [1, 0], 1.0)
