"""How the error of a task becomes the error that the driver raises, without a Spark session."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from pyspark.errors import AnalysisException, ParseException

from sparkscale.errors import (
    InvalidValueError,
    ParamError,
    ScalingError,
    SizeMismatchError,
    WorkerEnvironmentError,
    parse_job_error,
    tag_error,
)
from sparkscale.spark.expression import failure
from sparkscale.spark.jobs import translate_job_errors

KINDS = ScalingError.__subclasses__()
LOST = "Job aborted due to stage failure: Lost task 0.0 in stage 3.0 (TID 8) (10.0.0.7 executor 1): "
AWAITED = (
    "An error occurred while calling o9.getResult.\n: org.apache.spark.SparkException: Exception thrown in awaitResult"
)
TRACE = "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"


def of_task(kind: type[ScalingError], message: str) -> Exception:
    """Return what the driver sees of an error of a Python worker."""
    return RuntimeError(f"{TRACE}sparkscale.errors.{kind.__name__}: {tag_error(kind, message)}\n")


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_task_error_is_raised_with_its_class_and_message(kind: type[ScalingError]) -> None:
    """Class and message are parsed from Spark's text."""
    failed = of_task(kind, "Column x\nholds 1.")

    with pytest.raises(ScalingError) as raised, translate_job_errors():
        raise failed

    assert type(raised.value) is kind
    assert str(raised.value) == "Column x\nholds 1."
    assert raised.value.__cause__ is failed


@pytest.mark.parametrize(
    "before",
    [
        "[USER_RAISED_EXCEPTION] ",
        f"{LOST}org.apache.spark.SparkRuntimeException: [USER_RAISED_EXCEPTION] ",
        f"{LOST}java.lang.RuntimeException: ",
        f"{AWAITED}\nCaused by: java.lang.RuntimeException: ",
        f"{AWAITED}\nCaused by: org.apache.spark.SparkRuntimeException: [USER_RAISED_EXCEPTION] ",
        "An error occurred while calling o9.collect.\n: java.lang.RuntimeException: ",
    ],
    ids=["PySpark 4", "lost task", "lost task of 3.5", "awaited, 3.5", "awaited", "Py4J"],
)
def test_message_of_raise_error_is_parsed(before: str) -> None:
    error = parse_job_error(
        RuntimeError(f"{before}{tag_error(InvalidValueError, 'x holds NaN')} SQLSTATE: P0001\n\tat org...")
    )

    assert repr(error) == repr(InvalidValueError("x holds NaN"))


def test_driver_errors_have_no_marker() -> None:
    """What tasks check is also checked before any runs."""
    assert repr(parse_job_error(ParamError(tag_error(ParamError, "too many")))) == repr(ParamError("too many"))


def test_the_first_of_several_errors_is_raised() -> None:
    """A stack trace repeats them."""
    text = f"{of_task(InvalidValueError, 'one')}\n{of_task(SizeMismatchError, 'two')}"

    assert repr(parse_job_error(RuntimeError(text))) == repr(InvalidValueError("one"))


@pytest.mark.parametrize(
    "name", ["x [end]", "[end] x", " [[end] ", "a [end] [end] [[[end] b", "[sparkscale.ParamError] x [end]"]
)
def test_message_may_contain_the_markers(name: str) -> None:
    """A column may have such a name."""
    assert (
        str(parse_job_error(of_task(InvalidValueError, f"Column '{name}' holds NaN."))) == f"Column '{name}' holds NaN."
    )


def test_sql_that_fails_escapes_names_as_workers_do() -> None:
    """The message contains a value of the row."""
    sql = failure(InvalidValueError, "Column x [end] holds ", "x", ", not [y [end]].")

    assert "x [[end]" in sql
    assert "not [y [[end]]. [end]" in sql


@pytest.mark.parametrize("error", [AnalysisException, ParseException])
def test_marker_in_a_plan_is_ignored(error: Callable[[str], Exception]) -> None:
    """A plan may show a name of any form, on lines of its own."""
    assert parse_job_error(error(f"cannot resolve y\n{of_task(ParamError, 'x')}")) is None


@pytest.mark.parametrize(
    "text",
    [
        f"The value '{tag_error(ParamError, 'x')}' of the type STRING cannot be cast to INT.",
        f"[USER_RAISED_EXCEPTION] the user's own words: {tag_error(ParamError, 'x')}",
        f"{TRACE}ValueError: {tag_error(ParamError, 'x')}",
        f"{TRACE}sparkscale.errors.InvalidValueError: {tag_error(ParamError, 'x')}",
        "[USER_RAISED_EXCEPTION] [sparkscale.Foo] x [end]",
        f"{TRACE}KeyError: \"No module named 'pandas'\" is a column",
    ],
    ids=["value", "within a message", "another exception", "another class", "unknown class", "column"],
)
def test_marker_elsewhere_is_ignored(text: str) -> None:
    """It is of a column's name, or of another's exception."""
    assert parse_job_error(RuntimeError(text)) is None


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("ModuleNotFoundError: No module named 'sparkscale'", "sparkscale"),
        ("ModuleNotFoundError: No module named 'array_api_compat.numpy'", "array_api_compat"),
        ("ImportError: Unable to import required dependencies:\nnumpy: No module named 'numpy'", "numpy"),
        ("[PACKAGE_NOT_INSTALLED] PyArrow >= 18.0.0 must be installed", "pyarrow"),
        ("pyspark.errors.PySparkImportError: [PACKAGE_NOT_INSTALLED] Pandas >= 2.2.0 must be installed", "pandas"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_a_package_that_executors_lack_is_named(
    monkeypatch: pytest.MonkeyPatch, text: str, package: str, named: bool
) -> None:
    """With the remedies; where PYSPARK_PYTHON does not name it already, also this process's Python."""
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable if named else "python3")

    with pytest.raises(WorkerEnvironmentError) as raised, translate_job_errors():
        raise RuntimeError(f"{TRACE}{text}")

    assert f"The Python of the executors lacks {package}. Install it there" in str(raised.value)
    assert str(raised.value).endswith("before Spark starts." if named else f"(on this machine {sys.executable}).")


@pytest.mark.parametrize(
    "failed",
    [ImportError("No module named 'pandas'"), RuntimeError("disk full"), KeyError("x"), KeyboardInterrupt()],
    ids=repr,
)
def test_other_exceptions_are_unchanged(failed: BaseException) -> None:
    """Also a package missing on the driver, and KeyboardInterrupt."""
    with pytest.raises(type(failed)) as raised, translate_job_errors():
        raise failed

    assert raised.value is failed
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
