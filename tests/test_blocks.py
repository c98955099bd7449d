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
def test_a_mask_keeps_a_block_unweighted(make) -> None:
    """No weights come from nowhere."""
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

    indices, found, entry_weights = sparse(values, row_weights).valid_entries()

    assert [e[0] for e in expected] == indices.tolist()
    assert [e[1] for e in expected] == found.tolist()
    assert (None if row_weights is None else [e[2] for e in expected]) == (
        None if entry_weights is None else entry_weights.tolist()
    )


@given(values=matrices(), data=st.data())
def test_valid_weight_leaves_invalid_values_out(values: np.ndarray, data: st.DataObject) -> None:
    """The weights of a feature's valid values, stored or not, and their squares are summed."""
    row_weights = data.draw(weights(len(values)))
    valid = np.isfinite(values)
    total = row_weights.sum() + 1e-300

    weight, square = sparse(values, row_weights).valid_weight()

    np.testing.assert_allclose(weight, (valid * row_weights[:, None]).sum(axis=0), atol=1e-14 * total)
    np.testing.assert_allclose(square, (valid * row_weights[:, None] ** 2).sum(axis=0), atol=1e-14 * total**2)
