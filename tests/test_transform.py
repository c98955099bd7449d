"""What transform and its inverse add to a DataFrame, and what they leave alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors, VectorUDT
from pyspark.sql import Row
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, LongType, StructField, StructType

from frames import NAN, cells, cells_of_each, frame, names_of, rows_of_each, scalars, vector_field, vectors
from models import learned, with_params
from sparkscale import (
    ClipByValue,
    InverseModel,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
    Whitener,
    WhitenerModel,
)
from sparkscale.errors import OutputColumnError
from sparkscale.spark.columns import FeatureColumn
from strategies import matrix_of
from table import SCALERS, each_scaler, model_of

VARIANTS = {
    "MinMax": MinMaxScaler(),
    "MinMax -1..1": MinMaxScaler(min=-1.0),
    "MinMax clip": MinMaxScaler(clip=True),
    "MinMax unit": MinMaxScaler(handleConstant="unit"),
    "MaxAbs": MaxAbsScaler(),
    "MaxAbs clip": MaxAbsScaler(clip=True),
    "Standard": StandardScaler(),
    "Standard centred": StandardScaler(withMean=True),
    "Standard unit": StandardScaler(withMean=True, handleConstant="unit"),
    "neither": StandardScaler(withStd=False),
    "centred only": StandardScaler(withMean=True, withStd=False),
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)
KEEP_ZERO = {"MaxAbs", "MaxAbs clip", "Standard", "neither"}

# Rows of three features, the second of which is constant as far as fit sees. Each comes twice, so that the vectors of
# ``mixed`` hold it in a dense and in a sparse form.
SEEN = [[1.0, -4.0, 0.0], [2.5, -4.0, 0.0], [-4.0, -4.0, 7.0]]
UNSEEN = [None, [0.0, 0.0, 0.0], [100.0, -5.0, 0.25], [-9.0, 0.0, 0.0]]
TWICE = [row for row in [*SEEN, *UNSEEN] for _ in range(2)]
KNOWN = 2 * len(SEEN)  # rows that fit sees
FORMS = [
    None if row is None else Vectors.sparse(3, {j: v for j, v in enumerate(row) if v}) if i % 2 else Vectors.dense(row)
    for i, row in enumerate(TWICE)
]
SCALARS = names_of(("scalar",))
COLUMNS = [*SCALARS, "array", "mixed"]
OUTPUTS = [f"{name}_scaled" for name in COLUMNS]


@pytest.fixture(scope="module")
def twice(spark):
    """Return the rows as scalars, as an array and as vectors of both forms."""
    return frame(spark, TWICE).coalesce(1)


@pytest.fixture(scope="module")
def variants(twice):
    """Return the model of each variant, which learned from the rows that fit sees."""
    known = twice.filter(f"id < {KNOWN}")
    fitted = {s._model._statistic_class: s(inputCols=COLUMNS).fit(known) for s in (MinMaxScaler, StandardScaler)}
    return {n: model_of(s.copy().setInputCols(COLUMNS), fitted[s._model._statistic_class]) for n, s in VARIANTS.items()}


@pytest.fixture(scope="module")
def back(twice, variants):
    """Return what the inverse of each variant makes of what the variant makes of the rows."""
    return {n: m.inverseTransform(m.transform(twice).select("id", *OUTPUTS)) for n, m in variants.items()}


@pytest.fixture(scope="module")
def there_and_back(back):
    """Return the rows of all of these."""
    return rows_of_each(back)


def numbers(rows, *names):
    """Return features of three scalars, or of one array or vector, as numbers; null is NaN."""
    values = []
    for row in rows:
        one, *others = (row[name] for name in names)
        values.append([one, *others] if others else [np.nan] * 3 if one is None else [*one])
    return np.array(values, dtype=np.float64)


# Four rows with a column of each kind; the second element of ``a`` and ``v`` is constant.
NAMES = ["a", "x", "v", "i"]
VALUES = [[[k / 3, 5.0, -float(k)], k * k - 1.0, [k / 3, 5.0, -float(k)], 3.0 - k] for k in range(4)]


@pytest.fixture(scope="module")
def data(spark):
    """Return these rows."""
    df = spark.range(0, 4, 1, 1).selectExpr(
        "id", "double(id * id) - 1 AS x", "int(3 - id) AS i", "array(double(id) / 3, 5D, -double(id)) AS a", "'s' AS s"
    )
    return df.withColumn("v", array_to_vector("a"))


@pytest.fixture(scope="module")
def data_rows(data):
    """Return them as Spark gives them."""
    return data.collect()


@pytest.fixture(scope="module")
def models(data):
    """Return a model of each scaler, of a column of each kind."""
    return {scaler: scaler(inputCols=NAMES).fit(data) for scaler in SCALERS}


@pytest.fixture(scope="module")
def of_x(data):
    """Return a model of one scalar."""
    return MinMaxScaler(inputCol="x").fit(data)


@pytest.fixture(scope="module")
def of_v(data):
    """Return a model of one vector."""
    return MinMaxScaler(inputCol="v").fit(data)


def flat(row):
    """Return the numbers of a row of scalars, arrays and vectors as one flat list."""
    return np.hstack([v.toArray() if hasattr(v, "toArray") else v for v in row])


def attributes(df, column):
    """Return the number of features in a vector's metadata, and their names in order."""
    group = df.schema[column].metadata["ml_attr"]
    pairs = sorted((a["idx"], a["name"]) for kind in group.get("attrs", {}).values() for a in kind)
    return group["num_attrs"], [name for _, name in pairs]


# Kinds, names and types


@pytest.mark.core
@each_scaler
def test_output_has_the_type_of_its_input(data, models, scaler):
    """A scalar becomes a double, an array an array of double, a vector a vector."""
    df = models[scaler].transform(data)
    types = {n: df.schema[f"{n}_scaled"].dataType for n in ("x", "a", "v", "i")}

    assert types == {"x": DoubleType(), "a": ArrayType(DoubleType()), "v": VectorUDT(), "i": DoubleType()}


TYPES = ["float", "double", "tinyint", "smallint", "int", "bigint", "decimal(10,2)", "decimal(38,0)"]


@pytest.fixture(params=["true", "false"])
def ansi(spark, request):
    """Set how strict Spark is with types."""
    spark.conf.set("spark.sql.ansi.enabled", request.param)
    yield
    spark.conf.unset("spark.sql.ansi.enabled")


@pytest.mark.core
def test_output_is_float_for_float_and_double_otherwise(spark, ansi):
    """Scalars and elements of every numeric type, with and without anything to compute; the statistic is in double."""
    kinds = {f"{c}{k}": FloatType() if t == "float" else DoubleType() for c in "xa" for k, t in enumerate(TYPES)}
    names = [*kinds]
    outputs, texts = [f"{n}_scaled" for n in names], [f"{n}_text" for n in names]
    columns = [f"cast(id AS {t}) AS x{k}" for k, t in enumerate(TYPES)]
    columns += [f"array(cast(id AS {t})) AS a{k}" for k, t in enumerate(TYPES)]
    df = spark.range(0, 5, 1, 1).selectExpr("id", *columns)
    max_abs, standard = (scaler(inputCols=names).fit(df) for scaler in (MaxAbsScaler, StandardScaler))
    cases = {
        "MaxAbs": (max_abs, [0.0, 0.25, 0.5, 0.75, 1.0]),
        "neither": (with_params(standard, withStd=False), [0.0, 1.0, 2.0, 3.0, 4.0]),
        "centred only": (with_params(standard, withStd=False, withMean=True), [-2.0, -1.0, 0.0, 1.0, 2.0]),
        "MinMax": (MinMaxScaler(inputCols=names, min=-1.0).fit(df), [-1.0, -0.5, 0.0, 0.5, 1.0]),
    }
    restored = {}
    for case, (model, _) in cases.items():
        sql = [f"{text} AS {name}" for text, name in zip(model.toSQL().values(), texts, strict=True)]
        scaled = model.transform(df).selectExpr("id", *outputs, *sql)
        restored[case] = model.inverseTransform(scaled)
    rows = rows_of_each(restored)

    for case, (_, expected) in cases.items():
        for name, kind in kinds.items():
            types = [restored[case].schema[n].dataType for n in (f"{name}_scaled", f"{name}_text", name)]
            assert [t.elementType if name[0] == "a" else t for t in types] == [kind] * 3, (case, name)
        for row, value, i in zip(rows[case], expected, range(5), strict=True):
            assert [row[n] for n in outputs] == [value] * 8 + [[value]] * 8, case
            assert [row[n] for n in texts] == [value] * 8 + [[value]] * 8, case
            assert [row[n] for n in names] == [float(i)] * 8 + [[float(i)]] * 8, case
    assert max_abs.statistics.max.dtype == np.float64


def test_large_integers_are_scaled_in_double(spark):
    """A bigint is not squeezed through a smaller type."""
    df = spark.range(0, 3, 1, 1).selectExpr("(id - 1) * 9000000000000000000 AS x")

    assert cells(MinMaxScaler(inputCol="x").fit(df).transform(df), "x_scaled") == [[0.0], [0.5], [1.0]]


@pytest.mark.core
def test_the_forms_of_input(data):
    """One in and one out; many in and as many out; many in and one vector out, even if many is one."""
    scaled = data
    for estimator in (
        MaxAbsScaler(inputCol="x", outputCol="one"),
        MaxAbsScaler(inputCols=["x", "a"], outputCols=["o", "p"]),
        MaxAbsScaler(inputCols=["x", "a"], outputCol="f"),
        MinMaxScaler(inputCols=["x"], outputCol="g"),
    ):
        scaled = estimator.fit(data).transform(scaled)
    rows = cells(scaled, "one", "o", "p", "f", "g")

    assert scaled.columns == [*data.columns, "one", "o", "p", "f", "g"]
    assert (scaled.schema["f"].dataType, scaled.schema["g"].dataType) == (VectorUDT(), VectorUDT())
    for one, x, a, vector, _ in rows:
        assert (one, vector) == (x, [x, *a])
    assert rows[0][-1] == [0.0]


@pytest.fixture(scope="module")
def wholes(data):
    """Return a model of each scaler that makes one vector of all columns."""
    return {scaler: scaler(inputCols=NAMES, outputCol="f").fit(data) for scaler in SCALERS}


@pytest.fixture(scope="module")
def apart(data, models, wholes):
    """Return by scaler one vector of all columns, the columns scaled separately, and the inverse of the vector."""
    frames = {}
    for scaler, whole in wholes.items():
        alone = models[scaler]
        scaled = whole.transform(alone.transform(data)).select("id", *alone.getOutputCols(), "f")
        frames[scaler.__name__] = whole.inverse().transform(scaled)
    return frames


@pytest.fixture(scope="module")
def apart_rows(apart):
    """Return the rows of all of these."""
    return rows_of_each(apart)


@pytest.mark.core
@each_scaler
def test_one_vector_holds_its_columns_in_their_order(models, wholes, apart_rows, scaler):
    """Scalars, arrays and vectors mix in any order, and each feature has the value that it has alone."""
    rows = apart_rows[scaler.__name__]
    expected = [flat(row[f"{n}_scaled"] for n in NAMES) for row in rows]

    assert np.array([row["f"].toArray() for row in rows]) == pytest.approx(np.array(expected), rel=1e-15, abs=1e-15)
    assert wholes[scaler].affine == models[scaler].affine


@pytest.mark.core
@each_variant
def test_kinds_agree_with_the_map(variants, there_and_back, variant):
    """Scalars, arrays, dense and sparse vectors and the NumPy map give the same numbers, seen values or not."""
    rows = there_and_back[variant]
    expected = variants[variant].affine[:3].apply(matrix_of(TWICE))
    if "clip" in variant:
        expected = np.clip(expected, -1.0 if "MaxAbs" in variant else 0.0, 1.0)

    np.testing.assert_array_equal(numbers(rows, *OUTPUTS[:3]), expected)
    np.testing.assert_array_equal(numbers(rows, "array_scaled"), expected)
    assert numbers(rows, "mixed_scaled") == pytest.approx(expected, rel=1e-15, abs=1e-15, nan_ok=True)


# What stays


@pytest.mark.core
def test_all_other_columns_stay(data, data_rows, models):
    """Rows, columns, their order, types, nullability and metadata stay; outputs are added at the end, in order."""
    df = data.withMetadata("s", {"note": "kept"}).withMetadata("x", {"unit": "m"})
    model = with_params(models[StandardScaler], withMean=True, outputCols=["p", "r", "q", "o"])
    scaled = model.transform(df)

    assert scaled.columns == [*df.columns, "p", "r", "q", "o"]
    assert [scaled.schema[c] for c in df.columns] == list(df.schema)
    assert scaled.schema["s"].metadata == {"note": "kept"}
    assert scaled.select(df.columns).collect() == data_rows


def test_all_other_columns_stay_beside_one_vector(data, data_rows, wholes):
    """The many-to-one form leaves nothing of its making behind."""
    scaled = with_params(wholes[MinMaxScaler], handleInvalid="error").transform(data)

    assert scaled.columns == [*data.columns, "f"]
    assert [scaled.schema[c] for c in data.columns] == list(data.schema)
    assert scaled.select(data.columns).collect() == data_rows


def test_outputs_may_be_null(data, models):
    """Where the input may be null, so may the output."""
    df = data.select("id", *(F.when(F.col("id") > 0, F.col(n)).alias(n) for n in NAMES))
    scaled = models[MinMaxScaler].transform(df)
    rows = cells(scaled, *(f"{n}_scaled" for n in NAMES))

    assert [scaled.schema[f"{n}_scaled"].nullable for n in NAMES] == [True] * 4
    assert [[v is None for v in row] for row in rows] == [[True] * 4, *[[False] * 4] * 3]


@pytest.mark.core
def test_transform_is_lazy(data, models, wholes, of_v):
    """transform runs no job: on a frame that cannot be read it returns, and only an action fails."""
    failing = data.withColumn("a", F.expr("CASE WHEN id >= 0 THEN raise_error('a job ran') ELSE a END"))
    scaled = failing.withColumn("v", array_to_vector("a"))
    forms = {
        "one": with_params(of_v, min=-1.0, outputCol="o"),
        "many": with_params(models[MinMaxScaler], min=-1.0),
        "vector": with_params(wholes[MinMaxScaler], min=-1.0),
    }
    for form, model in forms.items():
        scaled = model.transform(scaled)
        restored = model.inverseTransform(scaled, outputCols=model._input_names())

        assert set(restored.columns) == set(scaled.columns), form
    with pytest.raises(Exception, match="a job ran"):
        scaled.collect()


def test_transform_does_not_change_the_model(data, models):
    """The same model transforms again and again, with the same outcome."""
    model = with_params(models[StandardScaler], withMean=True)
    first, second = model.transform(data), model.transform(data)
    rows = cells_of_each({"first": first, "second": second})

    assert first.columns == second.columns
    assert rows["first"] == rows["second"]


def test_transform_takes_extra_params(data, models):
    """A ParamMap given to transform holds for that call, and computes another map from what was learned."""
    model = models[MinMaxScaler]
    changes = {"min": {"min": -1.0}, "both": {"min": 2.0, "max": 4.0}}
    rows = rows_of_each(
        {k: model.transform(data, {model.getParam(n): v for n, v in c.items()}) for k, c in changes.items()}
    )

    for change, low, high in (("min", -1.0, 1.0), ("both", 2.0, 4.0)):
        x, v = [r["x_scaled"] for r in rows[change]], [r["v_scaled"][0] for r in rows[change]]
        assert (min(x), max(x)) == (low, high), change
        assert (min(v), max(v)) == (low, high), change
    assert model.getMin() == 0.0
    assert "x_scaled" in model.transform(data).columns


def test_transform_takes_another_output_name(data, of_x):
    """Names may be given to transform as well."""
    assert of_x.transform(data, {of_x.outputCol: "other"}).columns[-1] == "other"


def test_a_model_may_be_pointed_to_another_column(data, of_x):
    """setInputCol on a model reads a column of another name and the same kind."""
    model = of_x.copy().setInputCol("y").setOutputCol("z")

    scaled = model.transform(data.withColumnRenamed("x", "y"))

    assert cells(scaled, "z") == [[(x + 1.0) / 9.0] for _, x, _, _ in VALUES]


def test_hundreds_of_scalars(spark):
    """300 columns are fitted, scaled and restored."""
    names = [f"c{i}" for i in range(300)]
    df = spark.range(0, 3, 1, 1).selectExpr(*(f"double(id * {i + 1}) AS {n}" for i, n in enumerate(names)))
    model = MinMaxScaler(inputCols=names).fit(df)
    scaled = model.transform(df)
    rows = cells(model.inverseTransform(scaled.select(scaled.columns[300:])))

    assert [row[:300] for row in rows] == [[v] * 300 for v in (0.0, 0.5, 1.0)]
    assert [row[300:] for row in rows] == [[float(k * (i + 1)) for i in range(300)] for k in range(3)]


SCALAR, ARRAY, HALF = "double(id + {0})", "array(double(id + {0}))", [0.0, 0.5, 1.0]
SOME_NAN = "CASE WHEN id = 1 THEN double('NaN') ELSE double(id) END"
NULL = "nullif(double(id + {0}), 2D + {0})"
WIDE = {
    "scalars, clipped": (SCALAR, MinMaxScalerModel().setClip(True), HALF),
    "scalars, error": (SCALAR, MinMaxScalerModel().setHandleInvalid("error"), HALF),
    "scalars, skip": (NULL, MinMaxScalerModel().setHandleInvalid("skip"), [0.0, 1.0]),
    "scalars with null": (NULL, MinMaxScalerModel(), [0.0, 1.0, None]),
    "scalars with NaN": (SOME_NAN, ClipByValue(high=1.0), [0.0, NAN, 1.0]),
    "floats with NaN": (f"float({SOME_NAN})", ClipByValue(high=1.0), [0.0, NAN, 1.0]),
    "scalars, filled": (NULL, MinMaxScalerModel().setFillInvalid(-3.0), [0.0, 1.0, -3.0]),
    "scalars, never null": (SCALAR, StandardScalerModel().setWithStd(False).setWithMean(True), [-1.0, 0.0, 1.0]),
    "scalars, only clipped": (SCALAR, ClipByValue(low=30.0), [30.0] * 3),
    "arrays": (ARRAY, MinMaxScalerModel(), [[v] for v in HALF]),
    "arrays, skip": (f"array({NULL})", MinMaxScalerModel().setHandleInvalid("skip"), [[0.0], [1.0]]),
    "arrays, only clipped": (ARRAY, ClipByValue(low=30.0), [[30.0]] * 3),
}
FEW_WIDE = {"scalars, clipped", "scalars, error", "scalars, skip", "arrays"}  # one for each way that they are split


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.core if c in FEW_WIDE else ()) for c in WIDE])
def test_many_columns_are_not_computed_in_one_method(spark, capsys, case):
    """Java does not compile what is longer than 8,000 bytes, so Spark must not generate one method for all columns."""
    text, stage, expected = WIDE[case]
    names = [f"c{i}" for i in range(24)]
    df = spark.range(0, 3, 1, 1).selectExpr("id", *(f"{text.format(i)} AS {n}" for i, n in enumerate(names)))
    stage = stage.copy().setInputCols(names)
    if not isinstance(stage, ClipByValue):
        kind, valid = "array" if "array" in text else "scalar", 2 if NULL in text else 3
        rows = [[float(k + i) for i in range(24)] for k in range(valid)]
        stage = learned(stage, rows, *(FeatureColumn(n, kind, size=1) for n in names))
    scaled = stage.transform(df)

    np.testing.assert_equal(cells(scaled, *scaled.columns[25:]), [[v] * 24 for v in expected])
    capsys.readouterr()
    scaled.select(scaled.columns[25:]).explain()
    steps = [x for x in capsys.readouterr().out.splitlines() if re.search("Filter |Project .*_scaled", x)]
    assert len(steps) == 1 + ("skip" in case)
    assert not [line for line in steps if "*(" in line]


@pytest.mark.core
def test_many_columns_in_a_row_of_more_are_not_computed_in_one_method(spark, capsys):
    """Where some of the outputs are selected, too."""
    names = [f"c{i}" for i in range(60)]
    df = spark.range(0, 3, 1, 1).selectExpr(*(f"double(id + {i}) AS {n}" for i, n in enumerate(names)))
    model = learned(MinMaxScalerModel(), [[float(i) for i in range(60)], [i + 2.0 for i in range(60)]], *names)
    scaled = model.transform(df)
    capsys.readouterr()
    scaled.select([f"{n}_scaled" for n in names[1:25]]).explain()
    (line,) = [x for x in capsys.readouterr().out.splitlines() if re.search("Project .*_scaled", x)]

    assert "*(" not in line


# Attributes


@pytest.fixture(scope="module")
def named(data):
    """Return the rows with names for the features of the vector, of more than one kind."""
    attrs = {
        "numeric": [{"idx": 0, "name": "width"}, {"idx": 2, "name": "height"}],
        "binary": [{"idx": 1, "name": "flag"}],
    }
    return data.withMetadata("v", {"ml_attr": {"num_attrs": 3, "attrs": attrs}})


@pytest.fixture(scope="module")
def of_named(named):
    """Return a model of all columns, the vector with names."""
    return MinMaxScaler(inputCols=NAMES).fit(named)


@pytest.mark.core
@each_scaler
def test_a_vector_keeps_its_attribute_names(named, of_named, models, scaler):
    """All attribute names in the metadata of the input are in that of the output."""
    model = models[scaler].copy()
    model._learn(of_named._columns, model.statistics, skips=False)

    assert attributes(model.transform(named), "v_scaled") == (3, ["width", "flag", "height"])
    assert model.featureNames[4:7] == ["width", "flag", "height"]


@pytest.mark.core
def test_a_vector_without_names_gets_only_its_size(data, of_v):
    """Where the input has no names, none are made up for the output."""
    group = of_v.transform(data).schema["v_scaled"].metadata["ml_attr"]

    assert group == {"num_attrs": 3}
    assert of_v.featureNames == ["v_0", "v_1", "v_2"]


@pytest.mark.core
def test_one_vector_is_named_after_its_columns(named, of_named):
    """Scalars give their names, elements the column's name and their index, vectors their attribute names."""
    scaled = with_params(of_named, outputCol="f").transform(named)

    assert attributes(scaled, "f") == (8, ["a_0", "a_1", "a_2", "x", "width", "flag", "height", "i"])


def test_one_vector_names_vectors_without_names_by_index(data, wholes):
    """A vector without names is named as VectorAssembler names it."""
    scaled = wholes[MinMaxScaler].transform(data)

    assert attributes(scaled, "f") == (8, ["a_0", "a_1", "a_2", "x", "v_0", "v_1", "v_2", "i"])


def test_attributes_are_those_of_fit(data, of_named):
    """A frame without metadata is transformed to the names that fit saw."""
    assert attributes(of_named.transform(data), "v_scaled") == (3, ["width", "flag", "height"])


# Sparse and dense vectors


@pytest.mark.core
@each_variant
def test_sparse_stays_sparse_where_zero_stays_zero(variants, there_and_back, variant):
    """A map that keeps zero keeps each vector's form and entries; any other makes all dense. Null stays null."""
    keeps = variant in KEEP_ZERO
    scaled = [row["mixed_scaled"] for row in there_and_back[variant]]

    assert variants[variant].affine[6:].keeps_zero is keeps
    assert [type(v) for v in scaled] == [type(v) if keeps or v is None else DenseVector for v in FORMS]
    if keeps:
        sparse = [(v, given) for v, given in zip(scaled, FORMS, strict=True) if isinstance(given, SparseVector)]
        assert [v.indices.tolist() for v, _ in sparse] == [given.indices.tolist() for _, given in sparse]


@pytest.mark.core
def test_min_max_of_features_from_zero_keeps_sparse(spark):
    """Where each minimum is 0, min-max to [0, 1] keeps zero."""
    df = vectors(spark, Vectors.sparse(3, {0: 2.0}), Vectors.sparse(3, {1: 5.0, 2: 3.0}), size=3)
    model = MinMaxScaler(inputCol="v").fit(df)
    scaled = vectors(spark, Vectors.sparse(3, {0: 8.0, 1: 1.0}), size=3)
    for clip in (False, True):
        scaled = with_params(model, clip=clip, outputCol=f"clip {clip}").transform(scaled)
    (row,) = scaled.collect()

    assert row["clip False"] == Vectors.sparse(3, {0: 4.0, 1: 0.2})
    assert row["clip True"] == Vectors.sparse(3, {0: 1.0, 1: 0.2})
    assert [type(v) for v in row] == [SparseVector] * 3


@pytest.mark.parametrize("variant", ["MaxAbs", "MaxAbs clip"])
def test_dense_and_sparse_vectors_mix_in_one_column(there_and_back, variant):
    """Each row has its own result; null stays null, and an empty vector empty."""
    scaled = [row["mixed_scaled"] for row in there_and_back[variant]]

    assert scaled[:10] == [
        Vectors.dense([0.25, -1.0, 0.0]),
        Vectors.sparse(3, {0: 0.25, 1: -1.0}),
        Vectors.dense([0.625, -1.0, 0.0]),
        Vectors.sparse(3, {0: 0.625, 1: -1.0}),
        Vectors.dense([-1.0, -1.0, 1.0]),
        Vectors.sparse(3, {0: -1.0, 1: -1.0, 2: 1.0}),
        None,
        None,
        Vectors.dense([0.0, 0.0, 0.0]),
        Vectors.sparse(3, {}),
    ]


def test_stored_zeros_count_as_values(spark):
    """A stored zero and an implicit one are one number, in fit and in transform."""
    rows = [
        (SparseVector(2, [0, 1], [0.0, 3.0]), SparseVector(2, [1], [3.0])),
        (SparseVector(2, [0, 1], [0.0, 5.0]), SparseVector(2, [1], [5.0])),
    ]
    df = spark.createDataFrame(rows, StructType([vector_field(n, 2) for n in ("stored", "implicit")]))
    model = StandardScaler(inputCols=["stored", "implicit"], withMean=True).fit(df)

    assert model.statistics.mean.tolist() == [0.0, 4.0, 0.0, 4.0]
    assert model.affine[:2] == model.affine[2:]
    for stored, implicit in cells(model.transform(df), "stored_scaled", "implicit_scaled"):
        assert stored == implicit


@each_scaler
def test_dense_and_sparse_fit_alike(spark, scaler):
    """Implicit zeros take part in the statistic, and stored ones."""
    rows = [[0.0, 3.0, 0.0], [2.0, 0.0, 0.0], [-1.0, 7.0, 0.0]]
    records = []
    for k, row in enumerate(rows):
        dense, stored = Vectors.dense(row), Vectors.sparse(3, dict(enumerate(row)))
        implicit = Vectors.sparse(3, {i: v for i, v in enumerate(row) if v})
        records.append((dense, stored, implicit if k else dense))
    names = ["dense", "sparse", "mixed"]
    df = spark.createDataFrame(records, StructType([vector_field(n, 3) for n in names])).coalesce(1)
    affine = scaler(inputCols=names).fit(df).affine

    for other in (affine[3:6], affine[6:]):
        for name in ("center", "scale", "offset"):
            assert getattr(other, name) == pytest.approx(getattr(affine[:3], name), rel=1e-14)


@pytest.mark.core
def test_min_max_hits_its_ends_on_vectors(spark):
    """The smallest value becomes ``min`` and the largest ``max``: to the last digit, as in Spark; arrays to the bit."""
    ends = [(0.1, 0.3), (0.0, 49.0), (-7.7, 1e6)]
    records = [(k, *(Vectors.dense([pair[k]]) for pair in ends), [pair[k] for pair in ends]) for k in range(2)]
    fields = [StructField("id", LongType()), *(vector_field(f"v{k}", 1) for k in range(3))]
    df = spark.createDataFrame(records, StructType([*fields, StructField("a", ArrayType(DoubleType()))]))
    model = MinMaxScaler(inputCols=["v0", "v1", "v2", "a"], max=1.0).fit(df)
    scaled = cells_of_each({str(low): with_params(model, min=low).transform(df) for low in (-1.0, 0.0)})

    for low in (-1.0, 0.0):
        bottom, top = (row[5:] for row in scaled[str(low)])
        assert bottom == [[low], [low], [low], [low] * 3]
        assert top == [*[[pytest.approx(1.0, rel=3e-16)]] * 3, [1.0] * 3]


def test_tiny_values_are_divided_not_multiplied(spark):
    """The reciprocal of a subnormal number overflows; a division does not."""
    values = [5e-324, 1e-310, 2.5e-308]
    names = [f"v{k}" for k in range(3)]
    rows = [[Vectors.dense([value, 1.0]) for value in values], [Vectors.sparse(2, {1: 2.0})] * 3]
    df = spark.createDataFrame(rows, StructType([vector_field(n, 2) for n in names]))
    dense, sparse = MaxAbsScaler(inputCols=names).fit(df).transform(df).select([f"{n}_scaled" for n in names]).collect()

    assert [v.toArray().tolist() for v in dense] == [[1.0, 0.5]] * 3
    assert [v.toArray().tolist() for v in sparse] == [[0.0, 1.0]] * 3
    assert ([type(v) for v in dense], [type(v) for v in sparse]) == ([DenseVector] * 3, [SparseVector] * 3)


# SQL


@pytest.fixture(scope="module")
def by_sql(twice, variants):
    """Return what the texts of all variants make of the rows, vectors being arrays."""
    arrays = twice.withColumn("mixed", F.when(F.col("mixed").isNotNull(), vector_to_array("mixed")))
    texts = {f"{variant} {name}": t for variant, model in variants.items() for name, t in model.toSQL().items()}
    df = arrays.selectExpr("id", *(f"{text} AS `{name}`" for name, text in texts.items()))
    return sorted(df.collect(), key=lambda row: row["id"])


@pytest.mark.core
@each_variant
def test_sql_text_is_what_transform_runs(variants, there_and_back, by_sql, variant):
    """toSQL's text over the input columns gives what transform gives; vectors are read as arrays."""
    names, rows = [f"{variant} {name}" for name in OUTPUTS], there_and_back[variant]

    assert list(variants[variant].toSQL()) == OUTPUTS
    assert [[row[n] for n in names[:4]] for row in by_sql] == [[row[n] for n in OUTPUTS[:4]] for row in rows]
    expected = numbers(rows, "mixed_scaled")
    assert numbers(by_sql, names[4]) == pytest.approx(expected, nan_ok=True)


@pytest.mark.core
def test_sql_text_of_one_vector_makes_an_array(data, wholes, apart_rows):
    """The many-to-one form is one text that gives all features as an array, and its inverse takes it apart."""
    model = wholes[MinMaxScaler]
    arrays = data.withColumn("v", vector_to_array("v"))
    df = arrays.selectExpr("id", f"{model.toSQL()['f']} AS f")
    texts = model.inverse().toSQL()
    rows = cells(df.selectExpr("id", "f", *(f"{sql} AS {name}" for name, sql in texts.items())), "f", *NAMES)

    assert list(model.toSQL()) == ["f"]
    expected = np.array([row["f"].toArray() for row in apart_rows["MinMaxScaler"]])
    assert np.array([row[0] for row in rows]) == pytest.approx(expected)
    assert list(texts) == NAMES
    for row, values in zip(rows, VALUES, strict=True):
        assert flat(row[1:]) == pytest.approx(flat(values), abs=1e-15)


def test_sql_text_keeps_the_policy(spark, of_x):
    """The text clips, and refuses what the model refuses."""
    clip = with_params(of_x, clip=True).toSQL()["x_scaled"]
    strict = with_params(of_x, handleInvalid="error").toSQL()["x_scaled"]
    one = spark.range(0, 1, 1, 1)

    assert one.selectExpr("1e9D AS x").selectExpr(clip).collect()[0][0] == 1.0
    with pytest.raises(Exception, match="'x' holds NaN"):
        one.selectExpr("double('NaN') AS x").selectExpr(strict).collect()


# Clip


@pytest.mark.core
def test_clip_keeps_unseen_values_in_the_target_range(spark):
    """Without clip, values beyond those of fit go beyond the range; with it, they stop at its ends."""
    df = spark.range(0, 5, 1, 1).selectExpr("id", "double(id) AS x", "array(double(id)) AS a")
    df = df.withColumn("v", array_to_vector("a"))
    model = MinMaxScaler(inputCols=["x", "a", "v"], min=-2.0, max=8.0).fit(df.filter("id BETWEEN 1 AND 2"))
    rows = cells_of_each({str(clip): with_params(model, clip=clip).transform(df) for clip in (False, True)})

    for clip, expected in (("False", [-12.0, -2.0, 8.0, 18.0, 28.0]), ("True", [-2.0, -2.0, 8.0, 8.0, 8.0])):
        assert [row[4:] for row in rows[clip]] == [[v, [v], [v]] for v in expected]


def test_clip_of_max_abs_is_to_plus_and_minus_one(there_and_back):
    """The target range of MaxAbs is [-1, 1]."""
    scaled = [row["s0_scaled"] for row in there_and_back["MaxAbs clip"][::2]]

    assert scaled == [0.25, 0.625, -1.0, None, 0.0, 1.0, -1.0]  # the last of 100 and -9


# Inverse


@pytest.mark.core
@each_variant
def test_inverse_restores_the_inputs(back, there_and_back, variant):
    """Scaled and restored, each column has its old name, kind and numbers; constants come back too."""
    rows, expected = there_and_back[variant][:KNOWN], matrix_of(TWICE[:KNOWN])

    assert back[variant].columns == ["id", *OUTPUTS, *COLUMNS]
    assert back[variant].schema["mixed"].dataType == VectorUDT()
    for names in (SCALARS, ["array"], ["mixed"]):
        assert numbers(rows, *names) == pytest.approx(expected, rel=1e-14, abs=1e-14)


@pytest.mark.core
def test_inverse_replaces_the_columns_that_are_named(data, models):
    """In their positions, in upper or lower case; other columns stay, and none is added."""
    model = models[MinMaxScaler]
    scaled = model.transform(data)
    spoilt = scaled.withColumns({"x": F.lit(-99.0), "a": F.array(F.lit(-99.0))})
    restored = model.inverseTransform(spoilt, outputCols=["A", "x", "v", "i"])

    assert restored.columns == scaled.columns
    actual = np.array([flat(row) for row in cells(restored, *NAMES)])
    assert actual == pytest.approx(np.array([flat(row) for row in VALUES]), abs=1e-14)


def of_y(*columns):
    """Return a model of one column or of several, each of which has mean 30 and standard deviation 10."""
    rows = np.outer([20.0, 30.0, 40.0], np.ones(len(columns)))
    model = StandardScalerModel().setWithMean(True)
    return learned(model if columns[1:] else model.setInputCol(columns[0]), rows, *columns)


NESTED = "named_struct('x', 7D, 'p.q', 7D, 'b`c', 7D, 't', named_struct('u', 7D, 'k', 'kept'))"


@pytest.fixture(scope="module")
def truth(spark):
    """Return one row of original values, some in structs, their scaled values, and a prediction."""
    return spark.range(1).selectExpr(
        *("7D AS y", "7D AS x", "1D AS y_scaled", "2D AS x_scaled", "-1D AS prediction"),
        *(f"{NESTED} AS s", "array(named_struct('u', 7D)) AS l", "map('u', 7D) AS m", f"{NESTED} AS `n.o`"),
    )


@pytest.mark.core
@pytest.mark.parametrize("name", ["y", "Y", "s.x", "S.X", "s.t.u", "s.`p.q`", "s.`b``c`", "`n.o`.x", "n.o", "s"])
def test_inverse_refuses_to_overwrite(truth, name):
    """A column or a field that exists is not what its values are read from; the message says what to do."""
    with pytest.raises(OutputColumnError) as caught:
        of_y(name).inverseTransform(truth, inputCol="prediction")

    assert str(caught.value) == (
        f"Output column '{name}' already exists. Name it as outputCol, or among outputCols, to replace it; or name "
        "another output, or drop the column."
    )


@pytest.mark.parametrize("name", ["l.u", "m.u"])
def test_what_is_within_an_array_or_a_map_is_not_replaced(truth, name):
    """Nor is a column made whose name would hide it."""
    for params in ({}, {"outputCol": name}):
        with pytest.raises(OutputColumnError, match=f"'{name}' cannot be replaced: it is within an array or a map"):
            of_y(name).inverseTransform(truth, inputCol="y", **params)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["o", "o"], "'o' is named twice"),
        (["o", "O"], "'O' is named twice"),
        (["y", "Y"], "'Y' is 'y', or a field of it"),
        (["s.t.u", "s.t"], "'s.t.u' is 's.t', or a field of it"),
    ],
)
def test_outputs_of_the_inverse_must_differ(truth, outputs, message):
    """Nor may one be within another."""
    with pytest.raises(OutputColumnError, match=message):
        of_y("y", "x").inverseTransform(truth, outputCols=outputs)


def test_one_name_of_several_columns_is_not_replaced(spark):
    """Which of them is meant cannot be known."""
    df = spark.range(1).selectExpr("1D AS y_scaled", "7D AS y", "7D AS y")

    with pytest.raises(OutputColumnError, match=r"'y' cannot be replaced: .* several columns have this name"):
        of_y("y").inverseTransform(df, outputCol="y")


def test_a_column_is_replaced_by_what_is_read_from_it(truth):
    """By a model that scales in place, or one that is pointed to the column, in a struct too."""
    in_place = of_y("y").setOutputCol("y").inverseTransform(truth)
    pointed = of_y("s.x").inverseTransform(in_place, inputCol="S.x")

    assert pointed.columns == truth.columns
    assert cells(pointed, "y", "x", "s") == [[100.0, 7.0, Row(**{**SEVENS, "x": 100.0})]]
    with pytest.raises(OutputColumnError, match="'y' already exists"):
        of_y("y", "x").inverseTransform(truth, inputCols=["x", "y"])


SEVENS = {"x": 7.0, "p.q": 7.0, "b`c": 7.0, "t": Row(u=7.0, k="kept")}


@pytest.mark.core
def test_fields_that_are_named_are_replaced_in_their_structs(truth):
    """One or several, deeper ones too, of any name; a struct that is null stays null, and all else as it was."""
    nulls = truth.withColumn("s", F.lit(None).cast(truth.schema["s"].dataType))
    inner = truth.withColumn("s", F.col("s").withField("t", F.lit(None).cast(truth.schema["s"].dataType["t"].dataType)))
    df = truth.union(nulls).union(inner).coalesce(1)
    names = ["s.x", "S.T.U", "s.`p.q`", "s.`b``c`", "`n.o`.x", "new"]
    model = of_y(*"abcdef")
    restored = model.inverseTransform(df, inputCols=["y_scaled", *["x_scaled"] * 5], outputCols=names)
    rows = restored.select("s", "`n.o`", "new").collect()

    assert restored.columns == [*df.columns, "new"]
    assert restored.schema["s"].dataType == df.schema["s"].dataType
    there = {"x": 40.0, "p.q": 50.0, "b`c": 50.0, "t": Row(u=50.0, k="kept")}
    assert [row["s"] for row in rows] == [Row(**there), None, Row(**{**there, "t": None})]
    assert [row["n.o"] for row in rows] == [Row(**{**SEVENS, "x": 50.0})] * 3
    assert [row["new"] for row in rows] == [50.0] * 3


@pytest.mark.core
def test_many_fields_of_a_struct_are_replaced(spark):
    """In more than one step, each of which reads what was there before the first."""
    names = [f"x{k}" for k in range(45)]
    fields = ", ".join(f"'{name}', double({k})" for k, name in enumerate(names))
    df = spark.range(1).selectExpr(f"named_struct({fields}) AS s")
    model = of_y(*(f"s.{name}" for name in names))
    back = model.inverseTransform(
        df, inputCols=[f"s.{name}" for name in reversed(names)], outputCols=[f"s.{name}" for name in names]
    )

    assert back.columns == ["s"]
    assert [*back.first()["s"]] == [30.0 + 10.0 * k for k in reversed(range(45))]


@pytest.mark.core
def test_a_struct_keeps_its_metadata(spark):
    """With a field replaced."""
    df = spark.range(1).selectExpr("1D AS y_scaled", "named_struct('x', 7D) AS s").withMetadata("s", {"note": "kept"})

    assert of_y("y").inverseTransform(df, outputCol="s.x").schema["s"].metadata == {"note": "kept"}


def test_a_path_that_leads_nowhere_is_a_name(truth):
    """As in transform: the output is a new column of that very name."""
    names = ["s.z", "q.x"]

    assert of_y(*names).inverseTransform(truth, inputCols=["y", "x"]).columns == [*truth.columns, *names]


# Which columns come back, from where and to where


@pytest.mark.core
def test_a_target_comes_back_from_a_prediction(truth):
    """In one line, with a model of the target alone or of more; the true values stay."""
    alone = of_y("y").inverseTransform(truth, inputCol="prediction", outputCol="y_pred")
    among = of_y("x", "y").inverseTransform(alone, inputCol="prediction", outputCol="y_too", columns=["y"])

    assert among.columns == [*truth.columns, "y_pred", "y_too"]
    assert cells(among, "y", "prediction", "y_pred", "y_too") == [[7.0, -1.0, 20.0, 20.0]]


@pytest.mark.core
def test_chosen_columns_come_back_in_their_order(data, models):
    """For every kind of column, each with its own features of the map, even if earlier columns are left out."""
    model = models[StandardScaler].copy().setWithMean(True)
    scaled = model.transform(data).withColumnsRenamed({"v_scaled": "p", "x_scaled": "q"}).drop("a_scaled", "i_scaled")
    back = model.inverseTransform(scaled, columns=["v", "x"], inputCols=["p", "q"], outputCols=["r", "o"])

    assert back.columns == [*scaled.columns, "r", "o"]
    expected = np.array([flat([v, x]) for _, x, v, _ in VALUES])
    assert np.array([flat(row) for row in cells(back, "r", "o")]) == pytest.approx(expected, abs=1e-14)


def test_only_what_comes_back_is_looked_at(spark):
    """By handleInvalid, and by the check that columns are there."""
    df = spark.createDataFrame([(0.0, NAN), (NAN, 1.0)], "x_scaled double, z_scaled double")
    model = of_y("x", "y", "z").setHandleInvalid("skip")

    assert cells(model.inverseTransform(df, columns=["z"]), "z") == [[40.0]]


@pytest.mark.core
@pytest.mark.parametrize("kind", [MinMaxScaler, Whitener])
def test_parts_are_taken_out_of_one_vector(data, kind):
    """Of the one that the model makes, or of another like it."""
    model = kind(inputCols=NAMES, outputCol="f").fit(data)
    scaled = model.transform(data).withColumnRenamed("f", "g")
    back = model.inverseTransform(scaled, columns=["i", "a"], inputCol="g", outputCols=["o", "a"])

    assert back.columns == [*scaled.columns, "o"]
    expected = np.array([flat([a, i]) for a, _, _, i in VALUES])
    assert np.array([flat(row) for row in cells(back, "a", "o")]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("form", ["pairs", "one vector", "matrix"])
def test_sql_text_of_the_inverse_follows_its_params(truth, form):
    """As the columns that it makes do."""
    model = of_y("x", "y").setOutputCols(["x_scaled", "y_scaled"])
    df = truth.selectExpr("array(x_scaled, y_scaled) AS f", "*")
    params = {"columns": ["y"], "outputCol": "o"}
    if form == "one vector":
        model = of_y("x", "y").setOutputCol("f")
    elif form == "matrix":
        model = learned(WhitenerModel().setOutputCol("f"), [[20.0, 30.0], [30.0, 20.0], [40.0, 70.0]], "x", "y")
    vectors = df if form == "pairs" else df.withColumn("f", array_to_vector("f"))
    inverse = InverseModel(model).setColumns(["y"]).setOutputCol("o")
    ((name, text),) = inverse.toSQL().items()

    assert name == "o"
    by_sql, by_transform = df.selectExpr(text).first()[0], model.inverseTransform(vectors, **params).first()["o"]
    assert by_sql == pytest.approx(by_transform)
    assert form == "matrix" or by_sql == 40.0


def test_the_inverse_takes_its_params_from_a_param_map(truth):
    """As every stage does; it stays as it was."""
    inverse = of_y("x", "y").inverse()
    chosen = {inverse.columns: ["y"], inverse.inputCol: "prediction", inverse.outputCol: "o"}

    assert inverse.transform(truth, chosen).columns == [*truth.columns, "o"]
    assert not any(inverse.isSet(p) for p in inverse.params)


@pytest.mark.core
@each_scaler
def test_inverse_takes_one_vector_apart(apart, apart_rows, scaler):
    """The many-to-one vector goes back to its columns, each of its own kind, in their order."""
    restored, rows = apart[scaler.__name__], apart_rows[scaler.__name__]

    assert restored.columns == ["id", *(f"{n}_scaled" for n in NAMES), "f", *NAMES]
    assert [restored.schema[c].dataType.simpleString() for c in ("v", "x", "a")] == [
        "vector",
        "double",
        "array<double>",
    ]
    for row, values in zip(rows, VALUES, strict=True):
        assert flat(row[n] for n in NAMES) == pytest.approx(flat(values), rel=1e-14, abs=1e-14)


@pytest.mark.core
def test_inverse_gives_vectors_their_attributes_back(named, of_named):
    """A vector has its old names, taken out of the one vector and in place of another, too."""
    for model in (of_named, with_params(of_named, outputCol="f")):
        scaled = model.transform(named)
        for restored in (
            model.inverseTransform(scaled.drop(*NAMES)),
            model.inverseTransform(scaled, columns=["v"], outputCol="v"),
        ):
            assert attributes(restored, "v") == (3, ["width", "flag", "height"])


def test_the_inverse_of_the_inverse_is_the_model():
    """Twice around is where one started."""
    model = learned(StandardScalerModel(), [[-1.0], [0.0], [3.0], [8.0]], "x")
    inverse = model.inverse()

    assert isinstance(inverse, InverseModel)
    assert inverse.inverse().toSQL() == model.toSQL()
    assert inverse.affine == model.affine.inverse()
    assert inverse.affine.inverse() == model.affine


def of_vector(model, *rows):
    """Return the model as it learns from the rows as vectors of a column ``v``."""
    return learned(model, rows, FeatureColumn("v", "vector", size=len(rows[0])))


@pytest.mark.core
def test_the_inverse_keeps_vectors_sparse(spark):
    """Where the way there keeps zero, so does the way back."""
    sparse = [Vectors.sparse(4, {0: 2.0, 3: -1.0}), Vectors.sparse(4, {0: 4.0, 1: 3.0})]
    rows = [*(v.toArray().tolist() for v in sparse), [0.0, 1.0, 1.0, 3.0]]
    df = spark.createDataFrame([*enumerate(sparse)], StructType([StructField("id", LongType()), vector_field("v", 4)]))
    frames = {}
    for case, model in {
        "MaxAbs": MaxAbsScalerModel(),
        "clip": MaxAbsScalerModel().setClip(True),
        "Standard": StandardScalerModel(),
    }.items():
        taught = of_vector(model, *rows)
        frames[case] = taught.inverseTransform(taught.transform(df).select("id", "v_scaled"))

    for case, of_case in rows_of_each(frames).items():
        restored = [row["v"] for row in of_case]
        assert {type(v) for v in restored} == {SparseVector}, case
        assert [v.indices.tolist() for v in restored] == [v.indices.tolist() for v in sparse], case
        assert np.array([v.toArray() for v in restored]) == pytest.approx(np.array([v.toArray() for v in sparse]))


def test_inverse_leaves_invalid_values(spark):
    """Null and NaN come back as null and NaN."""
    df = scalars(spark, 1.0, 3.0, None, NAN)
    model = learned(StandardScalerModel().setWithMean(True), [[1.0], [3.0]], "x")

    assert (
        str(cells(model.inverseTransform(model.transform(df), outputCol="x"), "x")) == "[[1.0], [3.0], [None], [nan]]"
    )


def test_inverse_of_null_vectors_is_null(spark):
    """A null vector comes back as null; in the one vector, a null that became NaN comes back as NaN."""
    df = vectors(spark, Vectors.dense([1.0]), Vectors.dense([3.0]), None, size=1).coalesce(1)
    frames = {}
    for case, model in {
        "sparse": MaxAbsScalerModel(),
        "offset": MinMaxScalerModel().setMin(-1.0),
        "clip": MinMaxScalerModel().setClip(True),
        "one vector": MinMaxScalerModel().setOutputCol("f"),
    }.items():
        taught = of_vector(model, [1.0], [3.0])
        frames[case] = taught.inverseTransform(taught.transform(df), outputCol="v").select("v")

    for case, rows in cells_of_each(frames).items():
        assert str(rows) == f"[[[1.0]], [[3.0]], [{[NAN] if case == 'one vector' else None}]]", case


def test_inverse_of_clipped_values_is_the_bound(there_and_back):
    """What was clipped is gone: the way back gives the extreme that fit saw."""
    s0 = [row["s0"] for row in there_and_back["MinMax clip"][::2]]

    assert s0[:3] == pytest.approx([1.0, 2.5, -4.0], rel=1e-15, abs=1e-15)
    assert s0[-2:] == [2.5, -4.0]  # of 100 and -9


def test_sql_text_assembles_nulls_as_transform_does(spark):
    """In one vector of many columns a null is NaN, and nulls of other columns are not drawn in."""
    df = spark.sql(
        "SELECT 1D AS x, array(1D, 2D) AS a UNION ALL SELECT 3D, null UNION ALL SELECT null, array(null, 4D)"
    )
    columns = "x", FeatureColumn("a", "array", size=2)
    model = learned(MinMaxScalerModel(), [[1.0, 1.0, 2.0], [3.0, NAN, 4.0]], *columns).setOutputCol("f")
    rows = cells(model.transform(df).selectExpr("f", f"{model.toSQL()['f']} AS by_sql"))

    np.testing.assert_array_equal([by_sql for _, by_sql in rows], [f for f, _ in rows])
    np.testing.assert_array_equal([f for f, _ in rows], [[0.0, 0.5, 0.0], [1.0, NAN, NAN], [NAN, NAN, 1.0]])


@pytest.mark.core
def test_a_column_may_be_named_in_another_case(spark):
    """As everywhere in Spark; the inverse replaces the column, in upper or lower case."""
    df = spark.createDataFrame([(1.0, [1.0, 4.0]), (3.0, [2.0, 8.0])], "delay double, path array<double>").coalesce(1)
    many = MinMaxScaler(inputCols=["DELAY", "Path"]).fit(df)
    forms = {
        "one": MinMaxScaler(inputCol="Delay").fit(df),
        "many": many,
        "vector": many.copy().setInputCols(["Delay", "PATH"]).setOutputCol("v"),
    }
    frames = {}
    for form, model in forms.items():
        back = model.inverseTransform(model.transform(df), outputCols=model._input_names())

        assert model.originalMax[0] == 3.0
        assert [name.lower() for name in back.columns[:2]] == ["delay", "path"]
        assert len(back.columns) == 2 + (2 if form == "many" else 1)
        frames[form] = back.select(back.columns[:2])
    assert cells_of_each(frames) == {form: [[1.0, [1.0, 4.0]], [3.0, [2.0, 8.0]]] for form in forms}


@pytest.mark.core
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.codegen.wholeStage", "false"),
        ("spark.sql.optimizer.excludedRules", "org.apache.spark.sql.catalyst.optimizer.CollapseProject"),
        ("spark.sql.codegen.wholeStage", "true"),
    ],
    ids=["wholeStage", "optimizer", "usual"],
)
def test_null_vectors_stay_null_however_spark_plans(spark, key, value):
    """Spark's own functions fail at null; that they are not called there must not hang on a plan."""
    rows = [
        (None, Vectors.dense(1, 2)),
        (Vectors.sparse(2, [0], [4.0]), None),
        (Vectors.dense(2, 4), Vectors.dense(2, 1)),
    ]
    scaled = spark.createDataFrame(rows, StructType([vector_field(n, 2) for n in "ab"]))
    columns = [FeatureColumn(n, "vector", size=2) for n in "ab"]
    spark.conf.set(key, value)
    try:
        for name, model in (("max", MaxAbsScalerModel()), ("min", MinMaxScalerModel().setMin(1.0).setMax(3.0))):
            learned(model, [[2.0, 0.0, 1.0, 1.0], [4.0, 4.0, 2.0, 2.0]], *columns)
            scaled = model.setOutputCols([f"a_{name}", f"b_{name}"]).transform(scaled)
        rows = scaled.collect()
    finally:
        spark.conf.unset(key)

    for name in ("max", "min"):
        assert [(row[f"a_{name}"] is None, row[f"b_{name}"] is None) for row in rows] == [
            (True, False),
            (False, True),
            (False, False),
        ]
