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

from sparkscale.blocks import Block

Array = npt.NDArray[np.float64]
Self = TypeVar("Self", bound="Mergeable")
S = TypeVar("S", bound="Statistic")


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

    @classmethod
    @abstractmethod
    def of(cls: type[S], block: Block) -> S:
        """Return the statistic of a block of rows."""

    @classmethod
    @abstractmethod
    def missing(cls: type[S], features: int, rows: float) -> S:
        """Return the statistic of ``rows`` rows without any valid value; neutral when ``rows`` is 0."""


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
