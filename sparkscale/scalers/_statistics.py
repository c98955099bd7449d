"""The statistics that a profile may hold, and which of them a scaler needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, Squares, StatisticSet

__all__ = ["CLASSES", "NAMES", "is_held", "name_of", "set_of", "source_of"]

CLASSES: Mapping[str, type[Any]] = {
    "moments": Moments,
    "extrema": Extrema,
    "squares": Squares,
    "coMoments": CoMoments,
    "quantiles": Quantiles,
}
NAMES = tuple(CLASSES)


def set_of(names: Sequence[str], relative_error: float) -> type[StatisticSet]:
    """Return the class of these statistics, in one order whatever that of the names is."""
    quantiles = Quantiles.within(relative_error)
    return StatisticSet.of_classes({n: quantiles if n == "quantiles" else c for n, c in CLASSES.items() if n in names})


def is_held(statistic_class: type[Any]) -> bool:
    """Whether a profile may hold a statistic."""
    return issubclass(statistic_class, tuple(CLASSES.values()))


def name_of(statistic_class: type[Any]) -> str:
    """Return the name of a statistic."""
    own = {n for n, c in CLASSES.items() if issubclass(statistic_class, c)}
    return next(n for n in reversed(NAMES) if n in own)  # quantiles and squares are extrema, too


def source_of(names: Sequence[str], statistic_class: type[Any]) -> str | None:
    """Return which of the named statistics holds another one, or ``None``: quantiles and squares hold extrema."""
    wanted = name_of(statistic_class)
    if wanted in names:
        return wanted
    return next((n for n in names if issubclass(CLASSES[n], CLASSES[wanted])), None)
