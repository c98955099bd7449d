"""Models with one map per key."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pyspark.sql import DataFrame

from sparkscale.display.html import Features
from sparkscale.errors import ColumnTypeError
from sparkscale.scalers._channel_model import ChannelModel
from sparkscale.scalers._group_maps import KeyMaps, KeyValues
from sparkscale.scalers._groups import Groups, HasGroups, set_of_one
from sparkscale.scalers._keys import form_of, group_keys, keys_of, to_json
from sparkscale.scalers._persistence import Content, SavedTable
from sparkscale.spark import gpu, storage
from sparkscale.spark.fit.history import History
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.keys import KeyColumn
from sparkscale.spark.names import folded
from sparkscale.spark.saved_tables import Form, named
from sparkscale.spark.transform.apply import Plan, slices_of
from sparkscale.spark.transform.by_key import AsOf, MapTable
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.key_maps import AffineByKey, ByKey
from sparkscale.statistics import Mergeable

__all__ = ["GroupModel"]

LOG = logging.getLogger("sparkscale")

S = TypeVar("S", bound=Mergeable)
G = TypeVar("G", bound="GroupModel[Any]")


class GroupModel(HasGroups, ChannelModel[S]):
    """Base of the fitted models that may have one map per key, beside the map of all rows."""

    def __init__(self) -> None:
        super().__init__()
        self._groups: Groups | None = None

    @property
    def groups(self) -> DataFrame:
        """The keys with what was learned of each: ``count``, and arrays with an entry per feature or channel.

        With ``asOf``, the values of that column are part of the key, and a row has what was learned of the rows of its
        group up to this value: what later rows are scaled by.

        Raises
        ------
        ParamError
            If the model was fitted without ``groupCols``.
        """
        groups = self._needed_groups("groups")
        names = ["count", *self._learned_values()]
        clash = [name for name in groups.names if folded(name) in map(folded, names)]
        if clash:
            raise self._fail(f"groups has a column {clash[0]!r} of its own. Rename the group column, and fit again.")
        values = KeyValues(self._without_groups())
        rows = groups.history.map_keys(values, names) if groups.history else groups.table.map_rows(values, names)
        return named(rows, groups.names, names)

    @property
    def numGroups(self) -> int:
        """Number of keys; 0 if the model was fitted without ``groupCols``."""
        return self._groups.table.rows if self._groups else 0

    def group(self: G, *key: Any) -> G:
        """Return the model of one key: without ``groupCols``, and fitted on the rows of this key alone.

        So ``minGroupCount`` does not matter to it, and ``handleEmpty`` is about this key's rows.

        Parameters
        ----------
        *key
            A value for each of ``groupCols``, in their order; None for null. With ``asOf``, then a value of that column,
            which need not have been seen in fit: the model is of the group's rows before it.

        Returns
        -------
        model of the same class
            A new model.

        Raises
        ------
        ParamError
            If there is no such key, or the model was fitted without ``groupCols`` and ``asOf``.
        """
        groups = self._needed_groups("group")
        if len(key) != len(groups.keys):
            raise self._fail(f"a key has {len(groups.keys)} values, of {groups.described}. Got {len(key)}.")
        statistic = groups.history.before(key) if groups.history else groups.table.of_key(key)
        if statistic is None and groups.history:
            raise self._fail(f"nothing is known of {', '.join(map(repr, key))}: no row of this group came before.")
        if statistic is None:
            raise self._fail(f"there is no group {', '.join(map(repr, key))}. The keys are in groups.")
        model = self._without_groups()
        model._learn(self._columns, next(iter(statistic.statistics)), skips=self._skips)
        model.map  # noqa: B018  # refuses a range that overflows
        return model

    def _needed_groups(self, what: str) -> Groups:
        if self._groups is None:
            raise self._fail(f"{what} is for models fitted with groupCols or asOf. Fit with them.")
        return self._groups

    def _without_groups(self: G) -> G:
        """Return the model of all rows alone."""
        model = self.copy()
        model._groups = None
        for of_groups in (model.groupCols, model.asOf):
            model.clear(of_groups)
        return model

    def _merged(self, others: Sequence[Any]) -> Groups | None:
        by = [m._groups.described if m._groups else "none" for m in (self, *others)]
        if len(set(by)) > 1:
            raise self._fail(
                f"groupCols or asOf of the models differ: {' and '.join(dict.fromkeys(by))}. Fit by the same to merge."
            )
        return self._groups and self._with_tables([other._groups.table for other in others])

    def _with_tables(self, tables: Sequence[StatisticTable]) -> Groups | None:
        return self._groups and replace(self._groups, table=self._groups.table.merged(*tables))

    def _keys_in(self, df: DataFrame) -> list[KeyColumn]:
        groups = self._groups
        if groups is None:
            return []
        names = self._group_names() or groups.names
        if len(names) != len(groups.keys):
            raise self._fail(f"groupCols are {names}, but the model was fitted by {groups.described}. Name as many.")
        keys = group_keys(df, names, as_of=groups.as_of)
        for now, then in zip(keys, groups.keys, strict=True):
            if now.type != then.type:
                raise ColumnTypeError(
                    f"Column '{now.name}' is of type {now.type.simpleString()}, but the model was fitted on "
                    f"{then.type.simpleString()}. Cast it to the type in fit."
                )
        return keys

    def _plan(self, df: DataFrame | None = None) -> Plan:
        plan = super()._plan(df)
        for name, fitted in (("groupCols", self._groups), ("asOf", self._groups and self._groups.as_of)):
            if self.isSet(name) and not fitted:
                raise self._fail(f"{name} is set, but the model was fitted without it. Fit with it, or clear it.")
        if self._groups is None:
            return plan
        features = [slice(0, self.numFeatures)] if self._assembles else slices_of(plan.inputs)
        by_key = self._by_key(df, features, inverse=False)
        assert by_key is not None  # noqa: S101  # with groups
        return replace(plan, maps=by_key[0], groups=by_key[1])

    def _by_key(
        self, df: DataFrame | None, features: Sequence[slice], *, inverse: bool
    ) -> tuple[list[ColumnMap], MapTable | None] | None:
        if self._groups is None:
            return None
        bounds = None if inverse else self._bounds()
        fills = not inverse and self.getOrDefault("fillInvalid") is not None
        by_key = replace(self._key_map(inverse), bounds=bounds, fills=fills)
        maps: list[ColumnMap] = [replace(by_key, entry=self._entry_sql(of_column)) for of_column in features]
        return maps, None if df is None else self._map_table(df, self._groups, inverse=inverse)

    def _key_map(self, inverts: bool) -> ByKey:
        """Return the map of a row by the numbers of its key."""
        return AffineByKey(inverts)

    def _map_table(self, df: DataFrame, groups: Groups, *, inverse: bool) -> MapTable:
        """Return the maps of all keys."""
        if gpu.effective_device(self.getDevice(), df.sparkSession) != "cpu":
            LOG.info("%s: transform by key runs on the CPU.", type(self).__name__)
        keys, unseen = self._keys_in(df), self.getHandleUnseen()
        refuse, replaces = unseen == "error", unseen == "global"
        with translate_job_errors():
            if groups.history is not None:
                table, names, as_of = self._as_of_table(groups.history, inverse=inverse, unseen=replaces)
                return MapTable(table, names, groups.table.small, keys, None, refuse, as_of)
            maps = KeyMaps(self, inverse=inverse)
            table = groups.table.map_rows(maps, maps.names)
        return MapTable(table, maps.names, groups.table.small, keys, maps.of_all if replaces else None, refuse)

    def _as_of_table(self, history: History, *, inverse: bool, unseen: bool) -> tuple[DataFrame, Sequence[str], AsOf]:
        """Return the maps of what was known before, and the names of their numbers."""
        of_keys, of_all = self._maps_before(history, inverse=inverse), None
        if history.grouped:
            of_all = history.of_all.map_rows(self._maps_before(history.of_all, inverse=inverse), of_keys.names)
        small = history.of_all.table.small
        as_of = AsOf(history.values_sql, len(history.values), history.step, of_all, small, unseen)
        return history.map_rows(of_keys, of_keys.names), of_keys.names, as_of

    def _maps_before(self, history: History, *, inverse: bool) -> KeyMaps:
        least = None if history.grouped else 1  # without groups there are no other rows
        return KeyMaps(self, inverse=inverse, least=least, ahead=False)

    def _check_groups(self) -> None:
        """Refuse ranges that overflow, of any key."""
        if self._groups is None:
            return
        with translate_job_errors():
            history = self._groups.history
            if history is not None:
                history.values  # noqa: B018  # refuses too many, and rows without one
                history.check(self._maps_before(history, inverse=False))
            else:
                self._groups.table.check_rows(KeyMaps(self, inverse=False))

    def _refuse_groups(self, what: str) -> None:
        if self._groups is not None:
            raise self._fail(
                f"{what} is of one map, and each group has its own. Call it on the model of a group: model.group(...)."
            )

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        extra, content = super()._saved()
        if self._groups is None:
            return extra, content
        entries = {"groups": to_json(self._groups.keys), "entries": len(self._source), "asOf": self._groups.as_of}
        total = set_of_one(type(self._source))([self._source])
        return {**extra, **entries}, SavedTable(self._groups.table, tuple(self._groups.names), total)

    @classmethod
    def _saved_form(cls, extra: Mapping[str, Any]) -> type[Mergeable] | Form | None:
        statistic_class = cls._saved_class(extra)
        if "groups" not in extra or statistic_class is None:
            return statistic_class
        return form_of(extra, set_of_one(statistic_class), storage.typed_entry(extra, "entries", int))

    def _restore(self, extra: Mapping[str, Any], content: Any) -> None:
        if "groups" not in extra or content is None:
            super()._restore(extra, content)
            return
        if content.total is None:
            raise storage.MalformedError("total is missing")
        super()._restore(extra, content.total.statistics[0])
        self._groups = Groups(
            keys_of(extra), content.table, storage.typed_entry({"asOf": False, **extra}, "asOf", bool)
        )

    def _overview(self) -> tuple[str, Features | None]:
        text, features = super()._overview()
        if self._groups is None:
            return text, features
        return f"{text}; {self.numGroups:,} groups by {', '.join(self._groups.names)}", features
