"""A CSV table as the input of a command."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from shlex import quote as shell_quoted

from pyspark.sql import DataFrame
from pyspark.sql.types import DataType, DoubleType, NumericType

from sparkscale.cli.csv.cells import Cells, cell
from sparkscale.cli.source import Source
from sparkscale.errors import ColumnNotFoundError
from sparkscale.spark import sql
from sparkscale.spark.columns import temp_column_name
from sparkscale.spark.frame import Frame
from sparkscale.spark.names import folded, listed, same_name

__all__ = ["CsvSource"]

OTHER_SEPARATORS = ";\t|"


@dataclass(frozen=True)
class CsvSource(Source):
    """A CSV table of text. Only the columns that are used get a type.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The cells as text; null where there is nothing, not even quotes.
    path : str
        Where the table is.
    layout, meaning : mapping of str
        Options of Spark's reader: where cells end, and what they mean.
    text_column : str
        The name of a temporary column, for the text of the columns that are used.
    """

    path: str
    layout: Mapping[str, str]
    meaning: Mapping[str, str]
    text_column: str = field(default_factory=temp_column_name)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.df.columns

    @cached_property
    def types(self) -> list[DataType]:
        """The types that Spark infers from the values."""
        options = {**self.layout, **self.meaning, "inferschema": "true"}
        schema = self.df.sparkSession.read.options(**options).csv(self.path).schema
        return [column.dataType for column in schema.fields]

    @cached_property
    def cells(self) -> Cells:
        """The cells, in columns named by position: any name may be in a file, not every one in SQL text."""
        return Cells(self.df.toDF(*map(cell, range(len(self.names)))), self.names, self.meaning)

    def numeric(self, without: Collection[str] = ()) -> list[str]:
        """Return the columns of numbers, none of which is written like a code, such as 02134 or +49."""
        names = self.names
        columns = [i for i in range(len(names)) if self._is_numeric(i) and not self.is_one_of(names[i], without)]
        return [names[i] for i, is_code in zip(columns, self.cells.are_codes(columns), strict=True) if not is_code]

    def typed(self, numbers: Sequence[str], keys: Sequence[str] = (), *, keep_text: bool = False) -> DataFrame:
        """Return the table with the types that Spark infers for the columns that are used.

        Raises
        ------
        ColumnNotFoundError
            If there is no column of a name.
        ColumnTypeError
            If a column of numbers has other values.
        """
        number_columns = [self._position(name) for name in numbers]
        key_columns = [self._position(name) for name in keys]
        types = {i: self.types[i] for i in key_columns}
        types |= {i: self.types[i] if self._is_numeric(i) else DoubleType() for i in number_columns}
        self.cells.check_numbers([i for i in number_columns if not self._is_numeric(i)])
        expressions = [self.cells.value(i, types[i]) if i in types else cell(i) for i in range(len(self.names))]
        names = self.names
        if keep_text and types:
            fields = ", ".join(f"'{cell(i)}', {cell(i)}" for i in types)
            expressions.append(f"named_struct({fields}) AS texts")
            names = [*names, self.text_column]
        return Frame(self.cells.parse(types)).select(*expressions).toDF(*names)

    def with_text(self, df: DataFrame, outputs: Collection[str]) -> DataFrame:
        """Return a transformed ``typed`` with the columns as they were read, but for the outputs."""
        names = df.columns
        if self.text_column not in names:
            return df
        fields = df.schema[self.text_column].dataType.names  # type: ignore[attr-defined]
        field_of = {self.names[int(name[1:])]: name for name in fields}
        folded_outputs = {folded(output) for output in outputs}
        for name in [name for name in field_of if folded(name) in folded_outputs]:
            if any(same_name(df, name, output) for output in outputs):
                del field_of[name]
        text_cell = cell(names.index(self.text_column))
        columns = {i: name for i, name in enumerate(names) if name != self.text_column}
        expressions = [
            f"{text_cell}.{field_of[n]} AS {cell(i)}" if n in field_of else cell(i) for i, n in columns.items()
        ]
        return sql.select(df.toDF(*map(cell, range(len(names)))), *expressions).toDF(*columns.values())

    def hint(self) -> str:
        """Return what may be wrong if a column is missing: another separator, which names of columns hold."""
        separators = [mark for mark in OTHER_SEPARATORS if any(mark in name for name in self.names)]
        if not separators:
            return ""
        return f" If cells end at {separators[0]!r}, give --read-option sep={shell_quoted(separators[0])}."

    def _is_numeric(self, i: int) -> bool:
        return isinstance(self.types[i], NumericType)

    def _position(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        for i, column in enumerate(self.names):
            if same_name(self.df, column, name):
                return i
        raise ColumnNotFoundError(
            f"Column '{name}' does not exist. The table has: {listed(self.names, name)}.{self.hint()}"
        )
