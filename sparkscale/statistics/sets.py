"""Several statistics of the same features, computed in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sparkscale.blocks import Block
from sparkscale.statistics._base import Array, Mergeable
from sparkscale.statistics._per_feature import PerFeature
from sparkscale.statistics._rows import Lists

__all__ = ["StatisticSet"]

Places = npt.NDArray[np.intp]


class StatisticSet(PerFeature):
    """Several statistics of the same features, which are merged together.

    The arrays of each statistic have its name as a prefix, such as ``moments.weight``.

    Parameters
    ----------
    statistics : sequence of PerFeature
        One of each of ``classes``.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Extrema, Moments, StatisticSet
    >>> both = StatisticSet.of_classes({"moments": Moments, "extrema": Extrema})
    >>> a = both.of(DenseBlock(np.array([[1.0], [3.0]])))
    >>> b = both.of(DenseBlock(np.array([[8.0]])))
    >>> m = a.merge(b)
    >>> m["moments"].mean, m["extrema"].max
    (array([4.]), array([8.]))
    """

    classes: ClassVar[Mapping[str, type[Any]]] = {}

    _by_name: dict[str, Any]

    def __init__(self, statistics: Sequence[Any]) -> None:
        by_name = dict(zip(self.classes, statistics, strict=True))
        for name, value in (("_by_name", by_name), ("count", statistics[0].count), ("invalid", statistics[0].invalid)):
            object.__setattr__(self, name, value)

    @staticmethod
    def of_classes(classes: Mapping[str, type[Any]]) -> type[StatisticSet]:
        """Return the class of sets of these statistics, by name."""
        return _of_classes(tuple(classes.items()))

    def __getitem__(self, name: str) -> Any:
        return self._by_name[name]

    @property
    def statistics(self) -> list[Any]:
        """The statistics, in the order of ``classes``."""
        return [*self._by_name.values()]

    def _each(self, function: Callable[[Any], Any]) -> StatisticSet:
        return type(self)([function(s) for s in self.statistics])

    @classmethod
    def _of_each(cls, function: Callable[[Any], Any]) -> StatisticSet:
        return cls([function(c) for c in cls.classes.values()])

    def with_invalid(self, invalid: Any) -> StatisticSet:
        """See `Mergeable`."""
        return self._each(lambda s: s.with_invalid(invalid))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the arrays."""
        return tuple(f"{name}.{array}" for name, c in cls.classes.items() for array in c.names())

    @classmethod
    def numbers(cls, features: int) -> int:
        """See `Mergeable`."""
        return sum(c.numbers(features) for c in cls.classes.values())

    @classmethod
    def usual_numbers(cls, features: int) -> int:
        """See `Mergeable`."""
        return sum(c.usual_numbers(features) for c in cls.classes.values())

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name, the inverse of ``from_arrays``."""
        return {f"{name}.{array}": a for name, s in self._by_name.items() for array, a in s.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> StatisticSet:
        """Build a set from its arrays."""
        return cls([c.from_arrays(_of_one(arrays, name)) for name, c in cls.classes.items()])

    def is_complete(self, features: int) -> bool:
        """See `Mergeable`."""
        return all(s.is_complete(features) for s in self.statistics)

    @classmethod
    def concat(cls, statistics: Sequence[StatisticSet]) -> StatisticSet:
        """Concatenate the features of several sets, or their rows."""
        return cls([c.concat([s[name] for s in statistics]) for name, c in cls.classes.items()])

    def split(self, sizes: Any) -> list[StatisticSet]:
        """Split the features, the inverse of ``concat``."""
        sizes = list(sizes)
        return [type(self)(pieces) for pieces in zip(*(s.split(sizes) for s in self.statistics), strict=True)]

    @classmethod
    def of(cls, block: Block) -> StatisticSet:
        """Return the statistics of a block of rows; one that another one extends is taken from that."""
        own: dict[str, Any] = {}
        for name, one in sorted(cls.classes.items(), key=lambda item: -len(item[1].names())):
            base = next((s for s in own.values() if isinstance(s, one) and len(s.names()) > len(one.names())), None)
            own[name] = one.of(block) if base is None else one(**{n: getattr(base, n) for n in one.names()})
        return cls([own[name] for name in cls.classes])

    @classmethod
    def missing(cls, features: int, rows: float) -> StatisticSet:
        """Return the statistics of rows without a valid value."""
        return cls._of_each(lambda c: c.missing(features, rows))

    def merge(self, *others: StatisticSet) -> StatisticSet:
        """Return the statistics of the rows of all operands, which are not modified."""
        return type(self)([s.merge(*(o[name] for o in others)) for name, s in self._by_name.items()])

    def merge_rows(self, numbers: Places) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.merge_rows(numbers))

    @classmethod
    def merge_ordered(cls, statistics: Sequence[StatisticSet], rows: Places, numbers: Places) -> StatisticSet:
        """See `PerFeature`."""
        return cls([c.merge_ordered([s[n] for s in statistics], rows, numbers) for n, c in cls.classes.items()])

    def scatter(self, places: Places, rows: int) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.scatter(places, rows))

    def as_row(self) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.as_row())

    def of_row(self, row: int) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.of_row(row))

    def weighted(self, factors: Array) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.weighted(factors))

    def take(self, rows: Places) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.take(rows))

    def take_features(self, features: Places) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.take_features(features))

    def pooled(self, features: Places) -> StatisticSet:
        """Return the statistics of pooled features; see `PerFeature`."""
        return self._each(lambda s: s.pooled(features))

    def raveled(self) -> StatisticSet:
        """See `PerFeature`."""
        return self._each(lambda s: s.raveled())

    def _in_rows(self, features: int) -> StatisticSet:
        return self._each(lambda s: s._in_rows(features))

    def select(self, name: str, statistic_class: type[StatisticSet], features: Places) -> StatisticSet:
        """Return the set of one statistic, of some features.

        Parameters
        ----------
        name : str
            One of the statistics.
        statistic_class : type of StatisticSet
            A set of a single statistic: this one, or one whose arrays are among its arrays.
        features : numpy.ndarray of int, shape (n,) or (n_places, n)
            The features; of a matrix, the features in each column are pooled.
        """
        ((_, one_class),) = statistic_class.classes.items()
        held = self[name]
        chosen = held.take_features(features) if features.ndim == 1 else held.pooled(features)
        if type(chosen) is not one_class:
            chosen = one_class.from_arrays(chosen.arrays())
        return statistic_class([chosen])

    def row_arrays(self) -> Iterator[tuple[Places, list[Array]]]:
        """See `PerFeature`: as many rows at a time as the arrays of all statistics have one length for."""
        ragged = [name for name, c in self.classes.items() if not c.fixed]
        if not ragged:
            yield np.arange(len(self)), [a for s in self.statistics for a in s.arrays().values()]
            return
        (name,) = ragged
        for rows, arrays in self[name].row_arrays():
            others = {n: s.take(rows).arrays().values() for n, s in self._by_name.items() if n != name}
            yield rows, [a for n in self.classes for a in (arrays if n == name else others[n])]

    @classmethod
    def of_row_arrays(cls, arrays: Sequence[Array]) -> StatisticSet:
        """See `PerFeature`."""
        rest = iter(arrays)
        return cls._of_each(lambda c: c.of_row_arrays([next(rest) for _ in c.names()]))

    def lists(self) -> dict[str, Lists]:
        """See `PerFeature`."""
        return {f"{name}.{array}": lists for name, s in self._by_name.items() for array, lists in s.lists().items()}

    @classmethod
    def of_lists(cls, lists: Mapping[str, Lists]) -> StatisticSet:
        """See `PerFeature`."""
        return cls([c.of_lists(_of_one(lists, name)) for name, c in cls.classes.items()])

    def chunks(self) -> Iterator[tuple[Places, list[Array]]]:
        """See `Statistic`: a chunk has some features of every statistic."""
        step = min(c.chunk_features for c in self.classes.values())
        for start in range(0, len(self), step):
            chunk = self.take_features(np.arange(start, min(start + step, len(self))))
            yield np.array([start]), [array.reshape(1, -1) for array in chunk.arrays().values()]

    @classmethod
    def separate(cls) -> type[StatisticSet]:
        """See `Statistic`."""
        return cls.of_classes({name: c.separate() for name, c in cls.classes.items()})

    @classmethod
    def jointly(cls) -> type[Mergeable]:
        """See `Statistic`."""
        return next((c.jointly() for c in cls.classes.values() if c.joint), cls)

    @classmethod
    def of_both(cls, separate: Any, joint: Any) -> StatisticSet:
        """See `Statistic`."""
        return cls([c.of_both(separate[n], joint) if c.joint else separate[n] for n, c in cls.classes.items()])

    @classmethod
    def of_aggregates(cls, rows: Any, *arrays: Array) -> StatisticSet:
        """See `Statistic`."""
        rest = iter(arrays)
        return cls._of_each(lambda c: c.of_aggregates(rows, *[next(rest) for _ in c.aggregates]))

    @classmethod
    def exact_aggregates(cls, *arrays: Array) -> npt.NDArray[np.bool_]:
        """See `Statistic`."""
        rest = iter(arrays)
        exact = [c.exact_aggregates(*[next(rest) for _ in c.aggregates]) for c in cls.classes.values()]
        return np.all(exact, axis=0)  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_statistics, (tuple(self.classes), self.statistics)

    # One of each class does what these are for.
    _of_chunk = _of_sparse = _combined = None  # type: ignore[assignment]


def _of_one(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the entries of one statistic of a set, without the prefix."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


@cache
def _of_classes(classes: tuple[tuple[str, type[Any]], ...]) -> type[StatisticSet]:
    own = dict(classes)
    queried = all(c.aggregates for c in own.values())
    return type(
        "StatisticSet",
        (StatisticSet,),
        {
            "__doc__": StatisticSet.__doc__,
            "classes": own,
            "aggregates": tuple(text for c in own.values() for text in c.aggregates) if queried else (),
            "joint": any(c.joint for c in own.values()),
            "any_order": all(c.any_order for c in own.values()),
            "on_gpu": all(c.on_gpu for c in own.values()),
            "in_metadata": all(c.in_metadata for c in own.values()),
            "fixed": all(c.fixed for c in own.values()),
        },
    )


def _of_statistics(names: tuple[str, ...], statistics: Sequence[Any]) -> StatisticSet:
    return StatisticSet.of_classes(dict(zip(names, map(type, statistics), strict=True)))(statistics)
