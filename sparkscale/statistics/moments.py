"""Mean and centred second moment, weighted or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import double, namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics._base import Array, Statistic

__all__ = ["Moments"]


@dataclass(frozen=True, eq=False)
class Moments(Statistic):
    r"""Weighted mean and second central moment of each feature.

    A block is shifted by its first valid row, centred by the mean of what is left, and only then squared;
    a constant feature therefore has a second moment of exactly 0. The mean is kept as that row (origin) and the
    rest (shift), since a double alone would round it to more than its parts differ by when it is large beside the
    spread. Blocks merge by the pairwise formula generalised to many parts,

    .. math:: \mu = \mu_1 + \frac{\sum_k w_k (\mu_k - \mu_1)}{\sum_k w_k}, \qquad
              M = \sum_k M_k + \sum_k w_k (\mu_k - \mu)^2 .

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values in rows of positive weight.
    weight, weight_square : numpy.ndarray of float64, shape (n_features,)
        Sum of the weights of the valid values, and of their squares.
    origin, shift : numpy.ndarray of float64, shape (n_features,)
        Their sum is the weighted mean; 0 where ``count`` is 0.
    m2 : numpy.ndarray of float64, shape (n_features,)
        Weighted sum of squared deviations from the mean; 0 where ``count`` is 0.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
    recommendations", The American Statistician 37 (1983).

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
            count, origin = one * chunk.rows, one * values[0, :]
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
        return cls(count, chunk.rows - count, weight, weight_square, origin, shift, m2)

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
        heavy = stored > zeros
        if heavy.any():
            part = cls._of_heavy(block.features(heavy))
            origin[heavy], shift[heavy], m2[heavy] = part.origin, part.shift, part.m2
        return cls(count, block.rows - count, weight, weight_square, origin, shift, m2)

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
    ) -> Moments:
        """Merge along the first axis, in its order."""
        with np.errstate(all="ignore"):
            xp = namespace(weight)
            has, whole = weight > 0, xp.sum(weight, axis=0)
            at = xp.argmax(xp.astype(has, xp.int8), axis=0)  # the first part that has rows
            start = xp.where(xp.any(has, axis=0), xp.take_along_axis(origin, at[None, :], axis=0)[0, :], 0.0)
            shifts = (origin - start) + shift
            mean = xp.sum(_times(weight, shifts), axis=0) / xp.where(whole > 0, whole, 1.0)
            spread = m2 + _times(weight, (shifts - mean) ** 2)
            count, invalid, weight_square = (xp.sum(n, axis=0) for n in (count, invalid, weight_square))
            return cls(count, invalid, whole, weight_square, start, mean, xp.sum(spread, axis=0))

    def variance(self, ddof: int) -> Array:
        r"""Return the variance: ``m2 / (W - ddof * sum(w^2) / W)``, and 0 where no degree of freedom is left.

        Parameters
        ----------
        ddof : int
            1 for the sample variance (reliability weights, as Spark's Summarizer), 0 for the population's.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features,)
            The variance; infinite or NaN where it, or a squared weight, is not representable.
        """
        with np.errstate(all="ignore"):
            lost = ddof * self.weight_square / np.where(self.weight > 0, self.weight, 1.0) if ddof else 0.0
            freedom = self.weight - lost
            found = np.where(freedom > 0, self.m2 / np.where(freedom > 0, freedom, 1.0), 0.0)
            known = np.isfinite(freedom) & ((self.weight_square > 0) | (self.weight == 0))
            return np.where(known if ddof else np.isfinite(freedom), found, np.nan)


def _times(weight: Array, values: Array) -> Array:
    """Multiply, with 0 for a part without rows, whatever its value."""
    return namespace(weight).where(weight > 0, weight * values, 0.0)  # type: ignore[no-any-return]


def _sums(indices: npt.NDArray[np.integer], values: Array, size: int) -> Array:
    """Add values up by feature."""
    return np.bincount(indices, weights=values, minlength=size).astype(np.float64, copy=False)
