"""HTML representation of a stage in notebooks: its Params and, once fitted, its features; without own colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.param import Param, Params

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Extent", "Features", "HtmlReprMixin", "stage_html"]

Array = npt.NDArray[np.float64]

MAX_TABLE_FEATURES = 20  # rows of the table
MAX_LISTED_NAMES = 5  # names of features in a sentence
MAX_LIST_ITEMS = 8  # of a Param whose value is a list
MAX_TEXT_LENGTH = 60  # characters of a name or a value
MARK_WIDTH, MARK_HEIGHT, MARK_MARGIN = 110, 14, 4  # in pixels


@dataclass(frozen=True)
class Extent:
    """The range of the values of each feature, and their middle if it is known."""

    low: Array
    high: Array
    middle: Array | None = None


@dataclass(frozen=True)
class Features:
    """The features to show: a row of ``summary`` each, the extent of their values, and which had no valid value."""

    summary: pd.DataFrame
    extent: Extent
    empty: npt.NDArray[np.bool_]


class HtmlReprMixin(Params):
    """Mixin for stages with an HTML representation in notebooks."""

    def _repr_html_(self) -> str:
        return stage_html(type(self).__name__, self, *self._overview())

    def _overview(self) -> tuple[str, Features | None]:
        """Return a description of the stage, and its features if it is fitted."""
        return "", None


def stage_html(title: str, params: Params, description: str, features: Features | None) -> str:
    """Return a stage as HTML.

    Parameters
    ----------
    title : str
        The name of the stage.
    params : pyspark.ml.param.Params
        The stage whose Params to show.
    description : str
        Text after the name.
    features : Features, optional
        The fitted features.
    """
    after_title = f": {escape(description)}" if description else ""
    divs = [f"<div><b>{escape(title)}</b>{after_title} <small>({escape(params.uid)})</small></div>", *_params(params)]
    if features is not None:
        divs += [_remarks(features), _table(features), _legend(features)]
    return f"<div>{''.join(divs)}</div>"


def _params(params: Params) -> Iterable[str]:
    """Return one line each for Params that are set, that have their default, and that have no value."""
    given = [p for p in params.params if params.isSet(p)]
    default = [p for p in params.params if params.hasDefault(p) and not params.isSet(p)]
    for name, group in (("Set", given), ("Default", default)):
        if group:
            values = ", ".join(_param(p, params.getOrDefault(p)) for p in group)
            yield f"<div><small>{name}: {values}</small></div>"
    unset = ", ".join(
        f'<span title="{escape(p.doc)}">{p.name}</span>' for p in params.params if not params.isDefined(p)
    )
    if unset:
        yield f"<div><small>Not set: {unset}</small></div>"


def _param(param: Param[Any], value: Any) -> str:
    if isinstance(value, list) and len(value) > MAX_LIST_ITEMS:
        text = f"[{', '.join(map(_item, value[:MAX_LIST_ITEMS]))}, … {len(value):,} in all]"
    elif isinstance(value, list):
        text = f"[{', '.join(map(_item, value))}]"
    else:
        text = _short(repr(value))
    return f'<code title="{escape(param.doc)}">{param.name}={escape(text)}</code>'


def _item(value: Any) -> str:
    return min(repr(value), f"{value:.6g}", key=len) if isinstance(value, float) else _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[: MAX_TEXT_LENGTH - 1]}…"


def _remarks(features: Features) -> str:
    """List features that need attention."""
    summary = features.summary
    conditions: dict[str, pd.Series[bool] | npt.NDArray[np.bool_]] = {
        "constant": summary["constant"],
        "without a valid value": features.empty,
        "with invalid values (null, NaN or infinite)": (summary["invalid"] > 0) & ~features.empty,
    }
    remarks = [
        f"{int(which.sum()):,} {text}: {_listed(list(summary.index[which]))}"
        for text, which in conditions.items()
        if which.any()
    ]
    return f"<div><small>{'; '.join(remarks)}.</small></div>" if remarks else ""


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(escape(_short(name)) for name in names[:MAX_LISTED_NAMES])
    return f"{listed} and {len(names) - MAX_LISTED_NAMES:,} more" if len(names) > MAX_LISTED_NAMES else listed


def _table(features: Features) -> str:
    summary, extent = features.summary, features.extent
    columns = [name for name in summary.columns if name != "constant"]
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("feature", *columns, "values", ""))
    rows = []
    for i in range(min(MAX_TABLE_FEATURES, len(summary))):
        row = summary.iloc[i]
        name = str(summary.index[i])
        cells = [f'<th title="{escape(name)}">{escape(_short(name))}</th>']
        cells += [f"<td>{_number(row[column])}</td>" for column in columns]
        middle = None if extent.middle is None else float(extent.middle[i])
        cells += [
            f"<td>{_mark(float(extent.low[i]), float(extent.high[i]), middle)}</td>",
            f"<td>{_note(row, bool(features.empty[i]))}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _number(value: Any) -> str:
    return f"{int(value):,}" if isinstance(value, int | np.integer) else f"{value:.6g}"


def _note(row: Any, empty: bool) -> str:
    """Describe what is special about a feature."""
    if empty:
        return "<b>no valid value</b>"
    words = ["<b>constant</b>"] if row["constant"] else []
    count, invalid = int(row["count"]), int(row["invalid"])
    if invalid:
        share = f"{100 * invalid / (count + invalid):.1f}"
        words.append(f"<b>{'&lt; 0.1' if share == '0.0' else share} % invalid</b>")
    return ", ".join(words)


def _mark(low: float, high: float, middle: float | None) -> str:
    """Draw the extent of the values and the position of 0, on the feature's own axis; an empty string if unknown."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    start, end = 0.5 * min(low, 0.0), 0.5 * max(high, 0.0)  # halves, since the range may overflow
    length = (end - start) or 1.0

    def at(value: float) -> float:
        return MARK_MARGIN + (MARK_WIDTH - 2 * MARK_MARGIN) * ((0.5 * value - start) / length)

    left, right = at(low), at(high)
    tooltip = (
        f"{low:.6g} to {high:.6g}"
        if middle is None
        else f"mean {middle:.6g}, ± standard deviation {low:.6g} to {high:.6g}"
    )
    zero, half = at(0.0), MARK_HEIGHT / 2
    dot = "" if middle is None else f'<circle cx="{at(middle):.1f}" cy="{half:g}" r="3"/>'
    return (
        f'<svg width="{MARK_WIDTH}" height="{MARK_HEIGHT}" viewBox="0 0 {MARK_WIDTH} {MARK_HEIGHT}" role="img" fill="currentColor" '
        f'style="vertical-align: middle"><title>{tooltip}</title>'
        f'<rect x="{zero - 0.5:.1f}" y="0" width="1" height="{MARK_HEIGHT}"/>'
        f'<rect x="{left - 1:.1f}" y="{half - 3:g}" width="{right - left + 2:.1f}" height="6" fill-opacity="0.4"/>'
        f"{dot}</svg>"
    )


def _legend(features: Features) -> str:
    more = len(features.summary) - MAX_TABLE_FEATURES
    rest = f"{more:,} more; model.summary() has all of them. " if more > 0 else ""
    bar = (
        "from the least to the largest"
        if features.extent.middle is None
        else "the mean, with a standard deviation on either side"
    )
    return f"<div><small>{rest}Values: {bar}; the line is 0, and each feature has an axis of its own.</small></div>"
