"""Power series modulo a prime, through any program of rational operations.

A series is held by its first coefficients, integers modulo a prime p < 2^30. The coefficients of a
solution of a differential equation follow one after the other, and no expression is expanded: the
cost is that of the program, times the square of the number of orders, times the lanes. The work is
done by a small C program where there is a compiler, by NumPy otherwise, with the same result.

Source: Griewank, Walther, *Evaluating Derivatives*, 2nd ed. (2008), chapter 13, for the
recurrences; von zur Gathen, Gerhard, *Modern Computer Algebra*, 3rd ed. (2013), for primes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache, cached_property
from importlib import resources

import numpy as np

from subriem.arithmetic.native_library import compiler, load_library
from subriem.arithmetic.prime_field import RATIONAL, PrimeField
from subriem.arithmetic.program import Program
from subriem.errors import InputError

__all__ = ["ModularSeries", "SingularPointError", "random_prime"]

_CODES = {"constant": 0, "input": 1, "add": 2, "sub": 3, "mul": 4, "div": 5, "neg": 6, "twice": 7}
_NODE = np.dtype(
    [("op", "i4"), ("a", "i4"), ("b", "i4"), ("wide", "i4"), ("offset", "i8")], align=True
)
#: Lanes are worked through in blocks of this size, to stay in the processor's cache.
_BLOCK = 64


class SingularPointError(InputError):
    """A denominator vanishes at the point, modulo the prime."""


def random_prime(bound: int, generator: np.random.Generator) -> int:
    """A random prime in the upper half below a bound.

    Parameters
    ----------
    bound : int
        At least 1000 and at most 2^30.
    generator : numpy.random.Generator

    Returns
    -------
    int

    Raises
    ------
    InputError
        If the bound is out of range.

    Examples
    --------
    >>> prime = random_prime(2**20, np.random.default_rng(0))
    >>> 2**19 < prime < 2**20 and all(prime % d for d in range(2, 1024))
    True
    """
    if not 1000 <= bound <= 2**30:
        raise InputError(f"bound: expected between 1000 and 2^30, got {bound}")
    divisors = _small_primes(int(bound**0.5) + 1)
    while True:
        candidate = int(generator.integers(bound // 2, bound)) | 1
        if candidate < bound and (candidate % divisors != 0).all():
            return candidate


def _small_primes(bound: int) -> np.ndarray:
    sieve = np.ones(bound + 1, dtype=bool)
    sieve[:2] = False
    for k in range(2, int(bound**0.5) + 1):
        if sieve[k]:
            sieve[k * k :: k] = False
    return np.flatnonzero(sieve)


class ModularSeries:
    """A program whose arguments are power series modulo a prime.

    Parameters
    ----------
    program : Program
        Of additions, products and quotients.
    wide : sequence of bool
        For each argument whether it differs from lane to lane.

    Raises
    ------
    InputError
        If the program has an operation that is not rational.

    Examples
    --------
    The solution 1/(1 - t) of y' = y^2, y(0) = 1:

    >>> import casadi as ca
    >>> y = ca.SX.sym("y")
    >>> square = ModularSeries(Program(ca.Function("f", [y], [y**2])), [False])
    >>> start = np.array([[1, 0, 0, 0]]).T.reshape(4, 1, 1)
    >>> (state,), _ = square.solve(7919, [start], states=0)
    >>> state.ravel()
    array([1, 1, 1, 1], dtype=uint32)
    """

    def __init__(self, program: Program, wide: Sequence[bool]) -> None:
        strange = sorted(program.operations - RATIONAL)
        if strange:
            raise InputError(
                f"{program.function.name()} is not rational: it has {', '.join(strange)}"
            )
        self.program = program
        self.wide = tuple(wide)

    @cached_property
    def _nodes(self) -> tuple[np.ndarray, np.ndarray, list[tuple[int, float]]]:
        """The nodes without offsets, the node of each input's entry, the constants."""
        instructions = self.program.instructions
        nodes = np.zeros(len(instructions) + 1, dtype=_NODE)
        # the constant one, numerator of all inverses
        unit = len(instructions)
        constants: list[tuple[int, float]] = [(unit, 1.0)]
        inputs: list[tuple[int, int, int]] = []
        for k, instruction in enumerate(instructions):
            name, operands = instruction.operation, instruction.operands
            if name == "input":
                which, position = operands
                inputs.append((which, position, k))
                nodes[k] = (_CODES[name], 0, 0, self.wide[which], 0)
                continue
            if name == "constant":
                constants.append((k, instruction.value))
                nodes[k] = (_CODES[name], 0, 0, 0, 0)
                continue
            if name == "sq":
                name, operands = "mul", (operands[0], operands[0])
            elif name == "inv":
                name, operands = "div", (unit, operands[0])
            a, b = operands[0], operands[-1]
            nodes[k] = (_CODES[name], a, b, nodes["wide"][a] | nodes["wide"][b], 0)
        return nodes, np.array(inputs, dtype=np.int64).reshape(-1, 3), constants

    def solve(
        self,
        prime: int,
        arguments: Sequence[np.ndarray],
        states: int | None = None,
        sign: int = 1,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Evaluate on series; or solve y' = sign * (first output) for one of the arguments.

        Parameters
        ----------
        prime : int
            Below 2^30 and above the number of orders.
        arguments : sequence of ndarray of integers, shape (orders, entries, lanes or 1)
            The coefficients of each nonzero of each argument; of the states, order 0 counts.
        states : int, optional
            Which argument solves the differential equation.
        sign : {1, -1}

        Returns
        -------
        arguments, outputs : lists of ndarray of uint32, shape (orders, entries, lanes or 1)
            The arguments, with the solution in place of the states; the program's outputs.

        Raises
        ------
        SingularPointError
            If a denominator vanishes at order 0, or that of a constant.
        """
        given = [np.array(values, dtype=np.uint32) for values in arguments]
        orders = given[0].shape[0]
        lanes = max(
            [values.shape[2] for values, w in zip(given, self.wide, strict=True) if w] + [1]
        )
        nodes, inputs, constants = self._nodes
        field = PrimeField(prime)
        try:
            known = [(k, field.constant(value)) for k, value in constants]
        except InputError as error:
            raise SingularPointError(str(error)) from error
        outputs = [
            np.zeros((orders, len(output), lanes), dtype=np.uint32)
            for output in self.program.outputs
        ]
        rates = np.array(self.program.outputs[0], dtype=np.int32)
        of_state = np.zeros(0, dtype=np.int32)
        if states is not None:
            chosen = inputs[inputs[:, 0] == states]
            of_state = np.zeros(len(rates), dtype=np.int32) - 1
            of_state[chosen[:, 1]] = chosen[:, 2]
            kept = of_state >= 0
            of_state, rates = of_state[kept], rates[kept]
        for start in range(0, lanes, _BLOCK):
            block = slice(start, min(start + _BLOCK, lanes))
            size = block.stop - block.start
            widths = np.where(nodes["wide"] > 0, size, 1).astype(np.int64)
            here = nodes.copy()
            here["offset"] = np.concatenate([[0], np.cumsum(widths * orders)[:-1]])
            data = np.zeros(int((widths * orders).sum()), dtype=np.uint32)
            views = [
                data[o : o + orders * w].reshape(orders, w)
                for o, w in zip(here["offset"].tolist(), widths.tolist(), strict=True)
            ]
            for k, value in known:
                views[k][0] = value
            for which, position, k in inputs.tolist():
                source = given[which][:, position]
                values = source[:, block] if self.wide[which] else source
                if which == states:
                    views[k][0] = values[0]
                else:
                    views[k][:] = values
            failed = _run(here, orders, size, prime, data, views, of_state, rates, sign)
            if failed >= 0:
                raise SingularPointError(f"a denominator vanishes modulo {prime} at the point")
            for which, output in enumerate(self.program.outputs):
                for position, k in enumerate(output):
                    outputs[which][:, position, block] = views[k]
            if states is not None:
                self._read_states(
                    given[states], states, inputs, views, outputs[0], block, sign, prime
                )
        return given, outputs

    def _read_states(
        self,
        series: np.ndarray,
        states: int,
        inputs: np.ndarray,
        views: list[np.ndarray],
        rate: np.ndarray,
        block: slice,
        sign: int,
        prime: int,
    ) -> None:
        """The states' series, also of those that the program does not read."""
        orders = series.shape[0]
        lanes = block if self.wide[states] else slice(0, 1)
        read = {int(position): int(k) for which, position, k in inputs if which == states}
        for position in range(series.shape[1]):
            if position in read:
                series[:, position, lanes] = views[read[position]]
                continue
            for k in range(orders - 1):
                slope = rate[k, position, lanes].astype(np.int64)
                series[k + 1, position, lanes] = sign * slope * pow(k + 1, -1, prime) % prime


@cache
def _library() -> ctypes.CDLL:
    source = resources.files("subriem.arithmetic").joinpath("modular_series.c").read_text()
    return load_library(source)


def _run(
    nodes: np.ndarray,
    orders: int,
    lanes: int,
    prime: int,
    data: np.ndarray,
    views: list[np.ndarray],
    states: np.ndarray,
    rates: np.ndarray,
    sign: int,
) -> int:
    """Fill in all coefficients; -1, or the node with a vanishing denominator."""
    if compiler() is None:
        return _run_numpy(nodes, orders, prime, views, states, rates, sign)
    library = _library()
    inverses = np.zeros(
        len(nodes) * lanes if (nodes["op"] == _CODES["div"]).any() else 1, dtype=np.uint32
    )

    def pointer(array: np.ndarray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    states, rates = np.ascontiguousarray(states), np.ascontiguousarray(rates)
    code = library.modular_series(
        ctypes.c_long(len(nodes)),
        pointer(nodes),
        ctypes.c_long(orders),
        ctypes.c_long(lanes),
        ctypes.c_uint32(prime),
        pointer(data),
        ctypes.c_long(len(states)),
        pointer(states),
        pointer(rates),
        ctypes.c_int(sign),
        pointer(inverses),
    )
    return int(code) - 1


def _run_numpy(
    nodes: np.ndarray,
    orders: int,
    prime: int,
    views: list[np.ndarray],
    states: np.ndarray,
    rates: np.ndarray,
    sign: int,
) -> int:
    names = {code: name for name, code in _CODES.items()}
    table = [(names[int(v["op"])], int(v["a"]), int(v["b"])) for v in nodes]
    inverses: dict[int, np.ndarray] = {}
    field = PrimeField(prime)
    wide = [view.astype(np.int64) for view in views]

    def convolved(a: np.ndarray, b: np.ndarray, k: int, first: int) -> np.ndarray:
        terms = a[first : k + 1] * b[k - first :: -1][: k + 1 - first] % prime
        return np.asarray(terms.sum(axis=0) % prime)

    for k in range(orders):
        for n, (name, i, j) in enumerate(table):
            if name in ("constant", "input"):
                continue
            a, b = wide[i], wide[j]
            if name == "mul":
                value = convolved(a, b, k, 0)
            elif name == "div":
                if k == 0:
                    if (b[0] == 0).any():
                        return n
                    inverses[n] = np.array([field.inv(int(entry)) for entry in b[0]])
                rest = convolved(b, wide[n], k, 1) if k else 0
                value = (a[k] - rest) % prime * inverses[n] % prime
            elif name == "add":
                value = (a[k] + b[k]) % prime
            elif name == "sub":
                value = (a[k] - b[k]) % prime
            elif name == "neg":
                value = -a[k] % prime
            else:
                value = 2 * a[k] % prime
            wide[n][k] = value
        if k + 1 < orders:
            factor = pow(k + 1, -1, prime)
            for state, rate in zip(states.tolist(), rates.tolist(), strict=True):
                wide[state][k + 1] = sign * wide[rate][k] * factor % prime
    for view, values in zip(views, wide, strict=True):
        view[:] = values
    return -1
