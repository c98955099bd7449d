"""The laws of scalers whose map is monotone but not affine, over all kinds of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from frames import KINDS, frame, names_of, values_of
from sparkscale import QuantileTransformer
from sparkscale.errors import ParamError
from store import Store
from table import CURVES

FEATURES = 3
ROWS: list[Any] = [
    [1.5, -2.0, 0.0],
    [None, 4.0, 0.0],
    None,
    [np.nan, np.inf, 0.0],
    [7.25, 0.0, 0.0],
    [-3.0, 1e-3, 0.0],
    [2.5, 4.0, 0.0],
    [9.0, 4.0, 0.0],
]
CHOICES = [(scaler, choice) for scaler, choices in CURVES.items() for choice in choices]
every_curve = pytest.mark.parametrize(
    ("scaler", "choice"), CHOICES, ids=[f"{s.__name__}-{'-'.join(map(str, c.values()))}" for s, c in CHOICES]
)


@pytest.fixture(scope="module")
def data(spark: SparkSession) -> DataFrame:
    return frame(spark, ROWS, FEATURES).cache()


@pytest.fixture(scope="module")
def models(data: DataFrame) -> dict[int, Any]:
    """A model of each choice, fitted on columns of all kinds."""
    return {k: fitted(data, scaler, choice) for k, (scaler, choice) in enumerate(CHOICES)}


def fitted(data: DataFrame, scaler: Any, choice: dict[str, Any]) -> Any:
    names = names_of(KINDS, FEATURES)
    return scaler(inputCols=names, outputCols=[f"{n}_out" for n in names], **choice).fit(data)


def matrix() -> np.ndarray:
    """Return the rows as numbers, once for each kind of column; null is NaN."""
    numbers = [[np.nan] * FEATURES if row is None else [np.nan if v is None else v for v in row] for row in ROWS]
    return np.tile(np.array(numbers), len(KINDS))


def expected_of(model: Any) -> np.ndarray:
    """Return what the map and the filling make of the rows; a null array or vector stays null."""
    values, fill = model.map.apply(matrix()), model._fill()
    if fill is not None:
        values = np.where(np.isnan(matrix()), fill, values)
        values[2, FEATURES:] = np.nan
    return values


@pytest.mark.core
def test_transform_is_the_map(data, models):
    """On scalars, arrays, and dense and sparse vectors; infinities map as the map does."""
    names = [f"s{i}_out" for i in range(FEATURES)] + [f"{kind}_out" for kind in KINDS[1:]]
    for model in models.values():
        scaled = model.transform(data)
        np.testing.assert_allclose(values_of(scaled, names, FEATURES), expected_of(model), rtol=1e-13)
        if model.getAddIndicator():
            assert scaled.where("id = 1").first().array_missing == [1, 0, 0]


@pytest.mark.core
def test_sparse_vectors_stay_sparse_where_zero_stays_zero(spark, data):
    """Ranks of a feature whose least value is 0 are 0 there."""
    positive = frame(spark, [[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [3.0, 0.0, 1.0]], FEATURES)
    model = QuantileTransformer(inputCol="sparse", outputCol="y").fit(positive)

    rows = model.transform(positive).orderBy("id").collect()
    assert [type(row.y).__name__ for row in rows] == ["SparseVector"] * 3
    assert rows[1].y.toArray().tolist() == [0.0, 0.0, 1.0]


@pytest.mark.core
def test_sql_is_the_map(data, models):
    """As text over scalars and arrays, forth and back."""
    names = [f"s{i}" for i in range(FEATURES)] + ["array"]
    features = 2 * FEATURES
    for model in models.values():
        forth, back = model.toSQL(), model.inverse().toSQL()
        scaled = data.selectExpr("id", *(f"{forth[f'{n}_out']} AS {n}_out" for n in names)).localCheckpoint()
        restored = scaled.selectExpr("*", *(f"{back[n]} AS {n}" for n in names))
        values = values_of(restored, [*(f"{n}_out" for n in names), *names], FEATURES)
        expected = expected_of(model)[:, :features]
        np.testing.assert_allclose(values[:, :features], expected, rtol=1e-9, atol=1e-15)
        inverse = model.inverse().map.apply(np.tile(expected, 3)[:, : FEATURES * len(KINDS)])[:, :features]
        np.testing.assert_allclose(values[:, features:], inverse, rtol=1e-6, atol=1e-9)


@pytest.mark.core
def test_the_inverse_undoes_transform(data, models):
    """For all values that are between the least and the largest one, under the inputs' names."""
    names = names_of(KINDS, FEATURES)
    for model in models.values():
        scaled = model.transform(data).drop(*names)
        restored = values_of(model.inverseTransform(scaled), names, FEATURES)
        within = np.isfinite(matrix())
        np.testing.assert_allclose(restored[within], matrix()[within], rtol=1e-6, atol=1e-8)


@every_curve
def test_merge_and_update_are_fit_on_all(data, models, scaler, choice):
    """From two halves of the rows."""
    first, second = data.where("id < 4"), data.where("id >= 4")
    whole = models[CHOICES.index((scaler, choice))].map
    half = fitted(first, scaler, choice)

    for model in (half.merge(fitted(second, scaler, choice)), half.update(second)):
        np.testing.assert_allclose(model.map.apply(matrix()), whole.apply(matrix()), rtol=1e-9)


@pytest.mark.core
@every_curve
def test_what_is_loaded_is_what_was_saved(models, scaler, choice):
    """A model, and its inverse."""
    model, store = models[CHOICES.index((scaler, choice))], Store()
    for name, stage in (("model", model), ("inverse", model.inverse())):
        stage.write().session(store).save(name)
        assert type(stage).read().session(store).load(name).map == stage.map


@pytest.mark.core
def test_affine_is_refused(models):
    """And the summary and the HTML do without it."""
    for model in models.values():
        for stage in (model, model.inverse()):
            with pytest.raises(ParamError, match=r"the map is not affine. Use map"):
                stage.affine  # noqa: B018
        assert "scale" not in model.summary()
        assert "out" in model._repr_html_()


@pytest.mark.core
def test_sql_reads_columns_of_any_name(spark):
    """Also of those that the text gives to values of its own."""
    df = spark.createDataFrame([(1.0, 2.0, 4.0), (3.0, 5.0, 0.0)], "k double, v double, x double")
    for scaler in CURVES:
        model = scaler(inputCols=df.columns, outputCols=["k_", "v_", "x_"]).fit(df)
        texts = [f"{text} AS `{name}`" for name, text in model.toSQL().items()]
        np.testing.assert_allclose(
            df.selectExpr(*texts).collect(), model.transform(df).select("k_", "v_", "x_").collect()
        )
