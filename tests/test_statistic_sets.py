"""A set of statistics is each of them, computed and merged by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sparkscale.spark import arrow
from sparkscale.spark.fit import partials
from sparkscale.spark.fit.partials import Partial
from sparkscale.statistics import CoMoments, Extrema, Moments, PerFeature, Quantiles, StatisticSet
from strategies import FEATURES, dense, matrices, sparse

CLASSES = {"moments": Moments, "quantiles": Quantiles.within(0.1), "extrema": Extrema}
SET = StatisticSet.of_classes(CLASSES)


def assert_each(whole: Any, of_one: Callable[[str], Any]) -> None:
    """To the bit."""
    assert type(whole) is SET
    for name in CLASSES:
        expected = of_one(name)
        for array, values in expected.arrays().items():
            np.testing.assert_array_equal(getattr(whole[name], array), values, err_msg=f"{name}.{array}")
    np.testing.assert_array_equal(whole.count, whole["moments"].count)
    np.testing.assert_array_equal(whole.invalid, whole["extrema"].invalid)


@pytest.mark.parametrize("make", [dense, sparse])
@given(values=matrices())
def test_what_is_done_to_a_set_is_done_to_each(make: Any, values: npt.NDArray[Any]) -> None:
    """Computed, merged, cut, selected, stored and loaded, without runs."""
    a, b = SET.of(make(values)), SET.of(make(values[:1]))
    of = {name: (c.of(make(values)), c.of(make(values[:1]))) for name, c in CLASSES.items()}
    some = np.array([2, 0])

    assert_each(a, lambda name: of[name][0])
    assert_each(a.merge(b), lambda name: of[name][0].merge(of[name][1]))
    assert_each(SET.concat([a, b]), lambda name: CLASSES[name].concat(of[name]))
    assert_each(a.split([1, 2])[1], lambda name: of[name][0].split([1, 2])[1])
    assert_each(a.take_features(some), lambda name: of[name][0].take_features(some))
    assert_each(a.with_invalid(a.count), lambda name: of[name][0].with_invalid(a.count))
    assert_each(SET.missing(FEATURES, 2), lambda name: CLASSES[name].missing(FEATURES, 2))
    assert_each(SET.from_arrays(a.arrays()), lambda name: of[name][0])
    assert_each(copy.copy(a), lambda name: of[name][0])
    assert a.is_complete(FEATURES)
    assert not a.is_complete(FEATURES + 1)
    assert set(a.arrays()) == set(SET.names())
    assert SET.numbers(5) == sum(c.numbers(5) for c in CLASSES.values())
    assert SET.usual_numbers(5) == sum(c.usual_numbers(5) for c in CLASSES.values())
    assert a.held == sum(one.held for one, _ in of.values())


@given(values=matrices(), data=st.data())
def test_rows_of_a_set_are_rows_of_each(values: npt.NDArray[Any], data: st.DataObject) -> None:
    """One row per run: as matrices for executors, as lists in a table, as more features, one by one."""
    rows = len(values)
    assume(rows)
    runs = np.sort(np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)), dtype=np.intp))
    block = replace(dense(values), runs=runs)
    whole, of = SET.of(block), {name: c.of(block) for name, c in CLASSES.items()}
    backwards = np.arange(len(whole))[::-1]
    by_arrays = [(which, SET.of_row_arrays(arrays)) for which, arrays in whole.row_arrays()]
    back = np.argsort(np.concatenate([which for which, _ in by_arrays]))

    assert_each(whole, lambda name: of[name])
    assert_each(whole.take(backwards), lambda name: of[name].take(backwards))
    assert_each(whole.merge_rows(backwards * 0), lambda name: of[name].merge_rows(backwards * 0))
    assert_each(SET.concat([s for _, s in by_arrays]).take(back), lambda name: of[name])
    assert_each(SET.of_lists(whole.lists()), lambda name: of[name])
    assert_each(whole.of_row(0), lambda name: of[name].take(np.array([0])).raveled())
    assert_each(whole.take_features(np.array([1])), lambda name: of[name].take_features(np.array([1])))
    assert_each(whole.scatter(backwards, len(whole)), lambda name: of[name].take(backwards))


@pytest.mark.parametrize("statistic_class", [*CLASSES.values(), SET], ids=[*CLASSES, "set"])
@given(values=matrices())
def test_lists_of_single_rows_are_read_as_one_table(
    statistic_class: type[PerFeature], values: npt.NDArray[Any]
) -> None:
    """Also where they differ in how many levels and values they keep."""
    ones = [statistic_class.of(dense(values[:n])).as_row() for n in (len(values), 1, 0)]
    lists = [one.lists() for one in ones]
    joined = {
        name: tuple(np.concatenate([one[name][k] for one in lists]) for k in (0, 1)) for name in statistic_class.names()
    }
    table = statistic_class.of_lists(joined)

    for row, one in enumerate(ones):
        for name, array in table.of_row(row).arrays().items():
            expected = one.of_row(0).arrays()[name]
            shown = array[tuple(slice(n) for n in expected.shape)]
            np.testing.assert_array_equal(shown, expected, err_msg=name)


@given(values=matrices())
def test_a_set_travels_unchanged(values: npt.NDArray[Any]) -> None:
    """As one row, and in chunks that executors merge."""
    part = Partial(4, 1, 0, FEATURES, 2.0, SET.of(dense(values)))
    for features in (None, 1, 2):
        with patch.object(SET.classes["extrema"], "chunk_features", features or 256):
            batches = [*partials.to_batches(part, SET, in_chunks=features is not None)]
        rows = [partials.of_row(row, SET) for batch in batches for row in arrow.iter_rows(batch)]
        starts = [row.start for row in rows]

        assert starts == [*range(0, FEATURES, features or FEATURES)]
        assert all(b > a for a, b in pairwise(starts))
        assert_each(SET.of_chunks(starts, [row.statistic for row in rows], FEATURES), lambda n: part.statistic[n])


def test_the_aggregates_of_a_set_are_those_of_each() -> None:
    """If each has some; and each tells where it is exact."""
    both = StatisticSet.of_classes({"moments": Moments, "extrema": Extrema})
    arrays = [np.array([[2.0]]) for _ in Moments.aggregates], [np.array([[1.0]]) for _ in Extrema.aggregates]
    whole = both.of_aggregates(3.0, *arrays[0], *arrays[1])

    assert both.aggregates == (*Moments.aggregates, *Extrema.aggregates)
    assert SET.aggregates == ()
    assert not both.any_order
    assert not SET.on_gpu
    assert whole["extrema"].max == 1.0
    assert whole["moments"].count == 2.0
    assert both.exact_aggregates(*arrays[0], *arrays[1]).tolist() == [[True]]


def test_some_features_of_one_statistic_are_selected() -> None:
    """Or pooled; of a statistic whose arrays hold another, that one; the joint one too, of all rows or of many."""
    values = np.array([[1.0, 2.0, 4.0], [3.0, 0.0, 9.0], [np.nan, 5.0, 1.0]])
    whole, runs = SET.of(dense(values)), np.array([0, 0, 1])
    moments, extrema = StatisticSet.of_classes({"moments": Moments}), StatisticSet.of_classes({"extrema": Extrema})
    some, places = np.array([2, 0]), np.array([[0], [2]])
    joint = CoMoments.of(dense(values))

    assert whole.select("moments", moments, some)["moments"].mean.tolist() == [14 / 3, 2.0]
    assert whole.select("moments", moments, places)["moments"].count.tolist() == [5.0]
    assert whole.select("quantiles", extrema, some)["extrema"].max.tolist() == [9.0, 3.0]
    assert type(whole.select("quantiles", extrema, some)["extrema"]) is Extrema
    assert moments.of(dense(values)).pooled(places).count.tolist() == [5.0]
    assert [len(rows) for rows, _ in moments.of(replace(dense(values), runs=runs)).row_arrays()] == [2]
    np.testing.assert_array_equal(joint.take_features(some).comoments, joint.comoments[np.ix_(some, some)])
    of_runs = CoMoments.of(replace(dense(values), runs=runs)).take_features(some)
    np.testing.assert_array_equal(of_runs.of_row(0).comoments, CoMoments.of(dense(values[:2, ::-2])).comoments)


def test_a_set_of_a_joint_statistic_is_computed_in_two_parts() -> None:
    """Of features separately, and of all jointly; the joint one has the counts of the separate one."""
    both = StatisticSet.of_classes({"moments": Moments, "coMoments": CoMoments})
    values = np.array([[1.0, 2.0], [np.nan, 3.0], [5.0, 7.0]])
    whole = both.of_both(both.separate().of(dense(values)), both.jointly().of(dense(values)))

    assert both.joint
    assert both.jointly() is CoMoments
    assert SET.jointly() is SET.separate() is SET
    assert whole["coMoments"].count.tolist() == whole["moments"].count.tolist() == [2.0, 3.0]
    assert whole["coMoments"].rows.tolist() == [2.0, 2.0]
    np.testing.assert_array_equal(both.missing(2, 1)["coMoments"].invalid, [1.0, 1.0])
