"""The commands: their arguments and options. What they do is in ``actions``."""

from __future__ import annotations

from typing import Any

import click

import sparkscale
from sparkscale.cli.options import (
    columns_options,
    list_of_names,
    mapping_options,
    number_pairs_option,
    overwrite_option,
    read_options,
    session_options,
)
from sparkscale.cli.params import SCALERS, FitCommand, InverseCommand, given_params

__all__ = ["main"]

FLAGGED = 3  # exit status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sparkscale.__version__, prog_name="sparkscale")
def main() -> None:
    """Scale features on Apache Spark."""


@main.command(cls=FitCommand)
@click.argument("source", metavar="INPUT")
@click.option("--scaler", type=click.Choice(list(SCALERS)), required=True, help="With --help: its options.")
@columns_options
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

    actions.fit(ctx.meta["stage"], given_params(ctx), _patterns(columns, exclude), source, output, options)


def _patterns(columns: tuple[str, ...], exclude: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the names and patterns of columns to use, and of those to leave out."""
    used, excluded = ([p.strip() for value in values for p in value.split(",")] for values in (columns, exclude))
    return used, excluded


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
@click.argument("source", metavar="INPUT")
@columns_options
@click.option("--group-cols", callback=list_of_names, metavar="TEXT,...", help="Columns whose values are keys.")
@click.option(
    "--statistics",
    callback=list_of_names,
    metavar="TEXT,...",
    help="Some of moments, extrema, squares, coMoments, quantiles. Default: moments,extrema.",
)
@click.option("--weight-col", help="Column of row weights.")
@click.option("--handle-invalid", default="keep", show_default=True, help="keep, skip, error or keepNaN.")
@click.option("--relative-error", type=click.FLOAT, default=0.001, show_default=True, help="Of the ranks of quantiles.")
@click.option("--output", required=True, help="Where the profile goes.")
@overwrite_option
@read_options
@session_options
def profile(source: str, columns: tuple[str, ...], exclude: tuple[str, ...], output: str, **options: Any) -> None:
    """Compute statistics of the table INPUT, which can be merged, compared, and fitted to."""
    from sparkscale.cli import actions

    arguments = {
        "groupCols": options["group_cols"],
        "statistics": options["statistics"],
        "weightCol": options["weight_col"],
        "handleInvalid": options["handle_invalid"],
        "relativeError": options["relative_error"],
    }
    actions.profile(_patterns(columns, exclude), arguments, source, output, options)


@main.command()
@click.argument("first")
@click.argument("second")
@click.option("--by", callback=list_of_names, metavar="TEXT,...", help="Key columns, to compare the rows of each key.")
@number_pairs_option(
    "--threshold", "thresholds", "What to flag: invalid, outOfRange, meanShift, spreadRatio or psi. Repeatable."
)
@click.option("--html", metavar="PATH", help="Also write the table as HTML to this file.")
@click.option("--check", is_flag=True, help="Exit with status 3 if a figure is flagged.")
@session_options
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    first: str,
    second: str,
    by: list[str] | None,
    thresholds: dict[str, float],
    html: str | None,
    *,
    check: bool,
    **options: Any,
) -> None:
    """Print how the profile SECOND differs from the profile FIRST."""
    from sparkscale.cli import actions

    if actions.compare(first, second, by, thresholds, html, options) and check:
        ctx.exit(FLAGGED)


@main.command()
@click.argument("model")
@click.option("--sql", is_flag=True, help="Print the map as Spark SQL, an expression a line.")
@session_options
def show(model: str, sql: bool, **options: Any) -> None:
    """Print what MODEL has learned."""
    from sparkscale.cli import actions

    actions.show(model, options, sql=sql)
