"""Scalers of the whole feature matrix: spectral norm, whitening and the global norm, against NumPy on all the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from frames import INF, NAN, cells, cells_of_each, frame, near, values_of
from scans import Partitions
from scans import fit as fit_without_spark
from sparkscale import ClipByGlobalNorm, InverseModel, SpectralNorm, Whitener, WhitenerModel
from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError, RangeOverflowError, SizeMismatchError
from sparkscale.spark import arrow
from sparkscale.spark.fit import merging, partials, scan
from store import Store
from strategies import assert_same_co_moments
from table import model_of

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "batch_norm_cases.json").read_text("utf-8"))["cases"]
}
D = 4
COLUMNS = {
    "scalars": ["s0", "s1", "s2", "s3"],
    "array": ["array"],
    "single": ["single"],
    "sparse": ["sparse"],
    "mixed": ["mixed"],
    "both": ["s1", "mixed", "s0"],
}


def matrix(rows: int = 40, features: int = D, seed: int = 0) -> np.ndarray:
    """Return correlated features of different spread, some values 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)) @ rng.normal(size=(features, features)) * 2.0 ** np.arange(features) + 3.0
    return np.where(rng.random(x.shape) < 0.2, 0.0, x)


X = matrix()
# Row 3 has a NaN, row 8 a null, row 20 an infinity; the last is null altogether.
HOLES = {3: NAN, 8: None, 20: -INF}
INVALID = (*HOLES, 39)
ROWS = [[*x[:2], HOLES.get(i, x[2]), x[3]] for i, x in enumerate(X[:-1].tolist())]
COMPLETE = np.array([i not in INVALID for i in range(len(X))])
VALID = X[COMPLETE]


@pytest.fixture(scope="module")
def df(spark):
    """The rows as every kind of column, in several partitions, and a last one of one row, null altogether."""
    first, second, last = (frame(spark, rows, D) for rows in (ROWS[:20], ROWS[20:], [None]))
    second, last = (df.withColumn("id", df["id"] + start) for df, start in ((second, 20), (last, 39)))
    return first.union(second).union(last).withColumn("single", F.col("array").cast("array<float>"))


def whitener(columns: str, **params: Any) -> Whitener:
    """Return a whitener of a column, or of several, of which it makes one."""
    names = COLUMNS[columns]
    inputs = {"inputCol": names[0]} if len(names) == 1 else {"inputCols": names, "outputCol": "y"}
    return Whitener(**inputs, **params)


@pytest.fixture(scope="module")
def fitted(df):
    """Give what a whitener learned of columns, of each once."""
    return cache(lambda columns: whitener(columns).fit(df))


def whitened(x: np.ndarray, method: str, epsilon: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the whitening matrix of rows by NumPy alone, and the rows whitened by it."""
    variances, u = np.linalg.eigh(np.cov(x.T) if x.shape[1] > 1 else np.atleast_2d(np.cov(x.T)))
    order = np.argsort(-variances)
    variances, u = variances[order], u[:, order]
    u = u * np.sign(u[np.abs(u).argmax(axis=0), range(len(variances))])
    w = u / np.sqrt(variances + epsilon)
    w = w if method == "pca" else w @ u.T
    return w, (x - x.mean(axis=0)) @ w


def wide(x: np.ndarray, columns: str) -> np.ndarray:
    """Return the matrix that columns make."""
    return x[:, [1, 0, 1, 2, 3, 0]] if columns == "both" else x


# --- spectral norm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["array", "both"])
def test_the_spectral_norm_is_the_largest_singular_value_of_the_complete_rows(df, fitted, columns):
    """As NumPy's SVD of all complete rows has it, for every kind of column; other rows are scaled all the same."""
    model = model_of(SpectralNorm(inputCols=COLUMNS[columns]), fitted(columns))

    assert model.spectralNorm == pytest.approx(np.linalg.svd(wide(VALID, columns))[1][0], rel=1e-13)
    assert (model.count, model.numFeatures) == (len(VALID), wide(VALID, columns).shape[1])
    if columns == "array":
        (row,) = model.transform(df.where("id = 3")).collect()
        assert row.array_scaled[:2] == pytest.approx(list(X[3, :2] / model.spectralNorm))
        assert np.isnan(row.array_scaled[2])


def test_the_worked_case_of_the_spectral_norm():
    """Sigma and the normalized matrix of the cases file."""
    case = CASES["spectral_norm"]
    rows = case["inputs"]["W"]
    model = fit_without_spark(SpectralNorm(inputCol="array"), Partitions([rows], features=len(rows[0])))

    assert model.spectralNorm == pytest.approx(case["expected"]["sigma_exact"], rel=case["rtol"])
    normalized = model.affine.apply(rows).tolist()
    assert normalized == [pytest.approx(row, rel=case["rtol"]) for row in case["expected"]["W_sn_exact"]]


# --- the statistic ---------------------------------------------------------------------------------------------


def test_partial_matrices_are_merged_on_executors(spark, monkeypatch):
    """Tile by tile; the driver collects each tile once, and the sums are the same."""
    rows = (np.arange(40)[:, None] + np.arange(33)) * np.arange(33) % 17.0
    df = spark.range(0, 40, 1, 4).selectExpr("transform(sequence(0, 32), i -> double((id + i) * i % 17)) AS a")
    expected = SpectralNorm(inputCol="a").fit(df).statistics
    collected, original = [], arrow.collect
    monkeypatch.setattr(arrow, "collect", lambda rows: collected.append(original(rows)) or collected[-1])
    monkeypatch.setattr(scan, "_limit", lambda *data: None)
    monkeypatch.setattr(merging, "FAN_IN", 2)
    merged = SpectralNorm(inputCol="a").fit(df).statistics

    assert_same_co_moments(expected, merged, rows)
    assert sorted(row["start"] for row in collected[0] if row["group"] == partials.JOINT) == [0, 32, 32 * 33 + 32]


def test_a_large_mean_costs_no_digits():
    """Co-moments are about the mean: a mean of 1e9 with a spread of 1 loses no digits of the data."""
    x = np.random.default_rng(1).normal(size=(200, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    offset = x + np.array([1e9, -1e9, 0.0])
    partitions = [part.tolist() for part in np.array_split(offset, 5)]
    model = fit_without_spark(Whitener(inputCol="array", method="zca"), Partitions(partitions))

    exact = offset - np.array([1e9, -1e9, 0.0])
    np.testing.assert_allclose(model.statistics.covariance(), np.cov(exact.T), rtol=1e-12)
    np.testing.assert_allclose(model.affine.apply(offset), whitened(exact, "zca")[1], atol=1e-6)


def test_merge_and_update_are_fit_on_all(df, fitted):
    """As for every scaler; what has no complete row changes nothing but the counts."""
    estimator, whole = whitener("mixed"), fitted("mixed")
    every_third = [i % 3 == 0 for i in range(40)]
    one, two = (
        fit_without_spark(
            estimator,
            Partitions([[r for r, t in zip([*ROWS, None], every_third, strict=True) if t is chosen]], features=D),
        )
        for chosen in (True, False)
    )

    for model in (one.merge(two), two.merge(one), one.update(df.where("id % 3 <> 0"))):
        np.testing.assert_allclose(model.affine.apply(X), whole.affine.apply(X), rtol=1e-9, atol=1e-12)
        assert (model.count, model.invalidCounts) == (whole.count, whole.invalidCounts)
    again = whole.update(df.where("id IN (3, 8, 20, 39)"))
    assert again.affine == whole.affine
    assert (again.count, again.invalidCounts) == (whole.count, [1 + 1, 1 + 1, 4 + 4, 1 + 1])


# --- whitening -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class White:
    """A whitener's output: its field, and each row as numbers, by ``id``."""

    model: WhitenerModel
    field: StructField
    rows: dict[int, list[float] | None]


@pytest.fixture(scope="module")
def white(df, fitted):
    """What whiteners make of the frame, by one query."""
    whiteners = {
        "array as y, pca": (Whitener(inputCols=["array"], outputCol="y", method="pca"), "array"),
        "array as y, zca": (Whitener(inputCols=["array"], outputCol="y", method="zca"), "array"),
        "both as y, zca": (whitener("both", method="zca", epsilon=0.5), "both"),
        **{columns: (whitener(columns, method="zca"), columns) for columns in ("array", "mixed", "single", "scalars")},
        "skip": (whitener("scalars", handleInvalid="skip"), "scalars"),
    }
    models = {name: model_of(scaler, fitted(columns)) for name, (scaler, columns) in whiteners.items()}
    frames = {name: model.transform(df.coalesce(1)) for name, model in models.items()}
    fields = {name: frames[name].schema[model._output_names()[0]] for name, model in models.items()}
    numbers = {
        name: F.when(F.col(field.name).isNotNull(), vector_to_array(field.name))
        if isinstance(field.dataType, VectorUDT)
        else F.col(field.name)
        for name, field in fields.items()
    }
    rows = cells_of_each({n: frames[n].select("id", numbers[n].cast("array<double>").alias("y")) for n in frames})
    return {name: White(models[name], fields[name], dict(rows[name])) for name in models}


@pytest.mark.parametrize(("columns", "method"), [("array", "pca"), ("array", "zca"), ("both", "zca")])
def test_whitening_is_what_numpy_makes_of_the_covariance(white, columns, method):
    """The matrix, its signs included, and the white rows, whose covariance is the identity."""
    epsilon = 0.0 if columns == "array" else 0.5
    actual = white[f"{columns} as y, {method}"]
    x = wide(VALID, columns)
    w, y = whitened(x, method, epsilon)

    np.testing.assert_allclose(actual.model.mean.toArray(), x.mean(axis=0), rtol=1e-12)
    if columns == "array":  # of equal features any axes will do
        np.testing.assert_allclose(actual.model.whiteningMatrix.toArray(), w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.cov(y.T), np.eye(D), atol=1e-12)
    assert isinstance(actual.field.dataType, VectorUDT)
    rows = np.array([actual.rows[i] for i in range(len(X))])
    assert np.isnan(rows[~COMPLETE]).all()
    np.testing.assert_allclose(rows[COMPLETE], y, atol=1e-9)


def test_kinds_of_columns_are_whitened_alike(white):
    """An array gives an array, of floats if it is one, a vector a vector, and many columns one vector."""
    outputs = {name: white[name] for name in ("array", "mixed", "single", "scalars")}
    expected = whitened(VALID, "zca")[1]

    kinds = {output.field.name: output.field.dataType.simpleString() for output in outputs.values()}
    assert kinds == {
        "mixed_scaled": "vector",
        "y": "vector",
        "array_scaled": "array<double>",
        "single_scaled": "array<float>",
    }
    attributes = outputs["scalars"].field.metadata["ml_attr"]["attrs"]["numeric"]
    assert [a["name"] for a in attributes] == COLUMNS["scalars"]
    for name, output in outputs.items():
        rows = np.array([output.rows[i] for i in np.flatnonzero(COMPLETE)])
        near(rows, expected, rtol=1e-7, atol=1e-4 if name == "single" else 1e-9)


def test_a_row_with_an_invalid_value_is_nan_as_a_whole(white):
    """A null column stays null; under skip such rows are dropped."""
    for name in ("array", "mixed", "scalars"):
        assert all(np.isnan(white[name].rows[i]).all() and len(white[name].rows[i]) == D for i in HOLES), name
    assert np.isnan(white["scalars"].rows[39]).all()
    assert white["array"].rows[39] is None
    assert white["mixed"].rows[39] is None
    assert sorted(white["skip"].rows) == np.flatnonzero(COMPLETE).tolist()


def test_workers_with_pandas_alone_whiten_alike(df, fitted, monkeypatch):
    """As PySpark before 4.1 does, which has no UDF of Arrow's arrays."""
    model = fitted("array")
    monkeypatch.delattr(F, "arrow_udf", raising=False)
    rows = dict(cells(model.transform(df.coalesce(1)), "id", "array_scaled"))
    expected = np.where(COMPLETE[:, None], model.affine.apply(X), NAN)[:39]

    assert rows.pop(39) is None
    np.testing.assert_allclose([rows[i] for i in range(39)], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("columns", "method"),
    [
        ("array", "pca"),
        ("sparse", "zca"),
        ("scalars", "pca"),
        pytest.param("both", "zca", marks=pytest.mark.core),
    ],
)
def test_inverse_undoes_whitening(df, fitted, columns, method):
    """Every column comes back under its name and in its kind; what fit saw as one direction stays one."""
    names = COLUMNS[columns]
    model = model_of(whitener(columns, method=method), fitted(columns))
    back = model.inverseTransform(model.transform(df).drop(*names))
    rows = values_of(back.where("id NOT IN (3, 8, 20, 39)").coalesce(1), names, D)

    np.testing.assert_allclose(rows, wide(VALID, columns), atol=1e-9 * np.abs(X).max())
    assert [back.schema[n].dataType for n in names] == [df.schema[n].dataType for n in names]
    assert model.inverse().inverse().affine == model.affine


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_a_direction_without_variance(epsilon):
    """At epsilon 0 it becomes 0 and comes back as the mean; with epsilon the inverse is exact."""
    rows = [[2.0, 5.0, i * 1.0] for i in (1, 2, 4)]
    model = fit_without_spark(Whitener(inputCol="array", epsilon=epsilon), Partitions([rows]))
    back = model.inverse().affine.apply(model.affine.apply([3.0, 5.0, 2.0])).tolist()

    assert model.constantFeatures == ["array_0", "array_1"]
    assert back == pytest.approx([2.0 if epsilon == 0 else 3.0, 5.0, 2.0])
    np.testing.assert_allclose(model.affine.apply([[9.0, 9.0, 7 / 3]])[0][1:] == 0, epsilon == 0)


def test_variances_whose_squares_underflow():
    """Refused if all variances are so small; next to larger ones, or a larger epsilon, they count as 0."""
    rows = np.array([[1.0, 2.0, 4.0], [3.0, 1.0, 4.0], [2.0, 2.0, 4.0]])
    small, mixed = (Partitions([(rows * units).tolist()]) for units in (1e-170, [1.0, 1e-170, 1.0]))

    with pytest.raises(RangeOverflowError, match="differ by so little"):
        fit_without_spark(Whitener(inputCol="array"), small)
    for model in (
        fit_without_spark(Whitener(inputCol="array", epsilon=1.0), small),
        fit_without_spark(Whitener(inputCol="array"), mixed),
    ):
        assert model.constantFeatures == ["array_2"]
        assert np.isnan(model.summary()["std"]["array_1"])
    assert model.affine.apply(rows * [1.0, 1e-170, 1.0])[:, 0] == pytest.approx([-1.0, 1.0, 0.0])


def test_one_feature_and_one_row(spark):
    """A scalar is a matrix of one column, with nulls as they were; a single row has no variance."""
    df = spark.createDataFrame([(1.0,), (2.0,), (6.0,), (None,), (NAN,), (INF,)], "s0 double").coalesce(1)
    model = Whitener(inputCol="s0").fit(df)
    of_one_row = fit_without_spark(Whitener(inputCol="s0", outputCol="of_one_row"), Partitions([[[1.0]]], features=1))
    rows = model.inverseTransform(of_one_row.transform(model.transform(df)), outputCol="s0").collect()
    white = [row.s0_scaled for row in rows]
    std = np.std([1.0, 2.0, 6.0], ddof=1)

    assert white[:4] == [pytest.approx((v - 3) / std) for v in (1, 2, 6)] + [None]
    assert np.isnan(white[4:]).all()
    assert rows[0].s0 == pytest.approx(1.0)
    assert rows[0].of_one_row == 0.0
    assert model_of(SpectralNorm(inputCol="s0"), model).spectralNorm == pytest.approx(41**0.5)


def test_without_the_mean(fitted):
    """The same matrix, and nothing subtracted."""
    model = model_of(whitener("array", withMean=False), fitted("array"))

    np.testing.assert_allclose(model.affine.apply(X), X @ model.whiteningMatrix.toArray(), atol=1e-12)
    assert list(model.summary().columns) == ["count", "invalid", "mean", "std", "constant"]


@pytest.mark.parametrize("columns", ["array", "both"])
def test_to_sql_computes_the_map(spark, df, fitted, columns):
    """In plain SQL over a view, vectors being arrays there; forth and back."""
    names, width = COLUMNS[columns], wide(X, columns).shape[1]
    model = model_of(whitener(columns, epsilon=0.1), fitted(columns))
    df = df.coalesce(1).withColumn("mixed", F.when(F.col("mixed").isNotNull(), vector_to_array("mixed")))
    ((name, text),) = model.toSQL().items()
    df.createOrReplaceTempView(f"matrix_{columns}")
    spark.sql(f"SELECT id, {text} AS {name} FROM matrix_{columns}").createOrReplaceTempView(f"white_{columns}")
    back = ", ".join(f"{t} AS {n}" for n, t in model.inverse().toSQL().items())
    rows = values_of(spark.sql(f"SELECT id, {name}, {back} FROM white_{columns}"), [name, *names], D)

    np.testing.assert_allclose(rows[COMPLETE, :width], model.affine.apply(wide(VALID, columns)), atol=1e-12)
    assert np.isnan(rows[~COMPLETE, :width]).all()
    np.testing.assert_allclose(rows[COMPLETE, width:], wide(VALID, columns), atol=1e-9)


def test_a_loaded_model_is_the_saved_one(fitted, tmp_path):
    """Scaler, model and inverse survive, with the matrix that they go on learning with."""
    scaler, store = whitener("both", method="zca", epsilon=0.5), Store()
    model = model_of(scaler, fitted("both"))
    model.save(str(tmp_path / "model"))
    loaded = WhitenerModel.load(str(tmp_path / "model"))
    for name, stage in {"scaler": scaler, "inverse": model.inverse()}.items():
        stage.write().session(store).save(name)

    assert Whitener.read().session(store).load("scaler").explainParams() == scaler.explainParams()
    assert (loaded.uid, repr(loaded)) == (model.uid, repr(model))
    assert loaded.affine == model.affine
    np.testing.assert_equal(loaded.statistics.arrays(), model.statistics.arrays())
    np.testing.assert_equal(loaded.merge(model).statistics.arrays(), model.merge(model).statistics.arrays())
    assert InverseModel.read().session(store).load("inverse").affine == model.affine.inverse()


# --- the global norm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["tensorflow", "torch"])
def test_the_worked_case_of_the_global_norm(formula):
    """Norm and clipped values of the cases file; a larger bound changes nothing."""
    case = CASES["clip_by_global_norm"]
    (first, (second,)), expected = case["inputs"]["tensors"], case["expected"]
    rows = [first, second]
    scaler = ClipByGlobalNorm(inputCols=["s0", "s1"], clipNorm=case["inputs"]["clip_norm"], formula=formula)
    model = fit_without_spark(scaler, Partitions([rows], features=2))
    one, (two,) = expected["tf" if formula == "tensorflow" else "torch"]

    assert model.globalNorm == expected["global_norm"]
    assert model.affine.apply(rows).tolist() == [
        pytest.approx(one, rel=case["rtol"]),
        pytest.approx(two, rel=case["rtol"]),
    ]
    assert model.copy({model.clipNorm: 13.1}).affine.scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_norms_of_values_whose_squares_are_no_doubles(size):
    """Sums are scaled, so that the norm of (3, 4) is 5 in any unit, for any columns and partitions."""
    rows = [[3 * size, 0.0, 0.0], [None, 0.0, -4 * size]]
    for names in (["s0", "s1", "s2"], ["array"], ["sparse"]):
        for partitions in ([rows], [rows[:1], rows[1:]]):
            model = fit_without_spark(ClipByGlobalNorm(inputCols=names, clipNorm=size), Partitions(partitions))

            assert model.globalNorm == pytest.approx(5 * size, rel=1e-15)
            clipped = model.affine.apply([3 * size, 0.0, -4 * size])
            assert clipped == pytest.approx([0.6 * size, 0.0, -0.8 * size], rel=1e-15)


def test_a_global_norm_that_is_no_double_is_refused():
    """Four times the largest value or so."""
    with pytest.raises(RangeOverflowError, match="global norm"):
        fit_without_spark(ClipByGlobalNorm(inputCol="s0"), Partitions([[[1.7e308]] * 2] * 2, features=1))


# --- errors ----------------------------------------------------------------------------------------------------

REFUSED = [
    (Whitener, {"epsilon": -1.0}, "epsilon must be at least 0 and finite. Got -1.0"),
    (Whitener, {"epsilon": NAN}, "epsilon must be"),
    (Whitener, {"method": "cholesky"}, "method must be one of 'pca', 'zca'. Got 'cholesky'"),
    (Whitener, {"inputCol": None, "inputCols": ["x", "a"]}, "Set outputCol"),
    (Whitener, {"inputCol": None, "inputCols": ["x", "a"], "outputCols": ["y", "z"]}, "Set outputCol"),
    (ClipByGlobalNorm, {"clipNorm": 0.0}, "clipNorm must be set, positive and finite. Got 0.0"),
    (ClipByGlobalNorm, {"clipNorm": INF}, "clipNorm must be"),
    (ClipByGlobalNorm, {"formula": "keras"}, "formula must be one of 'tensorflow', 'torch'. Got 'keras'"),
    (SpectralNorm, {"inputCol": "v"}, "4097 features"),
    (Whitener, {"inputCol": "v"}, "4097 features"),
]


@pytest.fixture(scope="module")
def trap(spark):
    """A frame of which no job can be run."""
    x = "CASE WHEN id >= 0 THEN raise_error('a job ran') ELSE 1D END"
    df = spark.range(1).selectExpr(f"{x} AS x", f"array({x}) AS a")
    metadata = {"ml_attr": {"num_attrs": 4097}}
    nothing = F.udf(lambda x: SparseVector(4097, {}), VectorUDT(), useArrow=False)
    return df.withColumn("v", nothing("x")).withMetadata("v", metadata)


@pytest.mark.parametrize(("scaler", "params", "message"), REFUSED)
def test_what_cannot_be_used_is_refused_before_any_job(trap, scaler, params, message):
    """Params, and a matrix that the schema shows to be too large."""
    with pytest.raises(ParamError, match=message.replace(".", r"\.")):
        scaler(**{"inputCol": "x", **params}).fit(trap)


def test_a_matrix_that_only_the_data_show_to_be_too_large(spark):
    """The job that finds out fails with the same words."""
    df = spark.range(3).selectExpr("array_repeat(double(id), 4097) AS a")

    with pytest.raises(ParamError, match="4097 features"):
        SpectralNorm(inputCol="a").fit(df)


@pytest.mark.parametrize("scaler", [SpectralNorm, Whitener], ids=lambda c: c.__name__)
def test_no_complete_row(scaler):
    """Each row lacks something: there is no matrix, and the error names the columns that lack most."""
    rows = [[1.0, None], [None, 2.0], [3.0, NAN]]

    with pytest.raises(EmptyDataError, match=r"every row holds an invalid value.*'s1', 's0'"):
        fit_without_spark(scaler(inputCols=["s0", "s1"], outputCol="z"), Partitions([rows], features=2))


@pytest.mark.parametrize("scaler", [SpectralNorm, Whitener], ids=lambda c: c.__name__)
def test_squares_that_are_no_doubles(scaler):
    """Too large ones are refused by name."""
    rows = [[1.0, 1e200], [2.0, -1e200]]

    with pytest.raises(RangeOverflowError, match="squares of 's1' are"):
        fit_without_spark(scaler(inputCols=["s0", "s1"], outputCol="z"), Partitions([rows], features=2))
    if scaler is SpectralNorm:
        with pytest.raises(RangeOverflowError, match="so small"):
            fit_without_spark(scaler(inputCol="s0"), Partitions([[[1e-300], [2e-300]]], features=1))


def test_whitening_fails_at_wrong_data_by_column_and_value(df, fitted):
    """Another length than fit saw, or an invalid value under handleInvalid='error', in fit and transform."""
    model = fitted("array")

    with pytest.raises(Exception, match=r"SizeMismatchError.*'array'.*length 3"):
        model.transform(df.selectExpr("slice(array, 1, 3) AS array").where("array IS NOT NULL")).collect()
    with pytest.raises(InvalidValueError, match="'mixed' holds"):
        Whitener(inputCol="mixed", handleInvalid="error").fit(df)
    with pytest.raises(Exception, match=r"InvalidValueError.*'array' holds"):
        model.copy({model.handleInvalid: "error"}).transform(df).collect()
    with pytest.raises(SizeMismatchError, match="'array'"):
        Whitener(inputCols=["array", "s0"], outputCol="y").fit(
            df.withColumn("array", F.expr("CASE WHEN id = 5 THEN array(1D) ELSE array END"))
        )


def test_too_many_features_for_sql_text(spark):
    """The text would be megabytes long; transform has no such bound."""
    rows = [[float(i * k) for i in range(1, 301)] for k in range(5)]
    model = fit_without_spark(Whitener(inputCol="array"), Partitions([rows], features=300))

    with pytest.raises(ParamError, match="256 features at most"):
        model.toSQL()
    (row,) = model.transform(spark.createDataFrame([(rows[0],)], "array array<double>")).collect()
    assert row.array_scaled[299] == pytest.approx(0.0, abs=1e-9)
