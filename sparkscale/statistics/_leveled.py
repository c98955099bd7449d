"""Arrays of a statistic that keeps values in levels, a different number of each feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.statistics._base import Array
from sparkscale.statistics._levels import Segments, gather, segment_starts, widths
from sparkscale.statistics._rows import Lists
from sparkscale.statistics.extrema import Extrema

__all__ = ["Leveled"]

Places = npt.NDArray[np.intp]
L = TypeVar("L", bound="Leveled")


@dataclass(frozen=True, eq=False)
class Leveled(Extrema):
    """Counts, extrema and kept values of each feature: the arrays of `Quantiles`, and how they are cut and joined."""

    aggregates: ClassVar[tuple[str, ...]] = ()
    any_order = False
    in_metadata = False
    on_gpu = False
    fixed = False
    chunk_features = 16  # some 2 MB for 10 million values each

    zeros: Array
    sizes: Array
    values: Array

    @classmethod
    def numbers(cls, features: int) -> int:
        """Return the least number of numbers that the statistic of this many features consists of."""
        return features * (len(cls.names()) - 1)

    def is_complete(self, features: int) -> bool:
        """Whether the arrays are those of this many features, and the values as many as the sizes and counts say."""
        counts = np.column_stack([self.zeros, self.sizes]) if len(self.zeros) == len(self.sizes) else np.array([np.nan])
        if len(self.count) != features or not np.all((counts >= 0) & (counts == np.floor(counts))):
            return False
        weight = self.sizes @ np.exp2(np.arange(self.sizes.shape[1]))
        agree = np.array_equal(weight + self.zeros, self.count) and self.sizes.sum() == len(self.values)
        lengths = [len(a) for name, a in self.arrays().items() if name != "values"]
        return agree and lengths == [features] * len(lengths) and bool(np.all(np.isfinite(self.values)))

    @classmethod
    def from_arrays(cls: type[L], arrays: Mapping[str, Any]) -> L:
        """Build a statistic from its arrays; ``sizes`` may be flattened, and ``values`` are left out if there are none.

        Raises
        ------
        ValueError
            If the arrays contradict each other.
        """
        count, sizes = (np.asarray(arrays[name], dtype=np.float64) for name in ("count", "sizes"))
        values = np.asarray(arrays.get("values", ()), dtype=np.float64)
        sizes = sizes.reshape(*count.shape, sizes.size // max(count.size, 1))
        return super().from_arrays({**arrays, "sizes": sizes, "values": values})

    @classmethod
    def concat(cls: type[L], statistics: Sequence[L]) -> L:
        """Concatenate the features of several statistics."""
        levels = max(s.sizes.shape[-1] for s in statistics)
        arrays = {n: np.concatenate([getattr(s, n) for s in statistics]) for n in cls.names() if n != "sizes"}
        return cls(**arrays, sizes=np.concatenate([_with_levels(s.sizes, levels) for s in statistics]))

    def split(self: L, sizes: Any) -> list[L]:
        """Split the features, the inverse of ``concat``."""
        ends = np.cumsum([0, *sizes])
        return [self.take(np.arange(start, end)) for start, end in pairwise(ends)]

    def take(self: L, rows: Places) -> L:
        """Select some of the statistics, one per row; of an array without runs, some of the features."""
        sizes = self.sizes[rows]
        arrays = {n: getattr(self, n)[rows] for n in self.names() if n not in ("sizes", "values")}
        totals = self._totals()
        values = gather(self.values, *(np.atleast_1d(n[rows]) for n in (segment_starts(totals), totals)))
        return type(self)(**arrays, sizes=sizes, values=values)

    def _totals(self) -> Places:
        """Return the number of kept values in each row, or of each feature."""
        totals: Places = self.sizes.sum(axis=tuple(range(1, self.sizes.ndim))).astype(np.intp)
        return totals

    def row_arrays(self) -> Iterator[tuple[Places, list[Array]]]:
        """See `PerFeature`: rows with similar numbers of values, which end in NaN."""
        totals = self._totals()
        for which in (np.flatnonzero(totals == 0), *widths(totals)):
            if len(which):
                rows = self.take(which)
                width = int(totals[which].max())
                values = Segments(rows.values, totals[which]).rows(
                    np.nan, 1 << (width - 1).bit_length() if width else 0
                )
                arrays = {
                    **rows.arrays(),
                    "sizes": rows.sizes.reshape(len(which), self.sizes[0].size),
                    "values": values,
                }
                yield which, [*arrays.values()]

    @classmethod
    def of_row_arrays(cls: type[L], arrays: Sequence[Array]) -> L:
        """See `PerFeature`."""
        by_name = dict(zip(cls.names(), arrays, strict=True))
        values = by_name["values"]
        count, sizes = by_name["count"], by_name["sizes"]
        sizes = sizes.reshape(*count.shape, sizes.shape[1] // count.shape[1])
        return cls(**{**by_name, "sizes": sizes, "values": values[~np.isnan(values)]})

    def as_row(self: L) -> L:
        """Return the statistic with arrays of a single row."""
        arrays = {n: a if n == "values" else a[None] for n, a in self.arrays().items()}
        return type(self)(**arrays)

    def scatter(self: L, places: Places, rows: int) -> L:
        """Return ``rows`` statistics, one per row: these ones at ``places``, statistics of no data elsewhere."""
        nothing = self.missing(self.count.shape[-1], 0).as_row()
        which = np.zeros(rows, np.intp)
        which[places] = np.arange(1, len(places) + 1)
        return type(self).concat([nothing, self]).take(which)

    def chunks(self) -> Iterator[tuple[Places, list[Array]]]:
        """See `Statistic`: a chunk has 16 features, and the last one the rest."""
        for start in range(0, len(self), self.chunk_features):
            chunk = self.take(np.arange(start, min(start + self.chunk_features, len(self))))
            yield np.array([start]), [array.reshape(1, -1) for array in chunk.arrays().values()]

    def take_features(self: L, features: Places) -> L:
        """See `PerFeature`."""
        if self.count.ndim == 1:
            return self.take(features)
        rows, size = self.count.shape
        places = np.arange(rows)[:, None] * size + features
        return self.raveled().take(places.ravel())._in_rows(len(features))

    def of_row(self: L, row: int) -> L:
        """See `PerFeature`."""
        taken = self.take(np.array([row]))
        return type(self)(**{n: a if n == "values" else a[0] for n, a in taken.arrays().items()})

    def raveled(self: L) -> L:
        """See `PerFeature`."""
        arrays = {n: a.ravel() for n, a in self.arrays().items() if n != "sizes"}
        return type(self)(**arrays, sizes=self.sizes.reshape(-1, self.sizes.shape[-1]))

    def lists(self) -> dict[str, Lists]:
        """See `PerFeature`: those of the values differ in length."""
        return {**super().lists(), "values": (self._totals(), self.values)}

    @classmethod
    def of_lists(cls: type[L], lists: Mapping[str, Lists]) -> L:
        """See `PerFeature`: rows may differ in the number of levels."""
        lengths, sizes = lists["sizes"]
        rows, features = len(lengths), lists["count"][1].size // max(len(lengths), 1)
        levels = int(lengths.max(initial=0)) // max(features, 1)
        padded = np.zeros((rows, features, levels))
        for length in np.unique(lengths):
            which = lengths == length
            padded[which, :, : length // features] = sizes[np.repeat(which, lengths)].reshape(
                -1, features, length // features
            )
        fixed = {n: values.reshape(rows, -1) for n, (_, values) in lists.items() if n not in ("sizes", "values")}
        return cls(**fixed, sizes=padded, values=lists["values"][1])

    @classmethod
    def missing(cls: type[L], features: int, rows: float) -> L:
        """Return the statistic of rows without a valid value."""
        extrema, zero = Extrema.missing(features, rows).arrays(), np.zeros(features)
        return cls(**extrema, zeros=zero, sizes=zero[:, None], values=np.empty(0))

    def _in_rows(self: L, features: int) -> L:
        arrays = {n: a.reshape(-1, features) for n, a in self.arrays().items() if n not in ("sizes", "values")}
        return type(self)(**arrays, sizes=self.sizes.reshape(-1, features, self.sizes.shape[-1]), values=self.values)


def _with_levels(sizes: Array, levels: int) -> Array:
    """Return sizes with empty levels at the end."""
    return np.concatenate([sizes, np.zeros((*sizes.shape[:-1], levels - sizes.shape[-1]))], axis=-1)
