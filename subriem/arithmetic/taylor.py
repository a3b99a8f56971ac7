"""Power series in one variable, order by order, for every operation of a program.

`TaylorRun` evaluates a `Program` on truncated series whose coefficients are known one order after
the other, as they are while a differential equation is solved: coefficient l of each instruction
follows from coefficients 0..l of its operands by the classical recurrences (Griewank, Walther,
*Evaluating Derivatives*, 2nd ed., 2008, chapter 13). Coefficients are float arrays with any lanes;
their first axis is that of the copies of `PerturbedFloats`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from subriem.arithmetic.floats import PerturbedFloats
from subriem.arithmetic.program import Program
from subriem.errors import InputError

__all__ = ["TaylorRun"]

Series = np.ndarray
Step = Callable[[int], np.ndarray]


class TaylorRun:
    """One evaluation of a program on series, continued order by order.

    Parameters
    ----------
    program : Program
    orders : int
        How many coefficients at most.
    shape : tuple of int
        The lanes of a coefficient; the first axis is 1 + ``floats.copies``.
    floats : PerturbedFloats
        Says how every operation is perturbed.

    Raises
    ------
    InputError
        If the program uses an operation that has no series.

    Examples
    --------
    >>> import casadi as ca
    >>> x = ca.SX.sym("x")
    >>> run = TaylorRun(Program(ca.Function("f", [x], [ca.exp(x)])), 3, (1,), PerturbedFloats(0, 0))
    >>> coefficients = [run.advance([[np.array([value])]]) for value in (0.0, 1.0, 0.0)]
    >>> [float(outputs[0][0][0]) for outputs in coefficients]
    [1.0, 1.0, 0.5]
    """

    def __init__(
        self, program: Program, orders: int, shape: tuple[int, ...], floats: PerturbedFloats
    ) -> None:
        missing = sorted(program.operations - set(_RULES))
        if missing:
            raise InputError(f"no power series for {', '.join(missing)}")
        self.program = program
        self.order = 0
        self.floats = floats
        self._orders = orders
        self._shape = shape
        self._nodes: list[tuple[Step, Series]] = []
        self._given: Sequence[Sequence[np.ndarray]] = ()
        values: list[Series] = []
        for instruction in program.instructions:
            if instruction.operation == "input":
                values.append(self.node(self._input(*instruction.operands)))
            elif instruction.operation == "constant":
                values.append(self.constant(instruction.value))
            else:
                operands = [values[k] for k in instruction.operands]
                values.append(_RULES[instruction.operation](self, *operands))
        self._outputs = [[values[k] for k in output] for output in program.outputs]

    def _input(self, which: int, position: int) -> Step:
        return lambda order: self._given[which][position]

    def series(self) -> Series:
        """A series all of whose coefficients are still to come."""
        return np.zeros((self._orders, *self._shape))

    def node(self, step: Step, series: Series | None = None) -> Series:
        """A series whose coefficients are computed by ``step``, after those made before."""
        series = self.series() if series is None else series
        self._nodes.append((step, series))
        return series

    def constant(self, value: float) -> Series:
        """The series of a constant."""
        series = self.series()
        series[0] = value
        return series

    def rounded(self, step: Step, series: Series | None = None) -> Series:
        """As `node`, with the perturbation of an operation."""
        lanes = (slice(None), *(None,) * (len(self._shape) - 1))

        def perturbed(order: int) -> np.ndarray:
            return step(order) * (1.0 + self.floats.noise()[:, 0][lanes])

        return self.node(perturbed, series)

    def shaken(self, a: Series) -> Series:
        """An argument with the natural scale 1, perturbed on that scale."""
        lanes = (slice(None), *(None,) * (len(self._shape) - 1))

        def step(order: int) -> np.ndarray:
            return a[0] + self.floats.noise()[:, 0][lanes] if order == 0 else a[order]

        return self.node(step)

    def advance(self, coefficients: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        """The outputs' next coefficient from that of the inputs.

        Parameters
        ----------
        coefficients : sequence of sequences of ndarray
            For each argument of the function, each nonzero's coefficient of the current order.

        Returns
        -------
        list of lists of ndarray
            The same for the outputs.
        """
        self._given = coefficients
        with np.errstate(all="ignore"):
            for step, series in self._nodes:
                series[self.order] = step(self.order)
        order, self.order = self.order, self.order + 1
        return [[series[order] for series in output] for output in self._outputs]


def convolve(a: Series, b: Series, order: int, first: int = 0, last: int = 0) -> np.ndarray:
    """Sum of a_j b_{order - j} over j from ``first`` to ``order - last``."""
    stop = order - last + 1
    if stop <= first:
        return np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]))
    mirrored = b[order - stop + 1 : order - first + 1][::-1]
    return np.einsum("j...,j...->...", a[first:stop], mirrored)


def _weighted(a: Series, b: Series, order: int, last: int = 0) -> np.ndarray:
    """Sum of (j / order) a_j b_{order - j} over j from 1 to ``order - last``."""
    stop = order - last + 1
    if stop <= 1:
        return np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]))
    weights = np.arange(1, stop) / order
    mirrored = b[order - stop + 1 : order][::-1]
    return np.einsum("j,j...,j...->...", weights, a[1:stop], mirrored)


def _add(run: TaylorRun, a: Series, b: Series) -> Series:
    return run.rounded(lambda l: a[l] + b[l])


def _sub(run: TaylorRun, a: Series, b: Series) -> Series:
    return run.rounded(lambda l: a[l] - b[l])


def _neg(run: TaylorRun, a: Series) -> Series:
    return run.node(lambda l: -a[l])


def _twice(run: TaylorRun, a: Series) -> Series:
    return run.node(lambda l: 2.0 * a[l])


def _mul(run: TaylorRun, a: Series, b: Series) -> Series:
    return run.rounded(lambda l: convolve(a, b, l))


def _sq(run: TaylorRun, a: Series) -> Series:
    return _mul(run, a, a)


def _div(run: TaylorRun, a: Series, b: Series) -> Series:
    c = run.series()
    return run.rounded(lambda l: (a[l] - convolve(b, c, l, first=1)) / b[0], c)


def _inv(run: TaylorRun, a: Series) -> Series:
    return _div(run, run.constant(1.0), a)


def _sqrt(run: TaylorRun, a: Series) -> Series:
    c = run.series()

    def step(l: int) -> np.ndarray:
        if l == 0:
            return np.sqrt(a[0])
        return (a[l] - convolve(c, c, l, first=1, last=1)) / (2.0 * c[0])

    return run.rounded(step, c)


def _hypot(run: TaylorRun, a: Series, b: Series) -> Series:
    return _sqrt(run, _add(run, _sq(run, a), _sq(run, b)))


def _exp(run: TaylorRun, a: Series) -> Series:
    y = run.series()
    return run.rounded(lambda l: np.exp(a[0]) if l == 0 else _weighted(a, y, l), y)


def _expm1(run: TaylorRun, a: Series) -> Series:
    slope = _exp(run, a)
    return run.rounded(lambda l: np.expm1(a[0]) if l == 0 else slope[l])


def _log(run: TaylorRun, a: Series) -> Series:
    y = run.series()
    return run.rounded(
        lambda l: np.log(a[0]) if l == 0 else (a[l] - _weighted(y, a, l, last=1)) / a[0], y
    )


def _log1p(run: TaylorRun, a: Series) -> Series:
    shifted = _add(run, a, run.constant(1.0))
    slope = _inv(run, shifted)
    return run.rounded(lambda l: np.log1p(a[0]) if l == 0 else _weighted(a, slope, l))


def _pair(
    run: TaylorRun, a: Series, first: Callable, second: Callable, sign: float
) -> tuple[Series, Series]:
    """(sin, cos) or (sinh, cosh): s' = c a', c' = sign s a'."""
    s, c = run.series(), run.series()
    run.rounded(lambda l: first(a[0]) if l == 0 else _weighted(a, c, l), s)
    run.rounded(lambda l: second(a[0]) if l == 0 else sign * _weighted(a, s, l), c)
    return s, c


def _sin(run: TaylorRun, a: Series) -> Series:
    return _pair(run, run.shaken(a), np.sin, np.cos, -1.0)[0]


def _cos(run: TaylorRun, a: Series) -> Series:
    return _pair(run, run.shaken(a), np.sin, np.cos, -1.0)[1]


def _tan(run: TaylorRun, a: Series) -> Series:
    return _div(run, *_pair(run, run.shaken(a), np.sin, np.cos, -1.0))


def _sinh(run: TaylorRun, a: Series) -> Series:
    return _pair(run, a, np.sinh, np.cosh, 1.0)[0]


def _cosh(run: TaylorRun, a: Series) -> Series:
    return _pair(run, a, np.sinh, np.cosh, 1.0)[1]


def _riccati(value: Callable, sign: float) -> Callable:
    """Y' = (1 + sign y^2) a': tanh."""

    def rule(run: TaylorRun, a: Series) -> Series:
        y, slope = run.series(), run.series()
        run.rounded(lambda l: value(a[0]) if l == 0 else _weighted(a, slope, l), y)
        run.rounded(lambda l: (1.0 if l == 0 else 0.0) + sign * convolve(y, y, l), slope)
        return y

    return rule


def _quadrature(value: Callable, slope: Callable[[TaylorRun, Series], Series]) -> Callable:
    """Y' = slope(a) a'."""

    def rule(run: TaylorRun, a: Series) -> Series:
        g = slope(run, a)
        return run.rounded(lambda l: value(a[0]) if l == 0 else _weighted(a, g, l))

    return rule


def _one_plus_square(run: TaylorRun, a: Series, sign: float) -> Series:
    one = run.constant(1.0)
    return (_add if sign > 0 else _sub)(run, one, _sq(run, a))


def _gaussian(run: TaylorRun, a: Series) -> Series:
    bell = _exp(run, _neg(run, _sq(run, a)))
    return run.node(lambda l: 2.0 / math.sqrt(math.pi) * bell[l])


def _minus_root(run: TaylorRun, a: Series) -> Series:
    return _neg(run, _inv(run, _sqrt(run, _one_plus_square(run, a, -1.0))))


def _atan2(run: TaylorRun, y: Series, x: Series) -> Series:
    norm = _add(run, _sq(run, x), _sq(run, y))
    along, across = _div(run, x, norm), _div(run, y, norm)

    def step(l: int) -> np.ndarray:
        if l == 0:
            return np.arctan2(y[0], x[0])
        return _weighted(y, along, l) - _weighted(x, across, l)

    return run.rounded(step)


def _pow(run: TaylorRun, a: Series, b: Series) -> Series:
    """a^b for an exponent that is constant along the series: a y' = b a' y."""
    y = run.series()

    def step(l: int) -> np.ndarray:
        if l == 0:
            return np.power(a[0], b[0])
        moving = _weighted(a, y, l)
        own = _weighted(y, a, l, last=1)
        found = (b[0] * moving - own) / a[0]
        varies = np.abs(b[1 : l + 1]).max(axis=0) > 0
        return np.where(varies, np.nan, found)

    y = run.rounded(step, y)
    # At a_0 = 0 the recurrence divides by zero; a whole power is a product there.
    powers = [run.constant(1.0), a]

    def whole(l: int) -> np.ndarray:
        exponent = b[0]
        found = np.array(y[l])
        at_zero = np.broadcast_to(a[0] == 0, found.shape)
        for k, power in enumerate(powers):
            found = np.where(at_zero & (exponent == k), power[l], found)
        return np.where(
            at_zero & (exponent >= len(powers)) & (exponent == np.floor(exponent)), np.nan, found
        )

    for _ in range(7):
        powers.append(_mul(run, powers[-1], a))
    return run.node(whole)


def _fabs(run: TaylorRun, a: Series) -> Series:
    return run.node(lambda l: np.sign(a[0]) * a[l] if l else np.abs(a[0]))


def _if_else_zero(run: TaylorRun, condition: Series, a: Series) -> Series:
    return run.node(lambda l: np.where(condition[0] != 0, a[l], 0.0))


def _extreme(less: bool) -> Callable:
    def rule(run: TaylorRun, a: Series, b: Series) -> Series:
        return run.node(lambda l: np.where((a[0] <= b[0]) == less, a[l], b[l]))

    return rule


def _frozen(function: Callable) -> Callable:
    """Locally constant: comparisons, logic, rounding."""

    def rule(run: TaylorRun, *operands: Series) -> Series:
        return run.node(lambda l: (l == 0) * np.asarray(function(*(a[0] for a in operands)), float))

    return rule


_RULES: dict[str, Callable[..., Series]] = {
    "add": _add,
    "sub": _sub,
    "neg": _neg,
    "twice": _twice,
    "mul": _mul,
    "sq": _sq,
    "div": _div,
    "inv": _inv,
    "sqrt": _sqrt,
    "hypot": _hypot,
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "pow": _pow,
    "constpow": _pow,
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _riccati(np.tanh, -1.0),
    "atan": _quadrature(np.arctan, lambda run, a: _inv(run, _one_plus_square(run, a, 1.0))),
    "asin": _quadrature(
        np.arcsin, lambda run, a: _inv(run, _sqrt(run, _one_plus_square(run, a, -1.0)))
    ),
    "acos": _quadrature(np.arccos, _minus_root),
    "asinh": _quadrature(
        np.arcsinh, lambda run, a: _inv(run, _sqrt(run, _one_plus_square(run, a, 1.0)))
    ),
    "acosh": _quadrature(
        np.arccosh,
        lambda run, a: _inv(run, _sqrt(run, _neg(run, _one_plus_square(run, a, -1.0)))),
    ),
    "atanh": _quadrature(np.arctanh, lambda run, a: _inv(run, _one_plus_square(run, a, -1.0))),
    "erf": _quadrature(special.erf, _gaussian),
    "atan2": _atan2,
    "fabs": _fabs,
    "if_else_zero": _if_else_zero,
    "fmin": _extreme(True),
    "fmax": _extreme(False),
    "lt": _frozen(np.less),
    "le": _frozen(np.less_equal),
    "eq": _frozen(np.equal),
    "ne": _frozen(np.not_equal),
    "not": _frozen(np.logical_not),
    "and": _frozen(np.logical_and),
    "or": _frozen(np.logical_or),
    "sign": _frozen(np.sign),
    "floor": _frozen(np.floor),
    "ceil": _frozen(np.ceil),
}
