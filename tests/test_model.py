"""What a fitted model knows, and how it learns more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector

from frames import INF, NAN, arrays, scalars
from models import facts, learned
from sparkscale import (
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.affine import AffineMap
from sparkscale.blocks import DenseBlock
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Extrema, Moments
from table import SCALERS, each_scaler

COLUMNS = ["a", "x", "y", "zero"]
FEATURES = ["a_0", "a_1", "x", "y", "zero"]


@pytest.fixture(scope="module")
def data(spark):
    rows = [
        (1.0, [1.0, 5.0], -7.0, 0.0, 1.0),
        (2.0, [None, 5.0], 1.0, 0.0, 2.0),
        (6.0, [4.0, 5.0], 3.0, 0.0, 1.0),
    ]
    return spark.createDataFrame(rows, "x double, a array<double>, y double, zero double, w double")


@pytest.fixture(scope="module")
def models(data):
    """A model of all columns of each scaler. Tests that set Params copy it."""
    return {scaler: scaler(inputCols=COLUMNS).fit(data) for scaler in SCALERS}


@pytest.fixture(scope="module")
def pairs(data):
    """A scaler of each class and its model, of one column, with one Param set. Tests that set Params copy it."""
    scalers = {scaler: scaler(inputCol="x", handleConstant="unit") for scaler in SCALERS}
    return {kind: (scaler, scaler.fit(data)) for kind, scaler in scalers.items()}


@pytest.fixture
def min_max(pairs):
    """A MinMaxScalerModel of one column, to be changed."""
    return pairs[MinMaxScaler][1].copy()


@pytest.fixture(scope="module")
def weighted(data):
    return StandardScaler(inputCol="x", weightCol="w").fit(data)


@pytest.fixture(scope="module")
def halves(spark):
    """Two halves of the same columns, of each kind."""
    df = spark.range(0, 8, 1, 2).selectExpr("id", "double(id * id) AS x", "array(double(id), 1D / (id + 1)) AS a")
    df = df.withColumn("v", array_to_vector("a")).selectExpr("*", "1D + id % 3 AS w")
    return df.filter("id < 3"), df.filter("id >= 3"), df


@pytest.fixture(scope="module")
def fits(halves):
    """The models of one half, of the other and of all rows: of a column of each kind, and of scalars alone."""
    kinds = [(MinMaxScaler, ("x", "a", "v")), (StandardScaler, ("x", "a", "v")), (StandardScaler, ("x",))]
    return {(kind, names): [kind(inputCols=[*names]).fit(df) for df in halves] for kind, names in kinds}


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
def test_a_model_knows_its_features(models, scaler):
    """Features are counted and named over all columns, in the order of the inputs."""
    model = models[scaler]

    assert model.numFeatures == 5
    assert model.featureNames == FEATURES
    assert model.count == 3
    assert model.invalidCounts == [1, 0, 0, 0, 0]
    assert model.constantFeatures == ["a_1", "zero"]


def test_min_max_has_sparks_attributes(models):
    """originalMin and originalMax are vectors over all features."""
    model = models[MinMaxScaler]

    assert isinstance(model, MinMaxScalerModel)
    assert model.originalMin == DenseVector([1.0, 5.0, 1.0, -7.0, 0.0])
    assert model.originalMax == DenseVector([4.0, 5.0, 6.0, 3.0, 0.0])


def test_max_abs_has_sparks_attribute(models):
    """maxAbs is a vector over all features."""
    model = models[MaxAbsScaler]

    assert isinstance(model, MaxAbsScalerModel)
    assert model.maxAbs == DenseVector([4.0, 5.0, 6.0, 7.0, 0.0])


@pytest.mark.parametrize(("ddof", "std"), [(1, 7**0.5), (0, (14 / 3) ** 0.5)])
def test_standard_has_sparks_attributes(models, ddof, std):
    """mean and std are vectors over all features, for any withMean and withStd."""
    model = models[StandardScaler].copy().setDdof(ddof).setWithStd(False)

    assert isinstance(model, StandardScalerModel)
    assert model.mean == DenseVector([2.5, 5.0, 3.0, -1.0, 0.0])
    assert model.std[2] == pytest.approx(std, rel=1e-15)
    assert model.std[1] == 0.0


@pytest.mark.core
def test_statistics_are_raw_and_frozen(pairs):
    """The statistic is the mergeable one, in double, and cannot be assigned to."""
    extrema, moments = (pairs[scaler][1].statistics for scaler in (MinMaxScaler, StandardScaler))

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
def test_weights_weigh(weighted):
    """Mean and variance are those of Spark's Summarizer: reliability weights under ddof=1."""
    assert weighted.mean[0] == pytest.approx(11 / 4)
    assert weighted.std[0] ** 2 == pytest.approx((1.75**2 + 2 * 0.75**2 + 3.25**2) / (4 - 6 / 4))
    assert weighted.copy().setDdof(0).std[0] ** 2 == pytest.approx(14.75 / 4)


def test_weights_do_not_touch_the_count(weighted):
    """count is the number of rows, not of their weights."""
    assert weighted.count == 3


def test_the_map_works_without_spark(pairs):
    """affine is a NumPy map that serving code applies by itself."""
    affine = pairs[MinMaxScaler][1].affine

    assert isinstance(affine, AffineMap)
    assert affine.apply([[1.0], [3.5], [6.0]]).tolist() == [[0.0], [0.5], [1.0]]


def test_the_map_cannot_be_changed(pairs):
    """A model's map is read-only, so that no two users of it differ."""
    with pytest.raises(ValueError, match="read-only"):
        pairs[MinMaxScaler][1].affine.center[0] = 1.0


@pytest.mark.parametrize(
    ("scaler", "values"),
    [
        (MinMaxScaler, {"min": 1.0, "max": 6.0}),
        (MaxAbsScaler, {"maxAbs": 6.0}),
        (StandardScaler, {"mean": 3.0, "std": pytest.approx(7**0.5)}),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_summary_is_a_table_of_features(models, scaler, values):
    """One row a feature: counts, what was learned, the map and whether the feature is constant."""
    model = models[scaler]
    table = model.summary()

    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["count", "invalid", *values, "center", "scale", "offset", "constant"]
    assert table.index.name == "feature"
    assert list(table.index) == FEATURES
    assert table.loc["x", list(values)].to_dict() == values
    assert list(table["count"]) == [2, 3, 3, 3, 3]
    assert list(table["invalid"]) == [1, 0, 0, 0, 0]
    assert list(table["constant"]) == [False, True, False, False, True]
    assert list(table["center"]) == model.affine.center.tolist()


def test_repr_says_what_sparks_says(models):
    """uid, number of features and the Params that shape the map."""
    changed = (
        models[MinMaxScaler].copy().setMax(2.0),
        models[MaxAbsScaler],
        models[StandardScaler].copy().setWithMean(True),
    )

    assert [repr(model).replace(model.uid, "U") for model in changed] == [
        "MinMaxScalerModel: uid=U, numFeatures=5, min=0.0, max=2.0",
        "MaxAbsScalerModel: uid=U, numFeatures=5",
        "StandardScalerModel: uid=U, numFeatures=5, withMean=true, withStd=true",
    ]


def test_repr_of_an_inverse_has_its_model(pairs):
    """An inverse shows what it undoes."""
    model = pairs[MaxAbsScaler][1]

    assert repr(model.inverse()) == f"InverseModel of {model!r}"


def test_repr_never_fails():
    """A model that learned nothing has a repr too."""
    assert "numFeatures=0" in repr(MinMaxScalerModel())


@each_scaler
def test_explain_params_explains_each(pairs, scaler):
    """Estimator and model list the same Params, each with its text and value."""
    estimator, model = pairs[scaler]

    assert [p.name for p in model.params] == [p.name for p in estimator.params]
    lines = model.explainParams().splitlines()
    assert [line.partition(":")[0] for line in lines] == [p.name for p in model.params]
    assert any(line.startswith("handleInvalid") and "default: keep" in line for line in lines)
    assert any(line.startswith("inputCol:") and "current: x" in line for line in lines)


# Params on models


@pytest.mark.core
@each_scaler
def test_a_model_has_its_estimators_uid_and_params(pairs, scaler):
    """Tuning finds a model's Params by its estimator's uid."""
    estimator, model = pairs[scaler]

    assert model.uid == estimator.uid
    assert {p.name: model.getOrDefault(p) for p in model.params if model.isSet(p)} == {
        "inputCol": "x",
        "handleConstant": "unit",
    }
    assert estimator.getParam("handleConstant") in model.extractParamMap()


def test_setting_a_param_on_a_model_changes_its_map(data, pairs, min_max):
    """The map is computed from what was learned and the Params of now."""
    assert min_max.setMin(-1.0) is min_max
    assert min_max.affine.apply([1.0, 6.0]).tolist() == [-1.0, 1.0]
    rows = min_max.transform(data).select("x_scaled").collect()
    assert [row[0] for row in rows] == [-1.0, pytest.approx(-0.6), 1.0]

    model = pairs[StandardScaler][1].copy().setWithMean(True).setDdof(0)
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
    scaler = MinMaxScaler(inputCol="a")
    model = scaler.fit(data)
    scaler.setMax(10.0)

    assert model.getMax() == 1.0


def test_a_copy_is_another_model(min_max):
    """A copy has its own Params and knows the same."""
    before = frozen(min_max)
    copy = min_max.copy({min_max.min: -1.0})
    copy.setOutputCol("o")

    assert (copy.getMin(), copy.uid) == (-1.0, min_max.uid)
    assert copy.statistics is min_max.statistics
    assert copy.featureNames == ["x"]
    assert frozen(min_max) == before


def test_copies_of_an_inverse_are_alike(min_max):
    """An inverse may be copied, as transform does when it is given Params."""
    inverse = min_max.inverse()
    copy = inverse.copy()

    assert copy.uid == inverse.uid
    assert copy.inverse().affine == inverse.inverse().affine


def test_an_inverse_stays_as_the_model_was(min_max):
    """Params that the model is given later do not redirect an inverse that was taken before, nor the other way."""
    inverse = min_max.setOutputCol("y").inverse()
    expected = inverse.toSQL()
    min_max.setMin(-1.0).setOutputCol("z")
    inverse.inverse().setMax(9.0)

    assert inverse.toSQL() == expected
    assert min_max.getMax() == 1.0


# Learning more

each_learned = pytest.mark.parametrize(
    ("scaler", "columns"),
    [(MinMaxScaler, ("x", "a", "v")), (StandardScaler, ("x", "a", "v")), (StandardScaler, ("x",))],
    ids=["extrema", "moments", "moments of scalars"],
)


@pytest.mark.core
@each_learned
def test_merge_is_a_fit_on_all(fits, scaler, columns):
    """The model of A merged with the model of B is the model of A and B."""
    one, other, whole = fits[scaler, columns]
    merged = one.merge(other)

    assert merged.count == whole.count == 8
    for name, expected in facts(whole.statistics).items():
        assert getattr(merged.statistics, name) == pytest.approx(expected, rel=1e-14)


@pytest.mark.core
@each_learned
def test_update_is_a_fit_on_all(halves, fits, scaler, columns):
    """The model of A updated with B is the model of A and B."""
    one, _, whole = fits[scaler, columns]
    updated = one.update(halves[1])

    for name, expected in facts(whole.statistics).items():
        assert getattr(updated.statistics, name) == pytest.approx(expected, rel=1e-14)


def test_merge_and_update_leave_their_operands(halves, fits):
    """Both return a new model; those that went in are as they were."""
    one, other, _ = fits[StandardScaler, ("x", "a", "v")]
    before = frozen(one), frozen(other)
    merged, updated = one.merge(other), one.update(halves[1])
    merged.setWithMean(True)
    updated.setWithMean(True)

    assert (frozen(one), frozen(other)) == before
    assert merged.uid == updated.uid == one.uid


def test_merge_takes_many():
    """Any number of models merge at once, none included."""
    models = [learned(MaxAbsScalerModel().setInputCol("x"), [[v]], "x") for v in (1.0, -5.0, 3.0)]

    assert models[0].merge(*models[1:]).maxAbs[0] == 5.0
    assert models[0].merge(*models[1:]).count == 3
    assert models[0].merge().affine == models[0].affine
    assert models[0].merge() is not models[0]


def test_merge_keeps_the_first_models_params():
    """Params come from the model that merge is called on."""
    one = learned(MinMaxScalerModel().setMax(2.0).setInputCol("x"), [[0.0], [1.0]], "x")
    other = learned(MinMaxScalerModel().setMax(9.0).setInputCol("x"), [[4.0]], "x")

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
@pytest.mark.parametrize("columns", [("x",), ("x", "a", "v")], ids=["scalars", "all kinds"])
def test_update_without_rows_changes_nothing(halves, fits, columns):
    """An empty batch is no error once something is known."""
    model = fits[StandardScaler, columns][0]
    updated = model.update(halves[0].filter("id > 99"))

    assert frozen(updated) == frozen(model)


def test_update_with_nulls_alone_counts_them(spark):
    """Rows without a value are counted as invalid and teach nothing else."""
    model = MinMaxScalerModel().setInputCol("a")
    extrema = Extrema.of(DenseBlock(np.array([[1.0, 2.0], [3.0, 5.0]])))
    model._learn([FeatureColumn("a", "array", size=2)], extrema, skips=False)
    updated = model.update(arrays(spark, None))

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
    model = learned(MaxAbsScalerModel().setInputCol("x"), [[1.0]], "x").setInputCol("y")

    assert model.update(scalars(spark, 4.0).withColumnRenamed("x", "y")).maxAbs[0] == 4.0


def test_learning_ends_a_constant():
    """A feature that was constant is not when more is known."""
    model, other = (learned(StandardScalerModel().setInputCol("x"), [[v]], "x") for v in (2.0, 4.0))
    merged = model.merge(other)

    assert (model.constantFeatures, merged.constantFeatures) == (["x"], [])
    assert merged.std[0] == pytest.approx(2**0.5)


# Shown


def test_features_without_a_valid_value_are_listed():
    """They map to NaN, and are no constants."""
    model = learned(StandardScalerModel(), [[1.0, INF], [2.0, NAN]], "x", "y")

    assert (model.emptyFeatures, model.constantFeatures) == (["y"], [])
    assert np.isnan(model.affine.scale).tolist() == [False, True]


def test_setparams_leaves_alone_what_is_none():
    """As the constructor does."""
    assert not StandardScaler(inputCol="x").setParams(weightCol=None).isSet("weightCol")
