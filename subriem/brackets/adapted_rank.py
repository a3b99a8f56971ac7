"""Ranks of growing families of vectors, decided by elimination in perturbed copies.

The columns come in levels (brackets of length 1, 2, ...). Gaussian elimination with complete
pivoting runs on all copies of `PerturbedFloats` with the same pivots; an entry counts as different
from zero when it is larger than what the copies differ by. As signal and noise are compared entry
by entry, multiplying a row or a column by 1e6 changes no decision. The pivot columns are a frame
adapted to the flag.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SIGNIFICANT", "AdaptedRank"]

#: An entry is different from zero if it is this many times what its copies differ by.
SIGNIFICANT = 100.0
# Beyond this ratio one pivot is as good as another.
_CLEAR = 1e9


class AdaptedRank:
    """Elimination over levels of columns, for a batch of matrices at once.

    Parameters
    ----------
    copies : int
        With the unperturbed one, which comes first.
    batch : int
    rows : int
        The dimension n.

    Attributes
    ----------
    rank : ndarray of int, shape (batch,)
    columns : list of ndarray, each of shape (batch,)
        For each pivot which column of its level it was; -1 for none.
    levels : list of int
        The level of each pivot, counted from 1.
    frames : list of ndarray, each of shape (batch, rows)
        The pivot columns as they came, unperturbed.

    Examples
    --------
    >>> rank = AdaptedRank(2, 1, 2)
    >>> noise = np.array([0.0, 1e-10]).reshape(2, 1, 1, 1)
    >>> rank.add(np.array([[1.0], [2.0]]) * (1 + noise))
    >>> rank.add(np.array([[2.0], [4.0]]) * (1 + noise))
    >>> rank.rank
    array([1])
    """

    def __init__(self, copies: int, batch: int, rows: int) -> None:
        self.copies, self.batch, self.rows = copies, batch, rows
        self.rank = np.zeros(batch, dtype=int)
        self.level = 0
        self.columns: list[np.ndarray] = []
        self.levels: list[int] = []
        self.frames: list[np.ndarray] = []
        # per level: smallest signal-to-noise ratio accepted, largest rejected
        self.accepted: list[np.ndarray] = []
        self.rejected: list[np.ndarray] = []
        self.singular_values: list[np.ndarray] = []
        self._pivots: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._taken = np.zeros((batch, rows), dtype=bool)
        self._all = np.zeros((batch, rows, 0))
        self._significant = np.zeros((batch, rows, 0), dtype=bool)
        self._smallest = np.full(batch, np.inf)

    def add(self, values: np.ndarray) -> None:
        """Take the columns of the next level.

        Parameters
        ----------
        values : ndarray, shape (copies, batch, rows, S) or (copies, rows, S) for a batch of one
        """
        values = np.asarray(values, dtype=np.float64)
        if values.ndim == 3:
            values = values[:, None]
        values = np.broadcast_to(values, (self.copies, self.batch, *values.shape[2:])).copy()
        self.level += 1
        original = values[0].copy()
        floor = 8 * np.finfo(np.float64).eps * np.abs(original)
        with np.errstate(all="ignore"):
            # where a vector is not finite nothing is known of it: it is no candidate
            values[:, ~np.isfinite(values).all(axis=0)] = 0.0
            self._measure(values, original, floor)
            for row, column, pivot_floor in self._pivots:
                self._reduce(values, floor, row, column, pivot_floor)
            while self._find(values, floor, original):
                pass

    def _ratio(self, values: np.ndarray, floor: np.ndarray) -> np.ndarray:
        noise = np.abs(values[1:] - values[0]).max(axis=0) + floor
        size = np.abs(values[0])
        ratio = np.divide(size, noise, out=np.zeros_like(size), where=noise > 0)
        return np.where((noise == 0) & (size > 0), np.inf, ratio)

    def _measure(self, values: np.ndarray, original: np.ndarray, floor: np.ndarray) -> None:
        """Singular values of all columns so far, in units that rows and columns choose."""
        self._all = np.concatenate([self._all, np.where(np.isfinite(original), original, 0)], 2)
        significant = np.asarray(self._ratio(values, floor) > SIGNIFICANT)
        self._significant = np.concatenate([self._significant, significant], 2)
        matrix = np.where(self._significant, np.abs(self._all), 0.0)
        rows, columns = equilibrate(matrix)
        scaled = self._all * rows[:, :, None] * columns[:, None, :]
        if scaled.shape[2] > 4 * self.rows:
            # many columns: the triangle of their QR factorization has the same singular values
            scaled = np.linalg.qr(np.swapaxes(scaled, 1, 2), mode="r")
        full = np.zeros((self.batch, self.rows))
        if scaled.shape[2]:
            found = np.linalg.svd(scaled, compute_uv=False)
            full[:, : found.shape[1]] = found
        self.singular_values.append(full)

    def _reduce(
        self,
        values: np.ndarray,
        floor: np.ndarray,
        row: np.ndarray,
        column: np.ndarray,
        pivot_floor: np.ndarray,
    ) -> None:
        """Subtract a pivot column (normalized to 1 in its row) where there is one."""
        factor = np.take_along_axis(values, row[None, :, None, None], axis=2)
        values -= column[..., None] * factor
        size = np.abs(factor[0])
        floor += 8 * np.finfo(np.float64).eps * np.abs(column[0])[..., None] * size
        floor += pivot_floor[..., None] * size
        # exactly, so that no rounding is left to be mistaken
        hit = np.arange(self.rows) == np.where(row >= 0, row, -1)[:, None]
        live = np.asarray(np.abs(column[0]).max(axis=1) > 0)[:, None] & hit
        values[:, live] = 0.0
        floor[live] = 0.0

    def _find(self, values: np.ndarray, floor: np.ndarray, original: np.ndarray) -> bool:
        ratio = np.where(self._taken[:, :, None], 0.0, self._ratio(values, floor))
        candidate = ratio > SIGNIFICANT
        if not candidate.any():
            worst = ratio.max(axis=(1, 2)) if ratio.shape[2] else np.zeros(self.batch)
            self.rejected.append(worst)
            self.accepted.append(self._smallest.copy())
            return False
        size = np.where(candidate, np.abs(values[0]), 0.0)
        rows, columns = equilibrate(size)
        scaled = size * rows[:, :, None] * columns[:, None, :]
        # The clearest entry; among those clear enough, the one largest in its row and column.
        score = np.where(candidate, np.minimum(ratio, _CLEAR) * scaled, 0.0)
        best = score.reshape(self.batch, -1).argmax(axis=1)
        row, which = np.unravel_index(best, scaled.shape[1:])
        found = np.asarray(candidate.any(axis=(1, 2)))
        column = np.take_along_axis(values, which[None, :, None, None], axis=3)[..., 0]
        pivot = np.take_along_axis(column, row[None, :, None], axis=2)
        chosen = np.arange(self.batch)
        live = found[None, :, None]
        column = np.where(live, column / np.where(pivot == 0, 1.0, pivot), 0.0)
        # of rows eliminated before nothing is left, whatever rounding says
        column[:, self._taken] = 0.0
        pivot_floor = np.where(
            found[:, None],
            floor[chosen, :, which] / np.abs(np.where(pivot[0] == 0, 1.0, pivot[0])),
            0.0,
        )
        self._smallest = np.where(
            found, np.minimum(self._smallest, ratio[chosen, row, which]), self._smallest
        )
        self._pivots.append((row, column, pivot_floor))
        self._taken[chosen[found], row[found]] = True
        self.columns.append(np.where(found, which, -1))
        self.levels.append(self.level)
        self.frames.append(np.where(found[:, None], original[chosen, :, which], 0.0))
        self.rank += found
        self._reduce(values, floor, row, column, pivot_floor)
        return True


def equilibrate(size: np.ndarray, sweeps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scales of rows and columns that bring the largest entries of each near 1.

    Parameters
    ----------
    size : ndarray, shape (batch, rows, columns)
        Absolute values.
    sweeps : int

    Returns
    -------
    rows : ndarray, shape (batch, rows)
    columns : ndarray, shape (batch, columns)

    Examples
    --------
    >>> rows, columns = equilibrate(np.array([[[1e6, 2e6], [0.0, 4.0]]]))
    >>> float((rows[:, :, None] * columns[:, None, :] * [[1e6, 2e6], [0.0, 4.0]]).max())
    1.0
    """
    rows = np.ones(size.shape[:2])
    columns = np.ones((size.shape[0], size.shape[2]))
    if not size.shape[2]:
        return rows, columns
    for _ in range(sweeps):
        scaled = size * rows[:, :, None] * columns[:, None, :]
        largest = scaled.max(axis=2)
        rows /= np.where(largest > 0, largest, 1.0)
        scaled = size * rows[:, :, None] * columns[:, None, :]
        largest = scaled.max(axis=1)
        columns /= np.where(largest > 0, largest, 1.0)
    return rows, columns
