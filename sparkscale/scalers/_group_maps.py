"""The map of each key, computed from the statistics of many keys at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkscale.affine import AffineMap
from sparkscale.errors import RangeOverflowError, tag_error
from sparkscale.scalers._learned import Array
from sparkscale.spark.transform.by_key import NUMBERS
from sparkscale.statistics import StatisticSet

__all__ = ["KeyMaps", "KeyValues"]


class KeyValues:
    """Computes what was learned of each key."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, keys: pa.Array, rows: StatisticSet) -> dict[str, Array]:
        """Return ``count``, and what was learned, by key and entry."""
        (statistic,) = rows.statistics
        model = _of_rows(self._model, statistic)
        values = {name: np.asarray(v) for name, v in model._learned_values().items()}
        return {"count": statistic.count, **{name: v.reshape(len(keys), -1) for name, v in values.items()}}


class KeyMaps:
    """Computes the map of each key."""

    def __init__(self, model: Any, of_all: dict[str, Array], *, inverse: bool) -> None:
        self._model, self.of_all, self._inverse = model, of_all, inverse
        self._least = model.getMinGroupCount()

    @classmethod
    def of(cls, model: Any, *, inverse: bool) -> KeyMaps:
        """Return what computes the maps of a model's keys."""
        plain = model._without_groups()
        affine, fill = plain._entry_map(), plain._fill()
        of_all = _numbers(affine, fill, 1, inverse=inverse)
        maps = cls(plain, {name: row[0] for name, row in of_all.items()}, inverse=inverse)
        maps._affine, maps._fill = affine, fill
        return maps

    _affine: AffineMap
    _fill: Array | None

    def __call__(self, keys: pa.Array, rows: StatisticSet) -> dict[str, Array]:
        """Return the numbers of each key's map."""
        (statistic,) = rows.statistics
        try:
            return self._of(statistic)
        except RangeOverflowError as failure:
            for k, key in enumerate(keys.to_pylist()):
                try:
                    self._of(statistic.take(np.array([k])))
                except RangeOverflowError as of_key:  # noqa: PERF203
                    values = ", ".join(map(repr, key.values()))
                    raise RangeOverflowError(tag_error(RangeOverflowError, f"Group {values}: {of_key}")) from failure
            raise

    def _of(self, statistic: Any) -> dict[str, Array]:
        rows, few = len(statistic.count), statistic.count < self._least
        model = _of_rows(self._model, statistic)
        own = model._entry_map(few.ravel())
        own_fill = model._fill(few.ravel())
        pairs = ((own.center, self._affine.center), (own.scale, self._affine.scale), (own.offset, self._affine.offset))
        center, scale, offset = (np.where(few, of_all, one.reshape(rows, -1)).ravel() for one, of_all in pairs)
        affine = AffineMap(center, scale, offset)
        fill = None
        if own_fill is not None and self._fill is not None:
            fill = np.where(few, self._fill, own_fill.reshape(rows, -1)).ravel()
        return _numbers(affine, fill, rows, inverse=self._inverse)


def _of_rows(model: Any, statistic: Any) -> Any:
    """Return a model of the statistics of many keys, as if they were of so many more features."""
    model = model.copy()
    model._learned, model._of_keys = statistic.raveled(), len(statistic.count)
    return model


def _numbers(affine: AffineMap, fill: Array | None, rows: int, *, inverse: bool) -> dict[str, Array]:
    """Return maps as lists of numbers, in the order of ``NUMBERS``."""
    affine = affine.inverse() if inverse else affine
    zero: npt.NDArray[np.float64] = affine.apply(np.zeros(len(affine))).reshape(rows, -1)
    numbers = (affine.center, affine.scale, affine.offset, np.zeros(0) if fill is None else fill)
    return {
        **{name: values.reshape(rows, -1) for name, values in zip(NUMBERS, numbers, strict=False)},
        "zero": (zero == 0).all(axis=1).astype(np.float64)[:, None],
    }
