"""What is refused: with which exception, in which words, and before any job runs where that can be known."""

from __future__ import annotations

import threading

import pandas as pd
import pyarrow as pa
import pytest
from pyspark import SparkContext
from pyspark.errors import AnalysisException, PySparkException
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import SparseVector, Vectors
from pyspark.mllib.linalg import VectorUDT as OldVectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from frames import INF, NAN, vectors
from models import learned, with_params
from sparkscale import (
    BatchNormModel,
    ClipByValue,
    InverseModel,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
    WhitenerModel,
)
from sparkscale.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    DatasetError,
    EmptyDataError,
    InvalidValueError,
    OutputColumnError,
    ParamError,
    RangeOverflowError,
    ScalingError,
    SizeMismatchError,
)
from sparkscale.spark import arrow
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import aggregates, merging, partials, scan, selection
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.sql import quoted
from sparkscale.statistics import Extrema
from table import CURVES, MATRIX, TABLE, each_scaler

NAMES = ["two words", "a.b", "it's", 'say "x"', "x {0} %s", "back`tick", "back\\slash", "unicode é"]
ALL_NAMES = " ".join(NAMES)


@pytest.fixture(scope="module")
def untouchable(spark):
    """A DataFrame of every kind of column in which no value can be computed: a job on it fails."""
    ran = "CASE WHEN id >= 0 THEN raise_error('a job ran') ELSE {} END"
    columns = {
        "x": "1D",
        "y": "1",
        "x_scaled": "1D",
        "w": "1D",
        "s": "'a'",
        "flag": "true",
        "day": "current_date()",
        "words": "array('a')",
        "m": "map('a', 1D)",
        "a": "array(1D, 2D)",
        "st": "struct(1D AS f)",
    }
    df = spark.range(1).selectExpr("id", *(f"{ran.format(v)} AS {n}" for n, v in columns.items()))
    return df.withColumn("v", array_to_vector("a"))


@pytest.fixture(scope="module")
def good(spark):
    """Two rows with two scalars, an array and a vector, all of them usable."""
    df = spark.range(0, 2, 1, 1).selectExpr(
        "id", "double(id) AS x", "double(id) * 2 AS y", "array(double(id), 5D) AS a"
    )
    return df.withColumn("v", array_to_vector("a")).withMetadata("v", {"ml_attr": {"num_attrs": 2}})


@pytest.fixture(scope="module")
def literals(spark):
    """The same rows as literals: Spark computes expressions over them while it plans, and no job runs."""
    df = table(spark, "x, y, a", "(0D, 0D, array(0D, 5D)), (1D, 2D, array(1D, 5D))")
    return df.withColumn("v", array_to_vector("a"))


def table(spark, names, rows):
    """Return rows that are written in SQL as literals."""
    return spark.sql(f"SELECT * FROM VALUES {rows} AS t({names})")


FEATURES = {"x": [[0.0], [1.0]], "y": [[0.0], [2.0]], "a": [[0.0, 5.0], [1.0, 5.0]], "v": [[0.0, 5.0], [1.0, 5.0]]}
KINDS = {"x": "scalar", "y": "scalar", "a": "array", "v": "vector"}


def of(model, *names):
    """Return the model as a fit on these columns of the two rows leaves it."""
    rows = [[v for name in names for v in FEATURES[name][k]] for k in range(2)]
    return learned(model, rows, *(FeatureColumn(n, KINDS[n], size=len(FEATURES[n][0])) for n in names))


def of_lengths(spark, *lengths, partitions=1):
    """Return one array a length, in their order."""
    branches = " ".join(f"WHEN id = {i} THEN {n}" for i, n in enumerate(lengths))
    return spark.range(0, len(lengths), 1, partitions).selectExpr(f"array_repeat(1D, CASE {branches} END) AS a")


def test_the_fixture_cannot_be_read(untouchable):
    """The proof that no job ran rests on this: any job on these columns fails."""
    for column in ("x", "a", "v"):
        with pytest.raises(Exception, match="a job ran"):
            untouchable.select(column).collect()


# Params


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (1.0, 1.0), (-INF, 0.0), (0.0, INF), (NAN, 1.0)])
def test_the_target_range_must_be_a_finite_interval(untouchable, low, high):
    """``min`` must be less than ``max``, and both finite."""
    with pytest.raises(ParamError, match=rf"min must be less than max.* finite.*min={low}, max={high}"):
        MinMaxScaler(inputCol="x", outputCol="o", min=low, max=high).fit(untouchable)


@each_scaler
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "neither inputCol nor inputCols.*Name the column"),
        ({"inputCol": "x", "inputCols": ["y"]}, "both inputCol and inputCols.*Set one"),
        ({"inputCols": []}, "inputCols is empty.*at least one"),
        ({"inputCols": ["x", "y", "x"]}, "inputCols names 'x' more than once"),
        ({"inputCols": ["x", "y"], "outputCols": ["o"]}, "2 columns and outputCols 1.*outputCol to get one vector"),
        ({"inputCols": ["x"], "outputCol": "o", "outputCols": ["p"]}, "both outputCol and outputCols.*Set one"),
        ({"inputCol": "x", "outputCols": ["o"]}, "outputCols goes with inputCols.*Set outputCol"),
        (
            {"inputCol": "x", "outputCol": "o", "handleInvalid": "drop"},
            "handleInvalid.*'keep', 'skip', 'error'.*'drop'",
        ),
        ({"inputCol": "x", "outputCol": "o", "handleConstant": "zero"}, "handleConstant.*'collapse', 'unit'.*'zero'"),
    ],
    ids=lambda p: ",".join(p) or "nothing" if isinstance(p, dict) else "",
)
def test_params_that_contradict_each_other_are_refused(untouchable, scaler, params, message):
    """The message names the class, the Params and what to set instead."""
    with pytest.raises(ParamError, match=f"{scaler.__name__}: .*{message}"):
        scaler(**params).fit(untouchable)


@pytest.mark.parametrize("ddof", [-1, 2])
def test_ddof_is_0_or_1(untouchable, ddof):
    """Other degrees of freedom have no meaning here."""
    with pytest.raises(ParamError, match=f"ddof must be 0 or 1. Got {ddof}"):
        StandardScaler(inputCol="x", outputCol="o", ddof=ddof).fit(untouchable)


def test_params_are_checked_again_by_the_model(untouchable):
    """A model whose Params were made contradictory refuses to transform, before any job."""
    model = of(MinMaxScalerModel(), "x").setMin(5.0)

    with pytest.raises(ParamError, match="min must be less than max"):
        model.transform(untouchable.drop("x_scaled"))


def test_errors_are_also_the_builtin_ones():
    """Code that catches ValueError or TypeError catches ours."""
    assert issubclass(ColumnTypeError, TypeError)
    for kind in (ParamError, ColumnNotFoundError, OutputColumnError, InvalidValueError, SizeMismatchError):
        assert issubclass(kind, ValueError)
        assert issubclass(kind, ScalingError)


# Columns


@pytest.mark.parametrize("scaler", [*(entry.scaler for entry in TABLE), *MATRIX, *CURVES], ids=lambda c: c.__name__)
def test_an_unknown_column_is_refused_with_those_that_exist(untouchable, scaler):
    """The message lists the DataFrame's columns."""
    with pytest.raises(ColumnNotFoundError, match=r"'nope' does not exist.*id, x, y, x_scaled"):
        scaler(inputCols=["x", "nope"], outputCol="o").fit(untouchable)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("s", "string"),
        ("day", "date"),
        pytest.param("words", "array<string>", marks=pytest.mark.core),
        ("m", "map<string,double>"),
        ("st", "struct<f:double>"),
    ],
)
def test_a_column_that_is_not_numeric_is_refused_with_its_type(untouchable, column, kind):
    """Only numbers and booleans, arrays of such and vectors can be scaled."""
    with pytest.raises(
        ColumnTypeError, match=f"'{column}' is of type {kind}.*numeric or boolean, an array of these, or a vector"
    ):
        MinMaxScaler(inputCol=column).fit(untouchable)


def test_vectors_of_mllib_are_refused_with_what_converts_them(spark):
    """Their type is called vector, too."""
    df = spark.createDataFrame([], StructType([StructField("v", OldVectorUDT())]))

    with pytest.raises(ColumnTypeError, match=r"'v' holds vectors of pyspark.mllib.*MLUtils\.convertVectorColumnsToML"):
        MinMaxScaler(inputCol="v").fit(df)


# DataFrames


class PandasOnSpark:
    """Replaces a pandas-on-Spark DataFrame, whose package needs older versions of pandas."""

    def to_spark(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (pd.DataFrame({"x": [1.0]}), r"Got a pandas\.DataFrame\. Convert it with spark\.createDataFrame"),
        (PandasOnSpark(), r"Got a pandas-on-Spark PandasOnSpark\. Pass the result of its to_spark\(\)"),
        (None, r"Got a builtins\.NoneType"),
    ],
    ids=["pandas", "pandas-on-Spark", "None"],
)
def test_other_dataframes_are_refused(other, message):
    """A TypeError with what to do instead."""
    model = of(MinMaxScalerModel(), "x")
    batches = learned(BatchNormModel().setBatchCol("step"), [[1.0], [2.0]], "x")
    clip = ClipByValue(inputCol="x", low=0.0)
    takers = (
        MinMaxScaler(inputCol="x").fit,
        model.transform,
        model.update,
        model.inverseTransform,
        model.inverse().transform,
    )
    takers += clip.transform, clip.toSQL, batches.normalizeBatches

    for taker in takers:
        with pytest.raises(DatasetError, match=f"A Spark DataFrame is needed. {message}") as refused:
            taker(other)
        assert isinstance(refused.value, TypeError)


@pytest.mark.core
def test_a_stream_is_refused_where_all_rows_are_needed(spark):
    """And the message says how to learn from one."""
    stream = spark.readStream.format("rate").load().selectExpr("double(value) AS x", "1 AS step")
    model = of(MinMaxScalerModel(), "x")
    batches = learned(BatchNormModel().setBatchCol("step"), [[1.0], [2.0]], "x")

    for name, taker in (
        ("fit", MinMaxScaler(inputCol="x").fit),
        ("update", model.update),
        ("normalizeBatches", batches.normalizeBatches),
    ):
        with pytest.raises(
            DatasetError,
            match=f"{name} needs a static DataFrame.*Got a stream.*foreachBatch.*(update the model|call {name})",
        ):
            taker(stream)
    assert model.transform(stream).isStreaming


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"inputCol": "x"}, "'x_scaled' already exists.*Name another output, or drop"),
        ({"inputCol": "x", "outputCol": "y"}, "'y' already exists"),
        ({"inputCols": ["x", "y"], "outputCol": "a"}, "'a' already exists"),
        ({"inputCols": ["x", "y"], "outputCols": ["o", "s"]}, "'s' already exists"),
        ({"inputCols": ["x", "y"], "outputCols": ["o", "o"]}, "'o' is named twice.*its own name"),
    ],
)
def test_outputs_that_clash_are_refused_by_fit(untouchable, params, message):
    """An output has a name of its own: no column is overwritten."""
    with pytest.raises(OutputColumnError, match=message):
        MinMaxScaler(**params).fit(untouchable)


def test_outputs_that_clash_are_refused_by_transform(untouchable):
    """A frame that has the output already is refused before any job."""
    with pytest.raises(OutputColumnError, match="'x_scaled' already exists"):
        of(MinMaxScalerModel(), "x").transform(untouchable)


def test_names_that_differ_in_case_only_are_one_name(untouchable):
    """By default, Spark does not distinguish upper and lower case."""
    for params in ({"inputCol": "x", "outputCol": "Y"}, {"inputCol": "X"}):
        with pytest.raises(OutputColumnError, match=r"'(Y|X_scaled)' already exists"):
            MinMaxScaler(**params).fit(untouchable)
    with pytest.raises(OutputColumnError, match=r"'o' is named twice|'O' is named twice"):
        MinMaxScaler(inputCols=["x", "y"], outputCols=["o", "O"]).fit(untouchable)


def test_names_that_differ_in_case_are_two_in_a_session_that_tells_them_apart(spark):
    """spark.sql.caseSensitive is respected."""
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        df = spark.createDataFrame([(1.0, 10.0), (2.0, 30.0)], "x double, X double").coalesce(1)
        scaled = MinMaxScaler(inputCols=["x", "X"], outputCols=["o", "O"], max=2.0).fit(df).transform(df)

        assert scaled.columns == ["x", "X", "o", "O"]
        assert [tuple(row) for row in scaled.collect()] == [(1.0, 10.0, 0.0, 0.0), (2.0, 30.0, 2.0, 2.0)]
        with pytest.raises(ColumnNotFoundError, match="'Y' does not exist"):
            MinMaxScaler(inputCol="Y").fit(df.withColumnRenamed("x", "y"))
    finally:
        spark.conf.unset("spark.sql.caseSensitive")


@pytest.mark.core
def test_a_name_of_several_columns_is_refused(spark):
    """Which of them is meant cannot be known."""
    df = spark.range(2).selectExpr("double(id) AS x", "1D AS x")

    with pytest.raises(
        ColumnNotFoundError, match=r"'x' is ambiguous: the DataFrame has 2 of that name. Rename or drop"
    ):
        MinMaxScaler(inputCol="x").fit(df)


def test_the_weight_column_must_exist(untouchable):
    """An unknown weight column is named."""
    with pytest.raises(ColumnNotFoundError, match="'nope' does not exist"):
        StandardScaler(inputCol="x", outputCol="o", weightCol="nope").fit(untouchable)


@pytest.mark.parametrize("column", ["s", "a", "v"])
def test_the_weight_column_must_be_a_number(untouchable, column):
    """A string, an array or a vector is no weight."""
    with pytest.raises(ColumnTypeError, match=f"'{column}'"):
        StandardScaler(inputCol="x", outputCol="o", weightCol=column).fit(untouchable)


def test_transform_needs_the_fitted_columns(untouchable):
    """A frame without a column that fit saw is refused before any job."""
    model = of(MinMaxScalerModel(), "x", "y").setOutputCols(["o", "p"])

    with pytest.raises(ColumnNotFoundError, match="'y' does not exist"):
        model.transform(untouchable.drop("y"))


@pytest.mark.parametrize(("now", "then"), [("scalar", "array"), ("scalar", "vector"), ("vector", "scalar")])
def test_transform_needs_the_fitted_kinds(untouchable, now, then):
    """A scalar is no array and no vector: the message has both kinds."""
    source = {"scalar": "x", "array": "a", "vector": "v"}
    model = of(MinMaxScalerModel(), source[then]).setInputCols(["c"]).setOutputCols(["o"])

    with pytest.raises(ColumnTypeError, match=f"'c' is of kind {now}, but the model was fitted on {then}"):
        model.transform(untouchable.select(F.col(source[now]).alias("c")))


def test_transform_needs_the_fitted_vector_size(untouchable):
    """A size in the column's metadata is checked before any job."""
    other = untouchable.withMetadata("v", {"ml_attr": {"num_attrs": 7}})

    with pytest.raises(SizeMismatchError, match="'v' has 7 features, but the model was fitted on 2"):
        of(MinMaxScalerModel(), "v").transform(other)


def test_update_needs_the_fitted_kind(untouchable):
    """update compares columns as transform does."""
    model = of(MinMaxScalerModel(), "x")

    with pytest.raises(ColumnTypeError, match="'x' is of kind array, but the model was fitted on scalar"):
        model.update(untouchable.drop("x").withColumnRenamed("a", "x"))


# No data


@pytest.mark.parametrize(
    ("scaler", "column"),
    [
        pytest.param(MinMaxScaler, "x", marks=pytest.mark.core),
        pytest.param(MaxAbsScaler, "v", marks=pytest.mark.core),
        (StandardScaler, "x"),
        (StandardScaler, "a"),
    ],
    ids=["MinMax-scalar", "MaxAbs-vector", "Standard-scalar", "Standard-array"],
)
def test_an_empty_frame_is_refused(good, scaler, column):
    """fit needs a row, whichever way it takes; the message names class and column."""
    with pytest.raises(EmptyDataError, match=f"{scaler.__name__}.*{column}.*at least one row"):
        scaler(inputCol=column).fit(good.filter("x > 9"))


def test_rows_of_weight_0_are_no_rows(good):
    """Where all weights are 0, there is nothing to learn from."""
    with pytest.raises(EmptyDataError, match="weight 0"):
        StandardScaler(inputCol="x", weightCol="w").fit(good.withColumn("w", F.lit(0.0)))


@pytest.mark.parametrize("scaler", [pytest.param(MinMaxScaler, marks=pytest.mark.core), StandardScaler])
def test_skip_that_leaves_no_row_is_refused(spark, scaler):
    """Where each row holds an invalid value, nothing is left; the message says which Param dropped it."""
    df = spark.createDataFrame([(1.0, None), (NAN, 2.0)], "x double, y double")

    with pytest.raises(EmptyDataError, match=r"x, y.*handleInvalid='skip'"):
        scaler(inputCols=["x", "y"], handleInvalid="skip").fit(df)


def test_arrays_that_are_all_null_have_no_length(spark):
    """Without a non-null array the number of features is unknown."""
    df = spark.createDataFrame([(None,), (None,)], "a array<double>")

    with pytest.raises(EmptyDataError, match=r"'a' has no feature: every row is null"):
        MinMaxScaler(inputCol="a").fit(df)


def test_arrays_of_length_0_have_no_features(spark):
    """Without a feature there is nothing to scale."""
    with pytest.raises(EmptyDataError, match="'a' has no feature"):
        MinMaxScaler(inputCol="a").fit(of_lengths(spark, 0, 0))
    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 0 and 2"):
        MinMaxScaler(inputCol="a").fit(of_lengths(spark, 0, 2))


@pytest.mark.parametrize("where", ["within a partition", "between partitions"])
def test_vectors_of_size_0_have_no_features(spark, where):
    """They are also refused among other vectors, in the same partition or not."""
    frames = [vectors(spark, v).coalesce(1) for v in (Vectors.dense([]), Vectors.dense([1.0, 2.0]))]
    df = frames[0].union(frames[1])

    with pytest.raises((EmptyDataError, SizeMismatchError), match=r"'v' (has no feature|holds vectors of size)"):
        MinMaxScaler(inputCol="v").fit(df.coalesce(1) if where == "within a partition" else df)


def test_empty_vector_is_refused_if_the_size_is_known(spark):
    """From the model or from metadata: it is no row of zeros."""
    empty = vectors(spark, Vectors.dense([]))

    with pytest.raises(
        SizeMismatchError, match="vector of size 0, but size 2 is expected from its metadata or the model"
    ):
        of(MinMaxScalerModel(), "v").update(empty)
    with pytest.raises(
        SizeMismatchError, match="vector of size 0, but size 2 is expected from its metadata or the model"
    ):
        MinMaxScaler(inputCol="v").fit(empty.withMetadata("v", {"ml_attr": {"num_attrs": 2}}))


def test_vectors_that_are_all_null_have_no_size(spark):
    """Without a non-null vector or metadata the number of features is unknown."""
    with pytest.raises(EmptyDataError, match="'v' has no feature: every row is null"):
        MinMaxScaler(inputCol="v").fit(vectors(spark, None, None))


# Models


@pytest.mark.parametrize("model", [MinMaxScalerModel, MaxAbsScalerModel, StandardScalerModel], ids=lambda c: c.__name__)
def test_a_model_that_learned_nothing_says_so(untouchable, model):
    """A model made by hand has no statistic: attributes and transform say where to get one that has."""
    for use in (
        lambda m: m.numFeatures,
        lambda m: m.statistics,
        lambda m: m.affine,
        lambda m: m.summary(),
        lambda m: m.setInputCol("x").setOutputCol("o").transform(untouchable),
    ):
        with pytest.raises(ParamError, match=f"{model.__name__} has learned nothing.*fit"):
            use(model())


def test_an_inverse_of_nothing_says_so(untouchable):
    """An InverseModel made by hand has nothing to invert."""
    with pytest.raises(ParamError, match=r"no model to invert.*inverse()"):
        InverseModel().transform(untouchable)


def test_models_of_different_classes_do_not_merge():
    """The message has both classes."""
    with pytest.raises(ParamError, match="MinMaxScalerModel: cannot merge with MaxAbsScalerModel"):
        of(MinMaxScalerModel(), "x").merge(of(MaxAbsScalerModel(), "x"))


@pytest.mark.parametrize(
    ("one", "other"), [(["x"], ["y"]), (["x"], ["x", "y"]), (["x", "y"], ["y", "x"])], ids=["name", "number", "order"]
)
def test_models_of_different_columns_do_not_merge(one, other):
    """Columns must agree in name, number and order."""
    with pytest.raises(ParamError, match="same columns"):
        of(MinMaxScalerModel(), *one).merge(of(MinMaxScalerModel(), *other))


def test_models_with_and_without_skip_do_not_merge(good):
    """Rows that one left out and the other counted make no whole."""
    kept, skipped, strict = (
        MinMaxScaler(inputCols=["x"], handleInvalid=choice).fit(good) for choice in ("keep", "skip", "error")
    )

    with pytest.raises(ParamError, match=r"only one of the models learned under handleInvalid='skip'. Fit both alike"):
        kept.merge(skipped)
    assert kept.merge(strict).count == 2 * kept.count


def test_an_update_under_another_policy_is_refused(untouchable):
    """A model cannot begin to skip rows half way."""
    model = of(MinMaxScalerModel(), "x").setHandleInvalid("skip")

    with pytest.raises(ParamError, match=r"handleInvalid='skip' was set or unset since fit. Set it back"):
        model.update(untouchable)


def test_an_update_from_another_number_of_columns_is_refused(untouchable):
    """A model that is pointed to more columns than it learned from says so."""
    model = of(MinMaxScalerModel(), "x").setInputCols(["x", "y"])

    with pytest.raises(ParamError, match="fitted on 1 columns, and 2 are named now"):
        model.update(untouchable)


def test_a_model_refuses_another_number_of_columns(untouchable):
    """Naming more columns than were fitted is refused with both numbers."""
    model = of(MinMaxScalerModel(), "x").setInputCols(["x", "y"])

    with pytest.raises(ParamError, match="fitted on 1 columns, and 2 are named"):
        model.transform(untouchable.drop("x_scaled"))


def test_models_of_different_sizes_do_not_merge():
    """Arrays of another length are other features."""
    two, three = (
        learned(MinMaxScalerModel(), [[1.0] * size], FeatureColumn("a", "array", size=size)) for size in (2, 3)
    )

    with pytest.raises(ParamError, match="same columns"):
        two.merge(three)


def test_update_with_rows_of_another_length_is_refused(spark):
    """New data must have the length that fit saw."""
    with pytest.raises(SizeMismatchError, match=r"'a'.* 2 and 3|'a'.* 3 and 2"):
        of(MinMaxScalerModel(), "a").update(of_lengths(spark, 3))


# Weights, and invalid values under handleInvalid="error"


@pytest.mark.parametrize(
    ("weight", "shown"),
    [("-1D", "-1.0"), ("double('NaN')", "NaN"), ("double('Infinity')", "Infinity"), ("null", "null")],
)
def test_a_weight_must_be_finite_and_not_negative(literals, weight, shown):
    """The message has the weight column and the weight."""
    df = literals.selectExpr("*", f"CASE WHEN x = 1 THEN {weight} ELSE 1D END AS w")

    with pytest.raises(InvalidValueError, match=f"Weight column 'w' holds {shown}.*finite and >= 0"):
        StandardScaler(inputCol="x", weightCol="w").fit(df)


SCALARS = {"null": "null", "NaN": "double('NaN')", "Infinity": "double('Infinity')", "-Infinity": "double('-Infinity')"}
ARRAYS = {
    "null": "array(1D, null)",
    "NaN": "array(double('NaN'), 1D)",
    "Infinity": "array(1D, double('Infinity'))",
    "whole": "null",
}
VECTORS = {
    "dense NaN": Vectors.dense([1.0, NAN]),
    "sparse NaN": Vectors.sparse(2, {1: NAN}),
    "dense Infinity": Vectors.dense([INF, 1.0]),
    "sparse -Infinity": Vectors.sparse(2, {0: -INF}),
}


def refusal(column, value):
    return f"Column '{column}' holds {value}, which handleInvalid='error' refuses.*'keep' or 'skip'"


@pytest.fixture(params=["aggregates", "arrow"])
def fit_path(request, monkeypatch):
    """Both ways in which scalars are fitted."""
    if request.param == "arrow":
        monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    return request.param


@pytest.mark.parametrize("value", SCALARS)
def test_fit_refuses_an_invalid_scalar(spark, fit_path, value):
    """Null, NaN and infinities end the fit with column and value, whichever way it takes."""
    df = table(spark, "x, y", f"(1D, 1D), (2D, {SCALARS[value]})")

    with pytest.raises(InvalidValueError, match=refusal("y", value)):
        MinMaxScaler(inputCols=["x", "y"], handleInvalid="error").fit(df)


@each_scaler
def test_every_scaler_refuses_an_invalid_scalar(spark, scaler):
    """The policy is the same for all scalers."""
    df = table(spark, "x", "(1D), (double('NaN'))")

    with pytest.raises(InvalidValueError, match=refusal("x", "NaN")):
        scaler(inputCol="x", handleInvalid="error").fit(df)


@pytest.mark.parametrize("value", ARRAYS)
def test_fit_refuses_an_invalid_array(spark, value):
    """An invalid element, or a null in place of the array, ends the fit."""
    df = table(spark, "a", f"(array(1D, 2D)), ({ARRAYS[value]})")

    with pytest.raises(InvalidValueError, match=refusal("a", "null" if value == "whole" else value)):
        StandardScaler(inputCol="a", handleInvalid="error").fit(df)


@pytest.mark.parametrize(
    "value", [pytest.param(v, marks=pytest.mark.core if v == "sparse NaN" else ()) for v in [*VECTORS, "null"]]
)
def test_fit_refuses_an_invalid_vector(spark, value):
    """An invalid stored entry, or a null in place of the vector, ends the fit."""
    df = vectors(spark, Vectors.dense([1.0, 2.0]), VECTORS.get(value), size=2)

    with pytest.raises(InvalidValueError, match=refusal("v", value.split()[-1])):
        StandardScaler(inputCol="v", handleInvalid="error").fit(df)


@pytest.mark.core
def test_a_job_of_fit_refuses_an_invalid_scalar(good, fit_path):
    """What goes wrong in a task is the same error, whichever way a fit takes."""
    df = good.selectExpr("x", "nullif(y, 2D) AS y")

    with pytest.raises(InvalidValueError, match=refusal("y", "null")):
        MinMaxScaler(inputCols=["x", "y"], handleInvalid="error").fit(df)


@pytest.mark.core
def test_a_job_of_fit_refuses_an_invalid_array_and_a_weight(good):
    """What goes wrong in a task is the same error."""
    df = good.selectExpr("x", "array(x, nullif(y, 2D)) AS a", "-x AS w")

    with pytest.raises(InvalidValueError, match=refusal("a", "null")):
        StandardScaler(inputCol="a", handleInvalid="error").fit(df)
    with pytest.raises(InvalidValueError, match=r"Weight column 'w' holds -1.0.*finite and >= 0"):
        StandardScaler(inputCol="x", weightCol="w").fit(df)


def strict(*names):
    """Return a model of these columns that fails at invalid values."""
    return of(StandardScalerModel().setWithMean(True).setHandleInvalid("error"), *names)


@pytest.mark.parametrize("value", SCALARS)
def test_transform_refuses_an_invalid_scalar(spark, value):
    """The action fails with column and value."""
    df = table(spark, "x", f"(1D), ({SCALARS[value]})")

    with pytest.raises(Exception, match=refusal("x", value)):
        strict("x").transform(df).collect()


@pytest.mark.parametrize("value", ARRAYS)
def test_transform_refuses_an_invalid_array(spark, value):
    """The action fails with column and value."""
    df = table(spark, "a", f"(array(1D, 2D)), ({ARRAYS[value]})")

    with pytest.raises(Exception, match=refusal("a", "null" if value == "whole" else value)):
        strict("a").transform(df).collect()


@pytest.mark.parametrize(
    "value", [pytest.param(v, marks=pytest.mark.core if v == "dense NaN" else ()) for v in [*VECTORS, "null"]]
)
def test_transform_refuses_an_invalid_vector(spark, value):
    """The job of the action fails with column and value."""
    with pytest.raises(Exception, match=refusal("v", value.split()[-1])):
        strict("v").transform(vectors(spark, VECTORS.get(value))).collect()


@pytest.mark.core
@pytest.mark.parametrize("column", ["x", "a"])
def test_a_job_of_an_action_refuses_invalid_values(good, column):
    """It fails with column and value."""
    df = good.selectExpr("nullif(x, 1D) AS x", "array(nullif(x, 1D), 5D) AS a")

    with pytest.raises(Exception, match=refusal(column, "null")):
        strict(column).transform(df).select(f"{column}_scaled").collect()


BROKEN = {
    "x": ("x", "double(null)", "null"),
    "x NaN": ("x", "double('NaN')", "NaN"),
    "a": ("a", "cast(null AS array<double>)", "null"),
    "a element": ("a", "array(1D, null)", "null"),
    "v": ("v", None, "null"),
    "v element": ("v", "array(1D, double('NaN'))", "NaN"),
}


def broken(df, case):
    column, text, value = BROKEN[case]
    if column != "v":
        return df.withColumn(column, F.expr(text)), column, value
    vector = F.when(F.col("x") > 9, F.col("v")) if text is None else array_to_vector(F.expr(text))
    return df.withColumn("v", vector), column, value


@pytest.mark.parametrize("case", BROKEN)
def test_fit_of_one_vector_from_many_columns_refuses_invalid_values(literals, case):
    """The message names the column that held the value, not the vector."""
    df, column, value = broken(literals, case)

    with pytest.raises(InvalidValueError, match=refusal(column, value)):
        MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f", handleInvalid="error").fit(df)


@pytest.mark.parametrize("case", BROKEN)
def test_transform_to_one_vector_from_many_columns_refuses_invalid_values(literals, case):
    """The message names the column that held the value, not the vector."""
    model = of(MinMaxScalerModel().setOutputCol("f").setHandleInvalid("error"), "x", "a", "v")
    df, column, value = broken(literals, case)

    with pytest.raises(Exception, match=refusal(column, value)):
        model.transform(df).select("f").collect()


BOTH, ALONE = ["x", "y"], ["x"]


@pytest.mark.parametrize(
    ("columns", "output", "params", "message"),
    [
        (BOTH, None, {"columns": []}, "columns is empty. Name inputs of the model: 'x', 'y'."),
        (BOTH, None, {"columns": ["y", "z"]}, "columns names 'z'. Name inputs of the model: 'x', 'y'."),
        (BOTH, None, {"columns": ["y", "y"]}, "columns names 'y' more than once. Name each input once."),
        (
            BOTH,
            None,
            {"inputCol": "p"},
            "inputCol is a single name, but the number of names must be 2, for 'x_scaled', 'y_",
        ),
        (BOTH, None, {"inputCols": ["p"]}, "inputCols has length 1, but the number of names must be 2"),
        (
            BOTH,
            None,
            {"outputCol": "p"},
            "outputCol is a single name, but the number of names must be 2, for 'x', 'y'. Set outputCols",
        ),
        (BOTH, None, {"outputCols": ["o"]}, "outputCols has length 1, but the number of names must be 2"),
        (
            BOTH,
            None,
            {"columns": ["x"], "inputCols": ["p", "q"]},
            "inputCols has length 2, but the number of names must be 1",
        ),
        (ALONE, None, {"inputCol": "p", "inputCols": ["p"]}, "both inputCol and inputCols are set. Set one"),
        (ALONE, None, {"outputCol": "p", "outputCols": ["p"]}, "both outputCol and outputCols are set. Set one"),
        (
            BOTH,
            "f",
            {"inputCols": ["p", "q"]},
            "the model takes all its results in one column, by default 'f'. Set inp",
        ),
        (BOTH, "f", {"outputCol": "o"}, "outputCol is a single name"),
    ],
)
def test_params_of_the_inverse_that_do_not_go_together_are_refused(untouchable, columns, output, params, message):
    """The message says what to set instead; inverse() and the keywords are one."""
    model = of(StandardScalerModel(), *columns)
    model = model.setOutputCol(output) if output else model
    inverse = model.inverse()
    inverse._set(**params)
    ways = (
        lambda: model.inverseTransform(untouchable, **params),
        lambda: inverse.transform(untouchable),
        inverse.toSQL,
    )
    for way in ways:
        with pytest.raises(ParamError) as caught:
            way()
        assert str(caught.value).startswith("InverseModel: ")
        assert message in str(caught.value)


def test_a_matrix_comes_back_from_one_column(untouchable):
    """Since every result depends on all inputs."""
    model = of(WhitenerModel().setInputCol("a"), "a")

    with pytest.raises(ParamError, match=r"takes all its results in one column, by default 'a_scaled'\. Set inputCol"):
        model.inverseTransform(untouchable, inputCols=["a"])


def test_names_in_messages_of_the_inverse_are_few(untouchable):
    """Of a model of many columns the first ones."""
    model = learned(StandardScalerModel(), [[1.0] * 2000], *(f"x{k}" for k in range(2000)))

    with pytest.raises(ParamError, match=r"Name inputs of the model: 'x0', .*'x9' and 1,990 more\.$"):
        model.inverseTransform(untouchable, columns=["y"])


def test_inverse_refuses_an_invalid_scalar(spark):
    """The way back has the policy of the way there, and names the column that it reads."""
    df = table(spark, "x_scaled", "(double('NaN'))")

    with pytest.raises(Exception, match=refusal("x_scaled", "NaN")):
        strict("x").inverseTransform(df).collect()


# Lengths


@pytest.mark.core
@pytest.mark.parametrize("partitions", [1, 2], ids=["within a partition", "between partitions"])
def test_fit_refuses_arrays_of_different_lengths(spark, partitions):
    """The message has the column and both lengths."""
    with pytest.raises(SizeMismatchError, match=r"'a' holds arrays of length 2 and 3.*the same length"):
        MinMaxScaler(inputCol="a").fit(of_lengths(spark, 2, 3, partitions=partitions))


def test_fit_refuses_arrays_of_different_lengths_beside_nulls(spark):
    """A null row takes no part in the comparison."""
    df = spark.createDataFrame([(None,), ([1.0, 2.0],), (None,), ([1.0],)], "a array<double>").coalesce(1)

    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 2 and 1"):
        MinMaxScaler(inputCol="a").fit(df)


DENSE2, DENSE3 = Vectors.dense([1.0, 2.0]), Vectors.dense([1.0, 2.0, 3.0])
SPARSE2, SPARSE3 = Vectors.sparse(2, {1: 2.0}), Vectors.sparse(3, {1: 2.0})


@pytest.mark.core
@pytest.mark.parametrize("where", ["within a partition", "between partitions"])
def test_fit_refuses_vectors_of_different_sizes(spark, where):
    """Spark takes a shorter vector silently; here the message has the column and both sizes."""
    df = vectors(spark, SPARSE3).union(vectors(spark, SPARSE2))

    with pytest.raises(SizeMismatchError, match=r"'v' holds vectors of size 3 and 2"):
        MaxAbsScaler(inputCol="v").fit(df.coalesce(1) if where == "within a partition" else df)


def partials_of(*partitions):
    """Return what the tasks of a fit send of partitions of vectors."""
    groups = selection.column_groups([FeatureColumn("v", "vector")])
    for rows in partitions:
        stored = [v.indices.tolist() if isinstance(v, SparseVector) else [] for v in rows]
        batch = pa.RecordBatch.from_pydict(
            {
                "a0": pa.array([v.values.tolist() for v in rows], pa.list_(pa.float64())),
                "i0": pa.array(stored, pa.list_(pa.int32())),
                "n0": pa.array([v.size for v in rows], pa.int32()),
            }
        )
        for sent in scan.Scan(groups, Extrema, False, "cpu", Pool())(iter([batch])):
            yield from (partials.of_row(row, Extrema) for row in arrow.iter_rows(sent))


@pytest.mark.parametrize(
    ("one", "other"),
    [(DENSE2, DENSE3), (SPARSE2, SPARSE3), (SPARSE3, SPARSE2), (DENSE2, SPARSE3), (SPARSE2, DENSE3)],
    ids=["dense", "sparse", "shorter sparse", "dense, sparse", "sparse, dense"],
)
@pytest.mark.parametrize("where", ["within a partition", "between partitions"])
def test_tasks_refuse_vectors_of_different_sizes(one, other, where):
    """For dense and sparse vectors, the message has the column and both sizes."""
    partitions = [[one, other]] if where == "within a partition" else [[one], [other]]

    with pytest.raises(SizeMismatchError, match=rf"'v' holds vectors of size {one.size} and {other.size}"):
        merging.merge_run(partials_of(*partitions), selection.column_groups([FeatureColumn("v", "vector")]))


@pytest.mark.parametrize("vector", [DENSE3, SPARSE3], ids=["dense", "sparse"])
def test_fit_refuses_vectors_that_contradict_their_metadata(spark, vector):
    """A size in the metadata is what rows are compared with."""
    with pytest.raises(SizeMismatchError, match=r"'v' holds .*2.*3|'v' holds .*3.*2"):
        MaxAbsScaler(inputCol="v").fit(vectors(spark, vector, size=2))


@pytest.mark.parametrize("length", [pytest.param(1, marks=pytest.mark.core), 3])
def test_transform_refuses_arrays_of_another_length(spark, length):
    """The message has both lengths; a shorter array is not scaled with the first features."""
    model = of(MinMaxScalerModel(), "a")

    with pytest.raises(Exception, match=f"'a' holds a row of length {length}, but the model was fitted on length 2"):
        model.transform(of_lengths(spark, length)).collect()


@pytest.mark.parametrize(
    ("model", "vector"),
    [
        pytest.param(MaxAbsScalerModel, DENSE3, marks=pytest.mark.core),
        (MaxAbsScalerModel, Vectors.dense([1.0])),
        (MaxAbsScalerModel, SPARSE3),
        pytest.param(MaxAbsScalerModel, Vectors.sparse(1, {0: 1.0}), marks=pytest.mark.core),
        (MaxAbsScalerModel, Vectors.sparse(9, {})),
        (MinMaxScalerModel, SPARSE3),
        (StandardScalerModel, Vectors.dense([1.0])),
    ],
    ids=["longer", "shorter", "longer sparse", "shorter sparse", "longer empty", "MinMax", "Standard"],
)
def test_transform_refuses_vectors_of_another_size(spark, model, vector):
    """The message has both sizes, for dense and sparse vectors alike."""
    with pytest.raises(
        Exception, match=f"'v' holds a vector of size {vector.size}, but the model was fitted on size 2"
    ):
        of(model(), "v").transform(vectors(spark, vector)).collect()


@pytest.mark.parametrize(("column", "message"), [("a", "length 3"), ("v", "size 3")])
def test_transform_to_one_vector_refuses_another_length(literals, column, message):
    """Assembling looks at lengths too."""
    model = of(MinMaxScalerModel().setOutputCol("f"), "x", "a", "v")
    longer = array_to_vector(F.expr("array(1D, 2D, 3D)")) if column == "v" else F.expr("array(1D, 2D, 3D)")

    with pytest.raises(Exception, match=f"'{column}' holds .*{message}"):
        model.transform(literals.withColumn(column, longer)).collect()


# Overflow


def test_a_range_that_overflows_is_refused(spark):
    """Spark maps such a column to nonsense; here the message names it."""
    df = spark.createDataFrame([(1.5e308,), (-1.5e308,)], "x double").coalesce(1)

    with pytest.raises(RangeOverflowError, match=r"'x'.*not representable.*another unit"):
        MinMaxScaler(inputCol="x").fit(df)


@pytest.mark.parametrize("model", [MinMaxScalerModel, StandardScalerModel], ids=lambda c: c.__name__)
def test_a_model_of_a_range_that_overflows_has_no_map(model):
    """The same holds for a variance that overflows."""
    with pytest.raises(RangeOverflowError, match=r"'x'.*not representable.*another unit"):
        learned(model(), [[1.5e308], [-1.5e308]], "x").affine  # noqa: B018


# Names


@pytest.fixture(scope="module")
def named(good):
    """The two rows as scalars and as arrays under each of the names, and as vectors under one of all of them."""
    columns = [F.col(c).alias(f"{name}{end}") for c, end in (("x", ""), ("a", " 2")) for name in NAMES]
    return good.select("id", *columns, F.col("v").alias(ALL_NAMES))


@pytest.fixture(scope="module")
def of_names(named):
    """A model of all these columns."""
    return MinMaxScaler(inputCols=named.columns[1:]).fit(named)


def values_after(rows, start):
    """Return the values of rows from a position on, in the order of their first value."""
    return [list(row[start:]) for row in sorted(rows, key=lambda row: row[0])]


TWO_ROWS = [
    [float(k)] * len(NAMES) + [[float(k), 5.0]] * len(NAMES) + [Vectors.dense([float(k), 5.0])] for k in range(2)
]


@pytest.mark.core
def test_any_column_name_can_be_scaled(named, of_names):
    """A name is taken to the letter, in fit, transform and inverse."""
    names = named.columns[1:]
    outputs = [f"{name}_scaled" for name in names]
    scaled = of_names.transform(named)
    restored = of_names.inverseTransform(scaled.selectExpr("id", *map(quoted, outputs)))

    assert scaled.columns == ["id", *names, *outputs]
    assert restored.columns == ["id", *outputs, *names]
    assert values_after(restored.collect(), 1 + len(names)) == TWO_ROWS


def test_columns_of_any_name_become_one_vector(named, of_names):
    """A name is taken to the letter in the many-to-one form and on the way back."""
    model = with_params(of_names, outputCol=f"{ALL_NAMES} out")
    scaled = model.transform(named)
    restored = model.inverseTransform(scaled.selectExpr("id", quoted(f"{ALL_NAMES} out")))

    assert scaled.columns == [*named.columns, f"{ALL_NAMES} out"]
    assert restored.columns == ["id", f"{ALL_NAMES} out", *named.columns[1:]]
    assert values_after(restored.collect(), 2) == TWO_ROWS


def test_any_column_name_can_hold_weights(good):
    """The weight column's name is taken to the letter."""
    df = good.select("x", F.lit(2.0).alias(ALL_NAMES))

    assert StandardScaler(inputCol="x", weightCol=ALL_NAMES).fit(df).statistics.weight.tolist() == [4.0]


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_any_column_name_is_shown_as_it_is_when_fit_fails(good, kind):
    """Quotes, braces and backslashes come through the job unharmed."""
    nan = F.expr("double('NaN')") if kind == "scalar" else array_to_vector(F.expr("array(double('NaN'))"))
    df = good.select(nan.alias(ALL_NAMES))

    with pytest.raises(InvalidValueError) as caught:
        MinMaxScaler(inputCol=ALL_NAMES, handleInvalid="error").fit(df)

    assert str(caught.value).startswith(f"Column '{ALL_NAMES}' holds NaN")


@pytest.mark.parametrize("name", NAMES)
def test_any_column_name_is_shown_as_it_is_when_it_does_not_exist(untouchable, name):
    """The unknown name is in the message to the letter."""
    with pytest.raises(ColumnNotFoundError) as caught:
        MinMaxScaler(inputCol=name, outputCol="o").fit(untouchable)

    assert str(caught.value).startswith(f"Column '{name}' does not exist")


@pytest.fixture(scope="module")
def nested(good):
    """The two rows with fields of a struct."""
    return good.select("id", F.struct("x", "a", array_to_vector("a").alias("v")).alias("s"), "y")


@pytest.fixture(scope="module")
def of_fields(nested):
    """A model of these fields."""
    return MinMaxScaler(inputCols=["s.x", "s.a", "s.v", "y"]).fit(nested)


@pytest.mark.core
def test_fields_of_structs_can_be_scaled(nested, of_fields):
    """``s.f`` names field f of struct s; the output is named after it; toSQL's texts run, there and back."""
    whole = with_params(of_fields, outputCol="f")
    scaled = whole.transform(of_fields.transform(nested))
    there, back = of_fields.toSQL()["s.x_scaled"], of_fields.inverse().toSQL()["s.x"]
    rows = scaled.selectExpr("id", *map(quoted, scaled.columns[3:]), f"{there} AS there", f"{back} AS back").collect()

    assert scaled.columns == ["id", "s", "y", "s.x_scaled", "s.a_scaled", "s.v_scaled", "y_scaled", "f"]
    assert [list(row[1:]) for row in sorted(rows, key=lambda row: row["id"])] == [
        [0.0, [0.0, 0.5], Vectors.dense([0.0, 0.5]), 0.0, Vectors.dense([0.0, 0.0, 0.5, 0.0, 0.5, 0.0]), 0.0, 0.0],
        [1.0, [1.0, 0.5], Vectors.dense([1.0, 0.5]), 1.0, Vectors.dense([1.0, 1.0, 0.5, 1.0, 0.5, 1.0]), 1.0, 1.0],
    ]


def test_column_named_with_a_dot_precedes_a_field(good):
    """Where both exist, ``s.x`` is the column of that very name."""
    df = good.select(F.struct(F.lit(7.0).alias("x")).alias("s"), F.col("x").alias("s.x"))

    assert MinMaxScaler(inputCol="s.x", outputCol="o").fit(df).originalMax.toArray().tolist() == [1.0]


# Nothing is taken for null that is not


@pytest.mark.parametrize("short", ["array(double('NaN'))", "array(cast(null AS double))"])
def test_a_short_array_is_not_taken_for_null(spark, short):
    """An array of one invalid element among arrays of three is of the wrong length, not null."""
    rows = spark.sql(f"SELECT array(1D, 2D, 3D) AS a UNION ALL SELECT {short}").coalesce(1)
    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 3 and 1"):
        MinMaxScaler(inputCol="a").fit(rows)


def test_arrays_of_one_invalid_element_have_a_length(spark):
    """A column of arrays of length 1 without a valid value has one feature."""
    df = spark.range(0, 3, 1, 1).selectExpr("array(double('NaN')) AS nan", "array(cast(null AS double)) AS empty")
    model = MaxAbsScaler(inputCols=["nan", "empty"]).fit(df)

    assert (model.numFeatures, model.invalidCounts) == (2, [3, 3])


# Cancelled jobs


@pytest.fixture
def cancel(spark, spark_mode):
    """Cancels the job of the test while its tasks run: before they do, Spark Connect would forget to."""
    stopped, tracker = threading.Event(), SparkContext._active_spark_context._jsc.sc().statusTracker()

    def attempt():
        while not stopped.wait(0.2):
            if sum(executor.numRunningTasks() for executor in tracker.getExecutorInfos()):
                spark.interruptAll() if spark_mode == "connect" else spark.sparkContext.cancelAllJobs()

    thread = threading.Thread(target=attempt)
    yield thread.start
    stopped.set()
    thread.join()


@pytest.mark.core
@pytest.mark.parametrize("column", ["x", "a"])
def test_a_cancelled_fit_is_sparks_own_exception(spark, cancel, column):
    """Of a scalar and of arrays, which are collected in different ways; in Spark's words, and with none of ours."""
    endless = spark.range(0, 10**12, 1, 2).selectExpr("double(id) AS x", "array(double(id)) AS a")
    cancel()
    with pytest.raises(PySparkException, match=r"(?i)\bcancell?ed\b") as caught:
        StandardScaler(inputCol=column).fit(endless)

    assert not isinstance(caught.value, ScalingError)
    assert caught.value.__cause__ is None


@pytest.mark.core
def test_column_may_have_the_name_of_an_error_marker(spark):
    """A plan that shows such a name is Spark's exception; an error of a task about it has the name to the letter."""
    name = "[sparkscale.ParamError] x [end]"
    df = spark.range(1).selectExpr(f"double('NaN') AS {quoted(name)}")

    with pytest.raises(AnalysisException, match="cannot be resolved"), translate_job_errors():
        df.select("y").collect()
    with pytest.raises(InvalidValueError) as caught:
        MinMaxScaler(inputCol=name, handleInvalid="error").fit(df)
    assert str(caught.value).startswith(f"Column '{name}' holds NaN")
