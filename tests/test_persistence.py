"""Saving and loading: everything survives, nothing is ever half there, and what cannot be read is said clearly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import reduce
from itertools import product
from pathlib import Path

import numpy as np
import pyspark.ml.feature
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder

from frames import cells_of_each, scalars
from models import learned
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
from sparkscale.spark.columns import FeatureColumn
from store import BEFORE, HALF, MOMENTS, REMOVED, Store

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


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """A folder in which each estimator and each model is saved, and an inverse. Tests that change one copy it."""
    folder = tmp_path_factory.mktemp("saved")
    for name, model in models.items():
        ESTIMATORS[name].save(str(folder / "estimators" / name))
        model.write().save(str(folder / "models" / name))
    models["MinMaxScaler"].inverse().save(str(folder / "inverse"))
    return folder


@pytest.fixture(scope="module")
def loaded(models, saved):
    """What is loaded of the models from there."""
    return {name: type(model).read().load(str(saved / "models" / name)) for name, model in models.items()}


@pytest.fixture
def spoilt(saved, tmp_path):
    """A saved MinMaxScalerModel, to be spoilt."""
    return shutil.copytree(saved / "models" / "MinMaxScaler", tmp_path / "m")


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def kept(store):
    """A store with a MinMaxScalerModel of five features, to be spoilt."""
    columns = [
        FeatureColumn("x", "scalar", size=1),
        *(FeatureColumn(n, k, size=2) for n, k in (("a", "array"), ("v", "vector"))),
    ]
    model = learned(MinMaxScalerModel(), np.arange(10.0).reshape(2, 5), *columns)
    save(model, "m", store)
    return store


def numbered(n):
    """Return a model of one feature, told apart by its largest value."""
    return learned(MaxAbsScalerModel().setInputCol("x"), [[float(n)]], "x")


def save(stage, path, session, *, overwrite=False):
    writer = stage.write().session(session)
    (writer.overwrite() if overwrite else writer).save(path)


def load(kind, path, session):
    return kind.read().session(session).load(path)


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


def rewrite(path, text):
    """Write another text into a saved stage's metadata."""
    (part,) = files_of(path, "metadata")
    forget_checksums(part.parent)
    part.write_text(text)


def contents_of(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Round trips


@pytest.mark.core
@each
def test_an_estimator_survives(saved, name):
    """Class, uid and Params come back, set or default as they were."""
    estimator = ESTIMATORS[name]
    again = type(estimator).load(str(saved / "estimators" / name))

    assert type(again) is type(estimator)
    assert again.uid == estimator.uid
    assert params(again) == params(estimator)


@pytest.mark.core
@each
def test_a_model_survives(data, models, loaded, name):
    """uid, Params, columns, attributes, statistics to the bit, and the schema of what transform makes come back."""
    model, again = models[name], loaded[name]

    assert same(again, model)
    assert again.featureNames == model.featureNames
    assert again.summary().equals(model.summary())
    assert again.transform(data).schema == model.transform(data).schema


@pytest.mark.core
def test_loaded_models_transform_as_before(data, models, loaded):
    """What transform makes comes back: of all models, whose outputs stand beside each other."""
    before, after = (reduce(lambda df, m: m.transform(df), by.values(), data) for by in (models, loaded))

    assert {"f", "o", "p", "q", "v_scaled"} < set(after.columns)
    assert after.collect() == before.collect()


def test_a_loaded_model_goes_on_learning(data, models, loaded):
    """What was saved is the mergeable statistic: update and merge work as before."""
    model, again = models["MinMaxScaler"], loaded["MinMaxScaler"]

    assert again.update(data).affine == model.update(data).affine
    assert again.merge(model).statistics.count.tolist() == [10.0] * 5


def test_a_loaded_estimator_fits_as_before(data, models, saved):
    """Its model has the old uid and the old numbers."""
    again = StandardScaler.load(str(saved / "estimators" / "StandardScaler"))

    assert same(again.fit(data), models["StandardScaler"])


@each
def test_an_inverse_survives(models, store, name):
    """The way back comes back with the model that it undoes."""
    inverse = models[name].inverse()
    save(inverse, "i", store)
    again = load(InverseModel, "i", store)

    assert again.uid == inverse.uid
    assert same(again.inverse(), models[name])


@pytest.mark.core
def test_loaded_inverses_map_back_as_before(data, models, saved, store):
    """What the way back makes comes back: one that Spark has saved, and the others."""
    inverses = {name: model.inverse() for name, model in models.items()}
    for name, inverse in inverses.items():
        save(inverse, name, store)
    again = {name: load(InverseModel, name, store) for name in inverses}
    again["MinMaxScaler"] = InverseModel.load(str(saved / "inverse"))
    scaled = reduce(lambda df, m: m.transform(df), models.values(), data)

    assert same(again["MinMaxScaler"].inverse(), models["MinMaxScaler"])
    assert ways_back(scaled, again).collect() == ways_back(scaled, inverses).collect()


def ways_back(scaled, inverses):
    """Return what each inverse makes, beside what the others do."""
    for name, inverse in inverses.items():
        scaled = inverse.transform(scaled).withColumnsRenamed({c: f"{c} by {name}" for c in ("x", "a", "v")})
    return scaled


@pytest.fixture(scope="module")
def wide(spark, tmp_path_factory):
    """A model of 10,000 features, the last of which had no value, and what is loaded of it."""
    rows = np.outer(np.arange(3.0), np.arange(1.0, 10_001.0)) / 7
    rows[:, -1] = np.nan
    path = str(tmp_path_factory.mktemp("wide") / "m")
    columns = [FeatureColumn("a", "array", size=10_000)]
    model = learned(MinMaxScalerModel().setInputCol("a"), rows, *columns)
    model.save(path)
    return model, MinMaxScalerModel.load(path)


def test_values_without_a_json_form_survive(wide):
    """A feature without any value has infinite extrema and no map; both come back."""
    model, again = wide

    assert (again.statistics.min[-1], again.statistics.max[-1]) == (np.inf, -np.inf)
    assert np.isnan(again.affine.scale[-1])
    assert again.affine == model.affine


def test_a_wide_model_survives(wide):
    """10,000 features come back in their order."""
    model, again = wide

    assert same(again, model)
    assert model.numFeatures == 10_000
    assert len(set(model.affine.scale)) > 9_000


@pytest.mark.core
def test_a_pipeline_survives(data, tmp_path):
    """Our stages are saved inside of Spark's Pipeline and PipelineModel, beside Spark's own: inverses, too."""
    path = str(tmp_path / "p")
    pipeline = Pipeline(
        stages=[
            MinMaxScaler(inputCols=["x"], outputCol="f"),
            pyspark.ml.feature.VectorAssembler(inputCols=["f", "v"], outputCol="g"),
            StandardScaler(inputCol="g", outputCol="h"),
        ]
    )
    model = pipeline.fit(data)
    there_and_back = PipelineModel(stages=[*model.stages, model.stages[2].inverse()])
    pipeline.write().overwrite().save(path)
    refitted = Pipeline.load(path).fit(data)
    there_and_back.write().overwrite().save(path)
    again = PipelineModel.load(path)

    assert [s.uid for s in again.stages] == [s.uid for s in there_and_back.stages]
    assert [s.uid for s in refitted.stages] == [s.uid for s in model.stages]
    assert same(again.stages[2], model.stages[2])
    restored = PipelineModel(stages=[*refitted.stages, refitted.stages[2].inverse()])
    models = {"saved": there_and_back, "loaded": again, "loaded, and its inverse": restored}
    expected, *others = cells_of_each({name: m.transform(data) for name, m in models.items()}).values()
    assert len(expected) == 5
    assert others == [expected, expected]


def test_a_cross_validated_model_survives(data, models, tmp_path):
    """CrossValidatorModel keeps the best pipeline, ours included."""
    scaler = ESTIMATORS["MinMaxScaler"]
    search = CrossValidator(
        estimator=Pipeline(stages=[scaler]),
        estimatorParamMaps=ParamGridBuilder().addGrid(scaler.max, [1.0, 3.0]).build(),
        evaluator=RegressionEvaluator(),
    )
    best = search._copyValues(CrossValidatorModel(PipelineModel(stages=[models["MinMaxScaler"]]), [0.5, 0.25]))
    best.write().overwrite().save(str(tmp_path / "cv"))
    again = CrossValidatorModel.load(str(tmp_path / "cv"))
    before, after = cells_of_each({"saved": best.transform(data), "loaded": again.transform(data)}).values()

    assert same(again.bestModel.stages[0], best.bestModel.stages[0])
    assert again.avgMetrics == pytest.approx(best.avgMetrics)
    assert after == before


@pytest.mark.one_world  # the files are the same
def test_a_fresh_process_computes_the_same_numbers(models, saved):
    """Nothing of a model is left behind in the process that fitted it."""
    script = (
        "import sys; from pyspark.sql import SparkSession; from sparkscale import StandardScalerModel as M\n"
        "SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false').getOrCreate()\n"
        "m = M.load(sys.argv[1]); print('found', *[v.hex() for v in m.affine.apply([0.1, 0.7]).tolist()], m.uid)"
    )
    path = str(saved / "models" / "StandardScaler")
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True, timeout=120)

    model = models["StandardScaler"]
    expected = " ".join(["found", *(v.hex() for v in model.affine.apply([0.1, 0.7]).tolist()), model.uid])
    assert done.stdout.strip().splitlines()[-1] == expected


@pytest.fixture(scope="module")
def overwritten(spark, tmp_path_factory):
    """A path, where Spark has saved a model over another one, both by way of a URI. Tests that change it copy it."""
    path = tmp_path_factory.mktemp("overwritten") / "m"
    for n in (1, 2):
        numbered(n).write().overwrite().save(path.as_uri())
    return path


@pytest.mark.core
def test_a_path_may_be_a_uri(overwritten):
    """file:// works as it does everywhere in Spark, and overwrites too."""
    assert MaxAbsScalerModel.load(overwritten.as_uri()).maxAbs[0] == 2.0
    assert (overwritten / "metadata").is_dir()


def test_a_path_may_have_an_unusual_name(models, tmp_path):
    """Spaces, commas and letters beyond ASCII are part of a path, and missing parents are made."""
    path = str(tmp_path / "two words" / "unicode é" / "a=b,c" / "100%" / "nested" / "deeper")
    models["MaxAbsScaler"].save(path)

    assert same(MaxAbsScalerModel.load(path), models["MaxAbsScaler"])
    assert os.listdir(tmp_path) == ["two words"]


# Layout


@pytest.mark.core
def test_the_layout_is_that_of_spark_ml(spark, models, saved):
    """``metadata`` holds one line of JSON as Spark's, and ``data`` Parquet that anything can read."""
    model, path = models["MinMaxScaler"], saved / "models" / "MinMaxScaler"
    metadata = metadata_of(path)

    assert sorted(p.name for p in path.iterdir()) == ["data", "metadata"]
    assert {k: metadata[k] for k in ("class", "uid", "formatVersion", "sparkVersion")} == {
        "class": "sparkscale.MinMaxScalerModel",
        "uid": model.uid,
        "formatVersion": 1,
        "sparkVersion": spark.version,
    }
    expected = {"inputCols": ["x", "a", "v"], "outputCol": "f", "min": -1.0, "max": 3.0, "clip": True}
    assert metadata["paramMap"] == expected
    assert isinstance(metadata["timestamp"], int)
    row = spark.read.parquet(str(path / "data")).first()
    assert row["max"] == model.statistics.max.tolist()


def test_nothing_is_pickled(saved):
    """Only text and Parquet are written, whoever looks into them."""
    assert {p.suffix for p in saved.rglob("part-*")} == {".txt", ".parquet"}
    assert not any(b"\x80\x04\x95" in content for content in contents_of(saved).values())


# Overwriting


def test_a_folder_with_something_else_in_it_is_refused(spark, tmp_path):
    """A stage is not mixed into what was there, be it only one file."""
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(PersistenceError, match="already exists, with something in it"):
        numbered(1).save(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "what",
    ["estimators/MaxAbsScaler", pytest.param("models/MaxAbsScaler", marks=pytest.mark.core), "inverse"],
    ids=["estimator", "model", "inverse"],
)
def test_an_existing_path_is_refused(saved, tmp_path, what):
    """save never destroys: what was there stays, and the message says how to replace it."""
    path = shutil.copytree(saved / what, tmp_path / "m")
    before = contents_of(path)
    with pytest.raises(PersistenceError, match=r"already exists, with something in it.*write\(\)\.overwrite\(\)"):
        numbered(1).save(str(path))

    assert contents_of(path) == before


def test_a_path_with_damaged_metadata_is_refused(spoilt):
    """A stage that cannot be read is still somebody's data."""
    rewrite(spoilt, json.dumps(metadata_of(spoilt))[:20])
    before = contents_of(spoilt)
    with pytest.raises(PersistenceError, match="already exists, with something in it"):
        numbered(1).save(str(spoilt))

    assert contents_of(spoilt) == before


@pytest.mark.core
def test_overwrite_replaces(models, spoilt):
    """After an overwrite the new stage is there, of whatever class."""
    path = str(spoilt)
    models["StandardScaler"].write().overwrite().save(path)
    assert same(StandardScalerModel.load(path), models["StandardScaler"])
    ESTIMATORS["MaxAbsScaler"].write().overwrite().save(path)

    assert MaxAbsScaler.load(path).uid == ESTIMATORS["MaxAbsScaler"].uid


def test_overwrite_of_nothing_saves(store):
    """A path that does not exist yet may be overwritten."""
    model = numbered(1)
    save(model, "m", store, overwrite=True)

    assert same(load(MaxAbsScalerModel, "m", store), model)


def test_repeated_overwrites_do_not_pile_up(store, overwritten):
    """However often a path is overwritten, it holds the last model and at most two data folders."""
    for n in range(1, 5):
        save(numbered(n), "m", store, overwrite=True)
        assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == n

    folders = {"metadata", "metadata.next", "data", "data.1"}
    assert set(store.folders) == {f"m/{name}" for name in folders}
    assert {p.name for p in overwritten.iterdir()} == folders


def test_a_model_may_overwrite_where_it_was_loaded_from(spark, overwritten, tmp_path):
    """load, update, overwrite: the usual round of an incremental fit."""
    path = str(shutil.copytree(overwritten, tmp_path / "m"))
    MaxAbsScalerModel.load(path).update(scalars(spark, 3.0)).write().overwrite().save(path)
    again = MaxAbsScalerModel.load(path)

    assert (again.maxAbs[0], again.count) == (3.0, 2)


def test_a_model_may_overwrite_where_it_was_loaded_from_again_and_again(store):
    """Whichever folder its data are in."""
    save(numbered(1), "m", store)
    for n in (2, 3, 4):
        save(load(MaxAbsScalerModel, "m", store).merge(numbered(n)), "m", store, overwrite=True)
    again = load(MaxAbsScalerModel, "m", store)

    assert (again.maxAbs[0], again.count) == (4.0, 4)


@pytest.fixture(scope="module")
def theirs(data, tmp_path_factory):
    """A folder with Spark's own StandardScaler and its model."""
    folder = tmp_path_factory.mktemp("theirs")
    scaler = pyspark.ml.feature.StandardScaler(inputCol="v", outputCol="o")
    scaler.save(str(folder / "StandardScaler"))
    scaler.fit(data).save(str(folder / "StandardScalerModel"))
    return folder


def test_sparks_own_model_is_overwritten(theirs, tmp_path):
    """A folder that holds a model of Spark's becomes one of ours."""
    path, model = str(shutil.copytree(theirs / "StandardScalerModel", tmp_path / "m")), numbered(1)
    model.write().overwrite().save(path)

    assert same(MaxAbsScalerModel.load(path), model)


STEPS = {"model": 3, "estimator": 2}


def overwrite_until(step, moment, stage, path, store):
    with store.interrupted(step, moment), pytest.raises(OSError, match="the power went"):
        save(stage, path, store, overwrite=True)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("earlier", [1, 2], ids=["first overwrite", "second overwrite"])
@pytest.mark.parametrize("step", range(1, STEPS["model"] + 1))
def test_an_interrupted_overwrite_leaves_a_model(store, step, earlier, moment):
    """Wherever an overwrite ends, the old or the new model can be read, and the next overwrite succeeds."""
    for n in range(1, earlier + 1):
        save(numbered(n), "m", store, overwrite=True)
    overwrite_until(step, moment, numbered(3), "m", store)

    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] in (earlier, 3.0)
    save(numbered(4), "m", store, overwrite=True)
    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 4.0
    assert set(store.folders) <= {"m/metadata", "m/metadata.next", "m/data", "m/data.1"}


@pytest.mark.parametrize("first", range(1, STEPS["model"] + 1))
@pytest.mark.parametrize("second", range(1, STEPS["model"] + 1))
def test_twice_interrupted_overwrites_leave_a_model(first, second):
    """An overwrite that is interrupted after another one was leaves a model too, whichever steps they ended in."""
    for moments in product(MOMENTS, MOMENTS):
        store = Store()
        save(numbered(1), "m", store)
        for n, step, moment in zip((2, 3), (first, second), moments, strict=True):
            overwrite_until(step, moment, numbered(n), "m", store)

        assert load(MaxAbsScalerModel, "m", store).maxAbs[0] in (1.0, 2.0, 3.0), moments


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", range(1, STEPS["estimator"] + 1))
def test_an_interrupted_overwrite_leaves_an_estimator(store, step, moment):
    """Stages without data are as safe."""
    save(MinMaxScaler(inputCol="x", max=2.0), "e", store)
    overwrite_until(step, moment, MinMaxScaler(inputCol="x", max=3.0), "e", store)

    assert load(MinMaxScaler, "e", store).getMax() in (2.0, 3.0)


def interrupt(monkeypatch, spark, step, moment):
    """Make the n-th Spark write fail."""
    writer = type(spark.range(1).write)
    written = []
    for name in ("text", "parquet"):
        original = getattr(writer, name)

        def write(self, path, *args, _original=original, **kwargs):
            written.append(path)
            if len(written) != step:
                return _original(self, path, *args, **kwargs)
            if moment == REMOVED and Path(path).exists():
                shutil.rmtree(path)
            if moment == HALF:
                _original(self, path, *args, **kwargs)
                forget_checksums(path)
                (Path(path) / "_SUCCESS").unlink()
                for part in files_of(Path(path).parent, Path(path).name):
                    part.write_bytes(part.read_bytes()[:-9])
            raise OSError("the power went")

        monkeypatch.setattr(writer, name, write)


@pytest.mark.one_world
def test_interrupted_overwrites_by_spark_leave_what_those_of_the_store_do(
    spark, monkeypatch, tmp_path, overwritten, store
):
    """At every moment the same model can be read, of the old and the new one, and the next overwrite succeeds."""
    path = str(shutil.copytree(overwritten, tmp_path / "m"))
    for n in (1, 2):
        save(numbered(n), path, store, overwrite=True)
    for n, step, moment, left in ((3, 3, BEFORE, 2.0), (4, 3, REMOVED, 4.0), (5, 4, HALF, 5.0)):
        with monkeypatch.context() as patch:
            interrupt(patch, spark, step, moment)
            with pytest.raises(OSError, match="the power went"):
                numbered(n).write().overwrite().save(path)
        overwrite_until(step, moment, numbered(n), path, store)

        assert [load(MaxAbsScalerModel, path, s).maxAbs[0] for s in (spark, store)] == [left, left], moment
    for session in (spark, store):
        save(numbered(6), path, session, overwrite=True)
        assert load(MaxAbsScalerModel, path, session).maxAbs[0] == 6.0


@pytest.mark.core
def test_metadata_next_stands_in_for_metadata(overwritten, tmp_path):
    """When the last step of an overwrite has only removed the old metadata, the new model is read."""
    path = shutil.copytree(overwritten, tmp_path / "m")
    shutil.rmtree(path / "metadata")

    assert MaxAbsScalerModel.load(str(path)).maxAbs[0] == 2.0


@pytest.mark.parametrize("step", [1, 2])
def test_an_interrupted_save_leaves_nothing_that_loads_wrongly(store, step):
    """A first save that ends early is no stage; overwriting it makes one."""
    model = numbered(1)
    with store.interrupted(step, BEFORE), pytest.raises(OSError, match="the power went"):
        save(model, "m", store)
    with pytest.raises(PersistenceError, match="holds no saved stage"):
        load(MaxAbsScalerModel, "m", store)
    save(model, "m", store, overwrite=True)

    assert same(load(MaxAbsScalerModel, "m", store), model)


# What cannot be read


@pytest.mark.core
def test_a_path_that_does_not_exist_is_named(spark, tmp_path):
    """The message has the path."""
    for cls in (MinMaxScaler, MinMaxScalerModel, InverseModel):
        with pytest.raises(PersistenceError, match="nowhere' holds no saved stage"):
            cls.load(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("cls", [MinMaxScaler, StandardScalerModel, InverseModel], ids=lambda c: c.__name__)
def test_another_class_is_refused(kept, cls):
    """The message has the class that is there and the class that was asked for."""
    with pytest.raises(
        PersistenceError, match=rf"m' holds a sparkscale\.MinMaxScalerModel, not a sparkscale\.{cls.__name__}\.$"
    ):
        load(cls, "m", kept)


@pytest.mark.core
@pytest.mark.parametrize("cls", [StandardScaler, StandardScalerModel], ids=lambda c: c.__name__)
def test_sparks_own_stages_are_refused(theirs, cls):
    """Spark's class of the same name is another class."""
    with pytest.raises(PersistenceError, match=rf"org\.apache\.spark\.ml\.feature\.{cls.__name__}, not a sparkscale"):
        cls.load(str(theirs / cls.__name__))


def change(store, path, **parts):
    """Give other values to parts of a saved stage's metadata."""
    store.folders[f"{path}/metadata"] = json.dumps({**json.loads(store.folders[f"{path}/metadata"]), **parts})


@pytest.mark.parametrize("version", [2, 99, None, "1"])
def test_a_format_of_another_version_is_refused(kept, version):
    """A file of a newer sparkscale is not guessed at."""
    change(kept, "m", formatVersion=version)
    with pytest.raises(PersistenceError, match=f"format version {version}.*reads up to 1.*Upgrade sparkscale"):
        load(MinMaxScalerModel, "m", kept)


@pytest.mark.parametrize("keep_checksums", [True, False], ids=["checksums", "no checksums"])
@pytest.mark.parametrize("length", [0, 20, pytest.param(-10, marks=pytest.mark.core)])
def test_truncated_parquet_is_refused(spoilt, length, keep_checksums):
    """A model whose data was cut is not loaded with what is left."""
    (part,) = files_of(spoilt, "data")
    if not keep_checksums:
        forget_checksums(part.parent)
    part.write_bytes(part.read_bytes()[:length])
    with pytest.raises(PersistenceError, match="m/data': the saved statistics are missing or cannot be read"):
        MinMaxScalerModel.load(str(spoilt))


@pytest.mark.core
@pytest.mark.parametrize("what", ["folder", "file"])
def test_missing_data_is_refused(spoilt, what):
    """Without its statistics there is no model."""
    (part,) = files_of(spoilt, "data")
    part.unlink() if what == "file" else shutil.rmtree(spoilt / "data")
    with pytest.raises(PersistenceError, match="m/data': the saved statistics are missing or cannot be read"):
        MinMaxScalerModel.load(str(spoilt))


@pytest.mark.parametrize(
    ("features", "message"),
    [(2, "'m/data': the saved statistics are of 2 features, not 5"), (5, "'m': the metadata lacks")],
)
def test_data_of_another_model_is_refused(kept, features, message):
    """Statistics of another number of features, or of another scaler, do not belong to this metadata."""
    columns = [FeatureColumn("a", "array", size=features)]
    other = learned(StandardScalerModel().setInputCol("a"), np.ones((2, features)), *columns)
    save(other, "other", kept)
    kept.folders["m/data"] = kept.folders["other/data"]
    with pytest.raises(PersistenceError, match=message):
        load(MinMaxScalerModel, "m", kept)


def test_data_with_a_part_missing_is_refused(store):
    """A wide model is saved in several rows: with one of them lost the number of features is wrong."""
    columns = [FeatureColumn("a", "array", size=5000)]
    save(learned(MinMaxScalerModel().setInputCol("a"), np.ones((2, 5000)), *columns), "m", store)
    rows = store.folders["m/data"]
    store.folders["m/data"] = rows.slice(0, 1)

    assert rows["start"].to_pylist() == [0, 4096]
    with pytest.raises(PersistenceError, match="are of 4096 features, not 5000"):
        load(MinMaxScalerModel, "m", store)


@pytest.mark.parametrize("text", ["", "{", '{"class": "sparkscale.MinMax', "[]", "null", "\x00\x01"], ids=repr)
@pytest.mark.parametrize("kind", [MinMaxScalerModel, MinMaxScaler], ids=["model", "estimator"])
def test_metadata_that_is_not_json_is_refused(kept, kind, text):
    """Truncated or foreign text is no stage."""
    if kind is MinMaxScaler:
        save(MinMaxScaler(), "e", kept)
    path = "e" if kind is MinMaxScaler else "m"
    kept.folders[f"{path}/metadata"] = text
    with pytest.raises(PersistenceError, match="holds no saved stage: there is no readable metadata"):
        load(kind, path, kept)


@pytest.mark.one_world
@pytest.mark.parametrize("text", ["", "\x00\x01"], ids=repr)
def test_files_of_metadata_that_are_not_json_are_refused(spoilt, text):
    """Spark reads no line from a file, or one of anything."""
    rewrite(spoilt, text)
    with pytest.raises(PersistenceError, match="holds no saved stage: there is no readable metadata"):
        MinMaxScalerModel.load(str(spoilt))


def test_missing_metadata_is_refused(spoilt):
    """A folder of data alone is no stage."""
    shutil.rmtree(spoilt / "metadata")
    with pytest.raises(PersistenceError, match="holds no saved stage"):
        MinMaxScalerModel.load(str(spoilt))


@pytest.mark.parametrize("part", ["uid", "paramMap", "defaultParamMap", "columns", "data", "numFeatures"])
def test_metadata_without_a_part_is_refused(kept, part):
    """Each part is needed."""
    metadata = json.loads(kept.folders["m/metadata"])
    del metadata[part]
    kept.folders["m/metadata"] = json.dumps(metadata)
    message = "'m/data': .* are of 5 features, not None" if part == "numFeatures" else "'m': the metadata lacks a part"
    with pytest.raises(PersistenceError, match=message):
        load(MinMaxScalerModel, "m", kept)


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
def test_metadata_of_another_form_is_refused(kept, part, value):
    """What does not fit is not half used."""
    change(kept, "m", **{part: value})
    with pytest.raises(PersistenceError, match="'m': the metadata lacks a part, or has one of another form"):
        load(MinMaxScalerModel, "m", kept)


def test_an_inverse_of_an_unknown_class_is_refused(store):
    """The saved name of the model inside is checked as that of the stage itself; nothing foreign is imported."""
    save(numbered(1).inverse(), "i", store)
    forward = json.loads(store.folders["i/metadata"])["forward"]
    change(store, "i", forward={**forward, "class": "os.getcwd"})
    with pytest.raises(PersistenceError, match="'i': the metadata lacks a part, or has one of another form"):
        load(InverseModel, "i", store)


def test_a_path_that_cannot_be_written_is_an_error(spark, tmp_path):
    """Where a file stands in the way, save fails instead of pretending."""
    (tmp_path / "file").write_text("here")
    with pytest.raises(Exception, match="file"):
        numbered(1).save(str(tmp_path / "file" / "m"))

    assert os.listdir(tmp_path) == ["file"]
