"""Fit and transform on a GPU are what they are on the CPU, for every stage and kind of column.

Run with ``pytest -m gpu`` where CuPy finds a device: the tests are then of the device. Anywhere else Spark's Python
workers have a test double in CuPy's place (``tests/standin``), which shows that the whole path works and that nothing
on it reaches for a device's memory from the host; not that a device computes the same.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F
from pyspark.util import PythonEvalType

import sparkscale
from sparkscale import BatchNorm, LayerNorm, MinMaxScaler, Normalizer, StandardScaler, Whitener
from sparkscale.errors import InvalidValueError, ParamError, ScalingError, SizeMismatchError
from sparkscale.spark import arrow, partials
from sparkscale.spark.columns import resolve
from strategies import frame
from table import EVERY_CHOICE, TABLE, choice_id
from test_rows import CASES, ONE_OF_EACH, SIZE, lists, on
from test_rows import frame as rows_frame

pytestmark = pytest.mark.gpu

FEATURES = 3
SPOILT = [[1.5, -2.0, 0.0], [None, 4.0, 0.0], None, [np.nan, np.inf, 0.0], [7.25, 0.0, 0.0], [-3.0, 1e-3, 0.0]]
CLEAN = np.random.default_rng(0).normal([3.0, 0.0, 1e6], [2.0, 1e-3, 1.0], (40, FEATURES)).tolist()
KINDS = ["s0", "s1", "s2", "single", "whole", "decimal", "array", "singles", "wholes", "dense", "sparse", "mixed"]
FEW = ["s1", "array", "mixed"]


@pytest.fixture(scope="module")
def spoilt(spark):
    """Rows with nulls, NaN and infinities in columns of every kind and type."""
    return columns(spark, SPOILT)


@pytest.fixture(scope="module")
def clean(spark):
    """Rows without, in two partitions."""
    return columns(spark, CLEAN).repartition(2)


def columns(spark: Any, rows: Any) -> Any:
    found = frame(spark, rows, row_weights=np.linspace(0.5, 2.0, len(rows)))
    texts = {
        "single": "float(s0)",
        "whole": "if(abs(s1) < 1e9D, int(s1), NULL)",
        "decimal": "if(abs(s0) < 1e9D, cast(s0 AS decimal(20, 6)), NULL)",
        "singles": "cast(array AS array<float>)",
        "wholes": "transform(array, x -> if(abs(x) < 1e9D, int(x), 0))",
        "step": "id % 3",
    }
    return found.withColumns({name: F.expr(text) for name, text in texts.items()})


def cells(df: Any, names: list[str]) -> list[list[Any]]:
    """Return the columns of all rows, in their order."""
    found = sorted(df.select("id", *names).collect(), key=lambda r: r["id"])
    return [[r[n].toArray().tolist() if hasattr(r[n], "toArray") else r[n] for n in names] for r in found]


def assert_same(actual: Any, expected: Any) -> None:
    """Null is null, NaN is NaN, and numbers agree to 1e-12."""
    if isinstance(expected, list):
        assert isinstance(actual, list) and len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert (actual is None) == (expected is None), (actual, expected)
        if expected is not None:
            assert type(actual) is type(expected)
            assert actual == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


@contextmanager
def on_gpu(*, used: bool = True) -> Any:
    """See to it that tasks use a device meanwhile, or do not; the double tells."""
    trace = Path(os.environ.get("STANDIN_TRACE", ""))

    def tasks() -> int:
        return len(trace.read_text()) if trace.is_file() else 0

    before = tasks()
    yield
    if "STANDIN_TRACE" in os.environ:
        assert (tasks() > before) is used


def assert_devices_agree(scaler: Any, df: Any, outputs: list[str]) -> Any:
    """Fit, transform and the way back; returns the model of the GPU."""
    with on_gpu(used=False):
        cpu = scaler.copy().setDevice("cpu").fit(df)
    with on_gpu():
        gpu = scaler.copy().setDevice("gpu").fit(df)
    for name, expected in cpu.statistics.arrays().items():
        if name not in {"origin", "shift"}:  # of which the sum counts
            scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
            found = getattr(gpu.statistics, name)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * scale, err_msg=name)
    assert gpu.count == cpu.count
    # Each by the CPU's model, so that a difference is of the transform.
    model = cpu.copy().setDevice("gpu")
    made, expected = model.transform(df), cpu.transform(df)
    assert described(made) == described(expected)
    with on_gpu(used=False):
        wanted = cells(expected, outputs)
    with on_gpu():
        assert_same(cells(made, outputs), wanted)
    inputs = [*model._input_names()]
    back = [x.inverseTransform(expected.drop(*inputs)) for x in (model, cpu)]
    assert described(back[0]) == described(back[1])
    with on_gpu(used=False):
        wanted = cells(back[1], inputs)
    with on_gpu():
        assert_same(cells(back[0], inputs), wanted)
    return gpu


def described(df: Any) -> Any:
    """Return columns by name, type and metadata."""
    return [(f.name, f.dataType.simpleString(), f.metadata) for f in df.schema]


def scaled(names: list[str]) -> list[str]:
    return [f"{name}_scaled" for name in names]


every_choice = pytest.mark.parametrize(
    ("entry", "choice"),
    [
        pytest.param(
            e,
            c,
            id=f"{e.name}-{choice_id(c)}",
            marks=[] if (e.name, c) == ("StandardScaler", {}) else pytest.mark.one_world,
        )
        for e, c in EVERY_CHOICE
        if not c or {"clip", "formula"} & {*c}  # the others change the numbers of a map alone
    ],
)


@every_choice
def test_scalers_by_all_choices(entry, choice, spoilt):
    """Of Params that change what is computed, on a column of each kind, with invalid values."""
    assert_devices_agree(entry.scaler(inputCols=FEW, **choice), spoilt, scaled(FEW))


@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, id=e.name, marks=[] if e.name == "BatchNorm" else pytest.mark.one_world) for e in TABLE],
)
@pytest.mark.parametrize("handle_invalid", ["keep", "skip"])
def test_scalers_on_every_kind_and_type(entry, handle_invalid, spoilt):
    """Scalars, arrays and vectors, sparse ones too, of doubles, singles, integers and decimals, with invalid values."""
    assert_devices_agree(entry.scaler(inputCols=KINDS, handleInvalid=handle_invalid), spoilt, scaled(KINDS))


@pytest.mark.one_world
@pytest.mark.parametrize("entry", TABLE, ids=lambda e: e.name)
@pytest.mark.parametrize("columns", [FEW, ["single", "singles", "wholes"]], ids=["doubles", "others"])
def test_clean_rows_pass_where_others_are_refused(entry, columns, clean):
    """Under "error"."""
    assert_devices_agree(entry.scaler(inputCols=columns, handleInvalid="error"), clean, scaled(columns))


def test_a_partition_without_a_row_that_is_left(spark):
    """Under "skip"; of mini-batches, too."""
    rows = [(k, float(k) if k < 8 else None, k % 2 if k < 8 else 2) for k in range(16)]
    df = spark.createDataFrame(rows, "id int, x double, step int").repartitionByRange(2, "id")
    pooled, batches = (
        BatchNorm(inputCol="x", handleInvalid="skip", device="gpu", **params)
        for params in ({}, {"statistics": "meanOfBatches", "batchCol": "step"})
    )

    with on_gpu():
        assert (pooled.fit(df).count, batches.fit(df).numBatchesTracked) == (8, 2)


@pytest.mark.skipif(not hasattr(F, "arrow_udf"), reason="it is pandas that all the others go through")
def test_workers_with_pandas_alone(monkeypatch, spark, spoilt):
    """As with PySpark before 4.1, and with the RAPIDS Accelerator."""
    monkeypatch.delattr(F, "arrow_udf")
    assert_devices_agree(StandardScaler(inputCols=KINDS, withMean=True), spoilt, scaled(KINDS))
    test_rows_by_themselves(spark, ONE_OF_EACH[0], "keep")
    test_rows_of_several_lengths(spark)


@pytest.mark.core
@pytest.mark.parametrize("scaler", [StandardScaler, BatchNorm])
def test_weights(scaler, spoilt):
    """Rows count as they do on the CPU."""
    assert_devices_agree(scaler(inputCols=FEW, weightCol="w"), spoilt, scaled(FEW))


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_whitening(method, clean):
    """A map by a matrix."""
    names = ["s0", "array", "mixed"]
    stage = Whitener(inputCols=names, outputCol="white", method=method, epsilon=0.1)
    found = assert_devices_agree(stage, clean, ["white"])

    assert_same(
        cells(found.transform(clean), ["white"])[0][0], cells(stage.fit(clean).transform(clean), ["white"])[0][0]
    )
    assert_devices_agree(Whitener(inputCol="s0", epsilon=0.1), clean, ["s0_scaled"])


@pytest.mark.core
def test_many_inputs_become_one_vector(spoilt):
    """And are taken out of it again."""
    names = ["s0", "single", "array", "mixed"]
    assert_devices_agree(MinMaxScaler(inputCols=names, outputCol="out", min=-1.0), spoilt, ["out"])


@pytest.mark.parametrize("statistics", ["population", "meanOfBatches", "moving"])
def test_batch_norm_of_tensors(statistics, clean):
    """Channels, and mini-batches."""
    params = {} if statistics == "population" else {"statistics": statistics, "batchCol": "step"}
    stage = BatchNorm(inputCols=["array", "mixed"], shape=[1, 3], gamma=[2.0, 0.5], beta=[1.0, 0.0], **params)
    model = assert_devices_agree(stage, clean, ["array_scaled", "mixed_scaled"])

    if statistics != "population":
        made = [m.normalizeBatches(clean) for m in (model, model.copy().setDevice("cpu"))]
        with on_gpu():
            found = cells(made[0], ["array_scaled"])
        with on_gpu(used=False):
            assert_same(found, cells(made[1], ["array_scaled"]))


def test_a_model_goes_on_where_it_computes(clean, tmp_path):
    """Update and merge, after it was saved."""
    halves = [clean.filter("id < 20"), clean.filter("id >= 20")]
    stage = StandardScaler(inputCols=["s0", "array"], device="gpu")
    stage.fit(halves[0]).write().overwrite().save(str(tmp_path / "model"))
    model = sparkscale.StandardScalerModel.load(str(tmp_path / "model"))
    whole = stage.copy().setDevice("cpu").fit(clean)

    assert model.getDevice() == "gpu"
    for found in (model.update(halves[1]), model.merge(stage.fit(halves[1]))):
        np.testing.assert_allclose(found.std.toArray(), whole.std.toArray(), rtol=1e-12)


ROW_CASES = [
    *(pytest.param(n, "keep", id=n, marks=[] if n in ONE_OF_EACH[::3] else pytest.mark.one_world) for n in CASES),
    *(pytest.param(n, "skip", id=f"{n}, skip", marks=pytest.mark.one_world) for n in ONE_OF_EACH),
]


@pytest.mark.parametrize(("name", "handle_invalid"), ROW_CASES)
def test_rows_by_themselves(spark, name, handle_invalid):
    """Every stage without a fit, on arrays of double and float and on dense and sparse vectors, with invalid values."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(7, SIZE)).astype(np.float32).astype(np.float64).tolist()
    rows[1][2], rows[2][0], rows[3] = None, float("nan"), None
    rows[4] = [0.0] * SIZE
    rows[5][1:4] = [float("inf"), float("-inf"), None]
    df = rows_frame(spark, rows)
    stage = on(name, "a", "f", "v").setHandleInvalid(handle_invalid)
    made = [stage.copy().setDevice(device).transform(df) for device in ("gpu", "cpu")]

    assert described(made[0]) == described(made[1])
    for column in ("a_scaled", "f_scaled", "v_scaled"):
        with on_gpu():
            found = lists(made[0], column)[0]
        with on_gpu(used=False):
            expected = lists(made[1], column)[0]
        assert len(found) == len(expected) == (7 if handle_invalid == "keep" else 3)
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if other is not None:
                assert [v is None for v in one] == [v is None for v in other]
                tolerance = 1e-6 if column == "f_scaled" else 1e-12
                np.testing.assert_allclose(
                    np.array(one, dtype=float), np.array(other, dtype=float), rtol=tolerance, atol=tolerance
                )


def test_scalars_are_clipped(spoilt):
    """The one stage without a fit that takes them."""
    names = ["s0", "s1", "single", "whole", "array"]
    stages = [sparkscale.ClipByValue(inputCols=names, low=-1.0, high=1.0, device=d) for d in ("gpu", "cpu")]

    assert_same(*(cells(s.transform(spoilt), scaled(names)) for s in stages))


@pytest.mark.core
def test_rows_of_several_lengths(spark):
    """Rows of one length are computed together; the others, and empty ones, by themselves."""
    rows = [[3.0, 4.0], [], None, [6.0, 8.0, 0.0], [0.6, 0.8], [None, 5.0], [2.0]]
    df = spark.createDataFrame(list(enumerate(rows)), "id int, a array<double>").coalesce(1)
    stages = [Normalizer(inputCol="a", device=d) for d in ("gpu", "cpu")]

    assert_same(*(cells(s.transform(df), ["a_scaled"]) for s in stages))


def test_an_empty_frame_stays_empty(spark):
    """No row, no work: and the columns are there."""
    df = spark.createDataFrame([(1.0, [1.0, 2.0])], "x double, a array<double>")
    model = MinMaxScaler(inputCols=["x", "a"], device="gpu").fit(df)

    assert model.transform(df.filter("x > 5")).collect() == []
    with pytest.raises(ScalingError, match="no usable row"):
        MinMaxScaler(inputCol="x", device="gpu").fit(df.filter("x > 5"))


def nodes(plan: Any) -> Any:
    """Return a physical plan's operators."""
    yield plan
    for k in range(plan.children().size()):
        yield from nodes(plan.children().apply(k))


@pytest.mark.one_world  # it looks at the plan
def test_transform_sends_numbers(spark, spoilt):
    """What goes to Python and back is arrays and structs of numbers: at vectors the RAPIDS Accelerator would leave it."""
    model = StandardScaler(inputCols=KINDS, device="gpu").fit(spoilt)
    plan = model.transform(spoilt)._jdf.queryExecution().executedPlan()
    udfs = [n.udfs().apply(0) for n in nodes(plan) if n.nodeName() == "ArrowEvalPython"]
    types = {u.children().apply(0).dataType().catalogString() for u in udfs} | {
        u.dataType().catalogString() for u in udfs
    }

    sent = ["double"] * 6 + ["array<double>", "array<float>", "array<double>"]

    assert len(udfs) == 4  # of all scalars and arrays, and of each vector
    assert {u.evalType() for u in udfs} == {PythonEvalType.SQL_SCALAR_ARROW_ITER_UDF}
    assert types == {"array<double>", f"struct<{','.join(f'c{k}:{kind}' for k, kind in enumerate(sent))}>"}


@pytest.mark.one_world
def test_fit_sends_numbers(spoilt):
    """The same of what fit sends, and of what comes back of each statistic."""
    sent = arrow.select(spoilt, arrow.groups(resolve(spoilt, KINDS)), False, resolve(spoilt, ["w"])[0])
    kinds = {kind for _, kind in sent.dtypes}
    back = {part.split()[1] for entry in TABLE for part in partials.schema(entry.statistic).split(", ")}

    assert kinds == {"array<double>", "array<float>", "array<int>", "int", "double"}
    assert back == {"array<double>", "int", "double"}


@pytest.mark.parametrize("stage", [StandardScaler(inputCol="s0"), LayerNorm(inputCol="array")], ids=["scaler", "row"])
def test_another_device_is_refused(clean, stage):
    """Before any job."""
    with pytest.raises(ParamError, match="device must be one of 'cpu', 'gpu', 'auto'. Got 'cuda'"):
        getattr(stage.setDevice("cuda"), "fit" if hasattr(stage, "fit") else "transform")(clean)


# --- jobs that fail, last: a worker may take its device when its task is over already ------------------------------


def test_invalid_values_are_refused(spoilt, clean):
    """In the job, by the message that the CPU has."""
    stage = StandardScaler(inputCols=FEW, handleInvalid="error", device="gpu")
    model = stage.fit(clean)

    with pytest.raises(InvalidValueError, match="Column '(s1|array|mixed)' holds"):
        stage.fit(spoilt)
    for made in (model, LayerNorm(inputCols=["array", "mixed"], handleInvalid="error", device="gpu")):
        with pytest.raises(Exception, match=r"sparkscale.InvalidValueError\] Column '(s1|array|mixed)' holds"):
            made.transform(spoilt).collect()


def test_a_wrong_length_is_refused(spark):
    """As on the CPU: in the job, with the column's name."""
    df = spark.createDataFrame([([1.0, 2.0],), ([3.0, 5.0],)], "a array<double>")
    longer = spark.createDataFrame([([1.0, 2.0, 3.0],)], "a array<double>")
    model = MinMaxScaler(inputCol="a", device="gpu").fit(df)

    with pytest.raises(Exception, match="Column 'a' holds a row of length 3"):
        model.transform(longer).collect()
    with pytest.raises(Exception, match="Column 'a' holds a row of length 3"):
        LayerNorm(inputCol="a", gamma=[1.0, 2.0], device="gpu").transform(longer).collect()
    with pytest.raises(SizeMismatchError, match="arrays of length"):
        MinMaxScaler(inputCol="a", device="gpu").fit(df.union(longer))
