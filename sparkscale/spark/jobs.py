"""Translate failures of Spark jobs into sparkscale errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sparkscale.errors import parse_job_error
from sparkscale.spark import jvm

__all__ = ["translate_job_errors"]


@contextmanager
def translate_job_errors() -> Iterator[None]:
    """Raise the sparkscale error that made a Spark job fail in place of Spark's exception.

    For a cancelled job, raise Spark's own exception, as a class of ``pyspark.errors`` on classic Spark and on Connect.
    """
    try:
        yield
    except Exception as failure:
        error = parse_job_error(failure)
        if error is not None:
            raise error from failure
        cancelled = jvm.cancelled(failure)
        if cancelled is not None:
            raise cancelled from None
        raise
