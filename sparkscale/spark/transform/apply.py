"""Transform: apply maps to input columns of any type, by SQL or kernels, and add the output columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, compress, pairwise

from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.spark import gpu
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import guarded, rendered, unrounded
from sparkscale.spark.frame import Frame
from sparkscale.spark.transform import udf, vectors
from sparkscale.spark.transform.affine import Affine
from sparkscale.spark.transform.by_key import MapTable, join_maps
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.indicator import Indicator
from sparkscale.spark.transform.outputs import Paths, add_outputs
from sparkscale.spark.transform.vectors import Vectors

__all__ = ["Plan", "apply", "slices_of", "to_sql", "transform"]


@dataclass(frozen=True)
class Plan:
    """Inputs, outputs and maps of a transform.

    Parameters
    ----------
    inputs : sequence of FeatureColumn
        The columns to read, with their sizes.
    outputs : sequence of FeatureColumn
        The columns to add: one per input and of its kind, or one vector assembled from all inputs, or the columns that
        such a vector is disassembled into.
    maps : sequence of ColumnMap
        One per input; for an assembled or disassembled vector, a single one for all its features.
    handle_invalid : {"keep", "skip", "error", "keepNaN"}
        How invalid values are handled.
    shape : {"pairs", "assemble", "disassemble"}
        Whether each input has its own output, all inputs are assembled into one vector, or one is disassembled.
    device : {"cpu", "auto", "gpu"}
        Where tasks compute.
    features : sequence of slice
        The features of each output of a disassembled vector.
    replaced : mapping from str to tuple of str
        The paths of the columns, or fields of structs, that outputs replace.
    indicators : sequence of FeatureColumn
        A column to add for each input that tells which of its values are missing; none if empty.
    groups : MapTable, optional
        The maps by key, if rows differ in their maps. ``maps`` then get the names of the joined columns.
    """

    inputs: Sequence[FeatureColumn]
    outputs: Sequence[FeatureColumn]
    maps: Sequence[ColumnMap]
    handle_invalid: str = "keep"
    shape: str = "pairs"
    device: str = "cpu"
    features: Sequence[slice] = ()
    replaced: Paths = field(default_factory=dict)
    indicators: Sequence[FeatureColumn] = ()
    groups: MapTable | None = None


def slices_of(columns: Sequence[FeatureColumn]) -> list[slice]:
    """Return the slice of each column among the concatenated features of all columns."""
    ends = accumulate((c.size or 0 for c in columns), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def transform(df: DataFrame, *plans: Plan) -> DataFrame:
    """Add the outputs of plans to a DataFrame, and replace the columns that they name; all plans read the same columns."""
    frame = Frame(df)
    ready = [replace(plan, inputs=frame.read(plan.inputs)) for plan in plans]
    skipping = [column for plan in ready if plan.handle_invalid == "skip" for column in plan.inputs]
    if skipping:
        vectors.drop_invalid_rows(frame, skipping)
    for k, plan in enumerate(ready):
        device = gpu.effective_device(plan.device, df.sparkSession)
        if plan.groups:
            joined = join_maps(frame, plan.groups)
            maps = [replace(m, joined=joined) for m in plan.maps]  # type: ignore[type-var]
            ready[k] = replace(plan, maps=maps, device="cpu")
        else:
            ready[k] = replace(plan, device=device)
    return apply(frame, *ready)


def apply(frame: Frame, *plans: Plan) -> DataFrame:
    """Add the outputs to a frame that has already read the inputs."""
    texts: dict[str, str] = {}
    outputs: list[FeatureColumn] = []
    replaced: Paths = {}
    for plan in plans:
        texts |= _texts(frame, plan)
        outputs += [*plan.outputs, *plan.indicators]
        replaced = {**replaced, **plan.replaced}
    return add_outputs(frame, outputs, texts, replaced)


def _texts(frame: Frame, plan: Plan) -> dict[str, str]:
    """Return the outputs of a plan as SQL over the frame, by name."""
    inputs, policy = plan.inputs, plan.handle_invalid
    if plan.shape == "assemble":
        inputs = [vectors.assemble(frame, plan.inputs, policy)]
    rows: list[_MapInput] = []
    split: dict[int, Vectors] = {}
    for k, (column, column_map) in enumerate(zip(inputs, plan.maps, strict=True)):
        if plan.shape == "disassemble":
            doubles = replace(column, kind="vector", single=False)
            rows.append(_MapInput(doubles, vectors.as_array(frame, column, policy), column_map))
        elif column.kind == "vector" and column_map.integer_type:
            rows.append(_MapInput(column, vectors.as_array(frame, column, policy), column_map))
        elif column.kind == "vector":
            native = plan.device == "cpu" and not column_map.prefers_kernel(column)
            split[k] = Vectors.split(frame, column, column_map, policy, native=native)
            rows.append(_MapInput(column, split[k].array or "", column_map))
        else:
            rows.append(_MapInput(column, column.sql, column_map, policy))
    texts = _mapped_sql(frame, rows, plan.device)
    if plan.shape == "disassemble":
        texts = _disassembled(frame, frame.add(texts[0]), plan)
    texts = [split[k].joined(frame, text) if k in split else text for k, text in enumerate(texts)]
    if plan.indicators:
        sources = [vectors.as_array(frame, c, policy) if c.kind == "vector" else c.sql for c in plan.inputs]
        texts += [r.sql() for r in _indicator_inputs(plan.inputs, sources, policy)]
    return dict(zip([o.name for o in (*plan.outputs, *plan.indicators)], texts, strict=True))


@dataclass(frozen=True)
class _MapInput:
    """The input of a map: scalars or arrays of a column, or the rows of a vector that are mapped as arrays."""

    column: FeatureColumn
    source: str
    column_map: ColumnMap
    policy: str = "keep"

    def checked(self, result: str) -> str:
        """Return ``result`` if the length and values of the row are valid; otherwise the job fails."""
        return guarded(self.column, self.source, self.column_map.guard(self.column, self.source, result), self.policy)

    def sql(self) -> str:
        """Return the mapped row as SQL."""
        result = self.column_map.sql(self.column, self.source)
        if self.column_map.integer_type is None:
            return self.checked(result)
        # Failures are cast to the type of the results.
        typed = replace(self.column, integer_type=self.column_map.integer_type)
        return replace(self, column=typed).checked(result)


def _indicator_inputs(columns: Sequence[FeatureColumn], sources: Sequence[str], policy: str) -> list[_MapInput]:
    """Return the inputs of the indicators; those of vectors are arrays, already checked."""
    pairs = zip(columns, sources, strict=True)
    return [_MapInput(c, s, Indicator(), "keep" if c.kind == "vector" else policy) for c, s in pairs]


def _mapped_sql(frame: Frame, rows: Sequence[_MapInput], device: str) -> list[str]:
    """Return the result of each map as SQL over the frame."""
    by_kernel = [bool(r.source) and (device != "cpu" or r.column_map.prefers_kernel(r.column)) for r in rows]
    kernel_rows = [*compress(rows, by_kernel)]
    columns, maps = [r.column for r in kernel_rows], [r.column_map for r in kernel_rows]
    results = iter(udf.mapped(frame, columns, [r.checked(r.source) for r in kernel_rows], maps, device))
    pairs = zip(rows, by_kernel, strict=True)
    return [next(results) if kernel else r.sql() if r.source else "" for r, kernel in pairs]


def _disassembled(frame: Frame, array: str, plan: Plan) -> list[str]:
    """Return the outputs as SQL, given the array of all features."""
    texts = []
    for out, features in zip(plan.outputs, plan.features, strict=True):
        text = _slice_sql(out, array, features)
        text = f"cast({text} AS {out.sql_type})" if out.single else text
        if out.kind == "vector":
            text = vectors.from_array(frame, vectors.without_null(text) if plan.inputs[0].kind == "array" else text)
        texts.append(text)
    return texts


def _slice_sql(out: FeatureColumn, array: str, features: slice) -> str:
    scalar = out.kind == "scalar"
    return f"get({array}, {features.start})" if scalar else f"slice({array}, {features.start + 1}, {out.size})"


def to_sql(plan: Plan) -> dict[str, str]:
    """Return plain SQL for each output; vectors are read and written as arrays of double."""
    arrays = [replace(c, kind="array") if c.kind == "vector" else c for c in plan.inputs]
    if plan.shape == "disassemble":
        rows = _disassembled_inputs(plan)
    elif plan.shape == "assemble":
        whole = replace(plan.outputs[0], kind="vector", single=False)
        rows = [
            _MapInput(
                whole, f"concat({', '.join(_assembled_sql(c, plan.handle_invalid) for c in plan.inputs)})", plan.maps[0]
            )
        ]
    else:
        rows = [_MapInput(c, c.sql, m, plan.handle_invalid) for c, m in zip(arrays, plan.maps, strict=True)]
    if plan.indicators:
        rows += _indicator_inputs(arrays, [c.sql for c in arrays], plan.handle_invalid)
    outputs = [*plan.outputs, *plan.indicators]
    return {out.name: rendered(r.sql(), interpreted=False) for out, r in zip(outputs, rows, strict=True)}


def _assembled_sql(column: FeatureColumn, policy: str) -> str:
    """Return the features that a column contributes to an assembled vector as an SQL array, with NaN for null."""
    if column.kind == "scalar":
        return f"array(coalesce({guarded(column, column.sql, unrounded(column, column.sql), policy)}, double('NaN')))"
    array = vectors.checked_array(replace(column, kind="array"), policy)
    return f"coalesce({vectors.without_null(array)}, array_repeat(double('NaN'), {column.size}))"


def _disassembled_inputs(plan: Plan) -> list[_MapInput]:
    """Return the input of the map of each output: a slice of the array, and the map of its features."""
    column, column_map = plan.inputs[0], plan.maps[0]
    source, maps = column.sql, [column_map.part(features) for features in plan.features]
    if None in maps:
        source = column_map.sql(replace(column, kind="vector", single=False), source)
    rows = []
    for out, features, part_map in zip(plan.outputs, plan.features, maps, strict=True):
        array = replace(out, kind="array") if out.kind == "vector" else out
        identity = Affine(AffineMap.identity(out.size or 0))
        rows.append(_MapInput(array, _slice_sql(out, source, features), part_map or identity, plan.handle_invalid))
    return rows
