"""Checks in environments of their own: older versions of PySpark, and the wheel. Run by ``make compat``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

TEST = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
NEWEST_PYTHON = (3, 12)  # of these versions of PySpark
CORE = [  # where versions of PySpark differ: plans, functions, persistence
    "tests/test_model.py",
    "tests/test_transform.py",
    "tests/test_persistence.py",
    "tests/test_pipeline.py",
    "tests/test_streaming.py",
    "tests/parity/test_pyspark.py",
]


def suitable_python() -> str | None:
    """Return the running Python if it is not too new, else one that is found on PATH, if one is."""
    if sys.version_info[:2] <= NEWEST_PYTHON:
        return sys.executable
    return next((p for p in ("python3.12", "python3.11", "python3.10") if shutil.which(p)), None)


PYTHON = suitable_python()
FEWER = ["tests/test_transform.py", "tests/test_pipeline.py", "tests/test_gpu.py", "tests/parity/test_pyspark.py"]
CORE_ON_CONNECT = ["tests/test_pipeline.py", "tests/parity/test_pyspark.py"]


@nox.session(python=PYTHON or sys.executable)
@nox.parametrize(
    ("requirements", "worlds"),
    [
        nox.param(("pyspark==3.5.*", "pandas<3", "numpy<2", "pyarrow<20"), {"classic": CORE}, id="pyspark-3.5"),
        nox.param(
            ("pyspark[connect]==4.0.*", "pandas<3"), {"classic": FEWER, "connect": CORE_ON_CONNECT}, id="pyspark-4.0"
        ),
    ],
)
def compat(session: nox.Session, requirements: tuple[str, ...], worlds: dict[str, list[str]]) -> None:
    """Run the core tests on an older version of PySpark."""
    if PYTHON is None:
        session.skip(
            f"{requirements[0]} needs Python {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]} or older, and none is on PATH"
        )
    session.install("--editable", ".", *requirements, *TEST)
    session.env["PYSPARK_PYTHON"] = str(Path(session.bin) / "python")
    session.run("python", "-c", "import pyspark, sparkscale; print('PySpark', pyspark.__version__)")
    # Older versions leave sockets to the garbage collector and use what is deprecated by now: not ours to fail on.
    quiet = ("-W", "default", "--disable-warnings")
    for world, files in worlds.items():
        session.run("pytest", "-m", "core", f"--world={world}", *quiet, *(session.posargs or files))


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone, and use it away from the checkout."""
    session.install("build")
    built = Path(session.create_tmp())
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built), silent=True)
    session.install("--force-reinstall", "--no-deps", *map(str, built.glob("*.whl")))
    session.install(*map(str, built.glob("*.whl")))  # now with what it needs
    session.env["PYSPARK_PYTHON"] = str(Path(session.bin) / "python")
    session.chdir(built)
    session.run("python", "-c", SMOKE)


SMOKE = """
from pyspark.sql import SparkSession
import sparkscale
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
df = spark.createDataFrame([([1.0, 2.0],), ([3.0, 6.0],)], "a array<double>")
rows = sparkscale.MinMaxScaler(inputCol="a").fit(df).transform(df).collect()
assert [r.a_scaled for r in rows] == [[0.0, 0.0], [1.0, 1.0]], rows
print("sparkscale", sparkscale.__version__, "from", sparkscale.__file__)
"""
