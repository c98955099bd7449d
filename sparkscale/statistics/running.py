"""Running statistics of mini-batches, as batch normalization layers keep them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np

from sparkscale.statistics._base import Array, Mergeable
from sparkscale.statistics._units import NORMAL
from sparkscale.statistics.moments import Moments

__all__ = ["BatchAverage", "MovingAverage", "RunningMoments"]

R = TypeVar("R", bound="RunningMoments")


@dataclass(frozen=True, eq=False)
class RunningMoments(Mergeable):
    r"""Weighted sums of the means and variances of mini-batches.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_channels,)
        Number of valid and of invalid values in rows of positive weight, over all batches.
    batches : numpy.ndarray of float64, shape (n_channels,)
        Number of batches.
    kept : numpy.ndarray of float64, shape (n_channels,)
        Remaining weight of the initial values: the product of ``1 - momentum`` over the batches.
    mean_sum, variance_sum, unbiased_sum : numpy.ndarray of float64, shape (n_channels,)
        Weighted sums of the batches' means, biased variances and unbiased variances.
    """

    batches: Array
    kept: Array
    mean_sum: Array
    variance_sum: Array
    unbiased_sum: Array

    @property
    @abstractmethod
    def mean(self) -> Array:
        """The running mean."""

    @property
    @abstractmethod
    def variance(self) -> Array:
        """The running biased variance, as Keras keeps it."""

    @property
    @abstractmethod
    def unbiased(self) -> Array:
        """The running unbiased variance, as PyTorch keeps it."""

    def merge(self: R, *others: R) -> R:
        """Return the statistic of the batches of all operands, in order."""
        return reduce(type(self)._then, others, self)

    def _then(self: R, later: R) -> R:
        return type(self)(
            self.count + later.count,
            self.invalid + later.invalid,
            self.batches + later.batches,
            self.kept * later.kept,
            self.mean_sum * later.kept + later.mean_sum,
            self.variance_sum * later.kept + later.variance_sum,
            self.unbiased_sum * later.kept + later.unbiased_sum,
        )

    @classmethod
    def _of_batches(cls: type[R], batches: Moments, weights: Array, kept: float) -> R:
        """Return the weighted sums over batches; the moments have one row per batch."""
        number, channels = batches.count.shape
        # The variance of distinct values must not become 0 by underflow, here or when divided by the number of batches.
        variances = (np.where(batches.m2 > 0, np.maximum(v, NORMAL), v) for v in map(batches.variance, (0, 1)))
        return cls(
            batches.count.sum(axis=0),
            batches.invalid.sum(axis=0),
            np.full(channels, float(number)),
            np.full(channels, kept),
            *(weights @ values for values in (batches.mean, *variances)),
        )


class BatchAverage(RunningMoments):
    r"""The unweighted average over mini-batches, whatever their sizes.

    .. math:: \bar\mu = \frac1T \sum_t \mu_t, \qquad \bar\sigma^2 = \frac1T \sum_t \sigma^2_t

    PyTorch's layers keep it with ``momentum=None``. The order of the batches does not matter, so averages of
    different batches merge.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization", arXiv:1502.03167, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import BatchAverage, Moments
    >>> batches = [np.array([[1.0], [3.0]]), np.array([[5.0], [6.0], [7.0]])]
    >>> a, b = (BatchAverage.of_batch(Moments.of(DenseBlock(x))) for x in batches)
    >>> both = a.merge(b)
    >>> both.mean, both.unbiased
    (array([4.]), array([1.5]))
    """

    @property
    def mean(self) -> Array:
        """The average of the batches' means."""
        return self.mean_sum / self.batches

    @property
    def variance(self) -> Array:
        """The average of the batches' biased variances."""
        return self.variance_sum / self.batches

    @property
    def unbiased(self) -> Array:
        """The average of the batches' unbiased variances."""
        return self.unbiased_sum / self.batches

    @classmethod
    def of_batch(cls, batch: Moments) -> BatchAverage:
        """Return the statistic of one mini-batch."""
        return cls.of_batches(batch.as_row())

    @classmethod
    def of_batches(cls, batches: Moments) -> BatchAverage:
        """Return the statistic of mini-batches; the arrays of the moments have one row per batch."""
        return cls._of_batches(batches, np.ones(len(batches)), 1.0)


class MovingAverage(RunningMoments):
    r"""The exponential moving average over mini-batches in order, starting from mean 0 and variance 1.

    .. math:: r_t = (1 - m)\, r_{t-1} + m\, s_t
              \quad\Rightarrow\quad r_T = (1 - m)^T r_0 + \sum_t m (1 - m)^{T - t} s_t

    The sum is linear in the batches' statistics, so consecutive runs of batches can be summed separately and then
    merged in order. Averages that both start at the first batch cannot be merged.

    References
    ----------
    ``torch/nn/modules/batchnorm.py``; PyTorch's momentum ``m`` is 1 minus that of Keras.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Moments, MovingAverage
    >>> batches = [np.array([[1.0], [3.0]]), np.array([[5.0], [7.0]])]
    >>> a, b = (MovingAverage.of_batch(Moments.of(DenseBlock(x)), 0.5) for x in batches)
    >>> a.merge(b).mean, a.merge(b).unbiased  # (0.5 * 0 + 0.5 * 2) * 0.5 + 0.5 * 6
    (array([3.5]), array([1.75]))
    """

    @property
    def mean(self) -> Array:
        """The moving average of the means."""
        return self.mean_sum

    @property
    def variance(self) -> Array:
        """The moving average of the biased variances."""
        return self.kept + self.variance_sum

    @property
    def unbiased(self) -> Array:
        """The moving average of the unbiased variances."""
        return self.kept + self.unbiased_sum

    @classmethod
    def of_batch(cls, batch: Moments, momentum: float) -> MovingAverage:
        """Return the statistic of one mini-batch."""
        return cls.of_batches(batch.as_row(), momentum)

    @classmethod
    def of_batches(cls, batches: Moments, momentum: float) -> MovingAverage:
        """Return the statistic of mini-batches in order; the arrays of the moments have one row per batch."""
        number, kept = len(batches), 1.0 - momentum
        weights = momentum * kept ** np.arange(number - 1, -1, -1, dtype=np.float64)
        return cls._of_batches(batches, weights, kept**number)
