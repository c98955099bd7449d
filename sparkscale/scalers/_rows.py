"""Stages without a fit: each maps a row by what the row itself holds."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from pyspark.ml import Transformer
from pyspark.sql import DataFrame

from sparkscale.errors import ColumnTypeError
from sparkscale.scalers import _persistence as persistence
from sparkscale.scalers._params import ColumnParams
from sparkscale.spark import rows, vectors
from sparkscale.spark.columns import FeatureColumn, resolve
from sparkscale.spark.rows import Grouping, Norm
from sparkscale.spark.transform import check_outputs

__all__ = ["RowNorm", "RowTransformer"]


class RowTransformer(ColumnParams, persistence.Writable, Transformer):
    """Base of the stages. A subclass has Params, checks them, and says what becomes of a column."""

    @abstractmethod
    def _text(self, column: FeatureColumn, source: str) -> str:
        """Return as SQL what becomes of a scalar or an array, given as SQL; vectors come as arrays."""

    def _entries(self) -> vectors.Entries | None:
        """Return what maps the entries of sparse vectors, if these stay sparse."""
        return None

    def _vector(self, df: DataFrame, column: FeatureColumn) -> tuple[DataFrame, str, list[str]]:
        """Add what becomes of a vector; return its SQL, and the columns that were added."""
        return vectors.through_arrays(
            df, column, lambda array: self._text(column, array), self._entries(), self.getHandleInvalid() == "error"
        )

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
        check_outputs(dataset, names)
        outputs = [replace(c, name=n, nested=False) for c, n in zip(inputs, names, strict=True)]
        return rows.transform(dataset, inputs, outputs, self.getHandleInvalid(), self._text, self._vector)

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

    def _gains(self) -> dict[str, list[float]]:
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
