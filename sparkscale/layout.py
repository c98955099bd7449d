"""Flattened tensors: which features of a row belong to which channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.errors import ParamError, SizeMismatchError

__all__ = ["PLACES", "Layout"]

FORMATS = ("channelsFirst", "channelsLast")
MAX_ARRAY_LENGTH = 2**31 - 1  # elements of a Spark array


PLACES = "sparkscale_places"  # in SQL, the number of places in each channel of a row of any length


def are_lengths(shape: Sequence[int]) -> bool:
    """Whether these are valid lengths of the axes of a row."""
    positive = all(isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in shape)
    return bool(shape) and positive and prod(map(int, shape)) <= MAX_ARRAY_LENGTH


@dataclass(frozen=True)
class Layout:
    """The shape of the tensor that a row holds, flattened in C order.

    Parameters
    ----------
    shape : sequence of int
        The tensor's shape without the batch axis: ``(channels, ...)``, or ``(..., channels)``. Of rows of any length, it
        is ``(channels, -1)`` or ``(-1, channels)``; or ``(-1,)``, if the whole row is one channel.
    data_format : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Which axis holds the channels.

    Raises
    ------
    ParamError
        If ``shape`` is empty, a length is not a positive integer, -1 is not the length of the places, the product exceeds
        2147483647, or the data format is unknown.

    Examples
    --------
    >>> from sparkscale.layout import Layout
    >>> Layout((2, 3)).features()  # places x channels
    array([[0, 3],
           [1, 4],
           [2, 5]])
    >>> Layout((3, 2), "channelsLast").channel_of()
    array([0, 1, 0, 1, 0, 1])
    """

    shape: Sequence[int]
    data_format: str = "channelsFirst"

    def __post_init__(self) -> None:
        if not (self.is_open or are_lengths(self.shape)):
            raise ParamError(
                f"shape must be one or more positive lengths, whose product is at most {MAX_ARRAY_LENGTH}; or [-1], "
                f"[channels, -1] with channelsFirst, [-1, channels] with channelsLast. Got {list(self.shape)}."
            )
        if self.data_format not in FORMATS:
            raise ParamError(f"dataFormat must be one of {', '.join(map(repr, FORMATS))}. Got {self.data_format!r}.")

    @property
    def is_open(self) -> bool:
        """Whether rows may have any number of places."""
        shape = list(self.shape)
        if shape[-2:] == [-1]:
            return True
        known, place = (shape[:1], shape[1:]) if self.data_format == "channelsFirst" else (shape[1:], shape[:1])
        return place == [-1] and are_lengths(known)

    def sized(self, size: int) -> Layout:
        """Return the layout of rows of a size, which has been checked."""
        if not self.is_open:
            return self
        places = size // self.channels
        first = self.data_format == "channelsFirst"
        return Layout((self.channels, places) if first else (places, self.channels), self.data_format)

    @property
    def size(self) -> int:
        """Number of features in a row."""
        return prod(self.shape)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if list(self.shape) == [-1] else self.shape[0 if self.data_format == "channelsFirst" else -1]

    @property
    def places(self) -> int:
        """Number of features in each channel."""
        return self.size // self.channels

    def check(self, column: str, size: int) -> None:
        """Refuse a column whose rows are not of this shape.

        Parameters
        ----------
        column : str
            The column's name.
        size : int
            Number of its features in each row.

        Raises
        ------
        SizeMismatchError
            If the shape has another number of elements.
        """
        if self.is_open:
            if size % self.channels:
                raise SizeMismatchError(f"Column '{column}' has rows of length {size}{self.remainder}")
            return
        if size != self.size:
            raise SizeMismatchError(
                f"Column '{column}' has rows of length {size}, but shape {list(self.shape)} has {self.size} elements. "
                "Set shape to that of the tensor in a row."
            )

    @property
    def remainder(self) -> str:
        """The end of the message for a row of another length than an open layout allows."""
        return (
            f", which is no multiple of the {self.channels} channels of shape {list(self.shape)}. Correct the shape, or the "
            "rows."
        )

    def features(self) -> npt.NDArray[np.intp]:
        """Return the feature indices by place and channel, of shape ``(places, channels)``."""
        numbers = np.arange(self.size)
        if self.data_format == "channelsFirst":
            return np.ascontiguousarray(numbers.reshape(self.channels, self.places).T)
        return numbers.reshape(self.places, self.channels)

    def channel_of(self) -> npt.NDArray[np.intp]:
        """Return the channel of each feature."""
        numbers = np.arange(self.size)
        return numbers // self.places if self.data_format == "channelsFirst" else numbers % self.channels

    def index_sql(self, feature: str) -> str:
        """Return the channel of a feature as SQL text; of an open layout, the text refers to ``PLACES``."""
        first = self.data_format == "channelsFirst"
        if self.is_open:
            return (
                "0"
                if self.channels == 1
                else f"int({feature} div {PLACES})"
                if first
                else f"{feature} % {self.channels}"
            )
        if self.places == 1:
            return feature
        return f"int({feature} div {self.places})" if first else f"{feature} % {self.channels}"

    def channel_sql(self, row: str, channel: int) -> str:
        """Return the values of a channel of a row of any length as SQL text."""
        if self.data_format == "channelsLast":
            return f"filter({row}, (x, i) -> i % {self.channels} = {channel})"
        places = f"size({row}) div {self.channels}"
        return f"slice({row}, int({channel} * ({places})) + 1, int({places}))"

    def by_place(self, values: npt.NDArray[Any], lengths: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Return rows of an open layout, given one after the other, as a matrix by place and channel."""
        channels = self.channels
        if channels == 1 or self.data_format == "channelsLast":
            return values.reshape(-1, channels)
        places = lengths // channels
        of_row = np.repeat(places, places)
        first = np.repeat(np.cumsum(lengths) - lengths - (np.cumsum(places) - places), places)
        result: npt.NDArray[Any] = values[
            (first + np.arange(len(first)))[:, None] + np.outer(of_row, np.arange(channels))
        ]
        return result
