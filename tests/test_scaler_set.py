"""Sets of scalers: one scan, one projection, and the results of each scaler by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel

from frames import cells
from keyed_frames import keyed_frame
from sparkscale import (
    BatchNorm,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    Profile,
    RobustScaler,
    ScalerSet,
    ScalerSetModel,
    StandardScaler,
    Whitener,
)
from sparkscale.errors import ColumnNotFoundError, OutputColumnError, ParamError, ParamTypeError


def scalers() -> list[Any]:
    """Return scalers of several statistics, columns and ways to map, one by key, one into one vector."""
    return [
        StandardScaler(inputCols=["x", "v"], outputCols=["sx", "sv"], withMean=True),
        MinMaxScaler(inputCol="v", outputCol="mv", clip=True),
        RobustScaler(inputCols=["x", "a"], outputCol="all", fillInvalid="center"),
        MaxAbsScaler(inputCol="y", outputCol="my", groupCols=["string"], addIndicator=True),
        BatchNorm(inputCol="a", outputCol="ba", shape=[1, 2]),
    ]


NAMES = ["sx", "sv", "mv", "all", "my", "y_missing", "ba"]


@pytest.fixture(scope="module")
def df(spark):
    return keyed_frame(spark).cache()


@pytest.fixture(scope="module")
def model(df):
    return ScalerSet(stages=scalers()).fit(df)


def assert_same(actual: Any, expected: Any) -> None:
    """The same rows, to rounding; null where there is null."""
    for one, other in zip(actual, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(np.array(a, dtype=float), np.array(b, dtype=float), rtol=1e-11, atol=1e-12)


@pytest.mark.core
def test_a_set_is_its_scalers_one_by_one(df, model, tmp_path):
    """All outputs are there, in order; so are they after saving and loading, by a profile and in a pipeline."""
    expected = df
    for scaler in scalers():
        expected = scaler.fit(df).transform(expected)
    right = cells(expected, *NAMES)
    transformed = model.transform(df)
    model.save(str(tmp_path / "model"))
    loaded = ScalerSetModel.load(str(tmp_path / "model"))
    pipeline = Pipeline(stages=[ScalerSet(stages=scalers()), Normalizer(inputCol="sv", outputCol="n")])
    pipeline.fit(df).write().overwrite().save(str(tmp_path / "pipeline"))
    piped = PipelineModel.load(str(tmp_path / "pipeline")).transform(df)

    assert transformed.columns == [*df.columns, *NAMES]
    assert_same(cells(transformed, *NAMES), right)
    assert_same(cells(loaded.transform(df), *NAMES), right)
    assert_same(cells(piped, *NAMES), right)
    assert [type(m) for m in loaded.stages] == [type(m) for m in model.stages]
    assert [m.uid for m in loaded.stages] == [m.uid for m in model.stages]
    assert (
        repr(loaded)
        == repr(model)
        == "ScalerSetModel of StandardScalerModel, MinMaxScalerModel, RobustScalerModel, MaxAbsScalerModel, BatchNormModel"
    )


@pytest.mark.core
def test_a_set_is_saved_and_loaded(tmp_path, spark):
    """With the Params of all scalers."""
    one = ScalerSet(stages=scalers())
    one.save(str(tmp_path / "set"))
    loaded = ScalerSet.load(str(tmp_path / "set"))

    ScalerSet().save(str(tmp_path / "empty"))
    assert not ScalerSet.load(str(tmp_path / "empty")).isSet("stages")
    assert loaded.uid == one.uid
    for a, b in zip(loaded.getStages(), one.getStages(), strict=True):
        assert {p.name: v for p, v in a.extractParamMap().items()} == {
            p.name: v for p, v in b.extractParamMap().items()
        }


@pytest.mark.core
def test_a_set_reads_the_data_once(df, model, spark, tmp_path):
    """From a profile it reads nothing; its profile is what it was fitted to."""
    profile = Profile.of(
        df, inputCols=["x", "y", "a", "v"], groupCols=["string", "date"], statistics=["moments", "extrema", "quantiles"]
    )
    of_profile = ScalerSet(stages=scalers()).fit(profile)

    assert_same(cells(of_profile.transform(df), *NAMES), cells(model.transform(df), *NAMES))
    assert model.profile.statistics == ["moments", "extrema", "quantiles"]
    assert model.profile.groupCols == ["string"]


def test_params_reach_the_scalers_of_a_set(df):
    """As those of a pipeline's stages do: in fit, and by copy."""
    one, other = StandardScaler(inputCol="x"), MaxAbsScaler(inputCol="y")
    both = ScalerSet(stages=[one, other])
    fitted = both.fit(df, {one.withMean: True})

    assert fitted.stages[0].getWithMean()
    assert not one.getWithMean()
    assert fitted.copy({fitted.stages[0].withStd: False}).stages[0].getWithStd() is False
    assert fitted.stages[0].getWithStd()


@pytest.mark.core
def test_skipped_rows_are_those_of_all_columns(df):
    """As by one scaler after the other; all must be of the same columns, since they are fitted on the same rows."""
    stages = [MinMaxScaler(inputCol="x", handleInvalid="skip"), MaxAbsScaler(inputCol="y", handleInvalid="skip")]
    with pytest.raises(ParamError, match="all scalers must have the same columns"):
        ScalerSet(stages=stages).fit(df)
    both = {"inputCols": ["x", "y"], "handleInvalid": "skip"}
    stages = [MinMaxScaler(outputCols=["a1", "b1"], **both), MaxAbsScaler(outputCols=["a2", "b2"], **both)]
    kept = ScalerSet(stages=stages).fit(df).transform(df)

    assert kept.count() == df.where("x = x AND y = y AND NOT isnan(x) AND NOT isnan(y)").count()


REFUSED = {
    "nothing": ([], ParamError, "stages is empty"),
    "no scaler": (
        [Normalizer(inputCol="v")],
        ParamTypeError,
        "stages must be a list of scalers of sparkscale. Got Normalizer",
    ),
    "outputs": (
        [MinMaxScaler(inputCol="x"), MaxAbsScaler(inputCol="x")],
        OutputColumnError,
        "'x_scaled' is of more than one",
    ),
    "handleInvalid": (
        [MinMaxScaler(inputCol="x"), MaxAbsScaler(inputCol="y", handleInvalid="error")],
        ParamError,
        "handleInvalid of the scalers differs: 'error' and 'keep'",
    ),
    "weightCol": (
        [MinMaxScaler(inputCol="x"), StandardScaler(inputCol="y", weightCol="long")],
        ParamError,
        "weightCol of the scalers differs: 'long' and None",
    ),
    "relativeError": (
        [RobustScaler(inputCol="x"), RobustScaler(inputCol="y", relativeError=0.1)],
        ParamError,
        r"relativeError of the scalers differs: 0\.001 and 0\.1",
    ),
    "statistics": (
        [BatchNorm(inputCol="x", statistics="moving")],
        ParamError,
        "statistics='moving' need mini-batches",
    ),
    "case": (
        [MinMaxScaler(inputCol="x", outputCol="o"), MaxAbsScaler(inputCol="y", outputCol="O")],
        OutputColumnError,
        "'o' is of more than one",
    ),
    "mini-batches": ([BatchNorm(inputCol="x", batchCol="long")], ParamError, "batchCol is set"),
    "missing": ([MinMaxScaler(inputCol="z")], ColumnNotFoundError, "Column 'z' does not exist"),
    "exists": ([MinMaxScaler(inputCol="x", outputCol="id")], OutputColumnError, "'id'"),
    "coMoments": (
        [Whitener(inputCols=["x"], outputCol="w"), MaxAbsScaler(inputCol="y")],
        ParamError,
        "coMoments are of the rows without an invalid value",
    ),
}


@pytest.mark.parametrize(("stages", "error", "message"), REFUSED.values(), ids=[*REFUSED])
def test_scalers_that_do_not_fit_together_are_refused(df, stages, error, message):
    with pytest.raises(error, match=message):
        ScalerSet(stages=stages).fit(df)


def test_a_model_without_statistics_says_so(df):
    with pytest.raises(ParamError, match="ScalerSetModel has learned nothing"):
        ScalerSetModel().transform(df)
    with pytest.raises(ParamTypeError, match="Got str"):
        ScalerSet(stages="StandardScaler")
    assert repr(ScalerSetModel()) == "ScalerSetModel of nothing"


@pytest.mark.core
def test_params_that_are_set_after_fit_are_saved(df, model, tmp_path):
    """Whatever they are: what a model was fitted to is kept apart from them; a key of one may be scaled by another."""
    changed = model.copy()
    changed.stages[0].setInputCols(["y", "v"]).setHandleInvalid("error")
    changed.save(str(tmp_path / "m"))
    loaded = ScalerSetModel.load(str(tmp_path / "m"))
    by_long = ScalerSet(stages=[MaxAbsScaler(inputCol="x", groupCols=["long"]), MinMaxScaler(inputCol="long")]).fit(df)

    assert loaded.stages[0].getInputCols() == ["y", "v"]
    assert loaded.stages[0].mean == model.stages[0].mean
    assert by_long.transform(df).count() == df.count()


def test_what_needs_a_scan_of_its_own_is_refused():
    """A statistic that profiles do not hold, masks, and rows of any length."""
    for stage, message in (
        (PowerTransformer(inputCol="x"), "a profile has no YeoJohnsonMoments. Fit it on its own"),
        (StandardScaler(inputCol="x", maskValue=-1.0), "StandardScaler has a maskValue or rows of any length"),
        (MinMaxScaler(inputCol="a", shape=[-1]), "MinMaxScaler has a maskValue or rows of any length"),
    ):
        with pytest.raises(ParamError, match=message):
            ScalerSet(stages=[stage])._checked()
