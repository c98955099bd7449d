"""The statistics of a stream, exact across restarts and replays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import LongType

from sparkscale.errors import BatchError, ParamError
from sparkscale.scalers._profile_arguments import check_arguments
from sparkscale.scalers.profile import Profile
from sparkscale.spark import storage
from sparkscale.spark.fit.batch_tables import joined, split, with_batch
from sparkscale.spark.keys import KeyColumn
from sparkscale.spark.names import folded

__all__ = ["StreamingFit"]

BATCH = KeyColumn("batchId", LongType(), ("batchId",))


@dataclass(frozen=True)
class _Batches:
    """The statistics of the last batch, and of all before it.

    Parameters
    ----------
    last_id : int
        The id of the last batch; -1 if there is none.
    before, last : Profile or None
        Without the key ``batchId``; ``None`` if there is no row.
    """

    last_id: int = -1
    before: Profile | None = None
    last: Profile | None = None

    @cached_property
    def merged(self) -> Profile | None:
        """The profile of all batches."""
        profiles = [profile for profile in (self.before, self.last) if profile is not None]
        return profiles[0].merge(*profiles[1:]) if profiles else None


class StreamingFit:
    """A sink for ``foreachBatch`` that keeps a profile of a stream, saved at a path.

    After each batch the profile is that of all rows so far, to the bit for counts and extrema and to rounding for moments.
    It stays exact if the query stops at any point and is started again: the statistics of the last batch are kept apart,
    and if Spark repeats this batch, they are replaced, not added twice. Those of all batches before are merged, so the
    state does not grow with the number of batches. A batch is published as a whole: an interrupted save leaves the one
    before.

    Parameters
    ----------
    path : str
        Where the profile is saved. It may hold the profile of an earlier run of the same query, and nothing else. Only one
        query may write to it.
    inputCols : list of str
        The columns.
    groupCols : list of str, optional
        Columns whose values are keys.
    statistics, weightCol, handleInvalid, relativeError : list of str, str, str and float, optional
        As in `Profile.of`.
    reset : bool, default=False
        Whether to start anew if a batch comes that is older than the last one, as after the loss of the query's
        checkpoint.

    Raises
    ------
    ParamError
        If an argument has a value that cannot be used.

    Notes
    -----
    The object can be pickled and has no session, so it also works with Spark Connect, which runs it on the server.

    At the path is a `Profile` with the key ``batchId`` and those of ``groupCols``: ``Profile.load(path).by(*groupCols)``, or
    ``.total()``, is what `profile` returns.

    Examples
    --------
    >>> import tempfile
    >>> from sparkscale import StandardScaler, StreamingFit
    >>> sink = StreamingFit(f"{tempfile.mkdtemp()}/statistics", inputCols=["x"])
    >>> for batch_id, rows in enumerate([[(1.0,), (2.0,)], [(6.0,)], [(6.0,)]]):
    ...     sink(spark.createDataFrame(rows, "x double"), min(batch_id, 1))  # the second batch is repeated
    >>> sink.model(StandardScaler(inputCol="x")).mean
    DenseVector([3.0])

    In a query: ``stream.writeStream.foreachBatch(sink).option("checkpointLocation", ...).start()``.
    """

    def __init__(
        self,
        path: str,
        *,
        inputCols: list[str],
        groupCols: list[str] | None = None,
        statistics: list[str] | None = None,
        weightCol: str | None = None,
        handleInvalid: str = "keep",
        relativeError: float = 0.001,
        reset: bool = False,
    ) -> None:
        names = check_arguments(
            inputCols, groupCols or [], statistics, weightCol, handleInvalid, relativeError, what="StreamingFit"
        )
        if folded(BATCH.name) in map(folded, groupCols or []):
            raise ParamError("StreamingFit: groupCols: 'batchId' is the key of the batches. Rename the column.")
        self._path = os.fspath(path)
        self._arguments: dict[str, Any] = {
            "inputCols": [*inputCols],
            "groupCols": [*(groupCols or [])],
            "statistics": names,
            "weightCol": weightCol,
            "handleInvalid": handleInvalid,
            "relativeError": relativeError,
        }
        self._reset = reset
        self._batches: _Batches | None = None  # None: not read yet
        self._checksum: str | None = None  # of the metadata that was read
        self._writes = False

    def __call__(self, batch: DataFrame, batchId: int) -> None:
        """Add a batch to the profile, and publish it.

        Parameters
        ----------
        batch : pyspark.sql.DataFrame
            The rows.
        batchId : int
            The id that Spark gives to it.

        Raises
        ------
        BatchError
            If the id is lower than that of the last batch, and ``reset`` is False.
        """
        before = self._batches if self._writes and self._batches else self._published(batch.sparkSession)
        has_published = before.last_id >= 0
        if batchId < before.last_id:
            if not self._reset:
                raise BatchError(
                    f"StreamingFit: batch {batchId} comes after batch {before.last_id}, which '{self._path}' already has. Only "
                    "the last batch can be repeated. If the checkpoint of the query was lost, choose a new path, or set "
                    "reset=True to start anew."
                )
            before = _Batches()
        older = before.before if batchId == before.last_id else before.merged
        batches = _Batches(batchId, older, Profile._of(batch, **self._arguments))
        if batches.merged is not None and (batches.last is not None or batchId == before.last_id):
            self._publish(batches, overwrite=has_published)
            self._batches = batches
        else:  # no row: nothing to publish
            self._batches = before
        self._writes = True

    def profile(self) -> Profile:
        """Return the newest published profile, by ``groupCols`` if there are any.

        Raises
        ------
        ParamError
            If none was published yet.
        """
        if not self._writes:
            spark = SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
            checksum = self._published_checksum(spark)
            if checksum != self._checksum:
                self._batches, self._checksum = self._published(spark), checksum
        profile = self._batches.merged if self._batches else None
        if profile is None:
            raise ParamError(f"StreamingFit: nothing was published at '{self._path}' yet. Wait for the first batch.")
        return profile

    def model(self, scaler: Any) -> Any:
        """Return the model of a scaler that is fitted on the newest published profile.

        Parameters
        ----------
        scaler : Estimator
            A scaler of this package.

        Returns
        -------
        Model
            A new model. ``model.transform(stream)`` keeps it for the whole query; in ``foreachBatch``, call this for each
            batch.
        """
        return scaler.fit(self.profile())

    def _published_checksum(self, spark: SparkSession) -> str | None:
        """Return what tells the newest publication from all others, also of the same batch; ``None`` if there is none."""
        names = storage.METADATA
        standing = storage.retry_unsettled(
            lambda: [m for name in names for m in storage.undamaged(spark, self._path, name)]
        )
        return standing[0].get("checksum") if standing else None

    def _published(self, spark: SparkSession) -> _Batches:
        """Read what the path has."""
        if not storage.is_stage(spark, self._path):
            return _Batches()
        profile = Profile.load(self._path)
        last_id, keys = profile._batch_id, self._arguments["groupCols"]
        if last_id is None:
            raise ParamError(
                f"StreamingFit: '{self._path}' holds a profile that no stream has written. Choose another path."
            )
        if [BATCH.name, *keys] != profile.groupCols:
            raise ParamError(
                f"StreamingFit: '{self._path}' holds a profile by {profile.groupCols[1:]}. Got groupCols={keys}. Use the same, "
                "or another path."
            )
        some = [profile._with(table) for table in split(profile._table, last_id)]
        before, last = (one.by(*keys) if one.numGroups else None for one in some)
        return _Batches(last_id, before, last)

    def _publish(self, batches: _Batches, *, overwrite: bool) -> None:
        keyed = [
            (profile, with_batch(profile._table, batch_id, len(profile.groupCols)))
            for profile, batch_id in ((batches.before, batches.last_id - 1), (batches.last, batches.last_id))
            if profile is not None
        ]
        profile, table = keyed[0]
        for _, other in keyed[1:]:
            table = joined(table, other)
        published = profile._with(table, (BATCH, *profile._keys))
        published._batch_id = batches.last_id
        writer = published.write()
        (writer.overwrite() if overwrite else writer).save(self._path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_batches": None, "_checksum": None, "_writes": False}

    def __repr__(self) -> str:
        return f"StreamingFit(path={self._path!r}, inputCols={self._arguments['inputCols']!r})"
