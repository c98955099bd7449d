"""Batch normalization by the statistics of a whole data set, or by moving averages over mini-batches."""

from __future__ import annotations

from pyspark import keyword_only

from sparkscale.scalers._base import Scaler
from sparkscale.scalers._batch_norm_model import BatchNormModel
from sparkscale.scalers._batch_norm_params import BatchNormParams
from sparkscale.scalers._params import param
from sparkscale.statistics import BatchAverage, Mergeable, Moments, MovingAverage

__all__ = ["BatchNorm", "BatchNormModel"]


class BatchNorm(BatchNormParams, Scaler[BatchNormModel]):
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

    statistics = param("statistics", "what normalizes: 'population', 'meanOfBatches' or 'moving'", str)

    _defaults = {"statistics": "population"}
    _choices = {"statistics": ("population", "meanOfBatches", "moving")}
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

    def getStatistics(self) -> str:
        """Return ``statistics``."""
        return self.getOrDefault(self.statistics)

    def setStatistics(self, value: str) -> BatchNorm:
        """Set ``statistics``."""
        return self._set(statistics=value)

    @property
    def _statistic_class(self) -> type[Mergeable]:
        if self.getStatistics() == "population":
            return Moments
        plain = self.getStatistics() == "meanOfBatches" or self.getMomentum() is None
        return BatchAverage if plain else MovingAverage
