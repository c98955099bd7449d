"""Profiles: what they hold of each key, what can be done with them, and what is fitted to them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import sparkscale
from keyed_frames import COLUMNS, ROWS, canonical, keyed_frame, rows_of_keys, values
from sparkscale import Profile, StandardScaler
from sparkscale.blocks import DenseBlock
from sparkscale.errors import (
    ColumnTypeError,
    DatasetError,
    EmptyDataError,
    InvalidValueError,
    ParamError,
    ParamTypeError,
    PersistenceError,
    SizeMismatchError,
)
from sparkscale.spark import arrow
from sparkscale.spark.fit import table_rows, tables
from sparkscale.statistics import CoMoments, Moments
from table import TABLE

ALL = ["moments", "extrema", "squares", "coMoments", "quantiles"]
SCALARS = values()[:, :2]


@pytest.fixture(scope="module")
def df(spark):
    """Rows with keys of every kind."""
    return keyed_frame(spark).cache()


@pytest.fixture(scope="module")
def profile(df):
    """All statistics of all kinds of columns, by two keys."""
    return Profile.of(df, inputCols=[*COLUMNS], groupCols=["string", "date"], statistics=ALL)


def by_key(profile: Profile) -> dict[tuple[Any, ...], Any]:
    """Return the statistics of each key of a profile."""
    table = profile._table
    statistics = {}
    for batch in arrow.batches(table.df):
        rows = table_rows.decoded(batch, table.statistic_class)
        for row, key in enumerate(batch.column("b").to_pylist()):
            values_of_key = tuple(canonical(k) for k in key.values())
            assert values_of_key not in statistics, "a key has two rows"
            statistics[values_of_key] = rows.of_row(row)
    return statistics


def assert_same(actual: Any, expected: Any) -> None:
    """Counts and extrema to the bit, everything else to rounding."""
    for name, one in expected.items():
        for array, numbers in one.arrays().items():
            found = getattr(actual[name], array)
            if array in ("origin", "shift") or (name == "coMoments" and array == "comoments"):
                continue
            exact = array in ("count", "invalid", "min", "max", "zeros", "values")
            tolerance = 0 if exact else 1e-12
            np.testing.assert_allclose(found, numbers, rtol=tolerance, err_msg=f"{name}.{array}")
        if isinstance(one, Moments | CoMoments):
            np.testing.assert_allclose(actual[name].mean, one.mean, rtol=1e-12, atol=1e-14)
        if isinstance(one, CoMoments):
            np.testing.assert_allclose(actual[name].comoments, one.comoments, rtol=1e-9, atol=1e-9)


def expected(statistic_class: Any, matrix: np.ndarray) -> dict[str, Any]:
    """Return the statistics of some rows."""
    return {name: one.of(DenseBlock(matrix)) for name, one in statistic_class.classes.items()}


@pytest.mark.core
def test_the_statistics_of_a_key_are_those_of_its_rows(profile):
    """Of every kind of statistic and of column; null is a key, and an empty string another."""
    statistics, rows = by_key(profile), rows_of_keys(["string", "date"])

    assert statistics.keys() == rows.keys()
    assert profile.numGroups == len(rows) == 12
    for key, of_key in rows.items():
        assert_same(statistics[key], expected(profile._class, values()[of_key]))


@pytest.mark.core
@pytest.mark.parametrize(
    "keys",
    [("double",), ("float", "boolean"), ("binary", "decimal"), ("timestamp", "ntz"), ("long",)],
    ids="+".join,
)
def test_a_key_is_what_spark_groups_by(df, keys):
    """NaN is one key, and so are zeros of both signs; few scalars are aggregated by Spark itself."""
    profile = Profile.of(df, inputCols=["x", "y"], groupCols=[*keys])
    statistics, rows = by_key(profile), rows_of_keys(keys)
    columns = profile.table.columns

    assert columns == [*keys, "moments", "extrema"]
    assert len(statistics) == len(rows) == profile.numGroups
    if not {"timestamp", "ntz"} & set(keys):  # whose values depend on the time zone
        assert statistics.keys() == rows.keys()
        for key, of_key in rows.items():
            assert_same(statistics[key], expected(profile._class, SCALARS[of_key]))
    assert profile.table.select(*keys).exceptAll(df.select(*keys).distinct()).count() == 0


@pytest.mark.core
def test_a_roll_up_is_the_profile_without_that_key(df, profile, monkeypatch):
    """In any order of the keys; over all keys, it is the profile of all rows."""
    plain = Profile.of(df, inputCols=[*COLUMNS], statistics=ALL)
    dates = by_key(profile.by("date"))

    for key, of_key in rows_of_keys(["date"]).items():
        assert_same(dates[key], expected(profile._class, values()[of_key]))
    monkeypatch.setattr(tables, "HELD_BYTES", 0)  # so that tasks merge, batch by batch
    spark = df.sparkSession
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")
    try:
        assert_same(
            by_key(profile.by("date"))[None,], expected(profile._class, values()[rows_of_keys(["date"])[None,]])
        )
        assert_same(profile.by("string").total()._held, expected(profile._class, values()))
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert profile.by("date", "string").groupCols == ["date", "string"]
    assert profile.by("string", "date") is profile
    assert profile.by() is profile.total() is profile.total().total()
    assert_same(profile.total()._held, expected(profile._class, values()))
    assert_same(plain._held, expected(profile._class, values()))
    assert plain.numGroups == 1


@pytest.mark.core
def test_merge_is_the_profile_of_both(df, profile):
    """Keys of one alone stay; with replace, the statistics of a key are those of the other one."""
    of = {"inputCols": [*COLUMNS], "groupCols": ["string", "date"], "statistics": ALL}
    first, second = (Profile.of(df.where(f"id {sign} 13"), **of) for sign in ("<", ">="))
    few = Profile.of(df.where("id < 2"), **of)
    merged, rows = by_key(first.merge(second)), rows_of_keys(["string", "date"])
    replaced = by_key(profile.replace(few))

    for key, of_key in rows.items():
        assert_same(merged[key], expected(profile._class, values()[of_key]))
        chosen = of_key[of_key < 2] if (of_key < 2).any() else of_key
        assert_same(replaced[key], expected(profile._class, values()[chosen]))
    assert merged.keys() == replaced.keys() == rows.keys()
    assert first.merge().numGroups == first.numGroups
    assert_same(few.total().merge(few.total())._held, expected(profile._class, values()[[0, 1, 0, 1]]))
    assert few.total().replace(profile.total()).summary()["count"].equals(profile.summary()["count"])


@pytest.mark.core
def test_where_chooses_keys(profile):
    """By SQL over the names of the key columns; there may be none."""
    chosen = profile.where("date > '2000-01-01' AND string <> ''")
    none = profile.where("false")

    assert {key[0] for key in by_key(chosen)} == {"a", "A"}
    assert none.numGroups == 0
    with pytest.raises(EmptyDataError, match="there is no key"):
        none.summary()
    for wrong in ("x > 1", "date >"):
        with pytest.raises(ParamError, match="is not a condition over the key columns 'string', 'date'"):
            profile.where(wrong)
    with pytest.raises(ParamError, match=r"no keys to choose from\. Name groupCols"):
        profile.total().where("true")


@pytest.mark.core
@pytest.mark.parametrize("where", ["driver", "executors"])
def test_what_is_loaded_is_what_was_saved(df, tmp_path, monkeypatch, where):
    """And does not depend on its path any more: it is merged and saved over itself; anyone reads the Parquet files."""
    monkeypatch.setattr(tables, "HELD_BYTES", 0 if where == "executors" else 1 << 26)
    keys = ["string", "double", "timestamp", "ntz", "date", "binary", "decimal", "boolean", "float", "long"]
    profile = Profile.of(df, inputCols=["x", "a"], groupCols=keys, statistics=["moments", "quantiles"])
    path = str(tmp_path / "profile")
    profile.save(path)
    loaded = Profile.load(path)
    before = by_key(profile)
    on_executors = where == "executors" or not hasattr(df, "toArrow")  # as always on PySpark 3.5
    assert (profile._table.local is None) == on_executors
    assert repr(loaded) == repr(profile)
    loaded.merge(profile).write().overwrite().save(path)
    twice, spark = Profile.load(path), df.sparkSession
    folder = tmp_path / "profile" / json.loads(spark.read.text(f"{path}/metadata").first().value)["data"]
    file = spark.read.parquet(str(folder))

    assert by_key(loaded).keys() == before.keys() == by_key(twice).keys()
    for key, statistic in by_key(loaded).items():
        for name, array in statistic.arrays().items():
            np.testing.assert_array_equal(array, before[key].arrays()[name], err_msg=name)
    assert twice.summary()["count"].tolist() == (2 * profile.summary()["count"]).tolist()
    assert file.columns == [*keys, "moments", "quantiles"]
    assert file.schema["moments"].dataType.names == [*Moments.names()]
    assert file.count() == profile.numGroups
    profile.total().write().overwrite().save(path)
    assert Profile.load(path).summary().equals(profile.summary())


def test_files_that_were_changed_are_refused(profile, tmp_path):
    """As those of models are."""
    path = tmp_path / "profile"
    profile.save(str(path))
    folder = path / json.loads(profile.table.sparkSession.read.text(f"{path}/metadata").first().value)["data"]
    profile.where("string = 'a'").table.write.mode("overwrite").parquet(str(folder))

    with pytest.raises(PersistenceError, match="do not match the metadata"):
        Profile.load(str(path))
    for wrong, message in (
        ("string, date, moments, extrema, squares, coMoments, quantiles", "do not match the metadata"),
        ("string, date, extrema, squares", "do not match the metadata|cannot be read"),
    ):
        profile.table.unionByName(profile.table).selectExpr(*wrong.split(", ")).write.mode("overwrite").parquet(
            str(folder)
        )
        with pytest.raises(PersistenceError, match=message):
            Profile.load(str(path))
    profile.table.select("string", "date").write.mode("overwrite").parquet(str(folder))
    with pytest.raises(PersistenceError, match=r"do not match the metadata|cannot be read"):
        Profile.load(str(path))


def scalers() -> list[Any]:
    """Return one scaler of each class, and those that a profile could trouble."""
    kinds = [entry.scaler(inputCols=["v", "y", "a"], **entry.choices[-1]) for entry in TABLE]
    return [*kinds, sparkscale.Whitener(inputCols=["a", "v", "y", "x"], outputCol="white")]


@pytest.mark.core
def test_a_fit_to_a_profile_is_a_fit_to_the_data(df, profile):
    """Every scaler, of some of the columns in any order; no scan of the data is left."""
    total = profile.total()
    for scaler in scalers():
        if scaler.hasParam("gamma"):
            scaler.setGamma([0.5])
        if type(scaler).__name__ == "SpectralNorm":
            scaler.setInputCols(["v", "y", "a", "x"])
        model, direct = scaler.fit(total), scaler.fit(df)
        one, other = model.affine, direct.affine

        assert type(model) is type(direct)
        assert model.featureNames == direct.featureNames
        for name in ("center", "scale", "offset", "matrix"):
            if hasattr(one, name):
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9, err_msg=name)
        assert model.count == direct.count


def test_params_go_with_a_profile(profile):
    """Those of fit, several of them too, as with a DataFrame."""
    scaler = StandardScaler(inputCols=["x"])
    one = scaler.fit(profile, {scaler.withMean: True})
    several = scaler.fit(profile, [{scaler.ddof: 0}, {scaler.ddof: 1}])
    iterated = dict(scaler.fitMultiple(profile, [{scaler.withMean: True}]))

    assert one.getWithMean() and iterated[0].getWithMean()
    assert several[0].std[0] < several[1].std[0]


def test_channels_are_pooled_from_a_profile(df, profile):
    """As a fit of the rows with a shape pools them."""
    scaler = sparkscale.BatchNorm(inputCol="v", shape=[1, 3])
    model, direct = scaler.fit(profile), scaler.fit(df)

    np.testing.assert_allclose(model.runningMean.toArray(), direct.runningMean.toArray(), rtol=1e-12)
    assert model.count == direct.count


REFUSED = {
    "column": (
        StandardScaler(inputCols=["x", "z"]),
        "inputCols: 'z' is not in the profile, whose columns are 'x', 'y'",
    ),
    "handleInvalid": (
        StandardScaler(inputCol="x", handleInvalid="skip"),
        "handleInvalid is 'skip', and that of the profile 'keep'",
    ),
    "weightCol": (StandardScaler(inputCol="x", weightCol="w"), "weightCol is 'w', and that of the profile None"),
    "relativeError": (
        sparkscale.RobustScaler(inputCol="x", relativeError=0.1),
        "relativeError is 0.1, and that of the profile 0.001",
    ),
    "groupCols": (
        StandardScaler(inputCol="x", groupCols=["long"]),
        "groupCols: 'long' is no key of the profile, whose keys are 'string', 'date'",
    ),
    "batchCol": (
        sparkscale.BatchNorm(inputCol="x", batchCol="id"),
        "batchCol is set, and a profile has no mini-batches",
    ),
    "statistics": (sparkscale.BatchNorm(inputCol="x", statistics="moving"), "statistics='moving' need mini-batches"),
    "coMoments": (
        sparkscale.Whitener(inputCols=["x", "y"], outputCol="o"),
        "coMoments are of the rows without an invalid value in any",
    ),
}


@pytest.mark.parametrize(("scaler", "message"), REFUSED.values(), ids=[*REFUSED])
def test_what_a_profile_lacks_is_named(profile, scaler, message):
    with pytest.raises(ParamError, match=message):
        scaler.fit(profile)


def test_a_missing_statistic_is_named(df):
    """And under "skip", columns are those of the profile; both are known without a job."""
    profile = Profile.of(df, inputCols=["x", "y"], statistics=["extrema"], handleInvalid="skip")

    with pytest.raises(ParamError, match=r"the profile has no moments, only extrema\. Add 'moments' to statistics"):
        StandardScaler(inputCols=["x", "y"], handleInvalid="skip").fit(profile)
    with pytest.raises(ParamError, match="rows without an invalid value in any of its columns"):
        sparkscale.MaxAbsScaler(inputCols=["x"], handleInvalid="skip").fit(profile)
    assert (
        sparkscale.MaxAbsScaler(inputCols=["y", "x"], handleInvalid="skip").fit(profile).count
        == np.isfinite(SCALARS).all(axis=1).sum()
    )


ARGUMENTS = {
    "inputCols": ({"inputCols": []}, ParamError, "inputCols is empty"),
    "twice": ({"inputCols": ["x", "x"]}, ParamError, "inputCols names 'x' more than once"),
    "string": ({"inputCols": "x"}, ParamTypeError, "inputCols must be a list of names"),
    "null": ({"inputCols": None}, ParamTypeError, "inputCols must be a list of names"),
    "weightCol": ({"weightCol": 5}, ParamTypeError, "weightCol must be the name of a column"),
    "statistics": ({"statistics": ["median"]}, ParamError, "statistics must be some of 'moments', .*Got 'median'"),
    "none": ({"statistics": []}, ParamError, "statistics is empty"),
    "handleInvalid": ({"handleInvalid": "drop"}, ParamError, "handleInvalid must be one of"),
    "relativeError": ({"relativeError": 2}, ParamError, "relativeError must be a number from 0 to 1"),
    "weights": ({"weightCol": "y", "statistics": ["coMoments"]}, ParamError, "coMoments take no weights"),
    "scaled key": ({"groupCols": ["x"]}, ParamError, "column 'x' is also an input"),
    "type of key": (
        {"groupCols": ["a"]},
        ColumnTypeError,
        "Group column 'a' is of type array<double>, which cannot be a key",
    ),
    "name of key": ({"groupCols": ["moments"]}, ParamError, "'moments' is the name of a statistic"),
}


@pytest.mark.parametrize(("changed", "error", "message"), ARGUMENTS.values(), ids=[*ARGUMENTS])
def test_arguments_that_cannot_be_used_are_refused(df, changed, error, message):
    """Before any job."""
    with pytest.raises(error, match=message):
        Profile.of(df.withColumnRenamed("long", "moments"), **{"inputCols": ["x"], **changed})


def test_profiles_of_something_else_do_not_merge(df, profile):
    """The option that differs is named."""
    other = Profile.of(df, inputCols=["x"], statistics=["moments"])

    with pytest.raises(ParamError, match="inputCols of the profiles differ"):
        profile.merge(other)
    with pytest.raises(ParamError, match="groupCols of the profiles differ"):
        profile.replace(profile.by("date"))
    with pytest.raises(ParamTypeError, match="cannot merge with DataFrame"):
        profile.merge(df)
    with pytest.raises(ParamTypeError, match="pass names"):
        profile.by(["date"])
    with pytest.raises(ParamTypeError, match="the condition must be SQL text"):
        profile.where(None)
    weighted = Profile.of(df.selectExpr("x", "1D AS w"), inputCols=["x"], weightCol="w")
    with pytest.raises(ParamError, match="there are no weights in this scaler, but in the profile"):
        sparkscale.MinMaxScaler(inputCol="x").fit(weighted)
    with pytest.raises(ParamError, match="'week' is no key column"):
        profile.by("week")
    with pytest.raises(ParamError, match="'date' is named twice"):
        profile.by("date", "date")
    with pytest.raises(ParamError, match=r"use Profile\.of, or Profile\.load"):
        Profile().summary()


@pytest.mark.core
def test_wrong_rows_are_refused(spark, df):
    """As in a fit: in the schema before, in the data with the column and the value."""
    lengths = spark.createDataFrame([(1, [1.0]), (2, [1.0, 2.0])], "k int, a array<double>")

    with pytest.raises(SizeMismatchError, match="Column 'a' holds arrays of length"):
        Profile.of(lengths, inputCols=["a"], groupCols=["k"])
    with pytest.raises(EmptyDataError, match="Column 'a' has no feature"):
        Profile.of(lengths.selectExpr("k", "cast(null AS array<double>) a"), inputCols=["a"], groupCols=["k"])
    with pytest.raises(InvalidValueError, match=r"Column 'x' holds (null|NaN), which handleInvalid='error' refuses"):
        Profile.of(df, inputCols=["x"], groupCols=["long"], handleInvalid="error")
    with pytest.raises(EmptyDataError, match="there is no row"):
        Profile.of(df.where("false"), inputCols=["x"], groupCols=["long"])
    with pytest.raises(DatasetError, match="A Spark DataFrame is needed"):
        Profile.of([1.0], inputCols=["x"])


@pytest.mark.core
def test_keys_whose_aggregates_lose_digits_are_read_again(spark):
    """Only these: a mean far from 0, a constant whose sum is rounded; the others are as Spark aggregates them."""
    rows = (
        [("far", 1e9 + i) for i in range(4)]
        + [("near", float(i)) for i in range(4)]
        + [("tiny", 1e-200), ("tiny", 3e-200)]
    )
    df = spark.createDataFrame(rows, "k string, x double").repartition(2)
    statistics = by_key(Profile.of(df, inputCols=["x"], groupCols=["k"], statistics=["moments"]))

    for key in ("far", "near", "tiny"):
        one = Moments.of(DenseBlock(np.array([[x] for k, x in rows if k == key])))
        np.testing.assert_allclose(statistics[(key,)]["moments"].std(1), one.std(1), rtol=1e-13)
        np.testing.assert_allclose(statistics[(key,)]["moments"].mean, one.mean, rtol=1e-15)


@pytest.mark.core
def test_a_key_of_null_arrays_has_as_many_features_as_the_others(spark):
    """Also where no row of its partition shows how many these are."""
    rows = [("a", None), ("a", None), ("b", [1.0, 2.0]), ("b", [3.0, 6.0])]
    df = spark.createDataFrame(rows, "k string, v array<double>").repartitionByRange(2, "k")
    statistics = by_key(Profile.of(df, inputCols=["v"], groupCols=["k"], statistics=["moments"]))

    assert statistics[("a",)]["moments"].invalid.tolist() == [2.0, 2.0]
    assert statistics[("a",)]["moments"].count.tolist() == [0.0, 0.0]
    assert statistics[("b",)]["moments"].mean.tolist() == [2.0, 4.0]


@pytest.mark.core
def test_weights_and_skipped_rows(df):
    """Rows of weight 0 count for nothing, those that are skipped neither, but for the number of invalid values."""
    weighted = df.selectExpr("x", "y", "string", "double(id % 3) AS w")
    profile = by_key(Profile.of(weighted, inputCols=["x"], groupCols=["string"], statistics=["moments"], weightCol="w"))
    skipped = by_key(Profile.of(df, inputCols=["x", "y"], groupCols=["string"], handleInvalid="skip"))

    for key, of_key in rows_of_keys(["string"]).items():
        positive = of_key[of_key % 3 > 0]
        block = DenseBlock(SCALARS[positive, :1], (positive % 3).astype(float))
        assert_same(profile[key], {"moments": Moments.of(block)})
        complete = np.isfinite(SCALARS[of_key]).all(axis=1)
        assert skipped[key]["moments"].count.tolist() == [complete.sum()] * 2
        np.testing.assert_allclose(skipped[key]["moments"].mean, SCALARS[of_key][complete].mean(axis=0), rtol=1e-12)


def test_one_scan_whatever_the_statistics(spark, tmp_path):
    """The source is read once; a summary is printed, a profile shown, without another job."""
    data = spark.range(20).selectExpr("id % 3 AS k", "double(id) AS x", "array(double(id), 1D) AS a")
    data.write.parquet(str(tmp_path / "t"))
    df = spark.read.parquet(str(tmp_path / "t"))
    profile = Profile.of(df, inputCols=["x", "a"], groupCols=["k"], statistics=ALL)
    for part in (tmp_path / "t").glob("*.parquet"):
        part.unlink()
    summary = profile.summary()

    assert [*summary.columns] == ["count", "invalid", "mean", "std", "min", "25%", "50%", "75%", "max", "norm"]
    assert summary.loc["x", ["count", "mean", "min", "max"]].tolist() == [20, 9.5, 0.0, 19.0]
    assert [*Profile.of(spark.range(3), inputCols=["id"], statistics=["coMoments"]).summary().columns] == [
        "count",
        "invalid",
        "mean",
    ]
    assert repr(profile) == "Profile of 3 features by k: 3 keys; moments, extrema, squares, coMoments, quantiles"
    assert repr(profile)[8:] in profile._repr_html_()
    assert repr(Profile()) == "Profile"
    assert ROWS == len(values())
