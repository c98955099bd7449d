"""Options that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from sparkscale.cli.formats import FORMATS

__all__ = [
    "columns_options",
    "list_of_names",
    "mapping_options",
    "number_pairs_option",
    "overwrite_option",
    "read_options",
    "session_options",
]


def _parse_pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise click.BadParameter(f"{key!r} is not KEY=VALUE.", ctx, param)
    return {key: value for key, _, value in pairs}


def _parse_numbers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    pairs = _parse_pairs(ctx, param, values)
    try:
        return {name: float(value) for name, value in pairs.items()}
    except ValueError as failure:
        raise click.BadParameter(f"{failure}.", ctx, param) from None


def list_of_names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Return comma-separated names as a list."""
    return None if value is None else [name.strip() for name in value.split(",")]


def number_pairs_option(flag: str, name: str, text: str) -> Callable[[Any], Any]:
    """Return an option of a name and a number, which may be repeated."""
    return click.option(flag, name, multiple=True, metavar="NAME=NUMBER", callback=_parse_numbers, help=text)


def _check_master(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value and "://" not in value and not re.fullmatch(r"local(\[.*\])?|local-cluster\[.*\]|yarn", value):
        raise click.BadParameter(f"{value!r} is no master. Examples: local[4], spark://host:7077, yarn.", ctx, param)
    return value


def _pairs_option(flag: str, name: str, text: str) -> Callable[[Any], Any]:
    return click.option(flag, name, multiple=True, metavar="KEY=VALUE", callback=_parse_pairs, help=text)


def _combined(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds options to a command, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


session_options = _combined(
    click.option(
        "--master",
        callback=_check_master,
        help="Spark's master, such as spark://host:7077. Default: all cores of this machine.",
    ),
    click.option("--remote", help="A Spark Connect server, such as sc://host:15002."),
    _pairs_option("--conf", "conf", "Spark configuration."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--debug", is_flag=True, help="Show the whole trace of an error."),
)
read_options = _combined(
    click.option("--format", type=click.Choice(FORMATS), help="Input format. Default: from the file extension."),
    _pairs_option("--read-option", "read_options", "For Spark's reader."),
)
columns_options = _combined(
    click.option(
        "--columns",
        multiple=True,
        required=True,
        help="Columns to use: names or glob patterns, comma-separated, or `numeric` for every numeric column except those "
        "of weights, groups and batches. Repeatable.",
    ),
    click.option("--exclude", multiple=True, help="Columns to leave out, in the same form. Repeatable."),
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the output if it exists, once the new one is complete."
)
mapping_options = _combined(  # of a command that maps a table to another
    click.argument("model"),
    click.argument("source", metavar="INPUT"),
    click.argument("output"),
    overwrite_option,
    click.option(
        "--output-format", type=click.Choice(FORMATS), help="Output format. Default: from the file extension."
    ),
    _pairs_option("--write-option", "write_options", "For Spark's writer."),
    read_options,
    session_options,
)
