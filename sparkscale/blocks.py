"""Blocks of feature rows: dense, or sparse like sparse vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import double, namespace

__all__ = ["Block", "DenseBlock", "SparseBlock"]

Array = npt.NDArray[np.float64]
Runs = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class DenseBlock:
    """Rows of features.

    Parameters
    ----------
    values : numpy.ndarray of float64 or float32, shape (n_rows, n_features)
        The values; null is NaN. NaN and infinities are invalid.
    weights : numpy.ndarray of float64, shape (n_rows,), optional
        Positive row weights.
    runs : numpy.ndarray of int, shape (n_rows,), optional
        Ascending run numbers, one per row: statistics are then computed for each run of rows separately.
    """

    values: npt.NDArray[np.floating]
    weights: Array | None = None
    runs: Runs | None = None

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_]) -> DenseBlock:
        weights = None if self.weights is None else self.weights[rows]
        return DenseBlock(self.values[rows, ...], weights, None if self.runs is None else self.runs[rows])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def size(self) -> int:
        """Number of features."""
        return int(self.values.shape[1])

    def dense(self, start: int, stop: int) -> Array:
        """Return a range of rows as an array."""
        return double(self.values[start : min(stop, self.rows), :])[1]  # type: ignore[no-any-return]

    def invalid(self) -> Array:
        """Return the number of invalid values of each feature."""
        xp = namespace(self.values)
        return xp.sum(xp.astype(~xp.isfinite(self.values), xp.float64), axis=0)  # type: ignore[no-any-return]

    def complete(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the rows without an invalid value."""
        xp = namespace(self.values)
        return xp.all(xp.isfinite(self.values), axis=1)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class SparseBlock:
    """Rows of features of which only some entries are stored; the others are 0.

    Parameters
    ----------
    size : int
        Number of features.
    lengths : numpy.ndarray of int64, shape (n_rows,)
        Number of stored entries of each row.
    indices, values : numpy.ndarray, shape (n_stored,)
        Feature and value of each stored entry, row after row.
    weights : numpy.ndarray of float64, shape (n_rows,), optional
        Positive row weights.
    runs : numpy.ndarray of int, shape (n_rows,), optional
        Ascending run numbers, one per row: statistics are then computed for each run of rows separately.
    run_of_feature : numpy.ndarray of int, shape (n_features,), optional
        The run that each feature belongs to; set by `spread`.
    """

    size: int
    lengths: npt.NDArray[np.int64]
    indices: npt.NDArray[np.integer]
    values: Array
    weights: Array | None = None
    runs: Runs | None = None
    run_of_feature: Runs | None = None

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> SparseBlock:
        entries = np.repeat(rows, self.lengths)
        return replace(
            self,
            lengths=self.lengths[rows],
            indices=self.indices[entries],
            values=self.values[entries],
            weights=None if self.weights is None else self.weights[rows],
            runs=None if self.runs is None else self.runs[rows],
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def row_counts(self) -> int | Array:
        """Number of rows of each feature, stored or not: all rows, or after `spread` those of its run."""
        if self.runs is None or self.run_of_feature is None:
            return self.rows
        return np.bincount(self.runs).astype(np.float64)[self.run_of_feature]

    def spread(self) -> SparseBlock:
        """Return the block with separate features for each run, run after run, so that one pass covers all runs."""
        assert self.runs is not None  # noqa: S101
        number = np.unique(self.runs, return_inverse=True)[1]
        runs = int(number[-1]) + 1
        return replace(
            self,
            size=runs * self.size,
            indices=np.repeat(number, self.lengths) * self.size + self.indices,
            runs=number,
            run_of_feature=np.repeat(np.arange(runs), self.size),
        )

    @cached_property
    def _valid(self) -> npt.NDArray[np.bool_] | None:
        with np.errstate(all="ignore"):
            return None if np.isfinite(self.values.sum()) else np.isfinite(self.values)

    def valid_entries(self) -> tuple[npt.NDArray[np.intp], Array, Array | None]:
        """Return feature, value and weight of the stored entries that are finite."""
        indices = self.indices.astype(np.intp, copy=False)  # NumPy would convert them at each use
        weights = None if self.weights is None else np.repeat(self.weights, self.lengths)
        if self._valid is None:
            return indices, self.values, weights
        keep = self._valid
        return indices[keep], self.values[keep], None if weights is None else weights[keep]

    def features(self, which: npt.NDArray[np.bool_]) -> SparseBlock:
        """Return the block restricted to the features that a mask selects."""
        entries, number = which[self.indices], np.cumsum(which) - 1
        row = np.repeat(np.arange(self.rows), self.lengths)[entries]
        return SparseBlock(
            int(which.sum()),
            np.bincount(row, minlength=self.rows),
            number[self.indices[entries]],
            self.values[entries],
            self.weights,
            self.runs,
            None if self.run_of_feature is None else self.run_of_feature[which],
        )

    def dense(self, start: int, stop: int) -> Array:
        """Return a range of rows as an array, with 0 where nothing is stored."""
        lengths = self.lengths[start:stop]
        first = int(self.lengths[:start].sum())
        entries = slice(first, first + int(lengths.sum()))
        values = np.zeros((len(lengths), self.size))
        values[np.repeat(np.arange(len(lengths)), lengths), self.indices[entries]] = self.values[entries]
        return values

    def invalid(self) -> Array:
        """Return the number of invalid values of each feature."""
        if self._valid is None:
            return np.zeros(self.size)
        return np.bincount(self.indices[~self._valid], minlength=self.size).astype(np.float64)

    def absent(self, weights: Array) -> Array:
        """Return, for each feature, the sum of row ``weights`` over the rows that do not store it.

        This is the total minus the sum over the rows that store it. The weights are split into multiples of a power of
        two, whose sums are exact, and a remainder, so that a small difference of large weights keeps its digits.
        """
        runs = np.zeros(self.rows, dtype=np.intp) if self.runs is None else self.runs
        run_of_feature = np.zeros(self.size, dtype=np.intp) if self.run_of_feature is None else self.run_of_feature
        heaviest = np.zeros(int(max(runs.max(initial=0), run_of_feature.max(initial=0))) + 1)
        np.maximum.at(heaviest, runs, weights)
        unit = np.exp2(np.maximum(np.frexp(heaviest)[1] - 26.0, -1022.0))
        high = np.rint(weights / unit[runs])
        absent = np.zeros(self.size)
        for addend, scale in ((high, unit[run_of_feature]), (weights - high * unit[runs], 1.0)):
            stored = np.bincount(self.indices, weights=np.repeat(addend, self.lengths), minlength=self.size)
            absent += (np.bincount(runs, weights=addend, minlength=len(heaviest))[run_of_feature] - stored) * scale
        return absent

    def complete(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the rows without an invalid value."""
        if self._valid is None:
            return np.ones(self.rows, dtype=bool)
        row = np.repeat(np.arange(self.rows), self.lengths)
        return np.asarray(np.bincount(row[~self._valid], minlength=self.rows) == 0)


Block = DenseBlock | SparseBlock
