"""Vectors that Spark's own constructors would refuse, but a DataFrame may hold: fit refuses them in words of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.linalg import DenseVector, SparseVector
from pyspark.sql import DataFrame, SparkSession

from frames import vectors
from models import learned
from sparkscale import LayerNorm, MinMaxScaler, MinMaxScalerModel, StandardScaler
from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError, SizeMismatchError
from sparkscale.spark import arrow
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import decoding, selection

GOOD, NULL, DENSE = ([1], [4.0]), ([-1], []), ([], [1.0, 2.0, 3.0])
LARGEST = (1 << 31) - 1


def malformed(size: int, indices: list[int], values: list[float]) -> SparseVector:
    """Return a vector that the constructor does not let through."""
    vector = SparseVector.__new__(SparseVector)
    vector.size, vector.indices, vector.values = size, np.array(indices, np.int32), np.array(values, np.float64)
    return vector


def decoded(*rows: tuple[list[int], list[float]], sized: bool = True, size: int = 3) -> list[decoding.Piece]:
    """Return the blocks of a batch of indices and values of vectors."""
    cells = {
        "a0": pa.array([values for _, values in rows], pa.list_(pa.float64())),
        "i0": pa.array([indices for indices, _ in rows], pa.list_(pa.int32())),
    }
    if not sized:
        cells["n0"] = pa.array([0 if row == NULL else size for row in rows], pa.int32())
    (group,) = selection.column_groups([FeatureColumn("v", "vector", size=size if sized else None)])
    return decoding.decode(pa.record_batch(cells), 0, group, group.column.size)[0]


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "unsized"])
@pytest.mark.parametrize(
    "indices", [[1, 1], [2, 1], [0, 3], [-1, 1], [-1], [0, 2, 1], [LARGEST, -LARGEST - 1]], ids=str
)
def test_invalid_vector_indices_are_refused(indices: list[int], sized: bool) -> None:
    """In any row; the message has the indices and their range."""
    row, shown = (indices, [1.0] * len(indices)), ", ".join(map(str, indices))

    for rows in ([row], [GOOD, NULL, row], [row, DENSE, GOOD], [([], []), ([0, 2], [1.0, 1.0]), row, ([], [])]):
        with pytest.raises(InvalidValueError) as caught:
            decoded(*rows, sized=sized)
        assert (
            f"Column 'v' holds a sparse vector of size 3 with the indices {shown}: they must be from 0 to 2 and in "
            "strictly ascending order." in str(caught.value)
        )


def test_messages_show_some_of_many_indices() -> None:
    """A message is no dump."""
    with pytest.raises(InvalidValueError, match=r"the indices 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.: they"):
        decoded(([*range(20), 0], [1.0] * 21), size=20)


def test_well_formed_rows_are_taken() -> None:
    """Each begins anew, however few it stores; null and dense ones stand among them."""
    rows = [([0, 2], [1.0, 2.0]), ([], []), GOOD, NULL, DENSE, ([0, 1, 2], [7.0, 8.0, 9.0]), ([0], [1.0])]

    (dense, full), (sparse, rest) = ((piece.block, piece.rows) for piece in decoded(*rows))

    assert dense.values.tolist() == [[1.0, 2.0, 3.0]]
    assert sparse.dense(0, 5).tolist() == [[1, 0, 2], [0, 0, 0], [0, 4, 0], [7, 8, 9], [1, 0, 0]]
    assert (np.flatnonzero(full).tolist(), np.flatnonzero(rest).tolist()) == ([4], [0, 1, 2, 5, 6])


def test_a_size_that_no_statistic_should_have_is_refused() -> None:
    """Before anything of the size is allocated: of the largest that an integer holds, and one above the limit."""
    for size in (LARGEST, (1 << 26) + 1):
        with pytest.raises(ParamError, match=f"Column 'v' holds vectors of size {size}; fit takes 67108864 features"):
            decoded(NULL, GOOD, sized=False, size=size)
    assert decoded(GOOD, sized=False, size=1 << 26)[0].block.size == 1 << 26
    with pytest.raises(EmptyDataError, match="vectors of size -5"):
        decoded(([], []), sized=False, size=-5)


def test_a_size_in_the_metadata_is_refused_before_any_job(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names column and size."""
    monkeypatch.setattr(arrow, "collect", lambda df: pytest.fail("a job ran"))
    df = vectors(spark, malformed(LARGEST, [5], [1.0]), size=LARGEST)

    with pytest.raises(ParamError, match=r"^Column 'v' holds vectors of size 2147483647; fit takes"):
        StandardScaler(inputCol="v").fit(df)


MALFORMED: dict[str, tuple[SparseVector, type[Exception], str]] = {
    "twice": (malformed(3, [1, 1], [1.0, 2.0]), InvalidValueError, "with the indices 1, 1: they must be from 0 to 2"),
    "fewer values": (malformed(3, [0, 1], [1.0]), SizeMismatchError, "with 2 indices and 1 values: it must have one"),
    "like null": (malformed(3, [-1], []), SizeMismatchError, "with 1 indices and 0 values"),
    "like dense": (malformed(3, [], [1.0, 2.0, 3.0]), SizeMismatchError, "with 0 indices and 3 values"),
}


def frame(spark: SparkSession, bad: Any) -> DataFrame:
    """Return rows of which one is malformed, and one null."""
    return vectors(spark, SparseVector(3, [1], [4.0]), None, bad, DenseVector([1.0, 2.0, 3.0]))


@pytest.mark.core
@pytest.mark.parametrize("case", MALFORMED)
def test_fit_refuses_malformed_vectors(spark: SparkSession, case: str) -> None:
    """The job fails, and the error says in which column and what was wrong."""
    vector, error, message = MALFORMED[case]

    with pytest.raises(error, match=f"^Column 'v' holds a sparse vector .*{message}"):
        StandardScaler(inputCol="v").fit(frame(spark, vector))


@pytest.mark.core
def test_fit_refuses_a_size_that_only_the_data_show(spark: SparkSession) -> None:
    """In the task that reads it."""
    with pytest.raises(ParamError, match="vectors of size 2147483647"):
        MinMaxScaler(inputCol="v").fit(vectors(spark, malformed(LARGEST, [5], [1.0])))


@pytest.mark.core
@pytest.mark.parametrize("case", ["fewer values", "like null", "like dense"])
def test_transform_refuses_a_vector_with_an_index_without_a_value(spark: SparkSession, case: str) -> None:
    """With the words of fit, by a fitted map and row by row; null and all others pass."""
    vector, _, message = MALFORMED[case]
    model = learned(MinMaxScalerModel(), [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], FeatureColumn("v", "vector", size=3))

    for stage in (model, LayerNorm(inputCol="v")):
        with pytest.raises(Exception, match=r"\[sparkscale.SizeMismatchError\] Column 'v' holds a sparse") as caught:
            stage.transform(frame(spark, vector)).collect()
        assert message in str(caught.value)
