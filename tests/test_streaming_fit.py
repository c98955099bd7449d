"""Statistics over time: of a stream, exact whatever stops it, and with older rows counting less."""

from __future__ import annotations

import pickle
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from conftest import jobs_so_far
from sparkscale import MinMaxScaler, Profile, StandardScaler, StreamingFit
from sparkscale.errors import BatchError, InvalidValueError, ParamError, ParamTypeError, PersistenceError

VALUES = np.random.default_rng(5).normal(size=(40, 2)).round(3) * [1, 50] + [0, 1000]
DAYS = [date(2024, 3, 1) + timedelta(days=i // 8) for i in range(40)]
SCHEMA = "x double, y double, k string, day date"


def rows_of(spark: SparkSession, *numbers: int) -> DataFrame:
    """Return some of the rows; the key of every third is null."""
    rows = [(*VALUES[i].tolist(), None if i % 3 == 0 else f"k{i % 3}", DAYS[i]) for i in numbers]
    return spark.createDataFrame(rows, SCHEMA)


def in_another_process(sink: StreamingFit) -> StreamingFit:
    """Return the sink as another process would have it."""
    return pickle.loads(pickle.dumps(sink))  # noqa: S301  # our own


def assert_profile(profile: Profile, direct: Profile) -> None:
    """Counts and extrema to the bit, moments to rounding; of each key."""
    assert (profile.groupCols, profile.numGroups) == (direct.groupCols, direct.numGroups)
    for one, other in zip(*(sorted(p.table.collect(), key=str) for p in (profile, direct)), strict=True):
        assert one[: len(profile.groupCols)] == other[: len(profile.groupCols)]
        assert one["extrema"] == other["extrema"]
        assert one["moments"]["count"] == other["moments"]["count"]
        moments = [np.add(row["moments"]["origin"], row["moments"]["shift"]) for row in (one, other)]
        np.testing.assert_allclose(*moments, rtol=1e-12)
        np.testing.assert_allclose(one["moments"]["m2"], other["moments"]["m2"], rtol=1e-10)


@pytest.mark.parametrize(
    "groups", [pytest.param([], id="total"), pytest.param(["k"], id="by key", marks=pytest.mark.core)]
)
def test_any_split_into_batches_and_any_replay_give_the_batch_fit(spark, tmp_path, groups):
    """Also if each batch is added by a process of its own; an empty batch changes nothing."""
    sink = StreamingFit(str(tmp_path / "s"), inputCols=["x", "y"], groupCols=groups)
    batches = [(0, range(3)), (1, range(3, 20)), (1, range(3, 20)), (2, []), (5, range(20, 40))]
    for number, (batch_id, rows) in enumerate(batches):
        sink = in_another_process(sink) if number == 2 else sink
        sink(rows_of(spark, *rows), batch_id)
    direct = Profile.of(rows_of(spark, *range(40)), inputCols=["x", "y"], groupCols=groups)

    assert_profile(sink.profile(), direct)
    assert_profile(in_another_process(sink).profile(), direct)
    kept = Profile.load(str(tmp_path / "s"))
    assert kept.groupCols == ["batchId", *groups]
    assert {row.batchId for row in kept.table.collect()} == {4, 5}
    sink(rows_of(spark, 0), 5)  # the batch has other rows than before
    others = Profile.of(rows_of(spark, *range(20), 0), inputCols=["x", "y"], groupCols=groups)
    assert_profile(sink.profile(), others)


@pytest.mark.core
def test_a_query_that_is_stopped_between_publication_and_commit_goes_on_exactly(spark, tmp_path):
    """Spark then repeats the batch; models are those of the rows so far."""
    for i in range(4):
        rows_of(spark, *range(10 * i, 10 * i + 10)).coalesce(1).write.parquet(str(tmp_path / f"in/part={i}"))
    sink = StreamingFit(str(tmp_path / "s"), inputCols=["x", "y"], groupCols=["k"])
    marker, means = str(tmp_path / "stopped"), str(tmp_path / "means")

    def process(batch: DataFrame, batch_id: int) -> None:
        import os

        sink(batch, batch_id)
        if batch_id == 2 and not os.path.exists(marker):
            os.mkdir(marker)
            raise RuntimeError("stopped")
        mean = sink.model(StandardScaler(inputCol="x")).mean[0]
        batch.sparkSession.createDataFrame([(batch_id, float(mean))], "id long, mean double").write.mode(
            "append"
        ).parquet(means)

    reader = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1)
    for run in range(2):
        writer = reader.parquet(str(tmp_path / "in/*")).writeStream.foreachBatch(process)
        query = writer.option("checkpointLocation", str(tmp_path / "c")).trigger(availableNow=True).start()
        if run == 0:
            with pytest.raises(Exception, match="stopped"):
                query.awaitTermination()
        else:
            query.awaitTermination()

    direct = Profile.of(rows_of(spark, *range(40)), inputCols=["x", "y"], groupCols=["k"])
    assert_profile(sink.profile() if sink._writes else in_another_process(sink).profile(), direct)
    assert sorted(row.id for row in spark.read.parquet(means).collect()) == [0, 1, 2, 3]


@pytest.mark.core
def test_a_batch_that_is_older_than_the_last_is_refused_or_starts_anew(spark, tmp_path):
    """As after the loss of a checkpoint; the sink says what to do. A profile of something else is not touched."""
    path = str(tmp_path / "s")
    sink = StreamingFit(path, inputCols=["x"])
    with pytest.raises(ParamError, match=r"nothing was published at .* yet\. Wait for the first batch"):
        sink.profile()
    for batch_id in (0, 1):
        sink(rows_of(spark, batch_id), batch_id)
    reader = in_another_process(sink)
    assert reader.profile().summary()["count"].tolist() == [2]
    with pytest.raises(BatchError, match=r"batch 0 comes after batch 1, which .* choose a new path, or set reset=True"):
        sink(rows_of(spark, 0), 0)
    anew = StreamingFit(path, inputCols=["x"], reset=True)
    anew(rows_of(spark, 7, 8), 0)
    assert reader.profile().summary()["count"].tolist() == [2]
    anew(rows_of(spark, 7, 8, 9), 0)  # the same id again
    model = reader.model(MinMaxScaler(inputCol="x"))

    assert (model.count, model.originalMax[0]) == (3, VALUES[7:10, 0].max())
    with pytest.raises(ParamError, match="inputCols of the profiles differ"):
        StreamingFit(path, inputCols=["y"])(rows_of(spark, 1), 1)
    with pytest.raises(ParamError, match=r"holds a profile by \[\]\. Got groupCols=\['k'\]"):
        StreamingFit(path, inputCols=["x"], groupCols=["k"])(rows_of(spark, 1), 1)
    with pytest.raises(InvalidValueError, match="'x'"):
        StreamingFit(path, inputCols=["x"], handleInvalid="error")(
            rows_of(spark, 1).selectExpr("double('NaN') AS x"), 1
        )
    assert reader.profile().summary()["count"].tolist() == [3]
    Profile.of(rows_of(spark, 1), inputCols=["x"]).save(str(tmp_path / "p"))
    with pytest.raises(ParamError, match="holds a profile that no stream has written"):
        StreamingFit(str(tmp_path / "p"), inputCols=["x"])(rows_of(spark, 1), 0)
    rows_of(spark, 1).write.parquet(str(tmp_path / "other"))
    with pytest.raises(PersistenceError, match="already exists"):
        StreamingFit(str(tmp_path / "other"), inputCols=["x"], reset=True)(rows_of(spark, 1), 0)


@pytest.mark.classic_only
def test_publication_takes_four_jobs(spark, tmp_path):
    """Two for the statistics and two for the metadata, whatever was merged before."""
    sink = StreamingFit(str(tmp_path / "s"), inputCols=["x"], groupCols=["k"])
    for batch_id in range(2):
        sink(rows_of(spark, *range(9)), batch_id)
    before = jobs_so_far()
    sink._publish(sink._batches, overwrite=True)

    assert jobs_so_far() - before == 4


def test_arguments_of_the_sink_are_checked_at_once():
    with pytest.raises(ParamError, match="StreamingFit: groupCols: 'batchId' is the key of the batches"):
        StreamingFit("p", inputCols=["x"], groupCols=["BatchId"])
    with pytest.raises(ParamError, match="StreamingFit: statistics must be some of"):
        StreamingFit("p", inputCols=["x"], statistics=["mode"])
    with pytest.raises(ParamTypeError, match="StreamingFit: inputCols must be a list"):
        StreamingFit("p", inputCols="x")


@pytest.mark.core
@pytest.mark.parametrize(
    ("column", "half_life", "at"),
    [
        ("day", 2.0, None),
        ("day", 0.5, date(2024, 3, 9)),
        ("timestamp(day) AS day", 1.5, datetime(2024, 3, 6)),  # noqa: DTZ001
        ("day(day) AS day", 3.0, None),
        ("double(day(day)) AS day", 3.0, 7),
    ],
    ids=str,
)
def test_decay_is_a_fit_with_weights(spark, column, half_life, at):
    """Of 2^(-age / half-life) for each row; the number of rows stays."""
    df = rows_of(spark, *range(40)).selectExpr("x", "y", column)
    profile = Profile.of(df, inputCols=["x", "y"], groupCols=["day"], statistics=["moments"])
    model = StandardScaler(inputCols=["x", "y"]).fit(profile.decayed(half_life, by="day", at=at))
    last = {None: 5.0, 7: 7.0}.get(at) if at is None or at == 7 else float(at.day)
    weights = np.exp2(-(last - np.array([day.day for day in DAYS])) / half_life)
    mean = np.average(VALUES, axis=0, weights=weights)
    freedom = weights.sum() - (weights**2).sum() / weights.sum()
    std = np.sqrt((weights[:, None] * (VALUES - mean) ** 2).sum(axis=0) / freedom)

    np.testing.assert_allclose(model.mean.toArray(), mean, rtol=1e-12)
    np.testing.assert_allclose(model.std.toArray(), std, rtol=1e-10)
    assert model.count == 40


def test_an_infinite_half_life_is_no_decay(spark):
    """For moments and co-moments, by two keys."""
    df = rows_of(spark, *range(40))
    profile = Profile.of(df, inputCols=["x", "y"], groupCols=["k", "day"], statistics=["moments", "coMoments"])

    same = profile.decayed(float("inf"), "day")
    half = profile.decayed(1, "day").where("day = '2024-03-04'").table.first()
    assert sorted(map(str, same.table.collect())) == sorted(map(str, profile.table.collect()))
    whole = profile.where(f"day = '2024-03-04' AND k <=> {half.k!r}" if half.k else "day = '2024-03-04' AND k IS NULL")
    before = whole.table.first()
    assert half.coMoments.comoments == [value / 2 for value in before.coMoments.comoments]
    assert half.moments.weight_square == [value / 4 for value in before.moments.weight_square]


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "halfLife 0": ({"halfLife": 0}, ParamError, "halfLife must be a number above 0"),
    "halfLife text": ({"halfLife": "1"}, ParamError, "halfLife must be a number above 0"),
    "no key": ({"by": "x"}, ParamError, "by is 'x', which is no key column. Name one of 'k', 'day'"),
    "no order": ({"by": "k"}, ParamError, "'k' is of type string, and ages are of dates, timestamps and numbers"),
    "at before": ({"at": date(2024, 3, 2)}, ParamError, r"the key 2024-03-05 of 'day' is after at=2024-03-02"),
    "at text": ({"at": "2024-03-09"}, ParamTypeError, "at must be a value of 'day', of type date"),
}


def test_decay_that_is_not_defined_is_refused(spark):
    df = rows_of(spark, *range(40))
    profile = Profile.of(df, inputCols=["x"], groupCols=["k", "day"], statistics=["moments"])

    for changed, error, message in REFUSED.values():
        with pytest.raises(error, match=message):
            profile.decayed(**{"halfLife": 1.0, "by": "day", **changed})
    with pytest.raises(ParamError, match="'extrema' cannot be weighted afterwards"):
        Profile.of(df, inputCols=["x"], groupCols=["day"]).decayed(1, "day")
    nulls = df.selectExpr("x", "if(x > 0, day, NULL) AS day")
    with pytest.raises(ParamError, match="some keys have no 'day', and so no age"):
        Profile.of(nulls, inputCols=["x"], groupCols=["day"], statistics=["moments"]).decayed(1, "day")
