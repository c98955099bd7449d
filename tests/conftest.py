"""One Spark session for all tests, of the kind that ``--spark`` names."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

BUDGET = Path(__file__).parent / "jobs.json"  # the most Spark jobs of a whole run, by mode
SETTINGS = {
    "ansi-off": {"spark.sql.ansi.enabled": "false"},
    # All settings that change how Spark parses SQL and names.
    "strict": {
        "spark.sql.ansi.enabled": "true",
        "spark.sql.ansi.enforceReservedKeywords": "true",
        "spark.sql.parser.quotedRegexColumnNames": "true",
        "spark.sql.caseSensitive": "true",
        "spark.sql.session.timeZone": "Asia/Kathmandu",
    },
}

os.environ.setdefault("KERAS_BACKEND", "torch")  # the lightest
# Queries are small, and code is generated for each: over 60 fits and transforms the JVM took twice the CPU time with its
# second compiler, and more with parallel garbage collection.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")

hypothesis.settings.register_profile(
    "sparkscale",
    deadline=None,
    max_examples=30,
    derandomize="CI" in os.environ,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
    ],
    print_blob=True,
)
hypothesis.settings.load_profile("sparkscale")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--spark",
        choices=("none", "classic", "connect"),
        help="run only tests that need no Spark session (none), or only those that need one, on classic Spark or on Spark "
        "Connect; one process cannot have both kinds of session (default: all tests, on classic)",
    )
    parser.addoption(
        "--within-budget",
        action="store_true",
        help=f"fail if a whole run takes more Spark jobs than {BUDGET.name} allows",
    )

    parser.addoption(
        "--settings",
        choices=tuple(SETTINGS),
        help="run only the tests marked settings, in a session with these settings (on classic Spark by default)",
    )


def pytest_configure(config: pytest.Config) -> None:
    run, budget = config.getoption("--settings") or config.getoption("--spark"), None
    if config.getoption("--within-budget"):
        budgets = json.loads(BUDGET.read_text())
        if run not in budgets:
            raise pytest.UsageError(f"--within-budget needs a whole run: {', '.join(budgets)}")
        budget = budgets[run]
    config.pluginmanager.register(JobCounter(budget))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests of one mode; on Connect without those marked ``classic_only``."""
    mode, settings = config.getoption("--spark"), config.getoption("--settings")

    def selected(item: pytest.Item) -> bool:
        needs_session = bool({"spark", "spark_mode"} & set(item.fixturenames))
        excluded = mode == "connect" and item.get_closest_marker("classic_only")
        in_mode = not mode or (needs_session == (mode != "none") and not excluded)
        return in_mode and (not settings or item.get_closest_marker("settings") is not None)

    remaining = [item for item in items if selected(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(remaining)])
    items[:] = remaining


def has_gpu() -> bool:
    """Whether CuPy is installed and finds a device."""
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except (ImportError, RuntimeError):  # CUDA raises the latter if there is no driver
        return False


def pytest_report_header(config: pytest.Config) -> str:
    return f"GPU tests run on {'a GPU' if has_gpu() else 'a fake CuPy, without a GPU'}"


@pytest.fixture(scope="session")
def spark_mode(request: pytest.FixtureRequest) -> str:
    """Return ``classic`` or ``connect``: the kind of session that the tests use."""
    return request.config.getoption("--spark") or "classic"


@pytest.fixture(scope="session")
def spark(
    spark_mode: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SparkSession]:
    """The Spark session of this process."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if not has_gpu():  # for workers: they inherit the environment
        paths = [str(Path(__file__).parent / "fake_cupy"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        os.environ["FAKE_CUPY_DEVICES"] = "2"
        os.environ["FAKE_CUPY_TRACE"] = str(tmp_path_factory.mktemp("fake_cupy") / "trace")
    if spark_mode == "connect":
        os.environ.setdefault("SPARK_TESTING", "1")  # makes the server take a free port
    builder = SparkSession.builder.appName("sparkscale tests")
    builder = builder.remote("local[2]") if spark_mode == "connect" else builder.master("local[2]")
    builder = (
        builder.config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.memory", "2g")
        # Over TCP, the default, each small Python job waits some 45 ms. TCP is still tested by tests that start
        # other processes, and with PySpark 3.5 and 4.0, which ignore this setting.
        .config("spark.python.unix.domain.socket.enabled", "true")
        # The tests run thousands of queries; by default a session keeps the plans of a thousand.
        .config("spark.sql.ui.retainedExecutions", "10")
        .config("spark.ui.retainedJobs", "10")
        .config("spark.ui.retainedStages", "10")
    )
    for name, value in SETTINGS.get(request.config.getoption("--settings") or "", {}).items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Connect warns of static settings, though its server has applied them
        session = builder.getOrCreate()
    if spark_mode == "classic":
        session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


# --- Spark jobs dominate the time of a run, so they are counted ------------------------------------------------------

JOBS_BEFORE, JOBS_AFTER = pytest.StashKey[int](), pytest.StashKey[int]()


def jobs_so_far() -> int:
    """Return how many jobs the session has run; on Connect its server runs in the JVM of this process.

    Jobs of other processes are not counted, nor those that fixtures run at teardown.
    """
    context = SparkContext._active_spark_context
    return context._jsc.sc().dagScheduler().numTotalJobs() if context else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[JOBS_BEFORE] = jobs_so_far()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[pytest.TestReport]:
    """Record the number of jobs of a test in its last report, and so in the JUnit file."""
    if call.when != "teardown":  # the teardown of the last test stops the session
        item.stash[JOBS_AFTER] = jobs_so_far()
    else:
        item.user_properties.append(("jobs", item.stash[JOBS_AFTER] - item.stash[JOBS_BEFORE]))
    return (yield)


class JobCounter:
    """Adds up the jobs of all tests, prints the files with the most, and checks the budget."""

    def __init__(self, budget: int | None) -> None:
        self.budget, self.by_file = budget, Counter()

    @property
    def total(self) -> int:
        return self.by_file.total()

    @property
    def exceeded(self) -> bool:
        return self.budget is not None and self.total > self.budget

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.by_file[report.location[0]] += dict(report.user_properties)["jobs"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.exceeded and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        files = ", ".join(f"{Path(file).name} {n}" for file, n in self.by_file.most_common(8) if n)
        terminalreporter.write_line(f"{self.total} Spark jobs{f': {files}' if files else ''}")
        if self.exceeded:
            terminalreporter.write_line(
                f"The budget is {self.budget}: let tests share frames and fits, or raise it in {BUDGET.name}.",
                red=True,
            )
