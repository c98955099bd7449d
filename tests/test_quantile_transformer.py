"""QuantileTransformer: ranks among quantiles, their normal values, and the way back."""

from __future__ import annotations

from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import learned, with_params
from sparkscale import QuantileTransformer, QuantileTransformerModel
from sparkscale.curves import QuantileCurve
from sparkscale.errors import EmptyDataError, ParamError, SizeMismatchError
from sparkscale.kernels import inverse_quantile_transform, quantile_transform
from sparkscale.statistics import Quantiles

VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False))
SAMPLES = st.lists(VALUES, min_size=1, max_size=12)
LIMIT = NormalDist().inv_cdf(1 - 1e-7)
ROWS = [[1.0, 5.0], [2.0, 5.0], [2.0, 7.0], [4.0, 5.0], [1000.0, 9.0]]


def exact_rank(x: float, quantiles: list[float]) -> Fraction:
    """Return the rank of a value by its definition, in exact arithmetic."""
    last = max(len(quantiles) - 1, 1)
    if x <= quantiles[0]:
        return Fraction(0)
    if x >= quantiles[-1]:
        return Fraction(1)
    equal = [i for i, q in enumerate(quantiles) if q == x]
    if equal:
        return Fraction(equal[0] + equal[-1], 2 * last)
    i = max(i for i, q in enumerate(quantiles) if q < x)
    low, high = Fraction(quantiles[i]), Fraction(quantiles[i + 1])
    return (i + (Fraction(x) - low) / (high - low)) / last


@given(st.lists(VALUES, min_size=2, max_size=12).map(sorted), SAMPLES)
def test_ranks_are_those_of_the_definition(quantiles, values):
    """Also where quantiles are equal, at and beyond the ends, and where differences overflow."""
    ranks = quantile_transform(np.array(values)[:, None], np.array(quantiles)[:, None])

    expected = [float(exact_rank(x, quantiles)) for x in values]
    np.testing.assert_allclose(ranks[:, 0], expected, rtol=1e-9, atol=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30).map(sorted))
def test_the_inverse_undoes_the_ranks(quantiles):
    """For all values between the first and the last quantile, under both distributions."""
    rows = np.linspace(quantiles[0], quantiles[-1], 17)[:, None]
    of_feature, width = np.array(quantiles)[:, None], quantiles[-1] - quantiles[0]
    ranks = quantile_transform(rows, of_feature)
    inside = (ranks > 2e-7) & (ranks < 1 - 2e-7)
    for distribution in ("uniform", "normal"):
        mapped = quantile_transform(rows, of_feature, distribution=distribution)
        restored = inverse_quantile_transform(mapped, of_feature, distribution=distribution)

        np.testing.assert_allclose(restored[inside], rows[inside], rtol=1e-9, atol=1e-9 * width)


def test_normal_values_are_those_of_the_normal_distribution():
    """To the last digits from 1e-7 to 1 - 1e-7, and clipped there."""
    ranks = np.concatenate(
        [np.geomspace(1e-7, 0.4, 200), np.linspace(0.01, 0.99, 199), 1 - np.geomspace(1e-7, 0.4, 200)]
    )
    line = np.array([[0.0], [1.0]])
    values = quantile_transform(ranks[:, None], line, distribution="normal")

    expected = [NormalDist().inv_cdf(p) for p in ranks]
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-12, atol=1e-15)
    ends = quantile_transform([[-1.0], [0.0], [1e-9], [1.0], [2.0]], line, distribution="normal")
    np.testing.assert_allclose(ends[:, 0], [-LIMIT, -LIMIT, -LIMIT, LIMIT, LIMIT], rtol=1e-9)
    inside = np.abs(values[:, 0]) < LIMIT - 1e-6
    back = inverse_quantile_transform(values, line, distribution="normal")
    np.testing.assert_allclose(back[inside, 0], ranks[inside], rtol=1e-9)
    assert inverse_quantile_transform([[-9.0], [9.0]], line, distribution="normal").tolist() == [[0.0], [1.0]]


def test_a_constant_and_nan():
    """A constant maps to 0, what is above it to 1; NaN stays, and of a feature without a value all is NaN."""
    assert quantile_transform([4.0, 5.0, 6.0, np.nan], np.array([[5.0], [5.0]]).repeat(4, 1)).tolist()[:3] == [0, 0, 1]
    assert np.isnan(quantile_transform([np.nan], [[1.0], [2.0]])).all()
    empty = QuantileCurve(False, False, np.full((1, 3), np.nan), np.zeros(1))
    assert np.isnan(empty.apply([1.0])).all()
    assert np.isnan(empty.inverse().apply([0.5])).all()
    single = QuantileCurve(False, False, np.full((1, 3), 5.0), np.zeros(1))
    assert single.apply([[4.0], [5.0], [6.0]]).ravel().tolist() == [0.0, 0.0, 1.0]
    assert single.inverse().apply([[0.0], [0.5], [1.0]]).ravel().tolist() == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("x", "quantiles", "distribution", "message"),
    [
        (
            [1.0, 2.0],
            [[1.0], [2.0]],
            "uniform",
            r"shape \(n_quantiles, n_features\), here for \(2,\) features. Got \(2, 1\)",
        ),
        ([1.0], [1.0, 2.0], "uniform", r"Got \(2,\)"),
        ([1.0], [[2.0], [1.0]], "uniform", "in ascending order"),
        ([1.0], [[np.nan], [1.0]], "uniform", "without NaN"),
        ([1.0], [[1.0], [2.0]], "cauchy", "distribution must be one of 'uniform', 'normal'. Got 'cauchy'"),
    ],
    ids=str,
)
def test_kernels_refuse(x, quantiles, distribution, message):
    for kernel in (quantile_transform, inverse_quantile_transform):
        with pytest.raises(ParamError, match=message):
            kernel(x, quantiles, distribution=distribution)


def test_curves_compare_slice_and_join():
    """As maps of features do."""
    curve = QuantileCurve(False, False, np.array([[0.0, 1.0], [2.0, 4.0]]), np.array([1.0, 1.0]))

    assert len(curve) == 2
    assert QuantileCurve.concat([curve[:1], curve[1:]]) == curve
    assert curve != curve.inverse() != "curve"
    assert curve[np.array([1])].apply([3.0]).tolist() == [0.5]
    assert (curve[:1].keeps_zero, curve[1:].keeps_zero, curve.keeps_zero) == (True, True, True)
    assert not curve.inverse().keeps_zero
    with pytest.raises(SizeMismatchError, match=r"rows of 2 features in the last axis. Got an array of shape \(3,\)"):
        curve.apply([1.0, 2.0, 3.0])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(2, 50))
def test_quantiles_are_those_of_numpy(values, number):
    """And not more than there are values."""
    model = learned(QuantileTransformerModel(), [[v] for v in values], "x").setNQuantiles(number)

    count = min(number, len(values))
    np.testing.assert_allclose(model.references, np.linspace(0, 1, count))
    np.testing.assert_allclose(model.quantiles[:, 0], np.quantile(values, model.references), rtol=1e-12, atol=1e-9)


@given(st.data())
def test_ranks_of_a_sketch_are_within_its_error(data):
    """The distance to the results of all values is at most the relative error, and what the quantiles themselves leave."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).lognormal(0, 2, 4000)
    exact = learned(QuantileTransformerModel(), values[:, None].tolist(), "x")
    sketched = learned(QuantileTransformerModel(), [[1.0]], "x").setRelativeError(0.05)
    chunks = [learned(QuantileTransformerModel(), c[:, None].tolist(), "x").statistics for c in np.split(values, 8)]
    statistic = Quantiles.within(0.05)
    rows = [statistic.from_arrays(c.arrays()) for c in chunks]
    sketched._learn(sketched._columns, rows[0].merge(*rows[1:]), skips=False)

    assert sketched.statistics.held < 600
    distance = np.abs(sketched.map.apply(values[:, None]) - exact.map.apply(values[:, None]))
    assert distance.max() <= 0.05 + 2e-3


def test_bad_params_are_refused():
    """By fit before it looks at the data, and by a model."""
    model = learned(QuantileTransformerModel(), ROWS, "x", "y")
    for params, message in (
        ({"nQuantiles": 1}, "nQuantiles must be at least 2. Got 1"),
        ({"outputDistribution": "cauchy"}, "outputDistribution must be one of 'uniform', 'normal'"),
        ({"relativeError": 2.0}, "relativeError must be from 0 to 1"),
        ({"asOf": "day"}, "asOf is not available: the quantiles of the rows before"),
    ):
        with pytest.raises(ParamError, match=message):
            QuantileTransformer(inputCol="x", **params)._check_params()
        if "relativeError" not in params:
            with pytest.raises(ParamError, match=message):
                with_params(model, **params).map  # noqa: B018
    with pytest.raises(ParamError, match=r"QuantileTransformerModel: the map is not affine. Use map"):
        model.affine  # noqa: B018
    empty = learned(QuantileTransformerModel(), [[np.nan]], "x").setHandleEmpty("error")
    with pytest.raises(EmptyDataError, match="no valid value in 'x'"):
        empty.map  # noqa: B018
