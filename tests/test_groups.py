"""Scaling by key: each key's map is that of a fit on its rows, however it is made, kept and applied."""

from __future__ import annotations

import logging
from functools import reduce
from typing import Any

import numpy as np
import pytest
from pyspark.ml.linalg import SparseVector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import sparkscale
from frames import cells
from keyed_frames import COLUMNS, ROWS, keyed_frame, rows_of_keys, values
from sparkscale import (
    BatchNorm,
    InverseModel,
    MaxAbsScaler,
    MinMaxScaler,
    Profile,
    RobustScaler,
    ScalerSet,
    StandardScaler,
    export,
)
from sparkscale.blocks import DenseBlock
from sparkscale.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    DatasetError,
    EmptyDataError,
    GroupError,
    ParamError,
    RangeOverflowError,
)
from sparkscale.spark.fit import tables
from table import TABLE

GROUPED = (BatchNorm, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler)
ENTRIES = [entry for entry in TABLE if entry.scaler in GROUPED]
BY = ["string", "boolean"]
FEATURES = {"x": [0], "y": [1], "a": [2, 3], "v": [4, 5, 6]}


@pytest.fixture(scope="module")
def df(spark):
    """Rows with keys of every kind."""
    return keyed_frame(spark).cache()


def scaler_of(entry: Any, choice: dict[str, Any], **params: Any) -> Any:
    return entry.scaler(inputCols=[*COLUMNS], groupCols=BY, **choice, **params)


def plain(scaler: Any, rows: np.ndarray) -> Any:
    """Return the model of some rows, without a fit."""
    model = scaler._model()
    model._learn(PLAIN, scaler._statistic_class.of(DenseBlock(rows)), skips=False)
    model = scaler._copyValues(model)
    model.clear(model.groupCols)
    return model


PLAIN = [
    sparkscale.spark.columns.FeatureColumn(name, kind, size=len(FEATURES[name]))
    for name, kind in (("x", "scalar"), ("y", "scalar"), ("a", "array"), ("v", "vector"))
]


def expected(scaler: Any, matrix: np.ndarray) -> np.ndarray:
    """Return what each row is mapped to by the model of its key."""
    results = np.full(matrix.shape, np.nan)
    of_all = plain(scaler, matrix)
    for rows in rows_of_keys(BY).values():
        model = plain(scaler, matrix[rows])
        few = np.isfinite(matrix[rows]).sum(axis=0) < scaler.getMinGroupCount()
        mapped = []
        for one in (model, of_all):
            with np.errstate(all="ignore"):
                result = one.affine.apply(matrix[rows])
            bounds, fill = one._bounds(), one._fill()
            result = result if bounds is None else np.clip(result, *bounds)
            mapped.append(result if fill is None else np.where(np.isnan(matrix[rows]), fill, result))
        results[rows] = np.where(few, mapped[1], mapped[0])
    return results


def outputs(df: DataFrame, names: Any = None) -> np.ndarray:
    """Return the outputs of all columns, by ``id``, as one matrix; null is NaN, also of a whole row."""
    rows = cells(df, *(names or [f"{name}_scaled" for name in COLUMNS]))
    matrix = np.full((len(rows), 7), np.nan)
    for i, row in enumerate(rows):
        for cell, features in zip(row, FEATURES.values(), strict=True):
            if cell is not None:
                matrix[i, features] = [np.nan if n is None else n for n in np.atleast_1d(cell)]
    return matrix


def without_null_rows(matrix: np.ndarray) -> np.ndarray:
    """Return expected outputs as they show: null arrays and vectors are not filled."""
    matrix = matrix.copy()
    matrix[::7, 2:4] = np.nan
    matrix[::11, 4:] = np.nan
    return matrix


def assert_close(actual: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(actual, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, marks=pytest.mark.core if e.name == "RobustScaler" else ()) for e in ENTRIES],
    ids=lambda e: e.name,
)
def test_each_key_is_scaled_as_by_a_fit_on_its_rows(df, entry, tmp_path):
    """In every kind of column, under several Params, after merge, save and load, and after update; other columns stay."""
    scaler = scaler_of(entry, {})
    first, second = (scaler.fit(df.where(f"id {sign} 20")) for sign in ("<", ">="))
    first.merge(second).save(str(tmp_path / "model"))
    model = entry.model.load(str(tmp_path / "model"))
    transformed = model.transform(df)
    right = without_null_rows(expected(scaler, values()))

    assert transformed.columns == [*df.columns, *(f"{name}_scaled" for name in COLUMNS)]
    assert_close(outputs(transformed), right)
    assert_close(outputs(first.update(df.where("id >= 20")).transform(df)), right)
    for choice in entry.choices[-2:]:
        scaler = scaler_of(entry, choice, minGroupCount=3)
        params = {model.getParam(name): value for name, value in (choice | {"minGroupCount": 3}).items()}
        other = model.copy(params)
        assert_close(outputs(other.transform(df)), without_null_rows(expected(scaler, values())))


@pytest.mark.core
@pytest.mark.parametrize("where", ["driver", "executors"])
def test_models_are_merged_updated_saved_and_inverted_by_key(df, tmp_path, monkeypatch, where):
    """As plain models are, also where executors hold the keys; the models before stay as they were."""
    monkeypatch.setattr(tables, "HELD_BYTES", 0 if where == "executors" else 1 << 26)
    scaler = StandardScaler(inputCols=[*COLUMNS], groupCols=BY, withMean=True, handleConstant="unit")
    right = without_null_rows(expected(scaler, values()))
    first, second = (scaler.fit(df.where(f"id {sign} 20")) for sign in ("<", ">="))
    before = outputs(first.transform(df))
    model = first.merge(second)
    scaled = model.transform(df)
    for name, (one, kind) in {"m": (model, type(model)), "i": (model.inverse(), InverseModel)}.items():
        one.save(str(tmp_path / name))
        loaded = kind.load(str(tmp_path / name))
        assert repr(loaded) == repr(one)
        assert_close(
            outputs(loaded.transform(df if name == "m" else scaled.drop(*COLUMNS)), None if name == "m" else COLUMNS),
            right if name == "m" else without_null_rows(values()),
        )

    assert_close(outputs(scaled), right)
    assert_close(outputs(first.update(df.where("id >= 20")).transform(df)), right)
    assert_close(outputs(first.update(df.where("false")).transform(df)), before)
    assert_close(outputs(first.transform(df)), before)
    assert model.numGroups == len(rows_of_keys(BY)) == 12
    assert_close(model.mean.toArray(), np.nanmean(values(), axis=0))
    assert "JOIN" in scaled._jdf.queryExecution().toString().upper() if hasattr(scaled, "_jdf") else True


@pytest.mark.core
def test_a_fit_to_a_profile_rolls_up(df):
    """A profile by more keys, of more columns, gives the model of a fit on the data."""
    profile = Profile.of(
        df, inputCols=[*COLUMNS], groupCols=["date", "boolean", "string"], statistics=["moments", "quantiles"]
    )
    for scaler in (
        StandardScaler(inputCols=["v", "x"], groupCols=BY),
        MinMaxScaler(inputCols=["v", "x"], groupCols=BY),
        BatchNorm(inputCol="a", groupCols=BY, shape=[1, 2]),
    ):
        one, other = scaler.fit(profile), scaler.fit(df)
        names = one._output_names()
        ours, theirs = (cells(m.transform(df), *names) for m in (one, other))

        assert one.numGroups == other.numGroups
        for a, b in zip(ours, theirs, strict=True):
            for p, q in zip(a, b, strict=True):
                np.testing.assert_allclose(np.array(p, dtype=float), np.array(q, dtype=float), rtol=1e-11, atol=1e-12)


@pytest.mark.core
def test_a_key_that_fit_did_not_see(df):
    """Gets the map of all rows, or null, or is refused; with too few values, a feature gets the map of all rows."""
    scaler = MaxAbsScaler(inputCols=[*COLUMNS], groupCols=["long"], addIndicator=True)
    known = df.where("long IS NOT NULL")
    model = scaler.fit(known)
    seen = np.array([row["long"] is not None for row in df.orderBy("id").select("long").collect()])
    of_all = plain(scaler, values()[seen]).affine.apply(values())
    got = outputs(model.transform(df))
    nulls = model.setHandleUnseen("null").transform(df).where("long IS NULL")

    assert_close(got[~seen], without_null_rows(of_all)[~seen])
    assert not np.allclose(got[seen], of_all[seen], equal_nan=True)
    assert nulls.where("x_scaled IS NOT NULL OR a_scaled IS NOT NULL OR v_scaled IS NOT NULL").count() == 0
    assert nulls.where("x_missing IS NULL").count() == 0
    assert_close(
        outputs(model.setHandleUnseen("global").setMinGroupCount(1000).transform(df)), without_null_rows(of_all)
    )
    with pytest.raises(
        Exception, match=r"Group \{null\} of 'long' was not seen in fit, which handleUnseen='error' refuses"
    ):
        model.setHandleUnseen("error").transform(df).collect()
    assert issubclass(GroupError, ValueError)


@pytest.mark.core
@pytest.mark.parametrize(
    ("keys", "where"),
    [
        (("double", "string"), "driver"),
        (("float", "ntz"), "executors"),
        (("timestamp", "decimal"), "driver"),
        (("binary", "date"), "executors"),
    ],
    ids=str,
)
def test_any_key_finds_its_map_once(df, monkeypatch, keys, where):
    """Null, NaN, zeros of both signs, empty values; no row is lost or doubled, however the maps are joined."""
    monkeypatch.setattr(tables, "HELD_BYTES", 0 if where == "executors" else 1 << 26)
    model = StandardScaler(inputCols=["x"], groupCols=[*keys], withMean=True).fit(df)
    means = df.groupBy(*keys).agg(F.expr("avg(nanvl(x, NULL)) AS mean"), F.expr("stddev(nanvl(x, NULL)) AS std"))
    same = reduce(lambda a, b: a & b, (df[key].eqNullSafe(means[key]) for key in keys))
    right = df.join(means, same).selectExpr("id", "(x - mean) / std AS right")
    together = model.transform(df).select("id", "x", "x_scaled").join(right, "id").collect()

    assert len(together) == ROWS
    assert model.numGroups == df.select(*keys).distinct().count()
    for row in together:
        if row.x is not None and np.isfinite(row.x):
            np.testing.assert_allclose(row.x_scaled, 0.0 if row.right is None else row.right, rtol=1e-10, atol=1e-12)


def test_the_join_depends_on_where_the_keys_are(spark, df, monkeypatch):
    """A broadcast if the driver holds them; otherwise as Spark chooses, also if one key has most of the rows."""
    skewed = spark.range(3000).selectExpr("id", "if(id % 2 = 0, 0L, id) AS k", "double(id) AS x")
    model = MaxAbsScaler(inputCol="x", groupCols=["k"]).fit(skewed)
    monkeypatch.setattr(tables, "HELD_BYTES", 0)
    large = MaxAbsScaler(inputCol="x", groupCols=["k"]).fit(skewed)
    spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
    try:
        for one, join in ((model, "BroadcastHashJoin"), (large, "SortMergeJoin")):
            transformed = one.transform(skewed)
            plan = transformed._explain_string() if hasattr(transformed, "_explain_string") else None
            sums = transformed.selectExpr(
                "count(*) n", "count(DISTINCT id) d", "sum(if(k = 0, x_scaled * 2998 - x, x_scaled - sign(x))) s"
            ).first()

            assert plan is None or join in plan
            assert (sums.n, sums.d) == (3000, 3000)
            assert abs(sums.s) < 1e-9
        assert large.numGroups == 1501
    finally:
        spark.conf.unset("spark.sql.autoBroadcastJoinThreshold")


@pytest.mark.core
def test_what_a_model_tells_of_its_groups(df):
    """Their number, a table of what was learned, the plain model of one, which has what the model of all groups lacks."""
    model = StandardScaler(inputCols=["x", "a"], groupCols=BY).fit(df)
    table = {(r.string, r.boolean): r for r in model.groups.collect()}
    rows = rows_of_keys(BY)
    one, of_null = model.group("a", True), model.group("A", None)

    assert model.groups.columns == [*BY, "count", "mean", "std"]
    assert table.keys() == rows.keys()
    for key, of_key in rows.items():
        np.testing.assert_allclose(table[key].mean, np.nanmean(values()[of_key][:, [0, 2, 3]], axis=0), rtol=1e-12)
        assert table[key]["count"] == np.isfinite(values()[of_key][:, [0, 2, 3]]).sum(axis=0).tolist()
    assert one.mean.toArray().tolist() == table["a", True].mean
    assert of_null.mean.toArray().tolist() == table["A", None].mean
    assert not one.isSet("groupCols") and one.numGroups == 0 and one.toSQL()
    assert "12 groups by string, boolean" in model._repr_html_()
    assert model.summary()["count"].tolist() == np.isfinite(values()[:, [0, 2, 3]]).sum(axis=0).tolist()
    with pytest.raises(ParamError, match=r"there is no group 'b', True\. The keys are in groups"):
        model.group("b", True)
    for values_of_key in (("a", "true"), ("a", [1]), ("a", object())):
        with pytest.raises(ParamError, match="there is no group"):
            model.group(*values_of_key)
    by_time = StandardScaler(inputCol="x", groupCols=["timestamp", "decimal", "date", "binary", "double"]).fit(df)
    for row in by_time.groups.collect()[::7]:
        assert by_time.group(*row[:5]).mean.toArray().tolist() == row.mean
    with pytest.raises(ParamError, match="a key has 2 values, of string string, boolean boolean"):
        model.group("a")
    with pytest.raises(ParamError, match=r"groups has a column 'mean' of its own\. Rename"):
        StandardScaler(inputCol="x", groupCols=["mean"]).fit(df.withColumnRenamed("long", "mean")).groups  # noqa: B018
    with pytest.raises(ParamError, match="groups is for models fitted with groupCols"):
        one.groups  # noqa: B018


def test_what_is_of_one_map_names_the_model_of_a_group(df):
    """SQL text, pictures and layers; the affine map is that of all rows."""
    model = BatchNorm(inputCols=["x", "y"], groupCols=["string"]).fit(df)
    plain_model = BatchNorm(inputCols=["x", "y"]).fit(df)

    for refused in (
        model.toSQL,
        lambda: model.plot(df),
        lambda: export._layer_parameters(model),  # before any layer is made
        model.inverse().toSQL,
    ):
        with pytest.raises(ParamError, match=r"model\.group\(\.\.\.\)"):
            refused()
    np.testing.assert_allclose(model.affine.center, plain_model.affine.center, rtol=1e-12)


def test_one_vector_of_all_columns(df):
    """With a map for each key, and back; vectors stay sparse where the map of their key keeps zero."""
    model = StandardScaler(inputCols=[*COLUMNS], outputCol="all", groupCols=BY, withMean=True).fit(df)
    right = expected(StandardScaler(inputCols=[*COLUMNS], groupCols=BY, withMean=True), values())
    scaled = model.transform(df)
    back = model.inverse().transform(scaled.drop(*COLUMNS))
    sparse = StandardScaler(inputCol="v", groupCols=BY, fillInvalid=9.0).fit(df).transform(df)

    assert_close(np.array([row[0] for row in cells(scaled, "all")]), right)
    restored = outputs(back, COLUMNS)
    shown = np.isfinite(restored) & np.isfinite(right)
    assert_close(restored[shown], values()[shown])
    for row in sparse.select("v", "v_scaled").collect():
        assert isinstance(row.v, SparseVector) == isinstance(row.v_scaled, SparseVector)
        assert not isinstance(row.v, SparseVector) or row.v.indices.tolist() == row.v_scaled.indices.tolist()


def test_channels_have_a_map_per_key(spark):
    """Two images in a row, first or last axis; gain and bias of each channel."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(12, 12)) + np.arange(12)
    rows = [(i, i % 2, [*map(float, r)], [*map(float, r[::-1])]) for i, r in enumerate(images)]
    df = spark.createDataFrame(rows, "id long, k int, a array<double>, b array<double>")
    for layout in ("channelsFirst", "channelsLast"):
        params = {
            "shape": [3, 2, 2] if layout == "channelsFirst" else [2, 2, 3],
            "dataFormat": layout,
            "gamma": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
        for columns in ({"inputCols": ["a", "b"]}, {"inputCols": ["a", "b"], "outputCol": "one"}):
            scaler = BatchNorm(**columns, **params, beta=[0.5])
            model = scaler.copy().setGroupCols(["k"]).fit(df)
            names = model._output_names()
            got = cells(model.transform(df), *names)
            parts = [
                cells(scaler.fit(df.where(f"k = {k}")).transform(df.where(f"k = {k}")), "id", *names) for k in (0, 1)
            ]
            right = [row[1:] for row in sorted(parts[0] + parts[1])]

            np.testing.assert_allclose(np.array(got), np.array(right), rtol=1e-11)


@pytest.mark.core
def test_a_stream_is_scaled_by_key(spark, df, tmp_path):
    """By a join with the maps of the fit."""
    model = MinMaxScaler(inputCols=["x", "a"], groupCols=["string"]).fit(df)
    small = df.select("id", "string", "x", "a")
    small.write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(small.schema).parquet(str(tmp_path / "in"))
    query = model.transform(stream).writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "c"))
    query.trigger(availableNow=True).start(str(tmp_path / "out")).awaitTermination()
    streamed = cells(spark.read.parquet(str(tmp_path / "out")), "x_scaled", "a_scaled")

    assert repr(streamed) == repr(cells(model.transform(small), "x_scaled", "a_scaled"))


@pytest.mark.core
def test_data_that_change_after_fit_change_no_model(spark, tmp_path):
    """What was learned is kept apart from the data, wherever it is."""
    path = str(tmp_path / "data")
    spark.range(10).selectExpr("id % 2 AS k", "double(id) AS x").write.parquet(path)
    df = spark.read.parquet(path)
    model = MaxAbsScaler(inputCol="x", groupCols=["k"]).fit(df)
    rows = spark.createDataFrame([(0, 4.0), (1, 3.0)], "k long, x double")
    before = sorted(r.x_scaled for r in model.transform(rows).collect())
    spark.createDataFrame([(0, 1000.0)], "k long, x double").write.mode("overwrite").parquet(path)

    assert sorted(r.x_scaled for r in model.transform(rows).collect()) == before == [3 / 9, 4 / 8]


REFUSED = {
    "unknown": ({"groupCols": ["shop"]}, ColumnNotFoundError, "Column 'shop' does not exist"),
    "scaled": ({"groupCols": ["x"]}, ParamError, "column 'x' is also an input"),
    "type": ({"groupCols": ["v"]}, ColumnTypeError, "Group column 'v' is of type vector"),
    "empty": ({"groupCols": []}, ParamError, "groupCols is empty"),
    "twice": ({"groupCols": ["long", "long"]}, ParamError, "groupCols names 'long' more than once"),
    "minGroupCount": ({"groupCols": ["long"], "minGroupCount": 0}, ParamError, "minGroupCount must be at least 1"),
    "handleUnseen": (
        {"groupCols": ["long"], "handleUnseen": "drop"},
        ParamError,
        "handleUnseen must be one of 'global', 'null', 'error'",
    ),
}


def test_a_column_is_scaled_or_a_key_whatever_its_case(df):
    """As Spark compares names; a Profile is no DataFrame to update a model with."""
    with pytest.raises(ParamError, match="groupCols: column 'X' is also an input"):
        StandardScaler(inputCols=["x"], groupCols=["X"]).fit(df)
    profile = Profile.of(df, inputCols=["x"])
    with pytest.raises(DatasetError, match=r"Got a sparkscale\.Profile\. Fit a scaler on it; model\.merge"):
        StandardScaler(inputCols=["x"]).fit(profile).update(profile)


@pytest.mark.parametrize(("params", "error", "message"), REFUSED.values(), ids=[*REFUSED])
def test_params_that_cannot_be_used_are_refused(df, params, error, message):
    """Before any job."""
    with pytest.raises(error, match=message):
        StandardScaler(inputCols=["x"], **params).fit(df)


def test_mini_batches_have_no_groups():
    with pytest.raises(ParamError, match="groupCols and asOf need statistics='population'"):
        BatchNorm(inputCol="x", groupCols=["k"], statistics="moving", batchCol="b")._check_params()


def test_what_no_longer_fits_is_refused(spark, df):
    """Other keys in merge, other types in transform, a group whose range overflows, no row at all."""
    scaler = StandardScaler(inputCol="x", groupCols=["long"])
    model, other = scaler.fit(df), scaler.copy().setGroupCols(["string"]).fit(df)
    tiny = spark.createDataFrame([("a", 5e-324), ("a", 0.0), ("b", 1.0), ("b", 2.0)], "k string, x double")

    with pytest.raises(ParamError, match="groupCols or asOf of the models differ: long bigint and string string"):
        model.merge(other)
    with pytest.raises(ParamError, match="groupCols or asOf of the models differ: long bigint and none"):
        model.merge(StandardScaler(inputCol="x").fit(df))
    with pytest.raises(ColumnTypeError, match="Column 'long' is of type string, but the model was fitted on bigint"):
        model.transform(df.withColumn("long", F.lit("1")))
    with pytest.raises(ColumnNotFoundError, match="'long'"):
        model.transform(df.drop("long"))
    with pytest.raises(ParamError, match=r"groupCols are .* Name as many"):
        model.copy().setGroupCols(["long", "string"]).transform(df)
    with pytest.raises(ParamError, match="groupCols is set, but the model was fitted without it"):
        StandardScaler(inputCol="x").fit(df).setGroupCols(["long"]).transform(df)
    with pytest.raises(RangeOverflowError, match="Group 'a': MinMaxScalerModel: the range, mean or variance of 'x'"):
        MinMaxScaler(inputCol="x", groupCols=["k"], max=4.0).fit(tiny)
    with pytest.raises(EmptyDataError, match="no usable row in the columns x"):
        scaler.fit(df.where("false"))
    renamed = model.copy().setGroupCols(["key"]).transform(df.withColumnRenamed("long", "key"))
    assert cells(renamed, "x_scaled") == cells(model.transform(df), "x_scaled")


def test_by_key_runs_on_the_cpu(df, caplog):
    """A device is named in the log, not used."""
    with caplog.at_level(logging.INFO, logger="sparkscale"):
        model = MaxAbsScaler(inputCol="x", groupCols=["string"], device="gpu").fit(df)
        model.transform(df)

    assert "MaxAbsScaler: statistics by key are computed on the CPU." in caplog.text
    assert "MaxAbsScalerModel: transform by key runs on the CPU." in caplog.text


@pytest.mark.core
def test_what_is_of_all_rows_is_the_same_after_loading(spark, tmp_path):
    """To the last bit, also quantiles of many values, whose merge depends on the order; files are read in any order."""
    df = spark.range(30_000).selectExpr("id % 50 AS k", "exp(sin(id)) AS x").repartition(4, "k")
    models = [
        RobustScaler(inputCol="x", groupCols=["k"], relativeError=0.01).fit(df),
        ScalerSet(
            stages=[
                RobustScaler(inputCol="x", groupCols=["k"], relativeError=0.01),
                StandardScaler(inputCol="x", outputCol="s"),
            ]
        ).fit(df),
    ]
    for k, model in enumerate(models):
        model.save(str(tmp_path / str(k)))
    robust, both = (type(m).load(str(tmp_path / str(k))) for k, m in enumerate(models))

    assert robust.median == models[0].median and robust.range == models[0].range
    assert both.stages[0].median == models[1].stages[0].median
    assert both.stages[1].std == models[1].stages[1].std


def test_names_that_spark_takes_for_one_are_refused(df):
    """Whatever their case: they could not be told apart in a table, or be saved."""
    twice = df.withColumn("Moments", F.lit(1)).withColumn("Mean", F.lit(1))
    with pytest.raises(ParamError, match="'Moments' is the name of a statistic"):
        StandardScaler(inputCol="x", groupCols=["Moments"]).fit(twice)
    with pytest.raises(ParamError, match="'long' and '`long`' have one name"):
        StandardScaler(inputCol="x", groupCols=["long", "`long`"]).fit(df)
    with pytest.raises(ParamError, match="groups has a column 'Mean' of its own"):
        StandardScaler(inputCol="x", groupCols=["Mean"]).fit(twice).groups  # noqa: B018
