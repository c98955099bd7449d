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
from sparkscale.scalers._inverse import InverseModel
from sparkscale.scalers._learned import Array, LearnedModel
from sparkscale.spark.columns import FeatureColumn, as_fitted, resolve
from sparkscale.spark.expression import Bounds
from sparkscale.spark.transform.affine import Affine
from sparkscale.spark.transform.apply import Plan, slices_of
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.outputs import Paths, check_outputs
from sparkscale.statistics import Extrema, Mergeable

if TYPE_CHECKING:
    import pandas as pd

    from sparkscale.display.drawing import Picture

__all__ = ["Array", "ExtremaModel", "ScalerModel"]

S = TypeVar("S", bound=Mergeable)
E = TypeVar("E", bound=Extrema)
M = TypeVar("M", bound="ScalerModel[Any]")


class ScalerModel(LearnedModel[S]):
    """Base of the fitted models. A subclass computes its map from ``statistics`` and has attributes for these."""

    _repr_params: tuple[str, ...] = ()

    @abstractmethod
    def _map(self) -> AffineMap:
        """Return the map of what was learned under this model's Params."""

    @abstractmethod
    def _learned_values(self) -> dict[str, Any]:
        """Return what ``summary`` shows of what was learned, by name."""

    def _bounds(self) -> Bounds:
        return None

    def _collapses(self) -> npt.NDArray[np.bool_]:
        """Return which features may have an infinite scale."""
        return np.asarray(self._spread() == 0)

    def _of_features(self, affine: AffineMap) -> AffineMap:
        """Return the map of the features, where the statistic has fewer entries than there are of them."""
        return affine

    @property
    def affine(self) -> AffineMap:
        """The fitted map, usable without Spark: ``model.affine.apply(rows)``. It does not clip."""
        return self._of_features(self._entry_map())

    def _entry_map(self) -> AffineMap:
        self._check_params()
        empty = np.asarray(self.statistics.count == 0)
        with np.errstate(all="ignore"):
            affine = self._map()
        center, scale, offset = affine.center, affine.scale, affine.offset
        broken = ~(np.isfinite(center) & np.isfinite(offset) & ~np.isnan(scale) & (scale != 0))
        broken |= np.isinf(scale) & ~self._collapses()
        broken &= ~empty
        if broken.any():
            raise RangeOverflowError(
                f"{type(self).__name__}: the range, mean or variance of {', '.join(map(repr, self._names(broken, 5)))} "
                "is not representable as a double. Bring the values to another unit first, or drop the column."
            )
        if empty.any() and self.getHandleEmpty() == "error":
            raise EmptyDataError(
                f"{type(self).__name__}: no valid value in {', '.join(map(repr, self._names(empty, 5)))}, which "
                "handleEmpty='error' refuses. Leave the feature out, or set handleEmpty to 'keep'."
            )
        center, scale, offset = (np.where(empty, np.nan, values) for values in (center, scale, offset))
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

    def _attributes(self, output: FeatureColumn) -> tuple[str, ...] | None:
        return tuple(self.featureNames) if self._assembles else output.attributes

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
        names = {"inputCol": inputCol, "inputCols": inputCols, "outputCol": outputCol, "outputCols": outputCols}
        params = {name: value for name, value in {**names, "columns": columns}.items() if value is not None}
        return self.inverse()._set(**params).transform(dataset)

    def summary(self) -> pd.DataFrame:
        """Return one row a feature, or channel: counts, the learned values, the map and whether the feature is constant."""
        affine = self._entry_map()
        return self._table(center=affine.center, scale=affine.scale, offset=affine.offset)

    def _table(self, **of_map: Array) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415  # only tables need it

        table: dict[str, Any] = {
            "count": self.statistics.count.astype(np.int64),
            "invalid": self.statistics.invalid.astype(np.int64),
            **self._learned_values(),
            **of_map,
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
        return plot.plot(self, dataset, features, bins)

    def _vector(self, values: Array) -> DenseVector:
        return Vectors.dense(np.where(self.statistics.count > 0, values, np.nan))

    def _overview(self) -> tuple[str, Features | None]:
        if self._learned is None:
            return "has learned nothing; fit returns a model that has", None
        text = f"{self.count:,} rows, {self.numFeatures:,} features"
        if len(self.statistics) != self.numFeatures:
            text += f" in {len(self.statistics):,} channels"
        try:
            return text, Features(self.summary(), self._extent())
        except ScalingError as failure:  # Params that were set after fit
            return f"{text}. {failure}", None

    def _extent(self) -> Extent:
        """Return where the values of each feature are known to lie."""
        statistic: Any = self.statistics  # with a mean, unless a subclass has an extent of its own
        mean, std = np.where(statistic.count > 0, statistic.mean, np.nan), self._spread()
        return Extent(mean - std, mean + std, mean)

    def __repr__(self) -> str:
        values = [f"uid={self.uid}", f"numFeatures={self.numFeatures if self._learned else 0}"]
        values += [f"{name}={str(self.getOrDefault(name)).lower()}" for name in self._repr_params]
        return f"{type(self).__name__}: {', '.join(values)}"


class ExtremaModel(ScalerModel[E]):
    """Base of the models of least and largest values."""

    _statistic_class: type[Extrema] = Extrema

    def _spread(self) -> Array:
        with np.errstate(all="ignore"):
            return self.statistics.max - self.statistics.min

    def _extent(self) -> Extent:
        return Extent(self.statistics.min, self.statistics.max)
