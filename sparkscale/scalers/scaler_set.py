"""Several scalers that fit from one scan, and whose maps are applied in one projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark import keyword_only
from pyspark.ml import Estimator, Model
from pyspark.ml.param import Param, Params
from pyspark.sql import DataFrame

from sparkscale.display.html import HtmlReprMixin
from sparkscale.errors import EmptyDataError, OutputColumnError, ParamError, ParamTypeError
from sparkscale.scalers import _saved_columns as saved_columns
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._columns import repeated
from sparkscale.scalers._keys import group_keys
from sparkscale.scalers._metadata import params_of, public, with_params
from sparkscale.scalers._model import ScalerModel
from sparkscale.scalers._persistence import Content, Writable
from sparkscale.scalers._profiled import refuse_batches, taken
from sparkscale.scalers._statistics import CLASSES, is_held, name_of, source_of
from sparkscale.scalers.profile import Profile
from sparkscale.spark import storage
from sparkscale.spark.columns import resolve
from sparkscale.spark.names import check_dataset, folded
from sparkscale.spark.saved_tables import Form
from sparkscale.spark.transform.apply import transform
from sparkscale.spark.transform.outputs import check_outputs

__all__ = ["ScalerSet", "ScalerSetModel"]

OPTIONS = ("handleInvalid", "weightCol", "relativeError")  # that all scalers of a set must share


class ScalerSet(HtmlReprMixin, Writable, Estimator["ScalerSetModel"]):
    """Fit several scalers from one scan, and apply all of them in one projection.

    The result is that of fitting each one on the same DataFrame. All of them read the columns of the input, none the
    output of another. Scalers with different ``groupCols`` are fitted to the statistics by all of these columns together,
    which may be many: use a set for each if their keys hardly go together.

    Parameters
    ----------
    stages : list of scalers
        Scalers over any columns, with different outputs. They share ``handleInvalid`` and ``weightCol``, and scalers by
        quantiles ``relativeError``; under ``handleInvalid="skip"``, their columns are the same. `BatchNorm` over mini-batches
        is none of them.

    Raises
    ------
    ParamError
        If there is no scaler, the options differ, or two outputs have one name.
    ParamTypeError
        If one is not a scaler of sparkscale.

    Examples
    --------
    >>> from sparkscale import MinMaxScaler, ScalerSet, StandardScaler
    >>> df = spark.createDataFrame([(1.0, 10.0), (2.0, 20.0), (3.0, 60.0)], "x double, y double")
    >>> scalers = ScalerSet(stages=[
    ...     StandardScaler(inputCol="x", outputCol="x_standard", withMean=True),
    ...     MinMaxScaler(inputCols=["x", "y"]),
    ... ])
    >>> scalers.fit(df).transform(df).show()
    +---+----+----------+--------+--------+
    |  x|   y|x_standard|x_scaled|y_scaled|
    +---+----+----------+--------+--------+
    |1.0|10.0|      -1.0|     0.0|     0.0|
    |2.0|20.0|       0.0|     0.5|     0.2|
    |3.0|60.0|       1.0|     1.0|     1.0|
    +---+----+----------+--------+--------+
    <BLANKLINE>
    """

    stages: Param[list[Any]] = Param(Params._dummy(), "stages", "the scalers")

    @keyword_only
    def __init__(self, *, stages: list[Any] | None = None) -> None:
        super().__init__()
        if stages is not None:
            self.setStages(stages)

    def getStages(self) -> list[Any]:
        """Return ``stages``."""
        return self.getOrDefault(self.stages)

    def setStages(self, value: list[Any]) -> ScalerSet:
        """Set ``stages``."""
        wrong = [s for s in value if not isinstance(s, Scaler)] if isinstance(value, list | tuple) else [value]
        if wrong:
            raise ParamTypeError(
                f"ScalerSet: stages must be a list of scalers of sparkscale. Got {type(wrong[0]).__name__}."
            )
        return self._set(stages=[*value])

    def copy(self, extra: Any = None) -> ScalerSet:
        """Return a copy, with a copy of each scaler; ``extra`` may hold Params of these."""
        copied = super().copy({p: v for p, v in (extra or {}).items() if p.parent == self.uid})
        if copied.isSet(copied.stages):
            copied._set(stages=[stage.copy(extra) for stage in copied.getStages()])
        return copied

    def _fit(self, dataset: DataFrame | Profile) -> ScalerSetModel:
        scalers = self._checked()
        if isinstance(dataset, Profile):
            profile = dataset
        else:
            check_dataset(dataset, whole="fit")
            for scaler in scalers:
                check_outputs(dataset, scaler._output_names(), scaler._input_names(), scaler._indicator_names())
                columns = resolve(dataset, scaler._input_names())
                scaler._check_columns(columns)
                group_keys(dataset, scaler._group_names(), columns, as_of=scaler._as_of() is not None)
            computed = Profile._of(dataset, **_profile_of(scalers), keys_are_scaled=True)
            if computed is None:
                raise EmptyDataError(
                    "ScalerSet: there is no row, or every row has weight 0. fit needs at least one row."
                )
            profile = computed
        model = ScalerSetModel(profile, [scaler.fit(profile) for scaler in scalers])
        model._resetUid(self.uid)
        return model

    def _checked(self) -> list[Any]:
        """Return the scalers, which fit together."""
        scalers = self.getStages() if self.isSet(self.stages) else []
        if not scalers:
            raise ParamError("ScalerSet: stages is empty. Give it at least one scaler.")
        for scaler in scalers:
            scaler._check_params()
            layout, alone = scaler._layout(), "Fit it on its own."
            if scaler._mask() is not None or (layout is not None and layout.is_open):
                raise ParamError(
                    f"ScalerSet: {type(scaler).__name__} has a maskValue or rows of any length, and a set does not. {alone}"
                )
            refuse_batches(scaler)
            if not is_held(scaler._statistic_class):
                raise ParamError(f"ScalerSet: a profile has no {scaler._statistic_class.__name__}. {alone}")
        _check_distinct(scalers)
        for name in OPTIONS:
            values = {_option(s, name) for s in scalers if name != "relativeError" or s.hasParam(name)}
            if len(values) > 1:
                raise ParamError(
                    f"ScalerSet: {name} of the scalers differs: {' and '.join(sorted(map(repr, values)))}. One scan has one "
                    f"{name}: use the same, or a set for each."
                )
        columns = [sorted(s._input_names()) for s in scalers]
        if scalers[0].getHandleInvalid() == "skip" and any(names != columns[0] for names in columns):
            raise ParamError(
                "ScalerSet: under handleInvalid='skip', all scalers must have the same columns, since they are fitted on the "
                "same rows. Use a set for each."
            )
        return scalers

    def _header(self) -> dict[str, Any]:
        header = super()._header()
        stages = header["paramMap"].pop("stages", [])
        return {**header, "stages": [params_of(stage) for stage in stages]}

    @classmethod
    def _of_header(cls, metadata: Mapping[str, Any]) -> Any:
        scalers, stages = super()._of_header(metadata), _stages(metadata, Scaler)
        return scalers.setStages(stages) if stages else scalers


class ScalerSetModel(HtmlReprMixin, Writable, Model):
    """Model fitted by `ScalerSet`: the models of the scalers, which are applied in one projection.

    Parameters
    ----------
    profile : Profile
        The statistics.
    stages : list of models
        The fitted models, in the order of the scalers. Both are omitted only while loading.
    """

    def __init__(self, profile: Profile | None = None, stages: Sequence[Any] = ()) -> None:
        super().__init__()
        self._profile, self._stages = profile, list(stages)

    @property
    def stages(self) -> list[Any]:
        """The fitted models, in the order of the scalers."""
        return [*self._stages]

    @property
    def profile(self) -> Profile:
        """The statistics that all models were fitted to."""
        if self._profile is None:
            raise ParamError("ScalerSetModel has learned nothing: use the model that fit returns.")
        return self._profile

    def copy(self, extra: Any = None) -> ScalerSetModel:
        """Return a copy, with a copy of each model; ``extra`` may hold Params of these."""
        copied = super().copy({p: v for p, v in (extra or {}).items() if p.parent == self.uid})
        copied._stages = [stage.copy(extra) for stage in self._stages]
        return copied

    def _transform(self, dataset: DataFrame) -> DataFrame:
        self.profile  # noqa: B018  # refuses a model that has learned nothing
        check_dataset(dataset)
        _check_distinct(self._stages)
        return transform(dataset, *(model._plan(dataset) for model in self._stages))

    def _header(self) -> dict[str, Any]:
        return {**super()._header(), "stages": [{**params_of(m), "fitted": _fitted(m)} for m in self._stages]}

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        return self.profile._saved()

    @classmethod
    def _saved_form(cls, extra: Mapping[str, Any]) -> Form:
        return Profile._saved_form(extra)

    def _restore(self, extra: Mapping[str, Any], content: Any) -> None:
        profile = Profile()
        profile._restore(extra, content)
        self._profile, self._stages = profile, _stages(extra, ScalerModel)
        for model, saved in zip(self._stages, extra["stages"], strict=True):
            fitted = storage.typed_entry(saved, "fitted", dict)
            name, known = storage.typed_entry(fitted, "statistic", str), profile._class.classes
            columns = tuple(model._described(saved_columns.from_json(storage.typed_entry(fitted, "columns", list))))
            groups = storage.typed_entry(fitted, "groups", list)
            if source_of([*known], CLASSES.get(name, object)) is None or {c.name for c in columns} - {
                *profile.inputCols
            }:
                raise storage.MalformedError(f"a stage was fitted to {name!r}, or to columns, that are not there")
            learned = taken(model, profile, columns, groups, known.get(name, CLASSES[name]))
            model._learn(columns, learned.statistic, skips=storage.typed_entry(fitted, "skips", bool))
            if learned.groups:
                model._groups = learned.groups

    def __repr__(self) -> str:
        return f"ScalerSetModel of {', '.join(type(stage).__name__ for stage in self._stages) or 'nothing'}"


def _fitted(model: Any) -> dict[str, Any]:
    """Return what a model was fitted to, which its Params may no longer say."""
    groups = getattr(model, "_groups", None)
    return {
        "columns": saved_columns.to_json(model._columns),
        "groups": groups.names if groups else [],
        "statistic": name_of(type(model.statistics)),
        "skips": model._skips,
    }


def _option(scaler: Any, name: str) -> Any:
    return scaler.getOrDefault(name) if scaler.hasParam(name) and scaler.isDefined(name) else None


def _profile_of(scalers: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of the profile that all scalers can be fitted to."""
    options = {name: _option(scalers[0], name) for name in OPTIONS[:2]}
    errors = [_option(s, "relativeError") for s in scalers if s.hasParam("relativeError")]
    return {
        "inputCols": [*dict.fromkeys(name for s in scalers for name in s._input_names())],
        "groupCols": [*dict.fromkeys(name for s in scalers for name in s._group_names())],
        "statistics": [*dict.fromkeys(name_of(s._statistic_class) for s in scalers)],
        **options,
        "relativeError": errors[0] if errors else 0.001,
    }


def _check_distinct(stages: Sequence[Any]) -> None:
    """Refuse outputs of one name."""
    twice = repeated([folded(name) for s in stages for name in (*s._output_names(), *s._indicator_names())])
    if twice:
        raise OutputColumnError(
            f"ScalerSet: output column '{twice[0]}' is of more than one scaler. Set outputCol or outputCols."
        )


def _stages(metadata: Mapping[str, Any], kind: type) -> list[Any]:
    """Return the stages that were saved, without statistics."""
    stages = []
    for saved in storage.typed_entry(metadata, "stages", list):
        name = storage.typed_entry(saved, "class", str)
        stage_class = public(name)
        if not (isinstance(stage_class, type) and issubclass(stage_class, kind)):
            raise storage.MalformedError(f"a stage is a {name}, which is no {kind.__name__} of sparkscale")
        stages.append(with_params(stage_class(), saved))
    return stages
