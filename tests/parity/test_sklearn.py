"""The same results as scikit-learn, once ``ddof=0`` and ``handleConstant="unit"`` are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

import sklearn_numbers
import sparkscale
from frames import frame, values_of
from models import learned, with_params
from sklearn_numbers import FEATURES, POWERS, SCALERS, WEIGHTED
from sparkscale.statistics import Quantiles
from strategies import sparse
from test_powers import likelihood

GIVEN, EXPECTED = sklearn_numbers.read()
COLUMNS = ["array", "dense", "sparse", *(f"s{i}" for i in range(FEATURES))]
ARRAY = slice(FEATURES)  # the features of the first column


def same_params(theirs: dict[str, Any]) -> dict[str, Any]:
    """Return what scikit-learn's parameters are called here."""
    if "with_mean" in theirs:
        return {"withMean": theirs["with_mean"], "withStd": theirs["with_std"]}
    if "feature_range" in theirs:
        low, high = theirs["feature_range"]
        return {"min": low, "max": high, "clip": theirs["clip"]}
    if "with_centering" in theirs:
        return {"withCentering": theirs["with_centering"], "withScaling": theirs["with_scaling"]}
    if "quantile_range" in theirs:
        low, high = theirs["quantile_range"]
        return {"lower": low / 100, "upper": high / 100, "unitVariance": theirs["unit_variance"]}
    return theirs


@pytest.fixture(scope="module")
def fitted_frame(spark: SparkSession) -> DataFrame:
    return frame(spark, GIVEN["fitted"].tolist(), FEATURES, row_weights=GIVEN["weights"].tolist())


@pytest.fixture(scope="module")
def fresh_frame(spark: SparkSession) -> DataFrame:
    return frame(spark, GIVEN["fresh"].tolist(), FEATURES)


@pytest.fixture(scope="module")
def models(fitted_frame: DataFrame) -> dict[str, Any]:
    """Models of the defaults, but for those that differ from scikit-learn's, by the scaler's name."""
    params: dict[str, Any] = {"inputCols": COLUMNS, "handleConstant": "unit"}
    scalers = {
        "StandardScaler": sparkscale.StandardScaler(ddof=0, withMean=True, **params),
        "MinMaxScaler": sparkscale.MinMaxScaler(**params),
        "MaxAbsScaler": sparkscale.MaxAbsScaler(**params),
        "RobustScaler": sparkscale.RobustScaler(withCentering=True, interpolation="linear", **params),
    }
    return {name: scaler.fit(fitted_frame) for name, scaler in scalers.items()}


def assert_alike(expected: np.ndarray, actual: np.ndarray) -> None:
    """Equal to 1e-12 of the values of the feature, in each kind of column."""
    size = np.nanmax(np.abs(np.nan_to_num(expected)), axis=0)
    for k in range(len(actual[0]) // FEATURES):
        of_kind = actual[:, k * FEATURES : (k + 1) * FEATURES]
        np.testing.assert_array_equal(np.isnan(of_kind), np.isnan(expected))
        assert np.nanmax(np.abs(of_kind - expected) / np.maximum(size, 1.0)) <= 1e-12


@pytest.mark.third_party
def test_the_numbers_are_still_scikit_learns() -> None:
    """Of the version that is installed, on what is kept as its input."""
    computed = sklearn_numbers.outputs(GIVEN)

    np.testing.assert_equal(sklearn_numbers.inputs(), GIVEN)
    assert computed.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("case", SCALERS)
def test_same_transform_and_inverse(models: dict[str, Any], fresh_frame: DataFrame, case: str) -> None:
    """Data that fit did not see map, and come back, as in scikit-learn, NaN and constants included."""
    name, theirs = SCALERS[case]
    model = with_params(models[name], **same_params(theirs))

    both = model.inverseTransform(model.transform(fresh_frame), outputCols=COLUMNS)  # in place of what was scaled

    values = values_of(both, [*model.getOutputCols(), *COLUMNS], FEATURES)
    scaled, restored = np.hsplit(values, 2)
    assert_alike(EXPECTED[f"scaled {case}"], scaled)
    assert_alike(EXPECTED[f"restored {case}"], restored)


def test_same_sample_weights(fitted_frame: DataFrame, fresh_frame: DataFrame) -> None:
    """``weightCol`` is ``sample_weight``."""
    scaler = sparkscale.StandardScaler(inputCols=COLUMNS, ddof=0, handleConstant="unit", weightCol="w")
    model = scaler.fit(fitted_frame)
    outputs: dict[tuple[bool, bool], list[str]] = {}

    scaled = fresh_frame
    for mean, std in WEIGHTED:
        outputs[mean, std] = [f"{name}_{mean}_{std}" for name in COLUMNS]
        params = {"withMean": mean, "withStd": std, "outputCols": outputs[mean, std]}
        scaled = with_params(model, **params).transform(scaled)

    values = values_of(scaled, [name for names in outputs.values() for name in names], FEATURES)
    for (mean, std), actual in zip(WEIGHTED, np.hsplit(values, len(WEIGHTED)), strict=True):
        assert_alike(EXPECTED[f"weighted {mean} {std}"], actual)


def test_same_attributes(models: dict[str, Any]) -> None:
    """Means, variances, extrema, quantiles and counts are scikit-learn's."""
    ours, ranges, robust = models["StandardScaler"], models["MinMaxScaler"], models["RobustScaler"]

    np.testing.assert_allclose(ours.mean.toArray()[:5], EXPECTED["mean"][:5], rtol=1e-12)
    np.testing.assert_allclose(ours.std.toArray()[:5] ** 2, EXPECTED["variance"][:5], rtol=1e-11, atol=1e-25)
    np.testing.assert_array_equal(ours.statistics.count[ARRAY], EXPECTED["count"])
    np.testing.assert_allclose(robust.median.toArray()[ARRAY], EXPECTED["center"], rtol=1e-15)
    np.testing.assert_allclose(robust.affine.scale[ARRAY], EXPECTED["scale"], rtol=1e-13)
    np.testing.assert_array_equal(ranges.originalMin.toArray()[ARRAY], EXPECTED["min"])
    np.testing.assert_array_equal(ranges.originalMax.toArray()[ARRAY], EXPECTED["max"])


def test_partial_fit_is_update(models: dict[str, Any], fresh_frame: DataFrame) -> None:
    """``partial_fit`` on more data is ``update``."""
    model = models["StandardScaler"].update(fresh_frame)

    scaled = values_of(model.transform(fresh_frame), model.getOutputCols(), FEATURES)

    assert_alike(EXPECTED["updated"], scaled)


@pytest.mark.third_party
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("quantiles", [(25.0, 75.0), (10.0, 90.0), (5.0, 60.0), (0.0, 100.0)], ids=str)
@pytest.mark.parametrize("signs", [(-1.0, 1.0), (1.0,), (-1.0,), (0.0,)], ids=str)
@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 0.5, 1.0])
def test_robust_scaling_of_any_density(
    density: float, signs: tuple[float, ...], quantiles: tuple[float, float], is_sparse: bool
) -> None:
    """Stored zeros or not, as long as all values are kept."""
    from scipy.sparse import csc_matrix
    from sklearn.preprocessing import RobustScaler

    rng = np.random.default_rng(int(100 * density))
    values = rng.random((300, 5)) * rng.choice(signs, size=(300, 5)) * (rng.random((300, 5)) < density)
    theirs = RobustScaler(quantile_range=quantiles, with_centering=not is_sparse)
    theirs.fit(csc_matrix(values) if is_sparse else values)
    model = learned(sparkscale.RobustScalerModel(), values, *map(str, range(5)))
    if is_sparse:
        model._learn(model._columns, Quantiles.of(sparse(values)), skips=False)
    params = {"lower": quantiles[0] / 100, "upper": quantiles[1] / 100, "withCentering": not is_sparse}
    model = with_params(model, interpolation="linear", handleConstant="unit", **params)

    np.testing.assert_allclose(model.affine.scale, theirs.scale_, rtol=1e-12)
    np.testing.assert_allclose(model.affine.apply(values), theirs.transform(values), rtol=1e-12, atol=1e-14)


@pytest.mark.third_party
@pytest.mark.parametrize("unit_variance", [False, True])
def test_robust_scaling_of_iris(unit_variance: bool) -> None:
    """Median 0, and the quantiles as far apart as those of the normal distribution, or 1."""
    from sklearn import datasets
    from sklearn.preprocessing import RobustScaler

    values = datasets.load_iris().data
    theirs = RobustScaler(quantile_range=(10.0, 90.0), unit_variance=unit_variance).fit(values)
    model = learned(sparkscale.RobustScalerModel(), values, *map(str, range(4)))
    params = {"lower": 0.1, "upper": 0.9, "withCentering": True, "unitVariance": unit_variance}
    model = with_params(model, interpolation="linear", handleConstant="unit", **params)

    np.testing.assert_allclose(model.affine.apply(values), theirs.transform(values), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("given", POWERS)
def test_same_powers(given: str) -> None:
    """Lambdas to 5e-3, with likelihoods as large to 1e-6, and close results."""
    x, method = GIVEN[given], POWERS[given]
    model = sparkscale.PowerTransformerModel().setMethod(method)
    model = learned(model, x.tolist(), *(f"x{i}" for i in range(x.shape[1])))

    lambdas, theirs = model.lambdas.toArray(), EXPECTED[f"lambdas {method}"]
    np.testing.assert_allclose(lambdas, theirs, atol=5e-3)
    for column, ours, other in zip(x.T, lambdas, theirs, strict=True):
        least, most = likelihood(type(model.statistics), column, np.array([other, ours]))
        assert most > least - 1e-6
    np.testing.assert_allclose(model.map.apply(x), EXPECTED[f"powers {method}"], atol=2e-3)
