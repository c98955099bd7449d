"""The notebooks in examples/, run from the top by a fresh kernel."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import nbformat
import pytest

from processes import LEFT_BY_SPARK

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "run_notebooks.py"))

pytestmark = [pytest.mark.third_party, pytest.mark.slow, pytest.mark.classic_only]


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What each output says, without what differs from run to run: identifiers of stages."""
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    texts = [o.text if o.output_type == "stream" else "".join(o.data.get("text/html", "")) for o in outputs]
    return [re.sub(r"_[0-9a-f]{12}\b", "_0", text) for text in texts]


@pytest.fixture
def undisturbed(monkeypatch):
    """An environment without what the tests' own Spark left there."""
    for name in LEFT_BY_SPARK:
        monkeypatch.delenv(name, raising=False)


def test_flights(undisturbed):
    """The quick start shows what is saved in it, to the last digit."""
    path = ROOT / "examples" / "flights.ipynb"
    run = TOOL["executed"](path)

    assert printed(run) == printed(nbformat.read(path, as_version=4))
    assert len(TOOL["pictures"](run)) == 1
    assert "means equal to those of a fit on the whole year, to 12 digits: True" in "".join(printed(run))


def test_batch_norm_digits(undisturbed):
    """The exported layer scores as one with PyTorch's own statistics; weights may differ from machine to machine."""
    path = ROOT / "examples" / "batch_norm_digits.ipynb"
    run = TOOL["executed"](path)

    assert "scores of sparkscale and PyTorch equal to 1e-4: True" in "".join(printed(run))
    assert len(printed(run)) == len(printed(nbformat.read(path, as_version=4)))
    assert len(TOOL["pictures"](run)) == 1


@pytest.mark.parametrize("path", TOOL["NOTEBOOKS"], ids=lambda p: p.name)
def test_saved_notebooks_are_clean(path):
    """They were run from the top without an error, and contain no paths of the machine."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = path.read_text(encoding="utf-8")

    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {o.output_type for cell in code for o in cell.outputs} <= {"stream", "execute_result", "display_data"}
    assert not re.search(r"/tmp/|/home/|/root/|/work/|WARN|\\u001b", text)  # noqa: S108  # none is used
    assert len(text) < 200_000
