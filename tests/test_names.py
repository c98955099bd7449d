"""Names of columns: quoted and nested ones, those that differ in case alone, and those of outputs."""

from __future__ import annotations

import unicodedata

import pytest
from pyspark.ml import Pipeline
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F

from frames import cells, near
from models import learned
from sparkscale import (
    BatchNorm,
    ClipByValue,
    InverseModel,
    LayerNorm,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    Whitener,
)
from sparkscale.errors import BatchError, ColumnNotFoundError, OutputColumnError, ParamError
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.names import folded, unquoted

QUOTED = ["`a.b`", "c d", "`c d`x", "s.`p.q`", "`s`.`x`", "s.x y", "m.k", "l.z"]
OUTPUTS = ["a.b", "c d", "`c d`x", "s.p.q", "s.x", "s.x y", "m.k", "l.z"]  # the same without quotes, but for no path


@pytest.fixture(scope="module")
def named(spark):
    """Two rows, of 1 and 3 in each column, field and value."""
    one = "double(2 * id + 1)"
    fields = f"'x', {one}, 'p.q', int({one}), 'x y', {one}"
    return spark.range(0, 2, 1, 1).selectExpr(
        "id",
        f"{one} AS `a.b`",
        f"{one} AS `c d`",
        f"{one} AS ```c d``x`",
        f"named_struct({fields}) AS s",
        f"map('k', {one}) AS m",
        f"array(named_struct('z', {one})) AS l",
    )


@pytest.mark.core
@pytest.mark.settings
def test_names_resolve_as_in_spark_unless_a_column_matches_exactly(named):
    """Quotes enclose dots; what follows a dot is a field, the value of a key, or a field of each element."""
    model = MinMaxScaler(inputCols=QUOTED).fit(named)
    outputs = [f"{name}_scaled" for name in OUTPUTS]
    scaled = model.transform(named)

    assert scaled.columns == [*named.columns, *outputs]
    assert model.getOutputCols() == outputs
    assert model.featureNames == [*OUTPUTS[:-1], "l.z_0"]
    values = scaled.orderBy("id").collect()
    assert [[row[name] for name in outputs] for row in values] == [[*[0.0] * 7, [0.0]], [*[1.0] * 7, [1.0]]]


def test_exact_column_name_comes_first(spark):
    """Also before the field that Spark would take."""
    df = spark.sql("SELECT 1D AS `a.b`, named_struct('b', 7D) AS a, 5D AS ```a.b```")
    model = MinMaxScaler(inputCols=["a.b", "`a`.`b`", "`a.b`"], outputCols=["x", "y", "z"]).fit(df)

    assert model.originalMin.toArray().tolist() == [1.0, 7.0, 5.0]


@pytest.mark.core
@pytest.mark.settings
def test_weights_and_mini_batches_are_named_in_the_same_way(named):
    """In fit and where rows are joined with the statistics of their batch."""
    norm = BatchNorm(inputCol="`a.b`", weightCol="s.`p.q`", batchCol="s.x y", epsilon=1e-12)
    twice = named.union(named.withColumn("a.b", F.col("`a.b`") + 2))
    model = norm.fit(twice)
    of_batches = norm.copy({norm.statistics: "meanOfBatches"}).fit(twice)

    near(model.runningMean, [(2 * 2 + 4 * 6) / 8])  # 1 and 3 of weight 1, 3 and 5 of weight 3
    near(of_batches.runningMean, [3.0])
    normalized = model.normalizeBatches(twice).select(F.col("`a.b_scaled`")).collect()
    assert sorted(row[0] for row in normalized) == pytest.approx([-1, -1, 1, 1])


@pytest.mark.parametrize(
    "name", ["*", "s.*", "`", "``", "`a.b", "a.b`", "s.", ".x", "s..x", "s.`*`", "m.k.z", "l.z.z", ""]
)
def test_unknown_names_are_refused(named, name, capfd):
    """In our words alone: of what Spark's own refusal would log, nothing is shown."""
    with pytest.raises(
        ColumnNotFoundError, match=r"does not exist\. (The DataFrame has: id, a\.b, c d|'s' has: x, p\.q, x y)"
    ):
        MinMaxScaler(inputCol=name).fit(named)
    assert capfd.readouterr() == ("", "")


def test_keys_of_maps_are_read_as_their_type(spark):
    df = spark.sql("SELECT map(1, 5D) AS m, map(date'2024-01-05', 6D) AS d")

    assert [*MinMaxScaler(inputCols=["m.1", "d.2024-01-05"]).fit(df).originalMin] == [5.0, 6.0]


@pytest.mark.core
@pytest.mark.settings
@pytest.mark.parametrize("hidden", ["alias", "table"])
def test_a_field_is_that_of_the_column_even_if_a_table_has_the_name_of_the_struct(spark, hidden):
    """There Spark would read ``s.x`` as the table's column; in fit, transform, in place, as weight and as mini-batch."""
    rows = "(1D, named_struct('x', 100D, 'v', array(7D))), (3D, named_struct('x', 300D, 'v', array(9D)))"
    df = spark.sql(f"SELECT * FROM VALUES {rows} AS t(x, s)").withColumn(
        "s", F.col("s").withField("v", array_to_vector(F.col("s.v")))
    )
    if hidden == "alias":
        df = df.alias("s")
    else:
        df.createOrReplaceTempView("s")
        df = spark.table("s")
    model = MinMaxScaler(inputCols=["s.x", "s.v"], outputCols=["s.x", "s.v"], max=2.0).fit(df)
    weighted = StandardScaler(inputCol="x", weightCol="s.x", withMean=True).fit(df)
    norm = BatchNorm(inputCol="x", batchCol="s.x", statistics="meanOfBatches")

    assert model.originalMax.toArray().tolist() == [300.0, 9.0]
    assert [(x, s.x, s.v) for x, s in sorted(model.transform(df).collect())] == [
        (1.0, 0.0, Vectors.dense(0.0)),
        (3.0, 2.0, Vectors.dense(2.0)),
    ]
    assert weighted.mean[0] == pytest.approx((1 * 100 + 3 * 300) / 400)
    with pytest.raises(BatchError, match=r"Batch 100\.0 holds 1 valid value\(s\) of column 'x':"):
        norm.fit(df)


def test_a_field_of_several_that_differ_in_case_is_ambiguous(spark):
    with pytest.raises(ColumnNotFoundError, match=r"'s\.x' is ambiguous: the DataFrame has 2 of that name"):
        MinMaxScaler(inputCol="s.x").fit(spark.sql("SELECT named_struct('x', 1D, 'X', 2D) AS s"))


def test_messages_show_similar_names_first(spark):
    df = spark.range(1).selectExpr(*(f"double(id) AS col_{i:03d}" for i in range(300)))

    with pytest.raises(ColumnNotFoundError) as refused:
        MinMaxScaler(inputCol="col_0299").fit(df)
    shown = str(refused.value).partition("The DataFrame has: ")[2]
    assert shown.startswith("col_299, ")
    assert "col_029, " in shown
    assert shown.count("col_") == 10
    assert shown.endswith(" and 290 more.")


@pytest.mark.core
@pytest.mark.settings
def test_letters_with_two_letter_upper_case_are_distinct(spark):
    """Spark compares letter by letter: ß is not ss."""
    df = spark.sql("SELECT * FROM VALUES (1D, 2D, 5D), (3D, 5D, 6D) AS t(`Maße`, Masse, `MASẞEN`)")
    model = MinMaxScaler(inputCols=["Maße", "Masse"], outputCols=["Strasse", "Straße"]).fit(df)

    assert [[*row[3:]] for row in model.transform(df).collect()] == [[0.0, 0.0], [1.0, 1.0]]


def test_names_distinct_in_spark_are_distinct(spark):
    """It looks for a name in lower case first, where the micro sign is not the Greek letter; outputs must differ in both."""
    df = spark.sql("SELECT 1D AS `\u00b5m`, 2D AS `\u03bcm`, 3D AS i, 4D AS `\u0130`")
    names = ["\u00b5m", "\u03bcm", "i", "\u0130"]

    assert [*MinMaxScaler(inputCols=names, outputCol="o").fit(df).originalMin] == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(OutputColumnError, match="'I' already exists"):
        MinMaxScaler(inputCol="\u00b5m", outputCol="I").fit(spark.sql("SELECT 1D AS `\u00b5m`, 4D AS `\u0130`"))


@pytest.mark.classic_only
def test_names_are_compared_as_java_compares_strings(spark):
    """Of every letter that has another case, and i with and without a dot.

    The letters are those of Unicode 3.2, since newer ones are not known to each Python and each Java.
    """
    same = spark._jvm.org.apache.commons.lang3.StringUtils.equalsIgnoreCase
    letters = [c for c in map(chr, range(0x10000)) if unicodedata.ucd_3_2_0.category(c).startswith("L")]
    pairs = {(c, other) for c in letters for other in (c.lower(), c.upper(), c.upper().lower()) if other != c}

    wrong = {pair for pair in pairs if (folded(pair[0]) == folded(pair[1])) != same(*pair)}
    assert wrong == set()


# Outputs


def test_the_default_output_is_named_after_the_input():
    assert StandardScaler(inputCol="x").getOutputCol() == "x_scaled"
    assert StandardScaler(inputCol="`a.b`").getOutputCol() == "a.b_scaled"
    assert StandardScaler(inputCols=["x", "s.`p.q`"]).getOutputCols() == ["x_scaled", "s.p.q_scaled"]
    assert [unquoted(name) for name in ("a`b", "``", "`a``b`", "a b")] == ["a`b", "``", "a`b", "a b"]


def test_without_an_input_the_output_is_named_after_the_stage_and_keeps_that_name():
    """Others may have been built on the name."""
    for stage in (StandardScaler(), LayerNorm(), MinMaxScalerModel()):
        name = stage.getOutputCol()

        assert name == f"{stage.uid}__output"
        assert stage.setInputCol("x").getOutputCol() == name
        assert stage.copy().getOutputCol() == name


def test_getter_names_the_getter_to_use_instead():
    """One name where there are several, and several where there is one, are no bare KeyError."""
    with pytest.raises(ParamError, match=r"StandardScaler: each of inputCols has an output.*getOutputCols\(\)"):
        StandardScaler(inputCols=["x", "y"]).getOutputCol()
    of_outputs = StandardScaler(outputCols=["p", "q"])
    with pytest.raises(ParamError, match=r"getOutputCols\(\)"):
        of_outputs.getOutputCol()
    assert not of_outputs.isSet("outputCol")
    with pytest.raises(ParamError, match=r"StandardScaler: neither inputCols nor outputCols.*getOutputCol\(\)"):
        StandardScaler(inputCol="x").getOutputCols()


def test_inverse_lists_its_columns():
    one = InverseModel(learned(MinMaxScalerModel(), [[0.0], [1.0]], "x"))
    two = InverseModel(learned(MinMaxScalerModel(), [[0.0, 0.0], [1.0, 1.0]], "x", "y"))

    assert (one.getInputCol(), one.getOutputCol()) == ("x_scaled", "x")
    assert (two.getInputCols(), two.getOutputCols()) == (["x_scaled", "y_scaled"], ["x", "y"])
    assert two.setColumns(["y"]).setOutputCol("z").getOutputCols() == ["z"]
    with pytest.raises(ParamError, match=r"getOutputCols\(\)"):
        InverseModel(two.forward).getOutputCol()


def test_an_inverse_takes_names_with_and_without_quotes():
    inverse = InverseModel(
        learned(MinMaxScalerModel(), [[0.0], [1.0]], FeatureColumn("`a.b`", "scalar", size=1, nested=True))
    )

    for name in ("a.b", "`a.b`"):
        assert inverse.setColumns([name]).getOutputCols() == ["a.b"]


def test_sql_of_a_model_whose_inputs_were_named_anew():
    """There is no schema: what has quotes, and what is named in place of a field, is read as Spark reads it."""
    field = FeatureColumn("s.x", "scalar", size=1, nested=True)
    model = learned(MinMaxScalerModel(), [[1.0, 1.0], [3.0, 3.0]], "x", field).setInputCols(["`a.b`", "t.y"])

    assert model.toSQL() == {"a.b_scaled": "((`a.b` - 1.0D) / 2.0D)", "t.y_scaled": "((`t`['y'] - 1.0D) / 2.0D)"}


@pytest.mark.core
def test_a_stage_is_built_on_the_output_of_one_that_has_no_input_yet(spark):
    """As pipelines of Spark's own stages are written."""
    df = spark.sql("SELECT * FROM VALUES (1D), (2D), (3D) AS t(x)")
    scaler = StandardScaler(withMean=True)
    pipeline = Pipeline(stages=[scaler, VectorAssembler(inputCols=[scaler.getOutputCol()], outputCol="v")])
    scaler.setInputCol("x")

    assert [row.v for row in pipeline.fit(df).transform(df).orderBy("x").collect()] == [
        Vectors.dense(z) for z in (-1.0, 0.0, 1.0)
    ]


@pytest.mark.parametrize("param", ["inputCols", "outputCols", "columns"])
def test_a_string_for_a_list_of_names_is_refused_at_once(param):
    stage = InverseModel() if param == "columns" else StandardScaler()

    with pytest.raises(ParamError, match=rf"{param} must be a list of names\. Got 'xy'\. Write \['xy'\]"):
        getattr(stage, f"set{param[0].upper()}{param[1:]}")("xy")


# An output of the name of its own input


@pytest.fixture(scope="module")
def rows(spark):
    """Three rows of every kind of column, and a field of a struct."""
    schema = "id bigint, x float, a array<double>, s struct<n:string,`p.q`:double>, b boolean, step bigint"
    values = [(i, float(i), [float(i), 4.0 * i], ("kept", float(i)), i > 0, i % 2) for i in range(3)]
    df = spark.createDataFrame(values, schema).coalesce(1)
    return df.withColumn("v", array_to_vector("a")).withColumn("last", F.col("id"))


IN_PLACE = ["x", "a", "s.`p.q`", "v"]


@pytest.mark.core
@pytest.mark.settings
def test_an_output_of_the_name_of_its_input_replaces_it_where_it_stands(rows):
    """A field within its struct; and the inverse puts back what there was."""
    model = MinMaxScaler(inputCols=IN_PLACE, outputCols=IN_PLACE, max=2.0).fit(rows)
    scaled = model.transform(rows)
    back = model.inverseTransform(scaled)

    assert scaled.columns == back.columns == rows.columns
    assert scaled.schema["x"].dataType == rows.schema["x"].dataType
    assert isinstance(scaled.schema["v"].dataType, VectorUDT)
    assert scaled.schema["v"].metadata["ml_attr"]["num_attrs"] == 2
    assert cells(scaled, "x", "a", "s", "v") == [[z, [z, z], ("kept", z), [z, z]] for z in (0.0, 1.0, 2.0)]
    assert cells(back) == cells(rows)


@pytest.mark.core
def test_stages_of_rows_and_mini_batches_replace_their_input_as_well(rows):
    clipped = ClipByValue(inputCols=IN_PLACE, outputCols=IN_PLACE, low=1.0, high=2.0).transform(rows)
    norm = BatchNorm(inputCol="x", outputCol="x", batchCol="step", epsilon=1e-12)
    normalized = norm.fit(rows).normalizeBatches(rows.where("step = 0"))

    assert clipped.columns == normalized.columns == rows.columns
    assert cells(clipped, "x", "a", "s", "v") == [
        [1.0, [1.0, 1.0], ("kept", 1.0), [1.0, 1.0]],
        [1.0, [1.0, 2.0], ("kept", 1.0), [1.0, 2.0]],
        [2.0, [2.0, 2.0], ("kept", 2.0), [2.0, 2.0]],
    ]
    assert [x for (x,) in cells(normalized, "x")] == pytest.approx([-1.0, 1.0])


def test_an_output_replaces_no_other_column_than_its_input(rows):
    """Not that of another pair, nor one of several, nor one name twice, nor what is within an array."""
    of_others = [
        {"inputCols": ["x", "a"], "outputCols": ["a", "x"]},
        {"inputCols": ["x", "a"], "outputCols": ["x", "x"]},
        {"inputCols": ["x", "a"], "outputCol": "x"},
    ]
    for params in of_others:
        with pytest.raises(OutputColumnError, match=r"'[ax]' already exists"):
            MinMaxScaler(**params).fit(rows)
    with pytest.raises(OutputColumnError, match="is named twice"):
        MinMaxScaler(inputCols=["x", "X"], outputCols=["x", "X"]).fit(rows)
    within = rows.select(F.array(F.struct(F.col("x").alias("z"))).alias("l"))
    with pytest.raises(OutputColumnError, match=r"'l\.z' cannot be replaced: it is within an array"):
        MinMaxScaler(inputCol="l.z", outputCol="l.z").fit(within)
    other = MinMaxScaler(inputCols=["l.z", "x"], outputCols=["l.w", "x"]).fit(within.withColumn("x", F.lit(1.0)))
    assert other.getOutputCols() == ["l.w", "x"]


def test_one_input_may_become_a_vector_of_its_own_name(rows):
    model = MinMaxScaler(inputCols=["a"], outputCol="a").fit(rows)
    scaled = model.transform(rows)

    assert scaled.columns == rows.columns
    assert [list(a) for (a,) in cells(scaled, "a")] == [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]


# Arrays and vectors


@pytest.mark.core
def test_a_model_of_vectors_takes_arrays_and_the_reverse(rows):
    """Both are features; what comes out is of the kind that went in, and so is what comes back."""
    of_vector = MinMaxScaler(inputCol="v", outputCol="o").fit(rows)
    of_array = MinMaxScaler(inputCol="a", outputCol="o").fit(rows)
    expected = [[[z, z]] for z in (0.0, 0.5, 1.0)]

    assert of_vector.affine == of_array.affine
    for model, other, kind in ((of_vector, "a", "array<double>"), (of_array, "v", "vector")):
        scaled = model.copy().setInputCol(other).transform(rows)
        back = model.inverse().setOutputCol("back").transform(scaled)
        assert (dict(scaled.dtypes)["o"], dict(back.dtypes)["back"]) == (kind, kind)
        assert cells(scaled, "o") == expected
        assert cells(back, "back") == cells(rows, other)
    assert of_vector.copy().setInputCol("a").update(rows).affine == of_vector.affine
    renamed = MinMaxScaler(inputCol="v", outputCol="o").fit(rows.select(F.col("a").alias("v")))
    assert of_vector.merge(renamed).affine == of_vector.affine


def test_a_matrix_takes_arrays_for_vectors_too(rows):
    model = Whitener(inputCol="v", outputCol="o", epsilon=1e-3).fit(rows)
    arrays = model.copy().setInputCol("a").transform(rows)
    back = model.inverse().setOutputCol("back").transform(arrays)

    assert [o for (o,) in cells(arrays, "o")] == [
        pytest.approx(o, abs=1e-12) for (o,) in cells(model.transform(rows), "o")
    ]
    assert dict(arrays.dtypes)["o"] == dict(back.dtypes)["back"] == "array<double>"
    assert [o for (o,) in cells(back, "back")] == [pytest.approx(a, abs=1e-9) for (a,) in cells(rows, "a")]


def test_a_scalar_is_no_array(rows):
    model = learned(MinMaxScalerModel(), [[0.0, 0.0], [1.0, 1.0]], FeatureColumn("a", "array", size=2))

    with pytest.raises(Exception, match="'x' is of kind scalar, but the model was fitted on array"):
        model.setInputCols(["x"]).transform(rows)
