"""The laws of all public scalers, over all kinds of columns, on data as bad as data get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from pyspark.ml.functions import vector_to_array
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap
from sparkscale.errors import EmptyDataError, RangeOverflowError
from sparkscale.statistics import CoMoments, Extrema, Moments, Squares, Statistic
from strategies import (
    EPS,
    FEATURES,
    HUGE,
    KINDS,
    LARGEST,
    SUBNORMAL,
    TAME_COLUMNS,
    Row,
    assert_same_co_moments,
    condition,
    exact_moments,
    frame,
    matrix_of,
    mostly,
    names_of,
    rounded,
    tables,
    values_of,
)
from table import COMMON, EVERY_CHOICE, MATRIX, TABLE, Entry, choice_id, public_models, public_scalers

every_scaler = pytest.mark.parametrize("entry", TABLE, ids=lambda e: e.name)
every_choice = pytest.mark.parametrize(
    ("entry", "choice"), EVERY_CHOICE, ids=[f"{e.name}-{choice_id(c)}" for e, c in EVERY_CHOICE]
)
# Scalars alone may be summarised by SQL aggregates, vectors and arrays never are; together they share one scan.
every_form = pytest.mark.parametrize("kinds", [("scalar",), KINDS], ids=["scalars", "all kinds"])

# Rows that each kind of column holds; the first, which is never null, tells an array's length.
DATA: list[Row] = [
    [1.5, -2.0, 0.0],
    [None, 4.0, 0.0],
    None,
    [np.nan, np.inf, 0.0],
    [7.25, 0.0, 0.0],
    [-3.0, 1e-3, 0.0],
]


def few(examples: int) -> Any:
    """Examples are few and are not shrunk, because each runs Spark jobs; a profile with fewer has in proportion."""
    all_examples = settings.get_profile("sparkscale").max_examples
    return settings(
        max_examples=examples * settings.default.max_examples // all_examples,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )


def choices(entry: Entry) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(entry.choices)


def scaler(entry: Entry, kinds: Sequence[str], **params: Any) -> Any:
    return entry.scaler(inputCols=names_of(kinds), **params)


def repeated(matrix: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Return the values of all columns beside each other."""
    return np.tile(matrix, (1, len(kinds)))


def complete(matrix: np.ndarray) -> np.ndarray:
    """Return which rows hold no invalid value."""
    return np.isfinite(matrix).all(axis=1)


def seen(matrix: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """Return the rows that take part in fit."""
    return matrix[complete(matrix)] if params.get("handleInvalid") == "skip" else matrix


def may_overflow(entry: Entry, matrix: np.ndarray, params: dict[str, Any]) -> bool:
    """Whether some exact range or second moment is no double, or too small a one to be divided."""
    width = Fraction(params.get("max", 1.0)) - Fraction(params.get("min", 0.0))
    if entry.statistic is CoMoments:
        largest = np.abs(matrix[complete(matrix)]).max(initial=0.0)
        return bool(largest > 1e150 or 0 < largest < 1e-140)
    if entry.statistic is Squares:
        values = seen(matrix, params)
        return sum(Fraction(v) ** 2 for v in values[np.isfinite(values)].tolist()) * 8 > LARGEST**2
    for column in seen(matrix, params).T:
        valid = [Fraction(v) for v in column[np.isfinite(column)].tolist()]
        if not valid:
            continue
        spread = max(valid) - min(valid)
        if entry.statistic is Moments and exact_moments([float(v) for v in valid])[3] * 4 > LARGEST:
            return True
        if entry.name == "MinMaxScaler":
            subnormal = 0 < spread / width < Fraction(1e-290) and width != 1
            if spread > LARGEST or spread / width > LARGEST or subnormal:
                return True
    return False


def fitted(entry: Entry, estimator: Any, df: Any, matrix: np.ndarray, params: dict[str, Any]) -> Any:
    """Fit; ``None`` where the only other right answer was given, an error that says why."""
    try:
        return estimator.fit(df)
    except RangeOverflowError:
        assert may_overflow(entry, matrix, params)
        event("overflow")
    except EmptyDataError:
        assert not len(seen(matrix, params)) or (entry.statistic is CoMoments and not complete(matrix).any())
        event("no usable row")
    return None


def assert_same_statistic(expected: Statistic, actual: Statistic, matrix: np.ndarray) -> None:
    """Counts and extrema are equal; moments to 1e-12, or to what the condition of the data leaves."""
    for name in ("count", "invalid"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
    if isinstance(expected, Extrema):
        np.testing.assert_array_equal(actual.min, expected.min)
        np.testing.assert_array_equal(actual.max, expected.max)
        if isinstance(expected, Squares):
            np.testing.assert_allclose(actual.norm, expected.norm, rtol=1e-13)
        return
    if isinstance(expected, CoMoments):
        assert_same_co_moments(expected, actual, matrix)
        return
    assert isinstance(expected, Moments) and isinstance(actual, Moments)
    for j, column in enumerate(matrix.T):
        if expected.count[j] == 0:
            continue
        if not np.isfinite(expected.m2[j]):
            assert not np.isfinite(actual.m2[j])
            continue
        size = np.abs(column[np.isfinite(column)]).max()
        std = np.sqrt(expected.variance(0)[j])
        scale = max(abs(expected.mean[j]), std) + SUBNORMAL * 1e3
        assert abs(actual.mean[j] - expected.mean[j]) <= max(1e-12 * scale, 8 * EPS * size) + 4 * SUBNORMAL, column
        allowed = max(1e-12, 32 * EPS * condition(column)) * expected.m2[j]
        assert (
            abs(actual.m2[j] - expected.m2[j])
            <= allowed + len(column) * min(8 * EPS * size, 1e150) ** 2 + SUBNORMAL * 1e3
        )


def assert_same_map(expected: AffineMap, actual: AffineMap, matrix: np.ndarray) -> None:
    """Scales agree to 1e-12, centers to 1e-12 of the larger of themselves and the scale; as conditioned."""
    for j, column in enumerate(matrix.T):
        parts = [(m.center[j], m.scale[j], m.offset[j]) for m in (expected, actual)]
        if np.isnan(parts[0]).any():
            np.testing.assert_array_equal(parts[1], parts[0])
            continue
        (center, scale, offset), (other_center, other_scale, other_offset) = parts
        size = np.abs(column[np.isfinite(column)]).max(initial=0.0)
        tolerance = max(1e-12, 32 * EPS * condition(column))
        assert offset == other_offset
        bound = 1e-12 * max(abs(center), scale if np.isfinite(scale) else 0.0)
        assert abs(center - other_center) <= max(bound, 8 * EPS * size) + SUBNORMAL
        assert scale == other_scale or abs(scale - other_scale) <= tolerance * scale + 16 * EPS * size + SUBNORMAL


# --- the table -------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_every_public_scaler_is_in_the_table() -> None:
    """A scaler that the laws do not run on is not finished."""
    assert public_scalers() == {entry.scaler for entry in TABLE} | set(MATRIX)
    assert public_models() == {entry.model for entry in TABLE} | set(MATRIX.values())


@pytest.mark.core
@every_scaler
def test_every_param_is_in_the_table(spark: SparkSession, entry: Entry) -> None:
    """Each Param of a scaler is set in one of its combinations."""
    expected = {p.name for p in entry.scaler().params} - COMMON - entry.own
    named = {name for choice in entry.choices for name in choice}

    assert expected == named


# --- merge and update ------------------------------------------------------------------------------------------


@pytest.mark.core
@every_scaler
@every_form
@few(5)
@given(data=st.data())
def test_merge_is_fit_on_all(spark: SparkSession, entry: Entry, kinds: Sequence[str], data: st.DataObject) -> None:
    """merge(fit(A), fit(B)) = merge(fit(B), fit(A)) = fit(A union B); the operands stay as they were."""
    params = data.draw(choices(entry)) | {"handleInvalid": data.draw(st.sampled_from(["keep", "keep", "skip"]))}
    a = data.draw(tables(columns=TAME_COLUMNS))
    missing: list[Row] = [[np.nan] * FEATURES, [None] * FEATURES, [np.inf] * FEATURES]
    b = data.draw(st.one_of(tables(columns=TAME_COLUMNS), st.just(missing)))
    estimator = scaler(entry, kinds, **params)
    matrix = repeated(matrix_of(a + b), kinds)

    one, two, both = (fitted(entry, estimator, frame(spark, rows), matrix_of(rows), params) for rows in (a, b, a + b))
    if one is None or two is None or both is None:
        return
    before = {n: v.copy() for n, v in one.statistics.arrays().items()}

    assert_same_statistic(both.statistics, one.merge(two).statistics, seen(matrix, params))
    assert_same_statistic(both.statistics, two.merge(one).statistics, seen(matrix, params))
    assert_same_map(both.affine, one.merge(two).affine, seen(matrix, params))
    np.testing.assert_equal(one.statistics.arrays(), before)


@every_scaler
@every_form
def test_update_is_merge(spark: SparkSession, entry: Entry, kinds: Sequence[str]) -> None:
    """update(B) learns what fit on B would have learned."""
    more: list[Row] = [[9.0, np.nan, 1.0], [-8.0, 2.0, 0.0]]
    estimator = scaler(entry, kinds)
    model = estimator.fit(frame(spark, DATA))
    expected = model.merge(estimator.fit(frame(spark, more)))

    actual = model.update(frame(spark, more))

    np.testing.assert_equal(actual.statistics.arrays(), expected.statistics.arrays())
    assert expected.affine == actual.affine


@every_scaler
@every_form
def test_update_with_nothing_changes_nothing(spark: SparkSession, entry: Entry, kinds: Sequence[str]) -> None:
    """An empty DataFrame, however it is partitioned, leaves every number as it was."""
    model = scaler(entry, kinds).fit(frame(spark, DATA))

    for nothing in (frame(spark, []), frame(spark, DATA).where("id < 0"), frame(spark, []).repartition(3)):
        updated = model.update(nothing)

        np.testing.assert_equal(updated.statistics.arrays(), model.statistics.arrays())
        assert model.affine == updated.affine


# --- fit -------------------------------------------------------------------------------------------------------


@every_scaler
@every_form
@few(6)
@given(data=st.data(), parts=st.sampled_from([1, 2, 7, 13]))
def test_fit_is_the_statistic_of_all_rows(
    spark: SparkSession, entry: Entry, kinds: Sequence[str], data: st.DataObject, parts: int
) -> None:
    """What fit learns is the exact statistic, rounded, whatever the partitions: empty, of one row, or all in one."""
    rows = data.draw(tables())
    params = data.draw(choices(entry))
    matrix = matrix_of(rows)

    model = fitted(entry, scaler(entry, kinds, **params), frame(spark, rows).repartition(parts), matrix, params)
    if model is None:
        return

    wide = repeated(matrix, kinds)
    count = np.isfinite(wide).sum(axis=0).astype(np.float64)
    invalid = len(rows) - count
    if entry.statistic is Extrema:
        low, high = np.where(np.isfinite(wide), wide, np.inf), np.where(np.isfinite(wide), wide, -np.inf)
        expected: Statistic = Extrema(count, invalid, low.min(axis=0), high.max(axis=0))
    elif entry.statistic is Squares:
        low, high = np.where(np.isfinite(wide), wide, np.inf), np.where(np.isfinite(wide), wide, -np.inf)
        expected = Squares(count, invalid, low.min(axis=0), high.max(axis=0), np.zeros_like(count))
        unit = [Fraction(u) for u in expected.unit.tolist()]
        exact = [[(Fraction(v) / u) ** 2 for v in x[np.isfinite(x)].tolist()] for x, u in zip(wide.T, unit)]
        expected = replace(expected, square=np.array([float(sum(x)) for x in exact]))
    elif entry.statistic is CoMoments:
        expected = exact_co_moments(count, invalid, wide)
    else:
        exact = [exact_moments(column) for column in wide.T]
        weight, square, mean, m2 = (np.array([rounded(e[k]) for e in exact]) for k in range(4))
        expected = Moments(count, invalid, weight, square, mean, np.zeros_like(mean), m2)
    assert_same_statistic(expected, model.statistics, wide)


def exact_co_moments(count: np.ndarray, invalid: np.ndarray, matrix: np.ndarray) -> CoMoments:
    """Return the co-moments of the complete rows, rounded only in the end."""
    values = matrix[complete(matrix)]
    columns = [[Fraction(v) for v in column] for column in values.T.tolist()]
    means = [sum(c, Fraction(0)) / max(len(c), 1) for c in columns]
    deviations = [[v - m for v in c] for c, m in zip(columns, means, strict=True)]
    products = [[sum((p * q for p, q in zip(x, y, strict=True)), Fraction(0)) for y in deviations] for x in deviations]
    mean, comoments = np.array([rounded(m) for m in means]), np.array([[rounded(p) for p in row] for row in products])
    return CoMoments(count, invalid, np.full(len(count), float(len(values))), mean, np.zeros_like(mean), comoments)


@pytest.mark.one_world
@every_scaler
@few(6)
@given(rows=tables(columns=(mostly(HUGE),), nulls=False, min_rows=2), data=st.data())
def test_overflow_is_right_or_refused(spark: SparkSession, entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """Huge values are mapped as rational arithmetic maps them, or refused by an error that says so."""
    params = data.draw(choices(entry))
    matrix = matrix_of(rows)

    model = fitted(entry, scaler(entry, KINDS, **params), frame(spark, rows), matrix, params)
    if model is None:
        return

    finite = np.isfinite(repeated(matrix, KINDS))
    found = mapped(model, repeated(matrix, KINDS))[finite]
    assert np.isfinite(found).all()
    if entry.name == "MinMaxScaler":
        low, high = params.get("min", 0.0), params.get("max", 1.0)
        unit = params.get("handleConstant") == "unit"
        assert unit or ((found >= low - 1e-12) & (found <= high + 1e-12)).all()
    elif entry.name == "MaxAbsScaler":
        assert (np.abs(found) <= 1.0).all()


@pytest.mark.one_world
@pytest.mark.core
@every_scaler
@every_form
@few(6)
@given(data=st.data())
def test_partitions_do_not_matter(spark: SparkSession, entry: Entry, kinds: Sequence[str], data: st.DataObject) -> None:
    """Any partitioning gives the same map."""
    rows = data.draw(tables(max_rows=12))
    params = data.draw(choices(entry))
    df = frame(spark, rows)
    estimator = scaler(entry, kinds, **params)

    one = fitted(entry, estimator, df.coalesce(1), matrix_of(rows), params)
    many = fitted(entry, estimator, df.repartition(data.draw(st.integers(2, 13))), matrix_of(rows), params)
    if one is None or many is None:
        return

    assert_same_map(one.affine, many.affine, repeated(matrix_of(rows), kinds))


@pytest.mark.core
@every_scaler
@few(5)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_kinds_agree(spark: SparkSession, entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """The same data as scalars, array, or vectors of any sort have one map, though they come different ways."""
    params = data.draw(choices(entry))
    matrix = matrix_of(rows)
    df = frame(spark, rows)

    scalars = fitted(entry, scaler(entry, ["scalar"], **params), df, matrix, params)
    others = fitted(entry, scaler(entry, KINDS, **params), df, matrix, params)
    if scalars is None or others is None:
        return

    if entry.together:  # as many copies of the matrix beside each other have as many times its squares
        name = "spectralNorm" if entry.statistic is CoMoments else "globalNorm"
        norm, all_norm = (getattr(model, name) for model in (scalars, others))
        assert all_norm == pytest.approx(np.sqrt(len(KINDS)) * norm, rel=1e-12)
        return
    for k in range(len(KINDS)):
        piece = slice(k * FEATURES, (k + 1) * FEATURES)
        assert_same_map(scalars.affine, others.affine[piece], matrix)


@few(5)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_integer_weights_repeat_rows(spark: SparkSession, rows: list[Row], data: st.DataObject) -> None:
    """A scaler with weights learns from a row of weight k what it learns from k rows; weight 0 is no row."""
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    times[0] = max(1, times[0])
    again: list[Row] = [row for row, k in zip(rows, times, strict=True) for _ in range(k)]
    for entry in TABLE:
        if not entry.scaler().hasParam("weightCol"):
            continue
        expected = fitted(entry, scaler(entry, KINDS), frame(spark, again), matrix_of(again), {})
        weighted = frame(spark, rows, row_weights=times)
        population = {"ddof": 0} if entry.scaler().hasParam("ddof") else {}
        actual = fitted(entry, scaler(entry, KINDS, weightCol="w", **population), weighted, matrix_of(again), {})
        if expected is None or actual is None:
            continue
        matrix = repeated(matrix_of(again), KINDS)
        same = expected.copy({expected.getParam(name): value for name, value in population.items()})
        assert_same_map(same.affine, actual.affine, matrix)


# --- transform -------------------------------------------------------------------------------------------------


def mapped(model: Any, matrix: np.ndarray) -> np.ndarray:
    """Return what the model's map, and its clipping, make of rows."""
    values = model.affine.apply(matrix)
    return values if model._bounds() is None else np.clip(values, *model._bounds())


@pytest.mark.core
@every_scaler
@few(5)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_transform_is_the_affine_map(spark: SparkSession, entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """Scalars and arrays map to the very doubles that ``affine.apply`` computes; vectors to within rounding."""
    params = data.draw(choices(entry)) | {"handleInvalid": data.draw(st.sampled_from(["keep", "keep", "skip"]))}
    matrix = matrix_of(rows)
    df = frame(spark, rows)
    model = fitted(entry, scaler(entry, KINDS, **params), df, matrix, params)
    if model is None:
        return

    found = values_of(model.transform(df), model.getOutputCols())

    expected = mapped(model, repeated(seen(matrix, params), KINDS))
    plain, vectors = slice(0, 2 * FEATURES), slice(2 * FEATURES, None)
    np.testing.assert_array_equal(found[:, plain], expected[:, plain])
    # Spark's own vector models multiply by the reciprocal, which rounds once more.
    found, expected = found[:, vectors], expected[:, vectors]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    offset = np.broadcast_to(np.abs(model.affine.offset[vectors]), expected.shape)[finite]
    assert np.all(np.abs(found[finite] - expected[finite]) <= 4 * EPS * (np.abs(expected[finite]) + offset) + SUBNORMAL)


@every_scaler
@few(6)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_to_sql_is_the_affine_map(spark: SparkSession, entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """What ``toSQL`` says computes the map in plain SQL over a view, vectors being arrays there."""
    params = data.draw(choices(entry))
    matrix = matrix_of(rows)
    df = frame(spark, rows)
    model = fitted(entry, scaler(entry, KINDS, **params), df, matrix, params)
    if model is None:
        return
    for kind in ("dense", "sparse", "mixed"):  # vector_to_array does not take null
        df = df.withColumn(kind, F.when(F.col(kind).isNotNull(), vector_to_array(kind)))
    df.createOrReplaceTempView("laws")
    texts = model.toSQL()

    found = spark.sql(f"SELECT id, {', '.join(f'{text} AS {name}' for name, text in texts.items())} FROM laws")

    assert model.getOutputCols() == list(texts)
    np.testing.assert_array_equal(values_of(found, list(texts)), mapped(model, repeated(matrix, KINDS)))


@pytest.mark.core
@every_scaler
@few(5)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_inverse_undoes_transform(spark: SparkSession, entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """Valid values come back under their columns' names, null and NaN stay; a constant comes back as itself."""
    params = data.draw(choices(entry))
    matrix = matrix_of(rows)
    df = frame(spark, rows)
    model = fitted(entry, scaler(entry, KINDS, **params), df, matrix, params)
    if model is None:
        return

    back = model.inverseTransform(model.transform(df).drop(*model.getInputCols()))

    wide, affine = repeated(matrix, KINDS), model.affine
    found = values_of(back, model.getInputCols())
    valid = np.isfinite(wide)
    scale = np.where(np.isfinite(affine.scale), affine.scale, 0.0)
    # A spread whose square is no double counts as none: its feature comes back as its mean.
    underflow = np.where(np.isinf(affine.scale), 1e-150, 0.0)
    allowed = 8 * EPS * (np.abs(affine.offset) * scale + np.abs(affine.center) + np.abs(wide))
    allowed = allowed + underflow + 8 * SUBNORMAL * (1 + scale)
    assert np.all(np.abs(found[valid] - wide[valid]) <= np.broadcast_to(allowed, wide.shape)[valid])
    assert np.isnan(found[np.isnan(wide)]).all()


@every_choice
def test_inverse_of_inverse_is_the_model(spark: SparkSession, entry: Entry, choice: dict[str, Any]) -> None:
    """Inverting twice gives the model, and its map."""
    model = scaler(entry, KINDS, **choice).fit(frame(spark, DATA))
    again = model.inverse().inverse()

    assert (type(again), again.uid, again.toSQL()) == (type(model), model.uid, model.toSQL())
    assert again.statistics is model.statistics
    assert model.affine == model.inverse().affine.inverse()


# --- persistence -----------------------------------------------------------------------------------------------


@pytest.mark.core
@every_choice
def test_a_loaded_model_is_the_saved_one(
    spark: SparkSession, entry: Entry, choice: dict[str, Any], tmp_path: Path
) -> None:
    """uid, Params, repr, map and statistic survive, and the loaded model learns on like the saved one."""
    estimator = scaler(entry, KINDS, **choice)
    model = estimator.fit(frame(spark, DATA))
    model.save(str(tmp_path / "model"))

    loaded = entry.model.load(str(tmp_path / "model"))

    assert model.uid == loaded.uid
    assert repr(model) == repr(loaded)
    assert model.explainParams() == loaded.explainParams()
    assert model.affine == loaded.affine
    np.testing.assert_equal(loaded.statistics.arrays(), model.statistics.arrays())
    assert model.featureNames == loaded.featureNames
    merged, updated = loaded.merge(model), loaded.update(frame(spark, DATA))
    np.testing.assert_equal(merged.statistics.arrays(), model.merge(model).statistics.arrays())
    np.testing.assert_equal(updated.statistics.arrays(), merged.statistics.arrays())


@every_scaler
def test_a_loaded_scaler_is_the_saved_one(spark: SparkSession, entry: Entry, tmp_path: Path) -> None:
    """A scaler that was saved and loaded fits the same model."""
    estimator = scaler(entry, KINDS, **entry.choices[-1])
    estimator.save(str(tmp_path / "scaler"))

    loaded = entry.scaler.load(str(tmp_path / "scaler"))

    assert estimator.uid == loaded.uid
    assert estimator.explainParams() == loaded.explainParams()
    assert estimator.fit(frame(spark, DATA)).affine == loaded.fit(frame(spark, DATA)).affine


@every_scaler
def test_a_loaded_inverse_is_the_saved_one(spark: SparkSession, entry: Entry, tmp_path: Path) -> None:
    """The way back survives as well, with the model that it undoes."""
    inverse = scaler(entry, KINDS, **entry.choices[-1]).fit(frame(spark, DATA)).inverse()
    inverse.save(str(tmp_path / "inverse"))

    loaded = type(inverse).load(str(tmp_path / "inverse"))

    assert inverse.affine == loaded.affine
    assert inverse.uid == loaded.uid
    assert repr(inverse) == repr(loaded)
    assert inverse.forward.affine == loaded.forward.affine
