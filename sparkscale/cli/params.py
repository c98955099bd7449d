"""Options made from the Params of a stage. Spark is imported only when the stage is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

import sparkscale

if TYPE_CHECKING:
    from pyspark.ml.param import Param

__all__ = ["SCALERS", "FitCommand", "InverseCommand", "given_params"]

COLUMN_PARAMS = ("inputCol", "inputCols")  # set by --columns


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


# The estimators, which are the classes with a model, by their names on the command line.
SCALERS = {
    _kebab(name.removesuffix("Scaler")): name
    for name in sparkscale.__all__
    if f"{name}Model" in sparkscale.__all__ and name != "ScalerSet"
}


class _List(click.ParamType):  # type: ignore[type-arg]  # generic in later versions
    """Comma-separated values."""

    def __init__(self, item: Callable[[str], Any], name: str) -> None:
        self.item, self.name = item, f"{name},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return [self.item(text.strip()) for text in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not {self.name}", param, ctx)


class _OrNone(click.ParamType):  # type: ignore[type-arg]
    """Values of another type, words, or none."""

    def __init__(self, item: click.ParamType, *words: str) -> None:  # type: ignore[type-arg]
        self.item, self.words = item, words
        self.name = "|".join([item.name, *words, "none"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.words or str(value).lower() == "none":
            return value if value in self.words else None
        try:
            return self.item.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not {self.name}", param, ctx)


# By the name of the function that converts values of the Param.
TYPES: dict[str, Any] = {
    "toString": click.STRING,
    "toInt": click.INT,
    "toFloat": click.FLOAT,
    "toListString": _List(str, "text"),
    "toListFloat": _List(float, "float"),
    "toListInt": _List(int, "integer"),
    "to_fill": _OrNone(click.FLOAT, "center"),
    "to_float_or_none": _OrNone(click.FLOAT),
    "to_range": _OrNone(_List(float, "float")),
}


def _option(stage: Any, param: Param[Any]) -> click.Option:
    flag, converter = f"--{_kebab(param.name)}", param.typeConverter.__name__
    text = param.doc.rstrip(".")
    if stage.hasDefault(param) and "Default" not in text:
        text += f". Default: {stage.getOrDefault(param)}"
    if converter == "toBoolean":
        return click.Option([f"{flag}/--no-{flag[2:]}", param.name], default=None, help=f"{text}.")
    return click.Option([flag, param.name], type=TYPES[converter], help=f"{text}.")


def _options(stage: Any, without: Collection[str] = ()) -> list[click.Parameter]:
    return [_option(stage, param) for param in stage.params if param.name not in without]


class FitCommand(click.Command):
    """A command with an option for each Param of the scaler that ``--scaler`` names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for the scaler first, then parse its options with the others."""
        names = [value for flag, value in pairwise(args) if flag == "--scaler"]
        names += [arg.partition("=")[2] for arg in args if arg.startswith("--scaler=")]
        if names and names[-1] in SCALERS:
            stage = getattr(sparkscale, SCALERS[names[-1]])()
            ctx.meta.update(stage=stage, stage_options=_options(stage, COLUMN_PARAMS))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options that any scaler has, then those of this one."""
        return [*super().get_params(ctx), *ctx.meta.get("stage_options", [])]


class InverseCommand(click.Command):
    """A command with an option for each Param of InverseModel, before those of its own."""

    @property
    def params(self) -> list[click.Parameter]:
        """All parameters. Click adds to this list, and Sphinx reads it."""
        return self._all_params

    @params.setter
    def params(self, params: list[click.Parameter]) -> None:
        self._own_params = params

    @cached_property
    def _all_params(self) -> list[click.Parameter]:
        return [*self._stage_options, *self._own_params]

    @cached_property
    def _stage_options(self) -> list[click.Parameter]:
        return _options(sparkscale.InverseModel())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let the context know which options are those of the Params."""
        ctx.meta["stage_options"] = self._stage_options
        return super().parse_args(ctx, args)


def given_params(ctx: click.Context) -> dict[str, Any]:
    """Return the values of the Params that the user has given, which may be ``None``."""
    names = [option.name for option in ctx.meta["stage_options"]]
    return {n: ctx.params[n] for n in names if ctx.get_parameter_source(n) is not click.core.ParameterSource.DEFAULT}
