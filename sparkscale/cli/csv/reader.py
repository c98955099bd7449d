"""Reading CSV files: which options they need besides those given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale.cli.csv.options import LAYOUT, split_options
from sparkscale.cli.csv.source import CsvSource
from sparkscale.cli.source import Source
from sparkscale.errors import InvalidValueError
from sparkscale.spark import sql
from sparkscale.spark.columns import temp_column_name

__all__ = ["read"]


def read(spark: SparkSession, path: str, options: Mapping[str, str]) -> Source:
    """Return a CSV table, of text unless ``inferSchema`` asks for types.

    Raises
    ------
    InvalidValueError
        If the files are not UTF-8 and no other encoding is named.
    """
    layout, meaning = split_options(options)
    layout = {**LAYOUT, "escape": layout.get("quote", '"'), **_line_options(spark, path, layout), **layout}
    if meaning.get("inferschema", "false").lower() == "true":
        return Source(spark.read.options(**layout, **meaning).csv(path))
    text_options = {**layout, "nullvalue": temp_column_name()}  # no cell is this, so that "" is not null
    schema = spark.read.options(**text_options).csv(path).schema
    if not _has_generated_names(spark, path, text_options, schema.names):
        text_options.setdefault("enforceschema", "false")  # compares the headers of all files
    return CsvSource(spark.read.schema(schema).options(**text_options).csv(path), path, layout, meaning)


def _line_options(spark: SparkSession, path: str, layout: Mapping[str, str]) -> dict[str, str]:
    """Return the options that keep Spark from splitting or dropping rows, as the lines of the files show."""
    lines = spark.read.options(**{**layout, "linesep": layout.get("linesep", "\n")}).text(path)
    needs_multiline, is_other_encoding = sql.select(
        lines, _needs_multiline(layout), "max(encode(value, 'UTF-8') <> binary(value))"
    ).collect()[0]
    if is_other_encoding and not layout.keys() & {"encoding", "charset"}:
        raise InvalidValueError(
            f"'{path}' is not encoded in UTF-8. Name its encoding, such as --read-option encoding=ISO-8859-1."
        )
    if not needs_multiline or layout.get("multiline", "true").lower() != "true":
        return {}
    if "linesep" in layout or not _ends_in_crlf(lines):
        return {"multiline": "true"}
    # Where Spark itself detects that rows end in CRLF, it turns CRLF in cells into LF.
    return {"multiline": "true", "linesep": "\r\n"}


def _needs_multiline(layout: Mapping[str, str]) -> str:
    """Return the aggregate, as SQL, that is true if a line is not a row, or Spark might drop it."""
    quote = layout.get("quote", '"')
    separator = layout.get("sep", layout.get("delimiter", ",")).replace("\\t", "\t")
    conditions = []
    if quote:
        # An odd number of quotes: a cell goes on in the next line.
        text = sql.string(quote)
        conditions.append(f"(octet_length(value) - octet_length(replace(value, {text}, ''))) % 2 = 1")
        # A carriage return that does not end the line: Spark may drop the row.
        conditions.append("contains(trim(TRAILING chr(13) FROM value), chr(13))")
    if separator in (" ", "\t"):
        # A line of nothing but separators and spaces: Spark drops the row.
        text = sql.string(separator)
        conditions.append(f"contains(value, {text}) AND translate(value, ' \t\r', '') = ''")
    return f"max({' OR '.join(conditions) or 'false'})"


def _ends_in_crlf(lines: DataFrame) -> bool:
    """Whether each line that is a header ends in CRLF."""
    header = lines.first()["value"].removesuffix("\r")  # type: ignore[index]  # some line has quotes
    headers = lines.where(F.col("value").isin(header, f"{header}\r"))
    return bool(headers.select(F.min(F.col("value").endswith("\r"))).collect()[0][0])


def _has_generated_names(spark: SparkSession, path: str, options: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether Spark has named a column by its position: one whose header cell is empty or repeated."""
    if not any(name.endswith(str(i)) for i, name in enumerate(names)):
        return False
    header = spark.read.options(**{**options, "header": "false"}).csv(path).first()
    return header is None or list(header) != list(names)
