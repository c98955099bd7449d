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
