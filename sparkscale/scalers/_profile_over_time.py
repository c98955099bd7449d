"""What the keys of a profile that are days, batches or other times make possible."""

from __future__ import annotations

from typing import Any, TypeVar

from sparkscale.scalers._compare import compare
from sparkscale.scalers._decay import decayed
from sparkscale.scalers._profile_base import ProfileBase
from sparkscale.scalers.comparison import Comparison

__all__ = ["ProfileOverTime"]

T = TypeVar("T", bound="ProfileOverTime")


class ProfileOverTime(ProfileBase):
    """Base of `Profile`."""

    def decayed(self: T, halfLife: float, by: str, at: Any = None) -> T:
        r"""Return the profile with older rows counting less.

        The weights of the rows of a key are multiplied by :math:`2^{-a / h}`, where :math:`a` is its age, ``at`` minus the
        key, and :math:`h` the half-life. Merged afterwards, by ``total`` or a fit, recent keys dominate. The number of rows,
        ``count``, stays as it is.

        Parameters
        ----------
        halfLife : float
            In days for dates and timestamps, otherwise in the units of the key. Infinity leaves the weights as they are.
        by : str
            One of ``groupCols``: dates, timestamps or numbers, such as a day or the number of a batch.
        at : date, datetime or number, optional
            The value of that column from which ages are counted, by default the largest one.

        Returns
        -------
        Profile
            With the same keys.

        Raises
        ------
        ParamError
            If the profile has statistics other than moments and co-moments, some key is null, NaN or after ``at``, or an
            argument has a value that cannot be used.
        ParamTypeError
            If ``at`` is not a value of that column.

        Notes
        -----
        With ``ddof=1``, the variance divides by :math:`W - \sum w^2 / W`, as with row weights; the covariance of
        co-moments by the sum of the weights less 1. Weights below 1e-308 become 0.

        Examples
        --------
        >>> from datetime import date
        >>> from sparkscale import Profile, StandardScaler
        >>> rows = [(date(2024, 3, 1), 0.0), (date(2024, 3, 8), 3.0)]
        >>> df = spark.createDataFrame(rows, "day date, x double")
        >>> profile = Profile.of(df, inputCols=["x"], groupCols=["day"], statistics=["moments"])
        >>> StandardScaler(inputCol="x").fit(profile.decayed(halfLife=7, by="day")).mean
        DenseVector([2.0])
        """
        return self._with(decayed(self, halfLife, by, at))

    def compare(
        self, other: ProfileOverTime, *, by: list[str] | None = None, thresholds: dict[str, float] | None = None
    ) -> Comparison:
        """Return how the rows of another profile differ from those of this one, without a job over rows.

        What the statistics do not tell is NaN, with a note: the shift of the mean and the ratio of spreads need moments on
        both sides; the population stability index needs quantiles on both; the share of values out of range needs extrema
        or quantiles here and quantiles there, within their rank error, or extrema there that lie in the range.

        Parameters
        ----------
        other : Profile
            Of the same columns, in any order.
        by : list of str, optional
            Key columns of both profiles, to compare the rows of each key. By default, all rows are compared.
        thresholds : dict of str to float, optional
            What to flag; see `Comparison`.

        Returns
        -------
        Comparison
            A table with figures of each feature, and of each key with ``by``.

        Raises
        ------
        ParamError
            If the columns differ, ``by`` names no key of both, a threshold cannot be used, or there are more keys than the
            driver holds.
        ParamTypeError
            If ``other`` is no profile.

        Examples
        --------
        >>> from sparkscale import Profile
        >>> df = spark.createDataFrame([("a", 1.0), ("a", 3.0), ("b", 5.0), ("b", 7.0)], "site string, x double")
        >>> sites = Profile.of(df, inputCols=["x"], groupCols=["site"])
        >>> a, b = sites.where("site = 'a'"), sites.where("site = 'b'")
        >>> row = a.compare(b).table.loc["x"]
        >>> print(f"{row.meanShift:.3f} {row.spreadRatio}", row["flags"])
        2.828 1.0 meanShift
        """
        return compare(self, other, by, thresholds)
