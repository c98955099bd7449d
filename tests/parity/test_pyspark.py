"""The same results, Params, defaults and methods as the classes of the same names in pyspark.ml.feature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pyspark.ml.feature as theirs
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

import sparkscale
from frames import vector_field
from models import with_params
from table import TABLE

COLUMNS = ["dense", "sparse", "mixed"]
CHOICES: dict[str, list[dict[str, Any]]] = {
    "MinMaxScaler": [{}, {"min": -1.0, "max": 1.0}, {"min": 3.0, "max": 10.5}, {"min": -5.0}],
    "MaxAbsScaler": [{}],
    "RobustScaler": [{"withCentering": c, "withScaling": s} for c, s in product((False, True), repeat=2)],
    "StandardScaler": [{"withMean": m, "withStd": s} for m, s in product((False, True), repeat=2)],
}
ATTRIBUTES = {
    "MinMaxScaler": ["originalMin", "originalMax"],
    "MaxAbsScaler": ["maxAbs"],
    "RobustScaler": ["median", "range"],
    "StandardScaler": ["mean", "std"],
}
# Those whose maps are made in different ways: by scale, with a center, with an offset.
IN_BOTH_WORLDS = [{}, {"min": -5.0}, {"withMean": True, "withStd": True}, {"withCentering": True, "withScaling": True}]
SHARED = [entry.name for entry in TABLE if hasattr(theirs, entry.name)]
every_class = pytest.mark.parametrize("name", SHARED)

Fits = Callable[[str], tuple[Any, dict[str, Any]]]


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
    fields = [vector_field(name, 6) for name in COLUMNS]
    return spark.createDataFrame(rows, StructType(fields)).repartition(3).cache()


@pytest.fixture(scope="module")
def fits(data: DataFrame) -> Fits:
    """A model of all columns of ours, and one a column of Spark's, by the name of their class."""

    @cache
    def fitted(name: str) -> tuple[Any, dict[str, Any]]:
        ours = getattr(sparkscale, name)(inputCols=COLUMNS).fit(data)
        return ours, {column: getattr(theirs, name)(inputCol=column).fit(data) for column in COLUMNS}

    return fitted


@pytest.mark.core
@every_class
def test_same_attributes(fits: Fits, name: str) -> None:
    """What both have learned agrees to 1e-12."""
    ours, spark_models = fits(name)

    for attribute in ATTRIBUTES[name]:
        expected = np.array([getattr(spark_models[column], attribute).toArray() for column in COLUMNS])
        actual = getattr(ours, attribute).toArray().reshape(expected.shape)
        for of_theirs, of_ours in zip(expected, actual, strict=True):
            atol = 1e-12 * np.abs(of_theirs).max()
            np.testing.assert_allclose(of_ours, of_theirs, rtol=1e-12, atol=atol, err_msg=attribute)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        pytest.param(n, c, marks=pytest.mark.core if c in IN_BOTH_WORLDS else (), id=f"{n}-{c}")
        for n in SHARED
        for c in CHOICES[n]
    ],
)
def test_same_results(data: DataFrame, fits: Fits, name: str, choice: dict[str, Any]) -> None:
    """Transformed vectors agree to 1e-12, and are stored alike where Spark keeps them sparse."""
    ours, spark_models = fits(name)
    outputs = [f"our_{column}" for column in COLUMNS]
    both = with_params(ours, outputCols=outputs, **choice).transform(data)
    unset = {p: getattr(theirs, name)().getOrDefault(p) for other in CHOICES[name] for p in other}
    for column, model in spark_models.items():
        both = model._set(outputCol=f"their_{column}", **{**unset, **choice}).transform(both)

    rows = both.collect()

    for column in COLUMNS:
        expected, actual = (
            np.array([row[f"{whose}_{column}"].toArray() for row in rows]) for whose in ("their", "our")
        )
        atol = 1e-12 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=atol, err_msg=column)
        if name != "MinMaxScaler":
            assert [type(row[f"their_{column}"]) for row in rows] == [type(row[f"our_{column}"]) for row in rows], (
                column
            )


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
def test_same_methods(spark: SparkSession, name: str, suffix: str) -> None:
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
