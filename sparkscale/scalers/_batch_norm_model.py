"""The fitted model of batch normalization."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import DenseVector
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.scalers._batch_norm_params import BatchNormParams
from sparkscale.scalers._given import Argument, Given, Numbers
from sparkscale.scalers._group_model import GroupModel
from sparkscale.scalers._model import Array
from sparkscale.scalers._persistence import Content
from sparkscale.spark import storage
from sparkscale.spark.columns import as_fitted, resolve
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.normalize_batches import normalize_batches
from sparkscale.spark.transform.outputs import check_outputs
from sparkscale.statistics import BatchAverage, Mergeable, Moments, MovingAverage, RunningMoments

__all__ = ["BatchNormModel"]


class BatchNormModel(BatchNormParams, GroupModel[Any]):
    """Model fitted by `BatchNorm`, or made from given numbers by `of`.

    ``statistics`` has one entry per channel: `sparkscale.statistics.Moments` of the population, or
    `sparkscale.statistics.BatchAverage` or `sparkscale.statistics.MovingAverage` over mini-batches.
    """

    _statistic_class = Moments
    _takes = {"runningMean": Argument(), "runningVar": Argument(0)}
    _repr_params = ("epsilon",)

    @classmethod
    def of(
        cls, *, runningMean: Numbers, runningVar: Numbers, dataset: DataFrame | None = None, **params: Any
    ) -> BatchNormModel:
        """Return the model of a given mean and variance, without a fit.

        Parameters
        ----------
        runningMean, runningVar : float or array_like
            One number per channel: a list, array or vector, or a single number. With ``inputCols``, one entry per column: a
            number for a scalar, a list for an array or vector. The map divides by the root of ``runningVar + epsilon``, so
            ``runningVarBiased`` and ``normalizingVar`` are equal to ``runningVar``.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar; a column of several, or with a ``shape``, is an array.
        **params
            Any other Params of the model, such as ``epsilon`` or ``gamma``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        BatchNormModel
            A model that maps like a fitted one, but has no ``statistics``: ``merge`` and ``update`` raise ``ParamError``, and
            ``count`` is 0.

        Raises
        ------
        ParamError
            If numbers are not finite, or do not match the columns or the ``shape``, or ``runningVar`` is negative.
        ParamTypeError
            If numbers are of the wrong type, or a keyword is not a Param.

        Examples
        --------
        >>> from sparkscale import BatchNormModel
        >>> model = BatchNormModel.of(inputCol="image", runningMean=[0.5, 0.25], runningVar=[0.25, 1.0], shape=[2, 1, 2],
        ...                           epsilon=1e-300)
        >>> model.affine.apply([1.0, 0.5, 0.25, 2.25])
        array([1., 0., 0., 2.])
        """
        return cls._given(dataset, params, runningMean=runningMean, runningVar=runningVar)

    @property
    def runningMean(self) -> DenseVector:
        """Mean of each channel, which the map subtracts."""
        return self._vector("mean")

    @property
    def runningVar(self) -> DenseVector:
        """Unbiased variance of each channel, as PyTorch's layers store it."""
        return self._vector("runningVar")

    @property
    def runningVarBiased(self) -> DenseVector:
        """Biased variance of each channel, as Keras's layers store it (``moving_variance``)."""
        return self._vector("runningVarBiased")

    @property
    def normalizingVar(self) -> DenseVector:
        """Variance used by the map: biased for the population, else the average of the batches' unbiased variances."""
        return self._vector("normalizingVar")

    @property
    def numBatchesTracked(self) -> int:
        """Number of mini-batches in the average; 0 for population statistics."""
        source = self._source
        return int(source.batches.max()) if isinstance(source, RunningMoments) else 0

    @property
    def numChannels(self) -> int:
        """Total number of channels of all columns."""
        return len(self._source)

    def getGamma(self) -> list[float]:
        """Return the gain of each channel."""
        return list(map(float, self._per_channel("gamma", self.numChannels)))

    def getBeta(self) -> list[float]:
        """Return the bias of each channel."""
        return list(map(float, self._per_channel("beta", self.numChannels)))

    def merge(self: BatchNormModel, *others: BatchNormModel) -> BatchNormModel:
        """Return a new model, equal to one fitted on the data of all the models.

        Parameters
        ----------
        *others : BatchNormModel
            Fitted on the same columns. Averages over mini-batches can be merged if the models saw different batches.

        Returns
        -------
        BatchNormModel
            A new model with the Params of this one. The merged models are unchanged.

        Raises
        ------
        ParamError
            If columns or statistics differ, or the statistics are moving averages.
        """
        if isinstance(self.statistics, MovingAverage):
            raise self._fail(
                "moving averages do not merge: each begins at its own first batch, and what came between is lost. "
                "Use update, which goes on where this one stopped, or statistics='population'."
            )
        return super().merge(*others)

    def normalizeBatches(self, dataset: DataFrame) -> DataFrame:
        r"""Normalize each mini-batch by its own statistics, as a layer does in training.

        .. math:: y = \frac{x - \mu_B}{\sqrt{\sigma_B^2 + \epsilon}} \gamma + \beta

        with the mean and biased variance of the row's batch. The fitted statistics are not used. Only the statistics of
        the batches are computed on ``device``, and no indicator is added.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            The DataFrame with the input columns and ``batchCol``.

        Returns
        -------
        pyspark.sql.DataFrame
            The DataFrame with the same output columns as ``transform``. The order of the rows may differ.

        Raises
        ------
        ParamError
            If ``batchCol`` is not set, ``inputCols`` would be assembled into one vector, or ``fillInvalid`` or ``maskValue`` is set.
        BatchError
            While the job runs, in the message of Spark's exception: if ``batchCol`` is null in a row, or a batch has
            fewer than two valid values in a channel.
        """
        self._check_params()
        check_dataset(dataset, whole="normalizeBatches")
        if self._assembles:
            raise self._fail("normalizeBatches makes one output a column. Set outputCols instead of outputCol.")
        if self.getFillInvalid() is not None:
            raise self._fail("normalizeBatches does not fill missing values. Set fillInvalid to None.")
        if self.getMaskValue() is not None:
            raise self._fail("normalizeBatches does not keep a mask. Set maskValue to None.")
        fitted = self._renamed()
        columns = as_fitted(resolve(dataset, [c.name for c in fitted]), fitted)
        outputs = self._output_names()
        return normalize_batches(
            dataset,
            self._batches(dataset, columns),
            outputs,
            partial(_of_batch, epsilon=self.getEpsilon()),
            (self._per_channel("gamma", self.numChannels), self._per_channel("beta", self.numChannels)),
            check_outputs(dataset, outputs, [c.name for c in fitted]),
        )

    def _per_entry(self, name: str) -> Array:
        """Return gain or bias of each entry of the statistic."""
        return np.tile(self._per_channel(name, self.numChannels // self._of_keys), self._of_keys)

    def _map(self) -> AffineMap:
        gamma, beta = self._per_entry("gamma"), self._per_entry("beta")
        numbers = self._numbers
        return AffineMap(numbers["mean"], np.sqrt(numbers["normalizingVar"] + self.getEpsilon()) / gamma, beta)

    def _numbers_of(self, statistic: Moments | RunningMoments) -> Mapping[str, Array]:
        if isinstance(statistic, Moments):
            biased, unbiased, std = statistic.variance(0), statistic.variance(1), statistic.std(0)
        else:
            biased, unbiased, std = statistic.variance, statistic.unbiased, np.sqrt(statistic.variance)
        return {
            "mean": statistic.mean,
            "std": std,
            "runningVar": unbiased,
            "runningVarBiased": biased,
            "normalizingVar": biased if isinstance(statistic, Moments) else unbiased,
        }

    def _numbers_given(self, given: Mapping[str, Array]) -> Mapping[str, Array]:
        variances = dict.fromkeys(("runningVar", "runningVarBiased", "normalizingVar"), given["runningVar"])
        return {"mean": given["runningMean"], "std": np.sqrt(given["runningVar"]), **variances}

    def _spread(self) -> Array:
        return self._numbers["std"]

    def _collapses(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self._per_entry("gamma") == 0) & np.isfinite(self._numbers["normalizingVar"]))

    def _learned_values(self) -> dict[str, Any]:
        return {"runningMean": self._shown("mean"), "runningVar": self._shown("runningVar")}

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        extra, statistic = super()._saved()
        return {**extra, "statistic": type(self._source).__name__}, statistic

    @classmethod
    def _saved_class(cls, extra: Mapping[str, Any]) -> type[Mergeable] | None:
        classes: dict[str, type[Mergeable] | None] = {c.__name__: c for c in (Moments, BatchAverage, MovingAverage)}
        classes[Given.__name__] = None
        name = storage.typed_entry(extra, "statistic", str)
        if name not in classes:
            raise storage.MalformedError(f"statistic is {name!r}, not one of {', '.join(classes)}")
        return classes[name]


def _of_batch(moments: Moments, epsilon: float) -> tuple[Array, Array]:
    """Return what normalizes a batch: its center and scale."""
    return moments.mean, np.sqrt(moments.variance(0) + epsilon)
