"""Transform: an affine map applied to the columns of a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap, MatrixMap
from sparkscale.errors import OutputColumnError
from sparkscale.kernels import clip_by_value
from sparkscale.spark import gpu, jvm, matrix, sql, udf, vectors
from sparkscale.spark.columns import FeatureColumn, attribute_metadata, fresh, readable
from sparkscale.spark.expression import Bounds, array_map, for_plugin, guarded, is_valid, scalar_map, sized, split_up
from sparkscale.spark.names import Place, attribute, find_places, folded, same_name, unquoted

__all__ = [
    "Paths",
    "Plan",
    "check_outputs",
    "complete",
    "finished",
    "paths_to_replace",
    "slices_of",
    "to_sql",
    "transform",
]

Paths = Mapping[str, tuple[str, ...]]  # from outputs to columns, or fields of structs

FIELDS = 20  # of a struct, replaced in one expression: on Connect its nesting is limited to some 30


@dataclass(frozen=True)
class Plan:
    """What maps to what.

    Parameters
    ----------
    inputs : sequence of FeatureColumn
        Columns that are read, with their sizes.
    outputs : sequence of FeatureColumn
        Columns that are made: as many as inputs and of their kinds, or one vector of all inputs, or the columns
        that such a vector is taken apart into.
    affine : AffineMap or MatrixMap
        The map of all features.
    bounds : (float, float) or None
        Where results are clipped.
    handle_invalid : {"keep", "skip", "error", "keepNaN"}
        What happens to invalid values.
    shape : {"pairs", "assemble", "disassemble"}
        Whether each input has its own output, or all inputs become one vector, or are taken out of one.
    device : {"cpu", "auto", "gpu"}
        Where tasks compute.
    features : sequence of slice or None
        The features of each pair, or of each column that a vector is taken apart into, among those of the map. If left
        out, they follow one another.
    replaced : mapping from str to tuple of str
        The outputs that replace a column, or a field of a struct, and its path.
    """

    inputs: Sequence[FeatureColumn]
    outputs: Sequence[FeatureColumn]
    affine: AffineMap | MatrixMap
    bounds: Bounds = None
    handle_invalid: str = "keep"
    shape: str = "pairs"
    device: str = "cpu"
    features: Sequence[slice] | None = None
    replaced: Paths = field(default_factory=dict)

    def slices(self, columns: Sequence[FeatureColumn]) -> list[AffineMap]:
        """Return each column's part of the map: the identity beside a matrix, which has no such parts."""
        whole = AffineMap.identity(len(self.affine)) if isinstance(self.affine, MatrixMap) else self.affine
        return [whole[features] for features in self.features or slices_of(columns)]


def slices_of(columns: Sequence[FeatureColumn]) -> list[slice]:
    """Return the features of each column among those of all, one column after the other."""
    ends = accumulate((c.size or 0 for c in columns), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def check_outputs(df: DataFrame, outputs: Sequence[str], inputs: Sequence[str] = ()) -> Paths:
    """Refuse outputs that clash with each other or with a column that is there.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Where the outputs go.
    outputs, inputs : sequence of str
        Each output, and the one column that it is made of, if there are as many. An output of the name of that column
        replaces it.

    Returns
    -------
    mapping from str to tuple of str
        The outputs that replace a column, or a field of a struct, and its path.
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
    clashing = {folded(name) for name in df.columns}
    for name in outputs:
        if folded(name) in clashing:  # at most: the session may tell upper from lower case
            if any(same_name(df, name, other) for other in df.columns):
                raise OutputColumnError(
                    f"Output column '{name}' already exists. Name another output, or drop the column."
                )
            if sum(same_name(df, name, other) for other in outputs) > 1:
                raise OutputColumnError(f"Output column '{name}' is named twice. Give each output its own name.")
        clashing.add(folded(name))
    return replaced


def _replaceable(output: str, place: Place) -> tuple[str, ...]:
    """Return the path of a place, if there is one column or field to replace."""
    if place.within or place.alike > 1:
        raise OutputColumnError(
            f"Output column '{output}' cannot be replaced: it is within an array or a map, or one name of several "
            "columns. Name another output."
        )
    return place.path


def paths_to_replace(df: DataFrame, sources: Sequence[str], outputs: Sequence[str], *, named: bool) -> Paths:
    """Return the paths of the outputs that replace what is there; refuse to replace what nobody named.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Where the outputs go.
    sources, outputs : sequence of str
        The column that each output is read from, and the output's own name.
    named : bool
        Whether the user named the outputs. If not, only the column that an output is read from is replaced.

    Raises
    ------
    OutputColumnError
        If an output would replace something else, or two outputs the same.
    """
    places = dict(zip(outputs, find_places(df, outputs), strict=True))
    check_outputs(df, [name for name, place in places.items() if place is None])
    there = {name: _replaceable(name, place) for name, place in places.items() if place is not None}
    if there and not named:
        for name, source in zip(outputs, find_places(df, sources), strict=True):
            if name in there and (source is None or there[name] != source.path):
                raise OutputColumnError(
                    f"Output column '{name}' already exists. Name it as outputCol, or among outputCols, to replace it; "
                    "or name another output, or drop the column."
                )
    for (one, path), (other, longer) in pairwise(sorted(there.items(), key=lambda output: output[1])):
        if longer[: len(path)] == path:
            raise OutputColumnError(
                f"Output column '{other}' is '{one}', or a field of it. Give each output a column of its own."
            )
    return there


def to_sql(plan: Plan) -> dict[str, str]:
    """Return SQL text for each output; vectors are read and written as arrays of double."""
    if isinstance(plan.affine, MatrixMap):
        return _matrix_sql(plan, plan.affine)
    return _affine_sql(plan)


def _affine_sql(plan: Plan) -> dict[str, str]:
    if plan.shape == "pairs":
        return {
            out.name: _text(plan, column, column.sql, affine)
            for column, out, affine in zip(plan.inputs, plan.outputs, plan.slices(plan.inputs), strict=True)
        }
    if plan.shape == "assemble":
        pieces = [
            f"array(coalesce({text}, double('NaN')))"
            if column.kind == "scalar"
            else f"coalesce(transform({text}, x -> coalesce(x, double('NaN'))), array_repeat(double('NaN'), {column.size}))"
            for column, affine in zip(plan.inputs, plan.slices(plan.inputs), strict=True)
            for text in [_text(plan, replace(column, single=False), column.sql, affine)]
        ]
        return {plan.outputs[0].name: f"concat({', '.join(pieces)})"}
    return _parts(plan, plan.inputs[0].sql)


def _matrix_sql(plan: Plan, affine: MatrixMap) -> dict[str, str]:
    if plan.shape == "disassemble":
        return _parts(plan, matrix.text(plan.inputs[0].sql, affine))
    column, out = plan.inputs[0], plan.outputs[0]
    if plan.shape == "pairs" and column.kind == "scalar":
        return {out.name: _matrix_text(plan, column, affine)}
    double = replace(plan, inputs=[replace(c, single=False) for c in plan.inputs])
    text = matrix.text(_affine_sql(double)[out.name], affine)
    return {out.name: f"cast({text} AS array<float>)" if out.single else text}


def _matrix_text(plan: Plan, column: FeatureColumn, affine: MatrixMap) -> str:
    """Return the map of a scalar, a matrix of one number."""
    mapped = matrix.scalar_text(column, affine)
    return guarded(column, column.sql, mapped, plan.handle_invalid)


def _text(plan: Plan, column: FeatureColumn, source: str, affine: AffineMap) -> str:
    mapped = (scalar_map if column.kind == "scalar" else array_map)(column, source, affine, plan.bounds)
    return _checked(plan, column, source, len(affine), mapped)


def _checked(plan: Plan, column: FeatureColumn, source: str, size: int, result: str) -> str:
    """Return ``result`` where the column's length and values are right; otherwise the job fails."""
    result = sized(column, source, size, result) if column.kind != "scalar" else result
    return guarded(column, source, result, plan.handle_invalid)


def _parts(plan: Plan, source: str) -> dict[str, str]:
    """Take an assembled vector, read as an array, apart into its columns."""
    texts = {}
    features = plan.features or slices_of(plan.outputs)
    for out, part, affine in zip(plan.outputs, features, plan.slices(plan.outputs), strict=True):
        scalar = out.kind == "scalar"
        piece = f"get({source}, {part.start})" if scalar else f"slice({source}, {part.start + 1}, {out.size})"
        texts[out.name] = _text(plan, out, piece, affine)
    return texts


def transform(df: DataFrame, plan: Plan) -> DataFrame:
    """Add the outputs to a DataFrame; everything else stays as it was but for what the plan replaces."""
    df, inputs, renamed = readable(df, plan.inputs)
    df = _transformed(df, replace(plan, inputs=inputs, device=gpu.asked(plan.device, df.sparkSession)))
    return df.drop(*renamed) if renamed else df


def _transformed(df: DataFrame, plan: Plan) -> DataFrame:
    if plan.handle_invalid == "skip":
        df = complete(df, plan.inputs)
    if isinstance(plan.affine, MatrixMap) or plan.shape == "disassemble":
        return _through_array(df, plan)
    made: dict[str, str] = {}
    temporary = []
    columns, outputs = plan.inputs, plan.outputs
    if plan.shape == "assemble":
        df, assembled = vectors.assemble(df, plan.inputs, plan.handle_invalid)
        columns = [assembled]
        temporary.append(assembled.name)
        plan = replace(plan, inputs=columns)
    if plan.device != "cpu":
        df, made, added = _by_kernels(df, plan, columns)
        temporary.extend(added)
    for column, out, affine in zip(columns, outputs, plan.slices(columns), strict=True):
        if column.kind == "vector":
            df, made[out.name], names = vectors.transform(
                df,
                column,
                affine,
                plan.bounds,
                plan.handle_invalid,
                _of_array(df.sparkSession, plan, affine),
            )
            temporary.extend(names)
        elif out.name not in made:
            made[out.name] = _text(plan, column, column.sql, affine)
    return finished(df, plan.outputs, made, temporary, plan.replaced)


def _mapped_rows(affine: AffineMap | MatrixMap, bounds: Bounds, rows: Any) -> Any:
    mapped = affine.apply(rows)
    return mapped if bounds is None else clip_by_value(mapped, *bounds)


def _of_array(spark: SparkSession, plan: Plan, affine: AffineMap) -> vectors.Made | None:
    """Return what maps an array on a GPU."""
    if plan.device == "cpu":
        return None
    return lambda array: udf.of_array(spark, F.col(array), partial(_mapped_rows, affine, plan.bounds), plan.device)


def _by_kernels(
    df: DataFrame, plan: Plan, columns: Sequence[FeatureColumn]
) -> tuple[DataFrame, dict[str, str], list[str]]:
    """Prepare scalars and arrays on a GPU: what they become by name of the output, and the names of new columns."""
    matrix_map = isinstance(plan.affine, MatrixMap)  # of one scalar: more of them are assembled first
    parts = [p for p in zip(columns, plan.outputs, plan.slices(columns), strict=True) if p[0].kind != "vector"]
    scalars = plan.affine if matrix_map else AffineMap.concat([a for c, _, a in parts if c.kind == "scalar"])
    df, texts, added = udf.with_mapped(
        df,
        [c for c, _, _ in parts],
        [_checked(plan, c, c.sql, len(a), c.sql) for c, _, a in parts],
        [partial(_mapped_rows, a, plan.bounds) for _, _, a in parts],
        partial(_mapped_rows, scalars, plan.bounds),
        plan.device,
    )
    return df, {out.name: text for (_, out, _), text in zip(parts, texts, strict=True)}, added


def complete(df: DataFrame, columns: Sequence[FeatureColumn]) -> DataFrame:
    """Drop rows that hold an invalid value."""
    conditions = [is_valid(c, c.sql) for c in columns if c.kind != "vector"]
    if conditions:
        plugin = gpu.has_plugin(df.sparkSession)
        conditions = conditions if plugin else split_up(conditions, "({0} OR {1})")
        df = sql.where(df, " AND ".join(conditions))
    for column in columns:
        if column.kind == "vector":
            df = vectors.complete(df, column)
    return df


def _through_array(df: DataFrame, plan: Plan) -> DataFrame:
    """Bring all features into one array, pass it through the matrix if there is one, and take the outputs out."""
    column, temporary = plan.inputs[0], []
    by_kernel = isinstance(plan.affine, MatrixMap) or plan.device != "cpu"
    if plan.shape == "assemble":
        df, column = vectors.assemble(df, plan.inputs, plan.handle_invalid)
        temporary.append(column.name)
    elif column.kind == "scalar" and isinstance(plan.affine, MatrixMap):
        if plan.device == "cpu":
            texts = {plan.outputs[0].name: _matrix_text(plan, column, plan.affine)}
            return finished(df, plan.outputs, texts, [], plan.replaced)
        df, texts, temporary = _by_kernels(df, plan, [column])
        return finished(df, plan.outputs, texts, temporary, plan.replaced)
    df, names = vectors.as_array(df, column, plan.handle_invalid)
    if by_kernel:
        names.insert(0, fresh())
        df = df.withColumn(names[0], matrix.product(df.sparkSession, F.col(names[1]), plan.affine, plan.device))
        plan = replace(plan, affine=AffineMap.identity(len(plan.affine)))
    temporary = [*names, *temporary]
    if plan.shape == "disassemble":
        texts = _parts(replace(plan, handle_invalid="keep"), sql.quoted(names[0]))
    else:
        texts = {out.name: f"cast({names[0]} AS array<{'float' if out.single else 'double'}>)" for out in plan.outputs}
    for out in plan.outputs:
        if out.kind == "vector":
            df, names = vectors.from_array(df, texts[out.name])
            texts[out.name] = names[0]
            temporary.extend(names)
    return finished(df, plan.outputs, texts, temporary, plan.replaced)


def finished(
    df: DataFrame,
    outputs: Sequence[FeatureColumn],
    texts: dict[str, str],
    temporary: Sequence[str],
    replaced: Paths | None = None,
) -> DataFrame:
    """Make the outputs, and drop what was only needed on the way. Only what is named in ``replaced`` is replaced."""
    plugin = gpu.has_plugin(df.sparkSession)
    texts = {name: for_plugin(text) for name, text in texts.items()} if plugin else texts
    # Metadata goes by way of select: withColumns on Connect would lose it. Vectors that stand alone get their names
    # at once; others a column of their own first, since every select costs milliseconds on the driver.
    alone = not replaced and all(out.kind == "vector" for out in outputs)
    described: dict[str, Column] = {}
    made: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    for out in outputs:
        if out.kind == "vector":
            made[out.name] = out.name if alone else fresh()
            metadata[out.name] = attribute_metadata(out.attributes, out.size) if out.size is not None else {}
            described[out.name] = sql.expr(texts[out.name]).alias(made[out.name], metadata=metadata[out.name])
    if described:
        df = df.select("*", *described.values())
    if not alone:
        if not plugin:
            plain = {out.name: texts[out.name] for out in outputs if out.kind == "scalar"}
            again = split_up([*plain.values()], "nanvl({0}, {1})")
            texts = {**texts, **dict(zip(plain, again, strict=True))}
        texts, temporary = {**texts, **made}, [*temporary, *made.values()]
        if replaced:
            df, added = _with_replaced(df, texts, replaced, metadata)
            temporary = [*temporary, *added]
        else:
            df = _with_named(df, texts)
    return df.drop(*temporary) if temporary else df


def _with_named(df: DataFrame, texts: dict[str, str]) -> DataFrame:
    """Make the outputs; those that text cannot name get their names afterwards."""
    names = {name: fresh() if sql.VARIABLE in name else name for name in texts}
    df = sql.select(df, "*", *(f"{text} AS {sql.quoted(names[name])}" for name, text in texts.items()))
    renamed = {temporary: name for name, temporary in names.items() if temporary != name}
    return df.withColumnsRenamed(renamed) if renamed else df


def _with_replaced(
    df: DataFrame, texts: dict[str, str], paths: Paths, metadata: dict[str, Any]
) -> tuple[DataFrame, list[str]]:
    """Make the outputs, of which those with a path replace what is there; returns the names of temporary columns."""
    columns: dict[str, Column] = {}
    described: dict[str, Any] = {}
    fields: dict[str, list[tuple[str, Column]]] = {}
    for name, text in texts.items():
        top, *inner = paths.get(name, (name,))
        if inner:
            fields.setdefault(top, []).append((attribute(inner), sql.expr(text)))
        else:
            columns[top] = sql.expr(text)
            described |= {top: metadata[name]} if name in metadata else {}
    temporary: list[str] = []
    for top, values in fields.items():
        copy, described[top] = top, df.schema[top].metadata
        for start in range(0, len(values), FIELDS):
            struct = F.col(attribute([copy]))
            for path, value in values[start : start + FIELDS]:
                struct = struct.withField(path, value)
            copy = fresh()
            df = df.select("*", struct.alias(copy, metadata=described[top]))
            temporary.append(copy)
        columns[top] = F.col(copy)
    df = df.withColumns(columns)
    return df if jvm.has_jvm(df) else _with_metadata(df, described), temporary


def _with_metadata(df: DataFrame, described: dict[str, Any]) -> DataFrame:
    """Give columns their metadata, which ``withColumns`` on Connect has lost, under names that it can read."""
    names = {column: fresh() for column in described}
    df = df.withColumnsRenamed(names) if names else df
    for column, metadata in described.items():
        df = df.withMetadata(names[column], metadata)
    return df.withColumnsRenamed({name: column for column, name in names.items()}) if names else df
