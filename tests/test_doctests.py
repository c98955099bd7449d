"""Every example in a docstring of the package is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
from pyspark.sql import SparkSession

import sparkscale

MODULES = [
    "sparkscale",
    *(m.name for m in pkgutil.walk_packages(sparkscale.__path__, "sparkscale.") if not m.name.endswith("__main__")),
]


def examples() -> list[doctest.DocTest]:
    """Return the docstrings that hold examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name), name)]
    return [test for test in tests if test.examples]


EXAMPLES = examples()
# Those that speak of ``spark`` get the session; those of export need the frameworks.
WITH_SPARK = [
    pytest.param(
        e, id=e.name, marks=pytest.mark.third_party if e.name.startswith("sparkscale.export") else pytest.mark.core
    )
    for e in EXAMPLES
    if any("spark." in line.source for line in e.examples)
]
WITHOUT_SPARK = [e for e in EXAMPLES if not any("spark." in line.source for line in e.examples)]


def check(example: doctest.DocTest) -> None:
    report: list[str] = []

    results = doctest.DocTestRunner().run(example, out=report.append)

    assert 0 == results.failed, "".join(report)
    assert results.attempted


@pytest.mark.parametrize("example", WITH_SPARK)
def test_docstring_with_spark(example: doctest.DocTest, spark: SparkSession) -> None:
    """The example prints what it says."""
    example.globs["spark"] = spark

    check(example)


@pytest.mark.parametrize("example", WITHOUT_SPARK, ids=lambda e: e.name)
def test_docstring_without_spark(example: doctest.DocTest) -> None:
    """The example prints what it says."""
    check(example)


@pytest.mark.parametrize("name", [n for n in sparkscale.__all__ if not n.endswith("Model")])
def test_what_users_call_has_an_example(name: str) -> None:
    """The docstring of a stage that users make, or of a function, shows its use."""
    home = getattr(sparkscale, name).__module__

    assert f"{home}.{name}" in {e.name for e in EXAMPLES}
