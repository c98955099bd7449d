"""On a real cluster: spark-submit, executors that have sparkscale from a zip alone, and a worker that dies."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import Cluster

ROOT = Path(__file__).parent.parent
PACKAGES = Path(sysconfig.get_path("purelib"))


@pytest.fixture(scope="module")
def package() -> Path:
    """The zip that ``make zip`` builds."""
    subprocess.run([sys.executable, str(ROOT / "tools" / "build_zip.py")], check=True, capture_output=True)
    return ROOT / "dist" / "sparkscale.zip"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def driver(tmp_path: Path) -> str:
    """The Python of this process, with the sparkscale of this checkout."""
    script = tmp_path / "driver"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def python(folder: Path, *missing: str) -> str:
    """Return a Python that has what is installed here, but for sparkscale and what is missing."""
    packages = folder / "packages"
    packages.mkdir()
    left_out = ("sparkscale", "array_api_compat", "click", "__editable__", "_sparkscale", *missing)
    for path in PACKAGES.iterdir():
        if not path.name.startswith(left_out) and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    script = folder / "python"
    # -S: no site, and so nothing of the folder that is installed here.
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return str(script)


def rows(folder: Path, number: int = 1000, files: int = 8) -> np.ndarray:
    """Write a table of two columns in several files, and return it."""
    values = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (number, 2))
    (folder / "rows").mkdir()
    for k, part in enumerate(np.array_split(values, files)):
        pq.write_table(pa.table({"x": part[:, 0], "y": part[:, 1]}), folder / "rows" / f"{k}.parquet")
    return values


pytestmark = [pytest.mark.slow, pytest.mark.one_world]  # it starts Sparks of its own
JOB = str(ROOT / "examples" / "spark_submit_job.py")


def test_a_job_is_submitted_with_the_zip(cluster, package, driver, tmp_path):
    """It fits, scales and saves, where executors have sparkscale from the zip alone."""
    values = rows(tmp_path)
    paths = [str(tmp_path / name) for name in ("rows", "model", "scaled")]
    command = ["--py-files", str(package), JOB, *paths, "x", "y"]
    job = cluster.submit(*command, python=python(tmp_path), PYSPARK_DRIVER_PYTHON=driver)
    output = job.output()

    assert job.process.returncode == 0, output[-4000:]
    found = pq.read_table(paths[2]).to_pandas().sort_values("x")
    expected = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    np.testing.assert_allclose(
        found[["x_scaled", "y_scaled"]], expected[np.argsort(values[:, 0])], rtol=1e-9, atol=1e-12
    )
    assert "x" in output and "1000" in output


def test_executors_lack_pyarrow(cluster, package, driver, tmp_path):
    """The error names it, and says what to do."""
    rows(tmp_path)
    paths = [str(tmp_path / n) for n in ("rows", "model", "scaled")]
    command = ["--py-files", str(package), JOB, *paths, "x", "y"]
    job = cluster.submit(*command, python=python(tmp_path, "pyarrow"), PYSPARK_DRIVER_PYTHON=driver)
    output = job.output()

    assert job.process.returncode != 0
    assert "sparkscale.errors.WorkerEnvironmentError" in output
    assert "The Python of the executors lacks pyarrow" in output
    assert not (tmp_path / "model").exists()


def test_executors_lack_sparkscale(cluster, driver, tmp_path):
    """Submitted without the zip."""
    rows(tmp_path)
    paths = [str(tmp_path / n) for n in ("rows", "model", "scaled")]
    job = cluster.submit(JOB, *paths, "x", "y", python=python(tmp_path), PYSPARK_DRIVER_PYTHON=driver)
    output = job.output()

    assert "The Python of the executors lacks sparkscale" in output
    assert "--py-files" in output


SLOW = """
import sys, time
from pathlib import Path
from pyspark.sql import SparkSession
from sparkscale import StandardScaler

folder = sys.argv[1]

def slowly(batches):
    import sparkscale
    assert ".zip" in sparkscale.__file__, sparkscale.__file__
    for batch in batches:
        Path(folder, "begun").touch()
        time.sleep(2)
        yield batch

spark = SparkSession.builder.getOrCreate()
df = spark.read.parquet(folder + "/rows").repartition(8).mapInArrow(slowly, "x double, y double")
model = StandardScaler(inputCols=["x", "y"]).fit(df)
print("found", model.count, *map(repr, map(float, [*model.mean, *model.std])))
"""


def test_a_worker_dies_in_the_middle_of_a_fit(cluster, package, tmp_path):
    """What it had done is done again elsewhere, and counted once. The last test: the cluster lacks a worker after it."""
    values = rows(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW)
    job = cluster.submit("--py-files", str(package), str(tmp_path / "slow.py"), str(tmp_path), python=python(tmp_path))
    for _ in range(1200):
        if (tmp_path / "begun").exists() or not job.runs():
            break
        time.sleep(0.1)
    time.sleep(3)
    assert job.runs(), job.output()[-4000:]
    cluster.kill_worker(0)
    output = job.output()

    assert job.process.returncode == 0, output[-4000:]
    assert "Lost executor" in output
    (line,) = [line for line in output.splitlines() if line.startswith("found ")]
    found = line.split()[1:]
    assert found[0] == "1000"
    expected = [*values.mean(axis=0), *values.std(axis=0, ddof=1)]
    np.testing.assert_allclose([float(n) for n in found[1:]], expected, rtol=1e-12)
