"""Batch normalization: against worked cases, PyTorch's and Keras's layers, and closed formulas."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, IntegerType, LongType, StructField, StructType

import frames
import scans
import torch_numbers
from frames import NAN, cells, vector_field
from sparkscale import BatchNorm, BatchNormModel, StandardScalerModel, export
from sparkscale.blocks import DenseBlock
from sparkscale.errors import (
    BatchError,
    ColumnNotFoundError,
    ColumnTypeError,
    InvalidValueError,
    ParamError,
    RangeOverflowError,
    SizeMismatchError,
)
from sparkscale.scalers import _fit
from sparkscale.spark import gpu
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import key_runs, keyed, selection
from sparkscale.statistics import Moments, MovingAverage
from store import Store
from strategies import Row

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "batch_norm_cases.json").read_text("utf-8"))["cases"]
}
SHAPE = [3, 2, 2]  # of the images below
CHANNELS = 3
GIVEN, BY_PYTORCH = torch_numbers.read()
IMAGES = GIVEN["images"]
SIZES = tuple(map(len, IMAGES))  # rows of the mini-batches
MODES = ({}, {"statistics": "meanOfBatches"}, {"statistics": "moving"}, {"statistics": "moving", "momentum": None})


near = partial(frames.near, atol=1e-14)


# --- mini-batches without Spark ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows(scans.Partitions):
    """Replaces a DataFrame whose column ``step`` has the mini-batch of each row."""

    steps: Sequence[Sequence[int]] = ()

    @property
    def schema(self) -> StructType:
        return StructType([*super().schema.fields, StructField("step", IntegerType())])

    def keyed(self, groups: Sequence[selection.Group], *, weighted: bool) -> Tasks:
        """Return what all partitions send, with the batch of each row."""
        sent = []
        for number, steps in enumerate(self.steps):
            left = list(steps)
            sent.append([])
            for batch in self.batches(number, groups, weighted):
                step, left = left[: batch.num_rows], left[batch.num_rows :]
                columns = [*batch.columns, pa.array(step, pa.int32())]
                sent[-1].append(pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, "b"]))
        return Tasks(sent)


@dataclass(frozen=True)
class Tasks:
    """Replaces a DataFrame within tasks: Arrow batches by partition."""

    partitions: Sequence[Sequence[pa.RecordBatch]]

    def mapInArrow(self, function: Callable[..., Iterator[pa.RecordBatch]], schema: str) -> Tasks:
        returned = []
        for number, sent in enumerate(self.partitions):
            with patch.object(gpu, "partition_id", return_value=number):
                returned.append([*function(iter(sent))])
        return Tasks(returned)

    def repartition(self, by: str | int) -> Tasks:
        """Rows of the same key meet in one of two tasks, or all in one, those of the last partition first."""
        met = [batch for sent in reversed(self.partitions) for batch in sent]
        if isinstance(by, int) or not met:
            return Tasks([met])
        rows = pa.Table.from_batches(met)
        keys = pc.unique(rows[by])
        return Tasks([rows.filter(pc.is_in(rows[by], keys[k::2])).to_batches() for k in (0, 1)])

    def sortWithinPartitions(self, *names: str) -> Tasks:
        order = [(name, "ascending") for name in names]
        return Tasks([pa.Table.from_batches(p).sort_by(order).to_batches() if p else [] for p in self.partitions])

    def toArrow(self) -> pa.Table:
        return pa.Table.from_batches([batch for sent in self.partitions for batch in sent])


@contextmanager
def without_spark() -> Iterator[None]:
    """Let a fit or an update of rows run in a single process."""

    def select(df: Rows, groups: Sequence[selection.Group], strict: bool, weight: Any, key: str) -> Tasks:
        return df.keyed(groups, weighted=weight is not None)

    with patch.object(keyed, "select", select), patch.object(_fit, "summarize", scans._summarized):
        yield


def learned(rows: Rows, **params: Any) -> BatchNormModel:
    """Fit without Spark."""
    with without_spark():
        return BatchNorm(**{"inputCol": "array", "batchCol": "step", **params}).fit(rows)


def updated(model: BatchNormModel, rows: Rows) -> BatchNormModel:
    """Update without Spark."""
    with without_spark():
        return model.update(rows)


def dealt(rows: Sequence[tuple[int, Row]], partitions: int, weights: Sequence[float] | None = None) -> Rows:
    """Deal rows of mini-batches out to partitions."""
    features = max(len(row) for _, row in rows if row is not None)
    return Rows(
        [[row for _, row in rows[k::partitions]] for k in range(partitions)],
        weights and [weights[k::partitions] for k in range(partitions)],
        features=features,
        steps=[[step for step, _ in rows[k::partitions]] for k in range(partitions)],
    )


def flat(tensors: Sequence[Any]) -> list[tuple[int, list[float]]]:
    """Return rows of flattened tensors, each with its batch."""
    return [(t, [float(v) for v in np.ravel(row)]) for t, batch in enumerate(tensors) for row in batch]


def torn(tensors: Sequence[Any], partitions: int = 3) -> Rows:
    """Return flattened tensors torn over partitions and out of order."""
    return dealt(flat(tensors)[::-1], partitions)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Mini-batches of images, channels first."""
    return IMAGES


@pytest.fixture(scope="module")
def data(spark: SparkSession, images: list[np.ndarray]) -> DataFrame:
    """The images as arrays and as vectors, torn over partitions and out of order."""
    rows = spark.createDataFrame(flat(images)[::-1], "step int, x array<double>").repartition(5).localCheckpoint()
    return rows.withColumn("v", array_to_vector("x")).withMetadata("v", vector_field("v", 12).metadata)


@pytest.fixture(scope="module")
def fitted(data: DataFrame) -> dict[str, BatchNormModel]:
    """What is learned of both columns, by the kind of statistics. Tests that set Params copy it."""
    kinds = ("population", "meanOfBatches", "moving")
    params = {"inputCols": ["x", "v"], "batchCol": "step", "shape": SHAPE}
    return {kind: BatchNorm(**params, statistics=kind).fit(data) for kind in kinds}


def moved(tensors: Sequence[np.ndarray], momentum: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the running mean, unbiased and biased variance after mini-batches, channels first, step by step."""
    running = np.array([np.zeros(CHANNELS), np.ones(CHANNELS), np.ones(CHANNELS)])
    for t, batch in enumerate(tensors, 1):
        rows = np.moveaxis(batch, 1, -1).reshape(-1, CHANNELS)
        weight = 1 / t if momentum is None else momentum
        now = np.array([rows.mean(axis=0), rows.var(axis=0, ddof=1), rows.var(axis=0)])
        running = (1 - weight) * running + weight * now
    return tuple(running)


# --- worked cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("torch_batchnorm1d_train_two_batches", {}),
        ("torch_batchnorm1d_momentum_none_cumulative", {"momentum": None}),
        ("ghost_batch_norm_vbs2", {}),
    ],
)
def test_moving_statistics_of_worked_cases(name: str, params: dict[str, Any]) -> None:
    """Mean, unbiased variance and the last batch in evaluation mode are as worked out."""
    given, expected = CASES[name]["inputs"], CASES[name]["expected"]
    tensors = given.get("batches") or [given["x"][i : i + 2] for i in range(0, len(given["x"]), 2)]

    model = learned(torn(tensors), statistics="moving", epsilon=given["eps"], **params)

    near(model.runningMean, expected["steps"][-1]["running_mean"])
    near(model.runningVar, expected["steps"][-1]["running_var"])
    near(model.affine.apply(tensors[-1]), expected["eval_y_last_batch"])
    assert model.numBatchesTracked == len(tensors)


def test_the_two_precise_estimators_of_a_worked_case() -> None:
    """Mean of batches averages unbiased variances; the population's is the biased one of all rows."""
    given, expected = CASES["precise_bn_two_estimators"]["inputs"], CASES["precise_bn_two_estimators"]["expected"]
    rows = torn(given["batches"])

    mean, population = learned(rows, statistics="meanOfBatches"), learned(rows)

    for model, worked in ((mean, expected["mean_of_batch_variance"]), (population, expected["population_variance"])):
        near(model.runningMean, next(v for k, v in worked.items() if "mean" in k))
        near(model.normalizingVar, next(v for k, v in worked.items() if "var" in k))


@pytest.mark.parametrize(("rows", "data_format"), [("nchw_rows", "channelsFirst"), ("nhwc_rows", "channelsLast")])
def test_channels_of_a_worked_case(rows: str, data_format: str) -> None:
    """Every place of a channel counts, wherever the format puts it."""
    given, expected = (CASES["channel_stats_from_flattened_rows"][k] for k in ("inputs", "expected"))
    shape = [given["channels"], given["spatial"]] if data_format == "channelsFirst" else [4, 2]

    model = learned(torn([given[rows]]), shape=shape, dataFormat=data_format)

    near(model.runningMean, expected["mean"])
    near(model.runningVarBiased, expected["var_biased"])
    near(model.runningVar, expected["var_unbiased"])
    assert (model.count, model.statistics.count.tolist()) == (2, [8.0, 8.0])


def test_unequal_partitions_combine_as_synchronized_batch_norm() -> None:
    """Three ranks, one of them empty: the closed formula, and PyTorch's layer after all their rows in one process."""
    given, expected = (CASES["syncbatchnorm_combine_three_ranks"][k] for k in ("inputs", "expected"))
    ranks = given["rank_inputs"]
    rows = Rows(ranks, features=2, steps=[[1] * len(rank) for rank in ranks])

    model = learned(rows, statistics="moving")
    models = [learned(torn([rank], 1)) for rank in ranks if rank]
    merged = models[0].merge(*models[1:])

    near(merged.runningMean, expected["mean"])
    near(merged.runningVarBiased, expected["var_biased"])
    for mean, variance in (
        (expected["running_mean"], expected["running_var"]),
        (BY_PYTORCH["running mean ranks"], BY_PYTORCH["running var ranks"]),
    ):
        near(model.runningMean, mean)
        near(model.runningVar, variance)


# --- PyTorch ---------------------------------------------------------------------------------------------------

MOMENTA = torch_numbers.MOMENTA


@pytest.mark.parametrize("momentum", MOMENTA)
def test_moving_statistics_follow_the_formula(images: list[np.ndarray], momentum: float | None) -> None:
    """Running statistics are those of the formula after the batches in their order."""
    mean, unbiased, biased = moved(images, momentum)

    model = learned(torn(images), statistics="moving", momentum=momentum, shape=SHAPE)

    near(model.runningMean, mean)
    near(model.runningVar, unbiased)
    near(model.runningVarBiased, biased)
    assert model.numBatchesTracked == len(images)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_moving_statistics_equal_those_of_the_pytorch_layer(momentum: float | None) -> None:
    """Running statistics equal those of PyTorch's layer after the batches in their order."""
    model = learned(torn(IMAGES), statistics="moving", momentum=momentum, shape=SHAPE)

    near(model.runningMean, BY_PYTORCH[f"running mean {momentum}"])
    near(model.runningVar, BY_PYTORCH[f"running var {momentum}"])
    assert model.numBatchesTracked == len(IMAGES)


@pytest.mark.core
def test_batches_are_normalized_as_the_layer_does_in_training(
    data: DataFrame, images: list[np.ndarray], fitted: dict[str, BatchNormModel]
) -> None:
    """Each mini-batch by its own biased variance, then gain and bias; other columns stay."""
    gamma, beta = np.array([[2.0, 0.5, 0.0], [-1.0, 1.0, 3.0]]), np.array([[1.0, 0.0, -3.0], [0.0, 2.0, 0.5]])
    model = fitted["population"].copy().setGamma(gamma.ravel().tolist()).setBeta(beta.ravel().tolist())

    out = model.normalizeBatches(data)

    assert out.columns == ["step", "x", "v", "x_scaled", "v_scaled"]
    normalized = {tuple(x): (x_scaled, v_scaled) for _, x, _, x_scaled, v_scaled in cells(out)}
    for batch in images:
        mean, variance = batch.mean((0, 2, 3), keepdims=True), batch.var((0, 2, 3), keepdims=True)
        for column in (0, 1):
            gain, bias = (np.reshape(p[column], (1, CHANNELS, 1, 1)) for p in (gamma, beta))
            expected = (batch - mean) / np.sqrt(variance + 1e-5) * gain + bias
            for x, y in zip(batch, expected, strict=True):
                near(normalized[tuple(x.ravel())][column], y.ravel())


@pytest.mark.third_party
@pytest.mark.parametrize("params", MODES, ids=str)
@pytest.mark.parametrize("shape", [None, [CHANNELS, 4], SHAPE])
def test_torch_layer_maps_as_the_model(
    images: list[np.ndarray], params: dict[str, Any], shape: list[int] | None
) -> None:
    """The exported layer is of the right kind, in evaluation mode, and equal to single precision."""
    import torch

    channels = {"shape": shape, "gamma": [2.0, 0.5, -1.0], "beta": [0.0, 1.0, 3.0]} if shape else {}
    model = learned(torn(images), **channels, **params)
    x = np.concatenate(images).reshape(-1, *(shape or [12]))

    layer = export.to_torch(model)

    assert isinstance(layer, torch.nn.BatchNorm2d if shape == SHAPE else torch.nn.BatchNorm1d)
    assert (layer.training, int(layer.num_batches_tracked)) == (False, model.numBatchesTracked)
    with torch.no_grad():
        mapped = layer(torch.tensor(x, dtype=torch.float32)).numpy()
    near(mapped.reshape(len(x), -1), model.affine.apply(x.reshape(len(x), -1)), 1e-5, atol=1e-5)


# --- Keras -----------------------------------------------------------------------------------------------------


@pytest.mark.third_party
@pytest.mark.parametrize(
    ("data_format", "shape"), [("channelsFirst", SHAPE), ("channelsLast", [2, 2, 3]), (None, None)]
)
def test_keras_layer_maps_as_the_model(
    images: list[np.ndarray], data_format: str | None, shape: list[int] | None
) -> None:
    """The exported layer normalizes over the right axis, equal to single precision."""
    channels = {"shape": shape, "dataFormat": data_format} if shape else {}
    model = learned(torn(images), **channels, statistics="moving")
    x = np.concatenate(images).reshape(-1, *(shape or [12]))

    layer = export.to_keras(model)

    mapped = np.asarray(layer(x.astype(np.float32), training=False).detach())
    near(mapped.reshape(len(x), -1), model.affine.apply(x.reshape(len(x), -1)), 1e-5, atol=1e-5)
    assert layer.momentum == pytest.approx(0.9)


@pytest.mark.third_party
def test_biased_running_variance_is_that_of_keras(images: list[np.ndarray]) -> None:
    """Keras moves by the biased variance, and by 1 minus PyTorch's momentum."""
    import keras

    layer = keras.layers.BatchNormalization(axis=1, momentum=0.8, dtype="float64")
    for batch in images:
        layer(batch, training=True)

    model = learned(torn(images), statistics="moving", momentum=0.2, shape=SHAPE)

    near(model.runningMean, layer.moving_mean.value.detach(), 1e-6, atol=1e-6)
    near(model.runningVarBiased, layer.moving_variance.value.detach(), 1e-6, atol=1e-6)


@pytest.mark.parametrize(("function", "module"), [("to_torch", "torch"), ("to_keras", "keras")])
def test_a_missing_framework_is_named_with_its_install_line(
    images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, function: str, module: str
) -> None:
    """The error says how to install the missing extra."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ImportError, match=rf"pip install 'sparkscale\[{module}\]'"):
        getattr(export, function)(learned(torn(images)))


# --- distribution ----------------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize("kind", ["population", "meanOfBatches", "moving"])
def test_fit_on_spark_equals_fit_in_one_process(
    images: list[np.ndarray], fitted: dict[str, BatchNormModel], kind: str
) -> None:
    """For arrays and vectors, to 1e-12."""
    expected, model = learned(torn(images), shape=SHAPE, statistics=kind), fitted[kind]

    near(np.reshape(model.runningMean, (2, -1)), [expected.runningMean] * 2)
    near(np.reshape(model.runningVar, (2, -1)), [expected.runningVar] * 2)
    near(np.reshape(model.affine.scale, (2, -1)), [expected.affine.scale] * 2)
    assert (model.numBatchesTracked, model.count) == (expected.numBatchesTracked, expected.count)


@pytest.mark.parametrize("params", MODES, ids=str)
def test_partitions_are_not_batches(images: list[np.ndarray], params: dict[str, Any]) -> None:
    """Any partitioning gives the same statistics to 1e-12."""
    one, many = (learned(torn(images, n), shape=SHAPE, **params) for n in (1, 13))

    near(one.runningMean, many.runningMean)
    near(one.runningVar, many.runningVar)
    near(one.affine.scale, many.affine.scale)


def test_batches_above_the_memory_limit_are_sent_in_chunks(
    images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound on what a task holds changes no number."""
    expected = learned(torn(images), statistics="moving", shape=SHAPE)
    monkeypatch.setattr(key_runs, "MOST_NUMBERS", 1)

    actual = learned(torn(images), statistics="moving", shape=SHAPE)

    near(actual.runningMean, expected.runningMean)
    near(actual.runningVar, expected.runningVar)


@pytest.mark.classic_only
def test_zeros_of_both_signs_are_one_batch(spark: SparkSession) -> None:
    """As they are to Spark's GROUP BY, wherever their rows lie."""
    rows = [(0.0, 1.0), (-0.0, 2.0), (0.0, 6.0), (1.0, 3.0), (1.0, 5.0)]
    df = spark.createDataFrame(rows, "step double, x double").repartition(3)
    model = BatchNorm(inputCol="x", batchCol="step", statistics="meanOfBatches").fit(df)

    assert model.numBatchesTracked == 2
    near(model.runningMean, [3.5])


@pytest.mark.classic_only
@pytest.mark.parametrize("kind", ["string", "date", "timestamp", "double", "decimal(10,2)", "boolean"])
def test_batch_column_may_have_any_ordered_type(data: DataFrame, images: list[np.ndarray], kind: str) -> None:
    """The order is that of the column's own type."""
    texts = {
        "date": "date_add(date'2024-01-01', step)",
        "timestamp": "timestamp_seconds(step)",
        "boolean": "step > 1",
    }
    tensors = [np.concatenate(images[:2]), np.concatenate(images[2:])] if kind == "boolean" else images
    expected = learned(torn(tensors), statistics="moving", shape=SHAPE)
    df = data.withColumn("step", F.expr(texts.get(kind, f"cast(step AS {kind})")))

    actual = BatchNorm(inputCol="x", batchCol="step", statistics="moving", shape=SHAPE).fit(df)

    near(actual.runningMean, expected.runningMean)
    near(actual.runningVar, expected.runningVar)


def test_update_continues_a_moving_average(images: list[np.ndarray]) -> None:
    """Updating with later batches equals fitting on all batches."""
    params = {"statistics": "moving", "shape": SHAPE}
    whole = learned(torn(images), **params)

    first = learned(torn(images[:2]), **params)
    both = updated(first, torn(images[2:]))

    near(both.runningMean, whole.runningMean)
    near(both.runningVar, whole.runningVar)
    assert (both.numBatchesTracked, first.numBatchesTracked, both.count) == (4, 2, sum(SIZES))


@pytest.mark.core
def test_a_moving_average_is_saved_and_goes_on(data: DataFrame, images: list[np.ndarray], tmp_path: Path) -> None:
    """By Spark: what is loaded is updated with the batches that come later."""
    whole = learned(torn(images), statistics="moving", shape=SHAPE)
    first = learned(torn(images[:2]), statistics="moving", shape=SHAPE).setInputCol("x")
    first.save(str(tmp_path / "m"))

    both = BatchNormModel.load(str(tmp_path / "m")).update(data.where("step >= 2"))

    near(both.runningMean, whole.runningMean)
    near(both.runningVar, whole.runningVar)
    assert (both.numBatchesTracked, both.count) == (4, sum(SIZES))


def test_means_of_batches_merge(images: list[np.ndarray]) -> None:
    """Averages of different batches merge into the average of all."""
    params = {"statistics": "meanOfBatches", "shape": SHAPE}
    whole = learned(torn(images), **params)

    merged = learned(torn(images[1:2]), **params).merge(learned(torn([images[0], *images[2:]]), **params))

    near(merged.runningMean, whole.runningMean)
    near(merged.runningVar, whole.runningVar)
    assert merged.numBatchesTracked == len(SIZES)


def test_moving_averages_do_not_merge(images: list[np.ndarray]) -> None:
    """The refusal says why, and what to do."""
    rows = torn(images)
    model = learned(rows, statistics="moving", shape=SHAPE)

    with pytest.raises(ParamError, match=r"moving averages do not merge.*Use update"):
        model.merge(model)
    with pytest.raises(ParamError, match="different statistics"):
        learned(rows, shape=SHAPE).merge(model)
    with pytest.raises(ParamError, match="different shapes"):
        learned(rows, shape=SHAPE).merge(learned(rows, shape=[3, 4, 1]))


@pytest.mark.parametrize("params", MODES, ids=str)
def test_every_kind_of_statistics_is_saved_and_goes_on(images: list[np.ndarray], params: dict[str, Any]) -> None:
    """A loaded model maps, and learns on, as the saved one."""
    rows, store = torn(images), Store()
    model = learned(rows, shape=SHAPE, gamma=[1.0, 2.0, 3.0], **params)
    model.write().session(store).save("m")

    loaded = BatchNormModel.read().session(store).load("m")

    assert loaded.affine == model.affine
    assert (loaded.getMomentum(), loaded.getShape(), loaded.numBatchesTracked) == (
        model.getMomentum(),
        model.getShape(),
        model.numBatchesTracked,
    )
    assert updated(loaded, rows).affine == updated(model, rows).affine


# --- columns, invalid values and weights -----------------------------------------------------------------------


@pytest.mark.core
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
    rows = [
        (0, [1.0, 2.0]),
        (0, [3.0, None]),
        (0, [NAN, 8.0]),
        (0, None),
        (0, [5.0, 4.0]),
        (1, [0.0, 0.0]),
        (1, [2.0, 6.0]),
    ]
    df = spark.createDataFrame(rows, "step int, array array<double>")
    first = np.array([[1.0, 2.0], [3.0, NAN], [NAN, 8.0], [5.0, 4.0]])
    if mode == "skip":
        first = first[np.isfinite(first).all(axis=1)]
    second = np.array([[0.0, 0.0], [2.0, 6.0]])

    model = learned(dealt(rows, 4), statistics="meanOfBatches", handleInvalid=mode)
    out = model.normalizeBatches(df).where("step = 0").collect()

    near(model.runningMean, (np.nanmean(first, axis=0) + second.mean(axis=0)) / 2)
    near(model.runningVar, (np.nanvar(first, axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 2)
    assert model.invalidCounts == [2, 2]
    complete = [r for r in out if r.array is not None and None not in r.array and not np.isnan(r.array).any()]
    normalized = {tuple(r.array): r.array_scaled for r in complete}
    near(normalized[1.0, 2.0], ([1.0, 2.0] - np.nanmean(first, axis=0)) / np.sqrt(np.nanvar(first, axis=0) + 1e-5))
    assert len(out) == (5 if mode == "keep" else 2)


def test_weights_count_within_a_batch() -> None:
    """A row of weight 2 is two rows to the mean and the biased variance; weight 0 is none."""
    rows = [(0, [1.0]), (0, [4.0]), (0, [100.0]), (1, [3.0]), (1, [5.0])]

    model = learned(dealt(rows, 2, [2.0, 1.0, 0.0, 1.0, 1.0]), inputCol="s0", statistics="meanOfBatches", weightCol="w")

    near(model.runningMean, [((1 + 1 + 4) / 3 + 4) / 2])
    near(model.runningVarBiased, [(np.var([1, 1, 4]) + 1.0) / 2])


def test_a_gain_of_zero_leaves_the_bias(data: DataFrame, fitted: dict[str, BatchNormModel]) -> None:
    """Gamma 0 is a usual initial value: its channel becomes beta, and comes back as its mean."""
    model = fitted["population"].copy().setGamma([1.0, 0.0, 1.0] * 2).setBeta([0.0, 7.0, 0.0] * 2)

    row = model.inverseTransform(model.transform(data).drop("x", "v")).first()
    for column in ("x", "v"):
        y, x = (np.reshape([*row[name]], SHAPE) for name in (f"{column}_scaled", column))
        assert (y[1] == 7.0).all()
        near(x[1], np.full((2, 2), model.runningMean[1]))


def test_the_summary_has_one_row_a_channel(images: list[np.ndarray]) -> None:
    """Channels, not places."""
    table = learned(torn(images), shape=SHAPE).summary()

    assert table.index.tolist() == ["array_channel_0", "array_channel_1", "array_channel_2"]
    assert table["count"].tolist() == [sum(SIZES) * 4] * 3


def of_channels(columns: list[FeatureColumn], rows: Any, **params: Any) -> BatchNormModel:
    """Return a model of columns in which each feature is a channel."""
    model = BatchNormModel()._set(inputCols=[column.name for column in columns], **params)
    model._learn(columns, Moments.of(DenseBlock(np.array(rows, dtype=np.float64))), skips=False)
    return model


def test_channels_are_named_by_column() -> None:
    """Those of each tensor, of which a scalar is one with a single channel; constant and empty ones, too."""
    tensors = [FeatureColumn(name, "array", size=2) for name in ("x", "y")]
    model = of_channels(tensors, [[1.0, 2.0, NAN, 5.0], [3.0, 4.0, NAN, 5.0]], shape=[2])
    scalar = of_channels([FeatureColumn("z", "scalar", size=1)], [[1.0], [3.0]], shape=[1])

    assert model.summary().index.tolist() == ["x_channel_0", "x_channel_1", "y_channel_0", "y_channel_1"]
    assert (model.constantFeatures, model.emptyFeatures) == (["y_channel_1"], ["y_channel_0"])
    assert scalar.summary().index.tolist() == ["z_channel_0"]


@pytest.mark.parametrize("data_format", ["channelsFirst", "channelsLast"])
def test_channels_are_per_tensor(spark: SparkSession, data_format: str) -> None:
    """Statistics, gain and bias go by column and channel, in every way that a row is mapped."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(2.0, 3.0, (2, 9, 6)).tolist()
    fields = [
        StructField("id", LongType()),
        StructField("step", IntegerType()),
        StructField("x", ArrayType(DoubleType())),
    ]
    rows = [(i, 0, a, Vectors.dense(b)) for i, (a, b) in enumerate(zip(x, y, strict=True))]
    df = spark.createDataFrame(rows, StructType([*fields, vector_field("y", 6)]))
    channels = 2 if data_format == "channelsFirst" else 3
    gamma, beta = np.arange(1.0, 7.0)[: 2 * channels], np.arange(6.0)[: 2 * channels]
    of = np.arange(6) // 3 if channels == 2 else np.arange(6) % 3

    model = BatchNorm(
        inputCols=["x", "y"], shape=[2, 3], dataFormat=data_format, gamma=gamma, beta=beta, batchCol="step"
    ).fit(df)
    by_sql = df.withColumn("x_by_sql", F.expr(model.toSQL()["x_scaled"]))
    mapped = model.inverseTransform(model.transform(by_sql).drop("x", "y"))

    expected = []
    for k, column in enumerate(np.array([x, y])):
        mean, variance = (np.array([f(column[:, of == c]) for c in range(channels)])[of] for f in (np.mean, np.var))
        gain, bias = (p[k * channels : (k + 1) * channels][of] for p in (gamma, beta))
        expected.append((column - mean) / np.sqrt(variance + 1e-5) * gain + bias)
    outputs = zip(*cells(mapped, "x_by_sql", "x_scaled", "y_scaled", "x", "y"), strict=True)
    for output, numbers in zip(outputs, (expected[0], *expected, x, y), strict=True):
        near(output, numbers)
    normalized = zip(*cells(model.normalizeBatches(df), "x_scaled", "y_scaled"), strict=True)
    for output, numbers in zip(normalized, expected, strict=True):
        near(output, numbers)


def test_repeated_hour_of_a_clock_change_is_two_batches(spark: SparkSession) -> None:
    """When clocks go back, timestamps an hour apart have the same local time, but are distinguished."""
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        rows = [(t, float(v)) for t, v in [(1762059600, 1), (1762059600, 3), (1762063200, 5), (1762063200, 9)]]
        df = spark.createDataFrame(rows, "s long, x double").selectExpr("timestamp_seconds(s) AS step", "x")

        model = BatchNorm(inputCol="x", batchCol="step", statistics="moving", momentum=0.5).fit(df)
        normalized = sorted(r["x_scaled"] for r in model.normalizeBatches(df).collect())
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)

    assert model.numBatchesTracked == 2
    near(model.runningMean, [0.5 * (0.5 * 2.0) + 0.5 * 7.0])
    near(normalized, [-1.0, -1.0, 1.0, 1.0], rtol=1e-5)


# --- what is refused -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unread(Rows):
    """Rows that nothing may read."""

    def batches(self, *args: Any) -> Iterator[pa.RecordBatch]:
        raise AssertionError("read")


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
def test_params_that_cannot_be_used_are_refused_before_any_job(params: dict[str, Any], message: str) -> None:
    """Each refusal names the Param and its value; the data are never read."""
    never = Unread([[]], features=12, steps=[[]])

    with pytest.raises(ParamError, match=message):
        learned(never, **params)


@pytest.mark.parametrize("params", MODES, ids=str)
def test_a_shape_that_does_not_fit_the_rows_is_refused(images: list[np.ndarray], params: dict[str, Any]) -> None:
    """Both numbers are named, for arrays of any statistics, and for vectors before any job."""
    never = Unread([[]], features=12, steps=[[]])
    for rows, name in ((torn(images), "array"), (never, "dense")):
        message = rf"'{name}' has rows of length 12, but shape \[5, 2\] has 10 elements"
        with pytest.raises(SizeMismatchError, match=message):
            learned(rows, inputCol=name, shape=[5, 2], **params)


@pytest.mark.parametrize(("name", "kind"), [("epoch", ColumnNotFoundError), ("array", ColumnTypeError)])
def test_a_batch_column_that_is_missing_or_unordered_is_refused(name: str, kind: type[Exception]) -> None:
    """The column is named."""
    never = Unread([[]], features=12, steps=[[]])
    with pytest.raises(kind, match=f"'{name}'"):
        learned(never, inputCol="dense", batchCol=name, statistics="moving")


def fit(df: DataFrame, **params: Any) -> BatchNormModel:
    return BatchNorm(inputCol="x", batchCol="step", **params).fit(df)


def of_x(*rows: list[float], **params: Any) -> BatchNormModel:
    """Return a model that knows how many channels a column of arrays has."""
    return of_channels([FeatureColumn("x", "array", size=len(rows[0]))], rows, batchCol="step", **params)


def frame(spark: SparkSession, tensors: list[Any]) -> DataFrame:
    """Return rows of flattened tensors, each with its batch."""
    return spark.createDataFrame(flat(tensors), "step int, x array<double>")


@pytest.mark.core
def test_a_null_batch_is_refused(data: DataFrame, fitted: dict[str, BatchNormModel]) -> None:
    """A row of no batch is never left out silently."""
    df = data.withColumn("step", F.expr("nullif(step, 1)"))
    with pytest.raises(BatchError, match="'step' is null"):
        fit(df, statistics="meanOfBatches")
    with pytest.raises(Exception, match="'step' is null"):
        fitted["population"].normalizeBatches(df).collect()
    with pytest.raises(BatchError, match="'step' is NaN"):
        fit(data.withColumn("step", F.expr("if(step = 1, double('NaN'), step)")), statistics="moving")


@pytest.mark.core
def test_a_batch_of_one_value_is_refused(spark: SparkSession) -> None:
    """As PyTorch refuses it: one value has no variance. The batch and the channel are named."""
    df = frame(spark, [[[1.0, 2.0], [3.0, NAN]], [[1.0, 2.0], [3.0, 5.0]]])
    with pytest.raises(BatchError, match=r"Batch 0 holds 1 valid value\(s\) of column 'x', channel 1"):
        fit(df, statistics="moving")
    with pytest.raises(Exception, match="Batch 0 holds 1 valid value"):
        of_x([1.0, 2.0], [3.0, 5.0]).normalizeBatches(df).collect()


def test_an_invalid_value_is_an_error_if_asked_for(spark: SparkSession) -> None:
    """In fit and in training mode."""
    df = frame(spark, [[[1.0, 2.0], [3.0, NAN], [0.0, 0.0], [1.0, 1.0]]])
    with pytest.raises(InvalidValueError, match="'x' holds NaN"):
        fit(df, statistics="moving", handleInvalid="error")
    with pytest.raises(Exception, match="'x' holds NaN"):
        of_x([1.0, 2.0], [3.0, 5.0], handleInvalid="error").normalizeBatches(df).collect()


def test_a_batch_whose_variance_overflows_is_refused(spark: SparkSession) -> None:
    """As fit refuses it; it is never silently the bias."""
    tensors = [[[1e200], [-1e200]]]
    with pytest.raises(RangeOverflowError):
        learned(torn(tensors), statistics="moving")
    with pytest.raises(Exception, match="variance of batch 0 is not representable"):
        of_x([1.0], [2.0]).normalizeBatches(frame(spark, tensors)).collect()


@pytest.mark.third_party
def test_models_that_a_layer_cannot_represent_are_not_exported() -> None:
    """Numbers beyond single precision, several tensors, channels without a value, other models."""
    tensors = [FeatureColumn(name, "array", size=2) for name in ("x", "y")]
    with pytest.raises(RangeOverflowError, match="single precision"):
        export.to_torch(of_x([1e20, 3.0], [-1e20, 5.0]))
    with pytest.raises(ParamError, match="one column"):
        export.to_keras(of_channels(tensors, [[1.0, 2.0] * 2, [3.0, 4.0] * 2], shape=[2]))
    with pytest.raises(ParamError, match=r"without a valid value.*x_0"):
        export.to_torch(of_x([NAN, 3.0], [NAN, 5.0]))
    with pytest.raises(ParamError, match="Got StandardScalerModel"):
        export.to_torch(StandardScalerModel())


def test_momentum_none_is_accepted() -> None:
    """It means the plain average, in the constructor and in ``setParams``."""
    assert BatchNorm(momentum=None).getMomentum() is None
    assert BatchNorm().setParams(momentum=None).getMomentum() is None
    assert BatchNorm(momentum=None).setParams(epsilon=1.0).getMomentum() is None


def test_momentum_none_after_fit_is_refused(images: list[np.ndarray]) -> None:
    """momentum=None after fit has no meaning."""
    model = learned(torn(images), statistics="moving").setMomentum(None)

    assert isinstance(model.statistics, MovingAverage)
    with pytest.raises(ParamError, match="cannot go on as a plain one"):
        updated(model, torn(images))
