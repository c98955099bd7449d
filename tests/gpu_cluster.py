"""Runs on clusters whose tasks have GPUs, fake or real, and prints the results as JSON, for ``test_gpu_scheduling.py``.

Argument: a JSON list of clusters. Each has a master and the environment of its executors; if its tasks have GPUs, also the
amount for each task and a discovery script. One without GPUs comes first, since the JVM keeps settings for the next.
"""

import json
import sys
import time

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import SparkSession

from sparkscale import StandardScaler
from sparkscale.errors import ScalingError
from sparkscale.spark.gpu import Gpu, device_of_task, effective_device


def used(batches):
    """Return what a task was given, and what it chose."""
    for _ in batches:
        pass
    worker = device_of_task("auto")
    time.sleep(1)  # so that each executor gets its tasks
    given = TaskContext.get().resources()
    address = given["gpu"].addresses[0] if "gpu" in given else "none"
    chosen = str(worker.cupy.cuda.runtime.getDevice()) if isinstance(worker, Gpu) else "cpu"
    yield pa.RecordBatch.from_pydict({"address": [address], "chosen": [chosen]})


def started(master, amount=None, script=None, **env):
    """Return a session on a cluster."""
    builder = SparkSession.builder.master(master).config("spark.ui.enabled", "false")
    for name, value in env.items():
        builder = builder.config(f"spark.executorEnv.{name}", value)
    if amount:
        for role, value in (("worker", "1"), ("executor", "1"), ("task", amount)):
            builder = builder.config(f"spark.{role}.resource.gpu.amount", value)
        builder = builder.config("spark.worker.resource.gpu.discoveryScript", script)
    if master.startswith("local-cluster"):  # wait for all executors, so that each gets its tasks
        workers, cores, _ = master.partition("[")[2].split(",")
        builder = builder.config("spark.cores.max", str(int(workers) * int(cores)))
        builder = builder.config("spark.scheduler.minRegisteredResourcesRatio", "1")
    return builder.getOrCreate()


def tried(spark):
    """Return the devices of four tasks, and the largest difference between results of GPU and CPU."""
    df = spark.range(100).selectExpr("double(id) x", "array(double(id), sqrt(id)) a")
    stage = StandardScaler(inputCols=["x", "a"], withMean=True)
    result = {"device": effective_device("auto", spark)}
    try:
        tasks = spark.range(0, 4, 1, 4).mapInArrow(used, "address string, chosen string").collect()
        result["tasks"] = sorted((task.address, task.chosen) for task in tasks)
        expected, actual = (stage.setDevice(d).fit(df).transform(df).collect() for d in ("cpu", "gpu"))
        flat = [np.array([[r.x_scaled, *r.a_scaled] for r in rows]) for rows in (expected, actual)]
        result["difference"] = float(abs(flat[0] - flat[1]).max())
    except ScalingError as failed:
        result["error"] = f"{type(failed).__name__}: {failed}"
    finally:
        spark.stop()
    return result


if __name__ == "__main__":
    print(json.dumps([tried(started(**cluster)) for cluster in json.loads(sys.argv[1])]))  # noqa: T201  # the test reads it
