"""PowerTransformer: lambdas within and beyond the grid, what further scans add, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frames import frame
from models import learned, with_params
from sparkscale import PowerTransformer, PowerTransformerModel
from sparkscale.curves import PowerCurve
from sparkscale.errors import InvalidValueError, ParamError, RangeOverflowError
from sparkscale.scalers._powers import Refined, refined
from sparkscale.spark import storage
from sparkscale.statistics import BoxCoxMoments, Likelihood, Moments, YeoJohnsonMoments
from store import Store
from strategies import dense
from test_powers import likelihood

RNG = np.random.default_rng(11)
YEARS = np.round(1990 + RNG.gamma(4.0, 4.0, 300))
HARD = {  # with optima beyond the grid, or where it is coarse
    "years": YEARS,
    "five years": np.array([2003.0, 1950.0, 1997.0, 2000.0, 2009.0]),
    "small": RNG.beta(1.0, 200.0, 300),
    "small and negative": -RNG.beta(1.0, 200.0, 300),
    "wide": 10.0 ** RNG.uniform(-300.0, 300.0, 300),
    "two sides": RNG.exponential(0.02, 300) - 0.005,
}
ROWS = np.array([[1.0, 5.0], [2.0, 0.5], [4.0, 7.0], [8.0, 5.0], [10.0, 9.0]])


def scanned(likelihood_: Likelihood, kind: Any, x: np.ndarray) -> Any:
    """Return a scan of values in memory."""

    def scan(values: np.ndarray) -> list[Moments]:
        results = []
        for lambdas in values:
            form = likelihood_.standardized(lambdas)
            curve = PowerCurve(False, kind.shift, form.exponent, form.origin, form.factor, form.offset)
            results.append(Moments.of(dense(curve.apply(x))))
        return results

    return scan


@pytest.mark.parametrize("name", HARD)
def test_further_scans_find_optima_that_the_grid_does_not_show(name):
    """Of a likelihood larger than those next to it, in higher precision."""
    x = HARD[name]
    for kind in (YeoJohnsonMoments, BoxCoxMoments)[: 2 if x.min() > 0 else 1]:
        first = Likelihood(kind.of(dense(x[:, None])))
        result = refined(first, None, scanned(first, kind, x[:, None]))
        best = result.lambdas[0]
        if np.isnan(first.best()[0]):
            assert abs(best) > 10
        steps = best + np.array([-1.0, 0.0, 1.0]) * (1e-5 if name == "wide" else 1e-3 * (1 + abs(best)))
        below, at, above = likelihood(kind, x, steps)
        assert at > max(below, above)
        form = first.standardized(result.lambdas)
        curve = PowerCurve(False, kind.shift, form.exponent, form.origin, form.factor, form.offset)
        z = (curve.apply(x[:, None]) - result.mean) / result.std
        assert (z.mean(), z.std()) == pytest.approx((0.0, 1.0), abs=1e-12)


def test_an_optimum_out_of_reach_is_not_guessed():
    """Values that differ by 1e-6 of their size would need lambdas of some hundred thousands."""
    x = 1e9 + RNG.exponential(size=200)[:, None] * 1e3
    first = Likelihood(BoxCoxMoments.of(dense(x)))
    assert np.isnan(refined(first, None, scanned(first, BoxCoxMoments, x)).lambdas[0])


def test_refined_numbers_are_saved():
    numbers = Refined(np.array([1.5]), np.array([0.1]), np.array([2.0]))
    assert Refined.from_json(numbers.to_json(), 1).to_json() == numbers.to_json()
    for broken in (
        {},
        {"lambdas": [1.0]},
        {**numbers.to_json(), "std": [1.0, 2.0]},
        {**numbers.to_json(), "std": ["x"]},
    ):
        with pytest.raises(storage.MalformedError):
            Refined.from_json(broken, 1)


@pytest.mark.core
def test_models_of_statistics_alone():
    """As after merge and update: lambdas and moments are interpolated."""
    model = learned(PowerTransformerModel(), ROWS.tolist(), "x", "y")
    z = model.map.apply(ROWS)

    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(model.inverse().map.apply(z), ROWS, rtol=1e-9)
    plain = with_params(model, standardize=False)
    y = plain.map.apply(ROWS)
    np.testing.assert_allclose((y - model.mean.toArray()) / model.std.toArray(), z, rtol=1e-9)
    assert list(model.summary().columns[2:5]) == ["lambdas", "mean", "std"]
    np.testing.assert_allclose(with_params(plain, fillInvalid="center")._fill(), model.mean, rtol=1e-9)
    np.testing.assert_allclose(with_params(model, fillInvalid="center")._fill(), 0.0, atol=1e-9)


@pytest.mark.core
def test_constant_and_empty_features():
    model = learned(PowerTransformerModel(), [[3.0, np.nan, 1.0], [3.0, np.nan, 2.0]], "c", "e", "x")

    assert (model.constantFeatures, model.emptyFeatures) == (["c"], ["e"])
    assert model.lambdas[0] == 1.0
    np.testing.assert_array_equal(model.map.apply([[3.0, 1.0, 1.0]])[0, :2], [0.0, np.nan])


@pytest.mark.core
def test_what_cannot_be_transformed_is_refused():
    positive = PowerTransformerModel().setMethod("box-cox")
    with pytest.raises(InvalidValueError, match=r"'y' holds -3.0, and Box-Cox transforms are of positive values"):
        learned(positive, [[1.0, 2.0], [2.0, -3.0], [4.0, 0.0]], "x", "y").map  # noqa: B018
    narrow = learned(PowerTransformerModel(), YEARS[:, None].tolist(), "year")
    with pytest.raises(ParamError, match=r"lambda of 'year' is not inside of -12.7 to 12.7, which statistics show"):
        narrow.map  # noqa: B018
    model = learned(PowerTransformerModel(), ROWS.tolist(), "x", "y")
    with pytest.raises(ParamError, match="method is 'box-cox', and fit used the other one"):
        with_params(model, method="box-cox").map  # noqa: B018
    huge = learned(PowerTransformerModel().setStandardize(False), [[1e300], [1e-5], [1e299], [1e301]], "x")
    huge._fixed = np.array([2.0])
    with pytest.raises(RangeOverflowError, match="the transform of 'x' is not representable as a double"):
        huge.map  # noqa: B018


@pytest.mark.core
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "log"}, "method must be one of 'yeo-johnson', 'box-cox'"),
        ({"lambdas": []}, "lambdas must be finite numbers"),
        ({"lambdas": [np.inf]}, "lambdas must be finite numbers. Got .inf"),
    ],
    ids=str,
)
def test_bad_params_are_refused(params, message):
    with pytest.raises(ParamError, match=message):
        PowerTransformer(inputCol="x", **params)._check_params()


@pytest.mark.core
def test_models_of_given_numbers():
    model = PowerTransformerModel.of(inputCols=["a", "b"], lambdas=[0.5, 2.0], mean=[0.0, 1.0], std=[1.0, 0.0])

    np.testing.assert_allclose(model.map.apply([[3.0, 3.0]]), [[2.0, 6.5]])
    assert model.constantFeatures == ["b"]
    assert "lambdas" in model._repr_html_()
    with pytest.raises(ParamError, match="these Params need mean"):
        PowerTransformerModel.of(inputCol="a", lambdas=0.5)
    plain = PowerTransformerModel.of(inputCol="a", lambdas=0.5, method="box-cox", standardize=False)
    assert plain.map.apply([[4.0]]).tolist() == [[2.0]]
    store = Store()
    model.write().session(store).save("given")
    assert PowerTransformerModel.read().session(store).load("given").map == model.map


@pytest.mark.core
def test_given_lambdas_stay_in_merged_and_loaded_models():
    """And models of different ones do not merge."""
    first, second = (learned(PowerTransformerModel(), ROWS.tolist(), "x", "y") for _ in range(2))
    first._fixed = np.array([0.5, 2.0])
    assert first.lambdas.toArray().tolist() == [0.5, 2.0]
    for one, other in ((first, second), (second, first)):
        with pytest.raises(ParamError, match="fitted with different lambdas"):
            one.merge(other)
    second._fixed = np.array([0.5, 2.0])
    assert first.merge(second).lambdas.toArray().tolist() == [0.5, 2.0]
    store = Store()
    first._refined = Refined(first._fixed, np.array([0.1, 0.2]), np.array([1.0, 1.1]))
    first._computed = {}
    first.write().session(store).save("model")
    loaded = PowerTransformerModel.read().session(store).load("model")
    assert loaded.map == first.map
    assert loaded.merge(loaded).lambdas.toArray().tolist() == [0.5, 2.0]
    assert loaded.merge(loaded)._refined is None


@pytest.fixture(scope="module")
def df(spark):
    """A feature inside of the grid, one beyond it, and one of both signs."""
    rows = [
        [float(a), float(b), float(c)]
        for a, b, c in zip(RNG.gamma(2.0, size=300), YEARS, RNG.normal(size=300), strict=True)
    ]
    return frame(spark, rows, 3).cache()


@pytest.mark.core
def test_fit_looks_beyond_the_grid(df):
    """In three more scans; on scalars and arrays alike."""
    model = PowerTransformer(inputCols=["s0", "s1", "s2", "array"]).fit(df)
    values = np.array([r.array for r in df.orderBy("id").select("array").collect()])
    z = model.map.apply(np.hstack([values, values]))

    np.testing.assert_allclose(model.lambdas.toArray()[:3], model.lambdas.toArray()[3:], rtol=1e-9)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=1e-9)
    best = model.lambdas[1]
    below, at, above = likelihood(YeoJohnsonMoments, values[:, 1], best + np.array([-0.1, 0.0, 0.1]))
    assert at > max(below, above)
    with pytest.raises(ParamError, match="lambda of 's1', 'array_1' is not inside"):
        model.merge(model)


def test_fit_takes_lambdas_and_box_cox(df):
    """One for all features, or one for each; skipped rows do not count."""
    model = PowerTransformer(inputCol="array", lambdas=[0.5], handleInvalid="skip").fit(df)
    assert model.lambdas.toArray().tolist() == [0.5, 0.5, 0.5]
    plain = PowerTransformer(inputCols=["s0", "s1"], lambdas=[0.5, -40.0], method="box-cox", standardize=False).fit(df)
    assert plain.lambdas.toArray().tolist() == [0.5, -40.0]
    for names, lambdas in ((["s0", "s1"], [1.0, 2.0, 3.0]), (["array"], [1.0, 2.0])):
        with pytest.raises(ParamError, match=rf"lambdas has {len(lambdas)} numbers"):
            PowerTransformer(inputCols=names, lambdas=lambdas).fit(df)
    with pytest.raises(InvalidValueError, match="'s2' holds -"):
        PowerTransformer(inputCols=["s2"], method="box-cox").fit(df)


def test_masks_and_skipped_rows_do_not_count_in_further_scans(spark, df):
    """The mean and variance are of the values that are not masked, and of the rows that fit takes."""
    rows = [(float(b), [float(b), -1.0], None if i == 7 else 1.0 + i % 2) for i, b in enumerate([*YEARS, -1.0])]
    years = spark.createDataFrame(rows, "x double, a array<double>, y double")
    masked = PowerTransformer(inputCols=["x", "a"], maskValue=-1.0).fit(years)
    skipping = PowerTransformer(inputCols=["x", "y"], handleInvalid="skip").fit(years.where("x > 0"))

    exact = PowerTransformer(inputCol="s1").fit(df)
    for model in (masked, skipping):
        np.testing.assert_allclose(model.lambdas[0], exact.lambdas[0], rtol=0.05)
    z = masked.map.apply(np.repeat(YEARS[:, None], 3, axis=1))
    np.testing.assert_allclose([z[:, 0].mean(), z[:, 0].std()], [0.0, 1.0], atol=1e-9)
    assert masked.update(years.where("x < -5")).map == masked.map


def test_lambdas_beyond_the_grid_need_moments_to_standardize():
    """Without them mean and std are unknown, whatever was computed before."""
    model = learned(PowerTransformerModel(), np.linspace(0.1, 1.5, 50)[:, None].tolist(), "x").setStandardize(False)
    model._fixed = np.array([20.0])

    assert np.isnan(model.mean[0])
    assert np.isfinite(model.map.apply([1.0])).all()
    with pytest.raises(ParamError, match="lambda of 'x' is not inside of"):
        model.setStandardize(True).map  # noqa: B018
    tiny = {"inputCol": "x", "lambdas": 1.0, "mean": 0.0, "std": 1e-320}
    with pytest.raises(RangeOverflowError, match="the std of 'x' is too small"):
        PowerTransformerModel.of(**tiny)
