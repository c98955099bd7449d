"""Exceptions: each says what was wrong, in which column, and what to do."""

from __future__ import annotations

import os
import re
import sys

__all__ = [
    "BatchError",
    "ColumnNotFoundError",
    "ColumnTypeError",
    "DatasetError",
    "DeviceError",
    "EmptyDataError",
    "InvalidValueError",
    "OutputColumnError",
    "OutputExistsError",
    "ParamError",
    "ParamTypeError",
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


class ParamTypeError(ParamError, TypeError):
    """A Param got a value of another type."""


class ColumnNotFoundError(ScalingError, ValueError):
    """A named column is not in the DataFrame."""


class ColumnTypeError(ScalingError, TypeError):
    """A column's type cannot be scaled, or differs from the type seen in fit."""


class DatasetError(ScalingError, TypeError):
    """What was given is not a Spark DataFrame, or is a stream where all rows are needed."""


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
    """A null, NaN or infinite value that ``handleInvalid`` refuses, or an unusable weight."""


class EmptyDataError(ScalingError, ValueError):
    """No row is left to learn from."""


class RangeOverflowError(ScalingError, ValueError):
    """A range, mean or variance is not representable as a double."""


class PersistenceError(ScalingError, ValueError):
    """A saved stage cannot be read, or a path cannot be written."""


_BY_NAME = {c.__name__: c for c in ScalingError.__subclasses__()}
# A message of a task stands at the start of Spark's, or after the exception that Spark names as the cause. A worker's
# exception starts a line, with its full name. Names and values, which plans and other messages show, stand elsewhere.
_CAUSE = r"(?:^|^: |^Caused by: |\(TID \d+\) \([^()\n]*\): )"
_PLACES = (
    r"\A(?:\([\w.]+\) )?\[USER_RAISED_EXCEPTION\] ",
    rf"{_CAUSE}java\.lang\.RuntimeException: ",
    rf"{_CAUSE}org\.apache\.spark\.SparkRuntimeException: \[USER_RAISED_EXCEPTION\] ",
    r"^sparkscale\.errors\.(?P<raised>\w+): (?=\[sparkscale\.(?P=raised)\] )",
)
_MARK = re.compile(
    rf"(?:{'|'.join(_PLACES)})\[sparkscale\.(?P<kind>{'|'.join(_BY_NAME)})\] (?P<message>.*?) \[end\]",
    re.DOTALL | re.MULTILINE,
)
_END = re.compile(r"(?<= )(\[+)end\]")
_LACKING = re.compile(
    r"^(?:[\w.]+: )?(?:No module named '(sparkscale|array_api_compat|numpy|pandas|pyarrow)['.]"
    r"|\[PACKAGE_NOT_INSTALLED\] ((?i:numpy|pandas|pyarrow))\b)",
    re.MULTILINE,
)


def marked(kind: type[ScalingError], message: str) -> str:
    """Return ``message`` in the form that survives the way from a task to the driver."""
    return f"[sparkscale.{kind.__name__}] {escaped(message)} [end]"


def escaped(text: str) -> str:
    """Return a part of a message so that nothing in it ends the message: a column may have any name."""
    return _END.sub(r"[\1end]", text)


def from_job(failure: BaseException) -> ScalingError | None:
    """Return the sparkscale error that made a Spark job fail, if one did."""
    if any(c.__name__ == "AnalysisException" for c in type(failure).__mro__):  # no task has run
        return None
    text = str(failure)
    if isinstance(failure, ScalingError):  # of this process, with the mark for tasks
        text = f"sparkscale.errors.{type(failure).__name__}: {text}"
    found = _MARK.search(text)
    if found:
        return _BY_NAME[found["kind"]](_END.sub(lambda end: end[0][1:], found["message"]))
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
