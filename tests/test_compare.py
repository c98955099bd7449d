"""Comparisons: of two profiles without a job, and of a model with new rows in one scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.ml.linalg import DenseVector, SparseVector, VectorUDT

from conftest import jobs_so_far
from sparkscale import (
    BatchNorm,
    ClipByGlobalNorm,
    MinMaxScaler,
    Profile,
    RobustScaler,
    StandardScaler,
    StandardScalerModel,
    Whitener,
    Winsorizer,
)
from sparkscale.blocks import DenseBlock
from sparkscale.errors import EmptyDataError, ParamError, ParamTypeError
from sparkscale.scalers._drift import drift
from sparkscale.scalers._statistics import NAMES, set_of
from sparkscale.scalers.comparison import Comparison, checked_thresholds
from sparkscale.spark.fit import tables
from sparkscale.statistics import StatisticSet

FIGURES = ["outOfRange", "meanShift", "spreadRatio", "psi"]
RNG = np.random.default_rng(5)
FIRST = RNG.normal(size=(500, 4)) * [1, 10, 0, 1] + [0, 100, 5, 0]
SECOND = RNG.normal(size=(300, 4)) * [2, 10, 0, 1] + [1, 100, 5, 0]
SECOND[::10, 0] = np.nan
FIRST[:, 3] = np.nan  # no valid value


def of(rows: np.ndarray, *names: str) -> StatisticSet:
    return set_of(names or [name for name in NAMES if name != "coMoments"], 0.001).of(DenseBlock(rows)).as_row()


def index_of(first: np.ndarray, second: np.ndarray) -> float:
    """Return the population stability index, by its definition."""
    edges = np.quantile(first, np.arange(1, 10) / 10, method="inverted_cdf")
    p, q = (np.bincount(np.searchsorted(edges, x), minlength=10) / len(x) for x in (first, second))
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def test_figures_are_those_of_their_definitions():
    """Of a feature that drifts, of one that does not, of a constant one, and of one without a valid value."""
    result = drift(of(FIRST), of(SECOND))
    x, new = FIRST[:, 0], SECOND[:, 0][np.isfinite(SECOND[:, 0])]
    figures = {name: values[0] for name, values in result.figures.items()}

    assert figures["count"].tolist() == [500, 500, 500, 0]
    assert figures["newInvalid"].tolist() == [0.1, 0, 0, 0]
    assert figures["outOfRange"][0] == np.mean((new < x.min()) | (new > x.max())) > 0
    np.testing.assert_allclose(figures["meanShift"][0], (new.mean() - x.mean()) / x.std(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(figures["spreadRatio"][0], new.std(ddof=1) / x.std(ddof=1), rtol=1e-12)
    shifted = drift(of(FIRST[:, [2]]), of(SECOND[:, [1]])).figures
    assert shifted["meanShift"] == shifted["spreadRatio"] == np.inf  # of a constant that is one no more
    for k in (0, 1):
        valid = SECOND[:, k][np.isfinite(SECOND[:, k])]
        np.testing.assert_allclose(figures["psi"][k], index_of(FIRST[:, k], valid), rtol=1e-9)
    assert [figures[name][2] for name in FIGURES] == [0, 0, 1, 0]
    assert np.isnan([figures[name][3] for name in FIGURES]).all()
    assert result.notes[0].tolist() == ["", "", "", "no valid value in the first"]


@pytest.mark.parametrize(
    ("first", "second", "known", "note"),
    [
        (
            ["moments"],
            ["moments"],
            ["meanShift", "spreadRatio"],
            "the first has no extrema; the first has no quantiles",
        ),
        (["extrema"], ["extrema"], [], "values lie out of range, and their share needs quantiles of the second"),
        (["squares"], ["quantiles"], ["outOfRange"], "the first has no moments; the second has no moments"),
        (["quantiles"], ["quantiles"], ["outOfRange", "psi"], "the first has no moments; the second has no moments"),
        (["quantiles"], ["moments"], [], "the second has no extrema; the first has no moments"),
        (["coMoments"], ["coMoments", "extrema"], ["meanShift", "spreadRatio"], "the first has no extrema"),
    ],
    ids=str,
)
def test_what_statistics_do_not_tell_is_nan_with_a_note(first, second, known, note):
    """And no more than that."""
    result = drift(of(FIRST[:, :2], *first), of(SECOND[1:10, :2], *second))

    assert [name for name in FIGURES if not np.isnan(result.figures[name][0, 0])] == known
    assert result.notes[0, 0].startswith(note)


def test_extrema_in_the_range_need_no_quantiles():
    """Then no value is out of range."""
    result = drift(of(FIRST[:, :1], "extrema"), of(FIRST[:10, :1], "extrema"))

    assert result.figures["outOfRange"].tolist() == [[0.0]]


def test_a_sketch_that_lost_the_extrema_still_counts_them():
    """Values out of range are at least as many as the extrema that are."""
    first, second = np.arange(1, 1001.0)[:, None], np.concatenate([np.arange(1, 1001.0), [0.5, 2000.0]])[:, None]
    sides = [set_of(["quantiles"], 0.5).of(DenseBlock(rows)).as_row() for rows in (first, second)]

    assert len(sides[1]["quantiles"].values) < 100
    assert drift(*sides).figures["outOfRange"][0, 0] >= 2 / 1002


def test_co_moments_have_the_mean_and_spread_of_moments():
    """Of rows without an invalid value."""
    sides = [[of(rows[:, :3], name) for rows in (FIRST, SECOND[1:10])] for name in ("moments", "coMoments")]
    by_moments, by_co_moments = (drift(*pair).figures for pair in sides)

    for name in ("meanShift", "spreadRatio"):
        np.testing.assert_allclose(by_moments[name], by_co_moments[name], rtol=1e-9)


def test_figures_beyond_their_threshold_are_flagged():
    """The table marks them, its HTML shows them first, and thresholds can be chosen."""
    figures = drift(of(FIRST[:, [1, 0]]), of(SECOND[:, [1, 0]]))
    comparison = Comparison._of(figures, ["<y>", "x"], {}, checked_thresholds("", None))
    strict = Comparison._of(figures, ["<y>", "x"], {}, checked_thresholds("", {"psi": 1e-9, "spreadRatio": 1}))
    html = comparison.html()

    assert comparison.table["flags"].tolist() == ["", "invalid, outOfRange, meanShift, spreadRatio, psi"]
    assert comparison.flagged.index.tolist() == ["x"]
    assert strict.table["flags"].tolist()[0] == "spreadRatio, psi"
    assert repr(comparison) == "Comparison of 2 features: 1 flagged"
    assert html.index("<th>x</th>") < html.index("<th>&lt;y&gt;</th>")
    assert html.count("<b>") == 6 and "psi 0.25" in html
    assert comparison._repr_html_() == html


@pytest.mark.parametrize(
    ("thresholds", "error", "message"),
    [
        ({"drift": 1}, ParamError, "'drift' has no threshold. Name some of 'invalid', 'outOfRange'"),
        ({"psi": -1}, ParamError, "the threshold of 'psi' must be a number of at least 0. Got -1"),
        ({"psi": "high"}, ParamError, "must be a number"),
        ({"spreadRatio": 0.5}, ParamError, "'spreadRatio' must be at least 1"),
        ([0.1], ParamTypeError, "thresholds must be a dict"),
    ],
    ids=str,
)
def test_thresholds_that_cannot_be_used_are_refused(thresholds, error, message):
    with pytest.raises(error, match=message):
        checked_thresholds("Profile.compare", thresholds)


@pytest.fixture(scope="module")
def months(spark):
    """Two months of rows of all kinds of columns by shop; one shop opens in the second month."""
    rows: list[Any] = []
    for month, matrix in enumerate((FIRST, SECOND)):
        for i, (x, y, c, _) in enumerate(matrix[:200].tolist()):
            vector = SparseVector(2, {0: x}) if i % 2 and not np.isnan(x) else DenseVector([x, c])
            rows.append((month, "abc"[i % (2 + month)], 1.0 + i % 3, x, [x, y], vector))
    schema = spark.createDataFrame([], "month int, shop string, w double, x double, a array<double>").schema
    schema = schema.add("v", VectorUDT())
    return spark.createDataFrame(rows, schema).cache()


COLUMNS = ["x", "a", "v"]


@pytest.fixture(scope="module")
def sides(months):
    return [months.where(f"month = {month}") for month in (0, 1)]


@pytest.mark.core
def test_profiles_are_compared_without_a_job(sides):
    """In all, and by the keys of both; a key of one side alone has no figures."""
    first, second = (
        Profile.of(df, inputCols=columns, groupCols=keys, statistics=["moments", "quantiles"])
        for df, columns, keys in zip(sides, (COLUMNS, ["v", "a", "x"]), (["month", "shop"], ["shop"]), strict=True)
    )
    before = jobs_so_far()
    total, by_shop = first.compare(second), first.compare(second, by=["shop"])
    jobs = jobs_so_far() - before
    alone = first.where("shop = 'a'").compare(second.where("shop = 'a'"), thresholds={"psi": 10.0})

    if first._table.local is not None:  # PySpark 3.5 holds no table
        assert jobs == 0
    assert total.table.index.tolist() == ["x", "a_0", "a_1", "v_0", "v_1"]
    assert by_shop.table.index.names == ["shop", "feature"] and len(by_shop.table) == 15
    for name in FIGURES:
        np.testing.assert_allclose(by_shop.table.loc["a"][name], alone.table[name], rtol=1e-9, err_msg=name)
    empty = first.compare(second.where("shop = 'z'"), by=["shop"])
    assert set(empty.table["note"]) == {"no valid value in the second"}
    assert set(by_shop.table.loc["c"]["note"]) == {"no valid value in the first"}
    assert "psi" in by_shop.thresholds and alone.thresholds["psi"] == 10
    assert repr(by_shop).startswith("Comparison of 5 features of 3 keys: ")
    x, new = (np.array([r.x for r in df.select("x").collect()]) for df in sides)
    np.testing.assert_allclose(total.table.loc["x", "psi"], index_of(x, new[np.isfinite(new)]), rtol=1e-9)
    assert total.table.loc["x", "newInvalid"] == np.mean(np.isnan(new))


@pytest.mark.core
def test_a_report_counts_the_values_out_of_range(sides):
    """Exactly, in all kinds of columns, also with weights; by the range of each key, which an unknown key has not."""
    first, second = sides
    for scaler in (MinMaxScaler(inputCols=COLUMNS, groupCols=["shop"]), Winsorizer(inputCols=COLUMNS)):
        model = scaler.fit(first)
        table = model.report(second).table
        for expression, feature in (("x", "x"), ("a[1]", "a_1")):
            low, high = first.selectExpr(f"min({expression})", f"max({expression})").first()
            values = second.selectExpr(f"double({expression}) AS y").where("NOT isnan(y)")
            outside = values.where(f"y < {low!r} OR y > {high!r}").count()
            assert table.loc[feature, "outOfRange"] == outside / values.count()
        assert table.loc["v_0", "outOfRange"] > 0 and table.loc["v_1", "outOfRange"] == 0
        assert table["newCount"].tolist() == [180, 180, 200, 180, 200]

    by_shop = MinMaxScaler(inputCols=COLUMNS, groupCols=["shop"]).fit(first).report(second, by=["shop"]).table
    for shop in "ab":
        low, high = first.where(f"shop = '{shop}'").selectExpr("min(x)", "max(x)").first()
        values = second.where(f"shop = '{shop}' AND NOT isnan(x)")
        outside = values.where(f"x < {low!r} OR x > {high!r}").count()
        assert by_shop.loc[(shop, "x"), "outOfRange"] == outside / values.count()
    assert by_shop.loc[("c", "x"), "count"] == 0 and np.isnan(by_shop.loc[("c", "x"), "outOfRange"])


def test_a_report_has_the_figures_of_the_statistic(sides):
    """That the model holds: moments, of channels too and with weights, quantiles, or the range; asOf compares all rows."""
    first, second = sides
    standard = StandardScaler(inputCols=["x", "v"], weightCol="w").fit(first).report(second).table
    profiles = [Profile.of(df, inputCols=["x", "v"], weightCol="w", statistics=["moments"]) for df in sides]
    channels = BatchNorm(inputCol="a", shape=[1, 2]).fit(first).report(second).table
    pooled = [np.concatenate([r.a for r in df.select("a").collect()]) for df in sides]
    pooled = [values[np.isfinite(values)] for values in pooled]
    robust = RobustScaler(inputCols=["x"]).fit(first).report(second).table
    as_of = StandardScaler(inputCol="x", groupCols=["shop"], asOf="month").fit(first)

    for name in FIGURES:
        np.testing.assert_allclose(standard[name], profiles[0].compare(profiles[1]).table[name], rtol=1e-9)
    assert len(channels) == 1
    np.testing.assert_allclose(channels["meanShift"], (pooled[1].mean() - pooled[0].mean()) / pooled[0].std(ddof=1))
    assert robust["psi"].notna().all() and robust["outOfRange"].notna().all() and robust["meanShift"].isna().all()
    assert as_of.report(second, by=["shop"]).table.index.names == ["shop", "feature"]
    assert Whitener(inputCol="v").fit(first.where("NOT isnan(x)")).report(second).table["meanShift"].notna().any()
    assert ClipByGlobalNorm(inputCol="x", clipNorm=1.0).fit(first).report(second).table["outOfRange"].notna().all()


def test_what_cannot_be_compared_is_refused(sides, months, monkeypatch):
    """Other columns, keys and types, too many keys, no rows, mini-batches, given numbers."""
    first = Profile.of(sides[0], inputCols=["x"], groupCols=["shop", "month"])
    model = MinMaxScaler(inputCol="x", groupCols=["shop"]).fit(sides[0])
    batches = BatchNorm(inputCol="x", batchCol="month", statistics="moving").fit(months)
    given = StandardScalerModel.of(inputCol="x", mean=[0.0], std=[1.0], dataset=months)
    for call, error, message in (
        (lambda: first.compare(months), ParamTypeError, "the other must be a Profile. Got DataFrame"),
        (
            lambda: first.compare(Profile.of(months, inputCols=["a"])),
            ParamError,
            r"the columns differ, 'x' \(scalar\) and 'a'",
        ),
        (
            lambda: first.compare(first.total(), by=["shop"]),
            ParamError,
            "'shop', which is no key column of the second profile",
        ),
        (lambda: first.compare(first, by="shop"), ParamTypeError, "by must be a list of names"),
        (lambda: first.compare(first, by=["shop", "shop"]), ParamError, "by names 'shop' more than once"),
        (
            lambda: first.compare(
                Profile.of(months.withColumn("shop", months["month"]), inputCols=["x"], groupCols=["shop"]), by=["shop"]
            ),
            ParamError,
            "the keys are of types",
        ),
        (lambda: model.report(sides[1], by=["month"]), ParamError, "no key column of the model. It has 'shop'"),
        (lambda: model.report(sides[1].where("false")), EmptyDataError, "there is no row"),
        (lambda: given.report(sides[1]), ParamError, "the model was given its numbers, and has no statistics"),
        (lambda: batches.report(sides[1]), ParamError, "the model holds MovingAverage"),
    ):
        with pytest.raises(error, match=message):
            call()
    monkeypatch.setattr(tables, "HELD_BYTES", 0)
    many = Profile.of(sides[0], inputCols=["x"], groupCols=["shop"])
    with pytest.raises(ParamError, match=r"2 keys are more than the driver holds\. Name fewer columns in by"):
        many.compare(many, by=["shop"])
