"""Where data come from: partitioned tables, views and queries.

They stand for table formats as well, of which Delta Lake is one: a scaler sees a DataFrame, and knows nothing of where
it came from. Delta Lake itself needs jars that are not on the Python package index.
"""

from __future__ import annotations

import pytest

from sparkscale import MinMaxScaler, StandardScaler

COLUMNS = ["x", "n"]


@pytest.fixture(scope="module")
def data(spark):
    """Thirty rows of three days, the middle one without a value of ``x``."""
    return spark.range(30).selectExpr(
        "IF(id % 3 = 1, NULL, double(id)) AS x", "int(id * id) AS n", "date_add(DATE'2024-01-01', int(id % 3)) AS day"
    )


@pytest.fixture(scope="module")
def table(data, tmp_path_factory):
    """A Parquet table in a folder for each day."""
    path = str(tmp_path_factory.mktemp("table") / "rows")
    data.write.partitionBy("day").parquet(path)
    return path


def test_a_partitioned_table_is_fitted_like_its_rows(spark, data, table):
    """The files of all folders, and the column that is in the folders' names alone."""
    stored = spark.read.parquet(table)
    model = StandardScaler(inputCols=COLUMNS, withMean=True).fit(stored)

    assert model.count == 30
    assert model.invalidCounts == [10, 0]
    assert model.affine.center.tolist() == pytest.approx([14.5, sum(k * k for k in range(30)) / 30])
    assert model.transform(stored).columns == [*stored.columns, "x_scaled", "n_scaled"]
    assert model.transform(stored).select("day").distinct().count() == 3


def test_partitions_learned_one_after_the_other_make_the_whole(spark, table):
    """A day a time: each fit or update reads the folder of its day."""
    stored = spark.read.parquet(table)
    model = MinMaxScaler(inputCols=COLUMNS).fit(stored.where("day = '2024-01-01'"))
    for day in ("2024-01-02", "2024-01-03"):
        model = model.update(stored.where(f"day = '{day}'"))

    assert model.affine == MinMaxScaler(inputCols=COLUMNS).fit(stored).affine


def test_a_view_is_fitted_and_a_scaled_one_is_queried(spark, table):
    """spark.table and spark.sql give what to fit; SQL reads what transform made, and toSQL goes into a query."""
    spark.read.parquet(table).createOrReplaceTempView("measured")
    model = MinMaxScaler(inputCols=COLUMNS).fit(spark.table("measured"))
    recent = spark.sql("SELECT x, n FROM measured WHERE day >= '2024-01-02' ORDER BY n")
    model.transform(recent).createOrReplaceTempView("scaled")
    expression = model.toSQL()["n_scaled"]
    try:
        found = spark.sql("SELECT count(x_scaled), min(n_scaled), max(n_scaled) FROM scaled").first()
        queried = spark.sql(f"SELECT {expression} AS n_scaled FROM measured WHERE n = 29 * 29").first()
    finally:
        spark.catalog.dropTempView("measured")
        spark.catalog.dropTempView("scaled")

    assert tuple(found) == (10, 1 / 29**2, 1.0)
    assert queried.n_scaled == 1.0
