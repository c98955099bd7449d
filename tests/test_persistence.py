"""Saving and loading: everything survives, nothing is ever half there, and what cannot be read is said clearly."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import reduce
from io import BytesIO
from itertools import product
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow.parquet as pq
import pyspark.ml.feature
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder

import sparkscale
from frames import cells_of_each, scalars
from models import learned
from sparkscale import (
    BatchNormModel,
    InverseModel,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
    WhitenerModel,
)
from sparkscale.errors import PersistenceError
from sparkscale.scalers._persistence import StageReader, Writable
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Moments, MovingAverage
from store import BEFORE, HALF, MOMENTS, REMOVED, Store
from strategies import dense

FORMAT_1 = Path(__file__).parent / "cases" / "format_1"

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


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch, request):
    """What fails is not tried again, and no other save waited for, except where other writers are what a test is about."""
    if "writers" not in request.node.name:
        monkeypatch.setattr(storage, "PAUSES", ())
        monkeypatch.setattr(storage, "MAX_SAVE_SECONDS", -1.0)


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
    """Return a model of one feature, identified by its largest value."""
    return learned(MaxAbsScalerModel().setInputCol("x"), [[float(n)]], "x")


def save(stage, path, session, *, overwrite=False):
    writer = stage.write().session(session)
    (writer.overwrite() if overwrite else writer).save(path)


def load(kind, path, session):
    return kind.read().session(session).load(path)


def params(stage):
    return {p.name: (stage.isSet(p), stage.getOrDefault(p)) for p in stage.params if stage.isDefined(p)}


def same(one, other):
    """Return whether two models have the same class, uid, Params, features, statistics and map."""
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
    """Loaded models of all classes give the same outputs."""
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
    inverse = models[name].inverse().setColumns(["v"]).setInputCol("p").setOutputCol("o")
    save(inverse, "i", store)
    again = load(InverseModel, "i", store)

    assert again.uid == inverse.uid
    assert params(again) == params(inverse)
    assert again.toSQL() == inverse.toSQL()
    assert same(again.inverse(), models[name])


@pytest.mark.core
def test_loaded_inverses_map_back_as_before(data, models, saved, store):
    """What the way back makes comes back: one that Spark has saved, and the others."""
    inverses = {name: model.inverse() for name, model in models.items()}
    for name, inverse in inverses.items():
        save(inverse, name, store)
    again = {name: load(InverseModel, name, store) for name in inverses}
    again["MinMaxScaler"] = InverseModel.load(str(saved / "inverse"))
    scaled = reduce(lambda df, m: m.transform(df), models.values(), data).drop("x", "a", "v")

    assert same(again["MinMaxScaler"].inverse(), models["MinMaxScaler"])
    assert ways_back(scaled, again).collect() == ways_back(scaled, inverses).collect()


def ways_back(scaled, inverses):
    """Return the outputs of all inverses as columns of one frame."""
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
    """Our stages, inverses included, are saved in Pipeline and PipelineModel, together with Spark's own."""
    path = str(tmp_path / "p")
    pipeline = Pipeline(
        stages=[
            MinMaxScaler(inputCols=["x"], outputCol="f"),
            pyspark.ml.feature.VectorAssembler(inputCols=["f", "v"], outputCol="g"),
            StandardScaler(inputCol="g", outputCol="h"),
        ]
    )
    model = pipeline.fit(data)
    there_and_back = PipelineModel(stages=[*model.stages, model.stages[2].inverse().setOutputCol("g")])
    pipeline.write().overwrite().save(path)
    refitted = Pipeline.load(path).fit(data)
    there_and_back.write().overwrite().save(path)
    again = PipelineModel.load(path)

    assert [s.uid for s in again.stages] == [s.uid for s in there_and_back.stages]
    assert [s.uid for s in refitted.stages] == [s.uid for s in model.stages]
    assert same(again.stages[2], model.stages[2])
    restored = PipelineModel(stages=[*refitted.stages, refitted.stages[2].inverse().setOutputCol("g")])
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


@pytest.mark.classic_only  # the files are the same
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
def test_statistics_of_earlier_saves_are_removed(overwritten):
    """Folders that no metadata names are deleted, and on Connect, which deletes nothing, emptied."""
    assert visible(overwritten) == {"metadata", "metadata.next", metadata_of(overwritten)["data"]}


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

    assert {p.name for p in path.iterdir()} == {"metadata", metadata["data"]}
    assert re.fullmatch(r"data\.[0-9a-f]{20}", metadata["data"])
    assert {k: metadata[k] for k in ("class", "uid", "formatVersion", "sparkVersion")} == {
        "class": "sparkscale.MinMaxScalerModel",
        "uid": model.uid,
        "formatVersion": 2,
        "sparkVersion": spark.version,
    }
    expected = {"inputCols": ["x", "a", "v"], "outputCol": "f", "min": -1.0, "max": 3.0, "clip": True}
    assert metadata["paramMap"] == expected
    assert isinstance(metadata["timestamp"], int)
    row = spark.read.parquet(str(path / metadata["data"])).first()
    assert row["max"] == model.statistics.max.tolist()


def test_nothing_is_pickled(saved):
    """Only text and Parquet are written."""
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
    """An overwrite may replace a stage of another class."""
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
    """However often a path is overwritten, it holds the last model and its data alone."""
    for n in range(1, 5):
        save(numbered(n), "m", store, overwrite=True)
        assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == n

    data = json.loads(store.folders["m/metadata"])["data"]
    assert set(store.folders) == {f"m/{name}" for name in ("metadata", "metadata.next", data)}
    assert visible(overwritten) == {"metadata", "metadata.next", metadata_of(overwritten)["data"]}


def visible(path):
    """Return the folders that hold more than marks of Spark's: on Connect folders are emptied, not removed."""
    return {p.parent.name for p in path.rglob("part-*")}


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
    with (
        store.interrupted(step, moment),
        pytest.raises(PersistenceError, match=f"'{path}' cannot be written: the power"),
    ):
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
    data = json.loads(store.folders["m/metadata"])["data"]
    assert set(store.folders) == {"m/metadata", "m/metadata.next", f"m/{data}"}


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


@pytest.mark.classic_only
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
            with pytest.raises(PersistenceError, match="the power went"):
                numbered(n).write().overwrite().save(path)
        overwrite_until(step, moment, numbered(n), path, store)

        assert [load(MaxAbsScalerModel, path, s).maxAbs[0] for s in (spark, store)] == [left, left], moment
    for session in (spark, store):
        save(numbered(6), path, session, overwrite=True)
        assert load(MaxAbsScalerModel, path, session).maxAbs[0] == 6.0


@pytest.mark.core
def test_metadata_next_replaces_missing_metadata(overwritten, tmp_path):
    """When the last step of an overwrite has only removed the old metadata, the new model is read."""
    path = shutil.copytree(overwritten, tmp_path / "m")
    shutil.rmtree(path / "metadata")

    assert MaxAbsScalerModel.load(str(path)).maxAbs[0] == 2.0


@pytest.mark.parametrize("step", [1, 2])
def test_an_interrupted_save_leaves_nothing_that_loads_wrongly(store, step):
    """A first save that ends early is no stage; overwriting it makes one."""
    model = numbered(1)
    with store.interrupted(step, BEFORE), pytest.raises(PersistenceError, match="the power went"):
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
        with pytest.raises(PersistenceError, match="nowhere' holds no saved stage") as refused:
            cls.load(str(tmp_path / "nowhere"))
        assert refused.type is PersistenceError


@pytest.mark.parametrize("cls", [MinMaxScaler, StandardScalerModel, InverseModel], ids=lambda c: c.__name__)
def test_another_class_is_refused(kept, cls):
    """The message has the saved class and the requested class."""
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


def change(store, path, **fields):
    """Give other values to parts of a saved stage's metadata, None for no value, and a checksum that fits."""
    metadata = {**json.loads(store.folders[f"{path}/metadata"]), **fields}
    sign(store, path, {name: value for name, value in metadata.items() if fields.get(name, value) is not None})


def sign(store, path, metadata):
    """Write metadata with a checksum that fits, as somebody would who means to deceive."""
    signed = {**metadata, "checksum": storage.checksum(metadata)}
    store.folders[f"{path}/metadata"] = json.dumps(signed)


def data_of(path):
    """Return the folder of a saved model's statistics."""
    return path / metadata_of(path)["data"]


def data_in(store, path):
    """Return the key of a saved model's statistics in a store."""
    return f"{path}/{json.loads(store.folders[f'{path}/metadata'])['data']}"


@pytest.mark.parametrize("version", [4, 99, 0, -1, None, "1", True])
def test_a_format_of_another_version_is_refused(kept, version):
    """A file of a newer sparkscale is not guessed at."""
    change(kept, "m", formatVersion=version)
    with pytest.raises(PersistenceError, match=f"format version {version}.*reads up to 3.*Upgrade sparkscale"):
        load(MinMaxScalerModel, "m", kept)


@pytest.mark.parametrize("keep_checksums", [True, False], ids=["checksums", "no checksums"])
@pytest.mark.parametrize("length", [0, 20, pytest.param(-10, marks=pytest.mark.core)])
def test_truncated_parquet_is_refused(spoilt, length, keep_checksums):
    """A model whose data was cut is not loaded with what is left."""
    (part,) = files_of(data_of(spoilt), "")
    if not keep_checksums:
        forget_checksums(part.parent)
    part.write_bytes(part.read_bytes()[:length])
    with pytest.raises(PersistenceError, match=r"m/data\.\w+': the saved statistics are missing or cannot be read"):
        MinMaxScalerModel.load(str(spoilt))


@pytest.mark.core
@pytest.mark.parametrize("what", ["folder", "file"])
def test_missing_data_is_refused(spoilt, what):
    """Without its statistics there is no model."""
    folder = data_of(spoilt)
    (part,) = files_of(folder, "")
    part.unlink() if what == "file" else shutil.rmtree(folder)
    with pytest.raises(PersistenceError, match=r"m/data\.\w+': the saved statistics are missing or cannot be read"):
        MinMaxScalerModel.load(str(spoilt))


@pytest.mark.parametrize(
    ("features", "message"),
    [(2, "the saved statistics are of 2 features, not 5"), (5, "the saved statistics are not Extrema")],
)
def test_data_of_another_model_is_refused(kept, features, message):
    """Statistics of another number of features, or of another scaler, do not belong to this metadata."""
    columns = [FeatureColumn("a", "array", size=features)]
    other = learned(StandardScalerModel().setInputCol("a"), np.ones((2, features)), *columns)
    save(other, "other", kept)
    kept.folders[data_in(kept, "m")] = kept.folders[data_in(kept, "other")]
    with pytest.raises(PersistenceError, match=message):
        load(MinMaxScalerModel, "m", kept)


def test_data_of_an_earlier_save_are_refused(store):
    """Statistics of the same kind and size that were saved with other metadata are not taken for these."""
    for n in (1, 2):
        save(numbered(n), f"m{n}", store)
    store.folders[data_in(store, "m1")] = store.folders[data_in(store, "m2")]
    with pytest.raises(PersistenceError, match="do not match the metadata"):
        load(MaxAbsScalerModel, "m1", store)


def test_data_with_a_part_missing_is_refused(store):
    """A wide model is saved in several rows: with one of them lost the number of features is wrong."""
    columns = [FeatureColumn("a", "array", size=5000)]
    save(learned(MinMaxScalerModel().setInputCol("a"), np.ones((2, 5000)), *columns), "m", store)
    rows, file = pq.read_table(BytesIO(store.folders[data_in(store, "m")])), BytesIO()
    pq.write_table(rows.slice(0, 1), file)
    store.folders[data_in(store, "m")] = file.getvalue()

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


@pytest.mark.parametrize("text", ["2147483648", "1e400", "1" * 5000], ids=["int", "infinity", "digits"])
def test_numbers_that_no_param_can_have_are_refused(kept, text):
    """Invalid values are refused even with a valid checksum."""
    save(sparkscale.GroupNorm(numGroups=7), "g", kept)
    metadata = kept.folders["g/metadata"].replace('"numGroups": 7', f'"numGroups": {text}')
    if len(text) < 100:
        parsed = json.loads(metadata)
        metadata = json.dumps(parsed | {"checksum": storage.checksum(parsed)})
    kept.folders["g/metadata"] = metadata

    with pytest.raises(PersistenceError, match=r"not what sparkscale saves|no readable metadata"):
        load(sparkscale.GroupNorm, "g", kept)


@pytest.mark.classic_only
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


@pytest.mark.parametrize("part", ["uid", "paramMap", "defaultParamMap", "columns", "skips", "data", "numFeatures"])
def test_metadata_without_a_part_is_refused(kept, part):
    """A missing field is refused even with a valid checksum."""
    change(kept, "m", **{part: None})
    with pytest.raises(PersistenceError, match=f"'m': the metadata is not what sparkscale saves: {part} is None"):
        load(MinMaxScalerModel, "m", kept)


COLUMN = {"name": "a", "kind": "array", "single": False, "size": 5, "attributes": None, "nested": False}
MALFORMED = {
    "no column": [("columns", [{"title": "x"}]), ("columns", 3), ("columns", [None])],
    "a column of another type": [
        ("columns", [{**COLUMN, part: value}])
        for part, value in [
            ("name", 3),
            ("kind", "text"),
            ("single", 1),
            ("nested", None),
            ("size", 5.0),
            ("size", True),
        ]
    ],
    "sizes": [
        ("columns", [{**COLUMN, "size": 4}]),
        ("columns", [{**COLUMN, "size": 0}]),
        ("columns", [COLUMN, COLUMN]),
        ("columns", [{**COLUMN, "kind": "scalar"}]),
        ("columns", []),
        ("columns", [{**COLUMN, "attributes": ["one"]}]),
        ("columns", [{**COLUMN, "attributes": [1, 2, 3, 4, 5]}]),
    ],
    "Params": [("paramMap", {"unknown": 1}), ("paramMap", {"min": "high"}), ("paramMap", [1]), ("uid", 7)],
    "folders": [("data", name) for name in ("../x", "/x", "data/../../x", "metadata", "", "data.1/../data.2", "Data")],
    "numbers": [("numFeatures", value) for value in (True, 5.0, "5", [5])],
    "flags": [("skips", 0), ("skips", "false")],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_metadata_of_another_form_is_refused(kept, what):
    """What does not fit is not half used, nor read from elsewhere."""
    before = dict(kept.folders)
    for part, value in MALFORMED[what]:
        kept.folders = dict(before)
        change(kept, "m", **{part: value})
        with pytest.raises(PersistenceError, match="'m': the metadata is not what sparkscale saves: "):
            load(MinMaxScalerModel, "m", kept)


@pytest.mark.parametrize(
    "name", ["os.getcwd", "sparkscale.InverseModel", "sparkscale.MinMaxScaler", "sparkscale.errors", 3]
)
def test_an_inverse_of_an_unknown_class_is_refused(store, name):
    """The saved name of the model inside is checked as that of the stage itself."""
    save(numbered(1).inverse(), "i", store)
    forward = json.loads(store.folders["i/metadata"])["forward"]
    change(store, "i", forward={**forward, "class": name})
    with pytest.raises(
        PersistenceError, match=f"{name!r}, not of type str" if name == 3 else f"inside is a {name}, which"
    ):
        load(InverseModel, "i", store)


class OwnModel(MaxAbsScalerModel):
    """A user's model."""


def test_an_inverse_of_a_users_own_model_is_refused_by_name(store):
    """It would have to be imported; the model itself loads by its own class."""
    own = learned(OwnModel().setInputCol("x"), [[2.0]], "x")
    save(own, "own", store)
    save(own.inverse(), "i", store)

    assert load(OwnModel, "own", store).inverse().affine == own.inverse().affine
    with pytest.raises(PersistenceError, match=r"inside is a test_persistence\.OwnModel, which is no fitted model of"):
        load(InverseModel, "i", store)


# Damage


def batch_norm():
    """A model of a moving average, whose statistics are of channels."""
    columns = [FeatureColumn("a", "array", size=4)]
    model = BatchNormModel().setInputCol("a").setShape([2, 2])
    average = MovingAverage.of_batch(Moments.of(dense(np.arange(6.0).reshape(3, 2))), 0.25)
    model._learn(columns, average, skips=False)
    return model


STAGES = {
    "scalars": lambda: learned(StandardScalerModel().setInputCols(["x", "y"]), [[1.0, np.nan], [4.0, 0.1]], "x", "y"),
    "vector": lambda: learned(
        MinMaxScalerModel().setInputCol("v"),
        np.arange(6.0).reshape(2, 3),
        FeatureColumn("v", "vector", False, 3, ("one", "two", "three")),
    ),
    "matrix": lambda: learned(
        WhitenerModel().setInputCol("a"), [[1.0, 2.0], [3.0, 1.0], [0.5, 7.0]], FeatureColumn("a", "array", size=2)
    ),
    "channels": batch_norm,
    "inverse": lambda: numbered(3).inverse(),
    "estimator": lambda: MinMaxScaler(inputCols=["x", "y"], outputCol="f", min=-1.0),
}


def outcome(kind, store):
    """Return what a stage is when it is loaded, or that it is refused; any other exception is a fault."""
    try:
        stage = load(kind, "m", store)
    except PersistenceError:
        return "refused"
    return whole(stage)


def whole(stage):
    """Return the uid, Params, columns and statistics of a stage."""
    model = stage.forward if isinstance(stage, InverseModel) else stage
    statistic = model.statistics.arrays() if hasattr(model, "_learned") else {}
    return (
        stage.uid,
        params(stage),
        params(model),
        getattr(model, "_columns", None),
        {name: array.tobytes() for name, array in statistic.items()},
    )


OTHERS = [None, True, 0, -1, 10**30, 0.5, float("nan"), "", "../x", "data", [], {}, [None], [[]], {"a": {}}]


def edits(value):
    """Return what a value of JSON may be edited to, at any depth."""
    yield from (other for other in OTHERS if type(other) is not type(value) or other != value)
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {n: v for n, v in value.items() if n != name}
            yield from ({**value, name: other} for other in edits(inner))
    elif isinstance(value, list):
        yield [*value, *value]
        for i, inner in enumerate(value):
            yield from ([*value[:i], other, *value[i + 1 :]] for other in edits(inner))


@pytest.mark.parametrize("name", STAGES)
def test_edited_metadata_are_refused_or_mean_the_same(store, name):
    """Whatever part is another value: nobody gets other numbers, or an error of another kind."""
    stage = STAGES[name]()
    save(stage, "m", store)
    metadata = json.loads(store.folders["m/metadata"])
    outcomes = []
    for edited in edits(metadata):
        store.folders["m/metadata"] = json.dumps(edited)
        outcomes.append(outcome(type(stage), store))

    assert len(outcomes) > 200
    assert [o for o in outcomes if o not in ("refused", whole(stage))] == []


@pytest.mark.parametrize("name", STAGES)
def test_edited_metadata_with_a_fitting_checksum_are_refused_or_a_stage(store, name):
    """Each part is checked by itself, so that what is loaded can be used, and what cannot is a PersistenceError."""
    stage = STAGES[name]()
    save(stage, "m", store)
    metadata = json.loads(store.folders["m/metadata"])
    del metadata["checksum"]
    for edited in edits(metadata):
        if isinstance(edited, dict):
            sign(store, "m", edited)
            outcome(type(stage), store)


def flips(content, number):
    """Return copies of bytes, in each of which one bit is flipped."""
    rng = np.random.default_rng(7)
    for position, bit in zip(rng.integers(0, len(content), number), rng.integers(0, 8, number), strict=True):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        yield bytes(flipped)


@pytest.mark.parametrize("name", STAGES)
def test_flipped_bits_are_refused_or_mean_the_same(store, name):
    """In the metadata or the statistics."""
    stage = STAGES[name]()
    save(stage, "m", store)
    outcomes = []
    for path, content in list(store.folders.items()):
        is_text = isinstance(content, str)
        for flipped in flips(content.encode() if is_text else content, 100):
            store.folders[path] = flipped.decode(errors="replace") if is_text else flipped
            outcomes.append(outcome(type(stage), store))
        store.folders[path] = content

    assert len(outcomes) >= 100
    assert [o for o in outcomes if o not in ("refused", whole(stage))] == []
    assert outcome(type(stage), store) == whole(stage)


@pytest.mark.classic_only
def test_bits_flipped_in_parquet_are_refused_by_spark_or_mean_the_same(spoilt, models):
    """Without Spark's own checksums, which a plain copy leaves behind."""
    (part,) = files_of(data_of(spoilt), "")
    forget_checksums(part.parent)
    content = part.read_bytes()
    model = models["MinMaxScaler"]
    # Some in the pages, which come first.
    for flipped in (*flips(content, 4), *(f + content[300:] for f in flips(content[:300], 8))):
        part.write_bytes(flipped)
        try:
            assert same(MinMaxScalerModel.load(str(spoilt)), model)
        except PersistenceError as refused:
            assert "saved statistics" in str(refused)  # noqa: PT017


@pytest.mark.parametrize("folder", ["../other", "/other", "metadata", "", "data/../../other"])
def test_an_overwrite_removes_nothing_but_statistics(store, folder):
    """Whatever the old metadata name."""
    save(numbered(1), "other", store)
    save(numbered(2), "m", store)
    change(store, "m", data=folder)
    before = {name for name in store.folders if name.startswith("other")}
    save(numbered(3), "m", store, overwrite=True)

    assert before <= {*store.folders}
    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 3.0


@pytest.mark.classic_only
def test_metadata_that_spark_cannot_read_are_passed_over_and_overwritten(overwritten, tmp_path):
    """For ``metadata.next``, and by an overwrite; nothing has to be removed by hand."""
    path = shutil.copytree(overwritten, tmp_path / "m")
    (part,) = files_of(path, "metadata")
    part.write_text(part.read_text().replace("sparkscale", "sparkscalf"))  # Spark's own checksum is another

    assert MaxAbsScalerModel.load(str(path)).maxAbs[0] == 2.0
    numbered(3).write().overwrite().save(str(path))
    assert MaxAbsScalerModel.load(str(path)).maxAbs[0] == 3.0
    assert "sparkscalf" not in json.dumps(metadata_of(path))


def test_a_line_that_was_damaged_is_passed_over_for_the_next(store):
    """``metadata.next``, which an overwrite leaves, replaces damaged ``metadata``."""
    save(numbered(2), "m", store, overwrite=True)
    store.folders["m/metadata"] = store.folders["m/metadata"].replace('"inputCols": ["x"]', '"inputCols": ["y"]')

    assert load(MaxAbsScalerModel, "m", store).getInputCol() == "x"


# Other writers


def test_newer_of_two_metadata_lines_is_used(store):
    """Two writers may leave a file each."""
    for n in (1, 2):
        save(numbered(n), "m", store, overwrite=True)
        time.sleep(0.002)  # their time is told in milliseconds
        store.folders[f"{n}"] = store.folders["m/metadata"]
        store.folders[f"{n} data"] = store.folders[data_in(store, "m")]
    for n in (1, 2):
        store.folders[f"m/{json.loads(store.folders[str(n)])['data']}"] = store.folders[f"{n} data"]
    store.folders["m/metadata"] = store.folders["2"] + store.folders["1"]

    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 2.0


def test_files_removed_by_other_writers_are_rewritten(store, monkeypatch):
    """They take statistics that no metadata names yet for those of a save that was interrupted."""
    put, removed = store.put, []

    def meddle(path, content, mode):
        if path == "m/metadata" and not removed:
            removed.extend(name for name in store.folders if name.startswith("m/data."))
            del store.folders[removed[0]]
        put(path, content, mode)

    monkeypatch.setattr(store, "put", meddle)
    monkeypatch.setattr(storage, "wait", lambda seconds: None)
    save(numbered(3), "m", store, overwrite=True)

    assert len(removed) == 1
    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 3.0


def test_a_write_that_meets_other_writers_is_tried_again(store, monkeypatch):
    """Spark's writers remove each other's files."""
    put, left = store.put, [3]

    def meet(path, content, mode):
        if path == "m/metadata" and left[0]:
            left[0] -= 1
            raise OSError("its file is gone")
        put(path, content, mode)

    monkeypatch.setattr(store, "put", meet)
    monkeypatch.setattr(storage, "wait", lambda seconds: None)
    save(numbered(3), "m", store, overwrite=True)

    assert left == [0]
    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 3.0


@pytest.mark.parametrize("what", ["metadata", "statistics"])
def test_a_reader_waits_for_writers(kept, monkeypatch, what):
    """What is gone for a moment is looked for again."""
    name = "m/metadata" if what == "metadata" else data_in(kept, "m")
    content = kept.folders.pop(name)
    monkeypatch.setattr(storage, "wait", lambda seconds: kept.folders.update({name: content}))

    assert load(MinMaxScalerModel, "m", kept).numFeatures == 5


def test_statistics_that_cannot_be_removed_are_left(store, caplog):
    """The stage is saved; a warning says where they are."""
    save(numbered(1), "m", store)
    old = data_in(store, "m")
    with store.interrupted(4, BEFORE):
        save(numbered(2), "m", store, overwrite=True)

    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 2.0
    assert old in store.folders
    assert f"'{old}' is no longer used, but cannot be removed: the power went" in caplog.text


def test_statistics_of_writers_that_go_on_are_left(store, monkeypatch):
    """One that has written its statistics, and the rest when the other has ended, loses nothing."""
    put, others = store.put, []

    def meddle(path, content, mode):
        if path == "m/metadata.next" and not others:
            others.append(True)
            save(numbered(4), "m", store, overwrite=True)
        put(path, content, mode)

    save(numbered(1), "m", store)
    monkeypatch.setattr(store, "put", meddle)
    save(numbered(3), "m", store, overwrite=True)

    assert others == [True]
    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 3.0


def test_statistics_of_writers_that_were_killed_are_removed_in_time(store, monkeypatch):
    """By an overwrite, when no save can still need them; those that a save has just written are left."""
    save(numbered(1), "m", store)
    monkeypatch.setattr(storage, "PAUSES", ())
    now, killed = time.time(), []
    for then in (now - 2 * storage.MAX_SAVE_SECONDS, now):
        before = {*store.folders}
        monkeypatch.setattr(time, "time", lambda then=then: then)
        overwrite_until(2, BEFORE, numbered(2), "m", store)
        killed += {*store.folders} - before
    save(numbered(3), "m", store, overwrite=True)

    assert [name in store.folders for name in killed] == [False, True]
    assert load(MaxAbsScalerModel, "m", store).maxAbs[0] == 3.0


@pytest.mark.core
def test_writers_of_one_path_leave_one_of_their_models(spark, tmp_path):
    """Params and statistics are of one model, while threads overwrite it and others read, and at the end."""
    path = str(tmp_path / "m")
    models = {n: learned(MinMaxScalerModel().setMin(-n), [[0.0, 0.0], [n, 7 * n]], "x", "y") for n in (1.0, 2.0, 3.0)}
    read, written = [], []

    def write(n):
        models[n].write().overwrite().save(path)
        written.append(n)

    def load_some():
        read.extend(MinMaxScalerModel.load(path) for _ in range(3))

    models[1.0].save(path)
    threads = [*(Thread(target=write, args=(n,)) for n in models), Thread(target=load_some)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = MinMaxScalerModel.load(path)

    assert len(written) == len(models) and len(read) == 3
    assert [m.statistics.max.tolist() for m in (*read, last)] == [[-m.getMin(), -7 * m.getMin()] for m in (*read, last)]


# Paths


NAMES = ["run:1/2026-11-29T12:21:00", "model[v1]", "a{b,c}", "g?*", "back\\slash"]


@pytest.mark.core
def test_a_path_is_a_path_and_no_pattern(spark, tmp_path):
    """What Spark's reader would take for a pattern, or a scheme, names one folder, and is overwritten there."""
    for n, name in enumerate(NAMES):
        numbered(n + 1).save(str(tmp_path / name))
    numbered(99).save(str(tmp_path / "gx"))
    with pytest.raises(PersistenceError, match="already exists"):
        numbered(5).save(str(tmp_path / "model[v1]"))
    numbered(2).write().overwrite().save(str(tmp_path / "model[v1]"))

    assert [MaxAbsScalerModel.load(str(tmp_path / name)).maxAbs[0] for name in NAMES] == [*range(1, len(NAMES) + 1)]
    with pytest.raises(PersistenceError, match="holds no saved stage"):
        MaxAbsScalerModel.load(str(tmp_path / "g[x]"))


@pytest.mark.core
def test_a_path_that_could_not_be_read_again_is_refused(spark, tmp_path):
    """Before anything is written."""
    with pytest.raises(PersistenceError, match=r"allows no colon together with any of .*Rename it"):
        numbered(1).save(str(tmp_path / "a:b" / "c[1]"))

    assert os.listdir(tmp_path) == []


@pytest.mark.core
def test_a_colon_that_would_be_a_scheme_is_refused(spark):
    """With the way to write such a path."""
    with pytest.raises(PersistenceError, match=r"no colon in the first part of a relative path\. Put \./ before it"):
        numbered(1).save("run:1/m")


def test_a_path_may_be_of_pathlib(store):
    """As it may be for files."""
    save(numbered(1), Path("m"), store)

    assert load(MaxAbsScalerModel, Path("m"), store).maxAbs[0] == 1.0


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_refused(store, path):
    """It would be the whole file system."""
    with pytest.raises(PersistenceError, match=r"The path is empty\. Name a folder"):
        save(numbered(1), path, store)
    with pytest.raises(PersistenceError, match="holds no saved stage"):
        load(MaxAbsScalerModel, path, store)


# Code


HOSTILE = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A folder that Python imports from, with a saved model in it, a package; importing its module is noticed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "m"
    path.mkdir()
    (path / "evil.py").write_text(HOSTILE)
    yield path
    assert not (path / "ran").exists(), "loading a model ran code"
    assert "m.evil" not in sys.modules


def publics():
    """Return all public classes that are saved."""
    members = (getattr(sparkscale, name) for name in sparkscale.__all__)
    return [c for c in members if inspect.isclass(c) and issubclass(c, Writable)]


@pytest.mark.parametrize("kind", publics(), ids=lambda c: c.__name__)
@pytest.mark.usefixtures("hostile")
def test_loading_imports_nothing(store, kind):
    """Not what the metadata call their class, nor the class of a model inside, nor a Param's value."""
    save(numbered(1).inverse(), "m", store)
    metadata = json.loads(store.folders["m/metadata"])
    for inside in ("m.evil.X", "m.evil", "sparkscale.m.evil.X"):
        forward = {**metadata["forward"], "class": inside}
        for name in ("m.evil.X", f"sparkscale.{kind.__name__}"):
            sign(store, "m", {**metadata, "class": name, "forward": forward, "paramMap": {"inputCol": "m.evil.X"}})
            for reader in (kind.read(), StageReader()):
                with contextlib.suppress(PersistenceError):
                    reader.session(store).load("m")


@pytest.mark.core
def test_loading_imports_nothing_that_parquet_names(models, hostile):
    """A schema of Spark's in a Parquet file may name a Python class, which Spark imports to read the column."""
    models["StandardScaler"].write().overwrite().save(str(hostile))
    (part,) = files_of(data_of(hostile), "")
    forget_checksums(part.parent)
    table = pq.read_table(part)
    described = dict(table.schema.metadata)
    row = json.loads(described[b"org.apache.spark.sql.parquet.row.metadata"])
    column = row["fields"][1]
    column["type"] = {"type": "udt", "pyClass": "m.evil.X", "serializedClass": "eA==", "sqlType": column["type"]}
    described[b"org.apache.spark.sql.parquet.row.metadata"] = json.dumps(row).encode()
    pq.write_table(table.replace_schema_metadata(described), part)

    assert same(StandardScalerModel.load(str(hostile)), models["StandardScaler"])


@pytest.mark.classic_only
def test_showing_a_model_imports_nothing(models, hostile):
    """``python -m sparkscale`` has the folder it is run in on Python's path."""
    models["MaxAbsScaler"].inverse().write().overwrite().save(str(hostile))
    shutil.rmtree(hostile / "metadata.next")
    metadata = metadata_of(hostile)
    metadata["forward"]["class"] = "m.evil.X"
    rewrite(hostile, json.dumps({**metadata, "checksum": storage.checksum(metadata)}) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "sparkscale", "show", "m"],
        cwd=hostile.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 1
    assert "the model inside is a m.evil.X, which is no fitted model of sparkscale" in done.stderr


# Earlier formats


@pytest.mark.core
def test_format_1_loads(spark):
    """Models that an earlier version saved have their Params and numbers."""
    rows = np.array([[1.0, 1.0, -2.0], [3.0, 4.0, 0.5], [np.nan, 0.1, 7.0], [8.0, 2.0, 2.0]])
    columns = [FeatureColumn("x", "scalar", size=1), FeatureColumn("a", "array", size=2)]
    kinds = (StandardScalerModel, InverseModel, WhitenerModel, BatchNormModel, MaxAbsScaler)
    standard, inverse, whitener, norm, scaler = (kind.load(str(FORMAT_1 / kind.__name__)) for kind in kinds)

    expected = learned(StandardScalerModel().setWithMean(True).setDdof(0), rows, *columns)
    assert_near(standard.affine, expected.affine)
    assert (standard.uid, standard.getOutputCol(), standard.count) == ("StandardScaler_178b8b3a6eb0", "f", 4)
    expected = learned(MinMaxScalerModel().setInputCol("a").setMin(-1.0), rows[:, 1:], columns[1])
    assert inverse.affine == expected.inverse().affine
    expected = learned(WhitenerModel().setInputCol("a").setMethod("zca"), rows[:, 1:], columns[1])
    np.testing.assert_allclose(whitener.affine.matrix, expected.affine.matrix, rtol=1e-12)
    np.testing.assert_allclose(
        norm.runningMean.toArray(), [0.1 * 0.9 * 2.5 + 0.1 * 1.05, 0.1 * 0.9 * -0.75 + 0.1 * 4.5]
    )
    assert scaler.getInputCol() == "x"


def assert_near(one, other):
    for part in ("center", "scale", "offset"):
        np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=1e-12)


@pytest.mark.core
def test_format_1_is_overwritten_by_the_present_one(spark, tmp_path):
    """Its folder of statistics goes with it."""
    path = shutil.copytree(FORMAT_1 / "StandardScalerModel", tmp_path / "m")
    shutil.copytree(path / "data", path / "data.1")  # as an overwrite left it
    model = StandardScalerModel.load(str(path))
    model.write().overwrite().save(str(path))

    assert same(StandardScalerModel.load(str(path)), model)
    assert metadata_of(path)["formatVersion"] == 2
    assert visible(path) == {"metadata", "metadata.next", metadata_of(path)["data"]}


# What cannot be written


@pytest.mark.core
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_in_place_of_the_path_is_an_error(spark, tmp_path, overwrite):
    """It stays, whether or not it was to be overwritten."""
    (tmp_path / "m").write_text("mine")
    writer = numbered(1).write()
    with pytest.raises(
        PersistenceError, match="m' cannot be written: it is a file" if overwrite else "m' already exists"
    ):
        (writer.overwrite() if overwrite else writer).save(str(tmp_path / "m"))

    assert (tmp_path / "m").read_text() == "mine"


@pytest.mark.classic_only
def test_metadata_that_fail_sparks_own_checksum_are_a_persistence_error(spoilt):
    """Spark refuses the file; the error has its message without the stack trace."""
    (part,) = files_of(spoilt, "metadata")
    part.write_text(part.read_text().replace("sparkscale", "sparkscalf"))
    with pytest.raises(PersistenceError, match=r"m' cannot be read: (?!.*\n)"):
        MinMaxScalerModel.load(str(spoilt))


def test_a_path_that_cannot_be_written_is_an_error(spark, tmp_path):
    """If a file is in the way, save fails."""
    (tmp_path / "file").write_text("here")
    with pytest.raises(PersistenceError, match="file/m' cannot be "):
        numbered(1).save(str(tmp_path / "file" / "m"))

    assert os.listdir(tmp_path) == ["file"]
