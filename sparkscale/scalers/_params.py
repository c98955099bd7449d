"""Params that stages share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasInputCols, HasOutputCols, HasWeightCol

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.layout import LONGEST
from sparkscale.spark.names import unquoted

__all__ = ["ColumnParams", "HasClip", "HasColumns", "HasConstant", "HasWeight", "repeated"]

# What a Param takes, by what converts it.
KINDS: dict[Any, str] = {
    TypeConverters.toBoolean: "True or False",
    TypeConverters.toFloat: "a number",
    TypeConverters.toInt: "an integer",
    TypeConverters.toListFloat: "a list of numbers",
    TypeConverters.toListInt: "a list of integers",
    TypeConverters.toListString: "a list of names",
    TypeConverters.toString: "a string",
}

N = TypeVar("N", bound="HasColumns")
P = TypeVar("P", bound="ColumnParams")
C = TypeVar("C", bound="HasClip")
W = TypeVar("W", bound="HasWeight")


class HasColumns(HasInputCol, HasInputCols, HasOutputCols):
    """Mixin for the columns that are read and made."""

    outputCol: Param[str] = Param(
        Params._dummy(), "outputCol", "output column name", typeConverter=TypeConverters.toString
    )

    def getOutputCol(self) -> str:
        """Return ``outputCol``."""
        return self.getOrDefault(self.outputCol)

    def set(self, param: Param[Any], value: Any) -> None:
        """Set a Param, as ``copy`` with other Params and loading do.

        Parameters
        ----------
        param : pyspark.ml.param.Param
            One of this stage.
        value : object
            Its value.

        Raises
        ------
        ParamError
            If the Param takes no such value.
        """
        super().set(param, self._converted(param, value))

    def _set(self: N, **kwargs: Any) -> N:
        return super()._set(**{name: self._converted(self.getParam(name), value) for name, value in kwargs.items()})

    def _converted(self, param: Param[Any], value: Any) -> Any:
        """Return a value in the type of a Param: an integer is in the range of Spark's, which lengths of arrays have."""
        if value is None:
            return None
        try:
            converted = param.typeConverter(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as failure:
            error = ParamTypeError if isinstance(failure, TypeError) else ParamError
            kind = KINDS.get(param.typeConverter, "of another type")
            names = isinstance(value, str) and param.typeConverter == TypeConverters.toListString
            remedy = f" Write [{value!r}]." if names else ""
            wrong = f"{type(self).__name__}: {param.name} must be {kind}. Got {_shown(value)}.{remedy}"
            raise error(wrong) from failure
        for number in converted if isinstance(converted, list) else [converted]:
            if type(number) is int and abs(number) > LONGEST:
                raise ParamError(
                    f"{type(self).__name__}: {param.name} must not exceed {LONGEST}, the length of Spark's longest array. "
                    f"Got {_shown(value)}."
                )
        return converted

    def setInputCol(self: N, value: str) -> N:
        """Set ``inputCol``."""
        return self._set(inputCol=value)

    def setOutputCol(self: N, value: str) -> N:
        """Set ``outputCol``."""
        return self._set(outputCol=value)

    def setInputCols(self: N, value: list[str]) -> N:
        """Set ``inputCols``."""
        return self._set(inputCols=value)

    def setOutputCols(self: N, value: list[str]) -> N:
        """Set ``outputCols``."""
        return self._set(outputCols=value)


class ColumnParams(HasColumns):
    """Columns, and what to do with invalid values."""

    outputCol: Param[str] = Param(
        Params._dummy(),
        "outputCol",
        "output column name; one vector if inputCols is set. Default: the input's name + '_scaled'.",
        typeConverter=TypeConverters.toString,
    )
    handleInvalid: Param[str] = Param(
        Params._dummy(),
        "handleInvalid",
        "null, NaN and infinity never enter a statistic. 'keep': transform keeps null and NaN; 'skip': rows that "
        "hold one are dropped; 'error': fit and transform fail; 'keepNaN': as 'keep', but infinity fails.",
        typeConverter=TypeConverters.toString,
    )

    device: Param[str] = Param(
        Params._dummy(),
        "device",
        "where statistics and outputs are computed: 'cpu'; 'gpu', by CuPy in Python workers; 'auto': on a GPU where "
        "tasks have one.",
        typeConverter=TypeConverters.toString,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(handleInvalid="keep", device="cpu")

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

    def setParams(self: P, **params: Any) -> P:
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
        return self._set(**self._told(params))

    def _given(self) -> dict[str, Any]:
        """Return the keyword arguments that ``keyword_only`` noted."""
        return self._told(self._input_kwargs)  # type: ignore[attr-defined]

    def _told(self, params: dict[str, Any]) -> dict[str, Any]:
        """Leave out what is None, except where that is a value."""
        return {name: value for name, value in params.items() if value is not None or name in self._none_is_a_value}

    _none_is_a_value: frozenset[str] = frozenset()

    def _fail(self, text: str) -> ParamError:
        return ParamError(f"{type(self).__name__}: {text}")

    def _check_params(self) -> None:
        """Refuse values that cannot be used. Subclasses add their own."""
        self._check_choice("handleInvalid", ("keep", "skip", "error", "keepNaN"))
        self._check_choice("device", ("cpu", "gpu", "auto"))

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        if self.getOrDefault(name) not in choices:
            allowed = ", ".join(repr(c) for c in choices)
            raise self._fail(f"{name} must be one of {allowed}. Got {self.getOrDefault(name)!r}.")

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


def _shown(value: Any) -> str:
    try:
        return shortened(value)
    except ValueError:  # more digits than Python writes
        return "a number of that many digits"


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that are there more than once."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


class HasConstant(ColumnParams):
    """Mixin for what becomes of constant features."""

    handleConstant: Param[str] = Param(
        Params._dummy(),
        "handleConstant",
        "a feature without spread. 'collapse': maps to one value, as in Spark; 'unit': is divided by 1, as in "
        "scikit-learn.",
        typeConverter=TypeConverters.toString,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(handleConstant="collapse")

    def getHandleConstant(self) -> str:
        """Return ``handleConstant``."""
        return self.getOrDefault(self.handleConstant)

    def setHandleConstant(self: P, value: str) -> P:
        """Set ``handleConstant``."""
        return self._set(handleConstant=value)

    def _check_params(self) -> None:
        super()._check_params()
        self._check_choice("handleConstant", ("collapse", "unit"))


class HasWeight(HasWeightCol):
    """Mixin for row weights."""

    def setWeightCol(self: W, value: str) -> W:
        """Set ``weightCol``."""
        return self._set(weightCol=value)


class HasClip(Params):
    """Mixin for clipping to the target range."""

    clip: Param[bool] = Param(
        Params._dummy(), "clip", "clip results to the target range", typeConverter=TypeConverters.toBoolean
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(clip=False)

    def getClip(self) -> bool:
        """Return ``clip``."""
        return self.getOrDefault(self.clip)

    def setClip(self: C, value: bool) -> C:
        """Set ``clip``."""
        return self._set(clip=value)
