"""Flattened tensors: which features of a row belong to which channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral

import numpy as np
import numpy.typing as npt

from sparkscale.errors import ParamError, SizeMismatchError

__all__ = ["Layout"]

FORMATS = ("channelsFirst", "channelsLast")
MAX_ARRAY_LENGTH = 2**31 - 1  # elements of a Spark array


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
        The tensor's shape without the batch axis: ``(channels, ...)``, or ``(..., channels)``.
    data_format : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Which axis holds the channels.

    Raises
    ------
    ParamError
        If ``shape`` is empty, a length is not a positive integer, their product exceeds 2147483647, or the data format
        is unknown.

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
        if not are_lengths(self.shape):
            raise ParamError(
                f"shape must be one or more positive lengths, whose product is at most {MAX_ARRAY_LENGTH}. Got {list(self.shape)}."
            )
        if self.data_format not in FORMATS:
            raise ParamError(f"dataFormat must be one of {', '.join(map(repr, FORMATS))}. Got {self.data_format!r}.")

    @property
    def size(self) -> int:
        """Number of features in a row."""
        return prod(self.shape)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0 if self.data_format == "channelsFirst" else -1]

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
        if size != self.size:
            raise SizeMismatchError(
                f"Column '{column}' has rows of length {size}, but shape {list(self.shape)} has {self.size} elements. "
                "Set shape to that of the tensor in a row."
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
        """Return the channel of a feature as SQL text."""
        first = self.data_format == "channelsFirst"
        return f"int({feature} div {self.places})" if first else f"{feature} % {self.channels}"
