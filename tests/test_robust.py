"""RobustScaler beyond what every scaler has: its Params, what it makes of ranges of 0, and fits of many values."""

from __future__ import annotations

import numpy as np
import pytest

from models import learned, with_params
from sparkscale import RobustScaler, RobustScalerModel, WinsorizerModel
from sparkscale.errors import ParamError, RangeOverflowError
from sparkscale.spark import arrow, storage
from sparkscale.spark.fit import merging, scan
from sparkscale.statistics import Quantiles, quantiles
from store import Store

ROWS = [[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [4.0, 5.0], [100.0, 7.0]]


def of_error(error: float) -> RobustScalerModel:
    """Return a model of these rows that was fitted with a relative error."""
    model = learned(RobustScalerModel(), ROWS, "x", "y")
    model._learn(model._columns, Quantiles.within(error).from_arrays(model.statistics.arrays()), skips=False)
    return model.setRelativeError(error)


@pytest.fixture
def model() -> RobustScalerModel:
    """Fitted on a feature with an outlier, and one of which the quartiles are equal."""
    return learned(RobustScalerModel(), ROWS, "x", "y")


@pytest.mark.core
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lower": 0.75, "upper": 0.25}, "lower must be less than upper"),
        ({"lower": 0.5, "upper": 0.5}, "lower must be less than upper"),
        ({"lower": -0.1}, "both from 0 to 1. Got lower=-0.1, upper=0.75"),
        ({"upper": 1.5}, "both from 0 to 1"),
        ({"lower": float("nan")}, "lower must be less than upper"),
        ({"relativeError": -1e-3}, "relativeError must be from 0 to 1. Got -0.001"),
        ({"relativeError": float("nan")}, "relativeError must be from 0 to 1"),
        ({"interpolation": "cubic"}, "interpolation must be one of 'none', 'linear'. Got 'cubic'"),
        ({"lower": 0.0, "unitVariance": True}, "unitVariance needs lower and upper between 0 and 1"),
        ({"upper": 1.0, "unitVariance": True}, "unitVariance needs lower and upper between 0 and 1"),
    ],
    ids=str,
)
def test_bad_values_are_refused(model, params, message):
    """By fit before it looks at the data, and by a model."""
    with pytest.raises(ParamError, match=message):
        RobustScaler(inputCol="x", **params)._check_params()
    with pytest.raises(ParamError, match=message):
        with_params(model, **params).affine  # noqa: B018


@pytest.mark.core
def test_quantiles_are_values_or_interpolated(model):
    """As in Spark by default, or as in scikit-learn."""
    quantiles = np.quantile(np.array(ROWS), [0.1, 0.5, 0.7], axis=0)
    linear = with_params(model, interpolation="linear", lower=0.1, upper=0.7)

    assert (model.median.toArray().tolist(), model.range.toArray().tolist()) == ([3.0, 5.0], [3.0, 0.0])
    np.testing.assert_allclose(linear.median.toArray(), quantiles[1])
    np.testing.assert_allclose(linear.range.toArray(), quantiles[2] - quantiles[0])


@pytest.mark.core
def test_a_range_of_0_follows_handle_constant(model):
    """What collapses comes back as the median; unit takes 1 for the range."""
    centred = with_params(model, withCentering=True)
    unit = with_params(centred, handleConstant="unit")
    variance = with_params(unit, unitVariance=True)

    assert model.constantFeatures == ["y"]
    assert centred.affine.apply([100.0, 7.0]).tolist() == [97.0 / 3.0, 0.0]
    assert model.affine.inverse().apply([1.0, 0.0]).tolist() == [3.0, 5.0]
    assert unit.affine.apply([100.0, 7.0]).tolist() == [97.0 / 3.0, 2.0]
    assert variance.affine.scale[1] == pytest.approx(1.0 / 1.3489795003921634)


@pytest.mark.core
def test_a_feature_that_collapses_is_refused_if_its_values_are_too_far_apart():
    """Their differences from the median are no doubles."""
    model = learned(RobustScalerModel(), [[1e308], *[[-1.7e308]] * 4], "x")

    with pytest.raises(RangeOverflowError, match="'x'"):
        model.affine  # noqa: B018
    assert with_params(model, handleConstant="unit").affine.scale.tolist() == [1.0]


@pytest.mark.core
def test_unit_variance_gives_normal_data_a_variance_of_1():
    """Whatever the quantiles, also with outliers."""
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(3.0, 7.0, 100_000), np.full(100, 1e6))[:, None]
    model = RobustScalerModel().setInputCols(["x"])
    fitted = learned(model, values, "x")

    for lower, upper in ((0.25, 0.75), (0.05, 0.6)):
        scaled = with_params(fitted, unitVariance=True, lower=lower, upper=upper).affine.apply(values[:100_000])
        assert scaled.std() == pytest.approx(1.0, rel=0.02)


@pytest.mark.core
def test_only_models_of_one_relative_error_merge():
    """Else the result would be less exact than it says."""
    with pytest.raises(
        ParamError, match=r"different values of relativeError, 0\.001 and 0\.01\. Fit them with the same"
    ):
        of_error(0.001).merge(of_error(0.01))
    with pytest.raises(ParamError, match="cannot merge with WinsorizerModel"):
        of_error(0.001).merge(learned(WinsorizerModel(), ROWS, "x", "y"))


@pytest.mark.core
def test_a_relative_error_that_is_set_after_fit_is_refused():
    """What was not kept cannot be had again."""
    model = of_error(0.01).setRelativeError(0.0)

    for use in (lambda: model.affine, model.toSQL, model.summary):
        with pytest.raises(ParamError, match=r"relativeError is 0\.0, and fit used 0\.01\. Set it back, or fit again"):
            use()
    assert model.setRelativeError(0.01).affine == of_error(0.01).affine


@pytest.mark.core
@pytest.mark.parametrize("error", [0.001, 0.01, 0.0])
def test_the_relative_error_of_fit_is_saved(error):
    """A model that was loaded merges with one that was not."""
    model, store = of_error(error), Store()
    model.write().session(store).save("model")

    loaded = RobustScalerModel.read().session(store).load("model")

    assert type(loaded.statistics) is type(model.statistics)
    assert loaded.merge(model).count == 10


@pytest.mark.core
@pytest.mark.parametrize("error", [-1.0, 1.5, float("nan"), "0.1", None])
def test_a_saved_relative_error_out_of_range_is_refused(error):
    """It would make another statistic of the levels."""
    extra, _ = learned(RobustScalerModel(), ROWS, "x", "y")._saved()

    with pytest.raises(storage.MalformedError, match="relativeError"):
        RobustScalerModel._saved_form({**extra, "relativeError": error})


@pytest.mark.parametrize("way", ["driver", "executors", "both"])
def test_fit_of_many_values(spark, monkeypatch, way):
    """Merged on the driver or, feature by feature, on executors; tasks say if they hold too much for the driver."""
    monkeypatch.setattr(scan, "DRIVER_BYTES", {"driver": 1 << 60, "executors": 0, "both": 50_000}[way])
    if way == "both":  # as if fewer numbers were expected
        monkeypatch.setattr(scan, "USUAL_PARTITIONS", 1)
        monkeypatch.setattr(quantiles, "USUAL_VALUES", 1)
    monkeypatch.setattr(merging, "FAN_IN", 2)
    collected, original = [], arrow.collect
    monkeypatch.setattr(arrow, "collect", lambda rows: collected.append(original(rows)) or collected[-1])
    df = spark.range(0, 40_000, 1, 4).selectExpr(
        "double(id * 7919 % 40000) AS x",
        "transform(sequence(0, 17), i -> IF(id % 5 = 0, NULL, double(id * 7919 % 40000))) AS a",
    )
    model = RobustScaler(inputCols=["x", "a"]).fit(df)

    median, range_ = model.median.toArray(), model.range.toArray()
    assert len(collected) == {"driver": 1, "executors": 1, "both": 2}[way]
    assert model.invalidCounts == [0, *[8000] * 18]
    assert np.abs(median / 40_000 - 0.5).max() <= 0.001
    assert np.abs(range_ / 40_000 - 0.5).max() <= 0.002
    assert set(median[1:].tolist()) == {median[1]}
