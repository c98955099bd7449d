"""Base classes of statistics: frozen float64 arrays with one entry per feature, and a merge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import add
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.blocks import Block, Runs

Array = npt.NDArray[np.float64]
Self = TypeVar("Self", bound="Mergeable")
S = TypeVar("S", bound="Statistic")


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

    @classmethod
    def separate(cls) -> type[Mergeable]:
        """Return the class of what is computed of each feature separately: of a joint statistic, only counts."""
        return cls

    @classmethod
    def jointly(cls) -> type[Mergeable]:
        """Return the class of what is computed of all features jointly."""
        return cls

    def with_invalid(self: Self, invalid: Any) -> Self:
        """Return the statistic with another number of invalid values."""
        return replace(self, invalid=invalid)

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
    def of_both(cls: type[S], separate: Any, joint: Any) -> S:
        """Return the statistic from its separate and its joint part."""
        return replace(joint, count=separate.count, invalid=separate.invalid)  # type: ignore[no-any-return]

    @classmethod
    def of_aggregates(cls: type[S], rows: Any, *arrays: Array) -> S:
        """Return the statistic from SQL aggregates.

        Parameters
        ----------
        rows : float or numpy.ndarray of float64, shape (n_keys, 1)
            Number of rows.
        *arrays : numpy.ndarray of float64, shape (n_features,) or (n_keys, n_features)
            The ``aggregates``; NaN for null.
        """
        raise TypeError(f"{cls.__name__} has no aggregates")

    @classmethod
    def exact_aggregates(cls, *arrays: Array) -> npt.NDArray[np.bool_]:
        """Return where the aggregates have kept their digits, so that the statistic is as exact as of the rows."""
        return np.ones(arrays[0].shape, dtype=bool)

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
