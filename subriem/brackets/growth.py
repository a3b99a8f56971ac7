"""Growth vectors of batches of points: the engine behind `lie_flag`.

Brackets over a Hall basis are written out in CasADi and evaluated as long as that is cheap, which
also names the brackets that complete the flag; beyond, the vectors come from random horizontal
paths. When to stop is decided by the generic rank g of the whole Lie algebra. Where D^k has rank
g at a point it has rank g, and is involutive, on a neighbourhood: the rank of D^k cannot fall
nearby, and that of D^{k+1} exceeds g nowhere. Where the rank of D^k at generic points is that
of D^{k+1}, it is g. And if the brackets of length k + 1 are real combinations of shorter ones, the
Lie algebra is finite-dimensional and adds nothing at any point.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from subriem.arithmetic.floats import PerturbedFloats
from subriem.brackets.adapted_rank import AdaptedRank
from subriem.brackets.bracket_family import (
    Bracket,
    BracketFamily,
    bracket_family,
    generic_points,
)
from subriem.brackets.lifted_fields import lifted_fields
from subriem.brackets.path_series import path_vectors
from subriem.structure import Structure

__all__ = ["GenericRank", "Growth", "generic_rank", "growth"]

# Points of one call of the programs: their numbers then stay in the processor's cache.
_CHUNK = 512
_PATH_CHUNK = 32
_BLOCKS = (4, 12, 24, 48)
_GENERIC_STEPS = 12
# Real Lie algebras of more dimensions than this are not looked for.
_ALGEBRA = 60
_NONSMOOTH = frozenset(
    (
        *("lt", "le", "eq", "ne", "not", "and", "or", "if_else_zero", "fmin", "fmax", "fabs"),
        *("sign", "copysign", "floor", "ceil", "fmod", "remainder"),
    )
)


@dataclass(frozen=True)
class GenericRank:
    """Ranks at generic points.

    Attributes
    ----------
    growth : tuple of int
        Growth vector at generic points, up to where it stays.
    rank : int or None
        That of the whole Lie algebra; None where it is not known (a field that is not analytic,
        or no plateau within the steps tried).
    algebra_step : int or None
        Length from which on brackets are real combinations of shorter ones, if one was found.
    """

    growth: tuple[int, ...]
    rank: int | None
    algebra_step: int | None


@dataclass
class Growth:
    """Growth vectors of a batch of points.

    Attributes
    ----------
    ranks : ndarray of int, shape (B, steps)
    accepted, rejected : ndarray, shape (B, steps)
        Smallest signal-to-noise ratio taken for a direction, and largest one that was not.
    singular_values : ndarray, shape (B, steps, n)
    settled : ndarray of int, shape (B,)
        The step at which the flag filled the space or was closed; 0 if it was not decided.
    frame : ndarray, shape (B, n, n)
        Columns are independent vectors, D^1 first; zero past the rank.
    weights : ndarray of int, shape (B, n)
        The step of each column, 0 past the rank.
    names : list of lists of str
        The bracket of each column; empty past the steps that are named.
    named_steps : int
        To which length brackets were written out.
    """

    ranks: np.ndarray
    accepted: np.ndarray
    rejected: np.ndarray
    singular_values: np.ndarray
    settled: np.ndarray
    frame: np.ndarray
    weights: np.ndarray
    names: list[list[str]]
    named_steps: int


def generic_rank(structure: Structure, tolerance: float, drift: bool = False) -> GenericRank:
    """Generic growth vector, and the rank of the Lie algebra, from random points of the chart.

    Parameters
    ----------
    structure : Structure
    tolerance : float
    drift : bool

    Returns
    -------
    GenericRank
    """
    key = ("generic", tolerance, drift, tuple(structure.parameters.values()))
    return structure.cached(key, lambda: _generic_rank(structure, tolerance, drift))


def _generic_rank(structure: Structure, tolerance: float, drift: bool) -> GenericRank:
    points = generic_points(structure)
    n = structure.dimension
    lifted = lifted_fields(structure, drift)
    smooth = not lifted.operations & _NONSMOOTH
    if lifted.rational:
        proved = _modular_rank(structure, drift)
        if proved is not None:
            step = None if proved[-1] == n else _algebra_step(structure, tolerance, drift)
            return GenericRank(proved, proved[-1], step)
    found: list[int] = []
    settled = False
    for block in (4, _GENERIC_STEPS):
        rank = AdaptedRank(_copies(), len(points), n)
        found = []
        for _, vectors in _levels(structure, points, block, tolerance, drift):
            rank.add(vectors)
            found.append(int(rank.rank.max()))
            settled = found[-1] == n or (len(found) > 1 and found[-1] == found[-2])
            if settled and (smooth or found[-1] == n):
                break
        if settled:
            break
    growth = list(found)
    while len(growth) > 1 and growth[-1] == growth[-2]:
        growth.pop()
    if found[-1] == n:
        return GenericRank(tuple(growth), n, None)
    if not smooth:
        return GenericRank(tuple(growth), None, None)
    return GenericRank(
        tuple(growth), found[-1] if settled else None, _algebra_step(structure, tolerance, drift)
    )


def _modular_rank(structure: Structure, drift: bool) -> tuple[int, ...] | None:
    """Generic growth vector of rational fields modulo a prime, while brackets are written out."""
    family = bracket_family(structure, drift)
    found: list[int] = []
    for length in range(1, _GENERIC_STEPS + 1):
        if not family.affordable(length):
            return None
        found.append(family.generic_rank(length))
        if found[-1] == structure.dimension:
            return tuple(found)
        if length > 1 and found[-1] == found[-2]:
            return tuple(found[:-1])
    return None


def _levels(
    structure: Structure,
    points: np.ndarray,
    steps: int,
    tolerance: float,
    drift: bool,
    paths: bool = True,
) -> Iterator[tuple[list[str] | None, np.ndarray]]:
    """Names and values of the brackets of length 1, 2, ..., or vectors from paths without names."""
    family = bracket_family(structure, drift)
    series: Iterator[np.ndarray] | None = None
    for length in range(1, steps + 1):
        if series is None and family.affordable(length):
            brackets = _counted(family, length, drift)
            values = family.values(brackets, points, tolerance)
            yield [bracket.name for bracket in brackets], values
            continue
        if not paths:
            return
        if series is None:
            whole = path_vectors(structure, points, steps, tolerance=tolerance, drift=drift)
            series = itertools.islice(whole, length - 1, None)
        yield None, next(series)


def _copies() -> int:
    return PerturbedFloats(0.0).copies + 1


def _algebra_step(structure: Structure, tolerance: float, drift: bool) -> int | None:
    """The length whose brackets span the real Lie algebra, if it is found to be finite."""
    family = bracket_family(structure, drift)
    # a bracket as a long vector: its values at several points
    count = 2 + _ALGEBRA // structure.dimension
    points = structure.sample(count, np.random.default_rng(3))
    rank = AdaptedRank(_copies(), 1, structure.dimension * count)
    before = -1
    for length in range(1, 8):
        if not family.affordable(length):
            return None
        brackets = _counted(family, length, drift)
        if brackets:
            values = family.values(brackets, points, tolerance)
            # (copies, points, n, S) to (copies, points * n, S)
            rank.add(values.reshape(values.shape[0], -1, values.shape[-1]))
        if int(rank.rank[0]) == before:
            return length - 1
        before = int(rank.rank[0])
        if before > _ALGEBRA:
            return None
    return None


def _counted(family: BracketFamily, length: int, drift: bool) -> list[Bracket]:
    """The brackets that count as directions: the drift itself does not."""
    brackets = family.of_length(length)
    if drift and length == 1:
        return [bracket for bracket in brackets if bracket.name != "drift"]
    return brackets


def growth(
    structure: Structure,
    points: np.ndarray,
    max_step: int,
    tolerance: float,
    *,
    drift: bool = False,
) -> Growth:
    """Growth vectors at points.

    Parameters
    ----------
    structure : Structure
    points : ndarray, shape (B, n)
    max_step : int
    tolerance : float
    drift : bool
        Count the drift as a letter of brackets, but not as a direction of D^1.

    Returns
    -------
    Growth
    """
    generic = generic_rank(structure, tolerance, drift)
    parts = [
        _Batch(structure, generic, points[k : k + _CHUNK], max_step, tolerance, drift).run()
        for k in range(0, len(points), _CHUNK)
    ]
    return _joined(parts)


class _Batch:
    """One chunk of points, level by level."""

    def __init__(
        self,
        structure: Structure,
        generic: GenericRank,
        points: np.ndarray,
        max_step: int,
        tolerance: float,
        drift: bool,
    ) -> None:
        self.structure, self.generic, self.points = structure, generic, points
        self.max_step, self.tolerance, self.drift = max_step, tolerance, drift

    def run(self) -> Growth:
        shallow = self._eliminate(self.points, self.max_step, paths=False)
        which = np.flatnonzero(shallow.settled == 0)
        if not len(which) or shallow.ranks.shape[1] >= self.max_step:
            return shallow
        pieces = [
            self._deeper(self.points[which[k : k + _PATH_CHUNK]], shallow.named_steps)
            for k in range(0, len(which), _PATH_CHUNK)
        ]
        return _merged(shallow, _joined(pieces), which)

    def _deeper(self, points: np.ndarray, named: int) -> Growth:
        """Path series, longer and longer, until all these points are settled."""
        blocks = [min(block, self.max_step) for block in _BLOCKS if named < block < self.max_step]
        for block in [*blocks, self.max_step]:
            found = self._eliminate(points, block, paths=True)
            if (found.settled > 0).all():
                break
        return found

    def _eliminate(self, points: np.ndarray, steps: int, paths: bool) -> Growth:
        rank = AdaptedRank(_copies(), len(points), self.structure.dimension)
        ranks: list[np.ndarray] = []
        names: list[list[str]] = []
        for level, vectors in _levels(
            self.structure, points, steps, self.tolerance, self.drift, paths
        ):
            rank.add(vectors)
            ranks.append(rank.rank.copy())
            if level is not None:
                names.append(level)
            if self._settled(ranks).all():
                break
        return self._finish(rank, ranks, names)

    def _settled(self, ranks: list[np.ndarray]) -> np.ndarray:
        """The first step at which each point's flag is final, 0 where it is not."""
        table = np.array(ranks)
        generic = self.generic
        final = np.zeros(table.shape[1], dtype=int)
        if generic.rank is not None:
            reached = table == generic.rank
            final = np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, 0)
        if generic.algebra_step is not None and len(table) >= generic.algebra_step:
            last = table[generic.algebra_step - 1]
            reached = table == last
            final = np.where(final > 0, final, reached.argmax(axis=0) + 1)
        return final

    def _finish(self, rank: AdaptedRank, ranks: list[np.ndarray], names: list[list[str]]) -> Growth:
        batch, n = rank.batch, rank.rows
        # a direction a row for now; those not found come last
        frame = np.zeros((batch, n, n))
        weights = np.zeros((batch, n), dtype=int)
        order = np.full((batch, n), np.iinfo(int).max)
        numbers = np.full((batch, n), -1)
        for k, (level, columns) in enumerate(zip(rank.levels, rank.columns, strict=True)):
            found = columns >= 0
            at = (np.flatnonzero(found), np.count_nonzero(weights, axis=1)[found])
            frame[at] = rank.frames[k][found]
            weights[at] = level
            numbers[at] = columns[found]
            # within a level in the order of the basis, whichever the pivots came in
            order[at] = level * 1_000_000 + columns[found]
        turn = np.argsort(order, axis=1, kind="stable")
        frame = np.take_along_axis(frame, turn[:, :, None], axis=1).swapaxes(1, 2)
        weights = np.take_along_axis(weights, turn, axis=1)
        numbers = np.take_along_axis(numbers, turn, axis=1)
        labels = [
            [
                names[level - 1][number] if 0 < level <= len(names) else ""
                for level, number in zip(*pair, strict=True)
            ]
            for pair in zip(weights.tolist(), numbers.tolist(), strict=True)
        ]
        return Growth(
            np.array(ranks).T,
            np.array(rank.accepted).T,
            np.array(rank.rejected).T,
            np.moveaxis(np.array(rank.singular_values), 0, 1),
            self._settled(ranks),
            frame,
            weights,
            labels,
            len(names),
        )


def _joined(parts: list[Growth]) -> Growth:
    """One batch from several; shorter ones go on with their last rank, as the flag does."""
    steps = max((part.ranks.shape[1] for part in parts), default=0)

    def padded(values: np.ndarray) -> np.ndarray:
        missing = steps - values.shape[1]
        return np.concatenate([values, np.repeat(values[:, -1:], missing, axis=1)], axis=1)

    return Growth(
        np.concatenate([padded(part.ranks) for part in parts]),
        np.concatenate([padded(part.accepted) for part in parts]),
        np.concatenate([padded(part.rejected) for part in parts]),
        np.concatenate([padded(part.singular_values) for part in parts]),
        np.concatenate([part.settled for part in parts]),
        np.concatenate([part.frame for part in parts]),
        np.concatenate([part.weights for part in parts]),
        [labels for part in parts for labels in part.names],
        min((part.named_steps for part in parts), default=0),
    )


def _merged(shallow: Growth, deep: Growth, which: np.ndarray) -> Growth:
    everything = _joined([shallow, deep])
    order = np.arange(len(shallow.settled))
    order[which] = len(order) + np.arange(len(which))
    return Growth(
        everything.ranks[order],
        everything.accepted[order],
        everything.rejected[order],
        everything.singular_values[order],
        everything.settled[order],
        everything.frame[order],
        everything.weights[order],
        [everything.names[k] for k in order],
        shallow.named_steps,
    )
