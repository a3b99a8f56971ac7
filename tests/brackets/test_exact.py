"""Certified flags against published growth vectors, closed forms, and SymPy's brackets."""

import itertools
import random
import sys
from fractions import Fraction

import casadi as ca
import numpy as np
import pytest
import sympy as sp
from growth_cases import BY_NAME, ENTRIES, structure

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.point_values import PointValues
from subriem.arithmetic.program import Program
from subriem.brackets.exact import certified_flag
from subriem.brackets.invariant_subspace import restrict_to_invariant_subspace
from subriem.brackets.local_module import LocalModule, RationalCombinations
from subriem.brackets.span_at_point import CertifiedSpan, RationalSpan
from subriem.errors import InputError, InputTypeError, MissingDependencyError
from subriem.structure import Structure

#: The only entry that is not made of analytic functions.
PIECEWISE = "exp_flat_at_0"
#: Entries where values are irrational: exp(-400), sqrt(2)/2, tan(pi/4) next to sin(1).
IRRATIONAL = {"exp_flat_at_0.05", "trailer3_T", "SO3_euler_zyx_off"}


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != PIECEWISE])
def test_published_growth_vectors_are_proved_from_both_sides(name):
    entry = BY_NAME[name]
    flag = certified_flag(structure(entry), entry["point"])
    assert flag.growth_vector == tuple(entry["growth"])
    assert flag.closed
    assert (flag.lower[-1] == len(entry["coords"])) == entry["full"]
    assert flag.method == ("balls" if name in IRRATIONAL else "exact")
    assert flag.reason == ""
    steps = [step for _, step in flag.words]
    assert [sum(s <= k for s in steps) for k in range(1, len(flag.lower) + 1)] == entry["growth"]


def test_all_entries_are_there():
    assert len(ENTRIES) == len(BY_NAME) == 52


def test_a_piecewise_field_is_not_proved_and_the_operation_is_named():
    entry = BY_NAME[PIECEWISE]
    flag = certified_flag(structure(entry), entry["point"])
    assert (flag.lower, flag.upper, flag.closed, flag.method) == ((), (), False, "none")
    assert flag.growth_vector is None
    assert "if_else_zero" in flag.reason


def sympy_growth(coords, frame, point, steps):
    """Ranks at a point of all right-normed brackets, none left out, by SymPy."""

    def bracket(f, g):
        return g.jacobian(coords) * f - f.jacobian(coords) * g

    fields = [sp.Matrix(column) for column in frame]
    level, values, ranks = fields, [], []
    for _ in range(steps):
        values += [w.subs(dict(zip(coords, point, strict=True))) for w in level]
        ranks.append(sp.Matrix.hstack(*values).rank(simplify=sp.radsimp))
        level = [bracket(f, w).applyfunc(sp.expand) for f in fields for w in level]
    return tuple(ranks)


def random_polynomial(generator, symbols):
    terms = range(generator.randint(0, 2))
    return sum(
        (
            generator.choice([-2, -1, 1, 3]) * generator.choice(symbols) * generator.choice(symbols)
            for _ in terms
        ),
        generator.choice([0, 0, 1]) * generator.choice(symbols),
    )


@pytest.mark.parametrize("seed", range(10))
def test_random_polynomial_fields_against_sympy(seed):
    generator = random.Random(seed)
    n, m, steps = generator.choice([(3, 2, 4), (4, 2, 3), (5, 2, 3)])
    symbols = sp.symbols(f"x0:{n}")
    frame = [[random_polynomial(generator, symbols) for _ in range(n)] for _ in range(m)]
    frame[0][0] += 1
    point = [Fraction(generator.choice([0, 0, 1, -1]), generator.choice([1, 2])) for _ in symbols]
    made = Structure.define(
        "random",
        [str(s) for s in symbols],
        lambda q: [
            tuple(
                sp.lambdify(symbols, p, modules="math")(*(q[k] for k in range(n))) for p in column
            )
            for column in frame
        ],
    )
    expected = sympy_growth(symbols, frame, [sp.Rational(p) for p in point], steps)
    flag = certified_flag(made, point, max_step=steps)
    if flag.closed:  # the tuples may end early
        padding = steps - len(flag.lower)
        assert flag.lower + flag.lower[-1:] * padding == expected
        assert flag.upper == flag.lower
    else:
        assert flag.lower == flag.upper == expected


def test_irrational_values_against_sympy():
    symbols = sp.symbols("x y t")
    x, _, t = symbols
    frame = [[sp.cos(t), sp.sin(t), 0], [0, x, 1 + sp.sin(2 * t)]]
    made = Structure.define(
        "rolling",
        "x y t",
        lambda q: [(ca.cos(q.t), ca.sin(q.t), 0), (0, q.x, 1 + ca.sin(2 * q.t))],
    )
    for point in (("sqrt(3)/3", 0, "pi/6"), (0, 1, "3*pi/4"), ("1/2", 0, "-pi/4"), (0, 0, "pi/4")):
        exact = [sp.sympify(entry) for entry in point]
        assert sympy_growth(symbols, frame, exact, 3)[: len(certified_flag(made, point).lower)] == (
            certified_flag(made, point).growth_vector
        )


def test_fields_times_functions_without_zeros_have_the_same_flag():
    entry = BY_NAME["Goursat6_RVV"]
    plain = structure(entry)

    def scaled(q):
        first, second = (plain.field(k) for k in (0, 1))
        first, second = (
            ca.substitute(f, plain.state, ca.vertcat(*(q[k] for k in range(6))))
            for f in (first, second)
        )
        first, second = first * (2 + ca.sin(q.x1)), second / (1 + q.x3**2) + first * ca.exp(q.x6)
        return [tuple(f.elements()) for f in (first, second)]

    flag = certified_flag(Structure.define("scaled", entry["coords"], scaled), entry["point"])
    assert flag.growth_vector == tuple(entry["growth"])


def test_words_name_brackets_that_span():
    cart = Structure.define(
        "cart",
        "x y t",
        lambda q: [(ca.cos(q.t), ca.sin(q.t), 0), (0, 0, 1)],
        field_names=("drive", "turn"),
    )
    flag = certified_flag(cart, {"t": "pi/7", "x": 0.1, "y": -3})
    assert flag.words == (("drive", 1), ("turn", 1), ("[drive,turn]", 2))
    assert flag.method == "balls"
    assert flag.growth_vector == (2, 3)


def test_parameters_and_constants_are_read_as_simplest_fractions_and_this_is_said():
    made = Structure.define(
        "tilted", "x y", lambda q, p: [(1, 0), (0, q.x - p.a)], parameters={"a": 0.1}
    )
    flag = certified_flag(made, ["1/10", 0])
    assert flag.growth_vector == (1, 2)
    assert "simplest fractions" in flag.notes[0]
    # the double next to 1/10 is another point
    assert certified_flag(made, [0.1, 0]).growth_vector == (2,)
    assert certified_flag(made.with_parameters(a=0.25), [0.25, 0]).notes == (
        "closed: the brackets span all directions",
    )


class TestClosure:
    def test_leaf_of_an_integrable_distribution_off_the_rationals(self):
        """Spheres: rank 2 at every point but the origin."""
        entry = BY_NAME["spheres_origin"]
        for point in ([1, 2, 3], ["sqrt(2)", 0, "pi"], [0.1, 0.2, 0.3]):
            flag = certified_flag(structure(entry), point)
            assert (flag.growth_vector, flag.closed) == ((2,), True)

    def test_a_hidden_conserved_quantity(self):
        """Two fields tangent to the levels of exp(x) y + sin(z) w, among four coordinates."""

        def gradient(q):
            return [ca.exp(q.x) * q.y, ca.exp(q.x), ca.cos(q.z) * q.w, ca.sin(q.z)]

        def frame(q):
            a, b, c, d = gradient(q)
            return [(b, -a, q.w * d, -q.w * c), (0, d, 0, -b), (d, 0, 0, -a)]

        made = Structure.define("level", "x y z w", frame)
        flag = certified_flag(made, ["1/3", 1, 1, "1/2"])
        assert (flag.growth_vector, flag.closed) == ((3,), True)
        assert flag.notes[-1].startswith("closed: all further brackets are combinations")

    def test_fields_that_vanish_at_the_point(self):
        made = Structure.define("flat", "x y", lambda q: [(q.x**2, q.y**3), (q.x * q.y, q.x**4)])
        flag = certified_flag(made, [0, 0])
        assert (flag.growth_vector, flag.closed) == ((0,), True)
        assert flag.notes == ("closed: all fields vanish at the point",)

    def test_equal_weights_of_a_network_stay_equal(self):
        """Three equal neurons move as one: three directions, and nine from other weights."""
        inputs = [-1, Fraction(-1, 3), Fraction(1, 3), 1]

        def frame(q):
            weights = ca.vertcat(*(q[k] for k in range(9)))
            a, b, c = weights[:3], weights[3:6], weights[6:]
            outputs = ca.vertcat(*(ca.dot(c, ca.tanh(a * float(x) + b)) for x in inputs))
            rows = ca.jacobian(outputs, weights)
            return [tuple(ca.densify(rows[k, :]).elements()) for k in range(4)]

        network = Structure.define("network", [f"w{k}" for k in range(9)], frame)
        symmetric = certified_flag(network, [1] * 9)
        assert (symmetric.growth_vector, symmetric.closed) == ((3,), True)
        assert "affine subspace of dimension 3" in symmetric.notes[1]
        other = certified_flag(network, [0.1 * k + 0.05 for k in range(9)])
        assert other.lower[-1] == 9

    def test_a_flag_that_never_closes_stops_and_says_so(self):
        """All fields but d_x + 2x d_y vanish on the parabola y = x^2, to second order."""
        made = Structure.define(
            "parabola",
            "x y z",
            lambda q: [(1, 2 * q.x, 0), ((q.y - q.x**2) ** 2 * q.z, q.x, q.y)],
        )
        parabola = Structure.define(
            "parabola",
            "x y z",
            lambda q: [
                (1, 2 * q.x, 0),
                tuple((q.y - q.x**2) ** 2 * p for p in (q.z + q.y, q.x, 1 + q.z**2)),
            ],
        )
        flag = certified_flag(parabola, [0, 0, 0], work_limit=100_000)
        assert not flag.closed
        assert set(flag.lower) == set(flag.upper[:-1]) == {1}
        assert flag.upper[-1] is None
        assert flag.growth_vector is None
        assert "not proved beyond step" in flag.reason
        assert "100000 products" in flag.reason
        assert certified_flag(made, [0, 0, 0]).lower[-1] == 3

    def test_max_step(self):
        entry = BY_NAME["Martinet_k6"]
        flag = certified_flag(structure(entry), entry["point"], max_step=4)
        assert (flag.lower, flag.upper, flag.closed) == ((2, 2, 2, 2), (2, 2, 2, 2), False)
        assert flag.reason == "brackets longer than 4 were not formed"


class TestNotProved:
    def test_where_a_function_is_not_analytic(self):
        made = Structure.define(
            "root", "x y", lambda q: [(1, 0), (0, ca.sqrt(q.x))], domain={"x": (0, None)}
        )
        flag = certified_flag(made, [0, 0])
        assert flag.lower == ()
        assert "not proved to lie inside its domain" in flag.reason
        assert certified_flag(made, [2, 0]).growth_vector == (2,)

    def test_a_value_that_is_zero_for_reasons_unknown_here(self):
        """log 6 = log 2 + log 3 is no relation of the ring: bounds that differ, no wrong answer."""
        made = Structure.define(
            "logarithm",
            "x y",
            lambda q: [(1, 0), (0, ca.log(6 * q.x) - ca.log(3 * q.x) - q.y)],
            domain={"x": (0, None)},
        )
        flag = certified_flag(made, [1, "log(2)"], precision=256)
        assert (flag.lower, flag.upper, flag.growth_vector) == ((1,), (2,), None)
        # 1e-102 away from there, balls tell it from zero
        assert certified_flag(made, [1, "log(2) + 1e-102"]).growth_vector == (2,)

    def test_large_models_stop_soon(self):
        n = 40
        generator = np.random.default_rng(0)
        mixing = generator.integers(-9, 10, (8, n, n))

        def frame(q):
            state = ca.vertcat(*(q[k] for k in range(n)))
            off = state[1] - state[0] ** 2
            fields = [(1, 2 * state[0], *[0] * (n - 2))]
            for matrix in mixing:
                moved = off**2 * (ca.DM(matrix) @ (state * state[0] + 1))
                fields.append(tuple(moved.elements()))
            return fields

        made = Structure.define("large", [f"x{k}" for k in range(n)], frame)
        flag = certified_flag(made, [0] * n, work_limit=200_000)
        assert not flag.closed
        assert flag.lower[0] <= 1
        assert "200000 products" in flag.reason


@pytest.mark.parametrize(
    ("point", "error"),
    [
        ([0, 0], InputError),
        ({"x": 0, "y": 0}, InputError),
        ([0, 0, "z"], InputError),
        ([0, 0, float("nan")], InputError),
        ([0, 0, "1/0"], InputError),
        ([0, 0, None], InputTypeError),
    ],
)
def test_points_that_are_refused(point, error):
    with pytest.raises(error):
        certified_flag(structure(BY_NAME["H1"]), point)


def test_arguments_that_are_refused():
    heisenberg = structure(BY_NAME["H1"])
    with pytest.raises(InputError, match="max_step"):
        certified_flag(heisenberg, [0, 0, 0], max_step=0)
    with pytest.raises(InputError, match="work_limit"):
        certified_flag(heisenberg, [0, 0, 0], work_limit=0)
    with pytest.raises(InputTypeError):
        certified_flag("heisenberg", [0, 0, 0])


def test_without_flint(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(MissingDependencyError, match="certify"):
        certified_flag(structure(BY_NAME["H1"]), [0, 0, 0])


class TestParts:
    def test_spans_of_rational_and_irrational_values_agree(self):
        """A rational point, once as it is and once hidden in sqrt(2)^2 = 2."""
        ring = DifferentialRing(3)
        x, y, z = (ring.element(k) for k in range(3))
        vectors = [[x, y, z], [y, x, z], [x + y, x + y, 2 * z], [z, z, x * y], [x, x, x]]
        rational = RationalSpan([ring.flint.fmpq(k) for k in (1, 2, 3)])
        certified = CertifiedSpan(PointValues(ring, ["sqrt(2)/2", "sqrt(2)", "3*sqrt(2)/2"]))
        expected = [True, True, False, True, False]
        assert [rational.add(v) for v in vectors] == expected
        assert [certified.add(v) for v in vectors] == expected
        assert rational.rank == certified.rank == 3

    def test_rational_combinations_are_those_of_a_matrix(self):
        """Random quadratic fields: independent as long as SymPy's coefficient rank grows."""
        generator = random.Random(3)
        ring = DifferentialRing(2)
        x, y = ring.element(0), ring.element(1)
        monomials = [x * x, x * y, y * y]
        combinations, rows = RationalCombinations(ring), []
        for _ in range(12):
            row = [generator.choice([-1, 0, 0, 1]) for _ in range(6)]
            parts = (zip(half, monomials, strict=True) for half in (row[:3], row[3:]))
            field = [sum(c * m for c, m in part) for part in parts]
            before = sp.Matrix(rows).rank() if rows else 0
            rows.append(row)
            assert combinations.add(field) == (sp.Matrix(rows).rank() > before)

    def test_membership_with_analytic_coefficients(self):
        ring = DifferentialRing(3)
        x, y, z = (ring.element(k) for k in range(3))
        zero, one = x * 0, x * 0 + 1
        origin = LocalModule(ring, lambda p: p(0, 0, 0) != 0)
        origin.add([one, zero, y])
        origin.add([zero, 1 + x, x])
        assert origin.contains([x * y, zero, x * y**2])
        assert origin.contains([zero, x, x**2 / (1 + zero)]) is False
        # (0, x, x^2 / (1 + x)) is x / (1 + x) times the second
        assert origin.contains([zero, x * (1 + x), x**2])
        assert not origin.contains([zero, zero, z])

    def test_invariant_subspaces(self):
        state = ca.SX.sym("x", 3)
        x, y, z = state[0], state[1], state[2]
        frame = ca.horzcat(ca.vertcat(y - x, x - y, z), ca.vertcat(z * x, z, z * ca.sin(y)))
        program = Program(ca.Function("frame", [state, ca.SX(0, 1)], [frame]))
        dimensions = {}
        for point in itertools.product((0, 1), repeat=3):
            found = restrict_to_invariant_subspace(program, [], point, 10**6)
            dimensions[point] = 3 if found is None else found[0].dimension
        # z = 0: fixed where x = y, else the line along (1, -1, 0)
        assert dimensions[0, 0, 0] == dimensions[1, 1, 0] == 0
        assert dimensions[0, 1, 0] == dimensions[1, 0, 0] == 1
        assert dimensions[1, 1, 1] == 3
