"""What is refused: with which exception, in which words, and before any job runs where that can be known."""

from __future__ import annotations

import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from sparkscale import (
    InverseModel,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    EmptyDataError,
    InvalidValueError,
    OutputColumnError,
    ParamError,
    RangeOverflowError,
    ScalingError,
    SizeMismatchError,
)
from sparkscale.spark import aggregates

SCALERS = (MinMaxScaler, MaxAbsScaler, StandardScaler)
NAN, INF = float("nan"), float("inf")
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)

NAMES = ["two words", "a.b", "it's", 'say "x"', "x {0} %s", "back`tick", "back\\slash", "unicode é"]
each_name = pytest.mark.parametrize("name", NAMES)


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
    """Two rows with a scalar, an array and a vector, all of them usable."""
    df = spark.range(2).selectExpr("double(id) AS x", "double(id) * 2 AS y", "array(double(id), 5D) AS a")
    return df.withColumn("v", array_to_vector("a"))


def vectors(spark, *rows, name="v"):
    schema = StructType([StructField(name, VectorUDT())])
    return spark.createDataFrame([(row,) for row in rows], schema).coalesce(1)


def arrays(spark, *lengths, partitions=1):
    """Return one row a length, in their order."""
    found = " ".join(f"WHEN id = {i} THEN {n}" for i, n in enumerate(lengths))
    return spark.range(0, len(lengths), 1, partitions).selectExpr(f"array_repeat(1D, CASE {found} END) AS a")


def test_the_fixture_cannot_be_read(untouchable):
    """The proof that no job ran rests on this: any job on these columns fails."""
    for column in ("x", "a", "v"):
        with pytest.raises(Exception, match="a job ran"):
            untouchable.select(column).collect()


# Params


@pytest.mark.core
@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (1.0, 1.0), (-INF, 0.0), (0.0, INF), (NAN, 1.0)])
def test_the_target_range_must_be_a_finite_interval(untouchable, low, high):
    """``min`` must be less than ``max``, and both finite."""
    with pytest.raises(ParamError, match=rf"min must be less than max.* finite.*min={low}, max={high}"):
        MinMaxScaler(inputCol="x", outputCol="o", min=low, max=high).fit(untouchable)


@pytest.mark.core
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


def test_params_are_checked_again_by_the_model(good, untouchable):
    """A model whose Params were made contradictory refuses to transform, before any job."""
    model = MinMaxScaler(inputCol="x").fit(good).setMin(5.0)

    with pytest.raises(ParamError, match="min must be less than max"):
        model.transform(untouchable.drop("x_scaled"))


def test_errors_are_also_the_builtin_ones():
    """Code that catches ValueError or TypeError catches ours."""
    assert issubclass(ColumnTypeError, TypeError)
    for kind in (ParamError, ColumnNotFoundError, OutputColumnError, InvalidValueError, SizeMismatchError):
        assert issubclass(kind, ValueError)
        assert issubclass(kind, ScalingError)


# Columns


@pytest.mark.core
@each_scaler
def test_an_unknown_column_is_refused_with_those_that_exist(untouchable, scaler):
    """The message lists the DataFrame's columns."""
    with pytest.raises(ColumnNotFoundError, match=r"'nope' does not exist.*id, x, y, x_scaled"):
        scaler(inputCols=["x", "nope"], outputCols=["o", "p"]).fit(untouchable)


@pytest.mark.core
@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("s", "string"),
        ("flag", "boolean"),
        ("day", "date"),
        ("words", "array<string>"),
        ("m", "map<string,double>"),
        ("st", "struct<f:double>"),
    ],
)
def test_a_column_that_is_not_numeric_is_refused_with_its_type(untouchable, column, kind):
    """Only numbers, arrays of numbers and vectors can be scaled."""
    with pytest.raises(
        ColumnTypeError, match=f"'{column}' is of type {kind}.*numeric, an array of numbers, or a vector"
    ):
        MinMaxScaler(inputCol=column).fit(untouchable)


@pytest.mark.core
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"inputCol": "x"}, "'x_scaled' already exists.*Name another output, or drop"),
        ({"inputCol": "x", "outputCol": "y"}, "'y' already exists"),
        ({"inputCol": "x", "outputCol": "x"}, "'x' already exists"),
        ({"inputCols": ["x", "y"], "outputCol": "a"}, "'a' already exists"),
        ({"inputCols": ["x", "y"], "outputCols": ["o", "s"]}, "'s' already exists"),
        ({"inputCols": ["x", "y"], "outputCols": ["o", "o"]}, "'o' is named twice.*its own name"),
    ],
)
def test_outputs_that_clash_are_refused_by_fit(untouchable, params, message):
    """An output has a name of its own: no column is overwritten."""
    with pytest.raises(OutputColumnError, match=message):
        MinMaxScaler(**params).fit(untouchable)


def test_outputs_that_clash_are_refused_by_transform(good, untouchable):
    """A frame that has the output already is refused before any job."""
    model = MinMaxScaler(inputCol="x").fit(good)

    with pytest.raises(OutputColumnError, match="'x_scaled' already exists"):
        model.transform(untouchable)


@pytest.mark.core
def test_names_that_differ_in_case_only_are_one_name(good, untouchable):
    """Spark tells no upper from lower case unless it is asked to."""
    for params in ({"inputCol": "x", "outputCol": "Y"}, {"inputCol": "X"}):
        with pytest.raises(OutputColumnError, match="'(Y|X_scaled)' already exists"):
            MinMaxScaler(**params).fit(untouchable)
    with pytest.raises(OutputColumnError, match="'o' is named twice|'O' is named twice"):
        MinMaxScaler(inputCols=["x", "y"], outputCols=["o", "O"]).fit(untouchable)


def test_names_that_differ_in_case_are_two_in_a_session_that_tells_them_apart(spark):
    """spark.sql.caseSensitive is respected."""
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        df = spark.createDataFrame([(1.0, 10.0), (2.0, 30.0)], "x double, X double")
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

    with pytest.raises(ColumnNotFoundError, match="'x' is ambiguous: the DataFrame has 2 of that name. Rename or drop"):
        MinMaxScaler(inputCol="x").fit(df)


@pytest.mark.core
def test_the_weight_column_must_exist(untouchable):
    """An unknown weight column is named."""
    with pytest.raises(ColumnNotFoundError, match="'nope' does not exist"):
        StandardScaler(inputCol="x", outputCol="o", weightCol="nope").fit(untouchable)


@pytest.mark.parametrize("column", ["s", "a", "v"])
def test_the_weight_column_must_be_a_number(untouchable, column):
    """A string, an array or a vector is no weight."""
    with pytest.raises(ColumnTypeError, match=f"'{column}'"):
        StandardScaler(inputCol="x", outputCol="o", weightCol=column).fit(untouchable)


@pytest.mark.core
def test_transform_needs_the_fitted_columns(good, untouchable):
    """A frame without a column that fit saw is refused before any job."""
    model = MinMaxScaler(inputCols=["x", "y"], outputCols=["o", "p"]).fit(good)

    with pytest.raises(ColumnNotFoundError, match="'y' does not exist"):
        model.transform(untouchable.drop("y"))


@pytest.mark.core
@pytest.mark.parametrize(("now", "then"), [("scalar", "array"), ("array", "vector"), ("vector", "scalar")])
def test_transform_needs_the_fitted_kinds(good, untouchable, now, then):
    """A scalar is not an array is not a vector: the message has both kinds."""
    source = {"scalar": "x", "array": "a", "vector": "v"}
    model = MinMaxScaler(inputCol="c", outputCol="o").fit(good.select(F.col(source[then]).alias("c")))

    with pytest.raises(ColumnTypeError, match=f"'c' is of kind {now}, but the model was fitted on {then}"):
        model.transform(untouchable.select(F.col(source[now]).alias("c")))


def test_transform_needs_the_fitted_vector_size(good, untouchable):
    """A size that the column's metadata tells is compared before any job."""
    model = MinMaxScaler(inputCol="v", outputCol="o").fit(good)
    other = untouchable.withMetadata("v", {"ml_attr": {"num_attrs": 7}})

    with pytest.raises(SizeMismatchError, match="'v' has 7 features, but the model was fitted on 2"):
        model.transform(other)


def test_update_needs_the_fitted_kind(good, untouchable):
    """update compares columns as transform does."""
    model = MinMaxScaler(inputCol="x", outputCol="o").fit(good)

    with pytest.raises(ColumnTypeError, match="'x' is of kind array, but the model was fitted on scalar"):
        model.update(untouchable.drop("x").withColumnRenamed("a", "x"))


# No data


@pytest.mark.core
@each_scaler
@pytest.mark.parametrize("column", ["x", "a", "v"])
def test_an_empty_frame_is_refused(good, scaler, column):
    """fit needs a row; the message names class and column."""
    with pytest.raises(EmptyDataError, match=f"{scaler.__name__}.*{column}.*at least one row"):
        scaler(inputCol=column).fit(good.filter("x > 9"))


def test_rows_of_weight_0_are_no_rows(good):
    """Where all weights are 0, there is nothing to learn from."""
    with pytest.raises(EmptyDataError, match="weight 0"):
        StandardScaler(inputCol="x", weightCol="w").fit(good.withColumn("w", F.lit(0.0)))


@pytest.mark.core
@each_scaler
def test_skip_that_leaves_no_row_is_refused(spark, scaler):
    """Where each row holds an invalid value, nothing is left; the message says which Param dropped it."""
    df = spark.createDataFrame([(1.0, None), (NAN, 2.0)], "x double, y double")

    with pytest.raises(EmptyDataError, match=r"x, y.*handleInvalid='skip'"):
        scaler(inputCols=["x", "y"], handleInvalid="skip").fit(df)


def test_arrays_that_are_all_null_have_no_length(spark):
    """With no row to tell an array's length, there is no number of features."""
    df = spark.createDataFrame([(None,), (None,)], "a array<double>")

    with pytest.raises(EmptyDataError, match=r"'a' has no feature: every row is null"):
        MinMaxScaler(inputCol="a").fit(df)


def test_arrays_of_length_0_have_no_features(spark):
    """Without a feature there is nothing to scale."""
    with pytest.raises(EmptyDataError, match="'a' has no feature"):
        MinMaxScaler(inputCol="a").fit(arrays(spark, 0, 0))


@pytest.mark.parametrize("partitions", [1, 2])
def test_vectors_of_size_0_have_no_features(spark, partitions):
    """They are refused beside others too, whether or not they meet in one partition."""
    df = vectors(spark, Vectors.dense([]), Vectors.dense([1.0, 2.0])).repartition(partitions)

    with pytest.raises((EmptyDataError, SizeMismatchError), match="'v' (has no feature|holds vectors of size)"):
        MinMaxScaler(inputCol="v").fit(df)


def test_an_empty_vector_is_refused_where_the_size_is_known(spark):
    """From the model or from metadata: it is no row of zeros."""
    model = MinMaxScaler(inputCol="v").fit(vectors(spark, Vectors.dense([1.0, 2.0])))
    empty = vectors(spark, Vectors.dense([]))

    with pytest.raises(SizeMismatchError, match="vector of size 0, but 2 was expected, as its metadata or the model"):
        model.update(empty)
    with pytest.raises(SizeMismatchError, match="vector of size 0, but 2 was expected, as its metadata or the model"):
        MinMaxScaler(inputCol="v").fit(empty.withMetadata("v", {"ml_attr": {"num_attrs": 2}}))


def test_vectors_that_are_all_null_have_no_size(spark):
    """With no row and no metadata to tell a vector's size, there is no number of features."""
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


@pytest.mark.core
def test_models_of_different_classes_do_not_merge(good):
    """The message has both classes."""
    with pytest.raises(ParamError, match="MinMaxScalerModel: cannot merge with MaxAbsScalerModel"):
        MinMaxScaler(inputCol="x").fit(good).merge(MaxAbsScaler(inputCol="x").fit(good))


@pytest.mark.parametrize(
    ("one", "other"), [(["x"], ["y"]), (["x"], ["x", "y"]), (["x", "y"], ["y", "x"])], ids=["name", "number", "order"]
)
def test_models_of_different_columns_do_not_merge(good, one, other):
    """Columns must agree in name, number and order."""
    with pytest.raises(ParamError, match="same columns"):
        MinMaxScaler(inputCols=one).fit(good).merge(MinMaxScaler(inputCols=other).fit(good))


@pytest.mark.core
def test_models_that_skipped_and_models_that_did_not_do_not_merge(good):
    """Rows that one left out and the other counted make no whole."""
    kept, skipped = (MinMaxScaler(inputCol="x", handleInvalid=choice).fit(good) for choice in ("keep", "skip"))

    with pytest.raises(ParamError, match="only one of the models learned under handleInvalid='skip'. Fit both alike"):
        kept.merge(skipped)
    assert kept.merge(MinMaxScaler(inputCol="x", handleInvalid="error").fit(good)).count == 2 * kept.count


def test_an_update_under_another_policy_is_refused(good):
    """A model cannot begin to skip rows half way."""
    model = MinMaxScaler(inputCol="x").fit(good).setHandleInvalid("skip")

    with pytest.raises(ParamError, match="handleInvalid='skip' was set or unset since fit. Set it back"):
        model.update(good)


def test_an_update_from_another_number_of_columns_is_refused(good):
    """A model that is pointed to more columns than it learned from says so."""
    model = MinMaxScaler(inputCols=["x"]).fit(good).setInputCols(["x", "y"])

    with pytest.raises(ParamError, match="fitted on 1 columns, and 2 are named now"):
        model.update(good)


def test_models_of_different_sizes_do_not_merge(spark):
    """Arrays of another length are other features."""
    two, three = (MinMaxScaler(inputCol="a").fit(arrays(spark, n)) for n in (2, 3))

    with pytest.raises(ParamError, match="same columns"):
        two.merge(three)


def test_update_with_rows_of_another_length_is_refused(spark):
    """New data must have the length that fit saw."""
    model = MinMaxScaler(inputCol="a").fit(arrays(spark, 2))

    with pytest.raises(SizeMismatchError, match=r"'a'.* 2 and 3|'a'.* 3 and 2"):
        model.update(arrays(spark, 3))


# Weights, in the job


@pytest.mark.core
@pytest.mark.parametrize(
    ("weight", "shown"),
    [("-1D", "-1.0"), ("double('NaN')", "NaN"), ("double('Infinity')", "Infinity"), ("null", "null")],
)
def test_a_weight_must_be_finite_and_not_negative(good, weight, shown):
    """The message has the weight column and the weight."""
    df = good.selectExpr("*", f"CASE WHEN x = 1 THEN {weight} ELSE 1D END AS w")

    with pytest.raises(InvalidValueError, match=f"Weight column 'w' holds {shown}.*finite and >= 0"):
        StandardScaler(inputCol="x", weightCol="w").fit(df)


# Invalid values under handleInvalid="error", in the job


SCALARS = {"null": None, "NaN": NAN, "Infinity": INF, "-Infinity": -INF}
ARRAYS = {"null": [1.0, None], "NaN": [NAN, 1.0], "Infinity": [1.0, INF]}
VECTORS = {
    "dense NaN": Vectors.dense([1.0, NAN]),
    "sparse NaN": Vectors.sparse(2, {1: NAN}),
    "dense Infinity": Vectors.dense([INF, 1.0]),
    "sparse -Infinity": Vectors.sparse(2, {0: -INF}),
}


def refusal(column, value):
    return f"Column '{column}' holds {value}, which handleInvalid='error' refuses.*'keep' or 'skip'"


@pytest.mark.core
@pytest.mark.parametrize("lane", ["aggregates", "arrow"])
@pytest.mark.parametrize("value", SCALARS)
def test_fit_refuses_an_invalid_scalar(spark, monkeypatch, value, lane):
    """Null, NaN and infinities end the fit with column and value, whichever way it takes."""
    if lane == "arrow":
        monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    df = spark.createDataFrame([(1.0, 1.0), (2.0, SCALARS[value])], "x double, y double")

    with pytest.raises(InvalidValueError, match=refusal("y", value)):
        MinMaxScaler(inputCols=["x", "y"], handleInvalid="error").fit(df)


@each_scaler
def test_every_scaler_refuses_an_invalid_scalar(spark, scaler):
    """The policy is the same for all scalers."""
    df = spark.createDataFrame([(1.0,), (NAN,)], "x double")

    with pytest.raises(InvalidValueError, match=refusal("x", "NaN")):
        scaler(inputCol="x", handleInvalid="error").fit(df)


@pytest.mark.core
@pytest.mark.parametrize("value", [*ARRAYS, "whole"])
def test_fit_refuses_an_invalid_array(spark, value):
    """An invalid element, or a null in place of the array, ends the fit."""
    df = spark.createDataFrame([([1.0, 2.0],), (ARRAYS.get(value),)], "a array<double>")

    with pytest.raises(InvalidValueError, match=refusal("a", "null" if value == "whole" else value)):
        StandardScaler(inputCol="a", handleInvalid="error").fit(df)


@pytest.mark.core
@pytest.mark.parametrize("value", [*VECTORS, "null"])
def test_fit_refuses_an_invalid_vector(spark, value):
    """An invalid stored entry, or a null in place of the vector, ends the fit."""
    df = vectors(spark, Vectors.dense([1.0, 2.0]), VECTORS.get(value))

    with pytest.raises(InvalidValueError, match=refusal("v", value.split()[-1])):
        StandardScaler(inputCol="v", handleInvalid="error").fit(df)


@pytest.fixture(scope="module")
def strict(good):
    """Models under handleInvalid="error", by input column."""
    return {c: StandardScaler(inputCol=c, handleInvalid="error", withMean=True).fit(good) for c in ("x", "a", "v")}


@pytest.mark.core
@pytest.mark.parametrize("value", SCALARS)
def test_transform_refuses_an_invalid_scalar(spark, strict, value):
    """The job of the action fails with column and value."""
    df = spark.createDataFrame([(SCALARS[value],)], "x double")

    with pytest.raises(Exception, match=refusal("x", value)):
        strict["x"].transform(df).collect()


@pytest.mark.parametrize("value", [*ARRAYS, "whole"])
def test_transform_refuses_an_invalid_array(spark, strict, value):
    """The job of the action fails with column and value."""
    df = spark.createDataFrame([(ARRAYS.get(value),)], "a array<double>")

    with pytest.raises(Exception, match=refusal("a", "null" if value == "whole" else value)):
        strict["a"].transform(df).collect()


@pytest.mark.core
@pytest.mark.parametrize("value", [*VECTORS, "null"])
def test_transform_refuses_an_invalid_vector(spark, strict, value):
    """The job of the action fails with column and value."""
    with pytest.raises(Exception, match=refusal("v", value.split()[-1])):
        strict["v"].transform(vectors(spark, VECTORS.get(value))).collect()


BROKEN = {
    "x": ("x", "double(null)", "null"),
    "x NaN": ("x", "double('NaN')", "NaN"),
    "a": ("a", "cast(null AS array<double>)", "null"),
    "a element": ("a", "array(1D, null)", "null"),
    "v": ("v", None, "null"),
    "v element": ("v", "array(1D, double('NaN'))", "NaN"),
}


def broken(good, case):
    column, text, value = BROKEN[case]
    if column != "v":
        return good.withColumn(column, F.expr(text)), column, value
    made = F.when(F.col("x") > 9, F.col("v")) if text is None else array_to_vector(F.expr(text))
    return good.withColumn("v", made), column, value


@pytest.mark.parametrize("case", BROKEN)
def test_fit_of_one_vector_from_many_columns_refuses_invalid_values(good, case):
    """The message names the column that held the value, not the vector."""
    df, column, value = broken(good, case)

    with pytest.raises(InvalidValueError, match=refusal(column, value)):
        MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f", handleInvalid="error").fit(df)


@pytest.mark.parametrize("case", BROKEN)
def test_transform_to_one_vector_from_many_columns_refuses_invalid_values(good, case):
    """The message names the column that held the value, not the vector."""
    model = MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f", handleInvalid="error").fit(good)
    df, column, value = broken(good, case)

    with pytest.raises(Exception, match=refusal(column, value)):
        model.transform(df).select("f").collect()


def test_inverse_refuses_an_invalid_scalar(spark, strict):
    """The way back has the policy of the way there, and names the column that it reads."""
    df = spark.createDataFrame([(NAN,)], "x_scaled double")

    with pytest.raises(Exception, match=refusal("x_scaled", "NaN")):
        strict["x"].inverseTransform(df).collect()


# Lengths, in the job


@pytest.mark.core
@pytest.mark.parametrize("partitions", [1, 2], ids=["within a partition", "between partitions"])
def test_fit_refuses_arrays_of_different_lengths(spark, partitions):
    """The message has the column and both lengths."""
    with pytest.raises(SizeMismatchError, match=r"'a' holds arrays of length 2 and 3.*one length"):
        MinMaxScaler(inputCol="a").fit(arrays(spark, 2, 3, partitions=partitions))


def test_fit_refuses_arrays_of_different_lengths_beside_nulls(spark):
    """A null row takes no part in the comparison."""
    df = spark.createDataFrame([(None,), ([1.0, 2.0],), (None,), ([1.0],)], "a array<double>").coalesce(1)

    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 2 and 1"):
        MinMaxScaler(inputCol="a").fit(df)


DENSE2, DENSE3 = Vectors.dense([1.0, 2.0]), Vectors.dense([1.0, 2.0, 3.0])
SPARSE2, SPARSE3 = Vectors.sparse(2, {1: 2.0}), Vectors.sparse(3, {1: 2.0})


@pytest.mark.core
@pytest.mark.parametrize(
    ("one", "other"),
    [(DENSE2, DENSE3), (SPARSE2, SPARSE3), (SPARSE3, SPARSE2), (DENSE2, SPARSE3), (SPARSE2, DENSE3)],
    ids=["dense", "sparse", "shorter sparse", "dense, sparse", "sparse, dense"],
)
@pytest.mark.parametrize("where", ["within a partition", "between partitions"])
def test_fit_refuses_vectors_of_different_sizes(spark, one, other, where):
    """Spark takes a shorter vector silently; here the message has the column and both sizes."""
    df = (
        vectors(spark, one, other)
        if where == "within a partition"
        else vectors(spark, one).union(vectors(spark, other))
    )

    with pytest.raises(SizeMismatchError, match=rf"'v' holds vectors of size {one.size} and {other.size}"):
        MaxAbsScaler(inputCol="v").fit(df)


@pytest.mark.parametrize("vector", [DENSE3, SPARSE3], ids=["dense", "sparse"])
def test_fit_refuses_vectors_that_contradict_their_metadata(spark, vector):
    """A size in the metadata is what rows are compared with."""
    df = vectors(spark, vector).withMetadata("v", {"ml_attr": {"num_attrs": 2}})

    with pytest.raises(SizeMismatchError, match=r"'v' holds .*2.*3|'v' holds .*3.*2"):
        MaxAbsScaler(inputCol="v").fit(df)


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 3])
def test_transform_refuses_arrays_of_another_length(spark, strict, good, length):
    """The message has both lengths; a shorter array is not scaled with the first features."""
    model = MinMaxScaler(inputCol="a").fit(good)

    with pytest.raises(Exception, match=f"'a' holds a row of length {length}, but the model was fitted on length 2"):
        model.transform(arrays(spark, length)).collect()


@pytest.fixture(scope="module")
def of_vectors(good):
    """Models of the vector column, by class."""
    return {scaler: scaler(inputCol="v").fit(good) for scaler in SCALERS}


@pytest.mark.core
@each_scaler
@pytest.mark.parametrize(
    "vector",
    [DENSE3, Vectors.dense([1.0]), SPARSE3, Vectors.sparse(1, {0: 1.0}), Vectors.sparse(9, {})],
    ids=["longer", "shorter", "longer sparse", "shorter sparse", "longer empty"],
)
def test_transform_refuses_vectors_of_another_size(spark, of_vectors, scaler, vector):
    """The message has both sizes, for dense and sparse vectors alike."""
    model = of_vectors[scaler]

    with pytest.raises(
        Exception, match=f"'v' holds a vector of size {vector.size}, but the model was fitted on size 2"
    ):
        model.transform(vectors(spark, vector)).collect()


@pytest.mark.parametrize(("column", "message"), [("a", "length 3"), ("v", "size 3")])
def test_transform_to_one_vector_refuses_another_length(spark, good, column, message):
    """Assembling looks at lengths too."""
    model = MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f").fit(good)
    longer = array_to_vector(F.expr("array(1D, 2D, 3D)")) if column == "v" else F.expr("array(1D, 2D, 3D)")

    with pytest.raises(Exception, match=f"'{column}' holds .*{message}"):
        model.transform(good.withColumn(column, longer)).collect()


# Overflow


@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler], ids=lambda c: c.__name__)
def test_a_range_that_overflows_is_refused(spark, scaler):
    """Spark maps such a column to nonsense; here the message names it."""
    df = spark.createDataFrame([(1.5e308,), (-1.5e308,)], "x double")

    with pytest.raises(RangeOverflowError, match=r"'x'.*not representable.*another unit"):
        scaler(inputCol="x").fit(df)


# Names


@pytest.mark.core
@each_name
@pytest.mark.parametrize("kinds", ["xa", "v"], ids=["scalar and array", "vector"])
def test_any_column_name_can_be_scaled(good, name, kinds):
    """A name is taken to the letter, in fit, transform and inverse."""
    names = [name, f"{name} 2"][: len(kinds)]
    df = good.select(*(F.col(kind).alias(n) for kind, n in zip(kinds, names, strict=True)))
    model = MinMaxScaler(inputCols=names).fit(df)
    outputs = [f"{n}_scaled" for n in names]
    scaled = model.transform(df)
    restored = model.inverseTransform(scaled.selectExpr(*("`" + n.replace("`", "``") + "`" for n in outputs)))

    assert scaled.columns == [*names, *outputs]
    assert restored.columns == [*outputs, *names]
    assert [list(row[len(names) :]) for row in restored.collect()] == [list(row) for row in df.collect()]


@each_name
def test_columns_of_any_name_become_one_vector(good, name):
    """A name is taken to the letter in the many-to-one form and on the way back."""
    df = good.select(F.col("x").alias(name), F.col("a").alias(f"{name} 2"), F.col("v").alias(f"{name} 3"))
    model = MinMaxScaler(inputCols=df.columns, outputCol=f"{name} out").fit(df)
    scaled = model.transform(df)
    restored = model.inverseTransform(scaled.select(F.col("`" + f"{name} out".replace("`", "``") + "`")))

    assert scaled.columns == [*df.columns, f"{name} out"]
    assert [list(row[1:]) for row in restored.collect()] == [list(row) for row in df.collect()]


@each_name
def test_any_column_name_can_hold_weights(good, name):
    """The weight column's name is taken to the letter."""
    df = good.select("x", F.lit(2.0).alias(name))

    assert StandardScaler(inputCol="x", weightCol=name).fit(df).statistics.weight.tolist() == [4.0]


@each_name
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_any_column_name_is_shown_as_it_is_when_fit_fails(good, name, kind):
    """Quotes, braces and backslashes come through the job unharmed."""
    nan = F.expr("double('NaN')") if kind == "scalar" else array_to_vector(F.expr("array(double('NaN'))"))
    df = good.select(nan.alias(name))

    with pytest.raises(InvalidValueError) as caught:
        MinMaxScaler(inputCol=name, handleInvalid="error").fit(df)

    assert str(caught.value).startswith(f"Column '{name}' holds NaN")


@each_name
def test_any_column_name_is_shown_as_it_is_when_it_does_not_exist(untouchable, name):
    """The unknown name is in the message to the letter."""
    with pytest.raises(ColumnNotFoundError) as caught:
        MinMaxScaler(inputCol=name, outputCol="o").fit(untouchable)

    assert str(caught.value).startswith(f"Column '{name}' does not exist")


@pytest.mark.core
@pytest.mark.parametrize("kind", ["scalar", "array", "vector"])
def test_a_field_of_a_struct_can_be_scaled(good, kind):
    """``s.f`` names field f of struct s; the output is named after it."""
    source = {"scalar": "x", "array": "a", "vector": "v"}[kind]
    df = good.select(F.struct(F.col(source).alias("f")).alias("s"))
    model = MinMaxScaler(inputCol="s.f").fit(df)
    expected = MinMaxScaler(inputCol=source, outputCol="o").fit(good).transform(good)
    scaled = model.transform(df)

    assert scaled.columns == ["s", "s.f_scaled"]
    assert [row[1] for row in scaled.collect()] == [row["o"] for row in expected.collect()]


def test_fields_of_structs_become_one_vector(good):
    """Fields may be assembled as columns may."""
    df = good.select(F.struct("x", "a").alias("s"), "y")
    model = MinMaxScaler(inputCols=["s.x", "s.a", "y"], outputCol="f").fit(df)

    assert [row[0].toArray().tolist() for row in model.transform(df).select("f").collect()] == [
        [0.0, 0.0, 0.5, 0.0],
        [1.0, 1.0, 0.5, 1.0],
    ]


def test_the_sql_of_a_field_of_a_struct_runs(good):
    """toSQL gives text over the field, not over a column of that name."""
    df = good.select(F.struct("x").alias("s"))
    model = MinMaxScaler(inputCol="s.x", outputCol="o").fit(df)

    assert [row[0] for row in df.selectExpr(model.toSQL()["o"]).collect()] == [0.0, 1.0]


def test_a_column_with_a_dot_goes_before_a_field(good):
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


@pytest.mark.parametrize("invalid", ["double('NaN')", "cast(null AS double)"])
def test_arrays_of_one_invalid_element_have_a_length(spark, invalid):
    """A column of arrays of length 1 without a valid value has one feature."""
    model = MaxAbsScaler(inputCol="a").fit(spark.range(3).selectExpr(f"array({invalid}) AS a"))

    assert (model.numFeatures, model.invalidCounts) == (1, [3])


def test_arrays_of_length_zero_have_no_feature(spark):
    """Arrays without an element are refused in fit."""
    with pytest.raises(EmptyDataError, match="'a' has no feature"):
        MinMaxScaler(inputCol="a").fit(spark.range(2).selectExpr("cast(array() AS array<double>) AS a"))


def test_a_model_refuses_another_number_of_columns(spark):
    """Naming more columns than were fitted is refused with both numbers."""
    model = MinMaxScaler(inputCols=["id"]).fit(spark.range(3))
    with pytest.raises(ParamError, match="fitted on 1 columns, and 2 are named"):
        model.setInputCols(["id", "id2"]).transform(spark.range(3).selectExpr("id", "id AS id2"))
