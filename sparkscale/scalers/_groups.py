"""Maps by key: their Params, and what a model holds of each key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sparkscale.scalers._columns import ColumnParams, repeated
from sparkscale.scalers._params import P, param
from sparkscale.scalers._statistics import name_of
from sparkscale.spark.fit.history import History
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.keys import KeyColumn
from sparkscale.statistics import StatisticSet

__all__ = ["Groups", "HasGroups", "set_of_one"]


class HasGroups(ColumnParams):
    """Mixin for one map per key."""

    groupCols = param("groupCols", "columns whose values are keys: each key has a map of its own", list[str])
    handleUnseen = param(
        "handleUnseen",
        "a row whose key was not seen in fit. 'global': gets the map of all rows; 'null': results are null; 'error': "
        "transform fails.",
        str,
    )
    minGroupCount = param("minGroupCount", "a feature with fewer valid values in a group gets the map of all rows", int)
    asOf = param(
        "asOf",
        "column of dates, timestamps or numbers: a row is scaled by the rows before it in this column alone",
        str,
    )

    _defaults = {"handleUnseen": "global", "minGroupCount": 1}
    _choices = {"handleUnseen": ("global", "null", "error")}

    def getGroupCols(self) -> list[str]:
        """Return ``groupCols``."""
        return self.getOrDefault(self.groupCols)

    def getHandleUnseen(self) -> str:
        """Return ``handleUnseen``."""
        return self.getOrDefault(self.handleUnseen)

    def getMinGroupCount(self) -> int:
        """Return ``minGroupCount``."""
        return self.getOrDefault(self.minGroupCount)

    def getAsOf(self) -> str:
        """Return ``asOf``."""
        return self.getOrDefault(self.asOf)

    def setGroupCols(self: P, value: list[str]) -> P:
        """Set ``groupCols``."""
        return self._set(groupCols=value)

    def setHandleUnseen(self: P, value: str) -> P:
        """Set ``handleUnseen``."""
        return self._set(handleUnseen=value)

    def setMinGroupCount(self: P, value: int) -> P:
        """Set ``minGroupCount``."""
        return self._set(minGroupCount=value)

    def setAsOf(self: P, value: str) -> P:
        """Set ``asOf``."""
        return self._set(asOf=value)

    def _as_of(self) -> str | None:
        return self.getAsOf() if self.isSet("asOf") else None

    def _group_names(self) -> list[str]:
        as_of = self._as_of()
        groups = self.getGroupCols() if self.isSet("groupCols") else []
        return groups if as_of is None else [*groups, as_of]

    def _check_params(self) -> None:
        super()._check_params()
        names = self.getGroupCols() if self.isSet("groupCols") else []
        if self.isSet("groupCols") and not names:
            raise self._fail("groupCols is empty. Name at least one column, or leave it out.")
        twice = repeated(names)
        if twice:
            raise self._fail(f"groupCols names {twice[0]!r} more than once.")
        if self._as_of() in names:
            raise self._fail(f"asOf is {self._as_of()!r}, which is also one of groupCols. Name it once.")
        if self.getMinGroupCount() < 1:
            raise self._fail(f"minGroupCount must be at least 1. Got {self.getMinGroupCount()}.")


@dataclass(frozen=True)
class Groups:
    """What a model holds of each key."""

    keys: tuple[KeyColumn, ...]
    table: StatisticTable
    as_of: bool = False  # whether the last key orders the rows of a group

    @cached_property
    def history(self) -> History | None:
        """What was known of each key before, if the last one orders its rows."""
        return History(self.table, self.names[-1]) if self.as_of else None

    @property
    def names(self) -> list[str]:
        """The names of the key columns."""
        return [key.name for key in self.keys]

    @property
    def described(self) -> str:
        """The key columns and their types, for a message."""
        keys = [f"{key.name} {key.type.simpleString()}" for key in self.keys]
        if self.as_of:
            keys[-1] = f"as of {keys[-1]}"
        return ", ".join(keys) or "none"


def set_of_one(statistic_class: type[Any]) -> type[StatisticSet]:
    """Return the class of sets of a single statistic."""
    return StatisticSet.of_classes({name_of(statistic_class): statistic_class})
