"""Output columns: validation of their names, and adding them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkscale.errors import OutputColumnError
from sparkscale.spark import jvm, sql
from sparkscale.spark.columns import FeatureColumn, attribute_metadata, temp_column_name
from sparkscale.spark.frame import Frame
from sparkscale.spark.names import Place, attribute, find_places, folded, same_name, unquoted

__all__ = ["Paths", "add_outputs", "check_outputs", "paths_to_replace"]

Paths = Mapping[str, tuple[str, ...]]  # from outputs to columns, or fields of structs

FIELDS_PER_EXPRESSION = 20  # fields of a struct that one expression replaces: Connect limits the nesting to about 30


def check_outputs(
    df: DataFrame, outputs: Sequence[str], inputs: Sequence[str] = (), indicators: Sequence[str] = ()
) -> Paths:
    """Refuse outputs that clash with each other or with an existing column.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The DataFrame that the outputs are added to.
    outputs, inputs : sequence of str
        The outputs, and the input of each one if there are as many. An output with the name of its input replaces it.
    indicators : sequence of str
        Further outputs, which replace nothing.

    Returns
    -------
    mapping from str to tuple of str
        The paths of the columns, or fields of structs, that outputs replace.
    """
    replaced: dict[str, tuple[str, ...]] = {}
    pairs = zip(outputs, inputs, strict=True) if len(inputs) == len(outputs) else ()
    if any(same_name(df, unquoted(output), unquoted(name)) for output, name in pairs):
        added = []
        for output, place, source in zip(outputs, find_places(df, outputs), find_places(df, inputs), strict=True):
            if place is None or source is None or place.path != source.path:
                added.append(output)
            elif place.path in replaced.values():
                raise OutputColumnError(f"Output column '{output}' is named twice. Give each output its own name.")
            else:
                replaced[output] = _replaceable(output, place)
        outputs = added
    outputs = [*outputs, *indicators]
    clashing = {folded(name) for name in df.columns}
    for name in outputs:
        if folded(name) in clashing:  # a possible clash, unless the session is case-sensitive
            if any(same_name(df, name, other) for other in df.columns):
                remedy = "Set addIndicator to False" if name in indicators else "Name another output"
                raise OutputColumnError(f"Output column '{name}' already exists. {remedy}, or drop the column.")
            if sum(same_name(df, name, other) for other in outputs) > 1:
                raise OutputColumnError(f"Output column '{name}' is named twice. Give each output its own name.")
        clashing.add(folded(name))
    return replaced


def _replaceable(output: str, place: Place) -> tuple[str, ...]:
    """Return the path of a place, which must be a single column or field."""
    if place.in_collection or place.matches > 1:
        raise OutputColumnError(
            f"Output column '{output}' cannot be replaced: it is within an array or a map, or several columns have "
            "this name. Name another output."
        )
    return place.path


def paths_to_replace(df: DataFrame, sources: Sequence[str], outputs: Sequence[str], *, named: bool) -> Paths:
    """Return the paths of the outputs that replace existing columns; refuse to replace columns that were not named.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The DataFrame that the outputs are added to.
    sources, outputs : sequence of str
        The input and the name of each output.
    named : bool
        Whether the user named the outputs. If not, an output may only replace its own input.

    Raises
    ------
    OutputColumnError
        If an output would replace another column, or two outputs would replace the same column.
    """
    places = dict(zip(outputs, find_places(df, outputs), strict=True))
    check_outputs(df, [name for name, place in places.items() if place is None])
    paths = {name: _replaceable(name, place) for name, place in places.items() if place is not None}
    if paths and not named:
        for name, source in zip(outputs, find_places(df, sources), strict=True):
            if name in paths and (source is None or paths[name] != source.path):
                raise OutputColumnError(
                    f"Output column '{name}' already exists. Name it as outputCol, or among outputCols, to replace it; "
                    "or name another output, or drop the column."
                )
    for (first, path), (second, longer) in pairwise(sorted(paths.items(), key=lambda output: output[1])):
        if longer[: len(path)] == path:
            raise OutputColumnError(
                f"Output column '{second}' is '{first}', or a field of it. Give each output a column of its own."
            )
    return paths


def add_outputs(frame: Frame, outputs: Sequence[FeatureColumn], texts: Mapping[str, str], replaced: Paths) -> DataFrame:
    """Add the outputs, and drop temporary columns.

    Parameters
    ----------
    frame : Frame
        The data.
    outputs : sequence of FeatureColumn
        The columns to add.
    texts : mapping from str to str
        The SQL of each output.
    replaced : mapping from str to tuple of str
        The paths of the columns, or fields of structs, that outputs replace. No other column is replaced.
    """
    # Metadata is set in a select, since withColumns on Connect would lose it. If all outputs are vectors, one select
    # adds them under their names; otherwise vectors first get temporary columns. Every select costs milliseconds on the
    # driver.
    vectors = [out for out in outputs if out.kind == "vector"]
    metadata = {o.name: attribute_metadata(o.attributes, o.size) if o.size is not None else {} for o in vectors}
    if len(vectors) == len(outputs) and not replaced:
        frame.add_named(texts, metadata)
        return frame.finish()
    texts = dict(texts)
    if vectors:
        added = frame.add_all([texts[name] for name in metadata], [*metadata.values()])
        texts |= zip(metadata, added, strict=True)
    for sql_type in dict.fromkeys(out.integer_type for out in outputs):
        scalars = [out.name for out in outputs if out.kind == "scalar" and out.integer_type == sql_type]
        repeated = f"{sql_type}(nanvl(double({{0}}), double({{1}})))" if sql_type else "nanvl({0}, {1})"
        texts |= zip(scalars, frame.split_methods([texts[name] for name in scalars], repeated), strict=True)
    if replaced:
        _replace(frame, texts, replaced, metadata)
    else:
        _add_named(frame, texts)
    return frame.finish()


def _add_named(frame: Frame, texts: Mapping[str, str]) -> None:
    """Add the outputs; those with names that SQL text cannot contain are renamed afterwards."""
    names = {name: temp_column_name() if sql.VARIABLE in name else name for name in texts}
    frame.add_named({names[name]: text for name, text in texts.items()})
    renamed = {temporary: name for name, temporary in names.items() if temporary != name}
    frame.df = frame.df.withColumnsRenamed(renamed) if renamed else frame.df


def _replace(frame: Frame, texts: Mapping[str, str], paths: Paths, metadata: Mapping[str, Any]) -> None:
    """Add the outputs; those with a path replace existing columns or fields."""
    columns: dict[str, Column] = {}
    kept: dict[str, Any] = {}  # metadata
    fields: dict[str, list[tuple[str, Column]]] = {}
    for name, text in texts.items():
        top, *inner = paths.get(name, (name,))
        if inner:
            fields.setdefault(top, []).append((attribute(inner), frame.expr(text)))
        else:
            columns[top] = frame.expr(text)
            kept |= {top: metadata[name]} if name in metadata else {}
    for top, values in fields.items():
        copy, kept[top] = top, frame.df.schema[top].metadata
        for start in range(0, len(values), FIELDS_PER_EXPRESSION):
            struct = F.col(attribute([copy]))
            for path, value in values[start : start + FIELDS_PER_EXPRESSION]:
                struct = struct.withField(path, value)
            copy = frame.add(struct, kept[top])
        columns[top] = F.col(copy)
    df = frame.df.withColumns(columns)
    frame.df = df if jvm.has_jvm(df) else _with_metadata(df, kept)


def _with_metadata(df: DataFrame, metadata: Mapping[str, Any]) -> DataFrame:
    """Restore the metadata of columns, which ``withColumns`` on Connect loses, by way of temporary names."""
    names = {column: temp_column_name() for column in metadata}
    df = df.withColumnsRenamed(names) if names else df
    for column, of_column in metadata.items():
        df = df.withMetadata(names[column], of_column)
    return df.withColumnsRenamed({name: column for column, name in names.items()}) if names else df
