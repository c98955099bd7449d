"""SQL text: names and strings in it, and its only way to Spark's parser.

In all text that it parses, inside quotes too, Spark puts the value of a setting or an environment variable, or nothing,
in place of ``${...}``. No text with these two characters is handed to it. Under a setting it reads quoted names as
patterns; where it does, names that could be patterns are in no text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale.errors import ParamError

__all__ = [
    "VARIABLE",
    "expr",
    "is_on",
    "path",
    "quoted",
    "select",
    "string",
    "unreadable",
    "where",
    "without_variables",
]

VARIABLE = "${"
PLAIN = re.compile(r"\w+", re.ASCII)  # a name that is no pattern of others
SHOWN = 60  # characters of a text that a message shows


def quoted(name: str) -> str:
    """Return a column's name as SQL text.

    Raises
    ------
    ParamError
        If the text would be another name to Spark.
    """
    return "`" + without_variables(name, f"Column '{name}'").replace("`", "``") + "`"


def path(names: Sequence[str]) -> str:
    """Return a column, or a field in it, as SQL text.

    Fields are taken out of the column by a string: in ``s.x`` Spark sees column ``x`` of a table or an alias ``s`` first.
    """
    return quoted(names[0]) + "".join(f"[{string(name)}]" for name in names[1:])


def unreadable(spark: SparkSession, paths: Sequence[Sequence[str]]) -> list[bool]:
    """Whether Spark would read something else in the SQL text of a path, under the session's settings."""
    special = [not PLAIN.fullmatch(top) for top, *_ in paths]
    escaped = [any(c in name for name in fields for c in "'\\") for _, *fields in paths]
    if any(special) and not is_on(spark, "spark.sql.parser.quotedRegexColumnNames"):
        special = [VARIABLE in top for top, *_ in paths]
    if any(escaped) and not is_on(spark, "spark.sql.parser.escapedStringLiterals"):
        escaped = [False] * len(paths)
    return [one or other for one, other in zip(special, escaped, strict=True)]


def is_on(spark: SparkSession, setting: str) -> bool:
    """Whether a setting that is off by default is on; on Connect to ask is a round trip."""
    return str(spark.conf.get(setting, "false")).lower() == "true"


def string(text: str) -> str:
    """Return a string as SQL text.

    Two literals beside each other are one string, so that ``$`` and ``{`` can stand apart. There is no escape for them
    under ``spark.sql.parser.escapedStringLiterals``, where quotes and backslashes keep the backslash before them.
    """
    literal = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return literal.replace(VARIABLE, "$' '{")


def without_variables(text: str, what: str) -> str:
    """Return text as it is, if it is the same to Spark's parser; else ``what`` is to be renamed."""
    if VARIABLE in text:
        raise ParamError(
            f"{what} holds '{VARIABLE}', in place of which Spark puts a setting or an environment variable into SQL "
            "text. Rename it."
        )
    return text


def expr(text: str) -> Column:
    """Return an expression as a column."""
    return F.expr(_checked(text))


def select(df: DataFrame, *texts: str) -> DataFrame:
    """Return what expressions make of each row."""
    return df.selectExpr(*map(_checked, texts))


def where(df: DataFrame, condition: str) -> DataFrame:
    """Return the rows of which a condition is true."""
    return df.where(_checked(condition))


def _checked(text: str) -> str:
    at = max(text.find(VARIABLE) - SHOWN // 2, 0)
    return without_variables(text, f"A name in SQL text, {text[at : at + SHOWN]!r},")
