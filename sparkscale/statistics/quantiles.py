"""Quantiles: exact for few values, within a rank error for many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import ceil
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import double
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics._base import Array
from sparkscale.statistics._leveled import Leveled
from sparkscale.statistics._levels import Segments, by_run, compacted, flattened, gather, segment_starts
from sparkscale.statistics._ordered import OrderedValues
from sparkscale.statistics._reductions import run_starts
from sparkscale.statistics.extrema import Extrema

__all__ = ["INTERPOLATIONS", "Quantiles"]

Places = npt.NDArray[np.intp]
Q = TypeVar("Q", bound="Quantiles")

INTERPOLATIONS = ("none", "linear")
USUAL_VALUES = 100_000  # of a feature in a partition, if all are kept
FAILURE = 0.01  # probability that the rank of a quantile is off by more than the relative error


@dataclass(frozen=True, eq=False)
class Quantiles(Leveled):
    r"""Quantiles of each feature: exact for few values, and for many within a rank error.

    Values are kept in levels; one of level h stands for :math:`2^h` values. A level of ``capacity`` values is sorted and
    halved: every other value goes up to the next level, from the first or the second on, by a pseudorandom bit that the
    values themselves seed. The same partitions thus give the same result, bit for bit. Zeros are counted, not kept.

    Halving :math:`m` values of level h changes a rank by at most :math:`2^h`, up or down with equal probability. Of n
    values, at most :math:`n / (2^h c)` halvings are in level h, for a capacity of c. By Hoeffding's inequality, for
    each rank

    .. math:: P(|error| > \epsilon n) \le 2 \exp(-\epsilon^2 c^2 / 4) \le 0.01, \qquad
              c = \lceil 2 \sqrt{\ln 200} / \epsilon \rceil .

    Equal data meet equal coins, so that the errors of identical partitions are not independent, but they are equal: merged,
    these have the relative error of one.

    So quantiles are exact for a feature with fewer than c values other than 0: 4,604 for the default of 0.001.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values.
    min, max : numpy.ndarray of float64, shape (n_features,)
        The extrema; infinity and -infinity where ``count`` is 0.
    zeros : numpy.ndarray of float64, shape (n_features,)
        Number of zeros.
    sizes : numpy.ndarray of float64, shape (n_features, n_levels)
        Number of kept values in each level.
    values : numpy.ndarray of float64, shape (n,)
        The kept values of all features, one feature after the other, of a feature one level
        after the other, and of a level in order.

    References
    ----------
    P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips, Z. Wei, K. Yi, "Mergeable summaries", PODS (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Quantiles
    >>> a = Quantiles.of(DenseBlock(np.array([[1.0], [0.0], [7.0]])))
    >>> b = Quantiles.of(DenseBlock(np.array([[3.0], [np.nan]])))
    >>> m = a.merge(b)
    >>> m.quantile(0.5), m.quantile(0.5, "linear"), m.count, m.zeros
    (array([1.]), array([2.]), array([4.]), array([1.]))
    """

    relative_error: ClassVar[float] = 0.001

    @classmethod
    def within(cls, relative_error: float) -> type[Quantiles]:
        """Return the class with another relative error; 0 keeps every value."""
        return Quantiles if relative_error == Quantiles.relative_error else _within(relative_error)

    @classmethod
    def capacity(cls) -> float:
        """Return the number of values at which a level is halved; infinity for a relative error of 0."""
        with np.errstate(all="ignore"):
            capacity = 2 * np.sqrt(np.log(2 / FAILURE)) / np.float64(cls.relative_error)
        return max(2, ceil(capacity)) if np.isfinite(capacity) else np.inf

    @classmethod
    def usual_numbers(cls, features: int) -> int:
        """See `Mergeable`: those of a full level."""
        return features * int(min(cls.capacity(), USUAL_VALUES))

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Quantiles:
        """Return the quantiles of a block."""
        _, values, _ = double(chunk.values)
        rows, features = values.shape
        extrema = Extrema._of_chunk(chunk)
        starts = np.zeros(1, np.intp) if chunk.runs is None else run_starts(chunk.runs)
        lengths = np.diff(starts, append=rows)
        ordered = by_run(values, starts, lengths)
        keep = ordered != 0
        if np.any(extrema.invalid):
            keep &= np.isfinite(ordered)
        sizes = np.repeat(lengths, features)
        if not keep.all():
            sizes = np.add.reduceat(keep, segment_starts(sizes), dtype=np.intp)
            ordered = ordered[keep]
        return cls._of_values(extrema, Segments(ordered, sizes))

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Quantiles:
        extrema = Extrema._of_sparse(block)
        indices, values, _ = block.valid_entries()
        nonzero = values != 0
        indices, values = indices[nonzero], values[nonzero]
        order = np.argsort(indices, kind="stable")
        return cls._of_values(extrema, Segments(values[order], np.bincount(indices, minlength=block.size)))

    @classmethod
    def _of_values(cls: type[Q], extrema: Extrema, values: Segments) -> Q:
        zeros = extrema.count - values.lengths.reshape(extrema.count.shape)
        return cls._of_levels({**extrema.arrays(), "zeros": zeros}, [values])

    def merge(self: Q, *others: Q) -> Q:
        """Return the statistic of the rows of all operands, which are not modified."""
        if not others:
            return self
        rows = type(self).concat([s.as_row() for s in (self, *others)])
        merged = rows.merge_rows(np.zeros(1 + len(others), np.intp))
        return type(self)(**{n: a if n == "values" else a[0] for n, a in merged.arrays().items()})

    def merge_rows(self: Q, numbers: Places) -> Q:
        """Merge consecutive statistics that have the same number, where the arrays have one row per statistic."""
        starts = run_starts(numbers)
        if len(starts) == len(numbers):
            return self
        rows, features, levels = self.sizes.shape
        arrays = {name: np.add.reduceat(getattr(self, name), starts, axis=0) for name in ("count", "invalid", "zeros")}
        arrays |= {"min": np.minimum.reduceat(self.min, starts), "max": np.maximum.reduceat(self.max, starts)}
        sizes = self.sizes.astype(np.intp)
        begins = segment_starts(sizes.ravel()).reshape(sizes.shape)
        # The cells of a level, by merged row, then by feature, then by row.
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=rows))
        order = np.lexsort((np.tile(np.arange(features), rows), np.repeat(group, features)))
        merged = [
            Segments(
                gather(self.values, begins[..., h].ravel()[order], sizes[..., h].ravel()[order]),
                np.add.reduceat(sizes[..., h], starts, axis=0).ravel(),
            )
            for h in range(levels)
        ]
        return self._of_levels(arrays, merged)

    def pooled(self: Q, features: Places) -> Q:
        """Return the statistic of pooled features: they are merged as those of several rows are."""
        if self.count.ndim == 1:
            return self.as_row().pooled(features).of_row(0)
        places, channels = features.shape
        rows = self.take_features(features.ravel()).raveled()._in_rows(channels)
        return rows.merge_rows(np.repeat(np.arange(len(self.count)), places))

    @classmethod
    def _of_levels(cls: type[Q], arrays: Mapping[str, Array], levels: list[Segments]) -> Q:
        """Return the statistic of levels, none of them full."""
        lengths, values = flattened(compacted(levels, cls.capacity()))
        sizes = lengths.astype(np.float64).reshape(*arrays["count"].shape, lengths.shape[1])
        return cls(**arrays, sizes=sizes, values=values)

    def quantile(self, q: float | Array, interpolation: str = "none") -> Array:
        """Return a quantile of each feature, or several.

        Parameters
        ----------
        q : float or numpy.ndarray of float64, shape (n_features, n)
            From 0 to 1.
        interpolation : {"none", "linear"}
            "none": the smallest value whose rank is at least ``q * count``, as Spark; "linear": between the values next
            to place ``q * (count - 1)``, as NumPy.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features,) or (n_features, n)
            NaN where ``count`` is 0.
        """
        places = np.asarray(q, dtype=np.float64)
        key = places.tobytes(), interpolation
        if key not in self._known:
            self._known[key] = self._quantile(places, interpolation)
            self._known[key].flags.writeable = False
        return self._known[key] if places.ndim else self._known[key][:, 0]

    def _quantile(self, q: Array, interpolation: str) -> Array:
        count = self.count[:, None]
        if interpolation == "none":
            return self._at(np.ceil(q * count))
        place = q * (count - 1)
        before = np.floor(place)
        low, high, part = self._at(before + 1), self._at(before + 2), place - before
        with np.errstate(all="ignore"):
            step = high - low
            # From the nearer end, as NumPy; the difference of values of both signs may overflow.
            between = np.where(part < 0.5, low + step * part, high - step * (1 - part))  # noqa: PLR2004
            return np.where(np.isfinite(step), between, low * (1 - part) + high * part)

    def below(self, bounds: Array) -> Array:
        """Return the number of values of each feature that are less than a bound, within the relative error."""
        return self._ordered.up_to(bounds, np.less)

    def above(self, bounds: Array) -> Array:
        """Return the number of values of each feature that are greater than a bound, within the relative error."""
        return self.count - self._ordered.up_to(bounds, np.less_equal)

    @cached_property
    def _known(self) -> dict[tuple[bytes, str], Array]:
        """Quantiles that were computed before, since a map is made several times."""
        return {}

    @cached_property
    def _ordered(self) -> OrderedValues:
        return OrderedValues.of(self.sizes, self.zeros, self.values)

    def _at(self, ranks: Array) -> Array:
        """Return the values of each feature at ranks of 1 or more, a row for each feature."""
        low, high, count = (array[:, None] for array in (self.min, self.max, self.count))
        values = np.where(ranks <= 1, low, np.where(ranks >= count, high, self._ordered.at(ranks)))
        return np.where(count > 0, values, np.nan)

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_arrays, (self.relative_error, self.arrays())


@cache
def _within(relative_error: float) -> type[Quantiles]:
    return type("Quantiles", (Quantiles,), {"relative_error": relative_error, "__doc__": Quantiles.__doc__})


def _of_arrays(relative_error: float, arrays: Mapping[str, Array]) -> Quantiles:
    return Quantiles.within(relative_error)(**arrays)
