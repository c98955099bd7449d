"""One Spark session for all tests, in the world that ``--world`` names."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pyspark.sql import SparkSession

os.environ.setdefault("KERAS_BACKEND", "torch")  # the lightest
# Sessions are short and queries small: what the JVM spends on its second compiler and on several threads of garbage
# collection is a third of its time.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")

hypothesis.settings.register_profile(
    "sparkscale",
    deadline=None,
    max_examples=60,
    derandomize="CI" in os.environ,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
    ],
    print_blob=True,
)
# Numbers are computed alike in both worlds: on the second, half as many examples.
hypothesis.settings.register_profile("connect", hypothesis.settings.get_profile("sparkscale"), max_examples=30)
hypothesis.settings.load_profile("sparkscale")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--world") == "connect":
        hypothesis.settings.load_profile("connect")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--world",
        choices=("classic", "connect"),
        default="classic",
        help="which Spark the tests run on; both cannot live in one process (default: classic)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is the same in both worlds runs on classic only: what needs no Spark, and what is marked so."""
    if config.getoption("--world") == "connect":
        needs_spark = {"spark", "run", "request"}
        same = {i for i in items if i.get_closest_marker("one_world") or not needs_spark & set(i.fixturenames)}
        config.hook.pytest_deselected(items=list(same))
        items[:] = [item for item in items if item not in same]


def has_gpu() -> bool:
    """Whether CuPy is installed and finds a device."""
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except (ImportError, RuntimeError):  # the latter from CUDA, where there is no driver
        return False


def pytest_report_header(config: pytest.Config) -> str:
    return f"GPU tests run on {'a GPU' if has_gpu() else 'a test double of CuPy, without a GPU'}"


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> str:
    """The Spark that the tests run on: ``classic`` or ``connect``."""
    return request.config.getoption("--world")


@pytest.fixture(scope="session")
def spark(world: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one session of this process."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if not has_gpu():  # workers inherit it; this process does not look there
        paths = [str(Path(__file__).parent / "standin"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        os.environ["STANDIN_DEVICES"] = "2"
        os.environ["STANDIN_TRACE"] = str(tmp_path_factory.mktemp("standin") / "trace")
    if world == "connect":
        os.environ.setdefault("SPARK_TESTING", "1")  # its server takes a free port
    builder = SparkSession.builder.appName("sparkscale tests")
    builder = builder.remote("local[2]") if world == "connect" else builder.master("local[2]")
    builder = (
        builder.config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.memory", "2g")
        # Over TCP, the default, each small job in Python waits some 45 ms. TCP is still tested: by tests that start
        # processes of their own, and by PySpark 3.5 and 4.0, which ignore this.
        .config("spark.python.unix.domain.socket.enabled", "true")
        # Thousands of queries: a session remembers a thousand of them, with their plans.
        .config("spark.sql.ui.retainedExecutions", "10")
        .config("spark.ui.retainedJobs", "10")
        .config("spark.ui.retainedStages", "10")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Connect warns of static settings, which its server has taken by then
        session = builder.getOrCreate()
    if world == "classic":
        session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
