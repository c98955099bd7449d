"""One statistic for many features: the channels of tensors, and whole arrays."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, IntegerType, StringType, StructField, StructType

import scans
from frames import cells, listed, near, vector_field
from models import with_params
from scans import Partitions
from sparkscale import (
    BatchNorm,
    InstanceNorm,
    MaxAbsScaler,
    MinMaxScaler,
    MinMaxScalerModel,
    Profile,
    RMSNorm,
    RobustScaler,
    StandardScaler,
)
from sparkscale.display.bins import histograms
from sparkscale.display.plot import _arrays
from sparkscale.errors import EmptyDataError, ParamError, SizeMismatchError
from sparkscale.layout import Layout
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Counts, Extrema, Moments, Quantiles, Squares
from store import Store
from strategies import ORDINARY, dense, matrices, mostly, sparse

CLASSES = (Counts, Extrema, Squares, Moments, Quantiles)
LAYOUTS = (Layout((2, 3)), Layout((3, 2), "channelsLast"), Layout((1, 6)), Layout((6,)))
COLUMNS = (ORDINARY, mostly(ORDINARY))


def by_place(rows: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the values of each channel, a row for each place of a row."""
    return rows[:, layout.features()].reshape(-1, layout.channels)


def assert_same(one: Any, other: Any) -> None:
    """Exactly, but for sums."""
    for name, array in one.arrays().items():
        other_array = getattr(other, name)
        if name in ("origin", "shift"):
            continue
        if isinstance(one, Moments | Squares):
            np.testing.assert_allclose(array, other_array, rtol=1e-11, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(array, other_array, err_msg=name)
    if isinstance(one, Moments):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("statistic_class", CLASSES)
@given(rows=matrices(features=6, columns=COLUMNS), layout=st.sampled_from(LAYOUTS))
def test_a_channel_has_the_statistic_of_its_values(statistic_class: Any, rows: np.ndarray, layout: Layout) -> None:
    """As if these were the rows of one feature: exactly, but for the rounding of sums; in dense and in sparse rows."""
    expected = statistic_class.of(dense(by_place(rows, layout)))

    assert_same(statistic_class.of(dense(rows)).pooled(layout.features()), expected)
    assert_same(statistic_class.of(sparse(rows)).pooled(layout.features()), expected)


@pytest.mark.parametrize("statistic_class", CLASSES)
@given(rows=matrices(rows=7, features=6, columns=COLUMNS), layout=st.sampled_from(LAYOUTS))
def test_channels_of_each_run_are_pooled(statistic_class: Any, rows: np.ndarray, layout: Layout) -> None:
    """The statistics of many keys have one row for each."""
    runs = np.array([0, 0, 0, 1, 2, 2, 2])
    pooled = statistic_class.of(replace(dense(rows), runs=runs)).pooled(layout.features())

    assert pooled.count.shape == (3, layout.channels)
    for run in range(3):
        assert_same(pooled.of_row(run), statistic_class.of(dense(by_place(rows[runs == run], layout))))


def test_many_pooled_values_are_kept_within_the_relative_error() -> None:
    """Those of all places together are more than are kept of any place."""
    values = np.random.default_rng(0).permutation(60_000).reshape(1000, 60) + 1
    pooled = Quantiles.of(dense(values)).pooled(np.arange(60)[:, None])

    assert pooled.count == 60_000
    assert len(pooled.values) < 2 * Quantiles.capacity()
    assert abs(float(pooled.quantile(0.5)[0]) - 30_000) < 0.001 * 60_000


# --- rows of several lengths --------------------------------------------------------------------------------------

OPEN = {"one": Layout((-1,)), "first": Layout((2, -1)), "last": Layout((-1, 2), "channelsLast")}


def of_channel(row: list[float | None], layout: Layout, channel: int) -> list[float | None]:
    """Return the values of a channel of a row."""
    places = len(row) // layout.channels
    first = layout.data_format == "channelsFirst"
    return row[channel * places : (channel + 1) * places] if first else row[channel :: layout.channels]


@pytest.mark.parametrize("layout", OPEN.values(), ids=OPEN)
@given(data=st.data(), skip=st.booleans())
def test_rows_of_any_length_are_fitted_as_their_values(layout: Layout, data: st.DataObject, skip: bool) -> None:
    """The model of arrays has for each channel the statistic of the values of a scalar; a null row is one invalid value."""
    places = st.integers(0, 3).flatmap(
        lambda n: st.lists(mostly(ORDINARY, st.none()), min_size=n * layout.channels, max_size=n * layout.channels)
    )
    rows = data.draw(st.lists(st.none() | places.filter(lambda row: row != [None]), min_size=1, max_size=8))
    weights = data.draw(st.lists(st.floats(0.5, 2.0), min_size=len(rows), max_size=len(rows)))
    partitions = Partitions([rows[::2], rows[1::2]], [weights[::2], weights[1::2]])
    params = {"inputCol": "array", "shape": list(layout.shape), "dataFormat": layout.data_format}
    policy = {"handleInvalid": "skip"} if skip else {}
    kept = [(r, w) for r, w in zip(rows, weights, strict=True) if not skip or (r is not None and None not in r)]
    scaler = StandardScaler(**params, **policy, weightCol="w")
    if skip and not any(r for r, _ in kept):
        with pytest.raises(EmptyDataError):
            scans.fit(scaler, partitions)
        return

    model = scans.fit(scaler, partitions)

    for channel in range(layout.channels):
        cells = [([None] if r is None else of_channel(r, layout, channel), w) for r, w in kept]
        values = np.array([[np.nan if v is None else v] for row, _ in cells for v in row], dtype=np.float64)
        row_weights = np.array([w for row, w in cells for _ in row])
        expected = Moments.of(dense(values.reshape(-1, 1), row_weights))
        actual = model.statistics.take(np.array([channel]))
        assert_same(actual if not skip else actual.with_invalid(expected.invalid), expected)
    assert model.numFeatures == layout.channels
    assert model.featureNames == [f"array_channel_{c}" for c in range(layout.channels)]


@pytest.mark.parametrize(("shape", "data_format"), [([-1, 2], "channelsFirst"), ([2, -1], "channelsLast")])
def test_the_number_of_channels_is_known(shape: list[int], data_format: str) -> None:
    """The places are open, and no other axis; nor more than one."""
    df = Partitions([[[1.0, 2.0]]], features=2)
    for refused in (shape, [-1, -1], [2, -1, 3], [-2], [0, -1]):
        with pytest.raises(ParamError, match="shape must be"):
            scans.fit(MinMaxScaler(inputCol="array", shape=refused, dataFormat=data_format), df)
    for stage in (InstanceNorm(inputCol="array", shape=[2, -1]), RMSNorm(inputCol="array", shape=[-1])):
        with pytest.raises(ParamError, match="shape must be a list of positive integers"):
            stage._check_params()


def test_what_cannot_be_of_several_lengths_is_refused() -> None:
    """One vector of many columns, and mini-batches."""
    df = Partitions([[[1.0, 2.0]]], features=2)
    with pytest.raises(ParamError, match="Set outputCols instead"):
        scans.fit(MinMaxScaler(inputCols=["array", "s0"], outputCol="y", shape=[-1]), df)
    with pytest.raises(SizeMismatchError, match="'s0' has rows of length 1, which is no multiple of the 2 channels"):
        scans.fit(MinMaxScaler(inputCol="s0", shape=[2, -1]), df)
    with pytest.raises(SizeMismatchError, match="holds a row of length 2, which is no multiple of the 3 channels"):
        scans.fit(MinMaxScaler(inputCol="array", shape=[3, -1]), df)
    with pytest.raises(ParamError, match="mini-batches need rows of one length"):
        scans.fit(BatchNorm(inputCol="array", shape=[-1], statistics="moving", batchCol="s0"), df)


def test_numbers_are_given_by_channel() -> None:
    """And a shape that is changed later contradicts them."""
    model = MinMaxScalerModel.of(inputCol="a", originalMin=[0.0, 10.0], originalMax=[1.0, 20.0], shape=[2, -1])

    assert model.affine.apply([1.0, 15.0]).tolist() == [1.0, 0.5]
    assert "sparkscale_places" in model.toSQL()["a_scaled"]
    with pytest.raises(ParamError, match="shape or dataFormat was changed since fit"):
        model.copy().setShape([2, 3]).toSQL()


@pytest.fixture(scope="module")
def ragged(spark: SparkSession) -> DataFrame:
    """Arrays of several lengths, a vector of one, and a scalar; the column of places is called x, as in lambdas."""
    dense_vector, sparse_vector = Vectors.dense, partial(Vectors.sparse, 4)
    rows = [
        (0, "a", [1.0, 2.0, 5.0, 7.0], [1.0, 2.0], dense_vector(1.0, 0.0, 3.0, 9.0), 4.0),
        (1, "a", [3.0, None], [4.0, 8.0, 6.0, 0.0, 5.0, 5.0], sparse_vector([1], [5.0]), 2.0),
        (2, "b", [], [], dense_vector(2.0, 2.0, 8.0, 4.0), 1.0),
        (3, "b", None, None, None, None),
        (4, "b", [9.0, 4.0], [7.0, 1.0], dense_vector(5.0, 1.0, 2.0, 6.0), 8.0),
    ]
    arrays = [StructField("x", ArrayType(DoubleType())), StructField("f", ArrayType(FloatType()))]
    keys = [StructField("id", IntegerType()), StructField("k", StringType())]
    schema = StructType([*keys, *arrays, vector_field("v"), StructField("s", DoubleType())])
    return spark.createDataFrame(rows, schema).repartition(2, "id").localCheckpoint()


def by_id(df: DataFrame, *names: str) -> list[list[Any]]:
    """Return cells of columns in the order of the rows."""
    return [list(column) for column in zip(*cells(df.orderBy("id"), *names), strict=True)]


@pytest.mark.core
@pytest.mark.parametrize(
    "scaler",
    [
        MinMaxScaler(min=-1.0, clip=True),
        MaxAbsScaler(),
        StandardScaler(withMean=True, clip=[-1.5, 1.5]),
        RobustScaler(withCentering=True, interpolation="linear"),
        BatchNorm(gamma=[2.0], beta=[1.0]),
    ],
    ids=lambda scaler: type(scaler).__name__,
)
def test_rows_of_several_lengths_are_scaled(scaler: Any, ragged: DataFrame) -> None:
    """By channel, in any type of column, as the exploded values are; and back; nulls and empty rows stay."""
    columns = {"inputCols": ["x", "f", "v"], "fillInvalid": 0.5}
    model = scaler.copy().setParams(**columns, shape=[2, -1]).fit(ragged)
    by_sql = ragged.withColumn("x_by_sql", F.expr(model.toSQL()["x_scaled"]))
    out = model.transform(by_sql)
    restored = model.inverseTransform(out.drop("x", "f", "v"))

    layout = OPEN["first"]
    inputs, outputs = by_id(ragged, "x", "f", "v"), by_id(out, "x_scaled", "f_scaled", "v_scaled", "x_by_sql")
    unclipped = not (scaler.hasParam("clip") and scaler.isSet("clip"))
    undone = by_id(restored, "x", "f", "v")
    for k, (name, rows) in enumerate(zip("xfv", inputs, strict=True)):
        for channel in range(2):
            values = [v for row in rows if row is not None for v in of_channel(listed(row), layout, channel)]
            own = scaler.copy().setParams(inputCol="s")
            one = scans.fit(own.setParams(inputCol="s0"), Partitions([[[v] for v in values]], features=1))
            affine, bounds = one.affine, one._bounds()
            for row, mapped in zip(rows, outputs[k], strict=True):
                if row is None:
                    assert mapped is None
                    continue
                some = np.array([np.nan if v is None else v for v in of_channel(listed(row), layout, channel)])
                expected = affine.apply(some[:, None]).ravel()
                expected = expected if bounds is None else np.clip(expected, bounds[0], bounds[1])
                expected = np.where(np.isnan(some), 0.5, expected)
                near(of_channel(listed(mapped), layout, channel), expected, 1e-6 if name == "f" else 1e-12, atol=1e-12)
        if unclipped:
            for row, mapped in zip(rows, undone[k], strict=True):
                assert (row is None) == (mapped is None)
                if row is not None and None not in listed(row):
                    near(listed(mapped), listed(row), 1e-6, atol=1e-6)
    for left, right in zip(outputs[0], outputs[3], strict=True):
        assert left == right


@pytest.mark.core
def test_rows_of_several_lengths_have_groups_and_survive(ragged: DataFrame, tmp_path: Path) -> None:
    """Models by key, merged, updated, saved and loaded, and on the device."""
    scaler = MinMaxScaler(inputCols=["x", "v"], shape=[-1, 2], dataFormat="channelsLast", groupCols=["k"])
    model = scaler.fit(ragged)
    model.write().overwrite().save(str(tmp_path / "model"))
    loaded = MinMaxScalerModel.load(str(tmp_path / "model"))
    out, again = (by_id(m.transform(ragged), "x_scaled", "v_scaled") for m in (model, loaded))

    assert out == again
    assert out[0] == [[0.0, 0.0, 1.0, 1.0], [0.5, None], [], None, [0.5, 0.5]]
    near(listed(out[1][0]), [1 / 3, 0.0, 1.0, 1.0])
    restored = by_id(model.inverseTransform(model.transform(ragged).drop("x", "v")), "x", "v")
    assert restored[0][0] == [1.0, 2.0, 5.0, 7.0]
    assert listed(restored[1][4]) == [5.0, 1.0, 2.0, 6.0]

    whole = MinMaxScaler(inputCols=["x", "v"], shape=[-1]).fit(ragged)
    parts = [MinMaxScaler(inputCols=["x", "v"], shape=[-1]).fit(ragged.where(c)) for c in ("id < 2", "id >= 2")]
    merged, updated = parts[0].merge(parts[1]), parts[0].update(ragged.where("id >= 2"))
    for other in (merged, updated):
        assert_same(other.statistics, whole.statistics)
    assert (whole.invalidCounts, whole.count) == ([2, 4], 20)
    assert whole.summary().index.tolist() == ["x_channel_0", "v_channel_0"]


@pytest.mark.gpu
def test_the_kernel_maps_rows_of_several_lengths(ragged: DataFrame) -> None:
    """All rows of a length at once, by channel."""
    for shape, data_format in (([2, -1], "channelsFirst"), ([-1, 2], "channelsLast")):
        model = StandardScaler(inputCols=["x", "f"], shape=shape, dataFormat=data_format, withMean=True).fit(ragged)
        expected, actual = (
            by_id(m.transform(ragged), "x_scaled", "f_scaled") for m in (model, model.copy().setDevice("gpu"))
        )
        for one, other in zip(chain(*expected), chain(*actual), strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                near([np.nan if v is None else v for v in other], [np.nan if v is None else v for v in one], 1e-6)


def test_new_rows_are_compared_by_channel(ragged: DataFrame) -> None:
    """What lies out of range is counted for each channel, of rows of several lengths and of one; profiles are pooled."""
    old, new = ragged.where("id < 2"), ragged.where("id IN (2, 4)")
    open_rows = MinMaxScaler(inputCol="x", shape=[-1, 2], dataFormat="channelsLast").fit(old)
    one_length = MinMaxScaler(inputCol="v", shape=[2, -1]).fit(old)

    table = open_rows.report(new).table
    assert table["outOfRange"].tolist() == [1.0, 0.0]
    table = one_length.report(new).table
    assert (table["newCount"].tolist(), table["outOfRange"].tolist()) == ([4, 4], [0.0, 0.0])
    pooled = MinMaxScaler(inputCol="v", shape=[2, -1]).fit(Profile.of(old, inputCols=["v", "s"]))
    assert_same(pooled.statistics, one_length.statistics)
    with pytest.raises(ParamError, match="must have the same length: 'v' of 4, 's' of 1"):
        MinMaxScaler(inputCols=["v", "s"], shape=[-1]).fit(Profile.of(old, inputCols=["v", "s"]))


def test_channels_of_several_lengths_are_plotted(ragged: DataFrame) -> None:
    """All of their values, before and after."""
    model = MinMaxScaler(inputCol="x", shape=[2, -1]).fit(ragged)

    counts = histograms(*_arrays(model, ragged, [0, 1]), bins=2)

    assert [h.counts.sum() for h in counts] == [4, 3, 4, 3]


def test_the_shape_of_fit_stays():
    """Channels of another order or number have other statistics; a saved model knows what they were."""
    column = FeatureColumn("a", "array", size=4)
    model, store = MinMaxScalerModel().setShape([2, 2]).setInputCol("a"), Store()
    model._learn([column], Extrema.of(dense([[0.0, 10.0], [1.0, 30.0]])), skips=False)
    model._fit_options = model._options()
    model.write().session(store).save("m")
    loaded = MinMaxScalerModel.read().session(store).load("m")
    assert loaded.map == model.map

    for changed in ({"dataFormat": "channelsLast"}, {"shape": [1, 4]}, {"shape": [4]}):
        with pytest.raises(ParamError, match="shape or dataFormat was changed since fit"):
            with_params(loaded, **changed).map  # noqa: B018
    other = loaded.copy()
    other.clear(other.shape)
    with pytest.raises(ParamError, match="shape or dataFormat was changed since fit"):
        other.map  # noqa: B018
