"""Plot the distributions of features before and after a fitted map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from sparkscale.affine import MatrixMap
from sparkscale.display.bins import histograms, values
from sparkscale.errors import ParamError
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import is_valid
from sparkscale.spark.frame import Frame
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.vectors import as_array

if TYPE_CHECKING:
    from sparkscale.display.drawing import Picture

__all__ = ["plot"]

DEFAULT_FEATURES = 12  # at most, if none are named
MAX_BINS = 1000


def plot(model: Any, dataset: DataFrame, features: Sequence[str] | None, bins: int) -> Picture:
    """Draw the features of a model; see `ScalerModel.plot`."""
    try:
        from sparkscale.display import drawing  # noqa: PLC0415  # Matplotlib is optional
    except ImportError as missing:
        raise ImportError('plot needs Matplotlib. Install it: pip install "sparkscale[plot]"') from missing
    if isinstance(model.map, MatrixMap):
        raise ParamError(
            f"{type(model).__name__}: every result depends on all features, so none has a before and an after. Plot the "
            "features of another scaler."
        )
    if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= MAX_BINS:
        raise ParamError(f"bins must be a whole number from 1 to {MAX_BINS}. Got {bins!r}.")
    check_dataset(dataset, whole="plot")
    names = model._entries()
    chosen = _chosen(names, features)
    counts = histograms(*_arrays(model, dataset, chosen), bins)
    outputs = model._plan().outputs
    rows = [
        drawing.Row((names[entry], _output(model, outputs, names[entry], entry)), (before, after))
        for entry, before, after in zip(chosen, counts[: len(chosen)], counts[len(chosen) :], strict=True)
    ]
    title = type(model).__name__
    if len(chosen) < len(names) and features is None:
        title += f": the first {len(chosen)} of {len(names):,} features; name others by features=[...]"
    return drawing.before_and_after(title, rows)


def _chosen(names: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    """Return the positions of the wanted names, by default of the first twelve."""
    if wanted is None:
        return list(range(min(DEFAULT_FEATURES, len(names))))
    if isinstance(wanted, str) or not wanted:
        raise ParamError(f"features must be a list of names, not empty. Got {wanted!r}.")
    at = {name: i for i, name in reversed(list(enumerate(names)))}
    unknown = [name for name in wanted if name not in at]
    if unknown:
        raise ParamError(
            f"{', '.join(map(repr, unknown[:5]))} is no feature of the model. There are: {', '.join(names[:20])}"
            f"{', ...' if len(names) > 20 else ''}."  # noqa: PLR2004  # enough to see how they are named
        )
    return [at[name] for name in dict.fromkeys(wanted)]


def _arrays(model: Any, df: DataFrame, chosen: Sequence[int]) -> tuple[DataFrame, list[str]]:
    """Return a DataFrame, and SQL text for the values of the chosen features: of all before, then of all after.

    Invalid values are kept under any ``handleInvalid``, so that they are counted. Skipped rows are left out after.
    """
    skips, plain = model.getHandleInvalid() == "skip", model.copy()
    plain._check_params()
    plain._set(handleInvalid="keep", **({"addIndicator": False} if plain.hasParam("addIndicator") else {}))
    if plain.isSet("inputCol") or plain._assembles:
        plain._set(outputCol=temp_column_name())
    else:
        plain._set(outputCols=[temp_column_name() for _ in plain.getInputCols()])
    plan = plain._plan(df)
    frame = Frame(plain.transform(df))
    inputs, before = _as_arrays(frame, plan.inputs)
    outputs, after = _as_arrays(frame, plan.outputs)
    texts = [values(inputs, before, model._features_of(entry)) for entry in chosen]
    mapped = [values(outputs, after, model._features_of(entry)) for entry in chosen]
    if skips:
        kept = " AND ".join(is_valid(column, source) for column, source in zip(inputs, before, strict=True))
        mapped = [f"CASE WHEN {kept} THEN {text} END" for text in mapped]
    return frame.df, [*texts, *mapped]


def _as_arrays(frame: Frame, columns: Sequence[FeatureColumn]) -> tuple[list[FeatureColumn], list[str]]:
    """Convert vectors to arrays of doubles. Return all columns with their new kinds, and their SQL text."""
    read = frame.read(columns)
    sources = [c.sql if c.kind == "scalar" else as_array(frame, c, "keep") for c in read]
    return [replace(c, kind="scalar" if c.kind == "scalar" else "array") for c in read], sources


def _output(model: Any, outputs: Sequence[FeatureColumn], name: str, entry: int) -> str:
    """Return the label of a feature after scaling."""
    start = 0
    for column in outputs:
        start += column.size or 0
        if model._features_of(entry)[0] < start:
            break
    return column.name if column.kind == "scalar" else f"{name} in {column.name}"
