"""What a fitted model knows, and how it learns more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector

from sparkscale import (
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.affine import AffineMap
from sparkscale.statistics import Extrema, Moments

SCALERS = (MinMaxScaler, MaxAbsScaler, StandardScaler)
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)


@pytest.fixture(scope="module")
def data(spark):
    rows = [(1.0, [1.0, 5.0], 1.0), (2.0, [None, 5.0], 2.0), (6.0, [4.0, 5.0], 1.0)]
    return spark.createDataFrame(rows, "x double, a array<double>, w double")


@pytest.fixture(scope="module")
def halves(spark):
    """Two halves of the same columns, of each kind."""
    df = spark.range(0, 8, 1, 2).selectExpr("id", "double(id * id) AS x", "array(double(id), 1D / (id + 1)) AS a")
    df = df.withColumn("v", array_to_vector("a")).selectExpr("*", "1D + id % 3 AS w")
    return df.filter("id < 3"), df.filter("id >= 3"), df


def scalars(spark, *values):
    return spark.createDataFrame([(v,) for v in values], "x double")


def facts(statistic):
    """Return what a statistic says of its rows, however it holds it."""
    names = ("count", "invalid", "weight", "weight_square", "mean", "m2")
    if isinstance(statistic, Extrema):
        names = ("count", "invalid", "min", "max")
    return {name: getattr(statistic, name) for name in names}


def frozen(model):
    """Return all that a model knows, to compare with later."""
    return (
        {n: a.tolist() for n, a in model.statistics.arrays().items()},
        model.uid,
        {p.name: model.getOrDefault(p) for p in model.params if model.isDefined(p)},
        model.count,
        str(model.affine),
    )


# Attributes


@pytest.mark.core
@each_scaler
def test_a_model_knows_its_features(data, scaler):
    """Features are counted and named over all columns, in the order of the inputs."""
    model = scaler(inputCols=["a", "x"]).fit(data)

    assert model.numFeatures == 3
    assert model.featureNames == ["a_0", "a_1", "x"]
    assert model.count == 3
    assert model.invalidCounts == [1, 0, 0]
    assert model.constantFeatures == ["a_1"]


@pytest.mark.core
def test_min_max_has_sparks_attributes(data):
    """originalMin and originalMax are vectors over all features."""
    model = MinMaxScaler(inputCols=["x", "a"]).fit(data)

    assert isinstance(model, MinMaxScalerModel)
    assert model.originalMin == DenseVector([1.0, 1.0, 5.0])
    assert model.originalMax == DenseVector([6.0, 4.0, 5.0])


@pytest.mark.core
def test_max_abs_has_sparks_attribute(spark):
    """maxAbs is a vector over all features."""
    df = spark.createDataFrame([(1.0, 0.0), (-7.0, 0.0)], "x double, y double")
    model = MaxAbsScaler(inputCols=["x", "y"]).fit(df)

    assert isinstance(model, MaxAbsScalerModel)
    assert model.maxAbs == DenseVector([7.0, 0.0])


@pytest.mark.core
@pytest.mark.parametrize(("ddof", "std"), [(1, 7**0.5), (0, (14 / 3) ** 0.5)])
def test_standard_has_sparks_attributes(data, ddof, std):
    """mean and std are vectors over all features, whatever withMean and withStd say."""
    model = StandardScaler(inputCols=["x", "a"], ddof=ddof, withStd=False).fit(data)

    assert isinstance(model, StandardScalerModel)
    assert model.mean == DenseVector([3.0, 2.5, 5.0])
    assert model.std[0] == pytest.approx(std, rel=1e-15)
    assert model.std[2] == 0.0


@pytest.mark.core
def test_statistics_are_raw_and_frozen(data):
    """The statistic is the mergeable one, in double, and cannot be assigned to."""
    extrema = MinMaxScaler(inputCol="x").fit(data).statistics
    moments = StandardScaler(inputCol="x").fit(data).statistics

    assert isinstance(extrema, Extrema)
    assert isinstance(moments, Moments)
    assert {n: a.tolist() for n, a in facts(moments).items()} == {
        "count": [3.0],
        "invalid": [0.0],
        "weight": [3.0],
        "weight_square": [3.0],
        "mean": [3.0],
        "m2": [pytest.approx(14.0, rel=1e-15)],
    }
    with pytest.raises(AttributeError):
        moments.m2 = np.zeros(1)


@pytest.mark.core
def test_weights_weigh(data):
    """Mean and variance are those of Spark's Summarizer: reliability weights under ddof=1."""
    model = StandardScaler(inputCol="x", weightCol="w").fit(data)

    assert model.mean[0] == pytest.approx(11 / 4)
    assert model.std[0] ** 2 == pytest.approx((1.75**2 + 2 * 0.75**2 + 3.25**2) / (4 - 6 / 4))
    assert StandardScaler(inputCol="x", weightCol="w", ddof=0).fit(data).std[0] ** 2 == pytest.approx(14.75 / 4)


def test_weights_do_not_touch_the_count(data):
    """count is the number of rows, not of their weights."""
    assert StandardScaler(inputCol="x", weightCol="w").fit(data).count == 3


@pytest.mark.core
def test_the_map_works_without_spark(data):
    """affine is a NumPy map that serving code applies by itself."""
    model = MinMaxScaler(inputCol="x").fit(data)

    assert isinstance(model.affine, AffineMap)
    assert model.affine.apply([[1.0], [3.5], [6.0]]).tolist() == [[0.0], [0.5], [1.0]]


def test_the_map_cannot_be_changed(data):
    """A model's map is read-only, so that no two users of it differ."""
    with pytest.raises(ValueError, match="read-only"):
        MinMaxScaler(inputCol="x").fit(data).affine.center[0] = 1.0


@pytest.mark.core
@pytest.mark.parametrize(
    ("scaler", "learned"),
    [
        (MinMaxScaler, {"min": 1.0, "max": 6.0}),
        (MaxAbsScaler, {"maxAbs": 6.0}),
        (StandardScaler, {"mean": 3.0, "std": pytest.approx(7**0.5)}),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_summary_is_a_table_of_features(data, scaler, learned):
    """One row a feature: counts, what was learned, the map and whether the feature is constant."""
    model = scaler(inputCols=["x", "a"]).fit(data)
    table = model.summary()

    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["count", "invalid", *learned, "center", "scale", "offset", "constant"]
    assert table.index.name == "feature"
    assert list(table.index) == ["x", "a_0", "a_1"]
    assert table.loc["x", list(learned)].to_dict() == learned
    assert list(table["count"]) == [3, 2, 3]
    assert list(table["invalid"]) == [0, 1, 0]
    assert list(table["constant"]) == [False, False, True]
    assert list(table["center"]) == model.affine.center.tolist()


@pytest.mark.core
def test_repr_says_what_sparks_says(data):
    """uid, number of features and the Params that shape the map."""
    shown = [
        repr(s.setInputCols(["x", "a"]).fit(data)).replace(s.uid, "U")
        for s in (MinMaxScaler(max=2.0), MaxAbsScaler(), StandardScaler(withMean=True))
    ]

    assert shown == [
        "MinMaxScalerModel: uid=U, numFeatures=3, min=0.0, max=2.0",
        "MaxAbsScalerModel: uid=U, numFeatures=3",
        "StandardScalerModel: uid=U, numFeatures=3, withMean=true, withStd=true",
    ]


def test_repr_of_an_inverse_has_its_model(data):
    """An inverse shows what it undoes."""
    model = MaxAbsScaler(inputCol="x").fit(data)

    assert repr(model.inverse()) == f"InverseModel of {model!r}"


def test_repr_never_fails():
    """A model that learned nothing has a repr too."""
    assert "numFeatures=0" in repr(MinMaxScalerModel())


@pytest.mark.core
@each_scaler
def test_explain_params_explains_each(data, scaler):
    """Estimator and model list the same Params, each with its text and value."""
    estimator = scaler(inputCol="x")
    model = estimator.fit(data)

    assert [p.name for p in model.params] == [p.name for p in estimator.params]
    lines = model.explainParams().splitlines()
    assert [line.partition(":")[0] for line in lines] == [p.name for p in model.params]
    assert any(line.startswith("handleInvalid") and "default: keep" in line for line in lines)
    assert any(line.startswith("inputCol:") and "current: x" in line for line in lines)


# Params on models


@pytest.mark.core
@each_scaler
def test_a_model_has_its_estimators_uid_and_params(data, scaler):
    """Tuning finds a model's Params by its estimator's uid."""
    estimator = scaler(inputCol="x", handleConstant="unit")
    model = estimator.fit(data)

    assert model.uid == estimator.uid
    assert {p.name: model.getOrDefault(p) for p in model.params if model.isSet(p)} == {
        "inputCol": "x",
        "handleConstant": "unit",
    }
    assert estimator.getParam("handleConstant") in model.extractParamMap()


@pytest.mark.core
def test_setting_a_param_on_a_model_changes_its_map(data):
    """The map is computed from what was learned and the Params of now."""
    model = MinMaxScaler(inputCol="x").fit(data)
    assert model.setMin(-1.0) is model
    assert model.affine.apply([1.0, 6.0]).tolist() == [-1.0, 1.0]
    assert [row[0] for row in model.transform(data).select("x_scaled").collect()] == [-1.0, pytest.approx(-0.6), 1.0]

    model = StandardScaler(inputCol="x").fit(data).setWithMean(True).setDdof(0)
    assert model.affine.center.tolist() == [3.0]
    assert model.std[0] ** 2 == pytest.approx(14 / 3)


def test_fit_takes_extra_params(data):
    """A ParamMap given to fit holds for that model and leaves the estimator."""
    scaler = MinMaxScaler(inputCol="x")
    model = scaler.fit(data, {scaler.max: 10.0})

    assert (model.getMax(), scaler.getMax()) == (10.0, 1.0)
    assert model.affine.apply([6.0]).tolist() == [10.0]


def test_changing_the_estimator_leaves_its_models(data):
    """A model keeps the Params of its fit."""
    scaler = MinMaxScaler(inputCol="x")
    model = scaler.fit(data)
    scaler.setMax(10.0)

    assert model.getMax() == 1.0


@pytest.mark.core
def test_a_copy_is_another_model(data):
    """A copy has its own Params and knows the same."""
    model = MinMaxScaler(inputCol="x").fit(data)
    before = frozen(model)
    copy = model.copy({model.min: -1.0})
    copy.setOutputCol("o")

    assert (copy.getMin(), copy.uid) == (-1.0, model.uid)
    assert copy.statistics is model.statistics
    assert copy.featureNames == ["x"]
    assert frozen(model) == before


def test_copies_of_an_inverse_are_alike(data):
    """An inverse may be copied, as transform does when it is given Params."""
    inverse = MinMaxScaler(inputCol="x").fit(data).inverse()
    copy = inverse.copy()

    assert copy.uid == inverse.uid
    assert copy.inverse().affine == inverse.inverse().affine


def test_an_inverse_stays_as_the_model_was(data):
    """Params that the model is given later do not redirect an inverse that was taken before, nor the other way."""
    model = MinMaxScaler(inputCol="x", outputCol="y").fit(data)
    inverse = model.inverse()
    expected = inverse.toSQL()
    model.setMin(-1.0).setOutputCol("z")
    inverse.inverse().setMax(9.0)

    assert inverse.toSQL() == expected
    assert model.getMax() == 1.0


# Learning more


@pytest.mark.core
@each_scaler
@pytest.mark.parametrize("column", ["x", "a", "v"])
def test_merge_is_a_fit_on_all(halves, scaler, column):
    """The model of A merged with the model of B is the model of A and B."""
    one, other, whole = (scaler(inputCol=column).fit(df) for df in halves)
    merged = one.merge(other)

    assert merged.count == whole.count == 8
    for name, expected in facts(whole.statistics).items():
        assert getattr(merged.statistics, name) == pytest.approx(expected, rel=1e-14)


@pytest.mark.core
@each_scaler
def test_update_is_a_fit_on_all(halves, scaler):
    """The model of A updated with B is the model of A and B."""
    first, second, both = halves
    updated = scaler(inputCols=["x", "a", "v"]).fit(first).update(second)
    whole = scaler(inputCols=["x", "a", "v"]).fit(both)

    for name, expected in facts(whole.statistics).items():
        assert getattr(updated.statistics, name) == pytest.approx(expected, rel=1e-14)


@pytest.mark.core
def test_merge_and_update_leave_their_operands(halves):
    """Both return a new model; those that went in are as they were."""
    one, other = (MinMaxScaler(inputCol="x").fit(df) for df in halves[:2])
    before = frozen(one), frozen(other)
    merged, updated = one.merge(other), one.update(halves[1])
    merged.setMin(-5.0)
    updated.setMin(-5.0)

    assert (frozen(one), frozen(other)) == before
    assert merged.uid == updated.uid == one.uid


def test_merge_takes_many(spark):
    """Any number of models merge at once, none included."""
    models = [MaxAbsScaler(inputCol="x").fit(scalars(spark, v)) for v in (1.0, -5.0, 3.0)]

    assert models[0].merge(*models[1:]).maxAbs[0] == 5.0
    assert models[0].merge(*models[1:]).count == 3
    assert models[0].merge().affine == models[0].affine
    assert models[0].merge() is not models[0]


def test_merge_keeps_the_first_models_params(spark):
    """Params come from the model that merge is called on."""
    one = MinMaxScaler(inputCol="x", max=2.0).fit(scalars(spark, 0.0, 1.0))
    other = MinMaxScaler(inputCol="x", max=9.0).fit(scalars(spark, 4.0))

    assert one.merge(other).affine.apply([4.0]).tolist() == [2.0]


@pytest.mark.core
def test_update_with_weights(halves):
    """New rows come with their weights, from the column that fit had."""
    first, second, both = halves
    updated = StandardScaler(inputCol="x", weightCol="w").fit(first).update(second)
    whole = StandardScaler(inputCol="x", weightCol="w").fit(both)

    assert updated.statistics.weight.tolist() == whole.statistics.weight.tolist() == [15.0]
    assert updated.mean[0] == pytest.approx(whole.mean[0], rel=1e-14)
    assert updated.std[0] == pytest.approx(whole.std[0], rel=1e-14)


@pytest.mark.core
@pytest.mark.parametrize("column", ["x", "a", "v"])
def test_update_without_rows_changes_nothing(halves, column):
    """An empty batch is no error once something is known."""
    model = StandardScaler(inputCol=column).fit(halves[0])
    updated = model.update(halves[0].filter("id > 99"))

    assert frozen(updated) == frozen(model)


def test_update_with_nulls_alone_counts_them(spark):
    """Rows without a value are counted as invalid and teach nothing else."""
    array = spark.createDataFrame([([1.0, 2.0],), ([3.0, 5.0],)], "a array<double>")
    model = MinMaxScaler(inputCol="a").fit(array)
    updated = model.update(spark.createDataFrame([(None,)], "a array<double>"))

    assert updated.invalidCounts == [1, 1]
    assert updated.affine == model.affine


def test_update_follows_the_policy(spark):
    """Under skip, rows with an invalid value are left out of an update too."""
    df = spark.createDataFrame([(1.0, 1.0), (2.0, 2.0)], "x double, y double")
    more = spark.createDataFrame([(50.0, None), (3.0, 3.0)], "x double, y double")
    updated = MinMaxScaler(inputCols=["x", "y"], handleInvalid="skip").fit(df).update(more)

    assert updated.originalMax == DenseVector([3.0, 3.0])
    assert updated.count == 3


def test_count_is_of_the_rows_that_fit_used(spark):
    """What a model is set to later does not change what it learned from."""
    df = spark.createDataFrame([(1.0, None), (2.0, 2.0), (3.0, 3.0)], "x double, y double")
    model = MinMaxScaler(inputCols=["x", "y"], handleInvalid="skip").fit(df)

    assert model.setHandleInvalid("keep").count == 2
    assert MinMaxScaler(inputCols=["x", "y"]).fit(df).setHandleInvalid("skip").count == 3


def test_update_reads_the_column_that_the_model_points_to(spark):
    """A model pointed to a column of another name learns from that one."""
    model = MaxAbsScaler(inputCol="x").fit(scalars(spark, 1.0)).setInputCol("y")

    assert model.update(scalars(spark, 4.0).withColumnRenamed("x", "y")).maxAbs[0] == 4.0


@pytest.mark.core
def test_learning_ends_a_constant(spark):
    """A feature that was constant is not when more is known."""
    model = StandardScaler(inputCol="x").fit(scalars(spark, 2.0))
    updated = model.update(scalars(spark, 4.0))

    assert (model.constantFeatures, updated.constantFeatures) == (["x"], [])
    assert updated.std[0] == pytest.approx(2**0.5)


# Shown


def test_features_without_a_valid_value_are_listed(spark):
    """They map to NaN, and are no constants."""
    df = spark.createDataFrame([(1.0, None), (2.0, float("nan"))], "x double, y double")
    model = StandardScaler(inputCols=["x", "y"]).fit(df)

    assert (model.emptyFeatures, model.constantFeatures) == (["y"], [])


def test_setparams_leaves_alone_what_is_none():
    """As the constructor does."""
    assert not StandardScaler(inputCol="x").setParams(weightCol=None).isSet("weightCol")
