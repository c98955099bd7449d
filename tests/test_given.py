"""Models of given numbers, which no fit has learned."""

from __future__ import annotations

import json
import logging
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, IntegerType, StructField, StructType

from frames import listed, near, vector_field
from models import learned
from sparkscale import (
    BatchNormModel,
    InverseModel,
    MaxAbsScalerModel,
    MinMaxScalerModel,
    PowerTransformerModel,
    QuantizerModel,
    RobustScalerModel,
    StandardScalerModel,
    WhitenerModel,
)
from sparkscale.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    DatasetError,
    OutputColumnError,
    ParamError,
    ParamTypeError,
    PersistenceError,
    ScalingError,
    SizeMismatchError,
)
from sparkscale.export import to_torch
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn
from store import Store
from table import public_models

INF, NAN = float("inf"), float("nan")
# The features: a scalar, and an array or vector of two. The first is small and the second far from 0; the last is of zeros.
ROWS = np.array([[1e-3, 1e6 + 0.1, 0.0], [0.25, 1e6 + 1 / 3, 0.0], [1 / 3, 1e6 + 0.7, 0.0]])
NAMES = ["x", "a_0", "a_1"]


@dataclass(frozen=True)
class Case:
    """A model, the attributes that are given, and the Params of the map."""

    model: Any
    attributes: dict[str, str]  # by the names that ``of`` has for them
    choices: tuple[dict[str, Any], ...]

    def numbers(self, fitted: Any) -> dict[str, Any]:
        """Return the numbers of a fitted model."""
        return {name: getattr(fitted, attribute).toArray() for name, attribute in self.attributes.items()}


CASES = (
    Case(
        StandardScalerModel,
        {"mean": "mean", "std": "std"},
        ({}, {"withMean": True}, {"withStd": False}, {"withMean": True, "handleConstant": "unit"}),
    ),
    Case(
        MinMaxScalerModel,
        {"originalMin": "originalMin", "originalMax": "originalMax"},
        ({}, {"min": -1.0, "max": 3.0, "clip": True}, {"handleConstant": "unit"}),
    ),
    Case(MaxAbsScalerModel, {"maxAbs": "maxAbs"}, ({}, {"clip": True})),
    Case(
        RobustScalerModel,
        {"median": "median", "range": "range"},
        (
            {},
            {"withCentering": True},
            {"withScaling": False},
            {"withCentering": True, "handleConstant": "unit", "unitVariance": True},
            {"withCentering": True, "clip": [-0.5, 0.5], "fillInvalid": "center"},
        ),
    ),
    Case(
        BatchNormModel,
        {"runningMean": "runningMean", "runningVar": "normalizingVar"},
        ({}, {"epsilon": 0.1, "gamma": [2.0, 3.0, 4.0], "beta": [0.0, 1.0, -1.0]}),
    ),
)
EVERY_CHOICE = [
    pytest.param(c, p, id=f"{c.model.__name__}-{'-'.join(p) or 'defaults'}") for c in CASES for p in c.choices
]
each = pytest.mark.parametrize("case", CASES, ids=lambda c: c.model.__name__)


def nested(numbers):
    """Return the numbers of the scalar, and a list of those of the array."""
    return {name: [values[0], list(values[1:])] for name, values in numbers.items()}


def standard(**params: Any) -> StandardScalerModel:
    """Return a model of one column ``x``, unless other Params are given."""
    return StandardScalerModel.of(**{"inputCol": "x", "mean": 1.0, "std": 2.0, **params})


def same_map(given, fitted):
    """Whether two models map alike, there and back."""
    assert given.affine == fitted.affine
    assert given.toSQL() == fitted.toSQL()
    assert given.inverse().affine == fitted.inverse().affine
    assert given.inverse().toSQL() == fitted.inverse().toSQL()


# The fitted model with the same numbers


def test_every_such_model_is_tried():
    """Whatever has ``of`` has a case here, but for what takes all numbers as one array, and what maps by curves."""
    others = {QuantizerModel, PowerTransformerModel}
    assert {c.model for c in CASES} | others == {model for model in public_models() if hasattr(model, "of")}


@pytest.mark.parametrize(("case", "choice"), EVERY_CHOICE)
def test_a_given_model_is_that_of_a_fit(case, choice):
    """A scalar and an array: one list for each column."""
    columns = [FeatureColumn("x", "scalar", size=1), FeatureColumn("a", "array", size=2)]
    fitted = learned(case.model()._set(**choice), ROWS, *columns)
    given = case.model.of(inputCols=["x", "a"], **nested(case.numbers(fitted)), **choice)

    same_map(given, fitted)
    assert given.featureNames == NAMES
    assert given.numFeatures == 3
    for name, attribute in case.attributes.items():
        assert getattr(given, name) == getattr(fitted, attribute)
    assert given.constantFeatures == fitted.constantFeatures == ["a_1"]
    assert {p.name: given.getOrDefault(p) for p in given.params if given.isSet(p)} == {
        **choice,
        "inputCols": ["x", "a"],
    }


@each
@pytest.mark.parametrize(
    ("params", "columns"),
    [
        ({"inputCol": "a"}, [FeatureColumn("a", "array", size=3)]),
        ({"inputCols": NAMES}, [FeatureColumn(name, "scalar", size=1) for name in NAMES]),
        ({"inputCols": NAMES, "outputCol": "f"}, [FeatureColumn(name, "scalar", size=1) for name in NAMES]),
    ],
    ids=["array", "scalars", "one vector"],
)
def test_without_a_dataset_sizes_are_those_of_the_numbers(case, params, columns):
    """inputCol of several numbers is an array, inputCols of one number each are scalars; nothing else is needed."""
    fitted = learned(case.model()._set(**params), ROWS, *columns)

    same_map(case.model.of(**params, **case.numbers(fitted)), fitted)


@each
def test_one_number_is_of_a_scalar(case):
    """The column is a scalar."""
    fitted = learned(case.model()._set(inputCol="x"), ROWS[:, :1], "x")
    numbers = {name: values.item() for name, values in case.numbers(fitted).items()}

    same_map(case.model.of(inputCol="x", **numbers), fitted)


@each
def test_a_given_model_counts_no_rows(case):
    """No feature is empty: there was no data to be empty of. summary has the numbers and the map."""
    fitted = learned(case.model(), ROWS, *NAMES)
    given = case.model.of(inputCols=NAMES, **case.numbers(fitted))
    table, expected = given.summary(), fitted.summary()

    assert (given.count, given.invalidCounts, given.emptyFeatures) == (0, [0, 0, 0], [])
    assert list(table["count"]) == list(table["invalid"]) == [0, 0, 0]
    unlike = ["count", "runningVar"]  # a fitted BatchNormModel divides by the other variance
    pd.testing.assert_frame_equal(
        table.drop(columns=unlike, errors="ignore"), expected.drop(columns=unlike, errors="ignore")
    )


@each
def test_a_given_model_has_no_statistics(case):
    """What needs them says why, and what to do: the model, and a fitted one that would merge it."""
    fitted = learned(case.model(), ROWS, *NAMES)
    given = case.model.of(inputCols=NAMES, **case.numbers(fitted), handleInvalid="skip")

    for use in (
        lambda: given.statistics,
        lambda: given.merge(fitted),
        lambda: fitted.merge(given),
        lambda: given.update(None),
    ):
        with pytest.raises(ParamError, match=f"^{case.model.__name__}: the model was given its numbers.* Fit a model"):
            use()


@each
def test_a_given_model_is_shown(case):
    """In notebooks, with its numbers, and what is special about a feature; and by its repr."""
    fitted = learned(case.model(), ROWS, *NAMES)
    given = case.model.of(inputCols=NAMES, **case.numbers(fitted))
    shown = given._repr_html_()

    assert "given numbers, 3 features" in shown
    assert "1 constant: a_1." in shown
    assert "no valid value" not in shown
    assert shown.count("<svg") == 3
    assert repr(given).startswith(f"{case.model.__name__}: uid={given.uid}, numFeatures=3")


@each
def test_params_change_the_map_later(case):
    """As of a fitted model; the numbers stay, and a copy has them."""
    choice = case.choices[1]
    fitted = learned(case.model(), ROWS, *NAMES)
    given = case.model.of(inputCols=NAMES, **case.numbers(fitted))

    assert given.copy().setParams(**choice).affine == fitted.copy()._set(**choice).affine
    assert given.affine == fitted.affine


def test_names_in_backticks_are_those_of_fields():
    """As in a model that was fitted; other names are those of columns."""
    assert standard(inputCol="`s`.`x`").toSQL() == {"s.x_scaled": "(`s`['x'] / 2.0D)"}
    assert standard(inputCol="s.x").toSQL() == {"s.x_scaled": "(`s.x` / 2.0D)"}


# What each model has of its own


def test_standard_needs_no_number_that_its_map_does_not_use():
    """What was not given is NaN, and asked for as soon as a Param needs it."""
    scaled = StandardScalerModel.of(inputCol="x", std=2.0)
    centered = StandardScalerModel.of(inputCol="x", mean=3.0, withMean=True, withStd=False)

    assert (scaled.affine.apply([5.0]), centered.affine.apply([5.0])) == ([2.5], [2.0])
    assert np.isnan([scaled.mean[0], centered.std[0]]).all()
    assert centered.constantFeatures == []
    assert "<svg" not in scaled._repr_html_()
    assert np.isnan(scaled.summary()["mean"]["x"])
    with pytest.raises(ParamError, match="these Params need mean, which the model was not given"):
        scaled.copy().setWithMean(True).toSQL()
    with pytest.raises(ParamError, match="these Params need std"):
        StandardScalerModel.of(inputCol="x", mean=3.0)
    with pytest.raises(ParamError, match="these Params need mean"):  # to be restored by the inverse
        StandardScalerModel.of(inputCol="x", std=0.0)
    assert StandardScalerModel.of(inputCol="x", std=0.0, handleConstant="unit").toSQL() == {"x_scaled": "double(`x`)"}


def test_ddof_does_not_change_a_given_deviation():
    """It is the one that was given."""
    assert standard(ddof=0).affine == standard(ddof=1).affine


def test_max_abs_lies_on_both_sides():
    """Only 0 is known to be constant."""
    model = MaxAbsScalerModel.of(inputCols=["x", "y"], maxAbs=[2.0, 0.0])

    assert model.constantFeatures == ["y"]
    assert "<title>-2 to 2</title>" in model._repr_html_()
    assert model.affine.scale.tolist() == [2.0, 1.0]


def test_batch_norm_has_one_variance():
    """It is that of the map, and both of layers."""
    model = BatchNormModel.of(inputCol="a", runningMean=[1.0, 2.0], runningVar=[4.0, 9.0])

    assert model.runningVar == model.runningVarBiased == model.normalizingVar == DenseVector([4.0, 9.0])
    assert (model.numBatchesTracked, model.numChannels) == (0, 2)


def test_batch_norm_takes_one_number_per_channel():
    """The shape says of which places; each of several columns has channels of its own, and none is a scalar."""
    of_image = {"shape": [2, 1, 2], "gamma": [2.0], "epsilon": 1e-300}
    image = BatchNormModel.of(inputCol="i", runningMean=[1.0, 2.0], runningVar=[0.25, 4.0], **of_image)
    two = BatchNormModel.of(inputCols=["i", "j"], runningMean=np.ones((2, 2)), runningVar=[[1, 4], [9, 16]], **of_image)
    last = BatchNormModel.of(inputCol="i", runningMean=5, runningVar=1, shape=[3, 1], dataFormat="channelsLast")
    single = BatchNormModel.of(inputCol="i", runningMean=5, runningVar=1, shape=[1])

    assert image.affine.center.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert image.affine.scale.tolist() == [0.25, 0.25, 1.0, 1.0]
    assert (image.count, image.numFeatures, image.numChannels) == (0, 4, 2)
    assert list(image.summary().index) == ["i_channel_0", "i_channel_1"]
    assert "given numbers, 4 features in 2 channels" in image._repr_html_()
    assert two.affine.scale.tolist() == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0]
    assert last.affine.center.tolist() == [5.0, 5.0, 5.0]
    assert [c.kind for c in single._columns] == ["array"]


def test_a_tiny_epsilon_divides_by_the_deviation_itself():
    """The root of a square is exact."""
    std = np.array([0.229, 0.224, 0.225, 1 / 3, 1e10, 1e-10])
    model = BatchNormModel.of(inputCol="a", runningMean=0 * std, runningVar=std**2, epsilon=1e-300)

    assert model.affine.scale.tolist() == std.tolist()


def test_what_is_constant_is_logged(caplog):
    """As by fit."""
    with caplog.at_level(logging.WARNING, "sparkscale"):
        MinMaxScalerModel.of(inputCols=["x", "y"], originalMin=[1, 2], originalMax=[1, 3])

    assert [record.getMessage() for record in caplog.records] == ["MinMaxScalerModel: 1 constant feature(s): x"]


# Numbers


@pytest.mark.parametrize(
    "std",
    [
        [2, 4.0],
        (2.0, 4.0),
        range(2, 5, 2),
        array("f", [2, 4]),
        np.array([2, 4]),
        np.array([2, 4], dtype=np.float32),
        [np.float32(2), np.int8(4)],
        pd.Series([2.0, 4.0]),
        Vectors.dense(2, 4),
        SparseVector(2, {0: 2.0, 1: 4.0}),
    ],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.parametrize("columns", [{"inputCol": "a"}, {"inputCols": ["x", "y"]}], ids=["array", "scalars"])
def test_numbers_are_of_any_kind(std, columns):
    """Lists, tuples, arrays of NumPy, vectors, and whatever else can be listed."""
    assert StandardScalerModel.of(**columns, std=std).std == DenseVector([2.0, 4.0])


@pytest.mark.parametrize(
    "std",
    [[2.0, [3.0, 4.0]], ([2], np.array([3.0, 4.0])), [np.float64(2), Vectors.dense(3, 4)]],
    ids=["list", "tuple", "vector"],
)
def test_each_column_has_numbers_of_any_kind(std):
    """One entry per column."""
    assert StandardScalerModel.of(inputCols=["x", "a"], std=std).std == DenseVector([2.0, 3.0, 4.0])


@pytest.mark.parametrize("std", [2, 2.0, np.float32(2), np.array(2.0), [2.0], [[2.0]]], ids=str)
def test_one_number_is_given_in_any_way(std):
    """By itself, or in a list; in a list of lists only for inputCols."""
    assert StandardScalerModel.of(inputCols=["x"], std=std).std == DenseVector([2.0])
    if std != [[2.0]]:
        assert StandardScalerModel.of(inputCol="x", std=std).std == DenseVector([2.0])


# What is refused


BROKEN = {
    "no column": ({"inputCol": None}, "neither inputCol nor inputCols is set"),
    "both columns": ({"inputCols": ["x"]}, "both inputCol and inputCols are set"),
    "outputs": ({"outputCols": ["y"]}, "outputCols goes with inputCols"),
    "nothing": ({"mean": None, "std": None}, "mean and std are missing. Give at least one of them"),
    "a Param": ({"ddof": 3}, "ddof must be 0 or 1"),
    "counts": ({"mean": [1.0, 2.0]}, "std has 1 numbers for column 'x', where 2 are needed. Give one for each feature"),
    "no number": ({"mean": []}, "mean has 0 numbers for column 'x', where more are needed"),
    "columns": (
        {"inputCol": None, "inputCols": ["x", "y"]},
        "mean has 1 entries for 2 columns. Give one number for each",
    ),
    "NaN": ({"mean": [1.0, NAN], "std": [1.0, 1.0]}, "mean must be finite. Got nan for 'x_1'"),
    "infinity": ({"std": INF}, "std must be finite. Got inf for 'x'"),
    "negative": ({"std": [-1.0, 2.0], "mean": [1, 2]}, "std must be at least 0. Got -1.0 for 'x_0'"),
}
WRONG_TYPES = {
    "text": "1",
    "texts": ["1"],
    "null": [None],
    "truth": True,
    "truths": [True],
    "lists": [[1.0]],
    "complex": 1j,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_numbers_that_cannot_be_used_are_refused(broken):
    """With what is wrong, of which column or feature."""
    params, message = BROKEN[broken]

    with pytest.raises(ParamError, match=f"^StandardScalerModel: {message}"):
        standard(**params)


@pytest.mark.parametrize("value", [*WRONG_TYPES.values(), {1.0}, {"x": 1.0}, object()], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("columns", [{"inputCol": "x"}, {"inputCols": ["x"]}], ids=["inputCol", "inputCols"])
def test_what_is_no_number_is_refused(value, columns):
    """As by a Param."""
    if columns == {"inputCols": ["x"]} and value == [[1.0]]:
        value = [[[1.0]]]

    with pytest.raises(ParamTypeError, match=r"^StandardScalerModel: std must be a list of numbers\. Got"):
        StandardScalerModel.of(**columns, std=value)


def test_a_number_is_a_double():
    """A larger integer is refused."""
    with pytest.raises(ParamError, match="std must be a list of numbers"):
        standard(std=10**400)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MinMaxScalerModel.of(inputCols=["x", "y"], originalMin=[0, 2], originalMax=[1, 1]),
            "MinMaxScalerModel: originalMax must be at least originalMin. Got 1.0 for 'y'",
        ),
        (lambda: MaxAbsScalerModel.of(inputCol="x", maxAbs=-1), "MaxAbsScalerModel: maxAbs must be at least 0"),
        (
            lambda: BatchNormModel.of(inputCol="x", shape=[2, 2], runningMean=[0, 0], runningVar=[-1, 1]),
            "BatchNormModel: runningVar must be at least 0. Got -1.0 for 'x_channel_0'",
        ),
        (
            lambda: BatchNormModel.of(inputCol="x", shape=[2, 2], runningMean=[0] * 4, runningVar=[1] * 4),
            "BatchNormModel: runningMean has 4 numbers for column 'x', where 2 are needed. Give one for each channel",
        ),
        (
            lambda: BatchNormModel.of(inputCol="x", runningMean=[0, 0], runningVar=[1, 1], gamma=[1, 2, 3]),
            "gamma has 3 values for 2 channels",
        ),
        (lambda: BatchNormModel.of(inputCol="x", runningMean=0, runningVar=1, epsilon=0), "epsilon must be positive"),
        (lambda: MaxAbsScalerModel.of(inputCol="x", maxAbs=None), "maxAbs is missing"),
        (lambda: MinMaxScalerModel.of(inputCol="x", originalMin=-1e308, originalMax=1e308), "is not representable"),
        (lambda: MinMaxScalerModel.of(inputCol="x", originalMin=0, originalMax=1, mean=2), "has no Param 'mean'"),
    ],
)
def test_each_model_refuses_what_its_map_cannot_use(make, message):
    """Before there is a model."""
    with pytest.raises(ScalingError, match=message):
        make()


def test_keywords_are_those_of_the_model():
    """An unknown one is a TypeError, as of setParams; so is a missing one, as of every function."""
    with pytest.raises(ParamTypeError, match="StandardScalerModel has no Param 'stdev'"):
        standard(stdev=1.0)
    with pytest.raises(TypeError, match="'originalMax'"):
        MinMaxScalerModel.of(inputCol="x", originalMin=0.0)


# With a DataFrame


KINDS = ["x", "t.y", "a", "v", "s"]
HIGH = [12.0, 13, [14.0, 15.0], np.array([16, 17, 18]), Vectors.dense(19, 20)]
NUMBERS = [2.0, [3.0], [4.0, 5.0], [6.0, 7.0, 8.0], [9.0, 10.0]]


@pytest.fixture(scope="module")
def frame(spark):
    """A scalar, a field, an array, and dense and sparse vectors, of which those of ``v`` have their size in the metadata."""
    rows = [
        (0.5, 7, [1.0, 2.0], Vectors.dense(0, 0, 3), SparseVector(2, {1: 3.0})),
        (-8.0, -3, [3.0, 1e-3], Vectors.sparse(3, {0: 4.0}), SparseVector(2, {})),
    ]
    schema = StructType(
        [
            StructField("x", DoubleType()),
            StructField("y", IntegerType()),
            StructField("a", ArrayType(FloatType())),
            vector_field("v", 3),
            vector_field("s"),
        ]
    )
    return spark.createDataFrame(rows, schema).withColumn("t", F.struct("y"))


@pytest.mark.core
def test_kinds_and_sizes_come_from_the_dataset(frame):
    """What transform returns is what the map says, there and back; sparse vectors stay sparse if 0 does."""
    standard = StandardScalerModel.of(
        inputCols=KINDS, mean=NUMBERS, std=NUMBERS, withMean=True, dataset=frame, outputCols=["1", "2", "3", "4", "5"]
    )
    one_vector = MinMaxScalerModel.of(
        inputCols=KINDS, originalMin=NUMBERS, originalMax=HIGH, dataset=frame, outputCol="f"
    )
    sparse = MaxAbsScalerModel.of(inputCol="s", maxAbs=[2.0, 3.0], dataset=frame)
    scaled = sparse.transform(one_vector.transform(standard.transform(frame)))
    back = standard.inverse().setOutputCols(["b1", "b2", "b3", "b4", "b5"]).transform(scaled)
    rows = back.select("*", "t.y").collect()
    numbers = np.array([flat(row, "x", "y", "a", "v", "s") for row in rows])

    assert [c.kind for c in standard._columns] == ["scalar", "scalar", "array", "vector", "vector"]
    assert standard.featureNames == ["x", "t.y", "a_0", "a_1", "v_0", "v_1", "v_2", "s_0", "s_1"]
    assert dict(scaled.dtypes)["3"] == "array<float>"
    near([flat(row, "1", "2", "3", "4", "5") for row in rows], standard.affine.apply(numbers), rtol=1e-6)
    near([flat(row, "b1", "b2", "b3", "b4", "b5") for row in rows], numbers, rtol=1e-6, atol=1e-6)
    near([flat(row, "f") for row in rows], one_vector.affine.apply(numbers), rtol=1e-6)
    assert [row.s_scaled for row in rows] == [SparseVector(2, {1: 1.0}), SparseVector(2, {})]


def flat(row, *names):
    """Return the numbers of columns of a row."""
    return [float(number) for name in names for number in np.ravel(listed(row[name]))]


@pytest.mark.core
def test_a_model_of_names_alone_maps_what_has_its_sizes(frame):
    """An array or a vector; in other numbers than the column has, the job fails, or metadata tell."""
    of_two = MaxAbsScalerModel.of(inputCol="a", maxAbs=[2.0, 3.0])
    of_vector = BatchNormModel.of(inputCol="v", runningMean=[1.0, 2.0, 3.0], runningVar=[1.0, 4.0, 9.0], epsilon=1e-300)
    row = of_vector.transform(of_two.transform(frame)).first()

    assert row.a_scaled == [0.5, pytest.approx(2 / 3)]
    assert row.v_scaled == DenseVector([-1.0, -1.0, 0.0])
    with pytest.raises(SizeMismatchError, match="Column 'v' has 3 features"):
        of_two.copy().setInputCol("v").transform(frame)
    with pytest.raises(ColumnTypeError, match="Column 'a' is of kind array"):
        MaxAbsScalerModel.of(inputCol="a", maxAbs=1).transform(frame)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"inputCol": "v", "std": [1, 2]}, ParamError, "std has 2 numbers for column 'v', where 3 are needed"),
        ({"inputCol": "x", "std": [1, 2]}, ParamError, "std has 2 numbers for column 'x', where 1 are needed"),
        ({"inputCols": ["x", "v"], "std": [1, 2]}, ParamError, "std has 1 numbers for column 'v', where 3 are needed"),
        ({"inputCols": ["a"], "std": [1, 2]}, ParamError, "std has 2 entries for 1 columns. .* or one list for each"),
        ({"inputCol": "z", "std": 1}, ColumnNotFoundError, "z"),
        ({"inputCol": "t", "std": 1}, ColumnTypeError, "'t' is of type struct"),
        ({"inputCol": "x", "std": 1, "outputCol": "a"}, OutputColumnError, "'a'"),
    ],
)
def test_numbers_that_do_not_match_the_dataset_are_refused(frame, params, error, message):
    """As by a fit of it, before any job."""
    with pytest.raises(error, match=message):
        StandardScalerModel.of(dataset=frame, **params)


def test_a_shape_is_that_of_the_dataset(frame):
    """Where its metadata have the size."""
    with pytest.raises(SizeMismatchError, match=r"'v' has rows of length 3, but shape \[2, 2\] has 4 elements"):
        BatchNormModel.of(inputCol="v", runningMean=[0, 0], runningVar=[1, 1], shape=[2, 2], dataset=frame)


def test_only_a_dataframe_is_a_dataset():
    """As for fit."""
    with pytest.raises(DatasetError):
        standard(dataset=[1.0])


def test_no_job_runs(spark):
    """Only the schema is read: no row of this DataFrame can be computed."""
    df = spark.range(1).selectExpr("double(raise_error('a job')) AS x", "array(double(raise_error('a job'))) AS a")
    model = StandardScalerModel.of(inputCols=["x", "a"], std=[1.0, [2.0, 3.0]], dataset=df)

    assert model.featureNames == ["x", "a_0", "a_1"]
    assert "inputCols" in model._repr_html_()


def test_a_given_model_is_plotted(frame):
    """By the data of the DataFrame."""
    figure = standard(mean=1.0, std=2.0).plot(frame)

    assert len(figure.axes) == 2


@pytest.mark.third_party
def test_a_given_layer_is_exported():
    """With the variance of the map."""
    model = BatchNormModel.of(inputCol="i", runningMean=[1.0, 2.0], runningVar=[4.0, 9.0], shape=[2, 3, 3])
    layer = to_torch(model)

    assert type(layer).__name__ == "BatchNorm2d"
    assert (layer.running_mean.tolist(), layer.running_var.tolist()) == ([1.0, 2.0], [4.0, 9.0])
    assert layer.num_batches_tracked.item() == 0


# Saving


def save(model, session):
    """Save a model, and return what is in its metadata."""
    model.write().overwrite().session(session).save("m")
    return json.loads(session.folders["m/metadata"])


def load(kind, session):
    return kind.read().session(session).load("m")


@pytest.fixture
def store(monkeypatch):
    """Folders in memory."""
    monkeypatch.setattr(storage, "PAUSES", ())
    return Store()


@each
def test_a_given_model_survives(case, store):
    """With its numbers to the last bit, in the metadata alone."""
    fitted = learned(case.model()._set(**case.choices[1]), ROWS, *NAMES)
    given = case.model.of(inputCols=NAMES, **case.numbers(fitted), **case.choices[1])
    metadata = save(given, store)
    again = load(case.model, store)

    assert {*store.folders} == {"m/metadata", "m/metadata.next"}
    assert metadata["given"] == {name: values.tolist() for name, values in case.numbers(fitted).items()}
    assert again.uid == given.uid
    same_map(again, fitted)
    assert again.count == 0
    with pytest.raises(ParamError, match="was given its numbers"):
        again.statistics  # noqa: B018
    inverse = given.inverse()
    save(inverse, store)
    assert load(InverseModel, store).toSQL() == inverse.toSQL()


def test_what_was_not_given_stays_so(store):
    """Standard has one of two numbers."""
    save(StandardScalerModel.of(inputCol="x", std=0.1), store)
    again = load(StandardScalerModel, store)

    assert again.std[0] == 0.1
    assert np.isnan(again.mean[0])


def test_given_and_fitted_models_replace_each_other(store):
    """At one path: the statistics of a fitted one go with it."""
    fitted = learned(MaxAbsScalerModel(), ROWS, *NAMES)
    given = MaxAbsScalerModel.of(inputCols=NAMES, maxAbs=[1, 2, 3])
    for model in (given, fitted, given, fitted):
        save(model, store)
        assert load(MaxAbsScalerModel, store).affine == model.affine
    save(given, store)
    assert {*store.folders} == {"m/metadata", "m/metadata.next"}


@pytest.mark.core
def test_a_given_model_is_saved_by_spark(spark, tmp_path):
    """On its file system."""
    model = BatchNormModel.of(
        inputCol="i", runningMean=[0.485, 1 / 3], runningVar=[1e-300, 3], shape=[2, 2], beta=[1.0, 2.0]
    )
    model.save(str(tmp_path / "m"))

    again = BatchNormModel.load(str(tmp_path / "m"))
    assert again.affine == model.affine
    assert again.runningVar == model.runningVar


DAMAGE = {
    "none": lambda m: m.pop("given"),
    "no numbers": lambda m: m.update(given=None),
    "no lists": lambda m: m["given"].update(originalMax=1.0),
    "nothing": lambda m: m.update(given={}),
    "one missing": lambda m: m["given"].pop("originalMax"),
    "one too many": lambda m: m["given"].update(mean=[0.0, 0.0, 0.0]),
    "text": lambda m: m["given"].update(originalMin=["0", 0.0, 0.0]),
    "truth": lambda m: m["given"].update(originalMin=[False, 0.0, 0.0]),
    "null": lambda m: m["given"].update(originalMin=[None, 0.0, 0.0]),
    "NaN": lambda m: m["given"].update(originalMin=[NAN, 0.0, 0.0]),
    "order": lambda m: m["given"].update(originalMin=[9.0, 0.0, 0.0]),
    "lengths": lambda m: m["given"].update(originalMin=[0.0, 0.0]),
    "features": lambda m: m.update(given={"originalMin": [0.0], "originalMax": [1.0]}),
    "columns": lambda m: m["columns"].pop(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_numbers_are_refused(store, damage):
    """By the checksum, and under a right one by what they are."""
    model = MinMaxScalerModel.of(inputCols=["x", "y", "z"], originalMin=[0, 0, 0], originalMax=[1, 2, 3])
    metadata = save(model, store)
    store.folders.pop("m/metadata.next")
    DAMAGE[damage](metadata)
    for right in (False, True):
        if right:
            metadata["checksum"] = storage.checksum(metadata)
        store.folders["m/metadata"] = json.dumps(metadata)
        with pytest.raises(PersistenceError, match="the metadata is not what" if right else "changed or damaged"):
            load(MinMaxScalerModel, store)


def test_only_models_that_are_given_numbers_load_them(store):
    """Not those that need more than numbers of each feature."""
    metadata = save(learned(WhitenerModel(), ROWS, *NAMES), store)
    metadata["given"] = {"mean": [0.0, 0.0, 0.0]}
    metadata["checksum"] = storage.checksum(metadata)
    store.folders = {"m/metadata": json.dumps(metadata)}

    with pytest.raises(PersistenceError, match="given has mean"):
        load(WhitenerModel, store)


def test_batch_norm_says_what_it_was_made_from(store):
    """A folder of statistics, or numbers: what the metadata say must be there."""
    metadata = save(BatchNormModel.of(inputCol="x", runningMean=0, runningVar=1), store)
    metadata["statistic"] = "Moments"
    metadata["checksum"] = storage.checksum(metadata)
    store.folders = {"m/metadata": json.dumps(metadata)}

    with pytest.raises(PersistenceError, match="data is None"):
        load(BatchNormModel, store)
