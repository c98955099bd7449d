"""The code in the README and in docs/ runs and prints the output shown; their lists are complete."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import sparkscale
from sparkscale import affine, cli, errors, export, kernels

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# A Python block, with the block of output that follows it directly, if one does; or commands and what they print.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<printed>.*?)^```$)?|^```console\n(?P<console>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
TEXTS = [p for p in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))] if BLOCK.search(p.read_text(encoding="utf-8"))]
ON_CONNECT = {"README.md", "quickstart.md", "saving.md"}  # other tests cover the rest there
PATHS = re.compile(r"(?<![\w./])[\w-]+\.(?:parquet|csv|json|orc|model)\b(?!\()")


THIRD_PARTY = re.compile(r"^(?:import|from) (?:keras|sklearn|torch)\b", re.MULTILINE)


def pages():
    """Return the texts with blocks, marked if they also run on Connect or need third-party packages."""
    params = []
    for path in TEXTS:
        marks = [pytest.mark.core if path.name in ON_CONNECT else pytest.mark.classic_only]
        if THIRD_PARTY.search(path.read_text(encoding="utf-8")):
            marks.append(pytest.mark.third_party)
        params.append(pytest.param(path, id=path.name, marks=marks))
    return params


@pytest.mark.parametrize("path", pages())
def test_blocks_print_what_the_text_shows(spark, tmp_path, path):
    """Every block runs, a page's in one namespace and one folder, and prints the output that follows it."""
    namespace = {"spark": spark}
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        # The JVM stays in the folder that it was started in.
        text = PATHS.sub(lambda match: f"{tmp_path}/{match[0]}", block["code"] or block["console"])
        if block["console"]:
            printed, expected = _run_commands(text), block["console"]
        else:
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile(text, str(path), "exec"), namespace)  # noqa: S102  # the page is ours
            printed, expected = stream.getvalue(), block["printed"] or ""
        assert _lines(printed.replace(f"{tmp_path}/", "")) == _lines(expected)


def _run_commands(text: str) -> str:
    """Run the lines that begin with a prompt, in this session, and return them with what they print."""
    shown = []
    for line in text.splitlines():
        if line.startswith("$ "):
            program, *args = shlex.split(line[2:])
            assert program == "sparkscale"
            done = CliRunner().invoke(cli.main, args)
            assert done.exit_code == 0, done.output
            shown += [line, done.output]
    assert shown
    return "\n".join(shown)


def _lines(text: str) -> list[str]:
    """Return the lines that are not empty; every stage has another uid."""
    text = re.sub(r"_[0-9a-f]{12}\b", "_uid", text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def formulas() -> list[tuple[str, str]]:
    """Return the formulas of the guides that stand under the name of a class."""
    pairs = []
    for page in ("scalers.md", "distributions.md", "normalization.md"):
        for section in re.split(r"^## ", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name = section.partition("\n")[0]
            if hasattr(sparkscale, name):
                pairs += [
                    (name, math) for math in re.findall(r"^```{math}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
                ]
    return pairs


def test_every_stage_has_a_formula():
    """The guides have each estimator and each transformer, with its formula."""
    others = {"Comparison", "Profile", "ScalerSet", "StreamingFit", "columns"}
    stages = {name for name in sparkscale.__all__ if not name.endswith("Model")} - others

    assert {name for name, _ in formulas()} == stages


@pytest.mark.parametrize(("name", "formula"), formulas(), ids=lambda v: v[:20].strip())
def test_formulas_are_those_of_the_docstrings(name, formula):
    """A guide and the reference say the same."""
    docstring = inspect.getdoc(getattr(sparkscale, name))

    assert "".join(formula.split()) in "".join(docstring.split())


def test_the_reference_has_every_public_name():
    """Those of the package one by one, and the modules that are documented as a whole."""
    text = "".join(p.read_text(encoding="utf-8") for p in (DOCS / "reference").glob("*.md"))

    assert set(re.findall(r"auto(?:class|function):: (\w+)", text)) == set(sparkscale.__all__)
    modules = {m.__name__ for m in (affine, errors, export, kernels)}
    assert modules - set(re.findall(r"automodule:: ([\w.]+)", text)) == set()


def test_every_error_is_public():
    """The list of the module names each exception, so that the reference has them all."""
    classes = {n for n, v in vars(errors).items() if inspect.isclass(v) and issubclass(v, errors.ScalingError)}

    assert set(errors.__all__) == classes


def test_the_page_of_errors_says_when_each_shows():
    """In a table or a sentence; docstrings of stages have only what is special to them."""
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")

    assert [name for name in errors.__all__ if f"`{name}`" not in page] == []
