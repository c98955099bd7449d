"""What accelerators see in the plan of transform, and what ``toSQL`` hands out: plain SQL, each part of it with its type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from frames import frame
from models import learned, with_params
from sparkscale import (
    BatchNormModel,
    ClipByValue,
    GroupNorm,
    LayerNorm,
    MinMaxScalerModel,
    Normalizer,
    SpectralNormModel,
    StandardScalerModel,
)
from sparkscale.scalers._rows import RowTransformer
from sparkscale.spark.columns import resolve
from sparkscale.spark.fit import selection

NAMES = ["s0", "array", "floats", "dense", "sparse"]
ROWS = np.array([[1.0, 2.0, 0.5], [2.0, 7.0, 1.5], [0.5, 1.0, 2.5]])
POLICIES = ["keep", "skip", "error", "keepNaN"]


@pytest.fixture(scope="module")
def df(spark):
    """A scalar, an array of double, one of float, vectors, and an array of as many values as these have in all."""
    with_floats = frame(spark, ROWS.tolist()).withColumn("floats", F.expr("cast(array AS array<float>)"))
    return with_floats.withColumn("whole", F.expr("concat(array(s0), array, array, array, array)"))


def stages(df: DataFrame, policy: str) -> list[Any]:
    """Return models whose maps take every form, their inverses, and stages without a fit."""
    columns = [replace(c, size=c.size or 3) for c in resolve(df, NAMES)]
    rows = np.hstack([ROWS[:, :1], *[ROWS] * 4])
    standard = learned(StandardScalerModel(), rows, *columns).setInputCols(NAMES)
    clipped = learned(MinMaxScalerModel(), rows, *columns).setInputCols(NAMES)
    of_rows = [stage(inputCols=NAMES[1:]) for stage in (LayerNorm, Normalizer, partial(GroupNorm, numGroups=3))]
    models = [
        with_params(standard, withMean=True),
        with_params(standard, outputCol="one"),
        with_params(clipped, clip=True),
    ]
    filling = {"fillInvalid": "center"} if policy == "keep" else {}
    models += [
        with_params(m, addIndicator=True, **filling) for m in (models[1], with_params(standard, clip=[0.0, 1.0]))
    ]
    matrix = with_params(learned(SpectralNormModel(), rows, *columns).setInputCols(NAMES), outputCol="one")
    models += [matrix, learned(SpectralNormModel(), rows[:, :1], "s0")]
    fitted = [model.setHandleInvalid(policy) for model in models]
    inverses = [
        fitted[1].inverse().setInputCol("whole").setOutputCols([f"{name}_back" for name in NAMES]),
        fitted[0].inverse().setInputCols(NAMES),
    ]
    return [
        *fitted,
        *inverses,
        *(s.setHandleInvalid(policy) for s in (*of_rows, ClipByValue(inputCols=NAMES, low=0.0))),
    ]


def normalized(df: DataFrame, policy: str) -> DataFrame:
    """Return what normalizes the batches of a frame."""
    columns = [replace(c, size=c.size or 3) for c in resolve(df, NAMES)]
    model = learned(BatchNormModel(), np.hstack([ROWS[:, :1], *[ROWS] * 4]), *columns).setInputCols(NAMES)
    return with_params(model, batchCol="s0", weightCol="s0", handleInvalid=policy).normalizeBatches(df)


def types(df: DataFrame) -> Iterator[tuple[str, str]]:
    """Return the text and the type of every expression in an optimized plan."""
    plans = [df._jdf.queryExecution().optimizedPlan()]
    while plans:
        plan = plans.pop()
        plans += children(plan)
        expressions = [plan.expressions().apply(k) for k in range(plan.expressions().size())]
        while expressions:
            expression = expressions.pop()
            expressions += children(expression)
            yield expression.sql(), expression.dataType().catalogString()


def children(node: Any) -> list[Any]:
    return [node.children().apply(k) for k in range(node.children().size())]


@pytest.mark.classic_only  # it looks at the plan
@pytest.mark.parametrize("policy", POLICIES)
def test_plans_have_no_void_arrays(df, policy):
    """Accelerators do not run expressions with void arrays, so ``raise_error`` is cast to the type of the other branch."""
    frames = [stage.transform(df) for stage in stages(df, policy)]
    groups, (weight,) = selection.column_groups(resolve(df, NAMES)), resolve(df, ["s0"])
    frames += [selection.select(df, groups, policy, weight, "s0"), normalized(df, policy)]
    by_type = {sql_type: text for frame in frames for text, sql_type in types(frame)}

    assert "array<double>" in by_type
    assert by_type.keys() & {"array<void>"} == set(), by_type["array<void>"]


@pytest.mark.classic_only
@pytest.mark.parametrize("policy", POLICIES)
def test_sql_is_plain(df, policy):
    """The text that is handed out has none of what Spark's code generation is helped by."""
    of_stages = [s.toSQL(df) if isinstance(s, RowTransformer) else s.toSQL() for s in stages(df, policy)]
    texts = [text for of_stage in of_stages for text in of_stage.values()]

    assert any("raise_error" in text for text in texts)
    assert not [text for text in texts if "zip_with" in text or "/*" in text]
