"""Transform on a GPU: kernels in pandas UDFs, which the RAPIDS Accelerator runs too.

Only arrays and structs of them and of numbers go in and out, since at a vector the plugin leaves the work to the CPU.
All scalars and arrays go as one struct, and so through one Python process; scalars are a matrix at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from sparkscale.spark.columns import FeatureColumn, fresh
from sparkscale.spark.expression import for_plugin, interpreted
from sparkscale.spark.gpu import Cpu, Kernel, device_of_task, has_plugin

__all__ = ["of_array", "with_mapped"]

Rows = npt.NDArray[Any]


def of_array(array: Column, kernel: Kernel, device: str) -> Column:
    """Return what the kernel makes of an array of doubles; null stays null, and in arrays becomes NaN."""
    mapped = pandas_udf(_on_series(kernel, device), "array<double>")  # type: ignore[call-overload]
    return F.transform(mapped(array), lambda y: F.coalesce(y, F.lit(float("nan"))))  # pandas takes NaN for null


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
    names, kinds = [f"c{k}" for k in range(len(columns))], [_sent(c) for c in columns]
    cells = (f"cast({source} AS {kind}) AS {n}" for source, kind, n in zip(sources, kinds, names, strict=True))
    sent = f"struct({', '.join(cells)})"
    df = df.withColumn(before, F.expr(for_plugin(sent) if has_plugin(df.sparkSession) else sent))
    arrays = {n: kernel for n, c, kernel in zip(names, columns, kernels, strict=True) if c.kind == "array"}
    mapped = pandas_udf(  # type: ignore[call-overload]
        _on_frame(arrays, together, device), ", ".join(f"{n} {kind}" for n, kind in zip(names, kinds, strict=True))
    )
    df = df.withColumn(after, mapped(F.col(before)))
    # Pandas takes NaN for null, so what was null is told by what was sent.
    scalar = "CASE WHEN {0} IS NOT NULL THEN coalesce({1}, double('NaN')) END"
    array = interpreted(f"transform({{1}}, (y, i) -> {scalar.format('get({0}, i)', 'y')})")
    texts = [(array if n in arrays else scalar).format(f"{before}.{n}", f"{after}.{n}") for n in names]
    single = ["array<float>" if n in arrays else "float" for n in names]
    texts = [f"cast({t} AS {kind})" if c.single else t for c, t, kind in zip(columns, texts, single, strict=True)]
    return df, texts, [after, before]


def _sent(column: FeatureColumn) -> str:
    """Return the type that a column is sent as."""
    return "double" if column.kind == "scalar" else f"array<{'float' if column.single else 'double'}>"


def _on_series(kernel: Kernel, device: str) -> Any:
    def mapped(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:  # PySpark reads the types
        with device_of_task(device) as worker:
            for arrays in batches:
                yield pd.Series(_of_rows(arrays.to_numpy(), kernel, worker), dtype=object)

    return mapped


def _of_rows(rows: Rows, kernel: Kernel, worker: Cpu) -> Rows:
    """Map rows of whatever lengths, those of one length together; null and rows without a value stay."""
    made = rows.copy()
    lengths = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    for length in np.unique(lengths[lengths > 0]):
        at = np.flatnonzero(lengths == length)
        found = worker.apply(kernel, np.stack([*rows[at]]))
        for place, row in zip(at, found.astype(rows[at[0]].dtype, copy=False), strict=True):
            made[place] = row
    return made


def _on_frame(arrays: Mapping[str, Kernel], together: Kernel, device: str) -> Any:
    def mapped(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:  # as above
        with device_of_task(device) as worker:
            for frame in batches:
                scalars = [name for name in frame.columns if name not in arrays]
                made = {name: _of_rows(frame[name].to_numpy(), kernel, worker) for name, kernel in arrays.items()}
                if scalars and len(frame):
                    found = worker.apply(together, frame[scalars].to_numpy(dtype=np.float64))
                    made |= dict(zip(scalars, found.T, strict=True))
                yield pd.DataFrame({name: made.get(name, frame[name]) for name in frame.columns})

    return mapped
