"""Which device a task computes on, and what happens where there is none or too little of it."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from conftest import has_gpu
from sparkscale import kernels
from sparkscale.blocks import DenseBlock
from sparkscale.errors import DeviceError, ParamError
from sparkscale.spark import gpu
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import keyed, scan, selection
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.gpu import Cpu, Gpu
from sparkscale.spark.transform import udf
from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, Squares


def device_of_task(device: str, task: Any) -> Cpu:
    """Return what the task computes on."""
    with patch.object(gpu, "task_context", return_value=task):
        return gpu.device_of_task(device)


ROWS = np.random.default_rng(0).normal(3.0, 2.0, (40, 6))
VALID = ROWS.copy()
ROWS[3, 1], ROWS[5, 0] = np.nan, np.inf


@dataclass
class Task:
    """The task context of Spark."""

    addresses: list[str] = field(default_factory=list)
    partition: int = 0

    def resources(self) -> dict[str, Any]:
        return {"gpu": SimpleNamespace(addresses=self.addresses)} if self.addresses else {}

    def partitionId(self) -> int:
        return self.partition


@pytest.fixture
def fake_cupy(monkeypatch):
    """The fake CuPy, in place of CuPy."""
    spec = importlib.util.spec_from_file_location("fake_cupy", Path(__file__).parent / "fake_cupy" / "cupy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("FAKE_CUPY_DEVICES", "8")
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.mark.parametrize(
    ("visible", "task", "expected"),
    [
        ("3", Task(["5"]), 0),
        ("3,4", None, 0),
        (None, Task(["3"], 7), 3),
        (None, Task(["5", "6"]), 5),
        (None, Task(partition=11), 3),
        (None, None, 0),
    ],
)
def test_the_device_of_a_task(fake_cupy, monkeypatch, visible, task, expected):
    """What is visible is numbered from 0; else the assigned address counts, else the partition."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert isinstance(device_of_task("gpu", task), Gpu)
    assert fake_cupy.counted["device"] == expected


def test_mig_device_is_named_by_uuid(fake_cupy, monkeypatch):
    """CUDA takes it from the environment alone."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")  # so that it is taken back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(gpu, "_mig_devices", [])
    for _ in range(2):
        device_of_task("gpu", Task(["MIG-1234"]))

    assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "MIG-1234"
    assert fake_cupy.counted["device"] == 0


def test_cpu_asks_for_nothing(monkeypatch):
    """CuPy is not even imported."""
    monkeypatch.setattr("sparkscale.arrays.cupy", lambda pooled: pytest.fail("imported"))

    assert device_of_task("cpu", Task(["0"])).__class__ is Cpu


def missing(pooled: bool) -> Any:
    raise ImportError("No module named 'cupy'")


REASONS = {
    "not visible": "CUDA_VISIBLE_DEVICES is empty",
    "no library": "CuPy cannot be imported",
    "no device": "finds no device",
    "not there": "Spark assigned device 9, but CuPy finds 8 only",
    "not usable": "device 7 cannot be used (CUDARuntimeError: cudaErrorDevicesUnavailable",
    "another part": "Spark assigned MIG-2 to a worker that already uses MIG-1",
}


def unusable(x: Any) -> Any:
    raise sys.modules["cupy"].CUDARuntimeError("cudaErrorDevicesUnavailable")


@pytest.fixture(params=REASONS)
def reason(request, fake_cupy, monkeypatch):
    if request.param == "not visible":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", " ")
    elif request.param == "no library":
        monkeypatch.setattr("sparkscale.arrays.cupy", missing)
    elif request.param == "no device":
        monkeypatch.setenv("FAKE_CUPY_DEVICES", "0")
    elif request.param == "not usable":
        monkeypatch.setattr(fake_cupy, "asarray", unusable)
    elif request.param == "another part":
        monkeypatch.setattr(gpu, "_mig_devices", ["MIG-1"])
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    gpu._warn_once.cache_clear()
    return request.param


ADDRESSES = {"not usable": "7", "another part": "MIG-2"}


def test_gpu_without_a_device_is_an_error(reason):
    """It says what was looked for, and how to have it."""
    with pytest.raises(DeviceError, match=r"(?s)spark.task.resource.gpu.amount.*cupy-cuda12x") as failed:
        device_of_task("gpu", Task([ADDRESSES.get(reason, "9")]))
    assert REASONS[reason] in str(failed.value)


def test_auto_without_a_device_is_the_cpu(reason, caplog):
    """One line of a worker's log says so, however many tasks it has."""
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        for _ in range(3):
            assert device_of_task("auto", Task([ADDRESSES.get(reason, "9")])).__class__ is Cpu
    (record,) = caplog.records
    assert "computing on the CPU" in record.message
    assert REASONS[reason] in record.message


@pytest.mark.third_party
def test_cupy_without_a_device(monkeypatch):
    """CuPy imports without a device."""
    cupy = pytest.importorskip("cupy", reason="CuPy has no wheel for this platform")
    if has_gpu():
        pytest.skip("there is a device")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert device_of_task("auto", None).__class__ is Cpu
    with pytest.raises(DeviceError, match=f"CuPy {cupy.__version__} finds no device"):
        device_of_task("gpu", None)


@pytest.mark.third_party
def test_the_fake_cupy_has_only_names_of_cupy(fake_cupy):
    """Otherwise code could pass here and fail on a device."""
    cupy = pytest.importorskip("cupy", reason="CuPy has no wheel for this platform")
    own = {"DEVICE", "HOST", "counted", "held", "OutOfMemoryError", "CUDARuntimeError", "Device"}
    names = {n for n, v in vars(fake_cupy).items() if getattr(v, "__module__", "") == fake_cupy.__name__} - own

    assert names >= {"asarray", "asnumpy", "ndarray", "get_default_memory_pool"}
    assert [n for n in names if not hasattr(cupy, n)] == []
    for path in (
        "Device",
        "is_available",
        "memory.OutOfMemoryError",
        "set_allocator",
        "runtime.CUDARuntimeError",
        "runtime.getDeviceCount",
    ):
        real = cupy.cuda
        for part in path.split("."):
            real = getattr(real, part)


@pytest.mark.parametrize("kind", [Extrema, Squares, Moments, CoMoments])
@pytest.mark.parametrize("limit", [0, 7, 1])
def test_block_without_memory_is_halved(fake_cupy, monkeypatch, kind, limit):
    """Down to a row; the statistic is that of the CPU, and on the host."""
    monkeypatch.setenv("FAKE_CUPY_ROWS", str(limit))
    actual, expected = Gpu(fake_cupy).of(kind, DenseBlock(ROWS)), kind.of(DenseBlock(ROWS))

    for name in {"count", "invalid", *kind.names()} - {"origin", "shift"}:
        assert isinstance(getattr(actual, name), np.ndarray)
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-12, atol=1e-12)
    assert bool(fake_cupy.counted["freed"]) == bool(limit)
    assert not any(fake_cupy.counted["freed"])  # nothing was in use any more


def test_quantiles_are_computed_on_the_host(fake_cupy, monkeypatch):
    """No block goes to the device: sorting there is not measured to be faster."""
    monkeypatch.setattr(fake_cupy, "asarray", lambda a: (_ for _ in ()).throw(AssertionError("on the device")))
    actual, expected = Gpu(fake_cupy).of(Quantiles, DenseBlock(ROWS)), Quantiles.of(DenseBlock(ROWS))

    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(getattr(actual, name), array, err_msg=name)


def test_single_row_without_memory_is_an_error(fake_cupy, monkeypatch):
    """A single row cannot be halved."""
    monkeypatch.setattr(fake_cupy, "asarray", lambda a: (_ for _ in ()).throw(fake_cupy.OutOfMemoryError("full")))

    with pytest.raises(DeviceError, match=r"(?s)partition 7: OutOfMemoryError: full.*Let fewer tasks share it"):
        Gpu(fake_cupy, 7).of(Moments, DenseBlock(ROWS))


@pytest.mark.parametrize("kind", [MemoryError, None], ids=["of RAPIDS", "of CuPy"])
def test_kernel_without_memory_is_halved(fake_cupy, kind):
    """Most of what a device has no room for are results within a kernel; what it held by then is given back first."""
    limit = 10

    def kernel(x):
        doubled = x * 2.0
        if x.shape[0] > limit:
            raise (kind or fake_cupy.OutOfMemoryError)("std::bad_alloc")
        return doubled

    np.testing.assert_array_equal(Gpu(fake_cupy).apply(kernel, VALID), VALID * 2.0)
    assert len(fake_cupy.counted["freed"]) >= 3
    assert not any(fake_cupy.counted["freed"])


@pytest.mark.parametrize("kind", [Extrema, Squares, Moments, CoMoments])
def test_a_block_without_rows_is_neutral(fake_cupy, kind):
    """As when all rows of a batch are dropped."""
    statistic = Gpu(fake_cupy).of(kind, DenseBlock(ROWS[:0]))

    assert len(statistic) == 6
    assert not statistic.count.any()


@pytest.mark.parametrize("limit", [0, 7, 1])
def test_rows_without_memory_are_halved(fake_cupy, monkeypatch, limit):
    """The results of the halves are concatenated on the host."""
    monkeypatch.setenv("FAKE_CUPY_ROWS", str(limit))
    rows = Gpu(fake_cupy).apply(kernels.layer_norm, VALID)

    assert isinstance(rows, np.ndarray)
    np.testing.assert_allclose(rows, kernels.layer_norm(VALID), rtol=1e-13)


def broken(x: Any) -> Any:
    raise RuntimeError("an illegal memory access was encountered")


def test_an_error_of_a_kernel_names_the_partition(fake_cupy):
    """The partition helps to find the rows that caused the error."""
    with pytest.raises(DeviceError, match="partition 3: RuntimeError: an illegal memory access") as failed:
        Gpu(fake_cupy, 3).apply(broken, ROWS)
    assert isinstance(failed.value.__cause__, RuntimeError)


def test_scaling_errors_are_not_wrapped(fake_cupy):
    """Their messages already name the wrong data or Param."""
    with pytest.raises(ParamError, match="low must not be above high"):
        Gpu(fake_cupy, 3).apply(partial(kernels.clip_by_value, low=2.0, high=1.0), ROWS)


BATCH = pa.record_batch({"a0": pa.array(ROWS.tolist()), "w": pa.array(np.ones(len(ROWS)))})
GROUPS = selection.column_groups([FeatureColumn("a", "array")])
FIT = scan.Scan(GROUPS, Moments, False, "gpu", Pool())
BY_BATCH = keyed.KeyedScan(GROUPS, Moments, False, "gpu", Pool())
KEYED = BATCH.append_column("b", pa.array([k % 2 for k in range(len(ROWS))]))
OF_CELLS = partial(udf._of_cells, kernels={"c6": kernels.layer_norm}, keeps_null=["c6"], joint=kernels.layer_norm)
CELLS = {**{f"c{k}": VALID[:, k] for k in range(6)}, "c6": [*VALID]}
TYPES = {**{f"c{k}": "double" for k in range(6)}, "c6": "array<double>"}
TASKS = {
    "fit": (FIT, BATCH),
    "fit by mini-batch": (BY_BATCH, KEYED),
    "scalars and arrays": (udf._on_arrow(OF_CELLS, "gpu"), pa.table(CELLS).to_struct_array().combine_chunks()),
    "scalars and arrays, by pandas": (udf._on_frame(OF_CELLS, TYPES, "gpu"), pd.DataFrame(CELLS)),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("end", ["all", "first", "failure"])
def test_a_task_leaves_nothing_on_the_device(fake_cupy, monkeypatch, name, end):
    """Whether its rows are all computed, no more of them are wanted, or one is the cause of an error."""
    work, rows = TASKS[name]
    if end == "failure":
        get = fake_cupy.asnumpy
        monkeypatch.setattr(fake_cupy, "asnumpy", lambda a: broken(a) if fake_cupy.counted["put"] > 1 else get(a))
    results = work(iter([rows, rows]))
    if end == "failure":
        with pytest.raises(DeviceError):
            next(results)
    else:
        next(results)
        assert (end == "all" and [*results]) or results.close() is None

    assert fake_cupy.counted["put"] > 1
    assert fake_cupy.counted["freed"]
    if end != "failure":  # after which the worker ends
        assert fake_cupy.counted["freed"][-1] == 0  # nothing was in use any more when it was given back


def hidden(values: list[Any]) -> pa.Array:
    """Return rows of which the second is null, and holds values all the same."""
    whole = pa.array(values, pa.list_(pa.float64()))
    return pa.ListArray.from_arrays(whole.offsets, whole.values, mask=pa.array([k == 1 for k in range(len(values))]))


LISTS = {
    "none": pa.array([], pa.list_(pa.float64())),
    "null alone": pa.array([None, None], pa.list_(pa.float64())),
    "empty ones": pa.array([[], [1.0, 2.0], []]),
    "nulls inside": pa.array([[1.0, None], None, [np.nan, 4.0]]),
    "single precision": pa.array([[1.0, None], [3.0, 0.1]], pa.list_(pa.float32())),
    "a slice": pa.array([[9.0], [1.0, None, 3.0], None, [4.0], [8.0, 8.0]])[1:4],
    "hidden values": hidden([[1.0, 2.0], [3.0, 4.0], [5.0, None]]),
    "hidden values, a slice": hidden([[1.0], [3.0, 4.0], [5.0, 6.0, 7.0]])[1:],
    "many lengths": pa.array([[float(k)] * (k * 7 % 300) for k in range(300)]),
}


@pytest.mark.parametrize("nulls", [True, False])
@pytest.mark.parametrize("name", LISTS)
def test_rows_are_mapped_and_their_nulls_stay(name, nulls):
    """For every layout of Arrow arrays: null rows stay null, and so do null elements if nulls are kept."""
    source = LISTS[name]
    actual = udf._of_rows(source, gpu.Cpu(), lambda x: x * 2.0, nulls)
    actual.validate(full=True)
    null = None if nulls else np.nan
    expected = [None if row is None else [null if v is None else v * 2.0 for v in row] for row in source.to_pylist()]

    assert actual.type == source.type
    np.testing.assert_equal(actual.to_pylist(), expected)


def test_cells_are_mapped_and_their_nulls_stay():
    """Of a slice of a struct of scalars and arrays, in their order; NaN is not null."""
    cells = pa.array([{"a": [0.0], "x": 0.0}, {"a": [1.0, None], "x": None}, {"a": None, "x": np.nan}])[1:]
    mapped = udf._of_cells(
        cells, gpu.Cpu(), kernels={"a": lambda x: x + 1.0}, keeps_null=["a", "x"], joint=lambda x: x - 1.0
    )

    np.testing.assert_equal(mapped.to_pylist(), [{"a": [2.0, None], "x": None}, {"a": None, "x": np.nan}])


def test_memory_comes_from_the_pool_of_rapids(fake_cupy, monkeypatch):
    """Where the plugin has made one in the worker."""
    rmm = ModuleType("rmm.allocators.cupy")
    rmm.rmm_cupy_allocator = object()
    monkeypatch.setitem(sys.modules, "rmm.allocators.cupy", rmm)
    for name in ("rmm", "rmm.allocators"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setenv("RAPIDS_POOLED_MEM_ENABLED", "true")
    device_of_task("gpu", None)

    assert fake_cupy.counted["allocator"] is rmm.rmm_cupy_allocator


SESSIONS = {
    "none": ({}, "cpu"),
    "resources": ({"spark.task.resource.gpu.amount": "0.125"}, "auto"),
    "no share of one": ({"spark.task.resource.gpu.amount": "0"}, "cpu"),
    "plugin": ({"spark.rapids.sql.python.gpu.enabled": "true"}, "auto"),
    "plugin without Python": ({"spark.rapids.sql.python.gpu.enabled": "false"}, "cpu"),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_auto_depends_on_the_gpus_of_the_session(name, caplog):
    """One line of the log has the device and the reason."""
    confs, expected = SESSIONS[name]
    session = SimpleNamespace(conf=confs)
    with caplog.at_level(logging.WARNING, logger="sparkscale"):
        assert gpu.effective_device("auto", session) == expected
    (record,) = caplog.records
    assert ("on the CPU" if expected == "cpu" else "on GPUs") in record.message
    assert "spark.task.resource.gpu.amount" in record.message

    assert gpu.effective_device("gpu", session) == "gpu"
    assert gpu.effective_device("cpu", session) == "cpu"


def test_batches_are_put_together_up_to_a_budget(fake_cupy, monkeypatch):
    """In order and without loss; a batch above the budget is not concatenated."""
    monkeypatch.setattr("sparkscale.spark.gpu.BLOCK_BYTES", 100)
    batches = [pa.record_batch({"x": pa.array(np.full(n, float(n)))}) for n in (3, 4, 100, 2, 0, 5)]
    gathered = list(Gpu(fake_cupy).rebatch(iter(batches)))

    assert [b.num_rows for b in gathered] == [7, 100, 7]
    assert pa.Table.from_batches(gathered).to_pydict() == pa.Table.from_batches(batches).to_pydict()
    assert list(Gpu(fake_cupy).rebatch(iter([]))) == []
