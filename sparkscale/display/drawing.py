"""Distributions drawn with Matplotlib, which the extra ``plot`` installs; nothing here knows Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from sparkscale.display.histogram import Histogram

__all__ = ["Picture", "Row", "before_and_after"]

WIDTH, HEIGHT, TITLE = 9.0, 1.9, 0.5  # inches: of the figure, of a row, of the title
LETTERS = 48  # of a label
SMALL = 9  # points
STEPS = [1, 2, 2.5, 5, 10]  # between ticks


class Picture(Figure):
    """A figure that notebooks show once, where it is the value of a cell: pyplot, which would show it again, is not asked."""

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()


@dataclass(frozen=True)
class Row:
    """A feature before and after, and the labels of either."""

    labels: tuple[str, str]
    histograms: tuple[Histogram, Histogram]


def before_and_after(title: str, rows: Sequence[Row]) -> Picture:
    """Draw features below each other, before on the left and after on the right.

    Parameters
    ----------
    title : str
        What stands above.
    rows : sequence of Row
        The features.

    Returns
    -------
    Picture
        The figure.
    """
    picture = Picture(figsize=(WIDTH, HEIGHT * len(rows) + TITLE), layout="constrained")
    FigureCanvasAgg(picture)
    picture.suptitle(_plain(title), fontsize=SMALL + 2)
    panels: Any = picture.subplots(len(rows), 2, squeeze=False)
    for row, pair in zip(rows, panels, strict=True):
        for axes, when, label, histogram in zip(pair, ("Before", "After"), row.labels, row.histograms, strict=True):
            _draw(axes, histogram)
            axes.set_title(_said(when, histogram), fontsize=SMALL, loc="left")
            axes.set_xlabel(_plain(label), fontsize=SMALL)
    return picture


def _draw(axes: Axes, found: Histogram) -> None:
    axes.set_ylabel("values", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL - 1)
    axes.spines[["top", "right"]].set_visible(False)
    if not found.count:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no valid value", ha="center", va="center", transform=axes.transAxes, fontsize=SMALL)
        return
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS, integer=True))
    axes.xaxis.get_offset_text().set_fontsize(SMALL - 1)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if found.constant:
        value = float(found.edges[0])
        room = abs(value) / 2 or 1.0
        axes.bar([value], found.counts, width=room / 10)
        axes.set_xlim(value - room, value + room)
    else:
        axes.stairs(found.counts, found.edges, fill=True)
        axes.set_xlim(float(found.edges[0]), float(found.edges[-1]))


def _said(when: str, found: Histogram) -> str:
    said = f"{when}: {found.count:,} value{'' if found.count == 1 else 's'}"
    said += ", constant" if found.constant else ""
    return f"{said}; {found.invalid:,} invalid left out" if found.invalid else said


def _plain(text: str) -> str:
    """Return a label that is not too long, with dollars that begin no formula."""
    return (text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…").replace("$", r"\$")
