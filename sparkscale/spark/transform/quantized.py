"""Affine maps whose results are rounded to integers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sparkscale.arrays import as_array_like, namespace
from sparkscale.kernels.quantization import rounded
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import affine_text, elementwise, is_missing, parameter
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.transform.affine import Affine
from sparkscale.spark.transform.column_map import Array

__all__ = ["Quantized"]


@dataclass(frozen=True, eq=False)
class Quantized(Affine):
    """``round((x - center) / scale + offset)``, clipped to bounds; null for null and NaN, unless they are filled.

    SQL takes about as long as that of `MinMaxScaler`: on 100,000 arrays of length 64 0.64 s instead of 0.63, and on a
    million rows of 10 scalars 0.67 s instead of 0.58. The kernel in Arrow takes 1.4 and 2.8 s.

    Parameters
    ----------
    integer_type : str
        The SQL type of the results.
    """

    integer_type: str | None = "tinyint"

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        x, index = (source, "") if column.kind == "scalar" else ("x", "i")
        assert self.bounds is not None  # noqa: S101  # those of integers
        low, high = (parameter(bound, index) for bound in self.bounds)
        # NaN never gets to the cast, which makes 0 of it, or fails under ANSI SQL. NaN is larger than infinity; and least
        # returns the bound for it, which is the result for infinity less infinity.
        code = f"{self.integer_type}(rint(greatest(least({affine_text(x, self.affine, index)}, {high}), {low})))"
        text = f"CASE WHEN abs(double({x})) <= {parameter(self._largest, index)} THEN {code}"
        if self.fill is not None:
            fill = f"nanvl({parameter(self.fill, index)}, double(NULL))"
            text += f" WHEN {is_missing(column, x)} THEN {self.integer_type}({fill})"
        text += " END"
        return text if column.kind == "scalar" else elementwise(source, text)

    def kernel(self) -> Kernel:
        """See `ColumnMap`."""
        return partial(_codes, self)

    @property
    def _largest(self) -> Array:
        """The largest absolute value that is mapped: below 0 for a feature without a map."""
        return np.where(np.isnan(self.affine.center), -1.0, np.inf)


def _codes(column_map: Quantized, rows: Any) -> Any:
    """Return whole numbers, and NaN for null."""
    xp = namespace(rows)
    assert column_map.bounds is not None  # noqa: S101  # those of integers
    codes = rounded(column_map.affine.apply(rows), *column_map.bounds)
    codes = xp.where(xp.abs(rows) <= as_array_like(codes, column_map._largest), codes, xp.nan)
    if column_map.fill is not None:
        codes = xp.where(xp.isnan(rows), as_array_like(codes, column_map.fill), codes)
    return codes
