"""What a Spark job that fit runs fails with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sparkscale.errors import from_job
from sparkscale.spark import jvm

__all__ = ["of_jobs"]


@contextmanager
def of_jobs() -> Iterator[None]:
    """Let the sparkscale error that made a Spark job fail come out of the block, in place of Spark's.

    Of a job that was cancelled it is Spark's own exception, as a class of ``pyspark.errors`` in both worlds.
    """
    try:
        yield
    except Exception as failure:
        ours = from_job(failure)
        if ours is not None:
            raise ours from failure
        cancelled = jvm.cancelled(failure)
        if cancelled is not None:
            raise cancelled from None
        raise
