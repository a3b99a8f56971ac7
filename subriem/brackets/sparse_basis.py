"""A basis of few terms for a space of polynomials with rational coefficients.

A law of a network concerns neighbouring layers. So the vectors of the space that live on one, two,
three ... neighbouring blocks of variables are found by linear algebra, and a basis is taken from
them, those of low degree and few terms first, which is optimal among the candidates (Edmonds,
*Matroids and the greedy algorithm*, Math. Programming 1 (1971) 127).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from subriem.arithmetic.flint_library import load_flint

__all__ = ["new_generators", "sparse_basis"]

Monomial = tuple[int, ...]
#: Modulus of the tests of independence; a wrong answer there costs sparsity, not truth.
_PRIME = 2**31 - 1


def sparse_basis(
    vectors: Sequence[Sequence[int]], monomials: Sequence[Monomial], sizes: Sequence[int]
) -> list[list[int]]:
    """Integer vectors that span the same space over Q.

    Parameters
    ----------
    vectors : sequence of sequences of int
        Independent; a column a monomial.
    monomials : sequence of tuples of int
        The variables of each, with repetition.
    sizes : sequence of int
        Numbers of variables of the blocks, in order; empty if there are none.

    Returns
    -------
    list of lists of int
        Without common factors, the first entry of each positive.

    Examples
    --------
    >>> sparse_basis([[1, 1, -1, -1], [1, 0, -1, 0]], [(0,), (1,), (2,), (3,)], [1, 1, 1, 1])
    [[1, 0, -1, 0], [0, 1, 0, -1]]
    """
    if len(vectors) < 2:
        return [_primitive(vector) for vector in vectors]
    candidates = {tuple(_primitive(vector)): None for vector in vectors}
    for inside in _windows(monomials, sizes):
        for found in _supported(vectors, inside):
            candidates[tuple(found)] = None

    def rank(vector: tuple[int, ...]) -> tuple[int, int]:
        support = [len(m) for m, c in zip(monomials, vector, strict=True) if c]
        return max(support), len(support)

    chosen: list[tuple[int, ...]] = []
    for candidate in sorted(candidates, key=rank):
        if _independent([*chosen, candidate]):
            chosen.append(candidate)
        if len(chosen) == len(vectors):
            return [list(row) for row in chosen]
    return [_primitive(vector) for vector in vectors]


def new_generators(laws: Sequence[dict[Monomial, int]]) -> list[int]:
    """Which polynomials are no combinations of products of those before them.

    Parameters
    ----------
    laws : sequence of dict of monomials to coefficients
        A basis of all laws up to a degree, by degree.

    Returns
    -------
    list of int
        Numbers of those to keep.

    Examples
    --------
    >>> new_generators([{(0,): 1}, {(0, 0): 1}, {(1, 1): 1}])
    [0, 2]
    """
    highest = max((max(map(len, law)) for law in laws), default=0)
    span: list[dict[Monomial, int]] = []  # products of generators up to the highest degree
    kept: list[int] = []
    for number, law in enumerate(laws):
        degree = max(map(len, law))
        rivals = [product for product in span if max(map(len, product)) <= degree]
        if rivals and not _independent_of(rivals, law):
            continue
        kept.append(number)
        # the new generator's powers, times all products so far
        fresh, power = [], law
        while max(map(len, power)) <= highest:
            fresh.append(power)
            for product in span:
                if max(map(len, product)) + max(map(len, power)) <= highest:
                    fresh.append(_product(product, power))
            if max(map(len, power)) + degree > highest:
                break
            power = _product(power, law)
        span += fresh
    return kept


def _windows(monomials: Sequence[Monomial], sizes: Sequence[int]) -> list[list[bool]]:
    block_of = [number for number, size in enumerate(sizes) for _ in range(size)]
    windows = []
    for length in range(1, min(4, len(sizes))):
        for start in range(len(sizes) - length + 1):
            inside = [
                all(start <= block_of[k] < start + length for k in monomial)
                for monomial in monomials
            ]
            if any(inside) and not all(inside):
                windows.append(inside)
    return windows


def _supported(vectors: Sequence[Sequence[int]], inside: Sequence[bool]) -> list[list[int]]:
    """The vectors of the space that vanish outside, in reduced form."""
    flint = load_flint()
    outside = [k for k, here in enumerate(inside) if not here]
    table = flint.fmpz_mat([[vector[k] for vector in vectors] for k in outside])
    kernel, nullity = table.nullspace()
    if not nullity:
        return []
    weights = [[kernel[i, j] for i in range(len(vectors))] for j in range(int(nullity))]
    rows = flint.fmpz_mat(weights) * flint.fmpz_mat([list(vector) for vector in vectors])
    reduced, _, rank = rows.rref()
    return [
        _primitive([int(reduced[i, j]) for j in range(reduced.ncols())]) for i in range(int(rank))
    ]


def _primitive(vector: Sequence[int]) -> list[int]:
    common = math.gcd(*vector) or 1
    sign = 1 if next((value for value in vector if value), 1) > 0 else -1
    return [sign * value // common for value in vector]


def _independent(rows: Sequence[Sequence[int]]) -> bool:
    flint = load_flint()
    entries = [value % _PRIME for row in rows for value in row]
    return int(flint.nmod_mat(len(rows), len(rows[0]), entries, _PRIME).rank()) == len(rows)


def _independent_of(known: Sequence[dict[Monomial, int]], law: dict[Monomial, int]) -> bool:
    columns = {m: k for k, m in enumerate(sorted({m for row in [*known, law] for m in row}))}
    flint: Any = load_flint()

    def rank(rows: Sequence[dict[Monomial, int]]) -> int:
        matrix = flint.nmod_mat(len(rows), len(columns), _PRIME)
        for i, row in enumerate(rows):
            for monomial, value in row.items():
                matrix[i, columns[monomial]] = value % _PRIME
        return int(matrix.rank())

    return rank([*known, law]) > rank(known)


def _product(a: dict[Monomial, int], b: dict[Monomial, int]) -> dict[Monomial, int]:
    out: dict[Monomial, int] = {}
    for m, x in a.items():
        for n, y in b.items():
            key = tuple(sorted(m + n))
            out[key] = out.get(key, 0) + x * y
    return {key: value for key, value in out.items() if value}
