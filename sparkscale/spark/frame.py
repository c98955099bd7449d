"""A DataFrame with temporary columns, and the place where SQL text is rendered for the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, reduce
from operator import and_
from types import MappingProxyType
from typing import Any

from pyspark.sql import Column, DataFrame

from sparkscale.spark import gpu, sql
from sparkscale.spark.columns import C, readable, temp_column_name
from sparkscale.spark.expression import RARE, rare, rendered

__all__ = ["Frame"]

Metadata = dict[str, Any]

# From this number on, expressions may exceed the limit of one Java method: 20 clipped scalars do not, 40 do. Ten
# expressions take 0.6 times as long in one method as in several. Of longer lists, every 24th expression gets a rare
# branch, so that any 24 consecutive ones contain one even if only some columns are selected later. Scattered selections
# may contain none; a rare branch in every 8th would cover most of them, but made transform of 1,000 columns 1.07 times
# as long.
EXPRESSIONS_PER_METHOD = 24


class Frame:
    """A DataFrame to which expressions are added under temporary names, which `finish` drops.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data. The attribute ``df`` is the current DataFrame.
    """

    def __init__(self, df: DataFrame) -> None:
        self.df = df
        self._temporary: list[str] = []

    @cached_property
    def has_plugin(self) -> bool:
        """Whether the RAPIDS Accelerator runs the session's SQL; a round trip on Connect."""
        return gpu.has_plugin(self.df.sparkSession)

    def expr(self, text: str) -> Column:
        """Return SQL text as a column."""
        return sql.expr(self._rendered(text))

    def _rendered(self, text: str) -> str:
        return rendered(text, interpreted=not self.has_plugin) if RARE in text else text

    def read(self, columns: Sequence[C]) -> list[C]:
        """Make columns readable by SQL text; see `columns.readable`."""
        self.df, readable_columns, names = readable(self.df, columns)
        self._temporary += names
        return readable_columns

    def add(self, expression: str | Column, metadata: Metadata | None = None) -> str:
        """Add an expression under a temporary name, and return the name."""
        return self.add_all([expression], None if metadata is None else [metadata])[0]

    def add_all(self, expressions: Sequence[str | Column], metadata: Sequence[Metadata] | None = None) -> list[str]:
        """Add expressions in one select, each under a temporary name, and return the names."""
        names = [temp_column_name() for _ in expressions]
        metadata_by_name = dict(zip(names, metadata, strict=True)) if metadata else None
        self.add_named(dict(zip(names, expressions, strict=True)), metadata_by_name)
        self._temporary += names
        return names

    def add_named(
        self, expressions: Mapping[str, str | Column], metadata: Mapping[str, Metadata] | None = None
    ) -> None:
        """Add expressions in one select, each under its own name, as permanent columns."""
        if metadata is None and all(isinstance(e, str) for e in expressions.values()):
            texts = (f"{self._rendered(str(text))} AS {sql.quoted(name)}" for name, text in expressions.items())
            self.df = sql.select(self.df, "*", *texts)
            return
        columns = {name: self.expr(e) if isinstance(e, str) else e for name, e in expressions.items()}
        metadata = metadata or {}
        self.df = self.df.select("*", *(c.alias(n, metadata=metadata.get(n)) for n, c in columns.items()))

    def add_by(self, transform: Callable[[DataFrame], DataFrame], output: str) -> str:
        """Add the output of a Spark ML stage, which has a temporary name, and return the name."""
        self.df = transform(self.df)
        self._temporary.append(output)
        return output

    def join(
        self,
        table: DataFrame,
        *,
        equal: Mapping[str, str] = MappingProxyType({}),
        null_safe: Mapping[str, str] = MappingProxyType({}),
        within: tuple[str, str, str] | None = None,
    ) -> None:
        """Left join a table; its columns are temporary.

        Parameters
        ----------
        table : pyspark.sql.DataFrame
            The table.
        equal, null_safe : dict of str to str
            Columns of the frame, and those of the table that they must equal; in the latter, null equals null.
        within : tuple of three str, optional
            A column of the frame, and the two of the table that it must lie between.
        """
        conditions = [self.df[key].eqNullSafe(table[other]) for key, other in null_safe.items()]
        conditions += [self.df[key] == table[other] for key, other in equal.items()]
        if within:
            value, first, last = within
            conditions.append(self.df[value].between(table[first], table[last]))
        self.df = self.df.join(table, on=reduce(and_, conditions), how="left")
        self._temporary += table.columns

    def where(self, conditions: Sequence[str]) -> None:
        """Keep the rows for which all conditions are true."""
        texts = self.split_methods(conditions, "({0} OR {1})")
        self.df = sql.where(self.df, self._rendered(" AND ".join(texts)))

    def split_methods(self, texts: Sequence[str], repeated: str) -> list[str]:
        """Return the expressions of one select or filter; if many, so that Spark splits them into Java methods.

        Parameters
        ----------
        texts : sequence of str
            SQL.
        repeated : str
            Text with the value of ``{0}`` that evaluates ``{1}``, the same expression, only in rare cases.
        """
        if len(texts) < EXPRESSIONS_PER_METHOD or self.has_plugin or any(RARE in text for text in texts):
            return list(texts)
        return [t if k % EXPRESSIONS_PER_METHOD else repeated.format(t, rare(t)) for k, t in enumerate(texts)]

    def select(self, *expressions: str | Column) -> DataFrame:
        """Return a DataFrame of these expressions only."""
        if all(isinstance(e, str) for e in expressions):
            return sql.select(self.df, *(self._rendered(str(text)) for text in expressions))
        return self.df.select(*(self.expr(e) if isinstance(e, str) else e for e in expressions))

    def finish(self) -> DataFrame:
        """Return the DataFrame without temporary columns."""
        return self.df.drop(*self._temporary) if self._temporary else self.df
