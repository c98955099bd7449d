"""What each command does: read tables, call methods of stages, write the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sparkscale.cli import tables
from sparkscale.cli.formats import format_of
from sparkscale.cli.printing import print_comparison, print_model, print_profile
from sparkscale.cli.session import open_session
from sparkscale.errors import PersistenceError
from sparkscale.scalers import Profile
from sparkscale.scalers._map_model import MapModel
from sparkscale.scalers._persistence import StageReader
from sparkscale.spark.sql import quoted

__all__ = ["compare", "fit", "inverse", "merge", "profile", "show", "transform", "update"]


def fit(
    stage: Any,
    params: Mapping[str, Any],
    patterns: tuple[Sequence[str], Sequence[str]],
    source: str,
    output: str,
    options: Mapping[str, Any],
) -> None:
    """Fit an estimator with these Params on the columns that match the first patterns, but not the second ones."""
    with open_session(options) as spark:
        tables.check_free(spark, output, "parquet", overwrite=options["overwrite"])
        table = tables.read(spark, source, options["format"], options["read_options"])
        stage.setParams(**params)
        weights, keys = _columns_of(stage, "weightCol"), _keys_of(stage)
        names = table.matching(*patterns, without=[*weights, *keys])
        model = _set_inputs(stage, names).fit(table.typed([*names, *weights], keys))
        _save(model, output, options["overwrite"])
        print_model(model, output, as_json=options["as_json"])


def transform(path: str, source: str, output: str, options: Mapping[str, Any]) -> None:
    """Scale a table by the stage at a path."""
    _map_table(lambda: _load(path, "transform"), source, output, options)


def inverse(path: str, source: str, output: str, params: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Undo the scaling of a table, by the inverse, with these Params, of the model at a path."""
    _map_table(lambda: _load(path, "inverseTransform").inverse()._set(**params), source, output, options)


def merge(paths: Sequence[str], output: str, options: Mapping[str, Any]) -> None:
    """Merge the models at these paths."""
    with open_session(options) as spark:
        tables.check_free(spark, output, "parquet", overwrite=options["overwrite"])
        first, *others = (_load(path, "merge") for path in paths)
        merged = first.merge(*others)
        _save(merged, output, options["overwrite"])
        print_model(merged, output, as_json=options["as_json"])


def update(path: str, source: str, output: str, options: Mapping[str, Any]) -> None:
    """Update the model at a path with the rows of a table."""
    with open_session(options) as spark:
        tables.check_free(spark, output, "parquet", overwrite=options["overwrite"])
        model = _load(path, "update")
        weights, keys = _columns_of(model, "weightCol"), _keys_of(model)
        table = tables.read(spark, source, options["format"], options["read_options"])
        updated = model.update(table.typed([*model._input_names(), *weights], keys))
        _save(updated, output, options["overwrite"])
        print_model(updated, output, as_json=options["as_json"])


def profile(
    patterns: tuple[Sequence[str], Sequence[str]],
    arguments: Mapping[str, Any],
    source: str,
    output: str,
    options: Mapping[str, Any],
) -> None:
    """Profile the columns that match the first patterns, but not the second ones, with these arguments of ``Profile.of``."""
    with open_session(options) as spark:
        tables.check_free(spark, output, "parquet", overwrite=options["overwrite"])
        table = tables.read(spark, source, options["format"], options["read_options"])
        weights, keys = [name for name in [arguments["weightCol"]] if name], arguments["groupCols"] or []
        names = table.matching(*patterns, without=[*weights, *keys])
        computed = Profile.of(table.typed([*names, *weights], keys), inputCols=names, **arguments)
        _save(computed, output, options["overwrite"])
        print_profile(computed, output, as_json=options["as_json"])


def compare(
    first: str,
    second: str,
    by: list[str] | None,
    thresholds: Mapping[str, float],
    html: str | None,
    options: Mapping[str, Any],
) -> bool:
    """Compare the profiles at two paths, and return whether a figure is flagged."""
    with open_session(options):
        profiles = [_load(path, "compare") for path in (first, second)]
        comparison = profiles[0].compare(profiles[1], by=by, thresholds=thresholds)
        if html:
            Path(html).write_text(comparison.html(), encoding="utf-8")
        print_comparison(comparison, as_json=options["as_json"])
        return not comparison.flagged.empty


def show(path: str, options: Mapping[str, Any], *, sql: bool) -> None:
    """Print the stage at a path, or its map as SQL."""
    with open_session(options):
        stage = _load(path, "toSQL" if sql else None)
        if isinstance(stage, Profile):
            print_profile(stage, path, as_json=options["as_json"])
        elif not sql:
            print_model(stage, path, as_json=options["as_json"])
        elif options["as_json"]:
            click.echo(json.dumps(stage.toSQL()))
        else:
            for name, text in stage.toSQL().items():
                click.echo(f"{text} AS {quoted(name)}")


def _map_table(load: Callable[[], Any], source: str, output: str, options: Mapping[str, Any]) -> None:
    """Map a table to another by the ``transform`` of a stage."""
    with open_session(options) as spark:
        tables.check_free(spark, output, options["output_format"], overwrite=options["overwrite"])
        table = tables.read(spark, source, options["format"], options["read_options"])
        stage = load()
        inputs, outputs = _inputs_and_outputs(stage)
        keep_text = format_of(output, options["output_format"]) == "csv"
        scaled = table.with_text(
            stage.transform(table.typed(inputs, stage._group_names(), keep_text=keep_text)), outputs
        )
        tables.write(scaled, output, options["output_format"], options["write_options"], overwrite=options["overwrite"])
        added = [name for name in scaled.columns if name not in table.df.columns]
        if options["as_json"]:
            click.echo(json.dumps({"output": output, "added": added}))
        else:
            click.echo(f"{output}: {', '.join(added) or 'no new column'}")


def _columns_of(stage: Any, param: str) -> list[str]:
    """Return the column that a Param names, if the stage has the Param and it is set."""
    return [stage.getOrDefault(param)] if stage.hasParam(param) and stage.isSet(param) else []


def _keys_of(stage: Any) -> list[str]:
    """Return the columns whose values fit compares and orders."""
    return [*_columns_of(stage, "batchCol"), *stage._group_names()]


def _set_inputs(stage: Any, names: list[str]) -> Any:
    """Set ``inputCols``; for one column ``inputCol``, so that it goes with ``outputCol``."""
    is_one = len(names) == 1 and not stage.isSet("outputCols")
    return stage.setInputCol(names[0]) if is_one else stage.setInputCols(names)


def _inputs_and_outputs(stage: Any) -> tuple[list[str], list[str]]:
    """Return the names of the columns that a stage reads, and of those that it adds or replaces."""
    if not isinstance(stage, MapModel):
        return stage._input_names(), stage._output_names()
    plan = stage._plan()
    return [column.name for column in plan.inputs], [column.name for column in plan.outputs]


def _load(path: str, method: str | None) -> Any:
    """Load a stage, and refuse it if it lacks the method."""
    stage = StageReader().load(path)
    if method and not hasattr(stage, method):
        what = "a profile" if method == "compare" else "a fitted model"
        raise PersistenceError(f"'{path}' holds a {type(stage).__name__}, which has no {method}. Name {what}.")
    return stage


def _save(model: Any, path: str, overwrite: bool) -> None:
    writer = model.write()
    (writer.overwrite() if overwrite else writer).save(path)
