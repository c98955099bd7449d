"""Fitted models: the map that follows from what was learned, and what can be done with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.display import plot
from sparkscale.display.html import Extent, Features
from sparkscale.errors import EmptyDataError, RangeOverflowError, ScalingError
from sparkscale.scalers._given import Given
from sparkscale.scalers._inverse import InverseModel
from sparkscale.scalers._learned import Array, LearnedModel
from sparkscale.scalers._report import Reports
from sparkscale.spark.columns import FeatureColumn, as_fitted, resolve
from sparkscale.spark.expression import Bounds
from sparkscale.spark.transform.apply import Plan, slices_of
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.outputs import Paths, check_outputs
from sparkscale.statistics import Mergeable

if TYPE_CHECKING:
    import pandas as pd

    from sparkscale.display.drawing import Picture

__all__ = ["Array", "ScalerModel"]

S = TypeVar("S", bound=Mergeable)
M = TypeVar("M", bound="ScalerModel[Any]")


class ScalerModel(Reports, LearnedModel[S]):
    """Base of the fitted models. A subclass computes its map from numbers, and has attributes for these."""

    _repr_params: tuple[str, ...] = ()

    @abstractmethod
    def _map(self) -> AffineMap:
        """Return the map of what was learned under this model's Params."""

    @abstractmethod
    def _learned_values(self) -> dict[str, Any]:
        """Return what ``summary`` shows of what was learned, by name."""

    def _bounds(self) -> Bounds:
        """Return what results are clipped to, if they are: the lowest and the highest value, by entry of the statistic."""
        return None

    def _same_bounds(self, bounds: Sequence[float] | None) -> Bounds:
        """Return a lowest and a highest value, if they are given, for every entry."""
        if bounds is None:
            return None
        low, high = (np.full(len(self._source) // self._of_keys, bound) for bound in bounds)
        return low, high

    def _collapses(self) -> npt.NDArray[np.bool_]:
        """Return which features may have an infinite scale."""
        return np.asarray(self._spread() == 0)

    def _center(self) -> Array:
        """Return what ``fillInvalid="center"`` stands for, before the map, by entry of the statistic."""
        return self._needed("mean")  # unless a subclass has a center of its own

    def _entry_of_feature(self) -> slice | npt.NDArray[np.intp]:
        """Return the entry of the statistic that each feature has."""
        return slice(None)

    @property
    def map(self) -> Any:
        """The fitted map, usable without Spark: ``model.map.apply(rows)``. It neither clips nor fills."""
        return self._entry_map()[self._entry_of_feature()]

    def _entry_map(self, ignored: npt.NDArray[np.bool_] | None = None) -> Any:
        """Return the map by entry of the statistic; of entries that are ignored, whatever it is."""
        self._check_params()
        empty = self._empty
        with np.errstate(all="ignore"):
            affine = self._map()
        center, scale, offset = affine.center, affine.scale, affine.offset
        broken = ~(np.isfinite(center) & np.isfinite(offset) & ~np.isnan(scale) & (scale != 0))
        broken |= np.isinf(scale) & ~self._collapses()
        broken &= ~empty if ignored is None else ~(empty | ignored)
        if broken.any():
            raise RangeOverflowError(
                f"{type(self).__name__}: the range, mean or variance of {', '.join(map(repr, self._names(broken, 5)))} "
                "is not representable as a double. Convert the values to another unit first, or drop the column."
            )
        if ignored is None:
            self._check_empty()
        center, scale, offset = (np.where(empty, np.nan, values) for values in (center, scale, offset))
        return AffineMap(center, scale, offset)

    def _check_empty(self) -> None:
        """Refuse features without a valid value, if ``handleEmpty`` does."""
        if self._empty.any() and self.getHandleEmpty() == "error":
            raise EmptyDataError(
                f"{type(self).__name__}: no valid value in {', '.join(map(repr, self._names(self._empty, 5)))}, which "
                "handleEmpty='error' refuses. Leave the feature out, or set handleEmpty to 'keep'."
            )

    def _fill(self, ignored: npt.NDArray[np.bool_] | None = None) -> Array | None:
        """Return what null and NaN become, by entry of the statistic; NaN where there is no center; see `_entry_map`."""
        fill = self.getOrDefault("fillInvalid") if self.hasParam("fillInvalid") else None
        if fill is None:
            return None
        if fill != "center":
            return np.full(len(self._source), fill)
        filled, bounds = self._entry_map(ignored).apply(self._center()), self._bounds()
        return filled if bounds is None else np.clip(filled, *(np.tile(bound, self._of_keys) for bound in bounds))

    def _plan(self, df: DataFrame | None = None) -> Plan:
        size, names = self.numFeatures, self._output_names()
        inputs: Sequence[FeatureColumn] = self._renamed()
        replaced: Paths = {}
        if df is not None:
            sources = [c.name for c in inputs]
            inputs = as_fitted(resolve(df, sources), inputs)
            replaced = check_outputs(df, names, sources, self._indicator_names())
        if self._assembles:
            outputs = [FeatureColumn(names[0], "vector", False, size, mask=self._mask())]
        else:
            outputs = [c.output(name) for c, name in zip(inputs, names, strict=True)]
        outputs = [replace(o, attributes=self._attributes(o)) for o in outputs]
        shape = "assemble" if self._assembles else "pairs"
        features = [slice(None)] if self._assembles else slices_of(inputs)
        maps = self._column_maps(features)
        outputs = [o.integers(m.integer_type) if m.integer_type else o for o, m in zip(outputs, maps, strict=True)]
        plan = Plan(inputs, outputs, maps, self.getHandleInvalid(), shape, self.getDevice(), replaced=replaced)
        return replace(plan, indicators=self._indicators(inputs))

    def _indicators(self, inputs: Sequence[FeatureColumn]) -> list[FeatureColumn]:
        """Return the columns that tell which values of each input are missing, if there are any."""
        pairs = zip(inputs, self._indicator_names())  # noqa: B905  # either as many names or none
        return [c.output(name).integers("tinyint") for c, name in pairs]

    def _column_maps(self, features: Sequence[slice]) -> list[ColumnMap]:
        """Return the map of each column's features."""
        of_entries: Any = self._column_map(self._entry_map(), self._bounds(), self._fill())
        of_all = of_entries.part(self._entry_of_feature())
        return [of_all.part(of_column) for of_column in features]

    def _attributes(self, output: FeatureColumn) -> tuple[str, ...] | None:
        return tuple(self.featureNames) if self._assembles else output.attributes

    def inverse(self: M) -> InverseModel[M]:
        """Return the model that inverts this one: it reads this model's outputs and restores its inputs."""
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
        """Undo the scaling. Same as ``transform`` of the `InverseModel` with these Params.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            The DataFrame with the scaled columns.
        inputCol, inputCols : str or list of str, optional
            Columns of scaled values, in the order of ``columns``. By default, the outputs of this model.
        outputCol, outputCols : str or list of str, optional
            Columns to write. By default, they have the names of this model's inputs. An existing column or field is
            replaced in place if it is named here.
        columns : list of str, optional
            The inputs of this model to restore. By default, all.

        Returns
        -------
        pyspark.sql.DataFrame
            The DataFrame with the restored columns.

        Raises
        ------
        ParamError
            If the numbers of names differ, or ``columns`` has a name that is not an input of this model.
        OutputColumnError
            If an output column exists, is not named by ``outputCol`` or ``outputCols``, and is not the column that its
            values are read from.

        Notes
        -----
        The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.
        """
        names = {"inputCol": inputCol, "inputCols": inputCols, "outputCol": outputCol, "outputCols": outputCols}
        params = {name: value for name, value in {**names, "columns": columns}.items() if value is not None}
        return self.inverse()._set(**params).transform(dataset)

    def summary(self) -> pd.DataFrame:
        """Return one row per feature or channel: counts, fitted values, the map and whether the feature is constant.

        With ``fillInvalid``, ``fill`` is what null and NaN become.
        """
        shown, fill = self._shown_map(), self._fill()
        return self._table(**shown, **({} if fill is None else {"fill": fill}))

    def _shown_map(self) -> dict[str, Array]:
        """Return what ``summary`` shows of the map."""
        affine = self._entry_map()
        return {name: getattr(affine, name) for name in ("center", "scale", "offset")}

    def _table(self, **of_map: Array) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415  # only tables need it

        table: dict[str, Any] = {
            "count": self._source.count.astype(np.int64),
            "invalid": self._source.invalid.astype(np.int64),
            **self._learned_values(),
            **of_map,
            "constant": self._constant(),
        }
        return pd.DataFrame(table, index=pd.Index(self._entries(), name="feature"))

    def plot(self, dataset: DataFrame, features: Sequence[str] | None = None, bins: int = 30) -> Picture:
        """Draw histograms of each feature before and after ``transform``.

        Before, each feature has its own axis. After, all features share one axis, on which 0 and 1 are marked. Up to
        0.5 % of a feature's values at either end may lie beyond the shared axis; their number is shown.

        Spark counts the values per bin, in two queries for any number of features; only the counts are collected. Null,
        NaN and infinite values are in no bin; their number is shown above the panel. Row weights are ignored.

        Parameters
        ----------
        dataset : pyspark.sql.DataFrame
            The data to draw, with the input columns.
        features : list of str, optional
            Names from ``featureNames``; for a model with a ``shape``, names of channels as in ``summary()``.
            By default, the first twelve.
        bins : int, default=30
            Number of bins of equal width, from the smallest value to the largest.

        Returns
        -------
        matplotlib.figure.Figure
            Two panels per feature. A notebook displays it; ``figure.savefig(path)`` saves it.

        Raises
        ------
        ImportError
            If Matplotlib is not installed.
        ParamError
            If a name is not a feature, ``bins`` is not from 1 to 1,000, each result depends on all features, as for
            ``WhitenerModel``, or the model has groups.
        EmptyDataError
            If ``dataset`` has no rows.
        """
        self._refuse_groups("plot")
        return plot.plot(self, dataset, features, bins)

    def _vector(self, name: str) -> DenseVector:
        return Vectors.dense(self._shown(name))

    def _overview(self) -> tuple[str, Features | None]:
        if self._learned is None:
            return "has learned nothing; fit returns a model that has", None
        source = self._source
        text = (
            f"{'given numbers' if isinstance(source, Given) else f'{self.count:,} rows'}, {self.numFeatures:,} features"
        )
        if len(source) != self.numFeatures:
            text += f" in {len(source):,} channels"
        try:
            return text, Features(self.summary(), self._extent(), self._empty)
        except ScalingError as failure:  # Params that were set after fit
            return f"{text}. {failure}", None

    def _extent(self) -> Extent:
        """Return where the values of each feature are known to lie."""
        mean, std = self._shown("mean"), self._spread()  # unless a subclass has an extent of its own
        return Extent(mean - std, mean + std, mean)

    def __repr__(self) -> str:
        values = [f"uid={self.uid}", f"numFeatures={self.numFeatures if self._learned else 0}"]
        values += [f"{name}={str(self.getOrDefault(name)).lower()}" for name in self._repr_params]
        return f"{type(self).__name__}: {', '.join(values)}"
