"""The same results, Params, defaults and methods as the classes of the same names in pyspark.ml.feature."""

from __future__ import annotations

import inspect
from itertools import product
from typing import Any

import numpy as np
import pyspark.ml.feature as theirs
import pytest
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

import sparkscale
from table import TABLE

CHOICES = {
    "MinMaxScaler": [{}, {"min": -1.0, "max": 1.0}, {"min": 3.0, "max": 10.5}, {"min": -5.0}],
    "MaxAbsScaler": [{}],
    "StandardScaler": [{"withMean": m, "withStd": s} for m, s in product((False, True), repeat=2)],
}
ATTRIBUTES = {
    "MinMaxScaler": ["originalMin", "originalMax"],
    "MaxAbsScaler": ["maxAbs"],
    "StandardScaler": ["mean", "std"],
}
SHARED = [entry.name for entry in TABLE if hasattr(theirs, entry.name)]
every_class = pytest.mark.parametrize("name", SHARED)


def test_every_shared_scaler_is_compared() -> None:
    """A scaler that Spark has under the same name is compared with it."""
    assert set(SHARED) == set(CHOICES) == set(ATTRIBUTES)


@pytest.fixture(scope="module")
def data(spark: SparkSession) -> DataFrame:
    """Random features of several sizes, one constant, one of zeros; dense, sparse and mixed."""
    random = np.random.default_rng(7)
    values = random.normal(size=(200, 6)) * [1.0, 1e-3, 1e4, 0.0, 0.0, 10.0] + [0.0, 5.0, -1e3, 2.5, 0.0, 1.0]
    values[:, 5] *= random.random(200) < 0.3
    rows = []
    for i, row in enumerate(values.tolist()):
        few = Vectors.sparse(6, [(j, v) for j, v in enumerate(row) if v])
        rows.append((Vectors.dense(row), few, few if i % 3 else Vectors.dense(row)))
    columns = [StructField(name, VectorUDT()) for name in ("dense", "sparse", "mixed")]
    return spark.createDataFrame(rows, StructType(columns)).repartition(3).cache()


@pytest.mark.core
@pytest.mark.parametrize("column", ["dense", "sparse", "mixed"])
@pytest.mark.parametrize(
    ("name", "choice"), [(n, c) for n in SHARED for c in CHOICES[n]], ids=lambda v: v if isinstance(v, str) else str(v)
)
def test_same_results(data: DataFrame, name: str, choice: dict[str, Any], column: str) -> None:
    """Attributes and transformed vectors agree to 1e-12, and are stored alike where Spark keeps them sparse."""
    params = {"inputCol": column, **choice}
    ours = getattr(sparkscale, name)(outputCol="ours", **params).fit(data)
    spark_model = getattr(theirs, name)(outputCol="theirs", **params).fit(data)

    for attribute in ATTRIBUTES[name]:
        expected, actual = getattr(spark_model, attribute).toArray(), getattr(ours, attribute).toArray()
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(), err_msg=attribute)
    rows = ours.transform(spark_model.transform(data)).select("ours", "theirs").collect()
    expected, actual = (np.array([row[k].toArray() for row in rows]) for k in ("theirs", "ours"))
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(expected).max()))
    if name != "MinMaxScaler":
        assert [type(row["theirs"]) for row in rows] == [type(row["ours"]) for row in rows]


@pytest.mark.core
@every_class
def test_same_params_and_defaults(spark: SparkSession, name: str) -> None:
    """Every Param of Spark's class is here, with its default; outputs are named by us if they are not named."""
    expected, actual = getattr(theirs, name)(), getattr(sparkscale, name)()

    assert {p.name for p in expected.params} <= {p.name for p in actual.params}
    for param in expected.params:
        if param.name != "outputCol":
            assert expected.hasDefault(param) == actual.hasDefault(param.name), param.name
            if expected.hasDefault(param):
                assert expected.getOrDefault(param) == actual.getOrDefault(param.name)


@pytest.mark.core
@every_class
@pytest.mark.parametrize("suffix", ["", "Model"])
def test_same_methods(name: str, suffix: str) -> None:
    """Every public method, getter, setter and attribute of Spark's class is here."""
    expected = {n for n in dir(getattr(theirs, name + suffix)) if not n.startswith("_")}

    assert set() == expected - set(dir(getattr(sparkscale, name + suffix)))


@pytest.mark.core
@every_class
def test_same_constructor(spark: SparkSession, name: str) -> None:
    """Every keyword of Spark's constructor is here, keyword-only and with the same default; setParams takes it too."""
    expected = inspect.signature(getattr(theirs, name).__init__).parameters
    actual = inspect.signature(getattr(sparkscale, name).__init__).parameters
    for keyword, parameter in expected.items():
        assert parameter.kind == actual[keyword].kind
        assert parameter.default == actual[keyword].default
    for keyword in set(inspect.signature(getattr(theirs, name).setParams).parameters) - {"self"}:
        value = "name" if expected[keyword].default is None else expected[keyword].default
        scaler = getattr(sparkscale, name)()
        assert scaler is scaler.setParams(**{keyword: value})
        assert value == scaler.getOrDefault(keyword)


@pytest.mark.core
@every_class
def test_setters_set_what_getters_get(spark: SparkSession, name: str) -> None:
    """Setters return the stage, and getters return what was set, on scaler and model as Spark's do."""
    values = {"min": -2.0, "max": 4.0, "withMean": True, "withStd": False, "inputCol": "a", "outputCol": "b"}
    for suffix in ("", "Model"):
        stage = getattr(sparkscale, name + suffix)()
        reference = getattr(theirs, name + suffix)
        for param, value in values.items():
            capital = param[0].upper() + param[1:]
            if hasattr(reference, f"set{capital}"):
                assert stage is getattr(stage, f"set{capital}")(value)
            if hasattr(reference, f"get{capital}") and stage.isSet(param):
                assert value == getattr(stage, f"get{capital}")()
