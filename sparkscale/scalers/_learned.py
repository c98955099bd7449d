"""Fitted models: what was learned, of which features, and how it goes on being learned."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkscale.errors import ParamError
from sparkscale.scalers import _saved_columns as saved_columns
from sparkscale.scalers._fit_options import FitOptions
from sparkscale.scalers._given import Argument, Given, Numbers, arranged
from sparkscale.scalers._groups import Groups
from sparkscale.scalers._map_model import MapModel
from sparkscale.scalers._persistence import Content
from sparkscale.scalers._shapes import described, shapes_of
from sparkscale.scalers._without_groups import WithoutGroups
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn, as_fitted, resolve
from sparkscale.spark.names import check_dataset
from sparkscale.spark.saved_tables import Form
from sparkscale.statistics import Mergeable, Statistic

__all__ = ["Array", "LearnedModel"]

logger = logging.getLogger("sparkscale")

Array = npt.NDArray[np.float64]
S = TypeVar("S", bound=Mergeable)
M = TypeVar("M", bound="LearnedModel[Any]")


class LearnedModel(FitOptions, WithoutGroups, MapModel, Generic[S]):
    """Base of the models that hold a statistic, or numbers that they were given instead."""

    _statistic_class: type[Statistic]
    _without_spread = "constant feature(s)"
    _takes: ClassVar[Mapping[str, Argument]] = {}
    """The numbers that a model can be given."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[FeatureColumn, ...] = ()
        self._learned: S | Given | None = None
        self._skips = False
        self._of_keys = 1  # how many keys it holds the statistics of, one after the other

    def _learn(self, columns: Sequence[FeatureColumn], learned: S | Given, *, skips: bool) -> None:
        """Take what was learned, and whether only from rows without an invalid value."""
        self._columns, self._learned, self._skips = tuple(columns), learned, skips

    @classmethod
    def _given(cls: type[M], dataset: DataFrame | None, params: Mapping[str, Any], **numbers: Numbers | None) -> M:
        """Return the model of given numbers."""
        model = cls().setParams(**params)
        model._check_params()
        columns, given = arranged(model, numbers, dataset)
        model._learn(columns, given, skips=False)
        for problem, values, which in given.problems(cls._takes):
            got = ", ".join(map(str, values[which][:5]))
            raise model._fail(f"{problem}. Got {got} for {', '.join(map(repr, model._names(which, 5)))}.")
        model._plan(dataset)  # refuses whatever transform would refuse
        model._log()
        return model

    @abstractmethod
    def _numbers_of(self, statistic: S) -> Mapping[str, Array]:
        """Return the numbers of a statistic by name: those that attributes show, and the map consists of."""

    def _numbers_given(self, given: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the same numbers from those that the model was given."""
        return given

    @abstractmethod
    def _spread(self) -> Array:
        """Return what is 0 for a constant feature."""

    @property
    def statistics(self) -> S:
        """The raw, mergeable statistic of the data."""
        source = self._source
        if isinstance(source, Given):
            raise self._fail(
                "the model was given its numbers, and has no statistics that could be merged or updated. Fit a model."
            )
        return source

    @property
    def _source(self) -> S | Given:
        """What all numbers come from."""
        if self._learned is None:
            raise ParamError(f"{type(self).__name__} has learned nothing: use the model that fit returns.")
        return self._learned

    @property
    def _numbers(self) -> Mapping[str, Array]:
        source = self._source
        return self._numbers_given(source.numbers) if isinstance(source, Given) else self._numbers_of(source)

    def _needed(self, name: str) -> Array:
        """Return numbers that the map consists of."""
        numbers = self._numbers
        if name not in numbers:
            raise self._fail(f"these Params need {name}, which the model was not given. Give it, or change the Params.")
        return numbers[name]

    def _shown(self, name: str) -> Array:
        """Return numbers to be shown; NaN where there is no valid value, and for those that were not given."""
        return np.where(self._empty, np.nan, self._numbers.get(name, np.nan))

    @property
    def _empty(self) -> npt.NDArray[np.bool_]:
        """Which entries had no valid value in fit."""
        source = self._source
        return np.asarray((source.count == 0) & (not isinstance(source, Given)))

    @property
    def numFeatures(self) -> int:
        """Total number of features of all columns."""
        self._source  # noqa: B018  # refuses a model that has learned nothing
        return sum(c.size or 0 for c in self._columns)

    @property
    def count(self) -> int:
        """Number of rows used in fit; 0 if the model was given its numbers."""
        source = self._source
        rows = source.count if self._skips else source.count + source.invalid
        return int(rows.max(initial=0))

    @property
    def featureNames(self) -> list[str]:
        """The name of each feature."""
        return [name for column in self._columns for name in column.feature_names()]

    @property
    def invalidCounts(self) -> list[int]:
        """Number of null, NaN and infinite values of each feature."""
        return [int(n) for n in self._source.invalid]

    @property
    def constantFeatures(self) -> list[str]:
        """Names of the features without spread, as far as a double shows it.

        Their valid values are all the same; for models of quantiles, their quantiles ``lower`` and ``upper`` are.
        """
        return self._names(self._constant())

    @property
    def emptyFeatures(self) -> list[str]:
        """Names of the features that had no valid value; they map to NaN."""
        return self._names(self._empty)

    def _constant(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self._spread() == 0) & ~self._empty)

    def _names(self, which: npt.NDArray[np.bool_], most: int | None = None) -> list[str]:
        """Return the names of the chosen entries of the statistic, of ``most`` at most."""
        columns = self._entry_columns()
        starts = np.cumsum([0, *(c.size or 0 for c in columns)])
        chosen = np.flatnonzero(which)[:most] % starts[-1]
        of = np.searchsorted(starts, chosen, side="right") - 1
        return [columns[k].feature_name(i) for k, i in zip(of, chosen - starts[of], strict=True)]

    def _entries(self) -> list[str]:
        """Return the name of each entry of the statistic."""
        return [n for column in self._entry_columns() for n in column.feature_names()]

    def _entry_columns(self) -> Sequence[FeatureColumn]:
        """Return the columns of the entries of the statistic."""
        return self._columns

    def _features_of(self, entry: int) -> range:
        """Return the features of an entry of the statistic, counted through all columns."""
        return range(entry, entry + 1)

    def _renamed(self) -> tuple[FeatureColumn, ...]:
        """Return the columns under the names that the Params give now."""
        names = self._input_names()
        if len(names) != len(self._columns):
            raise self._fail(f"the model was fitted on {len(self._columns)} columns, and {len(names)} are named now.")
        pairs = zip(self._columns, names, strict=True)
        return tuple(replace(c if c.name == n else c.renamed(n), mask=self._mask()) for c, n in pairs)

    def merge(self: M, *others: M) -> M:
        """Return a new model, equal to one fitted on the data of all the models.

        Parameters
        ----------
        *others : model of the same class
            Fitted on the same columns.

        Returns
        -------
        model of the same class
            A new model with the Params of this one. The merged models are unchanged.

        Raises
        ------
        ParamError
            If a model has another class or another statistic, was fitted on other columns, or was given its numbers, or only
            one of the models was fitted with ``handleInvalid="skip"``.
        """
        shapes, statistic = shapes_of(self._columns), self.statistics
        for other in others:
            if type(other) is not type(self):
                raise self._fail(f"cannot merge with {type(other).__name__}. Only models of one class merge.")
            if type(other.statistics) is not type(self.statistics):
                raise self._fail("the models hold different statistics. Fit them with the same Params to merge.")
            theirs = shapes_of(other._columns)
            if theirs != shapes:
                raise self._fail(
                    f"only models of the same columns, in the same order, merge: {described(shapes)} differ from "
                    f"{described(theirs)}. Fit on the same columns."
                )
            if other._layout() != self._layout():
                raise self._fail("the models have different shapes. Only models of one shape merge.")
            self._check_same_mask(other._mask_of_fit())
            if other._skips != self._skips:
                raise self._fail("only one of the models learned under handleInvalid='skip'. Fit both alike to merge.")
        groups = self._merged(others)
        return self._relearned(statistic.merge(*(other.statistics for other in others)), groups)

    def update(self: M, dataset: DataFrame) -> M:
        """Return a new model, equal to one fitted on the old data and ``dataset``.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            New rows, with the columns of fit. If it is empty, the model does not change.

        Returns
        -------
        model of the same class
            A new model. This one is unchanged.

        Raises
        ------
        ParamError
            If ``handleInvalid`` was changed to or from "skip" since fit, or the model was given its numbers.
        """
        statistic = self.statistics
        self._check_params()
        check_dataset(dataset, whole="update")
        if self._skips != (self.getHandleInvalid() == "skip"):
            raise self._fail("handleInvalid='skip' was set or unset since fit. Set it back to update, or fit again.")
        self._check_same_mask(self._mask())
        columns = as_fitted(resolve(dataset, self._input_names()), self._renamed())
        rows = self._learn_rows(dataset, columns, self._keys_in(dataset), type(statistic))
        if rows is None:
            return self._relearned(statistic, self._with_tables([]))
        return self._relearned(statistic.merge(rows.statistic), self._with_tables([rows.table] if rows.table else []))

    def _relearned(self: M, statistic: Any, groups: Groups | None) -> M:
        model = self.copy()
        if groups:
            model._groups = groups  # type: ignore[attr-defined]  # of a GroupModel
        model._learn(self._columns, statistic, skips=self._skips)
        model.map  # noqa: B018  # refuses a range that overflows
        model._check_groups()
        return model

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        saved, source = {"columns": saved_columns.to_json(self._columns), "skips": self._skips}, self._source
        saved |= self._saved_options()
        return ({**saved, "given": source.to_json()}, None) if isinstance(source, Given) else (saved, source)

    @classmethod
    def _saved_class(cls, extra: Mapping[str, Any]) -> type[Mergeable] | None:
        """Return the class of the statistic that was saved with this JSON."""
        return None if "given" in extra else cls._statistic_class

    @classmethod
    def _saved_form(cls, extra: Mapping[str, Any]) -> type[Mergeable] | Form | None:
        return cls._saved_class(extra)

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        columns = self._described(saved_columns.from_json(storage.typed_entry(extra, "columns", list)))
        if statistic is None:
            statistic = Given.from_json(storage.typed_entry(extra, "given", dict), self._takes)
        self._learn(columns, statistic, skips=storage.typed_entry(extra, "skips", bool))
        self._fit_options = storage.typed_entry({"options": self._options(), **extra}, "options", dict)
        entries = sum(c.size or 0 for c in self._entry_columns())
        if entries != len(statistic):
            raise storage.MalformedError(f"columns are of {entries} features, and the statistics of {len(statistic)}")

    def _log(self) -> None:
        constant, empty = self._constant(), self._empty
        if constant.any():
            names = ", ".join(self._names(constant, 10))
            logger.warning("%s: %d %s: %s", type(self).__name__, constant.sum(), self._without_spread, names)
        if empty.any():
            names = ", ".join(self._names(empty, 10))
            logger.warning("%s: no valid value in %s; they map to NaN", type(self).__name__, names)
