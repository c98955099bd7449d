"""Synthetic tables, written once as Parquet."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

FILES = 4


def scalars(spark: SparkSession, folder: Path, columns: int, rows: int) -> DataFrame:
    """Return a table of double columns."""
    path = folder / f"scalars_{columns}_{rows}"
    if not path.exists():
        rng = np.random.default_rng(0)
        table = pa.table({f"c{j}": rng.normal(j, 1 + j, rows) for j in range(columns)})
        _write(table, path)
    return spark.read.parquet(str(path))


def keyed(spark: SparkSession, folder: Path, rows: int, keys: int) -> DataFrame:
    """Return a table of a key ``k`` and three double columns."""
    path = folder / f"keyed_{rows}_{keys}"
    if not path.exists():
        rng = np.random.default_rng(3)
        numbers = {"x": rng.normal(10, 3, rows), "y": rng.normal(0, 1, rows), "z": rng.random(rows) * 100}
        _write(pa.table({"k": rng.integers(0, keys, rows, dtype=np.int32), **numbers}), path)
    return spark.read.parquet(str(path))


def arrays(spark: SparkSession, folder: Path, size: int, rows: int, columns: int = 1) -> DataFrame:
    """Return a table of array columns: ``a``, ``a1``, ..."""
    path = folder / f"arrays_{size}_{rows}_{columns}"
    if not path.exists():
        rng, data = np.random.default_rng(1), {}
        for k in range(columns):
            values = pa.array(rng.normal(3, 2, rows * size))
            data[f"a{k or ''}"] = pa.FixedSizeListArray.from_arrays(values, size).cast(pa.list_(pa.float64()))
        _write(pa.table(data), path)
    return spark.read.parquet(str(path))


def images(spark: SparkSession, folder: Path, shape: list[int], rows: int) -> DataFrame:
    """Return a table of one column of flattened images, of single precision."""
    size = int(np.prod(shape))
    path = folder / f"images_{size}_{rows}"
    if not path.exists():
        rng = np.random.default_rng(2)
        unfinished = _unfinished(path)
        unfinished.mkdir(parents=True)
        for k in range(4 * FILES):
            values = rng.random(rows // (4 * FILES) * size, dtype=np.float32)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(values), size).cast(pa.list_(pa.float32()))
            pq.write_table(pa.table({"a": lists}), unfinished / f"part-{k}.parquet")
        unfinished.rename(path)
    return spark.read.parquet(str(path))


def vectors(spark: SparkSession, folder: Path, size: int, rows: int) -> DataFrame:
    """Return a table of one dense vector column, as VectorAssembler makes it."""
    path = folder / f"vectors_{size}_{rows}"
    if not path.exists():
        columns = arrays(spark, folder, size, rows).select(*(F.expr(f"a[{i}] AS c{i}") for i in range(size)))
        assembler = VectorAssembler(inputCols=[f"c{i}" for i in range(size)], outputCol="v")
        _finish(assembler.transform(columns).select("v"), path)
    return spark.read.parquet(str(path))


def sparse(spark: SparkSession, folder: Path, size: int, stored: int, rows: int) -> DataFrame:
    """Return a table of one sparse vector column, with its size in the metadata as Spark's own stages leave it."""
    path = folder / f"sparse_{size}_{stored}_{rows}"
    if not path.exists():
        rng = np.random.default_rng(2)
        indices = np.sort(rng.integers(0, size - stored, (rows, stored)), axis=1) + np.arange(stored)
        lists = [
            pa.FixedSizeListArray.from_arrays(pa.array(flat), stored).cast(pa.list_(flat_type))
            for flat, flat_type in (
                (indices.astype(np.int32).ravel(), pa.int32()),
                (rng.normal(1, 2, rows * stored), pa.float64()),
            )
        ]
        struct = pa.StructArray.from_arrays(
            [pa.array(np.zeros(rows, np.int8)), pa.array(np.full(rows, size, np.int32)), *lists],
            names=["type", "size", "indices", "values"],
        )
        raw = path.with_suffix(".raw")
        shutil.rmtree(raw, ignore_errors=True)
        _write(pa.table({"v": struct}), raw)
        field = StructField("v", VectorUDT(), metadata={"ml_attr": {"num_attrs": size}})
        _finish(spark.read.schema(StructType([field])).parquet(str(raw)).withMetadata("v", field.metadata), path)
    return spark.read.parquet(str(path))


def _write(table: pa.Table, path: Path) -> None:
    unfinished = _unfinished(path)
    unfinished.mkdir(parents=True)
    step = -(-table.num_rows // FILES)
    for i in range(FILES):
        pq.write_table(table.slice(i * step, step), unfinished / f"part-{i}.parquet", use_dictionary=False)
    unfinished.rename(path)


def _finish(df: DataFrame, path: Path) -> None:
    unfinished = _unfinished(path)
    df.write.parquet(str(unfinished))
    unfinished.rename(path)


def _unfinished(path: Path) -> Path:
    """Return where to write what takes its name when it is complete; an interrupted run leaves nothing half-written."""
    temporary = path.with_name(f"{path.name}.unfinished")
    shutil.rmtree(temporary, ignore_errors=True)
    return temporary
