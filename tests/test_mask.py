"""A value that counts as missing, and is kept: padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, IntegerType, StringType, StructField, StructType

import scans
from frames import cells, near, vector_field
from models import learned
from scans import Partitions
from sparkscale import (
    BatchNorm,
    MaxAbsScaler,
    MinMaxScaler,
    MinMaxScalerModel,
    Profile,
    RobustScaler,
    StandardScaler,
    StandardScalerModel,
    Winsorizer,
)
from sparkscale.errors import ParamError
from store import Store
from strategies import FEATURES, ORDINARY, Row, mostly
from test_shape import assert_same

MASK = -1.0
SCALERS = [
    MinMaxScaler(min=-1.0, clip=True),
    MaxAbsScaler(),
    StandardScaler(withMean=True, clip=[-1.5, 1.5]),
    RobustScaler(withCentering=True),
    BatchNorm(),
    Winsorizer(lower=0.1, upper=0.9),
]
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
ROW = st.none() | st.lists(
    st.sampled_from([MASK]) | mostly(ORDINARY, st.sampled_from([None, np.inf])), min_size=FEATURES, max_size=FEATURES
)


def with_null(row: Row) -> Row:
    """Return a row with null in place of the mask."""
    return row and [None if value == MASK else value for value in row]


@pytest.mark.parametrize("scaler", [StandardScaler(), RobustScaler(), MinMaxScaler(shape=[-1])], ids=str)
@pytest.mark.parametrize("column", ["array", "sparse", "mixed"])
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_a_masked_value_is_fitted_as_null(scaler: Any, column: str, rows: list[Row]) -> None:
    """It is counted as invalid, and nothing else is known of it."""
    own, rows = scaler.copy().setParams(inputCol=column), [[MASK, 2.0, 3.0], *rows]

    masked = scans.fit(own.copy().setMaskValue(MASK), Partitions([rows[::2], rows[1::2]]))
    plain = scans.fit(own, Partitions([[*map(with_null, part)] for part in (rows[::2], rows[1::2])]))

    assert_same(masked.statistics, plain.statistics)


@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_rows_with_a_mask_are_not_skipped(rows: list[Row]) -> None:
    """Only those with an invalid value are."""
    kept = [row for row in rows if row is not None and np.isfinite(np.array(row, dtype=np.float64)).all()]
    columns = {"inputCols": ["s0", "s1", "s2"], "maskValue": MASK}
    scaler = StandardScaler(**columns, handleInvalid="skip")
    if not any(value != MASK for row in kept for value in row):
        return

    model = scans.fit(scaler, Partitions([rows]))
    expected = scans.fit(StandardScaler(**columns), Partitions([kept]))

    assert_same(model.statistics.with_invalid(expected.statistics.invalid), expected.statistics)


def test_what_cannot_be_masked_is_refused() -> None:
    """NaN counts as missing anyway; sparse vectors do not store zeros; a profile has counted the value."""
    df = Partitions([[[1.0, 2.0, 3.0]]])
    for mask in (float("nan"), float("inf")):
        with pytest.raises(ParamError, match="maskValue must be a finite number"):
            scans.fit(MinMaxScaler(inputCol="s0", maskValue=mask), df)
    with pytest.raises(ParamError, match=r"maskValue=0 is not for vectors such as 'dense'.*vector_to_array"):
        scans.fit(MinMaxScaler(inputCol="dense", maskValue=0.0), df)
    with pytest.raises(ParamError, match="a profile counts it as any other value"):
        MinMaxScaler(inputCol="s0", maskValue=0.0).fit(Profile())
    model = scans.fit(BatchNorm(inputCol="s0"), df).setMaskValue(0.0).setBatchCol("s1")
    with pytest.raises(ParamError, match="normalizeBatches does not keep a mask"):
        model.normalizeBatches(df)


def test_sql_keeps_the_mask() -> None:
    """In one condition around the map."""
    model = MinMaxScalerModel.of(inputCol="x", originalMin=0.0, originalMax=4.0, maskValue=-1.0)

    assert model.toSQL() == {"x_scaled": "CASE WHEN `x` = (-1.0D) THEN (-1.0D) ELSE (`x` / 4.0D) END"}


@pytest.fixture(scope="module")
def padded(spark: SparkSession) -> DataFrame:
    """Padding in every kind of column; 0.1 is rounded in single precision."""
    rows = [
        (0, "a", 0.1, 0.1, 1, [1.0, 5.0, 0.1], Vectors.dense(1.0, 0.1, 3.0)),
        (1, "a", 2.0, 3.0, 7, [2.0, 0.1, 0.1], Vectors.sparse(3, [0, 2], [0.1, 4.0])),
        (2, "b", 5.0, 0.1, 4, [4.0, 8.0, 2.0], Vectors.dense(0.0, 6.0, 0.1)),
        (3, "b", 9.0, 8.0, 9, [0.1, 6.0, 1.0], Vectors.dense(2.0, 7.0, 9.0)),
    ]
    types = (IntegerType(), StringType(), DoubleType(), FloatType(), IntegerType(), ArrayType(FloatType()))
    plain = [StructField(name, kind) for name, kind in zip("ikxfna", types, strict=True)]
    schema = StructType([*plain, vector_field("v", 3)])
    return spark.createDataFrame(rows, schema).withColumnRenamed("i", "id").coalesce(1).localCheckpoint()


NAMES = ["x", "f", "a", "v"]


def is_mask(cell: Any) -> np.ndarray:
    return np.isclose(np.array(cell, dtype=np.float64), 0.1, rtol=1e-6)


@pytest.mark.core
@each_scaler
def test_padding_is_kept(scaler: Any, padded: DataFrame) -> None:
    """By transform and by the inverse, though invalid values are refused; the rest is scaled as if it were null."""
    model = (
        scaler.copy().setParams(inputCols=NAMES, maskValue=0.1, handleInvalid="error", addIndicator=True).fit(padded)
    )
    by_sql = padded.withColumn("by_sql", F.expr(model.toSQL()["a_scaled"]))
    out = model.transform(by_sql)
    outputs, indicators = [f"{n}_scaled" for n in NAMES], [f"{n}_missing" for n in NAMES]

    columns = cells(model.inverseTransform(out.drop(*NAMES)), *NAMES)
    for row, mapped, missing, restored, (again,) in zip(
        cells(padded, *NAMES), cells(out, *outputs), cells(out, *indicators), columns, cells(out, "by_sql"), strict=True
    ):
        assert again == mapped[2]
        for cell, scaled, indicator, back in zip(row, mapped, missing, restored, strict=True):
            mask = is_mask(cell)
            np.testing.assert_array_equal(np.array(indicator, dtype=bool), mask)
            np.testing.assert_allclose(np.array(scaled)[mask], 0.1, rtol=1e-7)
            np.testing.assert_allclose(np.array(back)[mask], 0.1, rtol=1e-7)
    assert model.invalidCounts == [1, 2, 1, 1, 2, 1, 1, 1]
    affine = model.affine
    y = np.array([m[2] for m in cells(out, *outputs)], dtype=np.float64)
    x = np.array([r[2] for r in cells(padded, *NAMES)], dtype=np.float64)
    expected = (x - affine.center[2:5]) / affine.scale[2:5] + affine.offset[2:5]
    bounds = model._bounds()
    if bounds is not None:
        expected = np.clip(expected, bounds[0][2:5], bounds[1][2:5])
    np.testing.assert_allclose(y[~is_mask(x)], expected[~is_mask(x)], rtol=1e-6, atol=1e-6)


@pytest.mark.core
def test_padding_is_kept_by_key_and_in_one_vector(padded: DataFrame, tmp_path: Path) -> None:
    """In aggregates too, those of whole numbers, and after loading."""
    columns = {"inputCols": ["n", "f"], "maskValue": 4.0}
    model = MinMaxScaler(**columns, groupCols=["k"]).fit(padded)
    model.write().overwrite().save(str(tmp_path / "model"))
    out = cells(MinMaxScalerModel.load(str(tmp_path / "model")).transform(padded), "n_scaled")
    whole = MinMaxScaler(**columns, handleInvalid="error").fit(padded)

    assert [n for (n,) in out] == [0.0, 1.0, 4.0, 0.5]
    assert (whole.originalMin[0], whole.originalMax[0], whole.invalidCounts) == (1.0, 9.0, [1, 0])

    assembled = MinMaxScaler(inputCols=["x", "f", "a"], outputCol="y", maskValue=0.1).fit(padded)
    rows = assembled.transform(padded)
    restored = assembled.inverseTransform(rows.drop("x", "f", "a"))
    for (y,), x, back in zip(
        cells(rows, "y"), cells(padded, "x", "f", "a"), cells(restored, "x", "f", "a"), strict=True
    ):
        flat, undone = (np.array([row[0], row[1], *row[2]]) for row in (x, back))
        assert (np.array(y)[is_mask(flat)] == 0.1).all()
        near(undone, flat, 1e-6)


@pytest.mark.gpu
def test_kernels_keep_the_mask(padded: DataFrame) -> None:
    """Of scalars, each with its own precision, and of arrays and vectors."""
    model = StandardScaler(inputCols=NAMES, withMean=True, maskValue=0.1).fit(padded)
    names = [f"{n}_scaled" for n in NAMES]
    expected, actual = (cells(m.transform(padded), *names) for m in (model, model.copy().setDevice("gpu")))

    for one, other in zip(expected, actual, strict=True):
        for cell, same in zip(one, other, strict=True):
            near(same, cell, 1e-6)


def test_statistics_of_different_masks_do_not_add_up():
    """Neither of two models, nor after the Param has changed; also of a model that was saved."""
    rows = [[1.0], [4.0], [-1.0]]
    model, store = learned(StandardScalerModel().setMaskValue(MASK), rows, "x"), Store()
    model._fit_options = model._options()
    model.write().session(store).save("m")
    loaded = StandardScalerModel.read().session(store).load("m")

    with pytest.raises(ParamError, match=r"statistics of maskValue -1.0 and None do not add up"):
        loaded.merge(learned(StandardScalerModel(), rows, "x"))
    with pytest.raises(ParamError, match=r"statistics of maskValue -1.0 and None do not add up"):
        loaded.copy().setMaskValue(None)._check_same_mask(None)
    assert loaded.merge(model).count == 6
