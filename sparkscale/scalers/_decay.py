"""Profiles whose older rows count less."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.scalers._profile_base import ProfileBase
from sparkscale.spark.fit.local_rows import key_array
from sparkscale.spark.fit.table_rows import units_until
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.keys import ORDERED_TYPES, KeyColumn

__all__ = ["decayed"]


def decayed(profile: ProfileBase, half_life: Any, by: Any, at: Any) -> StatisticTable:
    """Return the table of a profile, with weights that are halved for every half-life; see `Profile.decayed`."""
    if isinstance(half_life, bool) or not isinstance(half_life, float | int) or not half_life > 0:
        raise _fail(f"halfLife must be a number above 0, of days or of the units of the key. Got {half_life!r}.")
    if by not in profile.groupCols:
        keys = ", ".join(map(repr, profile.groupCols)) or "none"
        raise _fail(f"by is {by!r}, which is no key column. Name one of {keys}.")
    field = profile.groupCols.index(by)
    key = profile._keys[field]
    if not isinstance(key.type, ORDERED_TYPES):
        raise _fail(
            f"{by!r} is of type {key.type.simpleString()}, and ages are of dates, timestamps and numbers. Name another."
        )
    without = [name for name, one in profile._class.classes.items() if not one.weights]
    if without:
        raise _fail(
            f"{without[0]!r} cannot be weighted afterwards, only moments and coMoments can. Choose recent keys by where "
            "instead, or profile these two alone."
        )
    if not profile.numGroups:
        return profile._table
    with translate_job_errors():
        latest, complete = profile._table.latest(field)
        if not complete:
            raise _fail(f'some keys have no {by!r}, and so no age. Choose the others by where("{by} IS NOT NULL").')
        until = latest if at is None else _until(key, at, latest)
        return profile._table.decayed(field, float(half_life), until)


def _until(key: KeyColumn, at: Any, latest: pa.Array) -> pa.Array:
    """Return the key up to which ages are counted."""
    until = None if isinstance(at, bool) else key_array(at, key.type)
    if until is None:
        raise ParamTypeError(
            f"Profile.decayed: at must be a value of {key.name!r}, of type {key.type.simpleString()}. Got {at!r}."
        )
    age = units_until(latest, until)
    if len(age) and (math.isnan(age[0]) or age[0] < 0):
        raise _fail(
            f"the key {latest[0].as_py()} of {key.name!r} is after at={at}. Choose earlier keys by where, or a later at."
        )
    return until


def _fail(problem: str) -> ParamError:
    return ParamError(f"Profile.decayed: {problem}")
