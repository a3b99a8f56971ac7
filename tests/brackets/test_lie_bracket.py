import casadi as ca
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import subriem as sr
from subriem.brackets import BracketFamily, named_bracket
from subriem.errors import InputError, InputTypeError

Q = ca.SX.sym("q", 3)
F = ca.vertcat(ca.cos(Q[2]), ca.sin(Q[2]) * Q[0], Q[1] ** 2)
G = ca.vertcat(Q[0] * Q[1], ca.exp(Q[2]), 1)
H = ca.vertcat(Q[2], Q[0] - Q[1], ca.sin(Q[0]))


def values(expression, at):
    return np.asarray(ca.Function("f", [Q], [expression])(at)).ravel()


points = st.lists(st.floats(-2, 2), min_size=3, max_size=3)


@given(points)
def test_antisymmetry_and_jacobi_identity(at):
    def bracket(a, b):
        return sr.lie_bracket(a, b, Q)

    np.testing.assert_allclose(values(bracket(F, G), at), -values(bracket(G, F), at), atol=1e-12)
    jacobi = bracket(F, bracket(G, H)) + bracket(G, bracket(H, F)) + bracket(H, bracket(F, G))
    scale = np.abs(values(bracket(F, bracket(G, H)), at)).max()
    np.testing.assert_allclose(values(jacobi, at), 0, atol=1e-11 * (1 + scale))


@given(points, points)
def test_poisson_bracket_of_the_lifts_is_the_lift_of_the_bracket(at, momentum):
    p = ca.SX.sym("p", 3)
    lift_f, lift_g = p.T @ F, p.T @ G
    # {a, b} = (d_p a)(d_q b) - (d_q a)(d_p b)
    poisson = ca.jacobian(lift_f, p) @ ca.jacobian(lift_g, Q).T
    poisson -= ca.jacobian(lift_f, Q) @ ca.jacobian(lift_g, p).T
    lifted = p.T @ sr.lie_bracket(F, G, Q)
    both = ca.Function("both", [Q, p], [poisson, lifted])(at, momentum)
    assert float(both[0]) == pytest.approx(float(both[1]), rel=1e-10, abs=1e-10)


def test_against_the_commutator_of_flows():
    """e^{-tg} e^{-tf} e^{tg} e^{tf} q = q + t^2 [f, g] + O(t^3), flows by scipy."""
    from scipy.integrate import solve_ivp

    f, g = (ca.Function("f", [Q], [field]) for field in (F, G))
    at = np.array([0.3, -0.4, 0.5])
    expected = values(sr.lie_bracket(F, G, Q), at)
    errors = []
    for t in (0.02, 0.01):
        q = at
        for field, sign in ((f, 1), (g, 1), (f, -1), (g, -1)):
            q = solve_ivp(
                lambda _, y, field=field, sign=sign: sign * np.asarray(field(y)).ravel(),
                (0, t),
                q,
                method="DOP853",
                rtol=1e-13,
                atol=1e-14,
            ).y[:, -1]
        errors.append(np.abs((q - at) / t**2 - expected).max())
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 0.05


def test_against_sympy():
    x, y, z = sympy.symbols("x y z")
    f = sympy.Matrix([sympy.cos(z), sympy.sin(z) * x, y**2])
    g = sympy.Matrix([x * y, sympy.exp(z), 1])
    state = [x, y, z]
    expected = g.jacobian(state) * f - f.jacobian(state) * g
    at = [0.3, -1.2, 0.8]
    numbers = [float(entry) for entry in expected.subs(dict(zip(state, at, strict=True)))]
    np.testing.assert_allclose(values(sr.lie_bracket(F, G, Q), at), numbers, rtol=1e-13)


def witt(letters, length):
    """Dimension of the free Lie algebra's piece of a length (Witt's formula)."""
    return sum(sympy.mobius(d) * letters ** (length // d) for d in sympy.divisors(length)) // length


@pytest.mark.parametrize("letters", [2, 3])
def test_the_hall_basis_has_the_size_that_witt_says(letters):
    # Fields generic enough that no bracket vanishes.
    generator = np.random.default_rng(0)

    def frame(q):
        v = ca.vertcat(q.x, q.y)
        return [
            tuple(
                generator.standard_normal()
                + ca.sin(generator.standard_normal((1, 2)) @ v)
                * ca.exp(generator.standard_normal((1, 2)) @ v)
                for _ in range(2)
            )
            for _ in range(letters)
        ]

    family = BracketFamily(sr.Structure.define("generic", "x y", frame))
    sizes = [len(family.of_length(length)) for length in range(1, 6 if letters == 2 else 5)]
    assert sizes == [witt(letters, length) for length in range(1, len(sizes) + 1)]


def test_vanishing_brackets_are_not_expanded():
    heisenberg = sr.models.heisenberg()
    family = BracketFamily(heisenberg)
    assert [b.name for b in family.of_length(2)] == ["[f1,f2]"]
    assert family.of_length(3) == []
    assert family.of_length(9) == []
    # zero only after sin^2 + cos^2 = 1: no structural zero shows it
    hidden = sr.Structure.define(
        "hidden", "x y", lambda q: [(ca.sin(q.y) ** 2 + ca.cos(q.y) ** 2, 0), (0, 1)]
    )
    assert BracketFamily(hidden).of_length(2) == []


def test_a_bracket_by_its_name():
    engel = sr.models.engel()
    name = "[f1,[f1,f2]]"
    once = sr.lie_bracket(engel.frame[:, 0], engel.frame[:, 1], engel.state)
    twice = sr.lie_bracket(engel.frame[:, 0], once, engel.state)
    at = engel.sample(3)
    np.testing.assert_array_equal(
        engel.evaluate("named", named_bracket(engel, name), at),
        engel.evaluate("twice", twice, at),
    )
    assert named_bracket(engel, " [f1, [f1, f2]] ").shape == (4, 1)


@pytest.mark.parametrize("name", ["[f1,f3]", "[f1", "[f1,f2]]", "[f1 f2]", "", "[f1,[f2]]"])
def test_names_that_are_not_brackets_are_refused(name):
    with pytest.raises(InputError, match=r"engel|bracket|expect"):
        named_bracket(sr.models.engel(), name)


def test_arguments_that_cannot_be_right_are_refused():
    with pytest.raises(InputError, match="g: expected shape"):
        sr.lie_bracket(F, G[:2], Q)
    with pytest.raises(InputTypeError, match="f: expected a CasADi SX, got ndarray"):
        sr.lie_bracket(np.zeros(3), G, Q)


def test_brackets_are_carried_over_by_a_change_of_coordinates():
    engel = sr.models.engel()
    bent = engel.change_coordinates(
        "a b c d",
        lambda q: (q[0] + q[1] ** 2, q[1], q[2] + ca.sin(q[0]), q[3] * 2 + q[0] * q[1]),
        lambda s: (
            s.a - s.b**2,
            s.b,
            s.c - ca.sin(s.a - s.b**2),
            (s.d - (s.a - s.b**2) * s.b) / 2,
        ),
    )
    for x, y, z, w in engel.sample(5, np.random.default_rng(6)):
        there = [x + y**2, y, z + np.sin(x), 2 * w + x * y]
        slope = np.array([[1, 2 * y, 0, 0], [0, 1, 0, 0], [np.cos(x), 0, 1, 0], [y, x, 0, 2]])
        for name in ("[f1,f2]", "[f1,[f1,f2]]", "[f2,[f1,f2]]"):
            here = engel.evaluate(name, named_bracket(engel, name), [x, y, z, w])
            moved = bent.evaluate(name, named_bracket(bent, name), there)
            np.testing.assert_allclose(moved, slope @ here, atol=1e-12)
