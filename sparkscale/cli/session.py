"""The Spark session of a command, and its errors as one line each."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import click
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sparkscale.cli import csv
from sparkscale.errors import ScalingError, parse_job_error
from sparkscale.spark import jvm

__all__ = ["open_session"]

CONNECT_PORT = 15002  # Spark's default
SERVER_TIMEOUT_SECONDS = 20
FAILURES: tuple[type[Exception], ...] = (ScalingError, PySparkException, OSError, *jvm.errors())


@contextmanager
def open_session(options: Mapping[str, Any]) -> Iterator[SparkSession]:
    """Open a session by the options of a command. Errors within become one line each.

    An active session is used as it is, and left open.
    """
    master, remote, debug = options["master"], options["remote"], options["debug"]
    if master and remote:
        raise click.UsageError("--master and --remote exclude each other.")
    if not debug:
        warnings.filterwarnings("ignore", module=r"pyspark\.")
    starts_spark = not remote or remote.startswith("local")
    if not starts_spark:
        _check_server(remote)
    if sys.stdout.isatty():  # where the client of Spark Connect prints it
        os.environ.setdefault("SPARK_CONNECT_PROGRESS_BAR_ENABLED", "1")
    builder = SparkSession.builder.appName("sparkscale")
    builder = builder.remote(remote) if remote else builder.master(master) if master else builder
    configuration = _configuration(remote, starts_spark=starts_spark, debug=debug) | options["conf"]
    for key, value in configuration.items():
        builder = builder.config(key, value)
    active = SparkSession.getActiveSession()
    try:
        spark = active or builder.getOrCreate()
        if active is None and not remote:
            _use_this_python(spark)
        try:
            yield spark
        finally:
            if active is None:
                spark.stop()
    except FAILURES as failure:
        if debug:
            raise
        raise click.ClickException(error_line(failure)) from failure


def _check_server(remote: str) -> None:
    """Refuse a server that does not answer: Spark's client would try again for many minutes."""
    url = urlsplit(remote)
    if url.scheme != "sc" or not url.hostname:
        raise click.UsageError(f"{remote!r} is no Spark Connect server. Example: sc://host:15002.")
    try:
        socket.create_connection((url.hostname, url.port or CONNECT_PORT), timeout=SERVER_TIMEOUT_SECONDS).close()
    except OSError as failure:
        raise click.ClickException(
            f"No Spark Connect server answers at {remote} ({failure}). Is it running, and are host and port right?"
        ) from failure


def _configuration(remote: str | None, *, starts_spark: bool, debug: bool) -> dict[str, str]:
    """Return the configuration under that of ``--conf``. A running server has its own."""
    configuration = {} if remote else {"spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower()}
    if starts_spark and not debug:
        log4j2 = files("sparkscale").joinpath("log4j2.properties")
        configuration["spark.driver.extraJavaOptions"] = f'"-Dlog4j2.configurationFile={log4j2}"'
    if remote and starts_spark and not os.environ.get("PYSPARK_PYTHON"):  # for classic, see _use_this_python
        configuration["spark.sql.execution.pyspark.python"] = sys.executable
    return configuration


def _use_this_python(spark: SparkSession) -> None:
    """Let executors on this machine run the Python of the command, whose environment may not be activated."""
    context = spark.sparkContext
    if (context.master or "").startswith("local") and not os.environ.get("PYSPARK_PYTHON"):
        context.pythonExec = sys.executable


def error_line(failure: Exception) -> str:
    """Return an error as one line, with the remedy."""
    message = str(parse_job_error(failure) or csv.reading_error(failure) or jvm.message(failure) or failure)
    line = message.strip().partition("\n")[0] or type(failure).__name__
    if "JAVA_GATEWAY_EXITED" in line:
        line += " Is Java 17 or newer installed, and are --master and --conf right? --debug shows more."
    if isinstance(failure, ImportError):
        line += ' For Spark Connect: pip install "sparkscale[connect]".'
    return line
