"""What Spark's parser would take for a variable: in names, in messages, and where text is handed to it."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

import sparkscale
from frames import cells, cells_of_each, near, vector_field
from models import learned, with_params
from sparkscale import (
    BatchNorm,
    BatchNormModel,
    ClipByValue,
    MinMaxScaler,
    Normalizer,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.display import plot
from sparkscale.display.bins import histograms
from sparkscale.errors import InvalidValueError, ParamError, SizeMismatchError, parse_job_error
from sparkscale.spark import sql
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.names import attribute

PACKAGE = Path(sparkscale.__file__).parent

# Beside each column there is another, which its name becomes if a variable is put in. The setting is a column and more.
X, Y, ARRAY, VECTOR, FIELD = "x${zz}", "${spark.injected}", "${env:SPARKSCALE_NO_SUCH}array", "v${zz}", "s.p${zz}"
WEIGHT, BATCH = "w${zz}", "step${zz}"
NAMES = [X, Y, ARRAY, VECTOR, FIELD]
ROWS = np.array([[1, 5, 1, 9, 2, 4, 3], [2, -1, 3, 8, 2, 5, 1], [6, 2, 2, 4, 7, 5, 8], [3, 1, 0, 0, 9, -2, 1]], float)
WEIGHTS, STEPS = [1.0, 2.0, 1.0, 3.0], [0, 0, 1, 1]
COLUMNS = [
    FeatureColumn(X, "scalar", size=1),
    FeatureColumn(Y, "scalar", size=1),
    FeatureColumn(ARRAY, "array", size=2),
    FeatureColumn(VECTOR, "vector", size=2),
    FeatureColumn(FIELD, "scalar", size=1, nested=True),
]
NUMBER, NUMBERS = DoubleType(), ArrayType(DoubleType())


@pytest.fixture(scope="module")
def named(spark):
    """The rows under such names, and under the names that they would become other values."""
    spark.conf.set("spark.injected", "x` * 0 + 42 + `x")
    fields = [
        StructField("id", LongType()),
        StructField("x", NUMBER),
        StructField("array", NUMBERS),
        vector_field("v", 2),
        StructField("s", StructType([StructField("p", NUMBER), StructField("p${zz}", NUMBER)])),
        StructField("w", NUMBER),
        StructField("step", LongType()),
        StructField(X, NUMBER),
        StructField(Y, NUMBER),
        StructField(ARRAY, NUMBERS),
        vector_field(VECTOR, 2),
        StructField(WEIGHT, NUMBER),
        StructField(BATCH, LongType()),
    ]
    rows = []
    for i, ((x, y, a, b, c, d, p), weight, step) in enumerate(zip(ROWS.tolist(), WEIGHTS, STEPS, strict=True)):
        others = (-9.0, [-9.0, -9.0], Vectors.dense(-9.0, -9.0), (-9.0, p), 9.0, i)
        rows.append((i, *others, x, y, [a, b], Vectors.dense(c, d), weight, step))
    yield spark.createDataFrame(rows, StructType(fields))
    spark.conf.unset("spark.injected")


@pytest.fixture(scope="module")
def model():
    """A model of all columns, without a fit."""
    return learned(StandardScalerModel().setWithMean(True), ROWS, *COLUMNS)


def numbers(rows):
    """Return the cells of each row as one flat list of numbers."""
    return [[number for cell in row for number in (cell if isinstance(cell, list) else [cell])] for row in rows]


def named_columns(df, names):
    """Return columns by name, with ``id``, without SQL text."""
    return df.select("id", *(F.col(attribute([name])) for name in names))


def numbered(df, names):
    """Return columns by name, with ``id``, under numbers."""
    return df.select("id", *(F.col(attribute([name])).alias(f"c{i}") for i, name in enumerate(names)))


def failure_of(action):
    """Return the error of this package that a job fails with."""
    with pytest.raises(Exception, match="sparkscale") as caught:
        action()
    return parse_job_error(caught.value)


# Fit


@pytest.mark.settings
@pytest.mark.core
def test_fit_learns_from_the_columns_that_are_named(named):
    """By SQL aggregates and through Arrow, of every kind, with weights and in mini-batches."""
    extrema = MinMaxScaler(inputCols=[X, Y, FIELD]).fit(named)
    moments = StandardScaler(inputCols=NAMES, weightCol=WEIGHT, handleInvalid="skip").fit(named)
    batches = BatchNorm(
        inputCols=NAMES, weightCol=WEIGHT, statistics="meanOfBatches", batchCol=BATCH, handleInvalid="error"
    ).fit(named)
    weighted = [np.average(ROWS[at], axis=0, weights=np.array(WEIGHTS)[at]) for at in (slice(0, 2), slice(2, 4))]

    near(extrema.originalMax, ROWS[:, [0, 1, 6]].max(axis=0))
    near(moments.mean, np.average(ROWS, axis=0, weights=WEIGHTS))
    near(batches.runningMean, np.mean(weighted, axis=0))
    assert moments.featureNames == [X, Y, f"{ARRAY}_0", f"{ARRAY}_1", f"{VECTOR}_0", f"{VECTOR}_1", FIELD]


# Transform


@pytest.mark.settings
@pytest.mark.core
def test_transform_maps_the_columns_that_are_named(named, model):
    """For every kind of column and every ``handleInvalid``; outputs have the given names, and vectors their size."""
    spoilt = named.withColumn(X, F.when(F.col("id") < 3, F.col(attribute([X]))))
    choices = {"keep": spoilt, "skip": spoilt, "error": named.where("id < 3")}
    frames = {invalid: with_params(model, handleInvalid=invalid).transform(df) for invalid, df in choices.items()}
    outputs = [f"{name}_scaled" for name in NAMES]
    rows = cells_of_each({invalid: named_columns(df, outputs) for invalid, df in frames.items()})
    expected = model.affine.apply(ROWS)

    for invalid, df in frames.items():
        assert df.columns == [*named.columns, *outputs], invalid
        assert df.schema[f"{VECTOR}_scaled"].metadata["ml_attr"]["num_attrs"] == 2, invalid
        near([row[1:] for row in numbers(rows[invalid])[:3]], expected[:3])
    near(numbers(rows["keep"])[3][1:], [np.nan, *expected[3, 1:]])
    assert [len(rows[invalid]) for invalid in choices] == [4, 3, 3]


@pytest.mark.settings
@pytest.mark.core
def test_named_columns_become_one_vector_and_are_restored(named, model):
    """So are their own outputs mapped back."""
    whole = with_params(model, outputCol="all${zz}")
    assembled, scaled = whole.transform(named), model.transform(named)
    outputs = [f"{name}_scaled" for name in NAMES]
    restored = {
        "vector": whole.inverseTransform(named_columns(assembled, ["all${zz}"])),
        "columns": model.inverseTransform(named_columns(scaled, outputs)),
    }
    rows_by_name = cells_of_each({name: named_columns(df, NAMES) for name, df in restored.items()})

    assert assembled.columns == [*named.columns, "all${zz}"]
    assert [df.columns[-len(NAMES) :] for df in restored.values()] == [NAMES, NAMES]
    for rows in rows_by_name.values():
        near([row[1:] for row in numbers(rows)], ROWS)


@pytest.mark.settings
@pytest.mark.core
def test_the_column_or_field_that_is_named_is_replaced(named, model):
    """Only the named column or field is replaced, in its position."""
    lost = F.lit(-1.0)
    scaled = model.transform(named).withColumn(X, lost).withColumn("s", F.col("s").withField("`p${zz}`", lost))
    df = model.inverseTransform(scaled, columns=[X, VECTOR, FIELD], outputCols=[X, VECTOR, FIELD])
    places = [[X], [VECTOR], ["s", "p${zz}"], ["x"], ["s", "p"]]
    rows = cells(df.select("id", *(F.col(attribute(place)).alias(f"c{i}") for i, place in enumerate(places))))

    assert df.columns == scaled.columns
    near([row[1:5] for row in numbers(rows)], ROWS[:, [0, 4, 5, 6]])
    assert [row[5:] for row in numbers(rows)] == [[-9.0, -9.0]] * len(ROWS)


@pytest.mark.settings
@pytest.mark.core
def test_stages_without_a_fit_take_the_columns_that_are_named(named):
    """Their outputs too: a variable is not put in."""
    clipped = ["clipped ${zz}", "${env:HOME}", "${spark.injected}2"]
    units = ["${zz} unit", "unit ${zz}"]
    df = ClipByValue(inputCols=[X, Y, FIELD], outputCols=clipped, low=0.0, high=5.0).transform(named)
    df = Normalizer(inputCols=[ARRAY, VECTOR], outputCols=units, handleInvalid="error").transform(df)
    rows = numbers(cells(numbered(df, [*clipped, *units])))

    assert df.columns == [*named.columns, *clipped, *units]
    near([row[1:4] for row in rows], np.clip(ROWS[:, [0, 1, 6]], 0, 5))
    for start, columns in ((4, slice(2, 4)), (6, slice(4, 6))):
        lengths = np.linalg.norm(ROWS[:, columns], axis=1, keepdims=True)
        near([row[start : start + 2] for row in rows], ROWS[:, columns] / np.where(lengths > 0, lengths, 1))


@pytest.mark.settings
@pytest.mark.core
def test_mini_batches_are_those_of_the_column_that_is_named(named):
    """Each normalized by its own mean and variance."""
    model = learned(BatchNormModel().setBatchCol(BATCH).setEpsilon(1e-9), ROWS, *COLUMNS)
    df = model.normalizeBatches(named)
    rows = numbers(cells(numbered(df, [f"{name}_scaled" for name in NAMES])))
    halves = [ROWS[:2], ROWS[2:]]
    expected = [(half - half.mean(axis=0)) / np.sqrt(half.var(axis=0) + 1e-9) for half in halves]

    assert df.columns == [*named.columns, *(f"{name}_scaled" for name in NAMES)]
    near([row[1:] for row in rows], np.concatenate(expected), rtol=1e-9)


@pytest.mark.settings
@pytest.mark.gpu
def test_kernels_map_the_columns_that_are_named(named, model):
    """By UDFs, as on the CPU."""
    outputs = [f"{name}_scaled" for name in NAMES]
    rows = numbers(cells(numbered(model.copy().setDevice("gpu").transform(named), outputs)))

    near([row[1:] for row in rows], model.affine.apply(ROWS))


@pytest.mark.settings
def test_values_are_counted_in_the_columns_that_are_named(named, model):
    """Before and after: x, and the first of the array."""
    before, first, *_ = histograms(*plot._arrays(model, named, [0, 2]), bins=5)

    assert (before.edges[0], before.edges[-1]) == (1.0, 6.0)
    assert (first.edges[0], first.edges[-1]) == (0.0, 3.0)


# Messages


@pytest.fixture(params=["false", "true"])
def escaped(request, spark):
    """Whether a backslash in a literal of SQL text is a backslash."""
    setting = "spark.sql.parser.escapedStringLiterals"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        spark.conf.set(setting, request.param)
        yield request.param == "true"
        spark.conf.unset(setting)


@pytest.mark.settings
@pytest.mark.core
def test_job_messages_show_such_names(named, model, escaped):
    """Of an invalid value in fit, and of a wrong size in transform."""
    invalid = named.withColumn(X, F.lit(float("nan")))
    short = named.select("id", F.array(F.lit(1.0)).alias(ARRAY))
    of_array = learned(StandardScalerModel().setInputCol(ARRAY), ROWS[:, 2:4], COLUMNS[2])

    with pytest.raises(InvalidValueError) as caught:
        MinMaxScaler(inputCol=X, handleInvalid="error").fit(invalid)
    wrong_size = failure_of(of_array.transform(short).collect)

    assert X in str(caught.value)
    assert isinstance(wrong_size, SizeMismatchError)
    assert ARRAY in str(wrong_size)


@pytest.mark.core
def test_strings_are_quoted_in_sql_text(spark, escaped):
    """To the letter; only quotes and backslashes depend on the session's setting."""
    texts = ["a${zz}b", "${env:HOME}", "$${x}${y}", "$", "{}"] + ([] if escaped else ["it's \\${x} \\' ${"])
    one = sql.select(spark.sql("SELECT 1"), *(f"{sql.string(text)} AS c{i}" for i, text in enumerate(texts)))

    assert list(one.first()) == texts


# Text that is handed out


def test_sql_text_is_refused_for_such_a_name(model):
    """For the map and its inverse: the text would read another column."""
    for stage in (model, model.inverse(), with_params(model, outputCol="all")):
        with pytest.raises(ParamError, match=r"Column '.*\$\{.*' holds '\$\{'.*Rename it"):
            stage.toSQL()


def test_sql_text_of_a_stage_without_a_fit_is_refused_for_such_a_name(named):
    """As that of a model is."""
    with pytest.raises(ParamError, match=r"Column 'x\$\{zz\}' holds '\$\{'.*Rename it"):
        ClipByValue(inputCol=X, outputCol="o", low=0.0).toSQL(named)


def test_sql_text_may_be_of_an_output_with_such_a_name():
    """Its name is not in the text."""
    model = learned(StandardScalerModel().setOutputCols(["${zz}"]), [[1.0], [3.0]], "x")

    assert model.toSQL() == {"${zz}": "(`x` / 1.4142135623730951D)"}


# The way to Spark's parser


@pytest.mark.parametrize(
    "hand_over", [sql.expr, lambda t: sql.select(NO_FRAME, "*", t), lambda t: sql.where(NO_FRAME, t)]
)
def test_text_with_a_variable_is_not_parsed(hand_over):
    """For every way to build the text."""
    with pytest.raises(ParamError, match=r"`a\$\{zz\}` > 1.*Rename it"):
        hand_over("`a${zz}` > 1")


NO_FRAME = SimpleNamespace(selectExpr=lambda *texts: pytest.fail("parsed"), where=lambda text: pytest.fail("parsed"))


def test_only_one_module_parses_sql():
    """No other calls what parses; elsewhere ``filter`` and ``where`` are of arrays, or take a column."""
    arrays = {"np", "xp", "namespace", "batch"}
    calls = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if path == PACKAGE / "spark" / "sql.py" or not isinstance(node, ast.Attribute | ast.Call):
                continue
            whole = ast.unparse(node)
            owner, _, name = ast.unparse(node.func if isinstance(node, ast.Call) else node).rpartition(".")
            owner = owner.partition("(")[0]
            if isinstance(node, ast.Attribute):
                parses = name in {"expr", "selectExpr"}
            else:
                column = node.args and ast.unparse(node.args[0]).startswith("F.")
                parses = name in {"filter", "where"} and owner not in arrays and not column
            if parses and owner not in {"sql", "frame", "self"}:  # a frame asks that module
                calls.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {whole}")

    assert not calls


def test_no_module_imports_parsing_functions():
    """Neither ``expr`` nor ``call_function`` is imported, and ``sql`` only from ``sparkscale.spark``."""
    imports = [
        (node.module, name.asname or name.name)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]

    assert not [imported for imported in imports if imported[1] in {"expr", "call_function"}]
    assert {module for module, name in imports if name == "sql"} == {"sparkscale.spark"}
