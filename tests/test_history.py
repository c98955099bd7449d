"""What was known before a value: statistics of each group up to every value, without Spark; hypothesis makes the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkscale.blocks import DenseBlock
from sparkscale.scalers._group_maps import KeyMaps
from sparkscale.spark.fit import history
from sparkscale.spark.fit.table_rows import encoded
from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, StatisticSet
from sparkscale.statistics._reductions import run_starts

SET = StatisticSet.of_classes(
    {"moments": Moments, "extrema": Extrema, "coMoments": CoMoments, "quantiles": Quantiles.within(0.2)}
)
TYPE = pa.struct([("k0", pa.string())])
# The group, the day and the rows of a day: ten different days, of which a group has some.
ENTRIES = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 9), st.integers(1, 3)),
    min_size=1,
    unique_by=lambda entry: entry[:2],
)


def table_of(entries: list[Any]) -> tuple[list[Any], dict[Any, np.ndarray], StatisticSet]:
    """Return entries in order, the rows of each one, and the statistics of each one."""
    rng = np.random.default_rng(1)
    entries = sorted(entries, key=lambda entry: (str(entry[0]), entry[1]))
    rows = {entry[:2]: rng.normal(size=(entry[2], 2)) for entry in entries}
    statistics = [SET.of(DenseBlock(matrix)).as_row() for matrix in rows.values()]
    return entries, rows, SET.concat(statistics)


def before(rows: dict[Any, np.ndarray], group: Any, place: float) -> np.ndarray:
    earlier = [matrix for (name, day), matrix in rows.items() if name == group and day < place]
    return np.concatenate(earlier) if earlier else np.zeros((0, 2))


@given(ENTRIES)
def test_running_statistics_are_those_of_the_rows_so_far(entries):
    """Of each statistic; counts and extrema to the bit."""
    entries, rows, statistics = table_of(entries)
    groups = np.unique([str(entry[0]) for entry in entries], return_inverse=True)[1]
    running = statistics.running(groups)

    assert len(run_starts(groups)) == groups.max() + 1
    for k, (group, day, _) in enumerate(entries):
        right, got = SET.of(DenseBlock(before(rows, group, day + 1))), running.of_row(k)
        for name in ("moments", "extrema", "coMoments"):
            for array, values in right[name].arrays().items():
                np.testing.assert_allclose(getattr(got[name], array), values, rtol=1e-11, atol=1e-12, err_msg=array)
        assert got["extrema"].max.tolist() == right["extrema"].max.tolist()
        assert got["quantiles"].count.tolist() == right["quantiles"].count.tolist()


@given(ENTRIES, st.integers(1, 12), st.integers(1, 5))
def test_each_place_of_a_group_has_one_map(entries, step, rows_in_batch):
    """Of the rows before; none where nothing came before. Places are those among the values of all groups."""
    entries, rows, statistics = table_of(entries)
    days = sorted({day for _, day, _ in entries})
    batch = encoded(pa.array([{"k0": group} for group, _, _ in entries], TYPE), statistics)
    batch = batch.append_column("t", pa.array([day for _, day, _ in entries]))
    task = history._KnownBefore(SET, lambda keys, known: {"max": known["extrema"].max}, pa.array(days), step)
    pieces = (batch.slice(start, rows_in_batch) for start in range(0, len(entries), rows_in_batch))
    result = pa.Table.from_batches(task(pieces)).to_pylist()

    for group in {entry[0] for entry in entries}:
        for place in range(len(days) + 1):
            known = before(rows, group, days[place - 1] + 1 if place else 0)
            maps = [
                row["max"]
                for row in result
                if row["b"]["k0"] == group and row["span"] == place // step and row["first"] <= place <= row["last"]
            ]
            assert maps == ([known.max(axis=0).tolist()] if len(known) else [])
    assert len(result) <= len(entries) * (len(days) // step + 1)


def test_no_map_of_all_rows_looks_ahead():
    """Where a feature has too few values, its numbers are NaN rather than those of all rows."""
    from sparkscale import StandardScaler
    from sparkscale.spark.columns import FeatureColumn

    one = StatisticSet.of_classes({"moments": Moments})
    model = StandardScaler(inputCol="x", withMean=True, fillInvalid="center")._model()
    model = StandardScaler(inputCol="x", withMean=True, fillInvalid="center")._copyValues(model)
    model._learn([FeatureColumn("x", "scalar", size=1)], Moments.of(DenseBlock(np.arange(9.0)[:, None])), skips=False)
    rows = one.concat([one.of(DenseBlock(np.arange(n)[:, None] * 1.0)).as_row() for n in (1, 3)])
    numbers = KeyMaps(model, inverse=False, least=2, ahead=False)(pa.array([{}, {}]), rows)

    assert np.isnan(numbers["center"]).tolist() == np.isnan(numbers["fill"]).tolist() == [[True], [False]]
    assert numbers["center"][1] == pytest.approx(1.0)
    assert numbers["zero"].tolist() == [[0.0], [0.0]]
