"""Linear equations for the coefficients of an ansatz, solved exactly.

An ansatz is a list of functions, elements of a `DifferentialRing`: products of coordinates and of
the sines and cosines that a model uses. What is asked of a combination of them is linear; the
combinations for which it vanishes in the ring, and so as a function, are a kernel over the
rationals.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import casadi as ca

from subriem.arithmetic.differential_ring import DifferentialRing

__all__ = ["combination", "expression", "kernel", "products", "text"]


def products(ring: DifferentialRing, letters: Sequence[int], degree: int) -> list[Any]:
    """Products of up to ``degree`` letters, without the constant and without squares of sines.

    Parameters
    ----------
    ring : DifferentialRing
    letters : sequence of int
        Numbers of coordinates, sines and cosines.
    degree : int

    Returns
    -------
    list of elements

    Examples
    --------
    >>> ring = DifferentialRing(2)
    >>> [str(p) for p in products(ring, [0, 1], 2)]
    ['x0', 'x1', 'x0^2', 'x1*x0', 'x1^2']
    """
    found = []
    sines = {
        ring.dimension + k for k, made in enumerate(ring.generators) if made.operation == "sin"
    }
    for size in range(1, degree + 1):
        for chosen in itertools.combinations_with_replacement(letters, size):
            if any(chosen.count(letter) > 1 for letter in sines.intersection(chosen)):
                continue
            product = ring.rational(Fraction(1))
            for letter in chosen:
                product = ring.mul(product, ring.element(letter))
            found.append(product)
    return found


def kernel(ring: DifferentialRing, conditions: Sequence[Sequence[Any]]) -> list[list[Fraction]]:
    """The combinations for which all conditions vanish, in reduced echelon form.

    Parameters
    ----------
    ring : DifferentialRing
    conditions : sequence of sequences of elements
        For each function of the ansatz what must vanish.

    Returns
    -------
    list of lists of Fraction

    Examples
    --------
    >>> ring = DifferentialRing(1)
    >>> x = ring.element(0)
    >>> [list(map(str, row)) for row in kernel(ring, [[x], [2 * x], [ring.sq(x)]])]
    [['1', '-1/2', '0']]
    """
    count = len(conditions)
    rows: dict[tuple[int, Any], dict[int, Any]] = {}
    for j, elements in enumerate(conditions):
        for which, element in enumerate(elements):
            for monomial, coefficient in ring.reduce(ring.lift(element)).to_dict().items():
                rows.setdefault((which, monomial), {})[j] = coefficient
    if not rows:
        return [[Fraction(int(i == j)) for i in range(count)] for j in range(count)]
    table = [[row.get(j, 0) for j in range(count)] for row in rows.values()]
    echelon, rank = ring.flint.fmpq_mat(table).rref()
    pivots = []
    for k in range(rank):
        pivots.append(next(j for j in range(count) if echelon[k, j] != 0))
    basis = []
    for free in sorted(set(range(count)) - set(pivots)):
        vector = [ring.flint.fmpq(0)] * count
        vector[free] = ring.flint.fmpq(1)
        for k, pivot in enumerate(pivots):
            vector[pivot] = -echelon[k, free]
        basis.append(vector)
    if not basis:
        return []
    simple, rank = ring.flint.fmpq_mat(basis).rref()
    return [
        [Fraction(int(simple[k, j].p), int(simple[k, j].q)) for j in range(count)]
        for k in range(rank)
    ]


def combination(
    ring: DifferentialRing, functions: Sequence[Any], coefficients: Sequence[Fraction]
) -> Any:
    """The sum of coefficients times functions.

    Parameters
    ----------
    ring : DifferentialRing
    functions : sequence of elements
    coefficients : sequence of Fraction

    Returns
    -------
    element
    """
    total = ring.rational(Fraction(0))
    for function, coefficient in zip(functions, coefficients, strict=True):
        if coefficient:
            total = ring.add(total, ring.mul(ring.rational(coefficient), function))
    return total


def expression(ring: DifferentialRing, element: Any, symbols: Sequence[ca.SX]) -> ca.SX:
    """An element of coordinates, sines and cosines as a CasADi expression.

    Parameters
    ----------
    ring : DifferentialRing
    element : element
    symbols : sequence of casadi.SX
        The coordinates.

    Returns
    -------
    casadi.SX

    Examples
    --------
    >>> ring = DifferentialRing(1)
    >>> expression(ring, 2 * ring.sq(ring.cos(ring.element(0))), [ca.SX.sym("a")])
    SX((2.*sq(cos(a))))
    """
    total = ca.SX(0)
    for exponents, coefficient in ring.lift(element).to_dict().items():
        term = ca.SX(int(coefficient.p)) / int(coefficient.q)
        for number, power in enumerate(reversed(exponents)):
            if power:
                term = term * _letter(ring, number, symbols) ** int(power)
        total = total + term
    return total


def _letter(ring: DifferentialRing, number: int, symbols: Sequence[ca.SX]) -> ca.SX:
    if number < ring.dimension:
        return symbols[number]
    generator = ring.generators[number - ring.dimension]
    argument = expression(ring, generator.arguments[0], symbols)
    return {"sin": ca.sin, "cos": ca.cos}[generator.operation](argument)


def text(ring: DifferentialRing, element: Any, names: Sequence[str]) -> str:
    """An element of coordinates, sines and cosines as text.

    Parameters
    ----------
    ring : DifferentialRing
    element : element
    names : sequence of str
        Of the coordinates.

    Returns
    -------
    str

    Examples
    --------
    >>> ring = DifferentialRing(2)
    >>> a, b = ring.element(0), ring.element(1)
    >>> text(ring, ring.sub(ring.mul(a, ring.sin(b)), ring.sq(b)), ["r", "t"])
    'r*sin(t) - t*t'
    """
    terms = []
    for exponents, coefficient in ring.lift(element).to_dict().items():
        factors = [
            _name(ring, number, names)
            for number, power in enumerate(reversed(exponents))
            for _ in range(int(power))
        ]
        terms.append((factors, Fraction(int(coefficient.p), int(coefficient.q))))
    parts: list[str] = []
    for factors, value in sorted(terms, key=lambda term: (len(term[0]), *_order(names, term[0]))):
        name = "*".join(factors) or "1"
        size = "" if abs(value) == 1 else f"{float(abs(value)):.6g}*"
        sign = "-" if value < 0 else "+"
        first = f"-{size}{name}" if value < 0 else f"{size}{name}"
        parts.append(f" {sign} {size}{name}" if parts else first)
    return "".join(parts) or "0"


def _order(names: Sequence[str], factors: Sequence[str]) -> list[tuple[bool, int, str]]:
    return [
        (factor not in names, list(names).index(factor) if factor in names else 0, factor)
        for factor in factors
    ]


def _name(ring: DifferentialRing, number: int, names: Sequence[str]) -> str:
    if number < ring.dimension:
        return names[number]
    generator = ring.generators[number - ring.dimension]
    return f"{generator.operation}({text(ring, generator.arguments[0], names)})"
