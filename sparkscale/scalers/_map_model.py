"""What every fitted model does with its map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pyspark.ml import Model
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.curves import Curve
from sparkscale.display.html import HtmlReprMixin
from sparkscale.errors import ParamError
from sparkscale.scalers._persistence import Writable
from sparkscale.spark.expression import Bounds
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.affine import Affine
from sparkscale.spark.transform.apply import Plan, to_sql, transform
from sparkscale.spark.transform.by_key import MapTable
from sparkscale.spark.transform.column_map import Array, ColumnMap

__all__ = ["MapModel"]


class MapModel(HtmlReprMixin, Writable, Model):
    """What every fitted model does with its map, whichever way it goes."""

    def _by_key(
        self, df: DataFrame | None, features: Sequence[slice], *, inverse: bool
    ) -> tuple[list[ColumnMap], MapTable | None] | None:
        """Return the maps of some features if each key has its own, and those of all keys, to be joined to the data.

        ``None`` if there is one map for all rows.
        """
        return None

    def _group_names(self) -> list[str]:
        """Return the names of the columns whose values are keys, if there are any."""
        return []

    def _refuse_groups(self, what: str) -> None:
        """Refuse what is of one map, if each key has its own."""

    @property
    @abstractmethod
    def map(self) -> Any:
        """The map of all features, usable without Spark: ``model.map.apply(rows)``. It neither clips nor fills."""

    @property
    def affine(self) -> AffineMap:
        """The same as ``map``, of models whose map is affine.

        Raises
        ------
        ParamError
            If it is not.
        """
        fitted: AffineMap = self.map
        if isinstance(fitted, Curve):
            raise ParamError(f"{type(self).__name__}: the map is not affine. Use map.")
        return fitted

    def _column_map(self, fitted: Any, bounds: Bounds = None, fill: Array | None = None) -> ColumnMap:
        """Return what applies the map of some features, or the inverse of one, to a column."""
        return Affine(fitted, bounds, fill)

    @abstractmethod
    def _plan(self, df: DataFrame | None = None) -> Plan:
        """Return what maps to what."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        check_dataset(dataset)
        return transform(dataset, self._plan(dataset))

    def toSQL(self) -> dict[str, str]:
        """Return the map as Spark SQL expressions, by output column.

        For scalars and arrays, ``transform`` runs these expressions. SQL has no syntax for vectors: for a vector column,
        the expression reads and writes arrays of doubles, so convert the column with ``vector_to_array`` first. An
        expression cannot drop rows: with ``handleInvalid="skip"``, filter them yourself.

        Returns
        -------
        dict of str
            SQL expressions over the input columns.

        Raises
        ------
        ParamError
            If the model has groups: ask the model of one, ``model.group(...)``.
        """
        self._refuse_groups("toSQL")
        return to_sql(self._plan())
