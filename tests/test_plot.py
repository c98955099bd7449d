"""Distributions before and after: counted in Spark, drawn by Matplotlib."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

from frames import INF, NAN, arrays, scalars, vector_field
from models import learned
from sparkscale import (
    BatchNormModel,
    MaxAbsScalerModel,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
    WhitenerModel,
)
from sparkscale.display.bins import histograms
from sparkscale.display.drawing import Row, before_and_after
from sparkscale.display.histogram import Histogram
from sparkscale.errors import EmptyDataError, ParamError
from sparkscale.spark.columns import FeatureColumn


@pytest.fixture(scope="module")
def data(spark):
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=200), rng.exponential(size=(200, 2))
    rows = [(float(v), [float(p), float(q)], Vectors.dense(float(q), 7.0)) for v, (p, q) in zip(x, a, strict=True)]
    rows += [
        (None, [NAN, 1.0], None),
        (INF, None, Vectors.sparse(2, [1], [7.0])),
        (-1.0, [None, 1.0], Vectors.dense(NAN, 7.0)),
    ]
    schema = StructType(
        [StructField("x", DoubleType()), StructField("a", ArrayType(DoubleType())), vector_field("v", 2)]
    )
    return spark.createDataFrame(rows, schema), np.append(x, -1.0), a


def queries(df, monkeypatch):
    """Record what the driver collects."""
    collect, collected = type(df).collect, []
    monkeypatch.setattr(type(df), "collect", lambda self: collected.append(collect(self)) or collected[-1])
    return collected


@pytest.fixture(scope="module")
def plotted(data):
    """A model of all columns, its picture, and what the driver collected for it."""
    df, *_ = data
    model = StandardScaler(inputCols=["x", "a", "v"], withMean=True).fit(df)
    with pytest.MonkeyPatch.context() as monkeypatch:
        collected = queries(df, monkeypatch)
        return model, model.plot(df, bins=8), collected


def drawn(axes) -> np.ndarray:
    """The heights of the bars of a panel."""
    (bars,) = axes.patches
    return np.asarray(bars.get_data().values)


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_scalars_arrays_and_vectors_are_counted_before_and_after(data, plotted):
    """Counts equal NumPy's for every kind of column; the title has the number of invalid values."""
    _, x, a = data
    _, figure, _ = plotted
    first, second = np.append(a[:, 1], [1.0, 1.0]), np.append(a[:, 1], 0.0)

    panels = np.array(figure.axes).reshape(5, 2)
    assert [axes.get_xlabel() for axes in panels[:, 0]] == ["x", "a_0", "a_1", "v_0", "v_1"]
    assert [axes.get_xlabel() for axes in panels[:3, 1]] == ["x_scaled", "a_0 in a_scaled", "a_1 in a_scaled"]
    for pair, values in zip(panels, (x, a[:, 0], first, second), strict=False):
        expected = np.histogram(values, 8)[0]
        np.testing.assert_array_equal(drawn(pair[0]), expected)
        np.testing.assert_array_equal(drawn(pair[1]), expected)
    assert titles(figure)[0] == "Before: 201 values; 2 invalid left out"
    assert titles(figure)[2] == "Before: 200 values; 3 invalid left out"
    assert titles(figure)[8:] == [
        "Before: 202 values, constant; 1 invalid left out",
        "After: 202 values, constant; 1 invalid left out",
    ]


@pytest.mark.classic_only
def test_histogram_takes_two_queries(data, plotted, monkeypatch):
    """And only counts come to the driver: a row a feature, and a row a bin. Outputs that are there already are no matter."""
    df, *_ = data
    model, whole, of_five = plotted
    of_one = queries(df, monkeypatch)
    figure = model.plot(model.transform(df).coalesce(1), features=["x"], bins=5)

    assert titles(figure) == titles(whole)[:2]
    for collected, features, bins in ((of_five, 5, 8), (of_one, 1, 5)):
        assert len(collected) == 2
        assert len(collected[0]) == 2 * features
        assert len(collected[1]) <= 2 * bins * features


@pytest.mark.classic_only
def test_scaled_histogram_matches_transform(data):
    """Clipped values are counted where they were clipped to, infinities too; many columns may become one vector."""
    df, x, a = data
    below = x[x < 0]
    rows = [[v, *a[0]] for v in below]
    model = (
        learned(MinMaxScalerModel(), rows, "x", FeatureColumn("a", "array", size=2)).setOutputCol("out").setClip(True)
    )
    after = model.plot(df.coalesce(1), features=["x"], bins=4).axes[1]
    scaled = np.clip((np.append(x, INF) - below.min()) / (below.max() - below.min()), 0, 1)

    assert after.get_xlabel() == "x in out"
    assert [float(line.get_xdata()[0]) for line in after.lines] == [0.0, 1.0]
    np.testing.assert_allclose(after.get_xlim(), (-0.04, 1.04))
    np.testing.assert_array_equal(drawn(after), np.histogram(scaled, 4, (0, 1))[0])


@pytest.mark.classic_only
def test_skipped_rows_are_not_drawn_after_scaling(spark):
    """Before, their values are counted."""
    rows = [(1.0, 1.0), (2.0, None), (3.0, 3.0)]
    model = learned(MaxAbsScalerModel(), rows, "x", "y").setHandleInvalid("skip")

    assert titles(model.plot(spark.createDataFrame(rows, "x double, y double").coalesce(1))) == [
        "Before: 3 values",
        "After: 2 values",
        "Before: 2 values; 1 invalid left out",
        "After: 2 values",
    ]


@pytest.mark.classic_only
def test_invalid_values_are_drawn_around_where_transform_refuses_them(spark):
    """A picture helps to find them."""
    model = learned(StandardScalerModel(), [[1.0], [2.0]], "x").setHandleInvalid("error")
    figure = model.plot(scalars(spark, 1.0, 2.0, None, NAN).coalesce(1))

    assert titles(figure)[1] == "After: 2 values; 2 invalid left out"


@pytest.mark.classic_only
@pytest.mark.parametrize("order", ["channelsFirst", "channelsLast"])
def test_channels_are_drawn_with_all_their_places(spark, order):
    """The features of a BatchNorm with a shape are its channels, of every column; in the order in which they are named."""
    first = order == "channelsFirst"
    row = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0] if first else [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]
    df = spark.createDataFrame([(row, row), (None, row)], "a array<double>, b array<double>").coalesce(1)
    channels = [[1.0, 10.0] * 2, [3.0, 30.0] * 2]
    norm = learned(BatchNormModel(), channels, *(FeatureColumn(name, "array", size=6) for name in ("a", "b")))
    norm.setShape([2, 3] if first else [3, 2]).setDataFormat(order)
    figure = norm.plot(df, features=["a_channel_1", "b_channel_0"], bins=2)

    assert titles(figure)[::2] == ["Before: 3 values; 3 invalid left out", "Before: 6 values"]
    assert [axes.get_xlim() for axes in figure.axes[::2]] == [(10.0, 30.0), (1.0, 3.0)]
    assert drawn(figure.axes[0]).tolist() == [1, 2]


@pytest.mark.classic_only
def test_twelve_features_are_drawn_unless_some_are_named(spark):
    """In the order in which they are named; the title says that there are more."""
    df = arrays(spark, [float(i) for i in range(20)], [0.0] * 20).coalesce(1)
    model = learned(MaxAbsScalerModel(), [np.arange(20.0)], FeatureColumn("a", "array", size=20))
    whole, some = model.plot(df), model.plot(df, features=["a_15", "a_3"])

    assert len(whole.axes) == 24
    assert "the first 12 of 20 features" in whole.get_suptitle()
    assert [axes.get_xlabel() for axes in some.axes[::2]] == ["a_15", "a_3"]


@pytest.mark.classic_only
def test_overflowing_and_tiny_ranges_are_drawn(spark):
    """Are counted, too."""
    df = spark.createDataFrame([(-1.7e308, 5e-324), (1.7e308, 0.0), (0.0, 0.0)], "x double, y double").coalesce(1)
    wide, tiny = histograms(df, ["array(x)", "array(y)"], 4)

    assert wide.counts.tolist() == [1, 0, 1, 1]
    assert (wide.edges[0], wide.edges[-1]) == (-1.7e308, 1.7e308)
    assert (tiny.count, tiny.edges[0]) == (3, 0.0)


ROWS = [[1.0, 2.0], [2.0, 7.0]]


@pytest.mark.classic_only
def test_bad_requests_are_refused_before_any_job(spark):
    """With the names that there are, and the numbers that can be used."""
    model = learned(StandardScalerModel(), ROWS, "x", "y")
    failing = spark.createDataFrame(ROWS, "x double, y double")
    failing = failing.withColumn("x", F.expr("raise_error('a job has run')").cast("double"))

    for features in (["z"], [], "x"):
        with pytest.raises(ParamError, match=r"There are: x, y|list of names"):
            model.plot(failing, features=features)
    for bins in (0, 2.5, 10**6, True):
        with pytest.raises(ParamError, match="from 1 to 1000"):
            model.plot(failing, bins=bins)
    with pytest.raises(ParamError, match="depends on all features"):
        learned(WhitenerModel(), ROWS, "x", "y").setOutputCol("o").plot(failing)


@pytest.mark.classic_only
def test_no_row_is_an_error(spark):
    """There is nothing to draw."""
    model = learned(StandardScalerModel(), [[1.0], [2.0]], "x")
    none = scalars(spark, 1.0, 2.0).limit(0)

    with pytest.raises(EmptyDataError, match="no row"):
        model.plot(none)


@pytest.mark.classic_only
def test_without_matplotlib_the_error_says_what_to_install(spark, monkeypatch):
    """As for the other extras."""
    model = learned(StandardScalerModel(), [[1.0], [2.0]], "x")
    df = scalars(spark, 1.0, 2.0)
    monkeypatch.delitem(sys.modules, "sparkscale.display.drawing")
    monkeypatch.delattr("sparkscale.display.drawing", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)

    with pytest.raises(ImportError, match=r'pip install "sparkscale\[plot\]"'):
        model.plot(df)


def test_features_share_one_axis_after():
    """It has 0 and 1 marked and nearly all values; what lies beyond is counted. Before, each feature has its own."""
    low, high = (
        Histogram(np.linspace(5.0, 9.0, 5), np.array([4, 3, 2, 1]), 0),
        Histogram(np.array([3.0, 3.0]), np.ones(1), 0),
    )
    tail = Histogram(np.linspace(0.0, 40.0, 5), np.array([996, 3, 1, 1]), 0)
    none = Histogram(np.empty(0), np.empty(0, dtype=np.int64), 1)
    one = Histogram(np.linspace(0.1, 0.9, 5), np.array([1, 2, 3, 4]), 0)
    rows = [Row(("x", "y"), pair) for pair in ((low, one), (high, tail), (none, none))]
    left, right = np.array(before_and_after("Title", rows).axes).reshape(3, 2).T

    assert [axes.get_xlim() for axes in left[:2]] == [(5.0, 9.0), (1.5, 4.5)]
    for axes in right:
        np.testing.assert_allclose(axes.get_xlim(), (-0.4, 10.4))
    assert [[text.get_text() for text in axes.texts] for axes in right] == [
        ["0", "1"],
        ["0", "1", "2 values beyond this axis"],
        ["no valid value"],
    ]
    assert {axes.get_ylabel() for axes in [*left, *right]} == {"count"}
    assert left[0].patches[0].get_facecolor() != right[0].patches[0].get_facecolor()


def test_labels_do_not_overlap():
    """Neither with each other nor with a neighbour's panel, however long; dollars begin no formula."""
    usual = Histogram(np.linspace(-1e6, 1e6, 31), np.full(30, 123_456), 7)
    constant = Histogram(np.array([1e12, 1e12]), np.array([5]), 0)
    none = Histogram(np.empty(0), np.empty(0, dtype=np.int64), 12)
    rows = [Row(("cost in $ and $" * 9, "$x_$"), (usual, constant)), Row(("x", "x_scaled"), (none, usual))]
    figure = before_and_after("StandardScalerModel", rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure._repr_png_().startswith(b"\x89PNG")
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]

    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
