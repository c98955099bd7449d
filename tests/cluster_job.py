"""Submitted to a cluster, runs the example job and a slow fit there, and prints what came of them; a script of its tests.

Arguments: the example, a folder with the table ``rows``, and a Python without PyArrow.
"""

import json
import runpy
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

from sparkscale import StandardScaler

example, folder, lacking = sys.argv[1:]


def run_example(name):
    """Run the example, and return the error by which it ended."""
    sys.argv = [example, *(f"{folder}/{path}" for path in ("rows", f"{name}-model", f"{name}-scaled")), "x", "y"]
    try:
        runpy.run_path(example, run_name="__main__")
    except Exception as failed:  # noqa: BLE001  # it is looked at by the tests
        return f"{type(failed).__module__}.{type(failed).__name__}: {failed}"


def slowly(batches):
    import sparkscale

    assert ".zip" in sparkscale.__file__, sparkscale.__file__
    for batch in batches:
        Path(folder, "begun").touch()
        time.sleep(2)
        yield batch


context = SparkSession.builder.getOrCreate().sparkContext
python, zipped, came = context.pythonExec, context._python_includes, {}

context._python_includes = []  # before any worker has had the zip
came["without sparkscale"] = run_example("first")
context.pythonExec, context._python_includes = lacking, zipped
came["without pyarrow"] = run_example("second")
context.pythonExec = python

df = SparkSession.active().read.parquet(f"{folder}/rows").repartition(8).mapInArrow(slowly, "x double, y double")
model = StandardScaler(inputCols=["x", "y"]).fit(df)
came["slow"] = [model.count, *map(float, [*model.mean, *model.std])]

came["example"] = run_example("third")  # which stops Spark
print("came of it:", json.dumps(came))  # noqa: T201
