"""CSV on the command line: what is not scaled is written as it was read, and what is scaled is understood or refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from commands import refused, run
from sparkscale import MaxAbsScalerModel
from sparkscale.scalers._persistence import StageReader
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Extrema

# Cells in quotes are written as RFC 4180 has them.
PLAIN = [
    ["02134", "+49 30", "2024-01-05", "12", "NaN"],
    ["-007", "00.5", "2013-01-01T10:00:00Z", "10.50", "null"],
    ["", '""', "2024-13-45", "1e3", '""'],
    [" a", "b\t ", " ", "", "n/a"],
    ["\\", '"\\"', '"a\\""b"', '"7"', "\\n"],
    ['"say ""hi"""', '""""', 'c"d', "-0.5", "'"],
    ['"1,5;2"', "#5", "Äé😀", '""', "\u00a0\u3000"],
    ["9" * 70, "1." + "0" * 40 + "1", "1E-400", "1e+3", "x" * 5000],
    ["", "", "", "", ""],
]
BREAKS = [
    ['"a\nb"', '"\n"', '"\r"', "3", '"a\r\nb"'],
    ['"x\ny;z,"', "", '"\n\n"', "4", '"""\n"""'],
]
NAMES = ["zip", " phone ", '"d,""e"""', "amount", "a.b`${c}"]


def cells(path: Path, separator: str) -> list[list[str]]:
    """Return the cells of a file, or of those of a folder under one header."""
    files = sorted(path.glob("part-*")) if path.is_dir() else [path]
    tables = []
    for part in files:
        with part.open(newline="", encoding="utf-8") as stream:
            tables.append([*csv.reader(stream, delimiter=separator)])
    assert len({tuple(rows[0]) for rows in tables}) == 1
    return [tables[0][0], *(row for rows in tables for row in rows[1:])]


def write(path: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode(encoding))
    return path


@pytest.fixture(scope="module")
def halved(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model that divides the amount by 2. Commands load it once, for all tests."""
    model = MaxAbsScalerModel().setInputCol("amount")
    extrema = Extrema(*(np.array([n]) for n in (2.0, 0.0, 0.0, 2.0)))
    model._learn([FeatureColumn("amount", "scalar", size=1)], extrema, skips=False)
    path = tmp_path_factory.mktemp("models") / "halved"
    model.save(str(path))
    load = StageReader.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageReader, "load", lambda self, name: model.copy() if name == str(path) else load(self, name))
        yield path


@pytest.mark.parametrize(
    ("sep", "to", "end", "rows"),
    [
        pytest.param(",", ",", "\n", PLAIN, id="one row a line"),
        pytest.param(",", ";", "\n", PLAIN + BREAKS, id="line breaks in cells", marks=pytest.mark.core),
        pytest.param(";", ",", "\r\n", PLAIN + BREAKS, id="CRLF"),
        pytest.param(",", ",", "\n", [['"x\ry"', "1", "a", "3", "b"]], id="a carriage return in a cell"),
        pytest.param("\t", "\t", "\n", PLAIN[:3] + PLAIN[-1:], id="tabs, and a row of nothing else"),
    ],
)
def test_every_cell_that_is_not_scaled_has_its_text(
    halved: Path, tmp_path: Path, sep: str, to: str, end: str, rows: list[list[str]]
) -> None:
    """Also cells of the scaled column, whose scaled values are a new column."""
    rows = [[f'"{cell}"' if sep in cell and cell[0] != '"' else cell for cell in row] for row in rows]
    source = write(tmp_path / "rows.csv", *(sep.join(row) for row in [NAMES, *rows]), end=end)
    options = ("--read-option", "sep=" + sep.replace("\t", "\\t"), "--write-option", f"sep={to}")
    run("transform", halved, source, tmp_path / "out.csv", *options)
    header, *values = cells(tmp_path / "out.csv", to)

    expected = cells(source, sep)
    assert [header[:-1], *(row[:-1] for row in values)] == expected
    assert header[-1] == "amount_scaled"
    assert [float(row[-1]) for row in values if row[-1]] == [float(row[3]) / 2 for row in expected[1:] if row[3]]


def test_empty_text_differs_from_a_missing_cell(halved: Path, tmp_path: Path) -> None:
    """A parser may distinguish quoted from unquoted cells."""
    source = write(tmp_path / "rows.csv", "a,amount,b", 'x,2,""', '"",4,', ",,y")
    run("transform", halved, source, tmp_path / "out.csv")
    (part,) = (tmp_path / "out.csv").glob("part-*")

    assert part.read_text().splitlines()[1:] == ['x,2,"",1.0', '"",4,,2.0', ",,y,"]


@pytest.mark.core
def test_only_used_columns_are_parsed(halved: Path, tmp_path: Path) -> None:
    """Others keep the text; to other formats, too, to which the used ones go with their types."""
    source = write(tmp_path / "rows.csv", "a,amount", "n/a,n/a", "-,-", "inf,inf", "1,1")
    options = [word for pair in ("nullValue=n/a", "NANVALUE=-", "positiveInf=inf") for word in ("--read-option", pair)]
    run("transform", halved, source, tmp_path / "out.csv", *options)
    run("transform", halved, source, tmp_path / "out.json", *options)
    lines = [line for part in (tmp_path / "out.json").glob("part-*") for line in part.read_text().splitlines()]

    written = [["n/a", "n/a", ""], ["-", "-", "NaN"], ["inf", "inf", "Infinity"], ["1", "1", "0.5"]]
    assert cells(tmp_path / "out.csv", ",")[1:] == written
    assert [json.loads(line)["a"] for line in lines] == ["n/a", "-", "inf", "1"]
    assert json.loads(lines[-1]) == {"a": "1", "amount": 1.0, "amount_scaled": 0.5}


def test_inverse_replaces_only_the_named_columns(halved: Path, tmp_path: Path) -> None:
    """Other columns stay."""
    source = write(tmp_path / "rows.csv", "zip,amount,amount_scaled,guess", "02134,1e0,0.50,+2", "00501,4,2,0")
    run("inverse", halved, source, tmp_path / "back.csv", "--output-col", "amount")
    run("inverse", halved, source, tmp_path / "new.csv", "--input-col", "guess", "--output-col", "y")

    assert cells(tmp_path / "back.csv", ",")[1:] == [["02134", "1.0", "0.50", "+2"], ["00501", "4.0", "2", "0"]]
    assert cells(tmp_path / "new.csv", ",")[1] == ["02134", "1e0", "0.50", "+2", "4.0"]


def test_types_can_be_inferred(halved: Path, tmp_path: Path) -> None:
    """With the same option as Spark."""
    source = write(tmp_path / "rows.csv", "zip,amount", "02134,2")
    run("transform", halved, source, tmp_path / "out.csv", "--read-option", "inferSchema=true")

    assert cells(tmp_path / "out.csv", ",")[1] == ["2134", "2", "1.0"]


@pytest.mark.core
def test_numeric_leaves_codes_out(spark: SparkSession, tmp_path: Path) -> None:
    """A zero before another digit, a plus sign or a letter at the end is of a code; exponents and fractions are not."""
    columns: dict[str, list[Any]] = {
        "whole": ["0", "-5", "120"],
        "money": ["10.50", "0.5", ".05"],
        "exponent": ["1e3", "1e+3", "-2E-05"],
        "other": ["NaN", "1", ""],
        "zip": ["2134", "02134", "1"],
        "signed": ["1", "-007", "2"],
        "padded": ["1.5", "00.5", "2"],
        "phone": ["12", "+49", "3"],
        "id": ["12d", "3f", "4"],
        "text": ["a", "b", "c"],
        "day": ["2024-01-05"] * 3,
    }
    source = write(tmp_path / "rows.csv", ",".join(columns), *map(",".join, zip(*columns.values(), strict=True)))
    fit = ("fit", source, "--scaler", "max-abs", "--json", "--output")
    named = run(*fit, tmp_path / "named", "--columns", "zip,phone")
    done = run(*fit, tmp_path / "numeric", "--columns", "numeric")

    learned = {f["feature"]: f["maxAbs"] for f in json.loads(done.stdout)["features"]}
    assert learned == {"whole": 120, "money": 10.5, "exponent": 1000, "other": 1}
    assert [f["maxAbs"] for f in json.loads(named.stdout)["features"]] == [2134, 49]


@pytest.mark.parametrize("sep", [";", "\t"])
def test_a_file_of_another_separator_is_recognized(tmp_path: Path, sep: str) -> None:
    """Where a column is missing and the file seems to have one."""
    source = write(tmp_path / "rows.csv", f"amount{sep}other", f"1{sep}2")
    text = refused("fit", source, "--scaler", "standard", "--output", tmp_path / "model", "--columns", "amount")

    assert f"'amount' does not exist. The DataFrame has: amount{sep}other. If cells end at {sep!r}, give --read" in text


def test_a_chosen_column_with_other_values_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """With a value, how many there are, and the remedy; a column without any value is one of numbers."""
    source = write(tmp_path / "rows.csv", "a,b,c,d", "1,n/a,,it's", "2,n/a,,2", '3,"",,3', "4,4,,4")
    fit = ("fit", source, "--scaler", "max-abs", "--output", tmp_path / "m", "--columns")
    option = ("--read-option", "nullValue=n/a")
    done = run(*fit, "a,b,c", *option, "--json")

    text = refused(*fit, "a,b", "--overwrite")
    assert "Column 'b' has 2 values that are not numbers, the first 'n/a'." in text
    assert "--read-option nullValue=n/a" in text
    text = refused(*fit, "b,d", *option, "--overwrite")
    assert "Column 'd' has one value that is not a number, \"it's\"." in text
    assert """--read-option 'nullValue=it'"'"'s'""" in text
    assert [f["invalid"] for f in json.loads(done.stdout)["features"]] == [0, 3, 4]
    assert "'nope' does not exist. The table has: a, b, c, d." in refused(
        "fit", source, "--scaler", "standard", "--columns", "a", "--weight-col", "nope", "--output", tmp_path / "n"
    )


@pytest.mark.core
def test_a_value_that_cannot_be_read_fails(halved: Path, tmp_path: Path) -> None:
    """Where types are inferred from a sample, in which it is not."""
    source = write(tmp_path / "rows.csv", "amount", *map(str, range(200)), "12;5")
    text = refused("transform", halved, source, tmp_path / "out.csv", "--read-option", "samplingRatio=0.1")

    assert "Column 'amount' holds '12;5', which is not of the type of its other values, int." in text


@pytest.mark.settings
def test_mini_batches_are_ordered_by_their_type(spark: SparkSession, tmp_path: Path) -> None:
    """As numbers are, if they are numbers: the running mean of momentum 1 is the mean of the last batch."""
    source = write(tmp_path / "rows.csv", "x,n,w", "1,9,1", "3,9,1", "5,10,1", "7,10,3")
    fit = ("fit", source, "--scaler", "batch-norm", "--columns", "numeric", "--batch-col", "n", "--momentum", "1")
    options = ("--statistics", "moving", "--weight-col", "w", "--handle-invalid", "skip", "--json")
    done = run(*fit, *options, "--output", tmp_path / "m")
    updated = run(
        "update", tmp_path / "m", write(tmp_path / "more.csv", "x,n,w", "2,1,1", "4,1,1"), "--overwrite", "--json"
    )

    assert [json.loads(each.stdout)["features"][0]["runningMean"] for each in (done, updated)] == [6.5, 3.0]


@pytest.mark.core
@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (b"amount,b\n1,2\n3\n", "more or fewer cells than the header", "mode=PERMISSIVE"),
        (b"amount,b\n1,2\n3,4,5\n", "The row: 3,4,5", "mode=DROPMALFORMED"),
        (b'amount,b\n1,"x\\"y"\n', "has a quote that is not doubled", "escape='\\'"),
        ("amount,b\n1,é\n".encode("latin-1"), "is not encoded in UTF-8", "encoding=ISO-8859-1"),
    ],
    ids=["fewer cells", "more cells", "quotes", "encoding"],
)
def test_a_file_that_would_lose_cells_is_refused(
    halved: Path, tmp_path: Path, content: bytes, message: str, remedy: str
) -> None:
    """The message says what to do."""
    source = tmp_path / "rows.csv"
    source.write_bytes(content)
    text = refused("transform", halved, source, tmp_path / "out.csv")

    assert message in text and remedy in text


def test_remedies_in_messages_work(halved: Path, tmp_path: Path) -> None:
    """Each remedy works, with the side effects that the message names."""
    short = write(tmp_path / "short.csv", "amount,b", "1,2", "3", "4,5,6")
    latin = write(tmp_path / "latin.csv", "amount,b", "1,é", encoding="latin-1")
    escaped = write(tmp_path / "escaped.csv", "amount,b", '1,"x\\"y"')
    for source, option, rows in (
        (short, "mode=PERMISSIVE", [["1", "2", "0.5"], ["3", "", "1.5"], ["4", "5", "2.0"]]),
        (short, "mode=DROPMALFORMED", [["1", "2", "0.5"]]),
        (latin, "encoding=ISO-8859-1", [["1", "é", "0.5"]]),
        (escaped, "escape=\\", [["1", 'x"y', "0.5"]]),
    ):
        run("transform", halved, source, tmp_path / "out.csv", "--read-option", option, "--overwrite")
        assert cells(tmp_path / "out.csv", ",")[1:] == rows


@pytest.mark.core
def test_files_of_one_table_have_one_header(halved: Path, tmp_path: Path) -> None:
    """In the same order: Spark reads all by the header of one. Cells of it that are empty or repeated get other names."""
    folder, unnamed = tmp_path / "rows.csv", tmp_path / "unnamed.csv"
    folder.mkdir()
    unnamed.mkdir()
    for name, header in (("1", "amount,b1"), ("2", "b1,amount")):  # which Spark might have made of another b
        write(folder / f"{name}.csv", header, "1,2")
        write(unnamed / f"{name}.csv", ",amount,b,b", "7,2,x,y")
    run("transform", halved, unnamed, tmp_path / "out.csv")

    assert "different headers" in refused("transform", halved, folder, tmp_path / "other.csv")
    assert cells(tmp_path / "out.csv", ",") == [
        ["_c0", "amount", "b2", "b3", "amount_scaled"],
        *[["7", "2", "x", "y", "1.0"]] * 2,
    ]
