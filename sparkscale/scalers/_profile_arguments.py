"""Arguments of `Profile.of` and of `StreamingFit`, checked before any job."""

from __future__ import annotations

from typing import Any

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.scalers._columns import ColumnParams, repeated
from sparkscale.scalers._statistics import NAMES

__all__ = ["HANDLE_INVALID", "check_arguments"]

HANDLE_INVALID = ColumnParams._choices["handleInvalid"]


def check_arguments(
    inputs: Any,
    groups: Any,
    statistics: Any,
    weight: Any,
    handle_invalid: Any,
    relative_error: Any,
    what: str = "Profile.of",
) -> list[str]:
    """Refuse arguments of ``what`` that cannot be used, and return the names of the statistics."""
    statistics = ["moments", "extrema"] if statistics is None else statistics
    for name, values in (("inputCols", inputs), ("groupCols", groups), ("statistics", statistics)):
        if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
            raise ParamTypeError(f"{what}: {name} must be a list of names. Got {values!r}.")
        twice = repeated(values)
        if twice or (not values and name != "groupCols"):
            problem = f"names {twice[0]!r} more than once" if twice else "is empty"
            raise ParamError(f"{what}: {name} {problem}. Name each once.")
    unknown = [name for name in statistics if name not in NAMES]
    if unknown:
        raise ParamError(f"{what}: statistics must be some of {', '.join(map(repr, NAMES))}. Got {unknown[0]!r}.")
    if handle_invalid not in HANDLE_INVALID:
        choices = ", ".join(map(repr, HANDLE_INVALID))
        raise ParamError(f"{what}: handleInvalid must be one of {choices}. Got {handle_invalid!r}.")
    if isinstance(relative_error, bool) or not isinstance(relative_error, float | int) or not 0 <= relative_error <= 1:
        raise ParamError(f"{what}: relativeError must be a number from 0 to 1. Got {relative_error!r}.")
    if weight is not None and not isinstance(weight, str):
        raise ParamTypeError(f"{what}: weightCol must be the name of a column. Got {weight!r}.")
    if weight is not None and "coMoments" in statistics:
        raise ParamError(f"{what}: coMoments take no weights. Leave out weightCol, or the coMoments.")
    return [*statistics]
