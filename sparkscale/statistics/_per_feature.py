"""Base class of statistics of each feature separately, also of many runs of rows or many keys at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics._base import Array
from sparkscale.statistics._reductions import Columns, Reductions, RunReductions, run_starts
from sparkscale.statistics._rows import InRows

__all__ = ["PerFeature"]

P = TypeVar("P", bound="PerFeature")
Places = npt.NDArray[np.intp]

CHUNKS_COPIED = 1 << 10  # at once


class PerFeature(InRows):
    """A statistic of each feature separately. For several runs of rows, its arrays have one row per run."""

    # Spark puts 10,000 rows into an Arrow batch, whatever their size: at most 140 MB of these rows. The driver collects
    # little data, which is faster in one row.
    chunk_features: ClassVar[int] = 256
    """Features in a row that is sent to another executor."""

    in_chunks: ClassVar[bool] = True
    """Whether it is computed by chunks of rows, so that temporary arrays stay in the cache."""

    @classmethod
    def of(cls: type[P], block: Block) -> P:
        """Return the statistic of a block of rows; for a block with runs, one row per run."""
        with np.errstate(all="ignore"):  # an overflow shows in the result, and is refused when it is used
            if not block.rows:
                return cls.missing(block.size, 0)
            if isinstance(block, SparseBlock):
                if block.runs is None:
                    return cls._of_sparse(block)
                return cls._of_sparse(block.spread())._in_rows(block.size)
            step = rows_at_once(block.values) if cls.in_chunks or block.runs is not None else block.rows
            starts = np.zeros(1, np.intp) if block.runs is None else run_starts(block.runs)
            pieces = pairwise(_edges(starts, block.rows, step))  # a run that is longer than a chunk is cut again
            chunks = [block[i : min(i + step, end)] for start, end in pieces for i in range(start, end, step)]
            return cls.join_blocks([cls._of_chunk(chunk) for chunk in chunks], [chunk.runs for chunk in chunks])

    @classmethod
    @abstractmethod
    def _of_chunk(cls: type[P], chunk: DenseBlock) -> P:
        """Return the statistic of a dense block that is small enough for the cache."""

    @classmethod
    @abstractmethod
    def _of_sparse(cls: type[P], block: SparseBlock) -> P:
        """Return the statistic of a sparse block."""

    @classmethod
    @abstractmethod
    def _combined(cls: type[P], rows: Reductions, *arrays: Any) -> P:
        """Merge the statistics that the rows of the arrays hold, by reductions over rows."""

    def chunks(self) -> Iterator[tuple[npt.NDArray[np.intp], list[Array]]]:
        """See `Statistic`: a chunk has 256 features, and the last one the rest."""
        step = self.chunk_features
        full = len(self) // step * step
        edges = [*range(0, full, step * CHUNKS_COPIED), full]
        for start, end in pairwise(edges):
            arrays = [values[start:end].reshape(-1, step) for values in self.arrays().values()]
            yield np.arange(start, end, step), arrays
        if full < len(self):
            yield np.array([full]), [values[None, full:] for values in self.arrays().values()]

    @classmethod
    def of_chunks(cls: type[P], starts: Sequence[int], chunks: Sequence[P], features: int) -> P:
        """See `Statistic`."""
        return cls.concat(chunks)

    def merge_rows(self: P, numbers: Places) -> P:
        """Merge consecutive statistics that have the same number, where the arrays have one row per statistic."""
        starts = run_starts(numbers)
        if len(starts) == len(numbers):
            return self
        arrays = [*self.arrays().values()]
        return self._merge_runs(starts, len(numbers), lambda start, end: [a[start:end, ...] for a in arrays])

    @classmethod
    def merge_ordered(cls: type[P], statistics: Sequence[P], rows: Places, numbers: Places) -> P:
        """Merge rows of several statistics, in the order of ``rows``, that have the same ascending number."""
        if not cls.fixed:
            return super().merge_ordered(statistics, rows, numbers)
        starts = run_starts(numbers)
        if len(starts) == len(numbers):
            return cls.concat(statistics).take(rows)
        return statistics[0]._merge_runs(starts, len(rows), _Rows(statistics, rows))

    def _merge_runs(self: P, starts: Places, rows: int, rows_of: Callable[[int, int], list[Any]]) -> P:
        """Merge runs of rows in chunks, so that copies and temporary arrays stay in the cache."""
        xp, merged = namespace(self.count), []
        with np.errstate(all="ignore"):
            for start, end in pairwise(_edges(starts, rows, rows_at_once(self.count))):
                first, last = np.searchsorted(starts, [start, end])
                runs = RunReductions(xp, starts[first:last] - start, end - start)
                merged.append(self._combined(runs, *rows_of(start, end)))
        return merged[0] if len(merged) == 1 else self.concat(merged)

    def merge(self: P, *others: P) -> P:
        """Return the statistic of the rows of all operands, which are not modified."""
        if not others:
            return self
        xp, statistics = namespace(self.count), (self, *others)
        stacked = (xp.stack([getattr(s, name) for s in statistics]) for name in self.names())
        with np.errstate(all="ignore"):
            return self._combined(Columns(xp), *stacked)

    def _in_rows(self: P, features: int) -> P:
        """Reshape the statistics of consecutive runs to one row per run."""
        return type(self)(**{name: array.reshape(-1, features) for name, array in self.arrays().items()})

    def take_features(self: P, features: npt.NDArray[np.intp]) -> P:
        """Select some of the features, of all rows if there is one row per run or key."""
        return type(self)(**{name: array[..., features] for name, array in self.arrays().items()})

    def pooled(self: P, features: npt.NDArray[np.intp]) -> P:
        """Return the statistic of pooled features, such as the places of a channel.

        Parameters
        ----------
        features : numpy.ndarray of int, shape (n_places, n_channels)
            Which features make up each channel: one entry of the result.
        """
        places = (np.moveaxis(array[..., features], -2, 0) for array in self.arrays().values())
        with np.errstate(all="ignore"):
            return self._combined(Columns(namespace(self.count)), *places)

    def raveled(self: P) -> P:
        """Return the statistics, one per row, as one of as many features in all rows, row after row."""
        return type(self)(**{name: array.ravel() for name, array in self.arrays().items()})


def _edges(starts: Places, rows: int, step: int) -> list[int]:
    """Return where to cut rows into chunks of at most ``step`` of them, at starts of runs; longer runs are not cut."""
    ends, edges = np.append(starts[1:], rows), [0]
    while edges[-1] < rows:
        whole = np.searchsorted(ends, edges[-1] + step, side="right") - 1  # the last run that ends in this chunk
        first = np.searchsorted(ends, edges[-1], side="right")
        edges.append(int(ends[max(whole, first)]))
    return edges


class _Rows:
    """Rows of several statistics, in an order; they are numbered one statistic after the other."""

    def __init__(self, statistics: Sequence[PerFeature], rows: Places) -> None:
        ends = np.cumsum([len(s) for s in statistics])
        self._statistics, self._of = statistics, np.searchsorted(ends, rows, side="right")
        self._rows = rows - np.append(0, ends)[self._of]

    def __call__(self, start: int, end: int) -> list[Any]:
        """Return the arrays of rows ``start`` to ``end``."""
        of, rows = self._of[start:end], self._rows[start:end]
        places = [np.flatnonzero(of == k) for k in range(len(self._statistics))]
        arrays = []
        for name in self._statistics[0].names():
            array = np.empty((end - start, self._statistics[0].count.shape[1]))
            for statistic, place in zip(self._statistics, places, strict=True):
                array[place] = getattr(statistic, name)[rows[place]]
            arrays.append(array)
        return arrays
