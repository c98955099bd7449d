"""What columns must share for the statistics of models to be of the same features."""

from __future__ import annotations

from collections.abc import Sequence

from sparkscale.spark.columns import FeatureColumn

__all__ = ["described", "shapes_of"]


def shapes_of(columns: Sequence[FeatureColumn]) -> list[tuple[str, str, int | None]]:
    """Return what columns must share for their statistics to be of the same features."""
    return [(c.name, "scalar" if c.kind == "scalar" else "array or vector", c.size) for c in columns]


def described(shapes: Sequence[tuple[str, str, int | None]]) -> str:
    """Return columns for a message, the first of many."""
    texts = [f"'{name}' ({kind if kind == 'scalar' else f'{kind} of {size}'})" for name, kind, size in shapes[:5]]
    return ", ".join([*texts, "..."] if len(shapes) > len(texts) else texts)
