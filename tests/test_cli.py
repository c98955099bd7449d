"""The command line: what its commands do, and what they say when they cannot."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import sparkscale
from processes import undisturbed
from sparkscale import MinMaxScaler, StandardScalerModel
from sparkscale.cli import SCALERS, main

ROWS = [(k, float(k), None if k == 3 else k * k, f"n{k}") for k in range(8)]


def run(*args: str, code: int = 0) -> Any:
    """Run a command in this process, in the session that there is."""
    done = CliRunner().invoke(main, [str(a) for a in args])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.fixture
def folder(spark, tmp_path):
    """Rows in every format."""
    df = spark.createDataFrame(ROWS, "id int, a double, a_b int, name string")
    for kind in ("parquet", "json", "orc"):
        df.write.format(kind).save(str(tmp_path / f"rows.{kind}"))
    df.write.option("header", "true").csv(str(tmp_path / "rows.csv"))
    return tmp_path


@pytest.fixture
def model(folder):
    """A model of two columns."""
    run(
        "fit",
        folder / "rows.parquet",
        "--scaler",
        "standard",
        "--columns",
        "a*",
        "--with-mean",
        "--output",
        folder / "m",
    )
    return folder / "m"


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "orc"])
def test_fit_reads_what_spark_reads(spark, folder, kind):
    """By the ending of the name; CSV with a header and types."""
    done = run("fit", folder / f"rows.{kind}", "--scaler=standard", "--columns", "a,a_b", "--output", folder / "model")
    found = StandardScalerModel.load(str(folder / "model"))

    assert found.featureNames == ["a", "a_b"]
    assert list(found.mean) == pytest.approx([3.5, 131 / 7])
    assert list(found.invalidCounts) == [0, 1]
    assert "a_b" in done.output and "18.7143" in done.output


def test_fit_reads_tables(spark, folder):
    """A name without a path is one."""
    spark.read.parquet(str(folder / "rows.parquet")).createOrReplaceTempView("some_rows")
    run("fit", "some_rows", "--scaler", "max-abs", "--columns", "numeric", "--output", folder / "model")

    assert sparkscale.MaxAbsScalerModel.load(str(folder / "model")).featureNames == ["id", "a", "a_b"]


def test_columns_are_names_patterns_and_numeric(folder):
    """Each once, in the order in which they are asked for."""
    done = run(
        "fit", folder / "rows.csv", "--scaler", "min-max", "--columns", "a_*", "--columns", "numeric,a",
        "--output", folder / "model", "--json",
    )  # fmt: skip
    assert [f["feature"] for f in json.loads(done.stdout)["features"]] == ["a_b", "id", "a"]


@pytest.mark.parametrize("name", SCALERS)
def test_each_param_of_a_scaler_is_an_option(spark, name):
    """Made from the Params, and shown by --help."""
    text = run("fit", "--scaler", name, "--help").output
    params = {p.name for p in SCALERS[name]().params} - {"inputCol", "inputCols"}
    options = {word.split("/")[0] for word in text.split() if word.startswith("--")}
    kebab = {"--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in p) for p in params}

    assert kebab - options == set()


def test_options_are_of_the_types_of_params(folder):
    """Flags, numbers, lists and none."""
    done = run(
        "fit", folder / "rows.parquet", "--scaler", "batch-norm", "--columns", "a", "--columns", "id", "--epsilon", "0.5",
        "--gamma", "2,3", "--momentum", "none", "--output-cols", "x,y", "--handle-invalid", "skip", "--output",
        folder / "model", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["params"] == {
        "inputCols": ["a", "id"],
        "outputCols": ["x", "y"],
        "epsilon": 0.5,
        "gamma": [2.0, 3.0],
        "momentum": None,
        "handleInvalid": "skip",
    }


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "orc"])
def test_transform_and_its_inverse(spark, folder, model, kind):
    """Written by the ending of the name; the way back gives the input."""
    run("transform", model, folder / "rows.parquet", folder / f"scaled.{kind}")
    run("inverse", model, folder / f"scaled.{kind}", folder / "back.parquet")
    found = spark.read.parquet(str(folder / "back.parquet")).orderBy("id").select("id", "a", "a_b", "name").collect()

    for row, expected in zip(found, ROWS, strict=True):
        assert list(row) == pytest.approx(list(expected))
    assert not [name for name in os.listdir(folder) if "sparkscale_" in name]


def test_one_column_alone_has_an_output_alone(spark, folder):
    """As in a Pipeline: inputCol and outputCol."""
    run(
        "fit", folder / "rows.parquet", "--scaler", "min-max", "--columns", "a", "--output-col", "y", "--max", "7",
        "--output", folder / "model",
    )  # fmt: skip
    run("transform", folder / "model", folder / "rows.parquet", folder / "out")

    assert [r.y for r in spark.read.parquet(str(folder / "out")).orderBy("id").collect()] == [
        float(k) for k in range(8)
    ]


def test_merge_and_update(spark, folder, model):
    """Both are the model of all rows."""
    run("merge", model, model, "--output", folder / "merged")
    run("update", model, folder / "rows.json", "--output", folder / "updated")
    run("update", model, folder / "rows.json", "--overwrite")
    found = [StandardScalerModel.load(str(folder / name)) for name in ("merged", "updated", "m")]

    assert [m.count for m in found] == [16, 16, 16]


def test_show(model):
    """A table for people, JSON for machines, SQL for databases."""
    text, told = run("show", model).output, json.loads(run("show", model, "--json").stdout)

    assert text.splitlines()[0].startswith("StandardScalerModel") and "rows=8" in text
    assert {"feature", "mean", "std", "invalid"} <= set(told["features"][0])
    assert (told["class"], told["rows"]) == ("StandardScalerModel", 8)
    assert run("show", model, "--sql").output.splitlines()[0].endswith("AS `a_scaled`")
    assert set(json.loads(run("show", model, "--sql", "--json").stdout)) == {"a_scaled", "a_b_scaled"}


def refused(*args: Any, code: int = 1) -> str:
    done = run(*args, code=code)
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert code == 2 or len([line for line in lines if not line.startswith("StandardScaler")]) == 1, lines
    return lines[-1]


def test_errors_are_a_line_with_the_remedy(folder, model):
    """Without a trace."""
    fit = ("fit", folder / "rows.parquet", "--scaler", "standard", "--output", folder / "other", "--columns")

    assert "'nope' is no column. There are: id, a, a_b, name" in refused(*fit, "nope")
    assert "Cast it, or leave it out" in refused(*fit, "name")
    assert "ddof must be 0 or 1" in refused(*fit, "a", "--ddof", "3")
    assert "holds null, which handleInvalid='error' refuses" in refused(*fit, "a_b", "--handle-invalid", "error")
    assert "no saved stage" in refused("show", folder / "nothing")
    assert "PATH_NOT_FOUND" in refused("transform", model, folder / "nothing.parquet", folder / "out")
    assert not (folder / "other").exists() and not (folder / "out").exists()


def test_wrong_usage_ends_with_2(folder):
    """As is the custom."""
    fit = ("fit", folder / "rows.parquet", "--columns", "a", "--output", folder / "m", "--scaler")

    assert "'nope' is not one of" in refused(*fit, "nope", code=2)
    assert "No such option" in refused(*fit, "standard", "--clip", code=2)
    assert "is not KEY=VALUE" in refused(*fit, "standard", "--conf", "x", code=2)
    assert "'foo' is no master" in refused(*fit, "standard", "--master", "foo", code=2)
    assert "exclude each other" in refused(*fit, "standard", "--master", "local", "--remote", "sc://x", code=2)


def test_what_exists_is_kept(spark, folder, model):
    """Without --overwrite, and where the job that would replace it fails."""
    fit = ("fit", folder / "rows.parquet", "--scaler", "min-max", "--columns", "a", "--output", model)
    assert "already exists" in refused(*fit)
    scaled, rows = folder / "scaled.parquet", folder / "rows.parquet"
    run("transform", model, rows, scaled)
    assert "already exists" in refused("transform", model, rows, scaled)
    before = spark.read.parquet(str(scaled)).count()
    failing = MinMaxScaler(inputCol="a_b", handleInvalid="error").fit(spark.read.parquet(str(rows)).where("id < 3"))
    failing.save(str(folder / "failing"))

    assert "holds null" in refused("transform", folder / "failing", rows, scaled, "--overwrite")
    assert spark.read.parquet(str(scaled)).count() == before == 8
    run("transform", model, rows, scaled, "--overwrite")
    assert spark.read.parquet(str(scaled)).count() == 8


def test_a_failing_job_leaves_nothing(spark, folder):
    """So that it can be run again."""
    failing = MinMaxScaler(inputCol="a_b", handleInvalid="error").fit(
        spark.read.parquet(str(folder / "rows.parquet")).where("id < 3")
    )
    failing.save(str(folder / "failing"))
    before = sorted(os.listdir(folder))

    assert "holds null" in refused("transform", folder / "failing", folder / "rows.parquet", folder / "scaled.parquet")
    assert sorted(os.listdir(folder)) == before


def test_a_table_that_would_end_with_the_session_is_refused(folder, model):
    """As those of a catalog in memory do."""
    written = refused("transform", model, folder / "rows.parquet", "some_table", "--output-format", "table")

    assert "would end with this session" in written


def test_numeric_leaves_weights_out(folder):
    """They are no features."""
    fit = ("fit", folder / "rows.parquet", "--scaler", "standard", "--columns", "numeric", "--weight-col", "id")
    done = run(*fit, "--output", folder / "model", "--json")

    assert [f["feature"] for f in json.loads(done.stdout)["features"]] == ["a", "a_b"]


def test_json_has_every_digit(spark, folder):
    """Of small numbers, too; what is not finite is null."""
    values = [(1e-12 * k / 3, 5.0) for k in range(4)]
    spark.createDataFrame(values, "x double, y double").write.parquet(str(folder / "small"))
    done = run(
        "fit", folder / "small", "--scaler", "standard", "--columns", "x,y", "--output", folder / "model", "--json"
    )
    x, y = json.loads(done.stdout)["features"]

    assert x["std"] == float(StandardScalerModel.load(str(folder / "model")).std[0])
    assert (y["scale"], y["constant"]) == (None, True)


def test_stages_that_are_no_models_are_shown_and_refused(folder):
    """What learns nothing has Params; what a stage cannot do is said."""
    sparkscale.LayerNorm(inputCol="v", epsilon=0.5).save(str(folder / "norm"))

    assert "'epsilon': 0.5" in run("show", folder / "norm").output
    assert json.loads(run("show", folder / "norm", "--json").stdout)["features"] == []
    error = refused("inverse", folder / "norm", folder / "rows.parquet", folder / "out")
    assert "holds a LayerNorm, which has no inverseTransform" in error


def test_what_the_jvm_says_is_told(folder, model):
    """Not that a call failed."""
    (folder / "broken.parquet").write_bytes(b"no Parquet, though it says so")
    error = refused("transform", model, folder / "broken.parquet", folder / "out")

    assert "An error occurred while calling" not in error
    assert "broken.parquet" in error or "Parquet" in error


def test_a_server_that_is_not_there(folder, model):
    """Is missed at once."""
    assert "No Spark Connect server answers at sc://localhost:1" in refused(
        "show", model, "--remote", "sc://localhost:1"
    )
    assert "is no Spark Connect server" in refused("show", model, "--remote", "http://localhost", code=2)


def program(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it as a program, of a Spark of its own, in a folder."""
    command = [sys.executable, "-m", "sparkscale", *args, "--master", "local[1]", "--conf", "spark.ui.enabled=false"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, env=undisturbed() | env)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on standard error, but for one that Java itself begins with."""
    return [line for line in done.stderr.splitlines() if "incubator" not in line]


@pytest.mark.one_world
@pytest.mark.parametrize("where", ["--master", "--remote"])
def test_executors_on_this_machine_run_the_python_of_the_command(tmp_path, where):
    """Whose environment may not be activated: another Python is found first."""
    pq.write_table(pa.table({"a": [[1.0, 2.0], [3.0, 5.0]]}), tmp_path / "rows.parquet")
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    command = [sys.executable, "-m", "sparkscale", "fit", "rows.parquet", "--scaler=standard", "--columns=a", "--json"]
    command += ["--output=model", where, "local[1]"]
    env = undisturbed() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    del env["PYSPARK_PYTHON"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, env=env)

    assert done.returncode == 0, done.stderr
    assert [feature["mean"] for feature in json.loads(done.stdout)["features"]] == [2.0, 3.5]


@pytest.mark.one_world
def test_it_runs_as_a_program(tmp_path):
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
    ["inverse", "m", "scaled", "back.json"],
):
    done = CliRunner().invoke(main, args)
    print("##", done.exit_code, done.output.splitlines()[-1])
"""


@pytest.mark.one_world
def test_tables_are_written_to_a_catalog_that_lasts(tmp_path):
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


@pytest.mark.one_world
@pytest.mark.parametrize(("where", "bar"), [("--master", b"[Stage "), ("--remote", b"% Complete (")])
def test_a_terminal_shows_progress(tmp_path, where, bar):
    """With Spark's own bar, of classic and of Connect; the model comes after it."""
    (tmp_path / "rows").mkdir()
    for k in range(16):
        pq.write_table(pa.table({"x": np.arange(20_000.0) + k}), tmp_path / "rows" / f"{k}.parquet")
    command = [sys.executable, "-m", "sparkscale", "fit", str(tmp_path / "rows"), "--scaler", "standard"]
    command += ["--columns", "x", "--output", str(tmp_path / "model"), where, "local[1]"]
    command += ["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.files.openCostInBytes=134217728"]
    env = undisturbed() | {"SPARK_TESTING": "1"}
    ours, terminal = pty.openpty()
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    printed = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as stream:  # an error is how it ends
        while part := stream.read(65536):
            printed += part

    assert process.wait(timeout=180) == 0, printed
    before, _, model = printed.partition(b"StandardScalerModel")
    assert bar in before and b"mean" in model, printed
