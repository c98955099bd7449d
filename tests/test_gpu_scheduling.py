"""Spark assigns GPUs to tasks on a cluster of real processes: made-up ones, since the scheduler believes its script.

The computing is the test double's, as in ``test_gpu.py``; where there is a device, one test is of that.
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

pytestmark = pytest.mark.one_world  # each has a session of its own

TESTS = Path(__file__).parent
# The first worker that asks is told of one device, the next of the other.
ONE_EACH = """#!/bin/sh
if mkdir "$(dirname "$0")/asked" 2>/dev/null; then one=3; else one=5; fi
echo "{\\"name\\":\\"gpu\\",\\"addresses\\":[\\"$one\\"]}"
"""
ONE = """#!/bin/sh
echo '{"name":"gpu","addresses":["5"]}'
"""
FOUND = """#!/bin/sh
found=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -s -d ,)
echo "{\\"name\\":\\"gpu\\",\\"addresses\\":[$found]}"
"""


@pytest.fixture
def run_on(tmp_path):
    def run(master: str, amount: str, script: str = ONE, *, double: bool = True) -> Any:
        """Return what the tasks of a cluster did."""
        discovery = tmp_path / "discovery.sh"
        discovery.write_text(script)
        discovery.chmod(0o755)
        paths = [str(TESTS.parent), *([str(TESTS / "standin")] if double else [])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "STANDIN_DEVICES": "8"}
        env.pop("CUDA_VISIBLE_DEVICES", None)
        command = [sys.executable, "-W", "ignore", str(TESTS / "gpu_cluster.py"), master, amount, str(discovery)]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_each_task_takes_the_device_that_it_is_assigned(run_on):
    """Of two workers with one device each, whatever its number."""
    found = run_on("local-cluster[2,1,1024]", "1", ONE_EACH)

    assert found["asked"] == "auto"
    assert found["tasks"] == [["3", "3"], ["5", "5"]]
    assert found["difference"] < 1e-14


def test_tasks_that_share_a_device_agree_on_it(run_on):
    """Two at a time, each with half of it."""
    found = run_on("local-cluster[1,2,1024]", "0.5")

    assert found["tasks"] == [["5", "5"]]
    assert found["difference"] < 1e-14


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="there is no device")
def test_tasks_compute_on_the_device_that_nvidia_smi_found(run_on):
    """The real library and a real device, of which each of two tasks gets a half."""
    found = run_on("local-cluster[1,2,1024]", "0.5", FOUND, double=False)

    assert found["asked"] == "auto"
    assert found["tasks"] == [["0", "0"]]
    assert found["difference"] < 1e-14


def test_a_cluster_without_gpus(run_on):
    """The real library finds none: auto is the CPU, and gpu an error of the first task."""
    pytest.importorskip("cupy", reason="CuPy has no wheel for this platform")
    if has_gpu():
        pytest.skip("there is a device")
    found = run_on("local[1]", "none", double=False)

    assert found["asked"] == "cpu"
    assert found["tasks"] == [["none", "cpu"]]
    assert found["error"].startswith("DeviceError: device='gpu', but CuPy")
    assert "spark.task.resource.gpu.amount" in found["error"]
