"""What a profile shows of each feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sparkscale.scalers._statistics import source_of
from sparkscale.statistics import Extrema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["summary_of"]

SHOWN_QUANTILES = {"25%": 0.25, "50%": 0.5, "75%": 0.75}


def summary_of(statistic: Any, features: Sequence[str]) -> pd.DataFrame:
    """Return the counts of each feature, and the values of each of a set of statistics; NaN where there is no valid value."""
    import pandas as pd  # noqa: PLC0415  # only tables need it

    columns: dict[str, Any] = {n: getattr(statistic, n).astype(np.int64) for n in ("count", "invalid")}
    if "moments" in statistic.classes:
        columns |= {"mean": statistic["moments"].mean, "std": statistic["moments"].std(1)}
    elif "coMoments" in statistic.classes:
        columns |= {"mean": statistic["coMoments"].mean}
    extrema = source_of([*statistic.classes], Extrema)
    columns |= {"min": statistic[extrema].min} if extrema else {}
    if "quantiles" in statistic.classes:
        columns |= {name: statistic["quantiles"].quantile(q) for name, q in SHOWN_QUANTILES.items()}
    columns |= {"max": statistic[extrema].max} if extrema else {}
    columns |= {"norm": statistic["squares"].norm} if "squares" in statistic.classes else {}
    empty = statistic.count == 0
    numbers = {n: v if n in ("count", "invalid") else np.where(empty, np.nan, v) for n, v in columns.items()}
    return pd.DataFrame(numbers, index=pd.Index(features, name="feature"))
