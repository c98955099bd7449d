"""Every example in a docstring of the package is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import sparkscale

MODULES = [
    "sparkscale",
    *(m.name for m in pkgutil.walk_packages(sparkscale.__path__, "sparkscale.") if not m.name.endswith("__main__")),
]


def examples() -> list[doctest.DocTest]:
    """Return the docstrings that hold examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name), name)]
    return [test for test in found if test.examples]


EXAMPLES = examples()


@pytest.mark.core
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_docstring(example: doctest.DocTest, request: pytest.FixtureRequest) -> None:
    """The example prints what it says; those that speak of ``spark`` get the session."""
    if any("spark." in e.source for e in example.examples):
        example.globs["spark"] = request.getfixturevalue("spark")
    report: list[str] = []

    results = doctest.DocTestRunner().run(example, out=report.append)

    assert 0 == results.failed, "".join(report)
    assert results.attempted


@pytest.mark.core
@pytest.mark.parametrize("name", [n for n in sparkscale.__all__ if not n.endswith("Model")])
def test_every_stage_has_an_example(name: str) -> None:
    """The docstring of a stage that users make shows its use."""
    home = getattr(sparkscale, name).__module__

    assert f"{home}.{name}" in {e.name for e in EXAMPLES}
