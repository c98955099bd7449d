"""Base classes of statistics: frozen float64 arrays with one entry per feature, and a merge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, Runs, SparseBlock
from sparkscale.statistics._reductions import Columns, Reductions, RunReductions, run_starts

Array = npt.NDArray[np.float64]
Self = TypeVar("Self", bound="Mergeable")
S = TypeVar("S", bound="Statistic")
P = TypeVar("P", bound="PerFeature")

# Features in a row that is sent to another executor. Spark puts 10,000 rows into an Arrow batch, whatever their size:
# at most 140 MB of these rows. The driver collects little data, which is faster in one row.
CHUNK_FEATURES = 256
CHUNKS_COPIED = 1 << 10  # at once


@dataclass(frozen=True, eq=False)
class Mergeable(ABC):
    """Frozen arrays with one entry per feature that can be merged."""

    joint: ClassVar[bool] = (
        False  # whether it depends on all features jointly, and so only on rows without an invalid value
    )

    count: Array
    invalid: Array

    @abstractmethod
    def merge(self: Self, *others: Self) -> Self:
        """Return the statistic of the rows of all operands, which are not modified."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the arrays."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def numbers(cls, features: int) -> int:
        """Return how many numbers the statistic of this many features consists of, at least."""
        return features * len(cls.names())

    @classmethod
    def usual_numbers(cls, features: int) -> int:
        """Return how many numbers it usually consists of, if that depends on the data."""
        return cls.numbers(features)

    @property
    def held(self) -> int:
        """How many numbers the statistic consists of."""
        return sum(array.size for array in self.arrays().values())

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name, the inverse of ``from_arrays``."""
        return {name: getattr(self, name) for name in self.names()}

    @classmethod
    def from_arrays(cls: type[Self], arrays: Mapping[str, Any]) -> Self:
        """Build a statistic from its arrays."""
        return cls(**{name: np.asarray(arrays[name], dtype=np.float64) for name in cls.names()})

    def is_complete(self, features: int) -> bool:
        """Whether the arrays are as long as those of this many features are."""
        return all(len(a) == features for a in self.arrays().values()) and self.held == self.numbers(features)

    @classmethod
    def concat(cls: type[Self], statistics: Sequence[Self]) -> Self:
        """Concatenate the features of several statistics."""
        return cls.from_arrays({n: np.concatenate([getattr(s, n) for s in statistics]) for n in cls.names()})

    def split(self: Self, sizes: Iterable[int]) -> list[Self]:
        """Split the features, the inverse of ``concat``."""
        ends = np.cumsum(list(sizes))[:-1]
        pieces = {name: np.split(array, ends) for name, array in self.arrays().items()}
        return [type(self).from_arrays({n: p[i] for n, p in pieces.items()}) for i in range(len(ends) + 1)]

    def __len__(self) -> int:
        return len(self.count)


class Statistic(Mergeable):
    """Raw sufficient statistics of some rows.

    Degrees of freedom, square roots and the treatment of constant features belong to the scaler that uses a
    statistic: derived values cannot be merged.
    """

    aggregates: ClassVar[tuple[str, ...]] = ()
    """SQL aggregates over the valid values ``{x}`` of a feature that yield the statistic; empty if there are none."""

    any_order: ClassVar[bool] = False
    """Whether the result is independent of the order in which Spark merges the aggregates."""

    on_gpu: ClassVar[bool] = True
    """Whether a GPU can compute it."""

    in_metadata: ClassVar[bool] = False
    """Whether data sources keep these aggregates in the metadata of their files."""

    @classmethod
    def of_aggregates(cls: type[S], rows: float, *arrays: Array) -> S | None:
        """Return the statistic from SQL aggregates; ``None`` if they have lost digits, or if there are none.

        Parameters
        ----------
        rows : float
            Number of rows.
        *arrays : numpy.ndarray of float64, shape (n_features,)
            The ``aggregates``; NaN for null.
        """
        return None

    @abstractmethod
    def chunks(self) -> Iterator[tuple[npt.NDArray[np.intp], list[Array]]]:
        """Return chunks that can be merged separately: where each one starts, and the arrays with one row per chunk."""

    @classmethod
    @abstractmethod
    def of_chunks(cls: type[S], starts: Sequence[int], chunks: Sequence[S], features: int) -> S:
        """Return the statistic of these chunks, the inverse of ``chunks``."""

    @classmethod
    @abstractmethod
    def of(cls: type[S], block: Block) -> S:
        """Return the statistic of a block of rows."""

    @classmethod
    @abstractmethod
    def missing(cls: type[S], features: int, rows: float) -> S:
        """Return the statistic of ``rows`` rows without any valid value; neutral when ``rows`` is 0."""

    @classmethod
    def join_blocks(cls: type[S], statistics: Sequence[S], runs: Sequence[Runs | None]) -> S:
        """Return the statistic of consecutive blocks without runs."""
        return statistics[0] if len(statistics) == 1 else statistics[0].merge(*statistics[1:])


class PerFeature(Statistic):
    """A statistic of each feature separately. For several runs of rows, its arrays have one row per run."""

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
            step = rows_at_once(block.values) if cls.in_chunks else block.rows
            chunks = [block[start : start + step] for start in range(0, block.rows, step)]
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
        full = len(self) // CHUNK_FEATURES * CHUNK_FEATURES
        edges = [*range(0, full, CHUNK_FEATURES * CHUNKS_COPIED), full]
        for start, end in pairwise(edges):
            arrays = [values[start:end].reshape(-1, CHUNK_FEATURES) for values in self.arrays().values()]
            yield np.arange(start, end, CHUNK_FEATURES), arrays
        if full < len(self):
            yield np.array([full]), [values[None, full:] for values in self.arrays().values()]

    @classmethod
    def of_chunks(cls: type[P], starts: Sequence[int], chunks: Sequence[P], features: int) -> P:
        """See `Statistic`."""
        return cls.concat(chunks)

    @classmethod
    def join_blocks(cls: type[P], statistics: Sequence[P], runs: Sequence[Runs | None]) -> P:
        """Return the statistic of consecutive blocks; a run may begin in one block and end in another."""
        if len(statistics) == 1 or runs[0] is None:
            return super().join_blocks(statistics, runs)
        numbers = [r[run_starts(r)] for r in runs if r is not None]
        return cls.concat(statistics).merge_rows(np.concatenate(numbers))

    def scatter(self: P, places: npt.NDArray[np.intp], rows: int) -> P:
        """Return ``rows`` statistics, one per row: these ones at ``places``, statistics of no data elsewhere."""
        arrays = {}
        for name, neutral in self.missing(self.count.shape[-1], 0).arrays().items():
            arrays[name] = np.tile(neutral, (rows, 1))
            if len(places):
                arrays[name][places] = getattr(self, name)
        return type(self)(**arrays)

    def as_row(self: P) -> P:
        """Return the statistic with arrays of a single row."""
        return type(self)(**{name: array[None, :] for name, array in self.arrays().items()})

    def take(self: P, rows: npt.NDArray[np.intp]) -> P:
        """Select some of the statistics, one per row."""
        return type(self)(**{name: array[rows] for name, array in self.arrays().items()})

    def row_arrays(self) -> Iterator[tuple[npt.NDArray[np.intp], list[Array]]]:
        """Return the statistics, one per row, as matrices with a row for each: which ones, and their arrays."""
        yield np.arange(len(self)), [*self.arrays().values()]

    @classmethod
    def of_row_arrays(cls: type[P], arrays: Sequence[Array]) -> P:
        """Return the statistics of such matrices."""
        return cls(**dict(zip(cls.names(), arrays, strict=True)))

    def merge_rows(self: P, numbers: npt.NDArray[np.intp]) -> P:
        """Merge consecutive statistics that have the same number, where the arrays have one row per statistic."""
        starts = run_starts(numbers)
        if len(starts) == len(numbers):
            return self
        rows = RunReductions(namespace(self.count), starts, len(numbers))
        with np.errstate(all="ignore"):
            return self._combined(rows, *self.arrays().values())

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


class Fold:
    """Merges statistics in the order in which they are added, keeping a bounded number of them in memory.

    Merging several at a time is faster than merging one by one, and rounds less.
    """

    NUMBERS = 1 << 20  # numbers in memory that trigger a merge
    PARTS = 64  # statistics in memory that trigger a merge

    def __init__(self) -> None:
        self._pending: list[Any] = []

    def add(self, statistic: Any) -> None:
        """Add the next statistic."""
        self._pending.append(statistic)
        if len(self._pending) == self.PARTS or (len(self._pending) > 1 and len(self) >= self.NUMBERS):
            self._pending = [self.result()]

    def __len__(self) -> int:
        """Return how many numbers are in memory."""
        return sum(statistic.held for statistic in self._pending)

    def result(self) -> Any:
        """Return the merged statistic, or ``None`` if nothing was added."""
        first, *others = self._pending or [None]
        return first.merge(*others) if others else first


def total(arrays: Sequence[Array]) -> Array:
    """Return the sum of the arrays, added in order."""
    return reduce(add, arrays)
