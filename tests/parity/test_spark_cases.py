"""The cases of Spark's own suites, and edge cases of Spark's semantics, on our classes.

``DIFFERENT`` names the cases in which we differ from Spark on purpose, with what happens here instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Transformer
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

import sparkscale
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.errors import EmptyDataError, ParamError, RangeOverflowError, SizeMismatchError
from sparkscale.statistics import Extrema, Moments, Statistic

CASES = json.loads((Path(__file__).parents[1] / "cases" / "spark_cases.json").read_text())["cases"]
NOT_HERE = {"RobustScaler", "RobustScalerModel"}


def number(value: Any) -> float:
    return float(value)  # float("NaN") and float("Infinity") are what the file says


def vector(row: Any) -> Any:
    if row is None:
        return None
    if isinstance(row, dict):
        return SparseVector(row["size"], row["indices"], [number(v) for v in row["values"]])
    return Vectors.dense([number(v) for v in row])


def vectors(spark: SparkSession, rows: list[Any], partitions: list[list[int]] | None = None) -> DataFrame:
    schema = StructType([StructField("features", VectorUDT())])
    return spark.createDataFrame([(vector(row),) for row in rows], schema)


def classes_of(case: dict[str, Any]) -> list[str]:
    return [name for name in case["class"].split("|") if name not in NOT_HERE]


def stage(name: str, params: dict[str, Any]) -> Any:
    made = getattr(sparkscale, name)()
    for param, value in params.items():
        getattr(made, f"set{param[0].upper()}{param[1:]}")(value)
    return made


def scaler(name: str, case: dict[str, Any]) -> Any:
    return stage(name, case["params"]).setInputCol("features").setOutputCol("scaled")


def fitted(made: Any, df: DataFrame) -> Any:
    return made if isinstance(made, Transformer) else made.fit(df)


def assert_close(expected: Any, actual: Any, tol: float | None) -> None:
    """Equal to the absolute tolerance of Spark's suite, or nearly to the last bit where it gives none."""
    expected = np.array([number(v) for v in expected])
    if tol == 0:
        np.testing.assert_array_equal(actual, expected)
    elif tol is None:
        np.testing.assert_allclose(actual, expected, rtol=4e-16 * 4)
    else:
        np.testing.assert_allclose(actual, expected, atol=tol, rtol=0)


# --- which case runs where -------------------------------------------------------------------------------------

RAISES = {
    "MinMaxScaler arguments max must be larger than min (a)": ParamError,
    "empty data set": EmptyDataError,
    "zero-length vector": EmptyDataError,
    "p<1": ParamError,
}
DIFFERENT = {
    "overflowing norm",
    "underflowing norm",
    "NaN",
    "range overflow",
    "all-NaN column",
    "rounding at the top 2",
    "variance overflow",
    "null row in fit",
    "null row in transform",
    "wrong size in transform",
    "wrong size in transform, longer",
    "wrong size in transform, shorter",
}


def numbered(wanted: Any) -> list[Any]:
    """Return (case, class) of the wanted cases, by name."""
    return [
        pytest.param(case, name, id=f"{case['case']}-{name}")
        for case in CASES
        for name in classes_of(case)
        if wanted(case, name)
    ]


def is_scaler(case: dict[str, Any], name: str) -> bool:
    return name != "Summarizer" and "kind" not in case and case["case"] not in DIFFERENT


TRANSFORMED = numbered(lambda c, n: is_scaler(c, n) and "raises" not in c)
RAISED = numbered(lambda c, n: is_scaler(c, n) and "raises" in c)
SAVED = numbered(lambda c, n: c.get("kind") == "persistence")
SUMMARIZED = numbered(lambda c, n: n == "Summarizer")


def test_every_case_is_run() -> None:
    """All cases of the classes that are here run as they are, or are listed as different."""
    run = len(TRANSFORMED) + len(RAISED) + len(SAVED) + len(SUMMARIZED)
    different = [name for case in CASES for name in classes_of(case) if case["case"] in DIFFERENT]

    assert 81 == len(CASES)
    assert sum(len(classes_of(case)) for case in CASES) == run + len(different)
    assert not NOT_HERE & set(sparkscale.__all__)
    assert {p.values[0]["case"] for p in RAISED} == set(RAISES)


# --- as in Spark -----------------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize(("case", "name"), TRANSFORMED)
def test_fit_and_transform(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Model attributes and transformed rows are those of Spark's class."""
    model = fitted(scaler(name, case), vectors(spark, case["input"]))
    for attribute, expected in case.get("model", {}).items():
        assert_close(expected, getattr(model, attribute).toArray(), case.get("tol"))

    found = transformed(spark, model, case.get("transform_input", case["input"]))

    expected = case["expected"]
    rows = expected.items() if isinstance(expected, dict) else enumerate(expected)
    for i, row in rows:
        assert_close(vector(row).toArray(), found[int(i)].toArray(), case.get("tol"))
        if "stays sparse" in case.get("note", ""):
            assert isinstance(found[int(i)], SparseVector)
        if "output dense" in case.get("note", ""):
            assert isinstance(found[int(i)], DenseVector)


@pytest.mark.core
@pytest.mark.parametrize(("case", "name"), RAISED)
def test_errors(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Where Spark fails on the arguments or the data, so do we, by an error of our own."""
    with pytest.raises(RAISES[case["case"]]):
        df = vectors(spark, case["input"])
        fitted(scaler(name, case), df).transform(df)


LEARNED = {  # rows from which a scaler learns the given attributes
    "MinMaxScalerModel": lambda m: [m["originalMin"], m["originalMax"]],
    "MaxAbsScalerModel": lambda m: [m["maxAbs"], [-0.5 * v for v in m["maxAbs"]]],
    "StandardScalerModel": lambda m: [
        [mean + k * std for mean, std in zip(m["mean"], m["std"], strict=True)] for k in (-1, 0, 1)
    ],
}


@pytest.mark.parametrize(("case", "name"), SAVED)
def test_read_write(spark: SparkSession, case: dict[str, Any], name: str, tmp_path: Path) -> None:
    """Params, and a model's attributes, survive saving and loading."""
    params = {"inputCol": "features", "outputCol": "scaled", **case["params"]}
    path = str(tmp_path / "stage")
    saved = stage(name.removesuffix("Model"), params)
    if name.endswith("Model"):
        rows = vectors(spark, LEARNED[name](case["model"])).withColumnRenamed("features", params["inputCol"])
        saved = saved.fit(rows)
    saved.write().overwrite().save(path)

    loaded = getattr(sparkscale, name).load(path)

    assert saved.uid == loaded.uid
    assert params == {param: loaded.getOrDefault(param) for param in params}
    for attribute, expected in case.get("model", {}).items():
        assert expected == getattr(loaded, attribute).tolist()


# --- summaries -------------------------------------------------------------------------------------------------


def summary(kind: type[Statistic], rows: list[Any], row_weights: list[float] | None, partitions: Any) -> Statistic:
    """Return the statistic of rows: of each partition's dense and sparse rows, merged. Weight 0 does not count."""
    features = len(vector(rows[0]))
    found = [kind.missing(features, 0)]
    for part in partitions or [range(len(rows))]:
        kept = [i for i in part if row_weights is None or row_weights[i] > 0]
        for sparse in (False, True):
            chosen = [i for i in kept if isinstance(rows[i], dict) is sparse]
            weights = None if row_weights is None else np.array([row_weights[i] for i in chosen])
            made = [vector(rows[i]) for i in chosen]
            if not sparse:
                found.append(kind.of(DenseBlock(np.array([v.toArray() for v in made]).reshape(-1, features), weights)))
                continue
            lengths = np.array([len(v.indices) for v in made], dtype=np.int64)
            indices = np.concatenate([v.indices for v in made] or [np.empty(0, dtype=np.int32)])
            values = np.concatenate([v.values for v in made] or [np.empty(0)])
            found.append(kind.of(SparseBlock(features, lengths, indices, values, weights)))
    return found[0].merge(*found[1:])


OURS = {
    "count": (Moments, lambda s: s.count),
    "mean": (Moments, lambda s: s.mean),
    "variance": (Moments, lambda s: s.variance(1)),
    "std": (Moments, lambda s: np.sqrt(s.variance(1))),
    "min": (Extrema, lambda s: s.min),
    "max": (Extrema, lambda s: s.max),
}


@pytest.mark.core
@pytest.mark.parametrize(("case", "name"), [p for p in SUMMARIZED if "raises" not in p.values[0]])
def test_summarizer(case: dict[str, Any], name: str) -> None:
    """Count, mean, variance, standard deviation and extrema are those of Spark's Summarizer, weighted or not."""
    rows, row_weights = case["input"], case["weights"]
    if isinstance(rows, dict):  # one heavy row and many light ones
        repeated, times = rows["then_repeat"]
        rows, row_weights = [*rows["rows"], *[repeated] * times], [row_weights["first"], *[row_weights["rest"]] * times]
    if not rows:
        assert 0 == Moments.of(DenseBlock(np.empty((0, 1)))).count[0]
        return
    checked = 0
    for metric, expected in case["expected"].items():
        if metric == "variance_at_least":
            assert np.all(summary(Moments, rows, row_weights, case.get("partitions")).variance(1) >= expected)
            checked += 1
        elif metric in OURS:
            kind, finish = OURS[metric]
            actual = finish(summary(kind, rows, row_weights, case.get("partitions")))
            expected = np.broadcast_to(expected, actual.shape)
            assert_close(expected, actual, case.get("tol"))
            checked += 1
    assert checked


@pytest.mark.parametrize(("case", "name"), [p for p in SUMMARIZED if "raises" in p.values[0]])
def test_summarizer_mismatch(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Vectors of different sizes are refused, within a partition and across."""
    df = vectors(spark, case["input"])
    sizes = [str(len(vector(row))) for row in case["input"]]

    with pytest.raises(SizeMismatchError, match=" and ".join(sizes)):
        sparkscale.MaxAbsScaler(inputCol="features").fit(df.coalesce(1) if "partitions" not in case else df)


# --- different on purpose --------------------------------------------------------------------------------------


def case_of(name: str) -> dict[str, Any]:
    assert name in DIFFERENT
    return next(case for case in CASES if case["case"] == name)


def transformed(spark: SparkSession, model: Any, rows: list[Any]) -> list[Any]:
    return [row[0] for row in model.transform(vectors(spark, rows)).select("scaled").collect()]


@pytest.mark.parametrize("name", ["range overflow", "variance overflow"])
def test_overflow_is_refused(spark: SparkSession, name: str) -> None:
    """Spark makes a constant or NaN of a range or variance that overflows; here fit says so."""
    case = case_of(name)

    with pytest.raises(RangeOverflowError, match="features_0"):
        scaler(case["class"], case).fit(vectors(spark, case["input"]))


def test_an_all_nan_column_has_no_extrema(spark: SparkSession) -> None:
    """Spark reports the ends of the doubles and maps later values to the middle; here both are NaN."""
    case = case_of("all-NaN column")
    model = scaler(case["class"], case).fit(vectors(spark, case["input"]))

    np.testing.assert_array_equal(model.originalMin.toArray(), [np.nan, 1.0])
    np.testing.assert_array_equal(model.originalMax.toArray(), [np.nan, 3.0])
    found = [v.toArray() for v in transformed(spark, model, case["transform_input"])]
    np.testing.assert_array_equal(found, [[np.nan, 0.0], [np.nan, 1.0], [np.nan, 0.5]])


def test_the_top_of_the_range_is_exact(spark: SparkSession) -> None:
    """Spark misses the upper end by rounding; here it comes out exactly in arrays, to the last digit in vectors."""
    case = case_of("rounding at the top 2")
    model = scaler(case["class"], case).fit(vectors(spark, case["input"]))

    assert [[0.9]] == [model.affine.apply(v).tolist() for v in case["transform_input"]]
    assert [[pytest.approx(0.9, rel=3e-16)]] == [v.tolist() for v in transformed(spark, model, case["transform_input"])]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("overflowing norm", [0.5**0.5, 0.5**0.5]),
        ("underflowing norm", [0.5**0.5, 0.5**0.5]),
        ("NaN", [float("nan"), 1.0]),
    ],
)
def test_a_norm_is_of_the_valid_values_and_scaled(spark: SparkSession, name: str, expected: list[float]) -> None:
    """Spark gives zeros, the row itself, or NaN throughout; here such rows are normalized too."""
    case = case_of(name)

    found = transformed(spark, scaler(case["class"], case), case["input"])

    np.testing.assert_allclose(found[0].toArray(), expected, rtol=1e-15)


@pytest.mark.parametrize("name", classes_of(case_of("null row in fit")))
def test_a_null_row_in_fit_is_invalid(spark: SparkSession, name: str) -> None:
    """Spark's job crashes; here a null counts as invalid, and is not learned from."""
    case = case_of("null row in fit")
    model = scaler(name, case).fit(vectors(spark, case["input"]))

    assert [1] == model.invalidCounts
    assert [1.0] == model.statistics.count.tolist()


@pytest.mark.parametrize("name", classes_of(case_of("null row in transform")))
def test_a_null_row_in_transform_stays_null(spark: SparkSession, name: str) -> None:
    """Spark's job crashes; here null stays null."""
    case = case_of("null row in transform")
    model = scaler(name.removesuffix("Model"), case).fit(vectors(spark, [[1.0, 2.0], [3.0, 4.0]]))

    assert [None] == transformed(spark, model, case["input"])


SIZES = [n for n in sorted(DIFFERENT) if n.startswith("wrong size")]


@pytest.mark.parametrize(("case", "name"), [(case_of(s), n) for s in SIZES for n in classes_of(case_of(s))])
def test_a_wrong_size_in_transform_is_refused(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Spark crashes, or lets a shorter vector pass; here the error gives both sizes."""
    model = scaler(name.removesuffix("Model"), case).fit(vectors(spark, [[1.0, 2.0], [3.0, 4.0]]))

    with pytest.raises(Exception, match=f"size {len(case['input'][0])}, but the model was fitted on size 2"):
        transformed(spark, model, case["input"])
