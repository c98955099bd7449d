"""What a profile holds: its columns, keys, options and statistics, as they are saved and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame, SparkSession

from sparkscale.errors import ParamError
from sparkscale.layout import Layout
from sparkscale.scalers import _saved_columns as saved_columns
from sparkscale.scalers._keys import form_of, keys_of, to_json
from sparkscale.scalers._persistence import Content, Saved, SavedTable
from sparkscale.scalers._profile_arguments import HANDLE_INVALID
from sparkscale.scalers._statistics import NAMES, set_of
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.keys import KeyColumn
from sparkscale.spark.saved_tables import Form, named
from sparkscale.statistics import StatisticSet

__all__ = ["ProfileBase"]

B = TypeVar("B", bound="ProfileBase")


class ProfileBase(Saved):
    """Base of `Profile`."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[FeatureColumn, ...] = ()
        self._keys: tuple[KeyColumn, ...] = ()
        self._content: StatisticSet | StatisticTable | None = None
        self._options: dict[str, Any] = {}
        self._total: Any = None
        self._batch_id: int | None = None  # the last one of those that a stream has added

    @classmethod
    def _made(
        cls: type[B],
        columns: Sequence[FeatureColumn],
        keys: Sequence[KeyColumn],
        options: Mapping[str, Any],
        content: Any,
    ) -> B:
        profile = cls()
        profile._columns, profile._keys, profile._content = tuple(columns), tuple(keys), content
        profile._options = dict(options)
        return profile

    def _with(self: B, content: Any, keys: Sequence[KeyColumn] | None = None) -> B:
        return self._made(self._columns, self._keys if keys is None else keys, self._options, content)

    @property
    def inputCols(self) -> list[str]:
        """The names of the columns."""
        return [c.name for c in self._columns]

    @property
    def groupCols(self) -> list[str]:
        """The names of the key columns; empty if there is no key."""
        return [key.name for key in self._keys]

    @property
    def statistics(self) -> list[str]:
        """The names of the statistics."""
        return [*self._class.classes]

    @property
    def handleInvalid(self) -> str:
        """How invalid values were handled."""
        return self._options["handleInvalid"]  # type: ignore[no-any-return]

    @property
    def weightCol(self) -> str | None:
        """The name of the column of row weights, or None."""
        return self._options["weightCol"]  # type: ignore[no-any-return]

    @property
    def relativeError(self) -> float:
        """The error of the ranks of quantiles."""
        return self._options["relativeError"]  # type: ignore[no-any-return]

    @property
    def numFeatures(self) -> int:
        """Total number of features of all columns."""
        return sum(c.size or 0 for c in self._columns)

    @property
    def featureNames(self) -> list[str]:
        """The name of each feature."""
        return [name for column in self._columns for name in column.feature_names()]

    @property
    def numGroups(self) -> int:
        """Number of keys; 1 without ``groupCols``."""
        content = self._held
        return content.rows if isinstance(content, StatisticTable) else 1

    @property
    def table(self) -> DataFrame:
        """The statistics as a DataFrame: the key columns, then of each statistic a struct of arrays; one row per key.

        An entry of an array belongs to a feature, in the order of ``featureNames``; in "coMoments", ``comoments`` is a
        matrix, row after row; in "quantiles", ``sizes`` has the number of kept values of each feature and level, and
        ``values`` these values.
        """
        return named(self._table.df, self.groupCols, self._class.classes)

    @property
    def _held(self) -> StatisticSet | StatisticTable:
        if self._content is None:
            raise ParamError("Profile has no statistics: use Profile.of, or Profile.load.")
        return self._content

    @property
    def _class(self) -> type[StatisticSet]:
        content = self._held
        return content.statistic_class if isinstance(content, StatisticTable) else type(content)

    @property
    def _table(self) -> StatisticTable:
        """The table; of a profile without keys, one row."""
        content = self._held
        if isinstance(content, StatisticTable):
            return content
        session = SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
        return StatisticTable.of_one(session, content)

    def _features_of(self, columns: Sequence[FeatureColumn], layout: Layout | None = None) -> npt.NDArray[np.intp]:
        """Return the features of some columns; with a layout, those of each channel."""
        ends = np.cumsum([0, *(c.size or 0 for c in self._columns)])
        starts = dict(zip(self.inputCols, ends, strict=False))
        if layout is None:
            return np.concatenate([starts[c.name] + np.arange(c.size or 0) for c in columns])
        sizes = {c.name: c.size or 0 for c in self._columns}
        of_columns = [starts[c.name] + layout.sized(sizes[c.name]).features() for c in columns]
        if len({len(places) for places in of_columns}) > 1:
            lengths = ", ".join(f"'{c.name}' of {sizes[c.name]}" for c in columns)
            raise ParamError(
                f"Columns of a profile that are pooled by shape {list(layout.shape)} must have the same length: {lengths}. Fit "
                "on a DataFrame, or each column on its own."
            )
        return np.concatenate(of_columns, axis=1)

    def _described(self) -> dict[str, Any]:
        """Return what profiles must share to be merged, by name."""
        columns = [(c.name, "scalar" if c.kind == "scalar" else f"{c.size} features") for c in self._columns]
        keys = [f"{key.name} {key.type.simpleString()}" for key in self._keys]
        relative = self.relativeError if "quantiles" in self.statistics else None
        return {
            "inputCols": columns,
            "groupCols": keys,
            "statistics": self.statistics,
            "handleInvalid": self.handleInvalid,
            "weightCol": self.weightCol,
            "relativeError": relative,
        }

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        extra = {
            "columns": saved_columns.to_json(self._columns),
            "groups": to_json(self._keys),
            "statistics": self.statistics,
            **({} if self._batch_id is None else {"batchId": self._batch_id}),
            **self._options,
        }
        total = self._total._held if self._keys and self._total else None
        return extra, SavedTable(self._table, tuple(self.groupCols), total)

    @classmethod
    def _saved_form(cls, extra: Mapping[str, Any]) -> Form:
        names, error = (
            storage.typed_entry(extra, "statistics", list),
            storage.typed_entry(extra, "relativeError", float),
        )
        unknown = [n for n in names if n not in NAMES]
        if unknown or not names or not 0 <= error <= 1:
            raise storage.MalformedError(f"statistics are {names}, with relativeError {error}")
        columns = saved_columns.from_json(storage.typed_entry(extra, "columns", list))
        return form_of(extra, set_of(names, error), sum(c.size or 0 for c in columns))

    def _restore(self, extra: Mapping[str, Any], content: Any) -> None:
        self._columns = tuple(saved_columns.from_json(storage.typed_entry(extra, "columns", list)))
        self._keys = keys_of(extra)
        self._batch_id = storage.typed_entry(extra, "batchId", int) if "batchId" in extra else None
        weight = extra.get("weightCol")
        if not isinstance(weight, str | None):
            raise storage.MalformedError(f"weightCol is {weight!r}")
        self._options = {
            "handleInvalid": storage.typed_entry(extra, "handleInvalid", str),
            "weightCol": weight,
            "relativeError": storage.typed_entry(extra, "relativeError", float),
        }
        if self._options["handleInvalid"] not in HANDLE_INVALID:
            raise storage.MalformedError(f"handleInvalid is {self._options['handleInvalid']!r}")
        self._content = content.table if self._keys else content.table.row()
        if content.total is not None:
            self._total = self._with(content.total, ())

    def _repr_html_(self) -> str:
        return f"<div><b>Profile</b>{escape(repr(self).removeprefix('Profile'))}</div>"

    def __repr__(self) -> str:
        if self._content is None:
            return "Profile"
        by = f" by {', '.join(self.groupCols)}: {self.numGroups:,} keys" if self._keys else ""
        return f"Profile of {self.numFeatures:,} features{by}; {', '.join(self.statistics)}"
