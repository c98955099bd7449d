"""How every scaler fits: one scan into a statistic, which its model turns into an affine map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic, TypeVar

from pyspark.ml import Estimator
from pyspark.sql import DataFrame

from sparkscale.display.html import HtmlReprMixin
from sparkscale.errors import EmptyDataError
from sparkscale.scalers._fit import FitMixin
from sparkscale.scalers._model import ScalerModel
from sparkscale.scalers._persistence import Writable
from sparkscale.spark.columns import resolve
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.outputs import check_outputs
from sparkscale.statistics import Mergeable

__all__ = ["Scaler"]

M = TypeVar("M", bound=ScalerModel[Any])


class Scaler(HtmlReprMixin, FitMixin, Writable, Estimator[M], Generic[M]):
    """Base of the estimators. A subclass names its model, and has Params."""

    _model: type[M]

    @property
    def _statistic_class(self) -> type[Mergeable]:
        """The class of what fit learns."""
        return self._model._statistic_class

    def _fit(self, dataset: DataFrame) -> M:
        self._check_params()
        check_dataset(dataset, whole="fit")
        inputs, outputs = self._input_names(), self._output_names()
        columns = resolve(dataset, inputs)
        check_outputs(dataset, outputs, inputs, self._indicator_names())
        summary = self._summarize(dataset, columns, self._statistic_class)
        if summary is None or (self.getHandleInvalid() == "skip" and not summary.statistic.count.any()):
            raise EmptyDataError(
                f"{type(self).__name__}: no usable row in the columns {', '.join(c.name for c in columns)}. fit needs "
                "at least one row; rows of weight 0 and, under handleInvalid='skip', rows with an invalid value do "
                "not count."
            )
        model = self._model()
        model._resetUid(self.uid)
        sized = [replace(c, size=n) for c, n in zip(columns, summary.sizes, strict=True)]
        model._learn(sized, summary.statistic, skips=self.getHandleInvalid() == "skip")
        fitted = self._copyValues(model)
        fitted.affine  # noqa: B018  # refuses a range that overflows, before anyone relies on the model
        fitted._log()
        return fitted
