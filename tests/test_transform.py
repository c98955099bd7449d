"""What transform and its inverse add to a DataFrame, and what they leave alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructField, StructType

from sparkscale import ClipByValue, InverseModel, MaxAbsScaler, MinMaxScaler, StandardScaler

SCALERS = (MinMaxScaler, MaxAbsScaler, StandardScaler)
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)
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


@pytest.fixture(scope="module")
def data(spark):
    """Four rows with a column of each kind; the second element of ``a`` and ``v`` is constant."""
    df = spark.range(0, 4, 1, 2).selectExpr(
        "id", "double(id * id) - 1 AS x", "int(3 - id) AS i", "array(double(id) / 3, 5D, -double(id)) AS a", "'s' AS s"
    )
    return df.withColumn("v", array_to_vector("a"))


def vectors(spark, *rows):
    return spark.createDataFrame([(v,) for v in rows], StructType([StructField("v", VectorUDT())]))


def attributes(df, column):
    """Return the number of features in a vector's metadata, and their names in order."""
    group = df.schema[column].metadata["ml_attr"]
    found = sorted((a["idx"], a["name"]) for kind in group.get("attrs", {}).values() for a in kind)
    return group["num_attrs"], [name for _, name in found]


def lists(df):
    """Return rows as lists, with vectors and arrays as lists of their elements."""
    return [[v.toArray().tolist() if hasattr(v, "toArray") else v for v in row] for row in df.collect()]


# Kinds, names and types


@pytest.mark.core
@each_scaler
def test_an_output_is_of_its_inputs_kind(data, scaler):
    """A scalar becomes a double, an array an array of double, a vector a vector."""
    df = scaler(inputCols=["x", "a", "v", "i"]).fit(data).transform(data)
    found = {n: df.schema[f"{n}_scaled"].dataType for n in ("x", "a", "v", "i")}

    assert found == {"x": DoubleType(), "a": ArrayType(DoubleType()), "v": VectorUDT(), "i": DoubleType()}


@pytest.mark.core
@pytest.mark.parametrize(
    ("sql_type", "expected"),
    [
        ("float", FloatType()),
        ("double", DoubleType()),
        ("tinyint", DoubleType()),
        ("smallint", DoubleType()),
        ("int", DoubleType()),
        ("bigint", DoubleType()),
        ("decimal(10,2)", DoubleType()),
        ("decimal(38,0)", DoubleType()),
    ],
)
def test_float_stays_float_and_all_else_becomes_double(spark, sql_type, expected):
    """Scalars and elements of every numeric type are scaled, with the statistic in double."""
    df = spark.range(5).selectExpr(f"cast(id AS {sql_type}) AS x", f"array(cast(id AS {sql_type})) AS a")
    model = MinMaxScaler(inputCols=["x", "a"]).fit(df)
    scaled = model.transform(df)

    assert scaled.schema["x_scaled"].dataType == expected
    assert scaled.schema["a_scaled"].dataType.elementType == expected
    assert lists(scaled.select("x_scaled", "a_scaled")) == [[v, [v]] for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert model.statistics.max.dtype == np.float64


@pytest.mark.core
@pytest.mark.parametrize("ansi", ["true", "false"])
@pytest.mark.parametrize(
    ("scaler", "expected"),
    [
        (StandardScaler(withStd=False), [0.0, 1.0, 2.0]),
        (StandardScaler(withStd=False, withMean=True), [-1.0, 0.0, 1.0]),
        (MaxAbsScaler(), [0.0, 0.5, 1.0]),
    ],
)
@pytest.mark.parametrize("sql_type", ["float", "tinyint", "bigint", "decimal(38,0)"])
def test_the_map_there_and_back_is_in_double(spark, sql_type, scaler, expected, ansi):
    """Whatever the type, with and without anything to compute, and however strict Spark is with types."""
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        df = spark.range(3).selectExpr(f"cast(id AS {sql_type}) AS x", f"array(cast(id AS {sql_type})) AS a")
        model = scaler.copy().setInputCols(["x", "a"]).fit(df)
        scaled = model.transform(df)
        back = model.inverseTransform(scaled.drop("x", "a"))
        texts = df.selectExpr(*(f"{text} AS {name}" for name, text in model.toSQL().items()))

        kind = FloatType() if sql_type == "float" else DoubleType()
        assert (texts.schema["x_scaled"].dataType, texts.schema["a_scaled"].dataType.elementType) == (kind, kind)
        assert lists(scaled.select("x_scaled", "a_scaled")) == lists(texts) == [[v, [v]] for v in expected]
        assert lists(back.select("x", "a")) == [[v, [v]] for v in (0.0, 1.0, 2.0)]
    finally:
        spark.conf.unset("spark.sql.ansi.enabled")


def test_large_integers_are_scaled_in_double(spark):
    """A bigint is not squeezed through a smaller type."""
    df = spark.range(3).selectExpr("(id - 1) * 9000000000000000000 AS x")

    assert lists(MinMaxScaler(inputCol="x").fit(df).transform(df).select("x_scaled")) == [[0.0], [0.5], [1.0]]


@pytest.mark.core
def test_the_three_forms_of_input(data):
    """One in and one out; many in and as many out; many in and one vector out."""
    one = MaxAbsScaler(inputCol="x", outputCol="o").fit(data).transform(data)
    many = MaxAbsScaler(inputCols=["x", "a"], outputCols=["o", "p"]).fit(data).transform(data)
    vector = MaxAbsScaler(inputCols=["x", "a"], outputCol="f").fit(data).transform(data)

    assert one.columns == [*data.columns, "o"]
    assert many.columns == [*data.columns, "o", "p"]
    assert vector.columns == [*data.columns, "f"]
    expected = [[x, *a] for x, a in lists(many.select("o", "p"))]
    assert lists(vector.select("f")) == [[row] for row in expected]
    assert lists(one.select("o")) == [[row[0]] for row in expected]


@pytest.mark.core
def test_one_column_in_inputcols_may_become_a_vector(data):
    """inputCols with outputCol gives a vector, however many inputs there are."""
    scaled = MinMaxScaler(inputCols=["x"], outputCol="f").fit(data).transform(data)

    assert scaled.schema["f"].dataType == VectorUDT()
    assert lists(scaled.select("f"))[0] == [[0.0]]


@pytest.mark.core
@each_scaler
def test_one_vector_holds_its_columns_in_their_order(data, scaler):
    """Scalars, arrays and vectors mix in any order, and each feature has the value that it has alone."""
    names = ["a", "x", "v", "i"]
    whole = scaler(inputCols=names, outputCol="f").fit(data)
    alone = scaler(inputCols=names).fit(data)
    expected = [[*a, x, *v, i] for a, x, v, i in lists(alone.transform(data).select(*(f"{n}_scaled" for n in names)))]

    found = [row[0] for row in lists(whole.transform(data).select("f"))]
    assert np.array(found) == pytest.approx(np.array(expected), rel=1e-15, abs=1e-15)
    assert whole.affine == alone.affine


@pytest.mark.core
@each_variant
def test_kinds_agree_with_the_map(spark, variant):
    """Scalars, arrays, dense and sparse vectors and the NumPy map give the same numbers, seen values or not."""
    fitted = [[1.0, -4.0, 0.0], [2.5, -4.0, 0.0], [-3.0, -4.0, 7.0]]
    seen = [*fitted, [0.0, 0.0, 0.0], [100.0, -5.0, 0.25]]
    scaler, columns = VARIANTS[variant], ["x", "y", "z"]

    def frame(rows):
        df = spark.createDataFrame(rows, "x double, y double, z double").coalesce(1)
        df = df.selectExpr("*", "array(x, y, z) AS a").withColumn("v", array_to_vector("a"))
        sparse = vectors(spark, *(Vectors.sparse(3, [(i, v) for i, v in enumerate(r) if v]) for r in rows)).coalesce(1)
        return df, sparse

    (dense, sparse), (df, df_sparse) = frame(fitted), frame(seen)
    model = scaler.copy().setInputCols([*columns, "a", "v"]).fit(dense)
    expected = model.affine[:3].apply(seen)
    if "clip" in variant:
        expected = np.clip(expected, -1.0 if "MaxAbs" in variant else 0.0, 1.0)
    found = lists(model.transform(df).select(*(f"{c}_scaled" for c in [*columns, "a", "v"])))
    from_sparse = scaler.copy().setInputCol("v").fit(sparse).transform(df_sparse).select("v_scaled")

    assert [row[:3] for row in found] == expected.tolist()
    assert [row[3] for row in found] == expected.tolist()
    assert np.array([row[4] for row in found]) == pytest.approx(expected, rel=1e-15, abs=1e-15)
    assert np.array([row[0] for row in lists(from_sparse)]) == pytest.approx(expected, rel=1e-15, abs=1e-15)


# What stays


@pytest.mark.core
def test_all_other_columns_stay(data):
    """Rows, columns, their order, types, nullability and metadata stay; outputs are added at the end, in order."""
    df = data.withMetadata("s", {"note": "kept"}).withMetadata("x", {"unit": "m"})
    model = StandardScaler(inputCols=["x", "a", "v"], outputCols=["p", "r", "q"], withMean=True).fit(df)
    scaled = model.transform(df)

    assert scaled.columns == [*df.columns, "p", "r", "q"]
    assert [scaled.schema[c] for c in df.columns] == list(df.schema)
    assert scaled.schema["s"].metadata == {"note": "kept"}
    assert scaled.select(df.columns).collect() == df.collect()


def test_all_other_columns_stay_beside_one_vector(data):
    """The many-to-one form leaves nothing of its making behind."""
    scaled = MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f", handleInvalid="error").fit(data).transform(data)

    assert scaled.columns == [*data.columns, "f"]
    assert [scaled.schema[c] for c in data.columns] == list(data.schema)
    assert scaled.select(data.columns).collect() == data.collect()


@pytest.mark.parametrize("kind", ["x", "a", "v"])
def test_outputs_may_be_null(spark, data, kind):
    """Where the input may be null, so may the output."""
    df = data.withColumn(kind, F.when(F.col("id") > 0, F.col(kind)))
    scaled = MinMaxScaler(inputCol=kind, outputCol="o").fit(df).transform(df)

    assert scaled.schema["o"].nullable
    assert [row["o"] is None for row in scaled.collect()] == [True, False, False, False]


@pytest.mark.core
@pytest.mark.parametrize("form", ["one", "many", "vector"])
def test_transform_is_lazy(data, form):
    """transform runs no job: on a frame that cannot be read it returns, and only an action fails."""
    params = {
        "one": {"inputCol": "v", "outputCol": "f"},
        "many": {"inputCols": ["x", "a", "v"]},
        "vector": {"inputCols": ["x", "a", "v"], "outputCol": "f"},
    }[form]
    failing = data.withColumn("a", F.expr("CASE WHEN id >= 0 THEN raise_error('a job ran') ELSE a END"))
    failing = failing.withColumn("v", array_to_vector("a"))
    model = MinMaxScaler(min=-1.0, **params).fit(data)
    scaled = model.transform(failing)
    restored = model.inverseTransform(scaled)

    assert set(restored.columns) == set(scaled.columns)
    with pytest.raises(Exception, match="a job ran"):
        scaled.collect()


def test_transform_does_not_change_the_model(data):
    """The same model transforms again and again, with the same outcome."""
    model = StandardScaler(inputCols=["x", "v"], withMean=True).fit(data)

    assert model.transform(data).collect() == model.transform(data).collect()
    assert model.transform(data).columns == model.transform(data).columns


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "low", "high"), [({"min": -1.0}, -1.0, 1.0), ({"min": 2.0, "max": 4.0}, 2.0, 4.0)], ids=["min", "both"]
)
@pytest.mark.parametrize("kind", ["x", "v"])
def test_transform_takes_extra_params(data, kind, change, low, high):
    """A ParamMap given to transform holds for that call, and computes another map from what was learned."""
    model = MinMaxScaler(inputCol=kind, outputCol="o").fit(data)
    extra = {model.getParam(name): value for name, value in change.items()}
    found = np.array(lists(model.transform(data, extra).select("o")), dtype=float).reshape(4, -1)[:, 0]

    assert (found.min(), found.max()) == (low, high)
    assert model.getMin() == 0.0
    assert "o" in model.transform(data).columns


def test_transform_takes_another_output_name(data):
    """Names may be given to transform as well."""
    model = MinMaxScaler(inputCol="x").fit(data)

    assert model.transform(data, {model.outputCol: "other"}).columns[-1] == "other"


@pytest.mark.core
def test_a_model_may_be_pointed_to_another_column(data):
    """setInputCol on a model reads a column of another name and the same kind."""
    model = MinMaxScaler(inputCol="x").fit(data).setInputCol("y").setOutputCol("z")
    expected = MinMaxScaler(inputCol="x", outputCol="z").fit(data).transform(data).select("z").collect()

    assert model.transform(data.withColumnRenamed("x", "y")).select("z").collect() == expected


def test_hundreds_of_scalars(spark):
    """300 columns are fitted, scaled and restored."""
    names = [f"c{i}" for i in range(300)]
    df = spark.range(3).selectExpr(*(f"double(id * {i + 1}) AS {n}" for i, n in enumerate(names)))
    model = MinMaxScaler(inputCols=names).fit(df)
    scaled = model.transform(df)

    assert lists(scaled.select(scaled.columns[300:])) == [[v] * 300 for v in (0.0, 0.5, 1.0)]
    restored = model.inverseTransform(scaled.select(scaled.columns[300:])).select(names)
    assert lists(restored) == lists(df)


SCALAR, ARRAY, HALF = "double(id + {0})", "array(double(id + {0}))", [0.0, 0.5, 1.0]
NAN = "CASE WHEN id = 1 THEN double('NaN') ELSE double(id) END"
NULL = "nullif(double(id + {0}), 2D + {0})"
WIDE = {
    "scalars, clipped": (SCALAR, MinMaxScaler(clip=True), HALF),
    "scalars, error": (SCALAR, MinMaxScaler(handleInvalid="error"), HALF),
    "scalars, skip": (NULL, MinMaxScaler(handleInvalid="skip"), [0.0, 1.0]),
    "scalars with null": (NULL, MinMaxScaler(), [0.0, 1.0, None]),
    "scalars with NaN": (NAN, ClipByValue(high=1.0), [0.0, float("nan"), 1.0]),
    "floats with NaN": (f"float({NAN})", ClipByValue(high=1.0), [0.0, float("nan"), 1.0]),
    "scalars, never null": (SCALAR, StandardScaler(withStd=False, withMean=True), [-1.0, 0.0, 1.0]),
    "scalars, only clipped": (SCALAR, ClipByValue(low=30.0), [30.0] * 3),
    "arrays": (ARRAY, MinMaxScaler(), [[v] for v in HALF]),
    "arrays, skip": (f"array({NULL})", MinMaxScaler(handleInvalid="skip"), [[0.0], [1.0]]),
    "arrays, only clipped": (ARRAY, ClipByValue(low=30.0), [[30.0]] * 3),
}


@pytest.mark.core
@pytest.mark.parametrize("case", WIDE)
def test_many_columns_are_not_computed_in_one_method(spark, capsys, case):
    """Java does not compile what is longer than 8,000 bytes, so Spark must not generate one method for all columns."""
    text, stage, expected = WIDE[case]
    names = [f"c{i}" for i in range(24)]
    df = spark.range(0, 3, 1, 1).selectExpr("id", *(f"{text.format(i)} AS {n}" for i, n in enumerate(names)))
    stage = stage.copy().setInputCols(names)
    scaled = (stage.fit(df) if hasattr(stage, "fit") else stage).transform(df)

    np.testing.assert_equal([row[25:] for row in lists(scaled.orderBy("id"))], [[v] * 24 for v in expected])
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
    scaled = MinMaxScaler(inputCols=names).fit(df).transform(df)
    capsys.readouterr()
    scaled.select([f"{n}_scaled" for n in names[1:25]]).explain()
    (line,) = [x for x in capsys.readouterr().out.splitlines() if re.search("Project .*_scaled", x)]

    assert "*(" not in line


# Attributes


@pytest.mark.core
@each_scaler
def test_a_vector_keeps_its_attribute_names(data, scaler):
    """The names in the input's metadata, of whatever kind, come out in the output's."""
    metadata = {
        "ml_attr": {
            "num_attrs": 3,
            "attrs": {
                "numeric": [{"idx": 0, "name": "width"}, {"idx": 2, "name": "height"}],
                "binary": [{"idx": 1, "name": "flag"}],
            },
        }
    }
    df = data.withMetadata("v", metadata)
    model = scaler(inputCol="v").fit(df)

    assert attributes(model.transform(df), "v_scaled") == (3, ["width", "flag", "height"])
    assert model.featureNames == ["width", "flag", "height"]


@pytest.mark.core
def test_a_vector_without_names_gets_only_its_size(data):
    """Where the input has no names, none are made up for the output."""
    model = MinMaxScaler(inputCol="v").fit(data)
    group = model.transform(data).schema["v_scaled"].metadata["ml_attr"]

    assert group == {"num_attrs": 3}
    assert model.featureNames == ["v_0", "v_1", "v_2"]


@pytest.mark.core
def test_one_vector_is_named_after_its_columns(data):
    """Scalars give their names, elements the column's name and their index, vectors their attribute names."""
    group = {"num_attrs": 3, "attrs": {"numeric": [{"idx": i, "name": n} for i, n in enumerate("pqr")]}}
    df = data.withMetadata("v", {"ml_attr": group})
    scaled = MinMaxScaler(inputCols=["x", "a", "v", "i"], outputCol="f").fit(df).transform(df)

    assert attributes(scaled, "f") == (8, ["x", "a_0", "a_1", "a_2", "p", "q", "r", "i"])


def test_one_vector_names_vectors_without_names_by_index(data):
    """A vector without names is named as VectorAssembler names it."""
    scaled = MinMaxScaler(inputCols=["x", "v"], outputCol="f").fit(data).transform(data)

    assert attributes(scaled, "f") == (4, ["x", "v_0", "v_1", "v_2"])


def test_attributes_are_those_of_fit(data):
    """A frame without metadata is transformed to the names that fit saw."""
    named = {"ml_attr": {"num_attrs": 3, "attrs": {"numeric": [{"idx": i, "name": n} for i, n in enumerate("pqr")]}}}
    model = MinMaxScaler(inputCol="v").fit(data.withMetadata("v", named))

    assert attributes(model.transform(data), "v_scaled") == (3, ["p", "q", "r"])


# Sparse and dense vectors

SPARSE = [Vectors.sparse(4, {0: 2.0, 3: -1.0}), Vectors.sparse(4, {}), Vectors.sparse(4, {0: 4.0, 1: 3.0})]


@pytest.mark.core
@pytest.mark.parametrize(
    ("scaler", "sparse"),
    [
        (MaxAbsScaler(), True),
        (MaxAbsScaler(clip=True), True),
        (StandardScaler(), True),
        (StandardScaler(withStd=False), True),
        (StandardScaler(withMean=True), False),
        (StandardScaler(withMean=True, withStd=False), False),
        (MinMaxScaler(), False),
        (MinMaxScaler(min=-1.0), False),
    ],
    ids=["MaxAbs", "MaxAbs clip", "Standard", "neither", "centred", "centred only", "MinMax", "MinMax -1..1"],
)
def test_sparse_stays_sparse_where_zero_stays_zero(spark, scaler, sparse):
    """A map that keeps zero keeps vectors sparse, with the same entries; any other makes them dense."""
    df = vectors(spark, *SPARSE)
    model = scaler.copy().setInputCol("v").fit(df)
    found = [row[1] for row in model.transform(df).collect()]

    assert model.affine.keeps_zero is sparse
    assert {type(v) for v in found} == {SparseVector if sparse else DenseVector}
    if sparse:
        assert [v.indices.tolist() for v in found] == [v.indices.tolist() for v in SPARSE]
    expected = model.affine.apply([v.toArray() for v in SPARSE])
    assert np.array([v.toArray() for v in found]) == pytest.approx(expected, rel=1e-15, abs=1e-15)


@pytest.mark.core
def test_min_max_of_features_from_zero_keeps_sparse(spark):
    """Where each minimum is 0, min-max to [0, 1] keeps zero."""
    df = vectors(spark, Vectors.sparse(3, {0: 2.0}), Vectors.sparse(3, {1: 5.0, 2: 3.0}))
    for clip in (False, True):
        model = MinMaxScaler(inputCol="v", clip=clip).fit(df)
        found = [row[1] for row in model.transform(vectors(spark, Vectors.sparse(3, {0: 8.0, 1: 1.0}))).collect()]

        assert found == [Vectors.sparse(3, {0: 1.0 if clip else 4.0, 1: 0.2})]
        assert isinstance(found[0], SparseVector)


@pytest.mark.core
@pytest.mark.parametrize("clip", [False, True], ids=["", "clip"])
def test_dense_and_sparse_vectors_mix_in_one_column(spark, clip):
    """Each vector keeps its form, whatever its neighbours are; null stays null, an empty one empty."""
    rows = [
        Vectors.dense([2.0, -4.0]),
        Vectors.sparse(2, {1: 1.0}),
        None,
        Vectors.sparse(2, {}),
        Vectors.dense([0.0, 0.0]),
    ]
    df = vectors(spark, *rows)
    found = [row[1] for row in MaxAbsScaler(inputCol="v", clip=clip).fit(df).transform(df).collect()]

    assert found == [
        Vectors.dense([1.0, -1.0]),
        Vectors.sparse(2, {1: 0.25}),
        None,
        Vectors.sparse(2, {}),
        Vectors.dense([0.0, 0.0]),
    ]
    assert [type(v) for v in found] == [type(v) for v in rows]


@pytest.mark.core
@pytest.mark.parametrize("scaler", [MinMaxScaler(min=-1.0), StandardScaler(withMean=True)], ids=["MinMax", "Standard"])
def test_dense_sparse_and_null_mix_under_a_map_that_moves_zero(spark, scaler):
    """All but null become dense, with implicit zeros mapped like any value."""
    rows = [Vectors.dense([2.0, -4.0]), Vectors.sparse(2, {1: 1.0}), None, Vectors.sparse(2, {})]
    df = vectors(spark, *rows)
    model = scaler.copy().setInputCol("v").fit(df)
    found = [row[1] for row in model.transform(df).collect()]

    assert found[2] is None
    assert {type(v) for v in found} == {DenseVector, type(None)}
    expected = model.affine.apply([v.toArray() for v in rows if v is not None])
    assert np.array([v.toArray() for v in found if v is not None]) == pytest.approx(expected, rel=1e-15)


def test_explicit_zeros_are_values(spark):
    """A stored zero and an implicit one are one number, in fit and in transform."""
    stored = vectors(spark, SparseVector(2, [0, 1], [0.0, 3.0]), SparseVector(2, [0, 1], [0.0, 5.0]))
    implicit = vectors(spark, SparseVector(2, [1], [3.0]), SparseVector(2, [1], [5.0]))
    models = [StandardScaler(inputCol="v", withMean=True).fit(df) for df in (stored, implicit)]

    assert models[0].statistics.mean.tolist() == models[1].statistics.mean.tolist() == [0.0, 4.0]
    assert models[0].affine == models[1].affine
    assert lists(models[0].transform(stored).select("v_scaled")) == lists(
        models[1].transform(implicit).select("v_scaled")
    )


@pytest.mark.core
@each_scaler
def test_dense_and_sparse_fit_alike(spark, scaler):
    """Implicit zeros take part in the statistic."""
    rows = [[0.0, 3.0, 0.0], [2.0, 0.0, 0.0], [-1.0, 7.0, 0.0]]
    dense = scaler(inputCol="v").fit(vectors(spark, *map(Vectors.dense, rows)))
    sparse = scaler(inputCol="v").fit(vectors(spark, *(Vectors.sparse(3, dict(enumerate(r))) for r in rows)))
    mixed = scaler(inputCol="v").fit(
        vectors(
            spark, Vectors.dense(rows[0]), *(Vectors.sparse(3, {i: v for i, v in enumerate(r) if v}) for r in rows[1:])
        )
    )

    for other in (sparse, mixed):
        for name in ("center", "scale", "offset"):
            assert getattr(other.affine, name) == pytest.approx(getattr(dense.affine, name), rel=1e-14)


@pytest.mark.core
@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize("ends", [(0.1, 0.3), (0.0, 49.0), (-7.7, 1e6)], ids=str)
def test_min_max_hits_its_ends_on_vectors(spark, ends, low):
    """The smallest value becomes ``min`` and the largest ``max``: to the last digit, as in Spark; arrays to the bit."""
    df = vectors(spark, *(Vectors.dense([v]) for v in ends))
    scaled = MinMaxScaler(inputCol="v", min=low, max=1.0).fit(df).transform(df)

    assert lists(scaled.select("v_scaled")) == [[[low]], [[pytest.approx(1.0, rel=3e-16)]]]


@pytest.mark.parametrize("value", [5e-324, 1e-310, 2.5e-308])
def test_tiny_values_are_divided_not_multiplied(spark, value):
    """The reciprocal of a subnormal number overflows; a division does not."""
    df = vectors(spark, Vectors.dense([value, 1.0]), Vectors.sparse(2, {1: 2.0}))
    found = [row[1] for row in MaxAbsScaler(inputCol="v").fit(df).transform(df).collect()]

    assert [v.toArray().tolist() for v in found] == [[1.0, 0.5], [0.0, 1.0]]
    assert [type(v) for v in found] == [DenseVector, SparseVector]


# SQL


@pytest.mark.core
@each_variant
def test_sql_text_is_what_transform_runs(data, variant):
    """toSQL's text over the input columns gives what transform gives; vectors are read as arrays."""
    model = VARIANTS[variant].copy().setInputCols(["x", "a", "v"]).fit(data)
    text = model.toSQL()
    arrays = data.withColumn("v", vector_to_array("v"))
    found = arrays.selectExpr(*(f"{sql} AS {name}" for name, sql in text.items()))
    expected = lists(model.transform(data).select(*text))

    assert list(text) == ["x_scaled", "a_scaled", "v_scaled"]
    assert lists(found.select("x_scaled", "a_scaled")) == [row[:2] for row in expected]
    assert np.array([r[0] for r in lists(found.select("v_scaled"))]) == pytest.approx(
        np.array([r[2] for r in expected])
    )


@pytest.mark.core
def test_sql_text_of_one_vector_makes_an_array(data):
    """The many-to-one form is one text that gives all features as an array, and its inverse takes it apart."""
    model = MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f").fit(data)
    arrays = data.withColumn("v", vector_to_array("v"))
    expected = [row[0] for row in lists(model.transform(data).select("f"))]
    found = arrays.selectExpr(f"{model.toSQL()['f']} AS f")
    back = model.inverse().toSQL()

    assert list(model.toSQL()) == ["f"]
    assert np.array([row["f"] for row in found.collect()]) == pytest.approx(np.array(expected))
    assert list(back) == ["x", "a", "v"]
    restored = found.selectExpr(*(f"{sql} AS {name}" for name, sql in back.items()))
    for one, other in zip(lists(restored), lists(arrays.select("x", "a", "v")), strict=True):
        assert [one[0], *one[1], *one[2]] == pytest.approx([other[0], *other[1], *other[2]], abs=1e-15)


def test_sql_text_keeps_the_policy(data):
    """The text clips, and refuses what the model refuses."""
    clip = MinMaxScaler(inputCol="x", clip=True).fit(data).toSQL()["x_scaled"]
    strict = MinMaxScaler(inputCol="x", handleInvalid="error").fit(data).toSQL()["x_scaled"]

    assert data.selectExpr("1e9D AS x").selectExpr(clip).first()[0] == 1.0
    with pytest.raises(Exception, match="'x' holds NaN"):
        data.selectExpr("double('NaN') AS x").selectExpr(strict).collect()


# Clip


@pytest.mark.core
@pytest.mark.parametrize("kind", ["x", "a", "v"])
def test_clip_keeps_unseen_values_in_the_target_range(spark, kind):
    """Without clip, values beyond those of fit go beyond the range; with it, they stop at its ends."""
    source = "double(id)", "array(double(id))"
    seen, unseen = spark.range(1, 3), spark.range(0, 5)
    frames = [df.selectExpr(f"{source[0]} AS x", f"{source[1]} AS a") for df in (seen, unseen)]
    fitted, df = (f.withColumn("v", array_to_vector("a")) for f in frames)
    for clip, expected in ((False, [-12.0, -2.0, 8.0, 18.0, 28.0]), (True, [-2.0, -2.0, 8.0, 8.0, 8.0])):
        model = MinMaxScaler(inputCol=kind, outputCol="o", min=-2.0, max=8.0, clip=clip).fit(fitted)
        assert np.ravel(lists(model.transform(df).select("o"))).tolist() == expected


def test_clip_of_max_abs_is_to_plus_and_minus_one(spark):
    """The target range of MaxAbs is [-1, 1]."""
    model = MaxAbsScaler(inputCol="x", clip=True).fit(spark.createDataFrame([(-2.0,)], "x double"))
    df = spark.createDataFrame([(-9.0,), (1.0,), (9.0,)], "x double")

    assert lists(model.transform(df).select("x_scaled")) == [[-1.0], [0.5], [1.0]]


# Inverse


@pytest.mark.core
@pytest.mark.parametrize("variant", [v for v in VARIANTS if "clip" not in v])
def test_inverse_restores_the_inputs(data, variant):
    """Scaled and restored, each column has its old name, kind and numbers; constants come back too."""
    model = VARIANTS[variant].copy().setInputCols(["x", "a", "v", "i"]).fit(data)
    scaled = model.transform(data).select("x_scaled", "a_scaled", "v_scaled", "i_scaled")
    restored = model.inverseTransform(scaled)

    assert restored.columns == [*scaled.columns, "x", "a", "v", "i"]
    assert restored.schema["v"].dataType == VectorUDT()
    for one, other in zip(
        lists(restored.select("x", "a", "v", "i")), lists(data.select("x", "a", "v", "i")), strict=True
    ):
        assert np.hstack(one) == pytest.approx(np.hstack(other), rel=1e-14, abs=1e-14)


@pytest.mark.core
def test_inverse_replaces_columns_in_place(data):
    """An input column that is still there is replaced where it stands, and nothing is added."""
    model = MinMaxScaler(inputCols=["x", "a", "v"]).fit(data)
    scaled = model.transform(data)
    spoilt = scaled.withColumns({"x": F.lit(-99.0), "a": F.array(F.lit(-99.0))})
    restored = model.inverseTransform(spoilt)

    assert restored.columns == scaled.columns
    assert np.array([np.hstack(r) for r in lists(restored.select("x", "a", "v"))]) == pytest.approx(
        np.array([np.hstack(r) for r in lists(data.select("x", "a", "v"))]), abs=1e-14
    )


@pytest.mark.core
@each_scaler
def test_inverse_takes_one_vector_apart(data, scaler):
    """The many-to-one vector goes back to its columns, each of its own kind, in their order."""
    model = scaler(inputCols=["v", "x", "a", "i"], outputCol="f").fit(data)
    scaled = model.transform(data).select("f")
    restored = model.inverse().transform(scaled)

    assert restored.columns == ["f", "v", "x", "a", "i"]
    assert [restored.schema[c].dataType.simpleString() for c in ("v", "x", "a")] == [
        "vector",
        "double",
        "array<double>",
    ]
    for one, other in zip(
        lists(restored.select("x", "a", "v", "i")), lists(data.select("x", "a", "v", "i")), strict=True
    ):
        assert np.hstack(one) == pytest.approx(np.hstack(other), rel=1e-14, abs=1e-14)


def test_inverse_gives_vectors_their_attributes_back(data):
    """A vector taken out of the one vector has its old names."""
    named = {"ml_attr": {"num_attrs": 3, "attrs": {"numeric": [{"idx": i, "name": n} for i, n in enumerate("pqr")]}}}
    df = data.withMetadata("v", named)
    for params in ({"inputCols": ["x", "v"], "outputCol": "f"}, {"inputCols": ["x", "v"]}):
        model = MinMaxScaler(**params).fit(df)
        restored = model.inverseTransform(model.transform(df).drop("x", "v"))

        assert attributes(restored, "v") == (3, ["p", "q", "r"])


@pytest.mark.core
def test_the_inverse_of_the_inverse_is_the_model(data):
    """Twice around is where one started."""
    model = StandardScaler(inputCol="x").fit(data)
    inverse = model.inverse()

    assert isinstance(inverse, InverseModel)
    assert inverse.inverse().toSQL() == model.toSQL()
    assert inverse.affine == model.affine.inverse()
    assert inverse.affine.inverse() == model.affine


@pytest.mark.core
@pytest.mark.parametrize(
    "scaler", [MaxAbsScaler(), MaxAbsScaler(clip=True), StandardScaler()], ids=["MaxAbs", "clip", "Standard"]
)
def test_the_inverse_keeps_vectors_sparse(spark, scaler):
    """Where the way there keeps zero, so does the way back."""
    df = vectors(spark, *SPARSE[::2])
    model = scaler.copy().setInputCol("v").fit(df.union(vectors(spark, Vectors.sparse(4, {1: 1.0, 2: 1.0, 3: 3.0}))))
    restored = [row["v"] for row in model.inverseTransform(model.transform(df).select("v_scaled")).collect()]

    assert {type(v) for v in restored} == {SparseVector}
    assert [v.indices.tolist() for v in restored] == [v.indices.tolist() for v in SPARSE[::2]]
    assert np.array([v.toArray() for v in restored]) == pytest.approx(np.array([v.toArray() for v in SPARSE[::2]]))


@pytest.mark.core
def test_inverse_leaves_invalid_values(spark):
    """Null and NaN come back as null and NaN."""
    df = spark.createDataFrame([(1.0,), (3.0,), (None,), (float("nan"),)], "x double")
    model = StandardScaler(inputCol="x", withMean=True).fit(df)

    assert str(lists(model.inverseTransform(model.transform(df)).select("x"))) == "[[1.0], [3.0], [None], [nan]]"


def test_inverse_of_null_vectors_is_null(spark):
    """A null vector comes back as null; in the one vector, a null that became NaN comes back as NaN."""
    df = vectors(spark, Vectors.dense([1.0]), Vectors.dense([3.0]), None)
    for scaler in (
        MaxAbsScaler(inputCol="v"),
        MinMaxScaler(inputCol="v", min=-1.0),
        MinMaxScaler(inputCol="v", clip=True),
    ):
        model = scaler.fit(df)
        assert str(lists(model.inverseTransform(model.transform(df)).select("v"))) == "[[[1.0]], [[3.0]], [None]]"


def test_inverse_of_clipped_values_is_the_bound(spark):
    """What was clipped is gone: the way back gives the extreme that fit saw."""
    df = spark.createDataFrame([(0.0,), (4.0,)], "x double")
    model = MinMaxScaler(inputCol="x", clip=True).fit(df)
    beyond = spark.createDataFrame([(-9.0,), (1.0,), (9.0,)], "x double")

    assert lists(model.inverseTransform(model.transform(beyond)).select("x")) == [[0.0], [1.0], [4.0]]


def test_inverse_of_float_stays_float(spark):
    """Single precision comes back in single precision."""
    df = spark.range(3).selectExpr("float(id) AS x", "array(float(id)) AS a")
    model = MinMaxScaler(inputCols=["x", "a"]).fit(df)
    restored = model.inverseTransform(model.transform(df).drop("x", "a"))

    assert (restored.schema["x"].dataType, restored.schema["a"].dataType.elementType) == (FloatType(), FloatType())
    assert lists(restored.select("x", "a")) == lists(df)


def test_sql_text_assembles_nulls_as_transform_does(spark):
    """In one vector of many columns a null is NaN, and nulls of other columns are not drawn in."""
    df = spark.sql(
        "SELECT 1D AS x, array(1D, 2D) AS a UNION ALL SELECT 3D, null UNION ALL SELECT null, array(null, 4D)"
    )
    model = MinMaxScaler(inputCols=["x", "a"], outputCol="f").fit(df)
    text = model.toSQL()["f"]
    found = df.selectExpr(f"{text} AS f").collect()

    expected = [row.f.toArray().tolist() for row in model.transform(df).collect()]

    np.testing.assert_array_equal([row.f for row in found], expected)


@pytest.mark.core
@pytest.mark.parametrize("form", ["one", "many", "vector"])
def test_a_column_may_be_named_in_another_case(spark, form):
    """As everywhere in Spark; the way back replaces the column, whatever case it is written in."""
    df = spark.createDataFrame([(1.0, [1.0, 4.0]), (3.0, [2.0, 8.0])], "delay double, path array<double>")
    params = {
        "one": {"inputCol": "Delay"},
        "many": {"inputCols": ["DELAY", "Path"]},
        "vector": {"inputCols": ["Delay", "PATH"], "outputCol": "v"},
    }[form]
    model = MinMaxScaler(**params).fit(df)
    back = model.inverseTransform(model.transform(df))

    assert model.originalMax[0] == 3.0
    assert [name.lower() for name in back.columns[:2]] == ["delay", "path"]
    assert len(back.columns) == 2 + (2 if form == "many" else 1)
    assert [(row[0], row[1]) for row in back.collect()] == [(1.0, [1.0, 4.0]), (3.0, [2.0, 8.0])]


@pytest.mark.core
@pytest.mark.parametrize("setting", ["wholeStage", "optimizer", "usual"])
def test_null_vectors_stay_null_however_spark_plans(spark, setting):
    """Spark's own functions fail at null; that they are not called there must not hang on a plan."""
    key, value = {
        "wholeStage": ("spark.sql.codegen.wholeStage", "false"),
        "optimizer": (
            "spark.sql.optimizer.excludedRules",
            "org.apache.spark.sql.catalyst.optimizer.CollapseProject",
        ),
        "usual": ("spark.sql.codegen.wholeStage", "true"),
    }[setting]
    rows = [
        (None, Vectors.dense(1, 2)),
        (Vectors.sparse(2, [0], [4.0]), None),
        (Vectors.dense(2, 4), Vectors.dense(2, 1)),
    ]
    df = spark.createDataFrame(rows, StructType([StructField(c, VectorUDT()) for c in "ab"]))
    spark.conf.set(key, value)
    try:
        for scaler in (MaxAbsScaler(inputCols=["a", "b"]), MinMaxScaler(inputCols=["a", "b"], min=1.0, max=3.0)):
            scaled = scaler.fit(df).transform(df).collect()

            assert [(row["a_scaled"] is None, row["b_scaled"] is None) for row in scaled] == [
                (True, False),
                (False, True),
                (False, False),
            ]
    finally:
        spark.conf.unset(key)


def test_sql_of_a_field_of_a_struct_runs(spark):
    """toSQL is what transform runs, both ways."""
    df = spark.createDataFrame([((1.0,),), ((3.0,),)], "s struct<x: double>")
    model = MinMaxScaler(inputCol="s.x").fit(df)
    scaled = model.transform(df)

    assert scaled.selectExpr(model.toSQL()["s.x_scaled"]).collect() == scaled.select("`s.x_scaled`").collect()
    assert [row[0] for row in scaled.selectExpr(model.inverse().toSQL()["s.x"]).collect()] == [1.0, 3.0]
