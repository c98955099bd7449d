"""Params of input and output columns, and of how invalid values in them are handled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from pyspark.ml.param.shared import HasInputCol, HasInputCols, HasOutputCols

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.scalers._params import CheckedParams, P, param
from sparkscale.spark.names import unquoted

__all__ = ["ColumnParams", "HasColumns", "repeated"]

C = TypeVar("C", bound="ColumnParams")


class HasColumns(CheckedParams, HasInputCol, HasInputCols, HasOutputCols):
    """Mixin for input and output columns."""

    def setInputCol(self: P, value: str) -> P:
        """Set ``inputCol``."""
        return self._set(inputCol=value)

    def setOutputCol(self: P, value: str) -> P:
        """Set ``outputCol``."""
        return self._set(outputCol=value)

    def setInputCols(self: P, value: list[str]) -> P:
        """Set ``inputCols``."""
        return self._set(inputCols=value)

    def setOutputCols(self: P, value: list[str]) -> P:
        """Set ``outputCols``."""
        return self._set(outputCols=value)


class ColumnParams(HasColumns):
    """Columns, and what to do with invalid values.

    Defaults are in ``_defaults``, what a Param must be one of in ``_choices``, and the names of Params that may be None in
    ``_none_is_a_value``, of the class that has the Param. A constructor under ``keyword_only`` sets what it is given by calling this one.
    """

    outputCol = param(
        "outputCol", "output column name; one vector if inputCols is set. Default: the input's name + '_scaled'.", str
    )
    handleInvalid = param(
        "handleInvalid",
        "null, NaN and infinity never enter a statistic. 'keep': transform keeps null and NaN; 'skip': rows that "
        "hold one are dropped; 'error': fit and transform fail; 'keepNaN': as 'keep', but infinity fails.",
        str,
    )
    device = param(
        "device",
        "where statistics and outputs are computed: 'cpu'; 'gpu', by CuPy in Python workers; 'auto': on a GPU where "
        "tasks have one.",
        str,
    )

    _defaults: Mapping[str, Any] = {"handleInvalid": "keep", "device": "cpu"}
    _choices: Mapping[str, Sequence[str]] = {
        "handleInvalid": ("keep", "skip", "error", "keepNaN"),
        "device": ("cpu", "gpu", "auto"),
    }
    _none_is_a_value: Collection[str] = ()

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(**self._of_all_classes("_defaults"))
        self._set(**self._without_none(getattr(self, "_input_kwargs", {})))  # as keyword_only noted them

    @classmethod
    def _of_all_classes(cls, attribute: str) -> dict[str, Any]:
        """Return what the dicts of this name hold in this class and those that it derives from."""
        return {k: v for c in reversed(cls.__mro__) for k, v in vars(c).get(attribute, {}).items()}

    def getOutputCol(self) -> str:
        """Return the name of the one output column.

        That is ``outputCol``, or ``<input>_scaled``. While no input is set it is ``<uid>__output``, as of Spark's own
        stages, and the stage then keeps this name as its ``outputCol``, since others may be built on it.

        Raises
        ------
        ParamError
            If ``inputCols`` or ``outputCols`` are set, and ``outputCol`` is not.
        """
        if not self.isSet("outputCol"):
            if self.isSet("inputCol"):
                return _scaled(self.getInputCol())
            if self.isSet("inputCols") or self.isSet("outputCols"):
                raise self._fail("each of inputCols has an output of its own. Call getOutputCols(), or set outputCol.")
            self._set(outputCol=f"{self.uid}__output")
        return self.getOrDefault(self.outputCol)

    def getOutputCols(self) -> list[str]:
        """Return the names of the output columns, by default ``<input>_scaled`` of each of ``inputCols``.

        Raises
        ------
        ParamError
            If neither ``inputCols`` nor ``outputCols`` are set.
        """
        if self.isSet("outputCols"):
            return [*super().getOutputCols()]
        if not self.isSet("inputCols"):
            raise self._fail("neither inputCols nor outputCols are set. Call getOutputCol(), or set one of them.")
        return [*map(_scaled, self.getInputCols())]

    def getHandleInvalid(self) -> str:
        """Return ``handleInvalid``."""
        return self.getOrDefault(self.handleInvalid)

    def getDevice(self) -> str:
        """Return ``device``."""
        return self.getOrDefault(self.device)

    def setHandleInvalid(self: P, value: str) -> P:
        """Set ``handleInvalid``."""
        return self._set(handleInvalid=value)

    def setDevice(self: P, value: str) -> P:
        """Set ``device``."""
        return self._set(device=value)

    def setParams(self: C, **params: Any) -> C:
        """Set Params by name; those left out, or None, stay as they are.

        Parameters
        ----------
        **params
            Those of the constructor.

        Raises
        ------
        ParamTypeError
            For a name that is no Param.
        """
        for name in params:
            if not self.hasParam(name):
                raise ParamTypeError(f"{type(self).__name__} has no Param {name!r}.")
        return self._set(**self._without_none(params))

    def _without_none(self, params: dict[str, Any]) -> dict[str, Any]:
        """Leave out what is None, except where that is a value."""
        values = {name for c in type(self).__mro__ for name in vars(c).get("_none_is_a_value", ())}
        return {name: value for name, value in params.items() if value is not None or name in values}

    def _fail(self, text: str) -> ParamError:
        return ParamError(f"{type(self).__name__}: {text}")

    def _check_params(self) -> None:
        """Refuse values that cannot be used. Subclasses add their own."""
        for name, choices in self._of_all_classes("_choices").items():
            value = self.getOrDefault(name)
            if value not in choices:
                raise self._fail(f"{name} must be one of {', '.join(map(repr, choices))}. Got {value!r}.")

    def _input_names(self) -> list[str]:
        one, many = self.isSet("inputCol"), self.isSet("inputCols")
        if one and many:
            raise self._fail("both inputCol and inputCols are set. Set one of them.")
        if not one and not many:
            raise self._fail("neither inputCol nor inputCols is set. Name the column or columns to scale.")
        names = [self.getInputCol()] if one else list(self.getInputCols())
        if not names:
            raise self._fail("inputCols is empty. Name at least one column.")
        twice = repeated(names)
        if twice:
            raise self._fail(f"inputCols names {', '.join(map(repr, twice))} more than once.")
        return names

    def _indicator_names(self) -> list[str]:
        """Return the names of the columns that tell which values of each input are missing, if there are any."""
        return []

    def _group_names(self) -> list[str]:
        """Return the names of the columns whose values are keys, if there are any."""
        return []

    def _as_of(self) -> str | None:
        """Return the name of the last of these columns, if it orders the rows."""
        return None

    @property
    def _assembles(self) -> bool:
        """Whether many inputs become one vector."""
        return self.isSet("inputCols") and self.isSet("outputCol")

    def _output_names(self) -> list[str]:
        if self.isSet("outputCol") and self.isSet("outputCols"):
            raise self._fail("both outputCol and outputCols are set. Set one of them.")
        if self.isSet("inputCol"):
            if self.isSet("outputCols"):
                raise self._fail("outputCols goes with inputCols. Set outputCol, or inputCols.")
            return [self.getOutputCol()]
        if self._assembles:
            return [self.getOutputCol()]
        inputs, outputs = self.getInputCols(), self.getOutputCols()
        if len(inputs) != len(outputs):
            raise self._fail(
                f"inputCols names {len(inputs)} columns and outputCols {len(outputs)}. Name as many outputs as "
                "inputs, or set outputCol to get one vector."
            )
        return outputs


def _scaled(name: str) -> str:
    return f"{unquoted(name)}_scaled"


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that are there more than once."""
    return sorted(name for name, times in Counter(names).items() if times > 1)
