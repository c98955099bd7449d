"""Stages without a fit: each maps a row by what the row itself holds."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from pyspark.ml import Transformer
from pyspark.sql import DataFrame

from sparkscale.display.html import HtmlReprMixin
from sparkscale.errors import ColumnTypeError
from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._persistence import Writable
from sparkscale.spark.columns import FeatureColumn, resolve
from sparkscale.spark.transform.apply import Plan, to_sql, transform
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.outputs import check_outputs
from sparkscale.spark.transform.rows import Normalization

__all__ = ["RowNorm", "RowTransformer"]


class RowTransformer(HtmlReprMixin, ColumnParams, Writable, Transformer):
    """Base of the stages. A subclass has Params, checks them, and says what becomes of a column."""

    @abstractmethod
    def _column_map(self) -> ColumnMap:
        """Return what becomes of a column."""

    def _check_column(self, column: FeatureColumn) -> None:
        """Refuse a column that the schema shows to be of no use."""

    def _plan(self, df: DataFrame) -> Plan:
        self._check_params()
        names = self._input_names()
        if self._assembles:
            raise self._fail("outputCol goes with inputCol, since each input has an output of its own. Set outputCols.")
        output_names, columns = self._output_names(), resolve(df, names)
        for column in columns:
            self._check_column(column)
        outputs = [c.output(name) for c, name in zip(columns, output_names, strict=True)]
        maps = [self._column_map()] * len(columns)
        return Plan(columns, outputs, maps, self.getHandleInvalid(), device=self.getDevice())

    def _transform(self, dataset: DataFrame) -> DataFrame:
        plan = self._plan(dataset)
        replaced = check_outputs(dataset, [out.name for out in plan.outputs], self._input_names())
        return transform(dataset, replace(plan, replaced=replaced))

    def toSQL(self, dataset: DataFrame) -> dict[str, str]:
        """Return what ``transform`` computes as Spark SQL expressions, by output column.

        SQL has no syntax for vectors: for a vector column, the expression reads and writes arrays of doubles, so convert
        the column with ``vector_to_array`` first. An expression cannot drop rows: with ``handleInvalid="skip"``, filter
        them yourself.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            A DataFrame with the input columns. The expressions depend on their types.

        Returns
        -------
        dict of str
            SQL expressions over the input columns.
        """
        return to_sql(self._plan(dataset))


class RowNorm(RowTransformer):
    """Base of what divides a row, or each group of its places, by a number of its own."""

    @abstractmethod
    def _column_map(self) -> Normalization:
        """Return what becomes of a column."""

    def _check_column(self, column: FeatureColumn) -> None:
        if column.kind == "scalar":
            raise ColumnTypeError(
                f"Column '{column.name}' holds one number a row, and {type(self).__name__} works on all numbers of a "
                "row. Pack the columns with array(...) or VectorAssembler first."
            )
        self._column_map().grouping.check(column)
