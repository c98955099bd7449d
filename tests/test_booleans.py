"""Booleans count as 0 and 1, in scalars and in arrays."""

from __future__ import annotations

import pytest

from frames import cells, cells_of_each, near
from sparkscale import (
    BatchNorm,
    ClipByValue,
    MinMaxScaler,
    RMSNorm,
    SpectralNorm,
    StandardScaler,
    StandardScalerModel,
)

ROWS = "(0, true, array(true, false), 1), (1, false, array(true, NULL), 2), (2, NULL, array(false, true), 1), "
ROWS += "(3, true, NULL, 2), (4, true, array(true, true), 1)"


@pytest.fixture(scope="module")
def booleans(spark):
    """Five rows of a boolean and an array of two, with nulls."""
    return spark.sql(f"SELECT * FROM VALUES {ROWS} AS t(id, b, a, step)").coalesce(1)


@pytest.fixture(scope="module")
def numbers(booleans):
    """The same as numbers."""
    return booleans.selectExpr("id", "double(b) AS b", "cast(a AS array<double>) AS a", "step")


@pytest.mark.core
@pytest.mark.settings
@pytest.mark.parametrize("columns", [["b"], ["b", "a"]], ids=["aggregates", "arrow"])
@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler])
def test_fit_on_booleans_equals_fit_on_0_and_1(booleans, numbers, scaler, columns):
    of_booleans, of_numbers = (scaler(inputCols=columns).fit(df) for df in (booleans, numbers))

    assert of_booleans.affine == of_numbers.affine
    assert of_booleans.invalidCounts == of_numbers.invalidCounts


@pytest.mark.core
@pytest.mark.settings
def test_transform_of_booleans_equals_that_of_0_and_1(booleans, numbers, tmp_path):
    """Of each to its own, of all to one vector, of SQL text, of stages without a fit, and of a model that was saved."""
    model = StandardScaler(inputCols=["b", "a"], withMean=True).fit(booleans)
    model.save(str(tmp_path / "model"))
    again = StandardScalerModel.load(str(tmp_path / "model"))
    rows = RMSNorm(inputCol="a", outputCol="n"), ClipByValue(inputCol="b", outputCol="c", high=0.5)
    texts = [f"{text} AS {name}" for name, text in again.toSQL().items()]
    results = {}
    for name, df in (("booleans", booleans), ("numbers", numbers)):
        results[name] = model.transform(df)
        for stage in rows:
            results[name] = stage.transform(results[name])
        results[name] = results[name].drop("b", "a")
    each = cells_of_each(
        {**results, "again": again.transform(booleans).drop("b", "a").selectExpr("*", "NULL n", "NULL c")}
    )

    assert str(each["booleans"]) == str(each["numbers"])
    assert str([row[:4] for row in each["again"]]) == str([row[:4] for row in each["booleans"]])
    assert str(cells(booleans.selectExpr("id", *texts))) == str([[row[0], *row[2:4]] for row in each["again"]])
    vector = model.copy().setOutputCol("v").transform(booleans)
    near(next(v for (v,) in cells(vector, "v")), [each["booleans"][0][2], *each["booleans"][0][3]])


@pytest.mark.core
def test_boolean_inputs_give_numbers(booleans, numbers):
    model = MinMaxScaler(inputCols=["b", "a"], min=-1.0).fit(booleans)
    back = model.inverseTransform(model.transform(booleans).drop("b", "a"))

    assert back.schema["b"].dataType.simpleString() == "double"
    assert str(cells(back, "b", "a")) == str(cells(numbers, "b", "a"))


def test_weights_matrices_and_mini_batches_take_booleans(booleans, numbers):
    """A row of weight false does not count."""
    weighted = StandardScaler(inputCol="id", weightCol="b").fit(booleans.fillna(value=False, subset=["b"]))
    norm, batches = SpectralNorm(inputCol="a"), BatchNorm(inputCol="b", batchCol="step", statistics="meanOfBatches")

    assert weighted.statistics.count.tolist() == [3.0]
    assert norm.fit(booleans.dropna()).affine == norm.fit(numbers.dropna()).affine
    assert batches.fit(booleans).affine == batches.fit(numbers).affine
