"""Comparisons of the statistics of two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.scalers._columns import repeated
from sparkscale.scalers._drift import drift
from sparkscale.scalers._profile_base import ProfileBase
from sparkscale.scalers._shapes import described, shapes_of
from sparkscale.scalers.comparison import Comparison, checked_thresholds
from sparkscale.spark.arrow import key_order, numbered
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.statistics import StatisticSet

__all__ = ["Side", "check_keys", "checked_names", "compare", "compared"]

Features = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Side:
    """Statistics with one row per key; ``None`` of keys means a single row, that of all rows."""

    keys: pa.Array | None
    rows: StatisticSet

    @classmethod
    def of(cls, what: str, held: StatisticSet | StatisticTable) -> Side:
        """Return what a profile or a model holds."""
        if not isinstance(held, StatisticTable):
            return cls(None, held.as_row())
        if not held.small:
            raise ParamError(
                f"{what}: {held.rows:,} keys are more than the driver holds. Name fewer columns in by, or compare fewer keys."
            )
        with translate_job_errors():
            return cls(*held.collected())


def compare(first: Any, second: Any, by: Any, thresholds: Any) -> Comparison:
    """Compare two profiles; see `Profile.compare`."""
    what = "Profile.compare"
    if not isinstance(second, ProfileBase):
        raise ParamTypeError(f"{what}: the other must be a Profile. Got {type(second).__name__}.")
    limits, names = checked_thresholds(what, thresholds), checked_names(what, by)
    shapes, theirs = shapes_of(first._columns), shapes_of(second._columns)
    if sorted(shapes) != sorted(theirs):
        raise ParamError(
            f"{what}: the columns differ, {described(shapes)} and {described(theirs)}. Profile the same ones."
        )
    both: list[tuple[Any, str]] = [(first, "first"), (second, "second")]
    for profile, side in both:
        check_keys(what, names, profile.groupCols, f"the {side} profile")
    rolled_up = [profile.by(*names) for profile, _ in both]
    types = [[key.type.simpleString() for key in profile._keys] for profile in rolled_up]
    if types[0] != types[1]:
        raise ParamError(f"{what}: the keys are of types {types[0]} and {types[1]}. Cast the columns to the same.")
    one, other = (Side.of(what, profile._held) for profile in rolled_up)
    return compared(one, other, second._features_of(first._columns), first.featureNames, names, limits)


def compared(
    first: Side,
    second: Side,
    order: Features,
    features: Sequence[str],
    names: Sequence[str],
    thresholds: Mapping[str, float],
    *,
    counted: bool = False,
) -> Comparison:
    """Return the comparison of two sides, of these features of the second one; the others count what is out of range."""
    keys: dict[str, list[Any]] = {}
    rows, new = first.rows, second.rows
    if first.keys is not None and second.keys is not None:
        numbers, distinct = numbered(pa.concat_arrays([first.keys, second.keys.cast(first.keys.type)]))
        order_of_keys = key_order(distinct)
        places = np.argsort(order_of_keys)[numbers]
        rows = rows.scatter(places[: len(first.keys)], len(distinct))
        new = new.scatter(places[len(first.keys) :], len(distinct))
        fields = distinct.take(pa.array(order_of_keys)).flatten()
        keys = {name: field.to_pylist() for name, field in zip(names, fields, strict=True)}
    outside = new.count[:, order.size :] if counted else None
    if outside is not None and outside.shape[1] != order.shape[-1]:
        outside = outside[:, order].sum(axis=1)
    chosen = new.take_features(order) if order.ndim == 1 else new.pooled(order)
    return Comparison._of(drift(rows, chosen, outside), features, keys, thresholds)


def checked_names(what: str, by: Any) -> list[str]:
    """Return the names of the key columns to compare by."""
    names = [] if by is None else by
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ParamTypeError(f"{what}: by must be a list of names. Got {by!r}.")
    if repeated(names):
        raise ParamError(f"{what}: by names {repeated(names)[0]!r} more than once.")
    return [*names]


def check_keys(what: str, names: Sequence[str], known: Sequence[str], owner: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        keys = ", ".join(map(repr, known)) or "none"
        raise ParamError(f"{what}: by names {unknown[0]!r}, which is no key column of {owner}. It has {keys}.")
