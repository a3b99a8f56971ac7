"""The Taylor method against quadrature, closed forms and its own other engine."""

import math
import multiprocessing
import platform

import casadi as ca
import mpmath
import numpy as np
import pytest

from subriem.arithmetic import native_library
from subriem.arithmetic.first_zero import first_zero
from subriem.arithmetic.native_library import compiler, load_library
from subriem.arithmetic.program import Program
from subriem.arithmetic.recurrences import Recurrences
from subriem.arithmetic.taylor_method import STATUSES, TaylorMethod
from subriem.errors import InputError, MissingDependencyError

ENGINES = ["batch"] + (["compiled"] if compiler() else [])

# of a = 0.4 + x + x^2 / 3 for x from 0 to 0.3
OPERATIONS = {
    "exp": (ca.exp, mpmath.exp),
    "expm1": (ca.expm1, mpmath.expm1),
    "log": (ca.log, mpmath.log),
    "log1p": (ca.log1p, mpmath.log1p),
    "sqrt": (ca.sqrt, mpmath.sqrt),
    "sin": (ca.sin, mpmath.sin),
    "cos": (ca.cos, mpmath.cos),
    "tan": (ca.tan, mpmath.tan),
    "asin": (ca.asin, mpmath.asin),
    "acos": (ca.acos, mpmath.acos),
    "atan": (ca.atan, mpmath.atan),
    "sinh": (ca.sinh, mpmath.sinh),
    "cosh": (ca.cosh, mpmath.cosh),
    "tanh": (ca.tanh, mpmath.tanh),
    "asinh": (ca.asinh, mpmath.asinh),
    "acosh": (lambda a: ca.acosh(1 + a), lambda a: mpmath.acosh(1 + a)),
    "atanh": (ca.atanh, mpmath.atanh),
    "erf": (ca.erf, mpmath.erf),
    "inverse": (lambda a: 1 / a, lambda a: 1 / a),
    "quotient": (lambda a: (1 + a) / (2 - a * a), lambda a: (1 + a) / (2 - a * a)),
    "product": (lambda a: ca.sin(a) * ca.exp(a), lambda a: mpmath.sin(a) * mpmath.exp(a)),
    "power": (lambda a: a**2.5, lambda a: a ** mpmath.mpf(2.5)),
    "negative power": (lambda a: a ** (-3), lambda a: a ** (-3)),
    "seventh power": (lambda a: a**7, lambda a: a**7),
    "moving exponent": (lambda a: (1 + a) ** a, lambda a: (1 + a) ** a),
    "exponential base": (lambda a: 2.0**a, lambda a: mpmath.mpf(2) ** a),
    "atan2": (lambda a: ca.atan2(a, a - 2), lambda a: mpmath.atan2(a, a - 2)),
    "hypot": (lambda a: ca.hypot(a, 1 + a), lambda a: mpmath.hypot(a, 1 + a)),
    "modulus": (lambda a: ca.fabs(a - 3), lambda a: 3 - a),
    "sign": (lambda a: a * ca.sign(a - 3), lambda a: -a),
    "branch": (lambda a: ca.if_else(a > 0.1, a * a, ca.log(a)), lambda a: a * a),
    "other branch": (lambda a: ca.if_else(a > 3, a * a, ca.log(a)), mpmath.log),
    "maximum": (lambda a: ca.fmax(a, a - 1), lambda a: a),
    "minimum": (lambda a: ca.fmin(a, a - 1), lambda a: a - 1),
    "logic": (lambda a: ca.if_else(ca.logic_and(a > 0, a < 2), a, 0), lambda a: a),
    "nested": (lambda a: ca.sin(ca.exp(a) * a), lambda a: mpmath.sin(mpmath.exp(a) * a)),
}


def method(state, velocity, events=None, engine=None, groups=None):
    events = ca.SX(0, 1) if events is None else events
    function = ca.Function("f", [state, ca.SX.sym("w", 0)], [ca.densify(velocity), events])
    return TaylorMethod(function, groups or [range(state.shape[0])], engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_integrates_to_what_quadrature_gives(name, engine):
    ours, theirs = OPERATIONS[name]
    state = ca.SX.sym("y", 2)
    x = state[0]
    velocity = ca.vertcat(1, ours(0.4 + x + x**2 / 3))
    found = method(state, velocity, engine=engine).solve(np.zeros((1, 2)), [], [0.3], 1e-13)
    expected = mpmath.quad(lambda x: theirs(mpmath.mpf("0.4") + x + x**2 / 3), [0, 0.15, 0.3])
    assert found.states[0, 0, 1] == pytest.approx(float(expected), rel=2e-13)


@pytest.mark.parametrize("engine", ENGINES)
def test_tangents_are_those_of_the_exact_flow(engine):
    state, z = ca.SX.sym("y", 2), ca.SX.sym("z", 2)
    a, b = 0.3, 0.7
    velocity = ca.vertcat(state[0] ** 2, state[0] * state[1])  # y_1/(1 - t y_1), y_2/(1 - t y_1)
    varied = ca.densify(ca.jtimes(velocity, state, z))
    function = ca.Function(
        "f", [state, ca.SX.sym("w", 0), z], [velocity, ca.SX(0, 1), varied], {"cse": True}
    )
    taylor = TaylorMethod(function, [range(2)], 2, engine)
    found = taylor.solve(np.array([[a, b, 1, 0, 0, 1.0]]), [], [0.5, 2.0], 1e-13).states[0]
    for t, values in zip((0.5, 2.0), found, strict=True):
        s = 1 / (1 - t * a)
        np.testing.assert_allclose(values, [a * s, b * s, s * s, b * t * s * s, 0, s], rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_lane_goes_its_own_way(engine):
    # 83 lanes, of which some blow up, some meet an event and some go through
    state = ca.SX.sym("y", 1)
    starts = np.linspace(-2, 2, 83)[:, None]
    taylor = method(state, state**2, events=10 + state, engine=engine)
    found = taylor.solve(starts, [], [0.1, 0.9], 1e-12)
    blown = starts[:, 0] >= 1 / 0.9
    assert (found.status == np.where(blown, STATUSES.index("blew up"), 0)).all()
    np.testing.assert_allclose(found.event_time[blown], 1 / starts[blown, 0], rtol=1e-10)
    exact = starts / (1 - np.array([0.1, 0.9]) * starts)
    np.testing.assert_allclose(found.states[~blown, :, 0], exact[~blown], rtol=1e-11)
    assert np.isnan(found.states[blown, 1]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_event_between_two_steps_is_not_overlooked(engine):
    # dips below zero for a time of 0.002 only, and within one step
    state = ca.SX.sym("y", 1)
    depth = (state - 0.5) ** 2 - 1e-6
    taylor = method(state, ca.SX(1), events=depth, engine=engine)
    found = taylor.solve(np.zeros((1, 1)), [], [1.0], 1e-10)
    assert STATUSES[found.status[0]] == "left the chart"
    assert found.event_time[0] == pytest.approx(0.499, abs=1e-12)
    above = method(state, ca.SX(1), events=depth + 2e-6, engine=engine)
    assert above.solve(np.zeros((1, 1)), [], [1.0], 1e-10).status[0] == 0


def test_the_error_follows_the_tolerance():
    x, v = (state := ca.SX.sym("y", 2))[0], state[1]
    taylor = method(state, ca.vertcat(v, -x), engine=ENGINES[-1])
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10, 1e-12):
        found = taylor.solve(np.array([[1.0, 0.0]]), [], [20.0], rtol)
        errors.append(abs(found.states[0, 0, 0] - math.cos(20)))
        assert errors[-1] < 20 * rtol
    assert errors[0] > 1e4 * errors[-1]


def test_the_derivative_of_the_dense_output():
    state = ca.SX.sym("y", 2)
    taylor = method(state, ca.vertcat(state[1], -state[0]))
    times = np.linspace(0, 3, 7)
    found = taylor.solve(np.array([[1.0, 0.0]]), [], times, 1e-12, rates=True)
    np.testing.assert_allclose(found.rates[0, :, 0], -np.sin(times), atol=1e-10)


def test_an_operation_without_series_is_refused():
    x, w = ca.SX.sym("x"), ca.SX.sym("w", 0)
    with pytest.raises(InputError, match="no power series for floor"):
        Recurrences(Program(ca.Function("f", [x, w], [ca.floor(x)])))


def test_the_first_zero_of_a_polynomial_with_many():
    roots = [0.2, 0.2 + 1e-7, 0.9]
    coefficients = -np.poly(roots)[::-1]
    coefficients *= np.sign(coefficients[0])
    assert first_zero(coefficients, 1.0) == pytest.approx(0.2, abs=2e-9)
    assert first_zero(coefficients, 0.1) is None
    assert first_zero(np.array([0.0, 1.0]), 1.0) == 0.0


# ---------------------------------------------------------------------- compiling


def test_without_a_compiler_the_batch_engine_takes_over(monkeypatch):
    monkeypatch.setenv("CC", "")
    state = ca.SX.sym("y", 1)
    assert method(state, state).engine == "batch"
    with pytest.raises(MissingDependencyError, match="no C compiler"):
        method(state, state, engine="compiled")


def test_a_compiler_that_fails_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="false does not compile"):
        load_library("int one(void) { return 1; }")


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_a_damaged_library_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = "int two(void) { return 2; }"
    folder = native_library.cache_folder()
    key = native_library.library_path(source, compiler())
    key.write_bytes(b"cut short")
    assert load_library(source).two() == 2
    assert [path.name for path in folder.iterdir()] == [key.name]


@pytest.mark.skipif(
    compiler() is None or platform.machine() != "x86_64", reason="needs a compiler for x86"
)
@pytest.mark.parametrize("option", ["-mno-avx512f", "-mno-avx"])
def test_registers_of_every_width(monkeypatch, option):
    monkeypatch.setenv("CC", f"{' '.join(compiler())} {option}")
    x, v = (state := ca.SX.sym("y", 2))[0], state[1]
    taylor = method(state, ca.vertcat(v, -ca.sin(x)), events=5 + x, engine="compiled")
    starts = np.random.default_rng(0).standard_normal((11, 2))
    found = taylor.solve(starts, [], [0.5, 2.0], 1e-12)
    energy = found.states[..., 1] ** 2 / 2 - np.cos(found.states[..., 0])
    np.testing.assert_allclose(energy, np.repeat(energy[:, :1], 2, axis=1), atol=1e-11)
    batch = method(state, ca.vertcat(v, -ca.sin(x)), events=5 + x, engine="batch")
    np.testing.assert_allclose(
        found.states, batch.solve(starts, [], [0.5, 2.0], 1e-12).states, atol=1e-11
    )


def _answer(_):
    return load_library("int three(void) { return 3; }").three()


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_processes_that_compile_at_once_do_not_meet(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_answer, range(6), chunksize=1) == [3] * 6


def test_an_unknown_engine_is_refused():
    state = ca.SX.sym("y", 1)
    with pytest.raises(InputError, match="expected 'compiled' or 'batch'"):
        method(state, state, engine="fast")
