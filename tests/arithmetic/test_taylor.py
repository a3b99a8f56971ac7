"""Series of every operation against mpmath's Taylor coefficients of the same function."""

import casadi as ca
import mpmath
import numpy as np
import pytest

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.arithmetic.taylor import TaylorRun
from subriem.errors import InputError

ORDERS = 7
INNER = [0.4, 0.7, -0.3, 0.2, 0.1, -0.05, 0.02]  # a(e), kept inside every domain
SHIFTED = [1.4, 0.7, -0.3, 0.2, 0.1, -0.05, 0.02]

CASES = {
    "exp": (ca.exp, mpmath.exp, INNER),
    "expm1": (ca.expm1, mpmath.expm1, INNER),
    "log": (ca.log, mpmath.log, INNER),
    "log1p": (ca.log1p, mpmath.log1p, INNER),
    "sqrt": (ca.sqrt, mpmath.sqrt, INNER),
    "sin": (ca.sin, mpmath.sin, INNER),
    "cos": (ca.cos, mpmath.cos, INNER),
    "tan": (ca.tan, mpmath.tan, INNER),
    "asin": (ca.asin, mpmath.asin, INNER),
    "acos": (ca.acos, mpmath.acos, INNER),
    "atan": (ca.atan, mpmath.atan, INNER),
    "sinh": (ca.sinh, mpmath.sinh, INNER),
    "cosh": (ca.cosh, mpmath.cosh, INNER),
    "tanh": (ca.tanh, mpmath.tanh, INNER),
    "asinh": (ca.asinh, mpmath.asinh, INNER),
    "acosh": (ca.acosh, mpmath.acosh, SHIFTED),
    "atanh": (ca.atanh, mpmath.atanh, INNER),
    "erf": (ca.erf, mpmath.erf, INNER),
    "inverse": (lambda x: 1 / x, lambda x: 1 / x, INNER),
    "quotient": (lambda x: (1 + x) / (2 - x * x), lambda x: (1 + x) / (2 - x * x), INNER),
    "power": (lambda x: x**2.5, lambda x: x ** mpmath.mpf(2.5), INNER),
    "cube": (lambda x: x**3, lambda x: x**3, INNER),
    "atan2": (lambda x: ca.atan2(1 + x, x - 2), lambda x: mpmath.atan2(1 + x, x - 2), INNER),
    "hypot": (lambda x: ca.hypot(x, 1 + x), lambda x: mpmath.hypot(x, 1 + x), INNER),
    "modulus": (lambda x: ca.fabs(-x), lambda x: x, INNER),
    "branch": (lambda x: ca.if_else(x > 0, x * x, ca.log(-x)), lambda x: x * x, INNER),
    "maximum": (lambda x: ca.fmax(x, x * x), lambda x: x, INNER),
    "minimum": (lambda x: ca.fmin(x, x * x), lambda x: x * x, INNER),
    "nested": (lambda x: ca.sin(ca.exp(x) * x), lambda x: mpmath.sin(mpmath.exp(x) * x), INNER),
}


def coefficients(function, inner, floats):
    x = ca.SX.sym("x")
    run = TaylorRun(
        Program(ca.Function("f", [x], [function(x)])),
        len(inner),
        (floats.copies + 1, 1),
        floats,
    )
    lanes = np.ones((floats.copies + 1, 1))
    return np.array([run.advance([[value * lanes]])[0][0] for value in inner])


@pytest.mark.parametrize("name", CASES)
def test_series_of_an_operation(name):
    function, reference, inner = CASES[name]
    with mpmath.workdps(40):

        def composed(e):
            return reference(mpmath.fsum(c * e**k for k, c in enumerate(inner)))

        expected = [float(c) for c in mpmath.taylor(composed, 0, ORDERS - 1)]
    found = coefficients(function, inner, PerturbedFloats(0.0, 0))[:, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_a_whole_power_at_zero():
    found = coefficients(lambda x: x**5, [0, 1.0, 1.0, 0, 0, 0, 0, 0], PerturbedFloats(0.0, 0))
    # (e + e^2)^5 = e^5 + 5 e^6 + 10 e^7 + ...
    np.testing.assert_allclose(found[:, 0, 0], [0, 0, 0, 0, 0, 1, 5, 10], atol=1e-14)


def test_copies_differ_by_about_the_tolerance():
    found = coefficients(ca.exp, INNER, PerturbedFloats(1e-9, 5))[..., 0]
    spread = np.abs(found[:, 1:] / found[:, :1] - 1).max(axis=1)
    assert (spread > 1e-11).all()
    assert (spread < 1e-6).all()


def test_operations_without_a_series_are_named():
    x = ca.SX.sym("x")
    with pytest.raises(InputError, match="fmod"):
        TaylorRun(Program(ca.Function("f", [x], [ca.fmod(x, 2)])), 2, (1,), PerturbedFloats(0.0, 0))
