"""Taylor polynomials in two variables against mpmath's Taylor coefficients along lines."""

import casadi as ca
import mpmath
import numpy as np
import pytest

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.arithmetic.truncated_polynomials import TruncatedPolynomials, count_monomials
from subriem.errors import InputError

DEGREE = 5
AT = (0.4, -0.3)
LINES = [(1.0, 0.0), (0.0, 1.0), (0.7, -1.3), (-0.4, 0.9)]

# name: the same function of (x, y) in CasADi and in mpmath
CASES = {
    "product": (lambda x, y: x * y - 3 * x, lambda x, y: x * y - 3 * x),
    "inverse": (lambda x, y: 1 / (1 + x * y), lambda x, y: 1 / (1 + x * y)),
    "quotient": (lambda x, y: (x - y) / (2 + y), lambda x, y: (x - y) / (2 + y)),
    "square": (lambda x, y: (x + y) ** 2, lambda x, y: (x + y) ** 2),
    "cube": (lambda x, y: (x + 0.75 * y) ** 3, lambda x, y: (x + 0.75 * y) ** 3),
    "power": (lambda x, y: (2 + x * y) ** 2.5, lambda x, y: (2 + x * y) ** mpmath.mpf(2.5)),
    "x^y": (lambda x, y: (2 + x) ** y, lambda x, y: (2 + x) ** y),
    "sqrt": (lambda x, y: ca.sqrt(2 + x * y), lambda x, y: mpmath.sqrt(2 + x * y)),
    "hypot": (ca.hypot, mpmath.hypot),
    "exp": (lambda x, y: ca.exp(x * y), lambda x, y: mpmath.exp(x * y)),
    "expm1": (lambda x, y: ca.expm1(x + y), lambda x, y: mpmath.expm1(x + y)),
    "log": (lambda x, y: ca.log(2 + x + y), lambda x, y: mpmath.log(2 + x + y)),
    "log1p": (lambda x, y: ca.log1p(x * y), lambda x, y: mpmath.log1p(x * y)),
    "sin": (lambda x, y: ca.sin(x - 2 * y), lambda x, y: mpmath.sin(x - 2 * y)),
    "cos": (lambda x, y: ca.cos(x * y + x), lambda x, y: mpmath.cos(x * y + x)),
    "tan": (lambda x, y: ca.tan(x - y), lambda x, y: mpmath.tan(x - y)),
    "asin": (lambda x, y: ca.asin(x * y), lambda x, y: mpmath.asin(x * y)),
    "acos": (lambda x, y: ca.acos(x * y), lambda x, y: mpmath.acos(x * y)),
    "atan": (lambda x, y: ca.atan(x - y), lambda x, y: mpmath.atan(x - y)),
    "sinh": (lambda x, y: ca.sinh(x - y), lambda x, y: mpmath.sinh(x - y)),
    "cosh": (lambda x, y: ca.cosh(x - y), lambda x, y: mpmath.cosh(x - y)),
    "tanh": (lambda x, y: ca.tanh(x - y), lambda x, y: mpmath.tanh(x - y)),
    "asinh": (lambda x, y: ca.asinh(x - y), lambda x, y: mpmath.asinh(x - y)),
    "acosh": (lambda x, y: ca.acosh(2 + x * y), lambda x, y: mpmath.acosh(2 + x * y)),
    "atanh": (lambda x, y: ca.atanh(x * y), lambda x, y: mpmath.atanh(x * y)),
    "erf": (lambda x, y: ca.erf(x - y), lambda x, y: mpmath.erf(x - y)),
    "atan2": (ca.atan2, mpmath.atan2),
    "atan2, negative x": (lambda x, y: ca.atan2(x, y), lambda x, y: mpmath.atan2(x, y)),
    "fabs": (lambda x, y: ca.fabs(x * y), lambda x, y: -x * y),
    "fmax": (lambda x, y: ca.fmax(x**2, y), lambda x, y: x**2),
    "if_else": (lambda x, y: ca.if_else(x < y, x, ca.sin(y)), lambda x, y: mpmath.sin(y)),
}


def exact_ring(weights=(1, 1), degree=DEGREE):
    return TruncatedPolynomials(weights, degree, PerturbedFloats(0.0, copies=0))


def taylor_polynomial(function, ring, at):
    x, y = ca.SX.sym("x"), ca.SX.sym("y")
    program = Program(ca.Function("f", [x, y], [function(at[0] + x, at[1] + y)]))
    ((value,),) = program.run(ring, [ring.variable(0)], [ring.variable(1)])
    return value


@pytest.mark.parametrize("name", CASES)
def test_coefficients_are_those_of_mpmath_along_lines(name):
    function, reference = CASES[name]
    ring = exact_ring()
    value = taylor_polynomial(function, ring, AT)[0]
    with mpmath.workdps(40):
        for a, b in LINES:
            expected = mpmath.taylor(
                lambda t, a=a, b=b: reference(AT[0] + a * t, AT[1] + b * t), 0, DEGREE
            )
            along = value * a ** ring.exponents[:, 0] * b ** ring.exponents[:, 1]
            found = [along[ring.degrees == k].sum() for k in range(DEGREE + 1)]
            np.testing.assert_allclose(found, np.array(expected, dtype=float), atol=1e-12)


def test_weighted_polynomials_are_the_plain_ones_without_high_terms():
    def function(x, y):
        return ca.exp(x) * ca.sin(x + y) / (1 + y)

    plain, weighted = exact_ring(), exact_ring((1, 2))
    expected = taylor_polynomial(function, plain, AT)[0]
    found = taylor_polynomial(function, weighted, AT)[0]
    assert weighted.exponents.tolist() == [
        [a, b] for total in range(6) for b in range(total // 2 + 1) for a in [total - 2 * b]
    ]
    for monomial, value in zip(weighted.exponents, found, strict=True):
        assert value == pytest.approx(expected[plain.place(monomial)], abs=1e-13)


def test_a_variable_heavier_than_the_degree_is_zero():
    ring = exact_ring((1, 4), 3)
    assert not ring.variable(1).any()


def test_derivative_against_casadi():
    x, y = ca.SX.sym("x"), ca.SX.sym("y")

    def function(x, y):
        return ca.exp(x * y) + x**3 * y

    slope = ca.Function("slope", [x, y], [ca.jacobian(function(x, y), y)])
    ring = exact_ring()
    found = ring.derivative(taylor_polynomial(function, ring, AT), 1)[0]
    expected = taylor_polynomial(slope, ring, AT)[0]
    known = ring.degrees < DEGREE
    np.testing.assert_allclose(found[known], expected[known], atol=1e-13)
    assert not found[~known].any()


def test_whole_powers_at_zero():
    ring = exact_ring((1, 1), 12)
    value = taylor_polynomial(lambda x, y: x**11, ring, (0.0, 0.0))[0]
    expected = np.zeros(ring.size)
    expected[ring.place((11, 0))] = 1.0
    np.testing.assert_array_equal(value, expected)


def test_copies_tell_what_a_coefficient_is_worth():
    ring = TruncatedPolynomials((1, 1), 2, PerturbedFloats(1e-11))
    value = taylor_polynomial(lambda x, y: ca.cos(x), ring, (np.pi / 2, 0.0))
    spread = np.abs(value - value[0]).max(axis=0)
    constant, linear = ring.place((0, 0)), ring.place((1, 0))
    assert abs(value[0, constant]) < spread[constant] < 1e-10
    assert value[0, linear] == pytest.approx(-1.0, abs=1e-15)
    assert spread[linear] < 1e-10


def test_terms_that_cancel_within_a_number_do_not_look_exact():
    # 0.1 + 0.2 - 0.3 is not 0 in floats; equal perturbations of all coefficients would hide it
    ring = TruncatedPolynomials((1, 1), 2, PerturbedFloats(1e-11))
    x, y = ring.variable(0), ring.variable(1)
    a = ring.add(ring.mul(ring.constant(0.1), x), ring.mul(ring.constant(0.3), y))
    b = ring.add(ring.mul(ring.constant(-0.3), x), ring.mul(ring.constant(0.9), y))
    mixed = ring.mul(a, b)[:, ring.place((1, 1))]
    assert np.abs(mixed[1:] - mixed[0]).max() > 1e3 * abs(mixed[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: ca.fabs(x),
        lambda x, y: ca.if_else(ca.log(x) < 0, x, y),
        lambda x, y: ca.fmin(x, y),
        lambda x, y: ca.if_else(x < y, x, y),
        lambda x, y: ca.if_else(x == y, x, y),
        lambda x, y: ca.sign(y),
    ],
)
def test_a_kink_at_the_point_is_refused(function):
    ring = TruncatedPolynomials((1, 1), 2, PerturbedFloats(1e-11))
    with pytest.raises(InputError, match="kink"):
        taylor_polynomial(function, ring, (0.0, 0.0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: ca.sqrt(x**2 + 3 * y**2),
        lambda x, y: x**2 / x,
        lambda x, y: x * y * ca.log(x),
        lambda x, y: (x * y) ** 1.5,
        lambda x, y: ca.hypot(x, y),
        lambda x, y: ca.atan2(x, y),
    ],
)
def test_what_is_not_smooth_is_nan_although_its_argument_is_truncated(function):
    # of degree 1: x^2 + 3 y^2 is truncated to 0, but its root is not 0
    assert np.isnan(taylor_polynomial(function, exact_ring((1, 1), 1), (0.0, 0.0))).all()


def test_unknown_operations_are_named():
    with pytest.raises(InputError, match="fmod"):
        taylor_polynomial(lambda x, y: ca.fmod(x, y), exact_ring(), (1.0, 2.0))


def test_arguments_out_of_range_are_refused():
    with pytest.raises(InputError, match="positive weights"):
        exact_ring((1, 0))
    with pytest.raises(InputError, match="degree >= 0"):
        exact_ring((1,), -1)
    with pytest.raises(InputError, match="too large"):
        exact_ring((1,) * 8, 12)


@pytest.mark.parametrize(("n", "degree"), [(1, 7), (3, 4), (8, 5)])
def test_number_of_monomials_is_a_binomial_coefficient(n, degree):
    assert count_monomials([1] * n, degree) == mpmath.binomial(n + degree, degree)
