"""What every statistic is: frozen float64 arrays, one entry a feature, with a merge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, Runs, SparseBlock
from sparkscale.statistics._reductions import Columns, Reductions, run_starts
from sparkscale.statistics._reductions import Runs as ByRun

Array = npt.NDArray[np.float64]
Self = TypeVar("Self", bound="Mergeable")
S = TypeVar("S", bound="Statistic")
P = TypeVar("P", bound="PerFeature")


@dataclass(frozen=True, eq=False)
class Mergeable(ABC):
    """Frozen arrays, one entry a feature, that merge."""

    joint: ClassVar[bool] = False  # whether it is of all features together, and so of rows without an invalid value

    count: Array
    invalid: Array

    @abstractmethod
    def merge(self: Self, *others: Self) -> Self:
        """Return the statistic of all rows together; its operands stay as they were."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the arrays."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def numbers(cls, features: int) -> int:
        """Return how many numbers the statistic of so many features has."""
        return features * len(cls.names())

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name, the inverse of ``from_arrays``."""
        return {name: getattr(self, name) for name in self.names()}

    @classmethod
    def from_arrays(cls: type[Self], arrays: Mapping[str, Any]) -> Self:
        """Build a statistic from its arrays."""
        return cls(**{name: np.asarray(arrays[name], dtype=np.float64) for name in cls.names()})

    @classmethod
    def concat(cls: type[Self], parts: Sequence[Self]) -> Self:
        """Put features beside each other."""
        return cls.from_arrays({n: np.concatenate([getattr(p, n) for p in parts]) for n in cls.names()})

    def split(self: Self, sizes: Iterable[int]) -> list[Self]:
        """Take apart what ``concat`` put together."""
        ends = np.cumsum(list(sizes))[:-1]
        pieces = {name: np.split(array, ends) for name, array in self.arrays().items()}
        return [type(self).from_arrays({n: p[i] for n, p in pieces.items()}) for i in range(len(ends) + 1)]

    def __len__(self) -> int:
        return len(self.count)


class Statistic(Mergeable):
    """Raw sufficient statistics of some rows.

    Degrees of freedom, roots and the treatment of constant features are not here: they belong to the
    scaler that finishes a statistic, and finished values do not merge.
    """

    aggregates: ClassVar[tuple[str, ...]] = ()
    """SQL aggregates of the valid values ``{x}`` of a feature that give the statistic, if there are such."""

    any_order: ClassVar[bool] = False
    """Whether it does not depend on the order in which these are merged."""

    in_metadata: ClassVar[bool] = False
    """Whether sources know these of their files."""

    @classmethod
    def of_aggregates(cls: type[S], rows: float, *arrays: Array) -> S | None:
        """Return the statistic that SQL aggregates give; ``None`` where they have lost digits.

        Parameters
        ----------
        rows : float
            Number of rows.
        *arrays : numpy.ndarray of float64, shape (n_features,)
            The ``aggregates``; NaN for null.
        """
        raise NotImplementedError

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
        """Return the statistic of consecutive blocks of which none has runs."""
        return statistics[0] if len(statistics) == 1 else statistics[0].merge(*statistics[1:])


class PerFeature(Statistic):
    """A statistic of each feature by itself, which may be of many runs of rows at once: its arrays have a row for each."""

    @classmethod
    def of(cls: type[P], block: Block) -> P:
        """Return the statistic of a block of rows; of a block of runs, those of its runs, a row each."""
        with np.errstate(all="ignore"):  # what overflows shows in the result, and is refused when it is used
            if not block.rows:
                return cls.missing(block.size, 0)
            if isinstance(block, SparseBlock):
                if block.runs is None:
                    return cls._of_sparse(block)
                return cls._of_sparse(block.spread())._in_rows(block.size)
            step = rows_at_once(block.values)
            chunks = [block[start : start + step] for start in range(0, block.rows, step)]
            return cls.join_blocks([cls._of_chunk(chunk) for chunk in chunks], [chunk.runs for chunk in chunks])

    @classmethod
    @abstractmethod
    def _of_chunk(cls: type[P], chunk: DenseBlock) -> P:
        """Return the statistic of a dense block whose temporaries stay in the cache."""

    @classmethod
    @abstractmethod
    def _of_sparse(cls: type[P], block: SparseBlock) -> P:
        """Return the statistic of a sparse block."""

    @classmethod
    @abstractmethod
    def _combined(cls: type[P], rows: Reductions, *arrays: Any) -> P:
        """Merge statistics given as the rows of arrays, by reductions of these."""

    @classmethod
    def join_blocks(cls: type[P], statistics: Sequence[P], runs: Sequence[Runs | None]) -> P:
        """Return the statistic of consecutive blocks, of which a run may begin in one and end in another."""
        if len(statistics) == 1 or runs[0] is None:
            return super().join_blocks(statistics, runs)
        numbers = [r[run_starts(r)] for r in runs if r is not None]
        return cls.concat(statistics).merge_rows(np.concatenate(numbers))

    def scatter(self: P, places: npt.NDArray[np.intp], rows: int) -> P:
        """Return as many statistics, a row each: these at some places, and those of no row at the others."""
        arrays = {}
        for name, neutral in self.missing(self.count.shape[-1], 0).arrays().items():
            arrays[name] = np.tile(neutral, (rows, 1))
            if len(places):
                arrays[name][places] = getattr(self, name)
        return type(self)(**arrays)

    def as_row(self: P) -> P:
        """Return the statistic as the one row of its arrays."""
        return type(self)(**{name: array[None, :] for name, array in self.arrays().items()})

    def take(self: P, rows: npt.NDArray[np.intp]) -> P:
        """Return some of the statistics, of which each has a row."""
        return type(self)(**{name: array[rows] for name, array in self.arrays().items()})

    def merge_rows(self: P, numbers: npt.NDArray[np.intp]) -> P:
        """Merge consecutive rows of the same number, where the arrays have a row for each of several statistics."""
        starts = run_starts(numbers)
        if len(starts) == len(numbers):
            return self
        rows = ByRun(namespace(self.count), starts, len(numbers))
        with np.errstate(all="ignore"):
            return self._combined(rows, *self.arrays().values())

    def merge(self: P, *others: P) -> P:
        """Return the statistic of all rows together; the operands stay as they were."""
        if not others:
            return self
        xp, statistics = namespace(self.count), (self, *others)
        stacked = (xp.stack([getattr(s, name) for s in statistics]) for name in self.names())
        with np.errstate(all="ignore"):
            return self._combined(Columns(xp), *stacked)

    def _in_rows(self: P, features: int) -> P:
        """Return the statistics with a row for each run, where these follow one another."""
        return type(self)(**{name: array.reshape(-1, features) for name, array in self.arrays().items()})


class Fold:
    """Merges statistics in their order as they come, holding a bounded number of them.

    Merging several at a time rounds less than a running merge, and is faster.
    """

    NUMBERS = 1 << 20  # held before the next merge
    PARTS = 64

    def __init__(self) -> None:
        self._waiting: list[Any] = []

    def add(self, part: Any) -> None:
        """Take the next statistic."""
        self._waiting.append(part)
        if len(self._waiting) == self.PARTS or (len(self._waiting) > 1 and len(self) >= self.NUMBERS):
            self._waiting = [self.result()]

    def __len__(self) -> int:
        """Return how many numbers are held."""
        return sum(part.numbers(len(part)) for part in self._waiting)

    def result(self) -> Any:
        """Return the statistic of all that came, or ``None``."""
        first, *others = self._waiting or [None]
        return first.merge(*others) if others else first


def total(arrays: Sequence[Array]) -> Array:
    """Add arrays up in their order."""
    return reduce(add, arrays)
