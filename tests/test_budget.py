"""The overhead of each call: how often Spark analyses a plan, calls the server, and runs a job."""

from __future__ import annotations

from collections import Counter

import pytest
from pyspark.ml.functions import array_to_vector

from conftest import jobs_so_far
from sparkscale import MinMaxScaler, StandardScaler

NAMES = [f"c{i}" for i in range(10)]
COLUMNS = {
    "scalars": {"inputCols": NAMES},
    "array": {"inputCol": "a"},
    "vector": {"inputCol": "v"},
    "scalars to a vector": {"inputCols": NAMES, "outputCol": "o"},
}
# Plans on classic Spark, and questions to a server on Connect, where a plan waits until its rows are wanted.
ANALYSES = {
    "fit": {"scalars": 2, "array": 3, "vector": 4, "scalars to a vector": 2},
    "transform": {"scalars": 1, "array": 1, "vector": 6, "scalars to a vector": 9},
}
QUESTIONS = {
    "fit": {"scalars": 3, "array": 3, "vector": 3, "scalars to a vector": 3},  # of settings, of a schema, of the result
    "transform": {"scalars": 1, "array": 1, "vector": 1, "scalars to a vector": 1},
}


@pytest.fixture(scope="module")
def df(spark):
    """A thousand rows of one partition, in memory."""
    rows = spark.range(0, 1000, 1, 1).selectExpr(*(f"sin(id * {i + 1}) AS {name}" for i, name in enumerate(NAMES)))
    rows = rows.selectExpr("*", f"array({', '.join(NAMES)}) AS a").withColumn("v", array_to_vector("a")).cache()
    rows.count(), rows.schema, rows.isStreaming  # what a frame is asked once
    yield rows
    rows.unpersist()


@pytest.fixture
def counted(spark_mode, df, monkeypatch):
    """Count the new DataFrames, or the calls to the server."""
    counts, frames = Counter(), []

    def count(cls, method):
        original = getattr(cls, method)

        def counting(self, *args, **kwargs):
            if not any(self is frame for frame in frames):  # PySpark 4.0 makes each twice
                counts[spark_mode] += 1
            frames.extend([self] if method == "__init__" else [])
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, method, counting)

    if spark_mode == "classic":
        count(type(df), "__init__")
    else:
        client = type(df.sparkSession.client)
        for method in ("_analyze", "_execute_and_fetch_as_iterator", "config"):
            count(client, method)
    return counts


@pytest.mark.core
@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler])
@pytest.mark.parametrize("kind", COLUMNS)
def test_number_of_analyses_and_jobs_of_each_call(spark_mode, df, counted, scaler, kind):
    """``fit`` runs one job and ``transform`` none; both have a budget of analyses or calls."""
    stage, budget = scaler(**COLUMNS[kind]), ANALYSES if spark_mode == "classic" else QUESTIONS
    before = jobs_so_far()
    model = stage.fit(df)
    assert jobs_so_far() - before == 1
    assert counted[spark_mode] <= budget["fit"][kind]

    counted.clear()
    model.transform(df)
    assert jobs_so_far() - before == 1
    assert counted[spark_mode] <= budget["transform"][kind]


@pytest.mark.classic_only
def test_ten_scalars_are_one_project_over_the_scan(df):
    """For every map; other columns pass through the same Project."""
    models = [StandardScaler(inputCols=NAMES, withMean=True).fit(df), MinMaxScaler(inputCols=NAMES, clip=True).fit(df)]
    for model in models:
        plan = model.transform(df.select(*NAMES))._jdf.queryExecution().executedPlan().toString()
        above = plan.split("InMemoryTableScan")[0]

        assert above.count("Project") == 1
        assert above.count("\n") == 1
