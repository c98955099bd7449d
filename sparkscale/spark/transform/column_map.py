"""What a column becomes: the one interface between a scaler and how its map runs on Spark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.frame import Frame
from sparkscale.spark.gpu import Kernel

__all__ = ["ColumnMap", "Entries", "Staged"]

Array = npt.NDArray[Any]
Entries = Callable[[Array, Array], Array]  # from indices and values of a sparse row to values


@dataclass(frozen=True)
class Staged:
    """A vector column that a stage of Spark's has made, and the condition, as SQL, under which it is right."""

    name: str
    condition: str = "true"


class ColumnMap(ABC):
    """What a column becomes, in each form in which it can run.

    SQL text and the kernel are what every map has, and compute the same. The others are faster where a map has them.
    """

    size_remedy = ", but its metadata says {0}. Correct the rows, or the metadata."
    """What a message says after the size of a vector that is not ``{0}``."""

    keeps_null = True
    """Whether null in an array stays null, whatever the kernel makes of it."""

    @abstractmethod
    def sql(self, column: FeatureColumn, source: str) -> str:
        """Return as SQL what a scalar or an array becomes, given as SQL; an array's length is right."""

    def guard(self, column: FeatureColumn, source: str, result: str) -> str:
        """Return ``result`` where the array has a length that the map takes; otherwise the job fails.

        The rows of a vector are checked already against the size that its column has.
        """
        return result

    @abstractmethod
    def kernel(self) -> Kernel:
        """Return what maps rows, put together as a matrix, on any device."""

    def joint_kernel(self, maps: Sequence[Any]) -> Kernel:
        """Return what maps scalars, put together as the columns of a matrix, each by its own of the maps."""
        return self.kernel()

    def prefers_kernel(self, column: FeatureColumn) -> bool:
        """Whether the kernel is faster than SQL on the CPU, too."""
        return False

    def entries(self) -> Entries | None:
        """Return what maps the stored entries of a sparse row; ``None`` if zero does not stay zero."""
        return None

    def by_stage(self, frame: Frame, vector: Any) -> Staged | None:
        """Map a `CheckedVector` by a stage of Spark's, whose output is added to the frame, if one computes it."""
        return None

    def part(self, features: slice) -> ColumnMap | None:
        """Return the map of some of the features; ``None`` if each result depends on all."""
        return None
