"""Cells of CSV files: when one is missing, and what values they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as shell_quoted

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DoubleType, StringType

from sparkscale.cli.csv.errors import shortened
from sparkscale.errors import ColumnTypeError, InvalidValueError
from sparkscale.spark import sql
from sparkscale.spark.expression import failure, rare

__all__ = ["Cells", "cell"]

# A zero before another digit, a plus sign before the digits, or a letter after them, which Java takes for a type.
CODE = "^[^0-9.]*([+]|0[0-9])|[0-9.][dDfF][^0-9]*$"
SEPARATOR = "\x1f"


def cell(i: int) -> str:
    """Return the name of a column by its position."""
    return f"c{i}"


@dataclass(frozen=True)
class Cells:
    """The cells of a CSV table as text. Methods take columns by position, and return SQL in which they are ``cell(i)``.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Columns ``cell(i)``; null where there is nothing, not even quotes.
    names : sequence of str
        The names of the columns in the file.
    meaning : mapping of str
        Options of Spark's reader that say what cells mean.
    """

    df: DataFrame
    names: Sequence[str]
    meaning: Mapping[str, str]

    def are_codes(self, columns: Sequence[int]) -> list[bool]:
        """Whether a value of each column is written like a code, such as 02134 or +49."""
        if not columns:
            return []
        pattern = sql.string(CODE)
        codes = [f"max({self._is_value(i)} AND {cell(i)} RLIKE {pattern})" for i in columns]
        return [bool(is_code) for is_code in sql.select(self.df, *codes).collect()[0]]

    def check_numbers(self, columns: Sequence[int]) -> None:
        """Refuse columns with values that are not numbers.

        Raises
        ------
        ColumnTypeError
            That has the first of these values.
        """
        if not columns:
            return
        aggregates = []
        for i in columns:
            unparsed = self._is_unparsed(i)
            aggregates += [f"count_if({unparsed})", f"first(CASE WHEN {unparsed} THEN {cell(i)} END, true)"]
        row = sql.select(self.parse(dict.fromkeys(columns, DoubleType())), *aggregates).collect()[0]
        for i, count, value in zip(columns, row[::2], row[1::2], strict=True):
            if count:
                values = (
                    "one value that is not a number,"
                    if count == 1
                    else f"{count:,} values that are not numbers, the first"
                )
                raise ColumnTypeError(
                    f"Column '{self.names[i]}' has {values} {shortened(value)!r}. If this marks a missing value, name "
                    f"it: --read-option {shell_quoted(f'nullValue={value}')}. Otherwise correct it, or leave the "
                    "column out."
                )

    def parse(self, types: Mapping[int, DataType]) -> DataFrame:
        """Add the struct ``parsed`` of the values of columns, which are null where a cell cannot be parsed."""
        types = {i: data_type for i, data_type in types.items() if not isinstance(data_type, StringType)}
        if not types:
            return self.df
        separator = sql.string(SEPARATOR)
        texts = ", ".join(f"coalesce(translate(string({cell(i)}), {separator}, '?'), '')" for i in types)
        schema = ", ".join(f"{cell(i)} {data_type.simpleString()}" for i, data_type in types.items())
        options = {**self.meaning, "sep": SEPARATOR, "quote": ""}
        line = sql.expr(f"concat_ws({separator}, {texts})")
        return self.df.select("*", F.from_csv(line, schema, options).alias("parsed"))

    def value(self, i: int, data_type: DataType) -> str:
        """Return the value of a cell in what ``parse`` returns. One that cannot be parsed makes the job fail."""
        if isinstance(data_type, StringType):
            return f"CASE WHEN {self._is_value(i)} THEN {cell(i)} END AS {cell(i)}"
        error = failure(
            InvalidValueError,
            f"Column '{self.names[i]}' holds '",
            cell(i),
            f"', which is not of the type of its other values, {data_type.simpleString()}. Correct it, or leave the "
            "column out; if it marks a missing value, name it with --read-option nullValue=.",
            data_type.simpleString(),
        )
        return f"CASE WHEN {self._is_unparsed(i)} THEN {rare(error)} ELSE parsed.{cell(i)} END AS {cell(i)}"

    def _is_unparsed(self, i: int) -> str:
        return f"parsed.{cell(i)} IS NULL AND {self._is_value(i)}"

    def _is_value(self, i: int) -> str:
        """Return the condition that a cell is not missing."""
        null = self.meaning.get("nullvalue")
        condition = f"(string({cell(i)}) <> ''"
        return f"{condition} AND string({cell(i)}) <> {sql.string(null)})" if null else f"{condition})"
