"""Draw docs/images/quantizer.png: the codes at the upper end of a range, and the errors of what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sparkscale.kernels import dequantize, quantize

PATH = Path(__file__).parents[1] / "docs" / "images" / "quantizer.png"
BLUE, ORANGE, GREY = "#2a6f97", "#d1603d", "#999999"
RANGES = [[-1.0], [1.55]]  # in steps of 0.01


def main() -> None:
    """Draw codes and errors of values up to and beyond the end of the range."""
    (low,), (high,) = RANGES
    step = (high - low) / 255
    x = np.linspace(high - 8 * step, high + 3 * step, 2201)
    codes = quantize(x, RANGES)
    errors = dequantize(codes, RANGES) - x
    figure = Figure(figsize=(7.5, 2.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    left.plot(x, np.where(np.diff(codes, prepend=codes[0]), np.nan, codes), color=BLUE)
    left.set_title("code q", loc="left", fontsize=9)
    right.plot(x, np.where(np.diff(codes, prepend=codes[0]), np.nan, errors), color=BLUE)
    for bound in (-step / 2, step / 2):
        right.axhline(bound, color=ORANGE, linewidth=0.8, linestyle="--")
    right.set_ylim(-2 * step, step)
    right.set_title("restored value - x; dashed: errorBound", loc="left", fontsize=9)
    for axes in (left, right):
        axes.axvline(high, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"x; dotted: the end of the range from {low} to {high}", fontsize=9)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(PATH)


if __name__ == "__main__":
    main()
