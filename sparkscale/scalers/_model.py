"""Fitted models: what was learned, and what follows from it."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.errors import ColumnTypeError, EmptyDataError, ParamError, RangeOverflowError, ScalingError
from sparkscale.scalers import _plot
from sparkscale.scalers._html import Extent, Features
from sparkscale.scalers._mapped import InverseModel, Mapped
from sparkscale.scalers._params import ColumnParams
from sparkscale.spark import gpu, storage
from sparkscale.spark.columns import FeatureColumn, as_fitted, resolve
from sparkscale.spark.expression import Bounds
from sparkscale.spark.names import check_dataset
from sparkscale.spark.summarize import Summary, summarize
from sparkscale.spark.transform.affine import Affine
from sparkscale.spark.transform.apply import Plan, slices_of
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.outputs import Paths, check_outputs
from sparkscale.statistics import Extrema, Mergeable, Statistic

if TYPE_CHECKING:
    import pandas as pd

    from sparkscale.drawing import Picture

__all__ = ["Array", "Fitting", "ScalerModel"]

logger = logging.getLogger("sparkscale")

Array = npt.NDArray[np.float64]
SAVED = ("name", "kind", "single", "size", "attributes", "nested", "boolean")  # of a column
S = TypeVar("S", bound=Mergeable)
E = TypeVar("E", bound="Fitting")
M = TypeVar("M", bound="ScalerModel[Any]")


class Fitting(ColumnParams):
    """What estimator and model share: the scan, which the model repeats to update itself."""

    handleEmpty: Param[str] = Param(
        Params._dummy(),
        "handleEmpty",
        "a feature without any valid value. 'keep': maps to NaN, with a warning; 'error': fit, merge and update fail.",
        typeConverter=TypeConverters.toString,
    )

    _statistic: type[Statistic]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(handleEmpty="keep")

    def getHandleEmpty(self) -> str:
        """Return ``handleEmpty``."""
        return self.getOrDefault(self.handleEmpty)

    def setHandleEmpty(self: E, value: str) -> E:
        """Set ``handleEmpty``."""
        return self._set(handleEmpty=value)

    def _check_params(self) -> None:
        super()._check_params()
        self._check_choice("handleEmpty", ("keep", "error"))

    def _summarize(self, df: DataFrame, columns: Sequence[FeatureColumn]) -> Summary | None:
        return summarize(
            df,
            columns,
            self._statistic,
            handle_invalid=self.getHandleInvalid(),
            weight=self._weight(df),
            device=gpu.effective_device(self.getDevice(), df.sparkSession),
        )

    def _weight(self, df: DataFrame) -> FeatureColumn | None:
        if not (self.hasParam("weightCol") and self.isSet("weightCol")):
            return None
        name = self.getOrDefault("weightCol")
        try:
            weight = resolve(df, [name])[0]
        except ColumnTypeError:
            weight = None
        if weight is None or weight.kind != "scalar":
            raise ColumnTypeError(f"Weight column '{name}' must be one number a row. Name another column, or cast it.")
        return weight


class ScalerModel(Fitting, Mapped, Generic[S]):
    """Base of the fitted models. A subclass computes its map from its statistic and has attributes for it."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[FeatureColumn, ...] = ()
        self._learned: S | None = None
        self._skips = False

    def _learn(self, columns: Sequence[FeatureColumn], statistic: S, *, skips: bool) -> None:
        """Take what was learned, and whether only from rows without an invalid value."""
        self._columns, self._learned, self._skips = tuple(columns), statistic, skips

    @abstractmethod
    def _map(self, statistic: S) -> AffineMap:
        """Return the map of a statistic under this model's Params."""

    @abstractmethod
    def _spread(self, statistic: S) -> Array:
        """Return what is 0 for a constant feature."""

    def _bounds(self) -> Bounds:
        return None

    def _collapses(self, statistic: S) -> npt.NDArray[np.bool_]:
        """Return which features may have an infinite scale."""
        return np.asarray(self._spread(statistic) == 0)

    def _of_features(self, found: AffineMap) -> AffineMap:
        """Return the map of the features, where the statistic has fewer entries than there are of them."""
        return found

    @property
    def statistics(self) -> S:
        """The raw, mergeable statistic that was learned."""
        if self._learned is None:
            raise ParamError(f"{type(self).__name__} has learned nothing: use the model that fit returns.")
        return self._learned

    @property
    def numFeatures(self) -> int:
        """Number of features of all columns together."""
        self.statistics  # noqa: B018  # refuses a model that has learned nothing
        return sum(c.size or 0 for c in self._columns)

    @property
    def count(self) -> int:
        """Number of rows that took part in fit."""
        statistic = self.statistics
        rows = statistic.count if self._skips else statistic.count + statistic.invalid
        return int(rows.max(initial=0))

    @property
    def featureNames(self) -> list[str]:
        """The name of each feature."""
        return [name for column in self._columns for name in column.feature_names()]

    @property
    def invalidCounts(self) -> list[int]:
        """Number of null, NaN and infinite values of each feature."""
        return [int(n) for n in self.statistics.invalid]

    @property
    def constantFeatures(self) -> list[str]:
        """Names of the features whose valid values are all the same, as far as a double shows their spread."""
        return self._names(self._constant())

    @property
    def emptyFeatures(self) -> list[str]:
        """Names of the features that had no valid value; they map to NaN."""
        return self._names(self.statistics.count == 0)

    def _constant(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self._spread(self.statistics) == 0) & (self.statistics.count > 0))

    def _names(self, which: npt.NDArray[np.bool_], most: int | None = None) -> list[str]:
        """Return the names of the chosen entries of the statistic, of ``most`` at most."""
        columns = self._entry_columns()
        starts = np.cumsum([0, *(c.size or 0 for c in columns)])
        chosen = np.flatnonzero(which)[:most]
        of = np.searchsorted(starts, chosen, side="right") - 1
        return [columns[k].feature_name(i) for k, i in zip(of, chosen - starts[of], strict=True)]

    def _entries(self) -> list[str]:
        """Return the name of each entry of the statistic."""
        return [name for column in self._entry_columns() for name in column.feature_names()]

    def _entry_columns(self) -> Sequence[FeatureColumn]:
        """Return the columns of the entries of the statistic."""
        return self._columns

    @property
    def affine(self) -> AffineMap:
        """The fitted map, usable without Spark: ``model.affine.apply(rows)``. It does not clip."""
        return self._of_features(self._entry_map())

    def _entry_map(self) -> AffineMap:
        self._check_params()
        statistic = self.statistics
        with np.errstate(all="ignore"):
            found = self._map(statistic)
        broken = ~(np.isfinite(found.center) & np.isfinite(found.offset) & ~np.isnan(found.scale) & (found.scale != 0))
        broken |= np.isinf(found.scale) & ~self._collapses(statistic)
        broken &= statistic.count > 0
        if broken.any():
            raise RangeOverflowError(
                f"{type(self).__name__}: the range, mean or variance of {', '.join(map(repr, self._names(broken, 5)))} "
                "is not representable as a double. Bring the values to another unit first, or drop the column."
            )
        empty = np.asarray(statistic.count == 0)
        if empty.any() and self.getHandleEmpty() == "error":
            raise EmptyDataError(
                f"{type(self).__name__}: no valid value in {', '.join(map(repr, self._names(empty, 5)))}, which "
                "handleEmpty='error' refuses. Leave the feature out, or set handleEmpty to 'keep'."
            )
        center, scale, offset = (np.where(empty, np.nan, p) for p in (found.center, found.scale, found.offset))
        return AffineMap(center, scale, offset)

    def _plan(self, df: DataFrame | None = None) -> Plan:
        size, names = self.numFeatures, self._output_names()
        inputs: Sequence[FeatureColumn] = self._renamed()
        replaced: Paths = {}
        if df is not None:
            sources = [c.name for c in inputs]
            inputs = as_fitted(resolve(df, sources), inputs)
            replaced = check_outputs(df, names, sources)
        if self._assembles:
            outputs = [FeatureColumn(names[0], "vector", False, size)]
        else:
            outputs = [c.output(name) for c, name in zip(inputs, names, strict=True)]
        outputs = [replace(o, attributes=self._attributes(o)) for o in outputs]
        shape = "assemble" if self._assembles else "pairs"
        features = [slice(None)] if self._assembles else slices_of(inputs)
        maps = self._column_maps(features)
        return Plan(inputs, outputs, maps, self.getHandleInvalid(), shape, self.getDevice(), replaced=replaced)

    def _column_maps(self, features: Sequence[slice]) -> list[ColumnMap]:
        """Return the map of each column's features."""
        affine, bounds = self.affine, self._bounds()
        return [Affine(affine[of_column], bounds) for of_column in features]

    def _renamed(self) -> tuple[FeatureColumn, ...]:
        """Return the columns under the names that the Params give now."""
        names = self._input_names()
        if len(names) != len(self._columns):
            raise self._fail(f"the model was fitted on {len(self._columns)} columns, and {len(names)} are named now.")
        pairs = zip(self._columns, names, strict=True)
        return tuple(c if c.name == n else c.renamed(n) for c, n in pairs)

    def _attributes(self, output: FeatureColumn) -> tuple[str, ...] | None:
        return tuple(self.featureNames) if self._assembles else output.attributes

    def merge(self: M, *others: M) -> M:
        """Return the model that fit on all the data together would have given.

        Parameters
        ----------
        *others : model of the same class
            Fitted on the same columns.

        Returns
        -------
        model of the same class
            A new model with this one's Params; the operands stay as they were.

        Raises
        ------
        ParamError
            If a model is of another class, or was fitted on other columns, or only one of them under
            ``handleInvalid="skip"``.
        """
        shapes = _shapes(self._columns)
        for other in others:
            if type(other) is not type(self):
                raise self._fail(f"cannot merge with {type(other).__name__}. Only models of one class merge.")
            theirs = _shapes(other._columns)
            if theirs != shapes:
                raise ParamError(
                    f"Only models of the same columns merge: {shapes} differs from {theirs}. Fit on the same columns."
                )
            if other._skips != self._skips:
                raise self._fail("only one of the models learned under handleInvalid='skip'. Fit both alike to merge.")
        return self._relearned(self.statistics.merge(*(other.statistics for other in others)))

    def update(self: M, dataset: DataFrame) -> M:
        """Return the model that fit on the old data and ``dataset`` together would have given.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            More rows, with the columns that fit had. Without a row, nothing changes.

        Returns
        -------
        model of the same class
            A new model; this one stays as it was.

        Raises
        ------
        ParamError
            If ``handleInvalid`` became, or is no longer, "skip" since fit.
        """
        self._check_params()
        check_dataset(dataset, whole="update")
        if self._skips != (self.getHandleInvalid() == "skip"):
            raise self._fail("handleInvalid='skip' was set or unset since fit. Set it back to update, or fit again.")
        found = self._summarize(dataset, as_fitted(resolve(dataset, self._input_names()), self._renamed()))
        return self._relearned(self.statistics.merge(found.statistic) if found else self.statistics)

    def _relearned(self: M, statistic: Any) -> M:
        model = self.copy()
        model._learn(self._columns, statistic, skips=self._skips)
        model.affine  # noqa: B018  # refuses a range that overflows
        return model

    def inverse(self: M) -> InverseModel[M]:
        """Return the model that maps this model's outputs, as they are named now, back to its inputs' names."""
        return InverseModel(self.copy())

    def inverseTransform(
        self,
        dataset: DataFrame,
        *,
        inputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCol: str | None = None,
        outputCols: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> DataFrame:
        """Map scaled columns back; same as ``transform`` of the `InverseModel` with these Params.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            With the scaled columns.
        inputCol, inputCols : str or list of str, optional
            Where the scaled values stand, in the order of ``columns``; by default, in the outputs of this model.
        outputCol, outputCols : str or list of str, optional
            Where the values go; by default, to columns of the names of this model's inputs. A column or field that is
            named here and exists is replaced where it stands.
        columns : list of str, optional
            Which of this model's inputs come back; by default all.

        Returns
        -------
        pyspark.sql.DataFrame
            With the columns added.

        Raises
        ------
        ParamError
            If the names do not go together, or ``columns`` has one that is not an input of this model.
        OutputColumnError
            If an output exists, and neither ``outputCol`` nor ``outputCols`` names it, nor is it the column that its
            values are read from.
        ColumnNotFoundError, ColumnTypeError, SizeMismatchError
            If the scaled columns are not of the kind that this model makes.
        """
        params = {
            "inputCol": inputCol,
            "inputCols": inputCols,
            "outputCol": outputCol,
            "outputCols": outputCols,
            "columns": columns,
        }
        inverse = self.inverse()
        inverse._set(**{name: value for name, value in params.items() if value is not None})
        return inverse.transform(dataset)

    def summary(self) -> pd.DataFrame:
        """Return one row a feature, or channel: counts, the learned values, the map and whether the feature is constant."""
        import pandas as pd  # noqa: PLC0415  # only tables need it

        statistic, affine = self.statistics, self._entry_map()
        table: dict[str, Any] = {
            "count": statistic.count.astype(np.int64),
            "invalid": statistic.invalid.astype(np.int64),
            **self._shown(statistic),
            "center": affine.center,
            "scale": affine.scale,
            "offset": affine.offset,
            "constant": self._constant(),
        }
        return pd.DataFrame(table, index=pd.Index(self._entries(), name="feature"))

    def plot(self, dataset: DataFrame, features: Sequence[str] | None = None, bins: int = 30) -> Picture:
        """Draw how the values of each feature are spread before and after ``transform``.

        Values are counted where they lie, in two queries whatever the number of features, and only the counts are
        collected. Null, NaN and infinite values are in no bin; their number stands above. Row weights play no part.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            What to draw, with the input columns.
        features : list of str, optional
            Names out of ``featureNames``, or of a ``BatchNormModel`` with a ``shape`` those of the channels, as in
            ``summary()``. By default the first twelve.
        bins : int, default=30
            Number of bins, of equal width from the least value to the largest.

        Returns
        -------
        matplotlib.figure.Figure
            Two panels a feature. A notebook shows it as the value of a cell; ``figure.savefig(path)`` writes it.

        Raises
        ------
        ImportError
            If Matplotlib is not installed.
        ParamError
            If a name is no feature, ``bins`` is not from 1 to 1,000, or every result depends on all features, as those
            of ``WhitenerModel`` do.
        EmptyDataError
            If there is no row.
        ColumnNotFoundError, ColumnTypeError, SizeMismatchError
            If the columns are not those that the model was fitted on.
        """
        return _plot.plot(self, dataset, features, bins)

    def _features_of(self, entry: int) -> range:
        """Return the features of an entry of the statistic, counted through all columns."""
        return range(entry, entry + 1)

    @abstractmethod
    def _shown(self, statistic: S) -> dict[str, Any]:
        """Return the learned values by name."""

    def _vector(self, values: Array) -> DenseVector:
        return Vectors.dense(np.where(self.statistics.count > 0, values, np.nan))

    def _saved(self) -> tuple[dict[str, Any], Mergeable | None]:
        columns = [{name: getattr(c, name) for name in SAVED} for c in self._columns]
        return {"columns": columns, "skips": self._skips}, self.statistics

    @classmethod
    def _saved_kind(cls, extra: Mapping[str, Any]) -> type[Mergeable]:
        return cls._statistic

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        columns = [_column(saved) for saved in storage.part(extra, "columns", list)]
        self._learn(columns, statistic, skips=storage.part(extra, "skips", bool))
        entries = sum(c.size or 0 for c in self._entry_columns())
        if entries != len(statistic):
            raise storage.MalformedError(f"columns are of {entries} features, and the statistics of {len(statistic)}")

    def _log(self) -> None:
        constant, empty = self._constant(), self.statistics.count == 0
        if constant.any():
            names = ", ".join(self._names(constant, 10))
            logger.warning("%s: %d constant feature(s): %s", type(self).__name__, constant.sum(), names)
        if empty.any():
            names = ", ".join(self._names(empty, 10))
            logger.warning("%s: no valid value in %s; they map to NaN", type(self).__name__, names)

    def _overview(self) -> tuple[str, Features | None]:
        if self._learned is None:
            return "has learned nothing; fit returns a model that has", None
        said = f"{self.count:,} rows, {self.numFeatures:,} features"
        if len(self.statistics) != self.numFeatures:
            said += f" in {len(self.statistics):,} channels"
        try:
            return said, Features(self.summary(), self._extent(self.statistics))
        except ScalingError as failure:  # Params that were set after fit
            return f"{said}. {failure}", None

    def _extent(self, statistic: S) -> Extent:
        """Return where the values of each feature are known to lie."""
        if isinstance(statistic, Extrema):
            return Extent(statistic.min, statistic.max)
        known = np.where(statistic.count > 0, 1.0, np.nan)
        mean, std = statistic.mean * known, self._spread(statistic)  # type: ignore[attr-defined]  # all others have one
        return Extent(mean - std, mean + std, mean)

    def __repr__(self) -> str:
        shown = [f"uid={self.uid}", f"numFeatures={self.numFeatures if self._learned else 0}"]
        shown += [f"{name}={str(self.getOrDefault(name)).lower()}" for name in self._repr_params]
        return f"{type(self).__name__}: {', '.join(shown)}"

    _repr_params: tuple[str, ...] = ()


def _shapes(columns: Sequence[FeatureColumn]) -> list[tuple[str, str, int | None]]:
    """Return what columns must share for their statistics to be of the same features."""
    return [(c.name, "scalar" if c.kind == "scalar" else "array or vector", c.size) for c in columns]


def _column(saved: Any) -> FeatureColumn:
    """Return a column that was saved."""
    name, kind = (storage.part(saved, which, str) for which in ("name", "kind"))
    saved = {"boolean": False, **saved}  # unless it was saved by a version that knew none
    single, nested, boolean = (storage.part(saved, which, bool) for which in ("single", "nested", "boolean"))
    size, attributes = storage.part(saved, "size", int), saved.get("attributes")
    if kind not in ("scalar", "array", "vector") or size < 1 or (kind == "scalar" and size != 1):
        raise storage.MalformedError(f"column {name!r} is of kind {kind!r} and size {size}")
    if attributes is not None:
        attributes = tuple(storage.part(saved, "attributes", list))
        if len(attributes) != size or not all(isinstance(a, str) for a in attributes):
            raise storage.MalformedError(f"attributes of column {name!r} are not {size} names")
    return FeatureColumn(name, kind, single, size, attributes, nested, boolean)
