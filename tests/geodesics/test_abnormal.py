"""Abnormal extremals against exact facts (tests/data/abnormal.json)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import subriem as sr
from subriem.errors import InputError
from subriem.geodesics import abnormal, extremal_lifts

CASES = {
    name: case
    for name, case in json.loads(
        (Path(__file__).parents[1] / "data" / "abnormal.json").read_text()
    ).items()
    if isinstance(case, dict)
}
#: Growth (3, 6, 7); <dz, [f_k, [f_i, f_j]]> has the kernel f3.
TRIPLE = sr.Structure.define(
    "triple",
    "a b c ab ca bc z",
    lambda q: [
        (1, 0, 0, 0, 0, 0, 0),
        (0, 1, 0, q.a, 0, 0, 0),
        (0, 0, 1, 0, -q.a, q.b, q.a * q.b),
    ],
)
RANK_TWO = [name for name, case in CASES.items() if len(case["frame"]) == 2]


def read(case):
    names = case["coords"].split()

    def frame(q):
        symbols = {name: q[name] for name in names}
        return [tuple(eval(text, symbols) for text in field) for field in case["frame"]]

    structure = sr.Structure.define("case", names, frame)
    control = np.array([float(value) for value in case["control"]])
    return structure, [at(text, 0) for text in case["curve"]], control


def at(text, t):
    return float(eval(text, {"t": t}))


def parallel(one, other):
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return min(np.abs(one - other).max(), np.abs(one + other).max())


@pytest.mark.parametrize("name", CASES)
def test_lifts_of_exact_curves(name):
    case = CASES[name]
    structure, start, control = read(case)
    found = extremal_lifts(structure, start, control)
    assert int(found.corank) == 1
    expected = np.array([at(text, 0) for text in case["abnormal_covector"]])
    assert parallel(found.abnormal_covectors[:, 0].values, expected) < 1e-9
    assert bool(found.strictly_abnormal) == case["strictly_abnormal"]
    if case["strictly_abnormal"]:
        assert float(found.normal_residual) > 0.1
        assert np.isnan(found.normal_covector).all()
    else:
        assert float(found.normal_residual) < 1e-10
        # F'p = u at the start
        momenta = structure.frame_at(start).T @ found.normal_covector.values
        np.testing.assert_allclose(momenta, control, atol=1e-9)
    # for two fields the Goh condition holds of itself; H1 x R^2 violates it
    goh = float(case.get("goh_12", 0.0))
    assert float(found.goh) == pytest.approx(goh, abs=1e-10)


@pytest.mark.parametrize("name", RANK_TWO)
def test_abnormal_extremals_run_along_exact_curves(name):
    case = CASES[name]
    structure, start, control = read(case)
    speed = float(np.linalg.norm(control))
    line = abnormal(structure, start, speed, control=control)
    assert line.status == "found"
    t = line.time.values / speed
    exact = np.array([[at(text, value) for text in case["curve"]] for value in t])
    np.testing.assert_allclose(line.state, exact, atol=1e-10)
    for k in (0, -1):
        expected = np.array([at(text, t[k]) for text in case["abnormal_covector"]])
        assert parallel(line.covector[k].values, expected) < 1e-9
    assert float(line.annihilation.max()) < 1e-10
    assert bool(line.strictly_abnormal) == case["strictly_abnormal"]


@pytest.mark.parametrize("name", ["martinet_beta", "liu_sussmann", "engel_x0=2"])
def test_corank_from_the_exact_gramian(name):
    case = CASES[name]
    structure, start, control = read(case)
    gramian = np.array([[eval(x) for x in row] for row in case["endpoint_gramian_T1"]], float)
    found = extremal_lifts(structure, start, control)
    assert structure.dimension - np.linalg.matrix_rank(gramian) == int(found.corank)
    # the Gramian is at the end of the curve: its kernel is the covector carried there
    line = abnormal(structure, start, 1.0, control=control)
    assert np.abs(gramian @ line.covector[-1].values).max() < 1e-9


def test_contact_structures_have_none_but_constants():
    for structure, start in (
        (sr.models.heisenberg(), [0, 0, 0]),
        (sr.models.unicycle(), [0.3, 1, 2]),
        (sr.models.martinet(), [0.5, 0, 0]),
    ):
        found = abnormal(structure, start)
        assert found.status == "none"
        assert int(found.annihilator_dimension) == 0
    free = extremal_lifts(sr.models.heisenberg(), [0, 0, 0], lambda t: [math.cos(t), math.sin(t)])
    assert int(free.corank) == 0
    assert not free.strictly_abnormal
    assert free.normal  # a circle


def test_contact_structures_of_any_rank_have_none_that_satisfies_goh():
    found = abnormal(sr.models.heisenberg(2), [0] * 5)
    assert found.status == "none"
    assert int(found.annihilator_dimension) == 0


def test_three_fields_with_a_kernel_of_dimension_one():
    """The line along f3, as the lifts of that control say as well."""
    line = abnormal(TRIPLE, [0.3, 0, 0, 0, 0, 0, 0], 1.5)
    judged = extremal_lifts(TRIPLE, [0.3, 0, 0, 0, 0, 0, 0], [0, 0, 1], 1.5)
    assert line.status == "found"
    np.testing.assert_allclose(line.control, [[0, 0, 1]] * 41, atol=1e-10)
    np.testing.assert_allclose(line.state[-1], [0.3, 0, 1.5, 0, -0.45, 0, 0], atol=1e-10)
    assert int(judged.corank) >= 1
    assert float(line.annihilation.max()) < 1e-10
    back = abnormal(TRIPLE, [0] * 7, control=[0, 0, -2])
    np.testing.assert_allclose(back.control[-1], [0, 0, -1], atol=1e-12)


def test_a_control_chooses_among_covectors():
    """Through each point of the Cartan group an abnormal line in every direction."""
    cartan, angle = sr.models.cartan(), 0.7
    c, s = math.cos(angle), math.sin(angle)
    line = abnormal(cartan, [0] * 5, 2.0, control=[c, s])
    exact = [2 * c, 2 * s, 2 * c * s, 8 * c * c * s / 6, 8 * c * s * s / 3]
    np.testing.assert_allclose(line.state[-1], exact, atol=1e-11)
    assert not line.strictly_abnormal


def test_strictness_depends_on_the_metric_and_abnormality_does_not():
    flat, bent = sr.models.martinet(), sr.models.martinet(perturbation=0.7)
    lines = [abnormal(structure, [0, -1, 2], 0.5) for structure in (flat, bent)]
    np.testing.assert_allclose(lines[0].state, lines[1].state, atol=1e-12)
    assert [bool(line.strictly_abnormal) for line in lines] == [False, True]


def test_a_curve_that_is_no_extremal_at_all():
    martinet = sr.models.martinet()
    found = extremal_lifts(martinet, [0, 0, 0], lambda t: [math.cos(t * t), math.sin(3 * t)])
    assert int(found.corank) == 0
    assert not found.normal


def test_units_change_nothing():
    bent = sr.models.martinet(perturbation=1.0)
    other = bent.change_coordinates(
        "a b c",
        lambda q: (1e4 * q[0], 1e-4 * q[1], 1e6 * q[2]),
        lambda s: (1e-4 * s[0], 1e4 * s[1], 1e-6 * s[2]),
        domain={"a": (-5e3, None)},
    )
    found = abnormal(other, [0, 0, 0], 0.5)
    assert found.status == "found"
    assert found.strictly_abnormal
    np.testing.assert_allclose(found.state[-1], [0, 0.5e-4, 0], atol=1e-12)


def test_arguments_that_cannot_be_right_are_refused():
    cartan = sr.models.cartan()
    with pytest.raises(InputError, match="2 independent covectors annihilate"):
        abnormal(cartan, [0] * 5)
    with pytest.raises(InputError, match="annihilates D"):
        abnormal(cartan, [0] * 5, covector=[1, 0, 0, 0, 0])
    with pytest.raises(InputError, match="two fields"):
        abnormal(sr.Structure.define("line", "x", lambda q: [(1,)]), [0])
    with pytest.raises(InputError, match="expected 3 numbers"):
        abnormal(TRIPLE, [0] * 7, control=[0, 1])
    with pytest.raises(InputError, match="no abnormal extremal starts"):
        abnormal(sr.models.trailers(2), [0] * 5, control=[1, 1])
    with pytest.raises(InputError, match="expected 2 finite numbers"):
        extremal_lifts(cartan, [0] * 5, [1, 2, 3])
    with pytest.raises(InputError, match="leaves the chart"):
        extremal_lifts(sr.models.car(), [0, 0, 0, 0], [0, 1], time=3.0)


# ------------------------------------------------------------------ as shortest paths


@pytest.mark.slow
@pytest.mark.parametrize("length", [0.5, 9.0])
def test_connect_takes_the_strictly_abnormal_line_of_liu_and_sussmann(length):
    """Unique minimizer up to 2/3; at 9 the shortest normal geodesic is 2.7 % longer."""
    path = sr.connect(sr.models.liu_sussmann(), [0, 0, 0], [0, length, 0])
    assert path.attrs["method"] == "abnormal"
    assert float(path.length) == pytest.approx(length, rel=1e-10)
    assert float(path.endpoint_error) < 1e-9
    np.testing.assert_allclose(path.control, [[0, length]] * 101, atol=1e-9)
    assert np.isnan(path.covector).all()
    assert path.attrs["optimality"].startswith("an abnormal extremal, shorter than the normal")


@pytest.mark.slow
def test_connect_leaves_the_abnormal_line_where_a_normal_geodesic_is_shorter():
    case = json.loads((Path(__file__).parents[1] / "data" / "abnormal.json").read_text())
    exact = next(c for c in case["liu_sussmann_competitors"] if c.get("T") == 12)
    path = sr.connect(sr.models.liu_sussmann(), [0, 0, 0], [0, 12, 0])
    assert path.attrs["method"] == "shooting"
    assert float(path.length) == pytest.approx(float(exact["length_normal"]), rel=1e-10)


@pytest.mark.parametrize(
    ("model", "end"), [("martinet", [0, 1.5, 0]), ("engel", [0, 2, 0, 0]), ("engel", [0, -1, 0, 0])]
)
def test_abnormal_lines_that_are_normal_as_well(model, end):
    path = sr.connect(getattr(sr.models, model)(), [0] * len(end), end)
    assert float(path.length) == pytest.approx(abs(end[1]), rel=1e-10)
    assert path.attrs["method"] == "shooting"


@pytest.mark.slow
def test_the_perturbed_martinet_line():
    """Unique minimizer for lengths up to 2 / (3 beta)."""
    found = sr.distance(sr.models.martinet(perturbation=1.0), [0, 0, 0], [[0, 0.6, 0]])
    assert float(found[0]) == pytest.approx(0.6, rel=1e-10)
