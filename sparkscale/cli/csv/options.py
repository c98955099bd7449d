"""Options of Spark's CSV reader and writer. Their names are in lower case."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LAYOUT", "split_options", "write_options"]

# RFC 4180: a quote is doubled, and spaces belong to the cell. Reading fails where a file differs.
LAYOUT = {
    "header": "true",
    "ignoreleadingwhitespace": "false",
    "ignoretrailingwhitespace": "false",
    "unescapedquotehandling": "RAISE_ERROR",
    "mode": "FAILFAST",
    "columnpruning": "false",  # with it Spark does not count the cells of a row
}
WRITTEN = ("header", "ignoreleadingwhitespace", "ignoretrailingwhitespace")  # those that the writer has, too
# Options that say what a cell means, not where it ends.
MEANING = (
    *("nullvalue", "nanvalue", "positiveinf", "negativeinf", "emptyvalue", "locale", "timezone", "preferdate"),
    *("dateformat", "timestampformat", "timestampntzformat", "enabledatetimeparsingfallback"),
    *("inferschema", "samplingratio"),
)


def split_options(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the options that say where cells end, and those that say what they mean."""
    lowered = {name.lower(): value for name, value in options.items()}
    layout = {name: value for name, value in lowered.items() if name not in MEANING}
    return layout, {name: value for name, value in lowered.items() if name in MEANING}


def write_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of Spark's writer: those given, and those that keep every cell as it is."""
    lowered = {name.lower(): value for name, value in options.items()}
    return {**{name: LAYOUT[name] for name in WRITTEN}, "escape": lowered.get("quote", '"'), **lowered}
