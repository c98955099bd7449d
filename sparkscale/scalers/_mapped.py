"""Fitted models: what they do with their map, and the way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from pyspark.ml import Model
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.errors import ParamError
from sparkscale.scalers import _persistence as persistence
from sparkscale.scalers._html import Displayed, stage
from sparkscale.spark.columns import as_fitted, resolve
from sparkscale.spark.transform import Plan, to_sql, transform
from sparkscale.statistics import Mergeable

__all__ = ["InverseModel", "Mapped"]

F = TypeVar("F", bound="Mapped")


class Mapped(Displayed, persistence.Writable, Model):
    """What every fitted model does with its map, whichever way it goes."""

    @property
    @abstractmethod
    def affine(self) -> AffineMap:
        """The map of all features."""

    @abstractmethod
    def _plan(self, df: DataFrame | None = None) -> Plan:
        """Return what maps to what."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return transform(dataset, self._plan(dataset))

    def toSQL(self) -> dict[str, str]:
        """Return the map as Spark SQL text, by output column.

        It is the text that ``transform`` runs for scalars and arrays. For vectors, which SQL has no syntax for,
        it reads and writes arrays of double: apply it where the vector column went through ``vector_to_array``.
        The rows that ``handleInvalid="skip"`` drops are no matter of an expression: filter them out beside it.

        Returns
        -------
        dict of str
            SQL expressions over the input columns.
        """
        return to_sql(self._plan())


class InverseModel(Mapped, Generic[F]):
    r"""The way back of a fitted model: ``x = (y - offset) * scale + center``.

    It reads the model's output columns and makes columns of the input's names; a column that is there already
    is replaced where it stands. A constant feature comes back as its constant. Values that were clipped come
    back as the bound they were clipped to.

    Parameters
    ----------
    model : fitted model, optional
        What to invert; left out only while loading.
    """

    def __init__(self, model: F | None = None) -> None:
        super().__init__()
        self._forward = model

    @property
    def forward(self) -> F:
        """The model that this one undoes."""
        if self._forward is None:
            raise ParamError("InverseModel has no model to invert: use a fitted model's inverse().")
        return self._forward

    def inverse(self) -> F:
        """Return the model that this one undoes."""
        return self.forward.copy()

    @property
    def affine(self) -> AffineMap:
        """The map of all features."""
        return self.forward.affine.inverse()

    def _plan(self, df: DataFrame | None = None) -> Plan:
        forward = self.forward._plan()
        inputs = list(forward.outputs)
        if df is not None:
            inputs = as_fitted(resolve(df, [c.name for c in inputs]), inputs)
        shape = "disassemble" if forward.shape == "assemble" else "pairs"
        return Plan(inputs, forward.inputs, self.affine, None, forward.handle_invalid, shape, forward.device)

    def _saved(self) -> tuple[dict[str, Any], Mergeable | None]:
        extra, statistic = self.forward._saved()
        return {"forward": {**persistence.params_of(self.forward), **extra}}, statistic

    def _restore(self, extra: Mapping[str, Any], arrays: Mapping[str, Any] | None) -> None:
        saved = extra["forward"]
        module, _, name = saved["class"].rpartition(".")
        kind = getattr(import_module(module), name)
        if not (isinstance(kind, type) and issubclass(kind, Mapped)):
            raise TypeError(f"{name} is not a fitted model.")
        forward: Any = kind()
        persistence.with_params(forward, saved)._restore(saved, arrays)
        self._forward = forward

    def _repr_html_(self) -> str:
        if self._forward is None:
            return super()._repr_html_()
        return stage(f"InverseModel of {type(self.forward).__name__}", self.forward, *self.forward._overview())

    def __repr__(self) -> str:
        return f"InverseModel of {self.forward!r}"
