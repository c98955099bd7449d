"""One statistic for many features: the channels of tensors, and whole arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkscale.layout import Layout
from sparkscale.statistics import Counts, Extrema, Moments, Quantiles, Squares
from strategies import ORDINARY, dense, matrices, mostly, sparse

CLASSES = (Counts, Extrema, Squares, Moments, Quantiles)
LAYOUTS = (Layout((2, 3)), Layout((3, 2), "channelsLast"), Layout((1, 6)), Layout((6,)))
COLUMNS = (ORDINARY, mostly(ORDINARY))


def by_place(rows: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the values of each channel, a row for each place of a row."""
    return rows[:, layout.features()].reshape(-1, layout.channels)


def assert_same(one: Any, other: Any) -> None:
    """Exactly, but for sums."""
    for name, array in one.arrays().items():
        other_array = getattr(other, name)
        if name in ("origin", "shift"):
            continue
        if isinstance(one, Moments | Squares):
            np.testing.assert_allclose(array, other_array, rtol=1e-11, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(array, other_array, err_msg=name)
    if isinstance(one, Moments):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("statistic_class", CLASSES)
@given(rows=matrices(features=6, columns=COLUMNS), layout=st.sampled_from(LAYOUTS))
def test_a_channel_has_the_statistic_of_its_values(statistic_class: Any, rows: np.ndarray, layout: Layout) -> None:
    """As if these were the rows of one feature: exactly, but for the rounding of sums; in dense and in sparse rows."""
    expected = statistic_class.of(dense(by_place(rows, layout)))

    assert_same(statistic_class.of(dense(rows)).pooled(layout.features()), expected)
    assert_same(statistic_class.of(sparse(rows)).pooled(layout.features()), expected)


@pytest.mark.parametrize("statistic_class", CLASSES)
@given(rows=matrices(rows=7, features=6, columns=COLUMNS), layout=st.sampled_from(LAYOUTS))
def test_channels_of_each_run_are_pooled(statistic_class: Any, rows: np.ndarray, layout: Layout) -> None:
    """The statistics of many keys have one row for each."""
    runs = np.array([0, 0, 0, 1, 2, 2, 2])
    pooled = statistic_class.of(replace(dense(rows), runs=runs)).pooled(layout.features())

    assert pooled.count.shape == (3, layout.channels)
    for run in range(3):
        assert_same(pooled.of_row(run), statistic_class.of(dense(by_place(rows[runs == run], layout))))


def test_many_pooled_values_are_kept_within_the_relative_error() -> None:
    """Those of all places together are more than are kept of any place."""
    values = np.random.default_rng(0).permutation(60_000).reshape(1000, 60) + 1
    pooled = Quantiles.of(dense(values)).pooled(np.arange(60)[:, None])

    assert pooled.count == 60_000
    assert len(pooled.values) < 2 * Quantiles.capacity()
    assert abs(float(pooled.quantile(0.5)[0]) - 30_000) < 0.001 * 60_000
