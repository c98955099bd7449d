"""The commands: their arguments and options. What they do is in ``actions``."""

from __future__ import annotations

from typing import Any

import click

import sparkscale
from sparkscale.cli.options import mapping_options, overwrite_option, read_options, session_options
from sparkscale.cli.params import SCALERS, FitCommand, InverseCommand, given_params

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sparkscale.__version__, prog_name="sparkscale")
def main() -> None:
    """Scale features on Apache Spark."""


@main.command(cls=FitCommand)
@click.argument("source", metavar="INPUT")
@click.option("--scaler", type=click.Choice(list(SCALERS)), required=True, help="With --help: its options.")
@click.option(
    "--columns",
    multiple=True,
    required=True,
    help="Columns to scale: names or glob patterns, comma-separated, or `numeric` for every numeric column except weight "
    "and batch columns. Repeatable.",
)
@click.option("--exclude", multiple=True, help="Columns to leave out, in the same form. Repeatable.")
@click.option("--output", required=True, help="Where the model goes.")
@overwrite_option
@read_options
@session_options
@click.pass_context
def fit(
    ctx: click.Context, /, source: str, columns: tuple[str, ...], exclude: tuple[str, ...], output: str, **options: Any
) -> None:
    """Learn a model from the table INPUT."""
    from sparkscale.cli import actions

    patterns, excluded = ([p.strip() for value in values for p in value.split(",")] for values in (columns, exclude))
    actions.fit(ctx.meta["stage"], given_params(ctx), (patterns, excluded), source, output, options)


@main.command()
@mapping_options
def transform(model: str, source: str, output: str, **options: Any) -> None:
    """Scale the table INPUT by MODEL, and write it to OUTPUT."""
    from sparkscale.cli import actions

    actions.transform(model, source, output, options)


@main.command(cls=InverseCommand)
@mapping_options
@click.pass_context
def inverse(ctx: click.Context, /, model: str, source: str, output: str, **options: Any) -> None:
    """Undo MODEL's scaling on INPUT, and write the result to OUTPUT.

    A column of INPUT is replaced only if it is named as an output.
    """
    from sparkscale.cli import actions

    actions.inverse(model, source, output, given_params(ctx), options)


@main.command()
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True)
@click.option("--output", required=True, help="Where the model goes.")
@overwrite_option
@session_options
def merge(models: tuple[str, ...], output: str, **options: Any) -> None:
    """Merge models as if fitted once on all their data."""
    from sparkscale.cli import actions

    actions.merge(models, output, options)


@main.command()
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option("--output", help="Where the new model goes. Default: over the old one, which takes --overwrite.")
@overwrite_option
@read_options
@session_options
def update(model: str, source: str, output: str | None, **options: Any) -> None:
    """Update MODEL as if fitted on the rows of INPUT, too."""
    from sparkscale.cli import actions

    actions.update(model, source, output or model, options)


@main.command()
@click.argument("model")
@click.option("--sql", is_flag=True, help="Print the map as Spark SQL, an expression a line.")
@session_options
def show(model: str, sql: bool, **options: Any) -> None:
    """Print what MODEL has learned."""
    from sparkscale.cli import actions

    actions.show(model, options, sql=sql)
