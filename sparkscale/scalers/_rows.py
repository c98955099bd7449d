"""Stages without a fit: each maps a row by what the row itself holds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.ml import Transformer
from pyspark.sql import DataFrame, SparkSession

from sparkscale.arrays import namespace
from sparkscale.errors import ColumnTypeError
from sparkscale.scalers import _persistence as persistence
from sparkscale.scalers._html import Displayed
from sparkscale.scalers._params import ColumnParams
from sparkscale.spark import gpu, rows, sql, udf, vectors
from sparkscale.spark.columns import FeatureColumn, resolve
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.rows import Grouping, Norm
from sparkscale.spark.transform import check_outputs

__all__ = ["Normalizing", "RowNorm", "RowTransformer"]


@dataclass(frozen=True)
class Normalizing:
    """A kernel on rows that are flattened tensors, which takes its statistics from their valid values.

    Parameters
    ----------
    function : callable
        The kernel.
    axes : tuple of int
        The shape that it takes a row in; one length may be -1.
    swapped : bool
        Whether two axes are to change places for it.
    """

    function: Callable[..., Any]
    axes: tuple[int, ...] = (-1,)
    swapped: bool = False

    def __call__(self, rows: Any) -> Any:
        xp = namespace(rows)
        values = self._swapped(xp, xp.reshape(rows, (rows.shape[0], *self.axes)))
        made = self.function(values, where=xp.isfinite(values))
        return xp.reshape(self._swapped(xp, made), rows.shape)

    def _swapped(self, xp: Any, values: Any) -> Any:
        return xp.permute_dims(values, (0, 2, 1)) if self.swapped else values


class RowTransformer(Displayed, ColumnParams, persistence.Writable, Transformer):
    """Base of the stages. A subclass has Params, checks them, and says what becomes of a column."""

    @abstractmethod
    def _text(self, column: FeatureColumn, source: str) -> str:
        """Return as SQL what becomes of a scalar or an array, given as SQL; vectors come as arrays."""

    @abstractmethod
    def _kernel(self) -> Kernel:
        """Return what does the same to rows, put together as a matrix."""

    def _checked(self, column: FeatureColumn, source: str) -> str:
        """Return the source as SQL; a row of a length that is of no use makes the job fail."""
        return source

    def _keeps_zero(self) -> bool:
        """Whether 0 stays 0 whatever the other values, so that sparse vectors stay sparse."""
        return False

    def _vector(self, df: DataFrame, column: FeatureColumn, device: str) -> tuple[DataFrame, str, list[str]]:
        """Add what becomes of a vector; return its SQL, and the columns that were added."""
        entries = partial(_of_entries, self._kernel()) if self._keeps_zero() else None
        mapped = self._of_array(df.sparkSession, column, device)
        return vectors.through_arrays(df, column, mapped, entries, self.getHandleInvalid())

    def _of_array(self, spark: SparkSession, column: FeatureColumn, device: str) -> vectors.Made:
        if device == "cpu":
            return lambda array: sql.expr(self._text(column, array))
        return lambda array: udf.of_array(spark, sql.expr(self._checked(column, array)), self._kernel(), device)

    def _check_column(self, column: FeatureColumn) -> None:
        """Refuse a column that the schema shows to be of no use."""

    def _pairs(self, df: DataFrame) -> tuple[list[FeatureColumn], list[str]]:
        """Return the inputs, checked, and the names of the outputs."""
        self._check_params()
        names = self._input_names()
        if self._assembles:
            raise self._fail("outputCol goes with inputCol, since each input has an output of its own. Set outputCols.")
        outputs, columns = self._output_names(), resolve(df, names)
        for column in columns:
            self._check_column(column)
        return columns, outputs

    def _transform(self, dataset: DataFrame) -> DataFrame:
        inputs, names = self._pairs(dataset)
        replaced = check_outputs(dataset, names, self._input_names())
        outputs = [c.output(name) for c, name in zip(inputs, names, strict=True)]
        device = gpu.asked(self.getDevice(), dataset.sparkSession)
        return rows.transform(
            dataset,
            inputs,
            outputs,
            self.getHandleInvalid(),
            self._text,
            partial(self._vector, device=device),
            kernel=self._kernel(),
            checked=self._checked,
            device=device,
            replaced=replaced,
        )

    def toSQL(self, dataset: DataFrame) -> dict[str, str]:
        """Return what ``transform`` computes as Spark SQL text, by output column.

        For vectors, which SQL has no syntax for, it reads and writes arrays of double: apply it where the vector
        column went through ``vector_to_array``. The rows that ``handleInvalid="skip"`` drops are no matter of an
        expression: filter them out beside it.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            With the input columns, whose types the text depends on.

        Returns
        -------
        dict of str
            SQL expressions over the input columns.
        """
        inputs, names = self._pairs(dataset)
        invalid = self.getHandleInvalid()
        return {n: rows.to_sql(c, invalid, self._text) for c, n in zip(inputs, names, strict=True)}


class RowNorm(RowTransformer):
    """Base of what divides a row, or each group of its places, by a number of its own."""

    @abstractmethod
    def _norm(self) -> Norm:
        """Return what is divided by."""

    def _grouping(self) -> Grouping:
        """Return the groups of a row."""
        return Grouping()

    def _gains(self) -> dict[str, Any]:
        """Return gain and bias, as far as they are set."""
        return {}

    def _check_column(self, column: FeatureColumn) -> None:
        if column.kind == "scalar":
            raise ColumnTypeError(
                f"Column '{column.name}' holds one number a row, and {type(self).__name__} works on all numbers of a "
                "row. Pack the columns with array(...) or VectorAssembler first."
            )
        self._grouping().check(column)

    def _text(self, column: FeatureColumn, source: str) -> str:
        return rows.normalize(column, source, self._norm(), self._grouping(), **self._gains())

    def _checked(self, column: FeatureColumn, source: str) -> str:
        return self._grouping().guarded(column, source, source)


def _of_entries(kernel: Kernel, at: vectors.Array, values: vectors.Array) -> vectors.Array:
    """Map the stored values of a sparse vector, which are a row of their own."""
    found: vectors.Array = kernel(values[None, :])[0] if len(values) else values
    return found
