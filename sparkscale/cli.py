"""The command line: reads and writes tables, and calls what the stages have. No logic of its own."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import click
from pyspark.errors import PySparkException
from pyspark.ml.param import Param, TypeConverters
from pyspark.sql import SparkSession

import sparkscale
from sparkscale.errors import PersistenceError, ScalingError, from_job
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._mapped import Mapped
from sparkscale.scalers._persistence import StageReader
from sparkscale.spark import csv, jvm, tables
from sparkscale.spark.sql import quoted

__all__ = ["main"]

COLUMNS = {"inputCol", "inputCols"}  # by --columns
ROWS = ("weightCol", "batchCol")  # columns that are no features
CONNECT_PORT = 15002  # where a server is that names no port
PATIENCE = 20  # seconds, for a server to answer
FAILURES: tuple[type[Exception], ...] = (ScalingError, PySparkException, OSError, *jvm.errors())


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _scalers() -> dict[str, Any]:
    """Return the public estimators by their names on the command line."""
    found = (getattr(sparkscale, name) for name in sparkscale.__all__)
    estimators = [c for c in found if inspect.isclass(c) and issubclass(c, Scaler)]
    return {_kebab(c.__name__.removesuffix("Scaler")): c for c in estimators}


SCALERS = _scalers()
INVERSE: Any = sparkscale.InverseModel()


class _List(click.ParamType):  # type: ignore[type-arg]  # generic in later versions
    """Values with commas between."""

    def __init__(self, of: Callable[[str], Any], name: str) -> None:
        self.of, self.name = of, f"{name},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return [self.of(part.strip()) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not {self.name}", param, ctx)


class _FloatOrNone(click.ParamType):  # type: ignore[type-arg]
    """A number, or none."""

    name = "float|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if str(value).lower() == "none" else click.FLOAT.convert(value, param, ctx)


TYPES: dict[Any, Any] = {
    TypeConverters.toString: click.STRING,
    TypeConverters.toInt: click.INT,
    TypeConverters.toFloat: click.FLOAT,
    TypeConverters.toListString: _List(str, "text"),
    TypeConverters.toListFloat: _List(float, "float"),
    TypeConverters.toListInt: _List(int, "integer"),
}


def _option(stage: Any, param: Param[Any]) -> click.Option:
    """Return the option of a Param."""
    flag, known = f"--{_kebab(param.name)}", stage.hasDefault(param)
    told = param.doc.rstrip(".")
    shown = f"{told}. Default: {stage.getOrDefault(param)}." if known and "Default" not in told else f"{told}."
    if param.typeConverter is TypeConverters.toBoolean:
        return click.Option([f"{flag}/--no-{flag[2:]}", param.name], default=None, help=shown)
    return click.Option([flag, param.name], type=TYPES.get(param.typeConverter, _FloatOrNone()), help=shown)


class _Fit(click.Command):
    """A command that has an option for each Param of the scaler that it is told."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = [b for a, b in pairwise(args) if a == "--scaler"]
        named += [a.partition("=")[2] for a in args if a.startswith("--scaler=")]
        kind = SCALERS.get(named[-1]) if named else None
        ctx.meta["stage"] = kind() if kind else None
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        stage, common = ctx.meta.get("stage"), super().get_params(ctx)
        return (
            common if stage is None else [*common, *(_option(stage, p) for p in stage.params if p.name not in COLUMNS)]
        )


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    parted = [value.partition("=") for value in values]
    for key, is_there, _ in parted:
        if not (key and is_there):
            raise click.BadParameter(f"{key!r} is not KEY=VALUE.", ctx, param)
    return {key: value for key, _, value in parted}


def _master(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value and "://" not in value and not re.fullmatch(r"local(\[.*\])?|local-cluster\[.*\]|yarn", value):
        raise click.BadParameter(f"{value!r} is no master. Examples: local[4], spark://host:7077, yarn.", ctx, param)
    return value


def _options(*added: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what adds these to a command, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(added):
            command = option(command)
        return command

    return add


_common = _options(
    click.option(
        "--master",
        callback=_master,
        help="Spark's master, such as spark://host:7077. Default: all cores of this machine.",
    ),
    click.option("--remote", help="A Spark Connect server, such as sc://host:15002."),
    click.option("--conf", "confs", multiple=True, metavar="KEY=VALUE", callback=_pairs, help="Spark configuration."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--debug", is_flag=True, help="Show the whole trace of an error."),
)
_reads = _options(
    click.option("--format", "kind", type=click.Choice(tables.FORMATS), help="Of the input. Default: by its name."),
    click.option(
        "--read-option", "read", multiple=True, metavar="KEY=VALUE", callback=_pairs, help="For Spark's reader."
    ),
)
_overwrites = click.option(
    "--overwrite", is_flag=True, help="Replace the output if it exists, once the new one is complete."
)
_maps = _options(
    click.argument("model"),
    click.argument("source", metavar="INPUT"),
    click.argument("output"),
    _overwrites,
    click.option("--output-format", type=click.Choice(tables.FORMATS), help="Default: by the output's name."),
    click.option(
        "--write-option", "written", multiple=True, metavar="KEY=VALUE", callback=_pairs, help="For Spark's writer."
    ),
    _reads,
    _common,
)


def _check_server(remote: str) -> None:
    """Refuse a server that is not there: Spark's client would try again for many minutes."""
    at = urlsplit(remote)
    if at.scheme != "sc" or not at.hostname:
        raise click.UsageError(f"{remote!r} is no Spark Connect server. Example: sc://host:15002.")
    try:
        socket.create_connection((at.hostname, at.port or CONNECT_PORT), timeout=PATIENCE).close()
    except OSError as failed:
        raise click.ClickException(
            f"No Spark Connect server answers at {remote} ({failed}). Is it running, and are host and port right?"
        ) from failed


@contextmanager
def _session(given: Mapping[str, Any]) -> Iterator[SparkSession]:
    """Give a session to a command, by its options; what fails becomes one line."""
    master, remote, debug = given["master"], given["remote"], given["debug"]
    if master and remote:
        raise click.UsageError("--master and --remote exclude each other.")
    if not debug:
        warnings.filterwarnings("ignore", module=r"pyspark\.")
    starts = not remote or remote.startswith("local")  # a server that runs has its own configuration
    if remote and not starts:
        _check_server(remote)
    builder = SparkSession.builder.appName("sparkscale")
    builder = builder.remote(remote) if remote else builder.master(master) if master else builder
    if sys.stdout.isatty():  # where Connect's client prints it
        os.environ.setdefault("SPARK_CONNECT_PROGRESS_BAR_ENABLED", "1")
    for key, value in {**_configuration(remote, starts=starts, debug=debug), **given["confs"]}.items():
        builder = builder.config(key, value)
    running = SparkSession.getActiveSession()
    try:
        spark = running or builder.getOrCreate()
        if running is None and not remote:
            _run_this_python(spark)
        try:
            yield spark
        finally:
            if running is None:
                spark.stop()
    except FAILURES as failed:
        if debug:
            raise
        raise click.ClickException(_told(failed)) from failed


def _configuration(remote: str | None, *, starts: bool, debug: bool) -> dict[str, str]:
    """Return what a session is configured with unless ``--conf`` tells otherwise."""
    found = {} if remote else {"spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower()}
    if starts and not debug:
        logging = files("sparkscale").joinpath("log4j2.properties")
        found["spark.driver.extraJavaOptions"] = f'"-Dlog4j2.configurationFile={logging}"'
    if remote and starts and not os.environ.get("PYSPARK_PYTHON"):  # on classic it is the context's, below
        found["spark.sql.execution.pyspark.python"] = sys.executable
    return found


def _run_this_python(spark: SparkSession) -> None:
    """Let executors on this machine run the Python of the command, whose environment may not be activated."""
    context = spark.sparkContext
    if (context.master or "").startswith("local") and not os.environ.get("PYSPARK_PYTHON"):
        context.pythonExec = sys.executable


def _told(failed: Exception) -> str:
    """Return an error as a line."""
    told = str(from_job(failed) or csv.unreadable(failed) or jvm.message(failed) or failed)
    line = told.strip().partition("\n")[0] or type(failed).__name__
    if "JAVA_GATEWAY_EXITED" in line:
        line += " Is Java 17 or newer installed, and are --master and --conf right? --debug shows more."
    if isinstance(failed, ImportError):
        line += ' For Spark Connect: pip install "sparkscale[connect]".'
    return line


def _print_model(model: Any, path: str, as_json: bool) -> None:
    """Print what a model has learned; of a stage that learns nothing, its Params."""
    summary = model.summary() if hasattr(model, "summary") else None
    rows = None if summary is None else model.count
    params = {p.name: model.getOrDefault(p) for p in model.params if model.isSet(p)}
    if not as_json:
        click.echo(f"{model!r}, rows={rows}" if summary is not None else f"{model!r}: {params}")
        if summary is not None:
            click.echo(summary.to_string(float_format="{:.6g}".format))
        return
    told = {"class": type(model).__name__, "path": path, "uid": model.uid, "rows": rows, "params": params}
    features = [] if summary is None else summary.reset_index().to_dict("records")
    told["features"] = [{name: _json(value) for name, value in row.items()} for row in features]
    click.echo(json.dumps(told))


def _json(value: Any) -> Any:
    """Return a value that JSON has: null for what is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sparkscale.__version__, prog_name="sparkscale")
def main() -> None:
    """Scale features on Apache Spark."""


@main.command(cls=_Fit)
@click.argument("source", metavar="INPUT")
@click.option("--scaler", type=click.Choice(list(SCALERS)), required=True, help="With --help: its options.")
@click.option(
    "--columns",
    multiple=True,
    required=True,
    help="Names, patterns, or numeric (all but weights and batches); may be repeated, or have commas.",
)
@click.option("--output", required=True, help="Where the model goes.")
@_overwrites
@_reads
@_common
@click.pass_context
def fit(ctx: click.Context, /, source: str, columns: tuple[str, ...], output: str, **given: Any) -> None:
    """Learn a model from the table INPUT."""
    told = {p: v for p, v in given.items() if ctx.meta["stage"].hasParam(p) and _is_given(ctx, p)}
    with _session(given) as spark:
        tables.check_free(spark, output, "parquet", overwrite=given["overwrite"])
        table = tables.read(spark, source, given["kind"], given["read"])
        stage = ctx.meta["stage"].setParams(**told)
        weights, batches = _row_columns(stage)
        names = table.chosen([part for value in columns for part in value.split(",")], [*weights, *batches])
        model = _on(stage, names).fit(table.typed([*names, *weights], batches))
        _save(model, output, given["overwrite"])
        _print_model(model, output, given["as_json"])


def _row_columns(stage: Any) -> list[list[str]]:
    """Return the columns of weights and those of batches that fit reads."""
    return [[stage.getOrDefault(name)] if stage.hasParam(name) and stage.isSet(name) else [] for name in ROWS]


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _on(stage: Any, names: list[str]) -> Any:
    """Name the columns; a column alone has an output alone."""
    alone = len(names) == 1 and not stage.isSet("outputCols")
    return stage.setInputCol(names[0]) if alone else stage.setInputCols(names)


def _load(path: str, does: str | None = None) -> Any:
    """Load a stage that has this method."""
    stage = StageReader().load(path)
    if does and not hasattr(stage, does):
        raise PersistenceError(f"'{path}' holds a {type(stage).__name__}, which has no {does}. Name a fitted model.")
    return stage


def _save(model: Any, path: str, overwrite: bool) -> None:
    writer = model.write()
    (writer.overwrite() if overwrite else writer).save(path)


def _apply(step: str, model: str, source: str, output: str, given: dict[str, Any], **params: Any) -> None:
    """Map a table to another by a method of a model, which takes these Params."""
    with _session(given) as spark:
        tables.check_free(spark, output, given["output_format"], overwrite=given["overwrite"])
        table = tables.read(spark, source, given["kind"], given["read"])
        stage = _load(model, step)
        if step == "inverseTransform":
            stage = stage.inverse()._set(**{name: value for name, value in params.items() if value is not None})
        inputs, outputs = _inputs_and_outputs(stage)
        keep_text = tables.format_of(output, given["output_format"]) == "csv"
        scaled = table.with_text(stage.transform(table.typed(inputs, keep_text=keep_text)), outputs)
        tables.write(scaled, output, given["output_format"], given["written"], overwrite=given["overwrite"])
        added = [name for name in scaled.columns if name not in table.df.columns]
        told = {"output": output, "added": added}
        click.echo(json.dumps(told) if given["as_json"] else f"{output}: {', '.join(added) or 'no new column'}")


def _inputs_and_outputs(stage: Any) -> tuple[list[str], list[str]]:
    """Return the names of the columns that a stage reads, and of those that it adds or replaces."""
    if not isinstance(stage, Mapped):
        return stage._input_names(), stage._output_names()
    plan = stage._plan()
    return [column.name for column in plan.inputs], [column.name for column in plan.outputs]


@main.command()
@_maps
def transform(model: str, source: str, output: str, **given: Any) -> None:
    """Scale the table INPUT by MODEL, and write it to OUTPUT."""
    _apply("transform", model, source, output, given)


@main.command(params=[_option(INVERSE, param) for param in INVERSE.params])
@_maps
def inverse(model: str, source: str, output: str, **given: Any) -> None:
    """Undo the scaling of MODEL in the table INPUT, and write it to OUTPUT.

    A column of INPUT is replaced only if it is named as an output.
    """
    params = {param.name: given[param.name] for param in INVERSE.params}
    _apply("inverseTransform", model, source, output, given, **params)


@main.command()
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True)
@click.option("--output", required=True, help="Where the model goes.")
@_overwrites
@_common
def merge(models: tuple[str, ...], output: str, **given: Any) -> None:
    """Merge models into the one that all their data would have given."""
    with _session(given) as spark:
        tables.check_free(spark, output, "parquet", overwrite=given["overwrite"])
        first, *others = (_load(path, "merge") for path in models)
        merged = first.merge(*others)
        _save(merged, output, given["overwrite"])
        _print_model(merged, output, given["as_json"])


@main.command()
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option("--output", help="Where the new model goes. Default: over the old one, which takes --overwrite.")
@_overwrites
@_reads
@_common
def update(model: str, source: str, output: str | None, **given: Any) -> None:
    """Add the rows of the table INPUT to what MODEL has learned."""
    with _session(given) as spark:
        tables.check_free(spark, output or model, "parquet", overwrite=given["overwrite"])
        stage = _load(model, "update")
        weights, batches = _row_columns(stage)
        table = tables.read(spark, source, given["kind"], given["read"])
        updated = stage.update(table.typed([*stage._input_names(), *weights], batches))
        _save(updated, output or model, given["overwrite"])
        _print_model(updated, output or model, given["as_json"])


@main.command()
@click.argument("model")
@click.option("--sql", is_flag=True, help="Print the map as Spark SQL, an expression a line.")
@_common
def show(model: str, sql: bool, **given: Any) -> None:
    """Print what MODEL has learned."""
    with _session(given):
        stage = _load(model, "toSQL" if sql else None)
        if not sql:
            _print_model(stage, model, given["as_json"])
        elif given["as_json"]:
            click.echo(json.dumps(stage.toSQL()))
        else:
            for name, text in stage.toSQL().items():
                click.echo(f"{text} AS {quoted(name)}")
