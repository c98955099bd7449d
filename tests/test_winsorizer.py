"""Winsorizer: what it clips, what it says of it, and what it leaves."""

from __future__ import annotations

import numpy as np
import pytest

from frames import frame, values_of
from models import learned, with_params
from sparkscale import Winsorizer, WinsorizerModel
from sparkscale.errors import ParamError
from sparkscale.spark.columns import FeatureColumn

ROWS = np.column_stack([np.arange(101.0), np.append(np.zeros(100), 7.0), np.append(np.arange(-50.0, 50.0), np.nan)])
NAMES = ("s0", "s1", "s2")


@pytest.fixture
def model() -> WinsorizerModel:
    """Fitted on a feature of many values, one that is nearly always 0, and one around 0 with a NaN."""
    return with_params(learned(WinsorizerModel(), ROWS, *NAMES), lower=0.1, upper=0.8)


@pytest.mark.core
def test_bounds_are_quantiles(model):
    assert model.lowerBound.toArray().tolist() == [10.0, 0.0, -41.0]
    assert model.upperBound.toArray().tolist() == [80.0, 0.0, 29.0]


@pytest.mark.core
def test_the_summary_counts_what_is_clipped(model):
    """As the ranks of fit tell, without another look at the data."""
    counts = [
        int(np.sum((x < low) | (x > high)))
        for x, low, high in zip(ROWS.T, model.lowerBound, model.upperBound, strict=True)
    ]
    summary = model.summary()

    assert model.clippedCounts == counts == [30, 1, 29]
    assert summary["clipped"].tolist() == counts
    assert summary["lower"].tolist() == model.lowerBound.toArray().tolist()
    assert (summary["scale"] == 1.0).all()


@pytest.mark.core
@pytest.mark.parametrize("params", [{"lower": 0.9, "upper": 0.1}, {"upper": 2.0}, {"relativeError": 2.0}], ids=str)
def test_bad_values_are_refused(params):
    with pytest.raises(ParamError, match=next(iter(params))):
        Winsorizer(inputCol="x", **params)._check_params()


def test_transform_clips_and_inverse_leaves_values(spark):
    """Each feature to its bounds, in every kind of column; infinities too, but neither null nor NaN."""
    rows = [[-1.0, 3.0, 0.0], [50.0, 0.0, -60.0], [np.inf, -np.inf, 60.0], [None, np.nan, 5.0]]
    names = ["array", "dense", "sparse", *NAMES]
    columns = [FeatureColumn(n, "array" if n == "array" else "vector", size=3) for n in names[:3]]
    columns += [FeatureColumn(n, "scalar", size=1) for n in NAMES]
    model = with_params(learned(WinsorizerModel(), np.hstack([ROWS] * 4), *columns), lower=0.1, upper=0.8)
    df = frame(spark, rows)

    scaled = model.transform(df)
    restored = model.inverse().setOutputCols([f"{n}_back" for n in names]).transform(scaled)
    values = values_of(restored, [f"{n}_{suffix}" for suffix in ("scaled", "back") for n in names], 3)

    expected = [[10.0, 0.0, 0.0], [50.0, 0.0, -41.0], [80.0, 0.0, 29.0], [np.nan, np.nan, 5.0]]
    np.testing.assert_array_equal(values, np.tile(expected, 8))
    assert {type(row[0]).__name__ for row in scaled.select("sparse_scaled").collect()} == {"DenseVector"}
