"""Numbers that a model was given instead of fitting it: what they must be, and of which features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import Vector
from pyspark.sql import DataFrame

from sparkscale.errors import ParamTypeError
from sparkscale.scalers._params import param
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn, resolve

__all__ = ["Argument", "Given", "Numbers", "arranged"]

Array = npt.NDArray[np.float64]
Numbers: TypeAlias = "float | Sequence[Any] | npt.NDArray[Any] | Vector"

UNTYPED = FeatureColumn("", "array")


@dataclass(frozen=True)
class Argument:
    """What ``of`` takes by a name: numbers that are at least ``least``, which may be the name of other ones."""

    least: float | str = -np.inf
    optional: bool = False


@dataclass(frozen=True, eq=False)
class Given:
    """What a model holds instead of a statistic: numbers by name, of no row."""

    numbers: Mapping[str, Array]

    @property
    def count(self) -> Array:
        """Number of valid values."""
        return np.zeros(len(self))

    @property
    def invalid(self) -> Array:
        """Number of invalid values."""
        return np.zeros(len(self))

    def __len__(self) -> int:
        return len(next(iter(self.numbers.values())))

    def problems(self, takes: Mapping[str, Argument]) -> Iterator[tuple[str, Array, npt.NDArray[np.bool_]]]:
        """Return each rule that is broken, the numbers that it is about, and which of them break it."""
        for name, values in self.numbers.items():
            least = takes[name].least
            bound = self.numbers[least] if isinstance(least, str) else least
            rules = {"finite": np.isfinite(values), f"at least {least}": values >= bound}
            for rule, kept in rules.items():
                if not kept.all():
                    yield f"{name} must be {rule}", values, ~kept

    def to_json(self) -> dict[str, list[float]]:
        """Return the numbers as they are saved."""
        return {name: values.tolist() for name, values in self.numbers.items()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], takes: Mapping[str, Argument]) -> Given:
        """Return numbers that were saved."""
        unknown, required = saved.keys() - takes.keys(), {n for n, argument in takes.items() if not argument.optional}
        if unknown or required - saved.keys() or not saved:
            raise storage.MalformedError(f"given has {', '.join(saved) or 'nothing'}, not {', '.join(takes)}")
        lists = [storage.typed_entry(saved, name, list) for name in saved]
        if not all(type(number) in (int, float) for numbers in lists for number in numbers):
            raise storage.MalformedError("given has entries that are not numbers")
        if len({len(numbers) for numbers in lists}) > 1:
            raise storage.MalformedError("given has lists of different lengths")
        given = cls({name: np.array(numbers, dtype=np.float64) for name, numbers in zip(saved, lists, strict=True)})
        for problem, _, _ in given.problems(takes):
            raise storage.MalformedError(problem)
        return given


def arranged(
    model: Any, numbers: Mapping[str, Numbers | None], dataset: DataFrame | None
) -> tuple[list[FeatureColumn], Given]:
    """Return the columns that the Params of a model name, and the numbers of all of them.

    Parameters
    ----------
    model : LearnedModel
        A new one, with its Params. Its ``_takes`` has the names of the numbers.
    numbers : mapping of str
        Numbers of the only column, or one entry for each of ``inputCols``, by name.
    dataset : pyspark.sql.DataFrame or None
        What has the columns; without it, a column of one number is a scalar, and of several an array.
    """
    columns, layout = _columns(model, dataset), model._layout()
    sizes = [layout.channels if layout else column.size for column in columns]
    if layout and layout.is_open and None in (column.size for column in columns):
        raise model._fail(f"shape {list(layout.shape)} does not tell the size of vectors. Give it in their metadata.")
    arrays: dict[str, Array] = {}
    for name, value in numbers.items():
        if value is not None:
            lists = _lists(model, name, value, len(columns))
            sizes = [size or len(values) for size, values in zip(sizes, lists, strict=True)]
            for column, size, values in zip(columns, sizes, lists, strict=True):
                if not 0 < len(values) == size:
                    raise model._fail(
                        f"{name} has {len(values)} numbers for column '{column.name}', where {size or 'more'} are needed. Give "
                        f"one for each {'channel' if layout else 'feature'}."
                    )
            arrays[name] = np.array([number for values in lists for number in values], dtype=np.float64)
        elif not model._takes[name].optional:
            raise ParamTypeError(f"{type(model).__name__}: {name} is missing. Give one number for each feature.")
    if not arrays:
        raise model._fail(f"{' and '.join(numbers)} are missing. Give at least one of them.")
    if dataset is None:
        columns = [
            replace(c, kind="scalar") if n == 1 and not layout else c for c, n in zip(columns, sizes, strict=True)
        ]
    if layout:
        sizes = [column.size if layout.is_open else layout.size for column in columns]
    return [replace(c, size=n) for c, n in zip(columns, sizes, strict=True)], Given(arrays)


def _columns(model: Any, dataset: DataFrame | None) -> list[FeatureColumn]:
    """Return the columns that the Params of a model name; without a DataFrame their kind and size are open."""
    names = model._input_names()
    columns = [UNTYPED.renamed(name) for name in names] if dataset is None else resolve(dataset, names)
    columns = [*model._described(columns)]
    model._check_columns(columns)
    return columns


def _lists(model: Any, name: str, value: Any, columns: int) -> list[list[float]]:
    """Return the numbers of each column."""
    listed = param(name, "", list[float])
    items = _items(value)
    if not (model.isSet("inputCols") and isinstance(items, list)):
        items = [items]
    elif len(items) != columns:
        raise model._fail(
            f"{name} has {len(items)} entries for {columns} columns. Give one number for each column, or one list for each "
            "if there are arrays or vectors."
        )
    return [model._converted(listed, _items(item)) for item in items]


def _items(value: Any) -> Any:
    """Return what arrays of any library and vectors hold as lists, and a single number as a list of one."""
    if isinstance(value, Vector):
        value = value.toArray()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return [item.item() if isinstance(item, np.generic) else item for item in value]
    return [value] if isinstance(value, Real | NoneType) else value
