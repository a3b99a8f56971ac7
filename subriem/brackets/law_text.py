"""Polynomials in the entries of matrices, written so that people can read them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from subriem.structure import Block

__all__ = ["law_text"]

Monomial = tuple[int, ...]


def law_text(
    terms: Sequence[tuple[Monomial, int]], coordinates: Sequence[str], blocks: Sequence[Block]
) -> str:
    """A polynomial with integer coefficients as text, rows and columns as dot products.

    Parameters
    ----------
    terms : sequence of (tuple of int, int)
        The variables of each monomial, in order and with repetition, and its coefficient.
    coordinates : sequence of str
        Names of the variables, used where there are no blocks.
    blocks : sequence of Block
        How the variables form matrices, in order.

    Returns
    -------
    str

    Examples
    --------
    >>> law_text([((0, 0), 1), ((1, 1), 1), ((2,), -3)], ["x", "y", "z"], [])
    'x^2 + y^2 - 3*z'
    >>> law_text([((0, 0), 1), ((1, 1), 1), ((2, 2), -1)], ["a", "b", "c"],
    ...     [Block("U1", (2, 1)), Block("U2", (1, 1))])
    'U1[:,0]·U1[:,0] - U2[0,0]^2'
    """
    left = dict(terms)
    pieces: list[tuple[int, str]] = []
    for name, products in _dot_products(blocks):
        values = {left.get(monomial, 0) for monomial in products}
        if len(values) == 1 and len(products) > 1 and (value := values.pop()):
            pieces.append((value, name))
            for monomial in products:
                del left[monomial]
    names = list(_entries(blocks)) or list(coordinates)
    pieces += [(value, _power_text(monomial, names)) for monomial, value in left.items()]
    return _sum_text(pieces)


def _entries(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        for index in itertools.product(*map(range, block.shape)):
            yield (
                f"{block.name}[{','.join(map(str, index))}]"
                if block.size > 1
                else (
                    f"{block.name}[{','.join('0' * len(index))}]" if len(index) > 1 else block.name
                )
            )


def _dot_products(blocks: Sequence[Block]) -> Iterator[tuple[str, set[Monomial]]]:
    """All dot products of two rows or two columns of one matrix, and of a vector with itself."""
    start = 0
    for block in blocks:
        if len(block.shape) == 2:
            rows, columns = block.shape
            lines = [
                (f"{block.name}[{i},:]", [start + i * columns + j for j in range(columns)])
                for i in range(rows)
            ]
            stacks = [
                (f"{block.name}[:,{j}]", [start + i * columns + j for i in range(rows)])
                for j in range(columns)
            ]
            for group in (lines, stacks):
                for (a, first), (b, second) in itertools.combinations_with_replacement(group, 2):
                    pairs = zip(first, second, strict=True)
                    products: set[Monomial] = {(min(i, j), max(i, j)) for i, j in pairs}
                    yield f"{a}·{b}", products
        elif len(block.shape) == 1:
            yield (
                f"{block.name}·{block.name}",
                {(k, k) for k in range(start, start + block.size)},
            )
        start += block.size


def _power_text(monomial: Monomial, names: Sequence[str]) -> str:
    powers: Mapping[int, int] = {k: monomial.count(k) for k in dict.fromkeys(monomial)}
    return "*".join(names[k] + (f"^{power}" if power > 1 else "") for k, power in powers.items())


def _sum_text(pieces: Sequence[tuple[int, str]]) -> str:
    text = ""
    for value, name in sorted(pieces, key=lambda piece: piece[0] < 0):
        sign = " - " if value < 0 else " + "
        factor = "" if abs(value) == 1 else f"{abs(value)}*"
        text += (sign if text else "-" if value < 0 else "") + factor + name
    return text or "0"
