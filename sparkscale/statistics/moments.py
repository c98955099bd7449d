"""Mean and centred second moment, weighted or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import double, namespace
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics import _units as units
from sparkscale.statistics._aggregates import AGGREGATES, are_exact, mean_and_variance
from sparkscale.statistics._base import Array
from sparkscale.statistics._per_feature import PerFeature
from sparkscale.statistics._reductions import Entries, Reductions, reductions_of, weight_sums

__all__ = ["Moments"]

MIN_WEIGHT_SQUARE_SUM = 1e-300  # smaller sums of squared weights have lost more than rounding error


@dataclass(frozen=True, eq=False)
class Moments(PerFeature):
    r"""Weighted mean and second central moment of each feature.

    A block is shifted by its first valid row, centred by the mean of the shifted values, and only then squared;
    a constant feature therefore has a second moment of exactly 0. The mean is kept as that row (origin) plus a
    shift: one double would round it too coarsely when the mean is large relative to the spread. Blocks merge by
    the pairwise formula generalised to many blocks,

    .. math:: \mu = \mu_1 + \frac{\sum_k w_k (\mu_k - \mu_1)}{\sum_k w_k}, \qquad
              M = \sum_k M_k + \sum_k w_k (\mu_k - \mu)^2 .

    If weighted squares would underflow, because values or weights are tiny, deviations are divided by a ``unit`` before
    they are squared; otherwise the unit is 1.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values in rows of positive weight.
    weight, weight_square : numpy.ndarray of float64, shape (n_features,)
        Sum of the weights of the valid values, and of their squares.
    origin, shift : numpy.ndarray of float64, shape (n_features,)
        Their sum is the weighted mean; 0 where ``count`` is 0.
    m2 : numpy.ndarray of float64, shape (n_features,)
        Weighted sum of squared deviations from the mean, in units of ``unit ** 2``; 0 where ``count`` is 0.
    unit : numpy.ndarray of float64, shape (n_features,), optional
        Divisor of the deviations; 1 by default, and wherever the sum is at least 1e-290 without it.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
    recommendations", The American Statistician 37 (1983); J. L. Blue, "A portable Fortran program to find the Euclidean
    norm of a vector", ACM Transactions on Mathematical Software 4 (1978), for the unit.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Moments
    >>> a = Moments.of(DenseBlock(np.array([[1e9 + 1], [1e9 + 2]])))
    >>> b = Moments.of(DenseBlock(np.array([[1e9 + 3], [np.nan]])))
    >>> m = a.merge(b)
    >>> m.mean, m.variance(ddof=1), m.invalid
    (array([1.e+09]), array([1.]), array([1.]))
    """

    aggregates = AGGREGATES
    weights = {"weight": 1, "weight_square": 2, "m2": 1}

    weight: Array
    weight_square: Array
    origin: Array
    shift: Array
    m2: Array
    unit: Array = None  # type: ignore[assignment]  # __post_init__ sets an array

    def __post_init__(self) -> None:
        if self.unit is None:
            object.__setattr__(self, "unit", namespace(self.m2).ones_like(self.m2))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Moments:
        """Build a statistic from its arrays; those saved by earlier versions have no ``unit``."""
        return super().from_arrays({"unit": np.ones(np.shape(arrays["m2"])), **arrays})

    @property
    def mean(self) -> Array:
        """The weighted mean."""
        return self.origin + self.shift

    @classmethod
    def of_aggregates(cls, rows: Any, *arrays: Array) -> Moments:
        """See `Statistic`."""
        count, (origin, shift, variance) = arrays[0], mean_and_variance(*arrays)
        return cls(count, rows - count, count, count, origin, shift, variance * count)

    @classmethod
    def exact_aggregates(cls, *arrays: Array) -> npt.NDArray[np.bool_]:
        """See `Statistic`."""
        return are_exact(*arrays)

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Moments:
        xp, values, _ = double(chunk.values)
        rows = reductions_of(chunk)
        w = xp.ones_like(values[:, 0]) if chunk.weights is None else chunk.weights
        # A finite sum proves that all values are finite. Otherwise, mask the invalid ones.
        if xp.isfinite(xp.sum(values)):
            validity, origin = xp.ones_like(values[0, :]), rows.first(values)
            one = xp.ones_like(origin)
            count, weight, weight_square = (one * n for n in (rows.count(values), rows.row_sum(w), rows.row_sum(w * w)))
            deviation = values - rows.each(origin)
            shift = rows.dot(w, deviation) / weight
            deviation = deviation - rows.each(shift)
        else:
            valid = xp.isfinite(values)
            validity = xp.astype(valid, xp.float64)
            count, weight, weight_square = (rows.dot(v, validity) for v in (xp.ones_like(w), w, w * w))
            origin = xp.where(count > 0, rows.first(values, valid), 0.0)
            deviation = xp.where(valid, values - rows.each(origin), 0.0)
            shift = rows.dot(w, deviation) / xp.where(weight > 0, weight, 1.0)
            deviation = xp.where(valid, deviation - rows.each(shift), 0.0)
        m2 = rows.dot(w, deviation * deviation)
        invalid = rows.count(values) - count
        moments = cls(count, invalid, weight, weight_square, origin, shift, m2)
        vanished = units.may_have_underflowed(m2, weight)
        if not xp.any(vanished):
            return moments
        vanished = vanished & units.varies(deviation, rows)  # else it is constant
        return moments._in_units(vanished, w[:, None] * validity, deviation, rows) if xp.any(vanished) else moments

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Moments:
        """Compute moments about 0 where that loses no digits, and about the mean elsewhere.

        If at most half the weight of a feature is stored, its mean does not exceed its spread: by Cauchy-Schwarz,
        the subtracted square of the sum is at most half of the sum of squares, so at most one bit is lost. This
        takes half the time of centring.
        """
        indices, values, weights = block.valid_entries()
        size, count = block.size, block.row_counts - block.invalid()
        features = Entries(indices, size)
        stored, stored_square, zeros, zeros_square = weight_sums(block, indices, weights, count)
        weight, weight_square = stored + zeros, stored_square + zeros_square
        weighted = values if weights is None else values * weights
        first, second = features.sum(weighted), features.sum(weighted * values)
        shift = first / np.where(weight > 0, weight, 1.0)
        origin, m2 = np.zeros(size), second - first * shift
        unit = np.ones(size)
        # Not for what is mostly stored, or whose squares may have underflowed.
        heavy = (stored > zeros) | (units.may_have_underflowed(m2, weight) & (stored > 0))
        if heavy.any():
            centred = cls._of_heavy(block.features(heavy))
            origin[heavy], shift[heavy], m2[heavy] = centred.origin, centred.shift, centred.m2
            unit[heavy] = centred.unit
        return cls(count, block.row_counts - count, weight, weight_square, origin, shift, m2, unit)

    @classmethod
    def _of_heavy(cls, block: SparseBlock) -> Moments:
        """Compute the moments of the stored values, shifted and centred, and merge those of the implicit zeros."""
        indices, values, weights = block.valid_entries()
        size, count = block.size, block.row_counts - block.invalid()
        features = Entries(indices, size)
        weight, weight_square, zeros, zeros_square = weight_sums(block, indices, weights, count)
        stored = np.bincount(indices, minlength=size).astype(np.float64)
        origin = np.zeros(size)
        origin[indices[::-1]] = values[::-1]  # the first stored value of each feature
        deviation = values - origin[indices]
        weighted = deviation if weights is None else deviation * weights
        shift = features.sum(weighted) / np.where(weight > 0, weight, 1.0)
        deviation -= shift[indices]
        weighted = deviation if weights is None else deviation * weights
        m2 = features.sum(weighted * deviation)
        zero = np.zeros(size)
        entries = cls(stored, zero, weight, weight_square, origin, shift, m2)
        vanished = units.may_have_underflowed(m2, weight)
        if np.any(deviation[vanished[indices]]):
            each = np.ones(len(values)) if weights is None else weights
            entries = entries._in_units(vanished, each, deviation, features)
        return entries.merge(cls(count - stored, zero, zeros, zeros_square, zero, zero, zero))

    @classmethod
    def missing(cls, features: int, rows: float) -> Moments:
        """Return the moments of rows without a valid value."""
        zero = np.zeros(features)
        return cls(zero, np.full(features, float(rows)), zero, zero, zero, zero, zero)

    @classmethod
    def _combined(
        cls,
        rows: Reductions,
        count: Array,
        invalid: Array,
        weight: Array,
        weight_square: Array,
        origin: Array,
        shift: Array,
        m2: Array,
        unit: Array,
    ) -> Moments:
        xp = namespace(weight)
        weighted, total_weight = weight > 0, rows.sum(weight)
        start = xp.where(rows.any(weighted), rows.first(origin, weighted), 0.0)
        shifts = (origin - rows.each(start)) + shift
        mean = rows.sum(units.product(weight, shifts)) / xp.where(total_weight > 0, total_weight, 1.0)
        deviation = shifts - rows.each(mean)
        spread = m2 + units.product(weight, deviation**2)
        count, invalid, weight_square = (rows.sum(n) for n in (count, invalid, weight_square))
        moments = cls(count, invalid, total_weight, weight_square, start, mean, rows.sum(spread))
        rescale, vanished = rows.any(unit != 1.0), units.may_have_underflowed(moments.m2, total_weight)
        if xp.any(vanished):
            deviation = xp.where(weighted, deviation, 0.0)
            rescale = rescale | (vanished & units.varies(deviation, rows))
        if not xp.any(rescale):
            return moments
        between = moments._in_units(rescale, xp.where(weighted, weight, 0.0), xp.where(weighted, deviation, 0.0), rows)
        largest = rows.largest(xp.where(m2 == 0, 0.0, unit))
        largest = units.nonzero(xp.maximum(largest, xp.where(between.m2 == 0, 0.0, between.unit)))
        inside = rows.sum(xp.where(m2 == 0, 0.0, m2 * (unit / rows.each(largest)) ** 2))
        outside = xp.where(between.m2 == 0, 0.0, between.m2 * (between.unit / largest) ** 2)
        m2, unit = units.without_unit(inside + outside, largest)
        return replace(between, m2=xp.where(rescale, m2, moments.m2), unit=xp.where(rescale, unit, 1.0))

    def _in_units(self, which: units.Mask, weight: Array, deviation: Array, table: Reductions | Entries) -> Moments:
        """Return the moments, with mean and second moment of some features recomputed in units that do not underflow."""
        xp = namespace(self.m2)
        rest, m2, unit = units.second_moment_in_units(weight, deviation, table)
        shift = xp.where(which, self.shift + rest, self.shift)
        return replace(self, shift=shift, m2=xp.where(which, m2, self.m2), unit=xp.where(which, unit, self.unit))

    def std(self, ddof: int) -> Array:
        r"""Return the standard deviation, also where the variance is too small for a double.

        Parameters
        ----------
        ddof : int
            1 for the sample standard deviation, 0 for the population one.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features,)
            0 where no degree of freedom is left, or all values are equal, and only there. Infinite or NaN where it, or
            a squared weight, is not representable.
        """
        with np.errstate(all="ignore"):
            freedom = self._freedom(ddof)
            divisor = np.where(freedom > 0, freedom, 1.0)
            variance = self.m2 / divisor
            exact = (variance >= units.NORMAL) & np.isfinite(variance)
            std = self.unit * np.where(exact, np.sqrt(variance), np.sqrt(self.m2) / np.sqrt(divisor))
            std = np.where(self.m2 > 0, np.clip(std, units.SMALLEST, None), std)
            std = np.where((self.m2 > 0) & (self.m2 < units.NORMAL), np.nan, std)  # digits are lost
            return np.where(freedom > 0, std, np.where(np.isnan(freedom), np.nan, 0.0))

    def variance(self, ddof: int) -> Array:
        r"""Return the variance: ``m2 / (W - ddof * sum(w^2) / W)``, and 0 where no degree of freedom is left.

        Parameters
        ----------
        ddof : int
            1 for the sample variance (reliability weights, as Spark's Summarizer), 0 for the population's.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features,)
            The variance; infinite or NaN where it, or a squared weight, is not representable. Below 2e-308 a double
            holds fewer digits of it, and below 5e-324 none: use ``std`` there.
        """
        with np.errstate(all="ignore"):
            freedom = self._freedom(ddof)
            variance = np.where(freedom > 0, self.m2 / np.where(freedom > 0, freedom, 1.0), 0.0)
            variance = np.where(np.isnan(freedom), np.nan, variance)
            return np.where(self.unit == 1, variance, self.std(ddof) ** 2)

    def _freedom(self, ddof: int) -> Array:
        """Return the divisor of the second moment; NaN where it is not representable."""
        lost = ddof * self.weight_square / np.where(self.weight > 0, self.weight, 1.0) if ddof else 0.0
        freedom = self.weight - lost
        known = np.isfinite(freedom) & ((freedom > 0) | (self.m2 == 0))
        if ddof:
            known &= (self.weight_square >= MIN_WEIGHT_SQUARE_SUM) | (self.weight == 0)
        return np.where(known, freedom, np.nan)
