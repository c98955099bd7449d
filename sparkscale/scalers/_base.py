"""How every scaler fits: one scan into a statistic, which its model turns into an affine map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeAlias, TypeVar, overload

from pyspark.ml import Estimator
from pyspark.ml.param import Param
from pyspark.sql import DataFrame

from sparkscale.display.html import HtmlReprMixin
from sparkscale.errors import EmptyDataError
from sparkscale.scalers._fit import FitMixin
from sparkscale.scalers._groups import Groups
from sparkscale.scalers._keys import group_keys
from sparkscale.scalers._model import ScalerModel
from sparkscale.scalers._persistence import Writable
from sparkscale.scalers._profiled import Learned, profiled
from sparkscale.scalers.profile import Profile
from sparkscale.spark.columns import FeatureColumn, resolve
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.outputs import check_outputs
from sparkscale.statistics import Mergeable

__all__ = ["Scaler"]

M = TypeVar("M", bound=ScalerModel[Any])
ParamMap: TypeAlias = "Mapping[Param[Any], Any]"


class Scaler(HtmlReprMixin, FitMixin, Writable, Estimator[M], Generic[M]):
    """Base of the estimators. A subclass names its model, and has Params."""

    _model: type[M]

    @property
    def _statistic_class(self) -> type[Mergeable]:
        """The class of what fit learns."""
        return self._model._statistic_class

    @overload  # type: ignore[override]  # Spark's own takes a DataFrame only
    def fit(self, dataset: DataFrame | Profile, params: None = ...) -> M: ...

    @overload
    def fit(self, dataset: DataFrame | Profile, params: ParamMap) -> M: ...

    @overload
    def fit(self, dataset: DataFrame | Profile, params: Sequence[ParamMap]) -> list[M]: ...

    def fit(self, dataset: DataFrame | Profile, params: ParamMap | Sequence[ParamMap] | None = None) -> M | list[M]:
        """Fit a model.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame or Profile
            The data; or a profile, which has the statistics already. The input columns are some of those of the profile.
        params : dict or sequence of dict, optional
            Params to use instead of those that are set; of a sequence, a model is fitted with each.

        Returns
        -------
        model or list of models
            The fitted model.

        Raises
        ------
        ParamError
            If a profile lacks what the Params need: a column, a statistic or a key, or another ``handleInvalid``,
            ``weightCol`` or ``relativeError`` was used.
        """
        fitted: Any = super().fit(dataset, params)  # type: ignore[arg-type]
        return fitted  # type: ignore[no-any-return]

    def _fit(self, dataset: DataFrame | Profile) -> M:
        self._check_params()
        learned = profiled(self, dataset) if isinstance(dataset, Profile) else self._of_rows(dataset)
        if self.getHandleInvalid() == "skip" and not learned.statistic.count.any():
            raise self._no_usable_row(learned.columns)
        model = self._model()
        model._resetUid(self.uid)
        model._learn(learned.columns, learned.statistic, skips=self.getHandleInvalid() == "skip")
        if learned.groups:
            model._groups = learned.groups  # type: ignore[attr-defined]  # of a GroupModel
        fitted = self._copyValues(model)
        fitted._fit_options = fitted._options()
        self._complete(fitted, dataset)
        fitted.map  # noqa: B018  # refuses a range that overflows, before anyone relies on the model
        fitted._check_groups()
        fitted._log()
        return fitted

    def _complete(self, model: M, dataset: DataFrame | Profile) -> None:
        """Let a model learn what a statistic does not show."""

    def _of_rows(self, dataset: DataFrame) -> Learned:
        """Return what the rows of a DataFrame show."""
        check_dataset(dataset, whole="fit")
        inputs, outputs = self._input_names(), self._output_names()
        columns = self._described(resolve(dataset, inputs))
        keys = group_keys(dataset, self._group_names(), columns, as_of=self._as_of() is not None)
        check_outputs(dataset, outputs, inputs, self._indicator_names())
        rows = self._learn_rows(dataset, columns, keys, self._statistic_class)
        if rows is None:
            raise self._no_usable_row(columns)
        groups = Groups(tuple(keys), rows.table, self._as_of() is not None) if rows.table else None
        sized = tuple(replace(c, size=n) for c, n in zip(columns, rows.sizes, strict=True))
        return Learned(sized, rows.statistic, groups)

    def _no_usable_row(self, columns: Sequence[FeatureColumn]) -> EmptyDataError:
        return EmptyDataError(
            f"{type(self).__name__}: no usable row in the columns {', '.join(c.name for c in columns)}. fit needs "
            "at least one row; rows of weight 0 and, under handleInvalid='skip', rows with an invalid value do "
            "not count."
        )
