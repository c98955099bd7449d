"""The cases of Spark's own suites, and edge cases of Spark's semantics, on our classes.

``DIFFERENT`` names the cases in which we differ from Spark on purpose, with what happens here instead.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Transformer
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

import sparkscale
from frames import NAN, vector_field, vectors
from models import learned
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.errors import EmptyDataError, ParamError, RangeOverflowError, SizeMismatchError
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Extrema, Moments, Statistic
from store import Store

CASES = json.loads((Path(__file__).parents[1] / "cases" / "spark_cases.json").read_text())["cases"]
for _case in CASES:
    for _rows in ("input", "expected"):  # many features of the same values
        if isinstance(_case.get(_rows), dict) and "repeat_value_per_row" in _case[_rows]:
            _case[_rows] = [[value] * _case[_rows]["dim"] for value in _case[_rows]["repeat_value_per_row"]]
OF_TWO = [[1.0, 2.0], [3.0, 4.0]]  # what the cases of a fitted model are fitted on


def number(value: Any) -> float:
    return float(value)  # float("NaN") and float("Infinity") are what the file says


def vector(row: Any) -> Any:
    if row is None:
        return None
    if isinstance(row, dict):
        return SparseVector(row["size"], row["indices"], [number(v) for v in row["values"]])
    return Vectors.dense([number(v) for v in row])


def features_of(spark: SparkSession, rows: list[Any], size: int | None = None) -> DataFrame:
    """Return the rows as the column ``features``."""
    return vectors(spark, *map(vector, rows), size=size, name="features")


def classes_of(case: dict[str, Any]) -> list[str]:
    return case["class"].split("|")


def stage(name: str, params: dict[str, Any]) -> Any:
    instance = getattr(sparkscale, name)()
    for param, value in params.items():
        getattr(instance, f"set{param[0].upper()}{param[1:]}")(value)
    return instance


def scaler(name: str, case: dict[str, Any]) -> Any:
    return stage(name, case["params"]).setInputCol("features").setOutputCol("scaled")


def fitted(instance: Any, df: DataFrame) -> Any:
    return instance if isinstance(instance, Transformer) else instance.fit(df)


def fitted_on(name: str, params: dict[str, Any], rows: list[list[float]]) -> Any:
    """Return a model as fit on these rows would leave it, without Spark."""
    model = stage(name, params)
    learned(model, rows, FeatureColumn(model.getInputCol(), "vector", size=len(rows[0])))
    model.clear(model.inputCols)
    return model


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
    "all-NaN column, <=1000 features",
    "all-NaN column, >1000 features",
    "rounding at the top 2",
    "variance overflow",
    "variance underflow",
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
WRONG_SIZES = numbered(lambda c, n: c["case"].startswith("wrong size"))
ALONE = {"range overflow", "variance overflow", *(p.values[0]["case"] for p in WRONG_SIZES)}
TOGETHER = TRANSFORMED + numbered(lambda c, n: c["case"] in DIFFERENT - ALONE)


def case_of(name: str) -> dict[str, Any]:
    assert name in DIFFERENT
    return next(case for case in CASES if case["case"] == name)


def test_every_case_is_run() -> None:
    """All cases of the classes that are here run as they are, or are listed as different."""
    run = len(TRANSFORMED) + len(RAISED) + len(SAVED) + len(SUMMARIZED)
    different = [name for case in CASES for name in classes_of(case) if case["case"] in DIFFERENT]

    assert 81 == len(CASES)
    assert sum(len(classes_of(case)) for case in CASES) == run + len(different)
    assert {p.values[0]["case"] for p in RAISED} == set(RAISES)


# --- all cases as columns of one frame ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of a case: the model, which of its features are the case's, and the transformed rows."""

    model: Any
    features: slice
    rows: list[Any]

    def attribute(self, name: str) -> np.ndarray:
        return getattr(self.model, name).toArray()[self.features]


def side_by_side(spark: SparkSession, columns: dict[str, list[Any]], sizes: dict[str, int]) -> DataFrame:
    """Return a column of vectors for each case; the shorter ones end in nulls, which no fit learns from."""
    fields = [vector_field(name, sizes[name]) for name in columns]
    return spark.createDataFrame([*zip_longest(*(map(vector, rows) for rows in columns.values()))], StructType(fields))


@pytest.fixture(scope="module")
def outcomes(spark: SparkSession) -> dict[tuple[str, str], Outcome]:
    """What became of each case and class: a fit and a query for all cases of the same class and Params."""
    cases = {f"c{k}": param.values for k, param in enumerate(TOGETHER)}
    fit_on = {c: OF_TWO if name.endswith("Model") else case["input"] for c, (case, name) in cases.items()}
    transformed = {c: case.get("transform_input", case["input"]) for c, (case, _) in cases.items()}
    sizes = {c: len(vector(rows[0])) for c, rows in fit_on.items()}
    columns_by_stage: dict[tuple[str, str], list[str]] = defaultdict(list)  # columns by class and Params
    for column, (case, name) in cases.items():
        instance = stage(name.removesuffix("Model"), case["params"])
        params = [(p.name, instance.getOrDefault(p)) for p in instance.params if instance.isDefined(p)]
        columns_by_stage[type(instance).__name__, str(params)].append(column)
    df, became = side_by_side(spark, fit_on, sizes), {}
    for (kind, _), columns in columns_by_stage.items():
        model = fitted(stage(kind, cases[columns[0]][0]["params"]).setInputCols(columns), df)
        rows = model.transform(side_by_side(spark, {c: transformed[c] for c in columns}, sizes)).collect()
        start = 0
        for column, out in zip(columns, model.getOutputCols(), strict=True):
            case, name = cases[column]
            features = slice(start, start + sizes[column])
            became[case["case"], name] = Outcome(model, features, [row[out] for row in rows])
            start = features.stop
    return became


# --- as in Spark -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "name"), TRANSFORMED)
def test_fit_and_transform(outcomes: dict[tuple[str, str], Outcome], case: dict[str, Any], name: str) -> None:
    """Model attributes and transformed rows are those of Spark's class."""
    outcome = outcomes[case["case"], name]

    for attribute, expected in case.get("model", {}).items():
        assert_close(expected, outcome.attribute(attribute), case.get("tol"))
    expected = case["expected"]
    rows = expected.items() if isinstance(expected, dict) else enumerate(expected)
    for i, row in rows:
        assert_close(vector(row).toArray(), outcome.rows[int(i)].toArray(), case.get("tol"))
        if "stays sparse" in case.get("note", ""):
            assert isinstance(outcome.rows[int(i)], SparseVector)
        if "output dense" in case.get("note", ""):
            assert isinstance(outcome.rows[int(i)], DenseVector)


@pytest.mark.parametrize(("case", "name"), RAISED)
def test_errors(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Where Spark fails on the arguments or the data, so do we, by an error of our own."""
    df = features_of(spark, case["input"])

    with pytest.raises(RAISES[case["case"]]):
        fitted(scaler(name, case), df).transform(df)


LEARNED = {  # rows from which a scaler learns the given attributes
    "MinMaxScalerModel": lambda m: [m["originalMin"], m["originalMax"]],
    "MaxAbsScalerModel": lambda m: [m["maxAbs"], [-0.5 * v for v in m["maxAbs"]]],
    "RobustScalerModel": lambda m: [
        [median + k * size / 2 for median, size in zip(m["median"], m["range"], strict=True)] for k in range(-2, 3)
    ],
    "StandardScalerModel": lambda m: [
        [mean + k * std for mean, std in zip(m["mean"], m["std"], strict=True)] for k in (-1, 0, 1)
    ],
}


@pytest.mark.parametrize(("case", "name"), SAVED)
def test_read_write(case: dict[str, Any], name: str) -> None:
    """Params, and a model's attributes, survive saving and loading."""
    params = {"inputCol": "features", "outputCol": "scaled", **case["params"]}
    rows = LEARNED[name](case["model"]) if name.endswith("Model") else None
    saved, store = fitted_on(name, params, rows) if rows else stage(name, params), Store()
    saved.write().overwrite().session(store).save("stage")

    loaded = getattr(sparkscale, name).read().session(store).load("stage")

    assert saved.uid == loaded.uid
    assert params == {param: loaded.getOrDefault(param) for param in params}
    for attribute, expected in case.get("model", {}).items():
        assert expected == getattr(loaded, attribute).tolist()


# --- summaries -------------------------------------------------------------------------------------------------


def summary(kind: type[Statistic], rows: list[Any], row_weights: list[float] | None, partitions: Any) -> Statistic:
    """Return the statistic of rows: of each partition's dense and sparse rows, merged. Weight 0 does not count."""
    features = len(vector(rows[0]))
    partials = [kind.missing(features, 0)]
    for partition in partitions or [range(len(rows))]:
        kept = [i for i in partition if row_weights is None or row_weights[i] > 0]
        for sparse in (False, True):
            chosen = [i for i in kept if isinstance(rows[i], dict) is sparse]
            weights = None if row_weights is None else np.array([row_weights[i] for i in chosen])
            chosen_vectors = [vector(rows[i]) for i in chosen]
            if not sparse:
                partials.append(
                    kind.of(DenseBlock(np.array([v.toArray() for v in chosen_vectors]).reshape(-1, features), weights))
                )
                continue
            lengths = np.array([len(v.indices) for v in chosen_vectors], dtype=np.int64)
            indices = np.concatenate([v.indices for v in chosen_vectors] or [np.empty(0, dtype=np.int32)])
            values = np.concatenate([v.values for v in chosen_vectors] or [np.empty(0)])
            partials.append(kind.of(SparseBlock(features, lengths, indices, values, weights)))
    return partials[0].merge(*partials[1:])


OURS = {
    "count": (Moments, lambda s: s.count),
    "mean": (Moments, lambda s: s.mean),
    "variance": (Moments, lambda s: s.variance(1)),
    "std": (Moments, lambda s: np.sqrt(s.variance(1))),
    "min": (Extrema, lambda s: s.min),
    "max": (Extrema, lambda s: s.max),
}


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
            assert_close(np.broadcast_to(expected, actual.shape), actual, case.get("tol"))
            checked += 1
    assert checked


@pytest.mark.parametrize(("case", "name"), [p for p in SUMMARIZED if "raises" in p.values[0]])
def test_summarizer_mismatch(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Vectors of different sizes are refused, within a partition and across."""
    df = features_of(spark, case["input"])
    sizes = [str(len(vector(row))) for row in case["input"]]

    with pytest.raises(SizeMismatchError, match=" and ".join(sizes)):
        sparkscale.MaxAbsScaler(inputCol="features").fit(df.coalesce(1) if "partitions" not in case else df)


# --- different on purpose --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["range overflow", "variance overflow"])
def test_overflow_is_refused(spark: SparkSession, name: str) -> None:
    """Spark makes a constant or NaN of a range or variance that overflows; here fit says so."""
    case = case_of(name)

    with pytest.raises(RangeOverflowError, match="features_0"):
        scaler(case["class"], case).fit(features_of(spark, case["input"], size=1))


def test_tiny_values_are_no_constant(outcomes: dict[tuple[str, str], Outcome]) -> None:
    """Spark's variance of them vanishes, and they map to 0; here they are scaled as any others."""
    rows = outcomes["variance underflow", "StandardScaler"].rows[:2]

    np.testing.assert_allclose([row[0] for row in rows], [-(0.5**0.5), 0.5**0.5], rtol=1e-15)


def test_an_all_nan_column_has_no_extrema(outcomes: dict[tuple[str, str], Outcome]) -> None:
    """Spark reports the ends of the doubles and maps later values to the middle; here both are NaN."""
    outcome = outcomes["all-NaN column", "MinMaxScaler"]

    np.testing.assert_array_equal(outcome.attribute("originalMin"), [NAN, 1.0])
    np.testing.assert_array_equal(outcome.attribute("originalMax"), [NAN, 3.0])
    scaled = [v.toArray() for v in outcome.rows[:3]]
    np.testing.assert_array_equal(scaled, [[NAN, 0.0], [NAN, 1.0], [NAN, 0.5]])


@pytest.mark.parametrize("name", ["all-NaN column, <=1000 features", "all-NaN column, >1000 features"])
def test_an_all_nan_column_has_no_quantiles(outcomes: dict[tuple[str, str], Outcome], name: str) -> None:
    """Spark's fit fails; here they are NaN, as the results are."""
    outcome = outcomes[name, "RobustScaler"]

    assert np.isnan(outcome.attribute("median")).all() and np.isnan(outcome.attribute("range")).all()
    assert np.isnan(outcome.rows[0].toArray()).all()


def test_the_top_of_the_range_is_exact(outcomes: dict[tuple[str, str], Outcome]) -> None:
    """Spark misses the upper end by rounding; here it comes out exactly in arrays, to the last digit in vectors."""
    case = case_of("rounding at the top 2")
    (row,) = case["transform_input"]
    outcome = outcomes[case["case"], "MinMaxScaler"]

    assert outcome.model.affine[outcome.features].apply(row).tolist() == [0.9]
    assert outcome.rows[0].tolist() == [pytest.approx(0.9, rel=3e-16)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("overflowing norm", [0.5**0.5, 0.5**0.5]),
        ("underflowing norm", [0.5**0.5, 0.5**0.5]),
        ("NaN", [NAN, 1.0]),
    ],
)
def test_a_norm_is_of_the_valid_values_and_scaled(
    outcomes: dict[tuple[str, str], Outcome], name: str, expected: list[float]
) -> None:
    """Spark gives zeros, the row itself, or NaN throughout; here such rows are normalized too."""
    normalized = outcomes[name, "Normalizer"].rows[0]

    np.testing.assert_allclose(normalized.toArray(), expected, rtol=1e-15)


@pytest.mark.parametrize("name", classes_of(case_of("null row in fit")))
def test_a_null_row_in_fit_is_invalid(outcomes: dict[tuple[str, str], Outcome], name: str) -> None:
    """Spark's job crashes; here a null counts as invalid, and is not learned from."""
    outcome = outcomes["null row in fit", name]
    nulls = outcome.model.count - 1  # all rows of the frame but the one that is 1.0

    assert nulls >= 1
    assert outcome.model.invalidCounts[outcome.features] == [nulls]
    assert outcome.model.statistics.count[outcome.features].tolist() == [1.0]


@pytest.mark.parametrize("name", classes_of(case_of("null row in transform")))
def test_a_null_row_in_transform_stays_null(outcomes: dict[tuple[str, str], Outcome], name: str) -> None:
    """Spark's job crashes; here null stays null."""
    assert outcomes["null row in transform", name].rows[0] is None


@pytest.mark.parametrize(("case", "name"), WRONG_SIZES)
def test_a_wrong_size_in_transform_is_refused(spark: SparkSession, case: dict[str, Any], name: str) -> None:
    """Spark crashes, or lets a shorter vector pass; here the error gives both sizes."""
    model = fitted_on(name, {"inputCol": "features", **case["params"]}, OF_TWO)

    with pytest.raises(Exception, match=f"size {len(case['input'][0])}, but the model was fitted on size 2"):
        model.transform(features_of(spark, case["input"])).collect()
