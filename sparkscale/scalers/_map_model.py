"""What every fitted model does with its map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from pyspark.ml import Model
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.display.html import HtmlReprMixin
from sparkscale.scalers._persistence import Writable
from sparkscale.spark.names import check_dataset
from sparkscale.spark.transform.apply import Plan, to_sql, transform
from sparkscale.spark.transform.by_key import MapTable
from sparkscale.spark.transform.column_map import ColumnMap

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
    def affine(self) -> AffineMap:
        """The map of all features."""

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
