"""The interface between a scaler's map and the ways to run it on Spark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import length_checked
from sparkscale.spark.frame import Frame
from sparkscale.spark.gpu import Kernel

__all__ = ["FITTED", "ColumnMap", "Entries", "FittedMap", "Staged"]

FITTED = ", but the model was fitted on size {0}. Give every row the same size as in fit, or fit again."

Array = npt.NDArray[Any]
Entries = Callable[..., Array]  # from indices, values and parameters of a sparse row to mapped values


@dataclass(frozen=True)
class Staged:
    """The output column of a Spark ML stage, and the SQL condition under which it is correct."""

    name: str
    condition: str = "true"


class ColumnMap(ABC):
    """The map of a column, in each form that can be run.

    Every map has SQL text. The other forms give the same results; they are optional, and faster.
    """

    size_remedy = ", but its metadata says {0}. Correct the rows, or the metadata."
    """The message after the actual size of a vector, where size ``{0}`` is expected."""

    integer_type: str | None = None
    """The SQL type of results that are integers. Those of a vector are an array."""

    @property
    def keeps_null(self) -> bool:
        """Whether null scalars and null elements of arrays stay null, whatever the kernel returns for them."""
        return True

    @abstractmethod
    def sql(self, column: FeatureColumn, source: str) -> str:
        """Return the mapped scalar or array as SQL; the length of an array has been checked."""

    def guard(self, column: FeatureColumn, source: str, result: str) -> str:
        """Return ``result`` if the map accepts the length of the array; otherwise the job fails.

        Vectors have already been checked against the size of their column.
        """
        return result

    def kernel(self) -> Kernel | None:
        """Return the function that maps the rows of a matrix, on any device; ``None`` if only SQL knows the map."""
        return None

    def joint_kernel(self, maps: Sequence[Any]) -> Kernel | None:
        """Return the function that maps scalars, stacked as columns of a matrix, each column by its own map."""
        return self.kernel()

    def prefers_kernel(self, column: FeatureColumn) -> bool:
        """Whether the kernel is faster than SQL even on the CPU."""
        return False

    def entries(self) -> Entries | None:
        """Return the function that maps the stored entries of a sparse row; ``None`` if 0 is not mapped to 0."""
        return None

    @property
    def sparse_condition(self) -> str:
        """The SQL condition of a row under which 0 is mapped to 0, so that ``entries`` maps the row if it is sparse."""
        return "true"

    def entry_parameters(self, indices: str) -> list[str]:
        """Return what ``entries`` needs beside indices and values, as SQL, given the SQL of the indices."""
        return []

    def by_stage(self, frame: Frame, vector: Any) -> Staged | None:
        """Map a `CheckedVector` by a Spark ML stage, if there is one, and add its output to the frame."""
        return None

    def part(self, features: slice) -> ColumnMap | None:
        """Return the map of some of the features; ``None`` if every result depends on all features."""
        return None


class FittedMap(ColumnMap):
    """A map of columns whose sizes are those of fit."""

    size_remedy = FITTED

    def guard(self, column: FeatureColumn, source: str, result: str) -> str:
        """See `ColumnMap`."""
        return length_checked(column, source, column.size or 0, result) if column.kind == "array" else result
