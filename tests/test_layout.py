"""Tensors in rows: which features are a channel's."""

from __future__ import annotations

import numpy as np
import pytest

from sparkscale.errors import ParamError, SizeMismatchError
from sparkscale.layout import Layout

EACH_FORMAT = {"channelsFirst": ([3, 2, 2], 0), "channelsLast": ([2, 2, 3], -1)}
each_format = pytest.mark.parametrize("data_format", EACH_FORMAT)


@each_format
def test_channels_are_where_numpy_finds_them(data_format: str) -> None:
    """Of a row reshaped to the tensor; places in C order."""
    shape, axis = EACH_FORMAT[data_format]
    layout = Layout(shape, data_format)
    by_channel = np.moveaxis(np.arange(12).reshape(shape), axis, 0).reshape(3, 4)

    assert (layout.size, layout.channels, layout.places) == (12, 3, 4)
    np.testing.assert_array_equal(layout.features(), by_channel.T)
    for channel, features in enumerate(by_channel):
        assert (layout.channel_of()[features] == channel).all()


@pytest.mark.parametrize(("shape", "data_format"), [((3, 4), "channelsFirst"), ((4, 3), "channelsLast")])
def test_the_channel_as_sql_is_that_of_the_feature(shape: tuple[int, int], data_format: str) -> None:
    """For every feature; ``div`` is Python's ``//``."""
    layout = Layout(shape, data_format)
    text = layout.index_sql("feature").replace("div", "//")

    assert [eval(text, {"feature": i, "int": int}) for i in range(12)] == layout.channel_of().tolist()  # noqa: S307


def test_rows_of_another_length_are_refused() -> None:
    """With the column, both lengths and the shape."""
    layout = Layout([3, 4])
    layout.check("image", 12)

    with pytest.raises(SizeMismatchError, match=r"'image' has rows of length 13, but shape \[3, 4\] has 12 elements"):
        layout.check("image", 13)


@pytest.mark.parametrize(
    "shape", [(), (0,), (-1, 3), (2, -1, 3), (2**70,), (2**16, 2**16), (2.0,), (float("nan"),), (True,)], ids=str
)
def test_lengths_are_positive(shape: tuple[int, ...]) -> None:
    """And integers, one at least, and of no more features than an array of Spark can have."""
    with pytest.raises(ParamError, match="shape must be one or more positive lengths"):
        Layout(shape)


def test_there_are_two_formats() -> None:
    """Named as in Keras, in Spark's spelling."""
    with pytest.raises(ParamError, match=r"dataFormat must be one of 'channelsFirst', 'channelsLast'\. Got 'NCHW'"):
        Layout((3,), "NCHW")


OPEN = (Layout((-1,)), Layout((-1,), "channelsLast"), Layout((2, -1)), Layout((-1, 2), "channelsLast"))


@pytest.mark.parametrize("layout", OPEN, ids=str)
def test_one_length_may_be_open(layout: Layout) -> None:
    """Of the places; each row tells it, and its layout is then as if it were given."""
    rows = [np.arange(6.0), np.arange(0.0), np.arange(10.0, 14.0)]
    lengths = np.array([len(row) for row in rows])
    by_place = [row[layout.sized(len(row)).features()] for row in rows if len(row)]

    layout.check("x", 6)
    assert layout.is_open
    assert not layout.sized(6).is_open
    assert layout.sized(6).sized(4).size == 6
    np.testing.assert_array_equal(layout.by_place(np.concatenate(rows), lengths), np.concatenate(by_place))


def test_the_length_of_a_row_is_a_multiple_of_the_channels() -> None:
    """The message names the column, the length and the shape."""
    with pytest.raises(SizeMismatchError, match=r"'x' has rows of length 5, which is no multiple of the 2 channels"):
        Layout((2, -1)).check("x", 5)


def test_open_layouts_as_sql() -> None:
    """The channel of a feature, by the number of places of the row, and the values of a channel."""
    whole, _, first, last = OPEN

    assert [layout.index_sql("i") for layout in (whole, first, last)] == ["0", "int(i div sparkscale_places)", "i % 2"]
    assert Layout((3,)).index_sql("i") == "i"
    assert last.channel_sql("r", 1) == "filter(r, (x, i) -> i % 2 = 1)"
    assert first.channel_sql("r", 1) == "slice(r, int(1 * (size(r) div 2)) + 1, int(size(r) div 2))"
