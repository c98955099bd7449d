"""Spark assigns GPUs to tasks on a cluster of real processes. The GPUs are fake: a discovery script invents them.

The fake CuPy computes, as in ``test_gpu.py``; where there is a device, one test uses it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import has_gpu

pytestmark = pytest.mark.slow  # each starts its own sessions

TESTS = Path(__file__).parent
# The first worker that runs the script gets one device, the next the other.
ONE_EACH = """#!/bin/sh
if mkdir "$(dirname "$0")/first" 2>/dev/null; then one=3; else one=5; fi
echo "{\\"name\\":\\"gpu\\",\\"addresses\\":[\\"$one\\"]}"
"""
REAL_DEVICES = """#!/bin/sh
indices=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -s -d ,)
echo "{\\"name\\":\\"gpu\\",\\"addresses\\":[$indices]}"
"""


def run_on(folder: Path, script: str, *clusters: dict[str, str]) -> list[dict[str, Any]]:
    """Return the results of the tasks of each cluster; clusters with an amount have GPUs."""
    discovery = folder / "discovery.sh"
    discovery.write_text(script)
    discovery.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    argument = json.dumps([{**c, "script": str(discovery)} if "amount" in c else c for c in clusters])
    command = [sys.executable, "-W", "ignore", str(TESTS / "gpu_cluster.py"), argument]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the results of tasks without a GPU, and on two workers with one (fake) device each."""
    fake_cupy = {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS / "fake_cupy")]), "FAKE_CUPY_DEVICES": "8"}
    two_workers = {"master": "local-cluster[2,2,1024]", "amount": "0.5", **fake_cupy}
    return run_on(tmp_path_factory.mktemp("clusters"), ONE_EACH, {"master": "local[1]"}, two_workers)


def test_each_task_takes_the_device_that_it_is_assigned(clusters: list[dict[str, Any]]) -> None:
    """Two workers have one device each, and two tasks share each device."""
    _, on_two_workers = clusters

    assert on_two_workers["device"] == "auto"
    assert on_two_workers["tasks"] == [["3", "3"], ["3", "3"], ["5", "5"], ["5", "5"]]
    assert on_two_workers["difference"] < 1e-14


@pytest.mark.skipif(has_gpu(), reason="there is a device")
def test_a_cluster_without_gpus(clusters: list[dict[str, Any]]) -> None:
    """``auto`` uses the CPU, and ``gpu`` fails in the first task."""
    without, _ = clusters

    assert without["device"] == "cpu"
    assert without["tasks"] == [["none", "cpu"]] * 4
    assert without["error"].startswith("DeviceError: device='gpu', but CuPy")
    assert "spark.task.resource.gpu.amount" in without["error"]


@pytest.mark.third_party
@pytest.mark.skipif(has_gpu(), reason="there is a device")
def test_cupy_finds_no_gpu(tmp_path: Path) -> None:
    """Where CuPy is installed, the error says that it finds no device."""
    pytest.importorskip("cupy", reason="CuPy has no wheel for this platform")
    (without,) = run_on(tmp_path, ONE_EACH, {"master": "local[1]"})

    assert "finds no device" in without["error"]


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="there is no device")
def test_tasks_compute_on_the_device_that_nvidia_smi_found(tmp_path: Path) -> None:
    """CuPy on a real device, shared by two tasks."""
    (result,) = run_on(tmp_path, REAL_DEVICES, {"master": "local-cluster[1,2,1024]", "amount": "0.5"})

    assert result["device"] == "auto"
    assert result["tasks"] == [["0", "0"]] * 4
    assert result["difference"] < 1e-14
