"""Batch normalization: against worked cases, PyTorch's and Keras's layers, and closed formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale import BatchNorm, BatchNormModel
from sparkscale.errors import (
    BatchError,
    ColumnNotFoundError,
    ColumnTypeError,
    InvalidValueError,
    ParamError,
    RangeOverflowError,
    SizeMismatchError,
)
from sparkscale.statistics import MovingAverage

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "batch_norm_cases.json").read_text("utf-8"))["cases"]
}
SHAPE = [3, 2, 2]  # of the images below
CHANNELS = 3
SIZES = (7, 2, 5, 11)  # rows of the mini-batches
MODES = ({}, {"statistics": "meanOfBatches"}, {"statistics": "moving"}, {"statistics": "moving", "momentum": None})


def frame(spark: SparkSession, batches: list[Any], parts: int = 3) -> DataFrame:
    """Return rows of flattened tensors, each with its batch, torn over partitions and out of order."""
    rows = [(t, [float(v) for v in np.ravel(row)]) for t, batch in enumerate(batches) for row in batch]
    return spark.createDataFrame(rows[::-1], "step int, x array<double>").repartition(parts)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Mini-batches of images, channels first."""
    rng = np.random.default_rng(7)
    return [rng.normal([[[5.0]], [[-2.0]], [[0.0]]], 3.0, (n, *SHAPE)) for n in SIZES]


@pytest.fixture(scope="module")
def data(spark: SparkSession, images: list[np.ndarray]) -> DataFrame:
    return frame(spark, images).withColumn("v", array_to_vector("x"))


def fit(df: DataFrame, **params: Any) -> BatchNormModel:
    return BatchNorm(inputCol="x", batchCol="step", **params).fit(df)


def near(actual: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-14) -> None:
    np.testing.assert_allclose(np.asarray(actual, dtype=float), np.asarray(expected, dtype=float), rtol, atol)


# --- worked cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("torch_batchnorm1d_train_two_batches", {}),
        ("torch_batchnorm1d_momentum_none_cumulative", {"momentum": None}),
        ("ghost_batch_norm_vbs2", {}),
    ],
)
def test_moving_statistics_of_worked_cases(spark: SparkSession, name: str, params: dict[str, Any]) -> None:
    """Mean, unbiased variance and the last batch in evaluation mode are as worked out."""
    given, expected = CASES[name]["inputs"], CASES[name]["expected"]
    batches = given.get("batches") or [given["x"][i : i + 2] for i in range(0, len(given["x"]), 2)]

    model = fit(frame(spark, batches), statistics="moving", epsilon=given["eps"], **params)

    near(model.runningMean, expected["steps"][-1]["running_mean"])
    near(model.runningVar, expected["steps"][-1]["running_var"])
    near(model.affine.apply(batches[-1]), expected["eval_y_last_batch"])
    assert model.numBatchesTracked == len(batches)


def test_the_two_precise_estimators_of_a_worked_case(spark: SparkSession) -> None:
    """Mean of batches averages unbiased variances; the population's is the biased one of all rows."""
    given, expected = CASES["precise_bn_two_estimators"]["inputs"], CASES["precise_bn_two_estimators"]["expected"]
    df = frame(spark, given["batches"])

    mean, population = fit(df, statistics="meanOfBatches"), fit(df)

    for model, found in ((mean, expected["mean_of_batch_variance"]), (population, expected["population_variance"])):
        near(model.runningMean, next(v for k, v in found.items() if "mean" in k))
        near(model.normalizingVar, next(v for k, v in found.items() if "var" in k))


@pytest.mark.parametrize(("rows", "data_format"), [("nchw_rows", "channelsFirst"), ("nhwc_rows", "channelsLast")])
def test_channels_of_a_worked_case(spark: SparkSession, rows: str, data_format: str) -> None:
    """Every place of a channel counts, wherever the format puts it."""
    given, expected = (CASES["channel_stats_from_flattened_rows"][k] for k in ("inputs", "expected"))
    shape = [given["channels"], given["spatial"]] if data_format == "channelsFirst" else [4, 2]

    model = fit(frame(spark, [given[rows]]), shape=shape, dataFormat=data_format)

    near(model.runningMean, expected["mean"])
    near(model.runningVarBiased, expected["var_biased"])
    near(model.runningVar, expected["var_unbiased"])
    assert (model.count, model.statistics.count.tolist()) == (2, [8.0, 8.0])


def test_unequal_partitions_combine_as_synchronized_batch_norm(spark: SparkSession) -> None:
    """Three ranks, one of them empty: the closed formula, and PyTorch's over all their rows in one process."""
    torch = pytest.importorskip("torch")
    given, expected = (CASES["syncbatchnorm_combine_three_ranks"][k] for k in ("inputs", "expected"))
    ranks = given["rank_inputs"]
    rows = [(k, [float(v) for v in row]) for k, rank in enumerate(ranks) for row in rank]
    df = spark.createDataFrame(rows, "rank int, x array<double>").repartition(len(ranks), "rank")
    layer = torch.nn.BatchNorm1d(2, eps=given["eps"], momentum=given["momentum"]).double()
    layer(torch.tensor([row for _, row in rows], dtype=torch.float64))

    model = BatchNorm(inputCol="x", batchCol="one", statistics="moving").fit(df.withColumn("one", F.lit(1)))
    parts = [BatchNorm(inputCol="x").fit(df.where(df["rank"] == k)) for k, rank in enumerate(ranks) if rank]
    merged = parts[0].merge(*parts[1:])

    near(merged.runningMean, expected["mean"])
    near(merged.runningVarBiased, expected["var_biased"])
    for mean, variance in (
        (expected["running_mean"], expected["running_var"]),
        (layer.running_mean, layer.running_var),
    ):
        near(model.runningMean, mean)
        near(model.runningVar, variance)


# --- PyTorch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0, None])
def test_moving_is_the_layer_run_batch_by_batch(data: DataFrame, images: list[np.ndarray], momentum: float) -> None:
    """Running statistics equal those of PyTorch's layer after the batches in their order."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm2d(CHANNELS, momentum=momentum).double()
    for batch in images:
        layer(torch.tensor(batch))

    model = fit(data, statistics="moving", momentum=momentum, shape=SHAPE)

    near(model.runningMean, layer.running_mean)
    near(model.runningVar, layer.running_var)
    assert model.numBatchesTracked == int(layer.num_batches_tracked) == len(images)


@pytest.mark.core
@pytest.mark.parametrize("column", ["x", "v"])
def test_batches_are_normalized_as_the_layer_does_in_training(
    data: DataFrame, images: list[np.ndarray], column: str
) -> None:
    """Each mini-batch by its own biased variance, then gain and bias; other columns stay."""
    gamma, beta = [2.0, 0.5, 0.0], [1.0, 0.0, -3.0]
    model = BatchNorm(inputCol=column, batchCol="step", shape=SHAPE, gamma=gamma, beta=beta).fit(data)

    out = model.normalizeBatches(data)

    assert out.columns == ["step", "x", "v", f"{column}_scaled"]
    found = {tuple(r["x"]): r[f"{column}_scaled"] for r in out.collect()}
    for batch in images:
        mean, variance = batch.mean((0, 2, 3), keepdims=True), batch.var((0, 2, 3), keepdims=True)
        per_channel = (np.reshape(p, (1, CHANNELS, 1, 1)) for p in (gamma, beta))
        gain, bias = per_channel
        expected = (batch - mean) / np.sqrt(variance + 1e-5) * gain + bias
        for x, y in zip(batch, expected, strict=True):
            near(found[tuple(x.ravel())], y.ravel())


@pytest.mark.one_world
@pytest.mark.parametrize("params", MODES, ids=str)
@pytest.mark.parametrize("shape", [None, [CHANNELS, 4], SHAPE])
def test_torch_layer_maps_as_the_model(
    data: DataFrame, images: list[np.ndarray], params: dict[str, Any], shape: list[int] | None
) -> None:
    """The exported layer is of the right kind, in evaluation mode, and equal to single precision."""
    torch = pytest.importorskip("torch")
    from sparkscale.export import to_torch

    channels = {"shape": shape, "gamma": [2.0, 0.5, -1.0], "beta": [0.0, 1.0, 3.0]} if shape else {}
    model = fit(data, **channels, **params)
    x = np.concatenate(images).reshape(-1, *(shape or [12]))

    layer = to_torch(model)

    assert isinstance(layer, torch.nn.BatchNorm2d if shape == SHAPE else torch.nn.BatchNorm1d)
    assert (layer.training, int(layer.num_batches_tracked)) == (False, model.numBatchesTracked)
    with torch.no_grad():
        found = layer(torch.tensor(x, dtype=torch.float32)).numpy()
    near(found.reshape(len(x), -1), model.affine.apply(x.reshape(len(x), -1)), 1e-5, 1e-5)


# --- Keras -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data_format", "shape"), [("channelsFirst", SHAPE), ("channelsLast", [2, 2, 3]), (None, None)]
)
def test_keras_layer_maps_as_the_model(
    data: DataFrame, images: list[np.ndarray], data_format: str | None, shape: list[int] | None
) -> None:
    """The exported layer normalizes over the right axis, equal to single precision."""
    pytest.importorskip("keras")
    from sparkscale.export import to_keras

    model = fit(data, **({"shape": shape, "dataFormat": data_format} if shape else {}), statistics="moving")
    x = np.concatenate(images).reshape(-1, *(shape or [12]))

    layer = to_keras(model)

    found = np.asarray(layer(x.astype(np.float32), training=False).detach())
    near(found.reshape(len(x), -1), model.affine.apply(x.reshape(len(x), -1)), 1e-5, 1e-5)
    assert layer.momentum == pytest.approx(0.9)


def test_biased_running_variance_is_that_of_keras(data: DataFrame, images: list[np.ndarray]) -> None:
    """Keras moves by the biased variance, and by 1 minus PyTorch's momentum."""
    pytest.importorskip("keras")
    import keras

    layer = keras.layers.BatchNormalization(axis=1, momentum=0.8, dtype="float64")
    for batch in images:
        layer(batch, training=True)

    model = fit(data, statistics="moving", momentum=0.2, shape=SHAPE)

    near(model.runningMean, layer.moving_mean.value.detach(), 1e-6, 1e-6)
    near(model.runningVarBiased, layer.moving_variance.value.detach(), 1e-6, 1e-6)


@pytest.mark.parametrize(("function", "module"), [("to_torch", "torch"), ("to_keras", "keras")])
def test_a_missing_framework_is_named_with_its_install_line(
    data: DataFrame, monkeypatch: pytest.MonkeyPatch, function: str, module: str
) -> None:
    """Who has not installed the extra is told how to."""
    from sparkscale import export

    monkeypatch.setitem(__import__("sys").modules, module, None)

    with pytest.raises(ImportError, match=rf"pip install 'sparkscale\[{module}\]'"):
        getattr(export, function)(fit(data))


# --- distribution ----------------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize("params", MODES, ids=str)
def test_partitions_are_not_batches(data: DataFrame, params: dict[str, Any]) -> None:
    """However the rows lie, the statistics are the same to 1e-12."""
    one, many = (fit(data.repartition(n), shape=SHAPE, **params) for n in (1, 13))

    near(one.runningMean, many.runningMean)
    near(one.runningVar, many.runningVar)
    near(one.affine.scale, many.affine.scale)


def test_batches_larger_than_a_task_may_hold_are_passed_on_in_parts(
    data: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound on what a task holds changes no number."""
    from sparkscale.spark import batches

    expected = fit(data, statistics="moving", shape=SHAPE)
    monkeypatch.setattr(batches, "NUMBERS", 1)

    actual = fit(data, statistics="moving", shape=SHAPE)

    near(actual.runningMean, expected.runningMean)
    near(actual.runningVar, expected.runningVar)


@pytest.mark.one_world
@pytest.mark.parametrize("kind", ["string", "date", "timestamp", "double", "decimal(10,2)", "boolean"])
def test_batches_may_be_told_by_any_ordered_type(data: DataFrame, kind: str) -> None:
    """The order is that of the column's own type."""
    texts = {
        "date": "date_add(date'2024-01-01', step)",
        "timestamp": "timestamp_seconds(step)",
        "boolean": "step > 1",
    }
    text = texts.get(kind, f"cast(step AS {kind})")
    other = data.withColumn("step", F.expr(f"if({text}, 1, 0)" if kind == "boolean" else "step"))
    expected = fit(other, statistics="moving", shape=SHAPE)

    actual = fit(data.withColumn("step", F.expr(text)), statistics="moving", shape=SHAPE)

    near(actual.runningMean, expected.runningMean)
    near(actual.runningVar, expected.runningVar)


@pytest.mark.core
def test_update_continues_a_moving_average(data: DataFrame) -> None:
    """The first batches, then the others: what all in one go give."""
    whole = fit(data, statistics="moving", shape=SHAPE)

    first = fit(data.where("step < 2"), statistics="moving", shape=SHAPE)
    updated = first.update(data.where("step >= 2"))

    near(updated.runningMean, whole.runningMean)
    near(updated.runningVar, whole.runningVar)
    assert (updated.numBatchesTracked, first.numBatchesTracked, updated.count) == (4, 2, sum(SIZES))


def test_means_of_batches_merge(data: DataFrame) -> None:
    """Averages of different batches merge into the average of all."""
    params = {"statistics": "meanOfBatches", "shape": SHAPE}
    whole = fit(data, **params)

    merged = fit(data.where("step = 1"), **params).merge(fit(data.where("step <> 1"), **params))

    near(merged.runningMean, whole.runningMean)
    near(merged.runningVar, whole.runningVar)
    assert merged.numBatchesTracked == len(SIZES)


def test_moving_averages_do_not_merge(data: DataFrame) -> None:
    """The refusal says why, and what to do."""
    model = fit(data, statistics="moving", shape=SHAPE)

    with pytest.raises(ParamError, match="moving averages do not merge.*Use update"):
        model.merge(model)
    with pytest.raises(ParamError, match="different statistics"):
        fit(data, shape=SHAPE).merge(model)
    with pytest.raises(ParamError, match="different shapes"):
        fit(data, shape=SHAPE).merge(fit(data, shape=[3, 4, 1]))


@pytest.mark.core
@pytest.mark.parametrize("params", MODES, ids=str)
def test_every_kind_of_statistics_is_saved_and_goes_on(data: DataFrame, tmp_path: Path, params: dict[str, Any]) -> None:
    """A loaded model maps, and learns on, as the saved one."""
    model = fit(data, shape=SHAPE, gamma=[1.0, 2.0, 3.0], **params)
    model.save(str(tmp_path / "m"))

    loaded = BatchNormModel.load(str(tmp_path / "m"))

    assert loaded.affine == model.affine
    assert (loaded.getMomentum(), loaded.getShape(), loaded.numBatchesTracked) == (
        model.getMomentum(),
        model.getShape(),
        model.numBatchesTracked,
    )
    assert loaded.update(data).affine == model.update(data).affine


# --- columns, invalid values and weights -----------------------------------------------------------------------


def test_all_kinds_of_columns_have_batches(spark: SparkSession) -> None:
    """Scalars, arrays, dense and sparse vectors of the same numbers have the same statistics, batch by batch."""
    rows = [
        (t, v, [v], Vectors.dense([v]), Vectors.sparse(1, [(0, v)] if v else []))
        for t, v in [(0, 1.0), (1, 0.0), (0, 4.0), (1, -2.5), (1, 0.0)]
    ]
    df = spark.createDataFrame(rows, ["step", "s", "a", "d", "z"])

    model = BatchNorm(inputCols=["s", "a", "d", "z"], batchCol="step", statistics="moving").fit(df)
    out = model.normalizeBatches(df).collect()

    assert np.unique(model.runningMean.toArray()).size == np.unique(model.runningVar.toArray()).size == 1
    for row in out:
        near([row.a_scaled[0], row.d_scaled[0], row.z_scaled[0]], [row.s_scaled] * 3)


@pytest.mark.parametrize("mode", ["keep", "skip"])
def test_invalid_values_never_enter_a_batch(spark: SparkSession, mode: str) -> None:
    """Null and NaN are left out of their channel, or their row is left out; null rows are counted as invalid."""
    nan = float("nan")
    rows = [
        (0, [1.0, 2.0]),
        (0, [3.0, None]),
        (0, [nan, 8.0]),
        (0, None),
        (0, [5.0, 4.0]),
        (1, [0.0, 0.0]),
        (1, [2.0, 6.0]),
    ]
    df = spark.createDataFrame(rows, "step int, x array<double>").repartition(4)
    first = np.array([[1.0, 2.0], [3.0, nan], [nan, 8.0], [5.0, 4.0]])
    if mode == "skip":
        first = first[np.isfinite(first).all(axis=1)]
    second = np.array([[0.0, 0.0], [2.0, 6.0]])

    model = fit(df, statistics="meanOfBatches", handleInvalid=mode)
    out = model.normalizeBatches(df).where("step = 0").collect()

    near(model.runningMean, (np.nanmean(first, axis=0) + second.mean(axis=0)) / 2)
    near(model.runningVar, (np.nanvar(first, axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 2)
    assert model.invalidCounts == [2, 2]
    found = {tuple(r.x): r.x_scaled for r in out if r.x is not None and None not in r.x and not np.isnan(r.x).any()}
    near(found[1.0, 2.0], ([1.0, 2.0] - np.nanmean(first, axis=0)) / np.sqrt(np.nanvar(first, axis=0) + 1e-5))
    assert len(out) == (5 if mode == "keep" else 2)


def test_weights_count_within_a_batch(spark: SparkSession) -> None:
    """A row of weight 2 is two rows to the mean and the biased variance; weight 0 is none."""
    rows = [(0, 1.0, 2.0), (0, 4.0, 1.0), (0, 100.0, 0.0), (1, 3.0, 1.0), (1, 5.0, 1.0)]
    df = spark.createDataFrame(rows, "step int, x double, w double")

    model = fit(df, statistics="meanOfBatches", weightCol="w")

    near(model.runningMean, [((1 + 1 + 4) / 3 + 4) / 2])
    near(model.runningVarBiased, [(np.var([1, 1, 4]) + 1.0) / 2])


def test_a_gain_of_zero_leaves_the_bias(data: DataFrame) -> None:
    """Gamma 0 is a usual initial value: its channel becomes beta, and comes back as its mean."""
    model = fit(data, shape=SHAPE, gamma=[1.0, 0.0, 1.0], beta=[0.0, 7.0, 0.0])

    out = model.transform(data)
    y = np.array(out.first()["x_scaled"]).reshape(SHAPE)
    x = np.array(model.inverseTransform(out.select("x_scaled")).first()["x"]).reshape(SHAPE)

    assert (y[1] == 7.0).all()
    near(x[1], np.full((2, 2), model.runningMean[1]))


def test_the_summary_has_one_row_a_channel(data: DataFrame) -> None:
    """Channels, not places."""
    table = fit(data, shape=SHAPE).summary()

    assert table.index.tolist() == ["x_channel_0", "x_channel_1", "x_channel_2"]
    assert table["count"].tolist() == [sum(SIZES) * 4] * 3


def test_channels_are_named_by_column(spark: SparkSession) -> None:
    """Those of each tensor, of which a scalar is one with a single channel; constant and empty ones, too."""
    df = spark.createDataFrame(
        [([1.0, 2.0], [None, 5.0]), ([3.0, 4.0], [None, 5.0])], "x array<double>, y array<double>"
    )
    model = BatchNorm(inputCols=["x", "y"], shape=[2]).fit(df)
    scalar = BatchNorm(inputCol="z", shape=[1]).fit(df.selectExpr("x[0] AS z"))

    assert model.summary().index.tolist() == ["x_channel_0", "x_channel_1", "y_channel_0", "y_channel_1"]
    assert (model.constantFeatures, model.emptyFeatures) == (["y_channel_1"], ["y_channel_0"])
    assert scalar.summary().index.tolist() == ["z_channel_0"]


@pytest.mark.parametrize("data_format", ["channelsFirst", "channelsLast"])
def test_several_tensors_have_their_own_channels(spark: SparkSession, data_format: str) -> None:
    """Statistics, gain and bias go by column and channel, in every way that a row is mapped."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(2.0, 3.0, (2, 9, 6)).tolist()
    df = spark.createDataFrame(
        [(0, a, b) for a, b in zip(x, y, strict=True)], "step int, x array<double>, y array<double>"
    )
    df = df.withColumn("y", array_to_vector("y"))
    shape, gamma, beta = [2, 3], np.arange(1.0, 7.0), np.arange(6.0)
    channels = 2 if data_format == "channelsFirst" else 3
    gamma, beta = gamma[: 2 * channels], beta[: 2 * channels]
    of = np.arange(6) // 3 if channels == 2 else np.arange(6) % 3

    model = BatchNorm(
        inputCols=["x", "y"], shape=shape, dataFormat=data_format, gamma=gamma, beta=beta, batchCol="step"
    ).fit(df)

    expected = []
    for k, column in enumerate(np.array([x, y])):
        mean, variance = (np.array([f(column[:, of == c]) for c in range(channels)])[of] for f in (np.mean, np.var))
        gain, bias = (p[k * channels : (k + 1) * channels][of] for p in (gamma, beta))
        expected.append((column - mean) / np.sqrt(variance + 1e-5) * gain + bias)
    order = [tuple(row) for row in x]
    as_arrays = df.withColumn("y", F.expr("transform(sequence(0, 5), i -> 0D)"))
    texts = model.toSQL()
    by_sql = as_arrays.selectExpr("x", f"{texts['x_scaled']} AS x_scaled").collect()
    for found in (model.transform(df).collect(), model.normalizeBatches(df).collect()):
        for row in found:
            at = order.index(tuple(row["x"]))
            near(row["x_scaled"], expected[0][at])
            near(row["y_scaled"].toArray(), expected[1][at])
    near([r["x_scaled"] for r in by_sql], expected[0])
    back = model.inverseTransform(model.transform(df).drop("x", "y")).collect()
    near([r["x"] for r in back], x)
    near([r["y"].toArray() for r in back], y)


def test_hours_that_come_twice_are_two_batches(spark: SparkSession) -> None:
    """When clocks go back, timestamps an hour apart look alike in local time, and are told apart."""
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        rows = [(t, float(v)) for t, v in [(1762059600, 1), (1762059600, 3), (1762063200, 5), (1762063200, 9)]]
        df = spark.createDataFrame(rows, "s long, x double").selectExpr("timestamp_seconds(s) AS step", "x")

        model = fit(df, statistics="moving", momentum=0.5)
        found = sorted(r["x_scaled"] for r in model.normalizeBatches(df).collect())
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)

    assert model.numBatchesTracked == 2
    near(model.runningMean, [0.5 * (0.5 * 2.0) + 0.5 * 7.0])
    near(found, [-1.0, -1.0, 1.0, 1.0], rtol=1e-5)


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"epsilon": -1.0}, "epsilon must be at least 0"),
        ({"momentum": 1.5}, "momentum must be between 0 and 1"),
        ({"momentum": -0.1}, "momentum must be between 0 and 1"),
        ({"statistics": "running"}, "statistics must be one of 'population', 'meanOfBatches', 'moving'"),
        ({"dataFormat": "NCHW", "shape": SHAPE}, "dataFormat must be one of"),
        ({"shape": [3, 0]}, "shape must be a list of positive integers"),
        ({"gamma": [1.0, 2.0], "shape": SHAPE}, "gamma has 2 values for 3 channels"),
        ({"beta": [float("nan")]}, "beta must be a list of finite numbers"),
        ({"statistics": "moving", "batchCol": None}, "batchCol is not set"),
    ],
)
def test_params_that_cannot_be_used_are_refused_before_any_job(
    data: DataFrame, params: dict[str, Any], message: str
) -> None:
    """Each refusal names the Param and its value; the data are never read."""
    never = data.withColumn("x", F.expr("transform(x, v -> double(raise_error('read')))"))

    with pytest.raises(ParamError, match=message):
        BatchNorm(**{"inputCol": "x", "batchCol": "step", **params}).fit(never)


def test_a_shape_that_does_not_fit_the_rows_is_refused(data: DataFrame) -> None:
    """Both numbers are named, for arrays of any statistics, and for vectors before any job."""
    for params in MODES:
        with pytest.raises(SizeMismatchError, match=r"'x' has rows of length 12, but shape \[5, 2\] multiplies to 10"):
            fit(data, shape=[5, 2], **params)


@pytest.mark.parametrize("name", ["epoch", "x"])
def test_a_batch_column_that_is_missing_or_unordered_is_refused(data: DataFrame, name: str) -> None:
    """The column is named."""
    kind = ColumnNotFoundError if name == "epoch" else ColumnTypeError
    with pytest.raises(kind, match=f"'{name}'"):
        BatchNorm(inputCol="v", batchCol=name, statistics="moving").fit(data)


def test_a_null_batch_is_refused(data: DataFrame) -> None:
    """A row of no batch is never left out silently."""
    df = data.withColumn("step", F.expr("nullif(step, 1)"))
    with pytest.raises(BatchError, match="'step' is null"):
        fit(df, statistics="meanOfBatches")
    with pytest.raises(Exception, match="'step' is null"):
        fit(data).normalizeBatches(df).collect()
    with pytest.raises(BatchError, match="'step' is NaN"):
        fit(data.withColumn("step", F.expr("if(step = 1, double('NaN'), step)")), statistics="moving")


def test_a_batch_of_one_value_is_refused(spark: SparkSession) -> None:
    """As PyTorch refuses it: one value has no variance. The batch and the channel are named."""
    df = frame(spark, [[[1.0, 2.0], [3.0, float("nan")]], [[1.0, 2.0], [3.0, 5.0]]])
    with pytest.raises(BatchError, match=r"Batch 0 holds 1 valid value\(s\) in channel 1 of column 'x'"):
        fit(df, statistics="moving")
    with pytest.raises(Exception, match="Batch 0 holds 1 valid value"):
        fit(df).normalizeBatches(df).collect()


def test_an_invalid_value_is_an_error_if_asked_for(spark: SparkSession) -> None:
    """In fit, in transform and in training mode."""
    clean = frame(spark, [[[1.0, 2.0], [3.0, 5.0]]])
    df = frame(spark, [[[1.0, 2.0], [3.0, float("nan")], [0.0, 0.0], [1.0, 1.0]]])
    with pytest.raises(InvalidValueError, match="'x' holds NaN"):
        fit(df, statistics="moving", handleInvalid="error")
    with pytest.raises(Exception, match="'x' holds NaN"):
        fit(clean, handleInvalid="error").normalizeBatches(df).collect()


def test_a_batch_whose_variance_overflows_is_refused(spark: SparkSession) -> None:
    """As fit refuses it; it is never silently the bias."""
    df = frame(spark, [[[1e200], [-1e200]]])
    with pytest.raises(RangeOverflowError):
        fit(df, statistics="moving")
    with pytest.raises(Exception, match="variance of batch 0 is not representable"):
        fit(frame(spark, [[[1.0], [2.0]]])).normalizeBatches(df).collect()


def test_what_layers_cannot_hold_is_not_exported(spark: SparkSession) -> None:
    """Numbers beyond single precision, several tensors, channels without a value, other models."""
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    from sparkscale import StandardScalerModel
    from sparkscale.export import to_keras, to_torch

    rows = [(0, [1e20, 3.0], [1.0, 2.0]), (0, [-1e20, 5.0], [3.0, 4.0])]
    df = spark.createDataFrame(rows, "step int, x array<double>, y array<double>")
    with pytest.raises(RangeOverflowError, match="single precision"):
        to_torch(fit(df))
    with pytest.raises(ParamError, match="one column"):
        to_keras(BatchNorm(inputCols=["x", "y"], shape=[2]).fit(df.withColumn("x", F.col("y"))))
    with pytest.raises(ParamError, match="without a valid value.*x_0"):
        to_torch(fit(df.withColumn("x", F.expr("transform(x, (v, i) -> if(i = 0, null, v))"))))
    with pytest.raises(ParamError, match="Got StandardScalerModel"):
        to_torch(StandardScalerModel())


def test_momentum_none_is_a_value() -> None:
    """It asks for the plain average, wherever it is given."""
    assert BatchNorm(momentum=None).getMomentum() is None
    assert BatchNorm().setParams(momentum=None).getMomentum() is None
    assert BatchNorm(momentum=None).setParams(epsilon=1.0).getMomentum() is None


def test_a_moving_average_does_not_go_on_as_a_plain_one(data: DataFrame) -> None:
    """momentum=None after fit has no meaning."""
    model = fit(data, statistics="moving").setMomentum(None)

    assert isinstance(model.statistics, MovingAverage)
    with pytest.raises(ParamError, match="cannot go on as a plain one"):
        model.update(data)
