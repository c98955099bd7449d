"""Counts of values by bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Histogram"]


@dataclass(frozen=True, eq=False)
class Histogram:
    """The distribution of the valid values of a feature.

    Parameters
    ----------
    edges : numpy.ndarray of float64, shape (n_bins + 1,)
        From the smallest value to the largest, in equal steps. For a constant, both edges of its only bin are equal; a
        feature without a valid value has neither edges nor counts.
    counts : numpy.ndarray of int64, shape (n_bins,)
        Number of values in each bin.
    invalid : int
        Number of null, NaN and infinite values, which are not in any bin.
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
        return len(self.edges) == 2 and bool(self.edges[0] == self.edges[1])  # noqa: PLR2004  # edges of a single bin
