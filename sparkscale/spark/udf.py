"""Kernels in Arrow UDFs, or in pandas UDFs with the RAPIDS Accelerator and with PySpark before 4.1.

Only arrays and structs of them and of numbers go in and out, since at a vector the plugin leaves the work to the CPU.
All scalars and arrays go as one struct, and so through one Python process; scalars are a matrix at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructField, StructType

from sparkscale.spark import sql, tasks
from sparkscale.spark.columns import FeatureColumn, fresh
from sparkscale.spark.expression import for_plugin, interpreted
from sparkscale.spark.gpu import Cpu, Kernel, device_of_task, has_plugin

__all__ = ["of_array", "with_mapped"]

Mapped = Callable[[pa.Array, Cpu], pa.Array]
DOUBLES = "array<double>"
ARROW = {"double": pa.float64(), DOUBLES: pa.list_(pa.float64()), "array<float>": pa.list_(pa.float32())}
SPARK = {"double": DoubleType(), DOUBLES: ArrayType(DoubleType()), "array<float>": ArrayType(FloatType())}


def of_array(spark: SparkSession, array: Column, kernel: Kernel, device: str) -> Column:
    """Return what the kernel makes of an array of doubles; null stays null, and in arrays becomes NaN."""
    arrow_udf = _arrow_udf(has_plugin(spark))
    if arrow_udf:
        mapped: Column = arrow_udf(_on_arrow(partial(_of_rows, kernel=kernel), device), SPARK[DOUBLES])(array)
        return mapped
    by_pandas = _by_pandas(partial(_of_cells, arrays={"c": kernel}, together=kernel), {"c": DOUBLES}, device)
    # Pandas takes NaN for null.
    return F.transform(by_pandas(F.struct(array.alias("c")))["c"], lambda y: F.coalesce(y, F.lit(float("nan"))))


def with_mapped(
    df: DataFrame,
    columns: Sequence[FeatureColumn],
    sources: Sequence[str],
    kernels: Sequence[Kernel],
    together: Kernel,
    device: str,
) -> tuple[DataFrame, list[str], list[str]]:
    """Prepare what kernels make of scalar and array columns; null stays null, in arrays, too.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    columns, sources : sequence of FeatureColumn and of str
        Scalars and arrays, and what is read of them as SQL.
    kernels : sequence of callable
        What maps each array.
    together : callable
        What maps all scalars, put beside each other.
    device : {"auto", "gpu"}
        Where tasks compute.

    Returns
    -------
    pyspark.sql.DataFrame
        With new columns.
    list of str
        What the columns become, as SQL text over them.
    list of str
        Their names.
    """
    if not columns:
        return df, [], []
    before, after = fresh(), fresh()
    types = {f"c{k}": _sent(c) for k, c in enumerate(columns)}
    cells = (f"cast({source} AS {kind}) AS {n}" for source, (n, kind) in zip(sources, types.items(), strict=True))
    sent = f"struct({', '.join(cells)})"
    plugin = has_plugin(df.sparkSession)
    df = df.withColumn(before, sql.expr(for_plugin(sent) if plugin else sent))
    arrays = {n: kernel for n, c, kernel in zip(types, columns, kernels, strict=True) if c.kind == "array"}
    mapped = partial(_of_cells, arrays=arrays, together=together)
    arrow_udf = _arrow_udf(plugin)
    if arrow_udf:
        df = df.withColumn(after, arrow_udf(_on_arrow(mapped, device), _struct(types))(F.col(before)))
        texts = [f"{after}.{n}" for n in types]
    else:
        df = df.withColumn(after, _by_pandas(mapped, types, device)(F.col(before)))
        # Pandas takes NaN for null, so what was null is told by what was sent.
        scalar = "CASE WHEN {0} IS NOT NULL THEN coalesce({1}, double('NaN')) END"
        array = interpreted(f"transform({{1}}, (y, i) -> {scalar.format('get({0}, i)', 'y')})")
        texts = [(array if n in arrays else scalar).format(f"{before}.{n}", f"{after}.{n}") for n in types]
    single = ["array<float>" if n in arrays else "float" for n in types]
    texts = [f"cast({t} AS {kind})" if c.single else t for c, t, kind in zip(columns, texts, single, strict=True)]
    return df, texts, [after, before]


def _arrow_udf(plugin: bool) -> Any:
    """Return ``arrow_udf``, or None with PySpark before 4.1 or with the RAPIDS Accelerator, whose UDFs are of pandas.

    Of 500,000 arrays of 64 on an H100 transform takes 1.4 s by it and 3.8 s by pandas, of 100,000 on 2 cores 0.9 and 2.1.
    """
    return None if plugin else getattr(F, "arrow_udf", None)


def _sent(column: FeatureColumn) -> str:
    """Return the type that a column is sent as."""
    return "double" if column.kind == "scalar" else "array<float>" if column.single else DOUBLES


def _struct(types: Mapping[str, str]) -> StructType:
    return StructType([StructField(name, SPARK[kind]) for name, kind in types.items()])


def _on_arrow(mapped: Mapped, device: str) -> Any:
    def computed(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:  # PySpark reads the types
        tasks.begin()
        with device_of_task(device) as worker:
            for arrays in batches:
                yield mapped(arrays, worker)

    return computed


def _by_pandas(mapped: Mapped, types: Mapping[str, str], device: str) -> Any:
    return pandas_udf(_on_frame(mapped, types, device), _struct(types))  # type: ignore[call-overload]


def _on_frame(mapped: Mapped, types: Mapping[str, str], device: str) -> Any:
    import pandas as pd  # noqa: PLC0415  # only these UDFs need it

    def computed(batches: Iterator[Any]) -> Iterator[Any]:
        tasks.begin()
        with device_of_task(device) as worker:
            for frame in batches:
                cells = [pa.array(frame[n], ARROW[kind], from_pandas=False) for n, kind in types.items()]
                found = mapped(pa.StructArray.from_arrays(cells, [*types]), worker)
                yield pd.DataFrame({n: found.field(n).to_pandas() for n in types})

    # PySpark reads the types, among the names of the module, which has no pandas.
    computed.__annotations__ = dict.fromkeys(("batches", "return"), Iterator[pd.DataFrame])
    return computed


def _of_cells(cells: pa.StructArray, worker: Cpu, *, arrays: Mapping[str, Kernel], together: Kernel) -> pa.StructArray:
    """Map the columns of a struct: arrays each by its kernel, and all scalars as one matrix; null stays null."""
    columns = {field.name: cells.field(field.name) for field in cells.type}
    made = {n: _of_rows(columns[n], worker, kernel=kernel, nulls=True) for n, kernel in arrays.items()}
    scalars = [n for n in columns if n not in arrays]
    if scalars:
        rows = np.column_stack([columns[n].to_numpy(zero_copy_only=False) for n in scalars])
        found = worker.apply(together, rows) if len(rows) else rows
        made |= {n: _as_arrow(values, columns[n]) for n, values in zip(scalars, found.T, strict=True)}
    return pa.StructArray.from_arrays([made[n] for n in columns], [*columns])


def _of_rows(arrays: pa.ListArray, worker: Cpu, *, kernel: Kernel, nulls: bool = False) -> pa.ListArray:
    """Map rows of whatever lengths, those of one length together; null and rows without a value stay.

    A null inside a row is NaN to the kernel, and stays null only with ``nulls``.
    """
    lengths = arrays.value_lengths().fill_null(0).to_numpy()
    offsets = np.cumsum(np.append(0, lengths))
    values = arrays.flatten()
    rows = values.to_numpy(zero_copy_only=False)
    made = np.empty_like(rows)
    distinct = np.unique(lengths[lengths > 0])
    for length in distinct:
        if len(distinct) == 1:
            made = worker.apply(kernel, rows.reshape(-1, length)).ravel()
        else:
            at = offsets[:-1][lengths == length, None] + np.arange(length)
            made[at] = worker.apply(kernel, rows[at])
    mask = pa.array(_null(arrays)) if arrays.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _as_arrow(made, values, nulls), mask=mask)


def _as_arrow(values: npt.NDArray[Any], source: pa.Array, nulls: bool = True) -> pa.Array:
    """Return values in the type of the source, with ``nulls`` null where it is."""
    mask = _null(source) if nulls and source.null_count else None
    return pa.array(values.astype(source.type.to_pandas_dtype(), copy=False), mask=mask)


def _null(array: pa.Array) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = array.is_null().to_numpy(zero_copy_only=False)
    return found
