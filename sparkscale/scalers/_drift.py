"""How the statistics of other rows differ from those of the first ones: figures of each feature, by key if there are keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.scalers._statistics import source_of
from sparkscale.statistics import Extrema, StatisticSet

__all__ = ["THRESHOLDS", "Drift", "drift"]

Array = npt.NDArray[np.float64]

THRESHOLDS: Mapping[str, float] = {
    "invalid": 0.05,
    "outOfRange": 0.01,
    "meanShift": 0.5,
    "spreadRatio": 2.0,
    "psi": 0.25,
}
DECILES = np.arange(1, 10) / 10
LEAST_SHARE = 1e-4  # of a bin, so that an empty one gives no infinite index


@dataclass(frozen=True)
class Drift:
    """Figures by name, and why some of them are NaN; arrays have one row per key, and one column per feature."""

    figures: dict[str, Array]
    notes: npt.NDArray[np.object_]


def drift(first: StatisticSet, second: StatisticSet, outside: Array | None = None) -> Drift:
    """Return how other rows differ from the first ones.

    Parameters
    ----------
    first, second : StatisticSet
        The statistics, one row per key.
    outside : numpy.ndarray, optional
        The number of values of the second rows outside the range of the first ones, if they were counted.
    """
    shape, both = first.count.shape, np.asarray((first.count > 0) & (second.count > 0))
    notes = np.full(shape, "", dtype=object)

    def note(which: Any, text: str) -> None:
        notes[np.broadcast_to(which, shape) & both] += f"{text}; "

    with np.errstate(all="ignore"):
        figures = {
            "count": first.count,
            "newCount": second.count,
            "invalid": first.invalid / (first.count + first.invalid),
            "newInvalid": second.invalid / (second.count + second.invalid),
            "outOfRange": _out_of_range(first, second, outside, note),
            **_moments(first, second, note),
            "psi": _stability(first, second, note),
        }
    notes[first.count == 0] = "no valid value in the first; "
    notes[second.count == 0] = "no valid value in the second; "
    for name in ("outOfRange", "meanShift", "spreadRatio", "psi"):
        figures[name] = np.where(both, figures[name], np.nan)
    return Drift(figures, np.vectorize(lambda text: text.removesuffix("; "), otypes=[object])(notes))


def _out_of_range(first: StatisticSet, second: StatisticSet, outside: Array | None, note: Any) -> Array:
    """Return the share of values that the range of the first rows does not contain."""
    unknown = np.full(first.count.shape, np.nan)
    own = source_of([*first.classes], Extrema)
    if own is None:
        note(True, "the first has no extrema")
        return unknown
    low, high = first[own].min, first[own].max
    if outside is not None:
        return np.asarray(outside / second.count)
    other = source_of([*second.classes], Extrema)
    if other is None:
        note(True, "the second has no extrema")
        return unknown
    at_least = (second[other].min < low).astype(float) + (second[other].max > high)
    if "quantiles" in second.classes:
        quantiles = second["quantiles"].raveled()
        beyond = (quantiles.below(low.ravel()) + quantiles.above(high.ravel())).reshape(low.shape)
        return np.asarray(np.where(at_least > 0, np.maximum(beyond, at_least), 0.0) / second.count)
    note(at_least > 0, "values lie out of range, and their share needs quantiles of the second")
    return np.where(at_least > 0, np.nan, 0.0)


def _moments(first: StatisticSet, second: StatisticSet, note: Any) -> dict[str, Array]:
    """Return by how many standard deviations the mean has shifted, and the ratio of the standard deviations."""
    pairs = [_mean_and_std(statistics) for statistics in (first, second)]
    for side, pair in zip(("first", "second"), pairs, strict=True):
        if pair is None:
            note(True, f"the {side} has no moments")
    if pairs[0] is None or pairs[1] is None:
        unknown = np.full(first.count.shape, np.nan)
        return {"meanShift": unknown, "spreadRatio": unknown}
    (mean, std), (new_mean, new_std) = pairs[0], pairs[1]
    constant = std == 0
    shift = np.where(constant & (new_mean == mean), 0.0, (new_mean - mean) / std)
    return {"meanShift": shift, "spreadRatio": np.where(constant & (new_std == 0), 1.0, new_std / std)}


def _mean_and_std(statistics: StatisticSet) -> tuple[Array, Array] | None:
    """Return mean and sample standard deviation; the latter is 0 of a single row."""
    if "moments" in statistics.classes:
        return statistics["moments"].mean, statistics["moments"].std(1)
    if "coMoments" in statistics.classes:
        joint = statistics["coMoments"]
        size = joint.count.shape[-1]
        diagonal = joint.comoments.reshape(-1, size * size)[:, :: size + 1].reshape(joint.count.shape)
        return joint.mean, np.sqrt(diagonal / np.maximum(joint.rows - 1, 1))
    return None


def _stability(first: StatisticSet, second: StatisticSet, note: Any) -> Array:
    """Return the population stability index over the bins between the first rows' deciles."""
    for side, statistics in (("first", first), ("second", second)):
        if "quantiles" not in statistics.classes:
            note(True, f"the {side} has no quantiles")
            return np.full(first.count.shape, np.nan)
    one, other = first["quantiles"].raveled(), second["quantiles"].raveled()
    edges = [one.quantile(q) for q in DECILES]
    shares = []
    for quantiles in (one, other):
        up_to = [1 - quantiles.above(edge) / quantiles.count for edge in edges]
        bins = np.diff([np.zeros_like(up_to[0]), *up_to, np.ones_like(up_to[0])], axis=0)
        shares.append(np.maximum(bins, LEAST_SHARE))
    p, q = shares
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=0).reshape(first.count.shape))
