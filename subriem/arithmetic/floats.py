"""Batches of floats, each number in several copies that differ by small relative perturbations.

Discrete stochastic arithmetic (Vignes, *A stochastic arithmetic for reliable scientific
computation*, Math. Comput. Simulation 35 (1993)): the same program is run on copies in which the
inputs, every operation's result and every argument of a transcendental function are perturbed by
a relative ``tolerance``. What differs between the copies is what a number cannot be trusted for.
The measure follows every change of units, as the perturbations are relative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from subriem.arithmetic.program import Program

__all__ = ["PerturbedFloats"]


def _plain(name: str) -> Any:
    function = getattr(np, name)

    def method(self: PerturbedFloats, a: Any, *more: Any) -> Any:
        return self._round(function(a, *more))

    return method


def _angle(name: str) -> Any:
    """A function whose argument has the natural scale 1."""
    function = getattr(np, name)

    def method(self: PerturbedFloats, a: Any) -> Any:
        return self._round(function(a + self.noise()))

    return method


def _exact(name: str) -> Any:
    """A comparison or a choice: nothing is rounded."""
    function = getattr(np, name)

    def method(self: PerturbedFloats, *operands: Any) -> Any:
        return np.asarray(function(*operands), dtype=np.float64)

    return method


class PerturbedFloats:
    """The number system of arrays of shape (1 + copies, B): row 0 is not perturbed.

    Parameters
    ----------
    tolerance : float
        Relative size of the perturbations.
    copies : int
    generator : numpy.random.Generator, optional
        By default seeded with 0.

    Examples
    --------
    >>> floats = PerturbedFloats(1e-10)
    >>> angle = floats.read(np.array([np.pi / 2]))
    >>> cosine = floats.cos(angle)
    >>> bool(abs(cosine[0]) < np.ptp(cosine, axis=0)[0])
    True
    """

    def __init__(
        self, tolerance: float, copies: int = 5, generator: np.random.Generator | None = None
    ) -> None:
        self.tolerance = tolerance
        self.copies = copies
        self._generator = generator or np.random.default_rng(0)

    def noise(self) -> np.ndarray:
        """One perturbation for each copy, shape (1 + copies, 1); none for the first."""
        noise = self.tolerance * self._generator.uniform(-1.0, 1.0, (self.copies + 1, 1))
        noise[0] = 0.0
        return noise

    def _round(self, values: Any) -> Any:
        return values * (1.0 + self.noise())

    def read(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the system from floats.

        Parameters
        ----------
        values : ndarray, shape (B,)

        Returns
        -------
        ndarray, shape (1 + copies, B)
        """
        return self._round(np.asarray(values, dtype=np.float64)[None, :])

    def evaluate(self, program: Program, points: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """A program of a state and parameters, with one output, at points.

        Parameters
        ----------
        program : Program
        points : ndarray, shape (B, n)
        parameters : ndarray, shape (number of parameters,)

        Returns
        -------
        ndarray, shape (1 + copies, B, nonzeros)
        """
        coordinates = [self.read(column) for column in points.T]
        values = [self.read(np.array([value])) for value in parameters]
        with np.errstate(all="ignore"):
            (entries,) = program.run(self, coordinates, values)
        shape = (self.copies + 1, len(points))
        return np.stack([np.broadcast_to(entry, shape) for entry in entries], axis=-1)

    def constant(self, value: float) -> np.ndarray:
        """A constant of the program, taken as exact."""
        return np.full((self.copies + 1, 1), value)

    def twice(self, a: Any) -> Any:
        """2 a."""
        return 2.0 * a

    def neg(self, a: Any) -> Any:
        """-a."""
        return -a

    def fabs(self, a: Any) -> Any:
        """|a|."""
        return np.abs(a)

    def inv(self, a: Any) -> Any:
        """1 / a."""
        return self._round(1.0 / a)

    def sq(self, a: Any) -> Any:
        """The square."""
        return self._round(a * a)

    def pow(self, a: Any, b: Any) -> Any:
        """A to the power b."""
        return self._round(np.power(a, b))

    constpow = pow

    def erf(self, a: Any) -> Any:
        """The error function."""
        return self._round(special.erf(a + self.noise()))

    def if_else_zero(self, condition: Any, a: Any) -> Any:
        """``a`` where the condition holds, 0 elsewhere."""
        # np.where, as a may be infinite where the condition does not hold
        return np.where(condition != 0, a, 0.0)

    add = _plain("add")
    sub = _plain("subtract")
    mul = _plain("multiply")
    div = _plain("divide")
    sqrt = _plain("sqrt")
    log = _plain("log")
    log1p = _plain("log1p")
    hypot = _plain("hypot")
    fmod = _plain("fmod")
    remainder = _plain("remainder")
    asin = _plain("arcsin")
    acos = _plain("arccos")
    acosh = _plain("arccosh")
    atanh = _plain("arctanh")
    atan2 = _plain("arctan2")
    sin = _angle("sin")
    cos = _angle("cos")
    tan = _angle("tan")
    exp = _plain("exp")
    expm1 = _plain("expm1")
    sinh = _plain("sinh")
    cosh = _plain("cosh")
    tanh = _plain("tanh")
    asinh = _plain("arcsinh")
    atan = _plain("arctan")
    lt = _exact("less")
    le = _exact("less_equal")
    eq = _exact("equal")
    ne = _exact("not_equal")
    floor = _exact("floor")
    ceil = _exact("ceil")
    sign = _exact("sign")
    copysign = _exact("copysign")
    fmin = _exact("fmin")
    fmax = _exact("fmax")
    logical_not = _exact("logical_not")


# Python's keywords cannot be written as method names in a class body.
setattr(PerturbedFloats, "not", PerturbedFloats.logical_not)
setattr(PerturbedFloats, "and", _exact("logical_and"))
setattr(PerturbedFloats, "or", _exact("logical_or"))
