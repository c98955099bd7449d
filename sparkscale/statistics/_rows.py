"""Base class of statistics of which many can be held in the rows of arrays: one for each run of rows, or each key."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.blocks import Runs
from sparkscale.statistics._base import Array, Statistic
from sparkscale.statistics._reductions import run_starts

__all__ = ["InRows", "Lists"]

Lists = tuple[npt.NDArray[np.intp], Array]  # the lengths of lists, and their elements
R = TypeVar("R", bound="InRows")


class InRows(Statistic):
    """A statistic whose arrays may have one row per run of rows, or per key."""

    fixed: ClassVar[bool] = True
    """Whether the lengths of all arrays depend on the number of features alone."""

    weights: ClassVar[Mapping[str, int]] = {}
    """Which arrays are proportional to the weight of the rows, or to a power of it; empty if rows have no weight."""

    @abstractmethod
    def merge_rows(self: R, numbers: npt.NDArray[np.intp]) -> R:
        """Merge consecutive statistics that have the same number, where the arrays have one row per statistic."""

    def running(self: R, numbers: npt.NDArray[np.intp]) -> R:
        """Merge each of the statistics with all before it that have the same number; those of a number are consecutive."""
        starts, rows = run_starts(numbers), np.arange(len(numbers))
        places = rows - np.repeat(starts, np.diff(np.append(starts, len(numbers))))
        merged, distance = self, 1  # each one with the others at a smaller distance
        while distance <= places.max(initial=0):
            later = rows[places >= distance]
            pairs = merged.take(np.stack([later - distance, later], axis=1).ravel())
            pairs = pairs.merge_rows(np.repeat(np.arange(len(later)), 2))
            order = rows.copy()
            order[later] = len(rows) + np.arange(len(later))
            merged, distance = type(self).concat([merged, pairs]).take(order), 2 * distance
        return merged

    @classmethod
    def merge_ordered(
        cls: type[R], statistics: Sequence[R], rows: npt.NDArray[np.intp], numbers: npt.NDArray[np.intp]
    ) -> R:
        """Merge rows of several statistics, in the order of ``rows``, that have the same ascending number."""
        return cls.concat(statistics).take(rows).merge_rows(numbers)

    @abstractmethod
    def take_features(self: R, features: npt.NDArray[np.intp]) -> R:
        """Select some of the features, of all rows if there are rows."""

    def scatter(self: R, places: npt.NDArray[np.intp], rows: int) -> R:
        """Return ``rows`` statistics, one per row: these ones at ``places``, statistics of no data elsewhere."""
        arrays = {}
        for name, neutral in self.missing(self.count.shape[-1], 0).arrays().items():
            arrays[name] = np.repeat(neutral[None], rows, axis=0)
            if len(places):
                arrays[name][places] = getattr(self, name)
        return type(self)(**arrays)

    def as_row(self: R) -> R:
        """Return the statistic with arrays of a single row."""
        return type(self)(**{name: array[None] for name, array in self.arrays().items()})

    def weighted(self: R, factors: Array) -> R:
        """Return the statistics, one per row, of rows whose weights are multiplied by a factor for each statistic."""
        arrays = self.arrays()
        for name, power in self.weights.items():
            values = arrays[name]
            arrays[name] = values * (factors**power).reshape(-1, *[1] * (values.ndim - 1))
        return type(self)(**arrays)

    def take(self: R, rows: npt.NDArray[np.intp]) -> R:
        """Select some of the statistics, one per row."""
        return type(self)(**{name: array[rows] for name, array in self.arrays().items()})

    def of_row(self: R, row: int) -> R:
        """Return the statistic of one row."""
        return type(self)(**{name: array[row] for name, array in self.arrays().items()})

    def row_arrays(self) -> Iterator[tuple[npt.NDArray[np.intp], list[Array]]]:
        """Return the statistics, one per row, as matrices with a row for each: which ones, and their arrays."""
        yield np.arange(len(self)), [*self.arrays().values()]

    @classmethod
    def of_row_arrays(cls: type[R], arrays: Sequence[Array]) -> R:
        """Return the statistics of such matrices."""
        return cls(**dict(zip(cls.names(), arrays, strict=True)))

    @classmethod
    def join_blocks(cls: type[R], statistics: Sequence[R], runs: Sequence[Runs | None]) -> R:
        """Return the statistic of consecutive blocks; a run may begin in one block and end in another."""
        if len(statistics) == 1 or runs[0] is None:
            return super().join_blocks(statistics, runs)
        numbers = [r[run_starts(r)] for r in runs if r is not None]
        return cls.concat(statistics).merge_rows(np.concatenate(numbers))

    def lists(self) -> dict[str, Lists]:
        """Return the arrays of the statistics, one per row, as lists of numbers, one per row."""
        rows = len(self)
        return {
            name: (np.full(rows, array.size // max(rows, 1)), array.ravel()) for name, array in self.arrays().items()
        }

    @classmethod
    def of_lists(cls: type[R], lists: Mapping[str, Lists]) -> R:
        """Return the statistics of such lists.

        Raises
        ------
        ValueError
            If lists differ in length.
        """
        return cls(**{name: values.reshape(len(lengths), -1) for name, (lengths, values) in lists.items()})
