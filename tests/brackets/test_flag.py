import math
import sys
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

import subriem as sr
from subriem.arithmetic.exact import to_float
from subriem.errors import InputError, InputTypeError, NumericalError

sys.path.insert(0, str(Path(__file__).parent))
from growth_cases import BY_NAME, ENTRIES, structure


def reached(flag):
    """The growth vector up to where it is final."""
    vector = flag.growth_vector.values.tolist()
    return vector[: int(flag.degree_of_nonholonomy) or None]


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["name"] for entry in ENTRIES])
def test_published_growth_vectors(entry):
    flag = sr.lie_flag(structure(entry), entry["point"])
    if entry["name"] == "exp_flat_at_0":
        # of infinite type: no order decides it
        assert flag.growth_vector.values.tolist() == [1] * 32
        assert flag.status == "not decided at step 32"
        assert not flag.bracket_generating
        return
    assert reached(flag) == entry["growth"]
    assert bool(flag.bracket_generating) == entry["full"]
    assert flag.status == ("filled" if entry["full"] else "closed")
    # far from the threshold on both sides, and it says so
    assert float(flag.accepted.min()) > 1e3
    assert float(flag.rejected.max()) < 10


@pytest.mark.parametrize(
    "name",
    [
        "Martinet_on2",
        "Engel",
        "KumperaRuiz5_sing",
        "Goursat6_RVV",
        "trailer3_T",
        "free_2_3",
        "rolling_sphere_off",
        "conserved_nonlinear",
        "SE3_w2v1",
        "Grushin_regular",
        "redundant_frame",
    ],
)
def test_units_change_nothing(name):
    entry = BY_NAME[name]
    generator = np.random.default_rng(5)
    for _ in range(3):
        fields = 10.0 ** generator.integers(-6, 7, len(entry["frame"]))
        units = 10.0 ** generator.integers(-6, 7, len(entry["coords"]))
        scaled = structure(entry, fields.tolist(), units.tolist())
        at = [to_float(value) * unit for value, unit in zip(entry["point"], units, strict=True)]
        flag = sr.lie_flag(scaled, at)
        assert reached(flag) == entry["growth"]
        assert bool(flag.bracket_generating) == entry["full"]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_trailers_at_right_angles_have_fibonacci_degree(n):
    """F. Jean, *The car with n trailers: characterization of the singular configurations* (1996):
    the degree of nonholonomy is at most the Fibonacci number F_{n+3}, reached at right angles."""
    fibonacci = [1, 1]
    while len(fibonacci) < n + 3:
        fibonacci.append(sum(fibonacci[-2:]))
    right = {"x": 0, "y": 0, **{f"th{k}": f"{-k}*pi/2" for k in range(n + 1)}}
    flag = sr.lie_flag(sr.models.trailers(n), right)
    assert int(flag.degree_of_nonholonomy) == fibonacci[-1]
    # each weight is again a Fibonacci number
    assert flag.weight.values.tolist() == [1, 1, *fibonacci[2 : n + 3]]
    assert not flag.regular


def test_a_batch_agrees_with_its_points():
    trailers = sr.models.trailers(2)
    generator = np.random.default_rng(0)
    points = generator.uniform(-3, 3, (40, 5))
    points[::3, 3] = points[::3, 2] + np.pi / 2
    batch = sr.lie_flag(trailers, points)
    assert batch.growth_vector.dims == ("point", "step")
    for k in (0, 1, 2, 3):
        alone = sr.lie_flag(trailers, points[k])
        assert reached(alone) == reached(batch.isel(point=k))
        assert alone.regular == batch.regular[k]
    # singular exactly where the first trailer is at a right angle to the tractor
    np.testing.assert_array_equal(batch.regular, np.arange(40) % 3 != 0)


def test_a_batch_larger_than_a_chunk_mixes_named_and_path_levels():
    trailers = sr.models.trailers(3)
    points = np.zeros((700, 6))
    points[::100, 3:] = [-np.pi / 2, -np.pi, -3 * np.pi / 2]
    flag = sr.lie_flag(trailers, points)
    degrees = flag.degree_of_nonholonomy.values
    assert (degrees[::100] == 8).all()
    assert (np.delete(degrees, np.arange(0, 700, 100)) == 5).all()


def test_the_adapted_frame_spans_the_flag():
    flag = sr.lie_flag(sr.models.engel(), [0.3, -1, 2, 0.1])
    assert flag.bracket.values.tolist() == ["f1", "f2", "[f1,f2]", "[f1,[f1,f2]]"]
    assert flag.weight.values.tolist() == [1, 1, 2, 3]
    assert float(flag.homogeneous_dimension) == 1 + 1 + 2 + 3
    engel = sr.models.engel()
    for k, name in enumerate(flag.bracket.values):
        value = engel.evaluate(str(name), sr.named_bracket(engel, str(name)), [0.3, -1, 2, 0.1])
        np.testing.assert_allclose(flag.adapted_frame[:, k], value[:, 0], atol=1e-14)


def test_homogeneous_dimension_is_nan_where_the_flag_does_not_fill():
    flag = sr.lie_flag(sr.models.integrable_saddle(), [1, 2, 3])
    assert flag.status == "closed"
    assert math.isnan(float(flag.homogeneous_dimension))


def test_max_step_says_not_decided():
    martinet = sr.models.martinet()
    flag = sr.lie_flag(martinet, [0, 0, 0], max_step=2)
    assert flag.growth_vector.values.tolist() == [2, 2]
    assert flag.status == "not decided at step 2"
    assert int(flag.degree_of_nonholonomy) == 0
    with pytest.raises(NumericalError, match="not decided at step 2"):
        sr.lie_flag(martinet, [0, 0, 0], max_step=2, strict=True)


def test_a_point_just_off_the_singular_locus_is_regular_and_one_on_it_to_rounding_is_not():
    trailers = sr.models.trailers(2)
    off = [0, 0, np.pi / 2 + 1e-7, 0, 0]
    on = [0, 0, np.pi / 2 + 4e-16, 0, 0]
    assert sr.lie_flag(trailers, off).regular
    assert not sr.lie_flag(trailers, on).regular


def test_equivariance_under_a_change_of_coordinates():
    martinet = sr.models.martinet()
    bent = martinet.change_coordinates(
        "u v w",
        lambda q: (q.x + q.y**3, q.y, q.z + q.x * q.y),
        lambda s: (s.u - s.v**3, s.v, s.w - (s.u - s.v**3) * s.v),
    )
    for x, y, z in [(0, 0.7, 1), (0.4, 0.7, 1)]:
        moved = [x + y**3, y, z + x * y]
        expected = reached(sr.lie_flag(martinet, [x, y, z]))
        assert reached(sr.lie_flag(bent, moved)) == expected


def test_products_add_growth_vectors():
    both = sr.product(sr.models.heisenberg(), sr.models.martinet())
    flag = sr.lie_flag(both, [0] * 6)
    assert reached(flag) == [2 + 2, 3 + 2, 3 + 3]


def test_constants_that_cancel_are_no_direction():
    """0.1 * 3 - 0.3 is 5.6e-17 in floats, and CasADi would fold it into the bracket."""
    folded = sr.Structure.define(
        "folded", "x y z", lambda q: [(0.1, 0.3, 0), (0, 0, 3 * q.x - q.y)]
    )
    flag = sr.lie_flag(folded, [0, 0, 0])
    assert reached(flag) == [1] or flag.growth_vector.values.tolist()[0] == 1
    assert int(flag.growth_vector.max()) == 1
    # rotated by an angle whose sine and cosine are not fractions
    c, s = math.cos(0.7), math.sin(0.7)
    chained = sr.models.chained_form(5).change_coordinates(
        "a b x3 x4 x5",
        lambda q: (c * q[0] - s * q[1], s * q[0] + c * q[1], q[2], q[3], q[4]),
        lambda z: (c * z[0] + s * z[1], -s * z[0] + c * z[1], z[2], z[3], z[4]),
    )
    assert reached(sr.lie_flag(chained, [0] * 5)) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "arguments", "units", "expected"),
    [
        ("kumpera_ruiz", ("RVR",), [6, 6, -6, -6, 6, 6], [2, 3, 4, 5, 5, 6]),
        ("kumpera_ruiz", ("RVV",), [6, 6, -6, -6, 6, 6], [2, 3, 4, 4, 5, 5, 5, 6]),
        (
            "kumpera_ruiz",
            ("RVVV",),
            [-6, 6, 6, -6, 6, -6, 6],
            [2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 7],
        ),
        ("rolling_sphere", (), [6, 6, -6, -6, 6], [2, 3, 5]),
    ],
)
def test_the_chart_may_be_in_any_units(name, arguments, units, expected):
    model = getattr(sr.models, name)(*arguments)
    factors = [10.0**unit for unit in units]
    other = model.change_coordinates(
        [f"z{k}" for k in range(model.dimension)],
        lambda q: tuple(factor * q[k] for k, factor in enumerate(factors)),
        lambda z: tuple(z[k] / factor for k, factor in enumerate(factors)),
    )
    flag = sr.lie_flag(other, [0.0] * model.dimension)
    assert reached(flag) == expected
    assert flag.status == "filled"


def test_a_field_that_is_not_analytic_is_never_called_closed():
    flat = sr.Structure.define(
        "flat", "x y", lambda q: [(1, 0), (0, ca.if_else(q.x > 0, ca.exp(-1 / q.x), 0))]
    )
    flag = sr.lie_flag(flat, [-1, 0], max_step=8)
    assert flag.status == "not decided at step 8"


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_strong_accessibility_of_chains_of_integrators(degree):
    n = degree + 1

    def drift(q):
        return (*tuple(q[k + 1] for k in range(degree)), 0)

    chain = sr.Structure.define(
        "chain", [f"x{k}" for k in range(n)], lambda q: [(0,) * degree + (1,)], drift=drift
    )
    flag = sr.strong_accessibility(chain, [0.0] * n)
    # Kalman: rank [b, Ab, ..., A^k b]
    assert reached(flag) == list(range(1, n + 1))
    assert flag.strongly_accessible


def test_strong_accessibility_can_fail_where_accessibility_holds():
    # x' = 1: time is a coordinate, so that nothing is reached at one time in an open set
    clock = sr.Structure.define("clock", "t x", lambda q: [(0, 1)], drift=lambda q: (1, 0))
    flag = sr.strong_accessibility(clock, [0, 0])
    assert reached(flag) == [1]
    assert flag.status == "closed"
    with pytest.raises(InputError, match="has no drift"):
        sr.strong_accessibility(sr.models.heisenberg(), [0, 0, 0])


def test_parameters_change_the_answer():
    tilted = sr.Structure.define(
        "tilted", "x y z", lambda q, p: [(1, 0, 0), (0, 1, p.a * q.x)], parameters={"a": 1.0}
    )
    assert reached(sr.lie_flag(tilted, [0, 0, 0])) == [2, 3]
    assert reached(sr.lie_flag(tilted.with_parameters(a=0), [0, 0, 0])) == [2]
    assert sr.lie_flag(tilted.with_parameters(a=0), [0, 0, 0]).status == "closed"


def test_the_dataset_says_where_it_comes_from():
    flag = sr.lie_flag(sr.models.heisenberg(), [0, 0, 0])
    assert flag.attrs["function"] == "lie_flag"
    assert flag.attrs["structure"].startswith("Structure heisenberg")
    assert flag.attrs["generic_growth_vector"] == [2, 3]
    assert flag.attrs["regime"] == "decided by a tolerance"


def test_a_flag_is_saved_and_read_back(tmp_path):
    flag = sr.lie_flag(sr.models.heisenberg(), [[0, 0, 0], [1, 2, 3]])
    sr.save(flag, tmp_path / "flag.nc")
    assert sr.open_results(tmp_path / "flag.nc").growth_vector.equals(flag.growth_vector)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"at": [0, 0]}, InputError, r"expected shape \(3,\)"),
        ({"at": np.zeros((0, 3))}, InputError, "at least one point"),
        ({"at": [0, 0, 0], "max_step": 0}, InputError, "at least 1"),
        ({"at": [0, 0, 0], "max_step": 2.5}, InputTypeError, "integer"),
        ({"at": [0, 0, 0], "tolerance": 1}, InputError, "tolerance"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        sr.lie_flag(sr.models.heisenberg(), **arguments)


def test_points_outside_the_chart_are_refused():
    with pytest.raises(InputError, match="outside the chart of car"):
        sr.lie_flag(sr.models.car(), [0, 0, 0, 2.0])
    pole = sr.Structure.define("pole", "x y", lambda q: [(1, 1 / q.x)])
    with pytest.raises(InputError, match="not finite"):
        sr.lie_flag(pole, [0, 0])
    with pytest.raises(InputTypeError, match="expected a Structure, got str"):
        sr.lie_flag("heisenberg", [0, 0, 0])


# ------------------------------------------------------------------ certified


@pytest.mark.parametrize(
    "entry",
    [entry for entry in ENTRIES if entry["name"] != "exp_flat_at_0"],
    ids=lambda entry: entry["name"],
)
def test_published_growth_vectors_are_certified(entry):
    flag = sr.lie_flag(structure(entry), entry["point"], certify=True)
    assert flag.certified
    assert reached(flag) == entry["growth"]
    np.testing.assert_array_equal(flag.lower_bound, flag.upper_bound)
    assert flag.attrs["regime"] == "certified"


def test_what_cannot_be_certified_says_so():
    flag = sr.lie_flag(structure(BY_NAME["exp_flat_at_0"]), [0, 0], max_step=4, certify=True)
    assert not flag.certified
    assert "if_else_zero" in str(flag.certificate.values)


def test_a_float_next_to_a_right_angle_is_not_a_right_angle():
    trailers = sr.models.trailers(2)
    exact = sr.lie_flag(trailers, [0, 0, "pi/2", 0, 0], certify=True)
    assert exact.certified
    assert reached(exact) == [2, 3, 4, 4, 5]
    rounded = sr.lie_flag(trailers, [0, 0, math.pi / 2, 0, 0], certify=True)
    assert reached(rounded) == [2, 3, 4, 4, 5]
    assert not rounded.certified
    assert "at exactly these numbers the growth vector is [2, 3, 4, 5]" in str(
        rounded.certificate.values
    )


def test_a_proof_names_the_directions_that_paths_found():
    right = {"x": 0, "y": 0, **{f"th{k}": f"{-k}*pi/2" for k in range(5)}}
    plain = sr.lie_flag(sr.models.trailers(4), right)
    proved = sr.lie_flag(sr.models.trailers(4), right, certify=True)
    assert "" in plain.bracket.values
    assert "" not in proved.bracket.values
    assert proved.certified
    for name, weight in zip(proved.bracket.values, proved.weight.values, strict=True):
        assert str(name).count(",") + 1 == weight


def test_a_batch_is_certified_point_by_point():
    martinet = sr.models.martinet()
    flag = sr.lie_flag(martinet, {"x": [0, "1/3"], "y": 0, "z": 0}, certify=True)
    assert flag.certified.values.tolist() == [True, True]
    assert flag.upper_bound.values.tolist() == [[2, 2, 3], [2, 3, 3]]


def test_a_proof_closes_a_flag_at_a_point_that_the_fields_leave_alone():
    # x and x^3 d_y: at the origin nothing moves, elsewhere the plane is filled
    still = sr.Structure.define("still", "x y", lambda q: [(q.x, 0), (0, q.x**3)])
    assert sr.lie_flag(still, [0, 0], max_step=6).status == "not decided at step 6"
    proved = sr.lie_flag(still, [0, 0], max_step=6, certify=True, strict=True)
    assert proved.status == "closed"
    assert proved.certified
    assert reached(proved) == [0]
