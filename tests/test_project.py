"""What several files of the project say, all of them say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_hooks_run_what_make_lint_runs():
    """Each program of one is there in the other."""
    program = r"(ruff check|ruff format|[\w-]+)"
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]

    assert re.findall(rf"^ +entry: {program}", hooks, re.MULTILINE) == re.findall(rf"\$\(BIN\)/{program}", recipe)
