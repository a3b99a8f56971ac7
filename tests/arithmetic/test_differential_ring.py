"""The ring of elementary functions: identities, and derivatives against SymPy's."""

import re
from fractions import Fraction

import casadi as ca
import numpy as np
import pytest
import sympy as sp

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.generated_ring import GeneratedRing, WorkLimitReached
from subriem.arithmetic.point_values import PointValues, exact_constant, generic_values
from subriem.arithmetic.program import Program
from subriem.errors import InputError

X, Y = sp.symbols("x y")

#: A CasADi expression in x and y, and the same for SymPy.
FUNCTIONS = [
    ("x**3*y - 2*x/3 + 7", None),
    ("(x + y)/(1 + x**2)", None),
    ("sin(x*y)*cos(x) + tan(y)", None),
    ("exp(x - 2*y)*exp(x) + exp(-x)", None),
    ("log(2 + x**2)/y", None),
    ("sqrt(1 + x*y)", None),
    ("(1 + x*y)**(-5/2)", None),
    ("(1 + x)**(1/3)*y", None),
    ("(1 + x**2)**y", None),
    ("tanh(x + 2*y)", None),
    ("sinh(x)*cosh(2*y)", None),
    ("asin(x/2) + acos(y/3)", "asin(x/2) + acos(y/3)"),
    ("atan(x*y) + atan2(y, 1 + x)", "atan(x*y) + atan2(y, 1 + x)"),
    ("asinh(x) + acosh(2 + y) + atanh(x*y/4)", None),
    ("erf(x - y)", None),
    ("expm1(x) + log1p(y)", "exp(x) - 1 + log(1 + y)"),
    ("hypot(x, 1 + y)", "sqrt(x**2 + (1 + y)**2)"),
    ("1/(1 + 1/(x + sin(y)))", None),
    ("sqrt(1 + 1/(1 + x**2))", None),
]

NAMES = (
    "sin cos tan exp log sqrt tanh sinh cosh asin acos atan atan2 asinh acosh atanh erf expm1 log1p"
    " hypot"
)
CASADI = {name: getattr(ca, name) for name in re.findall(r"\w+", NAMES)}


def read(text, ring):
    x, y = ca.SX.sym("x"), ca.SX.sym("y")
    expression = eval(text, {}, {**CASADI, "x": x, "y": y})
    program = Program(ca.Function("f", [x, y], [expression]))
    return program.run(ring, [ring.element(0)], [ring.element(1)])[0][0]


@pytest.mark.parametrize(("text", "known"), FUNCTIONS, ids=[text for text, _ in FUNCTIONS])
def test_values_and_derivatives_against_sympy(text, known):
    ring = DifferentialRing(2)
    f = read(text, ring)
    d_x, d_y = (ring.derivation([ring.rational(Fraction(k == j)) for k in (0, 1)]) for j in (0, 1))
    found = {
        (): f,
        (X,): ring.apply(d_x, f),
        (Y,): ring.apply(d_y, f),
        (X, Y): ring.apply(d_x, ring.apply(d_y, f)),
        (X, X, X): ring.apply(d_x, ring.apply(d_x, ring.apply(d_x, f))),
    }
    at = PointValues(ring, ["2/7", "3/5"])
    names = {"x": X, "y": Y, "Rational": sp.Rational}
    expression = sp.nsimplify(sp.sympify(known or text, locals=names), rational=True)
    for variables, element in found.items():
        derivative = sp.diff(expression, *variables) if variables else expression
        exact = derivative.subs({X: sp.Rational(2, 7), Y: sp.Rational(3, 5)})
        ball = at.ball(at.value(element), 200)
        assert ball.rad() < 1e-45
        with ring.flint.ctx.workprec(200):
            assert abs(ball - ring.flint.arb(str(sp.N(exact, 60)))) < 1e-40, variables


@pytest.mark.parametrize(
    "text",
    [
        "sin(x)**2 + cos(x)**2 - 1",
        "sin(x + y) - sin(x)*cos(y) - cos(x)*sin(y)",
        "cos(3*x) - 4*cos(x)**3 + 3*cos(x)",
        "sin(-x) + sin(x)",
        "cos(x - y) - cos(y - x)",
        "exp(x)*exp(-x) - 1",
        "exp(2*x + y) - exp(x)**2*exp(y)",
        "cosh(x)**2 - sinh(x)**2 - 1",
        "sqrt(x + y)**4 - (x + y)**2",
        "(1 + x)**(1/3)*(1 + x)**(2/3) - 1 - x",
        "1/x + 1/y - (x + y)/(x*y)",
        "1/(x**2 - y**2) - 1/(x - y)/(x + y)",
        "tan(x)*cos(x) - sin(x)",
        "1/sqrt(1 + x) - sqrt(1 + x)/(1 + x)",
        "1/(1 + 1/x) - x/(1 + x)",
        "0.1*x + 0.2*x - 0.3*x",
    ],
)
def test_identities_are_zero_in_the_ring(text):
    if not text.startswith("0.1"):  # also an identity by SymPy
        value = sp.sympify(text).subs({sp.Symbol("x"): 0.31, sp.Symbol("y"): 0.77})
        assert abs(sp.N(value, 30)) < 1e-12
    ring = DifferentialRing(2)
    assert ring.is_zero(read(text, ring))
    other = DifferentialRing(2)
    assert not other.is_zero(read(f"({text}) + x*1e-9", other))


def test_equal_arguments_share_a_generator():
    ring = DifferentialRing(2)
    read("tanh(x*y) + tanh(y*x) + log(1 + x) + log(x + 1) + sin(x) + sin(2*x) + cos(-x)", ring)
    operations = [generator.operation for generator in ring.generators]
    assert sorted(operations) == ["cos", "inv", "log", "sin", "tanh"]


@pytest.mark.parametrize("k", range(-24, 49))
def test_multiples_of_a_twelfth_of_pi(k):
    ring = DifferentialRing(0)
    angle = exact_constant(ring, f"{k}*pi/12")
    for found, function in ((ring.sin(angle), sp.sin), (ring.cos(angle), sp.cos)):
        value = sp.radsimp(function(sp.pi * k / 12).rewrite(sp.sqrt))
        assert ring.is_zero(ring.sub(found, exact_constant(ring, str(value)))), value


def test_constants_of_a_program_are_the_simplest_fractions_and_are_noted():
    ring = DifferentialRing(2)
    assert read("x/12 + 0.1", ring) == ring.element(0) / 12 + ring.rational(Fraction(1, 10))
    assert 0.1 in ring.rounded
    halves = DifferentialRing(2)
    read("x*0.375", halves)
    assert halves.rounded == set()


@pytest.mark.parametrize("text", ["fabs(x)", "fmax(x, y)", "if_else(x > 0, x, y)", "floor(x)"])
def test_what_is_not_analytic_is_refused_by_name(text):
    x, y = ca.SX.sym("x"), ca.SX.sym("y")
    names = {name: getattr(ca, name) for name in ("fabs", "fmax", "if_else", "floor")}
    program = Program(ca.Function("f", [x, y], [eval(text, {}, {**names, "x": x, "y": y})]))
    ring = DifferentialRing(2)
    with pytest.raises(InputError, match="DifferentialRing does not know"):
        program.run(ring, [ring.element(0)], [ring.element(1)])


def test_division_by_zero_and_negative_roots_are_refused():
    ring = DifferentialRing(1)
    s, c = ring.sin(ring.element(0)), ring.cos(ring.element(0))
    with pytest.raises(InputError, match="division by zero"):
        ring.inv(ring.sq(s) + ring.sq(c) - 1)
    with pytest.raises(InputError, match="negative"):
        ring.sqrt(ring.constant(-2.0))


def test_clearing_keeps_the_direction_of_a_vector():
    ring = DifferentialRing(2)
    vector = [read(text, ring) for text in ("1/x + 1/(1 + y)", "y/x**2", "sqrt(1/x)/(x + 1/y)")]
    cleared = ring.clear(vector)
    inverses = {k + 2 for k, g in enumerate(ring.generators) if g.operation == "inv"}
    assert inverses & ring.occurring(vector)
    assert all(p.degrees()[ring.size - 1 - k] <= 0 for p in cleared for k in inverses)
    at = PointValues(ring, ["1/3", "-2/5"])
    pairs = zip(cleared, vector, strict=True)
    ratios = [at.ball(at.value(c), 100) / at.ball(at.value(v), 100) for c, v in pairs]
    assert ratios[0].overlaps(ratios[1])
    assert ratios[0].overlaps(ratios[2])
    assert ratios[0] != 0


def test_common_units_are_divided_out():
    ring = DifferentialRing(2)
    x, y = ring.element(0), ring.element(1)
    e = ring.exp(x)
    x, y = ring.lift(x), ring.lift(y)
    assert ring.without_units([ring.mul(ring.sq(e), x), ring.mul(e, y)]) == [ring.mul(e, x), y]
    # x is no unit: it may vanish
    assert ring.without_units([x * x, x * y]) == [x * x, x * y]


def test_work_is_limited():
    ring = GeneratedRing(2, work_limit=1000)
    p = (1 + ring.element(0) + ring.element(1)) ** 20
    with pytest.raises(WorkLimitReached, match="more than 1000 products"):
        ring.mul(p, p)
    few = DifferentialRing(1, largest=3)
    with pytest.raises(WorkLimitReached, match="more than 3 functions"):
        few.tanh(few.tanh(few.tanh(few.tanh(few.element(0)))))


def test_generic_values_satisfy_the_relations():
    ring = DifferentialRing(2)
    read("sin(x)/(1 + y*tanh(x)) + log(cos(x - 3*y))", ring)
    values = generic_values(ring)
    assert values == generic_values(ring)
    for k, generator in enumerate(ring.generators):
        value = values[2 + k]
        if generator.operation == "inv":
            assert generator.arguments[0](*reversed(values)) * value == 1
        if generator.operation == "sin":
            assert value**2 + values[1 + k] ** 2 == 1
    ring.sqrt(ring.lift(ring.element(0)))
    assert generic_values(ring) is None


class TestPointValues:
    def test_zero_is_proved_by_relations_and_the_rest_by_balls(self):
        ring = DifferentialRing(1)
        s = ring.sin(ring.element(0))
        c = ring.cos(ring.element(0))
        at = PointValues(ring, ["pi/3"])
        assert at.is_zero(at.value(4 * ring.sq(s) - 3)) is True
        assert at.is_zero(at.value(2 * c - 1)) is True
        assert at.is_zero(at.value(s - c)) is False
        assert at.is_positive(at.value(s - c)) is True
        assert at.is_positive(at.value(c - s)) is False

    def test_a_tiny_number_is_not_zero(self):
        ring = DifferentialRing(1)
        e = ring.exp(-ring.inv(ring.sq(ring.element(0))))
        at = PointValues(ring, ["1/20"])
        assert at.is_zero(at.value(e)) is False  # 1.9e-174

    def test_what_no_relation_shows_is_left_open(self):
        ring = DifferentialRing(0)
        log = [ring.log(ring.rational(Fraction(k))) for k in (2, 3, 6)]
        at = PointValues(ring, [], precision=300)
        zero = at.value(ring.sub(ring.add(log[0], log[1]), log[2]))
        assert at.is_zero(zero) is None
        assert at.is_positive(zero) is None

    def test_rational_where_what_occurs_is_rational(self):
        ring = DifferentialRing(2)
        s, c = ring.sin(ring.element(0)), ring.cos(ring.element(0))
        at = PointValues(ring, ["pi/2", 5])
        values = at.rational_values([ring.mul(s, ring.element(1)), c])
        assert [int(v) for v in values] == [0, 5, 0, 1]  # x itself, pi/2, does not occur
        assert at.rational_values([ring.element(0)]) is None
        assert PointValues(ring, ["pi/4", 5]).rational_values([s]) is None

    @pytest.mark.parametrize(
        ("text", "point"),
        [
            ("1/(x - y)", (1, 1)),
            ("sqrt(x)", (0, 0)),
            ("log(x)", (-1, 0)),
            ("asin(x)", (1, 0)),
            ("acosh(x)", (1, 0)),
            ("atanh(x)", (-2, 0)),
            ("atan2(y, x)", (-1, 0)),
            ("tan(x)", ("pi/2", 0)),
        ],
    )
    def test_refuses_points_where_a_function_is_not_analytic(self, text, point):
        ring = DifferentialRing(2)
        read(text, ring)
        with pytest.raises(InputError, match=r"at (the|a) point"):
            PointValues(ring, point)

    def test_refuses_a_number_that_may_be_infinite(self):
        with pytest.raises(InputError, match="finite"):
            PointValues(DifferentialRing(1), ["1/(log(6) - log(2) - log(3))"])

    def test_a_float_is_the_dyadic_fraction_that_it_is(self):
        ring = DifferentialRing(1)
        at = PointValues(ring, [np.float64(0.1)])
        assert at.is_zero(at.value(10 * ring.element(0) - 1)) is False
        at = PointValues(ring, ["0.1"])
        assert at.is_zero(at.value(10 * ring.element(0) - 1)) is True
