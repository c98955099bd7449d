"""Maps in which every result depends on all features: NumPy on Arrow batches, and SQL text for a few features.

Measured on 100,000 arrays of 64, on 2 cores: a UDF of Arrow arrays takes 0.44 s, where reading them takes 0.09 s; one
of pandas series 1.0 s (`udf` says where it is taken); mapInArrow, through which all other columns must go as well,
0.87 s; the SQL text 18 s.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pyspark.sql import Column, SparkSession

from sparkscale.affine import AffineMap, MatrixMap
from sparkscale.errors import ParamError
from sparkscale.spark import udf
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import FINITE, array_literal, literal

__all__ = ["product", "scalar_text", "text"]

TEXT = 256  # features up to which the text of a matrix is a megabyte or so


def product(spark: SparkSession, array: Column, affine: AffineMap | MatrixMap, device: str = "cpu") -> Column:
    """Return the map of an array of doubles: null stays null, and a row with an invalid value becomes one of NaN."""
    if isinstance(affine, MatrixMap):
        affine = replace(affine, back=np.empty((0, 0)))  # workers have no use for the way back
    return udf.of_array(spark, array, affine.apply, device)


def scalar_text(column: FeatureColumn, affine: MatrixMap) -> str:
    """Return the map of a single scalar as SQL text: null stays null, and what is not finite becomes NaN."""
    x = f"double({column.sql})"
    centred = f"({x} - {literal(affine.center[0])})"
    mapped = f"{centred} * {literal(affine.matrix[0, 0])} + {literal(affine.offset[0])}"
    whole = f"CASE WHEN {x} IS NULL OR {FINITE.format(x=x)} THEN {mapped} ELSE double('NaN') END"
    return f"float({whole})" if column.single else whole


def text(source: str, affine: MatrixMap) -> str:
    """Return the map of an array of doubles as SQL text: null stays null, and a row with an invalid value is of NaN.

    Raises
    ------
    ParamError
        If there are too many features.
    """
    size = len(affine)
    if size > TEXT:
        raise ParamError(
            f"The matrix of {size} features is too long for SQL text, which holds {TEXT} features at most. "
            "Use transform, or the NumPy map that affine is."
        )
    # Arrays of one element bind what is used more than once: SQL has no other way inside of an expression.
    weights = array_literal(affine.matrix.T.ravel())
    column = f"zip_with(c, slice({weights}, k * {size} + 1, {size}), (v, w) -> v * w)"
    value = f"aggregate({column}, 0D, (s, v) -> s + v)"
    if np.any(affine.offset != 0):
        value = f"{value} + get({array_literal(affine.offset)}, k)"
    centred = f"transform(x, (v, i) -> v - get({array_literal(affine.center)}, i))"
    rows = f"get(transform(array({centred}), c -> transform(sequence(0, {size - 1}), k -> {value})), 0)"
    valid = f"NOT exists(x, v -> NOT coalesce({FINITE.format(x='v')}, false))"
    whole = f"CASE WHEN x IS NULL THEN NULL WHEN {valid} THEN {rows} ELSE array_repeat(double('NaN'), {size}) END"
    return f"get(transform(array({source}), x -> {whole}), 0)"
