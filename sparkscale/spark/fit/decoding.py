"""Decoding of Arrow batches into blocks of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError, SizeMismatchError, tag_error
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit.selection import MOST_FEATURES, Group, too_many_features

__all__ = ["Mask", "Piece", "decode", "mismatch", "stack_features"]

Mask = npt.NDArray[np.bool_]
MAX_SHOWN_INDICES = 8  # in a message


@dataclass(frozen=True, eq=False)
class Piece:
    """A block, and a mask of the rows of the batch that it contains (``None`` for all).

    If these have several places each, of which each is a row of the block, their numbers are ``places``.
    """

    block: Block
    rows: Mask | None = None
    places: npt.NDArray[np.intp] | None = None

    def with_rows(self, weights: Any | None, runs: Any | None) -> Block:
        """Return the block with weights and run numbers, given those of all rows of the batch."""
        return replace(self.block, weights=self.of_rows(weights), runs=self.of_rows(runs))

    def of_rows(self, values: Any | None) -> Any | None:
        """Return values of all rows of the batch for the rows of the block."""
        if values is None:
            return None
        values = values if self.rows is None else values[self.rows]
        return values if self.places is None else np.repeat(values, self.places)

    def complete(self) -> Mask:
        """Return which rows of the batch, of those in the block, have no invalid value."""
        complete = self.block.complete()
        if self.places is None:
            return complete
        row = np.repeat(np.arange(len(self.places)), self.places)
        return np.asarray(np.bincount(row[~complete], minlength=len(self.places)) == 0)


def decode(
    batch: pa.RecordBatch, k: int, group: Group, size: int | None
) -> tuple[list[Piece], Mask | None, int | None]:
    """Decode group ``k`` of a batch.

    Returns
    -------
    list of Piece
        Blocks without weights.
    numpy.ndarray of bool or None
        Mask of the rows in which the whole array or vector is null; ``None`` if there is none.
    int or None
        The number of features, if known.
    """
    array = batch.column(f"a{k}")
    lengths = np.diff(array.offsets.to_numpy())
    flat = array.flatten().to_numpy(zero_copy_only=False)
    if group.column.kind == "vector":
        return _vectors(batch, k, group, size, lengths, flat)
    null = _null_rows(array, lengths)
    if group.column.layout is not None:
        return [_by_place(group.column, flat, lengths, null)], null, size
    if size is None and not null.all():
        size = int(lengths[~null][0])
    _check_sizes(group.column, lengths[~null], size)
    if size is None:
        return [], null, None
    if not null.any():
        return [Piece(DenseBlock(flat.reshape(-1, size)))], None, size
    rows = flat[np.repeat(~null, lengths)]
    return [Piece(DenseBlock(rows.reshape(-1, size)), ~null)], null, size


def _by_place(column: FeatureColumn, flat: npt.NDArray[Any], lengths: npt.NDArray[Any], null: Mask) -> Piece:
    """Return rows of any length, those that are not null, as a block with a row for each place."""
    layout, some = column.layout, lengths[~null]
    assert layout is not None  # noqa: S101  # checked by the caller
    for length in some[some % layout.channels != 0][:1]:
        message = f"Column '{column.name}' holds a row of length {length}{layout.remainder}"
        raise SizeMismatchError(tag_error(SizeMismatchError, message))
    values = flat[np.repeat(~null, lengths)] if null.any() else flat
    return Piece(DenseBlock(layout.by_place(values, some)), ~null, some // layout.channels)


def _null_rows(array: pa.ListArray, lengths: npt.NDArray[Any]) -> Mask:
    """Return a mask of the null rows of an array column."""
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
    missing, null = stored > lengths, None  # only null rows have fewer values than indices: the query refuses others
    if missing.any():
        null, stored, indices = missing, np.where(missing, 0, stored), indices[~np.repeat(missing, stored)]
    present = np.ones(len(lengths), dtype=bool) if null is None else ~null
    sizes = batch.column(f"n{k}").to_numpy() if not group.sized else None
    if sizes is not None:
        if size is None and present.any():
            size = int(sizes[present][0])
        _check_sizes(group.column, sizes[present], size)
    if size is None:
        return [], null, None
    if size > MOST_FEATURES:
        raise ParamError(tag_error(ParamError, too_many_features(group.column, size)))
    _check_indices(group.column, indices, stored, size)
    dense = present & (stored == 0) & (lengths > 0)
    _check_sizes(group.column, lengths[dense], size)
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


def _check_indices(column: FeatureColumn, indices: npt.NDArray[Any], stored: npt.NDArray[Any], size: int) -> None:
    """Refuse indices that are out of range, or not strictly ascending within a row."""
    ends = np.cumsum(stored)
    valid = np.ones(len(indices), dtype=bool)
    valid[1:] = indices[1:] > indices[:-1]
    valid[ends[ends < len(indices)]] = True  # the first of a row
    if not len(indices) or (valid.all() and indices.min() >= 0 and indices.max() < size):
        return
    row = int(np.searchsorted(ends, np.argmin(valid & (indices >= 0) & (indices < size)), side="right"))
    row_indices = [*map(str, indices[ends[row] - stored[row] : ends[row]])]
    shown = ", ".join(
        [*row_indices[:MAX_SHOWN_INDICES], "..."] if len(row_indices) > MAX_SHOWN_INDICES else row_indices
    )
    message = (
        f"Column '{column.name}' holds a sparse vector of size {size} with the indices {shown}: they must be from 0 to "
        f"{size - 1} and in strictly ascending order. Correct the rows."
    )
    raise InvalidValueError(tag_error(InvalidValueError, message))


def _check_sizes(column: FeatureColumn, sizes: npt.NDArray[Any], size: int | None) -> None:
    wrong = sizes[sizes != size]
    if len(wrong):
        raise SizeMismatchError(tag_error(SizeMismatchError, mismatch(column, int(size or 0), int(wrong[0]))))
    if size is not None and size <= 0:
        form = "vectors of size" if column.kind == "vector" else "arrays of length"
        message = f"Column '{column.name}' has no feature: it holds {form} {size}. Drop those rows, or the column."
        raise EmptyDataError(tag_error(EmptyDataError, message))


def mismatch(column: FeatureColumn, one: int, other: int) -> str:
    """Return the message for a column whose rows differ in length."""
    form = "vectors of size" if column.kind == "vector" else "arrays of length"
    return (
        f"Column '{column.name}' holds {form} {one} and {other}: all rows of a column must have the same length. "
        "Pad or drop the others."
    )


def stack_features(
    decoded: Sequence[Sequence[Piece]], groups: Sequence[Group], sizes: Sequence[int], rows: int, step: int
) -> Iterator[Block]:
    """Stack the features of all groups horizontally, in the order of the columns; null rows become rows of NaN.

    Blocks have ``step`` rows, since sparse rows become dense.
    """
    if len(groups) == 1 and len(decoded[0]) == 1 and decoded[0][0].rows is None:
        yield decoded[0][0].block
        return
    widths = {p: size // len(g.positions) for g, size in zip(groups, sizes, strict=True) for p in g.positions}
    starts = dict(zip(sorted(widths), np.cumsum([0, *(widths[p] for p in sorted(widths))]), strict=False))
    places = [np.concatenate([np.arange(starts[p], starts[p] + widths[p]) for p in g.positions]) for g in groups]
    for start in range(0, rows, step):
        values = np.full((min(step, rows - start), sum(sizes)), np.nan)
        for pieces, place in zip(decoded, places, strict=True):
            for piece in pieces:
                mask = np.ones(rows, dtype=bool) if piece.rows is None else piece.rows
                first, selected = int(mask[:start].sum()), mask[start : start + step]
                values[np.ix_(selected, place)] = piece.block.dense(first, first + int(selected.sum()))
        yield DenseBlock(values)
