"""Lambdas of the largest likelihood beyond the grid of a statistic, found by further scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import Polynomial

from sparkscale.spark import storage
from sparkscale.statistics import Likelihood, Moments

__all__ = ["Refined", "refined"]

Array = npt.NDArray[np.float64]
Scan = Callable[
    [Array], Sequence[Moments]
]  # from lambdas, of shape (n, n_features), to the moments of their transforms

NUMBER = 11  # of lambdas of each feature that one scan compares
FACTOR = 2.0  # between those of the first scan
DEGREE = 8
REAL = 1e-9  # imaginary part of a root that is rounding error


@dataclass(frozen=True, eq=False)
class Refined:
    """What further scans show of each feature: lambda, and the moments of the standardized transform.

    Parameters
    ----------
    lambdas : numpy.ndarray of float64, shape (n_features,)
        The lambdas; NaN where no optimum was within reach.
    mean, std : numpy.ndarray of float64, shape (n_features,)
        Of the results of the transform that interpolated moments standardize.
    """

    lambdas: Array
    mean: Array
    std: Array

    def to_json(self) -> dict[str, list[float]]:
        """Return the numbers as they are saved."""
        return {name: getattr(self, name).tolist() for name in ("lambdas", "mean", "std")}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], features: int) -> Refined:
        """Return numbers that were saved."""
        arrays = [np.array(storage.typed_entry(saved, name, list)) for name in ("lambdas", "mean", "std")]
        for values in arrays:
            if values.shape != (features,) or values.dtype != np.float64 or not np.isfinite(values).all():
                raise storage.MalformedError(f"refined does not have {features} numbers")
        return cls(*arrays)


def refined(likelihood: Likelihood, given: Array | None, scan: Scan) -> Refined:
    """Return lambdas and moments that at most three further scans give.

    Parameters
    ----------
    likelihood : Likelihood
        What the first scan shows.
    given : numpy.ndarray or None
        Lambdas that are given.
    scan : function
        From lambdas of shape (n, n_features) to n moments of their standardized transforms.
    """
    lambdas = likelihood.best() if given is None else given
    outside = np.isnan(lambdas)
    if outside.any():
        edge = likelihood.edge()
        start = np.where(outside, edge, lambdas)
        growth = np.power(np.full((NUMBER, 1), FACTOR), np.arange(NUMBER)[:, None])
        candidates = np.where(outside, start * growth, start)
        best = np.argmax(_compared(likelihood, candidates, scan), axis=0)
        features = np.arange(len(best))
        reached = best < NUMBER - 1
        low = np.where(best > 0, candidates[np.maximum(best - 1, 0), features], start / FACTOR)
        high = candidates[np.minimum(best + 1, NUMBER - 1), features]
        candidates = np.where(outside, low * (high / low) ** (np.arange(NUMBER)[:, None] / (NUMBER - 1)), start)
        compared = _compared(likelihood, candidates, scan)
        for j in np.flatnonzero(outside):
            lambdas[j] = _peak(candidates[:, j], compared[:, j]) if reached[j] else np.nan
    moments = scan(np.nan_to_num(lambdas, nan=1.0)[None])[0]
    std = moments.std(0)
    return Refined(lambdas, moments.mean, np.where(std > 0, std, 1.0))


def _compared(likelihood: Likelihood, candidates: Array, scan: Scan) -> Array:
    """Return the likelihood of each lambda; -inf if values overflow."""
    results = []
    for lambdas, moments in zip(candidates, scan(candidates), strict=True):
        with np.errstate(all="ignore"):
            value = likelihood.of_standardized(lambdas, np.log(moments.std(0)))
        complete = (moments.count == likelihood.count) & np.isfinite(value)
        results.append(np.where(complete, value, -np.inf))
    return np.array(results)


def _peak(lambdas: Array, likelihoods: Array) -> float:
    """Return the maximum of a polynomial through the points next to the best one."""
    best = int(np.argmax(likelihoods))
    start = min(max(best - DEGREE // 2, 0), len(lambdas) - 1 - DEGREE)
    near = slice(start, start + DEGREE + 1)
    if not np.isfinite(likelihoods[near]).all():
        return float("nan")
    curve = Polynomial.fit(lambdas[near], likelihoods[near] - likelihoods[best], DEGREE)
    roots = curve.deriv().roots()
    low, high = sorted((lambdas[max(best - 1, 0)], lambdas[min(best + 1, len(lambdas) - 1)]))
    real = roots[np.abs(roots.imag) <= REAL * np.abs(roots)].real
    inside = real[(real >= low) & (real <= high)].tolist()
    return max(inside, key=lambda value: float(curve(value)), default=float("nan"))
