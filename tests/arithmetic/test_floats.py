import casadi as ca
import numpy as np
import pytest

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program

X = ca.SX.sym("x", 2)
EXPRESSIONS = {
    "field": ca.sin(X[0]) * ca.exp(X[1]) / (1 + X[0] ** 2) - ca.sqrt(X[1]) + ca.tan(X[0] * X[1]),
    "logs": ca.log(X[1]) + ca.log1p(X[0]) + ca.expm1(X[0]) + ca.erf(X[0]) + ca.tanh(X[1]),
    "inverses": ca.asin(X[0]) + ca.acos(X[0]) + ca.atan(X[1]) + ca.atan2(X[0], X[1]),
    "hyperbolic": ca.sinh(X[0])
    + ca.cosh(X[1])
    + ca.asinh(X[0])
    + ca.atanh(X[0])
    + ca.acosh(1 + X[1]),
    "choices": ca.if_else(X[0] < X[1], X[0] ** 1.5, 2.0)
    + ca.fmax(X[0], X[1])
    + ca.fabs(-X[0])
    + ca.sign(X[1])
    + ca.floor(3 * X[1])
    + ca.ceil(X[0])
    + ca.fmod(5.0, X[1])
    + ca.logic_and(X[0] <= X[1], ca.logic_not(ca.eq(X[0], X[1])))
    + ca.fmin(X[0], X[1])
    + ca.logic_or(X[0] > X[1], ca.ne(X[0], X[1]))
    + ca.hypot(X[0], X[1])
    + ca.copysign(X[0], -X[1]),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_unperturbed_row_agrees_with_casadi(name):
    function = ca.Function("f", [X], [EXPRESSIONS[name]])
    points = np.random.default_rng(0).uniform(0.1, 0.9, (50, 2))
    floats = PerturbedFloats(1e-8)
    (entries,) = Program(function).run(floats, [floats.read(column) for column in points.T])
    expected = np.asarray(function(points.T)).ravel()
    np.testing.assert_allclose(np.broadcast_to(entries[0], (6, 50))[0], expected, rtol=1e-13)


def test_cancellation_shows_in_the_copies():
    floats = PerturbedFloats(1e-10)
    x = floats.read(np.array([0.7]))
    # (x + 1) - x - 1 is zero, up to rounding here and to perturbations in the copies
    left = floats.sub(floats.sub(floats.add(x, 1.0), x), 1.0)
    assert abs(left[0, 0]) < 1e-15
    assert 1e-12 < np.abs(left[1:]).max() < 1e-9


def test_units_do_not_matter():
    small, large = PerturbedFloats(1e-10), PerturbedFloats(1e-10)
    x = np.array([0.3, 0.5])
    a = small.mul(small.read(x), small.read(x))
    b = large.mul(large.read(1e6 * x), large.read(1e6 * x))
    np.testing.assert_allclose(b, 1e12 * a, rtol=1e-14)
