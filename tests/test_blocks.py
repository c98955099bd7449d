"""Blocks of rows, dense and sparse, without Spark."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import FEATURES, dense, matrices, sparse, weights

pytestmark = pytest.mark.core

every_form = pytest.mark.parametrize("make", [dense, sparse, lambda v, w=None: sparse(v, w, explicit_zeros=True)])


@every_form
@given(values=matrices())
def test_shape(make, values: np.ndarray) -> None:
    """A block knows its number of rows and of features."""
    block = make(values)

    assert (len(values), FEATURES) == (block.rows, block.size)


@every_form
@given(values=matrices())
def test_invalid_counts_nan_and_infinities(make, values: np.ndarray) -> None:
    """Every value that is not finite is invalid."""
    np.testing.assert_array_equal(make(values).invalid(), (~np.isfinite(values)).sum(axis=0))


@every_form
@given(values=matrices())
def test_complete_rows_hold_no_invalid_value(make, values: np.ndarray) -> None:
    """A row is complete if all its values are finite; a row that stores nothing is."""
    np.testing.assert_array_equal(make(values).complete(), np.isfinite(values).all(axis=1))


@every_form
@given(values=matrices(), data=st.data())
def test_a_mask_keeps_rows_with_their_weights(make, values: np.ndarray, data: st.DataObject) -> None:
    """Taking rows out of a block gives the block of these rows."""
    row_weights = data.draw(weights(len(values)))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), dtype=bool)
    expected = make(values[keep], row_weights[keep])

    actual = make(values, row_weights)[keep]

    np.testing.assert_array_equal(actual.values, expected.values)
    np.testing.assert_array_equal(actual.weights, expected.weights)
    assert expected.rows == actual.rows
    np.testing.assert_array_equal(actual.invalid(), expected.invalid())


@every_form
@given(values=matrices(), start=st.integers(0, 5), stop=st.integers(0, 15))
def test_dense_rows(make, values: np.ndarray, start: int, stop: int) -> None:
    """Rows of any block as an array, with 0 where nothing is stored."""
    np.testing.assert_array_equal(make(values).dense(start, stop), values[start:stop])


@every_form
def test_a_mask_keeps_a_block_unweighted(make) -> None:
    """An unweighted block stays unweighted."""
    assert make([[1.0], [2.0]])[np.array([True, False])].weights is None


@given(values=matrices())
def test_a_slice_of_a_dense_block_copies_nothing(values: np.ndarray) -> None:
    """Chunks are views."""
    block = dense(values)

    assert block.rows < 2 or np.shares_memory(block[1:].values, block.values)
    np.testing.assert_array_equal(block[1:].values, values[1:])


@given(values=matrices(), data=st.data(), weighted=st.booleans())
def test_valid_entries_are_the_stored_finite_ones(values: np.ndarray, data: st.DataObject, weighted: bool) -> None:
    """Row after row, with the weight of their row; what is not stored is not among them."""
    row_weights = data.draw(weights(len(values))) if weighted else None
    expected = [
        (j, v, None if row_weights is None else row_weights[i])
        for i, row in enumerate(values)
        for j, v in enumerate(row)
        if v != 0 and np.isfinite(v)
    ]

    indices, entries, entry_weights = sparse(values, row_weights).valid_entries()

    assert [e[0] for e in expected] == indices.tolist()
    assert [e[1] for e in expected] == entries.tolist()
    assert (None if row_weights is None else [e[2] for e in expected]) == (
        None if entry_weights is None else entry_weights.tolist()
    )


@given(values=matrices(), data=st.data())
def test_absent_sums_the_rows_that_do_not_store_a_feature(values: np.ndarray, data: st.DataObject) -> None:
    """A value that is not finite is stored too."""
    row_weights = data.draw(weights(len(values)))
    expected = ((values == 0) * row_weights[:, None]).sum(axis=0)

    actual = sparse(values, row_weights).absent(row_weights)

    np.testing.assert_allclose(actual, expected, rtol=1e-15, atol=1e-22 * row_weights.max(initial=0.0))


def test_absent_keeps_the_digits_of_light_rows_among_heavy_ones() -> None:
    """Plain subtraction from the total would leave seven digits of the light row's weight."""
    heavy = np.full(1000, 0.7e9 / 3)
    row_weights = np.append(heavy, 0.1)
    block = sparse(np.append(np.ones(1000), 0.0)[:, None], row_weights)

    assert block.absent(row_weights)[0] == pytest.approx(0.1, rel=1e-12)


@given(values=matrices(), chosen=st.lists(st.booleans(), min_size=FEATURES, max_size=FEATURES))
def test_features_of_a_sparse_block_are_chosen(values: np.ndarray, chosen: list[bool]) -> None:
    """Rows stay, the other features go."""
    which = np.array(chosen)
    expected, actual = sparse(values[:, which]), sparse(values).features(which)

    assert (actual.size, actual.rows) == (expected.size, expected.rows)
    for name in ("lengths", "indices", "values"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
