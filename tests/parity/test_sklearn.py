"""The same results as scikit-learn, once ``ddof=0`` and ``handleConstant="unit"`` are chosen."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn import preprocessing

import sparkscale
from strategies import frame, values_of

FEATURES = 6
COLUMNS = ["array", "dense", "sparse", *(f"s{i}" for i in range(FEATURES))]
PAIRS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *(
        ("StandardScaler", {"with_mean": m, "with_std": s}, {"withMean": m, "withStd": s, "ddof": 0})
        for m, s in product((False, True), repeat=2)
    ),
    *(
        ("MinMaxScaler", {"feature_range": (low, high), "clip": clip}, {"min": low, "max": high, "clip": clip})
        for (low, high), clip in product(((0.0, 1.0), (-3.0, 7.5)), (False, True))
    ),
    ("MaxAbsScaler", {}, {}),
]
every_pair = pytest.mark.parametrize(
    ("name", "theirs", "ours"), PAIRS, ids=[f"{n}-{'-'.join(map(str, t.values()))}" for n, t, _ in PAIRS]
)


def _matrix(seed: int, rows: int) -> np.ndarray:
    """Return features of several sizes: plain, with NaN, constant, zero, far from 0, and nothing but NaN."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, FEATURES)) * [1.0, 5.0, 0.0, 0.0, 1e-2, 1.0] + [0.0, -3.0, 4.25, 0.0, 1e3, 0.0]
    values[::3, 1] = np.nan
    values[:, 5] = np.nan
    return values


FITTED, FRESH = _matrix(0, 60), _matrix(1, 20) * 1.7
WEIGHTS = np.random.default_rng(2).random(60) + 0.1


@pytest.fixture(scope="module")
def fitted_frame(spark: SparkSession) -> DataFrame:
    return frame(spark, FITTED.tolist(), FEATURES, row_weights=WEIGHTS.tolist()).cache()


@pytest.fixture(scope="module")
def fresh_frame(spark: SparkSession) -> DataFrame:
    return frame(spark, FRESH.tolist(), FEATURES).cache()


def assert_alike(expected: np.ndarray, found: np.ndarray) -> None:
    """Equal to 1e-12 of the values of the feature, in each kind of column."""
    size = np.nanmax(np.abs(np.nan_to_num(expected)), axis=0)
    for k in range(len(found[0]) // FEATURES):
        actual = found[:, k * FEATURES : (k + 1) * FEATURES]
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        assert np.nanmax(np.abs(actual - expected) / np.maximum(size, 1.0)) <= 1e-12


def reference(name: str, params: dict[str, Any], row_weights: np.ndarray | None = None) -> Any:
    scaler = getattr(preprocessing, name)(**params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own about the feature that is nothing but NaN
        return scaler.fit(FITTED) if row_weights is None else scaler.fit(FITTED, sample_weight=row_weights)


@every_pair
def test_same_transform_and_inverse(
    fitted_frame: DataFrame, fresh_frame: DataFrame, name: str, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    """Data that fit did not see map, and come back, as in scikit-learn, NaN and constants included."""
    expected = reference(name, theirs)

    model = getattr(sparkscale, name)(inputCols=COLUMNS, handleConstant="unit", **ours).fit(fitted_frame)

    scaled = model.transform(fresh_frame)
    assert_alike(expected.transform(FRESH), values_of(scaled, model.getOutputCols(), FEATURES))
    back = model.inverseTransform(scaled.drop(*COLUMNS))
    assert_alike(expected.inverse_transform(expected.transform(FRESH)), values_of(back, COLUMNS, FEATURES))


@pytest.mark.parametrize(("with_mean", "with_std"), [(True, True), (False, True), (True, False)])
def test_same_sample_weights(fitted_frame: DataFrame, fresh_frame: DataFrame, with_mean: bool, with_std: bool) -> None:
    """``weightCol`` is ``sample_weight``."""
    expected = reference("StandardScaler", {"with_mean": with_mean, "with_std": with_std}, WEIGHTS)
    scaler = sparkscale.StandardScaler(
        inputCols=COLUMNS, withMean=with_mean, withStd=with_std, ddof=0, handleConstant="unit", weightCol="w"
    )

    model = scaler.fit(fitted_frame)

    assert_alike(expected.transform(FRESH), values_of(model.transform(fresh_frame), model.getOutputCols(), FEATURES))


def test_same_attributes(fitted_frame: DataFrame) -> None:
    """Means, variances, extrema and counts are scikit-learn's."""
    standard, extrema = reference("StandardScaler", {}), reference("MinMaxScaler", {})
    ours = sparkscale.StandardScaler(inputCol="array", ddof=0).fit(fitted_frame)
    ranges = sparkscale.MinMaxScaler(inputCol="array").fit(fitted_frame)

    np.testing.assert_allclose(ours.mean.toArray()[:5], standard.mean_[:5], rtol=1e-12)
    np.testing.assert_allclose(ours.std.toArray()[:5] ** 2, standard.var_[:5], rtol=1e-11, atol=1e-25)
    np.testing.assert_array_equal(ours.statistics.count, standard.n_samples_seen_)
    np.testing.assert_array_equal(ranges.originalMin.toArray(), extrema.data_min_)
    np.testing.assert_array_equal(ranges.originalMax.toArray(), extrema.data_max_)


def test_partial_fit_is_update(spark: SparkSession, fitted_frame: DataFrame, fresh_frame: DataFrame) -> None:
    """``partial_fit`` on more data is ``update``."""
    expected = reference("StandardScaler", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected.partial_fit(FRESH)
    scaler = sparkscale.StandardScaler(inputCols=COLUMNS, withMean=True, ddof=0, handleConstant="unit")

    model = scaler.fit(fitted_frame).update(fresh_frame)

    assert_alike(expected.transform(FRESH), values_of(model.transform(fresh_frame), model.getOutputCols(), FEATURES))
