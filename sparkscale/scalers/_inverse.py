"""The inverse of a fitted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from pyspark.sql import DataFrame

from sparkscale.affine import MatrixMap
from sparkscale.display.html import stage_html
from sparkscale.errors import OutputColumnError, ParamError
from sparkscale.scalers import _metadata as metadata
from sparkscale.scalers._columns import HasColumns, repeated
from sparkscale.scalers._map_model import MapModel
from sparkscale.scalers._params import P, param
from sparkscale.scalers._persistence import Content
from sparkscale.spark import storage
from sparkscale.spark.columns import FeatureColumn, as_fitted, resolve
from sparkscale.spark.names import unquoted
from sparkscale.spark.saved_tables import Form
from sparkscale.spark.transform.apply import Plan, slices_of
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.outputs import Paths, check_outputs, paths_to_replace
from sparkscale.statistics import Mergeable

__all__ = ["InverseModel"]

F = TypeVar("F", bound=MapModel)

NAMES = 10  # in a message


class InverseModel(HasColumns, MapModel, Generic[F]):
    r"""The inverse of a fitted model: ``x = (y - offset) * scale + center``.

    It reads the model's output columns and writes columns with the names of its inputs. An existing column or field is
    replaced, in place, only if ``outputCol`` or ``outputCols`` names it, or if the values are read from it. A constant
    feature is restored to its constant. Clipped values are restored to the bound that they were clipped to.

    Parameters
    ----------
    model : fitted model, optional
        The model to invert. It is omitted only while loading.

    Notes
    -----
    The Params are set by their setters, or by the keywords of ``inverseTransform``:

    - ``columns``: the inputs of the model to restore, in this order. By default, all.
    - ``inputCol``, ``inputCols``: the columns of their scaled values, in the order of ``columns``. By default, the outputs
      of the model.
    - ``outputCol``, ``outputCols``: the columns to write. By default, they have the names of the inputs.

    If the model assembles its inputs into one vector, or if each result depends on all features (`Whitener`), the inverse
    reads this one column. ``inputCol`` may name another such column, and ``columns`` selects the inputs to extract from it.

    Examples
    --------
    >>> from sparkscale import StandardScaler
    >>> df = spark.createDataFrame([(1.0, 10.0), (2.0, 20.0), (3.0, 60.0)], "x double, y double")
    >>> model = StandardScaler(inputCols=["x", "y"], withMean=True).fit(df)
    >>> predictions = df.selectExpr("y", "0D AS prediction")
    >>> inverse = model.inverse().setColumns(["y"]).setInputCol("prediction").setOutputCol("y_pred")
    >>> inverse.transform(predictions).first()
    Row(y=10.0, prediction=0.0, y_pred=30.0)
    """

    columns = param(
        "columns", "names of the model's inputs that come back, in this order. Default: all of them.", list[str]
    )
    inputCol = param("inputCol", "column of scaled values. Default: the output of the model.", str)
    inputCols = param(
        "inputCols",
        "columns of scaled values, one for each column that comes back. Default: the outputs of the model.",
        list[str],
    )
    outputCol = param(
        "outputCol",
        "output column name; a column or field of that name is replaced. Default: the name of the model's input.",
        str,
    )
    outputCols = param(
        "outputCols",
        "output column names; columns or fields of these names are replaced. Default: the names of the model's inputs.",
        list[str],
    )

    def __init__(self, model: F | None = None) -> None:
        super().__init__()
        self._forward = model

    def getColumns(self) -> list[str]:
        """Return ``columns``."""
        return self.getOrDefault(self.columns)

    def setColumns(self: P, value: list[str]) -> P:
        """Set ``columns``."""
        return self._set(columns=value)

    def getInputCol(self) -> str:
        """Return the name of the single column of scaled values, by default the output of the model."""
        return self._only("inputCol")

    def getInputCols(self) -> list[str]:
        """Return the names of the columns of scaled values, by default the outputs of the model."""
        return self._all("inputCols")

    def getOutputCol(self) -> str:
        """Return the name of the single restored column, by default that of the model's input."""
        return self._only("outputCol")

    def getOutputCols(self) -> list[str]:
        """Return the names of the restored columns, by default those of the model's inputs."""
        return self._all("outputCols")

    def _only(self, param: str) -> str:
        names: list[str] = [self.getOrDefault(param)] if self.isSet(param) else self._all(f"{param}s")
        if len(names) > 1:
            raise ParamError(
                f"InverseModel: there are {len(names)} such columns. Call get{param[0].upper()}{param[1:]}s()."
            )
        return names[0]

    def _all(self, param: str) -> list[str]:
        plan = self._plan()
        return [column.name for column in (plan.inputs if param == "inputCols" else plan.outputs)]

    @property
    def forward(self) -> F:
        """The model that this one inverts."""
        if self._forward is None:
            raise ParamError("InverseModel has no model to invert: use a fitted model's inverse().")
        return self._forward

    def inverse(self) -> F:
        """Return the model that this one inverts."""
        return self.forward.copy()

    @property
    def map(self) -> Any:
        """The inverse map of all features, regardless of ``columns``."""
        return self.forward.map.inverse()

    def _plan(self, df: DataFrame | None = None) -> Plan:
        forward, inverse = self.forward._plan(), self.map
        chosen = self._chosen([column.name for column in forward.inputs])
        restored = [forward.inputs[k] for k in chosen]
        whole = forward.shape == "assemble" or isinstance(inverse, MatrixMap)
        if whole and self.isSet("inputCols"):
            raise ParamError(
                f"InverseModel: inputCols is set, but the model takes all its results in one column, by default "
                f"'{forward.outputs[0].name}'. Set inputCol."
            )
        scaled = list(forward.outputs) if whole else [forward.outputs[k] for k in chosen]
        inputs = self._named("input", scaled)
        outputs = self._named("output", restored)
        names = [column.name for column in outputs]
        twice = repeated(names)
        if twice:
            raise OutputColumnError(f"Output column '{twice[0]}' is named twice. Give each output its own name.")
        named = self.isSet("outputCol") or self.isSet("outputCols")
        replaced: Paths = {}
        if df is not None:
            sources = [column.name for column in inputs]
            inputs = as_fitted(resolve(df, sources), inputs)
            sources = sources * len(names) if whole else sources
            replaced = paths_to_replace(df, sources, names, named=named)
        if not named:
            outputs = [c if c.name in replaced else c.output(unquoted(c.name)) for c in outputs]
            if df is not None:
                check_outputs(df, [c.name for c in outputs if c.name not in replaced])
        if forward.shape == "pairs":  # an array comes back as an array, even if fit saw a vector, and the reverse
            pairs = zip(outputs, inputs, strict=True)
            outputs = [o if o.kind == i.kind else replace(o, kind=i.kind, single=i.single) for o, i in pairs]
        all_features = slices_of(forward.inputs)
        features = [all_features[k] for k in chosen]
        shape = "disassemble" if forward.shape == "assemble" else "pairs"
        maps: list[ColumnMap]
        by_key = self.forward._by_key(df, [slice(0, len(inverse))] if whole else features, inverse=True)
        groups = None
        if by_key:
            maps, groups = by_key
        else:
            of_columns = [inverse] if whole else [inverse[of_column] for of_column in features]
            maps = [self.forward._column_map(of_column) for of_column in of_columns]
        plan = Plan(inputs, outputs, maps, forward.handle_invalid, shape, forward.device, features, replaced)
        return replace(plan, groups=groups)

    def _group_names(self) -> list[str]:
        return self.forward._group_names()

    def _refuse_groups(self, what: str) -> None:
        self.forward._refuse_groups(what)

    def _chosen(self, names: list[str]) -> list[int]:
        """Return the places of the model's inputs that come back."""
        if not self.isSet("columns"):
            return [*range(len(names))]
        places = {unquoted(name): place for place, name in enumerate(names)}
        places |= {name: place for place, name in enumerate(names)}
        columns = self.getColumns()
        unknown = [name for name in columns if name not in places]
        if unknown or not columns:
            problem = f"columns names {_listed(unknown)}" if unknown else "columns is empty"
            raise ParamError(f"InverseModel: {problem}. Name inputs of the model: {_listed(names)}.")
        twice = repeated(columns)
        if twice:
            raise ParamError(f"InverseModel: columns names {_listed(twice)} more than once. Name each input once.")
        return [places[name] for name in columns]

    def _named(self, side: str, columns: Sequence[FeatureColumn]) -> list[FeatureColumn]:
        """Return columns under the names that ``inputCol`` and ``inputCols``, or those of the other side, give them."""
        one, many = f"{side}Col", f"{side}Cols"
        if self.isSet(one) and self.isSet(many):
            raise ParamError(f"InverseModel: both {one} and {many} are set. Set one of them.")
        if not (self.isSet(one) or self.isSet(many)):
            return list(columns)
        names = [self.getOrDefault(one)] if self.isSet(one) else self.getOrDefault(many)
        if len(names) != len(columns):
            wrong = f"{one} is a single name" if self.isSet(one) else f"{many} has length {len(names)}"
            raise ParamError(
                f"InverseModel: {wrong}, but the number of names must be {len(columns)}, for "
                f"{_listed([c.name for c in columns])}. Set {many}, or name in columns the inputs to restore."
            )
        return [c if c.name == n else c.renamed(n) for c, n in zip(columns, names, strict=True)]

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        extra, statistic = self.forward._saved()
        return {"forward": {**metadata.params_of(self.forward), **extra}}, statistic

    @classmethod
    def _saved_form(cls, extra: Mapping[str, Any]) -> type[Mergeable] | Form | None:
        saved = storage.typed_entry(extra, "forward", dict)
        return _forward_class(saved)._saved_form(saved)

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        saved = extra["forward"]
        forward: Any = metadata.with_params(_forward_class(saved)(), saved)
        forward._restore(saved, statistic)
        self._forward = forward

    def _repr_html_(self) -> str:
        if self._forward is None:
            return super()._repr_html_()
        return stage_html(f"InverseModel of {type(self.forward).__name__}", self.forward, *self.forward._overview())

    def __repr__(self) -> str:
        return f"InverseModel of {self._forward!r}"


def _forward_class(saved: Mapping[str, Any]) -> type[MapModel]:
    """Return the class of a saved model inside of an inverse: one of ours, since any other would be imported."""
    name = storage.typed_entry(saved, "class", str)
    forward_class = metadata.public(name)
    is_model = isinstance(forward_class, type) and issubclass(forward_class, MapModel)
    if not is_model or issubclass(forward_class, InverseModel):
        raise storage.MalformedError(
            f"the model inside is a {name}, which is no fitted model of sparkscale: load it by its own class, and take "
            "its inverse()"
        )
    return forward_class  # type: ignore[no-any-return]


def _listed(names: Sequence[str]) -> str:
    """Return names for a message, the first of many."""
    listed = ", ".join(map(repr, names[:NAMES]))
    return f"{listed} and {len(names) - NAMES:,} more" if len(names) > NAMES else listed
