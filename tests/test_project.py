"""What several files of the project say, all of them say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparkscale import StandardScaler

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # Python 3.10 cannot parse TOML
PYTHONS = re.findall(r'^    "Programming Language :: Python :: (3\.\d+)",$', PYPROJECT, re.MULTILINE)


def test_the_classifiers_begin_with_the_oldest_python():
    """They leave none out, and pip and Ruff know the same oldest one."""
    oldest, newest = (int(version.removeprefix("3.")) for version in (PYTHONS[0], PYTHONS[-1]))

    assert PYTHONS == [f"3.{minor}" for minor in range(oldest, newest + 1)]
    assert f'requires-python = ">=3.{oldest}"\n' in PYPROJECT
    assert f'target-version = "py3{oldest}"\n' in PYPROJECT


def test_ci_has_the_same_pythons():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    installed = re.search(r"^ +python-version: \|\n((?: +3\.\d+\n)+)", workflow, re.MULTILINE)[1]

    assert installed.split() == PYTHONS


@pytest.mark.third_party
def test_nox_has_the_same_pythons():
    nox = [sys.executable, "-m", "nox", "--list", "--json", "--session", "pythons"]
    listed = subprocess.run(nox, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert [session["python"] for session in json.loads(listed)] == PYTHONS


def test_hooks_run_what_make_lint_runs():
    """Each program of one is there in the other."""
    program = r"(ruff check|ruff format|[\w-]+)"
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]

    assert re.findall(rf"^ +entry: {program}", hooks, re.MULTILINE) == re.findall(rf"\$\(BIN\)/{program}", recipe)


def test_the_table_of_layers_is_that_of_the_import_contract():
    """In the same order, top to bottom; only the entry point has no row."""
    contract = (
        PYPROJECT.partition('name = "Imports go down the layers"')[2].partition("layers = [")[2].partition("]")[0]
    )
    layers = [re.findall(r"sparkscale\.([a-z]+)", line) for line in contract.splitlines()]
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    table = [re.findall(r"`([a-z]+)`", row) for row in rows]

    assert [sorted(row) for row in table] == [sorted(layer) for layer in layers if layer]


def test_the_saved_notebook_shows_the_params_of_today():
    """The quick start displays a StandardScaler as it looks now; make notebooks draws it again."""
    notebook = json.loads((ROOT / "examples" / "flights.ipynb").read_text(encoding="utf-8"))
    outputs = [o.get("data", {}) for cell in notebook["cells"] for o in cell.get("outputs", ())]
    html = ["".join(data["text/html"]) for data in outputs if "text/html" in data]
    scaler = StandardScaler(inputCols=["dep_delay", "air_time", "distance"], withMean=True)

    assert without_uid(scaler._repr_html_()) in map(without_uid, html)


def without_uid(html):
    """HTML of a stage without its identifier."""
    return re.sub(r"_[0-9a-f]{12}\b", "", html)
