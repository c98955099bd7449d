"""Missing values in transform: what they are filled with, and the columns that tell where they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.ml.linalg import DenseVector, SparseVector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import sparkscale
from frames import INF, NAN, frame, rows_of_each, vectors
from models import learned, with_params
from scans import Partitions, fit
from sparkscale import (
    BatchNorm,
    BatchNormModel,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
    StandardScalerModel,
    Winsorizer,
)
from sparkscale.errors import OutputColumnError, ParamError
from sparkscale.spark.columns import FeatureColumn
from store import Store
from strategies import dense

ROWS = [[1.0, -4.0, 0.0], [3.0, -4.0, 0.0], None, [None, NAN, INF], [NAN, INF, 2.0], [5.0, -4.0, 4.0]]
NAMES = ["s0", "s1", "s2", "array", "dense", "sparse", "mixed"]
COLUMNS = {  # beside those of which a fit without Spark knows
    "floats": "cast(array AS array<float>)",
    "single": "float(s0)",
    "whole": "int(if(isnan(s0), NULL, s0))",
    "wholes": "transform(array, x -> int(if(isnan(x) OR x = double('Infinity'), NULL, x)))",
}
FILLING = {
    "mean": StandardScaler(withMean=True, fillInvalid="center"),
    "mean, not subtracted": StandardScaler(fillInvalid="center"),
    "mean, clipped": StandardScaler(fillInvalid="center", clip=[-1.0, 1.25]),
    "number": StandardScaler(withMean=True, fillInvalid=-9.0),
    "middle": MinMaxScaler(fillInvalid="center", min=-1.0, max=3.0),
    "number out of the range": MinMaxScaler(fillInvalid=-1.0, clip=True),
    "zero": MaxAbsScaler(fillInvalid="center"),
    "median": RobustScaler(withCentering=True, fillInvalid="center"),
    "median, clipped": Winsorizer(lower=0.6, fillInvalid="center"),
    "beta": BatchNorm(fillInvalid="center", beta=[7.0]),
}
FILLS = {  # of each of the three features: means 3, -4 and 1.5, of which the second is constant
    "mean": [0.0, 0.0, 0.0],
    "mean, not subtracted": [1.5, 0.0, 1.5 / np.std([0.0, 0.0, 2.0, 4.0], ddof=1)],
    "mean, clipped": [1.25, 0.0, 1.5 / np.std([0.0, 0.0, 2.0, 4.0], ddof=1)],
    "number": [-9.0] * 3,
    "middle": [1.0] * 3,
    "number out of the range": [-1.0] * 3,
    "zero": [0.0] * 3,
    "median": [0.0] * 3,
    "median, clipped": [3.0, -4.0, 2.0],
    "beta": [7.0] * 3,
}


@pytest.fixture(scope="module")
def df(spark):
    """The rows in columns of every kind."""
    return frame(spark, ROWS).selectExpr("*", *(f"{text} AS {name}" for name, text in COLUMNS.items())).coalesce(1)


def fitted(scaler: Any, names: list[str] = NAMES) -> Any:
    return fit(scaler.copy().setInputCols(names), Partitions([ROWS]))


@pytest.fixture(scope="module")
def models():
    """What each scaler learns from the rows."""
    return {name: fitted(scaler) for name, scaler in FILLING.items()}


@pytest.fixture(scope="module")
def filled(df, models):
    """The rows that they make of the rows, under the names of the inputs."""

    def renamed(scaled: DataFrame) -> DataFrame:
        return scaled.select("id", *(F.col(f"{name}_scaled").alias(name) for name in NAMES))

    return rows_of_each({name: renamed(model.transform(df)) for name, model in models.items()})


def numbers(rows: list[Any], *names: str) -> np.ndarray:
    """Return features of three scalars, or of one array or vector, as numbers; null is NaN."""
    cells = [[row[name] for name in names] if len(names) > 1 else row[names[0]] for row in rows]
    return np.array([[NAN] * 3 if cell is None else [NAN if v is None else v for v in cell] for cell in cells])


@pytest.mark.core
@pytest.mark.parametrize("name", FILLING)
def test_null_and_nan_are_filled(models, filled, name):
    """In scalars, elements of arrays and entries of vectors, after the map; null arrays and vectors stay null."""
    matrix = np.array([[NAN] * 3 if row is None else row for row in ROWS], dtype=np.float64)
    model, rows = models[name], filled[name]
    expected = model.affine[:3].apply(matrix)
    if model._bounds():
        expected = np.clip(expected, *(bound[:3] for bound in model._bounds()))
    expected = np.where(np.isnan(matrix), FILLS[name], expected)
    present = [k for k, row in enumerate(ROWS) if row is not None]

    np.testing.assert_allclose(numbers(rows, *NAMES[:3]), expected, rtol=1e-14)
    for column in NAMES[3:]:
        assert rows[2][column] is None, column
        some = [rows[k] for k in present]
        np.testing.assert_allclose(numbers(some, column), expected[present], rtol=1e-14, err_msg=column)


def test_infinity_is_not_filled(filled):
    """Not even where the map of a constant feature makes NaN of it."""
    assert np.isnan(filled["number"][4]["s1"])
    assert np.isnan(filled["number"][4]["array"][1])
    assert filled["number"][3]["s2"] == INF
    assert filled["number out of the range"][3]["s2"] == 1.0


def test_sparse_vectors_stay_sparse(filled):
    """If the map keeps zero; what is not stored is no missing value."""
    assert filled["zero"][3]["sparse"] == SparseVector(3, {0: 0.0, 1: 0.0, 2: INF})
    assert filled["mean, not subtracted"][4]["sparse"].indices.tolist() == [0, 1, 2]
    assert isinstance(filled["mean"][0]["sparse"], DenseVector)


def test_every_type_of_number_is_filled(df):
    """Floats stay floats; whole numbers are null, but never NaN."""
    names = ["single", "whole", "floats", "wholes"]
    columns = [FeatureColumn(n, "array", size=3) if n.endswith("s") else n for n in names]
    rows = [[1.0, 1.0, *[1.0, -4.0, 0.0] * 2], [5.0, 5.0, *[5.0, -4.0, 4.0] * 2]]
    model = learned(StandardScalerModel(), rows, *columns).setFillInvalid(0.5).setAddIndicator(True)
    scaled = model.transform(df)
    selected = [f"{n}_{end}" for end in ("scaled", "missing") for n in names]
    cells = [row[1:] for row in sorted(scaled.select("id", *selected).collect())]

    assert [t for n, t in scaled.dtypes if n.endswith("_scaled")] == [
        "float",
        "double",
        "array<float>",
        "array<double>",
    ]
    assert [t for n, t in scaled.dtypes if n.endswith("_missing")] == ["tinyint"] * 2 + ["array<tinyint>"] * 2
    assert cells[2] == (0.5, 0.5, None, None, 1, 1, None, None)
    assert cells[3][:2] == (0.5, 0.5) and cells[3][2][:2] == cells[3][3][:2] == [0.5, 0.5]
    assert (cells[3][2][2], cells[3][3][2]) == (INF, 0.5)
    assert cells[3][4:] == (1, 1, [1, 1, 0], [1, 1, 1])


@pytest.mark.core
def test_indicators_tell_where_values_are_missing(df):
    """One for each input, null where an array or vector is; without a fill as with one, from SQL text as from transform."""
    model = fitted(StandardScaler(addIndicator=True), NAMES)
    texts = model.toSQL()
    indicators = [f"{name}_missing" for name in NAMES]
    scaled = model.transform(df)
    arrays = [f"{texts[name]} AS sql_{name}" for name in indicators[:4]]
    rows = sorted(scaled.selectExpr("id", *indicators, *arrays).collect())

    assert [*texts] == [*(f"{n}_scaled" for n in NAMES), *indicators]
    assert scaled.columns == [*df.columns, *texts]
    for row, values in zip(rows, ROWS, strict=True):
        expected = None if values is None else [int(v is None or np.isnan(v)) for v in values]
        assert [*row[1:4]] == (expected or [1, 1, 1])
        assert [*row[4:8]] == [expected] * 4
        assert row[8:] == row[1:5]


def test_one_vector_has_an_indicator_for_each_input(df):
    """Null arrays become NaN in the vector, and are filled; the indicators of the array and the vector are null."""
    scaler = StandardScaler(outputCol="out", addIndicator=True, withMean=True, fillInvalid="center")
    model = fitted(scaler, ["s0", "array", "sparse"])
    scaled = model.transform(df)
    row = scaled.where("id = 2").first()

    assert scaled.columns[len(df.columns) :] == ["out", "s0_missing", "array_missing", "sparse_missing"]
    assert row["out"] == DenseVector([0.0] * 7)
    assert (row["s0_missing"], row["array_missing"], row["sparse_missing"]) == (1, None, None)
    assert model.toSQL().keys() == {"out", "s0_missing", "array_missing", "sparse_missing"}


@pytest.mark.parametrize("policy", ["skip", "error", "keepNaN"])
def test_indicators_follow_handle_invalid(df, policy):
    """Dropped rows have none; a row that is refused fails, whichever output is read."""
    model = fitted(StandardScaler(addIndicator=True), ["s0", "array", "mixed"]).setHandleInvalid(policy)
    indicators = model.transform(df).select("s0_missing", "array_missing", "mixed_missing")

    if policy == "skip":
        assert [tuple(row) for row in indicators.collect()] == [(0, [0, 0, 0], [0, 0, 0])] * 3
        return
    for name in indicators.columns[1:]:
        with pytest.raises(Exception, match=f"handleInvalid='{policy}' refuses"):
            indicators.select(name).collect()


def test_indicators_check_sizes(spark):
    """As the outputs do."""
    model = learned(StandardScalerModel(), [[1.0, 2.0]], FeatureColumn("v", "vector", size=2)).setAddIndicator(True)

    with pytest.raises(Exception, match="Column 'v' holds a vector of size 3"):
        model.transform(vectors(spark, DenseVector([1.0, 2.0, 3.0]))).select("v_missing").collect()


def test_indicators_take_the_names_of_fields(spark):
    """By the rule that outputs follow, and beside outputs that replace their inputs."""
    nested = spark.createDataFrame([(1.0, (NAN,))], "x double, s struct<`p.q`: double>")
    model = learned(StandardScalerModel(), [[1.0, 2.0]], "x", FeatureColumn("s.`p.q`", "scalar", size=1, nested=True))
    model = with_params(model, addIndicator=True, outputCols=["x", "s.`p.q`"])

    row = model.transform(nested).first()

    assert [*row.asDict()] == ["x", "s", "x_missing", "s.p.q_missing"]
    assert (row["x_missing"], row["s.p.q_missing"]) == (0, 1)


@pytest.mark.parametrize(
    ("columns", "params", "message"),
    [
        (["x", "x_missing"], {}, "'x_missing' already exists. Set addIndicator to False, or drop the column"),
        (["x", "X_MISSING"], {}, "'x_missing' already exists"),
        (["x"], {"outputCol": "x_missing"}, "'x_missing' is named twice"),
    ],
)
def test_names_of_indicators_do_not_clash(spark, columns, params, message):
    """With a column or an output, before any job."""
    clashing = spark.createDataFrame([], ", ".join(f"{name} double" for name in columns))
    scaler = StandardScaler(inputCol="x", addIndicator=True, **params)
    model = with_params(learned(StandardScalerModel().setInputCol("x"), [[1.0]], "x"), addIndicator=True, **params)

    for takes in (scaler.fit, model.transform):
        with pytest.raises(OutputColumnError, match=message):
            takes(clashing)


def test_streams_are_filled_and_have_indicators(spark, tmp_path):
    """Transform is the same."""
    spark.createDataFrame([(1.0, [NAN])], "x double, a array<double>").write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema("x double, a array<double>").parquet(str(tmp_path / "in"))
    model = learned(StandardScalerModel(), [[1.0, 2.0]], "x", FeatureColumn("a", "array", size=1))
    model = with_params(model, addIndicator=True, fillInvalid=3.0)
    query = model.transform(stream).writeStream.format("memory").queryName("filled").trigger(availableNow=True).start()
    query.awaitTermination()

    assert [*spark.table("filled").first()][3:] == [[3.0], 0, [1]]


# --- models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILLING)
def test_the_summary_shows_the_fill(models, name):
    """Only where there is one."""
    table = models[name].summary()

    np.testing.assert_allclose(table["fill"], FILLS[name] * 5)
    assert "fill" not in with_params(models[name], fillInvalid=None).summary()


def test_a_channel_is_filled_by_its_own_center():
    """In all of its places."""
    column = FeatureColumn("a", "array", size=4)
    model = BatchNormModel().setInputCol("a").setShape([2, 2]).setBeta([5.0, 7.0]).setFillInvalid("center")
    model._learn([column], model._statistic_class.of(dense([[1.0, 2.0], [3.0, 4.0]])), skips=False)

    assert model.summary()["fill"].tolist() == [5.0, 7.0]
    assert model._plan().maps[0].fill.tolist() == [5.0, 5.0, 7.0, 7.0]


def test_a_feature_without_a_valid_value_has_no_center():
    """A number fills it all the same."""
    model = learned(StandardScalerModel(), [[NAN, 1.0], [NAN, 3.0]], "x", "y").setFillInvalid("center")

    np.testing.assert_array_equal(model.summary()["fill"], [NAN, 2.0 / np.sqrt(2.0)])
    assert with_params(model, fillInvalid=0.5).summary()["fill"].tolist() == [0.5, 0.5]
    assert model.toSQL()["x_scaled"].endswith("double('NaN'))")


def test_the_inverse_neither_fills_nor_indicates(df, models):
    """It gives the center back, under the names of the inputs alone."""
    model = with_params(models["mean"], addIndicator=True)
    there = model.transform(df).select("id", *(f"{name}_scaled" for name in NAMES))
    back = model.inverseTransform(there)
    row = back.where("id = 3").first()

    assert back.columns == [*there.columns, *NAMES]
    assert (row["s0"], row["array"], row["dense"]) == (3.0, [3.0, -4.0, INF], DenseVector([3.0, -4.0, INF]))


def test_params_are_saved_and_loaded():
    """Of scaler and model, with an infinite bound, too."""
    scaler = StandardScaler(clip=[-INF, 2.0], fillInvalid="center", addIndicator=True, inputCols=["s0", "array"])
    model, store = fit(scaler, Partitions([ROWS])), Store()
    for name, stage in (("scaler", scaler), ("model", model)):
        stage.write().session(store).save(name)
        again = type(stage).read().session(store).load(name)
        assert (again.getClip(), again.getFillInvalid(), again.getAddIndicator()) == ([-INF, 2.0], "center", True)
    assert again.toSQL() == model.toSQL()


@pytest.mark.parametrize("kind", [StandardScaler, MinMaxScaler, MaxAbsScaler, BatchNorm], ids=lambda c: c.__name__)
@pytest.mark.parametrize("value", [NAN, INF, "mean", True, [1.0]], ids=str)
def test_a_fill_is_a_finite_number_or_the_center(kind, value):
    """Nothing else."""
    with pytest.raises(ParamError, match="fillInvalid must be a finite number, 'center' or None"):
        kind(fillInvalid=value)


@pytest.mark.parametrize(
    "value", [[1.0], [1.0, 1.0], [2.0, 1.0], [NAN, 1.0], [0.0, 1.0, 2.0], True, 3.0, "ab"], ids=str
)
def test_a_range_to_clip_to_is_two_numbers(value):
    """The lower first."""
    with pytest.raises(ParamError, match=r"clip must be two numbers, \[low, high\], with low below high, or None. Got"):
        StandardScaler(clip=value)


def test_what_is_set_to_none_is_none_again():
    """By a setter, by setParams and in a copy."""
    scaler = StandardScaler(clip=[0.0, 1.0], fillInvalid=2)
    for unset in (
        scaler.copy().setClip(None).setFillInvalid(None),
        scaler.copy().setParams(clip=None, fillInvalid=None),
    ):
        assert (unset.getClip(), unset.getFillInvalid()) == (None, None)
    assert (scaler.getClip(), scaler.getFillInvalid()) == ([0.0, 1.0], 2.0)


@pytest.mark.parametrize("policy", ["skip", "error", "keepNaN"])
def test_filling_is_for_values_that_are_kept(models, policy):
    """By scaler and model."""
    takers = (
        lambda: fitted(FILLING["mean"].copy().setHandleInvalid(policy)),
        models["mean"].copy().setHandleInvalid(policy).toSQL,
    )
    for takes in takers:
        with pytest.raises(ParamError, match=f"handleInvalid is '{policy}'. Set it to 'keep', or fillInvalid to None"):
            takes()


def test_mini_batches_are_not_filled(df):
    """But normalized, with no indicator."""
    model = fitted(BatchNorm(fillInvalid=0.0, addIndicator=True, batchCol="id", shape=None), ["s0"])

    with pytest.raises(ParamError, match="normalizeBatches does not fill missing values"):
        model.normalizeBatches(df)
    assert model.setFillInvalid(None).normalizeBatches(df).columns == [*df.columns, "s0_scaled"]


def test_scalers_by_matrix_do_not_fill():
    """There is no center of a single feature."""
    kinds = (sparkscale.Whitener, sparkscale.SpectralNorm, sparkscale.ClipByGlobalNorm)

    assert not [kind for kind in kinds if kind().hasParam("fillInvalid") or kind().hasParam("addIndicator")]
