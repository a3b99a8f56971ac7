"""Balls: each encloses mpmath's value, at the precision asked for, and decides only what is so."""

import math
import sys

import casadi as ca
import pytest
from mpmath import mp, mpf

from subriem.arithmetic.balls import Balls
from subriem.arithmetic.program import OPERATIONS, Program
from subriem.errors import InputError, InputTypeError, MissingDependencyError, NumericalError

UNARY = {
    "neg": lambda x: -x,
    "sq": lambda x: x * x,
    "twice": lambda x: 2 * x,
    "inv": lambda x: 1 / x,
    "sqrt": mp.sqrt,
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "asinh": mp.asinh,
    "atanh": mp.atanh,
    "erf": mp.erf,
    "fabs": abs,
    "floor": mp.floor,
    "ceil": mp.ceil,
    "sign": mp.sign,
}
BINARY = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "constpow": lambda x, y: x**y,
    "hypot": mp.hypot,
    "atan2": mp.atan2,
    "fmin": min,
    "fmax": max,
    "lt": lambda x, y: int(x < y),
    "le": lambda x, y: int(x <= y),
    "eq": lambda x, y: int(x == y),
    "ne": lambda x, y: int(x != y),
    "copysign": lambda x, y: abs(x) * (1 if y >= 0 else -1),
}


def assert_encloses(ball, value, bits, shown=""):
    """Whether mpmath's value, good to 1e-60, lies in the ball, and the ball is small."""
    middle, radius = (mp.ldexp(*map(int, part.man_exp())) for part in (ball.mid(), ball.rad()))
    slack = mpf(10) ** -55 * (1 + abs(value))
    assert abs(middle - value) <= radius * (1 + mpf(10) ** -10) + slack, shown
    assert radius <= mpf(2) ** (12 - bits) * (1 + abs(value)), shown


@pytest.fixture
def digits():
    with mp.workdps(60):
        yield


@pytest.mark.parametrize("name", sorted(UNARY))
@pytest.mark.parametrize("bits", [53, 160])
def test_functions_of_one_number(name, bits, digits):
    balls = Balls(bits)
    for text in ("3/7", "1/1000"):
        expected = UNARY[name](mpf(text.split("/")[0]) / mpf(text.split("/")[1]))
        assert_encloses(getattr(balls, name)(balls.number(text)), expected, bits, (name, text))


@pytest.mark.parametrize("name", sorted(BINARY))
def test_functions_of_two_numbers(name, digits):
    balls = Balls(140)
    for x, y in (("5/4", "7/3"), ("7/3", "5/4"), ("3/2", "-1/2")):
        p, q = (mpf(t.split("/")[0]) / mpf(t.split("/")[1]) for t in (x, y))
        found = getattr(balls, name)(balls.number(x), balls.number(y))
        assert_encloses(found, mpf(BINARY[name](p, q)), 140, (name, x, y))


def test_acosh(digits):
    assert_encloses(Balls(100).acosh(Balls(100).number("5/4")), mp.log(2), 100)


def test_knows_all_operations_but_two():
    missing = {name for name in OPERATIONS.values() if not hasattr(Balls(), name)}
    assert missing == {"fmod", "remainder"}


def test_precision_is_its_own_and_leaves_that_of_flint(digits):
    balls = Balls(400)
    before = balls.flint.ctx.prec
    assert_encloses(balls.number("sqrt(2)"), mp.sqrt(2), 150)
    assert balls.number("sqrt(2)").rad() < balls.flint.arb(2) ** -395
    assert balls.flint.ctx.prec == before


def test_a_cancellation_that_doubles_lose_is_enclosed(digits):
    """Rump 1988: the value is -54767/66192; doubles give nothing like it."""
    x, y = ca.SX.sym("x"), ca.SX.sym("y")
    value = (
        (333.75 - x**2) * y**6
        + x**2 * (11 * x**2 * y**2 - 121 * y**4 - 2)
        + 5.5 * y**8
        + x / (2 * y)
    )
    program = Program(ca.Function("rump", [x, y], [value]))
    balls = Balls(300)
    ((found,),) = program.run(balls, [balls.number(77617)], [balls.number(33096)])
    assert_encloses(found, mpf(-54767) / 66192, 100)
    assert abs(float(ca.Function("f", [x, y], [value])(77617, 33096)) + 54767 / 66192) > 1


def test_a_piecewise_function_takes_its_branch():
    x = ca.SX.sym("x")
    program = Program(ca.Function("f", [x], [ca.if_else(x > 0, ca.log(x), -1)]))
    balls = Balls(64)
    assert program.run(balls, [balls.number(1)])[0][0].contains(0)
    # the other branch is NaN here, and is not looked at
    assert program.run(balls, [balls.number(-3)])[0][0] == -1


def test_an_open_comparison_raises():
    balls = Balls(64)
    third = balls.number("1/3")
    for name in ("lt", "le", "eq", "ne"):
        with pytest.raises(NumericalError, match="not decided at 64 bits"):
            getattr(balls, name)(third, third)
    zero = balls.sub(third, third)
    for name in ("sign", "not"):
        with pytest.raises(NumericalError, match="not decided"):
            getattr(balls, name)(zero)
    with pytest.raises(NumericalError, match="not decided"):
        balls.if_else_zero(zero, third)


def test_logic():
    balls = Balls()
    one, zero = balls.number(1), balls.number(0)
    truth = {(a, b): (bool(a and b), bool(a or b)) for a in (0, 1) for b in (0, 1)}
    number = {0: zero, 1: one}
    for (a, b), (both, either) in truth.items():
        assert getattr(balls, "and")(number[a], number[b]) == int(both)
        assert getattr(balls, "or")(number[a], number[b]) == int(either)
    assert getattr(balls, "not")(one) == 0


def test_outside_a_domain_there_is_no_enclosure():
    balls = Balls()
    zero = balls.sub(balls.number("1/3"), balls.number("1/3"))
    for ball in (balls.inv(zero), balls.sqrt(balls.number(-1)), balls.log(zero)):
        assert not ball.is_finite()


def test_constants_of_a_model_are_the_simplest_fractions():
    balls = Balls(200)
    twelve = balls.number(12)
    assert balls.mul(balls.constant(1 / 12), twelve).contains(1)
    assert not balls.mul(balls.number(1 / 12), twelve).contains(1)


def test_what_is_refused():
    with pytest.raises(InputError, match="bits"):
        Balls(1)
    with pytest.raises(InputError, match="finite"):
        Balls().constant(math.inf)
    with pytest.raises(InputTypeError):
        Balls().number(None)


def test_without_flint(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'subriem\[certify\]'"):
        Balls()
