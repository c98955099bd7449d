"""Transform: from the maps of columns to output columns, whatever the columns hold and whatever computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, compress, pairwise

from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.spark import gpu
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import guarded, rendered
from sparkscale.spark.frame import Frame
from sparkscale.spark.transform import udf, vectors
from sparkscale.spark.transform.affine import Affine
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.outputs import Paths, add_outputs
from sparkscale.spark.transform.vectors import Vectors

__all__ = ["Plan", "apply", "slices_of", "to_sql", "transform"]


@dataclass(frozen=True)
class Plan:
    """What maps to what.

    Parameters
    ----------
    inputs : sequence of FeatureColumn
        Columns that are read, with their sizes.
    outputs : sequence of FeatureColumn
        Columns that are added: as many as inputs and of their kinds, or one vector of all inputs, or the columns that
        such a vector is taken apart into.
    maps : sequence of ColumnMap
        One an input; where a vector is put together or taken apart, one of all its features.
    handle_invalid : {"keep", "skip", "error", "keepNaN"}
        What happens to invalid values.
    shape : {"pairs", "assemble", "disassemble"}
        Whether each input has its own output, or all inputs become one vector, or are taken out of one.
    device : {"cpu", "auto", "gpu"}
        Where tasks compute.
    features : sequence of slice
        Of a vector that is taken apart, the features of each output.
    replaced : mapping from str to tuple of str
        The outputs that replace a column, or a field of a struct, and its path.
    """

    inputs: Sequence[FeatureColumn]
    outputs: Sequence[FeatureColumn]
    maps: Sequence[ColumnMap]
    handle_invalid: str = "keep"
    shape: str = "pairs"
    device: str = "cpu"
    features: Sequence[slice] = ()
    replaced: Paths = field(default_factory=dict)


def slices_of(columns: Sequence[FeatureColumn]) -> list[slice]:
    """Return the features of each column among those of all, one column after the other."""
    ends = accumulate((c.size or 0 for c in columns), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def transform(df: DataFrame, plan: Plan) -> DataFrame:
    """Add the outputs to a DataFrame; everything else stays as it was but for what the plan replaces."""
    frame = Frame(df)
    inputs = frame.read(plan.inputs)
    if plan.handle_invalid == "skip":
        vectors.drop_invalid_rows(frame, inputs)
    return apply(frame, replace(plan, inputs=inputs, device=gpu.effective_device(plan.device, df.sparkSession)))


def apply(frame: Frame, plan: Plan) -> DataFrame:
    """Add the outputs to a frame that has read the inputs."""
    inputs, policy = plan.inputs, plan.handle_invalid
    if plan.shape == "assemble":
        inputs = [vectors.assemble(frame, plan.inputs, policy)]
    rows: list[_Rows] = []
    split: dict[int, Vectors] = {}
    for k, (column, column_map) in enumerate(zip(inputs, plan.maps, strict=True)):
        if plan.shape == "disassemble":
            rows.append(_Rows(column, vectors.as_array(frame, column, policy), column_map))
        elif column.kind == "vector":
            native = plan.device == "cpu" and not column_map.prefers_kernel(column)
            split[k] = Vectors.split(frame, column, column_map, policy, native=native)
            rows.append(_Rows(column, split[k].array or "", column_map))
        else:
            rows.append(_Rows(column, column.sql, column_map, policy))
    texts = _mapped(frame, rows, plan.device)
    if plan.shape == "disassemble":
        texts = _taken_apart(frame, frame.add(texts[0]), plan)
    texts = [split[k].joined(frame, text) if k in split else text for k, text in enumerate(texts)]
    names = [out.name for out in plan.outputs]
    return add_outputs(frame, plan.outputs, dict(zip(names, texts, strict=True)), plan.replaced)


@dataclass(frozen=True)
class _Rows:
    """What a map takes: scalars or arrays of a column, or those of a vector's rows that go as arrays, if any do."""

    column: FeatureColumn
    source: str
    column_map: ColumnMap
    policy: str = "keep"

    def checked(self, result: str) -> str:
        """Return ``result`` where the row has a length and values that can be mapped; otherwise the job fails."""
        return guarded(self.column, self.source, self.column_map.guard(self.column, self.source, result), self.policy)

    def sql(self) -> str:
        """Return what the map makes of a row, as SQL."""
        return self.checked(self.column_map.sql(self.column, self.source))


def _mapped(frame: Frame, rows: Sequence[_Rows], device: str) -> list[str]:
    """Return what each map makes of its rows, as SQL over the frame."""
    by_kernel = [bool(r.source) and (device != "cpu" or r.column_map.prefers_kernel(r.column)) for r in rows]
    sent = [*compress(rows, by_kernel)]
    columns, maps = [r.column for r in sent], [r.column_map for r in sent]
    results = iter(udf.mapped(frame, columns, [r.checked(r.source) for r in sent], maps, device))
    pairs = zip(rows, by_kernel, strict=True)
    return [next(results) if kernel else r.sql() if r.source else "" for r, kernel in pairs]


def _taken_apart(frame: Frame, array: str, plan: Plan) -> list[str]:
    """Return the outputs out of the array of all features, as SQL."""
    texts = []
    for out, features in zip(plan.outputs, plan.features, strict=True):
        text = _piece(out, array, features)
        text = f"cast({text} AS {out.sql_type})" if out.single else text
        texts.append(vectors.from_array(frame, text) if out.kind == "vector" else text)
    return texts


def _piece(out: FeatureColumn, array: str, features: slice) -> str:
    scalar = out.kind == "scalar"
    return f"get({array}, {features.start})" if scalar else f"slice({array}, {features.start + 1}, {out.size})"


def to_sql(plan: Plan) -> dict[str, str]:
    """Return plain SQL for each output; vectors are read and written as arrays of double."""
    if plan.shape == "disassemble":
        rows = _rows_taken_apart(plan)
    elif plan.shape == "assemble":
        whole = replace(plan.outputs[0], kind="vector", single=False)
        rows = [
            _Rows(whole, f"concat({', '.join(_assembled(c, plan.handle_invalid) for c in plan.inputs)})", plan.maps[0])
        ]
    else:
        arrays = [replace(c, kind="array") if c.kind == "vector" else c for c in plan.inputs]
        rows = [_Rows(c, c.sql, m, plan.handle_invalid) for c, m in zip(arrays, plan.maps, strict=True)]
    return {out.name: rendered(r.sql(), interpreted=False) for out, r in zip(plan.outputs, rows, strict=True)}


def _assembled(column: FeatureColumn, policy: str) -> str:
    """Return a column's part of an assembled vector as SQL of an array, with NaN for null."""
    if column.kind == "scalar":
        return f"array(coalesce({guarded(column, column.sql, f'double({column.sql})', policy)}, double('NaN')))"
    array = vectors.checked_array(replace(column, kind="array"), policy)
    return f"coalesce(transform({array}, x -> coalesce(x, double('NaN'))), array_repeat(double('NaN'), {column.size}))"


def _rows_taken_apart(plan: Plan) -> list[_Rows]:
    """Return the rows of each output: what is taken of the array, and its part of the map."""
    column, column_map = plan.inputs[0], plan.maps[0]
    source, parts = column.sql, [column_map.part(features) for features in plan.features]
    if None in parts:
        source = column_map.sql(column, source)
    rows = []
    for out, features, part in zip(plan.outputs, plan.features, parts, strict=True):
        array = replace(out, kind="array") if out.kind == "vector" else out
        identity = Affine(AffineMap.identity(out.size or 0))
        rows.append(_Rows(array, _piece(out, source, features), part or identity, plan.handle_invalid))
    return rows
