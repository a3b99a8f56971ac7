"""Program: CasADi's instructions, run in number systems, against CasADi's own evaluation."""

import math
import pickle
from fractions import Fraction

import casadi as ca
import numpy as np
import pytest

from subriem.arithmetic.program import OPERATIONS, Program
from subriem.errors import InputError


class Floats:
    """Python floats: the standard library's functions by the names of the operations."""

    def __getattr__(self, name):
        binary = {
            "add": lambda a, b: a + b,
            "sub": lambda a, b: a - b,
            "mul": lambda a, b: a * b,
            "div": lambda a, b: a / b,
            "fmin": min,
            "fmax": max,
            "lt": lambda a, b: float(a < b),
            "if_else_zero": lambda a, b: b if a else 0.0,
            "not": lambda a: float(not a),
            "neg": lambda a: -a,
            "sq": lambda a: a * a,
            "twice": lambda a: 2 * a,
            "inv": lambda a: 1 / a,
            "constpow": math.pow,
        }
        if name in binary:
            return binary[name]
        return getattr(math, name)

    def constant(self, value):
        return value


class Exact:
    """Fractions, and nothing but the four operations."""

    def constant(self, value):
        return Fraction(value)

    def add(self, a, b):
        return a + b

    def sub(self, a, b):
        return a - b

    def mul(self, a, b):
        return a * b

    def sq(self, a):
        return a * a

    def twice(self, a):
        return 2 * a


def test_agrees_with_casadi_on_two_matrices_of_smooth_and_piecewise_entries():
    x, p = ca.SX.sym("x", 3), ca.SX.sym("p", 2)
    first = ca.horzcat(
        ca.sin(x[0]) * x[1] + ca.exp(x[2]) / (1 + x[0] ** 2),
        ca.if_else(x[0] < p[0], x[1], ca.fmax(x[2], p[1])),
    )
    second = ca.vertcat(ca.tanh(x), ca.atan2(x[0], p[1]), ca.hypot(x[1], x[2]), x[2] ** 2.5)
    function = ca.Function("f", [x, p], [first, second])
    for seed in range(5):
        generator = np.random.default_rng(seed)
        at, values = generator.random(3) + 0.1, generator.random(2)
        found = Program(function).run(Floats(), list(at), list(values))
        expected = [np.asarray(out).flatten(order="F") for out in function(at, values)]
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-15, atol=0)


def test_mx_functions_are_expanded():
    x = ca.MX.sym("x", 2)
    function = ca.Function("f", [x], [ca.mtimes(x.T, x)])
    assert Program(function).run(Exact(), [Fraction(1, 3), Fraction(2)]) == [[Fraction(37, 9)]]


def test_equal_instructions_are_shared_and_registers_are_not_confused():
    x = ca.SX.sym("x")
    y = x
    for k in range(30):  # more values than CasADi keeps registers for
        y = y * x + k
    program = Program(ca.Function("f", [x], [y, (x * x + 1) * (x * x + 2)]))
    value = Fraction(1)
    for k in range(30):
        value = value * 1 + k
    assert program.run(Exact(), [Fraction(1)]) == [[value], [Fraction(6)]]
    seen = [(i.operation, i.operands, i.value) for i in program.instructions]
    assert len(seen) == len(set(seen))


def test_sparse_outputs_give_their_nonzeros_only():
    x = ca.SX.sym("x", 3)
    matrix = ca.SX(3, 3)
    matrix[2, 0], matrix[0, 2] = x[0], x[1]
    (entries,) = Program(ca.Function("f", [x], [matrix])).run(Exact(), [5, 7, 11])
    assert entries == [5, 7]  # column by column


def test_refuses_an_operation_that_the_number_system_lacks():
    x = ca.SX.sym("x")
    program = Program(ca.Function("wave", [x], [ca.sin(x) + ca.fabs(x)]))
    with pytest.raises(InputError, match="Exact does not know fabs, sin, which wave uses"):
        program.run(Exact(), [1])


def test_refuses_arguments_that_do_not_fit():
    x = ca.SX.sym("x", 2)
    program = Program(ca.Function("f", [x], [x[0]]))
    with pytest.raises(InputError, match=r"expected arguments of \[2\] numbers, got \[3\]"):
        program.run(Exact(), [1, 2, 3])


def test_refuses_a_function_that_calls_what_is_not_scalar():
    x = ca.MX.sym("x")
    table = ca.interpolant("table", "linear", [[0, 1, 2]], [0, 1, 4])
    program = Program(ca.Function("f", [x], [table(x)]))
    with pytest.raises(InputError, match="of f has no scalar form"):
        program.run(Floats(), [0.5])


def test_pickles():
    x = ca.SX.sym("x")
    program = Program(ca.Function("f", [x], [x * x]))
    assert pickle.loads(pickle.dumps(program)).run(Exact(), [Fraction(3, 2)]) == [[Fraction(9, 4)]]


def test_every_named_operation_is_one_of_casadi():
    assert {getattr(ca, f"OP_{name.upper()}") for name in OPERATIONS.values()} == set(OPERATIONS)
