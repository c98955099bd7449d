"""The moments of power transforms merge like sets of rows, and give the lambda of the largest likelihood."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics import BoxCoxMoments, Fold, Likelihood, PowerMoments, YeoJohnsonMoments
from sparkscale.statistics.powers import EXPONENTS

pytestmark = pytest.mark.core

KINDS = (BoxCoxMoments, YeoJohnsonMoments)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
ROWS = 400

NUMBERS = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-3, 3).map(float),
    st.integers(-500, 500).map(lambda k: 2000.0 + k * 1e-3),
    st.sampled_from([1e300, -1e300, 1.7e308, 1e-300, -1e-300, 1e-310, 0.0, -0.0]),
    st.sampled_from([np.nan, np.inf, -np.inf]),
)


def distributions() -> dict[str, np.ndarray]:
    """Return values that are wide and narrow, skewed either way, of one sign and of both."""
    rng = np.random.default_rng(3)
    normal, exponential = rng.normal(size=ROWS), rng.exponential(size=ROWS)
    return {
        "log-normal 0.1": np.exp(0.1 * normal),
        "log-normal 1": np.exp(normal),
        "log-normal 5": np.exp(5 * normal),
        "gamma 0.5": rng.gamma(0.5, size=ROWS),
        "gamma 20": rng.gamma(20.0, size=ROWS),
        "exponential": exponential,
        "uniform": rng.random(ROWS) + 1e-3,
        "beta 2, 5": rng.beta(2.0, 5.0, size=ROWS),
        "beta 5, 1": rng.beta(5.0, 1.0, size=ROWS),
        "counts": rng.poisson(5.0, size=ROWS) + 1.0,
        "bimodal": np.where(rng.random(ROWS) < 0.5, 10.0, 1000.0) + normal,
        "normal 0": normal,
        "normal 5": normal + 5.0,
        "normal 100": 3 * normal + 100.0,
        "negative skew": 5.0 - exponential,
        "negative": -np.exp(normal),
        "Student": rng.standard_t(2.0, size=ROWS),
        "sinh": np.sinh(4 * normal),
        "asymmetric": np.where(rng.random(ROWS) < 0.3, -np.exp(2 * normal), exponential),
        "zeros": np.where(rng.random(ROWS) < 0.7, 0.0, normal),
    }


SCALES = (1e-6, 1e-2, 1.0, 1e6)
VALUES = {f"{name} * {scale:g}": x * scale for name, x in distributions().items() for scale in SCALES}


def sides(kind: Any, x: np.ndarray) -> list[np.ndarray]:
    """Return log u of the values of each side."""
    x = x[np.isfinite(x)].astype(np.longdouble)
    return [np.log(x[x > 0])] if kind is BoxCoxMoments else [np.log1p(x[x >= 0]), np.log1p(-x[x < 0])]


def exact(kind: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and sums of squared deviations of z, in higher precision."""
    results = np.zeros((2, kind.sides, len(EXPONENTS)))
    for side, t in enumerate(sides(kind, x)):
        for k, e in enumerate(EXPONENTS.tolist() if len(t) else []):
            distance = t - (t.max() if e >= 0 else t.min())
            z = np.expm1(e * distance) / e if e else distance
            results[:, side, k] = z.mean(), ((z - z.mean()) ** 2).sum()
    return results[0], results[1]


def likelihood(kind: Any, x: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """Return the likelihood per row by its definition, in higher precision; of one side relative to the mean of log u."""
    ts = sides(kind, x)
    center = 0.0 if min(map(len, ts)) and len(ts) > 1 else np.concatenate(ts).mean()
    results = []
    for value in lambdas:
        ys, jacobian = [], 0.0
        for t, e, sign in zip(ts, (value, 2.0 - value), (1.0, -1.0), strict=False):
            ys.append(sign * (np.expm1(e * (t - center)) / e if e else t - center))
            jacobian += sign * (t - center).sum()
        y = np.concatenate(ys)
        results.append(-0.5 * np.log(np.var(y)) + (value - 1.0) * jacobian / len(y))
    return np.array(results, dtype=np.float64)


def optimum(kind: Any, x: np.ndarray) -> float:
    """Return the lambda of the largest likelihood, to 1e-5."""
    low, high = -12.5, 14.0
    for _ in range(7):
        lambdas = np.linspace(low, high, 21)
        best = int(np.argmax(likelihood(kind, x, lambdas)))
        low, high = lambdas[max(best - 1, 0)], lambdas[min(best + 1, 20)]
    return float((low + high) / 2)


def of(kind: Any, x: Any) -> Any:
    values = np.array(x, dtype=np.float64)
    values.flags.writeable = False
    return kind.of(DenseBlock(values.reshape(len(values), -1)))


def close(actual: PowerMoments, expected: PowerMoments, rtol: float = 1e-12) -> None:
    """Compare statistics: counts and extrema exactly, sums to rounding errors."""
    assert type(actual) is type(expected)
    for name, array in expected.arrays().items():
        if name in ("mean", "m2"):
            np.testing.assert_allclose(getattr(actual, name), array, rtol=rtol, atol=1e-300)
        else:
            np.testing.assert_array_equal(getattr(actual, name), array)


@each_kind
@pytest.mark.parametrize("name", [*distributions()])
def test_moments_are_exact(kind: Any, name: str) -> None:
    """Means and second moments of all exponents agree with those in higher precision."""
    x = distributions()[name]
    statistic = of(kind, x)
    mean, m2 = exact(kind, x)
    np.testing.assert_allclose(statistic.mean[0], mean, rtol=1e-12)
    np.testing.assert_allclose(statistic.m2[0], m2, rtol=2e-11)


@each_kind
def test_moments_of_narrow_data_keep_their_digits(kind: Any) -> None:
    """What is far from 0 and close together loses no more digits than its differences have."""
    x = 1e9 + np.random.default_rng(1).integers(-1000, 1000, size=ROWS) / 1024.0
    statistic = of(kind, x)
    shift, top = float(kind.shift), x.max()
    distance = np.log1p((x - top).astype(np.longdouble) / (np.longdouble(top) + shift))
    for e in (1.0, 8.0):
        z = np.expm1(e * distance) / e
        place = int(np.searchsorted(EXPONENTS, e * 0.999))
        np.testing.assert_allclose(statistic.m2[0, 0, place], float(((z - z.mean()) ** 2).sum()), rtol=1e-12)


@each_kind
@given(st.data())
def test_merging_is_the_statistic_of_all_rows(kind: Any, data: st.DataObject) -> None:
    """However rows are cut, and in whatever order the pieces are merged, the result is that of all rows."""
    x = np.array(data.draw(st.lists(NUMBERS, min_size=1, max_size=30)))
    edges = sorted({0, len(x), *data.draw(st.lists(st.integers(0, len(x)), max_size=4))})
    pieces = [of(kind, x[start:end]) for start, end in pairwise(edges)]
    whole, backwards = of(kind, x), pieces[::-1]
    close(pieces[0].merge(*pieces[1:]), whole, 1e-11)
    close(backwards[0].merge(*backwards[1:]), whole, 1e-11)
    close(whole.merge(kind.missing(1, 0)), whole)


@each_kind
def test_lambda_does_not_depend_on_the_partitions(kind: Any) -> None:
    """Lambda is a root, not a maximum, so that rounding errors hardly move it."""
    x = np.abs(np.column_stack([*distributions().values()])) + 1e-9
    whole, fold = of(kind, x), Fold()
    for piece in np.array_split(x, 70):
        fold.add(of(kind, piece))
    close(fold.result(), whole)
    np.testing.assert_allclose(Likelihood(fold.result()).best(), Likelihood(whole).best(), rtol=1e-10, atol=1e-11)


@each_kind
def test_dense_sparse_and_runs_agree(kind: Any) -> None:
    """Sparse blocks count what they do not store as 0, and runs are separate statistics."""
    rng = np.random.default_rng(2)
    x = np.where(rng.random((60, 5)) < 0.5, 0.0, rng.normal(size=(60, 5)))
    x[:, 3], x[::7, 4] = 0.0, np.nan
    runs = np.repeat(np.arange(4), [1, 20, 0, 39][:4])
    row, feature = np.nonzero(x)
    lengths = np.bincount(row, minlength=len(x))
    close(kind.of(SparseBlock(5, lengths, feature, x[row, feature])), of(kind, x))
    by_run = kind.of(DenseBlock(x, runs=runs))
    close(by_run, kind.of(SparseBlock(5, lengths, feature, x[row, feature], runs=runs)))
    for row_, run in enumerate(np.unique(runs)):
        close(by_run.of_row(row_), of(kind, x[runs == run]))
    close(by_run.merge_rows(np.zeros(3, np.intp)).of_row(0), of(kind, x))
    close(by_run.take_features(np.array([4, 1])).of_row(1), of(kind, x[runs == 1][:, [4, 1]]))
    close(by_run.raveled(), kind.concat([by_run.of_row(k) for k in range(3)]))
    close(kind.of_lists(by_run.lists()), by_run)
    for which, arrays in by_run.row_arrays():
        close(kind.of_row_arrays(arrays), by_run.take(which))


@each_kind
def test_wide_blocks_chunks_and_arrays(kind: Any) -> None:
    """Features are computed some at a time, sent in chunks, and saved as flat arrays."""
    x = np.random.default_rng(4).gamma(2.0, size=(3000, 37))
    whole = of(kind, x)
    close(whole, kind.concat([of(kind, x[:, k]) for k in range(37)]))
    starts, chunks = zip(*whole.chunks(), strict=True)
    assert np.concatenate(starts).tolist() == [0, 16, 32]
    sent = [kind.from_arrays(dict(zip(kind.names(), arrays, strict=True))) for arrays in chunks]
    sent = [kind.from_arrays({n: a.reshape(-1) if n == "count" else a for n, a in s.arrays().items()}) for s in sent]
    close(kind.of_chunks([], sent, 37), whole)
    assert whole.held == kind.numbers(37)
    assert whole.is_complete(37)
    assert kind.of(DenseBlock(np.empty((0, 2)))).count.tolist() == [0, 0]


@pytest.mark.parametrize("name", [*VALUES])
def test_lambda_of_many_distributions(name: str) -> None:
    """Interpolated between the exponents, lambda is within 5e-3 of the optimum, and its likelihood within 1e-6."""
    x = VALUES[name]
    for kind in KINDS if x.min() > 0 else KINDS[1:]:
        found = Likelihood(of(kind, x))
        best, expected = found.best()[0], optimum(kind, x)
        low, high = (float(bound[0]) for bound in found.bounds)
        if np.isnan(best):
            inside = EXPONENTS[-2] - 2.0
            assert not -inside < expected < inside
            assert not low + 2.0 < expected < high - 2.0
            continue
        assert abs(best - expected) < 5e-3
        most, there = likelihood(kind, x, np.array([expected, best]))
        assert abs(most - there) < 1e-6


@pytest.mark.parametrize("name", [*VALUES])
def test_interpolated_moments_of_each_side(name: str) -> None:
    """Between exponents, the mean and the standard deviation of each side are within 1e-4 of its standard deviation."""
    x = VALUES[name]
    for kind in KINDS if x.min() > 0 else KINDS[1:]:
        found = Likelihood(of(kind, x))
        value = np.nan_to_num(found.best(), nan=1.0)
        means, log_variances = found.sides(value)
        for side, t in enumerate(sides(kind, x)):
            if len(t) and t.min() < t.max():
                e = float(value[0]) if side == 0 else 2.0 - float(value[0])
                z = np.expm1(e * (t - t.mean())) / e
                assert abs(log_variances[0, side] / 2 - np.log(z.std())) < 1e-4
                assert abs(means[0, side] - z.mean()) / z.std() < 1e-4


@pytest.mark.parametrize(
    "x",
    [
        [2003.0, 1950.0, 1997.0, 2000.0, 2009.0],
        [1e300, 1e-300, 1e200, 1.0],
        [1e308, 1.7e308, 1.2e308],
        [1e-300, 3e-300, 2e-300, 9e-300],
        [-1e300, 1e300, 1.0, 2.0],
        [5e-324, 1e-323],
    ],
)
@each_kind
def test_extreme_values_are_safe(kind: Any, x: list[float]) -> None:
    """Neither large nor tiny values overflow: the optimum is finite, or known to be outside of the grid."""
    statistic = of(kind, x)
    assert all(np.isfinite(statistic.arrays()[n]).all() for n in ("mean", "m2"))
    best = Likelihood(statistic).best()
    assert np.isnan(best[0]) or abs(best[0]) < 15
    assert not Likelihood(statistic).constant[0]


@each_kind
def test_features_without_spread(kind: Any) -> None:
    """A constant feature has lambda 1, and so has one without values."""
    x = np.array([[3.0, np.nan, 0.1, 1.0], [3.0, np.inf, 0.1, 2.0]])
    statistic = of(kind, x)
    assert Likelihood(statistic).constant.tolist() == [True, True, True, False]
    assert Likelihood(statistic).best()[:3].tolist() == [1.0, 1.0, 1.0]
    assert statistic.invalid.tolist() == [0, 2, 0, 0]
    assert statistic.min.tolist() == [3.0, np.inf, 0.1, 1.0]


def test_values_that_are_not_positive_show() -> None:
    """Box-Cox moments leave them out, and keep the smallest value."""
    statistic = of(BoxCoxMoments, [[1.0, 1.0], [-2.0, 0.0], [3.0, np.nan]])
    assert statistic.min.tolist() == [-2.0, 0.0]
    assert statistic.number.tolist() == [[2.0], [1.0]]
