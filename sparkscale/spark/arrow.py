"""From DataFrame columns to Arrow batches to feature blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import inf
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError, SizeMismatchError, marked
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import failure, guarded, paired
from sparkscale.spark.frame import Frame
from sparkscale.spark.gpu import together

__all__ = ["Group", "Piece", "beside", "blocks", "by_partition", "gathered", "groups", "select"]

Mask = npt.NDArray[np.bool_]
Gathered = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

# The rows that stand for null, since Spark's Arrow writer takes quadratic time over null arrays. No other row is of
# one null element: in arrays of length 1 null becomes NaN.
NULL_ARRAY = "array(null)"
NULL_VECTOR = "array(-1)"

# Up to so many bytes and rows sparse batches are put together: the statistic of a block takes time by all its features,
# however few a row stores. With 100,000 features of which 50 are stored, 32 MB saved a quarter of the time in Python, 16 MB
# an eighth. No more rows, since longer sums round more.
BYTES, ROWS = 1 << 25, 1 << 16

PIECE = 10_000  # rows that Spark puts into a batch, unless it is told otherwise

FEATURES = 1 << 26  # of a vector: an array of them is half a gigabyte, and a statistic has several
SHOWN = 8  # indices that a message shows


@dataclass(frozen=True)
class Group:
    """Columns that travel together: all scalars as one packed array, or one array or vector column."""

    column: FeatureColumn
    positions: tuple[int, ...]
    scalars: tuple[FeatureColumn, ...] = ()

    @property
    def sized(self) -> bool:
        """Whether the schema tells the number of features."""
        return self.column.size is not None


@dataclass(frozen=True, eq=False)
class Piece:
    """A block and the rows of the batch that it holds (``None`` for all)."""

    block: Block
    rows: Mask | None = None


def groups(columns: Sequence[FeatureColumn]) -> tuple[Group, ...]:
    """Put scalars together and leave the others alone.

    Raises
    ------
    ParamError
        If a vector has too many features, as its metadata say.
    """
    for column in columns:
        if column.kind == "vector" and (column.size or 0) > FEATURES:
            raise ParamError(_too_many(column, column.size or 0))
    scalars = [i for i, c in enumerate(columns) if c.kind == "scalar"]
    packed = FeatureColumn("scalars", "scalar", False, len(scalars))
    first = [Group(packed, tuple(scalars), tuple(columns[i] for i in scalars))] if scalars else []
    return (*first, *(Group(c, (i,)) for i, c in enumerate(columns) if c.kind != "scalar"))


def select(
    df: DataFrame, parts: Sequence[Group], handle_invalid: str, weight: FeatureColumn | None, key: str | None = None
) -> DataFrame:
    """Select what the statistic needs, and no more, in shapes that Arrow takes fast.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    parts : sequence of Group
        What to select.
    handle_invalid : str
        Which invalid values make the job fail.
    weight : FeatureColumn or None
        Row weights.
    key : str or None
        SQL text of what Python tells rows apart by, ``b``: their mini-batches, or partitions that share a task.
    """
    plain: list[str | Column] = []
    texts: list[str] = []
    frame = Frame(df)
    for k, group in enumerate(parts):
        column, source = group.column, group.column.sql
        if column.kind == "scalar":
            cells = [guarded(c, c.sql, f"double({c.sql})", handle_invalid) for c in group.scalars]
            plain.append(f"array({', '.join(cells)}) AS a{k}")
            texts.append(f"a{k}")
        elif column.kind == "array":
            array = source if column.single else f"cast({source} AS array<double>)"
            kind = "float" if column.single else "double"
            single = f"transform({array}, x -> coalesce(x, {kind}('NaN')))"
            array = f"CASE WHEN size({source}) = 1 THEN {single} ELSE {array} END"
            text = f"coalesce({guarded(column, source, array, handle_invalid)}, {NULL_ARRAY})"
            plain.append(f"{text} AS a{k}")
            texts.append(f"a{k}")
        else:
            plain.append(F.unwrap_udt(column.values).alias(f"u{k}"))
            texts.extend(_vector_texts(k, column, handle_invalid))
    if weight is not None:
        source = weight.sql
        bad = failure(
            InvalidValueError,
            f"Weight column '{weight.name}' holds ",
            source,
            ": weights must be finite and >= 0. Clean the column, or leave those rows out.",
            "double",
        )
        good = f"{source} >= 0 AND double({source}) < double('Infinity')"
        plain.append(f"CASE WHEN {good} THEN double({source}) ELSE {bad} END AS w")
        texts.append("w")
    if key is not None:
        plain.append(f"{key} AS b")
        texts.append("b")
    selected = frame.select(*plain)
    return Frame(selected).select(*texts) if any(group.column.kind == "vector" for group in parts) else selected


def _vector_texts(k: int, column: FeatureColumn, handle_invalid: str) -> list[str]:
    u = f"u{k}"
    values, indices = f"{u}.values", f"{u}.indices"
    values = guarded(replace(column, kind="array"), values, values, handle_invalid, compiled=True)
    stored = paired(column, u, f"coalesce({indices}, cast(array() AS array<int>))")
    found = f"coalesce({u}.size, size({u}.values))"
    if column.size is not None:
        wrong = failure(
            SizeMismatchError,
            f"Column '{column.name}' holds a vector of size ",
            found,
            f", but {column.size} was expected, as its metadata or the model says. Correct the rows, or the metadata.",
        )
        stored = f"CASE WHEN {found} <> {column.size} THEN {wrong} ELSE {stored} END"
    texts = [
        f"coalesce({values}, cast(array() AS array<double>)) AS a{k}",
        f"CASE WHEN {u} IS NULL THEN {NULL_VECTOR} ELSE {stored} END AS i{k}",
    ]
    return texts if column.size is not None else [*texts, f"coalesce({found}, 0) AS n{k}"]


def blocks(
    batch: pa.RecordBatch, k: int, group: Group, size: int | None
) -> tuple[list[Piece], Mask | None, int | None]:
    """Decode group ``k`` of a batch.

    Returns
    -------
    list of Piece
        Blocks without weights.
    numpy.ndarray of bool or None
        Which rows are null altogether; ``None`` if none is.
    int or None
        The number of features, once known.
    """
    array = batch.column(f"a{k}")
    lengths = np.diff(array.offsets.to_numpy())
    flat = array.flatten().to_numpy(zero_copy_only=False)
    if group.column.kind == "vector":
        return _vectors(batch, k, group, size, lengths, flat)
    null = _stands_for_null(array, lengths)
    if size is None and not null.all():
        size = int(lengths[~null][0])
    _same(group.column, lengths[~null], size)
    if size is None:
        return [], null, None
    if not null.any():
        return [Piece(DenseBlock(flat.reshape(-1, size)))], None, size
    rows = flat[np.repeat(~null, lengths)]
    return [Piece(DenseBlock(rows.reshape(-1, size)), ~null)], null, size


def _stands_for_null(array: pa.ListArray, lengths: npt.NDArray[Any]) -> Mask:
    """Return which rows of an array column were null."""
    null = lengths == 1
    elements = array.flatten()
    if not elements.null_count:
        return np.zeros(len(lengths), dtype=bool)
    starts = np.cumsum(lengths) - lengths
    null[null] = elements.is_null().to_numpy(zero_copy_only=False)[starts[null]]
    return np.asarray(null)


def _vectors(
    batch: pa.RecordBatch, k: int, group: Group, size: int | None, lengths: npt.NDArray[Any], flat: npt.NDArray[Any]
) -> tuple[list[Piece], Mask | None, int | None]:
    array = batch.column(f"i{k}")
    stored = np.diff(array.offsets.to_numpy())
    indices = array.flatten().to_numpy()
    missing, null = stored > lengths, None  # no other row has fewer values than indices: Spark has refused those
    if missing.any():
        null, stored, indices = missing, np.where(missing, 0, stored), indices[~np.repeat(missing, stored)]
    present = np.ones(len(lengths), dtype=bool) if null is None else ~null
    sizes = batch.column(f"n{k}").to_numpy() if not group.sized else None
    if sizes is not None:
        if size is None and present.any():
            size = int(sizes[present][0])
        _same(group.column, sizes[present], size)
    if size is None:
        return [], null, None
    if size > FEATURES:
        raise ParamError(marked(ParamError, _too_many(group.column, size)))
    _check_indices(group.column, indices, stored, size)
    dense = present & (stored == 0) & (lengths > 0)
    _same(group.column, lengths[dense], size)
    if dense.all():
        return [Piece(DenseBlock(flat.reshape(-1, size)))], null, size
    sparse = present & ~dense
    if not dense.any():
        return [Piece(SparseBlock(size, lengths[sparse].astype(np.int64), indices, flat), sparse)], null, size
    entries = np.repeat(dense, lengths)
    return (
        [
            Piece(DenseBlock(flat[entries].reshape(-1, size)), dense),
            Piece(SparseBlock(size, lengths[sparse].astype(np.int64), indices, flat[~entries]), sparse),
        ],
        null,
        size,
    )


def _too_many(column: FeatureColumn, size: int) -> str:
    return (
        f"Column '{column.name}' holds vectors of size {size}; fit takes {FEATURES} features of a vector at most. Hash "
        "them into fewer, or correct the size."
    )


def _check_indices(column: FeatureColumn, indices: npt.NDArray[Any], stored: npt.NDArray[Any], size: int) -> None:
    """Refuse indices that are out of range, or not in strictly ascending order within their row."""
    ends = np.cumsum(stored)
    right = np.ones(len(indices), dtype=bool)
    right[1:] = indices[1:] > indices[:-1]
    right[ends[ends < len(indices)]] = True  # the first of a row
    if not len(indices) or (right.all() and indices.min() >= 0 and indices.max() < size):
        return
    row = int(np.searchsorted(ends, np.argmin(right & (indices >= 0) & (indices < size)), side="right"))
    some = [*map(str, indices[ends[row] - stored[row] : ends[row]])]
    shown = ", ".join([*some[:SHOWN], "..."] if len(some) > SHOWN else some)
    message = (
        f"Column '{column.name}' holds a sparse vector of size {size} with the indices {shown}: they must be from 0 to "
        f"{size - 1} and in strictly ascending order. Correct the rows."
    )
    raise InvalidValueError(marked(InvalidValueError, message))


def _same(column: FeatureColumn, found: npt.NDArray[Any], size: int | None) -> None:
    wrong = found[found != size]
    if len(wrong):
        raise SizeMismatchError(marked(SizeMismatchError, mismatch(column, int(size or 0), int(wrong[0]))))
    if size is not None and size <= 0:
        what = "vectors of size" if column.kind == "vector" else "arrays of length"
        message = f"Column '{column.name}' has no feature: it holds {what} {size}. Drop those rows, or the column."
        raise EmptyDataError(marked(EmptyDataError, message))


def mismatch(column: FeatureColumn, one: int, other: int) -> str:
    """Say that rows of a column differ in length."""
    what = "vectors of size" if column.kind == "vector" else "arrays of length"
    return (
        f"Column '{column.name}' holds {what} {one} and {other}: all rows of a column must have one length. "
        "Pad or drop the others."
    )


def with_weights(piece: Piece, weights: npt.NDArray[np.float64] | None) -> Block:
    """Return the piece's block with its rows' weights."""
    if weights is None:
        return piece.block
    return replace(piece.block, weights=weights if piece.rows is None else weights[piece.rows])


def beside(
    decoded: Sequence[Sequence[Piece]], parts: Sequence[Group], sizes: Sequence[int], rows: int, step: int
) -> Iterator[Block]:
    """Put the features of all groups beside each other, in the order of the columns; a null row is a row of NaN.

    ``step`` rows at a time: what was sparse becomes dense.
    """
    if len(parts) == 1 and len(decoded[0]) == 1 and decoded[0][0].rows is None:
        yield decoded[0][0].block
        return
    widths = {p: size // len(g.positions) for g, size in zip(parts, sizes, strict=True) for p in g.positions}
    starts = dict(zip(sorted(widths), np.cumsum([0, *(widths[p] for p in sorted(widths))]), strict=False))
    places = [np.concatenate([np.arange(starts[p], starts[p] + widths[p]) for p in g.positions]) for g in parts]
    for start in range(0, rows, step):
        values = np.full((min(step, rows - start), sum(sizes)), np.nan)
        for pieces, place in zip(decoded, places, strict=True):
            for piece in pieces:
                there = np.ones(rows, dtype=bool) if piece.rows is None else piece.rows
                first, here = int(there[:start].sum()), there[start : start + step]
                values[np.ix_(here, place)] = piece.block.dense(first, first + int(here.sum()))
        yield DenseBlock(values)


def rows_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Leave out empty batches and rows of weight 0."""
    for batch in batches:
        if "w" in batch.schema.names:
            positive = batch.column("w").to_numpy() > 0
            kept = batch if positive.all() else batch.filter(pa.array(positive))
        else:
            kept = batch
        if kept.num_rows:
            yield kept


def by_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """Return the batches of each partition that a task computes, where ``b`` tells them apart.

    In each, every batch but the last has ``PIECE`` rows, wherever Spark's batches end, so that it does not matter which
    partitions share a task.
    """
    for partition, run in groupby(_cut(batches), key=itemgetter(0)):
        yield partition, together((piece for _, piece in run), inf, PIECE)


def _cut(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut batches where the partition changes, and after each ``PIECE`` rows of one."""
    current, rows = -1, 0
    for batch in batches:
        partitions = batch.column("b").to_numpy()
        for first, end in pairwise([*np.flatnonzero(np.diff(partitions, prepend=-1)), len(partitions)]):
            start, partition = int(first), int(partitions[first])
            current, rows = partition, rows if partition == current else 0
            while start < end:
                taken = min(int(end) - start, PIECE - rows % PIECE)
                yield partition, batch.slice(start, taken)
                start, rows = start + taken, rows + taken


def gathered(batches: Iterator[pa.RecordBatch], others: Gathered) -> Iterator[pa.RecordBatch]:
    """Return Arrow batches, those that hold sparse rows put together, the ``others`` as the device wants them."""
    for sparse, run in groupby(batches, key=_is_sparse):
        yield from together(run, BYTES, ROWS) if sparse else others(run)  # noqa: B031  # either way once


def _is_sparse(batch: pa.RecordBatch) -> bool:
    """Whether a batch holds a vector of which some values are stored, and some are not."""
    indices = (batch.column(name).flatten().to_numpy() for name in batch.schema.names if name.startswith("i"))
    return any(found.max(initial=-1) >= 0 for found in indices)
