"""Checks in separate environments: versions of PySpark and Python, the sdist and the wheel. Run by ``make compat``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False  # report them as skipped
nox.options.download_python = "never"

PYPROJECT = nox.project.load_toml("pyproject.toml")
PROJECT = PYPROJECT["project"]
TEST = nox.project.dependency_groups(PYPROJECT, "test")
PYTHONS = nox.project.python_versions(PYPROJECT)  # from the classifiers
DIST = Path(".nox/built").resolve()
NEWEST_PYTHON = (3, 12)  # that the older versions of PySpark support
SPARK = Path(find_spec("pyspark").origin).parent


def suitable_python() -> str | None:
    """Return the running Python if it is not too new, else one on PATH, or None."""
    if sys.version_info[:2] <= NEWEST_PYTHON:
        return sys.executable
    return next((p for p in ("python3.12", "python3.11", "python3.10") if shutil.which(p)), None)


PYTHON = suitable_python()
# PySpark 4.0 on Connect does not name a broken file.
ON_CONNECT = ["tests", "--deselect=tests/test_cli.py::test_jvm_errors_are_reported"]
CORE = "core and not third_party and not slow"
WITH_NUMPY_1 = ["tests", "--ignore=tests/test_gpu.py", "-m", f"{CORE} and not gpu"]  # the fake CuPy needs NumPy 2
# Where PySpark 4.0 differs from both 3.5 and the newest on classic Spark.
CLASSIC_4_0 = ["tests/test_transform.py", "tests/test_pipeline.py", "tests/test_gpu.py", "tests/parity/test_pyspark.py"]
# Tests that run our Python code, not only Spark's expressions: the command line, files, workers, doctests.
PYTHON_TESTS = [
    f"tests/test_{name}.py"
    for name in ("cli", "doctests", "fit_paths", "gpu", "persistence", "rows", "streaming", "tasks")
]


@nox.session(python=PYTHON or sys.executable)
@nox.parametrize(
    ("requirements", "files_by_mode"),
    [
        nox.param(
            ("pyspark==3.5.*", "pandas<3", "numpy<2", "pyarrow<20"),
            {"classic": WITH_NUMPY_1},
            id="pyspark-3.5",
            tags=["oldest"],  # half of all time: it can run beside the others
        ),
        nox.param(
            ("pyspark[connect]==4.0.*", "pandas<3"), {"classic": CLASSIC_4_0, "connect": ON_CONNECT}, id="pyspark-4.0"
        ),
        # The first version with Arrow UDFs.
        nox.param(("pyspark[connect]==4.1.*",), {"classic": ["tests/test_gpu.py"]}, id="pyspark-4.1"),
    ],
)
def compat(session: nox.Session, requirements: tuple[str, ...], files_by_mode: dict[str, list[str]]) -> None:
    """Run the core tests on an older version of PySpark."""
    if PYTHON is None:
        session.skip(
            f"{requirements[0]} needs Python {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]} or older, and none is on PATH"
        )
    session.install("--editable", ".", *requirements, *TEST)
    session.env["PYSPARK_PYTHON"] = str(Path(session.bin) / "python")
    session.run("python", "-c", "import pyspark, sparkscale; print('PySpark', pyspark.__version__)")
    # Older versions of PySpark leave sockets open and use deprecated APIs; ignore their warnings.
    quiet = ("-W", "default", "--disable-warnings")
    for mode, files in files_by_mode.items():
        session.run("pytest", "-m", CORE, f"--spark={mode}", *quiet, *(session.posargs or files))


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run some core tests on each installed Python, with the newest PySpark for it."""
    session.install("--editable", ".", *TEST)
    session.env["PYSPARK_PYTHON"] = str(Path(session.bin) / "python")
    session.run("python", "-c", "import pyspark, sys; print('PySpark', pyspark.__version__, 'on Python', sys.version)")
    session.run("pytest", "-m", "core and not third_party", "--spark=classic", *(session.posargs or PYTHON_TESTS))


@nox.session
def package(session: nox.Session) -> None:
    """Build the sdist, and the wheel from it; check their files, and that the package index would accept them."""
    session.install("build", "check-wheel-contents", "twine", "uv")
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST), silent=True)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    listed = session.run("git", "-c", "core.quotePath=off", "ls-files", external=True, silent=True)
    tracked = {path for path in str(listed).splitlines() if not path.startswith(".")}
    with tarfile.open(sdist) as archive:
        missing = tracked - {path.partition("/")[2] for path in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing |= {path for path in tracked if path.startswith("sparkscale/")} - {*names}
    missing |= {"LICENSE"} - {Path(path).name for path in names}
    if missing:
        session.error(f"not in the sdist, or not in the wheel: {', '.join(sorted(missing))}")
    session.run("check-wheel-contents", str(wheel))
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    # Only resolve the extras: installing some takes gigabytes.
    certificates = {"UV_SYSTEM_CERTS": "1"}  # use the system's, as pip does
    session.run("uv", "pip", "compile", "--quiet", "--all-extras", "pyproject.toml", silent=True, env=certificates)


@nox.session(requires=["package"])
def wheel(session: nox.Session) -> None:
    """Install the wheel and use it outside the checkout; check that its types are visible."""
    (wheel_file,) = DIST.glob("*.whl")
    session.install("--force-reinstall", "--no-deps", str(wheel_file))
    session.install(str(wheel_file))  # with its dependencies
    session.env["PYSPARK_PYTHON"] = python = str(Path(session.bin) / "python")
    shutil.copy("examples/typed.py", DIST)
    session.chdir(DIST)
    session.run("python", "-c", SMOKE)
    for command in (["sparkscale"], ["python", "-m", "sparkscale"]):
        output = session.run(*command, "--version", silent=True)
        if PROJECT["version"] not in str(output):
            session.error(f"{' '.join(command)} --version printed {output}")
        session.run(*command, "--help", silent=True)
    session.install("pandas-stubs")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", python]
    session.run(*mypy, "typed.py", external=True)


@nox.session
def client(session: nox.Session) -> None:
    """Use a Spark Connect server from an environment without a JVM, with the pure Connect client."""
    session.install("pyspark-client>=4.1", "array-api-compat", "click")
    session.install("--no-deps", ".")
    server = [f"{SPARK}/bin/spark-submit", "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    server += ["--master", "local[1]", "--conf", f"spark.connect.grpc.binding.port={CONNECT_PORT}"]
    server += ["--conf", "spark.ui.enabled=false", "spark-internal"]
    env = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    log = Path(session.create_tmp(), "server.log").resolve()
    with log.open("w") as out, subprocess.Popen(server, env=env, stdout=out, stderr=out) as process:
        try:
            wait_for_port(process, log)
            session.chdir(session.create_tmp())
            # PySpark looks for SPARK_HOME though it needs none; any folder will do.
            session.run("python", "-c", CLIENT, str(CONNECT_PORT), env={"PATH": str(session.bin), "SPARK_HOME": "."})
        finally:
            process.terminate()


CONNECT_PORT = 15903


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server listens."""
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", CONNECT_PORT)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(log.read_text())


CLIENT = """
import sys, tempfile
from pyspark.sql import SparkSession
import sparkscale
spark = SparkSession.builder.remote(f"sc://localhost:{sys.argv[1]}").getOrCreate()
df = spark.range(10).selectExpr("double(id) x", "array(double(id), 1D) a")
model = sparkscale.StandardScaler(inputCols=["x", "a"], withMean=True).fit(df)
scaled = model.transform(df)
folder = tempfile.mkdtemp() + "/model"
model.write().overwrite().save(folder)
loaded = sparkscale.StandardScalerModel.load(folder)
assert loaded.transform(df).collect() == scaled.collect()
restored = loaded.inverseTransform(scaled.drop("x", "a"))
assert [round(r.x, 9) for r in restored.collect()] == [float(k) for k in range(10)]
assert "py4j" not in sys.modules
print("client: PySpark", spark.version, "without a JVM")
"""
SMOKE = """
from pyspark.sql import SparkSession
import sparkscale
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
df = spark.createDataFrame([([1.0, 2.0],), ([3.0, 6.0],)], "a array<double>")
rows = sparkscale.MinMaxScaler(inputCol="a").fit(df).transform(df).collect()
assert [r.a_scaled for r in rows] == [[0.0, 0.0], [1.0, 1.0]], rows
print("sparkscale", sparkscale.__version__, "from", sparkscale.__file__)
"""
