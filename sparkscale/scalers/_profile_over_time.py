"""What the keys of a profile that are days, batches or other times make possible."""

from __future__ import annotations

from typing import Any, TypeVar

from sparkscale.scalers._decay import decayed
from sparkscale.scalers._profile_base import ProfileBase

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
