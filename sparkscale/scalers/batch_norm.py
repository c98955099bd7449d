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
    r"""Normalize each channel by its mean and variance over all rows, then apply a gain and a bias.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    During training, a layer keeps a moving average over the mini-batches it saw. By default, ``fit`` uses the mean and
    the biased variance of the whole data set instead, which "precise batch norm" approximates. The other values of
    ``statistics`` use the mini-batches of ``batchCol``. ``"meanOfBatches"`` is the plain mean of their means and unbiased
    variances. ``"moving"`` gives the moving averages of a PyTorch layer that saw the mini-batches in order,

    .. math:: r_t = (1 - m)\, r_{t-1} + m\, s_t, \qquad \mu_0 = 0,\ \sigma^2_0 = 1 .

    The moving average is linear in the statistics of the batches, so it is computed from them in parallel.

    Parameters
    ----------
    statistics : {"population", "meanOfBatches", "moving"}, default="population"
        The statistics to normalize by.
    shape : list of int, optional
        Dimensions of the tensor that each array or vector holds, flattened in C order, without the batch, such as
        ``[3, 32, 32]``. The statistics of a channel are over rows and positions. By default, each feature is a channel.
        With ``[channels, -1]``, ``[-1, channels]`` and "channelsLast", or ``[-1]`` for one channel, the arrays of a column may
        differ in length; its vectors have one size. A null array then counts as one invalid value of each channel. It is not
        for mini-batches.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first dimension of ``shape`` or the last.
    epsilon : float, default=1e-5
        Added to the variance.
    momentum : float or None, default=0.1
        Weight of a new batch in the moving average, in PyTorch's convention: Keras's 0.99 is 0.01 here. ``None`` selects
        the plain average, as in PyTorch.
    gamma, beta : list of float, optional
        Gain and bias, one value per channel, for all columns in order, or one value for all. The defaults are 1 and 0.
    batchCol : str, optional
        Column that identifies each row's mini-batch; batches are processed in its sort order. It must not be null.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one output vector. By default, outputs
        are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are never used to fit. "keep" leaves null and NaN as they are, "skip" drops rows
        with an invalid value in fit and transform, "error" raises an error, and "keepNaN" raises an error for infinite
        values and otherwise does the same as "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN and logs a warning, "error" raises an error.
    weightCol : str, optional
        Column of row weights, finite and not negative. Rows with weight 0 are ignored.
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in scaled units: a number, or "center" for the mean as it is mapped, ``beta``. The
        default leaves null and NaN. Infinite values are not filled, nor arrays and vectors that are null. It needs
        ``handleInvalid="keep"``.
    addIndicator : bool, default=False
        Add a column ``<input>_missing`` for each input: 1 where a value is null or NaN, else 0; for an array or vector, an
        array with a number for each feature.
    maskValue : float, optional
        A value that counts as missing, such as that of padding: fit does not use it, and ``transform`` and the inverse keep
        it, under any ``handleInvalid``. ``addIndicator`` marks it, and ``fillInvalid`` does not fill it. In a column of single
        precision it is rounded to that. A result that happens to be equal to it comes back from the inverse as the mask. With
        0, vectors are refused.
    groupCols : list of str, optional
        Columns whose values are keys: each key has a map of its own, fitted on its rows. Null and NaN are keys, too.
    handleUnseen : {"global", "null", "error"}, default="global"
        A row whose key was not seen in fit: "global" applies the map of all rows, "null" gives null, and "error" raises an
        error.
    minGroupCount : int, default=1
        A feature with fewer valid values in a group gets the map of all rows.
    asOf : str, optional
        Column of dates, timestamps or numbers, such as the day of a row: a row is scaled by the rows before it alone, whose
        value there is smaller; with ``groupCols`` by those of its group. "All rows" above are then those of all groups
        before it. Where there are none, results are null, or under ``handleUnseen="error"`` an error.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``epsilon`` is not positive, ``momentum`` is not in [0, 1], ``gamma`` or ``beta`` does not have one value per
        channel, ``batchCol`` is missing but needed, ``fillInvalid`` is neither a finite number nor "center", or it is set
        and ``handleInvalid`` is not "keep".
    SizeMismatchError
        If the product of ``shape`` is not the number of features of a column.
    BatchError
        If ``batchCol`` is null in a row, or a batch has fewer than two valid values in a channel.
    RangeOverflowError
        If a mean or variance is not representable as a double.

    See Also
    --------
    sparkscale.kernels.batch_norm_train : The forward pass on arrays.

    Notes
    -----
    Population statistics can be merged exactly and in any order, and so can means of different batches. Moving averages
    cannot be merged; ``update`` continues them.

    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

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

    The mean in a layer after these two steps:

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
        fillInvalid: float | str | None = None,
        addIndicator: bool = False,
        maskValue: float | None = None,
        groupCols: list[str] | None = None,
        handleUnseen: str = "global",
        minGroupCount: int = 1,
        asOf: str | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def getStatistics(self) -> str:
        """Return ``statistics``."""
        return self.getOrDefault(self.statistics)

    def setStatistics(self, value: str) -> BatchNorm:
        """Set ``statistics``."""
        return self._set(statistics=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self._group_names() and self.getStatistics() != "population":
            raise self._fail(f"groupCols and asOf need statistics='population'. Got {self.getStatistics()!r}.")

    @property
    def _statistic_class(self) -> type[Mergeable]:
        if self.getStatistics() == "population":
            return Moments
        plain = self.getStatistics() == "meanOfBatches" or self.getMomentum() is None
        return BatchAverage if plain else MovingAverage
