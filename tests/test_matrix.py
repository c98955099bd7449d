"""Scalers of the whole feature matrix: spectral norm, whitening and the global norm, against NumPy on all the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import functions as F

from sparkscale import ClipByGlobalNorm, InverseModel, SpectralNorm, Whitener, WhitenerModel
from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError, RangeOverflowError, SizeMismatchError
from sparkscale.spark import partials, summarize
from strategies import assert_same_co_moments, frame, names_of, values_of

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "batch_norm_cases.json").read_text("utf-8"))["cases"]
}
NAN, INF = float("nan"), float("inf")
D = 4
COLUMNS = {"scalars": ["s0", "s1", "s2", "s3"], "array": ["array"], "sparse": ["sparse"], "both": ["s1", "mixed", "s0"]}


def matrix(rows: int = 40, features: int = D, seed: int = 0) -> np.ndarray:
    """Return correlated features of different spread, some values 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)) @ rng.normal(size=(features, features)) * 2.0 ** np.arange(features) + 3.0
    return np.where(rng.random(x.shape) < 0.2, 0.0, x)


X = matrix()
# Row 3 has a NaN, row 8 a null, row 20 an infinity; the last is null altogether.
HOLES = {3: NAN, 8: None, 20: -INF}
ROWS = [[*x[:2], HOLES.get(i, x[2]), x[3]] for i, x in enumerate(X[:-1].tolist())]
COMPLETE = np.array([i not in (*HOLES, 39) for i in range(len(X))])
VALID = X[COMPLETE]


@pytest.fixture(scope="module")
def df(spark):
    """The rows as every kind of column, in four partitions, and a last one of one row, null altogether."""
    found = frame(spark, ROWS, D).repartition(4)
    return found.union(frame(spark, [None], D).selectExpr("39L AS id", *found.columns[1:]))


def whitened(x: np.ndarray, method: str, epsilon: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the whitening matrix of rows by NumPy alone, and the rows whitened by it."""
    found, u = np.linalg.eigh(np.cov(x.T) if x.shape[1] > 1 else np.atleast_2d(np.cov(x.T)))
    order = np.argsort(-found)
    found, u = found[order], u[:, order]
    u = u * np.sign(u[np.abs(u).argmax(axis=0), range(len(found))])
    w = u / np.sqrt(found + epsilon)
    w = w if method == "pca" else w @ u.T
    return w, (x - x.mean(axis=0)) @ w


def wide(x: np.ndarray, columns: str) -> np.ndarray:
    """Return the matrix that columns make."""
    return x[:, [1, 0, 1, 2, 3, 0]] if columns == "both" else x


# --- spectral norm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["array", "both"])
def test_the_spectral_norm_is_the_largest_singular_value_of_the_complete_rows(df, columns):
    """As NumPy's SVD of all complete rows has it, for every kind of column; other rows are scaled all the same."""
    model = SpectralNorm(inputCols=COLUMNS[columns]).fit(df)

    assert model.spectralNorm == pytest.approx(np.linalg.svd(wide(VALID, columns))[1][0], rel=1e-13)
    assert (model.count, model.numFeatures) == (len(VALID), wide(VALID, columns).shape[1])
    if columns == "array":
        (row,) = model.transform(df.where("id = 3")).collect()
        assert row.array_scaled[:2] == pytest.approx(list(X[3, :2] / model.spectralNorm))
        assert np.isnan(row.array_scaled[2])


def test_the_worked_case_of_the_spectral_norm(spark):
    """Sigma and the normalized matrix of the cases file."""
    case = CASES["spectral_norm"]
    df = spark.createDataFrame([(row,) for row in case["inputs"]["W"]], "a array<double>").coalesce(1)
    model = SpectralNorm(inputCol="a").fit(df)

    assert model.spectralNorm == pytest.approx(case["expected"]["sigma_exact"], rel=case["rtol"])
    found = [row.a_scaled for row in model.transform(df).collect()]
    assert found == [pytest.approx(row, rel=case["rtol"]) for row in case["expected"]["W_sn_exact"]]


# --- the statistic ---------------------------------------------------------------------------------------------


def test_partial_matrices_are_merged_on_executors(df, monkeypatch):
    """Tile by tile, whatever their size; the driver collects each tile once, and the sums are the same."""
    expected = SpectralNorm(inputCols=COLUMNS["both"]).fit(df).statistics
    collected, original = [], partials.collect
    monkeypatch.setattr(partials, "collect", lambda rows: collected.append(original(rows)) or collected[-1])
    monkeypatch.setattr(summarize, "DRIVER_BYTES", 0)
    monkeypatch.setattr(partials, "FAN_IN", 2)
    monkeypatch.setattr(partials, "TILE", 4)
    found = [SpectralNorm(inputCols=COLUMNS["both"]).fit(df).statistics for _ in range(2)]

    assert_same_co_moments(expected, found[0], wide(VALID, "both"))
    np.testing.assert_equal(found[1].arrays(), found[0].arrays())
    assert sorted(row["start"] for row in collected[0] if row["group"] == 2) == [0, 4, 6 * 4 + 4]


def test_a_large_mean_costs_no_digits(spark):
    """Co-moments are about the mean: 1e9 beside a spread of 1 leaves what the data themselves have."""
    x = np.random.default_rng(1).normal(size=(200, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    offset = x + np.array([1e9, -1e9, 0.0])
    df = spark.createDataFrame([(row,) for row in offset.tolist()], "a array<double>").repartition(5)
    model = Whitener(inputCol="a", method="zca").fit(df)

    exact = offset - np.array([1e9, -1e9, 0.0])
    np.testing.assert_allclose(model.statistics.covariance(), np.cov(exact.T), rtol=1e-12)
    np.testing.assert_allclose(model.affine.apply(offset), whitened(exact, "zca")[1], atol=1e-6)


def test_merge_and_update_are_fit_on_all(df):
    """As for every scaler; what has no complete row changes nothing but the counts."""
    estimator = Whitener(inputCol="mixed")
    one, two = (estimator.fit(df.where(f"id % 3 {sign} 0")) for sign in ("=", "<>"))
    whole, holes = estimator.fit(df), df.where("id IN (3, 8, 20, 39)")

    for found in (one.merge(two), two.merge(one), one.update(df.where("id % 3 <> 0"))):
        np.testing.assert_allclose(found.affine.apply(X), whole.affine.apply(X), rtol=1e-9, atol=1e-12)
        assert (found.count, found.invalidCounts) == (whole.count, whole.invalidCounts)
    again = whole.update(holes)
    assert again.affine == whole.affine
    assert (again.count, again.invalidCounts) == (whole.count, [1 + 1, 1 + 1, 4 + 4, 1 + 1])


# --- whitening -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "method"), [("array", "pca"), ("array", "zca"), ("both", "zca")])
def test_whitening_is_what_numpy_makes_of_the_covariance(df, columns, method):
    """The matrix, its signs included, and the white rows, whose covariance is the identity."""
    epsilon = 0.0 if columns == "array" else 0.5
    model = Whitener(inputCols=COLUMNS[columns], outputCol="y", method=method, epsilon=epsilon).fit(df)
    x = wide(VALID, columns)
    w, y = whitened(x, method, epsilon)

    np.testing.assert_allclose(model.mean.toArray(), x.mean(axis=0), rtol=1e-12)
    if columns == "array":  # of equal features any axes will do
        np.testing.assert_allclose(model.whiteningMatrix.toArray(), w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.cov(y.T), np.eye(D), atol=1e-12)
    found = np.array([row.y.toArray() for row in model.transform(df).orderBy("id").select("y").collect()])
    assert np.isnan(found[~COMPLETE]).all()
    np.testing.assert_allclose(found[COMPLETE], y, atol=1e-9)


def test_kinds_of_columns_are_whitened_alike(df):
    """An array gives an array, of floats if it is one, a vector a vector, and many columns one vector."""
    df = df.withColumn("single", F.col("array").cast("array<float>"))
    outputs = {}
    for names in (["array"], ["mixed"], ["single"], COLUMNS["scalars"]):
        params = {"inputCol": names[0]} if len(names) == 1 else {"inputCols": names, "outputCol": "s_scaled"}
        model = Whitener(**params, method="zca").fit(df)
        name = model._output_names()[0]
        df = model.transform(df)
        outputs[name] = df.schema[name]
    rows = df.where("id NOT IN (3, 8, 20, 39)").orderBy("id").select(*outputs).collect()

    kinds = {name: field.dataType.simpleString() for name, field in outputs.items()}
    assert kinds == {
        "mixed_scaled": "vector",
        "s_scaled": "vector",
        "array_scaled": "array<double>",
        "single_scaled": "array<float>",
    }
    assert [a["name"] for a in outputs["s_scaled"].metadata["ml_attr"]["attrs"]["numeric"]] == COLUMNS["scalars"]
    expected = whitened(VALID, "zca")[1]
    for name in outputs:
        found = np.array([r[name] if isinstance(r[name], list) else r[name].toArray() for r in rows])
        np.testing.assert_allclose(found, expected, atol=1e-4 if name == "single_scaled" else 1e-9)


def test_a_row_with_an_invalid_value_is_nan_as_a_whole(df):
    """A null column stays null; under skip such rows are dropped."""
    names = {"array": "a", "mixed": "v", "s": "y"}
    kept = df.where("id IN (3, 8, 20, 39)").orderBy("id")
    for source, name in names.items():
        inputs = {"inputCols": COLUMNS["scalars"]} if source == "s" else {"inputCol": source}
        model = Whitener(**inputs, outputCol=name).fit(df)
        kept = model.transform(kept)
    rows = kept.collect()
    skipping = model.copy({model.handleInvalid: "skip"}).transform(df)

    assert skipping.count() == len(VALID)
    assert all(np.isnan(row.a).all() and np.isnan(row.v.toArray()).all() for row in rows[:3])
    assert all(np.isnan(row.y.toArray()).all() for row in rows)
    assert rows[3].a is None and rows[3].v is None


def test_workers_with_pandas_alone_whiten_alike(df, monkeypatch):
    """As PySpark before 4.1 does, which has no UDF of Arrow's arrays."""
    model = Whitener(inputCol="array").fit(df)
    monkeypatch.delattr(F, "arrow_udf", raising=False)
    found = {row.id: row.array_scaled for row in model.transform(df).collect()}
    expected = np.where(COMPLETE[:, None], model.affine.apply(X), NAN)[:39]

    assert found.pop(39) is None
    np.testing.assert_allclose([found[i] for i in sorted(found)], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("inputs", "method"), [("array", "pca"), ("sparse", "zca"), ("scalars", "pca"), ("both", "zca")]
)
def test_inverse_undoes_whitening(df, inputs, method):
    """Every column comes back under its name and in its kind; what fit saw as one direction stays one."""
    names = COLUMNS[inputs]
    params = {"inputCol": names[0]} if len(names) == 1 else {"inputCols": names, "outputCol": "y"}
    model = Whitener(**params, method=method).fit(df)
    back = model.inverseTransform(model.transform(df).drop(*names))
    found = values_of(back.where("id NOT IN (3, 8, 20, 39)"), names, D)

    np.testing.assert_allclose(found, wide(VALID, inputs), atol=1e-9 * np.abs(X).max())
    assert [back.schema[n].dataType for n in names] == [df.schema[n].dataType for n in names]
    assert model.inverse().inverse().affine == model.affine


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_a_direction_without_variance(spark, epsilon):
    """At epsilon 0 it becomes 0 and comes back as the mean; with epsilon the inverse is exact."""
    data = [([2.0, 5.0, i * 1.0],) for i in (1, 2, 4)]
    df = spark.createDataFrame(data, "a array<double>").coalesce(1)
    model = Whitener(inputCol="a", epsilon=epsilon).fit(df)
    other = spark.createDataFrame([([3.0, 5.0, 2.0],)], "a array<double>")
    back = model.inverseTransform(model.transform(other)).head().a

    assert model.constantFeatures == ["a_0", "a_1"]
    assert back == pytest.approx([2.0 if epsilon == 0 else 3.0, 5.0, 2.0])
    np.testing.assert_allclose(model.affine.apply([[9.0, 9.0, 7 / 3]])[0][1:] == 0, epsilon == 0)


def test_one_feature_and_one_row(spark):
    """A scalar is a matrix of one column, with nulls as they were; a single row has no variance."""
    df = spark.createDataFrame([(1.0,), (2.0,), (6.0,), (None,), (NAN,), (INF,)], "x double").coalesce(1)
    model = Whitener(inputCol="x").fit(df)
    found = [row.x_scaled for row in model.transform(df).collect()]
    std = np.std([1.0, 2.0, 6.0], ddof=1)

    assert found[:4] == [pytest.approx((v - 3) / std) for v in (1, 2, 6)] + [None]
    assert np.isnan(found[4:]).all()
    assert model.inverseTransform(model.transform(df)).head().x == pytest.approx(1.0)
    assert Whitener(inputCol="x").fit(df.limit(1)).transform(df).head().x_scaled == 0.0
    assert SpectralNorm(inputCol="x").fit(df).spectralNorm == pytest.approx(41**0.5)


def test_without_the_mean(df):
    """The same matrix, and nothing subtracted."""
    model = Whitener(inputCol="array", withMean=False).fit(df)

    np.testing.assert_allclose(model.affine.apply(X), X @ model.whiteningMatrix.toArray(), atol=1e-12)
    assert list(model.summary().columns) == ["count", "invalid", "mean", "std", "constant"]


@pytest.mark.parametrize("inputs", ["array", "both"])
def test_to_sql_computes_the_map(spark, df, inputs):
    """In plain SQL over a view, vectors being arrays there; forth and back."""
    names = COLUMNS[inputs]
    params = {"inputCol": names[0]} if len(names) == 1 else {"inputCols": names, "outputCol": "y"}
    model = Whitener(**params, epsilon=0.1).fit(df)
    df = df.withColumn("mixed", F.when(F.col("mixed").isNotNull(), vector_to_array("mixed")))
    ((name, text),) = model.toSQL().items()
    df.createOrReplaceTempView("matrix")
    forth = spark.sql(f"SELECT id, {text} AS {name} FROM matrix")
    found = values_of(forth, [name], wide(X, inputs).shape[1])
    forth.createOrReplaceTempView("white")
    back = spark.sql(
        "SELECT id, " + ", ".join(f"{t} AS {n}" for n, t in model.inverse().toSQL().items()) + " FROM white"
    )

    np.testing.assert_allclose(found[COMPLETE], model.affine.apply(wide(VALID, inputs)), atol=1e-12)
    assert np.isnan(found[~COMPLETE]).all()
    np.testing.assert_allclose(values_of(back, names, D)[COMPLETE], wide(VALID, inputs), atol=1e-9)


@pytest.mark.core
def test_a_loaded_model_is_the_saved_one(df, tmp_path):
    """Scaler, model and inverse survive, with the matrix that they go on learning with."""
    scaler = Whitener(inputCols=COLUMNS["both"], outputCol="y", method="zca", epsilon=0.5)
    model = scaler.fit(df)
    for name, stage in {"scaler": scaler, "model": model, "inverse": model.inverse()}.items():
        stage.save(str(tmp_path / name))
    loaded = WhitenerModel.load(str(tmp_path / "model"))

    assert Whitener.load(str(tmp_path / "scaler")).explainParams() == scaler.explainParams()
    assert (loaded.uid, repr(loaded)) == (model.uid, repr(model))
    assert loaded.affine == model.affine
    np.testing.assert_equal(loaded.statistics.arrays(), model.statistics.arrays())
    np.testing.assert_equal(loaded.merge(model).statistics.arrays(), model.merge(model).statistics.arrays())
    assert InverseModel.load(str(tmp_path / "inverse")).affine == model.affine.inverse()


# --- the global norm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["tensorflow", "torch"])
def test_the_worked_case_of_the_global_norm(spark, formula):
    """Norm and clipped values of the cases file; a larger bound changes nothing."""
    case = CASES["clip_by_global_norm"]
    (first, (second,)), expected = case["inputs"]["tensors"], case["expected"]
    df = spark.createDataFrame([(*first,), (*second,)], "x double, y double").coalesce(1)
    model = ClipByGlobalNorm(inputCols=["x", "y"], clipNorm=case["inputs"]["clip_norm"], formula=formula).fit(df)
    one, (two,) = expected["tf" if formula == "tensorflow" else "torch"]
    found = [[row.x_scaled, row.y_scaled] for row in model.transform(df).collect()]

    assert model.globalNorm == expected["global_norm"]
    assert found == [pytest.approx(one, rel=case["rtol"]), pytest.approx(two, rel=case["rtol"])]
    assert model.copy({model.clipNorm: 13.1}).affine.scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_norms_of_values_whose_squares_are_no_doubles(spark, size):
    """Sums are scaled, so that 3 and 4 make 5 at any size, whatever the columns and partitions."""
    df = spark.createDataFrame([(3 * size, [0.0, 0.0]), (None, [0.0, -4 * size])], "x double, a array<double>")
    model = ClipByGlobalNorm(inputCols=["x", "a"], clipNorm=size).fit(df.repartition(2))

    assert model.globalNorm == pytest.approx(5 * size, rel=1e-15)
    assert model.affine.apply([3 * size, 0.0, -4 * size]) == pytest.approx([0.6 * size, 0.0, -0.8 * size], rel=1e-15)


def test_a_global_norm_that_is_no_double_is_refused(spark):
    """Four times the largest value or so."""
    df = spark.range(4).select(F.lit(1.7e308).alias("x"))

    with pytest.raises(RangeOverflowError, match="global norm"):
        ClipByGlobalNorm(inputCol="x").fit(df)


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


@pytest.mark.parametrize(("scaler", "params", "message"), REFUSED)
def test_what_cannot_be_used_is_refused_before_any_job(spark, scaler, params, message):
    """Params, and a matrix that the schema shows to be too large."""
    x = "CASE WHEN id >= 0 THEN raise_error('a job ran') ELSE 1D END"
    df = spark.range(1).selectExpr(f"{x} AS x", f"array({x}) AS a")
    metadata = {"ml_attr": {"num_attrs": 4097}}
    nothing = F.udf(lambda x: SparseVector(4097, {}), VectorUDT(), useArrow=False)
    df = df.withColumn("v", nothing("x")).withMetadata("v", metadata)

    with pytest.raises(ParamError, match=message.replace(".", r"\.")):
        scaler(**{"inputCol": "x", **params}).fit(df)


def test_a_matrix_that_only_the_data_show_to_be_too_large(spark):
    """The job that finds out fails with the same words."""
    df = spark.range(3).selectExpr("array_repeat(double(id), 4097) AS a")

    with pytest.raises(ParamError, match="4097 features"):
        SpectralNorm(inputCol="a").fit(df)


@pytest.mark.parametrize("scaler", [SpectralNorm, Whitener], ids=lambda c: c.__name__)
def test_no_complete_row(spark, scaler):
    """Each row lacks something: there is no matrix, and the error names the columns that lack most."""
    df = spark.createDataFrame([(1.0, None), (None, 2.0), (3.0, NAN)], "x double, y double")

    with pytest.raises(EmptyDataError, match="every row holds an invalid value.*'y', 'x'"):
        scaler(inputCols=["x", "y"], outputCol="z").fit(df)


@pytest.mark.parametrize("scaler", [SpectralNorm, Whitener], ids=lambda c: c.__name__)
def test_squares_that_are_no_doubles(spark, scaler):
    """Too large ones are refused by name."""
    df = spark.createDataFrame([(1.0, 1e200), (2.0, -1e200)], "x double, y double")

    with pytest.raises(RangeOverflowError, match="squares of 'y' are"):
        scaler(inputCols=["x", "y"], outputCol="z").fit(df)
    if scaler is SpectralNorm:
        with pytest.raises(RangeOverflowError, match="so small"):
            scaler(inputCol="y").fit(df.selectExpr("1e-300D * x AS y"))


def test_whitening_fails_at_wrong_data_by_column_and_value(df):
    """Another length than fit saw, or an invalid value under handleInvalid='error', in fit and transform."""
    model = Whitener(inputCol="array").fit(df)

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
    df = spark.range(5).selectExpr("transform(sequence(1, 300), i -> double(i * id)) AS a")
    model = Whitener(inputCol="a").fit(df)

    with pytest.raises(ParamError, match="256 features at most"):
        model.toSQL()
    assert model.transform(df).head().a_scaled[299] == pytest.approx(0.0, abs=1e-9)
