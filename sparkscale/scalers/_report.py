"""The report of a fitted model: how new rows differ from those of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkscale.errors import EmptyDataError
from sparkscale.scalers._compare import Side, check_keys, checked_names, compared
from sparkscale.scalers._groups import Groups, set_of_one
from sparkscale.scalers._statistics import CLASSES
from sparkscale.scalers.comparison import Comparison, checked_thresholds
from sparkscale.scalers.profile import Profile
from sparkscale.spark.columns import as_fitted, resolve
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.keys import KeyColumn
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.apply import slices_of
from sparkscale.spark.transform.outside import add_outside
from sparkscale.statistics import Extrema, Quantiles, StatisticSet

__all__ = ["Reports", "plus"]


class Reports:
    """Mixin for fitted models."""

    def _entry_sql(self, features: slice) -> str:
        """Return the entry of the statistic that feature ``{0}`` of a column has, or of a vector of all columns, as SQL."""
        return plus(features.start, "{0}")

    def report(
        self, dataset: DataFrame, *, by: list[str] | None = None, thresholds: dict[str, float] | None = None
    ) -> Comparison:
        """Return how rows differ from those of the fit, in one scan of them.

        Values out of the fitted range are counted. The mean and the spread are compared by models that hold moments, such
        as those of `StandardScaler` and `BatchNorm`; the range by models that hold extrema, such as those of
        `MinMaxScaler`, `MaxAbsScaler` and `RobustScaler`; and the population stability index by those of `RobustScaler`
        and `Winsorizer`, which hold quantiles. To compare all, keep a `Profile` with these statistics and use
        `Profile.compare`.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            The rows, with the columns of the fit.
        by : list of str, optional
            Some of ``groupCols``, to compare the rows of each key. By default, all rows are compared.
        thresholds : dict of str to float, optional
            What to flag; see `Comparison`.

        Returns
        -------
        Comparison
            A table with figures of each feature, and of each key with ``by``.

        Raises
        ------
        ParamError
            If the model was given its numbers, ``by`` names no group column, or a threshold cannot be used.
        EmptyDataError
            If there is no row.
        """
        return report(self, dataset, by, thresholds)


def plus(start: int, index: str) -> str:
    """Return the sum of a number and an index as SQL."""
    return f"{start} + {index}" if start else index


def report(model: Any, dataset: Any, by: Any, thresholds: Any) -> Comparison:
    """Compare the statistic of a fitted model with new rows; see ``report`` of the models."""
    what = f"{type(model).__name__}.report"
    limits, names, statistic = checked_thresholds(what, thresholds), checked_names(what, by), model.statistics
    if not isinstance(statistic, tuple(CLASSES.values())):
        raise model._fail(
            f"report compares moments, extrema or quantiles of all rows, and the model holds {type(statistic).__name__}. Use "
            "Profile.compare."
        )
    check_dataset(dataset, whole="report")
    held, keys = _by(what, model, dataset, names)
    first = Side.of(what, held)
    columns = as_fitted(resolve(dataset, model._input_names()), model._renamed())
    flags: list[str] = []
    if isinstance(statistic, Extrema):
        with translate_job_errors():
            ranges = held.map_rows(_ranges, ("low", "high")) if names else (statistic.min, statistic.max)
        entries = [model._entry_sql(features) for features in slices_of(columns)]
        dataset, flags = add_outside(dataset, columns, ranges, entries, keys)
    new = Profile._of(
        dataset,
        inputCols=[*(column.name for column in columns), *flags],
        groupCols=names,
        statistics=_needed(statistic),
        weightCol=model.getOrDefault("weightCol") if model.hasParam("weightCol") and model.isSet("weightCol") else None,
        handleInvalid="keep",
        described=model._described,
        relativeError=getattr(statistic, "relative_error", Quantiles.relative_error),
    )
    if new is None:
        raise EmptyDataError(f"{what}: there is no row, or every row has weight 0.")
    order = new._features_of(columns, model._layout())
    return compared(first, Side.of(what, new._held), order, model._entries(), names, limits, counted=bool(flags))


def _ranges(keys: pa.Array, rows: StatisticSet) -> dict[str, npt.NDArray[np.float64]]:
    (extrema,) = rows.statistics
    return {"low": extrema.min, "high": extrema.max}


def _needed(statistic: Any) -> list[str]:
    """Return the statistics of new rows that are compared with one."""
    if isinstance(statistic, Quantiles):
        return ["quantiles"]
    return ["extrema"] if isinstance(statistic, Extrema) else ["moments"]


def _by(what: str, model: Any, dataset: DataFrame, names: Sequence[str]) -> tuple[Any, list[KeyColumn]]:
    """Return the statistic of a model, by some of its groups if there are names, and their columns in new rows."""
    groups: Groups | None = getattr(model, "_groups", None)
    own = model._group_names()[: -1 if groups and groups.as_of else None]
    check_keys(what, names, own, "the model")
    if groups is None or not names:
        return set_of_one(type(model.statistics))([model.statistics]), []
    fields, keys = [own.index(name) for name in names], model._keys_in(dataset)
    table = groups.table
    if fields != [*range(len(groups.keys))]:
        with translate_job_errors():
            table = table.projected(fields)
    return table, [keys[field] for field in fields]
