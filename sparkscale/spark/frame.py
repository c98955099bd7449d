"""A DataFrame while columns are added to it, and the one place where SQL text gets the form that the session wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pyspark.sql import Column, DataFrame

from sparkscale.spark import gpu, sql
from sparkscale.spark.columns import C, readable, temp_column_name
from sparkscale.spark.expression import RARE, rare, rendered

__all__ = ["Frame"]

Metadata = dict[str, Any]

# Expressions that may be too much for one Java method: 20 clipped scalars are not, 40 are. Ten, in one, take 0.6 times
# what they take in several. Of so many or more each so-many-th is written twice: any so many in a row, if not all are
# selected, hold one. Scattered ones may hold none; each eighth would reach most, and made transform of 1,000 columns
# 1.07 times as long.
EXPRESSIONS_PER_METHOD = 24


class Frame:
    """A DataFrame to which expressions are added under temporary names, until `finish` drops these.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data; the attribute ``df`` is what it has become.
    """

    def __init__(self, df: DataFrame) -> None:
        self.df = df
        self._temporary: list[str] = []

    @cached_property
    def has_plugin(self) -> bool:
        """Whether the RAPIDS Accelerator runs the session's SQL; on Connect to ask is a round trip."""
        return gpu.has_plugin(self.df.sparkSession)

    def expr(self, text: str) -> Column:
        """Return SQL text as a column."""
        return sql.expr(self._rendered(text))

    def _rendered(self, text: str) -> str:
        return rendered(text, interpreted=not self.has_plugin)

    def read(self, columns: Sequence[C]) -> list[C]:
        """Return columns as SQL text can read them; see `columns.readable`."""
        self.df, readable_columns, names = readable(self.df, columns)
        self._temporary += names
        return readable_columns

    def add(self, expression: str | Column, metadata: Metadata | None = None) -> str:
        """Add an expression under a temporary name, and return the name."""
        return self.add_all([expression], None if metadata is None else [metadata])[0]

    def add_all(self, expressions: Sequence[str | Column], metadata: Sequence[Metadata] | None = None) -> list[str]:
        """Add expressions in one select, each under a temporary name, and return the names."""
        names = [temp_column_name() for _ in expressions]
        of_name = dict(zip(names, metadata, strict=True)) if metadata else None
        self.add_named(dict(zip(names, expressions, strict=True)), of_name)
        self._temporary += names
        return names

    def add_named(
        self, expressions: Mapping[str, str | Column], metadata: Mapping[str, Metadata] | None = None
    ) -> None:
        """Add expressions in one select, each under its own name, to stay."""
        if metadata is None and all(isinstance(e, str) for e in expressions.values()):
            texts = (f"{self._rendered(str(text))} AS {sql.quoted(name)}" for name, text in expressions.items())
            self.df = sql.select(self.df, "*", *texts)
            return
        columns = {name: self.expr(e) if isinstance(e, str) else e for name, e in expressions.items()}
        given = metadata or {}
        self.df = self.df.select("*", *(c.alias(n, metadata=given.get(n)) for n, c in columns.items()))

    def add_by(self, transform: Callable[[DataFrame], DataFrame], output: str) -> str:
        """Add the output of a stage of Spark's, which has a temporary name, and return the name."""
        self.df = transform(self.df)
        self._temporary.append(output)
        return output

    def join(self, table: DataFrame, key: str, table_key: str) -> None:
        """Add the columns of a table to the rows of the same key, to be dropped in the end; null where there is none."""
        self.df = self.df.join(table, on=self.df[key] == table[table_key], how="left")
        self._temporary += table.columns

    def where(self, conditions: Sequence[str]) -> None:
        """Keep the rows for which all conditions are true."""
        texts = self.in_methods(conditions, "({0} OR {1})")
        self.df = sql.where(self.df, self._rendered(" AND ".join(texts)))

    def in_methods(self, texts: Sequence[str], again: str) -> list[str]:
        """Return the expressions of one select or filter; if there are many, so that Java gets several methods of them.

        Parameters
        ----------
        texts : sequence of str
            SQL.
        again : str
            What leaves the value of ``{0}`` as it is, and asks ``{1}`` for the same in a case that is rare.
        """
        if len(texts) < EXPRESSIONS_PER_METHOD or self.has_plugin or any(RARE in text for text in texts):
            return list(texts)
        return [t if k % EXPRESSIONS_PER_METHOD else again.format(t, rare(t)) for k, t in enumerate(texts)]

    def select(self, *expressions: str | Column) -> DataFrame:
        """Return what expressions make of each row, and no more."""
        if all(isinstance(e, str) for e in expressions):
            return sql.select(self.df, *(self._rendered(str(text)) for text in expressions))
        return self.df.select(*(self.expr(e) if isinstance(e, str) else e for e in expressions))

    def finish(self) -> DataFrame:
        """Return the DataFrame without what was temporary."""
        return self.df.drop(*self._temporary) if self._temporary else self.df
