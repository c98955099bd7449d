"""Stages that map each row by itself: what the kernels compute, on every kind of column and on bad data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyspark.ml.feature
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructField, StructType

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
        parts = x.reshape(len(x), groups, -1) if groups else x
        parts = parts - parts.mean(axis=axes, keepdims=True) if centred else parts
        root = np.ma.sqrt((parts**2).mean(axis=axes, keepdims=True) + epsilon)
        return (parts / np.ma.where(root == 0, 1.0, root)).reshape(x.shape)

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
each_case = pytest.mark.parametrize("name", CASES)
ONE_OF_EACH = ("layer, gain", "instance", "group, last", "rms", "unit 1.5", "clip as torch", "values")
one_of_each = pytest.mark.parametrize("name", ONE_OF_EACH)


def by_kernel(name: str, x: np.ndarray) -> np.ndarray:
    """Return what the kernel makes of rows."""
    case = CASES[name]
    return back(case.kernel(case.layout(x)), case.layout)


def by_formula(name: str, x: np.ndarray) -> np.ndarray:
    """Return what the formula makes of the finite values of rows."""
    case = CASES[name]
    made = case.formula(case.layout(np.ma.masked_invalid(x))) * case.gamma + case.beta
    return back(made, case.layout).filled(np.nan)


def sample() -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(8, SIZE))
    x[1] *= 1e4
    x[2] += 100
    x[3] = np.where(rng.random(SIZE) < 0.7, 0.0, x[3])
    x[4] = 0.0
    x[5] = 7.0
    return x.astype(np.float32).astype(np.float64)  # so that the columns of float hold the same


def frame(spark: Any, values: list[Any]) -> Any:
    """Return rows as arrays of double and of float, and as vectors, every other of which is sparse."""
    records = []
    for i, row in enumerate(values):
        vector = None
        if row is not None:
            full = [np.nan if v is None else v for v in row]
            entries = [(j, v) for j, v in enumerate(full) if v != 0]
            vector = SparseVector(len(full), entries) if i % 2 else DenseVector(full)
        records.append((i, row, row, vector))
    schema = StructType(
        [
            StructField("id", DoubleType()),
            StructField("a", ArrayType(DoubleType())),
            StructField("f", ArrayType(FloatType())),
            StructField("v", VectorUDT()),
        ]
    )
    return spark.createDataFrame([(float(r[0]), *r[1:]) for r in records], schema)


def on(stage: Any, *columns: str) -> Any:
    """Return a copy of a stage, or of a case's, that reads these columns."""
    stage = CASES[stage].stage if isinstance(stage, str) else stage
    return stage.copy().setInputCols(list(columns))


def lists(df: Any, *columns: str) -> list[list[Any]]:
    """Return each column's rows as lists, in the order of ``id``."""
    found = df.select("id", *columns).orderBy("id").collect()
    return [[r[c].toArray().tolist() if hasattr(r[c], "toArray") else r[c] for r in found] for c in columns]


def near(actual: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.array(actual, dtype=np.float64), expected, rtol=rtol, atol=atol)


# --- as the kernels --------------------------------------------------------------------------------------------


@pytest.mark.core
@each_case
def test_rows_become_what_the_kernel_makes_of_them(spark, name):
    """As arrays of double and float and as dense and sparse vectors; a null row stays null."""
    x = sample()
    out = on(name, "a", "f", "v").transform(frame(spark, [*x.tolist(), None]))

    doubles, floats, vectors = lists(out, "a_scaled", "f_scaled", "v_scaled")

    assert doubles[-1] is floats[-1] is vectors[-1] is None
    near(doubles[:-1], by_kernel(name, x))
    near(vectors[:-1], by_kernel(name, x))
    np.testing.assert_array_equal(np.array(floats[:-1]), np.array(doubles[:-1]).astype(np.float32))


@each_case
def test_invalid_values_stay_and_never_count(spark, name):
    """The others become what they are without them; infinities stay infinite, unless values are clipped."""
    x = sample()[:6] + 1.0
    x[0, [0, 5]], x[1, 11], x[2, :4], x[3, ::2] = np.nan, np.inf, -np.inf, np.nan
    x[4, :], x[5, [1, 6, 11]] = np.nan, [np.nan, np.inf, -np.inf]
    nulls = [[None if np.isnan(v) and j % 2 else v for j, v in enumerate(row)] for row in x.tolist()]

    doubles, vectors = lists(on(name, "a", "v").transform(frame(spark, nulls)), "a_scaled", "v_scaled")

    expected, clips = by_formula(name, x), name.startswith("values")
    assert [[v is None for v in row] for row in doubles] == [[v is None for v in row] for row in nulls]
    for found in (np.array(doubles, dtype=np.float64), np.array(vectors)):
        near(found[np.isfinite(x)], expected[np.isfinite(x)])
        assert np.isnan(found[np.isnan(x)]).all()
        infinite = np.isinf(x)
        if clips:
            np.testing.assert_array_equal(found[infinite], by_kernel(name, x)[infinite])
        else:
            assert np.isinf(found[infinite]).all()


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


@pytest.mark.core
@pytest.mark.parametrize("name", WORKED)
def test_worked_cases(spark, name):
    """Values worked out from the formulas of the papers and frameworks."""
    make, key = WORKED[name]
    given, expected = WORKED_CASES[name]["inputs"], np.array(WORKED_CASES[name]["expected"][key])
    n = len(expected) if expected.ndim > 1 else 1
    stage = make(given)

    found = lists(on(stage, "a").transform(frame(spark, np.reshape(given["x"], (n, -1)).tolist())), "a_scaled")[0]

    near(found, expected.reshape(n, -1), WORKED_CASES[name]["rtol"], 0.0)


# --- what they share and what they are known for ---------------------------------------------------------------


@pytest.fixture
def deep_plans(spark):
    """Connect analyses a chain of stages as one plan; every lambda within a lambda takes it more iterations."""
    name = "spark.sql.analyzer.maxIterations"
    before = spark.conf.get(name)
    spark.conf.set(name, "1000")
    yield
    spark.conf.set(name, before)


def test_groups_lead_from_layer_norm_to_instance_norm(spark, deep_plans):
    """One group is the whole row; as many groups as channels are the channels, first or last."""
    df = frame(spark, sample().tolist())
    stages = {
        "one": GroupNorm(numGroups=1),
        "one_of_shape": GroupNorm(numGroups=1, shape=LAST, dataFormat="channelsLast"),
        "layer": LayerNorm(),
        "all": GroupNorm(numGroups=6, shape=LAST, dataFormat="channelsLast"),
        "instance": InstanceNorm(shape=LAST, dataFormat="channelsLast"),
    }
    for name, stage in stages.items():
        df = stage.setInputCol("a").setOutputCol(name).transform(df)
    found = dict(zip(stages, lists(df, *stages), strict=True))

    assert found["one"] == found["layer"]
    near(found["one_of_shape"], found["layer"])
    assert found["all"] == found["instance"]


@pytest.mark.core
@pytest.mark.parametrize("size", [1e300, 1e200, 1e-200])
def test_norms_neither_overflow_nor_vanish(spark, size):
    """Where squares of the values would, rows are divided by their largest value first."""
    x = np.array([[3.0, -4.0, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0]]) * size
    df = frame(spark, x.tolist())
    stages = {
        Normalizer(): [[0.6, -0.8, 0.0, 0.0], [0.0, 0.5**0.5, -(0.5**0.5), 0.0]],
        Normalizer(p=3.0): [
            [3 / 91 ** (1 / 3), -4 / 91 ** (1 / 3), 0.0, 0.0],
            [0.0, 0.5 ** (1 / 3), -(0.5 ** (1 / 3)), 0.0],
        ],
        RMSNorm(epsilon=0.0): [[1.2, -1.6, 0.0, 0.0], [0.0, 2**0.5, -(2**0.5), 0.0]],
        LayerNorm(epsilon=0.0): kernels.layer_norm(x / size, epsilon=0.0),
        ClipByNorm(clipNorm=size): np.array([[0.6, -0.8, 0.0, 0.0], [0.0, 0.5**0.5, -(0.5**0.5), 0.0]]) * size,
    }
    for stage, expected in stages.items():
        for found in lists(on(stage, "a", "v").transform(df), "a_scaled", "v_scaled"):
            near(found, expected, rtol=1e-12, atol=0.0)


def test_the_largest_doubles(spark):
    """Differences of them overflow, and a value so large does not keep epsilon from the others' row."""
    df = frame(spark, [[1.7e308, -1.7e308], [1e-200, -1e-200], [1e160, np.nan]])

    layer, rms = lists(
        RMSNorm(inputCol="a", outputCol="rms").transform(LayerNorm(inputCol="a", outputCol="layer").transform(df)),
        "layer",
        "rms",
    )

    near(layer[0], [1.0, -1.0])
    near(layer[1], [1e-200 / 1e-5**0.5, -1e-200 / 1e-5**0.5], atol=0.0)
    near(rms[2], [1.0, np.nan])


def test_values_close_together_keep_their_digits(spark):
    """A mean of 1e9 costs what its own rounding costs, and no more."""
    x = 1e9 + np.random.default_rng(0).integers(-5000, 5000, (4, 64)) / 1024
    exact = x - 1e9  # without rounding
    expected = kernels.layer_norm(exact, epsilon=0.0)

    found = lists(LayerNorm(inputCol="a", epsilon=0.0).transform(frame(spark, x.tolist())), "a_scaled")[0]

    near(found, expected, rtol=0.0, atol=2 * np.spacing(1e9) / exact.std(axis=1).min())


# --- Normalizer as Spark's -------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize("p", [1.0, 1.7, 2.0, 3.0, float("inf")])
def test_normalizer_is_sparks_on_vectors(spark, p):
    """Number for number, dense stays dense, and sparse stays sparse with the same entries."""
    df = frame(spark, sample().tolist())
    ours = Normalizer(p=p, inputCol="v", outputCol="o").transform(df).orderBy("id").collect()
    theirs = pyspark.ml.feature.Normalizer(p=p, inputCol="v", outputCol="o").transform(df).orderBy("id").collect()

    assert [(type(r.o), r.o) for r in ours] == [(type(r.o), r.o) for r in theirs]
    assert {type(r.o) for r in ours} == {DenseVector, SparseVector}


def test_normalizer_takes_the_place_of_sparks(spark):
    """Its Params, defaults, getters and setters, keyword-only constructor and setParams are there."""
    theirs, ours = pyspark.ml.feature.Normalizer(), Normalizer()
    names = {n for n in dir(theirs) if not n.startswith("_")} - {n for n in dir(pyspark.ml.feature.JavaTransformer)}

    assert names - set(dir(ours)) == set()
    assert ours.getP() == theirs.getP() == 2.0
    assert ours.setParams(p=3.0, inputCol="x", outputCol="y") is ours
    assert (ours.getP(), ours.getInputCol(), ours.getOutputCol()) == (3.0, "x", "y")
    assert ours.setP(1.0).getP() == 1.0
    with pytest.raises(TypeError, match="keyword"):
        Normalizer(2.0)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        (Normalizer(), SparseVector),
        (ClipByNorm(clipNorm=1.0), SparseVector),
        (ClipByValue(low=-1.0, high=0.0), SparseVector),
        (ClipByValue(low=0.5), DenseVector),
        (LayerNorm(), DenseVector),
    ],
    ids=lambda s: type(s).__name__ if not isinstance(s, type) else s.__name__,
)
def test_sparse_vectors_stay_sparse_where_zero_stays_zero(spark, stage, kind):
    """With their indices."""
    sparse = Vectors.sparse(100_000, [7, 99_999], [3.0, -4.0])
    df = spark.createDataFrame([(sparse,)], StructType([StructField("v", VectorUDT())]))

    found = on(stage, "v").transform(df).head().v_scaled

    assert type(found) is kind
    assert len(found) == 100_000
    if kind is SparseVector:
        assert found.indices.tolist() == [7, 99_999]


# --- columns ---------------------------------------------------------------------------------------------------


def test_scalars_and_numbers_of_any_type_are_clipped(spark):
    """Integers become doubles, float stays float; null and NaN stay, and infinities are clipped."""
    df = spark.createDataFrame(
        [(1, 7.5, 2.0, [3, None]), (None, float("nan"), float("-inf"), [-9, 0])],
        "i int, x double, f float, a array<int>",
    )
    out = ClipByValue(inputCols=["i", "x", "f", "a"], low=-1.0, high=1.5).transform(df)

    assert [t for _, t in out.dtypes[4:]] == ["double", "double", "float", "array<double>"]
    assert [tuple(r[4:]) for r in out.collect()][0] == (1.0, 1.5, 1.5, [1.5, None])
    second = out.collect()[1]
    assert (second[4], second[6], second[7]) == (None, -1.0, [-1.0, 0.0])
    assert np.isnan(second[5])


def test_arrays_of_any_numbers_are_normalized_as_doubles(spark):
    """Also decimals; an empty array stays empty, and rows need not have one length."""
    df = spark.sql(
        "SELECT 1 AS id, array(3, 4) AS i, array(3.0BD, NULL, 4.0BD) AS d "
        "UNION ALL SELECT 2, array(), array(0.0BD) UNION ALL SELECT 3, NULL, array(5.0BD)"
    )
    for stage in (Normalizer(), LayerNorm(epsilon=0.0)):
        found = lists(on(stage, "i", "d").transform(df), "i_scaled", "d_scaled")
        pair = [0.6, 0.8] if isinstance(stage, Normalizer) else [-1.0, 1.0]
        one = [1.0] if isinstance(stage, Normalizer) else [0.0]

        assert found == [[pair, [], None], [[pair[0], None, pair[1]], [0.0], one]]


@pytest.mark.core
def test_everything_else_stays(spark):
    """Columns, their order, their metadata; vectors carry their size and names on, and names may be odd."""
    attributes = {"ml_attr": {"num_attrs": 2, "attrs": {"numeric": [{"idx": 0, "name": "p"}, {"idx": 1, "name": "q"}]}}}
    df = spark.sql("SELECT 's' AS s, array(3D, 4D) AS `a.b`, named_struct('x', array(3D, 4D)) AS t")
    df = df.withColumn("v", array_to_vector(F.col("`a.b`"))).withMetadata("v", attributes)
    df = df.withColumn("w", F.col("v")).withMetadata("s", {"note": 1})
    for stage in (Normalizer(), LayerNorm(), ClipByNorm(clipNorm=1.0), ClipByValue(high=1.0)):
        out = on(stage, "v", "a.b", "t.x", "w").transform(df)

        assert out.columns == [*df.columns, "v_scaled", "a.b_scaled", "t.x_scaled", "w_scaled"]
        assert out.schema.fields[: len(df.columns)] == df.schema.fields
        assert out.schema["v_scaled"].metadata["ml_attr"]["num_attrs"] == 2
        assert [a["name"] for a in out.schema["v_scaled"].metadata["ml_attr"]["attrs"]["numeric"]] == ["p", "q"]
        row = out.head()
        assert row["v_scaled"].toArray().tolist() == row["a.b_scaled"] == row["t.x_scaled"]


@pytest.mark.core
@pytest.mark.parametrize(
    "stage",
    [
        LayerNorm(gamma=[1.0, 2.0, 3.0, 4.0]),
        LayerNorm(normalizedShape=[2]),
        GroupNorm(numGroups=2),
        InstanceNorm(shape=[2, 2], dataFormat="channelsLast"),
        Normalizer(p=3.0),
        ClipByValue(low=2.0),
    ],
    ids=lambda s: type(s).__name__,
)
def test_columns_may_have_any_letter_for_a_name(spark, stage):
    """Also those that the SQL text gives to what it binds."""
    letters = "abcdgioqrsvwxy"
    values = "array(1D, 2D, 4D, null)"
    named = f"named_struct('x', {values})"
    df = spark.range(1).selectExpr(*(f"{values} AS {c}" for c in letters), f"{named} AS n", f"{named} AS t")
    df = df.selectExpr("*", f"{values} AS plain")
    names = ["plain", *letters, "n.x", "t.x"]
    row = on(stage.copy(), *names).transform(df).collect()[0]

    assert [row[f"{name}_scaled"] for name in names[1:]] == [row["plain_scaled"]] * len(names[1:])
    out = stage.copy().setInputCol("n").setOutputCol("o").transform(df.selectExpr("plain AS n"))
    assert out.collect()[0]["o"] == row["plain_scaled"]


@pytest.mark.core
def test_a_divisor_neither_overflows_nor_vanishes(spark):
    """However far the norm is from what it is clipped to."""
    rows_ = [[1e9, None], [1e9, 0.0], [-np.inf, 1e9], [3e300, 4e300], [3e-300, 4e-300]]
    (found,) = lists(on(ClipByNorm(clipNorm=1e-300), "a").transform(frame(spark, rows_)), "a_scaled")

    for row, expected in zip(found, [[1.0, None], [1.0, 0.0], [-np.inf, 1.0], [0.6, 0.8], [0.6, 0.8]], strict=True):
        near(np.array(row, dtype=float) * 1e300, np.array(expected, dtype=float))


@pytest.mark.core
@pytest.mark.parametrize("size", [0.0, 7.0, -1e-200, 1e300])
def test_rows_of_one_value(spark, size):
    """Zeros stay; what has no spread becomes 0; neither is mistaken for what vanishes."""
    df = frame(spark, [[size] * 4, [size, size, None, size]])
    stages = {"norm": Normalizer(), "layer": LayerNorm(epsilon=0.0), "rms": RMSNorm(epsilon=0.0)}
    for name, stage in stages.items():
        df = stage.copy().setInputCol("a").setOutputCol(name).transform(df)
    found = lists(df, *stages)

    sign = np.sign(size)
    for rows_, expected in zip(found, (sign / np.sqrt([4, 3]), (0.0, 0.0), (sign, sign)), strict=True):
        near(rows_, [[expected[0]] * 4, [expected[1], expected[1], np.nan, expected[1]]])


def test_what_to_sql_says_is_what_transform_computes(spark):
    """In plain SQL over a view, vectors being arrays there."""
    df = frame(spark, [*sample().tolist(), None])
    named = df.withColumn("v", F.when(F.col("v").isNotNull(), vector_to_array("v")))
    for name in ONE_OF_EACH:
        stage = on(name, "a", "f", "v")
        texts = stage.toSQL(df)
        found = lists(named.selectExpr("id", *(f"{text} AS {out}" for out, text in texts.items())), *texts)
        expected = lists(stage.transform(df), *texts)

        assert list(texts) == stage.getOutputCols()
        for one, other in zip(found, expected, strict=True):
            near(one[:-1], other[:-1])
            assert one[-1] is other[-1] is None


def test_a_stream_is_transformed_as_a_batch(spark, tmp_path):
    """Arrays and vectors of a stream get the numbers that they get in a batch."""
    frame(spark, sample().tolist()).write.parquet(str(tmp_path / "in"))
    batch = spark.read.parquet(str(tmp_path / "in"))
    stages = Pipeline(stages=[on(LayerNorm(), "a", "v"), Normalizer(inputCol="v", outputCol="n")]).fit(batch)
    scaled = stages.transform(spark.readStream.schema(batch.schema).parquet(str(tmp_path / "in")))
    writer = scaled.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
    assert writer.trigger(availableNow=True).start(str(tmp_path / "out")).awaitTermination(60)

    found = spark.read.parquet(str(tmp_path / "out")).orderBy("id").collect()

    assert scaled.isStreaming
    assert found == stages.transform(batch).orderBy("id").collect()


# --- invalid values, the other ways ----------------------------------------------------------------------------


@one_of_each
def test_skip_drops_rows_that_hold_an_invalid_value(spark, name):
    """And rows that are null; the others stay as they are."""
    x = sample()[:4]
    broken = x.tolist()
    df = frame(spark, [*broken, None, [None, *broken[0][1:]], [*broken[0][1:], np.inf], [*broken[0][1:], np.nan]])

    for column in ("a", "v"):
        out = on(name, column).setHandleInvalid("skip").transform(df)
        near(lists(out, f"{column}_scaled")[0], by_kernel(name, x))


@pytest.mark.parametrize("name", ["layer", "group", "unit 2", "clip", "values"])
@pytest.mark.parametrize(
    ("bad", "shown"), [(np.nan, "NaN"), (-np.inf, "-Infinity"), (None, "null")], ids=["nan", "inf", "null"]
)
def test_error_names_column_and_value(spark, name, bad, shown):
    """The job fails at the row, whichever kind its column is; valid rows pass."""
    x = sample()
    good, broken = frame(spark, x.tolist()), frame(spark, [[*x[0][1:].tolist(), bad]])
    for column in ("a", "v"):
        stage = on(name, column).setHandleInvalid("error")
        value = "NaN" if column == "v" and bad is None else shown

        with pytest.raises(Exception, match=rf"InvalidValueError\] Column '{column}' holds {value},"):
            stage.transform(broken).collect()
        if shown == "NaN":
            near(lists(stage.transform(good), f"{column}_scaled")[0], by_kernel(name, x))


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.core
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
def test_params_that_cannot_be_used_are_refused(spark, stage, message):
    """Before any job, with what to do instead."""
    with pytest.raises(ParamError, match=f"{type(stage).__name__}: .*{message}" if "must" not in message else message):
        on(stage, "a").transform(spark.createDataFrame([([1.0],)], "a array<double>"))


@pytest.mark.core
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
def test_a_row_of_another_length_makes_the_job_fail(spark, stage, message):
    """With the column and both lengths, for arrays and for vectors."""
    df = frame(spark, [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    for column in ("a", "v"):
        with pytest.raises(Exception, match=rf"SizeMismatchError\] Column '{column}' holds a row of {message}"):
            on(stage, column).transform(df).collect()


def test_a_vector_that_contradicts_its_metadata_makes_the_job_fail(spark):
    """Spark would let it pass."""
    df = frame(spark, [[1.0, 2.0]]).withMetadata("v", {"ml_attr": {"num_attrs": 3}})
    for stage in (Normalizer(), LayerNorm()):
        with pytest.raises(Exception, match="'v' holds a vector of size 2, but its metadata says 3"):
            on(stage, "v").transform(df).collect()


# --- saving and loading ----------------------------------------------------------------------------------------


@pytest.mark.core
def test_stages_survive_alone(spark, tmp_path):
    """Class, uid and Params come back, set or default as they were, and what transform makes is the same."""
    df = frame(spark, sample().tolist())
    for name in ONE_OF_EACH:
        stage = on(name, "a", "v")
        path = str(tmp_path / type(stage).__name__)
        stage.write().overwrite().save(path)
        loaded = type(stage).load(path)

        assert type(loaded) is type(stage)
        assert (loaded.uid, loaded.explainParams()) == (stage.uid, stage.explainParams())
        assert loaded.toSQL(df) == stage.toSQL(df)
    assert Normalizer(p=float("inf")).getP() == float("inf")


@pytest.mark.core
def test_stages_survive_in_pipelines(spark, deep_plans, tmp_path):
    """Fitted or not, beside each other."""
    df = frame(spark, sample().tolist())
    stages = [on(name, "a").setOutputCols([f"o{i}"]).setHandleInvalid("error") for i, name in enumerate(ONE_OF_EACH)]
    pipeline = Pipeline(stages=[*stages, Normalizer(inputCol="v", p=float("inf"))])
    pipeline.save(str(tmp_path / "pipeline"))
    model = pipeline.fit(df)
    model.save(str(tmp_path / "model"))

    loaded = PipelineModel.load(str(tmp_path / "model"))
    again = Pipeline.load(str(tmp_path / "pipeline")).fit(df)

    expected = model.transform(df).orderBy("id").collect()
    assert [s.uid for s in loaded.stages] == [s.uid for s in again.stages] == [s.uid for s in pipeline.getStages()]
    assert loaded.transform(df).orderBy("id").collect() == expected
    assert again.transform(df).orderBy("id").collect() == expected
