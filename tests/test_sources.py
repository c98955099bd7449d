"""Where data come from: partitioned tables, views and queries.

They stand for table formats as well, of which Delta Lake is one: a scaler sees a DataFrame, and knows nothing of where
it came from. Delta Lake itself needs jars that are not on the Python package index.
"""

from __future__ import annotations

import pytest

from sparkscale import MinMaxScaler, StandardScaler

COLUMNS = ["x", "n"]


@pytest.fixture(scope="module")
def stored(spark, tmp_path_factory):
    """A Parquet table in a folder for each of three days, of ten rows each; in the middle one ``x`` has no value."""
    path = str(tmp_path_factory.mktemp("table") / "rows")
    rows = spark.range(0, 30, 1, 1).selectExpr(
        "IF(id % 3 = 1, NULL, double(id)) AS x", "int(id * id) AS n", "date_add(DATE'2024-01-01', int(id % 3)) AS day"
    )
    rows.write.partitionBy("day").parquet(path)
    return spark.read.parquet(path)


@pytest.fixture(scope="module")
def measured(spark, stored):
    """The table as a view, and a model of the view."""
    stored.createOrReplaceTempView("measured")
    yield MinMaxScaler(inputCols=COLUMNS).fit(spark.table("measured"))
    spark.catalog.dropTempView("measured")


def test_a_partitioned_table_is_fitted_like_its_rows(stored):
    """The files of all folders, and the column that is in the folders' names alone."""
    model = StandardScaler(inputCols=COLUMNS, withMean=True).fit(stored)
    scaled = model.transform(stored)

    assert model.count == 30
    assert model.invalidCounts == [10, 0]
    assert model.affine.center.tolist() == pytest.approx([14.5, sum(k * k for k in range(30)) / 30])
    assert scaled.columns == [*stored.columns, "x_scaled", "n_scaled"]
    assert len({row.day for row in scaled.select("n_scaled", "day").collect()}) == 3


def test_partitions_learned_one_after_the_other_make_the_whole(stored, measured):
    """A day a time: each fit or update reads the folder of its day."""
    model = MinMaxScaler(inputCols=COLUMNS).fit(stored.where("day = '2024-01-01'"))
    for day in ("2024-01-02", "2024-01-03"):
        model = model.update(stored.where(f"day = '{day}'"))

    assert model.affine == measured.affine


def test_a_view_is_fitted_and_a_scaled_one_is_queried(spark, measured):
    """spark.table and spark.sql give what to fit; SQL reads what transform made, and toSQL goes into a query."""
    recent = spark.sql("SELECT x, n FROM measured WHERE day >= '2024-01-02'")
    measured.transform(recent).createOrReplaceTempView("scaled")
    expression = measured.toSQL()["n_scaled"]
    try:
        rows = spark.sql(f"SELECT x_scaled, n, n_scaled, {expression} AS queried FROM scaled").collect()
    finally:
        spark.catalog.dropTempView("scaled")

    assert len([row for row in rows if row.x_scaled is not None]) == 10
    assert min(row.n_scaled for row in rows) == 1 / 29**2
    assert max(row.n_scaled for row in rows) == 1.0
    assert [row.queried for row in rows if row.n == 29 * 29] == [1.0]
