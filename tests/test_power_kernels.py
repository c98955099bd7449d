"""Power transforms as functions on arrays, and their curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkscale.curves import PowerCurve
from sparkscale.errors import ParamError
from sparkscale.kernels import inverse_power_transform, power_transform
from sparkscale.statistics import BoxCoxMoments, Likelihood, YeoJohnsonMoments
from strategies import dense

pytestmark = pytest.mark.core

METHODS = ("yeo-johnson", "box-cox")
LAMBDAS = st.one_of(st.floats(-4.0, 4.0), st.sampled_from([0.0, 2.0, 1e-12, 2.0 - 1e-12, -1e-300]))


def expected(x: float, value: float, method: str) -> float:
    """Return the transform by its definition, in higher precision."""
    one, number = np.longdouble(1), np.longdouble(x)
    e = value if x >= 0 or method == "box-cox" else 2.0 - value
    t = np.log(number) if method == "box-cox" else np.log1p(abs(number))
    with np.errstate(all="ignore"):
        y = t if abs(e) < 1e-30 else np.expm1(e * t) / e
    return float(math.copysign(1.0, x) * y * one) if method == "yeo-johnson" else float(y)


@given(st.floats(-1e6, 1e6), LAMBDAS)
def test_yeo_johnson_is_its_definition(x, value):
    y = power_transform([x], [value])[0]
    assert y == pytest.approx(expected(x, value, "yeo-johnson"), rel=1e-12, abs=1e-300)


@given(st.floats(1e-6, 1e6), LAMBDAS)
def test_box_cox_is_its_definition(x, value):
    y = power_transform([x], [value], method="box-cox")[0]
    assert y == pytest.approx(expected(x, value, "box-cox"), rel=1e-12, abs=1e-15)


@given(st.floats(0.01, 100.0), st.floats(-2.0, 3.0), st.sampled_from([1.0, -1.0]))
def test_the_inverse_undoes_the_transform(size, value, sign):
    for x, method in ((size, "box-cox"), (sign * size, "yeo-johnson")):
        y = power_transform([[x]], [value], method=method)
        assert inverse_power_transform(y, [value], method=method)[0, 0] == pytest.approx(x, rel=1e-7)


def test_what_has_no_transform_is_nan():
    """Values that are not positive under Box-Cox, results that no value has, and NaN."""
    assert np.isnan(power_transform([-1.0, 0.0, np.nan], [1.0] * 3, method="box-cox")).all()
    assert np.isnan(power_transform([np.nan], [0.5])).all()
    assert np.isnan(inverse_power_transform([-3.0, 3.0], [0.5, -0.5], method="box-cox")).all()
    assert np.isnan(inverse_power_transform([3.0, -3.0], [-0.5, 2.5])).all()


def test_large_values_neither_overflow_early_nor_lose_their_sign():
    assert power_transform([1e300, -1e300, 1e308, np.inf], [0.5, 1.5, 0.0, 1.0]).tolist() == pytest.approx(
        [2e150, -2e150, 308 * math.log(10), np.inf]
    )
    assert power_transform(np.float32([2.0]), [2.0]).dtype == np.float32


@pytest.mark.parametrize(
    ("lambdas", "method", "message"),
    [
        ([1.0], "yeo-johnson", r"lambdas must be finite numbers, here for \(2,\) features. Got \[1.0\]"),
        ([1.0, np.nan], "box-cox", "Got .1.0, nan"),
        ([[1.0, 1.0]], "box-cox", "Got ..1.0, 1.0"),
        ([1.0, 1.0], "log", "method must be one of 'yeo-johnson', 'box-cox'. Got 'log'"),
    ],
)
def test_bad_arguments_are_refused(lambdas, method, message):
    for kernel in (power_transform, inverse_power_transform):
        with pytest.raises(ParamError, match=message):
            kernel([[1.0, 2.0]], lambdas, method=method)


HARD = {
    "years": [2003.0, 1950.0, 1997.0, 2000.0, 2009.0],
    "narrow": [1e9, 1e9 + 1, 1e9 + 3, 1e9 + 4],
    "large": [1e308, 1.7e308, 1.2e308],
    "negative": [-1e200, -1e201, -3e200, -5e200],
    "tiny": [1e-300, 3e-300, 2e-300, 9e-300],
    "both": [-1e300, 1e300, 1.0, 2.0],
    "mixed": [-2.0, -1.0, 0.0, 0.5, 3.0],
    "constant": [3.0, 3.0],
    "large constant": [1e300, 1e300],
    "negative constant": [-2.0, -2.0],
    "one zero": [0.0, 0.0, -1.0],
}


CASES = [(name, value) for name in HARD for value in (None, 0.0, 2.0, -9.0, 30.0) if value is None or name != "both"]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_standardized_curves_are_safe(name, value):
    """For any lambda, results are finite, in the order of the values, and invertible as far as they differ."""
    x = np.array(HARD[name])[:, None]
    for kind in (YeoJohnsonMoments, BoxCoxMoments)[: 2 if x.min() > 0 else 1]:
        likelihood = Likelihood(kind.of(dense(x)))
        lambdas = np.nan_to_num(likelihood.best(), nan=1.0) if value is None else np.array([value])
        form = likelihood.standardized(lambdas)
        curve = PowerCurve(False, kind.shift, form.exponent, form.origin, form.factor, form.offset)
        y = curve.apply(x)
        if value != 30.0:  # beyond the grid, the scale is only roughly right
            assert np.isfinite(y).all()
            assert (np.diff(y[np.argsort(x[:, 0], kind="stable"), 0]) >= -1e-12).all()
        if value is None:
            assert np.abs(y).max() < 3
            spread = 0.0 if name.endswith("constant") else 1.0
            assert y.std() == pytest.approx(spread, abs=1e-6)
            np.testing.assert_allclose(curve.inverse().apply(y), x, rtol=1e-9, atol=1e-12 * np.abs(x).max())


def test_a_curve_has_sides():
    """It joins and slices as maps of features do, and keeps 0 without an offset."""
    sides = [{"exponent": 0.5, "factor": 1.0}, {"exponent": 1.5, "factor": -1.0}]
    arrays = {n: np.array([[s.get(n, 0.0) for s in sides]]) for n in PowerCurve.names()}
    curve = PowerCurve(False, 1.0, **arrays)
    assert PowerCurve.of(curve.sides) == curve
    assert curve.keeps_zero
    both = PowerCurve.concat([curve, curve])
    assert (len(both), both[:1]) == (2, curve)
    assert both.apply([3.0, -3.0]).tolist() == power_transform([3.0, -3.0], [0.5, 0.5]).tolist()
