"""Fit: one scan of the data into one merged statistic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkscale.errors import EmptyDataError, SizeMismatchError, from_job, marked
from sparkscale.spark import aggregates, arrow, jvm
from sparkscale.spark.arrow import Group
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Fold, Statistic

__all__ = ["Summary", "collect", "summarize"]

DRIVER_BYTES = 1 << 28  # what the driver collects at most without merging on executors first
UNKNOWN_PARTITIONS, UNKNOWN_FEATURES = 100_000, 1_000_000
FAN_IN = 512  # partial statistics merged by one task


@dataclass(frozen=True)
class Summary:
    """The merged statistic of all features, in the order of the columns, and each column's size."""

    statistic: Statistic
    sizes: tuple[int, ...]


def summarize(
    df: DataFrame,
    columns: Sequence[FeatureColumn],
    statistic: type[Statistic],
    *,
    handle_invalid: str = "keep",
    weight: FeatureColumn | None = None,
) -> Summary | None:
    """Compute a statistic of the columns in one scan.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    columns : sequence of FeatureColumn
        The features.
    statistic : type of Statistic
        What to compute.
    handle_invalid : {"keep", "skip", "error"}
        Whether rows with an invalid value are dropped, or make the job fail.
    weight : FeatureColumn, optional
        Row weights.

    Returns
    -------
    Summary or None
        ``None`` if there is no row.

    Raises
    ------
    InvalidValueError
        For an invalid value under ``"error"``, or an unusable weight.
    SizeMismatchError
        If the rows of a column differ in length.
    """
    try:
        found = None
        if weight is None and aggregates.suits(df, columns, statistic, handle_invalid):
            found = aggregates.summarize(df, columns, statistic, strict=handle_invalid == "error")
        if found is not None:
            return Summary(found, (1,) * len(columns)) if found.count.size and _rows(found) else None
        return _scan(df, columns, statistic, handle_invalid, weight)
    except Exception as failure:
        ours = from_job(failure)
        if ours is None:
            raise
        raise ours from failure


def _rows(statistic: Statistic) -> bool:
    return bool(np.any(statistic.count + statistic.invalid > 0))


def _scan(
    df: DataFrame,
    columns: Sequence[FeatureColumn],
    statistic: type[Statistic],
    handle_invalid: str,
    weight: FeatureColumn | None,
) -> Summary | None:
    parts = arrow.groups(columns)
    selected = arrow.select(df, parts, handle_invalid == "error", weight)
    schema = "partition int, sizes array<int>, nulls array<double>, " + ", ".join(
        f"{name} array<double>" for name in statistic.names()
    )
    of_partition = partial(_of_partition, parts=parts, statistic=statistic, skip=handle_invalid == "skip")
    partials = selected.mapInArrow(of_partition, schema)
    if not _collectable(df, parts, statistic):
        merge = partial(_merge_rows, parts=parts, statistic=statistic)
        # Rows of one group meet in one task and are merged in partition order, so that a fit repeats exactly.
        partials = (
            partials.selectExpr("*", f"partition div {FAN_IN} AS task")
            .repartition("task")
            .sortWithinPartitions("partition")
            .drop("task")
            .mapInArrow(merge, schema)
        )
    rows = collect(partials)
    states = [_State.of_row(row, parts, statistic) for row in sorted(rows, key=lambda r: r["partition"])]
    if not states:
        return None
    return _summary(_merged(states, parts), parts, statistic)


def _collectable(df: DataFrame, parts: Sequence[Group], statistic: type[Statistic]) -> bool:
    """Whether the driver may collect one row a partition; only what is not known is taken to be large."""
    partitions = jvm.partitions(df) or UNKNOWN_PARTITIONS
    features = sum(g.column.size if g.column.size is not None else UNKNOWN_FEATURES for g in parts)
    return partitions * features * len(statistic.names()) * 8 <= DRIVER_BYTES


def collect(df: DataFrame) -> list[dict[str, Any]]:
    """Bring rows of numbers and arrays to the driver, the arrays as NumPy's."""
    # PySpark 3.5 has no public way.
    batches = df.toArrow().to_batches() if hasattr(df, "toArrow") else df._collect_as_arrow()  # type: ignore[operator]
    return [row for batch in batches for row in _rows_of(batch)]


def _rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    for i in range(batch.num_rows):
        yield {
            name: column[i].values.to_numpy(zero_copy_only=False)
            if pa.types.is_list(column.type)
            else column[i].as_py()
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }


@dataclass
class _State:
    """What is known of each group after some rows."""

    partition: int
    sizes: list[int | None]
    nulls: list[float]
    folds: list[Fold] = field(default_factory=list)

    @classmethod
    def empty(cls, partition: int, parts: Sequence[Group]) -> _State:
        return cls(partition, [g.column.size for g in parts], [0.0] * len(parts), [Fold() for _ in parts])

    @classmethod
    def of_row(cls, row: dict[str, Any], parts: Sequence[Group], statistic: type[Statistic]) -> _State:
        state = cls.empty(row["partition"], parts)
        sizes = [int(n) for n in row["sizes"]]
        whole = statistic.from_arrays(row)
        for k, piece in enumerate(whole.split(sizes)):
            state.sizes[k] = sizes[k] or state.sizes[k]
            if sizes[k]:
                state.folds[k].add(piece)
        state.nulls = [float(n) for n in row["nulls"]]
        return state

    def add(self, other: _State, parts: Sequence[Group]) -> None:
        for k, group in enumerate(parts):
            one, two = self.sizes[k], other.sizes[k]
            if one and two and one != two:
                message = arrow.mismatch(group.column, one, two)
                raise SizeMismatchError(marked(SizeMismatchError, message))
            self.sizes[k] = one or two
            self.nulls[k] += other.nulls[k]
            found = other.folds[k].result()
            if found is not None:
                self.folds[k].add(found)

    def row(self, statistic: type[Statistic]) -> pa.RecordBatch:
        found = [fold.result() for fold in self.folds]
        present = [f for f in found if f is not None]
        whole = statistic.concat(present) if present else statistic.missing(0, 0)
        cells: dict[str, Any] = {
            "partition": pa.array([self.partition], pa.int32()),
            "sizes": pa.array([[0 if f is None else len(f) for f in found]], pa.list_(pa.int32())),
            "nulls": pa.array([self.nulls], pa.list_(pa.float64())),
        }
        for name, values in whole.arrays().items():
            cells[name] = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), pa.array(values))
        return pa.RecordBatch.from_pydict(cells)


def _of_partition(
    batches: Iterator[pa.RecordBatch], *, parts: Sequence[Group], statistic: type[Statistic], skip: bool
) -> Iterator[pa.RecordBatch]:
    from pyspark import TaskContext  # noqa: PLC0415  # a pure Connect client lacks it; workers have it

    context = TaskContext.get()
    state = _State.empty(context.partitionId() if context else 0, parts)
    seen = False
    for batch in arrow.rows_of(batches):
        seen = True
        _add_batch(state, batch, parts, statistic, skip)
    if seen:
        yield state.row(statistic)


def _add_batch(
    state: _State, batch: pa.RecordBatch, parts: Sequence[Group], statistic: type[Statistic], skip: bool
) -> None:
    weights = batch.column("w").to_numpy() if "w" in batch.schema.names else None
    decoded = []
    keep = np.ones(batch.num_rows, dtype=bool) if skip else None
    for k, group in enumerate(parts):
        pieces, null, state.sizes[k] = arrow.blocks(batch, k, group, state.sizes[k])
        decoded.append(pieces)
        if null is not None:
            state.nulls[k] += float(null.sum())
        if keep is not None:
            keep &= _complete(pieces, batch.num_rows)
    for k, pieces in enumerate(decoded):
        for piece in pieces:
            block = arrow.with_weights(piece, weights)
            if keep is None:
                state.folds[k].add(statistic.of(block))
            else:  # the counts of invalid values are of all rows, the rest is of the rows kept
                kept = statistic.of(block[keep if piece.rows is None else keep[piece.rows]])
                state.folds[k].add(replace(kept, invalid=block.invalid()))


def _complete(pieces: Sequence[arrow.Piece], rows: int) -> arrow.Mask:
    complete = np.zeros(rows, dtype=bool)
    for piece in pieces:
        complete[slice(None) if piece.rows is None else piece.rows] = piece.block.complete()
    return complete


def _merge_rows(
    batches: Iterator[pa.RecordBatch], *, parts: Sequence[Group], statistic: type[Statistic]
) -> Iterator[pa.RecordBatch]:
    """Merge the rows of each run of ``FAN_IN`` partitions; they come in partition order."""
    state: _State | None = None
    for row in (r for batch in batches for r in _rows_of(batch)):
        next_state = _State.of_row(row, parts, statistic)
        if state is not None and state.partition // FAN_IN == next_state.partition // FAN_IN:
            state.add(next_state, parts)
            continue
        if state is not None:
            yield state.row(statistic)
        state = next_state
    if state is not None:
        yield state.row(statistic)


def _merged(states: Sequence[_State], parts: Sequence[Group]) -> _State:
    first, *others = states
    for state in others:
        first.add(state, parts)
    return first


def _summary(state: _State, parts: Sequence[Group], statistic: type[Statistic]) -> Summary:
    """Add the rows that were null altogether, and put the features into the order of the columns."""
    found: dict[int, Statistic] = {}
    for k, group in enumerate(parts):
        size, merged = state.sizes[k], state.folds[k].result()
        if not size:
            raise EmptyDataError(
                f"Column '{group.column.name}' has no feature: every row is null or of length 0. "
                "fit needs at least one row that is not."
            )
        if state.nulls[k] or merged is None:
            nulls = statistic.missing(size, state.nulls[k])
            merged = nulls if merged is None else merged.merge(nulls)
        found.update(
            zip(group.positions, merged.split([size // len(group.positions)] * len(group.positions)), strict=True)
        )
    ordered = [found[i] for i in sorted(found)]
    return Summary(statistic.concat(ordered), tuple(len(s) for s in ordered))
