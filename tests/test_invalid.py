"""Null, NaN, infinity and features without spread: what they do to a fit, and what a transform does to them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql.types import ArrayType, DoubleType, IntegerType, LongType, StructField, StructType

from frames import INF, NAN, cells, cells_of_each, near, scalars, vector_field
from models import learned, with_params
from sparkscale import (
    BatchNorm,
    ClipByNorm,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import aggregates
from table import SCALERS, each_scaler, model_of

# What a statistic leaves out is its own: one scaler of each.
EXTREMA_AND_MOMENTS = (MinMaxScaler, StandardScaler)
each_statistic = pytest.mark.parametrize("scaler", EXTREMA_AND_MOMENTS, ids=["extrema", "moments"])


@pytest.fixture(params=["aggregates", "arrow"])
def fit_path(request, monkeypatch):
    """Both ways in which scalars are fitted."""
    if request.param == "arrow":
        monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    return request.param


def x_a_v(spark, *rows, size):
    """Return a scalar, an array and a vector a row, the latter two of one size, in one partition."""
    fields = [StructField("x", DoubleType()), StructField("a", ArrayType(DoubleType())), vector_field("v", size)]
    records = [(k, *row) for k, row in enumerate(rows)]
    return spark.createDataFrame(records, StructType([StructField("id", LongType()), *fields])).coalesce(1)


def of_x_a_v(model, *rows, size):
    """Return the model fitted on such rows, with the features of all columns."""
    return learned(model, rows, "x", FeatureColumn("a", "array", size=size), FeatureColumn("v", "vector", size=size))


def of_each_scaler(min_max, standard):
    """Return models of all scalers by name, from one of extrema and one of moments."""
    max_abs = model_of(MaxAbsScaler(inputCols=min_max.getInputCols()), min_max)
    return {"MinMaxScaler": min_max, "MaxAbsScaler": max_abs, "StandardScaler": standard}


def transposed(rows, start):
    """Return what a column holds, for the columns from the one that is named by its place."""
    return [list(column) for column in zip(*(row[start:] for row in rows), strict=True)]


# keep


@pytest.mark.core
@each_statistic
def test_keep_leaves_invalid_scalars_out_of_the_statistic(spark, fit_path, scaler):
    """A fit over null, NaN and infinities is the fit over the other rows."""
    df = scalars(spark, None, 1.0, NAN, INF, 4.0, -INF, 2.0).coalesce(1)
    dirty, clean = (scaler(inputCol="x").fit(rows) for rows in (df, df.filter("x IN (1, 2, 4)")))

    assert dirty.affine == clean.affine
    assert (dirty.invalidCounts, clean.invalidCounts) == ([4], [0])
    assert (dirty.count, clean.count) == (7, 3)


@pytest.fixture(scope="module")
def partly_valid(spark):
    """Return a model of each statistic, of an array and a vector that hold null, NaN and infinities."""
    df = x_a_v(
        spark,
        (0.0, None, None),
        (0.0, [1.0, None], Vectors.dense([1.0, NAN])),
        (0.0, [NAN, 5.0], Vectors.sparse(2, {0: 3.0})),
        (0.0, [3.0, INF], Vectors.sparse(2, {0: INF, 1: 8.0})),
        (0.0, [2.0, 9.0], None),
        size=2,
    )
    return {scaler: scaler(inputCols=["a", "v"]).fit(df) for scaler in EXTREMA_AND_MOMENTS}


def of_scalar(scaler, *values):
    """Return what the scaler learns from these values of one scalar."""
    return learned(scaler._model(), [[v] for v in values], "x")


@pytest.mark.core
@each_statistic
def test_keep_leaves_invalid_elements_out_of_the_statistic(partly_valid, scaler):
    """Each feature of an array is learned from its own valid values; a null array lacks all."""
    model = partly_valid[scaler]
    one, two = of_scalar(scaler, 1.0, 3.0, 2.0), of_scalar(scaler, 5.0, 9.0)

    assert model.statistics.count[:2].tolist() == [3.0, 2.0]
    assert model.invalidCounts[:2] == [2, 3]
    assert model.count == 5
    assert (model.affine[:1], model.affine[1:2]) == (one.affine, two.affine)


@pytest.mark.core
@each_statistic
def test_keep_leaves_invalid_entries_of_vectors_out_of_the_statistic(partly_valid, scaler):
    """Dense and sparse vectors may hold NaN and infinities; a null vector lacks all features."""
    model = partly_valid[scaler]
    one, two = of_scalar(scaler, 1.0, 3.0), of_scalar(scaler, 0.0, 8.0)

    assert model.statistics.count[2:].tolist() == [2.0, 2.0]
    assert model.invalidCounts[2:] == [3, 3]
    assert model.count == 5
    for name in ("center", "scale", "offset"):
        expected = [getattr(one.affine, name)[0], getattr(two.affine, name)[0]]
        assert getattr(model.affine[2:], name) == pytest.approx(expected, rel=1e-15)


@pytest.fixture(scope="module")
def kept(spark):
    """Return the results for each kind of column, with invalid values among values from 0 to 2 and from 0 to 4."""
    df = x_a_v(
        spark,
        (0.0, [0.0, 0.0], Vectors.dense([0.0, 0.0])),
        (2.0, [2.0, 4.0], Vectors.dense([2.0, 4.0])),
        (None, [None, NAN], Vectors.dense([NAN, INF])),
        (NAN, [INF, -INF], None),
        (INF, None, Vectors.sparse(2, {})),
        (-INF, [1.0, None], Vectors.dense([1.0, NAN])),
        size=2,
    )
    model = MinMaxScaler(inputCols=["x", "a", "v"]).fit(df)
    frames = {low: with_params(model, min=float(low)).transform(df) for low in ("0.0", "-1.0")}
    return {low: transposed(rows, 4) for low, rows in cells_of_each(frames).items()}


@pytest.mark.core
def test_keep_maps_null_to_null_and_nan_to_nan(kept):
    """In a scalar, null stays null, NaN stays NaN, and infinity passes through the map."""
    assert str(kept["0.0"][0]) == "[0.0, 1.0, None, nan, inf, -inf]"


@pytest.mark.core
def test_keep_maps_each_element_by_itself(kept):
    """In an array, null elements stay null, NaN stays NaN, and a null array stays null."""
    assert str(kept["0.0"][1]) == "[[0.0, 0.0], [1.0, 1.0], [None, nan], [inf, -inf], None, [0.5, None]]"


@pytest.mark.core
@pytest.mark.parametrize("low", ["0.0", "-1.0"], ids=["no offset", "offset"])
def test_keep_maps_each_entry_by_itself(kept, low):
    """In a vector, NaN stays NaN, infinity passes through the map, and a null vector stays null."""
    middle = (float(low) + 1.0) / 2

    assert str(kept[low][2]) == f"[[{low}, {low}], [1.0, 1.0], [nan, inf], None, [{low}, {low}], [{middle}, nan]]"


@pytest.mark.core
def test_keep_makes_nan_of_null_in_one_vector(spark):
    """A vector has no null elements: many columns into one vector put NaN there, as VectorAssembler does."""
    df = spark.createDataFrame(
        [(0.0, [0.0, 0.0]), (2.0, [4.0, 4.0]), (None, [None, 2.0]), (1.0, None)], "x double, a array<double>"
    )
    model = learned(MinMaxScalerModel(), [[0.0] * 3, [2.0, 4.0, 4.0]], "x", FeatureColumn("a", "array", size=2))
    rows = cells(model.setOutputCol("f").transform(df), "f")

    assert str(rows) == "[[[0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]], [[nan, nan, 0.5]], [[0.5, nan, nan]]]"


# Clip


@pytest.fixture(scope="module")
def clipped(spark):
    """Return infinities, NaN, values beyond fit's and null, clipped by MinMax and by MaxAbs, in columns of each kind."""
    values = [INF, -INF, NAN, 3.0, -1.0, 1.0]
    df = x_a_v(spark, *((v, [v], Vectors.dense([v])) for v in values), (None, None, None), size=1)
    models = [
        of_x_a_v(kind().setClip(True), [0.0] * 3, [2.0] * 3, size=1) for kind in (MinMaxScalerModel, MaxAbsScalerModel)
    ]
    scaled = models[0].transform(df)
    scaled = models[1].setOutputCols(["x_max", "a_max", "v_max"]).transform(scaled)
    return transposed(cells(scaled), 4)


def test_clip_clips_infinity_and_leaves_nan(clipped):
    """With clip, infinities become the bounds; NaN is no number to clip."""
    x, a, v = clipped[:3]

    assert str(x[:-1]) == "[1.0, 0.0, nan, 1.0, 0.0, 0.5]"
    assert str(a[:-1]) == str(v[:-1]) == "[[1.0], [0.0], [nan], [1.0], [0.0], [0.5]]"


def test_clip_leaves_null(clipped):
    """Null is no number to clip."""
    assert [column[-1] for column in clipped] == [None] * 6
    assert str(clipped[3]) == "[1.0, -1.0, nan, 1.0, -0.5, 0.5, None]"


def test_mini_batches_and_inverses_know_keep_nan(spark):
    rows = [(0, 1.0), (0, 3.0), (0, None), (1, NAN), (1, 5.0), (1, 9.0)]
    df = spark.createDataFrame(rows, "step int, x double").coalesce(1)
    norm = BatchNorm(inputCol="x", batchCol="step", handleInvalid="keepNaN", epsilon=1e-12)
    model = norm.fit(df)
    infinite = spark.createDataFrame([(0, INF), (0, 1.0), (0, 2.0)], df.schema)
    scaled = spark.createDataFrame([(INF,), (None,)], "x_scaled double")

    normalized = sorted(cells(model.normalizeBatches(df), "step", "x_scaled"), key=str)
    near([x for _, x in normalized], [-1.0, 1.0, NAN, -1.0, 1.0, NAN])
    for action in (
        lambda: norm.copy({norm.statistics: "meanOfBatches"}).fit(infinite),
        lambda: model.normalizeBatches(infinite).collect(),
    ):
        with pytest.raises(Exception, match="Column 'x' holds Infinity, which handleInvalid='keepNaN' refuses"):
            action()
    with pytest.raises(Exception, match="Column 'x_scaled' holds Infinity, which handleInvalid='keepNaN' refuses"):
        model.inverseTransform(scaled).collect()


# A feature without any valid value


@each_statistic
def test_nothing_is_learned_of_a_feature_without_a_value(spark, fit_path, scaler):
    """Where fit saw no valid value there is no map, whichever way it takes."""
    model = scaler(inputCol="x").fit(scalars(spark, None, NAN, INF).coalesce(1))

    assert (model.statistics.count.tolist(), model.invalidCounts) == ([0.0], [3])
    assert np.isnan([model.affine.center, model.affine.scale, model.affine.offset]).all()


def test_a_feature_without_a_value_maps_to_nan(spark):
    """Values become NaN and null stays null."""
    df = scalars(spark, 1.0, None, NAN, INF).coalesce(1)
    for name, model in of_each_scaler(of_scalar(MinMaxScaler, NAN), of_scalar(StandardScaler, NAN)).items():
        df = model.setOutputCols([name]).transform(df)
    rows = cells(df, *(scaler.__name__ for scaler in SCALERS))

    assert str(rows) == "[[nan, nan, nan], [None, None, None], [nan, nan, nan], [nan, nan, nan]]"


def test_an_element_without_a_value_maps_to_nan(spark):
    """In arrays and vectors the other features are mapped as ever, clipped or not."""
    df = x_a_v(
        spark,
        (0.0, [1.0, None], Vectors.dense([1.0, NAN])),
        (0.0, [3.0, NAN], Vectors.sparse(2, {0: 3.0, 1: INF})),
        size=2,
    )
    min_max, standard = (scaler(inputCols=["a", "v"]).fit(df) for scaler in EXTREMA_AND_MOMENTS)
    models = of_each_scaler(min_max, standard)
    models |= {
        f"{n} clip": with_params(m, clip=[-9.0, 9.0] if isinstance(m, StandardScalerModel) else True)
        for n, m in models.items()
        if m.hasParam("clip")
    }
    rows = x_a_v(
        spark, (0.0, [1.0, 1.0], Vectors.dense([1.0, 1.0])), (0.0, [3.0, None], Vectors.dense([3.0, 1.0])), size=2
    )
    scaled = cells_of_each({name: model.transform(rows) for name, model in models.items()})

    for name, model in models.items():
        first, second = (model.affine[:2].apply([x, 1.0])[0].item() for x in (1.0, 3.0))
        arrays, entries = transposed(scaled[name], 4)
        assert str(arrays) == str([[first, NAN], [second, None]]), name
        nan = pytest.approx(NAN, nan_ok=True)
        assert entries == [[pytest.approx(m, rel=1e-15), nan] for m in (first, second)], name


def test_a_feature_without_a_value_is_shown():
    """summary shows it without a value, and it is no constant."""
    model = learned(MinMaxScalerModel(), [[1.0, NAN], [2.0, NAN]], "x", "y")

    shown = model.summary().loc["y"]
    assert (shown["count"], shown["invalid"]) == (0, 2)
    assert np.isnan([shown["min"], shown["max"], shown["center"], shown["scale"], shown["offset"]]).all()
    assert not shown["constant"]
    assert model.constantFeatures == []
    assert np.isnan(model.originalMin[1])


# skip


def test_skip_drops_rows_in_fit(spark):
    """A row with one invalid value teaches nothing about its other columns either."""
    df = spark.createDataFrame([(1.0, 5.0), (2.0, 7.0), (9.0, NAN), (None, 99.0)], "x double, y double")
    model = MinMaxScaler(inputCols=["x", "y"], handleInvalid="skip").fit(df)

    assert model.originalMax.toArray().tolist() == [2.0, 7.0]
    assert model.count == 2
    assert model.invalidCounts == [1, 1]


@pytest.fixture(scope="module")
def mostly_invalid(spark):
    """Return eight rows of all kinds; the first and the last are valid except for a column that is not scaled."""
    schema = StructType(
        [
            StructField("i", IntegerType()),
            StructField("x", DoubleType()),
            StructField("a", ArrayType(DoubleType())),
            vector_field("v", 2),
            StructField("other", DoubleType()),
        ]
    )
    dense, sparse = Vectors.dense([1.0, 2.0]), Vectors.sparse(2, {1: 4.0})
    rows = [
        (0, 1.0, [1.0], dense, None),
        (1, NAN, [50.0], dense, 1.0),
        (2, 60.0, None, dense, 1.0),
        (3, 60.0, [None], dense, 1.0),
        (4, 60.0, [50.0], None, 1.0),
        (5, 60.0, [50.0], Vectors.dense([NAN, 70.0]), 1.0),
        (6, 60.0, [50.0], Vectors.sparse(2, {0: INF}), 1.0),
        (7, 2.0, [3.0], sparse, NAN),
    ]
    return spark.createDataFrame(rows, schema).coalesce(1)


@pytest.mark.core
@each_statistic
def test_skip_drops_rows_over_all_kinds(mostly_invalid, scaler):
    """``fit`` drops a row if any scalar, array or vector to scale is invalid; other columns do not matter."""
    model = scaler(inputCols=["x", "a", "v"], handleInvalid="skip").fit(mostly_invalid)
    clean = scaler(inputCols=["x", "a", "v"]).fit(mostly_invalid.filter("i IN (0, 7)"))

    assert model.affine == clean.affine
    assert model.count == 2
    assert model.invalidCounts == [1, 2, 3, 1]


@pytest.mark.core
def test_skip_drops_rows_over_all_kinds_in_transform(mostly_invalid):
    """A row is dropped if any scalar, array or vector to scale is invalid; other columns do not matter."""
    columns = "x", FeatureColumn("a", "array", size=1), FeatureColumn("v", "vector", size=2)
    model = learned(
        MinMaxScalerModel().setHandleInvalid("skip"), [[1.0, 1.0, 0.0, 2.0], [2.0, 3.0, 1.0, 4.0]], *columns
    )

    assert cells(model.transform(mostly_invalid), "i") == [[0], [7]]


def test_skip_drops_rows_of_the_one_vector(spark):
    """The many-to-one form drops rows as well, instead of putting NaN into the vector."""
    df = spark.createDataFrame([(0.0, 0.0), (2.0, 2.0), (None, 1.0), (1.0, INF)], "x double, y double")
    model = learned(MinMaxScalerModel().setHandleInvalid("skip"), [[0.0, 0.0], [2.0, 2.0]], "x", "y")

    assert cells(model.setOutputCol("f").transform(df), "f") == [[[0.0, 0.0]], [[1.0, 1.0]]]


# error


@each_statistic
def test_policies_are_alike_in_a_fit_of_clean_data(spark, scaler):
    """Without an invalid value the three give one statistic."""
    df = spark.createDataFrame([(1.0, [1.0, 2.0]), (4.0, [0.0, 5.0])], "x double, a array<double>").coalesce(1)
    fitted = [scaler(inputCols=["x", "a"], handleInvalid=policy).fit(df) for policy in ("keep", "skip", "error")]
    keep, skip, error = ((m.affine.apply([1.0, 2.0, 3.0]).tolist(), m.count, m.invalidCounts) for m in fitted)

    assert keep == skip == error


def test_policies_are_alike_in_a_transform_of_clean_data(spark):
    """Without an invalid value the three give one result, of every scaler."""
    df = spark.createDataFrame([(1.0, [1.0, 2.0]), (4.0, [0.0, 5.0])], "x double, a array<double>").coalesce(1)
    columns = "x", FeatureColumn("a", "array", size=2)
    models = {s: learned(s._model(), [[1.0, 1.0, 2.0], [4.0, 0.0, 5.0]], *columns) for s in SCALERS}
    policies = ("keep", "skip", "error")
    rows = cells_of_each(
        {
            f"{scaler.__name__} {policy}": with_params(model, handleInvalid=policy).transform(df)
            for scaler, model in models.items()
            for policy in policies
        }
    )

    for scaler in SCALERS:
        keep, skip, error = (rows[f"{scaler.__name__} {policy}"] for policy in policies)
        assert len(keep) == 2
        assert keep == skip == error


# keepNaN


NONE_INFINITE = (
    (1.0, [1.0, NAN], Vectors.dense([1.0, NAN])),
    (None, [None, 3.0], None),
    (NAN, None, Vectors.sparse(2, {1: 3.0})),
)
INFINITE = {
    "x": (-INF, [2.0, 2.0], Vectors.dense([2.0, 2.0])),
    "a": (2.0, [None, INF], Vectors.dense([2.0, 2.0])),
    "v": (2.0, [2.0, 2.0], Vectors.sparse(2, {1: INF})),
}
SHOWN_AS = {"x": "-Infinity", "a": "Infinity", "v": "Infinity"}


@pytest.mark.core
@pytest.mark.settings
@each_statistic
def test_keep_nan_is_keep_where_nothing_is_infinite(spark, fit_path, scaler):
    """Null and NaN are left out of the fit, and pass through the map."""
    df = x_a_v(spark, *NONE_INFINITE, size=2)
    of_scalar = [scaler(inputCol="x", handleInvalid=policy).fit(df) for policy in ("keep", "keepNaN")]
    models = [scaler(inputCols=["x", "a", "v"], handleInvalid=policy).fit(df) for policy in ("keep", "keepNaN")]
    keep, keep_nan = cells_of_each({m.getHandleInvalid(): m.transform(df) for m in models}).values()

    for one, other in (of_scalar, models):
        assert one.affine == other.affine
        assert one.invalidCounts == other.invalidCounts
    assert str(keep) == str(keep_nan)


@pytest.mark.core
@pytest.mark.parametrize("column", INFINITE)
def test_keep_nan_refuses_infinity(spark, column):
    """In fit, by aggregates and through Arrow, and in transform."""
    df = x_a_v(spark, *NONE_INFINITE, INFINITE[column], size=2)
    message = f"Column '{column}' holds {SHOWN_AS[column]}, which handleInvalid='keepNaN' refuses"
    model = MinMaxScaler(inputCols=["x", "a", "v"], handleInvalid="keepNaN").fit(df.where("id < 3"))

    for chosen in {(column,), ("x", "a", "v")}:
        with pytest.raises(InvalidValueError, match=message):
            MinMaxScaler(inputCols=[*chosen], handleInvalid="keepNaN").fit(df)
    for shape in ({}, {"outputCol": "o"}):
        with pytest.raises(Exception, match=message):
            with_params(model, **shape).transform(df).collect()


def test_stages_of_rows_know_keep_nan(spark):
    df = x_a_v(spark, *NONE_INFINITE, size=2)
    stage = ClipByNorm(inputCols=["a", "v"], clipNorm=1.0, handleInvalid="keepNaN")
    keep = cells_of_each({p: stage.copy().setHandleInvalid(p).transform(df) for p in ("keep", "keepNaN")})

    assert str(keep["keep"]) == str(keep["keepNaN"])
    for column in ("a", "v"):
        bad = x_a_v(spark, INFINITE[column], size=2)
        with pytest.raises(Exception, match=f"Column '{column}' holds Infinity, which handleInvalid='keepNaN'"):
            stage.transform(bad).collect()


# A feature without any valid value


def test_features_without_a_value_may_be_refused():
    """By fit, merge and update alike: by all that makes a map of what was learned."""
    empty = learned(MinMaxScalerModel().setHandleEmpty("error"), [[1.0, NAN]], "x", "y")
    other = learned(MinMaxScalerModel(), [[1.0, 2.0]], "x", "y")

    with pytest.raises(EmptyDataError, match="no valid value in 'y', which handleEmpty='error' refuses"):
        empty.affine  # noqa: B018
    with pytest.raises(EmptyDataError, match="'y'"):
        empty.merge(empty)
    assert empty.merge(other).emptyFeatures == []
    assert with_params(empty, handleEmpty="keep").emptyFeatures == ["y"]
    with pytest.raises(ParamError, match=r"handleEmpty must be one of 'keep', 'error'\. Got 'skip'"):
        with_params(empty, handleEmpty="skip").merge(other)


@pytest.mark.core
def test_a_fit_refuses_features_without_a_value(spark):
    df = x_a_v(spark, (1.0, [1.0, NAN], Vectors.dense([INF, 1.0])), (NAN, [2.0, None], None), size=2)
    scaler = StandardScaler(inputCols=["x", "a", "v"], handleEmpty="error")

    with pytest.raises(EmptyDataError, match="StandardScalerModel: no valid value in 'a_1', 'v_0', which"):
        scaler.fit(df)
    assert scaler.copy().setInputCols(["x"]).fit(df).count == 2


# A feature without spread

CONSTANT = {
    ("MinMaxScaler", "collapse"): [0.5, 0.5, 0.5],
    ("MinMaxScaler", "unit"): [0.0, 2.0, -8.0],
    ("MaxAbsScaler", "collapse"): [1.0, 1.25, 0.0],
    ("MaxAbsScaler", "unit"): [1.0, 1.25, 0.0],
    ("StandardScaler", "collapse"): [0.0, 0.0, 0.0],
    ("StandardScaler", "unit"): [8.0, 10.0, 0.0],
}
each_policy = pytest.mark.parametrize("policy", ["collapse", "unit"])


def of_constants(scaler, kinds, rows=1):
    """Return what the scaler learns from rows of 8 in columns of these kinds, and of 0 in a scalar."""
    columns = [FeatureColumn(kind[0], kind, size=1) for kind in kinds]
    return learned(scaler._model(), [[8.0] * len(kinds) + [0.0]] * rows, *columns, "z")


@pytest.fixture(scope="module")
def eights(spark):
    """Return three rows of 8 in columns of all kinds, and of 0 in a scalar."""
    df = x_a_v(spark, *[(8.0, [8.0], Vectors.dense([8.0]))] * 3, size=1)
    return df.selectExpr("id", "x AS s", "a", "v", "0D AS z")


@each_statistic
@pytest.mark.parametrize("rows", [1, 3], ids=["single row", "three rows"])
@pytest.mark.parametrize("kinds", [["scalar"], ["scalar", "array", "vector"]], ids=["scalars", "all kinds"])
def test_a_constant_is_learned_from_any_kind_of_column(eights, scaler, rows, kinds):
    """To the bit. A single row is constant, and so are zeros."""
    expected = of_constants(scaler, kinds, rows)
    model = scaler(inputCols=expected.getInputCols()).fit(eights.filter(f"id < {rows}"))

    assert model.constantFeatures == expected.featureNames
    for policy in ("collapse", "unit"):
        one, other = (with_params(m, handleConstant=policy).affine for m in (model, expected))
        assert one == other, policy


@pytest.fixture(scope="module")
def of_eights(spark):
    """Return what each scaler makes, under each policy, of the constants, of other values and of invalid ones."""
    rows = ((v, [v], None if v is None else Vectors.dense([v])) for v in (8.0, 10.0, 0.0, INF, NAN, None))
    df = x_a_v(spark, *rows, size=1)
    df = df.selectExpr("id", "x AS s", "a", "v", "CASE WHEN id = 1 THEN -3D ELSE 0D END AS z")
    kinds = ["scalar", "array", "vector"]
    frames = {}
    for scaler in SCALERS:
        model = of_constants(scaler, kinds)
        for policy in ("collapse", "unit"):
            frames[f"{scaler.__name__} {policy}"] = with_params(model, handleConstant=policy).transform(df)
    return {name: transposed(values, 5) for name, values in cells_of_each(frames).items()}


@pytest.mark.parametrize(("scaler", "policy"), CONSTANT)
def test_a_constant_feature_follows_handle_constant(of_eights, scaler, policy):
    """Spark's way maps each value, seen or not, to one; scikit-learn's divides by 1."""
    s, a, v, _ = of_eights[f"{scaler} {policy}"]

    assert str(s[:3]) == str(CONSTANT[scaler, policy])
    assert str(a[:3]) == str(v[:3]) == str([[c] for c in CONSTANT[scaler, policy]])


@pytest.mark.parametrize(("policy", "expected"), [("collapse", [0.0, 0.0]), ("unit", [0.0, 2.0])])
def test_a_constant_feature_is_centred_under_with_mean(policy, expected):
    """With withMean, "unit" leaves the distance to the constant, and "collapse" 0."""
    model = learned(StandardScalerModel().setWithMean(True).setHandleConstant(policy), [[0.1]] * 3, "x")

    assert model.affine.apply([[0.1], [2.1]]).ravel().tolist() == expected


@pytest.mark.parametrize(("policy", "middle"), [("collapse", 2.0), ("unit", -1.0)])
def test_a_constant_feature_goes_to_the_target_range(policy, middle):
    """The middle of [-1, 5] is 2; scikit-learn's way puts the constant to the lower end."""
    model = MinMaxScalerModel().setMin(-1.0).setMax(5.0).setHandleConstant(policy)

    assert learned(model, [[7.0]] * 2, "x").affine.apply([[7.0]]).tolist() == [[middle]]


@pytest.mark.core
def test_a_constant_of_many_rows_is_constant_to_the_bit(spark, fit_path):
    """0.1 has no exact sum; its spread is 0 nevertheless."""
    df = spark.range(0, 1000, 1, 3).selectExpr("0.1D AS x")
    model = StandardScaler(inputCol="x").fit(df)

    assert (model.mean[0], model.std[0], model.constantFeatures) == (0.1, 0.0, ["x"])


@each_scaler
def test_features_of_zeros_are_constant_for_every_scaler(of_eights, scaler):
    """Zeros map to the middle of [0, 1], or to 0."""
    z = of_eights[f"{scaler.__name__} collapse"][3]

    assert of_constants(scaler, []).constantFeatures == ["z"]
    assert str(z[0]) == ("0.5" if scaler is MinMaxScaler else "0.0")


@each_policy
def test_unseen_values_of_a_feature_of_zeros_pass_through_max_abs(of_eights, policy):
    """MaxAbs divides such a feature by 1."""
    assert of_eights[f"MaxAbsScaler {policy}"][3][1] == -3.0


def test_a_collapsed_feature_maps_unseen_infinity_to_nan(of_eights):
    """Infinity divided by infinity is no number; a collapse holds for finite values."""
    assert str(of_eights["StandardScaler collapse"][0][1:]) == "[0.0, 0.0, nan, nan, None]"


def test_constant_features_are_listed_by_name():
    """Among the features of several columns those without spread are named, elements by column and index."""
    columns = "x", FeatureColumn("a", "array", size=2), "i"
    model = learned(StandardScalerModel(), [[1.0, 1.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0]], *columns)

    assert model.constantFeatures == ["x", "a_1"]


def logged(caplog):
    """Return what the package logged, and by which name."""
    return [(r.name, r.getMessage()) for r in caplog.records if r.name.startswith("sparkscale")]


def test_features_without_spread_or_value_are_logged_once(spark, caplog):
    """fit logs one line of each with class, number and names; transform logs nothing."""
    df = spark.createDataFrame(
        [(1.0, 2.0, 3.0, None), (1.0, 2.0, 4.0, None)], "x double, y double, z double, e double"
    ).coalesce(1)
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        model = StandardScaler(inputCols=["x", "y", "z", "e"]).fit(df)
        model.transform(df).collect()

    assert logged(caplog) == [
        ("sparkscale", "StandardScalerModel: 2 constant feature(s): x, y"),
        ("sparkscale", "StandardScalerModel: no valid value in e; they map to NaN"),
    ]


def test_the_log_names_ten_features_at_most(spark, caplog):
    """Of constant and of empty features, with their total number."""
    df = spark.createDataFrame([([7.0] * 12 + [None] * 11,)], "a array<double>")
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        MinMaxScaler(inputCol="a").fit(df)

    assert [message for _, message in logged(caplog)] == [
        f"MinMaxScalerModel: 12 constant feature(s): {', '.join(f'a_{i}' for i in range(10))}",
        f"MinMaxScalerModel: no valid value in {', '.join(f'a_{i}' for i in range(12, 22))}; they map to NaN",
    ]


def test_a_usual_fit_logs_nothing(spark, caplog):
    """Without constant or empty features the package is silent."""
    with caplog.at_level(logging.DEBUG, logger="sparkscale"):
        MinMaxScaler(inputCol="x").fit(scalars(spark, 1.0, 2.0).coalesce(1))

    assert logged(caplog) == []


def test_zero_results_have_no_sign(spark):
    """Values of a feature with spread, and those that collapse, have no sign, whichever side they come from."""
    rows = [(1.0, 2.0), (2.0, 2.0), (0.0, 0.0), (5.0, 5.0)]
    df = spark.createDataFrame(rows, "x double, constant double").coalesce(1)
    models = {s.__name__: learned(s._model(), [[1.0, 2.0], [2.0, 2.0]], "x", "constant") for s in SCALERS}
    scaled = cells_of_each({name: model.transform(df) for name, model in models.items()})

    assert "-0.0" not in str(scaled)


# Weights


@pytest.fixture(scope="module")
def weighted(spark):
    """Return a model of a scalar and an array with weights, of which two are 0."""
    rows = [(1.0, [1.0, 1.0], 1.0), (3.0, [3.0, None], 5.0), (NAN, [9.0, 9.0], 0.0), (99.0, None, 0.0)]
    df = spark.createDataFrame(rows, "x double, a array<double>, w double").coalesce(1)
    return StandardScaler(inputCols=["x", "a"], weightCol="w").fit(df)


def test_weight_0_does_not_count(weighted):
    """A row of weight 0 is neither counted, nor are its invalid values."""
    assert (weighted.count, weighted.invalidCounts) == (2, [0, 0, 1])
    assert weighted.mean[0] == pytest.approx(8 / 3, rel=1e-15)


def test_an_invalid_value_takes_its_weight_with_it(weighted):
    """The weights of a feature are those of its valid values."""
    assert weighted.statistics.weight[1:].tolist() == [6.0, 1.0]
    assert weighted.statistics.weight_square[1:].tolist() == [26.0, 1.0]
