"""CSV as text: only the columns that are used get a type, all others are written as they were read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from shlex import quote as in_shell

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DoubleType, NumericType, StringType

from sparkscale.errors import ColumnNotFoundError, ColumnTypeError, InvalidValueError
from sparkscale.spark import jvm, sql
from sparkscale.spark.columns import temp_column_name
from sparkscale.spark.expression import failure, rare
from sparkscale.spark.frame import Frame
from sparkscale.spark.names import folded, listed, same_name
from sparkscale.spark.source import Source

__all__ = ["read", "unreadable", "write_options"]

# RFC 4180: a quote is doubled, and blanks belong to the cell. Where the file is not like this, reading fails.
LAYOUT = {
    "header": "true",
    "ignoreleadingwhitespace": "false",
    "ignoretrailingwhitespace": "false",
    "unescapedquotehandling": "RAISE_ERROR",
    "mode": "FAILFAST",
    "columnpruning": "false",  # with it Spark does not count the cells of a row
}
# Options that say what a cell means, not where it ends.
MEANING = (
    *("nullvalue", "nanvalue", "positiveinf", "negativeinf", "emptyvalue", "locale", "timezone", "preferdate"),
    *("dateformat", "timestampformat", "timestampntzformat", "enabledatetimeparsingfallback"),
    *("inferschema", "samplingratio"),
)
# A zero before another digit, a plus sign before the digits, or a letter after them, which Java takes for a type.
CODE = "^[^0-9.]*([+]|0[0-9])|[0-9.][dDfF][^0-9]*$"
SEPARATOR = "\x1f"
OTHER_SEPARATORS = ";\t|"
SHOWN = 80  # characters of a row in a message


@dataclass(frozen=True)
class CsvSource(Source):
    """A CSV table, of whose cells only those in the columns that are used mean anything.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The cells as text; null where there is nothing, not even quotes.
    path : str
        Where the table is.
    layout, meaning : mapping of str
        Options of Spark's reader: where cells end, and what they mean.
    texts : str
        The name of a temporary column.
    """

    path: str
    layout: Mapping[str, str]
    meaning: Mapping[str, str]
    texts: str = field(default_factory=temp_column_name)

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

    @property
    def cells(self) -> DataFrame:
        """The table under names that text can hold, by position."""
        return self.df.toDF(*(_cell(i) for i in range(len(self.names))))

    def numeric(self, without: Collection[str] = ()) -> list[str]:
        """Return the columns of numbers, none of which is written like a code, such as 02134 or +49."""
        names = self.names
        candidates = [
            i
            for i, kind in enumerate(self.types)
            if isinstance(kind, NumericType) and not self.is_one_of(names[i], without)
        ]
        if not candidates:
            return []
        pattern = sql.string(CODE)
        codes = [f"max({self._is_value(_cell(i))} AND {_cell(i)} RLIKE {pattern})" for i in candidates]
        row = _row(sql.select(self.cells, *codes))
        return [names[i] for i, is_code in zip(candidates, row, strict=True) if not is_code]

    def typed(self, numbers: Sequence[str], keys: Sequence[str] = (), *, keep_text: bool = False) -> DataFrame:
        """Return the table with the types that Spark infers for the columns that are used.

        Raises
        ------
        ColumnNotFoundError
            If there is no column of a name.
        ColumnTypeError
            If a column of numbers has other values.
        """
        chosen = [self._position(name) for name in numbers]
        types = {self._position(name): self.types[self._position(name)] for name in keys}
        types |= {i: self.types[i] if isinstance(self.types[i], NumericType) else DoubleType() for i in chosen}
        self._check_numbers([i for i in chosen if not isinstance(self.types[i], NumericType)])
        cells = self._parsed(types)
        texts = [self._value(i, types[i]) if i in types else _cell(i) for i in range(len(self.names))]
        names = self.names
        if keep_text and types:
            fields = ", ".join(f"'{_cell(i)}', {_cell(i)}" for i in types)
            texts.append(f"named_struct({fields}) AS texts")
            names = [*names, self.texts]
        return Frame(cells).select(*texts).toDF(*names)

    def with_text(self, df: DataFrame, outputs: Collection[str]) -> DataFrame:
        """Return what was made of ``typed`` with the columns as they were read, but for the outputs."""
        names = df.columns
        if self.texts not in names:
            return df
        columns = {self.names[int(cell[1:])]: cell for cell in df.schema[self.texts].dataType.names}  # type: ignore[attr-defined]
        texts = _cell(names.index(self.texts))
        kept = [(_cell(k), name) for k, name in enumerate(names) if name != self.texts]
        alike = {folded(output) for output in outputs}
        replaced = {n for n in columns if folded(n) in alike and any(same_name(df, n, output) for output in outputs)}
        cells = [f"{texts}.{columns[n]} AS {c}" if n in columns.keys() - replaced else c for c, n in kept]
        return sql.select(df.toDF(*map(_cell, range(len(names)))), *cells).toDF(*(name for _, name in kept))

    def hint(self) -> str:
        """Return what may be wrong if a column is missing: another separator, which names of columns hold."""
        separators = [mark for mark in OTHER_SEPARATORS if any(mark in name for name in self.names)]
        if not separators:
            return ""
        return f" If cells end at {separators[0]!r}, give --read-option sep={in_shell(separators[0])}."

    def _position(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        for i, column in enumerate(self.names):
            if same_name(self.df, column, name):
                return i
        raise ColumnNotFoundError(
            f"Column '{name}' does not exist. The table has: {listed(self.names, name)}.{self.hint()}"
        )

    def _parsed(self, types: Mapping[int, DataType]) -> DataFrame:
        """Add the struct ``parsed`` of the values of columns, which are null where they cannot be read."""
        parsed = {i: kind for i, kind in types.items() if not isinstance(kind, StringType)}
        if not parsed:
            return self.cells
        mark = sql.string(SEPARATOR)
        texts = ", ".join(f"coalesce(translate(string({_cell(i)}), {mark}, '?'), '')" for i in parsed)
        schema = ", ".join(f"{_cell(i)} {kind.simpleString()}" for i, kind in parsed.items())
        options = {**self.meaning, "sep": SEPARATOR, "quote": ""}
        line = sql.expr(f"concat_ws({mark}, {texts})")
        return self.cells.select("*", F.from_csv(line, schema, options).alias("parsed"))

    def _value(self, i: int, kind: DataType) -> str:
        """Return the value of a parsed column as SQL; one that cannot be read makes the job fail."""
        cell = _cell(i)
        if isinstance(kind, StringType):
            return f"CASE WHEN {self._is_value(cell)} THEN {cell} END AS {cell}"
        refused = failure(
            InvalidValueError,
            f"Column '{self.names[i]}' holds '",
            cell,
            f"', which is not of the type of its other values, {kind.simpleString()}. Correct it, or leave the column "
            "out; if it marks a missing value, name it with --read-option nullValue=.",
            kind.simpleString(),
        )
        unread = f"parsed.{cell} IS NULL AND {self._is_value(cell)}"
        return f"CASE WHEN {unread} THEN {rare(refused)} ELSE parsed.{cell} END AS {cell}"

    def _is_value(self, cell: str) -> str:
        """Return the condition that a cell is not missing."""
        null = self.meaning.get("nullvalue")
        return f"(string({cell}) <> ''" + (f" AND string({cell}) <> {sql.string(null)})" if null else ")")

    def _check_numbers(self, positions: Sequence[int]) -> None:
        """Refuse columns with values that are no numbers."""
        if not positions:
            return
        other = {i: f"parsed.{_cell(i)} IS NULL AND {self._is_value(_cell(i))}" for i in positions}
        parts = [(f"count_if({t})", f"first(CASE WHEN {t} THEN {_cell(i)} END, true)") for i, t in other.items()]
        row = _row(
            sql.select(self._parsed(dict.fromkeys(other, DoubleType())), *(part for pair in parts for part in pair))
        )
        for k, i in enumerate(other):
            count, value = row[2 * k], row[2 * k + 1]
            if count:
                values = (
                    "one value that is not a number,"
                    if count == 1
                    else f"{count:,} values that are not numbers, the first"
                )
                raise ColumnTypeError(
                    f"Column '{self.names[i]}' has {values} {_shown(value)!r}. If this marks a missing value, name "
                    f"it: --read-option {in_shell(f'nullValue={value}')}. Otherwise correct it, or leave the column out."
                )


def read(spark: SparkSession, path: str, options: Mapping[str, str]) -> Source:
    """Return a CSV table, of text unless ``inferSchema`` asks for types.

    Raises
    ------
    InvalidValueError
        If the files are not UTF-8 and no other encoding is named.
    """
    given = {name.lower(): value for name, value in options.items()}
    meaning = {name: value for name, value in given.items() if name in MEANING}
    layout = {name: value for name, value in given.items() if name not in MEANING}
    layout = {**LAYOUT, "escape": given.get("quote", '"'), **_lines(spark, path, layout), **layout}
    if given.get("inferschema", "false").lower() == "true":
        return Source(spark.read.options(**layout, **meaning).csv(path))
    text = {**layout, "nullvalue": temp_column_name()}  # no cell is this, so that an empty one in quotes is not null
    schema = spark.read.options(**text).csv(path).schema
    if not _has_made_up(spark, path, text, schema.names):
        text.setdefault("enforceschema", "false")  # compares the headers of all files
    return CsvSource(spark.read.schema(schema).options(**text).csv(path), path, layout, meaning)


def write_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of Spark's writer: those given, and those that keep every cell as it is."""
    given = {name.lower(): value for name, value in options.items()}
    kept = {name: LAYOUT[name] for name in ("header", "ignoreleadingwhitespace", "ignoretrailingwhitespace")}
    return {**kept, "escape": given.get("quote", '"'), **given}


def unreadable(error: BaseException) -> str | None:
    """Return what to do about a CSV file that Spark fails to read, or ``None`` if this is not the error."""
    text = f"{jvm.message(error)}\n{error}"
    if "MALFORMED_CSV_RECORD" in text or "MALFORMED_RECORD_IN_PARSING" in text:
        _, mark, row = text.partition("Malformed CSV record: ")
        row = f": {_shown(row.partition(chr(10))[0].removesuffix(' SQLSTATE: KD000'))}" if mark else "."
        return (
            "A row of the CSV file has more or fewer cells than the header. Correct it, or choose with --read-option "
            "mode=DROPMALFORMED to leave such rows out, or mode=PERMISSIVE to leave out surplus cells and fill up missing "
            f"ones. The row{row}"
        )
    if "Unescaped quote character" in text:
        return (
            "A quoted cell of the CSV file has a quote that is not doubled. If another character escapes it, name it: "
            "--read-option escape='\\'. To read such cells as they come: --read-option "
            "unescapedQuoteHandling=STOP_AT_DELIMITER."
        )
    if "CSV header does not conform" in text:
        return (
            "The CSV files have different headers. Give them the same columns in the same order, or read all by the header "
            "of one of them: --read-option enforceSchema=true."
        )
    return None


def _lines(spark: SparkSession, path: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that keep Spark from splitting or dropping rows, as the lines of the files show."""
    by_line = options.get("linesep", "\n")
    lines = spark.read.options(**{**options, "linesep": by_line}).text(path)
    quote, separator = options.get("quote", '"'), options.get("sep", options.get("delimiter", ",")).replace("\\t", "\t")
    # An odd number of quotes: a cell goes on in the next line. Blank lines with separators: Spark drops these rows.
    # So it may where a carriage return stands that ends no line.
    whole = [f"(octet_length(value) - octet_length(replace(value, {sql.string(quote)}, ''))) % 2 = 1"] if quote else []
    whole += ["contains(trim(TRAILING chr(13) FROM value), chr(13))"] if quote else []
    if separator in (" ", "\t"):
        whole.append(f"contains(value, {sql.string(separator)}) AND translate(value, ' \t\r', '') = ''")
    splits, is_other = _row(
        sql.select(lines, f"max({' OR '.join(whole) or 'false'})", "max(encode(value, 'UTF-8') <> binary(value))")
    )
    if is_other and not options.keys() & {"encoding", "charset"}:
        raise InvalidValueError(
            f"'{path}' is not encoded in UTF-8. Name its encoding, such as --read-option encoding=ISO-8859-1."
        )
    if not splits or options.get("multiline", "true").lower() != "true":
        return {}
    if "linesep" in options:
        return {"multiline": "true"}
    # Spark turns CRLF in cells into LF if it finds out by itself that rows end in CRLF.
    header = lines.first()["value"].removesuffix("\r")  # type: ignore[index]  # some line has quotes
    ends = lines.where(F.col("value").isin(header, f"{header}\r")).select(F.min(F.col("value").endswith("\r")))
    return {"multiline": "true"} | ({"linesep": "\r\n"} if _row(ends)[0] else {})


def _has_made_up(spark: SparkSession, path: str, options: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether Spark has made up a name by its position: for a cell of the header that is empty or repeated."""
    if not any(name.endswith(str(i)) for i, name in enumerate(names)):
        return False
    header = spark.read.options(**{**options, "header": "false"}).csv(path).first()
    return header is None or list(header) != list(names)


def _cell(i: int) -> str:
    return f"c{i}"


def _row(df: DataFrame) -> Row:
    return df.collect()[0]


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
