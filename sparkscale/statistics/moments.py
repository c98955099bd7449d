"""Mean and centred second moment, weighted or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import double, namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics._base import Array, Statistic

__all__ = ["Moments"]

Mask = npt.NDArray[np.bool_]

TINY = 1e-290  # sums of squares below this may have lost digits, or vanished
NORMAL = float(np.finfo(np.float64).tiny)  # the least double of full precision
SMALLEST = 5e-324  # the least double
WEIGHT_TINY = 1e-300  # what sums of squared weights below this have lost is more than rounding


@dataclass(frozen=True, eq=False)
class Moments(Statistic):
    r"""Weighted mean and second central moment of each feature.

    A block is shifted by its first valid row, centred by the mean of what is left, and only then squared;
    a constant feature therefore has a second moment of exactly 0. The mean is kept as that row (origin) and the
    rest (shift), since a double alone would round it to more than its parts differ by when it is large beside the
    spread. Blocks merge by the pairwise formula generalised to many parts,

    .. math:: \mu = \mu_1 + \frac{\sum_k w_k (\mu_k - \mu_1)}{\sum_k w_k}, \qquad
              M = \sum_k M_k + \sum_k w_k (\mu_k - \mu)^2 .

    Deviations whose weighted squares would vanish, since values or weights are tiny, are divided by a ``unit`` before
    they are squared; it is 1 for all others.

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
        What the deviations are divided by; 1 if left out, and wherever the sum is at least 1e-290 without it.

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

    weight: Array
    weight_square: Array
    origin: Array
    shift: Array
    m2: Array
    unit: Array = None  # type: ignore[assignment]  # an array from __post_init__ on

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
    def of(cls, block: Block) -> Moments:
        """Return the moments of a block."""
        with np.errstate(all="ignore"):  # what overflows shows in the result, and is refused when it is used
            return cls._of_sparse(block) if isinstance(block, SparseBlock) else cls._of_dense(block)

    @classmethod
    def _of_dense(cls, block: DenseBlock) -> Moments:
        step = rows_at_once(block.values)
        parts = [cls._of_chunk(block[start : start + step]) for start in range(0, block.rows, step)]
        return parts[0].merge(*parts[1:]) if parts else cls.missing(block.size, 0)

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Moments:
        xp, values, _ = double(chunk.values)
        w = xp.ones_like(values[:, 0]) if chunk.weights is None else chunk.weights
        # A finite sum proves that nothing is NaN or infinite; only otherwise is each value looked at.
        if xp.isfinite(xp.sum(values)):
            one = xp.ones_like(values[0, :])
            there, count, origin = one, one * chunk.rows, one * values[0, :]
            weight, weight_square = one * xp.sum(w), one * (w @ w)
            deviation = values - origin
            shift = w @ deviation / weight
            deviation = deviation - shift
        else:
            valid = xp.isfinite(values)
            there = xp.astype(valid, xp.float64)
            count, weight, weight_square = xp.ones_like(w) @ there, w @ there, (w * w) @ there
            first = xp.argmax(xp.astype(valid, xp.int8), axis=0)
            origin = xp.where(count > 0, xp.take_along_axis(values, first[None, :], axis=0)[0, :], 0.0)
            deviation = xp.where(valid, values - origin, 0.0)
            shift = w @ deviation / xp.where(weight > 0, weight, 1.0)
            deviation = xp.where(valid, deviation - shift, 0.0)
        m2 = w @ (deviation * deviation)
        moments = cls(count, chunk.rows - count, weight, weight_square, origin, shift, m2)
        vanished = _small(m2, weight)
        if not xp.any(vanished):
            return moments
        vanished = vanished & _varies(deviation)  # else it is a constant
        return moments._in_units(vanished, w[:, None] * there, deviation, _Columns(xp)) if xp.any(vanished) else moments

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Moments:
        """Take the moments about 0 where that loses nothing, and about the mean elsewhere.

        A feature of which at most half the weight is stored has a mean that is no larger than its spread: by
        Cauchy-Schwarz the square of its sum is at most half of what it is subtracted from, so one bit is lost at
        most. It takes half the time of centring.
        """
        indices, values, weights = block.valid_entries()
        size, count = block.size, block.rows - block.invalid()
        stored, stored_square, zeros, zeros_square = cls._sparse_weights(block, indices, weights, count)
        weight, weight_square = stored + zeros, stored_square + zeros_square
        weighted = values if weights is None else values * weights
        first, second = _sums(indices, weighted, size), _sums(indices, weighted * values, size)
        shift = first / np.where(weight > 0, weight, 1.0)
        origin, m2 = np.zeros(size), second - first * shift
        unit = np.ones(size)
        heavy = (stored > zeros) | (_small(m2, weight) & (stored > 0))  # or whose squares may have vanished
        if heavy.any():
            part = cls._of_heavy(block.features(heavy))
            origin[heavy], shift[heavy], m2[heavy], unit[heavy] = part.origin, part.shift, part.m2, part.unit
        return cls(count, block.rows - count, weight, weight_square, origin, shift, m2, unit)

    @classmethod
    def _of_heavy(cls, block: SparseBlock) -> Moments:
        """Take the moments of the stored values, each shifted and centred, and merge those of the zeros."""
        indices, values, weights = block.valid_entries()
        size, count = block.size, block.rows - block.invalid()
        weight, weight_square, zeros, zeros_square = cls._sparse_weights(block, indices, weights, count)
        stored = np.bincount(indices, minlength=size).astype(np.float64)
        origin = np.zeros(size)
        origin[indices[::-1]] = values[::-1]  # the first stored value of each feature
        deviation = values - origin[indices]
        weighted = deviation if weights is None else deviation * weights
        shift = _sums(indices, weighted, size) / np.where(weight > 0, weight, 1.0)
        deviation -= shift[indices]
        weighted = deviation if weights is None else deviation * weights
        m2 = _sums(indices, weighted * deviation, size)
        zero = np.zeros(size)
        entries = cls(stored, zero, weight, weight_square, origin, shift, m2)
        vanished = _small(m2, weight)
        if np.any(deviation[vanished[indices]]):
            each = np.ones(len(values)) if weights is None else weights
            entries = entries._in_units(vanished, each, deviation, _Entries(indices, size))
        return entries.merge(cls(count - stored, zero, zeros, zeros_square, zero, zero, zero))

    @staticmethod
    def _sparse_weights(
        block: SparseBlock, indices: npt.NDArray[np.intp], weights: Array | None, count: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Return sums of weights and of their squares: of the stored valid values, and of the implicit zeros."""
        stored = np.bincount(indices, minlength=block.size).astype(np.float64)
        if weights is None or block.weights is None:
            return stored, stored, count - stored, count - stored
        implicit = count > stored
        sums = (_sums(indices, w, block.size) for w in (weights, weights * weights))
        zeros = (np.where(implicit, block.absent(w), 0.0) for w in (block.weights, block.weights**2))
        return (*sums, *zeros)  # type: ignore[return-value]

    @classmethod
    def missing(cls, features: int, rows: float) -> Moments:
        """Return the moments of rows without a valid value."""
        zero = np.zeros(features)
        return cls(zero, np.full(features, float(rows)), zero, zero, zero, zero, zero)

    def merge(self, *others: Moments) -> Moments:
        """Return the moments of all rows together."""
        parts, xp = (self, *others), namespace(self.count)
        return self._combined(*(xp.stack([getattr(p, name) for p in parts]) for name in self.names()))

    def pooled(self, features: npt.NDArray[np.intp]) -> Moments:
        """Return the moments of features taken together, as the places of a channel are.

        Parameters
        ----------
        features : numpy.ndarray of int, shape (n_places, n_channels)
            Which features make up each channel.

        Returns
        -------
        Moments
            One entry a channel.
        """
        return self._combined(*(getattr(self, name)[features] for name in self.names()))

    @classmethod
    def _combined(
        cls,
        count: Array,
        invalid: Array,
        weight: Array,
        weight_square: Array,
        origin: Array,
        shift: Array,
        m2: Array,
        unit: Array,
    ) -> Moments:
        """Merge along the first axis, in its order."""
        with np.errstate(all="ignore"):
            xp = namespace(weight)
            has, whole = weight > 0, xp.sum(weight, axis=0)
            at = xp.argmax(xp.astype(has, xp.int8), axis=0)  # the first part that has rows
            start = xp.where(xp.any(has, axis=0), xp.take_along_axis(origin, at[None, :], axis=0)[0, :], 0.0)
            shifts = (origin - start) + shift
            mean = xp.sum(_times(weight, shifts), axis=0) / xp.where(whole > 0, whole, 1.0)
            apart = shifts - mean
            spread = m2 + _times(weight, apart**2)
            count, invalid, weight_square = (xp.sum(n, axis=0) for n in (count, invalid, weight_square))
            moments = cls(count, invalid, whole, weight_square, start, mean, xp.sum(spread, axis=0))
            again, vanished = xp.any(unit != 1.0, axis=0), _small(moments.m2, whole)
            if xp.any(vanished):
                apart = xp.where(has, apart, 0.0)
                again = again | (vanished & _varies(apart))
            if not xp.any(again):
                return moments
            between = moments._in_units(again, xp.where(has, weight, 0.0), xp.where(has, apart, 0.0), _Columns(xp))
            m2, unit = (xp.concat([a, b[None, :]]) for a, b in ((m2, between.m2), (unit, between.unit)))
            largest = xp.max(xp.where(m2 == 0, 0.0, unit), axis=0)
            largest = xp.where(largest > 0, largest, 1.0)
            m2, unit = _plain(xp.sum(xp.where(m2 == 0, 0.0, m2 * (unit / largest) ** 2), axis=0), largest)
            return replace(between, m2=xp.where(again, m2, moments.m2), unit=xp.where(again, unit, 1.0))

    def _in_units(self, which: Mask, weight: Array, deviation: Array, table: _Columns | _Entries) -> Moments:
        """Return the moments, of some features with the mean and second moment of what is left of their values.

        Weights and deviations are divided by the largest of each feature, and the products of deviations and roots of
        weights again before they are squared.
        """
        xp, largest, each = namespace(self.m2), table.largest, table.each
        heaviest, farthest = _nonzero(largest(weight)), _nonzero(largest(xp.abs(deviation)))
        weight, deviation = weight / each(heaviest), deviation / each(farthest)
        rest = table.sum(weight * deviation) / _nonzero(table.sum(weight))
        size = xp.sqrt(weight) * xp.abs(deviation - each(rest))
        length = _nonzero(largest(size))
        m2, scale = table.sum((size / each(length)) ** 2), length * xp.sqrt(heaviest)
        unit = xp.clip(farthest * scale, NORMAL)  # a smaller one has not all digits
        m2 = xp.where(m2 == 0, 0.0, xp.clip(m2 * (farthest / unit * scale) ** 2, SMALLEST))
        m2, unit = _plain(m2, unit)
        shift = self.shift + rest * farthest
        arrays = ((shift, self.shift), (m2, self.m2), (unit, self.unit))
        shift, m2, unit = (xp.where(which, new, old) for new, old in arrays)
        return replace(self, shift=shift, m2=m2, unit=unit)

    def std(self, ddof: int) -> Array:
        r"""Return the standard deviation, the root of the variance, which may itself be too small for a double.

        Parameters
        ----------
        ddof : int
            1 for the sample's standard deviation, 0 for the population's.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features,)
            0 where no degree of freedom is left, or the values do not differ; never 0 elsewhere. Infinite or NaN where
            it, or a squared weight, is not representable.
        """
        with np.errstate(all="ignore"):
            freedom = self._freedom(ddof)
            some = np.where(freedom > 0, freedom, 1.0)
            variance = self.m2 / some
            exact = (variance >= NORMAL) & np.isfinite(variance)
            std = self.unit * np.where(exact, np.sqrt(variance), np.sqrt(self.m2) / np.sqrt(some))
            std = np.where(self.m2 > 0, np.clip(std, SMALLEST, None), std)
            std = np.where((self.m2 > 0) & (self.m2 < NORMAL), np.nan, std)  # digits are lost
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
            found = np.where(freedom > 0, self.m2 / np.where(freedom > 0, freedom, 1.0), 0.0)
            found = np.where(np.isnan(freedom), np.nan, found)
            return np.where(self.unit == 1, found, self.std(ddof) ** 2)

    def _freedom(self, ddof: int) -> Array:
        """Return what the second moment is divided by; NaN where it is not representable."""
        lost = ddof * self.weight_square / np.where(self.weight > 0, self.weight, 1.0) if ddof else 0.0
        freedom = self.weight - lost
        known = np.isfinite(freedom) & ((freedom > 0) | (self.m2 == 0))
        if ddof:
            known &= (self.weight_square >= WEIGHT_TINY) | (self.weight == 0)
        return np.where(known, freedom, np.nan)


@dataclass(frozen=True)
class _Columns:
    """Sums and maxima of the columns of a matrix."""

    xp: Any

    def sum(self, values: Any) -> Any:
        return self.xp.sum(values, axis=0)

    def largest(self, values: Any) -> Any:
        return self.xp.max(values, axis=0)

    def each(self, of_column: Any) -> Any:
        return of_column


@dataclass(frozen=True)
class _Entries:
    """Sums and maxima of the entries of each feature."""

    indices: npt.NDArray[np.intp]
    size: int

    def sum(self, values: Array) -> Array:
        return _sums(self.indices, values, self.size)

    def largest(self, values: Array) -> Array:
        maxima = np.zeros(self.size)
        np.maximum.at(maxima, self.indices, values)
        return maxima

    def each(self, of_feature: Array) -> Array:
        return of_feature[self.indices]


def _small(m2: Array, weight: Array) -> Mask:
    """Return of which features squares, or their products with weights, may have lost digits before they were added."""
    return m2 < TINY * namespace(m2).clip(weight, 1.0)  # type: ignore[no-any-return]


def _varies(deviation: Array) -> Mask:
    """Return which columns hold different values."""
    xp = namespace(deviation)
    return xp.max(deviation, axis=0) > xp.min(deviation, axis=0)  # type: ignore[no-any-return]


def _nonzero(divisor: Array) -> Array:
    """Return a divisor, and 1 where it is 0."""
    return namespace(divisor).where(divisor == 0, 1.0, divisor)  # type: ignore[no-any-return]


def _plain(m2: Array, unit: Array) -> tuple[Array, Array]:
    """Return second moments and their units, 1 wherever the moment can do without."""
    xp = namespace(m2)
    plain = m2 * unit * unit
    ordinary = (plain >= TINY) | (m2 == 0)
    return xp.where(ordinary, plain, m2), xp.where(ordinary, 1.0, unit)


def _times(weight: Array, values: Array) -> Array:
    """Multiply, with 0 for a part without rows, whatever its value."""
    return namespace(weight).where(weight > 0, weight * values, 0.0)  # type: ignore[no-any-return]


def _sums(indices: npt.NDArray[np.integer], values: Array, size: int) -> Array:
    """Add values up by feature."""
    return np.bincount(indices, weights=values, minlength=size).astype(np.float64, copy=False)
