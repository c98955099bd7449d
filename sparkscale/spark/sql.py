"""SQL text: quoting of names and strings, and the only place where text is passed to Spark's parser.

In all text that it parses, even inside quotes, Spark replaces ``${...}`` by the value of a setting or an environment
variable, or by nothing. Text with these two characters is never passed to it. With a certain setting, Spark interprets
quoted names as regular expressions; then, names that could be such expressions are never written in SQL text.
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
PLAIN = re.compile(r"\w+", re.ASCII)  # a name that is not a regular expression
MAX_SHOWN_CHARACTERS = 60  # of SQL text in a message


def quoted(name: str) -> str:
    """Return a column's name as SQL text.

    Raises
    ------
    ParamError
        If Spark would substitute a variable in the name.
    """
    return "`" + without_variables(name, f"Column '{name}'").replace("`", "``") + "`"


def path(names: Sequence[str]) -> str:
    """Return a column, or a nested field, as SQL text.

    Fields are accessed by strings, since Spark first resolves ``s.x`` as column ``x`` of a table or alias ``s``.
    """
    return quoted(names[0]) + "".join(f"[{string(name)}]" for name in names[1:])


def unreadable(spark: SparkSession, paths: Sequence[Sequence[str]]) -> list[bool]:
    """Whether Spark would misinterpret the SQL text of each path, under the session's settings."""
    special = [not PLAIN.fullmatch(top) for top, *_ in paths]
    escaped = [any(c in name for name in fields for c in "'\\") for _, *fields in paths]
    if any(special) and not is_on(spark, "spark.sql.parser.quotedRegexColumnNames"):
        special = [VARIABLE in top for top, *_ in paths]
    if any(escaped) and not is_on(spark, "spark.sql.parser.escapedStringLiterals"):
        escaped = [False] * len(paths)
    return [one or other for one, other in zip(special, escaped, strict=True)]


def is_on(spark: SparkSession, setting: str) -> bool:
    """Whether a setting that is off by default is on; a round trip on Connect."""
    return str(spark.conf.get(setting, "false")).lower() == "true"


def string(text: str) -> str:
    """Return a string as SQL text.

    Adjacent literals form one string, so that ``$`` and ``{`` can be separated. They cannot be escaped under
    ``spark.sql.parser.escapedStringLiterals``, where escaped quotes and backslashes keep their backslash.
    """
    literal = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return literal.replace(VARIABLE, "$' '{")


def without_variables(text: str, what: str) -> str:
    """Return text unchanged; raise if Spark would substitute a variable, so that ``what`` must be renamed."""
    if VARIABLE in text:
        raise ParamError(
            f"{what} holds '{VARIABLE}', which Spark replaces by a setting or an environment variable in SQL text. "
            "Rename it."
        )
    return text


def expr(text: str) -> Column:
    """Return an expression as a column."""
    return F.expr(_without_variables(text))


def select(df: DataFrame, *texts: str) -> DataFrame:
    """Return the DataFrame of these expressions."""
    return df.selectExpr(*map(_without_variables, texts))


def where(df: DataFrame, condition: str) -> DataFrame:
    """Return the rows for which a condition is true."""
    return df.where(_without_variables(condition))


def _without_variables(text: str) -> str:
    at = max(text.find(VARIABLE) - MAX_SHOWN_CHARACTERS // 2, 0)
    return without_variables(text, f"A name in SQL text, {text[at : at + MAX_SHOWN_CHARACTERS]!r},")
