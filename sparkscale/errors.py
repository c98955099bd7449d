"""Exceptions: each says what was wrong, in which column, and what to do."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "BatchError",
    "ColumnNotFoundError",
    "ColumnTypeError",
    "DeviceError",
    "EmptyDataError",
    "InvalidValueError",
    "OutputColumnError",
    "OutputExistsError",
    "ParamError",
    "PersistenceError",
    "RangeOverflowError",
    "ScalingError",
    "SizeMismatchError",
    "WorkerEnvironmentError",
]


class ScalingError(Exception):
    """Base of all exceptions raised by sparkscale."""


class ParamError(ScalingError, ValueError):
    """A Param has a value, or a combination of values, that cannot be used."""


class ColumnNotFoundError(ScalingError, ValueError):
    """A named column is not in the DataFrame."""


class ColumnTypeError(ScalingError, TypeError):
    """A column's type cannot be scaled, or differs from the type seen in fit."""


class OutputColumnError(ScalingError, ValueError):
    """An output column clashes with another column."""


class OutputExistsError(ScalingError, ValueError):
    """A table is to be written where there is one."""


class SizeMismatchError(ScalingError, ValueError):
    """Arrays or vectors of one column differ in length."""


class DeviceError(ScalingError, RuntimeError):
    """Under ``device="gpu"`` a task found no GPU, or could not compute on it."""


class WorkerEnvironmentError(ScalingError, RuntimeError):
    """The Python that executors run lacks a package."""


class BatchError(ScalingError, ValueError):
    """A row is of no mini-batch, or a mini-batch is too small to have a variance."""


class InvalidValueError(ScalingError, ValueError):
    """A null, NaN or infinite value under ``handleInvalid="error"``, or an unusable weight."""


class EmptyDataError(ScalingError, ValueError):
    """No row is left to learn from."""


class RangeOverflowError(ScalingError, ValueError):
    """A range, mean or variance is not representable as a double."""


class PersistenceError(ScalingError, ValueError):
    """A saved stage cannot be read, or a path cannot be written."""


_MARK = re.compile(r"\[sparkscale\.(\w+)\] (.*?) \[end\]", re.DOTALL)
_LACKING = re.compile(
    r"No module named '(sparkscale|array_api_compat|numpy|pandas|pyarrow)['.]"
    r"|\[PACKAGE_NOT_INSTALLED\] ((?i:numpy|pandas|pyarrow))\b"
)
_BY_NAME = {c.__name__: c for c in ScalingError.__subclasses__()}


def marked(kind: type[ScalingError], message: str) -> str:
    """Return ``message`` in the form that survives the way from a task to the driver."""
    return f"[sparkscale.{kind.__name__}] {message} [end]"


def from_job(failure: BaseException) -> ScalingError | None:
    """Return the sparkscale error that made a Spark job fail, if one did."""
    text = str(failure)
    found = _MARK.search(text)
    if found:
        return _BY_NAME[found[1]](found[2])
    lacking = _LACKING.search(text)
    if lacking and not isinstance(failure, ImportError):  # which is of this process
        name = (lacking[1] or lacking[2]).lower()
        here = "" if os.environ.get("PYSPARK_PYTHON") == sys.executable else f" (on this machine {sys.executable})"
        return WorkerEnvironmentError(
            f"The Python of the executors lacks {name}. Install it there, ship it if it is sparkscale (--py-files "
            "dist/sparkscale.zip; addArtifacts on Spark Connect), or name another Python with PYSPARK_PYTHON before "
            f"Spark starts{here}."
        )
    return None


@contextmanager
def of_jobs() -> Iterator[None]:
    """Let the sparkscale error that made a Spark job fail come out of the block, in place of Spark's."""
    try:
        yield
    except Exception as failure:
        ours = from_job(failure)
        if ours is None:
            raise
        raise ours from failure
