"""One Spark session for all tests, in the world that ``--world`` names."""

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

BUDGET = Path(__file__).parent / "jobs.json"  # Spark jobs that a whole run may take, in each world
SETTINGS = {
    "ansi-off": {"spark.sql.ansi.enabled": "false"},
    # All that makes Spark read SQL and names in another way, at once.
    "strict": {
        "spark.sql.ansi.enabled": "true",
        "spark.sql.ansi.enforceReservedKeywords": "true",
        "spark.sql.parser.quotedRegexColumnNames": "true",
        "spark.sql.caseSensitive": "true",
        "spark.sql.session.timeZone": "Asia/Kathmandu",
    },
}

os.environ.setdefault("KERAS_BACKEND", "torch")  # the lightest
# Queries are small and each has code of its own: over 60 fits and transforms the JVM took twice the processors' time with
# its second compiler, and more with several threads of garbage collection.
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
hypothesis.settings.load_profile("sparkscale")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--world",
        choices=("none", "classic", "connect"),
        help="only the tests that need no Spark session, or only those that need one, on classic Spark or Spark Connect; "
        "both cannot live in one process (default: all, on classic)",
    )
    parser.addoption(
        "--within-budget",
        action="store_true",
        help=f"fail if the tests run more Spark jobs than {BUDGET.name} allows a whole run",
    )

    parser.addoption(
        "--settings",
        choices=tuple(SETTINGS),
        help="only the tests that are marked so, in a session with these settings, on classic Spark unless --world says",
    )


def pytest_configure(config: pytest.Config) -> None:
    world, budget = config.getoption("--settings") or config.getoption("--world"), None
    if config.getoption("--within-budget"):
        budgets = json.loads(BUDGET.read_text())
        if world not in budgets:
            raise pytest.UsageError(f"--within-budget is for whole runs: {', '.join(budgets)}")
        budget = budgets[world]
    config.pluginmanager.register(JobsOfRun(budget))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of one world, only what needs it; on Connect without what is the same there, and is marked so."""
    chosen, settings = config.getoption("--world"), config.getoption("--settings")

    def wanted(item: pytest.Item) -> bool:
        needs_session = bool({"spark", "world"} & set(item.fixturenames))
        elsewhere = chosen == "connect" and item.get_closest_marker("one_world")
        of_world = not chosen or (needs_session == (chosen != "none") and not elsewhere)
        return of_world and (not settings or item.get_closest_marker("settings") is not None)

    kept = [item for item in items if wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


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
    return request.config.getoption("--world") or "classic"


@pytest.fixture(scope="session")
def spark(
    world: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SparkSession]:
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
        # Over TCP, the default, each small job of the tests' own in Python waits some 45 ms. TCP is still tested: by
        # tests that start processes of their own, and by PySpark 3.5 and 4.0, which ignore this.
        .config("spark.python.unix.domain.socket.enabled", "true")
        # Thousands of queries: a session remembers a thousand of them, with their plans.
        .config("spark.sql.ui.retainedExecutions", "10")
        .config("spark.ui.retainedJobs", "10")
        .config("spark.ui.retainedStages", "10")
    )
    for name, value in SETTINGS.get(request.config.getoption("--settings") or "", {}).items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Connect warns of static settings, which its server has taken by then
        session = builder.getOrCreate()
    if world == "classic":
        session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


# --- Spark jobs are what a run costs: they are counted --------------------------------------------------------------

JOBS_BEFORE, JOBS_AFTER = pytest.StashKey[int](), pytest.StashKey[int]()


def jobs_so_far() -> int:
    """Return how many jobs the session of the tests has run; on Connect its server lives in this process's JVM.

    Jobs of programs that a test starts are not among them, nor what a test's fixtures run when they are torn down.
    """
    context = SparkContext._active_spark_context
    return context._jsc.sc().dagScheduler().numTotalJobs() if context else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[JOBS_BEFORE] = jobs_so_far()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[pytest.TestReport]:
    """Note with the last report of a test, and so in JUnit's file, how many jobs it has run."""
    if call.when != "teardown":  # the last of which stops the session
        item.stash[JOBS_AFTER] = jobs_so_far()
    else:
        item.user_properties.append(("jobs", item.stash[JOBS_AFTER] - item.stash[JOBS_BEFORE]))
    return (yield)


class JobsOfRun:
    """Adds up the jobs of all tests, shows the dearest files, and keeps to the budget."""

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
                f"The budget is {self.budget}: have tests share frames and fits, or raise it in {BUDGET.name}.",
                red=True,
            )
