"""Transform: an affine map applied to the columns of a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap, MatrixMap
from sparkscale.errors import OutputColumnError
from sparkscale.kernels import clip_by_value
from sparkscale.spark import gpu, matrix, udf, vectors
from sparkscale.spark.columns import FeatureColumn, attribute_metadata, fresh, quoted, same_name
from sparkscale.spark.expression import Bounds, array_map, for_plugin, guarded, is_valid, scalar_map, sized, split_up

__all__ = ["Plan", "check_outputs", "complete", "finished", "to_sql", "transform"]


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
    handle_invalid : {"keep", "skip", "error"}
        What happens to invalid values.
    shape : {"pairs", "assemble", "disassemble"}
        Whether each input has its own output, or all inputs become one vector, or are taken out of one.
    device : {"cpu", "auto", "gpu"}
        Where tasks compute.
    """

    inputs: Sequence[FeatureColumn]
    outputs: Sequence[FeatureColumn]
    affine: AffineMap | MatrixMap
    bounds: Bounds = None
    handle_invalid: str = "keep"
    shape: str = "pairs"
    device: str = "cpu"

    def slices(self, columns: Sequence[FeatureColumn]) -> list[AffineMap]:
        """Return each column's part of the map: the identity beside a matrix, which has no such parts."""
        whole = AffineMap.identity(len(self.affine)) if isinstance(self.affine, MatrixMap) else self.affine
        start, parts = 0, []
        for column in columns:
            size = column.size or 0
            parts.append(whole[start : start + size])
            start += size
        return parts


def check_outputs(df: DataFrame, outputs: Sequence[str]) -> None:
    """Refuse outputs that clash with each other or with a column that is there."""
    clashing = {name.casefold() for name in df.columns}
    for name in outputs:
        if name.casefold() in clashing:  # at most: the session may tell upper from lower case
            if any(same_name(df, name, other) for other in df.columns):
                raise OutputColumnError(
                    f"Output column '{name}' already exists. Name another output, or drop the column."
                )
            if sum(same_name(df, name, other) for other in outputs) > 1:
                raise OutputColumnError(f"Output column '{name}' is named twice. Give each output its own name.")
        clashing.add(name.casefold())


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
    return guarded(column, column.sql, mapped) if plan.handle_invalid == "error" else mapped


def _text(plan: Plan, column: FeatureColumn, source: str, affine: AffineMap) -> str:
    mapped = (scalar_map if column.kind == "scalar" else array_map)(column, source, affine, plan.bounds)
    return _checked(plan, column, source, len(affine), mapped)


def _checked(plan: Plan, column: FeatureColumn, source: str, size: int, result: str) -> str:
    """Return ``result`` where the column's length and values are right; otherwise the job fails."""
    result = sized(column, source, size, result) if column.kind != "scalar" else result
    return guarded(column, source, result) if plan.handle_invalid == "error" else result


def _parts(plan: Plan, source: str) -> dict[str, str]:
    """Take an assembled vector, read as an array, apart into its columns."""
    start, texts = 0, {}
    for out, affine in zip(plan.outputs, plan.slices(plan.outputs), strict=True):
        size = out.size or 0
        piece = f"get({source}, {start})" if out.kind == "scalar" else f"slice({source}, {start + 1}, {size})"
        texts[out.name] = _text(plan, out, piece, affine)
        start += size
    return texts


def transform(df: DataFrame, plan: Plan) -> DataFrame:
    """Add the outputs to a DataFrame; everything else stays as it was.

    An output that exists is replaced where it stands.
    """
    plan = replace(plan, device=gpu.asked(plan.device, df.sparkSession))
    if plan.handle_invalid == "skip":
        df = complete(df, plan.inputs)
    if isinstance(plan.affine, MatrixMap) or plan.shape == "disassemble":
        return _through_array(df, plan)
    made: dict[str, str] = {}
    temporary = []
    columns, outputs = plan.inputs, plan.outputs
    if plan.shape == "assemble":
        df, assembled = vectors.assemble(df, plan.inputs, plan.handle_invalid == "error")
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
                plan.handle_invalid == "error",
                _of_array(df.sparkSession, plan, affine),
            )
            temporary.extend(names)
        elif out.name not in made:
            made[out.name] = _text(plan, column, column.sql, affine)
    return finished(df, plan.outputs, made, temporary)


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
        df = df.filter(" AND ".join(conditions))
    for column in columns:
        if column.kind == "vector":
            df = vectors.complete(df, column)
    return df


def _through_array(df: DataFrame, plan: Plan) -> DataFrame:
    """Bring all features into one array, pass it through the matrix if there is one, and take the outputs out."""
    strict, column, temporary = plan.handle_invalid == "error", plan.inputs[0], []
    by_kernel = isinstance(plan.affine, MatrixMap) or plan.device != "cpu"
    if plan.shape == "assemble":
        df, column = vectors.assemble(df, plan.inputs, strict)
        temporary.append(column.name)
    elif column.kind == "scalar" and isinstance(plan.affine, MatrixMap):
        if plan.device == "cpu":
            return finished(df, plan.outputs, {plan.outputs[0].name: _matrix_text(plan, column, plan.affine)}, [])
        df, made, temporary = _by_kernels(df, plan, [column])
        return finished(df, plan.outputs, made, temporary)
    df, names = vectors.as_array(df, column, strict)
    if by_kernel:
        names.insert(0, fresh())
        df = df.withColumn(names[0], matrix.product(df.sparkSession, F.col(names[1]), plan.affine, plan.device))
        plan = replace(plan, affine=AffineMap.identity(len(plan.affine)))
    temporary = [*names, *temporary]
    if plan.shape == "disassemble":
        texts = _parts(replace(plan, handle_invalid="keep"), quoted(names[0]))
    else:
        texts = {out.name: f"cast({names[0]} AS array<{'float' if out.single else 'double'}>)" for out in plan.outputs}
    for out in plan.outputs:
        if out.kind == "vector":
            df, names = vectors.from_array(df, texts[out.name])
            texts[out.name] = names[0]
            temporary.extend(names)
    return finished(df, plan.outputs, texts, temporary)


def finished(
    df: DataFrame, outputs: Sequence[FeatureColumn], texts: dict[str, str], temporary: Sequence[str]
) -> DataFrame:
    """Make the outputs, and drop what was only needed on the way."""
    plugin = gpu.has_plugin(df.sparkSession)
    texts = {name: for_plugin(text) for name, text in texts.items()} if plugin else texts
    taken = {name.casefold() for name in df.columns}
    exists = any(name.casefold() in taken for name in texts)
    # Metadata goes by way of select: withColumns on Connect would lose it. Vectors that stand alone get their names
    # at once; others a column of their own first, since every select costs milliseconds on the driver.
    alone = not exists and all(out.kind == "vector" for out in outputs)
    described: dict[str, Column] = {}
    made: dict[str, str] = {}
    for out in outputs:
        if out.kind == "vector":
            made[out.name] = out.name if alone else fresh()
            metadata = attribute_metadata(out.attributes, out.size) if out.size is not None else {}
            described[out.name] = F.expr(texts[out.name]).alias(made[out.name], metadata=metadata)
    if described:
        df = df.select("*", *described.values())
    if not alone:
        if not plugin:
            plain = {out.name: texts[out.name] for out in outputs if out.kind == "scalar"}
            again = split_up([*plain.values()], "nanvl({0}, {1})")
            texts = {**texts, **dict(zip(plain, again, strict=True))}
        texts, temporary = {**texts, **made}, [*temporary, *made.values()]
        if exists:
            df = df.withColumns({name: F.expr(text) for name, text in texts.items()})
        else:
            df = df.selectExpr("*", *(f"{text} AS {quoted(name)}" for name, text in texts.items()))
    return df.drop(*temporary) if temporary else df
