"""Fit to a profile: what a scaler takes from it, and what it must find there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._groups import Groups, set_of_one
from sparkscale.scalers._statistics import name_of, source_of
from sparkscale.scalers.profile import Profile
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.keys import ordered
from sparkscale.statistics import CoMoments, Mergeable, Quantiles

__all__ = ["Learned", "profiled", "refuse_batches", "taken"]


@dataclass(frozen=True)
class Learned:
    """What a fit learns: columns with their sizes, the statistic of all rows, and those of each key."""

    columns: tuple[FeatureColumn, ...]
    statistic: Any
    groups: Groups | None = None


def profiled(scaler: Any, profile: Profile) -> Learned:
    """Return what a profile shows of the columns of a scaler.

    Raises
    ------
    ParamError
        If the profile lacks what the Params need.
    """
    refuse_batches(scaler)
    wanted: type[Mergeable] = scaler._statistic_class
    _check_statistics(scaler, profile, wanted)
    columns = _columns(scaler, profile)
    _check_options(scaler, profile, columns)
    scaler._check_columns(columns)
    total: Any = profile.total()._held
    if issubclass(wanted, CoMoments) and len(columns) < len(profile.inputCols) and total.invalid.any():
        raise scaler._fail(
            "the profile's coMoments are of the rows without an invalid value in any of its columns. Name all of these in "
            "inputCols, or make a profile of fewer."
        )
    return taken(scaler, profile, columns, scaler._group_names(), wanted)


def taken(
    scaler: Any,
    profile: Profile,
    columns: tuple[FeatureColumn, ...],
    groups: Sequence[str],
    wanted: type[Any],
) -> Learned:
    """Return a statistic of some columns of a profile, of all rows and of each key."""
    source, features = source_of(profile.statistics, wanted), profile._features_of(columns, scaler._layout())
    assert source is not None  # noqa: S101  # checked by the caller, or there when the profile was saved
    selected = set_of_one(wanted)
    columns = tuple(scaler._described(columns))
    total: Any = profile.total()._held
    statistic = total.select(source, selected, features).statistics[0]
    if not groups:
        return Learned(columns, statistic)
    by_key = profile.by(*groups)
    as_of = scaler._as_of() is not None
    if as_of:
        ordered(by_key._keys[-1])
    return Learned(columns, statistic, Groups(by_key._keys, by_key._table.select(source, selected, features), as_of))


def refuse_batches(scaler: Any) -> None:
    """Refuse a scaler over mini-batches, of which a profile has none, or with a mask, which a profile has counted."""
    if scaler._mask() is not None:
        raise scaler._fail("maskValue is set, and a profile counts it as any other value. Fit on a DataFrame.")
    if scaler.hasParam("batchCol") and scaler.isSet("batchCol"):
        raise scaler._fail("batchCol is set, and a profile has no mini-batches. Fit on a DataFrame, or clear batchCol.")
    if scaler.hasParam("statistics") and scaler.getOrDefault("statistics") != "population":
        raise scaler._fail(f"statistics={scaler.getOrDefault('statistics')!r} need mini-batches. Fit on a DataFrame.")


def _check_statistics(scaler: Any, profile: Profile, wanted: type[Any]) -> None:
    """Refuse a profile that does not have what is wanted."""
    if source_of(profile.statistics, wanted) is None:
        raise scaler._fail(
            f"the profile has no {name_of(wanted)}, only {', '.join(profile.statistics)}. Add {name_of(wanted)!r} to statistics "
            "in Profile.of."
        )
    if issubclass(wanted, Quantiles) and wanted.relative_error != profile.relativeError:
        raise scaler._fail(
            f"relativeError is {wanted.relative_error}, and that of the profile {profile.relativeError}. Use the same."
        )


def _columns(scaler: ColumnParams, profile: Profile) -> tuple[FeatureColumn, ...]:
    """Return the columns of a scaler, as the profile knows them."""
    known, names = {c.name: c for c in profile._columns}, scaler._input_names()
    scaler._output_names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise scaler._fail(
            f"inputCols: {unknown[0]!r} is not in the profile, whose columns are {', '.join(map(repr, known))}."
        )
    return tuple(known[name] for name in names)


def _check_options(scaler: Any, profile: Profile, columns: tuple[FeatureColumn, ...]) -> None:
    """Refuse options that differ from those of the profile."""
    if profile.weightCol and not scaler.hasParam("weightCol"):
        raise scaler._fail("there are no weights in this scaler, but in the profile. Make a profile without weightCol.")
    weight = scaler.getOrDefault("weightCol") if scaler.hasParam("weightCol") and scaler.isSet("weightCol") else None
    options = {
        "handleInvalid": (scaler.getHandleInvalid(), profile.handleInvalid),
        "weightCol": (weight, profile.weightCol),
    }
    for name, (mine, theirs) in options.items():
        if mine != theirs:
            raise scaler._fail(f"{name} is {mine!r}, and that of the profile {theirs!r}. Use the same.")
    if profile.handleInvalid == "skip" and len(columns) < len(profile.inputCols):
        raise scaler._fail(
            "under handleInvalid='skip', the profile is of the rows without an invalid value in any of its columns. Name all "
            "of these in inputCols, or make a profile of fewer."
        )
    unknown = [name for name in scaler._group_names() if name not in profile.groupCols]
    if unknown:
        param = "asOf" if unknown[0] == scaler._as_of() else "groupCols"
        raise scaler._fail(
            f"{param}: {unknown[0]!r} is no key of the profile, whose keys are "
            f"{', '.join(map(repr, profile.groupCols)) or 'none'}. Add it to groupCols in Profile.of."
        )
