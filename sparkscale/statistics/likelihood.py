"""The likelihood of power transforms, interpolated between the exponents of their moments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from sparkscale.statistics._base import Array
from sparkscale.statistics.powers import DIVISORS, EXPONENTS, ZERO, PowerMoments

__all__ = ["Likelihood", "Standardized"]

WIDTH = 7  # exponents from which the derivatives at one of them are computed
ZOOM = np.linspace(0.0, 1.0, 33)
BISECTIONS = 60
MOST_POWER = 300.0  # of an exponential that may be squared
ROUNDING = 1e-12  # smaller differences of likelihoods mean nothing
SMALL = 0.02  # below it, a series of five terms is as exact as a difference


@dataclass(frozen=True, eq=False)
class Standardized:
    r"""Power transforms with mean 0 and variance 1, as far as interpolation gives these.

    .. math:: z = a \,\frac{(u / u_0)^e - 1}{e} + b

    Parameters
    ----------
    exponent, origin, factor, offset : numpy.ndarray of float64, shape (n_features, n_sides)
        e, the absolute value of x that gives :math:`u_0`, a and b of each side.
    mean, log_std : numpy.ndarray of float64, shape (n_features,)
        Mean, which may overflow, and logarithm of the standard deviation of the transformed values.
    """

    exponent: Array
    origin: Array
    factor: Array
    offset: Array
    mean: Array
    log_std: Array


class Likelihood:
    r"""The log-likelihood of the lambdas of power transforms, per row.

    .. math:: \ell(\lambda) = -\frac{1}{2} \log \mathrm{var}\, y(\lambda)
              + (\lambda - 1) \,\overline{\mathrm{sign}(x) \log u}

    The variance is composed of those of both sides. Of each side, :math:`\log \mathrm{var}\, y` and
    :math:`\log(1 + e \bar y) / e` are smooth functions of the exponent, relative to the mean of log u. They are interpolated by
    polynomials of degree 5 with the values and two derivatives at both exponents next to it; the derivatives are those
    of a polynomial through seven exponents.

    Parameters
    ----------
    moments : PowerMoments
        The moments of each feature.
    """

    def __init__(self, moments: PowerMoments) -> None:
        self._moments, self.count = moments, np.sum(moments.number, axis=1)
        number = moments.number
        total = np.sum(number, axis=1, keepdims=True)
        self._share = number / np.where(total > 0, total, 1.0)
        self._varies = moments.m2[..., ZERO] > 0
        self._is_two_sided = np.all(number > 0, axis=1) & (moments.sides > 1)
        # The logarithm of u for the extrema and the mean; a common factor of all u has no effect where there is one side.
        high = np.where(number > 0, moments.high, 0.0)
        high = np.log1p(high) if moments.shift else np.log(np.where(number > 0, high, 1.0))
        self.center = high + moments.mean[..., ZERO]
        self._center = np.where(self._is_two_sided[:, None], self.center, 0.0)
        self._signs = np.array([1.0, -1.0])[: moments.sides]
        self._jacobian = np.sum(self._share * self._center * self._signs, axis=1)

    @cached_property
    def _pieces(self) -> Array:
        """Values and two derivatives of both interpolated functions at the exponents."""
        moments = self._moments
        mean = moments.mean
        to_center = -mean[..., ZERO, None] - np.where(EXPONENTS < 0, moments.span[..., None], 0.0)
        with np.errstate(all="ignore"):
            growth = np.log1p(EXPONENTS * mean) / DIVISORS + to_center
            variance = moments.m2 / np.where(moments.number > 0, moments.number, 1.0)[..., None]
            spread = np.log(variance) + 2.0 * np.log(moments.unit)[..., None] + 2.0 * EXPONENTS * to_center
        growth[..., ZERO] = 0.0
        usable = self._varies[..., None]
        values = np.stack([np.where(usable, growth, 0.0), np.where(usable, spread, 0.0)])
        first, second = _derivatives()
        return np.stack([values, values @ first.T, values @ second.T])

    def _at(self, exponents: Array) -> tuple[Array, Array, Array, Array]:
        """Return both functions and their derivatives at exponents of shape (n_features, n_sides, n)."""
        after = np.clip(np.searchsorted(EXPONENTS, exponents), 1, len(EXPONENTS) - 1)
        left, right = EXPONENTS[after - 1], EXPONENTS[after]
        step = right - left
        s = (exponents - left) / step
        results = []
        for k in range(2):
            a, b = ([np.take_along_axis(f[k], at, axis=-1) for f in self._pieces] for at in (after - 1, after))
            a0, a1, a2, b0, b1, b2 = a[0], a[1] * step, a[2] * step**2, b[0], b[1] * step, b[2] * step**2
            rise = b0 - a0
            c3 = 10.0 * rise - 6.0 * a1 - 4.0 * b1 - 1.5 * a2 + 0.5 * b2
            c4 = -15.0 * rise + 8.0 * a1 + 7.0 * b1 + 1.5 * a2 - b2
            c5 = 6.0 * rise - 3.0 * (a1 + b1) - 0.5 * (a2 - b2)
            results.append(a0 + s * (a1 + s * (0.5 * a2 + s * (c3 + s * (c4 + s * c5)))))
            results.append((a1 + s * (a2 + s * (3.0 * c3 + s * (4.0 * c4 + s * 5.0 * c5)))) / step)
        return results[0], results[1], results[2], results[3]

    def _exponents(self, lambdas: Array) -> Array:
        """Return the exponent of each side; shape (n_features, n_sides, n)."""
        sides = [lambdas, 2.0 - lambdas][: self._moments.sides]
        return np.stack(sides, axis=1)

    def _evaluated(self, lambdas: Array) -> tuple[Array, Array]:
        """Return likelihoods and derivatives for lambdas of shape (n_features, n)."""
        e = self._exponents(lambdas)
        growth, growth_slope, spread, spread_slope = self._at(e)
        share, center, signs = self._share[..., None], self._center[..., None], self._signs[:, None]
        varies = self._varies[..., None]
        with np.errstate(all="ignore"):
            level = center + growth
            power = e * level
            spread = np.where(varies, spread + 2.0 * e * center, -np.inf)
            both = self._is_two_sided[:, None, None]
            tops = np.maximum(0.5 * spread, np.where(both, np.maximum(power, 0.0), -np.inf))
            top = np.max(np.where(share > 0, tops, -np.inf), axis=1, keepdims=True)
            within = share * np.exp(spread - 2.0 * top)
            slope = np.where(varies, spread_slope, 0.0) + 2.0 * center
            variance, variance_slope = np.sum(within, axis=1), np.sum(within * slope * signs, axis=1)
            # The means of both sides have opposite signs, so that no digits are lost.
            quotient, quotient_slope = _quotient(power, top)
            mean = level * quotient
            mean_slope = growth_slope * quotient + level * quotient_slope * (level + e * growth_slope)
            weight = np.where(both[..., 0], np.prod(share, axis=1), 0.0)
            distance = np.sum(np.where(both, mean, 0.0), axis=1)
            variance += weight * distance**2
            variance_slope += 2.0 * weight * distance * np.sum(np.where(both, mean_slope * signs, 0.0), axis=1)
            likelihood = -0.5 * np.log(variance) - top[:, 0] + (lambdas - 1.0) * self._jacobian[:, None]
            return likelihood, -0.5 * variance_slope / variance + self._jacobian[:, None]

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which features have no two different values, and so no likelihood."""
        return np.asarray(~(np.any(self._varies, axis=1) | self._is_two_sided))

    @property
    def bounds(self) -> tuple[Array, Array]:
        """The smallest and the largest lambda whose exponents are within the grid."""
        last, number = EXPONENTS[-1], self._moments.number
        low, high = np.full(len(number), -last), np.full(len(number), last)
        if self._moments.sides > 1:
            negative = number[:, 1] > 0
            low = np.where(negative, 2.0 - last, low)
            high = np.where(negative & (number[:, 0] == 0), 2.0 + last, high)
        return low, high

    def best(self) -> Array:
        """Return the lambda of the largest likelihood; 1 for a feature whose likelihood does not depend on it.

        Returns
        -------
        numpy.ndarray of float64, shape (n_features,)
            NaN for a feature whose optimum is not inside the grid, infinite nowhere.
        """
        low, high = self.bounds
        candidates = np.union1d(EXPONENTS, 2.0 - EXPONENTS)
        lambdas = np.broadcast_to(candidates, (len(low), len(candidates)))
        inside = (lambdas >= low[:, None]) & (lambdas <= high[:, None])
        clipped = np.clip(lambdas, low[:, None], high[:, None])
        start, end, is_inside = self._bracket(clipped, inside)
        zoomed = start[:, None] + (end - start)[:, None] * ZOOM
        start, end, _ = self._bracket(zoomed, np.ones(zoomed.shape, dtype=bool))
        for _ in range(BISECTIONS):
            middle = 0.5 * (start + end)
            rises = self._evaluated(middle[:, None])[1][:, 0] > 0
            start, end = np.where(rises, middle, start), np.where(rises, end, middle)
        return np.where(self._is_flat(), 1.0, np.where(is_inside, 0.5 * (start + end), np.nan))

    def edge(self) -> Array:
        """Return the end of the grid that has the larger likelihood."""
        ends = np.stack(self.bounds, axis=1)
        values = self._evaluated(ends)[0]
        return np.where(values[:, 0] > values[:, 1], ends[:, 0], ends[:, 1])

    def of_standardized(self, lambdas: Array, log_std: Array) -> Array:
        """Return the likelihood of lambdas, given the true logarithm of the standard deviation after `standardized`."""
        center = np.where(self._share > 0, self.center, 0.0)
        alone = np.sum(np.where(self._share > 0, self._exponents(lambdas[:, None])[..., 0] * center, 0.0), axis=1)
        total = log_std + self.standardized(lambdas).log_std - np.where(self._is_two_sided, 0.0, alone)
        return np.asarray((lambdas - 1.0) * self._jacobian - total)

    def _is_flat(self) -> npt.NDArray[np.bool_]:
        """Return for which features lambda makes no difference, as far as rounding errors let see."""
        ends = self._evaluated(np.stack([*self.bounds, np.ones(len(self._share))], axis=1))[0]
        return np.asarray(self.constant | (np.max(ends, axis=1) - np.min(ends, axis=1) < ROUNDING))

    def _bracket(self, lambdas: Array, inside: npt.NDArray[np.bool_]) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
        """Return the lambdas before and after the best one, and whether it is neither the first nor the last."""
        likelihood = np.where(inside, self._evaluated(lambdas)[0], -np.inf)
        best = np.argmax(likelihood, axis=1)
        rows, last = np.arange(len(best)), lambdas.shape[1] - 1
        before, after = np.maximum(best - 1, 0), np.minimum(best + 1, last)
        is_inner = inside[rows, before] & inside[rows, after] & (best > 0) & (best < last)
        return lambdas[rows, before], lambdas[rows, after], is_inner & np.isfinite(likelihood[rows, best])

    def sides(self, lambdas: Array) -> tuple[Array, Array]:
        r"""Return the moments of each side for one lambda of each feature.

        With the mean :math:`t_0` of the logarithms :math:`t = \log u` of a side, and its exponent e, they are those of
        :math:`(\exp(e (t - t_0)) - 1) / e`.

        Parameters
        ----------
        lambdas : numpy.ndarray of float64, shape (n_features,)
            If an exponent is not within the grid, moments are only roughly right.

        Returns
        -------
        mean, log_variance : numpy.ndarray of float64, shape (n_features, n_sides)
            The mean, and the logarithm of the population variance; -inf for a side of equal values.
        """
        e = np.clip(self._exponents(lambdas[:, None]), EXPONENTS[0], EXPONENTS[-1])
        growth, _, spread, _ = self._at(e)
        with np.errstate(all="ignore"):
            mean = growth * _quotient(e * growth, np.zeros_like(e))[0]
        return np.where(self._varies, mean[..., 0], 0.0), np.where(self._varies, spread[..., 0], -np.inf)

    def standardized(self, lambdas: Array) -> Standardized:
        """Return the transforms with mean 0 and variance 1 for one lambda of each feature; see `sides`."""
        e, signs, constant = self._exponents(lambdas[:, None])[..., 0], self._signs, self.constant[:, None]
        present = self._share > 0
        center = np.where(present, self.center, 0.0)
        mean, log_variance = self.sides(lambdas)
        # A constant is divided by 1.
        log_variance = np.where(constant, -2.0 * np.clip(e * center, -MOST_POWER, MOST_POWER), log_variance)
        with np.errstate(all="ignore"):
            one, two = (form(e, center, mean, log_variance) for form in (self._of_one_side, self._of_two_sides))
            both = self._is_two_sided
            factor, offset = (np.where(both[:, None], b, a) for a, b in zip(one[:2], two[:2], strict=True))
            values = signs * (np.exp(e * center) * mean + center * _quotient(e * center, np.zeros_like(e))[0])
            origin = np.expm1(center) if self._moments.shift else np.exp(center)
        origin = np.where(constant & present, self._moments.high, origin)
        total = np.sum(np.where(present, self._share * values, 0.0), axis=1)
        return Standardized(e, origin, factor, offset, total, np.where(both, two[2], one[2]))

    def _of_one_side(self, e: Array, center: Array, mean: Array, log_variance: Array) -> tuple[Array, Array, Array]:
        """Return factor, offset and the logarithm of the standard deviation if all values are of one side."""
        signs, present = self._signs, self._share > 0
        scale = np.exp(-0.5 * log_variance)
        log_std = np.sum(np.where(present, e * center + 0.5 * log_variance, 0.0), axis=1)
        # The other side starts with the result of 0.
        at_zero = -signs * scale * (center * _quotient(-e * center, np.zeros_like(e))[0] + mean)
        at_zero = np.sum(np.where(present, at_zero, 0.0), axis=1, keepdims=True)
        factor = signs * np.where(present, scale, np.exp(-log_std)[:, None])
        return factor, np.where(present, -signs * scale * mean, at_zero), log_std

    def _of_two_sides(self, e: Array, center: Array, mean: Array, log_variance: Array) -> tuple[Array, Array, Array]:
        """Return the same if both sides have values, computed relative to a power that does not overflow."""
        share, signs, power = self._share, self._signs, e * center
        top = np.max(np.maximum(power + np.maximum(0.5 * log_variance, 0.0), 0.0), axis=1, keepdims=True)
        scale, at_center = np.exp(power - top), center * _quotient(power, top)[0]
        level = signs * (scale * mean + at_center)
        total = np.sum(share * level, axis=1, keepdims=True)
        within = np.sum(share * np.exp(2.0 * (power - top) + log_variance), axis=1, keepdims=True)
        std = np.sqrt(within + np.sum(share * (level - total) ** 2, axis=1, keepdims=True))
        return signs * scale / std, (signs * at_center - total) / std, (np.log(std) + top)[:, 0]


def _quotient(x: Array, top: Array) -> tuple[Array, Array]:
    """Return ``(exp(x) - 1) / x`` and its derivative, both times ``exp(-top)``."""
    small = np.abs(x) < SMALL
    safe = np.where(small, 1.0, x)
    scale = np.exp(-top)
    exponential = np.exp(x - top)
    quotient = np.where(small, 1.0 + x * (0.5 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x / 720)))), 0.0) * scale
    quotient = np.where(small, quotient, (exponential - scale) / safe)
    series = (0.5 + x * (1 / 3 + x * (1 / 8 + x * (1 / 30 + x * (1 / 144 + x / 840))))) * scale
    return quotient, np.where(small, series, (exponential - quotient) / safe)


@cache
def _derivatives() -> tuple[Array, Array]:
    """Return the matrices from the values at the exponents to two derivatives there."""
    size = len(EXPONENTS)
    first = np.clip(np.arange(size) - WIDTH // 2, 0, size - WIDTH)
    places = first[:, None] + np.arange(WIDTH)
    distance = EXPONENTS[places] - EXPONENTS[:, None]
    unit = np.max(np.abs(distance), axis=1)
    powers = (distance / unit[:, None])[..., None] ** np.arange(WIDTH)
    coefficients = np.linalg.inv(powers)  # of the polynomial through the values
    matrices = np.zeros((2, size, size))
    for order in (1, 2):
        np.put_along_axis(matrices[order - 1], places, order * coefficients[:, order] / unit[:, None] ** order, axis=1)
    return matrices[0], matrices[1]
