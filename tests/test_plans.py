"""What accelerators see in the plan of transform, and what ``toSQL`` hands out: plain SQL, each part of it with its type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from frames import frame
from models import learned, with_params
from sparkscale import ClipByValue, LayerNorm, MinMaxScalerModel, Normalizer, StandardScalerModel
from sparkscale.spark.columns import resolve
from sparkscale.spark.fit import selection

NAMES = ["s0", "array", "floats", "dense", "sparse"]
ROWS = np.array([[1.0, 2.0, 0.5], [2.0, 7.0, 1.5], [0.5, 1.0, 2.5]])
POLICIES = ["keep", "skip", "error", "keepNaN"]


@pytest.fixture(scope="module")
def df(spark):
    """A scalar, an array of double, one of float, and vectors."""
    return frame(spark, ROWS.tolist()).withColumn("floats", F.expr("cast(array AS array<float>)"))


def stages(df: DataFrame, policy: str) -> list[Any]:
    """Return models whose maps take every form, and stages without a fit."""
    columns = [replace(c, size=c.size or 3) for c in resolve(df, NAMES)]
    rows = np.hstack([ROWS[:, :1], *[ROWS] * 4])
    standard = learned(StandardScalerModel(), rows, *columns).setInputCols(NAMES)
    clipped = learned(MinMaxScalerModel(), rows, *columns).setInputCols(NAMES)
    of_rows = [stage(inputCols=NAMES[1:]) for stage in (LayerNorm, Normalizer)]
    models = [
        with_params(standard, withMean=True),
        with_params(standard, outputCol="one"),
        with_params(clipped, clip=True),
    ]
    return [s.setHandleInvalid(policy) for s in (*models, *of_rows, ClipByValue(inputCols=NAMES, low=0.0))]


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
    frames.append(selection.select(df, selection.column_groups(resolve(df, NAMES)), policy, None))
    by_type = {sql_type: text for frame in frames for text, sql_type in types(frame)}

    assert "array<double>" in by_type
    assert by_type.keys() & {"array<void>"} == set(), by_type["array<void>"]


@pytest.mark.classic_only
@pytest.mark.parametrize("policy", POLICIES)
def test_sql_is_plain(df, policy):
    """The text that is handed out has none of what Spark's code generation is helped by."""
    of_models = [stage.toSQL() for stage in stages(df, policy)[:3]]
    texts = [text for of_model in of_models for text in of_model.values()]
    texts += [text for stage in stages(df, policy)[3:] for text in stage.toSQL(df).values()]

    assert any("raise_error" in text for text in texts)
    assert not [text for text in texts if "zip_with" in text or "/*" in text]
