"""Columns chosen by names and patterns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkscale import StandardScaler, columns
from sparkscale.cli.source import Source
from sparkscale.errors import ColumnNotFoundError, DatasetError, ParamError, ParamTypeError
from sparkscale.spark.columns import resolve

SCHEMA = """id bigint, dep_delay double, dep_hour decimal(4, 2), late boolean, name string, a array<double>,
    Distance float, `x.1` int, `x.2` int, `w[1]` double, w1 tinyint, `b``t` smallint, variable float,
    s struct<x: double, `p.q`: double, `y*`: double>, m map<string, double>"""
NUMBERS = ["id", "dep_delay", "dep_hour", "Distance", "x.1", "x.2", "w[1]", "w1", "b`t", "${HOME}"]


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> DataFrame:
    """Columns of all kinds, without rows."""
    return spark.createDataFrame([], SCHEMA).withColumnRenamed("variable", "${HOME}")  # which a schema cannot name


@pytest.fixture
def case_sensitive(spark: SparkSession) -> Iterator[None]:
    setting = "spark.sql.caseSensitive"
    before = spark.conf.get(setting, "false")
    spark.conf.set(setting, "true")
    yield
    spark.conf.set(setting, before)


@pytest.mark.core
@pytest.mark.settings
@pytest.mark.parametrize(
    ("patterns", "exclude", "names"),
    [
        (["name"], [], ["name"]),
        (["dep_*"], [], ["dep_delay", "dep_hour"]),
        (["dep_????"], [], ["dep_hour"]),
        (["x.[!1]", "x.[12]"], [], ["x.2", "x.1"]),
        (["numeric"], [], NUMBERS),
        (["w1", "dep_*", "*_hour", "w1"], [], ["w1", "dep_delay", "dep_hour"]),
        (["numeric"], ["id", "*.*", "w*", "b`t", "$*", "Distance"], ["dep_delay", "dep_hour"]),
        (["id", "late", "a"], ["numeric"], ["late", "a"]),
        (["id"], ["id"], []),
        (["w[1]"], [], ["w[1]"]),  # a column of this name comes before the pattern
        (["w[[]*"], [], ["w[1]"]),
        (["`x.1`", "x.1", "x.*"], [], ["x.1", "x.2"]),
        (["`b``t`", "b`t", "b*"], [], ["b`t"]),
        (["${HOME}", "*{*"], [], ["${HOME}"]),
        (["s.x", "`s`.x", "s.`p.q`", "s.`y*`", "m.k"], ["s.`x`"], ["s.`p.q`", "s.`y*`", "m.k"]),
    ],
)
def test_columns_are_those_that_match(df: DataFrame, patterns: list[str], exclude: list[str], names: list[str]) -> None:
    """Each once, in the order of the patterns, then of the schema; what is excluded is left out even if named."""
    assert columns(df, *patterns, exclude=exclude) == names


@pytest.mark.settings
def test_scalers_and_the_command_line_take_the_names(df: DataFrame) -> None:
    """No name is parsed in another way there."""
    patterns = ["numeric", "a", "`x.1`", "s.`p.q`", "s.x"]
    names = columns(df, *patterns)

    assert names == [*NUMBERS, "a", "s.`p.q`", "s.x"]
    assert [c.path for c in resolve(df, names)] == [*([name] for name in names[:-2]), ["s", "p.q"], ["s", "x"]]
    assert Source(df).matching(patterns) == names


def test_weights_are_left_out_of_what_is_numeric_on_the_command_line(df: DataFrame) -> None:
    """But not if they are named."""
    assert Source(df).matching(["numeric"], without=["id"]) == NUMBERS[1:]
    assert Source(df).matching(["numeric"], ["id"]) == columns(df, "numeric", exclude=["id"])
    assert Source(df).matching(["numeric", "id"], without=["id"]) == [*NUMBERS[1:], "id"]


def test_case_is_ignored_as_in_spark(df: DataFrame) -> None:
    """In names and patterns; the names are those of the schema."""
    assert columns(df, "DISTANCE", "D*", "D[A-Z]p_hour") == ["Distance", "dep_delay", "dep_hour"]
    assert columns(df, "D*", exclude=["DEP_*"]) == ["Distance"]


@pytest.mark.usefixtures("case_sensitive")
def test_case_matters_if_it_does_in_the_session(df: DataFrame) -> None:
    assert columns(df, "D*") == ["Distance"]
    with pytest.raises(ColumnNotFoundError, match="'distance' does not exist"):
        columns(df, "distance")


def test_columns_of_one_name_are_excluded_at_once(spark: SparkSession) -> None:
    """As a join yields them; a scaler refuses them."""
    twice = spark.sql("SELECT 1 AS id, 2 AS Id, 3 AS id, 4 AS x")

    assert columns(twice, "numeric", exclude=["id"]) == ["x"]
    with pytest.raises(ColumnNotFoundError, match="ambiguous"):
        StandardScaler(inputCols=columns(twice, "id")).fit(twice)


def test_a_column_named_numeric_is_that_column(spark: SparkSession) -> None:
    assert columns(spark.sql("SELECT 1 AS x, 'a' AS numeric"), "numeric") == ["numeric"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("depdelay", r"^Column 'depdelay' does not exist\. The DataFrame has: dep_delay, .* and 5 more\.$"),
        ("depdela*", r"^No column matches 'depdela\*'\. The DataFrame has: dep_delay, .* and 5 more\.$"),
        ("s.*", r"^No column matches 's\.\*'\. 's' has: x, p\.q, y\*\.$"),
        ("s.z", r"^Column 's\.z' does not exist\. 's' has: x, p\.q, y\*\.$"),
        ("id, name", r"^Column 'id, name' does not exist\."),
        ("id + 1", r"^Column 'id \+ 1' does not exist\."),
        ("", r"^Column '' does not exist\."),
    ],
)
def test_what_matches_nothing_is_refused(df: DataFrame, pattern: str, message: str) -> None:
    """With the names that are most similar, also in ``exclude``, where a typing error would keep a column."""
    with pytest.raises(ColumnNotFoundError, match=message):
        columns(df, "id", pattern)
    with pytest.raises(ColumnNotFoundError, match=message):
        columns(df, "id", exclude=[pattern])


def test_no_column_may_be_numeric(spark: SparkSession) -> None:
    with pytest.raises(ColumnNotFoundError, match=r"^No column matches 'numeric'\. The DataFrame has: a, b\.$"):
        columns(spark.sql("SELECT 'x' AS a, true AS b"), "numeric")


def test_arguments_that_are_no_names_are_refused(df: DataFrame) -> None:
    """With what to write instead."""
    with pytest.raises(
        ParamError, match="needs names or patterns: \"numeric\" for all columns of numbers, '\\*' for all"
    ):
        columns(df)
    with pytest.raises(ParamTypeError, match=r"one by one: columns\(df, 'a', 'b_\*'\)\. Got \['id'\]\."):
        columns(df, ["id"])  # type: ignore[arg-type]
    for exclude in ("id", None, [1]):
        with pytest.raises(ParamTypeError, match=r"exclude=\['a', 'b_\*'\]\. Got "):
            columns(df, "numeric", exclude=exclude)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=r"Got a pandas\.DataFrame"):
        columns(pd.DataFrame({"x": [1.0]}), "x")


def test_a_stream_has_columns_too(spark: SparkSession) -> None:
    assert columns(spark.readStream.format("rate").load(), "numeric") == ["value"]


def test_the_function_is_imported_without_the_stages() -> None:
    """And the package without Spark."""
    code = """
import sys, sparkscale
print("pyspark" in sys.modules)
from sparkscale import columns
print("pyspark.ml" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.stdout.split(), done.returncode) == (["False", "False"], 0), done.stderr
