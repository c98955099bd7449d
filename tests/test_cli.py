"""The command line: what its commands do, and what they say when they cannot."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

import sparkscale
from commands import refused, run
from processes import undisturbed
from sparkscale import MinMaxScalerModel, Profile, StandardScaler, StandardScalerModel
from sparkscale.cli import main
from sparkscale.cli.params import SCALERS, given_params
from sparkscale.scalers._persistence import StageReader
from sparkscale.spark import jvm, renames
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Extrema

ROWS = [(k, float(k), None if k == 3 else k * k, f"n{k}") for k in range(8)]
NAMES = ("id", "a", "a_b", "name")
# What fit is asked for: of the rows in each format by other columns, and with other options.
FITS = {
    "parquet": "--scaler=standard --columns a* --with-mean",
    "csv": "--scaler min-max --columns a_* --columns numeric,a --json",
    "json": "--scaler batch-norm --columns a --columns a_b --epsilon 0.5 --gamma 2,3 --momentum none --output-cols x,y"
    " --handle-invalid skip --json",
    "orc": "--scaler min-max --columns a_b --output-col y --max 7 --json",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in every format. Tests write elsewhere."""
    folder = tmp_path_factory.mktemp("rows")
    kinds = (pa.int32(), pa.float64(), pa.int32(), pa.string())
    columns = zip(NAMES, kinds, zip(*ROWS, strict=True), strict=True)
    table = pa.table({name: pa.array(cells, kind) for name, kind, cells in columns})
    pq.write_table(table, folder / "rows.parquet")
    pyarrow.csv.write_csv(table, folder / "rows.csv")
    pyarrow.orc.write_table(table, str(folder / "rows.orc"))
    (folder / "rows.json").write_text("".join(f"{json.dumps(row)}\n" for row in table.to_pylist()))
    return folder


@pytest.fixture(scope="module")
def view(spark: SparkSession) -> Iterator[str]:
    """The same rows as a table, by its name."""
    spark.createDataFrame(ROWS, "id int, a double, a_b int, name string").createOrReplaceTempView("some_rows")
    yield "some_rows"
    spark.catalog.dropTempView("some_rows")


@pytest.fixture(scope="module")
def fits(spark: SparkSession, folder: Path) -> dict[str, str]:
    """What fit prints of the rows in each format."""
    return {
        kind: run("fit", folder / f"rows.{kind}", *options.split(), "--output", folder / f"model of {kind}").stdout
        for kind, options in FITS.items()
    }


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    return {}


@pytest.fixture
def loads_once(folder: Path, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands load each stage that stays in the folder once, for all tests."""
    load = StageReader.load

    def load_once(self: StageReader, path: str) -> Any:
        if Path(path).parent != folder:
            return load(self, path)
        if path not in stages:
            stages[path] = load(self, path)
        return stages[path]

    monkeypatch.setattr(StageReader, "load", load_once)


@pytest.fixture
def model(folder: Path, fits: dict[str, str], loads_once: None) -> Path:
    """A model of two columns."""
    return folder / "model of parquet"


def extrema_of(top: float) -> Extrema:
    """Return what three values from 0 on have."""
    return Extrema(*(np.array([n]) for n in (3.0, 0.0, 0.0, top)))


@pytest.fixture(scope="module")
def strict(spark: SparkSession, folder: Path) -> Path:
    """A model that refuses null."""
    model = MinMaxScalerModel().setInputCol("a_b").setHandleInvalid("error")
    model._learn([FeatureColumn("a_b", "scalar", size=1)], extrema_of(4.0), skips=False)
    model.save(str(folder / "strict"))
    return folder / "strict"


@pytest.mark.parametrize(
    ("kind", "learned"),
    [
        ("csv", {"id": {"min": 0, "max": 7}, "a": {"min": 0, "max": 7}, "a_b": {"min": 0, "max": 49}}),
        ("json", {"a": {"runningMean": pytest.approx(25 / 7)}, "a_b": {"runningMean": pytest.approx(131 / 7)}}),
        ("orc", {"a_b": {"min": 0, "max": 49}}),
    ],
)
def test_fit_reads_every_format(fits: dict[str, str], kind: str, learned: dict[str, dict[str, Any]]) -> None:
    """By the file extension; CSV with a header and types."""
    features = {f.pop("feature"): f for f in json.loads(fits[kind])["features"]}

    assert {name: {key: features[name][key] for key in values} for name, values in learned.items()} == learned
    assert {name: f["invalid"] for name, f in features.items()} == {name: int(name == "a_b") for name in learned}


def test_fit_saves_a_model_and_prints_it(fits: dict[str, str], folder: Path) -> None:
    """Of Parquet, too."""
    loaded = StandardScalerModel.load(str(folder / "model of parquet"))

    assert loaded.featureNames == ["a", "a_b"]
    assert list(loaded.mean) == pytest.approx([3.5, 131 / 7])
    assert list(loaded.invalidCounts) == [0, 1]
    assert "a_b" in fits["parquet"] and "18.7143" in fits["parquet"]


def test_fit_reads_tables_and_leaves_weights_out(view: str, tmp_path: Path) -> None:
    """A name without a path is one; what is numeric and no weight is a feature."""
    fit = ("fit", view, "--scaler", "standard", "--columns", "numeric", "--weight-col", "id")
    done = run(*fit, "--output", tmp_path / "model", "--json")

    assert [f["feature"] for f in json.loads(done.stdout)["features"]] == ["a", "a_b"]


def test_columns_are_names_patterns_and_numeric(fits: dict[str, str]) -> None:
    """Each column once, in the order of the options."""
    assert [f["feature"] for f in json.loads(fits["csv"])["features"]] == ["a_b", "id", "a"]


@pytest.mark.parametrize("name", SCALERS)
def test_each_param_of_a_scaler_is_an_option(name: str) -> None:
    """Made from the Params, and shown by --help."""
    text = run("fit", "--scaler", name, "--help").output
    params = {p.name for p in getattr(sparkscale, SCALERS[name])().params} - {"inputCol", "inputCols"}
    options = {word.split("/")[0] for word in text.split() if word.startswith("--")}
    kebab = {"--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in p) for p in params}

    assert kebab - options == set()


def test_options_are_of_the_types_of_params(fits: dict[str, str]) -> None:
    """Flags, numbers, lists and none."""
    assert "withMean=true" in fits["parquet"]
    assert json.loads(fits["json"])["params"] == {
        "inputCols": ["a", "a_b"],
        "outputCols": ["x", "y"],
        "epsilon": 0.5,
        "gamma": [2.0, 3.0],
        "momentum": None,
        "handleInvalid": "skip",
    }


@pytest.mark.parametrize(
    ("scaler", "options", "params"),
    [
        ("standard", "--clip=-3,inf --fill-invalid=center", {"clip": [-3.0, np.inf], "fillInvalid": "center"}),
        ("standard", "--clip none --fill-invalid none", {"clip": None, "fillInvalid": None}),
        (
            "robust",
            "--with-centering --clip=-3,3 --relative-error 0 --interpolation linear",
            {"withCentering": True, "clip": [-3.0, 3.0], "relativeError": 0.0, "interpolation": "linear"},
        ),
        ("winsorizer", "--lower 0.05 --upper 0.9", {"lower": 0.05, "upper": 0.9}),
        (
            "min-max",
            "--clip --fill-invalid=-1 --add-indicator",
            {"clip": True, "fillInvalid": -1.0, "addIndicator": True},
        ),
        ("max-abs", "--no-clip --no-add-indicator", {"clip": False, "addIndicator": False}),
    ],
)
def test_options_have_the_types_of_their_scaler(scaler: str, options: str, params: dict[str, Any]) -> None:
    """A range or a flag, and words beside numbers."""
    args = ["rows.csv", "--columns", "a", "--output", "m", f"--scaler={scaler}", *options.split()]
    given = given_params(main.commands["fit"].make_context("fit", args))

    assert given == params
    getattr(sparkscale, SCALERS[scaler])(**given)._check_params()


def rows_of(path: Path) -> list[list[Any]]:
    """Return the rows that a command has written as JSON or Parquet."""
    if path.suffix == ".json":
        rows = [json.loads(line) for part in path.glob("*.json") for line in part.read_text().splitlines()]
    else:
        rows = pq.read_table(path).to_pylist()
    rows = [{**row, "id": int(row["id"])} for row in rows]  # that of CSV is text
    return [[row.get(name) for name in NAMES] for row in sorted(rows, key=lambda row: row["id"])]


@pytest.mark.parametrize(
    ("source", "scaled", "back"),
    [pytest.param("parquet", "csv", "json", marks=pytest.mark.core), ("json", "orc", "parquet")],
)
def test_transform_and_its_inverse(
    folder: Path, model: Path, tmp_path: Path, source: str, scaled: str, back: str
) -> None:
    """The file extension gives the format; the inverse restores the input."""
    run("transform", model, folder / f"rows.{source}", tmp_path / f"scaled.{scaled}")
    names = ("--output-cols", "a,a_b")  # replaced
    run("inverse", model, tmp_path / f"scaled.{scaled}", tmp_path / f"back.{back}", *names)

    for row, expected in zip(rows_of(tmp_path / f"back.{back}"), ROWS, strict=True):
        assert row == pytest.approx(list(expected))
    assert list((tmp_path / f"scaled.{scaled}").glob(f"part-*{scaled}"))
    assert sorted(os.listdir(tmp_path)) == [f"back.{back}", f"scaled.{scaled}"]


@pytest.mark.core
def test_inverse_takes_chosen_columns_from_where_they_stand(spark: SparkSession, model: Path, tmp_path: Path) -> None:
    """As inverseTransform does; a column that exists is replaced only if it is named."""
    spark.range(1).selectExpr("0D AS prediction", "7D AS a", "1D AS a_scaled").createOrReplaceTempView("predictions")
    inverse = ("inverse", model, "predictions", tmp_path / "back")
    error = refused(*inverse, "--columns", "a")
    run(*inverse, "--columns", "a_b,a", "--input-cols", "prediction,a_scaled", "--output-cols", "b,a")
    (row,) = pq.read_table(tmp_path / "back").to_pylist()
    run(*inverse, "--columns", "a", "--input-col", "prediction", "--output-col", "mean", "--overwrite")
    (again,) = pq.read_table(tmp_path / "back").to_pylist()
    spark.catalog.dropTempView("predictions")

    assert "Output column 'a' already exists" in error
    assert [*row] == ["prediction", "a", "a_scaled", "b"]
    assert again == {"prediction": 0.0, "a": 7.0, "a_scaled": 1.0, "mean": 3.5}


def test_one_input_column_takes_one_output_column(
    fits: dict[str, str], view: str, folder: Path, tmp_path: Path, loads_once: None
) -> None:
    """As in a Pipeline: inputCol and outputCol."""
    run("transform", folder / "model of orc", view, tmp_path / "out")
    rows = sorted(pq.read_table(tmp_path / "out").to_pylist(), key=lambda row: row["id"])

    assert json.loads(fits["orc"])["params"] == {"inputCol": "a_b", "outputCol": "y", "max": 7.0}
    assert [row["y"] for row in rows] == [None if k == 3 else k * k / 7 for k in range(8)]


def test_merge_and_update(view: str, model: Path, tmp_path: Path) -> None:
    """Both are the model of all rows."""
    updated, merged = tmp_path / "updated", tmp_path / "merged"
    printed = [
        run("update", model, view, "--output", updated, "--json").stdout,
        run("update", updated, view, "--overwrite", "--json").stdout,
        run("merge", updated, model, "--output", merged, "--json").stdout,
    ]

    assert [json.loads(text)["rows"] for text in printed] == [16, 24, 32]
    (data,) = merged.glob("data.*")
    assert pq.read_table(data)["count"].to_pylist() == [[32.0, 28.0]]


def test_show(model: Path) -> None:
    """A table for people, JSON for machines, SQL for databases."""
    text, summary = run("show", model).output, json.loads(run("show", model, "--json").stdout)

    assert text.splitlines()[0].startswith("StandardScalerModel") and "rows=8" in text
    assert {"feature", "mean", "std", "invalid"} <= set(summary["features"][0])
    assert (summary["class"], summary["rows"]) == ("StandardScalerModel", 8)
    assert run("show", model, "--sql").output.splitlines()[0].endswith("AS `a_scaled`")
    assert set(json.loads(run("show", model, "--sql", "--json").stdout)) == {"a_scaled", "a_b_scaled"}


def test_sql_quotes_the_names_of_outputs(spark: SparkSession, tmp_path: Path) -> None:
    """So that a name stays a name."""
    model = MinMaxScalerModel().setInputCol("x").setOutputCol("a` FROM t; DROP TABLE users; --")
    model._learn([FeatureColumn("x", "scalar", size=1)], extrema_of(1.0), skips=False)
    model.save(str(tmp_path / "model"))
    printed = run("show", tmp_path / "model", "--sql").output

    assert printed.endswith(" AS `a`` FROM t; DROP TABLE users; --`\n") and printed.count("\n") == 1


@pytest.mark.core
def test_errors_are_a_line_with_the_remedy(view: str, model: Path, tmp_path: Path) -> None:
    """Without a trace."""
    fit = ("fit", view, "--scaler", "standard", "--output", tmp_path / "other", "--columns")

    assert "'nope' does not exist. The DataFrame has: id, a, a_b, name" in refused(*fit, "a, nope")
    assert "Cast it, or leave it out" in refused(*fit, "name")
    assert "ddof must be 0 or 1" in refused(*fit, "a", "--ddof", "3")
    assert "holds null, which handleInvalid='error' refuses" in refused(*fit, "a_b", "--handle-invalid", "error")
    assert "no saved stage" in refused("show", tmp_path / "nothing")
    assert "PATH_NOT_FOUND" in refused("transform", model, tmp_path / "nothing.parquet", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_usage_errors_exit_with_2(spark: SparkSession, tmp_path: Path) -> None:
    """Like other command-line programs."""
    fit = ("fit", tmp_path / "rows.parquet", "--columns", "a", "--output", tmp_path / "m", "--scaler")

    assert "'nope' is not one of" in refused(*fit, "nope", code=2)
    assert "No such option" in refused(*fit, "standard", "--min", "0", code=2)
    assert "'low' is not float,...|none" in refused(*fit, "standard", "--clip", "low", code=2)
    assert "is not KEY=VALUE" in refused(*fit, "standard", "--conf", "x", code=2)
    assert "'foo' is no master" in refused(*fit, "standard", "--master", "foo", code=2)
    assert "exclude each other" in refused(*fit, "standard", "--master", "local", "--remote", "sc://x", code=2)


@pytest.mark.core
def test_existing_output_is_kept(view: str, model: Path, strict: Path, tmp_path: Path) -> None:
    """Without --overwrite, and where the job that would replace it fails."""
    scaled = tmp_path / "scaled.parquet"
    fit = ("fit", view, "--scaler", "min-max", "--columns", "a", "--output", model)
    assert "already exists" in refused(*fit)
    run("transform", model, view, scaled)
    assert "already exists" in refused("transform", model, view, scaled)
    before = pq.read_table(scaled)

    assert "holds null" in refused("transform", strict, view, scaled, "--overwrite")
    assert pq.read_table(scaled).equals(before) and before.num_rows == 8
    run("transform", model, view, scaled, "--overwrite")
    assert pq.read_table(scaled).num_rows == 8


class Killed(BaseException):
    """The end of a process, in which nothing more is done."""


class Dying:
    """A file system that ends the process at a rename or removal, counted from 1."""

    def __init__(self, files: Any, at: int, calls: list[str]) -> None:
        self.files, self.at, self.calls = files, at, calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls += [name] if name in ("rename", "delete") else []
            if len(self.calls) >= self.at:
                raise Killed
            return getattr(self.files, name)(*args)

        return call


def overwrite_until(at: int, *command: Any) -> None:
    """Run a command that overwrites, and end it at a change of the file system."""
    files_of, calls = jvm.files, []

    def dying(spark: SparkSession, *paths: str) -> tuple[Any, ...]:
        files, *objects = files_of(spark, *paths)
        return Dying(files, at, calls), *objects

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jvm, "files", dying)
        with pytest.raises(Killed):
            run(*command, "--overwrite")


def ids(path: Path) -> list[int]:
    return sorted(pq.read_table(path)["id"].to_pylist())


@pytest.fixture(scope="module")
def strict_rows(folder: Path) -> tuple[Path, Path]:
    """Two tables that the strict model takes."""
    for name, rows in (("old", [1, 2]), ("new", [3])):
        pq.write_table(pa.table({"id": rows, "a_b": pa.array(rows, pa.int32())}), folder / f"{name}.parquet")
    return folder / "old.parquet", folder / "new.parquet"


@pytest.mark.classic_only
@pytest.mark.parametrize(
    ("at", "there", "after"),
    [(1, True, [1, 2]), (2, False, [3]), (3, True, [3]), (4, True, [3])],
    ids=["before both renames", "between them", "after both", "before the old one is deleted"],
)
def test_next_run_completes_a_killed_overwrite(
    strict: Path,
    strict_rows: tuple[Path, Path],
    loads_once: None,
    tmp_path: Path,
    at: int,
    there: bool,
    after: list[int],
) -> None:
    """The output is the old or the new one, whole; a killed run leaves nothing behind for good."""
    old, new = strict_rows
    output = tmp_path / "o[1].parquet"
    run("transform", strict, old, output)
    overwrite_until(at, "transform", strict, new, output)

    assert output.exists() == there
    assert "already exists" in refused("transform", strict, old, output)
    assert ids(output) == after
    left = [path for path in tmp_path.iterdir() if path != output]
    assert len(left) == (at == 1), left  # it might be of a run that is going on
    for path in [file for top in left for file in (top, *top.rglob("*"))]:
        os.utime(path, (0, 0))
    assert "already exists" in refused("transform", strict, old, output)
    assert os.listdir(tmp_path) == [output.name]


@pytest.mark.classic_only
def test_renamed_output_is_recovered(
    strict: Path, strict_rows: tuple[Path, Path], loads_once: None, tmp_path: Path
) -> None:
    """By a run that reads it, too; where there is no new one, the old one goes back. Others' files stay."""
    other = tmp_path / "o.parquet.sparkscale_mine"
    shutil.copytree(strict_rows[0].parent, other)
    os.utime(other, (0, 0))
    shutil.copy(strict_rows[0], tmp_path / "o.parquet.sparkscale_0123456789ab.old")
    run("transform", strict, tmp_path / "o.parquet", tmp_path / "scaled.parquet")

    assert ids(tmp_path / "scaled.parquet") == [1, 2]
    assert sorted(os.listdir(tmp_path)) == ["o.parquet", other.name, "scaled.parquet"]


@pytest.mark.classic_only
def test_failed_rename_restores_the_old_output(
    strict: Path, strict_rows: tuple[Path, Path], loads_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Immediately, without another run."""
    old, new = strict_rows
    run("transform", strict, old, tmp_path / "o.parquet")
    rename = renames._rename

    def fail_once(files: Any, source: Any, target: Any) -> None:
        if target.getName() == "o.parquet":
            monkeypatch.setattr(renames, "_rename", rename)
            raise OSError("no space left")
        rename(files, source, target)

    monkeypatch.setattr(renames, "_rename", fail_once)

    assert "no space left" in refused("transform", strict, new, tmp_path / "o.parquet", "--overwrite")
    assert ids(tmp_path / "o.parquet") == [1, 2] and os.listdir(tmp_path) == ["o.parquet"]


@pytest.mark.classic_only
def test_overwrite_continues_if_another_run_completed_it(
    spark: SparkSession,
    strict: Path,
    strict_rows: tuple[Path, Path],
    loads_once: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that starts between the renames treats the first one as killed."""
    old, new = strict_rows
    output = tmp_path / "o.parquet"
    run("transform", strict, old, output)
    rename = renames._rename

    def overtaken(files: Any, source: Any, target: Any) -> None:
        if target.getName() == output.name:
            monkeypatch.setattr(renames, "_rename", rename)
            renames.recover_path(spark, str(output), 0)
        rename(files, source, target)

    monkeypatch.setattr(renames, "_rename", overtaken)
    run("transform", strict, new, output, "--overwrite")

    assert ids(output) == [3] and os.listdir(tmp_path) == [output.name]


@pytest.mark.core
def test_existing_path_is_not_a_pattern(
    strict: Path, strict_rows: tuple[Path, Path], loads_once: None, tmp_path: Path
) -> None:
    """Existing paths are read literally; other inputs may be patterns."""
    run("transform", strict, f"{strict_rows[0].parent}/ol[d].parquet", tmp_path / "o[1].parquet")
    run("transform", strict, f"{strict_rows[1].parent}/n*w.parquet", tmp_path / "o1.parquet")

    assert "already exists" in refused("transform", strict, strict_rows[1], tmp_path / "o[1].parquet")
    run("inverse", strict, tmp_path / "o[1].parquet", tmp_path / "back.parquet", "--output-col", "a_b")
    assert ids(tmp_path / "back.parquet") == [1, 2]


@pytest.mark.core
def test_a_failing_job_leaves_nothing(view: str, strict: Path, loads_once: None, tmp_path: Path) -> None:
    """So that it can be run again."""
    assert "holds null" in refused("transform", strict, view, tmp_path / "scaled.parquet")
    assert os.listdir(tmp_path) == []


def test_a_table_that_would_end_with_the_session_is_refused(view: str, model: Path) -> None:
    """As those of a catalog in memory do."""
    written = refused("transform", model, view, "some_table", "--output-format", "table")

    assert "would end with this session" in written


def test_json_has_every_digit(spark: SparkSession, tmp_path: Path) -> None:
    """Of small numbers, too; what is not finite is null."""
    df = spark.createDataFrame([([1e-12 * k / 3, 5.0],) for k in range(4)], "a array<double>")
    df.createOrReplaceTempView("small_numbers")
    fit = ("fit", "small_numbers", "--scaler", "standard", "--columns", "a", "--output", tmp_path / "model", "--json")
    x, y = json.loads(run(*fit).stdout)["features"]
    spark.catalog.dropTempView("small_numbers")

    assert x["std"] == float(StandardScaler(inputCol="a").fit(df).std[0])
    assert (y["scale"], y["constant"]) == (None, True)


def test_stages_that_are_no_models_are_shown_and_refused(
    view: str, folder: Path, loads_once: None, tmp_path: Path
) -> None:
    """What learns nothing has Params; what a stage cannot do is said."""
    sparkscale.LayerNorm(inputCol="v", epsilon=0.5).save(str(folder / "norm"))

    assert "'epsilon': 0.5" in run("show", folder / "norm").output
    assert json.loads(run("show", folder / "norm", "--json").stdout)["features"] == []
    error = refused("inverse", folder / "norm", view, tmp_path / "out")
    assert "holds a LayerNorm, which has no inverseTransform" in error


@pytest.mark.core
def test_jvm_errors_are_reported(model: Path, tmp_path: Path) -> None:
    """The message is the JVM's, not that a py4j call failed."""
    (tmp_path / "broken.parquet").write_bytes(b"no Parquet, though it says so")
    error = refused("transform", model, tmp_path / "broken.parquet", tmp_path / "out")

    assert "An error occurred while calling" not in error
    assert "broken.parquet" in error or "Parquet" in error


def test_missing_server_is_reported() -> None:
    """The command fails at once."""
    assert "No Spark Connect server answers at sc://localhost:1" in refused(
        "show", "model", "--remote", "sc://localhost:1"
    )
    assert "is no Spark Connect server" in refused("show", "model", "--remote", "http://localhost", code=2)


HEAVY_IMPORTS = """
import sys
from sparkscale.cli import main

main(sys.argv[1:], prog_name="sparkscale", standalone_mode=False)
print({"numpy", "pandas", "pyspark"} & {*sys.modules})
"""


@pytest.mark.parametrize("args", ["--help", "--version", "fit --help", "update --help"])
def test_help_imports_no_spark(args: str) -> None:
    """Help must be fast."""
    command = [sys.executable, "-c", HEAVY_IMPORTS, *args.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=undisturbed())

    assert done.stdout.splitlines()[0].startswith(("Usage: sparkscale", "sparkscale, version")), done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def program(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it as a program, of a Spark of its own, in a folder."""
    command = [sys.executable, "-m", "sparkscale", *args, "--master", "local[1]", "--conf", "spark.ui.enabled=false"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, env=undisturbed() | env)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on standard error, but for one that Java itself begins with."""
    return [line for line in done.stderr.splitlines() if "incubator" not in line]


@pytest.mark.classic_only
def test_command_runs_as_a_program(tmp_path: Path) -> None:
    """Wherever it is installed; nothing but the result, or the line of an error, on either stream."""
    (tmp_path / "rows.csv").write_text('x\n1\n3\n""\n')
    home = tmp_path / "with space"
    shutil.copytree(Path(sparkscale.__file__).parent, home / "sparkscale")
    fit = ("fit", "rows.csv", "--scaler", "standard", "--columns", "x", "--json", "--output")
    done = program(tmp_path, *fit, "model", PYTHONPATH=str(home))
    failed = program(tmp_path, *fit, "other", "--handle-invalid", "error", PYTHONPATH=str(home))

    assert json.loads(done.stdout)["features"][0]["mean"] == 2.0
    assert errors(done) == []
    assert (failed.returncode, failed.stdout) == (1, "")
    assert len(errors(failed)) == 1 and "holds null" in errors(failed)[0], failed.stderr
    assert not (tmp_path / "other").exists()


TABLES = """
from click.testing import CliRunner
from pyspark.sql import SparkSession
from sparkscale.cli import main

SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").enableHiveSupport().getOrCreate()
fit = ["fit", "rows.parquet", "--scaler", "max-abs", "--columns", "x", "--handle-invalid", "error", "--output", "m"]
write = ["--output-format", "table"]
for args in (
    fit,
    ["transform", "m", "rows.parquet", "scaled", *write],
    ["transform", "m", "rows.parquet", "scaled", *write],
    ["transform", "m", "bad.parquet", "scaled", *write, "--overwrite"],
    ["inverse", "m", "scaled", "back.json", "--output-col", "x"],
):
    done = CliRunner().invoke(main, args)
    print("##", done.exit_code, done.output.splitlines()[-1])
"""


@pytest.mark.classic_only
def test_tables_are_written_to_a_catalog_that_lasts(tmp_path: Path) -> None:
    """And are kept where the job that would replace them fails."""
    pq.write_table(pa.table({"x": [1.0, 3.0]}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"x": [1.0, None]}), tmp_path / "bad.parquet")
    command = [sys.executable, "-c", TABLES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, env=undisturbed())
    codes, lines = zip(
        *(line[3:].split(" ", 1) for line in done.stdout.splitlines() if line.startswith("## ")), strict=True
    )

    assert codes == ("0", "0", "1", "1", "0"), done.stdout + done.stderr
    assert "already exists" in lines[2] and "holds null" in lines[3]
    assert sum(len(part.read_text().splitlines()) for part in (tmp_path / "back.json").glob("*.json")) == 2


@pytest.fixture(scope="module", params=["--master", "--remote"])
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int, bytes]:
    """What fit prints on a terminal, and how it ends, on classic or on Connect, where another Python is found first."""
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "rows").mkdir()
    for k in range(16):
        pq.write_table(pa.table({"a": [[1.0, 2.0], [3.0, 5.0]] * 10_000}), folder / "rows" / f"{k}.parquet")
    other = folder / "python3"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    command = [sys.executable, "-m", "sparkscale", "fit", str(folder / "rows"), "--scaler", "standard", "--json"]
    command += ["--columns", "a", "--output", str(folder / "model"), request.param, "local[1]"]
    command += ["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.files.openCostInBytes=134217728"]
    env = undisturbed() | {"SPARK_TESTING": "1", "PATH": f"{folder}:{os.environ['PATH']}"}
    env.pop("PYSPARK_PYTHON", None)
    ours, terminal = pty.openpty()
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    text = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as stream:  # an error is how it ends
        while part := stream.read(65536):
            text += part
    return request.param, process.wait(timeout=180), text


@pytest.mark.classic_only
def test_local_executors_use_the_python_of_the_command(printed: tuple[str, int, bytes]) -> None:
    """Whose environment may not be activated: another Python is found first."""
    _, code, text = printed

    assert code == 0, text
    (model,) = re.findall(rb'\{"class".*\}', text)
    assert [feature["mean"] for feature in json.loads(model)["features"]] == [2.0, 3.5]


@pytest.mark.classic_only
def test_a_terminal_shows_progress(printed: tuple[str, int, bytes]) -> None:
    """With Spark's own bar, of classic and of Connect; the model comes after it."""
    where, code, text = printed
    before, _, model = text.partition(b"StandardScalerModel")

    assert code == 0, text
    assert {"--master": b"[Stage ", "--remote": b"% Complete ("}[where] in before and b"mean" in model, text


def test_profiles_are_computed_shown_and_compared(spark, folder, tmp_path):
    """By key, as ``Profile.of`` and ``compare`` do; ``--check`` tells by its status whether a figure is flagged."""
    rows, first, second, html = (tmp_path / name for name in ("rows.csv", "first", "second", "report.html"))
    rows.write_text("day,shop,x,w\n" + "".join(f"2024-01-0{k % 3 + 1},s{k % 2},{k},{k % 4}\n" for k in range(30)))
    options = ["--columns", "numeric", "--exclude", "w", "--weight-col", "w", "--group-cols", "day, shop"]
    printed = run("profile", rows, *options, "--statistics", "moments,quantiles", "--output", first, "--json").stdout
    run("profile", folder / "rows.parquet", "--columns", "a", "--output", second)
    profile = Profile.load(str(first))
    same = run("compare", first, first, "--by", "shop", "--check").stdout
    flagged = run("compare", second, second, "--threshold", "invalid=0", "--html", html, "--json").stdout
    run("fit", folder / "rows.parquet", "--scaler", "min-max", "--columns", "a", "--output", tmp_path / "model")

    assert json.loads(printed)["groupCols"] == ["day", "shop"] and json.loads(printed)["numGroups"] == 6
    assert (profile.weightCol, profile.inputCols, profile.statistics) == ("w", ["x"], ["moments", "quantiles"])
    assert [key.type.simpleString() for key in profile._keys] == ["date", "string"]
    assert same.startswith("Comparison of 1 features of 2 keys: 0 flagged")
    assert json.loads(flagged)["features"][0]["psi"] is None
    assert html.read_text().startswith("<div><div><b>Comparison</b>")
    assert "Profile of 1 features by day, shop: 6 keys" in run("show", first).stdout
    assert json.loads(run("show", second, "--json").stdout)["features"][0]["max"] == 7.0
    assert run("compare", second, first, "--threshold", "psi=high", code=2)
    assert "which has no compare. Name a profile." in refused("compare", tmp_path / "model", second)
    assert "the columns differ" in refused("compare", second, first)
    assert "'drift' has no threshold" in refused("compare", second, second, "--threshold", "drift=1")
    run("profile", folder / "rows.parquet", "--columns", "a_b", "--output", first, "--overwrite")
    run(
        "fit",
        rows,
        "--scaler",
        "standard",
        "--columns",
        "numeric",
        "--group-cols",
        "shop",
        "--as-of",
        "day",
        "--output",
        second,
        "--overwrite",
    )
    run("transform", second, rows, tmp_path / "scaled.parquet")
    assert spark.read.parquet(str(tmp_path / "scaled.parquet")).where("x_scaled IS NULL").count() == 10


@pytest.mark.usefixtures("spark")
def test_a_check_fails_if_a_figure_is_flagged(tmp_path):
    """With a status of its own."""
    paths = []
    for k in (0, 100):
        rows = tmp_path / f"{k}.csv"
        rows.write_text("x\n" + "".join(f"{k + n}\n" for n in range(5)))
        paths.append(tmp_path / f"{k}.profile")
        run("profile", rows, "--columns", "x", "--output", paths[-1])

    assert "1 flagged" in run("compare", *paths, "--check", code=3).stdout
    assert "1 flagged" in run("compare", *paths).stdout
