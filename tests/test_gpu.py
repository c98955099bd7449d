"""Fit and transform on a GPU are what they are on the CPU, for every stage and kind of column.

With ``pytest -m gpu`` the tests run on the device that CuPy finds. Without one, Spark's Python workers have a fake CuPy
(``tests/fake_cupy``). It shows that the whole path works and that nothing accesses device memory from the host, but not
that a device computes the same.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import sparkscale
from frames import NAN, arrays, cells, cells_of_each, frame
from scans import Partitions
from scans import fit as fit_without_spark
from sparkscale import BatchNorm, ClipByValue, LayerNorm, MinMaxScaler, Normalizer, StandardScaler, Whitener
from sparkscale.errors import InvalidValueError, ParamError, ScalingError, SizeMismatchError
from sparkscale.spark.columns import resolve
from sparkscale.spark.fit import partials, selection
from sparkscale.statistics import CoMoments, Extrema, Moments
from store import Store
from table import EVERY_CHOICE, TABLE, choice_id, model_of
from test_rows import ONE_OF_EACH, SIZE, frame_of_rows, on

pytestmark = pytest.mark.gpu

FEATURES = 3
SPOILT = [[1.5, -2.0, 0.0], [None, 4.0, 0.0], None, [np.nan, np.inf, 0.0], [7.25, 0.0, 0.0], [-3.0, 1e-3, 0.0]]
CLEAN = np.random.default_rng(0).normal([3.0, 0.0, 1e6], [2.0, 1e-3, 1.0], (40, FEATURES)).tolist()
EVERY = ["s0", "s1", "s2", "single", "whole", "decimal", "array", "singles", "wholes", "dense", "sparse", "mixed"]
FEW = ["s1", "array", "mixed"]
BY_STATISTIC = {entry.statistic: entry for entry in TABLE}
DEVICES = ("cpu", "gpu")


@pytest.fixture(scope="module")
def spoilt(spark):
    """Rows with nulls, NaN and infinities in columns of every kind and type, in one partition."""
    return of_every_type(spark, SPOILT).coalesce(1)


@pytest.fixture(scope="module")
def clean(spark):
    """Rows without; on classic Spark in two partitions."""
    return of_every_type(spark, CLEAN)


def of_every_type(spark: Any, rows: Any) -> DataFrame:
    """Return rows as columns of every kind, and of every type of numbers."""
    df = frame(spark, rows, row_weights=np.linspace(0.5, 2.0, len(rows)))
    texts = {
        "single": "float(s0)",
        "whole": "if(abs(s1) < 1e9D, int(s1), NULL)",
        "decimal": "if(abs(s0) < 1e9D, cast(s0 AS decimal(20, 6)), NULL)",
        "singles": "cast(array AS array<float>)",
        "wholes": "transform(array, x -> if(abs(x) < 1e9D, int(x), 0))",
        "step": "id % 3",
    }
    return df.withColumns({name: F.expr(text) for name, text in texts.items()})


@pytest.fixture(scope="module")
def fitted(spoilt, clean):
    """Give the model of every column by statistic, ``handleInvalid`` and device, each fitted once."""

    @cache
    def fit(statistic: Any, handle_invalid: str, device: str = "cpu") -> Any:
        scaler = BY_STATISTIC[statistic].scaler(inputCols=EVERY, handleInvalid=handle_invalid, device=device)
        with on_gpu(int(device == "gpu")):
            return scaler.fit(clean if handle_invalid == "error" else spoilt)

    return fit


@pytest.fixture(params=["arrow", "pandas"])
def udfs(request, monkeypatch):
    """Spark's UDFs: as PySpark has them, and of pandas alone, as before 4.1 and with the RAPIDS Accelerator."""
    if request.param == "pandas":
        if not hasattr(F, "arrow_udf"):
            pytest.skip("it is pandas that all the others go through")
        monkeypatch.delattr(F, "arrow_udf")


def assert_same(actual: Any, expected: Any, where: str = "") -> None:
    """Null is null, NaN is NaN, and numbers agree to 1e-12."""
    if isinstance(expected, list):
        assert isinstance(actual, list) and len(actual) == len(expected), where
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, where)
    else:
        assert (actual is None) == (expected is None), (where, actual, expected)
        if expected is not None:
            assert type(actual) is type(expected), where
            assert actual == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True), where


@contextmanager
def on_gpu(times: int = 1) -> Iterator[None]:
    """Assert that tasks use a device at least so many times, or never if that is 0; the fake CuPy counts."""
    trace = Path(os.environ.get("FAKE_CUPY_TRACE", ""))

    def taken() -> int:
        return len(trace.read_text().splitlines()) if trace.is_file() else 0

    before = taken()
    yield
    if "FAKE_CUPY_TRACE" in os.environ:
        assert taken() - before >= times if times else taken() == before


def assert_same_statistics(cpu: Any, gpu: Any) -> None:
    """Two models have learned the same."""
    for name, expected in cpu.statistics.arrays().items():
        if name not in {"origin", "shift"}:  # of which the sum counts
            scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
            actual = getattr(gpu.statistics, name)
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13 * scale, err_msg=name)
    assert gpu.count == cpu.count


def collected(frames: Mapping[str, tuple[DataFrame, list[str]]]) -> dict[str, list[list[Any]]]:
    """Return the cells of some columns of frames, by one query for all whose columns are of the same types."""
    alike: dict[Any, dict[str, DataFrame]] = defaultdict(dict)
    for name, (df, columns) in frames.items():
        selected = df.select("id", *columns)
        alike[tuple(kind for _, kind in selected.dtypes)][name] = selected
    return {name: rows for group in alike.values() for name, rows in cells_of_each(group).items()}


def assert_devices_agree(models: Mapping[str, Any], df: DataFrame, *, back: bool = True) -> None:
    """Transform and the way back, each by so many UDFs; models are the CPU's, so that a difference is of the transform."""
    df, cpu, gpu = df.coalesce(1), {}, {}
    for name, model in models.items():
        inputs, outputs = [*model._input_names()], [*model._output_names()]
        there, scaled = model.copy().setDevice("gpu"), model.transform(df)
        cpu[name], gpu[name] = (scaled, outputs), (there.transform(df), outputs)
        if back:
            given = scaled.drop(*inputs)
            cpu[f"{name}, back"], gpu[f"{name}, back"] = ((m.inverseTransform(given), inputs) for m in (model, there))
    for name in cpu:
        assert described(gpu[name][0]) == described(cpu[name][0]), name
    with on_gpu(0):
        expected = collected(cpu)
    with on_gpu(len(gpu)):  # all columns go by one UDF
        actual = collected(gpu)
    for name, rows in expected.items():
        assert_same(actual[name], rows, name)


def described(df: DataFrame) -> Any:
    """Return columns by name, type and metadata."""
    return [(f.name, f.dataType.simpleString(), f.metadata) for f in df.schema]


# --- fit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", BY_STATISTIC, ids=lambda s: s.__name__)
@pytest.mark.parametrize("handle_invalid", ["keep", "skip", "error"])
def test_fit_on_every_kind_and_type(fitted, statistic, handle_invalid):
    """Scalars, arrays and vectors, sparse ones too, of doubles, singles, integers and decimals.

    With invalid values; without, where they are refused.
    """
    assert_same_statistics(*(fitted(statistic, handle_invalid, device) for device in DEVICES))


class FitCalledError(Exception):
    """Holds the arguments of a fit."""


@pytest.mark.parametrize(
    ("scaler", "statistic"),
    [*((e.scaler, e.statistic) for e in TABLE), (Whitener, CoMoments)],
    ids=lambda c: c.__name__,
)
def test_every_scaler_fits_on_its_device(monkeypatch, scaler, statistic):
    """Its statistic, on its device, with its weights."""

    def summarize(
        df: Any, columns: Any, kind: Any, *, handle_invalid: str, weight: Any, device: str, layout: Any
    ) -> Any:
        raise FitCalledError(kind, handle_invalid, weight and weight.name, device)

    monkeypatch.setattr("sparkscale.scalers._fit.summarize", summarize)
    weight = {"weightCol": "w"} if scaler().hasParam("weightCol") else {}
    stage = scaler(inputCol="array", handleInvalid="skip", device="gpu", **weight)

    with pytest.raises(FitCalledError) as raised:
        stage.fit(Partitions([CLEAN]))
    assert raised.value.args == (statistic, "skip", weight.get("weightCol"), "gpu")


@pytest.mark.core
def test_weights(spoilt):
    """Rows count as they do on the CPU."""
    stage = StandardScaler(inputCols=FEW, weightCol="w")
    with on_gpu(0):
        cpu = stage.fit(spoilt)
    with on_gpu():
        gpu = stage.setDevice("gpu").fit(spoilt)

    assert_same_statistics(cpu, gpu)


def test_partition_without_valid_rows(spark):
    """Under "skip"; of mini-batches, too."""
    df = spark.range(0, 16, 1, 2).selectExpr("if(id < 8, double(id), NULL) AS x", "if(id < 8, id % 2, 2) AS step")
    pooled, batches = (
        BatchNorm(inputCol="x", handleInvalid="skip", device="gpu", **params)
        for params in ({}, {"statistics": "meanOfBatches", "batchCol": "step"})
    )

    with on_gpu():
        assert pooled.fit(df).count == 8
    with on_gpu():
        assert batches.fit(df).numBatchesTracked == 2


def test_merge_and_update_use_the_device(clean):
    """Update and merge, after it was saved."""
    halves, store = [clean.filter("id < 20"), clean.filter("id >= 20")], Store()
    stage = StandardScaler(inputCols=["s0", "array"], device="gpu")
    stage.fit(halves[0]).write().session(store).save("model")
    model = sparkscale.StandardScalerModel.read().session(store).load("model")

    assert model.getDevice() == "gpu"
    with on_gpu():
        updated = model.update(halves[1])
    for other in (updated, model.merge(stage.fit(halves[1]))):
        np.testing.assert_allclose(other.std.toArray(), np.std(CLEAN, axis=0, ddof=1)[[0, 0, 1, 2]], rtol=1e-12)


# --- transform and the way back --------------------------------------------------------------------------------


@pytest.mark.parametrize("handle_invalid", ["keep", "skip", "error"])
def test_transform_of_every_kind_and_type(fitted, spoilt, clean, handle_invalid):
    """By a map that leaves sparse vectors sparse, with invalid values; without, where they are refused."""
    stage = StandardScaler(inputCols=EVERY, handleInvalid=handle_invalid)
    model = model_of(stage, fitted(Moments, handle_invalid))

    assert_devices_agree({"model": model}, clean if handle_invalid == "error" else spoilt)


def test_transform_between_bounds(fitted, spoilt):
    """For every kind of column."""
    model = model_of(MinMaxScaler(inputCols=EVERY, min=-3.0, max=7.0, clip=True), fitted(Extrema, "keep"))

    assert_devices_agree({"model": model}, spoilt)


def test_transform_by_all_choices(spoilt):
    """Of Params that change what is computed, by every scaler: the others change the numbers of a map alone."""
    choices = [
        (entry, choice)
        for entry, choice in EVERY_CHOICE
        if not choice or {"clip", "fillInvalid", "formula"} & {*choice}
    ]
    scalers = {f"{entry.name}, {choice_id(choice)}": entry.scaler(inputCols=FEW, **choice) for entry, choice in choices}
    models = {name: fit_without_spark(scaler, Partitions([SPOILT])) for name, scaler in scalers.items()}

    assert_devices_agree(models, spoilt)


@pytest.mark.core
def test_transform_by_every_kind_of_udf(udfs, fitted, spoilt):
    """For every column."""
    model = model_of(StandardScaler(inputCols=EVERY, withMean=True), fitted(Moments, "keep"))

    assert_devices_agree({"model": model}, spoilt)


@pytest.mark.core
def test_many_inputs_become_one_vector(spoilt):
    """And are taken out of it again."""
    stage = MinMaxScaler(inputCols=["s0", "single", "array", "mixed"], outputCol="out", min=-1.0)

    assert_devices_agree({"model": stage.fit(spoilt)}, spoilt)


@pytest.mark.parametrize("form", [{}, {"outputCol": "out"}], ids=["pairs", "one vector"])
def test_chosen_columns_come_back(spoilt, form):
    """Each by its own part of the map."""
    model = fit_without_spark(StandardScaler(inputCols=FEW, withMean=True, **form), Partitions([SPOILT]))
    params, scaled = {"columns": ["mixed", "s1"], "outputCols": ["v", "s1"]}, model.transform(spoilt)
    frames = {device: (model.copy().setDevice(device).inverseTransform(scaled, **params), ["v"]) for device in DEVICES}
    rows = collected(frames)
    scalars = collected({device: (df, ["s1"]) for device, (df, _) in frames.items()})

    assert_same(rows["gpu"], rows["cpu"])
    assert_same(scalars["gpu"], scalars["cpu"])


def test_whitening(clean):
    """A map by a matrix, of many columns and of one."""
    stages = Whitener(inputCols=FEW, outputCol="white", epsilon=0.1), Whitener(inputCol="s0", epsilon=0.1)
    (cpu, one), gpu = ([stage.copy().setDevice(device).fit(clean) for stage in stages] for device in DEVICES)
    zca = {cpu.method: "zca"}

    for model, other in ((cpu, gpu[0]), (one, gpu[1])):
        assert_same_statistics(model, other)
    row = [CLEAN[0][1], *CLEAN[0], *CLEAN[0]]
    for params in ({}, zca):
        assert_same(*(model.copy(params).affine.apply(row).tolist() for model in (gpu[0], cpu)))
    assert_devices_agree({"pca": cpu, "zca": cpu.copy(zca), "one": one}, clean)


@pytest.fixture(scope="module")
def tensors(clean):
    """Give the model of tensors by statistics and device, each fitted once."""

    @cache
    def fit(statistics: str, device: str = "cpu") -> Any:
        params = {} if statistics == "population" else {"statistics": statistics}
        gains = {"gamma": [2.0, 0.5], "beta": [1.0, 0.0]}
        stage = BatchNorm(inputCols=["array", "mixed"], shape=[1, 3], batchCol="step", device=device, **gains, **params)
        with on_gpu(int(device == "gpu")):
            return stage.fit(clean)

    return fit


STATISTICS = ("population", "meanOfBatches", "moving")


@pytest.mark.parametrize("statistics", STATISTICS)
def test_batch_norm_of_tensors(tensors, statistics):
    """Channels, and mini-batches."""
    assert_same_statistics(*(tensors(statistics, device) for device in DEVICES))


def test_tensors_are_normalized(tensors, clean):
    """With any learned statistics."""
    assert_devices_agree({statistics: tensors(statistics) for statistics in STATISTICS}, clean)


def test_mini_batches_are_normalized_by_their_own(tensors, clean):
    """The statistics are the device's."""
    model = tensors("meanOfBatches")
    with on_gpu():
        actual = cells(model.copy().setDevice("gpu").normalizeBatches(clean), "id", "array_scaled")
    with on_gpu(0):
        expected = cells(model.normalizeBatches(clean), "id", "array_scaled")

    assert len(expected) == 40
    assert_same(actual, expected)


# --- rows by themselves ----------------------------------------------------------------------------------------


def assert_devices_agree_on_rows(spark: Any, stages: Mapping[str, tuple[str, str]]) -> None:
    """Cases, each with what it does with invalid values, on arrays of double and float and on dense and sparse vectors."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(7, SIZE)).astype(np.float32).astype(np.float64).tolist()
    rows[1][2], rows[2][0], rows[3] = None, float("nan"), None
    rows[4] = [0.0] * SIZE
    rows[5][1:4] = [float("inf"), float("-inf"), None]
    df = frame_of_rows(spark, rows).coalesce(1)
    cpu, gpu = (
        {
            label: on(name, "a", "f", "v").setHandleInvalid(invalid).setDevice(device).transform(df)
            for label, (name, invalid) in stages.items()
        }
        for device in DEVICES
    )
    columns = ["a_scaled", "f_scaled", "v_scaled"]

    for label in stages:
        assert described(gpu[label]) == described(cpu[label]), label
    with on_gpu(len(stages)):
        actual = cells_of_each({label: out.select("id", *columns) for label, out in gpu.items()})
    with on_gpu(0):
        expected = cells_of_each({label: out.select("id", *columns) for label, out in cpu.items()})
    for label, (_, invalid) in stages.items():
        assert len(actual[label]) == len(expected[label]) == (7 if invalid == "keep" else 3), label
        for (number, *one), (other_number, *other) in zip(actual[label], expected[label], strict=True):
            assert number == other_number, label
            for column, some, others in zip(columns, one, other, strict=True):
                assert (some is None) == (others is None), label
                if others is not None:
                    assert [v is None for v in some] == [v is None for v in others], label
                    tolerance = 1e-6 if column == "f_scaled" else 1e-12
                    np.testing.assert_allclose(
                        np.array(some, dtype=float),
                        np.array(others, dtype=float),
                        rtol=tolerance,
                        atol=tolerance,
                        err_msg=label,
                    )


def test_rows_by_every_kind_of_udf(spark, udfs):
    """With invalid values."""
    assert_devices_agree_on_rows(spark, {"keep": (ONE_OF_EACH[0], "keep")})


def test_rows_by_themselves(spark):
    """Every stage without a fit, with invalid values, which some also drop."""
    kept = {name: (name, "keep") for name in ONE_OF_EACH[1:]}

    assert_devices_agree_on_rows(spark, kept | {f"{name}, skip": (name, "skip") for name in ONE_OF_EACH[::3]})


def test_scalars_are_clipped(spoilt):
    """The one stage without a fit that takes them."""
    df, names = spoilt, ["s0", "s1", "single", "whole", "array"]
    outputs = {device: [f"{name}_{device}" for name in names] for device in DEVICES}
    for device in DEVICES:
        stage = sparkscale.ClipByValue(inputCols=names, outputCols=outputs[device], low=-1.0, high=1.0, device=device)
        df = stage.transform(df)
    rows = cells(df, *outputs["gpu"], *outputs["cpu"])

    assert len(rows) == len(SPOILT)
    assert_same([row[: len(names)] for row in rows], [row[len(names) :] for row in rows])


@pytest.mark.core
def test_rows_of_several_lengths(spark, udfs):
    """Rows of the same length are computed as one block; empty rows are allowed."""
    rows = [[3.0, 4.0], [], None, [6.0, 8.0, 0.0], [0.6, 0.8], [None, 5.0], [2.0]]
    df = spark.createDataFrame(list(enumerate(rows)), "id int, a array<double>").coalesce(1)
    for device in DEVICES:
        df = Normalizer(inputCol="a", outputCol=device, device=device).transform(df)
    outputs = cells(df, "cpu", "gpu")

    assert len(outputs) == len(rows)
    assert_same([gpu for _, gpu in outputs], [cpu for cpu, _ in outputs])


# --- frames without rows, and what is sent ---------------------------------------------------------------------


def test_an_empty_frame_stays_empty(fitted, spoilt):
    """No row, no work: and the columns are there."""
    empty = spoilt.filter("id < 0")
    model = model_of(MinMaxScaler(inputCols=EVERY, device="gpu"), fitted(Extrema, "keep"))
    out = model.transform(empty)

    assert out.columns == [*empty.columns, *model._output_names()]
    assert out.collect() == []
    with pytest.raises(ScalingError, match="no usable row"):
        MinMaxScaler(inputCol="s0", device="gpu").fit(empty)


def nodes(plan: Any) -> Any:
    """Return a physical plan's operators."""
    yield plan
    for k in range(plan.children().size()):
        yield from nodes(plan.children().apply(k))


@pytest.mark.classic_only  # it looks at the plan
def test_transform_sends_numbers(fitted, spoilt):
    """What goes to Python and back is arrays and structs of numbers: at vectors the RAPIDS Accelerator would leave it."""
    from pyspark.util import PythonEvalType  # not there in PySpark 3.5

    model = model_of(StandardScaler(inputCols=EVERY, device="gpu"), fitted(Moments, "keep"))
    plan = model.transform(spoilt)._jdf.queryExecution().executedPlan()
    udfs = [n.udfs().apply(0) for n in nodes(plan) if n.nodeName() == "ArrowEvalPython"]
    types = {u.children().apply(0).dataType().catalogString() for u in udfs} | {
        u.dataType().catalogString() for u in udfs
    }

    sent = ["double"] * 6 + ["array<double>", "array<float>", "array<double>", *["array<double>"] * 3]

    assert len(udfs) == 1
    assert {u.evalType() for u in udfs} == {PythonEvalType.SQL_SCALAR_ARROW_ITER_UDF}
    assert types == {f"struct<{','.join(f'c{k}:{kind}' for k, kind in enumerate(sent))}>"}


@pytest.mark.classic_only
def test_fit_sends_numbers(spoilt):
    """The same of what fit sends, and of what comes back; of vectors of unknown size also their sizes."""
    df = spoilt.withMetadata("mixed", {})
    sent = selection.select(df, selection.column_groups(resolve(df, EVERY)), "keep", resolve(df, ["w"])[0])
    kinds = {kind for _, kind in sent.dtypes}
    back = {field.dataType.simpleString() for field in partials.schema()}

    assert kinds == {"array<double>", "array<float>", "array<int>", "int", "double"}
    assert back == {"array<double>", "int"}


@pytest.mark.parametrize("stage", [StandardScaler(inputCol="s0"), LayerNorm(inputCol="array")], ids=["scaler", "row"])
def test_another_device_is_refused(stage):
    """Before any look at the data."""
    with pytest.raises(ParamError, match=r"device must be one of 'cpu', 'gpu', 'auto'\. Got 'cuda'"):
        getattr(stage.setDevice("cuda"), "fit" if hasattr(stage, "fit") else "transform")(None)


# --- jobs that fail, last: a worker may take its device when its task is over already ------------------------------


def test_invalid_values_are_refused(spoilt):
    """In the job, by the message that the CPU has."""
    stage = StandardScaler(inputCols=FEW, handleInvalid="error")
    model = fit_without_spark(stage, Partitions([CLEAN])).setDevice("gpu")

    with pytest.raises(InvalidValueError, match=r"Column '(s1|array|mixed)' holds"):
        stage.setDevice("gpu").fit(spoilt)
    for strict in (model, LayerNorm(inputCols=["array", "mixed"], handleInvalid="error", device="gpu")):
        with pytest.raises(Exception, match=r"sparkscale.InvalidValueError\] Column '(s1|array|mixed)' holds"):
            strict.transform(spoilt).collect()


def test_a_wrong_length_is_refused(spark):
    """As on the CPU: in the job, with the column's name."""
    df, longer = arrays(spark, [1.0, 2.0], [3.0, 5.0]), arrays(spark, [1.0, 2.0, 3.0])
    scaler = MinMaxScaler(inputCol="array")
    model = fit_without_spark(scaler, Partitions([[[1.0, 2.0], [3.0, 5.0]]], features=2)).setDevice("gpu")

    with pytest.raises(Exception, match="Column 'a' holds a row of length 3"):
        model.setInputCol("a").transform(longer).collect()
    with pytest.raises(Exception, match="Column 'a' holds a row of length 3"):
        LayerNorm(inputCol="a", gamma=[1.0, 2.0], device="gpu").transform(longer).collect()
    with pytest.raises(SizeMismatchError, match="arrays of length"):
        MinMaxScaler(inputCol="a", device="gpu").fit(df.union(longer))


@pytest.mark.gpu
@pytest.mark.parametrize("stage", ["scaler", "clip"])
def test_kernels_take_what_the_cpu_takes(spark, stage):
    """Booleans, quoted names and fields, arrays for vectors, outputs in place, and infinities refused by keepNaN."""
    values = [(0, True, [True, False], (1.0,), [1.0, 4.0]), (1, None, [True, None], (NAN,), [3.0, None])]
    values += [(2, False, None, (5.0,), None), (3, True, [False, False], (None,), [2.0, 8.0])]
    df = spark.createDataFrame(values, "id int, b boolean, a array<boolean>, s struct<`p.q`: double>, v array<double>")
    names = ["b", "a", "s.`p.q`", "v"]
    if stage == "scaler":
        fitted = df.withColumn("v", array_to_vector(F.array(F.col("id") * 1.0, F.col("id") * 3.0)))
        mapping = MinMaxScaler(inputCols=names, outputCols=names, max=2.0).fit(fitted).setHandleInvalid("keepNaN")
    else:
        mapping = ClipByValue(inputCols=names, outputCols=names, low=0.5, high=4.0, handleInvalid="keepNaN")
    of_device = {device: mapping.copy({mapping.device: device}) for device in ("cpu", "gpu")}
    infinite = df.withColumn("v", F.array(F.lit(1.0), F.lit(float("inf"))))

    cpu, gpu = ([str(row) for row in m.transform(df).orderBy("id").collect()] for m in of_device.values())
    assert cpu == gpu
    with pytest.raises(Exception, match="Column 'v' holds Infinity, which handleInvalid='keepNaN' refuses"):
        of_device["gpu"].transform(infinite).collect()
