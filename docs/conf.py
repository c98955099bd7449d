"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import re
from typing import Any

import sparkscale

project = "sparkscale"
author = "the sparkscale developers"
copyright = author  # noqa: A001  # the name that Sphinx reads
version = release = sparkscale.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
html_theme = "furo"
html_title = f"sparkscale {version}"
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Prompts and output stay behind when a block is copied.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

nitpicky = True
nitpick_ignore = [("py:obj", "numeric")]  # in the help of the command line
# What other packages document: their pages are not needed to build these.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(pyspark|numpy|torch|matplotlib)\..*|(Import|Key|OS|Runtime|Type|Value)Error|Exception",
    )
]

default_role = "py:obj"
autodoc_typehints = "none"  # the docstrings have the types
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "uid"}
numpydoc_show_class_members = False  # autodoc shows them

GETTER_OR_SETTER = re.compile(r"(get|set)[A-Z]")


def skip(
    app: Any, what: str, name: str, found: Any, skipped: bool, options: Any
) -> bool | None:
    """Leave out the getter and the setter that every Param has, and Spark's own members."""
    home = getattr(getattr(found, "fget", found), "__module__", None)
    theirs = str(home).startswith("pyspark.")
    return (
        True
        if theirs or (GETTER_OR_SETTER.match(name) and name != "setParams")
        else None
    )


def setup(app: Any) -> None:
    """Tell Sphinx."""
    app.connect("autodoc-skip-member", skip)
