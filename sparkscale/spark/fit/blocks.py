"""Statistics of the blocks of an Arrow batch, by group of columns, and by key if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sparkscale.blocks import Block, Runs
from sparkscale.errors import SizeMismatchError, tag_error
from sparkscale.layout import Layout
from sparkscale.spark import gpu
from sparkscale.spark.fit import partials
from sparkscale.spark.fit.decoding import Mask, Piece, decode
from sparkscale.spark.fit.selection import Group
from sparkscale.statistics import Counts, Statistic
from sparkscale.statistics._reductions import run_starts

__all__ = ["Pool", "State", "add_batch"]


class State(Protocol):
    """The state of a task for a group of columns."""

    size: int | None

    def add(self, statistic: Any, runs: Any) -> None:
        """Add the statistic of the next block, or those of its runs of rows, numbered by ``runs``."""

    def add_nulls(self, null: Mask, runs: Any) -> None:
        """Count rows in which the whole array or vector is null."""


@dataclass(frozen=True)
class Pool:
    """How the features of arrays and vectors become entries of a statistic: pooled into channels with a layout.

    Arrays of any length come as rows of channels, one for each place.
    """

    layout: Layout | None = None

    def of(self, statistic: Any, group: Group) -> Any:
        """Return the statistic of the channels.

        Raises
        ------
        SizeMismatchError
            If the length of the rows differs from that of the layout.
        """
        if self.layout is None or group.column.kind == "scalar" or group.column.layout is not None:
            return statistic
        size = statistic.count.shape[-1]
        self._check(group, size)
        return statistic.pooled(self.layout.sized(size).features())

    def _check(self, group: Group, size: int) -> None:
        assert self.layout is not None  # noqa: S101  # checked by the caller
        try:
            self.layout.check(group.column.name, size)
        except SizeMismatchError as failed:
            raise SizeMismatchError(tag_error(SizeMismatchError, str(failed))) from None

    def missing(self, statistic_class: type[Statistic], size: int, rows: float, group: Group) -> Any:
        """Return the statistic of rows without a valid value."""
        return self.of(statistic_class.missing(size, rows), group)

    def with_nulls(self, statistic: Any, nulls: Any, size: int) -> Any:
        """Return a statistic of rows of ``size`` features with ``nulls`` more rows, of one number or one per key."""
        features = size // statistic.count.shape[-1]  # of each entry
        return statistic.with_invalid(statistic.invalid + np.expand_dims(nulls, -1) * features)

    def entries(self, groups: Sequence[Group], sizes: Sequence[int]) -> int:
        """Return the number of entries of all groups, given the sizes that are known."""
        if self.layout is None:
            return sum(sizes)
        return sum(g.column.size or 0 if g.column.kind == "scalar" else self.layout.channels for g in groups)


def add_batch(
    states: Sequence[State],
    batch: pa.RecordBatch,
    groups: Sequence[Group],
    statistic_class: type[Statistic],
    skip: bool,
    worker: gpu.Cpu,
    pool: Pool,
    runs: Runs | None = None,
) -> list[list[Piece]]:
    """Add the statistics of an Arrow batch to the states; for a joint statistic, only the counts.

    Parameters
    ----------
    states : sequence of State
        The state of each group.
    batch : pyarrow.RecordBatch
        The rows.
    groups : sequence of Group
        The columns.
    statistic_class : type of Statistic
        The statistic to compute.
    skip : bool
        Whether rows with an invalid value are dropped.
    worker : Cpu
        The device.
    pool : Pool
        How features are pooled into entries.
    runs : numpy.ndarray of int, shape (n_rows,), optional
        Ascending run numbers: the statistics are computed for each run of rows.

    Returns
    -------
    list of list of Piece
        The blocks of each group.
    """
    weights = batch.column("w").to_numpy() if "w" in batch.schema.names else None
    decoded = []
    keep = np.ones(batch.num_rows, dtype=bool) if skip else None
    for k, (state, group) in enumerate(zip(states, groups, strict=True)):
        pieces, null, state.size = decode(batch, k, group, state.size)
        decoded.append(pieces)
        if null is not None:
            state.add_nulls(null, runs)
        if keep is not None:
            keep &= _complete(pieces, batch.num_rows)
    for k, pieces in enumerate(decoded):
        group_class = partials.class_of(statistic_class, k)
        for piece in pieces:
            block = masked(piece.with_rows(weights, runs), groups[k])
            if runs is not None and not block.rows:
                continue
            states[k].add(pool.of(_statistic(block, piece.of_rows(keep), group_class, worker), groups[k]), block.runs)
    return decoded


def masked(block: Block, group: Group) -> Block:
    """Return a block with NaN in place of the masks of the columns."""
    masks = [column.mask_value for column in (group.scalars or (group.column,))]
    if all(mask is None for mask in masks):
        return block
    mask = np.array([np.nan if mask is None else mask for mask in masks])
    return replace(block, values=np.where(block.values == mask, np.nan, block.values))


def _statistic(block: Block, kept: Mask | None, statistic_class: type[Any], worker: gpu.Cpu) -> Any:
    """Return the statistic of the rows that are kept; invalid values are counted over all rows."""
    if kept is None:
        return worker.of(statistic_class, block)
    invalid = Counts.of(block).invalid
    statistic: Any = worker.of(statistic_class, block[kept])
    if block.runs is not None:
        runs = block.runs[run_starts(block.runs)]
        places = np.flatnonzero(np.isin(runs, block.runs[kept]))
        statistic = statistic.scatter(places, len(runs))
    return statistic.with_invalid(invalid)


def _complete(pieces: Sequence[Piece], rows: int) -> Mask:
    """Return a mask of the rows without an invalid value."""
    complete = np.zeros(rows, dtype=bool)
    for piece in pieces:
        complete[slice(None) if piece.rows is None else piece.rows] = piece.complete()
    return complete
