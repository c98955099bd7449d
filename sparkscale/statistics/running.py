"""Statistics of mini-batches, averaged in their order, as batch normalization keeps them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np

from sparkscale.statistics._base import Array, Mergeable
from sparkscale.statistics.moments import NORMAL, Moments

__all__ = ["BatchAverage", "MovingAverage", "RunningMoments"]

R = TypeVar("R", bound="RunningMoments")


@dataclass(frozen=True, eq=False)
class RunningMoments(Mergeable):
    r"""Sums of the means and variances of mini-batches, each with its batch's weight.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_channels,)
        Number of valid and of invalid values in rows of positive weight, of all batches.
    batches : numpy.ndarray of float64, shape (n_channels,)
        Number of batches.
    kept : numpy.ndarray of float64, shape (n_channels,)
        What is left of the values before the first batch: the product of ``1 - momentum`` over the batches.
    mean_sum, variance_sum, unbiased_sum : numpy.ndarray of float64, shape (n_channels,)
        Weighted sums of the batches' means, biased and unbiased variances.
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
        """Return the statistic of all batches: those of each operand after those of the one before."""
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
        """Sum batches up, given as the rows of the moments' arrays."""
        number, channels = batches.count.shape
        # Of values that differ it is not to become 0, be it too small for a double, or divided by the number of batches.
        variances = (np.where(batches.m2 > 0, np.maximum(v, NORMAL), v) for v in map(batches.variance, (0, 1)))
        return cls(
            batches.count.sum(axis=0),
            batches.invalid.sum(axis=0),
            np.full(channels, float(number)),
            np.full(channels, kept),
            *(weights @ values for values in (batches.mean, *variances)),
        )


class BatchAverage(RunningMoments):
    r"""The plain average over mini-batches, each as good as any other, whatever its size.

    .. math:: \bar\mu = \frac1T \sum_t \mu_t, \qquad \bar\sigma^2 = \frac1T \sum_t \sigma^2_t

    It is what PyTorch's layers keep under ``momentum=None``. The order of the batches does not matter, so
    averages of different batches merge.

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
        """Return the statistic of mini-batches, of which each has a row in the arrays of the moments."""
        return cls._of_batches(batches, np.ones(len(batches)), 1.0)


class MovingAverage(RunningMoments):
    r"""The exponential moving average over mini-batches in their order, from mean 0 and variance 1.

    .. math:: r_t = (1 - m)\, r_{t-1} + m\, s_t
              \quad\Rightarrow\quad r_T = (1 - m)^T r_0 + \sum_t m (1 - m)^{T - t} s_t

    The sum is linear in the batches' statistics, so runs of batches are summed apart and then put in order; a run
    knows nothing of the batches before it. Averages that both began at the first batch do not merge.

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
        """Return the statistic of mini-batches in their order, of which each has a row in the arrays of the moments."""
        number, kept = len(batches), 1.0 - momentum
        weights = momentum * kept ** np.arange(number - 1, -1, -1, dtype=np.float64)
        return cls._of_batches(batches, weights, kept**number)
