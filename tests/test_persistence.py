"""Saving and loading: everything survives, nothing is ever half there, and what cannot be read is said clearly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyspark.ml.feature
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.regression import LinearRegression
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder

from sparkscale import (
    InverseModel,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)
from sparkscale.errors import PersistenceError

ESTIMATORS = {
    "MinMaxScaler": MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f", min=-1.0, max=3.0, clip=True),
    "MaxAbsScaler": MaxAbsScaler(inputCols=["x", "a", "v"], outputCols=["o", "p", "q"], handleInvalid="skip"),
    "StandardScaler": StandardScaler(inputCol="v", withMean=True, ddof=0, weightCol="x", handleConstant="unit"),
}
each = pytest.mark.parametrize("name", ESTIMATORS)


@pytest.fixture(scope="module")
def data(spark):
    df = spark.range(5).selectExpr("double(id) + 0.1 AS x", "array(float(id / 3), 7) AS a")
    df = df.withColumn("v", array_to_vector("a"))
    return df.withMetadata(
        "v", {"ml_attr": {"num_attrs": 2, "attrs": {"numeric": [{"idx": 0, "name": "één"}, {"idx": 1, "name": "b"}]}}}
    )


@pytest.fixture(scope="module")
def models(data):
    return {name: estimator.fit(data) for name, estimator in ESTIMATORS.items()}


def scalars(spark, *values):
    return spark.createDataFrame([(v,) for v in values], "x double")


def params(stage):
    return {p.name: (stage.isSet(p), stage.getOrDefault(p)) for p in stage.params if stage.isDefined(p)}


def same(one, other):
    """Whether two models are alike in all that they are made of."""
    return (
        type(one) is type(other)
        and one.uid == other.uid
        and params(one) == params(other)
        and one.featureNames == other.featureNames
        and all(np.array_equal(a, other.statistics.arrays()[n]) for n, a in one.statistics.arrays().items())
        and one.affine == other.affine
    )


def files_of(path, name):
    return [p for p in sorted((Path(path) / name).iterdir()) if p.name.startswith("part-")]


def forget_checksums(folder):
    for path in Path(folder).glob(".*.crc"):
        path.unlink()


def metadata_of(path):
    (part,) = files_of(path, "metadata")
    (line,) = part.read_text().splitlines()
    return json.loads(line)


def rewrite(path, change, name="metadata"):
    """Change the metadata's text."""
    (part,) = files_of(path, name)
    forget_checksums(part.parent)
    part.write_text(change(part.read_text()))


def remove(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


# Round trips


@pytest.mark.core
@each
def test_an_estimator_survives(spark, tmp_path, name):
    """Class, uid and Params come back, set or default as they were."""
    estimator = ESTIMATORS[name]
    estimator.save(str(tmp_path / "e"))
    loaded = type(estimator).load(str(tmp_path / "e"))

    assert type(loaded) is type(estimator)
    assert loaded.uid == estimator.uid
    assert params(loaded) == params(estimator)


@pytest.mark.core
@each
def test_a_model_survives(data, models, tmp_path, name):
    """uid, Params, columns, attributes, statistics to the bit, and what transform makes come back."""
    model = models[name]
    model.write().save(str(tmp_path / "m"))
    loaded = type(model).read().load(str(tmp_path / "m"))

    assert same(loaded, model)
    assert loaded.featureNames == model.featureNames
    assert loaded.summary().equals(model.summary())
    assert loaded.transform(data).collect() == model.transform(data).collect()
    assert loaded.transform(data).schema == model.transform(data).schema


def test_a_loaded_model_goes_on_learning(data, models, tmp_path):
    """What was saved is the mergeable statistic: update and merge work as before."""
    model = models["MinMaxScaler"]
    model.save(str(tmp_path / "m"))
    loaded = MinMaxScalerModel.load(str(tmp_path / "m"))

    assert loaded.update(data).affine == model.update(data).affine
    assert loaded.merge(model).statistics.count.tolist() == [10.0] * 5


def test_a_loaded_estimator_fits_as_before(data, models, tmp_path):
    """Its model has the old uid and the old numbers."""
    ESTIMATORS["StandardScaler"].save(str(tmp_path / "e"))

    assert same(StandardScaler.load(str(tmp_path / "e")).fit(data), models["StandardScaler"])


@pytest.mark.core
@each
def test_an_inverse_survives(data, models, tmp_path, name):
    """The way back comes back with the model that it undoes."""
    inverse = models[name].inverse()
    inverse.save(str(tmp_path / "i"))
    loaded = InverseModel.load(str(tmp_path / "i"))
    scaled = models[name].transform(data)

    assert loaded.uid == inverse.uid
    assert same(loaded.inverse(), models[name])
    assert loaded.transform(scaled).collect() == inverse.transform(scaled).collect()


def test_values_without_a_json_form_survive(spark, tmp_path):
    """A feature without any value has infinite extrema and no map; both come back."""
    model = MinMaxScaler(inputCol="x").fit(scalars(spark, None, None))
    model.save(str(tmp_path / "m"))
    loaded = MinMaxScalerModel.load(str(tmp_path / "m"))

    assert loaded.statistics.min.tolist() == [np.inf]
    assert loaded.affine == model.affine


def test_a_wide_model_survives(spark, tmp_path):
    """10,000 features come back in their order."""
    df = spark.range(3).selectExpr("transform(sequence(1, 10000), i -> double(id * i) / 7) AS a")
    model = StandardScaler(inputCol="a").fit(df)
    model.save(str(tmp_path / "m"))

    assert same(StandardScalerModel.load(str(tmp_path / "m")), model)
    assert model.numFeatures == 10_000
    assert len(set(model.affine.scale)) > 9_000


@pytest.mark.core
def test_a_pipeline_survives(data, tmp_path):
    """Our stages are saved inside of Spark's Pipeline and PipelineModel, beside Spark's own."""
    pipeline = Pipeline(
        stages=[
            MinMaxScaler(inputCols=["x", "a"], outputCol="f"),
            pyspark.ml.feature.VectorAssembler(inputCols=["f", "v"], outputCol="g"),
            StandardScaler(inputCol="g", outputCol="h"),
        ]
    )
    model = pipeline.fit(data)
    pipeline.write().overwrite().save(str(tmp_path / "p"))
    model.write().overwrite().save(str(tmp_path / "m"))
    model.write().overwrite().save(str(tmp_path / "m"))
    loaded, refitted = PipelineModel.load(str(tmp_path / "m")), Pipeline.load(str(tmp_path / "p")).fit(data)

    assert [s.uid for s in loaded.stages] == [s.uid for s in model.stages] == [s.uid for s in refitted.stages]
    assert same(loaded.stages[2], model.stages[2])
    expected = model.transform(data).collect()
    assert loaded.transform(data).collect() == expected == refitted.transform(data).collect()


def test_an_inverse_survives_in_a_pipeline_model(data, models, tmp_path):
    """There and back again, as one PipelineModel."""
    model = models["MaxAbsScaler"]
    there_and_back = PipelineModel(stages=[model, model.inverse()])
    there_and_back.save(str(tmp_path / "m"))
    loaded = PipelineModel.load(str(tmp_path / "m"))

    assert loaded.transform(data).collect() == there_and_back.transform(data).collect()


# Spark's tuning leaves its thread pool to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
def test_a_cross_validated_model_survives(spark, data, tmp_path):
    """CrossValidatorModel keeps the best pipeline, ours included."""
    df = spark.range(30).selectExpr("double(id) AS x", "double(id % 7) AS y", "2D * id + 1 AS label")
    scaler = MinMaxScaler(inputCols=["x", "y"], outputCol="features")
    found = CrossValidator(
        estimator=Pipeline(stages=[scaler, LinearRegression(maxIter=2)]),
        estimatorParamMaps=ParamGridBuilder().addGrid(scaler.max, [1.0, 2.0]).build(),
        evaluator=RegressionEvaluator(),
        numFolds=2,
        seed=1,
    ).fit(df)
    found.write().overwrite().save(str(tmp_path / "cv"))
    loaded = CrossValidatorModel.load(str(tmp_path / "cv"))

    assert same(loaded.bestModel.stages[0], found.bestModel.stages[0])
    assert loaded.avgMetrics == pytest.approx(found.avgMetrics)
    assert loaded.transform(df).collect() == found.transform(df).collect()


@pytest.mark.one_world  # the files are the same
def test_a_fresh_process_computes_the_same_numbers(data, models, tmp_path):
    """Nothing of a model is left behind in the process that fitted it."""
    models["StandardScaler"].save(str(tmp_path / "m"))
    script = (
        "import sys; from pyspark.sql import SparkSession; from sparkscale import StandardScalerModel as M\n"
        "SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false').getOrCreate()\n"
        "m = M.load(sys.argv[1]); print('found', *[v.hex() for v in m.affine.apply([0.1, 0.7]).tolist()], m.uid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True, check=True, timeout=120
    )

    model = models["StandardScaler"]
    expected = " ".join(["found", *(v.hex() for v in model.affine.apply([0.1, 0.7]).tolist()), model.uid])
    assert done.stdout.strip().splitlines()[-1] == expected


@pytest.mark.core
def test_a_path_may_be_a_uri(spark, models, tmp_path):
    """file:// works as it does everywhere in Spark, and overwrites too."""
    uri = (tmp_path / "m").as_uri()
    for _ in range(2):
        models["MaxAbsScaler"].write().overwrite().save(uri)

    assert same(MaxAbsScalerModel.load(uri), models["MaxAbsScaler"])
    assert (tmp_path / "m" / "metadata").is_dir()


@pytest.mark.parametrize("folder", ["two words", "unicode é", "a=b,c", "100%", "nested/deeper"])
def test_a_path_may_have_an_unusual_name(models, tmp_path, folder):
    """Spaces, commas and letters beyond ASCII are part of a path, and missing parents are made."""
    models["MaxAbsScaler"].save(str(tmp_path / folder))

    assert same(MaxAbsScalerModel.load(str(tmp_path / folder)), models["MaxAbsScaler"])


# Layout


@pytest.mark.core
def test_the_layout_is_that_of_spark_ml(spark, models, tmp_path):
    """``metadata`` holds one line of JSON as Spark's, and ``data`` Parquet that anything can read."""
    model = models["MinMaxScaler"]
    model.save(str(tmp_path / "m"))
    found = metadata_of(tmp_path / "m")

    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["data", "metadata"]
    assert {k: found[k] for k in ("class", "uid", "formatVersion", "sparkVersion")} == {
        "class": "sparkscale.MinMaxScalerModel",
        "uid": model.uid,
        "formatVersion": 1,
        "sparkVersion": spark.version,
    }
    assert found["paramMap"] == {"inputCols": ["x", "a", "v"], "outputCol": "f", "min": -1.0, "max": 3.0, "clip": True}
    assert isinstance(found["timestamp"], int)
    row = spark.read.parquet(str(tmp_path / "m" / "data")).first()
    assert row["max"] == model.statistics.max.tolist()


@each
def test_nothing_is_pickled(models, tmp_path, name):
    """Only text and Parquet are written, whoever looks into them."""
    models[name].save(str(tmp_path / "m"))
    models[name].inverse().save(str(tmp_path / "i"))
    ESTIMATORS[name].save(str(tmp_path / "e"))
    kinds = {p.suffix for p in tmp_path.rglob("part-*")}

    assert kinds == {".txt", ".parquet"}
    assert not any(b"\x80\x04\x95" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


# Overwriting


def test_a_folder_with_something_else_in_it_is_refused(models, tmp_path):
    """A stage is not mixed into what was there, be it only one file."""
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(PersistenceError, match="already exists, with something in it"):
        models["MaxAbsScaler"].save(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.core
@pytest.mark.parametrize("what", ["estimator", "model", "inverse"])
def test_an_existing_path_is_refused(models, tmp_path, what):
    """save never destroys: what was there stays, and the message says how to replace it."""
    model = models["MaxAbsScaler"]
    stage = {"estimator": ESTIMATORS["MaxAbsScaler"], "model": model, "inverse": model.inverse()}[what]
    stage.save(str(tmp_path / "m"))
    with pytest.raises(PersistenceError, match=r"already exists, with something in it.*write\(\)\.overwrite\(\)"):
        models["MinMaxScaler"].save(str(tmp_path / "m"))

    assert type(stage).load(str(tmp_path / "m")).uid == stage.uid


def test_a_path_with_damaged_metadata_is_refused(models, tmp_path):
    """A stage that cannot be read is still somebody's data."""
    model = models["MaxAbsScaler"]
    model.save(str(tmp_path / "m"))
    rewrite(tmp_path / "m", lambda text: text[:20])
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(PersistenceError):
        model.save(str(tmp_path / "m"))

    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.core
def test_overwrite_replaces(spark, models, tmp_path):
    """After an overwrite the new stage is there, of whatever class."""
    path = str(tmp_path / "m")
    models["MinMaxScaler"].save(path)
    models["StandardScaler"].write().overwrite().save(path)
    assert same(StandardScalerModel.load(path), models["StandardScaler"])
    ESTIMATORS["MaxAbsScaler"].write().overwrite().save(path)

    assert MaxAbsScaler.load(path).uid == ESTIMATORS["MaxAbsScaler"].uid


def test_overwrite_of_nothing_saves(models, tmp_path):
    """A path that does not exist yet may be overwritten."""
    models["MaxAbsScaler"].write().overwrite().save(str(tmp_path / "m"))

    assert same(MaxAbsScalerModel.load(str(tmp_path / "m")), models["MaxAbsScaler"])


def test_repeated_overwrites_do_not_pile_up(tmp_path, numbered):
    """However often a path is overwritten, it holds the last model and at most two data folders."""
    path = tmp_path / "m"
    for n in range(1, 5):
        numbered[n].write().overwrite().save(str(path))
        assert MaxAbsScalerModel.load(str(path)).maxAbs[0] == n

    assert {p.name for p in path.iterdir()} == {"metadata", "metadata.next", "data", "data.1"}


def test_a_model_may_overwrite_where_it_was_loaded_from(spark, tmp_path):
    """load, update, overwrite: the usual round of an incremental fit."""
    path = str(tmp_path / "m")
    MaxAbsScaler(inputCol="x").fit(scalars(spark, 1.0)).save(path)
    for n in (2.0, 3.0, 4.0):
        MaxAbsScalerModel.load(path).update(scalars(spark, n)).write().overwrite().save(path)

    assert MaxAbsScalerModel.load(path).maxAbs[0] == 4.0
    assert MaxAbsScalerModel.load(path).count == 4


def test_sparks_own_model_is_overwritten(data, models, tmp_path):
    """A folder that holds a model of Spark's becomes one of ours."""
    theirs = pyspark.ml.feature.StandardScaler(inputCol="v", outputCol="o").fit(data)
    theirs.save(str(tmp_path / "m"))
    models["StandardScaler"].write().overwrite().save(str(tmp_path / "m"))

    assert same(StandardScalerModel.load(str(tmp_path / "m")), models["StandardScaler"])


STEPS = {"model": 3, "estimator": 2}
MOMENTS = ("before the step", "when the step has removed the old folder", "when the step has written half")


@pytest.fixture(scope="module")
def numbered(spark):
    """Models of one feature, told apart by its largest value."""
    return [MaxAbsScaler(inputCol="x").fit(scalars(spark, float(n))) for n in range(5)]


def interrupt(monkeypatch, spark, step, moment):
    """Make the n-th Spark write fail."""
    writer = type(spark.range(1).write)
    seen = []
    for name in ("text", "parquet"):
        original = getattr(writer, name)

        def write(self, path, *args, _original=original, **kwargs):
            seen.append(path)
            if len(seen) != step:
                return _original(self, path, *args, **kwargs)
            if moment == "when the step has removed the old folder" and Path(path).exists():
                remove(Path(path))
            if moment == "when the step has written half":
                _original(self, path, *args, **kwargs)
                forget_checksums(path)
                (Path(path) / "_SUCCESS").unlink()
                for part in files_of(Path(path).parent, Path(path).name):
                    part.write_bytes(part.read_bytes()[:-9])
            raise OSError("the power went")

        monkeypatch.setattr(writer, name, write)
    return seen


@pytest.mark.one_world
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("earlier", [1, 2], ids=["first overwrite", "second overwrite"])
@pytest.mark.parametrize("step", range(1, STEPS["model"] + 1))
def test_an_interrupted_overwrite_leaves_a_model(spark, monkeypatch, tmp_path, numbered, step, earlier, moment):
    """Wherever an overwrite ends, the old or the new model can be read, and the next overwrite succeeds."""
    path = str(tmp_path / "m")
    for model in numbered[1 : earlier + 1]:
        model.write().overwrite().save(path)
    with monkeypatch.context() as patch:
        seen = interrupt(patch, spark, step, moment)
        with pytest.raises(OSError, match="the power went"):
            numbered[3].write().overwrite().save(path)
    assert len(seen) == step

    assert MaxAbsScalerModel.load(path).maxAbs[0] in (earlier, 3.0)
    numbered[4].write().overwrite().save(path)
    assert MaxAbsScalerModel.load(path).maxAbs[0] == 4.0
    assert {p.name for p in (tmp_path / "m").iterdir()} <= {"metadata", "metadata.next", "data", "data.1"}


@pytest.mark.one_world
@pytest.mark.parametrize("first", range(1, STEPS["model"] + 1))
@pytest.mark.parametrize("second", range(1, STEPS["model"] + 1))
def test_twice_interrupted_overwrites_leave_a_model(spark, monkeypatch, tmp_path, numbered, first, second):
    """An overwrite that is interrupted after another one was leaves a model too, whichever steps they ended in."""
    path = str(tmp_path / "m")
    numbered[1].save(path)
    for model, step in ((numbered[2], first), (numbered[3], second)):
        with monkeypatch.context() as patch:
            interrupt(patch, spark, step, "when the step has removed the old folder")
            with pytest.raises(OSError, match="the power went"):
                model.write().overwrite().save(path)

    assert MaxAbsScalerModel.load(path).maxAbs[0] in (1.0, 2.0, 3.0)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", range(1, STEPS["estimator"] + 1))
def test_an_interrupted_overwrite_leaves_an_estimator(spark, monkeypatch, tmp_path, step, moment):
    """Stages without data are as safe."""
    path = str(tmp_path / "e")
    MinMaxScaler(inputCol="x", max=2.0).save(path)
    with monkeypatch.context() as patch:
        interrupt(patch, spark, step, moment)
        with pytest.raises(OSError, match="the power went"):
            MinMaxScaler(inputCol="x", max=3.0).write().overwrite().save(path)

    assert MinMaxScaler.load(path).getMax() in (2.0, 3.0)


@pytest.mark.core
def test_metadata_next_stands_in_for_metadata(tmp_path, numbered):
    """When the last step of an overwrite has only removed the old metadata, the new model is read."""
    path = tmp_path / "m"
    for model in numbered[1:3]:
        model.write().overwrite().save(str(path))
    remove(path / "metadata")

    assert MaxAbsScalerModel.load(str(path)).maxAbs[0] == 2.0


@pytest.mark.parametrize("step", [1, 2])
def test_an_interrupted_save_leaves_nothing_that_loads_wrongly(spark, monkeypatch, tmp_path, numbered, step):
    """A first save that ends early is no stage; overwriting it makes one."""
    path = str(tmp_path / "m")
    model = numbered[1]
    with monkeypatch.context() as patch:
        interrupt(patch, spark, step, "before the step")
        with pytest.raises(OSError, match="the power went"):
            model.save(path)
    with pytest.raises(PersistenceError, match="holds no saved stage"):
        MaxAbsScalerModel.load(path)
    model.write().overwrite().save(path)

    assert same(MaxAbsScalerModel.load(path), model)


# What cannot be read


@pytest.fixture
def saved(models, tmp_path):
    """A saved MinMaxScalerModel, to be spoilt."""
    models["MinMaxScaler"].save(str(tmp_path / "m"))
    return tmp_path / "m"


@pytest.mark.core
def test_a_path_that_does_not_exist_is_named(spark, tmp_path):
    """The message has the path."""
    for cls in (MinMaxScaler, MinMaxScalerModel, InverseModel):
        with pytest.raises(PersistenceError, match="nowhere' holds no saved stage"):
            cls.load(str(tmp_path / "nowhere"))


@pytest.mark.core
@pytest.mark.parametrize("cls", [MinMaxScaler, StandardScalerModel, InverseModel], ids=lambda c: c.__name__)
def test_another_class_is_refused(saved, cls):
    """The message has the class that is there and the class that was asked for."""
    with pytest.raises(
        PersistenceError, match=rf"m' holds a sparkscale\.MinMaxScalerModel, not a sparkscale\.{cls.__name__}\.$"
    ):
        cls.load(str(saved))


def test_sparks_own_stages_are_refused(data, tmp_path):
    """Spark's class of the same name is another class."""
    theirs = pyspark.ml.feature.StandardScaler(inputCol="v", outputCol="o")
    theirs.save(str(tmp_path / "e"))
    theirs.fit(data).save(str(tmp_path / "m"))

    for cls, path in ((StandardScaler, "e"), (StandardScalerModel, "m")):
        with pytest.raises(
            PersistenceError, match=rf"org\.apache\.spark\.ml\.feature\.{cls.__name__}, not a sparkscale"
        ):
            cls.load(str(tmp_path / path))


@pytest.mark.core
@pytest.mark.parametrize("version", [2, 99, None, "1"])
def test_a_format_of_another_version_is_refused(saved, version):
    """A file of a newer sparkscale is not guessed at."""

    def change(text):
        return json.dumps({**json.loads(text), "formatVersion": version})

    rewrite(saved, change)
    with pytest.raises(PersistenceError, match=f"format version {version}.*reads up to 1.*Upgrade sparkscale"):
        MinMaxScalerModel.load(str(saved))


@pytest.mark.core
@pytest.mark.parametrize("keep_checksums", [True, False], ids=["checksums", "no checksums"])
@pytest.mark.parametrize("length", [0, 20, -10])
def test_truncated_parquet_is_refused(saved, length, keep_checksums):
    """A model whose data was cut is not loaded with what is left."""
    (part,) = files_of(saved, "data")
    if not keep_checksums:
        forget_checksums(part.parent)
    part.write_bytes(part.read_bytes()[:length])
    with pytest.raises(PersistenceError, match="m/data': the saved statistics are missing or cannot be read"):
        MinMaxScalerModel.load(str(saved))


@pytest.mark.core
@pytest.mark.parametrize("what", ["folder", "file"])
def test_missing_data_is_refused(saved, what):
    """Without its statistics there is no model."""
    (part,) = files_of(saved, "data")
    part.unlink() if what == "file" else remove(saved / "data")
    with pytest.raises(PersistenceError, match="m/data': the saved statistics are missing or cannot be read"):
        MinMaxScalerModel.load(str(saved))


def test_data_of_another_model_is_refused(spark, saved, models, tmp_path):
    """Statistics of another number of features, or of another scaler, do not belong to this metadata."""
    models["StandardScaler"].save(str(tmp_path / "other"))
    remove(saved / "data")
    (tmp_path / "other" / "data").rename(saved / "data")
    with pytest.raises(PersistenceError, match="m"):
        MinMaxScalerModel.load(str(saved))


def test_data_with_a_part_missing_is_refused(spark, tmp_path):
    """A wide model is saved in several rows: with one of them lost the number of features is wrong."""
    df = spark.range(2).selectExpr("transform(sequence(1, 5000), i -> double(id * i)) AS a")
    model = MinMaxScaler(inputCol="a").fit(df)
    model.save(str(tmp_path / "m"))
    left = spark.read.parquet(str(tmp_path / "m" / "data")).filter("start = 0")
    left.write.parquet(str(tmp_path / "left"))
    remove(tmp_path / "m" / "data")
    (tmp_path / "left").rename(tmp_path / "m" / "data")

    with pytest.raises(PersistenceError, match="are of 4096 features, not 5000"):
        MinMaxScalerModel.load(str(tmp_path / "m"))


@pytest.mark.one_world
@pytest.mark.core
@pytest.mark.parametrize("text", ["", "{", '{"class": "sparkscale.MinMax', "[]", "null", "\x00\x01"], ids=repr)
@pytest.mark.parametrize("stage", ["model", "estimator"])
def test_metadata_that_is_not_json_is_refused(saved, tmp_path, stage, text):
    """Truncated or foreign text is no stage."""
    if stage == "estimator":
        saved = tmp_path / "e"
        MinMaxScaler().save(str(saved))
    rewrite(saved, lambda _: text)
    with pytest.raises(PersistenceError, match="holds no saved stage: there is no readable metadata"):
        (MinMaxScalerModel if stage == "model" else MinMaxScaler).load(str(saved))


def test_missing_metadata_is_refused(saved):
    """A folder of data alone is no stage."""
    remove(saved / "metadata")
    with pytest.raises(PersistenceError, match="holds no saved stage"):
        MinMaxScalerModel.load(str(saved))


@pytest.mark.parametrize("part", ["uid", "paramMap", "defaultParamMap", "columns", "data", "numFeatures"])
def test_metadata_without_a_part_is_refused(saved, part):
    """Each part is needed."""
    rewrite(saved, lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != part}))
    with pytest.raises(PersistenceError, match="m"):
        MinMaxScalerModel.load(str(saved))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("columns", [{"title": "x"}]),
        ("columns", 3),
        ("paramMap", {"unknown": 1}),
        ("paramMap", {"min": "high"}),
        ("paramMap", [1]),
    ],
    ids=str,
)
def test_metadata_of_another_form_is_refused(saved, part, value):
    """What does not fit is not half used."""
    rewrite(saved, lambda text: json.dumps({**json.loads(text), part: value}))
    with pytest.raises(PersistenceError, match="m"):
        MinMaxScalerModel.load(str(saved))


def test_an_inverse_of_an_unknown_class_is_refused(models, tmp_path):
    """The saved name of the model inside is checked as that of the stage itself; nothing foreign is imported."""
    models["MinMaxScaler"].inverse().save(str(tmp_path / "i"))

    def change(text):
        found = json.loads(text)
        return json.dumps({**found, "forward": {**found["forward"], "class": "os.getcwd"}})

    rewrite(tmp_path / "i", change)
    with pytest.raises(PersistenceError):
        InverseModel.load(str(tmp_path / "i"))


def test_a_path_that_cannot_be_written_is_an_error(models, tmp_path):
    """Where a file stands in the way, save fails instead of pretending."""
    (tmp_path / "file").write_text("here")
    with pytest.raises(Exception, match="file"):
        models["MaxAbsScaler"].save(str(tmp_path / "file" / "m"))

    assert os.listdir(tmp_path) == ["file"]
