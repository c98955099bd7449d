"""Fit by key: the statistics of each key in one scan, as a table.

Scalars are aggregated by Spark's GROUP BY where that is exact, everything else by the keyed scan through Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import BooleanType, IntegerType, StructField, StructType

from sparkscale.layout import Layout
from sparkscale.spark import sql, tasks
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import aggregates, partials
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.fit.key_runs import slices
from sparkscale.spark.fit.keyed import KeyedPart, iter_parts, scan_by_key
from sparkscale.spark.fit.merging import refuse_sizes
from sparkscale.spark.fit.partials import JOINT
from sparkscale.spark.fit.selection import Group, column_groups, no_feature
from sparkscale.spark.fit.table_rows import encoded, key_type
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.frame import Frame
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.keys import KeyColumn, key_struct
from sparkscale.statistics import StatisticSet

__all__ = ["Keyed", "summarize_by_key"]


@dataclass(frozen=True)
class Keyed:
    """Statistics by key, and each column's size."""

    table: StatisticTable
    sizes: tuple[int, ...]


def summarize_by_key(
    df: DataFrame,
    columns: Sequence[FeatureColumn],
    keys: Sequence[KeyColumn],
    statistic_class: type[StatisticSet],
    *,
    handle_invalid: str = "keep",
    weight: FeatureColumn | None = None,
    layout: Layout | None = None,
) -> Keyed | None:
    """Compute statistics of the columns by key in one scan.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    columns : sequence of FeatureColumn
        The features.
    keys : sequence of KeyColumn
        The key columns.
    statistic_class : type of StatisticSet
        The statistics.
    handle_invalid, weight, layout : str, FeatureColumn or None, and Layout or None
        As in `scan.summarize`.

    Returns
    -------
    Keyed or None
        ``None`` if there is no row.
    """
    with translate_job_errors():
        frame = Frame(df)
        renamed = frame.read([*columns, *([weight] if weight else [])])
        columns, weight = renamed[: len(columns)], renamed[-1] if weight else None
        keys = frame.read(list(keys))
        scan = _Scan(
            frame.df, column_groups(columns), tuple(keys), statistic_class, handle_invalid, weight, Pool(layout)
        )
        if weight is None and aggregates.fit_in_a_query(columns, statistic_class, handle_invalid):
            table = scan.by_aggregates(columns)
        else:
            scan, table = scan.by_arrow()
        if table.rows == 0:
            return None
    sizes = {p: (g.column.size or 0) // len(g.positions) for g in scan.groups for p in g.positions}
    return Keyed(table, tuple(sizes[p] for p in sorted(sizes)))


@dataclass(frozen=True)
class _Scan:
    df: DataFrame
    groups: Sequence[Group]
    keys: tuple[KeyColumn, ...]
    statistic_class: type[StatisticSet]
    handle_invalid: str
    weight: FeatureColumn | None
    pool: Pool

    @property
    def key_type(self) -> StructType:
        return key_type([key.type for key in self.keys])

    @property
    def key_sql(self) -> str:
        return key_struct(self.keys)

    def _table(self, df: DataFrame) -> StatisticTable:
        entries = self.pool.entries(self.groups, [group.column.size or 0 for group in self.groups])
        return StatisticTable(df, self.key_type, self.statistic_class, entries)

    def by_aggregates(self, columns: Sequence[FeatureColumn]) -> StatisticTable:
        """Aggregate by Spark's GROUP BY, and scan only the keys again whose aggregates have lost digits."""
        names = [f"k{i}" for i in range(len(self.keys))]
        selected = sql.select(
            self.df,
            *(f"{key.sql} AS {name}" for key, name in zip(self.keys, names, strict=True)),
            *(f"{aggregates.valid_value(c, self.handle_invalid)} AS x{j}" for j, c in enumerate(columns)),
        )
        cells = [text.format(x=f"x{j}") for j in range(len(columns)) for text in self.statistic_class.aggregates]
        texts = ["double(count(*)) AS r", *(f"double({cell}) AS s{i}" for i, cell in enumerate(cells))]
        grouped = selected.groupBy(*names).agg(*map(sql.expr, texts))
        rows = sql.select(grouped, f"struct({', '.join(names)}) AS b", "r", *(f"s{i}" for i in range(len(cells))))
        table = self._table(rows)
        schema = StructType([*table.schema.fields, StructField("exact", BooleanType())])
        task = _OfAggregates(self.statistic_class, len(columns))
        table, (all_exact,) = table.with_totals(tasks.map_in_arrow(rows, task, schema), "every(exact)")
        if all_exact is not False:  # null if there is no row
            return table.without("exact")
        rows = table.source if table.local is None else table.spark.createDataFrame(table.local, schema)
        frame = Frame(self.df)
        key = frame.add(self.key_sql)
        inexact = sql.select(sql.where(rows, "NOT exact"), "b AS inexact")
        again = frame.df.join(inexact, frame.df[key] == inexact["inexact"], "left_semi")
        exact = sql.where(rows, "exact").drop("exact")
        scan = replace(self, df=again)
        return table.of(exact.unionByName(scan._assembled(scan._rows())))

    def by_arrow(self) -> tuple[_Scan, StatisticTable]:
        """Scan through Arrow; return the scan with the sizes of all columns, too, which rows tell if metadata do not."""
        unsized = [k for k, group in enumerate(self.groups) if not group.sized]
        names = [_size_name(k) for k in unsized]
        df = self._assembled(self._rows(), names)
        sizes = (text.format(name) for name in names for text in ("max({})", "min({})", "min(nullif({}, 0))"))
        table, totals = self._table(self.df).with_totals(df, *sizes)
        if not unsized or not table.rows:
            return self, table
        groups = [*self.groups]
        for k, largest, least in zip(unsized, totals[::3], totals[2::3], strict=True):
            column = groups[k].column
            if not largest:
                raise no_feature(column)
            if least != largest:
                refuse_sizes(groups[k], least, largest)
            groups[k] = replace(groups[k], column=replace(column, size=largest))
        scan = replace(self, groups=groups)
        if not all(totals[1::3]):  # some keys have nothing but nulls, and no row of their tasks showed the size
            return scan.by_arrow()
        return scan, replace(table.without(*names), features=scan._table(self.df).features)

    def _rows(self) -> DataFrame:
        return scan_by_key(
            self.df,
            self.groups,
            self.key_sql,
            self.key_type,
            self.statistic_class,
            handle_invalid=self.handle_invalid,
            weight=self.weight,
            pool=self.pool,
        )

    def _assembled(self, rows: DataFrame, sizes: Sequence[str] = ()) -> DataFrame:
        """Return the rows of a table, and columns with the sizes of groups, by name."""
        schema = StructType([*self._table(rows).schema.fields, *(StructField(name, IntegerType()) for name in sizes)])
        return tasks.map_in_arrow(rows, _Assembled(self.groups, self.statistic_class, self.pool), schema)


@dataclass(frozen=True)
class _OfAggregates:
    """A task that turns aggregates into statistics."""

    statistic_class: type[StatisticSet]
    features: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in slices(batches):
            if not batch.num_rows:
                continue
            rows, *cells = (column.to_numpy(zero_copy_only=False) for column in batch.columns[1:])
            table = np.array(cells).reshape(self.features, -1, batch.num_rows)  # feature, aggregate, key
            arrays = [np.ascontiguousarray(array.T) for array in table.transpose(1, 0, 2)]
            statistic = self.statistic_class.of_aggregates(rows[:, None], *arrays)
            exact = self.statistic_class.exact_aggregates(*arrays).all(axis=1)
            yield encoded(batch.column("b"), statistic).append_column("exact", pa.array(exact))


@dataclass(frozen=True)
class _Assembled:
    """A task that puts the features of all columns of a key into one row, in the order of the columns."""

    groups: Sequence[Group]
    statistic_class: type[StatisticSet]
    pool: Pool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts: list[KeyedPart] = []
        for k, part in iter_parts(batches, self.groups, self.statistic_class):
            parts.append(part)
            if k == (JOINT if self.statistic_class.joint else len(self.groups) - 1):
                yield self._rows(parts)
                parts = []

    def _rows(self, parts: Sequence[KeyedPart]) -> pa.RecordBatch:
        """Return the rows of keys, given the parts of all groups, and the joint one."""
        of_groups = parts[: len(self.groups)]
        separate = self._in_column_order([self._complete(part, k) for k, part in enumerate(of_groups)])
        joint = None
        if self.statistic_class.joint:
            nothing = partials.class_of(self.statistic_class, JOINT).missing(sum(part.size for part in of_groups), 0)
            joint = _scattered(parts[-1], nothing)
        rows = encoded(parts[0].keys, self.statistic_class.of_both(separate, joint))
        for k, part in enumerate(of_groups):
            if not self.groups[k].sized:
                rows = rows.append_column(_size_name(k), pa.array(np.full(len(part.keys), part.size, np.int32)))
        return rows

    def _complete(self, part: KeyedPart, k: int) -> Any:
        """Return the statistics of all keys, null rows included; without features if their number is unknown yet."""
        one_class = partials.class_of(self.statistic_class, k)
        if not part.size:
            return _scattered(part, one_class.missing(0, 0.0))
        whole = _scattered(part, self.pool.missing(one_class, part.size, 0.0, self.groups[k]))
        return self.pool.with_nulls(whole, part.nulls, part.size)

    def _in_column_order(self, statistics: Sequence[Any]) -> StatisticSet:
        rows = len(statistics[0])
        starts = 0
        places: dict[int, Any] = {}
        for group, statistic in zip(self.groups, statistics, strict=True):
            size = statistic.count.shape[1]
            features = starts + np.arange(rows)[:, None] * size + np.arange(size)
            width = size // len(group.positions)
            places |= {p: features[:, i * width : (i + 1) * width] for i, p in enumerate(group.positions)}
            starts += rows * size
        order = np.concatenate([places[p] for p in sorted(places)], axis=1)
        separate = self.statistic_class.separate()
        if not order.size:  # the size of no column is known yet
            return separate.missing(0, 0).as_row().take(np.zeros(rows, np.intp))
        joined = separate.concat([s.raveled() for s in statistics])
        return joined.take(order.ravel())._in_rows(order.shape[1])


def _scattered(part: KeyedPart, nothing: Any) -> Any:
    """Return the statistics of all keys; of those that have none, of no data."""
    statistic = nothing.as_row().take(np.array([], np.intp)) if part.statistic is None else part.statistic
    return statistic.scatter(part.places, len(part.keys))


def _size_name(group: int) -> str:
    """Return the column of the size of a group."""
    return f"n{group}"
