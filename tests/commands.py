"""Commands of the command line, run in the process and session of the tests."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner

from sparkscale.cli import main


def run(*args: Any, code: int = 0) -> Any:
    """Run a command in this process, in the session that there is."""
    done = CliRunner().invoke(main, [str(a) for a in args])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def refused(*args: Any, code: int = 1) -> str:
    """Return the one line that a command fails with."""
    done = run(*args, code=code)
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert code == 2 or len([line for line in lines if not line.startswith("StandardScaler")]) == 1, lines
    return lines[-1]
