"""The examples, run as a user runs them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from processes import undisturbed

EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture
def run(spark_mode: str):
    """Return a function that runs an example in this mode and returns its output."""
    options = ["--remote", "local[2]"] if spark_mode == "connect" else []
    # With SPARK_TESTING a local Connect server takes a free port, so that it can run beside the tests' own.
    environment = undisturbed() | {"SPARK_TESTING": "1", "PYSPARK_PYTHON": sys.executable}

    def run(name: str) -> str:
        command = [sys.executable, str(EXAMPLES / name), *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_flights(run):
    """The flights example counts all rows, merges to the year's models, and gives the same numbers after a reload."""
    output = run("flights.py")
    assert output.count("336,776 of 336,776 rows") == 4
    assert output.count("range identical: True") == 2
    assert output.rstrip().endswith("identical: True")


@pytest.mark.core
def test_flights_per_carrier(run):
    """Eleven months by day, rolled up and merged with the last, are the groups of a fit on the whole year."""
    output = run("flights_per_carrier.py")
    assert "336,776 of 336,776 flights; 35 groups, equal to those of the whole year" in output


@pytest.mark.classic_only  # to save time: the parts are tested on Spark Connect
def test_flights_over_time(run):
    """A stream that was killed between publication and commit is as a scan; December is compared; days do not look ahead."""
    output = run("flights_over_time.py")
    assert "killed: 5 batches were committed" in output
    assert "16 carriers, equal to those of a scan of 336,776 flights" in output
    assert (
        "VX      dep_delay   4663       468       0.002     -0.160        0.378 0.109                 spreadRatio"
        in output
    )
    assert "846 flights of 10 July, scaled by those before; 831 flights have none before them" in output


@pytest.mark.third_party  # scikit-learn has the table
@pytest.mark.classic_only
def test_logistic_regression(run):
    """A tuned Pipeline with our scaler is as accurate as one with Spark's, and is the same after a reload."""
    lines = run("logistic_regression.py").splitlines()
    assert "equal: True" in lines
    (best,) = [line.split()[-1] for line in lines if line.startswith("test rows, best model")]
    assert lines[-1] == f"accuracy of the loaded Pipeline: {best}"


@pytest.mark.third_party
@pytest.mark.classic_only
def test_batch_norm_digits(run):
    """The layer exported from Spark scores as one with PyTorch's own statistics of the whole set."""
    last = run("batch_norm_digits.py").splitlines()[-1]
    assert last.startswith("largest difference of a score, sparkscale and PyTorch: ")
    assert float(last.rsplit(maxsplit=1)[-1]) < 1e-4


@pytest.mark.classic_only
def test_typed(spark, capsys):
    """What the type checker has read runs, too."""
    runpy.run_path(str(EXAMPLES / "typed.py"))["main"](spark)

    assert "ddof must be 0 or 1. Got 2." in capsys.readouterr().out


@pytest.mark.third_party  # scikit-learn has the table
@pytest.mark.classic_only
def test_digits_int8(run):
    """Codes take an eighth of the memory, errors are within the bound, and nearly all neighbours are found."""
    output = run("digits_int8.py")
    assert output.count("115,008 bytes") == 2
    assert output.count("errors within the bound: True") == 2
    recalls = [float(line.rsplit(maxsplit=1)[-1]) for line in output.splitlines() if "recall" in line]
    assert len(recalls) == 2
    assert min(recalls) > 0.99
