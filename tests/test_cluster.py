"""On a real cluster: spark-submit, executors that have sparkscale from a zip alone, and a worker that dies."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import Cluster

ROOT = Path(__file__).parent.parent
PACKAGES = Path(sysconfig.get_path("purelib"))

pytestmark = pytest.mark.slow  # it starts Sparks of its own


def python(folder: Path, *missing: str) -> str:
    """Return a Python that has what is installed here, but for sparkscale and what is missing."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
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


@dataclass(frozen=True)
class Submitted:
    """A job that has ended: the table that it read, where it wrote, what it said, and what came of its parts."""

    values: np.ndarray
    folder: Path
    output: str
    came: dict[str, Any]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """``cluster_job.py``, submitted with the zip that ``make zip`` builds; in the middle of its slow fit a worker dies."""
    subprocess.run([sys.executable, str(ROOT / "tools" / "build_zip.py")], check=True, capture_output=True)
    folder = tmp_path_factory.mktemp("job")
    values = rows(folder)
    arguments = [str(ROOT / "examples" / "spark_submit_job.py"), str(folder), python(folder / "lacking", "pyarrow")]
    command = ["--py-files", str(ROOT / "dist" / "sparkscale.zip"), str(ROOT / "tests" / "cluster_job.py"), *arguments]
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        submitted = cluster.submit(*command, python=python(folder / "whole"))
        for _ in range(1200):
            if (folder / "begun").exists() or not submitted.runs():
                break
            time.sleep(0.1)
        time.sleep(3)
        assert submitted.runs(), submitted.output()[-4000:]
        cluster.kill_worker(0)
        output = submitted.output()
    assert submitted.process.returncode == 0, output[-4000:]
    (line,) = [line for line in output.splitlines() if line.startswith("came of it: ")]
    return Submitted(values, folder, output, json.loads(line.removeprefix("came of it: ")))


def test_a_job_is_submitted_with_the_zip(job):
    """It fits, scales and saves, where executors have sparkscale from the zip alone."""
    scaled = pq.read_table(job.folder / "third-scaled").to_pandas().sort_values("x")
    expected = (job.values - job.values.mean(axis=0)) / job.values.std(axis=0, ddof=1)

    assert job.came["example"] is None
    assert (job.folder / "third-model").exists()
    np.testing.assert_allclose(
        scaled[["x_scaled", "y_scaled"]], expected[np.argsort(job.values[:, 0])], rtol=1e-9, atol=1e-12
    )
    assert "x" in job.output
    assert "1000" in job.output


def test_executors_lack_pyarrow(job):
    """The error names it, and says what to do."""
    error = job.came["without pyarrow"]

    assert error.startswith("sparkscale.errors.WorkerEnvironmentError")
    assert "The Python of the executors lacks pyarrow" in error
    assert not (job.folder / "second-model").exists()


def test_executors_lack_sparkscale(job):
    """Where they do not get the zip."""
    error = job.came["without sparkscale"]

    assert "The Python of the executors lacks sparkscale" in error
    assert "--py-files" in error


def test_a_worker_dies_in_the_middle_of_a_fit(job):
    """What it had done is done again elsewhere, and counted once."""
    count, *learned = job.came["slow"]

    assert "Lost executor" in job.output
    assert count == 1000
    expected = [*job.values.mean(axis=0), *job.values.std(axis=0, ddof=1)]
    np.testing.assert_allclose(learned, expected, rtol=1e-12)
