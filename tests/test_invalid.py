"""Null, NaN, infinity and features without spread: what they do to a fit, and what a transform does to them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql.types import ArrayType, DoubleType, IntegerType, StructField, StructType

from sparkscale import MaxAbsScaler, MinMaxScaler, StandardScaler
from sparkscale.spark import aggregates

SCALERS = (MinMaxScaler, MaxAbsScaler, StandardScaler)
NAN, INF = float("nan"), float("inf")
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)


@pytest.fixture(params=["aggregates", "arrow"])
def lane(request, monkeypatch):
    """Both ways in which scalars are fitted."""
    if request.param == "arrow":
        monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    return request.param


def scalars(spark, *values):
    return spark.createDataFrame([(v,) for v in values], "x double")


def arrays(spark, *values):
    return spark.createDataFrame([(v,) for v in values], "a array<double>")


def vectors(spark, *values):
    return spark.createDataFrame([(v,) for v in values], StructType([StructField("v", VectorUDT())]))


def outputs(model, df):
    """Return the output column's values, vectors and arrays as lists, as text in which NaN equals NaN."""
    found = [row[-1] for row in model.transform(df).collect()]
    return str([v.toArray().tolist() if hasattr(v, "toArray") else v for v in found])


# keep


@pytest.mark.core
@each_scaler
def test_keep_leaves_invalid_scalars_out_of_the_statistic(spark, lane, scaler):
    """A fit over null, NaN and infinities is the fit over the other rows."""
    dirty = scaler(inputCol="x").fit(scalars(spark, None, 1.0, NAN, INF, 4.0, -INF, 2.0))
    clean = scaler(inputCol="x").fit(scalars(spark, 1.0, 4.0, 2.0))

    assert dirty.affine == clean.affine
    assert (dirty.invalidCounts, clean.invalidCounts) == ([4], [0])
    assert (dirty.count, clean.count) == (7, 3)


@pytest.mark.core
@each_scaler
def test_keep_leaves_invalid_elements_out_of_the_statistic(spark, scaler):
    """Each feature of an array is learned from its own valid values; a null array lacks all."""
    model = scaler(inputCol="a").fit(arrays(spark, None, [1.0, None], [NAN, 5.0], [3.0, INF], [2.0, 9.0]))
    one, two = (scaler(inputCol="x").fit(scalars(spark, *v)) for v in ([1.0, 3.0, 2.0], [5.0, 9.0]))

    assert model.statistics.count.tolist() == [3.0, 2.0]
    assert model.invalidCounts == [2, 3]
    assert model.count == 5
    assert (model.affine[:1], model.affine[1:]) == (one.affine, two.affine)


@pytest.mark.core
@each_scaler
def test_keep_leaves_invalid_entries_of_vectors_out_of_the_statistic(spark, scaler):
    """Dense and sparse vectors may hold NaN and infinities; a null vector lacks all features."""
    rows = [None, Vectors.dense([1.0, NAN]), Vectors.sparse(2, {0: 3.0}), Vectors.sparse(2, {0: INF, 1: 8.0})]
    model = scaler(inputCol="v").fit(vectors(spark, *rows))
    one, two = (scaler(inputCol="x").fit(scalars(spark, *v)) for v in ([1.0, 3.0], [0.0, 8.0]))

    assert model.statistics.count.tolist() == [2.0, 2.0]
    assert model.invalidCounts == [2, 2]
    assert model.count == 4
    for name in ("center", "scale", "offset"):
        expected = [getattr(one.affine, name)[0], getattr(two.affine, name)[0]]
        assert getattr(model.affine, name) == pytest.approx(expected, rel=1e-15)


@pytest.mark.core
def test_keep_maps_null_to_null_and_nan_to_nan(spark):
    """In a scalar, null stays null, NaN stays NaN, and infinity passes through the map."""
    df = scalars(spark, 0.0, 2.0, None, NAN, INF, -INF)

    assert outputs(MinMaxScaler(inputCol="x").fit(df), df) == "[0.0, 1.0, None, nan, inf, -inf]"


def test_keep_maps_each_element_by_itself(spark):
    """In an array, null elements stay null, NaN stays NaN, and a null array stays null."""
    df = arrays(spark, [0.0, 0.0], [2.0, 4.0], [None, NAN], [INF, -INF], None)

    expected = "[[0.0, 0.0], [1.0, 1.0], [None, nan], [inf, -inf], None]"
    assert outputs(MinMaxScaler(inputCol="a").fit(df), df) == expected


@pytest.mark.core
@pytest.mark.parametrize("low", [0.0, -1.0], ids=["no offset", "offset"])
def test_keep_maps_each_entry_by_itself(spark, low):
    """In a vector, NaN stays NaN, infinity passes through the map, and a null vector stays null."""
    df = vectors(
        spark,
        Vectors.dense([0.0, 0.0]),
        Vectors.dense([2.0, 4.0]),
        Vectors.dense([NAN, INF]),
        None,
        Vectors.sparse(2, {}),
    )

    expected = f"[[{low}, {low}], [1.0, 1.0], [nan, inf], None, [{low}, {low}]]"
    assert outputs(MinMaxScaler(inputCol="v", min=low).fit(df), df) == expected


@pytest.mark.core
def test_keep_makes_nan_of_null_in_one_vector(spark):
    """A vector has no null elements: many columns into one vector put NaN there, as VectorAssembler does."""
    df = spark.createDataFrame(
        [(0.0, [0.0, 0.0]), (2.0, [4.0, 4.0]), (None, [None, 2.0]), (1.0, None)], "x double, a array<double>"
    )
    model = MinMaxScaler(inputCols=["x", "a"], outputCol="f").fit(df)

    assert outputs(model, df) == "[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [nan, nan, 0.5], [0.5, nan, nan]]"


# Clip


@pytest.mark.core
@pytest.mark.parametrize("kind", ["scalar", "array", "vector"])
def test_clip_clips_infinity_and_leaves_nan(spark, kind):
    """With clip, infinities become the bounds; NaN is no number to clip."""
    fitted, seen = [0.0, 2.0], [INF, -INF, NAN, 3.0, -1.0, 1.0]
    make = {
        "scalar": lambda *v: scalars(spark, *v),
        "array": lambda *v: arrays(spark, *([x] for x in v)),
        "vector": lambda *v: vectors(spark, *(Vectors.dense([x]) for x in v)),
    }[kind]
    column = {"scalar": "x", "array": "a", "vector": "v"}[kind]
    model = MinMaxScaler(inputCol=column, clip=True).fit(make(*fitted))

    assert outputs(model, make(*seen)).replace("[", "").replace("]", "") == "1.0, 0.0, nan, 1.0, 0.0, 0.5"


def test_clip_leaves_null(spark):
    """Null is no number to clip."""
    model = MaxAbsScaler(inputCol="x", clip=True).fit(scalars(spark, 2.0))

    assert outputs(model, scalars(spark, None, 4.0, -INF)) == "[None, 1.0, -1.0]"


# A feature without any valid value


@pytest.mark.core
@each_scaler
def test_a_feature_without_a_value_maps_to_nan(spark, lane, scaler):
    """Where fit saw no valid value there is no map: values become NaN and null stays null."""
    model = scaler(inputCol="x").fit(scalars(spark, None, NAN, INF))

    assert outputs(model, scalars(spark, 1.0, None, NAN, INF)) == "[nan, None, nan, nan]"


@each_scaler
@pytest.mark.parametrize("clip", [False, True], ids=["", "clip"])
def test_an_element_without_a_value_maps_to_nan(spark, scaler, clip):
    """In arrays and vectors the other features are mapped as ever."""
    extra = {"clip": True} if clip and scaler is not StandardScaler else {}
    df = arrays(spark, [1.0, None], [3.0, NAN])
    vec = vectors(spark, Vectors.dense([1.0, NAN]), Vectors.sparse(2, {0: 3.0, 1: INF}))
    by_array = scaler(inputCol="a", **extra).fit(df)
    by_vector = scaler(inputCol="v", **extra).fit(vec)

    mapped = [by_array.affine.apply([x, 1.0])[0].item() for x in (1.0, 3.0)]
    assert outputs(by_array, arrays(spark, [1.0, 1.0], [3.0, None])) == str([[mapped[0], NAN], [mapped[1], None]])
    expected = [[pytest.approx(m, rel=1e-15), pytest.approx(NAN, nan_ok=True)] for m in mapped]
    found = by_vector.transform(vectors(spark, Vectors.dense([1.0, 1.0]), Vectors.dense([3.0, 1.0]))).collect()
    assert [row[1].toArray().tolist() for row in found] == expected


def test_a_feature_without_a_value_is_logged_and_shown(spark, caplog):
    """The log names the feature once, and summary shows it without a value."""
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        df = spark.createDataFrame([(1.0, None), (2.0, None)], "x double, y double")
        model = MinMaxScaler(inputCols=["x", "y"]).fit(df)

    assert [r.getMessage() for r in caplog.records if "no valid value" in r.getMessage()] == [
        "MinMaxScalerModel: no valid value in y; they map to NaN"
    ]
    shown = model.summary().loc["y"]
    assert (shown["count"], shown["invalid"]) == (0, 2)
    assert np.isnan([shown["min"], shown["max"], shown["center"], shown["scale"], shown["offset"]]).all()
    assert not shown["constant"]
    assert model.constantFeatures == []
    assert np.isnan(model.originalMin[1])


# skip


@pytest.mark.core
def test_skip_drops_rows_in_fit(spark, lane):
    """A row with one invalid value teaches nothing about its other columns either."""
    df = spark.createDataFrame([(1.0, 5.0), (2.0, 7.0), (9.0, NAN), (None, 99.0)], "x double, y double")
    model = MinMaxScaler(inputCols=["x", "y"], handleInvalid="skip").fit(df)

    assert model.originalMax.toArray().tolist() == [2.0, 7.0]
    assert model.count == 2
    assert model.invalidCounts == [1, 1]


@pytest.mark.core
@each_scaler
def test_skip_drops_rows_over_all_kinds(spark, scaler):
    """Scalars, arrays and vectors decide together, in fit and in transform."""
    schema = StructType(
        [
            StructField("i", IntegerType()),
            StructField("x", DoubleType()),
            StructField("a", ArrayType(DoubleType())),
            StructField("v", VectorUDT()),
        ]
    )
    dense, sparse = Vectors.dense([1.0, 2.0]), Vectors.sparse(2, {1: 4.0})
    rows = [
        (0, 1.0, [1.0], dense),
        (1, NAN, [50.0], dense),
        (2, 60.0, None, dense),
        (3, 60.0, [None], dense),
        (4, 60.0, [50.0], None),
        (5, 60.0, [50.0], Vectors.dense([NAN, 70.0])),
        (6, 60.0, [50.0], Vectors.sparse(2, {0: INF})),
        (7, 2.0, [3.0], sparse),
    ]
    df = spark.createDataFrame(rows, schema)
    model = scaler(inputCols=["x", "a", "v"], handleInvalid="skip").fit(df)
    clean = scaler(inputCols=["x", "a", "v"]).fit(df.filter("i IN (0, 7)"))

    assert model.affine == clean.affine
    assert model.count == 2
    assert model.invalidCounts == [1, 2, 3, 1]
    assert [row["i"] for row in model.transform(df).collect()] == [0, 7]


def test_skip_drops_rows_of_the_one_vector(spark):
    """The many-to-one form drops rows as well, instead of putting NaN into the vector."""
    df = spark.createDataFrame([(0.0, 0.0), (2.0, 2.0), (None, 1.0), (1.0, INF)], "x double, y double")
    model = MinMaxScaler(inputCols=["x", "y"], outputCol="f", handleInvalid="skip").fit(df)

    assert outputs(model, df) == "[[0.0, 0.0], [1.0, 1.0]]"


def test_skip_looks_only_at_its_own_columns(spark):
    """An invalid value in another column drops nothing."""
    df = spark.createDataFrame([(1.0, None), (2.0, NAN)], "x double, other double")

    assert MinMaxScaler(inputCol="x", handleInvalid="skip").fit(df).transform(df).count() == 2


# error


@each_scaler
def test_error_does_nothing_to_clean_data(spark, scaler):
    """Without an invalid value the three policies give one result."""
    df = spark.createDataFrame([(1.0, [1.0, 2.0]), (4.0, [0.0, 5.0])], "x double, a array<double>")
    found = [
        (m.affine.apply([1.0, 2.0, 3.0]).tolist(), m.count, m.invalidCounts, m.transform(df).collect())
        for policy in ("keep", "skip", "error")
        for m in [scaler(inputCols=["x", "a"], handleInvalid=policy).fit(df)]
    ]

    assert found[0] == found[1] == found[2]


# A feature without spread

CONSTANT = {
    ("MinMaxScaler", "collapse"): [0.5, 0.5, 0.5],
    ("MinMaxScaler", "unit"): [0.0, 2.0, -8.0],
    ("MaxAbsScaler", "collapse"): [1.0, 1.25, 0.0],
    ("MaxAbsScaler", "unit"): [1.0, 1.25, 0.0],
    ("StandardScaler", "collapse"): [0.0, 0.0, 0.0],
    ("StandardScaler", "unit"): [8.0, 10.0, 0.0],
}


@pytest.mark.core
@each_scaler
@pytest.mark.parametrize("policy", ["collapse", "unit"])
@pytest.mark.parametrize("kind", ["scalar", "array", "vector"])
@pytest.mark.parametrize("rows", [1, 3], ids=["single row", "three rows"])
def test_a_constant_feature_follows_handle_constant(spark, scaler, policy, kind, rows):
    """Spark's way maps each value, seen or not, to one; scikit-learn's divides by 1. A single row is constant."""
    make = {
        "scalar": lambda *v: scalars(spark, *v),
        "array": lambda *v: arrays(spark, *([x] for x in v)),
        "vector": lambda *v: vectors(spark, *(Vectors.dense([x]) for x in v)),
    }[kind]
    column = {"scalar": "x", "array": "a", "vector": "v"}[kind]
    model = scaler(inputCol=column, handleConstant=policy).fit(make(*[8.0] * rows))

    found = outputs(model, make(8.0, 10.0, 0.0)).replace("[", "").replace("]", "")
    assert found == str(CONSTANT[scaler.__name__, policy])[1:-1]


@pytest.mark.parametrize(("policy", "expected"), [("collapse", [0.0, 0.0]), ("unit", [0.0, 2.0])])
def test_a_constant_feature_is_centred_under_with_mean(spark, policy, expected):
    """With withMean, "unit" leaves the distance to the constant, and "collapse" 0."""
    model = StandardScaler(inputCol="x", withMean=True, handleConstant=policy).fit(scalars(spark, 0.1, 0.1, 0.1))

    assert outputs(model, scalars(spark, 0.1, 2.1)) == str(expected)


@pytest.mark.parametrize(("policy", "middle"), [("collapse", 2.0), ("unit", -1.0)])
def test_a_constant_feature_goes_to_the_target_range(spark, policy, middle):
    """The middle of [-1, 5] is 2; scikit-learn's way puts the constant to the lower end."""
    model = MinMaxScaler(inputCol="x", min=-1.0, max=5.0, handleConstant=policy).fit(scalars(spark, 7.0, 7.0))

    assert outputs(model, scalars(spark, 7.0)) == str([middle])


@pytest.mark.core
def test_a_constant_of_many_rows_is_constant_to_the_bit(spark, lane):
    """0.1 has no exact sum; its spread is 0 nevertheless."""
    df = spark.range(0, 1000, 1, 3).selectExpr("0.1D AS x")
    model = StandardScaler(inputCol="x").fit(df)

    assert (model.mean[0], model.std[0], model.constantFeatures) == (0.1, 0.0, ["x"])


@pytest.mark.core
@each_scaler
def test_features_of_zeros_are_constant_for_every_scaler(spark, scaler):
    """Zeros map to the middle of [0, 1], or to 0."""
    model = scaler(inputCol="x").fit(scalars(spark, 0.0, 0.0))

    assert model.constantFeatures == ["x"]
    assert outputs(model, scalars(spark, 0.0)) == ("[0.5]" if scaler is MinMaxScaler else "[0.0]")


def test_unseen_values_of_a_feature_of_zeros_pass_through_max_abs(spark):
    """MaxAbs divides such a feature by 1."""
    assert outputs(MaxAbsScaler(inputCol="x").fit(scalars(spark, 0.0)), scalars(spark, -3.0)) == "[-3.0]"


def test_constant_features_are_listed_by_name(spark):
    """Among the features of several columns those without spread are named, elements by column and index."""
    df = spark.createDataFrame([(1.0, [1.0, 3.0], 4), (1.0, [2.0, 3.0], 5)], "x double, a array<double>, i int")

    assert StandardScaler(inputCols=["x", "a", "i"]).fit(df).constantFeatures == ["x", "a_1"]


def test_constant_features_are_logged_once(spark, caplog):
    """fit logs one line with class, number and names; transform logs nothing."""
    df = spark.createDataFrame([(1.0, 2.0, 3.0), (1.0, 2.0, 4.0)], "x double, y double, z double")
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        model = StandardScaler(inputCols=["x", "y", "z"]).fit(df)
        model.transform(df).collect()

    assert [(r.name, r.getMessage()) for r in caplog.records if r.name.startswith("sparkscale")] == [
        ("sparkscale", "StandardScalerModel: 2 constant feature(s): x, y")
    ]


def test_the_log_names_ten_features_at_most(spark, caplog):
    """Of constant ones, beside how many there are, and of empty ones."""
    df = spark.createDataFrame([([7.0] * 12 + [None] * 11,)], "a array<double>")
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        MinMaxScaler(inputCol="a").fit(df)

    assert [r.getMessage() for r in caplog.records if r.name.startswith("sparkscale")] == [
        f"MinMaxScalerModel: 12 constant feature(s): {', '.join(f'a_{i}' for i in range(10))}",
        f"MinMaxScalerModel: no valid value in {', '.join(f'a_{i}' for i in range(12, 22))}; they map to NaN",
    ]


def test_a_usual_fit_logs_nothing(spark, caplog):
    """Without constant or empty features the package is silent."""
    with caplog.at_level(logging.DEBUG, logger="sparkscale"):
        MinMaxScaler(inputCol="x").fit(scalars(spark, 1.0, 2.0))

    assert [r for r in caplog.records if r.name.startswith("sparkscale")] == []


@pytest.mark.core
def test_a_collapsed_feature_maps_unseen_infinity_to_nan(spark):
    """Infinity divided by infinity is no number; a collapse holds for finite values."""
    model = StandardScaler(inputCol="x").fit(scalars(spark, 1.0, 1.0))

    assert outputs(model, scalars(spark, 5.0, INF, NAN, None)) == "[0.0, nan, nan, None]"


@each_scaler
@pytest.mark.parametrize("values", [[1.0, 2.0], [2.0, 2.0]], ids=["spread", "constant"])
def test_what_maps_to_zero_is_not_minus_zero(spark, scaler, values):
    """Values that collapse have no sign, whichever side they come from."""
    model = scaler(inputCol="x").fit(scalars(spark, *values))

    assert "-0.0" not in outputs(model, scalars(spark, *values, 0.0, 5.0))


def test_weight_0_does_not_count(spark):
    """A row of weight 0 is neither counted, nor are its invalid values."""
    df = spark.createDataFrame([(1.0, 1.0), (3.0, 2.0), (NAN, 0.0), (99.0, 0.0)], "x double, w double")
    model = StandardScaler(inputCol="x", weightCol="w").fit(df)

    assert (model.count, model.invalidCounts, model.mean[0]) == (2, [0], pytest.approx(7 / 3, rel=1e-15))


def test_an_invalid_value_takes_its_weight_with_it(spark):
    """The weights of a feature are those of its valid values."""
    df = spark.createDataFrame([([1.0, 1.0], 1.0), ([3.0, None], 5.0)], "a array<double>, w double")
    model = StandardScaler(inputCol="a", weightCol="w").fit(df)

    assert model.statistics.weight.tolist() == [6.0, 1.0]
    assert model.statistics.weight_square.tolist() == [26.0, 1.0]
