"""Series modulo a prime against exact fractions, closed forms and the NumPy fallback."""

import math
from fractions import Fraction

import casadi as ca
import numpy as np
import pytest

from subriem.arithmetic.exact_polynomials import ExactPolynomials
from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.arithmetic.modular_series import ModularSeries, SingularPointError, random_prime
from subriem.arithmetic.native_library import compiler
from subriem.arithmetic.program import Program
from subriem.arithmetic.sign_symmetries import sign_characters
from subriem.errors import InputError

PRIME = 998244353


def _residue(value: Fraction) -> int:
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


def _mixed() -> ModularSeries:
    y, w = ca.SX.sym("y", 3), ca.SX.sym("w", 2)
    rates = ca.vertcat(
        y[0] * y[1] + w[0] / y[2], y[2] ** 2 - 3 * y[0] * w[1], 1 / (1 + y[1] ** 2) - 0.5 * w[1]
    )
    return ModularSeries(Program(ca.Function("f", [y, w], [rates])), [True, False])


def test_the_tangent_from_its_differential_equation() -> None:
    y = ca.SX.sym("y")
    tangent = ModularSeries(Program(ca.Function("f", [y], [1 + y**2])), [False])
    (state,), _ = tangent.solve(PRIME, [np.zeros((8, 1, 1), dtype=int)], states=0)
    exact = [0, 1, 0, Fraction(1, 3), 0, Fraction(2, 15), 0, Fraction(17, 315)]
    assert state[:, 0, 0].tolist() == [_residue(Fraction(value)) for value in exact]


def test_a_linear_equation_backwards() -> None:
    y = ca.SX.sym("y")
    decay = ModularSeries(Program(ca.Function("f", [y], [2 * y])), [False])
    start = np.zeros((6, 1, 1), dtype=int)
    start[0] = 1
    (state,), _ = decay.solve(PRIME, [start], states=0, sign=-1)
    exact = [Fraction((-2) ** k, math.factorial(k)) for k in range(6)]
    assert state[:, 0, 0].tolist() == [_residue(value) for value in exact]


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("lanes", [1, 3, 64, 130])
def test_compiled_and_plain_agree_to_the_bit(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(lanes)
    prime = random_prime(2**30, generator)
    state = np.zeros((20, 3, lanes), dtype=np.int64)
    state[0] = generator.integers(1, prime, (3, lanes))
    weights = generator.integers(0, prime, (20, 2, 1))
    compiled = _mixed().solve(prime, [state, weights], states=0)
    monkeypatch.setenv("CC", "")
    plain = _mixed().solve(prime, [state, weights], states=0)
    assert all((a == b).all() for a, b in zip(compiled[0], plain[0], strict=True))
    assert all((a == b).all() for a, b in zip(compiled[1], plain[1], strict=True))


def test_states_that_no_rate_reads_are_integrated_too() -> None:
    y = ca.SX.sym("y", 2)
    counter = ModularSeries(Program(ca.Function("f", [y], [ca.vertcat(1, y[0])])), [False])
    (state,), _ = counter.solve(PRIME, [np.zeros((4, 2, 1), dtype=int)], states=0)
    assert state[:, 0, 0].tolist() == [0, 1, 0, 0]
    assert state[:, 1, 0].tolist() == [0, 0, _residue(Fraction(1, 2)), 0]


def test_a_pole_is_reported() -> None:
    zero = np.zeros((3, 3, 1), dtype=int)
    with pytest.raises(SingularPointError, match="denominator"):
        _mixed().solve(PRIME, [zero, np.ones((3, 2, 1), dtype=int)], states=0)


def test_what_is_not_rational_is_refused() -> None:
    y = ca.SX.sym("y")
    with pytest.raises(InputError, match="sin"):
        ModularSeries(Program(ca.Function("f", [y], [ca.sin(y)])), [False])
    with pytest.raises(InputError, match="bound"):
        random_prime(2**40, np.random.default_rng(0))


def test_sign_symmetries_of_a_sum_bind_its_terms() -> None:
    q, w = ca.SX.sym("q", 3), ca.SX.sym("w", 2)
    field = ca.vertcat(w[0] * q[1] + w[1] * q[2], w[0] * q[0], w[1] * q[0])
    marks = sign_characters(Program(ca.Function("f", [q, w], [field])))
    # all three signs are free: the weights absorb them
    assert len({marks[0], marks[1], marks[2]}) == 3
    fixed = ca.vertcat(q[1] + q[2], q[0], q[0])
    marks = sign_characters(Program(ca.Function("f", [q, w], [fixed])))
    assert len(set(marks)) == 1


def test_polynomials_stop_at_their_limit() -> None:
    ring = ExactPolynomials(3, work_limit=50)
    x, y, z = ring.variables
    total = ring.add(ring.add(x, y), z)
    square = ring.sq(total)
    assert len(square) == 6
    with pytest.raises(WorkLimitReached):
        ring.sq(ring.sq(square))
