"""Moments of power transforms, for a grid of exponents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.logarithms import log_ratio
from sparkscale.statistics._base import Array
from sparkscale.statistics._deep import Deep
from sparkscale.statistics._levels import segment_starts
from sparkscale.statistics._reductions import Reductions, run_starts

__all__ = ["EXPONENTS", "BoxCoxMoments", "PowerMoments", "YeoJohnsonMoments"]

Places = npt.NDArray[np.intp]

FIRST, OCTAVES, STEPS = 1 / 32, 9, 3  # the smallest exponent, and three of them up to each double
POSITIVE = FIRST * 2.0 ** (np.arange(OCTAVES * STEPS) / STEPS)
EXPONENTS = np.concatenate([-POSITIVE[::-1], [0.0], POSITIVE])
"""The grid: the data show whatever they show within a range of exponents that is as wide as its distance from 0."""
DIVISORS = np.where(EXPONENTS == 0, 1.0, EXPONENTS)
ZERO = OCTAVES * STEPS  # the place of exponent 0
VALUES_AT_ONCE = 1 << 15  # so that temporary arrays stay in the cache
LONG = 1 << 11  # values of a segment, on average, from which segments are computed one by one
SMALLEST_SPAN = 1e-100  # smaller differences would underflow when they are squared


@dataclass(frozen=True, eq=False)
class PowerMoments(Deep):
    r"""Moments of powers of each feature for a grid of exponents: all that the likelihood of a power transform needs.

    Values are cut into sides: for Box-Cox transforms there is one, with :math:`u = x`; for Yeo-Johnson transforms
    there are the values that are not negative, with :math:`u = 1 + x`, and the negative ones, with
    :math:`u = 1 - x`. A transform of a side is, but for its sign, the Box-Cox transform of u with an exponent e, and
    relative to the largest u of the side it cannot overflow:

    .. math:: z_e = \frac{(u / u_0)^e - 1}{e}, \quad z_0 = \log(u / u_0), \qquad
              u_0 = \max u \;(e \ge 0), \quad u_0 = \min u \;(e < 0) .

    Of each the statistic holds the mean and the sum of squared deviations M. To be merged, they are referred to the
    :math:`u_0'` of all rows,

    .. math:: \bar z' = c \bar z + \frac{c - 1}{e}, \quad M' = c^2 M, \quad c = (u_0 / u_0')^e \le 1 ,

    and then added by the pairwise formula. Powers of doubled exponents are squares: one exponential gives nine.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values.
    min : numpy.ndarray of float64, shape (n_features,)
        The smallest valid value; infinity where ``count`` is 0.
    number : numpy.ndarray of float64, shape (n_features, n_sides)
        Number of values of each side.
    low, high : numpy.ndarray of float64, shape (n_features, n_sides)
        Smallest and largest absolute value of each side; infinity and -infinity where it has none.
    mean : numpy.ndarray of float64, shape (n_features, n_sides, n_exponents)
        The mean of z.
    m2 : numpy.ndarray of float64, shape (n_features, n_sides, n_exponents)
        Sum of squared deviations of z from its mean, in units of ``unit ** 2``.

    References
    ----------
    G. E. P. Box, D. R. Cox, "An analysis of transformations", Journal of the Royal Statistical Society B 26 (1964);
    I.-K. Yeo, R. A. Johnson, "A new family of power transformations to improve normality or symmetry", Biometrika 87
    (2000); T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37 (1983), for the merge.
    """

    on_gpu: ClassVar[bool] = False
    chunk_features: ClassVar[int] = 16
    in_chunks: ClassVar[bool] = False  # but by features
    sides: ClassVar[int]
    shift: ClassVar[float]
    """What is added to the absolute value of x to give u."""

    min: Array
    number: Array
    low: Array
    high: Array
    mean: Array
    m2: Array

    @classmethod
    def depths(cls) -> Mapping[str, tuple[int, ...]]:
        """See ``Deep``."""
        sides = (cls.sides,)
        grid = (cls.sides, len(EXPONENTS))
        return {"number": sides, "low": sides, "high": sides, "mean": grid, "m2": grid}

    @property
    def span(self) -> Array:
        """The logarithm of the ratio of the largest and the smallest u of each side; 0 for a side without values."""
        with np.errstate(all="ignore"):
            return _span(self.low, self.high, self.shift)

    @property
    def unit(self) -> Array:
        """What deviations are divided by before they are squared: 1 unless all of them are tiny."""
        return _unit(self.span)

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> PowerMoments:
        rows, size = chunk.rows, chunk.size
        starts = np.zeros(1, np.intp) if chunk.runs is None else run_starts(chunk.runs)
        step = max(1, VALUES_AT_ONCE // rows)
        features = [cls._of_features(chunk.values[:, i : i + step], starts) for i in range(0, size, step)]
        by_feature = features[0] if len(features) == 1 else cls.concat(features)
        if chunk.runs is None:
            return by_feature
        order = np.arange(size * len(starts)).reshape(size, len(starts)).T  # features of one run after the other
        return by_feature.take(order.ravel())._in_rows(size)

    @classmethod
    def _of_features(cls, values: npt.NDArray[np.floating], starts: Places) -> PowerMoments:
        """Return the statistic of each run of each feature, all those of a feature first."""
        rows = np.tile(np.diff(starts, append=len(values)), values.shape[1])
        by_row: Array = np.ascontiguousarray(values.T, dtype=np.float64)
        valid = np.isfinite(by_row)
        count = np.add.reduceat(valid, starts, axis=1, dtype=np.intp).ravel()
        least = np.minimum.reduceat(np.where(valid, by_row, np.inf), starts, axis=1).ravel()
        sides = []
        for belongs in cls._belongs(by_row, valid):
            lengths = np.add.reduceat(belongs, starts, axis=1, dtype=np.intp).ravel()
            chosen = by_row.ravel() if belongs.all() else by_row[belongs]  # a mask takes much longer
            sides.append(_side(np.abs(chosen), lengths, cls.shift))
        return cls._of_sides(count, rows - count, least, sides)

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> PowerMoments:
        indices, values, _ = block.valid_entries()
        order = np.argsort(indices, kind="stable")
        indices, values = indices[order], values[order]
        invalid = block.invalid()
        stored = np.bincount(indices, minlength=block.size)
        least = np.full(block.size, np.inf)
        np.minimum.at(least, indices, values)
        sides = []
        for belongs in cls._belongs(values, np.ones(len(values), dtype=bool)):
            lengths = np.bincount(indices[belongs], minlength=block.size)
            sides.append(_side(np.abs(values[belongs]), lengths, cls.shift))
        entries = cls._of_sides(stored, invalid, least, sides)
        return entries.merge(cls._of_zeros(block.row_counts - invalid - stored))

    @classmethod
    def _of_zeros(cls, count: Array) -> PowerMoments:
        """Return the statistic of so many zeros."""
        some, nothing = count > 0, cls.missing(len(count), 0)
        least = np.where(some, 0.0, np.inf)
        if cls.shift == 0:  # no side has them
            return cls(**{**nothing.arrays(), "count": count, "min": least})
        first = np.arange(cls.sides) == 0
        number = np.where(first, count[:, None], 0.0)
        low, high = (np.where(first & some[:, None], 0.0, end) for end in (nothing.low, nothing.high))
        return cls(count, nothing.invalid, least, number, low, high, nothing.mean, nothing.m2)

    @classmethod
    @abstractmethod
    def _belongs(cls, values: Array, valid: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
        """Return which values each side has."""

    @classmethod
    def _of_sides(cls, count: Any, invalid: Any, least: Array, sides: list[tuple[Array, ...]]) -> PowerMoments:
        number, low, high, mean, m2 = (np.stack(arrays, axis=1) for arrays in zip(*sides, strict=True))
        return cls(count.astype(np.float64), invalid.astype(np.float64), least, number, low, high, mean, m2)

    @classmethod
    def missing(cls, features: int, rows: float) -> PowerMoments:
        """Return the statistic of rows without a valid value."""
        zeros = {name: np.zeros((features, *depth)) for name, depth in cls.depths().items()}
        ends = {"low": zeros["low"] + np.inf, "high": zeros["high"] - np.inf, "min": np.full(features, np.inf)}
        return cls(**{**zeros, **ends, "count": np.zeros(features), "invalid": np.full(features, float(rows))})

    @classmethod
    def _combined(
        cls,
        rows: Reductions,
        count: Array,
        invalid: Array,
        min: Array,
        number: Array,
        low: Array,
        high: Array,
        mean: Array,
        m2: Array,
    ) -> PowerMoments:
        total, lowest, highest = rows.sum(number), rows.least(low), rows.largest(high)
        some, spans = number > 0, (_span(low, high, cls.shift), _span(lowest, highest, cls.shift))
        below = np.where(some, log_ratio(np, high, rows.each(highest), cls.shift), 0.0)[..., None]
        above = np.where(some, log_ratio(np, low, rows.each(lowest), cls.shift), 0.0)[..., None]
        unit = _unit(spans[1])
        ratio = np.where(spans[0] > 0, _unit(spans[0]) / rows.each(unit), 0.0)[..., None]
        distance = np.where(EXPONENTS >= 0, below, above)
        logarithm = distance * EXPONENTS
        factor = np.exp(logarithm)
        means = factor * mean + np.where(EXPONENTS == 0, distance, np.expm1(logarithm) / DIVISORS)
        counts = number[..., None]
        means = np.where(some[..., None], means, 0.0)
        joint = rows.sum(counts * means) / np.where(total > 0, total, 1.0)[..., None]
        single = rows.sum(some.astype(np.float64)) == 1  # whose mean is not to be rounded
        joint = np.where(single[..., None], rows.sum(means), joint)
        deviation = (means - rows.each(joint)) / rows.each(unit)[..., None]
        spread = rows.sum(m2 * (factor * ratio) ** 2 + counts * deviation**2)
        return cls(rows.sum(count), rows.sum(invalid), rows.least(min), total, lowest, highest, joint, spread)


class BoxCoxMoments(PowerMoments):
    """The `PowerMoments` of positive values; others count as valid, but are in no side."""

    sides, shift = 1, 0.0

    @classmethod
    def _belongs(cls, values: Array, valid: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
        return [valid & (values > 0)]


class YeoJohnsonMoments(PowerMoments):
    """The `PowerMoments` of two sides: values that are not negative, and negative ones."""

    sides, shift = 2, 1.0

    @classmethod
    def _belongs(cls, values: Array, valid: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
        return [valid & (values >= 0), valid & (values < 0)]


def _span(low: Array, high: Array, shift: float) -> Array:
    """Return the logarithm of the ratio of the largest and the smallest u; 0 where there is none."""
    return np.where(low <= high, log_ratio(np, high, np.minimum(low, high), shift), 0.0)


def _unit(span: Array) -> Array:
    return np.where((span > 0) & (span < SMALLEST_SPAN), span / SMALLEST_SPAN, 1.0)


def _side(values: Array, lengths: Places, shift: float) -> tuple[Array, ...]:
    """Return number, extrema and moments of segments of absolute values, one after the other."""
    filled = lengths > 0
    low, high = np.full(len(lengths), np.inf), np.full(len(lengths), -np.inf)
    mean, m2 = np.zeros((2, len(lengths), len(EXPONENTS)))
    if filled.any():
        number, starts = lengths[filled], segment_starts(lengths)[filled]
        low[filled], high[filled] = (f.reduceat(values, starts) for f in (np.minimum, np.maximum))
        if len(values) < LONG * len(number):
            mean[filled], m2[filled] = _Segments(starts, number).moments(values, low[filled], high[filled], shift)
        else:  # one by one, which is faster
            for k in np.flatnonzero(filled):
                one = slice(k, k + 1)
                segment, values = np.split(values, [lengths[k]])
                only = _Segments(np.zeros(1, np.intp), lengths[one])
                mean[one], m2[one] = only.moments(segment, low[one], high[one], shift)
    return lengths.astype(np.float64), low, high, mean, m2


@dataclass(frozen=True)
class _Segments:
    """Where segments start, and their lengths; none is empty."""

    starts: Places
    number: Places

    def each(self, numbers: Array) -> Array:
        """Return the number of its segment for each value; of a single segment, one for all."""
        return numbers if len(numbers) == 1 else np.repeat(numbers, self.number)

    def moments(self, values: Array, low: Array, high: Array, shift: float) -> tuple[Array, Array]:
        """Return means and sums of squared deviations."""
        span = _span(low, high, shift)
        unit = _unit(span)
        below = log_ratio(np, values, self.each(high), shift)
        if (unit != 1.0).any():
            below = below / self.each(unit)
        mean, m2 = np.empty((2, len(EXPONENTS), len(span)))
        scratch = np.empty_like(below)
        mean[ZERO], m2[ZERO] = self._moments_of(below, scratch)
        for sign in (1, -1):
            distance = below if sign == 1 else -below - self.each(span / unit)
            for step in range(STEPS):
                power = np.expm1(POSITIVE[step] * distance)  # at least -1
                for exponent in range(step, len(POSITIVE), STEPS):
                    if exponent > step:
                        np.add(power, 2.0, out=scratch)
                        power *= scratch
                    place = ZERO + sign * (exponent + 1)
                    mean[place], m2[place] = self._moments_of(power, scratch)
        return mean.T * unit[:, None] / DIVISORS, m2.T / DIVISORS**2

    def _moments_of(self, values: Array, scratch: Array) -> tuple[Array, Array]:
        mean = np.add.reduceat(values, self.starts) / self.number
        np.subtract(values, self.each(mean), out=scratch)
        if len(mean) == 1:
            return mean, np.dot(scratch, scratch)[None]
        scratch *= scratch
        return mean, np.add.reduceat(scratch, self.starts)
