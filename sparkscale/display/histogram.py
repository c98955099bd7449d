"""Counts of values by bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Histogram"]


@dataclass(frozen=True, eq=False)
class Histogram:
    """How the valid values of a feature are spread.

    Parameters
    ----------
    edges : numpy.ndarray of float64, shape (n_bins + 1,)
        From the least value to the largest, at equal steps. A constant has it twice, around its one bin; a feature
        without a valid value has neither edges nor counts.
    counts : numpy.ndarray of int64, shape (n_bins,)
        Number of values from each edge to the next.
    invalid : int
        Number of null, NaN and infinite values, which are in no bin.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    invalid: int

    @property
    def count(self) -> int:
        """Number of valid values."""
        return int(self.counts.sum())

    @property
    def constant(self) -> bool:
        """Whether all valid values are the same."""
        return len(self.edges) == 2 and bool(self.edges[0] == self.edges[1])  # noqa: PLR2004  # the edges of one bin
