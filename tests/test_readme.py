"""The Python of the README and of the guides, run as it stands there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A Python block, with the block of output that follows it directly, if one does.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_blocks_print_what_the_text_shows(spark, tmp_path, path):
    """Every Python block runs, in one namespace, and prints the output block that follows it."""
    table = str(tmp_path / "flights.parquet")  # the JVM stays in the folder that it was started in
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks
    namespace = {"spark": spark}
    for text, expected in blocks:
        code = text.replace('"flights.parquet"', repr(table))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), namespace)
        assert _lines(printed.getvalue()) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]
