"""How the error of a task becomes the error that the driver raises, without a Spark session."""

from __future__ import annotations

import sys

import pytest

from sparkscale.errors import (
    InvalidValueError,
    ScalingError,
    SizeMismatchError,
    WorkerEnvironmentError,
    from_job,
    marked,
    of_jobs,
)

KINDS = ScalingError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_an_error_of_a_task_comes_out_as_itself(kind: type[ScalingError]) -> None:
    """Its class and its message are read from the text around them, whatever Spark puts there."""
    message = "Column x\nholds 1."
    text = f"Job aborted due to stage failure:\n{marked(kind, message)}\n\tat org.apache.spark..."

    with pytest.raises(ScalingError) as raised, of_jobs():
        raise RuntimeError(text)

    assert type(raised.value) is kind
    assert str(raised.value) == message
    assert str(raised.value.__cause__) == text


def test_the_first_of_several_errors_is_raised() -> None:
    """A stack trace repeats them."""
    text = marked(InvalidValueError, "one") + marked(SizeMismatchError, "two")

    assert repr(from_job(RuntimeError(text))) == repr(InvalidValueError("one"))


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("ModuleNotFoundError: No module named 'sparkscale'", "sparkscale"),
        ("ModuleNotFoundError: No module named 'array_api_compat.numpy'", "array_api_compat"),
        ("[PACKAGE_NOT_INSTALLED] PyArrow >= 18.0.0 must be installed", "pyarrow"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_a_package_that_executors_lack_is_named(
    monkeypatch: pytest.MonkeyPatch, text: str, package: str, named: bool
) -> None:
    """With the remedies; where PYSPARK_PYTHON does not name it already, also this process's Python."""
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable if named else "python3")

    with pytest.raises(WorkerEnvironmentError) as raised, of_jobs():
        raise RuntimeError(text)

    assert f"The Python of the executors lacks {package}. Install it there" in str(raised.value)
    assert str(raised.value).endswith("before Spark starts." if named else f"(on this machine {sys.executable}).")


@pytest.mark.parametrize("failure", [ImportError("No module named 'pandas'"), RuntimeError("disk full"), KeyError("x")])
def test_what_is_not_ours_stays_what_it_is(failure: Exception) -> None:
    """Also a package that this process itself lacks."""
    with pytest.raises(type(failure)) as raised, of_jobs():
        raise failure

    assert raised.value is failure
