"""Scaling as of a day: each row by what was known before it, of its group or of all."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import reduce
from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import functions as F

from frames import cells
from keyed_frames import COLUMNS, ROWS, keyed_frame, values
from sparkscale import (
    BatchNorm,
    MaxAbsScaler,
    MinMaxScaler,
    Profile,
    RobustScaler,
    ScalerSet,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.blocks import DenseBlock
from sparkscale.errors import ColumnNotFoundError, ColumnTypeError, ParamError, ParamTypeError
from sparkscale.spark.fit import history, tables
from test_groups import PLAIN, assert_close, outputs, without_null_rows

SCALERS = [
    (StandardScaler, {"withMean": True}),
    (StandardScaler, {"fillInvalid": "center", "clip": [-1.0, 1.0], "minGroupCount": 4}),
    (MinMaxScaler, {"minGroupCount": 2, "handleConstant": "unit"}),
    (MaxAbsScaler, {}),
    (BatchNorm, {}),
]
START = date(2024, 1, 1)
DAY = np.array([(i * 7) % 10 for i in range(ROWS)])  # of ten, of which fit sees the first eight
SEEN = DAY < 8
STORES = ("a", "b", None)


@pytest.fixture(scope="module")
def df(spark):
    """Rows of all kinds of columns, of three stores and ten days; the first row of store null is of the last days."""
    store = "CASE id % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END AS store"
    rows = keyed_frame(spark).drop("date", "string")
    return rows.selectExpr("*", store, f"date_add(date'{START}', int(id * 7 % 10)) AS day").cache()


@pytest.fixture(scope="module")
def early(df):
    """The rows that fit sees."""
    return df.where(f"day < date'{START + timedelta(8)}'")


def before(row: int, store: int | None) -> np.ndarray:
    """Return the rows that were known before a row, of a store or of all, as numbers."""
    known = SEEN & (DAY < DAY[row])
    return values()[known if store is None else known & (np.arange(ROWS) % 3 == store)]


def expected(scaler: Any, *, grouped: bool) -> np.ndarray:
    """Return what each row is mapped to by a model of the rows before it."""
    results = np.full((ROWS, 7), np.nan)
    for i, row in enumerate(values()):
        known, of_all = before(i, i % 3 if grouped else None), before(i, None)
        if len(of_all):
            own, other = (mapped(scaler, rows, row) for rows in (known if len(known) else of_all, of_all))
            few = np.isfinite(known).sum(axis=0) < (scaler.getMinGroupCount() if grouped else 1)
            results[i] = np.where(few, other, own)
    return results


def mapped(scaler: Any, known: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return what a row is mapped to by the model of some rows."""
    model = scaler._model()
    model._learn(PLAIN, scaler._statistic_class.of(DenseBlock(known)), skips=False)
    model = scaler._copyValues(model)._without_groups()
    with np.errstate(all="ignore"):
        result = model.affine.apply(row[None])[0]
    bounds, fill = model._bounds(), model._fill()
    result = result if bounds is None else np.clip(result, *bounds)
    return result if fill is None else np.where(np.isnan(row), fill, result)


@pytest.mark.parametrize(
    ("scaler_class", "params"),
    [pytest.param(c, p, marks=pytest.mark.core if c is MinMaxScaler else ()) for c, p in SCALERS],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_each_row_is_scaled_as_by_a_fit_on_the_rows_before_it(df, early, scaler_class, params):
    """Day by day, with groups and without, in all kinds of columns; also of days that fit did not see."""
    for groups in ({"groupCols": ["store"]}, {}):
        scaler = scaler_class(inputCols=[*COLUMNS], asOf="day", **groups, **params)
        transformed = scaler.fit(early).transform(df)

        assert transformed.columns == [*df.columns, *(f"{name}_scaled" for name in COLUMNS)]
        assert_close(outputs(transformed), without_null_rows(expected(scaler, grouped=bool(groups))))


@pytest.mark.parametrize("where", [pytest.param("driver", marks=pytest.mark.core), "executors"])
def test_models_are_merged_updated_saved_and_inverted(df, early, tmp_path, monkeypatch, where):
    """As others are, wherever the statistics are."""
    monkeypatch.setattr(tables, "HELD_BYTES", 0 if where == "executors" else 1 << 26)
    scaler = StandardScaler(inputCols=[*COLUMNS], groupCols=["store"], asOf="day", withMean=True, handleConstant="unit")
    right = without_null_rows(expected(scaler, grouped=True))
    first, second = early.where("id % 2 = 0"), early.where("id % 2 = 1")
    scaler.fit(first).merge(scaler.fit(second)).save(str(tmp_path / "model"))
    model = StandardScalerModel.load(str(tmp_path / "model"))
    scaled = model.transform(df)
    back = outputs(model.inverseTransform(scaled.drop(*COLUMNS)), COLUMNS)

    assert_close(outputs(scaled), right)
    assert_close(outputs(scaler.fit(first).update(second).transform(df)), right)
    undone = np.isfinite(back) & np.isfinite(values())
    assert_close(back[undone], values()[undone])
    assert undone.sum() > 200
    assert model.getAsOf() == "day" and model.numGroups == 24


def test_a_fit_to_a_profile_and_one_in_a_set_are_the_same(df, early):
    """By more keys in another order, and beside a scaler without groups."""
    scaler = StandardScaler(inputCols=[*COLUMNS], groupCols=["store"], asOf="day", withMean=True)
    profile = Profile.of(early, inputCols=[*COLUMNS], groupCols=["day", "boolean", "store"], statistics=["moments"])
    largest = MaxAbsScaler(inputCol="x", outputCol="largest", asOf="day")
    both = ScalerSet(stages=[scaler, largest]).fit(early).transform(df)
    right = without_null_rows(expected(scaler, grouped=True))

    assert_close(outputs(scaler.fit(profile).transform(df)), right)
    assert_close(outputs(both), right)
    assert cells(both, "largest") == cells(largest.fit(early).transform(df), "largest")


KINDS = {
    "date": "day",
    "timestamp": "timestamp(day) + make_interval(0, 0, 0, 0, 0, 0, 0.000001)",
    "timestamp_ntz": "cast(day AS timestamp_ntz)",
    "int": "datediff(day, date'2023-01-01')",
    "bigint": "9007199254740993L + datediff(day, date'2024-01-01')",
    "double": "if(day = date'2024-01-03', -0D, datediff(day, date'2024-01-03') * 0.3D)",
    "float": "float(datediff(day, date'2024-01-05') / 3)",
    "decimal(20,2)": "cast(datediff(day, date'2024-01-02') * 1.25BD + 1000000000000 AS decimal(20,2))",
}


@pytest.mark.core
def test_any_kind_of_value_orders_rows(spark):
    """Dates, timestamps and numbers, of which fit sees every third; a null or NaN among them is before nothing."""
    rows = [(i, float(i), START + timedelta(i), i % 3 == 0) for i in range(60)]
    frame = spark.createDataFrame(rows, "id long, x double, day date, fitted boolean")
    typed = frame.select("*", *(F.expr(text).alias(f"t_{k}") for k, text in enumerate(KINDS.values())))
    scalers = [MaxAbsScaler(inputCol="x", outputCol=f"y_{k}", asOf=f"t_{k}") for k in range(len(KINDS))]
    models = [scaler.fit(typed.where("fitted")) for scaler in scalers]
    scaled = reduce(lambda rows, model: model.transform(rows), models, typed)
    lacking = typed.select("id", "x", *(F.lit(None).cast(kind).alias(f"t_{k}") for k, kind in enumerate(KINDS)))
    lacking = lacking.where("id = 5").union(lacking.withColumn("t_5", F.lit(float("nan"))).where("id = 6"))
    nothing = reduce(lambda rows, model: model.transform(rows), models, lacking)
    largest = [(i - 1) // 3 * 3 for i in range(60)]
    right = [None if i == 0 else i if m == 0 else i / m for i, m in enumerate(largest)]

    for got in zip(*cells(scaled, *(f"y_{k}" for k in range(len(KINDS)))), strict=True):
        assert [*got] == pytest.approx(right)
    for row in cells(nothing, *(f"y_{k}" for k in range(len(KINDS)))):
        assert row == [None] * len(KINDS)


def test_many_groups_with_few_days_take_no_row_for_each_day(spark):
    """The table that is joined has at most two rows for each of a group and a day that fit saw."""
    frame = spark.range(2000).selectExpr("id % 997 AS k", "int(pmod(hash(id), 365)) AS day", "double(hash(id, 1)) AS x")
    model = StandardScaler(inputCol="x", groupCols=["k"], asOf="day", withMean=True).fit(frame)
    windows = "avg(x) OVER (PARTITION BY {} ORDER BY day RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    means = frame.selectExpr("*", f"coalesce({windows.format('k')}, {windows.format('1')}) AS mean")
    known = model._groups.history
    joined = known.map_rows(lambda keys, rows: {"n": rows.count}, ["n"])
    result = MinMaxScaler(inputCol="x", groupCols=["k"], asOf="day").fit(frame)  # another statistic, of the same places
    shown = model.copy({model.withStd: False}).transform(means)
    wrong = shown.where("NOT x_scaled <=> x - mean AND abs(x_scaled - (x - mean)) > 1e-6")

    assert wrong.count() == 0
    assert shown.where("x_scaled IS NULL").count() == means.where("mean IS NULL").count() > 0
    assert known.step > 100
    assert frame.select("k", "day").distinct().count() <= joined.count() <= 2 * model.numGroups
    assert result.transform(frame).count() == 2000


@pytest.mark.core
def test_a_row_before_which_nothing_was_known(df, early):
    """Is null, or is refused; of a group, it gets what was known of all rows if handleUnseen is "global"."""
    known = early.where(f"store IS NOT NULL OR day > date'{START + timedelta(3)}'")
    model = MinMaxScaler(inputCols=["x", "v"], groupCols=["store"], asOf="day", outputCol="scaled").fit(known)
    nulls, first_day = model.copy({model.handleUnseen: "null"}), f"day = date'{START}'"
    of_nothing, of_group = (m.transform(df).where("scaled IS NULL") for m in (model, nulls))
    first_days = known.groupBy("store").agg(F.min("day").alias("first"))
    not_before = df.join(first_days, df["store"].eqNullSafe(first_days["store"])).where("day <= first")

    assert of_nothing.count() == df.where(first_day).count() > 0
    assert of_group.count() == not_before.count() > of_nothing.count()
    with pytest.raises(Exception, match=r"has no value in fit that came before, which handleUnseen='error' refuses"):
        model.copy({model.handleUnseen: "error"}).transform(df).collect()


def test_what_a_model_tells_of_a_group(df, early):
    """What was known of it before any day, and a table of what was known up to each day."""
    model = StandardScaler(inputCols=["x", "a"], groupCols=["store"], asOf="day").fit(early)
    of_all = StandardScaler(inputCols=["x", "a"], asOf="day").fit(early)
    table = {(row.store, row.day): row for row in model.groups.collect()}

    assert len(table) == model.numGroups == 24
    for day in (3, 8, 20):
        rows = before(DAY.tolist().index(min(day, 9)), 1)[:, [0, 2, 3]]
        one = model.group("b", START + timedelta(day))
        np.testing.assert_allclose(one.mean.toArray(), np.nanmean(rows, axis=0), rtol=1e-12)
        assert not one.isSet("asOf") and one.toSQL()
    np.testing.assert_allclose(table["b", START + timedelta(7)].mean, np.nanmean(rows, axis=0), rtol=1e-12)
    assert of_all.group(START + timedelta(1)).count == df.where(f"day = date'{START}'").count()
    assert [r.day for r in of_all.groups.orderBy("day").collect()] == [START + timedelta(d) for d in range(8)]
    np.testing.assert_allclose(model.mean, StandardScaler(inputCols=["x", "a"]).fit(early).mean, rtol=1e-12)
    for key in (("b", START), ("c", START + timedelta(3))):
        with pytest.raises(ParamError, match="no row of this group came before"):
            model.group(*key)
    for value in ("2024-01-03", None, 3, datetime(2024, 1, 3, 12)):  # noqa: DTZ001  # no date
        with pytest.raises(ParamTypeError, match=r"asOf: 'day' is of type date\. Got"):
            model.group("b", value)


def test_what_came_before_a_time_is_the_same_wherever_the_statistics_are(spark, monkeypatch):
    """Whatever the time zones of Python and of the session are; a value is never cut to the type of the column."""
    rows = [("a", n, datetime(2024, 1, 1, n), 3.0**n) for n in (1, 2, 3)]  # noqa: DTZ001
    frame = spark.createDataFrame(rows, "g string, n int, t timestamp_ntz, x double")
    for held in (1 << 26, 0):
        monkeypatch.setattr(tables, "HELD_BYTES", held)
        by_time = StandardScaler(inputCol="x", groupCols=["g"], asOf="t").fit(frame)
        by_number = StandardScaler(inputCol="x", asOf="n").fit(frame)

        assert by_time.group("a", datetime(2024, 1, 1, 3)).mean[0] == pytest.approx(6.0)  # noqa: DTZ001
        assert by_time.group("a", datetime(2024, 1, 1, 2, 30)).mean[0] == pytest.approx(6.0)  # noqa: DTZ001
        assert by_number.group(4).mean[0] == pytest.approx(13.0)
        with pytest.raises(ParamTypeError, match=r"asOf: 'n' is of type int\. Got 3\.5"):
            by_number.group(3.5)


@pytest.mark.core
def test_a_feature_of_which_nothing_is_known_is_null(spark):
    """Though rows came before, as long as all their values are missing; a vector has NaN."""
    rows = [(1, None, [None, 1.0]), (2, 3.0, [4.0, 2.0]), (3, 5.0, [4.0, 3.0])]
    frame = spark.createDataFrame(rows, "n int, x double, a array<double>")
    for groups in ({}, {"groupCols": ["g"]}):
        keyed = frame.withColumn("g", F.lit(1))
        scaler = MaxAbsScaler(inputCols=["x", "a"], asOf="n", **groups)
        first, second, third = cells(
            scaler.fit(keyed).transform(keyed.withColumn("id", F.col("n"))), "x_scaled", "a_scaled"
        )

        assert first == [None, None] and second == [None, [None, 2.0]] and third == [5 / 3, [1.0, 1.5]]
        with pytest.raises(Exception, match="has no value in fit that came before"):
            scaler.copy({scaler.handleUnseen: "error"}).fit(keyed).transform(keyed.where("n > 1")).collect()
    filled = MaxAbsScaler(inputCols=["x"], asOf="n", fillInvalid=7.0).fit(frame).transform(frame.where("n = 3"))
    assert filled.first().x_scaled == 5 / 3
    known = spark.createDataFrame(rows[1:], frame.schema).withColumn("v", array_to_vector("a"))
    vectors = MaxAbsScaler(inputCol="v", asOf="n").fit(known).transform(known).orderBy("n").collect()
    assert [row.v_scaled is None for row in vectors] == [True, False]


def test_a_stream_is_scaled_as_of_its_days(spark, df, early, tmp_path):
    """By a join with the maps of the fit."""
    model = StandardScaler(inputCols=["x", "a"], groupCols=["store"], asOf="day").fit(early)
    small = df.select("id", "store", "day", "x", "a")
    small.write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(small.schema).parquet(str(tmp_path / "in"))
    query = model.transform(stream).writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "c"))
    query.trigger(availableNow=True).start(str(tmp_path / "out")).awaitTermination()
    streamed = cells(spark.read.parquet(str(tmp_path / "out")), "x_scaled", "a_scaled")

    assert repr(streamed) == repr(cells(model.transform(small), "x_scaled", "a_scaled"))


REFUSED = {
    "unknown": ({"asOf": "week"}, ColumnNotFoundError, "Column 'week' does not exist"),
    "scaled": ({"asOf": "x"}, ParamError, "asOf: column 'x' is also an input"),
    "a group": (
        {"asOf": "day", "groupCols": ["store", "day"]},
        ParamError,
        "asOf is 'day', which is also one of groupCols",
    ),
    "no order": ({"asOf": "store"}, ColumnTypeError, "asOf: column 'store' is of type string, .* must hold dates"),
    "a type that is no key": ({"asOf": "a"}, ColumnTypeError, "column 'a' is of type array"),
}


@pytest.mark.parametrize(("params", "error", "message"), REFUSED.values(), ids=[*REFUSED])
def test_params_that_cannot_be_used_are_refused(df, params, error, message):
    """Before any job."""
    with pytest.raises(error, match=message):
        StandardScaler(inputCols=["x"], **params).fit(df)


def test_what_cannot_be_scaled_as_of_a_day_is_refused(df, early, monkeypatch):
    """Rows without a day, too many days, quantiles, another column than in fit."""
    scaler = StandardScaler(inputCols=["x"], asOf="day")
    model, with_groups = scaler.fit(early), StandardScaler(inputCols=["x"], groupCols=["store"]).fit(early)
    without = early.withColumn("day", F.expr("if(id = 0, NULL, day)"))
    for frame, column in ((without, "day"), (df, "double")):
        with pytest.raises(ParamError, match=f"asOf: some rows have no '{column}': it is null or NaN"):
            StandardScaler(inputCols=["x"], asOf=column).fit(frame)
    with pytest.raises(ParamError, match="asOf: some rows have no 'day'"):
        model.update(without)
    with pytest.raises(ParamError, match="differ: as of day date and day date"):
        model.merge(StandardScaler(inputCols=["x"], groupCols=["day"]).fit(early))
    with pytest.raises(ParamError, match="asOf is not available: the quantiles"):
        RobustScaler(inputCol="x", asOf="day").fit(df)
    with pytest.raises(ParamError, match="asOf is set, but the model was fitted without it"):
        with_groups.copy({with_groups.asOf: "day"}).transform(df)
    with pytest.raises(ColumnTypeError, match="'day' is of type timestamp, but the model was fitted on date"):
        model.transform(df.withColumn("day", F.col("day").cast("timestamp")))
    with pytest.raises(ParamError, match="asOf: 'day' is no key of the profile"):
        scaler.fit(Profile.of(early, inputCols=["x"], groupCols=["store"]))
    with pytest.raises(ColumnTypeError, match="asOf: column 'store' is of type string"):
        StandardScaler(inputCols=["x"], asOf="store").fit(Profile.of(early, inputCols=["x"], groupCols=["store"]))
    with pytest.raises(ParamError, match="groupCols and asOf need statistics='population'"):
        BatchNorm(inputCol="x", asOf="day", statistics="moving", batchCol="store")._check_params()
    monkeypatch.setattr(history, "MOST_VALUES", 7)
    with pytest.raises(ParamError, match=r"asOf: 'day' has 8 different values, more than 7\. Round it"):
        scaler.fit(early)
