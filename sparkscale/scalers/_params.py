"""Params: how they are declared, and what values they take."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from reprlib import repr as shortened
from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.layout import MAX_ARRAY_LENGTH

__all__ = ["CheckedParams", "P", "param", "to_fill", "to_float_or_none", "to_range"]

P = TypeVar("P", bound=Params)  # a stage, which its setters return
C = TypeVar("C", bound="CheckedParams")
T = TypeVar("T")

# What converts to a type, and what messages call its values.
TYPES: dict[Any, tuple[Callable[[Any], Any], str]] = {
    bool: (TypeConverters.toBoolean, "True or False"),
    float: (TypeConverters.toFloat, "a number"),
    int: (TypeConverters.toInt, "an integer"),
    list[float]: (TypeConverters.toListFloat, "a list of numbers"),
    list[int]: (TypeConverters.toListInt, "a list of integers"),
    list[str]: (TypeConverters.toListString, "a list of names"),
    str: (TypeConverters.toString, "a string"),
}


def to_float_or_none(value: Any) -> float | None:
    """Convert a number; None is a value of its own."""
    return None if value is None else TypeConverters.toFloat(value)


def to_range(value: Any) -> list[float] | None:
    """Convert two numbers, the lower first."""
    if value is None:
        return None
    low, high = TypeConverters.toListFloat(value)
    if not low < high:
        raise ValueError(value)
    return [low, high]


def to_fill(value: Any) -> float | str | None:
    """Convert a number; or ``"center"``."""
    if value is None or (isinstance(value, str) and value == "center"):
        return value
    if isinstance(value, str) or not isfinite(TypeConverters.toFloat(value)):
        raise ValueError(value)
    return TypeConverters.toFloat(value)


DESCRIPTIONS = {
    **dict(TYPES.values()),
    to_float_or_none: "a number or None",
    to_range: "two numbers, [low, high], with low below high, or None",
    to_fill: "a finite number, 'center' or None",
}


def param(name: str, doc: str, value_type: Callable[[Any], T]) -> Param[T]:
    """Declare a Param of a type, such as ``list[float]``, or of what a function converts values to."""
    converter = TYPES[value_type][0] if value_type in TYPES else value_type
    return Param(Params._dummy(), name, doc, typeConverter=converter)


class CheckedParams(Params):
    """Mixin for stages that refuse values of another type than a Param's, with one message wherever they are set."""

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

    def _set(self: C, **kwargs: Any) -> C:
        return super()._set(**{name: self._converted(self.getParam(name), value) for name, value in kwargs.items()})

    def _converted(self, param: Param[Any], value: Any) -> Any:
        """Return a value in the type of a Param: an integer is in the range of Spark's, which lengths of arrays have."""
        if value is None:
            return None
        try:
            converted = param.typeConverter(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as failure:
            error = ParamTypeError if isinstance(failure, TypeError) else ParamError
            description = DESCRIPTIONS.get(param.typeConverter, "of another type")
            one_name = isinstance(value, str) and param.typeConverter == TypeConverters.toListString
            remedy = f" Write [{value!r}]." if one_name else ""
            wrong = f"{type(self).__name__}: {param.name} must be {description}. Got {_shortened(value)}.{remedy}"
            raise error(wrong) from failure
        for number in converted if isinstance(converted, list) else [converted]:
            if type(number) is int and abs(number) > MAX_ARRAY_LENGTH:
                raise ParamError(
                    f"{type(self).__name__}: {param.name} must not exceed {MAX_ARRAY_LENGTH}, the length of Spark's longest array. "
                    f"Got {_shortened(value)}."
                )
        return converted


def _shortened(value: Any) -> str:
    try:
        return shortened(value)
    except ValueError:  # more digits than Python writes
        return "a number of that many digits"
