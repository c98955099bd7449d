"""What notebooks show of a stage: its Params and, once fitted, its features. Plain HTML, in the notebook's own colours."""

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

ROWS = 20  # features in a table
NAMES = 5  # of features in a sentence
ITEMS = 8  # of a list that is the value of a Param
LETTERS = 60  # of a name or a value
WIDTH, HEIGHT, MARGIN = 110, 14, 4  # of a mark, in pixels


@dataclass(frozen=True)
class Extent:
    """From where to where the values of each feature are known to lie, and the middle where it is known."""

    low: Array
    high: Array
    middle: Array | None = None


@dataclass(frozen=True)
class Features:
    """What is shown of the features: a row of ``summary`` each, and where their values lie."""

    summary: pd.DataFrame
    extent: Extent


class HtmlReprMixin(Params):
    """Mixin for stages that notebooks show."""

    def _repr_html_(self) -> str:
        return stage_html(type(self).__name__, self, *self._overview())

    def _overview(self) -> tuple[str, Features | None]:
        """Return what to say beside the name of the stage, and its features."""
        return "", None


def stage_html(title: str, params: Params, description: str, features: Features | None) -> str:
    """Return a stage as HTML.

    Parameters
    ----------
    title : str
        Its name.
    params : pyspark.ml.param.Params
        Whose Params to show.
    description : str
        What to say beside the name.
    features : Features, optional
        What was learned.
    """
    after_title = f": {escape(description)}" if description else ""
    divs = [f"<div><b>{escape(title)}</b>{after_title} <small>({escape(params.uid)})</small></div>", *_params(params)]
    if features is not None:
        divs += [_marked(features.summary), _table(features), _legend(features)]
    return f"<div>{''.join(divs)}</div>"


def _params(params: Params) -> Iterable[str]:
    """Return what was set, what has its default, and the names of what has no value, a line each."""
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
    if isinstance(value, list) and len(value) > ITEMS:
        text = f"[{', '.join(map(_item, value[:ITEMS]))}, … {len(value):,} in all]"
    elif isinstance(value, list):
        text = f"[{', '.join(map(_item, value))}]"
    else:
        text = _short(repr(value))
    return f'<code title="{escape(param.doc)}">{param.name}={escape(text)}</code>'


def _item(value: Any) -> str:
    return min(repr(value), f"{value:.6g}", key=len) if isinstance(value, float) else _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _marked(summary: pd.DataFrame) -> str:
    """Name the features that need a look."""
    conditions = {
        "constant": summary["constant"],
        "without a valid value": summary["count"] == 0,
        "with invalid values (null, NaN or infinite)": (summary["invalid"] > 0) & (summary["count"] > 0),
    }
    remarks = [
        f"{int(which.sum()):,} {text}: {_listed(list(summary.index[which]))}"
        for text, which in conditions.items()
        if which.any()
    ]
    return f"<div><small>{'; '.join(remarks)}.</small></div>" if remarks else ""


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(escape(_short(name)) for name in names[:NAMES])
    return f"{listed} and {len(names) - NAMES:,} more" if len(names) > NAMES else listed


def _table(features: Features) -> str:
    summary, extent = features.summary, features.extent
    columns = [name for name in summary.columns if name != "constant"]
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("feature", *columns, "values", ""))
    rows = []
    for i in range(min(ROWS, len(summary))):
        row = summary.iloc[i]
        name = str(summary.index[i])
        cells = [f'<th title="{escape(name)}">{escape(_short(name))}</th>']
        cells += [f"<td>{_number(row[column])}</td>" for column in columns]
        middle = None if extent.middle is None else float(extent.middle[i])
        cells += [f"<td>{_mark(float(extent.low[i]), float(extent.high[i]), middle)}</td>", f"<td>{_note(row)}</td>"]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _number(value: Any) -> str:
    return f"{int(value):,}" if isinstance(value, int | np.integer) else f"{value:.6g}"


def _note(row: Any) -> str:
    """Say in words what is special about a feature."""
    count, invalid = int(row["count"]), int(row["invalid"])
    if not count:
        return "<b>no valid value</b>"
    share = f"{100 * invalid / (count + invalid):.1f}"
    words = ["<b>constant</b>"] if row["constant"] else []
    words += [f"<b>{'&lt; 0.1' if share == '0.0' else share} % invalid</b>"] if invalid else []
    return ", ".join(words)


def _mark(low: float, high: float, middle: float | None) -> str:
    """Draw where the values lie beside 0, on an axis of the feature's own; nothing where that is not known."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    start, end = 0.5 * min(low, 0.0), 0.5 * max(high, 0.0)  # halves, since a range may be no double
    length = (end - start) or 1.0

    def at(value: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * ((0.5 * value - start) / length)

    left, right = at(low), at(high)
    tooltip = (
        f"{low:.6g} to {high:.6g}"
        if middle is None
        else f"mean {middle:.6g}, ± standard deviation {low:.6g} to {high:.6g}"
    )
    zero, half = at(0.0), HEIGHT / 2
    dot = "" if middle is None else f'<circle cx="{at(middle):.1f}" cy="{half:g}" r="3"/>'
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" fill="currentColor" '
        f'style="vertical-align: middle"><title>{tooltip}</title>'
        f'<rect x="{zero - 0.5:.1f}" y="0" width="1" height="{HEIGHT}"/>'
        f'<rect x="{left - 1:.1f}" y="{half - 3:g}" width="{right - left + 2:.1f}" height="6" fill-opacity="0.4"/>'
        f"{dot}</svg>"
    )


def _legend(features: Features) -> str:
    more = len(features.summary) - ROWS
    rest = f"{more:,} more; model.summary() has all of them. " if more > 0 else ""
    bar = (
        "from the least to the largest"
        if features.extent.middle is None
        else "the mean, with a standard deviation on either side"
    )
    return f"<div><small>{rest}Values: {bar}; the line is 0, and each feature has an axis of its own.</small></div>"
