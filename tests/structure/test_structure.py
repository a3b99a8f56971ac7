import math
import pickle
from fractions import Fraction

import casadi as ca
import numpy as np
import pytest
import xarray as xr
from casadi import cos, exp, sin, tan

import subriem as sr
from subriem.errors import InputError, InputTypeError


def heisenberg():
    return sr.Structure.define("heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)])


def car():
    return sr.Structure.define(
        "car",
        "x y theta phi",
        lambda q, p: [
            (cos(q.theta), sin(q.theta), tan(q.phi) / p.length, 0),
            (0, 0, 0, 1),
        ],
        parameters={"length": 2.0},
        periodic=("theta",),
        domain={"phi": (-np.pi / 2, np.pi / 2)},
    )


def test_frame_at_one_point_and_at_a_batch():
    points = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    expected = np.array([[[1, 0], [0, 1], [0, 0]], [[1, 0], [0, 1], [-1, 0.5]]], dtype=float)
    structure = heisenberg()
    np.testing.assert_array_equal(structure.frame_at(points), expected)
    np.testing.assert_array_equal(structure.frame_at(points[1]), expected[1])
    assert structure.orthonormal


@pytest.mark.parametrize(
    "at",
    [
        [1, 2, 3],
        np.array([1.0, 2.0, 3.0]),
        {"z": 3, "x": 1, "y": 2},
        [Fraction(1), "4/2", "9/3"],
        xr.DataArray([3.0, 1.0, 2.0], dims="coordinate", coords={"coordinate": ["z", "x", "y"]}),
        xr.DataArray([1.0, 2.0, 3.0], dims="coordinate"),
    ],
    ids=["list", "array", "dict", "exact", "labelled", "unlabelled"],
)
def test_points_are_read_from_what_users_hold(at):
    np.testing.assert_array_equal(heisenberg().points(at), [1.0, 2.0, 3.0])


def test_a_dict_of_arrays_is_a_batch():
    read = heisenberg().points({"x": [1, 2], "y": 0, "z": np.array([3.0, 4.0])})
    np.testing.assert_array_equal(read, [[1, 0, 3], [2, 0, 4]])


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ([1, 2], r"expected shape \(3,\)"),
        ([[1, 2, 3], [4, 5]], "rows of one length"),
        ({"x": 1, "y": 2}, "missing: z"),
        ({"x": 1, "y": 2, "z": 3, "w": 4}, "unknown: w"),
        ([1, 2, np.nan], "not finite"),
        (["one", 2, 3], "'one'"),
        (["1/0", 2, 3], "divides by zero"),
        (["__import__('os')", 2, 3], "expected integers"),
    ],
)
def test_points_that_cannot_be_right_are_refused(at, message):
    with pytest.raises(InputError, match=message):
        heisenberg().points(at)


def test_velocity_is_the_frame_times_the_control():
    assert heisenberg().velocity([2, 4, 0], [3, 5]) == pytest.approx([3, 5, -6 + 5])
    with pytest.raises(InputError, match=r"control: expected shape \(2,\)"):
        heisenberg().velocity([2, 4, 0], [3, 5, 1])


def test_parameters_have_defaults_and_are_changed_by_a_copy():
    structure = car()
    longer = structure.with_parameters(length=4)
    at = [0, 0, 0, 0.5]
    assert structure.frame_at(at)[2, 0] == pytest.approx(np.tan(0.5) / 2)
    assert longer.frame_at(at)[2, 0] == pytest.approx(np.tan(0.5) / 4)
    with pytest.raises(InputError, match="no parameter width; there are length"):
        structure.with_parameters(width=1)
    with pytest.raises(InputError, match="not finite"):
        structure.with_parameters(length=np.inf)


def test_the_chart_bounds_points_and_samples():
    structure = car()
    assert structure.inside([0, 0, 0, 0])
    assert not structure.inside([0, 0, 0, 2.0])
    samples = structure.sample(200, np.random.default_rng(0))
    assert structure.inside(samples).all()
    assert np.abs(samples[:, 2]).max() <= np.pi
    disc = sr.Structure.define(
        "disc", "x y", lambda q: [(1, 0)], domain=lambda q: [1 - q.x**2 - q.y**2]
    )
    assert (np.square(disc.sample(50)).sum(axis=1) < 1).all()


def test_wrap_brings_angles_next_to_zero():
    wrapped = car().wrap([[0, 0, 7.0, 0], [0, 0, -3.5, 0]])
    np.testing.assert_allclose(wrapped[:, 2], [7.0 - 2 * np.pi, -3.5 + 2 * np.pi])


@pytest.mark.parametrize("make", [heisenberg, car])
def test_structures_pickle(make):
    structure = make()
    again = pickle.loads(pickle.dumps(structure))
    at = structure.sample(3)
    np.testing.assert_array_equal(again.frame_at(at), structure.frame_at(at))
    assert repr(again) == repr(structure)
    assert ca.is_equal(
        ca.jacobian(again.frame[:, 0], again.state).sparsity(),
        ca.jacobian(structure.frame[:, 0], structure.state).sparsity(),
    )


def test_compiled_functions_are_built_once():
    structure = heisenberg()
    structure.frame_at([0, 0, 0])
    first = structure.cached(("function", "frame"), lambda: None)
    structure.frame_at([[0, 0, 0]] * 4)
    assert structure.cached(("function", "frame"), lambda: None) is first


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("s", "x y", lambda q: [(1, 0, 0)]), InputError, "field f1: expected 2 entries, got 3"),
        (("s", "x y", lambda q: [(1, q.w)]), InputError, "no coordinate 'w'; there are x, y"),
        (("s", "x y", lambda q: [(1, ca.SX.sym("k"))]), InputError, "k is neither coordinate"),
        (("s", "x y", lambda q: [(1, "a")]), InputTypeError, "entry 1"),
        (("s", "x y", lambda q: [(1, np.sin)]), InputTypeError, "entry 1"),
        (("s", "x y", lambda q: [(1, float("nan"))]), InputError, "finite"),
        (("s", "x y", lambda q: [(1, ca.log(-exp(q.x)))]), InputError, "not finite at the sample"),
        (("s", "x y", lambda q: [(1, math.sin(q.x))]), InputError, "use CasADi's"),
        (("s", "x x", lambda q: [(1, 0)]), InputError, "more than once"),
        (("s", "x 2y", lambda q: [(1, 0)]), InputError, "'2y'"),
        (("s", "", lambda q: [()]), InputError, "at least one"),
        (("s", "x", lambda q: []), InputTypeError, "list of tuples"),
        (("s", "x", [(1,)]), InputTypeError, "function of q"),
    ],
)
def test_frames_that_cannot_be_right_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        sr.Structure.define(*arguments)


@pytest.mark.parametrize(
    ("inner_product", "message"),
    [
        (lambda q: [[1, 0], [0, -1]], "symmetric positive definite"),
        (lambda q: [[1, 2], [0, 1]], "symmetric positive definite"),
        (lambda q: [[1, 0]], "expected 2 rows, got 1"),
        (lambda q: [[1, 0], [0]], "expected 2 entries, got 1"),
        (lambda q: np.eye(3), r"expected shape \(2, 2\)"),
    ],
)
def test_inner_products_that_cannot_be_right_are_refused(inner_product, message):
    with pytest.raises(InputError, match=message):
        sr.Structure.define("s", "x y", lambda q: [(1, 0), (0, 1)], inner_product=inner_product)


def test_a_period_that_the_frame_does_not_have_is_refused():
    with pytest.raises(InputError, match="does not have period"):
        sr.Structure.define("s", "x y", lambda q: [(1, q.x)], periodic=("x",))
    with pytest.raises(InputError, match="no coordinate z"):
        sr.Structure.define("s", "x y", lambda q: [(1, 0)], periodic=("z",))


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ({"z": (0, 1)}, "no coordinate z"),
        ({"x": (1, 0)}, "low < high"),
        ({"x": 3}, r"expected \(low, high\)"),
        (lambda q: [-1 - q.x**2], "no points found inside"),
    ],
)
def test_charts_that_cannot_be_right_are_refused(domain, message):
    with pytest.raises(InputError, match=message):
        sr.Structure.define("s", "x y", lambda q: [(1, 0)], domain=domain)


def test_inner_product_and_metric():
    structure = sr.Structure.define(
        "s", "x y", lambda q: [(1, 0), (0, 1)], inner_product=lambda q: [[1, 0], [0, exp(q.x)]]
    )
    assert not structure.orthonormal
    np.testing.assert_allclose(structure.metric_at([1, 0]), [[1, 0], [0, np.e]])


# ------------------------------------------------------------------ constraints


def rank_and_residual(structure, forms, points):
    frames = structure.frame_at(points)
    return (
        np.linalg.matrix_rank(frames),
        max(np.abs(forms(q) @ frame).max() for q, frame in zip(points, frames, strict=True)),
    )


def test_the_cart_has_a_frame_at_every_angle():
    cart = sr.Structure.from_constraints(
        "cart", "x y theta", lambda q: [(sin(q.theta), -cos(q.theta), 0)], periodic=("theta",)
    )
    angles = np.linspace(-np.pi, np.pi, 721)
    points = np.column_stack([0 * angles, 0 * angles, angles])

    def forms(q):
        return np.array([[np.sin(q[2]), -np.cos(q[2]), 0]])

    ranks, residual = rank_and_residual(cart, forms, points)
    assert (ranks == 2).all()
    assert residual < 1e-14
    # orthonormal in the coordinates' inner product, as its metric says
    frames = cart.frame_at(points)
    np.testing.assert_allclose(
        np.swapaxes(frames, 1, 2) @ frames, np.broadcast_to(np.eye(2), (721, 2, 2)), atol=1e-14
    )


def test_a_contact_form_gives_a_polynomial_frame_with_the_induced_metric():
    contact = sr.Structure.from_constraints("contact", "x y z", lambda q: [(-q.y, 0, 1)])
    frame, metric = contact.frame_at([0, 3, 0]), contact.metric_at([0, 3, 0])
    np.testing.assert_array_equal(frame, [[1, 0], [0, 1], [3, 0]])
    np.testing.assert_array_equal(metric, frame.T @ frame)


def test_two_forms_of_a_car_with_front_wheels():
    def symbols(q):
        return [
            (sin(q.theta + q.phi), -cos(q.theta + q.phi), -cos(q.phi), 0),
            (sin(q.theta), -cos(q.theta), 0, 0),
        ]

    def numbers(q):
        theta, phi = q[2], q[3]
        return np.array(
            [
                [np.sin(theta + phi), -np.cos(theta + phi), -np.cos(phi), 0],
                [np.sin(theta), -np.cos(theta), 0, 0],
            ]
        )

    front = sr.Structure.from_constraints(
        "front", "x y theta phi", symbols, periodic=("theta",), domain={"phi": (-1.2, 1.2)}
    )
    points = front.sample(500, np.random.default_rng(4))
    ranks, residual = rank_and_residual(front, numbers, points)
    assert (ranks == 2).all()
    assert residual < 1e-13


def test_constraints_that_cannot_be_right_are_refused():
    with pytest.raises(InputError, match="expected 2 independent forms"):
        sr.Structure.from_constraints("s", "x y z", lambda q: [(1, 0, 0), (2, 0, 0)])
    with pytest.raises(InputError, match="leave no motion"):
        sr.Structure.from_constraints("s", "x y", lambda q: [(1, 0), (0, 1)])
    with pytest.raises(InputError, match="form 1: expected 2 entries"):
        sr.Structure.from_constraints("s", "x y", lambda q: [(1, 0, 0)])


def test_an_ambient_inner_product_is_restricted():
    contact = sr.Structure.from_constraints(
        "contact", "x y z", lambda q: [(-q.y, 0, 1)], inner_product=lambda q: np.diag([1, 2, 4])
    )
    np.testing.assert_array_equal(contact.metric_at([0, 3, 0]), [[1 + 4 * 9, 0], [0, 2]])


# ------------------------------------------------------------------ combinations


def test_product_moves_both_factors():
    both = sr.product(heisenberg(), car())
    assert both.coordinates == ("x_1", "y_1", "z", "x_2", "y_2", "theta", "phi")
    assert both.rank == 4
    assert both.periods == {"theta": 2 * np.pi}
    assert "phi" in both.bounds
    at = np.array([1, 2, 3, 4, 5, 0.3, 0.4])
    frame = both.frame_at(at)
    np.testing.assert_allclose(frame[:3, :2], heisenberg().frame_at(at[:3]))
    np.testing.assert_allclose(frame[3:, 2:], car().frame_at(at[3:]))
    assert not frame[:3, 2:].any()
    assert not frame[3:, :2].any()
    assert not both.inside([0, 0, 0, 0, 0, 0, 2.0])


def test_direct_sum_joins_fields_on_one_space():
    first, second = heisenberg().restrict(["f1"]), heisenberg().restrict([1])
    again = sr.direct_sum(first, second)
    at = heisenberg().sample(4)
    np.testing.assert_array_equal(again.frame_at(at), heisenberg().frame_at(at))
    with pytest.raises(InputError, match="coordinates differ"):
        sr.direct_sum(heisenberg(), car())


def test_restriction_refuses_what_is_not_there():
    with pytest.raises(InputError, match="no field 'f3'"):
        heisenberg().restrict(["f3"])
    with pytest.raises(InputError, match="different fields"):
        heisenberg().restrict([0, 0])


def test_polar_coordinates():
    plane = sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)], domain={"x": (0, None)})
    polar = plane.change_coordinates(
        "r phi",
        lambda q: (ca.sqrt(q.x**2 + q.y**2), ca.atan2(q.y, q.x)),
        lambda z: (z.r * cos(z.phi), z.r * sin(z.phi)),
        domain={"r": (0, None), "phi": (-1.5, 1.5)},
    )
    r, phi = 2.0, 0.7
    np.testing.assert_allclose(
        polar.frame_at([r, phi]),
        [[np.cos(phi), np.sin(phi)], [-np.sin(phi) / r, np.cos(phi) / r]],
    )


def test_maps_that_are_not_inverse_to_each_other_are_refused():
    with pytest.raises(InputError, match="expected to be inverse"):
        heisenberg().change_coordinates(
            "a b c", lambda q: (q.x, q.y, q.z + q.x), lambda z: (z.a, z.b, z.c)
        )


def test_drift():
    integrator = sr.Structure.define(
        "integrator", "x v", lambda q: [(0, 1)], drift=lambda q: (q.v, 0)
    )
    assert integrator.velocity([0, 3], [2]) == pytest.approx([3, 2])
    assert "drift" in repr(integrator)
    with pytest.raises(InputError, match="drift: expected 2 entries"):
        sr.Structure.define("s", "x v", lambda q: [(0, 1)], drift=lambda q: (q.v,))
