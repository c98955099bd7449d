"""Batch normalization by the statistics of a whole data set, or by moving averages over mini-batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.layout import Layout
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._layer_params import HasBias, HasEpsilon, HasShape
from sparkscale.scalers._model import Array, Fitting, ScalerModel
from sparkscale.scalers._params import HasWeight
from sparkscale.spark import storage
from sparkscale.spark.batches import Batches
from sparkscale.spark.columns import FeatureColumn, as_fitted, resolve, resolve_key
from sparkscale.spark.gpu import effective_device
from sparkscale.spark.names import check_dataset
from sparkscale.spark.summarize import Summary
from sparkscale.spark.transform.batches import normalize_batches
from sparkscale.spark.transform.outputs import check_outputs
from sparkscale.statistics import BatchAverage, Mergeable, Moments, MovingAverage, RunningMoments

__all__ = ["BatchNorm", "BatchNormModel"]

P = TypeVar("P", bound="_BatchNormParams")
STATISTICS = ("population", "meanOfBatches", "moving")


def _to_float_or_none(value: Any) -> float | None:
    return None if value is None else TypeConverters.toFloat(value)


class _BatchNormParams(HasWeight, HasEpsilon, HasShape, HasBias, Fitting):
    momentum: Param[Any] = Param(
        Params._dummy(),
        "momentum",
        "weight of a new batch in the moving average, as in PyTorch (1 minus Keras's); None for the plain average",
        typeConverter=_to_float_or_none,
    )
    batchCol: Param[str] = Param(
        Params._dummy(),
        "batchCol",
        "column that tells each row's mini-batch, and by its order that of the batches",
        typeConverter=TypeConverters.toString,
    )

    _none_is_a_value = frozenset({"momentum"})

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(momentum=0.1, gamma=[1.0], beta=[0.0])

    def getMomentum(self) -> float | None:
        """Return ``momentum``."""
        momentum: float | None = self.getOrDefault(self.momentum)
        return momentum

    def getBatchCol(self) -> str:
        """Return ``batchCol``."""
        return self.getOrDefault(self.batchCol)

    def setMomentum(self: P, value: float | None) -> P:
        """Set ``momentum``."""
        return self._set(momentum=value)

    def setBatchCol(self: P, value: str) -> P:
        """Set ``batchCol``."""
        return self._set(batchCol=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.getEpsilon() == 0:
            raise self._fail("epsilon must be positive. Got 0.0.")
        momentum = self.getMomentum()
        if momentum is not None and not 0 <= momentum <= 1:
            raise self._fail(f"momentum must be between 0 and 1, or None. Got {momentum}.")

    @property
    def _length(self) -> int | None:
        return None  # of all columns' channels, which fit knows; one value is for all

    def _per_channel(self, name: str, channels: int) -> Array:
        values = np.asarray(self.getOrDefault(name), dtype=np.float64)
        if len(values) not in (1, channels):
            raise self._fail(f"{name} has {len(values)} values for {channels} channels. Give one a channel, or one.")
        return np.broadcast_to(values, (channels,))

    @abstractmethod
    def _kind(self) -> type[Mergeable]:
        """Return what is learned."""

    def _summarize(self, df: DataFrame, columns: Sequence[FeatureColumn]) -> Summary | None:
        layout, kind = self._layout(), self._kind()
        for column in columns:
            if layout is not None and column.size is not None:
                layout.check(column.name, column.size)
        channels = [layout.channels if layout else column.size for column in columns]
        if None not in channels:  # known before any job
            for name in ("gamma", "beta"):
                self._per_channel(name, sum(n or 0 for n in channels))
        if issubclass(kind, RunningMoments):
            return self._batches(df, columns).summarize(df, kind, self._of_batch(kind))
        found = super()._summarize(df, columns)
        if found is None or layout is None:
            return found
        return Summary(_pooled(found, columns, layout), found.sizes)

    def _of_batch(self, kind: type[RunningMoments]) -> Any:
        if not issubclass(kind, MovingAverage):
            return BatchAverage.of_batch
        momentum = self.getMomentum()
        if momentum is None:
            raise self._fail("a moving average cannot go on as a plain one. Set momentum to a number, or fit again.")
        return partial(MovingAverage.of_batch, momentum=momentum)

    def _batches(self, df: DataFrame, columns: Sequence[FeatureColumn]) -> Batches:
        if not self.isSet("batchCol"):
            raise self._fail("batchCol is not set. Name the column that tells each row's mini-batch.")
        key = resolve_key(df, self.getBatchCol())
        return Batches(
            columns,
            key,
            self._layout(),
            self.getHandleInvalid(),
            self._weight(df),
            effective_device(self.getDevice(), df.sparkSession),
        )


def _pooled(found: Summary, columns: Sequence[FeatureColumn], layout: Layout) -> Moments:
    """Take the places of each column's channels together."""
    assert isinstance(found.statistic, Moments)  # noqa: S101  # the statistic of the population
    parts = []
    for column, part in zip(columns, found.statistic.split(found.sizes), strict=True):
        layout.check(column.name, len(part))
        parts.append(part.pooled(layout.features()))
    return Moments.concat(parts)


class BatchNormModel(_BatchNormParams, ScalerModel[Any]):
    """Model fitted by `BatchNorm`.

    ``statistics`` is what was learned of each channel: `sparkscale.statistics.Moments` of the population, or a
    `sparkscale.statistics.BatchAverage` or `sparkscale.statistics.MovingAverage` over mini-batches.
    """

    _statistic = Moments
    _repr_params = ("epsilon",)

    def _kind(self) -> type[Mergeable]:
        return type(self.statistics)

    @property
    def runningMean(self) -> DenseVector:
        """Mean of each channel, that the map subtracts."""
        return self._vector(self.statistics.mean)

    @property
    def runningVar(self) -> DenseVector:
        """Unbiased variance of each channel, as PyTorch's layers store it."""
        return self._vector(_variance(self.statistics, ddof=1))

    @property
    def runningVarBiased(self) -> DenseVector:
        """Biased variance of each channel, as Keras's layers store it (``moving_variance``)."""
        return self._vector(_variance(self.statistics, ddof=0))

    @property
    def normalizingVar(self) -> DenseVector:
        """The variance that the map divides by: the population's biased one, or the batches' unbiased ones averaged."""
        return self._vector(self._normalizing())

    @property
    def numBatchesTracked(self) -> int:
        """Number of mini-batches averaged; 0 for the statistics of the population."""
        return int(self.statistics.batches.max()) if isinstance(self.statistics, RunningMoments) else 0

    @property
    def numChannels(self) -> int:
        """Number of channels of all columns together."""
        return len(self.statistics)

    @property
    def count(self) -> int:
        """Number of rows that took part in fit."""
        layout = self._layout()
        return super().count // (layout.places if layout else 1)

    def getGamma(self) -> list[float]:
        """Return the gain of each channel."""
        return list(map(float, self._per_channel("gamma", self.numChannels)))

    def getBeta(self) -> list[float]:
        """Return the bias of each channel."""
        return list(map(float, self._per_channel("beta", self.numChannels)))

    def merge(self: BatchNormModel, *others: BatchNormModel) -> BatchNormModel:
        """Return the model that fit on all the data together would have given.

        Parameters
        ----------
        *others : BatchNormModel
            Fitted on the same columns. Averages of batches merge if the batches differ.

        Returns
        -------
        BatchNormModel
            A new model with this one's Params; the operands stay as they were.

        Raises
        ------
        ParamError
            If models are of different columns or statistics, or of moving averages.
        """
        if any(type(getattr(o, "_learned", None)) is not type(self.statistics) for o in others):
            raise self._fail("the models hold different statistics. Fit them with the same Params to merge.")
        if isinstance(self.statistics, MovingAverage):
            raise self._fail(
                "moving averages do not merge: each begins at its own first batch, and what came between is lost. "
                "Use update, which goes on where this one stopped, or statistics='population'."
            )
        if any(o._layout() != self._layout() for o in others):
            raise self._fail("the models have different shapes. Only models of one shape merge.")
        return super().merge(*others)

    def normalizeBatches(self, dataset: DataFrame) -> DataFrame:
        r"""Normalize each mini-batch by its own statistics, as a layer does while it is trained.

        .. math:: y = \frac{x - \mu_B}{\sqrt{\sigma_B^2 + \epsilon}} \gamma + \beta

        with the mean and biased variance of the row's batch. What fit learned is not used, except for the columns. Of
        ``device``, only the statistics are computed there.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            With the input columns and ``batchCol``.

        Returns
        -------
        pyspark.sql.DataFrame
            With the outputs that ``transform`` has; the order of the rows may differ.

        Raises
        ------
        ParamError
            If ``batchCol`` is not set, or many inputs are to become one vector.
        BatchError
            In the job that computes the result, as its message: if a row is of no batch, or a batch has fewer than
            two valid values in a channel.
        """
        self._check_params()
        check_dataset(dataset, whole="normalizeBatches")
        if self._assembles:
            raise self._fail("normalizeBatches makes one output a column. Set outputCols instead of outputCol.")
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

    def _map(self, statistic: Any) -> AffineMap:
        gamma, beta = (self._per_channel(name, len(statistic)) for name in ("gamma", "beta"))
        return AffineMap(statistic.mean, np.sqrt(self._normalizing() + self.getEpsilon()) / gamma, beta)

    def _normalizing(self) -> Array:
        return _variance(self.statistics, ddof=0 if isinstance(self.statistics, Moments) else 1)

    def _spread(self, statistic: Any) -> Array:
        return statistic.std(0) if isinstance(statistic, Moments) else np.sqrt(statistic.variance)

    def _collapses(self, statistic: Any) -> npt.NDArray[np.bool_]:
        return np.asarray((self._per_channel("gamma", len(statistic)) == 0) & np.isfinite(self._normalizing()))

    def _of_features(self, found: AffineMap) -> AffineMap:
        layout = self._layout()
        if layout is None:
            return found
        channels = range(0, len(found), layout.channels)
        return found[np.concatenate([start + layout.channel_of() for start in channels])]

    def _features_of(self, entry: int) -> range:
        layout = self._layout()
        if layout is None:
            return super()._features_of(entry)
        column, channel = divmod(entry, layout.channels)
        first, step = (channel * layout.places, 1) if self._first else (channel, layout.channels)
        return range(column * layout.size + first, column * layout.size + first + step * layout.places, step)

    def _entry_columns(self) -> Sequence[FeatureColumn]:
        layout = self._layout()
        if layout is None:
            return self._columns
        return [FeatureColumn(f"{c.name}_channel", "array", size=layout.channels) for c in self._columns]

    def _shown(self, statistic: Any) -> dict[str, Any]:
        return {"runningMean": self.runningMean.toArray(), "runningVar": self.runningVar.toArray()}

    def _saved(self) -> tuple[dict[str, Any], Mergeable | None]:
        extra, statistic = super()._saved()
        return {**extra, "statistic": type(statistic).__name__}, statistic

    @classmethod
    def _saved_kind(cls, extra: Mapping[str, Any]) -> type[Mergeable]:
        kinds: dict[str, type[Mergeable]] = {kind.__name__: kind for kind in (Moments, BatchAverage, MovingAverage)}
        name = storage.part(extra, "statistic", str)
        if name not in kinds:
            raise storage.MalformedError(f"statistic is {name!r}, not one of {', '.join(kinds)}")
        return kinds[name]

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        super()._restore(extra, statistic)
        layout = self._layout()
        if layout is not None:
            for column in self._columns:
                layout.check(column.name, column.size or 0)


def _variance(statistic: Any, ddof: int) -> Array:
    if isinstance(statistic, Moments):
        return statistic.variance(ddof)
    found: Array = statistic.unbiased if ddof else statistic.variance
    return found


def _of_batch(found: Moments, epsilon: float) -> tuple[Array, Array]:
    """Return what normalizes a batch: its center and scale."""
    return found.mean, np.sqrt(found.variance(0) + epsilon)


class BatchNorm(_BatchNormParams, Scaler[BatchNormModel]):
    r"""Batch normalization: per channel, subtract the mean and divide by the standard deviation, then gain and bias.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    Where a layer keeps a moving average of what its mini-batches happened to be, ``fit`` takes the mean and the
    (biased) variance of the whole data set, what "precise batch norm" approximates. The other choices of
    ``statistics`` follow the mini-batches that ``batchCol`` tells: ``"meanOfBatches"`` is the plain mean of their
    means and unbiased variances, and ``"moving"`` what a PyTorch layer holds after it has seen them in order,

    .. math:: r_t = (1 - m)\, r_{t-1} + m\, s_t, \qquad \mu_0 = 0,\ \sigma^2_0 = 1 .

    It is linear in the batches' statistics, and computed from them wherever their rows lie.

    Parameters
    ----------
    statistics : {"population", "meanOfBatches", "moving"}, default="population"
        What normalizes.
    shape : list of int, optional
        Of the tensor that each array or vector holds flattened in C order, without the batch axis, such as
        ``[3, 32, 32]``. A channel's statistics are over rows and places. Left out, each feature is a channel.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Which axis of ``shape`` is that of the channels.
    epsilon : float, default=1e-5
        Added to the variance.
    momentum : float or None, default=0.1
        Weight of a new batch in the moving average, PyTorch's convention: Keras's 0.99 is 0.01 here. ``None`` is the
        plain average, as in PyTorch.
    gamma, beta : list of float, optional
        Gain and bias of each channel, of all columns one after the other; one number is for all. Default 1 and 0.
    batchCol : str, optional
        Column that tells each row's mini-batch; by its order that of the batches. Never null.
    inputCol, outputCol : str, optional
        One column in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out; with ``outputCol``, one vector out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter the statistic. "keep" passes null and NaN on, "skip" drops rows that hold
        one, in fit and transform, "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN, with a warning, and "error" fails.
    weightCol : str, optional
        Column of row weights, finite and not negative. Rows of weight 0 do not count.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If ``epsilon`` is not positive, ``momentum`` not in [0, 1], ``gamma`` or ``beta`` not of one number a channel,
        ``batchCol`` missing where it is needed, or Params contradict each other.
    SizeMismatchError
        If ``shape`` does not multiply to a column's number of features, or its rows differ in length.
    BatchError
        If a row is of no batch, or a batch has fewer than two valid values in a channel.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, cannot be scaled, or an output exists that is not its own input.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses, or an unusable weight.
    RangeOverflowError
        If a mean or variance is not representable as a double.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    See Also
    --------
    sparkscale.kernels.batch_norm_train : The forward pass on arrays.

    Notes
    -----
    Population statistics merge exactly and in any order. So do means of different batches. Moving averages only go on,
    by ``update``.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", arXiv:1502.03167. Y. Wu, J. Johnson, "Rethinking 'batch' in BatchNorm", arXiv:2105.07576 (precise
    statistics). ``torch/nn/modules/batchnorm.py``.

    Examples
    --------
    >>> from sparkscale import BatchNorm
    >>> rows = [(0, [1.0, 3.0, 0.0, 0.0]), (1, [5.0, 7.0, 0.0, 8.0])]
    >>> df = spark.createDataFrame(rows, "step int, image array<double>")
    >>> model = BatchNorm(inputCol="image", shape=[2, 1, 2]).fit(df)
    >>> model.runningMean, model.runningVarBiased
    (DenseVector([4.0, 2.0]), DenseVector([5.0, 12.0]))
    >>> [round(y, 3) for y in model.transform(df).first().image_scaled]
    [-1.342, -0.447, -0.577, -0.577]

    What a layer would hold after these two steps:

    >>> layer = BatchNorm(inputCol="image", shape=[2, 1, 2], statistics="moving", batchCol="step").fit(df)
    >>> [round(float(m), 3) for m in layer.runningMean], layer.numBatchesTracked
    ([0.78, 0.4], 2)
    """

    statistics: Param[str] = Param(
        Params._dummy(),
        "statistics",
        "what normalizes: 'population', 'meanOfBatches' or 'moving'",
        typeConverter=TypeConverters.toString,
    )

    _statistic = Moments
    _model = BatchNormModel

    @keyword_only
    def __init__(
        self,
        *,
        statistics: str = "population",
        shape: list[int] | None = None,
        dataFormat: str = "channelsFirst",
        epsilon: float = 1e-5,
        momentum: float | None = 0.1,
        gamma: list[float] | None = None,
        beta: list[float] | None = None,
        batchCol: str | None = None,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        weightCol: str | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self._setDefault(statistics="population")
        self._set(**self._given())

    def getStatistics(self) -> str:
        """Return ``statistics``."""
        return self.getOrDefault(self.statistics)

    def setStatistics(self, value: str) -> BatchNorm:
        """Set ``statistics``."""
        return self._set(statistics=value)

    def _check_params(self) -> None:
        super()._check_params()
        self._check_choice("statistics", STATISTICS)

    def _kind(self) -> type[Mergeable]:
        if self.getStatistics() == "population":
            return Moments
        plain = self.getStatistics() == "meanOfBatches" or self.getMomentum() is None
        return BatchAverage if plain else MovingAverage
