"""The map of each key, computed from the statistics of many keys at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkscale.errors import RangeOverflowError, tag_error
from sparkscale.scalers._learned import Array
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
    """Computes the map of each key.

    Parameters
    ----------
    model : GroupModel
        The model.
    inverse : bool
        Whether to return the inverse maps.
    least : int, optional
        With fewer valid values, a feature of a key gets the map of all rows; by default ``minGroupCount``.
    ahead : bool
        Whether that map is known; otherwise the numbers of such a feature are NaN.
    """

    def __init__(self, model: Any, *, inverse: bool, least: int | None = None, ahead: bool = True) -> None:
        self._model, self._inverse, self._least = (
            model._without_groups(),
            inverse,
            model.getMinGroupCount() if least is None else least,
        )
        self._map, self._fill = self._model._entry_map(), self._model._fill()
        if not ahead:
            self._map = replace(self._map, **{n: np.full_like(a, np.nan) for n, a in self._map.arrays().items()})
            if self._fill is not None and self._model.getOrDefault("fillInvalid") == "center":
                self._fill = np.full(len(self._map), np.nan)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers."""
        return (*self._map.arrays(), "fill", "zero")

    @property
    def of_all(self) -> dict[str, Array]:
        """The numbers of the map of all rows."""
        numbers = _numbers(self._map, self._fill, 1, inverse=self._inverse)
        return {name: row[0] for name, row in numbers.items()}

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
        arrays = {}
        for name, of_all in self._map.arrays().items():
            of_keys = getattr(own, name)
            which = few.reshape(few.shape + (1,) * (of_all.ndim - 1))
            arrays[name] = np.where(which, of_all, of_keys.reshape(rows, *of_all.shape)).reshape(of_keys.shape)
        fill = None
        if own_fill is not None and self._fill is not None:
            fill = np.where(few, self._fill, own_fill.reshape(rows, -1)).ravel()
        return _numbers(replace(own, **arrays), fill, rows, inverse=self._inverse)


def _of_rows(model: Any, statistic: Any) -> Any:
    """Return a model of the statistics of many keys, as if they were of so many more features."""
    model = model.copy()
    model._learned, model._of_keys = statistic.raveled(), len(statistic.count)
    return model


def _numbers(fitted: Any, fill: Array | None, rows: int, *, inverse: bool) -> dict[str, Array]:
    """Return maps as lists of numbers."""
    fitted = fitted.inverse() if inverse else fitted
    zero: npt.NDArray[np.float64] = fitted.apply(np.zeros(len(fitted))).reshape(rows, -1)
    numbers = {**fitted.arrays(), "fill": np.zeros(0) if fill is None else fill}
    return {
        **{name: values.reshape(rows, -1) for name, values in numbers.items()},
        "zero": (zero == 0).all(axis=1).astype(np.float64)[:, None],
    }
