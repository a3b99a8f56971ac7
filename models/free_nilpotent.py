"""Free nilpotent Lie groups, in exponential coordinates of the first kind.

The Lie algebra of given rank and step that has no relations but those which every one has. Its
basis is that of Lyndon words, each bracketed as [u, v] with v its longest proper Lyndon suffix,
ordered by length and then alphabetically. The point x is the exponential of sum_k x_k e_k, and the
left-invariant field that is e_i at the origin is

    f_i(x) = sum_k b_k (ad x)^k e_i,   sum_k b_k t^k = t / (1 - exp(-t)) = 1 + t/2 + t^2/12 - ...

The dimensions of the layers are given by Witt's formula.

Source: Reutenauer, *Free Lie Algebras* (1993), chapters 4 and 5; Bonfiglioli, Lanconelli,
Uguzzoni, *Stratified Lie Groups and Potential Theory for their Sub-Laplacians* (2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import factorial
from numbers import Integral
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

Word = tuple[int, ...]
#: An element of the free associative algebra: its words with their integer coefficients.
Polynomial = dict[Word, int]

TRUTHS = (
    Truth((0,) * 5, (2, 3, 5), arguments={"rank": 2, "step": 3}, source="Witt's formula"),
    Truth(
        (1, -2, 3, "1/2", 4),
        (2, 3, 5),
        arguments={"rank": 2, "step": 3},
        source="left-invariant: as at the origin",
    ),
    Truth((0,) * 8, (2, 3, 5, 8), arguments={"rank": 2, "step": 4}, source="Witt's formula"),
    Truth((0,) * 14, (2, 3, 5, 8, 14), arguments={"rank": 2, "step": 5}, source="Witt's formula"),
    Truth((0,) * 6, (3, 6), arguments={"rank": 3, "step": 2}, source="Witt's formula"),
    Truth((0,) * 14, (3, 6, 14), arguments={"rank": 3, "step": 3}, source="Witt's formula"),
)


def free_nilpotent(rank: int, step: int) -> Structure:
    """Free nilpotent Lie group of given rank and step.

    Parameters
    ----------
    rank : int
        Number of generators, the fields of the frame.
    step : int
        Length of the longest brackets that do not vanish.

    Returns
    -------
    Structure
        Coordinates ``x1 ... xn`` by layer; x1, ..., x_rank are those of the generators.

    Raises
    ------
    InputError
        If the rank is not an integer of at least 2, or the step not one of at least 1.

    Examples
    --------
    >>> free_nilpotent(2, 3)
    Structure free_nilpotent(2, 3): 5 coordinates (x1, x2, x3, x4, x5), 2 fields
    >>> free_nilpotent(2, 3).velocity([0, 2, 0, 0, 0], [1, 0])
    array([ 1.        ,  0.        , -1.        ,  0.        ,  0.33333333])
    """
    if not isinstance(rank, Integral) or rank < 2:
        raise InputError(f"free_nilpotent: expected an integer rank >= 2, got {rank!r}")
    if not isinstance(step, Integral) or step < 1:
        raise InputError(f"free_nilpotent: expected an integer step >= 1, got {step!r}")
    words = sorted(_lyndon_words(rank, step), key=lambda word: (len(word), word))
    constants = _structure_constants(words, step)
    series = _series(step)

    def frame(q: Any) -> list[list[Any]]:
        return [_left_invariant(i, list(q), constants, series) for i in range(rank)]

    names = [f"x{k}" for k in range(1, len(words) + 1)]
    return Structure.define(f"free_nilpotent({rank}, {step})", names, frame)


def _left_invariant(
    i: int,
    x: list[Any],
    constants: list[tuple[int, int, int, int]],
    series: list[Fraction],
) -> list[Any]:
    field: list[Any] = [0] * len(x)
    term: dict[int, Any] = {i: 1}  # (ad x)^k e_i
    for coefficient in series:
        for k, value in term.items():
            field[k] = field[k] + coefficient.numerator * value / coefficient.denominator
        following: dict[int, Any] = {}
        for a, b, k, constant in constants:
            for first, second, sign in ((a, b, constant), (b, a, -constant)):
                if second in term:
                    following[k] = following.get(k, 0) + sign * x[first] * term[second]
        term = following
    return field


def _series(step: int) -> list[Fraction]:
    """The coefficients b_0, ..., b_{step-1} of t / (1 - exp(-t))."""
    b = [Fraction(1)]
    for k in range(1, step):
        terms = (b[k - j] * Fraction((-1) ** j, factorial(j + 1)) for j in range(1, k + 1))
        b.append(-sum(terms, Fraction(0)))
    return b


def _lyndon_words(rank: int, step: int) -> Iterator[Word]:
    """Duval's algorithm: all Lyndon words up to a length, in alphabetical order."""
    word = [-1]
    while word:
        word[-1] += 1
        yield tuple(word)
        period = len(word)
        while len(word) < step:
            word.append(word[-period])
        while word and word[-1] == rank - 1:
            word.pop()


def _structure_constants(words: list[Word], step: int) -> list[tuple[int, int, int, int]]:
    """All (a, b, k, c) with a < b, where c is the coefficient of e_k in [e_a, e_b]."""
    position = {word: k for k, word in enumerate(words)}
    basis: list[Polynomial] = []
    for word in words:
        if len(word) == 1:
            basis.append({word: 1})
            continue
        # the longest proper suffix that is a Lyndon word
        cut = next(cut for cut in range(1, len(word)) if word[cut:] in position)
        basis.append(_commutator(basis[position[word[:cut]]], basis[position[word[cut:]]]))
    constants = []
    for a, first in enumerate(words):
        for b in range(a + 1, len(words)):
            if len(first) + len(words[b]) > step:
                break
            rest = _commutator(basis[a], basis[b])
            while rest:
                # a bracketed Lyndon word is that word plus greater ones
                least = min(rest)
                k, c = position[least], rest[least]
                constants.append((a, b, k, c))
                rest = _sum(rest, basis[k], -c)
    return constants


def _commutator(first: Polynomial, second: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for u, c in first.items():
        for v, d in second.items():
            product[u + v] = product.get(u + v, 0) + c * d
            product[v + u] = product.get(v + u, 0) - c * d
    return {word: value for word, value in product.items() if value}


def _sum(first: Polynomial, second: Polynomial, factor: int) -> Polynomial:
    total = dict(first)
    for word, value in second.items():
        total[word] = total.get(word, 0) + factor * value
    return {word: value for word, value in total.items() if value}
