"""Stages that map each row by itself: what the kernels compute, on every kind of column and on bad data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import array_api_strict as strict
import numpy as np
import pyspark.ml.feature
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructField, StructType

from frames import INF, NAN, cells, cells_of_each, near, vectors
from sparkscale import ClipByNorm, ClipByValue, GroupNorm, InstanceNorm, LayerNorm, Normalizer, RMSNorm, kernels
from sparkscale.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    OutputColumnError,
    ParamError,
    SizeMismatchError,
)

SIZE = 12
FIRST, LAST = [6, 2, 1], [2, 6]  # six channels of two places, first or last
GAMMA, BETA = [1.5, -2.0, 1.0, 0.25, 3.0, -1.0], [0.0, 1.0, -1.0, 2.0, 0.5, 0.0]
LONG = [0.5 * i - 2.25 for i in range(SIZE)]

Function = Callable[[np.ndarray], Any]


def rows(x: Any) -> Any:
    return x


def first(x: Any) -> Any:
    """Return rows as tensors whose second axis is the channels."""
    return x.reshape(-1, 6, 2)


def last(x: Any) -> Any:
    """Return the same of rows that have the channels last."""
    return x.reshape(-1, 2, 6).transpose(0, 2, 1)


def back(x: Any, layout: Function) -> Any:
    return (x.transpose(0, 2, 1) if layout is last else x).reshape(len(x), -1)


def standardized(epsilon: float, axes: Any, groups: int | None = None, centred: bool = True) -> Function:
    """Return the formula of the family over the values of a masked array that are not masked."""

    def apply(x: Any) -> Any:
        values = x.reshape(len(x), groups, -1) if groups else x
        values = values - values.mean(axis=axes, keepdims=True) if centred else values
        root = np.ma.sqrt((values**2).mean(axis=axes, keepdims=True) + epsilon)
        return (values / np.ma.where(root == 0, 1.0, root)).reshape(x.shape)

    return apply


def unit(p: float) -> Function:
    return lambda x: x / np.ma.power((abs(x) ** p).sum(axis=1, keepdims=True), 1 / p)


@dataclass(frozen=True)
class Case:
    """A stage, the kernel and the formula that compute the same, and the layout that they take rows in."""

    stage: Any
    kernel: Function
    formula: Function
    layout: Function = rows
    gamma: Any = 1.0
    beta: Any = 0.0


def channels(values: list[float]) -> np.ndarray:
    return np.array(values)[:, None]


def gains(gamma: Any, beta: Any) -> dict[str, Any]:
    return {"gamma": gamma, "beta": beta}


layer, group, rms = kernels.layer_norm, kernels.group_norm, kernels.rms_norm
CASES = {
    "layer": Case(LayerNorm(), layer, standardized(1e-5, 1)),
    "layer, no epsilon": Case(LayerNorm(epsilon=0.0), partial(layer, epsilon=0.0), standardized(0.0, 1)),
    "layer, gain": Case(
        LayerNorm(**gains(LONG, LONG[::-1]), epsilon=0.1),
        partial(layer, **gains(LONG, LONG[::-1]), epsilon=0.1),
        standardized(0.1, 1),
        rows,
        np.array(LONG),
        np.array(LONG[::-1]),
    ),
    "layer, last axis": Case(
        LayerNorm(normalizedShape=[2, 1], gamma=[2.0, 3.0]),
        partial(layer, gamma=[2.0, 3.0]),
        standardized(1e-5, 2),
        first,
        np.array([2.0, 3.0]),
    ),
    "instance": Case(InstanceNorm(shape=FIRST), kernels.instance_norm, standardized(1e-5, 2), first),
    "instance, last": Case(
        InstanceNorm(shape=LAST, dataFormat="channelsLast", **gains(GAMMA, BETA)),
        partial(kernels.instance_norm, **gains(GAMMA, BETA)),
        standardized(1e-5, 2),
        last,
        channels(GAMMA),
        channels(BETA),
    ),
    "group, plain": Case(GroupNorm(numGroups=3), partial(group, groups=3), standardized(1e-5, 2, 3)),
    "group, plain, gain": Case(
        GroupNorm(numGroups=4, **gains(LONG, LONG)),
        partial(group, groups=4, **gains(LONG, LONG)),
        standardized(1e-5, 2, 4),
        rows,
        np.array(LONG),
        np.array(LONG),
    ),
    "group": Case(
        GroupNorm(numGroups=3, shape=FIRST, **gains(GAMMA, BETA)),
        partial(group, groups=3, **gains(GAMMA, BETA)),
        standardized(1e-5, 2, 3),
        first,
        channels(GAMMA),
        channels(BETA),
    ),
    "group, last": Case(
        GroupNorm(numGroups=2, shape=LAST, dataFormat="channelsLast", **gains(GAMMA, BETA), epsilon=0.0),
        partial(group, groups=2, **gains(GAMMA, BETA), epsilon=0.0),
        standardized(0.0, 2, 2),
        last,
        channels(GAMMA),
        channels(BETA),
    ),
    "rms": Case(RMSNorm(), rms, standardized(1e-6, 1, centred=False)),
    "rms, gain": Case(
        RMSNorm(gamma=LONG, epsilon=0.0),
        partial(rms, gamma=LONG, epsilon=0.0),
        standardized(0.0, 1, centred=False),
        rows,
        np.array(LONG),
    ),
    "pixel": Case(
        RMSNorm(shape=FIRST, epsilon=1e-8),
        partial(rms, epsilon=1e-8, axes=1),
        standardized(1e-8, 1, centred=False),
        first,
    ),
    "pixel, last": Case(
        RMSNorm(shape=LAST, dataFormat="channelsLast", gamma=GAMMA),
        partial(rms, gamma=channels(GAMMA), axes=1),
        standardized(1e-6, 1, centred=False),
        last,
        channels(GAMMA),
    ),
    "unit 1": Case(Normalizer(p=1.0), partial(kernels.normalize, p=1.0), unit(1.0)),
    "unit 1.5": Case(Normalizer(p=1.5), partial(kernels.normalize, p=1.5), unit(1.5)),
    "unit 2": Case(Normalizer(), kernels.normalize, unit(2.0)),
    "unit inf": Case(
        Normalizer(p=float("inf")),
        partial(kernels.normalize, p=np.inf),
        lambda x: x / abs(x).max(axis=1, keepdims=True),
    ),
    "clip": Case(
        ClipByNorm(clipNorm=2.5),
        partial(kernels.clip_by_norm, clip_norm=2.5, axes=1),
        lambda x: x * np.ma.minimum(1.0, 2.5 / np.ma.sqrt((x**2).sum(axis=1, keepdims=True))),
    ),
    "clip as torch": Case(
        ClipByNorm(clipNorm=2.5, formula="torch"),
        partial(kernels.clip_by_norm, clip_norm=2.5, axes=1, formula="torch"),
        lambda x: x * np.ma.minimum(1.0, 2.5 / (np.ma.sqrt((x**2).sum(axis=1, keepdims=True)) + 1e-6)),
    ),
    "values": Case(
        ClipByValue(low=-0.5, high=1.0), partial(kernels.clip_by_value, low=-0.5, high=1.0), lambda x: x.clip(-0.5, 1.0)
    ),
    "values above 0": Case(
        ClipByValue(low=0.25), partial(kernels.clip_by_value, low=0.25, high=np.inf), lambda x: x.clip(0.25, np.inf)
    ),
}
ONE_OF_EACH = ("layer, gain", "instance", "group, last", "rms", "unit 1.5", "clip as torch", "values")


def by_kernel(name: str, x: np.ndarray) -> np.ndarray:
    """Return what the kernel makes of rows."""
    case = CASES[name]
    return back(case.kernel(case.layout(x)), case.layout)


def by_formula(name: str, x: np.ndarray) -> np.ndarray:
    """Return what the formula makes of the finite values of rows."""
    case = CASES[name]
    values = case.formula(case.layout(np.ma.masked_invalid(x))) * case.gamma + case.beta
    return back(values, case.layout).filled(np.nan)


def sample() -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(8, SIZE))
    x[1] *= 1e4
    x[2] += 100
    x[3] = np.where(rng.random(SIZE) < 0.7, 0.0, x[3])
    x[4] = 0.0
    x[5] = 7.0
    return x.astype(np.float32).astype(np.float64)  # so that the columns of float hold the same


def with_invalid_values() -> np.ndarray:
    x = sample()[:6] + 1.0
    x[0, [0, 5]], x[1, 11], x[2, :4], x[3, ::2] = np.nan, np.inf, -np.inf, np.nan
    x[4, :], x[5, [1, 6, 11]] = np.nan, [np.nan, np.inf, -np.inf]
    return x


def frame_of_rows(spark: SparkSession, arrays: Sequence[Any], as_vectors: Sequence[Any] | None = None) -> DataFrame:
    """Return rows as arrays of double and of float, and the same or others as vectors, every other of which is sparse."""
    records = []
    for i, (row, other) in enumerate(zip(arrays, as_vectors or arrays, strict=True)):
        vector = None
        if other is not None:
            full = [np.nan if v is None else v for v in other]
            entries = [(j, v) for j, v in enumerate(full) if v != 0]
            vector = SparseVector(len(full), entries) if i % 2 else DenseVector(full)
        records.append((float(i), row, row, vector))
    schema = StructType(
        [
            StructField("id", DoubleType()),
            StructField("a", ArrayType(DoubleType())),
            StructField("f", ArrayType(FloatType())),
            StructField("v", VectorUDT()),
        ]
    )
    return spark.createDataFrame(records, schema)


@pytest.fixture(scope="module")
def samples(spark):
    return frame_of_rows(spark, sample().tolist())


def on(stage: Any, *columns: str) -> Any:
    """Return a copy of a stage, or of a case's, that reads these columns."""
    stage = CASES[stage].stage if isinstance(stage, str) else stage
    return stage.copy().setInputCols(list(columns))


def lists(df: DataFrame, *columns: str) -> list[list[Any]]:
    """Return each column's rows as lists, in the order of ``id``."""
    return [list(column) for column in zip(*cells(df, *columns), strict=True)]


@contextmanager
def deep_plans(spark: SparkSession) -> Iterator[None]:
    """Let stages be chained: Connect analyses them as one plan, and every lambda within a lambda takes it more iterations."""
    name = "spark.sql.analyzer.maxIterations"
    before = spark.conf.get(name)
    spark.conf.set(name, "1000")
    try:
        yield
    finally:
        spark.conf.set(name, before)


def outputs_of(df: DataFrame, stages: Mapping[str, Any], *columns: str) -> dict[str, list[list[Any]]]:
    """Return what each stage makes of each column, as ``lists`` does: by one query."""
    names = {name: [f"{column}_{k}" for column in columns] for k, name in enumerate(stages)}
    with deep_plans(df.sparkSession):
        for name, stage in stages.items():
            df = on(stage, *columns).setOutputCols(names[name]).transform(df)
        outputs = iter(lists(df, *chain.from_iterable(names.values())))
    return {name: [next(outputs) for _ in columns] for name in stages}


# --- as the kernels --------------------------------------------------------------------------------------------

each_case = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.core if n in ONE_OF_EACH else ()) for n in CASES]
)
INVALID, GOOD = slice(0, 6), slice(6, 14)  # rows of the frame; a null follows


@pytest.fixture(scope="module")
def invalid_and_good(spark):
    """Rows with invalid values, rows without, and a null row."""
    broken = with_invalid_values().tolist()
    nulls = [[None if np.isnan(v) and j % 2 else v for j, v in enumerate(row)] for row in broken]
    return frame_of_rows(spark, [*nulls, *sample().tolist(), None])


@pytest.fixture(scope="module")
def transformed(invalid_and_good):
    """Tell what a case makes of that frame: one of each stage of all columns, the others of the arrays of double."""

    @cache
    def outputs(names: tuple[str, ...], *columns: str) -> dict[str, list[list[Any]]]:
        return outputs_of(invalid_and_good, {name: CASES[name].stage for name in names}, *columns)

    others = tuple(name for name in CASES if name not in ONE_OF_EACH)
    return lambda name: outputs(ONE_OF_EACH, "a", "f", "v")[name] if name in ONE_OF_EACH else outputs(others, "a")[name]


@each_case
def test_rows_equal_the_results_of_the_kernel(transformed, name):
    """As arrays of double and float and as dense and sparse vectors; a null row stays null."""
    x = sample()

    doubles, *others = transformed(name)

    assert len(doubles) == 15
    assert doubles[-1] is None
    near(doubles[GOOD], by_kernel(name, x), atol=1e-12)
    if name in ONE_OF_EACH:
        floats, as_vectors = others
        assert floats[-1] is as_vectors[-1] is None
        near(as_vectors[GOOD], by_kernel(name, x), atol=1e-12)
        np.testing.assert_array_equal(np.array(floats[GOOD]), np.array(doubles[GOOD]).astype(np.float32))


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_column_is_computed_alike(invalid_and_good, name):
    """A dense vector, as an array, by the text of an array of double; so is an array of float, but that it becomes one again."""
    texts = on(name, "a", "f", "v").toSQL(invalid_and_good)

    def of(column: str) -> str:
        return texts["a_scaled"].replace("`a`", f"`{column}`").replace(r"Column \'a\'", rf"Column \'{column}\'")

    assert of("v") != texts["a_scaled"]
    assert texts["v_scaled"] == of("v")
    computed, *failing = texts["f_scaled"].split("(cast(raise_error")
    expected, *expected_failing = of("f").split("(cast(raise_error")
    assert computed.count(" AS array<float>)") == 1
    assert re.sub(r"cast\((.*) AS array<float>\)", r"\1", computed) == expected
    assert failing == [text.replace(" AS array<double>))", " AS array<float>))") for text in expected_failing]


@pytest.mark.parametrize("name", CASES)
def test_invalid_values_are_kept_and_ignored(transformed, name):
    """The others become what they are without them; infinities stay infinite, unless values are clipped."""
    x = with_invalid_values()
    given_null = [[bool(np.isnan(v)) and j % 2 == 1 for j, v in enumerate(row)] for row in x]

    doubles, *others = (column[INVALID] for column in transformed(name))

    expected, clips = by_formula(name, x), name.startswith("values")
    assert [[v is None for v in row] for row in doubles] == given_null
    for actual in (np.array(doubles, dtype=np.float64), *(np.array(as_vectors) for as_vectors in others[1:])):
        near(actual[np.isfinite(x)], expected[np.isfinite(x)], atol=1e-12)
        assert np.isnan(actual[np.isnan(x)]).all()
        infinite = np.isinf(x)
        if clips:
            np.testing.assert_array_equal(actual[infinite], by_kernel(name, x)[infinite])
        else:
            assert np.isinf(actual[infinite]).all()


@pytest.mark.parametrize("name", CASES)
def test_kernels_give_the_same_on_a_device(transformed, name):
    """For batches with invalid values, in device memory."""
    values = strict.asarray(np.concatenate([with_invalid_values(), sample()]), device=strict.Device("device1"))

    on_device = CASES[name].stage._column_map().kernel()(values)

    actual = np.asarray(on_device.to_device(strict.Device("CPU_DEVICE")))
    near(actual, np.array(transformed(name)[0][:-1], dtype=float), atol=1e-12)


WORKED_CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "batch_norm_cases.json").read_text("utf-8"))["cases"]
}
WORKED = {
    "layer_norm": (lambda g: LayerNorm(epsilon=g["eps"]), "y"),
    "instance_norm": (lambda g: InstanceNorm(epsilon=g["eps"], shape=[2, 2]), "y"),
    "group_norm": (lambda g: GroupNorm(epsilon=g["eps"], numGroups=g["num_groups"], shape=[4, 1]), "y"),
    "pixel_norm": (lambda g: RMSNorm(epsilon=g["eps"], shape=[2, 2, 2]), "y"),
    "unit_l2_norm": (lambda g: Normalizer(), "y_spark"),
    "clip_by_value": (lambda g: ClipByValue(low=g["min"], high=g["max"]), "y"),
    "clip_by_norm": (lambda g: ClipByNorm(clipNorm=g["clip_norm"]), "y"),
}


def worked(name: str) -> np.ndarray:
    """Return what the rows of a worked case are to become."""
    expected = np.array(WORKED_CASES[name]["expected"][WORKED[name][1]])
    return expected.reshape(len(expected) if expected.ndim > 1 else 1, -1)


@pytest.fixture(scope="module")
def worked_outputs(spark):
    """What the stages make of the rows of the worked cases, each of a column of its own."""
    given = {name: WORKED_CASES[name]["inputs"] for name in WORKED}
    rows_ = {name: np.reshape(given[name]["x"], (len(worked(name)), -1)).tolist() for name in WORKED}
    records = [(i, *((*rows_[name], None)[i] for name in WORKED)) for i in range(2)]
    df = spark.createDataFrame(records, ", ".join(["id int", *(f"{name} array<double>" for name in WORKED)]))
    with deep_plans(spark):
        for name, (make, _) in WORKED.items():
            df = on(make(given[name]), name).transform(df)
        return dict(zip(WORKED, lists(df, *(f"{name}_scaled" for name in WORKED)), strict=True))


@pytest.mark.parametrize("name", WORKED)
def test_worked_cases(worked_outputs, name):
    """Values worked out from the formulas of the papers and frameworks."""
    expected = worked(name)

    near(worked_outputs[name][: len(expected)], expected, WORKED_CASES[name]["rtol"], 0.0)


# --- what they share and what they are known for ---------------------------------------------------------------


def test_groups_lead_from_layer_norm_to_instance_norm(samples):
    """One group is the whole row; as many groups as channels are the channels, first or last."""
    stages = {
        "one": GroupNorm(numGroups=1),
        "one_of_shape": GroupNorm(numGroups=1, shape=LAST, dataFormat="channelsLast"),
        "layer": LayerNorm(),
        "all": GroupNorm(numGroups=6, shape=LAST, dataFormat="channelsLast"),
        "instance": InstanceNorm(shape=LAST, dataFormat="channelsLast"),
    }
    outputs = {name: rows_ for name, (rows_,) in outputs_of(samples, stages, "a").items()}

    assert outputs["one"] == outputs["layer"]
    near(outputs["one_of_shape"], outputs["layer"], atol=1e-12)
    assert outputs["all"] == outputs["instance"]


SIZES = (1e300, 1e200, 1e-200)
PAIR = np.array([[3.0, -4.0, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0]])
ONE_VALUE = (0.0, 7.0, -1e-200, 1e300)
CLOSE = 1e9 + np.random.default_rng(0).integers(-5000, 5000, (4, 64)) / 1024
EXTREME_ROWS: dict[Any, list[Any]] = {
    **{size: (PAIR * size).tolist() for size in SIZES},
    "largest": [[1.7e308, -1.7e308], [1e-200, -1e-200], [1e160, NAN]],
    "far from the norm": [[1e9, None], [1e9, 0.0], [-INF, 1e9], [3e300, 4e300], [3e-300, 4e-300]],
    **{("of one value", size): [[size] * 4, [size, size, None, size]] for size in ONE_VALUE},
    "close together": CLOSE.tolist(),
}
EXTREME_STAGES: dict[Any, Any] = {
    "unit": Normalizer(),
    "unit 3": Normalizer(p=3.0),
    "rms": RMSNorm(epsilon=0.0),
    "rms, epsilon": RMSNorm(),
    "layer": LayerNorm(epsilon=0.0),
    "layer, epsilon": LayerNorm(),
    **{("clip", size): ClipByNorm(clipNorm=size) for size in (*SIZES, 1e-300)},
}


@pytest.fixture(scope="module")
def extreme(spark):
    """Give the arrays, or the vectors, that a stage makes of some of the extreme rows."""
    df = frame_of_rows(spark, [*chain.from_iterable(EXTREME_ROWS.values())])
    outputs = outputs_of(df, EXTREME_STAGES, "a", "v")
    ends = np.cumsum([len(some) for some in EXTREME_ROWS.values()])
    places = {name: slice(end - len(some), end) for (name, some), end in zip(EXTREME_ROWS.items(), ends, strict=True)}
    return lambda stage, name, kind="a": outputs[stage]["av".index(kind)][places[name]]


@pytest.mark.parametrize("size", SIZES)
def test_norms_neither_overflow_nor_vanish(extreme, size):
    """Where squares of the values would, rows are divided by their largest value first."""
    unit_rows = [[0.6, -0.8, 0.0, 0.0], [0.0, 0.5**0.5, -(0.5**0.5), 0.0]]
    by_stage = {
        "unit": unit_rows,
        "unit 3": [
            [3 / 91 ** (1 / 3), -4 / 91 ** (1 / 3), 0.0, 0.0],
            [0.0, 0.5 ** (1 / 3), -(0.5 ** (1 / 3)), 0.0],
        ],
        "rms": [[1.2, -1.6, 0.0, 0.0], [0.0, 2**0.5, -(2**0.5), 0.0]],
        "layer": kernels.layer_norm(PAIR * size / size, epsilon=0.0),
        ("clip", size): np.array(unit_rows) * size,
    }
    for stage, expected in by_stage.items():
        for kind in ("a", "v"):
            near(extreme(stage, size, kind), expected, rtol=1e-12, atol=0.0)


def test_the_largest_doubles(extreme):
    """Differences of them overflow, and a value so large does not keep epsilon from the others' row."""
    layer_, rms_ = extreme("layer, epsilon", "largest"), extreme("rms, epsilon", "largest")

    near(layer_[0], [1.0, -1.0], atol=1e-12)
    near(layer_[1], [1e-200 / 1e-5**0.5, -1e-200 / 1e-5**0.5], atol=0.0)
    near(rms_[2], [1.0, np.nan], atol=1e-12)


def test_values_close_together_keep_their_digits(extreme):
    """A mean of 1e9 costs what its own rounding costs, and no more."""
    exact = CLOSE - 1e9  # without rounding
    expected = kernels.layer_norm(exact, epsilon=0.0)

    near(extreme("layer", "close together"), expected, rtol=0.0, atol=2 * np.spacing(1e9) / exact.std(axis=1).min())


def test_a_divisor_neither_overflows_nor_vanishes(extreme):
    """For any ratio of the norm to the bound."""
    expected = [[1.0, None], [1.0, 0.0], [-np.inf, 1.0], [0.6, 0.8], [0.6, 0.8]]

    actual = np.array(extreme(("clip", 1e-300), "far from the norm"), dtype=float)
    near(actual * 1e300, np.array(expected, dtype=float), atol=1e-12)


@pytest.mark.parametrize("size", ONE_VALUE)
def test_rows_of_one_value(extreme, size):
    """Zeros stay; what has no spread becomes 0; neither is mistaken for what vanishes."""
    sign = np.sign(size)
    by_stage = {"unit": sign / np.sqrt([4, 3]), "layer": (0.0, 0.0), "rms": (sign, sign)}

    for stage, (whole, with_null) in by_stage.items():
        expected = [[whole] * 4, [with_null, with_null, np.nan, with_null]]
        near(extreme(stage, ("of one value", size)), expected, atol=1e-12)


# --- Normalizer as Spark's -------------------------------------------------------------------------------------


@pytest.mark.core
def test_normalizer_is_sparks_on_vectors(spark, samples):
    """Number for number, dense stays dense, and sparse stays sparse with the same entries."""
    orders = (1.0, 1.7, 2.0, 3.0, float("inf"))
    df = samples
    with deep_plans(spark):
        for k, p in enumerate(orders):
            df = pyspark.ml.feature.Normalizer(p=p, inputCol="v", outputCol=f"theirs_{k}").transform(df)
            df = Normalizer(p=p, inputCol="v", outputCol=f"ours_{k}").transform(df)
        collected = df.collect()

    for k, p in enumerate(orders):
        ours, theirs = ([(type(r[n]), r[n]) for r in collected] for n in (f"ours_{k}", f"theirs_{k}"))
        assert ours == theirs, p
        assert {kind for kind, _ in ours} == {DenseVector, SparseVector}, p


def test_normalizer_takes_the_place_of_sparks(spark):
    """Its Params, defaults, getters and setters, keyword-only constructor and setParams are there."""
    theirs, ours = pyspark.ml.feature.Normalizer(), Normalizer()
    names = {n for n in dir(theirs) if not n.startswith("_")} - set(dir(pyspark.ml.feature.JavaTransformer))

    assert names - set(dir(ours)) == set()
    assert ours.getP() == theirs.getP() == 2.0
    assert ours.setParams(p=3.0, inputCol="x", outputCol="y") is ours
    assert (ours.getP(), ours.getInputCol(), ours.getOutputCol()) == (3.0, "x", "y")
    assert ours.setP(1.0).getP() == 1.0
    with pytest.raises(TypeError, match="keyword"):
        Normalizer(2.0)


def test_sparse_vectors_stay_sparse_where_zero_stays_zero(spark):
    """With their indices."""
    stages = {
        "unit": (Normalizer(), SparseVector),
        "norm": (ClipByNorm(clipNorm=1.0), SparseVector),
        "between": (ClipByValue(low=-1.0, high=0.0), SparseVector),
        "above": (ClipByValue(low=0.5), DenseVector),
        "layer": (LayerNorm(), DenseVector),
    }
    df = vectors(spark, Vectors.sparse(100_000, [7, 99_999], [3.0, -4.0]))
    with deep_plans(spark):
        for name, (stage, _) in stages.items():
            df = on(stage, "v").setOutputCols([name]).transform(df)
        (row,) = df.select(*stages).collect()

    for name, (_, kind) in stages.items():
        assert type(row[name]) is kind, name
        assert len(row[name]) == 100_000
        if kind is SparseVector:
            assert row[name].indices.tolist() == [7, 99_999], name


# --- columns ---------------------------------------------------------------------------------------------------


def test_scalars_and_numbers_of_any_type_are_clipped(spark):
    """Integers become doubles, float stays float; null and NaN stay, and infinities are clipped."""
    df = spark.createDataFrame(
        [(1, 7.5, 2.0, [3, None]), (None, float("nan"), float("-inf"), [-9, 0])],
        "i int, x double, f float, a array<int>",
    )
    out = ClipByValue(inputCols=["i", "x", "f", "a"], low=-1.0, high=1.5).transform(df)
    first_row, second = out.collect()

    assert [t for _, t in out.dtypes[4:]] == ["double", "double", "float", "array<double>"]
    assert tuple(first_row[4:]) == (1.0, 1.5, 1.5, [1.5, None])
    assert (second[4], second[6], second[7]) == (None, -1.0, [-1.0, 0.0])
    assert np.isnan(second[5])


def test_arrays_of_any_numbers_are_normalized_as_doubles(spark):
    """Also decimals; an empty array stays empty, and rows need not have one length."""
    df = spark.sql(
        "SELECT 1 AS id, array(3, 4) AS i, array(3.0BD, NULL, 4.0BD) AS d "
        "UNION ALL SELECT 2, array(), array(0.0BD) UNION ALL SELECT 3, NULL, array(5.0BD)"
    )
    outputs = outputs_of(df, {"unit": Normalizer(), "layer": LayerNorm(epsilon=0.0)}, "i", "d")

    for name, pair, one in (("unit", [0.6, 0.8], [1.0]), ("layer", [-1.0, 1.0], [0.0])):
        assert outputs[name] == [[pair, [], None], [[pair[0], None, pair[1]], [0.0], one]], name


@pytest.mark.core
def test_other_columns_are_unchanged(spark):
    """Columns, their order, their metadata; vectors carry their size and names on, and names may be odd."""
    attributes = {"ml_attr": {"num_attrs": 2, "attrs": {"numeric": [{"idx": 0, "name": "p"}, {"idx": 1, "name": "q"}]}}}
    df = spark.sql("SELECT 's' AS s, array(3D, 4D) AS `a.b`, named_struct('x', array(3D, 4D)) AS t")
    df = df.withColumn("v", array_to_vector(F.col("`a.b`"))).withMetadata("v", attributes)
    df = df.withColumn("w", F.col("v")).withMetadata("s", {"note": 1})
    stages = {
        "unit": Normalizer(),
        "layer": LayerNorm(),
        "norm": ClipByNorm(clipNorm=1.0),
        "value": ClipByValue(high=1.0),
    }
    outputs = {name: on(stage, "v", "a.b", "t.x", "w").transform(df) for name, stage in stages.items()}

    for name, out in outputs.items():
        assert out.columns == [*df.columns, "v_scaled", "a.b_scaled", "t.x_scaled", "w_scaled"], name
        assert out.schema.fields[: len(df.columns)] == df.schema.fields, name
        assert out.schema["v_scaled"].metadata["ml_attr"]["num_attrs"] == 2, name
        assert [a["name"] for a in out.schema["v_scaled"].metadata["ml_attr"]["attrs"]["numeric"]] == ["p", "q"], name
    scaled = {
        name: out.selectExpr("v_scaled AS v", "`a.b_scaled` AS b", "`t.x_scaled` AS x") for name, out in outputs.items()
    }
    for name, ((vector, of_array, of_field),) in cells_of_each(scaled).items():
        assert vector == of_array == of_field, name


@pytest.mark.core
def test_columns_may_have_any_name(spark):
    """Also those that the SQL text gives to what it binds."""
    stages = {
        "layer": LayerNorm(gamma=[1.0, 2.0, 3.0, 4.0]),
        "layer of two": LayerNorm(normalizedShape=[2]),
        "group": GroupNorm(numGroups=2),
        "instance": InstanceNorm(shape=[2, 2], dataFormat="channelsLast"),
        "unit": Normalizer(p=3.0),
        "value": ClipByValue(low=2.0),
    }
    letters = "abcdgioqrsvwxy"
    values = "array(1D, 2D, 4D, double(NULL))"
    names = ["plain", *letters, "n.x", "t.x"]
    given = [values] * (1 + len(letters)) + [f"named_struct('x', {values})"] * 2
    df = spark.sql(
        f"SELECT * FROM VALUES ({', '.join(given)}) AS given({', '.join(n[:-2] if '.' in n else n for n in names)})"
    )

    for name, stage in stages.items():
        row = on(stage, *names).transform(df).collect()[0]
        expected = row["plain_scaled"]
        assert len(expected) == 4
        assert {n: row[f"{n}_scaled"] for n in names} == dict.fromkeys(names, expected), name
        out = stage.copy().setInputCol("n").setOutputCol("o").transform(df.selectExpr("plain AS n"))
        assert out.collect()[0]["o"] == expected, name


def test_what_to_sql_says_is_what_transform_computes(invalid_and_good, transformed):
    """In plain SQL over a view, vectors being arrays there."""
    texts = {name: on(name, "a", "f", "v").toSQL(invalid_and_good) for name in ONE_OF_EACH}
    named = invalid_and_good.withColumn("v", F.when(F.col("v").isNotNull(), vector_to_array("v")))
    by_sql = [f"{text} AS {out}_{k}" for k, of in enumerate(texts.values()) for out, text in of.items()]
    outputs = lists(named.selectExpr("id", *by_sql), *(column.rpartition(" AS ")[2] for column in by_sql))

    for k, (name, of) in enumerate(texts.items()):
        assert list(of) == on(name, "a", "f", "v").getOutputCols()
        for actual, expected in zip(outputs[3 * k : 3 * k + 3], transformed(name), strict=True):
            near(actual[:-1], np.array(expected[:-1], dtype=float), atol=1e-12)
            assert actual[-1] is expected[-1] is None


def test_a_stream_is_transformed_as_a_batch(spark, samples, tmp_path):
    """Arrays and vectors of a stream get the numbers that they get in a batch."""
    samples.write.parquet(str(tmp_path / "in"))
    batch = spark.read.schema(samples.schema).parquet(str(tmp_path / "in"))
    stages = Pipeline(stages=[on(LayerNorm(), "a", "v"), Normalizer(inputCol="v", outputCol="n")]).fit(batch)
    scaled = stages.transform(spark.readStream.schema(samples.schema).parquet(str(tmp_path / "in")))
    writer = scaled.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
    assert writer.trigger(availableNow=True).start(str(tmp_path / "out")).awaitTermination(60)

    streamed = spark.read.schema(scaled.schema).parquet(str(tmp_path / "out")).collect()

    assert scaled.isStreaming
    assert len(streamed) == 8
    assert in_order(streamed) == in_order(stages.transform(batch).collect())


def in_order(collected: list[Any]) -> list[Any]:
    return sorted(collected, key=lambda row: row["id"])


# --- invalid values, the other ways ----------------------------------------------------------------------------


def test_skip_drops_rows_that_hold_an_invalid_value(spark, subtests):
    """And rows that are null; the others stay as they are."""
    x = sample()[:4]
    good = x.tolist()
    invalid = [None, [None, *good[0][1:]], [*good[0][1:], np.inf], [*good[0][1:], np.nan]]
    of_arrays, of_vectors = [*good, *invalid, *good], [*good, *good, *invalid]
    df = frame_of_rows(spark, of_arrays, of_vectors)  # a row is invalid as an array or as a vector
    outputs = {name: on(name, "a", "v").setHandleInvalid("skip").transform(df) for name in ONE_OF_EACH}
    outputs = cells_of_each({name: out.select("id", "a_scaled", "v_scaled") for name, out in outputs.items()})

    for name, kept in outputs.items():
        with subtests.test(name):
            assert [row[0] for row in kept] == [0, 1, 2, 3]
            for column in (1, 2):
                near([row[column] for row in kept], by_kernel(name, x), atol=1e-12)


STRICT = ("layer", "group", "unit 2", "clip", "values")


def test_valid_rows_pass_under_error(samples, subtests):
    """Whichever kind their column is."""
    stages = {name: CASES[name].stage.copy().setHandleInvalid("error") for name in STRICT}
    for name, columns in outputs_of(samples, stages, "a", "v").items():
        for column in columns:
            with subtests.test(name):
                near(column, by_kernel(name, sample()), atol=1e-12)


def as_values(spark: SparkSession, *arrays: str) -> DataFrame:
    """Return arrays ``a``, given as SQL, and the same as vectors ``v``, of which Spark's optimizer computes without a job."""
    df = spark.sql(f"SELECT * FROM VALUES {', '.join(f'({array})' for array in arrays)} AS t(a)")
    return df.withColumn("v", array_to_vector(F.expr("transform(a, x -> coalesce(x, double('NaN')))")))


@pytest.mark.parametrize("name", STRICT)
@pytest.mark.parametrize(
    ("bad", "shown"),
    [("double('NaN')", "NaN"), ("double('-Infinity')", "-Infinity"), ("NULL", "null")],
    ids=["nan", "inf", "null"],
)
def test_errors_name_column_and_value(spark, name, bad, shown):
    """The query fails at the row, whichever kind its column is."""
    df = as_values(spark, f"array({', '.join(f'{v}D' for v in sample()[0][1:])}, {bad})")
    for column in ("a", "v"):
        value = "NaN" if column == "v" and shown == "null" else shown

        with pytest.raises(Exception, match=rf"InvalidValueError\] Column '{column}' holds {value},"):
            on(name, column).setHandleInvalid("error").transform(df).collect()


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (LayerNorm(epsilon=-1e-5), "epsilon must be at least 0"),
        (RMSNorm(epsilon=float("nan")), "epsilon must be at least 0"),
        (LayerNorm(gamma=[1.0, 2.0], beta=[1.0]), "beta has 1 values where 2 are needed"),
        (LayerNorm(normalizedShape=[2, 2], gamma=[1.0, 2.0]), "gamma has 2 values where 4 are needed"),
        (LayerNorm(normalizedShape=[]), "normalizedShape must be a list of positive integers"),
        (LayerNorm(gamma=[]), "gamma must be a list of finite numbers"),
        (RMSNorm(gamma=[1.0, float("inf")]), "gamma must be a list of finite numbers"),
        (InstanceNorm(), "Set shape to channels and places"),
        (InstanceNorm(shape=[4, 1]), "Set shape to channels and places"),
        (InstanceNorm(shape=[3, 0]), "shape must be a list of positive integers"),
        (InstanceNorm(shape=[2, 2], dataFormat="NCHW"), "dataFormat must be one of 'channelsFirst', 'channelsLast'"),
        (InstanceNorm(shape=[2, 2, 3], gamma=[1.0] * 3), "gamma has 3 values where 2 are needed"),
        (GroupNorm(), "numGroups must be set, and at least 1"),
        (GroupNorm(numGroups=0), "numGroups must be set, and at least 1"),
        (GroupNorm(numGroups=3, shape=[4, 2]), "numGroups=3 does not divide 4 channels"),
        (GroupNorm(numGroups=3, gamma=[1.0] * 4), "numGroups=3 does not divide 4 channels"),
        (GroupNorm(numGroups=2, shape=[2, 4], dataFormat="channelsLast", beta=[0.0] * 2), "beta has 2 values where 4"),
        (Normalizer(p=0.5), "p must be at least 1"),
        (Normalizer(p=float("nan")), "p must be at least 1"),
        (ClipByValue(), "neither low nor high is set"),
        (ClipByValue(low=2.0, high=1.0), "low must not be above high"),
        (ClipByValue(low=float("nan")), "low must not be above high"),
        (ClipByNorm(), "clipNorm must be set, positive and finite"),
        (ClipByNorm(clipNorm=0.0), "clipNorm must be set, positive and finite"),
        (ClipByNorm(clipNorm=1.0, formula="keras"), "formula must be one of 'tensorflow', 'torch'"),
        (LayerNorm(handleInvalid="drop"), "handleInvalid must be one of"),
    ],
)
def test_params_that_cannot_be_used_are_refused(stage, message):
    """Before any look at the data, with what to do instead."""
    with pytest.raises(ParamError, match=f"{type(stage).__name__}: .*{message}" if "must" not in message else message):
        on(stage, "a").transform(None)


def test_columns_that_cannot_be_used_are_refused(spark):
    """Before any job, by an error that names the column."""
    size = {"ml_attr": {"num_attrs": 5}}
    df = spark.sql("SELECT 1D AS x, 's' AS s, array(1D, 2D) AS a").withColumn("v", array_to_vector("a"))
    df = df.withMetadata("v", size)
    refused = [
        (LayerNorm(inputCol="x"), ColumnTypeError, "'x' holds one number a row.*array"),
        (Normalizer(inputCols=["a", "x"]), ColumnTypeError, "'x' holds one number a row"),
        (ClipByNorm(inputCol="s", clipNorm=1.0), ColumnTypeError, "'s' is of type string"),
        (ClipByValue(inputCol="b", low=1.0), ColumnNotFoundError, "'b' does not exist"),
        (RMSNorm(inputCol="a", outputCol="x"), OutputColumnError, "'x' already exists"),
        (RMSNorm(inputCol="a", inputCols=["a"]), ParamError, "both inputCol and inputCols"),
        (RMSNorm(), ParamError, "neither inputCol nor inputCols"),
        (RMSNorm(inputCols=["a", "v"], outputCol="o"), ParamError, "Set outputCols"),
        (
            InstanceNorm(inputCol="v", shape=[2, 2]),
            SizeMismatchError,
            "'v' holds vectors of size 5, but shape .* 4 places",
        ),
        (GroupNorm(inputCol="v", numGroups=2), SizeMismatchError, "size 5, which numGroups=2 does not divide"),
        (LayerNorm(inputCol="v", gamma=[1.0] * 4), SizeMismatchError, "size 5, but gamma or beta has 4 values"),
        (LayerNorm(inputCol="v", normalizedShape=[2]), SizeMismatchError, "size 5, which the 2 places"),
    ]
    for stage, kind, message in refused:
        with pytest.raises(kind, match=message):
            stage.transform(df)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (InstanceNorm(shape=[2, 2]), "length 5, but shape .2, 2. has 4 places"),
        (RMSNorm(shape=[2, 2]), "length 5, but shape .2, 2. has 4 places"),
        (RMSNorm(gamma=[1.0] * 4), "length 5, but gamma or beta has 4 values"),
        (GroupNorm(numGroups=2), "length 5, which numGroups=2 does not divide"),
        (LayerNorm(normalizedShape=[2, 2]), "length 5, which the 4 places of normalizedShape .2, 2. do not divide"),
    ],
    ids=lambda s: type(s).__name__ if not isinstance(s, str) else "",
)
def test_a_row_of_another_length_is_refused(spark, stage, message):
    """With the column and both lengths, for arrays and for vectors."""
    df = as_values(spark, "array(1D, 2D, 3D, 4D)", "array(1D, 2D, 3D, 4D, 5D)")
    for column in ("a", "v"):
        with pytest.raises(Exception, match=rf"SizeMismatchError\] Column '{column}' holds a row of {message}"):
            on(stage, column).transform(df).collect()


def test_a_vector_that_contradicts_its_metadata_is_refused(spark):
    """Spark would let it pass."""
    df = as_values(spark, "array(1D, 2D)").withMetadata("v", {"ml_attr": {"num_attrs": 3}})
    for stage in (Normalizer(), LayerNorm()):
        with pytest.raises(Exception, match="'v' holds a vector of size 2, but its metadata says 3"):
            on(stage, "v").transform(df).collect()


@pytest.mark.core
@pytest.mark.parametrize("column", ["a", "v"])
def test_rows_make_a_job_fail(spark, column):
    """Of another length than the others, or with an invalid value; vectors may be sparse."""
    rows_ = [[1.0, 2.0, 3.0, 4.0]] * 3
    stage = InstanceNorm(shape=[2, 2], inputCol=column, handleInvalid="error")
    refused = {
        rf"InvalidValueError\] Column '{column}' holds -Infinity,": [1.0, 2.0, 3.0, -INF],
        rf"SizeMismatchError\] Column '{column}' holds a row of length 5, but shape .2, 2. has 4 places": [1.0] * 5,
    }
    for message, row in refused.items():
        df = frame_of_rows(spark, [*rows_, row]).repartition(1)  # a job: of rows of the driver alone it might be none
        with pytest.raises(Exception, match=message):
            stage.transform(df).collect()


# --- saving and loading ----------------------------------------------------------------------------------------


def assert_same_stage(loaded: Any, stage: Any, df: DataFrame) -> None:
    """Class, uid and Params are the same, set or default as they were, and so is what transform makes."""
    assert type(loaded) is type(stage)
    assert (loaded.uid, loaded.explainParams()) == (stage.uid, stage.explainParams())
    assert loaded.toSQL(df) == stage.toSQL(df)


@pytest.mark.core
def test_a_stage_survives_alone(samples, tmp_path):
    """Class, uid and Params come back, set or default as they were, and what transform makes is the same."""
    stage = on("group, last", "a", "v")
    stage.write().overwrite().save(str(tmp_path / "stage"))

    assert_same_stage(GroupNorm.load(str(tmp_path / "stage")), stage, samples)
    assert Normalizer(p=float("inf")).getP() == float("inf")


def test_every_stage_survives_in_pipelines(spark, samples, tmp_path):
    """Fitted or not, in sequence and nested."""
    stages = [on(name, "a").setOutputCols([f"o{i}"]).setHandleInvalid("error") for i, name in enumerate(ONE_OF_EACH)]
    within = PipelineModel([*stages[1:], Normalizer(inputCol="v", p=float("inf"))])
    pipeline = Pipeline(stages=[stages[0], within])
    pipeline.save(str(tmp_path / "pipeline"))
    loaded = Pipeline.load(str(tmp_path / "pipeline"))
    first_stage, loaded_within = loaded.getStages()

    assert [s.uid for s in loaded.getStages()] == [stages[0].uid, within.uid]
    for one, other in zip([first_stage, *loaded_within.stages], [stages[0], *within.stages], strict=True):
        assert_same_stage(one, other, samples)
    with deep_plans(spark):
        actual, expected = (p.fit(samples).transform(samples).collect() for p in (loaded, pipeline))
    assert in_order(actual) == in_order(expected)
