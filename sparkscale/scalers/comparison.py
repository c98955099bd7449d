"""The result of a comparison of statistics: a table, and what exceeds its thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.scalers._drift import THRESHOLDS, Drift

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "checked_thresholds"]

MAX_ROWS = 50  # of the HTML table
COUNTS = ("count", "newCount")


class Comparison:
    r"""How rows differ from those of a fit, by feature, or by key and feature.

    `Profile.compare` and the ``report`` of a fitted model return it.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per feature, or per key and feature, with the columns

        - ``count``, ``newCount``: the number of valid values on the first and on the second side;
        - ``invalid``, ``newInvalid``: the shares of null, NaN and infinite values;
        - ``outOfRange``: the share of values on the second side below the least or above the largest value of the first;
        - ``meanShift``: :math:`(\mu_2 - \mu_1) / \sigma_1`, in sample standard deviations of the first side;
        - ``spreadRatio``: :math:`\sigma_2 / \sigma_1`;
        - ``psi``: the population stability index :math:`\sum_i (q_i - p_i) \ln (q_i / p_i)` over ten bins between the
          deciles of the first side; :math:`p_i` and :math:`q_i` are the shares of both sides in a bin, at least 1e-4;
        - ``flags``: the names of the figures that exceed their threshold;
        - ``note``: why a figure is NaN.
    thresholds : dict of str to float
        ``invalid``: the largest change of the share; ``outOfRange``: the largest share; ``meanShift``: the largest
        absolute shift; ``spreadRatio``: the largest ratio, also of its reciprocal; ``psi``: the largest index.

    References
    ----------
    N. Siddiqi, "Credit Risk Scorecards" (2006), calls a population stability index above 0.25 a significant shift.

    Examples
    --------
    >>> from sparkscale import Profile
    >>> first = spark.createDataFrame([(1.0,), (2.0,), (3.0,)], "x double")
    >>> second = spark.createDataFrame([(2.0,), (4.0,), (6.0,), (None,)], "x double")
    >>> before, after = (Profile.of(df, inputCols=["x"]) for df in (first, second))
    >>> comparison = before.compare(after)
    >>> comparison
    Comparison of 1 features: 1 flagged
    >>> row = comparison.table.loc["x"]
    >>> print(row.newInvalid, row.meanShift, row.spreadRatio, row["flags"])
    0.25 2.0 2.0 invalid, meanShift
    """

    def __init__(self, table: pd.DataFrame, thresholds: Mapping[str, float]) -> None:
        self.table = table
        self.thresholds = dict(thresholds)

    @classmethod
    def _of(
        cls, drift: Drift, features: Sequence[str], keys: Mapping[str, Sequence[Any]], thresholds: Mapping[str, float]
    ) -> Comparison:
        """Return the comparison of figures with a row per key and a column per feature."""
        import pandas as pd  # noqa: PLC0415  # only tables need it

        columns: dict[str, Any] = {name: values.ravel() for name, values in drift.figures.items()}
        exceeds = {name: _exceeds(name, columns, limit) for name, limit in thresholds.items()}
        flags = [", ".join(name for name in exceeds if exceeds[name][row]) for row in range(len(drift.notes.ravel()))]
        columns |= {name: columns[name].astype(np.int64) for name in COUNTS}
        columns |= {"flags": flags, "note": drift.notes.ravel()}
        levels = [pd.Series(values, dtype=object).repeat(len(features)) for values in keys.values()]
        names = [*features] * len(drift.notes)
        index = (
            pd.MultiIndex.from_arrays([*levels, names], names=[*keys, "feature"])
            if keys
            else pd.Index(names, name="feature")
        )
        return cls(pd.DataFrame(columns, index=index), thresholds)

    @property
    def flagged(self) -> pd.DataFrame:
        """The rows of ``table`` with a flag."""
        return self.table[self.table["flags"] != ""]

    def html(self) -> str:
        """Return the table as HTML, with the flagged rows first and their figures in bold."""
        table, names = self.table, [*self.table.index.names]
        order = np.argsort(table["flags"].to_numpy() == "", kind="stable")
        heads = "".join(f"<th>{escape(str(name))}</th>" for name in (*names, *table.columns))
        rows = "".join(_row(table.index[i], table.iloc[i]) for i in order[:MAX_ROWS])
        limits = ", ".join(f"{name} {limit:g}" for name, limit in self.thresholds.items())
        more = f"{len(table) - MAX_ROWS:,} more rows in table. " if len(table) > MAX_ROWS else ""
        return (
            f"<div><div><b>Comparison</b>{escape(repr(self).removeprefix('Comparison'))}</div>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            f"<div><small>{more}Thresholds: {limits}.</small></div></div>"
        )

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        features = len(self.table.index.unique("feature"))
        keys = f" of {len(self.table) // max(features, 1):,} keys" if self.table.index.nlevels > 1 else ""
        return f"Comparison of {features:,} features{keys}: {len(self.flagged):,} flagged"


def _exceeds(name: str, columns: Mapping[str, Any], limit: float) -> Any:
    values = columns[name]
    if name == "invalid":
        return np.abs(columns["newInvalid"] - values) > limit
    if name == "spreadRatio":
        return (values > limit) | (values < 1 / limit)
    return np.abs(values) > limit


def _row(index: Any, row: Any) -> str:
    flags = row["flags"].split(", ")
    heads = index if isinstance(index, tuple) else (index,)
    cells = [f"<th>{escape(str(value))}</th>" for value in heads]
    for name, value in row.items():
        text = f"{value:,}" if name in COUNTS else escape(value) if isinstance(value, str) else f"{value:.4g}"
        cells.append(f"<td>{f'<b>{text}</b>' if name in flags else text}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def checked_thresholds(what: str, thresholds: Any) -> dict[str, float]:
    """Return the thresholds to use: those that are given, and the others as they are by default."""
    given = {} if thresholds is None else thresholds
    if not isinstance(given, Mapping):
        raise ParamTypeError(f"{what}: thresholds must be a dict of names and numbers. Got {thresholds!r}.")
    for name, limit in given.items():
        if name not in THRESHOLDS:
            raise ParamError(f"{what}: {name!r} has no threshold. Name some of {', '.join(map(repr, THRESHOLDS))}.")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or math.isnan(limit) or limit < 0:
            raise ParamError(f"{what}: the threshold of {name!r} must be a number of at least 0. Got {limit!r}.")
        if name == "spreadRatio" and limit < 1:
            raise ParamError(f"{what}: the threshold of 'spreadRatio' must be at least 1. Got {limit!r}.")
    return {**THRESHOLDS, **given}
