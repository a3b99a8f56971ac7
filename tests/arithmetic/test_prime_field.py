"""Ranks and zeros modulo a prime, against exact fractions."""

from fractions import Fraction

import casadi as ca
import numpy as np
import pytest
import sympy

from subriem.arithmetic.prime_field import MERSENNE_61, PrimeField
from subriem.arithmetic.program import Program
from subriem.errors import InputError


def test_the_prime_is_one():
    assert sympy.isprime(MERSENNE_61)


def test_a_program_modulo_a_prime_agrees_with_fractions():
    x = ca.SX.sym("x", 3)
    expression = (x[0] ** 3 - x[1] / 12) / (1 + x[2] ** 2) + 0.25 * x[0] * x[1] - 1 / x[2]
    program = Program(ca.Function("f", [x], [expression]))
    point = [Fraction(3, 7), Fraction(-5, 2), Fraction(11, 3)]
    a, b, c = point
    exact = (a**3 - b / 12) / (1 + c**2) + a * b / 4 - 1 / c
    field = PrimeField()
    residues = [field.div(value.numerator % field.prime, value.denominator) for value in point]
    ((found,),) = program.run(field, residues)
    assert found == field.div(exact.numerator % field.prime, exact.denominator)


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_ranks_against_sympy(rank):
    generator = np.random.default_rng(rank)
    left = generator.integers(-9, 10, (6, rank))
    right = generator.integers(-9, 10, (rank, 7))
    matrix = (left @ right).tolist() if rank else np.zeros((6, 7), int).tolist()
    field = PrimeField()
    rows = [[entry % field.prime for entry in row] for row in matrix]
    assert field.rank(rows) == sympy.Matrix(matrix).rank()


def test_division_by_zero_is_refused():
    with pytest.raises(InputError, match="division by zero modulo 7"):
        PrimeField(7).div(3, 14)
    with pytest.raises(InputError, match="division by zero modulo 2"):
        PrimeField(2).constant(0.5)
