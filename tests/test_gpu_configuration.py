"""The configuration that the GPU guide hands out: each key is one that Spark or the RAPIDS Accelerator knows."""

from __future__ import annotations

import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models import with_params
from sparkscale import ClipByValue, MinMaxScaler, StandardScaler
from sparkscale.spark import gpu
from sparkscale.spark.columns import resolve
from sparkscale.spark.fit import selection

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples" / "gpu").glob("*.conf"))
PLUGIN = json.loads((ROOT / "tests" / "cases" / "rapids.json").read_text())
# Families of keys, which Spark's registry does not list: of a resource, and of executors' environments.
FAMILIES = re.compile(
    r"spark\.(worker|executor|task|driver)\.resource\.gpu\.(amount|discoveryScript|vendor)|spark\.executorEnv\.[A-Z_]+"
)
each_file = pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)


def parsed(file: Path) -> list[tuple[str, str]]:
    """Return keys and values, as java.util.Properties reads them."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def known(spark: Any, key: str) -> bool:
    if key.startswith("spark.rapids."):
        return key in PLUGIN["keys"]
    entry = spark._jvm.org.apache.spark.internal.config.ConfigEntry.findEntry(key)
    return entry is not None or bool(FAMILIES.fullmatch(key))


def test_the_files_are_there():
    """One for each place that the guide names."""
    guide = (ROOT / "docs" / "gpu.md").read_text()

    assert [f.name for f in FILES] == [
        "databricks.conf",
        "dataproc.conf",
        "standalone-rapids.conf",
        "standalone.conf",
        "worker.conf",
    ]
    assert all(f"(../examples/gpu/{f.name})" in guide for f in FILES)


@pytest.mark.classic_only  # it asks Spark's registry
@each_file
def test_every_key_is_known(spark, file):
    """A misspelt key would be ignored without a word."""
    keys = [key for key, _ in parsed(file)]

    assert keys
    assert len(keys) == len(set(keys))
    assert [key for key in keys if not known(spark, key)] == []


@pytest.mark.classic_only
def test_every_key_that_texts_name_is_known(spark):
    """Those of the guide, of the files' heads and of the error."""
    texts = [
        (ROOT / "docs" / "gpu.md").read_text(),
        *(f.read_text() for f in FILES),
        gpu.REMEDY,
        gpu.PLUGIN,
        gpu.AMOUNT,
    ]
    named = set(re.findall(r"(?<![.\w])spark\.[A-Za-z.]*[A-Za-z](?:_[A-Z_]+)?", "\n".join(texts)))

    assert {"spark.task.resource.gpu.amount", "spark.rapids.sql.python.gpu.enabled"} <= named
    assert sorted(key for key in named if not known(spark, key)) == []


@pytest.mark.classic_only
def test_the_check_finds_a_misspelt_key(spark):
    """In Spark's, the accelerator's and a resource's keys."""
    wrong = ["spark.executor.core", "spark.rapids.sql.python.enabled", "spark.task.resource.gpu.amounts"]

    assert [known(spark, key) for key in wrong] == [False, False, False]


@each_file
def test_the_shares_of_a_device_fill_the_cores(file):
    """As many tasks as an executor has cores for can share its device; Spark takes a share of one half or less, or 1."""
    confs = dict(parsed(file))
    share = Fraction(confs.get("spark.task.resource.gpu.amount", "1"))

    assert share == 1 or 0 < share <= Fraction(1, 2)
    if "spark.executor.cores" in confs:
        slots = int(confs["spark.executor.cores"]) // int(confs.get("spark.task.cpus", "1"))
        assert 1 // share == slots


def test_the_head_of_dataprocs_file_makes_its_flag():
    """As evaluated by the shell."""
    file = ROOT / "examples" / "gpu" / "dataproc.conf"
    command = re.search(r'--properties "\$\((.*)\)"', file.read_text())[1]
    flag = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    assert flag.split(",") == [f"spark:{key}={value}" for key, value in parsed(file)]


def expressions(plan: Any) -> Any:
    """Return the names of all expressions of the projections and filters of an optimized plan."""
    for k in range(plan.children().size()):
        yield from expressions(plan.children().apply(k))
    if plan.nodeName() in {"Project", "Filter", "ArrowEvalPython"}:
        waiting = [plan.expressions().apply(k) for k in range(plan.expressions().size())]
        while waiting:
            one = waiting.pop()
            waiting += [one.children().apply(k) for k in range(one.children().size())]
            name = one.getClass().getSimpleName()
            yield f"{name} {one.evalType()}" if name == "PythonUDF" else name


def expressions_of(df: Any) -> set[str]:
    return set(expressions(df._jdf.queryExecution().optimizedPlan()))


# Params of a StandardScaler's model, or of a MinMaxScaler's.
MAPS = {
    "standard": (StandardScaler, {"withMean": True}),
    "min-max": (MinMaxScaler, {"min": -1.0}),
    "clipped": (MinMaxScaler, {"clip": True}),
    "refusing": (StandardScaler, {"handleInvalid": "error"}),
    "skipping": (StandardScaler, {"handleInvalid": "skip"}),
}


@pytest.fixture(scope="module", params=[2, 40])
def table(spark, request):
    """So many scalars, an array, and one of floats."""
    scalars = (f"sqrt(id + {k}) AS x{k}" for k in range(request.param))
    return spark.range(9).selectExpr(*scalars, "array(double(id), sqrt(id)) AS a", "array(float(id), 2F) AS f")


@pytest.fixture(scope="module")
def models(table):
    """A model of each scaler, to be given Params."""
    return {scaler: scaler(inputCols=table.columns).fit(table) for scaler in (StandardScaler, MinMaxScaler)}


def model_under(models, name):
    scaler, params = MAPS[name]
    return with_params(models[scaler], **params)


@pytest.mark.classic_only
@pytest.mark.parametrize("name", MAPS)
def test_the_accelerator_runs_the_maps_of_scalars_and_arrays(monkeypatch, table, models, name):
    """Each expression is one that it has on the device, so that nothing goes back to the CPU."""
    model = model_under(models, name)
    monkeypatch.setattr(gpu, "has_plugin", lambda session: True)
    used = expressions_of(model.transform(table))

    assert {"Divide", "ArrayTransform", "CaseWhen"} <= used
    assert used - set(PLUGIN["expressions"]) == set()


@pytest.mark.classic_only
@pytest.mark.parametrize("name", MAPS)
def test_the_accelerator_runs_what_is_around_python(monkeypatch, table, models, name):
    """The expressions before and after the Python workers, for fit and transform."""
    from pyspark.util import PythonEvalType  # not there in PySpark 3.5

    model = model_under(models, name).setDevice("gpu")
    policy = model.getHandleInvalid()
    clipped = ClipByValue(inputCols=table.columns, low=0.0, device="gpu", handleInvalid=policy)
    clipped.setOutputCols([f"{c}_clipped" for c in table.columns])
    monkeypatch.setattr(gpu, "has_plugin", lambda session: True)
    sent = selection.select(table, selection.column_groups(resolve(table, table.columns)), policy, None)
    used = set().union(*map(expressions_of, (sent, model.transform(table), clipped.transform(table))))

    by_pandas = {f"PythonUDF {PythonEvalType.SQL_SCALAR_PANDAS_ITER_UDF}"}

    assert not any(name.startswith("PythonUDF") for name in expressions_of(sent))
    assert {"ArrayTransform", "CreateNamedStruct", "Coalesce", *by_pandas} <= used
    assert used - by_pandas - set(PLUGIN["expressions"]) == set()


def test_a_session_has_the_accelerator_if_it_is_among_its_plugins():
    """The list of plugins may have several entries."""
    sessions = [SimpleNamespace(conf=c) for c in ({}, {"spark.plugins": "a.B,com.nvidia.spark.SQLPlugin"})]

    assert [gpu.has_plugin(s) for s in sessions] == [False, True]
