"""Key columns of profiles and of models by group: looked up, and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame

from sparkscale.errors import ParamError
from sparkscale.scalers._statistics import NAMES
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.keys import KeyColumn, ordered, resolve_group
from sparkscale.spark.names import folded, same_path
from sparkscale.spark.saved_tables import Form, key_data_type
from sparkscale.statistics import StatisticSet

__all__ = ["form_of", "group_keys", "keys_of", "to_json"]


def group_keys(
    df: DataFrame, names: Sequence[str], scaled: Sequence[FeatureColumn] = (), *, as_of: bool = False
) -> list[KeyColumn]:
    """Look up the columns of keys; the last of them orders the rows if they are scaled as of its values.

    Raises
    ------
    ParamError
        If one is scaled as well, or has the name of a statistic.
    """
    keys = [resolve_group(df, name) for name in names]
    for k, key in enumerate(keys):
        param = "asOf" if as_of and k == len(keys) - 1 else "groupCols"
        same = [other for other in keys[:k] if other.path == key.path or folded(other.name) == folded(key.name)]
        if same:
            raise ParamError(f"groupCols: '{same[0].name}' and '{key.name}' have one name. Name each column once.")
        if any(same_path(df, key.path, column.path) for column in scaled):
            raise ParamError(f"{param}: column '{key.name}' is also an input. Scale the other columns alone.")
        if folded(key.name) in map(folded, NAMES):
            raise ParamError(f"{param}: '{key.name}' is the name of a statistic. Rename the column.")
    return [*keys[:-1], ordered(keys[-1])] if as_of else keys


def to_json(keys: Sequence[KeyColumn]) -> list[dict[str, str]]:
    """Return key columns as they are saved."""
    return [{"name": key.name, "type": key.type.simpleString()} for key in keys]


def keys_of(extra: Mapping[str, Any]) -> tuple[KeyColumn, ...]:
    """Return key columns that were saved."""
    saved = storage.typed_entry(extra, "groups", list)
    pairs = [(storage.typed_entry(k, "name", str), storage.typed_entry(k, "type", str)) for k in saved]
    return tuple(KeyColumn(name, key_data_type(text), (name,)) for name, text in pairs)


def form_of(extra: Mapping[str, Any], statistic_class: type[StatisticSet], features: int) -> Form:
    """Return the form of a table that was saved."""
    keys = keys_of(extra)
    return Form(tuple(key.name for key in keys), tuple(key.type for key in keys), statistic_class, features)
