"""Statistics as a value: computed in one scan, by key or not, merged, chosen, saved, and fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from sparkscale.errors import EmptyDataError, ParamError, ParamTypeError
from sparkscale.scalers._columns import repeated
from sparkscale.scalers._keys import group_keys
from sparkscale.scalers._profile_arguments import check_arguments
from sparkscale.scalers._profile_over_time import ProfileOverTime
from sparkscale.scalers._profile_summary import summary_of
from sparkscale.scalers._statistics import set_of
from sparkscale.spark.columns import FeatureColumn, resolve, resolve_weight
from sparkscale.spark.fit.by_key import Keyed, summarize_by_key
from sparkscale.spark.fit.scan import summarize
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.names import check_dataset

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Profile"]


class Profile(ProfileOverTime):
    """Statistics of some columns, in total or by key: a value that is merged, chosen from, saved and fitted to.

    Create one with `Profile.of`.

    Notes
    -----
    Without ``groupCols``, a profile has one row, which the driver holds. With ``groupCols`` it is a table of one row per
    key: up to 64 MB are collected and held by the driver. A larger table stays on the executors, as a local checkpoint
    of Spark; if one of these executors is lost, the next use of the profile fails, and it must be computed or loaded
    again. Save it to be safe. On PySpark 3.5, every table stays on the executors.

    Examples
    --------
    >>> from sparkscale import Profile, StandardScaler
    >>> rows = [("mon", 1.0), ("mon", 3.0), ("tue", 5.0), ("tue", 11.0)]
    >>> df = spark.createDataFrame(rows, "day string, x double")
    >>> profile = Profile.of(df, inputCols=["x"], groupCols=["day"], statistics=["moments"])
    >>> profile.numGroups, profile.where("day = 'mon'").summary()["mean"].tolist()
    (2, [2.0])
    >>> StandardScaler(inputCol="x").fit(profile).mean
    DenseVector([5.0])
    """

    @classmethod
    def of(
        cls,
        dataset: DataFrame,
        *,
        inputCols: list[str],
        groupCols: list[str] | None = None,
        statistics: list[str] | None = None,
        weightCol: str | None = None,
        handleInvalid: str = "keep",
        relativeError: float = 0.001,
    ) -> Profile:
        """Compute a profile in one scan.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            The data.
        inputCols : list of str
            The columns: scalars, arrays and vectors.
        groupCols : list of str, optional
            Columns whose values are keys: numbers, booleans, strings, binary data, dates or timestamps. Null and NaN are
            keys, too, and 0.0 and -0.0 are the same key.
        statistics : list of str, default=["moments", "extrema"]
            "moments" (mean and variance), "extrema", "squares" (norms), "coMoments" (means and covariances, over the rows
            without an invalid value), "quantiles".
        weightCol : str, optional
            Column of row weights, finite and not negative, for "moments". Rows with weight 0 are ignored.
        handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
            Null, NaN and infinite values never enter a statistic. "skip" leaves out rows with an invalid value, "error"
            raises an error, and "keepNaN" raises an error for infinite values.
        relativeError : float, default=0.001
            Error of the ranks of "quantiles" as a share of the rows, from 0 to 1.

        Returns
        -------
        Profile
            The statistics, by key if there are ``groupCols``.

        Raises
        ------
        ParamError
            If an argument has a value that cannot be used, or a column is both scaled and a key.
        EmptyDataError
            If there is no row.

        Notes
        -----
        Few scalars are aggregated by Spark's own ``GROUP BY``. Counts and extrema are the same to the bit, however the
        data are partitioned; moments to 1e-12 relative, and to the bit with a ``local`` master.
        """
        profile = cls._of(dataset, inputCols, groupCols, statistics, weightCol, handleInvalid, relativeError)
        if profile is None:
            raise EmptyDataError(
                "Profile.of: there is no row, or every row has weight 0. A profile needs at least one row."
            )
        return profile

    @classmethod
    def _of(
        cls,
        dataset: DataFrame,
        inputCols: list[str],
        groupCols: list[str] | None,
        statistics: list[str] | None,
        weightCol: str | None,
        handleInvalid: str,
        relativeError: float,
        *,
        keys_are_scaled: bool = False,
        described: Callable[[Sequence[FeatureColumn]], Sequence[FeatureColumn]] = list,
    ) -> Profile | None:
        """Compute a profile; ``None`` if no row has a weight. In a set of scalers, keys of some may be scaled by others.

        A model that compares new rows with its own has them described as it describes its columns.
        """
        names = check_arguments(inputCols, groupCols or [], statistics, weightCol, handleInvalid, relativeError)
        check_dataset(dataset, whole="Profile.of")
        columns = described(resolve(dataset, inputCols))
        keys = group_keys(dataset, groupCols or [], () if keys_are_scaled else columns)
        weight = resolve_weight(dataset, weightCol) if weightCol else None
        statistic_class = set_of(names, relativeError)
        options = {"handleInvalid": handleInvalid, "weightCol": weightCol, "relativeError": float(relativeError)}
        result = (
            summarize_by_key(dataset, columns, keys, statistic_class, handle_invalid=handleInvalid, weight=weight)
            if keys
            else summarize(dataset, columns, statistic_class, handle_invalid=handleInvalid, weight=weight)
        )
        if result is None:
            return None
        sized = [replace(c, size=size) for c, size in zip(columns, result.sizes, strict=True)]
        return cls._made(sized, keys, options, result.table if isinstance(result, Keyed) else result.statistic)

    def merge(self, *others: Profile) -> Profile:
        """Return a new profile of the rows of all profiles; the statistics of the same key are merged.

        Parameters
        ----------
        *others : Profile
            Of the same columns and keys, with the same statistics and options.

        Returns
        -------
        Profile
            The merged profile. The others are unchanged.

        Raises
        ------
        ParamError
            If columns, keys, statistics or options differ.
        """
        for other in others:
            self._check_same(other)
        content: Any = self._held
        rest: Any = [other._held for other in others]
        keyed = isinstance(content, StatisticTable)
        return self._with(content.merged(*rest) if keyed else content.merge(*rest))

    def replace(self, other: Profile) -> Profile:
        """Return a new profile with the rows of another one in place of those with the same key.

        A batch that is processed again then changes nothing: ``profile.replace(Profile.of(batch, ...))``.

        Parameters
        ----------
        other : Profile
            Of the same columns and keys, with the same statistics and options.

        Returns
        -------
        Profile
            All keys of ``other``, and those of this profile that are not among them.

        Raises
        ------
        ParamError
            If columns, keys, statistics or options differ.
        """
        self._check_same(other)
        mine: Any = self._held
        return self._with(mine.replaced(other._held) if self._keys else other._held)

    def total(self) -> Profile:
        """Return the profile without keys: the statistics of all keys, merged."""
        content = self._held
        if not isinstance(content, StatisticTable):
            return self
        if self._total is None:
            with translate_job_errors():
                total = content.total()
            if total is None:
                raise EmptyDataError("Profile: there is no key. Choose others.")
            self._total = self._with(total, ())
        return self._total  # type: ignore[no-any-return]

    def by(self, *groupCols: str) -> Profile:
        """Return the profile by some of the key columns, with all keys merged that agree in these.

        Parameters
        ----------
        *groupCols : str
            Some of ``groupCols``, in any order. Without one, the result is that of ``total``.

        Returns
        -------
        Profile
            The profile by these keys.

        Raises
        ------
        ParamError
            If a name is not a key column, or is there twice.
        """
        if not all(isinstance(name, str) for name in groupCols):
            raise ParamTypeError(f"Profile.by: pass names, as in by('day', 'store'). Got {groupCols!r}.")
        unknown, twice = [n for n in groupCols if n not in self.groupCols], repeated(groupCols)
        if unknown or twice:
            problem = f"{unknown[0]!r} is no key column" if unknown else f"{twice[0]!r} is named twice"
            raise ParamError(f"Profile.by: {problem}. Name some of {', '.join(map(repr, self.groupCols)) or 'none'}.")
        if not groupCols:
            return self.total()
        if list(groupCols) == self.groupCols:
            return self
        fields = [self.groupCols.index(name) for name in groupCols]
        return self._with(self._table.projected(fields), [self._keys[field] for field in fields])

    def where(self, condition: str) -> Profile:
        """Return the profile of some of the keys.

        Parameters
        ----------
        condition : str
            A condition over the key columns, as Spark SQL: ``"day < '2013-12-01'"``.

        Returns
        -------
        Profile
            The keys for which it is true. There may be none.

        Raises
        ------
        ParamError
            If the profile has no key columns, or the condition is not one over them.
        ParamTypeError
            If the condition is not a string.
        """
        content = self._held
        if not isinstance(condition, str):
            raise ParamTypeError(f"Profile.where: the condition must be SQL text. Got {type(condition).__name__}.")
        if not isinstance(content, StatisticTable):
            raise ParamError("Profile.where: the profile has no keys to choose from. Name groupCols in Profile.of.")
        with translate_job_errors():
            return self._with(content.chosen(self.groupCols, condition))

    def summary(self) -> pd.DataFrame:
        """Return one row per feature: counts, and the values of each statistic, of all keys together.

        The standard deviation is that of the sample (``ddof=1``).
        """
        return summary_of(self.total()._held, self.featureNames)

    def _check_same(self, other: Any) -> None:
        """Refuse a profile that holds something else."""
        if not isinstance(other, Profile):
            raise ParamTypeError(f"Profile: cannot merge with {type(other).__name__}. Only profiles merge.")
        mine, theirs = self._described(), other._described()
        for name, value in mine.items():
            if value != theirs[name]:
                raise ParamError(
                    f"Profile: {name} of the profiles differ: {value} and {theirs[name]}. Only profiles with the same "
                    f"{name} merge."
                )
