"""Histograms before and after scaling, drawn with Matplotlib, which the extra ``plot`` installs. Does not use Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from sparkscale.display.histogram import Histogram

__all__ = ["Picture", "Row", "before_and_after"]

FIGURE_WIDTH, ROW_HEIGHT, TITLE_HEIGHT = 9.0, 1.9, 0.5  # inches
LABEL_LENGTH = 48  # characters
FONT_SIZE = 9  # points
TICK_STEPS = [1, 2, 2.5, 5, 10]
BEFORE, AFTER, MARK = "tab:blue", "tab:orange", "0.25"  # colours; the last is a dark grey
TAIL = 0.005  # share of a feature's values that may lie beyond either end of the shared axis
MARGIN = 0.04  # of the width of the shared axis


class Picture(Figure):
    """A figure that a notebook shows as the value of a cell, once: pyplot, which would show it again, is not used."""

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()


@dataclass(frozen=True)
class Row:
    """Labels and histograms of a feature, before and after."""

    labels: tuple[str, str]
    histograms: tuple[Histogram, Histogram]


def before_and_after(title: str, rows: Sequence[Row]) -> Picture:
    """Draw one row of panels per feature: on the left before, each on its own axis, on the right after, on a shared one.

    Parameters
    ----------
    title : str
        Title of the figure.
    rows : sequence of Row
        The features.

    Returns
    -------
    Picture
        The figure.
    """
    picture = Picture(figsize=(FIGURE_WIDTH, ROW_HEIGHT * len(rows) + TITLE_HEIGHT), layout="constrained")
    FigureCanvasAgg(picture)
    picture.suptitle(_label(title), fontsize=FONT_SIZE + 2)
    panels: Any = picture.subplots(len(rows), 2, squeeze=False)
    shared = _shared_limits([row.histograms[1] for row in rows])
    for row, (left, right) in zip(rows, panels, strict=True):
        before, after = row.histograms
        _draw(left, before, _own_limits(before), BEFORE)
        _draw(right, after, shared, AFTER)
        _mark(right, after, shared)
        for axes, when, label, histogram in zip(
            (left, right), ("Before", "After"), row.labels, row.histograms, strict=True
        ):
            axes.set_title(_counts(when, histogram), fontsize=FONT_SIZE, loc="left")
            axes.set_xlabel(_label(label), fontsize=FONT_SIZE)
    return picture


def _own_limits(histogram: Histogram) -> tuple[float, float]:
    """Return the limits of the axis of one feature: its range."""
    if not histogram.count:
        return 0.0, 1.0
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    room = (abs(low) / 2 or 1.0) if histogram.constant else 0.0
    return low - room, high + room


def _shared_limits(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """Return the limits of the axis of all features: 0, 1, and of each feature all values but those in its tails.

    A feature with a few outliers would otherwise press all others into a corner.
    """
    ends = [0.0, 1.0]
    for histogram in histograms:
        if histogram.count:
            below = np.cumsum(histogram.counts)
            first = int(np.searchsorted(below, TAIL * histogram.count, side="right"))
            last = int(np.searchsorted(below, (1 - TAIL) * histogram.count))
            ends += [float(histogram.edges[first]), float(histogram.edges[last + 1])]
    low, high = min(ends), max(ends)
    margin = MARGIN * high - MARGIN * low
    return low - margin, high + margin


def _draw(axes: Axes, histogram: Histogram, limits: tuple[float, float], color: str) -> None:
    axes.set_ylabel("count", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(limits)
    axes.margins(y=0.15)  # room for the marks above the bars
    if not histogram.count:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no valid value", ha="center", va="center", transform=axes.transAxes, fontsize=FONT_SIZE)
        return
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=TICK_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=TICK_STEPS, integer=True))
    axes.xaxis.get_offset_text().set_fontsize(FONT_SIZE - 1)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if histogram.constant:
        width = limits[1] / 20 - limits[0] / 20
        axes.bar([float(histogram.edges[0])], histogram.counts, width=width, color=color)
    else:
        axes.stairs(histogram.counts, histogram.edges, fill=True, color=color)


def _mark(axes: Axes, histogram: Histogram, limits: tuple[float, float]) -> None:
    """Mark 0 and 1 on the shared axis, and count the values of the bins that lie beyond its ends."""
    if not histogram.count:
        return
    for value, side in ((0, "right"), (1, "left")):
        axes.axvline(value, color=MARK, linewidth=0.8, linestyle="--")
        axes.annotate(
            str(value),
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if side == "right" else 3, -1),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=FONT_SIZE - 1,
            color=MARK,
        )
    outside = (histogram.edges[1:] < limits[0]) | (histogram.edges[:-1] > limits[1])
    number = int(histogram.counts[outside].sum())
    if number:
        text = f"{number:,} value{'' if number == 1 else 's'} beyond this axis"
        axes.text(1, 1, text, ha="right", va="top", transform=axes.transAxes, fontsize=FONT_SIZE - 1, color=MARK)


def _counts(when: str, histogram: Histogram) -> str:
    text = f"{when}: {histogram.count:,} value{'' if histogram.count == 1 else 's'}"
    text += ", constant" if histogram.constant else ""
    return f"{text}; {histogram.invalid:,} invalid left out" if histogram.invalid else text


def _label(text: str) -> str:
    """Return a label, shortened if it is long, in which dollar signs do not start a formula."""
    return (text if len(text) <= LABEL_LENGTH else f"{text[: LABEL_LENGTH - 1]}…").replace("$", r"\$")
