"""Models that are wrong on purpose, and the check that says so."""

import casadi as ca
import numpy as np
import pytest
import xarray as xr
from by_hand import drifting, structure_by_hand

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.structure import Truth
from subriem.testing import Model, bracket_checks, checks_of, flag_checks, run_checks


def failures(model):
    return {outcome.check: outcome.message for outcome in run_checks(model) if not outcome.passed}


def test_a_sound_model_passes_with_and_without_a_drift_and_parameters():
    gain = sr.Structure.define(
        "gain", "x y", lambda q, p: [(p.k, 0), (0, q.x / 3)], parameters={"k": 0.1}
    )
    for structure in (sr.models.unicycle(), drifting(), gain):
        assert failures(structure) == {}


def test_every_check_says_in_one_line_what_it_demands():
    for check in checks_of(Model(sr.models.unicycle(), [Truth((0, 0, 0), (2, 3))])):
        first = check.__doc__.splitlines()[0]
        assert first[0].isupper()
        assert first.endswith(".")


def test_only_checks_that_can_fail_are_run():
    names = [check.__name__ for check in checks_of(sr.models.heisenberg())]
    assert "check_periods" not in names
    assert "check_truths" not in names
    line = sr.Structure.define("line", "x", lambda q: [(1,)])
    assert "check_bracket_algebra" not in [check.__name__ for check in checks_of(line)]
    # a drift and one field have a bracket
    assert "check_bracket_algebra" in [check.__name__ for check in checks_of(drifting())]


def test_a_wrong_growth_vector_is_caught():
    model = Model(sr.models.heisenberg(), [Truth((0, 0, 0), (2, 2, 3), source="a misprint")])
    message = failures(model).pop("truths")
    assert "growth vector (2, 3) at x=0, y=0, z=0, expected (2, 2, 3)" in message
    assert message.endswith("as declared in TRUTHS (source: a misprint)")
    assert list(failures(model)) == ["truths"]


@pytest.mark.parametrize(("growth", "generating"), [((2, 3), False), ((2,), True)])
def test_a_truth_that_contradicts_itself_is_caught(growth, generating):
    model = Model(sr.models.heisenberg(), [Truth((0, 0, 0), growth, generating)])
    assert "is declared" in failures(model)["truths"]


def test_dependent_fields_are_caught_and_the_relation_is_named():
    bad = sr.Structure.define("bad", "x y z", lambda q: [(1, 0, q.y), (2, 0, 2 * q.y), (0, 1, 0)])
    message = failures(bad).pop("frame")
    assert "the 3 fields span 2 dimensions at generic points, expected 3" in message
    relation = message.split(": ")[-1]
    assert relation in ("-1 f1 +0.5 f2 = 0", "+1 f1 -0.5 f2 = 0")
    declared = Model(bad, [Truth((0, 0, 0), (2, 3))])
    assert "frame" not in failures(declared)


def test_a_vanishing_field_is_named():
    bad = sr.Structure.define("bad", "x y", lambda q: [(1, 0), (0, 0)])
    assert failures(bad)["frame"].endswith("f2 = 0")


def test_a_frame_that_is_not_finite_in_its_chart_is_caught():
    bad = structure_by_hand("x y", lambda x, y: [(1, 0), (0, ca.log(x + 1))])
    assert "the frame is not finite at x=-" in failures(bad)["frame"]


@pytest.mark.parametrize(
    ("entry", "order"),
    [
        (lambda x: ca.if_else(x > 0.25, 1, 2), 0),
        (ca.fabs, 1),
        (lambda x: ca.sqrt(x**2), 1),
        (lambda x: ca.fmax(x, 0.5), 1),
        (lambda x: x * ca.fabs(x), 2),
        (lambda x: x**2 * ca.fabs(x), 3),
        (lambda x: 1000 * ca.exp(x) + ca.fabs(x), 1),
    ],
)
def test_a_frame_that_is_not_smooth_is_caught(entry, order):
    bad = sr.Structure.define("bad", "x y", lambda q: [(1, 0), (0, entry(q.x))])
    message = failures(bad)["smoothness"]
    what = f"has a derivative of order {order} that jumps" if order else "jumps"
    assert f"the y component of f2 {what}" in message
    place = float(message.split("x=")[1].split(",")[0])
    assert min(abs(place), abs(place - 0.25), abs(place - 0.5)) < 1e-6


@pytest.mark.parametrize(
    "entry",
    [
        lambda x: ca.sin(30 * x),
        lambda x: ca.exp(-((10 * x) ** 2)),
        lambda x: ca.tanh(20 * x),
        lambda x: 1 / (1 + 100 * x**2),
        lambda x: x**3 * ca.fabs(x),
    ],
)
def test_a_steep_smooth_frame_is_not_taken_for_a_jump(entry):
    good = sr.Structure.define("good", "x y", lambda q: [(1, 0), (0, entry(q.x))])
    assert "smoothness" not in failures(good)


def test_a_pole_inside_the_chart_is_caught_and_outside_it_is_not():
    bad = structure_by_hand("x y", lambda x, y: [(1, 0), (0, 1 / x)])
    assert "jumps" in failures(bad)["smoothness"]
    good = sr.Structure.define(
        "good", "x y", lambda q: [(1, 0), (0, 1 / q.x)], domain={"x": (0, None)}
    )
    assert failures(good) == {}


def test_a_wrong_inner_product_is_caught():
    def plane(metric):
        return structure_by_hand("x y", lambda x, y: [(1, 0), (0, 1)], metric)

    skew = plane(lambda x, y: ca.blockcat([[2, x], [0, 2]]))
    assert "is not symmetric: entry (" in failures(skew)["inner_product"]
    negative = plane(lambda x, y: ca.blockcat([[1 - x**2, 0], [0, 1]]))
    assert "<f1, f1> = -" in failures(negative)["inner_product"]
    indefinite = plane(lambda x, y: ca.blockcat([[1, x], [x, 1]]))
    assert "not positive definite" in failures(indefinite)["inner_product"]
    tiny = plane(lambda x, y: ca.blockcat([[1e12, 0.5], [0.5, 1e-12]]))
    assert "inner_product" not in failures(tiny)


@pytest.mark.parametrize("period", [3.0, 6.28, 4 * np.pi / 3])
def test_a_wrong_period_is_caught(period):
    bad = structure_by_hand(
        "x theta", lambda x, t: [(ca.sin(t), 0), (0, 1)], periods={"theta": period}
    )
    assert f"period {period:.6g} in theta is wrong" in failures(bad)["periods"]


def test_a_small_term_without_the_period_is_caught():
    bad = structure_by_hand(
        "x theta",
        lambda x, t: [(ca.sin(t) + 1e-11 * t, 0), (0, 1)],
        periods={"theta": 2 * np.pi},
    )
    assert "periods" in failures(bad)
    good = structure_by_hand(
        "x theta", lambda x, t: [(ca.sin(t), 0), (0, 1)], periods={"theta": 4 * np.pi}
    )
    assert "periods" not in failures(good)


def bracket_off(f, g, state, a, b):
    return ca.densify(a * ca.jtimes(g, state, f) - b * ca.jtimes(f, state, g))


@pytest.mark.parametrize(
    ("a", "b", "caught"),
    [
        # the other sign is a Lie bracket too
        (-1, -1, {"brackets_against_differences", "brackets_against_flows"}),
        (1 + 1e-6, 1 + 1e-6, {"brackets_against_differences", "brackets_against_flows"}),
        (
            1,
            -1,
            {"brackets_against_differences", "brackets_against_flows", "bracket_algebra"},
        ),
        (1, 1 + 1e-9, {"brackets_against_differences", "bracket_algebra"}),
    ],
)
def test_wrong_brackets_are_caught(monkeypatch, a, b, caught):
    monkeypatch.setattr(
        bracket_checks, "lie_bracket", lambda f, g, state: bracket_off(f, g, state, a, b)
    )
    bent = sr.Structure.define(
        "bent", "x y z", lambda q: [(1, ca.sin(q.z), q.y), (q.z * q.x, 1, ca.exp(q.x / 2))]
    )
    assert caught <= set(failures(bent)) <= {*caught, "brackets_against_flows"}


def test_fields_that_leave_their_chart_at_once_do_not_stop_the_check():
    narrow = sr.Structure.define(
        "narrow", "x y", lambda q: [(1, 0), (0, q.x)], domain={"x": (0, 1e-3)}
    )
    assert failures(narrow) == {}


def naive_flag(structure, points):
    """Growth by singular values and one tolerance: what the equivariance checks are for."""
    first = structure.frame_at(points)
    bracket = structure.evaluate("bracket", sr.named_bracket(structure, "[f1,f2]"), points)
    ranks = []
    for vectors in (first, np.concatenate([first, bracket], axis=2)):
        values = np.linalg.svd(vectors, compute_uv=False)
        ranks.append((values > 1e-9 * values[:, :1]).sum(axis=1))
    ranks = np.stack(ranks, axis=1)
    return xr.Dataset(
        {
            "growth_vector": (("point", "step"), ranks),
            "degree_of_nonholonomy": ("point", np.full(len(points), 2)),
            "status": ("point", np.full(len(points), "filled")),
        }
    )


def test_a_rank_by_singular_values_is_caught_by_scaling(monkeypatch):
    monkeypatch.setattr(flag_checks, "lie_flag", naive_flag)
    message = failures(sr.models.heisenberg())["growth_under_scaling"]
    assert "is (2, 3), filled, and (" in message
    assert "one of the two is decided wrongly" in message


class Forgetful(sr.Structure):
    """Does not come back from its pickle as it was."""

    def __setstate__(self, state):
        super().__setstate__({**state, "bounds": {}})


class Crooked(sr.Structure):
    """Does not move its fields with the coordinates."""

    def change_coordinates(self, coordinates, forward, inverse, **given):
        moved = super().change_coordinates(coordinates, forward, inverse, **given)
        return structure_by_hand(
            " ".join(moved.coordinates),
            lambda *z: [
                column.elements()
                for column in ca.horzsplit(
                    ca.substitute(self.frame, self.state, ca.vertcat(*inverse(z)))
                )
            ],
        )


class Unordered(sr.Structure):
    """Reads the values of a dict in the order in which they were written."""

    def points(self, at, what="point"):
        if isinstance(at, xr.DataArray):
            at = at.values if at.dims[-1] == "coordinate" else at.values.T
        return super().points(at, what)


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (Forgetful, "pickle", "bounds is {} after a pickle, was {'x': (-2.0, 2.0)}"),
        (Crooked, "coordinates_and_back", "after a change of coordinates and back"),
        (Unordered, "points", "points given as a DataArray in another order"),
    ],
)
def test_structures_that_do_not_survive_are_caught(kind, check, message):
    bad = structure_by_hand(
        "x y z",
        lambda x, y, z: [(1, 0, -y / 2), (0, 1, x / 2)],
        kind=kind,
        bounds={"x": (-2.0, 2.0)},
    )
    assert message in failures(bad)[check]


def test_a_function_that_fails_or_makes_something_else_has_one_check():
    def broken():
        raise ZeroDivisionError("no wheel")

    for source, said in ((broken, "ZeroDivisionError: no wheel"), (lambda: 3, "got int")):
        (outcome,) = run_checks(Model(source, name="cart"))
        assert outcome.check == "definition"
        assert said in outcome.message


def test_what_a_check_does_not_foresee_is_a_failure_and_not_a_stop():
    model = Model(sr.models.car(), [Truth((0, 0, 0, 5), (2, 3, 4))])
    found = failures(model)
    assert found["truths"].startswith("InputError: at: point [0.0, 0.0, 0.0, 5.0]")
    assert "pickle" not in found


def test_a_model_is_made_of_a_structure_and_truths():
    with pytest.raises(InputTypeError, match="a Structure or a callable"):
        Model(3)
    with pytest.raises(InputTypeError, match="expected Truth"):
        Model(sr.models.heisenberg(), [(0, 0, 0)])
    with pytest.raises(InputError, match="name"):
        Model(sr.models.heisenberg)
    with pytest.raises(InputTypeError, match="a Model or a Structure"):
        checks_of("heisenberg")
