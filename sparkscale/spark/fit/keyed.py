"""Scan by key: the statistics of each key, across partitions.

Partitioning does not affect the result. Tasks compute on arrays that are indexed by key and feature, without a loop
over keys, since there may be as many keys as rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkscale.spark import gpu, tasks
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import batching, partials
from sparkscale.spark.fit.blocks import Pool, add_batch
from sparkscale.spark.fit.merging import refuse_sizes
from sparkscale.spark.fit.selection import Group, column_groups, select
from sparkscale.spark.keys import KeyColumn
from sparkscale.statistics import PerFeature
from sparkscale.statistics._reductions import run_starts

__all__ = ["KeyedPart", "KeyedScan", "iter_parts", "scan_by_key"]

Numbers = npt.NDArray[np.intp]

MOST_NUMBERS = 1 << 22  # that a task keeps for all keys before it sends them
ROWS_TO_MERGE = 64  # of a key that goes on in the next batch, so that it holds no more numbers than it must
MERGED_NUMBERS = 1 << 18  # a task merges again at this many numbers plus twice those of the last merge


@dataclass(frozen=True, eq=False)
class KeyedPart:
    """The statistics of a group of columns by key.

    Parameters
    ----------
    keys : pyarrow.Array
        Distinct keys.
    size : int
        Number of features of the group; 0 if unknown.
    nulls : numpy.ndarray of float64, shape (n_keys,)
        Number of rows of each key in which the whole array or vector is null.
    places : numpy.ndarray of int, shape (n,)
        Which keys have a statistic.
    statistic : PerFeature or None
        The statistics of these keys, one row per key; ``None`` if there are none.
    """

    keys: pa.Array
    size: int
    nulls: npt.NDArray[np.float64]
    places: Numbers
    statistic: Any | None


def scan_by_key(
    df: DataFrame,
    columns: Sequence[FeatureColumn],
    key: KeyColumn,
    key_sql: str,
    statistic_class: type[PerFeature],
    *,
    handle_invalid: str = "keep",
    weight: FeatureColumn | None = None,
    device: str = "cpu",
    pool: Pool,
) -> DataFrame:
    """Return the statistics of each key as rows of ``partials.schema(key.type)``; each key is in one partition.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data. All columns must be readable by SQL text.
    columns : sequence of FeatureColumn
        The features.
    key : KeyColumn
        The key column.
    key_sql : str
        The keys as SQL text.
    statistic_class : type of PerFeature
        The statistic to compute.
    handle_invalid, weight, device : str, FeatureColumn or None, and str
        As in `scan.summarize`.
    pool : Pool
        How features are pooled into entries.
    """
    groups, schema = column_groups(columns), partials.schema(key.type)
    selected = select(df, groups, handle_invalid, weight, key_sql)
    scan = KeyedScan(groups, statistic_class, handle_invalid == "skip", device, pool)
    rows = tasks.map_in_arrow(selected, scan, schema)
    rows = rows.repartition("b").sortWithinPartitions("b", "group", "partition", "start")
    return tasks.map_in_arrow(rows, MergeByKey(groups, statistic_class), schema)


class KeyedState:
    """The state of a task for a group of columns, by key."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.keys: pa.Array | None = None  # of the current batch
        self._statistics: list[tuple[pa.Array, Any]] = []
        self._nulls: list[tuple[pa.Array, npt.NDArray[np.float64]]] = []
        self._merged = 0  # numbers after the last merge

    def add(self, statistic: Any, runs: Numbers) -> None:
        """Add the statistics of the runs of a block."""
        assert self.keys is not None  # noqa: S101  # set for each batch
        self._statistics.append((self.keys.take(pa.array(runs[run_starts(runs)])), statistic))
        if self.numbers > 2 * self._merged + MERGED_NUMBERS:
            self._statistics = [merged(self._statistics)]
            self._merged = self.numbers

    def add_nulls(self, null: npt.NDArray[np.bool_], runs: Numbers) -> None:
        """Count rows in which the whole array or vector is null."""
        assert self.keys is not None  # noqa: S101
        if null.any():
            numbers, counts = np.unique(runs[null], return_counts=True)
            self._nulls.append((self.keys.take(pa.array(numbers)), counts.astype(np.float64)))

    @property
    def numbers(self) -> int:
        """How many numbers are in memory."""
        statistics: int = sum(s.held for _, s in self._statistics)
        return statistics + sum(len(counts) for _, counts in self._nulls)

    def rows(
        self, partition: int, group: int, order: int, statistic_class: type[PerFeature]
    ) -> Iterator[pa.RecordBatch]:
        """Return the state as rows, and reset it."""
        size = self.size or 0
        if self._statistics:
            keys, statistic = merged(self._statistics)
            for rows, arrays in statistic.row_arrays():
                yield partials.encode(partition, group, order, size, 0.0, arrays, keys.take(pa.array(rows)))
        for keys, counts in self._nulls:
            arrays = partials.no_arrays(statistic_class, len(keys))
            yield partials.encode(partition, group, order, size, counts, arrays, keys)
        self._statistics, self._nulls, self._merged = [], [], 0


def merged(statistics: Sequence[tuple[pa.Array, Any]]) -> tuple[pa.Array, Any]:
    """Merge statistics by key, those of each key in order."""
    if len(statistics) == 1:
        return statistics[0]
    codes = pa.chunked_array([keys for keys, _ in statistics]).combine_chunks().dictionary_encode()
    numbers = codes.indices.to_numpy()
    order = np.argsort(numbers, kind="stable")
    first = statistics[0][1]
    statistic = type(first).concat([s for _, s in statistics]).take(order)
    return codes.dictionary, statistic.merge_rows(numbers[order])


@dataclass(frozen=True)
class KeyedScan:
    """A task that computes the statistics of each key in its partition."""

    groups: Sequence[Group]
    statistic_class: type[PerFeature]
    skip: bool
    device: str
    pool: Pool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return partial statistics, keyed by ``b``."""
        partition, order = gpu.partition_id(), 0
        states = [KeyedState(group.column.size) for group in self.groups]
        with gpu.device_of_task(self.device) as worker:
            for batch in worker.rebatch(batching.drop_zero_weight(batches)):
                keys, runs, ordered = by_key(batch)
                for start, stop in self._ranges(runs, states):
                    for state in states:
                        state.keys = keys
                    rows = ordered.slice(start, stop - start)
                    add_batch(
                        states, rows, self.groups, self.statistic_class, self.skip, worker, self.pool, runs[start:stop]
                    )
                    if sum(state.numbers for state in states) > MOST_NUMBERS:
                        yield from self._rows(states, partition, order)
                        order += 1
        yield from self._rows(states, partition, order)

    def _ranges(self, runs: Numbers, states: Sequence[KeyedState]) -> Iterator[tuple[int, int]]:
        """Return ranges of rows whose keys' statistics are not more than what a task may hold."""
        starts, place, keys = [*run_starts(runs).tolist(), len(runs)], 0, 1
        while place < len(starts) - 1:
            sizes = [state.size for state in states]
            # Of all features: before they are pooled, each key has statistics of every one.
            numbers = self.statistic_class.numbers(sum(size or 0 for size in sizes))
            keys = 2 * keys if None in sizes else len(starts)  # few, until a row shows each size
            keys = min(keys, max(1, MOST_NUMBERS // max(numbers, 1)))
            end = min(place + keys, len(starts) - 1)
            yield starts[place], starts[end]
            place = end

    def _rows(self, states: Sequence[KeyedState], partition: int, order: int) -> Iterator[pa.RecordBatch]:
        for k, state in enumerate(states):
            yield from state.rows(partition, k, order, self.statistic_class)


def by_key(batch: pa.RecordBatch) -> tuple[pa.Array, Numbers, pa.RecordBatch]:
    """Return the distinct keys of a batch, the index of each row's key, and the batch, both sorted by that index."""
    codes = batch.column("b").dictionary_encode()
    numbers = codes.indices.to_numpy().astype(np.intp)
    if np.any(np.diff(numbers) < 0):
        order = np.argsort(numbers, kind="stable")
        batch, numbers = batch.take(pa.array(order)), numbers[order]
    return codes.dictionary, numbers, batch


@dataclass(frozen=True)
class MergeByKey:
    """A task that merges the statistics of each key from several partitions, in order."""

    groups: Sequence[Group]
    statistic_class: type[PerFeature]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return one row per key and group."""
        for k, part in iter_parts(batches, self.groups, self.statistic_class):
            yield from _encoded(part, k, self.statistic_class)


def _encoded(part: KeyedPart, group: int, statistic_class: type[PerFeature]) -> Iterator[pa.RecordBatch]:
    """Return the statistics of keys as rows, one for each."""
    only_null = np.setdiff1d(np.arange(len(part.keys)), part.places)
    statistics = [] if part.statistic is None else part.statistic.row_arrays()
    with_places = ((part.places[rows], arrays) for rows, arrays in statistics)
    for places, arrays in (*with_places, (only_null, partials.no_arrays(statistic_class, len(only_null)))):
        if len(places):
            keys = part.keys.take(pa.array(places))
            yield partials.encode(0, group, 0, part.size, part.nulls[places], arrays, keys)


def iter_parts(
    batches: Iterator[pa.RecordBatch], groups: Sequence[Group], statistic_class: type[PerFeature]
) -> Iterator[tuple[int, KeyedPart]]:
    """Return the statistics of complete keys, by group, from rows sorted by key. No key is split over several parts."""
    sizes = [group.column.size or 0 for group in groups]

    def merged_parts(batch: pa.RecordBatch) -> Iterator[tuple[int, KeyedPart]]:
        codes = batch.column("b").dictionary_encode()
        numbers, group_of_row = codes.indices.to_numpy().astype(np.intp), batch.column("group").to_numpy()
        for k in range(len(groups)):
            rows = np.flatnonzero(group_of_row == k)
            group_rows = batch.take(pa.array(rows))
            for size in partials.distinct_sizes(group_rows):
                if sizes[k] and size != sizes[k]:
                    refuse_sizes(groups[k], sizes[k], size)
                sizes[k] = size
            nulls, places, statistic = partials.decode(group_rows, statistic_class)
            key_nulls = np.bincount(numbers[rows], weights=nulls, minlength=len(codes.dictionary)).astype(np.float64)
            if statistic is not None:
                key_numbers = numbers[rows[places]]
                statistic, places = statistic.merge_rows(key_numbers), key_numbers[run_starts(key_numbers)]
            yield k, KeyedPart(codes.dictionary, sizes[k], key_nulls, places, statistic)

    def compacted(key_rows: pa.RecordBatch) -> list[pa.RecordBatch]:
        return [row for k, part in merged_parts(key_rows) for row in _encoded(part, k, statistic_class)]

    for batch in _whole_keys(_slices(batches), compacted):
        yield from merged_parts(batch)


def _slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches so that none holds many more numbers than a task may."""
    for batch in batches:
        width = len(batch.column("numbers").values) // max(batch.num_rows, 1)
        rows = max(1, MOST_NUMBERS // max(width, 1))
        yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _whole_keys(
    batches: Iterator[pa.RecordBatch], compacted: Callable[[pa.RecordBatch], list[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """Split batches where the key changes, so that all rows of a key are in one batch; many rows of one are merged."""
    rest: list[pa.RecordBatch] = []  # rows of the last key, which may go on
    for batch in batches:
        whole = _concatenated([*rest, batch])
        numbers = whole.column("b").dictionary_encode().indices.to_numpy()
        last = int(run_starts(numbers)[-1])
        if last:
            yield whole.slice(0, last)
        open_key = whole.slice(last)
        rest = compacted(open_key) if open_key.num_rows > ROWS_TO_MERGE else [open_key]
    if rest:
        yield _concatenated(rest)


def _concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
