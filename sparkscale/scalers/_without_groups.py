"""What models without groups answer where those with groups do more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from sparkscale.scalers._groups import Groups
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.keys import KeyColumn

__all__ = ["WithoutGroups"]


class WithoutGroups:
    """Mixin for fitted models; `GroupModel` overrides it."""

    def _merged(self, others: Sequence[Any]) -> Groups | None:
        """Return the groups of all models, if they have any; refuse to merge groups of different keys."""
        return None

    def _with_tables(self, tables: Sequence[StatisticTable]) -> Groups | None:
        """Return the groups of this model, if it has any, merged with the statistics of more rows."""
        return None

    def _keys_in(self, df: DataFrame) -> list[KeyColumn]:
        """Look up the key columns in a DataFrame, if the model has groups."""
        return []

    def _check_groups(self) -> None:
        """Refuse what a group makes unusable, if the model has groups."""
