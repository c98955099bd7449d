"""Fit by key: the statistics of each key in one scan, as a table.

Scalars are aggregated by Spark's GROUP BY where that is exact, everything else by the keyed scan through Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.types import BooleanType, StructField, StructType

from sparkscale.layout import Layout
from sparkscale.spark import sql, tasks
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import aggregates, keyed, partials
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.fit.key_runs import slices
from sparkscale.spark.fit.keyed import KeyedPart, iter_parts, scan_by_key
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
            scan = scan.sized()
            table = scan.by_arrow()
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
    rows: DataFrame | None = None

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
        table = table.of(tasks.map_in_arrow(rows, _OfAggregates(self.statistic_class, len(columns)), schema))
        rows = table.source
        if table.local is not None:
            if pc.all(table.local.column("exact")).as_py() is not False:
                return replace(table, local=table.local.drop_columns(["exact"]))
            rows = table.spark.createDataFrame(table.local, schema)
        elif sql.where(rows, "NOT exact").isEmpty():
            return replace(table, source=rows.drop("exact"))
        frame = Frame(self.df)
        key = frame.add(self.key_sql)
        inexact = sql.select(sql.where(rows, "NOT exact"), "b AS inexact")
        again = frame.df.join(inexact, frame.df[key] == inexact["inexact"], "left_semi")
        exact = sql.where(rows, "exact").drop("exact")
        scan = replace(self, df=again)
        return table.of(exact.unionByName(scan._assembled(scan._rows())))

    def sized(self) -> _Scan:
        """Return the scan with the sizes of all columns; if metadata lack them, after it has run."""
        if all(group.sized for group in self.groups):
            return self
        merged = keyed.merge_by_key(self._rows(), self.groups, self.statistic_class, self.key_type)
        rows = merged.localCheckpoint()
        sizes: dict[int, int] = dict(rows.groupBy("group").agg(sql.expr("int(max(get(numbers, 0)))")).collect())
        groups = []
        for k, group in enumerate(self.groups):
            size = sizes.get(k)
            if sizes and not size:
                raise no_feature(group.column)
            groups.append(replace(group, column=replace(group.column, size=size)))
        return replace(self, groups=groups, rows=rows.sortWithinPartitions("b", "group"))

    def by_arrow(self) -> StatisticTable:
        """Scan through Arrow."""
        rows = self._rows() if self.rows is None else self.rows
        return self._table(self.df).of(self._assembled(rows))

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

    def _assembled(self, rows: DataFrame) -> DataFrame:
        table = self._table(rows)
        return tasks.map_in_arrow(rows, _Assembled(self.groups, self.statistic_class, self.pool), table.schema)


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
        statistics: list[Any] = []
        last = JOINT if self.statistic_class.joint else len(self.groups) - 1
        for k, part in iter_parts(batches, self.groups, self.statistic_class):
            statistics.append(self._complete(part, k))
            if k == last:
                joint = statistics.pop() if k == JOINT else None
                yield encoded(part.keys, self.statistic_class.of_both(self._in_column_order(statistics), joint))
                statistics = []

    def _complete(self, part: KeyedPart, k: int) -> Any:
        """Return the statistics of all keys, null rows included."""
        statistic = part.statistic
        if statistic is None:
            one_class = partials.class_of(self.statistic_class, k)
            if k == JOINT:
                nothing = one_class.missing(sum(group.column.size or 0 for group in self.groups), 0)
            else:
                nothing = self.pool.missing(one_class, part.size, 0.0, self.groups[k])
            statistic = nothing.as_row().take(np.array([], np.intp))
        whole = statistic.scatter(part.places, len(part.keys))
        return whole if k == JOINT else self.pool.with_nulls(whole, part.nulls, part.size)

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
        joined = self.statistic_class.separate().concat([s.raveled() for s in statistics])
        return joined.take(order.ravel())._in_rows(order.shape[1])
