"""The laws of all public scalers, over all kinds of columns, on data as bad as data get.

What fit learns is tried without Spark, on the batches that Spark would send (``scans.py``); what transform makes is
tried on Spark, all scalers and choices of Params in one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from frames import KINDS, frame, names_of, values_of
from scans import Partitions, batch, fit
from sparkscale import QuantizerModel
from sparkscale.affine import AffineMap
from sparkscale.errors import EmptyDataError, RangeOverflowError
from sparkscale.spark import arrow
from sparkscale.spark.columns import resolve
from sparkscale.spark.fit import aggregates, selection
from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, Squares, Statistic
from store import Store
from strategies import (
    COLUMNS,
    EPS,
    FEATURES,
    HUGE,
    INTEGERS,
    INVALID,
    LARGEST,
    SUBNORMAL,
    TAME_COLUMNS,
    Row,
    assert_same_co_moments,
    condition,
    cuts,
    exact_moments,
    matrix_of,
    mostly,
    rounded,
    tables,
)
from table import COMMON, CURVES, EVERY_CHOICE, MATRIX, TABLE, Entry, choice_id, public_models, public_scalers

every_scaler = pytest.mark.parametrize("entry", TABLE, ids=lambda e: e.name)
every_choice = pytest.mark.parametrize(
    ("entry", "choice"), EVERY_CHOICE, ids=[f"{e.name}-{choice_id(c)}" for e, c in EVERY_CHOICE]
)
# One scaler of each statistic.
OF_STATISTICS = {entry.statistic: entry for entry in reversed(TABLE)}
every_statistic = pytest.mark.parametrize("entry", OF_STATISTICS.values(), ids=lambda e: e.statistic.__name__)
NORMAL = Fraction(np.finfo(np.float64).tiny)  # the smallest double that is not subnormal
WIDE = 12  # features of the frames below: each is an example

# Rows that each kind of column holds; the first, which is never null, tells an array's length.
DATA: list[Row] = [
    [1.5, -2.0, 0.0],
    [None, 4.0, 0.0],
    None,
    [np.nan, np.inf, 0.0],
    [7.25, 0.0, 0.0],
    [-3.0, 1e-3, 0.0],
]
MORE: list[Row] = [[9.0, np.nan, 1.0], [-8.0, 2.0, 0.0]]


def examples(number: int, *, shrink: bool = True) -> Any:
    """So many examples; on Spark they are few, and are not shrunk, because each runs jobs."""
    phases = tuple(Phase) if shrink else (Phase.explicit, Phase.reuse, Phase.generate)
    return settings(max_examples=number, phases=phases)


def choices(entry: Entry) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(entry.choices)


def scaler(entry: Entry, kinds: Sequence[str], features: int = FEATURES, **params: Any) -> Any:
    return entry.scaler(inputCols=names_of(kinds, features), **params)


def repeated(matrix: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Return the values of all columns as one matrix."""
    return np.tile(matrix, (1, len(kinds)))


def complete(matrix: np.ndarray) -> np.ndarray:
    """Return which rows hold no invalid value."""
    return np.isfinite(matrix).all(axis=1)


def present(matrix: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """Return the rows that take part in fit."""
    return matrix[complete(matrix)] if params.get("handleInvalid") == "skip" else matrix


def may_overflow(entry: Entry, matrix: np.ndarray, params: dict[str, Any]) -> bool:
    """Whether some exact range or second moment is no double, or too small a one to be divided."""
    width = Fraction(params.get("max", 1.0)) - Fraction(params.get("min", 0.0))
    if entry.statistic is CoMoments:
        largest = np.abs(matrix[complete(matrix)]).max(initial=0.0)
        return bool(largest > 1e150 or 0 < largest < 1e-140)
    if entry.statistic is Squares:
        values = present(matrix, params)
        return sum(Fraction(v) ** 2 for v in values[np.isfinite(values)].tolist()) * 8 > LARGEST**2
    for column in present(matrix, params).T:
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
        if entry.name == "Quantizer":
            symmetric = params.get("scheme") == "symmetric"
            spread = 2 * max(map(abs, valid)) if symmetric else spread
        least = {"Quantizer": 256 * NORMAL, "RobustScaler": Fraction(1e-290)}.get(entry.name)
        if least and (spread > LARGEST or 0 < spread < least):
            return True
    return False


def learned(
    entry: Entry,
    kinds: Sequence[str],
    rows: Sequence[Sequence[Row]],
    params: dict[str, Any],
    features: int = FEATURES,
    **more: Any,
) -> Any:
    """Fit on partitions; ``None`` where the only other right answer was given, an error that says why."""
    matrix = matrix_of([row for part in rows for row in part], features)
    try:
        return fit(scaler(entry, kinds, features, **params), Partitions(rows, features=features, **more))
    except RangeOverflowError:
        assert may_overflow(entry, matrix, params)
        event("overflow")
    except EmptyDataError:
        assert not len(present(matrix, params)) or (entry.statistic is CoMoments and not complete(matrix).any())
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
        for name in ("zeros", "sizes", "values") if isinstance(expected, Quantiles) else ():
            np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
        return
    if isinstance(expected, CoMoments):
        assert_same_co_moments(expected, actual, matrix)
        return
    assert isinstance(expected, Moments) and isinstance(actual, Moments)
    for j, column in enumerate(matrix.T):
        if expected.count[j] == 0:
            continue
        m2, other = (float(s.m2[j] * s.unit[j] ** 2) for s in (expected, actual))
        if not np.isfinite(m2):
            assert not np.isfinite(other)
            continue
        size = np.abs(column[np.isfinite(column)]).max()
        std = np.sqrt(expected.variance(0)[j])
        scale = max(abs(expected.mean[j]), std) + SUBNORMAL * 1e3
        assert abs(actual.mean[j] - expected.mean[j]) <= max(1e-12 * scale, 8 * EPS * size) + 4 * SUBNORMAL, column
        allowed = max(1e-12, 32 * EPS * condition(column)) * m2
        assert abs(other - m2) <= allowed + len(column) * min(8 * EPS * size, 1e150) ** 2 + SUBNORMAL * 1e3


def assert_same_map(expected: AffineMap, actual: AffineMap, matrix: np.ndarray) -> None:
    """Scales agree to 1e-12, centers to 1e-12 of the larger of themselves and the scale; as conditioned."""
    for j, column in enumerate(matrix.T):
        columns = [(m.center[j], m.scale[j], m.offset[j]) for m in (expected, actual)]
        if np.isnan(columns[0]).any():
            np.testing.assert_array_equal(columns[1], columns[0])
            continue
        (center, scale, offset), (other_center, other_scale, other_offset) = columns
        size = np.abs(column[np.isfinite(column)]).max(initial=0.0)
        tolerance = max(1e-12, 32 * EPS * condition(column))
        assert offset == other_offset
        bound = 1e-12 * max(abs(center), scale if np.isfinite(scale) else 0.0)
        assert abs(center - other_center) <= max(bound, 8 * EPS * size) + SUBNORMAL
        assert scale == other_scale or abs(scale - other_scale) <= tolerance * scale + 16 * EPS * size + SUBNORMAL


# --- the table -------------------------------------------------------------------------------------------------


def test_every_public_scaler_is_in_the_table() -> None:
    """A scaler that the laws do not run on is not finished."""
    assert public_scalers() == {entry.scaler for entry in TABLE} | {*MATRIX, *CURVES}
    assert public_models() == {entry.model for entry in TABLE} | {*MATRIX.values()} | {
        scaler._model for scaler in CURVES
    }


@every_scaler
def test_every_param_is_in_the_table(entry: Entry) -> None:
    """Each Param of a scaler is set in one of its combinations."""
    expected = {p.name for p in entry.scaler().params} - COMMON - entry.own
    named = {name for choice in entry.choices for name in choice}

    assert expected == named


# --- fit, without Spark ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "unsized"])
@pytest.mark.core
def test_batches_are_those_that_a_fit_selects(spark: SparkSession, sized: bool) -> None:
    """What the laws below are fed is what Spark makes of the same rows: all kinds, nulls, weights; of one feature, too."""
    for rows, features in ((DATA, FEATURES), ([[1.5], [None], None, [np.nan], [0.0]], 1)):
        df = frame(spark, rows, features, row_weights=np.linspace(0.5, 2.0, len(rows)))
        if not sized:
            df = df.select(*(F.col(n).alias(n, metadata={}) for n in df.columns))
        names = names_of(("sparse", *KINDS[:-2], "mixed"), features)
        groups = selection.column_groups(resolve(df, names))
        selected = selection.select(df, groups, "keep", resolve(df, ["w"])[0])
        expected = batch([*enumerate(rows)], groups, np.linspace(0.5, 2.0, len(rows)).tolist(), features)

        sent = arrow.collect(selected)

        assert [*sent[0]] == expected.schema.names
        np.testing.assert_equal(sent, [*arrow.iter_rows(expected)])


@every_scaler
@examples(60)
@given(data=st.data())
def test_merge_is_fit_on_all(entry: Entry, data: st.DataObject) -> None:
    """merge(fit(A), fit(B)) = merge(fit(B), fit(A)) = fit(A union B); the operands stay as they were."""
    params = data.draw(choices(entry))
    if "fillInvalid" not in params:
        params = params | {"handleInvalid": data.draw(st.sampled_from(["keep", "keep", "skip"]))}
    kinds = data.draw(st.sampled_from([("scalar",), KINDS]))
    a = data.draw(tables(columns=TAME_COLUMNS))
    missing: list[Row] = [[np.nan] * FEATURES, [None] * FEATURES, [np.inf] * FEATURES]
    b = data.draw(st.one_of(tables(columns=TAME_COLUMNS), st.just(missing)))
    matrix = repeated(matrix_of(a + b), kinds)

    one, two, both = (learned(entry, kinds, data.draw(cuts(rows)), params) for rows in (a, b, a + b))
    if one is None or two is None or both is None:
        return
    before = {n: v.copy() for n, v in one.statistics.arrays().items()}

    assert_same_statistic(both.statistics, one.merge(two).statistics, present(matrix, params))
    assert_same_statistic(both.statistics, two.merge(one).statistics, present(matrix, params))
    assert_same_map(both.affine, one.merge(two).affine, present(matrix, params))
    np.testing.assert_equal(one.statistics.arrays(), before)


@every_scaler
@examples(60)
@given(data=st.data(), sized=st.booleans())
def test_fit_is_the_statistic_of_all_rows(entry: Entry, data: st.DataObject, sized: bool) -> None:
    """fit gives the exact statistic, rounded, for any partitions: empty, of one row, or one in all."""
    rows = data.draw(tables())
    params = data.draw(choices(entry))
    kinds = data.draw(st.sampled_from([("scalar",), KINDS]))

    model = learned(entry, kinds, data.draw(cuts(rows)), params, sized=sized)

    if model is not None:
        wide = repeated(matrix_of(rows), kinds)
        assert_same_statistic(exact_statistic(entry.statistic, wide), model.statistics, wide)


def exact_statistic(kind: type[Statistic], values: np.ndarray) -> Statistic:
    """Return what rational arithmetic makes of rows, rounded only in the end."""
    valid = np.isfinite(values)
    count = valid.sum(axis=0).astype(np.float64)
    invalid = len(values) - count
    low, high = (np.where(valid, values, empty) for empty in (np.inf, -np.inf))
    if kind is Extrema:
        return Extrema(count, invalid, low.min(axis=0), high.max(axis=0))
    if kind is Quantiles:
        kept = [sorted(v for v in column[np.isfinite(column)].tolist() if v) for column in values.T]
        sizes = np.array([[float(len(column))] for column in kept])
        extrema = (count, invalid, low.min(axis=0), high.max(axis=0))
        return Quantiles(*extrema, count - sizes[:, 0], sizes, np.array([v for column in kept for v in column]))
    if kind is Squares:
        squares = Squares(count, invalid, low.min(axis=0), high.max(axis=0), np.zeros_like(count))
        unit = [Fraction(u) for u in squares.unit.tolist()]
        exact = [
            [(Fraction(v) / u) ** 2 for v in x[np.isfinite(x)].tolist()] for x, u in zip(values.T, unit, strict=True)
        ]
        return replace(squares, square=np.array([float(sum(x)) for x in exact]))
    if kind is CoMoments:
        return exact_co_moments(count, invalid, values)
    exact = [exact_moments(column) for column in values.T]
    weight, square, mean, m2 = (np.array([rounded(e[k]) for e in exact]) for k in range(4))
    return Moments(count, invalid, weight, square, mean, np.zeros_like(mean), m2)


def exact_co_moments(count: np.ndarray, invalid: np.ndarray, matrix: np.ndarray) -> CoMoments:
    """Return the co-moments of the complete rows, rounded only in the end."""
    values = matrix[complete(matrix)]
    columns = [[Fraction(v) for v in column] for column in values.T.tolist()]
    means = [sum(c, Fraction(0)) / max(len(c), 1) for c in columns]
    deviations = [[v - m for v in c] for c, m in zip(columns, means, strict=True)]
    products = [[sum((p * q for p, q in zip(x, y, strict=True)), Fraction(0)) for y in deviations] for x in deviations]
    mean, comoments = np.array([rounded(m) for m in means]), np.array([[rounded(p) for p in row] for row in products])
    return CoMoments(count, invalid, np.full(len(count), float(len(values))), mean, np.zeros_like(mean), comoments)


@every_scaler
@examples(60)
@given(rows=tables(columns=(mostly(HUGE),), nulls=False, min_rows=2), data=st.data())
def test_overflow_is_right_or_refused(entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """Huge values are mapped as rational arithmetic maps them, or refused by an error that says so."""
    params = data.draw(choices(entry))

    model = learned(entry, KINDS, data.draw(cuts(rows)), params)
    if model is None:
        return

    values = repeated(matrix_of(rows), KINDS)
    scaled = mapped(model, values)[np.isfinite(values)]
    if entry.name == "RobustScaler":  # values may be further from the median than a double
        _, features = np.nonzero(np.isfinite(values))
        pairs = zip(values[np.isfinite(values)].tolist(), features.tolist(), strict=True)
        distance = [Fraction(v) - Fraction(model.affine.center[j]) for v, j in pairs]
        scale = model.affine.scale[features]
        overflowed = [abs(d) > LARGEST * Fraction(min(s, 1.0)) for d, s in zip(distance, scale, strict=True)]
        scaled = np.where(np.isinf(scaled) & np.array(overflowed, dtype=bool), 0.0, scaled)
    assert np.isfinite(scaled).all()
    if entry.name == "MinMaxScaler":
        low, high = params.get("min", 0.0), params.get("max", 1.0)
        unit = params.get("handleConstant") == "unit"
        assert unit or ((scaled >= low - 1e-12) & (scaled <= high + 1e-12)).all()
    elif entry.name == "MaxAbsScaler":
        assert (np.abs(scaled) <= 1.0).all()


@every_scaler
@examples(60)
@given(data=st.data())
def test_partitions_do_not_matter(entry: Entry, data: st.DataObject) -> None:
    """Any partitioning gives the same map, and the same one to the bit each time."""
    rows = data.draw(tables(max_rows=12))
    params = data.draw(choices(entry))
    partitions = data.draw(cuts(rows))

    one, many, again = (learned(entry, KINDS, torn, params) for torn in ([rows], partitions, partitions))
    if one is None or many is None:
        return

    assert_same_map(one.affine, many.affine, repeated(matrix_of(rows), KINDS))
    np.testing.assert_equal(again.statistics.arrays(), many.statistics.arrays())


@every_scaler
@examples(50)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_kinds_agree(entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """The same data as scalars, array, or vectors of any sort have one map, though they come different ways."""
    params = data.draw(choices(entry))
    partitions = data.draw(cuts(rows))

    scalars, all_kinds = (learned(entry, kinds, partitions, params) for kinds in (("scalar",), KINDS))
    if scalars is None or all_kinds is None:
        return

    if entry.joint:  # with n copies of the columns the sum of squares is n times as large
        name = "spectralNorm" if entry.statistic is CoMoments else "globalNorm"
        norm, all_norm = (getattr(model, name) for model in (scalars, all_kinds))
        assert all_norm == pytest.approx(np.sqrt(len(KINDS)) * norm, rel=1e-12)
        return
    for k in range(len(KINDS)):
        piece = slice(k * FEATURES, (k + 1) * FEATURES)
        assert_same_map(scalars.affine, all_kinds.affine[piece], matrix_of(rows))


WEIGHTED = [entry for entry in TABLE if entry.scaler().hasParam("weightCol")]


@pytest.mark.parametrize("entry", WEIGHTED, ids=lambda e: e.name)
@examples(50)
@given(rows=tables(columns=TAME_COLUMNS), data=st.data())
def test_integer_weights_repeat_rows(entry: Entry, rows: list[Row], data: st.DataObject) -> None:
    """A scaler with weights learns from a row of weight k what it learns from k rows; weight 0 is no row."""
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    times[0] = max(1, times[0])
    again: list[Row] = [row for row, k in zip(rows, times, strict=True) for _ in range(k)]
    weighted = data.draw(cuts([*zip(rows, map(float, times), strict=True)]))
    population = {"ddof": 0} if entry.scaler().hasParam("ddof") else {}

    expected = learned(entry, KINDS, [again], {})
    actual = learned(
        entry,
        KINDS,
        [[row for row, _ in part] for part in weighted],
        {"weightCol": "w", **population},
        weights=[[weight for _, weight in part] for part in weighted],
    )
    if expected is None or actual is None:
        return

    same = expected.copy({expected.getParam(name): value for name, value in population.items()})
    assert_same_map(same.affine, actual.affine, repeated(matrix_of(again), KINDS))


@every_choice
def test_inverse_of_inverse_is_the_model(entry: Entry, choice: dict[str, Any]) -> None:
    """Inverting twice gives the model, and its map."""
    model = learned(entry, KINDS, [DATA], choice)
    again = model.inverse().inverse()

    assert (type(again), again.uid, again.toSQL()) == (type(model), model.uid, model.toSQL())
    assert again.statistics is model.statistics
    assert model.affine == model.inverse().affine.inverse()


# --- fit, on Spark ---------------------------------------------------------------------------------------------


# Sums of these are exact, and their means are not large beside their spread: SQL keeps all digits.
SIXTEENTHS = st.integers(-480, 480).map(lambda k: k / 16)
AGGREGATED = {Extrema: COLUMNS, Moments: (SIXTEENTHS, INTEGERS, mostly(SIXTEENTHS), mostly(INTEGERS), INVALID)}


@pytest.mark.core
@pytest.mark.parametrize("kind", AGGREGATED, ids=lambda k: k.__name__)
@examples(4, shrink=False)
@given(data=st.data(), partitions=st.sampled_from([1, 3, 7]))
def test_aggregates_are_the_statistic_of_all_rows(
    spark: SparkSession, kind: type[Statistic], data: st.DataObject, partitions: int
) -> None:
    """Scalars alone may be summarised in SQL: the exact statistic again."""
    rows = data.draw(tables(min_rows=3, max_rows=12, features=WIDE, columns=AGGREGATED[kind]))
    df = frame(spark, rows, WIDE).repartition(partitions)
    columns = resolve(df, names_of(("scalar",), WIDE))
    values = matrix_of(rows, WIDE)

    statistic = aggregates.summarize(df, columns, kind, handle_invalid="keep")

    assert aggregates.suits(df, columns, kind, "keep")
    assert statistic is not None
    assert_same_statistic(exact_statistic(kind, values), statistic, values)


@pytest.mark.core
@every_statistic
def test_update_is_merge(spark: SparkSession, entry: Entry) -> None:
    """update(B) learns what fit on B would have learned; from nothing, however it is partitioned, nothing."""
    for kinds in (KINDS, ("scalar",)) if entry.statistic.aggregates else (KINDS,):
        model = learned(entry, kinds, [DATA], {})
        expected = model.merge(learned(entry, kinds, [MORE], {}))

        updated = model.update(frame(spark, MORE).coalesce(1))

        if kinds == KINDS:
            np.testing.assert_equal(updated.statistics.arrays(), expected.statistics.arrays())
            assert expected.affine == updated.affine
        else:  # SQL sums in another order
            assert_same_statistic(expected.statistics, updated.statistics, repeated(matrix_of(DATA + MORE), kinds))
            assert_same_map(expected.affine, updated.affine, repeated(matrix_of(DATA + MORE), kinds))
        for nothing in (frame(spark, []).repartition(3), frame(spark, DATA).where("id < 0")):
            unchanged = model.update(nothing)
            np.testing.assert_equal(unchanged.statistics.arrays(), model.statistics.arrays())
            assert model.affine == unchanged.affine


# --- transform -------------------------------------------------------------------------------------------------


def mapped(model: Any, matrix: np.ndarray, absent: Sequence[bool] = ()) -> np.ndarray:
    """Return what the model's map, its clipping and its filling make of rows; arrays and vectors of some are null."""
    values = model.affine.apply(matrix)
    if isinstance(model, QuantizerModel):  # null is NaN here; infinities have codes, also of a constant feature
        code = ~(np.isnan(matrix) | np.isnan(model.affine.center))
        values = np.where(code, np.rint(np.nan_to_num(values, nan=127.0)), np.nan)
    values = values if model._bounds() is None else np.clip(values, *model._bounds())
    fill = model._fill()
    if fill is not None:
        values = np.where(np.isnan(matrix), fill, values)
        values[np.flatnonzero(absent), WIDE:] = np.nan
    return values


def absent(rows: Sequence[Row]) -> list[bool]:
    """Return which rows are null."""
    return [row is None for row in rows]


# Of the vectors in a mixed column every other is sparse.
WIDE_KINDS = ("scalar", "array", "mixed")
WIDE_COLUMNS = names_of(WIDE_KINDS, WIDE)
wide_rows = tables(min_rows=3, features=WIDE, columns=TAME_COLUMNS)
# All choices at once are too many for one query.
each_third = pytest.mark.parametrize(
    "third",
    [
        pytest.param(EVERY_CHOICE[::3], id="first", marks=pytest.mark.core),
        pytest.param(EVERY_CHOICE[1::3], id="second"),
        pytest.param(EVERY_CHOICE[2::3], id="third"),
    ],
)


def models_of(rows: list[Row], choices_of: Sequence[tuple[Entry, dict[str, Any]]]) -> dict[str, Any]:
    """Return models learned from these rows; from their like where these have a range too small to be divided, or gaps."""
    larger: list[Row] = [row and [0.0 if v is not None and abs(v) < 1e-290 else v for v in row] for row in rows]
    filled: list[Row] = [[1.0 if v is None or not np.isfinite(v) else v for v in row] for row in larger if row]
    models = {}
    for entry, choice in choices_of:
        model = None if entry.statistic is CoMoments else learned(entry, WIDE_KINDS, [rows], choice, WIDE)
        alike = filled if entry.statistic is CoMoments else larger
        model = model or learned(entry, WIDE_KINDS, [alike], choice, WIDE)
        assert model is not None
        models[f"{entry.name}, {choice_id(choice)}"] = model
    return models


def collected(frames: Sequence[DataFrame]) -> list[np.ndarray]:
    """Return frames of ``id`` and the columns of the wide frame as numbers, by one query."""
    numbered = [without_vectors(df).withColumn("number", F.lit(float(k))) for k, df in enumerate(frames)]
    values = values_of(reduce(DataFrame.unionByName, numbered), ["number", *WIDE_COLUMNS], WIDE)
    return [values[values[:, 0] == k, 1:] for k in range(len(frames))]


def without_vectors(df: DataFrame) -> DataFrame:
    """Return a frame with arrays in place of vectors; vector_to_array does not take null."""
    if isinstance(df.schema["mixed"].dataType, ArrayType):
        return df
    return df.withColumn("mixed", F.when(F.col("mixed").isNotNull(), vector_to_array("mixed")))


def under_inputs_names(df: DataFrame, names: Sequence[str]) -> DataFrame:
    """Return ``id`` and the named columns, called as the columns of the wide frame."""
    return df.select("id", *(F.col(name).alias(other) for name, other in zip(names, WIDE_COLUMNS, strict=True)))


@each_third
@examples(2, shrink=False)
@given(rows=wide_rows)
def test_transform_is_the_affine_map(spark: SparkSession, third: Any, rows: list[Row]) -> None:
    """Scalars and arrays map to the very doubles that ``affine.apply`` computes; vectors to within rounding.

    Under "skip" rows with an invalid value are left out.
    """
    df, values, models = frame(spark, rows, WIDE), matrix_of(rows, WIDE), models_of(rows, third)
    models |= {f"{n}, skip": m.copy({m.handleInvalid: "skip"}) for n, m in models.items() if n.endswith("defaults")}

    scaled = collected([under_inputs_names(m.transform(df), m.getOutputCols()) for m in models.values()])

    for (name, model), actual in zip(models.items(), scaled, strict=True):
        kept = values[complete(values)] if name.endswith("skip") else values
        expected = mapped(model, repeated(kept, WIDE_KINDS), [] if name.endswith("skip") else absent(rows))
        plain, vectors = slice(0, 2 * WIDE), slice(2 * WIDE, None)
        np.testing.assert_array_equal(actual[:, plain], expected[:, plain], err_msg=name)
        # Spark's own vector models multiply by the reciprocal, which rounds once more.
        close, exact = actual[:, vectors], expected[:, vectors]
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(close[~finite], exact[~finite], err_msg=name)
        offset = np.nan_to_num(np.abs(model.affine.offset[vectors]))  # of what has no map, but is filled
        offset = np.broadcast_to(offset, exact.shape)[finite]
        allowed = 4 * EPS * (np.abs(exact[finite]) + offset) + SUBNORMAL
        assert np.all(np.abs(close[finite] - exact[finite]) <= allowed), name


@examples(3, shrink=False)
@given(rows=wide_rows)
def test_to_sql_is_the_affine_map(spark: SparkSession, rows: list[Row]) -> None:
    """What ``toSQL`` says computes the map in plain SQL over a view, vectors being arrays there."""
    df, models = frame(spark, rows, WIDE), models_of(rows, EVERY_CHOICE)
    without_vectors(df).createOrReplaceTempView("laws")
    texts = {name: model.toSQL() for name, model in models.items()}
    queries = [
        f"SELECT id, {', '.join(f'{sql} AS {n}' for n, sql in text.items())} FROM laws" for text in texts.values()
    ]

    computed = collected([under_inputs_names(spark.sql(q), [*t]) for q, t in zip(queries, texts.values(), strict=True)])

    for (name, model), actual in zip(models.items(), computed, strict=True):
        assert model.getOutputCols() == list(texts[name]), name
        expected = mapped(model, repeated(matrix_of(rows, WIDE), WIDE_KINDS), absent(rows))
        np.testing.assert_array_equal(actual, expected, err_msg=name)


@each_third
@examples(2, shrink=False)
@given(rows=wide_rows)
def test_inverse_undoes_transform(spark: SparkSession, third: Any, rows: list[Row]) -> None:
    """Valid values come back under their columns' names, null and NaN stay; a constant comes back as itself.

    What was clipped or filled comes back as what has that image.
    """
    df, models = frame(spark, rows, WIDE), models_of(rows, third)

    restored = [model.inverseTransform(model.transform(df).drop(*WIDE_COLUMNS)) for model in models.values()]
    values = collected([back.select("id", *WIDE_COLUMNS) for back in restored])

    all_rows = repeated(matrix_of(rows, WIDE), WIDE_KINDS)
    for (name, model), actual in zip(models.items(), values, strict=True):
        affine = model.affine
        scaled = mapped(model, all_rows, absent(rows))
        changed = np.isfinite(scaled) & (scaled != affine.apply(all_rows))
        if "RobustScaler" in name:  # values of a feature with equal quartiles may differ, and collapse to its median
            changed |= np.isinf(affine.scale) & np.isfinite(all_rows)
        wide = np.where(changed, affine.inverse().apply(scaled), all_rows)
        # Divided by a tiny range between quartiles, values may overflow.
        overflowed = np.isinf(scaled) if "RobustScaler" in name else np.zeros_like(wide, dtype=bool)
        valid = np.isfinite(wide) & ~overflowed
        scale = np.where(np.isfinite(affine.scale), affine.scale, 0.0)
        # A spread whose square is no double counts as none: its feature comes back as its mean.
        underflow = np.where(np.isinf(affine.scale), 1e-150, 0.0)
        allowed = 8 * EPS * (np.abs(affine.offset) * scale + np.abs(affine.center) + np.abs(wide))
        allowed = np.broadcast_to(allowed + underflow + 8 * SUBNORMAL * (1 + scale), wide.shape)
        assert np.all(np.abs(actual[valid] - wide[valid]) <= allowed[valid]), name
        assert np.isnan(actual[np.isnan(wide)]).all(), name


# --- persistence -----------------------------------------------------------------------------------------------


def every_param_changed(entry: Entry) -> dict[str, Any]:
    """Return values of all of a scaler's own Params that are not the defaults."""
    default = entry.scaler()
    changed: dict[str, Any] = {} if default.hasParam("fillInvalid") else {"handleInvalid": "skip"}
    changed |= {"addIndicator": True} if default.hasParam("addIndicator") else {}
    for choice in entry.choices:
        changed |= {n: v for n, v in choice.items() if not default.isDefined(n) or v != default.getOrDefault(n)}
    return changed


COMPLETE: list[Row] = [row for row in DATA if row and np.isfinite(np.array(row, dtype=float)).all()]


def assert_survives(entry: Entry, params: dict[str, Any], session: SparkSession | Store, folder: str) -> Any:
    """Save and load scaler, model and inverse, and compare all that they hold; returns the loaded model."""
    estimator = scaler(entry, KINDS, **params)
    model = fit(estimator, Partitions([COMPLETE]))
    stages = {"scaler": estimator, "model": model, "inverse": model.inverse()}
    loaded = {}
    for name, stage in stages.items():
        stage.write().session(session).save(f"{folder}/{name}")
        again = loaded[name] = type(stage).read().session(session).load(f"{folder}/{name}")
        assert (again.uid, repr(again)) == (stage.uid, repr(stage))
        assert again.explainParams() == stage.explainParams()
    again = loaded["model"]
    assert model.affine == again.affine
    np.testing.assert_equal(again.statistics.arrays(), model.statistics.arrays())
    assert model.featureNames == again.featureNames
    assert model.inverse().affine == loaded["inverse"].affine
    assert model.affine == loaded["inverse"].forward.affine
    assert fit(loaded["scaler"], Partitions([COMPLETE])).affine == model.affine
    np.testing.assert_equal(again.merge(model).statistics.arrays(), model.merge(model).statistics.arrays())
    return again


@every_choice
def test_what_is_loaded_is_what_was_saved(entry: Entry, choice: dict[str, Any]) -> None:
    """Scaler, model and inverse: uid, Params, repr, map and statistic survive; a loaded model merges like the saved one."""
    assert_survives(entry, choice, Store(), "stages")


@every_scaler
def test_every_param_survives(entry: Entry) -> None:
    """All of them at once, none at its default."""
    changed = every_param_changed(entry)

    assert {p.name for p in entry.scaler().params} - COMMON - entry.own <= changed.keys()
    assert_survives(entry, changed, Store(), "stages")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=kind.__name__, marks=pytest.mark.core if kind is Moments else [])
        for kind, entry in OF_STATISTICS.items()
    ],
)
def test_spark_saves_and_loads_the_same(spark: SparkSession, entry: Entry, tmp_path: Path) -> None:
    """As files; the loaded model learns on."""
    loaded = assert_survives(entry, every_param_changed(entry), spark, str(tmp_path))

    updated = loaded.update(frame(spark, COMPLETE).coalesce(1))

    np.testing.assert_equal(updated.statistics.arrays(), loaded.merge(loaded).statistics.arrays())
