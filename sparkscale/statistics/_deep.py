"""Arrays with several numbers for each feature, as many for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.statistics._base import Array
from sparkscale.statistics._per_feature import PerFeature
from sparkscale.statistics._rows import Lists

__all__ = ["Deep"]

Places = npt.NDArray[np.intp]
D = TypeVar("D", bound="Deep")


class Deep(PerFeature):
    """A statistic whose arrays have further axes after that of the features; they are flattened to be sent or saved."""

    @classmethod
    @abstractmethod
    def depths(cls) -> Mapping[str, tuple[int, ...]]:
        """Return the lengths of the further axes of each array that has some."""

    @classmethod
    def _depth(cls, name: str) -> tuple[int, ...]:
        return cls.depths().get(name, ())

    @classmethod
    def numbers(cls, features: int) -> int:
        """Return how many numbers the statistic of this many features consists of."""
        return features * sum(prod(cls._depth(name)) for name in cls.names())

    @classmethod
    def from_arrays(cls: type[D], arrays: Mapping[str, Any]) -> D:
        """Build a statistic from its arrays, flattened or not."""
        shape = np.shape(arrays["count"])
        wanted = {name: np.asarray(arrays[name], dtype=np.float64) for name in cls.names()}
        return cls(**{name: a.reshape(*shape, *cls._depth(name)) for name, a in wanted.items()})

    def chunks(self) -> Iterator[tuple[Places, list[Array]]]:
        """See `Statistic`: a chunk has ``chunk_features`` features, and the last one the rest."""
        for start in range(0, len(self), self.chunk_features):
            chunk = slice(start, start + self.chunk_features)
            yield np.array([start]), [array[chunk].reshape(1, -1) for array in self.arrays().values()]

    def take_features(self: D, features: Places) -> D:
        """See `PerFeature`."""
        axis = self.count.ndim - 1
        return type(self)(**{name: np.take(a, features, axis) for name, a in self.arrays().items()})

    def raveled(self: D) -> D:
        """See `PerFeature`."""
        return self._shaped((-1,))

    def _in_rows(self: D, features: int) -> D:
        return self._shaped((-1, features))

    def _shaped(self: D, shape: tuple[int, ...]) -> D:
        """Return the same numbers with other axes before those of a feature."""
        return type(self)(**{name: a.reshape(*shape, *self._depth(name)) for name, a in self.arrays().items()})

    def row_arrays(self) -> Iterator[tuple[Places, list[Array]]]:
        """See `PerFeature`."""
        rows = len(self)
        yield np.arange(rows), [a.reshape(rows, prod(a.shape[1:])) for a in self.arrays().values()]

    @classmethod
    def of_row_arrays(cls: type[D], arrays: Sequence[Array]) -> D:
        """See `PerFeature`."""
        return cls.from_arrays(dict(zip(cls.names(), arrays, strict=True)))

    @classmethod
    def of_lists(cls: type[D], lists: Mapping[str, Lists]) -> D:
        """See `PerFeature`."""
        return cls.from_arrays({name: values.reshape(len(lengths), -1) for name, (lengths, values) in lists.items()})
