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
    "GroupError",
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
    """A Param got a value of the wrong type."""


class ColumnNotFoundError(ScalingError, ValueError):
    """A named column is not in the DataFrame."""


class ColumnTypeError(ScalingError, TypeError):
    """A column's type cannot be scaled, or differs from the type in fit."""


class DatasetError(ScalingError, TypeError):
    """The input is not a Spark DataFrame, or is a stream where all rows are needed."""


class OutputColumnError(ScalingError, ValueError):
    """An output column clashes with another column."""


class OutputExistsError(ScalingError, ValueError):
    """The output table already exists."""


class SizeMismatchError(ScalingError, ValueError):
    """Arrays or vectors of one column differ in length."""


class DeviceError(ScalingError, RuntimeError):
    """With ``device="gpu"``, a task found no GPU, or could not compute on it."""


class WorkerEnvironmentError(ScalingError, RuntimeError):
    """A package is missing from the Python environment of the executors."""


class BatchError(ScalingError, ValueError):
    """A row belongs to no mini-batch, or a mini-batch is too small to have a variance."""


class GroupError(ScalingError, ValueError):
    """A row is of a group that was not seen in fit, and ``handleUnseen="error"`` refuses it."""


class InvalidValueError(ScalingError, ValueError):
    """A null, NaN or infinite value that ``handleInvalid`` refuses, or an unusable weight."""


class EmptyDataError(ScalingError, ValueError):
    """There is no row to fit on."""


class RangeOverflowError(ScalingError, ValueError):
    """A range, mean or variance is not representable as a double."""


class PersistenceError(ScalingError, ValueError):
    """A saved stage cannot be read, or a path cannot be written."""


_BY_NAME = {c.__name__: c for c in ScalingError.__subclasses__()}
# A task's message is at the start of Spark's message, or follows the exception that Spark names as the cause. A Python
# worker's exception starts a line with its full name. Column names and values, which plans and other messages quote,
# never appear in these positions.
_CAUSE = r"(?:^|^: |^Caused by: |\(TID \d+\) \([^()\n]*\): )"
_PREFIXES = (
    r"\A(?:\([\w.]+\) )?\[USER_RAISED_EXCEPTION\] ",
    rf"{_CAUSE}java\.lang\.RuntimeException: ",
    rf"{_CAUSE}org\.apache\.spark\.SparkRuntimeException: \[USER_RAISED_EXCEPTION\] ",
    r"^sparkscale\.errors\.(?P<raised>\w+): (?=\[sparkscale\.(?P=raised)\] )",
)
_TAG = re.compile(
    rf"(?:{'|'.join(_PREFIXES)})\[sparkscale\.(?P<error>{'|'.join(_BY_NAME)})\] (?P<message>.*?) \[end\]",
    re.DOTALL | re.MULTILINE,
)
_END = re.compile(r"(?<= )(\[+)end\]")
_MISSING_PACKAGE = re.compile(
    r"^(?:[\w.]+: )?(?:No module named '(sparkscale|array_api_compat|numpy|pandas|pyarrow)['.]"
    r"|\[PACKAGE_NOT_INSTALLED\] ((?i:numpy|pandas|pyarrow))\b)",
    re.MULTILINE,
)


def tag_error(error: type[ScalingError], message: str) -> str:
    """Return ``message`` with a tag by which the driver recognizes the error in Spark's message."""
    return f"[sparkscale.{error.__name__}] {escaped(message)} [end]"


def escaped(text: str) -> str:
    """Escape the end tag in a part of a message, since a column may have any name."""
    return _END.sub(r"[\1end]", text)


def parse_job_error(failure: BaseException) -> ScalingError | None:
    """Return the sparkscale error that made a Spark job fail, if one did."""
    if any(c.__name__ == "AnalysisException" for c in type(failure).__mro__):  # raised before any task runs
        return None
    text = str(failure)
    if isinstance(failure, ScalingError):  # raised in this process, but tagged as in a task
        text = f"sparkscale.errors.{type(failure).__name__}: {text}"
    tagged = _TAG.search(text)
    if tagged:
        return _BY_NAME[tagged["error"]](_END.sub(lambda end: end[0][1:], tagged["message"]))
    missing = _MISSING_PACKAGE.search(text)
    if missing and not isinstance(failure, ImportError):  # which was raised in this process
        name = (missing[1] or missing[2]).lower()
        here = "" if os.environ.get("PYSPARK_PYTHON") == sys.executable else f" (on this machine {sys.executable})"
        return WorkerEnvironmentError(
            f"The Python of the executors lacks {name}. Install it there, ship it if it is sparkscale (--py-files "
            "dist/sparkscale.zip; addArtifacts on Spark Connect), or name another Python with PYSPARK_PYTHON before "
            f"Spark starts{here}."
        )
    return None
