"""The input table of a command: its columns, and the types with which they are used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame

from sparkscale.errors import ColumnNotFoundError
from sparkscale.spark.names import same_name
from sparkscale.spark.patterns import matching, numeric

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """A table whose columns have types.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The table as it was read.
    """

    df: DataFrame

    def numeric(self, without: Collection[str] = ()) -> list[str]:
        """Return the numeric columns, but for those to be left out."""
        return [name for name in numeric(self.df) if not self.is_one_of(name, without)]

    def is_one_of(self, name: str, others: Collection[str]) -> bool:
        """Whether a name is the same to the session as one of the others."""
        return any(same_name(self.df, name, other) for other in others)

    def typed(self, numbers: Sequence[str], keys: Sequence[str] = (), *, keep_text: bool = False) -> DataFrame:
        """Return the table with the types of the columns that are used.

        Parameters
        ----------
        numbers : sequence of str
            Columns that are used as numbers.
        keys : sequence of str
            Columns whose values are compared and ordered.
        keep_text : bool
            Whether ``with_text`` is called later.
        """
        return self.df

    def with_text(self, df: DataFrame, outputs: Collection[str]) -> DataFrame:
        """Return a transformed ``typed`` with the columns as they were read, but for the outputs."""
        return df

    def hint(self) -> str:
        """Return what may be wrong if a column is missing, as the last sentence of a message, or an empty string."""
        return ""

    def matching(
        self, patterns: Sequence[str], exclude: Sequence[str] = (), without: Collection[str] = ()
    ) -> list[str]:
        """Return the names of the columns that match names and patterns, as ``sparkscale.columns`` does.

        Parameters
        ----------
        patterns : sequence of str
            Names; patterns with ``*``, ``?`` and ``[...]``; or ``numeric``, all numeric columns.
        exclude : sequence of str
            Names and patterns of columns to leave out.
        without : collection of str
            What ``numeric`` leaves out.

        Raises
        ------
        ColumnNotFoundError
            If a name or pattern matches no column.
        """
        try:
            return matching(self.df, patterns, lambda: self.numeric(without), exclude)
        except ColumnNotFoundError as error:
            raise ColumnNotFoundError(f"{error}{self.hint()}") from None
