"""Tables of statistics whose first key column is the id of a batch of a stream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.types import LongType

from sparkscale.spark import sql
from sparkscale.spark.fit.table_rows import key_type
from sparkscale.spark.fit.tables import StatisticTable

__all__ = ["joined", "split", "with_batch"]


def with_batch(table: StatisticTable, batch_id: int, kept: int) -> StatisticTable:
    """Return a table with the id of a batch as first key column, and the first ``kept`` of its own."""
    fields = ", ".join([f"bigint({batch_id}) AS k0", *(f"b.k{i} AS k{i + 1}" for i in range(kept))])
    df = sql.select(table.df, f"struct({fields}) AS b", *table.statistic_class.classes)
    types = [LongType(), *(field.dataType for field in table.key_type.fields[:kept])]
    return replace(table, source=df, key_type=key_type(types), local=None)


def joined(table: StatisticTable, other: StatisticTable) -> StatisticTable:
    """Return the table of the rows of both, which have no key in common."""
    return replace(table, source=table.df.unionByName(other.df), rows=table.rows + other.rows, local=None)


def split(table: StatisticTable, batch_id: int) -> tuple[StatisticTable, StatisticTable]:
    """Return the table of the batches before one, and of that one."""
    if table.local is not None:
        ids = pc.struct_field(table.local.column("b"), [0]).to_numpy()
        places = (np.flatnonzero(mask) for mask in (ids < batch_id, ids == batch_id))
        before, last = (table.of_local(table.local.take(pa.array(rows))) for rows in places)
    else:
        before, last = (table.of(sql.where(table.df, f"b.k0 {sign} {batch_id}")) for sign in ("<", "="))
    return before, last
